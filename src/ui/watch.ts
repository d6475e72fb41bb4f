/** Watches all syncs of a namespace for as long as a page is open. */
import type { HighwaterClient, ListedSync } from '../client.js';
import { messageOf } from '../errors.js';
import { outcomeIn, progressIn } from './answers.js';
import { familiesOf, type Overview, type Retrying, type SyncFacts } from './facts.js';

/** A connection to a Temporal server. */
export interface Connection {
  client: HighwaterClient;
  address: string;
  namespace: string;
  webUi: string | null;
}

const SYNCS_SHOWN = 1000;
const REFRESH_MILLISECONDS = 2500;
/** Syncs that have ended change rarely, and a namespace may have many. */
const ENDED_MILLISECONDS = 20_000;
/** The watch rests while no page asks. */
const ATTENTION_MILLISECONDS = 20_000;
const QUERY_MILLISECONDS = 4000;
/** How soon a sync is asked again that has not answered, or whose history has not grown. */
const ASK_AGAIN_MILLISECONDS = 15_000;
const AT_ONCE = 16;
/** A worker polls at least once a minute. */
const POLL_MILLISECONDS = 80_000;

/** The last facts about one run, and when its worker was asked. */
interface Known {
  facts: SyncFacts;
  historyLength: number;
  askedAt: number;
}

/** Keeps the facts about all syncs: refreshed in the background, so that a page never waits for a worker. */
export class Watch {
  private connection: Connection | null = null;
  private readonly known = new Map<string, Known>();
  private ended: { syncs: ListedSync[]; at: number } = { syncs: [], at: 0 };
  private shown: SyncFacts[] = [];
  private asOf: string | null = null;
  private problem: string | null = null;
  private attention = 0;
  private round: Promise<void> | null = null;
  private timer: NodeJS.Timeout | null = null;
  private isClosed = false;

  /** @param connect connects to the server; called again until it succeeds. */
  constructor(private readonly connect: () => Promise<Connection>) {}

  /** Returns the latest facts; the first call waits until there are some, or a reason why not. */
  async overview(): Promise<Overview> {
    this.attention = Date.now();
    if (this.round === null && this.timer === null) this.begin();
    if (this.asOf === null && this.problem === null) await this.round;
    const { connection, problem, asOf } = this;
    return {
      families: familiesOf(this.shown),
      asOf,
      problem,
      address: connection?.address ?? null,
      namespace: connection?.namespace ?? null,
      webUi: connection?.webUi ?? null,
      isCut: this.shown.length >= SYNCS_SHOWN,
    };
  }

  /** Reads everything once more before the next answer, after an action. */
  async refresh(): Promise<void> {
    await this.round;
    for (const known of this.known.values()) known.askedAt = 0;
    this.ended.at = 0;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.begin();
    await this.round;
  }

  /** Returns the connection. @throws {Error} if there is none now. */
  async connected(): Promise<Connection> {
    this.connection ??= await this.connect();
    return this.connection;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.round;
    await this.connection?.client.close();
  }

  private begin(): void {
    const started = Date.now();
    this.round = this.read()
      .then(
        () => {
          this.problem = null;
          this.asOf = new Date().toISOString();
        },
        (thrown: unknown) => {
          this.problem = messageOf(thrown);
        },
      )
      .then(() => {
        this.round = null;
        if (this.isClosed || Date.now() - this.attention > ATTENTION_MILLISECONDS) return;
        // A large namespace is read less often: at most a third of the time.
        const pause = Math.max(REFRESH_MILLISECONDS, 2 * (Date.now() - started));
        this.timer = setTimeout(() => {
          this.timer = null;
          this.begin();
        }, pause).unref();
      });
  }

