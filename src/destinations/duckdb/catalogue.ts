/** DuckDB's catalogue: the tables there are, and their columns. */
import type { TableSpec } from '../../protocol.js';
import type { StoredColumn } from '../columns/inference.js';
import type { SqlSession } from '../sql/dialect.js';
import { literal, sql, type Sql } from '../sql/sql.js';
import { columnType } from './columns.js';

/** A condition on the catalogue that selects the table. */
export const isHere = (schema: string, table: string): Sql =>
  sql`database_name = current_database() AND lower(schema_name) = lower(${literal(schema)}) AND lower(table_name) = lower(${literal(table)})`;

/** Reads the columns of a table; null if there is no table. */
export async function storedColumns(
  session: SqlSession,
  { schema, table }: Pick<TableSpec, 'schema' | 'table'>,
): Promise<StoredColumn[] | null> {
  const found = await session.rows(
    sql`SELECT column_name, data_type FROM duckdb_columns() WHERE ${isHere(schema, table)} ORDER BY column_index`,
  );
  if (found.length === 0) return null;
  return found.map(([name, type]) => ({
    name: name ?? '',
    type: columnType(type ?? ''),
    stored: type ?? '',
  }));
}
