/** Times and durations of CEL, the same on every machine: nothing depends on the worker's zone, rolls over or is cut. */
import { evaluate } from '@marcbachmann/cel-js';
import { ExpressionError } from './expression-error.js';

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;
const [LEAST, GREATEST] = [Date.parse('0001-01-01T00:00:00Z'), Date.parse('9999-12-31T23:59:59.999Z')];
const DAY = 86_400_000;

/** @throws {ExpressionError} where a text is no time with a zone by RFC 3339. */
export function timestampOf(text: string): Date {
  const [, year, month, day, hours, minutes, seconds, fraction = '', zone = ''] = RFC3339.exec(text) ?? [];
  if (year === undefined || zone === '')
    throw new ExpressionError(
      'timestamp() needs a time with a zone by RFC 3339, such as 2024-07-01T12:00:00Z',
    );
  // Days that a month does not have, and hours and seconds beyond the last, are another time afterwards.
  const clock = `${year}-${month}-${day}T${hours}:${minutes}:${seconds}`;
  const local = Date.parse(`${clock}Z`);
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, clock.length) !== clock)
    throw new ExpressionError('timestamp() has a date or an hour that does not exist');
  const digits = fraction.replace(/0+$/, '');
  const milliseconds = local + Number(digits.slice(0, 3).padEnd(3, '0')) - offsetOf(zone);
  const time = within(milliseconds);
  return digits.length > 3 ? finer(time, digits.slice(3)) : time;
}

