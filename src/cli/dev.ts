import { Command } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import { resetServerState } from '../dev/temporal-server.js';
import { note, print } from './output.js';
import { localServer } from './server.js';
import { metricsOption, runWorker, type WorkerCommandOptions } from './worker.js';

export function devCommand(): Command {
  return new Command('dev')
    .description('Keep a local Temporal server and a worker up, until Ctrl-C.')
    .option('--task-queue <name>', 'the task queue to take syncs from', DEFAULT_TASK_QUEUE)
    .option('-d, --destination <file>', 'the DuckDB file of configurations that name none')
    .option('--grace <seconds>', 'how long work in hand may take to end at a stop', '10')
    .addOption(metricsOption())
    .option('--reset', "forget the local server's state first: every workflow and history")
    .action(async ({ reset, ...options }: WorkerCommandOptions & { reset?: boolean }) => {
      if (reset === true) {
        await resetServerState();
        note('The local Temporal server starts empty.');
      }
      const { server, to } = await localServer();
      print(`Temporal server: ${server.address}${server.started ? '' : ' (was running)'}`);
      if (server.uiUrl !== null) print(`Web UI: ${server.uiUrl}`);
      print('Start a sync from another terminal: npx highwater start configuration.json');
      try {
        await runWorker(to, options);
      } finally {
        await server.leave();
      }
    });
}
