/**
 * Decides whether a pass has ended. A page that looks like the last one is held against everything else that the source
 * has said: its counts, its flags, the pages before. The outcome is one of three: the end is proven; it is taken for the
 * end without proof, and the pass says so; or it is contradicted, and the pass does not end.
 */
import type { EndRule, Note, PageSummary } from '../protocol.js';
import { compareContents, type ContentTrail, type Repetition } from './contents.js';
import { withLatestNote, withNote } from './cursors.js';
import { type Care, ContradictionError, DoubtError, RepeatedPageError, TokenCycleError } from './strategy.js';

/** Facts about the pages of a pass by which later pages are judged. Part of a position, so plain JSON. */
export type Evidence = {
  pages: number;
  /** Records read. */
  read: number;
  /** Records on the largest page. */
  largest: number;
  /** Pages without records in a row, up to the last page. */
  empty: number;
  /** The count of all records that the source gave last. */
  total?: number;
  /** The least and the greatest count that it gave, where they differ. */
  totals?: { least: number; most: number };
  /** The greatest count of pages that the source gave. */
  totalPages?: number;
  /** More records came than that count: it counts something else, and is not believed for the rest of the pass. */
  miscounted?: true;
  /** The list became shorter while it was read. */
  shrunk?: true;
  /** The last page said that there is more. */
  more?: true;
  /** Pages inside the list that held fewer records than others, and still did when they were asked for again. */
  short?: number;
  content: ContentTrail | null;
};

export const NO_EVIDENCE: Evidence = { pages: 0, read: 0, largest: 0, empty: 0, content: null };

/** How often an answer that contradicts itself is asked for before the source is taken at its word. */
const ASKS_WHEN_CONTRADICTED = 3;
/** How often an answer is asked for on which alone an end rests. */
const ASKS_WHEN_ALONE = 2;
/** The number of times after which no answer is doubted any more. */
export const ASKED_ENOUGH = ASKS_WHEN_CONTRADICTED;
/** Short pages inside a list that a pass asks for again before it takes them for the source's way. */
const SHORT_PAGES_ASKED = 3;
/** Empty pages in a row, each with a new token, after which a source is taken to have no more. */
const EMPTY_PAGES_LIMIT = 100;
/** Empty pages in a row that are passed over because the source counts more. */
const HOLES_LIMIT = 20;

/** The evidence before and after a page. `repeats` tells whether the page has been read before. */
export interface Observed {
  before: Evidence;
  now: Evidence;
  repeats: Repetition;
}

/**
 * The evidence with one more page.
 * @param read records read so far, this page included.
 * @param how by what pages are told apart; see {@link compareContents}.
 */
export function observePage(
  before: Evidence,
  page: PageSummary,
  read: number,
  how: Parameters<typeof compareContents>[2],
): Observed {
  const { repeats, trail: content } = compareContents(before.content, page, how);
  const total = page.total ?? before.total;
  const counted = repeats === null ? read : before.read;
  // A count of the page shrinks with the last page; a list that shrinks while it is read is no wrong count.
  const isOfPage = before.pages > 0 && page.total === page.records && page.total < counted;
  const becameLess = before.total !== undefined && page.total !== null && page.total < before.total;
  const shrunk = before.shrunk === true || (becameLess && !isOfPage && before.miscounted !== true);
  const seen = [before.total, before.totals?.least, before.totals?.most, isOfPage ? null : page.total];
  const known = seen.filter((one) => one != null);
  const totals = { least: Math.min(...known), most: Math.max(...known) };
  const totalPages = Math.max(before.totalPages ?? 0, page.totalPages ?? 0);
  const miscounts = before.miscounted === true || (total !== undefined && total < counted && !shrunk);
  return {
    before,
    repeats,
    now: {
      pages: before.pages + 1,
      read: counted,
      largest: Math.max(before.largest, page.records),
      empty: page.records === 0 ? before.empty + 1 : 0,
      ...(total !== undefined && { total }),
      ...(totals.least < totals.most && { totals }),
      ...(totalPages > 0 && { totalPages }),
      ...(miscounts && { miscounted: true as const }),
      ...(shrunk && { shrunk: true as const }),
      ...(page.more === true && { more: true as const }),
      ...(before.short !== undefined && { short: before.short }),
      content,
    },
  };
}

