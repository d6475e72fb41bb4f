/**
 * A model of the APIs that the strategies read, small enough to see through: rows in memory, and one function a
 * protocol that answers a request as such an API would. It shares no code with the strategies; timestamps are whole
 * ticks here and turn to text on the way out.
 */
import type { Cursor, EndRule, PageRequest, PageSummary, Remembered } from '../../src/protocol.js';
import { restartPass } from '../../src/strategies/restart.js';
import { ContradictionError, DoubtError, type Strategy } from '../../src/strategies/strategy.js';

export interface Row {
  id: string;
  /** When it was updated last, in seconds; null where the field is missing. */
  at: number | null;
  /** Grows with each update: what the table must show. */
  version: number;
}

export interface Answer extends PageSummary {
  rows: Row[];
}

export type Source = (params: PageRequest['params']) => Answer;

const EPOCH = Date.UTC(2024, 0, 1) / 1000;

/** The ways in which the model writes one and the same instant. */
export const WRITERS: ((at: number) => string)[] = [
  (at) => iso(at, 'T', 'Z'),
  (at) => iso(at, ' ', '+00:00'),
  (at) => iso(at, 'T', '.000Z'),
  (at) => iso(at + 5400, 'T', '+0130'),
  (at) => iso(at - 7200, 'T', '-02'),
];

export const write = (at: number): string => iso(at, 'T', 'Z');

function iso(at: number, separator: string, suffix: string): string {
  return new Date((EPOCH + at) * 1000).toISOString().slice(0, 19).replace('T', separator) + suffix;
}

function read(text: string | undefined): number {
  const zoned = (text ?? '')
    .replace(' ', 'T')
    .replace(/([+-]\d\d)(\d\d)?$/, (_, h: string, m: string | undefined) => `${h}:${m ?? '00'}`);
  const milliseconds = Date.parse(zoned);
  if (Number.isNaN(milliseconds)) throw new Error(`400 not a timestamp: ${String(text)}`);
  return milliseconds / 1000 - EPOCH;
}

function answer(rows: Row[], more: Partial<Answer> = {}, writers = [write]): Answer {
  return {
    keys: Object.freeze(rows.map((row) => row.id)),
    values: Object.freeze(
      rows.map(({ at }, i) => (at === null ? null : (writers[(i + at) % writers.length] ?? write)(at))),
    ),
    records: rows.length,
    nextToken: null,
    total: null,
    more: null,
    rows: [...rows],
    ...more,
  };
}

export interface KeysetModel {
  rows: Row[];
  pageSize: number;
  filter: 'inclusive' | 'exclusive' | 'ignored';
  order: 'ascending' | 'descending' | 'as_they_are';
  /** `later_than_last` is the reference API's: a timestamp, and only what is later. `position` loses nothing. */
  tokens: 'later_than_last' | 'position';
  /** Rows without a timestamp are in every answer, first or last. */
  nulls?: 'first' | 'last';
  writers?: typeof WRITERS;
}

/** `updated_since` or `scroll_param`, a page at a time. Reads `model.rows` anew each time: they may change. */
export function keysetSource(model: KeysetModel): Source {
  return ({ updated_since, scroll_param, ...others }) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    if ((updated_since === undefined) === (scroll_param === undefined))
      throw new Error('400 one or the other');
    const token =
      scroll_param === undefined ? null : (JSON.parse(scroll_param) as { since: string; skip: number });
    const since = read(token?.since ?? updated_since);
    const strict = model.tokens === 'later_than_last' && token !== null;
    const kept = inOrder(model).filter(({ at }) => {
      if (at === null) return true;
      if (strict || model.filter === 'exclusive') return at > since;
      return model.filter === 'ignored' || at >= since;
    });
    const skip = strict ? 0 : (token?.skip ?? 0);
    const rows = kept.slice(skip, skip + model.pageSize);
    const last = rows.at(-1)?.at ?? 0;
    const next =
      model.tokens === 'position'
        ? { since: token?.since ?? updated_since, skip: skip + rows.length }
        : { since: write(last), skip: 0 };
    const nextToken = kept.length > skip + rows.length ? JSON.stringify(next) : null;
    return answer(rows, { nextToken }, model.writers);
  };
}

function inOrder({ rows, order, nulls }: KeysetModel): Row[] {
  if (order === 'as_they_are') return rows;
  const none = nulls === 'last' ? Infinity : -Infinity;
  const ascending = [...rows].sort((a, b) => Math.sign((a.at ?? none) - (b.at ?? none)) || 0);
  return order === 'ascending' ? ascending : ascending.reverse();
}

/** Everything since a timestamp in one answer, in no order. */
export function timestampSource(model: { rows: Row[]; filter: 'inclusive' | 'exclusive' }): Source {
  return ({ since, ...others }) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const from = read(since);
    return answer(
      model.rows.filter(({ at }) => at !== null && (model.filter === 'inclusive' ? at >= from : at > from)),
    );
  };
}

export interface OffsetModel {
  rows: Row[];
  /** The most that a page holds, by the offset asked; the source may give less than the limit. */
  cap: (offset: number) => number;
  total: boolean;
  /** A limit above it is refused. */
  refuses?: number;
}

/** A list by offset and limit. */
export function offsetSource(model: OffsetModel): Source {
  return ({ offset, limit, ...others }) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const [from, count] = [Number(offset), Number(limit)];
    if (!(from >= 0) || !(count >= 1)) throw new Error('400 bad offset or limit');
    if (model.refuses !== undefined && count > model.refuses) throw new RefusedPageSize(model.refuses);
    const rows = model.rows.slice(from, from + Math.min(count, model.cap(from)));
    return answer(rows, { total: model.total ? model.rows.length : null });
  };
}

