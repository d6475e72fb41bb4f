/** How the lines of a batch become rows of a PostgreSQL table. */
import type { PostgresSession } from './session.js';
import {
  DELETED_AT,
  SEQUENCE,
  VALID_FROM,
  VALID_TO,
  type Cursor,
  type Note,
  type StreamKey,
  type TableSpec,
} from '../../protocol.js';
import { batchColumns, columnIn, missesRows, keyValues, tableName } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import {
  asideOf,
  beginsPass,
  endingOf,
  isGuarded,
  marksDeleted,
  mayRemove,
  missingNote,
  modeOf,
  ownColumns,
  refuseTooMany,
  saysDeleted,
  stamping,
  stamps,
  withinReach,
} from '../sql/modes.js';
import { fromText, postgresType, recordType, storedType } from './columns.js';
import { changeTable, takeTime } from './ddl.js';
import { storedTable, widened } from './evolution.js';
import { rangeSql } from './ranges.js';
import { judge, meet, noteGone } from '../sql/ranges.js';
import { identifier, joined, numeral, sql, type Sql } from '../sql/sql.js';

export interface Written {
  /** Inserted or changed. */
  rows: number;
  /** Of which the source says that they are gone. */
  deleted: number;
  /** For the checkpoint; absent where there are none. */
  notes?: Note[];
  /** Rows that were left as they are, beside a sync. */
  left?: number;
}

/** Condition on Highwater's own tables, by the values of {@link keyValues}. */
export const KEY = sql`"schema" = $1 AND "table" = $2 AND strategy = $3 AND source = $4`;

const seenTable = (key: StreamKey) => sql`${identifier(key.schema)}._highwater_seen`;

/** Columns of the table and ours, as they are declared. */
export const definitions = (table: TableSpec): Sql[] => [
  ...Object.entries(table.columns).map(
    ([name, type]) =>
      sql`${identifier(name)} ${postgresType(type)}${table.primaryKey.includes(name) ? sql` NOT NULL` : sql``}`,
  ),
  ...ownColumns(table).map(ownDefinition),
];

/** A column of ours, as it is declared. */
export const ownDefinition = ([name, type]: ReturnType<typeof ownColumns>[number]): Sql =>
  sql`${identifier(name)} ${postgresType(type)}${name === SEQUENCE ? sql` GENERATED ALWAYS AS IDENTITY` : sql``}`;

/** Rows to be written into a table: their relation, and its columns by those of the table. */
interface Rows {
  name: Sql;
  columns: ReadonlyMap<string, Sql>;
}

/** The batch, typed; of a key that is there twice the last, except where the table is appended to. */
const batchOf = (table: TableSpec): Rows => ({ name: sql`pg_temp._met`, columns: batchColumns(table) });

const sameKey = (table: TableSpec, { columns }: Rows) =>
  joined(
    table.primaryKey.map((name) => sql`t.${identifier(name)} = s.${columnIn(columns, name)}`),
    sql` AND `,
  );

/** The lines as typed columns. */
export function converted(table: TableSpec, from: Sql): Sql {
  const columns = Object.entries(table.columns);
  const record = joined(columns.map(([name, type]) => sql`${identifier(name)} ${recordType(type)}`));
  const typed = columns.map(
    ([name, type], i) => sql`${fromText(sql`r.${identifier(name)}`, type)} AS c${numeral(i)}`,
  );
  return sql`SELECT l.place, ${joined(typed)} FROM ${from} AS l, json_to_record(l.line) AS r(${record})`;
}