/** Whether a page may be cut off by its size: it holds as many records as were asked for, or as pages hold otherwise. */
export function isFull({ records }: PageSummary, { before }: Observed, pageSize: number | null): boolean {
  if (records === 0) return false;
  if (pageSize !== null) return records >= pageSize || (before.pages > 0 && records === before.largest);
  return before.pages > 0 ? records >= before.largest : isUsualPageSize(records);
}

/** Whether APIs give a page this size by themselves. */
export const isUsualPageSize = (records: number): boolean =>
  records === 15 ||
  (records >= 10 && ([10, 12, 25].some((unit) => records % unit === 0) || (records & (records - 1)) === 0));

/** Page sizes beyond which many APIs do not go, whatever they are asked for. */
const CAPS: readonly number[] = [20, 25, 30, 50, 100, 200, 250, 500, 1000];

/**
 * Whether the count of all records is reached by a page that shows the end by itself too. A full page does not: some
 * sources count a page and call it all, others stop counting. One more page is asked for then, unless care is `none`.
 */
export function reachesTotal(
  page: PageSummary,
  observed: Observed,
  pageSize: number | null,
  care: Care,
): boolean {
  const { read, miscounted } = observed.now;
  if (page.total !== read || miscounted === true || page.more === true) return false;
  if (care === 'none') return true;
  const mayCountPage = observed.before.pages === 0 && page.total === page.records;
  return !isFull(page, observed, pageSize) && !(mayCountPage && isUsualPageSize(page.records));
}

/** Whether the source counts more records than were read, or says that there are more. */
export const countsMore = ({ total, more }: PageSummary, { now }: Observed): boolean =>
  more === true || (total !== null && now.miscounted !== true && now.read < total);

/** A page that looks like the last one. */
export interface Ending {
  page: PageSummary;
  observed: Observed;
  /** The rule that says so. */
  rule: EndRule;
  /** Records asked for; null where no size is sent. */
  pageSize: number | null;
  /** The pass asks for everything, so that the source's counts are of what it reads. */
  isWhole: boolean;
  /** The page's number, counted from 1, where pages have one. */
  pageNumber?: number;
  /** The pass can ask for what lies behind this page, whatever the page says. */
  canSkip?: boolean;
  /** A pass before ended with an empty next token, not without one. */
  endedWithNull?: boolean;
  care: Care;
}

/** `proven` and `unproven` end the pass; `goes on`: the page is no end, against its looks. */
export interface Verdict {
  outcome: 'proven' | 'unproven' | 'goes on';
  notes: Note[];
  /** Records that the source counted throughout the pass; null where it does not say, or counts something else. */
  counted: number | null;
}

/**
 * Judges a page that looks like the last one.
 * @param notes of the pass so far.
 * @throws {DoubtError} when the page is to be asked for again first.
 * @throws {ContradictionError} when the source insists on an end that it contradicts.
 */
