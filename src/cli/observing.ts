/** Readers for the page and the report, built from the code of other commands. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { HighwaterClient } from '../client.js';
import { destinationKind } from '../config/index.js';
import type { Means } from '../ui/details.js';
import type { Connection } from '../ui/watch.js';
import { chosenTrust } from '../trust/policy.js';
import { linesOf } from './logs.js';
import { destinationOf } from './output.js';
import { query } from './query.js';
import { runningServer } from './server.js';

/** Connects to the server that is there. @throws {Error} if there is none. */
export async function connect(): Promise<Connection> {
  const { server, to } = await runningServer();
  const client = await HighwaterClient.connect(to);
  return { client, address: to.address, namespace: to.namespace, webUi: server.uiUrl };
}

const EVENTS_READ = 300;
const EVENTS_SHOWN = 30;

/**
 * Returns the means. Configurations come from everyone who can start workflows on the server: unless it is one of
 * loopback, only destinations that the user of this command has named are read.
 * @param own the destinations that the user has named.
 * @param address of the Temporal server; null while it is not known.
 */
export function meansOf(own: readonly string[], address: () => string | null): Means {
  const named = new Set(
    [...own, ...(process.env['HIGHWATER_DESTINATION'] ? [process.env['HIGHWATER_DESTINATION']] : [])].map(
      asAddress,
    ),
  );
  return {
    ask: query,
    addressOf: (plan, reported) =>
      reported !== null && destinationKind(reported) === 'duckdb' ? reported : destinationOf(undefined, plan),
    refusalOf: (destination) => {
      if (named.has(asAddress(destination))) return missingFile(destination);
      const at = address();
      if (at !== null && chosenTrust({}, at, process.env) === 'local') return missingFile(destination);
      return 'this command reads only destinations that you name, since others can start syncs on this server; add --destination';
    },
    events: async (client, id, runId) => {
      const { workflowService } = client.temporal.connection;
      const { history } = await workflowService.getWorkflowExecutionHistoryReverse({
        namespace: client.temporal.options.namespace,
        execution: { workflowId: id, runId },
        maximumPageSize: EVENTS_READ,
      });
      const events = await client.payloads.readable([...(history?.events ?? [])].reverse());
      return linesOf(client.payloads, events).slice(-EVENTS_SHOWN);
    },
  };
}

const asAddress = (destination: string): string =>
  destinationKind(destination) === 'duckdb' ? resolve(destination) : destination;

const missingFile = (destination: string): string | null =>
  destinationKind(destination) === 'duckdb' && !existsSync(destination)
    ? `there is no file ${destination} on this machine; run the command where the worker runs`
    : null;
