import type { Cursor, EndRule, Note, PageSummary, StrategyOptions } from '../protocol.js';
import { ANSWER_CUT, beginPass, endPass, endsOf, positionOf, quote, withNote } from './cursors.js';
import {
  countsMore,
  doubtEmptyPage,
  doubtShortPage,
  type Evidence,
  EMPTY_PAGES_NOTE,
  observePage,
  isFull,
  type Observed,
  judgeEnding,
  mayMoveMark,
  NO_EVIDENCE,
  refuseRepetition,
  tooManyEmpty,
} from './evidence.js';
import { createSince, shown, type SinceMark, type SincePosition } from './since.js';
import { type Care, type Strategy, UnfollowableError } from './strategy.js';
import { followToken, type TokenTrail } from './tokens.js';

export type CursorMark = SinceMark & {
  /** The last page of the last pass had an empty next token: a page that lacks the member altogether is another matter. */
  endedWithNull?: true;
};

export type CursorPosition = SincePosition & {
  /** The next page that the last answer named: an opaque token, an address, or its last record's key. */
  token: string | null;
  /** The last record's cursor value, where that is asked for too. */
  after?: string;
  trail: TokenTrail | null;
  /** The token was that of the page before too. */
  isConstant?: true;
  /** The evidence of the pages of this pass, or of this window of it. */
  evidence?: Evidence;
};

/** The value by which a page is asked for. */
type Next = Pick<CursorPosition, 'token' | 'after'>;

export type CursorCursor = Cursor<CursorMark, CursorPosition>;

/**
 * Pages that each name the next one, by a token or by an address, or by their last record. An empty page that names
 * another is no end. A source that names the page it answers as the next one is at its end once it has nothing new; with
 * a token that is the same for every page it goes on until then.
 *
 * @param care see {@link Care}.
 */
export function createCursor(
  options: Extract<StrategyOptions, { strategy: 'cursor' }>,
  care: Care = 'usual',
): Strategy<CursorCursor> {
  const { pageSize, incremental, shortPageEnds = false } = options;
  const follows = options.follows ?? (options.tokenIsLastKey ? 'last_key' : 'token');
  const byKey = follows === 'last_key' || follows === 'last_record';
  const since = createSince(incremental);

  /** The start of the page after this one; null if there is none. */
  function following({ keys, values, nextToken }: PageSummary): Next {
    if (follows === 'nothing') return { token: null };
    if (!byKey) return { token: nextToken };
    if (keys.length === 0) return { token: null };
    // Rejected records may have no key.
    const key = keys.findLast((one) => one !== '');
    if (key === undefined) {
      throw new UnfollowableError(
        'the request for the next page needs the key of the last record, and no record of this page has one',
      );
    }
    if (follows === 'last_key') return { token: key };
    const after = values.at(-1) ?? null;
    if (after === null || !since.values.isValue(after)) {
      throw new UnfollowableError(
        `the request for the next page needs the cursor value of the last record, which must be ${since.values.what}; ` +
          `in record ${quote(key)} it is ${after === null ? 'missing' : quote(after)}`,
      );
    }
    // If the filter cannot show this very value, the page after it cannot be asked for.
    since.values.asked?.exact(after);
    return { token: key, after };
  }

  /** The rule by which a page looks like the last one; null where it leads on. */
  function looksLast(
    page: PageSummary,
    next: Next,
    asked: CursorPosition,
    observed: Observed,
  ): EndRule | null {
    if (page.pastEnd === true) return 'past_end';
    if (follows === 'nothing') return 'whole_answer';
    if (page.more === false) return 'no_next_token';
    if (shortPageEnds && page.records < (pageSize ?? 0) && !countsMore(page, observed))
      return page.records === 0 ? 'empty_page' : 'short_page';
    if (next.token === null) return page.records === 0 ? 'empty_page' : 'no_next_token';
    if (!isSame(next, asked)) return null;
    // By key: nothing but the record that was asked from. By token: nothing new.
    const isOver = byKey
      ? page.records === 1
      : page.records === 0 ||
        (asked.isConstant === true && observed.repeats !== null && !isFull(page, observed, pageSize));
    return isOver ? 'same_token' : null;
  }

  /** The notes of a single answer, with one where it is not the whole list. */
  function noteCut(page: PageSummary, notes: Note[]): Note[] {
    if (page.more === true || (page.total ?? 0) > page.records) return withNote(notes, ANSWER_CUT);
    const isAsLong = pageSize !== null && page.total === null && page.records >= pageSize;
    return isAsLong ? withNote(notes, cutBySize(pageSize)) : notes;
  }

  return {
    name: 'cursor',
    remembers: { keys: 'ends', values: incremental === null ? 'none' : 'all' },

    begin: (checkpoint, now) =>
      beginPass<CursorMark, CursorPosition>(
        checkpoint,
        { newest: null },
        ({ newest }) => ({ newest, ...since.reach(since.from(newest), now), token: null, trail: null }),
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
      const asked = since.from(cursor.mark.newest);
      const isWhole = asked === null && span === undefined;
      const before = position.evidence ?? NO_EVIDENCE;
      const observed = observePage(before, page, before.read + page.records, {});
      const { mark, notes: seen } = since.watch(cursor.mark, position, page, cursor.notes);
      let notes = follows === 'nothing' ? noteCut(page, seen) : seen;
      const next = page.more === false || page.pastEnd === true ? { token: null } : following(page);
      let rule = looksLast(page, next, position, observed);
      let counted: number | null = null;
      if (rule === null && tooManyEmpty(observed)) {
        rule = 'empty_page';
        notes = withNote(notes, EMPTY_PAGES_NOTE);
      } else if (rule !== null && rule !== 'whole_answer') {
        const { endedWithNull = false } = cursor.mark;
        ({ notes, counted } = judgeEnding(
          { page, observed, rule, pageSize, isWhole, endedWithNull, care },
          notes,
        ));
      }
      if (rule === null && next.token !== null) {
        // A token that is the same for every page leads on as long as there is something new.
        const isConstant = isSame(next, position) && !byKey;
        const name = next.after === undefined ? next.token : `${next.after} ${next.token}`;
        const trail = isConstant ? position.trail : followToken(position.trail, name);
        refuseRepetition(page, observed, isConstant ? next.token : null);
        doubtEmptyPage(page, observed, care);
        const on = {
          ...mark,
          ...(span && { span }),
          ...next,
          trail,
          ...(isConstant && { isConstant }),
          evidence: isWhole ? doubtShortPage(page, observed, care) : observed.now,
        };
        return { ...cursor, position: on, notes };
      }
      const window = since.next(asked, span);
      if (window !== null) {
        return { ...cursor, position: { ...mark, span: window, token: null, trail: null }, notes };
      }
      const reached = mayMoveMark(notes) ? mark : { newest: cursor.mark.newest };
      const ended = { ...reached, ...(page.noToken === 'null' && { endedWithNull: true as const }) };
      return endPass(cursor, rule ?? 'no_next_token', ended, notes, counted);
    },

    condense(cursor, part) {
      const { values } = since.condense(cursor.mark, positionOf(cursor), part);
      return {
        keys: endsOf(part.keys),
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

const isSame = (a: Next, b: Next): boolean => a.token === b.token && a.after === b.after;

/** Tells that a single answer is as long as it may be. */
const cutBySize = (pageSize: number): Note => ({
  code: ANSWER_CUT.code,
  message: `The answer has ${String(pageSize)} records, as many as were requested: there may be more. Set "page_size" to more than the list has, or configure how the source pages. Rows that this pass has not found do not count as deleted.`,
});
