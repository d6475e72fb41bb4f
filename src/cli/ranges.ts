/** Common parts of `backfill` and `audit`: where a range is read, and how the command waits for it. */
import {
  AlreadyRunningError,
  DEFAULT_TASK_QUEUE,
  SyncFailedError,
  type HighwaterClient,
  type RangeHandle,
} from '../client.js';
import { defaultWorkflowId } from '../sync-description.js';
import { asConfiguration, loadPlans, type Configuration } from '../config/index.js';
import { HighwaterError } from '../errors.js';
import type { Note, RangeResult } from '../protocol.js';
import type { TrustOptions } from '../trust/policy.js';
import { isPolled } from '../task-queue.js';
import { connected, type Connected } from './asking.js';
import { followSync } from './follow.js';
import { destinationOf, note, print, shellWord, webUiLink, wrapped } from './output.js';
import { ownTaskQueue, ownTrust, withOwnWorker } from './own-worker.js';
import { NotKnownError, placeOfSync } from './places.js';
import { namesFile, onlyConfiguration } from './subject.js';
import { noWorkerText } from './workers.js';

/** Options of both commands. */
export interface RangeCommandOptions {
  from?: string;
  to?: string;
  stream?: string;
  taskQueue?: string;
  wait: boolean;
  json?: boolean;
}

export interface EndedRange {
  stream: string;
  pages: number;
  warnings: Note[];
  range: RangeResult;
}

/**
 * Starts a range, or joins the one that is running, and waits for its end.
 * @returns null if the command does not wait.
 */
export async function ranged(
  given: string | undefined,
  options: RangeCommandOptions,
  start: (client: HighwaterClient, of: string | Configuration, taskQueue: string) => Promise<RangeHandle>,
): Promise<EndedRange | null> {
  const named = given ?? (await onlyConfiguration());
  return connected(async (to) => {
    const subject = await subjectOf(to, named, options);
    const isThere = await isPolled(to.client, subject.taskQueue);
    const begin = async (taskQueue = subject.taskQueue): Promise<RangeHandle> => {
      try {
        return await start(to.client, subject.of, taskQueue);
      } catch (thrown) {
        if (!(thrown instanceof AlreadyRunningError) || !options.wait) throw thrown;
        note(`Joined "${thrown.workflowId}", which was already running.`);
        return to.client.range(thrown.workflowId);
      }
    };
    if (!options.wait) {
      await printStarted(to, await begin(), options);
      if (isThere === false) note(`! ${noWorkerText(subject.taskQueue, 'it begins')}`);
      return null;
    }
    if (isThere !== false) return finish(to, await begin(), options);
    return withoutWorker(to, subject, options, begin);
  });
}

/** Runs a range in a worker of this command, on a task queue of its own: the syncs of others are not its business. */
async function withoutWorker(
  to: Connected,
  { destination, taskQueue, trust }: Subject,
  options: RangeCommandOptions,
  begin: (taskQueue: string) => Promise<RangeHandle>,
): Promise<EndedRange> {
  if (destination === null) throw new NoWorkerError(noWorkerText(taskQueue, 'it can be read'));
  const ownQueue = ownTaskQueue('range', destination);
  note(`No worker polls the task queue "${taskQueue}", so this command runs one until it is done.`);
  let served = '';
  const serves = (workflowId: string) => workflowId === served;
  return withOwnWorker({ to: to.to, taskQueue: ownQueue, destination, trust, serves }, async () => {
    const handle = await begin(ownQueue);
    const itsQueue = await to.client.taskQueueOf(handle.workflowId);
    if (itsQueue !== null && itsQueue !== ownQueue)
      throw new NoWorkerError(noWorkerText(itsQueue, `"${handle.workflowId}" continues`));
    served = handle.workflowId;
    return finish(to, handle, options);
  });
}

/** A range needs a worker that this command cannot be. */
class NoWorkerError extends HighwaterError {
  override readonly name = 'NoWorkerError';
}

interface Subject {
  of: string | Configuration;
  taskQueue: string;
  /** Null if only the sync's own worker knows it. */
  destination: string | null;
  trust: TrustOptions;
}

/** A configuration file, or the id of a sync, with the task queue and the destination of its worker. */
async function subjectOf(to: Connected, given: string, options: RangeCommandOptions): Promise<Subject> {
  const { client } = to;
  if (namesFile(given)) {
    const { configuration, plans } = await loadPlans(given);
    const taskQueue =
      options.taskQueue ??
      (await client.taskQueueOf(defaultWorkflowId(plans))) ??
      process.env['HIGHWATER_TASK_QUEUE'] ??
      DEFAULT_TASK_QUEUE;
    const destination = destinationOf(undefined, plans.plans[0]);
    return { of: asConfiguration(configuration), taskQueue, destination, trust: ownTrust(true) };
  }
  const work = await client.sync(given).work();
  const place = await placeOfSync(to, given, { anyStream: true }).catch((thrown: unknown) => {
    if (thrown instanceof NotKnownError) return null;
    throw thrown;
  });
  const taskQueue = options.taskQueue ?? work.taskQueue;
  return { of: given, taskQueue, destination: place?.destination ?? null, trust: ownTrust(false) };
}

async function printStarted(
  { server, to }: Connected,
  handle: RangeHandle,
  options: RangeCommandOptions,
): Promise<void> {
  const { workflowId } = handle;
  const runId = await handle.runId();
  const webUi = webUiLink(server.uiUrl, to.namespace, workflowId, runId);
  if (options.json === true) {
    print(JSON.stringify({ workflowId, runId, webUi }));
    return;
  }
  print(`Started ${workflowId}`);
  if (webUi !== null) print(`Web UI: ${webUi}`);
  print(`Status: npx highwater status ${shellWord(workflowId)}`);
}

async function finish(
  { client, server, to }: Connected,
  handle: RangeHandle,
  options: RangeCommandOptions,
): Promise<EndedRange> {
  const { workflowId } = handle;
  const runId = await handle.runId();
  const webUi = webUiLink(server.uiUrl, to.namespace, workflowId, runId);
  const interrupt = () => {
    note(`\nIt continues in the background; "npx highwater cancel ${shellWord(workflowId)}" ends it.`);
    process.exit(130);
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    const { status, streams } = await followSync(client, handle);
    const [stream] = streams;
    if (status === 'stopped' || stream?.range === undefined)
      throw new SyncFailedError(workflowId, 'Stopped', 'it was stopped before it finished');
    const { range, pages, warnings } = stream;
    if (options.json === true)
      print(JSON.stringify({ workflowId, runId, webUi, stream: stream.stream, pages, ...range, warnings }));
    else if (webUi !== null) note(`Web UI: ${webUi}`);
    return { stream: stream.stream, pages, warnings, range };
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

export const printNotes = (warnings: readonly Note[]): void => {
  for (const { message } of warnings) print(wrapped(`note: ${message}`, 2));
};

/** `2026-01-01T00:00:00Z to the end`. */
export const endsText = ({ from, to }: Pick<RangeResult, 'from' | 'to'>): string =>
  from === null && to === null ? 'everything' : `${from ?? 'the beginning'} to ${to ?? 'the end'}`;
