import type { Cursor, EndRule, Json, PageRequest, PageSummary, PageTexts, Remembered } from '../protocol.js';

/**
 * A strategy decides what to read next. It is a pure function of its options, the cursor and what the last page
 * said: no I/O, no clock, no randomness. It never mutates what it is given.
 *
 * Its laws, tested with random sources in `test/unit/*-laws.test.ts`:
 * 1. Coverage: over an unchanging source every record that the source's own rules let be read is read; otherwise
 *    the pass says (in `notes`) what may be out of reach and why.
 * 2. Progress: over an unchanging source `request` never repeats within a pass, and a finite source always drains.
 *    (Keyset reads a pass once more from its first request where it finds the source out of order after a jump; windows
 *    within an hour that a clock on the wall shows twice may be asked for twice.)
 * 3. Resumption: stop after any page, resume from the JSON of the cursor: the same records are read.
 * 4. Monotonicity: the mark never moves back, and only when a pass ends. (An offset does where the list has shrunk.)
 * 5. Evidence: a pass never ends against what the source says; see `evidence.ts`. Over a source that stumbles once it
 *    reads the same as over one that does not.
 * 6. Termination: a pass ends or fails after a number of requests that depends on the source's pages only, also where
 *    the source ignores what it is asked, or repeats itself.
 */
export interface Strategy<C extends Cursor = Cursor> {
  readonly name: string;
  readonly remembers: Remembered;

  /**
   * The first cursor of a pass. An unended `checkpoint` is resumed as it is.
   * @param now ISO 8601 instant; decides whether a re-scan is due, and is a bound on what is read only where one is
   *   configured.
   */
  begin(checkpoint: C | null, now: string): C;

  /** The page to read, or why there is none. */
  request(cursor: C): PageRequest | { end: EndRule };

  /**
   * The cursor to commit together with the page.
   * @throws {DoubtError} when the page is to be asked for again first.
   * @throws {ContradictionError} when the source insists on an answer that contradicts itself.
   * @throws {UnfollowableError} when the source's pages run in a circle, or one names no page that can be asked for.
   */
  advance(cursor: C, page: PageSummary): C;

  /**
   * Reduces a part of an answer to the records that `advance` needs of it, so that an answer of any size fits in
   * memory: advancing by the rest after `condense(part)` is advancing by the whole. Absent where a page is small.
   */
  condense?(cursor: C, part: PageTexts): PageTexts;

  /**
   * The requests that will follow `request(cursor)`, at most `count`, where they do not depend on its answer:
   * several may then be in flight. A wrong guess costs a request, never a record.
   */
  ahead?(cursor: C, count: number): PageRequest[];

  /**
   * The cursor that begins the pass again, where that takes more than `begin` from the mark.
   * @param now ISO 8601 instant.
   */
  restart?(cursor: C, now: string): C;

  /** The cursor after the source refused the page size and named its maximum; absent where no size is sent. */
  lowerPageSize?(cursor: C, maximum: number): C;

  /** The cursor under the names that the reference connector uses in its state. */
  state(cursor: C): { [name: string]: Json };
}

/**
 * How an end is treated that rests on one answer, such as an empty page where nothing counts the records.
 * - `thorough`: the answer is asked for once more. For passes after which rows are deleted that were not met.
 * - `usual`: likewise, but a page that is plainly not full is believed. Costs a request in passes of several pages.
 * - `none`: it is believed. For many short lists, where rows that a slip leaves out are read by the next pass.
 */
export type Care = 'thorough' | 'usual' | 'none';

/**
 * An answer that is not believed at once: it contradicts itself or the answers before it, or an end rests on it alone.
 * The page is to be asked for again, and `advance` to be called with that answer and the number of times it was `asked`.
 */
export class DoubtError extends Error {
  override readonly name = 'DoubtError';
}

/** The source insists on an answer that contradicts itself: the pass cannot be taken for ended, nor go on. */
export class ContradictionError extends Error {
  override readonly name = 'ContradictionError';
}

/** The source's answers do not lead on: it would be read for ever, or not to its end. */
export class UnfollowableError extends Error {
  override readonly name: string = 'UnfollowableError';
}

/** Page tokens that come round again: the source would be read for ever. */
export class TokenCycleError extends UnfollowableError {
  override readonly name = 'TokenCycleError';
  constructor(readonly token: string) {
    super(
      `the source returned the page token ${JSON.stringify(token.slice(0, 200))} again: its pages form a loop`,
    );
  }
}

/** Another token or place gives a page that was read before: what is asked for does not reach the source. */
export class RepeatedPageError extends UnfollowableError {
  override readonly name = 'RepeatedPageError';
  constructor(repeats: string, records: number) {
    super(
      `the source returned the same ${records === 1 ? 'record' : `${String(records)} records`} for another page as for ${repeats}: ` +
        'it may ignore the parameter for the token. Set "names" (scroll_param) to its own name, or "next" to the place of the token in the response',
    );
  }
}
