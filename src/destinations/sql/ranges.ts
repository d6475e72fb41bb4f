/**
 * Ranges that are read beside the sync, in SQL destinations: which records of a batch may be written, how the table
 * differs from the source, and which rows the source lacks. Each function is part of one transaction; the sync writes
 * before it or after it, never during it.
 */
import {
  BATCH,
  DELETED_AT,
  SEQUENCE,
  SYNCED_AT,
  VALID_TO,
  rangeKind,
  type ColumnType,
  type CursorFormat,
  type DifferenceKind,
  type Differences,
  type RangeFound,
  type RangeKind,
  type StreamKey,
  type TableSpec,
} from '../../protocol.js';
import { columnIn, tableName } from '../checkpoints.js';
import type { ConcludeRequest, RangeWrite, WriteRequest } from '../destination.js';
import type { AdaptedBatch } from '../columns/inference.js';
import { removeOrphans } from './children.js';
import { sameKey } from './conditions.js';
import type { Batch, OwnTable, SqlRow, SqlSession } from './dialect.js';
import { columnOf } from './evolution.js';
import { isOrdered, marksDeleted, saysDeleted, stamping } from './modes.js';
import { insertInto, keyIs, keyLiterals, ownTable, tableIs } from './own-tables.js';
import { identifier, joined, literal, numeral, sql, type Sql } from './sql.js';

/** Says why a table cannot have a kind of range; null if it can. */
export function rangeRefusal(kind: RangeKind, { mode }: TableSpec, writes: boolean): string | null {
  if (mode !== 'replace' || !writes) return null;
  const what = kind === 'backfill' ? 'it cannot be backfilled' : 'an audit cannot repair it';
  return `a table in mode replace holds exactly the last whole pass, so ${what}; "highwater trigger" makes a pass now`;
}

/** Returns a table for writing rows of a range: rows that the range does not hold are not deleted. */
export const besideTable = (table: TableSpec): TableSpec =>
  table.deletes === undefined ? table : { ...table, unseen: 'stay' };

/** Returns a table reduced to its primary key. */
export const keysOnly = (table: TableSpec): TableSpec => ({
  schema: table.schema,
  table: table.table,
  primaryKey: table.primaryKey,
  columns: Object.fromEntries(
    table.primaryKey.map((name): [string, ColumnType] => [name, table.columns[name] ?? 'STRING']),
  ),
});

/** Returns the table that a batch's records may change: records that are only compared change no columns. */
export function comparedTable({ table, range }: Pick<WriteRequest, 'table' | 'range'>): TableSpec {
  if (range === undefined || range.writes || table.inference === undefined) return table;
  return { ...table, inference: { ...table.inference, policy: 'quarantine' } };
}

/**
 * Returns the request with its {@link RangeWrite.beyond} files converted to the table's columns.
 * @param follow converts files; see {@link AdaptedBatch}.
 */
export async function withBeyond(
  request: WriteRequest,
  follow: (table: TableSpec, files: string[]) => Promise<AdaptedBatch>,
): Promise<{ request: WriteRequest; rejects: string[]; discard: () => Promise<void> }> {
  const { table, range } = request;
  const files = (await range?.beyond?.()) ?? [];
  if (range === undefined || files.length === 0)
    return { request, rejects: [], discard: () => Promise.resolve() };
  const met = await follow(comparedTable({ table, range: { ...range, writes: false } }), files);
  const own = { ...range, beyond: () => Promise.resolve(met.files) };
  return { request: { ...request, range: own }, rejects: met.rejects, discard: met.discard };
}

const instant = (text: string) => sql`CAST(${literal(text)} AS TIMESTAMPTZ)`;
const truth = (value: boolean): Sql => (value ? sql`true` : sql`false`);
const UNKNOWN = sql`CAST(NULL AS BOOLEAN)`;

