/** Workers of a task queue: whether one is there, and what is said where none is. */
import { hostname } from 'node:os';
import type { HighwaterClient } from '../client.js';
import { processExists } from '../dev/lock.js';
import { workerCommandFor } from './standing.js';

/** A worker as the Temporal server remembers it. */
export interface Poller {
  /** `PID@HOST` unless the worker was told otherwise. */
  identity: string;
  /** When it asked for work last. */
  asked: number;
}

/** A poll is kept open for a minute, and some more where there is much to do. */
const POLL_MILLISECONDS = 80_000;

/**
 * Returns whether a worker can still be there. The server remembers one for minutes after its end; of this machine's
 * processes it is known at once.
 * @param host the name of this machine.
 * @param exists whether a process of this machine runs.
 */
export function isThere(
  { identity, asked }: Poller,
  now: number,
  host: string,
  exists: (pid: number) => boolean,
): boolean {
  if (now - asked > POLL_MILLISECONDS) return false;
  const [, pid, where] = /^(\d+)@(.+)$/.exec(identity) ?? [];
  return pid === undefined || where !== host || exists(Number(pid));
}

/** A poller of the server's answer. */
export const pollerOf = ({
  identity,
  lastAccessTime,
}: {
  identity?: string | null;
  lastAccessTime?: { seconds?: unknown } | null;
}): Poller => ({ identity: identity ?? '', asked: Number(lastAccessTime?.seconds ?? 0) * 1000 });

/** The workers that take syncs from a task queue. */
export async function workersOf(client: HighwaterClient, taskQueue: string): Promise<Poller[]> {
  const { connection, options } = client.temporal;
  const { pollers } = await connection.workflowService.describeTaskQueue({
    namespace: options.namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: 1,
  });
  return pollers.map(pollerOf).filter((one) => isThere(one, Date.now(), hostname(), processExists));
}

/** Returns whether a worker takes syncs from a task queue; null if the server does not say. */
export const isPolled = (client: HighwaterClient, taskQueue: string): Promise<boolean | null> =>
  workersOf(client, taskQueue).then(
    (workers) => workers.length > 0,
    () => null,
  );

/** Says that something waits for a worker, and how to start one. */
export const noWorkerText = (taskQueue: string, what: string): string =>
  `no worker polls the task queue "${taskQueue}": ${what} once one runs. Start one: ${workerCommandFor(taskQueue)}`;
