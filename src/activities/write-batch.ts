import { setTimeout as delay } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { holderText } from '../destinations/checkpoints.js';
import type { WriteOutcome, WriteRequest } from '../destinations/destination.js';
import { CheckpointConflictError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { StagedBatch, StagedFile, StreamPlan, WrittenBatch } from '../protocol.js';
import { Staging } from '../staging/staging.js';
import { beating, reporting } from './failures.js';
import type { Activities, Dependencies } from './index.js';
import { cursorColumn } from './ranges.js';
import { streamKey } from './stream-key.js';

/** Puts a staged batch and the checkpoint it makes into the destination, in one transaction. */
export const writeBatch =
  ({ host }: Dependencies): Activities['writeBatch'] =>
  ({ plan, destination: path, batch, behind = false }) =>
    reporting(() =>
      beating(
        () => ({ records: batch.records }),
        async () => {
          const { destination, beside } = await host.get(path);
          const staging = new Staging(beside, streamKey(plan));
          faultPoint('transaction.before');
          const request = writeRequest(plan, staging, batch);
          const outcome = await inTurn(request, behind, () => destination.write(request));
          faultPoint('commit.after');
          // Committed: should this activity run again, the checkpoint says so before a file is asked for. At the end of
          // a pass nothing else is in hand, so that what remains was left by attempts whose answer never arrived.
          await (batch.cursor.ended === null ? staging.discard(stagedFiles(batch)) : staging.clear());
          faultPoint('report.before');
          return outcome;
        },
      ),
    );

/** Writes in hand here, by the checkpoint that each makes. */
const inHand = new Map<string, Promise<unknown>>();
/** Who is tried again sooner or later is waited for so long. */
const TURN_MILLISECONDS = 10_000;
/** Between looks whether it has come to that; twice as long each time. */
const FIRST_LOOK_MILLISECONDS = 50;

/**
 * Writes a batch once the one before it is written.
 * @param behind whether that one is still on its way, so that its checkpoint may be missing for a while.
 * @throws {CheckpointConflictError}
 */
async function inTurn(
  { base, next, workflowId }: WriteRequest,
  behind: boolean,
  write: () => Promise<WriteOutcome>,
): Promise<WrittenBatch> {
  if (!behind) return during(next, write());
  const { cancellationSignal: signal } = Context.current();
  const came = Date.now();
  const isEarly = (thrown: unknown) =>
    thrown instanceof CheckpointConflictError &&
    thrown.holder === holderText(workflowId) &&
    Date.now() < came + TURN_MILLISECONDS;
  const work = async (): Promise<WrittenBatch> => {
    for (let look = FIRST_LOOK_MILLISECONDS; ; look *= 2) {
      await inHand.get(base)?.catch(() => undefined);
      const waited = (Date.now() - came) / 1000;
      try {
        return { ...(await write()), ...(waited > 0 && { waited }) };
      } catch (thrown) {
        if (!isEarly(thrown)) throw thrown;
        await delay(look, undefined, { signal });
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
    workflowId: Context.current().info.workflowExecution?.workflowId ?? '',
  };
}
