import { Context } from '@temporalio/activity';
import type { WriteRequest } from '../destinations/destination.js';
import { faultPoint } from '../faults.js';
import type { StagedBatch, StagedFile, StreamPlan } from '../protocol.js';
import { Staging } from '../staging/staging.js';
import { beating, reporting } from './failures.js';
import type { Activities, Dependencies } from './index.js';
import { cursorColumn } from './ranges.js';
import { streamKey } from './stream-key.js';

/** Puts a staged batch and the checkpoint it makes into the destination, in one transaction. */
export const writeBatch =
  ({ host }: Dependencies): Activities['writeBatch'] =>
  ({ plan, destination: path, batch }) =>
    reporting(() =>
      beating(
        () => ({ records: batch.records }),
        async () => {
          const { destination, beside } = await host.get(path);
          const staging = new Staging(beside, streamKey(plan));
          faultPoint('transaction.before');
          const outcome = await destination.write(writeRequest(plan, staging, batch));
          faultPoint('commit.after');
          // Committed: should this activity run again, the checkpoint says so before a file is asked for. At the end of
          // a pass nothing else is in hand, so that what remains was left by attempts whose answer never arrived.
          await (batch.cursor.ended === null ? staging.discard(stagedFiles(batch)) : staging.clear());
          faultPoint('report.before');
          return outcome;
        },
      ),
    );

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
  const verified = (files: StagedFile[] = []) => Promise.all(files.map((file) => staging.verify(file)));
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
