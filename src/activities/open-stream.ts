import { existsSync } from 'node:fs';
import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/common';
import { destinationKind, hashOf, planFrom } from '../config/index.js';
import type { StreamMove } from '../destinations/destination.js';
import { DestinationBusyError, DestinationElsewhereError, MoveRefusedError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type {
  Holder,
  LastOpened,
  Note,
  OpenedStream,
  OpenStreamInput,
  Redirect,
  StreamKey,
  StreamPlan,
} from '../protocol.js';
import { resolveRequest } from '../sources/references.js';
import { Staging } from '../staging/staging.js';
import { strategyOf } from '../strategies/index.js';
import { beating, reporting } from './failures.js';
import type { Activities, Dependencies } from './index.js';
import { readsOtherwise, streamMove } from './moves.js';
import { checkedRange, removeForsaken } from './ranges.js';
import { searchAttributesKnown } from './search-attributes.js';
import { streamKey } from './stream-key.js';

/** Checks the configuration, makes the table ready, claims the stream and reads its checkpoint. */
export const openStream = (dependencies: Dependencies): Activities['openStream'] => {
  const { host, cluster } = dependencies;
  return (input) =>
    reporting(() =>
      beating(
        () => 'opening',
        async () => {
          const whole = planFrom(input.configuration, input.stream ?? null);
          const plan: StreamPlan = input.range === undefined ? whole : { ...whole, intervalSeconds: null };
          // Fails here, before anything is written, when a variable is not set.
          resolveRequest(plan.baseUrl, plan.request, dependencies.environment);
          const path = await host.locate(plan.destination ?? dependencies.defaultDestination);
          const { move, refused } = wanted(input, { plan, destination: path });
          if (input.expectDatabase !== null && destinationKind(path) === 'duckdb' && !existsSync(path)) {
            throw new DestinationElsewhereError(`the destination ${path} is not on this machine any more`);
          }
          const hosted = await host.claim(path);
          if (!('destination' in hosted)) return redirect(path, hosted, dependencies);
          if (input.range !== undefined)
            plan.range = await checkedRange(whole, hosted.destination, input.range);
          const key = streamKey(plan);
          if (plan.range !== undefined)
            await removeForsaken(key, hosted.destination, (other) => isRunning(other, cluster));
          const open = (move?: StreamMove) =>
            hosted.destination.openStream({
              ...{ key, table: plan.table, holder: holder(input, cluster) },
              // What an earlier audit has met says nothing of what was written since.
              full: input.full || plan.range?.kind === 'audit',
              takeOver: input.takeOver,
              isRunning: (other) => isRunning(other, cluster),
              ...(move !== undefined && { move }),
            });
          const moved = { refused };
          const opened = await open(move).catch((thrown: unknown) => {
            if (!(thrown instanceof MoveRefusedError)) throw thrown;
            moved.refused = thrown.message;
            return open();
          });
          if (input.expectDatabase !== null && opened.database !== input.expectDatabase) {
            throw new DestinationElsewhereError(
              `the database at ${path} is another one than this sync has written before`,
            );
          }
          faultPoint('open.after');
          // What was staged and not committed is fetched again from the checkpoint.
          await new Staging(hosted.beside, key).clear();
          const described = describe(
            ...([plan, opened.checkpoint, opened.neighbours] as const),
            ...([hosted.queue, opened.database, path] as const),
          );
          return {
            ...described,
            ...(input.move !== undefined && { moved }),
            ...(input.change !== undefined && { configurationHash: hashOf(input.configuration) }),
            ...((await searchAttributesKnown(cluster)) && { searchAttributes: true }),
          };
        },
      ),
    );
};

/**
 * How the stream is to be moved while it is opened, or why it cannot be.
 * @throws {ChangeRefusedError}
 */
function wanted(
  { move, change }: OpenStreamInput,
  opened: LastOpened,
): { move?: StreamMove; refused: string | null } {
  // What was read by the configuration before is stale, and a pass in the middle does not end as a whole one.
  const { plan } = opened;
  if (change !== undefined && (change.from === null || readsOtherwise(change.from, opened)))
    return { move: streamMove({ id: change.id, to: { here: true } }, plan), refused: null };
  if (move === undefined) return { refused: null };
  try {
    return { move: streamMove(move, plan), refused: null };
  } catch (thrown) {
    if (!(thrown instanceof MoveRefusedError)) throw thrown;
    return { refused: thrown.message };
  }
}

function describe(
  plan: StreamPlan,
  checkpoint: OpenedStream['checkpoint'],
  neighbours: StreamKey[],
  queue: string,
  database: string,
  destination: string,
): OpenedStream {
  const { strategy } = strategyOf(plan);
  const notes: Note[] = [...plan.notes];
  const others = [...new Set(neighbours.map((key) => key.strategy))].filter((name) => name !== strategy.name);
  if (others.length > 0) {
    notes.push({
      code: 'table_shared',
      message:
        `table ${plan.table.schema}.${plan.table.table} has been written by the strategy ${others.join(', ')} too; ` +
        `where their endpoints number records differently (step_size does, in the reference API), one record ` +
        `becomes two rows. Give each strategy a table or schema of its own.`,
    });
  }
  const { options } = plan;
  const seesNoUpdates =
    options.strategy === 'offset' && options.fullRescan === null && options.incremental == null;
  if (seesNoUpdates && plan.range === undefined) {
    notes.push({
      code: 'updates_unseen',
      message:
        'offset sees an update only where it moves the row in the list; the update of a row that stays in its ' +
        'place before the saved offset is invisible. Set "full_rescan" where updates matter.',
    });
  }
  const cursor = checkpoint.cursor ?? strategy.begin(null, new Date(0).toISOString());
  return { plan, checkpoint, queue, database, destination, state: strategy.state(cursor), notes };
}

function redirect(
  path: string,
  owner: { address: string; namespace: string; queue: string; pid: number; host: string },
  dependencies: Dependencies,
): Redirect {
  const namespace = Context.current().info.workflowNamespace ?? owner.namespace;
  if (owner.address !== dependencies.cluster || owner.namespace !== namespace) {
    throw new DestinationBusyError(
      `the destination ${path} belongs to a worker (process ${owner.pid} on ${owner.host}) of another Temporal ` +
        `server, ${owner.address}. Stop that worker, or start the sync there.`,
    );
  }
  return { redirect: owner.queue };
}

function holder(input: OpenStreamInput, cluster: string): Holder {
  const { workflowExecution, workflowNamespace } = Context.current().info;
  return {
    workflowId: workflowExecution?.workflowId ?? '',
    runId: workflowExecution?.runId ?? '',
    firstRunId: input.firstRunId,
    namespace: workflowNamespace ?? '',
    cluster,
  };
}

/** A holder on another Temporal server cannot be asked; the compare-and-set still keeps it from writing. */
async function isRunning(holder: Holder, cluster: string): Promise<boolean> {
  const { client, info } = Context.current();
  if (holder.cluster !== cluster || holder.namespace !== info.workflowNamespace) return false;
  try {
    const { status } = await client.workflow.getHandle(holder.workflowId).describe();
    return status.name === 'RUNNING';
  } catch (thrown) {
    if (thrown instanceof WorkflowNotFoundError) return false;
    throw thrown;
  }
}
