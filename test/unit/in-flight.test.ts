/** Requests that are sent ahead, on a real server that counts: none is sent twice, and none for nothing. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ParentWalk } from '../../src/activities/parent-walk.js';
import { REFERENCE_REQUEST } from '../../src/config/reference-source.js';
import type { Destination } from '../../src/destinations/destination.js';
import {
  strategyKey,
  type PageSummary,
  type RateLimit,
  type RequestSpec,
  type StrategyOptions,
} from '../../src/protocol.js';
import { HttpSource } from '../../src/sources/http.js';
import { KeptRequests } from '../../src/sources/in-flight.js';
import { resolveRequest } from '../../src/sources/references.js';
import { RateLimitedError } from '../../src/sources/source.js';
import { createPerParent, createStrategy, type PerParentCursor } from '../../src/strategies/index.js';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const PARENTS = Array.from({ length: 25 }, (_, i) => String(i + 1).padStart(2, '0'));

interface Api {
  url: string;
  requests: string[];
}

/** Serves `pages` pages of children for each parent. @param refuse answers a request itself where it returns true. */
async function serve(
  pages: (parent: number) => number,
  more: { bytes?: number; refuse?: (path: string, response: ServerResponse) => boolean } = {},
): Promise<Api> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    requests.push(url.pathname + url.search);
    if (more.refuse?.(url.pathname + url.search, response) === true) return;
    const parent = url.pathname.split('/').at(-1) ?? '';
    const page = Number(url.searchParams.get('page') ?? url.searchParams.get('token') ?? 1);
    const total = pages(Number(parent));
    const padding = 'x'.repeat(more.bytes ?? 1);
    const data = page > total ? [] : [1, 2].map((n) => ({ id: `${parent}-${page}-${n}`, padding }));
    const body = { data, total: total * 2, pages: total, next: page < total ? String(page + 1) : null };
    // Answers do not come in the order of their requests.
    setTimeout(() => response.end(JSON.stringify(body)), (Number(parent) * 7) % 20);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

const PAGE_NUMBER: StrategyOptions = {
  ...{ strategy: 'page_number', firstPage: 1, pageSize: null, shortPageEnds: false, incremental: null },
};
const TOKENS: StrategyOptions = {
  ...{ strategy: 'cursor', pageSize: null, tokenIsLastKey: false, shortPageEnds: false, incremental: null },
};

/** Reads all parents as fetchPages does, `perCall` pages a call. @returns the keys, in order. */
async function readAll(
  { url }: Api,
  options: StrategyOptions,
  answers: Partial<RequestSpec>,
  {
    perCall = 4,
    inFlight = 8,
    rateLimit,
  }: { perCall?: number; inFlight?: number; rateLimit?: RateLimit } = {},
): Promise<string[]> {
  const spec: RequestSpec = {
    ...REFERENCE_REQUEST,
    names: { scroll_param: 'token' },
    next: { in: 'body', path: ['next'], isAddress: false },
    ...{ total: null, more: null, ...answers },
    ...(rateLimit !== undefined && { rateLimit }),
  };
  const strategy = createPerParent(createStrategy(options, 'none'));
  const rows = PARENTS.map((id) => ({ key: [id], fields: { id }, mark: null }));
  const destination = {
    parents: ({ after }: { after: string[] | null }) =>
      Promise.resolve(rows.filter(({ key: [id = ''] }) => after === null || id > (after[0] ?? ''))),
  } as unknown as Destination;
  const key = { schema: 's', table: 't', strategy: strategyKey(options), source: url, range: '' } as const;
  const table = { schema: 's', table: 'p', primaryKey: ['id'], columns: {} };
  const { signal } = new AbortController();
  let cursor = strategy.begin(null, '2026-01-01T00:00:00Z');
  const keys: string[] = [];
  const kept = new KeptRequests();
  for (let call = 0; cursor.ended === null; call++) {
    const http = new HttpSource({
      resolved: resolveRequest(`${url}/of/\${parent:id}`, spec, {}),
      ...{ spec, primaryKey: ['id'], cursorField: '', columns: ['id'], timeoutSeconds: 5 },
    });
    const source = kept.take(`${url} ${call}`, http, signal);
    const parent = { stream: 'p', table, fields: ['id'] };
    const walk = new ParentWalk(strategy, destination, key, parent, source.memory);
    let waits = false;
    for (let page = 0; page < perCall && cursor.ended === null && !waits; page++) {
      cursor = (await walk.enterParent(cursor)) as PerParentCursor;
      const request = strategy.request(cursor);
      if ('end' in request) break;
      const found: string[] = [];
      try {
        const { undeclared: _, ...answer } = await source.read(
          request,
          walk.ahead(cursor, inFlight - 1),
          async ({ lines }) => {
            for (const line of lines.toString().split('\n').filter(Boolean))
              found.push((JSON.parse(line) as { id: string }).id);
          },
        );
        const summary: PageSummary = { keys: found, values: [], records: found.length, ...answer };
        cursor = strategy.advance(cursor, summary);
        walk.countPage(summary);
        keys.push(...found);
      } catch (thrown) {
        if (!(thrown instanceof RateLimitedError)) throw thrown;
        waits = true;
      }
    }
    kept.keep(`${url} ${call + 1}`, source);
  }
  return keys;
}

