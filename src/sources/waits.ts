/**
 * How long a source asks to wait, in the many ways that APIs say it. All of it becomes seconds from now, by the
 * source's own clock where its answer carries one: neither the worker's clock nor the source's needs to be right.
 */
import type { Headers } from 'node-fetch';
import type { RateLimit } from '../protocol.js';

/** Numbers from here on name an instant, not a duration: seconds, milliseconds, microseconds since 1970. */
const EPOCH_SECONDS = 1e9;
const EPOCH_MILLISECONDS = 1e11;
const EPOCH_MICROSECONDS = 1e14;
/** No source means a longer wait: it is asked again then. An instant that lies further ahead comes from a wrong clock. */
const LONGEST_SECONDS = 24 * 3600;

/** Headers in common use, tried in this order. */
const RETRY = ['retry-after-ms', 'x-ms-retry-after-ms', 'retry-after'];
const REMAINING = ['x-ratelimit-remaining', 'ratelimit-remaining', 'x-rate-limit-remaining'];
const RESET = [
  'x-ratelimit-reset-after',
  'ratelimit-reset-after',
  'x-rate-limit-reset-after',
  'x-ratelimit-reset-ms',
  'x-ratelimit-reset',
  'ratelimit-reset',
  'x-rate-limit-reset',
  'retry-after',
];

/** Reads a source's budget of requests from an answer's headers. */
export interface Allowance {
  isUsedUp: boolean;
  /** The header that says how many requests are left, for people; empty where none does. */
  left: string;
  /** There is a header that says when there are more requests, readable or not. */
  namesReset: boolean;
  /** Seconds until there are more; null where no header says so in a way that can be used. */
  seconds: number | null;
}

/** Returns what the headers of an answer say is left, and for how long there is no more. */
export function allowance(headers: Headers, limit: RateLimit | null): Allowance {
  const combined = combinedHeader(headers);
  const left = first(headers, limit?.remainingHeader ?? null, REMAINING) ?? combined?.remaining ?? null;
  const reset = first(headers, limit?.resetHeader ?? null, RESET) ?? combined?.reset ?? null;
  const counts = left === null ? [] : left.value.split(',').map((part) => Number(part.split(';')[0]));
  return {
    isUsedUp: counts.some((count) => count < 1),
    left: left === null ? '' : `${left.name}: ${left.value}`,
    namesReset: reset !== null,
    seconds: reset === null ? null : secondsUntil(reset.value, sourceNow(headers), unitOf(reset.name)),
  };
}

/**
 * Returns for how many seconds an answer that refuses a request asks to wait.
 * @returns null where it does not say, or where the time that it names has passed already.
 */
export function retryAfter(headers: Headers, limit: RateLimit | null): number | null {
  for (const name of RETRY) {
    const value = headers.get(name);
    const seconds = value === null ? null : secondsUntil(value, sourceNow(headers), unitOf(name));
    if (seconds !== null) return seconds;
  }
  // A reset says nothing of this refusal where requests are left until then.
  const { isUsedUp, left, seconds } = allowance(headers, limit);
  return isUsedUp || left === '' ? seconds : null;
}

/** Returns the time by the source's clock, in milliseconds since 1970; the worker's where the answer has no date. */
export function sourceNow(headers: Headers): number {
  const date = instant(headers.get('date') ?? '');
  const age = Number(headers.get('age') ?? 0);
  // A cache hands out the date of the answer that it kept.
  return date === null ? Date.now() : date + (age > 0 ? age * 1000 : 0);
}

/**
 * Reads a time to wait: seconds, an instant (seconds or milliseconds since 1970, a date of HTTP or ISO 8601), or a
 * duration with its unit ("30s", "1.5 min", "1m30s", "PT30S").
 * @param now milliseconds since 1970.
 * @param options.isMilliseconds a plain number is one of milliseconds.
 * @param options.longest seconds: a longer duration is cut to it, and an instant further ahead is not believed.
 * @returns seconds from now; null where it cannot be read, has passed, or is not believed.
 */
