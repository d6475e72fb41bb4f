import type { Cursor, EndRule, Incremental, Note, PageSummary } from '../protocol.js';
import { beginPass, raisePeak, endPass, type Peak, positionOf, readValues, withNote } from './cursors.js';
import {
  doubtEmptyPage,
  EMPTY_PAGES_NOTE,
  type Evidence,
  observePage,
  type Observed,
  isFull,
  isUsualPageSize,
  judgeEnding,
  mayMoveMark,
  NO_EVIDENCE,
  refuseRepetition,
  tooManyEmpty,
} from './evidence.js';
import { createSince, EVERYTHING, type Since, type Span } from './since.js';
import type { Care, Strategy } from './strategy.js';
import { followToken, type TokenTrail } from './tokens.js';
import { apart, meets, type Values } from './values.js';

export type KeysetMark = {
  /** The greatest timestamp that a finished pass has seen. */
  last_updated_at: string | null;
  /** The greatest distinct one below it. */
  below: string | null;
  /** An answer held a record whose timestamp equals the one asked: the filter is `>=`, not `>`. */
  inclusive: boolean;
  /** The source was seen to answer out of order, or not to filter: only its tokens are followed. */
  unordered: boolean;
  /** The source was seen to give page tokens: a page without one is then the last. */
  hasTokens?: true;
};

export type KeysetPosition = Peak & {
  /** The token to follow; null asks `updated_since` the floor. */
  token: string | null;
  /**
   * No record of the next answer is older if the source is in order; null if everything is asked for. It never
   * falls within a walk.
   */
  floor: string | null;
  /** The walk has left the tokens for a timestamp: rows that are out of order may have stayed behind. */
  jumped: boolean;
  inclusive: boolean;
  unordered: boolean;
  trail: TokenTrail | null;
  span?: Span;
  /** The evidence of the pages since the walk asked for a timestamp last. */
  evidence?: Evidence;
  /** The timestamp that the token's first page was asked by; absent: the floor. */
  asked?: string | null;
  hasTokens?: true;
  /** The token was that of the page before too. */
  isConstant?: true;
  /** The walk began by asking for everything, and has asked for no timestamp since: counts are of what it reads. */
  isWhole?: true;
};

export type KeysetCursor = Cursor<KeysetMark, KeysetPosition>;

const NOTHING_READ: KeysetMark = { last_updated_at: null, below: null, inclusive: false, unordered: false };

/**
 * Pages in the order of their timestamps, continued by `updated_since` or by `scroll_param`.
 *
 * A token may mean no more than "later than the last row" (the reference API's does): following it loses the rows
 * that share the last row's timestamp but did not fit on the page. So where a page holds two timestamps, the walk
 * asks one of them again: the last where the filter is known to include it, else the one below it. A page of a single
 * timestamp leaves nothing to ask but that page, so its token is followed, and the pass says what that may lose.
 *
 * A source without tokens is read by its timestamps alone, as long as each page leads to a later one.
 *
 * @param options.ties `scroll` follows tokens only.
 * @param options.pageSize sent as the limit; null or absent: none is sent.
 * @param options.filtersTokens the pages of a token are asked for with the filter too.
 * @param care see {@link Care}.
 */