  private async read(): Promise<void> {
    const { client } = await this.connected();
    // A server that is away would hold the page up for as long as the SDK retries.
    const listed = await client.temporal.withDeadline(Date.now() + 8000, () => this.list(client));
    const queues = new Map<string, Promise<string | null>>();
    const facts = await inTurns(listed, (sync) => this.factsOf(client, sync, queues));
    this.shown = facts;
    const ids = new Set(listed.map(keyOf));
    for (const key of this.known.keys()) if (!ids.has(key)) this.known.delete(key);
  }

  private async list(client: HighwaterClient): Promise<ListedSync[]> {
    const running = await client.list({ runningOnly: true, limit: SYNCS_SHOWN });
    const isGone = this.shown.some(
      ({ execution, runId }) => execution === 'RUNNING' && !running.some((one) => one.runId === runId),
    );
    if (isGone || Date.now() - this.ended.at > ENDED_MILLISECONDS)
      this.ended = {
        syncs: await client.list({ query: 'ExecutionStatus != "Running"', limit: SYNCS_SHOWN }),
        at: Date.now(),
      };
    const ids = new Set(
      running.flatMap(({ id, schedule }) => [id, ...(schedule === null ? [] : [`schedule ${schedule}`])]),
    );
    const before = this.ended.syncs.filter(
      ({ id, schedule }) => !ids.has(id) && !(schedule !== null && ids.has(`schedule ${schedule}`)),
    );
    return [...running, ...before].slice(0, SYNCS_SHOWN);
  }

  private async factsOf(
    client: HighwaterClient,
    sync: ListedSync,
    queues: Map<string, Promise<string | null>>,
  ): Promise<SyncFacts> {
    const known = this.known.get(keyOf(sync));
    const facts =
      sync.execution === 'RUNNING'
        ? await this.runningFacts(client, sync, known, queues)
        : await endedFacts(client, sync, known?.facts ?? null);
    if (sync.execution !== 'RUNNING')
      this.known.set(keyOf(sync), { facts, historyLength: 0, askedAt: Date.now() });
    return facts;
  }

  private async runningFacts(
    client: HighwaterClient,
    sync: ListedSync,
    known: Known | undefined,
    queues: Map<string, Promise<string | null>>,
  ): Promise<SyncFacts> {
    const described = await describe(client, sync);
    const { taskQueue, retrying, historyLength, problem } = described;
    const base = { ...factsFrom(sync), taskQueue, retrying };
    if (problem !== null) return { ...base, silence: problem };
    const isOld = known === undefined || Date.now() - known.askedAt > ASK_AGAIN_MILLISECONDS;
    if (!isOld && known.historyLength === historyLength && known.facts.runId === sync.runId) {
      const { progress, state, silence } = known.facts;
      const facts = { ...base, progress, state, silence };
      this.known.set(keyOf(sync), { ...known, facts });
      return facts;
    }
    const queue = queues.get(taskQueue) ?? workerProblem(client, taskQueue);
    queues.set(taskQueue, queue);
    const answer = await answerOf(client, sync.id, await queue);
    // The last answer is better than none while a worker restarts.
    const facts = { ...base, ...answer };
    this.known.set(keyOf(sync), { facts, historyLength, askedAt: Date.now() });
    return facts;
  }
}

const keyOf = ({ id, runId }: ListedSync): string => `${id} ${runId}`;

/** Works on all items, some at once. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = new Array<Result>(items.length);
  let next = 0;
  const turn = async () => {
    for (let i = next++; i < items.length; i = next++) {
      const item = items[i];
      if (item !== undefined) results[i] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, turn));
  return results;
}

/** Returns the facts that a list has. */
function factsFrom({ attributes, ...sync }: ListedSync): SyncFacts {
  const { id, runId, execution, started, ended, nextRun } = sync;
  return {
    ...{ id, runId, execution, started, ended, nextRun, ...attributes },
    schedule: sync.schedule,
    taskQueue: '',
    ...{ progress: null, state: null, retrying: null, silence: null, outcome: null },
  };
}

