import { describe, expect, it } from 'vitest';
import type { Cursor, PageSummary, StrategyOptions } from '../../src/protocol.js';
import { ASKED_ENOUGH, createStrategy, TokenCycleError } from '../../src/strategies/index.js';
import { compare, FIRST, minusSeconds, parse } from '../../src/strategies/instants.js';
import type { Strategy } from '../../src/strategies/strategy.js';
import { followToken, type TokenTrail } from '../../src/strategies/tokens.js';
import {
  keysetSource,
  missing,
  offsetSource,
  readPass,
  type Row,
  rowsAt,
  stepSource,
  type Table,
  timestampSource,
  write,
} from '../helpers/model-source.js';

const NOW = '2024-06-01T00:00:00.000Z';

/** Lets a strategy read scripted pages; says what it asked and how it stands after the last. */
function play(options: StrategyOptions, pages: Partial<PageSummary>[], checkpoint: Cursor | null = null) {
  const strategy: Strategy = createStrategy(options);
  const asked: unknown[] = [];
  let cursor = strategy.begin(checkpoint, NOW);
  for (const page of pages) {
    const request = strategy.request(cursor);
    asked.push('params' in request ? request.params : request);
    const values = page.values ?? [];
    const keys = values.map((_, i) => `k${String(asked.length)}.${String(i)}`);
    cursor = strategy.advance(cursor, {
      keys,
      values,
      records: keys.length,
      nextToken: null,
      total: null,
      more: null,
      asked: ASKED_ENOUGH,
      ...page,
    });
  }
  return {
    asked,
    cursor,
    next: strategy.request(cursor),
    state: strategy.state(cursor),
    notes: codes(cursor),
  };
}

const codes = (cursor: Cursor): string[] => cursor.notes.map((note) => note.code);
const page = (nextToken: string | null, ...ats: number[]): Partial<PageSummary> => ({
  values: ats.map(write),
  nextToken,
});

describe('timestamps', () => {
  it('are compared at full precision, beyond milliseconds', () => {
    expect(compare('2024-01-01T00:00:00.123456789Z', '2024-01-01T00:00:00.123456788Z')).toBeGreaterThan(0);
    expect(compare('2024-01-01T00:00:00.1Z', '2024-01-01T00:00:00.09Z')).toBeGreaterThan(0);
    expect(compare('2024-01-01T00:00:00Z', '2024-01-01T00:00:00.000000000000000000001Z')).toBeLessThan(0);
  });

  it('are compared as instants where their texts only look alike', () => {
    expect(compare('+10000-01-01T00:00:00Z', '2024-01-01T00:00:00.5Z')).toBeGreaterThan(0);
    expect(compare('10000-01-01T00:00:00.5Z', '2024-01-01T00:00:00.55Z')).toBeGreaterThan(0);
    expect(compare('2024-01-01T00:00:00.55Z', '10000-01-01T00:00:00.5Z')).toBeLessThan(0);
    expect(compare('2024-01-01 23:00:00Z', '2024-01-01T00:00:00Z')).toBeGreaterThan(0);
  });

  it('are equal where they are one instant in different words', () => {
    const same = [
      '2024-01-01T00:00:00Z',
      '2024-01-01 00:00:00',
      '2024-01-01',
      '2024-01-01t00:00:00.000z',
      '2024-01-01T01:30:00+01:30',
      '2024-01-01T01:30:00+0130',
      '2023-12-31 22:00:00.0-02',
    ];
    for (const text of same) expect(compare(text, '2024-01-01T00:00:00.00Z'), text).toBe(0);
  });

  it.each([
    ['2024-02-29T00:00:00Z', true],
    ['2023-02-29T00:00:00Z', false],
    ['2024-13-01', false],
    ['2024-00-10', false],
    ['0000-01-01', false],
    ['0001-01-01T00:00:00Z', true],
    ['9999-12-31T23:59:59.999999Z', true],
    ['+12345-01-01T00:00:00Z', true],
    ['2024-01-01T24:00:00Z', false],
    ['2024-01-01T00:00:00.Z', false],
    ['1704067200', false],
    ['2024-01-01T00:00:00Z\n', false],
    ['Mon, 01 Jan 2024 00:00:00 GMT', false],
    ['', false],
  ])('%s can be read: %s', (text, readable) => {
    expect(parse(text) !== null).toBe(readable);
  });

  it('keep a leap second between its neighbours', () => {
    const order = [
      '2016-12-31T23:59:59.9Z',
      '2016-12-31T23:59:60Z',
      '2016-12-31T23:59:60.5Z',
      '2017-01-01T00:00:00Z',
    ];
    for (const [i, text] of order.slice(1).entries())
      expect(compare(text, order[i] ?? '')).toBeGreaterThan(0);
  });

  it.each([
    ['2024-03-01T01:00:00Z', 7200, '2024-02-29T23:00:00Z'],
    ['2024-03-01 01:00:00.120+02:00', 7200, '2024-02-29 23:00:00.120+02:00'],
    ['2024-03-01T01:00:00', 1, '2024-03-01T00:59:59'],
    ['2024-03-01', 7200, '2024-02-29'],
    ['2024-03-01T00:00:00.9Z', 0.25, '2024-02-29T23:59:59.9Z'],
    ['2016-12-31T23:59:60.7-0800', 0, '2016-12-31T23:59:59.7-0800'],
    ['0001-01-01T00:30:00.50Z', 7200, '0001-01-01T00:00:00.00Z'],
    [FIRST, 1, FIRST],
  ])('%s less %s seconds keeps its format: %s', (text, seconds, expected) => {
    expect(minusSeconds(text, seconds)).toBe(expected);
  });
});

