/** A stream: its plan, its key in the destination, its checkpoints, and who holds it. */
import type { BatchBudget } from './batches.js';
import type { ChildSpec } from './children.js';
import type { Json } from './json.js';
import type { RangePlan } from './ranges.js';
import type { ParentSpec, RequestSpec } from './requests.js';
import type { Cursor, Note, StrategyKey, StrategyOptions } from './strategies.js';
import type { TableSpec } from './tables.js';

/** A validated configuration, on which the workflow and its activities work. Holds no secrets. */
export interface StreamPlan {
  /** The stream's display name: the table's name. */
  stream: string;
  /** May contain references to secrets, which only activities resolve. */
  baseUrl: string;
  request: RequestSpec;
  options: StrategyOptions;
  table: TableSpec;
  /** Empty if the stream has none, or several. */
  cursorField: string;
  /** Several cursor fields, of which the greatest value in a record counts; absent if there is at most one. */
  cursorFields?: string[];
  /** Absent or null: the stream has no parent. */
  parent?: ParentSpec | null;
  /** Tables filled from lists inside of the records; absent: there are none. */
  children?: ChildSpec[];
  /** Path or address of the destination; null: the worker's default. */
  destination: string | null;
  /** Seconds between passes; null: a single pass. */
  intervalSeconds: number | null;
  /** Maximum to which the interval grows while passes find nothing new; absent: it does not grow. */
  idleIntervalSeconds?: number;
  batch: BatchBudget;
  /** Seconds for which an unresponsive source is retried. */
  retrySeconds: number;
  requestTimeoutSeconds: number;
  /** Maximum concurrent requests, if the strategy can predict the next ones. */
  inFlight: number;
  /** Number of history events after which to continue as new; null: when Temporal suggests it. */
  historyLimit: number | null;
  /** The range to read beside the sync; absent: the plan is the sync's own. */
  range?: RangePlan;
  /** Notes for the author of the configuration (a path that was replaced, …). */
  notes: Note[];
}

/** The workflow that may write a stream: the last one to open it. */
export interface Holder {
  workflowId: string;
  /** First run of the chain; the same after continue-as-new, retry and reset. */
  firstRunId: string;
  runId: string;
  namespace: string;
  /** Address of its Temporal server, as its worker sees it. */
  cluster: string;
  /** Identifies the Temporal server whatever its address; absent if the server does not tell. */
  clusterId?: string;
}

/** A cursor stored in the destination. */
export interface Checkpoint {
  /** Unique id; every commit makes a new one. */
  id: string;
  cursor: Cursor | null;
}

/**
 * Target of a move: the beginning; the position after a batch (by its id or a prefix of it) or at a time; a state of
 * the reference connector; or the current position with a new checkpoint.
 */
export type MoveTarget =
  | { start: true }
  | { batch: string }
  | { time: string }
  | { state: { [name: string]: Json } }
  | { here: true };

/** Moves a stream once: the move's id becomes the checkpoint's. */
export interface Move {
  id: string;
  to: MoveTarget;
}

/** Key of a checkpoint: one is stored per table, strategy and source. */
export interface StreamKey {
  schema: string;
  table: string;
  strategy: StrategyKey;
  /** Origin and path of the source, without credentials and query. */
  source: string;
  /** The range that is read beside the sync, as `backfill 2026-01-01..`; empty for the sync itself. */
  range: string;
}
