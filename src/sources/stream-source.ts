import type { Remembered, StreamPlan } from '../protocol.js';
import type { Surroundings } from '../surroundings.js';
import { comparedRange, valuesFor, withinRange } from '../strategies/index.js';
import { greatestOf } from './cursor-values.js';
import { exactColumns } from './exact-columns.js';
import { HttpSource } from './http.js';
import type { ReadSecrets } from '../secrets/read-secrets.js';
import { referringParts, resolveRequest, type ResolvedRequest } from './references.js';
import type { RequestObserver, RequestStarted } from './source.js';

/**
 * Makes the source of a stream, its references resolved.
 * @param destination what refresh tokens are kept beside.
 * @param remembers what is wanted of each record's key and cursor value; everything unless told.
 * @param observe is told of each request for a page.
 * @param checksValues whether records are refused whose values their declared columns do not take.
 * @throws {ConfigurationError} where a reference leads nowhere.
 * @throws {NotAllowedError} where it leads to what the worker's owner has not listed.
 * @throws {SecretUnavailableError} where a provider of secrets does not answer.
 */
export async function sourceOf(
  plan: StreamPlan,
  surroundings: Surroundings,
  destination: string | null,
  remembers?: Remembered,
  observe?: (request: RequestStarted) => RequestObserver,
  checksValues = true,
): Promise<HttpSource> {
  const { trust, network, budgets } = surroundings;
  const { types: _, ...digits } = exactColumns(plan.table.columns);
  return new HttpSource({
    ...(await resolved(plan, surroundings)),
    spec: plan.request,
    primaryKey: plan.table.primaryKey,
    cursorField: plan.cursorField,
    ...(plan.cursorFields !== undefined && {
      cursorFields: { names: plan.cursorFields, pick: greatestOf(valuesFor(plan.options)) },
    }),
    columns: Object.keys(plan.table.columns),
    // A table that follows its source looks at each value itself, as it came.
    ...(plan.table.inference === undefined && {
      exact: checksValues ? exactColumns(plan.table.columns) : digits,
    }),
    texts: Object.keys(plan.table.columns).filter((name) => plan.table.columns[name] === 'STRING'),
    destination,
    ...(listsLists(plan) && { notesSharedKeys: true }),
    ...(plan.table.quarantine === true && { quarantine: true }),
    trust,
    network,
    budgets,
    ...(remembers !== undefined && { remembers }),
    ...(observe !== undefined && { observe }),
    ...(plan.range !== undefined && {
      within: withinRange(plan.options, comparedRange(plan.options, plan.range)),
    }),
    timeoutSeconds: plan.requestTimeoutSeconds,
  });
}

/**
 * Resolves the references of a plan's request, for a caller that sends requests of its own.
 * @throws {ConfigurationError} where a reference leads nowhere.
 */
export const resolvedRequestOf = async (
  plan: StreamPlan,
  surroundings: Surroundings,
): Promise<ResolvedRequest> => (await resolved(plan, surroundings)).resolved;

/** A request with its secrets, and how to read these anew. */
async function resolved(
  { baseUrl, request }: StreamPlan,
  { environment, trust, secrets }: Surroundings,
): Promise<{ resolved: ResolvedRequest; reread?: () => Promise<ResolvedRequest | null> }> {
  const parts = referringParts(baseUrl, request);
  const resolve = (read: ReadSecrets) => resolveRequest(baseUrl, request, environment, trust, read);
  let current = await secrets.read(parts, trust);
  if (current.isEmpty) return { resolved: resolve(current) };
  const reread = async () => {
    secrets.forget(current);
    const before = current;
    current = await secrets.read(parts, trust);
    return current.equals(before) ? null : resolve(current);
  };
  return { resolved: resolve(current), reread };
}

/**
 * Whether two records of one answer that share a key are a mistake: a JSONPath may select the items of several lists, and
 * the answer is no feed of changes, in which a record may well come twice.
 */
const listsLists = ({ request, options, table }: StreamPlan): boolean =>
  typeof request.records === 'string' &&
  table.mode !== 'append' &&
  ['page_number', 'cursor', 'offset', 'step_size'].includes(options.strategy) &&
  ('incremental' in options ? (options.incremental ?? null) : null) === null;
