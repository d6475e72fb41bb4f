import type { PageRecords, Reject } from '../protocol.js';
import { withCursorValues, type CursorFields } from './cursor-values.js';
import type { Origins } from './origins.js';
import type { SharedRowKeys } from './shared-keys.js';
import type { RecordPart, RecordSink } from './source.js';
import type { Watch } from './transport.js';

/** Decides whether a record is meant. `place`: its number in the list, after the offset that was asked for. */
export type Within = (record: { key: string; value: string | null; place: number }) => boolean;

export interface PartOptions {
  /** Absent where a record has one cursor field, which the scanner reads. */
  cursorFields: CursorFields | undefined;
  /** Absent where all records are meant. */
  within: Within | undefined;
  /** Whether a filter keeps each record, in order; grows while the body is read. Null where no filter is. */
  filtered: readonly boolean[] | null;
  /** Place of the first record. */
  firstPlace: number;
  /** The records that a transform makes the rows of; absent: each row is a record. */
  origins?: Origins;
  /** Is told the keys of the rows that a transform made. */
  sharedRows?: SharedRowKeys;
}

/** Makes parts for a sink of scanned records: without those that a filter left out, or that are not meant. */
export class PartMaker {
  private rejects: Reject[] = [];
  private filteredTo = 0;
  private place: number;

  constructor(private readonly options: PartOptions) {
    this.place = options.firstPlace;
  }

  addReject(reject: Reject): void {
    this.rejects.push(reject);
  }

  /**
   * @param lines the records as newline-delimited JSON, without those that were rejected.
   * @param rejected the places of those in `scanned`.
   */
  makePart(lines: Buffer, scanned: PageRecords, rejected: readonly number[], longest: number): RecordPart {
    const { cursorFields, within, filtered, origins } = this.options;
    if (origins !== undefined) return this.makePartOf(origins, lines, scanned, rejected, longest);
    const records =
      cursorFields === undefined ? scanned : withCursorValues(lines, scanned, rejected, cursorFields);
    const wanted = filtered?.slice(this.filteredTo, (this.filteredTo += records.records)) ?? null;
    // A record that the filter left out need not fit.
    const rejects = this.rejects.filter((_, i) => wanted?.[rejected[i] ?? 0] !== false);
    this.rejects = [];
    const isRejected = new Set(rejected);
    const kept = wanted?.filter((_, i) => !isRejected.has(i)) ?? null;
    const first = this.place;
    this.place += records.records;
    if (within === undefined) {
      return {
        lines: kept === null || !kept.includes(false) ? lines : keptLines(lines, kept),
        kept: kept === null ? records.records - rejected.length : countOf(kept),
        records,
        longest,
        rejects,
      };
    }
    const meant = records.keys
      .map((key, i) => within({ key, value: records.values[i] ?? null, place: first + i }))
      .filter((_, i) => !isRejected.has(i));
    const inside = meant.map((isMeant, i) => isMeant && kept?.[i] !== false);
    const outside = meant.map((isMeant, i) => !isMeant && kept?.[i] !== false);
    return {
      lines: keptLines(lines, inside),
      kept: countOf(inside),
      records,
      longest,
      rejects,
      outside: { lines: keptLines(lines, outside), records: countOf(outside) },
    };
  }

  /** Makes a part of rows that a transform made: it counts the records that these were made of. */
  private makePartOf(
    origins: Origins,
    lines: Buffer,
    scanned: Pick<PageRecords, 'records' | 'keys'>,
    rejected: readonly number[],
    longest: number,
  ): RecordPart {
    const { within, firstPlace, sharedRows } = this.options;
    const { owners, done } = origins.take(scanned.records);
    sharedRows?.add(scanned.keys, owners);
    const { rejects } = this;
    this.rejects = [];
    const part = {
      lines,
      kept: scanned.records - rejected.length,
      records: {
        records: done.length,
        keys: done.map(({ key }) => key),
        values: done.map(({ value }) => value),
      },
      longest,
      rejects,
      // What a page is recognised by goes into cursors.
      ...(!origins.options.withholds && { sent: Buffer.from(done.map(({ text }) => text).join('\n')) }),
    };
    if (within === undefined) return part;
    const isRejected = new Set(rejected);
    const inside = owners
      .map(({ key, value, place }) => within({ key, value, place: firstPlace + place }))
      .filter((_, i) => !isRejected.has(i));
    const outside = inside.map((isMeant) => !isMeant);
    return {
      ...part,
      lines: keptLines(lines, inside),
      kept: countOf(inside),
      outside: { lines: keptLines(lines, outside), records: countOf(outside) },
    };
  }

  /** Makes a part of the records at the end of an answer of which a transform made no row; null if there are none. */
  makeLastPart(longest: number): RecordPart | null {
    const { origins } = this.options;
    if (origins === undefined) return null;
    const part = this.makePartOf(origins, Buffer.alloc(0), { records: 0, keys: [] }, [], longest);
    return part.records.records === 0 ? null : part;
  }
}

const countOf = (kept: readonly boolean[]) => kept.filter(Boolean).length;

/** Returns the lines of the records that are kept. */
function keptLines(lines: Buffer, kept: readonly boolean[]): Buffer {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const isKept of kept) {
    const end = lines.indexOf(0x0a, from);
    const line = lines.subarray(from, end === -1 ? lines.length : end);
    if (isKept) {
      if (pieces.length > 0) pieces.push(LINE_END);
      pieces.push(line);
    }
    from += line.length + 1;
  }
  return Buffer.concat(pieces);
}

const LINE_END = Buffer.from('\n');

/** Hands parts to a sink, and holds the scanner back until the sink has taken them. */
export class SinkQueue {
  private pending: Promise<void>[] = [];

  constructor(
    private readonly sink: RecordSink,
    private readonly watch: Watch,
  ) {}

  addPart(part: RecordPart): void {
    this.pending.push(this.sink(part));
  }

  /** Does work that adds parts, then waits until the sink has taken them, also where the work throws. */
  async settleAfter<T>(work: () => T): Promise<T> {
    try {
      return work();
    } finally {
      const { pending } = this;
      this.pending = [];
      // A slow sink holds the socket back: nothing is read meanwhile.
      this.watch.pause();
      await Promise.all(pending);
      this.watch.touch();
    }
  }
}
