/** Single decisions about the end of a pass, with the words that people read. */
import { describe, expect, it } from 'vitest';
import type { Cursor, PageSummary, StrategyOptions } from '../../src/protocol.js';
import {
  ASKED_ENOUGH,
  ContradictionError,
  createStrategy,
  DoubtError,
  restartPass,
  UnfollowableError,
} from '../../src/strategies/index.js';

const pageNumber: StrategyOptions = {
  ...{ strategy: 'page_number', firstPage: 1, pageSize: 10 },
  ...{ shortPageEnds: false, incremental: null },
};
const cursor: StrategyOptions = {
  strategy: 'cursor',
  pageSize: 10,
  tokenIsLastKey: false,
  incremental: null,
};

/** A page of records with keys `from`, `from + 1`, … */
function page(from: number, records: number, said: Partial<PageSummary> = {}): PageSummary {
  const keys = Array.from({ length: records }, (_, i) => `k${String(from + i)}`);
  return { keys, values: [], records, nextToken: null, total: null, more: null, ...said };
}

/** Reads pages that are believed at once. */
function read(options: StrategyOptions, pages: PageSummary[], from: Cursor | null = null): Cursor {
  const strategy = createStrategy(options);
  return pages.reduce<Cursor>(
    (at, one) => strategy.advance(at, { ...one, asked: ASKED_ENOUGH }),
    strategy.begin(from, '2026-01-01T00:00:00Z'),
  );
}

const codes = ({ notes }: Cursor) => notes.map(({ code }) => code);

describe('a page that looks like the last one', () => {
  it('is asked for again where the source contradicts it, and then fails with both statements', () => {
    const strategy = createStrategy(cursor);
    const begun = strategy.begin(null, '');
    const contradicted = page(0, 10, { more: true, noToken: 'null' });
    for (const asked of [1, 2])
      expect(() => strategy.advance(begun, { ...contradicted, asked })).toThrow(DoubtError);
    const insisted = () => strategy.advance(begun, { ...contradicted, asked: 3 });
    expect(insisted).toThrow(ContradictionError);
    expect(insisted).toThrow(
      'the source contradicts itself: the answer names no next page, but it says that there is more ("more" is true)',
    );
  });

  it('is passed over where pages behind it are counted, and no row counts as gone then', () => {
    const counted = { totalPages: 3 };
    const at = read(pageNumber, [page(0, 10, counted), page(0, 0, counted), page(20, 10, counted)]);
    expect([at.ended, codes(at)]).toEqual(['last_page', ['empty_page_inside']]);
    const agreeing = { totalPages: 3, total: 15 };
    const whole = read(pageNumber, [page(0, 10, agreeing), page(0, 0, agreeing), page(20, 5, agreeing)]);
    expect([whole.ended, codes(whole)]).toEqual(['total_reached', []]);
  });

  it('fails where the pages that are counted do not hold what is counted', () => {
    const counted = { total: 25 };
    expect(() =>
      read(pageNumber, [
        page(0, 10, counted),
        page(0, 0, counted),
        page(20, 5, counted),
        page(0, 0, counted),
      ]),
    ).toThrow('page 4 is empty, but its "total" is 25 and 15 records were read');
  });

  it('is no end by a total of its own size, which is found out', () => {
    const at = read(pageNumber, [
      page(0, 10, { total: 10 }),
      page(10, 10, { total: 10 }),
      page(0, 0, { total: 0 }),
    ]);
    expect([at.ended, codes(at)]).toEqual(['empty_page', ['total_wrong']]);
  });

  it('ends unproven where it is the only one, full and without a next', () => {
    const at = read(cursor, [page(0, 10, { noToken: 'absent' })]);
    expect([at.ended, codes(at)]).toEqual(['no_next_token', ['end_unproven']]);
    expect(at.notes[0]?.message).toContain('Check "next"');
    expect(codes(read(cursor, [page(0, 9, { noToken: 'absent' })]))).toEqual([]);
    expect(codes(read(cursor, [page(0, 10, { noToken: 'absent', total: 10 })]))).toEqual([]);
    expect(codes(read(cursor, [page(0, 10, { noToken: 'null' })]))).toEqual([]);
  });

  it('moves no mark where its end is unproven', () => {
    const incremental = { ...cursor, incremental: { start: null, lookbackSeconds: 0 } };
    const changed = { values: ['2026-01-01T00:00:00Z'], noToken: 'absent' as const };
    expect(read(incremental, [page(0, 10, changed)]).mark).toEqual({ newest: null });
    expect(read(incremental, [page(0, 9, changed)]).mark).toEqual({ newest: '2026-01-01T00:00:00Z' });
  });

  it('contradicts a pass that ended with an empty next before', () => {
    const first = read(cursor, [page(0, 10, { nextToken: 'a' }), page(10, 7, { noToken: 'null' })]);
    expect(() => read(cursor, [page(0, 10, { noToken: 'absent' })], first)).toThrow(
      'it has no "next" at all',
    );
    expect(read(cursor, [page(0, 7, { noToken: 'absent' })], first).ended).toBe('no_next_token');
  });

  it('ends by a rule for errors, unless more was counted before', () => {
    expect(codes(read(pageNumber, [page(0, 10), page(0, 0, { pastEnd: true })]))).toEqual([]);
    const at = read(pageNumber, [page(0, 10, { total: 25 }), page(0, 0, { pastEnd: true })]);
    expect([at.ended, codes(at)]).toEqual(['past_end', ['end_unproven']]);
  });

  it('shows that a list became shorter under the pages', () => {
    const at = read(pageNumber, [page(0, 10, { total: 16 }), page(11, 5, { total: 15 })]);
    expect([at.ended, codes(at)]).toEqual(['total_reached', ['list_shrank']]);
  });
});

