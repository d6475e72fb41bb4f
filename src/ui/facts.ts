/** Facts about syncs and destinations, as gathered for the page and the report. */
import type { Json, Progress, Retry } from '../protocol.js';
import type { Silence } from '../sync-condition.js';

/** A part of a page that was read, or the reason why it could not be. */
export type Part<T> = { value: T } | { problem: string };

/** A sync, or one stream of several, as its Temporal server and its worker describe it. */
export interface SyncFacts {
  id: string;
  runId: string;
  /** RUNNING, COMPLETED, FAILED, … */
  execution: string;
  started: string;
  ended: string | null;
  taskQueue: string;
  status: string | null;
  stream: string | null;
  strategy: string | null;
  rows: number | null;
  lagSeconds: number | null;
  lastPassEnd: string | null;
  schedule: string | null;
  nextRun: string | null;
  /** The worker's answer; null where none came. */
  progress: Progress | null;
  state: { [name: string]: Json } | null;
  retry: Retry | null;
  /** Whether a worker polls its task queue; null if that is not known. */
  isPolled: boolean | null;
  silence: Silence | null;
  /** How it ended; null while it runs, or where its result is not readable. */
  outcome: Outcome | null;
}

/** How a sync ended: its status and counts, or its error. */
export interface Outcome {
  status: string;
  error: string | null;
  rows: number | null;
  records: number | null;
}

/** A sync with its streams, backfills and audits. */
export interface SyncFamily {
  sync: SyncFacts;
  children: SyncFacts[];
}

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
  /** Why the server cannot be reached now; the facts are those of before. */
  problem: string | null;
  asOf: string | null;
}

/** All syncs at a time. */
export interface Overview {
  families: SyncFamily[];
  /** When they were last read; null: never. */
  asOf: string | null;
  /** Why they cannot be read now. */
  problem: string | null;
  address: string | null;
  namespace: string | null;
  webUi: string | null;
  /** More syncs exist than are shown. */
  isCut: boolean;
}

/** Groups syncs with the streams, backfills and audits whose ids begin with theirs. */
export function familiesOf(syncs: readonly SyncFacts[]): SyncFamily[] {
  const byId = new Map(syncs.map((sync) => [sync.id, sync]));
  const families = new Map<string, SyncFamily>();
  const parentOf = ({ id }: SyncFacts): SyncFacts | null => {
    for (let at = id.indexOf('/'); at > 0; at = id.indexOf('/', at + 1)) {
      const parent = byId.get(id.slice(0, at));
      if (parent !== undefined) return parent;
    }
    return null;
  };
  for (const sync of syncs) if (parentOf(sync) === null) families.set(sync.id, { sync, children: [] });
  for (const sync of syncs) {
    const parent = parentOf(sync);
    if (parent !== null) families.get(parent.id)?.children.push(sync);
  }
  for (const { children } of families.values()) children.sort((a, b) => (a.id < b.id ? -1 : 1));
  return [...families.values()];
}

const RANGE = /\/(?:backfill|audit)-[^/]+$/;

/** Whether a workflow reads a range beside its sync. */
export const isRange = ({ id }: SyncFacts): boolean => RANGE.test(id);
