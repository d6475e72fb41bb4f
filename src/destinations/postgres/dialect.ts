/** PostgreSQL's dialect. */
import { DestinationError, HighwaterError } from '../../errors.js';
import { SEQUENCE, type ColumnType, type TableSpec } from '../../protocol.js';
import type { Dialect, OwnTable, SqlSession } from '../sql/dialect.js';
import { ownColumns } from '../sql/modes.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';
import { columnType, postgresType, storedType } from './columns.js';
import { changeTable, takeTime } from './ddl.js';
import { prepareIndex, releaseKey } from './indexes.js';
import { append, supersede, upsert } from './upsert.js';

const NAME_BYTES = 63;

/** Hidden columns of every PostgreSQL table. */
const SYSTEM_COLUMNS: ReadonlySet<string> = new Set(['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid']);

/**
 * Returns the name of one of Highwater's own tables. They are in the schema of the stream's table, where the user may
 * create tables.
 */
const ownName = (schema: string, table: OwnTable): Sql =>
  sql`${identifier(schema)}.${identifier(`_highwater_${table}`)}`;

const lockName = async (session: SqlSession, name: string): Promise<void> => {
  await session.run(sql`SELECT pg_advisory_xact_lock(hashtextextended(${literal(name)}, 0))`);
};

export const postgresDialect: Dialect = {
  ownTable: ownName,
  temporary: (name) => sql`pg_temp.${name}`,
  isName: (column, name) => sql`${column} = ${literal(name)}`,
  // PostgreSQL truncates longer names.
  names: { fold: (name) => name, nameBytes: NAME_BYTES, taken: SYSTEM_COLUMNS },

  type: postgresType,
  storedType,
  columnType,

  keyText: (columns) =>
    sql`jsonb_build_array(${joined(columns.map((column) => sql`${column}::text`))})::text`,
  jsonText: (text) => sql`to_json(${text}::text)::text`,
  asKeyText: (text) => sql`(${text}::jsonb)::text`,
  isNoneOf: (value, column, rows) => sql`NOT EXISTS (SELECT 1 ${rows} AND ${column} = ${value})`,
  bytes: (text) => sql`(${text}) COLLATE "C"`,
  milliseconds: (time) =>
    sql`to_char(date_trunc('milliseconds', ${time}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`,
  microseconds: (time) => sql`to_char(${time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
  widened,
  isRounded: (column) => sql`${column}::double precision::numeric IS DISTINCT FROM ${column}::numeric`,
  place: () => sql`ctid`,

  ownColumns: (table) =>
    ownColumns(table).map(([name, type]): [string, Sql] => [
      name,
      name === SEQUENCE ? sql`${postgresType(type)} GENERATED ALWAYS AS IDENTITY` : postgresType(type),
    ]),
  primaryKey: (columns) => sql`, PRIMARY KEY (${joined(columns)})`,
  changes: { column: sql`, place bigint GENERATED ALWAYS AS IDENTITY`, order: sql`place` },
  forUpdate: sql`FOR UPDATE`,
  // The key's index is unique at every moment.
  deletesBeforeAltering: true,

  hasOwnTable: async (session, schema, table) => {
    const [[found = null] = []] = await session.rows(
      sql`SELECT to_regclass(${literal(ownName(schema, table))})::text`,
    );
    return found !== null;
  },
  storedColumns: async (session, { schema, table }) => {
    const found = await session.rows(
      sql`SELECT a.attname, format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attgenerated <> '' OR a.attidentity = 'a' THEN ' generated always' ELSE '' END
         FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = ${literal(schema)} AND c.relname = ${literal(table)} AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum`,
    );
    if (found.length === 0) return null;
    return found.map(([name, type]) => ({
      name: name ?? '',
      type: columnType(type ?? ''),
      stored: type ?? '',
    }));
  },

  lockName,
  lockTable: async (session, { schema, table }) => {
    await session.run(
      sql`SELECT 1 FROM ${ownName(schema, 'checkpoints')} WHERE "schema" = ${literal(schema)} AND "table" = ${literal(table)}
         ORDER BY strategy, source, "range" FOR UPDATE`,
    );
  },
  takeTime,
  analyze: async (session, table) => {
    await session.run(sql`ANALYZE ${table}`);
  },

  prepareSchema: async (session, schema) => {
    // "IF NOT EXISTS" fails for one of two concurrent creators.
    await lockName(session, 'highwater');
    const known = await session.rows(sql`SELECT 1 FROM pg_namespace WHERE nspname = ${literal(schema)}`);
    // If the schema exists, the user needs no right to create schemas.
    if (known.length === 0) await session.run(sql`CREATE SCHEMA ${identifier(schema)}`);
  },
  refuseNames,
  changeTable,
  prepareKey: prepareIndex,
  refreshKey: () => Promise.resolve(),
  releaseKey,
  // Syntax errors, dependent objects, violated constraints, limits, unsupported features.
  isRefusal: (thrown) =>
    !(thrown instanceof HighwaterError) &&
    /^(42|23|0A|22|54|2B)/.test((thrown as { code?: string }).code ?? ''),

  upsert,
  supersede,
  append,
};

/** @throws {DestinationError} for names that PostgreSQL would truncate, and for names of system columns. */
function refuseNames(table: TableSpec): void {
  for (const name of [table.schema, table.table, ...Object.keys(table.columns)]) {
    if (Buffer.byteLength(name) <= NAME_BYTES) continue;
    throw new DestinationError(
      `${JSON.stringify(name)} is longer than ${NAME_BYTES} bytes, the limit for names in PostgreSQL`,
    );
  }
  const system = Object.keys(table.columns).find((name) => SYSTEM_COLUMNS.has(name));
  if (system === undefined) return;
  throw new DestinationError(
    `table ${table.schema}.${table.table} cannot have a column ${JSON.stringify(system)}: every PostgreSQL table has a ` +
      `system column of that name. Choose another name: "columns": {"${system}_2": {"type": …, "from": "${system}"}}.`,
  );
}

/** Converts a column to a wider type. */
function widened(name: Sql, from: ColumnType, to: ColumnType): Sql {
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

/** Converts a column to the text that the source may have sent. */
function asText(name: Sql, from: ColumnType): Sql {
  switch (from) {
    case 'NAIVE_DATETIME':
      return sql`replace(${name}::text, ' ', 'T')`;
    case 'UTC_DATETIME':
      return sql`replace((${name} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'`;
    case 'BINARY':
      return sql`replace(encode(${name}, 'base64'), E'\\n', '')`;
    default:
      // Removes zeros that the scale has added.
      return from.startsWith('DECIMAL') ? sql`trim_scale(${name})::text` : sql`${name}::text`;
  }
}
