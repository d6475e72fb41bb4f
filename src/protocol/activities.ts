/** Inputs and results of activities. */
import type { BatchBudget, StagedBatch } from './batches.js';
import type { Json } from './json.js';
import type { RangePlan, RangeRequest } from './ranges.js';
import type { Cursor, Note } from './strategies.js';
import type { Checkpoint, Move, StreamPlan } from './streams.js';
import type { DeletesDecision, SchemaChange } from './tables.js';

export interface OpenStreamInput {
  configuration: Json;
  /** Name of the stream in a sync of several; null: the only one. */
  stream: string | null;
  /** Discard the checkpoint, once per chain of runs. */
  full: boolean;
  /** Take the stream over from a workflow that is still running. */
  takeOver: boolean;
  /** The first run of the workflow's chain. */
  firstRunId: string;
  /** The database that this sync has written to before; any other is refused. */
  expectDatabase: string | null;
  /** A range to read beside the sync: as requested, or as started. */
  range?: RangeRequest | RangePlan;
  move?: Move;
  /** The configuration has changed: it must still describe the same stream. */
  change?: {
    id: string;
    /** Null if unknown. */
    from: LastOpened | null;
  };
}

/** How the stream was opened last. */
export interface LastOpened {
  plan: StreamPlan;
  /** As in {@link OpenedStream}. */
  destination: string;
}

/** Another worker owns the destination: open the stream there. */
export interface Redirect {
  redirect: string;
}

/** Facts of a stream whose opening has failed: the second of the failure's details. */
export interface FailedOpening {
  stream: string;
  strategy: string;
  destination: string;
  /** The sync makes one pass after another. */
  isContinuous: boolean;
  /** The namespace knows the search attributes. */
  searchAttributes?: true;
}

export interface OpenedStream {
  plan: StreamPlan;
  checkpoint: Checkpoint;
  /** Task queue that the owner of the destination polls. */
  queue: string;
  /** Identity of the destination database. */
  database: string;
  /** Absolute path of the destination. */
  destination: string;
  state: { [name: string]: Json };
  notes: Note[];
  /** Result of a requested move; absent if there was none. */
  moved?: { refused: string | null };
  /** Hash of a changed configuration. */
  configurationHash?: string;
  /** The namespace knows {@link SEARCH_ATTRIBUTES}; absent: it does not, and setting one would block the workflow. */
  searchAttributes?: true;
}

/** Search attributes of a sync, with their Temporal types. */
export const SEARCH_ATTRIBUTES = {
  HighwaterStrategy: 'KEYWORD',
  HighwaterStream: 'KEYWORD',
  HighwaterDestination: 'KEYWORD',
  HighwaterStatus: 'KEYWORD',
  HighwaterLastPassEnd: 'DATETIME',
  HighwaterRows: 'INT',
  HighwaterLagSeconds: 'INT',
} as const;

export type SearchAttributeName = keyof typeof SEARCH_ATTRIBUTES;

export interface FetchPagesInput {
  plan: StreamPlan;
  destination: string;
  /** The checkpoint to continue from: the stored one, or that of a batch still being written. */
  base: Checkpoint;
  budget: BatchBudget;
  /** Begin a new pass if the cursor's has ended. */
  begin: boolean;
  /** `resume` ended a wait: call the source at once, whatever its last answers said. */
  resumed?: true;
}

export interface FetchedPages {
  batches: StagedBatch[];
  cursor: Cursor;
  state: { [name: string]: Json };
  /**
   * Wait before the next request. `seconds` count from the activity's answer; null: the source does not say how long.
   * `until` is by the worker's clock, which may be wrong: for logs and metrics only.
   */
  wait: { until: string; seconds: number | null; reason: string; for: 'source' | 'parent' } | null;
}

export interface WriteBatchInput {
  plan: StreamPlan;
  destination: string;
  batch: StagedBatch;
  /** The previous batch is still being written: this one waits its turn. */
  behind?: boolean;
  /** For the last batch of a pass that asked. */
  deletes?: DeletesDecision;
}

/** The result of a write, as the workflow gets it. */
export interface WrittenBatch {
  /** Rows inserted or changed. */
  rows: number;
  /** Records quarantined; absent: none. */
  rejected?: number;
  /** Rows marked or removed as deleted; absent: none. */
  deleted?: number;
  /** Columns added or widened; absent if there are none. */
  changes?: SchemaChange[];
  /** Notes added to those of the cursor by the commit. */
  notes?: Note[];
  /** For a range: rows left unchanged because they are, or may be, newer. */
  left?: number;
  /** Seconds spent waiting for its turn; absent if it did not wait. */
  waited?: number;
  /** Whether an earlier attempt had already committed the batch. */
  already: boolean;
}
