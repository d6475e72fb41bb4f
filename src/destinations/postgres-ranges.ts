/** How PostgreSQL says what ranges need. */
import type { PoolClient } from 'pg';
import type { StreamKey, TableSpec } from '../protocol.js';
import { keyValues } from './checkpoints.js';
import { Columns } from './inference.js';
import { postgresType } from './postgres-columns.js';
import { postgresNames, storedTable } from './postgres-evolution.js';
import { columnNamed, type RangeSql } from './ranges.js';
import { identifier, literal } from './sql.js';

/** Null for a table that does not follow its source. */
export async function columnsOf(client: PoolClient, table: TableSpec): Promise<Columns | null> {
  if (table.inference === undefined) return null;
  return new Columns(table, await storedTable(client, table), postgresNames);
}

/** @param table as it is declared. */
export function rangeSql(client: PoolClient, { schema }: StreamKey, table: TableSpec | null): RangeSql {
  const names = ['"schema"', '"table"', 'strategy', 'source'];
  const are = (key: StreamKey, count: number) =>
    keyValues(key)
      .slice(0, count)
      .map((value, i) => `${names[i]} = ${literal(value)}`)
      .join(' AND ');
  return {
    run: async (sql) => (await client.query(sql)).rowCount ?? 0,
    query: async (sql) => {
      const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
      return rows.map((row) => row.map((value) => (value === null ? null : String(value))));
    },
    temp: (name) => `pg_temp.${name}`,
    own: (name) => `${identifier(schema)}.${name}`,
    keyIs: (key) => are(key, 4),
    tableIs: (key) => are(key, 2),
    // As jsonb writes it, like the keys that a pass has met.
    keyText: (columns) => `jsonb_build_array(${columns.map((column) => `${column}::text`).join(', ')})::text`,
    typed: (text, type) => `${literal(text)}::${postgresType(type)}`,
    bytes: (sql) => `(${sql}) COLLATE "C"`,
    columnOf: async (member) =>
      table === null ? null : columnNamed(table, await columnsOf(client, table), member),
  };
}
