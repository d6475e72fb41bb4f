import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../protocol.js';

const TYPES = { KEYWORD: 2, INT: 3, DATETIME: 6 } as const satisfies Record<
  (typeof SEARCH_ATTRIBUTES)[keyof typeof SEARCH_ATTRIBUTES],
  number
>;
/** Asked again after so long where a namespace did not know them, or did not let us add them. */
const AGAIN_MILLISECONDS = 60_000;
const ANSWER_MILLISECONDS = 3000;

/** Servers and namespaces that workers of this process have asked. */
const asked = new Map<string, { known: boolean; at: number }>();

/**
 * Whether the namespace knows Highwater's search attributes; adds them where that is permitted. A workflow that sets
 * one that is not known would be blocked, so only a plain yes counts.
 */
export async function searchAttributesKnown(cluster: string): Promise<boolean> {
  const { client, info } = Context.current();
  const namespace = info.workflowNamespace ?? 'default';
  const where = `${cluster} ${namespace}`;
  const before = asked.get(where);
  if (before !== undefined && (before.known || Date.now() - before.at < AGAIN_MILLISECONDS))
    return before.known;
  // Not permitted, not there in this version, or not within reach just now: a sync runs as well without.
  const known = await client
    .withDeadline(Date.now() + ANSWER_MILLISECONDS, () => register(client, namespace))
    .catch(() => false);
  asked.set(where, { known, at: Date.now() });
  return known;
}

async function register(client: Client, namespace: string): Promise<boolean> {
  const { operatorService } = client.connection;
  const wanted = Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, TYPES[type]] as const);
  const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
  const missing = wanted.filter(([name]) => customAttributes[name] === undefined);
  // One of another type under our name is somebody else's.
  if (wanted.some(([name, type]) => ![undefined, type].includes(customAttributes[name] as typeof type)))
    return false;
  if (missing.length > 0) {
    await operatorService.addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(missing) });
  }
  // Some servers take a while until they know what was added; the next pass asks again.
  await client.workflow.count("HighwaterStatus = 'running'");
  return true;
}
