import {
  JsonDuckDBValueConverter,
  type DuckDBConnection,
  type DuckDBMaterializedResult,
  type DuckDBValue,
  type Json,
} from '@duckdb/node-api';
import { one, type Sql } from '../sql/sql.js';

/** A connection; it takes what {@link Sql} is, and no other text. */
export class DuckDbSession {
  constructor(private readonly connection: DuckDBConnection) {}

  /** @param values of `$1`, `$2`, …; with them it takes three calls. */
  run(statement: Sql, values?: DuckDBValue[]): Promise<DuckDBMaterializedResult> {
    return this.connection.run(one(statement), values);
  }

  /**
   * Runs statements one after the other, in one call: an answer waits its turn behind the pages that are read meanwhile.
   * @returns the answer to the last.
   */
  runAll(statements: readonly Sql[]): Promise<DuckDBMaterializedResult> {
    return this.connection.run(statements.map(one).join(';\n'));
  }
}

/** Rows of an answer, values as in JSON. */
export type QueryRows = (Json | null)[][];

/**
 * The rows of an answer. One call, whatever the answer's length: asking for its chunks one after the
 * other, as the library's readers do, waits each time behind a page that is being scanned.
 * @param statement or several, of which the last is answered.
 * @param values of `$1`, `$2`, …; with them it takes three calls.
 */
export async function rowsOf(
  connection: DuckDbSession,
  statement: Sql | readonly Sql[],
  values?: DuckDBValue[],
): Promise<QueryRows> {
  const result =
    typeof statement === 'string'
      ? await connection.run(statement, values)
      : await connection.runAll(statement);
  return Array.from({ length: result.chunkCount }, (_, i) =>
    result.getChunk(i).convertRows(JsonDuckDBValueConverter),
  ).flat();
}

/** The numbers in an answer's only row. */
export async function counts(connection: DuckDbSession, statement: Sql | readonly Sql[]): Promise<number[]> {
  const [row = []] = await rowsOf(connection, statement);
  return row.map(Number);
}
