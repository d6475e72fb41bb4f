import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  TemporalFailure,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type {
  BatchBudget,
  Checkpoint,
  FetchedPages,
  Json,
  Note,
  OpenedStream,
  Progress,
  SchemaChange,
  StagedBatch,
  StreamPlan,
  StreamResult,
} from '../protocol.js';
import { currentDetails, batchSummary } from './details.js';
import { pauseSignal, progressQuery, resumeSignal, stateQuery } from './messages.js';
import type { SyncOptions } from './sync.js';

interface Counts {
  pages: number;
  records: number;
  rows: number;
  batches: number;
  /** Absent from what older versions hand over. */
  rejected?: number;
  deleted?: number;
  /** Columns that were added or widened. */
  changes?: SchemaChange[];
}

/** What one run hands to the next when the workflow continues as new. */
export interface Carry {
  /** Null before the stream was opened. */
  database: string | null;
  pass: Counts;
  totals: Counts & { passes: number };
  paused: boolean;
  /** A wait in hand: the next run goes on with it. */
  wait: FetchedPages['wait'];
  /** How often the stream was opened again since a batch was written. */
  reopened: number;
}

type Outcome = { result: StreamResult } | { carry: Carry };
/** How a pass stopped: drained, or with the history full. */
type PassEnd = 'drained' | 'history is full';

/** What was read and waits to be written, and how the pass ended once all of it is read. */
interface Staged {
  batches: { batch: StagedBatch; state: { [name: string]: Json } }[];
  end: PassEnd | null;
}

const NOTHING: Counts = { pages: 0, records: 0, rows: 0, batches: 0 };
const HEARTBEAT = '4s';
/** A worker that owns the destination takes a task at once; longer than this and it is gone. */
const OWNER_ANSWERS = '5s';
/** An activity cannot take longer than this, whatever it does; heartbeats notice a dead worker long before. */
const ACTIVITY_LIMIT = '6h';
const FIRST_BUDGET: BatchBudget = { rows: 2000, bytes: 4 * 1024 * 1024, seconds: 1 };
const GROWTH = 5;
/** Re-opening the stream more often than this without a batch written means that it does not help. */
const REOPEN_LIMIT = 1000;
/** Of the changes of a pass so many are kept, and so many told. */
const CHANGES_LIMIT = 100;
const CHANGES_SHOWN = 12;
/** Batches that are read and not yet written, at most; one more may be on its way. */
const STAGED_LIMIT = 3;
const LONGEST_BACK_OFF_SECONDS = 60;
/** Failures that an interval sync waits out. */
const MAY_PASS = ['SourceUnavailableError', 'DestinationBusyError', 'StorageFullError'];

/** The loop of one stream: open, then fetch and write, each fetch overlapping the write before it. */
export class StreamLoop {
  private opened: OpenedStream | null = null;
  private committed: Checkpoint = { id: '', cursor: null };
  private state: { [name: string]: Json } = {};
  private pass: Counts;
  private totals: Counts & { passes: number };
  private status: Progress['status'] = 'opening';
  private paused: boolean;
  /** What the source has asked for and is still to be waited. */
  private wait: FetchedPages['wait'];
  /** What is being waited for, whoever asked. */
  private waiting: Progress['waiting'] = null;
  private staged = 0;
  private fetches = 0;
  private reopened: number;
  private database: string | null;
  /** Counts signals, so that a wait can see that one came. */
  private signals = 0;

  constructor(
    private readonly configuration: Json,
    private readonly options: SyncOptions,
  ) {
    const { carry } = options;
    this.pass = carry?.pass ?? NOTHING;
    this.totals = carry?.totals ?? { ...NOTHING, passes: 0 };
    this.paused = carry?.paused ?? false;
    this.wait = carry?.wait ?? null;
    this.reopened = carry?.reopened ?? 0;
    this.database = carry?.database ?? null;
    setHandler(pauseSignal, () => void (this.paused = true), {
      description: 'Stop after the batch in hand, until resume.',
    });
    setHandler(
      resumeSignal,
      () => {
        this.paused = false;
        this.signals++;
      },
      { description: 'Go on; also ends a wait that the source asked for, or the sleep between passes.' },
    );
    setHandler(stateQuery, () => this.stateNow(), {
      description: "The committed cursor, under the names of the reference connector's state.",
    });
    setHandler(progressQuery, () => this.progress(), {
      description: 'Status, counts, warnings, and what is being waited for.',
    });
  }

