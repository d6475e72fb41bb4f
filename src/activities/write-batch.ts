import { Context } from '@temporalio/activity';
import { isSameSync } from '../destinations/checkpoints.js';
import type { WriteOutcome, WriteRequest } from '../destinations/destination.js';
import { CheckpointConflictError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { StagedBatch, StagedFile, StreamPlan, WrittenBatch } from '../protocol.js';
import { Staging } from '../staging/staging.js';
import { ownHolder, type Server } from './cluster.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { fingerprintOf } from '../plan/fingerprint.js';
import { cursorColumn } from './ranges.js';
import { streamKey } from '../plan/stream-key.js';

/** Puts a staged batch and the checkpoint it makes into the destination, in one transaction. */
export const writeBatch =
  ({ host, server }: Dependencies): Activities['writeBatch'] =>
  ({ plan, destination: path, batch, behind = false, deletes }) =>
    reporting(
      () =>
        beating(
          () => ({ records: batch.records }),
          async () => {
            const { destination, beside } = await host.get(path);
            const staging = new Staging(beside, streamKey(plan));
            faultPoint('transaction.before');
            const request = {
              ...writeRequest(plan, staging, batch),
              ...(deletes !== undefined && { deletes }),
            };
            const outcome = await inTurn(request, behind, () => destination.write(request)).catch(
              (thrown: unknown) => refused(thrown, server),
            );
            faultPoint('commit.after');
            // Committed: should this activity run again, the checkpoint says so before a file is asked for. At the end of
            // a pass all is committed, so that what remains was left by attempts whose answer never arrived.
            await (batch.cursor.ended === null ? staging.discard(stagedFiles(batch)) : staging.clear());
            faultPoint('report.before');
            return outcome;
          },
        ),
      () => plan.intervalSeconds !== null,
    );

/** Says of a refusal whether the stream is held by the sync itself: then it may go on from there. */
async function refused(thrown: unknown, server: Server): Promise<never> {
  if (thrown instanceof CheckpointConflictError && thrown.holder !== null)
    thrown.details = { ours: isSameSync(thrown.holder, await ownHolder('', server)) };
  throw thrown;
}

/** Writes in hand here, by the checkpoint that each makes. */
const inHand = new Map<string, Promise<unknown>>();
/** For so long the checkpoint before may be missing while nobody here makes it: that write is tried again, or comes yet. */
const TURN_MILLISECONDS = 5000;
/** Between two looks; twice as long each time. */
const [FIRST_LOOK_MILLISECONDS, LONGEST_LOOK_MILLISECONDS] = [20, 1000];

/**
 * Writes a batch once the one before it is written.
 * @param behind whether that one is still on its way, so that its checkpoint may be missing for a while.
 * @throws {CheckpointConflictError}
 * @throws {CancelledFailure}
 */
async function inTurn(
  { base, next, workflowId }: WriteRequest,
  behind: boolean,
  write: () => Promise<WriteOutcome>,
): Promise<WrittenBatch> {
  if (!behind) return during(next, write());
  const context = Context.current();
  const came = Date.now();
  const work = async (): Promise<WrittenBatch> => {
    let patience = came + TURN_MILLISECONDS;
    // Who comes first is asked for first: a look too early costs what was made ready.
    if (!inHand.has(base)) await context.sleep(FIRST_LOOK_MILLISECONDS);
    for (let look = FIRST_LOOK_MILLISECONDS; ; look = Math.min(look * 2, LONGEST_LOOK_MILLISECONDS)) {
      const before = inHand.get(base);
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
        await context.sleep(look);
      }
    }
  };
  return during(next, work());
}

async function during<T>(next: string, working: Promise<T>): Promise<T> {
  inHand.set(next, working);
  try {
    return await working;
  } finally {
    if (inHand.get(next) === working) inHand.delete(next);
  }
}

export const stagedFiles = ({ files, marks = [], rejects = [], beyond = [] }: StagedBatch): StagedFile[] => [
  ...files,
  ...marks,
  ...rejects,
  ...beyond,
];

/** What the destination is asked to write; the files are checked when it asks for them. */
export function writeRequest(plan: StreamPlan, staging: Staging, batch: StagedBatch): WriteRequest {
  const { base, next, cursor, records, pages, bytes, longest } = batch;
  const { range } = plan;
  // One after the other, in the same memory.
  const verified = async (files: StagedFile[] = []) => {
    const paths: string[] = [];
    for (const file of files) paths.push(await staging.verify(file));
    return paths;
  };
  return {
    ...{ key: streamKey(plan), table: plan.table, base, next, cursor, records, pages, bytes, longest },
    files: () => verified(batch.files),
    ...(batch.marks !== undefined && { marks: () => verified(batch.marks) }),
    ...(batch.rejects !== undefined && { rejects: () => verified(batch.rejects) }),
    ...(range !== undefined && {
      range: {
        ...{ kind: range.kind, writes: range.kind === 'backfill' || range.repair },
        ...{ began: batch.began ?? range.began, cursor: cursorColumn(plan) },
        ...(batch.beyond !== undefined && { beyond: () => verified(batch.beyond) }),
      },
    }),
    ...(range === undefined && { fingerprint: fingerprintOf(plan) }),
    workflowId: Context.current().info.workflowExecution?.workflowId ?? '',
  };
}
