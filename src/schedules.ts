/** Schedules: Temporal starts a sync of one pass at set times. */
import {
  Client,
  ScheduleAlreadyRunning,
  type ScheduleDescription,
  ScheduleNotFoundError,
  type ScheduleHandle,
  type ScheduleOptions as TemporalOptions,
  type ScheduleSummary,
} from '@temporalio/client';
import type { Payload } from '@temporalio/common';
import type { SyncHandle } from './client.js';
import { asConfiguration, asOnePass, parseDuration, plansFrom, type Configuration } from './config/index.js';
import { durationText } from './durations.js';
import { HighwaterError, messageOf } from './errors.js';
import type { Json } from './protocol.js';
import type { LoadedExtensions } from './extensions.js';
import { DEFAULT_TASK_QUEUE, defaultWorkflowId, described } from './sync-description.js';

/** When a schedule starts syncs, and how. Durations are texts such as `15m`. Either `every` or `cron` is given. */
export interface ScheduleOptions {
  /** The id of the schedule. Default: that of the sync, as of {@link HighwaterClient.start}. */
  id?: string;
  /** The interval, such as `15m` or `1h`. */
  every?: string;
  /** Cron expressions such as `0 6 * * MON-FRI`. */
  cron?: string | readonly string[];
  /** The time zone of `cron`, such as `Europe/Berlin`. Default: UTC. */
  timeZone?: string;
  /** Start later by a random time of at most this long. */
  jitter?: string;
  /** After an outage of the server, start syncs that were missed within this time. Default: `1h`. */
  catchUp?: string;
  /** The task queue of the worker. Default: {@link DEFAULT_TASK_QUEUE}. */
  taskQueue?: string;
  /** Create it paused. */
  paused?: boolean;
}

/** A schedule at a moment. */
export interface ListedSchedule {
  id: string;
  /** Its times as they were given, such as `every 15m`. */
  when: string;
  paused: boolean;
  /** When it started a sync last, ISO 8601. */
  lastRun: string | null;
  /** The id of that sync. */
  lastId: string | null;
  /** The end of that sync; null while it runs, or if it is no longer known. */
  lastResult: { execution: string; error: string | null } | null;
  /** When it starts the next one, ISO 8601; null while it is paused. */
  nextRun: string | null;
}

/** There is no schedule of that id. */
export class NoSuchScheduleError extends HighwaterError {
  override readonly name = 'NoSuchScheduleError';
  constructor(readonly scheduleId: string) {
    super(`there is no schedule "${scheduleId}"; "highwater schedule list" lists them`);
  }
}

/** A schedule of that id exists already. */
export class ScheduleExistsError extends HighwaterError {
  override readonly name = 'ScheduleExistsError';
  constructor(readonly scheduleId: string) {
    super(`the schedule "${scheduleId}" already exists; delete it first, or choose another id`);
  }
}

/** The times of a schedule cannot be used; none was created. */
export class ScheduleRefusedError extends HighwaterError {
  override readonly name = 'ScheduleRefusedError';
}

/** gRPC status codes. */
const INVALID_ARGUMENT = 3;

/** The schedules of a namespace that start syncs. */
export class Schedules {
  /** @internal */
  constructor(
    private readonly temporal: Client,
    private readonly extensions: LoadedExtensions,
    private readonly sync: (workflowId: string) => SyncHandle,
  ) {}

  /**
   * Creates a schedule. Each of its syncs makes one pass: `interval` of the configuration is ignored. A time at which its
   * last sync still runs is skipped.
   * @throws {ConfigurationError} with every problem.
   * @throws {ScheduleRefusedError | ScheduleExistsError}
   */
  async create(configuration: Configuration, options: ScheduleOptions): Promise<SyncSchedule> {
    const plans = plansFrom(configuration, undefined, false, this.extensions);
    const id = options.id ?? defaultWorkflowId(plans);
    const times = timesFrom(options);
    const action: TemporalOptions['action'] = {
      type: 'startWorkflow',
      workflowType: 'sync',
      workflowId: id,
      taskQueue: options.taskQueue ?? DEFAULT_TASK_QUEUE,
      args: [asConfiguration(asOnePass(configuration as unknown as Json))],
      ...described(plans),
    };
    try {
      await this.temporal.schedule.create({ scheduleId: id, ...times, action });
    } catch (thrown) {
      if (thrown instanceof ScheduleAlreadyRunning) throw new ScheduleExistsError(id);
      // The SDK itself counts the fields of a cron expression.
      const isRefused =
        thrown instanceof TypeError || (thrown as { code?: unknown }).code === INVALID_ARGUMENT;
      if (!isRefused) throw thrown;
      throw new ScheduleRefusedError(`Temporal refused the schedule: ${messageOf(thrown)}`);
    }
    return this.get(id);
  }

  /** Lists them. One that is encrypted is listed without its key too; its times are then those that the server knows. */
  async list(): Promise<ListedSchedule[]> {
    const found: ListedSchedule[] = [];
    for await (const one of withoutUnreadable(this.temporal).schedule.list()) {
      if (one.action?.workflowType === 'sync') found.push(await listed(one, this.sync));
    }
    return found;
  }

  /** A schedule by its id. */
  get(id: string): SyncSchedule {
    return new SyncSchedule(this.temporal.schedule.getHandle(id), this.sync);
  }
}