  async run(): Promise<Outcome> {
    for (;;) {
      let plan: StreamPlan;
      let end: PassEnd;
      try {
        plan = (await this.open()).plan;
        end = await this.drain(plan);
      } catch (thrown) {
        if (isCancellation(thrown)) throw thrown;
        const { seconds, reason } = this.afterFailure(thrown);
        if (seconds > 0) await this.sleep('waiting', seconds * 1000, reason);
        if (this.historyIsFull(this.opened?.plan ?? null)) return this.handOver();
        continue;
      }
      if (end === 'history is full') return this.handOver();
      if (plan.intervalSeconds === null) {
        this.show('drained');
        await condition(allHandlersFinished);
        return { result: this.result(plan) };
      }
      await this.sleep('sleeping', plan.intervalSeconds * 1000, 'until the next pass');
      this.pass = NOTHING;
      if (this.historyIsFull(plan)) return this.handOver();
    }
  }

  /** Opens the stream where its destination is. */
  private async open(): Promise<OpenedStream> {
    this.show('opening');
    const input = {
      configuration: this.configuration,
      stream: this.options.stream ?? null,
      full: this.options.full ?? false,
      // Once: who has taken the stream over does not take it back from the next one.
      takeOver: (this.options.takeOver ?? false) && this.database === null,
      firstRunId: workflowInfo().firstExecutionRunId,
      expectDatabase: this.database,
    };
    const { openStream } = proxyActivities<Activities>({
      startToCloseTimeout: '2m',
      heartbeatTimeout: HEARTBEAT,
      retry: retryFor(60),
    });
    let opened = await openStream.executeWithOptions({ summary: 'open the stream' }, [input]);
    if ('redirect' in opened) {
      const owner = { taskQueue: opened.redirect, scheduleToStartTimeout: OWNER_ANSWERS } as const;
      const summary = 'open the stream where its destination is';
      opened = await openStream.executeWithOptions({ ...owner, summary }, [input]);
    }
    if ('redirect' in opened) {
      const message = `the destination has changed hands: ${opened.redirect} owns it now`;
      throw ApplicationFailure.create({ message, type: 'DestinationElsewhereError' });
    }
    this.opened = opened;
    this.database = opened.database;
    this.committed = opened.checkpoint;
    this.state = opened.state;
    return opened;
  }

  /**
   * Makes a pass, from begin or from where it was left, until it ends: one reads, one writes, and at most a set
   * number of batches lie between them.
   */
  private async drain(plan: StreamPlan): Promise<PassEnd> {
    const scope = new CancellationScope();
    const staged: Staged = { batches: [], end: null };
    const both = [scope.run(() => this.read(plan, staged)), scope.run(() => this.writeAll(plan, staged))];
    try {
      await Promise.all(both);
    } finally {
      scope.cancel();
      // The one that did not fail must not go on beside the next pass.
      await Promise.allSettled(both);
      this.staged = 0;
    }
    if (staged.end === 'drained') this.totals = { ...this.totals, passes: this.totals.passes + 1 };
    return staged.end ?? 'history is full';
  }

  private async read(plan: StreamPlan, staged: Staged): Promise<void> {
    let from = this.committed;
    for (let begin = true; staged.end === null; begin = false) {
      await condition(() => this.staged < STAGED_LIMIT);
      if (this.wait !== null || this.paused) {
        // What has been read is written first, whatever the wait.
        await condition(() => this.staged === 0);
        await this.waitForSource();
        await this.whilePaused();
      }
      this.show('running');
      const fetched = await this.fetch(plan, from, begin).catch(async (thrown: unknown) => {
        // What has been read is written first, whatever comes of the rest.
        await condition(() => this.staged === 0);
        throw thrown;
      });
      this.wait = fetched.batches.length > 0 ? fetched.wait : notAtOnce(fetched.wait);
      this.staged += fetched.batches.length;
      from = { id: fetched.batches.at(-1)?.next ?? from.id, cursor: fetched.cursor };
      if (fetched.cursor.ended !== null) staged.end = 'drained';
      else if (this.historyIsFull(plan)) staged.end = 'history is full';
      staged.batches.push(...fetched.batches.map((batch) => ({ batch, state: fetched.state })));
    }
  }

  private async writeAll(plan: StreamPlan, staged: Staged): Promise<void> {
    for (;;) {
      await condition(() => staged.batches.length > 0 || staged.end !== null);
      const next = staged.batches.shift();
      if (next === undefined) return;
      await this.write(plan, next.batch);
      // Batches that one answer was cut into share its state, which the last of them makes true.
      if (next.batch.cursor.ended !== null || staged.batches[0]?.state !== next.state)
        this.state = next.state;
      this.show(this.status);
    }
  }

