/** Ranges of a stream that are read beside the sync: backfills and audits. */
import type { Cursor } from './strategies.js';
import type { StreamPlan } from './streams.js';

/** A part of a source with inclusive ends; null: no end. */
export type Range = { from: string | null; to: string | null };

/** Kinds of ranges read beside the sync. */
export const RANGE_KINDS = ['backfill', 'audit'] as const;

/** Kind of a range: `backfill` reads it again, `audit` compares it with the table. */
export type RangeKind = (typeof RANGE_KINDS)[number];

/** A range as requested by a user. */
export interface RangeRequest {
  kind: RangeKind;
  /** Bounds in the strategy's terms: values of the cursor field, ids, or offsets. */
  from?: string;
  to?: string;
  /** audit: write missing and stale rows, and treat extra rows as `deletes` says. */
  repair?: boolean;
  /** audit with `repair`: remove extra rows even if `deletes` is not configured. */
  removeExtra?: boolean;
  /** Number of keys that the result lists for each kind of difference. */
  keys?: number;
}

/** A range read beside the sync, in the form that its workflow keeps. */
export interface RangePlan extends Range {
  kind: RangeKind;
  repair: boolean;
  removeExtra: boolean;
  keys: number;
  /** Start time, by the destination's clock. */
  began: string;
  /** The sync's mark at that time: the sync has yet to read what lies beyond. Null: the strategy has no such mark. */
  reached: string | null;
}

/** Names a range in a stream's key, as `audit 2026-01-01..`. */
export const rangeName = ({ kind, from, to }: Range & { kind: RangeKind }): string =>
  `${kind} ${from ?? ''}..${to ?? ''}`;

/** Reads the kind of a range from its name; null for the empty name, the sync itself. */
export const rangeKind = (name: string): RangeKind | null =>
  RANGE_KINDS.find((kind) => name.startsWith(`${kind} `)) ?? null;

/**
 * Kinds of differences between a row and the source. `changed`: the sync wrote the row during the comparison, which is
 * therefore void.
 */
export const DIFFERENCES = ['missing', 'stale', 'extra', 'changed'] as const;

export type DifferenceKind = (typeof DIFFERENCES)[number];

/** Rows with one kind of difference. */
export interface Differences {
  count: number;
  /** Number of repaired rows. */
  repaired: number;
  /** The first keys in order; a composite key is the JSON text of the array of its parts. */
  keys: string[];
}

/** Result of a range. */
export interface RangeResult extends Range {
  kind: RangeKind;
  /** Records in the range. */
  records: number;
  /** Records read outside of the range, or beyond the sync's mark. */
  outside: number;
  /** Rows inserted or changed. */
  rows: number;
  /** Rows left unchanged because they are, or may be, newer. */
  left: number;
  /** Results of an audit; null for a backfill. */
  differences: {
    missing: Differences;
    stale: Differences;
    extra: Differences | null;
    /** Keys that occur more than once in the table; absent if there are none. */
    twice?: Differences;
    changed: number;
  } | null;
  /** Reason why extra rows were not looked for; null if they were. */
  extraUnknown: string | null;
  /** Whether no difference is left. */
  equal: boolean | null;
}

export interface RangeInput {
  plan: StreamPlan;
  destination: string;
  /** The last cursor of the range. */
  cursor: Cursor;
  /** Records read, in the range or not. */
  met: number;
}

/** Findings of an audit. */
export interface RangeFound {
  missing: Differences;
  stale: Differences;
  /** Null if extra rows were not looked for. */
  extra: Differences | null;
  /** Keys that occur more than once in the table; absent if there are none. */
  twice?: Differences;
  changed: number;
  extraUnknown: string | null;
}
