/**
 * The laws of `strategies/strategy.ts` where a filter is written otherwise than the records, and may tell less apart:
 * days over seconds, seconds over milliseconds. Whatever the API takes such a bound for, no record is lost.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cursor, Incremental, StrategyOptions } from '../../src/protocol.js';
import { createStrategy, valuesFor, valuesOf } from '../../src/strategies/index.js';
import {
  ascendingSource,
  changesSource,
  FILTERS,
  type Filter,
  NIGHT,
  type Paging,
  TIMES,
  type Written,
} from '../helpers/changes-model.js';
import { missing, readPass, type Row, type Source, type Table } from '../helpers/model-source.js';
import { runs } from '../helpers/long.js';

const DAY = 86_400;
/** Midnights of UTC and of Berlin, in seconds after {@link NIGHT}; in the night between, Berlin has 25 hours. */
const EDGES = [0, 1, 2, 3].flatMap((day) => [3600 + day * DAY, day * DAY]).concat(-3600);
/** Four days, with many ties, half seconds, and records at midnight and just beside it. */
const moment = fc.oneof(
  fc.nat(40).map((step) => step * 8471.5 - 30_000),
  fc.tuple(fc.constantFrom(...EDGES), fc.constantFrom(-1, -0.5, 0, 0, 0.5, 1)).map(([edge, by]) => edge + by),
);
const moments = fc.array(moment, { maxLength: 40 });
/** Rows at these times, or at whole seconds where the API has no others. */
function rowsOf(times: number[], { write }: Written): Row[] {
  const isWhole = write(0.5) === write(0);
  return times.map((time, i) => {
    const id = `r${String(i).padStart(3, '0')}`;
    return { id, at: isWhole ? Math.floor(time) : time, version: 1 };
  });
}
const at = (seconds: number) => new Date(NIGHT + seconds * 1000).toISOString();

const PAGINGS: Paging[] = ['page_number', 'offset', 'tokens', 'one answer'];

function optionsFor(paging: Paging, pageSize: number, incremental: Incremental): StrategyOptions {
  switch (paging) {
    case 'page_number':
      return { strategy: 'page_number', firstPage: 1, pageSize, shortPageEnds: false, incremental };
    case 'offset':
      return { strategy: 'offset', pageSize, fullRescan: null, incremental };
    default:
      return {
        strategy: 'cursor',
        pageSize: null,
        tokenIsLastKey: false,
        ...(paging === 'one answer' && { follows: 'nothing' }),
        incremental,
      };
  }
}

const mostOften = (requests: string[]) =>
  Math.max(0, ...requests.map((request) => requests.filter((other) => other === request).length));

/** The least difference in seconds that a bound can show. */
const unitOf = ({ format }: Filter) => (valuesOf(format).clock?.unit(null) ?? 1000) / 1000;

const boundary = fc.constantFrom('inclusive' as const, 'exclusive' as const);
const writings = Object.entries(TIMES).filter(([name]) => name !== 'seconds since 1970');
const cases = Object.entries(FILTERS).flatMap(([name, filter]) =>
  writings.map(([written, writing]) => [name, written, filter, writing] as const),
);

