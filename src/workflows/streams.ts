import {
  allHandlersFinished,
  ApplicationFailure,
  ChildWorkflowFailure,
  condition,
  executeChild,
  getExternalWorkflowHandle,
  isCancellation,
  setCurrentDetails,
  setHandler,
  type SignalDefinition,
  sleep,
  startChild,
  upsertMemo,
  workflowInfo,
} from '@temporalio/workflow';
import type { Json, Progress, StreamResult, SyncResult, Trouble } from '../protocol.js';
import { isContinuous, parentsIn, streamsAtOnce, streamsChangeProblem } from './configurations.js';
import {
  APPROVE_DESCRIPTION,
  childId,
  nothingWaits,
  REJECT_DESCRIPTION,
  type Decide,
  type Decided,
} from './deletes.js';
import { code, countText, plain, plural } from './details.js';
import { configureProblem, isValidSignal } from './inputs.js';
import {
  approveUpdate,
  asksSignal,
  configurationQuery,
  configurationSignal,
  configureUpdate,
  decideSignal,
  moveUpdate,
  pauseSignal,
  progressQuery,
  rejectUpdate,
  resumeSignal,
  settingsSignal,
  setUpdate,
  stateQuery,
  stopSignal,
  triggerSignal,
} from './messages.js';
import { changeRefusal, moveRefusal, type MoveInput, type Reopened } from './moves.js';
import { partOf } from '../config/part.js';
import { questionOf } from './questions.js';
import { readChange, withChange, type Change, type Settings } from './settings.js';
import type { sync, SyncOptions } from './sync.js';

/** A server takes no message of more than 4 MB: children with larger inputs together are started one after the other. */
const STARTED_AT_ONCE_BYTES = 1024 * 1024;

/** Streams that are each other's parents would wait for ever; they are refused when they are opened. */
function leadsRound(parents: ReadonlyMap<string, string>, name: string): boolean {
  let above = parents.get(name);
  for (let steps = 0; above !== undefined && steps <= parents.size; steps++) above = parents.get(above);
  return above !== undefined;
}

/**
 * A child workflow for each stream, a few at once. One that fails does not stop the others; once all are done the
 * failure of the first is that of the whole.
 */
