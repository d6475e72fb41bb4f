import { beginPass, endPass, positionOf } from './cursors.js';
import { newest, since, type SinceMark, watch } from './since.js';
import type { Cursor, StrategyOptions } from '../protocol.js';
import type { Strategy } from './strategy.js';

export type PageNumberPosition = SinceMark & {
  page: number;
  /** Records read in this pass. */
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
  return {
    name: 'page_number',
    remembers: { keys: 'none', values: incremental === null ? 'none' : 'all' },

    begin: (checkpoint) =>
      beginPass<SinceMark, PageNumberPosition>(checkpoint, { newest: null }, (mark) => ({
        ...mark,
        page: firstPage,
        read: 0,
      })),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      return { params: paramsOf(cursor.mark, positionOf(cursor).page) };
    },

    advance(cursor, page) {
      const position = positionOf(cursor);
      const { mark, notes } = watch(position, page, incremental, cursor.notes);
      const read = position.read + page.records;
      const end =
        page.records === 0
          ? 'empty_page'
          : read === page.total
            ? 'total_reached'
            : shortPageEnds && page.records < (pageSize ?? 0)
              ? 'short_page'
              : page.more === false
                ? 'no_next_token'
                : null;
      if (end !== null) return endPass(cursor, end, mark, notes);
      return { ...cursor, position: { ...mark, page: position.page + 1, read }, notes };
    },

    condense: (_, part) => newest(part),

    ahead(cursor, count) {
      const { position } = cursor;
      if (position === null || position.read === 0) return [];
      return Array.from({ length: count }, (_, i) => ({
        params: paramsOf(cursor.mark, position.page + 1 + i),
      }));
    },

    state: ({ mark, position }) => ({ page: position?.page ?? firstPage, newest: mark.newest }),
  };

  function paramsOf(mark: SinceMark, page: number): Record<string, string> {
    return {
      page: String(page),
      ...(pageSize !== null && { limit: String(pageSize) }),
      ...since(mark, incremental),
    };
  }
}
