/** Recordings of real servers: what they keep, what they leave out, and tests that run over them without the servers. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { DemoServer } from '../../src/dev/demo-api.js';
import type { Json } from '../../src/protocol.js';
import { differenceLines } from '../../src/recording/comparison.js';
import { NotRecordedError, RecordingError } from '../../src/recording/errors.js';
import { plainMembers, recordSync, type RecordOptions } from '../../src/recording/record.js';
import { testRecording } from '../../src/recording/test-recording.js';
import { SyncTestError, testSync, type Configuration } from '../../src/testing/sync.js';
import { configurationFor, scratch } from '../helpers/harness.js';

type Answer = (request: IncomingMessage & { text: string; at: URL }, response: ServerResponse) => unknown;

let servers: Server[] = [];
let folder: Awaited<ReturnType<typeof scratch>>;

beforeEach(async () => {
  folder = await scratch();
});

afterEach(async () => {
  closeServers();
  await folder.remove();
});

/** From here on no source answers. */
const closeServers = () => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  servers = [];
};

/** A real server; an answer that is no text is sent as JSON. */
async function serve(answer: Answer): Promise<string> {
  const server = createServer((request, response) => {
    void (async () => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const at = new URL(request.url ?? '/', 'http://127.0.0.1');
      const body = await answer(Object.assign(request, { text, at }), response);
      if (response.writableEnded) return;
      if (typeof body === 'string') response.end(body);
      else response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    })();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const recording = () => folder.file('sync.recording');

const record = (configuration: Json, more: Partial<RecordOptions> = {}) =>
  recordSync({
    configuration,
    plans: plansFrom(configuration),
    folder: recording(),
    pages: 100,
    environment: {},
    credentialsBeside: null,
    signal: new AbortController().signal,
    ...more,
  });

const test = (configuration: Json, more: { update?: boolean; stream?: string } = {}) =>
  testRecording({ configuration, folder: recording(), environment: {}, ...more });

/** Writes the expected rows, and runs the test. */
async function confirmed(configuration: Json) {
  await test(configuration, { update: true });
  return test(configuration);
}

/** All files of the recording, by their names. */
async function files(): Promise<Map<string, string>> {
  const names = (await readdir(recording())).filter((name) => name.endsWith('.json')).sort();
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(recording(), name), 'utf8')] as const),
    ),
  );
}

const list = (
  base_url: string,
  stream: { [key: string]: Json } = {},
  source: { [key: string]: Json } = {},
) => ({
  source: { base_url, ...source },
  streams: [
    {
      name: 'items',
      path: '/items',
      records: 'items',
      strategy: 'cursor',
      next: 'none',
      primary_key: 'id',
      ...stream,
    },
  ],
});

describe('a recording of the sample API', () => {
  it.each(['keyset', 'offset', 'timestamp', 'step_size', 'replay'] as const)(
    'runs the strategy %s to the same rows without the server',
    async (strategy) => {
      const server = new DemoServer({ rows: 120 });
      const configuration = configurationFor(strategy, `http://127.0.0.1:${await server.listen()}`);
      const recorded = await record(configuration);
      await server.close();
      expect(recorded.streams).toMatchObject([{ stream: 'user', isComplete: true }]);
      const tested = await confirmed(configuration);
      expect(tested).toMatchObject({ passed: true, unused: [] });
      expect(tested.tables[0]?.rows).toHaveLength(120);
      expect(tested.streams[0]?.pages).toBe(recorded.streams[0]?.pages);
    },
  );

  it('ends at the limit of pages, as the test does', async () => {
    const server = new DemoServer({ rows: 120 });
    const configuration = configurationFor('offset', `http://127.0.0.1:${await server.listen()}`, {
      page_size: 20,
    });
    const recorded = await record(configuration, { pages: 2 });
    await server.close();
    expect(recorded.streams).toMatchObject([{ pages: 2, isComplete: false }]);
    const tested = await confirmed(configuration);
    expect(tested).toMatchObject({ passed: true, streams: [{ pages: 2, isComplete: false }] });
  });
});

