/** The end of a pass: rows that it has not met are gone from the source, if it has read everything. */
import { DELETED_AT, PARENT, type Cursor, type SchemaChange, type TableSpec } from '../../protocol.js';
import { missesRows, notReady, tableName } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import { counts, type Relation, type SqlSession } from './dialect.js';
import { columnChange, creationOf, followChanges } from './evolution.js';
import {
  asideOf,
  beginsPass,
  endingOf,
  NOTHING_WRITTEN,
  isGuarded,
  mayRemove,
  missingNote,
  refuseTooMany,
  stamping,
  withinReach,
} from './modes.js';
import { insertInto, keyIs, keyLiterals, ownTable } from './own-tables.js';
import { noteGone } from './ranges.js';
import { identifier, joined, numeral, sql, type Sql } from './sql.js';
import { sameKey } from './conditions.js';
import type { Written } from './write-batch.js';

/** Selects the remembered keys that a pass has found; begins after SELECT. */
const seenIn = (session: SqlSession, { key, cursor }: WriteRequest): Sql =>
  sql`FROM ${ownTable(session, key, 'seen')} AS s WHERE ${keyIs(session, key)} AND s.pass = ${numeral(cursor.pass)}`;

/** Forgets which keys passes have met. */
const forgetSeen = (session: SqlSession, { key }: Pick<WriteRequest, 'key'>): Promise<number> =>
  session.run(sql`DELETE FROM ${ownTable(session, key, 'seen')} WHERE ${keyIs(session, key)}`);

/** Notes that a pass has met records whose keys are not known. */
async function rememberUnknown(session: SqlSession, { key, cursor }: WriteRequest): Promise<void> {
  await session.run(
    sql`${insertInto(session, key, 'seen')} VALUES (${keyLiterals(key)}, ${numeral(cursor.pass)}, NULL)`,
  );
}

/** The key of row `t` as it is remembered. */
const keyTextOf = ({ dialect }: SqlSession, { primaryKey }: TableSpec): Sql =>
  dialect.keyText(primaryKey.map((name) => sql`t.${identifier(name)}`));

/**
 * Prepares for a batch of a pass: forgets what an abandoned pass has met, and where the table is replaced makes an empty
 * table for the rows of the pass.
 * @param before the stored cursor.
 */
export async function preparePass(
  session: SqlSession,
  request: WriteRequest,
  before: Cursor | null,
): Promise<void> {
  const { table, cursor } = request;
  if (!missesRows(table) && table.mode !== 'replace') return;
  const begins = beginsPass(before, cursor);
  if (begins) await forgetSeen(session, request);
  if (table.mode === 'replace') return prepareAside(session, request, begins);
  if (begins) return;
  const [[isKnown = 'false'] = []] = await session.rows(
    sql`SELECT EXISTS (SELECT 1 ${seenIn(session, request)})`,
  );
  // The pass began while nothing was deleted: the keys that it met until now are not known.
  if (isKnown !== 'true') await rememberUnknown(session, request);
}

async function prepareAside(session: SqlSession, request: WriteRequest, begins: boolean): Promise<void> {
  const { dialect } = session;
  const { key, table } = request;
  const aside = asideOf(key, table);
  const name = tableName(aside);
  if (dialect.place(table.columns) === null) {
    throw notReady(
      table,
      'in mode replace no column can be named "rowid"; declare it under another name ({type, from})',
    );
  }
  if (begins) await dialect.changeTable(session, name, sql`DROP TABLE IF EXISTS ${name}`);
  const stored = await dialect.storedColumns(session, aside);
  if (stored === null) {
    await session.run(creationOf(dialect, aside));
    if (Object.hasOwn(aside.columns, PARENT)) await dialect.prepareKey(session, aside);
    // The pass began in another mode: the rows that it read until now are not here.
    if (!begins) await rememberUnknown(session, request);
    return;
  }
  // The table may have changed since.
  const { fold } = dialect.names;
  const changes: SchemaChange[] = [];
  for (const [column, to] of Object.entries(aside.columns)) {
    const is = stored.find((one) => fold(one.name) === fold(column));
    if (is?.stored === dialect.storedType(to)) continue;
    const change = { column, from: is?.type ?? null, to };
    await dialect.changeTable(session, name, columnChange(dialect, aside, change));
    changes.push(change);
  }
  await followChanges(session, aside, changes);
}

/** Counts the rows of a table that count as there, before a write that may have to ask; 0 where it need not. */
export async function rowsBefore(session: SqlSession, request: WriteRequest): Promise<number> {
  const { table } = request;
  if (!isGuarded(request)) return 0;
  if ((await session.dialect.storedColumns(session, table)) === null) return 0;
  const ending = endingOf(table);
  const which = ending === null ? sql`` : sql` WHERE ${ending} IS NULL`;
  const [rows = 0] = await counts(session, sql`SELECT count(*) FROM ${tableName(table)}${which}`);
  return rows;
}

/** The outcome of the end of a pass. */
export interface Ended extends Written {
  /** Whether the pass has read everything, so that the table may lack what the pass has not met. */
  isWhole: boolean;
}

const NOT_ENDED: Ended = { ...NOTHING_WRITTEN, isWhole: false };

