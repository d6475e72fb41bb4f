/** Waits and limits, against real servers: sources that refuse for a while, tables that others hold, a Temporal server that forgets. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Client as PgClient } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { freePorts } from '../../src/dev/ports.js';
import type { Json } from '../../src/protocol.js';
import { connect, highwater, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { startSystem, type System } from '../helpers/system.js';

// Most of the time here is waiting for time to pass.
vi.setConfig({ maxConcurrency: 10 });

type Config = { [key: string]: Json };
type Answer = (url: URL, response: ServerResponse, request: IncomingMessage) => unknown;

let system: System;
let folder: Awaited<ReturnType<typeof scratch>>;
const servers: Server[] = [];

beforeAll(async () => {
  folder = await scratch();
  system = await startSystem(inject('temporalAddress'), { PW: 'sesame' });
});
afterAll(async () => {
  await system.stop();
  await folder.remove();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(answer: Answer): Promise<{ url: string; requests: { path: string; at: number }[] }> {
  const requests: { path: string; at: number }[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    requests.push({ path: url.pathname + url.search, at: performance.now() });
    answer(url, response, request);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

const json = (response: ServerResponse, body: Json, headers: { [name: string]: string } = {}) =>
  response.writeHead(200, headers).end(JSON.stringify(body));

let count = 0;
const configuration = (url: string, stream: Config = {}, source: Config = {}): Config => {
  const name = `waits_${++count}`;
  return {
    source: { base_url: url, ...source },
    streams: [
      {
        ...{ name, path: '/rows', primary_key: 'id', records: '$', columns: { id: 'LONG' } },
        ...(stream['strategy'] === undefined && { strategy: 'cursor', next: 'link' }),
        ...stream,
      },
    ],
  };
};

const ROWS = [{ id: 1 }, { id: 2 }];
const SESSION: Config = {
  auth: { type: 'session', login: { url: '/login', body: { p: '${env:PW}' } }, token: 't' },
};
const oauth2 = (url: string): Config => ({
  auth: { type: 'oauth2', token_url: `${url}/login`, client_id: 'c', client_secret: '${env:PW}' },
});

describe.concurrent('a login that is refused with 429', () => {
  test.each(['session', 'oauth2', 'session, through a redirect'])(
    '(%s) waits, and then goes on',
    async (how) => {
      let logins = 0;
      const api = await serve((url, response) => {
        if (url.pathname === '/rows') return json(response, ROWS);
        if (url.pathname === '/login' && how.includes('redirect'))
          return response.writeHead(307, { location: '/elsewhere' }).end();
        if (logins++ === 0)
          return response.writeHead(429, { 'retry-after': '4 seconds' }).end('{"error":"slow"}');
        return json(response, { t: 'token-of-one', access_token: 'token-of-one' });
      });
      const sync = await system.start(
        configuration(api.url, {}, how === 'oauth2' ? oauth2(api.url) : SESSION),
      );
      await until(async () => (await sync.progress()).status === 'waiting', 20, 'the wait');
      expect((await sync.progress()).waiting?.reason).toBe('the login was answered with 429: slow');
      expect((await sync.result()).streams[0]).toMatchObject({ records: 2 });
      expect(logins).toBe(2);
    },
  );

  test('is said in words by check and preview', async () => {
    const api = await serve((_, response) => response.writeHead(429, { 'retry-after': '90' }).end());
    const file = folder.file('login.json');
    await writeFile(file, JSON.stringify(configuration(api.url, {}, SESSION)));
    const env = { PW: 'sesame' };
    const [check, preview] = await Promise.all([
      highwater(['check', file], { env }),
      highwater(['preview', file], { env }),
    ]);
    const words = /the source asks to wait 1\.5m, until 20\d\d-\S+: the login was answered with 429/;
    expect(check.stdout.replace(/\s+/g, ' ')).toMatch(words);
    expect(preview.stderr).toMatch(words);
    expect([check.status, preview.status]).toEqual([1, 1]);
  });
});

test.concurrent(
  'a source that does not say for how long is asked ever less often, until a page is read',
  async () => {
    let refusals = 3;
    const api = await serve((url, response) => {
      if (url.searchParams.get('page') === '3' && refusals-- > 0)
        return response.writeHead(429, { 'retry-after': 'a while' }).end();
      if (url.searchParams.get('page') === '1' && refusals === 3 && api.requests.length < 3)
        return response.writeHead(429, { 'x-ratelimit-reset': '1000000000' }).end();
      return json(response, url.searchParams.get('page') === '4' ? [] : [{ id: api.requests.length }]);
    });
    const result = await system.sync(configuration(api.url, { strategy: 'page_number', in_flight: 1 }));
    expect(result.records).toBe(3);
    const gaps = api.requests.map(({ at }, i) =>
      i === 0 ? 0 : (at - (api.requests[i - 1]?.at ?? 0)) / 1000,
    );
    const waits = gaps.filter((gap) => gap > 0.9);
    // Twice for the first page, three times for the third. A busy machine makes a wait longer, never shorter.
    expect(waits.map((gap) => Math.floor(Math.log2(gap * 1.05)))).toEqual([0, 1, 0, 1, 2]);
  },
);

test.concurrent('resume ends a wait that headers of an answer asked for', async () => {
  const api = await serve((url, response) => {
    const page = Number(url.searchParams.get('page'));
    return json(response, page > 2 ? [] : [{ id: page }], {
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(Math.floor(Date.now() / 1000) + 3600),
    });
  });
  const sync = await system.start(configuration(api.url, { strategy: 'page_number', in_flight: 1 }));
  // The last page is empty, and asked for twice.
  for (let wait = 1; wait <= 3; wait++) {
    const asked = () => api.requests.length === wait;
    await until(async () => asked() && (await sync.progress()).status === 'waiting', 20, `wait ${wait}`);
    const { waiting } = await sync.progress();
    expect(waiting?.reason).toBe('no requests until then (x-ratelimit-remaining: 0)');
    expect(Date.parse(waiting?.until ?? '') - Date.now()).toBeGreaterThan(3500_000);
    await sync.resume();
  }
  await until(() => Promise.resolve(api.requests.length === 4), 20, 'the last page again');
  await until(async () => (await sync.status()) === 'COMPLETED', 20, 'the end');
});

describe.concurrent('search attributes that the server has forgotten', () => {
  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  /** A server whose state is in memory. */
  const start = async (port: number): Promise<ChildProcess> => {
    const args = ['server', 'start-dev', '--headless', '--port', String(port), '--log-level', 'never'];
    const fast = ['--dynamic-config-value', 'history.workflowTaskRetryMaxInterval="2s"'];
    const child = spawn(inject('temporalCli'), [...args, ...fast], { stdio: 'ignore' });
    children.push(child);
    await until(
      () =>
        connect(`127.0.0.1:${port}`).then(
          async (client) => {
            await client.temporal.workflow.count();
            await client.close();
            return true;
          },
          () => false,
        ),
      30,
      'the server',
    );
    return child;
  };
  const operator = (address: string, ...args: string[]) =>
    spawnSync(inject('temporalCli'), ['operator', 'search-attribute', ...args, '--address', address]);

  test('are registered again: nothing is blocked', { timeout: 170_000 }, async () => {
    const [port = 0] = await freePorts([0]);
    const address = `127.0.0.1:${port}`;
    const api = await serve((_, response) => json(response, ROWS));
    let server = await start(port);
    const taskQueue = uniqueName('forgotten');
    const destination = folder.file('forgotten.duckdb');
    const worker = await startWorker({ address, taskQueue, destination });
    const passes = async (client: Awaited<ReturnType<typeof connect>>, id: string, n: number) =>
      until(
        async () =>
          (await client
            .sync(id)
            .progress()
            .then(({ totals }) => totals.passes)
            .catch(() => 0)) >= n,
        60,
        `pass ${n} of ${id}`,
      );
    const running: Config = { ...configuration(api.url), interval: '1s' };
    try {
      let client = await connect(address);
      await client.start(running, { taskQueue, workflowId: 'first' });
      await passes(client, 'first', 2);

      // An operator takes one away while a sync that has seen it goes on.
      expect(operator(address, 'remove', '--name', 'HighwaterStatus', '--yes').status).toBe(0);
      const { totals } = await client.sync('first').progress();
      await client.sync('first').pause();
      await until(async () => (await client.sync('first').progress()).status === 'paused', 60, 'the pause');
      await client.sync('first').resume();
      await passes(client, 'first', totals.passes + 3);
      await until(
        () => Promise.resolve(String(operator(address, 'list').stdout).includes('HighwaterStatus')),
        30,
        'HighwaterStatus',
      );
      await client.close();

      // The server begins anew, while the worker lives on.
      const gone = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGKILL');
      await gone;
      server = await start(port);
      client = await connect(address);
      await client.start(running, { taskQueue, workflowId: 'second' });
      await passes(client, 'second', 3);
      const found = client.temporal.workflow.list({
        query: `HighwaterStream = '${String((running['streams'] as Config[])[0]?.['name'])}'`,
      });
      const ids: string[] = [];
      await until(
        async () => {
          for await (const one of found) ids.push(one.workflowId);
          return ids.length > 0;
        },
        30,
        'the sync by its attribute',
      );
      expect(ids[0]).toBe('second');
      await client.close();
    } finally {
      await worker.end('SIGKILL');
    }
  });
});

