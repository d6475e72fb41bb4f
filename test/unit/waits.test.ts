import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Headers } from 'node-fetch';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { REFERENCE_REQUEST } from '../../src/config/reference-source.js';
import { SourceRefusedError, SourceUnavailableError } from '../../src/errors.js';
import type { Auth, RequestSpec } from '../../src/protocol.js';
import { jwtLifetime } from '../../src/sources/auth.js';
import { HttpSource } from '../../src/sources/http.js';
import { resolveRequest } from '../../src/sources/references.js';
import { RateLimitedError } from '../../src/sources/source.js';
import { retryAfter, secondsUntil, sourceNow } from '../../src/sources/waits.js';

const NOW = Date.UTC(2026, 0, 1);
const SECOND = NOW / 1000;

describe('a time to wait', () => {
  it.each([
    ['120', 120],
    [' 1.5 ', 1.5],
    ['"30"', 30],
    ['7, 9', 9],
    // Instants: seconds, milliseconds and microseconds since 1970.
    [`${SECOND + 40}`, 40],
    [`${SECOND + 40}.25`, 40.25],
    [`${NOW + 1500}`, 1.5],
    [`${(NOW + 1500) * 1000}`, 1.5],
    // Dates of HTTP in its three forms, and of ISO 8601; without a zone they are in UTC.
    ['Thu, 01 Jan 2026 00:05:00 GMT', 300],
    ['Thursday, 01-Jan-26 00:05:00 GMT', 300],
    ['Thu Jan  1 00:05:00 2026', 300],
    ['Thu, 01 Jan 2026 01:05:00 +0100', 300],
    ['2026-01-01T00:05:00Z', 300],
    ['2026-01-01T00:05:00.500+00:00', 300.5],
    ['2026-01-01T00:05:00', 300],
    ['2026-01-01 00:05:00 UTC', 300],
    ['2026-01-01 00:05:00', 300],
    // Durations with their unit.
    ['30s', 30],
    ['5 minutes', 300],
    ['120 seconds', 120],
    ['1.5 min', 90],
    ['1500ms', 1.5],
    ['1m30s', 90],
    ['6m0s', 360],
    ['1 hour, 2 minutes and 5 seconds', 3725],
    ['in 20 sec.', 20],
    ['2 Hours', 7200],
    ['PT1M30S', 90],
    ['1d', 86_400],
    // A day is the longest wait; an instant beyond it comes from a clock that is wrong.
    ['9999999', 86_400],
    ['3 days', 86_400],
    ['Fri, 01 Jan 2100 00:00:00 GMT', null],
    [`${SECOND + 40 * 86_400}`, null],
    // Passed, or no time at all.
    ['0', null],
    ['-5', null],
    ['0s', null],
    [`${SECOND}`, null],
    [`${SECOND - 3600}`, null],
    ['Wed, 31 Dec 2025 00:00:00 GMT', null],
    ['soon', null],
    ['try 5', null],
    ['5 apples', null],
    ['', null],
    ['NaN', null],
    ['PT', null],
  ])('%j is %s s', (text, seconds) => {
    expect(secondsUntil(text, NOW)).toBe(seconds);
  });

  it.each<[{ [name: string]: string }, number | null]>([
    [{ 'retry-after': '7' }, 7],
    [{ 'retry-after-ms': '1500', 'retry-after': '2' }, 1.5],
    [{ 'retry-after': 'soon', 'x-ratelimit-reset': '9' }, 9],
    [{ 'retry-after': '0', 'x-ratelimit-reset-after': '0.5' }, 0.5],
    [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': `${SECOND + 12}` }, 12],
    [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': `${NOW + 12_500}` }, 12.5],
    [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '2026-01-01T00:00:12Z' }, 12],
    [{ 'x-ratelimit-reset-ms': '800' }, 0.8],
    [{ ratelimit: '"default";r=0;t=30' }, 30],
    [{ ratelimit: 'limit=10, remaining=0, reset=31' }, 31],
    // Requests are left of this budget: another limit has refused.
    [{ 'x-ratelimit-remaining': '40', 'x-ratelimit-reset': '3000' }, null],
    [{}, null],
  ])('is found in the headers %j', (headers, seconds) => {
    const date = new Date(NOW).toUTCString();
    expect(retryAfter(new Headers({ date, ...headers }), null)).toBe(seconds);
  });

  it('is measured by the clock of the source, and by that of the worker where the answer has no date', () => {
    const date = 'Mon, 06 Jul 2026 10:00:00 GMT';
    const reset = String(Date.UTC(2026, 6, 6, 10, 0, 20) / 1000);
    expect(retryAfter(new Headers({ date, 'x-ratelimit-reset': reset }), null)).toBe(20);
    // A cache hands out the answer twelve seconds later.
    expect(retryAfter(new Headers({ date, age: '12', 'x-ratelimit-reset': reset }), null)).toBe(8);
    expect(Math.abs(sourceNow(new Headers()) - Date.now())).toBeLessThan(1000);
  });
});

const servers: Server[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<string> {
  const server = createServer((request, response) => void answer(request, response));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const PAGE = '{"data":[{"id":"1"}]}';

function sourceAt(url: string, more: Partial<RequestSpec> = {}): HttpSource {
  const spec = { ...REFERENCE_REQUEST, ...more };
  return new HttpSource({
    resolved: resolveRequest(url, spec, {}),
    ...{ spec, primaryKey: ['id'], cursorField: 'updatedAt', columns: ['id'], timeoutSeconds: 5 },
  });
}

const read = (source: HttpSource) =>
  source.read({ params: {} }, () => Promise.resolve(), new AbortController().signal);

async function failure(source: HttpSource): Promise<Error> {
  const thrown: unknown = await read(source).then(
    () => new Error('it was read'),
    (error: unknown) => error,
  );
  return thrown as Error;
}

const limited = (thrown: Error): RateLimitedError => {
  expect(thrown).toBeInstanceOf(RateLimitedError);
  return thrown as RateLimitedError;
};

describe('a refused page', () => {
  it.each<[number, { [name: string]: string }, number | null]>([
    [429, { 'retry-after': '7' }, 7],
    [503, { 'retry-after': '7 seconds' }, 7],
    [429, {}, null],
    [429, { 'retry-after': 'garbage' }, null],
    [429, { 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' }, null],
    [429, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1000000001' }, null],
    [403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '30' }, 30],
    // The reset has passed on the way: it is a limit all the same.
    [403, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '0' }, null],
  ])('%i with %j waits for %s s', async (status, headers, seconds) => {
    const url = await serve((_, response) => response.writeHead(status, headers).end());
    const thrown = limited(await failure(sourceAt(url)));
    expect(thrown.seconds).toBe(seconds);
    expect(thrown.reason).toContain(String(status));
    expect(thrown.message).toMatch(
      seconds === null ? /asks to wait without saying how long/ : /asks to wait \d+s, until 20/,
    );
  });

  it('with 503 is a failure where it does not say for how long', async () => {
    for (const headers of [{}, { 'retry-after': 'garbage' }, { 'retry-after': '0' }]) {
      const url = await serve((_, response) => response.writeHead(503, headers).end());
      expect(await failure(sourceAt(url))).toBeInstanceOf(SourceUnavailableError);
    }
  });
});

const session = (url: string, more: object = {}): Auth => ({
  ...{ type: 'session', in: 'header', name: 'Authorization', prefix: 'Bearer ' },
  ...{ token: ['token'], expiresIn: null, ...more },
  login: { method: 'POST', url: `${url}/login`, headers: {}, body: { user: 'u' }, bodyAs: 'json' },
});
const oauth2 = (url: string): Auth => ({
  ...{ type: 'oauth2', tokenUrl: `${url}/login`, clientId: 'c', clientSecret: 's', clientAuth: 'body' },
  ...{ refreshToken: null, scopes: [], params: {} },
});

describe.each([
  ['session', session],
  ['oauth2', oauth2],
])('signing in (%s)', (_, auth) => {
  it('that is answered with 429 or 503 waits as a page does, and its words are not lost', async () => {
    for (const [status, headers, seconds] of [
      [429, { 'retry-after': '20 s' }, 20],
      [429, {}, null],
      [503, { 'retry-after': '20' }, 20],
    ] as const) {
      const url = await serve((_request, response) =>
        response.writeHead(status, headers).end('{"error":"slow down"}'),
      );
      const thrown = limited(await failure(sourceAt(url, { auth: auth(url) })));
      expect(thrown.seconds).toBe(seconds);
      expect(thrown.reason).toBe(`the login was answered with ${status}: slow down`);
    }
  });

  it('waits too where a redirect leads to the 429', async () => {
    const url = await serve((request, response) =>
      request.url === '/login'
        ? response.writeHead(307, { location: '/elsewhere' }).end()
        : response.writeHead(429, { 'retry-after': '20' }).end(),
    );
    expect(limited(await failure(sourceAt(url, { auth: auth(url) }))).seconds).toBe(20);
  });

  it('is not asked for again by another stream during the wait, but is once the wait is ended', async () => {
    let logins = 0;
    const url = await serve((_request, response) => {
      logins++;
      return response.writeHead(429, { 'retry-after': '30' }).end();
    });
    const [one, other] = [0, 1].map(() => sourceAt(url, { auth: auth(url) })) as [HttpSource, HttpSource];
    await failure(one);
    const { seconds } = limited(await failure(other));
    expect(seconds).toBeGreaterThan(29);
    expect(seconds).toBeLessThanOrEqual(30);
    expect(logins).toBe(1);
    other.endWait();
    limited(await failure(one));
    expect(logins).toBe(2);
  });
});

describe('a budget that is used up', () => {
  const used = (seconds: number) => ({
    'x-ratelimit-remaining': '0',
    'x-ratelimit-reset': String(Math.floor(Date.now() / 1000) + seconds),
  });

  it('lets the next request go at once where the wait was ended', async () => {
    let requests = 0;
    const url = await serve((_, response) => {
      requests++;
      return response.writeHead(200, used(600)).end(PAGE);
    });
    const source = sourceAt(url);
    await read(source);
    expect(limited(await failure(source)).seconds).toBeGreaterThan(590);
    source.endWait();
    await read(source);
    expect(requests).toBe(2);
  });

  it('waits no longer where the clock is set back meanwhile, nor where it was an hour ahead', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 3600_000);
    const url = await serve((_, response) =>
      response
        .writeHead(200, {
          date: 'Mon, 06 Jul 2026 10:00:00 GMT',
          'x-ratelimit-remaining': '0',
          'x-ratelimit-reset': String(Date.UTC(2026, 6, 6, 10, 0, 3) / 1000),
        })
        .end(PAGE),
    );
    const limit = { requestsPerSecond: 20, concurrency: null, remainingHeader: null, resetHeader: null };
    const source = sourceAt(url, { rateLimit: limit });
    await read(source);
    vi.setSystemTime(Date.now() - 7200_000);
    const { seconds } = limited(await failure(source));
    expect(seconds).toBeGreaterThan(2);
    expect(seconds).toBeLessThanOrEqual(3);
    await delay(1100);
    const before = performance.now();
    await read(source);
    expect(performance.now() - before).toBeLessThan(2500);
  });

  it('keeps nothing from being asked where the reset cannot be read, or lies years ahead', async () => {
    for (const reset of ['garbage', '-1', '4102444800']) {
      const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': reset };
      const url = await serve((_, response) => response.writeHead(200, headers).end(PAGE));
      const source = sourceAt(url);
      await read(source);
      await read(source);
    }
  });
});

const jwt = (claims: object) =>
  ['{"alg":"none"}', JSON.stringify(claims), 'signed']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');

describe('a JSON Web Token', () => {
  it.each<[object | string, number | null]>([
    [{ exp: SECOND + 90 }, 90],
    [{ exp: SECOND + 90, iat: SECOND }, 90],
    [{ exp: NOW + 90_000, iat: NOW }, 90],
    [{ exp: String(SECOND + 90) }, 90],
    // Issued an hour ago, and handed out again.
    [{ exp: SECOND + 90, iat: SECOND - 3600 }, 90],
    // The clock it is measured by is an hour behind, or ahead.
    [{ exp: SECOND + 3690, iat: SECOND + 3600 }, 90],
    [{ exp: SECOND - 3510, iat: SECOND - 3600 }, 90],
    [{ exp: SECOND - 3600 }, null],
    [{ sub: 'me' }, null],
    [{ exp: 'tomorrow' }, null],
    ['opaque', null],
    ['a.b.c', null],
    ['bnVsbA.bnVsbA.c', null],
  ])('%j is good for %s s', (claims, seconds) => {
    expect(jwtLifetime(typeof claims === 'string' ? claims : jwt(claims), NOW)).toBe(seconds);
  });

  /** A source whose tokens are good for two seconds, and that answers an expired one with a status. */
  async function expiring(status: number, answer: (expires: number) => object) {
    let logins = 0;
    const refused: number[] = [];
    const ends = new Map<string, number>();
    const url = await serve((request, response) => {
      if (request.url === '/login') {
        const expires = Math.floor(Date.now() / 1000) + 2;
        const given = { token: jwt({ exp: expires, n: ++logins }), ...answer(expires) };
        ends.set(`Bearer ${given.token}`, expires * 1000);
        return response.end(JSON.stringify(given));
      }
      if (Date.now() < (ends.get(request.headers.authorization ?? '') ?? 0)) return response.end(PAGE);
      refused.push(status);
      return response.writeHead(status).end();
    });
    return { url, refused, logins: () => logins };
  }

  it('is renewed before it expires', async () => {
    const { url, refused, logins } = await expiring(403, () => ({}));
    const source = sourceAt(url, { auth: session(url) });
    const until = Date.now() + 4000;
    while (Date.now() < until) {
      await read(source);
      await delay(50);
    }
    expect(refused).toEqual([]);
    expect(logins()).toBeGreaterThan(2);
    expect(logins()).toBeLessThan(12);
  });

  it('counts for nothing where the answer says itself how long it is good', async () => {
    const { url, logins } = await expiring(403, () => ({ seconds: 3600 }));
    const source = sourceAt(url, { auth: session(url, { expiresIn: ['seconds'] }) });
    await read(source);
    await delay(2100);
    const thrown = await failure(source);
    expect(logins()).toBe(1);
    expect(thrown).toBeInstanceOf(SourceRefusedError);
    expect(thrown.message).toMatch(/worked before: it may have expired.*action: renew_credentials/);
  });
});

it('a 403 on the first request of a token says nothing of its expiry', async () => {
  const url = await serve((request, response) =>
    request.url === '/login'
      ? response.end('{"token":"sesame"}')
      : response.writeHead(403).end('{"error":"no rights"}'),
  );
  const thrown = await failure(sourceAt(url, { auth: session(url) }));
  expect(thrown.message).toMatch(/^the source answered 403 Forbidden: no rights\n {2}request/);
});
