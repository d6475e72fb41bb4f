import { Command } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import { asConfiguration, destinationKind } from '../config/index.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { isPolled } from '../task-queue.js';
import { connected, type Connected } from './asking.js';
import { note, print } from './output.js';
import { ownTaskQueue } from './own-worker.js';
import { answered, placeOfSync, type Place } from './places.js';
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
  const place = await placeOfSync(to, id);
  const { configuration, sync } = place;
  const taskQueue = await queueFor(client, place);
  const stream = sync?.stream ?? null;
  await client.start(asConfiguration(configuration), {
    workflowId: id,
    full: true,
    taskQueue,
    ...(stream !== null && { stream }),
  });
  return { started: true, streams: [id], taskQueue };
}

/**
 * The task queue on which a sync that has ended starts again: its own; where that was of a "highwater run" that has ended,
 * too, that of the worker which has the destination open, or the usual one.
 */
async function queueFor(client: Connected['client'], { sync, destination }: Place): Promise<string> {
  const usual = process.env['HIGHWATER_TASK_QUEUE'] || DEFAULT_TASK_QUEUE;
  const own = sync?.taskQueue ?? usual;
  if (own !== ownTaskQueue('run', destination) || (await isPolled(client, own)) !== false) return own;
  const owner = destinationKind(destination) === 'duckdb' ? await liveOwner(destination) : null;
  return owner?.taskQueue ?? usual;
}
