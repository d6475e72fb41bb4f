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

/** Settings that can be changed while a sync runs: none moves its place in the source, or changes its rows. */
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

function noPageSize({ options }: StreamPlan): string | null {
  const { strategy } = options;
  if (strategy === 'offset' || strategy === 'cursor') return null;
  if (strategy === 'page_number')
    return 'pages of another size have other numbers; change the configuration and start over with --full';
  return `${strategy} asks for no page size`;
}