/** Milliseconds that a zone such as +02:00 is ahead. */
function offsetOf(zone: string): number {
  if (/^z$/i.test(zone)) return 0;
  const [hours = 0, minutes = 0] = zone.replace(/^[+-]/, '').split(':').map(Number);
  if (hours > 23 || minutes > 59) throw new ExpressionError('a time has a zone that does not exist');
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

function within(milliseconds: number): Date {
  if (milliseconds >= LEAST && milliseconds <= GREATEST) return new Date(milliseconds);
  throw new ExpressionError('a time is not in the years 1 to 9999');
}

export const timestampOfSeconds = (seconds: bigint): Date => within(Number(seconds) * 1000);

/** The time as RFC 3339 text, with every digit. @throws {ExpressionError} beyond the years that have four digits. */
export function timeText(time: Date): string {
  const text = Number.isNaN(Date.prototype.getTime.call(time)) ? '' : time.toISOString();
  if (!/^\d/.test(text)) throw new ExpressionError('a time is not in the years 1 to 9999');
  return text;
}

/** A time with digits that a Date cannot hold: it keeps them as text, and refuses to lose them in a calculation. */
function finer(time: Date, digits: string): Date {
  const text = time.toISOString().replace('Z', `${digits}Z`);
  const refuse = () => {
    throw new ExpressionError(
      'a time has digits below a millisecond: it can be stored and taken apart, but not compared or calculated with',
    );
  };
  const own = { getTime: refuse, valueOf: refuse, toISOString: () => text };
  for (const [name, value] of Object.entries(own)) Object.defineProperty(time, name, { value });
  return time;
}

/** Parts of a time, and whether a zone may be given. The day of the year begins at 0. */
export const PARTS: { readonly [name: string]: (wall: Date) => number } = {
  getDate: (wall) => wall.getUTCDate(),
  getDayOfMonth: (wall) => wall.getUTCDate() - 1,
  getDayOfWeek: (wall) => wall.getUTCDay(),
  getDayOfYear: (wall) => Math.floor((wall.getTime() - new Date(wall).setUTCMonth(0, 1)) / DAY),
  getFullYear: (wall) => wall.getUTCFullYear(),
  getHours: (wall) => wall.getUTCHours(),
  getMilliseconds: (wall) => wall.getUTCMilliseconds(),
  getMinutes: (wall) => wall.getUTCMinutes(),
  getMonth: (wall) => wall.getUTCMonth(),
  getSeconds: (wall) => wall.getUTCSeconds(),
};

const formats = new Map<string, Intl.DateTimeFormat>();
const FORMATS_KEPT = 100;

/** A time whose parts in UTC are those that clocks show in a zone: a name such as Europe/Paris, or +02:00. */
export function wallClock(time: Date, zone = 'UTC'): Date {
  const instant = Date.prototype.getTime.call(time);
  if (zone === 'UTC') return new Date(instant);
  if (/^[+-]?\d\d:\d\d$/.test(zone)) return new Date(instant + offsetOf(zone));
  const parts: { [name: string]: number } = {};
  for (const { type, value } of formatOf(zone).formatToParts(instant)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  const wall = new Date(0);
  wall.setUTCFullYear(year, month - 1, day);
  wall.setUTCHours(hour, minute, second, ((instant % 1000) + 1000) % 1000);
  return wall;
}

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const known = formats.get(timeZone);
  if (known !== undefined) return known;
  const number = 'numeric';
  const look = {
    year: number,
    month: number,
    day: number,
    hour: number,
    minute: number,
    second: number,
  } as const;
  try {
    const made = new Intl.DateTimeFormat('en-US', {
      ...look,
      timeZone,
      hourCycle: 'h23',
      calendar: 'gregory',
    });
    if (formats.size >= FORMATS_KEPT) formats.clear();
    formats.set(timeZone, made);
    return made;
  } catch {
    throw new ExpressionError('a time zone is not known');
  }
}

interface Duration {
  seconds: bigint;
  nanos: number;
}
type DurationType = {
  new (seconds: bigint, nanos: number): Duration;
  fromMilliseconds: (ms: number) => Duration;
};
/** The library's class, which it does not export. */
const DurationClass = (evaluate("duration('0s')") as object).constructor as unknown as DurationType;
// The library makes the difference of two times by this. Its own goes through doubles, which lose digits after 104 days.
DurationClass.fromMilliseconds = (milliseconds) => durationOfNanos(BigInt(milliseconds) * FINEST);

const NANOS: { readonly [unit: string]: bigint } = {
  h: 3_600_000_000_000n,
  m: 60_000_000_000n,
  s: 1_000_000_000n,
  ms: 1_000_000n,
  us: 1000n,
  µs: 1000n,
  ns: 1n,
};
const SECOND = 1_000_000_000n;
/** A Date holds no more than milliseconds. */
const FINEST = 1_000_000n;
const DURATION = /^([+-]?)((?:(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(?:ns|us|µs|ms|s|m|h))+)$/;

/** @throws {ExpressionError} where a text is no duration of whole milliseconds. */
export function durationOf(text: string): Duration {
  const [, sign, parts] = (text.length <= 200 ? DURATION.exec(text) : null) ?? [];
  if (parts === undefined) throw new ExpressionError('duration() needs a text such as 1h30m or -1.5s');
  let total = 0n;
  for (const [, whole = '', fraction = '', unit = ''] of parts.matchAll(
    /(\d*)\.?(\d*)(ns|us|µs|ms|s|m|h)/g,
  )) {
    const scale = 10n ** BigInt(fraction.length);
    const scaled = BigInt(whole + fraction) * (NANOS[unit] ?? 0n);
    if (scaled % scale !== 0n) throw new ExpressionError('duration() has digits below a nanosecond');
    total += scaled / scale;
  }
  if (total % FINEST !== 0n)
    throw new ExpressionError('duration() has digits below a millisecond, which no calculation would keep');
  return durationOfNanos(sign === '-' ? -total : total);
}

/** The library adds durations rightly if their nanoseconds are never negative. */
function durationOfNanos(total: bigint): Duration {
  const nanos = ((total % SECOND) + SECOND) % SECOND;
  return new DurationClass((total - nanos) / SECOND, Number(nanos));
}

/** The duration as text, such as -1.5s. */
export function durationText({ seconds, nanos }: Duration): string {
  const total = seconds * SECOND + BigInt(nanos);
  const size = total < 0n ? -total : total;
  const fraction = String(size % SECOND)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${total < 0n ? '-' : ''}${size / SECOND}${fraction === '' ? '' : `.${fraction}`}s`;
}
