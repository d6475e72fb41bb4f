/**
 * Timestamps as the source writes them. They are compared at full precision (a fraction of any length, any zone) and
 * never pass through a clock of ours: a `Date` knows only milliseconds, and a mark rounded up by one loses rows.
 */

/** Older than any record: where a first pass begins. */
export const FIRST = '0001-01-01T00:00:00Z';

/** A point in time: `fraction` holds the digits after the decimal point, without trailing zeros. */
export interface Instant {
  /** Since 1970, in UTC. A leap second is half a second past :59, so that it sorts between :59.9… and :00. */
  seconds: number;
  fraction: string;
}

const SHAPE =
  /^(\+?)(\d{4,6})-(\d\d)-(\d\d)(?:([Tt ])(\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?$/;
const DAY = 86_400;
const MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** A text taken apart; `wall` is what the clock on the source's wall shows, before its zone is applied. */
interface Parts {
  wall: number;
  leap: boolean;
  fraction: string;
  /** Seconds east of UTC. */
  zone: number;
  /** How the text was written, so that a computed one can be written alike. */
  style: { plus: string; yearDigits: number; separator: string | undefined; suffix: string };
}

function takeApart(text: string): Parts | null {
  const match = SHAPE.exec(text);
  if (match === null) return null;
  const [, plus = '', years = '', months = '', days = '', separator, h = '0', m = '0', s = '0'] = match;
  const [fraction = '', suffix = '', sign, zoneHours = '0', zoneMinutes = '0'] = match.slice(9);
  const [year, month, day, hour, minute, second] = [+years, +months, +days, +h, +m, +s];
  if (year < 1 || year > 270_000 || day < 1 || day > (MONTH_DAYS[month - 1] ?? 0)) return null;
  if (month === 2 && day === 29 && !isLeapYear(year)) return null;
  if (hour > 23 || minute > 59 || second > 60 || +zoneHours > 23 || +zoneMinutes > 59) return null;
  return {
    wall: daysSince1970(year, month, day) * DAY + hour * 3600 + minute * 60 + Math.min(second, 59),
    leap: second === 60,
    fraction,
    zone: (sign === '-' ? -1 : 1) * (+zoneHours * 3600 + +zoneMinutes * 60),
    style: { plus, yearDigits: plus === '' ? 4 : years.length, separator, suffix },
  };
}

const isLeapYear = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);

/** Days of the proleptic Gregorian calendar, counted in years that begin in March so that leap days come last. */
function daysSince1970(year: number, month: number, day: number): number {
  const y = month > 2 ? year : year - 1;
  const leapDays = Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400);
  return 365 * y + leapDays + Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 719_469;
}

/**
 * Reads `YYYY-MM-DD[T ]HH:MM:SS[.fraction](Z|±HH:MM|±HHMM|±HH|nothing, meaning UTC)` or a date alone; null for
 * anything else.
 */
export function parse(text: string): Instant | null {
  const parts = takeApart(text);
  if (parts === null) return null;
  return {
    seconds: parts.wall - parts.zone + (parts.leap ? 0.5 : 0),
    fraction: parts.fraction.endsWith('0') ? parts.fraction.replace(/0+$/, '') : parts.fraction,
  };
}

/** The form of nearly every timestamp; the last days of a month are left to {@link parse}. */
const PLAIN =
  /^(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z$/;

/** Whether {@link parse} can read the text; asked of every record, so a quick look comes first. */
export function isTimestamp(text: string): boolean {
  return PLAIN.test(text) || parse(text) !== null;
}

/** Negative when `a` is the earlier of two texts that {@link parse} can read, positive when it is the later. */
export function compare(a: string, b: string): number {
  if (a === b) return 0;
  if (sameShape(a, b)) return a < b ? -1 : 1;
  const [left, right] = [readable(a), readable(b)];
  if (left.seconds !== right.seconds) return left.seconds - right.seconds;
  // Digits after a decimal point sort as text does: '' < '0001' < '12' < '5'.
  return left.fraction < right.fraction ? -1 : left.fraction > right.fraction ? 1 : 0;
}

/** UTC texts with a year of four digits, the same separator and as many digits in all sort as text. */
function sameShape(a: string, b: string): boolean {
  return (
    a.length === b.length &&
    (a[10] === 'T' || a[10] === ' ') &&
    a[10] === b[10] &&
    a.endsWith('Z') &&
    b.endsWith('Z')
  );
}

function readable(text: string): Instant {
  const instant = parse(text);
  if (instant === null) throw notATimestamp(text);
  return instant;
}

const notATimestamp = (text: string): RangeError =>
  new RangeError(`not a timestamp: ${JSON.stringify(text.slice(0, 100))}`);

/**
 * `text` less `seconds`, written as `text` is: same separator, fraction digits and zone, because a source may refuse
 * any other. Rounded down where that cannot show the result, so never later than it; not before the year 1.
 */
export function minusSeconds(text: string, seconds: number): string {
  const parts = takeApart(text);
  if (parts === null) throw notATimestamp(text);
  // Whole seconds are taken off, so the digits of the fraction stay what they were.
  const exact = parts.wall - Math.max(0, Math.ceil(seconds));
  const earliest = daysSince1970(1, 1, 1) * DAY;
  const fraction = exact < earliest ? parts.fraction.replace(/\d/g, '0') : parts.fraction;
  return write(Math.max(exact, earliest), fraction, parts.style);
}

/** The milliseconds since 1970 of a text that {@link parse} can read, rounded down. */
export function millisecondsOf(text: string): number {
  const { seconds, fraction } = readable(text);
  return seconds * 1000 + Number(fraction.slice(0, 3).padEnd(3, '0'));
}

/** An instant of ours, written as `like` is (same separator, fraction digits and zone), rounded down. */
export function writeLike(milliseconds: number, like: string): string {
  const parts = takeApart(like);
  if (parts === null) throw notATimestamp(like);
  const seconds = Math.floor(milliseconds / 1000);
  const digits = String(Math.floor(milliseconds) - seconds * 1000).padStart(3, '0');
  const fraction = digits.padEnd(parts.fraction.length, '0').slice(0, parts.fraction.length);
  return write(seconds + parts.zone, fraction, parts.style);
}

/** The least difference in milliseconds that a text written as `like` is can show; no finer than one. */
export function unitOf(like: string): number {
  const parts = takeApart(like);
  if (parts === null) throw notATimestamp(like);
  if (parts.style.separator === undefined) return DAY * 1000;
  return 10 ** (3 - Math.min(parts.fraction.length, 3));
}

function write(wall: number, fraction: string, style: Parts['style']): string {
  const date = new Date(wall * 1000);
  const two = (part: number): string => String(part).padStart(2, '0');
  const year = style.plus + String(date.getUTCFullYear()).padStart(style.yearDigits, '0');
  const day = `${year}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  if (style.separator === undefined) return day;
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return day + style.separator + time + (fraction === '' ? '' : `.${fraction}`) + style.suffix;
}
