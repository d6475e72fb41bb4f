/**
 * Child tables: rows that come from lists inside of a stream's records, written in the transaction of those records. The rows of
 * a record are replaced as a set: what its last version does not have any more goes.
 */
import { RecordError } from '../../errors.js';
import { PARENT, SYNCED_AT, BATCH, type ColumnType, type TableSpec } from '../../protocol.js';
import { ROOT_DELETED, ROOT_RECORD, rootKey } from '../../sources/record-splitter.js';
import { columnIn, tableName } from '../checkpoints.js';
import type { ChildWrite, RangeWrite, WriteRequest } from '../destination.js';
import { sameKey } from './conditions.js';
import { counts, type Batch, type Loader, type SqlSession } from './dialect.js';
import { asideOf, endingOf, saysDeleted, stamping } from './modes.js';
import { keyIs, ownTable, tableIs } from './own-tables.js';
import { identifier, literal, sql, type Sql } from './sql.js';

const ROOTS = sql`_highwater_roots`;
const WRITTEN = sql`_highwater_written`;

/** The relation of the records of a batch: `record` (its number as text; null if it has no rows any more) and `parent`. */
export const rootsOf = ({ dialect }: SqlSession): Sql => dialect.temporary(ROOTS);

/** Makes the request to write the rows of one child table. */
export function childRequest(request: WriteRequest, child: ChildWrite): WriteRequest {
  const { children: _, marks: _m, rejects: _r, fingerprint: _f, range: _range, ...rest } = request;
  return { ...rest, ...child, key: { ...request.key, table: child.table.table } };
}

/** Runs work on a child table; its errors name the table. */
export async function ofChild<T>({ table, schema }: TableSpec, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof RecordError)
      throw new RecordError(`child table ${schema}.${table}: ${thrown.message}`);
    throw thrown;
  }
}

async function replaceTemporary(session: SqlSession, name: Sql, query: Sql): Promise<void> {
  await session.runAll([
    sql`DROP TABLE IF EXISTS ${session.dialect.temporary(name)}`,
    sql`CREATE TEMP TABLE ${name} AS ${query}`,
  ]);
}

/** Remembers the records that a range writes: those that are left in its batch after it was compared with the table. */
export async function rememberWritten(
  session: SqlSession,
  { table }: Pick<WriteRequest, 'table'>,
  { name, columns }: Batch,
): Promise<void> {
  const keys = table.primaryKey.map((key) => sql`s.${columnIn(columns, key)}`);
  await replaceTemporary(
    session,
    WRITTEN,
    sql`SELECT ${session.dialect.keyText(keys)} AS parent FROM ${name} AS s`,
  );
}

/**
 * Loads the keys of the records of a batch, in the types and so in the spelling of the stored ones.
 * @param table the stream's table as it is stored.
 */
export async function loadRoots(
  session: SqlSession,
  request: WriteRequest,
  table: TableSpec,
  files: () => Promise<string[]>,
  loader: Loader,
): Promise<void> {
  const { dialect } = session;
  const { range, key, next } = request;
  const keys = table.primaryKey.map((name, i): [string, ColumnType] => [
    rootKey(i),
    table.columns[name] ?? 'STRING',
  ]);
  const { deletedField } = table;
  const deleted: [string, ColumnType][] =
    deletedField === undefined ? [] : [[ROOT_DELETED, table.columns[deletedField] ?? 'STRING']];
  const spec: TableSpec = {
    schema: table.schema,
    table: table.table,
    primaryKey: [ROOT_RECORD],
    columns: Object.fromEntries([[ROOT_RECORD, 'LONG'], ...keys, ...deleted]),
    ...(table.quarantine === true && { quarantine: true }),
  };
  // Records of an append table are all written, of others the last of each key.
  const number = table.mode === 'append' && range === undefined ? sql`record` : sql`max(record)`;
  const grouped = table.mode === 'append' && range === undefined ? sql`` : sql` GROUP BY parent`;
  const ofRange =
    range === undefined ? sql`` : sql` WHERE parent IN (SELECT parent FROM ${dialect.temporary(WRITTEN)})`;
  const load = { key, table: spec, next, files, longest: ROOT_BYTES };
  await loader.load(
    { ...load, keeps: 'all', isReadOnce: false, dropsMisfits: true },
    async ({ name, columns }) => {
      const column = (of: string) => sql`s.${columnIn(columns, of)}`;
      const parent = dialect.keyText(keys.map(([of]) => column(of)));
      const fitting = sql`SELECT ${column(ROOT_RECORD)} AS record, ${parent} AS parent FROM ${name} AS s`;
      const others =
        table.quarantine === true ? await misfitRoots(session, await files(), keys, fitting, loader) : sql``;
      const all = sql`${fitting}${others}`;
      await replaceTemporary(
        session,
        ROOTS,
        sql`SELECT CAST(record AS VARCHAR) AS record, parent FROM (
        SELECT ${number} AS record, parent FROM (${all}) AS a${ofRange}${grouped}) AS r`,
      );
      if (deletedField === undefined) return;
      const isGone = saysDeleted({ ...spec, deletedField: ROOT_DELETED }, column(ROOT_DELETED));
      await session.run(
        sql`UPDATE ${rootsOf(session)} SET record = NULL WHERE record IN (
        SELECT CAST(${column(ROOT_RECORD)} AS VARCHAR) FROM ${name} AS s WHERE ${isGone})`,
      );
    },
  );
}

