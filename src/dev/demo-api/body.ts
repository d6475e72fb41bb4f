import { SEPARATOR } from './render.js';

/** Size of the buffers of records; no record spans two. */
export const SEGMENT_BYTES = 4 * 1024 * 1024;

const COPY_BELOW = 16 * 1024;
const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/**
 * The records of an answer at the time when it is made. Buffers are append-only, so an answer under way survives
 * changes to the data.
 */
export class Body {
  static readonly EMPTY = new Body([], new Float64Array(0), new Uint16Array(0), null);

  /** Bytes of the list without its brackets. */
  readonly bytes: number;
  readonly #segments: readonly Buffer[];
  readonly #starts: Float64Array;
  readonly #lengths: Uint16Array;
  readonly #prefixes: readonly string[] | null;

  /**
   * @param starts offsets of the records, counted over all segments.
   * @param lengths length of each record with its separator.
   * @param prefixes text before each record (ASCII).
   */
  constructor(
    segments: readonly Buffer[],
    starts: Float64Array,
    lengths: Uint16Array,
    prefixes: readonly string[] | null,
  ) {
    this.#segments = segments;
    this.#starts = starts;
    this.#lengths = lengths;
    this.#prefixes = prefixes;
    let bytes = starts.length > 0 ? -SEPARATOR : 0;
    for (const length of lengths) bytes += length;
    for (const prefix of prefixes ?? []) bytes += prefix.length;
    this.bytes = bytes;
  }

  get records(): number {
    return this.#starts.length;
  }

  /** Yields the list without its brackets. Adjacent records are one slice; small pieces are copied together. */
  *chunks(): Iterable<Buffer> {
    const count = this.records;
    let chunk: Buffer | null = null;
    let filled = 0;
    let left = this.bytes;
    let i = 0;
    while (i < count) {
      const prefix = this.#prefixes?.[i] ?? '';
      const start = this.#starts[i] as number;
      let end = start + (this.#lengths[i++] as number);
      if (this.#prefixes === null) {
        const limit = (Math.floor(start / SEGMENT_BYTES) + 1) * SEGMENT_BYTES;
        while (i < count && this.#starts[i] === end && end < limit) end += this.#lengths[i++] as number;
      }
      if (i === count) end -= SEPARATOR;
      const run = this.#slice(start, end);
      const size = prefix.length + run.length;
      if (chunk !== null && filled + size > chunk.length) {
        yield chunk.subarray(0, filled);
        left -= filled;
        chunk = null;
      }
      if (chunk === null && run.length >= COPY_BELOW) {
        yield run;
        left -= size;
        continue;
      }
      if (chunk === null) {
        chunk = Buffer.allocUnsafe(Math.max(size, Math.min(CHUNK_BYTES, left)));
        filled = 0;
      }
      if (prefix !== '') filled += chunk.write(prefix, filled, 'latin1');
      chunk.set(run, filled);
      filled += run.length;
    }
    if (chunk !== null) yield chunk.subarray(0, filled);
  }

  /** Yields the records, one per line. */
  *lines(): Iterable<Buffer> {
    let chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let filled = 0;
    for (let i = 0; i < this.records; i++) {
      const prefix = this.#prefixes?.[i] ?? '';
      const start = this.#starts[i] as number;
      const record = this.#slice(start, start + (this.#lengths[i] as number) - SEPARATOR);
      if (filled + prefix.length + record.length + 1 > chunk.length) {
        yield chunk.subarray(0, filled);
        chunk = Buffer.allocUnsafe(CHUNK_BYTES);
        filled = 0;
      }
      filled += chunk.write(prefix, filled, 'latin1');
      chunk.set(record, filled);
      filled += record.length;
      chunk[filled++] = NEWLINE;
    }
    yield chunk.subarray(0, filled);
  }

  #slice(start: number, end: number): Buffer {
    const segment = Math.floor(start / SEGMENT_BYTES);
    const base = segment * SEGMENT_BYTES;
    return (this.#segments[segment] as Buffer).subarray(start - base, end - base);
  }
}