/** Writes lines in the table's mode. @param from their relation, with `place` and `line`. */
export async function merge(client: PostgresSession, request: WriteRequest, from: Sql): Promise<Written> {
  const { table, key, next } = request;
  const batch = batchOf(table);
  const keys = joined(table.primaryKey.map((name) => columnIn(batch.columns, name)));
  const lines = sql`(${converted(table, from)}) AS b`;
  const { range } = request;
  const typed =
    table.mode === 'append' && range === undefined
      ? sql`SELECT * FROM ${lines}`
      : sql`SELECT DISTINCT ON (${keys}) place, ${joined([...batch.columns.values()])} FROM ${lines} ORDER BY ${keys}, place DESC`;
  if (modeOf(table) === 'upsert' && table.deletes === undefined && range === undefined) {
    // Nothing else asks for the batch: it is typed on its way.
    const rows = await upsert(client, table, { ...batch, name: sql`(${typed})` }, next);
    return { rows, deleted: 0 };
  }
  await client.query(sql`CREATE TEMP TABLE _met ON COMMIT DROP AS ${typed}`);
  let left = 0;
  if (range !== undefined) {
    const database = rangeSql(client, key, request.table);
    if (range.kind === 'audit') await meet(database, request, batch.name);
    left = await judge(database, { ...request, range }, batch.name);
    if (!range.writes) return { rows: 0, deleted: 0 };
  }
  // Records that say that they are gone leave the batch, and yet the pass has met them.
  if (missesRows(table)) await remember(client, request);
  let deleted = await endDeleted(client, request);
  let rows = 0;
  switch (modeOf(table)) {
    case 'append':
      rows = await append(client, table, next);
      break;
    case 'history':
      rows = await supersede(client, table, next);
      break;
    case 'replace':
      await upsert(client, asideOf(key, table), batch, next);
      break;
    case 'upsert':
      rows = await upsert(client, table, batch, next);
  }
  if (marksDeleted(table)) deleted += await markDeleted(client, request);
  return { rows, deleted, ...(left > 0 && { left }) };
}

/** Writes what is new or differs. */
async function upsert(client: PostgresSession, table: TableSpec, from: Rows, next: string): Promise<number> {
  const keys = table.primaryKey.map(identifier);
  const names = [...from.columns.keys()].map(identifier);
  const rest = names.filter((name) => !keys.includes(name));
  const own = stamps(table, next);
  const set = [...rest, ...own.map(([name]) => name)].map((name) => sql`${name} = excluded.${name}`);
  const differs = rest.map((name) => sql`t.${name} IS DISTINCT FROM excluded.${name}`);
  const onConflict =
    rest.length === 0
      ? sql`DO NOTHING`
      : sql`DO UPDATE SET ${joined(set)} WHERE ${joined(differs, sql` OR `)}`;
  const result = await client.query(
    sql`INSERT INTO ${tableName(table)} AS t (${joined([...names, ...own.map(([name]) => name)])})
       SELECT ${joined([...from.columns.values(), ...own.map(([, value]) => value)])} FROM ${from.name} AS s
     ON CONFLICT (${joined(keys)}) ${onConflict}`,
  );
  return result.rowCount ?? 0;
}

/** Ends the version of each key that has changed, and begins one for it and for each that is new. */
async function supersede(client: PostgresSession, table: TableSpec, next: string): Promise<number> {
  const from = batchOf(table);
  const target = tableName(table);
  const isCurrent = sql`${sameKey(table, from)} AND t.${identifier(VALID_TO)} IS NULL`;
  const differs = [...from.columns]
    .filter(([name]) => !table.primaryKey.includes(name))
    .map(([name, column]) => sql`t.${identifier(name)} IS DISTINCT FROM s.${column}`);
  if (differs.length > 0) {
    await client.query(
      sql`UPDATE ${target} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)} FROM ${from.name} AS s
         WHERE ${isCurrent} AND (${joined(differs, sql` OR `)})`,
    );
  }
  const own: [Sql, Sql][] = [[identifier(VALID_FROM), sql`now()`], ...stamps(table, next)];
  const names = [...[...from.columns.keys()].map(identifier), ...own.map(([name]) => name)];
  const result = await client.query(
    sql`INSERT INTO ${target} (${joined(names)})
       SELECT ${joined([...from.columns.values(), ...own.map(([, value]) => value)])} FROM ${from.name} AS s
       WHERE NOT EXISTS (SELECT 1 FROM ${target} AS t WHERE ${isCurrent})`,
  );
  return result.rowCount ?? 0;
}

