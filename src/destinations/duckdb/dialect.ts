/** DuckDB's dialect. */
import { KEY_HASH, type ColumnType } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import { counts, type Dialect, type OwnTable } from '../sql/dialect.js';
import { ownColumns } from '../sql/modes.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';
import { messageOf } from '../../errors.js';
import { isHere, storedColumns } from './catalogue.js';
import { columnType, duckDbType } from './columns.js';
import { checkHashes, forgetHashes, hashesKey } from './key-hash.js';
import { append, hasRowid, supersede, upsert } from './upsert.js';

/** Locks lockNothing: one process owns the file, and its transactions run one at a time. */
const lockNothing = (): Promise<void> => Promise.resolve();

/** Returns the name of one of Highwater's own tables, all of which are in the schema `main`. */
const ownName = (table: OwnTable): Sql => identifier(`_highwater_${table}`);

/** Errors that a retry cannot fix. */
const REFUSAL =
  /^(Binder|Catalog|Parser|Not implemented|Constraint|Dependency|Conversion|Invalid Input|Out of Range) Error/;

export const duckDbDialect: Dialect = {
  ownTable: (_, table) => ownName(table),
  temporary: (name) => name,
  isName: (column, name) => sql`lower(${column}) = lower(${literal(name)})`,
  // Names are case-insensitive.
  names: { fold: (name) => name.toLowerCase(), nameBytes: 200 },

  type: duckDbType,
  storedType: duckDbType,
  columnType,

  keyText: (columns) =>
    sql`to_json([${joined(columns.map((column) => sql`CAST(${column} AS VARCHAR)`))}])::VARCHAR`,
  jsonText: (text) => sql`to_json(${text})::VARCHAR`,
  asKeyText: (text) => text,
  isNoneOf: (value, column, rows) => sql`${value} NOT IN (SELECT ${column} ${rows})`,
  bytes: (text) => text,
  milliseconds: (time) =>
    sql`strftime(date_trunc('milliseconds', ${time} AT TIME ZONE 'UTC'), '%Y-%m-%dT%H:%M:%S.%gZ')`,
  microseconds: (time) => sql`strftime(${time} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`,
  widened,
  isRounded: (column) =>
    sql`TRY_CAST(CAST(${column} AS DOUBLE) AS HUGEINT) IS DISTINCT FROM CAST(${column} AS HUGEINT)`,
  place: (columns) => (hasRowid(columns) ? null : sql`rowid`),

  ownColumns: (table) => [
    ...ownColumns(table).map(([name, type]): [string, Sql] => [name, duckDbType(type)]),
    ...(hashesKey(table) ? [[KEY_HASH, sql`UBIGINT`] as [string, Sql]] : []),
  ],
  // An upsert without an index costs by the batch; the compare-and-set of checkpoints keeps keys unique.
  primaryKey: () => sql``,
  changes: { column: sql``, order: sql`changed_at, rowid` },
  forUpdate: sql``,
  // DuckDB cannot alter a table in a transaction that has changed its rows.
  deletesBeforeAltering: false,

  hasOwnTable: async (session, _, table) => {
    const [count = 0] = await counts(
      session,
      sql`SELECT count(*) FROM duckdb_tables() WHERE ${isHere('main', `_highwater_${table}`)}`,
    );
    return count > 0;
  },
  storedColumns,

  lockName: lockNothing,
  lockTable: lockNothing,
  takeTime: lockNothing,
  analyze: lockNothing,

  prepareSchema: async (session, schema) => {
    await session.run(sql`CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`);
  },
  refuseNames: () => undefined,
  changeTable: async (session, _, statement) => {
    await session.run(statement);
  },
  prepareKey: checkHashes,
  refreshKey: async (session, table) => {
    if (hashesKey(table)) await forgetHashes(session, tableName(table));
  },
  // There is no constraint to drop, only the hashes of the keys.
  releaseKey: async (session, table) => {
    const columns = await storedColumns(session, table);
    if (columns?.some(({ name }) => name === KEY_HASH) === true)
      await session.run(sql`ALTER TABLE ${tableName(table)} DROP COLUMN ${identifier(KEY_HASH)}`);
  },
  isRefusal: (thrown) => thrown instanceof Error && REFUSAL.test(messageOf(thrown)),

  upsert,
  supersede,
  append,
};

/** Converts a column to a wider type. */
function widened(name: Sql, from: ColumnType, to: ColumnType): Sql {
  if (to === 'STRING') return asText(name, from);
  if (to !== 'JSON') return sql`CAST(${name} AS ${duckDbType(to)})`;
  switch (from) {
    case 'BOOLEAN':
    case 'SHORT':
    case 'INT':
    case 'LONG':
    case 'FLOAT':
    case 'DOUBLE':
      return sql`CAST(${asText(name, from)} AS JSON)`;
    default:
      return from.startsWith('DECIMAL')
        ? sql`CAST(${asText(name, from)} AS JSON)`
        : sql`to_json(${asText(name, from)})`;
  }
}

/** Converts a column to the text that the source may have sent. */
function asText(name: Sql, from: ColumnType): Sql {
  const text = sql`CAST(${name} AS VARCHAR)`;
  switch (from) {
    case 'FLOAT':
    case 'DOUBLE':
      return sql`regexp_replace(${text}, '\\.0$', '')`;
    case 'NAIVE_DATETIME':
      return sql`replace(${text}, ' ', 'T')`;
    case 'UTC_DATETIME':
      return sql`replace(CAST(${name} AT TIME ZONE 'UTC' AS VARCHAR), ' ', 'T') || 'Z'`;
    case 'BINARY':
      return sql`to_base64(${name})`;
    default:
      // Removes zeros that the scale has added.
      return from.startsWith('DECIMAL')
        ? sql`CASE WHEN contains(${text}, '.') THEN rtrim(rtrim(${text}, '0'), '.') ELSE ${text} END`
        : text;
  }
}
