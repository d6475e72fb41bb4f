import {
  Client,
  Connection,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  type WorkflowExecutionDescription,
  type WorkflowExecutionInfo,
  type WorkflowHandle,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  type DataConverter,
  type Payload,
  TerminatedFailure,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { asConfiguration, hashOf, planNamed, plansFrom, type Configuration } from './config/index.js';
import { target, type Target } from './connection.js';
import {
  extensionsOf,
  loadExtensions,
  NO_EXTENSIONS,
  type Extension,
  type LoadedExtensions,
} from './extensions.js';
import { HighwaterError, messageOf, MoveRefusedError, RangeRefusedError } from './errors.js';
import { tracing, type Tracing } from './observe/tracing.js';
import { dataConverterFrom, PayloadReader } from './payloads/converter.js';
import type {
  Json,
  Note,
  Progress,
  Range,
  RangeRequest,
  RangeResult,
  Retry,
  SearchAttributeName,
  StreamPlan,
  StreamResult,
  SyncResult,
  TooManyDeletes,
} from './protocol.js';
import { Schedules } from './schedules.js';
import { DEFAULT_TASK_QUEUE, defaultWorkflowId, described, streamDetails } from './sync-description.js';
import type { RangeOf } from './sync-families.js';
import { boundText, rangeProblem, unfitRange } from './strategies/index.js';
import type { Decided } from './workflows/deletes.js';
import { questionOf } from './workflows/questions.js';
import type { MoveInput } from './move-target.js';
import type { Reopened } from './workflows/moves.js';
import type { SyncOptions } from './workflows/sync.js';

export { DEFAULT_TASK_QUEUE };

/** How a sync is started. */
export interface StartOptions {
  /** The id of the sync. Default: made of stream, strategy, source and destination, so that the same sync has the same id. */
  workflowId?: string;
  /** The task queue of the worker. Default: {@link DEFAULT_TASK_QUEUE}. */
  taskQueue?: string;
  /** Forget the checkpoint and start over. */
  full?: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver?: boolean;
  /** Move the cursor first. */
  move?: MoveInput;
  /** Do nothing else. */
  moveOnly?: boolean;
  /** One stream of several, by itself. */
  stream?: string;
  /** False: a pass that would remove more rows than `max_deletes` allows fails, and does not wait for a decision. */
  waitForApproval?: boolean;
}

/** A range of a stream to read beside its sync. */
export interface RangeOptions extends Range {
  /** Which stream of several. */
  stream?: string;
  /** The task queue of the worker. Default: that of the sync. */
  taskQueue?: string;
}

/** How a table is compared with its source. */
export interface AuditOptions extends Partial<RangeOptions> {
  /** Write what is missing or stale, and treat rows that the source does not have as the stream's `deletes` says. */
  repair?: boolean;
  /** With `repair`: remove such rows also where nothing says what becomes of them. */
  removeExtra?: boolean;
  /** How many keys of each kind of difference are named; 20 unless told. */
  keys?: number;
}

/** A sync failed; the message is the cause's own. */
export class SyncFailedError extends HighwaterError {
  override readonly name = 'SyncFailedError';
  constructor(
    readonly workflowId: string,
    /** The name of the error that ended it, for example `SourceRefusedError`. */
    readonly type: string,
    message: string,
    /** The deletes of a pass that ended the sync, if that was the reason. */
    readonly deletes: TooManyDeletes | null = null,
  ) {
    super(message);
  }
}

/** A sync of that id is running already. */
export class AlreadyRunningError extends HighwaterError {
  override readonly name = 'AlreadyRunningError';
  constructor(readonly workflowId: string) {
    super(`a sync with the id "${workflowId}" is already running`);
  }
}

/** There is no sync of that id. */
export class NoSuchSyncError extends HighwaterError {
  override readonly name = 'NoSuchSyncError';
  constructor(readonly workflowId: string) {
    super(`there is no sync with the id "${workflowId}"; "highwater list" shows all syncs`);
  }
}

/** The sync has ended, so that nothing can be asked of it any more. */
export class NotRunningError extends HighwaterError {
  override readonly name = 'NotRunningError';
  constructor(
    readonly workflowId: string,
    /** COMPLETED, FAILED, … */
    readonly status: string,
    ended: Date | null,
  ) {
    const when = ended === null ? '' : ` at ${ended.toISOString()}`;
    super(
      `the sync "${workflowId}" is not running: it has ${ENDED[status] ?? 'ended'}${when}. ` +
        `Start it again with "highwater start"; it continues from its checkpoint.`,
    );
  }
}

const ENDED: Record<string, string> = {
  ...{ COMPLETED: 'completed', FAILED: 'failed', CANCELLED: 'been cancelled' },
  ...{ TERMINATED: 'been terminated', TIMED_OUT: 'timed out' },
};

/** The server does not understand a query. */
export class QueryRefusedError extends HighwaterError {
  override readonly name = 'QueryRefusedError';
}

/** A setting cannot be changed, or not to this; nothing was. */
export class SettingRefusedError extends HighwaterError {
  override readonly name = 'SettingRefusedError';
}

/** No pass waits for a decision about deletes. */
export class NothingToDecideError extends HighwaterError {
  override readonly name = 'NothingToDecideError';
}

/** Pages that are being read, and are not staged yet. */
export interface Reading {
  pages: number;
  records: number;
  /** Records of the pass so far, and the source's own count of all; null where the strategy or the source has none. */
  read: number | null;
  total: number | null;
  /** When the last page arrived, or the reading began; null for a worker of another release. */
  at: string | null;
}

/** A sync's pending activities. */
export interface Work {
  retry: Retry | null;
  reading: Reading | null;
  taskQueue: string;
  /** Events in the history of the current run. */
  historyLength: number;
}

/** `PENDING_ACTIVITY_STATE_SCHEDULED`. */
const SCHEDULED = 1;
/** `TIMEOUT_TYPE_HEARTBEAT`: the worker that ran the activity has died, or cannot reach the server. */
const HEARTBEAT = 4;
/** A pending activity is among the last events: little happens while it is retried. */
const EVENTS_LOOKED_AT = 30;

/** Returns a time of the server as ISO 8601. */
const timeOf = (time: { seconds?: unknown } | null | undefined): string | null =>
  time == null ? null : new Date(Number(time.seconds ?? 0) * 1000).toISOString();

const timeIn = (value: Json | undefined): string | null =>
  typeof value === 'string' && !Number.isNaN(Date.parse(value)) ? value : null;

/** Reads the heartbeat of `fetchPages`; null for one of another release. */
function readingOf(beat: Json): Reading | null {
  if (typeof beat !== 'object' || beat === null || Array.isArray(beat)) return null;
  const number = (name: string) => (typeof beat[name] === 'number' ? beat[name] : null);
  const [pages, records] = [number('pages'), number('records')];
  return pages === null || records === null
    ? null
    : { pages, records, read: number('read'), total: number('total'), at: timeIn(beat['at']) };
}

/**
 * A sync by its id, running or ended. Each method asks the Temporal server; `progress`, `state`, `configuration` and updates
 * need a worker too. All throw {@link NoSuchSyncError} if there is no sync of that id; those that change something,
 * except for `cancel`, throw {@link NotRunningError} if it has ended.
 */
export class SyncHandle {
  constructor(
    private readonly handle: WorkflowHandle,
    private readonly payloads: PayloadReader,
  ) {}

  /** The id of the sync. */
  get workflowId(): string {
    return this.handle.workflowId;
  }

  /**
   * Waits for the end.
   * @throws {SyncFailedError}
   */
  async result(): Promise<SyncResult> {
    try {
      return (await this.asked(() => this.handle.result())) as SyncResult;
    } catch (thrown) {
      if (thrown instanceof WorkflowFailedError) throw failed(this.workflowId, thrown);
      throw thrown;
    }
  }

  /** The run that is current: continue-as-new makes new ones. */
  async runId(): Promise<string> {
    return (await this.described()).runId;
  }

  /** RUNNING, COMPLETED, FAILED, CANCELLED, TERMINATED, … */
  async status(): Promise<string> {
    return (await this.described()).status.name;
  }

  /**
   * The sync's pending activities as the Temporal server knows them: no worker has to answer.
   * @param options.withBeginning also says since when a retried activity is tried, which takes another request.
   */
  async work(options: { withBeginning?: boolean } = {}): Promise<Work> {
    const { raw, taskQueue, historyLength, runId } = await this.described();
    const work: Work = { retry: null, reading: null, taskQueue, historyLength };
    for (const pending of raw.pendingActivities ?? []) {
      const { activityType, attempt, lastFailure, state, scheduledTime, heartbeatDetails } = pending;
      const activity = activityType?.name ?? '';
      const failure = (await this.payloads.readable(lastFailure)) ?? {};
      const isScheduled = Number(state) === SCHEDULED;
      const next = isScheduled ? timeOf(scheduledTime) : null;
      if (failure.message && work.retry === null) {
        const isWorkerLost = Number(failure.timeoutFailureInfo?.timeoutType) === HEARTBEAT;
        const type = failure.applicationFailureInfo?.type ?? null;
        const since =
          options.withBeginning === true ? await this.beginningOf(runId, pending.activityId ?? '') : null;
        work.retry = {
          activity,
          attempt: attempt ?? 0,
          message: failure.message,
          next,
          since,
          type,
          isWorkerLost,
        };
      }
      const [beat] = heartbeatDetails?.payloads ?? [];
      if (activity === 'fetchPages' && beat !== undefined)
        work.reading ??= readingOf(await this.payloads.read(beat));
    }
    return work;
  }

  /** Returns when a pending activity was scheduled; null if the last events of the history do not say. */
  private async beginningOf(runId: string, activityId: string): Promise<string | null> {
    const { connection, options } = this.handle.client;
    const answer = await connection.workflowService
      .getWorkflowExecutionHistoryReverse({
        namespace: options.namespace,
        execution: { workflowId: this.workflowId, runId },
        maximumPageSize: EVENTS_LOOKED_AT,
      })
      // Without it, the time is not shown.
      .catch(() => null);
    const scheduled = answer?.history?.events?.find(
      ({ activityTaskScheduledEventAttributes: of }) => of?.activityId === activityId,
    );
    return timeOf(scheduled?.eventTime);
  }

  /** Returns how far the sync is: status, counts, warnings, and the last passes. */
  progress(): Promise<Progress> {
    return this.asked(() => this.handle.query<Progress>('progress'));
  }

  /** Returns the committed cursor, such as `{ last_updated_at: '2026-01-01T00:00:00Z' }`. */
  state(): Promise<{ [name: string]: Json }> {
    return this.asked(() => this.handle.query<{ [name: string]: Json }>('state'));
  }

  /** Run, status, and when it ended, as the Temporal server knows them. @throws {NoSuchSyncError} */
  async summary(): Promise<{ runId: string; status: string; ended: string | null; taskQueue: string }> {
    const { runId, status, closeTime, taskQueue } = await this.described();
    return { runId, status: status.name, ended: closeTime?.toISOString() ?? null, taskQueue };
  }

  /** Throws unless the sync runs. @throws {NotRunningError} @throws {NoSuchSyncError} */
  async mustRun(): Promise<void> {
    const { status, closeTime } = await this.described();
    if (status.name !== 'RUNNING') throw new NotRunningError(this.workflowId, status.name, closeTime ?? null);
  }

  private async described(): Promise<WorkflowExecutionDescription> {
    try {
      return await this.handle.describe();
    } catch (thrown) {
      if (thrown instanceof WorkflowNotFoundError) throw new NoSuchSyncError(this.workflowId);
      throw thrown;
    }
  }

  /** Says which of the two it is where Temporal says "not found": a sync that never was, or one that has ended. */
  private async asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (thrown) {
      if (!(thrown instanceof WorkflowNotFoundError)) throw thrown;
      await this.mustRun();
      throw thrown;
    }
  }

  /** Ends it after the current batch. */
  stop(): Promise<void> {
    return this.asked(() => this.handle.signal('stop'));
  }

  /** A pass now, or once more after the current one. */
  trigger(): Promise<void> {
    return this.asked(() => this.handle.signal('trigger'));
  }

  /**
   * Moves the cursor, in the workflow and in the destination together, and goes on from there.
   * @returns the cursor that it then stands at; `done` is false where the next run does it.
   * @throws {MoveRefusedError} and then it stays where it is.
   */
  async move(to: MoveInput): Promise<Reopened> {
    return this.update('move', [to], (said) => new MoveRefusedError(said));
  }

  /**
   * Goes on with another configuration of the same sync.
   * @throws {SettingRefusedError} and then it goes on as it was.
   */
  async configure(configuration: Configuration): Promise<Reopened> {
    const args: [Configuration, string] = [configuration, hashOf(configuration)];
    return this.update('configure', args, (said) => new SettingRefusedError(said));
  }

  /** The configuration of the sync; secrets in it are references. */
  configuration(): Promise<Configuration> {
    return this.asked(() => this.handle.query<Configuration>('configuration'));
  }

  /**
   * Lets a pass that waits remove the rows that it asks about, and no more. Of a sync of several streams: all that wait.
   * @throws {NothingToDecideError} where no pass waits.
   */
  approve(): Promise<Decided> {
    return this.update('approve', [], (said) => new NothingToDecideError(said));
  }

  /**
   * Lets a pass that waits end without removing rows; the next one asks again if they are still gone.
   * @throws {NothingToDecideError} where no pass waits.
   */
  reject(): Promise<Decided> {
    return this.update('reject', [], (said) => new NothingToDecideError(said));
  }

  private async update<Result>(
    name: string,
    args: unknown[],
    refused: (said: string) => Error,
  ): Promise<Result> {
    try {
      // The types of Temporal's client know either updates without arguments or such with some.
      return await this.asked(() =>
        args.length === 0
          ? this.handle.executeUpdate<Result, []>(name)
          : this.handle.executeUpdate<Result, [unknown]>(name, { args: args as [unknown] }),
      );
    } catch (thrown) {
      if (thrown instanceof WorkflowUpdateFailedError) throw refused(thrown.cause?.message ?? thrown.message);
      throw thrown;
    }
  }

  /**
   * Changes settings from the next batch on; `default` takes one back.
   * @returns all that are changed; durations in seconds.
   * @throws {SettingRefusedError} with every reason; then nothing is changed.
   */
  set(settings: { [name: string]: Json }): Promise<{ [name: string]: number }> {
    return this.update('set', [settings], (said) => new SettingRefusedError(said));
  }

  /** Pauses after the current batch, until {@link resume}. */
  pause(): Promise<void> {
    return this.asked(() => this.handle.signal('pause'));
  }

  /** Ends a pause, or a wait; a sync that is blocked tries again. */
  resume(): Promise<void> {
    return this.asked(() => this.handle.signal('resume'));
  }

  /** Ends it at once: a batch that is not committed is fetched again by the next sync. */
  async cancel(): Promise<void> {
    await this.asked(() => this.handle.cancel());
  }
}

