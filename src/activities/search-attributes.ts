import { Context } from '@temporalio/activity';
import { Client, type ConnectionLike } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../protocol.js';

const TYPES = { KEYWORD: 2, INT: 3, DATETIME: 6 } as const satisfies Record<
  (typeof SEARCH_ATTRIBUTES)[keyof typeof SEARCH_ATTRIBUTES],
  number
>;
/** Asked again after so long where a namespace did not know them, or did not let us add them. */
const AGAIN_MILLISECONDS = 60_000;
const ANSWER_MILLISECONDS = 3000;
/** A workflow that is blocked because a server has forgotten them goes on this soon. */
const WATCH_MILLISECONDS = 15_000;

/** When servers and namespaces that workers of this process have asked said no. */
const refused = new Map<string, number>();

/**
 * Returns whether the namespace knows Highwater's search attributes; adds them where that is permitted. A workflow that
 * sets one that is not known would be blocked, so only a plain yes counts, and only of this moment: a server that is
 * started again may have forgotten what it knew.
 */
export async function searchAttributesKnown(cluster: string): Promise<boolean> {
  const { client, info } = Context.current();
  return registered(client, cluster, info.workflowNamespace ?? 'default');
}

/**
 * Registers Highwater's search attributes when a worker starts, and again whenever a server has forgotten them, so that
 * workflows that set them are not blocked.
 * @returns what ends it.
 */
export function watchSearchAttributes(
  connection: ConnectionLike,
  cluster: string,
  namespace: string,
): () => void {
  const client = new Client({ connection, namespace });
  const look = () => void registered(client, cluster, namespace);
  look();
  const timer = setInterval(look, WATCH_MILLISECONDS);
  timer.unref();
  return () => clearInterval(timer);
}

async function registered(client: Client, cluster: string, namespace: string): Promise<boolean> {
  const where = `${cluster} ${namespace}`;
  const since = refused.get(where);
  if (since !== undefined && performance.now() - since < AGAIN_MILLISECONDS) return false;
  try {
    const isKnown = await client.withDeadline(Date.now() + ANSWER_MILLISECONDS, () =>
      register(client, namespace),
    );
    if (isKnown) refused.delete(where);
    else refused.set(where, performance.now());
    return isKnown;
  } catch (thrown) {
    // Not permitted, or not there in this version: a sync runs as well without. A server that is not within reach just
    // now is asked again the next time.
    if (!PASSING.includes(codeOf(thrown))) refused.set(where, performance.now());
    return false;
  }
}

/**
 * What gRPC says of a server that starts, does not answer, or takes a while until it knows what was added: CANCELLED,
 * INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAVAILABLE.
 */
const PASSING = [1, 3, 4, 14];
const ALREADY_EXISTS = 6;
const codeOf = (thrown: unknown) => Number((thrown as { code?: unknown }).code);

async function register(client: Client, namespace: string): Promise<boolean> {
  const { operatorService } = client.connection;
  const wanted = Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, TYPES[type]] as const);
  const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
  const missing = wanted.filter(([name]) => customAttributes[name] === undefined);
  // One of another type under our name is somebody else's.
  if (wanted.some(([name, type]) => ![undefined, type].includes(customAttributes[name] as typeof type)))
    return false;
  if (missing.length > 0) {
    await operatorService
      .addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(missing) })
      .catch((thrown: unknown) => {
        // Another worker was quicker.
        if (codeOf(thrown) !== ALREADY_EXISTS) throw thrown;
      });
  }
  // Some servers take a while until they know what was added; the next opening asks again.
  await client.workflow.count("HighwaterStatus = 'running'");
  return true;
}
