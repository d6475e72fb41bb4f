import { workerCommandFor } from '../sync-condition.js';

/** Says that something waits for a worker, and how to start one. */
export const noWorkerText = (taskQueue: string, what: string): string =>
  `no worker polls the task queue "${taskQueue}": ${what} once one runs. Start one: ${workerCommandFor(taskQueue)}`;
