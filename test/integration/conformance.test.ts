import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startDemo } from '../helpers/demo.js';
import { installPlayground, PLAYGROUND_VERSION, startPlayground } from '../helpers/playground.js';

/*
 * The same requests to the real reference API and to ours. Their data differ (the reference makes them up at each
 * start), so that parameters come from each API's own data by position, and what is compared is everything else.
 */

const install = await installPlayground();
const suite = install.available
  ? `the demo API answers as the reference API ${PLAYGROUND_VERSION} does`
  : `the demo API answers as the reference API does (skipped: ${install.reason})`;

interface Row {
  id: string;
  createdAt: string;
  updatedAt: string;
  [field: string]: string;
}

interface Page {
  data: Row[];
  [field: string]: unknown;
}

interface Api {
  url: string;
  /** All records by `updatedAt`, ties in the order in which the API holds them now. */
  rows: Row[];
  stop(): Promise<void>;
}

interface Answer {
  status: number;
  type: string | null;
  text: string;
  headers: Headers;
}

async function ask(api: { url: string }, path: string, method = 'GET'): Promise<Answer> {
  const response = await fetch(api.url + path, { method });
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    text,
    headers: response.headers,
  };
}

async function page(api: { url: string }, path: string): Promise<Page> {
  const { status, text } = await ask(api, path);
  expect(status, `${path}: ${text.slice(0, 200)}`).toBe(200);
  return JSON.parse(text) as Page;
}

/** Types and keys, in order: all that two APIs with different data can agree on. */
function shape(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) return [...new Set(value.map((item) => JSON.stringify(shape(item))))];
  if (typeof value !== 'object') return typeof value;
  return Object.entries(value).map(([key, inner]) => [key, shape(inner)]);
}

/** Everything of a page but its records, whose number stands for them. */
function frame(api: { url: string }, answer: Page): string {
  return JSON.stringify({ ...answer, data: answer.data.length }).replaceAll(api.url, 'http://api');
}

const since = (row: Row | undefined): string => encodeURIComponent(row?.updatedAt ?? '');
const token = (row: Row | undefined): string => Buffer.from(row?.updatedAt ?? '').toString('base64');
const ids = (rows: Row[]): string[] => rows.map((row) => row.id);

