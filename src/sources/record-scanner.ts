import { isUtf8 } from 'node:buffer';
import type { PageRecords, Reject, Remembered } from '../protocol.js';
import { absentMember, JsonDocument, valueAt, type Mask } from './paths.js';
import { ABSENT, NULL, RecordWalker, type Place } from './record-walker.js';

/**
 * Cuts the records out of a JSON body of any size, as bytes: they go to staging as they came, so that no number
 * loses a digit and memory does not grow with the body. It checks JSON's grammar on the way, and takes the exact
 * text of the primary key and the cursor field from each record.
 *
 * Why not a library: JSON.parse needs the whole body and rounds numbers beyond 2^53; the streaming parsers that
 * keep the raw text build every value in JavaScript and cost more than ten times as much a record.
 */
export interface ScannerOptions {
  /** The members on the way to the list of records; none where the body is that list. */
  records: readonly string[];
  primaryKey: readonly string[];
  cursorField: string;
  /** Names that have a column; others are reported in `undeclared`. */
  columns: readonly string[];
  /**
   * Who reads the records may take a number with a fraction or an exponent for a double. Of the columns in `text` it
   * becomes a JSON string of the same digits; of those in `whole` too, unless it is a whole number all the same. Of
   * those in `double` it is refused where it lies beyond what a double can be.
   */
  exact?: ExactColumns;
  /** Whose text is made for the sink; everything unless told. */
  remembers?: Remembered;
  /** The longest record that is taken, in bytes. */
  recordLimit: number;
  /** Hides secrets in what an error shows of the body; before it is cut short, lest half a secret stay. */
  mask?: Mask;
  /**
   * Receives records as newline-delimited JSON, each line ended. They stand in the bytes that were pushed.
   * @param rejects places, among these records, of those that `lines` does not hold.
   */
  sink: (lines: Buffer, records: PageRecords, rejects: readonly number[]) => void;
  /** Takes a record that cannot be stored; where absent, it is an error. */
  reject?: (reject: Reject) => void;
  /** Whether records like those before them are left to WebAssembly, as they are unless told. */
  walks?: boolean;
}

/** Columns whose numbers need care, by the kind of it. */
export interface ExactColumns {
  text: readonly string[];
  whole: readonly string[];
  double: readonly string[];
}

