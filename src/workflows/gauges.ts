import { metricMeter, workflowInfo } from '@temporalio/workflow';
import { METRICS, syncLabel, type GaugeName } from '../metrics.js';
import type { Progress } from '../protocol.js';

/**
 * Shows the state of the sync as metrics. All values are times, so that the greatest one is right whichever worker has
 * reported it: another worker may have run the sync before.
 */
export class Gauges {
  private readonly labels: { sync: string; stream: string };
  private readonly shown = new Map<string, number>();
  private status: Progress['status'] | null = null;
  private entered = 0;
  private failures: string;
  private done: string;
  private succeeded: number | null = null;
  private failed: number | null = null;

  constructor(stream: string, now: Beginning) {
    this.labels = { sync: syncLabel(workflowInfo().workflowId, stream), stream };
    this.failures = failuresOf(now);
    this.done = doneOf(now);
    if (now.trouble !== null) this.failed = Date.now();
  }

  show(progress: Progress): void {
    const now = Date.now();
    const { status, completeAsOf } = progress;
    if (status !== this.status) [this.status, this.entered] = [status, now];
    if (doneOf(progress) !== this.done) [this.done, this.succeeded] = [doneOf(progress), now];
    // A trouble that is not shown for a while, and then again, is no new failure.
    if (progress.trouble !== null && failuresOf(progress) !== this.failures) {
      this.failures = failuresOf(progress);
      this.failed = now;
    }
    // A replay shows nothing new; the next event shows everything.
    if (workflowInfo().unsafe.isReplaying) return;
    this.set('highwater_status_timestamp_seconds', this.entered, { status });
    this.set('highwater_complete_as_of_timestamp_seconds', completeAsOf && Date.parse(completeAsOf));
    this.set('highwater_last_success_timestamp_seconds', this.succeeded ?? 0);
    this.set('highwater_last_failure_timestamp_seconds', this.failed ?? 0);
  }

  private set(name: GaugeName, milliseconds: number | string | null, labels: { status?: string } = {}): void {
    if (typeof milliseconds !== 'number') return;
    const key = `${name} ${labels.status ?? ''}`;
    if (this.shown.get(key) === milliseconds) return;
    this.shown.set(key, milliseconds);
    metricMeter
      .createGauge(name, 'float', '', METRICS[name].help)
      .set(milliseconds / 1000, { ...this.labels, ...labels });
  }
}

/** State at the beginning of a run. */
interface Beginning {
  trouble: Progress['trouble'];
  totals: Pick<Progress['totals'], 'batches' | 'passes'>;
}

const failuresOf = ({ trouble }: Beginning) =>
  trouble === null ? '' : `${trouble.since} ${trouble.failures}`;

const doneOf = ({ totals }: Beginning) => `${totals.batches} ${totals.passes}`;
