/** Reads single pages of a source and looks at them, without a destination: what `check` and `preview` are made of. */
import { HighwaterError, RecordError } from '../errors.js';
import { counted } from '../text.js';
import {
  allChildren,
  type Cursor,
  type EndRule,
  type Json,
  type PageRequest,
  type PageSummary,
  type StreamPlan,
} from '../protocol.js';
import { failureText, type Outcome } from '../hooks/messages.js';
import { type HttpSource, refusedPageSize } from '../sources/http.js';
import { RecordSplitter } from '../sources/record-splitter.js';
import { sourceOf } from '../sources/stream-source.js';
import { ownSurroundings, type Surroundings } from '../surroundings.js';
import { OutOfRequestsError, type RequestBudget } from './request-budget.js';
import { memberTexts, pathText } from '../request/paths.js';
import {
  apart,
  ASKED_ENOUGH,
  ContradictionError,
  createStrategy,
  readValues,
  type Strategy,
  UnfollowableError,
  type Values,
  valuesFor,
} from '../strategies/index.js';

export interface ProbedPage {
  /** Method and address, secrets masked. */
  request: string;
  records: { [name: string]: Json }[];
  /** The same records as JSON texts, without spaces, each number as it was sent. */
  texts: string[];
  summary: PageSummary;
  undeclared: string[];
}

/** A record as the source sent it, and what a hook made of it. */
export interface Transformed {
  /** Null where it may not be shown. */
  record: string | null;
  outcome: Outcome;
}

/** The setting in which a probe runs. */
export interface ProbeOptions {
  environment: NodeJS.ProcessEnv;
  /** The destination beside which refresh tokens are kept. */
  destination: string;
  /** Strategies and destinations of extensions. */
  extensions?: Surroundings['extensions'];
  /** Values are read that their columns do not take. */
  takesAll?: true;
  /** Counts and limits the requests; without one, the caller limits them. */
  budget?: RequestBudget;
}

/** Pages of one stream; of one that has a parent, for the first record of that. */
export class Probe {
  readonly strategy: Strategy;

  private constructor(
    readonly plan: StreamPlan,
    private readonly parent: { [field: string]: Json } | null,
    private readonly source: HttpSource,
    private readonly surroundings: Pick<Surroundings, 'network' | 'hooks' | 'extensions'>,
    private readonly budget: RequestBudget | undefined,
    /** The records read so far, and what the hook of a transform made of each; empty for a stream without one. */
    readonly transformed: readonly Transformed[],
  ) {
    this.strategy = createStrategy(plan.options, 'usual', surroundings.extensions.strategies);
  }

  /**
   * @param plans of all streams, among them the parent's.
   * @throws {HighwaterError} as a sync would.
   */
  static async of(plan: StreamPlan, plans: readonly StreamPlan[], options: ProbeOptions): Promise<Probe> {
    const { environment, destination, takesAll, budget, extensions } = options;
    const parent = await parentFields(plan, plans, options);
    const surroundings = ownSurroundings(environment, extensions);
    const checksValues = takesAll !== true;
    const transformed: Transformed[] = [];
    const hook = plan.request.shape?.transform;
    const onOutcome = (record: string | null, outcome: Outcome) => void transformed.push({ record, outcome });
    const source = await sourceOf(plan, surroundings, destination, {
      checksValues,
      ...(hook !== undefined && { onOutcome }),
    });
    return new Probe(plan, parent, source, surroundings, budget, transformed);
  }

  close(): void {
    this.surroundings.network.close();
    this.surroundings.hooks.close();
  }

  first(): Cursor {
    return this.strategy.begin(null, new Date().toISOString());
  }

  /**
   * The page at a cursor, or why there is none. A page size that the source refuses is lowered as a sync would.
   * @returns the page, and the cursor that it was asked by.
   */
  async page(cursor: Cursor): Promise<{ page: ProbedPage; cursor: Cursor } | { end: EndRule }> {
    const request = this.strategy.request(cursor);
    if ('end' in request) return request;
    try {
      return { page: await this.read(request), cursor };
    } catch (thrown) {
      const lower = lowered(this.strategy, cursor, thrown);
      if (lower === null) throw thrown;
      const again = this.strategy.request(lower);
      return 'end' in again ? again : { page: await this.read(again), cursor: lower };
    }
  }

