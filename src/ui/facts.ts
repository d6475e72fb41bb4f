/** Facts about syncs and destinations, as gathered for the page and the report. */
import type { ListedSync } from '../client.js';
import type { Json, Progress, Retry } from '../protocol.js';
import type { Silence } from '../sync-condition.js';
import type { Family, Related } from '../sync-families.js';

/** A part of a page that was read, or the reason why it could not be. */
export type Part<T> = { value: T } | { problem: string };

type Attributes = ListedSync['attributes'];

/** A sync, or one stream of several, as its Temporal server and its worker describe it. */
export interface SyncFacts extends Related, Attributes {
  runId: string;
  /** RUNNING, COMPLETED, FAILED, … */
  execution: string;
  started: string;
  ended: string | null;
  taskQueue: string;
  nextRun: string | null;
  /** The worker's answer; null where none came. */
  progress: Progress | null;
  state: { [name: string]: Json } | null;
  retry: Retry | null;
  /** Whether a worker polls its task queue; null if that is not known. */
  isPolled: boolean | null;
  /** The status that Temporal's list has, while the worker has not been asked yet; else null. */
  listedStatus: string | null;
  /** Since when the source has sent no page; null if nothing is read, or that is not known. */
  quietSince: string | null;
  silence: Silence | null;
  /** Null while it runs, or where its result is not readable. */
  outcome: Outcome | null;
}

/** The end of a sync: its status and counts, or its error. */
export interface Outcome {
  status: string;
  error: string | null;
  rows: number | null;
  records: number | null;
}

export type SyncFamily = Family<SyncFacts>;

/** A commit, from the destination's log. */
export interface Commit {
  at: number;
  records: number;
  rows: number;
  deleted: number;
}

/** A quarantined record: its key and reason, without its values. */
export interface Reject {
  at: number;
  key: string;
  reason: string;
}

/** A column that was added or widened. */
export interface SchemaChange {
  at: number;
  column: string;
  from: string | null;
  to: string;
}

/** Highwater's own tables about one stream. */
export interface DestinationFacts {
  /** Its display name, without secrets. */
  name: string;
  table: string;
  /** The latest first. */
  commits: Part<Commit[]>;
  rejects: Part<{ total: number; latest: Reject[] }>;
  changes: Part<SchemaChange[]>;
}

/** An event of a sync's history. */
export interface Event {
  time: string;
  level: 'info' | 'warn' | 'error';
  text: string;
}

/** One stream on the page of a sync. */
export interface StreamFacts {
  sync: SyncFacts;
  destination: Part<DestinationFacts>;
  events: Part<Event[]>;
}

/** Everything that the page of one sync shows. */
export interface SyncDetails {
  family: SyncFamily;
  /** The sync of several that this one is a stream, a backfill or an audit of. */
  parent: string | null;
  /** The streams whose tables and events were read: none of a sync of several, unless all were asked for. */
  streams: StreamFacts[];
  webUi: string | null;
  /** The reason why the server cannot be reached now; the facts are older. */
  problem: string | null;
  asOf: string | null;
}

/** All syncs at a time. */
export interface Overview {
  families: SyncFamily[];
  /** When they were last read; null: never. */
  asOf: string | null;
  /** The reason why they cannot be read now. */
  problem: string | null;
  address: string | null;
  namespace: string | null;
  webUi: string | null;
  /** More syncs exist than are shown. */
  isCut: boolean;
}
