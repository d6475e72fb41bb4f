import type { Fingerprint } from '../destinations/fingerprint.js';
import { REFERENCE } from '../secrets/reference-syntax.js';
import {
  allItems,
  type ChildSpec,
  type Json,
  type MadeColumn,
  type RecordShape,
  type RequestSpec,
  type StrategyOptions,
  type StreamPlan,
} from '../protocol.js';
import { SECRET_NAME } from '../secrets/credential-names.js';
import { rangeTerms } from '../strategies/index.js';

/** Names of parameters whose meaning decides what is read; the others only page through it. */
const FILTERS = ['updated_since', 'updated_until', 'since'];
/** Headers that decide how an answer travels, and not what is in it. */
const OF_TRANSPORT =
  /^(user-agent|accept-encoding|connection|cache-control|pragma|x-request-id|traceparent|cookie)$/i;
const TEXT_LIMIT = 2000;

/**
 * Returns the parts of a plan that give its checkpoint its meaning. Holds no secret: references stay text, and values
 * that may be secrets are left out.
 */
export function fingerprintOf(plan: StreamPlan): Fingerprint {
  const { options, table, cursorField, cursorFields = [cursorField], parent = null, request } = plan;
  const terms = rangeTerms(options);
  const incremental = 'incremental' in options ? (options.incremental ?? null) : null;
  const followsValues = options.strategy === 'cursor' && options.follows === 'last_record';
  const shape = request.shape ?? null;
  const from = (column: string): string => {
    const field = shape?.parent[column];
    return field === undefined ? (shape?.from[column] ?? [column]).join('.') : `parent.${field}`;
  };
  const made = madeParts(shape);
  const madeOfItems = madeItemParts(shape);
  return {
    primaryKey: table.primaryKey,
    cursor:
      terms === 'values' || followsValues
        ? { field: cursorFields.join(', '), format: incremental?.format ?? 'timestamp' }
        : null,
    parent: parent === null ? null : `${parent.stream} (${parent.table.primaryKey.join(', ')})`,
    columns: Object.fromEntries(
      Object.keys(table.columns)
        .filter((column) => !Object.hasOwn(made, column))
        .map((column) => [column, from(column)]),
    ),
    ...(Object.keys({ ...made, ...madeOfItems }).length > 0 && { made: { ...made, ...madeOfItems } }),
    ...(shape?.exclude !== undefined && { exclude: shape.exclude.map(patternText).sort() }),
    ...(plan.children !== undefined && { children: childrenOf(plan.children) }),
    infers: table.inference !== undefined,
    where: shape?.where ?? null,
    ...(shape?.transform !== undefined && { transform: shape.transform }),
    start: startOf(options),
    request: requestParts(plan.baseUrl, request),
    readsAll: options.strategy === 'custom' ? options.readsAll : terms === null || rescansAlways(options),
  };
}

/** The child tables, with the places of their lists in a record. */
function childrenOf(children: readonly ChildSpec[], above = ''): NonNullable<Fingerprint['children']> {
  const found: NonNullable<Fingerprint['children']> = {};
  for (const child of children) {
    const from = `${above}${child.from.join('.')}`;
    const { table, primaryKey } = child.table;
    found[table] = { from, primaryKey };
    Object.assign(found, childrenOf(child.children ?? [], `${from}[].`));
  }
  return found;
}

/** How columns are made, in words; a key by its reference. */
function madeParts(shape: RecordShape | null): { [column: string]: string } {
  const parts = Object.entries(shape?.made ?? {}).map(([column, made]) => [column, madeText(made)] as const);
  const raw = shape?.raw === undefined ? [] : [[shape.raw, 'the whole record'] as const];
  return Object.fromEntries([...parts, ...raw]);
}

/** How columns of child tables are made, by names such as `orders_lines.card`. */
const madeItemParts = (shape: RecordShape | null): { [column: string]: string } =>
  Object.fromEntries(
    allItems(shape?.items).flatMap(({ table, made }) =>
      Object.entries(made).map(([column, one]) => [`${table}.${column}`, madeText(one)] as const),
    ),
  );

function madeText(made: MadeColumn): string {
  if ('value' in made) return `the value ${JSON.stringify(made.value).slice(0, TEXT_LIMIT)}`;
  const { from, expression, hash, mask } = made;
  const source =
    expression === undefined
      ? from.join('.')
      : `the expression ${JSON.stringify(expression.slice(0, TEXT_LIMIT))}${/\bthis\b/.test(expression) ? ` of ${from.join('.')}` : ''}`;
  if (hash !== undefined)
    return `the SHA-256 of ${source}${hash.key === null ? '' : ` with the key ${hash.key}`}`;
  return mask === undefined ? source : `the mask ${mask} of ${source}`;
}

const patternText = (pattern: readonly (string | null)[]) => pattern.map((name) => name ?? '*').join('.');

/** Whether each pass over a list that is read by offset reads the whole of it. */
function rescansAlways(options: StrategyOptions): boolean {
  const rescan = options.strategy === 'offset' ? options.fullRescan : null;
  return rescan !== null && 'passes' in rescan && rescan.passes === 1;
}

function startOf(options: StrategyOptions): string | null {
  if (options.strategy === 'step_size') return options.initialId;
  return 'incremental' in options ? (options.incremental?.start ?? null) : null;
}

/** The query of an address; a reference is one piece of it, whatever it holds. */
const QUERY = /^(?:\$\{[^}]*\}|[^?])*\?((?:\$\{[^}]*\}|[^#])*)/s;

/** The parts of a request that decide what is answered, by the names that a configuration has for them. */
function requestParts(baseUrl: string, request: RequestSpec): { [part: string]: string } {
  const parts: [string, string][] = [];
  const add = (part: string, name: string, value: string) => {
    if (value !== '') parts.push([part, isSecret(name, value) ? '***' : value.slice(0, TEXT_LIMIT)]);
  };
  add('method', 'method', request.method ?? 'GET');
  // The path is a part of the checkpoint's name.
  const query = QUERY.exec(baseUrl)?.[1] ?? '';
  for (const [name, value] of new URLSearchParams(query)) add(`params.${name}`, name, value);
  for (const [name, value] of Object.entries(request.params)) add(`params.${name}`, name, value);
  for (const [name, value] of Object.entries(request.headers))
    if (!OF_TRANSPORT.test(name)) add(`headers.${name.toLowerCase()}`, name, value);
  if (request.body !== undefined && request.body !== null)
    add('body', 'body', JSON.stringify(withoutSecrets(request.body)));
  for (const name of FILTERS) add(`names.${name}`, 'name', request.names[name] ?? '');
  add('records', 'records', pathText(request.records));
  if (request.recordNames !== undefined) add('record_names', 'records', pathText(request.recordNames));
  return Object.fromEntries(parts.sort(([a], [b]) => (a < b ? -1 : 1)));
}

const pathText = (path: RequestSpec['records']) => (typeof path === 'string' ? path : path.join('.'));

/** A value that stands in the configuration as it is, under a name that secrets have. */
const isSecret = (name: string, value: string) =>
  SECRET_NAME.test(name) && value.replace(REFERENCE, '').trim() !== '';

function withoutSecrets(value: Json): Json {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutSecrets);
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      typeof inner === 'string' && isSecret(name, inner) ? '***' : withoutSecrets(inner),
    ]),
  );
}
