import { createHash } from 'node:crypto';
import {
  Client,
  Connection,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  type WorkflowHandle,
} from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { plansFrom, type Plans } from './config/index.js';
import { target, type Target } from './connection.js';
import { HighwaterError } from './errors.js';
import type { Json, Progress, StreamPlan, SyncResult } from './protocol.js';
import { sourceIdentity } from './sources/references.js';
import type { SyncOptions } from './workflows/sync.js';

/** The task queue that workers take syncs from unless told otherwise. */
export const DEFAULT_TASK_QUEUE = 'highwater';

export interface StartOptions {
  /** Default: made of stream, strategy, source and destination, so that the same sync has the same id. */
  workflowId?: string;
  taskQueue?: string;
  /** Forget the checkpoint and start over. */
  full?: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver?: boolean;
}

/** A sync failed; the message is the cause's own. */
export class SyncFailedError extends HighwaterError {
  override readonly name = 'SyncFailedError';
  readonly retry = 'never';
  constructor(
    readonly workflowId: string,
    /** The name of the error that ended it, for example `SourceRefusedError`. */
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

/** A sync of that id is running already. */
export class AlreadyRunningError extends HighwaterError {
  override readonly name = 'AlreadyRunningError';
  readonly retry = 'never';
  constructor(readonly workflowId: string) {
    super(`a sync with the id "${workflowId}" is running already`);
  }
}

/** A sync that was started. */
export class SyncHandle {
  constructor(private readonly handle: WorkflowHandle) {}

  get workflowId(): string {
    return this.handle.workflowId;
  }

  /**
   * Waits for the end.
   * @throws {SyncFailedError}
   */
  async result(): Promise<SyncResult> {
    try {
      return (await this.handle.result()) as SyncResult;
    } catch (thrown) {
      if (thrown instanceof WorkflowFailedError) throw failed(this.workflowId, thrown);
      throw thrown;
    }
  }

  /** The run that is current: continue-as-new makes new ones. */
  async runId(): Promise<string> {
    return (await this.handle.describe()).runId;
  }

  /** RUNNING, COMPLETED, FAILED, CANCELLED, TERMINATED, … */
  async status(): Promise<string> {
    return (await this.handle.describe()).status.name;
  }

  /** What a pending activity that keeps failing says, or null. */
  async trouble(): Promise<{ activity: string; attempt: number; message: string } | null> {
    const { raw } = await this.handle.describe();
    for (const pending of raw.pendingActivities ?? []) {
      if (pending.lastFailure?.message) {
        return {
          activity: pending.activityType?.name ?? '',
          attempt: pending.attempt ?? 0,
          message: pending.lastFailure.message,
        };
      }
    }
    return null;
  }

  progress(): Promise<Progress> {
    return this.handle.query<Progress>('progress');
  }

  state(): Promise<{ [name: string]: Json }> {
    return this.handle.query<{ [name: string]: Json }>('state');
  }

  pause(): Promise<void> {
    return this.handle.signal('pause');
  }

  resume(): Promise<void> {
    return this.handle.signal('resume');
  }

  async cancel(): Promise<void> {
    await this.handle.cancel();
  }
}

/** Starts syncs and looks after them. */
export class HighwaterClient {
  private constructor(
    /** Temporal's own client, for whatever this one does not have. */
    readonly temporal: Client,
    readonly address: string,
  ) {}

  /** Connects as the environment says (TEMPORAL_ADDRESS and the rest, or a profile), or to `to`. */
  static async connect(to: Target = target()): Promise<HighwaterClient> {
    const connection = await Connection.connect(to.connection);
    return new HighwaterClient(new Client({ connection, namespace: to.namespace }), to.address);
  }

  /**
   * Starts the sync that a configuration describes.
   * @throws {ConfigurationError} with every problem, before anything is started.
   * @throws {AlreadyRunningError}
   */
  async start(configuration: Json, options: StartOptions = {}): Promise<SyncHandle> {
    const plans = plansFrom(configuration);
    const workflowId = options.workflowId ?? defaultWorkflowId(plans);
    const syncOptions: SyncOptions = {
      ...(options.full === true && { full: true }),
      ...(options.takeOver === true && { takeOver: true }),
    };
    try {
      const handle = await this.temporal.workflow.start('sync', {
        workflowId,
        taskQueue: options.taskQueue ?? DEFAULT_TASK_QUEUE,
        args: Object.keys(syncOptions).length === 0 ? [configuration] : [configuration, syncOptions],
        memo: { configuration: configurationHash(configuration) },
        staticSummary: plans.plans.length > 1 ? severalSummary(plans) : streamSummary(plans),
        staticDetails: plans.plans.map(streamDetails).join('\n\n'),
      });
      return new SyncHandle(handle);
    } catch (thrown) {
      if (thrown instanceof WorkflowExecutionAlreadyStartedError) throw new AlreadyRunningError(workflowId);
      throw thrown;
    }
  }

  /** A sync that was started before, by its workflow id. */
  sync(workflowId: string): SyncHandle {
    return new SyncHandle(this.temporal.workflow.getHandle(workflowId));
  }

  /** Whether a sync of this id is running, and with this very configuration. */
  async running(workflowId: string, configuration: Json): Promise<'no' | 'same' | 'other configuration'> {
    const description = await this.temporal.workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => null);
    if (description === null || description.status.name !== 'RUNNING') return 'no';
    return description.memo?.['configuration'] === configurationHash(configuration)
      ? 'same'
      : 'other configuration';
  }

  /** The task queue of a sync that is running, or null. */
  async taskQueueOf(workflowId: string): Promise<string | null> {
    const description = await this.temporal.workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => null);
    return description?.status.name === 'RUNNING' ? description.taskQueue : null;
  }