/**
 * Selects the records whose key the table cannot hold, by the key's own text; begins with UNION ALL, and is empty if there are
 * none. They are quarantined, and their items are not lost with them.
 */
async function misfitRoots(
  session: SqlSession,
  files: readonly string[],
  keys: readonly [string, ColumnType][],
  fitting: Sql,
  loader: Loader,
): Promise<Sql> {
  const members = await loader.readMembers(files, [ROOT_RECORD, ...keys.map(([name]) => name)], ROOT_BYTES);
  const [all = 0, fit = 0] = await counts(
    session,
    sql`SELECT (SELECT count(*) FROM ${members} AS m), (SELECT count(*) FROM (${fitting}) AS f)`,
  );
  if (all === fit) return sql``;
  const parent = session.dialect.keyText(keys.map(([name]) => sql`m.${identifier(name)}`));
  const record = sql`CAST(m.${identifier(ROOT_RECORD)} AS ${session.dialect.type('LONG')})`;
  return sql` UNION ALL SELECT ${record}, ${parent} FROM ${members} AS m
    WHERE ${record} NOT IN (SELECT record FROM (${fitting}) AS f)`;
}

/** Bytes that the line of a key may have; keys go into cursors, and are shorter. */
const ROOT_BYTES = 256 * 1024;

/** Forgets the records of a batch. */
export async function dropRoots(session: SqlSession): Promise<void> {
  for (const name of [ROOTS, WRITTEN])
    await session.run(sql`DROP TABLE IF EXISTS ${session.dialect.temporary(name)}`);
}

/** Keeps a range from writing the rows of records whose rows the sync has written since the range requested them. */
export async function leaveFresh(
  session: SqlSession,
  { key, table }: WriteRequest,
  range: RangeWrite | undefined,
): Promise<void> {
  if (range === undefined || table.stamps !== true) return;
  if ((await session.dialect.storedColumns(session, table)) === null) return;
  const since = sql`CAST(${literal(range.began)} AS TIMESTAMPTZ)`;
  const ours = sql`SELECT id FROM ${ownTable(session, key, 'batches')} WHERE "range" = ${literal(key.range)}`;
  await session.run(
    sql`DELETE FROM ${rootsOf(session)} WHERE parent IN (SELECT t.${identifier(PARENT)} FROM ${tableName(table)} AS t
       WHERE t.${identifier(SYNCED_AT)} >= ${since} AND t.${identifier(BATCH)} NOT IN (${ours}))`,
  );
}

/** The record that a quarantined row belongs to, as its number or as its key: rows begin with it. */
const parentOfReject = sql`regexp_replace(record, ${literal(`^\\{"${PARENT}":("([^"\\\\]|\\\\.)*").*$`)}, ${literal('\\1')})`;

/**
 * Gives the quarantined rows of this batch the key of their record in place of its number, and forgets those of earlier
 * versions of the same records.
 */
