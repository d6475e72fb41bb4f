import { isUtf8 } from 'node:buffer';
import {
  REFUSED,
  type ColumnType,
  type Note,
  type PageRecords,
  type Reject,
  type Remembered,
} from '../protocol.js';
import { cannotHold, isPlainlyTaken, isTaken, wholeDigits } from './declared-values.js';
import { absentMember, JsonDocument, valueAt } from '../request/paths.js';
import type { Mask } from '../secrets/masking.js';
import { plainRecord, wellFormed, type MemberPath } from './plain-record.js';
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
   * A reader of the records may take a number with a fraction or an exponent for a double. In the columns in `text` it
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
  /**
   * The treatment of half of a surrogate pair: `replace` makes U+FFFD of it, `refuse` takes no such record where the member has
   * a column, `keep` leaves it. By default, records are refused if they can be quarantined.
   */
  halves?: 'replace' | 'refuse' | 'keep';
  /** Makes the key of a record for a remark, where the primary key is none of its members. */
  keyOf?: (record: string) => string;
  /** Whether records like those before them are left to WebAssembly, as they are unless told. */
  walks?: boolean;
  /** Why records cannot be stored that could be as they are, by their places; those of a chunk are known when it comes. */
  refusals?: ReadonlyMap<number, string>;
  /** Nothing of the body is shown in an error: it holds what must not be stored. */
  withholds?: boolean;
}

/** Columns whose numbers need care, by the kind of it. */
export interface ExactColumns {
  text: readonly string[];
  whole: readonly string[];
  double: readonly string[];
  /** The declared types of all columns: a value that its column does not take is refused; see {@link isTaken}. */
  types?: { readonly [column: string]: ColumnType };
}

