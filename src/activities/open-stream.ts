import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { destinationKind, hashOf, planFrom } from '../config/index.js';
import { isRange, isSameCluster } from '../destinations/checkpoints.js';
import type { OwnerRecord } from '../destinations/duckdb/owner.js';
import type { OpenResult, StreamMove } from '../destinations/destination.js';
import { DestinationBusyError, DestinationGoneError, MoveRefusedError } from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  type Holder,
  type LastOpened,
  type Note,
  type OpenedStream,
  type OpenStreamInput,
  type Redirect,
  type StreamPlan,
} from '../protocol.js';
import { referringParts, resolveRequest, sourceIdentity } from '../sources/references.js';
import { Staging } from '../staging/staging.js';
import { strategyOf } from '../strategies/index.js';
import { isRunning, ownHolder } from './cluster.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { fingerprintOf } from '../plan/fingerprint.js';
import { readsOtherwise, streamMove } from '../plan/moves.js';
import { checkedRange, removeForsaken } from './ranges.js';
import { searchAttributesKnown } from './search-attributes.js';
import { streamKey } from '../plan/stream-key.js';

/** Checks the configuration, makes the table ready, claims the stream and reads its checkpoint. */
export const openStream = (dependencies: Dependencies): Activities['openStream'] => {
  const { host, server } = dependencies;
  return (input) => {
    let goesOn = false;
    const open = (): Promise<OpenedStream | Redirect> =>
      beating(
        () => 'opening',
        async () => {
          const whole = planFrom(input.configuration, input.stream ?? null);
          goesOn = input.expectDatabase !== null && whole.intervalSeconds !== null;
          const plan: StreamPlan = input.range === undefined ? whole : { ...whole, intervalSeconds: null };
          // Fails here, before anything is written, when a variable is not set, or not allowed.
          await requireReferences(plan, dependencies);
          const path = await host.locate(plan.destination ?? dependencies.defaultDestination);
          const { move, refused } = wanted(input, { plan, destination: path });
          if (input.expectDatabase !== null && destinationKind(path) === 'duckdb' && !existsSync(path)) {
            throw new DestinationGoneError(`the destination ${path} is gone`);
          }
          const hosted = await host.claim(path);
          const own = await ownHolder(input.firstRunId, server);
          if (!('destination' in hosted)) return redirect(path, hosted, own);
          const runs = (other: Holder) => isRunning(other, own, server);
          if (input.range !== undefined)
            plan.range = await checkedRange(whole, hosted.destination, input.range);
          const key = streamKey(plan);
          if (plan.range !== undefined) await removeForsaken(key, hosted.destination, runs);
          const openedWith = (move?: StreamMove) =>
            hosted.destination.openStream({
              ...{ key, table: plan.table, holder: own },
              // What an earlier audit has met says nothing of what was written since.
              full: input.full || plan.range?.kind === 'audit',
              takeOver: input.takeOver,
              isRunning: runs,
              fingerprint: fingerprintOf(plan),
              ...(input.expectDatabase !== null && { expects: input.expectDatabase }),
              ...(move !== undefined && { move }),
            });
          const moved = { refused };
          const opened = await openedWith(move).catch((thrown: unknown) => {
            if (!(thrown instanceof MoveRefusedError)) throw thrown;
            moved.refused = thrown.message;
            return openedWith();
          });
          faultPoint('open.after');
          // What was staged and not committed is fetched again from the checkpoint.
          await new Staging(hosted.beside, key).clear();
          const described = describe(plan, opened, hosted.queue, path);
          return {
            ...described,
            ...(input.move !== undefined && { moved }),
            ...(input.change !== undefined && { configurationHash: hashOf(input.configuration) }),
            ...((await searchAttributesKnown(server.address)) && { searchAttributes: true }),
          };
        },
      );
    return reporting(open, () => goesOn);
  };
};

/**
 * Refuses a request whose references lead nowhere, or where they may not.
 * @throws {ConfigurationError | NotAllowedError | SecretUnavailableError}
 */
async function requireReferences(
  { baseUrl, request }: StreamPlan,
  { environment, trust, secrets }: Dependencies,
): Promise<void> {
  const read = await secrets.read(referringParts(baseUrl, request), trust);
  resolveRequest(baseUrl, request, environment, trust, read);
}

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
  { checkpoint, neighbours, database, notes: found = [] }: OpenResult,
  queue: string,
  destination: string,
): OpenedStream {
  const { strategy } = strategyOf(plan);
  const notes: Note[] = [...plan.notes, ...found];
  const own = sourceIdentity(plan.baseUrl);
  const elsewhere = neighbours.filter(
    (one) => one.strategy === strategy.name && one.source !== own && !isRange(one),
  );
  if (checkpoint.cursor === null && plan.range === undefined && elsewhere.length > 0) {
    const sources = [...new Set(elsewhere.map(({ source }) => source))].join(', ');
    notes.push({
      code: 'source_changed',
      message:
        `table ${plan.table.schema}.${plan.table.table} also has rows of ${sources}, and nothing of ${own} was written to it ` +
        'so far: everything is read from there. What only the other one has stays in the table; give each a table of its own ' +
        'where that is not meant.',
    });
  }
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

/** @throws {DestinationBusyError} where the owner takes no work of this Temporal server. */
function redirect(path: string, owner: OwnerRecord, own: Holder): Redirect {
  const { address: cluster, clusterId, namespace } = owner;
  // On one machine an address is one server, also where another one answers there than did when the file was claimed.
  const isSame =
    isSameCluster({ cluster, ...(clusterId !== undefined && { clusterId }) }, own) ||
    (cluster === own.cluster && owner.host === hostname());
  if (!isSame || namespace !== own.namespace) {
    throw new DestinationBusyError(
      `the destination ${path} belongs to a worker (process ${owner.pid} on ${owner.host}) of another Temporal ` +
        `server, ${cluster}. Stop that worker, or start the sync there.`,
    );
  }
  return { redirect: owner.queue };
}
