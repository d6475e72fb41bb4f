import { Context } from '@temporalio/activity';
import type { WriteOutcome, WriteRequest } from '../destinations/destination.js';
import { CheckpointConflictError } from '../errors.js';
import type { WrittenBatch } from '../protocol.js';

/** How long the checkpoint before may be missing while no write here makes it: that write is retried, or comes yet. */
const TURN_MILLISECONDS = 5000;
/** Pause between two tries; twice as long each time. */
const FIRST_PAUSE_MILLISECONDS = 20;
const LONGEST_PAUSE_MILLISECONDS = 1000;

/** Orders the writes of a worker: a batch is written once the batch before it is. */
export class WriteTurns {
  /** Writes in flight, by the checkpoint that each makes. */
  private readonly writes = new Map<string, Promise<unknown>>();

  /**
   * Writes a batch once the one before it is written.
   * @param behind whether that one is still on its way, so that its checkpoint may be missing for a while.
   * @throws {CheckpointConflictError}
   * @throws {CancelledFailure}
   */
  async writeInTurn(
    request: WriteRequest,
    behind: boolean,
    write: () => Promise<WriteOutcome>,
  ): Promise<WrittenBatch> {
    const { next } = request;
    const writing = behind ? this.writeBehind(request, write) : write();
    this.writes.set(next, writing);
    try {
      return await writing;
    } finally {
      if (this.writes.get(next) === writing) this.writes.delete(next);
    }
  }

  private async writeBehind(
    { base, workflowId }: WriteRequest,
    write: () => Promise<WriteOutcome>,
  ): Promise<WrittenBatch> {
    const context = Context.current();
    const came = Date.now();
    let patience = came + TURN_MILLISECONDS;
    // The write before is usually about to start: a try too early wastes what was prepared.
    if (!this.writes.has(base)) await context.sleep(FIRST_PAUSE_MILLISECONDS);
    for (let pause = FIRST_PAUSE_MILLISECONDS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MILLISECONDS)) {
      const before = this.writes.get(base);
      if (before !== undefined) {
        await Promise.race([before.catch(() => undefined), context.cancelled]);
        patience = Date.now() + TURN_MILLISECONDS;
      }
      if (context.cancellationSignal.aborted) await context.cancelled;
      const waited = (Date.now() - came) / 1000;
      try {
        return { ...(await write()), ...(waited > 0 && { waited }) };
      } catch (thrown) {
        const isEarly = thrown instanceof CheckpointConflictError && thrown.holder?.workflowId === workflowId;
        if (!isEarly || Date.now() > patience) throw thrown;
        await context.sleep(pause);
      }
    }
  }
}