  /**
   * The cursor after a page, which is taken as it is.
   * @throws {HighwaterError} where the source's pages do not lead on.
   */
  after(cursor: Cursor, summary: PageSummary): Cursor {
    return advanceOnce(this.strategy, cursor, summary);
  }

  async read(of: PageRequest): Promise<ProbedPage> {
    const request = this.parent === null ? of : { ...of, parent: this.parent };
    const records: ProbedPage['records'] = [];
    const texts: string[] = [];
    const keys: string[] = [];
    const values: (string | null)[] = [];
    let count = 0;
    this.budget?.spend();
    const answer = await this.source.read(
      request,
      async ({ lines, records: part }) => {
        keys.push(...part.keys);
        values.push(...part.values);
        count += part.records;
        for (const line of lines.toString('utf8').split('\n')) {
          if (line.trim() === '') continue;
          records.push(JSON.parse(line) as { [name: string]: Json });
          texts.push(withoutSpaces(line));
        }
      },
      new AbortController().signal,
    );
    const { undeclared, remarks: _, dropped: _dropped, ...said } = answer;
    return {
      request: this.source.shownRequest(request),
      records,
      texts,
      summary: { keys, values, records: count, ...said },
      undeclared,
    };
  }
}

/** A JSON text without the spaces between its parts. */
const withoutSpaces = (json: string): string => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

/** A stream cannot be looked at. */
class CheckError extends HighwaterError {
  override readonly name = 'CheckError';
}

/**
 * Advances by a page as it is: nothing hangs on it, so that it is not asked for again.
 * @throws {HighwaterError} where the source's pages do not lead on.
 */
export function advanceOnce(strategy: Strategy, cursor: Cursor, page: PageSummary): Cursor {
  try {
    return strategy.advance(cursor, { ...page, asked: ASKED_ENOUGH });
  } catch (thrown) {
    const leadsNowhere = thrown instanceof ContradictionError || thrown instanceof UnfollowableError;
    throw leadsNowhere ? new CheckError(thrown.message) : thrown;
  }
}

/** The cursor to ask by instead, where the source refused the page size and named its maximum; else null. */
export function lowered(strategy: Strategy, cursor: Cursor, thrown: unknown): Cursor | null {
  const maximum = refusedPageSize(thrown);
  return maximum === null ? null : (strategy.lowerPageSize?.(cursor, maximum) ?? null);
}

/** The fields of the first record of a stream's parent; null where it has none. */
export async function parentFields(
  { parent = null }: StreamPlan,
  plans: readonly StreamPlan[],
  options: ProbeOptions,
): Promise<{ [field: string]: Json } | null> {
  const above = plans.find(({ stream }) => stream === parent?.stream);
  if (parent === null || above === undefined) return null;
  const probe = await Probe.of(above, plans, options);
  const first = await probe.page(probe.first()).finally(() => probe.close());
  const [text] = 'end' in first ? [] : first.page.texts;
  if (text === undefined) {
    throw new CheckError(`its parent ${parent.stream} has no records, so there is nothing to request`);
  }
  const texts = memberTexts(text, new Map(parent.fields.map((name) => [name, [name]])));
  return Object.fromEntries(
    parent.fields.map((name) => {
      const value = JSON.parse(texts.get(name) ?? 'null') as Json;
      // As a number it would have lost digits.
      const isRounded = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
      return [name, isRounded ? (texts.get(name) ?? null) : value];
    }),
  );
}

/** A finding about a stream; `problem` stops a sync or loses records, `advice` does not. */
export interface Finding {
  kind: 'fine' | 'advice' | 'problem';
  message: string;
}

/** The number of empty pages after which a probe stops. */
const EMPTY_PAGES = 12;

