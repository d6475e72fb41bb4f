/** How PostgreSQL says what ranges need. */
import type { PoolClient } from 'pg';
import type { StreamKey, TableSpec } from '../protocol.js';
import { keyValues, tableName } from './checkpoints.js';
import { tableKey, type TableSql } from './drift.js';
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
    place: 'ctid',
    columnOf: async (member) =>
      table === null ? null : columnNamed(table, await columnsOf(client, table), member),
  };
}

/** The same, with what is to be known of the table itself. */
export function tableSql(client: PoolClient, table: TableSpec): TableSql {
  return {
    ...rangeSql(client, tableKey(table), table),
    storedColumns: async () => (await storedTable(client, table)).columns?.map(({ name }) => name) ?? null,
    foldsCase: false,
    releaseKey: async (was) => {
      for (const { index, constraint } of await uniqueOver(client, table, was))
        await client.query(
          constraint === null
            ? `DROP INDEX ${index}`
            : `ALTER TABLE ${tableName(table)} DROP CONSTRAINT ${constraint}`,
        );
    },
  };
}

/** The unique indexes over just these columns, with the constraints that they are of. */
async function uniqueOver(
  client: PoolClient,
  table: TableSpec,
  columns: readonly string[],
): Promise<{ index: string; constraint: string | null }[]> {
  const found = await client.query<{ index: string; constraint: string | null }>(
    `SELECT i.indexrelid::regclass::text AS index,
         (SELECT quote_ident(c.conname) FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')) AS constraint
       FROM pg_index AS i WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indexprs IS NULL
       AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = $2::text[]`,
    [tableName(table), [...columns].sort()],
  );
  return found.rows;
}
