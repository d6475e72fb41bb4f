import type { Cursor, Note, PageSummary, StrategyName } from '../protocol.js';
import { beginPass, climb, endPass, type Peak, positionOf, readTimestamps, withNote } from './cursors.js';
import { compare, FIRST, parse } from './instants.js';
import type { Strategy } from './strategy.js';

export type TimestampMark = {
  /** The greatest timestamp that a finished pass has seen. */
  last_timestamp: string | null;
  /** The greatest distinct one below it. */
  below: string | null;
  /** An answer held a record whose timestamp equals the one asked: the filter is `>=`, not `>`. */
  inclusive: boolean;
};

export type TimestampPosition = { since: string };

export type TimestampCursor = Cursor<TimestampMark, TimestampPosition>;

/** Everything since the mark, in one answer. */
export function createTimestamp(): Strategy<TimestampCursor> {
  return createSince('timestamp', fromMark);
}

/**
 * Where to ask from: the mark if the filter includes it, else the timestamp below it, so that rows which joined the
 * mark's timestamp after it was read are seen. Null for a source that was never read.
 */
export function fromMark({ last_timestamp, below, inclusive }: TimestampMark): string | null {
  return inclusive ? last_timestamp : (below ?? last_timestamp);
}

/** A strategy whose pass is one answer, to `since`; `start` says from where, given the mark. */
export function createSince(
  name: StrategyName,
  start: (mark: TimestampMark) => string | null,
): Strategy<TimestampCursor> {
  return {
    name,
    remembers: { keys: 'none', values: 'all' },

    begin: (checkpoint) =>
      beginPass(checkpoint, { last_timestamp: null, below: null, inclusive: false }, (mark) => ({
        since: start(mark) ?? FIRST,
      })),

    request: (cursor) =>
      cursor.ended === null ? { params: { since: positionOf(cursor).since } } : { end: cursor.ended },

    advance(cursor, page) {
      const { since } = positionOf(cursor);
      const { timestamps, notes } = readTimestamps(page.values, cursor.notes);
      // The maximum, not the last: nothing promises that the answer is in order.
      const { greatest, below } = timestamps.reduce<Peak>(climb, {
        greatest: cursor.mark.last_timestamp,
        below: cursor.mark.below,
      });
      const inclusive = cursor.mark.inclusive || provesInclusive(timestamps, since);
      const mark = { last_timestamp: greatest, below, inclusive };
      return endPass(cursor, 'whole_answer', mark, remarks(cursor, page, inclusive).reduce(withNote, notes));
    },

    condense(cursor, part) {
      const kept = telling(part.values, positionOf(cursor).since);
      return { keys: [], values: kept.map((i) => part.values[i] ?? null) };
    },

    state: ({ mark }) => ({ last_timestamp: mark.last_timestamp ?? FIRST }),
  };
}

/**
 * The places of the records that decide the mark and the notes: the two greatest distinct timestamps, one at the
 * timestamp asked and one before it, one without a timestamp and one that cannot be read.
 */
function telling(values: readonly (string | null)[], since: string): number[] {
  const kept = new Map<string, number>();
  let greatest: number | null = null;
  let below: number | null = null;
  const order = (i: number, j: number | null) => (j === null ? 1 : compare(values[i] ?? '', values[j] ?? ''));
  values.forEach((value, i) => {
    if (value === null) kept.set('none', i);
    else if (parse(value) === null) kept.set('bad', i);
    else {
      const asked = compare(value, since);
      if (asked <= 0) kept.set(asked === 0 ? 'asked' : 'before', i);
      if (order(i, greatest) > 0) {
        below = greatest;
        greatest = i;
      } else if (order(i, greatest) < 0 && order(i, below) > 0) below = i;
    }
  });
  const places = [...kept.values(), greatest, below].filter((i): i is number => i !== null);
  return [...new Set(places)].sort((a, b) => a - b);
}

/** A record at the very timestamp asked, unless older ones or the year 1 leave open whether it was filtered at all. */
function provesInclusive(timestamps: readonly string[], since: string): boolean {
  if (since === FIRST) return false;
  const orders = timestamps.map((timestamp) => Math.sign(compare(timestamp, since)));
  return orders.includes(0) && !orders.includes(-1);
}

/** What the answer leaves open. */
function remarks({ mark, position }: TimestampCursor, page: PageSummary, inclusive: boolean): Note[] {
  const since = position?.since;
  // A total may count the rows before `since` as well.
  const isCut = page.nextToken !== null || (since === FIRST && (page.total ?? 0) > page.records);
  const isUnproven = !inclusive && since === mark.last_timestamp;
  return [...(isCut ? [ANSWER_CUT] : []), ...(isUnproven ? [TIES] : [])];
}

const ANSWER_CUT: Note = {
  code: 'answer_cut',
  message:
    'The source says that there is more than this answer, and this strategy reads one: keyset or offset reads pages.',
};
const TIES: Note = {
  code: 'ties_out_of_reach',
  message:
    'The answer holds no record with the timestamp that was asked: if the filter leaves it out, records that joined ' +
    'it since the last pass are out of reach. That ends once the source shows a second timestamp.',
};
