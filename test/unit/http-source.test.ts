import { writeFile } from 'node:fs/promises';
import {
  createServer,
  request as forward,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import {
  ConfigurationError,
  MalformedAnswerError,
  RecordError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../../src/errors.js';
import { REFERENCE_REQUEST } from '../../src/config/reference-source.js';
import { plansFromFull } from '../../src/config/full.js';
import type { Auth, Json, RequestSpec } from '../../src/protocol.js';
import { Budget } from '../../src/sources/budget.js';
import { HttpSource, namedMaximum } from '../../src/sources/http.js';
import { InFlight } from '../../src/sources/in-flight.js';
import { Network } from '../../src/trust/network.js';
import { nextAddress, normalHost } from '../../src/request/next-link.js';
import { resolveRequest } from '../../src/sources/references.js';
import { RateLimitedError, type PageAnswer, type RecordSink } from '../../src/sources/source.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { scratch } from '../helpers/harness.js';

const servers: Server[] = [];
/** One for all sources, as in a worker. */
const network = new Network(TrustPolicy.local({}));

/** A real server on a free port, closed after the test. */
async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; port: number; server: Server }> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, server };
}

beforeEach(() => {
  for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy']) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toUpperCase(), undefined);
  }
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(
    servers.splice(0).map((server) => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      return closed;
    }),
  );
});

interface ReadOptions {
  parent?: { [field: string]: Json };
  spec?: Partial<RequestSpec>;
  params?: Record<string, string>;
  environment?: NodeJS.ProcessEnv;
  timeoutSeconds?: number;
  sink?: RecordSink;
  signal?: AbortSignal;
}

async function read(
  url: string,
  options: ReadOptions = {},
): Promise<PageAnswer & { lines: string[]; keys: string[] }> {
  const spec = { ...REFERENCE_REQUEST, ...options.spec };
  const source = new HttpSource({
    resolved: resolveRequest(url, spec, options.environment ?? {}),
    spec,
    trust: TrustPolicy.local(options.environment ?? {}),
    network,
    primaryKey: ['id'],
    cursorField: 'updatedAt',
    columns: ['id', 'updatedAt'],
    timeoutSeconds: options.timeoutSeconds ?? 5,
  });
  const lines: string[] = [];
  const keys: string[] = [];
  const sink: RecordSink = async ({ lines: bytes }) => void lines.push(...bytes.toString('utf8').split('\n'));
  const signal = options.signal ?? new AbortController().signal;
  const answer = await source.read(
    { params: options.params ?? {}, ...(options.parent !== undefined && { parent: options.parent }) },
    async (part) => {
      keys.push(...part.records.keys);
      await (options.sink ?? sink)(part);
    },
    signal,
  );
  return { ...answer, lines, keys };
}

/** What reading from an answer like this throws. */
async function failure(url: string, options?: ReadOptions): Promise<Error> {
  const thrown: unknown = await read(url, options).then(
    () => new Error('it was read'),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(Error);
  return thrown as Error;
}

const page = (records: unknown[] = [{ id: '1' }], more: object = {}) =>
  JSON.stringify({ data: records, ...more });

/** Always the same answer. */
const always =
  (status: number, body: string | Buffer = '', headers: Record<string, string> = {}) =>
  (_: IncomingMessage, response: ServerResponse): void =>
    void response.writeHead(status, headers).end(body);

describe('a page', () => {
  it('is asked for with the parameters of the strategy beside those of the address', async () => {
    const asked: IncomingMessage[] = [];
    const { url } = await serve((request, response) => {
      asked.push(request);
      response.end(page([{ id: '1', updatedAt: 't', x: 1 }], { scroll_param: 'next', total: 7 }));
    });
    const answer = await read(`${url}/users?tenant=a&limit=5`, {
      params: { limit: '50', since: '2026-01-01T00:00:00Z' },
    });
    expect(asked[0]?.url).toBe('/users?tenant=a&limit=50&since=2026-01-01T00%3A00%3A00Z');
    expect(asked[0]?.headers).toMatchObject({ accept: 'application/json', 'user-agent': 'highwater' });
    expect(asked[0]?.headers).not.toHaveProperty('authorization');
    expect(answer).toEqual({
      keys: ['1'],
      nextToken: 'next',
      total: 7,
      more: null,
      undeclared: ['x'],
      lines: ['{"id":"1","updatedAt":"t","x":1}'],
    });
  });

  it('takes a number for a token, and a number in text for a total', async () => {
    const { url } = await serve(always(200, page([], { scroll_param: 5, total: '7' })));
    expect(await read(url)).toMatchObject({ nextToken: '5', total: 7, keys: [] });
  });

  it('comes over a connection that is kept for the next one, after errors and redirects too', async () => {
    let connections = 0;
    const { url, server } = await serve((request, response) => {
      if (request.url === '/moved') response.writeHead(302, { location: '/' }).end('gone');
      else if (request.url === '/bad') response.writeHead(400).end('bad');
      else response.end(page());
    });
    server.on('connection', () => connections++);
    await read(url);
    await read(`${url}/moved`);
    await failure(`${url}/bad`);
    await read(url);
    expect(connections).toBe(1);
  });

  it('may be compressed', async () => {
    const { url } = await serve((request, response) => {
      expect(request.headers['accept-encoding']).toContain('gzip');
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(page()));
    });
    expect((await read(url)).keys).toEqual(['1']);
  });

  it('that stops in the middle of its compression is refused', async () => {
    const packed = gzipSync(page(Array.from({ length: 2000 }, (_, i) => ({ id: String(i * 7919) }))));
    const { url } = await serve(
      always(200, packed.subarray(0, packed.length / 2), { 'content-encoding': 'gzip' }),
    );
    const thrown = await failure(url);
    expect(thrown instanceof MalformedAnswerError || thrown instanceof SourceUnavailableError).toBe(true);
  });

  it.each(['ndjson', 'csv'] as const)(
    'that stops in its compression between two records is refused: %s',
    async (format) => {
      const lines = format === 'csv' ? 'id,updatedAt\n1,a\n2,b\n' : '{"id":"1"}\n{"id":"2"}\n';
      const cut = gzipSync(lines, { finishFlush: constants.Z_SYNC_FLUSH });
      const { url } = await serve(always(200, cut, { 'content-encoding': 'gzip' }));
      expect(await failure(url, { spec: { format } })).toBeInstanceOf(MalformedAnswerError);
    },
  );

  it('may be compressed in other ways, or be a file that is, whose first byte comes alone', async () => {
    for (const [coding, pack] of Object.entries({ deflate: deflateSync, br: brotliCompressSync })) {
      const { url } = await serve(always(200, pack(page()), { 'content-encoding': coding }));
      expect((await read(url)).keys).toEqual(['1']);
    }
    const { url } = await serve((_, response) => {
      const file = gzipSync(page());
      response.write(file.subarray(0, 1));
      setTimeout(() => response.end(file.subarray(1)), 50);
    });
    expect((await read(url)).keys).toEqual(['1']);
  });

  it.each(['ndjson', 'csv'] as const)(
    'without an end of a record is refused before memory runs out: %s',
    async (format) => {
      let sent = 0;
      const { url } = await serve((_, response) => {
        response.write(format === 'csv' ? 'id,updatedAt\n1,"' : '{"id":"');
        const piece = Buffer.alloc(1024 * 1024, 'x');
        const more = () => {
          while (!response.destroyed && sent++ < 200) if (!response.write(piece)) return;
        };
        response.on('drain', more);
        more();
      });
      expect((await failure(url, { spec: { format } })).message).toMatch(/longer than|maximum/i);
      expect(sent).toBeLessThan(60);
    },
  );

  it('that is given up in the middle leaves no connection behind', async () => {
    let isClosed = false;
    const { url } = await serve((_, response) => {
      response.on('close', () => (isClosed = true));
      response.write(Buffer.alloc(5_000_000, '{"data":[}'));
    });
    expect(await failure(url)).toBeInstanceOf(MalformedAnswerError);
    await vi.waitFor(() => expect(isClosed).toBe(true));
  });

  it('of many megabytes reaches the sink in pieces, each only after the one before is done', async () => {
    const records = Array.from({ length: 12_000 }, (_, i) => ({ id: String(i), note: 'x'.repeat(1000) }));
    const { url } = await serve(always(200, page(records)));
    const sizes: number[] = [];
    let sinking = 0;
    let count = 0;
    const answer = await read(url, {
      sink: async ({ lines: bytes, records: n }) => {
        expect(++sinking).toBe(1);
        const before = bytes.toString('latin1', 0, 200);
        await delay(10);
        // The bytes are the sink's until it is done.
        expect(bytes.toString('latin1', 0, 200)).toBe(before);
        sizes.push(bytes.length);
        count += n.keys.length;
        sinking--;
      },
    });
    expect(sinking).toBe(0);
    expect(count).toBe(12_000);
    expect(answer.keys).toHaveLength(12_000);
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThan(5 * 1024 * 1024);
  });

  it('whose last record is longer than what is left of the body is sunk before the reading ends', async () => {
    const { url } = await serve(always(200, page([{ id: '1' }, { id: '2', note: 'x'.repeat(5_000_000) }])));
    let done = 0;
    const answer = await read(url, {
      sink: async ({ records: n }) => {
        await delay(50);
        done += n.keys.length;
      },
    });
    expect([answer.keys, done]).toEqual([['1', '2'], 2]);
  });

  it('whose sink fails is not read', async () => {
    const { url } = await serve(always(200, page()));
    const sink = async () => {
      await delay(1);
      throw new Error('the disk is full');
    };
    expect((await failure(url, { sink })).message).toBe('the disk is full');
  });
});