  private fetch(plan: StreamPlan, base: Checkpoint, begin: boolean): Promise<FetchedPages> {
    const budget = budgetOf(plan.batch, this.fetches++);
    const { fetchPages } = this.onDestination(plan);
    return fetchPages.executeWithOptions(
      { ...this.destinationOptions(plan), summary: `read up to ${budget.rows} records` },
      [{ plan, destination: this.openedStream().destination, base, budget, begin }],
    );
  }

  private async write(plan: StreamPlan, batch: StagedBatch): Promise<void> {
    const { writeBatch } = this.onDestination(plan);
    const written = await writeBatch.executeWithOptions(
      { ...this.destinationOptions(plan), summary: batchSummary(this.totals.batches + 1, batch) },
      [{ plan, destination: this.openedStream().destination, batch }],
    );
    this.staged--;
    this.reopened = 0;
    this.committed = { id: batch.next, cursor: batch.cursor };
    const add = (counts: Counts): Counts => ({
      pages: counts.pages + batch.pages,
      records: counts.records + batch.records,
      rows: counts.rows + written.rows,
      batches: counts.batches + 1,
      rejected: (counts.rejected ?? 0) + (written.rejected ?? 0),
      deleted: (counts.deleted ?? 0) + (written.deleted ?? 0),
    });
    const changes = [...(this.pass.changes ?? []), ...(written.changes ?? [])].slice(-CHANGES_LIMIT);
    this.pass = { ...add(this.pass), ...(changes.length > 0 && { changes }) };
    this.totals = { ...this.totals, ...add(this.totals) };
  }

  private onDestination(plan: StreamPlan) {
    return proxyActivities<Activities>(this.destinationOptions(plan));
  }

  private destinationOptions(plan: StreamPlan) {
    return {
      taskQueue: this.openedStream().queue,
      scheduleToStartTimeout: OWNER_ANSWERS,
      startToCloseTimeout: ACTIVITY_LIMIT,
      heartbeatTimeout: HEARTBEAT,
      retry: retryFor(plan.retrySeconds),
    } as const;
  }

  /**
   * How long to wait until the stream is opened again, where that can help.
   * @throws {ApplicationFailure} the end, with the cause's own words first.
   */
  private afterFailure(thrown: unknown): { seconds: number; reason: string } {
    // An error of this code itself fails no sync: Temporal holds the workflow until a worker is put right.
    if (!(thrown instanceof TemporalFailure)) throw thrown;
    const failure = cause(thrown);
    const type = failure instanceof ApplicationFailure ? failure.type : null;
    const ours =
      type === 'CheckpointConflictError' && failure?.message.includes(`"${workflowInfo().workflowId}"`);
    const gone = neverStarted(thrown);
    const reason = gone ? 'the worker that owns the destination does not answer' : (failure?.message ?? '');
    if (gone || type === 'BatchLostError' || type === 'DestinationElsewhereError' || ours === true) {
      // Once helps as a rule. Where it does not, neither source nor worker is asked over and over.
      const seconds = this.reopened === 0 ? 0 : 2 ** (this.reopened - 1);
      if (this.reopened++ < REOPEN_LIMIT)
        return { seconds: Math.min(seconds, LONGEST_BACK_OFF_SECONDS), reason };
    }
    // What may pass by itself does not end a sync that goes on for ever.
    const interval = this.opened?.plan.intervalSeconds ?? null;
    if (interval !== null && MAY_PASS.includes(type ?? '')) {
      return { seconds: Math.min(interval, LONGEST_BACK_OFF_SECONDS), reason };
    }
    throw ApplicationFailure.nonRetryable(failure?.message ?? String(thrown), type ?? 'SyncFailed');
  }

  private async waitForSource(): Promise<void> {
    const { wait } = this;
    if (wait === null) return;
    this.wait = null;
    const milliseconds = Date.parse(wait.until) - Date.now();
    if (milliseconds > 0) await this.sleep('waiting', milliseconds, wait.reason);
  }

  /** A named timer that pause and resume end. */
  private async sleep(status: Progress['status'], milliseconds: number, reason: string): Promise<void> {
    const until = new Date(Date.now() + milliseconds).toISOString();
    this.waiting = { until, reason };
    this.show(status);
    const { signals } = this;
    const summary = `${status}: ${reason}`.slice(0, 150);
    await condition(() => this.signals !== signals || this.paused, milliseconds, { summary });
    this.waiting = null;
    await this.whilePaused();
  }

  private async whilePaused(): Promise<void> {
    if (!this.paused) return;
    this.show('paused');
    await condition(() => !this.paused);
  }

  private historyIsFull(plan: StreamPlan | null): boolean {
    const info = workflowInfo();
    return info.continueAsNewSuggested || info.historyLength >= (plan?.historyLimit ?? Infinity);
  }

