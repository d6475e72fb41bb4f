import { durationText } from './durations.js';
import type { StreamPlan } from './protocol.js';

/** Something that can be changed while a sync runs. */
export interface Setting {
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
  intervalSeconds === null ? 'this sync makes a single pass; its configuration has no "interval"' : null;
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

/** Settings that can be changed while a sync runs: none moves its place in the source, or changes its rows. */
export const SETTINGS: { [name: string]: Setting } = {
  interval: {
    means: 'pause between passes',
    ...{ kind: 'duration', least: 0.001, most: YEAR, refusal: onePass },
    apply: (plan, intervalSeconds) => ({ ...plan, intervalSeconds }),
  },
  idle_interval: {
    means: 'longest pause while passes find nothing new',
    ...{ kind: 'duration', least: 0.001, most: YEAR, refusal: onePass },
    apply: (plan, idleIntervalSeconds) => ({ ...plan, idleIntervalSeconds }),
  },
  page_size: {
    means: 'records per page (offset, cursor)',
    ...{ kind: 'whole number', least: 1, most: 100_000, refusal: noPageSize },
    apply: ({ options, ...plan }, pageSize) => ({
      ...plan,
      options:
        options.strategy === 'offset' || options.strategy === 'cursor' ? { ...options, pageSize } : options,
    }),
  },
  requests_per_second: {
    means: 'requests per second, evenly spaced; also "rate"',
    ...{ kind: 'number', least: 0.001, most: 10_000 },
    apply: rateLimit('requestsPerSecond'),
  },
  concurrency: {
    means: 'concurrent requests to the source',
    ...{ kind: 'whole number', least: 1, most: 1000 },
    apply: rateLimit('concurrency'),
  },
  in_flight: {
    means: 'concurrent requests of a stream',
    ...{ kind: 'whole number', least: 1, most: 32 },
    apply: (plan, inFlight) => ({ ...plan, inFlight }),
  },
  batch_rows: {
    means: 'maximum rows per batch',
    ...{ kind: 'whole number', least: 1, most: 10_000_000 },
    apply: batch('rows'),
  },
  batch_bytes: {
    means: 'maximum bytes per batch',
    ...{ kind: 'whole number', least: 1024, most: Number.MAX_SAFE_INTEGER },
    apply: batch('bytes'),
  },
  batch_seconds: {
    means: 'maximum seconds spent reading a batch',
    ...{ kind: 'number', least: 0.05, most: 600 },
    apply: batch('seconds'),
  },
  retry_for: {
    means: 'how long to retry requests to a source that does not respond',
    ...{ kind: 'duration', least: 0.001, most: YEAR },
    apply: (plan, retrySeconds) => ({ ...plan, retrySeconds }),
  },
  timeout: {
    means: 'maximum time until a response begins',
    ...{ kind: 'duration', least: 0.001, most: YEAR },
    apply: (plan, requestTimeoutSeconds) => ({ ...plan, requestTimeoutSeconds }),
  },
};

function noPageSize({ options }: StreamPlan): string | null {
  const { strategy } = options;
  if (strategy === 'offset' || strategy === 'cursor') return null;
  if (strategy === 'page_number')
    return 'another page size changes the page numbers; change the configuration and start over with --full';
  return `${strategy} sends no page size`;
}

/** Settings that `set` has changed; durations in seconds. */
export type Settings = { [name: string]: number };

/** `page_size=50, interval=15m`. */
export const settingsText = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${SETTINGS[name]?.kind === 'duration' ? durationText(value) : value}`)
    .join(', ');