/** A condition: value `a` is later than `b`; null in SQL for values that cannot be compared, null here if none can. */
function later(session: SqlSession, a: Sql, b: Sql, type: ColumnType, format: CursorFormat): Sql | null {
  if (!isOrdered(type)) return null;
  if (type !== 'STRING') return format === 'string' ? null : sql`${a} > ${b}`;
  const inBytes = sql`${session.dialect.bytes(a)} > ${session.dialect.bytes(b)}`;
  switch (format) {
    case 'string':
      return inBytes;
    case 'timestamp':
      // Times in UTC of the same length sort as text.
      return sql`CASE WHEN length(${a}) = length(${b}) AND ${a} LIKE '%Z' AND ${b} LIKE '%Z' THEN ${inBytes} END`;
    case 'epoch_s':
    case 'epoch_ms':
    case 'integer': {
      const plain = (value: Sql) => sql`${value} SIMILAR TO '0|[1-9][0-9]*'`;
      return sql`CASE WHEN ${plain(a)} AND ${plain(b)} THEN length(${a}) > length(${b}) OR length(${a}) = length(${b}) AND ${inBytes} END`;
    }
    default:
      return null;
  }
}

const keysOf = ({ primaryKey }: TableSpec) => primaryKey.map((name) => sql`t.${identifier(name)}`);

/** A relation of the table's current rows: of several versions, the last. */
function current(table: TableSpec, where: Sql | null = null): Sql {
  const target = tableName(table);
  if (table.mode === 'history')
    return sql`(SELECT * FROM ${target} AS t WHERE ${identifier(VALID_TO)} IS NULL AND ${where ?? sql`true`})`;
  if (table.mode !== 'append')
    return where === null ? target : sql`(SELECT * FROM ${target} AS t WHERE ${where})`;
  const keys = joined(keysOf(table));
  return sql`(SELECT * FROM (SELECT t.*, row_number() OVER (PARTITION BY ${keys} ORDER BY ${identifier(SEQUENCE)} DESC) AS _highwater_place
    FROM ${target} AS t WHERE ${where ?? sql`true`}) AS v WHERE _highwater_place = 1)`;
}

/** Whether the sync has written rows since a time; for tables without stamps, whose rows do not tell. */
async function isWritten(session: SqlSession, key: StreamKey, since: string): Promise<boolean> {
  const [[count = '0'] = []] = await session.rows(
    sql`SELECT count(*) FROM ${ownTable(session, key, 'batches')} WHERE ${tableIs(session, key)} AND NOT (${keyIs(session, key)})
       AND "rows" > 0 AND committed_at >= ${instant(since)}`,
  );
  return count !== '0';
}

/** Remembers the keys of a batch until its pass, or its audit, has ended. */
export async function rememberKeys(
  session: SqlSession,
  { key, table, cursor }: WriteRequest,
  { name, columns }: Batch,
): Promise<void> {
  const keys = session.dialect.keyText(table.primaryKey.map((name) => sql`s.${columnIn(columns, name)}`));
  await session.run(
    sql`${insertInto(session, key, 'seen')} SELECT ${keyLiterals(key)}, ${numeral(cursor.pass)}, ${keys} FROM ${name} AS s`,
  );
}

/**
 * Compares a batch with the table, and removes records from it that must not be written: those of which the table has a
 * newer version, or one that was written since the batch was requested and is not known to be older, and those whose
 * row was deleted since.
 * @param batch one record per key.
 * @param skipsEqual whether records that equal their row are removed too.
 * @returns the number of records removed that differ from their row.
 */
