/** Ranges of the model sources: all of a range is read, whatever its ends, and what lies outside is known as such. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Range, RangePlan, StreamPlan, StrategyOptions } from '../../src/protocol.js';
import { removeForsaken, scopeOf } from '../../src/activities/ranges.js';
import type { Destination } from '../../src/destinations/destination.js';
import {
  boundText,
  createRangedStrategy,
  rangeProblem,
  reachedBy,
  unfitRange,
  withinRange,
} from '../../src/strategies/index.js';
import {
  keysetSource,
  offsetSource,
  readPass,
  stepSource,
  timestampSource,
  WRITERS,
  write,
  type Pass,
  type Row,
  type Source,
} from '../helpers/model-source.js';
import { runs } from '../helpers/long.js';

const rowsOf = (ats: readonly (number | null)[]): Row[] =>
  ats.map((at, i) => ({ id: `r${i}`, at, version: 1 }));
const ticks = fc.array(fc.option(fc.nat(30), { freq: 12 }), { maxLength: 40 });
/** Both ends in any order; the range is the one between them. */
const ends = fc
  .tuple(fc.option(fc.nat(32)), fc.option(fc.nat(32)))
  .map(([a, b]): [number | null, number | null] => (a !== null && b !== null && a > b ? [b, a] : [a, b]));
const lost = fc.array(fc.nat(12), { maxLength: 3 });

/** Reads a range as an activity does: keeps what is within. */
function readRange(
  options: StrategyOptions,
  range: Range,
  source: Source,
  more: { stops?: boolean; lost?: number[]; places?: boolean } = {},
): { inside: Set<string>; pass: Pass } {
  const strategy = createRangedStrategy(options, range, more.stops ?? true);
  const within = withinRange(options, range);
  const inside = new Set<string>();
  const located: Source = (params) => {
    const page = source(params);
    const first = Number(params['offset'] ?? 0);
    page.rows.forEach(({ id }, i) => {
      const record = { key: page.keys[i] ?? '', value: page.values[i] ?? null, place: first + i };
      if (within(record)) inside.add(id);
    });
    return page;
  };
  return { inside, pass: readPass(strategy, located, { lost: more.lost ?? [] }) };
}

const idsWithin = (
  rows: readonly Row[],
  [from, to]: [number | null, number | null],
  value: (row: Row) => number | null,
) =>
  rows
    .filter((row) => {
      const at = value(row);
      if (from === null && to === null) return true;
      return at !== null && (from === null || at >= from) && (to === null || at <= to);
    })
    .map(({ id }) => id)
    .sort();
const sorted = (ids: Iterable<string>) => [...ids].sort();
const texts = ([from, to]: [number | null, number | null], text: (n: number) => string): Range => ({
  from: from === null ? null : text(from),
  to: to === null ? null : text(to),
});

