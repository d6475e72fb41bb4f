import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure, type DataConverter } from '@temporalio/common';
import {
  type ActivityInterceptorsFactory,
  NativeConnection,
  Runtime,
  Worker,
  type WorkerDeploymentOptions,
  type WorkerOptions,
} from '@temporalio/worker';
import { clusterIdOf } from './activities/cluster.js';
import { createActivities } from './activities/index.js';
import { SearchAttributeRegistry } from './activities/search-attributes.js';
import { WriteTurns } from './activities/write-turns.js';
import { DEFAULT_TASK_QUEUE } from './client.js';
import { hookLimits, Hooks } from './hooks/hooks.js';
import { isPlain, target, type Target } from './connection.js';
import { extensionsOf, loadExtensions, type Extension } from './extensions.js';
import { DestinationHost } from './destinations/host.js';
import { ServedQueues } from './destinations/served-queues.js';
import { countingInterceptor } from './observe/activities.js';
import { messageOf } from './errors.js';
import type { FailureType } from './failures.js';
import { Meter } from './observe/meter.js';
import { requestsWatched } from './observe/requests.js';
import { tracing, type Tracing } from './observe/tracing.js';
import { SecretStore } from './secrets/store.js';
import { Budgets } from './sources/budget.js';
import { KeptRequests } from './sources/in-flight.js';
import { ownCode } from './own-files.js';
import { Network } from './trust/network.js';
import { TrustPolicy, type TrustOptions } from './trust/policy.js';
import { bundleFor, dataConverterFrom } from './payloads/converter.js';
import { watchServer } from './server-watch.js';
import { stateDir } from './state-dir.js';

export { createLogger, installRuntime } from './logger.js';
export type { TrustOptions };

/** How a worker is made. Every option has a default. */
export interface HighwaterWorkerOptions {
  /** The Temporal server. Default: what the environment says. */
  target?: Target;
  /** The task queue to take syncs from. Default: {@link DEFAULT_TASK_QUEUE}. */
  taskQueue?: string;
  /**
   * The DuckDB file, or the address of a PostgreSQL server, of configurations that name none. Default:
   * HIGHWATER_DESTINATION, else highwater.duckdb.
   */
  destination?: string;
  /** The variables that references such as `${env:NAME}` are looked up in. Default: `process.env`. */
  environment?: NodeJS.ProcessEnv;
  /** How long running work may take to end at a stop. */
  graceSeconds?: number;
  /** Another bundle of the workflows. */
  workflowBundle?: string;
  /** Which version of a worker deployment it is; it takes syncs while that is the current one. Default: of none. */
  deployment?: { name: string; buildId: string };
  /** How payloads look on the server. Default: what the environment says. */
  dataConverter?: DataConverter;
  /**
   * How far those who start workflows are trusted, and what they may use (docs/security.md). Default: what the
   * environment says.
   */
  trust?: TrustOptions;
  /**
   * Packages, files or definitions of strategies and destinations that configurations may name
   * (docs/write-a-strategy.md, docs/write-a-destination.md). Their code runs in this process. Default: what HIGHWATER_EXTENSIONS names.
   */
  extensions?: readonly Extension[];
  /**
   * The syncs that this worker works for, by their workflow ids; the activities of others are left to other workers.
   * Default: all of its task queue.
   */
  serves?: (workflowId: string) => boolean;
}

/** Defaults cost ten seconds twice after a crash; these about three. */
const RECOVERY = {
  maxHeartbeatThrottleInterval: '500ms',
  defaultHeartbeatThrottleInterval: '500ms',
  stickyQueueScheduleToStartTimeout: '1s',
} as const satisfies Partial<WorkerOptions>;

/**
 * A sync runs for months in few, long histories, while the one process that owns a file is replaced: it moves to the
 * current version at its next step, which replays (see docs/deploying.md). Only the workflows' queue is versioned: a
 * destination's queue is polled by the owner of the destination, of whatever version.
 */
const versioned = ({ name, buildId }: { name: string; buildId: string }): WorkerDeploymentOptions => ({
  version: { deploymentName: name, buildId },
  useWorkerVersioning: true,
  defaultVersioningBehavior: 'AUTO_UPGRADE',
});

const ANSWER_MILLISECONDS = 2000;
/** Between two tries to make a worker for a server that is away. */
const AGAIN_MILLISECONDS = 500;

/**
 * Activities of a destination at once: a stream reads one batch, writes one and has one behind it. None may wait for
 * a place.
 */
const AT_ONCE = 300;

