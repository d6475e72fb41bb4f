/** The laws of `strategies/strategy.ts` for the strategies of the full form: page_number and cursor. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cursor, Incremental, StrategyOptions } from '../../src/protocol.js';
import { ASKED_ENOUGH, createStrategy, TokenCycleError } from '../../src/strategies/index.js';
import {
  type Answer,
  missing,
  readPass,
  type Row,
  type Source,
  type Table,
  write,
} from '../helpers/model-source.js';

interface Model {
  rows: Row[];
  pageSize: number;
  /** What an answer says of the end. */
  says: 'nothing' | 'total' | 'more';
  /** Pages that hold nothing, though others follow. */
  holes?: number[];
}

const NO_TIME: Incremental = { start: null, lookbackSeconds: 0 };

function rowsSince(rows: readonly Row[], since: string | undefined): Row[] {
  return rows.filter(({ at }) => since === undefined || (at !== null && write(at) >= since));
}

function answer(rows: Row[], more: Partial<Answer>): Answer {
  return {
    keys: rows.map(({ id }) => id),
    values: rows.map(({ at }) => (at === null ? null : write(at))),
    records: rows.length,
    ...{ nextToken: null, total: null, more: null },
    rows,
    ...more,
  };
}

function numbered({ rows, pageSize, says }: Model): Source {
  return ({ page, limit, updated_since, ...others }) => {
    expect(others).toEqual({});
    if (limit !== undefined) expect(Number(limit)).toBe(pageSize);
    const kept = rowsSince(rows, updated_since);
    const from = (Number(page) - 1) * pageSize;
    const shown = kept.slice(from, from + pageSize);
    return answer(shown, {
      ...(says === 'total' && { total: kept.length }),
      ...(says === 'more' && { more: from + pageSize < kept.length }),
    });
  };
}

function chained({ rows, pageSize, says, holes = [] }: Model): Source {
  return ({ scroll_param, limit: _, updated_since, ...others }) => {
    expect(others).toEqual({});
    const kept = rowsSince(rows, updated_since);
    const { from, step } = JSON.parse(scroll_param ?? '{"from":0,"step":0}') as {
      from: number;
      step: number;
    };
    const shown = holes.includes(step) ? [] : kept.slice(from, from + pageSize);
    const next = from + shown.length;
    const isLast = next >= kept.length && !holes.some((hole) => hole > step);
    return answer(shown, {
      nextToken: isLast ? null : JSON.stringify({ from: next, step: step + 1 }),
      ...(says === 'more' && { more: !isLast }),
    });
  };
}

/** By the last record's key, as Stripe does. */
function byLastKey({ rows, pageSize }: Model): Source {
  return ({ scroll_param }) => {
    const from = scroll_param === undefined ? 0 : rows.findIndex(({ id }) => id === scroll_param) + 1;
    return answer(rows.slice(from, from + pageSize), { more: from + pageSize < rows.length });
  };
}

const model = fc.record({
  rows: fc
    .array(fc.integer({ min: 0, max: 50 }), { maxLength: 60 })
    .map((ats): Row[] => ats.map((at, i) => ({ id: `r${String(i)}`, at, version: 1 }))),
  pageSize: fc.integer({ min: 1, max: 12 }),
  says: fc.constantFrom('nothing' as const, 'total' as const, 'more' as const),
  holes: fc.array(fc.nat(4), { maxLength: 3 }),
});
const lostPages = fc.array(fc.nat(10), { maxLength: 4 });
const isIncremental = fc.boolean();

const pageNumber = (
  pageSize: number,
  incremental: Incremental | null,
  shortPageEnds = false,
): StrategyOptions => ({
  strategy: 'page_number',
  firstPage: 1,
  pageSize,
  shortPageEnds,
  incremental,
});
const cursor = (
  incremental: Incremental | null,
  tokenIsLastKey = false,
): Extract<StrategyOptions, { strategy: 'cursor' }> => ({
  strategy: 'cursor',
  pageSize: null,
  tokenIsLastKey,
  incremental,
});

