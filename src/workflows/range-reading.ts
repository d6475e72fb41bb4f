import { isCancellation, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { RangeFound } from '../protocol.js';
import { ownerOptions, retryFor } from './stream-activities.js';
import type { StreamState } from './stream-state.js';

/** The end of a range that was read beside the sync. */
export class RangeReading {
  /** Result of an audit. */
  found: RangeFound | null = null;

  /** Id of the checkpoint with which all of the range was read. */
  private readUpTo: string | null = null;

  constructor(private readonly stream: StreamState) {}

  /** Whether all of the range was read, so that only its conclusion is left, which has failed before. */
  get isRead(): boolean {
    return this.readUpTo !== null && this.readUpTo === this.stream.committed.id;
  }

  recordEnd(): void {
    this.readUpTo = this.stream.committed.id;
  }

  /** Compares what an audit has read with the table, and removes what was kept of the range. */
  async conclude(): Promise<void> {
    const { stream } = this;
    const opened = stream.requireOpened();
    const plan = stream.plan();
    const { cursor } = stream.committed;
    if (stream.range?.kind === 'audit' && cursor !== null) {
      const summary = 'find rows that the source lacks';
      const { concludeRange } = proxyActivities<Activities>(ownerOptions(opened, plan, summary));
      const met = stream.pass.records + stream.pass.outside;
      this.found = await concludeRange({ plan, destination: opened.destination, cursor, met });
    }
    await this.forget();
  }

  /** Removes what was kept of the range. Where that fails, a later range of the table removes it. */
  async forget(): Promise<void> {
    const { opened, range } = this.stream;
    if (opened === null || range === null) return;
    const plan = this.stream.plan();
    const options = { ...ownerOptions(opened, plan, 'forget the range'), retry: retryFor(10) };
    const { forgetRange } = proxyActivities<Activities>(options);
    await forgetRange({ plan, destination: opened.destination }).catch((thrown: unknown) => {
      if (isCancellation(thrown)) throw thrown;
    });
  }
}
