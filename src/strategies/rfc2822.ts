/** Times as mail, RSS and HTTP write them: RFC 2822, and the older forms that RFC 9110 still has. */
import type { Values } from './values.js';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
/** Hours east of UTC. */
const ZONES: { [name: string]: number } = {
  ut: 0,
  utc: 0,
  gmt: 0,
  z: 0,
  est: -5,
  edt: -4,
  cst: -6,
  cdt: -5,
  mst: -7,
  mdt: -6,
  pst: -8,
  pdt: -7,
};
const SHAPE =
  /^\s*(?:([a-z]{3,9})\.?,?\s+)?(\d{1,2})[\s-]+([a-z]{3})[a-z]*\.?[\s-]+(\d{4}|\d\d)\s+(\d{1,2}):(\d\d)(?::(\d\d))?\s*([+-]\d{4}|[a-z]{1,3})?(?:\s*\([^)]*\))?\s*$/i;
/** How a time is written where no record shows another way. */
const PLAIN = 'Thu, 01 Jan 1970 00:00:00 +0000';

interface Parts {
  /** Since 1970, in UTC. A leap second is half a second past :59. */
  seconds: number;
  /** Seconds east of UTC. */
  zone: number;
  style: { hasDay: boolean; isPadded: boolean; hasSeconds: boolean; zone: string };
}

function takeApart(text: string): Parts | null {
  const match = SHAPE.exec(text);
  if (match === null) return null;
  const [, dayName, day = '', monthName = '', years = '', hour = '', minute = '', second, zoneName = ''] =
    match;
  const month = MONTHS.indexOf(monthName.toLowerCase());
  // RFC 2822, 4.3: two digits are of 1950 to 2049.
  const year = years.length === 4 ? +years : +years < 50 ? 2000 + +years : 1900 + +years;
  const isDay = dayName === undefined || DAYS.includes(capital(dayName.slice(0, 3)));
  const zone = zoneOf(zoneName);
  const leap = second === '60';
  if (month === -1 || year < 1 || !isDay || zone === null) return null;
  if (+hour > 23 || +minute > 59 || +(second ?? 0) > 60) return null;
  const date = new Date(0);
  date.setUTCFullYear(year, month, +day);
  date.setUTCHours(+hour, +minute, leap ? 59 : +(second ?? 0));
  if (date.getUTCMonth() !== month || date.getUTCDate() !== +day) return null;
  return {
    seconds: date.getTime() / 1000 - zone + (leap ? 0.5 : 0),
    zone,
    style: {
      hasDay: dayName !== undefined,
      isPadded: day.length === 2,
      hasSeconds: second !== undefined,
      zone: zoneName,
    },
  };
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

/** Seconds east of UTC; none is named: UTC. */
function zoneOf(name: string): number | null {
  if (name === '') return 0;
  const hours = ZONES[name.toLowerCase()];
  if (hours !== undefined) return hours * 3600;
  if (!/^[+-]\d{4}$/.test(name) || +name.slice(3) > 59 || +name.slice(1, 3) > 23) return null;
  return (name.startsWith('-') ? -1 : 1) * (+name.slice(1, 3) * 3600 + +name.slice(3) * 60);
}

function readable(text: string): Parts {
  const parts = takeApart(text);
  if (parts === null) throw new RangeError(`not an RFC 2822 time: ${JSON.stringify(text.slice(0, 100))}`);
  return parts;
}

/** A time written as `like` is, rounded down to what that shows; not before the year 1. */
function write(seconds: number, like: string): string {
  const { zone, style } = readable(like);
  const date = new Date(Math.max(Math.floor(seconds) + zone, -62_135_596_800) * 1000);
  const two = (part: number) => String(part).padStart(2, '0');
  const month = capital(MONTHS[date.getUTCMonth()] ?? '');
  const day = style.isPadded ? two(date.getUTCDate()) : String(date.getUTCDate());
  return (
    (style.hasDay ? `${DAYS[date.getUTCDay()] ?? ''}, ` : '') +
    `${day} ${month} ${String(date.getUTCFullYear()).padStart(4, '0')} ` +
    `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}` +
    (style.hasSeconds ? `:${two(date.getUTCSeconds())}` : '') +
    (style.zone === '' ? '' : ` ${style.zone}`)
  );
}

const writeInstant = (instant: number, like: string | null) => write(instant / 1000, like ?? PLAIN);

export const RFC_2822: Values = {
  what: 'an RFC 2822 time',
  first: null,
  isValue: (text) => takeApart(text) !== null,
  compare: (a, b) => (a === b ? 0 : readable(a).seconds - readable(b).seconds),
  minus: (value, seconds) => write(readable(value).seconds - Math.ceil(seconds), value),
  clock: {
    read: (value) => readable(value).seconds * 1000,
    write: writeInstant,
    lower: writeInstant,
    unit: (like) => (readable(like ?? PLAIN).style.hasSeconds ? 1000 : 60_000),
  },
};