/** Reads a page or two of a stream, and says what they mean for its strategy. */
export async function examine(probe: Probe): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    await examinePages(probe, (kind, message) => findings.push({ kind, message }));
  } catch (thrown) {
    if (!(thrown instanceof OutOfRequestsError)) throw thrown;
    findings.push({
      kind: 'advice',
      message: `not everything was checked: ${thrown.message}; "highwater check FILE" checks the rest`,
    });
  }
  return findings;
}

async function examinePages(probe: Probe, say: Say): Promise<void> {
  const { plan } = probe;
  const first = await probe.page(probe.first());
  if ('end' in first) {
    say('problem', `there is nothing to request: ${first.end}`);
    return;
  }
  let { page, cursor } = first;
  // The first windows of a backfill, or ranges of ids, may hold nothing.
  for (let tries = 1; page.summary.records === 0 && tries < EMPTY_PAGES; tries++) {
    const next = await probe.page(probe.after(cursor, page.summary));
    if ('end' in next) break;
    ({ page, cursor } = next);
  }
  const { summary } = page;
  say('fine', `${page.request}: ${counted(summary.records, 'record')}`);
  for (const { message } of cursor.notes) say('advice', message);
  sayTransformed(probe, say);
  if (summary.records === 0) {
    const filtered = filterParameter(plan, probe.strategy.request(cursor));
    say(
      filtered === null ? 'advice' : 'problem',
      `no record came, so keys, order, paging and range boundary could not be checked. ` +
        (filtered === null
          ? 'If the list is not meant to be empty, look at "path", "params" and "records"'
          : `The request asks for changes since ${filtered.value}, by the parameter ${filtered.name}: look at that parameter and at "start"`),
    );
    return;
  }
  const keys = keysOfRows(plan, page);
  if (new Set(keys).size < keys.length) {
    say(
      'problem',
      `primary key ${plan.table.primaryKey.join(', ')}: the page has two records with the same key; only the last one would be kept`,
    );
  } else say('fine', `primary key ${plan.table.primaryKey.join(', ')}: present and unique in every record`);
  const lists = (plan.children ?? []).map(({ from: [first] }) => first);
  const undeclared = page.undeclared.filter((name) => !lists.includes(name));
  if (undeclared.length > 0) {
    const names = undeclared.join(', ');
    if (plan.table.inference === undefined)
      say('advice', `not stored, because no column is declared for them: ${names}`);
    else say('fine', `columns inferred from the records: ${names}`);
  }
  childFindings(plan, page.texts, say);
  const absent = Object.keys(plan.table.columns).filter(
    (name) => name !== plan.table.deletedField && page.records.every((record) => !(name in record)),
  );
  if (absent.length > 0 && page.records.length > 0)
    say('advice', `no record has ${absent.join(', ')}: these columns would stay empty`);
  pageSize(plan, summary, say);
  const isLonger = await secondPage(probe, { cursor, texts: page.texts, summary }, say);
  if (plan.options.strategy === 'keyset' && isLonger) keysetTokens(plan, summary, say);
  const request = probe.strategy.request(cursor);
  if (cursorFieldsOf(plan) !== '' && 'params' in request) await boundary(probe, request, summary, say);
  if (
    plan.options.strategy === 'cursor' &&
    // Neither a single page nor the last record expects one.
    plan.options.follows === undefined &&
    summary.nextToken === null &&
    summary.more !== false &&
    // All records are there: no next page is expected.
    summary.total !== summary.records &&
    !isShortPage(plan, summary) &&
    !plan.options.tokenIsLastKey
  ) {
    say(
      'advice',
      'the response names no next page: either there is only one page, or "next" points to the wrong place',
    );
  }
}

/** The primary keys of a page's rows; without a transform those of its records, also of those that a filter left out. */
function keysOfRows({ request, table }: StreamPlan, { summary, texts }: ProbedPage): readonly string[] {
  if (request.shape?.transform === undefined) return summary.keys;
  const paths = new Map(table.primaryKey.map((name) => [name, [name]]));
  return texts.map((text) => JSON.stringify([...memberTexts(text, paths).values()]));
}

