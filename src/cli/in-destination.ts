/** Work in a destination that a command here does itself, with no workflow. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { WorkflowNotFoundError } from '@temporalio/common';
import { HighwaterClient } from '../client.js';
import { destinationKind } from '../config/index.js';
import { isPlain, target } from '../connection.js';
import type { Destination, History, HistoryRequest } from '../destinations/destination.js';
import { DuckDbDestination } from '../destinations/duckdb/duckdb.js';
import { DuckDbFile } from '../destinations/duckdb/file.js';
import { historyIn } from '../destinations/files/log.js';
import { openToRead } from '../destinations/files/reader.js';
import { DestinationHost, SETTINGS } from '../destinations/host.js';
import { findServer } from '../destinations/location.js';
import { extensionsOf, loadExtensions } from '../extensions.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { postgresPool } from '../destinations/postgres/pool.js';
import { PostgresDestination } from '../destinations/postgres/postgres.js';
import { historyAtOwner } from '../destinations/duckdb/query-socket.js';
import { DestinationBusyError, DestinationError, messageOf } from '../errors.js';
import type { Holder } from '../protocol.js';
import { SecretStore } from '../secrets/store.js';
import { DestinationConnections } from '../trust/connections.js';
import { TrustPolicy } from '../trust/policy.js';
import { note } from './output.js';

/**
 * Works with a destination as its owner, as a worker does.
 * @throws {DestinationBusyError} while a worker owns it.
 */
export async function inDestination<T extends object>(
  path: string,
  work: (destination: Destination) => Promise<T>,
): Promise<T & { destination: string }> {
  const idle = () => Promise.resolve();
  const { destinations } = await loadExtensions(extensionsOf(process.env));
  const secrets = new SecretStore(process.env);
  const host = new DestinationHost({
    taskQueue: 'highwater-command',
    address: '',
    namespace: '',
    environment: process.env,
    trust: TrustPolicy.local(),
    secrets,
    destinations,
    poll: () => Promise.resolve(idle),
  });
  try {
    const located = await host.locate(path);
    const hosted = await host.claim(located);
    if (!('destination' in hosted)) {
      throw new DestinationBusyError(
        `the destination ${located} belongs to a running worker (process ${hosted.pid} on ${hosted.host}). Stop the ` +
          'worker first: otherwise it would continue from its own checkpoint',
      );
    }
    return { ...(await work(hosted.destination)), destination: located };
  } finally {
    await host.close();
    secrets.close();
  }
}

/**
 * The holder of a stream that a command has claimed. It names no server: a later workflow need not ask whether it
 * still runs.
 */
export const commandHolder = (name: string): Holder => ({
  workflowId: name,
  firstRunId: randomUUID(),
  runId: '',
  namespace: '',
  cluster: '',
});

/** Asks the holder's own server; one that cannot be asked is refused its next write by the compare-and-set. */
export async function isRunning(holder: Holder): Promise<boolean> {
  if (holder.cluster === '') return false;
  const own = target();
  if (holder.cluster !== own.address && !isPlain(own.connection)) {
    // The address is the destination's word: no credentials of ours go there.
    note(
      `note: the workflow "${holder.workflowId}" is assumed to have ended: its Temporal server, ${holder.cluster}, is not ` +
        'the one that the environment names, so it was not asked',
    );
    return false;
  }
  let client: HighwaterClient;
  try {
    client = await HighwaterClient.connect({ ...target(holder.cluster), namespace: holder.namespace });
  } catch (thrown) {
    note(
      `note: the workflow "${holder.workflowId}" is assumed to have ended, because its server does not answer: ${messageOf(thrown)}`,
    );
    return false;
  }
  try {
    const { status } = await client.temporal.workflow.getHandle(holder.workflowId).describe();
    return status.name === 'RUNNING';
  } catch (thrown) {
    if (thrown instanceof WorkflowNotFoundError) return false;
    throw thrown;
  } finally {
    await client.close();
  }
}

/** A server that a command uses by itself. */
export async function inServer<T>(
  destination: string,
  work: (server: PostgresDestination) => Promise<T>,
): Promise<T> {
  const { name, url, mask } = await findServer(destination, process.env);
  const connections = new DestinationConnections(TrustPolicy.local(process.env));
  const server = new PostgresDestination(postgresPool(url, 1, connections), name, undefined, mask);
  try {
    return await work(server);
  } finally {
    await server.close();
  }
}

/**
 * Returns the history of a stream from its destination, also while a worker owns it.
 * @throws {DestinationError}
 */
export async function historyOf(destination: string, request: HistoryRequest): Promise<History> {
  const kind = destinationKind(destination);
  if (kind === 'server') return inServer(destination, (server) => server.history(request));
  if (kind === 'custom') return inDestination(destination, (opened) => opened.history(request));
  if (kind === 'files') {
    const { store } = await openToRead(destination, process.env);
    try {
      return await historyIn(store, request);
    } finally {
      await store.close();
    }
  }
  if (!existsSync(destination))
    throw new DestinationError(
      `there is no destination at ${destination}; run this command on the machine that has the file`,
    );
  const path = await realpath(destination);
  const owner = await liveOwner(path);
  if (owner !== null) return historyAtOwner(owner.socket, request);
  const file = new DuckDbDestination(new DuckDbFile(path, SETTINGS));
  try {
    return await file.history(request);
  } finally {
    await file.close();
  }
}
