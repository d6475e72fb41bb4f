import {
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  isCancellation,
  log,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  TemporalFailure,
  upsertMemo,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import { ruleFor } from '../failures.js';
import { withoutCredentials } from '../metrics.js';
import type {
  BatchBudget,
  Checkpoint,
  FetchedPages,
  Json,
  LastOpened,
  Note,
  OpenedStream,
  OpenStreamInput,
  Progress,
  RangeFound,
  RangePlan,
  RangeResult,
  SchemaChange,
  StagedBatch,
  StreamPlan,
  StreamResult,
  SyncResult,
  TooManyDeletes,
  Trouble,
  WrittenBatch,
} from '../protocol.js';
import { initialState, NO_COUNTS, type Carry, type Counts, type SourceWait, type Totals } from './carry.js';
import { batchSummary, countText, currentDetails, plural, timerSummary } from './details.js';
import { decideAdvice, DeletesGuard, runAdvice } from './deletes.js';
import { SearchAttributes } from './found-by.js';
import { decideOn, readFailure, retrySeconds, type Failure } from './failure-policy.js';
import { Gauges } from './gauges.js';
import { configureProblem, isHeard } from './inputs.js';
import {
  configurationQuery,
  configurationSignal,
  configureUpdate,
  moveUpdate,
  pauseSignal,
  progressQuery,
  resumeSignal,
  settingsSignal,
  setUpdate,
  stateQuery,
  stopSignal,
  triggerSignal,
} from './messages.js';
import {
  MOVE_REFUSED,
  readTarget,
  refused as moveRefused,
  type Reopened,
  type ReopenRequest,
} from './moves.js';
import { Notices } from './notices.js';
import { partOf } from '../config/part.js';
import { PassLog } from './pass-log.js';
import { checkChange, readChange, withChange, withSettings, type Change, type Settings } from './settings.js';
import { streamName, streamNames } from './streams.js';
import type { SyncOptions } from './sync.js';

type Outcome = { result: StreamResult | null; status: SyncResult['status'] } | { carry: Carry };
/** How a pass stopped. */
type PassEnd = 'drained' | 'history is full' | 'stopped';

/** What was read and waits to be written, and how the pass ended once all of it is read. */
interface Staged {
  batches: { batch: StagedBatch; state: { [name: string]: Json } }[];
  end: PassEnd | null;
}

const HEARTBEAT = '4s';
/** A worker that owns the destination takes a task at once; longer than this and it is gone. */
const OWNER_ANSWERS = '5s';
/** An activity cannot take longer than this, whatever it does; heartbeats notice a dead worker long before. */
const ACTIVITY_LIMIT = '6h';
const FIRST_BUDGET: BatchBudget = { rows: 10_000, bytes: 4 * 1024 * 1024, seconds: 1 };
const GROWTH = 5;
/** Of the changes of a pass so many are kept, and so many told. */
const CHANGES_LIMIT = 100;
const CHANGES_SHOWN = 12;
/** Batches that are read and not yet written, at most; one more may be on its way. */
const STAGED_LIMIT = 3;
const LONGEST_BACK_OFF_SECONDS = 60;
/** What is read or opened when a stop comes may take this long to end. */
const STOP_PATIENCE = '10s';
/** A state that lasts longer than this is shown at once. */
const SHOWN_AT_ONCE_MILLISECONDS = 10_000;

/** The loop of one stream: open, then fetch and write, each fetch overlapping the write before it. */
export class StreamLoop {
  private opened: OpenedStream | null = null;
  private committed: Checkpoint = { id: '', cursor: null };
  private state: { [name: string]: Json } = {};
  private pass: Counts;
  private totals: Totals;
  private status: Progress['status'] = 'opening';
  private paused: boolean;
  /** What the source has asked for and is still to be waited. */
  private wait: SourceWait | null;
  private backOffs: number;
  /** `resume` has ended a wait for the source, which is to be asked at once. */
  private resumed = false;
  /** What is being waited for, whoever asked. */
  private waiting: Progress['waiting'] = null;
  private staged = 0;
  private fetches = 0;
  private reopened: number;
  private database: string | null;
  /** Counts signals, so that a wait can see that one came. */
  private signals = 0;
  /** Counts changes of settings, likewise. */
  private changes = 0;
  private stopping: boolean;
  /** A pass is to follow at once. */
  private triggered: boolean;
  private settings: Settings;
  private trouble: Trouble | null;
  private idle: number;
  private readonly wasContinuous: boolean;
  private range: RangePlan | null;
  private found: RangeFound | null = null;
  private readonly log: PassLog;
  private readonly attributes = new SearchAttributes();
  private readonly gauges: Gauges;
  private readonly notices: Notices;
  private readonly deletes: DeletesGuard;
  private readonly stream: string;
  /** What a stop need not wait for any longer, once its patience is at an end. */
  private readonly interruptible = new Set<CancellationScope>();
  private interrupted = false;
  /** What waits for the stream to be opened anew; the first comes first. */
  private asked: ReopenRequest[];
  /** Something was asked that no opening has been tried with. */
  private unheard = false;
  /** Somebody in this run waits for what comes of it. */
  private readonly awaited = new Set<string>();
  /** What has come of it: null where it was done, or why it was refused. */
  private readonly answers = new Map<string, ApplicationFailure | null>();
  /** The reading of the pass in hand, which a move makes stale. */
  private reading: CancellationScope | null = null;
  /** The run comes to its end: what is asked now is not done in it. */
  private over: 'ended' | 'as new' | null = null;
  private last: LastOpened | null;
  /** What nobody waits for an answer of. */
  private remarks: Note[];

  /** What it works by: of several streams the part of its own. */
  public configuration: Json;

  constructor(
    configuration: Json,
    private readonly options: SyncOptions,
  ) {
    const carry = initialState(options, workflowInfo().firstExecutionRunId);
    this.configuration = this.ownPart(configuration);
    this.pass = carry.counts.pass;
    this.totals = carry.counts.totals;
    this.idle = carry.counts.idlePasses;
    this.paused = carry.control.isPaused;
    this.stopping = carry.control.isStopping;
    this.triggered = carry.control.isTriggered;
    this.settings = carry.control.settings;
    this.wait = carry.source.wait;
    this.backOffs = carry.source.backOffs;
    this.trouble = carry.failures.trouble;
    this.reopened = carry.failures.reopenings;
    this.database = carry.stream.database;
    this.wasContinuous = carry.stream.isContinuous;
    this.last = carry.stream.lastOpened;
    this.range = carry.stream.range;
    this.log = new PassLog(carry.log);
    this.asked = carry.reopening.requests;
    this.remarks = carry.reopening.refusals;
    this.stream = options.stream ?? streamName(configuration);
    this.gauges = new Gauges(this.stream, { trouble: this.trouble, totals: this.totals });
    this.notices = new Notices(
      this.told(configuration),
      this.stream,
      () => this.log.completeAsOf,
      carry.notices,
    );
    this.deletes = new DeletesGuard(this.stream, () => this.status, carry.decision);
    setHandler(pauseSignal, () => void (this.paused = true), {
      description: 'Stop after the batch in hand, until resume.',
    });
    setHandler(
      resumeSignal,
      () => {
        this.paused = false;
        this.signals++;
        // The operator has been told what that means.
        if (ruleFor(this.trouble?.type).resumeStartsOver === true) this.database = null;
      },
      {
        description:
          'Go on; also ends a wait that the source asked for, or the sleep between passes, and tries again what has failed.',
      },
    );
    setHandler(stopSignal, () => this.stop(), {
      description: 'End after the batch in hand. The next sync goes on from there.',
    });
    setHandler(triggerSignal, () => void (this.triggered = true), {
      description: 'Make a pass now, or once more after the one in hand.',
    });
    setHandler(
      settingsSignal,
      (change) => {
        if (isHeard('change', change)) this.change(change);
      },
      { description: 'What a sync of several streams hands on to each; use the update "set".' },
    );
    setHandler(
      setUpdate,
      async (raw) => {
        await condition(() => this.opened !== null || this.over !== null);
        const change = readChange(raw);
        checkChange(change, this.openedStream().plan);
        this.change(change);
        return this.settings;
      },
      {
        validator: (raw) => {
          const change = readChange(raw);
          if (this.opened !== null) checkChange(change, this.opened.plan);
        },
        description:
          'Change settings while it runs, from the next batch on: {"interval": "15m", "page_size": 50, "rate": 2}; "default" takes one back.',
      },
    );
    setHandler(moveUpdate, (raw) => this.ask({ id: uuid4(), kind: 'move', to: readTarget(raw) }), {
      validator: (raw) => {
        readTarget(raw);
        const problem = this.cannotReopen();
        if (problem !== null) throw moveRefused(problem);
      },
      description:
        'Move the cursor, here and in the destination together: {"to": "start"}, {"to": "2026-11-22T10:00:00Z"} (where it ' +
        'stood then), {"to": "BATCH"}, or {"state": {"last_updated_at": "…"}}.',
    });
    setHandler(
      configureUpdate,
      (configuration, hash?: string) => this.ask(this.askedToConfigure(configuration, hash)),
      {
        validator: (configuration: Json, hash?: string) => {
          const problem =
            this.cannotReopen() ??
            configureProblem(configuration, hash) ??
            configurationProblem(configuration, this.options.stream ?? null);
          if (problem !== null) throw changeRefused(problem);
        },
        description:
          'Go on with another configuration of the same sync: the whole of it, as it is started with. Table, strategy, ' +
          'source and destination stay.',
      },
    );
    setHandler(
      configurationSignal,
      (configuration, hash?: string) => {
        if (!isHeard('configure', { configuration, ...(hash !== undefined && { hash }) })) return;
        this.asked.push(this.askedToConfigure(configuration, hash));
        this.hear();
      },
      { description: 'What a sync of several streams hands on to each; use the update "configure".' },
    );
    setHandler(configurationQuery, () => this.configuration, {
      description: 'The configuration that it works by; secrets in it are references.',
    });
    setHandler(stateQuery, () => this.stateNow(), {
      description: "The committed cursor, under the names of the reference connector's state.",
    });
    setHandler(progressQuery, () => this.progress(), {
      description: 'Status, counts, warnings, and what is being waited for.',
    });
  }

  private ownPart(configuration: Json): Json {
    const { stream } = this.options;
    return stream === undefined ? configuration : partOf(configuration, stream);
  }

  private askedToConfigure(whole: Json, hash = ''): ReopenRequest {
    const configuration = this.ownPart(whole);
    return { id: uuid4(), kind: 'configure', configuration, ...(hash !== '' && { hash }) };
  }

  async run(): Promise<Outcome> {
    try {
      return await this.loop();
    } catch (thrown) {
      if (isCancellation(thrown)) {
        this.show('cancelled');
        // What has been read of it stays written, and nobody goes on with it.
        await CancellationScope.nonCancellable(() => this.forgetRange());
      }
      throw thrown;
    }
  }

  private async loop(): Promise<Outcome> {
    this.notices.begin();
    for (;;) {
      let end: PassEnd;
      try {
        if (this.stopping) {
          // A backfill goes on from there when it is started again; of an audit nothing is left to go on with.
          if (this.range?.kind === 'audit') await this.forgetRange();
          return await this.end('stopped');
        }
        this.triggered = false;
        await this.open();
        if (this.options.moveOnly === true && this.asked.length === 0) return await this.end('moved');
        if (this.unheard) continue;
        end = await this.drain();
      } catch (thrown) {
        if (isCancellation(thrown) && (this.interrupted || this.unheard)) continue;
        if (isCancellation(thrown)) throw thrown;
        if (this.unheard && thrown instanceof TemporalFailure && !isMoveRefused(thrown)) continue;
        await this.afterFailure(thrown);
        if (this.historyIsFull() && !this.unheard) return this.handOver();
        continue;
      }
      if (end !== 'history is full') this.trouble = null;
      if (end === 'drained') this.notices.goesWell(true, this.status);
      if (end === 'drained' && this.range !== null) {
        try {
          await this.concludeRange(this.range);
          return await this.end('drained');
        } catch (thrown) {
          if (isCancellation(thrown)) throw thrown;
          await this.afterFailure(thrown);
          continue;
        }
      }
      if (this.stopping || this.unheard) continue;
      if (end === 'history is full') return this.handOver();
      if (this.interval() === null) {
        if (!this.triggered) return this.end('drained');
      } else {
        const ended = Date.now();
        if (!this.triggered)
          await this.sleep('sleeping', () => ended + (this.interval() ?? 0) * 1000, 'until the next pass');
        if (this.stopping || this.unheard) continue;
      }
      this.pass = NO_COUNTS;
      if (this.historyIsFull()) return this.handOver();
    }
  }

  /** The end of the sync, once everybody who asked has been answered. */
  private async end(how: 'drained' | 'stopped' | 'moved'): Promise<Outcome> {
    // A sync that makes one pass and was stopped when it was through is through.
    const isThrough =
      this.range === null &&
      this.interval() === null &&
      this.committed.cursor?.ended != null &&
      this.trouble === null;
    this.show(how);
    this.over = 'ended';
    await this.notices.end();
    await condition(allHandlersFinished);
    const result = this.opened === null ? null : this.result(this.opened.plan);
    if (how === 'moved') return { result, status: how };
    return { result, status: how === 'drained' || isThrough ? 'completed' : 'stopped' };
  }

  /** The configuration by which a webhook is told; who asks for a range, or only for a move, looks at what comes of it. */
  private told(configuration: Json): Json {
    return this.options.range === undefined && this.options.moveOnly !== true ? configuration : null;
  }

  /** Why nothing can be asked that needs the stream opened anew, or null. */
  private cannotReopen(): string | null {
    if (this.options.range !== undefined)
      return `it is the ${this.options.range.kind} of a range, and keeps to it; ask the sync itself`;
    return this.stopping || this.over === 'ended' ? ENDING : null;
  }

  /** Has something done that needs the stream opened anew, and waits for what comes of it. */
  private async ask(asked: ReopenRequest): Promise<Reopened> {
    this.asked.push(asked);
    this.awaited.add(asked.id);
    this.hear();
    await condition(() => this.answers.has(asked.id) || this.over !== null);
    const refusal = this.answers.get(asked.id);
    if (refusal === undefined && this.over === 'ended')
      throw asked.kind === 'move' ? moveRefused(ENDING) : changeRefused(ENDING);
    if (refusal !== undefined && refusal !== null) throw refusal;
    return { done: refusal === null, state: this.stateNow() };
  }

  /** Ends whatever is in hand, so that the stream is opened anew. A write on its way is waited for. */
  private hear(): void {
    this.unheard = true;
    this.reading?.cancel();
  }

  /** What was asked first has been done, or refused. */
  private answer(asked: ReopenRequest, refusal: ApplicationFailure | null): void {
    this.asked = this.asked.filter((one) => one !== asked);
    if (this.asked.length > 0) this.unheard = true;
    this.answers.set(asked.id, refusal);
    if (refusal === null) return;
    if (asked.id === workflowInfo().firstExecutionRunId) throw refusal;
    // Handed on by another workflow, or by the run before: nobody waits for an answer.
    if (!this.awaited.has(asked.id))
      this.remarks = [{ code: `${asked.kind}_refused`, message: refusal.message }];
  }

  private stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    void (async () => {
      await condition(() => this.interruptible.size === 0, STOP_PATIENCE, {
        summary: 'stop: the batch in hand',
      });
      if (this.interruptible.size > 0) this.interrupted = true;
      for (const scope of this.interruptible) scope.cancel();
    })();
  }

  private change(change: Change): void {
    this.settings = withChange(this.settings, change);
    this.changes++;
  }

  /** The plan as the settings make it now. */
  private plan(): StreamPlan {
    return withSettings(this.openedStream().plan, this.settings);
  }

  /** Seconds until the next pass; null where there is none. */
  private interval(): number | null {
    if (this.opened === null) return null;
    const { intervalSeconds, idleIntervalSeconds } = this.plan();
    if (intervalSeconds === null || idleIntervalSeconds === undefined) return intervalSeconds;
    return Math.min(Math.max(intervalSeconds, idleIntervalSeconds), intervalSeconds * 2 ** this.idle);
  }

  /** Whether it makes pass after pass, also while the stream could not be opened again yet. */
  private goesOn(): boolean {
    return this.opened === null ? this.wasContinuous : this.opened.plan.intervalSeconds !== null;
  }

  /** Opens the stream where its destination is. */
  private async open(): Promise<OpenedStream> {
    // A sync that fails does so until it could be opened: each try takes its time.
    if (this.status !== 'failing') this.show('opening');
    this.unheard = false;
    const [asked] = this.asked;
    const startsAnew = asked?.kind === 'move' && 'start' in asked.to;
    const input: OpenStreamInput = {
      configuration: asked?.kind === 'configure' ? asked.configuration : this.configuration,
      stream: this.options.stream ?? null,
      full: this.options.full ?? false,
      // Once: who has taken the stream over does not take it back from the next one.
      takeOver: (this.options.takeOver ?? false) && this.database === null,
      firstRunId: workflowInfo().firstExecutionRunId,
      expectDatabase:
        startsAnew && ruleFor(this.trouble?.type).resumeStartsOver === true ? null : this.database,
      ...(asked?.kind === 'move' && { move: { id: asked.id, to: asked.to } }),
      ...(asked?.kind === 'configure' && { change: { id: asked.id, from: this.last } }),
      ...(this.options.range !== undefined && { range: this.range ?? this.options.range }),
    };
    const scope = new CancellationScope();
    this.interruptible.add(scope);
    const opened = await scope
      .run(() => this.openWhereItIs(input))
      .catch((thrown: unknown) => {
        if (asked?.kind !== 'configure' || !(thrown instanceof Error)) throw thrown;
        const { rule, reason, type } = readFailure(thrown);
        if (rule.refusesConfiguration !== true) throw thrown;
        this.answer(asked, changeRefused(reason, type));
        return null;
      })
      .finally(() => this.interruptible.delete(scope));
    if (opened === null) return this.open();
    this.opened = opened;
    this.range = opened.plan.range ?? null;
    this.database = opened.database;
    this.committed = opened.checkpoint;
    this.state = opened.state;
    this.last = { plan: opened.plan, destination: opened.destination };
    if (asked !== undefined) this.reopenedFor(asked, opened);
    return opened;
  }

  private reopenedFor(asked: ReopenRequest, { moved, configurationHash }: OpenedStream): void {
    if (asked.kind === 'move') {
      const problem = moved?.refused ?? null;
      if (problem === null) {
        this.pass = NO_COUNTS;
        this.idle = 0;
        this.log.forget();
        this.deletes.forget();
      }
      this.answer(asked, problem === null ? null : moveRefused(problem));
      return;
    }
    this.configuration = asked.configuration;
    this.notices.configure(this.told(asked.configuration));
    this.remarks = [];
    upsertMemo({ configuration: asked.hash ?? configurationHash ?? '' });
    this.answer(asked, null);
  }

  private async openWhereItIs(input: OpenStreamInput): Promise<OpenedStream> {
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
    return opened;
  }

  /**
   * Makes a pass, from begin or from where it was left, until it ends: one reads, one writes, and at most a set
   * number of batches lie between them.
   */
  private async drain(): Promise<PassEnd> {
    const [reading, writing] = [new CancellationScope(), new CancellationScope()];
    const staged: Staged = { batches: [], end: null };
    const { cursor } = this.committed;
    if (cursor === null || cursor.ended !== null) {
      this.log.begin();
      this.pass = NO_COUNTS;
    }
    this.interruptible.add(reading);
    this.reading = reading;
    const both = [reading.run(() => this.read(staged)), writing.run(() => this.writeAll(staged, writing))];
    try {
      await Promise.all(both);
    } finally {
      this.reading = null;
      reading.cancel();
      if (this.unheard) {
        // Writes on their way are in time, what is only staged is not.
        staged.batches.length = 0;
        staged.end ??= 'stopped';
      } else writing.cancel();
      // The one that did not fail must not go on beside the next pass.
      await Promise.allSettled(both);
      this.interruptible.delete(reading);
      this.staged = 0;
    }
    if (staged.end === 'drained') {
      this.deletes.forget();
      this.totals = { ...this.totals, passes: this.totals.passes + 1 };
      const { rows, deleted } = counted(this.pass);
      this.idle = rows + deleted === 0 ? this.idle + 1 : 0;
      const endRule = this.committed.cursor?.ended ?? null;
      this.log.end(endRule, counted(this.pass), this.range === null);
      const { seconds, pages, records } = this.log.recent[0] ?? {};
      log.info('pass ended', { stream: this.stream, endRule, seconds, pages, records, rows, deleted });
    }
    return staged.end ?? 'history is full';
  }

  private async read(staged: Staged): Promise<void> {
    let from = this.committed;
    for (let begin = true; staged.end === null; begin = false) {
      await condition(() => this.staged < STAGED_LIMIT || this.stopping);
      if ((this.wait !== null || this.paused) && !this.stopping) {
        // What has been read is written first, whatever the wait.
        await condition(() => this.staged === 0);
        await this.waitForSource();
        await this.whilePaused();
      }
      if (this.stopping) {
        staged.end = 'stopped';
        return;
      }
      this.show('running');
      const fetched = await this.fetch(from, begin).catch(async (thrown: unknown) => {
        if (this.interrupted && isCancellation(thrown)) return null;
        // What has been read is written first, whatever comes of the rest.
        await condition(() => this.staged === 0);
        throw thrown;
      });
      if (fetched === null) continue;
      this.wait = this.nextWait(fetched);
      this.staged += fetched.batches.length;
      from = { id: fetched.batches.at(-1)?.next ?? from.id, cursor: fetched.cursor };
      if (fetched.cursor.ended !== null) staged.end = 'drained';
      else if (this.historyIsFull()) staged.end = 'history is full';
      staged.batches.push(
        ...fetched.batches.map((batch) => ({ batch: this.deletes.noted(batch), state: fetched.state })),
      );
    }
  }

  /**
   * Writes what is staged, in order. While one write is in hand the next one is on its way already, and waits where it is
   * written: there is nothing to wait for between the two.
   * @param scope all of this, which ends with the first write that fails.
   */
  private async writeAll(staged: Staged, scope: CancellationScope): Promise<void> {
    let inHand = 0;
    let before = Promise.resolve();
    const isOver = () => staged.batches.length === 0 && staged.end !== null;
    const writeNext = async (): Promise<void> => {
      const next = staged.batches.shift();
      if (next === undefined) return;
      const { batch, state } = next;
      // Batches that one answer was cut into share its state, which the last of them makes true.
      const isTrue = batch.cursor.ended !== null || staged.batches[0]?.state !== state;
      const written = this.write(batch, state, inHand++);
      written.catch(() => undefined);
      before = before.then(async () => {
        this.wrote(batch, await written);
        if (isTrue) this.state = state;
        this.show(this.status);
      });
      await before.finally(() => inHand--);
    };
    const first = async () => {
      for (;;) {
        await condition(() => staged.batches.length > 0 || staged.end !== null);
        if (isOver()) return;
        await writeNext();
      }
    };
    const second = async () => {
      for (;;) {
        await condition(() => (inHand === 1 && staged.batches.length > 0) || isOver());
        if (isOver()) return;
        await writeNext();
      }
    };
    const both = [first(), second()];
    try {
      await Promise.all(both);
    } finally {
      scope.cancel();
      await Promise.allSettled(both);
    }
  }

  /**
   * The wait that a source asks for, by the clock of the Temporal server. Where it does not say for how long, each wait
   * is twice as long as the one before, until a page is read.
   */
  private nextWait({ wait, batches }: FetchedPages): SourceWait | null {
    const isRead = batches.length > 0;
    if (wait === null || isRead) this.backOffs = 0;
    if (wait === null) return null;
    const { reason } = wait;
    const seconds = wait.seconds ?? Math.min(2 ** this.backOffs++, LONGEST_BACK_OFF_SECONDS);
    const until = new Date(Date.now() + (isRead ? seconds : Math.max(seconds, 1)) * 1000).toISOString();
    return { until, reason: wait.seconds === null ? `${reason}, without saying for how long` : reason };
  }

  private fetch(base: Checkpoint, begin: boolean): Promise<FetchedPages> {
    const plan = this.plan();
    const { resumed } = this;
    this.resumed = false;
    const budget = budgetOf(plan.batch, this.fetches++);
    const { fetchPages } = this.onDestination(plan);
    return fetchPages.executeWithOptions(
      { ...this.destinationOptions(plan), summary: `read up to ${countText(budget.rows)} records` },
      [
        {
          ...{ plan, destination: this.openedStream().destination, base, budget, begin },
          ...(resumed && { resumed }),
        },
      ],
    );
  }

  /** @param before how many writes are still in hand before it. */
  private write(batch: StagedBatch, state: { [name: string]: Json }, before: number): Promise<WrittenBatch> {
    const plan = this.plan();
    const { writeBatch } = this.onDestination(plan);
    const summary = batchSummary(this.totals.batches + before + 1, batch, state);
    const { destination } = this.openedStream();
    return writeBatch.executeWithOptions({ ...this.destinationOptions(plan), summary }, [
      { plan, destination, batch, ...(before > 0 && { behind: true }), ...this.deletes.permission(batch) },
    ]);
  }

  private wrote(batch: StagedBatch, written: WrittenBatch): void {
    this.staged--;
    this.reopened = 0;
    this.trouble = null;
    this.notices.goesWell(false, this.status);
    this.log.wrote(batch.records);
    const { cursor } = batch;
    const { notes = [] } = written;
    this.committed = {
      id: batch.next,
      cursor: notes.length === 0 ? cursor : { ...cursor, notes: [...cursor.notes, ...notes] },
    };
    const add = (counts: Counts): Counts => ({
      pages: counts.pages + batch.pages,
      records: counts.records + batch.records,
      rows: counts.rows + written.rows,
      batches: counts.batches + 1,
      rejected: counts.rejected + (written.rejected ?? 0),
      deleted: counts.deleted + (written.deleted ?? 0),
      changes: [...counts.changes, ...(written.changes ?? [])].slice(-CHANGES_LIMIT),
      outside: counts.outside + (batch.outside ?? 0),
      left: counts.left + (written.left ?? 0),
    });
    this.pass = add(this.pass);
    this.totals = { ...add(this.totals), changes: [], passes: this.totals.passes };
  }

  /** The last look at a range that was read to its end; what is kept of it goes. */
  private async concludeRange({ kind }: RangePlan): Promise<void> {
    const plan = this.plan();
    const { destination } = this.openedStream();
    const { cursor } = this.committed;
    if (kind === 'audit' && cursor !== null) {
      const { concludeRange } = this.onDestination(plan);
      const met = this.pass.records + this.pass.outside;
      this.found = await concludeRange.executeWithOptions(
        { ...this.destinationOptions(plan), summary: 'compare with what the source does not have' },
        [{ plan, destination, cursor, met }],
      );
    }
    await this.forgetRange();
  }

  private async forgetRange(): Promise<void> {
    if (this.opened === null || this.range === null) return;
    const plan = this.plan();
    const { forgetRange } = this.onDestination(plan);
    // Where that fails it goes with a later range of the table.
    await forgetRange
      .executeWithOptions(
        { ...this.destinationOptions(plan), retry: retryFor(10), summary: 'forget the range' },
        [{ plan, destination: this.opened.destination }],
      )
      .catch((thrown: unknown) => {
        if (isCancellation(thrown)) throw thrown;
      });
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
   * Waits until the stream is to be reopened.
   * @throws {ApplicationFailure} the end, with the cause's own words first.
   */
  private async afterFailure(thrown: unknown): Promise<void> {
    // An error of this code itself fails no sync: Temporal holds the workflow until a worker is put right.
    if (!(thrown instanceof TemporalFailure)) throw thrown;
    const failure = readFailure(thrown);
    const { type, reason } = failure;
    const decision = decideOn(failure, {
      isContinuous: this.goesOn(),
      reopenings: this.reopened,
      waitsForApproval: this.options.waitForApproval !== false,
    });
    switch (decision.kind) {
      case 'reopen':
        this.reopened++;
        return decision.seconds > 0 ? this.beforeReopening(failure, decision) : undefined;
      case 'ask':
        return this.whileAsking(type, reason, decision.question);
      case 'retry':
        return this.whileFailing(type, reason);
      case 'block':
        return this.whileBlocked(type, reason);
      case 'end':
        return this.endWith(failure);
    }
  }

  private async endWith({ type, reason, rule, question }: Failure): Promise<never> {
    const said = question === null ? reason : `${reason}\n${runAdvice(question)}`;
    if (rule.isRefusal !== true) {
      this.trouble = this.troubled('failed', type, said, null);
      this.show('failed');
    }
    // Whoever asks for something now is told that it is over.
    this.over = 'ended';
    await this.notices.end();
    await condition(allHandlersFinished);
    throw ApplicationFailure.nonRetryable(said, type, ...(question === null ? [] : [question]));
  }

  /** Waits before the stream is opened again; where that keeps failing, it is trouble. */
  private async beforeReopening(
    { type, reason }: Failure,
    { seconds, isShown }: { seconds: number; isShown: boolean },
  ): Promise<void> {
    if (!isShown) return this.sleepFor(seconds, 'waiting', reason);
    this.trouble = this.troubled('failing', type, reason, seconds);
    return this.sleepFor(seconds, 'failing', reason);
  }

  /** Tries again by itself, ever less often. */
  private async whileFailing(type: string, reason: string): Promise<void> {
    const seconds = retrySeconds(this.interval(), this.trouble?.failures ?? 0);
    this.trouble = this.troubled('failing', type, reason, seconds);
    await this.sleepFor(seconds, 'failing', reason);
  }

  /** Waits until somebody has mended it. */
  private async whileBlocked(type: string, reason: string): Promise<void> {
    this.trouble = this.troubled('blocked', type, reason, null);
    const { signals } = this;
    this.show('blocked');
    await condition(() => this.signals !== signals || this.triggered || this.stopping || this.unheard);
    await this.whilePaused();
  }

  /** Waits until the deletes of a pass are approved or rejected, or something else is asked of the sync. */
  private async whileAsking(type: string, reason: string, question: TooManyDeletes): Promise<void> {
    const message = `${reason}\n${decideAdvice(workflowInfo().workflowId)}`;
    this.trouble = this.troubled('blocked', type, message, null, question);
    const { signals } = this;
    this.deletes.ask(question, this.trouble);
    this.show('blocked');
    const goesOn = () =>
      this.deletes.isDecided || this.signals !== signals || this.triggered || this.stopping || this.unheard;
    await condition(goesOn);
    this.deletes.settle();
    await this.whilePaused();
  }

  private troubled(
    status: 'failing' | 'blocked' | 'failed',
    type: string,
    message: string,
    seconds: number | null,
    deletes?: TooManyDeletes,
  ): Trouble {
    const now = Date.now();
    const trouble = {
      ...{ type, message, since: this.trouble?.since ?? new Date(now).toISOString() },
      failures: (this.trouble?.failures ?? 0) + 1,
      nextTry: seconds === null ? null : new Date(now + seconds * 1000).toISOString(),
      ...(deletes !== undefined && { deletes }),
    };
    this.notices.failing(status, trouble);
    log.warn(status, { stream: this.stream, type, reason: message, until: trouble.nextTry });
    return trouble;
  }

  private async waitForSource(): Promise<void> {
    const { wait } = this;
    if (wait === null) return;
    this.wait = null;
    const milliseconds = Date.parse(wait.until) - Date.now();
    if (milliseconds <= 0) return;
    const { signals } = this;
    try {
      await this.sleepFor(milliseconds / 1000, 'waiting', wait.reason);
      this.resumed = this.signals !== signals;
    } finally {
      this.waiting = null;
      // A move does not make the source readier.
      if (this.unheard && !this.paused) this.wait = wait;
    }
  }

  private sleepFor(seconds: number, status: Progress['status'], reason: string): Promise<void> {
    const until = Date.now() + seconds * 1000;
    return this.sleep(status, () => until, reason);
  }

  /**
   * A named timer that pause, resume and stop end, and trigger where it is not the source that has asked for it.
   * @param until asked again when settings change.
   */
  private async sleep(status: Progress['status'], until: () => number, reason: string): Promise<void> {
    const { signals } = this;
    const summary = timerSummary(status, reason);
    const isWoken = () =>
      this.signals !== signals ||
      this.paused ||
      this.stopping ||
      this.unheard ||
      (this.triggered && status !== 'waiting');
    for (let left = until() - Date.now(); left > 0 && !isWoken(); left = until() - Date.now()) {
      const { changes } = this;
      this.waiting = { until: new Date(Date.now() + left).toISOString(), reason };
      this.show(status);
      if (status !== 'failing') log.info(status, { stream: this.stream, ...this.waiting });
      if (!(await condition(() => isWoken() || this.changes !== changes, left, { summary }))) break;
    }
    this.waiting = null;
    await this.whilePaused();
  }

  private async whilePaused(): Promise<void> {
    if (!this.paused || this.stopping || this.unheard) return;
    this.show('paused');
    await condition(() => !this.paused || this.stopping || this.unheard);
  }

  private historyIsFull(): boolean {
    const info = workflowInfo();
    return info.continueAsNewSuggested || info.historyLength >= (this.opened?.plan.historyLimit ?? Infinity);
  }

  private async handOver(): Promise<Outcome> {
    const notices = await this.notices.handOver();
    // What signals say while these wait is handed over too.
    this.over = 'as new';
    await condition(allHandlersFinished);
    return {
      carry: {
        version: 1,
        stream: {
          database: this.database,
          isContinuous: this.goesOn(),
          lastOpened: this.last,
          range: this.range,
        },
        counts: { pass: this.pass, totals: this.totals, idlePasses: this.idle },
        log: this.log.carry(),
        control: {
          isPaused: this.paused,
          isStopping: this.stopping,
          isTriggered: this.triggered,
          settings: this.settings,
        },
        reopening: { requests: this.asked, refusals: this.remarks },
        source: { wait: this.wait, backOffs: this.backOffs },
        failures: { trouble: this.trouble, reopenings: this.reopened },
        notices,
        decision: this.deletes.carry(),
      },
    };
  }

  private openedStream(): OpenedStream {
    if (this.opened === null) throw ApplicationFailure.nonRetryable('the stream has not been opened');
    return this.opened;
  }

  private show(status: Progress['status']): void {
    this.status = status;
    const progress = this.progress();
    setCurrentDetails(currentDetails(progress, this.stateNow(), Date.now()));
    this.gauges.show(progress);
    if (this.opened?.searchAttributes === true && status !== 'opening') this.showAttributes(this.opened);
  }

  private showAttributes({ plan, destination }: OpenedStream): void {
    const { status, waiting, totals } = this;
    const { completeAsOf, recent } = this.log;
    const [last] = recent;
    const lasts = waiting === null ? Infinity : Date.parse(waiting.until) - Date.now();
    this.attributes.show(
      {
        HighwaterStrategy: plan.options.strategy,
        HighwaterStream: plan.stream,
        HighwaterDestination: withoutCredentials(destination),
        HighwaterStatus: status,
        HighwaterLastPassEnd: last === undefined ? null : new Date(last.ended),
        HighwaterRows: totals.rows,
        HighwaterLagSeconds:
          completeAsOf === null ? null : Math.round((Date.now() - Date.parse(completeAsOf)) / 1000),
      },
      status !== 'running' && lasts >= SHOWN_AT_ONCE_MILLISECONDS,
    );
  }

  private stateNow(): { [name: string]: Json } {
    return { ...this.state, checkpoint: this.committed.id };
  }

  private warnings(): Note[] {
    const { rejected, changes } = this.pass;
    const changed: Note[] = changes.length === 0 ? [] : [{ code: 'schema_changed', message: told(changes) }];
    const aside: Note[] =
      rejected === 0
        ? []
        : [
            {
              code: 'rejected',
              message: `${plural(rejected, 'record')} did not fit and ${rejected === 1 ? 'was' : 'were'} put aside; "highwater rejects" lists them.`,
            },
          ];
    return [
      ...this.remarks,
      ...(this.opened?.notes ?? []),
      ...(this.committed.cursor?.notes ?? []),
      ...changed,
      ...aside,
    ];
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
      trouble: this.trouble,
      recordsPerSecond: this.log.recordsPerSecond(),
      completeAsOf: this.log.completeAsOf,
      recent: this.log.recent,
      settings: this.settings,
      streams: [],
      warnings: this.warnings(),
      totals: { ...counted(this.totals), passes: this.totals.passes },
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
      ...(this.range !== null && { range: rangeResult(this.range, this.pass, this.found) }),
    };
  }
}