describe.each(cases)('a filter of %s over %s', (name, _, filter, written) => {
  const isWall = name.includes('wall');
  const incrementalOf = (more: Partial<Incremental>): Incremental => ({
    ...{ start: null, lookbackSeconds: 0, format: written.format, filter: filter.format },
    ...more,
  });

  it.each(PAGINGS)('lets %s read all from the start to the bound, in windows or at once', (paging) => {
    fc.assert(
      fc.property(
        moments,
        moment,
        fc.integer({ min: 0, max: 4 * DAY }),
        fc.option(fc.integer({ min: 4 * 3600, max: 2 * DAY }), { nil: undefined }),
        fc.option(fc.integer({ min: 1, max: 7200 }), { nil: undefined }),
        boundary,
        boundary,
        fc.integer({ min: 1, max: 9 }),
        fc.uniqueArray(fc.nat(20), { maxLength: 3 }),
        (times, begin, length, window, settleSeconds, lower, upper, pageSize, lost) => {
          const start = written.write(begin);
          const end = begin + length;
          fc.pre(written.order(start) <= written.order(written.write(end)));
          const strategy = createStrategy(
            optionsFor(
              paging,
              pageSize,
              incrementalOf({
                ...{ start, sendsUntil: true },
                // The configuration refuses windows that no bound can show.
                ...(window !== undefined && { windowSeconds: Math.max(window, unitOf(filter)) }),
                ...(settleSeconds !== undefined && { settleSeconds }),
              }),
            ),
          );
          const rows = rowsOf(times, written);
          const source = changesSource({
            ...{ rows, written, paging, pageSize, lower, upper, filter },
            ...{ ordered: false, says: 'nothing' },
          });
          const now = at(end + (settleSeconds ?? 0));
          const table: Table = new Map();
          const again: Table = new Map();
          const pass = readPass(strategy, source, { table, now });
          const inside = rows.filter((row) => {
            const time = row.at ?? 0;
            // What an API leaves out at the very start is as configured.
            return filter.sees(time) > filter.sees(begin) || (lower === 'inclusive' && time >= begin);
          });
          expect(
            missing(
              inside.filter((row) => (row.at ?? 0) < end - written.repeats),
              table,
            ),
          ).toEqual([]);
          expect(mostOften(pass.requests)).toBeLessThanOrEqual(isWall || written.repeats > 0 ? 2 : 1);
          const { newest } = pass.cursor.mark as { newest: string | null };
          if (newest !== null)
            expect(written.order(newest)).toBeLessThanOrEqual(
              written.order(written.write(end)) + written.repeats * 1000,
            );
          expect(readPass(strategy, source, { table: again, now, lost }).cursor).toEqual(pass.cursor);
          expect(again).toEqual(table);
        },
      ),
      { numRuns: 10 },
    );
  });

  /** Passes while records come, each at the greatest time there is or later; the table, and the codes of the notes. */
  function follow(
    times: number[],
    cuts: number[],
    options: StrategyOptions,
    sourceOf: (rows: Row[]) => Source,
  ) {
    const rows = rowsOf(
      [...times].sort((a, b) => a - b),
      written,
    );
    const table: Table = new Map();
    const notes: string[] = [];
    let checkpoint: Cursor | null = null;
    const strategy = createStrategy(options);
    const values = valuesFor(options);
    let before: string | null = null;
    for (const count of [...cuts.map((cut) => cut % (rows.length + 1)).sort((a, b) => a - b), rows.length]) {
      const pass = readPass(strategy, sourceOf(rows.slice(0, count)), { table, checkpoint });
      checkpoint = pass.cursor;
      notes.push(...pass.notes);
      const mark = pass.cursor.mark as { [key: string]: string | null };
      const newest = mark['newest'] ?? mark['last_updated_at'] ?? mark['last_timestamp'] ?? null;
      if (before !== null) expect(values.compare(newest ?? '', before)).toBeGreaterThanOrEqual(0);
      before = newest;
    }
    return { lost: missing(rows, table), notes };
  }
  const cuts = fc.array(fc.nat(40), { minLength: 1, maxLength: 5 });

  it.each(PAGINGS)('lets %s find what is new, also what joins the newest day or second', (paging) => {
    fc.assert(
      fc.property(
        moments,
        cuts,
        boundary,
        fc.integer({ min: 1, max: 9 }),
        (times, passes, lower, pageSize) => {
          // A filter by ">" takes a lookback, of a second, whatever the bound shows.
          const lookbackSeconds = (isWall ? 3600 : written.repeats) + (lower === 'exclusive' ? 1 : 0);
          const { lost } = follow(
            times,
            passes,
            optionsFor(paging, pageSize, incrementalOf({ lookbackSeconds })),
            (rows) =>
              changesSource({
                ...{ rows, written, paging, pageSize, lower, upper: 'inclusive', filter },
                ...{ ordered: false, says: 'nothing' },
              }),
          );
          expect(lost).toEqual([]);
        },
      ),
      { numRuns: 20 },
    );
  });

  const repeats = Math.max(written.repeats, isWall ? 3600 : 0);

  it('lets keyset find what is new, and never takes the source for one out of order', () => {
    fc.assert(
      fc.property(
        ...[moments, cuts, boundary, fc.integer({ min: 1, max: 9 }), fc.boolean()],
        (times, passes, lower, pageSize, exactTokens) => {
          const { lost, notes } = follow(
            times,
            passes,
            { strategy: 'keyset', ties: 'auto', incremental: incrementalOf({ lookbackSeconds: repeats }) },
            (rows) => ascendingSource({ rows, written, pageSize, lower, filter, exactTokens }),
          );
          if (repeats === 0) expect(notes).not.toContain('unordered');
          if (exactTokens || !notes.some((code) => /ties|unordered/.test(code))) expect(lost).toEqual([]);
        },
      ),
      { numRuns: runs(60) },
    );
  });

  it.each(['timestamp', 'replay'] as const)('lets %s find what is new', (strategy) => {
    fc.assert(
      fc.property(moments, cuts, boundary, (times, passes, lower) => {
        const incremental = incrementalOf({ lookbackSeconds: repeats });
        const { lost } = follow(
          times,
          passes,
          strategy === 'timestamp' ? { strategy, incremental } : { strategy, incremental, bufferHours: 1 },
          (rows) => ascendingSource({ rows, written, pageSize: 1000, lower, filter }),
        );
        expect(lost).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });
});

describe('where a bound must be exact', () => {
  const page = (value: string) => ({
    ...{ keys: ['1', '2'], values: [value, value], records: 2 },
    ...{ nextToken: null, total: null, more: null },
  });

  it('the next page is asked for by the last record, and refused where the filter cannot show its value', () => {
    const strategy = createStrategy({
      ...{ strategy: 'cursor', pageSize: null, tokenIsLastKey: false, follows: 'last_record' },
      incremental: { start: null, lookbackSeconds: 0, filter: 'epoch_s' },
    });
    const begun = strategy.begin(null, at(0));
    const next = strategy.advance(begun, page('2025-07-01T08:00:00Z'));
    expect(strategy.request(next)).toEqual({ params: { updated_since: '1751356800', scroll_param: '2' } });
    expect(() => strategy.advance(begun, page('2025-07-01T08:00:00.5Z'))).toThrow('names.format');
  });

  it('replay deletes no row of a day that the filter may have left out', () => {
    const strategy = createStrategy({
      ...{ strategy: 'replay', bufferHours: 2 },
      incremental: { start: null, lookbackSeconds: 0, filter: { pattern: 'yyyy-MM-dd', zone: 'UTC' } },
    });
    const first = strategy.advance(strategy.begin(null, at(0)), page('2025-07-10T12:00:00Z'));
    expect(first.since).toBeUndefined();
    const second = strategy.begin(first, at(0));
    // Midnight less the buffer: also the rest of that day is asked for, whatever the API leaves out.
    expect(strategy.request(second)).toEqual({ params: { since: '2025-07-09' } });
    expect(strategy.advance(second, page('2025-07-10T12:00:00Z')).since).toBe('2025-07-10T00:00:00Z');
  });
});
