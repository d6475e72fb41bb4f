/** What destinations that keep their checkpoints in tables have in common: who may write, and what is said of it. */
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
  /** When it was written last. */
  updated: string;
}

/** The part of a {@link StreamKey} that tells the streams of one table apart. */
export type StreamOfTable = Omit<StreamKey, 'schema' | 'table'>;

export const keyValues = (key: StreamKey) => [key.schema, key.table, key.strategy, key.source, key.range];
export const sameKey = (a: StreamOfTable, b: StreamOfTable): boolean =>
  a.strategy === b.strategy && a.source === b.source && a.range === b.range;
/** Whether a checkpoint is that of a range, which is read beside the sync. */
export const isRange = ({ range }: Pick<StreamKey, 'range'>): boolean => range !== '';
/** Of the checkpoints of a table those that matter to one: a sync and the ranges beside it do not know each other. */
export const thatMatter = (key: StreamKey, stored: StoredCheckpoint[]): StoredCheckpoint[] =>
  stored.filter((one) => (isRange(key) ? sameKey(one.key, key) : !isRange(one.key)));
export const tableName = (table: TableSpec) => sql`${identifier(table.schema)}.${identifier(table.table)}`;

/** The column of a batch for one of its table. */
export function columnIn(columns: ReadonlyMap<string, Sql>, name: string): Sql {
  const column = columns.get(name);
  if (column === undefined) throw new Error(`the batch has no column ${name}`);
  return column;
}

/** The columns of a batch have names of our own: one called rowid or place would hide a record's place. */
export const batchColumns = (table: TableSpec) =>
  new Map(Object.keys(table.columns).map((name, i): [string, Sql] => [name, sql`c${numeral(i)}`]));

/**
 * Claims a stream once no other holder of its table is running.
 * @param read the checkpoints of all strategies and sources of the table.
 * @param claim null where the table has got a holder meanwhile that was not `asked` for.
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
 * @param stored the checkpoints of all strategies and sources of the table.
 * @param asked holders that are known not to run; those that do not are added.
 * @throws {StreamHeldError}
 */
export async function refuseIfHeld(
  { key, holder: own, takeOver, isRunning, expects }: OpenRequest,
  stored: readonly StoredCheckpoint[],
  asked: Set<string>,
): Promise<void> {
  for (const { holder, key: held } of stored) {
    if (isSameSync(holder, own) || takeOver) continue;
    // Whether that one still runs may not be known: taking the stream back, the two would take turns.
    const isTaken = expects !== undefined && sameKey(held, key) && isOfOtherCluster(holder, own);
    if (isTaken || (!asked.has(JSON.stringify(holder)) && (await isRunning(holder)))) {
      const elsewhere = isSameCluster(holder, own) ? null : holder.cluster;
      throw new StreamHeldError(`table ${key.schema}.${key.table}`, holder.workflowId, elsewhere);
    }
    asked.add(JSON.stringify(holder));
  }
}

type OfCluster = Pick<Holder, 'cluster' | 'clusterId'>;

/** Whether two Temporal servers are one, which may go by several addresses. */
export const isSameCluster = (a: OfCluster, b: OfCluster): boolean =>
  a.clusterId !== undefined && b.clusterId !== undefined
    ? a.clusterId === b.clusterId
    : a.cluster === b.cluster;

/** Whether two Temporal servers are known to be two. */
const isOfOtherCluster = (a: OfCluster, b: OfCluster): boolean =>
  a.clusterId !== undefined && b.clusterId !== undefined && a.clusterId !== b.clusterId;

/** Whether two holders are runs of one sync: on another Temporal server the same id is another sync. */
export const isSameSync = (a: Holder, b: Holder): boolean =>
  a.workflowId === b.workflowId && a.namespace === b.namespace && isSameCluster(a, b);

/** Whether rows are gone when a pass has not met them. */
export const missesRows = (table: TableSpec): boolean =>
  table.deletes !== undefined && table.unseen !== 'stay';

/** What a claim comes to; its writing is the destination's. */
export interface Claim {
  checkpoint: Checkpoint;
  /** Whether it has to be stored. */
  isNew: boolean;
  neighbours: StreamKey[];
  /** Other strategies of the table that are taken over with it: their workflows' next writes are refused. */
  takenOver: StreamKey[];
}

