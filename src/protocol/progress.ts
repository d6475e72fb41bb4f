/** Reports of a sync: status, progress, troubles, notices and results. */
import type { Json } from './json.js';
import type { RangeResult } from './ranges.js';
import type { EndRule, Note } from './strategies.js';
import type { TooManyDeletes } from './tables.js';

/**
 * `waiting`: the source asked to wait. `failing`: it retries by itself. `blocked`: an operator must fix something, then
 * `resume`. The last five are final.
 */
export type SyncStatus =
  | 'opening'
  | 'running'
  | 'waiting'
  | 'paused'
  | 'sleeping'
  | 'failing'
  | 'blocked'
  | 'drained'
  | 'stopped'
  | 'moved'
  | 'failed'
  | 'cancelled';

/** The problem that stops a sync. */
export interface Trouble {
  /** The name of the error, for example `SourceUnavailableError`. */
  type: string;
  message: string;
  since: string;
  /** Number of consecutive failures. */
  failures: number;
  /** Null if it waits for `resume` or a decision. */
  nextTry: string | null;
  /** Deletes waiting for `approve` or `reject`. */
  deletes?: TooManyDeletes;
}

/** Events that can be reported: a sync is failing, has recovered, or its lag has exceeded the limit. */
export const NOTICE_EVENTS = ['failing', 'recovered', 'lag'] as const;

export type NoticeEvent = (typeof NOTICE_EVENTS)[number];

/** A notice about a sync, sent once per incident. */
export interface Notice {
  /** The same in repeated deliveries, when it is unknown whether an earlier one arrived. */
  id: string;
  event: NoticeEvent;
  stream: string;
  status: SyncStatus;
  /** Name of the error; for `recovered`, of the error that is over. */
  type: string;
  message: string;
  since: string;
  nextTry: string | null;
  /** Deletes that the sync asks to approve. */
  deletes?: TooManyDeletes;
  completeAsOf: string | null;
  lagSeconds: number | null;
  at: string;
}

export interface SendNoticeInput {
  /** May contain references. */
  url: string;
  notice: Notice;
}

/** An activity that has failed and is retried by Temporal. */
export interface Retry {
  activity: string;
  /** The number of the attempt that runs, or that comes next. */
  attempt: number;
  /** When that attempt begins; null while it runs. */
  next: string | null;
  /** The reason for the last failure. */
  message: string;
  /** When the activity was scheduled first; absent or null if that was not asked for. */
  since?: string | null;
  /** The name of the error; absent or null if it has none. */
  type?: string | null;
  /** The last attempt ended because its worker sent no more heartbeats. */
  isWorkerLost?: boolean;
}

/** A finished pass. */
export interface PassSummary {
  ended: string;
  endRule: EndRule | null;
  /** Null if another run began the pass. */
  seconds: number | null;
  pages: number;
  records: number;
  rows: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
}

/** Counts of one pass, or of all. */
export interface WriteCounts {
  pages: number;
  records: number;
  rows: number;
  batches: number;
  /** Records quarantined. */
  rejected: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
  /** Seconds that the source has asked to wait; absent: none. */
  waited?: number;
}

/** Answer to the query `progress`. */
export interface Progress extends WriteCounts {
  status: SyncStatus;
  stream: string;
  strategy: string;
  destination: string;
  pass: number;
  /** Batches fetched and not yet written. */
  staged: number;
  endRule: EndRule | null;
  waiting: { until: string; reason: string } | null;
  trouble: Trouble | null;
  /** Records per second over the last batches; null before the second one. */
  recordsPerSecond: number | null;
  /** Start of the last finished pass: the table is up to date as of then. Null if unknown. */
  completeAsOf: string | null;
  /** The last passes, the latest first. */
  recent: PassSummary[];
  /** Changed settings, under their names in the configuration; durations in seconds. */
  settings: { [name: string]: number };
  /** For a sync of several streams: each is a workflow `ID/STREAM`. */
  streams: { stream: string; status: 'queued' | 'running' | 'blocked' | 'done' | 'failed' }[];
  warnings: Note[];
  totals: WriteCounts & { passes: number };
}

/** One stream's part of the workflow's result. */
export interface StreamResult extends WriteCounts {
  stream: string;
  /** A {@link StrategyName}, or that of an extension's. */
  strategy: string;
  endRule: EndRule | null;
  cursor: { [name: string]: Json };
  warnings: Note[];
  /** For a range read beside the sync. */
  range?: RangeResult;
}

/** Result of a sync. */
export interface SyncResult {
  /** `stopped`: by `stop`, before it was done. `moved`: nothing else was requested. */
  status: 'completed' | 'stopped' | 'moved';
  streams: StreamResult[];
}
