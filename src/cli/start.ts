import { setTimeout as delay } from 'node:timers/promises';
import { Command, Option } from 'commander';
import {
  DEFAULT_TASK_QUEUE,
  HighwaterClient,
  type ListedSync,
  type StartOptions,
  type SyncHandle,
} from '../client.js';
import { asConfiguration, loadPlans } from '../config/index.js';
import type { StreamPlan } from '../protocol.js';
import { isPolled } from '../task-queue.js';
import { note, print, shellWord, visible, webUiLink } from './output.js';
import { runningServer } from './server.js';
import { noWorkerText } from './workers.js';

interface Options {
  id?: string;
  taskQueue: string;
  full?: boolean;
  takeOver?: boolean;
  json?: boolean;
}

export function startCommand(): Command {
  return new Command('start')
    .description('Start a sync on a running worker, and return.')
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option(
      '--id <workflow-id>',
      'the workflow id (default: derived from stream, strategy, source and destination)',
    )
    .addOption(
      new Option('--task-queue <name>', 'the task queue of the worker')
        .default(DEFAULT_TASK_QUEUE)
        .env('HIGHWATER_TASK_QUEUE'),
    )
    .option('--full', 'ignore the checkpoint and start over')
    .option(
      '--take-over',
      'take the stream from a workflow that is still running, and continue from its checkpoint',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExample:\n  highwater start highwater.yaml --id users && highwater status users')
    .action(start);
}

async function start(file: string, options: Options): Promise<void> {
  const { configuration, plans } = await loadPlans(file);
  const { server, to } = await runningServer();
  const client = await HighwaterClient.connect(to);
  try {
    const startOptions: StartOptions = {
      taskQueue: options.taskQueue,
      full: options.full === true,
      takeOver: options.takeOver === true,
      ...(options.id !== undefined && { workflowId: options.id }),
    };
    const handle = await client.start(asConfiguration(configuration), startOptions);
    const runId = await handle.runId();
    const hasWorker = (await isPolled(client, options.taskQueue)) !== false;
    const refused = hasWorker ? await refusalOf(client, handle, plans.plans) : null;
    if (refused !== null) throw refused;
    const link = webUiLink(server.uiUrl, to.namespace, handle.workflowId, runId);
    if (options.json === true) print(JSON.stringify({ workflowId: handle.workflowId, runId, webUi: link }));
    else {
      for (const { message } of plans.plans.flatMap((plan) => plan.notes)) note(`note: ${message}`);
      print(`Started ${visible(handle.workflowId)}`);
      print(`Destination: ${destinationText(plans.plans[0])}`);
      if (link !== null) print(`Web UI: ${link}`);
      print(`Status: npx highwater status ${shellWord(handle.workflowId)}`);
      if (!hasWorker) note(`! ${noWorkerText(options.taskQueue, 'the sync begins')}`);
    }
  } finally {
    await client.close();
  }
}

const REFUSAL_MILLISECONDS = 5000;

/**
 * Returns the failure of a sync whose table another sync holds. Waits for its opening only if another sync of such a
 * stream runs.
 */
async function refusalOf(
  client: HighwaterClient,
  handle: SyncHandle,
  plans: readonly StreamPlan[],
): Promise<unknown> {
  const { workflowId } = handle;
  const streams = new Set<string | null>(plans.map(({ stream }) => stream));
  const isRival = ({ id, parent, attributes }: ListedSync) =>
    id !== workflowId && parent !== workflowId && streams.has(attributes.stream);
  if (!(await client.list({ runningOnly: true })).some(isRival)) return null;
  for (const deadline = Date.now() + REFUSAL_MILLISECONDS; Date.now() < deadline; await delay(200)) {
    if ((await handle.status()) !== 'RUNNING')
      return handle.result().then(
        () => null,
        (thrown: unknown) => thrown,
      );
    const progress = await handle.progress().catch(() => null);
    if (progress !== null && progress.status !== 'opening') return null;
  }
  return null;
}

/** The worker opens the destination, so that one that is not named is the worker's own. */
const destinationText = (plan: StreamPlan | undefined): string =>
  plan?.destination ?? "the worker's default (highwater.duckdb in its folder unless configured otherwise)";
