import { Context } from '@temporalio/activity';
import type { WriteRequest } from '../destinations/destination.js';
import { faultPoint } from '../faults.js';
import type { StagedBatch, StreamPlan } from '../protocol.js';
import { Staging } from '../staging/staging.js';
import { beating, reporting } from './failures.js';
import type { Activities, Dependencies } from './index.js';
import { streamKey } from './open-stream.js';

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
          const staged = [...batch.files, ...(batch.marks ?? []), ...(batch.rejects ?? [])];
          await (batch.cursor.ended === null ? staging.discard(staged) : staging.clear());
          faultPoint('report.before');
          return outcome;
        },
      ),
    );

/** What the destination is asked to write; the files are checked when it asks for them. */
export function writeRequest(plan: StreamPlan, staging: Staging, batch: StagedBatch): WriteRequest {
  const { base, next, cursor, records, pages, bytes, longest } = batch;
  return {
    ...{ key: streamKey(plan), table: plan.table, base, next, cursor, records, pages, bytes, longest },
    files: () => Promise.all(batch.files.map((file) => staging.verify(file))),
    ...(batch.marks !== undefined && {
      marks: () => Promise.all((batch.marks ?? []).map((file) => staging.verify(file))),
    }),
    ...(batch.rejects !== undefined && {
      rejects: () => Promise.all((batch.rejects ?? []).map((file) => staging.verify(file))),
    }),
    workflowId: Context.current().info.workflowExecution?.workflowId ?? '',
  };
}