/** A configuration of one stream in the full form, and the request that it makes. */
function specOf(stream: { [key: string]: Json }): RequestSpec {
  const whole = {
    source: { base_url: 'http://127.0.0.1' },
    streams: [{ name: 't', primary_key: 'id', strategy: 'cursor', columns: { id: 'STRING' }, ...stream }],
  };
  const [plan] = plansFromFull(whole).plans;
  if (plan === undefined) throw new Error('no plan');
  return plan.request;
}

/** The request that {@link specOf} makes, for what is at this path. */
const nextBy = (path: string, more: { [key: string]: Json } = {}) =>
  specOf({ next: { token: path }, ...more });

describe('the next token', () => {
  const BIG = '1234567890123456789';

  it.each([
    ['in the body', 'next', `{"data": [], "next": ${BIG}}`, BIG],
    ['at the end of a long path', 'meta.next', `{"meta": {"next": -${BIG}}, "data": [{"id": 1}]}`, `-${BIG}`],
    ['before the records', 'next', `{"next" : ${BIG} , "data": [{"id": ${BIG}}]}`, BIG],
    [
      'found by a JSONPath',
      "$.links[?@.rel=='next'].at",
      `{"data":[],"links":[{"rel":"next","at":${BIG}}]}`,
      BIG,
    ],
    ['that comes twice, as its last', 'next', `{"next": 5, "data": [], "next": ${BIG}}`, BIG],
    ['with a fraction', 'next', '{"data": [], "next": 1719999999.1234567890}', '1719999999.1234567890'],
    ['in an escaped member', 'a.b', `{"data": [], "\\u0061": {"b": ${BIG}}}`, BIG],
  ])('that is a number keeps its digits: %s', async (_, path, body, token) => {
    const { url } = await serve(always(200, body));
    const answer = await read(url, { spec: nextBy(path) });
    expect(answer.nextToken).toBe(token);
    expect(answer).not.toHaveProperty('noToken');
    // Also where the body is read as a whole, or record by record.
    expect((await read(url, { spec: nextBy(path, { records: '$.data[*]' }) })).nextToken).toBe(token);
    const shaped = nextBy(path, { columns: { id: 'STRING', x: { type: 'STRING', from: 'a.b' } } });
    expect((await read(url, { spec: shaped })).nextToken).toBe(token);
  });

  it('that is a number in a header keeps its digits', async () => {
    const { url } = await serve(always(200, page(), { 'x-next': BIG }));
    expect((await read(url, { spec: specOf({ next: { header: 'X-Next' } }) })).nextToken).toBe(BIG);
  });

  it('is sent as a number with all its digits where a body asks for one', async () => {
    let sent = '';
    const { url } = await serve((request, response) => {
      request.on('data', (chunk: Buffer) => (sent += chunk.toString()));
      request.on('end', () => response.end(page()));
    });
    const body = { since: '${cursor:scroll_param:number}', text: '${cursor:scroll_param}' };
    const spec = nextBy('next', { method: 'POST', body });
    await read(url, { spec, params: { scroll_param: BIG } });
    expect(sent).toBe(`{"since":${BIG},"text":"${BIG}"}`);
  });

  const WHOLE = { method: 'POST', body: { size: 2, q: { after: '${cursor:scroll_param}' } } };

  it.each([
    ['[ "2024-05-01T00:00:09Z", 29 ]', '["2024-05-01T00:00:09Z",29]'],
    [`{"id": {"N": "7"}, "n": [${BIG}, 1.50, null, true]}`, `{"id":{"N":"7"},"n":[${BIG},1.50,null,true]}`],
    ['["a  b", "c\\" d", "\\u00e9"]', '["a  b","c\\" d","\\u00e9"]'],
  ])('that is an object or a list is sent back whole in a body: %s', async (token, kept) => {
    const sent: string[] = [];
    const { url } = await serve((request, response) => {
      request.on('data', (chunk: Buffer) => void sent.push(chunk.toString()));
      request.on('end', () => response.end(`{"data": [{"id": 1}], "last_sort": ${token}}`));
    });
    const spec = nextBy('last_sort', WHOLE);
    const { nextToken } = await read(url, { spec });
    expect(nextToken).toBe(kept);
    await read(url, { spec, params: { scroll_param: String(nextToken) } });
    expect(sent).toEqual(['{"size":2,"q":{"after":null}}', `{"size":2,"q":{"after":${kept}}}`]);
  });

  it.each(['{"id": 5}', '[1]', '"quoted"', '"', '{no json', 'plain', '7'])(
    'that is a text is sent back as a text, whatever it looks like: %s',
    async (token) => {
      let sent = '';
      const { url } = await serve((request, response) => {
        sent = '';
        request.on('data', (chunk: Buffer) => (sent += chunk.toString()));
        request.on('end', () => response.end(page([], { next: token })));
      });
      const spec = nextBy('next', WHOLE);
      const { nextToken } = await read(url, { spec });
      await read(url, { spec, params: { scroll_param: String(nextToken) } });
      expect(JSON.parse(sent)).toEqual({ size: 2, q: { after: token } });
    },
  );

  it('that is an object can be sent as parameters, but for credentials', async () => {
    const asked: string[] = [];
    const token = `{"gapcontinue": "Ä b&c", "n": ${BIG}, "on": false, "none": null, "KEY": "evil", "sig": "x", "action": "more"}`;
    const { url } = await serve((request, response) => {
      asked.push(request.url ?? '');
      response.end(`{"data": [{"id": 1}], "continue": ${token}}`);
    });
    const spec = specOf({
      next: { token: 'continue', as: 'params' },
      params: { action: 'query' },
      page_size: 5,
      auth: { type: 'api_key', name: 'key', value: '${env:KEY}', in: 'query' },
    });
    const environment = { KEY: 'k3y', SIG: 's1g' };
    const at = `${url}/api?sig=\${env:SIG}`;
    const { nextToken } = await read(at, { spec, environment });
    expect(nextToken).toBe(`{"gapcontinue":"Ä b&c","n":${BIG},"on":false,"none":null,"action":"more"}`);
    // One that an older version kept, or somebody brought, does no harm either.
    const params = { scroll_param: token.replaceAll(' "', '"'), limit: '5' };
    await read(at, { spec, environment, params });
    const sent = new URL(asked[1] ?? '', url).searchParams;
    expect(Object.fromEntries(sent)).toEqual({
      ...{ sig: 's1g', key: 'k3y', limit: '5' },
      ...{ action: 'more', gapcontinue: 'Äb&c'.replace('Äb', 'Ä b'), n: BIG, on: 'false' },
    });
  });

  it.each<[string, { [key: string]: Json }, string]>([
    [
      '{"apcontinue": "x", "c": 1}',
      { names: { scroll_param: 'apcontinue' } },
      'an object with apcontinue, c',
    ],
    [
      '["a", 1]',
      {},
      'a list of 2, which cannot be sent as the parameter "scroll_param": to send it as it is',
    ],
    ['{"a": 1}', { params: { c: '${cursor:scroll_param}' } }, 'next: {token: next, as: params}'],
    ['{"a": 1}', { method: 'POST', body: { c: 'x${cursor:scroll_param}' } }, 'as: params'],
    ['{"a": 1}', { ...WHOLE, headers: { 'X-Next': '${cursor:scroll_param}' } }, 'nowhere else'],
    ['{"href": "/2"}', { next: { url: 'next' } }, 'an object with href, not an address'],
    ['true', {}, 'the next token (next) is true, which is not a token'],
    ['true', { next: { url: 'next' } }, 'the next token (next) is true'],
    [
      '"x"',
      { next: { token: 'next', as: 'params' } },
      'the next token is a string, but "as: params" needs an object',
    ],
    ['[1]', { next: { token: 'next', as: 'params' } }, 'the next token is a list of 1'],
    [
      '{"a": {"b": 1}}',
      { next: { token: 'next', as: 'params' } },
      'has a member "a" that is a list or an object',
    ],
  ])('%s with %j is refused, and no end', async (token, stream, words) => {
    const { url } = await serve(always(200, `{"data": [{"id": 1}], "next": ${token}}`));
    const thrown = await failure(url, { spec: nextBy('next', stream) });
    expect(thrown).toBeInstanceOf(MalformedAnswerError);
    expect(thrown.message).toContain(words);
    expect(thrown.message).toMatch(/\n {2}request: (GET|POST) http/);
  });

  it('is not asked for where the answer says that nothing follows', async () => {
    const { url } = await serve(always(200, page([], { next: { a: 1 }, more: false })));
    expect(await read(url, { spec: nextBy('next', { more: 'more' }) })).toMatchObject({
      nextToken: null,
      more: false,
    });
    const ends = { path: 'more', is: false };
    expect(await read(url, { spec: nextBy('next', { ends }) })).toMatchObject({
      nextToken: null,
      more: false,
    });
  });

  it.each([
    ['hits.hits', '$.hits.hits[-1:].sort'],
    ['hits.hits', '$.hits.hits[-1].sort'],
    ['hits.hits', "$['hits']['hits'][-1]['sort']"],
    ['$.hits.hits[*]', '$.hits.hits[-1].sort'],
    ['hits.hits', '$..hits[-1].sort'],
  ])('may stand in the last record: of %s at %s', async (records, path) => {
    const hits = [1, 2].map((id) => `{"id": ${id}, "sort": [${BIG}, ${id}]}`);
    const { url } = await serve(always(200, `{"hits": {"total": {"value": 2}, "hits": [${hits.join()}]}}`));
    const spec = nextBy(path, { records, total: 'hits.total', ...WHOLE });
    expect(await read(url, { spec })).toMatchObject({ nextToken: `[${BIG},2]`, keys: ['1', '2'], total: 2 });
    const none = await serve(always(200, '{"hits": {"hits": []}}'));
    expect(await read(none.url, { spec })).toMatchObject({ nextToken: null, noToken: 'absent', keys: [] });
  });

  it('may stand in the last record of a body that is a list, or of one that is filtered', async () => {
    const { url } = await serve(always(200, '[{"id": 1}, {"id": 12345678901234567890}]'));
    for (const more of [{}, { where: '@.id > 5' }]) {
      const spec = nextBy('$[-1].id', { records: '$', ...more });
      expect((await read(url, { spec })).nextToken).toBe('12345678901234567890');
    }
  });

  it('that is longer than can be kept is refused, as an object too', async () => {
    const { url } = await serve(always(200, page([], { next: [['x'.repeat(17_000)]] })));
    expect((await failure(url, { spec: nextBy('next', WHOLE) })).message).toContain('17006 characters long');
  });

  it.each([
    ['{"data": [], "next": null}', 'null'],
    ['{"data": [], "next": ""}', 'null'],
    ['{"data": [], "next": false}', 'null'],
    ['{"data": [], "next": {}}', 'null'],
    ['{"data": [], "next": []}', 'null'],
    ['{"data": []}', 'absent'],
    ['', 'absent'],
  ])('is not there in %j: %s', async (body, noToken) => {
    const { url } = await serve(always(200, body));
    expect(await read(url, { spec: nextBy('next') })).toMatchObject({ nextToken: null, noToken });
    const params = { next: { token: 'next', as: 'params' } };
    expect(await read(url, { spec: specOf(params) })).toMatchObject({ nextToken: null, noToken });
  });

  it('is not there where null stands on the way, or where a header or link is not there', async () => {
    const { url } = await serve((request, response) => {
      if (request.url === '/empty') response.setHeader('x-next', '');
      response.setHeader('link', '</1>; rel="prev"');
      response.end(page([], { paging: null }));
    });
    const header = specOf({ next: { header: 'X-Next' } });
    expect(await read(url, { spec: nextBy('paging.next') })).toMatchObject({ noToken: 'null' });
    expect(await read(url, { spec: header })).toMatchObject({ nextToken: null, noToken: 'absent' });
    expect(await read(`${url}/empty`, { spec: header })).toMatchObject({ nextToken: null, noToken: 'null' });
    expect(await read(url, { spec: specOf({ next: 'link' }) })).toMatchObject({ noToken: 'absent' });
  });

  it('is no matter where none is configured', async () => {
    const { url } = await serve(always(200, page([{ id: 1 }], { scroll_param: { a: 1 } })));
    const answer = await read(url, { spec: specOf({ strategy: 'page_number' }) });
    expect(answer.nextToken).toBeNull();
    expect(answer.noToken).toBe('null');
  });

  it('is looked for in the right place when a name has dots in it', async () => {
    const { url } = await serve(
      always(200, page([], { 'odata.nextLink': '/2', '@odata.count': 5, meta: { 'x.y': 'z' } })),
    );
    for (const [path, spelt] of [
      ['odata.nextLink', "$['odata.nextLink']"],
      ['odata.count', "$['@odata.count']"],
      ['meta.x.y', "$.meta['x.y']"],
    ] as const) {
      for (const stream of [
        { next: { token: path } },
        { next: { url: path } },
        ...['total', 'more'].map((key) => ({ next: 'link', [key]: path })),
        { strategy: 'page_number', total_pages: path },
      ]) {
        const thrown = await failure(url, { spec: specOf(stream) });
        expect(thrown).toBeInstanceOf(MalformedAnswerError);
        expect(thrown.message).toContain(`which matches nothing, but the response has a member of that name`);
        expect(thrown.message).toContain(spelt);
      }
    }
    expect(await read(url, { spec: nextBy("$.meta['x.y']", { total: "$['@odata.count']" }) })).toMatchObject({
      nextToken: 'z',
      total: 5,
    });
    // Nothing is missing where the last page has none of it.
    expect(await read(url, { spec: nextBy('other.name') })).toMatchObject({ noToken: 'absent' });
  });
});