export async function settleRejects(session: SqlSession, { key, next, table }: WriteRequest): Promise<void> {
  if (!isQuarantining(table)) return;
  const rejects = ownTable(session, key, 'rejects');
  const roots = rootsOf(session);
  const begin = sql`${literal(`{"${PARENT}":`)}`;
  const of = session.dialect.jsonText(sql`r.parent`);
  await session.run(
    sql`DELETE FROM ${rejects} WHERE ${tableIs(session, key)} AND batch <> ${literal(next)}
       AND ${parentOfReject} IN (SELECT ${of} FROM ${roots} AS r)`,
  );
  const number = session.dialect.jsonText(sql`r.record`);
  await session.run(
    sql`UPDATE ${rejects} SET record = ${begin} || n.parent || substr(record, length(${begin} || n.number) + 1)
       FROM (SELECT ${number} AS number, ${of} AS parent FROM ${roots} AS r WHERE r.record IS NOT NULL) AS n
       WHERE ${keyIs(session, key)} AND batch = ${literal(next)} AND ${parentOfReject} = n.number`,
  );
  // Those of records that came once more in the batch, or that say that they are deleted.
  await session.run(
    sql`DELETE FROM ${rejects} WHERE ${keyIs(session, key)} AND batch = ${literal(next)} AND ${parentOfReject} LIKE '"%' AND ${parentOfReject} NOT LIKE '"[%'`,
  );
}

/** A condition on `t`: no row of its record was quarantined with this batch, which may be the row. */
function hasNoReject(session: SqlSession, { key, next, table }: WriteRequest): Sql {
  if (!isQuarantining(table)) return sql`true`;
  return sql`${session.dialect.jsonText(sql`t.${identifier(PARENT)}`)} NOT IN (
    SELECT ${parentOfReject} FROM ${ownTable(session, key, 'rejects')} WHERE ${keyIs(session, key)} AND batch = ${literal(next)})`;
}

/** The table that a batch's rows are in: in mode replace they wait aside. */
const targetOf = ({ key, table }: WriteRequest): TableSpec =>
  table.mode === 'replace' ? asideOf(key, table) : table;

/**
 * Removes, marks or ends the rows that the records of a batch do not have any more.
 * @param batch null if the batch has no rows for this table.
 * @returns how many.
 */
export async function removeLeft(
  session: SqlSession,
  request: WriteRequest,
  batch: Batch | null,
): Promise<number> {
  const { table } = request;
  if (table.mode === 'append') return 0;
  const target = targetOf(request);
  const isLeft =
    batch === null
      ? sql`true`
      : sql`NOT EXISTS (SELECT 1 FROM ${batch.name} AS s WHERE ${sameKey(target, batch)})`;
  const which = sql`t.${identifier(PARENT)} IN (SELECT parent FROM ${rootsOf(session)})
    AND ${isLeft} AND ${hasNoReject(session, request)}`;
  return endRows(session, request, target, which);
}

/** Removes, marks or ends the rows whose record is not in the stream's table any more. @returns how many. */
export async function removeOrphans(
  session: SqlSession,
  request: Pick<WriteRequest, 'key' | 'table' | 'next'>,
  parents: TableSpec,
): Promise<number> {
  const { table } = request;
  if (table.mode === 'append') return 0;
  const { dialect } = session;
  const key = dialect.keyText(parents.primaryKey.map((name) => sql`p.${identifier(name)}`));
  const ending = endingOf(parents);
  const isThere = ending === null ? sql`true` : sql`p.${ending} IS NULL`;
  const which = dialect.isNoneOf(
    sql`t.${identifier(PARENT)}`,
    key,
    sql`FROM ${tableName(parents)} AS p WHERE ${isThere}`,
  );
  if (isQuarantining(table)) {
    const rejects = ownTable(session, request.key, 'rejects');
    const there = sql`SELECT ${dialect.jsonText(key)} FROM ${tableName(parents)} AS p WHERE ${isThere}`;
    await session.run(
      sql`DELETE FROM ${rejects} WHERE ${tableIs(session, request.key)} AND ${parentOfReject} NOT IN (${there})`,
    );
  }
  return endRows(session, request, table, which);
}

const isQuarantining = ({ quarantine, inference }: TableSpec): boolean =>
  quarantine === true || inference?.policy === 'quarantine';

/** Ends rows as the table says: marks them, ends their versions, or removes them. */
function endRows(
  session: SqlSession,
  { table, next }: Pick<WriteRequest, 'table' | 'next'>,
  target: TableSpec,
  which: Sql,
): Promise<number> {
  const from = sql`${tableName(target)} AS t`;
  const ending = target === table ? endingOf(table) : null;
  return session.run(
    ending === null
      ? sql`DELETE FROM ${from} WHERE ${which}`
      : sql`UPDATE ${from} SET ${ending} = now()${stamping(table, next)} WHERE t.${ending} IS NULL AND ${which}`,
  );
}