describe.each([
  ['page_number', (m: Model, i: Incremental | null) => pageNumber(m.pageSize, i), numbered],
  [
    'page_number that ends by a short page',
    (m: Model, i: Incremental | null) => pageNumber(m.pageSize, i, true),
    numbered,
  ],
  ['cursor', (_: Model, i: Incremental | null) => cursor(i), chained],
] as const)('%s', (_, optionsFor, sourceOf) => {
  it('reads every record, also where pages are read and lost, and never asks the same twice', () => {
    fc.assert(
      fc.property(model, lostPages, isIncremental, (m, lost, incremental) => {
        const strategy = createStrategy(optionsFor(m, incremental ? NO_TIME : null));
        const table: Table = new Map();
        const pass = readPass(strategy, sourceOf(m), { table, lost });
        expect(missing(m.rows, table)).toEqual([]);
        expect(new Set(pass.requests).size).toBe(pass.requests.length);
        expect(readPass(strategy, sourceOf(m)).cursor).toEqual(pass.cursor);
      }),
    );
  });

  it('asks in the next pass for what has changed since the newest, ties included', () => {
    fc.assert(
      fc.property(model, fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 8 }), (m, later) => {
        const strategy = createStrategy(optionsFor(m, NO_TIME));
        const table: Table = new Map();
        const first = readPass(strategy, sourceOf(m), { table });
        const newest = Math.max(0, ...m.rows.map(({ at }) => at ?? 0));
        const fresh = later.map((after, i): Row => ({ id: `n${String(i)}`, at: newest + after, version: 1 }));
        const grown = { ...m, rows: [...m.rows, ...fresh] };
        const second = readPass(strategy, sourceOf(grown), { table, checkpoint: first.cursor });
        expect(missing(grown.rows, table)).toEqual([]);
        const unchanged = m.rows.filter(({ at }) => (at ?? 0) < newest);
        for (const page of second.pages)
          for (const row of page.rows) expect(unchanged).not.toContainEqual(row);
      }),
    );
  });

  it('is left with the same mark by the parts of an answer as by the whole', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(9).map(write), fc.constantFrom(null, 'no time')), { maxLength: 20 }),
        fc.integer({ min: 1, max: 5 }),
        (values, size) => {
          const strategy = createStrategy(optionsFor({ rows: [], pageSize: 100, says: 'nothing' }, NO_TIME));
          const begun = strategy.begin(null, '');
          const page = { ...answer([], {}), records: values.length, nextToken: 't', asked: ASKED_ENOUGH };
          let held: (string | null)[] = [];
          for (let from = 0; from < values.length; from += size) {
            const part = { keys: [], values: [...held, ...values.slice(from, from + size)] };
            held = [...(strategy.condense?.(begun, part).values ?? [])];
            expect(held.length).toBeLessThanOrEqual(3);
          }
          const told = (c: Cursor) => ({ ...c, notes: c.notes.map(({ code }) => code).sort() });
          expect(told(strategy.advance(begun, { ...page, values: held }))).toEqual(
            told(strategy.advance(begun, { ...page, values })),
          );
        },
      ),
    );
  });
});

describe('cursor', () => {
  it('follows the last key where the API has no tokens', () => {
    fc.assert(
      fc.property(model, lostPages, (m, lost) => {
        const table: Table = new Map();
        readPass(createStrategy(cursor(null, true)), byLastKey(m), { table, lost });
        expect(missing(m.rows, table)).toEqual([]);
      }),
    );
  });

  it('finds out that tokens run in a circle', () => {
    let step = 0;
    const circle: Source = () =>
      answer([{ id: `r${String(step)}`, at: 1, version: 1 }], { nextToken: `t${String(step++ % 3)}` });
    expect(() => readPass(createStrategy(cursor(null)), circle)).toThrow(TokenCycleError);
  });

  it('asks for as much as the lookback before the newest, and for the start where nothing was read', () => {
    const options = cursor({ start: '2020-01-01T00:00:00Z', lookbackSeconds: 60 });
    const strategy = createStrategy(options);
    expect(strategy.request(strategy.begin(null, ''))).toEqual({
      params: { updated_since: '2020-01-01T00:00:00Z' },
    });
    const rows: Row[] = [{ id: 'a', at: 120, version: 1 }];
    const { cursor: ended } = readPass(strategy, () => answer(rows, {}));
    expect(strategy.request(strategy.begin(ended, ''))).toEqual({
      params: { updated_since: expect.stringMatching(/^2024-01-01T00:01:00/) as string },
    });
  });
});

