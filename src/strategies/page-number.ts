import { beginPass, endPass, endsOf, positionOf } from './cursors.js';
import {
  countsMore,
  doubtShortPage,
  type Evidence,
  observePage,
  isStuck,
  noteRepetition,
  type Observed,
  judgeEnding,
  mayMoveMark,
  NO_EVIDENCE,
  noteShrinking,
  reachesTotal,
} from './evidence.js';
import { createSince, shown, type SinceMark, type SincePosition } from './since.js';
import type { Cursor, EndRule, PageSummary, StrategyOptions } from '../protocol.js';
import type { Care, Strategy } from './strategy.js';

export type PageNumberPosition = SincePosition & {
  page: number;
  /** Records read in this pass, or in this window of it. */
  read: number;
  /** The evidence of the pages of this pass, or of this window of it. */
  evidence?: Evidence;
};

export type PageNumberCursor = Cursor<SinceMark, PageNumberPosition>;

/**
 * Pages by their number. A pass reads them all, or with `incremental` those that hold what has changed since the
 * mark; rows that are inserted or removed meanwhile shift the pages, which the next pass makes good.
 *
 * @param care see {@link Care}.
 */
export function createPageNumber(
  options: Extract<StrategyOptions, { strategy: 'page_number' }>,
  care: Care = 'usual',
): Strategy<PageNumberCursor> {
  const { firstPage, pageSize, shortPageEnds, incremental } = options;
  const since = createSince(incremental);

  function paramsOf({ mark, position }: PageNumberCursor, page: number): Record<string, string> {
    return {
      page: String(page),
      ...(pageSize !== null && { limit: String(pageSize) }),
      ...since.params(since.from(mark.newest), position?.span),
    };
  }

  /** The rule by which a page looks like the last one; null where it does not. */
  function looksLast(page: PageSummary, number: number, observed: Observed): EndRule | null {
    if (page.pastEnd === true) return 'past_end';
    if (page.records === 0) return page.total === observed.now.read ? 'total_reached' : 'empty_page';
    if (isStuck(page, observed)) return 'repeated_page';
    if (reachesTotal(page, observed, pageSize, care)) return 'total_reached';
    if (page.totalPages != null && number >= page.totalPages && page.more !== true) return 'last_page';
    if (shortPageEnds && page.records < (pageSize ?? 0) && !countsMore(page, observed)) return 'short_page';
    return page.more === false ? 'no_next_token' : null;
  }

  /** Whether pages are left by what the source counts. */
  function hasPagesLeft(page: PageSummary, number: number, { now }: Observed): boolean {
    if (page.totalPages != null) return number < page.totalPages;
    const size = Math.max(pageSize ?? 0, now.largest);
    if (page.total !== null && now.miscounted !== true && size > 0)
      return number < Math.ceil(page.total / size);
    return page.more === true;
  }

  /** The pages behind the next one that are there by the source's counts; infinitely many where it gives none. */
  function pagesLeft({ page, evidence }: PageNumberPosition): number {
    const { total, totalPages, largest, miscounted } = evidence ?? NO_EVIDENCE;
    const isCounted = total !== undefined && miscounted !== true && largest > 0;
    const last = totalPages ?? (isCounted ? Math.ceil(total / largest) : Infinity);
    return last - (page - firstPage + 1);
  }

  return {
    name: 'page_number',
    remembers: { keys: 'ends', values: incremental === null ? 'none' : 'all' },

    begin: (checkpoint, now) =>
      beginPass<SinceMark, PageNumberPosition>(
        checkpoint,
        { newest: null },
        (mark) => ({ ...mark, ...since.reach(since.from(mark.newest), now), page: firstPage, read: 0 }),
        ({ mark, position }) => since.isReadable([mark.newest, position?.newest], position?.span),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      return { params: paramsOf(cursor, positionOf(cursor).page) };
    },

    advance(cursor, page) {
      const position = positionOf(cursor);
      const { span } = position;
      const asked = since.from(cursor.mark.newest);
      const isWhole = asked === null && span === undefined;
      const number = position.page - firstPage + 1;
      const observed = observePage(position.evidence ?? NO_EVIDENCE, page, position.read + page.records, {
        byPlace: true,
      });
      const { mark, notes: seen } = since.watch(cursor.mark, position, page, cursor.notes);
      const rule = looksLast(page, number, observed);
      let notes = noteRepetition(observed, isWhole ? noteShrinking(observed, seen) : seen);
      let evidence = observed.now;
      if (rule === null) {
        if (isWhole) evidence = doubtShortPage(page, observed, care);
      } else {
        const ending = { page, observed, rule, pageSize, isWhole, pageNumber: number, care };
        const canSkip = page.records === 0 && hasPagesLeft(page, number, observed);
        const verdict = judgeEnding({ ...ending, canSkip }, notes);
        ({ notes } = verdict);
        if (verdict.outcome !== 'goes on') {
          const window = since.next(asked, span);
          if (window === null)
            return endPass(cursor, rule, mayMoveMark(notes) ? mark : cursor.mark, notes, verdict.counted);
          return { ...cursor, position: { ...mark, span: window, page: firstPage, read: 0 }, notes };
        }
      }
      const next = { page: position.page + 1, read: evidence.read, evidence };
      return { ...cursor, position: { ...mark, ...(span && { span }), ...next }, notes };
    },

    condense: (cursor, part) => ({
      ...since.condense(cursor.mark, positionOf(cursor), part),
      keys: endsOf(part.keys),
    }),

    ahead(cursor, count) {
      const { position } = cursor;
      if (position === null || position.read === 0) return [];
      const left = pagesLeft(position);
      return Array.from({ length: Math.max(0, Math.min(count, left)) }, (_, i) => ({
        params: paramsOf(cursor, position.page + 1 + i),
      }));
    },

    state: ({ mark, position }) => ({
      page: position?.page ?? firstPage,
      newest: mark.newest,
      ...shown(position),
    }),
  };
}
