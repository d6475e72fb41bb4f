/** Reads single pages of a source and looks at them, without a destination: what `check` and `preview` are made of. */
import { HighwaterError } from '../errors.js';
import type { Cursor, EndRule, Json, PageRequest, PageSummary, StreamPlan } from '../protocol.js';
import { type HttpSource, refusedPageSize } from '../sources/http.js';
import { sourceOf } from '../sources/stream-source.js';
import { ownSurroundings } from '../surroundings.js';
import { memberTexts } from '../request/paths.js';
import {
  apart,
  ASKED_ENOUGH,
  ContradictionError,
  createStrategy,
  readValues,
  type Strategy,
  UnfollowableError,
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

/** The setting in which a probe runs. */
export interface ProbeOptions {
  environment: NodeJS.ProcessEnv;
  /** The destination beside which refresh tokens are kept. */
  destination: string;
  /** Values are read that their columns do not take. */
  takesAll?: true;
}

/** Pages of one stream; of one that has a parent, for the first record of that. */
export class Probe {
  readonly strategy: Strategy;

  private constructor(
    readonly plan: StreamPlan,
    private readonly parent: { [field: string]: Json } | null,
    private readonly source: HttpSource,
  ) {
    this.strategy = createStrategy(plan.options);
  }

  /**
   * @param plans of all streams, among them the parent's.
   * @throws {HighwaterError} as a sync would.
   */
  static async of(plan: StreamPlan, plans: readonly StreamPlan[], options: ProbeOptions): Promise<Probe> {
    const { environment, destination, takesAll } = options;
    const parent = await parentFields(plan, plans, options);
    const surroundings = ownSurroundings(environment);
    const checksValues = takesAll !== true;
    const source = await sourceOf(plan, surroundings, destination, undefined, undefined, checksValues);
    return new Probe(plan, parent, source);
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
    const answer = await this.source.read(
      request,
      async ({ lines, records: part }) => {
        keys.push(...part.keys);
        values.push(...part.values);
        for (const line of lines.toString('utf8').split('\n')) {
          if (line.trim() === '') continue;
          records.push(JSON.parse(line) as { [name: string]: Json });
          texts.push(withoutSpaces(line));
        }
      },
      new AbortController().signal,
    );
    const { undeclared, remarks: _, ...said } = answer;
    return {
      request: this.source.shownRequest(request),
      records,
      texts,
      summary: { keys, values, records: records.length, ...said },
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
  const first = await probe.page(probe.first());
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
  const { plan } = probe;
  const findings: Finding[] = [];
  const say = (kind: Finding['kind'], message: string) => findings.push({ kind, message });
  const first = await probe.page(probe.first());
  if ('end' in first) return [{ kind: 'problem', message: `there is nothing to request: ${first.end}` }];
  let { page, cursor } = first;
  // The first windows of a backfill, or ranges of ids, may hold nothing.
  for (let tries = 1; page.summary.records === 0 && tries < EMPTY_PAGES; tries++) {
    const next = await probe.page(probe.after(cursor, page.summary));
    if ('end' in next) break;
    ({ page, cursor } = next);
  }
  const { summary } = page;
  say('fine', `${page.request}: ${summary.records} ${summary.records === 1 ? 'record' : 'records'}`);
  for (const { message } of cursor.notes) say('advice', message);
  if (summary.records === 0) {
    say('advice', 'the first page is empty: keys, order and range boundary were not checked');
    return findings;
  }
  if (new Set(summary.keys).size < summary.records) {
    say(
      'problem',
      `primary key ${plan.table.primaryKey.join(', ')}: the page has two records with the same key; only the last one would be kept`,
    );
  } else say('fine', `primary key ${plan.table.primaryKey.join(', ')}: present and unique in every record`);
  if (page.undeclared.length > 0) {
    const names = page.undeclared.join(', ');
    if (plan.table.inference === undefined)
      say('advice', `not stored, because no column is declared for them: ${names}`);
    else say('fine', `columns inferred from the records: ${names}`);
  }
  const absent = Object.keys(plan.table.columns).filter(
    (name) => name !== plan.table.deletedField && page.records.every((record) => !(name in record)),
  );
  if (absent.length > 0) say('advice', `no record has ${absent.join(', ')}: these columns would stay empty`);
  pageSize(plan, summary, say);
  await secondPage(probe, cursor, summary, say);
  const request = probe.strategy.request(cursor);
  if (cursorFieldsOf(plan) !== '' && 'params' in request) await boundary(probe, request, summary, say);
  if (
    plan.options.strategy === 'cursor' &&
    summary.nextToken === null &&
    summary.more !== false &&
    !plan.options.tokenIsLastKey
  ) {
    say(
      'advice',
      'the response names no next page: either there is only one page, or "next" points to the wrong place',
    );
  }
  return findings;
}

/** Asks for the page that follows, and says whether it is another one, and why there is none. */
async function secondPage(probe: Probe, cursor: Cursor, first: PageSummary, say: Say): Promise<void> {
  let next: Cursor;
  try {
    next = probe.after(cursor, first);
  } catch (thrown) {
    if (!(thrown instanceof CheckError)) throw thrown;
    say('problem', thrown.message);
    return;
  }
  const asked = await probe.page(next);
  if ('end' in asked) {
    for (const { code, message } of next.notes) if (code === 'end_unproven') say('advice', message);
    return;
  }
  const { summary, request } = asked.page;
  const isSame = summary.records > 0 && JSON.stringify(summary.keys) === JSON.stringify(first.keys);
  if (isSame && first.records === 1) return;
  if (isSame) {
    say(
      'problem',
      `${request}: the second page has the same ${first.records} records as the first: the API ignores the parameter for the page. ` +
        'Set "names" to its own names; or, if one response contains everything, use the strategy cursor with next: none' +
        (probe.strategy.name === 'offset'
          ? '; or, if it accepts only offsets that are multiples of the limit, set overlap: false'
          : ''),
    );
  } else if (summary.records > 0) say('fine', `${request}: the second page differs from the first`);
}

type Say = (kind: Finding['kind'], message: string) => void;

function pageSize({ options }: StreamPlan, { records, total, nextToken, more }: PageSummary, say: Say): void {
  const asked = 'pageSize' in options ? options.pageSize : null;
  if (asked === null || records >= asked) return;
  const isLast = total === records || (total === null && nextToken === null && more !== true);
  if (isLast) return;
  const consequence =
    options.strategy === 'page_number'
      ? 'page numbers count pages of that size, so records would be skipped'
      : 'the source limits the size';
  say(
    options.strategy === 'page_number' ? 'problem' : 'advice',
    `the page has ${records} ${records === 1 ? 'record' : 'records'}, but ${asked} were requested: ${consequence}; set page_size to ${records}`,
  );
}

/** The names of the cursor fields; empty where there is none. */
const cursorFieldsOf = ({ cursorField, cursorFields = [cursorField] }: StreamPlan) => cursorFields.join(', ');

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
  const params: Record<string, string> | null =
    name === 'keyset'
      ? { updated_since: sent }
      : name === 'timestamp' || name === 'replay'
        ? { since: sent }
        : incremental != null
          ? { ...withoutToken, updated_since: sent }
          : null;
  if (params === null) return;
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