/**
 * Ends a pass: removes, marks or ends the rows that it has not met, if it has read everything.
 * @param hasUnknown records of the batch have unknown keys.
 * @param before the count of {@link rowsBefore}.
 * @param mayBeWhole for a child table: whether the pass has read all records of the stream.
 * @throws {TooManyDeletesError}
 */
export async function endPass(
  session: SqlSession,
  request: WriteRequest,
  hasUnknown: boolean,
  before: number,
  mayBeWhole = true,
): Promise<Ended> {
  const { dialect } = session;
  const { key, table, cursor } = request;
  if (!missesRows(table) && table.mode !== 'replace') return NOT_ENDED;
  if (hasUnknown) await rememberUnknown(session, request);
  if (cursor.ended === null) return NOT_ENDED;
  await dialect.takeTime(session);
  const distinct = cursor.counted === undefined ? sql`0` : distinctKeys(request);
  const [met = 0, known = 0, different = 0] = await counts(
    session,
    sql`SELECT count(*), count(key), ${distinct} ${seenIn(session, request)}`,
  );
  // A planner takes a table that was filled just now for a small one, and would compare each row with each key.
  if (met > FEW_KEYS) await dialect.analyze(session, ownTable(session, key, 'seen'));
  const missing = met === known ? missingNote(request, different) : null;
  const isWhole = mayBeWhole && mayRemove(request) && met === known && missing === null;
  const written =
    table.mode === 'replace'
      ? await publishPass(session, request, isWhole, before)
      : // An empty list is more often a mistake of the source than the end of everything.
        { rows: 0, deleted: isWhole && met > 0 ? await removeUnmet(session, request, before) : 0 };
  await forgetSeen(session, request);
  return { ...written, isWhole, ...(missing !== null && { notes: [missing] }) };
}

/** Among so few keys a row is found by looking at each. */
const FEW_KEYS = 1000;

/** Counts the different keys that a pass has met: the remembered ones, or those of the rows that wait for its end. */
function distinctKeys({ key, table }: WriteRequest): Sql {
  if (table.mode !== 'replace') return sql`count(DISTINCT key)`;
  const keys = joined(table.primaryKey.map(identifier));
  return sql`(SELECT count(*) FROM (SELECT DISTINCT ${keys} FROM ${tableName(asideOf(key, table))}) AS d)`;
}

/** Removes, marks or ends the rows that a pass has not met. @returns how many. */
async function removeUnmet(session: SqlSession, request: WriteRequest, before: number): Promise<number> {
  const { dialect } = session;
  const { table, cursor, next } = request;
  const { unseen } = table;
  const type = table.columns[typeof unseen === 'object' ? unseen.column : ''] ?? 'UTC_DATETIME';
  const reach = withinReach(
    table,
    cursor,
    (name) => sql`t.${identifier(name)}`,
    (text) => sql`CAST(${text} AS ${dialect.type(type)})`,
  );
  const isUnmet = dialect.isNoneOf(keyTextOf(session, table), sql`s.key`, seenIn(session, request));
  const which = reach === null ? isUnmet : sql`${isUnmet} AND ${reach}`;
  const target = sql`${tableName(table)} AS t`;
  const ending = endingOf(table) ?? identifier(DELETED_AT);
  if (table.deletes === 'hard') await noteGone(session, request, sql`${target} WHERE ${which}`);
  const deleted = await session.run(
    table.deletes === 'soft'
      ? sql`UPDATE ${target} SET ${ending} = now()${stamping(table, next)} WHERE ${ending} IS NULL AND ${which}`
      : sql`DELETE FROM ${target} WHERE ${which}`,
  );
  if (isGuarded(request)) refuseTooMany(request, deleted, before);
  return deleted;
}

/** Makes the table what the pass has read; rows that it may not have read stay as they were. */
async function publishPass(
  session: SqlSession,
  request: WriteRequest,
  isWhole: boolean,
  before: number,
): Promise<Written> {
  const { dialect } = session;
  const { key, table, next } = request;
  const from: Relation = {
    name: tableName(asideOf(key, table)),
    columns: new Map(Object.keys(table.columns).map((name) => [name, identifier(name)])),
  };
  const [[hasRows = 'false'] = []] = await session.rows(sql`SELECT EXISTS (SELECT 1 FROM ${from.name})`);
  const rows = hasRows === 'true' ? await dialect.upsert(session, table, from, next) : 0;
  let deleted = 0;
  if (isWhole && hasRows === 'true') {
    const isGone = sql`NOT EXISTS (SELECT 1 FROM ${from.name} AS s WHERE ${sameKey(table, from)})`;
    let said = 0;
    if (table.deletedField !== undefined && isGuarded(request)) {
      // The pass has met them, and yet they are not to be there: their records say that they are deleted.
      [said = 0] = await counts(
        session,
        sql`SELECT count(*) FROM ${tableName(table)} AS t WHERE ${isGone} AND ${keyTextOf(session, table)} IN (
           SELECT key ${seenIn(session, request)})`,
      );
    }
    deleted = await session.run(sql`DELETE FROM ${tableName(table)} AS t WHERE ${isGone}`);
    if (isGuarded(request)) refuseTooMany(request, deleted - said, before);
  }
  await dialect.changeTable(session, from.name, sql`DROP TABLE ${from.name}`);
  return { rows, deleted };
}
