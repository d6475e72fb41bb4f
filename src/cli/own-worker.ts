import { createHash } from 'node:crypto';
import type { Target } from '../connection.js';
import { HighwaterError } from '../errors.js';
import { createLogger, installRuntime } from '../logger.js';
import type { TrustOptions } from '../trust/policy.js';
import { HighwaterWorker } from '../worker.js';

/** Settings of a worker that a command runs itself. */
export interface OwnWorker {
  to: Target;
  taskQueue: string;
  /** For configurations without one. */
  destination: string;
  trust: TrustOptions;
  /** The syncs that it works for; a task queue that others use as well has their syncs too. Default: all. */
  serves?: (workflowId: string) => boolean;
}

/** Returns the task queue that only commands of one kind on one destination use. */
export const ownTaskQueue = (kind: 'run' | 'range', destination: string): string =>
  `highwater-${kind}-${createHash('sha256').update(destination).digest('hex').slice(0, 12)}`;

/**
 * Returns the trust of a command's own worker. HIGHWATER_COMMAND_TRUST and HIGHWATER_TRUST come first; else the command
 * trusts the user's own file, and treats a sync that it knows by its id as "highwater worker" does.
 */
export function ownTrust(isOwnFile: boolean, environment: NodeJS.ProcessEnv = process.env): TrustOptions {
  if (environment['HIGHWATER_COMMAND_TRUST'] === 'none') return { trust: 'none' };
  return isOwnFile && (environment['HIGHWATER_TRUST'] ?? '') === '' ? { trust: 'local' } : {};
}

/** The worker of a command ended before its work. */
class WorkerStoppedError extends HighwaterError {
  override readonly name = 'WorkerStoppedError';
}

/** Runs a worker in this process while `work` runs. */
export async function withOwnWorker<T extends object>(
  { to, taskQueue, destination, trust, serves }: OwnWorker,
  work: () => Promise<T>,
): Promise<T> {
  // The command itself shows failures.
  installRuntime(createLogger(process.env['HIGHWATER_LOG'] ?? 'error'));
  const worker = await HighwaterWorker.create({
    target: to,
    taskQueue,
    destination,
    trust,
    ...(serves !== undefined && { serves }),
  });
  const done = await worker.run(work);
  if (done === undefined) throw new WorkerStoppedError('the worker stopped before the sync was done');
  return done;
}
