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

/** Registers Highwater's search attributes with the namespace of a worker. */
export class SearchAttributeRegistry {
  /** When a namespace refused them last. */
  private readonly refused = new Map<string, number>();

  /**
   * Returns whether the namespace of the current activity knows the search attributes; adds them where that is permitted. A
   * workflow that sets one that is not known would be blocked, so only a plain yes counts, and only of this moment: a
   * server that is started again may have forgotten what it knew.
   */
  async isRegistered(): Promise<boolean> {
    const { client, info } = Context.current();
    return this.register(client, info.workflowNamespace ?? 'default');
  }

  /**
   * Registers the search attributes now, and again whenever the server has forgotten them, so that workflows that set
   * them are not blocked.
   * @returns a function that ends it.
   */
  watch(connection: ConnectionLike, namespace: string): () => void {
    const client = new Client({ connection, namespace });
    const register = () => void this.register(client, namespace);
    register();
    const timer = setInterval(register, WATCH_MILLISECONDS);
    timer.unref();
    return () => clearInterval(timer);
  }

  private async register(client: Client, namespace: string): Promise<boolean> {
    const since = this.refused.get(namespace);
    if (since !== undefined && performance.now() - since < AGAIN_MILLISECONDS) return false;
    try {
      const isKnown = await client.withDeadline(Date.now() + ANSWER_MILLISECONDS, () =>
        addMissing(client, namespace),
      );
      if (isKnown) this.refused.delete(namespace);
      else this.refused.set(namespace, performance.now());
      return isKnown;
    } catch (thrown) {
      // Not permitted, or not there in this version: a sync runs as well without. A server that cannot be reached now is
      // asked again the next time.
      if (!PASSING.includes(codeOf(thrown))) this.refused.set(namespace, performance.now());
      return false;
    }
  }
}

/**
 * gRPC status codes of a server that starts, does not answer, or takes a while to know new attributes: CANCELLED,
 * INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAVAILABLE.
 */
const PASSING = [1, 3, 4, 14];
const ALREADY_EXISTS = 6;
const codeOf = (thrown: unknown) => Number((thrown as { code?: unknown }).code);

/** Adds the search attributes that a namespace lacks. Returns whether it knows them all then. */
async function addMissing(client: Client, namespace: string): Promise<boolean> {
  const { operatorService } = client.connection;
  const wanted = Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, TYPES[type]] as const);
  const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
  const missing = wanted.filter(([name]) => customAttributes[name] === undefined);
  // An attribute of another type under our name belongs to another application.
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