/** A worker: takes syncs from its task queue, and owns the destinations it was the first to open. */
export class HighwaterWorker {
  private isStopping = false;
  /** The worker is shut down only to be started again. */
  private isRestarting = false;

  private constructor(
    private readonly connection: NativeConnection,
    /** Takes syncs; null while it is made anew. */
    private main: Worker | null,
    private readonly makeMain: () => Promise<Worker>,
    private readonly host: DestinationHost,
    readonly taskQueue: string,
    private readonly traces: Tracing | null,
    private readonly server: { address: string; namespace: string },
    private readonly network: Network,
    private readonly secrets: SecretStore,
    private readonly kept: KeptRequests,
    private readonly searchAttributes: SearchAttributeRegistry,
    private readonly hooks: Hooks,
  ) {}

  /**
   * Connects to the Temporal server, and makes a worker that does not run yet.
   * @throws {Error} if the server does not answer, or if an option cannot be used.
   */
  static async create(options: HighwaterWorkerOptions = {}): Promise<HighwaterWorker> {
    const { connection: how, namespace, address } = options.target ?? target();
    const taskQueue = options.taskQueue ?? DEFAULT_TASK_QUEUE;
    const environment = options.environment ?? process.env;
    const dataConverter = options.dataConverter ?? (await dataConverterFrom(environment));
    const destination = options.destination ?? environment['HIGHWATER_DESTINATION'] ?? 'highwater.duckdb';
    const loaded = await loadExtensions(options.extensions ?? extensionsOf(environment));
    const trust = TrustPolicy.of(options.trust ?? {}, { address, destination }, environment);
    const network = new Network(trust);
    const secrets = new SecretStore(environment);
    const hooks = new Hooks(trust, hookLimits(environment));
    const kept = new KeptRequests();
    const searchAttributes = new SearchAttributeRegistry();
    const meter = new Meter(Runtime.instance().metricMeter);
    const connection = await NativeConnection.connect(how);
    try {
      const traces = await tracing(environment);
      const activityInterceptors = [
        ...(traces === null ? [] : [traces.activity]),
        countingInterceptor(meter),
        ...(options.serves === undefined ? [] : [servingOnly(options.serves)]),
      ];
      const common = {
        connection,
        namespace,
        dataConverter,
        shutdownGraceTime: `${options.graceSeconds ?? 10}s`,
        interceptors: { activity: activityInterceptors },
        ...(traces !== null && { sinks: traces.sinks }),
        ...RECOVERY,
      };

      const clusterId = await clusterIdOf(connection).catch(() => undefined);
      const origin = { taskQueue, namespace, cluster: clusterId ?? address };
      const host: DestinationHost = new DestinationHost({
        taskQueue,
        address,
        clusterId,
        namespace,
        served: new ServedQueues(join(stateDir(environment), 'served-queues'), origin),
        environment,
        trust,
        secrets,
        destinations: loaded.destinations,
        poll: async (queue) => {
          const worker = await Worker.create({
            ...common,
            taskQueue: queue,
            activities: { ...activities },
            maxConcurrentActivityTaskExecutions: AT_ONCE,
          });
          const running = worker.run();
          return async () => {
            if (worker.getState() === 'RUNNING') worker.shutdown();
            await running;
          };
        },
      });
      const activities = createActivities({
        host,
        server: { address, isPlain: isPlain(how) },
        environment,
        trust,
        network,
        secrets,
        budgets: new Budgets(),
        extensions: loaded,
        hooks,
        searchAttributes,
        kept,
        turns: new WriteTurns(),
        ...((meter.isOn || traces !== null) && { observe: requestsWatched(meter, traces) }),
        defaultDestination: destination,
      });
      const code = workflowCode(dataConverter, traces !== null, options.workflowBundle);
      const makeMain = () =>
        Worker.create({
          ...common,
          ...code,
          taskQueue,
          activities: { ...activities },
          ...(options.deployment !== undefined && { workerDeploymentOptions: versioned(options.deployment) }),
        });
      const server = { address, namespace };
      return new HighwaterWorker(
        connection,
        await makeMain(),
        makeMain,
        host,
        taskQueue,
        traces,
        server,
        network,
        secrets,
        kept,
        searchAttributes,
        hooks,
      );
    } catch (thrown) {
      // Left open, it would keep the process from ending.
      await connection.close();
      throw thrown;
    }
  }

