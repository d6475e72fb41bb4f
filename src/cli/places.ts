/** Streams and where they stand: what "state", "resync" and "configure" have in common. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import { fingerprintOf } from '../plan/fingerprint.js';
import { streamMove } from '../plan/moves.js';
import { streamKey } from '../plan/stream-key.js';
import { AlreadyRunningError, HighwaterClient, NoSuchSyncError, NotRunningError } from '../client.js';
import { defaultWorkflowId } from '../sync-description.js';
import { asConfiguration, destinationKind, loadPlans, plansFrom } from '../config/index.js';
import { target } from '../connection.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { HighwaterError, MoveRefusedError, StreamHeldError } from '../errors.js';
import type { Json, OpenedStream, StreamPlan } from '../protocol.js';
import { type CustomStrategies, strategyOf } from '../strategies/index.js';
import { readTarget, type MoveInput } from '../move-target.js';
import type { SyncOptions } from '../workflows/sync.js';
import { connected, type Connected } from './asking.js';
import { eventsOf, type Event } from './history.js';
import { chosen } from './import-state.js';
import { commandHolder, inDestination, isRunning } from './in-destination.js';
import { destinationOf, shellWord, visible } from './output.js';

/** A stream that a command is about. */
export interface Place {
  plan: StreamPlan;
  /** As it is reached from here: of a file the path. */
  destination: string;
  configuration: Json;
  /** The strategies of extensions. */
  custom: CustomStrategies;
  /** Null where a configuration names it. */
  sync: { id: string; isRunning: boolean; taskQueue: string; stream: string | null } | null;
}

/** A sync that has said nothing of what was looked for. */
export class NotKnownError extends HighwaterError {
  override readonly name = 'NotKnownError';
}

/** The stream of a configuration file. @throws {ConfigurationError} */
export async function placeOfFile(
  file: string,
  options: { stream?: string; destination?: string },
): Promise<Place> {
  const { configuration, plans, extensions } = await loadPlans(file);
  const plan = chosen(plans, options.stream);
  return {
    ...{ plan, configuration, custom: extensions.strategies, sync: null },
    destination: destinationOf(options.destination, plan),
  };
}

/**
 * The stream of a sync, as its history has it: without a worker, and also when it has ended.
 * @param options.anyStream of a sync of several streams, the first that was opened: they share a destination.
 * @throws {NoSuchSyncError | NotKnownError}
 */
export async function placeOfSync(
  to: Connected,
  id: string,
  { anyStream = false }: { anyStream?: boolean } = {},
): Promise<Place> {
  const { client } = to;
  const handle = client.sync(id);
  const isActive = (await handle.status()) === 'RUNNING';
  const { taskQueue } = await client.temporal.workflow.getHandle(id).describe();
  let configuration: Json | undefined;
  let options: SyncOptions = {};
  for (let run: string | null = await handle.runId(); run !== null;) {
    const events: readonly Event[] = await eventsOf(client, { workflowId: id, runId: run });
    const started = events[0]?.workflowExecutionStartedEventAttributes;
    if (configuration === undefined) {
      const input = (started?.input?.payloads ?? []).map((payload) => client.payloads.read(payload));
      const [given = null, givenOptions] = await Promise.all(input);
      // Only its worker knows about moves that came by signal, or that wait for a retry.
      configuration = (await client.configurationOf(id)) ?? (await configuredIn(client, events)) ?? given;
      options = (givenOptions as SyncOptions | undefined) ?? {};
    }
    const names =
      options.stream === undefined ? plansFrom(configuration, undefined, false, client.extensions).plans : [];
    if (names.length > 1 && anyStream)
      return firstPlace(
        to,
        id,
        names.map(({ stream }) => stream),
      );
    if (names.length > 1) {
      const all = names.map(({ stream }) => `${id}/${stream}`).join(', ');
      throw new NotKnownError(`each stream of "${id}" has its own cursor; name one of ${all}`);
    }
    const opened = await openedIn(client, events);
    if (opened !== null) {
      const { plan, destination } = opened;
      const isFileHere = destinationKind(destination) === 'duckdb';
      return {
        plan,
        configuration,
        custom: client.extensions.strategies,
        destination: isFileHere ? destination : destinationOf(undefined, plan),
        sync: { id, isRunning: isActive, taskQueue, stream: options.stream ?? null },
      };
    }
    run = started?.continuedExecutionRunId || null;
  }
  throw new NotKnownError(
    `the sync "${visible(id)}" has not opened its stream yet; "highwater status ${shellWord(id)}" shows why`,
  );
}

async function firstPlace(to: Connected, id: string, streams: readonly string[]): Promise<Place> {
  for (const stream of streams) {
    const place = await placeOfSync(to, `${id}/${stream}`).catch((thrown: unknown) => {
      if (thrown instanceof NotKnownError || thrown instanceof NoSuchSyncError) return null;
      throw thrown;
    });
    if (place !== null) return place;
  }
  throw new NotKnownError(
    `the sync "${visible(id)}" has opened no stream yet; "highwater status ${shellWord(id)}" shows why`,
  );
}

