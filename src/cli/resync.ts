import { Command } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import { asConfiguration } from '../config/index.js';
import { isPolled } from '../task-queue.js';
import { connected, type Connected } from './asking.js';
import { note, print } from './output.js';
import { answered, placeOfSync } from './places.js';
import { noWorkerText } from './workers.js';

export function resyncCommand(): Command {
  return new Command('resync')
    .description('Read everything again from the beginning. Existing rows stay and are upserted.')
    .argument('<id>', 'the workflow id; ID/STREAM for one of several streams')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
A running sync starts over at once; one that has ended is started again. If a sync has several streams, all that are
running start over.

Examples:
  highwater resync users
  highwater resync shop/orders --json`,
    )
    .action((id: string, options: { json?: boolean }) =>
      connected(async (to) => {
        const done = await resync(to, id);
        const { started, streams } = done;
        if (options.json === true) print(JSON.stringify({ id, started, streams }));
        else if (started) {
          print(`${id}: started again, from the beginning`);
          if ((await isPolled(to.client, done.taskQueue)) === false)
            note(`! ${noWorkerText(done.taskQueue, 'it begins')}`);
        } else print(streams.map((one) => `${one}: starts over`).join('\n'));
      }),
    );
}

async function resync(
  to: Connected,
  id: string,
): Promise<{ started: boolean; streams: string[]; taskQueue: string }> {
  const { client } = to;
  const handle = client.sync(id);
  if ((await handle.status()) === 'RUNNING') {
    const { streams } = await answered(client, id, (sync) => sync.progress());
    const running = streams
      .filter(({ status }) => status === 'running')
      .map(({ stream }) => `${id}/${stream}`);
    const ids = streams.length === 0 ? [id] : running;
    for (const one of ids) await answered(client, one, (sync) => sync.move({ to: 'start' }));
    return { started: false, streams: ids, taskQueue: '' };
  }
  const { configuration, sync } = await placeOfSync(to, id);
  const { taskQueue = DEFAULT_TASK_QUEUE, stream = null } = sync ?? {};
  await client.start(asConfiguration(configuration), {
    workflowId: id,
    full: true,
    taskQueue,
    ...(stream !== null && { stream }),
  });
  return { started: true, streams: [id], taskQueue };
}
