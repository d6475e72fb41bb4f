/**
 * Writes values of records in PostgreSQL's binary format, of each type those spellings whose meaning is beyond doubt.
 * Any other value is refused: it is sent as text, and PostgreSQL converts it; see {@link fromText}.
 */
import type { ColumnType } from '../../protocol.js';
import { isDay } from '../../sources/declared-values.js';

/**
 * Writes the value between two places, which is not null, and returns the place after it, or {@link REFUSED}. There is
 * room for as many bytes as the value has in JSON, and {@link VALUE_ROOM} more.
 * @param isEscaped whether it is a string with an escape.
 * @throws {UnencodableError}
 */
type Write = (b: Buffer, start: number, end: number, isEscaped: boolean, into: Buffer, at: number) => number;

/** The format of a column's values. */
export interface Format {
  /** Object id of the type; those of the built-in types are the same in every database. */
  oid: number;
  write: Write;
  /** Whether equal values have equal bytes, so that keys can be compared by them. */
  isCanonical: boolean;
  /** Whether the bytes are a number with a sign, highest byte first. */
  isSigned: boolean;
}

export const REFUSED = -1;
export const VALUE_ROOM = 8;

/** Thrown for a text that PostgreSQL may not be able to store. */
export class UnencodableError extends Error {}

const QUOTE = 0x22;
const MINUS = 0x2d;
const ZERO = 0x30;
const COLON = 0x3a;
const DASH = 0x2d;

const isDigit = (c: number) => c >= ZERO && c <= 0x39;

/** Returns the format of a type; null if PostgreSQL converts its values from text. */
export function formatOf(type: ColumnType): Format | null {
  return FORMATS[type] ?? null;
}

/** The text of a value: of a string its characters, of anything else its JSON. */
const writeText: Write = (b, start, end, isEscaped, into, at) => {
  if (b[start] !== QUOTE) {
    if ((b[start] === OPEN_OBJECT || b[start] === OPEN_ARRAY) && holdsOddEscape(b, start, end))
      throw new UnencodableError('a JSON text may contain NUL or half of a surrogate pair');
    return copyBytes(b, start, end, into, at);
  }
  if (!isEscaped) return copyBytes(b, start + 1, end - 1, into, at);
  const after = writeUnescaped(b, start + 1, end - 1, into, at);
  if (after !== REFUSED) return after;
  const text = JSON.parse(b.toString('utf8', start, end)) as string;
  if (/\0|\p{Surrogate}/u.test(text))
    throw new UnencodableError('a text contains NUL or half of a surrogate pair');
  return at + into.write(text, at, 'utf8');
};

const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;

/** Whether a JSON text has an escape of NUL, or of half of a surrogate pair: PostgreSQL reads no record with such ones. */
function holdsOddEscape(b: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (b[i] !== BACKSLASH) continue;
    if (b[++i] === SMALL_U && /^(?:0000|d[89a-f])/i.test(b.toString('latin1', i + 1, i + 5))) return true;
  }
  return false;
}

const BACKSLASH = 0x5c;
const SMALL_U = 0x75;
/** Characters by the letters behind a backslash that stand for them. */
const ESCAPES = new Uint8Array(128);
for (const [letter, character] of ['""', '\\\\', '//', 'b\b', 'f\f', 'n\n', 'r\r', 't\t'])
  ESCAPES[letter?.charCodeAt(0) ?? 0] = character?.charCodeAt(0) ?? 0;

/** Writes the characters of a string; refuses NUL, and characters that are written as two. */
function writeUnescaped(b: Buffer, start: number, end: number, into: Buffer, at: number): number {
  let to = at;
  for (let i = start; i < end; i++) {
    const c = b[i] as number;
    if (c !== BACKSLASH) {
      into[to++] = c;
      continue;
    }
    const letter = b[++i] as number;
    if (letter !== SMALL_U) {
      into[to++] = ESCAPES[letter] as number;
      continue;
    }
    const code = Number.parseInt(b.toString('latin1', i + 1, i + 5), 16);
    i += 4;
    if (code === 0 || (code >= 0xd800 && code <= 0xdfff)) return REFUSED;
    if (code < 0x80) into[to++] = code;
    else if (code < 0x800) {
      into[to++] = 0xc0 | (code >> 6);
      into[to++] = 0x80 | (code & 0x3f);
    } else {
      into[to++] = 0xe0 | (code >> 12);
      into[to++] = 0x80 | ((code >> 6) & 0x3f);
      into[to++] = 0x80 | (code & 0x3f);
    }
  }
  return to;
}

/** Bytes that a loop copies faster than a call. */
const SHORT_COPY = 96;

function copyBytes(b: Buffer, start: number, end: number, into: Buffer, at: number): number {
  if (end - start > SHORT_COPY) return at + b.copy(into, at, start, end);
  let to = at;
  for (let i = start; i < end; i++) into[to++] = b[i] as number;
  return to;
}

