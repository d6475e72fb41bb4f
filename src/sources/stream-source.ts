import { exactColumns } from '../destinations/columns/exact.js';
import type { Remembered, StreamPlan } from '../protocol.js';
import type { Surroundings } from '../surroundings.js';
import { comparedRange, valuesFor, withinRange } from '../strategies/index.js';
import { greatestOf } from './cursor-values.js';
import { HttpSource } from './http.js';
import { resolveRequest } from './references.js';
import type { RequestInHand, RequestStarted } from './source.js';

/**
 * The source of a stream, its references resolved.
 * @param destination what refresh tokens are kept beside.
 * @param remembers what is wanted of each record's key and cursor value; everything unless told.
 * @param observe is told of each request for a page.
 * @param checksValues whether records are refused whose values their declared columns do not take.
 * @throws {ConfigurationError} where a reference leads nowhere.
 * @throws {NotAllowedError} where it leads to what the worker's owner has not listed.
 */
export function sourceOf(
  plan: StreamPlan,
  { environment, trust, network }: Surroundings,
  destination: string | null,
  remembers?: Remembered,
  observe?: (request: RequestStarted) => RequestInHand,
  checksValues = true,
): HttpSource {
  const { types: _, ...digits } = exactColumns(plan.table.columns);
  return new HttpSource({
    resolved: resolveRequest(plan.baseUrl, plan.request, environment, trust),
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
    ...(plan.table.quarantine === true && { quarantine: true }),
    ...{ trust, network },
    ...(remembers !== undefined && { remembers }),
    ...(observe !== undefined && { observe }),
    ...(plan.range !== undefined && {
      within: withinRange(plan.options, comparedRange(plan.options, plan.range)),
    }),
    timeoutSeconds: plan.requestTimeoutSeconds,
  });
}
