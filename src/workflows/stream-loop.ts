import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  isCancellation,
  log,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  TemporalFailure,
  TimeoutFailure,
  upsertMemo,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import { withoutCredentials } from '../metrics.js';
import type {
  BatchBudget,
  CHANGES,
  Checkpoint,
  FetchedPages,
  Json,
  Note,
  LastOpened,
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
import { batchSummary, countText, currentDetails, plural, timerSummary } from './details.js';
import { decideAdvice, DeletesGuard, runAdvice, type DecisionCarry } from './deletes.js';
import { SearchAttributes } from './found-by.js';
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
import { MOVE_REFUSED, readTarget, refused as moveRefused, type Asked, type Reopened } from './moves.js';
import { Notices, type NoticesCarry } from './notices.js';
import { partOf } from '../config/part.js';
import { PassLog, type PassLogCarry } from './pass-log.js';
import { questionOf } from './questions.js';
import { checkChange, readChange, withChange, withSettings, type Change, type Settings } from './settings.js';
import { streamName, streamNames } from './streams.js';
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
  /** Of a range: records that are not of it, and rows that were not written. */
  outside?: number;
  left?: number;
}

interface Totals extends Counts {
  passes: number;
}

/** What one run hands to the next when the workflow continues as new. */
export interface Carry {
  /** Null before the stream was opened. */
  database: string | null;
  pass: Counts;
  totals: Totals;
  paused: boolean;
  /** A wait in hand: the next run goes on with it. */
  wait: FetchedPages['wait'];
  /** How often the stream was opened again since a batch was written. */
  reopened: number;
  /** Waits in a row whose length the source did not say; absent from what older versions hand over. */
  backOffs?: number;
  // Absent from what older versions hand over.
  /** Whether it makes pass after pass. */
  goesOn?: boolean;
  stopping?: boolean;
  triggered?: boolean;
  settings?: Settings;
  trouble?: Trouble | null;
  /** Passes in a row that brought nothing. */
  idle?: number;
  log?: PassLogCarry;
  asked?: Asked[];
  last?: LastOpened | null;
  remarks?: Note[];
  notices?: NoticesCarry;
  /** The range that is read, as it began. */
  range?: RangePlan;
  /** A decision that has not been carried out yet. */
  deletes?: DecisionCarry;
}

