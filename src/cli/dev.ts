import { Command } from 'commander';
import { HighwaterClient } from '../client.js';
import type { Target } from '../connection.js';
import { resetServerState } from '../dev/temporal-server.js';
import { workersOf } from '../task-queue.js';
import { note, print } from './output.js';
import { localServer } from './server.js';
import { runWorker, type WorkerCommandOptions, withWorkerOptions } from './worker.js';

/** Says that another worker polls the task queue too: one that an earlier "dev" left behind, or a program's. */
async function sayOthers(to: Target, taskQueue: string): Promise<void> {
  const client = await HighwaterClient.connect(to);
  try {
    const others = await workersOf(client, taskQueue);
    if (others.length === 0) return;
    const who = others.map(({ identity }) => identity).join(', ');
    note(
      `! Another worker polls the task queue "${taskQueue}" too (${who}): syncs run in either. ` +
        'It may run an older version or hold the destination. If you do not want it, stop it by its process id.',
    );
  } finally {
    await client.close();
  }
}

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
      await sayOthers(to, options.taskQueue);
      try {
        await runWorker(to, options);
      } finally {
        const isStopped = await server.leave();
        if (isStopped && options.json !== true)
          note(
            'The local Temporal server has stopped too. Syncs continue where they are with the next "highwater dev".',
          );
      }
    });
}