/** The version of the format, and the JSON. */
const writeJson: Write = (b, start, end, _, into, at) => {
  into[at] = 1;
  return copyBytes(b, start, end, into, at + 1);
};

const writeBoolean: Write = (b, start, end, _, into, at) => {
  const isQuoted = b[start] === QUOTE;
  const text = b.toString('latin1', isQuoted ? start + 1 : start, isQuoted ? end - 1 : end);
  if (text !== 'true' && text !== 'false') return REFUSED;
  into[at] = text === 'true' ? 1 : 0;
  return at + 1;
};

/** More digits than this may not be exact in JavaScript. */
const EXACT_DIGITS = 15;

/** Reads a whole number without leading zeros, quoted or not; NaN where it is anything else. */
function wholeOf(b: Buffer, start: number, end: number): number {
  const isQuoted = b[start] === QUOTE;
  let p = isQuoted ? start + 1 : start;
  const last = isQuoted ? end - 1 : end;
  const isNegative = b[p] === MINUS;
  if (isNegative) p++;
  const digits = last - p;
  if (digits < 1 || digits > EXACT_DIGITS || (digits > 1 && b[p] === ZERO)) return NaN;
  let value = 0;
  for (; p < last; p++) {
    const c = b[p] as number;
    if (!isDigit(c)) return NaN;
    value = value * 10 + c - ZERO;
  }
  return isNegative ? -value : value;
}

const wholeWriter =
  (bytes: 2 | 4, least: number, greatest: number): Write =>
  (b, start, end, _, into, at) => {
    const value = wholeOf(b, start, end);
    if (!(value >= least && value <= greatest)) return REFUSED;
    return bytes === 2 ? into.writeInt16BE(value, at) : into.writeInt32BE(value, at);
  };

const WHOLE = /^"?(-?(?:0|[1-9]\d{0,18}))"?$/;
const LEAST_LONG = -(2n ** 63n);
const GREATEST_LONG = 2n ** 63n - 1n;

const writeLong: Write = (b, start, end, _, into, at) => {
  const value = wholeOf(b, start, end);
  if (!Number.isNaN(value)) return writeInt64(value, into, at);
  const [, digits] = WHOLE.exec(b.toString('latin1', start, end)) ?? [];
  if (digits === undefined) return REFUSED;
  const exact = BigInt(digits);
  if (exact < LEAST_LONG || exact > GREATEST_LONG) return REFUSED;
  return into.writeBigInt64BE(exact, at);
};

/** Writes the low 32 bits of a whole number. */
export function writeInt32(value: number, into: Buffer, at: number): number {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
  return at + 4;
}