export function createKeyset(
  options: {
    ties: 'auto' | 'scroll';
    incremental?: Incremental;
    pageSize?: number | null;
    filtersTokens?: boolean;
  },
  care: Care = 'usual',
): Strategy<KeysetCursor> {
  const { ties, incremental = EVERYTHING, pageSize = null, filtersTokens = false } = options;
  const since = createSince(incremental);
  const { values } = since;

  /** The start of a pass: at the mark if the filter includes it, else below, so that rows added at the mark are seen. */
  function firstPosition(mark: KeysetMark): KeysetPosition {
    const { last_updated_at, below, inclusive, unordered, hasTokens } = mark;
    const from = since.from(inclusive ? last_updated_at : below);
    return {
      greatest: last_updated_at,
      below,
      token: null,
      floor: from ?? values.first,
      ...(from === null && { isWhole: true }),
      ...(hasTokens === true && { hasTokens }),
      jumped: false,
      inclusive,
      unordered,
      trail: null,
    };
  }

  /** The rule by which a page without a next one looks like the last. */
  function looksLast(page: PageSummary): EndRule {
    if (page.pastEnd === true) return 'past_end';
    if (page.records > 0) return 'no_next_token';
    return page.nextToken === null || page.more === false ? 'empty_page' : 'same_token';
  }

  /**
   * Whether a page without a token is to be gone on from by its timestamps: the source says that there is more, or it
   * has never shown a token, and the page may have been cut off.
   */
  function leadsOnByTime(
    page: PageSummary,
    { now }: Observed,
    { hasTokens, isWhole }: KeysetPosition,
  ): boolean {
    if (page.more !== null) return page.more;
    if (page.total !== null && isWhole === true && now.read < page.total) return true;
    // A source may give fewer at a time than it is asked for.
    const isCapped = now.pages === 1 ? isUsualPageSize(page.records) : page.records === now.largest;
    const isShort = pageSize !== null && page.records < pageSize && !isCapped;
    return hasTokens !== true && page.noToken === 'absent' && !isShort;
  }

  /** The pass from its first request, by tokens alone: jumping over a disorder has left rows behind. */
  function startAgain({ mark }: KeysetCursor, { greatest, below, span }: KeysetPosition): KeysetPosition {
    return { ...firstPosition({ ...mark, unordered: true }), greatest, below, ...(span && { span }) };
  }

  return {
    name: 'keyset',
    remembers: { keys: 'ends', values: 'all' },

    begin: (checkpoint, now) =>
      beginPass<KeysetMark, KeysetPosition>(
        checkpoint,
        NOTHING_READ,
        (mark) => {
          const position = firstPosition(mark);
          return { ...position, ...since.reach(position.floor, now) };
        },
        ({ mark, position }) =>
          since.isReadable(
            [mark.last_updated_at, mark.below, position?.greatest, position?.floor],
            position?.span,
          ),
      ),

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { token, floor, asked = floor, span } = positionOf(cursor);
      return {
        params: {
          ...(token === null ? since.params(floor, span) : { scroll_param: token }),
          ...(token !== null && filtersTokens && since.params(asked, span)),
          ...(pageSize !== null && { limit: String(pageSize) }),
        },
      };
    },

    advance(cursor, page) {
      const { readable, notes: soFar } = readValues(page.values, cursor.notes, values);
      const stood = positionOf(cursor);
      const shown = surveyOrder(readable, stood.floor, values);
      const learned = learnFromPage(stood, readable, shown, since);
      const before = stood.evidence ?? NO_EVIDENCE;
      const observed = observePage(before, page, before.read + page.records, { byValue: true });
      const { isConstant: _, ...onward } = learned;
      const position: KeysetPosition = {
        ...onward,
        ...((stood.hasTokens === true || page.nextToken !== null) && { hasTokens: true }),
        evidence: observed.now,
      };
      let notes = position.unordered ? withNote(soFar, UNORDERED) : soFar;
      const nextToken = page.more === false || page.pastEnd === true ? null : page.nextToken;

      if (position.unordered && position.jumped) {
        return { ...cursor, position: startAgain(cursor, position), notes };
      }
      const mayJump = ties === 'auto' && !position.unordered;
      const end = (rule: EndRule): KeysetCursor =>
        endPass(cursor, rule, mayMoveMark(notes) ? markOf(position) : cursor.mark, notes);

      if (nextToken === null || (page.records === 0 && nextToken === stood.token)) {
        const rule = looksLast(page);
        const next = mayJump ? nextSince(shown, position, values) : null;
        // Without tokens there may be more by the timestamps alone.
        if (next !== null && leadsOnByTime(page, observed, position))
          return { ...cursor, position: jumpTo(position, next), notes };
        const isWhole = position.isWhole === true && position.span === undefined;
        ({ notes } = judgeEnding({ page, observed, rule, pageSize, isWhole, care }, notes));
        const isCut =
          (isFull(page, observed, pageSize) || position.unordered) &&
          position.hasTokens !== true &&
          page.noToken === 'absent';
        if (isCut && page.more !== false && !(isWhole && page.total === observed.now.read))
          notes = withNote(notes, NO_TOKENS);
        return end(rule);
      }
      if (tooManyEmpty(observed)) {
        notes = withNote(notes, EMPTY_PAGES_NOTE);
        return end('empty_page');
      }

      const next = mayJump ? nextSince(shown, position, values) : null;
      if (next !== null) return { ...cursor, position: jumpTo(position, next), notes };

      // A token that is the same for every page leads on as long as there is something new.
      const isConstant = nextToken === stood.token;
      const isOver =
        stood.isConstant === true && observed.repeats !== null && !isFull(page, observed, pageSize);
      if (isConstant && isOver) {
        const ending = {
          page,
          observed,
          rule: 'same_token' as const,
          pageSize,
          isWhole: position.isWhole === true,
          care,
        };
        ({ notes } = judgeEnding(ending, notes));
        return end('same_token');
      }
      const trail = isConstant ? position.trail : followToken(position.trail, nextToken);
      refuseRepetition(page, observed, isConstant ? nextToken : null);
      doubtEmptyPage(page, observed, care);
      const loss = position.unordered || shown.last === null ? null : ties === 'scroll' ? TIES_SCROLL : TIES;
      const asked = stood.token === null ? stood.floor : (stood.asked ?? null);
      return {
        ...cursor,
        position: {
          ...position,
          token: nextToken,
          floor: shown.last ?? position.floor,
          ...(filtersTokens && { asked }),
          ...(isConstant && { isConstant }),
          trail,
        },
        notes: loss === null ? notes : withNote(notes, loss),
      };
    },

    state: ({ mark, position }) => ({
      last_updated_at: (position === null ? mark.last_updated_at : position.greatest) ?? values.first,
      scroll_param: position?.token ?? null,
    }),
  };
}

