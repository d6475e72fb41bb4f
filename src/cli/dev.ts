import { Command } from 'commander';
import { resetServerState } from '../dev/temporal-server.js';
import { note, print } from './output.js';
import { localServer } from './server.js';
import { runWorker, type WorkerCommandOptions, withWorkerOptions } from './worker.js';

export function devCommand(): Command {
  return withWorkerOptions(
    new Command('dev').description('Run a local Temporal server and a worker until Ctrl-C.'),
  )
    .option('--reset', "first delete the local server's state: all workflows and histories")
    .option('--json', 'print one JSON object per line: server, then ready, stopping, stopped')
    .addHelpText(
      'after',
      `
Examples:
  highwater dev
  highwater dev --destination users.duckdb --reset`,
    )
    .action(async ({ reset, ...options }: WorkerCommandOptions & { reset?: boolean }) => {
      if (reset === true) {
        await resetServerState();
        note('The local Temporal server starts empty.');
      }
      const { server, to } = await localServer();
      if (options.json === true)
        print(JSON.stringify({ event: 'server', address: server.address, webUi: server.uiUrl }));
      else {
        print(`Temporal server: ${server.address}${server.started ? '' : ' (already running)'}`);
        if (server.uiUrl !== null) print(`Web UI: ${server.uiUrl}`);
        print('Start a sync from another terminal: npx highwater start highwater.yaml');
      }
      try {
        await runWorker(to, options);
      } finally {
        await server.leave();
      }
    });
}