export async function compareBatch(
  session: SqlSession,
  request: WriteRequest & { range: RangeWrite },
  { name: batch, columns }: Batch,
  skipsEqual = false,
): Promise<number> {
  const { key, table, range } = request;
  const column = (name: string) => sql`s.${columnIn(columns, name)}`;
  const began = instant(range.began);
  const rest = Object.keys(table.columns).filter((name) => !table.primaryKey.includes(name));
  const differs =
    joined(
      rest.map((name) => sql`t.${identifier(name)} IS DISTINCT FROM ${column(name)}`),
      sql` OR `,
    ) || sql`false`;
  const gone = table.deletedField === undefined ? sql`false` : saysDeleted(table, column(table.deletedField));
  const there = sql`t.${identifier(table.primaryKey[0] ?? '')} IS NOT NULL`;
  const field = range.cursor === null ? null : await columnOf(session, table, range.cursor.field);
  const order = (isNewer: boolean) => {
    if (field === null || range.cursor === null) return UNKNOWN;
    if (!columns.has(field.name)) return UNKNOWN;
    const [read, stored] = [column(field.name), sql`t.${identifier(field.name)}`];
    const [a, b] = isNewer ? [read, stored] : [stored, read];
    return later(session, a, b, field.type, range.cursor.format) ?? UNKNOWN;
  };
  const ofOurs = sql`SELECT id FROM ${ownTable(session, key, 'batches')} WHERE ${keyIs(session, key)}`;
  const isFresh =
    table.stamps === true
      ? sql`(t.${identifier(SYNCED_AT)} >= ${began} AND t.${identifier(BATCH)} NOT IN (${ofOurs}))`
      : truth(await isWritten(session, key, range.began));
  const noted = sql`SELECT 1 FROM ${ownTable(session, key, 'differences')} AS d WHERE ${keyIs(session, key)}`;
  const text = session.dialect.keyText(table.primaryKey.map(column));
  const isGone = sql`EXISTS (${noted} AND d.kind = 'gone' AND d.key = ${text})`;
  const hasEnded =
    table.mode === 'history'
      ? sql`EXISTS (SELECT 1 FROM ${tableName(table)} AS e WHERE ${sameKey(table, { columns }, sql`e`)} AND e.${identifier(VALID_TO)} >= ${began})`
      : isGone;
  const ended = marksDeleted(table)
    ? sql`t.${identifier(DELETED_AT)} >= ${began}`
    : sql`NOT (${there}) AND ${hasEnded}`;
  const verdict = marksDeleted(table)
    ? sql`CASE WHEN NOT (${there}) THEN 'missing' WHEN ${differs} OR (t.${identifier(DELETED_AT)} IS NOT NULL) <> (${gone}) THEN 'stale' ELSE 'equal' END`
    : sql`CASE WHEN NOT (${there}) THEN CASE WHEN ${gone} THEN 'equal' ELSE 'missing' END
        WHEN ${gone} THEN 'extra' WHEN ${differs} THEN 'stale' ELSE 'equal' END`;
  const from = current(
    table,
    table.mode === 'append'
      ? sql`EXISTS (SELECT 1 FROM ${batch} AS s WHERE ${sameKey(table, { columns })})`
      : null,
  );
  const compared = session.dialect.temporary(sql`_compared`);
  const keys = table.primaryKey.map((name, i) => sql`${column(name)} AS k${numeral(i)}`);
  await session.run(sql`DROP TABLE IF EXISTS ${compared}`);
  await session.run(
    sql`CREATE TEMP TABLE _compared AS SELECT *, ended OR (there AND fresh AND NOT newer) AS changed,
         NOT ended AND (NOT there OR newer OR (NOT fresh AND NOT older)) AS allowed
       FROM (SELECT ${joined(keys)}, ${text} AS key, ${there} AS there, ${verdict} AS verdict,
           coalesce(${order(true)}, false) AS newer, coalesce(${order(false)}, false) AS older,
           coalesce(${isFresh}, false) AS fresh, coalesce(${ended}, false) AS ended,
           ${table.stamps === true ? sql`t.${identifier(BATCH)}` : sql`CAST(NULL AS VARCHAR)`} AS batch
         FROM ${batch} AS s LEFT JOIN ${from} AS t ON ${sameKey(table, { columns })}${table.mode === 'history' ? sql` AND t.${identifier(VALID_TO)} IS NULL` : sql``}) AS j`,
  );
  const [[count = '0'] = []] = await session.rows(
    sql`SELECT count(*) FROM ${compared} WHERE verdict <> 'equal' AND NOT allowed`,
  );
  if (range.kind === 'audit') {
    const kind = sql`CASE WHEN changed THEN 'changed' ELSE verdict END`;
    await session.run(
      sql`${insertInto(session, key, 'differences')}
         SELECT ${keyLiterals(key)}, ${kind}, j.key, allowed AND ${truth(range.writes)}, j.batch FROM ${compared} AS j
         WHERE verdict <> 'equal' AND NOT EXISTS (${noted} AND d.key = j.key AND d.kind = ${kind})`,
    );
  }
  if (range.writes && (count !== '0' || skipsEqual)) {
    const taken = sql`CASE WHEN verdict = 'equal' THEN ${truth(skipsEqual)} ELSE NOT allowed END`;
    const same = joined(
      table.primaryKey.map((name, i) => sql`j.k${numeral(i)} = ${column(name)}`),
      sql` AND `,
    );
    await session.run(
      sql`DELETE FROM ${batch} AS s WHERE EXISTS (SELECT 1 FROM ${compared} AS j WHERE ${same} AND ${taken})`,
    );
  }
  await session.run(sql`DROP TABLE ${compared}`);
  return range.writes ? Number(count) : 0;
}

