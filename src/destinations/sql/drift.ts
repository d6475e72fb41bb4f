/**
 * Changes of the configuration or the table since the checkpoint, in SQL destinations. Each function is part of the
 * transaction that opens the stream or ends a pass.
 */
import { randomUUID } from 'node:crypto';
import { DestinationError, DestinationGoneError } from '../../errors.js';
import { SYNCED_AT, type Holder, type Note, type StreamKey, type TableSpec } from '../../protocol.js';
import { isRange, keyValues, sameKey, startsAnew, tableName } from '../checkpoints.js';
import type { OpenRequest } from '../destination.js';
import {
  isSameKey,
  keyChanged,
  keyText,
  otherKey,
  STARTED_OVER_GONE,
  type Fingerprint,
  type Recorded,
} from '../fingerprint.js';
import { hasKeys } from '../columns/inference.js';
import type { SqlRow, SqlSession } from './dialect.js';
import { columnOf } from './evolution.js';
import { insertInto, keyIs, ownTable, tableIs } from './own-tables.js';
import { removeOlderTwins } from './ranges.js';
import { identifier, joined, literal, sql, type Sql } from './sql.js';

/** Reads the configurations recorded for the streams of a table; none are recorded for ranges. */
async function recordedFor(
  session: SqlSession,
  key: StreamKey,
): Promise<{ key: StreamKey; recorded: Recorded }[]> {
  const rows = await session.rows(
    sql`SELECT strategy, source, fingerprint FROM ${ownTable(session, key, 'fingerprints')} WHERE ${tableIs(session, key)}`,
  );
  return rows.map(([strategy, source, fingerprint]) => ({
    key: { ...key, strategy: strategy as StreamKey['strategy'], source: source ?? '', range: '' },
    recorded: JSON.parse(fingerprint ?? '') as Recorded,
  }));
}

export async function recordedOf(session: SqlSession, key: StreamKey): Promise<Recorded | null> {
  const all = await recordedFor(session, key);
  return all.find((one) => sameKey(one.key, key))?.recorded ?? null;
}

async function keepRecorded(session: SqlSession, key: StreamKey, recorded: Recorded): Promise<void> {
  await forgetRecorded(session, key);
  const values = joined([...keyValues(key), JSON.stringify(recorded)].map(literal));
  await session.run(sql`${insertInto(session, key, 'fingerprints')} VALUES (${values})`);
}

const forgetRecorded = (session: SqlSession, key: StreamKey) =>
  session.run(sql`DELETE FROM ${ownTable(session, key, 'fingerprints')} WHERE ${keyIs(session, key)}`);

/** Records the configuration of a stream that has been opened, after {@link settleKey} has accepted its primary key. */
export async function keepOpened(
  session: SqlSession,
  key: StreamKey,
  record: Recorded | null,
): Promise<void> {
  if (record === null) return;
  await keepRecorded(session, key, record);
  // The table has this stream's primary key now; its other streams record theirs when they are opened.
  for (const other of await recordedFor(session, key))
    if (otherKey([other.recorded], { primaryKey: record.is.primaryKey }) !== null)
      await forgetRecorded(session, other.key);
}

/** Records the configuration of a pass that has ended: it has read all rows of its stream. */
export async function keepEnded(session: SqlSession, key: StreamKey, is: Fingerprint): Promise<void> {
  const recorded = await recordedOf(session, key);
  if (recorded !== null && JSON.stringify(recorded) === JSON.stringify({ is })) return;
  await keepRecorded(session, key, { is });
}

/**
 * Refuses a primary key other than the one by which the table's rows were written, before any row is touched.
 * @returns a function that adapts the rows to the new key if everything is read again: it keeps one row of each key, and
 *   removes rows without a key.
 * @throws {DestinationError}
 */
