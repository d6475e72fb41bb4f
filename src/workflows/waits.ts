import { condition, log } from '@temporalio/workflow';
import type { SyncStatus } from '../protocol.js';
import type { Control } from './control.js';
import { timerSummary } from './details.js';
import type { Display } from './display.js';
import type { Reopening } from './reopening.js';

/** The waits of a sync, which end early where an operator asks for something. */
export class Waits {
  constructor(
    private readonly stream: string,
    private readonly control: Control,
    private readonly reopening: Reopening,
    private readonly display: Display,
  ) {}

  /** As `sleepUntil`, for a number of seconds. */
  sleepFor(seconds: number, status: SyncStatus, reason: string, endedByTrigger = true): Promise<void> {
    const until = Date.now() + seconds * 1000;
    return this.sleepUntil(() => until, status, reason, endedByTrigger);
  }

  /**
   * Sleeps on a named timer. Pause, resume, stop and a reopening end it.
   * @param until read again when settings change.
   * @param endedByTrigger whether trigger ends it too; not where the source has asked for the wait.
   */
  async sleepUntil(
    until: () => number,
    status: SyncStatus,
    reason: string,
    endedByTrigger = true,
  ): Promise<void> {
    const { control, reopening, display } = this;
    const { resumes } = control;
    const summary = timerSummary(status, reason);
    const isWoken = () =>
      control.resumes !== resumes ||
      control.isPaused ||
      control.isStopping ||
      reopening.isRequested ||
      (control.isTriggered && endedByTrigger);
    for (let left = until() - Date.now(); left > 0 && !isWoken(); left = until() - Date.now()) {
      const { settingsChanges } = control;
      display.waiting = { until: new Date(Date.now() + left).toISOString(), reason };
      display.show(status);
      if (status !== 'failing') log.info(status, { stream: this.stream, ...display.waiting });
      const isAwake = () => isWoken() || control.settingsChanges !== settingsChanges;
      if (!(await condition(isAwake, left, { summary }))) break;
    }
    display.waiting = null;
    await this.waitWhilePaused();
  }

  async waitWhilePaused(): Promise<void> {
    const { control, reopening } = this;
    if (!control.isPaused || control.isStopping || reopening.isRequested) return;
    this.display.show('paused');
    await condition(() => !control.isPaused || control.isStopping || reopening.isRequested);
  }

  /** Waits until an operator asks for another try, or for something else. */
  async waitForOperator(isDecided: () => boolean = () => false): Promise<void> {
    const { control, reopening } = this;
    const { resumes } = control;
    await condition(
      () =>
        isDecided() ||
        control.resumes !== resumes ||
        control.isTriggered ||
        control.isStopping ||
        reopening.isRequested,
    );
  }
}
