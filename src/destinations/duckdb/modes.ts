/** How a batch that is loaded into the temporary table `_batch` becomes rows of a DuckDB table. */
import { faultPoint } from '../../faults.js';
import {
  DELETED_AT,
  KEY_HASH,
  SEQUENCE,
  VALID_FROM,
  VALID_TO,
  type Cursor,
  type Note,
  type SchemaChange,
  type TableSpec,
} from '../../protocol.js';
import { batchColumns, columnIn, missesRows, keyValues, notReady, tableName } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import { storedTable, widened } from './evolution.js';
import { keyIs, rangeSql } from './ranges.js';
import { duckDbType } from './columns.js';
import { counts, rowsOf, type DuckDbSession } from './session.js';
import {
  asideOf,
  beginsPass,
  endingOf,
  isGuarded,
  marksDeleted,
  mayRemove,
  missingNote,
  MODE_COLUMNS,
  modeOf,
  ownColumns,
  refuseTooMany,
  saysDeleted,
  stamping,
  stamps,
  withinReach,
} from '../sql/modes.js';
import { noteGone } from '../sql/ranges.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

export interface Written {
  /** Inserted or changed. */
  rows: number;
  /** Of which the source says that they are gone. */
  deleted: number;
  /** For the checkpoint; absent where there are none. */
  notes?: Note[];
}

/** Whether a key that is there twice in a batch becomes one row. */
export const keepsLast = (table: TableSpec): boolean => table.mode !== 'append';

/** Columns of the table and ours, as they are declared. */
export const definitions = (table: TableSpec): Sql[] => [
  ...Object.entries(table.columns).map(
    ([name, type]) =>
      sql`${identifier(name)} ${duckDbType(type)}${table.primaryKey.includes(name) ? sql` NOT NULL` : sql``}`,
  ),
  ...ownDefinitions(table).map(([name, type]) => sql`${identifier(name)} ${type}`),
];

/** Our columns, with DuckDB's types. */
export const ownDefinitions = (table: TableSpec): [name: string, type: Sql][] => [
  ...ownColumns(table).map(([name, type]): [string, Sql] => [name, duckDbType(type)]),
  ...(hashesKey(table) ? [[KEY_HASH, sql`UBIGINT`] as [string, Sql]] : []),
];

/** Whether keys are found by their hash: of a text of 36 letters that is a fifth of the work, of a number more. */
const hashesKey = ({ primaryKey, columns }: TableSpec): boolean =>
  primaryKey.some((name) => columns[name] === 'STRING');

/** @param column the SQL of a column of the key. */
const keyHash = ({ primaryKey, columns }: TableSpec, column: (name: string) => Sql): Sql =>
  sql`hash(${joined(primaryKey.map((name) => (columns[name] === 'STRING' ? column(name) : sql`CAST(${column(name)} AS VARCHAR)`)))})`;

/**
 * What tells one way of hashing from another: DuckDB does not promise that its own stays the same in all versions.
 */
const HASH_PROBE = sql`SELECT concat_ws(',', hash('a'), hash(repeat('highwater é', 9)), hash('a', 'b'), hash(NULL::VARCHAR))`;

/** Of a table without rows: removes the columns that it had for another mode. */
export async function forgetMode(connection: DuckDbSession, table: TableSpec): Promise<void> {
  const own = new Set(ownDefinitions(table).map(([name]) => name));
  const { columns: there } = await storedTable(connection, table);
  const names = there?.map(({ name }) => name) ?? [];
  for (const name of MODE_COLUMNS) {
    if (own.has(name) || !names.includes(name)) continue;
    await connection.run(sql`ALTER TABLE ${tableName(table)} DROP COLUMN ${identifier(name)}`);
  }
}

/**
 * Adds our columns where they are missing.
 * @param changes what was done to the table just now.
 */