export function secondsUntil(
  text: string,
  now: number,
  options: { isMilliseconds?: boolean; longest?: number } = {},
): number | null {
  const { isMilliseconds = false, longest = LONGEST_SECONDS } = options;
  const lasting = (seconds: number) => (seconds > 0 ? Math.min(seconds, longest) : null);
  const until = (at: number | null) => {
    const seconds = at === null ? 0 : (at - now) / 1000;
    return seconds > 0 && seconds <= longest ? seconds : null;
  };
  const trimmed = text.trim().replace(/^"(.*)"$/, '$1');
  if (trimmed === '') return null;
  // The same header may stand there more than once.
  const parts = trimmed.split(',');
  if (parts.length > 1 && parts.every((part) => part.trim() !== '' && !Number.isNaN(Number(part)))) {
    const waits = parts.flatMap((part) => secondsUntil(part, now, options) ?? []);
    return waits.length === 0 ? null : Math.max(...waits);
  }
  const number = Number(trimmed);
  if (Number.isNaN(number)) {
    const seconds = duration(trimmed);
    return seconds === null ? until(instant(trimmed)) : lasting(seconds);
  }
  if (number >= EPOCH_MICROSECONDS) return until(number / 1000);
  if (number >= EPOCH_MILLISECONDS) return until(number);
  if (number >= EPOCH_SECONDS) return until(number * 1000);
  return lasting(isMilliseconds ? number / 1000 : number);
}

const UNIT_SECONDS: [pattern: RegExp, seconds: number][] = [
  [/^(ms|msecs?|millis?|milliseconds?)$/, 0.001],
  [/^(s|secs?|seconds?)$/, 1],
  [/^(m|mins?|minutes?)$/, 60],
  [/^(h|hrs?|hours?)$/, 3600],
  [/^(d|days?)$/, 86_400],
];

/** Reads "30s", "1.5 min", "1h 30m", "2 minutes and 5 seconds", "PT1M30S" → seconds; null where it is none of these. */
function duration(text: string): number | null {
  const plain = text
    .toLowerCase()
    .replace(/^[^\d]*\b(?:in|after|wait|for|about)\s+(?=\d)/, '')
    .replace(/^p(\d+d)?t?(?=\d|$)/, '$1');
  const part = /(\d+(?:\.\d+)?)\s*([a-z]+)\.?\s*(?:,|and)?\s*/y;
  let total = 0;
  for (let at = 0; at < plain.length; at = part.lastIndex) {
    part.lastIndex = at;
    const [, number, unit = ''] = part.exec(plain) ?? [];
    const known = UNIT_SECONDS.find(([pattern]) => pattern.test(unit));
    if (number === undefined || known === undefined) return null;
    total += Number(number) * known[1];
  }
  return plain === '' ? null : total;
}

const MONTH = '(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*';
/** Dates that `Date.parse` may be asked to read: left to itself it finds one in "try 5". */
const DATES = [
  /^\d{4}-\d{2}-\d{2}([t ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?)?/i,
  new RegExp(`^(?:[a-z]+,?\\s+)?\\d{1,2}[ -]${MONTH}[ -]\\d{2,4}\\s+\\d{1,2}:\\d{2}`, 'i'),
  new RegExp(`^[a-z]+\\s+${MONTH}\\s+\\d{1,2}\\s+\\d{1,2}:\\d{2}:\\d{2}\\s+\\d{4}`, 'i'),
];
const ZONE = /(?:z|gmt|utc|ut|[+-]\d{2}:?\d{2})$/i;

/** Reads a date of HTTP or ISO 8601 → milliseconds since 1970; without a zone it is meant in UTC. */
function instant(text: string): number | null {
  const trimmed = text.trim();
  if (!DATES.some((pattern) => pattern.test(trimmed))) return null;
  const isIso = /^\d{4}-\d{2}-\d{2}/.test(trimmed);
  const iso = trimmed.replace(/^(\S{10})\s+(?=\d)/, '$1T').replace(/\s*(utc|gmt|ut)$/i, 'Z');
  const time = ZONE.test(trimmed.slice(isIso ? 10 : 0));
  const read = isIso
    ? Date.parse(time || iso.length === 10 ? iso : `${iso}Z`)
    : Date.parse(time ? trimmed : `${trimmed} GMT`);
  return Number.isNaN(read) ? null : read;
}

interface Header {
  name: string;
  value: string;
}

function first(headers: Headers, own: string | null, common: readonly string[]): Header | null {
  for (const name of own === null ? common : [own]) {
    const value = headers.get(name);
    if (value !== null && value.trim() !== '') return { name, value: value.trim() };
  }
  return null;
}

/** Reads `RateLimit: "default";r=0;t=30`, and as earlier drafts had it `limit=10, remaining=0, reset=30`. */
function combinedHeader(headers: Headers): { remaining: Header | null; reset: Header | null } | null {
  const value = headers.get('ratelimit');
  if (value === null) return null;
  const member = (names: string): Header | null => {
    const found = new RegExp(`(?:^|[;,\\s])(?:${names})\\s*=\\s*(\\d+)`, 'i').exec(value);
    return found?.[1] === undefined ? null : { name: 'ratelimit', value: found[1] };
  };
  return { remaining: member('r|remaining'), reset: member('t|reset') };
}

const unitOf = (name: string) => ({ isMilliseconds: /-(ms|millis|milliseconds)$/i.test(name) });