describe('every record of a range is read, and none outside is taken for one', () => {
  test('keyset, whatever the pages, ties, filter and order, and wherever it is interrupted', () => {
    fc.assert(
      fc.property(
        ticks,
        ends,
        fc.integer({ min: 2, max: 7 }),
        fc.constantFrom('inclusive' as const, 'exclusive' as const, 'ignored' as const),
        fc.constantFrom('ascending' as const, 'descending' as const),
        fc.boolean(),
        lost,
        (ats, range, pageSize, filter, order, stops, lost) => {
          const rows = rowsOf(ats);
          const model = {
            rows,
            pageSize,
            filter,
            order,
            tokens: 'position' as const,
            nulls: 'last' as const,
            writers: WRITERS,
          };
          const { inside, pass } = readRange(
            { strategy: 'keyset', ties: 'auto' },
            texts(range, write),
            keysetSource(model),
            { stops, lost },
          );
          expect(sorted(inside)).toEqual(idsWithin(rows, range, ({ at }) => at));
          if (!stops) expect(pass.end).not.toBe('range_end');
        },
      ),
      { numRuns: runs(400) },
    );
  });

  test('keyset stops soon after the end of its range', () => {
    const rows = rowsOf(Array.from({ length: 200 }, (_, i) => i));
    const source = keysetSource({
      rows,
      pageSize: 10,
      filter: 'inclusive',
      order: 'ascending',
      tokens: 'position',
    });
    const { pass } = readRange(
      { strategy: 'keyset', ties: 'auto' },
      { from: write(50), to: write(75) },
      source,
    );
    expect(pass.end).toBe('range_end');
    expect(pass.requests.length).toBeLessThanOrEqual(4);
  });

  test('timestamp and replay', () => {
    fc.assert(
      fc.property(
        ticks,
        ends,
        fc.constantFrom('inclusive' as const, 'exclusive' as const),
        fc.constantFrom<StrategyOptions>({ strategy: 'timestamp' }, { strategy: 'replay', bufferHours: 2 }),
        (ats, range, filter, options) => {
          const rows = rowsOf(ats.filter((at) => at !== null));
          const { inside } = readRange(options, texts(range, write), timestampSource({ rows, filter }));
          expect(sorted(inside)).toEqual(idsWithin(rows, range, ({ at }) => at));
        },
      ),
    );
  });

  test('step_size, across gaps, and no id outside is asked for', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 1, max: 120 }), { maxLength: 30 }),
        fc.tuple(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: 120 })),
        fc.integer({ min: 1, max: 30 }),
        fc.option(fc.integer({ min: 1, max: 3 })),
        lost,
        (ids, [a, b], step, maxEmptySteps, lost) => {
          const range: [number, number] = [Math.min(a, b), Math.max(a, b)];
          const rows = ids.map((id): Row => ({ id: String(id), at: 0, version: 1 }));
          const options: StrategyOptions = {
            ...{ strategy: 'step_size', initialId: '1', stepSize: String(step), maxId: '50' },
            ...{ maxEmptySteps, idLookback: '0' },
          };
          const { inside, pass } = readRange(options, texts(range, String), stepSource({ rows }), { lost });
          expect(sorted(inside)).toEqual(idsWithin(rows, range, ({ id }) => Number(id)));
          const asked = pass.requests.map((text) => JSON.parse(text) as { start_id: string; end_id: string });
          expect(asked.every(({ start_id, end_id }) => +start_id >= range[0] && +end_id <= range[1])).toBe(
            true,
          );
          expect(pass.notes).not.toContain('max_id_near');
        },
      ),
    );
  });

  test('offset, by places in the list', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 60 }),
        ends,
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        fc.boolean(),
        lost,
        (count, range, pageSize, cap, total, lost) => {
          const rows = rowsOf(Array.from({ length: count }, (_, i) => i));
          const options: StrategyOptions = { strategy: 'offset', pageSize, fullRescan: { passes: 1 } };
          const { inside } = readRange(
            options,
            texts(range, String),
            offsetSource({ rows, cap: () => cap, total }),
            { lost },
          );
          expect(sorted(inside)).toEqual(idsWithin(rows, range, ({ at }) => at));
        },
      ),
    );
  });

  test('page_number, cursor and offset of changes, with bounds that are sent and without', () => {
    const incremental = fc.record({ sendsUntil: fc.boolean(), settles: fc.boolean(), windows: fc.boolean() });
    fc.assert(
      fc.property(
        ticks,
        fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 })),
        incremental,
        fc.constantFrom('page_number' as const, 'cursor' as const, 'offset' as const),
        fc.boolean(),
        (ats, [a, b], { sendsUntil, settles, windows }, strategy, isExclusive) => {
          const range: [number, number] = [Math.min(a, b), Math.max(a, b)];
          const rows = rowsOf(ats.filter((at) => at !== null));
          const changes = {
            ...{ start: write(0), lookbackSeconds: 600, sendsUntil },
            ...(settles && { settleSeconds: 60 }),
            ...(windows && sendsUntil && { windowSeconds: 5 }),
          };
          const options: StrategyOptions =
            strategy === 'page_number'
              ? { strategy, firstPage: 1, pageSize: 4, shortPageEnds: false, incremental: changes }
              : strategy === 'cursor'
                ? { strategy, pageSize: 4, tokenIsLastKey: false, incremental: changes }
                : { strategy, pageSize: 4, fullRescan: null, incremental: changes };
          let greatest = '';
          const source: Source = ({ updated_since, updated_until, page, scroll_param, offset }) => {
            if (updated_until !== undefined && updated_until > greatest) greatest = updated_until;
            const kept = rows.filter(({ at }) => {
              const text = write(at ?? 0);
              if (isExclusive)
                return text > (updated_since ?? '') && (updated_until === undefined || text < updated_until);
              return text >= (updated_since ?? '') && (updated_until === undefined || text <= updated_until);
            });
            const first = page !== undefined ? (Number(page) - 1) * 4 : Number(scroll_param ?? offset ?? 0);
            const shown = kept.slice(first, first + 4);
            const token = first + 4 < kept.length ? String(first + 4) : null;
            return {
              ...{ keys: shown.map(({ id }) => id), values: shown.map(({ at }) => write(at ?? 0)) },
              ...{ records: shown.length, total: null, more: null, rows: shown },
              nextToken: strategy === 'cursor' ? token : null,
            };
          };
          const { inside } = readRange(options, texts(range, write), source);
          expect(sorted(inside)).toEqual(idsWithin(rows, range, ({ at }) => at));
          // No more is asked for than a second beyond.
          if (sendsUntil) expect(greatest <= write(range[1] + 1)).toBe(true);
        },
      ),
    );
  });
});

const keyset: StrategyOptions = { strategy: 'keyset', ties: 'auto' };
const step: StrategyOptions = {
  ...{ strategy: 'step_size', initialId: '5', stepSize: '10', maxId: '900' },
  ...{ maxEmptySteps: 3, idLookback: '10' },
};
const list: StrategyOptions = { strategy: 'offset', pageSize: 10, fullRescan: null };
const whole: StrategyOptions = {
  ...{ strategy: 'page_number', firstPage: 1, pageSize: null, shortPageEnds: false, incremental: null },
};