  private async handOver(): Promise<Outcome> {
    await condition(allHandlersFinished);
    const { database, pass, totals, paused, wait, reopened } = this;
    return { carry: { database, pass, totals, paused, wait, reopened } };
  }

  private openedStream(): OpenedStream {
    if (this.opened === null) throw ApplicationFailure.nonRetryable('the stream has not been opened');
    return this.opened;
  }

  private show(status: Progress['status']): void {
    this.status = status;
    setCurrentDetails(currentDetails(this.progress(), this.stateNow()));
  }

  private stateNow(): { [name: string]: Json } {
    return { ...this.state, checkpoint: this.committed.id };
  }

  private warnings(): Note[] {
    const { rejected } = counted(this.pass);
    const { changes = [] } = this.pass;
    const changed: Note[] = changes.length === 0 ? [] : [{ code: 'schema_changed', message: told(changes) }];
    const aside: Note[] =
      rejected === 0
        ? []
        : [
            {
              code: 'rejected',
              message: `${rejected} records did not fit and were put aside; "highwater rejects" lists them.`,
            },
          ];
    return [...(this.opened?.notes ?? []), ...(this.committed.cursor?.notes ?? []), ...changed, ...aside];
  }

  private progress(): Progress {
    return {
      status: this.status,
      stream: this.opened?.plan.stream ?? '',
      strategy: this.opened?.plan.options.strategy ?? '',
      destination: this.opened?.destination ?? '',
      pass: this.committed.cursor?.pass ?? 0,
      ...counted(this.pass),
      staged: this.staged,
      endRule: this.committed.cursor?.ended ?? null,
      waiting: this.waiting ?? this.wait,
      warnings: this.warnings(),
      totals: { ...this.totals, ...counted(this.totals) },
    };
  }

  private result(plan: StreamPlan): StreamResult {
    return {
      stream: plan.stream,
      strategy: plan.options.strategy,
      ...counted(this.pass),
      endRule: this.committed.cursor?.ended ?? null,
      cursor: this.state,
      warnings: this.warnings(),
    };
  }
}

/** What was done to the table, in a sentence. */
function told(changes: readonly SchemaChange[]): string {
  const shown = changes.slice(-CHANGES_SHOWN).map(({ column, from, to }) => {
    const name = column.slice(0, 60);
    return from === null ? `${name} ${to} is new` : `${name} was ${from}, is ${to}`;
  });
  const more = changes.length - shown.length;
  const others = more === 0 ? '' : `; ${more} more before`;
  return `the table follows its source: ${shown.join(', ')}${others}. The table _highwater_schema_changes has all, and why.`;
}

const counted = ({ changes: _, ...counts }: Counts) => ({
  ...counts,
  rejected: counts.rejected ?? 0,
  deleted: counts.deleted ?? 0,
});

/** Small at first, so that the first rows show within a second or two; then growing to the configured size. */
function budgetOf(limit: BatchBudget, fetches: number): BatchBudget {
  const factor = GROWTH ** Math.min(fetches, 6);
  return {
    rows: Math.min(limit.rows, FIRST_BUDGET.rows * factor),
    bytes: Math.min(limit.bytes, FIRST_BUDGET.bytes * factor),
    seconds: Math.min(limit.seconds, FIRST_BUDGET.seconds * factor),
  };
}

/** Quick at first, then every 10 s, for about so many seconds. */
function retryFor(seconds: number) {
  const first = 0.2;
  const longest = 10;
  let attempts = 1;
  for (let waited = 0, next = first; waited < seconds; next = Math.min(next * 2, longest)) {
    waited += next;
    attempts++;
  }
  return {
    initialInterval: `${first}s`,
    maximumInterval: `${longest}s`,
    backoffCoefficient: 2,
    maximumAttempts: Math.max(attempts, 4),
  } as const;
}

/** A source that refuses without saying for how long is asked once a second, not in a circle. */
function notAtOnce(wait: FetchedPages['wait']): FetchedPages['wait'] {
  const soonest = Date.now() + 1000;
  if (wait === null || Date.parse(wait.until) >= soonest) return wait;
  return { ...wait, until: new Date(soonest).toISOString() };
}

function cause(thrown: unknown): Error | null {
  if (thrown instanceof ActivityFailure) return thrown.cause ?? thrown;
  return thrown instanceof Error ? thrown : null;
}

/** No worker took the task: the one that owns the destination is gone. */
function neverStarted(thrown: unknown): boolean {
  const failure = cause(thrown);
  return failure instanceof TimeoutFailure && failure.timeoutType === 'SCHEDULE_TO_START';
}