describe('a pass', () => {
  const rows = (count: number) =>
    Array.from({ length: count }, (_, i): Row => ({ id: `r${String(i)}`, at: i, version: 1 }));
  /** Says of each page what the API is told to say. */
  const saying = (shown: Row[][], said: Partial<Answer>[]): Source => {
    const asked: string[] = [];
    return (params) => {
      const request = JSON.stringify(params);
      if (asked.at(-1) !== request) asked.push(request);
      const at = asked.length - 1;
      const rows = (shown[at] ?? []).map((row) => ({ ...row, id: `${String(at)}.${row.id}` }));
      return answer(rows, { nextToken: `t${String(at)}`, ...said[at] });
    };
  };
  const offset: Extract<StrategyOptions, { strategy: 'offset' }> = {
    strategy: 'offset',
    pageSize: 3,
    fullRescan: null,
    shortPageEnds: true,
  };

  it.each([
    [
      'page_number: the count of pages',
      pageNumber(3, null),
      [3, 3],
      [{ totalPages: 2 }, { totalPages: 2 }],
      'last_page',
    ],
    ['cursor: a short page', { ...cursor(null), pageSize: 3, shortPageEnds: true }, [3, 2], [], 'short_page'],
    [
      'cursor: an empty page that names another',
      { ...cursor(null), pageSize: 3, shortPageEnds: true },
      [3, 0],
      [],
      'empty_page',
    ],
    ['cursor: no more', cursor(null), [3, 3], [{}, { more: false }], 'no_next_token'],
    ['cursor: one answer', { ...cursor(null), follows: 'nothing' }, [3], [], 'whole_answer'],
    ['cursor: a page without a last key', cursor(null, true), [3, 0], [], 'empty_page'],
    ['offset: a short page', offset, [2], [], 'short_page'],
    ['offset: no more', { ...offset, shortPageEnds: false }, [3], [{ more: false }], 'no_next_token'],
    ['keyset: no more', { strategy: 'keyset', ties: 'scroll' }, [3], [{ more: false }], 'no_next_token'],
  ] satisfies [string, StrategyOptions, number[], Partial<Answer>[], string][])(
    'ends by what is configured: %s',
    (_, options, sizes, said, end) => {
      const pass = readPass(createStrategy(options), saying(sizes.map(rows), said));
      expect([pass.end, pass.pages.length]).toEqual([end, sizes.length]);
    },
  );

  it('of one answer says when the API has more', () => {
    const options: StrategyOptions = { ...cursor(null), follows: 'nothing' };
    const codes = (said: Partial<Answer>) =>
      readPass(createStrategy(options), saying([rows(3)], [said])).notes;
    expect([codes({}), codes({ total: 3 }), codes({ total: 4 }), codes({ more: true })]).toEqual([
      [],
      [],
      ['answer_cut'],
      ['answer_cut'],
    ]);
  });

  it('cannot go on from a record without a cursor value, and says from which', () => {
    const strategy = createStrategy({ ...cursor(NO_TIME), follows: 'last_record' });
    for (const at of [null, 3]) {
      const page = answer(
        [
          { id: 'a', at: 1, version: 1 },
          { id: 'b', at, version: 1 },
        ],
        {},
      );
      const values = at === null ? page.values : ['2024-01-01T00:00:01Z', 'soon'];
      const advance = () => strategy.advance(strategy.begin(null, ''), { ...page, values });
      expect(advance).toThrow(at === null ? 'in record "b" it is missing' : 'in record "b" it is "soon"');
    }
  });

  it('goes on from the last record though only parts of a page are at hand', () => {
    const strategy = createStrategy({ ...cursor(NO_TIME), follows: 'last_record' });
    const begun = strategy.begin(null, '');
    const page = answer(
      [5, 9, null, 2, 7].map((at, i) => ({ id: `r${String(i)}`, at, version: 1 })),
      {},
    );
    let held = { keys: [] as readonly string[], values: [] as readonly (string | null)[] };
    page.keys.forEach((key, i) => {
      const part = { keys: [...held.keys, key], values: [...held.values, page.values[i] ?? null] };
      held = strategy.condense?.(begun, part) ?? part;
    });
    expect(strategy.advance(begun, { ...page, ...held })).toEqual(strategy.advance(begun, page));
    expect(strategy.request(strategy.advance(begun, page))).toEqual({
      params: { updated_since: write(7), scroll_param: 'r4' },
    });
  });

  it('goes on from a checkpoint of an older version, and from none that is of another format', () => {
    const checkpoint = {
      pass: 3,
      mark: { newest: write(5) },
      position: { newest: write(9), token: 't', trail: null },
      ended: null,
      notes: [],
    };
    const bounded = createStrategy(cursor({ ...NO_TIME, settleSeconds: 60, sendsUntil: true }));
    expect(bounded.request(bounded.begin(checkpoint, '2024-06-01T00:00:00Z'))).toEqual({
      params: { updated_since: write(5), scroll_param: 't' },
    });
    const other = createStrategy(cursor({ ...NO_TIME, format: 'epoch_s' }));
    const begun = other.begin(checkpoint, '');
    expect(other.request(begun)).toEqual({ params: {} });
    expect([begun.pass, begun.notes.map(({ code }) => code)]).toEqual([4, ['format_changed']]);
    const byRecord = createStrategy({ ...cursor(NO_TIME), follows: 'last_record' });
    expect(byRecord.request(byRecord.begin(checkpoint, ''))).toEqual({ params: {} });
  });

  it('reads on in the window where it was interrupted, and knows it by name', () => {
    const strategy = createStrategy(
      cursor({ start: '2024-01-01', lookbackSeconds: 0, sendsUntil: true, windowSeconds: 86_400 }),
    );
    const now = '2024-01-03T12:00:00.000Z';
    let at = strategy.begin(null, now);
    at = strategy.advance(at, answer([], {}));
    expect(strategy.request(at)).toEqual({
      params: { updated_since: '2024-01-01', updated_until: '2024-01-03' },
    });
    expect(strategy.state(at)).toMatchObject({
      window_from: '2024-01-01T00:00:00.000Z',
      until: '2024-01-03T00:00:00.000Z',
    });
    expect(strategy.begin(JSON.parse(JSON.stringify(at)) as Cursor, '2025-01-01T00:00:00Z')).toEqual(at);
    expect(strategy.advance(at, answer([], {})).ended).toBeNull();
    expect(strategy.advance(strategy.advance(at, answer([], {})), answer([], {})).ended).toBe('empty_page');
  });
});
