/** `check` finds what would lose records, and says nothing where all is well: against sources with one flaw each. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { examine, type Finding, Probe } from '../../src/inspect/probe.js';

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 1);
const ALL = Array.from({ length: 60 }, (_, i) => ({
  id: i,
  updated_at: new Date(START + i * HOUR).toISOString(),
}));

const since = (url: URL, hours: number) => {
  const asked = url.searchParams.get('since');
  const from = asked === null ? -Infinity : Date.parse(asked) + hours * HOUR;
  return ALL.filter(({ updated_at }) => Date.parse(updated_at) >= from);
};
const page = (url: URL, size: number) => {
  const from = (Number(url.searchParams.get('page') ?? 1) - 1) * size;
  return ALL.slice(from, from + size);
};

const SOURCES: { [name: string]: (url: URL) => unknown } = {
  right: (url) => ({ data: since(url, 0).slice(0, 10) }),
  five_hours_late: (url) => ({ data: since(url, 5).slice(0, 10) }),
  understands_no_time: (url) => ({
    data: url.searchParams.get('since')?.startsWith('0001') === false ? [] : ALL.slice(0, 10),
  }),
  ignores_all: () => ({ data: ALL.slice(0, 10) }),
  ignores_size: (url) => ({ data: page(url, 20), total: ALL.length }),
  pages: (url) => ({ data: page(url, Number(url.searchParams.get('limit') ?? 10)), total: ALL.length }),
  last_of_first: (url) => ({
    data: url.searchParams.get('page') === '1' ? ALL.slice(0, 10) : ALL.slice(8, 10),
    total: 60,
  }),
  whole: () => ({ data: ALL, total: ALL.length, next: null }),
  empty: () => ({ data: [] }),
};

let url = '';
const server = createServer((request, response) => {
  const asked = new URL(request.url ?? '', 'http://h');
  response.end(JSON.stringify(SOURCES[asked.pathname.slice(1)]?.(asked)));
});
beforeAll(async () => {
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close().closeAllConnections());

async function findings(source: string, keys: object): Promise<Finding[]> {
  const stream = { name: 's', path: `/${source}`, primary_key: 'id', ...keys };
  const { plans } = plansFrom({ source: { base_url: url }, streams: [stream] });
  const [plan] = plans;
  if (plan === undefined) throw new Error('no plan');
  return examine(await Probe.of(plan, plans, { environment: {}, destination: '/tmp/none.duckdb' }));
}

const TIMES = { cursor_field: 'updated_at', names: { since: 'since', updated_since: 'since' } };
const KEYSET = { strategy: 'keyset', ...TIMES };
const PAGES = { strategy: 'page_number', page_size: 10, total: 'total' };

test.each<[string, object]>([
  ['right', { strategy: 'timestamp', ...TIMES }],
  ['pages', PAGES],
  ['whole', { strategy: 'cursor', next: 'none' }],
  [
    'whole',
    {
      strategy: 'cursor',
      next: { token: 'next' },
      total: 'total',
      columns: { id: 'LONG', updated_at: 'UTC_DATETIME' },
    },
  ],
])('raises no false alarm: %s, %j', async (source, keys) => {
  expect((await findings(source, keys)).filter(({ kind }) => kind !== 'fine')).toEqual([]);
});

test('says of a list of unknown length only that it names no next page', async () => {
  const found = await findings('whole', { strategy: 'cursor', next: { token: 'next' } });
  expect(found.filter(({ kind }) => kind !== 'fine')).toEqual([
    {
      kind: 'advice',
      message:
        'the response names no next page: either there is only one page, or "next" points to the wrong place',
    },
  ]);
});

test.each<[string, object, string]>([
  ['five_hours_late', KEYSET, 'begins at 2026-01-01T05:00:00.000Z, 5 hours later'],
  [
    'understands_no_time',
    KEYSET,
    'returned nothing, although the first page has 9 records with a later time',
  ],
  ['ignores_all', KEYSET, 'the API does not continue by time. If it has page numbers, offsets or tokens'],
  ['ignores_all', PAGES, 'the API ignores the parameter for the page (page)'],
  [
    'ignores_size',
    PAGES,
    'the page has 20 records, but 10 were requested: the API ignores the parameter limit',
  ],
  ['last_of_first', PAGES, 'the second page has only records of the first'],
  ['empty', KEYSET, 'no record came, so keys, order, paging and range boundary could not be checked'],
])('finds a problem: %s, %j', async (source, keys, message) => {
  const found = await findings(source, keys);
  expect(found).toContainEqual({ kind: 'problem', message: expect.stringContaining(message) as string });
});

test('says that an empty list leaves everything open, which is no proof of a problem', async () => {
  const [, empty] = await findings('empty', PAGES);
  expect(empty).toMatchObject({
    kind: 'advice',
    message: expect.stringContaining('could not be checked') as string,
  });
});

test('keyset without tokens on a longer list is pointed out', async () => {
  const found = await findings('right', KEYSET);
  expect(found).toContainEqual({
    kind: 'advice',
    message: expect.stringContaining('keyset continues by time alone') as string,
  });
});
