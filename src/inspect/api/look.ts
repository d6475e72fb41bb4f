/** Looks at one list of an API: requests, evidence, verdict. */
import { plansFrom } from '../../config/index.js';
import { HighwaterError } from '../../errors.js';
import type { StreamPlan } from '../../protocol.js';
import type { AuthKind } from '../credentials.js';
import { discover, type Discovery } from '../discover.js';
import type { ProbeOptions } from '../probe.js';
import { CHECK_REQUESTS, OutOfRequestsError, RequestBudget, SAMPLE_REQUESTS } from '../request-budget.js';
import {
  type Answer,
  besides,
  type FoundList,
  isObject,
  keyedIn,
  keyedText,
  leavesOf,
  listsIn,
  rivalsIn,
  rowsIn,
} from './answers.js';
import { counted } from '../../text.js';
import { pathText } from '../../request/paths.js';
import { findFilter, isAscending } from './filter.js';
import { type Evidence, investigate } from './investigate.js';
import { LiveApi } from './requests.js';
import { objectAt, type OneStream, type StreamKeys } from './stream-keys.js';
import { isPartOnly, pagingVerdict, type Verdict, withFilter } from './verdict.js';

/** An API gave nothing to look at; the message says why, and what to do. */
export class LookError extends HighwaterError {
  override readonly name = 'LookError';
  constructor(
    message: string,
    /** The kinds of authentication that the refusal asks for; empty where it is about something else. */
    readonly asksFor: readonly AuthKind[] = [],
  ) {
    super(message);
  }
}

/** The result of a look. */
export interface Look extends Verdict {
  /** Requests that the budget has counted. */
  requests: number;
  discovery: Discovery;
  /** Only a part of the list can be read with these keys. */
  isPartOnly: boolean;
}

/** A configuration of one stream that says where its list is, and nothing of its pages. */
export interface Place {
  configuration: OneStream;
  name: string;
  /** Parameters of pages that the user's address has. */
  preferred: readonly string[];
}

/** Records by which key and cursor field are found. */
const SAMPLE = 200;
const NEEDS_FIRST_LOOK = { strategy: 'cursor', next: 'none', records: '$', primary_key: 'id' };

/**
 * Looks at the list at a place.
 * @param onWait is told of a wait that the source asks for.
 * @param budget all requests are counted in it.
 * @param samples samples that will be read, this one included.
 * @throws {LookError} where there is no list.
 * @throws {HighwaterError} where no answer comes.
 */
export async function lookAt(
  place: Place,
  probing: (plan: StreamPlan) => Promise<ProbeOptions>,
  onWait: (seconds: number) => void,
  budget = new RequestBudget(),
  samples = 1,
): Promise<Look> {
  const plan = planOf(place, NEEDS_FIRST_LOOK);
  const options = { ...(await probing(plan)), budget };
  const kept = samples * SAMPLE_REQUESTS + CHECK_REQUESTS;
  const opened: LiveApi[] = [];
  const apiOf = async (of: StreamPlan) => {
    const api = await LiveApi.of(of, options, onWait, budget, kept);
    opened.push(api);
    return api;
  };
  try {
    const api = await apiOf(plan);
    const { answer, list, params } = await firstList(api, place.name, plan.baseUrl);
    const base = withParams(place, params);
    const liveBase = params === null ? api : await apiOf(planOf(base, NEEDS_FIRST_LOOK));
    const evidence = await investigate(liveBase, answer, list, place.name, place.preferred);
    const verdict = pagingVerdict(evidence);
    for (const other of besides(answer.document, list, place.name))
      verdict.found.push({ what: 'not read', text: other });
    const record = recordIn(answer.document, plan.baseUrl);
    if (record !== null)
      verdict.found.push({
        what: 'one record',
        text: `${record.said}, and its ${pathText(list.path)} is read. For all records, give init the address of their list, perhaps ${record.parent}`,
      });
    if (params !== null)
      verdict.keys['params'] = {
        ...paramsOf(base),
        ...params,
        ...(verdict.keys['params'] as StreamKeys | undefined),
      };
    const draft = planOf(base, verdict.keys);
    const discovery = await discover(draft, SAMPLE, [draft], options);
    describeFields(verdict, discovery);
    await addFilter(liveBase, verdict, evidence, discovery, place.name);
    return { ...verdict, requests: budget.sent, discovery, isPartOnly: isPartOnly(evidence) };
  } finally {
    for (const api of opened) api.close();
  }
}

/**
 * Looks at a list that is read in the way that the user says. Where requests show another way of paging, the result
 * says so.
 * @throws {HighwaterError} as {@link lookAt}.
 */
