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
      'the source contradicts itself: the response names no next page, but it says that more records follow ("more" is true)',
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
      'it is a full page without "next"',
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

/** Reads as {@link read} does, where every page is asked for `asked` times. */
function readThoroughly(options: StrategyOptions, pages: PageSummary[], asked: number): Cursor {
  const strategy = createStrategy(options, 'thorough');
  return pages.reduce<Cursor>(
    (at, one) => strategy.advance(at, { ...one, asked }),
    strategy.begin(null, '2026-01-01T00:00:00Z'),
  );
}

describe('counts that become smaller in a pass', () => {
  const list = { ...cursor, pageSize: null };
  const offset: StrategyOptions = { strategy: 'offset', pageSize: 10, fullRescan: { passes: 1 } };

  it('prove no end, unless as many records came as were ever counted', () => {
    const fallen = [page(0, 10, { total: 50, nextToken: 'a' }), page(10, 7, { total: 17, noToken: 'null' })];
    expect(codes(read(list, fallen))).toEqual(['list_shrank']);
    expect(read(list, fallen).notes[0]?.message).toContain('"total" fell from 50 to 17');
    const deleted = [page(0, 10, { total: 17, nextToken: 'a' }), page(10, 7, { total: 16, noToken: 'null' })];
    expect(codes(read(list, deleted))).toEqual([]);
    const byOffset = [page(0, 10, { total: 50 }), page(9, 8, { total: 17 })];
    expect([read(offset, byOffset).ended, codes(read(offset, byOffset))]).toEqual([
      'total_reached',
      ['list_shrank'],
    ]);
  });

  it('are asked for again first', () => {
    const strategy = createStrategy(list);
    const at = strategy.advance(strategy.begin(null, ''), page(0, 10, { total: 50, nextToken: 'a' }));
    expect(() => strategy.advance(at, page(10, 7, { total: 17, noToken: 'null' }))).toThrow(DoubtError);
  });

  it('are remembered where pages are counted', () => {
    const at = read(pageNumber, [page(0, 10, { totalPages: 5 }), page(10, 10, { totalPages: 2 })]);
    expect([at.ended, codes(at)]).toEqual(['last_page', ['list_shrank']]);
    expect(at.notes[0]?.message).toContain('"total_pages" was 5, but page 2 was the last');
  });

  it('are the least that the pass must have met', () => {
    const grown = [page(0, 10, { total: 16, nextToken: 'a' }), page(10, 7, { total: 17, noToken: 'null' })];
    expect(read(list, grown).counted).toBe(16);
    expect(read(list, [page(0, 7, { noToken: 'null' })]).counted).toBeUndefined();
    expect(
      read({ ...list, incremental: { start: '2026-01-01T00:00:00Z', lookbackSeconds: 0 } }, grown).counted,
    ).toBeUndefined();
  });
});

describe('a short page inside a list', () => {
  const short = page(10, 4);
  it('is asked for again where rows are deleted by what a pass meets, until that is seen to be the way of the source', () => {
    const strategy = createStrategy(pageNumber, 'thorough');
    let at = strategy.advance(strategy.begin(null, ''), page(0, 10));
    expect(() => strategy.advance(at, short)).toThrow(DoubtError);
    for (const from of [10, 20, 30]) at = strategy.advance(at, { ...page(from, 4), asked: 2 });
    expect(strategy.advance(at, page(40, 4)).ended).toBeNull();
    const usual = createStrategy(pageNumber);
    expect(usual.advance(usual.advance(usual.begin(null, ''), page(0, 10)), short).ended).toBeNull();
  });

  it('is no matter where it stays as it is', () => {
    const at = readThoroughly(pageNumber, [page(0, 10), short, page(14, 10), page(0, 0)], 2);
    expect([at.ended, codes(at)]).toEqual(['empty_page', []]);
  });
});

describe('a count of pages', () => {
  it('proves no end with one full page alone: it may be the number of the page', () => {
    const numbered = read(pageNumber, [page(0, 10, { totalPages: 1 })]);
    expect([numbered.ended, codes(numbered)]).toEqual(['last_page', ['end_unproven']]);
    expect(numbered.notes[0]?.message).toContain('Check "total_pages"');
    for (const last of [page(0, 9, { totalPages: 1 }), page(0, 10, { totalPages: 1, total: 10 })])
      expect(codes(read(pageNumber, [last]))).toEqual([]);
    const two = [page(0, 10, { totalPages: 2 }), page(10, 10, { totalPages: 2 })];
    expect(codes(read(pageNumber, two))).toEqual([]);
  });

  it('and one of records bound the pages that are asked for ahead', () => {
    const strategy = createStrategy(pageNumber);
    const ahead = (said: Partial<PageSummary>) =>
      strategy.ahead?.(read(pageNumber, [page(0, 10, said)]), 5).map(({ params }) => params['page']);
    expect(ahead({})).toEqual(['3', '4', '5', '6', '7']);
    expect(ahead({ total: 33 })).toEqual(['3', '4']);
    expect(ahead({ totalPages: 3 })).toEqual(['3']);
    expect(ahead({ total: 20 })).toEqual([]);
  });
});

describe('a single answer', () => {
  it('is cut where it is as long as was asked for, unless the source counts no more', () => {
    const single: StrategyOptions = { ...cursor, follows: 'nothing' };
    const at = read(single, [page(0, 10)]);
    expect([at.ended, codes(at)]).toEqual(['whole_answer', ['answer_cut']]);
    expect(at.notes[0]?.message).toContain('10 records, as many as were requested');
    for (const whole of [page(0, 9), page(0, 10, { total: 10 })])
      expect(codes(read(single, [whole]))).toEqual([]);
    expect(codes(read({ ...single, pageSize: null }, [page(0, 10)]))).toEqual([]);
  });
});

