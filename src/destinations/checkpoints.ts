/** Checkpoints, as all destinations handle them: who holds a stream, what a claim makes of its checkpoint, and the errors that refuse it. */
import { randomUUID } from 'node:crypto';
import {
  CheckpointConflictError,
  DestinationError,
  MoveRefusedError,
  RecordError,
  StreamHeldError,
} from '../errors.js';
import {
  INCOMPLETE,
  type Checkpoint,
  type ColumnType,
  type Cursor,
  type Holder,
  type StreamKey,
  type TableSpec,
} from '../protocol.js';
import { cannotHold as whyNot } from '../sources/declared-values.js';
import type { HistoryEntry, OpenRequest, OpenResult, StreamMove } from './destination.js';
import { reopen, type Recorded, type Reopening } from './fingerprint.js';
import { identifier, numeral, sql, type Sql } from './sql/sql.js';

export interface StoredCheckpoint extends Checkpoint {
  key: StreamKey;
  holder: Holder;
  /** Time of its last write. */
  updated: string;
}

/** The part of a {@link StreamKey} that tells the streams of one table apart. */
export type StreamOfTable = Omit<StreamKey, 'schema' | 'table'>;

export const keyValues = (key: StreamKey) => [key.schema, key.table, key.strategy, key.source, key.range];
export const sameKey = (a: StreamOfTable, b: StreamOfTable): boolean =>
  a.strategy === b.strategy && a.source === b.source && a.range === b.range;
/** Whether a checkpoint is that of a range, which is read beside the sync. */
export const isRange = ({ range }: Pick<StreamKey, 'range'>): boolean => range !== '';
/** Filters the checkpoints of a table that compete with a stream: a sync and the ranges beside it ignore each other. */
export const competingWith = (key: StreamKey, stored: StoredCheckpoint[]): StoredCheckpoint[] =>
  stored.filter((one) => (isRange(key) ? sameKey(one.key, key) : !isRange(one.key)));
export const tableName = (table: TableSpec) => sql`${identifier(table.schema)}.${identifier(table.table)}`;

/** Returns the column of a batch for a column of its table. */
export function columnIn(columns: ReadonlyMap<string, Sql>, name: string): Sql {
  const column = columns.get(name);
  if (column === undefined) throw new Error(`the batch has no column ${name}`);
  return column;
}

/** Names the columns of a batch `c0`, `c1`, …: a column called `rowid` or `place` would hide a record's place. */
export const batchColumns = (table: TableSpec) =>
  new Map(Object.keys(table.columns).map((name, i): [string, Sql] => [name, sql`c${numeral(i)}`]));

/**
 * Claims a stream once no other holder of its table is running.
 * @param read reads the checkpoints of the table that compete with the stream.
 * @param claim claims the stream; returns null if the table has a new holder, which is not in `asked`.
 * @param asked holders that are known not to run.
 * @throws {StreamHeldError}
 */
export async function openWhenFree(
  request: OpenRequest,
  read: () => Promise<StoredCheckpoint[]>,
  claim: (asked: ReadonlySet<string>) => Promise<OpenResult | null>,
  asked = new Set<string>(),
): Promise<OpenResult> {
  for (;;) {
    await refuseIfHeld(request, await read(), asked);
    const opened = await claim(asked);
    if (opened !== null) return opened;
  }
}

/**
 * Refuses a stream whose table another running workflow holds.
 * @param stored the checkpoints of the table that compete with the stream.
 * @param asked holders that are known not to run; more are added.
 * @throws {StreamHeldError}
 */
export async function refuseIfHeld(
  { key, holder: own, takeOver, isRunning, expects }: OpenRequest,
  stored: readonly StoredCheckpoint[],
  asked: Set<string>,
): Promise<void> {
  for (const { holder, key: held } of stored) {
    if (isSameSync(holder, own) || takeOver) continue;
    // Whether a holder of another cluster runs may be unknown. Taking the stream back would make the two take turns.
    const isTaken = expects !== undefined && sameKey(held, key) && isOfOtherCluster(holder, own);
    if (isTaken || (!asked.has(JSON.stringify(holder)) && (await isRunning(holder)))) {
      const elsewhere = isSameCluster(holder, own) ? null : holder.cluster;
      throw new StreamHeldError(`table ${key.schema}.${key.table}`, holder.workflowId, elsewhere);
    }
    asked.add(JSON.stringify(holder));
  }
}

type OfCluster = Pick<Holder, 'cluster' | 'clusterId'>;

/** Whether two holders are on the same Temporal server, which may have several addresses. */
export const isSameCluster = (a: OfCluster, b: OfCluster): boolean =>
  a.clusterId !== undefined && b.clusterId !== undefined
    ? a.clusterId === b.clusterId
    : a.cluster === b.cluster;

/** Whether two holders are known to be on different Temporal servers. */
const isOfOtherCluster = (a: OfCluster, b: OfCluster): boolean =>
  a.clusterId !== undefined && b.clusterId !== undefined && a.clusterId !== b.clusterId;