const install = await installPostgres();
describe
  .skipIf(!install.available)
  .concurrent(
    `a table of PostgreSQL that others hold${install.available ? '' : ` (skipped: ${install.reason})`}`,
    () => {
      let server: PostgresServer;
      const clients: PgClient[] = [];
      beforeAll(async () => {
        if (install.available) server = await startPostgres(install.bin);
      });
      afterAll(async () => {
        for (const client of clients) await client.end();
        await server.stop();
      });
      const session = async () => {
        const client = new PgClient({ connectionString: server.url, application_name: 'report' });
        client.on('error', () => undefined);
        await client.connect();
        clients.push(client);
        return client;
      };

      test.each<[string, Config]>([
        ['a declared column', { columns: { id: 'LONG', more: 'STRING' } }],
        ['a column that follows from the records', { misfits: 'evolve' }],
      ])('is changed for %s without readers queueing for longer than two seconds', async (_, changed) => {
        let rows: Config[] = ROWS;
        const api = await serve((_url, response) => json(response, rows));
        const base = configuration(api.url, 'misfits' in changed ? changed : {});
        const destination = server.url;
        const [stream] = base['streams'] as Config[];
        const table = String(stream?.['name']);
        await system.sync({ ...base, destination });
        const holder = await session();
        await holder.query(`BEGIN; SELECT * FROM ${table}`);

        rows = [{ id: 3, more: 'x' }];
        const sync = await system.start({ ...base, destination, streams: [{ ...stream, ...changed }] });
        const reader = await session();
        const waits: number[] = [];
        const from = performance.now();
        const elapsed = () => performance.now() - from;
        let said = '';
        while (elapsed() < 8000 || (said === '' && elapsed() < 40_000)) {
          const before = performance.now();
          await reader.query(`SELECT count(*) FROM ${table}`);
          waits.push(performance.now() - before);
          said = (await sync.work()).retry?.message ?? said;
          await delay(20);
        }
        expect(Math.max(...waits)).toBeLessThan(2000);
        // It did ask for its lock.
        expect(Math.max(...waits)).toBeGreaterThan(500);
        expect(said).toMatch(
          /the table .* cannot be changed while others use it: process \d+ \(user highwater, application report, idle in transaction, in its transaction for \d+ s\) holds AccessShareLock/,
        );
        await holder.query('COMMIT');
        await sync.result();
        expect((await reader.query(`SELECT more FROM ${table} WHERE id = 3`)).rows).toEqual([{ more: 'x' }]);
      });
    },
  );

