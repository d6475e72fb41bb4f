import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { destinationKind, hashOf, planFrom } from '../config/index.js';
import { isRange, isSameCluster } from '../destinations/checkpoints.js';
import type { OwnerRecord } from '../destinations/duckdb/owner.js';
import type { Destination, OpenRequest, OpenResult, StreamMove } from '../destinations/destination.js';
import {
  ConfigurationError,
  DestinationBusyError,
  DestinationGoneError,
  MoveRefusedError,
} from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  allChildren,
  childTable,
  strategyKey,
  strategyName,
  type FailedOpening,
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
import type { CustomStrategies } from '../strategies/index.js';
import { isRunning, ownHolder } from './cluster.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { fingerprintOf } from '../plan/fingerprint.js';
import { readsOtherwise, streamMove } from '../plan/moves.js';
import { checkedRange, removeForsaken } from './ranges.js';
import { planStrategy } from '../plan/strategy.js';
import { streamKey } from '../plan/stream-key.js';

/** Checks the configuration, makes the table ready, claims the stream and reads its checkpoint. */
export const openStream =
  (dependencies: Dependencies): Activities['openStream'] =>
  (input) => {
    let opening: FailedOpening | null = null;
    return reporting(
      () =>
        beating(
          () => 'opening',
          async () => {
            const plan = planFrom(input.configuration, input.stream ?? null, dependencies.extensions);
            opening = openingOf(plan, dependencies, input);
            try {
              return await openPlan(dependencies, input, withHook(plan, dependencies));
            } catch (thrown) {
              if (await dependencies.searchAttributes.isRegistered()) opening.searchAttributes = true;
              throw thrown;
            }
          },
        ),
      () => opening?.isContinuous === true,
      () => opening,
    );
  };

const openingOf = (
  { stream, options, destination, intervalSeconds }: StreamPlan,
  { defaultDestination }: Dependencies,
  { range }: OpenStreamInput,
): FailedOpening => ({
  stream,
  strategy: strategyName(options),
  destination: destination ?? defaultDestination,
  isContinuous: range === undefined && intervalSeconds !== null,
});

async function openPlan(
  dependencies: Dependencies,
  input: OpenStreamInput,
  whole: StreamPlan,
): Promise<OpenedStream | Redirect> {
  const { host, server } = dependencies;
  const plan: StreamPlan = input.range === undefined ? whole : { ...whole, intervalSeconds: null };
  // Fails here, before anything is written, when a variable is not set, or not allowed.
  await requireReferences(plan, dependencies);
  await loadHook(plan, dependencies);
  const path = await host.locate(plan.destination ?? dependencies.defaultDestination);
  const wanted = wantedMove(input, { plan, destination: path }, dependencies.extensions.strategies);
  if (input.expectDatabase !== null && destinationKind(path) === 'duckdb' && !existsSync(path)) {
    throw new DestinationGoneError(`the destination ${path} is gone`);
  }
  const hosted = await host.claim(path);
  const own = await ownHolder(input.firstRunId, server);
  if (!('destination' in hosted)) return redirectTo(path, hosted, own);
  const { destination, unfit } = hosted;
  const wrong = unfit?.(plan) ?? [];
  if (wrong.length > 0)
    throw new ConfigurationError(wrong.map(({ key, message }) => ({ path: key, message })));
  const isHeldByRunning = (other: Holder) => isRunning(other, own, server);
  if (input.range !== undefined) plan.range = await checkedRange(whole, destination, input.range);
  const key = streamKey(plan);
  if (plan.range !== undefined) await removeForsaken(key, destination, isHeldByRunning);
  const request: OpenRequest = {
    key,
    table: plan.table,
    ...(plan.children !== undefined && { children: allChildren(plan.children).map(childTable) }),
    holder: own,
    // The findings of an earlier audit say nothing about rows written since.
    full: input.full || plan.range?.kind === 'audit',
    takeOver: input.takeOver,
    isRunning: isHeldByRunning,
    fingerprint: fingerprintOf(plan),
    ...(input.expectDatabase !== null && { expects: input.expectDatabase }),
  };
  const { opened, refused } = await openMoved(destination, request, wanted);
  faultPoint('open.after');
  // Batches that were staged and not committed are fetched again from the checkpoint.
  await new Staging(hosted.beside, key).clear();
  return {
    ...describeStream(plan, opened, hosted.queue, path, dependencies.extensions.strategies),
    ...(input.move !== undefined && { moved: { refused } }),
    ...(input.change !== undefined && { configurationHash: hashOf(input.configuration) }),
    ...((await dependencies.searchAttributes.isRegistered()) && { searchAttributes: true }),
  };
}

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
 * Notes the version of the code of a plan's hook in the plan.
 * @throws {ConfigurationError | NotAllowedError} if this worker has no such hook.
 */
