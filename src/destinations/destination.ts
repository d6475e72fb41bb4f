import type {
  Checkpoint,
  Cursor,
  CursorFormat,
  DeletesDecision,
  Holder,
  Json,
  Note,
  ParentSpec,
  RangeFound,
  RangeKind,
  RangePlan,
  SchemaChange,
  StreamKey,
  TableSpec,
} from '../protocol.js';
import type { Fingerprint } from './fingerprint.js';
import type { RetryOutcome, RetryRequest } from './sql/retry.js';

/**
 * A place for rows. Every method is idempotent: it may be called again with the same request, also after a crash in
 * the middle, and then does the rest.
 */
export interface Destination {
  /**
   * Makes the table ready and claims the stream for a workflow.
   * The same holder (workflow and chain of runs) asking again gets the stored checkpoint, unchanged.
   * @throws {StreamHeldError} while another running workflow holds the table.
   * @throws {DestinationError} when the table cannot take the declared columns.
   * @throws {MoveRefusedError} when the place to move to does not exist; then nothing is changed.
   * @throws {DestinationGoneError} when the database is not the expected one; nothing is made.
   */
  openStream(request: OpenRequest): Promise<OpenResult>;

  /**
   * Writes rows and checkpoint in one transaction, by compare-and-set on the checkpoint's id.
   * @throws {CheckpointConflictError} when the stored checkpoint is not `base`, and `next` was never committed from
   * `base`; nothing is written. (A retry may come when later batches are committed already.)
   * @throws {TooManyDeletesError} when the end of a pass would remove more rows than it may; nothing is written.
   * @throws {RecordError} when a record does not fit its columns; nothing is written. Where the table says
   * `quarantine`, such a record is put aside instead.
   * @throws {TableGoneError} when the table is gone; nothing is written.
   */
  write(request: WriteRequest): Promise<WriteOutcome>;

  /**
   * Reads rows of a parent's table in the order of its primary key, each with the mark that the stream keeps of it.
   * @returns null while no pass over the parent has ended.
   */
  parents(request: ParentsRequest): Promise<ParentRow[] | null>;

  /** Announces a write that will come soon, so that it can be prepared beside the current write. */
  prepare(request: WriteRequest): void;

  /** Reads where a stream stands, and the log of how it came there, the latest entry first. */
  history(request: HistoryRequest): Promise<History>;

  /**
   * Retries the records of a table that were put aside, beside other writers of the table; absent where a destination
   * cannot.
   * @throws {DestinationError}
   */
  retry?(request: RetryRequest): Promise<RetryOutcome>;

  /** Ranges that are read beside the sync; absent where a destination cannot have them. */
  ranges?: Ranges;

  /** Closes all connections and files. */
  close(): Promise<void>;
}

/** Operations on ranges of a stream, besides opening and writing them. */
export interface Ranges {
  /** Says why a table cannot have a kind of range; null where it can. */
  refusal(kind: RangeKind, table: TableSpec, repairs: boolean): string | null;
  /** Reads the clock that rows are stamped by. */
  now(key: StreamKey): Promise<string>;
  /** Reads the checkpoint of the sync itself, by its key; null where it has never been opened. */
  stands(key: StreamKey): Promise<Checkpoint | null>;
  /** Lists the other ranges of the table, with their holders. */
  kept(key: StreamKey): Promise<{ key: StreamKey; holder: Holder; updated: string }[]>;
  /** Concludes an audit once all of it is read: looks at the differences again, and for rows that the source lacks. */
  conclude(request: ConcludeRequest): Promise<RangeFound>;
  /** Removes everything that is stored about a range. */
  forget(key: StreamKey): Promise<void>;
}

/** A column that tells which of two versions of a row is newer. */
export interface CursorColumn {
  field: string;
  format: CursorFormat;
}

/** A batch of a range. */
export interface RangeWrite {
  kind: RangeKind;
  /** Whether rows are written, and not only compared. */
  writes: boolean;
  /** When the first of the batch's pages was requested, at the earliest. */
  began: string;
  cursor: CursorColumn | null;
  /** Paths of files of records that the range met without comparing them. */
  beyond?: () => Promise<string[]>;
}

export interface ConcludeRequest {
  key: StreamKey;
  table: TableSpec;
  range: RangePlan;
  /**
   * Which rows the pass would have met had they been there, by the values of a column from one end to the other, both
   * included; null: all. Absent: that cannot be told, for a reason.
   */
  scope: { field: string; format: CursorFormat; from: string | null; to: string | null } | null | string;
  /** Whether rows that are gone may be removed: the source has answered with something. */
  removes: boolean;
  /** Says which of two rows of one key is the newer one; absent or null where the source has no such field. */
  newest?: CursorColumn | null;
}