test.each([1, 2])(
  'children of 25 parents with %i page(s) each and in_flight 8 are asked for once',
  async (pages) => {
    const api = await serve((url, response) => {
      if (url.pathname === '/rows') {
        return json(
          response,
          Array.from({ length: 25 }, (_, i) => ({ id: i + 1 })),
        );
      }
      const parent = Number(url.pathname.split('/').at(-1));
      const page = Number(url.searchParams.get('page') ?? 1);
      const next = `<?page=${page + 1}>; rel="next"`;
      // Lists of some parents are empty.
      const list = parent % 5 === 0 ? [] : [{ id: parent * 100 + page }];
      setTimeout(() => json(response, list, page < pages ? { link: next } : {}), (parent * 13) % 40);
    });
    const { streams, ...rest } = configuration(api.url) as Config & { streams: Config[] };
    const [parents] = streams as [Config & { name: string }];
    const name = `children_${++count}`;
    const child = {
      ...parents,
      name,
      path: '/of/${parent:id}',
      parent: { stream: parents.name },
      in_flight: 8,
    };
    const handle = await system.start({ ...rest, streams: [parents, { ...child, batch_rows: 7 }] });
    const result = (await handle.result()).streams.find(({ stream }) => stream === name);
    expect(result).toMatchObject({ records: 20 * pages, pages: 25 * pages });
    const asked = api.requests.map(({ path }) => path).filter((path) => path.startsWith('/of/'));
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked).toHaveLength(25 * pages);
  },
);

