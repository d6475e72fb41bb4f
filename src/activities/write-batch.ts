import { Context } from '@temporalio/activity';
import { faultPoint } from '../faults.js';
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
          const { destination } = await host.get(path);
          const key = streamKey(plan);
          const staging = new Staging(path, key);
          faultPoint('transaction.before');
          const outcome = await destination.write({
            key,
            table: plan.table,
            base: batch.base,
            next: batch.next,
            cursor: batch.cursor,
            records: batch.records,
            pages: batch.pages,
            longest: batch.longest,
            files: () => Promise.all(batch.files.map((file) => staging.verify(file))),
            workflowId: Context.current().info.workflowExecution?.workflowId ?? '',
          });
          faultPoint('commit.after');
          // Committed: should this activity run again, the checkpoint says so before a file is asked for. At the end of
          // a pass nothing else is in hand, so that what remains was left by attempts whose answer never arrived.
          await (batch.cursor.ended === null ? staging.discard(batch.files) : staging.clear());
          faultPoint('report.before');
          return outcome;
        },
      ),
    );