describe('records', () => {
  it.each<[string, unknown, string, string]>([
    ['$.dta[*]', { data: [{ id: 1 }] }, '$.dta selects nothing: $ has data', 'data'],
    ['$.data[*]', {}, '$.data selects nothing: $ has none', 'nothing'],
    ['$.data[*]', { data: 'x' }, '$.data is a string', 'a text'],
    [
      '$.edges[*].nod',
      { edges: [{ node: { id: 1 } }] },
      '$.edges[*].nod selects nothing: $.edges[*] has node',
      '',
    ],
    ['$..items', { data: [] }, '$..items selects nothing', ''],
    ['value.items', { 'value.items': [{ id: 1 }] }, "quote a name that contains dots: $['value.items']", ''],
    ["$['value.itms']", { 'value.items': [] }, 'the body has no member "value.itms"; it has value.items', ''],
  ])('%s in %j are missing, which is no empty page', async (records, body, words) => {
    const { url } = await serve(always(200, JSON.stringify(body)));
    for (const single of [false, true]) {
      const thrown = await failure(url, { spec: specOf({ next: 'none', records, single }) });
      expect(thrown).toBeInstanceOf(MalformedAnswerError);
      expect(thrown.message).toContain(words);
    }
  });

  it.each<[string, unknown]>([
    ['$.data[*]', { data: [] }],
    ['$.data[*]', { data: null }],
    ['$.data', { data: null }],
    ['data', { data: null }],
    ['a.b', { a: { b: null } }],
    ["$['a.b']", { 'a.b': null }],
    ['$', null],
    ['$', []],
    ['$[*]', []],
    ['$.edges[*].node', { edges: [] }],
    ["$.data[?@.kind=='x']", { data: [{ id: 1, kind: 'y' }] }],
    ['$.data[1:]', { data: [{ id: 1 }] }],
    ['$..data[*]', { a: { data: [] } }],
  ])('%s of %j are an empty list', async (records, body) => {
    const { url } = await serve(always(200, JSON.stringify(body)));
    expect((await read(url, { spec: specOf({ next: 'none', records }) })).keys).toEqual([]);
    const where = { records, where: '@.id > 0' };
    expect((await read(url, { spec: specOf({ next: 'none', ...where }) })).keys).toEqual([]);
  });

  it('of several lists, one of which is null, are those of the others', async () => {
    const { url } = await serve(always(200, '{"groups": [{"items": null}, {"items": [{"id": 1}]}]}'));
    expect((await read(url, { spec: specOf({ next: 'none', records: '$.groups[*].items' }) })).keys).toEqual([
      '1',
    ]);
    expect(
      (await read(url, { spec: specOf({ next: 'none', records: "$.groups[1]['items'][*]" }) })).keys,
    ).toEqual(['1']);
  });

  it.each(['{"data": {}}', '{}', '"x"', 'No records found', '{"data": 0}', '{"data": false}'])(
    'are not said to be none by %s',
    async (body) => {
      const { url } = await serve(always(200, body));
      expect(await failure(url)).toBeInstanceOf(MalformedAnswerError);
    },
  );

  it.each([
    [204, ''],
    [200, ''],
    [200, ' \r\n'],
    [205, ''],
  ])('are none in an answer %i with the body %j, in every format', async (status, body) => {
    const { url } = await serve(always(status, body, { 'x-total-count': '0' }));
    for (const stream of [
      {},
      { records: '$.data[*]' },
      { single: true, records: 'me' },
      { where: '@.id' },
      { format: 'ndjson' },
      { format: 'csv' },
    ]) {
      const answer = await read(url, {
        spec: specOf({ next: { header: 'x-next' }, total: { header: 'X-Total-Count' }, ...stream }),
      });
      expect(answer).toMatchObject({ keys: [], nextToken: null, noToken: 'absent', total: 0 });
      expect(answer).not.toHaveProperty('ignored');
    }
  });

  it('are none in an empty body that is said to be compressed', async () => {
    const { url } = await serve(always(200, gzipSync(''), { 'content-encoding': 'gzip' }));
    expect((await read(url)).keys).toEqual([]);
    const bare = await serve(always(204, '', { 'content-encoding': 'gzip' }));
    expect((await read(bare.url)).keys).toEqual([]);
  });

  it('have columns from within lists, and from names with dots', async () => {
    const record =
      '{"id":1,"changes":[{"rev":"a"},{"rev":12345678901234567890}],"@odata.id":"x","o":{"b.c":null},"o":{"b.c":5}}';
    const { url } = await serve(always(200, `{"data": [${record}, {"id": 2, "changes": []}]}`));
    const from = (path: string) => ({ type: 'STRING', from: path });
    const columns = {
      ...{ id: 'STRING', first: from('changes[0].rev'), second: from('$.changes[1].rev') },
      ...{ link: from("$['@odata.id']"), deep: from("o['b.c']"), none: from('changes.rev') },
    };
    const shape = specOf({ next: 'none', columns }).shape;
    const lines: string[] = [];
    const source = new HttpSource({
      resolved: resolveRequest(url, REFERENCE_REQUEST, {}),
      spec: { ...REFERENCE_REQUEST, ...(shape !== undefined && { shape }) },
      ...{ primaryKey: ['id'], cursorField: '', columns: Object.keys(columns), timeoutSeconds: 5 },
    });
    await source.read(
      { params: {} },
      async ({ lines: bytes }) => void lines.push(bytes.toString()),
      new AbortController().signal,
    );
    expect(lines.join('').split('\n')).toEqual([
      '{"id":1,"first":"a","second":12345678901234567890,"link":"x","deep":5}',
      '{"id":2}',
    ]);
  });
});