describe('page tokens', () => {
  const drainTokens = (tokens: Iterable<string>): void => {
    let trail: TokenTrail | null = null;
    for (const token of tokens) trail = followToken(trail, token);
  };

  it('that run in a circle are an error which names one', () => {
    const circle = function* (): Generator<string> {
      yield* ['start', 'X'];
      for (;;) yield* ['A', 'B'];
    };
    expect(() => drainTokens(circle())).toThrow(TokenCycleError);
    expect(() => drainTokens(circle())).toThrow(/the page token "[AB]" again/);
  });

  it('that differ are followed as far as they lead', () => {
    expect(() => drainTokens(Array.from({ length: 5000 }, (_, i) => String(i)))).not.toThrow();
  });
});

describe('keyset', () => {
  const auto: StrategyOptions = { strategy: 'keyset', ties: 'auto' };
  const scroll: StrategyOptions = { strategy: 'keyset', ties: 'scroll' };

  it('begins a first pass before every record', () => {
    expect(play(auto, []).next).toEqual({ params: { updated_since: FIRST } });
  });

  it('asks the timestamp below the last while the filter is unproven, the last once it is proven inclusive', () => {
    const { asked, next } = play(auto, [page('t', 1, 2, 3), page('t', 2, 3, 4), page('t', 4, 5, 6)]);
    expect(asked).toEqual([
      { updated_since: FIRST },
      { updated_since: write(2) },
      { updated_since: write(4) },
    ]);
    expect(next).toEqual({ params: { updated_since: write(6) } });
  });

  it.each(['inclusive', 'exclusive'] as const)('reads ties across page edges, filter %s', (filter) => {
    // By tokens that mean "later than the last row", one row of each pair at a page edge would be lost.
    const rows = rowsAt(1, 2, 3, 3, 4, 5, 6, 6, 7);
    const table: Table = new Map();
    const source = keysetSource({ rows, pageSize: 3, filter, order: 'ascending', tokens: 'later_than_last' });
    const { notes } = readPass(createStrategy(auto), source, { table });
    expect(missing(rows, table)).toEqual([]);
    expect(notes).toEqual([]);

    const byTokens: Table = new Map();
    readPass(createStrategy(scroll), source, { table: byTokens });
    expect(missing(rows, byTokens).map((row) => row.at)).toEqual([3, 6]);
  });

  it('says so where a whole page shares one timestamp and only the token leads on', () => {
    const { next, notes } = play(auto, [page('t', 1, 2, 3), page('t', 3, 3, 3)]);
    expect(next).toEqual({ params: { scroll_param: 't' } });
    expect(notes).toEqual(['ties_out_of_reach']);
  });

  it('goes back from a token to timestamps as soon as a page holds two', () => {
    const { next } = play(auto, [page('a', 3, 3, 3), page('b', 4, 5, 6)]);
    expect(next).toEqual({ params: { updated_since: write(5) } });
  });

  it('does not take a vanished boundary record for an exclusive filter', () => {
    const { cursor } = play(auto, [page('t', 1, 2, 3), page('t', 3, 4, 5), page(null, 4, 5)]);
    expect(cursor.mark).toMatchObject({ inclusive: true });
  });

  it('never asks updated_since and scroll_param together', () => {
    const rows = rowsAt(1, 1, 1, 1, 2, 3, 3, 3, 3, 4);
    for (const ties of ['auto', 'scroll'] as const) {
      const source = keysetSource({
        rows,
        pageSize: 2,
        filter: 'inclusive',
        order: 'ascending',
        tokens: 'position',
      });
      // The model refuses both at once, as the reference API does.
      expect(() => readPass(createStrategy({ strategy: 'keyset', ties }), source)).not.toThrow();
    }
  });

  it('follows the tokens of an unordered source from its first page on', () => {
    const { next, notes, cursor } = play(auto, [page('t', 3, 1, 2), page(null, 1)]);
    expect(next).toEqual({ end: 'no_next_token' });
    expect(notes).toEqual(['unordered']);
    expect(cursor.mark).toMatchObject({ last_updated_at: write(3), unordered: true });
  });

  it('reads a pass again by tokens where disorder shows only after a jump', () => {
    const { asked, next, notes } = play(auto, [page('a', 1, 2, 3), page('b', 2, 9, 4)]);
    expect(asked).toHaveLength(2);
    expect(next).toEqual({ params: { updated_since: FIRST } });
    expect(notes).toEqual(['unordered']);
    const again = play(auto, [page('a', 1, 2, 3), page('b', 2, 9, 4), page('a', 1, 2, 3), page('c', 9, 4)]);
    expect(again.asked.slice(2)).toEqual([{ updated_since: FIRST }, { scroll_param: 'a' }]);
    expect(again.next).toEqual({ params: { scroll_param: 'c' } });
  });

  it('remembers that a source is unordered: the next pass follows tokens at once', () => {
    const { cursor } = play(auto, [page(null, 3, 1)]);
    expect(play(auto, [page('t', 3, 4, 5)], cursor).next).toEqual({ params: { scroll_param: 't' } });
  });

  it('takes records older than asked for a source that does not filter', () => {
    const { cursor } = play(auto, [page(null, 1, 2, 3)]);
    const second = play(auto, [page('t', 1, 2, 3)], cursor);
    expect(second.notes).toEqual(['unordered']);
    expect(second.next).toEqual({ params: { scroll_param: 't' } });
  });

  it('begins the next pass at the mark where the filter is inclusive, one timestamp below it otherwise', () => {
    const unproven = play(auto, [page(null, 1, 2, 2, 3)]);
    expect(play(auto, [], unproven.cursor).next).toEqual({ params: { updated_since: write(2) } });
    const proven = play(auto, [page(null, 2, 2, 3)], unproven.cursor);
    expect(play(auto, [], proven.cursor).next).toEqual({ params: { updated_since: write(3) } });
    const single = play(auto, [page(null, 5, 5)]);
    expect(play(auto, [], single.cursor).next).toEqual({ params: { updated_since: FIRST } });
  });

  it('takes the greatest timestamp for its mark, not the last, and never moves it back', () => {
    const { cursor } = play(auto, [page(null, 1, 9, 3)]);
    expect(cursor.mark).toMatchObject({ last_updated_at: write(9), below: write(3) });
    expect(play(auto, [page(null, 2)], cursor).cursor.mark).toMatchObject({ last_updated_at: write(9) });
  });

  it('keeps position and mark apart, and shows the position under the reference names', () => {
    const { cursor, state } = play(auto, [page('t', 1, 1, 1)]);
    expect(cursor.mark).toMatchObject({ last_updated_at: null });
    expect(state).toEqual({ last_updated_at: write(1), scroll_param: 't' });
    expect(play(auto, []).state).toEqual({ last_updated_at: FIRST, scroll_param: null });
  });

  it('resumes an unended pass exactly where it stood', () => {
    const { cursor } = play(auto, [page('t', 1, 1, 1)]);
    expect(createStrategy(auto).begin(cursor, NOW)).toEqual(cursor);
  });

  it('ends at an empty page or without a next token, and says which', () => {
    expect(play(auto, [{}]).next).toEqual({ end: 'empty_page' });
    expect(play(auto, [page(null, 1)]).next).toEqual({ end: 'no_next_token' });
  });

  it('goes on from an empty page that names a next one', () => {
    expect(play(auto, [{ nextToken: 't' }]).next).toEqual({ params: { scroll_param: 't' } });
    expect(play(auto, [page('t', 1, 1), { nextToken: 't' }]).next).toEqual({ end: 'same_token' });
  });

  it('walks past records without a timestamp or with one that cannot be read, and says so', () => {
    const { next, notes, cursor } = play(auto, [
      { values: [write(1), null, 'soon', write(2)], nextToken: 't' },
      { values: [null, 'never'], nextToken: 'u' },
    ]);
    expect(next).toEqual({ params: { scroll_param: 'u' } });
    expect(notes).toEqual(['no_cursor_value', 'bad_cursor_value']);
    expect(cursor.notes[1]?.message).toContain('"soon"');
  });

  it('compares timestamps as instants: another zone or more digits are no disorder', () => {
    const values = ['2024-01-01T00:00:00Z', '2024-01-01T03:00:00+02:00', '2024-01-01T01:00:00.5Z'];
    const { notes, next } = play(auto, [{ values, nextToken: 't' }]);
    expect(notes).toEqual([]);
    expect(next).toEqual({ params: { updated_since: '2024-01-01T03:00:00+02:00' } });
  });

  it('follows tokens only where ties: scroll says so, and notes what that may lose', () => {
    const { asked, notes } = play(scroll, [page('a', 1, 2), page('b', 3, 4), page(null, 5)]);
    expect(asked).toEqual([{ updated_since: FIRST }, { scroll_param: 'a' }, { scroll_param: 'b' }]);
    expect(notes).toEqual(['ties_scroll']);
    expect(play(scroll, [page(null, 1, 2)]).notes).toEqual([]);
  });

  it('refuses tokens that run in a circle', () => {
    const pages = Array.from({ length: 20 }, (_, i) => page(i % 2 === 0 ? 'A' : 'B', 1, 2));
    expect(() => play(scroll, pages)).toThrow(TokenCycleError);
  });

  it('gets past more records of the year 1 than a page holds', () => {
    const { next } = play(auto, [
      { values: [FIRST, FIRST], nextToken: 'a' },
      { values: [FIRST, write(1)], nextToken: 'b' },
    ]);
    expect(next).toEqual({ params: { scroll_param: 'b' } });
  });

  it('does not take the year 1 for a proof: a source may mean "everything" by it', () => {
    const { cursor } = play(auto, [{ values: [FIRST, write(1), write(2)] }]);
    expect(cursor.mark).toMatchObject({ inclusive: false });
  });
});