export function judgeEnding(ending: Ending, notes: Note[]): Verdict {
  const { page, observed, rule, canSkip = false } = ending;
  const { now } = observed;
  let said = noteCounts(ending, notes);
  const isCounting = ending.isWhole && now.total !== undefined && now.miscounted !== true;
  const counted = isCounting ? (now.totals?.least ?? now.total ?? null) : null;
  // A rule of the configuration, for such answers.
  if (page.ignored === true) return { outcome: 'proven', notes: said, counted };

  const against = objectionsTo(ending);
  if (against.length > 0) {
    const statements = `${LOOKS[rule](ending)}, but ${against.join(', and ')}`;
    doubtPage(page, ASKS_WHEN_CONTRADICTED, statements);
    if (canSkip && now.empty <= HOLES_LIMIT) {
      return {
        outcome: 'goes on',
        notes: page.records === 0 ? withNote(said, holeNote(statements)) : said,
        counted,
      };
    }
    throw new ContradictionError(`the source contradicts itself: ${statements}`);
  }

  const isCounted = agreesWithCounts(ending);
  // Two answers that differ need a third.
  const differs = (page.heldBefore ?? page.records) > page.records;
  if (!isCounted && (differs || restsOnOneAnswer(ending))) {
    doubtPage(page, differs ? ASKS_WHEN_CONTRADICTED : ASKS_WHEN_ALONE, LOOKS[rule](ending));
  }
  if (fellShort(ending)) said = withNote(said, shrinkNote(ending));
  const doubtful = isCounted ? null : unprovenReason(ending);
  if (doubtful !== null)
    return { outcome: 'unproven', notes: withNote(said, unprovenNote(doubtful)), counted };
  // Pages that were passed over held nothing after all.
  const cleared =
    isCounted && ending.isWhole && now.total === now.read ? said.filter(({ code }) => code !== HOLE) : said;
  return { outcome: 'proven', notes: cleared, counted };
}

/**
 * Asks for a page again.
 * @throws {DoubtError} unless it was asked for so often already.
 */
export function doubtPage({ asked = 1 }: PageSummary, asks: number, statements: string): void {
  if (asked < asks) throw new DoubtError(statements);
}

/**
 * Doubts a page inside a list that holds fewer records than pages before it, since what is missing there would be met
 * nowhere else: where the source counts more, and where rows are deleted by what a pass has met. A source that gives
 * such pages as a rule is not asked for each of them again.
 * @returns the evidence, with the number of such pages that were the same when they were asked for again.
 * @throws {DoubtError} the first time.
 */
export function doubtShortPage(page: PageSummary, { before, now }: Observed, care: Care): Evidence {
  const { records, total } = page;
  const { short = 0 } = before;
  if (records === 0 || records >= before.largest) return now;
  const isCounted = total !== null && now.miscounted !== true && now.read < total;
  if (!isCounted && (care !== 'thorough' || short >= SHORT_PAGES_ASKED)) return now;
  const counted = isCounted ? `, and "total" is ${String(total)}` : '';
  doubtPage(
    page,
    ASKS_WHEN_ALONE,
    `the page has ${recordCount(records)}, earlier pages had ${String(before.largest)}${counted}`,
  );
  return { ...now, short: short + 1 };
}

/**
 * Refuses a page that names a next one and holds what was read before: its token leads nowhere.
 * @param token the token that this page was asked by and names again; null where it names another.
 * @throws {DoubtError} the first time.
 * @throws {TokenCycleError} where the token is the same again.
 * @throws {RepeatedPageError} where each page has another token.
 */
export function refuseRepetition(page: PageSummary, { repeats }: Observed, token: string | null): void {
  if (repeats === null) return;
  doubtPage(page, ASKS_WHEN_ALONE, `the page has the same records as ${repeats}`);
  throw token === null ? new RepeatedPageError(repeats, page.records) : new TokenCycleError(token);
}

/**
 * Whether the source answers with one page over and over, where pages are asked for by number. A list that has changed
 * meanwhile may show a page twice, and so may a slip: the page is asked for again, and then the next one.
 * @throws {DoubtError} the first time.
 */
export function isStuck(page: PageSummary, { before, now, repeats }: Observed): boolean {
  if (repeats === null || (page.total !== null && page.total !== before.total)) return false;
  doubtPage(page, ASKS_WHEN_ALONE, `the page has the same records as ${repeats}`);
  return repeats === 'an earlier page' || (now.content?.alike ?? 0) > 1;
}

/** The notes with one where the page before this one was a repetition that was passed over: its own records are missing. */
export const noteRepetition = ({ before, now }: Observed, notes: Note[]): Note[] =>
  (before.content?.alike ?? 0) > 0 && now.content?.alike === 0 && now.content.last.single === false
    ? withNote(notes, REPEATED_INSIDE)
    : notes;

