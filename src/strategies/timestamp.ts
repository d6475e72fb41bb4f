import type { Cursor, Incremental, Note, PageSummary, StrategyName } from '../protocol.js';
import { ANSWER_CUT, beginPass, raisePeak, endPass, positionOf, readValues, withNote } from './cursors.js';
import { disagreementNote } from './evidence.js';
import { createSince, EVERYTHING, type Span } from './since.js';
import type { Strategy } from './strategy.js';
import { apart, earlier, meets, type Values } from './values.js';

export type TimestampMark = {
  /** The greatest timestamp that a finished pass has seen. */
  last_timestamp: string | null;
  /** The greatest distinct one below it. */
  below: string | null;
  /** An answer held a record whose timestamp equals the one asked: the filter is `>=`, not `>`. */
  inclusive: boolean;
};

/** `since` is null where everything is asked for. */
export type TimestampPosition = { since: string | null; span?: Span };

export type TimestampCursor = Cursor<TimestampMark, TimestampPosition>;

/** Everything since the mark, in one answer. */
export function createTimestamp({
  incremental = EVERYTHING,
}: {
  incremental?: Incremental;
}): Strategy<TimestampCursor> {
  return createAnswer('timestamp', incremental);
}

/** A strategy whose pass is one answer. */
export function createAnswer(name: StrategyName, incremental: Incremental): Strategy<TimestampCursor> {
  const since = createSince(incremental);
  const { values } = since;

  /**
   * The start of a request: the mark if the filter includes it, else the value below it, so that rows which joined the
   * mark's after it was read are seen. A lookback is further back than either.
   */
  function start({ last_timestamp, below, inclusive }: TimestampMark): string | null {
    const fromMark =
      inclusive || incremental.lookbackSeconds > 0 ? last_timestamp : (below ?? beforeOnly(last_timestamp));
    return since.from(fromMark) ?? values.first;
  }

  /**
   * The start while the source has shown a single value: that value again. If the filter takes many values for
   * one, records are likely to join it, and those before it are asked for too.
   */
  const beforeOnly = (only: string | null) =>
    only === null || values.asked === undefined ? only : earlier(values, only, 1);

  return {
    name,
    remembers: { keys: 'none', values: 'all' },

    begin: (checkpoint, now) =>
      beginPass<TimestampMark, TimestampPosition>(
        checkpoint,
        { last_timestamp: null, below: null, inclusive: false },
        (mark) => ({ since: start(mark), ...since.reach(start(mark), now) }),
        ({ mark, position }) =>
          since.isReadable([mark.last_timestamp, mark.below, position?.since], position?.span),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const position = positionOf(cursor);
      const { updated_since, ...until } = since.params(position.since, position.span);
      return { params: { ...(updated_since !== undefined && { since: updated_since }), ...until } };
    },

    advance(cursor, page) {
      const { since: asked, span } = positionOf(cursor);
      const { readable, notes } = readValues(page.values, cursor.notes, values);
      // The maximum, not the last: nothing promises that the answer is in order.
      const { greatest, below } = raisePeak(
        { greatest: cursor.mark.last_timestamp, below: cursor.mark.below },
        since.settled(readable, asked, span),
        values,
      );
      const inclusive = cursor.mark.inclusive || provesInclusive(readable, asked, values);
      const mark = { last_timestamp: greatest, below, inclusive };
      return endPass(
        cursor,
        'whole_answer',
        mark,
        remarks(cursor, page, inclusive, values).reduce(withNote, notes),
      );
    },

    condense(cursor, part) {
      const { since: asked, span } = positionOf(cursor);
      const kept = decisivePlaces(
        part.values,
        asked,
        values,
        (value) => since.settled([value], asked, span).length > 0,
      );
      return { keys: [], values: kept.map((i) => part.values[i] ?? null) };
    },

    state: ({ mark }) => ({ last_timestamp: mark.last_timestamp ?? values.first }),
  };
}

/**
 * The places of the records that decide the mark and the notes: the two greatest distinct values that are settled, one
 * at the value asked and one before it, one without a value and one that cannot be read.
 */
function decisivePlaces(
  texts: readonly (string | null)[],
  since: string | null,
  values: Values,
  isSettled: (value: string) => boolean,
): number[] {
  const { isValue, compare, asked: filter } = values;
  const kept = new Map<string, number>();
  let greatest: number | null = null;
  let below: number | null = null;
  const order = (i: number, j: number | null) => (j === null ? 1 : compare(texts[i] ?? '', texts[j] ?? ''));
  texts.forEach((text, i) => {
    if (text === null) kept.set('none', i);
    else if (!isValue(text)) kept.set('bad', i);
    else {
      const asked = since === null ? 1 : apart(values, text, since);
      if (asked < 0) kept.set('before', i);
      else if (asked === 0 && since !== null && meets(values, text, since)) kept.set('asked', i);
      const top = greatest === null ? null : (texts[greatest] ?? '');
      const isDistinct = filter === undefined || top === null || filter.apart(text, top) !== 0;
      if (order(i, greatest) > 0) {
        if (!isSettled(text)) return;
        if (isDistinct) below = greatest;
        greatest = i;
      } else if (order(i, greatest) < 0 && isDistinct && order(i, below) > 0) below = i;
    }
  });
  const places = [...kept.values(), greatest, below].filter((i): i is number => i !== null);
  return [...new Set(places)].sort((a, b) => a - b);
}

/** A record at the very value asked, unless older ones or the year 1 leave open whether it was filtered at all. */
function provesInclusive(readable: readonly string[], since: string | null, values: Values): boolean {
  if (since === values.first || since === null) return false;
  return (
    readable.some((value) => meets(values, value, since)) &&
    !readable.some((value) => apart(values, value, since) < 0)
  );
}

/** Notes on an answer that may not be whole. */
function remarks(
  { mark, position }: TimestampCursor,
  page: PageSummary,
  inclusive: boolean,
  { first }: Values,
): Note[] {
  const since = position?.since ?? null;
  const total = page.total ?? 0;
  const countsMore = total > page.records && page.more !== false;
  // A total may count the rows before `since` as well.
  const isCut = page.nextToken !== null || page.more === true || (since === first && countsMore);
  const isUnproven = !inclusive && since !== null && since === mark.last_timestamp;
  return [
    ...(isCut ? [ANSWER_CUT] : countsMore ? [disagreementNote(total, page.records)] : []),
    ...(isUnproven ? [TIES] : []),
  ];
}

const TIES: Note = {
  code: 'ties_out_of_reach',
  message:
    'The response has no record with the requested timestamp. If the filter excludes it, records that got this timestamp ' +
    'after the last pass are missed until the source has a second timestamp.',
};