/** Null where the table has a holder that was not `asked` for. */
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
      `table ${key.schema}.${key.table} has rows of another source too (${elsewhere.source}): what one source does not have ` +
        'is not gone from the other. Give each a table of its own, leave "deletes" and "mode" out, or start with --take-over, and ' +
        "the table is all this one's.",
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
  // A new holder makes a new checkpoint: whatever the one before has in flight is stale from here on.
  const checkpoint = { id: randomUUID(), cursor: full ? null : (own?.cursor ?? null) };
  return { checkpoint, isNew: true, neighbours, takenOver };
}

/** Reads the log of a stream, the latest first. */
export interface StreamLog {
  entries: (which: {
    /** How the id begins. */
    batch?: string;
    /** At this time or before it, to the millisecond. */
    until?: string;
    limit: number;
  }) => Promise<HistoryEntry[]>;
  /** Whether a move of this id was made. */
  hasMoved: (id: string) => Promise<boolean>;
}

/** A claim with what moves it, and with what is to be kept and said of the configuration that it was opened by. */
export interface MovedClaim extends Claim, Pick<Reopening, 'record' | 'notes'> {
  /** What the log has to say of the move; null where nothing moves it, or where it was moved before. */
  said: string | null;
}

/** What a destination has found beside a checkpoint. */
export interface FoundBeside {
  recorded: Recorded | null;
  /** The table was gone, and has been made anew just now. */
  isGone: boolean;
}

/**
 * The claim with what moves it.
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
  // A state that was given just now is one of the field that is configured just now.
  const isGiven = move !== undefined && 'cursor' in move.to;
  const isHere = move !== undefined && 'here' in move.to;
  // A sync that knows the database has opened the stream before: there was a checkpoint then.
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

/** Whether a request has the stream read from its start, so that rows may be put in order for another key before. */
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
      `nothing was committed at ${to.time} or before it; the beginning is "start", and "highwater state get" lists all there is`,
    );
  }
  // As it stands it may be in no log: whoever opens a stream makes a checkpoint.
  if (to.batch !== '' && own?.id === to.batch) return own.cursor;
  const found = to.batch === '' ? [] : await log.entries({ batch: to.batch, limit: 2 });
  const [entry] = found.length > 1 ? found.filter(({ id }) => id === to.batch) : found;
  if (entry !== undefined) return cursorOf(entry);
  const shown = JSON.stringify(to.batch.slice(0, 100));
  throw new MoveRefusedError(
    found.length > 1
      ? `several batches have an id that begins with ${shown}: give more of it`
      : `${shown} is none of the batches of this stream; "highwater state get" lists them`,
  );
}

function cursorOf({ id, at, cursor }: HistoryEntry): Cursor | null {
  if (cursor !== undefined) return cursor;
  throw new MoveRefusedError(
    `where the stream stood at batch ${id}, of ${at}, is not known: an older version wrote it`,
  );
}

/** Whether some pass over a table has ended: it says how, or the next has begun. */
export const isRead = (stored: readonly StoredCheckpoint[]): boolean =>
  stored.some(({ cursor }) => cursor !== null && (cursor.ended !== null || cursor.pass > 1));

/** Whether a pass that has ended has read everything: then what it has not met is gone from the source. */
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

/** @throws {DestinationError} where there are any. */
export function refuseOtherTypes({ schema, table }: TableSpec, differences: readonly string[]): void {
  if (differences.length === 0) return;
  throw new DestinationError(
    `table ${schema}.${table} has other column types than declared: ${differences.join('; ')}. ` +
      `Declare the types it has, or sync into another table.`,
  );
}

export const notReady = ({ schema, table }: TableSpec, said: string): DestinationError =>
  new DestinationError(`table ${schema}.${table} cannot be made ready: ${said}`);

/** A record that does not fit, where it was found, and where not. */
export const doesNotFit = (key: string, why: string): RecordError =>
  new RecordError(`the record with primary key ${JSON.stringify(key.slice(0, 200))} does not fit: ${why}`);
export function cannotHold(column: string, value: string, type: ColumnType): string {
  const { why, remedy } = whyNot(column, value, type);
  return `${why}${remedy}`;
}
export const somethingMisfits = ({ schema, table }: TableSpec, said: string): RecordError =>
  new RecordError(`a record of this batch does not fit table ${schema}.${table}: ${said.slice(0, 400)}`);

/** Of the checkpoints of ranges of a table those that are not `key`'s. */
export const otherRanges = (key: StreamKey, stored: readonly StoredCheckpoint[]): StoredCheckpoint[] =>
  stored.filter((one) => isRange(one.key) && !sameKey(one.key, key));
