import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { HighwaterError, messageOf } from '../errors.js';

/** How often something that should not happen again is tried all the same. */
const A_FEW = 3;
/** More than this of a message is for nobody, and Temporal takes no failure of megabytes. */
const MESSAGE_LIMIT = 8000;

/** Failures of a destination, or of a provider of secrets, that a sync which goes on waits out by itself, in the open. */
const WAITED_OUT = [
  ...['DestinationBusyError', 'DestinationElsewhereError', 'StorageFullError'],
  'SecretUnavailableError',
];
/** For so long they are tried again out of sight: most are over by then. */
const PATIENCE_MILLISECONDS = 10_000;

/**
 * Runs an activity's work; the one place where errors become Temporal's. The failure's `type` is the error's
 * name, its message the error's own.
 * @param goesOn whether the sync waits out by itself what its destination fails with: it is told soon then, so that it
 *   can say so.
 */
export async function reporting<T>(work: () => Promise<T>, goesOn: () => boolean = () => false): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const failure = failureOf(thrown, goesOn);
    // A history is read on other machines than this one.
    for (let one: unknown = failure; one instanceof Error; one = one.cause)
      if (one.stack !== undefined) one.stack = withoutPlace(one.stack);
    throw failure;
  }
}

function failureOf(thrown: unknown, goesOn: () => boolean): unknown {
  if (thrown instanceof ApplicationFailure || thrown instanceof CancelledFailure) return thrown;
  if (!(thrown instanceof HighwaterError)) {
    return ApplicationFailure.create({
      type: thrown instanceof Error ? thrown.name : 'Error',
      message: cut(messageOf(thrown)),
      ...(thrown instanceof Error && thrown.message.length <= MESSAGE_LIMIT && { cause: thrown }),
    });
  }
  const { retry } = thrown;
  const { attempt, scheduledTimestampMs } = Context.current().info;
  const last = retry === 'a few times' && attempt >= A_FEW;
  const isLong = Date.now() - scheduledTimestampMs >= PATIENCE_MILLISECONDS;
  const isTold = isLong && goesOn() && WAITED_OUT.includes(thrown.name);
  return ApplicationFailure.create({
    type: thrown.name,
    message: cut(thrown.message),
    nonRetryable: retry === 'never' || last || isTold,
    ...(thrown.details !== undefined && { details: [thrown.details] }),
  });
}

/** A stack trace without the folder in which this package and others are installed. */
export function withoutPlace(stack: string): string {
  const installed = new URL('../../', import.meta.url);
  return stack
    .replaceAll(installed.href, '')
    .replaceAll(fileURLToPath(installed), '')
    .replace(/(?:file:\/\/)?(?:\/|[A-Z]:\\)[^\s():]*[/\\](?=node_modules[/\\])/g, '');
}

const cut = (message: string) =>
  message.length > MESSAGE_LIMIT ? `${message.slice(0, MESSAGE_LIMIT)}…` : message;

/**
 * Runs `work` while telling Temporal, twice a second, that it is alive.
 * @param details what the Web UI shows of a pending activity.
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
