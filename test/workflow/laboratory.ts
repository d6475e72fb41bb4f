/**
 * What the workflow tests share: one worker in this process with the real activities, which a test may wrap for its
 * own workflow where something must go wrong on purpose, and a bench a test: a source, a destination, a
 * configuration.
 */
import { Context } from '@temporalio/activity';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, defaultPayloadConverter } from '@temporalio/common';
import {
  DefaultLogger,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker';
import { afterAll, beforeAll, inject, onTestFinished } from 'vitest';
import { createActivities, type Activities } from '../../src/activities/index.js';
import { SearchAttributeRegistry } from '../../src/activities/search-attributes.js';
import { WriteTurns } from '../../src/activities/write-turns.js';
import { readDestination } from '../../src/cli/query.js';
import type { HighwaterClient, SyncHandle } from '../../src/client.js';
import { target } from '../../src/connection.js';
import { DestinationHost } from '../../src/destinations/host.js';
import { DemoClient, DemoServer, type DemoSettingsPatch } from '../../src/dev/demo-api.js';
import type { Json, Progress, ReferenceStrategy, SyncResult } from '../../src/protocol.js';
import { KeptRequests } from '../../src/sources/in-flight.js';
import { ownSurroundings } from '../../src/surroundings.js';
import { SecretStore } from '../../src/secrets/store.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import type { SyncOptions } from '../../src/workflows/sync.js';
import {
  configurationFor,
  connect,
  difference,
  scratch,
  uniqueName,
  until,
  type Difference,
} from '../helpers/harness.js';
import { workflowBundle } from '../helpers/workflow-bundle.js';

type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;
export type Event = NonNullable<History['events']>[number];
type Configuration = { [key: string]: Json };

/** Stands between the worker and an activity, for one workflow. */
export type Wrapper = {
  [Name in keyof Activities]?: (
    input: Parameters<Activities[Name]>[0],
    real: Activities[Name],
  ) => ReturnType<Activities[Name]>;
};

const BATCH = 50;

// Activities fail on purpose here: the log would say nothing else.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'ERROR' }) } },
  shutdownSignals: [],
});

export class Laboratory {
  private constructor(
    readonly client: HighwaterClient,
    readonly taskQueue: string,
    private readonly wrappers: Map<string, Wrapper>,
    /** Stops the worker and closes the connections. */
    readonly close: () => Promise<void>,
  ) {}

  static async open(address: string): Promise<Laboratory> {
    const wrappers = new Map<string, Wrapper>();
    const wrapper = () => wrappers.get(Context.current().info.workflowExecution?.workflowId ?? '');
    const to = target(address);
    const client = await connect(address);
    const connection = await NativeConnection.connect(to.connection);
    const taskQueue = uniqueName('workflow-tests');
    const common = {
      connection,
      namespace: to.namespace,
      shutdownGraceTime: '1s',
      maxHeartbeatThrottleInterval: '500ms',
      defaultHeartbeatThrottleInterval: '500ms',
      stickyQueueScheduleToStartTimeout: '1s',
    } as const;
    const secrets = new SecretStore(process.env);
    const host: DestinationHost = new DestinationHost({
      environment: process.env,
      trust: TrustPolicy.local(),
      secrets,
      taskQueue,
      address,
      namespace: to.namespace,
      poll: async (queue) => {
        const worker = await Worker.create({ ...common, taskQueue: queue, activities: { ...wrapped } });
        const running = worker.run();
        return async () => {
          worker.shutdown();
          await running;
        };
      },
    });
    const real = createActivities({
      host,
      server: { address, isPlain: true },
      defaultDestination: 'unused',
      searchAttributes: new SearchAttributeRegistry(),
      kept: new KeptRequests(),
      turns: new WriteTurns(),
      ...ownSurroundings({}),
    });
    const open: Activities['openStream'] = (input) => real.openStream(input);
    const fetch: Activities['fetchPages'] = (input) => real.fetchPages(input);
    const write: Activities['writeBatch'] = (input) => real.writeBatch(input);
    const send: Activities['sendNotice'] = (input) => real.sendNotice(input);
    const conclude: Activities['concludeRange'] = (input) => real.concludeRange(input);
    const wrapped: Activities = {
      ...real,
      openStream: (input) => wrapper()?.openStream?.(input, open) ?? open(input),
      fetchPages: (input) => wrapper()?.fetchPages?.(input, fetch) ?? fetch(input),
      writeBatch: (input) => wrapper()?.writeBatch?.(input, write) ?? write(input),
      sendNotice: (input) => wrapper()?.sendNotice?.(input, send) ?? send(input),
      concludeRange: (input) => wrapper()?.concludeRange?.(input, conclude) ?? conclude(input),
    };
    const worker = await Worker.create({
      ...common,
      taskQueue,
      activities: { ...wrapped },
      workflowBundle: { codePath: await workflowBundle() },
    });
    const running = worker.run();
    return new Laboratory(client, taskQueue, wrappers, async () => {
      worker.shutdown();
      await running;
      await host.close();
      secrets.close();
      await connection.close();
      await client.close();
    });
  }