export class RefusedPageSize extends Error {
  constructor(readonly maximum: number) {
    super(`400 limit must be at most ${String(maximum)}`);
  }
}

/** A range of ids, both ends included; refuses a range that is none, as the reference API does. */
export function stepSource(model: { rows: Row[] }): Source {
  return ({ start_id, end_id, ...others }) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const [start, end] = [BigInt(start_id ?? ''), BigInt(end_id ?? '')];
    if (end < start) throw new Error('400 end_id must not be less than start_id');
    return answer(model.rows.filter(({ id }) => start <= BigInt(id) && BigInt(id) <= end));
  };
}

/** What a destination holds: the last version written of each id. */
export type Table = Map<string, number>;

export interface Pass {
  cursor: Cursor;
  end: EndRule;
  requests: string[];
  pages: Answer[];
  /** Codes of the notes. */
  notes: string[];
  /** How often an answer was not believed, and asked for again. */
  doubts: number;
}

export interface PassOptions {
  checkpoint?: Cursor | null;
  table?: Table;
  now?: string;
  /** Called after each page that was committed: here a source may change. */
  afterPage?: (page: number) => unknown;
  /** Pages that are read and lost before they are committed; the pass then resumes from its checkpoint. */
  lost?: number[];
  /** A limit on requests, far above what any source here needs. */
  budget?: number;
}

/**
 * Reads one pass as the workflow does: page, commit, page, commit. Every cursor goes through JSON and is frozen, so a
 * strategy that keeps something outside its cursor or changes what it is given is found out.
 */
export function readPass(strategy: Strategy, source: Source, options: PassOptions = {}): Pass {
  const {
    checkpoint = null,
    table = new Map(),
    now = '2024-06-01T00:00:00.000Z',
    lost = [],
    budget = 5000,
  } = options;
  const requests: string[] = [];
  const pages: Answer[] = [];
  const held = new Set(lost);
  let doubts = 0;
  let hasRestarted = false;
  let cursor = committed(strategy.begin(checkpoint, now));
  const mark = JSON.stringify(checkpoint?.mark ?? cursor.mark);

  for (;;) {
    const request = strategy.request(cursor);
    if ('end' in request) {
      if (cursor.ended !== request.end || cursor.position !== null)
        throw new Error('ended without saying so');
      return {
        cursor,
        end: request.end,
        requests,
        pages,
        notes: cursor.notes.map((note) => note.code),
        doubts,
      };
    }
    if (cursor.ended === null && JSON.stringify(cursor.mark) !== mark)
      throw new Error('the mark moved within a pass');
    if (requests.length >= budget) throw new Error(`not drained after ${String(budget)} requests`);
    let page: Answer;
    try {
      page = source(request.params);
    } catch (thrown) {
      if (!(thrown instanceof RefusedPageSize) || strategy.lowerPageSize === undefined) throw thrown;
      cursor = committed(strategy.lowerPageSize(cursor, thrown.maximum));
      continue;
    }
    const at = cursor;
    let advanced: ReturnType<typeof advanceTwiceAsked<Cursor, Answer>>;
    try {
      advanced = advanceTwiceAsked(strategy, at, page, () => source(request.params));
    } catch (thrown) {
      if (!(thrown instanceof ContradictionError) || hasRestarted) throw thrown;
      hasRestarted = true;
      cursor = committed(restartPass(strategy, cursor, thrown.message, now));
      continue;
    }
    page = advanced.page;
    doubts += advanced.doubts;
    const next = committed(advanced.cursor);
    if (held.delete(pages.length)) {
      cursor = committed(strategy.begin(cursor, now));
      continue;
    }
    requests.push(JSON.stringify(request.params));
    pages.push(page);
    for (const row of page.rows) table.set(row.id, row.version);
    strategy.state(next);
    cursor = next;
    options.afterPage?.(pages.length);
  }
}

/** Advances by a page; one that the strategy does not believe is asked for again, as the activity does. */
export function advanceTwiceAsked<C extends Cursor, P extends PageSummary>(
  strategy: Strategy<C>,
  cursor: C,
  first: P,
  again: () => P = () => first,
): { cursor: C; page: P; doubts: number } {
  for (
    let [page, asked, held] = [first, 1, 0];
    ;
    [page, asked, held] = [again(), asked + 1, Math.max(held, page.records)]
  ) {
    try {
      const heldBefore = asked > 1 ? { heldBefore: held } : {};
      const next = strategy.advance(cursor, {
        ...asRemembered(page, strategy.remembers),
        asked,
        ...heldBefore,
      });
      return { cursor: next, page, doubts: asked - 1 };
    } catch (thrown) {
      if (!(thrown instanceof DoubtError)) throw thrown;
      if (asked > 10) throw new Error('an answer is doubted for ever', { cause: thrown });
    }
  }
}

function committed(cursor: Cursor): Cursor {
  return frozen(JSON.parse(JSON.stringify(cursor)) as Cursor);
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

/** Rows that the table does not hold in their last version. */
export function missing(rows: readonly Row[], table: Table): Row[] {
  return rows.filter((row) => table.get(row.id) !== row.version);
}

/** Rows with these timestamps, r0, r1, … */
export function rowsAt(...ats: (number | null)[]): Row[] {
  return ats.map((at, i) => ({ id: `r${String(i)}`, at, version: 1 }));
}

/** What is left of a page once only what the strategy says that it remembers is kept. */
function asRemembered(page: PageSummary, remembers: Remembered): PageSummary {
  const ends = page.keys.filter((_, i) => i === 0 || i === page.keys.length - 1);
  return {
    ...page,
    keys: { all: page.keys, ends, none: [] }[remembers.keys],
    values: { all: page.values, none: [] }[remembers.values],
  };
}