/** A range that is read beside a sync. Pause, resume, stop and cancel do to it what they do to a sync. */
export class RangeHandle extends SyncHandle {
  /** Waits for the end. @throws {SyncFailedError} also where it was stopped before. */
  async range(): Promise<RangeResult & { stream: string; pages: number; warnings: Note[] }> {
    const { status, streams } = await this.result();
    const [stream] = streams;
    if (status === 'stopped' || stream?.range === undefined) {
      throw new SyncFailedError(
        this.workflowId,
        'Stopped',
        'it was stopped before it finished; a backfill continues from there when it is started again',
      );
    }
    const { range, stream: name, pages, warnings } = stream;
    return { ...range, stream: name, pages, warnings };
  }
}

/** How a stream of a sync of several ended; neither while it runs. */
export interface StreamOutcome {
  stream: string;
  result: StreamResult | null;
  error: string | null;
}

/** A sync as Temporal knows it, without a worker that answers. */
export interface ListedSync {
  id: string;
  runId: string;
  /** RUNNING, COMPLETED, FAILED, … */
  execution: string;
  started: string;
  ended: string | null;
  /** Its search attributes; null if the namespace does not know them. */
  attributes: {
    status: string | null;
    stream: string | null;
    strategy: string | null;
    rows: number | null;
    lagSeconds: number | null;
    lastPassEnd: string | null;
    schedule: string | null;
  };
  /** The sync of several streams that this one is a stream of. */
  parent: string | null;
  /** The range that it reads beside a sync; null: it is a sync. */
  range: RangeOf | null;
  /** The schedule that started it. */
  schedule: string | null;
  /** When that starts the next one. */
  nextRun: string | null;
}

