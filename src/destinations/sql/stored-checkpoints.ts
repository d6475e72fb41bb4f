/** Checkpoints of streams as they are stored: claimed when a stream is opened, with the log of how they came to be. */
import { randomUUID } from 'node:crypto';
import type { Cursor, Holder, StreamKey } from '../../protocol.js';
import {
  claimOf,
  isRange,
  movedClaim,
  sameKey,
  tableName,
  competingWith,
  type StoredCheckpoint,
  type StreamLog,
} from '../checkpoints.js';
import type { History, HistoryRequest, OpenRequest, OpenResult } from '../destination.js';
import { counts, type Dialect, type SqlRow, type SqlSession } from './dialect.js';
import { keepOpened, noteOfEmptyTable, recordedOf } from './drift.js';
import { asideOf } from './modes.js';
import { databaseId, insertInto, keyIs, keyLiterals, ownTable, tableIs } from './own-tables.js';
import { joined, literal, numeral, sql, type Sql } from './sql.js';

const selectCheckpoints = (dialect: Dialect, key: StreamKey, which: Sql): Sql =>
  sql`SELECT strategy, source, "range", id, cursor, holder, ${dialect.milliseconds(sql`updated_at`)}
     FROM ${dialect.ownTable(key.schema, 'checkpoints')} WHERE ${which} ORDER BY strategy, source, "range"`;

/** The query for the checkpoint of a stream; see {@link checkpointsIn}. */
export const checkpointQuery = (dialect: Dialect, key: StreamKey): Sql =>
  selectCheckpoints(dialect, key, keyIs({ dialect }, key));

/** The query for the checkpoints of all strategies and sources of a table; see {@link checkpointsIn}. */
const checkpointsQuery = (dialect: Dialect, key: StreamKey): Sql =>
  selectCheckpoints(dialect, key, tableIs({ dialect }, key));

/** The checkpoints in an answer to {@link checkpointQuery}. */
export const checkpointsIn = (rows: readonly SqlRow[], key: StreamKey): StoredCheckpoint[] =>
  rows.map(([strategy, source, range, id, cursor, holder, updated]) => ({
    key: { ...key, strategy: strategy as StreamKey['strategy'], source: source ?? '', range: range ?? '' },
    id: id ?? '',
    cursor: cursorIn(cursor),
    holder: JSON.parse(holder ?? '') as Holder,
    updated: updated ?? '',
  }));

const cursorIn = (text: string | null | undefined): Cursor | null =>
  text == null ? null : (JSON.parse(text) as Cursor);

/** Reads the checkpoints of all strategies and sources of a table, those of ranges included. */
export const allCheckpoints = async (session: SqlSession, key: StreamKey): Promise<StoredCheckpoint[]> =>
  checkpointsIn(await session.rows(checkpointsQuery(session.dialect, key)), key);

/** Reads the checkpoints of a table that matter to a stream. */
export const storedCheckpoints = async (session: SqlSession, key: StreamKey): Promise<StoredCheckpoint[]> =>
  competingWith(key, await allCheckpoints(session, key));

/** Reads the checkpoint of a stream; undefined where it has none. */
export const checkpointOf = (
  stored: readonly StoredCheckpoint[],
  key: StreamKey,
): StoredCheckpoint | undefined => stored.find((one) => sameKey(one.key, key));

/**
 * Claims a stream, in a transaction.
 * @param asked holders that do not run any more.
 * @param isGone the table was gone, and was made anew just now.
 * @returns null where the table has got a holder meanwhile that was not asked for.
 */