  async close(): Promise<void> {
    await this.temporal.connection.close();
  }
}

const streamSummary = ({ plans }: Plans) =>
  plans
    .map((plan) => `${plan.stream} · ${plan.options.strategy} · ${sourceIdentity(plan.baseUrl)}`)
    .join(', ');

const severalSummary = ({ plans, shape }: Plans) =>
  `${shape.name ?? 'sync'} · ${plans.length} streams: ${plans.map((plan) => plan.stream).join(', ')}`.slice(
    0,
    200,
  );

const streamDetails = (plan: StreamPlan) =>
  `Copies \`${sourceIdentity(plan.baseUrl)}\` into table \`${plan.table.schema}.${plan.table.table}\` ` +
  `with the strategy \`${plan.options.strategy}\`.`;

/** The same for the same streams, strategies, sources and destination. */
export function defaultWorkflowId({ plans, shape }: Plans, destination?: string): string {
  const what = plans.map((plan) => {
    const { schema, table } = plan.table;
    return [destination ?? plan.destination, schema, table, sourceIdentity(plan.baseUrl)];
  });
  const [first] = plans;
  if (plans.length > 1 || first === undefined) return `${shape.name ?? 'sync'}-${hash(what)}`;
  return `${shape.name ?? `${first.stream}-${first.options.strategy}`}-${hash(what[0])}`;
}

const hash = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);

const configurationHash = (configuration: Json) => hash(configuration);

function failed(workflowId: string, failure: WorkflowFailedError): SyncFailedError {
  const { cause } = failure;
  if (cause instanceof CancelledFailure)
    return new SyncFailedError(workflowId, 'Cancelled', 'the sync was cancelled');
  if (cause instanceof TerminatedFailure) {
    return new SyncFailedError(workflowId, 'Terminated', `the sync was terminated: ${cause.message}`);
  }
  const inner = cause instanceof ActivityFailure ? cause.cause : cause;
  const type = inner instanceof ApplicationFailure ? (inner.type ?? 'Error') : (inner?.name ?? 'Error');
  return new SyncFailedError(workflowId, type, inner?.message ?? failure.message);
}