/** The body is not what a page should be; `at` counts records read before. */
export class ScanError extends Error {
  constructor(
    message: string,
    readonly kind: 'shape' | 'record',
    /** The body without a list of records: parsed where it is JSON, else its text. */
    readonly body?: { value: unknown } | { text: string },
    /** The reason for quarantining a record, without its key. */
    readonly reason?: string,
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
/** The length to which an undeclared name is cut in a note. */
const UNDECLARED_LENGTH = 100;
/** Longer names are not remembered from one record to the next. */
const REMEMBERED_LENGTH = 1024;
/** Keys and cursor values go into cursors, which history holds. */
const KEY_LIMIT = 4096;
const KINDS = ['text', 'whole', 'double'] as const;
type Kind = (typeof KINDS)[number];
/** Members named in a remark on records. */
const REMARK_LIMIT = 5;
/** Names of one object that are remembered in their order, and such names in all. */
const CHAIN_LIMIT = 256;
const NAMES_LIMIT = 10_000;
const FEW_NAMES = 8;
/** Stands for the records in the envelope: a second list of records would take its place. */
const STAND_IN = '0';

/** Thrown (as a constant, for speed) when a value goes on beyond the bytes at hand. */
const MORE = Symbol('more');

interface Field {
  name: string;
  bytes: Buffer;
  /** Which part of the primary key it is, or -1. */
  keyPart: number;
  isCursor: boolean;
  /** How a number with a fraction or an exponent is kept. */
  exact: Kind | null;
  /** The declared type that values are checked for; null where every value is taken. */
  type: ColumnType | null;
  /** The number of digits that every number of the type may have before its point. */
  digits: number;
  /** The number of the record that it was met in last. */
  metIn: number;
}

/** A name inside a record's objects, behind those that came before it in its object: all are different. */
class NestedName {
  readonly next = new Map<string, NestedName>();
  /** Some of those, to be known by their bytes. */
  readonly few: NestedName[] = [];
  /** The one that came next last. */
  guess: NestedName | null = null;

  constructor(
    readonly name: string,
    /** As it stands in the body, with its quotes. */
    readonly bytes: Buffer,
    readonly before: NestedName | null,
    /** How many names there are up to this one. */
    readonly count: number,
  ) {}
}

/** The names of an object up to one of them. */
function* upTo(last: NestedName): Iterable<string> {
  for (let at = last; at.before !== null; at = at.before) yield at.name;
}

/** A remark on records that were taken: members by their paths, and the key of the first such record. */
interface Remark {
  members: Set<string>;
  key: string;
}

const nowhere = (): Place => ({ start: ABSENT, end: ABSENT, escaped: false });

export class RecordScanner {
  /** Records read so far. */
  count = 0;
  readonly undeclared = new Set<string>();
  /** Length of the longest record. */
  longest = 0;

  /** Keys and values of the records since the last call of the sink. */
  private keys: string[] = [];
  /** Whether the key of the current record was read. */
  private isKeyed = false;
  /** The key of the last record, if it was rejected; empty if it has none. */
  private rejectedKey: string | null = null;
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
  /** Whether these bytes are the scanner's alone. */
  private isOwn = false;
  private p = 0;
  private readonly fields = new Map<string, Field>();
  /**
   * The field met at each place in the last record, and the bytes from its name up to its value: records of one API
   * name their members in one order, and are written in one way.
   */
  private readonly layout: { field: Field; lead: Buffer }[] = [];
  private readonly walker: RecordWalker | null;
  /** Places of the parts of the primary key: of the current record, and of the last whole one. */
  private parts: Place[];
  private lastParts: Place[];
  private readonly cursorValue = nowhere();
  /** Whether the number just read had a fraction or an exponent. */
  private fraction = false;
  /** A number in the current record that is beyond any DOUBLE: an error once the record's key is known. */
  private beyond: { name: string; text: string } | null = null;
  /** The first value in the current record that its column does not take: an error once the record's key is known. */
  private misfit: { field: Field; start: number; end: number } | null = null;
  /** Why the current record is refused, unless the member comes once more and that one counts. */
  private refusal: ScanError | null = null;
  /** Whether the current record has a member twice, or half of a surrogate pair. */
  private isOdd = false;
  private readonly remarked = new Map<string, Remark>();
  /** Counts attempts to read a record: one whose end is not there yet is read again. */
  private reading = 0;
  /** Names in the current record that are not remembered. */
  private readonly strangers = new Set<string>();
  private readonly nested = new NestedName('', Buffer.alloc(0), null, 0);
  private nestedCount = 0;
  /** Places for quotes, ascending, in the bytes at hand: begin and end of each number that becomes text. */
  private quotes: number[] = [];

  constructor(private readonly options: ScannerOptions) {
    this.remembers = options.remembers ?? { keys: 'all', values: 'all' };
    this.walker = options.walks === false ? null : RecordWalker.of(options.primaryKey.length);
    this.parts = options.primaryKey.map(nowhere);
    this.lastParts = options.primaryKey.map(nowhere);
    for (const name of options.columns) this.field(name, true);
  }

  /** Notes on what was done to records so that they could be stored. */
  get remarks(): Note[] {
    const { mask = (plain: string) => plain } = this.options;
    return [...this.remarked].map(([code, { members, key }]) => {
      const names = [...members].map((name) => this.shown(name, UNDECLARED_LENGTH));
      const more = members.size < REMARK_LIMIT ? '' : ' and perhaps others';
      const where = `${names.join(', ')}${more}, first in the record with primary key ${JSON.stringify(mask(key).slice(0, 200))}`;
      const message =
        code === DUPLICATE_MEMBER
          ? `records have a member twice; the last one counts: ${where}`
          : `records have half of a surrogate pair in a text; it is stored as U+FFFD: ${where}`;
      return { code, message };
    });
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
      throw new ScanError('the body is not valid JSON after its records', 'shape');
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
        `the body is ${html ? 'HTML or XML' : 'not valid JSON'}: ${this.shownOfBody(text, 120)}`,
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
    this.rejectedKey = null;
    let resume = this.p;
    /** The separator of two records (a comma, spaces) becomes one line end, in place. */
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
      if (this.remembers.keys === 'ends' && count > 1)
        this.keys.push(this.rejectedKey ?? this.key(this.lastParts));
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
        if (options.refusals?.has(this.count) === true) return;
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
        this.rejectedKey = null;
      }
    }
  }