function attributesOf({ typedSearchAttributes }: WorkflowExecutionInfo): ListedSync['attributes'] {
  const values = new Map(
    typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value as unknown]),
  );
  const text = (name: SearchAttributeName | 'TemporalScheduledById') => {
    const value = values.get(name);
    return typeof value === 'string' ? value : null;
  };
  const number = (name: SearchAttributeName) => {
    const value = values.get(name);
    return typeof value === 'number' ? value : null;
  };
  const ended = values.get('HighwaterLastPassEnd');
  return {
    status: text('HighwaterStatus'),
    stream: text('HighwaterStream'),
    strategy: text('HighwaterStrategy'),
    rows: number('HighwaterRows'),
    lagSeconds: number('HighwaterLagSeconds'),
    lastPassEnd: ended instanceof Date ? ended.toISOString() : null,
    schedule: text('TemporalScheduledById'),
  };
}

/** Starts syncs and looks after them. */
export class HighwaterClient {
  /** Schedules: Temporal starts a sync of one pass at set times. */
  readonly schedules: Schedules;

  private constructor(
    /** Temporal's own client, for whatever this one does not have. */
    readonly temporal: Client,
    readonly address: string,
    /** Reads what Temporal's client hands out as it is on the server. */
    readonly payloads: PayloadReader,
    /** Strategies and destinations of extensions, which configurations may name. @internal */
    readonly extensions: LoadedExtensions,
    private readonly traces: Tracing | null,
  ) {
    this.schedules = new Schedules(temporal, extensions, (workflowId) => this.sync(workflowId));
  }

