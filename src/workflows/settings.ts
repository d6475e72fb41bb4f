import { ApplicationFailure } from '@temporalio/common';
import { durationText, parseDuration } from '../durations.js';
import type { Json, StreamPlan } from '../protocol.js';

/** What `set` has changed; durations in seconds. */
export type Settings = { [name: string]: number };

interface Setting {
  means: string;
  kind: 'whole number' | 'number' | 'duration';
  least: number;
  most: number;
  /** Why it cannot be set for such a stream, or null. */
  refusal?: (plan: StreamPlan) => string | null;
  apply: (plan: StreamPlan, value: number) => StreamPlan;
}

const YEAR = 366 * 86_400;
const onePass = ({ intervalSeconds }: StreamPlan) =>
  intervalSeconds === null ? 'this sync makes one pass; its configuration has no "interval"' : null;
const batch = (name: keyof StreamPlan['batch']) => (plan: StreamPlan, value: number) => ({
  ...plan,
  batch: { ...plan.batch, [name]: value },
});
const rateLimit =
  (name: 'requestsPerSecond' | 'concurrency') =>
  (plan: StreamPlan, value: number): StreamPlan => ({
    ...plan,
    request: {
      ...plan.request,
      rateLimit: {
        ...{ requestsPerSecond: null, concurrency: null, remainingHeader: null, resetHeader: null },
        ...plan.request.rateLimit,
        [name]: value,
      },
    },
  });

/** What can be changed while a sync runs: nothing here moves its place in the source, or says what a row is. */
export const SETTINGS: { [name: string]: Setting } = {
  interval: {
    means: 'the sleep between passes',
    ...{ kind: 'duration', least: 0.001, most: YEAR, refusal: onePass },
    apply: (plan, intervalSeconds) => ({ ...plan, intervalSeconds }),
  },
  idle_interval: {
    means: 'what that sleep may grow to while passes bring nothing',
    ...{ kind: 'duration', least: 0.001, most: YEAR, refusal: onePass },
    apply: (plan, idleIntervalSeconds) => ({ ...plan, idleIntervalSeconds }),
  },
  page_size: {
    means: 'records a page (offset, cursor)',
    ...{ kind: 'whole number', least: 1, most: 100_000, refusal: noPageSize },
    apply: ({ options, ...plan }, pageSize) => ({
      ...plan,
      options:
        options.strategy === 'offset' || options.strategy === 'cursor' ? { ...options, pageSize } : options,
    }),
  },
  requests_per_second: {
    means: 'what the source is asked a second, evenly; also "rate"',
    ...{ kind: 'number', least: 0.001, most: 10_000 },
    apply: rateLimit('requestsPerSecond'),
  },
  concurrency: {
    means: 'requests at once to the source',
    ...{ kind: 'whole number', least: 1, most: 1000 },
    apply: rateLimit('concurrency'),
  },
  in_flight: {
    means: 'requests on their way at once for a stream',
    ...{ kind: 'whole number', least: 1, most: 32 },
    apply: (plan, inFlight) => ({ ...plan, inFlight }),
  },
  batch_rows: {
    means: 'rows a batch, at most',
    ...{ kind: 'whole number', least: 1, most: 10_000_000 },
    apply: batch('rows'),
  },
  batch_bytes: {
    means: 'bytes a batch, at most',
    ...{ kind: 'whole number', least: 1024, most: Number.MAX_SAFE_INTEGER },
    apply: batch('bytes'),
  },
  batch_seconds: {
    means: 'seconds a batch is read for, at most',
    ...{ kind: 'number', least: 0.05, most: 600 },
    apply: batch('seconds'),
  },
  retry_for: {
    means: 'for how long a source that does not answer is tried again',
    ...{ kind: 'duration', least: 0.001, most: YEAR },
    apply: (plan, retrySeconds) => ({ ...plan, retrySeconds }),
  },
  timeout: {
    means: 'how long an answer may take to begin',
    ...{ kind: 'duration', least: 0.001, most: YEAR },
    apply: (plan, requestTimeoutSeconds) => ({ ...plan, requestTimeoutSeconds }),
  },
};