/** Says what a transform made of the records so far. */
function sayTransformed({ plan, transformed }: Probe, say: Say): void {
  const hook = plan.request.shape?.transform?.hook;
  if (hook === undefined || transformed.length === 0) return;
  const records = counted(transformed.length, 'record');
  const failures = transformed.flatMap(({ outcome }) => ('failure' in outcome ? [outcome] : []));
  const [first] = failures;
  if (first !== undefined) {
    say(
      'problem',
      `hook ${hook}: failed for ${failures.length} of ${records}; the first time: ${failureText(first)}`,
    );
  }
  const made = transformed.flatMap(({ outcome }) => ('failure' in outcome ? [] : [outcome.length]));
  const rows = made.reduce((sum, count) => sum + count, 0);
  const none = made.filter((count) => count === 0).length;
  const left = none === 0 ? '' : `, and none of ${none}`;
  if (made.length > 0)
    say('fine', `hook ${hook}: made ${counted(rows, 'row')} of ${counted(made.length, 'record')}${left}`);
}

/** The parameter by which a request asks only for changes; null where it asks for everything. */
function filterParameter(
  { request }: StreamPlan,
  asked: PageRequest | { end: EndRule },
): { name: string; value: string } | null {
  if ('end' in asked) return null;
  const own = ['updated_since', 'since'].find((name) => asked.params[name] !== undefined);
  return own === undefined ? null : { name: request.names[own] ?? own, value: asked.params[own] ?? '' };
}

const isShortPage = ({ options }: StreamPlan, { records }: PageSummary): boolean =>
  'pageSize' in options && options.pageSize !== null && records < options.pageSize;

/** A keyset source that names no next page: records of one time that do not fit on a page are out of reach. */
function keysetTokens({ request }: StreamPlan, { nextToken }: PageSummary, say: Say): void {
  if (nextToken !== null || request.next.in !== 'body') return;
  say(
    'advice',
    `the first page names no next page in "next" (${pathText(request.next.path)}), and the list is longer: keyset continues by time ` +
      'alone, so more records of one time than fit on a page would be out of reach. For an API with page numbers or offsets, use ' +
      'page_number or offset ("highwater init URL" finds out)',
  );
}

interface FirstPage {
  cursor: Cursor;
  texts: readonly string[];
  summary: PageSummary;
}

/**
 * Asks for the page that follows, and says whether it is another one, and why there is none.
 * @returns whether it has records that the first page lacks.
 */
async function secondPage(
  probe: Probe,
  { cursor, texts, summary: first }: FirstPage,
  say: Say,
): Promise<boolean> {
  let next: Cursor;
  try {
    next = probe.after(cursor, first);
  } catch (thrown) {
    if (!(thrown instanceof CheckError)) throw thrown;
    say('problem', thrown.message);
    return false;
  }
  const asked = await probe.page(next);
  if ('end' in asked) {
    for (const { code, message } of next.notes) if (code === 'end_unproven') say('advice', message);
    return false;
  }
  const { summary, request, texts: others } = asked.page;
  const isSame = summary.records > 0 && JSON.stringify(summary.keys) === JSON.stringify(first.keys);
  if (isSame && first.records === 1) return false;
  const fresh = others.filter((text) => !texts.includes(text)).length;
  if (isSame) {
    say(
      'problem',
      `${request}: the second page has the same ${first.records} records as the first: ${repeatedBecause(probe)}`,
    );
  } else if (summary.records > 1 && fresh === 0) {
    say(
      'problem',
      `${request}: the second page has only records of the first: the API reads the parameter for the page in another way`,
    );
  } else if (summary.records > 0) say('fine', `${request}: the second page differs from the first`);
  return fresh > 0;
}

function repeatedBecause({ strategy, plan }: Probe): string {
  if (strategy.name === 'keyset') {
    return (
      'the API does not continue by time. If it has page numbers, offsets or tokens, use page_number, offset or cursor ' +
      '("highwater init URL" finds out which)'
    );
  }
  const ignored = `the API ignores the parameter for the page${parameterOf(plan)}. Set "names" to its own names; or, if one response contains everything, use the strategy cursor with next: none`;
  return strategy.name === 'offset'
    ? `${ignored}; or, if it accepts only offsets that are multiples of the limit, set overlap: false`
    : ignored;
}