/** Facts about the source's order from one page. */
interface Survey {
  /** Nothing older than the floor, and every value at least as late as the one before it. */
  ordered: boolean;
  /** The first value is the one that was sent for the floor. */
  atFloor: boolean;
  last: string | null;
  /** The greatest value below the last one; null on a page of ties. */
  belowLast: string | null;
}

function surveyOrder(readable: readonly string[], floor: string | null, values: Values): Survey {
  let [last, belowLast, ordered]: [string | null, string | null, boolean] = [null, null, true];
  for (const value of readable) {
    const before = last ?? floor;
    const step = before === null ? 1 : apart(values, value, before);
    if (step < 0) ordered = false;
    if (step > 0) belowLast = last;
    last = value;
  }
  const [first] = readable;
  const atFloor = first !== undefined && floor !== null && meets(values, first, floor);
  return { ordered, atFloor, last, belowLast };
}

/** The position once it knows what a page shows; where to go next is not decided yet. */
function learnFromPage(
  position: KeysetPosition,
  readable: readonly string[],
  shown: Survey,
  { values, settled }: Since,
): KeysetPosition {
  const { floor, greatest, below, span } = position;
  const unordered = position.unordered || !shown.ordered;
  return {
    ...position,
    ...raisePeak({ greatest, below }, settled(readable, floor, span), values),
    unordered,
    // A source out of order may not filter at all, nor may one that takes year 1 for "everything": there an equal
    // value proves nothing. And the lack of one never proves the opposite: the record may have been updated.
    inclusive:
      !unordered &&
      (position.inclusive || (position.token === null && shown.atFloor && floor !== values.first)),
  };
}

/** The value of the page that can be asked again without losing a tie or standing still; null if there is none. */
function nextSince(
  { last, belowLast }: Survey,
  { floor, inclusive }: KeysetPosition,
  values: Values,
): string | null {
  if (last === null || belowLast === null) return null;
  const since = inclusive ? last : belowLast;
  return floor === null || apart(values, since, floor) > 0 ? since : null;
}

/** Tokens belong to the request that they came with, so their trail starts anew. */
function jumpTo(position: KeysetPosition, since: string): KeysetPosition {
  const { isWhole: _, ...rest } = position;
  const evidence = { ...(position.evidence ?? NO_EVIDENCE), content: null };
  return { ...rest, evidence, token: null, floor: since, jumped: true, trail: null };
}

function markOf({ greatest, below, inclusive, unordered, hasTokens }: KeysetPosition): KeysetMark {
  return { last_updated_at: greatest, below, inclusive, unordered, ...(hasTokens === true && { hasTokens }) };
}

const UNORDERED: Note = {
  code: 'unordered',
  message:
    'The source does not sort by the cursor field, or ignores updated_since. Highwater follows its page ' +
    'tokens; records that these skip (ties, or records that move between pages) are missed.',
};
const TIES: Note = {
  code: 'ties_out_of_reach',
  message:
    'All records of a page share one timestamp, so Highwater must follow its page token: if the token skips to the next timestamp, ' +
    'further records with this timestamp are missed. A larger page size avoids that.',
};
const TIES_SCROLL: Note = {
  code: 'ties_scroll',
  message:
    'The pass followed page tokens (ties: scroll): if they skip to the next timestamp, records that share the last ' +
    'timestamp of a page are missed.',
};
const NO_TOKENS: Note = {
  code: 'end_unproven',
  message:
    'A full page has no page token, and all its records share one timestamp: more records may follow. Check "next", the place of the token; ' +
    'configure "more" or "total" if the source has them; or use the strategy page_number or offset.',
};
