import { crc32 } from 'node:zlib';
import type { Cursor, PageRecords, PageSummary } from '../protocol.js';
import type { PageAnswer } from '../sources/source.js';
import { isComparedUnordered, pagesBehind, type Strategy } from '../strategies/index.js';

/** Bytes at each end of a part of a page that its checksum is made of. */
const PROBED_BYTES = 512;

/** A digest of lines that does not depend on their order. */
class LinesDigest {
  private sum = 0;
  private mixed = 0;

  add(lines: Buffer): void {
    for (let start = 0; start < lines.length;) {
      const found = lines.indexOf(NEWLINE, start);
      const end = found === -1 ? lines.length : found;
      const line = crc32(lines.subarray(start, end));
      this.sum += line;
      this.mixed ^= Math.imul(line, 0x9e3779b1);
      start = end + 1;
    }
  }

  text = (): string => `${this.sum.toString(36)} ${this.mixed.toString(36)}`;
}

const NEWLINE = 0x0a;

/** Gathers the keys and values of a page for the strategy, condensed part by part where the strategy can. */
export class PageRecordsRead {
  private keys: string[] = [];
  private values: (string | null)[] = [];
  private records = 0;
  private first: number | null = null;
  private last = 0;
  private readonly digest: LinesDigest | null;

  constructor(
    private readonly strategy: Strategy,
    private readonly cursor: Cursor,
  ) {
    this.digest = isComparedUnordered(pagesBehind(cursor.position)) ? new LinesDigest() : null;
  }

  /** Records so far. */
  get count(): number {
    return this.records;
  }

  /** @param lines the records that are kept, as text; with a transform, all of them, as they were sent. */
  addPart(part: PageRecords, lines: Buffer): void {
    this.records += part.records;
    if (lines.length > 0) {
      this.first ??= crc32(lines.subarray(0, PROBED_BYTES));
      this.last = crc32(lines.subarray(-PROBED_BYTES));
      this.digest?.add(lines);
    }
    this.keys = this.keys.concat(part.keys);
    this.values = this.values.concat(part.values);
    const condensed = this.strategy.condense?.(this.cursor, { keys: this.keys, values: this.values });
    if (condensed !== undefined) {
      this.keys = [...condensed.keys];
      this.values = [...condensed.values];
    }
  }

  summary({
    undeclared: _,
    remarks: _remarks,
    dropped: _dropped,
    named: _named,
    ...said
  }: PageAnswer): PageSummary {
    const probe =
      this.first === null ? {} : { probe: `${this.first.toString(36)} ${this.last.toString(36)}` };
    const unordered = this.digest === null ? {} : { unordered: this.digest.text() };
    return { keys: this.keys, values: this.values, records: this.records, ...probe, ...unordered, ...said };
  }
}
