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
import {
  MalformedAnswerError,
  RecordError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../../src/errors.js';
import { REFERENCE_REQUEST } from '../../src/config/flat.js';
import type { Auth, Json, RequestSpec } from '../../src/protocol.js';
import { Budget } from '../../src/sources/budget.js';
import { HttpSource, namedMaximum } from '../../src/sources/http.js';
import { InFlight } from '../../src/sources/in-flight.js';
import { resolveRequest } from '../../src/sources/references.js';
import type { PageAnswer, RecordSink } from '../../src/sources/source.js';
import { scratch } from '../helpers/harness.js';

const servers: Server[] = [];

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
  hooks?: string;
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
    ...(options.hooks !== undefined && { hooks: options.hooks }),
    primaryKey: ['id'],
    cursorField: 'updatedAt',
    columns: ['id', 'updatedAt'],
    timeoutSeconds: options.timeoutSeconds ?? 5,
  });
  const lines: string[] = [];
  const keys: string[] = [];
  const sink: RecordSink = async (bytes) => void lines.push(...bytes.toString('utf8').split('\n'));
  const signal = options.signal ?? new AbortController().signal;
  const answer = await source.read(
    { params: options.params ?? {}, ...(options.parent !== undefined && { parent: options.parent }) },
    async (bytes, records, longest) => {
      keys.push(...records.keys);
      await (options.sink ?? sink)(bytes, records, longest, records.records, []);
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

  it('takes a number for a token, and has no total where it is not what it should be', async () => {
    const { url } = await serve(always(200, page([], { scroll_param: 5, total: '7' })));
    expect(await read(url)).toMatchObject({ nextToken: '5', total: null, keys: [] });
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
      sink: async (bytes, n) => {
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
      sink: async (_, n) => {
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

describe('an error status', () => {
  it.each([400, 401, 403, 404, 410, 422])(
    '%i is refused for good, with request, status and words',
    async (status) => {
      const { url } = await serve(always(status, '{"error": "no such thing"}'));
      const thrown = await failure(`${url}/users`, { params: { offset: '5' } });
      expect(thrown).toBeInstanceOf(SourceRefusedError);
      expect(thrown).toMatchObject({ status, body: 'no such thing', retry: 'never' });
      expect(thrown.message).toMatch(
        new RegExp(
          `^the source answered ${status} [A-Za-z ]+: no such thing\n {2}request: GET ${url}/users\\?offset=5$`,
        ),
      );
    },
  );

  it.each([500, 502, 504, 408])('%i is worth trying again', async (status) => {
    const { url } = await serve(always(status, 'oops'));
    const thrown = await failure(url);
    expect(thrown).toBeInstanceOf(SourceUnavailableError);
    expect(thrown).toMatchObject({ retry: 'while it lasts' });
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
    expect(thrown.message).toContain('cannot be kept: /***?page=2');
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
    const options = { spec: { auth }, environment: { T: 's3cr3t' }, hooks: folder.path };
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
      expect(thrown.message).toContain('redirects to what is no HTTP address');
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
    expect(thrown.message).toMatch(/^the source cannot be read: \S/);
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
    expect((await failure(of, { parent: { id } })).message).toContain('would be another address');
    expect(asked).toHaveLength(1);
  });
});

describe('requests on their way', () => {
  it('get their turn in the order in which they asked for it', async () => {
    const limit = { requestsPerSecond: null, concurrency: 1, remainingHeader: null, resetHeader: null };
    const budget = Budget.of('in order', limit);
    const { signal } = new AbortController();
    const order: number[] = [];
    const take = async (number: number) => {
      const end = await budget.turn(signal);
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
    const budget = Budget.of('given up', limit);
    const abort = new AbortController();
    const end = await budget.turn(abort.signal);
    const waiting = budget.turn(abort.signal);
    const other = budget.turn(new AbortController().signal);
    abort.abort(new Error('given up'));
    await expect(waiting).rejects.toThrow('given up');
    end();
    (await other)();
    (await budget.turn(new AbortController().signal))();
  });

  it('are for one parent each, whatever else they have in common', async () => {
    const source = {
      read: ({ parent }: { parent?: object }) =>
        Promise.resolve({ nextToken: JSON.stringify(parent), total: null, more: null, undeclared: [] }),
    };
    const flights = InFlight.take('parents', source, new AbortController().signal);
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
