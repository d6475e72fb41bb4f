/**
 * What destinations that speak SQL do where the configuration or the table has changed since the checkpoint. Each
 * function is part of the transaction in which the stream is opened, or a pass ends.
 */
import { randomUUID } from 'node:crypto';
import { DestinationGoneError } from '../../errors.js';
import { SYNCED_AT, type Holder, type Note, type StreamKey, type TableSpec } from '../../protocol.js';
import { isRange, keyValues, startsAnew, tableName } from '../checkpoints.js';
import type { OpenRequest } from '../destination.js';
import {
  keyChanged,
  keyText,
  otherKey,
  STARTED_OVER_GONE,
  type Fingerprint,
  type Recorded,
} from '../fingerprint.js';
import { hasKeys } from '../columns/inference.js';
import { removeOlderTwins, type RangeSql } from './ranges.js';
import { identifier, joined, literal, sql, type Sql } from './sql.js';

/** What gives each checkpoint its meaning, as JSON: {@link Recorded}. Older programs leave it alone. */
export const fingerprintsTable = (
  schema = sql``,
) => sql`CREATE TABLE IF NOT EXISTS ${schema}_highwater_fingerprints (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL
  )`;

/** What databases know of a table in their own ways. */
export interface TableSql extends RangeSql {
  /** Names of the columns that the table has; null where there is no table. */
  storedColumns: () => Promise<string[] | null>;
  /** Names that differ in case only are one. */
  foldsCase: boolean;
  /** Lets go of what keeps the rows of the table to the key that they were written by. */
  releaseKey: (was: readonly string[]) => Promise<void>;
}

/** The part of a key that all streams of a table share. */
export const tableKey = ({ schema, table }: TableSpec): StreamKey => ({
  ...{ schema, table, strategy: 'keyset', source: '' },
});

/** What is recorded for the streams of a table; ranges have nothing of their own. */
export async function recordedFor(
  database: RangeSql,
  key: StreamKey,
): Promise<{ key: StreamKey; recorded: Recorded }[]> {
  const rows = await database.query(
    sql`SELECT strategy, source, fingerprint FROM ${database.own('_highwater_fingerprints')} WHERE ${database.tableIs(key)}`,
  );
  return rows.map(([strategy, source, fingerprint]) => ({
    key: { ...key, strategy: strategy as StreamKey['strategy'], source: source ?? '' },
    recorded: JSON.parse(fingerprint ?? '') as Recorded,
  }));
}

export async function recordedOf(database: RangeSql, key: StreamKey): Promise<Recorded | null> {
  const all = await recordedFor(database, key);
  return (
    all.find((one) => one.key.strategy === key.strategy && one.key.source === key.source)?.recorded ?? null
  );
}

export async function keepRecorded(database: RangeSql, key: StreamKey, recorded: Recorded): Promise<void> {
  await forgetRecorded(database, key);
  const values = joined([...keyValues(key), JSON.stringify(recorded)].map(literal));
  await database.run(sql`INSERT INTO ${database.own('_highwater_fingerprints')} VALUES (${values})`);
}

const forgetRecorded = (database: RangeSql, key: StreamKey) =>
  database.run(sql`DELETE FROM ${database.own('_highwater_fingerprints')} WHERE ${database.keyIs(key)}`);

/** Records what is to stand beside a checkpoint that was opened, once {@link settleKey} has let it pass. */
export async function keepOpened(database: RangeSql, key: StreamKey, record: Recorded | null): Promise<void> {
  if (record === null) return;
  await keepRecorded(database, key, record);
  // The table has the key of this stream now; another stream of it says so when it is opened.
  for (const other of await recordedFor(database, key))
    if (otherKey([other.recorded], { primaryKey: record.is.primaryKey }) !== null)
      await forgetRecorded(database, other.key);
}

/** Once a pass has ended all that a source has to say of its rows is of this configuration. */
export async function keepEnded(database: RangeSql, key: StreamKey, is: Fingerprint): Promise<void> {
  const recorded = await recordedOf(database, key);
  if (recorded !== null && JSON.stringify(recorded) === JSON.stringify({ is })) return;
  await keepRecorded(database, key, { is });
}

/**
 * Refuses another primary key than the one that rows of the table were written by, before any of them is touched.
 * @returns what is left to do where everything is read again: the rows that can be told by the new key stay, once each,
 *   and the others go.
 * @throws {DestinationError}
 */
export async function settleKey(database: TableSql, request: OpenRequest): Promise<() => Promise<void>> {
  const { key, table } = request;
  const recorded = (await recordedFor(database, key)).map((one) => one.recorded);
  const was = otherKey(recorded, table);
  const columns = was === null ? null : await columnsByMember(database);
  if (was === null || columns === null) return () => Promise.resolve();
  const [[hasRows = 'false'] = []] = await database.query(
    sql`SELECT EXISTS (SELECT 1 FROM ${tableName(table)})`,
  );
  const isKept = table.mode === 'append' || table.mode === 'history';
  if (hasRows === 'true' && (isRange(key) || isKept || !startsAnew(request)))
    throw keyChanged(table, keyText(was, table.primaryKey));
  const before: string[] = [];
  for (const member of was) before.push((await columns(member)) ?? member);
  await database.releaseKey(before);
  for (const member of was) {
    const column = await columns(member);
    if (column === null || table.primaryKey.includes(member)) continue;
    await database.run(sql`ALTER TABLE ${tableName(table)} ALTER COLUMN ${identifier(column)} DROP NOT NULL`);
  }
  return () => keepOneEach(database, table);
}