describe('a page that comes again', () => {
  it('ends pages by number, with a warning where it may be that the number is not known', () => {
    const ignored = read(pageNumber, [page(0, 10), page(0, 10), page(0, 10)]);
    expect([ignored.ended, codes(ignored)]).toEqual(['repeated_page', ['end_unproven']]);
    expect(ignored.notes[0]?.message).toContain('set "names"');
    const clamped = read(pageNumber, [page(0, 10), page(10, 4), page(10, 4), page(10, 4)]);
    expect([clamped.ended, codes(clamped)]).toEqual(['repeated_page', []]);
  });

  it('is passed over where another follows, and no row counts as gone then', () => {
    const at = read(pageNumber, [page(0, 10), page(0, 10), page(20, 10), page(0, 0)]);
    expect([at.ended, codes(at)]).toEqual(['empty_page', ['repeated_page_inside']]);
  });

  it('under a new token is an error that names the parameter', () => {
    expect(() => read(cursor, [page(0, 10, { nextToken: 'a' }), page(0, 10, { nextToken: 'b' })])).toThrow(
      UnfollowableError,
    );
  });

  it('is no repetition where its bytes differ: a feed of updates', () => {
    const feed = (probe: string, nextToken: string | null) => page(0, 2, { nextToken, probe });
    expect(read(cursor, [feed('x', 'a'), feed('y', 'b'), feed('z', null)]).ended).toBe('no_next_token');
  });

  it.each([
    ['an empty page', [page(0, 10, { nextToken: 'a' }), page(0, 0, { nextToken: 'a' })]],
    [
      'the last records, over and over',
      [page(0, 10, { nextToken: 'a' }), page(8, 3, { nextToken: 'a' }), page(8, 3, { nextToken: 'a' })],
    ],
  ])('under its own token ends the pass: %s', (_, pages) => {
    expect(read(cursor, pages).ended).toBe('same_token');
  });

  it('under a token that stays the same is followed as long as records are new', () => {
    const pages = [0, 10, 20].map((from) => page(from, 10, { nextToken: 'scroll' }));
    expect(read(cursor, [...pages, page(0, 0, { nextToken: 'scroll' })]).ended).toBe('same_token');
  });
});

describe('a pass that begins again', () => {
  it('begins from its mark, says why, and does so once', () => {
    const strategy = createStrategy(cursor);
    const at = read(cursor, [page(0, 10, { nextToken: 'a' })]);
    const again = restartPass(strategy, at, 'the token was refused', '2026-01-01T00:00:00Z');
    expect(again).toMatchObject({ pass: 2, ended: null, mark: at.mark, position: { token: null } });
    expect(again.notes).toEqual([
      {
        code: 'pass_restarted',
        message: 'The pass was begun again from where it started: the token was refused.',
      },
    ]);
    // A stream that is opened anew may begin it again.
    expect(codes(strategy.begin(again, ''))).toEqual([]);
  });
});

describe('keyset', () => {
  const keyset: StrategyOptions = { strategy: 'keyset', ties: 'auto' };
  const at = (...hours: number[]) => ({
    values: hours.map((hour) => `2026-01-01T${String(hour).padStart(2, '0')}:00:00Z`),
  });

  it('reads on by its timestamps where the source has no tokens', () => {
    const strategy = createStrategy(keyset);
    const first = read(keyset, [page(0, 3, { ...at(1, 2, 3), noToken: 'absent' })]);
    expect(strategy.request(first)).toEqual({ params: { updated_since: '2026-01-01T02:00:00Z' } });
    const seen = read(keyset, [
      page(0, 3, { ...at(1, 2, 3), nextToken: 'a' }),
      page(1, 2, { ...at(2, 3), noToken: 'absent' }),
    ]);
    expect(seen.ended).toBe('no_next_token');
  });

  it('sends its page size, and the filter beside a token, where it is told to', () => {
    const strategy = createStrategy({ ...keyset, ties: 'scroll', pageSize: 2, filtersTokens: true });
    const begun = strategy.begin(null, '');
    expect(strategy.request(begun)).toMatchObject({ params: { limit: '2' } });
    const next = strategy.advance(begun, page(0, 2, { ...at(1, 2), nextToken: 'a' }));
    const { params } = strategy.request(next) as { params: Record<string, string> };
    expect(params).toMatchObject({ limit: '2', scroll_param: 'a' });
    expect(Object.keys(params).sort()).toEqual(['limit', 'scroll_param', 'updated_since']);
  });
});