export async function claimStream(
  session: SqlSession,
  request: OpenRequest,
  asked: ReadonlySet<string>,
  isGone: boolean,
): Promise<OpenResult | null> {
  const { key, holder, table, children = [] } = request;
  const { dialect } = session;
  await dialect.lockName(session, `highwater ${key.schema}.${key.table}`);
  // Waits for writes in flight: what they commit must not be undone here.
  const rows = await session.rows(sql`${checkpointsQuery(session.dialect, key)} ${dialect.forUpdate}`);
  const stored = competingWith(key, checkpointsIn(rows, key));
  const claim = claimOf(stored, request, asked);
  if (claim === null) return null;
  const own = checkpointOf(stored, key);
  const recorded = await recordedOf(session, key);
  const moved = await movedClaim(claim, own, request, logOf(session, key), { recorded, isGone });
  const { checkpoint, neighbours, takenOver, isNew, said, record } = moved;
  const isEmptied = checkpoint.cursor === null ? [] : await noteOfEmptyTable(session, key, table);
  const notes = [...moved.notes, ...isEmptied];
  const database = String(await databaseId(session, key.schema));
  const result: OpenResult = { checkpoint, database, neighbours, ...(notes.length > 0 && { notes }) };
  await keepOpened(session, key, record);
  const checkpoints = ownTable(session, key, 'checkpoints');
  const heldBy = literal(JSON.stringify(holder));
  for (const other of takenOver)
    await session.run(
      sql`UPDATE ${checkpoints} SET id = ${literal(randomUUID())}, holder = ${heldBy}, updated_at = now() WHERE ${keyIs(session, other)}`,
    );
  if (!isNew) return result;
  const cursor = checkpoint.cursor === null ? sql`NULL` : literal(JSON.stringify(checkpoint.cursor));
  if (said !== null) {
    // The current pass has not met what a pass from the new place meets: it must not end as a whole one.
    await session.run(sql`DELETE FROM ${ownTable(session, key, 'seen')} WHERE ${keyIs(session, key)}`);
    for (const one of isRange(key) ? [] : [table, ...children]) {
      const aside = tableName(asideOf({ ...key, table: one.table }, one));
      await dialect.changeTable(session, aside, sql`DROP TABLE IF EXISTS ${aside}`);
    }
    if (checkpoint.cursor === null)
      await session.run(sql`DELETE FROM ${ownTable(session, key, 'parents')} WHERE ${keyIs(session, key)}`);
    const ids = joined([checkpoint.id, own?.id ?? ''].map(literal));
    await session.run(
      sql`${insertInto(session, key, 'moves')} VALUES (${ids}, ${keyLiterals(key)}, ${cursor}, ${literal(holder.workflowId)}, ${literal(said)}, now())`,
    );
  }
  const id = literal(checkpoint.id);
  await session.run(
    own === undefined
      ? sql`${insertInto(session, key, 'checkpoints')} VALUES (${keyLiterals(key)}, ${id}, ${cursor}, ${heldBy}, now())`
      : sql`UPDATE ${checkpoints} SET id = ${id}, cursor = ${cursor}, holder = ${heldBy}, updated_at = now() WHERE ${keyIs(session, key)}`,
  );
  return result;
}

/** Reads where a stream stands, and its log. */
export async function readHistory(session: SqlSession, { key, limit }: HistoryRequest): Promise<History> {
  const nothing: History = { stored: null, total: 0, entries: [] };
  if (!(await session.dialect.hasOwnTable(session, key.schema, 'checkpoints'))) return nothing;
  const own = checkpointOf(await allCheckpoints(session, key), key);
  if (own === undefined) return nothing;
  const [total = 0] = await counts(session, sql`SELECT count(*) FROM (${logQuery(session, key)}) AS l`);
  const { id, cursor, holder, updated: since } = own;
  return {
    stored: { checkpoint: { id, cursor }, holder, since },
    total,
    entries: await logOf(session, key).entries({ limit }),
  };
}

/** The query for the commits and moves of a stream. */
function logQuery(session: SqlSession, key: StreamKey): Sql {
  const isOwn = keyIs(session, key);
  return sql`SELECT id, base, cursor, workflow_id, pages, records, "rows", CAST(NULL AS VARCHAR) AS moved, committed_at AS made_at
    FROM ${ownTable(session, key, 'batches')} WHERE ${isOwn}
    UNION ALL SELECT id, base, cursor, workflow_id, 0, 0, 0, moved, moved_at FROM ${ownTable(session, key, 'moves')} WHERE ${isOwn}`;
}

const logOf = (session: SqlSession, key: StreamKey): StreamLog => ({
  entries: async ({ batch, until, limit }) => {
    const which = [
      ...(batch === undefined ? [] : [sql`starts_with(id, ${literal(batch)})`]),
      ...(until === undefined
        ? []
        : [sql`date_trunc('milliseconds', made_at) <= CAST(${literal(until)} AS TIMESTAMPTZ)`]),
    ];
    const found = await session.rows(
      sql`SELECT id, base, ${session.dialect.milliseconds(sql`made_at`)}, cursor, workflow_id, pages, records, "rows", moved
         FROM (${logQuery(session, key)}) AS l ${which.length === 0 ? sql`` : sql`WHERE ${joined(which, sql` AND `)}`}
         ORDER BY made_at DESC LIMIT ${numeral(limit)}`,
    );
    return found.map(([id, base, at, cursor, workflowId, pages, records, rows, moved]) => ({
      id: id ?? '',
      base: base ?? '',
      at: at ?? '',
      cursor: cursorIn(cursor),
      workflowId: workflowId ?? '',
      pages: Number(pages),
      records: Number(records),
      rows: Number(rows),
      moved: moved ?? null,
    }));
  },
  hasMoved: async (id) => {
    const [count = 0] = await counts(
      session,
      sql`SELECT count(*) FROM ${ownTable(session, key, 'moves')} WHERE ${keyIs(session, key)} AND id = ${literal(id)}`,
    );
    return count !== 0;
  },
});