type Outcome = { result: StreamResult | null; status: SyncResult['status'] } | { carry: Carry };
/** How a pass stopped. */
type PassEnd = 'drained' | 'history is full' | 'stopped';

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
const FIRST_BUDGET: BatchBudget = { rows: 10_000, bytes: 4 * 1024 * 1024, seconds: 1 };
const GROWTH = 5;
/** Re-opening the stream more often than this without a batch written means that it does not help. */
const REOPEN_LIMIT = 1000;
/** Of the changes of a pass so many are kept, and so many told. */
const CHANGES_LIMIT = 100;
const CHANGES_SHOWN = 12;
/** Batches that are read and not yet written, at most; one more may be on its way. */
const STAGED_LIMIT = 3;
const LONGEST_BACK_OFF_SECONDS = 60;
const DESTINATION_GONE = 'DestinationGoneError';
/** A sync that goes on for ever asks a source that fails no less often than this. */
const LONGEST_FAILING_SECONDS = 5 * 60;
/** Failures that such a sync waits out. */
const MAY_PASS = [
  'SourceUnavailableError',
  'SecretUnavailableError',
  'DestinationBusyError',
  'StorageFullError',
  // It comes back, or `resume` has the sync start over with what is there instead.
  DESTINATION_GONE,
];
/** Failures that opening the stream again mends. */
const REOPENED = ['BatchLostError', 'DestinationElsewhereError', 'TableGoneError'];
/** Opening again this often in a row without a batch written is trouble, and shown as such. */
const QUIET_REOPENINGS = 2;
/** The source answers nonsense: it may answer well again by itself. */
const MAY_HEAL = ['MalformedAnswerError', 'ContradictingAnswerError'];
/** Somebody else has the stream now: nothing that could be mended here. */
const TAKEN = ['CheckpointConflictError', 'StreamHeldError'];
/** What an opening says where a new configuration is of no use. */
const CANNOT_BE_CONFIGURED = [
  'ConfigurationError',
  'NotAllowedError',
  'ChangeRefusedError',
  'DestinationError',
];
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
  private wait: FetchedPages['wait'];
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
  private range: RangePlan | undefined;
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
  private asked: Asked[];
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
    const { carry } = options;
    this.configuration = this.ownPart(configuration);
    this.pass = carry?.pass ?? NOTHING;
    this.totals = carry?.totals ?? { ...NOTHING, passes: 0 };
    this.paused = carry?.paused ?? false;
    this.wait = carry?.wait ?? null;
    this.backOffs = carry?.backOffs ?? 0;
    this.reopened = carry?.reopened ?? 0;
    this.database = carry?.database ?? null;
    this.stopping = carry?.stopping ?? false;
    this.triggered = carry?.triggered ?? false;
    this.settings = carry?.settings ?? options.settings ?? {};
    this.trouble = carry?.trouble ?? null;
    this.idle = carry?.idle ?? 0;
    this.range = carry?.range;
    this.log = new PassLog(carry?.log);
    const atStart: Asked[] =
      options.move === undefined
        ? []
        : [{ id: workflowInfo().firstExecutionRunId, kind: 'move', to: readTarget(options.move) }];
    this.asked = carry === undefined ? atStart : (carry.asked ?? []);
    this.last = carry?.last ?? null;
    this.remarks = carry?.remarks ?? [];
    this.stream = options.stream ?? streamName(configuration);
    this.gauges = new Gauges(this.stream, { trouble: this.trouble, totals: this.totals });
    this.notices = new Notices(
      this.told(configuration),
      this.stream,
      () => this.log.completeAsOf,
      carry?.notices,
    );
    this.deletes = new DeletesGuard(this.stream, () => this.status, carry?.deletes);
    setHandler(pauseSignal, () => void (this.paused = true), {
      description: 'Stop after the batch in hand, until resume.',
    });
    setHandler(
      resumeSignal,
      () => {
        this.paused = false;
        this.signals++;
        // The operator has been told what that means.
        if (this.trouble?.type === DESTINATION_GONE) this.database = null;
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

  private askedToConfigure(whole: Json, hash = ''): Asked {
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
      if (end === 'drained' && this.range !== undefined) {
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
      this.pass = NOTHING;
      if (this.historyIsFull()) return this.handOver();
    }
  }

  /** The end of the sync, once everybody who asked has been answered. */
  private async end(how: 'drained' | 'stopped' | 'moved'): Promise<Outcome> {
    // A sync that makes one pass and was stopped when it was through is through.
    const isThrough =
      this.range === undefined &&
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
  private async ask(asked: Asked): Promise<Reopened> {
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
  private answer(asked: Asked, refusal: ApplicationFailure | null): void {
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
    return this.opened === null
      ? (this.options.carry?.goesOn ?? false)
      : this.opened.plan.intervalSeconds !== null;
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
      expectDatabase: startsAnew && this.trouble?.type === DESTINATION_GONE ? null : this.database,
      ...(asked?.kind === 'move' && { move: { id: asked.id, to: asked.to } }),
      ...(asked?.kind === 'configure' && { change: { id: asked.id, from: this.last } }),
      ...(this.options.range !== undefined && { range: this.range ?? this.options.range }),
    };
    const scope = new CancellationScope();
    this.interruptible.add(scope);
    const opened = await scope
      .run(() => this.openWhereItIs(input))
      .catch((thrown: unknown) => {
        const failure = cause(thrown);
        const type = failure instanceof ApplicationFailure ? failure.type : null;
        // What is configured anew must be of use; where it is not, the configuration stays.
        if (asked?.kind !== 'configure' || !CANNOT_BE_CONFIGURED.includes(type ?? '')) throw thrown;
        this.answer(asked, changeRefused(failure?.message ?? '', type));
        return null;
      })
      .finally(() => this.interruptible.delete(scope));
    if (opened === null) return this.open();
    this.opened = opened;
    this.range = opened.plan.range;
    this.database = opened.database;
    this.committed = opened.checkpoint;
    this.state = opened.state;
    this.last = { plan: opened.plan, destination: opened.destination };
    if (asked !== undefined) this.reopenedFor(asked, opened);
    return opened;
  }

  private reopenedFor(asked: Asked, { moved, configurationHash }: OpenedStream): void {
    if (asked.kind === 'move') {
      const problem = moved === undefined ? 'its worker is of an older version' : moved.refused;
      if (problem === null) {
        this.pass = NOTHING;
        this.idle = 0;
        this.log.forget();
        this.deletes.forget();
      }
      this.answer(asked, problem === null ? null : moveRefused(problem));
      return;
    }
    if (configurationHash === undefined) {
      this.answer(asked, changeRefused('its worker is of an older version'));
      return;
    }
    this.configuration = asked.configuration;
    this.notices.configure(this.told(asked.configuration));
    this.remarks = [];
    upsertMemo({ configuration: asked.hash ?? configurationHash });
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
      this.pass = NOTHING;
    }
    this.interruptible.add(reading);
    this.reading = reading;
    const write = this.does('next write on its way')
      ? () => this.writeAll(staged, writing)
      : () => this.writeOneByOne(staged);
    const both = [reading.run(() => this.read(staged)), writing.run(write)];
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
      this.log.end(endRule, counted(this.pass), this.range === undefined);
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
  private nextWait({ wait, batches }: FetchedPages): FetchedPages['wait'] {
    const isRead = batches.length > 0;
    if (wait === null || isRead) this.backOffs = 0;
    if (wait?.seconds === undefined) return isRead ? wait : notAtOnce(wait);
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

  /** As it was before, for histories of then: which of two commands came first hangs on every promise in between. */
  private async writeOneByOne(staged: Staged): Promise<void> {
    const write = async (batch: StagedBatch, state: { [name: string]: Json }): Promise<void> => {
      this.wrote(batch, await this.write(batch, state, 0));
    };
    for (;;) {
      await condition(() => staged.batches.length > 0 || staged.end !== null);
      const next = staged.batches.shift();
      if (next === undefined) return;
      await write(next.batch, next.state);
      if (next.batch.cursor.ended !== null || staged.batches[0]?.state !== next.state)
        this.state = next.state;
      this.show(this.status);
    }
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
      rejected: (counts.rejected ?? 0) + (written.rejected ?? 0),
      deleted: (counts.deleted ?? 0) + (written.deleted ?? 0),
      ...(this.range !== undefined && {
        outside: (counts.outside ?? 0) + (batch.outside ?? 0),
        left: (counts.left ?? 0) + (written.left ?? 0),
      }),
    });
    const changes = [...(this.pass.changes ?? []), ...(written.changes ?? [])].slice(-CHANGES_LIMIT);
    this.pass = { ...add(this.pass), ...(changes.length > 0 && { changes }) };
    this.totals = { ...this.totals, ...add(this.totals) };
  }

  /** The last look at a range that was read to its end; what is kept of it goes. */
  private async concludeRange({ kind }: RangePlan): Promise<void> {
    const plan = this.plan();
    const { destination } = this.openedStream();
    const { cursor } = this.committed;
    if (kind === 'audit' && cursor !== null) {
      const { concludeRange } = this.onDestination(plan);
      const met = this.pass.records + (this.pass.outside ?? 0);
      this.found = await concludeRange.executeWithOptions(
        { ...this.destinationOptions(plan), summary: 'compare with what the source does not have' },
        [{ plan, destination, cursor, met }],
      );
    }
    await this.forgetRange();
  }

  private async forgetRange(): Promise<void> {
    if (this.opened === null || this.range === undefined) return;
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
   * Waits until the stream is opened again, where that can help.
   * @throws {ApplicationFailure} the end, with the cause's own words first.
   */
  private async afterFailure(thrown: unknown): Promise<void> {
    // An error of this code itself fails no sync: Temporal holds the workflow until a worker is put right.
    if (!(thrown instanceof TemporalFailure)) throw thrown;
    const failure = cause(thrown);
    const type = (failure instanceof ApplicationFailure ? failure.type : null) ?? 'SyncFailed';
    const ours = type === 'CheckpointConflictError' && isHeldByItself(failure);
    const gone = neverStarted(thrown);
    const reason = gone
      ? 'the worker that owns the destination does not answer'
      : (failure?.message ?? String(thrown));
    if (gone || REOPENED.includes(type) || ours) {
      // Once helps as a rule. Where it does not, neither source nor worker is asked over and over.
      const seconds = this.reopened === 0 ? 0 : 2 ** (this.reopened - 1);
      // A batch that is lost is the staging's affair: it is fetched again.
      const isQuiet = this.reopened < QUIET_REOPENINGS || type === 'BatchLostError';
      if (this.reopened++ < REOPEN_LIMIT) {
        if (seconds > 0) await this.beforeReopening(type, reason, seconds, isQuiet);
        return;
      }
    }
    const question = questionOf(failure);
    if (question !== null && this.options.waitForApproval !== false)
      return this.whileAsking(type, reason, question);
    // What may pass by itself does not end a sync that goes on for ever, and what somebody can mend does not either.
    if (this.goesOn() && !isMoveRefused(failure) && question === null) {
      if (MAY_PASS.includes(type)) return this.whileFailing(type, reason);
      if (!TAKEN.includes(type) && this.does('blocked')) {
        const isPassing = MAY_HEAL.includes(type) || failure instanceof TimeoutFailure;
        return isPassing ? this.whileFailing(type, reason) : this.whileBlocked(type, reason);
      }
    }
    const said = question === null ? reason : `${reason}\n${runAdvice(question)}`;
    if (!isMoveRefused(failure)) {
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
    type: string,
    reason: string,
    backOff: number,
    isQuiet: boolean,
  ): Promise<void> {
    const seconds = Math.min(backOff, LONGEST_BACK_OFF_SECONDS);
    if (isQuiet || !this.does('reopening is trouble')) return this.sleepFor(seconds, 'waiting', reason);
    this.trouble = this.troubled('failing', type, reason, seconds);
    return this.sleepFor(seconds, 'failing', reason);
  }

  /** Tries again by itself, ever less often. */
  private async whileFailing(type: string, reason: string): Promise<void> {
    const first = Math.min(this.interval() ?? LONGEST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS);
    const failures = this.trouble?.failures ?? 0;
    const seconds = Math.min(first * 2 ** Math.min(failures, 20), Math.max(first, LONGEST_FAILING_SECONDS));
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
    const { database, pass, totals, paused, wait, reopened, backOffs } = this;
    const { stopping, triggered, settings, trouble, idle } = this;
    const deletes = this.deletes.carry();
    return {
      carry: {
        ...{ database, pass, totals, paused, wait, reopened, backOffs, goesOn: this.goesOn() },
        ...{ stopping, triggered, settings, trouble, idle, log: this.log.carry() },
        ...{ asked: this.asked, last: this.last, remarks: this.remarks },
        ...(notices !== undefined && { notices }),
        ...(this.range !== undefined && { range: this.range }),
        ...(deletes !== undefined && { deletes }),
      },
    };
  }

  private openedStream(): OpenedStream {
    if (this.opened === null) throw ApplicationFailure.nonRetryable('the stream has not been opened');
    return this.opened;
  }

  /** Whether a change counts: its worker said so when it opened the stream, or the history has a marker. */
  private does(change: (typeof CHANGES)[number]): boolean {
    return this.opened?.changes?.includes(change) === true || patched(change);
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
    const { rejected } = counted(this.pass);
    const { changes = [] } = this.pass;
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
      ...(this.range !== undefined && { range: rangeResult(this.range, this.pass, this.found) }),
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
  const { records, rows, outside = 0, left = 0 } = pass;
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

const counted = ({ changes: _, outside: _outside, left: _left, ...counts }: Counts) => ({
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

/** Whether the sync itself holds the stream from which it was refused. An older worker says so only in words. */
function isHeldByItself(failure: Error | null): boolean {
  if (!(failure instanceof ApplicationFailure)) return false;
  const [said] = (failure.details ?? []) as ({ ours?: boolean } | undefined)[];
  return said?.ours ?? failure.message.includes(`"${workflowInfo().workflowId}"`);
}

/** No worker took the task: the one that owns the destination is gone. */
function neverStarted(thrown: unknown): boolean {
  const failure = cause(thrown);
  return failure instanceof TimeoutFailure && failure.timeoutType === 'SCHEDULE_TO_START';
}
