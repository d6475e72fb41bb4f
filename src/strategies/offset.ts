import type {
  Cursor,
  EndRule,
  FullRescan,
  Note,
  PageRequest,
  PageSummary,
  StrategyOptions,
} from '../protocol.js';
import { beginPass, endPass, positionOf, withLatestNote, withNote } from './cursors.js';
import {
  ASKED_ENOUGH,
  countsMore,
  doubtPage,
  type Evidence,
  observePage,
  type Observed,
  judgeEnding,
  mayMoveMark,
  NO_EVIDENCE,
  reachesTotal,
} from './evidence.js';
import { compare, minusSeconds } from './instants.js';
import { createSince, shown, type Span } from './since.js';
import { type Care, ContradictionError, type Strategy } from './strategy.js';

/** A record that was read, and where: as long as it is there, nothing before it was inserted or removed. */
export type Anchor = { offset: number; key: string };

export type OffsetMark = {
  /** How many records of the list were read: the place of the next one. */
  offset: number;
  /** Ascending; the last is the record just before `offset`, the others lie ever further back. */
  anchors: Anchor[];
  /** A page size that the source insisted on, and the configured one that it refused. */
  lowered: { limit: number; of: number } | null;
  /** When the last re-scan of the whole list began. */
  scanned_at: string | null;
  /** The greatest cursor value seen; there where only changes are asked for. */
  newest?: string | null;
};

export type OffsetPosition = OffsetMark & {
  /** Ask without the overlap: the last answer held one record, and nothing may fit beside the overlap. */
  bare: boolean;
  /** Anchors found missing in this pass. */
  steps_back: number;
  /** The list's length, as the source said it last. */
  total: number | null;
  span?: Span;
  /** The evidence of the pages of this pass, or of this window of it. */
  evidence?: Evidence;
};

export type OffsetCursor = Cursor<OffsetMark, OffsetPosition>;

/**
 * The number of steps back in a pass after which the list is taken for one that never stands still, and is read to
 * its end.
 */
const MAX_STEPS_BACK = 64;
const MAX_STEPS_BACK_WHEN_STILL = 16;
/** The number of repeated pages after which a source is taken not to know the offset. */
const STEPS_BACK_WHEN_REPEATED = 8;
const MAX_ANCHORS = 40;

/**
 * A list by offset and limit. Rows that are inserted or removed before the offset shift every later page, so each
 * request overlaps the last page by one record, its anchor. If the anchor is not where it was, the pass steps back to
 * the next older one, and from the first that is still in place reads everything again.
 *
 * @param options.pageSize sent as the limit; the source may give less.
 * @param options.fullRescan when to read the whole list again, for updates that move no row.
 * @param options.overlap false: no request overlaps the page before, so that the list may move unseen.
 * @param options.incremental each pass asks for another list, that of what has changed, and reads it from its beginning.
 * @param care see {@link Care}.
 */