  /** Reads a record; quarantines one that cannot be stored, if configured, and reads the next one. */
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
      const key = this.isKeyed ? this.key(this.parts) : '';
      // It may have been left in the middle.
      this.p = start;
      this.value(1);
      this.quotes.length = quotes;
      const record = this.b.toString('utf8', start, this.p);
      const isRefused = this.options.refusals?.has(this.count) === true;
      reject({ reason: thrown.reason ?? thrown.message, record: isRefused ? marked(record) : record });
      // Its place is kept, so that those behind it keep theirs.
      this.keys.length = keys;
      this.values.length = values;
      if (this.remembers.keys === 'all') this.keys.push('');
      if (this.remembers.keys === 'ends' && keys === 0) this.keys.push(key);
      this.rejectedKey = key;
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
    const { parts, cursorValue, remembers } = this;
    const [start, quotes] = [this.p, this.quotes.length];
    this.isKeyed = false;
    this.members();
    const made = this.isOdd ? this.makePlain(start, quotes) : null;
    if (this.refusal !== null) throw this.refusal;
    const refused = this.options.refusals?.get(this.count);
    let length = 0;
    for (let i = 0; i < parts.length; i++) {
      const { start, end } = parts[i] as Place;
      length += end - start + 1;
      if (start < 0) {
        // It may be what could not be made.
        if (refused !== undefined) throw this.unfit(refused);
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
    this.isKeyed = true;
    if (refused !== undefined) throw this.unfit(refused);
    if (this.misfit !== null) throw this.misfits(this.misfit);
    if (this.beyond !== null) throw this.beyondDouble(this.beyond);
    if (made !== null) this.remark(made, start);
    this.count++;
    if (remembers.keys === 'all' || (remembers.keys === 'ends' && this.keys.length === 0)) {
      this.keys.push(this.key(parts));
    }
    if (remembers.values === 'all') {
      this.values.push(cursorValue.start < 0 ? null : this.decoded(cursorValue));
    }
    this.parts = this.lastParts;
    this.lastParts = parts;
    this.rejectedKey = null;
  }

  /** The members of a record, from its `{` to behind its `}`. */
  private members(): void {
    const { b } = this;
    for (const part of this.parts) part.start = ABSENT;
    this.cursorValue.start = ABSENT;
    this.beyond = null;
    this.misfit = null;
    this.refusal = null;
    this.isOdd = false;
    this.reading++;
    if (this.strangers.size > 0) this.strangers.clear();
    this.p++;
    this.space();
    if (this.byte() === CLOSE_OBJECT) {
      this.p++;
      return;
    }
    for (let place = 0; ; place++) {
      const field = this.name(place);
      if (field.metIn === this.reading) this.isOdd = true;
      field.metIn = this.reading;
      const start = this.p;
      this.fraction = false;
      if (field.keyPart >= 0 || field.isCursor) this.wantedValue(field);
      else if (b[start] === QUOTE) this.string();
      else this.value(2);
      if (this.fraction && field.exact !== null) this.keepDigits(field, start);
      if (
        field.type !== null &&
        this.misfit === null &&
        !isPlainlyTaken(field.type, field.digits, b, start, this.p)
      )
        this.checkValue(field, start);
      let c = b[this.p];
      if (c !== COMMA && c !== CLOSE_OBJECT) {
        this.space();
        c = this.byte();
      }
      this.p++;
      if (c === CLOSE_OBJECT) return;
      if (c !== COMMA) throw this.unexpected('"," or "}"');
      if (b[this.p] !== QUOTE) this.space();
    }
  }

  private checkValue(field: Field, start: number): void {
    const raw = this.b.toString('utf8', start, this.p);
    if (raw !== 'null' && field.type !== null && !isTaken(field.type, raw))
      this.misfit = { field, start, end: this.p };
  }

  /**
   * Writes the record that was just read anew, in its place: each member once, and no half of a surrogate pair.
   * @returns what was done; null where that was nothing.
   * @throws {ScanError} where such a record is refused.
   */
  private makePlain(start: number, quotes: number): Made | null {
    const { halves = this.options.reject === undefined ? 'replace' : 'refuse', primaryKey } = this.options;
    const end = this.p;
    const { text, doubled, halved, clashes } = plainRecord(
      this.b.toString('latin1', start, end),
      halves === 'keep',
    );
    const isWhole = this.parts.every((part) => part.start >= 0);
    if (isWhole) {
      const [clash] = clashes;
      if (clash !== undefined)
        throw this.unfit(`names are the same but for half of a surrogate pair: ${this.pathName(clash)}`);
      const ofKey = halved.find(([name = '']) => primaryKey.includes(name));
      if (ofKey !== undefined)
        throw this.unfit(`its primary key holds half of a surrogate pair, in ${this.pathName(ofKey)}`);
      const refused = halves === 'refuse' ? halved.find((path) => this.isStored(path)) : undefined;
      if (refused !== undefined) {
        const what = this.options.columns.includes(refused[0] ?? '') ? 'column' : 'member';
        throw this.unfit(`${what} ${this.pathName(refused)} holds half of a surrogate pair`);
      }
    }
    if (doubled.length + halved.length === 0) return null;
    // Remarks on the record as it stood are made again as it stands now.
    const room = Math.max(0, end - start - text.length);
    this.b.write(`${text.slice(0, -1)}${' '.repeat(room)}}`, start, 'latin1');
    this.quotes.length = quotes;
    this.p = start;
    this.members();
    return { doubled, halved };
  }

  /** Whether a member has a column, or gets one. */
  private isStored([name = '']: MemberPath): boolean {
    return this.options.exact === undefined || this.options.columns.includes(name);
  }

  private pathName(path: MemberPath): string {
    return this.shown(path.join('.'), UNDECLARED_LENGTH);
  }

  private remark({ doubled, halved }: Made, start: number): void {
    const keyOf = this.options.keyOf ?? (() => wellFormed(this.key(this.parts)));
    for (const [code, paths] of [
      [DUPLICATE_MEMBER, doubled],
      [LONE_SURROGATE, halved],
    ] as const) {
      for (const path of paths.filter((one) => this.isStored(one))) {
        const remark = this.remarked.get(code) ?? {
          members: new Set<string>(),
          key: keyOf(this.b.toString('utf8', start, this.p)),
        };
        this.remarked.set(code, remark);
        if (remark.members.size < REMARK_LIMIT) remark.members.add(path.join('.'));
      }
    }
  }

  /** A record that is not stored as it is: its key, and why. */
  private unfit(why: string, remedy = ''): ScanError {
    return new ScanError(
      `the record with primary key ${this.shown(this.key(this.parts), 200)} does not fit: ${why}${remedy}`,
      'record',
      undefined,
      why,
    );
  }

  private misfits({ field, start, end }: { field: Field; start: number; end: number }): ScanError {
    const { b, options } = this;
    const text =
      b[start] === QUOTE ? this.decoded({ start, end, escaped: true }) : b.toString('utf8', start, end);
    const { mask = (plain: string) => plain } = options;
    const { why, remedy } = cannotHold(field.name, wellFormed(mask(text)), field.type ?? 'STRING');
    return this.unfit(why, remedy);
  }

  /** A primary key as text. */
  private key(parts: readonly Place[]): string {
    const texts = parts.map((part) => (part.start < 0 ? '' : this.decoded(part)));
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
      // The byte behind it is looked at next, so that it must be there.
      if (start + length < b.length) {
        let i = 0;
        while (i < length && lead[i] === b[start + i]) i++;
        if (i === length && (b[start + i] as number) > SPACE) {
          this.p = start + length;
          return guess.field;
        }
      }
    }
    const { name, isHalved } = this.nameText();
    const nameEnd = this.p;
    this.space();
    this.expect(COLON, '":"');
    this.space();
    let field = this.fields.get(name);
    if (field === undefined) {
      if (this.undeclared.size < UNDECLARED_LIMIT) this.undeclared.add(cutShort(wellFormed(name)));
      const isRemembered = !isHalved && this.fields.size < 1000 && name.length <= REMEMBERED_LENGTH;
      field = this.field(name, isRemembered);
      if (!isRemembered) {
        if (this.strangers.has(name)) this.isOdd = true;
        this.strangers.add(name);
        return field;
      }
    }
    // Only a name that was written plainly can be known again by its bytes.
    if (nameEnd - start === field.bytes.length && this.p - start <= REMEMBERED_LENGTH) {
      const lead = Buffer.from(b.subarray(start, this.p));
      this.layout[place] = { field, lead };
      this.walker?.learn(lead, field.keyPart, field.isCursor, field.exact, field.type, field);
    }
    return field;
  }