export async function allStreams(
  begun: Json,
  options: SyncOptions,
  names: readonly string[],
): Promise<SyncResult> {
  if (options.move !== undefined || options.moveOnly === true) throw moveRefusal(EACH_BY_ITSELF);
  let configuration = begun;
  const { workflowId } = workflowInfo();
  const idOf = (name: string) => childId(workflowId, name);
  const running = new Set<string>();
  const results = new Map<string, StreamResult>();
  const failed = new Map<string, Error>();
  /** Streams that wait for a decision about deletes. */
  const asking = new Map<string, Trouble>();
  const most = streamsAtOnce(configuration, names.length);
  const parents = parentsIn(configuration);
  // Where passes never end, a stream waits for its parents by itself.
  const goesOn = isContinuous(configuration);
  let paused = false;
  let stopping = false;
  let stopped = false;
  let settings: Settings = options.settings ?? {};
  const show = () => setCurrentDetails(details(names, results, failed, running, asking, workflowId));
  const tell = async <Args extends unknown[]>(
    name: string,
    signal: SignalDefinition<Args>,
    ...args: Args
  ) => {
    while (running.has(name)) {
      try {
        await getExternalWorkflowHandle(idOf(name)).signal(signal, ...args);
        return;
      } catch {
        // It may be that its start is still on the way.
        await sleep('1s');
      }
    }
  };
  const toAll = <Args extends unknown[]>(signal: SignalDefinition<Args>, ...args: Args) =>
    Promise.all([...running].map((name) => tell(name, signal, ...args)));
  setHandler(
    pauseSignal,
    () => {
      paused = true;
      void toAll(pauseSignal);
    },
    { description: 'Pause all streams after the batch in hand, until resume.' },
  );
  setHandler(
    resumeSignal,
    () => {
      paused = false;
      void toAll(resumeSignal);
    },
    { description: 'All streams go on.' },
  );
  setHandler(
    stopSignal,
    () => {
      stopping = true;
      void toAll(stopSignal);
    },
    { description: 'End all streams after the batch in hand; those that have not begun do not begin.' },
  );
  setHandler(triggerSignal, () => void toAll(triggerSignal), {
    description: 'All streams that run make a pass now, or once more after the one in hand.',
  });
  setHandler(
    setUpdate,
    async (raw) => {
      const change = changeOfAll(raw, goesOn);
      settings = withChange(settings, change);
      await toAll(settingsSignal, change);
      return settings;
    },
    {
      validator: (raw) => void changeOfAll(raw, goesOn),
      description:
        'Change settings of all streams from the next batch on: {"interval": "15m", "rate": 2}; "default" takes one back.',
    },
  );
  setHandler(
    asksSignal,
    (stream, trouble) => {
      if (!isValidSignal('asks', { stream, trouble })) return;
      if (trouble === null || !running.has(stream)) asking.delete(stream);
      else asking.set(stream, trouble);
      show();
    },
    { description: 'A stream says that it waits for a decision about deletes, or no longer does.' },
  );
  const decide = async (how: Decide['how']): Promise<Decided> => {
    const questions = [...asking].flatMap(([stream, { deletes }]) =>
      deletes === undefined ? [] : [{ stream, ...deletes }],
    );
    asking.clear();
    await Promise.all(questions.map(({ stream, deletes }) => tell(stream, decideSignal, { how, deletes })));
    return {
      streams: questions.map(({ stream, table, deletes, rows }) => ({ stream, table, deletes, rows })),
    };
  };
  const validator = () => {
    if (asking.size === 0)
      throw nothingWaits(overall(names, results, running, asking, paused, stopping).status);
  };
  setHandler(approveUpdate, () => decide('approve'), {
    validator,
    description: `${APPROVE_DESCRIPTION} Handed on to all streams that wait.`,
  });
  setHandler(rejectUpdate, () => decide('reject'), {
    validator,
    description: `${REJECT_DESCRIPTION} Handed on to all streams that wait.`,
  });
  setHandler(moveUpdate, (_to: MoveInput): Reopened => ({ done: false, state: {} }), {
    validator: (_to: MoveInput) => {
      throw moveRefusal(EACH_BY_ITSELF);
    },
    description: 'Each stream has a cursor of its own: ask the workflow ID/STREAM.',
  });
  setHandler(
    configureUpdate,
    async (next, hash?: string) => {
      configuration = next;
      upsertMemo({ configuration: hash ?? '' });
      await Promise.all(
        [...running].map((name) => tell(name, configurationSignal, partOf(next, name), hash ?? '')),
      );
      return { done: true, state: {} };
    },
    {
      validator: (next: Json, hash?: string) => {
        const problem = configureProblem(next, hash) ?? streamsChangeProblem(configuration, next);
        if (problem === null) return;
        throw changeRefusal(problem);
      },
      description:
        'Go on with another configuration of the same sync, which is handed on to all streams. One that cannot use it ' +
        'goes on as it is, with a warning.',
    },
  );
  setHandler(configurationQuery, () => configuration, {
    description: 'The configuration that it works by; secrets in it are references.',
  });
  setHandler(stateQuery, () => Object.fromEntries([...results].map(([name, { cursor }]) => [name, cursor])), {
    description: 'The committed cursors of the streams that are done; ask the child of a stream for its own.',
  });
  setHandler(
    progressQuery,
    () => ({
      ...overall(names, results, running, asking, paused, stopping),
      settings,
      streams: names.map((stream) => ({
        stream,
        status: statusOf(stream, results, failed, running, asking),
      })),
    }),
    {
      description: 'Counts of the streams that are done; ask the child of a stream for its own.',
    },
  );
  const sizeOf = (name: string) => JSON.stringify(partOf(configuration, name)).length;
  const isLarge = names.reduce((bytes, name) => bytes + sizeOf(name), 0) > STARTED_AT_ONCE_BYTES;
  /** Bytes of inputs that are on their way to the server. */
  let starting = 0;
  /** Runs the child of a stream to its end. */
  const run = async (name: string): Promise<SyncResult> => {
    const child = {
      workflowId: idOf(name),
      args: [
        partOf(configuration, name),
        { ...options, stream: name, ...(Object.keys(settings).length > 0 && { settings }) },
      ] as Parameters<typeof sync>,
      staticSummary: name,
    };
    if (!isLarge) return executeChild<typeof sync>('sync', child);
    const bytes = sizeOf(name);
    const hasRoom = () => starting === 0 || starting + bytes <= STARTED_AT_ONCE_BYTES;
    while (!hasRoom()) await condition(hasRoom);
    starting += bytes;
    const started = await startChild<typeof sync>('sync', child).finally(() => (starting -= bytes));
    return started.result();
  };

  const one = async (name: string) => {
    const parent = goesOn || leadsRound(parents, name) ? undefined : parents.get(name);
    if (parent !== undefined && names.includes(parent)) {
      await condition(() => results.has(parent) || failed.has(parent));
      if (failed.has(parent)) {
        failed.set(
          name,
          ApplicationFailure.nonRetryable(`not read, as its parent ${parent} failed`, 'ParentFailed'),
        );
        show();
        return;
      }
    }
    // Several may wake at once, and only one find room. Streams that wait for a decision take none of it.
    const mayRun = () => stopping || (running.size - asking.size < most && !paused);
    while (!mayRun()) await condition(mayRun);
    if (stopping) return;
    running.add(name);
    show();
    try {
      const { streams, status } = await run(name);
      for (const result of streams) results.set(name, result);
      stopped ||= status === 'stopped';
    } catch (thrown) {
      if (isCancellation(thrown)) throw thrown;
      failed.set(name, thrown instanceof Error ? thrown : new Error(String(thrown)));
    } finally {
      running.delete(name);
      asking.delete(name);
      show();
    }
  };
  // Those that are cancelled are waited for: a parent that ends before its children would have them terminated.
  const ends = await Promise.allSettled(names.map(one));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  for (const [name, failure] of failed) {
    const cause = failure instanceof ChildWorkflowFailure ? (failure.cause ?? failure) : failure;
    const type = cause instanceof ApplicationFailure ? (cause.type ?? 'SyncFailed') : 'SyncFailed';
    const others =
      failed.size === 1 ? '' : ` (and ${failed.size - 1} more of ${names.length} streams failed)`;
    const deletes = questionOf(cause);
    const details = deletes === null ? [] : [deletes];
    throw ApplicationFailure.nonRetryable(`stream ${name}: ${cause.message}${others}`, type, ...details);
  }
  await condition(allHandlersFinished);
  const streams = names.flatMap((name) => results.get(name) ?? []);
  return {
    status: stopping && (stopped || streams.length < names.length) ? 'stopped' : 'completed',
    streams,
  };
}