export async function settleKey(session: SqlSession, request: OpenRequest): Promise<() => Promise<void>> {
  const { key, table } = request;
  const recorded = (await recordedFor(session, key)).map((one) => one.recorded);
  const was = otherKey(recorded, table);
  const settleChildren = await settleChildKeys(session, request, recorded);
  const columns = was === null ? null : await columnsByMember(session, table);
  if (was === null || columns === null) return settleChildren;
  const [[hasRows = 'false'] = []] = await session.rows(
    sql`SELECT EXISTS (SELECT 1 FROM ${tableName(table)})`,
  );
  const isKept = table.mode === 'append' || table.mode === 'history';
  if (hasRows === 'true' && (isRange(key) || isKept || !startsAnew(request)))
    throw keyChanged(table, keyText(was, table.primaryKey));
  await releaseOldKey(session, table, was, columns);
  return async () => {
    await keepOneEach(session, table);
    // Their rows name their records by the key of before. All are read again.
    for (const child of request.children ?? [])
      if ((await session.dialect.storedColumns(session, child)) !== null)
        await session.run(sql`DELETE FROM ${tableName(child)}`);
    await settleChildren();
  };
}

/** Drops what binds the rows of a table to the primary key of before. */
async function releaseOldKey(
  session: SqlSession,
  table: TableSpec,
  was: readonly string[],
  columns: (member: string) => Promise<string | null>,
): Promise<void> {
  const before: string[] = [];
  for (const member of was) before.push((await columns(member)) ?? member);
  await session.dialect.releaseKey(session, table, before);
  for (const member of was) {
    const column = await columns(member);
    if (column === null || table.primaryKey.includes(member)) continue;
    await session.run(sql`ALTER TABLE ${tableName(table)} ALTER COLUMN ${identifier(column)} DROP NOT NULL`);
  }
}

/** As {@link settleKey}, for the child tables of a stream. */
async function settleChildKeys(
  session: SqlSession,
  request: OpenRequest,
  recorded: readonly Recorded[],
): Promise<() => Promise<void>> {
  const changed: TableSpec[] = [];
  for (const child of request.children ?? []) {
    const known = recorded.flatMap(({ is }) => is.children?.[child.table] ?? []);
    const was = known.find(({ primaryKey }) => !isSameKey(primaryKey, child.primaryKey))?.primaryKey;
    const columns = was === undefined ? null : await columnsByMember(session, child);
    if (was === undefined || columns === null) continue;
    const [[hasRows = 'false'] = []] = await session.rows(
      sql`SELECT EXISTS (SELECT 1 FROM ${tableName(child)})`,
    );
    const isKept = child.mode === 'append' || child.mode === 'history';
    if (hasRows === 'true' && (isRange(request.key) || isKept || !startsAnew(request)))
      throw keyChanged(child, keyText(was, child.primaryKey));
    await releaseOldKey(session, child, was, columns);
    changed.push(child);
  }
  return async () => {
    for (const child of changed) await keepOneEach(session, child);
  };
}

/** Keeps one row of each key, and removes rows without a key. */
async function keepOneEach(session: SqlSession, table: TableSpec): Promise<void> {
  const columns = await columnsByMember(session, table);
  if (columns === null) return;
  const target = tableName(table);
  const keys: Sql[] = [];
  for (const member of table.primaryKey) {
    const column = await columns(member);
    if (column !== null) keys.push(sql`t.${identifier(column)}`);
  }
  if (keys.length < table.primaryKey.length) {
    await session.run(sql`DELETE FROM ${target}`);
    return;
  }
  await session.run(
    sql`DELETE FROM ${target} AS t WHERE ${joined(
      keys.map((name) => sql`${name} IS NULL`),
      sql` OR `,
    )}`,
  );
  const isStamped =
    (await session.dialect.storedColumns(session, table))?.some(({ name }) => name === SYNCED_AT) === true;
  await removeOlderTwins(
    session,
    table,
    keys,
    isStamped ? [sql`t.${identifier(SYNCED_AT)} DESC NULLS LAST`] : [],
  );
}