/** The parameter for the page, by the API's own name. */
function parameterOf({ options, request }: StreamPlan): string {
  const own = { page_number: 'page', offset: 'offset', cursor: 'scroll_param' }[options.strategy as string];
  return own === undefined ? '' : ` (${request.names[own] ?? own})`;
}

/** Looks at the items of a page's records, as rows of child tables. */
function childFindings({ stream, table, children }: StreamPlan, texts: readonly string[], say: Say): void {
  if (children === undefined) return;
  const splitter = new RecordSplitter({ stream, table, children });
  try {
    const { children: found } = splitter.split(Buffer.from(texts.join('\n')), [], 0);
    for (const [i, child] of allChildren(children).entries()) {
      const { records = 0, rejects = [] } = found[i] ?? {};
      const name = `child table ${child.table.table}`;
      const [reject] = rejects;
      if (reject !== undefined)
        say(
          'advice',
          `${name}: ${counted(rejects.length, 'item')} would be quarantined, the first because ${reject.reason}`,
        );
      else if (records === 0) say('advice', `${name}: no record has items at ${pathText(child.from)}`);
      else say('fine', `${name}: ${counted(records, 'row')} of ${counted(texts.length, 'record')}`);
    }
  } catch (thrown) {
    if (!(thrown instanceof RecordError)) throw thrown;
    say('problem', thrown.message);
  }
}

type Say = (kind: Finding['kind'], message: string) => unknown;

function pageSize(
  { options, request }: StreamPlan,
  { records, total, nextToken, more }: PageSummary,
  say: Say,
): void {
  const asked = 'pageSize' in options ? options.pageSize : null;
  if (asked === null || records === asked) return;
  if (records > asked) {
    const name = request.names['limit'] ?? 'limit';
    say(
      options.strategy === 'offset' || options.strategy === 'page_number' ? 'problem' : 'advice',
      `the page has ${counted(records, 'record')}, but ${asked} were requested: the API ignores the parameter ${name}. ` +
        `Set names.limit to its own name, or remove page_size`,
    );
    return;
  }
  const isLast = total === records || (total === null && nextToken === null && more !== true);
  if (isLast) return;
  const consequence =
    options.strategy === 'page_number'
      ? 'page numbers count pages of that size, so records would be skipped'
      : 'the source limits the size';
  say(
    options.strategy === 'page_number' ? 'problem' : 'advice',
    `the page has ${counted(records, 'record')}, but ${asked} were requested: ${consequence}; set page_size to ${records}`,
  );
}

/** The names of the cursor fields; empty where there is none. */
const cursorFieldsOf = ({ cursorField, cursorFields = [cursorField] }: StreamPlan) => cursorFields.join(', ');

/**
 * Says that a filter has left out records that the first page shows to be later than the value asked for: it reads the
 * time in another zone, or not at all. Null where it has not.
 */
function shiftOf(
  {
    format,
    readable,
    lowest,
    asked,
    isWhole,
  }: { format: Values; readable: readonly string[]; lowest: string; asked: string; isWhole: boolean },
  { values, records }: PageSummary,
): string | null {
  const later = readable.filter((value) => apart(format, value, lowest) > 0);
  const [known] = later.toSorted(format.compare);
  if (known === undefined) return null;
  const [begins] = readValues(values, [], format).readable.toSorted(format.compare);
  const where = 'set "names.zone" and "names.format" to how the API reads times';
  if (records === 0) {
    return `a request for changes since ${asked} returned nothing, although the first page has ${counted(later.length, 'record')} with a later time: the API does not understand the time as it is written; ${where}`;
  }
  if (begins === undefined || !isWhole || format.compare(begins, known) <= 0) return null;
  const hours = (Date.parse(begins) - Date.parse(asked)) / 3_600_000;
  const gap = Number.isFinite(hours) && hours >= 0.25 ? `, ${Math.round(hours * 4) / 4} hours later` : '';
  return `a request for changes since ${asked} begins at ${begins}${gap}, although the first page has ${known}: changes in between would be missed. The API reads the time in another zone; ${where}`;
}