export async function lookAsTold(
  place: Place,
  strategy: string,
  probing: (plan: StreamPlan) => Promise<ProbeOptions>,
  onWait: (seconds: number) => void,
  budget = new RequestBudget(),
): Promise<Look> {
  const other = await lookAt(place, probing, onWait, budget, 2).catch((thrown: unknown) => {
    // Ranges of ids, for example, cannot be left out of a request.
    if (thrown instanceof LookError && thrown.asksFor.length === 0) return null;
    throw thrown;
  });
  if (other?.keys['strategy'] === strategy) return other;
  const records = other === null ? {} : { records: other.keys['records'] ?? 'data' };
  const keys: StreamKeys = { strategy, ...(strategy === 'cursor' && { next: 'link' }), ...records };
  const plan = planOf(place, keys);
  const discovery = await discover(plan, SAMPLE, [plan], { ...(await probing(plan)), budget });
  const verdict: Verdict = {
    keys,
    paging: '',
    found: [],
    assumed: [`the strategy ${strategy}, as you say`],
    unknown: [],
  };
  describeFields(verdict, discovery);
  if (other !== null) {
    verdict.unknown.push(
      `whether ${strategy} fits: without --strategy, init takes ${String(other.keys['strategy'])} (${other.paging})`,
    );
  }
  return { ...verdict, requests: budget.sent, discovery, isPartOnly: false };
}

function planOf({ configuration }: Place, keys: StreamKeys): StreamPlan {
  const [stream = {}] = configuration.streams;
  const { plans } = plansFrom({ ...configuration, streams: [{ ...stream, ...keys }] }, undefined, true);
  const [plan] = plans;
  if (plan === undefined) throw new Error('a configuration of no stream');
  return plan;
}

const paramsOf = ({ configuration }: Place): StreamKeys => objectAt(configuration.streams[0] ?? {}, 'params');

function withParams(place: Place, params: { [name: string]: string } | null): Place {
  if (params === null) return place;
  const [stream = {}] = place.configuration.streams;
  const streams = [{ ...stream, params: { ...paramsOf(place), ...params } }];
  return { ...place, configuration: { ...place.configuration, streams } };
}

/** @throws {LookError} */
async function firstList(
  api: LiveApi,
  name: string,
  address: string,
): Promise<{ answer: Answer; list: FoundList; params: { [name: string]: string } | null }> {
  const answer = await api.ask({});
  refuseUnusable(answer);
  const [list] = listsIn(answer.document, name);
  const rows = rowsIn(answer.document);
  if (list !== undefined && (rows === null || list.records.length >= rows.length)) {
    refuseRivals(answer, name);
    return { answer, list, params: null };
  }
  if (rows !== null) {
    // Datasette names the columns once, unless it is asked for objects.
    const params = { _shape: 'objects' };
    const again = await api.ask(params);
    const [objects] = listsIn(again.document, name);
    if (objects !== undefined) return { answer: again, list: objects, params };
    throw new LookError(
      `${answer.request}: the list ${rows.name} holds lists without names, which Highwater cannot store; look for a parameter that returns objects`,
    );
  }
  const addresses = addressesIn(answer);
  const keyed = keyedIn(answer.document);
  if (keyed.length > 0) {
    throw new LookError(
      `${answer.request}: the answer holds no list of records, but ${keyed.map(keyedText).join('; ')}. Highwater reads lists: look for an address or a parameter that returns one`,
    );
  }
  const record = recordIn(answer.document, address);
  if (record !== null)
    throw new LookError(
      `${answer.request}: ${record.said}, and holds no list. Give init the address of the list, perhaps ${record.parent}`,
    );
  const may =
    addresses.length === 0
      ? ''
      : `. It names these addresses, which may be lists:\n${addresses.map((one) => `  ${one}`).join('\n')}`;
  throw new LookError(
    `${answer.request}: the answer holds no list of records${may}\nGive the address of a list: highwater init URL`,
  );
}

const ID_NAME = /^_?(id|uuid|guid|key|slug|number|code)$|[a-z]Id$|_id$/;

