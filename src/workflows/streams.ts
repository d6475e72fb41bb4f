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
  sleep,
  startChild,
  upsertMemo,
  workflowInfo,
  type SignalDefinition,
} from '@temporalio/workflow';
import { partOf } from '../config/part.js';
import type { Json, StreamResult, SyncResult, Trouble } from '../protocol.js';
import { runInBackground } from './background.js';
import { isContinuous, parentsIn, streamsAtOnce, streamsChangeProblem } from './configurations.js';
import {
  APPROVE_DESCRIPTION,
  childId,
  nothingToDecide,
  REJECT_DESCRIPTION,
  type Decide,
  type Decided,
} from './deletes.js';
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
import { moveRefusal, type MoveInput } from '../move-target.js';
import { changeRefusal, type Reopened } from './moves.js';
import { questionOf } from './questions.js';
import type { Settings } from '../settings.js';
import { readChange, settingsRefusal, withChange, type Change } from './settings.js';
import { overallDetails, overallProgress, overallStatus, type StreamsView } from './streams-report.js';
import type { sync, SyncOptions } from './sync.js';

/**
 * A server takes no message of more than 4 MB: children whose inputs are larger together are started one after the
 * other.
 */
const STARTED_AT_ONCE_BYTES = 1024 * 1024;

const MOVED_SEPARATELY = 'each of its streams has its own cursor: query ID/STREAM';

/**
 * A sync of several streams: a child workflow for each, a few at once. One that fails does not stop the others; once
 * all have ended, the failure of the first is that of the whole.
 */
export class StreamsSync implements StreamsView {
  readonly running = new Set<string>();
  readonly undecided = new Map<string, Trouble>();
  readonly results = new Map<string, StreamResult>();
  readonly failures = new Map<string, Error>();
  isPaused = false;
  isStopping = false;
  /** A child was stopped before it came to its end. */
  private wasStopped = false;
  private settings: Settings;
  private readonly workflowId = workflowInfo().workflowId;
  private readonly limit: number;
  private readonly isContinuous: boolean;
  private readonly parents: ReadonlyMap<string, string>;
  private readonly startsOneByOne: boolean;
  /** The last signal that is being sent to a stream, until it was sent or the stream has ended. */
  private readonly sending = new Map<string, Promise<void>>();
  /** Bytes of inputs of children that are being started. */
  private startingBytes = 0;

  /** @throws {ApplicationFailure} where a move is asked for. */
  constructor(
    private configuration: Json,
    private readonly options: SyncOptions,
    readonly names: readonly string[],
  ) {
    if (options.move !== undefined || options.moveOnly === true) throw moveRefusal(MOVED_SEPARATELY);
    this.settings = options.settings ?? {};
    this.limit = streamsAtOnce(configuration, names.length);
    this.isContinuous = isContinuous(configuration);
    this.parents = parentsIn(configuration);
    this.startsOneByOne =
      names.reduce((bytes, name) => bytes + this.inputBytes(name), 0) > STARTED_AT_ONCE_BYTES;
    this.registerSignals();
    this.registerUpdates();
    this.registerQueries();
  }

  async run(): Promise<SyncResult> {
    // Cancelled children are waited for: a parent that ends before its children would have them terminated.
    const ends = await Promise.allSettled(this.names.map((name) => this.runInTurn(name)));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    await condition(allHandlersFinished);
    const [failed] = this.failures;
    if (failed !== undefined) throw this.overallFailure(...failed);
    const streams = this.names.flatMap((name) => this.results.get(name) ?? []);
    const isStopped = this.isStopping && (this.wasStopped || streams.length < this.names.length);
    return { status: isStopped ? 'stopped' : 'completed', streams };
  }

  /** Runs a stream to its end, once its parent has ended and there is room. */
  private async runInTurn(name: string): Promise<void> {
    const parent = this.parentToWaitFor(name);
    if (parent !== null) {
      await condition(() => this.results.has(parent) || this.failures.has(parent));
      if (this.failures.has(parent)) {
        const message = `not read, because its parent ${parent} failed`;
        this.failures.set(name, ApplicationFailure.nonRetryable(message, 'ParentFailed'));
        this.show();
        return;
      }
    }
    // Several may wake at once, and only one find room. Streams that wait for a decision take none of it.
    const mayRun = () =>
      this.isStopping || (this.running.size - this.undecided.size < this.limit && !this.isPaused);
    while (!mayRun()) await condition(mayRun);
    if (this.isStopping) return;
    this.running.add(name);
    this.show();
    try {
      const { streams, status } = await this.runChild(name);
      for (const result of streams) this.results.set(name, result);
      this.wasStopped ||= status === 'stopped';
    } catch (thrown) {
      if (isCancellation(thrown)) throw thrown;
      this.failures.set(name, thrown instanceof Error ? thrown : new Error(String(thrown)));
    } finally {
      this.running.delete(name);
      this.undecided.delete(name);
      this.show();
    }
  }

