/** How PostgreSQL says what ranges need. */
import type { PostgresSession } from './session.js';
import type { StreamKey, TableSpec } from '../../protocol.js';
import { keyValues, tableName } from '../checkpoints.js';
import { tableKey, type TableSql } from '../sql/drift.js';
import { Columns } from '../columns/inference.js';
import { postgresType } from './columns.js';
import { postgresNames, storedTable } from './evolution.js';
import { columnNamed, type RangeSql } from '../sql/ranges.js';
import { identifier, joined, literal, sql } from '../sql/sql.js';

/** Null for a table that does not follow its source. */
export async function columnsOf(client: PostgresSession, table: TableSpec): Promise<Columns | null> {
  if (table.inference === undefined) return null;
  return new Columns(table, await storedTable(client, table), postgresNames);
}

/** @param table as it is declared. */
export function rangeSql(client: PostgresSession, { schema }: StreamKey, table: TableSpec | null): RangeSql {
  const names = ['schema', 'table', 'strategy', 'source'].map(identifier);
  const are = (key: StreamKey, count: number) =>
    joined(
      names.slice(0, count).map((name, i) => sql`${name} = ${literal(keyValues(key)[i] ?? '')}`),
      sql` AND `,
    );
  return {
    run: async (statement) => (await client.query(statement)).rowCount ?? 0,
    query: async (statement) => {
      const { rows } = await client.rows(statement);
      return rows.map((row) => row.map((value) => (value === null ? null : String(value))));
    },
    temp: (name) => sql`pg_temp.${identifier(name)}`,
    own: (name) => sql`${identifier(schema)}.${identifier(name)}`,
    keyIs: (key) => are(key, 4),
    tableIs: (key) => are(key, 2),
    // As jsonb writes it, like the keys that a pass has met.
    keyText: (columns) =>
      sql`jsonb_build_array(${joined(columns.map((column) => sql`${column}::text`))})::text`,
    typed: (text, type) => sql`${literal(text)}::${postgresType(type)}`,
    bytes: (text) => sql`(${text}) COLLATE "C"`,
    place: sql`ctid`,
    columnOf: async (member) =>
      table === null ? null : columnNamed(table, await columnsOf(client, table), member),
  };
}

/** The same, with what is to be known of the table itself. */
export function tableSql(client: PostgresSession, table: TableSpec): TableSql {
  return {
    ...rangeSql(client, tableKey(table), table),
    storedColumns: async () => (await storedTable(client, table)).columns?.map(({ name }) => name) ?? null,
    foldsCase: false,
    releaseKey: async (was) => {
      for (const { index, constraint } of await uniqueOver(client, table, was))
        await client.query(
          constraint === null
            ? sql`DROP INDEX ${identifier(table.schema)}.${identifier(index)}`
            : sql`ALTER TABLE ${tableName(table)} DROP CONSTRAINT ${identifier(constraint)}`,
        );
    },
  };
}

/** The unique indexes over just these columns, with the constraints that they are of. */
async function uniqueOver(
  client: PostgresSession,
  table: TableSpec,
  columns: readonly string[],
): Promise<{ index: string; constraint: string | null }[]> {
  const found = await client.query<{ index: string; constraint: string | null }>(
    sql`SELECT (SELECT ic.relname FROM pg_class AS ic WHERE ic.oid = i.indexrelid) AS index,
         (SELECT c.conname FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')) AS constraint
       FROM pg_index AS i WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indexprs IS NULL
       AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = $2::text[]`,
    [tableName(table), [...columns].sort()],
  );
  return found.rows;
}