export async function prepareOwnColumns(
  connection: DuckDbSession,
  table: TableSpec,
  changes: readonly SchemaChange[],
): Promise<void> {
  const { columns: there } = await storedTable(connection, table);
  const names = new Set(there?.map(({ name }) => name.toLowerCase()));
  for (const [name, type] of ownDefinitions(table)) {
    if (names.has(name)) continue;
    await connection.run(sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${identifier(name)} ${type}`);
  }
  await checkHashes(connection);
  // The text of a key may be another in another type.
  const isOther = changes.some(({ column, from }) => from !== null && table.primaryKey.includes(column));
  if (isOther && hashesKey(table))
    await connection.run(sql`UPDATE ${tableName(table)} SET ${identifier(KEY_HASH)} = NULL`);
}

/** Gives every row of a table its hash: those that somebody else wrote have none, nor those of before. */
const fillingHashes = (table: TableSpec): Sql =>
  sql`UPDATE ${tableName(table)} AS t SET ${identifier(KEY_HASH)} = ${keyHash(table, (name) => sql`t.${identifier(name)}`)} WHERE ${identifier(KEY_HASH)} IS NULL`;

/** When this DuckDB hashes in another way than the one that wrote the file, all hashes are made again. */
async function checkHashes(connection: DuckDbSession): Promise<void> {
  const read = async (statement: Sql) => (await rowsOf(connection, statement)).map((row) => row.map(String));
  const [[probe = ''] = []] = await read(HASH_PROBE);
  const [[stored] = []] = await read(sql`SELECT value FROM _highwater_meta WHERE name = 'key_hash'`);
  if (stored === probe) return;
  const tables = await read(
    sql`SELECT schema_name, table_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_name, schema_name, table_name)
       WHERE database_name = current_database() AND column_name = ${literal(KEY_HASH)}`,
  );
  for (const [schema = '', table = ''] of stored === undefined ? [] : tables) {
    await connection.run(
      sql`UPDATE ${identifier(schema)}.${identifier(table)} SET ${identifier(KEY_HASH)} = NULL`,
    );
  }
  await connection.run(sql`DELETE FROM _highwater_meta WHERE name = 'key_hash'`);
  await connection.run(sql`INSERT INTO _highwater_meta VALUES ('key_hash', ${literal(probe)})`);
}

/** The column of a loaded batch that has the hash of each key, where keys are found by it. */
const BATCH_HASH = sql`hash`;

/**
 * What a loaded batch has besides its columns, as part of a list of them.
 * @param column the SQL of a column of the key as it is read.
 */
export const hashOfBatch = (table: TableSpec, column: (name: string) => Sql): Sql[] =>
  hashesKey(table) ? [sql`${keyHash(table, column)} AS ${BATCH_HASH}`] : [];

/** Of a key that is there twice in the batch, keeps the last. */
export function lastOfEach(table: TableSpec): Sql[] {
  const { columns } = batchOf(table);
  const keys = table.primaryKey.map((name) => columnIn(columns, name));
  // Texts are compared only where their hashes are the same.
  const which = hashesKey(table)
    ? sql`WHERE ${BATCH_HASH} IN (SELECT ${BATCH_HASH} FROM _batch GROUP BY ${BATCH_HASH} HAVING count(*) > 1)`
    : sql``;
  return [
    sql`CREATE OR REPLACE TEMP TABLE _last AS SELECT ${joined(keys)}, max(rowid) AS place FROM _batch ${which} GROUP BY ALL HAVING count(*) > 1`,
    sql`DELETE FROM _batch AS s USING _last AS l WHERE ${joined(
      keys.map((c) => sql`s.${c} = l.${c}`),
      sql` AND `,
    )} AND s.rowid <> l.place`,
    sql`DROP TABLE _last`,
  ];
}

/** Rows to be written into a table: their relation, and its columns by those of the table. */
interface Rows {
  name: Sql;
  columns: ReadonlyMap<string, Sql>;
  /** The hash of the key, where keys are found by it. */
  hash: Sql;
}

const batchOf = (table: TableSpec): Rows => ({
  name: sql`_batch`,
  columns: batchColumns(table),
  hash: BATCH_HASH,
});

const sameKey = (table: TableSpec, { columns }: Rows) =>
  joined(
    table.primaryKey.map((name) => sql`t.${identifier(name)} = s.${columnIn(columns, name)}`),
    sql` AND `,
  );

/** Writes the loaded batch in the table's mode. Temporary tables go with their connection. */
export async function writeRows(connection: DuckDbSession, request: WriteRequest): Promise<Written> {
  const { table, key, next } = request;
  const batch = batchOf(table);
  // Records that say that they are gone leave the batch, and yet the pass has met them.
  if (missesRows(table)) await remember(connection, request);
  let deleted = await endDeleted(connection, request);
  let rows: number;
  switch (modeOf(table)) {
    case 'append':
      rows = await append(connection, table, next);
      break;
    case 'history':
      rows = await supersede(connection, table, next);
      break;
    case 'replace':
      await upsert(connection, asideOf(key, table), batch, next);
      rows = 0;
      break;
    case 'upsert':
      rows = await upsert(connection, table, batch, next);
  }
  if (marksDeleted(table)) deleted += await markDeleted(connection, request);
  return { rows, deleted };
}

/**
 * Writes what is new or differs. Not one MERGE: finding the keys reads little of the table, contents are compared
 * for the rows that were found, and rows that stand there already cost no write.
 * @returns how many rows were inserted or changed.
 */
async function upsert(
  connection: DuckDbSession,
  table: TableSpec,
  from: Rows,
  next: string,
): Promise<number> {
  const known = await find(connection, table, from);
  if (known.mayDiffer && (await mayMove(connection, table))) {
    // Anew at the end: an update in place rewrites the columns of every part of the table that it touches.
    await connection.run(
      sql`DELETE FROM ${tableName(table)} AS t WHERE t.rowid IN (SELECT stored FROM _known WHERE differs)`,
    );
    faultPoint('transaction.half');
    return insert(connection, table, from, next, [], sql`${known.isNew} OR rowid IN (${CHANGED})`);
  }
  let rows = 0;
  if (known.mayDiffer) {
    const set = [...from.columns]
      .filter(([name]) => !table.primaryKey.includes(name))
      .map(([name, c]) => sql`${identifier(name)} = s.${c}`);
    const updated = await connection.run(
      sql`UPDATE ${tableName(table)} AS t SET ${joined(set)}${stamping(table, next)}
         FROM _known AS k JOIN ${from.name} AS s ON s.rowid = k.read WHERE k.differs AND ${known.atSamePlace}`,
    );
    rows += updated.rowsChanged;
  }
  faultPoint('transaction.half');
  return rows + (await insert(connection, table, from, next, [], known.isNew));
}

const CHANGED = sql`SELECT read FROM _known WHERE differs`;

/**
 * Whether a row may be deleted and inserted in place of being updated: where it has no columns but those that are
 * written, and no index (DuckDB takes a key that was deleted in the same transaction for one that is there).
 */
async function mayMove(connection: DuckDbSession, table: TableSpec): Promise<boolean> {
  if (hasRowid(table)) return false;
  // When it was found to be gone stays.
  if (marksDeleted(table) && table.deletedField !== undefined) return false;
  const here = sql`database_name = current_database() AND lower(schema_name) = lower(${literal(table.schema)}) AND lower(table_name) = lower(${literal(table.table)})`;
  const [columns = 0, constraints = 0, indexes = 0] = await counts(
    connection,
    sql`SELECT (SELECT count(*) FROM duckdb_columns() WHERE ${here}),
       (SELECT count(*) FROM duckdb_constraints() WHERE ${here} AND constraint_type <> 'NOT NULL'),
       (SELECT count(*) FROM duckdb_indexes() WHERE ${here})`,
  );
  return (
    constraints + indexes === 0 &&
    columns === Object.keys(table.columns).length + ownDefinitions(table).length
  );
}

/** Ends the version of each key that has changed, and begins one for it and for each that is new. */
async function supersede(connection: DuckDbSession, table: TableSpec, next: string): Promise<number> {
  const from = batchOf(table);
  const known = await find(connection, table, from, sql`AND t.${identifier(VALID_TO)} IS NULL`);
  if (known.mayDiffer) {
    await connection.run(
      sql`UPDATE ${tableName(table)} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)}
         FROM _known AS k JOIN _batch AS s ON s.rowid = k.read WHERE k.differs AND ${known.atSamePlace}`,
    );
  }
  faultPoint('transaction.half');
  const which = known.isNew === '' ? sql`` : sql`${known.isNew} OR rowid IN (${CHANGED})`;
  return insert(connection, table, from, next, [[identifier(VALID_FROM), sql`now()`]], which);
}

/** A column of this name hides a row's place. */
const hasRowid = (table: TableSpec): boolean =>
  Object.keys(table.columns).some((name) => name.toLowerCase() === 'rowid');

interface Known {
  mayDiffer: boolean;
  /** Condition on the batch: rows that the table has not got. */
  isNew: Sql;
  /** Condition that `t` is the stored row of `k`. */
  atSamePlace: Sql;
}

/**
 * Finds the rows of the same keys, and whether they differ: `_known`.
 * @param which of the table's rows are meant.
 */
async function find(connection: DuckDbSession, table: TableSpec, from: Rows, which = sql``): Promise<Known> {
  const target = tableName(table);
  const same = sql`${sameKey(table, from)} ${which}`;
  const atSamePlace = hasRowid(table) ? same : sql`t.rowid = k.stored`;
  const [near, batch] =
    hashesKey(table) && !hasRowid(table)
      ? [
          sql`t.${identifier(KEY_HASH)} = s.hash ${which}`,
          sql`(SELECT rowid, ${from.hash} AS hash FROM ${from.name})`,
        ]
      : [same, from.name];
  const differs = [...from.columns]
    .filter(([name]) => !table.primaryKey.includes(name))
    .map(([name, c]) => sql`t.${identifier(name)} IS DISTINCT FROM s.${c}`);
  // By place only: joined by key too, the plan reads all of the batch for a single row that is there.
  const sameRow = hasRowid(table)
    ? same
    : sql`t.rowid = k.stored WHERE coalesce(${sameKey(table, from)}, false)`;
  const [count = 0, changed = 0] = await counts(connection, [
    ...(near === same ? [] : [fillingHashes(table)]),
    sql`CREATE OR REPLACE TEMP TABLE _near AS SELECT t.rowid AS stored, s.rowid AS read FROM ${target} AS t JOIN ${batch} AS s ON ${near}`,
    sql`CREATE OR REPLACE TEMP TABLE _known AS SELECT k.stored, k.read, ${differs.length === 0 ? sql`false` : joined(differs, sql` OR `)} AS differs
       FROM _near AS k JOIN ${from.name} AS s ON s.rowid = k.read JOIN ${target} AS t ON ${sameRow}`,
    sql`SELECT count(*), count(*) FILTER (differs) FROM _known`,
  ]);
  if (count === 0) return { mayDiffer: false, isNew: sql``, atSamePlace };
  return { mayDiffer: changed > 0, isNew: sql`WHERE rowid NOT IN (SELECT read FROM _known)`, atSamePlace };
}

async function insert(
  connection: DuckDbSession,
  table: TableSpec,
  from: Rows,
  next: string,
  more: [Sql, Sql][],
  which: Sql,
): Promise<number> {
  const own = [...more, ...ownValues(table, from, next)];
  const names = [...[...from.columns.keys()].map(identifier), ...own.map(([column]) => column)];
  const values = [...from.columns.values(), ...own.map(([, value]) => value)];
  const inserted = await connection.run(
    sql`INSERT INTO ${tableName(table)} (${joined(names)}) SELECT ${joined(values)} FROM ${from.name} ${which}`,
  );
  return inserted.rowsChanged;
}

/** What each new row has besides what it was read with. */
const ownValues = (table: TableSpec, { hash }: Rows, next: string): [name: Sql, value: Sql][] => [
  ...stamps(table, next),
  ...(hashesKey(table) ? [[identifier(KEY_HASH), hash] as [Sql, Sql]] : []),
];

/** Adds every record that differs from the one before it of its key, in the batch or in the table. */
async function append(connection: DuckDbSession, table: TableSpec, next: string): Promise<number> {
  const target = tableName(table);
  const from = batchOf(table);
  const names = [...from.columns.keys()].map((name) => sql`t.${identifier(name)}`);
  const columns = joined([...from.columns.values()]);
  const keys = joined(table.primaryKey.map((name) => columnIn(from.columns, name)));
  const own = ownValues(
    table,
    { ...from, hash: keyHash(table, (name) => columnIn(from.columns, name)) },
    next,
  );
  const into = joined([
    ...[...from.columns.keys()].map(identifier),
    identifier(SEQUENCE),
    ...own.map(([name]) => name),
  ]);
  faultPoint('transaction.half');
  await connection.run(
    sql`CREATE OR REPLACE TEMP TABLE _latest AS SELECT ${joined(names.map((name, i) => sql`${name} AS c${numeral(i)}`))} FROM ${target} AS t
       SEMI JOIN _batch AS s ON ${sameKey(table, from)}
       QUALIFY row_number() OVER (PARTITION BY ${joined(table.primaryKey.map((name) => sql`t.${identifier(name)}`))} ORDER BY t.${identifier(SEQUENCE)} DESC) = 1`,
  );
  const inserted = await connection.run(
    sql`INSERT INTO ${target} (${into})
       SELECT ${columns}, coalesce((SELECT max(${identifier(SEQUENCE)}) FROM ${target}), 0) + row_number() OVER (ORDER BY place)${joined(
         own.map(([, value]) => sql`, ${value}`),
         sql``,
       )}
       FROM (SELECT *, lag(row(${columns})) OVER (PARTITION BY ${keys} ORDER BY place) AS before
         FROM (SELECT -1 AS place, ${columns} FROM _latest UNION ALL SELECT rowid, ${columns} FROM _batch))
       WHERE place >= 0 AND before IS DISTINCT FROM row(${columns})
       ORDER BY place`,
  );
  return inserted.rowsChanged;
}

/** Takes those out of the batch that say that they are gone, and out of the table; where rows are marked, neither. */
async function endDeleted(connection: DuckDbSession, request: WriteRequest): Promise<number> {
  const { table, key, next } = request;
  if (table.deletedField === undefined || marksDeleted(table)) return 0;
  const batch = batchOf(table);
  const gone = saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const target = tableName(table.mode === 'replace' ? asideOf(key, table) : table);
  if (table.mode === undefined) {
    await noteGone(
      rangeSql(connection, null),
      request,
      sql`${target} AS t JOIN _batch AS s ON ${sameKey(table, batch)} WHERE ${gone}`,
    );
  }
  const ended = await connection.run(
    table.mode === 'history'
      ? sql`UPDATE ${target} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)} FROM _batch AS s
           WHERE ${sameKey(table, batch)} AND t.${identifier(VALID_TO)} IS NULL AND ${gone}`
      : sql`DELETE FROM ${target} AS t USING _batch AS s WHERE ${sameKey(table, batch)} AND ${gone}`,
  );
  await connection.run(sql`DELETE FROM _batch AS s WHERE ${gone}`);
  return table.mode === 'replace' ? 0 : ended.rowsChanged;
}

/** Marks the rows whose records say that they are gone, and no others: what is there again is not deleted any more. */
async function markDeleted(connection: DuckDbSession, { table, next }: WriteRequest): Promise<number> {
  const batch = batchOf(table);
  const gone =
    table.deletedField === undefined
      ? sql`false`
      : saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const mark = (value: Sql, which: Sql) =>
    connection.run(
      sql`UPDATE ${tableName(table)} AS t SET ${identifier(DELETED_AT)} = ${value}${stamping(table, next)} FROM _batch AS s
         WHERE ${sameKey(table, batch)} AND ${which}`,
    );
  await mark(sql`NULL`, sql`t.${identifier(DELETED_AT)} IS NOT NULL AND NOT ${gone}`);
  if (table.deletedField === undefined) return 0;
  return (await mark(sql`now()`, sql`t.${identifier(DELETED_AT)} IS NULL AND ${gone}`)).rowsChanged;
}

/** Remembers the keys of a batch for the end of its pass. */
async function remember(connection: DuckDbSession, { key, table, cursor }: WriteRequest): Promise<void> {
  const { columns } = batchOf(table);
  const keys = joined(table.primaryKey.map((name) => sql`CAST(${columnIn(columns, name)} AS VARCHAR)`));
  const values = sql`${joined(keyValues(key).map(literal))}, ${numeral(cursor.pass)}`;
  await connection.run(
    sql`INSERT INTO _highwater_seen SELECT ${values}, to_json([${keys}])::VARCHAR FROM _batch`,
  );
}

/** Notes that a pass has met something whose key is not known. */
async function rememberUnknown(connection: DuckDbSession, { key, cursor }: WriteRequest): Promise<void> {
  const unknown = sql`${joined(keyValues(key).map(literal))}, ${numeral(cursor.pass)}, NULL`;
  await connection.run(sql`INSERT INTO _highwater_seen VALUES (${unknown})`);
}

/**
 * Before a batch: what is remembered of a pass that was given up goes; of a table that is replaced, the first batch of
 * a pass finds an empty place for its rows.
 * @param before the stored cursor.
 */
export async function readyPass(
  connection: DuckDbSession,
  request: WriteRequest,
  before: Cursor | null,
): Promise<void> {
  const { key, table, cursor } = request;
  if (!missesRows(table) && table.mode !== 'replace') return;
  const begins = beginsPass(before, cursor);
  if (begins) await connection.run(sql`DELETE FROM _highwater_seen WHERE ${keyIs(key)}`);
  if (table.mode === 'replace') return readyAside(connection, request, begins);
  const ofPass = sql`SELECT count(*) FROM _highwater_seen WHERE ${keyIs(key)} AND pass = ${numeral(cursor.pass)}`;
  // The pass began when nothing was deleted: what it met until now is not known.
  if (!begins && (await counts(connection, ofPass))[0] === 0) await rememberUnknown(connection, request);
}

async function readyAside(connection: DuckDbSession, request: WriteRequest, begins: boolean): Promise<void> {
  const { key, table } = request;
  const aside = asideOf(key, table);
  if (hasRowid(table)) {
    throw notReady(
      table,
      'in mode replace no column can be called "rowid": declare it by another name ({type, from})',
    );
  }
  if (begins) await connection.run(sql`DROP TABLE IF EXISTS ${tableName(aside)}`);
  const { columns: there } = await storedTable(connection, aside);
  if (there === null) {
    await connection.run(sql`CREATE TABLE ${tableName(aside)} (${joined(definitions(aside))})`);
    // The pass began in another mode: what it has read until now is not here.
    if (!begins) await rememberUnknown(connection, request);
    return;
  }
  // The table may have changed since.
  const changes: SchemaChange[] = [];
  for (const [column, to] of Object.entries(aside.columns)) {
    const is = there.find(({ name }) => name.toLowerCase() === column.toLowerCase());
    if (is?.stored === duckDbType(to)) continue;
    const from = is?.type ?? null;
    const name = identifier(column);
    await connection.run(
      from === null
        ? sql`ALTER TABLE ${tableName(aside)} ADD COLUMN ${name} ${duckDbType(to)}`
        : sql`ALTER TABLE ${tableName(aside)} ALTER COLUMN ${name} SET DATA TYPE ${duckDbType(to)} USING ${widened(name, from, to)}`,
    );
    changes.push({ column, from, to });
  }
  if (changes.length > 0) await prepareOwnColumns(connection, aside, changes);
}

/** Counts the rows of a table that count as there, before a write that may have to ask; 0 where it need not. */
export async function rowsBefore(connection: DuckDbSession, request: WriteRequest): Promise<number> {
  const { table } = request;
  if (!isGuarded(request)) return 0;
  const { columns } = await storedTable(connection, table);
  if (columns === null) return 0;
  const ending = endingOf(table);
  const which = ending === null ? sql`` : sql` WHERE ${ending} IS NULL`;
  const [rows = 0] = await counts(connection, sql`SELECT count(*) FROM ${tableName(table)}${which}`);
  return rows;
}

/**
 * Ends a pass: what it has not met is gone from the source, if it has read everything.
 * @param hasUnknown records of the batch have no key that is known: null stands for them.
 * @param before what {@link rowsBefore} counted.
 * @throws {TooManyDeletesError}
 */
export async function endOfPass(
  connection: DuckDbSession,
  request: WriteRequest,
  hasUnknown: boolean,
  before: number,
): Promise<Written> {
  const { key, table, cursor, next } = request;
  if (!missesRows(table) && table.mode !== 'replace') return { rows: 0, deleted: 0 };
  if (hasUnknown) await rememberUnknown(connection, request);
  if (cursor.ended === null) return { rows: 0, deleted: 0 };
  const seen = sql`FROM _highwater_seen WHERE ${keyIs(key)} AND pass = ${numeral(cursor.pass)}`;
  const [met = 0, known = 0, distinct = 0] = await counts(
    connection,
    sql`SELECT count(*), count(key), ${cursor.counted === undefined ? sql`0` : different(request, seen)} ${seen}`,
  );
  const missing = met === known ? missingNote(request, distinct) : null;
  const isWhole = mayRemove(request) && met === known && missing === null;
  const written: Written = { rows: 0, deleted: 0, ...(missing !== null && { notes: [missing] }) };
  if (table.mode === 'replace') Object.assign(written, await publish(connection, request, isWhole, before));
  // An empty list is more often a mistake of the source than the end of everything.
  else if (isWhole && met > 0) {
    const reach = withinReach(
      table,
      cursor,
      (name) => sql`t.${identifier(name)}`,
      (text) =>
        sql`${text}::${duckDbType(table.columns[typeof table.unseen === 'object' ? table.unseen.column : ''] ?? 'UTC_DATETIME')}`,
    );
    const unseen = sql`${keyText(table)} NOT IN (SELECT key ${seen})${reach === null ? sql`` : sql` AND ${reach}`}`;
    const target = sql`${tableName(table)} AS t`;
    const ending = endingOf(table) ?? identifier(DELETED_AT);
    if (table.deletes === 'hard')
      await noteGone(rangeSql(connection, null), request, sql`${target} WHERE ${unseen}`);
    const gone = await connection.run(
      table.deletes === 'soft'
        ? sql`UPDATE ${target} SET ${ending} = now()${stamping(table, next)} WHERE ${ending} IS NULL AND ${unseen}`
        : sql`DELETE FROM ${target} WHERE ${unseen}`,
    );
    written.deleted = gone.rowsChanged;
    if (isGuarded(request)) refuseTooMany(request, written.deleted, before);
  }
  await connection.run(sql`DELETE FROM _highwater_seen WHERE ${keyIs(key)}`);
  return written;
}

/** Counts the different keys that a pass has met: those remembered, or those of the rows that wait for its end. */
function different({ key, table }: WriteRequest, seen: Sql): Sql {
  if (table.mode !== 'replace') return sql`(SELECT count(DISTINCT key) ${seen})`;
  const keys = joined(table.primaryKey.map(identifier));
  return sql`(SELECT count(*) FROM (SELECT DISTINCT ${keys} FROM ${tableName(asideOf(key, table))}))`;
}

/** The key of the row `t` as it is remembered. */
const keyText = ({ primaryKey }: TableSpec): Sql =>
  sql`to_json([${joined(primaryKey.map((name) => sql`CAST(t.${identifier(name)} AS VARCHAR)`))}])::VARCHAR`;

/** Makes the table what the pass has read; what it may not have read stays as it was. */
async function publish(
  connection: DuckDbSession,
  request: WriteRequest,
  isWhole: boolean,
  before: number,
): Promise<Written> {
  const { key, table, next, cursor } = request;
  const aside = asideOf(key, table);
  const from: Rows = {
    name: tableName(aside),
    columns: new Map(Object.keys(table.columns).map((name) => [name, identifier(name)])),
    hash: keyHash(table, identifier),
  };
  const [met = 0] = await counts(connection, sql`SELECT count(*) FROM ${from.name}`);
  const rows = met === 0 ? 0 : await upsert(connection, table, from, next);
  let deleted = 0;
  if (isWhole && met > 0) {
    const isGone = sql`NOT EXISTS (SELECT 1 FROM ${from.name} AS s WHERE ${sameKey(table, from)})`;
    let said = 0;
    if (table.deletedField !== undefined && isGuarded(request)) {
      // The pass has met them, and yet they are not to be there: their records say so themselves.
      [said = 0] = await counts(
        connection,
        sql`SELECT count(*) FROM ${tableName(table)} AS t WHERE ${isGone} AND ${keyText(table)} IN (
           SELECT key FROM _highwater_seen WHERE ${keyIs(key)} AND pass = ${numeral(cursor.pass)})`,
      );
    }
    const gone = await connection.run(sql`DELETE FROM ${tableName(table)} AS t WHERE ${isGone}`);
    deleted = gone.rowsChanged;
    if (isGuarded(request)) refuseTooMany(request, deleted - said, before);
  }
  await connection.run(sql`DROP TABLE ${from.name}`);
  return { rows, deleted };
}