/**
 * Doubts an empty page that names a next one: sources that filter after paging give such pages, and so does a slip. Of
 * several in a row the first is asked for again.
 * @throws {DoubtError} the first time.
 */
export function doubtEmptyPage(page: PageSummary, { before }: Observed, care: Care): void {
  if (page.records === 0 && page.ignored !== true && before.empty === 0 && care !== 'none')
    doubtPage(page, ASKS_WHEN_ALONE, 'the page is empty, but names a next page');
}

/** Whether the source is taken to have no more: {@link EMPTY_PAGES_LIMIT} empty pages in a row each named a next one. */
export const tooManyEmpty = ({ now }: Observed): boolean => now.empty >= EMPTY_PAGES_LIMIT;

/** Tells that a pass was ended by {@link tooManyEmpty}. */
export const EMPTY_PAGES_NOTE: Note = {
  code: 'end_unproven',
  message:
    `The pass ended after ${String(EMPTY_PAGES_LIMIT)} empty pages in a row that each named a next page; more records may follow. ` +
    'If the source marks its last page, configure "more" or "ends". Rows that this pass has not found do not count as deleted.',
};

/** Describes the page that looks like the last one, by the rule that it fits. */
const LOOKS: Record<EndRule, (ending: Ending) => string> = {
  empty_page: (ending) => `${pageName(ending)} is empty`,
  short_page: (ending) => `${pageName(ending)} has ${recordCount(ending.page.records)}, fewer than requested`,
  no_next_token: ({ page }) =>
    page.more === false ? 'the response says that no more records follow' : 'the response names no next page',
  total_reached: ({ page }) => `"total" (${String(page.total)}) is reached`,
  last_page: ({ page }) => `"total_pages" (${String(page.totalPages)}) is reached`,
  repeated_page: (ending) =>
    `${pageName(ending)} has the same records as ${ending.observed.repeats ?? 'the previous page'}`,
  same_token: () => 'the response names its own page as the next one',
  past_end: (ending) => `${pageName(ending)} is past the end, according to a rule in "errors"`,
  whole_answer: () => 'this strategy reads one response',
  max_id: () => 'max_id is reached',
  max_empty_steps: () => 'too many ranges in a row are empty',
  all_parents: () => 'all parents were read',
  range_end: () => 'the end of the range is reached',
};

const pageName = ({ pageNumber }: Ending): string =>
  pageNumber === undefined ? 'the page' : `page ${String(pageNumber)}`;
const recordCount = (records: number): string => (records === 1 ? '1 record' : `${String(records)} records`);

/** Statements of an answer that contradict its being the last. */
function objectionsTo(ending: Ending): string[] {
  const { page, observed, rule, isWhole, pageNumber, pageSize, endedWithNull = false } = ending;
  const { read, miscounted } = observed.now;
  const against: string[] = [];
  if (rule === 'past_end') return against;
  if (page.more === true) against.push('it says that more records follow ("more" is true)');
  if (isWhole && page.total !== null && miscounted !== true && read < page.total) {
    against.push(`its "total" is ${String(page.total)} and ${recordCount(read)} were read`);
  }
  if (page.totalPages != null && pageNumber !== undefined && pageNumber < page.totalPages) {
    against.push(`its "total_pages" is ${String(page.totalPages)}`);
  }
  if (endedWithNull && page.noToken === 'absent' && page.more !== false && isFull(page, observed, pageSize)) {
    against.push('it is a full page without "next", while earlier passes ended with an empty "next"');
  }
  return against;
}

/** Whether the source counts as many records or pages as were read, or says that there is no more. */
function agreesWithCounts(ending: Ending): boolean {
  const { page, observed, isWhole, pageNumber, rule } = ending;
  const { read, total, miscounted } = observed.now;
  // If an empty page says so too, the page before may have said otherwise.
  const isNamed = page.nextToken !== null || isFull(ending.page, observed, ending.pageSize);
  if (
    page.more === false &&
    page.records > 0 &&
    rule !== 'repeated_page' &&
    !(isNamed && ending.care !== 'none')
  )
    return true;
  if (rule === 'last_page' && !isFullAlone(ending)) return ending.care !== 'thorough';
  if (page.totalPages != null && pageNumber !== undefined && pageNumber > page.totalPages) return true;
  return isWhole && total === read && miscounted !== true && !fellShort(ending);
}