describe('offset', () => {
  const options: StrategyOptions = { strategy: 'offset', pageSize: 4, fullRescan: null };
  const list = (length: number): Row[] => rowsAt(...Array.from({ length }, (_, i) => i));
  const insert = (rows: Row[], place: number, id: string): Row[] =>
    rows.splice(place, 0, { id, at: 0, version: 1 });

  it('overlaps each page with the last by one record and goes on by what was returned, not by the limit', () => {
    const rows = list(8);
    const source = offsetSource({ rows, cap: () => 3, total: true });
    const { requests, end } = readPass(createStrategy(options), source);
    expect(requests.map((text) => (JSON.parse(text) as { offset: string; limit: string }).offset)).toEqual([
      '0',
      '2',
      '4',
      '6',
    ]);
    expect(end).toBe('total_reached');
  });

  it('takes a short page for no end where the source gives no total', () => {
    const rows = list(9);
    const table: Table = new Map();
    const source = offsetSource({ rows, cap: (offset) => (offset === 3 ? 2 : 9), total: false });
    const { end, notes } = readPass(createStrategy(options), source, { table });
    expect(missing(rows, table)).toEqual([]);
    expect([end, notes]).toEqual(['empty_page', []]);
  });

  it('reads a source that gives one record at a time, and says that it could not look back', () => {
    const rows = list(5);
    const table: Table = new Map();
    const { notes } = readPass(createStrategy(options), offsetSource({ rows, cap: () => 1, total: false }), {
      table,
    });
    expect(missing(rows, table)).toEqual([]);
    expect(notes).toEqual(['no_overlap']);
  });

  it('continues at the saved offset in the next pass', () => {
    const rows = list(6);
    const source = offsetSource({ rows, cap: () => 99, total: true });
    const strategy = createStrategy(options);
    const first = readPass(strategy, source);
    expect(strategy.state(first.cursor)).toEqual({ offset: 6 });
    rows.push({ id: 'new', at: 0, version: 1 });
    const second = readPass(strategy, source, { checkpoint: first.cursor });
    expect(second.requests).toEqual([JSON.stringify({ offset: '5', limit: '4' })]);
    expect(second.pages.flatMap((answer) => answer.keys)).toEqual(['r5', 'new']);
  });

  it('finds a row that was inserted before the offset, and reads from there again', () => {
    const rows = list(100);
    const source = offsetSource({ rows, cap: () => 99, total: true });
    const table: Table = new Map();
    const first = readPass(createStrategy(options), source, { table });
    insert(rows, 90, 'late');
    const second = readPass(createStrategy(options), source, { table, checkpoint: first.cursor });
    expect(missing(rows, table)).toEqual([]);
    expect(second.notes).toEqual(['drift']);
    expect(second.cursor.notes[0]?.message).toMatch(/\(\d+ times\)/);
    expect(second.requests.length).toBeLessThan(20);
  });

  it('finds a row that slid before the offset because an earlier one was removed', () => {
    const rows = list(20);
    const table: Table = new Map();
    const source = offsetSource({ rows, cap: () => 99, total: false });
    const { notes } = readPass(createStrategy(options), source, {
      table,
      afterPage: (pages) => pages === 2 && rows.splice(0, 1),
    });
    expect(missing(rows, table)).toEqual([]);
    expect(notes).toEqual(['drift']);
  });

  it('steps back when the list has shrunk below the offset', () => {
    const rows = list(20);
    const source = offsetSource({ rows, cap: () => 99, total: true });
    const strategy = createStrategy(options);
    const first = readPass(strategy, source);
    rows.splice(3);
    const second = readPass(strategy, source, { checkpoint: first.cursor });
    expect(strategy.state(second.cursor)).toEqual({ offset: 3 });
    rows.splice(0);
    expect(readPass(strategy, source, { checkpoint: second.cursor }).end).toBe('empty_page');
  });

  it('drains a list that never stands still, and says that rows may be missing', () => {
    const rows = list(60);
    let serial = 0;
    const { notes, requests } = readPass(
      createStrategy(options),
      offsetSource({ rows, cap: () => 99, total: false }),
      {
        afterPage: () => serial++ % 2 === 0 && insert(rows, 0, `i${String(serial)}`),
      },
    );
    expect(notes).toContain('list_moving');
    expect(requests.length).toBeLessThan(400);
  });

  it('keeps few anchors, the closer to the offset the denser', () => {
    const rows = list(5000);
    const { cursor } = readPass(createStrategy(options), offsetSource({ rows, cap: () => 99, total: true }));
    const { anchors } = cursor.mark as { anchors: { offset: number; key: string }[] };
    expect(anchors.length).toBeLessThanOrEqual(40);
    expect(anchors[0]?.offset).toBeLessThan(2500);
    expect(anchors.at(-1)).toEqual({ offset: 4999, key: 'r4999' });
    for (const [i, anchor] of anchors.slice(1, -1).entries()) {
      const [far, near] = [5000 - (anchors[i]?.offset ?? 0), 5000 - anchor.offset];
      expect(far / near).toBeLessThanOrEqual(4);
    }
  });

  it('does without an overlap at page size 1, and says so', () => {
    const single: StrategyOptions = { strategy: 'offset', pageSize: 1, fullRescan: null };
    const { requests, notes } = readPass(
      createStrategy(single),
      offsetSource({ rows: list(3), cap: () => 9, total: false }),
    );
    expect(requests).toHaveLength(4);
    expect(notes).toEqual(['no_overlap']);
  });

  it('does not take a total for the end while the list is not where it was', () => {
    const keys = ['a', 'b', 'c', 'd'];
    const { cursor } = play(options, [{ keys, values: keys.map(() => null), total: 9 }]);
    const moving = { ...cursor, position: { ...(cursor.position as object), steps_back: 64 } } as Cursor;
    const { next, notes } = play(
      options,
      [{ keys: ['x', 'd', 'e'], values: [null, null, null], total: 6 }],
      moving,
    );
    expect(notes).toEqual(['list_moving']);
    expect(next).toEqual({ params: { offset: '5', limit: '4' } });
  });

  it('does not trust a total that is less than what was read', () => {
    const { next } = play(options, [
      { keys: ['a', 'b', 'c', 'd'], values: [null, null, null, null], total: 3 },
    ]);
    expect(next).toEqual({ params: { offset: '3', limit: '4' } });
  });

  it('reads the whole list again every n-th pass', () => {
    const every2: StrategyOptions = { strategy: 'offset', pageSize: 4, fullRescan: { passes: 2 } };
    const source = offsetSource({ rows: list(3), cap: () => 9, total: true });
    const offsets: unknown[] = [];
    let checkpoint: Cursor | null = null;
    for (let i = 0; i < 5; i++) {
      const { cursor, requests } = readPass(createStrategy(every2), source, { checkpoint });
      offsets.push((JSON.parse(requests[0] ?? '') as { offset: string }).offset);
      checkpoint = cursor;
    }
    expect(offsets).toEqual(['0', '2', '0', '2', '0']);
  });

  it('reads the whole list again when that much time has passed since the last time', () => {
    const hourly = createStrategy({ strategy: 'offset', pageSize: 4, fullRescan: { seconds: 3600 } });
    const source = offsetSource({ rows: list(3), cap: () => 9, total: true });
    const at = (now: string, checkpoint: Cursor | null) => readPass(hourly, source, { now, checkpoint });
    const first = at('2024-06-01T00:00:00.000Z', null);
    const early = at('2024-06-01T00:59:59.999Z', first.cursor);
    const due = at('2024-06-01T01:00:00.000Z', early.cursor);
    const after = at('2024-06-01T01:59:59.999Z', due.cursor);
    const starts = [first, early, due, after].map(
      ({ requests }) => (JSON.parse(requests[0] ?? '') as { offset: string }).offset,
    );
    expect(starts).toEqual(['0', '2', '0', '2']);
  });

  it.each([
    ['ahead', '2031-01-01T00:00:00.000Z'],
    ['back', '1970-01-01T00:00:00.000Z'],
  ])('reads the whole list again at once after a clock that was %s', (_, wrong) => {
    const hourly = createStrategy({ strategy: 'offset', pageSize: 4, fullRescan: { seconds: 3600 } });
    const source = offsetSource({ rows: list(3), cap: () => 9, total: true });
    const starts: unknown[] = [];
    let checkpoint: Cursor | null = null;
    for (const now of [
      wrong,
      '2024-06-01T00:00:00.000Z',
      '2024-06-01T00:30:00.000Z',
      '2024-06-01T01:00:00.000Z',
    ]) {
      const { cursor, requests } = readPass(hourly, source, { now, checkpoint });
      starts.push((JSON.parse(requests[0] ?? '') as { offset: string }).offset);
      checkpoint = cursor;
    }
    expect(starts).toEqual(['0', '0', '2', '0']);
  });

  it('asks a smaller page once the source has refused one, and the configured one again when that changes', () => {
    const rows = list(20);
    const source = offsetSource({ rows, cap: () => 99, total: true, refuses: 5 });
    const big = createStrategy({ strategy: 'offset', pageSize: 100, fullRescan: null });
    const { cursor, notes } = readPass(big, source);
    expect(notes).toEqual(['page_size_lowered']);
    expect(big.request(big.begin(cursor, NOW))).toEqual({ params: { offset: '19', limit: '5' } });
    const changed = createStrategy({ strategy: 'offset', pageSize: 3, fullRescan: null });
    expect(changed.request(changed.begin(cursor, NOW))).toEqual({ params: { offset: '19', limit: '3' } });
  });
});