describe('what an answer counts', () => {
  it.each<[unknown, number | null]>([
    [47, 47],
    ['47', 47],
    [' 0 ', 0],
    ['007', 7],
    [-1, null],
    ['-1', null],
    [4.5, null],
    ['many', null],
    ['', null],
    [null, null],
    [true, null],
    [{}, null],
    ['99999999999999999999', null],
    [{ value: 47, relation: 'eq' }, 47],
    [{ value: 47 }, 47],
    [{ value: 10000, relation: 'gte' }, null],
  ])('%j is a total of %s', async (total, count) => {
    const { url } = await serve(always(200, page([], { total, pages: total })));
    const spec = specOf({ strategy: 'page_number', total: 'total', total_pages: 'pages' });
    expect(await read(url, { spec })).toMatchObject({ total: count, totalPages: count });
  });

  it.each([{ a: 1 }, [1, 2]])('is not said by %j', async (total) => {
    const { url } = await serve(always(200, page([], { total })));
    for (const key of ['total', 'more']) {
      const thrown = await failure(url, { spec: specOf({ next: 'link', [key]: 'total' }) });
      expect(thrown.message).toContain(`"${key}" is total, which is a`);
    }
  });

  it.each([
    ['47', 47],
    ['items 0-9/47', 47],
    ['0-24/3573', 3573],
    ['*/0', 0],
    ['0-24/*', null],
    ['-1', null],
    ['', null],
  ])('may stand in a header: %s', async (value, count) => {
    const { url } = await serve(always(200, page(), { 'X-Total-Count': value, 'x-wp-totalpages': value }));
    const spec = specOf({
      ...{ strategy: 'page_number', total: { header: 'x-total-count' } },
      ...{ total_pages: { header: 'X-WP-TotalPages' }, more: { header: 'x-none' } },
    });
    expect(await read(url, { spec })).toMatchObject({ total: count, totalPages: count, more: null });
  });

  it.each<[Json, boolean | null]>([
    [true, true],
    [false, false],
    ['true', true],
    ['False', false],
    [1, true],
    [0, false],
    ['1', true],
    ['0', false],
    ['yes', true],
    ['No', false],
    ['maybe', null],
    [2, null],
    [null, null],
    ['', null],
  ])('%j says that there is more: %s', async (more, says) => {
    const { url } = await serve(always(200, page([], { more }), { 'x-has-more': String(more) }));
    expect(await read(url, { spec: specOf({ next: 'link', more: 'more' }) })).toMatchObject({ more: says });
    const header = specOf({ next: 'link', more: { header: 'X-Has-More' } });
    expect(await read(url, { spec: header })).toMatchObject({ more: says });
  });
});

describe('an answer without records that says that it failed', () => {
  it.each<[object, string]>([
    [{ error: 'the index is busy' }, 'the index is busy'],
    [{ error: true, message: 'overloaded' }, 'overloaded'],
    [{ error: { code: 7, message: 'timeout' } }, 'timeout'],
    [{ errors: [{ detail: 'shard 3' }] }, 'shard 3'],
    [{ errors: { base: ['boom'] } }, 'boom'],
    [{ errors: 'boom' }, 'boom'],
    [{ success: false, message: 'try later' }, 'try later'],
    [{ success: 'false' }, 'success'],
    [{ ok: false, error: 'ratelimited' }, 'ratelimited'],
    [{ status: 'error', message: 'db down' }, 'db down'],
    [{ status: 'FAILED' }, 'FAILED'],
    [{ status: 'OVER_QUERY_LIMIT', error_message: 'too many' }, 'too many'],
    [{ status: 500, message: 'Internal error' }, 'Internal error'],
    [{ code: '503', msg: 'maintenance' }, 'maintenance'],
    [{ errcode: 40001, errmsg: 'invalid credential' }, '40001'],
    [{ meta: { error: 'partial outage' } }, 'partial outage'],
    [{ status: { error_code: 1002, error_message: 'plan' } }, 'status.error_code (1002): plan'],
  ])('%j is asked again', async (said, words) => {
    for (const [records, body] of [
      ['data', { data: [], ...said }],
      ['$.data[*]', { data: null, ...said }],
    ] as const) {
      const { url } = await serve(always(200, JSON.stringify(body)));
      const thrown = await failure(url, { spec: specOf({ next: 'none', records }) });
      expect(thrown).toBeInstanceOf(SourceUnavailableError);
      expect(thrown.message).toMatch(/^the source answered 200 OK without records, but with an error in /);
      expect(thrown.message).toContain(words);
      // What it tells one to write does what it says.
      const rule = /add to the stream: errors: \[(\{.*\})\]\n/.exec(thrown.message)?.[1] ?? '';
      const spec = specOf({ next: 'none', records, errors: [parse(rule) as Json] });
      expect(await read(url, { spec })).toMatchObject({ keys: [], ignored: true });
    }
    // Beside records it is another matter.
    const { url } = await serve(always(200, JSON.stringify({ data: [{ id: 1 }], ...said })));
    expect((await read(url)).keys).toEqual(['1']);
  });

  it.each<[object]>([
    [{ error: null, errors: [], success: true, ok: true, status: 'ok', message: 'success' }],
    [{ error: false, errors: {}, status: 200, code: 0, message: 'OK' }],
    [{ error: '', errors: null, status: 'success', code: '200' }],
    [{ error: 'none', error_code: 0, error_message: '' }],
    [{ error: { code: 0, message: '' }, errors: [null], status: 'ZERO_RESULTS' }],
    [{ errors: 3, status: 'no_more', message: 'No results' }],
    [{ code: 404, message: 'no data in this range' }],
    [{ errcode: 0, errmsg: 'ok', meta: { error: null, status: 'ok' } }],
    [{ status: { error_code: 0, error_message: null, elapsed: 10 } }],
    [{ error_count: 3, last_error: 'x', warnings: ['y'] }],
  ])('%j says no such thing', async (said) => {
    const { url } = await serve(always(200, page([], said)));
    expect((await read(url)).keys).toEqual([]);
  });

  it('is no such answer where its records are errors, or where it says back what it was asked', async () => {
    const { url } = await serve(
      always(200, JSON.stringify({ errors: { items: [], page: 3 }, status: 'failed', success: false })),
    );
    const spec = specOf({
      next: 'none',
      records: 'errors.items',
      params: { status: 'failed', success: 'false' },
    });
    expect((await read(url, { spec })).keys).toEqual([]);
    const posted = {
      ...{ next: 'none', method: 'POST', body: { f: { status: 'failed', success: false } } },
      records: '$.errors.items[*]',
    };
    expect((await read(url, { spec: specOf(posted) })).keys).toEqual([]);
  });

  it.each(['data.rows', '$.data.rows[*]', '$.data[?@.rows]'])(
    'may say so beside its list: %s',
    async (records) => {
      const { url } = await serve(always(200, '{"data": {"error": "shard 3 is gone", "rows": []}}'));
      const thrown = await failure(url, { spec: specOf({ next: 'none', records }) });
      expect(thrown).toBeInstanceOf(SourceUnavailableError);
      expect(thrown.message).toContain('an error in data.error: shard 3 is gone');
    },
  );

  it('has its words where it has no list either', async () => {
    const { url } = await serve(always(200, '{"error": {"message": "shard s3cr3t is gone"}}'));
    const options = {
      spec: { auth: { type: 'bearer', token: '${env:T}' } as const },
      environment: { T: 's3cr3t' },
    };
    const thrown = await failure(url, options);
    expect(thrown).toBeInstanceOf(MalformedAnswerError);
    expect(thrown.message).toContain('has no member "data"; it has error; it says: shard *** is gone');
  });

  it('has its secrets masked', async () => {
    const { url } = await serve(always(200, page([], { error: 'no such key s3cr3t-word' })));
    const options = {
      spec: { auth: { type: 'bearer', token: '${env:T}' } as const },
      environment: { T: 's3cr3t-word' },
    };
    const { message } = await failure(url, options);
    expect(message).toContain('no such key ***');
    expect(message).not.toContain('s3cr3t');
  });
});