describe('an answer that says that there is no more', () => {
  it('is asked for again where the page is full, since the mark would move beyond what it hides', () => {
    const newestFirst = { ...cursor, incremental: { start: null, lookbackSeconds: 0 } };
    const strategy = createStrategy(newestFirst);
    const full = page(0, 10, { nextToken: 'a', more: false });
    expect(() => strategy.advance(strategy.begin(null, ''), full)).toThrow(DoubtError);
  });

  it('and names a next page, in a first page that is full, proves nothing', () => {
    const at = read(cursor, [page(0, 10, { nextToken: 'a', more: false })]);
    expect(codes(at)).toEqual(['end_unproven']);
    expect(at.notes[0]?.message).toContain('Check "more": it may mean the opposite');
    expect(codes(read(cursor, [page(0, 4, { nextToken: 'a', more: false })]))).toEqual([]);
  });
});

describe('a lone page as long as APIs cap their pages', () => {
  it('ends unproven, whatever was asked for', () => {
    const asking = { ...cursor, pageSize: 100 };
    expect(codes(read(asking, [page(0, 20, { noToken: 'absent' })]))).toEqual(['end_unproven']);
    expect(codes(read(asking, [page(0, 21, { noToken: 'absent' })]))).toEqual([]);
    for (const size of [12, 15, 24])
      expect(codes(read({ ...cursor, pageSize: null }, [page(0, size, { noToken: 'absent' })]))).toEqual([
        'end_unproven',
      ]);
    const byShortPage: StrategyOptions = { ...pageNumber, pageSize: 100, shortPageEnds: true };
    const at = read(byShortPage, [page(0, 20)]);
    expect([at.ended, codes(at)]).toEqual(['short_page', ['end_unproven']]);
    expect(at.notes[0]?.message).toContain('Set "page_size" to 20');
    expect(codes(read(byShortPage, [page(0, 20, { total: 20 })]))).toEqual([]);
  });

  it('is gone on from by its timestamps where there are no tokens', () => {
    const values = Array.from({ length: 20 }, (_, i) => `2026-01-01T00:00:${String(i).padStart(2, '0')}Z`);
    const strategy = createStrategy({ strategy: 'keyset', ties: 'auto', pageSize: 100 });
    const at = strategy.advance(strategy.begin(null, ''), page(0, 20, { values, noToken: 'absent' }));
    expect(at.ended).toBeNull();
  });
});

describe('one answer', () => {
  const replay: StrategyOptions = { strategy: 'replay', bufferHours: 1 };
  const values = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'];
  it('is cut where the source counts more, or says that there is more', () => {
    for (const said of [{ total: 5 }, { more: true }])
      expect(codes(read(replay, [page(0, 2, { values, ...said })]))).toContain('answer_cut');
    expect(codes(read(replay, [page(0, 2, { values, total: 2 })]))).toEqual([]);
  });

  it('of a time since then proves nothing gone where the source counts more', () => {
    const first = read(replay, [page(0, 2, { values })]);
    const later = read(replay, [page(1, 1, { values: values.slice(1), total: 2 })], first);
    expect([codes(later), later.since]).toEqual([['total_disagrees'], undefined]);
    expect(read(replay, [page(1, 1, { values: values.slice(1), total: 1 })], first).since).toBeDefined();
  });
});

describe('ranges of ids', () => {
  const ranges: StrategyOptions = {
    ...{ strategy: 'step_size', initialId: '1', stepSize: '10', maxId: '1000' },
    ...{ maxEmptySteps: null, idLookback: '0' },
  };
  const ids = (from: number, records: number, said: Partial<PageSummary> = {}): PageSummary => ({
    ...page(from, records, said),
    keys: Array.from({ length: records }, (_, i) => String(from + i)),
  });

  it('that are empty after others that are not are asked for again, a few times in a pass', () => {
    const strategy = createStrategy(ranges);
    let at = strategy.advance(strategy.begin(null, ''), ids(1, 10));
    expect(() => strategy.advance(at, ids(0, 0))).toThrow(DoubtError);
    for (let i = 0; i < 8; i++) {
      at = strategy.advance(at, { ...ids(0, 0), asked: 2 });
      at = strategy.advance(at, ids(21 + i * 20, 10));
    }
    expect(() => strategy.advance(at, ids(0, 0))).not.toThrow();
  });

  it('that hold more than they gave say so', () => {
    const strategy = createStrategy(ranges);
    const begun = strategy.begin(null, '');
    const said = (one: Partial<PageSummary>) => codes(strategy.advance(begun, ids(1, 5, one)));
    expect(said({ more: true })).toEqual(['answer_cut']);
    expect(said({ total: 8 })).toEqual(['answer_cut']);
    expect(said({ total: 800 })).toEqual([]);
  });
});

describe('a page that comes again', () => {
  it('ends pages by number, with a warning where it may be that the number is not known', () => {
    const ignored = read(pageNumber, [page(0, 10), page(0, 10), page(0, 10)]);
    expect([ignored.ended, codes(ignored)]).toEqual(['repeated_page', ['end_unproven']]);
    expect(ignored.notes[0]?.message).toContain('Set "names"');
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
        message: 'The pass started over: the token was refused.',
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