describe('timestamp and replay', () => {
  const timestamp: StrategyOptions = { strategy: 'timestamp' };
  const replay: StrategyOptions = { strategy: 'replay', bufferHours: 2 };

  it('take the greatest timestamp of an unordered answer for the mark', () => {
    const { cursor, next, state } = play(timestamp, [page(null, 5, 9, 1)]);
    expect(next).toEqual({ end: 'whole_answer' });
    expect(cursor.mark).toMatchObject({ last_timestamp: write(9), below: write(5) });
    expect(state).toEqual({ last_timestamp: write(9) });
  });

  it('keep the mark when an answer is empty or older', () => {
    const { cursor } = play(timestamp, [page(null, 5)]);
    expect(play(timestamp, [{}], cursor).cursor).toMatchObject({ ended: 'whole_answer', mark: cursor.mark });
    expect(play(timestamp, [page(null, 2)], cursor).cursor.mark).toMatchObject({ last_timestamp: write(5) });
  });

  it.each(['inclusive', 'exclusive'] as const)(
    'see a row that joins the mark after it was read, filter %s',
    (filter) => {
      const rows = rowsAt(1, 2);
      const strategy = createStrategy(timestamp);
      const table: Table = new Map();
      const first = readPass(strategy, timestampSource({ rows, filter }), { table });
      rows.push({ id: 'tie', at: 2, version: 1 });
      readPass(strategy, timestampSource({ rows, filter }), { table, checkpoint: first.cursor });
      expect(missing(rows, table)).toEqual([]);
    },
  );

  it('do not take an answer that is not filtered for a proof that the filter is inclusive', () => {
    const { cursor } = play(timestamp, [page(null, 1, 2, 3)]);
    expect(play(timestamp, [page(null, 1, 2, 3)], cursor).cursor.mark).toMatchObject({ inclusive: false });
    expect(play(timestamp, [page(null, 3, 2)], cursor).cursor.mark).toMatchObject({ inclusive: true });
  });

  it('say so where an exclusive filter could hide such a row', () => {
    const { cursor } = play(timestamp, [page(null, 5, 5)]);
    expect(play(timestamp, [{}], cursor).notes).toEqual(['ties_out_of_reach']);
    expect(play(timestamp, [page(null, 5, 5)], cursor).notes).toEqual([]);
  });

  it('say so where the source has more than its answer', () => {
    expect(play(timestamp, [{ ...page('t', 1), total: 1 }]).notes).toEqual(['answer_cut']);
    expect(play(timestamp, [{ ...page(null, 1), total: 7 }]).notes).toEqual(['answer_cut']);
  });

  it('replay asks some hours before the mark, in the format of the source, and leaves the mark alone', () => {
    const { cursor } = play(replay, [{ values: ['2024-03-01T01:30:00Z'] }]);
    const { asked, cursor: after } = play(replay, [{}], cursor);
    expect(asked).toEqual([{ since: '2024-02-29T23:30:00Z' }]);
    expect(after.mark).toMatchObject({ last_timestamp: '2024-03-01T01:30:00Z' });
    const fine = play(replay, [{ values: ['2024-03-01 01:30:00.000123+01'] }]).cursor;
    expect(play(replay, [], fine).next).toEqual({ params: { since: '2024-02-29 23:30:00.000123+01' } });
  });

  it('replay without a buffer is timestamp', () => {
    const none: StrategyOptions = { strategy: 'replay', bufferHours: 0 };
    const { cursor } = play(none, [page(null, 1, 2)]);
    expect(play(none, [], cursor).next).toEqual(play(timestamp, [], cursor).next);
  });
});

