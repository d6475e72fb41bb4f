import type { Destination, ParentRow } from '../destinations/destination.js';
import type { Cursor, PageRequest, ParentSpec, StreamKey } from '../protocol.js';
import type { PerParentCursor, PerParentStrategy } from '../strategies/index.js';

/** Parents that are read from their table at once. */
const PARENTS_AT_ONCE = 500;

/** Leads a strategy from one row of the parent's table to the next. */
export class ParentWalk {
  private waiting: ParentRow[] = [];
  /** The last of those that were read. */
  private readTo: string[] | null = null;
  private isLast = false;
  /** Pages of the parent in hand, and of the one before it. */
  private pages = { now: 1, before: 1 };
  /** One for all: a bound that is asked for by it is the same when its request is sent ahead and when its turn comes. */
  private readonly now = new Date().toISOString();

  constructor(
    private readonly strategy: PerParentStrategy,
    private readonly destination: Destination,
    private readonly key: StreamKey,
    private readonly parent: ParentSpec,
  ) {}

  /** The cursor in front of a page, or at the end; null while the parents have not been read themselves. */
  async enter(cursor: Cursor): Promise<Cursor | null> {
    let at = cursor as PerParentCursor;
    if (at.position?.parent == null) this.pages = { now: 1, before: this.pages.now };
    else this.pages.now++;
    while (at.ended === null && at.position?.parent === null) {
      const row = await this.take(at.position.after);
      if (row === 'not read yet') return null;
      at = this.strategy.enter(at, row, row?.mark ?? null, this.now);
      // A pass that ends before its first page (an empty range of ids) is over at once.
      if (row === null) break;
    }
    return at;
  }

  /** The first requests for the parents that come next. */
  ahead(cursor: Cursor, count: number): PageRequest[] {
    // Where parents have several pages, what follows is more likely this one's next page: guesses would be thrown away.
    if (this.pages.now > 1 || this.pages.before > 1) return [];
    return this.waiting
      .slice(0, count)
      .flatMap((row) => this.strategy.firstRequest(cursor as PerParentCursor, row, row.mark, this.now) ?? []);
  }

  private async take(after: string[] | null): Promise<ParentRow | null | 'not read yet'> {
    // A page that is undone leads back.
    if (JSON.stringify(after) !== JSON.stringify(this.readTo)) {
      this.waiting = [];
      this.isLast = false;
    }
    if (this.waiting.length === 0 && !this.isLast) {
      const rows = await this.destination.parents({
        key: this.key,
        parent: this.parent,
        after,
        limit: PARENTS_AT_ONCE,
      });
      if (rows === null) return 'not read yet';
      this.waiting = rows;
      this.isLast = rows.length < PARENTS_AT_ONCE;
    }
    const row = this.waiting.shift() ?? null;
    this.readTo = row?.key ?? after;
    return row;
  }
}
