import type { FetchedPages } from '../protocol.js';
import type { Carry, SourceWait } from './carry.js';
import type { Control } from './control.js';
import type { Display } from './display.js';
import type { Reopening } from './reopening.js';
import type { Waits } from './waits.js';

const LONGEST_BACK_OFF_SECONDS = 60;

/** The wait that a source has asked for, on a timer of the Temporal server. */
export class SourceWaits {
  /** The wait that is still to come. */
  pending: SourceWait | null;
  /** Consecutive waits whose length the source did not give. */
  private backOffs: number;
  private isEndedByResume = false;

  constructor(
    { wait, backOffs }: Carry['source'],
    private readonly control: Control,
    private readonly reopening: Reopening,
    private readonly display: Display,
    private readonly waits: Waits,
    private readonly onWaited: (seconds: number) => void,
  ) {
    this.pending = wait;
    this.backOffs = backOffs;
  }

  carry(): Carry['source'] {
    return { wait: this.pending, backOffs: this.backOffs };
  }

  /**
   * Takes over the wait that an answer asks for. Where the source does not say for how long, each wait is twice as long
   * as the one before, until a page is read.
   */
  record({ wait, batches }: FetchedPages): void {
    const isRead = batches.length > 0;
    if (wait === null || isRead) this.backOffs = 0;
    this.pending = wait === null ? null : this.waitFrom(wait, isRead);
  }

  async waitForSource(): Promise<void> {
    const { pending, control, reopening } = this;
    if (pending === null) return;
    this.pending = null;
    const milliseconds = Date.parse(pending.until) - Date.now();
    if (milliseconds <= 0) return;
    const { resumes } = control;
    const began = Date.now();
    try {
      await this.waits.sleepFor(milliseconds / 1000, 'waiting', pending.reason, false);
      this.isEndedByResume = control.resumes !== resumes;
    } finally {
      this.onWaited(Math.round((Date.now() - began) / 1000));
      this.display.waiting = null;
      // Reopening the stream does not shorten what the source asks for.
      if (reopening.isRequested && !control.isPaused) this.pending = pending;
    }
  }

  /** Whether `resume` has ended the wait, so that the source is to be asked at once; true only once. */
  takeResumed(): boolean {
    const isResumed = this.isEndedByResume;
    this.isEndedByResume = false;
    return isResumed;
  }

  private waitFrom({ seconds, reason }: NonNullable<FetchedPages['wait']>, isRead: boolean): SourceWait {
    const asked = seconds ?? Math.min(2 ** this.backOffs++, LONGEST_BACK_OFF_SECONDS);
    const until = new Date(Date.now() + (isRead ? asked : Math.max(asked, 1)) * 1000).toISOString();
    return { until, reason: seconds === null ? `${reason}, without saying for how long` : reason };
  }
}
