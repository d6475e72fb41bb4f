import { type CancellationScope, condition, setHandler } from '@temporalio/workflow';
import type { StreamPlan } from '../protocol.js';
import { runInBackground } from './background.js';
import type { Carry } from './carry.js';
import { isValidSignal } from './inputs.js';
import {
  pauseSignal,
  resumeSignal,
  settingsSignal,
  setUpdate,
  stopSignal,
  triggerSignal,
} from './messages.js';
import type { Settings } from '../settings.js';
import { checkChange, readChange, withChange, type Change } from './settings.js';

/** How long reading and opening may go on after a stop. */
const STOP_PATIENCE = '10s';

/** `interrupted`: the stop was not obeyed in time, so that reading and opening were cancelled. */
type StopState = 'not requested' | 'requested' | 'interrupted';

/** The parts of the loop that the handlers use. */
export interface ControlledLoop {
  /** Resolves once the stream is open, or the run ends first. */
  waitUntilOpened(): Promise<void>;
  /** The plan as it was opened; null before the first opening. */
  openedPlan(): StreamPlan | null;
  /** @throws {ApplicationFailure} before the first opening. */
  requireOpenedPlan(): StreamPlan;
  /** An operator has sent `resume`. */
  onResume(): void;
}

/** Requests of operators to a running sync: pause, resume, stop, trigger and settings. */
export class Control {
  isPaused: boolean;
  /** Another pass follows at once. */
  isTriggered: boolean;
  settings: Settings;
  /** Counts `resume`, so that a wait notices one. */
  resumes = 0;
  /** Counts changes of settings, so that a sleep is measured again. */
  settingsChanges = 0;
  private stopState: StopState;
  /** Scopes that a stop cancels when its patience is over. */
  private readonly interruptible = new Set<CancellationScope>();

  constructor({ isPaused, isStopping, isTriggered, settings }: Carry['control']) {
    this.isPaused = isPaused;
    this.isTriggered = isTriggered;
    this.settings = settings;
    this.stopState = isStopping ? 'requested' : 'not requested';
  }

  get isStopping(): boolean {
    return this.stopState !== 'not requested';
  }

  get isInterrupted(): boolean {
    return this.stopState === 'interrupted';
  }

  /** Lets a stop cancel the scope. */
  allowInterruption(scope: CancellationScope): void {
    this.interruptible.add(scope);
  }

  endInterruption(scope: CancellationScope): void {
    this.interruptible.delete(scope);
  }

  carry(): Carry['control'] {
    const { isPaused, isStopping, isTriggered, settings } = this;
    return { isPaused, isStopping, isTriggered, settings };
  }

  registerHandlers(loop: ControlledLoop): void {
    setHandler(pauseSignal, () => void (this.isPaused = true), {
      description: 'Pause after the current batch, until resume.',
    });
    setHandler(
      resumeSignal,
      () => {
        this.isPaused = false;
        this.resumes++;
        loop.onResume();
      },
      {
        description:
          'Continue. Also ends a wait that the source asked for or the sleep between passes, and retries what has failed.',
      },
    );
    setHandler(stopSignal, () => this.stop(), {
      description: 'End after the current batch. The next sync continues from there.',
    });
    setHandler(triggerSignal, () => void (this.isTriggered = true), {
      description: 'Make a pass now, or another one after the current pass.',
    });
    setHandler(
      settingsSignal,
      (change) => {
        if (isValidSignal('change', change)) this.changeSettings(change);
      },
      { description: 'Sent by a sync of several streams to each of them; use the update "set".' },
    );
    setHandler(
      setUpdate,
      async (raw) => {
        await loop.waitUntilOpened();
        const change = readChange(raw);
        checkChange(change, loop.requireOpenedPlan());
        this.changeSettings(change);
        return this.settings;
      },
      {
        validator: (raw) => {
          const change = readChange(raw);
          const plan = loop.openedPlan();
          if (plan !== null) checkChange(change, plan);
        },
        description:
          'Change settings from the next batch on: {"interval": "15m", "page_size": 50, "rate": 2}; "default" resets one.',
      },
    );
  }

  private stop(): void {
    if (this.isStopping) return;
    this.stopState = 'requested';
    runInBackground(async () => {
      await condition(() => this.interruptible.size === 0, STOP_PATIENCE, {
        summary: 'stop: the current batch',
      });
      if (this.interruptible.size > 0) this.stopState = 'interrupted';
      for (const scope of this.interruptible) scope.cancel();
    });
  }

  private changeSettings(change: Change): void {
    this.settings = withChange(this.settings, change);
    this.settingsChanges++;
  }
}