  /** A source of its own, an empty destination, and a configuration of small batches: 50 records, a page each. */
  async bench(settings: DemoSettingsPatch = {}, strategy: ReferenceStrategy = 'keyset'): Promise<Bench> {
    const server = new DemoServer(settings);
    const url = `http://127.0.0.1:${await server.listen()}`;
    const folder = await scratch();
    const bench = new Bench(this, new DemoClient(url), folder.file('table.duckdb'), strategy);
    onTestFinished(async () => {
      await bench.end();
      await server.close();
      await folder.remove();
    });
    return bench;
  }

  wrap(workflowId: string, wrapper: Wrapper): void {
    this.wrappers.set(workflowId, wrapper);
  }
}

export class Bench {
  private readonly runs: Run[] = [];

  constructor(
    private readonly lab: Laboratory,
    readonly source: DemoClient,
    readonly destination: string,
    private readonly strategy: ReferenceStrategy,
  ) {}

  configuration(more: Configuration = {}): Configuration {
    const { destination } = this;
    return configurationFor(this.strategy, this.source.url, { destination, batch_rows: BATCH, ...more });
  }

  /** Starts a sync as the client does. */
  async start(more: Configuration = {}, wrapper: Wrapper = {}, options: SyncOptions = {}): Promise<Run> {
    const workflowId = uniqueName('sync');
    this.lab.wrap(workflowId, wrapper);
    const { client, taskQueue } = this.lab;
    const sync = await client.start(this.configuration(more), { ...options, workflowId, taskQueue });
    return this.keep(new Run(sync, client.temporal.workflow.getHandle(workflowId)));
  }

  /** Starts a sync with any input, as any client may. */
  async startWith(args: unknown[], workflowId = uniqueName('sync')): Promise<Run> {
    const { client, taskQueue } = this.lab;
    const handle = await client.temporal.workflow.start('sync', { args, workflowId, taskQueue });
    return this.keep(new Run(client.sync(workflowId), handle));
  }

  /** What differs between source and table. */
  difference(): Promise<Difference> {
    return difference(this.source, this.destination, {
      view: this.strategy === 'step_size' ? 'step' : 'list',
    });
  }

  /** One row of the destination. */
  async read(sql: string): Promise<Json[]> {
    return (await readDestination(this.destination, sql)).rows[0] ?? [];
  }

  async requests(): Promise<number> {
    return (await this.source.stats()).requests;
  }

  async end(): Promise<void> {
    await Promise.all(this.runs.map((run) => run.handle.terminate().catch(() => undefined)));
  }

  private keep(run: Run): Run {
    this.runs.push(run);
    return run;
  }
}

/** A sync that was started. */
export class Run {
  constructor(
    readonly sync: SyncHandle,
    readonly handle: WorkflowHandle,
  ) {}