export function createOffset(
  options: Omit<Extract<StrategyOptions, { strategy: 'offset' }>, 'strategy'>,
  care: Care = 'usual',
): Strategy<OffsetCursor> {
  const {
    pageSize,
    fullRescan,
    overlap: overlaps = true,
    shortPageEnds = false,
    incremental = null,
  } = options;
  const since = createSince(incremental);
  const asked = ({ newest }: OffsetMark) => since.from(newest);

  /** The range that the cursor asks for: `overlap` is the record that the answer should begin with. */
  function plan({ offset, anchors, lowered, bare }: OffsetPosition): {
    base: number;
    limit: number;
    overlap: Anchor | undefined;
  } {
    const limit = lowered !== null && lowered.of === pageSize ? lowered.limit : pageSize;
    const overlap = !overlaps || bare || limit === 1 ? undefined : anchors.at(-1);
    return { base: overlap === undefined ? offset : overlap.offset, limit, overlap };
  }

  function paramsOf({ mark, position }: OffsetCursor, offset: number, limit: number): Record<string, string> {
    return { offset: String(offset), limit: String(limit), ...since.params(asked(mark), position?.span) };
  }

  /** The rule by which a page looks like the last one; null where it leads on. */
  function looksLast(
    page: PageSummary,
    limit: number,
    observed: Observed,
    isRepeated: boolean,
    inPlace: boolean,
  ): EndRule | null {
    if (page.pastEnd === true) return 'past_end';
    if (page.records === 0) return 'empty_page';
    if (isRepeated) return 'repeated_page';
    if (!inPlace) return null;
    if (reachesTotal(page, observed, limit, care)) return 'total_reached';
    if (page.more === false) return 'no_next_token';
    return shortPageEnds && page.records < limit && !countsMore(page, observed) ? 'short_page' : null;
  }

  return {
    name: 'offset',
    remembers: { keys: 'ends', values: incremental === null ? 'none' : 'all' },

    begin: (checkpoint, now) =>
      beginPass<OffsetMark, OffsetPosition>(
        checkpoint,
        NOTHING_READ,
        (mark, pass) => ({
          ...(incremental !== null || isRescanDue(fullRescan, mark, pass, now)
            ? { ...mark, ...LIST_BEGINS, scanned_at: now }
            : { ...mark, ...PASS_BEGINS }),
          ...since.reach(asked(mark), now),
        }),
        ({ mark, position }) => since.isReadable([mark.newest, position?.newest], position?.span),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { base, limit } = plan(positionOf(cursor));
      return { params: paramsOf(cursor, base, limit) };
    },

    advance(cursor, page) {
      const position = positionOf(cursor);
      const { base, limit, overlap } = plan(position);
      const observed = observePage(position.evidence ?? NO_EVIDENCE, page, base + page.records, {
        byPlace: true,
      });
      // Records that were inserted before the offset may show the same page twice: first the list is gone back over.
      const isRepeated =
        observed.repeats !== null &&
        base > 0 &&
        page.total === position.total &&
        (overlap === undefined || position.steps_back >= STEPS_BACK_WHEN_REPEATED);
      const inPlace = overlap === undefined || page.keys[0] === overlap.key;
      if (!inPlace && !isRepeated && page.pastEnd !== true) {
        if (page.records === 0) doubtVanished(page, overlap);
        // A list that is as long as before has hardly moved so often.
        const isStill = page.total !== null && page.total === position.total;
        if (position.steps_back < (isStill ? MAX_STEPS_BACK_WHEN_STILL : MAX_STEPS_BACK))
          return stepBack(cursor, position);
      }

      const checked = inPlace || isRepeated ? cursor.notes : withNote(cursor.notes, LIST_MOVING);
      const isBlind = !overlaps || limit === 1 || (position.bare && page.records > 0);
      let notes = isBlind ? withNote(checked, NO_OVERLAP) : checked;
      const watched = since.watch(cursor.mark, position, page, notes);
      ({ notes } = watched);
      const read = {
        ...(isRepeated ? position : readOn(position, base, page)),
        total: page.total,
        evidence: observed.now,
        ...(incremental !== null && watched.mark),
      };
      const rule = looksLast(page, limit, observed, isRepeated, inPlace);
      if (rule === null) return { ...cursor, position: read, notes };
      const isWhole = incremental === null || (asked(cursor.mark) === null && position.span === undefined);
      const verdict = judgeEnding({ page, observed, rule, pageSize: limit, isWhole, care }, notes);
      ({ notes } = verdict);
      if (incremental === null) {
        const isFromStart = position.scanned_at !== cursor.mark.scanned_at;
        return endPass(cursor, rule, markOf(read), notes, isFromStart ? verdict.counted : null);
      }
      const window = since.next(asked(cursor.mark), position.span);
      const again = { ...read, ...LIST_BEGINS };
      if (window !== null) {
        const { evidence: _, ...begun } = again;
        return { ...cursor, position: { ...begun, span: window }, notes };
      }
      const newest = mayMoveMark(notes) ? again.newest : cursor.mark.newest;
      return endPass(cursor, rule, markOf({ ...again, ...(newest !== undefined && { newest }) }), notes);
    },

    ahead(cursor, count) {
      const { position } = cursor;
      if (position === null || position.total === null || position.bare) return [];
      const { base, limit, overlap } = plan(position);
      // Each page is taken to be full, and to overlap the one before as this one does.
      const stride = limit - (overlap === undefined && (limit === 1 || !overlaps) ? 0 : 1);
      const requests: PageRequest[] = [];
      for (let next = base + stride; requests.length < count && next + 1 < position.total; next += stride) {
        requests.push({ params: paramsOf(cursor, next, limit) });
      }
      return requests;
    },

    lowerPageSize(cursor, maximum) {
      const position = positionOf(cursor);
      const limit = Math.max(1, Math.min(Math.floor(maximum), plan(position).limit));
      const note = {
        code: 'page_size_lowered',
        message: `The source rejected a page size of ${String(pageSize)}; Highwater requests ${String(limit)} instead.`,
      };
      return {
        ...cursor,
        position: { ...position, lowered: { limit, of: pageSize } },
        notes: withLatestNote(cursor.notes, note),
      };
    },

    state: ({ mark, position }) => ({
      offset: (position ?? mark).offset,
      ...(incremental !== null && { newest: mark.newest ?? null, ...shown(position) }),
    }),
  };
}