/** Returns the facts about one workflow that Temporal itself has. */
async function describe(
  client: HighwaterClient,
  { id, runId }: ListedSync,
): Promise<{ taskQueue: string; retrying: Retrying | null; historyLength: number; problem: string | null }> {
  try {
    const { taskQueue, historyLength, raw } = await client.temporal.workflow.getHandle(id, runId).describe();
    let retrying: Retrying | null = null;
    for (const { activityType, attempt, lastFailure, scheduledTime } of raw.pendingActivities ?? []) {
      const { message } = (await client.payloads.readable(lastFailure)) ?? {};
      if (!message) continue;
      const at = Number(scheduledTime?.seconds ?? 0) * 1000;
      retrying = {
        activity: activityType?.name ?? '',
        attempt: attempt ?? 0,
        message,
        nextTry: at > Date.now() ? new Date(at).toISOString() : null,
      };
    }
    return { taskQueue, retrying, historyLength, problem: null };
  } catch (thrown) {
    return { taskQueue: '', retrying: null, historyLength: -1, problem: messageOf(thrown) };
  }
}

/** Returns why no worker takes tasks of a queue; null if one does. */
async function workerProblem(client: HighwaterClient, taskQueue: string): Promise<string | null> {
  const { workflowService } = client.temporal.connection;
  const { namespace } = client.temporal.options;
  const queue = { namespace, taskQueue: { name: taskQueue }, taskQueueType: 1 } as const;
  const { pollers } = await workflowService.describeTaskQueue(queue).catch(() => ({ pollers: null }));
  if (pollers === null) return null;
  const isAlive = pollers.some(
    ({ lastAccessTime }) => Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1000 < POLL_MILLISECONDS,
  );
  return isAlive ? null : `No worker runs for the task queue ${taskQueue}`;
}

type Answer = Pick<SyncFacts, 'progress' | 'state' | 'silence'>;

async function answerOf(client: HighwaterClient, id: string, workerIsAway: string | null): Promise<Answer> {
  const none = { progress: null, state: null };
  if (workerIsAway !== null) return { ...none, silence: workerIsAway };
  const handle = client.sync(id);
  // Both to their end: a query that is still retried when the connection closes would crash.
  const [progress, state] = await client.temporal.withDeadline(Date.now() + QUERY_MILLISECONDS, () =>
    Promise.allSettled([handle.progress(), handle.state()]),
  );
  if (progress.status === 'rejected') return { ...none, silence: silenceOf(progress.reason) };
  const checked = progressIn(progress.value);
  if (checked === null)
    return {
      ...none,
      silence:
        'The worker gave an answer of another form\nIts version differs from that of this command: use the same.',
    };
  return { progress: checked, state: state.status === 'fulfilled' ? state.value : null, silence: null };
}

function silenceOf(thrown: unknown): string {
  const { name = '', code = 0 } = (thrown ?? {}) as { name?: string; code?: number };
  const isLate = code === 4 || code === 1 || /deadline|timeout|cancel/i.test(`${name} ${messageOf(thrown)}`);
  return isLate
    ? `The worker does not answer\nIt polls, but did not answer within ${QUERY_MILLISECONDS / 1000} s: see its log.`
    : messageOf(thrown);
}

/** Returns how a sync ended, which is read once. */
async function endedFacts(
  client: HighwaterClient,
  sync: ListedSync,
  known: SyncFacts | null,
): Promise<SyncFacts> {
  if (known !== null && known.execution === sync.execution && known.outcome !== null)
    return { ...factsFrom(sync), outcome: known.outcome };
  const outcome = await client.temporal
    .withDeadline(Date.now() + QUERY_MILLISECONDS, () => client.sync(sync.id).result())
    .then(outcomeIn, (thrown: unknown) => ({
      status: sync.execution.toLowerCase(),
      error: messageOf(thrown),
      rows: null,
      records: null,
    }));
  return { ...factsFrom(sync), outcome };
}
