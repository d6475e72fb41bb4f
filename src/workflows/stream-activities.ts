/** How the loop calls its activities: where they run, how long they may take, and how they are retried. */
import { ApplicationFailure, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { OpenedStream, OpenStreamInput, StreamPlan } from '../protocol.js';

const HEARTBEAT = '4s';
/** A worker that owns the destination takes a task at once; after this it is gone. */
const OWNER_ANSWERS = '5s';
/** Upper limit of any activity; heartbeats notice a dead worker long before. */
const ACTIVITY_LIMIT = '6h';

/**
 * Opens the stream on the worker that owns its destination.
 * @throws {ApplicationFailure} `DestinationElsewhereError` where the owner changes meanwhile.
 */
export async function openWhereItIs(input: OpenStreamInput): Promise<OpenedStream> {
  const { openStream } = proxyActivities<Activities>({
    startToCloseTimeout: '2m',
    heartbeatTimeout: HEARTBEAT,
    retry: retryFor(60),
  });
  let opened = await openStream.executeWithOptions({ summary: 'open the stream' }, [input]);
  if ('redirect' in opened) {
    const owner = { taskQueue: opened.redirect, scheduleToStartTimeout: OWNER_ANSWERS } as const;
    const summary = 'open the stream on the worker that owns the destination';
    opened = await openStream.executeWithOptions({ ...owner, summary }, [input]);
  }
  if ('redirect' in opened) {
    const message = `the destination has a new owner: the worker of the task queue ${opened.redirect}`;
    throw ApplicationFailure.create({ message, type: 'DestinationElsewhereError' });
  }
  return opened;
}

/** Options for activities on the worker that owns the destination. */
export function ownerOptions({ queue }: OpenedStream, { retrySeconds }: StreamPlan, summary: string) {
  return {
    taskQueue: queue,
    scheduleToStartTimeout: OWNER_ANSWERS,
    startToCloseTimeout: ACTIVITY_LIMIT,
    heartbeatTimeout: HEARTBEAT,
    retry: retryFor(retrySeconds),
    summary,
  } as const;
}

/** Retries quickly at first, then every 10 s, for about this many seconds. */
export function retryFor(seconds: number) {
  const first = 0.2;
  const longest = 10;
  let attempts = 1;
  for (let waited = 0, next = first; waited < seconds; next = Math.min(next * 2, longest)) {
    waited += next;
    attempts++;
  }
  return {
    initialInterval: `${first}s`,
    maximumInterval: `${longest}s`,
    backoffCoefficient: 2,
    maximumAttempts: Math.max(attempts, 4),
  } as const;
}