  /**
   * Runs until {@link shutdown}; `work`, where given, ends it.
   */
  async run<T>(work?: () => Promise<T>): Promise<T | undefined> {
    const { address, namespace } = this.server;
    const watches = [
      this.searchAttributes.watch(this.connection, namespace),
      watchServer(address, () => this.forgetSyncs()),
    ];
    let takingOver: Promise<void> | null = null;
    try {
      const running = this.keepRunning();
      takingOver = this.takeOver();
      const done = work?.().finally(() => this.shutdown());
      // It is asked for once the worker has ended, whichever way.
      done?.catch(() => undefined);
      await running;
      return await done;
    } finally {
      for (const stopWatching of watches) stopWatching();
      this.kept.close();
      await takingOver;
      await this.host.close();
      this.network.close();
      this.hooks.close();
      this.secrets.close();
      await this.connection.close();
      await this.traces?.flush();
    }
  }

  /** Continues what a worker of this machine left when it died. */
  private async takeOver(): Promise<void> {
    const opened = await this.host.takeOver();
    if (opened.length === 0) return;
    Runtime.instance().logger.info('took over from a worker that died', { destinations: opened });
  }

  private async keepRunning(): Promise<void> {
    for (let said = ''; !this.isStopping;) {
      try {
        this.main ??= await this.makeMain();
      } catch (thrown) {
        const message = messageOf(thrown);
        if (message !== said)
          Runtime.instance().logger.warn('the worker cannot restart yet', { error: message });
        said = message;
        await delay(AGAIN_MILLISECONDS);
        continue;
      }
      if (!this.isStopping) await this.main.run();
      this.main = null;
      // Else the SDK has shut it down, at a signal.
      if (!this.isRestarting) return;
      this.isRestarting = false;
    }
  }

  /**
   * A worker keeps running syncs in memory and is sent only what is new. Of a server that was away it is not known whether it
   * comes back with the same database: after a restore, what is new would not follow from what is in memory, and the
   * SDK writes histories then that cannot be replayed. So everything is read anew.
   */
  private forgetSyncs(): void {
    if (this.main?.getState() !== 'RUNNING') return;
    Runtime.instance().logger.info('the Temporal server is unreachable: the worker restarts', {});
    this.isRestarting = true;
    this.main.shutdown();
  }

  /** Why it takes no work just now, or null. */
  async notReady(): Promise<string | null> {
    if (this.isStopping) return 'it stops';
    const state = this.main?.getState();
    if (state === 'INITIALIZED') return 'it starts';
    if (state !== 'RUNNING') return 'the Temporal server was unreachable: restarting';
    const { workflowService } = this.connection;
    return this.connection
      .withDeadline(Date.now() + ANSWER_MILLISECONDS, () => workflowService.getSystemInfo({}))
      .then(
        () => null,
        () => 'the Temporal server does not answer',
      );
  }

  /** Takes no more work, lets running work end, and ends {@link run}. */
  shutdown(): void {
    this.isStopping = true;
    if (this.main?.getState() === 'RUNNING') this.main.shutdown();
  }
}

/** How long an activity that this worker refuses waits before a worker, this or another, is asked for it again. */
const REFUSED_AGAIN = '1s';

/** Refuses the activities of other syncs before they can use any right of this worker. */
const servingOnly =
  (serves: (workflowId: string) => boolean): ActivityInterceptorsFactory =>
  ({ info }) => ({
    inbound: {
      execute: (input, next) => {
        const workflowId = info.workflowExecution?.workflowId ?? '';
        if (serves(workflowId)) return next(input);
        throw ApplicationFailure.create({
          type: 'NotServedError' satisfies FailureType,
          message: `this worker does not work for the sync "${workflowId}": start another worker for it`,
          nextRetryDelay: REFUSED_AGAIN,
        });
      },
    },
  });

/**
 * The bundle made by the build. From source, and for a data converter that workflows need a part of, the SDK bundles
 * at start.
 * @param isTraced the one whose workflows make spans.
 * @internal
 */
export function workflowCode(
  dataConverter: DataConverter = {},
  isTraced = false,
  bundle?: string,
): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  const inBuild = bundleFor(dataConverter, isTraced);
  const prebuilt = bundle ?? (inBuild === null ? null : ownCode(inBuild));
  if (prebuilt !== null && existsSync(prebuilt)) return { workflowBundle: { codePath: prebuilt } };
  const sources = [
    ownCode('workflows/index.ts'),
    ...(inBuild === null ? [ownCode('workflows/index.js')] : []),
  ];
  const found = sources.find((path) => existsSync(path));
  if (found !== undefined) return { workflowsPath: found };
  const missing = prebuilt ?? sources.join(', ');
  throw new Error(`the workflow bundle ${missing} is missing: build or install Highwater again`);
}