describe('a rule for errors', () => {
  it.each([
    [204, ''],
    [400, '{"code":"rest_post_invalid_page_number"}'],
    [404, ''],
    [416, 'range'],
  ])('may say that %i is past the end of the list', async (status, body) => {
    const { url } = await serve(always(status, body));
    const spec = specOf({
      strategy: 'page_number',
      errors: [{ status: [204, 400, 404, 416], action: 'end' }],
    });
    expect(await read(url, { spec })).toMatchObject({ keys: [], pastEnd: true, nextToken: null });
  });

  it('may know it by the words', async () => {
    const errors = [{ status: 400, body: 'invalid_page', action: 'end' }];
    const { url } = await serve((request, response) =>
      request.url === '/end'
        ? response.writeHead(400).end('{"code":"invalid_page"}')
        : response.writeHead(400).end('{"code":"bad"}'),
    );
    const spec = specOf({ strategy: 'page_number', errors });
    expect(await read(`${url}/end`, { spec })).toMatchObject({ pastEnd: true });
    expect(await failure(url, { spec })).toBeInstanceOf(SourceRefusedError);
  });

  it.each([
    [200, 'No records found', { status: 200, body: 'no records', action: 'ignore' }, { ignored: true }],
    [204, '', { status: 204, action: 'ignore' }, { ignored: true }],
    [200, '{"data":[],"code":17}', { status: 200, body: '"code":17', action: 'end' }, { pastEnd: true }],
  ])('may be for the status %i with %j', async (status, body, rule, said) => {
    const { url } = await serve(always(status, body));
    expect(await read(url, { spec: specOf({ next: 'none', errors: [rule] }) })).toMatchObject(said);
    const other = await serve(always(200, page()));
    expect((await read(other.url, { spec: specOf({ next: 'none', errors: [rule] }) })).keys).toEqual(['1']);
  });

  it('may wait for an answer that is not ready', async () => {
    const { url } = await serve(always(202, '{"state":"running"}'));
    const errors = [{ status: 202, action: 'wait', wait: '10s' }];
    expect(await failure(url, { spec: specOf({ next: 'none', errors }) })).toBeInstanceOf(RateLimitedError);
  });
});

describe('what a strategy sends', () => {
  it.each([
    ['/items/${cursor:page}', { page: '3', limit: '10' }, '/items/3?limit=10'],
    ['/off/${cursor:offset}/${cursor:limit}', { offset: '0', limit: '10' }, '/off/0/10'],
    ['/scroll/${cursor:scroll_param}', {}, '/scroll'],
    ['/scroll/${cursor:scroll_param}/rows', {}, '/scroll/rows'],
    [
      '/scroll/${cursor:scroll_param}',
      { scroll_param: 'a/b c?d=ä&%' },
      '/scroll/a%2Fb%20c%3Fd%3D%C3%A4%26%25',
    ],
    ['/p${cursor:page}.json', { page: '3' }, '/p3.json'],
    ['/x?a=1&p=${cursor:page}', { page: '3' }, '/x?a=1&p=3'],
    ['/x?t=${cursor:scroll_param}&a=1', {}, '/x?a=1'],
    ['/x&y?t=${cursor:scroll_param}&a=1', { scroll_param: 'k&l' }, '/x&y?t=k%26l&a=1'],
    [
      '/since/${cursor:updated_since}',
      { updated_since: '2024-01-01T00:00:00+01:00' },
      '/since/2024-01-01T00%3A00%3A00%2B01%3A00',
    ],
  ])('may stand in the path %s', async (path, params, asked) => {
    const seen: string[] = [];
    const { url } = await serve((request, response) => {
      seen.push(request.url ?? '');
      response.end(page());
    });
    await read(url + path, { params });
    expect(seen).toEqual([asked]);
  });

  it('must be sent by the strategy at all', async () => {
    for (const [name, words] of [
      ['page', 'the strategy does not send'],
      ['limit', 'is sent only if page_size is set'],
    ] as const) {
      const thrown = await failure(`http://127.0.0.1:1/x/\${cursor:${name}}`, { params: { offset: '0' } });
      expect(thrown).toBeInstanceOf(ConfigurationError);
      expect(thrown.message).toContain(words);
    }
  });

  it('leads to no other address', async () => {
    for (const token of ['.', '..']) {
      const thrown = await failure('http://127.0.0.1:1/s/${cursor:scroll_param}', {
        params: { scroll_param: token },
      });
      expect(thrown.message).toContain('would change the path');
    }
  });
});

describe('an error status', () => {
  it.each([400, 401, 403, 404, 410, 422])(
    '%i is refused for good, with request, status and words',
    async (status) => {
      const { url } = await serve(always(status, '{"error": "no such thing"}'));
      const thrown = await failure(`${url}/users`, { params: { offset: '5' } });
      expect(thrown).toBeInstanceOf(SourceRefusedError);
      expect(thrown).toMatchObject({ status, body: 'no such thing' });
      const hint = status === 401 ? '\nThe request had no credentials: add "auth" .+' : '';
      expect(thrown.message).toMatch(
        new RegExp(
          `^the source answered ${status} [A-Za-z ]+: no such thing${hint}\n {2}request: GET ${url}/users\\?offset=5$`,
        ),
      );
    },
  );

  it.each([500, 502, 504, 408])('%i is worth trying again', async (status) => {
    const { url } = await serve(always(status, 'oops'));
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain('oops');
  });

  it.each([
    ['{"error": "the words"}', 'the words'],
    ['{"message": "the words"}', 'the words'],
    ['{"detail": "the words"}', 'the words'],
    ['{"error": {"code": 7, "message": "the words"}}', '{"code":7,"message":"the words"}'],
    ['{"detail": [{"loc": ["limit"], "msg": "the words"}]}', '[{"loc":["limit"],"msg":"the words"}]'],
    ['{"other": "the words"}', '{"other":"the words"}'],
    ['"the words"', 'the words'],
    ['the\n   words', 'the words'],
    [
      '<!doctype html><html><head><title>400</title><style>p { color: red }</style></head><body><h1>the</h1>\n<p>words</p></body>',
      'the words',
    ],
    ['<script>if (a < b) alert("x")</script><p>the words</p>', 'the words'],
    ['', ''],
    ['null', 'null'],
    [Buffer.from([0xff, 0xfe, 0x41]), '\ufffd\ufffdA'],
  ])('with the body %j says %j', async (body, words) => {
    const { url } = await serve(always(400, body));
    expect(await failure(url)).toMatchObject({ body: words });
  });

  it.each(['<', '<style', '<script>'])(
    'with a body of nothing but %s is looked through quickly',
    async (tag) => {
      const { url } = await serve(always(400, tag.repeat(10_000)));
      const started = Date.now();
      await failure(url);
      expect(Date.now() - started).toBeLessThan(5000);
    },
  );

  it('with a body of megabytes is cut short, and does not wait for the end of it', async () => {
    const { url } = await serve((_, response) => {
      response.writeHead(400);
      response.write('word '.repeat(100_000));
      // Never ended.
    });
    const { message } = await failure(url, { timeoutSeconds: 3 });
    expect(message).toContain('word word');
    expect(message.length).toBeLessThan(5000);
  });

  it('without a Location is no redirect', async () => {
    const { url } = await serve(always(302, 'elsewhere'));
    expect(await failure(url)).toMatchObject({ status: 302, body: 'elsewhere' });
  });
});