/**
 * Notes rows that the sync is about to remove, for the ranges that are read beside it: a batch of theirs in flight may
 * hold an older version.
 * @param rows the rows as `t`: the part of a query after FROM.
 */
export async function noteGone(
  session: SqlSession,
  { key, table }: Pick<WriteRequest, 'key' | 'table'>,
  rows: Sql,
): Promise<void> {
  const ranges = sql`FROM ${ownTable(session, key, 'checkpoints')} WHERE ${tableIs(session, key)} AND "range" <> ''`;
  const [[count = '0'] = []] = await session.rows(sql`SELECT count(*) ${ranges}`);
  if (count === '0') return;
  await session.run(
    sql`${insertInto(session, key, 'differences')}
       SELECT r."schema", r."table", r.strategy, r.source, r."range", 'gone', g.key, false, NULL
       FROM (SELECT ${session.dialect.keyText(keysOf(table))} AS key FROM ${rows}) AS g,
         (SELECT "schema", "table", strategy, source, "range" ${ranges}) AS r`,
  );
}

/** Concludes an audit once all of it is read, and returns what it has found. May run again, and then completes. */
export async function concludeAudit(session: SqlSession, request: ConcludeRequest): Promise<RangeFound> {
  const { key, table, range } = request;
  const ours = keyIs(session, key);
  const differences = ownTable(session, key, 'differences');
  const text = session.dialect.keyText(keysOf(table));
  const some = async (kind: DifferenceKind) =>
    Number(
      (
        await session.rows(
          sql`SELECT count(*) FROM ${differences} WHERE ${ours} AND kind = ${literal(kind)} AND NOT repaired`,
        )
      )[0]?.[0],
    );
  // The sync has written them meanwhile, or they have been deleted at the source too.
  if ((await some('missing')) > 0) {
    for (const known of [
      sql`SELECT ${text} FROM ${current(table)} AS t`,
      sql`SELECT key FROM ${differences} WHERE ${ours} AND kind = 'gone'`,
    ]) {
      await session.run(
        sql`UPDATE ${differences} SET kind = 'changed' WHERE ${ours} AND kind = 'missing' AND NOT repaired AND key IN (${known})`,
      );
    }
  }
  if (table.stamps === true && (await some('stale')) > 0) {
    await session.run(
      sql`UPDATE ${differences} AS d SET kind = 'changed' WHERE ${ours} AND kind = 'stale' AND NOT repaired AND NOT EXISTS (
         SELECT 1 FROM (SELECT ${text} AS key, t.${identifier(BATCH)} AS batch FROM ${current(table)} AS t) AS c
         WHERE c.key = d.key AND c.batch IS NOT DISTINCT FROM d.batch)`,
    );
  }
  const twice = await findTwins(session, request);
  const extraUnknown = await findExtra(session, request);
  if (extraUnknown === null && range.repair && request.removes) await removeExtra(session, request);
  const told = async (kind: DifferenceKind): Promise<Differences> => {
    const which = sql`FROM ${differences} WHERE ${ours} AND kind = ${literal(kind)}`;
    const [[count, repaired] = []] = await session.rows(
      sql`SELECT count(*), count(CASE WHEN repaired THEN 1 END) ${which}`,
    );
    const first = await session.rows(
      sql`SELECT key ${which} ORDER BY ${session.dialect.bytes(sql`key`)} LIMIT ${numeral(range.keys)}`,
    );
    return { count: Number(count), repaired: Number(repaired), keys: keysShown(first) };
  };
  const extra = await told('extra');
  return {
    missing: await told('missing'),
    stale: await told('stale'),
    // Records may say themselves that their rows are to go.
    extra: extraUnknown === null || extra.count > 0 ? extra : null,
    ...(twice.count > 0 && { twice }),
    changed: (await told('changed')).count,
    extraUnknown,
  };
}

