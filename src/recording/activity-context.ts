/** Runs activities in this process, without a Temporal server. */
import { asyncLocalStorage, Context, type Info } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { noopMetricMeter, type Logger } from '@temporalio/common';

/** gRPC status code of a server that does not offer a service. */
const UNIMPLEMENTED = 12;

/** A client of no server: activities go on without what they ask it for. */
const noServer = (): Client => {
  const withDeadline = () => Promise.reject(Object.assign(new Error('no server'), { code: UNIMPLEMENTED }));
  return { withDeadline, connection: { withDeadline } } as unknown as Client;
};

const silent: Logger = {
  log: () => undefined,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/**
 * Runs an activity.
 * @param attempt from 1: activities give some failures up after a few attempts.
 */
export function runActivity<T>(
  { workflowId, attempt, signal }: { workflowId: string; attempt: number; signal: AbortSignal },
  work: () => Promise<T>,
): Promise<T> {
  const now = Date.now();
  const namespace = 'local';
  const info: Info = {
    taskToken: new Uint8Array(),
    base64TaskToken: '',
    activityId: workflowId,
    activityType: workflowId,
    attempt,
    taskQueue: workflowId,
    isLocal: false,
    inWorkflow: true,
    namespace,
    activityNamespace: namespace,
    workflowNamespace: namespace,
    workflowType: 'sync',
    workflowExecution: { workflowId, runId: workflowId },
    heartbeatDetails: undefined,
    scheduledTimestampMs: now,
    currentAttemptScheduledTimestampMs: now,
    startToCloseTimeoutMs: 0,
    scheduleToCloseTimeoutMs: 0,
  };
  let onAbort: () => void = () => undefined;
  const cancelled = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  cancelled.catch(() => undefined);
  const heartbeat = () => undefined;
  const context = new Context(info, cancelled, signal, heartbeat, noServer(), silent, noopMetricMeter, {});
  return asyncLocalStorage.run(context, work).finally(() => signal.removeEventListener('abort', onAbort));
}