/** Whether two holders are runs of the same sync; on another Temporal server the same id is another sync. */
export const isSameSync = (a: Holder, b: Holder): boolean =>
  a.workflowId === b.workflowId && a.namespace === b.namespace && isSameCluster(a, b);

/** Whether a row that a pass has not met counts as deleted at the source. */
export const missesRows = (table: TableSpec): boolean =>
  table.deletes !== undefined && table.unseen !== 'stay';

/** The result of a claim, which the destination then stores. */
export interface Claim {
  checkpoint: Checkpoint;
  /** Whether the checkpoint has to be stored. */
  isNew: boolean;
  neighbours: StreamKey[];
  /** Other streams of the table that are taken over too: the next writes of their workflows are refused. */
  takenOver: StreamKey[];
}

/**
 * Decides on a claim.
 * @param asked holders that are known not to run.
 * @returns null if the table has another holder.
 * @throws {DestinationError} if another source has rows in a table that would lose them.
 */
export function claimOf(
  stored: readonly StoredCheckpoint[],
  { key, table, holder, full, takeOver }: OpenRequest,
  asked: ReadonlySet<string>,
): Claim | null {
  const others = stored.filter((one) => !isSameSync(one.holder, holder));
  if (!takeOver && others.some((one) => !asked.has(JSON.stringify(one.holder)))) return null;
  const own = stored.find((one) => sameKey(one.key, key));
  const neighbours = stored.filter((one) => one !== own).map((one) => one.key);
  const elsewhere = neighbours.find(({ source }) => source !== key.source);
  if (elsewhere !== undefined && !takeOver && (missesRows(table) || table.mode === 'replace')) {
    throw new DestinationError(
      `table ${key.schema}.${key.table} also has rows of another source (${elsewhere.source}), and a pass over one source cannot ` +
        'tell which rows are gone from the other. Give each source its own table, or omit "deletes" and "mode"; or start with ' +
        '--take-over, which gives the whole table to this source.',
    );
  }
  const takenOver = takeOver ? others.filter((one) => one !== own).map((one) => one.key) : [];
  if (
    own !== undefined &&
    own.holder.workflowId === holder.workflowId &&
    own.holder.firstRunId === holder.firstRunId
  ) {
    return { checkpoint: { id: own.id, cursor: own.cursor }, isNew: false, neighbours, takenOver };
  }
  // A new holder makes a new checkpoint, so that batches of the previous holder still in flight are refused.
  const checkpoint = { id: randomUUID(), cursor: full ? null : (own?.cursor ?? null) };
  return { checkpoint, isNew: true, neighbours, takenOver };
}

/** The log of a stream, newest entry first. */
export interface StreamLog {
  entries: (which: {
    /** Beginning of the id. */
    batch?: string;
    /** Latest time, to the millisecond. */
    until?: string;
    limit: number;
  }) => Promise<HistoryEntry[]>;
  /** Whether the move with this id has been made. */
  hasMoved: (id: string) => Promise<boolean>;
}

/** A claim after its move, with the configuration to record and the notes on its changes. */
export interface MovedClaim extends Claim, Pick<Reopening, 'record' | 'notes'> {
  /** Reason of the move, for the log; null if nothing moves the checkpoint, or the move was made before. */
  said: string | null;
}

/** State that a destination keeps beside a checkpoint. */
export interface FoundBeside {
  recorded: Recorded | null;
  /** Whether the table was gone, and has just been created again. */
  isGone: boolean;
}

/**
 * Applies the requested move, or the one that a changed configuration forces, to a claim.
 * @throws {MoveRefusedError}
 */
export async function movedClaim(
  claim: Claim,
  own: Pick<StoredCheckpoint, 'id' | 'cursor'> | undefined,
  request: OpenRequest,
  log: StreamLog,
  { recorded, isGone }: FoundBeside,
): Promise<MovedClaim> {
  const moved = await moveOf(claim, own, request, log);
  const { fingerprint, move } = request;
  if (fingerprint === undefined || isRange(request.key)) return { ...moved, record: null, notes: [] };
  const cursor = own?.cursor ?? null;
  // A state given with this request belongs to the cursor field that this request configures.
  const isGiven = move !== undefined && 'cursor' in move.to;
  const isHere = move !== undefined && 'here' in move.to;
  // A sync that knows the database has opened the stream before, so there was a checkpoint.
  const isLost = isGone || (own === undefined && request.expects !== undefined);
  const found = recorded ?? (isLost ? { is: fingerprint, gone: true as const } : null);
  const { startsOver, ...drift } = reopen(found, fingerprint, {
    hasCursor: cursor !== null,
    isReset: moved.said !== null && !isHere && (moved.checkpoint.cursor === null || isGiven),
    isWhole: cursor !== null && cursor.ended !== null,
  });
  if (recorded === null && drift.record === null) drift.record = found;
  if (startsOver === null) return { ...moved, ...drift };
  const id = moved.isNew ? moved.checkpoint.id : randomUUID();
  return { ...moved, ...drift, checkpoint: { id, cursor: null }, isNew: true, said: startsOver };
}