/** Whether the source counted more at another time of the pass than was read in it. */
const fellShort = ({ observed: { now }, isWhole, pageNumber }: Ending): boolean =>
  (isWhole && now.shrunk === true && now.read < (now.totals?.most ?? 0)) ||
  (pageNumber !== undefined && pageNumber < (now.totalPages ?? 0));

/** Whether an end would go unnoticed if this one answer were a slip of the source. */
function restsOnOneAnswer(ending: Ending): boolean {
  const { page, observed, rule, pageSize, care } = ending;
  if (care === 'none' || observed.now.read === 0) return false;
  if (fellShort(ending)) return true;
  switch (rule) {
    case 'empty_page':
      return true;
    case 'no_next_token':
      return page.records === 0 || care === 'thorough' || isFull(page, observed, pageSize);
    case 'short_page':
      return care === 'thorough';
    case 'same_token':
      return page.records > 0 || care === 'thorough';
    case 'past_end':
    case 'last_page':
      return care === 'thorough';
    default:
      return false;
  }
}

/** Why it cannot be told whether everything was read, and what to configure; null where it can. */
function unprovenReason(ending: Ending): string | null {
  const { page, observed, rule, isWhole, pageSize } = ending;
  const { read, total, miscounted, pages } = observed.now;
  const isLess = total !== undefined && miscounted !== true && read < total;
  if (isLess && isWhole)
    return `"total" was ${String(total)} in an earlier response, but ${recordCount(read)} were read`;
  if (rule === 'repeated_page') {
    const isFirst = observed.now.content?.alike === pages - 1;
    if (isFirst ? isShortAlone(ending) : page.records < observed.now.largest) return null;
    return isFirst
      ? `the second page has the same ${recordCount(page.records)} as the first: the source may ignore the parameter for the page. Set "names" to its own names (page, offset, limit), or, if one response contains everything, use the strategy cursor with next: none`
      : `every further page has the same ${recordCount(page.records)}: the source may repeat its last page, or ignore the parameter for the page. Set "names" to its own names, or configure "total", "total_pages" or "more" if it has them. An offset API that accepts only multiples of the limit needs overlap: false`;
  }
  // Some sources say that an empty list has one page.
  const isCountedPage = page.totalPages != null && ending.pageNumber === page.totalPages && pages > 1;
  if (page.records === 0 && isCountedPage) {
    return `page ${String(page.totalPages)} is empty, although "total_pages" counts it`;
  }
  if (page.records === 0 && page.more === null && observed.before.more === true) {
    return 'the previous page says that more records follow, but this one is empty and does not say';
  }
  const isOnlyPage = pages === 1 && page.records > 0;
  const isCapped = pageSize !== null && page.records < pageSize && CAPS.includes(page.records);
  if (rule === 'short_page' && isOnlyPage && isCapped) {
    return `the first page has ${recordCount(page.records)}, but ${String(pageSize)} were requested: the source may limit the page size. Set "page_size" to ${String(page.records)}, or configure "total" or "more" if the source has them`;
  }
  if (rule === 'last_page' && isFullAlone(ending)) {
    return (
      `the only page is full, with ${recordCount(page.records)}, and its "total_pages" is ${String(page.totalPages)}: either there is no more, ` +
      'or "total_pages" points to the number of the page. Check "total_pages"; or configure "total" if the source has it'
    );
  }
  const saysBoth = page.more === false && page.nextToken !== null && isFull(page, observed, pageSize);
  if (rule === 'no_next_token' && isOnlyPage && saysBoth) {
    return 'the first response says that no more records follow, but names a next page. Check "more": it may mean the opposite';
  }
  if (
    rule === 'no_next_token' &&
    isOnlyPage &&
    page.noToken === 'absent' &&
    page.more !== false &&
    (isCapped || isFull(page, observed, pageSize))
  ) {
    return (
      `the source returned one full page of ${recordCount(page.records)} without a next page: either there is no more, or "next" points ` +
      'to the wrong place. Check "next"; or configure "total" or "more" if the source has them; or next: none if one response contains everything'
    );
  }
  return null;
}

