/**
 * Every type of failure and what follows from it. Activities, workflows and clients read this table, so it is plain
 * data. A type is the name of an error, and the type of the `ApplicationFailure` that Temporal makes of it.
 */

/** How Temporal retries an activity that fails. */
export type ActivityRetry = 'never' | 'a few times' | 'while it lasts';

/**
 * The reaction of a sync once the activity is no longer retried:
 * - `reopen`: reopens the stream, which mends the failure; where it does not, `block`
 * - `reopen if it is the holder`: reopens where the sync itself holds the stream, else `end`
 * - `retry`: tries again by itself, less and less often; a sync of one pass ends
 * - `block`: waits for an operator; a sync of one pass ends
 * - `ask`: waits for a decision about deletes
 * - `end`: the sync ends
 */
export type SyncReaction = 'reopen' | 'reopen if it is the holder' | 'retry' | 'block' | 'ask' | 'end';

export interface FailureRule {
  activity: ActivityRetry;
  sync: SyncReaction;
  /** An opening with a new configuration that fails so refuses that configuration; the old one stays. */
  refusesConfiguration?: true;
  /** The activity gives up after seconds where the sync retries by itself, so that the sync shows the failure. */
  isReportedSoon?: true;
  /** The failure is a part of normal operation: reopening for it is never shown as trouble. */
  isExpected?: true;
  /** `resume` lets the sync start over with the database that is there now. */
  resumeStartsOver?: true;
  /** The answer to the caller of an update, and no trouble of the sync. */
  isRefusal?: true;
  /** The destination is at fault, which rarely passes by itself. */
  isOfDestination?: true;
}

export const FAILURES = {
  BatchLostError: { activity: 'never', sync: 'reopen', isExpected: true },
  ChangeRefusedError: { activity: 'never', sync: 'block', refusesConfiguration: true },
  CheckpointConflictError: { activity: 'never', sync: 'reopen if it is the holder' },
  ConfigurationError: { activity: 'never', sync: 'block', refusesConfiguration: true },
  ContradictingAnswerError: { activity: 'never', sync: 'retry' },
  DestinationBusyError: {
    activity: 'while it lasts',
    sync: 'retry',
    isReportedSoon: true,
    isOfDestination: true,
  },
  DestinationElsewhereError: {
    activity: 'while it lasts',
    sync: 'reopen',
    isReportedSoon: true,
    isOfDestination: true,
  },
  DestinationError: { activity: 'never', sync: 'block', refusesConfiguration: true, isOfDestination: true },
  DestinationGoneError: {
    activity: 'never',
    sync: 'retry',
    resumeStartsOver: true,
    isOfDestination: true,
  },
  ExtensionMissingError: { activity: 'never', sync: 'block', refusesConfiguration: true },
  HookChangedError: { activity: 'never', sync: 'reopen', isExpected: true },
  InputRefusedError: { activity: 'never', sync: 'block' },
  MalformedAnswerError: { activity: 'a few times', sync: 'retry' },
  MoveRefused: { activity: 'never', sync: 'end', isRefusal: true },
  MoveRefusedError: { activity: 'never', sync: 'block' },
  NotAllowedError: { activity: 'never', sync: 'block', refusesConfiguration: true },
  NotServedError: { activity: 'while it lasts', sync: 'retry' },
  NoticeNotDeliveredError: { activity: 'while it lasts', sync: 'block' },
  NoticeRefusedError: { activity: 'never', sync: 'block' },
  RangeRefusedError: { activity: 'never', sync: 'block' },
  RateLimitedError: { activity: 'while it lasts', sync: 'block' },
  RecordError: { activity: 'never', sync: 'block' },
  SecretUnavailableError: { activity: 'while it lasts', sync: 'retry', isReportedSoon: true },
  SourceRefusedError: { activity: 'never', sync: 'block' },
  SourceUnavailableError: { activity: 'while it lasts', sync: 'retry' },
  StorageFullError: { activity: 'while it lasts', sync: 'retry', isReportedSoon: true },
  StreamHeldError: { activity: 'never', sync: 'end' },
  TableGoneError: { activity: 'never', sync: 'reopen', isOfDestination: true },
  TooManyDeletesError: { activity: 'never', sync: 'ask' },
} as const satisfies { [type: string]: FailureRule };

/** Names of the errors of a running sync. */
export type FailureType = keyof typeof FAILURES;

/** Errors without a rule: those of libraries and of this code. */
const UNKNOWN: FailureRule = { activity: 'while it lasts', sync: 'block' };

/** Returns what follows from a failure. */
export const ruleFor = (type: string | null | undefined): FailureRule =>
  type != null && Object.hasOwn(FAILURES, type) ? FAILURES[type as FailureType] : UNKNOWN;
