import {
  allHandlersFinished,
  ApplicationFailure,
  condition,
  log,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { TooManyDeletes, Trouble } from '../protocol.js';
import { ruleFor } from '../failures.js';
import type { Carry } from './carry.js';
import type { Control } from './control.js';
import { decideAdvice, runAdvice, type DeletesGuard } from './deletes.js';
import type { Display } from './display.js';
import { decideOn, readFailure, retrySeconds, type Decision, type Failure } from './failure-policy.js';
import type { Notices } from './notices.js';
import type { Reopening } from './reopening.js';
import type { StreamState } from './stream-state.js';
import type { Waits } from './waits.js';

/** The parts of the loop that the handling of failures uses. */
export interface FailureHandlingParts {
  stream: StreamState;
  control: Control;
  reopening: Reopening;
  display: Display;
  waits: Waits;
  deletes: DeletesGuard;
  notices: Notices;
  /** False: deletes that need a decision end the sync. */
  waitsForApproval: boolean;
}

/** Carries out what the policy decides about failures, and keeps the trouble that is shown. */
export class FailureHandling {
  /** The failure that keeps the sync from continuing; null if there is none. */
  trouble: Trouble | null;
  /** How often the stream was reopened since a batch was written. */
  private reopenings: number;

  constructor(
    { trouble, reopenings }: Carry['failures'],
    private readonly parts: FailureHandlingParts,
  ) {
    this.trouble = trouble;
    this.reopenings = reopenings;
  }

  /** Whether the next opening may start over with another database, where the operator asks for that. */
  get mayStartOver(): boolean {
    return ruleFor(this.trouble?.type).resumeStartsOver === true;
  }

  recordCommit(): void {
    this.reopenings = 0;
    this.trouble = null;
  }

  clearTrouble(): void {
    this.trouble = null;
  }

  carry(): Carry['failures'] {
    return { trouble: this.trouble, reopenings: this.reopenings };
  }

  /**
   * Waits until the stream is to be reopened.
   * @throws {ApplicationFailure} where the sync ends, with the cause's own words first.
   */
  async waitAfter(thrown: unknown): Promise<void> {
    // An error of this code fails no sync: Temporal holds the workflow until a worker is put right.
    if (!(thrown instanceof TemporalFailure)) throw thrown;
    const { stream, waitsForApproval } = this.parts;
    const failure = readFailure(thrown);
    if (failure.opening !== null) stream.failedOpening = failure.opening;
    const { isContinuous } = stream;
    const decision = decideOn(failure, { isContinuous, reopenings: this.reopenings, waitsForApproval });
    const { control } = this.parts;
    // A trigger from before asks for one more pass; one during the wait ends the wait.
    const wasTriggered = control.isTriggered;
    control.isTriggered = false;
    await this.carryOut(decision, failure);
    control.isTriggered = wasTriggered;
  }

  private carryOut(decision: Decision, failure: Failure): Promise<void> {
    switch (decision.kind) {
      case 'reopen':
        this.reopenings++;
        return this.waitBeforeReopening(failure, decision.seconds, decision.isShown);
      case 'ask':
        return this.waitForDecision(failure, decision.question);
      case 'retry':
        return this.waitForRetry(failure);
      case 'block':
        return this.waitForOperator(failure);
      case 'end':
        return this.endSync(failure);
    }
  }

  private async waitBeforeReopening(failure: Failure, seconds: number, isShown: boolean): Promise<void> {
    if (seconds === 0) return;
    if (isShown) this.recordTrouble('failing', failure, seconds);
    await this.parts.waits.sleepFor(seconds, isShown ? 'failing' : 'waiting', failure.reason);
  }

  private async waitForRetry(failure: Failure): Promise<void> {
    const seconds = retrySeconds(this.parts.stream.interval(), this.trouble?.failures ?? 0);
    this.recordTrouble('failing', failure, seconds);
    await this.parts.waits.sleepFor(seconds, 'failing', failure.reason);
  }

  private async waitForOperator(failure: Failure): Promise<void> {
    const { display, waits } = this.parts;
    this.recordTrouble('blocked', failure, null);
    display.show('blocked');
    await waits.waitForOperator();
    await waits.waitWhilePaused();
  }

  /** Waits until the deletes of a pass are approved or rejected, or something else is asked of the sync. */
  private async waitForDecision(failure: Failure, question: TooManyDeletes): Promise<void> {
    const { display, waits, deletes } = this.parts;
    const reason = `${failure.reason}\n${decideAdvice(workflowInfo().workflowId)}`;
    const trouble = this.recordTrouble('blocked', { ...failure, reason }, null, question);
    deletes.askFor(question, trouble);
    display.show('blocked');
    await waits.waitForOperator(() => deletes.isDecided);
    deletes.withdrawQuestion();
    await waits.waitWhilePaused();
  }

  private async endSync(failure: Failure): Promise<never> {
    const { display, reopening, notices } = this.parts;
    const { type, rule, question } = failure;
    const reason = question === null ? failure.reason : `${failure.reason}\n${runAdvice(question)}`;
    if (rule.isRefusal !== true) {
      this.recordTrouble('failed', { ...failure, reason }, null);
      display.show('failed');
    }
    reopening.finish('ended');
    await notices.finish();
    await condition(allHandlersFinished);
    throw ApplicationFailure.nonRetryable(reason, type, ...(question === null ? [] : [question]));
  }

  private recordTrouble(
    status: 'failing' | 'blocked' | 'failed',
    { type, reason, since }: Failure,
    seconds: number | null,
    deletes?: TooManyDeletes,
  ): Trouble {
    const now = Date.now();
    const trouble: Trouble = {
      type,
      message: reason,
      since: this.trouble?.since ?? since ?? new Date(now).toISOString(),
      failures: (this.trouble?.failures ?? 0) + 1,
      nextTry: seconds === null ? null : new Date(now + seconds * 1000).toISOString(),
      ...(deletes !== undefined && { deletes }),
    };
    this.trouble = trouble;
    this.parts.notices.recordFailure(status, trouble);
    log.warn(status, { stream: this.parts.stream.name, type, reason, until: trouble.nextTry });
    return trouble;
  }
}