const ALIASES: { [name: string]: string } = { rate: 'requests_per_second' };
/** Says that a setting is to be what the configuration says again. */
const AS_CONFIGURED = 'default';

function noPageSize({ options }: StreamPlan): string | null {
  const { strategy } = options;
  if (strategy === 'offset' || strategy === 'cursor') return null;
  if (strategy === 'page_number')
    return 'pages of another size have other numbers; change the configuration and start over with --full';
  return `${strategy} asks for no page size`;
}

/** New settings as they were given: a value of null takes one back. */
export type Change = { [name: string]: number | null };

/**
 * Reads `{"page_size": 50, "interval": "15m"}`; numbers may be text, `default` takes a setting back.
 * @throws {ApplicationFailure} with every problem at once.
 */
export function readChange(raw: unknown): Change {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw) || Object.keys(raw).length === 0)
    throw refused(['give an object such as {"page_size": 50, "interval": "15m"}']);
  const problems: string[] = [];
  const change: Change = {};
  for (const [given, value] of Object.entries(raw as { [name: string]: Json })) {
    const name = ALIASES[given] ?? given;
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (setting === undefined) {
      problems.push(
        `${given}: cannot be changed while a sync runs; these can: ${Object.keys(SETTINGS).join(', ')}`,
      );
      continue;
    }
    const read = value === null || value === AS_CONFIGURED ? null : valueOf(setting, value);
    if (typeof read === 'string') problems.push(`${given}: ${read}`);
    else change[name] = read;
  }
  if (problems.length > 0) throw refused(problems);
  return change;
}

/** A change that a sync of several streams hands on: read by it already, so that what is not one is from nobody. */
export const passedOn = (change: Change): Change =>
  Object.fromEntries(
    Object.entries(change).filter(
      ([name, value]) => Object.hasOwn(SETTINGS, name) && (value === null || Number.isFinite(value)),
    ),
  );

/** @throws {ApplicationFailure} where a setting is not for such a stream. */
export function checkChange(change: Change, plan: StreamPlan): void {
  const problems = Object.entries(change).flatMap(([name, value]) => {
    const refusal = value === null ? null : (SETTINGS[name]?.refusal?.(plan) ?? null);
    return refusal === null ? [] : [`${name}: ${refusal}`];
  });
  if (problems.length > 0) throw refused(problems);
}

/** Settings with a change to them. */
export function withChange(settings: Settings, change: Change): Settings {
  const all = Object.entries({ ...settings, ...change });
  return Object.fromEntries(all.filter((entry): entry is [string, number] => entry[1] !== null));
}

/** The plan as the settings make it. */
export function withSettings(plan: StreamPlan, settings: Settings): StreamPlan {
  return Object.entries(settings).reduce((made, [name, value]) => {
    const setting = SETTINGS[name];
    return setting === undefined || (setting.refusal?.(plan) ?? null) !== null
      ? made
      : setting.apply(made, value);
  }, plan);
}

/** `page_size=50, interval=15m`. */
export const settingsText = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${SETTINGS[name]?.kind === 'duration' ? durationText(value) : value}`)
    .join(', ');

/** The value, or what is wrong with it. */
function valueOf({ kind, least, most }: Setting, value: Json): number | string {
  const shown = JSON.stringify(value).slice(0, 80);
  if (kind === 'duration') {
    const seconds = typeof value === 'string' ? parseDuration(value) : null;
    if (seconds === null || seconds < least || seconds > most)
      return `${shown} is not a duration; write one such as "30s", "15m", "2h" or "1d"`;
    return seconds;
  }
  const number = typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || (kind === 'whole number' && !Number.isInteger(number)))
    return `${shown} is not a ${kind}`;
  if (number < least) return `${number} is too small: at least ${least} is needed`;
  return number > most ? `${number} is too large: at most ${most} is allowed` : number;
}

const refused = (problems: string[]) =>
  ApplicationFailure.nonRetryable(`nothing was set:\n  ${problems.join('\n  ')}`, 'SettingRefused');