const EACH_BY_ITSELF = 'each of its streams has a cursor of its own: ask for ID/STREAM';

/** @throws {ApplicationFailure} for what each stream has of its own. */
function changeOfAll(raw: unknown, goesOn: boolean): Change {
  const change = readChange(raw);
  const problem =
    'page_size' in change
      ? 'page_size: is for one stream; set it on the workflow ID/STREAM'
      : !goesOn && ('interval' in change || 'idle_interval' in change)
        ? 'interval: this sync makes one pass; its configuration has no "interval"'
        : null;
  if (problem === null) return change;
  throw ApplicationFailure.nonRetryable(`nothing was set:\n  ${problem}`, 'SettingRefused');
}

function statusOf(
  name: string,
  results: ReadonlyMap<string, StreamResult>,
  failed: ReadonlyMap<string, Error>,
  running: ReadonlySet<string>,
  asking: ReadonlyMap<string, Trouble>,
): Progress['streams'][number]['status'] {
  if (results.has(name)) return 'done';
  if (asking.has(name)) return 'blocked';
  return failed.has(name) ? 'failed' : running.has(name) ? 'running' : 'waits for its turn';
}

function overall(
  names: readonly string[],
  results: ReadonlyMap<string, StreamResult>,
  running: ReadonlySet<string>,
  asking: ReadonlyMap<string, Trouble>,
  paused: boolean,
  stopping: boolean,
): Progress {
  const done = [...results.values()];
  const ended = running.size === 0 && (stopping || results.size === names.length);
  const sum = (of: 'pages' | 'records' | 'rows' | 'batches' | 'rejected' | 'deleted') =>
    done.reduce((total, result) => total + result[of], 0);
  const counts = {
    pages: sum('pages'),
    records: sum('records'),
    rows: sum('rows'),
    batches: sum('batches'),
    rejected: sum('rejected'),
    deleted: sum('deleted'),
  };
  return {
    status: ended
      ? stopping
        ? 'stopped'
        : 'drained'
      : paused
        ? 'paused'
        : asking.size > 0
          ? 'blocked'
          : 'running',
    stream: running.size === 0 ? `${names.length} streams` : [...running].join(', '),
    strategy: '',
    destination: '',
    pass: 1,
    ...counts,
    staged: 0,
    endRule: null,
    ...{ waiting: null, trouble: troubleOf(asking), recordsPerSecond: null, completeAsOf: null },
    ...{ recent: [], settings: {}, streams: [] },
    warnings: done.flatMap((result) => result.warnings),
    totals: { passes: 0, ...counts },
  };
}

/** What keeps streams waiting for a decision, in the words of the first. */
function troubleOf(asking: ReadonlyMap<string, Trouble>): Trouble | null {
  const [first] = asking;
  if (first === undefined) return null;
  const [stream, trouble] = first;
  const others = asking.size === 1 ? '' : ` (${plural(asking.size - 1, 'more stream')} too)`;
  return { ...trouble, message: `stream ${stream}${others}: ${trouble.message}` };
}

function details(
  names: readonly string[],
  results: ReadonlyMap<string, StreamResult>,
  failed: ReadonlyMap<string, Error>,
  running: ReadonlySet<string>,
  asking: ReadonlyMap<string, Trouble>,
  workflowId: string,
): string {
  const line = (name: string) => {
    const result = results.get(name);
    if (result !== undefined)
      return `| ${plain(name)} | done | ${result.records} | ${result.rows} | ${result.deleted} |`;
    const status = statusOf(name, results, failed, running, asking);
    return `| ${plain(name)} | ${['failed', 'blocked'].includes(status) ? `**${status}**` : status} | | | |`;
  };
  const questions = [...asking].map(([name, { deletes }]) =>
    deletes === undefined
      ? ''
      : `- **${plain(name)}** would remove ${countText(deletes.deletes)} of the ${plural(deletes.rows, 'row')} of ${plain(deletes.table)}: \`approve\` or \`reject\``,
  );
  return [
    `**${results.size} of ${names.length} streams done** · each is a workflow, ${code(`${workflowId}/STREAM`)}`,
    '',
    ...(questions.length === 0 ? [] : [...questions, '']),
    '| stream | status | records | rows written | deleted |',
    '| --- | --- | --- | --- | --- |',
    ...names.map(line),
    '',
  ].join('\n');
}