test(
  'a configuration of 60 streams with 200 columns each, a megabyte in all, runs to its end',
  { timeout: 170_000 },
  async () => {
    const api = await serve((_, response) => json(response, ROWS));
    const columns = Object.fromEntries(
      Array.from({ length: 200 }, (_, i) => [`a_column_with_a_long_name_${i}`, 'STRING']),
    );
    const headers = { 'x-note': 'x'.repeat(8000) };
    const prefix = `wide_${++count}`;
    const streams = Array.from({ length: 60 }, (_, i) => ({
      ...{ name: `${prefix}_${i}`, path: `/rows/${i}`, strategy: 'cursor', next: 'link', records: '$' },
      ...{ primary_key: 'id', columns: { id: 'LONG', ...columns }, headers },
    }));
    const sync = { name: 'wide', max_streams: 8 };
    const handle = await system.start({ sync, source: { base_url: api.url }, streams });
    const result = await handle.result();
    expect(result.status).toBe('completed');
    expect(result.streams).toHaveLength(60);
    const { raw } = await system.client.temporal.workflow.getHandle(handle.workflowId).describe();
    expect(Number(raw.workflowExecutionInfo?.historySizeBytes)).toBeLessThan(4_000_000);
  },
);

test(
  'a sync of many and large streams that go on is started, and configured, in messages that a server takes',
  { timeout: 170_000 },
  async () => {
    // Nothing is read: the source makes all of them wait.
    const api = await serve((_, response) => response.writeHead(429, { 'retry-after': '3600' }).end());
    const headers = { 'x-note': 'x'.repeat(6000), 'x-more': 'x'.repeat(6000) };
    const prefix = `large_${++count}`;
    const streams = Array.from({ length: 75 }, (_, i) => ({ name: `${prefix}_${i}`, path: `/rows/${i}` }));
    const defaults = {
      ...{
        strategy: 'cursor',
        next: 'link',
        records: '$',
        primary_key: 'id',
        columns: { id: 'LONG' },
        headers,
      },
    };
    const whole = { source: { base_url: api.url }, interval: '1h', defaults, streams };
    const handle = await system.start(whole);
    const last = system.client.sync(`${handle.workflowId}/${prefix}_74`);
    const status = () =>
      last.progress().then(
        ({ status }) => status as string,
        () => '',
      );
    await until(async () => (await status()) === 'waiting', 120, 'the last stream');
    expect(await last.configuration()).toEqual({ ...whole, streams: streams.slice(-1) });
    await system.client.temporal.workflow.getHandle(handle.workflowId).terminate();
  },
);
