import { beginPass, endPass, positionOf } from './cursors.js';
import { createSince, shown, type SinceMark, type SincePosition } from './since.js';
import type { Cursor, EndRule, PageSummary, StrategyOptions } from '../protocol.js';
import type { Strategy } from './strategy.js';

export type PageNumberPosition = SincePosition & {
  page: number;
  /** Records read in this pass, or in this window of it. */
  read: number;
};

export type PageNumberCursor = Cursor<SinceMark, PageNumberPosition>;

/**
 * Pages by their number. A pass reads them all, or with `incremental` those that hold what has changed since the
 * mark; rows that are inserted or removed meanwhile shift the pages, which the next pass makes good.
 */
export function createPageNumber(
  options: Extract<StrategyOptions, { strategy: 'page_number' }>,
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

  function endOf(
    { records, total, totalPages, more }: PageSummary,
    page: number,
    read: number,
  ): EndRule | null {
    if (records === 0) return 'empty_page';
    if (read === total) return 'total_reached';
    if (totalPages != null && page - firstPage + 1 >= totalPages) return 'last_page';
    if (shortPageEnds && records < (pageSize ?? 0)) return 'short_page';
    return more === false ? 'no_next_token' : null;
  }

  return {
    name: 'page_number',
    remembers: { keys: 'none', values: incremental === null ? 'none' : 'all' },

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
      const { mark, notes } = since.watch(cursor.mark, position, page, cursor.notes);
      const read = position.read + page.records;
      const end = endOf(page, position.page, read);
      if (end === null) {
        return {
          ...cursor,
          position: { ...mark, ...(span && { span }), page: position.page + 1, read },
          notes,
        };
      }
      const window = since.next(since.from(cursor.mark.newest), span);
      if (window === null) return endPass(cursor, end, mark, notes);
      return { ...cursor, position: { ...mark, span: window, page: firstPage, read: 0 }, notes };
    },

    condense: (cursor, part) => since.condense(cursor.mark, positionOf(cursor), part),

    ahead(cursor, count) {
      const { position } = cursor;
      if (position === null || position.read === 0) return [];
      return Array.from({ length: count }, (_, i) => ({ params: paramsOf(cursor, position.page + 1 + i) }));
    },

    state: ({ mark, position }) => ({
      page: position?.page ?? firstPage,
      newest: mark.newest,
      ...shown(position),
    }),
  };
}