function withHook(plan: StreamPlan, { hooks }: Dependencies): StreamPlan {
  const { request } = plan;
  const { shape } = request;
  if (shape?.transform === undefined) return plan;
  const { hook } = shape.transform;
  const { digest } = hooks.find(hook);
  return { ...plan, request: { ...request, shape: { ...shape, transform: { hook, digest } } } };
}

/** Loads a plan's hook, so that one that cannot be loaded is found out before anything is written. */
async function loadHook({ request }: StreamPlan, { hooks }: Dependencies): Promise<void> {
  const hook = request.shape?.transform?.hook;
  if (hook !== undefined) await hooks.runnerOf(hooks.find(hook)).load();
}

/** A move of the stream while it is opened, or why there is none. */
interface WantedMove {
  move?: StreamMove;
  refused: string | null;
}

/**
 * Returns how the stream is to be moved while it is opened.
 * @throws {ChangeRefusedError}
 */
function wantedMove(
  { move, change }: OpenStreamInput,
  opened: LastOpened,
  custom: CustomStrategies,
): WantedMove {
  // Rows read by the configuration before are stale, and a pass in progress does not end as a complete one.
  const { plan } = opened;
  if (change !== undefined && (change.from === null || readsOtherwise(change.from, opened)))
    return { move: streamMove({ id: change.id, to: { here: true } }, plan), refused: null };
  if (move === undefined) return { refused: null };
  try {
    return { move: streamMove(move, plan, custom), refused: null };
  } catch (thrown) {
    if (!(thrown instanceof MoveRefusedError)) throw thrown;
    return { refused: thrown.message };
  }
}

/** Opens the stream moved, or where it stands if the destination refuses the move. */
async function openMoved(
  destination: Destination,
  request: OpenRequest,
  { move, refused }: WantedMove,
): Promise<{ opened: OpenResult; refused: string | null }> {
  if (move === undefined) return { opened: await destination.openStream(request), refused };
  try {
    return { opened: await destination.openStream({ ...request, move }), refused };
  } catch (thrown) {
    if (!(thrown instanceof MoveRefusedError)) throw thrown;
    return { opened: await destination.openStream(request), refused: thrown.message };
  }
}

function describeStream(
  plan: StreamPlan,
  { checkpoint, neighbours, database, notes: found = [] }: OpenResult,
  queue: string,
  destination: string,
  custom: CustomStrategies,
): OpenedStream {
  const { strategy } = planStrategy(plan, custom);
  const notes: Note[] = [...plan.notes, ...found];
  const own = sourceIdentity(plan.baseUrl);
  const elsewhere = neighbours.filter(
    (one) => one.strategy === strategyKey(plan.options) && one.source !== own && !isRange(one),
  );
  if (checkpoint.cursor === null && plan.range === undefined && elsewhere.length > 0) {
    const sources = [...new Set(elsewhere.map(({ source }) => source))].join(', ');
    notes.push({
      code: 'source_changed',
      message:
        `table ${plan.table.schema}.${plan.table.table} has rows of ${sources}, but none of ${own} yet, from which everything is read now. ` +
        'Rows that only the other source has stay in the table. If you do not want that, give each source its own table.',
    });
  }
  const others = [...new Set(neighbours.map((key) => key.strategy))].filter(
    (name) => name !== strategyKey(plan.options),
  );
  if (others.length > 0) {
    notes.push({
      code: 'table_shared',
      message:
        `table ${plan.table.schema}.${plan.table.table} also has rows written by the strategy ${others.join(', ')}. ` +
        `If the endpoints number records differently (as step_size does in the sample API), one record ` +
        `becomes two rows: give each strategy its own table or schema.`,
    });
  }
  const { options } = plan;
  const seesNoUpdates =
    options.strategy === 'offset' && options.fullRescan === null && options.incremental == null;
  if (seesNoUpdates && plan.range === undefined) {
    notes.push({
      code: 'updates_unseen',
      message:
        'offset finds an update only if it moves the record to the end of the list; an update of a record that stays ' +
        'before the saved offset goes unnoticed. If updates matter, set "full_rescan".',
    });
  }
  const cursor = checkpoint.cursor ?? strategy.begin(null, new Date(0).toISOString());
  return { plan, checkpoint, queue, database, destination, state: strategy.state(cursor), notes };
}

/**
 * Sends the sync to the queue of the destination's owner. @throws {DestinationBusyError} where the owner takes no
 * work of this Temporal server.
 */
function redirectTo(path: string, owner: OwnerRecord, own: Holder): Redirect {
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
