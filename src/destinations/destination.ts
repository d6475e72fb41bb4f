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
 * Where rows go. Every method is idempotent: it may be called again with the same request, also after a crash in
 * the middle, and then does what is left to do.
 */
export interface Destination {
  /**
   * Makes the table ready and claims the stream for a workflow.
   * The same holder (workflow and chain of runs) asking again gets what is stored, unchanged.
   * @throws {StreamHeldError} while another running workflow holds the table.
   * @throws {DestinationError} when the table cannot take the declared columns.
   * @throws {MoveRefusedError} when there is no place such as it is to be moved to; then nothing is changed.
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
   * @throws {TableGoneError} when the table is not there any more; nothing is written.
   */
  write(request: WriteRequest): Promise<WriteOutcome>;

  /**
   * Rows of a parent's table in the order of its primary key, with the mark that is kept of each for the stream.
   * @returns null while no pass over the parent has ended.
   */
  parents(request: ParentsRequest): Promise<ParentRow[] | null>;

  /** A hint: this write will come soon. What can be done for it beside the write in hand may be done. */
  prepare(request: WriteRequest): void;

  /** What is stored of a stream: where it stands, and the log of how it came there, the latest first. */
  history(request: HistoryRequest): Promise<History>;

  /**
   * Tries the records of a table again that were put aside, beside whatever writes it meanwhile; absent where a
   * destination cannot.
   * @throws {DestinationError}
   */
  retry?(request: RetryRequest): Promise<RetryOutcome>;

  /** Ranges that are read beside the sync; absent where a destination cannot have them. */
  ranges?: Ranges;

  /** Lets go of everything. */
  close(): Promise<void>;
}

/** What a destination does for ranges of a stream besides opening and writing them. */
export interface Ranges {
  /** Why a kind of range cannot be had for a table; null where it can. */
  refusal(kind: RangeKind, table: TableSpec, repairs: boolean): string | null;
  /** The time, by the clock that rows are stamped by. */
  now(key: StreamKey): Promise<string>;
  /** How far the sync itself has come, by its key; null where it has never been opened. */
  stands(key: StreamKey): Promise<Checkpoint | null>;
  /** Other ranges of the table that are kept, with who holds them. */
  kept(key: StreamKey): Promise<{ key: StreamKey; holder: Holder; updated: string }[]>;
  /** Looks at the differences once more when all of an audit has been read, and for rows that the source does not have. */
  conclude(request: ConcludeRequest): Promise<RangeFound>;
  /** Removes all that is kept of a range. */
  forget(key: StreamKey): Promise<void>;
}

/** A column that says which of two versions of a row is the newer one. */
export interface CursorColumn {
  field: string;
  format: CursorFormat;
}

/** A batch of a range. */
export interface RangeWrite {
  kind: RangeKind;
  /** Whether rows are written, and not only compared. */
  writes: boolean;
  /** The batch holds nothing that was asked for before then. */
  began: string;
  cursor: CursorColumn | null;
  /** Paths of files of records that are not compared, but were met. */
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

/** A move, as destinations know it. */
export interface StreamMove {
  /** The new checkpoint's id. */
  id: string;
  to: { start: true } | { batch: string } | { time: string } | { cursor: Cursor } | { here: true };
  /** What is said of it in the log. */
  said: string;
}

export interface HistoryRequest {
  key: StreamKey;
  limit: number;
}

export interface History {
  /** Null where the stream was never opened. */
  stored: { checkpoint: Checkpoint; holder: Holder; since: string } | null;
  /** How many entries there are. */
  total: number;
  entries: HistoryEntry[];
}

/** A commit or a move. */
export interface HistoryEntry {
  /** Of the checkpoint that it made. */
  id: string;
  base: string;
  at: string;
  /** Null for the beginning; absent where the version that made it did not keep it. */
  cursor?: Cursor | null;
  workflowId: string;
  pages: number;
  records: number;
  rows: number;
  /** What a move has to say; null for a commit. */
  moved: string | null;
}

export interface OpenResult {
  checkpoint: Checkpoint;
  /** Identity of the database. */
  database: string;
  /** Other strategies or sources that have a checkpoint for the same table. */
  neighbours: StreamKey[];
  /** What follows from a configuration or a table that has changed since the checkpoint; absent where nothing does. */
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
  /** Of the staged files together. */
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
  /** What was decided about the rows that the end of this pass would remove. */
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
  /** Those whose key comes after this one; null = from the first. */
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