/** Adds every record that differs from the one before it of its key, in the batch or in the table. */
async function append(client: PostgresSession, table: TableSpec, next: string): Promise<number> {
  const from = batchOf(table);
  const columns = joined([...from.columns.values()]);
  const names = [...from.columns.keys()].map((name) => sql`t.${identifier(name)}`);
  const keys = joined(table.primaryKey.map((name) => sql`t.${identifier(name)}`));
  const own = stamps(table, next);
  const into = joined([...[...from.columns.keys()].map(identifier), ...own.map(([name]) => name)]);
  const content = sql`md5(ROW(${columns})::text)`;
  const result = await client.query(
    sql`INSERT INTO ${tableName(table)} (${into})
       SELECT ${joined([columns, ...own.map(([, value]) => value)])} FROM (
         SELECT *, lag(${content}) OVER (PARTITION BY ${joined(table.primaryKey.map((name) => columnIn(from.columns, name)))} ORDER BY place) AS before
         FROM (SELECT place, ${columns} FROM ${from.name} UNION ALL
           (SELECT DISTINCT ON (${keys}) -1, ${joined(names)} FROM ${tableName(table)} AS t
              WHERE EXISTS (SELECT 1 FROM ${from.name} AS s WHERE ${sameKey(table, from)})
              ORDER BY ${keys}, t.${identifier(SEQUENCE)} DESC)) AS all_versions) AS compared
       WHERE place >= 0 AND before IS DISTINCT FROM ${content} ORDER BY place`,
  );
  return result.rowCount ?? 0;
}

/** Takes those out of the batch that say that they are gone, and out of the table; where rows are marked, neither. */
async function endDeleted(client: PostgresSession, request: WriteRequest): Promise<number> {
  const { table, key, next } = request;
  if (table.deletedField === undefined || marksDeleted(table)) return 0;
  const batch = batchOf(table);
  const gone = saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const target = tableName(table.mode === 'replace' ? asideOf(key, table) : table);
  if (table.mode === undefined) {
    const rows = sql`${target} AS t JOIN ${batch.name} AS s ON ${sameKey(table, batch)} WHERE ${gone}`;
    await noteGone(rangeSql(client, key, null), request, rows);
  }
  const ended = await client.query(
    table.mode === 'history'
      ? sql`UPDATE ${target} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)} FROM ${batch.name} AS s
           WHERE ${sameKey(table, batch)} AND t.${identifier(VALID_TO)} IS NULL AND ${gone}`
      : sql`DELETE FROM ${target} AS t USING ${batch.name} AS s WHERE ${sameKey(table, batch)} AND ${gone}`,
  );
  await client.query(sql`DELETE FROM ${batch.name} AS s WHERE ${gone}`);
  return table.mode === 'replace' ? 0 : (ended.rowCount ?? 0);
}

/** Marks the rows whose records say that they are gone, and no others: what is there again is not deleted any more. */
async function markDeleted(client: PostgresSession, { table, next }: WriteRequest): Promise<number> {
  const batch = batchOf(table);
  const gone =
    table.deletedField === undefined
      ? sql`false`
      : saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const mark = async (value: Sql, which: Sql) => {
    const marked = await client.query(
      sql`UPDATE ${tableName(table)} AS t SET ${identifier(DELETED_AT)} = ${value}${stamping(table, next)} FROM ${batch.name} AS s
         WHERE ${sameKey(table, batch)} AND ${which}`,
    );
    return marked.rowCount ?? 0;
  };
  await mark(sql`NULL`, sql`t.${identifier(DELETED_AT)} IS NOT NULL AND NOT ${gone}`);
  return table.deletedField === undefined
    ? 0
    : mark(sql`now()`, sql`t.${identifier(DELETED_AT)} IS NULL AND ${gone}`);
}

/** Among so few keys a row is found by looking at each. */
const FEW_KEYS = 1000;

const keyText = (table: TableSpec, of: (name: string) => Sql) =>
  sql`jsonb_build_array(${joined(table.primaryKey.map((name) => sql`${of(name)}::text`))})::text`;

/** Remembers the keys of a batch for the end of its pass. */
async function remember(client: PostgresSession, { key, table, cursor }: WriteRequest): Promise<void> {
  const { name, columns } = batchOf(table);
  await client.query(
    sql`INSERT INTO ${seenTable(key)} SELECT $1, $2, $3, $4, $5, ${keyText(table, (column) => sql`s.${columnIn(columns, column)}`)} FROM ${name} AS s`,
    [...keyValues(key), cursor.pass],
  );
}

/** Notes that a pass has met something whose key is not known. */
async function rememberUnknown(client: PostgresSession, { key, cursor }: WriteRequest): Promise<void> {
  await client.query(sql`INSERT INTO ${seenTable(key)} VALUES ($1, $2, $3, $4, $5, NULL)`, [
    ...keyValues(key),
    cursor.pass,
  ]);
}