  /**
   * Connects as the environment says (TEMPORAL_ADDRESS and the rest, or a profile), or to `to`.
   * @param converter how payloads look on the server; default: what the environment says.
   * @param extensions packages, files or definitions of strategies and destinations that configurations may name; default: what
   *   HIGHWATER_EXTENSIONS names. The worker needs the same ones.
   * @throws {ExtensionError}
   */
  static async connect(
    to: Target = target(),
    converter?: DataConverter,
    extensions: readonly Extension[] = extensionsOf(process.env),
  ): Promise<HighwaterClient> {
    const loaded = await loadExtensions(extensions);
    const traces = await tracing();
    const dataConverter = converter ?? (await dataConverterFrom());
    const payloads = new PayloadReader(dataConverter);
    const connection = await Connection.connect(to.connection);
    const interceptors = { workflow: traces?.clientInterceptors ?? [] };
    const client = new Client({ connection, namespace: to.namespace, dataConverter, interceptors });
    return new HighwaterClient(client, to.address, payloads, loaded, traces);
  }

  /**
   * Starts the sync that a configuration describes.
   * @throws {ConfigurationError} with every problem, before anything is started.
   * @throws {AlreadyRunningError}
   */
  async start(configuration: Configuration, options: StartOptions = {}): Promise<SyncHandle> {
    const plans = plansFrom(configuration, undefined, false, this.extensions);
    const workflowId = options.workflowId ?? defaultWorkflowId(plans);
    const syncOptions: SyncOptions = {
      ...(options.full === true && { full: true }),
      ...(options.takeOver === true && { takeOver: true }),
      ...(options.move !== undefined && { move: options.move }),
      ...(options.moveOnly === true && { moveOnly: true }),
      ...(options.stream !== undefined && { stream: options.stream }),
      ...(options.waitForApproval === false && { waitForApproval: false }),
    };
    try {
      const handle = await this.temporal.workflow.start('sync', {
        workflowId,
        taskQueue: options.taskQueue ?? DEFAULT_TASK_QUEUE,
        args: Object.keys(syncOptions).length === 0 ? [configuration] : [configuration, syncOptions],
        memo: { configuration: hashOf(configuration) },
        ...described(plans),
      });
      return new SyncHandle(handle, this.payloads);
    } catch (thrown) {
      if (thrown instanceof WorkflowExecutionAlreadyStartedError) throw new AlreadyRunningError(workflowId);
      throw thrown;
    }
  }