describe('secrets', () => {
  const environment = { API_KEY: "s3cr3t/with 'signs'&+%", PASSWORD: 'p@ss:word' };

  /** A source that answers a request's own address back in whatever way. */
  const echo = (answer: (said: string, response: ServerResponse) => void) =>
    serve((request, response) => {
      const said = `${request.url} ${decodeURIComponent(request.url ?? '')} ${environment.API_KEY}`;
      answer(said, response);
    });

  it.each([
    [
      'an error in JSON',
      (said: string, r: ServerResponse) => void r.writeHead(400).end(JSON.stringify({ error: said })),
    ],
    [
      'an error in nested JSON',
      (said: string, r: ServerResponse) => void r.writeHead(400).end(JSON.stringify({ error: [said] })),
    ],
    ['an error in HTML', (said: string, r: ServerResponse) => void r.writeHead(500).end(`<p>${said}</p>`)],
    [
      'an error that is cut short in the middle of one',
      (said: string, r: ServerResponse) => void r.writeHead(400).end('x'.repeat(290) + said),
    ],
    ['a page that is HTML', (said: string, r: ServerResponse) => void r.end(`<html>${said}</html>`)],
    ['a page that is no JSON', (said: string, r: ServerResponse) => void r.end(`{"data": [${said}`)],
    ['a record without a key', (said: string, r: ServerResponse) => void r.end(page([{ name: said }]))],
    ['a connection that breaks', (_: string, r: ServerResponse) => void r.socket?.destroy()],
    [
      'a redirect in a circle',
      (said: string, r: ServerResponse) =>
        void r.writeHead(302, { location: `/?${encodeURIComponent(said)}` }).end(),
    ],
    [
      'a redirect to nowhere',
      (said: string, r: ServerResponse) =>
        void r.writeHead(302, { location: `ftp://h/${encodeURIComponent(said)}` }).end(),
    ],
  ])('stay out of the message of %s', async (_, answer) => {
    const { port } = await echo(answer);
    const base = `http://user:\${env:PASSWORD}@127.0.0.1:${port}/users?api_key=\${env:API_KEY}&token=literal0token`;
    const { message } = await failure(base, { environment, params: { since: '2026' } });
    expect(message).toContain(`request: GET http://127.0.0.1:${port}/users?api_key=***&token=***&since=2026`);
    expect(message).not.toMatch(/s3cr3t|signs|p@ss|p%40ss|user:|literal0token/);
  });

  it('in the path stay in use for the next page, and are not kept with its address', async () => {
    const asked: string[] = [];
    const { url } = await serve((request, response) => {
      asked.push(request.url ?? '');
      const next = `http://${request.headers.host}/orgs/acme/repos?page=2&access_token=s3cr3t`;
      response.end(page([], request.url === '/elsewhere/acme' ? { next: '/acme?page=2' } : { next }));
    });
    const spec: Partial<RequestSpec> = {
      next: { in: 'body', path: ['next'], isAddress: true },
      auth: { type: 'bearer', token: '${env:T}' },
    };
    const environment = { ORG: 'acme', T: 's3cr3t' };
    const path = `${url}/orgs/\${env:ORG}/repos`;
    const { nextToken } = await read(path, { spec, environment });
    expect(nextToken).toBe('?page=2');
    await read(path, { spec, environment, params: { scroll_param: String(nextToken) } });
    expect(asked).toEqual(['/orgs/acme/repos', '/orgs/acme/repos?page=2']);
    // What cannot be kept is not asked for with holes in it.
    const thrown = await failure(`${url}/elsewhere/\${env:ORG}`, { spec, environment });
    expect(thrown.message).toContain('must not be stored: /***?page=2');
  });

  it.each<[string, Partial<RequestSpec>]>([
    ['no JSON, s3cr3t-token-value!', { records: '$.data[*]' }],
    ['{"data":[s3cr3t-token-value]}', { shape: { from: {}, parent: {}, where: '@.id' } }],
    ['id,name\n1,s3cr3t-token-value"x"\n', { format: 'csv' }],
  ])('stay out of what is quoted of a body that cannot be read: %s', async (body, spec) => {
    const { url } = await serve(always(200, body));
    const auth = { type: 'bearer', token: '${env:T}' } as const;
    const options = { spec: { ...spec, auth }, environment: { T: 's3cr3t-token-value' } };
    const thrown = await failure(url, options);
    expect(thrown).toBeInstanceOf(MalformedAnswerError);
    expect(thrown.message).toContain('***');
    expect(thrown.message).not.toContain('s3cr3t');
  });

  it('stay out of what a hook says when it fails', async () => {
    const folder = await scratch();
    const source = "export const sign = (_, { key }) => { throw new Error('no such key: ' + key); };";
    await writeFile(folder.file('fails.mjs'), source);
    const auth = { type: 'signature', hook: 'fails', settings: { key: '${env:T}' } } as const;
    const options = { spec: { auth }, environment: { T: 's3cr3t', HIGHWATER_HOOKS: folder.path } };
    const thrown = await failure('http://127.0.0.1:1', options);
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain('the hook fails failed: no such key: ***');
    await folder.remove();
  });

  it('stay out of the message of a source that is not there', async () => {
    const { url, server } = await serve(always(200));
    await new Promise((resolve) => server.close(resolve));
    const thrown = await failure(`${url}/?key=\${env:API_KEY}`, { environment });
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain('ECONNREFUSED');
    expect(thrown.message).not.toContain('s3cr3t');
  });

  it('of the address are sent as Basic authorization, not in the request line', async () => {
    let seen: IncomingMessage | undefined;
    const { port } = await serve((request, response) => {
      seen = request;
      response.end(page());
    });
    await read(`http://us%20er:\${env:PASSWORD}@127.0.0.1:${port}/x`, { environment });
    const sent = Buffer.from((seen?.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString();
    expect(sent).toBe('us er:p@ss:word');
    expect(seen?.url).toBe('/x');
    expect(seen?.headers.host).toBe(`127.0.0.1:${port}`);
  });

  it('may be a user name that is no valid escape', async () => {
    let sent: string | undefined;
    const { port } = await serve((request, response) => {
      sent = request.headers.authorization;
      response.end(page());
    });
    await read(`http://100%@127.0.0.1:${port}/`);
    expect(Buffer.from(sent?.replace('Basic ', '') ?? '', 'base64').toString()).toBe('100%:');
  });
});

describe('a redirect', () => {
  const environment = { P: 'password' };

  it('within the source is followed with its authorization', async () => {
    const { port } = await serve((request, response) => {
      if (request.url?.startsWith('/old')) response.writeHead(301, { location: '../new?x=1' }).end();
      else response.end(page([{ id: `${request.url} ${request.headers.authorization}` }]));
    });
    const { keys } = await read(`http://u:\${env:P}@127.0.0.1:${port}/old/place`, { environment });
    expect(keys).toEqual([`/new?x=1 Basic ${Buffer.from('u:password').toString('base64')}`]);
  });

  it.each([301, 302, 303, 307, 308])('with %i to another origin is followed without it', async (status) => {
    const other = await serve((request, response) => {
      response.end(page([{ id: String(request.headers.authorization) }]));
    });
    for (const host of ['127.0.0.1', 'localhost']) {
      const { port } = await serve(always(status, '', { location: `http://${host}:${other.port}/` }));
      const { keys } = await read(`http://u:\${env:P}@127.0.0.1:${port}/`, { environment });
      expect(keys).toEqual(['undefined']);
    }
  });

  it('to another origin and back does not get it back', async () => {
    const first = await serve((request, response) => {
      if (request.url === '/') response.writeHead(302, { location: `${second.url}/` }).end();
      else response.end(page([{ id: String(request.headers.authorization) }]));
    });
    const second = await serve(
      (_, response) => void response.writeHead(302, { location: `${first.url}/back` }).end(),
    );
    const { keys } = await read(`http://u:\${env:P}@127.0.0.1:${first.port}/`, { environment });
    expect(keys).toEqual(['undefined']);
  });

  it('cannot bring credentials of its own', async () => {
    const { url, port } = await serve((request, response) => {
      if (request.url === '/')
        response.writeHead(302, { location: `http://x:y@127.0.0.1:${port}/next` }).end();
      else response.end(page([{ id: String(request.headers.authorization) }]));
    });
    expect((await read(url)).keys).toEqual(['undefined']);
  });

  it.each(['ftp://127.0.0.1/', 'file:///etc/passwd', 'data:application/json,{"data":[]}', 'http://[bad'])(
    'to %s is refused for good',
    async (location) => {
      const { url } = await serve(always(302, '', { location }));
      const thrown = await failure(url);
      expect(thrown).toBeInstanceOf(SourceRefusedError);
      expect(thrown.message).toContain('redirects to an address that is not HTTP');
    },
  );

  it('for ever is refused for good', async () => {
    let requests = 0;
    const { url } = await serve((_, response) => {
      requests++;
      response.writeHead(302, { location: '/again' }).end();
    });
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(SourceRefusedError);
    expect(thrown.message).toContain('redirects more than 5 times');
    expect(requests).toBe(6);
  });
});

describe('a source that falls silent', () => {
  it('before its answer is given up on', async () => {
    const { url } = await serve(() => {});
    const thrown = await failure(url, { timeoutSeconds: 0.2 });
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain('the source sent nothing for 0.2 s');
  });

  it('in the middle of its answer is given up on', async () => {
    const { url } = await serve((_, response) => void response.write('{"data": [{"id": "1"},'));
    const thrown = await failure(url, { timeoutSeconds: 0.2 });
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain('the source sent nothing for 0.2 s');
  });

  it('in the middle of an error has said what it has said', async () => {
    const { url } = await serve((_, response) => {
      response.writeHead(400);
      response.write('half of it');
    });
    const thrown = await failure(url, { timeoutSeconds: 0.3 });
    expect(thrown.message).toContain('half of it');
  });

  it('only for less than that is waited for, however long it takes in all', async () => {
    const { url } = await serve((_, response) => {
      const body = [...page([{ id: '1' }])];
      const timer = setInterval(() => {
        const next = body.splice(0, 2);
        if (next.length > 0) response.write(next.join(''));
        else {
          clearInterval(timer);
          response.end();
        }
      }, 60);
    });
    const started = Date.now();
    expect((await read(url, { timeoutSeconds: 0.4 })).keys).toEqual(['1']);
    expect(Date.now() - started).toBeGreaterThan(500);
  });

  it('is not blamed for the time that the sink takes', async () => {
    const { url } = await serve(always(200, page()));
    const answer = await read(url, { timeoutSeconds: 0.2, sink: () => delay(500) });
    expect(answer.keys).toEqual(['1']);
  });

  it('is left at once when the caller goes', async () => {
    const { url } = await serve((_, response) => void response.write('{"data": ['));
    const controller = new AbortController();
    const reason = new Error('the worker stops');
    setTimeout(() => controller.abort(reason), 100);
    const started = Date.now();
    expect(await failure(url, { timeoutSeconds: 30, signal: controller.signal })).toBe(reason);
    expect(Date.now() - started).toBeLessThan(2000);
    expect(await failure(url, { signal: controller.signal })).toBe(reason);
  });
});

describe('a connection that ends', () => {
  const half = '{"data": [{"id": "1"}, {"id": "2"';

  it.each([
    ['before its answer', (r: ServerResponse) => void r.socket?.destroy()],
    [
      'in a body of known length',
      (r: ServerResponse) =>
        void r.writeHead(200, { 'content-length': '1000' }).write(half, () => r.socket?.destroy()),
    ],
    [
      'in a chunked body',
      (r: ServerResponse) => void r.writeHead(200).write(half, () => r.socket?.destroy()),
    ],
    ['with a reset', (r: ServerResponse) => void r.socket?.resetAndDestroy()],
  ])('%s is worth trying again', async (_, answer) => {
    const { url } = await serve((_request, response) => answer(response));
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toMatch(/^reading from the source failed: \S/);
  });

  it('after half a body that said it was whole is a malformed answer', async () => {
    const { url } = await serve(always(200, half));
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(MalformedAnswerError);
    expect(thrown.message).toContain('the body ends in the middle of its records, after 1 of them');
  });

  it('is no malformed answer: a record that cannot be stored is told apart too', async () => {
    const { url } = await serve(always(200, page([{ id: null }])));
    const thrown = await failure(`${url}/users`);
    expect(thrown).toBeInstanceOf(RecordError);
    expect(thrown.message).toBe(
      `record 0 has no primary key: "id" is absent or null\n  request: GET ${url}/users`,
    );
  });
});

describe('a proxy', () => {
  /** A proxy for plain requests and tunnels; says which hosts it was asked for. */
  async function proxy() {
    const asked: string[] = [];
    const { port, server } = await serve((request, response) => {
      asked.push(request.url ?? '');
      const to = new URL(request.url ?? '');
      forward(to, { headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      }).end();
    });
    server.on('connect', (request: IncomingMessage, socket: Socket) => {
      asked.push(`CONNECT ${request.url}`);
      const [host = '', at = ''] = (request.url ?? '').split(':');
      const through = connect(Number(at), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        through.pipe(socket).pipe(through);
      });
      for (const end of [socket, through]) end.on('error', () => socket.destroy());
      socket.on('close', () => through.destroy());
    });
    return { asked, url: `http://127.0.0.1:${port}` };
  }

  it('named by HTTP_PROXY is asked, and NO_PROXY obeyed', async () => {
    const { url, port } = await serve(always(200, page()));
    const { asked, url: proxyUrl } = await proxy();
    vi.stubEnv('HTTP_PROXY', proxyUrl);
    expect((await read(`${url}/a?b=c`)).keys).toEqual(['1']);
    expect(asked).toEqual([`${url}/a?b=c`]);
    vi.stubEnv('NO_PROXY', `127.0.0.1:${port}`);
    expect((await read(`${url}/a`)).keys).toEqual(['1']);
    expect(asked).toHaveLength(1);
  });

  it('named by HTTPS_PROXY is a tunnel: it learns host and port only', async () => {
    // No certificate here: that the handshake fails behind the tunnel shows that it was asked.
    const { port } = await serve(always(200, page()));
    const { asked, url: proxyUrl } = await proxy();
    vi.stubEnv('HTTPS_PROXY', proxyUrl);
    const thrown = await failure(`https://u:\${env:P}@127.0.0.1:${port}/a?key=b`, {
      environment: { P: 'hush' },
    });
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(asked).toEqual([`CONNECT 127.0.0.1:${port}`]);
  });

  it('that is not there is named as the trouble, without its password', async () => {
    const { url } = await serve(always(200, page()));
    const gone = await serve(always(200));
    await new Promise((resolve) => gone.server.close(resolve));
    vi.stubEnv('HTTP_PROXY', `http://user:hush@127.0.0.1:${gone.port}`);
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown.message).toContain(`ECONNREFUSED 127.0.0.1:${gone.port}`);
    expect(thrown.message).not.toContain('hush');
  });
});