  /** The parent that must end before the stream begins; null where there is none. */
  private parentToWaitFor(name: string): string | null {
    // If passes never end, a stream waits for its parent by itself.
    if (this.isContinuous || isCircular(this.parents, name)) return null;
    const parent = this.parents.get(name);
    return parent !== undefined && this.names.includes(parent) ? parent : null;
  }

  private async runChild(name: string): Promise<SyncResult> {
    const { options, settings } = this;
    const childOptions: SyncOptions = {
      ...options,
      stream: name,
      ...(Object.keys(settings).length > 0 && { settings }),
    };
    const child = {
      workflowId: childId(this.workflowId, name),
      args: [partOf(this.configuration, name), childOptions] as Parameters<typeof sync>,
      staticSummary: name,
    };
    if (!this.startsOneByOne) return executeChild<typeof sync>('sync', child);
    const bytes = this.inputBytes(name);
    const hasRoom = () => this.startingBytes === 0 || this.startingBytes + bytes <= STARTED_AT_ONCE_BYTES;
    while (!hasRoom()) await condition(hasRoom);
    this.startingBytes += bytes;
    const started = await startChild<typeof sync>('sync', child).finally(() => (this.startingBytes -= bytes));
    return started.result();
  }

  private inputBytes(name: string): number {
    return JSON.stringify(partOf(this.configuration, name)).length;
  }

  private overallFailure(name: string, failure: Error): ApplicationFailure {
    const cause = failure instanceof ChildWorkflowFailure ? (failure.cause ?? failure) : failure;
    const type = cause instanceof ApplicationFailure ? (cause.type ?? 'SyncFailed') : 'SyncFailed';
    const more = this.failures.size - 1;
    const others = more === 0 ? '' : ` (and ${more} more of ${this.names.length} streams failed)`;
    const question = questionOf(cause);
    const details = question === null ? [] : [question];
    return ApplicationFailure.nonRetryable(`stream ${name}: ${cause.message}${others}`, type, ...details);
  }

  private show(): void {
    setCurrentDetails(overallDetails(this, this.workflowId));
  }

  /** Sends a signal to the child of a stream, after those before it and as long as the child runs. */
  private sendTo<Args extends unknown[]>(
    name: string,
    signal: SignalDefinition<Args>,
    ...args: Args
  ): Promise<void> {
    const sent = this.sendAfter(this.sending.get(name) ?? null, name, signal, args);
    const settled = sent
      .catch(() => undefined)
      .then(() => {
        if (this.sending.get(name) === settled) this.sending.delete(name);
      });
    this.sending.set(name, settled);
    return sent;
  }

  private async sendAfter<Args extends unknown[]>(
    before: Promise<void> | null,
    name: string,
    signal: SignalDefinition<Args>,
    args: Args,
  ): Promise<void> {
    if (before !== null) await before;
    while (this.running.has(name)) {
      try {
        await getExternalWorkflowHandle(childId(this.workflowId, name)).signal(signal, ...args);
        return;
      } catch (thrown) {
        if (isCancellation(thrown)) throw thrown;
        // The child may not have started yet.
        await sleep('1s');
      }
    }
  }

  /** Hands a signal on to all running streams; the cancellation of the workflow ends that. */
  private handOn(signal: SignalDefinition): void {
    runInBackground(() => this.sendToAll(signal));
  }

  private async sendToAll<Args extends unknown[]>(
    signal: SignalDefinition<Args>,
    ...args: Args
  ): Promise<void> {
    await Promise.all([...this.running].map((name) => this.sendTo(name, signal, ...args)));
  }

  /** Hands a decision on to all streams that wait for one. */
  private async decide(how: Decide['how']): Promise<Decided> {
    const questions = [...this.undecided].flatMap(([stream, { deletes }]) =>
      deletes === undefined ? [] : [{ stream, ...deletes }],
    );
    this.undecided.clear();
    await Promise.all(
      questions.map(({ stream, deletes }) => this.sendTo(stream, decideSignal, { how, deletes })),
    );
    return {
      streams: questions.map(({ stream, table, deletes, rows }) => ({ stream, table, deletes, rows })),
    };
  }

