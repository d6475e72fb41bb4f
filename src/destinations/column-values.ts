/** Values of columns as text that does not depend on a database. The table in docs/schema.md shows each form. */
import type { ColumnType } from '../protocol.js';
import { isTaken } from '../sources/declared-values.js';

/** A value of a column; null if it has none. */
export type ColumnValue = string | null;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Returns the JSON texts of the members of a record, which is valid JSON, by their names; of a name that comes twice the last. */
export function membersOf(record: string): Map<string, string> {
  const members = new Map<string, string>();
  let at = record.indexOf('{') + 1;
  for (;;) {
    const start = record.indexOf('"', at);
    if (start === -1) return members;
    const end = endOfString(record, start);
    const colon = record.indexOf(':', end);
    at = endOfValue(record, colon + 1);
    members.set(JSON.parse(record.slice(start, end)) as string, record.slice(colon + 1, at).trim());
  }
}

/** Returns the place behind a string that starts at `at`. */
function endOfString(text: string, at: number): number {
  for (let i = at + 1; ; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE || i >= text.length) return i + 1;
  }
}

/** Returns the place of the comma or brace behind a value. */
function endOfValue(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length;) {
    const c = text[i];
    if (c === '"') {
      i = endOfString(text, i);
      continue;
    }
    if (c === '{' || c === '[') depth++;
    else if (depth === 0 && (c === ',' || c === '}')) return i;
    else if (c === '}' || c === ']') depth--;
    i++;
  }
  return text.length;
}

/** JSON text without spaces between its parts. */
export const compact = (raw: string): string => raw.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

/**
 * Returns the value of a column: numbers as decimal text, times in ISO 8601 with six digits of a second, binary as base64, JSON
 * as text without spaces.
 * @param raw the JSON text of the value.
 * @returns undefined if the column cannot hold it.
 */
export function valueOf(type: ColumnType, raw: string): ColumnValue | undefined {
  if (raw === 'null') return null;
  if (!isTaken(type, raw)) return undefined;
  if (type === 'JSON') return compact(raw);
  const text = raw.startsWith('"') ? (JSON.parse(raw) as string) : compact(raw);
  switch (type) {
    case 'STRING':
    case 'BINARY':
    case 'BOOLEAN':
      return text;
    case 'SHORT':
    case 'INT':
    case 'LONG':
      return (/^-?\d+$/.test(text) ? BigInt(text) : BigInt(Number(text))).toString();
    case 'FLOAT':
      return floatText(Math.fround(Number(text)));
    case 'DOUBLE':
      return String(Number(text));
    case 'NAIVE_DATE':
      return /^\d+-\d\d-\d\d/.exec(text)?.[0];
    case 'NAIVE_DATETIME':
      return timeText(text);
    case 'UTC_DATETIME':
      return `${timeText(text)}Z`;
    default:
      return decimalText(text, Number(/,(\d+)\)$/.exec(type)?.[1]));
  }
}

/** The shortest text that is read as the same number of 32 bits. */
function floatText(value: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(value);
}

/** Rounds half away from zero. */
function decimalText(text: string, scale: number): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`;
  // The place of the first digit that is cut off.
  const kept = whole.length + Number(exponent) + scale;
  const exact = kept <= 0 ? 0n : BigInt(digits.slice(0, kept).padEnd(kept, '0'));
  const next = kept < 0 ? '0' : (digits[kept] ?? '0');
  const units = (next >= '5' ? exact + 1n : exact).toString().padStart(scale + 1, '0');
  const point = units.length - scale;
  const shown = scale === 0 ? units : `${units.slice(0, point)}.${units.slice(point)}`;
  return /[1-9]/.test(shown) ? `${sign}${shown}` : shown;
}

const TIME =
  /^(\d+)-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(?:Z| UTC|([+-])(\d\d):?(\d\d)?)?$/;

/** The time in UTC, without its zone; more digits of a second than six are cut off. */
function timeText(text: string): string {
  const [, year, month, day, hour, minute, second, fraction = '', sign = '+', hours, minutes] =
    TIME.exec(text) ?? [];
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  const offset = (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * (sign === '-' ? -1 : 1);
  date.setUTCHours(Number(hour ?? 0), Number(minute ?? 0) - offset, Number(second ?? 0));
  const pad = (value: number, length = 2) => String(value).padStart(length, '0');
  const days = [pad(date.getUTCFullYear(), 4), pad(date.getUTCMonth() + 1), pad(date.getUTCDate())];
  const clock = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map((part) => pad(part));
  return `${days.join('-')}T${clock.join(':')}.${fraction.slice(0, 6).padEnd(6, '0')}`;
}