  /**
   * Syncs, those that run first; of the runs of one id, and of a schedule, the latest. `limit` counts syncs: the
   * streams, backfills and audits of a sync come with it.
   * @param options.query a filter in Temporal's words.
   */
  async list(options: { limit?: number; runningOnly?: boolean; query?: string } = {}): Promise<ListedSync[]> {
    const filters = [
      'WorkflowType = "sync"',
      ...(options.runningOnly === true ? ['ExecutionStatus = "Running"'] : []),
      ...(options.query === undefined ? [] : [`(${options.query})`]),
    ];
    const temporal = withoutMemos(this.temporal);
    const nextRuns = new Map<string, string>();
    for await (const { scheduleId, info, state } of temporal.schedule.list()) {
      const next = state.paused ? undefined : info?.nextActionTimes[0];
      if (next !== undefined) nextRuns.set(scheduleId, next.toISOString());
    }
    const found = new Map<string, ListedSync>();
    let syncs = 0;
    for await (const one of explained(temporal.workflow.list({ query: filters.join(' AND ') }))) {
      if (one.status.name === 'CONTINUED_AS_NEW') continue;
      const attributes = attributesOf(one);
      const schedule = attributes.schedule;
      const key = schedule === null ? one.workflowId : `schedule ${schedule}`;
      if (found.has(key)) continue;
      const range = await this.rangeIn(one);
      const isSync = one.parentExecution === undefined && range === null;
      if (isSync && syncs >= (options.limit ?? 50)) break;
      if (isSync) syncs++;
      found.set(key, {
        id: one.workflowId,
        runId: one.runId,
        execution: one.status.name,
        started: one.startTime.toISOString(),
        ended: one.closeTime?.toISOString() ?? null,
        attributes,
        parent: one.parentExecution?.workflowId ?? null,
        range,
        schedule,
        nextRun: schedule === null ? null : (nextRuns.get(schedule) ?? null),
      });
    }
    const rank = ({ execution }: ListedSync) => (execution === 'RUNNING' ? 0 : 1);
    return [...found.values()].sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1));
  }

  /** Reads the memo of a listed range; null for a sync, or if this process has no key for the memo. */
  private async rangeIn({ raw }: WorkflowExecutionInfo): Promise<RangeOf | null> {
    const payload = raw.memo?.fields?.['range'];
    if (payload == null) return null;
    const value = await this.payloads.read(payload).catch(() => null);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
    const { kind, sync } = value;
    return (kind === 'backfill' || kind === 'audit') && typeof sync === 'string' ? { kind, sync } : null;
  }

  /**
   * Reads a range of a source once more, or for the first time, beside the sync's own cursor, and writes it where the
   * table has nothing newer.
   * @param of the id of a sync, which may be running or have ended; or a configuration.
   * @throws {RangeRefusedError | ConfigurationError | NoSuchSyncError} before anything is started.
   * @throws {AlreadyRunningError} when the same range is being read.
   */
  backfill(of: string | Configuration, options: RangeOptions): Promise<RangeHandle> {
    return this.startRange(of, { kind: 'backfill', ...endsOf(options) }, options);
  }

  /**
   * Compares a table with its source, all of it or a range, beside the sync.
   * @param of as for {@link backfill}.
   * @throws {RangeRefusedError | ConfigurationError | NoSuchSyncError | AlreadyRunningError}
   */
  audit(of: string | Configuration, options: AuditOptions = {}): Promise<RangeHandle> {
    const { repair = false, removeExtra = false, keys } = options;
    const asked = { repair, removeExtra, ...(keys !== undefined && { keys }) };
    return this.startRange(of, { kind: 'audit', ...endsOf(options), ...asked }, options);
  }

  /** A range that was started before, by its workflow id. */
  range(workflowId: string): RangeHandle {
    return new RangeHandle(this.temporal.workflow.getHandle(workflowId), this.payloads);
  }

  private async startRange(
    of: string | Configuration,
    range: RangeRequest,
    options: Partial<RangeOptions>,
  ): Promise<RangeHandle> {
    const known = typeof of === 'string' ? await this.inputOf(of) : null;
    const configuration = known === null ? of : known.configuration;
    const plans = plansFrom(configuration, undefined, false, this.extensions);
    const named = options.stream ?? known?.stream ?? null;
    if (named === null && plans.plans.length > 1) {
      const names = plans.plans.map(({ stream }) => stream).join(', ');
      throw new RangeRefusedError(`the sync has several streams; name one: ${names}`);
    }
    const plan = planNamed(plans, named);
    const problem = problemOf(plan, range);
    if (problem !== null) throw new RangeRefusedError(problem);
    const base = typeof of === 'string' ? of : defaultWorkflowId(plans);
    const ofStream = plans.plans.length > 1 && known?.stream == null ? `${base}/${plan.stream}` : base;
    const workflowId = `${ofStream}/${range.kind}-${hashOf([range.from, range.to])}`;
    const taskQueue =
      options.taskQueue ?? known?.taskQueue ?? (await this.taskQueueOf(base)) ?? DEFAULT_TASK_QUEUE;
    const syncOptions: SyncOptions = { range, ...(named !== null && { stream: named }) };
    const ends = `${range.from ?? 'the beginning'} to ${range.to ?? 'the end'}`;
    try {
      const handle = await this.temporal.workflow.start('sync', {
        ...{ workflowId, taskQueue, args: [configuration, syncOptions] },
        memo: { range: { kind: range.kind, sync: base } satisfies RangeOf },
        staticSummary: `${range.kind} of ${plan.stream} · ${ends}`,
        staticDetails: `${streamDetails(plan)} This is the ${range.kind} of a range: ${ends}.`,
      });
      return new RangeHandle(handle, this.payloads);
    } catch (thrown) {
      if (thrown instanceof WorkflowExecutionAlreadyStartedError) throw new AlreadyRunningError(workflowId);
      throw thrown;
    }
  }

  /** The configuration of a sync as its worker knows it; null if none answers soon. */
  configurationOf(workflowId: string): Promise<Json> {
    const query = () => this.temporal.workflow.getHandle(workflowId).query<Json>('configuration');
    return this.temporal.withDeadline(Date.now() + ANSWER_MILLISECONDS, query).catch(() => null);
  }

  /** Returns the configuration of a sync, and which stream of it the sync reads. @throws {NoSuchSyncError} */
  async inputOf(
    workflowId: string,
  ): Promise<{ configuration: Configuration; stream: string | null; taskQueue: string }> {
    const { workflowService } = this.temporal.connection;
    const { namespace } = this.temporal.options;
    const request = { namespace, execution: { workflowId }, maximumPageSize: 1 };
    const { history } = await workflowService
      .getWorkflowExecutionHistory(request)
      .catch((thrown: unknown) => {
        if ((thrown as { code?: unknown }).code === NOT_FOUND) throw new NoSuchSyncError(workflowId);
        throw thrown;
      });
    const started = history?.events?.[0]?.workflowExecutionStartedEventAttributes;
    const decoded = await Promise.all(
      (started?.input?.payloads ?? []).map((payload) => this.payloads.read(payload)),
    );
    const [startedWith = null, options] = decoded as [Json?, SyncOptions?];
    // It may have been configured anew since; where no worker answers, that is not known.
    const configuration = asConfiguration((await this.configurationOf(workflowId)) ?? startedWith);
    return { configuration, stream: options?.stream ?? null, taskQueue: started?.taskQueue?.name ?? '' };
  }

  /** The stream that a workflow reads of a configuration with several; null: it reads all. @throws {NoSuchSyncError} */
  async streamOf(workflowId: string): Promise<string | null> {
    return (await this.inputOf(workflowId)).stream;
  }

  /** A sync that was started before, by its workflow id. */
  sync(workflowId: string): SyncHandle {
    return new SyncHandle(this.temporal.workflow.getHandle(workflowId), this.payloads);
  }

  /** Whether a sync of this id is running, and with this very configuration. */
  async running(
    workflowId: string,
    configuration: Configuration,
  ): Promise<'no' | 'same' | 'other configuration'> {
    const description = await this.temporal.workflow.getHandle(workflowId).describe().catch(nullIfAbsent);
    if (description === null || description.status.name !== 'RUNNING') return 'no';
    return description.memo?.['configuration'] === hashOf(configuration) ? 'same' : 'other configuration';
  }

  /** How each stream of a sync of several ended, in its current run. @throws {NoSuchSyncError} */
  async outcomesOf(workflowId: string, streams: readonly string[]): Promise<StreamOutcome[]> {
    const runId = await this.sync(workflowId).runId();
    return Promise.all(
      streams.map(async (stream): Promise<StreamOutcome> => {
        const id = `${workflowId}/${stream}`;
        const child = await this.temporal.workflow.getHandle(id).describe().catch(nullIfAbsent);
        if (child === null || child.parentExecution?.runId !== runId)
          return { stream, result: null, error: 'it was not read' };
        if (child.status.name === 'RUNNING') return { stream, result: null, error: null };
        return this.sync(id)
          .result()
          .then(
            ({ streams: [result] }) => ({ stream, result: result ?? null, error: null }),
            (thrown: unknown) => ({ stream, result: null, error: messageOf(thrown) }),
          );
      }),
    );
  }

  /** The task queue of a sync that is running, or null. */
  async taskQueueOf(workflowId: string): Promise<string | null> {
    const description = await this.temporal.workflow.getHandle(workflowId).describe().catch(nullIfAbsent);
    return description?.status.name === 'RUNNING' ? description.taskQueue : null;
  }

  /** Closes the connection. Syncs go on. */
  async close(): Promise<void> {
    await this.temporal.connection.close();
    await this.traces?.flush();
  }
}

