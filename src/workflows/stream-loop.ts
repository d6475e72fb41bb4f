import {
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  setHandler,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { Json, StreamResult, SyncResult } from '../protocol.js';
import { initialState, type Carry } from './carry.js';
import { streamName } from './configurations.js';
import { Control } from './control.js';
import { DeletesGuard } from './deletes.js';
import { Display } from './display.js';
import { FailureHandling } from './failure-handling.js';
import { Gauges } from './gauges.js';
import { configurationQuery, progressQuery, stateQuery } from './messages.js';
import { isMoveRefusal } from '../move-target.js';
import { Notices } from './notices.js';
import { noticeSettings, Opening } from './opening.js';
import { Pipeline, type PassEnd } from './pipeline.js';
import { RangeReading } from './range-reading.js';
import { Reopening } from './reopening.js';
import { attributesOf, progressOf, resultOf, type View } from './report.js';
import { SourceWaits } from './source-wait.js';
import { StreamState } from './stream-state.js';
import type { SyncOptions } from './sync.js';
import { Waits } from './waits.js';

/** The end of a run: of the sync, or with the state that the next run continues from. */
type Outcome = { result: StreamResult | null; status: SyncResult['status'] } | { carry: Carry };

/** The loop of one stream: opens it, reads and writes, ends the pass, waits, and begins again. */
export class StreamLoop {
  private readonly stream: StreamState;
  private readonly control: Control;
  private readonly reopening: Reopening;
  private readonly display: Display;
  private readonly waits: Waits;
  private readonly sourceWaits: SourceWaits;
  private readonly notices: Notices;
  private readonly deletes: DeletesGuard;
  private readonly failures: FailureHandling;
  private readonly opening: Opening;
  private readonly pipeline: Pipeline;
  private readonly range: RangeReading;

  constructor(
    configuration: Json,
    private readonly options: SyncOptions,
  ) {
    const carry = initialState(options, workflowInfo().firstExecutionRunId);
    const name = options.stream ?? streamName(configuration);
    const { trouble } = carry.failures;
    this.control = new Control(carry.control);
    this.stream = new StreamState(name, this.control, carry);
    this.reopening = new Reopening(carry.reopening, this.control, options.stream, options.range);
    const gauges = new Gauges(name, { trouble, totals: carry.counts.totals });
    this.display = new Display(gauges, () => this.collectShown());
    this.waits = new Waits(name, this.control, this.reopening, this.display);
    const { control, stream, reopening, display, waits } = this;
    this.sourceWaits = new SourceWaits(carry.source, control, reopening, display, waits, (seconds) =>
      stream.recordWait(seconds),
    );
    const completeAsOf = () => stream.log.completeAsOf;
    this.notices = new Notices(noticeSettings(configuration, options), name, completeAsOf, carry.notices);
    this.deletes = new DeletesGuard(name, () => display.status, carry.decision);
    this.range = new RangeReading(stream);
    const { notices, deletes, sourceWaits } = this;
    const waitsForApproval = options.waitForApproval !== false;
    const shared = { stream, reopening, display, waits, deletes };
    this.failures = new FailureHandling(carry.failures, { ...shared, control, notices, waitsForApproval });
    this.opening = new Opening(configuration, options, {
      ...shared,
      control,
      notices,
      failures: this.failures,
    });
    this.pipeline = new Pipeline({
      ...shared,
      control,
      sourceWaits,
      onCommit: (batch, written) => {
        this.failures.recordCommit();
        notices.recordProgress(false, display.status);
        stream.recordCommit(batch, written);
      },
    });
    this.registerHandlers();
  }

  /** The current configuration; of several streams, the part of this one. */
  get configuration(): Json {
    return this.opening.configuration;
  }

  async run(): Promise<Outcome> {
    try {
      return await this.makePasses();
    } catch (thrown) {
      if (isCancellation(thrown)) {
        this.display.show('cancelled');
        // Rows that a range has written stay, and nothing continues it.
        await CancellationScope.nonCancellable(() => this.range.forget());
      }
      throw thrown;
    }
  }

  private async makePasses(): Promise<Outcome> {
    this.notices.start();
    for (;;) {
      const end = await this.openAndRead();
      if (end === 'reopen') continue;
      const outcome = typeof end === 'object' ? end : await this.endPass(end);
      if (outcome !== null) return outcome;
    }
  }

  /** Opens the stream and makes a pass. A failure is waited out here. */
  private async openAndRead(): Promise<PassEnd | 'reopen' | Outcome> {
    const { control, reopening, stream } = this;
    try {
      if (control.isStopping) {
        // A backfill continues when it is started again; an audit does not.
        if (stream.range?.kind === 'audit') await this.range.forget();
        return await this.end('stopped');
      }
      await this.opening.open();
      if (this.options.moveOnly === true && !reopening.hasRequests) return await this.end('moved');
      if (reopening.isRequested) return 'reopen';
      if (this.range.isRead) return 'drained';
      const end = await this.pipeline.makePass();
      if (end === 'drained') {
        this.deletes.forgetDecision();
        stream.recordPassEnd();
      }
      return end;
    } catch (thrown) {
      if (isCancellation(thrown)) {
        const isCancelled = CancellationScope.current().consideredCancelled;
        if (!isCancelled && (control.isInterrupted || reopening.isRequested)) return 'reopen';
        throw thrown;
      }
      if (reopening.isRequested && thrown instanceof TemporalFailure && !isMoveRefusal(thrown))
        return 'reopen';
      await this.failures.waitAfter(thrown);
      const isToContinue = !control.isStopping && !reopening.isRequested;
      const outcome = isToContinue && stream.isHistoryFull() ? await this.continueAsNew() : null;
      return outcome ?? 'reopen';
    }
  }

  /** Ends a pass and waits for the next one. Returns null where the loop continues. */
  private async endPass(end: PassEnd): Promise<Outcome | null> {
    const { control, reopening, stream } = this;
    if (end !== 'history is full') this.failures.clearTrouble();
    if (end === 'drained') this.notices.recordProgress(true, this.display.status);
    if (end === 'drained' && stream.range !== null) return this.endRange();
    if (control.isStopping || reopening.isRequested) return null;
    if (end === 'history is full') return this.continueAsNew();
    if (stream.interval() === null) {
      if (!control.isTriggered) return this.end('drained');
    } else {
      const ended = Date.now();
      const next = () => ended + (stream.interval() ?? 0) * 1000;
      if (!control.isTriggered) await this.waits.sleepUntil(next, 'sleeping', 'next pass');
      if (control.isStopping || reopening.isRequested) return null;
    }
    stream.clearPass();
    return stream.isHistoryFull() ? this.continueAsNew() : null;
  }

  private async endRange(): Promise<Outcome | null> {
    this.range.recordEnd();
    try {
      await this.range.conclude();
      return await this.end('drained');
    } catch (thrown) {
      if (isCancellation(thrown)) throw thrown;
      await this.failures.waitAfter(thrown);
      return null;
    }
  }

  /** Ends the sync, once all callers have their answers. */
  private async end(how: 'drained' | 'stopped' | 'moved'): Promise<Outcome> {
    const { stream, failures } = this;
    // A sync of one pass that was stopped when the pass was complete is complete.
    const isComplete =
      stream.range === null &&
      stream.interval() === null &&
      // Else it is the end of a pass that an earlier sync made.
      stream.totals.passes > 0 &&
      stream.committed.cursor?.ended != null &&
      failures.trouble === null;
    this.display.show(how);
    this.reopening.finish('ended');
    await this.notices.finish();
    await condition(allHandlersFinished);
    const result = stream.opened === null ? null : resultOf(this.collectView(), stream.opened.plan);
    if (how === 'moved') return { result, status: how };
    return { result, status: how === 'drained' || isComplete ? 'completed' : 'stopped' };
  }

  /** Ends the run with what the next one needs. Returns null where a stop has come meanwhile, which this run carries out. */
  private async continueAsNew(): Promise<Outcome | null> {
    await this.notices.waitForReceiver();
    if (this.control.isStopping) return null;
    const notices = await this.notices.handOver();
    this.reopening.finish('handing over');
    await condition(allHandlersFinished);
    // After all waits: what signals say meanwhile is handed over too.
    const carry: Carry = {
      version: 1,
      ...this.stream.carry(),
      control: this.control.carry(),
      reopening: this.reopening.carry(),
      source: this.sourceWaits.carry(),
      failures: this.failures.carry(),
      notices,
      decision: this.deletes.carry(),
    };
    return { carry };
  }

  private registerHandlers(): void {
    const { stream, control, reopening } = this;
    control.registerHandlers({
      waitUntilOpened: () => condition(() => stream.opened !== null || reopening.isOver),
      openedPlan: () => stream.opened?.plan ?? null,
      requireOpenedPlan: () => stream.requireOpened().plan,
      onResume: () => {
        // The error has told the operator that `resume` starts over.
        if (this.failures.mayStartOver) stream.database = null;
      },
    });
    reopening.registerHandlers({
      onRequest: () => this.pipeline.cancelReading(),
      shownCursor: () => stream.shownCursor(),
    });
    setHandler(configurationQuery, () => this.opening.configuration, {
      description: 'The current configuration; secrets in it are references.',
    });
    setHandler(stateQuery, () => stream.shownCursor(), {
      description: 'The committed cursor, under the names that "highwater state" uses.',
    });
    setHandler(progressQuery, () => progressOf(this.collectView()), {
      description: 'Status, counts, warnings, and what the sync waits for.',
    });
  }

  private collectView(): View {
    const { stream, display, control, reopening, range, pipeline, sourceWaits, failures } = this;
    return {
      status: display.status,
      stream,
      waiting: display.waiting ?? sourceWaits.pending,
      staged: pipeline.staged,
      trouble: failures.trouble,
      settings: control.settings,
      refusals: reopening.refusals,
      found: range.found,
    };
  }

  private collectShown() {
    const view = this.collectView();
    return {
      progress: progressOf(view),
      cursor: view.stream.shownCursor(),
      attributes: attributesOf(view),
    };
  }
}