export interface OpenRequest {
  key: StreamKey;
  table: TableSpec;
  holder: Holder;
  full: boolean;
  takeOver: boolean;
  /** Moves the checkpoint, once; absent: it stays where it is. */
  move?: StreamMove;
  /** What gives the checkpoint its meaning: kept beside it, and compared with what is kept. Absent: nothing is. */
  fingerprint?: Fingerprint;
  /** The identity of the database that must be there; absent: any, which is made where it is missing. */
  expects?: string;
  /** Whether a workflow that holds a checkpoint of this table is still running. */
  isRunning: (holder: Holder) => Promise<boolean>;
}

/** A move of a checkpoint. */
export interface StreamMove {
  /** The new checkpoint's id. */
  id: string;
  to: { start: true } | { batch: string } | { time: string } | { cursor: Cursor } | { here: true };
  /** The reason, for the log. */
  said: string;
}

export interface HistoryRequest {
  key: StreamKey;
  limit: number;
}

export interface History {
  /** Null where the stream was never opened. */
  stored: { checkpoint: Checkpoint; holder: Holder; since: string } | null;
  /** Number of all entries. */
  total: number;
  entries: HistoryEntry[];
}

/** A commit or a move. */
export interface HistoryEntry {
  /** The id of the checkpoint that it made. */
  id: string;
  base: string;
  at: string;
  /** Null for the beginning; absent where the version that made it did not keep it. */
  cursor?: Cursor | null;
  workflowId: string;
  pages: number;
  records: number;
  rows: number;
  /** The reason of a move; null for a commit. */
  moved: string | null;
}

export interface OpenResult {
  checkpoint: Checkpoint;
  /** Identity of the database. */
  database: string;
  /** Other strategies or sources that have a checkpoint for the same table. */
  neighbours: StreamKey[];
  /** Consequences of changes to the configuration or the table since the checkpoint; absent where there are none. */
  notes?: Note[];
}

export interface WriteRequest {
  key: StreamKey;
  table: TableSpec;
  base: string;
  next: string;
  cursor: Cursor;
  /** Counts for the log of commits. */
  records: number;
  pages: number;
  /** Size of the staged files. */
  bytes: number;
  /** Length of the longest record, in bytes. */
  longest: number;
  /** Paths of files of newline-delimited JSON, in order; asked for only when the batch is to be written. */
  files: () => Promise<string[]>;
  /** Paths of files of {@link ParentMark}s, written in the same transaction; absent where there are none. */
  marks?: () => Promise<string[]>;
  /** Paths of files of {@link Reject}s, likewise. */
  rejects?: () => Promise<string[]>;
  workflowId: string;
  /** Absent: the batch is one of the sync itself. */
  range?: RangeWrite;
  /** The decision about the rows that the end of this pass would remove. */
  deletes?: DeletesDecision;
  /** What the batch was read by; kept beside the checkpoint once a pass has ended by it. */
  fingerprint?: Fingerprint;
}

export interface WriteOutcome {
  /**
   * Rows inserted or changed; rows that stood there with the same content are not counted. A destination that only
   * adds does not compare, and counts every version that it has written.
   */
  rows: number;
  /** Records put aside in `_highwater_rejects`, those of the reader included; absent where there are none. */
  rejected?: number;
  /** Rows marked or removed as deleted; absent where there are none. */
  deleted?: number;
  /** Columns that were added or widened; absent where none were. */
  changes?: SchemaChange[];
  /** Added to those of the cursor in the checkpoint. */
  notes?: Note[];
  /** Of a range: rows that were left as they are, as they are newer or may be; absent where there are none. */
  left?: number;
  /** An earlier attempt had committed this batch. */
  already: boolean;
}

export interface ParentsRequest {
  /** The stream whose parents these are. */
  key: StreamKey;
  parent: ParentSpec;
  /** Only parents whose key comes after this one; null: from the first. */
  after: string[] | null;
  limit: number;
}

export interface ParentRow {
  /** The primary key as text, by which `after` finds it again. */
  key: string[];
  fields: { [name: string]: Json };
  /** Null where none is kept. */
  mark: Json | null;
}

/** One line of a staged file of marks. */
export interface ParentMark {
  /** JSON of the parent's key. */
  parent: string;
  /** JSON of its mark. */
  mark: string;
}
