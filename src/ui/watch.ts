/** Watches all syncs of a namespace for as long as a page is open. */
import { setTimeout as delay } from 'node:timers/promises';
import { isGrpcCancelledError, isGrpcDeadlineError } from '@temporalio/client';
import type { HighwaterClient, ListedSync } from '../client.js';
import { messageOf } from '../errors.js';
import type { Silence } from '../sync-condition.js';
import { familiesOf } from '../sync-families.js';
import { isPolled } from '../task-queue.js';
import { outcomeIn, progressIn } from './answers.js';
import type { Overview, SyncFacts } from './facts.js';

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
/** How long a page waits for facts, at first and where those that are known are old. */
const PATIENCE_MILLISECONDS = 1000;
const OLD_MILLISECONDS = 10_000;
/** Interval between queries to a sync that has not answered or whose history has not grown. */
const ASK_AGAIN_MILLISECONDS = 15_000;
const AT_ONCE = 16;

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
  /** Resolves once the syncs have been listed for the first time. */
  private readonly listed: Promise<void>;
  private recordList: () => void = () => undefined;

  /** @param connect connects to the server; called again until it succeeds. */
  constructor(private readonly connect: () => Promise<Connection>) {
    this.listed = new Promise((resolve) => (this.recordList = resolve));
  }

  /**
   * Returns the latest facts; the first call waits until there are some, or a reason why not. After a second it
   * returns what Temporal's list says of syncs whose workers have not answered yet.
   * @param options.isWhole waits for all of them.
   */
  async overview(options: { isWhole?: boolean } = {}): Promise<Overview> {
    this.attention = Date.now();
    if (this.round === null && this.timer === null) this.begin();
    const isOld = this.asOf !== null && Date.now() - Date.parse(this.asOf) > OLD_MILLISECONDS;
    const isFirst = this.asOf === null && this.problem === null;
    if (isFirst && options.isWhole === true) await this.round;
    // What was read before a rest is old; a slow server or worker holds no page up for long.
    else if (isFirst || (isOld && this.round !== null)) {
      const late = delay(PATIENCE_MILLISECONDS, null, { ref: false });
      await Promise.race([this.round, isFirst ? Promise.all([late, this.listed]) : late]);
    }
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
    const queues = new Map<string, Promise<boolean | null>>();
    const isFirst = this.asOf === null;
    // Shown until their workers have answered, one after another.
    if (isFirst) this.shown = listed.map(unaskedFacts);
    this.recordList();
    this.shown = await inTurns(listed, async (sync, i) => {
      const facts = await this.factsOf(client, sync, queues);
      if (isFirst) this.shown[i] = facts;
      return facts;
    });
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
    queues: Map<string, Promise<boolean | null>>,
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
    queues: Map<string, Promise<boolean | null>>,
  ): Promise<SyncFacts> {
    const work = await client
      .sync(sync.id)
      .work({ withBeginning: true })
      .catch((thrown: unknown) => messageOf(thrown));
    if (typeof work === 'string') return { ...factsFrom(sync), silence: { reason: work, advice: null } };
    const { taskQueue, retry, reading, historyLength } = work;
    const base = { ...factsFrom(sync), taskQueue, retry, quietSince: reading?.at ?? null };
    const isOld = known === undefined || Date.now() - known.askedAt > ASK_AGAIN_MILLISECONDS;
    if (!isOld && known.historyLength === historyLength && known.facts.runId === sync.runId) {
      const { progress, state, silence, isPolled: polled } = known.facts;
      const facts = { ...base, progress, state, silence, isPolled: polled };
      this.known.set(keyOf(sync), { ...known, facts });
      return facts;
    }
    const queue = queues.get(taskQueue) ?? isPolled(client, taskQueue);
    queues.set(taskQueue, queue);
    const facts = { ...base, ...(await answerOf(client, sync.id, await queue)) };
    this.known.set(keyOf(sync), { facts, historyLength, askedAt: Date.now() });
    return facts;
  }
}

const keyOf = ({ id, runId }: ListedSync): string => `${id} ${runId}`;

/** Works on all items, some at once. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = new Array<Result>(items.length);
  let next = 0;
  const turn = async () => {
    for (let i = next++; i < items.length; i = next++) {
      const item = items[i];
      if (item !== undefined) results[i] = await work(item, i);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, turn));
  return results;
}

/** Returns the facts that a list has. */
function factsFrom({ attributes, ...sync }: ListedSync): SyncFacts {
  const { id, runId, execution, started, ended, nextRun, parent, range } = sync;
  return {
    ...{ id, runId, execution, started, ended, nextRun, parent, range, ...attributes },
    schedule: sync.schedule,
    taskQueue: '',
    ...{
      progress: null,
      state: null,
      retry: null,
      quietSince: null,
      listedStatus: null,
      isPolled: null,
      silence: null,
      outcome: null,
    },
  };
}

/** Returns the facts about a sync whose worker has not been asked. */
const unaskedFacts = (sync: ListedSync): SyncFacts => ({
  ...factsFrom(sync),
  listedStatus: sync.execution === 'RUNNING' ? (sync.attributes.status ?? 'running') : null,
});

type Answer = Pick<SyncFacts, 'progress' | 'state' | 'silence' | 'isPolled'>;

async function answerOf(client: HighwaterClient, id: string, isPolled: boolean | null): Promise<Answer> {
  const none = { progress: null, state: null, isPolled };
  if (isPolled === false) return { ...none, silence: null };
  const handle = client.sync(id);
  // Both to their end: a query that is still retried when the connection closes would crash.
  const [progress, state] = await client.temporal.withDeadline(Date.now() + QUERY_MILLISECONDS, () =>
    Promise.allSettled([handle.progress(), handle.state()]),
  );
  if (progress.status === 'rejected') return { ...none, silence: silenceOf(progress.reason) };
  const checked = progressIn(progress.value);
  if (checked === null) return { ...none, silence: OTHER_VERSION };
  const known = state.status === 'fulfilled' ? state.value : null;
  return { progress: checked, state: known, isPolled, silence: null };
}

const OTHER_VERSION: Silence = {
  reason: 'the worker answers in a form that this command does not know',
  advice: 'use the same version of Highwater for the worker and this command',
};

const silenceOf = (thrown: unknown): Silence =>
  isGrpcDeadlineError(thrown) || isGrpcCancelledError(thrown)
    ? {
        reason: `a worker polls, but did not answer within ${QUERY_MILLISECONDS / 1000} s`,
        advice: 'see the log of the worker',
      }
    : { reason: messageOf(thrown), advice: null };

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
