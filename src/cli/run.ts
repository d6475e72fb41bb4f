import { Command, InvalidArgumentError } from 'commander';
import {
  AlreadyRunningError,
  HighwaterClient,
  SyncFailedError,
  type StreamOutcome,
  type SyncHandle,
} from '../client.js';
import { defaultWorkflowId } from '../sync-description.js';
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
import type { FailureType } from '../failures.js';
import type { Json, StreamResult, SyncResult } from '../protocol.js';
import { firstLine } from '../text.js';
import { followSync } from './follow.js';
import {
  count,
  counted,
  destinationOf,
  fail,
  note,
  print,
  summary,
  visible,
  webUiLink,
  wrapped,
} from './output.js';
import { ownTaskQueue, ownTrust, withOwnWorker } from './own-worker.js';
import { localServer } from './server.js';
import { findUi } from './find-web-ui.js';
import { paint } from './terminal.js';

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
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
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
  const isJson = options.json === true;
  try {
    const ended = await syncOnce(file, options);
    if (isJson) printJson(ended);
    else printEnd(ended);
    if (isJson && ended.failure !== null) throw ended.failure;
  } catch (thrown) {
    // A sync that has begun has been printed.
    if (isJson && !(thrown instanceof SyncFailedError))
      print(JSON.stringify({ status: 'failed', error: errorOf(thrown), streams: [] }));
    throw thrown;
  }
}

/** The end of a sync of one pass. */
interface Ended {
  result: SyncResult | null;
  /** Null where the sync has succeeded. */
  failure: SyncFailedError | null;
  /** The streams of a sync of several that has failed. */
  outcomes: StreamOutcome[];
  /** As it was named: a password in it is a reference. */
  destination: string;
  handle: { workflowId: string; runId: string };
  link: string | null;
  /** A stream stops at a record that does not fit. */
  stopsAtMisfits: boolean;
  /** The server has stopped with this command: its Web UI is gone. */
  isServerGone: boolean;
}

function printJson({ result, failure, outcomes, handle: { workflowId, runId } }: Ended): void {
  const named = (stream: StreamResult) => ({ ...stream, workflowId, runId });
  if (result !== null) {
    print(JSON.stringify({ status: result.status, streams: result.streams.map(named) }));
    return;
  }
  const streams = outcomes.flatMap((outcome) => outcome.result ?? []).map(named);
  const failed = outcomes.flatMap(({ stream, error }) => (error === null ? [] : [{ stream, error }]));
  const more = failed.length === 0 ? {} : { failed };
  print(JSON.stringify({ status: 'failed', error: errorOf(failure), streams, ...more }));
}

function errorOf(thrown: unknown): { type: string; message: string; deletes?: unknown } {
  if (!(thrown instanceof SyncFailedError))
    return { type: thrown instanceof Error ? thrown.name : 'Error', message: messageOf(thrown) };
  const { type, message, deletes } = thrown;
  return { type, message, ...(deletes !== null && { deletes }) };
}

function printEnd(ended: Ended): void {
  const { result, failure, outcomes, destination, link, isServerGone } = ended;
  const succeeded = result?.streams ?? outcomes.flatMap((outcome) => outcome.result ?? []);
  if (succeeded.length > 0 || failure === null) print(summary(succeeded));
  if (failure !== null && outcomes.length > 0) {
    for (const { stream, error } of outcomes)
      if (error !== null) print(wrapped(paint('bad', visible(`✗ ${stream}: ${firstLine(error)}`)), 2));
    print(
      `${counted(succeeded.length, 'stream')} of ${count(outcomes.length)} succeeded; their rows are in the destination.`,
    );
  }
  // The cause comes first: what follows is where to look further. It sets the exit code.
  if (failure !== null) {
    fail(failure);
    const next = nextStep(failure, ended.stopsAtMisfits);
    if (next !== null) note(`next: ${next}`);
  }
  // A reader of the output expects the place of the rows there; with a failure it is a remark.
  const say = failure === null ? print : note;
  if (failure === null || succeeded.length > 0) print(`\nDestination: ${destination}`);
  say(`Sync: ${visible(ended.handle.workflowId)}`);
  if (link !== null && !isServerGone) say(`Web UI: ${link}`);
  if (link !== null && isServerGone)
    say(`Web UI: stopped with this command. "npx highwater dev" starts it again, then open\n  ${link}`);
}