/**
 * Before a batch: what is remembered of a pass that was given up goes; of a table that is replaced, the first batch of
 * a pass finds an empty place for its rows.
 * @param before the stored cursor.
 */
export async function readyPass(
  client: PostgresSession,
  request: WriteRequest,
  before: Cursor | null,
): Promise<void> {
  const { key, table, cursor } = request;
  if (!missesRows(table) && table.mode !== 'replace') return;
  const begins = beginsPass(before, cursor);
  if (begins) await client.query(sql`DELETE FROM ${seenTable(key)} WHERE ${KEY}`, keyValues(key));
  if (table.mode !== 'replace') {
    if (begins) return;
    const some = await client.query(sql`SELECT 1 FROM ${seenTable(key)} WHERE ${KEY} AND pass = $5 LIMIT 1`, [
      ...keyValues(key),
      cursor.pass,
    ]);
    // The pass began when nothing was deleted: what it met until now is not known.
    if (some.rows.length === 0) await rememberUnknown(client, request);
    return;
  }
  const aside = asideOf(key, table);
  const change = (statement: Sql) => changeTable(client, tableName(aside), statement);
  if (begins) await change(sql`DROP TABLE IF EXISTS ${tableName(aside)}`);
  const { columns: there } = await storedTable(client, aside);
  if (there === null) {
    // Not UNLOGGED: a crash of the server would empty it, and the checkpoint says that its rows were read.
    await client.query(
      sql`CREATE TABLE ${tableName(aside)} (${joined(definitions(aside))}, PRIMARY KEY (${joined(aside.primaryKey.map(identifier))}))`,
    );
    // The pass began in another mode: what it has read until now is not here.
    if (!begins) await rememberUnknown(client, request);
    return;
  }
  // The table may have changed since.
  for (const [column, to] of Object.entries(aside.columns)) {
    const is = there.find(({ name }) => name === column);
    if (is?.stored === storedType(to)) continue;
    const name = identifier(column);
    await change(
      is?.type == null
        ? sql`ALTER TABLE ${tableName(aside)} ADD COLUMN ${name} ${postgresType(to)}`
        : sql`ALTER TABLE ${tableName(aside)} ALTER COLUMN ${name} TYPE ${postgresType(to)} USING ${widened(name, is.type, to)}`,
    );
  }
}

/** Counts the rows of a table that count as there, before a write that may have to ask; 0 where it need not. */
export async function rowsBefore(client: PostgresSession, request: WriteRequest): Promise<number> {
  const { table } = request;
  if (!isGuarded(request)) return 0;
  const { columns } = await storedTable(client, table);
  if (columns === null) return 0;
  const ending = endingOf(table);
  const which = ending === null ? sql`` : sql` WHERE ${ending} IS NULL`;
  const found = await client.query<{ rows: string }>(
    sql`SELECT count(*) AS "rows" FROM ${tableName(table)}${which}`,
  );
  return Number(found.rows[0]?.rows);
}

/**
 * Ends a pass: what it has not met is gone from the source, if it has read everything.
 * @param hasUnknown records of the batch have no key that is known: null stands for them.
 * @param before what {@link rowsBefore} counted.
 * @throws {TooManyDeletesError}
 */
