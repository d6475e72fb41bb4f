/** Reads single pages of a source and looks at them, without a destination: what `check` and `preview` are made of. */
import type { Cursor, EndRule, Json, PageRequest, PageSummary, StreamPlan } from '../protocol.js';
import { type HttpSource, refusedPageSize } from '../sources/http.js';
import { sourceOf } from '../sources/stream-source.js';
import { compareTimestamps, createStrategy, readTimestamps, type Strategy } from '../strategies/index.js';

export interface ProbedPage {
  /** Method and address, secrets masked. */
  request: string;
  records: { [name: string]: Json }[];
  summary: PageSummary;
  undeclared: string[];
}

/** Pages of one stream. @throws {HighwaterError} as a sync would. */
export class Probe {
  readonly strategy: Strategy;
  private readonly source: HttpSource;

  constructor(
    readonly plan: StreamPlan,
    environment: NodeJS.ProcessEnv,
  ) {
    this.strategy = createStrategy(plan.options);
    this.source = sourceOf(plan, environment);
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

  async read(request: PageRequest): Promise<ProbedPage> {
    const records: ProbedPage['records'] = [];
    const keys: string[] = [];
    const values: (string | null)[] = [];
    const answer = await this.source.read(
      request,
      async (lines, part) => {
        keys.push(...part.keys);
        values.push(...part.values);
        for (const line of lines.toString('utf8').split('\n')) {
          if (line.trim() !== '') records.push(JSON.parse(line) as { [name: string]: Json });
        }
      },
      new AbortController().signal,
    );
    const { nextToken, total, more, undeclared } = answer;
    return {
      request: `GET ${this.source.shownAddress(request)}`,
      records,
      summary: { keys, values, records: records.length, nextToken, total, more },
      undeclared,
    };
  }
}

/** The cursor to ask by instead, where the source refused the page size and named its maximum; else null. */
export function lowered(strategy: Strategy, cursor: Cursor, thrown: unknown): Cursor | null {
  const maximum = refusedPageSize(thrown);
  return maximum === null ? null : (strategy.lowerPageSize?.(cursor, maximum) ?? null);
}

/** What was found out of a stream; `problem` stops a sync or loses records, `advice` is worth knowing. */
export interface Finding {
  kind: 'fine' | 'advice' | 'problem';
  message: string;
}

/** Reads a page or two of a stream, and says what they mean for its strategy. */
export async function examine(probe: Probe): Promise<Finding[]> {
  const { plan } = probe;
  const findings: Finding[] = [];
  const say = (kind: Finding['kind'], message: string) => findings.push({ kind, message });
  const first = await probe.page(probe.first());
  if ('end' in first) return [{ kind: 'problem', message: `there is nothing to ask for: ${first.end}` }];
  const { page, cursor } = first;
  const { summary } = page;
  say('fine', `${page.request}: ${summary.records} records`);
  for (const { message } of cursor.notes) say('advice', message);
  if (summary.records === 0) {
    say('advice', 'the first page is empty: keys, order and boundary could not be looked at');
    return findings;
  }
  if (new Set(summary.keys).size < summary.records) {
    say(
      'problem',
      `primary key ${plan.table.primaryKey.join(', ')}: the page has a value of it twice; only the last record of a key is kept`,
    );
  } else
    say('fine', `primary key ${plan.table.primaryKey.join(', ')}: there in every record, and no value twice`);
  if (page.undeclared.length > 0) {
    say('advice', `no column is declared for ${page.undeclared.join(', ')}: these are not stored`);
  }
  const absent = Object.keys(plan.table.columns).filter((name) =>
    page.records.every((record) => !(name in record)),
  );
  if (absent.length > 0) say('advice', `no record has ${absent.join(', ')}: these columns stay empty`);
  pageSize(plan, summary, say);
  if (plan.cursorField !== '') await boundary(probe, summary, say);
  if (
    plan.options.strategy === 'cursor' &&
    summary.nextToken === null &&
    summary.more !== false &&
    !plan.options.tokenIsLastKey
  ) {
    say(
      'advice',
      'the answer names no next page: either this is all there is, or "next" looks in the wrong place',
    );
  }
  return findings;
}

type Say = (kind: Finding['kind'], message: string) => void;

function pageSize({ options }: StreamPlan, { records, total, nextToken, more }: PageSummary, say: Say): void {
  const asked = 'pageSize' in options ? options.pageSize : null;
  if (asked === null || records >= asked) return;
  const isLast = total === records || (total === null && nextToken === null && more !== true);
  if (isLast) return;
  const consequence =
    options.strategy === 'page_number'
      ? 'pages are asked for by number, and a size that the source does not keep to shifts them'
      : 'the source keeps to a smaller size';
  say(
    options.strategy === 'page_number' ? 'problem' : 'advice',
    `the page holds ${records} records though ${asked} were asked for: ${consequence}; set page_size to ${records}`,
  );
}

/** Order, and whether the filter is `>=` or `>`. */
async function boundary(probe: Probe, { values, records }: PageSummary, say: Say): Promise<void> {
  const { plan, strategy } = probe;
  const field = plan.cursorField;
  const { timestamps: times } = readTimestamps(values, []);
  if (times.length === 0) {
    say(
      'problem',
      `cursor field ${field}: no record has a timestamp in it${values[0] == null ? '' : `, but ${JSON.stringify(values[0])}`}`,
    );
    return;
  }
  const rest = records - times.length;
  if (rest > 0)
    say(
      'advice',
      `cursor field ${field}: ${rest} of ${records} records have no timestamp in it; an update to them may go unseen`,
    );
  const ordered = times.every((time, i) => i === 0 || compareTimestamps(times[i - 1] ?? time, time) <= 0);
  if (ordered) say('fine', `cursor field ${field}: ascending, ${times[0]} to ${times.at(-1)}`);
  else {
    const keyset = plan.options.strategy === 'keyset';
    say(
      keyset ? 'problem' : 'fine',
      `cursor field ${field}: not in ascending order${keyset ? '; keyset then follows tokens only: sort by it if the source can, or use the strategy cursor' : ', which this strategy does not need'}`,
    );
  }
  const greatest = times.reduce((most, time) => (compareTimestamps(time, most) > 0 ? time : most));
  const { strategy: name } = plan.options;
  const params: Record<string, string> | null =
    name === 'keyset'
      ? { updated_since: greatest }
      : name === 'timestamp' || name === 'replay'
        ? { since: greatest }
        : 'incremental' in plan.options && plan.options.incremental !== null
          ? { ...firstParams(strategy, probe.first()), updated_since: greatest }
          : null;
  if (params === null) return;
  const again = await probe.read({ params });
  const { timestamps: seen } = readTimestamps(again.summary.values, []);
  if (seen.some((time) => compareTimestamps(time, greatest) < 0)) {
    say(
      'problem',
      `asked for what has changed since ${greatest}, the source gave older records too: it does not filter, or by another field`,
    );
  } else if (seen.some((time) => compareTimestamps(time, greatest) === 0)) {
    say(
      'fine',
      'the filter includes the value asked (>=): no record of equal timestamp is lost between passes',
    );
  } else {
    const tied = name === 'page_number' || name === 'cursor';
    say(
      tied ? 'problem' : 'advice',
      `the filter leaves out the value asked (>)${tied ? ': records that join the newest timestamp later are lost; set "lookback": "1s" or more' : ': the timestamp below is asked for instead, so that none is lost'}`,
    );
  }
}

function firstParams(strategy: Strategy, cursor: Cursor): Record<string, string> {
  const request = strategy.request(cursor);
  return 'params' in request ? request.params : {};
}