/** Finds keys that have several rows, and if the audit repairs keeps the newest row of each. */
async function findTwins(
  session: SqlSession,
  { table, range, newest }: ConcludeRequest,
): Promise<Differences> {
  const none = { count: 0, repaired: 0, keys: [] };
  // A table that keeps every version may have several rows of a key.
  if (table.mode === 'append') return none;
  const keys = joined(keysOf(table));
  const text = session.dialect.keyText(keysOf(table));
  const twins = sql`SELECT ${text} AS key FROM ${current(table)} AS t GROUP BY ${keys} HAVING count(*) > 1`;
  const [[count = '0'] = []] = await session.rows(sql`SELECT count(*) FROM (${twins}) AS w`);
  if (count === '0') return none;
  const first = await session.rows(
    sql`SELECT key FROM (${twins}) AS w ORDER BY ${session.dialect.bytes(sql`key`)} LIMIT ${numeral(range.keys)}`,
  );
  const isMended = range.repair && table.mode !== 'history' && session.dialect.place(table.columns) !== null;
  if (isMended) {
    const column = newest == null ? null : await columnOf(session, table, newest.field);
    const order = [
      ...(column === null ? [] : [sql`t.${identifier(column.name)} DESC NULLS LAST`]),
      ...(table.stamps === true ? [sql`t.${identifier(SYNCED_AT)} DESC NULLS LAST`] : []),
    ];
    await removeOlderTwins(session, table, keysOf(table), order);
  }
  return { count: Number(count), repaired: isMended ? Number(count) : 0, keys: keysShown(first) };
}

/**
 * Keeps one row of each key: the first in an order, and of equal ones the one that was written last.
 * @param keys columns of `t`, as in `order`.
 */
export async function removeOlderTwins(
  session: SqlSession,
  table: TableSpec,
  keys: readonly Sql[],
  order: readonly Sql[],
): Promise<void> {
  const place = session.dialect.place(table.columns);
  if (place === null) return;
  const target = tableName(table);
  const by = joined([...order, sql`t.${place} DESC`]);
  await session.run(
    sql`DELETE FROM ${target} WHERE ${place} IN (SELECT place FROM (
       SELECT t.${place} AS place, row_number() OVER (PARTITION BY ${joined(keys)} ORDER BY ${by}) AS twin FROM ${target} AS t) AS w
       WHERE twin > 1)`,
  );
}

/** Maximum length of the keys reported: they become part of workflow history. */
const KEYS_LENGTH = 150_000;

/** Returns the keys of an answer, without those that a result has no room for. */
function keysShown(rows: readonly SqlRow[]): string[] {
  let room = KEYS_LENGTH;
  return rows.map(([key]) => keyShown(key ?? '[]')).filter((shown) => (room -= shown.length) >= 0);
}

/** Formats a key for display. */
function keyShown(text: string): string {
  const parts = JSON.parse(text) as string[];
  return parts.length === 1 ? (parts[0] ?? '') : JSON.stringify(parts);
}

/** Notes the rows that the source lacks. @returns the reason if that cannot be decided, else null. */
async function findExtra(
  session: SqlSession,
  { key, table, range, scope }: ConcludeRequest,
): Promise<string | null> {
  if (typeof scope === 'string') return scope;
  const rejects = sql`SELECT count(*) FROM ${ownTable(session, key, 'rejects')} WHERE ${keyIs(session, key)}`;
  const [[aside = '0'] = []] = await session.rows(rejects);
  if (aside !== '0') return `records with unknown keys are quarantined (${aside})`;
  if (table.stamps !== true && (await isWritten(session, key, range.began)))
    return 'the sync wrote rows during the audit, and rows do not show when they were written (stamps: false)';
  const conditions: Sql[] = [];
  if (scope !== null) {
    const column = await columnOf(session, table, scope.field);
    const cannot = `the table has no comparable column for ${scope.field}, so it does not show which rows lie in the range`;
    if (column === null) return cannot;
    const value = sql`t.${identifier(column.name)}`;
    for (const [bound, isLower] of [
      [scope.from, true],
      [scope.to, false],
    ] as const) {
      if (bound === null) continue;
      const at = boundOf(session, bound, column.type, scope.format);
      const beyond =
        at === null
          ? null
          : later(
              session,
              ...(isLower ? ([at, value] as const) : ([value, at] as const)),
              column.type,
              scope.format,
            );
      if (beyond === null) return cannot;
      conditions.push(sql`NOT (${beyond})`);
    }
    conditions.push(sql`${value} IS NOT NULL`);
  }
  const text = session.dialect.keyText(keysOf(table));
  const unmet = joined(
    [
      ...(marksDeleted(table) ? [sql`t.${identifier(DELETED_AT)} IS NULL`] : []),
      // Rows written since, also by the audit's own repair, are left out.
      ...(table.stamps === true
        ? [sql`coalesce(t.${identifier(SYNCED_AT)} < ${instant(range.began)}, true)`]
        : []),
      sql`NOT EXISTS (SELECT 1 FROM ${ownTable(session, key, 'seen')} AS m WHERE ${keyIs(session, key)} AND m.key = ${text})`,
      sql`NOT EXISTS (SELECT 1 FROM ${ownTable(session, key, 'differences')} AS d WHERE ${keyIs(session, key)} AND d.kind IN ('extra', 'gone') AND d.key = ${text})`,
    ],
    sql` AND `,
  );
  const inScope = conditions.length === 0 ? sql`true` : sql`(${joined(conditions, sql` AND `)})`;
  const from = sql`FROM ${current(table)} AS t WHERE ${unmet}`;
  if (conditions.length > 0) {
    const [[unknown = '0'] = []] = await session.rows(sql`SELECT count(*) ${from} AND ${inScope} IS NULL`);
    if (unknown !== '0')
      return `some rows (${unknown}) have a ${scope?.field ?? ''} in another format, so it is unclear whether they lie in the range`;
  }
  await session.run(
    sql`${insertInto(session, key, 'differences')}
       SELECT ${keyLiterals(key)}, 'extra', ${text}, false, ${table.stamps === true ? sql`t.${identifier(BATCH)}` : sql`NULL`} ${from} AND ${inScope}`,
  );
  return null;
}