/** Returns a function that finds the column of a record's field; null if there is no table. */
async function columnsByMember(
  session: SqlSession,
  table: TableSpec,
): Promise<((member: string) => Promise<string | null>) | null> {
  const { dialect } = session;
  const stored = await dialect.storedColumns(session, table);
  if (stored === null) return null;
  const { fold } = dialect.names;
  const there = new Map(stored.map(({ name }) => [fold(name), name]));
  return async (member) => there.get(fold((await columnOf(session, table, member))?.name ?? member)) ?? null;
}

/**
 * Starts all streams of a table over if the table, or a child table, is gone although they have checkpoints. Part of the transaction that
 * creates the table again, so that neither happens without the other.
 * @returns the streams that start over.
 */
export async function startOverWhereGone(
  session: SqlSession,
  table: TableSpec,
  children: readonly TableSpec[] = [],
): Promise<StreamKey[]> {
  const found = (await isSomeChildGone(session, table, children))
    ? await checkpointsOf(session, table)
    : await checkpointsWithoutTable(session, table);
  if (found.length === 0) return [];
  const gone: StreamKey[] = [];
  for (const [strategy, source, id, holder] of found) {
    const own: StreamKey = {
      schema: table.schema,
      table: table.table,
      strategy: strategy as StreamKey['strategy'],
      source: source ?? '',
      range: '',
    };
    const next = randomUUID();
    const { workflowId } = JSON.parse(holder ?? '') as Holder;
    const values = joined([next, id ?? '', ...keyValues(own)].map(literal));
    await session.run(
      sql`UPDATE ${ownTable(session, own, 'checkpoints')} SET id = ${literal(next)}, cursor = NULL, updated_at = now() WHERE ${keyIs(session, own)}`,
    );
    for (const name of ['seen', 'parents'] as const)
      await session.run(sql`DELETE FROM ${ownTable(session, own, name)} WHERE ${keyIs(session, own)}`);
    await session.run(
      sql`${insertInto(session, own, 'moves')} VALUES (${values}, NULL, ${literal(workflowId)}, ${literal(STARTED_OVER_GONE)}, now())`,
    );
    const recorded = await recordedOf(session, own);
    if (recorded !== null) await keepRecorded(session, own, { is: recorded.is, gone: true });
    gone.push(own);
  }
  return gone;
}

/** Whether the table is gone although it has a checkpoint. */
export const isTableGone = async (session: SqlSession, table: TableSpec): Promise<boolean> =>
  (await checkpointsWithoutTable(session, table)).length > 0;

/**
 * Refuses tables that would be written twice: as a child table of one stream, and as a table or child table of another.
 * @throws {DestinationError}
 */
export async function refuseSharedChildren(
  session: SqlSession,
  { key, table, children = [] }: OpenRequest,
): Promise<void> {
  const { fold } = session.dialect.names;
  const isSame = (a: string, b: string) => fold(a) === fold(b);
  const own = [table, ...children].map((one) => one.table);
  const refuse = (name: string, other: string) => {
    throw new DestinationError(
      `table ${key.schema}.${name} belongs to the stream that writes ${key.schema}.${other}. Configure another "table", or another "schema".`,
    );
  };
  for (const child of children) {
    const [[held] = []] = await session.rows(
      sql`SELECT "table" FROM ${ownTable(session, key, 'checkpoints')} WHERE ${tableIs(session, child)} LIMIT 1`,
    );
    if (held != null) refuse(child.table, held);
  }
  const rows = await session.rows(
    sql`SELECT "table", fingerprint FROM ${ownTable(session, key, 'fingerprints')}
       WHERE "schema" = ${literal(key.schema)} AND fingerprint LIKE '%"children":%'`,
  );
  for (const [other, fingerprint] of rows) {
    if (other == null || isSame(other, table.table)) continue;
    const { is } = JSON.parse(fingerprint ?? '') as Recorded;
    const shared = Object.keys(is.children ?? {}).find((name) => own.some((one) => isSame(one, name)));
    if (shared !== undefined) refuse(shared, other);
  }
}