  private field(name: string, remember: boolean): Field {
    const { exact } = this.options;
    const types = exact?.types ?? {};
    const type = Object.hasOwn(types, name) ? (types[name] ?? null) : null;
    const field: Field = {
      name,
      bytes: Buffer.from(JSON.stringify(name)),
      keyPart: this.options.primaryKey.indexOf(name),
      isCursor: name === this.options.cursorField,
      exact: KINDS.find((kind) => exact?.[kind].includes(name)) ?? null,
      type: type === 'STRING' || type === 'JSON' ? null : type,
      digits: type === null ? 0 : wholeDigits(type),
      metIn: 0,
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
      this.refusal ??= new ScanError(
        `record ${this.count} has a primary key that is neither text nor a number: ` +
          this.shown(this.decoded({ start, end, escaped }), 80),
        'record',
      );
      return;
    }
    if (end - start > KEY_LIMIT) {
      const text = this.decoded({ start, end, escaped });
      if (text.length > KEY_LIMIT)
        this.refusal ??= this.keyTooLong(isKey ? 'primary key' : 'cursor value', text);
    }
    const part = this.parts[field.keyPart];
    if (part !== undefined) {
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
        const half = surrogate(b, p);
        if (half === 2) this.isOdd = true;
        else if (half === 1) {
          if (p + 7 >= end) throw MORE;
          if (b[p + 6] === BACKSLASH && b[p + 7] === 0x75) {
            if (p + 12 > end) throw MORE;
            // As an escape it is looked at next, where it is no second half.
            if (surrogate(b, p + 6) !== 2) this.isOdd = true;
            else {
              p += 6;
              for (let i = p + 2; i < p + 6; i++)
                if (!isHex(b[i] as number)) throw this.unexpected('\\uXXXX');
            }
          } else this.isOdd = true;
        }
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
    let names: NestedName | Set<string> = this.nested;
    for (;;) {
      if (isObject) {
        names = this.nestedName(names);
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

  /**
   * A name in an object inside a record, which must be none of those before it.
   * @param before those.
   * @returns those and this one.
   */
  private nestedName(before: NestedName | Set<string>): NestedName | Set<string> {
    const { b } = this;
    const start = this.p;
    if (before instanceof Set) {
      const name = this.text();
      if (before.has(name)) this.isOdd = true;
      return before.add(name);
    }
    const { guess, few } = before;
    if (guess !== null && this.standsHere(guess.bytes)) return guess;
    for (const one of few) if (one !== guess && this.standsHere(one.bytes)) return (before.guess = one);
    const { name, isHalved } = this.nameText();
    const known = before.next.get(name);
    if (known !== undefined && !isHalved) {
      before.guess = known;
      return known;
    }
    for (const other of upTo(before)) {
      if (other !== name) continue;
      this.isOdd = true;
      return before;
    }
    if (before.count >= CHAIN_LIMIT) return new Set(upTo(before)).add(name);
    const next = new NestedName(name, Buffer.from(b.subarray(start, this.p)), before, before.count + 1);
    if (isHalved || this.nestedCount >= NAMES_LIMIT || name.length > REMEMBERED_LENGTH) return next;
    this.nestedCount++;
    before.next.set(name, next);
    if (before.few.length < FEW_NAMES) before.few.push(next);
    before.guess = next;
    return next;
  }

  /** Goes on behind bytes, where they stand here. */
  private standsHere(bytes: Buffer): boolean {
    const { b, p } = this;
    const { length } = bytes;
    let i = 0;
    while (i < length && bytes[i] === b[p + i]) i++;
    if (i < length) return false;
    this.p = p + length;
    return true;
  }

  /** A name, decoded. One that holds half of a surrogate pair must be met as such each time. */
  private nameText(): { name: string; isHalved: boolean } {
    const wasOdd = this.isOdd;
    this.isOdd = false;
    const name = this.text();
    const isHalved = this.isOdd;
    this.isOdd ||= wasOdd;
    return { name, isHalved };
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
    return this.shownOfBody(this.b.subarray(this.p, this.p + 4096).toString('utf8'), 40);
  }

  /** A piece of the body for people. */
  private shown(text: string, length: number): string {
    const { mask = plain } = this.options;
    return JSON.stringify(mask(text).slice(0, length));
  }

  /** A piece of the body as it came, for people. */
  private shownOfBody(text: string, length: number): string {
    return this.options.withholds === true ? WITHHELD : this.shown(text, length);
  }
}

/** Stands in an error for what must not be shown. */
export const WITHHELD = 'a text that is not shown, because columns are hashed, masked or excluded';

/** A record that a retry cannot make whole: what refused it has not seen the record as it is. */
const marked = (record: string) => {
  const members = record.slice(1).trimStart();
  return `{"${REFUSED}":true${members.startsWith('}') ? '' : ','}${members}`;
};

const plain: Mask = (text) => text;
/** Code of the note on members that came twice. */
export const DUPLICATE_MEMBER = 'duplicate_member';
const LONE_SURROGATE = 'lone_surrogate';

/** A change made to a record. */
type Made = Pick<ReturnType<typeof plainRecord>, 'doubled' | 'halved'>;

/** Classifies the escape \uXXXX at a place: 1 for the first half of a surrogate pair, 2 for the second, 0 for neither. */
function surrogate(b: Buffer, at: number): 0 | 1 | 2 {
  if (((b[at + 2] as number) | 0x20) !== 0x64 /* d */) return 0;
  const c = (b[at + 3] as number) | 0x20;
  if (c === 0x38 || c === 0x39 || c === 0x61 || c === 0x62) return 1;
  return c >= 0x63 && c <= 0x66 ? 2 : 0;
}

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
