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
  StreamKey,
  TableSpec,
  WrittenBatch,
} from '../protocol.js';
import type { Fingerprint } from './fingerprint.js';
import type { RetryOutcome, RetryRequest } from './sql/retry.js';

/**
 * A place for rows. Every method is idempotent: calling it again with the same request, even after a crash in the
 * middle, completes the work.
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
   * `base`; nothing is written. (A retry may arrive after later batches were committed.)
   * @throws {TooManyDeletesError} when the end of a pass would remove more rows than it may; nothing is written.
   * @throws {RecordError} when a record does not fit its columns; nothing is written. A table with `quarantine`
   * quarantines the record instead.
   * @throws {TableGoneError} when the table is gone; nothing is written.
   */
  write(request: WriteRequest): Promise<WriteOutcome>;

  /**
   * Reads rows of a parent's table in the order of its primary key, each with the mark that the stream has stored for
   * it.
   * @returns null while no pass over the parent has ended.
   */
  parents(request: ParentsRequest): Promise<ParentRow[] | null>;

  /** Announces an upcoming write, so that it can be prepared beside the current one. */
  prepare(request: WriteRequest): void;

  /** Reads the stream's checkpoint and the log of its commits and moves, the latest first. */
  history(request: HistoryRequest): Promise<History>;

  /**
   * Retries the quarantined records of a table, beside other writers; absent if the destination cannot.
   * @throws {DestinationError}
   */
  retry?(request: RetryRequest): Promise<RetryOutcome>;

  /** Ranges that are read beside the sync; absent if the destination does not support them. */
  ranges?: Ranges;

  /** Closes all connections and files. */
  close(): Promise<void>;
}

/** Operations on ranges of a stream, besides opening and writing them. */
export interface Ranges {
  /** Says why a table does not support a kind of range; null if it does. */
  refusal(kind: RangeKind, table: TableSpec, repairs: boolean): string | null;
  /** Reads the clock that rows are stamped by. */
  now(key: StreamKey): Promise<string>;
  /** Reads the checkpoint of the sync itself, by its key; null if it has never been opened. */
  stands(key: StreamKey): Promise<Checkpoint | null>;
  /** Lists the other ranges of the table, with their holders. */
  kept(key: StreamKey): Promise<{ key: StreamKey; holder: Holder; updated: string }[]>;
  /** Concludes an audit once everything is read: checks the differences again, and finds rows that the source lacks. */
  conclude(request: ConcludeRequest): Promise<RangeFound>;
  /** Removes everything that is stored about a range. */
  forget(key: StreamKey): Promise<void>;
}

/** A column that tells which of two versions of a row is newer. */
export interface CursorColumn {
  field: string;
  format: CursorFormat;
}

/** The range that a batch belongs to. */
export interface RangeWrite {
  kind: RangeKind;
  /** Whether rows are written or only compared. */
  writes: boolean;
  /** The earliest time at which a page of the batch may have been requested. */
  began: string;
  cursor: CursorColumn | null;
  /** Paths of files of records that the range read but did not compare. */
  beyond?: () => Promise<string[]>;
}

/** Asks for the conclusion of an audit. */
export interface ConcludeRequest {
  key: StreamKey;
  table: TableSpec;
  /** The stream's child tables; absent if it has none. */
  children?: TableSpec[];
  range: RangePlan;
  /**
   * The rows that a complete pass would have read, as inclusive bounds on a column; null: all rows; a text: the reason
   * why they cannot be told.
   */
  scope: { field: string; format: CursorFormat; from: string | null; to: string | null } | null | string;
  /** Whether missing rows may be removed: the source returned at least one record. */
  removes: boolean;
  /** Tells which of two rows of one key is newer; absent or null if the source has no such field. */
  newest?: CursorColumn | null;
}

