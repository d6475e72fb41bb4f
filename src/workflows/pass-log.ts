import type { EndRule, PassSummary } from '../protocol.js';

const PASSES_KEPT = 5;
const WRITES_KEPT = 6;

/** State for the next run. */
export interface PassLogCarry {
  began: number | null;
  completeAsOf: string | null;
  recent: PassSummary[];
}

/** Keeps when passes began and ended, and how fast they are. */
export class PassLog {
  /** Null where it is not known when the current pass began: another sync has begun it. */
  private began: number | null;
  completeAsOf: string | null;
  /** The latest first. */
  recent: PassSummary[];
  private writes: { at: number; records: number }[] = [];

  constructor({ began, completeAsOf, recent }: PassLogCarry) {
    this.began = began;
    this.completeAsOf = completeAsOf;
    this.recent = recent;
  }

  beginPass(): void {
    this.began = Date.now();
    this.writes = [{ at: this.began, records: 0 }];
  }

  /** Forgets the current pass, after a move. */
  forgetPass(): void {
    this.began = null;
    this.writes = [];
  }

  recordWrite(records: number): void {
    this.writes = [...this.writes, { at: Date.now(), records }].slice(-WRITES_KEPT);
  }

  /** @param isWhole the table held all that the source had when the pass began; false for a range. */
  endPass(
    endRule: EndRule | null,
    counts: { pages: number; records: number; rows: number; deleted: number },
    isWhole = true,
  ): void {
    const { pages, records, rows, deleted } = counts;
    const { began } = this;
    const seconds = began === null ? null : Math.round((Date.now() - began) / 100) / 10;
    if (began !== null && isWhole) this.completeAsOf = new Date(began).toISOString();
    const summary = { ended: new Date().toISOString(), endRule, seconds, pages, records, rows, deleted };
    this.recent = [summary, ...this.recent].slice(0, PASSES_KEPT);
    this.began = null;
  }

  /** Records per second over the last batches, waits included; null before there are two. */
  recordsPerSecond(): number | null {
    const [first, ...others] = this.writes;
    const last = others.at(-1);
    if (first === undefined || last === undefined || last.at === first.at) return null;
    const records = others.reduce((sum, write) => sum + write.records, 0);
    return Math.round((records * 1000) / (last.at - first.at));
  }

  carry(): PassLogCarry {
    const { began, completeAsOf, recent } = this;
    return { began, completeAsOf, recent };
  }
}