  private registerSignals(): void {
    setHandler(
      pauseSignal,
      () => {
        this.isPaused = true;
        this.handOn(pauseSignal);
      },
      { description: 'Pause all streams after the current batch, until resume.' },
    );
    setHandler(
      resumeSignal,
      () => {
        this.isPaused = false;
        this.handOn(resumeSignal);
      },
      { description: 'Continue all streams.' },
    );
    setHandler(
      stopSignal,
      () => {
        this.isStopping = true;
        this.handOn(stopSignal);
      },
      { description: 'End all streams after the current batch; queued streams do not start.' },
    );
    setHandler(triggerSignal, () => this.handOn(triggerSignal), {
      description: 'All running streams make a pass now, or another one after the current pass.',
    });
    setHandler(
      asksSignal,
      (stream, trouble) => {
        if (!isValidSignal('asks', { stream, trouble })) return;
        if (trouble === null || !this.running.has(stream)) this.undecided.delete(stream);
        else this.undecided.set(stream, trouble);
        this.show();
      },
      { description: 'Sent by a stream that waits for a decision about deletes, or no longer does.' },
    );
  }

  private registerUpdates(): void {
    setHandler(
      setUpdate,
      async (raw) => {
        const change = this.readChange(raw);
        this.settings = withChange(this.settings, change);
        await this.sendToAll(settingsSignal, change);
        return this.settings;
      },
      {
        validator: (raw) => void this.readChange(raw),
        description:
          'Change settings of all streams from the next batch on: {"interval": "15m", "rate": 2}; "default" resets one.',
      },
    );
    const validator = () => {
      if (this.undecided.size === 0) throw nothingToDecide(overallStatus(this));
    };
    setHandler(approveUpdate, () => this.decide('approve'), {
      validator,
      description: `${APPROVE_DESCRIPTION} Sent to all streams that wait.`,
    });
    setHandler(rejectUpdate, () => this.decide('reject'), {
      validator,
      description: `${REJECT_DESCRIPTION} Sent to all streams that wait.`,
    });
    setHandler(moveUpdate, (_to: MoveInput): Reopened => ({ done: false, state: {} }), {
      validator: (_to: MoveInput) => {
        throw moveRefusal(MOVED_SEPARATELY);
      },
      description: 'Each stream has its own cursor: send this to the workflow ID/STREAM.',
    });
    setHandler(
      configureUpdate,
      async (next, hash = '') => {
        this.configuration = next;
        upsertMemo({ configuration: hash });
        await Promise.all(
          [...this.running].map((name) => this.sendTo(name, configurationSignal, partOf(next, name), hash)),
        );
        return { done: true, state: {} };
      },
      {
        validator: (next: Json, hash?: string) => {
          const problem = configureProblem(next, hash) ?? streamsChangeProblem(this.configuration, next);
          if (problem !== null) throw changeRefusal(problem);
        },
        description:
          'Continue with another configuration of the same sync, which is sent to all streams. A stream that cannot use ' +
          'it keeps its current one, with a warning.',
      },
    );
  }

  private registerQueries(): void {
    setHandler(configurationQuery, () => this.configuration, {
      description: 'The current configuration; secrets in it are references.',
    });
    setHandler(
      stateQuery,
      () => Object.fromEntries([...this.results].map(([name, { cursor }]) => [name, cursor])),
      {
        description:
          'The committed cursors of the streams that are done; ask the child of a stream for its own.',
      },
    );
    setHandler(progressQuery, () => overallProgress(this, this.settings), {
      description: 'Counts of the streams that are done; ask the child of a stream for its own.',
    });
  }

  /** @throws {ApplicationFailure} for settings that each stream has of its own. */
  private readChange(raw: unknown): Change {
    const change = readChange(raw);
    if ('page_size' in change)
      throw settingsRefusal(['page_size: applies to one stream; set it on the workflow ID/STREAM']);
    if (!this.isContinuous && ('interval' in change || 'idle_interval' in change))
      throw settingsRefusal(['interval: this sync makes a single pass; its configuration has no "interval"']);
    return change;
  }
}

/** Whether a stream is its own ancestor: it would wait for ever. Such streams are refused when they are opened. */
function isCircular(parents: ReadonlyMap<string, string>, name: string): boolean {
  let above = parents.get(name);
  for (let steps = 0; above !== undefined && steps <= parents.size; steps++) above = parents.get(above);
  return above !== undefined;
}
