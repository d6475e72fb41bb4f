import type { Cursor, StrategyOptions } from '../protocol.js';
import { beginPass, endPass, positionOf } from './cursors.js';
import { newest, since, type SinceMark, watch } from './since.js';
import type { Strategy } from './strategy.js';
import { follow, type TokenTrail } from './tokens.js';

export type CursorPosition = SinceMark & {
  /** What the last answer said is next: an opaque token, or an address. */
  token: string | null;
  trail: TokenTrail | null;
};

export type CursorCursor = Cursor<SinceMark, CursorPosition>;

/**
 * Pages that each name the next one, by a token or by an address. An empty page that names another is no end. A
 * token may grow old: one that the source has forgotten fails the pass, and `--full` begins anew.
 */
export function createCursor(
  options: Extract<StrategyOptions, { strategy: 'cursor' }>,
): Strategy<CursorCursor> {
  const { pageSize, incremental } = options;
  return {
    name: 'cursor',
    remembers: {
      keys: options.tokenIsLastKey ? 'ends' : 'none',
      values: incremental === null ? 'none' : 'all',
    },

    begin: (checkpoint) =>
      beginPass<SinceMark, CursorPosition>(checkpoint, { newest: null }, (mark) => ({
        ...mark,
        token: null,
        trail: null,
      })),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { token } = positionOf(cursor);
      return {
        params: {
          ...(pageSize !== null && { limit: String(pageSize) }),
          ...since(cursor.mark, incremental),
          ...(token !== null && { scroll_param: token }),
        },
      };
    },

    advance(cursor, page) {
      const position = positionOf(cursor);
      const { mark, notes } = watch(position, page, incremental, cursor.notes);
      const token = options.tokenIsLastKey ? (page.keys.at(-1) ?? null) : page.nextToken;
      if (page.more === false || token === null) {
        const end = page.records === 0 && page.more !== false ? 'empty_page' : 'no_next_token';
        return endPass(cursor, end, mark, notes);
      }
      return { ...cursor, position: { ...mark, token, trail: follow(position.trail, token) }, notes };
    },

    condense: (_, part) => ({ ...newest(part), keys: part.keys.slice(-1) }),

    state: ({ mark, position }) => ({ scroll_param: position?.token ?? null, newest: mark.newest }),
  };
}