describe('a token', () => {
  it.each(['null', '3600', '"3600"'])('is used again while it is good, which lasts %s', async (seconds) => {
    let given = 0;
    const { url } = await serve((request, response) =>
      request.url === '/token'
        ? response.end(`{"access_token":"t${++given}","expires_in":${seconds}}`)
        : response.end(page()),
    );
    const client = { clientId: 'c', clientSecret: 's', clientAuth: 'body', refreshToken: null } as const;
    const auth = {
      type: 'oauth2',
      tokenUrl: `${url}/token`,
      ...client,
      scopes: [],
      params: {},
    } satisfies Auth;
    for (let i = 0; i < 3; i++) await read(url, { spec: { auth } });
    expect(given).toBe(1);
  });
});

describe("a parent's value", () => {
  it.each(['.', '..'])('never leads to another path: %s', async (id) => {
    const asked: string[] = [];
    const { url } = await serve((request, response) => {
      asked.push(request.url ?? '');
      response.end(page());
    });
    const of = `${url}/companies/\${parent:id}/departments`;
    await read(of, { parent: { id: '../..' } });
    expect(asked).toEqual(['/companies/..%2F../departments']);
    expect((await failure(of, { parent: { id } })).message).toContain('would change the path');
    expect(asked).toHaveLength(1);
  });
});

describe('requests on their way', () => {
  it('get their turn in the order in which they asked for it', async () => {
    const limit = { requestsPerSecond: null, concurrency: 1, remainingHeader: null, resetHeader: null };
    const budget = new Budget(limit);
    const { signal } = new AbortController();
    const order: number[] = [];
    const take = async (number: number) => {
      const end = await budget.takeTurn(signal);
      order.push(number);
      return end;
    };
    const end = await take(0);
    const [first, second] = [take(1), take(2)];
    // One that asks at the very moment when the place becomes free.
    end();
    const third = take(3);
    for (const one of [first, second, third]) (await one)();
    expect(order).toEqual([0, 1, 2, 3]);
    (await take(4))();
  });

  it('that are given up while they wait leave the turn to others', async () => {
    const limit = { requestsPerSecond: null, concurrency: 1, remainingHeader: null, resetHeader: null };
    const budget = new Budget(limit);
    const abort = new AbortController();
    const end = await budget.takeTurn(abort.signal);
    const waiting = budget.takeTurn(abort.signal);
    const other = budget.takeTurn(new AbortController().signal);
    abort.abort(new Error('given up'));
    await expect(waiting).rejects.toThrow('given up');
    end();
    (await other)();
    (await budget.takeTurn(new AbortController().signal))();
  });

  it('are for one parent each, whatever else they have in common', async () => {
    const source = {
      read: ({ parent }: { parent?: object }) =>
        Promise.resolve({ nextToken: JSON.stringify(parent), total: null, more: null, undeclared: [] }),
    };
    const flights = new InFlight(source, new AbortController().signal);
    const of = (id: number) => ({ params: {}, parent: { id } });
    const sink: RecordSink = () => Promise.resolve();
    await flights.read(of(1), [of(3)], sink);
    // A row 2 has come between them meanwhile.
    expect((await flights.read(of(2), [of(3)], sink)).nextToken).toBe('{"id":2}');
    expect((await flights.read(of(3), [], sink)).nextToken).toBe('{"id":3}');
  });
});

describe('a 400 that names the largest page', () => {
  it.each([
    ["Invalid value for 'limit'. It should be between 1 and 50.", 50],
    ['limit must be between 1 and 1,000', 1000],
    ['Maximum page size is 200', 200],
    ['page_size exceeds maximum of 500', 500],
    ['per_page: max 100', 100],
    ['The limit may not be more than 250.', 250],
    ['limit is greater than 100', 100],
    ['limit must not be greater than 100', 100],
    ['limit cannot exceed 30', 30],
    ['count must be at most 25', 25],
    ['page size <= 75', 75],
    ['You can request up to 40 items per page', 40],
    ['[{"loc":["query","limit"],"msg":"Input should be less than or equal to 100"}]', 100],
    ['{"limit":["Ensure this value is less than or equal to 100."]}', 100],
    // No maximum, or not of a page.
    ["Invalid value for 'offset'. It must be greater than or equal to 0.", null],
    ['limit must be greater than 0', null],
    ['page must be greater than or equal to 1', null],
    ['{"limit":["Ensure this value is greater than or equal to 1."]}', null],
    ['page_size should be greater than 10', null],
    ['Unexpected query parameters: limit', null],
    ['at most 5 requests a second', null],
    ['limit must be between 0 and 0', null],
    ['', null],
  ])('%j → %s', (words, maximum) => {
    expect(namedMaximum(words)).toBe(maximum);
  });
});