  get id(): string {
    return this.handle.workflowId;
  }

  progress(): Promise<Progress> {
    return this.sync.progress();
  }

  /** Waits until a progress is as wanted, and returns it. */
  async reaches(
    wanted: (progress: Progress) => boolean | Promise<boolean>,
    what: string,
    seconds = 15,
  ): Promise<Progress> {
    let progress = await this.progress();
    await until(async () => wanted((progress = await this.progress())), seconds, what);
    return progress;
  }

  status(wanted: Progress['status'], seconds?: number): Promise<Progress> {
    return this.reaches(({ status }) => status === wanted, `the status ${wanted}`, seconds);
  }

  async result(): Promise<SyncResult['streams'][number]> {
    const [stream] = (await this.sync.result()).streams;
    if (stream === undefined) throw new Error('a result without a stream');
    return stream;
  }

  /** The failure that ended it. */
  async failure(): Promise<ApplicationFailure> {
    const thrown: unknown = await this.handle.result().then(
      () => new Error('the workflow did not fail'),
      (error: unknown) => error,
    );
    if (thrown instanceof WorkflowFailedError && thrown.cause instanceof ApplicationFailure)
      return thrown.cause;
    throw thrown;
  }

  /** Waits until the workflow has ended, which must be as cancelled. */
  async isCancelled(): Promise<void> {
    let status = 'RUNNING';
    const hasEnded = async () => (status = (await this.handle.describe()).status.name) !== 'RUNNING';
    await until(hasEnded, 15, 'the end of the cancelled workflow');
    if (status !== 'CANCELLED') throw new Error(`the workflow has ended as ${status}, not as CANCELLED`);
  }

  /** How long the workflow lives on, in milliseconds. */
  async ends(): Promise<number> {
    const before = Date.now();
    await this.handle.result().catch(() => undefined);
    return Date.now() - before;
  }

  /** The history of the current run. */
  async events(): Promise<Event[]> {
    return (await this.handle.fetchHistory()).events ?? [];
  }
}

/** The n-th event is the scheduling of this activity. */
export function scheduled(events: Event[], activity: keyof Activities): number[] {
  return events
    .filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === activity)
    .map((event) => Number(event.eventId));
}

/** The ids of the events in which this activity's calls completed, in the order of their scheduling. */
export function completed(events: Event[], activity: keyof Activities): number[] {
  const ends = new Map(
    events.map((event) => [
      Number(event.activityTaskCompletedEventAttributes?.scheduledEventId ?? -1),
      Number(event.eventId),
    ]),
  );
  return scheduled(events, activity).flatMap((id) => ends.get(id) ?? []);
}

/** The one line that the Web UI shows of an event, or null. */
export function summaryOf(event: Event): string | null {
  const payload = event.userMetadata?.summary;
  return payload ? defaultPayloadConverter.fromPayload<string>(payload) : null;
}

export interface Gate {
  /** Kept once an activity stands before it. */
  reached: Promise<void>;
  opened: Promise<void>;
  /** Called in an activity: holds it, alive, until the gate is opened or the activity is cancelled. */
  pass: () => Promise<void>;
  open: () => void;
}

/** A gate that is closed until it is opened. */
export function gate(): Gate {
  let open = () => {};
  let arrive = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  return {
    reached,
    opened,
    open: () => open(),
    pass: async () => {
      arrive();
      const context = Context.current();
      const beat = setInterval(() => context.heartbeat(), 200);
      await Promise.race([opened, context.cancelled]).finally(() => clearInterval(beat));
    },
  };
}

/** One laboratory for a file's tests. */
export function useLaboratory(): () => Laboratory {
  let lab: Laboratory | undefined;
  beforeAll(async () => {
    lab = await Laboratory.open(inject('temporalAddress'));
  });
  afterAll(() => lab?.close());
  return () => {
    if (lab === undefined) throw new Error('the laboratory is open only while tests run');
    return lab;
  };
}
