import { Command, Option } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import type { Target } from '../connection.js';
import { createLogger, installRuntime, metricsAddress } from '../logger.js';
import { HighwaterWorker } from '../worker.js';
import { note } from './output.js';
import { runningServer } from './server.js';

export interface WorkerCommandOptions {
  taskQueue: string;
  destination?: string;
  grace: string;
  metricsPort?: string;
}

export function workerCommand(): Command {
  return new Command('worker')
    .description('Run a worker: takes the syncs that are started, until Ctrl-C.')
    .option('--task-queue <name>', 'the task queue to take syncs from', DEFAULT_TASK_QUEUE)
    .option('-d, --destination <file>', 'the DuckDB file of configurations that name none')
    .option('--grace <seconds>', 'how long work in hand may take to end at a stop', '10')
    .addOption(metricsOption())
    .addHelpText(
      'after',
      `
Examples:
  TEMPORAL_ADDRESS=127.0.0.1:7233 highwater worker --destination users.duckdb
  HIGHWATER_LOG=info highwater worker --metrics-port 9464`,
    )
    .action(async (options: WorkerCommandOptions) => {
      const { server, to } = await runningServer();
      note(`Temporal server: ${server.address}, namespace ${to.namespace}`);
      await runWorker(to, options);
    });
}

/** Where the metrics of a worker are served; the same for each command that runs one. */
export const metricsOption = () =>
  new Option(
    '--metrics-port <[host:]port>',
    'serve metrics for Prometheus at http://HOST:PORT/metrics (host: 127.0.0.1)',
  ).env('HIGHWATER_METRICS');

/** Runs a worker until SIGINT or SIGTERM. */
export async function runWorker(to: Target, options: WorkerCommandOptions): Promise<void> {
  const metrics = options.metricsPort === undefined ? undefined : metricsAddress(options.metricsPort);
  installRuntime(createLogger(), metrics);
  const worker = await HighwaterWorker.create({
    target: to,
    taskQueue: options.taskQueue,
    graceSeconds: Number(options.grace),
    ...(options.destination !== undefined && { destination: options.destination }),
  });
  const stop = () => {
    note('Stopping: work in hand ends first.');
    worker.shutdown();
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  if (metrics !== undefined) note(`Metrics: http://${metrics}/metrics`);
  note(`Worker ready on the task queue "${options.taskQueue}".`);
  await worker.run();
}