/** Returns the first of a stream's tables that is gone; null if none is. */
export async function findGone(
  session: SqlSession,
  table: TableSpec,
  children: readonly TableSpec[] = [],
): Promise<TableSpec | null> {
  if (await isTableGone(session, table)) return table;
  for (const child of children) if (await isChildGone(session, child)) return child;
  return null;
}

/** Reads the checkpoints of a table whose streams have read something. */
const checkpointsOf = (session: SqlSession, table: TableSpec): Promise<SqlRow[]> =>
  session.rows(
    sql`SELECT strategy, source, id, holder FROM ${ownTable(session, table, 'checkpoints')}
       WHERE ${tableIs(session, table)} AND cursor IS NOT NULL AND "range" = ''`,
  );

/** Whether a child table is gone although an opening has made it, or rows have. */
export async function isChildGone(session: SqlSession, child: TableSpec): Promise<boolean> {
  if ((await session.dialect.storedColumns(session, child)) !== null) return false;
  if (hasKeys(child)) return true;
  // A table whose columns follow the records does not exist before the first of them.
  const [[changes = '0'] = []] = await session.rows(
    sql`SELECT count(*) FROM ${ownTable(session, child, 'schema_changes')} WHERE ${tableIs(session, child)}`,
  );
  return changes !== '0';
}

/** Whether a child table is gone that the table's streams have had before. */
async function isSomeChildGone(
  session: SqlSession,
  { schema, table }: TableSpec,
  children: readonly TableSpec[],
): Promise<boolean> {
  if (children.length === 0) return false;
  const key: StreamKey = { schema, table, strategy: 'keyset', source: '', range: '' };
  const recorded = await recordedFor(session, key);
  const isKnown = (child: TableSpec) =>
    !hasKeys(child) || recorded.some(({ recorded: { is } }) => is.children?.[child.table] !== undefined);
  for (const child of children) if (isKnown(child) && (await isChildGone(session, child))) return true;
  return false;
}

/** Reads the checkpoints of a table that had rows and is gone; none if it exists, or was never created. */
async function checkpointsWithoutTable(session: SqlSession, table: TableSpec): Promise<SqlRow[]> {
  if ((await session.dialect.storedColumns(session, table)) !== null) return [];
  const found = await checkpointsOf(session, table);
  if (found.length === 0) return [];
  // A table whose columns follow the records does not exist before the first of them.
  const [[rows = '0'] = []] = await session.rows(
    sql`SELECT count(*) FROM ${ownTable(session, table, 'batches')} WHERE ${tableIs(session, table)} AND "rows" > 0`,
  );
  return hasKeys(table) || rows !== '0' ? found : [];
}

/** Notes that a table is empty although its stream has written rows, and nothing is configured that removes rows. */
export async function noteOfEmptyTable(
  session: SqlSession,
  key: StreamKey,
  table: TableSpec,
): Promise<Note[]> {
  if (table.deletes !== undefined || table.mode === 'replace') return [];
  if ((await session.dialect.storedColumns(session, table)) === null) return [];
  const [[isEmpty = 'false', written = '0'] = []] = await session.rows(
    sql`SELECT NOT EXISTS (SELECT 1 FROM ${tableName(table)}),
       (SELECT coalesce(sum("rows"), 0) FROM ${ownTable(session, key, 'batches')} WHERE ${keyIs(session, key)})`,
  );
  if (isEmpty !== 'true' || written === '0') return [];
  const message =
    `table ${table.schema}.${table.table} is empty, although ${written} rows were written to it. The sync continues from its ` +
    'high-water mark; "highwater resync" reads everything again.';
  return [{ code: 'table_empty', message }];
}

/**
 * Refuses a database other than the one that a sync has written before.
 * @param stored identity of the database; null if Highwater has written nothing there.
 * @throws {DestinationGoneError}
 */
export function refuseOtherDatabase(where: string, stored: string | null, expects: string | undefined): void {
  if (expects === undefined || stored === expects) return;
  throw new DestinationGoneError(
    stored === null
      ? `the data that the sync has written to ${where} is gone`
      : `the database at ${where} is not the one that this sync has written before`,
  );
}
