/** Metrics of a worker, by the names that Prometheus sees: plain data, for workers, workflows and the documentation. */

export interface MetricSpec {
  kind: 'counter' | 'histogram' | 'gauge';
  /** Besides those that all of its kind have: see {@link labelNames}. */
  labels?: readonly string[];
  help: string;
  /** Upper bounds of a histogram's buckets. */
  buckets?: readonly number[];
}

const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export const METRICS = {
  highwater_rows_total: { kind: 'counter', help: 'Rows inserted or changed.' },
  highwater_records_total: { kind: 'counter', help: 'Records read and committed.' },
  highwater_pages_total: { kind: 'counter', help: 'Pages read and committed.' },
  highwater_batches_total: { kind: 'counter', help: 'Batches committed.' },
  highwater_bytes_total: { kind: 'counter', help: 'Bytes of the records that were committed.' },
  highwater_rejected_total: {
    kind: 'counter',
    help: 'Records that did not fit and were put aside.',
  },
  highwater_deleted_total: {
    kind: 'counter',
    help: 'Rows marked or removed because they are gone from the source.',
  },
  highwater_batch_seconds: {
    kind: 'histogram',
    help: 'How long a batch was read and staged.',
    buckets: SECONDS,
  },
  highwater_commit_seconds: {
    kind: 'histogram',
    help: 'How long the destination took for a batch and its checkpoint.',
    buckets: SECONDS,
  },
  highwater_source_request_seconds: {
    kind: 'histogram',
    labels: ['status'],
    help: 'How long the source took until its answer began; `status` is `none` where there was no answer.',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
  highwater_source_bytes_total: { kind: 'counter', help: 'Bytes of answers, unpacked.' },
  highwater_source_wait_seconds: {
    kind: 'histogram',
    labels: ['for'],
    help: 'Waits before the next request, in seconds: `for` the `source` (429, 503, a rule), or a `parent` that has not been read yet.',
    buckets: [1, 5, 15, 60, 300, 900, 3600, 14_400],
  },
  highwater_retries_total: {
    kind: 'counter',
    labels: ['activity', 'error'],
    help: 'Attempts that failed, by the name of the error; most are tried again.',
  },
  highwater_notices_total: {
    kind: 'counter',
    labels: ['event', 'outcome'],
    help: 'Calls of the webhook: `sent`, or `failed`.',
  },
  highwater_status_timestamp_seconds: {
    kind: 'gauge',
    labels: ['status'],
    help: 'When the sync entered this status last; the greatest is the one that it is in.',
  },
  highwater_complete_as_of_timestamp_seconds: {
    kind: 'gauge',
    help: 'The table holds what the source had then. The lag is the time since.',
  },
  highwater_last_success_timestamp_seconds: {
    kind: 'gauge',
    help: 'When a batch was committed, or a pass ended, last.',
  },
  highwater_last_failure_timestamp_seconds: {
    kind: 'gauge',
    help: 'When the sync could not go on last. It fails while this is greater than the last success.',
  },
} as const satisfies { [name: string]: MetricSpec };

export type MetricName = keyof typeof METRICS;
export type GaugeName = {
  [Name in MetricName]: (typeof METRICS)[Name]['kind'] extends 'gauge' ? Name : never;
}[MetricName];

/** The labels of a metric. */
export const labelNames = ({ kind, labels = [] }: MetricSpec): string[] => [
  ...(kind === 'gauge' ? ['sync', 'stream'] : ['sync', 'stream', 'strategy', 'destination']),
  ...labels,
];

/**
 * Returns the label `sync` of a workflow: its id, without the part that makes each run of a schedule, each of several streams,
 * and each range, a workflow of its own: the labels of a sync stay the same, and few.
 */
export function syncLabel(workflowId: string, stream: string): string {
  const end = `/${stream}`;
  const whole = workflowId.endsWith(end) ? workflowId.slice(0, -end.length) : workflowId;
  return whole.replace(/-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, '').replace(/(\/(backfill|audit))-\w+$/, '$1');
}

/** The address of a server without the name and the password in it. */
export const withoutCredentials = (destination: string): string =>
  destination.replace(/^(\w+:\/\/)[^/]*@/, '$1');
