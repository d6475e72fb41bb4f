/**
 * Finds the values of staged records as bytes. The records were validated when they were read, so only the bounds of
 * each value are looked for. Records of one API are written alike: what stands between two values is compared with what
 * stood there in the record before.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const SPACE = 0x20;
const SMALL_N = 0x6e;

/** Longer leads are not remembered. */
const LEAD_LIMIT = 1024;
/** The start of a value that is not there, or null: no value stands at the start of the bytes. */
export const NOTHING = 0;

/** Numbers for places to begin with. */
const FIRST_PLACES = 64 * 1024;

const CUT_SHORT = 'a staged record is truncated';

const isBetween = (c: number) => c <= SPACE || c === COMMA;

/** The bytes before a value, from the end of the one before, and the column that the value is of. */
interface Lead {
  bytes: Uint8Array;
  /** -1 for a member without a column. */
  column: number;
}

/** The places of the values of records. */
export class RecordSpans {
  /** How many records there are. */
  rows = 0;
  /** Length of the longest record. */
  longest = 0;
  /** For each record and column: start and end; the end is negative where the value is a string with an escape. */
  places: Int32Array;

  private readonly columns: ReadonlyMap<string, number>;
  private readonly layout: Lead[] = [];
  private b: Uint8Array = new Uint8Array();
  private p = 0;

  /**
   * @param names of the columns.
   * @param places memory, used again; it grows up to the limit.
   * @param limit of values, there or not.
   */
  constructor(
    names: readonly string[],
    places: Int32Array,
    private readonly limit: number,
  ) {
    this.columns = new Map(names.map((name, i) => [name, i]));
    this.places = places;
  }

  /**
   * Adds the records in bytes: whole lines, or items of a list.
   * @returns the place of the first record that has no room; the end where all have.
   */
  add(bytes: Uint8Array, from: number, end: number): number {
    this.b = bytes;
    this.p = from;
    const stride = this.columns.size * 2;
    for (;;) {
      while (this.p < end && isBetween(bytes[this.p] as number)) this.p++;
      if (this.p >= end) return end;
      if (!this.makeRoom(stride)) return this.p;
      const start = this.p;
      this.places.fill(NOTHING, this.rows * stride, (this.rows + 1) * stride);
      this.readRecord(this.rows * stride, end);
      this.rows++;
      if (this.p - start > this.longest) this.longest = this.p - start;
    }
  }

  /** @returns whether there is room for the values of one more record; one alone always has room. */
  private makeRoom(stride: number): boolean {
    const needed = (this.rows + 1) * stride;
    if (this.rows > 0 && needed > this.limit * 2) return false;
    if (needed <= this.places.length) return true;
    const length = Math.min(Math.max(this.places.length * 2, FIRST_PLACES), this.limit * 2);
    const places = new Int32Array(Math.max(needed, length));
    places.set(this.places.subarray(0, this.rows * stride));
    this.places = places;
    return true;
  }

  /** Reads a record, from its `{` to after its `}`. */
  private readRecord(base: number, end: number): void {
    const { b, layout, places } = this;
    for (let place = 0; ; place++) {
      const column = this.matches(layout[place]) ?? this.readLead(place);
      if (column === null) return;
      // The same lead with more space behind it.
      if ((b[this.p] as number) <= SPACE) this.skipSpace();
      const start = this.p;
      const first = b[start];
      let isEscaped = false;
      if (first === QUOTE) isEscaped = this.skipString();
      else if (first === OPEN_OBJECT || first === OPEN_ARRAY) this.skipContainer();
      else this.skipScalar();
      if (this.p > end) throw new Error(CUT_SHORT);
      if (column >= 0) {
        const at = base + column * 2;
        places[at] = first === SMALL_N ? NOTHING : start;
        places[at + 1] = isEscaped ? -this.p : this.p;
      }
      if (b[this.p] === COMMA) continue;
      while ((b[this.p] as number) <= SPACE) this.p++;
      if (b[this.p] === COMMA) continue;
      if (b[this.p] !== CLOSE_OBJECT) throw new Error(CUT_SHORT);
      this.p++;
      return;
    }
  }

  /** Steps over the lead that is expected here. @returns its column; undefined if something else stands here. */
  private matches(lead: Lead | undefined): number | undefined {
    if (lead === undefined) return undefined;
    const { b, p } = this;
    const { bytes } = lead;
    for (let i = 0; i < bytes.length; i++) if (b[p + i] !== bytes[i]) return undefined;
    this.p += bytes.length;
    return lead.column;
  }

  /** Reads a lead and remembers it. @returns its column; null at the end of an empty record. */
  private readLead(place: number): number | null {
    const { b } = this;
    const start = this.p;
    this.p++;
    this.skipSpace();
    if (b[this.p] === CLOSE_OBJECT) {
      this.p++;
      return null;
    }
    const named = this.p;
    this.skipString();
    const name = JSON.parse(Buffer.from(b.subarray(named, this.p)).toString('utf8')) as string;
    this.skipSpace();
    // Skips the colon.
    this.p++;
    this.skipSpace();
    const column = this.columns.get(name) ?? -1;
    if (this.p - start <= LEAD_LIMIT) this.layout[place] = { bytes: b.slice(start, this.p), column };
    return column;
  }

  private skipSpace(): void {
    while ((this.b[this.p] as number) <= SPACE) this.p++;
  }

  private skipScalar(): void {
    const { b } = this;
    let { p } = this;
    let c = b[p] as number;
    while (c > SPACE && c !== COMMA && c !== CLOSE_OBJECT && c !== CLOSE_ARRAY) c = b[++p] as number;
    this.p = p;
  }

  /** @returns whether it holds an escape. */
  private skipString(): boolean {
    const { b } = this;
    let p = this.p + 1;
    let isEscaped = false;
    for (;;) {
      const c = b[p];
      if (c === QUOTE) break;
      if (c === BACKSLASH) {
        isEscaped = true;
        p++;
      } else if (c === undefined) throw new Error(CUT_SHORT);
      p++;
    }
    this.p = p + 1;
    return isEscaped;
  }

  private skipContainer(): void {
    const { b } = this;
    let depth = 0;
    for (;;) {
      const c = b[this.p];
      if (c === undefined) throw new Error(CUT_SHORT);
      if (c === QUOTE) {
        this.skipString();
        continue;
      }
      this.p++;
      if (c === OPEN_OBJECT || c === OPEN_ARRAY) depth++;
      else if ((c === CLOSE_OBJECT || c === CLOSE_ARRAY) && --depth === 0) return;
    }
  }
}
