import type { Destination, ParentRow } from '../destinations/destination.js';
import type { Cursor, PageRequest, PageSummary, ParentSpec, StreamKey } from '../protocol.js';
import type { PassMemory } from '../sources/in-flight.js';
import type { PerParentCursor, PerParentStrategy } from '../strategies/index.js';

/** Parents that are read from their table at once. */
const PARENTS_AT_ONCE = 500;

/** Leads a strategy from one row of the parent's table to the next. */
export class ParentWalk {
  private waiting: ParentRow[] = [];
  /** The last of those that were read. */
  private readTo: string[] | null = null;
  private isLast = false;

  /** @param memory of the calls before, too: what was sent ahead by one is asked in the same words by the next. */
  constructor(
    private readonly strategy: PerParentStrategy,
    private readonly destination: Destination,
    private readonly key: StreamKey,
    private readonly parent: ParentSpec,
    private readonly memory: PassMemory,
  ) {}

  /** The cursor in front of a page, or at the end; null while the parents have not been read themselves. */
  async enterParent(cursor: Cursor): Promise<Cursor | null> {
    let at = cursor as PerParentCursor;
    const { memory } = this;
    if (at.position?.parent == null) [memory.read, memory.remaining] = [{ pages: 0, records: 0 }, 0];
    while (at.ended === null && at.position?.parent === null) {
      const row = await this.takeParent(at.position.after);
      if (row === 'not read yet') return null;
      at = this.strategy.enter(at, row, row?.mark ?? null, this.memory.began);
      // A pass that ends before its first page (an empty range of ids) is over at once.
      if (row === null) break;
    }
    return at;
  }

  /** Takes note of how many pages follow for the same parent, where an answer says so. */
  countPage({ total, totalPages, records }: PageSummary): void {
    const { memory } = this;
    if (memory.read === null) return;
    const read = { pages: memory.read.pages + 1, records: memory.read.records + records };
    const byPages = (totalPages ?? 0) - read.pages;
    const byRecords = records === 0 ? 0 : Math.ceil(((total ?? 0) - read.records) / records);
    memory.read = read;
    memory.remaining = Math.max(0, totalPages == null ? byRecords : byPages);
  }

  /**
   * Returns the requests that will follow for certain: pages of this parent that are known to be there, and the first
   * requests for the parents that come next. A guess would be wasted once for each parent.
   */
  ahead(cursor: Cursor, count: number): PageRequest[] {
    const guessed = this.strategy.ahead?.(cursor as PerParentCursor, count) ?? [];
    // Page numbers go on for ever: only those that the source has spoken of are there.
    const own =
      this.strategy.name === 'page_number'
        ? guessed.slice(0, Math.max(0, this.memory.remaining - 1))
        : guessed;
    const others = this.waiting
      .slice(0, count - own.length)
      .flatMap(
        (row) =>
          this.strategy.firstRequest(cursor as PerParentCursor, row, row.mark, this.memory.began) ?? [],
      );
    return [...own, ...others];
  }

  private async takeParent(after: string[] | null): Promise<ParentRow | null | 'not read yet'> {
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