/** The body is not what a page should be; `at` counts records read before. */
export class ScanError extends Error {
  constructor(
    message: string,
    readonly kind: 'shape' | 'record',
    /** The body without a list of records: parsed where it is JSON, else its text. */
    readonly body?: { value: unknown } | { text: string },
  ) {
    super(message);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const NEWLINE = 0x0a;
const SPACE = 0x20;

const DEPTH_LIMIT = 200;
/** All of the body that is not records. */
const ENVELOPE_LIMIT = 4 * 1024 * 1024;
const UNDECLARED_LIMIT = 20;
/** Of an undeclared name no more than this is told. */
const UNDECLARED_LENGTH = 100;
/** Longer names are not remembered from one record to the next. */
const REMEMBERED_LENGTH = 1024;
/** Keys and cursor values go into cursors, which history holds. */
const KEY_LIMIT = 4096;
const KINDS = ['text', 'whole', 'double'] as const;
/** Stands for the records in the envelope: a second list of records would take its place. */
const STAND_IN = '0';

/** Thrown (as a constant, for speed) when a value goes on beyond the bytes at hand. */
const MORE = Symbol('more');

interface Field {
  bytes: Buffer;
  /** Which part of the primary key it is, or -1. */
  keyPart: number;
  isCursor: boolean;
  /** How a number with a fraction or an exponent is kept. */
  exact: keyof ExactColumns | null;
}

const nowhere = (): Place => ({ start: ABSENT, end: ABSENT, escaped: false });

export class RecordScanner {
  /** Records read so far. */
  count = 0;
  readonly undeclared = new Set<string>();
  /** Length of the longest record. */
  longest = 0;

  /** Of the records since the sink was called last, what is remembered. */
  private keys: string[] = [];
  private values: (string | null)[] = [];
  private readonly remembers: Remembered;
  private phase: 'before' | 'first' | 'next' | 'after' = 'before';
  private pending: Buffer | null = null;
  /** Do not look again at a value cut by the end of a chunk before this many bytes are there. */
  private wanted = 0;
  private envelope: Buffer[] = [];
  private envelopeBytes = 0;
  /** Whether null stands in place of the list of records. */
  private isNull = false;

  private b: Buffer = Buffer.alloc(0);
  /** Whether these bytes are nobody else's. */
  private isOwn = false;
  private p = 0;
  private readonly fields = new Map<string, Field>();
  /**
   * The field met at each place in the last record, and the bytes from its name up to its value: records of one API
   * name their members in one order, and are written in one way.
   */
  private readonly layout: { field: Field; lead: Buffer }[] = [];
  private readonly walker: RecordWalker | null;
  /** Where the parts of the primary key stand: of the record in hand, and of the last whole one. */
  private parts: Place[];
  private lastParts: Place[];
  private readonly cursorValue = nowhere();
  /** Whether the number just read had a fraction or an exponent. */
  private fraction = false;
  /** A number in the record in hand that its column cannot hold: said once the record's key is known. */
  private beyond: { name: string; text: string } | null = null;
  /** Where quotes belong, ascending, in the bytes at hand: begin and end of each number that becomes text. */
  private quotes: number[] = [];

  constructor(private readonly options: ScannerOptions) {
    this.remembers = options.remembers ?? { keys: 'all', values: 'all' };
    this.walker = options.walks === false ? null : RecordWalker.of(options.primaryKey.length);
    this.parts = options.primaryKey.map(nowhere);
    this.lastParts = options.primaryKey.map(nowhere);
    for (const name of options.columns) this.field(name, true);
  }

  /** Takes the next bytes of the body; they are changed in place, and not looked at any more once the sink has got them. */
  push(chunk: Buffer): void {
    this.isOwn = this.pending !== null;
    this.b = this.pending === null ? chunk : Buffer.concat([this.pending, chunk]);
    this.pending = null;
    this.quotes = [];
    this.p = 0;
    if (this.b.length < this.wanted) {
      this.pending = this.b;
      return;
    }
    this.wanted = 0;
    if (this.phase === 'before') this.findRecords();
    if (this.phase === 'first' || this.phase === 'next') this.readRecords();
    if (this.phase === 'after') {
      this.keepEnvelope(this.b.subarray(this.p));
    }
  }

  /**
   * Ends the body.
   * @returns the body without its records; undefined is its value where it is empty.
   */
  end(): JsonDocument {
    if (this.wanted > 0) {
      // The last bytes were too few to be worth a look; now they are all there are.
      this.wanted = 0;
      this.push(Buffer.alloc(0));
    }
    if (this.phase === 'first' || this.phase === 'next') {
      throw new ScanError(`the body ends in the middle of its records, after ${this.count} of them`, 'shape');
    }
    if (this.phase === 'before') {
      if (this.bodyText() === '') return new JsonDocument(undefined, '');
      throw this.noRecords();
    }
    const text = Buffer.concat(this.envelope).toString('utf8');
    let envelope: unknown;
    try {
      envelope = JSON.parse(text);
    } catch {
      throw new ScanError('the body is not valid JSON behind its records', 'shape');
    }
    const list = valueAt(envelope, this.options.records);
    if (this.isNull ? list !== null : JSON.stringify(list) !== `[${STAND_IN}]`) {
      throw new ScanError(`the body has the member ${this.recordsName()} twice`, 'shape');
    }
    if (!this.isNull) (list as unknown[]).length = 0;
    return new JsonDocument(envelope, text);
  }

  private recordsName(): string {
    return JSON.stringify(this.options.records.join('.'));
  }

  /** The body so far, while no records have been found in it. */
  private bodyText(): string {
    return (this.pending ?? this.b).toString('utf8').trim();
  }

  /**
   * Says why there is no list of records, from the whole body, which is small here or not JSON at all.
   * @param found what is wrong where there is such a list after all.
   */
  private noRecords(found?: ScanError): ScanError {
    const text = this.bodyText();
    if (text === '') return new ScanError('the body is empty', 'shape');
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      const html = /^<(!doctype|html|\?xml)/i.test(text);
      return new ScanError(
        `the body is ${html ? 'HTML or XML' : 'not valid JSON'}: ${this.shown(text, 120)}`,
        'shape',
        { text },
      );
    }
    const { records, mask = plain } = this.options;
    const list = valueAt(value, records);
    if (found !== undefined && Array.isArray(list)) return found;
    const absent = list === undefined ? absentMember(value, records, mask) : null;
    const name = records.length === 0 ? 'the body' : this.recordsName();
    return new ScanError(absent ?? `${name} is not a list of records`, 'shape', { value });
  }

  /** Walks the body up to the `[` of its records. */
  private findRecords(): void {
    try {
      if (this.b[0] === 0xef && this.b.length < 3) throw MORE;
      if (this.b[0] === 0xef && this.b[1] === 0xbb && this.b[2] === 0xbf) this.p = 3;
      const start = this.p;
      this.space();
      for (const member of this.options.records) this.enter(member);
      if (this.byte() === 0x6e) {
        this.literal('null');
        this.isNull = true;
        this.keepEnvelope(this.b.subarray(start, this.p));
        this.phase = 'after';
        return;
      }
      if (this.byte() !== OPEN_ARRAY) throw this.noRecords();
      this.p++;
      this.keepEnvelope(this.b.subarray(start, this.p));
      this.keepEnvelope(Buffer.from(STAND_IN));
      this.phase = 'first';
    } catch (thrown) {
      if (thrown === MORE) {
        if (this.b.length > ENVELOPE_LIMIT) {
          throw new ScanError(`no list of records within the first ${ENVELOPE_LIMIT} bytes`, 'shape');
        }
        this.keep(0, ENVELOPE_LIMIT);
        return;
      }
      if (thrown instanceof ScanError) {
        this.pending = this.b;
        throw this.noRecords(thrown);
      }
      throw thrown;
    }
  }

  /** Walks the object at hand up to the value of a member. */
  private enter(member: string): void {
    this.expect(OPEN_OBJECT, 'an object');
    this.space();
    if (this.byte() === CLOSE_OBJECT) throw this.noRecords();
    for (;;) {
      const name = this.text();
      this.space();
      this.expect(COLON, '":"');
      this.space();
      if (name === member) return;
      this.value(1);
      this.space();
      if (this.byte() === CLOSE_OBJECT) throw this.noRecords();
      this.expect(COMMA, '","');
      this.space();
    }
  }

  private readRecords(): void {
    const b = this.b;
    let lineStart = -1;
    let lineEnd = -1;
    let count = 0;
    const rejects: number[] = [];
    let resume = this.p;
    /** What stood between two records (a comma, spaces) becomes one line end, in place. */
    const line = (start: number, end: number): void => {
      if (lineStart === -1) lineStart = start;
      else {
        b[lineEnd] = NEWLINE;
        for (let i = lineEnd + 1; i < start; i++) b[i] = SPACE;
      }
      lineEnd = end;
      count++;
    };
    try {
      for (;;) {
        if (this.phase === 'next') this.walkRecords(line);
        resume = this.p;
        this.space();
        let c = this.byte();
        if (c === CLOSE_ARRAY) {
          this.phase = 'after';
          break;
        }
        if (this.phase === 'next') {
          this.expect(COMMA, '"," or "]"');
          this.space();
          c = this.byte();
        }
        const start = this.p;
        if (c !== OPEN_OBJECT) {
          throw new ScanError(`record ${this.count} is not an object: ${this.glimpse()}`, 'shape');
        }
        const quotes = this.quotes.length;
        if (!this.accepted(start, quotes)) {
          rejects.push(count++);
          this.phase = 'next';
          continue;
        }
        const length = this.p - start + this.quotes.length - quotes;
        if (length > this.options.recordLimit) throw this.tooLong(this.count - 1);
        if (length > this.longest) this.longest = length;
        line(start, this.p);
        this.phase = 'next';
      }
    } catch (thrown) {
      if (thrown !== MORE) throw thrown;
      // Those of a record that is not whole yet are found again with the rest of it.
      while ((this.quotes.at(-1) ?? -1) >= resume) this.quotes.pop();
      // A comma and spaces may stand before the record.
      const limit = this.options.recordLimit + 1024;
      if (b.length - resume > limit) throw this.tooLong(this.count);
      this.keep(resume, limit);
    }
    if (count > 0) {
      const lines = lineStart === -1 ? Buffer.alloc(0) : this.quoted(lineStart, lineEnd);
      if (!isUtf8(lines)) throw this.notUtf8(lines);
      if (this.remembers.keys === 'ends' && count - rejects.length > 1)
        this.keys.push(this.key(this.lastParts));
      const { keys, values } = this;
      this.keys = [];
      this.values = [];
      this.options.sink(lines, { records: count, keys, values }, rejects);
    }
  }

  /**
   * Takes the records at hand that the walker takes, as {@link record} would.
   * @param line takes the place of each.
   */
  private walkRecords(line: (start: number, end: number) => void): void {
    const { walker, remembers, options, cursorValue } = this;
    if (walker === null) return;
    while (walker.isOfUse) {
      const walked = walker.walk(this.b, this.p);
      if (walked === 0) return;
      const { quotes } = walker;
      let quote = 0;
      for (let i = 0; i < walked; i++) {
        const [start, end] = [walker.start(i), walker.end(i)];
        const firstQuote = quote;
        while (quote < quotes.length && (quotes[quote] as number) < end) quote++;
        const length = end - start + quote - firstQuote;
        // Too long, or the text of its key may be: that is said elsewhere.
        if (length > options.recordLimit || (this.parts.length > 1 && walker.keyLength(i) > KEY_LIMIT / 2))
          return;
        for (let q = firstQuote; q < quote; q++) this.quotes.push(quotes[q] as number);
        if (length > this.longest) this.longest = length;
        this.count++;
        const isWanted = remembers.keys === 'all' || (remembers.keys === 'ends' && this.keys.length === 0);
        // The last one is asked for at the end.
        if (isWanted || remembers.keys === 'ends') walker.key(i, this.lastParts);
        if (isWanted) this.keys.push(this.key(this.lastParts));
        if (remembers.values === 'all') {
          walker.value(i, this.parts.length, cursorValue);
          this.values.push(cursorValue.start < 0 ? null : this.decoded(cursorValue));
        }
        line(start, end);
        this.p = end;
      }
    }
  }

  /** Reads a record; one that cannot be stored is put aside, where that is asked for, and the next one read. */
  private accepted(start: number, quotes: number): boolean {
    const { reject } = this.options;
    if (reject === undefined) {
      this.record();
      return true;
    }
    const [keys, values] = [this.keys.length, this.values.length];
    try {
      this.record();
      return true;
    } catch (thrown) {
      if (!(thrown instanceof ScanError) || thrown.kind !== 'record') throw thrown;
      // It may have been left in the middle.
      this.p = start;
      this.value(1);
      this.quotes.length = quotes;
      reject({ reason: thrown.message, record: this.b.toString('utf8', start, this.p) });
      // Its place is kept, so that those behind it keep theirs.
      this.keys.length = keys;
      this.values.length = values;
      if (this.remembers.keys === 'all') this.keys.push('');
      if (this.remembers.values === 'all') this.values.push(null);
      this.count++;
      return false;
    }
  }

  /** The lines at hand, with quotes round the numbers that become text. */
  private quoted(start: number, end: number): Buffer {
    const { b, quotes } = this;
    if (quotes.length === 0) return b.subarray(start, end);
    const result = Buffer.allocUnsafe(end - start + quotes.length);
    let to = 0;
    let from = start;
    for (const at of quotes) {
      to += b.copy(result, to, from, at);
      result[to++] = QUOTE;
      from = at;
    }
    b.copy(result, to, from, end);
    return result;
  }

  /** Names the record, which stands on a line of its own. */
  private notUtf8(lines: Buffer): ScanError {
    let line = lines;
    for (let start = 0; start < lines.length; start += line.length + 1) {
      const end = lines.indexOf(NEWLINE, start);
      line = lines.subarray(start, end === -1 ? lines.length : end);
      if (!isUtf8(line)) break;
    }
    this.b = line;
    this.p = 0;
    this.record();
    const key = this.shown(this.key(this.lastParts), 80);
    return new ScanError(`the body is not valid UTF-8: the record with primary key ${key} is not`, 'shape');
  }

  private tooLong(record: number): ScanError {
    return new ScanError(`record ${record} is longer than ${this.options.recordLimit} bytes`, 'record');
  }

  /** Keeps what is not read yet; no value is longer than `limit`. */
  private keep(from: number, limit: number): void {
    this.pending = from === 0 && this.isOwn ? this.b : Buffer.from(this.b.subarray(from));
    this.wanted = Math.min(this.pending.length * 2, limit + 1);
  }

  private keepEnvelope(bytes: Buffer): void {
    this.envelopeBytes += bytes.length;
    if (this.envelopeBytes > ENVELOPE_LIMIT) {
      throw new ScanError(`the body has more than ${ENVELOPE_LIMIT} bytes besides its records`, 'shape');
    }
    this.envelope.push(Buffer.from(bytes));
  }

  /** One record, from its `{` to behind its `}`. */
  private record(): void {
    const { b, parts, cursorValue, remembers } = this;
    for (const part of parts) part.start = ABSENT;
    cursorValue.start = ABSENT;
    this.beyond = null;
    this.p++;
    this.space();
    if (this.byte() === CLOSE_OBJECT) this.p++;
    else {
      for (let place = 0; ; place++) {
        const field = this.name(place);
        const start = this.p;
        this.fraction = false;
        if (field.keyPart >= 0 || field.isCursor) this.wantedValue(field);
        else if (b[start] === QUOTE) this.string();
        else this.value(2);
        if (this.fraction && field.exact !== null) this.keepDigits(field, start);
        let c = b[this.p];
        if (c !== COMMA && c !== CLOSE_OBJECT) {
          this.space();
          c = this.byte();
        }
        this.p++;
        if (c === CLOSE_OBJECT) break;
        if (c !== COMMA) throw this.unexpected('"," or "}"');
        if (b[this.p] !== QUOTE) this.space();
      }
    }
    let length = 0;
    for (let i = 0; i < parts.length; i++) {
      const { start, end } = parts[i] as Place;
      length += end - start + 1;
      if (start < 0) {
        throw new ScanError(
          `record ${this.count} has no primary key: ${JSON.stringify(this.options.primaryKey[i])} is absent or null`,
          'record',
        );
      }
    }
    // As text a key may be shorter than it stood in the body, and a little longer where numbers get quotes.
    if (length > KEY_LIMIT / 2) {
      const key = this.key(parts);
      if (key.length > KEY_LIMIT) throw this.keyTooLong('primary key', key);
    }
    if (this.beyond !== null) throw this.beyondDouble(this.beyond);
    this.count++;
    if (remembers.keys === 'all' || (remembers.keys === 'ends' && this.keys.length === 0)) {
      this.keys.push(this.key(parts));
    }
    if (remembers.values === 'all') {
      this.values.push(cursorValue.start < 0 ? null : this.decoded(cursorValue));
    }
    this.parts = this.lastParts;
    this.lastParts = parts;
  }

  /** A primary key as text. */
  private key(parts: readonly Place[]): string {
    const texts = parts.map((part) => this.decoded(part));
    return texts.length === 1 ? (texts[0] ?? '') : JSON.stringify(texts);
  }

  /** The text of a string, or of any other value as it stands. */
  private decoded({ start, end, escaped }: Place): string {
    const { b } = this;
    if (b[start] !== QUOTE) return b.toString('latin1', start, end);
    return escaped
      ? (JSON.parse(b.toString('utf8', start, end)) as string)
      : b.toString('utf8', start + 1, end - 1);
  }

  /** Makes text of a number that would lose digits otherwise. */
  private keepDigits({ exact, bytes }: Field, start: number): void {
    const { b } = this;
    // The fraction may have been one inside a list or an object.
    if (b[start] === OPEN_OBJECT || b[start] === OPEN_ARRAY) return;
    if (exact !== 'text') {
      const text = b.toString('latin1', start, this.p);
      const value = Number(text);
      if (exact === 'double') {
        if (!Number.isFinite(value)) this.beyond = { name: bytes.toString('utf8'), text };
        return;
      }
      if (Number.isSafeInteger(value)) return;
    }
    this.quotes.push(start, this.p);
  }

  /** A member's name and what stands before its value; by its place in the last record where it stands there again. */
  private name(place: number): Field {
    const { b } = this;
    const start = this.p;
    const guess = this.layout[place];
    if (guess !== undefined) {
      const { lead } = guess;
      const { length } = lead;
      // What comes behind it is looked at next, so that it must be there.
      if (start + length < b.length) {
        let i = 0;
        while (i < length && lead[i] === b[start + i]) i++;
        if (i === length && (b[start + i] as number) > SPACE) {
          this.p = start + length;
          return guess.field;
        }
      }
    }
    const name = this.text();
    const nameEnd = this.p;
    this.space();
    this.expect(COLON, '":"');
    this.space();
    let field = this.fields.get(name);
    if (field === undefined) {
      if (this.undeclared.size < UNDECLARED_LIMIT) this.undeclared.add(cutShort(name));
      field = this.field(name, this.fields.size < 1000 && name.length <= REMEMBERED_LENGTH);
    }
    // Only a name that was written plainly can be known again by its bytes.
    if (nameEnd - start === field.bytes.length && this.p - start <= REMEMBERED_LENGTH) {
      const lead = Buffer.from(b.subarray(start, this.p));
      this.layout[place] = { field, lead };
      this.walker?.learn(lead, field.keyPart, field.isCursor, field.exact);
    }
    return field;
  }

  private field(name: string, remember: boolean): Field {
    const field: Field = {
      bytes: Buffer.from(JSON.stringify(name)),
      keyPart: this.options.primaryKey.indexOf(name),
      isCursor: name === this.options.cursorField,
      exact: KINDS.find((kind) => this.options.exact?.[kind].includes(name)) ?? null,
    };
    if (remember) this.fields.set(name, field);
    return field;
  }

  private wantedValue(field: Field): void {
    const start = this.p;
    const c = this.byte();
    let escaped = false;
    if (c === QUOTE) escaped = this.string();
    else this.value(2);
    const end = this.p;
    const isKey = field.keyPart >= 0;
    if (isKey && (c === OPEN_OBJECT || c === OPEN_ARRAY)) {
      throw new ScanError(
        `record ${this.count} has a primary key that is neither text nor a number: ` +
          this.shown(this.decoded({ start, end, escaped }), 80),
        'record',
      );
    }
    if (end - start > KEY_LIMIT) {
      const text = this.decoded({ start, end, escaped });
      if (text.length > KEY_LIMIT) throw this.keyTooLong(isKey ? 'primary key' : 'cursor value', text);
    }
    const part = this.parts[field.keyPart];
    if (part !== undefined) {
      if (part.start !== ABSENT) {
        throw new ScanError(`record ${this.count} names its primary key twice`, 'record');
      }
      part.start = c === 0x6e /* null */ ? NULL : start;
      part.end = end;
      part.escaped = escaped;
    }
    if (field.isCursor) {
      this.cursorValue.start = c === 0x6e ? NULL : start;
      this.cursorValue.end = end;
      this.cursorValue.escaped = escaped;
    }
  }

  private beyondDouble({ name, text }: { name: string; text: string }): ScanError {
    return new ScanError(
      `the record with primary key ${this.shown(this.key(this.parts), 200)} does not fit: column ${name} cannot hold ` +
        `${this.shown(text, 200)}, which is beyond any DOUBLE. Declare another type for it in "columns".`,
      'record',
    );
  }

  private keyTooLong(what: string, text: string): ScanError {
    return new ScanError(
      `record ${this.count} has a ${what} of ${text.length} characters, more than the ${KEY_LIMIT} that can be ` +
        `kept; it begins ${this.shown(text, 80)}`,
      'record',
    );
  }

  /** A string, decoded. */
  private text(): string {
    const start = this.p;
    const escaped = this.string();
    return this.decoded({ start, end: this.p, escaped });
  }

  /** Walks a string; true when it holds an escape. */
  private string(): boolean {
    const { b } = this;
    const end = b.length;
    let p = this.p;
    if (p >= end) throw MORE;
    if (b[p] !== QUOTE) throw this.unexpected('a string');
    p++;
    let escaped = false;
    for (;;) {
      let c = 0;
      while (p < end && (c = b[p] as number) !== QUOTE && c !== BACKSLASH && c >= SPACE) p++;
      if (p >= end) throw MORE;
      if (c === QUOTE) break;
      this.p = p;
      if (c < SPACE) throw this.unexpected('no control character in a string');
      escaped = true;
      if (p + 1 >= end) throw MORE;
      const e = b[p + 1] as number;
      if (e === 0x75 /* u */) {
        if (p + 6 > end) throw MORE;
        for (let i = p + 2; i < p + 6; i++) if (!isHex(b[i] as number)) throw this.unexpected('\\uXXXX');
        p += 6;
      } else if (isEscape(e)) p += 2;
      else throw this.unexpected('a known escape');
    }
    this.p = p + 1;
    return escaped;
  }

  /** Walks any value. */
  private value(depth: number): void {
    const c = this.byte();
    switch (c) {
      case QUOTE:
        this.string();
        return;
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        this.container(c, depth);
        return;
      case 0x74:
        this.literal('true');
        return;
      case 0x66:
        this.literal('false');
        return;
      case 0x6e:
        this.literal('null');
        return;
      default:
        this.number();
    }
  }

  private container(open: number, depth: number): void {
    if (depth > DEPTH_LIMIT) {
      if (this.phase === 'before')
        throw new ScanError(`the body is nested deeper than ${DEPTH_LIMIT}`, 'shape');
      throw new ScanError(`record ${this.count} is nested deeper than ${DEPTH_LIMIT}`, 'record');
    }
    const isObject = open === OPEN_OBJECT;
    const close = isObject ? CLOSE_OBJECT : CLOSE_ARRAY;
    this.p++;
    this.space();
    if (this.byte() === close) {
      this.p++;
      return;
    }
    for (;;) {
      if (isObject) {
        this.string();
        this.space();
        this.expect(COLON, '":"');
        this.space();
      }
      this.value(depth + 1);
      this.space();
      const c = this.byte();
      this.p++;
      if (c === close) return;
      if (c !== COMMA) throw this.unexpected(isObject ? '"," or "}"' : '"," or "]"');
      this.space();
    }
  }

  private literal(word: string): void {
    const { b } = this;
    for (let i = 0; i < word.length; i++) {
      if (this.p + i >= b.length) throw MORE;
      if (b[this.p + i] !== word.charCodeAt(i)) throw this.unexpected('a value');
    }
    this.p += word.length;
  }

  private number(): void {
    if (this.byte() === 0x2d) this.p++;
    if (this.byte() === 0x30) this.p++;
    else this.digits();
    if (this.byte() === 0x2e) {
      this.fraction = true;
      this.p++;
      this.digits();
    }
    if ((this.byte() | 0x20) === 0x65) {
      this.fraction = true;
      this.p++;
      const sign = this.byte();
      if (sign === 0x2b || sign === 0x2d) this.p++;
      this.digits();
    }
  }

  private digits(): void {
    const start = this.p;
    const { b } = this;
    while (this.p < b.length && isDigit(b[this.p] as number)) this.p++;
    if (this.p >= b.length) throw MORE;
    if (this.p === start) throw this.unexpected('a value');
  }

  private byte(): number {
    const c = this.b[this.p];
    if (c === undefined) throw MORE;
    return c;
  }

  private expect(byte: number, what: string): void {
    if (this.byte() !== byte) throw this.unexpected(what);
    this.p++;
  }

  /** Skips white space; line ends become spaces, so that a record stays on one line. */
  private space(): void {
    const { b } = this;
    for (;;) {
      const c = b[this.p];
      if (c === SPACE || c === 0x09) this.p++;
      else if (c === NEWLINE || c === 0x0d) b[this.p++] = SPACE;
      else return;
    }
  }

  private unexpected(wanted: string): ScanError {
    return new ScanError(
      `the body is not valid JSON: ${wanted} expected in record ${this.count}, found ${this.glimpse()}`,
      'shape',
    );
  }

  private glimpse(): string {
    return this.shown(this.b.subarray(this.p, this.p + 4096).toString('utf8'), 40);
  }

  /** A piece of the body for people. */
  private shown(text: string, length: number): string {
    const { mask = plain } = this.options;
    return JSON.stringify(mask(text).slice(0, length));
  }
}

const plain: Mask = (text) => text;
const cutShort = (name: string) =>
  name.length > UNDECLARED_LENGTH ? `${name.slice(0, UNDECLARED_LENGTH)}…` : name;
const isDigit = (c: number) => c >= 0x30 && c <= 0x39;
const isHex = (c: number) => isDigit(c) || ((c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);
// " \ / b f n r t
const isEscape = (c: number) =>
  c === QUOTE ||
  c === BACKSLASH ||
  c === 0x2f ||
  c === 0x62 ||
  c === 0x66 ||
  c === 0x6e ||
  c === 0x72 ||
  c === 0x74;
