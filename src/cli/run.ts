import { createHash } from 'node:crypto';
import { Command, InvalidArgumentError } from 'commander';
import {
  AlreadyRunningError,
  defaultWorkflowId,
  HighwaterClient,
  SyncFailedError,
  type SyncHandle,
} from '../client.js';
import {
  asConfiguration,
  asOnePass,
  destinationKind,
  loadPlans,
  MAX_DELETES_ALLOWED,
  readMaxDeletes,
  withMaxDeletes,
  type Configuration,
} from '../config/index.js';
import { target, type Target } from '../connection.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { HighwaterError, messageOf } from '../errors.js';
import { createLogger, installRuntime } from '../logger.js';
import type { Json, SyncResult } from '../protocol.js';
import { HighwaterWorker } from '../worker.js';
import { followSync } from './follow.js';
import { destinationOf, note, print, summary, webUiLink } from './output.js';
import { localServer } from './server.js';
import { findUi } from './find-web-ui.js';

interface RunOptions {
  destination?: string;
  id?: string;
  json?: boolean;
  full?: boolean;
  takeOver?: boolean;
  maxDeletes?: string;
}

export function runCommand(): Command {
  return new Command('run')
    .description(
      'Sync once and wait for the end of the pass. Starts a local Temporal server if none is found.',
    )
    .argument('<configuration>', 'a file: JSON (comments allowed) or YAML')
    .option(
      '-d, --destination <file>',
      "the destination (default: the configuration's, else $HIGHWATER_DESTINATION, else highwater.duckdb)",
    )
    .option(
      '--id <workflow-id>',
      'the workflow id (default: derived from stream, strategy, source and destination)',
    )
    .option('--full', 'ignore the checkpoint and start over')
    .option(
      '--take-over',
      'take the stream from a workflow that is still running, and continue from its checkpoint',
    )
    .option(
      '--max-deletes <limit>',
      'how many rows the pass may remove: a number, a share such as 50%, or "any" (default: the configuration\'s)',
      asMaxDeletes,
    )
    .option('--json', 'print one JSON object as the last line of standard output')
    .addHelpText(
      'after',
      `
Examples:
  highwater run configuration.json
  highwater run configuration.json --destination users.duckdb --json
  highwater run configuration.json --full
  highwater run configuration.json --max-deletes 500`,
    )
    .action(run);
}

/** @throws {InvalidArgumentError} */
function asMaxDeletes(text: string): string {
  if (readMaxDeletes(text) !== null) return text;
  throw new InvalidArgumentError(`It must be ${MAX_DELETES_ALLOWED}.`);
}

async function run(file: string, options: RunOptions): Promise<void> {
  try {
    const { result, handle, link, destination } = await syncOnce(file, options);
    const { runId } = handle;
    if (options.json === true) {
      const streams = result.streams.map((stream) => ({ ...stream, workflowId: handle.workflowId, runId }));
      print(JSON.stringify({ status: result.status, streams }));
    } else {
      print(summary(result.streams));
      print(`\nDestination: ${destination}`);
      if (link !== null) print(`Web UI: ${link}`);
    }
  } catch (thrown) {
    if (options.json === true) {
      const type =
        thrown instanceof SyncFailedError ? thrown.type : thrown instanceof Error ? thrown.name : 'Error';
      const deletes = thrown instanceof SyncFailedError ? thrown.deletes : null;
      const error = { type, message: messageOf(thrown), ...(deletes !== null && { deletes }) };
      print(JSON.stringify({ status: 'failed', error, streams: [] }));
    }
    throw thrown;
  }
}

interface Done {
  result: SyncResult;
  /** As it was named: a password in it is a reference. */
  destination: string;
  handle: { workflowId: string; runId: string };
  link: string | null;
}

