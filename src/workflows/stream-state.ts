import { ApplicationFailure, log, workflowInfo } from '@temporalio/workflow';
import type {
  Checkpoint,
  FailedOpening,
  Json,
  LastOpened,
  OpenedStream,
  RangePlan,
  StagedBatch,
  StreamPlan,
  WrittenBatch,
} from '../protocol.js';
import { NO_COUNTS, type Carry, type Counts, type Totals } from './carry.js';
import type { Control } from './control.js';
import { PassLog } from './pass-log.js';
import { withSettings } from './settings.js';

/** Schema changes of a pass that are kept. */
const CHANGES_LIMIT = 100;

/** The stream as it was opened, what is committed, and the counts of its passes. */
export class StreamState {
  opened: OpenedStream | null = null;
  /** Facts of the stream as its last opening gave them, if it failed. */
  failedOpening: FailedOpening | null = null;
  committed: Checkpoint = { id: '', cursor: null };
  /** The committed cursor, under the names of the reference connector's state. */
  cursor: { [name: string]: Json } = {};
  /** Identity of the destination database, which must stay the same. */
  database: string | null;
  lastOpened: LastOpened | null;
  range: RangePlan | null;
  pass: Counts;
  totals: Totals;
  readonly log: PassLog;
  private idlePasses: number;
  private readonly wasContinuous: boolean;

  constructor(
    readonly name: string,
    private readonly control: Control,
    carry: Pick<Carry, 'stream' | 'counts' | 'log'>,
  ) {
    const { stream, counts } = carry;
    this.database = stream.database;
    this.wasContinuous = stream.isContinuous;
    this.lastOpened = stream.lastOpened;
    this.range = stream.range;
    this.pass = counts.pass;
    this.totals = counts.totals;
    this.idlePasses = counts.idlePasses;
    this.log = new PassLog(carry.log);
  }

  /** @throws {ApplicationFailure} before the first opening. */
  requireOpened(): OpenedStream {
    if (this.opened === null) throw ApplicationFailure.nonRetryable('the stream has not been opened');
    return this.opened;
  }

  /** The plan with the current settings. */
  plan(): StreamPlan {
    return withSettings(this.requireOpened().plan, this.control.settings);
  }

  /** Seconds between passes; null where there is one pass, or the stream was not opened yet. */
  interval(): number | null {
    if (this.opened === null) return null;
    const { intervalSeconds, idleIntervalSeconds } = this.plan();
    if (intervalSeconds === null || idleIntervalSeconds === undefined) return intervalSeconds;
    return Math.min(Math.max(intervalSeconds, idleIntervalSeconds), intervalSeconds * 2 ** this.idlePasses);
  }

  /** Whether the sync makes one pass after another, known also while the stream could not be reopened yet. */
  get isContinuous(): boolean {
    if (this.opened !== null) return this.opened.plan.intervalSeconds !== null;
    return this.wasContinuous || this.failedOpening?.isContinuous === true;
  }

  /** Whether the workflow is to continue as new. */
  isHistoryFull(): boolean {
    const info = workflowInfo();
    const limit = this.opened?.plan.historyLimit ?? Infinity;
    return info.continueAsNewSuggested || info.historyLength >= limit;
  }

  /** The committed cursor, as the query `state` shows it. */
  shownCursor(): { [name: string]: Json } {
    return { ...this.cursor, checkpoint: this.committed.id };
  }

  recordOpening(opened: OpenedStream): void {
    this.opened = opened;
    this.range = opened.plan.range ?? null;
    this.database = opened.database;
    this.committed = opened.checkpoint;
    this.cursor = opened.state;
    this.lastOpened = { plan: opened.plan, destination: opened.destination };
  }

  /** Forgets the current pass: the stream was moved to another cursor. */
  forgetPass(): void {
    this.pass = NO_COUNTS;
    this.idlePasses = 0;
    this.log.forgetPass();
  }

  /** Begins a pass where the committed cursor has ended one. @returns false where one continues. */
  beginPass(): boolean {
    const { cursor } = this.committed;
    if (cursor !== null && cursor.ended === null) return false;
    this.log.beginPass();
    this.pass = NO_COUNTS;
    return true;
  }

  /** Clears the counts for the next pass. */
  clearPass(): void {
    this.pass = NO_COUNTS;
  }

  recordPassEnd(): void {
    this.totals = { ...this.totals, passes: this.totals.passes + 1 };
    const { rows, deleted } = this.pass;
    this.idlePasses = rows + deleted === 0 ? this.idlePasses + 1 : 0;
    const endRule = this.committed.cursor?.ended ?? null;
    this.log.endPass(endRule, this.pass, this.range === null);
    const { seconds, pages, records } = this.log.recent[0] ?? {};
    log.info('pass ended', { stream: this.name, endRule, seconds, pages, records, rows, deleted });
  }

  recordCommit(batch: StagedBatch, written: WrittenBatch): void {
    this.log.recordWrite(batch.records);
    const { cursor } = batch;
    const { notes = [] } = written;
    // The first columns of a new table are no changes.
    const isFirst = this.committed.cursor === null;
    const changes = (written.changes ?? []).filter(({ from }) => !isFirst || from !== null);
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
      changes: [...counts.changes, ...changes].slice(-CHANGES_LIMIT),
      outside: counts.outside + (batch.outside ?? 0),
      left: counts.left + (written.left ?? 0),
      ...(counts.waited !== undefined && { waited: counts.waited }),
    });
    this.pass = add(this.pass);
    this.totals = { ...add(this.totals), changes: [], passes: this.totals.passes };
  }

  /** Records a wait that the source has asked for. */
  recordWait(seconds: number): void {
    const add = <C extends Counts>(counts: C): C => ({ ...counts, waited: (counts.waited ?? 0) + seconds });
    this.pass = add(this.pass);
    this.totals = add(this.totals);
  }

  carry(): Pick<Carry, 'stream' | 'counts' | 'log'> {
    const { database, isContinuous, lastOpened, range, pass, totals, idlePasses } = this;
    return {
      stream: { database, isContinuous, lastOpened, range },
      counts: { pass, totals, idlePasses },
      log: this.log.carry(),
    };
  }
}
