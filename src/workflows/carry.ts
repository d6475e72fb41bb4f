import type {
  FetchedPages,
  LastOpened,
  Note,
  RangePlan,
  SchemaChange,
  Trouble,
  WriteCounts,
} from '../protocol.js';
import type { DecisionCarry } from './deletes.js';
import { readTarget } from '../move-target.js';
import type { ReopenRequest } from './moves.js';
import type { NoticesCarry } from './notices.js';
import type { PassLogCarry } from './pass-log.js';
import type { Settings } from '../settings.js';
import type { SyncOptions } from './sync.js';

/** Counts of what was written. */
export interface Counts extends WriteCounts {
  /** Columns that were added or widened. */
  changes: SchemaChange[];
  /** Records read for a range that lie outside of it. */
  outside: number;
  /** Rows that a range left as they were, because the table has a newer version. */
  left: number;
  /** Seconds that the source has asked to wait; absent: none. */
  waited?: number;
}

/** Counts of all passes. */
export interface Totals extends Counts {
  passes: number;
}

/** A wait that the source has asked for; `until` is by the Temporal server's clock. */
export type SourceWait = Pick<NonNullable<FetchedPages['wait']>, 'until' | 'reason'>;

/** State that a run hands to the next one when the workflow continues as new. */
export interface Carry {
  version: 1;
  stream: {
    /** Identity of the destination database; null before the stream was opened. */
    database: string | null;
    /** Whether the sync makes one pass after another. */
    isContinuous: boolean;
    lastOpened: LastOpened | null;
    /** The range that is read, as it began. */
    range: RangePlan | null;
  };
  counts: {
    pass: Counts;
    totals: Totals;
    /** Consecutive passes that wrote nothing. */
    idlePasses: number;
  };
  log: PassLogCarry;
  control: {
    isPaused: boolean;
    isStopping: boolean;
    isTriggered: boolean;
    settings: Settings;
  };
  reopening: {
    requests: ReopenRequest[];
    /** Refusals with no waiting caller. */
    refusals: Note[];
  };
  source: {
    wait: SourceWait | null;
    /** Consecutive waits whose length the source did not give. */
    backOffs: number;
  };
  failures: {
    trouble: Trouble | null;
    /** How often the stream was reopened since a batch was written. */
    reopenings: number;
  };
  /** Null where no webhook is called. */
  notices: NoticesCarry | null;
  /** A decision about deletes that has not been carried out yet. */
  decision: DecisionCarry | null;
}

export const NO_COUNTS: Counts = {
  pages: 0,
  records: 0,
  rows: 0,
  batches: 0,
  rejected: 0,
  deleted: 0,
  changes: [],
  outside: 0,
  left: 0,
};

/**
 * Returns the state with which a run begins.
 * @param firstRunId names the move that a start may ask for.
 */
export function initialState({ carry, move, settings = {} }: SyncOptions, firstRunId: string): Carry {
  if (carry !== undefined) return carry;
  const requests: ReopenRequest[] =
    move === undefined ? [] : [{ id: firstRunId, kind: 'move', to: readTarget(move) }];
  return {
    version: 1,
    stream: { database: null, isContinuous: false, lastOpened: null, range: null },
    counts: { pass: NO_COUNTS, totals: { ...NO_COUNTS, passes: 0 }, idlePasses: 0 },
    log: { began: null, completeAsOf: null, recent: [] },
    control: { isPaused: false, isStopping: false, isTriggered: false, settings },
    reopening: { requests, refusals: [] },
    source: { wait: null, backOffs: 0 },
    failures: { trouble: null, reopenings: 0 },
    notices: null,
    decision: null,
  };
}