/** Returns a bound as a value of a column; null if its values are of another kind. */
function boundOf(session: SqlSession, bound: string, type: ColumnType, format: CursorFormat): Sql | null {
  if (type === 'STRING') return literal(bound);
  const isTime = ['UTC_DATETIME', 'NAIVE_DATETIME', 'NAIVE_DATE'].includes(type);
  if (format === 'timestamp')
    return isTime ? sql`CAST(${literal(bound)} AS ${session.dialect.type(type)})` : null;
  if (isTime || typeof format === 'object' || format === 'string' || format === 'rfc_2822') return null;
  return sql`CAST(${literal(bound)} AS DECIMAL(38, 9))`;
}

/** Removes, marks or ends the rows that the source lacks, as the stream configures. */
async function removeExtra(
  session: SqlSession,
  { key, table, range, children = [] }: ConcludeRequest,
): Promise<void> {
  if (table.mode === 'append' || (table.deletes === undefined && !range.removeExtra)) return;
  const differences = ownTable(session, key, 'differences');
  const which = sql`${keyIs(session, key)} AND kind = 'extra' AND NOT repaired`;
  const [[count = '0'] = []] = await session.rows(sql`SELECT count(*) FROM ${differences} WHERE ${which}`);
  if (count === '0') return;
  const [[batch = ''] = []] = await session.rows(
    sql`SELECT id FROM ${ownTable(session, key, 'checkpoints')} WHERE ${keyIs(session, key)}`,
  );
  const target = sql`${tableName(table)} AS t`;
  const isExtra = sql`${session.dialect.keyText(keysOf(table))} IN (SELECT key FROM ${differences} WHERE ${which})`;
  const ending =
    table.mode === 'history' ? identifier(VALID_TO) : marksDeleted(table) ? identifier(DELETED_AT) : null;
  await session.run(
    ending === null
      ? sql`DELETE FROM ${target} WHERE ${isExtra}`
      : sql`UPDATE ${target} SET ${ending} = now()${stamping(table, batch ?? '')} WHERE ${ending} IS NULL AND ${isExtra}`,
  );
  await session.run(sql`UPDATE ${differences} SET repaired = true WHERE ${which}`);
  for (const child of children) {
    if ((await session.dialect.storedColumns(session, child)) === null) continue;
    await removeOrphans(
      session,
      { key: { ...key, table: child.table }, table: child, next: batch ?? '' },
      table,
    );
  }
}

/** Removes the state of a range. */
export async function forgetRange(session: SqlSession, key: StreamKey): Promise<void> {
  const kept: OwnTable[] = ['checkpoints', 'moves', 'seen', 'differences', 'parents'];
  // The sync quarantines the records of an audit itself, now or later.
  if (rangeKind(key.range) === 'audit') kept.push('rejects');
  for (const name of kept)
    await session.run(sql`DELETE FROM ${ownTable(session, key, name)} WHERE ${keyIs(session, key)}`);
}