/** How long a worker may take to answer a question that need not be answered. */
const ANSWER_MILLISECONDS = 3000;
const NOT_FOUND = 5;

const endsOf = ({ from, to }: Partial<Range>): Partial<RangeRequest> => ({
  ...(from != null && { from }),
  ...(to != null && { to }),
});

/** Returns the problem of a range; null if the client finds none. */
function problemOf(plan: StreamPlan, range: RangeRequest): string | null {
  const { options } = plan;
  const [from, to] = [range.from, range.to].map((text) =>
    text === undefined ? null : boundText(options, text),
  ) as [string | null, string | null];
  return rangeProblem(options, { from, to }) ?? unfitRange(plan, { ...range, from, to });
}

function nullIfAbsent(thrown: unknown): null {
  if (thrown instanceof WorkflowNotFoundError) return null;
  throw thrown;
}

/**
 * A client for lists. The SDK decodes the memo of every workflow in a list, so that one sync that is encrypted with
 * another key would hide all others; this client drops the memos unread.
 */
function withoutMemos({ connection, options }: Client): Client {
  const empty = { metadata: { encoding: new TextEncoder().encode('binary/null') } };
  const dropped = {
    encode: (payloads: Payload[]) => Promise.resolve(payloads),
    decode: (payloads: Payload[]) => Promise.resolve(payloads.map(() => empty)),
  };
  return new Client({
    connection,
    namespace: options.namespace,
    dataConverter: { payloadCodecs: [dropped] },
  });
}