/** Returns the next step after a failure; null where its message has it, or where someone ended the sync. */
function nextStep({ type, deletes }: SyncFailedError, stopsAtMisfits: boolean): string | null {
  if (deletes !== null || ENDED_BY_SOMEONE.includes(type)) return null;
  const again = 'fix the cause, then run it again; it continues from its checkpoint';
  return type === ('RecordError' satisfies FailureType) && stopsAtMisfits
    ? `${again}. Or set "misfits: quarantine": records that do not fit are put aside, and the others are written`
    : again;
}

const ENDED_BY_SOMEONE = ['Cancelled', 'Terminated'];

async function syncOnce(file: string, options: RunOptions): Promise<Ended> {
  const { configuration: given, plans } = await loadPlans(file);
  const destination = destinationOf(options.destination, plans.plans[0]);
  // One pass: `interval` is for syncs that a worker keeps.
  const { maxDeletes } = options;
  const onePass = maxDeletes === undefined ? asOnePass(given) : withMaxDeletes(asOnePass(given), maxDeletes);
  const configuration = asConfiguration({ ...(onePass as { [key: string]: Json }), destination });
  const workflowId = options.id ?? defaultWorkflowId(plans, destination);
  const streams = plans.plans.map(({ stream }) => stream);
  const stopsAtMisfits = plans.plans.some(
    ({ table }) => table.quarantine !== true && table.inference?.policy !== 'quarantine',
  );

  const ownQueue = ownTaskQueue('run', destination);
  const owner = destinationKind(destination) === 'duckdb' ? await liveOwner(destination) : null;
  // Another run ends when its own sync does: beside it this one brings a worker too, which then takes over.
  if (owner !== null && owner.taskQueue !== ownQueue) {
    note(`A running worker (process ${owner.pid}) has the destination open; the sync runs in that worker.`);
    const to = target(owner.address);
    const client = await HighwaterClient.connect(to);
    try {
      const handle = await begin(client, configuration, workflowId, owner.taskQueue, options);
      const ended = await finish(client, handle, streams, to, await findUi(to));
      return { ...ended, destination, stopsAtMisfits, isServerGone: false };
    } finally {
      await client.close();
    }
  }

  const { server, to } = await localServer();
  const client = await HighwaterClient.connect(to);
  const work = async () => {
    const taskQueue = (await client.taskQueueOf(workflowId)) ?? ownQueue;
    // On the task queue of a sync that was started there, this worker works for that one only.
    const isOurs = (id: string) =>
      taskQueue === ownQueue || id === workflowId || id.startsWith(`${workflowId}/`);
    const how = { to, taskQueue, destination, trust: ownTrust(true), serves: isOurs };
    return withOwnWorker(how, async () => {
      const handle = await begin(client, configuration, workflowId, taskQueue, options);
      return finish(client, handle, streams, to, server.uiUrl);
    });
  };
  let isServerGone: boolean;
  let ended;
  try {
    ended = await work();
  } finally {
    await client.close();
    isServerGone = await server.leave();
  }
  return { ...ended, destination, stopsAtMisfits, isServerGone };
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

async function finish(
  client: HighwaterClient,
  handle: SyncHandle,
  streams: readonly string[],
  to: Target,
  ui: string | null,
): Promise<Omit<Ended, 'destination' | 'stopsAtMisfits' | 'isServerGone'>> {
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
  const end = async (): Promise<Pick<Ended, 'result' | 'failure' | 'outcomes'>> => {
    try {
      return { result: await followSync(client, handle), failure: null, outcomes: [] };
    } catch (thrown) {
      if (!(thrown instanceof SyncFailedError)) throw thrown;
      const outcomes = streams.length > 1 ? await client.outcomesOf(workflowId, streams) : [];
      return { result: null, failure: thrown, outcomes };
    }
  };
  try {
    const ended = await end();
    const runId = await handle.runId();
    const link = webUiLink(ui, to.namespace, workflowId, runId);
    return { ...ended, handle: { workflowId, runId }, link };
  } finally {
    await cancelling;
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}