const ENDING = 'it comes to its end';

const isMoveRefused = (thrown: unknown) =>
  thrown instanceof ApplicationFailure && thrown.type === MOVE_REFUSED;

const changeRefused = (problem: string, type: string | null = null) =>
  ApplicationFailure.nonRetryable(
    `the configuration was not changed: ${problem}`,
    type ?? 'ChangeRefusedError',
  );

/** What can be seen of a configuration here; an activity checks the rest. */
function configurationProblem(configuration: Json, stream: string | null): string | null {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration))
    return 'it must be an object of keys and values';
  const names = streamNames(configuration);
  if (stream !== null && names.length === 0) return `it has no streams; ${stream} is one of several`;
  if (stream !== null && !names.includes(stream)) return `it has no stream ${stream}`;
  if (stream === null && names.length > 1)
    return 'it has several streams, and the sync that runs has one: stop it, and start the other';
  return null;
}

function rangeResult({ kind, from, to }: RangePlan, pass: Counts, found: RangeFound | null): RangeResult {
  const { missing, stale, extra, twice, changed, extraUnknown } = found ?? {};
  const { records, rows, outside, left } = pass;
  const differing = [missing, stale, extra, twice].some((one) => one != null && one.count > one.repaired);
  return {
    ...{ kind, from, to, records, outside, rows, left },
    differences:
      missing === undefined || stale === undefined
        ? null
        : {
            ...{ missing, stale, extra: extra ?? null, changed: changed ?? 0 },
            ...(twice !== undefined && { twice }),
          },
    extraUnknown: extraUnknown ?? null,
    equal: found === null ? null : !differing,
  };
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

const counted = ({ pages, records, rows, batches, rejected, deleted }: Counts) => ({
  ...{ pages, records, rows, batches, rejected, deleted },
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
