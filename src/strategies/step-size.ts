import type { Cursor, Json, Note, PageRequest, PageSummary } from '../protocol.js';
import { beginPass, endPass, positionOf, quote, withNote } from './cursors.js';
import { doubtPage } from './evidence.js';
import type { Strategy } from './strategy.js';

export type StepSizeMark = {
  /** The greatest id that a finished pass has seen, as decimal text. */
  current_id: string | null;
};

export type StepSizePosition = {
  /** The first id of the range to ask. */
  next: string;
  greatest: string | null;
  /** Ranges without a record since the last one with any. */
  empty: number;
  /** Ranges that were empty after others that were not, and still were when they were asked for again. */
  gaps?: number;
};

export type StepSizeCursor = Cursor<StepSizeMark, StepSizePosition>;

/** Ids are decimal text outside and `bigint` inside: they may lie beyond 2^53. */
export interface StepSizeOptions {
  initialId: string;
  stepSize: string;
  maxId: string;
  /** The number of empty ranges in a row after which a pass ends; null walks every gap up to `maxId`. */
  maxEmptySteps: number | null;
  /** How far below the greatest id seen the next pass begins, for ids that appear late. */
  idLookback: string;
}

interface Range {
  start: bigint;
  end: bigint;
}

/** Gaps that a pass asks for again before it takes them for the source's way. */
const GAPS_ASKED = 8;

/**
 * Ranges of ids, one after the other, up to a greatest id; a gap is no end. The first range of a gap is asked for again,
 * since what a slip of the source leaves out there would never be read.
 */
export function createStepSize(options: StepSizeOptions): Strategy<StepSizeCursor> {
  const [initialId, stepSize, maxId] = [
    BigInt(options.initialId),
    BigInt(options.stepSize),
    BigInt(options.maxId),
  ];
  const { maxEmptySteps } = options;

  function firstId({ current_id }: StepSizeMark): bigint {
    if (current_id === null) return initialId;
    return greater(initialId, BigInt(current_id) + 1n - BigInt(options.idLookback));
  }

  function rangeOf({ next }: StepSizePosition): Range {
    const start = BigInt(next);
    const end = start + stepSize - 1n;
    return { start, end: end < maxId ? end : maxId };
  }

  /** Ends the pass where no range is left to ask, or too many were empty. */
  function settle(cursor: StepSizeCursor): StepSizeCursor {
    if (cursor.ended !== null) return cursor;
    const { next, greatest, empty } = positionOf(cursor);
    const mark = { current_id: greatest };
    if (BigInt(next) > maxId) return endPass(cursor, 'max_id', mark, cursor.notes);
    if (maxEmptySteps !== null && empty >= maxEmptySteps) {
      return endPass(cursor, 'max_empty_steps', mark, cursor.notes);
    }
    return cursor;
  }

  return {
    name: 'step_size',
    remembers: { keys: 'all', values: 'all' },

    begin: (checkpoint) =>
      settle(
        beginPass(checkpoint, { current_id: null }, (mark) => ({
          next: String(firstId(mark)),
          greatest: mark.current_id,
          empty: 0,
        })),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { start, end } = rangeOf(positionOf(cursor));
      return { params: { start_id: String(start), end_id: String(end) } };
    },

    advance(cursor, page) {
      const { greatest, empty, gaps = 0 } = positionOf(cursor);
      const range = rangeOf(positionOf(cursor));
      const beginsGap =
        page.records === 0 && empty === 0 && greatest !== cursor.mark.current_id && page.ignored !== true;
      const isDoubtful = beginsGap && gaps < GAPS_ASKED;
      if (isDoubtful) {
        const { start, end } = range;
        doubtPage(
          page,
          2,
          `the range ${String(start)} to ${String(end)} is empty, but the one before it is not`,
        );
      }
      const found = readIds(page, range);
      return settle({
        ...cursor,
        position: {
          next: String(range.end + 1n),
          greatest: found.ids.reduce((highest, id) => String(greater(id, BigInt(highest ?? id))), greatest),
          empty: page.records === 0 ? empty + 1 : 0,
          ...((isDoubtful || gaps > 0) && { gaps: isDoubtful ? gaps + 1 : gaps }),
        },
        notes: remarks(page, range, maxId, found).reduce(withNote, cursor.notes),
      });
    },

    ahead(cursor, count) {
      const requests: PageRequest[] = [];
      let next = cursor.ended === null ? rangeOf(positionOf(cursor)).end + 1n : maxId + 1n;
      for (; requests.length < count && next <= maxId; next += stepSize) {
        const { start, end } = rangeOf({ next: String(next), greatest: null, empty: 0 });
        requests.push({ params: { start_id: String(start), end_id: String(end) } });
      }
      return requests;
    },

    state: ({ mark, position }) => ({
      current_id: asJson(position === null ? firstId(mark) : BigInt(position.next)),
    }),
  };
}

interface PageIds {
  /** Those that lie in the range asked. */
  ids: bigint[];
  /** One of each kind that does not. */
  notInteger?: string;
  outside?: string;
}

/**
 * The id of a record is its key, or its cursor field where the key is no id of this range (a composite key, or an id
 * that is not the primary key). Ids out of range move no mark: a source that ignores the range would carry it away.
 */
function readIds(page: PageSummary, { start, end }: Range): PageIds {
  const found: PageIds = { ids: [] };
  page.keys.forEach((key, index) => {
    const integers = [key, page.values[index] ?? ''].filter((text) => INTEGER.test(text)).map(BigInt);
    const id = integers.find((integer) => start <= integer && integer <= end);
    if (id !== undefined) found.ids.push(id);
    else if (integers[0] !== undefined) found.outside ??= String(integers[0]);
    else found.notInteger ??= key;
  });
  return found;
}

const INTEGER = /^-?\d+$/;

/** Notes on a page for the reader of a run. */
function remarks(page: PageSummary, { start, end }: Range, maxId: bigint, found: PageIds): Note[] {
  const asked = `${String(start)} to ${String(end)}`;
  const notes: Note[] = [];
  if (found.notInteger !== undefined) {
    const message = `Some records have an id that is not an integer, such as ${quote(found.notInteger)}: it does not move the high-water mark.`;
    notes.push({ code: 'id_not_integer', message });
  }
  if (found.outside !== undefined) {
    const message = `The source returned id ${quote(found.outside)} for the range ${asked}; it may ignore the range.`;
    notes.push({ code: 'outside_range', message });
  }
  // A total of all records is greater than any range.
  const countsMore =
    page.total !== null && page.total > page.records && BigInt(page.total) <= end - start + 1n;
  if (page.nextToken !== null || page.more === true || countsMore) {
    const message = `The source says that the range ${asked} has more records than it returned: try a smaller step_size.`;
    notes.push({ code: 'answer_cut', message });
  }
  if (end === maxId && found.ids.length > 0) {
    const message = `The last range, ${asked}, has records; records beyond max_id are not read.`;
    notes.push({ code: 'max_id_near', message });
  }
  return notes;
}

const greater = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** A number where it stays exact. */
function asJson(id: bigint): Json {
  const number = Number(id);
  return Number.isSafeInteger(number) ? number : String(id);
}
