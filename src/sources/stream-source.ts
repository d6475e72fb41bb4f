import { HookChangedError } from '../errors.js';
import type { Hooks } from '../hooks/hooks.js';
import type { Remembered, StreamPlan } from '../protocol.js';
import type { Surroundings } from '../surroundings.js';
import { comparedRange, valuesFor, withinRange } from '../strategies/index.js';
import { greatestOf } from './cursor-values.js';
import { exactColumns } from './exact-columns.js';
import { HttpSource, type SourceTransform } from './http.js';
import type { ReadSecrets } from '../secrets/read-secrets.js';
import { referringParts, resolveRequest, type ResolvedRequest } from './references.js';
import type { RequestObserver, RequestStarted } from './source.js';

/** How a stream is read. */
export interface ReadingOptions {
  /** The keys and cursor values that are wanted of each record. Default: all. */
  remembers?: Remembered;
  /** Is told of each request for a page. */
  observe?: (request: RequestStarted) => RequestObserver;
  /** Whether records are refused whose values their declared columns do not take. Default: true. */
  checksValues?: boolean;
  /** Is told what the hook of a transform made of each record. */
  onOutcome?: NonNullable<SourceTransform['onOutcome']>;
}

/**
 * Makes the source of a stream, its references resolved.
 * @param destination what refresh tokens are kept beside.
 * @throws {ConfigurationError} where a reference or the hook of a transform leads nowhere.
 * @throws {HookChangedError} where the code of the hook has changed since the stream was opened.
 * @throws {NotAllowedError} where it leads to what the worker's owner has not listed.
 * @throws {SecretUnavailableError} where a provider of secrets does not answer.
 */
export async function sourceOf(
  plan: StreamPlan,
  surroundings: Surroundings,
  destination: string | null,
  { remembers, observe, checksValues = true, onOutcome }: ReadingOptions = {},
): Promise<HttpSource> {
  const { trust, network, budgets, hooks } = surroundings;
  const { types: _, ...digits } = exactColumns(plan.table.columns);
  const transform = transformOf(plan, hooks, onOutcome);
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
    // In mode append each row is kept.
    ...(plan.table.mode !== 'append' && { notesSharedRowKeys: true }),
    ...(plan.table.quarantine === true && { quarantine: true }),
    trust,
    network,
    budgets,
    ...(transform !== undefined && { transform }),
    ...(remembers !== undefined && { remembers }),
    ...(observe !== undefined && { observe }),
    ...(plan.range !== undefined && {
      within: withinRange(plan.options, comparedRange(plan.options, plan.range)),
    }),
    timeoutSeconds: plan.requestTimeoutSeconds,
  });
}

/**
 * Returns what runs the hook of a plan; undefined for one without.
 * @throws {ConfigurationError | NotAllowedError} if the hook is not there, or not allowed.
 * @throws {HookChangedError} if its code has changed since the stream was opened.
 */
function transformOf(
  { request, options, stream, table }: StreamPlan,
  hooks: Hooks,
  onOutcome: SourceTransform['onOutcome'],
): SourceTransform | undefined {
  const wanted = request.shape?.transform;
  if (wanted === undefined) return undefined;
  const { hook, digest } = wanted;
  const file = hooks.find(hook);
  if (digest !== undefined && digest !== file.digest)
    throw new HookChangedError(`the code of the hook ${hook} has changed: the stream is opened again`);
  const runner = hooks.runnerOf(file);
  const stopsAtFailure = table.quarantine !== true && onOutcome === undefined;
  return {
    hook,
    run: (records, parent) => runner.run({ records, stream, parent }, stopsAtFailure),
    ...(onOutcome !== undefined && { onOutcome }),
    sendsKeys: options.strategy === 'cursor' && (options.tokenIsLastKey || options.follows === 'last_record'),
  };
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