describe('a recording', () => {
  it('asks for the same times again: a test runs as if it were the time of the recording', async () => {
    const url = await serve(() => ({ items: [{ id: 1, at: '2026-01-01T00:00:00Z' }], total: 1 }));
    const configuration = list(url, {
      strategy: 'page_number',
      next: null,
      total: 'total',
      cursor_field: 'at',
      names: { updated_since: 'from', updated_until: 'to' },
    });
    const [stream] = configuration.streams as { [key: string]: Json }[];
    delete stream?.['next'];
    await record(configuration);
    closeServers();
    expect([...(await files()).values()][0]).toMatch(/to=20\d\d-/);
    expect(await confirmed(configuration)).toMatchObject({ passed: true });
  });

  it('reads children for each of the recorded parents', async () => {
    const url = await serve(({ at }) => {
      const [, order, lines] = /^\/orders\/(\d+)\/(lines)$/.exec(at.pathname) ?? [];
      if (lines !== undefined) return { lines: [1, 2].map((n) => ({ order_id: Number(order), n })) };
      const page = Number(at.searchParams.get('page') ?? 1);
      return { orders: page > 3 ? [] : [0, 1].map((i) => ({ id: page * 10 + i })) };
    });
    const configuration = {
      source: { base_url: url },
      streams: [
        {
          name: 'lines',
          parent: { stream: 'orders' },
          path: '/orders/${parent:id}/lines',
          records: 'lines',
          strategy: 'cursor',
          next: 'none',
          primary_key: ['order_id', 'n'],
        },
        { name: 'orders', path: '/orders', records: 'orders', strategy: 'page_number', primary_key: 'id' },
      ],
    };
    const recorded = await record(configuration, { pages: 2 });
    closeServers();
    expect(recorded.streams).toMatchObject([
      { stream: 'orders', pages: 2, isComplete: false },
      { stream: 'lines', pages: 2, isComplete: false },
    ]);
    expect(await confirmed(configuration)).toMatchObject({ passed: true });
    const whole = await test(configuration);
    expect(whole.tables.map(({ name, rows }) => [name, rows.length])).toEqual([
      ['orders', 4],
      ['lines', 4],
    ]);
  });

  it('fills child tables, whose rows are compared by their own keys', async () => {
    const data = [
      { id: 1, tags: ['a', 'b'], lines: [{ sku: 'x', qty: 1 }] },
      { id: 2, tags: [], lines: [{ sku: 'x', qty: 2 }] },
    ];
    const url = await serve(() => ({ data }));
    const lines = { from: 'lines', include: { order: 'id' }, primary_key: ['order', 'sku'] };
    const children = { lines, tags: { from: 'tags', include: { order: 'id' }, index: 'n' } };
    const paging = { strategy: 'cursor', next: 'none', misfits: 'evolve' };
    const stream = { name: 'orders', path: '/', primary_key: 'id', children, ...paging };
    const configuration = { source: { base_url: url }, streams: [stream] };
    await record(configuration);
    closeServers();
    const { passed, tables } = await confirmed(configuration);
    expect(passed).toBe(true);
    expect(tables.map(({ name, rows }) => [name, rows.length])).toEqual([
      ['orders', 2],
      ['orders_lines', 2],
      ['orders_tags', 2],
    ]);
    const expected = folder.file('sync.recording/expected/orders_lines.json');
    const { rows, key } = JSON.parse(await readFile(expected, 'utf8')) as { rows: Json[]; key: string[] };
    expect(key).toEqual(['order', 'sku']);
    await writeFile(expected, (await readFile(expected, 'utf8')).replace('"qty":2', '"qty":3'));
    expect(rows).toHaveLength(2);
    const changed = await test(configuration);
    expect(changed.passed).toBe(false);
    expect(changed.tables.map(({ difference }) => difference?.changed.length ?? 0)).toEqual([0, 1, 0]);
  });

  it('keeps refusals and waits, which a test does not wait for', async () => {
    const statuses = [503, 429, 200];
    const url = await serve((_, response) => {
      const status = statuses.shift() ?? 200;
      response.statusCode = status;
      if (status === 429) response.setHeader('retry-after', '1');
      return status === 200 ? { items: [{ id: 1 }] } : { error: 'later' };
    });
    const waits: string[] = [];
    const configuration = list(url);
    await record(configuration, { onWait: (seconds) => void waits.push(`${seconds}`) });
    closeServers();
    expect(waits).toHaveLength(2);
    expect([...(await files()).values()].flatMap((text) => /"status": (\d+)/.exec(text)?.[1] ?? [])).toEqual([
      '503',
      '429',
      '200',
    ]);
    const began = performance.now();
    expect(await confirmed(configuration)).toMatchObject({ passed: true, unused: [] });
    expect(performance.now() - began).toBeLessThan(3000);
  });

  it('keeps every digit, of packed answers too, and texts that are no JSON', async () => {
    const digits =
      '{"items":[{"id":9007199254740993,"amount":0.1000000000000000055511151231257827,"rate":1.50}]}';
    const url = await serve(({ at }, response) => {
      if (at.pathname === '/table') return 'id,name\r\n1,"a\nb"\r\n2,ü\r\n';
      response.setHeader('content-encoding', 'gzip').setHeader('content-type', 'application/json');
      return response.end(gzipSync(digits));
    });
    const plain = list(url, { columns: { id: 'LONG', amount: 'DECIMAL(38,34)', rate: 'DOUBLE' } });
    const configuration = {
      ...plain,
      streams: [
        ...plain.streams,
        { name: 'table', path: '/table', format: 'csv', strategy: 'cursor', next: 'none', primary_key: 'id' },
      ],
    };
    await record(configuration);
    closeServers();
    const text = [...(await files()).values()].join('\n');
    for (const exact of ['9007199254740993', '0.1000000000000000055511151231257827', '1.50'])
      expect(text).toContain(exact);
    const tested = await confirmed(configuration);
    expect(tested.passed).toBe(true);
    expect(tested.tables.map(({ rows }) => rows)).toMatchObject([
      [{ id: '9007199254740993', amount: '0.1000000000000000055511151231257827', rate: 1.5 }],
      [{ name: 'a\nb' }, { name: 'ü' }],
    ]);
  });

  it('replaces an earlier one and leaves the expected rows; it replaces nothing else', async () => {
    const url = await serve(() => ({ items: [{ id: 1 }] }));
    await record(list(url));
    await test(list(url), { update: true });
    await record(list(url));
    expect([...(await files()).keys()]).toEqual(['0001-items.json', 'recording.json']);
    expect(await test(list(url))).toMatchObject({ passed: true });
    const other = folder.file('other');
    await mkdir(other);
    await writeFile(join(other, 'work.txt'), 'mine');
    await expect(record(list(url), { folder: other })).rejects.toThrow(
      /other holds something other than a recording, such as work\.txt: name another folder with --out/,
    );
  });

  it('leaves a folder beside it alone, whatever its name', async () => {
    const url = await serve(() => ({ items: [{ id: 1 }] }));
    const beside = `${recording()}.new`;
    await mkdir(beside);
    await writeFile(join(beside, 'work.txt'), 'mine');
    await record(list(url));
    await record(list(url));
    expect(await readFile(join(beside, 'work.txt'), 'utf8')).toBe('mine');
    expect((await readdir(folder.file('.'))).sort()).toEqual(['sync.recording', 'sync.recording.new']);
  });

  it('that fails leaves the earlier one as it is', async () => {
    let isBroken = false;
    const url = await serve((_, response) => {
      if (isBroken) response.statusCode = 404;
      return { items: [{ id: 1 }] };
    });
    await record(list(url));
    const before = await files();
    isBroken = true;
    await expect(record(list(url))).rejects.toThrow(/stream items: the source answered 404/);
    expect(await files()).toEqual(before);
    expect(await readdir(join(recording(), '..'))).not.toContain('sync.recording.new');
  });
});

