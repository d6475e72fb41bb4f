/**
 * Says which JSON values a column of a declared type takes: what every destination reads in the same way, and nothing
 * else. The table in docs/schema.md lists them, and a test runs it through all destinations.
 */
import type { ColumnType } from '../protocol.js';

/** A number as JSON spells it: no "+", no leading zeros, no "1_000", no words such as "NaN". */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const WHOLE = /^-?(?:0|[1-9]\d*)$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const DATE = String.raw`(?<year>\d{4}|[1-9]\d{4,5})-(?<month>\d\d)-(?<day>\d\d)`;
const TIME = String.raw`(?:(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?|24:00(?::00(?:\.0+)?)?)`;
/** DuckDB reads a zone only behind seconds, PostgreSQL no offset of 16 hours or more. */
const ZONED_TIME = String.raw`(?:(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?|24:00:00(?:\.0+)?)(?:Z| UTC|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)`;
const TIMES: Partial<Record<ColumnType, RegExp>> = {
  NAIVE_DATE: new RegExp(String.raw`^${DATE}(?:[T ]00:00(?::00(?:\.0+)?)?)?$`),
  NAIVE_DATETIME: new RegExp(`^${DATE}(?:[T ]${TIME})?$`),
  UTC_DATETIME: new RegExp(`^${DATE}(?:[T ](?:${TIME}|${ZONED_TIME}))?$`),
};
/** The last whole year that a timestamp of DuckDB has; PostgreSQL's are a little later. */
const LAST_YEAR = 294_246;
const MONTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const RANGES: Partial<Record<ColumnType, readonly [bigint, bigint]>> = {
  SHORT: [-(2n ** 15n), 2n ** 15n - 1n],
  INT: [-(2n ** 31n), 2n ** 31n - 1n],
  LONG: [-(2n ** 63n), 2n ** 63n - 1n],
};
/** More digits than this are beyond every whole type. */
const WHOLE_LENGTH = 40;

/**
 * Says whether a column takes a value.
 * @param raw the value's JSON text, valid and other than null.
 */
export function isTaken(type: ColumnType, raw: string): boolean {
  if (type === 'STRING' || type === 'JSON') return true;
  const first = raw.charCodeAt(0);
  const isText = first === 0x22;
  const isNumber = first === 0x2d || (first >= 0x30 && first <= 0x39);
  if (type === 'BOOLEAN') return raw === 'true' || raw === 'false' || raw === '"true"' || raw === '"false"';
  if (!isText && !isNumber) return false;
  const text = isText ? (JSON.parse(raw) as string) : raw;
  switch (type) {
    case 'SHORT':
    case 'INT':
    case 'LONG':
      if (WHOLE.test(text)) return text.length <= WHOLE_LENGTH && isWithin(BigInt(text), type);
      // A number such as 3.0 or 1e3 is a whole one; a text of that spelling is not read as one everywhere.
      return isNumber && Number.isSafeInteger(Number(text)) && isWithin(BigInt(Number(text)), type);
    case 'FLOAT':
      return NUMBER.test(text) && isWithinDouble(text, Math.fround(Number(text)));
    case 'DOUBLE':
      return NUMBER.test(text) && isWithinDouble(text, Number(text));
    case 'NAIVE_DATE':
    case 'NAIVE_DATETIME':
    case 'UTC_DATETIME':
      return isText && isTime(type, text);
    case 'BINARY':
      return isText && BASE64.test(text);
    default:
      return NUMBER.test(text) && isWithinDecimal(type, text);
  }
}

/** Why a column does not take a value, and what to do. */
export const cannotHold = (
  column: string,
  value: string,
  type: ColumnType,
): { why: string; remedy: string } => ({
  why: `column ${JSON.stringify(column)} cannot hold ${JSON.stringify(value.slice(0, 200))} as ${type}`,
  remedy:
    '. Declare another type in "columns"; for an existing table, set "misfits" to "evolve" or "quarantine".',
});

/**
 * Whether bytes are a value as most are written, which its column takes; {@link isTaken} takes others too, and costs more.
 * @param digits as {@link wholeDigits} says of the type.
 * @param end is behind the value.
 */
export function isPlainlyTaken(
  type: ColumnType,
  digits: number,
  b: Buffer,
  start: number,
  end: number,
): boolean {
  const first = b[start] as number;
  if (first === 0x6e) return true;
  if (first === 0x22) return type === 'UTC_DATETIME' && isPlainInstant(b, start, end);
  if (type === 'BOOLEAN') return first === 0x74 || first === 0x66;
  let whole = 0;
  let i = first === 0x2d ? start + 1 : start;
  for (; i < end && isDigit(b[i] as number); i++) whole++;
  if (i === end) return whole > 0 && whole <= digits;
  if (b[i++] !== 0x2e || type === 'SHORT' || type === 'INT' || type === 'LONG') return false;
  while (i < end && isDigit(b[i] as number)) i++;
  // It may be rounded up to one digit more, and must not be so small that it becomes zero.
  return i === end && whole > 0 && whole < digits && end - start < 38;
}

