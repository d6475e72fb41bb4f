import { CancellationScope, condition, isCancellation, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { BatchBudget, Checkpoint, FetchedPages, Json, StagedBatch, WrittenBatch } from '../protocol.js';
import type { Control } from './control.js';
import type { DeletesGuard } from './deletes.js';
import { batchSummary, countText } from './details.js';
import type { Display } from './display.js';
import type { Reopening } from './reopening.js';
import type { SourceWaits } from './source-wait.js';
import { ownerOptions } from './stream-activities.js';
import type { StreamState } from './stream-state.js';
import type { Waits } from './waits.js';

/** How the reading of a pass ended. */
export type PassEnd = 'drained' | 'history is full' | 'stopped';

/** A batch that is read and not yet written, with the cursor that writing it makes. */
interface PendingWrite {
  batch: StagedBatch;
  cursor: { [name: string]: Json };
}

/** The queue between reader and writers of a pass. */
interface Queue {
  writes: PendingWrite[];
  /** Null while there is more to read. */
  end: PassEnd | null;
}

/** Batches that are read and not yet written, at most; one more may be in flight. */
const STAGED_LIMIT = 3;
const FIRST_BUDGET: BatchBudget = { rows: 10_000, bytes: 4 * 1024 * 1024, seconds: 1 };
const GROWTH = 5;

/** The parts of the loop that a pipeline uses. */
export interface PipelineParts {
  stream: StreamState;
  control: Control;
  reopening: Reopening;
  display: Display;
  waits: Waits;
  sourceWaits: SourceWaits;
  deletes: DeletesGuard;
  onCommit(batch: StagedBatch, written: WrittenBatch): void;
}

/** Makes passes: one reader, two writers of which one waits behind the other, and a few staged batches between them. */
export class Pipeline {
  /** Batches that are read and not yet written. */
  staged = 0;
  private fetches = 0;
  private reading: CancellationScope | null = null;

  constructor(private readonly parts: PipelineParts) {}

  /** Cancels the reading of the current pass, which has become stale. Writes in flight are waited for. */
  cancelReading(): void {
    this.reading?.cancel();
  }

  /** Makes a pass, or continues one, until it ends or must be left. */
  async makePass(): Promise<PassEnd> {
    const { stream, control, reopening } = this.parts;
    const [reading, writing] = [new CancellationScope(), new CancellationScope()];
    const queue: Queue = { writes: [], end: null };
    // A trigger in the middle of a pass, which may be read in several runs, asks for one more.
    if (stream.beginPass()) control.isTriggered = false;
    control.allowInterruption(reading);
    this.reading = reading;
    const both = [
      reading
        .run(() => this.readPages(queue))
        .catch((thrown: unknown) => {
          if (!control.isInterrupted || !isCancellation(thrown)) throw thrown;
          // Interrupted by a stop: what was read is still written.
          queue.end = 'stopped';
        }),
      writing.run(() => this.writeBatches(queue, writing)),
    ];
    try {
      await Promise.all(both);
    } finally {
      this.reading = null;
      reading.cancel();
      if (reopening.isRequested) {
        // Writes in flight are still valid; what is only staged is not.
        queue.writes.length = 0;
        queue.end ??= 'stopped';
      } else writing.cancel();
      // The one that did not fail must not continue beside the next pass.
      await Promise.allSettled(both);
      control.endInterruption(reading);
      this.staged = 0;
    }
    return queue.end ?? 'history is full';
  }

  private async readPages(queue: Queue): Promise<void> {
    const { stream, control, waits, sourceWaits, deletes, display } = this.parts;
    let from = stream.committed;
    for (let begin = true; queue.end === null; begin = false) {
      await condition(() => this.staged < STAGED_LIMIT || control.isStopping);
      if ((sourceWaits.pending !== null || control.isPaused) && !control.isStopping) {
        // Staged batches are written first, however long the wait.
        await condition(() => this.staged === 0);
        await sourceWaits.waitForSource();
        await waits.waitWhilePaused();
      }
      if (control.isStopping) {
        queue.end = 'stopped';
        return;
      }
      display.show('running');
      const fetched = await this.fetchPages(from, begin).catch(async (thrown: unknown) => {
        // Staged batches are written first, whatever comes of the rest.
        await condition(() => this.staged === 0);
        throw thrown;
      });
      sourceWaits.record(fetched);
      this.staged += fetched.batches.length;
      from = { id: fetched.batches.at(-1)?.next ?? from.id, cursor: fetched.cursor };
      if (fetched.cursor.ended !== null) queue.end = 'drained';
      else if (stream.isHistoryFull()) queue.end = 'history is full';
      queue.writes.push(
        ...fetched.batches.map((batch) => ({ batch: deletes.withNote(batch), cursor: fetched.state })),
      );
    }
  }

  /**
   * Writes staged batches in order. While one is written the next one is in flight already, and waits where it is
   * written, so that no time is lost between the two.
   * @param scope holds all of this, and ends with the first write that fails.
   */
  private async writeBatches(queue: Queue, scope: CancellationScope): Promise<void> {
    const { stream, display } = this.parts;
    let inFlight = 0;
    let before = Promise.resolve();
    const isOver = () => queue.writes.length === 0 && queue.end !== null;
    const writeNext = async (): Promise<void> => {
      const next = queue.writes.shift();
      if (next === undefined) return;
      const { batch, cursor } = next;
      // Batches of one answer share its cursor, which holds once the last of them is written.
      const isReached = batch.cursor.ended !== null || queue.writes[0]?.cursor !== cursor;
      const written = this.writeBatch(next, inFlight++);
      written.catch(() => undefined);
      before = before.then(async () => {
        this.recordCommit(batch, await written);
        if (isReached) stream.cursor = cursor;
        display.show(display.status);
      });
      await before.finally(() => inFlight--);
    };
    const writeFirst = async () => {
      for (;;) {
        await condition(() => queue.writes.length > 0 || queue.end !== null);
        if (isOver()) return;
        await writeNext();
      }
    };
    const writeBehind = async () => {
      for (;;) {
        await condition(() => (inFlight === 1 && queue.writes.length > 0) || isOver());
        if (isOver()) return;
        await writeNext();
      }
    };
    const both = [writeFirst(), writeBehind()];
    try {
      await Promise.all(both);
    } finally {
      scope.cancel();
      await Promise.allSettled(both);
    }
  }

  private fetchPages(base: Checkpoint, begin: boolean): Promise<FetchedPages> {
    const { stream, sourceWaits } = this.parts;
    const opened = stream.requireOpened();
    const plan = stream.plan();
    const isResumed = sourceWaits.takeResumed();
    const budget = budgetFor(plan.batch, this.fetches++);
    const summary = `read up to ${countText(budget.rows)} records`;
    const { fetchPages } = proxyActivities<Activities>(ownerOptions(opened, plan, summary));
    const input = { plan, destination: opened.destination, base, budget, begin };
    return fetchPages(isResumed ? { ...input, resumed: true } : input);
  }

  /** @param before writes in flight before this one. */
  private writeBatch({ batch, cursor }: PendingWrite, before: number): Promise<WrittenBatch> {
    const { stream, deletes } = this.parts;
    const opened = stream.requireOpened();
    const plan = stream.plan();
    const summary = batchSummary(stream.totals.batches + before + 1, batch, cursor);
    const { writeBatch } = proxyActivities<Activities>(ownerOptions(opened, plan, summary));
    const input = { plan, destination: opened.destination, batch, ...deletes.decisionInput(batch) };
    return writeBatch(before > 0 ? { ...input, behind: true } : input);
  }

  private recordCommit(batch: StagedBatch, written: WrittenBatch): void {
    this.staged--;
    this.parts.onCommit(batch, written);
  }
}

/** Small at first, so that the first rows show within a second or two; then growing to the configured size. */
function budgetFor(limit: BatchBudget, fetches: number): BatchBudget {
  const factor = GROWTH ** Math.min(fetches, 6);
  return {
    rows: Math.min(limit.rows, FIRST_BUDGET.rows * factor),
    bytes: Math.min(limit.bytes, FIRST_BUDGET.bytes * factor),
    seconds: Math.min(limit.seconds, FIRST_BUDGET.seconds * factor),
  };
}