const expected = (pages: (parent: number) => number) =>
  PARENTS.flatMap((parent) =>
    Array.from({ length: pages(Number(parent)) }, (_, page) =>
      [1, 2].map((n) => `${parent}-${page + 1}-${n}`),
    ).flat(),
  );

describe('25 parents with in_flight 8', () => {
  const one = () => 1;
  const two = () => 2;
  const mixed = (parent: number) => parent % 4;
  const many = (parent: number) => (parent % 5 === 0 ? 12 : 1);
  it.each<[string, (parent: number) => number, StrategyOptions, Partial<RequestSpec>, number]>([
    ['one page each, by tokens', one, TOKENS, {}, 25],
    ['one page each, and a total', one, PAGE_NUMBER, { total: ['total'] }, 25],
    ['one page each, until an empty one', one, PAGE_NUMBER, {}, 50],
    ['two pages each, by tokens', two, TOKENS, {}, 50],
    ['two pages each, and a total', two, PAGE_NUMBER, { total: ['total'] }, 50],
    ['two pages each, until an empty one', two, PAGE_NUMBER, {}, 75],
    ['none to three pages, by tokens', mixed, TOKENS, {}, 43],
    ['none to three pages, until an empty one', mixed, PAGE_NUMBER, {}, 62],
    ['some with twelve pages, and a count of them', many, PAGE_NUMBER, { totalPages: ['pages'] }, 80],
    ['some with twelve pages, by tokens', many, TOKENS, {}, 80],
  ])('%s: each request is sent once', async (_, pages, options, answers, requests) => {
    const api = await serve(pages);
    expect(await readAll(api, options, answers)).toEqual(expected(pages));
    expect(new Set(api.requests).size).toBe(api.requests.length);
    expect(api.requests).toHaveLength(requests);
  });

  it('sends again only what was refused, and uses what was answered beside it', async () => {
    let refused = 0;
    const refuse = (path: string, response: ServerResponse) => {
      if (!path.startsWith('/of/05') || refused++ > 0) return false;
      response.writeHead(429).end();
      return true;
    };
    const api = await serve(one, { refuse });
    expect(await readAll(api, TOKENS, {}, { perCall: 100 })).toEqual(expected(one));
    expect(api.requests.filter((path) => path.startsWith('/of/05'))).toHaveLength(2);
    expect(api.requests).toHaveLength(26);
  });

  it.each([1, 2, 3])('ends with answers too large to keep, and %i connections', async (concurrency) => {
    const limit = { requestsPerSecond: null, concurrency, remainingHeader: null, resetHeader: null };
    const api = await serve(mixed, { bytes: 600_000 });
    expect(await readAll(api, TOKENS, {}, { rateLimit: limit })).toEqual(expected(mixed));
  });
});