/** Whether one full page is all that was read: a count of pages that is none would look the same. */
const isFullAlone = ({ page, observed, pageSize, care }: Ending): boolean =>
  observed.now.pages === 1 && care !== 'none' && isFull(page, observed, pageSize);

/** A first page that the source repeats is all there is where it is plainly no full page. */
const isShortAlone = ({ page, pageSize }: Ending): boolean =>
  pageSize === null ? !isUsualPageSize(page.records) : page.records < pageSize;

/** The notes with what the source's counts have to say. */
function noteCounts({ page, observed, isWhole }: Ending, notes: Note[]): Note[] {
  const { now } = observed;
  let said = notes;
  if (now.miscounted === true) said = withLatestNote(said, miscountNote(page.total ?? now.total, now.read));
  if (
    !isWhole &&
    now.total !== undefined &&
    now.miscounted !== true &&
    now.read < now.total &&
    page.more !== false
  ) {
    said = withNote(said, disagreementNote(now.total, now.read));
  }
  return said;
}

/** The notes of a list that is read by page number, with one where it has become shorter meanwhile. */
export const noteShrinking = ({ now }: Observed, notes: Note[]): Note[] =>
  now.shrunk === true ? withNote(notes, SHRANK) : notes;

/** Whether what a pass has seen may move its mark: not where records may lie before it that were not read. */
export const mayMoveMark = (notes: readonly Note[]): boolean =>
  !notes.some(({ code }) => code === UNPROVEN || code === HOLE || code === REPEATED_INSIDE.code);

/** Tells that the source's own counts became smaller while it was read. */
function shrinkNote({ observed: { now }, pageNumber }: Ending): Note {
  const counted =
    now.shrunk === true
      ? `"total" fell from ${String(now.totals?.most)} to ${String(now.total)} during the pass, and ${recordCount(now.read)} were read`
      : `"total_pages" was ${String(now.totalPages)}, but page ${String(pageNumber)} was the last`;
  return {
    code: SHRANK.code,
    message: `${capitalised(counted)}: records were removed meanwhile, or the source left some out. After this pass, no row counts as deleted.`,
  };
}

const SHRANK: Note = {
  code: 'list_shrank',
  message:
    'The list became shorter during the pass, so a record may have moved to a page that was already read. After this pass, no row counts as deleted.',
};

const REPEATED_INSIDE: Note = {
  code: 'repeated_page_inside',
  message:
    'The source returned one page twice, so the records of one page were not read. Rows that this pass has not found do not count as deleted.',
};

const HOLE = 'empty_page_inside';
const holeNote = (statements: string): Note => ({
  code: HOLE,
  message: `${capitalised(statements)}. The pages after it were read. Rows that this pass has not found do not count as deleted.`,
});

const UNPROVEN = 'end_unproven';
const unprovenNote = (why: string): Note => ({
  code: UNPROVEN,
  message: `The pass may not have read everything: ${why}. Rows that this pass has not found do not count as deleted.`,
});

const miscountNote = (total: number | undefined, read: number): Note => ({
  code: 'total_wrong',
  message: `"total" is ${String(total)}, but ${recordCount(read)} were read: it counts something else, perhaps one page, or only up to a limit. Highwater ignored it; remove "total", or set it to the count of all records.`,
});

/** The code of the note that {@link disagreementNote} makes. */
export const TOTAL_DISAGREES = 'total_disagrees';

/** Tells that the source counts more than it gave of what was asked for. */
export const disagreementNote = (total: number, read: number): Note => ({
  code: TOTAL_DISAGREES,
  message: `"total" is ${String(total)}, but the request for changes returned ${recordCount(read)}: if "total" counts the whole list, remove it; otherwise records are missing.`,
});

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