describe('secrets', () => {
  const SECRETS = {
    TOKEN: 'tk_6f1b2c3d4e5f60718293',
    USERNAME: 'reader@example.com',
    PASSWORD: 'correct horse/battery',
    ACCOUNT: 'acc-55-7781',
    REGION: 'eu',
  };
  const environment = { ...SECRETS };

  /** No file holds a secret, in plain or as an address writes it. */
  async function expectNone(...secrets: string[]): Promise<void> {
    for (const [name, text] of await files())
      for (const secret of secrets)
        for (const written of [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')])
          expect(text.includes(written) ? `${name}: ${written}` : '').toBe('');
  }

  it('of headers, addresses and bodies are left out, also where an answer repeats them', async () => {
    const url = await serve(({ headers, at }, response) => {
      if (
        headers.authorization !== `Bearer ${SECRETS.TOKEN}` ||
        at.searchParams.get('account') !== SECRETS.ACCOUNT
      )
        response.statusCode = 401;
      response.setHeader('set-cookie', 'session=abcdef123456');
      const page = Number(at.searchParams.get('page') ?? 1);
      const next = page > 2 ? null : `${at.pathname}?account=${SECRETS.ACCOUNT}&page=${page + 1}`;
      return { items: [{ id: page, seen: `sent ${SECRETS.TOKEN}`, region: 'neutral' }], next };
    });
    const configuration = list(
      url,
      { next: { url: 'next' }, params: { account: '${env:ACCOUNT}', region: '${env:REGION}' } },
      { auth: { type: 'bearer', token: '${env:TOKEN}' } },
    );
    const { removed } = await record(configuration, { environment });
    closeServers();
    await expectNone(SECRETS.TOKEN, SECRETS.ACCOUNT, 'abcdef123456', `region=${SECRETS.REGION}`);
    expect([...removed.requestHeaders]).toContain('authorization');
    expect([...removed.responseHeaders]).toContain('set-cookie');
    expect([...removed.short]).toEqual(['${env:REGION}']);
    expect(removed.places).toBeGreaterThan(3);
    const tested = await confirmed(configuration);
    expect(tested).toMatchObject({ passed: true, streams: [{ pages: 3 }] });
    expect(tested.tables[0]?.rows[0]).toEqual({ id: 1, region: 'neutral', seen: 'sent ***' });
  });

  it('of a login are left out with the login; a test needs none', async () => {
    const sessions = ['sess-0001-aaaaaaaa', 'sess-0002-bbbbbbbb'];
    let logins = 0;
    const url = await serve(({ at, text, headers }, response) => {
      if (at.pathname === '/login') {
        expect(JSON.parse(text)).toEqual({ user: SECRETS.USERNAME, password: SECRETS.PASSWORD });
        return { session: { token: sessions[logins++], expires_in: 3600 } };
      }
      // The first one has been revoked.
      if (at.searchParams.get('sid') !== sessions[1] || headers['x-account'] !== SECRETS.ACCOUNT)
        response.statusCode = 401;
      return {
        items: response.statusCode === 401 ? [] : [{ id: 1, link: `/items/1?sid=${sessions[1] ?? ''}` }],
      };
    });
    const configuration = list(
      url,
      {},
      {
        headers: { 'x-account': '${env:ACCOUNT}' },
        auth: {
          type: 'session',
          login: { url: '/login', body: { user: '${env:USERNAME}', password: '${env:PASSWORD}' } },
          token: 'session.token',
          in: 'query',
          name: 'sid',
        },
      },
    );
    await record(configuration, { environment });
    closeServers();
    expect(logins).toBe(2);
    // The refused request and the login are not a part of it.
    expect([...(await files()).keys()]).toEqual(['0002-items.json', 'recording.json']);
    await expectNone(SECRETS.USERNAME, SECRETS.PASSWORD, SECRETS.ACCOUNT, ...sessions);
    const tested = await confirmed(configuration);
    expect(tested.passed).toBe(true);
    expect(tested.tables[0]?.rows).toEqual([{ id: 1, link: '/items/1?sid=***' }]);
  });

  it('of a login are left out wherever it is redirected to, and its token in a header of any name', async () => {
    const token = 'SESSIONTOKEN-1234567890';
    const url = await serve(({ at, text, headers }, response) => {
      if (at.pathname === '/login') {
        response.writeHead(307, { location: `/login2?ticket=t-0123456789` }).end();
        return '';
      }
      if (at.pathname === '/login2') return { session: token, you: text };
      if (headers['x-access'] !== `Bearer ${token}`) response.statusCode = 401;
      return { items: [{ id: 1, echo: `sent ${token}` }] };
    });
    const configuration = list(
      url,
      {},
      {
        auth: {
          type: 'session',
          login: { url: '/login', body: { user: '${env:USERNAME}', password: '${env:PASSWORD}' } },
          token: 'session',
          in: 'header',
          name: 'X-Access',
        },
      },
    );
    const { removed } = await record(configuration, { environment });
    closeServers();
    expect([...(await files()).keys()]).toEqual(['0001-items.json', 'recording.json']);
    await expectNone(SECRETS.USERNAME, SECRETS.PASSWORD, token);
    expect(removed.places).toBe(1);
    expect((await confirmed(configuration)).tables[0]?.rows).toEqual([{ id: 1, echo: 'sent ***' }]);
  });

  it('that a hook sends in a header of any name are left out', async () => {
    const key = 'k-0123456789-0123456789';
    await mkdir(folder.file('hooks'));
    await writeFile(folder.file('hooks/access.mjs'), `export const sign = () => ({ 'x-access': '${key}' });`);
    const url = await serve(({ headers }) => ({ items: [{ id: 1, echo: headers['x-access'] ?? '' }] }));
    const configuration = list(url, {}, { auth: { type: 'signature', hook: 'access' } });
    await record(configuration, {
      environment: { HIGHWATER_HOOKS: folder.file('hooks') },
    });
    await expectNone(key);
  });

  it('in answers that are not UTF-8 are left out', async () => {
    const secret = 'tök_6f1b2c3d4e5f60718293';
    let isBusy = true;
    const url = await serve((_, response) => {
      if (!isBusy) return { items: [{ id: 1 }] };
      isBusy = false;
      response.writeHead(503, { 'retry-after': '1', 'content-type': 'text/plain; charset=latin1' });
      response.end(Buffer.concat([Buffer.from(`café: ${secret}: `, 'latin1'), Buffer.from(secret)]));
      return '';
    });
    const configuration = list(url, {}, { headers: { 'x-a': '${env:T}' } });
    const { removed } = await record(configuration, { environment: { T: secret } });
    closeServers();
    expect(removed.places).toBe(2);
    const [first = ''] = [...(await files()).values()];
    const { response } = JSON.parse(first) as { response: { base64: string } };
    expect(Buffer.from(response.base64, 'base64').toString('latin1')).toBe('café: ***: ***');
    expect(await confirmed(configuration)).toMatchObject({ passed: true });
  });

  it('that sign addresses are left out of these, by their names; tokens of pages stay', async () => {
    const signed = ['PRESIGNED-0123456789', 'amz-signature-0123', 'at-0123456789'];
    const url = await serve(({ at }, response) => {
      if (at.pathname === '/items') {
        const query = `token=${at.searchParams.get('token') ?? ''}&sig=${signed[0] ?? ''}`;
        response.writeHead(302, { location: `/stored?${query}&X-Amz-Signature=${signed[1] ?? ''}` }).end();
        return '';
      }
      const isFirst = at.searchParams.get('token') === '';
      response.setHeader('link', `<http://x.example/?access_token=${signed[2] ?? ''}>; rel="first"`);
      return {
        items: [{ id: isFirst ? 1 : 2, file: `http://x.example/f?size=2&sig=${signed[0] ?? ''}` }],
        next: isFirst ? 'page-2' : null,
      };
    });
    const configuration = list(url, { next: { token: 'next' }, names: { scroll_param: 'token' } });
    const { removed } = await record(configuration);
    closeServers();
    await expectNone(...signed);
    expect(removed.places).toBeGreaterThan(5);
    const written = [...(await files()).values()].join('');
    expect(written).toContain('/stored?token=page-2&sig=***&X-Amz-Signature=***');
    const tested = await confirmed(configuration);
    expect(tested).toMatchObject({ passed: true, unused: [] });
    expect(tested.tables[0]?.rows.map((row) => row['file'])).toEqual(
      [1, 2].map(() => 'http://x.example/f?size=2&sig=***'),
    );
  });

  it('in the host are left out, and next links lead on', async () => {
    const url = await serve(({ at, headers }) => ({
      items: [{ id: Number(at.searchParams.get('page') ?? 1) }],
      next: at.searchParams.has('page') ? null : `http://${headers.host ?? ''}/items?page=2`,
    }));
    const port = new URL(url).port;
    const configuration = list(`http://\${env:HOST}:${port}`, { next: { url: 'next' } });
    await record(configuration, { environment: { HOST: '127.0.0.1' } });
    closeServers();
    await expectNone('127.0.0.1');
    expect(await confirmed(configuration)).toMatchObject({ passed: true, streams: [{ pages: 2 }] });
  });

  it('that are keys of hashes have placeholders; hashed members are named, since they are recorded', async () => {
    const url = await serve(() => ({ items: [{ id: 1, email: 'ann@example.com', ssn: '078-05-1120' }] }));
    const configuration = list(url, {
      columns: { id: 'LONG', email: { hash: 'sha256', key: '${env:PEPPER}' } },
      exclude: ['ssn'],
    });
    const { plans } = plansFrom(configuration);
    expect(plans.flatMap(plainMembers)).toEqual(['email', 'ssn']);
    await record(configuration, { environment: { PEPPER: 'a pepper of some length' } });
    closeServers();
    const tested = await confirmed(configuration);
    expect(tested.passed).toBe(true);
    expect(tested.tables[0]?.rows).toEqual([
      { id: 1, email: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
    ]);
  });

  it('in the body of a request are left out', async () => {
    const url = await serve(({ text }) => {
      const { after = 0 } = JSON.parse(text) as { after?: number };
      return { items: [{ id: after + 1 }], next: after > 0 ? null : after + 1 };
    });
    const configuration = list(url, {
      method: 'POST',
      body: { account: '${env:ACCOUNT}', after: '${cursor:scroll_param}' },
      next: { token: 'next' },
    });
    await record(configuration, { environment });
    closeServers();
    await expectNone(SECRETS.ACCOUNT);
    const text = [...(await files()).values()][0] ?? '';
    expect(text).toContain('"account": "***"');
    expect(await confirmed(configuration)).toMatchObject({ passed: true, streams: [{ pages: 2 }] });
  });
});

describe('a test', () => {
  const records = [1, 2, 3].map((id) => ({ id, name: `name ${id}`, price: id / 4 }));
  const changed = () =>
    list('http://127.0.0.1:1', {
      columns: { id: 'LONG', name: { type: 'STRING', from: 'title' }, price: 'DOUBLE' },
    });

  async function recorded(answer: Json = { items: records }): Promise<{ [key: string]: Json }> {
    const configuration = list(await serve(() => answer));
    await record(configuration);
    closeServers();
    await test(configuration, { update: true });
    return configuration;
  }

  it('says which rows are missing, extra and changed, column by column', async () => {
    const configuration = await recorded();
    const [file = ''] = [...(await files()).keys()];
    const text = await readFile(join(recording(), file), 'utf8');
    await writeFile(
      join(recording(), file),
      text.replace('"name 2"', '"renamed"').replace('"id": 3', '"id": 4').replace('0.25', '0.5'),
    );
    const { passed, tables } = await test(configuration);
    expect(passed).toBe(false);
    expect(tables[0]?.difference).toMatchObject({
      missing: [{ id: 3 }],
      extra: [{ id: 4 }],
      changed: [
        { key: { id: 1 }, columns: { price: { expected: 0.25, actual: 0.5 } } },
        { key: { id: 2 }, columns: { name: { expected: 'name 2', actual: 'renamed' } } },
      ],
    });
  });

  it('of a changed configuration says which columns differ', async () => {
    await recorded();
    const error = await testSync(changed() as unknown as Configuration, { recording: recording() }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(SyncTestError);
    expect((error as Error).message).toContain(
      'items: 3 rows changed\n  changed  id=1\n    name: expected "name 1", is null',
    );
  });

  it.each([
    [{ primary_key: 'name' }, 'primary key changed', '  primary key: expected id, is name'],
    [{ primary_key: ['id', 'name'] }, 'primary key changed', '  primary key: expected id, is id, name'],
    [{ table: 'things' }, 'table renamed', '  table: expected main.items, is main.things'],
  ])('of a configuration with %j says so, though the rows are the same', async (stream, first, line) => {
    await recorded();
    const { passed, tables } = await test(list('http://127.0.0.1:1', stream));
    expect(passed).toBe(false);
    const [difference] = tables.flatMap((table) => table.difference ?? []);
    expect(difference && differenceLines(difference)).toEqual([first, line]);
  });

  it('names a request that was not recorded, and the nearest one', async () => {
    const configuration = await recorded();
    const other = list('http://127.0.0.1:1', { path: '/items/all', params: { size: '5' } });
    await expect(test(other)).rejects.toThrow(NotRecordedError);
    await expect(test(other)).rejects.toThrow(
      'stream items sends a request that is not in the recording:\n  GET /items/all?size=5\n' +
        'the nearest recorded request is\n  GET /items\n  in 0001-items.json',
    );
    expect(await test(configuration)).toMatchObject({ passed: true });
  });

  it('finds a request whatever the order of its parameters', async () => {
    const url = await serve(() => ({ items: [] }));
    await record(list(url, { params: { a: '1', b: '2' } }));
    closeServers();
    expect(await confirmed(list(url, { params: { b: '2', a: '1' } }))).toMatchObject({ passed: true });
  });

  it('compares rejected records with their reasons', async () => {
    const columns = { columns: { id: 'LONG', price: 'DOUBLE' }, misfits: 'quarantine' };
    const configuration = list(
      await serve(() => ({
        items: [
          { id: 1, price: 'free' },
          { id: 2, price: 1 },
        ],
      })),
      columns,
    );
    await record(configuration);
    closeServers();
    const { tables } = await confirmed(configuration);
    expect(tables[0]).toMatchObject({
      difference: null,
      rows: [{ id: 2 }],
      rejected: [{}],
    });
    await writeFile(
      join(recording(), 'expected/items.json'),
      (await readFile(join(recording(), 'expected/items.json'), 'utf8')).replace(
        /"rejected": \[[^\]]*\]/,
        '"rejected": []',
      ),
    );
    expect((await test(configuration)).tables[0]?.difference).toMatchObject({
      extraRejects: [{}],
      missing: [],
    });
  });

  it.each(['append', 'history', 'replace'])('works in mode %s', async (mode) => {
    const configuration = list(await serve(() => ({ items: records })), { mode });
    await record(configuration, { pages: 1 });
    closeServers();
    const { passed, tables } = await confirmed(configuration);
    expect(passed).toBe(true);
    expect(tables[0]?.rows).toHaveLength(3);
  });

  it('needs a recording, and expected rows', async () => {
    const configuration = list('http://127.0.0.1:1');
    await expect(test(configuration)).rejects.toThrow(RecordingError);
    await expect(test(configuration)).rejects.toThrow(
      /there is no recording in .*: it has no recording\.json/,
    );
    const real = list(await serve(() => ({ items: records })));
    await record(real);
    await expect(test(real)).rejects.toThrow(
      /there are no expected rows for items .*write them with --update/,
    );
    await expect(test({ ...real, streams: [{ ...real.streams[0], name: 'others' }] })).rejects.toThrow(
      /has no recording of stream others; it has items/,
    );
  });

  it('fails where a table is expected and not written any more', async () => {
    const url = await serve(() => ({ items: records }));
    const [stream] = list(url).streams;
    const both = { source: { base_url: url }, streams: [stream ?? {}, { ...stream, name: 'others' }] };
    await record(both);
    closeServers();
    await test(both, { update: true });
    const { passed, tables } = await test({ ...both, streams: [stream ?? {}] });
    expect(passed).toBe(false);
    expect(tables[1]).toMatchObject({
      name: 'others',
      difference: { missing: [{ id: 1 }, { id: 2 }, { id: 3 }] },
    });
    expect(await test(both, { stream: 'items' })).toMatchObject({ passed: true });
  });

  it('gives a program the rows', async () => {
    const configuration = await recorded();
    const tested = await testSync(configuration, { recording: recording() });
    expect(tested.tables['items']?.rows).toEqual(records);
    expect(tested.streams).toEqual([{ stream: 'items', pages: 1, records: 3, notes: [] }]);
    await expect(testSync(configuration)).rejects.toThrow('{ recording }');
  });
});
