/** What PostgreSQL does for a table that follows its source. */
import type { PostgresSession } from './session.js';
import { messageOf } from '../../errors.js';
import type { ColumnType, SchemaChange, StreamKey, TableSpec } from '../../protocol.js';
import { keyValues, notReady, tableName } from '../checkpoints.js';
import type { SchemaStore, StoredTable } from '../columns/inference.js';
import { columnType, postgresType } from './columns.js';
import { changeTable } from './ddl.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';

/** Highwater's own table of what was done to tables. */
export const schemaChanges = (schema: Sql) => sql`
  CREATE TABLE IF NOT EXISTS ${schema}._highwater_schema_changes (
    batch text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL, strategy text NOT NULL, source text NOT NULL,
    "column" text NOT NULL, path text NOT NULL, from_type text, to_type text NOT NULL, example text NOT NULL, record text NOT NULL,
    changed_at timestamptz NOT NULL, place bigint GENERATED ALWAYS AS IDENTITY
  );
`;

/** Columns that every table of PostgreSQL has, though none shows them. */
export const SYSTEM_COLUMNS: ReadonlySet<string> = new Set([
  'tableoid',
  'xmin',
  'cmin',
  'xmax',
  'cmax',
  'ctid',
]);

/** PostgreSQL cuts longer names short. */
export const postgresNames = { fold: (name: string) => name, nameBytes: 63, taken: SYSTEM_COLUMNS };

export async function storedTable(
  client: PostgresSession,
  { schema, table }: TableSpec,
): Promise<StoredTable> {
  const found = await client.query<{ name: string; type: string }>(
    sql`SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod)
         || CASE WHEN a.attgenerated <> '' OR a.attidentity = 'a' THEN ' generated always' ELSE '' END AS type
       FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [schema, table],
  );
  const own = sql`${identifier(schema)}._highwater_schema_changes`;
  const exists = await client.query<{ found: string | null }>(sql`SELECT to_regclass($1)::text AS found`, [
    own,
  ]);
  const origins =
    exists.rows[0]?.found == null
      ? []
      : (
          await client.query<{ column: string; path: string }>(
            sql`SELECT "column", path FROM ${own} WHERE "schema" = $1 AND "table" = $2 ORDER BY place`,
            [schema, table],
          )
        ).rows;
  return {
    columns:
      found.rows.length === 0
        ? null
        : found.rows.map(({ name, type }) => ({ name, type: columnType(type), stored: type })),
    origins: origins.map(({ column, path }) => ({ column, path: JSON.parse(path) as string[] })),
  };
}

/**
 * @param create makes a table that is not there.
 * @param batch the checkpoint that the changes are committed with.
 */
export function postgresStore(
  client: PostgresSession,
  key: StreamKey,
  table: TableSpec,
  batch: string,
  create: (table: TableSpec) => Promise<void>,
): SchemaStore {
  const run = (statement: Sql) =>
    changeTable(client, tableName(table), statement).catch((thrown: unknown) => {
      // A view or a generated column that depends on it, no right to change the table, too many columns.
      if (/^(42|0A|2B|54|22|23)/.test((thrown as { code?: string }).code ?? ''))
        throw notReady(table, messageOf(thrown));
      throw thrown;
    });
  return {
    ...postgresNames,
    read: async () => {
      // Of several that write a table that may change, one after the other.
      await client.query(sql`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [
        `highwater columns of ${table.schema}.${table.table}`,
      ]);
      return storedTable(client, table);
    },
    survives: async (column) => {
      const name = identifier(column);
      const found = await client.query(
        sql`SELECT 1 FROM ${tableName(table)} WHERE ${name}::double precision::numeric IS DISTINCT FROM ${name}::numeric LIMIT 1`,
      );
      return found.rows.length === 0;
    },
    apply: async (spec, isNew, changes) => {
      if (isNew) await create(spec);
      for (const { column, from, to } of changes) {
        const name = identifier(column);
        if (isNew || from === to) continue;
        await run(
          from === null
            ? sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${name} ${postgresType(to)}`
            : sql`ALTER TABLE ${tableName(table)} ALTER COLUMN ${name} TYPE ${postgresType(to)} USING ${widened(name, from, to)}`,
        );
      }
      if (changes.length === 0) return;
      const values = joined([batch, ...keyValues(key)].map(literal));
      const rows = changes.map(
        ({ column, path, from, to, example, record }) =>
          sql`(${values}, ${joined([column, JSON.stringify(path)].map(literal))}, ${from === null ? sql`NULL` : literal(from)}, ${joined([to, example, record].map(plain))}, now())`,
      );
      await client.query(
        sql`INSERT INTO ${identifier(key.schema)}._highwater_schema_changes
           (batch, "schema", "table", strategy, source, "column", path, from_type, to_type, example, record, changed_at)
           VALUES ${joined(rows)}`,
      );
    },
  };
}

/** What an example is cut to may end in half a character. */
const plain = (text: string) => literal(text.replace(/[\0\p{Surrogate}]/gu, '\uFFFD'));

/** A column's values in a wider type. */
export function widened(name: Sql, from: ColumnType, to: ColumnType): Sql {
  if (to === 'STRING') return asText(name, from);
  if (to !== 'JSON') return sql`${name}::${postgresType(to)}`;
  switch (from) {
    case 'BOOLEAN':
    case 'SHORT':
    case 'INT':
    case 'LONG':
    case 'STRING':
      return sql`to_jsonb(${name})`;
    case 'FLOAT':
    case 'DOUBLE':
      return sql`${name}::text::jsonb`;
    default:
      return from.startsWith('DECIMAL')
        ? sql`trim_scale(${name})::text::jsonb`
        : sql`to_jsonb(${asText(name, from)})`;
  }
}

/** A column's values as the source may have written them. */
function asText(name: Sql, from: ColumnType): Sql {
  switch (from) {
    case 'NAIVE_DATETIME':
      return sql`replace(${name}::text, ' ', 'T')`;
    case 'UTC_DATETIME':
      return sql`replace((${name} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'`;
    case 'BINARY':
      return sql`replace(encode(${name}, 'base64'), E'\\n', '')`;
    default:
      // The zeros that the scale adds.
      return from.startsWith('DECIMAL') ? sql`trim_scale(${name})::text` : sql`${name}::text`;
  }
}

/** What a batch that was committed before has done to the table. */
export async function changesOf(
  client: PostgresSession,
  key: StreamKey,
  batch: string,
): Promise<SchemaChange[]> {
  const found = await client.query<SchemaChange>(
    sql`SELECT "column", from_type AS "from", to_type AS "to" FROM ${identifier(key.schema)}._highwater_schema_changes
       WHERE batch = $1 AND from_type IS DISTINCT FROM to_type ORDER BY place`,
    [batch],
  );
  return found.rows;
}
