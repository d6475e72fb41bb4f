import {
  JsonDuckDBValueConverter,
  type DuckDBConnection,
  type DuckDBValue,
  type Json,
} from '@duckdb/node-api';

/** Rows of an answer, values as in JSON. */
export type QueryRows = (Json | null)[][];

/**
 * The rows of an answer. One call, whatever the answer's length: asking for its chunks one after the
 * other, as the library's readers do, waits each time behind a page that is being scanned.
 * @param values of `$1`, `$2`, …; with them it takes three calls.
 */
export async function rowsOf(
  connection: DuckDBConnection,
  sql: string,
  values?: DuckDBValue[],
): Promise<QueryRows> {
  const result = await connection.run(sql, values);
  return Array.from({ length: result.chunkCount }, (_, i) =>
    result.getChunk(i).convertRows(JsonDuckDBValueConverter),
  ).flat();
}

/** The numbers in an answer's only row. */
export async function counts(connection: DuckDBConnection, sql: string): Promise<number[]> {
  const [row = []] = await rowsOf(connection, sql);
  return row.map(Number);
}
