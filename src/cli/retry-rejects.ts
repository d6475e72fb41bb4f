import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { isServer, loadPlans, planNamed } from '../config/index.js';
import { DuckDbDestination } from '../destinations/duckdb/duckdb.js';
import { DuckDbFile } from '../destinations/duckdb/file.js';
import { SETTINGS } from '../destinations/host.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { retryAtOwner } from '../destinations/duckdb/query-socket.js';
import type { RetryOutcome, RetryRequest } from '../destinations/sql/retry.js';
import { DestinationError } from '../errors.js';
import { allChildren } from '../protocol.js';
import { inServer } from './in-destination.js';
import { count, counted, destinationOf, print } from './output.js';

export interface RetryOptions {
  destination?: string;
  stream?: string;
  overwrite?: boolean;
  json?: boolean;
}

/** Retries the quarantined records of a configuration's streams, and prints the outcome. */
export async function retryRejects(configuration: string, options: RetryOptions): Promise<void> {
  const { plans } = await loadPlans(configuration);
  const chosen = options.stream === undefined ? plans.plans : [planNamed(plans, options.stream)];
  const outcomes: ({ stream: string; table?: string } & RetryOutcome)[] = [];
  for (const plan of chosen) {
    const destination = destinationOf(options.destination, plan);
    const own = { table: plan.table, cursorField: plan.cursorField, overwrite: options.overwrite === true };
    outcomes.push({ stream: plan.stream, ...(await retryIn(destination, own)) });
    for (const { table } of allChildren(plan.children)) {
      const outcome = await retryIn(destination, { table, isChild: true, cursorField: '', overwrite: true });
      outcomes.push({ stream: plan.stream, table: table.table, ...outcome });
    }
  }
  if (options.json === true) {
    print(JSON.stringify(outcomes));
    return;
  }
  for (const { stream, table, records, retried, rows } of outcomes) {
    const name = table === undefined ? stream : `${stream}, table ${table}`;
    if (records === 0) {
      print(`${name}: no records are quarantined.`);
      continue;
    }
    const stay = records - retried;
    const rest =
      stay === 0
        ? ''
        : `. ${count(stay)} ${stay === 1 ? 'stays' : 'stay'} quarantined; "highwater rejects" lists the current reasons`;
    print(
      `${name}: ${count(retried)} of ${counted(records, 'record')} fit now; ${counted(rows, 'row')} inserted or updated${rest}.`,
    );
  }
}

/** @throws {DestinationError} */
async function retryIn(given: string, request: RetryRequest): Promise<RetryOutcome> {
  if (isServer(given)) return inServer(given, (server) => server.retry(request));
  if (!existsSync(given)) throw new DestinationError(`there is no destination at ${given}`);
  const path = await realpath(given);
  const owner = await liveOwner(path);
  // Only the owner of the file can write it.
  if (owner !== null) return retryAtOwner(owner.socket, request);
  const destination = new DuckDbDestination(new DuckDbFile(path, SETTINGS));
  try {
    return await destination.retry(request);
  } finally {
    await destination.close();
  }
}