/** Order, and whether the filter is `>=` or `>`. */
async function boundary(
  probe: Probe,
  request: PageRequest,
  { values, records }: PageSummary,
  say: Say,
): Promise<void> {
  const { plan } = probe;
  const field = cursorFieldsOf(plan);
  const incremental = 'incremental' in plan.options ? plan.options.incremental : null;
  const format = valuesFor(plan.options);
  const { compare, what } = format;
  const { readable } = readValues(values, [], format);
  const [first] = readable;
  if (first === undefined) {
    const there = values.find((value) => value !== null);
    say(
      'problem',
      `cursor field ${field}: no record has ${what} there${there == null ? '' : `, but ${JSON.stringify(there)}`}`,
    );
    return;
  }
  const rest = records - readable.length;
  if (rest > 0)
    say(
      'advice',
      `cursor field ${field}: ${rest} of ${records} records do not have ${what} there; updates to them may be missed`,
    );
  const ordered = readable.every((value, i) => i === 0 || compare(readable[i - 1] ?? value, value) <= 0);
  const { strategy: name } = plan.options;
  const { scroll_param: _, ...withoutToken } = request.params;
  const byRecord = name === 'cursor' && plan.options.follows === 'last_record';
  if (ordered) say('fine', `cursor field ${field}: ascending, ${first} to ${readable.at(-1)}`);
  else if (byRecord) {
    say(
      'problem',
      `cursor field ${field}: not in ascending order, so "last_record" misses records: sort by it and by the key`,
    );
  } else {
    const keyset = name === 'keyset';
    say(
      keyset ? 'problem' : 'fine',
      `cursor field ${field}: not in ascending order${keyset ? ', so keyset only follows tokens: sort by it if the source can, or use the strategy cursor' : ', which this strategy does not need'}`,
    );
  }
  const greatest = readable.reduce((most, value) => (compare(value, most) > 0 ? value : most));
  const sent = format.asked?.text(greatest) ?? greatest;
  const since = (value: string): Record<string, string> | null =>
    name === 'keyset'
      ? { updated_since: value }
      : name === 'timestamp' || name === 'replay'
        ? { since: value }
        : incremental != null
          ? { ...withoutToken, updated_since: value }
          : null;
  const params = since(sent);
  if (params === null) return;
  const lowest = readable.reduce((least, value) => (compare(value, least) < 0 ? value : least));
  const asked = format.asked?.text(lowest) ?? lowest;
  const low = await probe.read({ params: since(asked) ?? {} });
  const isWhole = ordered || low.summary.records < records;
  const shift = shiftOf({ format, readable, lowest, asked, isWhole }, low.summary);
  if (shift !== null) {
    say('problem', shift);
    return;
  }
  const again = await probe.read({ params });
  const { readable: seen } = readValues(again.summary.values, [], format);
  if (seen.some((value) => apart(format, value, greatest) < 0)) {
    say(
      'problem',
      `a request for changes since ${sent} returned older records too: the source does not filter, or filters by another field`,
    );
  } else if (seen.some((value) => apart(format, value, greatest) === 0)) {
    say(
      'fine',
      'the filter includes the requested value (>=): no record with an equal timestamp is lost between passes',
    );
  } else {
    const tied = name === 'page_number' || name === 'cursor' || name === 'offset';
    const asDuration = incremental?.format === 'integer' ? '1' : '"1s"';
    const cure =
      incremental?.format === 'string' ? 'use the strategy keyset' : `set "lookback": ${asDuration} or more`;
    const [kind, consequence]: [Finding['kind'], string] = !tied
      ? ['advice', 'Highwater requests the value below it, so no record is lost']
      : (incremental?.lookbackSeconds ?? 0) > 0
        ? ['fine', 'the lookback makes up for that']
        : ['problem', `records that get the newest value later would be lost; ${cure}`];
    say(kind, `the filter excludes the requested value (>): ${consequence}`);
  }
}
