/** Finds the live workers of a task queue. */
import { hostname } from 'node:os';
import type { HighwaterClient } from './client.js';
import { processExists } from './dev/lock.js';

/** A worker as the Temporal server remembers it. */
export interface Poller {
  /** `PID@HOST` unless the worker was told otherwise. */
  identity: string;
  /** When it asked for work last. */
  asked: number;
}

/** The server holds a poll open for a minute; a busy worker may take a little longer. */
export const POLL_MILLISECONDS = 80_000;

/**
 * Returns whether a worker may still be alive. The server lists a worker for minutes after it ends; a worker on this
 * machine is checked by its process id.
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
