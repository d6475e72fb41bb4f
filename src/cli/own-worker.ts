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
  /** Default: what the environment says, as for "highwater worker". */
  trust?: TrustOptions;
}

/** The worker of a command ended before its work. */
class WorkerStoppedError extends HighwaterError {
  override readonly name = 'WorkerStoppedError';
}

/** Runs a worker in this process while `work` runs. */
export async function withOwnWorker<T extends object>(
  { to, taskQueue, destination, trust }: OwnWorker,
  work: () => Promise<T>,
): Promise<T> {
  // The command itself shows failures.
  installRuntime(createLogger(process.env['HIGHWATER_LOG'] ?? 'error'));
  const worker = await HighwaterWorker.create({
    target: to,
    taskQueue,
    destination,
    ...(trust !== undefined && { trust }),
  });
  const done = await worker.run(work);
  if (done === undefined) throw new WorkerStoppedError('the worker stopped before the sync was done');
  return done;
}