/** Keeps the rows that have a key, once each. */
async function keepOneEach(database: TableSql, table: TableSpec): Promise<void> {
  const columns = await columnsByMember(database);
  if (columns === null) return;
  const target = tableName(table);
  const keys: Sql[] = [];
  for (const member of table.primaryKey) {
    const column = await columns(member);
    if (column !== null) keys.push(sql`t.${identifier(column)}`);
  }
  if (keys.length < table.primaryKey.length) {
    await database.run(sql`DELETE FROM ${target}`);
    return;
  }
  await database.run(
    sql`DELETE FROM ${target} AS t WHERE ${joined(
      keys.map((name) => sql`${name} IS NULL`),
      sql` OR `,
    )}`,
  );
  const isStamped = (await database.storedColumns())?.includes(SYNCED_AT) === true;
  await removeOlderTwins(
    database,
    table,
    keys,
    isStamped ? [sql`t.${identifier(SYNCED_AT)} DESC NULLS LAST`] : [],
  );
}

/** Finds the columns that members of records have in a table; null where there is no table. */
async function columnsByMember(
  database: TableSql,
): Promise<((member: string) => Promise<string | null>) | null> {
  const stored = await database.storedColumns();
  if (stored === null) return null;
  const fold = (name: string) => (database.foldsCase ? name.toLowerCase() : name);
  const there = new Map(stored.map((name) => [fold(name), name]));
  return async (member) => there.get(fold((await database.columnOf(member))?.name ?? member)) ?? null;
}

/**
 * Where the table is gone although checkpoints of it stand, all of its streams start over. Part of the transaction that
 * makes the table anew, so that neither happens without the other.
 * @returns the streams that do.
 */
export async function startOverWhereGone(database: TableSql, table: TableSpec): Promise<StreamKey[]> {
  const key = tableKey(table);
  const found = await standing(database, table);
  if (found.length === 0) return [];
  const gone: StreamKey[] = [];
  for (const [strategy, source, id, holder] of found) {
    const own = { ...key, strategy: strategy as StreamKey['strategy'], source: source ?? '' };
    const next = randomUUID();
    const { workflowId } = JSON.parse(holder ?? '') as Holder;
    const values = joined([next, id ?? '', ...keyValues(own)].map(literal));
    await database.run(
      sql`UPDATE ${database.own('_highwater_checkpoints')} SET id = ${literal(next)}, cursor = NULL, updated_at = now() WHERE ${database.keyIs(own)}`,
    );
    for (const name of ['_highwater_seen', '_highwater_parents'])
      await database.run(sql`DELETE FROM ${database.own(name)} WHERE ${database.keyIs(own)}`);
    await database.run(
      sql`INSERT INTO ${database.own('_highwater_moves')} VALUES (${values}, NULL, ${literal(workflowId)}, ${literal(STARTED_OVER_GONE)}, now())`,
    );
    const recorded = await recordedOf(database, own);
    if (recorded !== null) await keepRecorded(database, own, { is: recorded.is, gone: true });
    gone.push(own);
  }
  return gone;
}

/** Whether the table is gone although a checkpoint of it stands. */
export const isTableGone = async (database: TableSql, table: TableSpec): Promise<boolean> =>
  (await standing(database, table)).length > 0;

/** The checkpoints of a table that is gone and that rows were written to; none where it is there, or was never made. */
async function standing(database: TableSql, table: TableSpec): Promise<(string | null)[][]> {
  const key = tableKey(table);
  if ((await database.storedColumns()) !== null) return [];
  const found = await database.query(
    sql`SELECT strategy, source, id, holder FROM ${database.own('_highwater_checkpoints')}
       WHERE ${database.tableIs(key)} AND cursor IS NOT NULL AND strpos(source, '#') = 0`,
  );
  if (found.length === 0) return [];
  // Where the first records say what the columns are, there is no table before them.
  const [[rows = '0'] = []] = await database.query(
    sql`SELECT count(*) FROM ${database.own('_highwater_batches')} WHERE ${database.tableIs(key)} AND "rows" > 0`,
  );
  return hasKeys(table) || rows !== '0' ? found : [];
}

/** A note where a table has no rows although its stream has written some, and nothing says that rows are removed. */
export async function noteOfEmptyTable(
  database: TableSql,
  key: StreamKey,
  table: TableSpec,
): Promise<Note[]> {
  if (table.deletes !== undefined || table.mode === 'replace') return [];
  if ((await database.storedColumns()) === null) return [];
  const [[isEmpty = 'false', written = '0'] = []] = await database.query(
    sql`SELECT NOT EXISTS (SELECT 1 FROM ${tableName(table)}),
       (SELECT coalesce(sum("rows"), 0) FROM ${database.own('_highwater_batches')} WHERE ${database.keyIs(key)})`,
  );
  if (isEmpty !== 'true' || written === '0') return [];
  const message =
    `table ${table.schema}.${table.table} is empty although ${written} rows were written to it, and the sync goes on ` +
    'from its mark: "highwater resync" reads everything again.';
  return [{ code: 'table_empty', message }];
}

/**
 * Makes sure that the database is the one that a sync has written before.
 * @param stored its identity; null where nothing of Highwater's is there.
 * @throws {DestinationGoneError}
 */
export function refuseOtherDatabase(where: string, stored: string | null, expects: string | undefined): void {
  if (expects === undefined || stored === expects) return;
  throw new DestinationGoneError(
    stored === null
      ? `what the sync has written to ${where} is gone`
      : `the database at ${where} is another one than this sync has written before`,
  );
}