async function syncOnce(file: string, options: RunOptions): Promise<Done> {
  const { configuration: given, plans } = await loadPlans(file);
  const destination = destinationOf(options.destination, plans.plans[0]);
  // One pass: `interval` is for syncs that a worker keeps.
  const { maxDeletes } = options;
  const onePass = maxDeletes === undefined ? asOnePass(given) : withMaxDeletes(asOnePass(given), maxDeletes);
  const configuration = asConfiguration({ ...(onePass as { [key: string]: Json }), destination });
  const workflowId = options.id ?? defaultWorkflowId(plans, destination);

  const ownQueue = `highwater-run-${createHash('sha256').update(destination).digest('hex').slice(0, 12)}`;
  const owner = destinationKind(destination) === 'duckdb' ? await liveOwner(destination) : null;
  // Another run ends when its own sync does: beside it this one brings a worker too, which then takes over.
  if (owner !== null && owner.taskQueue !== ownQueue) {
    note(`A running worker (process ${owner.pid}) has the destination open; the sync runs in that worker.`);
    const to = target(owner.address);
    const client = await HighwaterClient.connect(to);
    try {
      const handle = await begin(client, configuration, workflowId, owner.taskQueue, options);
      return { ...(await finish(handle, to, await findUi(to))), destination };
    } finally {
      await client.close();
    }
  }

  const { server, to } = await localServer();
  // The command itself shows failures.
  installRuntime(createLogger(process.env['HIGHWATER_LOG'] ?? 'error'));
  const client = await HighwaterClient.connect(to);
  try {
    const taskQueue = (await client.taskQueueOf(workflowId)) ?? ownQueue;
    const worker = await HighwaterWorker.create({
      target: to,
      taskQueue,
      destination,
      // The file is of the one who runs it.
      trust: { trust: 'local' },
    });
    const done = await worker.run(async () => {
      const handle = await begin(client, configuration, workflowId, taskQueue, options);
      return finish(handle, to, server.uiUrl);
    });
    if (done === undefined) throw new Error('the worker stopped before the sync was done');
    return { ...done, destination };
  } finally {
    await client.close();
    if ((await server.leave()) && options.json !== true) {
      note(
        'The local Temporal server has stopped; "npx highwater dev" starts it again with the history of this run.',
      );
    }
  }
}

/** Starts the sync, or joins the one that an interrupted run has left behind. */
async function begin(
  client: HighwaterClient,
  configuration: Configuration,
  workflowId: string,
  taskQueue: string,
  options: RunOptions,
): Promise<SyncHandle> {
  const running = await client.running(workflowId, configuration);
  if (running !== 'no' && options.takeOver === true) {
    await client.temporal.workflow.getHandle(workflowId).terminate('taken over by highwater run --take-over');
  } else if (running === 'same' && options.full !== true) {
    note(`Joined the sync "${workflowId}", which was still running.`);
    return client.sync(workflowId);
  } else if (running !== 'no') {
    throw new StillRunningError(workflowId);
  }
  try {
    return await client.start(configuration, {
      workflowId,
      taskQueue,
      full: options.full === true,
      takeOver: options.takeOver === true,
      // The command is the one that would have to decide, and it is not there to be asked.
      waitForApproval: false,
    });
  } catch (thrown) {
    // Another run was faster by a moment: then its sync is there to be joined.
    if (thrown instanceof AlreadyRunningError && running === 'no')
      return begin(client, configuration, workflowId, taskQueue, options);
    throw thrown;
  }
}

/** A workflow of the same id runs with another configuration, or from before `--full`. */
class StillRunningError extends HighwaterError {
  override readonly name = 'StillRunningError';
  constructor(workflowId: string) {
    super(
      `the sync "${workflowId}" is still running, with another configuration or without --full. Wait for it, ` +
        `cancel it, or use --take-over to end it and continue from its checkpoint.`,
    );
  }
}

async function finish(handle: SyncHandle, to: Target, ui: string | null): Promise<Omit<Done, 'destination'>> {
  const { workflowId } = handle;
  let cancelling: Promise<unknown> = Promise.resolve();
  const interrupt = () => {
    note('\nStopping after the current batch; a second Ctrl-C stops at once.');
    process.once('SIGINT', () => process.exit(130));
    process.exitCode = 130;
    cancelling = handle.cancel().catch(() => undefined);
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const link = (runId: string) => webUiLink(ui, to.namespace, workflowId, runId);
  try {
    const result = await followSync(handle);
    const runId = await handle.runId();
    return { result, handle: { workflowId, runId }, link: link(runId) };
  } catch (thrown) {
    const shown = await handle.runId().then(link, () => null);
    if (shown !== null) note(`Web UI: ${shown}`);
    throw thrown;
  } finally {
    await cancelling;
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}
