/**
 * Laws 5 and 6 of `strategies/strategy.ts`: a pass never ends against evidence, nothing is deleted after a pass that is
 * not proven, and a pass always ends. Over sources that stumble once, and over sources that lie all the time.
 */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { isWholePass } from '../../src/destinations/checkpoints.js';
import type { StrategyOptions } from '../../src/protocol.js';
import { ContradictionError, createStrategy, UnfollowableError } from '../../src/strategies/index.js';
import type { Care } from '../../src/strategies/strategy.js';
import {
  missing,
  type Answer,
  readPass,
  type Row,
  type Source,
  type Table,
  write,
} from '../helpers/model-source.js';
import { runs } from '../helpers/long.js';

vi.setConfig({ testTimeout: 60_000 });

const rowsOf = (count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ id: `r${String(i).padStart(3, '0')}`, at: i, version: 1 }));

/** What a source says of its end, beside what it must. */
type Says = { total: boolean; pages: boolean; more: boolean };

interface Model {
  rows: Row[];
  pageSize: number;
  says: Says;
  /** A last page has its token as null, or lacks the member. */
  noToken: 'null' | 'absent';
}

function answer(
  { rows, pageSize, says, noToken }: Model,
  from: number,
  token: string | null,
  isNumbered = false,
): Answer {
  const shown = rows.slice(from, from + pageSize);
  return {
    keys: shown.map(({ id }) => id),
    values: shown.map(({ at }) => write(at ?? 0)),
    records: shown.length,
    nextToken: token,
    ...(token === null && { noToken }),
    total: says.total ? rows.length : null,
    more: says.more ? from + pageSize < rows.length : null,
    ...(says.pages && isNumbered && { totalPages: Math.ceil(rows.length / pageSize) }),
    rows: shown,
  };
}

const numbered =
  (model: Model): Source =>
  ({ page }) =>
    answer(model, (Number(page) - 1) * model.pageSize, null, true);
const byOffset =
  (model: Model): Source =>
  ({ offset, limit }) =>
    answer({ ...model, pageSize: Number(limit) }, Number(offset), null);
const chained =
  (model: Model): Source =>
  ({ scroll_param = '0' }) => {
    const next = Number(scroll_param) + model.pageSize;
    return answer(model, Number(scroll_param), next < model.rows.length ? String(next) : null);
  };
/** Ascending by time, `>=`, with or without tokens. */
const sorted =
  (model: Model, hasTokens: boolean): Source =>
  ({ updated_since, scroll_param }) => {
    const from =
      scroll_param === undefined
        ? Math.max(
            0,
            model.rows.findIndex(({ at }) => write(at ?? 0) >= (updated_since ?? '')),
          )
        : Number(scroll_param);
    const next = from + model.pageSize;
    const token = hasTokens && next < model.rows.length ? String(next) : null;
    const { total: _, ...said } = answer(model, from, token);
    return { ...said, total: null, ...(!hasTokens && { more: null, noToken: 'absent' }) };
  };

const strategies: [string, (model: Model) => { options: StrategyOptions; source: Source }][] = [
  [
    'page_number',
    (model) => ({
      options: {
        ...{ strategy: 'page_number', firstPage: 1, pageSize: model.pageSize },
        ...{ shortPageEnds: false, incremental: null },
      },
      source: numbered(model),
    }),
  ],
  [
    'offset',
    (model) => ({
      options: { strategy: 'offset', pageSize: model.pageSize, fullRescan: { passes: 1 } },
      source: byOffset(model),
    }),
  ],
  [
    'cursor',
    (model) => ({
      options: { strategy: 'cursor', pageSize: null, tokenIsLastKey: false, incremental: null },
      source: chained(model),
    }),
  ],
  ['keyset', (model) => ({ options: { strategy: 'keyset', ties: 'auto' }, source: sorted(model, true) })],
  [
    'keyset without tokens',
    (model) => ({ options: { strategy: 'keyset', ties: 'auto' }, source: sorted(model, false) }),
  ],
];

const model = fc.record({
  rows: fc.integer({ min: 0, max: 60 }).map(rowsOf),
  pageSize: fc.integer({ min: 2, max: 12 }),
  says: fc.record({ total: fc.boolean(), pages: fc.boolean(), more: fc.boolean() }),
  noToken: fc.constantFrom('null' as const, 'absent' as const),
});

/** What a stumbling source answers instead. */
const STUMBLES: Record<string, (right: Answer, before: Answer | null) => Answer> = {
  'an empty page': (right) => ({ ...right, keys: [], values: [], records: 0, rows: [] }),
  'an empty page without a token': (right) => ({
    ...right,
    ...{ keys: [], values: [], records: 0, rows: [], nextToken: null, noToken: 'null' },
  }),
  'a lost token': (right) => ({ ...right, nextToken: null, noToken: 'null' }),
  'a token that is not there': (right) => ({ ...right, nextToken: null, noToken: 'absent' }),
  'the page before again': (right, before) => before ?? right,
};

/** A source that answers the request of this number with a stumble. */
function stumbling(
  source: Source,
  at: number,
  stumble: (right: Answer, before: Answer | null) => Answer,
): Source {
  let asked = 0;
  let before: Answer | null = null;
  return (params) => {
    const right = source(params);
    const said = asked++ === at ? stumble(right, before) : right;
    before = right;
    return said;
  };
}