/** Writes a whole number of at most 53 bits. */
export function writeInt64(value: number, into: Buffer, at: number): number {
  const high = Math.floor(value / 2 ** 32);
  return writeInt32(value - high * 2 ** 32, into, writeInt32(high, into, at));
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** A number with as many characters has at most as many digits as the conversions of both sides are known for. */
const DOUBLE_LENGTH = 400;
/** Smaller numbers have fewer digits, down to none. */
const LEAST_NORMAL = 2.2250738585072014e-308;

const writeDouble: Write = (b, start, end, _, into, at) => {
  if (end - start > DOUBLE_LENGTH) return REFUSED;
  const isQuoted = b[start] === QUOTE;
  const text = b.toString('latin1', isQuoted ? start + 1 : start, isQuoted ? end - 1 : end);
  if (!NUMBER.test(text)) return REFUSED;
  const value = Number(text);
  const isPlain = Number.isFinite(value) && (Math.abs(value) >= LEAST_NORMAL || /^-?0(?:\.0+)?$/.test(text));
  return isPlain ? into.writeDoubleBE(value, at) : REFUSED;
};

const twoDigits = (b: Buffer, at: number): number => {
  const [tens, ones] = [b[at] as number, b[at + 1] as number];
  return isDigit(tens) && isDigit(ones) ? (tens - ZERO) * 10 + ones - ZERO : NaN;
};

/** Days from 0000-03-01 to 2000-01-01, PostgreSQL's first. */
const EPOCH_DAYS = 730_425;
const DAY_MILLISECONDS = 86_400_000;

/** Returns the days from 2000-01-01 to the date at a place, of four digits of a year, month and day; NaN if it is none. */
function daysAt(b: Buffer, at: number): number {
  if (b[at + 4] !== DASH || b[at + 7] !== DASH) return NaN;
  const year = twoDigits(b, at) * 100 + twoDigits(b, at + 2);
  const month = twoDigits(b, at + 5);
  const day = twoDigits(b, at + 8);
  if (!(day >= 1 && day <= 28 && month >= 1 && month <= 12 && year >= 1) && !isDay(year, month, day))
    return NaN;
  // Years that begin in March end in the day that only some of them have.
  const years = month > 2 ? year : year - 1;
  const ofYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const leapDays = Math.floor(years / 4) - Math.floor(years / 100) + Math.floor(years / 400);
  return years * 365 + leapDays + ofYear - EPOCH_DAYS;
}

const DATE_LENGTH = 10;

const writeDate: Write = (b, start, end, _, into, at) => {
  if (end - start !== DATE_LENGTH + 2 || b[start] !== QUOTE) return REFUSED;
  const days = daysAt(b, start + 1);
  return Number.isNaN(days) ? REFUSED : writeInt32(days, into, at);
};

const SECOND = 1_000_000;
const T = 0x54;
const Z = 0x5a;
const PLUS = 0x2b;
const POINT = 0x2e;
const SPACE = 0x20;
/** PostgreSQL reads no offset of more hours. */
const MOST_HOURS = 15;

/**
 * Reads the time of a day, and the offset if there may be one: `10:00:00`, with digits of a second, of which those after the
 * sixth are dropped, and `Z`, `+02`, `+02:00` or `+0200`.
 * @returns microseconds; NaN if it is none, or is spelled differently.
 */
function microsecondsAt(b: Buffer, from: number, last: number, mayHaveZone: boolean): number {
  const hours = twoDigits(b, from);
  const minutes = twoDigits(b, from + 3);
  const seconds = twoDigits(b, from + 6);
  if (last - from < 8 || b[from + 2] !== COLON || b[from + 5] !== COLON) return NaN;
  if (!(hours <= 23 && minutes <= 59 && seconds <= 59)) return NaN;
  let p = from + 8;
  let fraction = 0;
  if (b[p] === POINT) {
    const first = ++p;
    let unit = SECOND / 10;
    for (; p < last && isDigit(b[p] as number); p++) {
      fraction += ((b[p] as number) - ZERO) * unit;
      unit = unit > 1 ? unit / 10 : 0;
    }
    if (p === first) return NaN;
  }
  const time = ((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction;
  if (p === last) return time;
  return mayHaveZone ? time - offsetAt(b, p, last) : NaN;
}

/** Returns the microseconds of the offset from UTC between two places; NaN if it is none. */
function offsetAt(b: Buffer, from: number, last: number): number {
  const sign = b[from];
  if (sign === Z) return last - from === 1 ? 0 : NaN;
  if (sign !== PLUS && sign !== MINUS) return NaN;
  const hours = twoDigits(b, from + 1);
  const length = last - from;
  const hasColon = b[from + 3] === COLON;
  const minutes = length === 3 ? 0 : twoDigits(b, hasColon ? from + 4 : from + 3);
  const isWhole = length === 3 || length === (hasColon ? 6 : 5);
  if (!isWhole || !(hours <= MOST_HOURS && minutes <= 59)) return NaN;
  return (sign === MINUS ? -1 : 1) * (hours * 60 + minutes) * 60 * SECOND;
}

const timeWriter =
  (mayHaveZone: boolean): Write =>
  (b, start, end, isEscaped, into, at) => {
    const last = end - 1;
    const separator = b[start + 1 + DATE_LENGTH];
    if (b[start] !== QUOTE || isEscaped || end - start < DATE_LENGTH + 2) return REFUSED;
    const days = daysAt(b, start + 1);
    const from = start + 1 + DATE_LENGTH;
    const isDate = from === last;
    if (!isDate && separator !== T && separator !== SPACE) return REFUSED;
    const time = isDate ? 0 : microsecondsAt(b, from + 1, last, mayHaveZone);
    const value = days * DAY_MILLISECONDS * 1000 + time;
    // Later years are beyond the whole numbers that are exact in JavaScript.
    return Number.isSafeInteger(value) ? writeInt64(value, into, at) : REFUSED;
  };

const canonical = (oid: number, write: Write, isSigned = true): Format => ({
  ...{ oid, write, isSigned },
  isCanonical: true,
});

export const TEXT: Format = canonical(25, writeText, false);

const FORMATS: { readonly [type: string]: Format } = {
  STRING: TEXT,
  BOOLEAN: canonical(16, writeBoolean, false),
  SHORT: canonical(21, wholeWriter(2, -32_768, 32_767)),
  INT: canonical(23, wholeWriter(4, -2_147_483_648, 2_147_483_647)),
  LONG: canonical(20, writeLong),
  // 0 and -0 are equal.
  DOUBLE: { oid: 701, write: writeDouble, isCanonical: false, isSigned: false },
  NAIVE_DATE: canonical(1082, writeDate),
  NAIVE_DATETIME: canonical(1114, timeWriter(false)),
  UTC_DATETIME: canonical(1184, timeWriter(true)),
  // Members may come in any order.
  JSON: { oid: 3802, write: writeJson, isCanonical: false, isSigned: false },
};