describe('the address of a next page', () => {
  const place = (base: string, hosts: string[] = [], current = base) => ({
    current: new URL(current),
    base: new URL(base),
    hosts,
  });

  it.each([
    // A proxy ends TLS, and the API knows neither its own scheme nor its port.
    ['https://h.example/a', 'http://h.example/a?page=2', 'https://h.example/a?page=2'],
    ['http://h.example/a', 'https://h.example/a?page=2', 'http://h.example/a?page=2'],
    ['https://h.example/a', 'http://h.example:80/a?page=2', 'https://h.example/a?page=2'],
    ['https://h.example/a', 'https://h.example:443/a?page=2', 'https://h.example/a?page=2'],
    ['https://h.example/a', 'http://h.example:443/a?page=2', 'https://h.example/a?page=2'],
    ['https://h.example:8443/a', 'http://h.example:8443/a?page=2', 'https://h.example:8443/a?page=2'],
    ['https://h.example:8443/a', 'http://h.example/a?page=2', 'https://h.example:8443/a?page=2'],
    ['https://h.example/a', 'HTTP://H.Example./a?page=2', 'https://h.example/a?page=2'],
    ['https://h.example./a', 'https://h.example/a?page=2', 'https://h.example./a?page=2'],
    ['http://127.0.0.1:8080/a', 'http://localhost:8080/a?page=2', 'http://127.0.0.1:8080/a?page=2'],
    ['http://localhost:8080/a', 'http://[::1]:8080/a?page=2', 'http://localhost:8080/a?page=2'],
    ['https://b\u00fccher.example/a', 'http://xn--bcher-kva.example/b', 'https://xn--bcher-kva.example/b'],
    ['https://h.example/a', 'http://u:p@h.example/a?page=2#top', 'https://h.example/a?page=2'],
    ['https://h.example/a', '//h.example/a?page=2', 'https://h.example/a?page=2'],
  ])('of %s may be %s, and is asked for as %s', (base, link, asked) => {
    expect(nextAddress(link, place(base))?.href).toBe(asked);
  });

  it.each([
    ['https://h.example/a', 'https://other.example/a?page=2'],
    ['https://h.example/a', 'http://h.example:8080/a?page=2'],
    ['https://h.example/a', 'https://api.h.example/a?page=2'],
    ['https://h.example/a', 'https://h.example.evil.example/a'],
    ['http://127.0.0.1:8080/a', 'http://localhost:8081/a'],
    ['https://h.example/a', 'https://localhost/a'],
    ['https://h.example/a', 'ftp://h.example/a'],
    ['https://h.example/a', 'http://'],
  ])('of %s is not %s', (base, link) => {
    expect(nextAddress(link, place(base))).toBeNull();
  });

  it.each([
    ['https://h.example/', 'two.example', 'https://two.example/a', 'https://two.example/a'],
    ['https://h.example/', 'TWO.example.', 'https://two.example/a', 'https://two.example/a'],
    ['https://h.example/', 'two.example:443', 'https://two.example/a', 'https://two.example/a'],
    ['https://h.example/', 'two.example:8443', 'https://two.example:8443/a', 'https://two.example:8443/a'],
    // Credentials that are configured for https are not sent in the clear.
    ['https://h.example/', 'two.example', 'http://two.example/a', 'https://two.example/a'],
    ['https://h.example/', 'two.example:8080', 'http://two.example:8080/a', 'https://two.example:8080/a'],
    ['http://h.example/', 'two.example', 'https://two.example/a', 'https://two.example/a'],
    ['http://h.example:8080/', 'h.example', 'http://h.example/a', 'http://h.example/a'],
    ['https://h.example/', 'two.example', 'https://two.example:8443/a', null],
    ['https://h.example/', 'two.example:8443', 'https://two.example/a', null],
    ['https://h.example/', 'two.example', 'https://x.two.example/a', null],
  ])('of %s beside %s may be %s: %s', (base, host, link, asked) => {
    expect(nextAddress(link, place(base, [normalHost(host) ?? '']))?.href ?? null).toBe(asked);
  });

  it('is relative to the page that names it', () => {
    const at = place('https://h.example/a/list', [], 'https://h.example/a/list/2?x=1');
    expect(nextAddress('3', at)?.href).toBe('https://h.example/a/list/3');
    expect(nextAddress('?x=2', at)?.href).toBe('https://h.example/a/list/2?x=2');
  });

  const byAddress: Partial<RequestSpec> = {
    next: { in: 'body', path: ['next'], isAddress: true },
    auth: { type: 'bearer', token: '${env:T}' },
  };

  it('with another scheme is kept and asked for on the configured origin', async () => {
    const asked: unknown[][] = [];
    const { url, port } = await serve((request, response) => {
      asked.push([request.url, request.headers.authorization]);
      response.end(page([], { next: `https://LOCALHOST:${port}/users?page=2` }));
    });
    const options = { spec: byAddress, environment: { T: 's3cr3t' } };
    const { nextToken } = await read(`${url}/users`, options);
    expect(nextToken).toBe('?page=2');
    await read(`${url}/users`, { ...options, params: { scroll_param: String(nextToken) } });
    expect(asked).toEqual([
      ['/users', 'Bearer s3cr3t'],
      ['/users?page=2', 'Bearer s3cr3t'],
    ]);
  });

  it('on a host that is listed is sent the credentials, and kept without them', async () => {
    const asked: unknown[][] = [];
    const other = await serve((request, response) => {
      asked.push([request.url, request.headers.authorization, request.headers['x-tenant']]);
      response.end(page([], { next: '/more?page=3&key=k3y' }));
    });
    const { url } = await serve((_, response) => {
      response.end(page([], { next: `http://x:y@127.0.0.1:${other.port}/more?page=2&key=k3y` }));
    });
    const spec: Partial<RequestSpec> = {
      ...byAddress,
      params: { key: '${env:K}' },
      headers: { 'X-Tenant': 'a' },
      nextHosts: [`127.0.0.1:${other.port}`],
    };
    const options = { spec, environment: { T: 's3cr3t', K: 'k3y' } };
    const { nextToken } = await read(`${url}/users`, options);
    expect(nextToken).toBe(`http://127.0.0.1:${other.port}/more?page=2`);
    const second = await read(`${url}/users`, { ...options, params: { scroll_param: String(nextToken) } });
    expect(second.nextToken).toBe(`http://127.0.0.1:${other.port}/more?page=3`);
    expect(asked).toEqual([['/more?page=2&key=k3y', 'Bearer s3cr3t', 'a']]);
    // Not listed, it is refused by name, and sent nothing.
    const refused = await failure(`${url}/users`, {
      ...options,
      spec: { ...spec, nextHosts: [] },
      params: { scroll_param: String(nextToken) },
    });
    expect(refused).toBeInstanceOf(SourceRefusedError);
    expect(refused.message).toContain(`another host, 127.0.0.1:${other.port}`);
    expect(refused.message).toContain('list it in "next_hosts"');
    expect(asked).toHaveLength(1);
  });

  it('that is no address is refused', async () => {
    const { url } = await serve(always(200, page()));
    const refused = await failure(url, {
      spec: byAddress,
      environment: { T: 's' },
      params: { scroll_param: 'http://' },
    });
    expect(refused).toBeInstanceOf(SourceRefusedError);
    expect(refused.message).toContain('not an HTTP address');
  });
});

describe('what is there only on some pages', () => {
  const answering = async (asked: unknown[]) =>
    serve((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        asked.push([request.url, request.headers['x-after'], body]);
        response.end(page());
      });
    });

  it.each<[string, Partial<RequestSpec>, unknown[], unknown[]]>([
    [
      'as a parameter or a header is left out of the others',
      { params: { cursor: '${cursor:scroll_param}' }, headers: { 'X-After': '${cursor:scroll_param}' } },
      ['/?limit=2', undefined, ''],
      ['/?cursor=t&limit=2', 't', ''],
    ],
    [
      'as an optional parameter or header is left out likewise',
      { params: { cursor: '${cursor:scroll_param?}' }, headers: { 'X-After': '${cursor:scroll_param?}' } },
      ['/?limit=2', undefined, ''],
      ['/?cursor=t&limit=2', 't', ''],
    ],
    [
      'takes the place of a parameter of its name, which the first page is asked with',
      { params: { cursorMark: '*' }, names: { scroll_param: 'cursorMark' } },
      ['/?cursorMark=*&limit=2', undefined, ''],
      ['/?cursorMark=t&limit=2', undefined, ''],
    ],
    [
      'takes the place of an empty parameter',
      { params: { cursor: '' }, names: { scroll_param: 'cursor' } },
      ['/?cursor=&limit=2', undefined, ''],
      ['/?cursor=t&limit=2', undefined, ''],
    ],
    [
      'takes the place of what the reference gives',
      { params: { q: 'all' }, headers: { 'X-After': '${cursor:scroll_param?*}' } },
      ['/?q=all&limit=2', '*', ''],
      ['/?q=all&limit=2', 't', ''],
    ],
    [
      'as an optional member of a body is left out of it',
      { method: 'POST', body: { size: '${cursor:limit}', search_after: ['${cursor:scroll_param?}'] } },
      ['/', undefined, '{"size":2}'],
      ['/', undefined, '{"size":2,"search_after":["t"]}'],
    ],
    [
      'as an optional member of a form is left out of it',
      { method: 'POST', bodyAs: 'form', body: { size: '${cursor:limit}', after: '${cursor:scroll_param?}' } },
      ['/', undefined, 'size=2'],
      ['/', undefined, 'size=2&after=t'],
    ],
  ])('%s', async (_, spec, first, second) => {
    const asked: unknown[] = [];
    const { url } = await answering(asked);
    await read(url, { spec, params: { limit: '2' } });
    await read(url, { spec, params: { limit: '2', scroll_param: 't' } });
    expect(asked).toEqual([first, second]);
  });
});