const isDigit = (c: number) => c >= 0x30 && c <= 0x39;

/** The number of digits that every number of a type may have before its point; 0 for types that take no numbers. */
export function wholeDigits(type: ColumnType): number {
  switch (type) {
    case 'SHORT':
      return 4;
    case 'INT':
      return 9;
    case 'LONG':
      return 18;
    case 'FLOAT':
    case 'DOUBLE':
      return 30;
    default: {
      const { precision, scale } = sizeOf(type);
      return precision - scale;
    }
  }
}

function isWithin(value: bigint, type: ColumnType): boolean {
  const [least, greatest] = RANGES[type] ?? [0n, 0n];
  return value >= least && value <= greatest;
}

/** Whether a number became neither infinite nor, being another number, zero. */
const isWithinDouble = (text: string, value: number): boolean =>
  Number.isFinite(value) && (value !== 0 || !/[1-9]/.test(text.replace(/[eE].*$/, '')));

function isTime(type: ColumnType, text: string): boolean {
  const { year, month, day } = TIMES[type]?.exec(text)?.groups ?? {};
  return year !== undefined && Number(year) <= LAST_YEAR && isDay(Number(year), Number(month), Number(day));
}

/**
 * Whether bytes are an instant as most are written; a third of all time would go into these as text. Others may be
 * one too.
 */
export function isPlainInstant(b: Buffer, start: number, end: number): boolean {
  // "2026-01-28T10:00:00Z", and the same with up to six digits of a second.
  const length = end - start;
  if (length < 22 || length > 29 || b[end - 2] !== 0x5a) return false;
  for (let i = 0; i < 19; i++) {
    const c = b[start + 1 + i] as number;
    const wanted = INSTANT[i] as number;
    if (wanted === 0x30 ? c < 0x30 || c > 0x39 : c !== wanted) return false;
  }
  if (length > 22) {
    if (length < 24 || b[start + 20] !== 0x2e) return false;
    for (let i = start + 21; i < end - 2; i++)
      if ((b[i] as number) < 0x30 || (b[i] as number) > 0x39) return false;
  }
  const day = twoDigits(b, start + 9);
  const month = twoDigits(b, start + 6);
  if (day < 1 || day > 28 || month < 1 || month > 12) return false;
  if (twoDigits(b, start + 1) + twoDigits(b, start + 3) === 0) return false;
  return twoDigits(b, start + 12) <= 23 && twoDigits(b, start + 15) <= 59 && twoDigits(b, start + 18) <= 59;
}

const twoDigits = (b: Buffer, at: number) => ((b[at] as number) - 0x30) * 10 + (b[at + 1] as number) - 0x30;

const INSTANT = Buffer.from('0000-00-00T00:00:00');

/** Whether a calendar has a day. */
export function isDay(year: number, month: number, day: number): boolean {
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = month === 2 && isLeap ? 29 : (MONTHS[month - 1] ?? 0);
  return year >= 1 && day >= 1 && day <= days;
}

const SIZES = new Map<ColumnType, { precision: number; scale: number }>();

/** Precision and scale of a DECIMAL; zeros of any other type. */
function sizeOf(type: ColumnType): { precision: number; scale: number } {
  const known = SIZES.get(type);
  if (known !== undefined) return known;
  const [, precision = '0', scale = '0'] = /^DECIMAL\((\d+),(\d+)\)$/.exec(type) ?? [];
  const size = { precision: Number(precision), scale: Number(scale) };
  SIZES.set(type, size);
  return size;
}

/** Whether a number has room in a DECIMAL once the digits beyond its scale are rounded, halves away from zero. */
function isWithinDecimal(type: ColumnType, text: string): boolean {
  const { precision, scale } = sizeOf(type);
  if (text.length <= precision - scale && !/e/i.test(text)) return true;
  const [, whole = '', fraction = '', exponent = '0'] =
    /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  if (digits === '') return true;
  // How many of the digits stand before the point of the number times 10^scale.
  const kept = digits.length - fraction.length + Number(exponent) + scale;
  if (kept !== precision) return kept < precision;
  // All nines may be rounded up to one digit more.
  const roundsUp = (digits.codePointAt(kept) ?? 0) >= 0x35;
  return !(roundsUp && /^9+$/.test(digits.slice(0, kept)));
}
