/** How DuckDB says what ranges need, and names of Highwater's own rows. */
import { KEY_HASH, type StreamKey, type TableSpec } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import type { TableSql } from '../sql/drift.js';
import { duckDbType } from './columns.js';
import { duckDbNames, storedTable } from './evolution.js';
import { rowsOf, type DuckDbSession } from './session.js';
import { Columns } from '../columns/inference.js';
import { columnNamed, type RangeSql } from '../sql/ranges.js';
import { identifier, joined, literal, sql } from '../sql/sql.js';

/** DuckDB does not tell the names of tables apart by their case. */
export const tableIs = (key: StreamKey) =>
  sql`lower("schema") = lower(${literal(key.schema)}) AND lower("table") = lower(${literal(key.table)})`;
export const keyIs = (key: StreamKey) =>
  sql`${tableIs(key)} AND strategy = ${literal(key.strategy)} AND source = ${literal(key.source)}`;

/** Null for a table that does not follow its source. */
export async function columnsOf(connection: DuckDbSession, table: TableSpec): Promise<Columns | null> {
  if (table.inference === undefined) return null;
  return new Columns(table, await storedTable(connection, table), duckDbNames);
}

/** How this database says what ranges need. @param table as it is declared. */
export const rangeSql = (connection: DuckDbSession, table: TableSpec | null): RangeSql => ({
  run: async (statement) => (await connection.run(statement)).rowsChanged,
  query: async (statement) =>
    (await rowsOf(connection, statement)).map((row) =>
      row.map((value) => (value === null ? null : String(value))),
    ),
  temp: identifier,
  own: identifier,
  ...{ keyIs, tableIs },
  keyText: (columns) =>
    sql`to_json([${joined(columns.map((column) => sql`CAST(${column} AS VARCHAR)`))}])::VARCHAR`,
  typed: (text, type) => sql`CAST(${literal(text)} AS ${duckDbType(type)})`,
  bytes: (text) => text,
  place:
    table !== null && Object.keys(table.columns).some((name) => name.toLowerCase() === 'rowid')
      ? null
      : sql`rowid`,
  columnOf: async (member) => {
    if (table === null) return null;
    const known = await columnsOf(connection, table);
    return columnNamed(table, known, member);
  },
});

/** The same, with what is to be known of the table itself. */
export function tableSql(connection: DuckDbSession, table: TableSpec): TableSql {
  const storedColumns = async () =>
    (await storedTable(connection, table)).columns?.map(({ name }) => name) ?? null;
  return {
    ...rangeSql(connection, table),
    storedColumns,
    foldsCase: true,
    // There is no constraint, but the hashes of the keys.
    releaseKey: async () => {
      if ((await storedColumns())?.includes(KEY_HASH) === true)
        await connection.run(sql`ALTER TABLE ${tableName(table)} DROP COLUMN ${identifier(KEY_HASH)}`);
    },
  };
}
