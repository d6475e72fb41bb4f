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
  highwater_rows_total: { kind: 'counter', help: 'Rows inserted or updated.' },
  highwater_records_total: { kind: 'counter', help: 'Records read and committed.' },
  highwater_pages_total: { kind: 'counter', help: 'Pages read and committed.' },
  highwater_batches_total: { kind: 'counter', help: 'Batches committed.' },
  highwater_bytes_total: { kind: 'counter', help: 'Bytes of committed records.' },
  highwater_rejected_total: {
    kind: 'counter',
    help: 'Records that did not fit and were quarantined.',
  },
  highwater_deleted_total: {
    kind: 'counter',
    help: 'Rows marked or removed because they are gone from the source.',
  },
  highwater_batch_seconds: {
    kind: 'histogram',
    help: 'Time to read and stage a batch.',
    buckets: SECONDS,
  },
  highwater_commit_seconds: {
    kind: 'histogram',
    help: 'Time that the destination took to write a batch and its checkpoint.',
    buckets: SECONDS,
  },
  highwater_source_request_seconds: {
    kind: 'histogram',
    labels: ['status'],
    help: 'Time until a response of the source began; `status` is `none` if there was no response.',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
  highwater_source_bytes_total: { kind: 'counter', help: 'Bytes of responses after decompression.' },
  highwater_source_wait_seconds: {
    kind: 'histogram',
    labels: ['for'],
    help: 'Waits before the next request, in seconds: `for` the `source` (429, 503, a rule), or for a `parent` that has not been read yet.',
    buckets: [1, 5, 15, 60, 300, 900, 3600, 14_400],
  },
  highwater_retries_total: {
    kind: 'counter',
    labels: ['activity', 'error'],
    help: 'Failed attempts, by the name of the error; most are retried.',
  },
  highwater_notices_total: {
    kind: 'counter',
    labels: ['event', 'outcome'],
    help: 'Calls of the webhook: `sent`, or `failed`.',
  },
  highwater_status_timestamp_seconds: {
    kind: 'gauge',
    labels: ['status'],
    help: 'Time when the sync last entered this status; the status with the latest time is the current one.',
  },
  highwater_complete_as_of_timestamp_seconds: {
    kind: 'gauge',
    help: 'Time as of which the table is up to date. The lag is the time since then.',
  },
  highwater_last_success_timestamp_seconds: {
    kind: 'gauge',
    help: 'Time when a batch was last committed, or a pass last ended.',
  },
  highwater_last_failure_timestamp_seconds: {
    kind: 'gauge',
    help: 'Time of the last failure of the sync. It is failing while this is later than the last success.',
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