describe.skipIf(!install.available)(suite, () => {
  let real: Api;
  let ours: Api;

  const everything = async (api: { url: string }): Promise<Row[]> =>
    (await page(api, '/incremental/timestamp')).data;

  async function known(api: { url: string; stop(): Promise<void> }): Promise<Api> {
    return { url: api.url, stop: () => api.stop(), rows: await everything(api) };
  }

  const python = (): string => {
    if (!install.available) throw new Error(install.reason);
    return install.python;
  };

  beforeAll(async () => {
    const started = await Promise.all([startPlayground(python()), startDemo()]);
    [real, ours] = await Promise.all([known(started[0]), known(started[1])]);
  }, 60_000);

  // The reference sorts its one list in place, by whatever field a request asks for: each such request may turn
  // round the records that tie in `updatedAt`.
  beforeEach(async () => {
    for (const api of [real, ours]) api.rows = await everything(api);
  });

  afterAll(() => Promise.all([real?.stop(), ours?.stop()]));

  /** A place where no record ties with its neighbours, in either API's data. */
  function clearPlace(from: number): number {
    const clear = ({ rows }: Api, at: number): boolean =>
      rows[at - 1]?.updatedAt !== rows[at]?.updatedAt && rows[at]?.updatedAt !== rows[at + 1]?.updatedAt;
    for (let at = from; ; at++) if (clear(real, at) && clear(ours, at)) return at;
  }

  const date = '2026-11-20T00:00:00Z';
  const lists = ['/pagination/offset', '/pagination/page_number', '/pagination/next_page_url'];
  const refusals = [
    ...[...lists, '/pagination/keyset', '/incremental/timestamp', '/incremental/step'].flatMap((path) => [
      `${path}?nonsense=1`,
      `${path}?caf%C3%A9=1`,
      `${path}?nonsense`,
    ]),
    '/pagination/keyset?limit=10',
    '/pagination/keyset?per_page=10',
    '/pagination/keyset?since=1',
    '/incremental/timestamp?updated_since=1',
    '/pagination/page_number?limit=10',
    '/pagination/offset?page=1',
    ...[...lists, '/pagination/keyset', '/incremental/timestamp'].flatMap((path) => {
      const name = path === '/incremental/timestamp' ? 'since' : 'updated_since';
      return [
        'yesterday',
        'yesterdayZ',
        '2026-11-20',
        '2026-11-20Z',
        '2026-11-20T00:00:00',
        '2026-11-20T00:00:00%2B00:00',
        '2026-11-20T00:00:00+00:00',
        '2026-11-20T00:00:00.000Z',
        '2026-11-20%2000:00:00Z',
        '2026-11-20T00:00:00z',
        '2026-11-20T00:00:00ZZ',
        '2026-11-20T24:00:00Z',
        '2026-11-20T00:60:00Z',
        '2026-11-20T00:00:60Z',
        '2026-13-20T00:00:00Z',
        '2026-02-29T00:00:00Z',
        '0000-01-01T00:00:00Z',
        '12026-01-01T00:00:00Z',
        'Z',
      ].map((value) => `${path}?${name}=${value}`);
    }),
    ...['0', '51', '-1', '1000000000000000000000'].flatMap((value) => [
      `/pagination/offset?limit=${value}`,
      `/pagination/page_number?per_page=${value}`,
      `/pagination/next_page_url?per_page=${value}`,
    ]),
    '/pagination/offset?offset=-1',
    '/pagination/page_number?page=0',
    '/pagination/page_number?page=-1',
    ...lists.flatMap((path) => [
      `${path}?order_by=id`,
      `${path}?order_by=`,
      `${path}?order_by=updatedat`,
      `${path}?order_type=ascending`,
      `${path}?order_type=`,
    ]),
    // Which complaint comes first.
    '/pagination/offset?limit=0&offset=-1&order_by=x&order_type=x&updated_since=x',
    '/pagination/offset?offset=-1&order_by=x&order_type=x&updated_since=x',
    '/pagination/offset?order_by=x&order_type=x&updated_since=x',
    '/pagination/offset?order_type=x&updated_since=x',
    '/pagination/page_number?per_page=0&page=0&order_by=x&order_type=x&updated_since=x',
    '/pagination/page_number?per_page=0&page=0&order_type=x&updated_since=x',
    '/pagination/page_number?per_page=0&page=0&updated_since=x',
    '/pagination/page_number?page=0&updated_since=x',
    '/pagination/next_page_url?per_page=0&order_by=x&updated_since=x',
    '/pagination/next_page_url?per_page=0&updated_since=x',
    `/pagination/keyset?scroll_param=x&updated_since=${date}`,
    '/pagination/keyset?scroll_param=x&updated_since=x',
    ...[
      'x',
      'abc',
      '!!!!',
      '%FF',
      'AAAA',
      '////',
      'MjAyNg==',
      'MjAyNi0xMS0yMFQwMDowMDowMA==',
      '====',
      'é',
    ].map((value) => `/pagination/keyset?scroll_param=${value}`),
    `/pagination/keyset?scroll_param=${Buffer.from('2026-02-30T00:00:00Z').toString('base64')}`,
    '/incremental/step',
    '/incremental/step?start_id=1',
    '/incremental/step?end_id=1',
    '/incremental/step?start_id=&end_id=',
    '/incremental/step?start_id=a&end_id=2',
    '/incremental/step?start_id=1&end_id=2.5',
    '/incremental/step?start_id=0&end_id=10',
    '/incremental/step?start_id=-5&end_id=10',
    '/incremental/step?start_id=0&end_id=-1',
    '/incremental/step?start_id=10&end_id=9',
  ];

  test.each(refusals)('refuses %s in the same words', async (path) => {
    const [theirs, mine] = await Promise.all([ask(real, path), ask(ours, path)]);
    expect(theirs.status).toBe(400);
    expect({ status: mine.status, type: mine.type, text: mine.text }).toEqual({
      status: theirs.status,
      type: theirs.type,
      text: theirs.text,
    });
  });

  test.each([
    ['GET', '/nowhere'],
    ['GET', '/incremental/replay'],
    ['GET', '/pagination/offset/'],
    ['GET', '/pagination'],
    ['POST', '/pagination/offset'],
    ['DELETE', '/incremental/step'],
    ['OPTIONS', '/pagination/keyset'],
  ])('answers %s %s alike', async (method, path) => {
    const [theirs, mine] = await Promise.all([ask(real, path, method), ask(ours, path, method)]);
    const allow = ({ headers }: Answer): string[] | undefined => headers.get('allow')?.split(', ').sort();
    expect({ ...mine, headers: allow(mine) }).toEqual({ ...theirs, headers: allow(theirs) });
  });

  test('answers HEAD with headers only', async () => {
    for (const api of [real, ours]) {
      const { status, type, text, headers } = await ask(api, '/pagination/offset?limit=1', 'HEAD');
      expect([status, type, text]).toEqual([200, 'application/json', '']);
      expect(Number(headers.get('content-length'))).toBeGreaterThan(200);
    }
  });

  const accepted = [
    '/pagination/keyset',
    '/pagination/keyset?updated_since=&scroll_param=',
    '/pagination/keyset?updated_since=0001-01-01T00:00:00Z',
    '/pagination/keyset?updated_since=9999-12-31T23:59:59Z',
    '/pagination/keyset?updated_since=2020-1-2T3:4:5Z',
    '/pagination/keyset?updated_since=2020-01-02t03:04:05Z',
    '/pagination/keyset?updated_since=0001-01-01T00:00:00Z&updated_since=bad',
    `/pagination/keyset?scroll_param=${Buffer.from('9999-01-01T00:00:00Z').toString('base64')}`,
    `/pagination/keyset?scroll_param=${Buffer.from('2020-01-01T00:00:00Z').toString('base64')}`,
    `/pagination/keyset?scroll_param=${Buffer.from('2020-01-01t00:00:00z').toString('base64')}`,
    `/pagination/keyset?scroll_param=*${Buffer.from('2020-01-01T00:00:00Z').toString('base64')}!`,
    '/incremental/timestamp',
    '/incremental/timestamp?since=',
    '/incremental/timestamp?since=0001-01-01T00:00:00Z',
    '/incremental/timestamp?since=9999-12-31T23:59:59Z',
    '/incremental/step?start_id=1&end_id=1',
    '/incremental/step?start_id=1&end_id=1000',
    '/incremental/step?start_id=191&end_id=210',
    '/incremental/step?start_id=201&end_id=300',
    '/incremental/step?start_id=%201_0%20&end_id=%2B12',
    '/incremental/step?start_id=1&end_id=99999999999999999999999999',
    '/pagination/offset',
    '/pagination/offset?limit=1',
    '/pagination/offset?limit=50',
    '/pagination/offset?limit=abc',
    '/pagination/offset?limit=',
    '/pagination/offset?limit=2.5',
    '/pagination/offset?limit=1e1',
    '/pagination/offset?limit=%201_5%20',
    '/pagination/offset?limit=%2B5',
    '/pagination/offset?limit=7&limit=9',
    '/pagination/offset?offset=abc',
    '/pagination/offset?offset=195',
    '/pagination/offset?offset=200',
    '/pagination/offset?offset=100000000000000000000',
    '/pagination/offset?updated_since=9999-12-31T23:59:59Z',
    '/pagination/page_number',
    '/pagination/page_number?per_page=3&page=67',
    '/pagination/page_number?per_page=3&page=68',
    '/pagination/page_number?per_page=abc&page=abc',
    '/pagination/page_number?updated_since=9999-12-31T23:59:59Z',
    '/pagination/next_page_url',
    '/pagination/next_page_url?per_page=50&page=4',
    '/pagination/next_page_url?per_page=50&page=5',
    '/pagination/next_page_url?per_page=30&page=7',
    '/pagination/next_page_url?per_page=2&page=0',
    '/pagination/next_page_url?per_page=2&page=-3',
    '/pagination/next_page_url?per_page=50&page=-9',
    '/pagination/next_page_url?order_by=createdAt&order_type=desc&per_page=7',
    '/pagination/next_page_url?updated_since=0001-01-01T00:00:00Z',
  ];

  test.each(accepted)('answers %s with the same shape, counts and number of records', async (path) => {
    const [theirs, mine] = await Promise.all([ask(real, path), ask(ours, path)]);
    expect([mine.status, mine.type]).toEqual([theirs.status, theirs.type]);
    const [theirPage, myPage] = [JSON.parse(theirs.text) as Page, JSON.parse(mine.text) as Page];
    expect(shape(myPage)).toEqual(shape(theirPage));
    const frames = [ours, real].map((api, i) => {
      const answer = i === 0 ? myPage : theirPage;
      const last = answer.data.at(-1);
      // A token is made of data: what it is made of must be the same thing.
      if (typeof answer.scroll_param === 'string') {
        expect(answer.scroll_param).toBe(token(last));
        return frame(api, { ...answer, scroll_param: 'token' });
      }
      return frame(api, answer);
    });
    expect(frames[0]).toBe(frames[1]);
  });

  test('spaces its JSON as the reference does', async () => {
    const plain = (text: string): string => text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
    const [theirs, mine] = await Promise.all(
      [real, ours].map((api) => ask(api, '/pagination/offset?limit=2')),
    );
    expect(plain(mine?.text ?? '')).toBe(plain(theirs?.text ?? ''));
  });

  test('has records of the same fields, all strings, with uuids and whole seconds', () => {
    for (const { rows } of [real, ours]) {
      expect(rows).toHaveLength(200);
      expect(new Set(ids(rows)).size).toBe(200);
      for (const row of rows) {
        expect(Object.keys(row)).toEqual(Object.keys(real.rows[0] ?? {}));
        expect(row.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(row.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        expect(row.updatedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        expect(row.updatedAt >= row.createdAt).toBe(true);
      }
      expect(rows.some((row) => row.address?.includes('\n'))).toBe(true);
    }
  });

  test.each(lists)('%s orders by either time, in either direction', async (path) => {
    const size = path === '/pagination/offset' ? 'limit' : 'per_page';
    const next = (from: number): string =>
      path === '/pagination/offset' ? `offset=${from}` : `page=${from / 50 + 1}`;
    for (const api of [real, ours]) {
      for (const field of ['createdAt', 'updatedAt'] as const) {
        for (const direction of ['asc', 'desc']) {
          const seen: Row[] = [];
          for (let from = 0; from < 200; from += 50) {
            const query = `${size}=50&${next(from)}&order_by=${field}&order_type=${direction}`;
            seen.push(...(await page(api, `${path}?${query}`)).data);
          }
          const values = seen.map((row) => row[field]);
          const sorted = [...values].sort();
          expect(values).toEqual(direction === 'asc' ? sorted : sorted.reverse());
          expect(ids(seen).sort()).toEqual(ids(api.rows).sort());
        }
      }
    }
  });

  test('counts a record at `updated_since` and at `since` as later', async () => {
    const at = clearPlace(120);
    for (const api of [real, ours]) {
      const rest = ids(api.rows.slice(at));
      const from = since(api.rows[at]);
      const offset = await page(api, `/pagination/offset?limit=50&updated_since=${from}`);
      expect([offset.total, ids(offset.data)]).toEqual([rest.length, rest.slice(0, 50)]);
      const numbered = await page(api, `/pagination/page_number?per_page=50&page=2&updated_since=${from}`);
      expect([numbered.total_items, ids(numbered.data)]).toEqual([rest.length, rest.slice(50)]);
      const linked = await page(api, `/pagination/next_page_url?per_page=50&updated_since=${from}`);
      expect([linked.total_items, ids(linked.data)]).toEqual([rest.length, rest.slice(0, 50)]);
      const keyset = await page(api, `/pagination/keyset?updated_since=${from}`);
      expect(ids(keyset.data)).toEqual(rest.slice(0, 50));
      const all = await page(api, `/incremental/timestamp?since=${from}`);
      expect(ids(all.data)).toEqual(rest);
    }
  });

  test('counts a record at `scroll_param` as read', async () => {
    const at = clearPlace(80);
    for (const api of [real, ours]) {
      const rest = api.rows.slice(at + 1);
      const after = await page(
        api,
        `/pagination/keyset?scroll_param=${encodeURIComponent(token(api.rows[at]))}`,
      );
      expect(ids(after.data)).toEqual(ids(rest.slice(0, 50)));
      expect(after.scroll_param).toBe(token(rest[49]));
    }
  });

  test('walks keyset pages of 50 by tokens made of the last `updatedAt`, until there is none', async () => {
    for (const api of [real, ours]) {
      let path = '/pagination/keyset?updated_since=0001-01-01T00:00:00Z';
      let rest = api.rows;
      for (;;) {
        const { data, scroll_param: next } = await page(api, path);
        expect(ids(data)).toEqual(ids(rest.slice(0, 50)));
        // What ties with the last record of a page is lost: so it is in the reference too.
        const last = data.at(-1)?.updatedAt ?? '';
        if (rest.length <= 50) {
          expect(next).toBeNull();
          break;
        }
        expect(next).toBe(token(data.at(-1)));
        rest = rest.filter((row) => row.updatedAt > last);
        path = `/pagination/keyset?scroll_param=${encodeURIComponent(String(next))}`;
      }
    }
  });

  test('gives no token with a last page that is full', async () => {
    const at = clearPlace(150) - 1;
    for (const api of [real, ours]) {
      const { data, scroll_param: next } = await page(
        api,
        `/pagination/keyset?scroll_param=${encodeURIComponent(token(api.rows[at]))}`,
      );
      expect([data.length, next]).toEqual([200 - at - 1, null]);
    }
  });

  test('links the next page with every parameter, unescaped, until there is none', async () => {
    const walks = await Promise.all(
      [real, ours].map(async (api) => {
        const links: string[] = [];
        let rows = 0;
        let url: string | null =
          `${api.url}/pagination/next_page_url?per_page=45&order_by=createdAt&updated_since=0001-01-01T00:00:00Z`;
        while (url !== null) {
          const answer: Page = await page({ url: '' }, url);
          rows += answer.data.length;
          url = answer.next_page_url as string | null;
          links.push(String(url).replace(api.url, 'http://api'));
        }
        return { links, rows };
      }),
    );
    expect(walks[1]).toEqual(walks[0]);
    expect(walks[0]?.links).toHaveLength(5);
  });

  test('numbers step ids by place in the list, as strings', async () => {
    for (const api of [real, ours]) {
      // The reference's places are those of its last order.
      await page(api, '/pagination/offset');
      const { data } = await page(api, '/incremental/step?start_id=41&end_id=60');
      expect(data).toEqual(api.rows.slice(40, 60).map((row, i) => ({ ...row, id: String(41 + i) })));
    }
  });

  test('on purpose, keeps step ids where the reference lets any list request change them', async () => {
    const step = '/incremental/step?start_id=1&end_id=1';
    const email = async (api: Api): Promise<unknown> => (await page(api, step)).data[0]?.email;
    const before = [await email(real), await email(ours)];
    for (const api of [real, ours]) await page(api, '/pagination/offset?order_type=desc');
    expect(await email(real)).toBe(real.rows.at(-1)?.email);
    expect(await email(ours)).toBe(before[1]);
    await page(real, '/pagination/offset');
    expect(await email(real)).toBe(before[0]);
  });

  test('on purpose, serves text as UTF-8 where the reference escapes all but ASCII', async () => {
    const [theirs, mine] = await Promise.all([real, ours].map((api) => ask(api, '/incremental/timestamp')));
    expect(theirs?.text).not.toMatch(/[^\0-\x7f]/);
    expect(mine?.text).toMatch(/[^\0-\x7f]/);
  });

  test('limits its rate by the same bucket, with the same words and headers, on unknown paths too', async () => {
    const limited = await Promise.all([
      startPlayground(python(), { rateLimit: true, capacity: 3 }),
      startDemo({ rate_limit: true, capacity: 3 }),
    ]);
    try {
      const runs = await Promise.all(
        limited.map(async (api) => {
          const seen: Answer[] = [];
          while (seen.at(-1)?.status !== 429 && seen.length < 200) {
            seen.push(await ask(api, seen.length % 2 ? '/nowhere' : '/pagination/offset?limit=1'));
          }
          // One token takes a tenth of a second.
          await new Promise((resolve) => setTimeout(resolve, 250));
          return {
            first: seen[0],
            last: seen.at(-1),
            allowed: seen.length - 1,
            later: await ask(api, '/nowhere'),
          };
        }),
      );
      const limits = (answer: Answer | undefined): (string | null | undefined)[] =>
        ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset', 'retry-after'].map((name) =>
          answer?.headers.get(name),
        );
      for (const { first, last, allowed, later } of runs) {
        expect(allowed).toBeGreaterThanOrEqual(3);
        expect(limits(first)).toEqual(['3', '2', '1', null]);
        expect(limits(last)).toEqual(['3', '0', '1', '1']);
        expect(later.status).toBe(404);
        expect(limits(later).slice(0, 1)).toEqual(['3']);
      }
      const [theirs, mine] = runs;
      expect([mine?.last?.status, mine?.last?.type, mine?.last?.text]).toEqual([
        theirs?.last?.status,
        theirs?.last?.type,
        theirs?.last?.text,
      ]);
    } finally {
      await Promise.all(limited.map((api) => api.stop()));
    }
  }, 30_000);
});