test.each<[StrategyOptions, string | null, string | null, RegExp | null]>([
  [keyset, '2026-01-01T00:00:00Z', null, null],
  [keyset, '2026-01-01T01:00:00+02:00', '2025-12-31T23:00:00Z', null],
  [keyset, 'soon', null, /^from: "soon" is not a timestamp, such as 2026/],
  [keyset, '2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z', /ends before it begins/],
  [step, '9007199254740993', '9007199254740994', null],
  [step, '1.5', null, /^from: "1\.5" is not an id/],
  [step, '3', '2', /ends before it begins/],
  [list, '0', '10', null],
  [list, '-1', null, /^from: "-1" is not an offset/],
  [whole, null, null, null],
  [whole, '1', null, /reads this whole source/],
])('a range of %o from %o to %o: %o', (options, from, to, said) => {
  const problem = rangeProblem(options, { from, to });
  if (said === null) expect(problem).toBeNull();
  else expect(problem).toMatch(said);
});

test('a day is its first instant, and what cannot be asked for is said', () => {
  expect(boundText(keyset, '2026-01-31')).toBe('2026-01-31T00:00:00Z');
  expect(boundText(list, '2026')).toBe('2026');
  const plan = (options: StrategyOptions, mode?: 'append') => ({
    options,
    table: { schema: 's', table: 't', primaryKey: ['id'], columns: {}, ...(mode && { mode }) },
  });
  const none = { from: null, to: null };
  expect(unfitRange(plan(keyset), { kind: 'backfill', ...none })).toMatch(/needs --from/);
  expect(unfitRange(plan(whole), { kind: 'backfill', ...none })).toMatch(/no range to backfill/);
  expect(unfitRange(plan(keyset), { kind: 'audit', ...none })).toBeNull();
  expect(
    unfitRange(plan(keyset, 'append'), { kind: 'audit', ...none, repair: true, removeExtra: true }),
  ).toMatch(/keeps every row/);
});

test('how far a sync has come is the mark of its finished passes', () => {
  const cursor = (mark: { [name: string]: string | number }) => ({
    pass: 2,
    mark,
    position: null,
    ended: null,
    notes: [],
  });
  expect(reachedBy(keyset, cursor({ last_updated_at: 'x' }))).toBe('x');
  expect(reachedBy(step, cursor({ current_id: '70' }))).toBe('70');
  expect(reachedBy(list, cursor({ offset: 20 }))).toBe('19');
  expect(reachedBy(whole, cursor({ newest: 'x' }))).toBeNull();
  expect(reachedBy(keyset, null)).toBeNull();
});

test('which rows an audit would have met, or why that cannot be told', () => {
  const scope = (
    options: StrategyOptions,
    range: Partial<RangePlan>,
    notes: string[] = [],
    ended = 'empty_page',
  ) =>
    scopeOf(
      {
        ...{ options, cursorField: 'at', table: { primaryKey: ['id'] } },
        range: { from: null, to: null, reached: null, kind: 'audit', ...range },
      } as unknown as StreamPlan,
      {
        pass: 1,
        mark: null,
        position: null,
        ended: ended as 'empty_page',
        notes: notes.map((code) => ({ code, message: code })),
      },
    );
  expect(scope(keyset, {})).toBeNull();
  expect(scope(keyset, { from: write(1), to: write(3), reached: write(2) })).toEqual({
    field: 'at',
    format: 'timestamp',
    from: write(1),
    to: write(2),
  });
  expect(scope(step, { reached: '70' })).toEqual({ field: 'id', format: 'integer', from: '5', to: '70' });
  expect(scope(step, {}, [], 'max_empty_steps')).toMatch(/were not requested/);
  expect(scope(list, { reached: '19' })).toBeNull();
  expect(scope(list, { from: '3' })).toMatch(/does not show/);
  expect(scope(whole, {})).toBeNull();
  for (const note of ['answer_cut', 'parent_skipped', 'ties_out_of_reach', 'unordered'])
    expect(scope(keyset, {}, [note])).toMatch(/^some records may not have been read/);
  expect(scope(keyset, {}, ['no_cursor_value'])).toBeNull();
});

test('what is kept of other ranges goes once nobody goes on with them', async () => {
  const key = { schema: 's', table: 't', strategy: 'keyset' as const, source: 'a', range: 'backfill 1..' };
  const day = 24 * 60 * 60 * 1000;
  const kept = [
    ['young', 0, false],
    ['old and running', 2, true],
    ['old', 2, false],
  ] as const;
  const gone: string[] = [];
  const destination = {
    ranges: {
      kept: async () =>
        kept.map(([range, days]) => ({
          key: { ...key, range },
          holder: { workflowId: range },
          updated: new Date(Date.now() - days * day).toISOString(),
        })),
      forget: async ({ range }: { range: string }) => void gone.push(range),
    },
  } as unknown as Destination;
  const isRunning = async ({ workflowId }: { workflowId: string }) =>
    kept.some(([range, , runs]) => range === workflowId && runs);
  await removeForsaken(key, destination, isRunning);
  expect(gone).toEqual(['old']);
});