/** Far above what any source here needs that is not read for ever. */
const BUDGET = 400;

function read(options: StrategyOptions, source: Source, care: Care = 'usual') {
  const table: Table = new Map();
  try {
    const pass = readPass(createStrategy(options, care), source, { table, budget: BUDGET });
    return { table, pass };
  } catch (thrown) {
    if (thrown instanceof ContradictionError || thrown instanceof UnfollowableError)
      return { table, pass: null, thrown };
    throw thrown;
  }
}

describe.each(strategies)('%s', (name, of) => {
  it('asks no more than once more of a source that does not stumble', () => {
    fc.assert(
      fc.property(model, (m) => {
        const { options, source } = of(m);
        const { table, pass } = read(options, source);
        expect(missing(m.rows, table)).toEqual([]);
        expect(pass?.doubts).toBeLessThanOrEqual(1);
        expect(pass?.notes.includes('pass_restarted')).toBe(false);
      }),
    );
  });

  it.each(Object.entries(STUMBLES))('reads everything from a source that stumbles once: %s', (_, stumble) => {
    let stumbled = 0;
    fc.assert(
      fc.property(model, fc.nat(12), (m, at) => {
        const { options, source } = of(m);
        const { table, pass } = read(options, stumbling(source, at, stumble), 'thorough');
        if (pass !== null && pass.doubts > 0) stumbled++;
        // A first page that comes empty once, and nothing else to tell it by, is an empty list.
        const isSilent = at === 0 && pass?.pages.every(({ records }) => records === 0) === true;
        // Without tokens an answer out of order leaves nothing to go by, which the pass says.
        if (name === 'keyset without tokens' && pass !== null && !isWholePass(pass.cursor)) return;
        if (!isSilent) expect(missing(m.rows, table)).toEqual([]);
        else expect(pass.doubts).toBe(0);
      }),
      { numRuns: runs(300) },
    );
    expect(stumbled).toBeGreaterThan(0);
  });

  it('takes no pass for whole that has not read everything, whatever the source says all the time', () => {
    const lies: Record<string, (right: Answer, params: Record<string, string>, asked: number) => Answer> = {
      'a total of the page': (right) => ({ ...right, total: right.records }),
      'a total that is capped': (right) => ({ ...right, total: Math.min(right.total ?? Infinity, 20) }),
      'a total that counts more': (right) => ({ ...right, total: (right.total ?? 60) + 7 }),
      'a total on the first page only': (right, _, asked) =>
        asked === 0 ? right : { ...right, total: null },
      'more, for ever': (right) => ({ ...right, more: true }),
      'empty from the third page on': (right, _, asked) =>
        asked < 2 ? right : { ...right, keys: [], values: [], records: 0, rows: [] },
      'no token from the second page on': (right, _, asked) =>
        asked < 1 ? right : { ...right, nextToken: null, noToken: 'absent' },
    };
    fc.assert(
      fc.property(model, fc.constantFrom(...Object.keys(lies)), (m, lie) => {
        const { options, source } = of(m);
        let asked = 0;
        const { table, pass } = read(
          options,
          (params) => lies[lie]?.(source(params), params, asked++) ?? source(params),
        );
        const isEmptyList = pass?.pages.every(({ records }) => records === 0) === true;
        if (pass === null || !isWholePass(pass.cursor) || isEmptyList) return;
        // Without any count an end that the source shows twice is the end.
        const isKeyset = name.startsWith('keyset');
        const isShown = lie === 'empty from the third page on' || lie === 'no token from the second page on';
        const counts = (m.says.total && !isKeyset) || (m.says.pages && name === 'page_number');
        if (isShown && !counts) return;
        expect(missing(m.rows, table)).toEqual([]);
      }),
      { numRuns: runs(600) },
    );
  });

  it.each<[string, (model: Model) => Source]>([
    [
      'ignores what it is asked',
      (m) => {
        const { source } = of(m);
        const first: Record<string, string> =
          name === 'page_number' ? { page: '1' } : { offset: '0', limit: String(m.pageSize) };
        return () => source(name === 'cursor' || name.startsWith('keyset') ? {} : first);
      },
    ],
    [
      'gives a new token with the same page each time',
      (m) => {
        let asked = 0;
        return () => ({ ...answer(m, 0, `t${String(asked++)}`), more: null });
      },
    ],
    [
      'answers with its last page again past the end',
      (m) => {
        const { source } = of(m);
        const last = Math.max(1, Math.ceil(m.rows.length / m.pageSize));
        return (params) =>
          name === 'page_number'
            ? source({ ...params, page: String(Math.min(Number(params['page']), last)) })
            : source(params);
      },
    ],
    [
      'names a next page for ever with nothing on it',
      (m) => {
        let asked = 0;
        return () => ({
          ...answer({ ...m, rows: [] }, 0, `t${String(asked++)}`),
          more: null,
          totalPages: null,
        });
      },
    ],
  ])('always ends: over a source that %s', (_, sourceOf) => {
    fc.assert(
      fc.property(model, (m) => {
        const silent = { ...m, says: { total: false, pages: false, more: false } };
        const { table, pass } = read(of(silent).options, sourceOf(silent));
        if (pass !== null && isWholePass(pass.cursor) && table.size > 0)
          expect(missing(m.rows, table)).toEqual([]);
      }),
    );
  });
});