/** How the stream was opened last. */
async function openedIn(client: HighwaterClient, events: readonly Event[]): Promise<OpenedStream | null> {
  const openings = new Set(
    events
      .filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'openStream')
      .map(({ eventId }) => String(eventId)),
  );
  for (const { activityTaskCompletedEventAttributes: completed } of [...events].reverse()) {
    const payload = completed?.result?.payloads?.[0];
    if (payload === undefined || !openings.has(String(completed?.scheduledEventId))) continue;
    const result = (await client.payloads.read(payload)) as unknown as OpenedStream | { redirect: string };
    if ('plan' in result) return result;
  }
  return null;
}

/** The last configuration that an update has put in place of another. */
async function configuredIn(client: HighwaterClient, events: readonly Event[]): Promise<Json | null> {
  const done = new Set(
    events.flatMap(({ workflowExecutionUpdateCompletedEventAttributes: completed }) =>
      completed?.outcome?.success ? String(completed.acceptedEventId) : [],
    ),
  );
  for (const event of [...events].reverse()) {
    const input = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input;
    const payload = input?.args?.payloads?.[0];
    if (input?.name !== 'configure' || payload === undefined || !done.has(String(event.eventId))) continue;
    return client.payloads.read(payload);
  }
  return null;
}

/** The place of a stream after a move. */
export interface MovedTo {
  state: { [name: string]: Json };
  /** False: it is done as soon as the sync can. */
  done: boolean;
}

const ANSWER_MILLISECONDS = 20_000;
/** Stands in place of a workflow's id. */
const OPERATOR = 'highwater state';

/**
 * Moves a stream: by its workflow where that runs, else in its destination, through the destination's owner.
 * @throws {MoveRefusedError | NotRunningError}
 */
export async function moveTo(place: Place, move: MoveInput): Promise<MovedTo> {
  const { sync, plan, destination, custom } = place;
  if (sync?.isRunning === true)
    return connected(({ client }) => answered(client, sync.id, (one) => one.move(move)));
  if (destinationKind(destination) === 'duckdb') {
    const owner = existsSync(destination) ? await liveOwner(await realpath(destination)) : null;
    if (owner !== null) {
      const client = await HighwaterClient.connect({ ...target(owner.address), namespace: owner.namespace });
      try {
        return await throughWorker(client, place, move, owner.taskQueue);
      } finally {
        await client.close();
      }
    }
    if (sync !== null && !existsSync(destination))
      return connected(({ client }) => throughWorker(client, place, move, sync.taskQueue));
  }
  const { checkpoint } = await inDestination(destination, (opened) =>
    opened.openStream({
      key: streamKey(plan),
      table: plan.table,
      holder: commandHolder(OPERATOR),
      full: false,
      takeOver: false,
      isRunning,
      fingerprint: fingerprintOf(plan),
      move: streamMove({ id: randomUUID(), to: readTarget(move) }, plan, custom),
    }),
  ).catch((thrown: unknown) => {
    if (!(thrown instanceof StreamHeldError)) throw thrown;
    throw new MoveRefusedError(
      `the running sync "${thrown.holder}" holds the stream: give its id instead of the configuration`,
    );
  });
  const { strategy } = strategyOf(plan, custom);
  const cursor = checkpoint.cursor ?? strategy.begin(null, new Date(0).toISOString());
  return { done: true, state: { ...strategy.state(cursor), checkpoint: checkpoint.id } };
}

/** Has a running sync do something, and waits for so long as a person does. */
export async function answered<T>(
  client: HighwaterClient,
  id: string,
  work: (sync: ReturnType<HighwaterClient['sync']>) => Promise<T>,
): Promise<T> {
  return client.temporal
    .withDeadline(Date.now() + ANSWER_MILLISECONDS, () => work(client.sync(id)))
    .catch((thrown: unknown) => {
      if (!(thrown instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) throw thrown;
      throw new Error(
        `"${id}" has not answered within ${ANSWER_MILLISECONDS / 1000} s. If no worker runs, start one and repeat the command. ` +
          `If the destination is unreachable, the sync carries out the command once it can: see "highwater status ${shellWord(id)}"`,
      );
    });
}

/** A sync that does nothing but that, wherever its worker is. */
async function throughWorker(
  client: HighwaterClient,
  { configuration, plan, destination, sync }: Place,
  move: MoveInput,
  taskQueue: string,
): Promise<MovedTo> {
  const isFileHere = existsSync(destination);
  const input: Json = isFileHere
    ? { ...(configuration as { [key: string]: Json }), destination }
    : configuration;
  const plans = plansFrom(input, undefined, false, client.extensions);
  const stream = sync?.stream ?? (plans.plans.length > 1 ? plan.stream : null);
  const workflowId =
    sync?.id ?? defaultWorkflowId(plans, destination) + (stream === null ? '' : `/${stream}`);
  const handle = await client
    .start(asConfiguration(input), {
      workflowId,
      taskQueue,
      move,
      moveOnly: true,
      ...(stream !== null && { stream }),
    })
    .catch((thrown: unknown) => {
      if (!(thrown instanceof AlreadyRunningError)) throw thrown;
      throw new MoveRefusedError(
        `the sync "${workflowId}" is running: give its id instead of the configuration`,
      );
    });
  const late = delay(ANSWER_MILLISECONDS, null, { ref: false });
  const result = await Promise.race([handle.result(), late]);
  const [moved] = result?.streams ?? [];
  if (moved !== undefined) return { done: true, state: moved.cursor };
  await client.temporal.workflow.getHandle(workflowId).terminate('no worker started it in time');
  throw new NotRunningError(workflowId, 'TERMINATED', null);
}
