/** Decides what a sync does about a failure: pure functions over the table of failures. */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/common';
import { ruleFor, type FailureRule } from '../failures.js';
import type { FailedOpening, TooManyDeletes } from '../protocol.js';
import { questionOf } from './questions.js';

/** The facts of a failure that decisions need. */
export interface Failure {
  /** The name of the error, for example `SourceUnavailableError`. */
  type: string;
  /** The message for users. */
  reason: string;
  rule: FailureRule;
  /** No worker took the task: the one that owns the destination is gone. */
  isOwnerGone: boolean;
  isTimeout: boolean;
  /** The stream is held by the sync that was refused. */
  isHeldByItself: boolean;
  /** The deletes that need a decision. */
  question: TooManyDeletes | null;
  /** Facts of the stream, if it was its opening that failed. */
  opening: FailedOpening | null;
  /** When the first attempt was made; null if there was one. */
  since: string | null;
}

export type Decision =
  /** Reopen the stream after a wait; `isShown`: as trouble. */
  | { kind: 'reopen'; seconds: number; isShown: boolean }
  /** Wait for a decision about deletes. */
  | { kind: 'ask'; question: TooManyDeletes }
  | { kind: 'retry' }
  /** Wait for an operator. */
  | { kind: 'block' }
  | { kind: 'end' };

export interface Situation {
  /** The sync makes one pass after another. */
  isContinuous: boolean;
  /** How often the stream was reopened since a batch was written. */
  reopenings: number;
  waitsForApproval: boolean;
}

const LONGEST_BACK_OFF_SECONDS = 60;
/** Reopenings without a batch after which another one does not help. */
const REOPEN_LIMIT = 1000;
/** Reopenings in a row that are not shown as trouble. */
const QUIET_REOPENINGS = 2;
/** Longest time between two tries of a continuous sync. */
const LONGEST_RETRY_SECONDS = 5 * 60;

export function readFailure(thrown: Error): Failure {
  const cause = thrown instanceof ActivityFailure ? (thrown.cause ?? thrown) : thrown;
  const application = cause instanceof ApplicationFailure ? cause : null;
  const isOwnerGone = cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_START';
  const [details, opening, since] = (application?.details ?? []) as [
    ({ ours?: boolean } | null)?,
    (FailedOpening | null)?,
    string?,
  ];
  return {
    type: application?.type ?? 'SyncFailed',
    reason: isOwnerGone ? 'the worker that owns the destination does not answer' : cause.message,
    rule: ruleFor(application?.type),
    isOwnerGone,
    isTimeout: cause instanceof TimeoutFailure,
    isHeldByItself: details?.ours === true,
    question: questionOf(cause),
    opening: opening ?? null,
    since: typeof since === 'string' ? since : null,
  };
}

export function decideOn(failure: Failure, situation: Situation): Decision {
  const { rule, question } = failure;
  const { isContinuous, reopenings, waitsForApproval } = situation;
  if (canReopen(failure) && reopenings < REOPEN_LIMIT) {
    // One reopening helps as a rule. Where it does not, source and worker are spared.
    const seconds = reopenings === 0 ? 0 : Math.min(2 ** (reopenings - 1), LONGEST_BACK_OFF_SECONDS);
    return {
      kind: 'reopen',
      seconds,
      isShown: reopenings >= QUIET_REOPENINGS && rule.isExpected !== true,
    };
  }
  if (question !== null) return waitsForApproval ? { kind: 'ask', question } : { kind: 'end' };
  if (!isContinuous || rule.sync === 'end' || rule.sync === 'reopen if it is the holder')
    return { kind: 'end' };
  return rule.sync === 'retry' || failure.isTimeout ? { kind: 'retry' } : { kind: 'block' };
}

const canReopen = ({ rule, isOwnerGone, isHeldByItself }: Failure): boolean =>
  isOwnerGone || rule.sync === 'reopen' || (rule.sync === 'reopen if it is the holder' && isHeldByItself);

/**
 * Returns the wait before a continuous sync tries again.
 * @param interval seconds between passes; null where it is not known.
 * @param failures consecutive failures so far.
 */
export function retrySeconds(interval: number | null, failures: number): number {
  const first = Math.min(interval ?? LONGEST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS);
  return Math.min(first * 2 ** Math.min(failures, 20), Math.max(first, LONGEST_RETRY_SECONDS));
}
