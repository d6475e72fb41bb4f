/** How DuckDB says what ranges need, and names of Highwater's own rows. */
import type { DuckDBConnection } from '@duckdb/node-api';
import { KEY_HASH, type StreamKey, type TableSpec } from '../protocol.js';
import { tableName } from './checkpoints.js';
import type { TableSql } from './drift.js';
import { duckDbType } from './duckdb-columns.js';
import { duckDbNames, storedTable } from './duckdb-evolution.js';
import { rowsOf } from './duckdb-query.js';
import { Columns } from './inference.js';
import { columnNamed, type RangeSql } from './ranges.js';
import { literal } from './sql.js';

/** DuckDB does not tell the names of tables apart by their case. */
export const tableIs = (key: StreamKey) =>
  `lower("schema") = lower(${literal(key.schema)}) AND lower("table") = lower(${literal(key.table)})`;
export const keyIs = (key: StreamKey) =>
  `${tableIs(key)} AND strategy = ${literal(key.strategy)} AND source = ${literal(key.source)}`;

/** Null for a table that does not follow its source. */
export async function columnsOf(connection: DuckDBConnection, table: TableSpec): Promise<Columns | null> {
  if (table.inference === undefined) return null;
  return new Columns(table, await storedTable(connection, table), duckDbNames);
}

/** How this database says what ranges need. @param table as it is declared. */
export const rangeSql = (connection: DuckDBConnection, table: TableSpec | null): RangeSql => ({
  run: async (sql) => (await connection.run(sql)).rowsChanged,
  query: async (sql) =>
    (await rowsOf(connection, sql)).map((row) => row.map((value) => (value === null ? null : String(value)))),
  temp: (name) => name,
  own: (name) => name,
  ...{ keyIs, tableIs },
  keyText: (columns) =>
    `to_json([${columns.map((column) => `CAST(${column} AS VARCHAR)`).join(', ')}])::VARCHAR`,
  typed: (text, type) => `CAST(${literal(text)} AS ${duckDbType(type)})`,
  bytes: (sql) => sql,
  place:
    table !== null && Object.keys(table.columns).some((name) => name.toLowerCase() === 'rowid')
      ? null
      : 'rowid',
  columnOf: async (member) => {
    if (table === null) return null;
    const known = await columnsOf(connection, table);
    return columnNamed(table, known, member);
  },
});

/** The same, with what is to be known of the table itself. */
export function tableSql(connection: DuckDBConnection, table: TableSpec): TableSql {
  const storedColumns = async () =>
    (await storedTable(connection, table)).columns?.map(({ name }) => name) ?? null;
  return {
    ...rangeSql(connection, table),
    storedColumns,
    foldsCase: true,
    // There is no constraint, but the hashes of the keys.
    releaseKey: async () => {
      if ((await storedColumns())?.includes(KEY_HASH) === true)
        await connection.run(`ALTER TABLE ${tableName(table)} DROP COLUMN ${KEY_HASH}`);
    },
  };
}