/** Explains the server's error about a query that it does not understand. */
async function* explained<T>(found: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* found;
  } catch (thrown) {
    const details =
      thrown instanceof ServiceError ? (thrown.cause as { details?: string }).details : undefined;
    throw details === undefined ? thrown : new QueryRefusedError(`Temporal refused the query: ${details}`);
  }
}

/**
 * Checks a configuration as {@link HighwaterClient.start} does, without a server.
 * @param extensions strategies and destinations that it may name, as `loadExtensions` returns them.
 * @returns the id that `start` gives its sync, and the names of its streams.
 * @throws {ConfigurationError} with every problem at once.
 */
export function checkConfiguration(
  configuration: unknown,
  extensions: LoadedExtensions = NO_EXTENSIONS,
): { workflowId: string; streams: string[] } {
  const plans = plansFrom(configuration, undefined, false, extensions);
  return { workflowId: defaultWorkflowId(plans), streams: plans.plans.map(({ stream }) => stream) };
}

function failed(workflowId: string, failure: WorkflowFailedError): SyncFailedError {
  const { cause } = failure;
  if (cause instanceof CancelledFailure)
    return new SyncFailedError(workflowId, 'Cancelled', 'the sync was cancelled');
  if (cause instanceof TerminatedFailure) {
    return new SyncFailedError(workflowId, 'Terminated', `the sync was terminated: ${cause.message}`);
  }
  const inner = cause instanceof ActivityFailure ? cause.cause : cause;
  const type = inner instanceof ApplicationFailure ? (inner.type ?? 'Error') : (inner?.name ?? 'Error');
  const deletes = questionOf(inner ?? null);
  return new SyncFailedError(workflowId, type, inner?.message ?? failure.message, deletes);
}