const PASS_BEGINS = { bare: false, steps_back: 0, total: null };
const LIST_BEGINS = { ...PASS_BEGINS, offset: 0, anchors: [] };
const NOTHING_READ: OffsetMark = { offset: 0, anchors: [], lowered: null, scanned_at: null };

function isRescanDue(rescan: FullRescan | null, mark: OffsetMark, pass: number, now: string): boolean {
  if (mark.offset === 0) return true;
  if (rescan === null) return false;
  if ('passes' in rescan) return (pass - 1) % rescan.passes === 0;
  if (mark.scanned_at === null) return true;
  // A clock that was ahead has written a time that is still to come: waiting for it could take years.
  if (compare(mark.scanned_at, now) > 0) return true;
  return compare(minusSeconds(now, rescan.seconds), mark.scanned_at) >= 0;
}

/**
 * Doubts an answer without records where the record before the offset should be.
 * @throws {DoubtError} until it was asked for often enough.
 * @throws {ContradictionError} where the source counts that record itself.
 */
function doubtVanished(page: PageSummary, overlap: Anchor): void {
  const statement = `the page at offset ${String(overlap.offset)} is empty, but had a record before`;
  doubtPage(page, ASKED_ENOUGH, statement);
  if (page.total !== null && page.total > overlap.offset) {
    throw new ContradictionError(
      `the source contradicts itself: ${statement}; its "total" is ${String(page.total)}`,
    );
  }
}

/** The position at the next older anchor, or at the start of the list: everything from there is read again. */
function stepBack(cursor: OffsetCursor, position: OffsetPosition): OffsetCursor {
  const anchors = position.anchors.slice(0, -1);
  const steps = position.steps_back + 1;
  const note = {
    code: 'drift',
    message:
      `The list shifted during the pass (${String(steps)} ${steps === 1 ? 'time' : 'times'}), because records were inserted or removed before the ` +
      'offset. Highwater read the shifted part again.',
  };
  return {
    ...cursor,
    position: {
      ...position,
      // Records behind it are read again, and are no repetition.
      evidence: { ...(position.evidence ?? NO_EVIDENCE), content: null },
      offset: (anchors.at(-1)?.offset ?? -1) + 1,
      anchors,
      bare: false,
      steps_back: steps,
    },
    notes: withLatestNote(cursor.notes, note),
  };
}

/** The position after the records that begin at `base`. */
function readOn(position: OffsetPosition, base: number, { keys, records }: PageSummary): OffsetPosition {
  const key = keys.at(-1);
  if (key === undefined) return { ...position, offset: base + records };
  const offset = base + records;
  const newest = { offset: offset - 1, key };
  const older = position.anchors.filter((anchor) => anchor.offset < newest.offset);
  // A source may cap its pages at one record: after a page of one, the next request leaves the overlap out.
  return { ...position, offset, anchors: thinAnchors([...older, newest], offset), bare: records === 1 };
}

/** Keeps the oldest anchor within each power of two back from the offset, and the newest of all. */
function thinAnchors(anchors: Anchor[], offset: number): Anchor[] {
  const distance = (anchor: Anchor | undefined): number =>
    anchor === undefined ? Infinity : Math.floor(Math.log2(offset - anchor.offset));
  return anchors
    .filter((anchor, i) => i === anchors.length - 1 || distance(anchor) !== distance(anchors[i - 1]))
    .slice(-MAX_ANCHORS);
}

const markOf = ({ offset, anchors, lowered, scanned_at, newest }: OffsetPosition): OffsetMark => ({
  offset,
  anchors,
  lowered,
  scanned_at,
  ...(newest !== undefined && { newest }),
});

const NO_OVERLAP: Note = {
  code: 'no_overlap',
  message:
    'Pages were read without an overlap, because "overlap" is false, pages have one record, or the list was growing. If records are ' +
    'inserted or removed before the offset, the list shifts unnoticed, and records that move past the offset are missed.',
};
const LIST_MOVING: Note = {
  code: 'list_moving',
  message:
    'The list shifted so often that the rest was read without checking for shifts: records may be ' +
    'missing. Use full_rescan, or keyset if the source has a timestamp.',
};
