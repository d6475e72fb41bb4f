import { fileURLToPath, pathToFileURL } from 'node:url';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { HighwaterError, messageOf } from '../errors.js';
import { packageFolder } from '../own-files.js';
import { ruleFor } from '../failures.js';
import type { FailedOpening, Json } from '../protocol.js';

/** Number of attempts for a failure that is retried only a few times. */
const A_FEW = 3;
/** Maximum length of a message; Temporal refuses failures of megabytes. */
const MESSAGE_LIMIT = 8000;

/** Time for which failures are retried before they are reported; most are over by then. */
const PATIENCE_MILLISECONDS = 10_000;

/**
 * Runs an activity's work and converts errors to Temporal failures, with the error's name as `type` and its message.
 * @param isContinuous whether the sync retries by itself, and should report failures soon.
 * @param opening facts of a stream that could not be opened, for the second of the failure's details. The third is the
 *   time of the first attempt, if there was more than one.
 */
export async function reporting<T>(
  work: () => Promise<T>,
  isContinuous: () => boolean = () => false,
  opening: () => FailedOpening | null = () => null,
): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const failure = failureOf(thrown, isContinuous, opening());
    // Histories are read on other machines: stack traces must not contain local folders.
    for (let one: unknown = failure; one instanceof Error; one = one.cause)
      if (one.stack !== undefined) one.stack = withoutPlace(one.stack);
    throw failure;
  }
}

function failureOf(thrown: unknown, isContinuous: () => boolean, opening: FailedOpening | null): unknown {
  if (thrown instanceof ApplicationFailure || thrown instanceof CancelledFailure) return thrown;
  if (!(thrown instanceof HighwaterError)) {
    return ApplicationFailure.create({
      type: thrown instanceof Error ? thrown.name : 'Error',
      message: cut(messageOf(thrown)),
      ...(thrown instanceof Error && thrown.message.length <= MESSAGE_LIMIT && { cause: thrown }),
      ...detailsOf(undefined, opening, sinceFirstAttempt()),
    });
  }
  const { activity, isReportedSoon = false } = ruleFor(thrown.name);
  const { attempt, scheduledTimestampMs } = Context.current().info;
  const isLast = activity === 'a few times' && attempt >= A_FEW;
  const hasLasted = Date.now() - scheduledTimestampMs >= PATIENCE_MILLISECONDS;
  return ApplicationFailure.create({
    type: thrown.name,
    message: cut(thrown.message),
    nonRetryable: activity === 'never' || isLast || (isReportedSoon && hasLasted && isContinuous()),
    ...detailsOf(thrown.details, opening, sinceFirstAttempt()),
  });
}

/** Returns when the activity was scheduled first, if this is not its first attempt: the trouble has lasted since then. */
function sinceFirstAttempt(): string | null {
  const { attempt, scheduledTimestampMs } = Context.current().info;
  return attempt === 1 ? null : new Date(scheduledTimestampMs).toISOString();
}

const detailsOf = (
  details: Json | undefined,
  opening: FailedOpening | null,
  since: string | null,
): { details?: unknown[] } => {
  if (since !== null) return { details: [details ?? null, opening, since] };
  if (opening !== null) return { details: [details ?? null, opening] };
  return details === undefined ? {} : { details: [details] };
};

/** Removes the folder of this and other packages from a stack trace. */
function withoutPlace(stack: string): string {
  const installed = pathToFileURL(`${packageFolder}/`);
  return stack
    .replaceAll(installed.href, '')
    .replaceAll(fileURLToPath(installed), '')
    .replace(/(?:file:\/\/)?(?:\/|[A-Z]:\\)[^\s():]*[/\\](?=node_modules[/\\])/g, '');
}

const cut = (message: string) =>
  message.length > MESSAGE_LIMIT ? `${message.slice(0, MESSAGE_LIMIT)}…` : message;

/**
 * Runs `work` and sends a heartbeat twice a second.
 * @param details shown in the Web UI for a pending activity.
 */
export async function beating<T>(details: () => unknown, work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(details()), 500);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
