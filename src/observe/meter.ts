import {
  noopMetricMeter,
  type MetricCounter,
  type MetricHistogram,
  type MetricMeter,
} from '@temporalio/common';
import { METRICS, type MetricName, type MetricSpec } from '../metrics.js';

export type Labels = Record<string, string>;

/** Maximum series per metric; further syncs are counted as `other`. */
const SYNCS_LIMIT = 500;

/** The counters and histograms of {@link METRICS}, created on first use; workflows have the gauges. */
export class Meter {
  private readonly instruments = new Map<MetricName, MetricCounter | MetricHistogram>();
  private readonly syncs = new Set<string>();

  constructor(private readonly meter: MetricMeter) {}

  /** Whether metrics are collected. */
  get isOn(): boolean {
    return this.meter !== noopMetricMeter;
  }

  add(name: MetricName, value: number, labels: Labels): void {
    if (this.isOn) (this.instrument(name) as MetricCounter).add(value, this.bounded(labels));
  }

  record(name: MetricName, value: number, labels: Labels): void {
    if (this.isOn) (this.instrument(name) as MetricHistogram).record(value, this.bounded(labels));
  }

  private instrument(name: MetricName) {
    let found = this.instruments.get(name);
    if (found === undefined) {
      const { kind, help }: MetricSpec = METRICS[name];
      found =
        kind === 'counter'
          ? // Prometheus is given the ending by the SDK.
            this.meter.createCounter(name.replace(/_total$/, ''), '', help)
          : this.meter.createHistogram(name, 'float', '', help);
      this.instruments.set(name, found);
    }
    return found;
  }

  private bounded(labels: Labels): Labels {
    const key = `${labels['sync']} ${labels['stream']}`;
    if (this.syncs.has(key)) return labels;
    if (this.syncs.size >= SYNCS_LIMIT) return { ...labels, sync: 'other', stream: 'other' };
    this.syncs.add(key);
    return labels;
  }
}

/** Returns the buckets of the histograms in the SDK's form. */
export const histogramBuckets = (): Record<string, number[]> =>
  Object.fromEntries(
    Object.entries(METRICS).flatMap(([name, spec]: [string, MetricSpec]) =>
      spec.buckets === undefined ? [] : [[name, [...spec.buckets]]],
    ),
  );