/** Asks for a stream to be made ready and claimed. */
export interface OpenRequest {
  key: StreamKey;
  table: TableSpec;
  /** The stream's child tables; absent if it has none. */
  children?: TableSpec[];
  holder: Holder;
  full: boolean;
  takeOver: boolean;
  /** Moves the checkpoint, once; absent: it stays. */
  move?: StreamMove;
  /** The meaning of the checkpoint: stored beside it, and compared with the stored one; absent: neither. */
  fingerprint?: Fingerprint;
  /** Identity of the database that must exist; absent: any, created if missing. */
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

/** Asks for the latest entries of a stream's log. */
export interface HistoryRequest {
  key: StreamKey;
  limit: number;
}

/** The checkpoint of a stream, and its log. */
export interface History {
  /** Null if the stream was never opened. */
  stored: { checkpoint: Checkpoint; holder: Holder; since: string } | null;
  /** Number of all entries. */
  total: number;
  entries: HistoryEntry[];
}

/** A commit or a move. */
export interface HistoryEntry {
  /** Id of the checkpoint that the entry created. */
  id: string;
  base: string;
  at: string;
  /** Null for the beginning; absent if an older version did not store it. */
  cursor?: Cursor | null;
  workflowId: string;
  pages: number;
  records: number;
  rows: number;
  /** The reason for a move; null for a commit. */
  moved: string | null;
}

/** A claimed stream. */
export interface OpenResult {
  checkpoint: Checkpoint;
  /** Identity of the database. */
  database: string;
  /** Other strategies or sources with a checkpoint for the same table. */
  neighbours: StreamKey[];
  /** Consequences of changes to the configuration or the table since the checkpoint; absent if there are none. */
  notes?: Note[];
}

/** Rows of child tables, written in the transaction of the records that they come from. */
export interface ChildrenWrite {
  /**
   * Returns the paths of files with a line for each record of the batch: its number, its primary key, and its mark of
   * deletion. Absent if the batch has no records.
   */
  roots?: () => Promise<string[]>;
  tables: ChildWrite[];
}

/** Rows of one child table. */
export type ChildWrite = Pick<WriteRequest, 'table' | 'records' | 'longest' | 'files' | 'rejects'>;

/** A batch to write. */
export interface WriteRequest {
  key: StreamKey;
  table: TableSpec;
  base: string;
  next: string;
  cursor: Cursor;
  /** Counts for the commit log. */
  records: number;
  pages: number;
  /** Size of the staged files. */
  bytes: number;
  /** Length of the longest record, in bytes. */
  longest: number;
  /** Returns the paths of files of newline-delimited JSON, in order; called only when the batch is to be written. */
  files: () => Promise<string[]>;
  /** Returns the paths of files of {@link ParentMark}s, written in the same transaction; absent if there are none. */
  marks?: () => Promise<string[]>;
  /** Returns the paths of files of {@link Reject}s, likewise. */
  rejects?: () => Promise<string[]>;
  /** Rows of the stream's child tables; absent if it has none. */
  children?: ChildrenWrite;
  workflowId: string;
  /** Absent: the batch belongs to the sync itself. */
  range?: RangeWrite;
  /** The decision about rows that the end of this pass would remove. */
  deletes?: DeletesDecision;
  /** The configuration that the batch was read by; stored beside the checkpoint once a pass has ended by it. */
  fingerprint?: Fingerprint;
}

/**
 * Result of a write. Unchanged rows are not counted; a destination that only appends does not compare, and counts
 * every version that it has written. `rejected` includes records that the reader rejected.
 */
export type WriteOutcome = Omit<WrittenBatch, 'waited'>;

/** Asks for the next rows of a parent's table. */
export interface ParentsRequest {
  /** The stream that reads per parent. */
  key: StreamKey;
  parent: ParentSpec;
  /** Only parents whose key comes after this one; null: from the first. */
  after: string[] | null;
  limit: number;
}

/** A row of a parent's table. */
export interface ParentRow {
  /** The primary key as text, as `after` takes it. */
  key: string[];
  fields: { [name: string]: Json };
  /** Null if none is stored. */
  mark: Json | null;
}

/** One line of a staged file of marks. */
export interface ParentMark {
  /** JSON of the parent's key. */
  parent: string;
  /** JSON of its mark. */
  mark: string;
}
