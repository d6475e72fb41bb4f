import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { createActivities } from './activities/index.js';
import { DEFAULT_TASK_QUEUE } from './client.js';
import { target, type Target } from './connection.js';
import { DestinationHost } from './destinations/host.js';
import { watched } from './observe/activities.js';
import { Meter } from './observe/meter.js';
import { requestsWatched } from './observe/requests.js';
import { tracing, type Tracing } from './observe/tracing.js';

export interface HighwaterWorkerOptions {
  /** Default: what the environment says. */
  target?: Target;
  taskQueue?: string;
  /** The DuckDB file, or the address of a PostgreSQL server, of configurations that name none. Default: HIGHWATER_DESTINATION, else highwater.duckdb. */
  destination?: string;
  environment?: NodeJS.ProcessEnv;
  /** How long work in hand may take to end at a stop. */
  graceSeconds?: number;
  /** Another bundle of the workflows. */
  workflowBundle?: string;
}

/** Defaults cost ten seconds twice after a crash; these about three. */
const RECOVERY = {
  maxHeartbeatThrottleInterval: '500ms',
  defaultHeartbeatThrottleInterval: '500ms',
  stickyQueueScheduleToStartTimeout: '1s',
} as const satisfies Partial<WorkerOptions>;

/** A worker: takes syncs from its task queue, and owns the destinations it was the first to open. */
export class HighwaterWorker {
  private constructor(
    private readonly connection: NativeConnection,
    private readonly main: Worker,
    private readonly host: DestinationHost,
    readonly taskQueue: string,
    private readonly traces: Tracing | null,
  ) {}

  static async create(options: HighwaterWorkerOptions = {}): Promise<HighwaterWorker> {
    const { connection: how, namespace, address } = options.target ?? target();
    const taskQueue = options.taskQueue ?? DEFAULT_TASK_QUEUE;
    const environment = options.environment ?? process.env;
    const traces = await tracing(environment);
    const meter = new Meter(Runtime.instance().metricMeter);
    const connection = await NativeConnection.connect(how);
    const activityInterceptors = [...(traces === null ? [] : [traces.activity]), watched(meter)];
    const common = {
      connection,
      namespace,
      shutdownGraceTime: `${options.graceSeconds ?? 10}s`,
      interceptors: { activity: activityInterceptors },
      ...(traces !== null && { sinks: traces.sinks }),
      ...RECOVERY,
    };

    const host: DestinationHost = new DestinationHost({
      taskQueue,
      address,
      namespace,
      environment,
      poll: async (queue) => {
        const worker = await Worker.create({ ...common, taskQueue: queue, activities: { ...activities } });
        const running = worker.run();
        return async () => {
          if (worker.getState() === 'RUNNING') worker.shutdown();
          await running;
        };
      },
    });
    const activities = createActivities({
      host,
      cluster: address,
      environment,
      ...((meter.isOn || traces !== null) && { observe: requestsWatched(meter, traces) }),
      defaultDestination: options.destination ?? environment['HIGHWATER_DESTINATION'] ?? 'highwater.duckdb',
    });
    try {
      const main = await Worker.create({
        ...common,
        taskQueue,
        activities: { ...activities },
        ...workflowCode(options.workflowBundle, traces !== null),
      });
      return new HighwaterWorker(connection, main, host, taskQueue, traces);
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
    try {
      if (work === undefined) {
        await this.main.run();
        return undefined;
      }
      return await this.main.runUntil(work);
    } finally {
      await this.host.close();
      await this.connection.close();
      await this.traces?.flush();
    }
  }

  /** Takes no more work, lets what is in hand end, and ends {@link run}. */
  shutdown(): void {
    if (this.main.getState() === 'RUNNING') this.main.shutdown();
  }
}

/**
 * The bundle made by the build; from source, the SDK bundles at start.
 * @param isTraced the one whose workflows make spans.
 */
export function workflowCode(
  bundle: string | undefined,
  isTraced = false,
): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath'> {
  const file = isTraced ? './workflow-bundle-traced.cjs' : './workflow-bundle.cjs';
  const prebuilt = bundle ?? fileURLToPath(new URL(file, import.meta.url));
  if (existsSync(prebuilt)) return { workflowBundle: { codePath: prebuilt } };
  const sources = fileURLToPath(new URL('./workflows/index.ts', import.meta.url));
  if (existsSync(sources)) return { workflowsPath: sources };
  throw new Error(`the bundle of the workflows, ${prebuilt}, is missing: build or install Highwater again`);
}
