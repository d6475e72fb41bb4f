import type {
  Cursor,
  EndRule,
  Json,
  PageRequest,
  PageSummary,
  PageTexts,
  Remembered,
  StrategyName,
} from '../protocol.js';

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
 */
export interface Strategy<C extends Cursor = Cursor> {
  readonly name: StrategyName;
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
   * @throws {UnfollowableError} when the source's page tokens run in a circle, or a page cannot be gone on from.
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

  /** The cursor after the source refused the page size and named its maximum; absent where no size is sent. */
  lowerPageSize?(cursor: C, maximum: number): C;

  /** The cursor under the names that the reference connector uses in its state. */
  state(cursor: C): { [name: string]: Json };
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
      `the source's page token ${JSON.stringify(token.slice(0, 200))} came round again: its pages run in a circle`,
    );
  }
}
