import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PageTexts, PageRequest, PageSummary, StrategyOptions } from '../../src/protocol.js';
import { createStrategy } from '../../src/strategies/index.js';
import {
  advanceTwiceAsked,
  offsetSource,
  type Row,
  type Source,
  stepSource,
} from '../helpers/model-source.js';

const NOW = '2024-06-01T00:00:00.000Z';

const stamp = (n: number) => `2024-01-01T00:00:${String(n).padStart(2, '0')}Z`;
const value = fc.oneof(
  { weight: 10, arbitrary: fc.integer({ min: 0, max: 9 }).map(stamp) },
  { weight: 1, arbitrary: fc.constantFrom(null, 'no time', '0001-01-01T00:00:00Z') },
);
const summary = (records: PageTexts, count: number): PageSummary => ({
  ...records,
  records: count,
  nextToken: null,
  total: null,
  more: null,
});

describe('condensing an answer part by part', () => {
  for (const options of [
    { strategy: 'timestamp' },
    { strategy: 'replay', bufferHours: 1 },
  ] satisfies StrategyOptions[]) {
    it(`leaves ${options.strategy} with the same cursor as the whole answer`, () => {
      fc.assert(
        fc.property(
          fc.array(value, { maxLength: 30 }),
          fc.array(value, { maxLength: 30 }),
          fc.integer({ min: 1, max: 8 }),
          (first, second, size) => {
            const strategy = createStrategy(options);
            const keyed = (values: (string | null)[]) => ({ values, keys: values.map((_, i) => String(i)) });
            const begun = strategy.begin(
              strategy.advance(strategy.begin(null, NOW), summary(keyed(first), first.length)),
              NOW,
            );
            let held: PageTexts = { keys: [], values: [] };
            for (let from = 0; from < second.length; from += size) {
              const part = keyed(second.slice(from, from + size));
              held = { keys: [...held.keys, ...part.keys], values: [...held.values, ...part.values] };
              held = strategy.condense?.(begun, held) ?? held;
              expect(held.values.length).toBeLessThanOrEqual(6);
            }
            const whole = strategy.advance(begun, summary(keyed(second), second.length));
            const condensed = strategy.advance(begun, summary(held, second.length));
            expect({ ...condensed, notes: condensed.notes.map((n) => n.code).sort() }).toEqual({
              ...whole,
              notes: whole.notes.map((n) => n.code).sort(),
            });
          },
        ),
        { numRuns: 1000 },
      );
    });
  }
});

describe('the requests that are sent ahead', () => {
  /** Reads a pass, and says how often the guess of the next request was right, wrong, or not made. */
  function follow(options: StrategyOptions, source: Source) {
    const strategy = createStrategy(options);
    const guesses = { right: 0, wrong: 0, none: 0 };
    let cursor = strategy.begin(null, NOW);
    let guess: PageRequest | null | undefined;
    for (;;) {
      const request = strategy.request(cursor);
      if ('end' in request) return { ...guesses, unused: guess ?? null };
      if (guess === null) guesses.none++;
      else if (guess !== undefined)
        guesses[JSON.stringify(guess) === JSON.stringify(request) ? 'right' : 'wrong']++;
      guess = strategy.ahead?.(cursor, 1)[0] ?? null;
      cursor = advanceTwiceAsked(strategy, cursor, source(request.params)).cursor;
    }
  }

  it('are those that follow, for offset once a total is known', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 12 }), (count, pageSize) => {
        const source = offsetSource({ rows: rowsAt(count), cap: () => pageSize, total: true });
        const { right, wrong, none, unused } = follow(
          { strategy: 'offset', pageSize, fullRescan: null },
          source,
        );
        expect({ wrong, unused }).toEqual({ wrong: 0, unused: null });
        // Only the first answer tells the total, and a full last page is gone on from; pages of one are read without looking ahead.
        if (pageSize > 1) expect(none).toBeLessThanOrEqual(2);
        if (pageSize > 1 && count > 3 * pageSize) expect(right).toBeGreaterThan(0);
      }),
    );
  });

  it('are none for offset without a total', () => {
    const source = offsetSource({ rows: rowsAt(50), cap: () => 10, total: false });
    expect(follow({ strategy: 'offset', pageSize: 10, fullRescan: null }, source).right).toBe(0);
  });

  it('are those that follow, for step_size to the greatest id', () => {
    const options = { initialId: '1', stepSize: '7', maxId: '100', maxEmptySteps: null, idLookback: '7' };
    const source = stepSource({ rows: rowsAt(40) });
    expect(follow({ strategy: 'step_size', ...options }, source)).toEqual({
      right: 14,
      wrong: 0,
      none: 0,
      unused: null,
    });
  });
});

const rowsAt = (count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ id: String(i + 1), at: i, version: 1 }));