export async function endOfPass(
  client: PostgresSession,
  request: WriteRequest,
  hasUnknown: boolean,
  before: number,
): Promise<Written> {
  const { key, table, cursor, next } = request;
  const written: Written = { rows: 0, deleted: 0 };
  if (!missesRows(table) && table.mode !== 'replace') return written;
  if (hasUnknown) await rememberUnknown(client, request);
  if (cursor.ended === null) return written;
  await takeTime(client);
  const values = [...keyValues(key), cursor.pass];
  const different = cursor.counted === undefined ? sql`0` : differentKeys(table, key);
  const counted = await client.query<{ met: string; known: string; different: string }>(
    sql`SELECT count(*) AS met, count(key) AS known, ${different} AS different FROM ${seenTable(key)} WHERE ${KEY} AND pass = $5`,
    values,
  );
  const { met, known, different: keys } = counted.rows[0] ?? { met: '0', known: '0', different: '0' };
  // The planner takes a table that was filled just now for a small one, and would compare each row with each key.
  if (Number(met) > FEW_KEYS) await client.query(sql`ANALYZE ${seenTable(key)}`);
  const missing = met === known ? missingNote(request, Number(keys)) : null;
  if (missing !== null) written.notes = [missing];
  const isWhole = mayRemove(request) && met === known && missing === null;
  if (table.mode === 'replace') Object.assign(written, await publish(client, request, isWhole, before));
  // An empty list is more often a mistake of the source than the end of everything.
  else if (isWhole && met !== '0') {
    const time = table.columns[typeof table.unseen === 'object' ? table.unseen.column : ''] ?? 'UTC_DATETIME';
    const reach = withinReach(
      table,
      cursor,
      (name) => sql`t.${identifier(name)}`,
      (text) => sql`${text}::${postgresType(time)}`,
    );
    const database = rangeSql(client, key, null);
    const unseen = sql`NOT EXISTS (SELECT 1 FROM ${seenTable(key)} AS s WHERE ${database.keyIs(key)} AND s.pass = ${numeral(cursor.pass)} AND s.key = ${keyText(table, (name) => sql`t.${identifier(name)}`)})${reach === null ? sql`` : sql` AND ${reach}`}`;
    const ending = endingOf(table) ?? identifier(DELETED_AT);
    if (table.deletes === 'hard')
      await noteGone(database, request, sql`${tableName(table)} AS t WHERE ${unseen}`);
    const gone = await client.query(
      table.deletes === 'soft'
        ? sql`UPDATE ${tableName(table)} AS t SET ${ending} = now()${stamping(table, next)} WHERE ${ending} IS NULL AND ${unseen}`
        : sql`DELETE FROM ${tableName(table)} AS t WHERE ${unseen}`,
    );
    written.deleted = gone.rowCount ?? 0;
    if (isGuarded(request)) refuseTooMany(request, written.deleted, before);
  }
  await client.query(sql`DELETE FROM ${seenTable(key)} WHERE ${KEY}`, keyValues(key));
  return written;
}

/** Counts the different keys that a pass has met: those remembered, or those of the rows that wait for its end. */
function differentKeys(table: TableSpec, key: StreamKey): Sql {
  if (table.mode !== 'replace') return sql`count(DISTINCT key)`;
  const keys = joined(table.primaryKey.map(identifier));
  return sql`(SELECT count(*) FROM (SELECT DISTINCT ${keys} FROM ${tableName(asideOf(key, table))}) AS d)`;
}

/** Makes the table what the pass has read; what it may not have read stays as it was. */
async function publish(
  client: PostgresSession,
  request: WriteRequest,
  isWhole: boolean,
  before: number,
): Promise<Written> {
  const { key, table, next, cursor } = request;
  const from: Rows = {
    name: tableName(asideOf(key, table)),
    columns: new Map(Object.keys(table.columns).map((name) => [name, identifier(name)])),
  };
  const rows = await upsert(client, table, from, next);
  const met = await client.query<{ some: boolean }>(sql`SELECT EXISTS (SELECT 1 FROM ${from.name}) AS some`);
  let deleted = 0;
  if (isWhole && met.rows[0]?.some === true) {
    const isGone = sql`NOT EXISTS (SELECT 1 FROM ${from.name} AS s WHERE ${sameKey(table, from)})`;
    let said = 0;
    if (table.deletedField !== undefined && isGuarded(request)) {
      // The pass has met them, and yet they are not to be there: their records say so themselves.
      const found = await client.query<{ said: string }>(
        sql`SELECT count(*) AS said FROM ${tableName(table)} AS t WHERE ${isGone} AND ${keyText(table, (name) => sql`t.${identifier(name)}`)} IN (
           SELECT key FROM ${seenTable(key)} WHERE ${KEY} AND pass = $5)`,
        [...keyValues(key), cursor.pass],
      );
      said = Number(found.rows[0]?.said);
    }
    const gone = await client.query(sql`DELETE FROM ${tableName(table)} AS t WHERE ${isGone}`);
    deleted = gone.rowCount ?? 0;
    if (isGuarded(request)) refuseTooMany(request, deleted - said, before);
  }
  await changeTable(client, from.name, sql`DROP TABLE ${from.name}`);
  return { rows, deleted };
}
