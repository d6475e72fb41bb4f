/**
 * Sources that stumble, or lie about how much there is, by syncs from end to end: whatever they say, no row is removed
 * that the source still has, and what was not read is said.
 */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { uniqueName } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const PAGE = 10;
const rows = Array.from({ length: 57 }, (_, i) => ({ id: i + 1, name: `n${String(i + 1)}` }));

/** The right answer: by page number, by offset, or by a token that is an offset. */
function right(url: URL): { [name: string]: Json } {
  const asked = url.searchParams;
  const from = asked.has('page')
    ? (Number(asked.get('page')) - 1) * PAGE
    : Number(asked.get('offset') ?? asked.get('cursor') ?? 0);
  const limit = Number(asked.get('limit') ?? PAGE);
  const data = rows.slice(from, from + limit);
  const isLast = from + limit >= rows.length;
  return {
    data,
    total: rows.length,
    total_pages: 6,
    has_more: !isLast,
    cursor: isLast ? null : String(from + limit),
  };
}

interface Answer {
  status?: number;
  body: Json;
}

describe('a source', () => {
  /** Answers in place of the right answer; null: the right one. */
  let stumble: (url: URL, body: { [name: string]: Json }) => Answer | null = () => null;
  let requests = 0;
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  beforeAll(async () => {
    api = await imitate((url) => {
      requests++;
      const body = right(url);
      return stumble(url, body) ?? { body };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });

  const byNumber = { strategy: 'page_number' };
  const byOffset = { strategy: 'offset', page_size: PAGE, full_rescan: 1 };
  const byToken = { strategy: 'cursor', next: { token: 'cursor' }, names: { scroll_param: 'cursor' } };

  /** A table that holds all rows, and what a second pass over a stumbling source makes of it. */
  async function secondPass(stream: { [key: string]: Json }, bad: typeof stumble) {
    const table = uniqueName('t').replace(/\W/g, '_');
    const configuration: Json = {
      source: { base_url: api.url },
      destination: system.destination,
      streams: [
        {
          name: table,
          primary_key: 'id',
          columns: { id: 'LONG', name: 'STRING' },
          deletes: 'hard',
          max_deletes: 'any',
          ...stream,
        },
      ],
    };
    stumble = () => null;
    expect(await system.sync(configuration)).toMatchObject({ rows: rows.length, deleted: 0, warnings: [] });
    stumble = bad;
    requests = 0;
    const result = await system.sync(configuration).catch((thrown: unknown) => thrown);
    stumble = () => null;
    const [[kept] = []] = await system.query(`SELECT count(*)::INTEGER FROM ${table}`);
    return { result, kept, requests };
  }

  /** The stumble at the first request that fits, and the right answer ever after. */
  const once = (fits: (url: URL) => boolean, bad: typeof stumble): typeof stumble => {
    let done = false;
    return (url, body) => {
      if (done || !fits(url)) return null;
      done = true;
      return bad(url, body);
    };
  };
  const third = (url: URL) =>
    url.searchParams.get('page') === '3' ||
    url.searchParams.get('cursor') === '20' ||
    Number(url.searchParams.get('offset')) > 15;
  const empty: typeof stumble = (_, body) => ({ body: { ...body, data: [] } });
  const silent: typeof stumble = () => ({ body: { data: [], cursor: null } });
  const noToken: typeof stumble = (_, body) => ({ body: { ...body, cursor: null, has_more: false } });
  const again: typeof stumble = () => ({ body: right(new URL('http://x/?page=2')) });

  test.each<[string, { [key: string]: Json }, typeof stumble]>([
    ['page_number, an empty page beside a total', { ...byNumber, total: 'total' }, empty],
    ['page_number, an empty page and no count', byNumber, silent],
    ['page_number, the page before again', byNumber, again],
    ['offset, an empty page beside a total', { ...byOffset, total: 'total' }, empty],
    ['offset, an empty page and no count', byOffset, silent],
    ['cursor, an empty page that names the next', byToken, empty],
    ['cursor, an empty page without a token', byToken, silent],
    ['cursor, a token that is lost', byToken, noToken],
    [
      'cursor, more without a token',
      { ...byToken, more: 'has_more' },
      (_, body) => ({ body: { ...body, cursor: null } }),
    ],
  ])('that stumbles once is read whole: %s', async (_, stream, bad) => {
    const { result, kept } = await secondPass(stream, once(third, bad));
    expect(result).toMatchObject({ records: expect.any(Number) as number, deleted: 0, warnings: [] });
    expect(kept).toBe(rows.length);
  });

  const always =
    (bad: typeof stumble): typeof stumble =>
    (url, body) =>
      third(url) ? bad(url, body) : null;

  test.each<[string, { [key: string]: Json }, typeof stumble, string]>([
    ['offset', { ...byOffset, total: 'total' }, empty, 'its "total" is 57'],
    [
      'cursor, more without a token',
      { ...byToken, more: 'has_more' },
      (_, body) => ({ body: { ...body, cursor: null } }),
      '("more" is true)',
    ],
    [
      'cursor, a token short of the total',
      { ...byToken, total: 'total' },
      noToken,
      'its "total" is 57 and 30 records were read',
    ],
  ])(
    'that insists on a contradiction fails the sync with both statements: %s',
    async (_, stream, bad, said) => {
      const { result, kept, requests: sent } = await secondPass(stream, always(bad));
      expect(result).toBeInstanceOf(Error);
      expect(String((result as Error).cause ?? result)).toContain(said);
      expect(kept).toBe(rows.length);
      expect(sent).toBeLessThan(100);
    },
  );

  test('that leaves out a page which it counts is read on behind it, and no row is removed', async () => {
    const { result, kept } = await secondPass({ ...byNumber, total_pages: 'total_pages' }, always(empty));
    expect(result).toMatchObject({ records: 47, deleted: 0, warnings: [{ code: 'empty_page_inside' }] });
    expect(kept).toBe(rows.length);
  });

  test.each<[string, { [key: string]: Json }, typeof stumble, string]>([
    ['the page parameter', byNumber, () => ({ body: right(new URL('http://x/?page=1')) }), 'Set "names"'],
    ['the offset', byOffset, () => ({ body: right(new URL('http://x/?page=1')) }), 'Set "names"'],
  ])(
    'that ignores %s ends with a warning after few requests, and no row is removed',
    async (_, stream, bad, said) => {
      const { result, kept, requests: sent } = await secondPass(stream, bad);
      const { warnings } = result as { warnings: { code: string; message: string }[] };
      expect(warnings.find(({ code }) => code === 'end_unproven')?.message).toContain(said);
      expect(kept).toBe(rows.length);
      expect(sent).toBeLessThan(60);
    },
  );

  test('that gives a new token with the same page each time fails the sync after few requests', async () => {
    let n = 0;
    const { result, requests: sent } = await secondPass(byToken, () => ({
      body: { ...right(new URL('http://x/?page=1')), cursor: `t${String(n++)}` },
    }));
    expect(String((result as Error).cause ?? result)).toContain('same 10 records');
    expect(sent).toBeLessThan(10);
  });

  test.each([
    ['by number', byNumber],
    ['by offset', byOffset],
    ['by a new token', byToken],
  ])(
    'that gives the same records in another order each time, asked for pages %s, is found out',
    async (_, stream) => {
      const shuffled = () => rows.map((row) => ({ row, at: Math.random() })).sort((a, b) => a.at - b.at);
      let token = 0;
      const { kept, requests: sent } = await secondPass(stream, () => ({
        body: { data: shuffled().map(({ row }) => row), cursor: `t${String(token++)}` },
      }));
      expect(kept).toBe(rows.length);
      expect(sent).toBeLessThan(250);
    },
  );

  test('that has forgotten a page token is read again from the beginning, once', async () => {
    const { result, kept } = await secondPass(
      byToken,
      once(third, () => ({ status: 410, body: { message: 'the cursor has expired' } })),
    );
    expect(result).toMatchObject({ deleted: 0, warnings: [{ code: 'pass_restarted' }] });
    expect(kept).toBe(rows.length);
  });
});

test.skipIf(!LONG)(
  'the ends of many short lists are asked for again without a pause, once ten have shown nothing new',
  async () => {
    const gaps: number[] = [];
    let last = { url: '', at: 0 };
    const parents = Array.from({ length: 40 }, (_, i) => ({ id: i + 1 }));
    const api = await imitate((url) => {
      const now = performance.now();
      if (url.href === last.url) gaps.push(now - last.at);
      last = { url: url.href, at: now };
      if (url.pathname === '/parents') return { body: { data: parents, total: parents.length } };
      const parent = Number(url.pathname.split('/')[2]);
      const isFirst = url.searchParams.get('page') === '1';
      return { body: { data: isFirst ? [{ id: parent * 10 }, { id: parent * 10 + 1 }] : [] } };
    });
    const system = await startSystem(inject('temporalAddress'));
    try {
      const above = uniqueName('above').replace(/\W/g, '_');
      const below = uniqueName('below').replace(/\W/g, '_');
      const shared = { strategy: 'page_number', records: 'data', primary_key: 'id', columns: { id: 'LONG' } };
      const handle = await system.start({
        source: { base_url: api.url },
        destination: system.destination,
        streams: [
          { ...shared, name: above, path: '/parents', total: 'total' },
          {
            ...{ ...shared, name: below, path: '/of/${parent:id}/items', deletes: 'hard', in_flight: 1 },
            ...{ parent: { stream: above, include: { parent_id: 'id' } }, primary_key: ['parent_id', 'id'] },
            columns: { parent_id: 'LONG', id: 'LONG' },
          },
        ],
      });
      expect(await handle.result()).toMatchObject({ status: 'completed' });
      expect(gaps.length).toBeGreaterThanOrEqual(40);
      expect(Math.min(...gaps.slice(0, 10))).toBeGreaterThan(200);
      const later = gaps.slice(15).sort((a, b) => a - b);
      expect(later[Math.floor(later.length / 2)]).toBeLessThan(200);
    } finally {
      await system.stop();
      api.stop();
    }
  },
);
