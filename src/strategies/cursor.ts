import type { Cursor, PageSummary, StrategyOptions } from '../protocol.js';
import { ANSWER_CUT, beginPass, endPass, positionOf, quote, withNote } from './cursors.js';
import { createSince, shown, type SinceMark, type SincePosition } from './since.js';
import { type Strategy, UnfollowableError } from './strategy.js';
import { follow, type TokenTrail } from './tokens.js';

export type CursorPosition = SincePosition & {
  /** What the last answer said is next: an opaque token, an address, or its last record's key. */
  token: string | null;
  /** The last record's cursor value, where that is asked for too. */
  after?: string;
  trail: TokenTrail | null;
};

export type CursorCursor = Cursor<SinceMark, CursorPosition>;

/**
 * Pages that each name the next one, by a token or by an address, or by their last record. An empty page that names
 * another is no end. A token may grow old: one that the source has forgotten fails the pass, and `--full` begins anew.
 */
export function createCursor(
  options: Extract<StrategyOptions, { strategy: 'cursor' }>,
): Strategy<CursorCursor> {
  const { pageSize, incremental, shortPageEnds = false } = options;
  const follows = options.follows ?? (options.tokenIsLastKey ? 'last_key' : 'token');
  const byKey = follows === 'last_key' || follows === 'last_record';
  const since = createSince(incremental);

  /** Where the page after this one begins; null where there is none. */
  function following({ keys, values, nextToken }: PageSummary): Pick<CursorPosition, 'token' | 'after'> {
    if (follows === 'nothing') return { token: null };
    if (!byKey) return { token: nextToken };
    const key = keys.at(-1);
    if (key === undefined) return { token: null };
    if (follows === 'last_key') return { token: key };
    const after = values.at(-1) ?? null;
    if (after === null || !since.values.isValue(after)) {
      throw new UnfollowableError(
        `the next page is asked for by the last record's cursor value, which must be ${since.values.what}; ` +
          `that of record ${quote(key)} is ${after === null ? 'missing' : quote(after)}`,
      );
    }
    // Where the filter cannot show this very value, the page after it cannot be asked for.
    since.values.asked?.exact(after);
    return { token: key, after };
  }

  return {
    name: 'cursor',
    remembers: { keys: byKey ? 'ends' : 'none', values: incremental === null ? 'none' : 'all' },

    begin: (checkpoint, now) =>
      beginPass<SinceMark, CursorPosition>(
        checkpoint,
        { newest: null },
        (mark) => ({ ...mark, ...since.reach(since.from(mark.newest), now), token: null, trail: null }),
        ({ mark, position }) =>
          since.isReadable([mark.newest, position?.newest, position?.after], position?.span) &&
          // An opaque token is no key, and a key no token.
          (position?.token == null || (follows === 'last_record') === (position.after !== undefined)),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { token, after, span } = positionOf(cursor);
      return {
        params: {
          ...(pageSize !== null && { limit: String(pageSize) }),
          ...since.params(since.from(cursor.mark.newest), span),
          ...(token !== null && { scroll_param: token }),
          ...(after !== undefined && { updated_since: since.values.asked?.exact(after) ?? after }),
        },
      };
    },

    advance(cursor, page) {
      const position = positionOf(cursor);
      const { span } = position;
      const { mark, notes: seen } = since.watch(cursor.mark, position, page, cursor.notes);
      const isCut = follows === 'nothing' && (page.more === true || (page.total ?? 0) > page.records);
      const notes = isCut ? withNote(seen, ANSWER_CUT) : seen;
      const isShort = shortPageEnds && page.records < (pageSize ?? 0);
      const next = page.more === false || isShort ? { token: null } : following(page);
      if (next.token !== null) {
        const trail = follow(
          position.trail,
          next.after === undefined ? next.token : `${next.after} ${next.token}`,
        );
        return { ...cursor, position: { ...mark, ...(span && { span }), ...next, trail }, notes };
      }
      const window = since.next(since.from(cursor.mark.newest), span);
      if (window !== null) {
        return { ...cursor, position: { ...mark, span: window, token: null, trail: null }, notes };
      }
      const end =
        follows === 'nothing'
          ? 'whole_answer'
          : page.records === 0 && page.more !== false
            ? 'empty_page'
            : page.more !== false && isShort
              ? 'short_page'
              : 'no_next_token';
      return endPass(cursor, end, mark, notes);
    },

    condense(cursor, part) {
      const { values } = since.condense(cursor.mark, positionOf(cursor), part);
      return {
        keys: part.keys.slice(-1),
        values: follows === 'last_record' ? [...values, ...part.values.slice(-1)] : values,
      };
    },

    state: ({ mark, position }) => ({
      scroll_param: position?.token ?? null,
      newest: mark.newest,
      ...shown(position),
    }),
  };
}