describe('step_size', () => {
  const options = {
    strategy: 'step_size',
    initialId: '1',
    stepSize: '10',
    maxId: '35',
    maxEmptySteps: null,
    idLookback: '10',
  } as const satisfies StrategyOptions;
  const ids = (...all: (number | string)[]): Row[] =>
    all.map((id) => ({ id: String(id), at: null, version: 1 }));
  const starts = (requests: string[]): string[] =>
    requests.map((text) => (JSON.parse(text) as { start_id: string }).start_id);

  it('walks gaps up to max_id and cuts the last range there', () => {
    const rows = ids(3, 31);
    const table: Table = new Map();
    const { requests, end, notes } = readPass(createStrategy(options), stepSource({ rows }), { table });
    expect(starts(requests)).toEqual(['1', '11', '21', '31']);
    expect(requests.at(-1)).toContain('"end_id":"35"');
    expect(missing(rows, table)).toEqual([]);
    expect([end, notes]).toEqual(['max_id', ['max_id_near']]);
  });

  it('ends after so many empty ranges in a row where it may', () => {
    const rows = ids(1, 21);
    const pass = (maxEmptySteps: number) =>
      readPass(createStrategy({ ...options, maxId: '1000', maxEmptySteps }), stepSource({ rows }));
    expect(pass(1).end).toBe('max_empty_steps');
    expect(starts(pass(1).requests)).toEqual(['1', '11']);
    expect(starts(pass(2).requests)).toEqual(['1', '11', '21', '31', '41']);
  });

  it('begins the next pass a lookback below the greatest id seen, so that late ids arrive', () => {
    const rows = ids(1, 24);
    const strategy = createStrategy(options);
    const { cursor } = readPass(strategy, stepSource({ rows }));
    rows.push(...ids(16));
    const table: Table = new Map();
    const second = readPass(strategy, stepSource({ rows }), { table, checkpoint: cursor });
    expect(starts(second.requests)[0]).toBe('15');
    expect(table.has('16')).toBe(true);
  });

  it('keeps ids beyond 2^53 exact and compares them as integers', () => {
    const big = {
      ...options,
      initialId: '9007199254740990',
      stepSize: '2',
      maxId: '9007199254740999',
      idLookback: '0',
    };
    const rows = ids('9007199254740991', '9007199254740993');
    const strategy = createStrategy(big);
    const table: Table = new Map();
    const { cursor, requests } = readPass(strategy, stepSource({ rows }), { table });
    expect(requests).toContain(JSON.stringify({ start_id: '9007199254740992', end_id: '9007199254740993' }));
    expect(missing(rows, table)).toEqual([]);
    expect(cursor.mark).toEqual({ current_id: '9007199254740993' });
    expect(strategy.state(cursor)).toEqual({ current_id: '9007199254740994' });
    const nine = play({ ...options, maxId: '100' }, [{ keys: ['9', '10'], values: [null, null] }]);
    expect(nine.cursor.position).toMatchObject({ greatest: '10' });
  });

  it('shows the next id as a number where that is exact', () => {
    expect(play(options, [{}]).state).toEqual({ current_id: 11 });
  });

  it('has nothing to read when initial_id lies beyond max_id', () => {
    expect(play({ ...options, maxId: '0' }, []).cursor).toMatchObject({ ended: 'max_id', position: null });
  });

  it('walks on when max_id has grown, in the middle of a pass or after it, and stops when it has shrunk', () => {
    const half = play(options, [{}]).cursor;
    const whole = play(options, [{}, {}, {}, {}]).cursor;
    expect(play({ ...options, maxId: '99' }, [{}, {}, {}, {}], half).asked).toHaveLength(4);
    expect(whole.ended).toBe('max_id');
    expect(play({ ...options, maxId: '99' }, [], whole).next).toMatchObject({ params: { start_id: '1' } });
    expect(play({ ...options, maxId: '5' }, [], half).next).toEqual({ end: 'max_id' });
  });

  it('takes the cursor field for the id where the key is none, and says where neither is', () => {
    const { cursor, notes } = play(options, [
      { keys: ['["x",1]', 'a7f3'], values: ['4', '2024-01-01T00:00:00Z'] },
    ]);
    expect(cursor.position).toMatchObject({ greatest: '4' });
    expect(notes).toEqual(['id_not_integer']);
  });

  it('does not let ids outside the range asked move the mark', () => {
    const { cursor, notes } = play(options, [{ keys: ['7', '5000'], values: [null, null] }]);
    expect(cursor.position).toMatchObject({ greatest: '7' });
    expect(notes).toEqual(['outside_range']);
  });

  it('says so where the source cuts a range into pages', () => {
    expect(play(options, [{ keys: ['7'], values: [null], nextToken: 't' }]).notes).toEqual(['answer_cut']);
  });
});

describe('every strategy', () => {
  const all: StrategyOptions[] = [
    { strategy: 'keyset', ties: 'auto' },
    { strategy: 'offset', pageSize: 2, fullRescan: null },
    { strategy: 'timestamp' },
    {
      strategy: 'step_size',
      initialId: '1',
      stepSize: '1',
      maxId: '1',
      maxEmptySteps: null,
      idLookback: '0',
    },
    { strategy: 'replay', bufferHours: 1 },
  ];

  it.each(all)('$strategy counts passes and forgets the notes of the last one', (options) => {
    const strategy = createStrategy(options);
    expect(strategy.name).toBe(options.strategy);
    const first = strategy.begin(null, NOW);
    expect(first).toMatchObject({ pass: 1, ended: null, notes: [] });
    const empty = { keys: [], values: [], records: 0, nextToken: null, total: null, more: null };
    const ended = strategy.advance(first, empty);
    expect(ended.position).toBeNull();
    const noted = { ...ended, notes: [{ code: 'x', message: 'y' }] };
    expect(strategy.begin(noted, NOW)).toMatchObject({ pass: 2, ended: null, notes: [] });
    expect(() => strategy.advance(ended, empty)).toThrow('has ended');
  });
});