async function moveOf(
  claim: Claim,
  own: Pick<StoredCheckpoint, 'id' | 'cursor'> | undefined,
  { full, move }: OpenRequest,
  log: StreamLog,
): Promise<Claim & { said: string | null }> {
  if (claim.isNew && full) return { ...claim, said: 'started over' };
  if (move === undefined || (await log.hasMoved(move.id))) return { ...claim, said: null };
  const cursor = await targetOf(move.to, own, log);
  return { ...claim, checkpoint: { id: move.id, cursor }, isNew: true, said: move.said };
}

/** Whether a request reads the stream from its start, so that rows may be adapted to another primary key first. */
export const startsAnew = ({ full, move }: OpenRequest): boolean =>
  full || (move !== undefined && 'start' in move.to);

async function targetOf(
  to: StreamMove['to'],
  own: Pick<StoredCheckpoint, 'id' | 'cursor'> | undefined,
  log: StreamLog,
): Promise<Cursor | null> {
  if ('start' in to) return null;
  if ('cursor' in to) return to.cursor;
  if ('here' in to) return own?.cursor ?? null;
  if ('time' in to) {
    const [last] = await log.entries({ until: to.time, limit: 1 });
    if (last !== undefined) return cursorOf(last);
    throw new MoveRefusedError(
      `nothing was committed at or before ${to.time}; "highwater state get" lists the commits, and "start" is the beginning`,
    );
  }
  // The current checkpoint may be in no log: opening a stream makes one.
  if (to.batch !== '' && own?.id === to.batch) return own.cursor;
  const found = to.batch === '' ? [] : await log.entries({ batch: to.batch, limit: 2 });
  const [entry] = found.length > 1 ? found.filter(({ id }) => id === to.batch) : found;
  if (entry !== undefined) return cursorOf(entry);
  const shown = JSON.stringify(to.batch.slice(0, 100));
  throw new MoveRefusedError(
    found.length > 1
      ? `several batches have an id that begins with ${shown}; give more letters`
      : `this stream has no batch ${shown}; "highwater state get" lists its batches`,
  );
}

function cursorOf({ id, at, cursor }: HistoryEntry): Cursor | null {
  if (cursor !== undefined) return cursor;
  throw new MoveRefusedError(`batch ${id} of ${at} has no cursor: an older version of Highwater wrote it`);
}

/** Whether some pass over a table has ended. */
export const isRead = (stored: readonly StoredCheckpoint[]): boolean =>
  stored.some(({ cursor }) => cursor !== null && (cursor.ended !== null || cursor.pass > 1));

/** Whether a pass has ended and has read everything, so that rows it has not met are gone from the source. */
export const isWholePass = ({ ended, notes }: Cursor): boolean =>
  ended !== null && !notes.some(({ code }) => (INCOMPLETE as readonly string[]).includes(code));

export const conflict = (
  key: StreamKey,
  base: string,
  stored: Pick<StoredCheckpoint, 'id' | 'holder'> | undefined,
): CheckpointConflictError =>
  new CheckpointConflictError(
    `${key.schema}.${key.table} (${key.strategy})`,
    base,
    stored?.id ?? null,
    stored?.holder ?? null,
  );

/** @throws {DestinationError} if there are differences. */
export function refuseOtherTypes({ schema, table }: TableSpec, differences: readonly string[]): void {
  if (differences.length === 0) return;
  throw new DestinationError(
    `table ${schema}.${table} has other column types than declared: ${differences.join('; ')}. ` +
      `Declare the types it has, or sync into another table.`,
  );
}

export const notReady = ({ schema, table }: TableSpec, said: string): DestinationError =>
  new DestinationError(`table ${schema}.${table} cannot be prepared: ${said}`);

/** The error for a record that does not fit and has been found. */
export const doesNotFit = (key: string, why: string): RecordError =>
  new RecordError(`the record with primary key ${JSON.stringify(key.slice(0, 200))} does not fit: ${why}`);
export function cannotHold(column: string, value: string, type: ColumnType): string {
  const { why, remedy } = whyNot(column, value, type);
  return `${why}${remedy}`;
}
/** The error for a batch with a record that does not fit and could not be found. */
export const somethingMisfits = ({ schema, table }: TableSpec, said: string): RecordError =>
  new RecordError(`a record of this batch does not fit table ${schema}.${table}: ${said.slice(0, 400)}`);

/** Filters the checkpoints of a table's ranges other than `key`. */
export const otherRanges = (key: StreamKey, stored: readonly StoredCheckpoint[]): StoredCheckpoint[] =>
  stored.filter((one) => isRange(one.key) && !sameKey(one.key, key));
