/** How DuckDB says what Highwater needs. */
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

/** One program owns the file, and its transactions take turns: nothing has to be locked. */
const nothing = (): Promise<void> => Promise.resolve();

/** Highwater's own tables are in the schema `main`, whichever schema the stream's table is in. */
const ownName = (table: OwnTable): Sql => identifier(`_highwater_${table}`);

/** Errors that DuckDB repeats whatever one does. */
const REFUSAL =
  /^(Binder|Catalog|Parser|Not implemented|Constraint|Dependency|Conversion|Invalid Input|Out of Range) Error/;

export const duckDbDialect: Dialect = {
  ownTable: (_, table) => ownName(table),
  temporary: (name) => name,
  isName: (column, name) => sql`lower(${column}) = lower(${literal(name)})`,
  // Names that differ only in case are one.
  names: { fold: (name) => name.toLowerCase(), nameBytes: 200 },

  type: duckDbType,
  storedType: duckDbType,
  columnType,

  keyText: (columns) =>
    sql`to_json([${joined(columns.map((column) => sql`CAST(${column} AS VARCHAR)`))}])::VARCHAR`,
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
  // An upsert without an index costs by the batch; the checkpoint's compare-and-set keeps keys unique.
  primaryKey: () => sql``,
  changes: { column: sql``, order: sql`changed_at, rowid` },
  forUpdate: sql``,
  // DuckDB alters no table in a transaction that has changed its rows.
  deletesBeforeAltering: false,

  hasOwnTable: async (session, _, table) => {
    const [count = 0] = await counts(
      session,
      sql`SELECT count(*) FROM duckdb_tables() WHERE ${isHere('main', `_highwater_${table}`)}`,
    );
    return count > 0;
  },
  storedColumns,

  lockName: nothing,
  lockTable: nothing,
  takeTime: nothing,
  analyze: nothing,

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
  // There is no constraint, but the hashes of the keys.
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

/** The values of a column in a wider type. */
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

/** The values of a column as the source may have written them. */
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
      // The zeros that the scale adds.
      return from.startsWith('DECIMAL')
        ? sql`CASE WHEN contains(${text}, '.') THEN rtrim(rtrim(${text}, '0'), '.') ELSE ${text} END`
        : text;
  }
}