/** A schedule by its id. All methods throw {@link NoSuchScheduleError} if there is none. */
export class SyncSchedule {
  /** @internal */
  constructor(
    private readonly handle: ScheduleHandle,
    private readonly sync: (workflowId: string) => SyncHandle,
  ) {}

  /** The id of the schedule. */
  get id(): string {
    return this.handle.scheduleId;
  }

  /** Returns its times, its last sync, and when the next one starts. */
  async describe(): Promise<ListedSchedule> {
    const found = await this.asked(() => this.handle.describe());
    if (found.action.workflowType !== 'sync') throw new NoSuchScheduleError(this.id);
    return listed(found, this.sync);
  }

  /** Starts no more syncs until {@link resume}; one that runs continues. @param reason is shown by Temporal's Web UI. */
  pause(reason = 'paused by a program'): Promise<void> {
    return this.asked(() => this.handle.pause(reason));
  }

  /** Starts syncs again, from the next scheduled time on. @param reason is shown by Temporal's Web UI. */
  resume(reason = 'resumed by a program'): Promise<void> {
    return this.asked(() => this.handle.unpause(reason));
  }

  /** Starts a sync now, unless one of this schedule is running. */
  trigger(): Promise<void> {
    return this.asked(() => this.handle.trigger());
  }

  /** Deletes the schedule. A running sync continues; table and checkpoint stay. */
  delete(): Promise<void> {
    return this.asked(() => this.handle.delete());
  }

  private async asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (thrown) {
      if (thrown instanceof ScheduleNotFoundError) throw new NoSuchScheduleError(this.id);
      throw thrown;
    }
  }
}

type Times = Pick<TemporalOptions, 'spec' | 'memo' | 'policies' | 'state'>;

/** @throws {ScheduleRefusedError} */
function timesFrom(options: ScheduleOptions): Times {
  const { every, cron = [], timeZone, jitter, catchUp = '1h', paused = false } = options;
  const expressions = typeof cron === 'string' ? [cron] : [...cron];
  if ((every === undefined) === (expressions.length === 0))
    throw new ScheduleRefusedError('a schedule needs either "every" or "cron"');
  const seconds = every === undefined ? null : secondsOf('every', every);
  // The server keeps a cron expression as a calendar, which no user would recognise.
  const when =
    seconds === null ? `${expressions.join(', ')} (${timeZone ?? 'UTC'})` : `every ${durationText(seconds)}`;
  return {
    spec: {
      ...(seconds !== null && { intervals: [{ every: seconds * 1000 }] }),
      ...(expressions.length > 0 && { cronExpressions: expressions }),
      ...(timeZone !== undefined && { timezone: timeZone }),
      ...(jitter !== undefined && { jitter: secondsOf('jitter', jitter) * 1000 }),
    },
    memo: { when },
    policies: { overlap: 'SKIP', catchupWindow: secondsOf('catchUp', catchUp) * 1000 },
    state: { paused },
  };
}

function secondsOf(name: string, text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== null && seconds > 0) return seconds;
  throw new ScheduleRefusedError(
    `"${name}" of the schedule is ${JSON.stringify(text)}, which is not a duration such as "30s", "15m", "2h" or "1d"`,
  );
}

/** Of a list, or of one that was described. */
type Found = ScheduleSummary | ScheduleDescription;

async function listed(
  { scheduleId, spec, memo, state, info }: Found,
  sync: (workflowId: string) => SyncHandle,
): Promise<ListedSchedule> {
  const last = info?.recentActions.at(-1);
  const lastId = last?.action.type === 'startWorkflow' ? last.action.workflow.workflowId : null;
  return {
    id: scheduleId,
    when: whenText(spec, memo),
    paused: state.paused,
    lastRun: last?.takenAt.toISOString() ?? null,
    lastId,
    lastResult: lastId === null ? null : await resultOf(sync(lastId)),
    nextRun: state.paused ? null : (info?.nextActionTimes[0]?.toISOString() ?? null),
  };
}

/** The times of a schedule, as they were given. */
function whenText(spec: Found['spec'], memo: Found['memo']): string {
  if (typeof memo?.['when'] === 'string') return memo['when'];
  const intervals = (spec?.intervals ?? []).map(({ every }) => `every ${durationText(every / 1000)}`);
  return (spec?.calendars?.length ? [...intervals, 'by calendar'] : intervals).join(', ');
}

/** Returns a client for which a value that cannot be decrypted is none: else one schedule would keep all from being listed. */
function withoutUnreadable({ connection, options }: Client): Client {
  const none = { metadata: { encoding: new TextEncoder().encode('binary/null') } };
  const codecs = options.loadedDataConverter.payloadCodecs.map((codec) => ({
    encode: (payloads: Payload[]) => codec.encode(payloads),
    decode: (payloads: Payload[]) =>
      Promise.all(
        payloads.map((payload) =>
          codec.decode([payload]).then(
            ([read]) => read ?? none,
            () => none,
          ),
        ),
      ),
  }));
  return new Client({ connection, namespace: options.namespace, dataConverter: { payloadCodecs: codecs } });
}

async function resultOf(sync: SyncHandle): Promise<ListedSchedule['lastResult']> {
  const known = await sync.summary().catch(() => null);
  if (known === null || known.status === 'RUNNING') return null;
  return { execution: known.status, error: await sync.result().then(() => null, messageOf) };
}
