import type { MetricCounter, MetricGauge, MetricHistogram, MetricMeter } from '@temporalio/common';
import { METRICS, type GaugeName, type MetricName, type MetricSpec } from '../metrics.js';

export type Labels = Record<string, string>;

/** So many series of one metric; what comes after them is counted as the sync `other`. */
const SYNCS_LIMIT = 500;

/** The instruments of {@link METRICS}, made when they are first used. */
export class Meter {
  private readonly instruments = new Map<MetricName, MetricCounter | MetricHistogram | MetricGauge>();
  private readonly syncs = new Set<string>();

  constructor(private readonly meter: MetricMeter) {}

  add(name: MetricName, value: number, labels: Labels): void {
    (this.instrument(name) as MetricCounter).add(value, this.bounded(labels));
  }

  record(name: MetricName, value: number, labels: Labels): void {
    (this.instrument(name) as MetricHistogram).record(value, this.bounded(labels));
  }

  set(name: GaugeName, value: number, labels: Labels): void {
    (this.instrument(name) as MetricGauge).set(value, this.bounded(labels));
  }

  private instrument(name: MetricName) {
    let found = this.instruments.get(name);
    if (found === undefined) {
      const { kind, help }: MetricSpec = METRICS[name];
      found =
        kind === 'counter'
          ? // Prometheus is given the ending by the SDK.
            this.meter.createCounter(name.replace(/_total$/, ''), '', help)
          : kind === 'histogram'
            ? this.meter.createHistogram(name, 'float', '', help)
            : this.meter.createGauge(name, 'float', '', help);
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

/** The buckets of our histograms, as the SDK wants them. */
export const histogramBuckets = (): Record<string, number[]> =>
  Object.fromEntries(
    Object.entries(METRICS).flatMap(([name, spec]: [string, MetricSpec]) =>
      spec.buckets === undefined ? [] : [[name, [...spec.buckets]]],
    ),
  );