/** Recognizes an answer that is one record whose id ends the path, as at /orders/7; null for any other. */
function recordIn(document: unknown, address: string): { said: string; parent: string } | null {
  const [, parent = '', last = ''] = /^(.*)\/([^/]+)\/?$/.exec(address.replace(/[?#].*$/s, '')) ?? [];
  if (parent === '' || !isObject(document)) return null;
  const id = decoded(last);
  const found = Object.entries(document).find(
    ([name, value]) =>
      ID_NAME.test(name) && ['string', 'number'].includes(typeof value) && String(value) === id,
  );
  return found === undefined ? null : { said: `this is one record (${found[0]}: ${id})`, parent };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @throws {LookError} where several lists may be meant. */
function refuseRivals({ document, request }: Answer, name: string): void {
  const rivals = rivalsIn(document, name);
  if (rivals.length === 0) return;
  const shown = rivals.map(({ path, records }) => `${pathText(path)} (${counted(records.length, 'record')})`);
  const names = rivals.map(({ path }) => `--name ${path.at(-1) ?? ''}`);
  throw new LookError(
    `${request}: the answer holds several lists: ${shown.join(', ')}. Say which one to read by naming the stream after it: ${names.join(', or ')}`,
  );
}

/** @throws {LookError} where an answer is a refusal, or not JSON. */
function refuseUnusable(answer: Answer): void {
  const { status, words, request, document, headers } = answer;
  const said = words === '' ? '' : `: ${words}`;
  if (status === 401 || status === 403) {
    const asksFor = schemesIn(headers.get('www-authenticate') ?? '');
    throw new LookError(`${request}: the source answered ${status}${said}`, asksFor);
  }
  if (status < 200 || status > 299) throw new LookError(`${request}: the source answered ${status}${said}`);
  if (document !== undefined) return;
  const type = headers.get('content-type')?.split(';')[0] ?? 'of no named type';
  throw new LookError(
    `${request}: the answer is not JSON (${type}). ${type.includes('html') ? 'It is a page for people: look for the address of the API itself' : 'For CSV or NDJSON, set "format" in the configuration: highwater init URL --no-discover'}`,
  );
}

/** Kinds of authentication that a `WWW-Authenticate` asks for; all that a key may be for where it names none. */
function schemesIn(header: string): AuthKind[] {
  const named = (['basic', 'bearer'] as const).filter((scheme) =>
    new RegExp(`(^|,)\\s*${scheme}\\b`, 'i').test(header),
  );
  return named.length > 0 ? named : ['bearer', 'api_key', 'basic'];
}

/** Addresses that an answer names, at most ten. */
function addressesIn({ document }: Answer): string[] {
  const found = leavesOf(document).flatMap(({ path, value }) =>
    typeof value === 'string' && /^(https?:\/\/|\/\w)/.test(value) ? [`${path.join('.')}  ${value}`] : [],
  );
  return isObject(document) ? found.slice(0, 10) : [];
}

/** Takes key and cursor field from a sample. */
function describeFields({ keys, found, unknown, assumed }: Verdict, discovery: Discovery): void {
  const { primaryKeys, cursorFields, records } = discovery;
  const [key] = primaryKeys;
  const given = keys['primary_key'];
  if (given === undefined && key !== undefined) {
    const [only = ''] = key.columns;
    keys['primary_key'] = key.columns.length === 1 ? only : key.columns;
    found.push({ what: 'primary key', text: `${key.columns.join(', ')}: ${key.why}` });
    if (!key.isNamedLikeKey) assumed.push(`${only} identifies a record`);
  } else if (given === undefined) {
    unknown.push(
      records === 0
        ? 'the primary key and the columns: there is no record to look at'
        : 'the primary key: no column or pair of columns is unique in the sample; set primary_key in the file',
    );
  }
  const [field] = cursorFields;
  if (field?.says === 'changed') {
    keys['cursor_field'] = field.name;
    if (field.format !== undefined) keys['cursor_format'] = field.format;
    found.push({ what: 'cursor field', text: `${field.name}: ${field.why}` });
  } else if (records > 0) {
    const others = cursorFields.map(({ name }) => name).join(', ');
    unknown.push(
      `a field with the time of the last change${others === '' ? '' : ` (times in the records: ${others})`}: each pass reads the whole list`,
    );
  }
}

async function addFilter(
  api: LiveApi,
  verdict: Verdict,
  evidence: Evidence,
  { cursorFields }: Discovery,
  name: string,
): Promise<void> {
  const [field] = cursorFields;
  if (field?.says !== 'changed') return;
  const page = evidence.list.records;
  const { total: place, said } = evidence;
  const total = place === null || said === null ? null : { place, value: said };
  const filter = await findFilter(api, page, field, name, total).catch((thrown: unknown) => {
    if (thrown instanceof OutOfRequestsError) return null;
    throw thrown;
  });
  if (filter !== null && filter.reaches !== null) {
    verdict.unknown.push(
      `a parameter that returns all changes: ${filter.parameter} reaches back ${counted(filter.reaches, 'record')} of ${String(said)} only, so each pass reads the whole list`,
    );
    return;
  }
  if (filter !== null) {
    withFilter(verdict, evidence, { filter, field: field.name, isOrdered: isAscending(page, field) });
    return;
  }
  verdict.unknown.push('a parameter that returns only changes: each pass reads the whole list');
}
