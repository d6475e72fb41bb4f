/**
 * Attacks from the position of one who may start workflows and has no login on the worker's machine, against a worker
 * that trusts none of them: docs/security.md.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type HighwaterClient, SyncFailedError } from '../../src/client.js';
import type { Json, OpenedStream, StreamPlan, StreamResult } from '../../src/protocol.js';
import { connect, scratch, startWorker, uniqueName, until, type WorkerProcess } from '../helpers/harness.js';

import { VAULT_TOKEN, vaultLike, type Provider } from '../helpers/providers.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

type Configuration = { [key: string]: Json };

let folder: Awaited<ReturnType<typeof scratch>>;
let client: HighwaterClient;
let none: WorkerProcess;
let local: WorkerProcess;
let vault: Provider;
const servers: Server[] = [];
/** The API that the owner lists. */
let api: string;
/** A server of the owner's own that only listens on loopback: nothing of these syncs may ever reach it. */
let inside: string;
let insidePort: number;
const reached: string[] = [];
/** Requests to the API: address and headers. */
const asked: { url: string; headers: IncomingMessage['headers'] }[] = [];

const page = (next: string | null = null) =>
  JSON.stringify({ data: [{ id: '1', updatedAt: '2026-01-01T00:00:00Z' }], next });

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  folder = await scratch();
  for (const name of ['secrets', 'data', 'data/allowed', 'hooks']) await mkdir(folder.file(name));
  await writeFile(folder.file('secrets/token'), 'token-from-a-file\n');
  await writeFile(folder.file('outside'), 'not-for-configurations');
  await symlink(folder.file('outside'), folder.file('secrets/link'));
  await writeFile(
    folder.file('hooks/own.mjs'),
    "export const sign = () => ({ 'x-signed': 'by the owner' });",
  );
  await writeFile(
    folder.file('data/evil.mjs'),
    `import { writeFileSync } from 'node:fs';
     writeFileSync(${JSON.stringify(folder.file('proof'))}, 'ran');
     export const sign = () => ({});`,
  );
  await symlink(folder.file('data/evil.mjs'), folder.file('hooks/evil.mjs'));

  insidePort = await listen((request, response) => {
    reached.push(request.url ?? '');
    response.end(page());
  });
  inside = `http://127.0.0.1:${insidePort}`;
  const apiPort = await listen((request, response) => {
    const url = request.url ?? '';
    asked.push({ url, headers: request.headers });
    const to = new URL(url, 'http://h');
    if (to.pathname === '/redirect')
      return void response.writeHead(302, { location: to.searchParams.get('to') ?? '' }).end();
    if (to.pathname === '/next') return void response.end(page(to.searchParams.get('to')));
    response.end(page());
  });
  api = `http://127.0.0.1:${apiPort}`;

  vault = await vaultLike();
  vault.secrets.set('kv/highwater/api', { data: { token: 'token-from-vault' } });
  vault.secrets.set('kv/other', { data: { token: 'not-for-configurations' } });

  const env = {
    ...{ VAULT_ADDR: vault.url, VAULT_TOKEN, VAULT_NAMESPACE: 'team' },
    ...{ HW_TOKEN: 'token-from-the-environment', OTHER_TOKEN: 'not-for-configurations' },
    ...{ HIGHWATER_SECRETS: folder.file('secrets'), HIGHWATER_HOOKS: folder.file('hooks') },
  };
  const address = inject('temporalAddress');
  const owned = (name: string) => ({
    address,
    taskQueue: uniqueName(name),
    destination: folder.file(`data/${name}.duckdb`),
  });
  const allow = ['--allow-env', 'HW_*', '--allow-hosts', `public,127.0.0.1:${apiPort}`];
  allow.push('--allow-secrets', 'vault:kv/highwater/*');
  allow.push('--allow-destinations', folder.file('data/allowed/*.duckdb'));
  none = await startWorker({ ...owned('none'), env, flags: ['--trust', 'none', ...allow] });
  local = await startWorker({ ...owned('local'), env });
  client = await connect(address);
});
afterAll(async () => {
  await client.close();
  await Promise.all([none.end(), local.end()]);
  await vault.stop();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await folder.remove();
});

const configuration = (base_url: string, more: Configuration = {}): Configuration => ({
  strategy: 'timestamp',
  base_url,
  table: uniqueName('t').replaceAll('-', '_'),
  columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
  ...more,
});

/** The full form, which has `auth`, `next` and more. */
const full = (
  source: Configuration,
  stream: Configuration = {},
  more: Configuration = {},
): Configuration => ({
  source,
  streams: [
    {
      ...{
        name: uniqueName('s').replaceAll('-', '_'),
        path: '/page',
        strategy: 'timestamp',
        cursor_field: 'updatedAt',
      },
      ...{ columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' }, ...stream },
    },
  ],
  ...more,
});

async function synced(given: Configuration, worker = none): Promise<StreamResult> {
  const handle = await client.start(given, { taskQueue: worker.taskQueue, workflowId: uniqueName('trust') });
  const [stream] = (await handle.result()).streams;
  return stream as StreamResult;
}

/** What the worker says to a configuration that it refuses. */
async function refusal(given: Configuration, worker = none): Promise<SyncFailedError> {
  const begun = Date.now();
  const thrown: unknown = await synced(given, worker).then(
    (done) => new Error(`it was not refused: ${JSON.stringify(done)}`),
    (error: unknown) => error,
  );
  if (!(thrown instanceof SyncFailedError)) throw thrown;
  expect(thrown.type, thrown.message).toBe('NotAllowedError');
  expect(thrown.message).toContain("The worker's owner can");
  // Not tried again and again: the list does not change by itself.
  expect(Date.now() - begun).toBeLessThan(40_000);
  return thrown;
}

const attackers = (path: string, to: string) => `${api}${path}?to=${encodeURIComponent(to)}`;

describe('a worker that trusts none', () => {
  test('says so in its first line, and what lists there are; one on loopback says that it is local', () => {
    expect(none.said()).toMatch(/^Trust: none\. Configurations may use only what --allow-env/);
    expect(local.said()).toMatch(
      /^Trust: local \(the Temporal server is at 127\.0\.0\.1:\d+\)\. Anyone who can start workflows has the rights of this worker/,
    );
  });

  test('runs a sync of a listed source with a listed variable and a listed file, into its own destination', async () => {
    const { rows } = await synced(
      configuration(`${api}/listed?a=\${env:HW_TOKEN}&b=\${file:${folder.file('secrets/token')}}`),
    );
    expect(rows).toBe(1);
    const { url } = asked.find((one) => one.url.startsWith('/listed')) ?? { url: '' };
    expect(url).toContain('a=token-from-the-environment&b=token-from-a-file');
  });

  test('gives away no variable that is not listed', async () => {
    const { message } = await refusal(configuration(`${api}/variable?x=\${env:OTHER_TOKEN}`));
    expect(message).toContain('environment variable OTHER_TOKEN');
    expect(message).toContain('--allow-env OTHER_TOKEN, or with HIGHWATER_ALLOW_ENV');
    await refusal(configuration(`${api}/variable?x=\${env:PATH}`));
    await refusal(full({ base_url: api, auth: { type: 'bearer', token: '${env:OTHER_TOKEN}' } }));
    expect(asked.filter(({ url }) => url.startsWith('/variable'))).toEqual([]);
    expect(JSON.stringify(asked)).not.toContain('not-for-configurations');
  });

  test('reads no file outside the listed folder: by its path, by .., by a link', async () => {
    const paths = [
      folder.file('outside'),
      `${folder.file('secrets')}/../outside`,
      folder.file('secrets/link'),
      '/etc/passwd',
    ];
    for (const path of paths) {
      const { message } = await refusal(configuration(`${api}/file?x=\${file:${path}}`));
      expect(message).toContain(`may not use the file ${path}`);
      expect(message).not.toContain('not-for-configurations');
    }
    expect(asked.filter(({ url }) => url.startsWith('/file'))).toEqual([]);
  });

  test('reads no secret of Vault that is not listed', async () => {
    const { rows } = await synced(configuration(`${api}/vault?x=\${vault:kv/highwater/api#token}`));
    expect(rows).toBe(1);
    expect(asked.map(({ url }) => url).find((url) => url.startsWith('/vault'))).toContain(
      'x=token-from-vault',
    );
    const { message } = await refusal(configuration(`${api}/vaults?x=\${vault:kv/other#token}`));
    expect(message).toContain(
      'base_url: configurations on this worker may not use the secret vault:kv/other',
    );
    expect(message).toContain('--allow-secrets vault:kv/other, or with HIGHWATER_ALLOW_SECRETS');
    await refusal(configuration(`${api}/vaults?x=\${aws-sm:other}`));
    await refusal(
      configuration(`${api}/page`, { destination: 'postgresql://u:${vault:kv/other#token}@h/d' }),
    );
    expect(vault.asked).toEqual(['kv/highwater/api']);
  });

  test('writes to no destination that is not listed, and makes no folder on the way', async () => {
    const { message } = await refusal(
      configuration(`${api}/page`, { destination: folder.file('new/x.duckdb') }),
    );
    expect(message).toContain(`--allow-destinations ${folder.file('new/x.duckdb')}`);
    expect(existsSync(folder.file('new'))).toBe(false);
    await refusal(
      configuration(`${api}/page`, { destination: `${folder.file('data/allowed')}/../x.duckdb` }),
    );
    await refusal(configuration(`${api}/page`, { destination: `files:${folder.file('lake')}` }));
    await refusal(configuration(`${api}/page`, { destination: 'postgresql://u@127.0.0.1:1/db' }));
    await refusal(configuration(`${api}/page`, { destination: 's3://bucket/x?endpoint=http://127.0.0.1:1' }));
    for (const path of ['data/x.duckdb', 'lake']) expect(existsSync(folder.file(path))).toBe(false);
  });

  test('writes to a destination that is listed', async () => {
    const destination = folder.file('data/allowed/listed.duckdb');
    expect((await synced(configuration(`${api}/page`, { destination }))).rows).toBe(1);
    expect(existsSync(destination)).toBe(true);
  });

  test('asks no source on loopback or a private network, however it is written', async () => {
    for (const host of ['127.0.0.1', 'localhost', '127.1', '0.0.0.0', '[::ffff:127.0.0.1]', '[::1]']) {
      const { message } = await refusal(configuration(`http://${host}:${insidePort}/source`));
      expect(message).toContain('--allow-hosts public,127.0.0.1:');
    }
    for (const host of ['10.0.0.1', '192.168.1.1', '172.16.0.1', '100.64.0.1', '169.254.1.1', '[fd00::1]'])
      await refusal(configuration(`http://${host}/source`));
    expect(reached).toEqual([]);
  });

  test('follows no redirect there', async () => {
    for (const host of ['127.0.0.1', 'localhost', '[::ffff:7f00:1]']) {
      const { message } = await refusal(
        configuration(attackers('/redirect', `http://${host}:${insidePort}/redirected`)),
      );
      expect(message).toContain(`:${insidePort}`);
    }
    expect(reached).toEqual([]);
  });

  test('follows no next link there, even where the configuration lists that host', async () => {
    for (const host of ['127.0.0.1', 'localhost']) {
      const to = `${host}:${insidePort}`;
      await refusal(
        full(
          { base_url: api },
          {
            ...{ path: `/next?to=${encodeURIComponent(`http://${to}/next`)}`, strategy: 'cursor' },
            ...{ next: { url: 'next' }, next_hosts: [to] },
          },
        ),
      );
    }
    expect(reached).toEqual([]);
  });

  test('signs in nowhere that is not listed', async () => {
    const login = { url: `${inside}/login`, body: { user: 'x' } };
    const session = { type: 'session', login };
    const { message } = await refusal(full({ base_url: api, auth: session }));
    expect(message).toContain(`127.0.0.1:${insidePort}`);
    const oauth = {
      ...{ type: 'oauth2', token_url: `${inside}/token`, client_id: 'x', client_secret: '${env:HW_TOKEN}' },
    };
    await refusal(full({ base_url: api, auth: oauth }));
    expect(reached).toEqual([]);
  });

  test('calls no webhook that is not listed', async () => {
    const given = configuration(`${api}/page?x=\${env:OTHER_TOKEN}`, { notify: { url: `${inside}/hook` } });
    const handle = await client.start(given, { taskQueue: none.taskQueue, workflowId: uniqueName('trust') });
    await handle.result().catch(() => undefined);
    const { events } = await client.temporal.workflow.getHandle(handle.workflowId).fetchHistory();
    const failed = (events ?? []).map(({ activityTaskFailedEventAttributes: one }) => one?.failure);
    expect(failed.map((failure) => failure?.message).join('\n')).toContain(
      'may not use the host of notify.url',
    );
    expect(reached).toEqual([]);
  });

  test("loads a hook of the owner's folder, and none that a link leads away from it", async () => {
    const signedBy = (hook: string) =>
      full({ base_url: api, auth: { type: 'signature', hook } }, { path: '/signed' });
    expect((await synced(signedBy('own'))).rows).toBe(1);
    expect(asked.find(({ url }) => url.startsWith('/signed'))?.headers['x-signed']).toBe('by the owner');
    expect((await refusal(signedBy('evil'))).message).toContain('HIGHWATER_HOOKS');
    expect(existsSync(folder.file('proof'))).toBe(false);
  });

  test('goes on with what it has where a running sync is given a configuration that it refuses', async () => {
    const given = configuration(`${api}/configured`, { interval: '1h' });
    const handle = await client.start(given, { taskQueue: none.taskQueue, workflowId: uniqueName('trust') });
    const passes = () => asked.filter(({ url }) => url.startsWith('/configured')).length;
    await until(() => passes() > 0, 20, 'the first pass');
    await expect(
      handle.configure({ ...given, page_size: 7, base_url: `${api}/configured?x=\${env:OTHER_TOKEN}` }),
    ).rejects.toThrow('OTHER_TOKEN');
    const before = passes();
    await handle.trigger();
    await until(() => passes() > before, 20, 'another pass');
    await handle.cancel();
  });
});

describe('an activity that is executed by hand, without a workflow', () => {
  /** Runs `temporal activity execute`, which must fail, and returns what it says. */
  async function executed(type: string, input: unknown, taskQueue = none.taskQueue): Promise<string> {
    const args = ['activity', 'execute', '--type', type, '--activity-id', uniqueName('by-hand')];
    args.push('--task-queue', taskQueue, '--input', JSON.stringify(input), '--start-to-close-timeout', '20s');
    args.push('--schedule-to-close-timeout', '20s', '--address', inject('temporalAddress'));
    return promisify(execFile)(inject('temporalCli'), args, { env: envWithoutTemporal() }).then(
      ({ stdout }) => Promise.reject(new Error(`it was not refused: ${stdout}`)),
      (thrown: { stdout: string; stderr: string }) => thrown.stdout + thrown.stderr,
    );
  }

  test('sends no notice with a variable that is not listed, or to a host that is not', async () => {
    const notice = { id: 'x', event: 'failing', stream: 's', status: 'failing', type: 'T', message: 'm' };
    const input = { ...notice, since: '', nextTry: null, lagSeconds: null, completeAsOf: null, at: '' };
    for (const url of [`${api}/notice?x=\${env:OTHER_TOKEN}`, `${inside}/notice`])
      expect(await executed('sendNotice', { url, notice: input })).toMatch(
        /configurations on this worker may not use/,
      );
    expect([reached, asked.filter((one) => one.url.startsWith('/notice'))]).toEqual([[], []]);
  });

  test('opens no destination that is not listed', async () => {
    const input = {
      configuration: configuration(`${api}/page`, { destination: folder.file('opened.duckdb') }),
      ...{ stream: null, full: false, takeOver: false, firstRunId: 'x', expectDatabase: null },
    };
    expect(await executed('openStream', input)).toContain('--allow-destinations');
    expect(existsSync(folder.file('opened.duckdb'))).toBe(false);
  });

  test('fetches by a forged plan neither with a hook of another folder, nor from a host that is not listed', async () => {
    const handle = await client.start(configuration(`${api}/forged`), {
      ...{ taskQueue: none.taskQueue, workflowId: uniqueName('trust') },
    });
    await handle.result();
    const { events } = await client.temporal.workflow.getHandle(handle.workflowId).fetchHistory();
    const results = (events ?? []).flatMap(
      (event) => event.activityTaskCompletedEventAttributes?.result ?? [],
    );
    const [opened] = results.map(
      ({ payloads }) => JSON.parse(Buffer.from(payloads?.[0]?.data ?? '').toString()) as OpenedStream,
    );
    if (opened === undefined) throw new Error('the history has no opening');
    const { plan, destination, checkpoint, queue } = opened;
    const fetching = (forged: StreamPlan) =>
      executed(
        'fetchPages',
        {
          plan: forged,
          destination,
          base: checkpoint,
          budget: { rows: 10, bytes: 10_000, seconds: 5 },
          begin: true,
        },
        queue,
      );
    const auth = { type: 'signature' as const, hook: '../data/evil', settings: {} };
    expect(await fetching({ ...plan, request: { ...plan.request, auth } })).toMatch(/hook/);
    expect(existsSync(folder.file('proof'))).toBe(false);
    expect(await fetching({ ...plan, baseUrl: `${inside}/forged` })).toContain('--allow-hosts');
    expect(await fetching({ ...plan, baseUrl: `${api}/forged?x=\${env:OTHER_TOKEN}` })).toContain(
      'OTHER_TOKEN',
    );
    expect(reached).toEqual([]);
    expect(JSON.stringify(asked)).not.toContain('not-for-configurations');
  });
});

describe('a worker that trusts those who start workflows', () => {
  test('uses whatever is there, as before', async () => {
    const destination = folder.file('made/on/the/way.duckdb');
    const url = `${inside}/local?x=\${env:OTHER_TOKEN}&y=\${file:${folder.file('outside')}}`;
    expect((await synced(configuration(url, { destination }), local)).rows).toBe(1);
    expect(reached.splice(0)).toEqual([
      expect.stringContaining('x=not-for-configurations&y=not-for-configurations'),
    ]);
  });

  test('asks no address where a cloud keeps credentials, by itself or by a redirect; nor does one that trusts none', async () => {
    for (const worker of [local, none]) {
      for (const url of [
        ...[
          'http://169.254.169.254/latest/meta-data/',
          'http://[::ffff:169.254.169.254]/',
          'http://metadata.google.internal/',
        ],
        ...[
          'http://100.100.100.200/',
          'http://[fd00:ec2::254]/',
          attackers('/redirect', 'http://169.254.169.254/'),
        ],
      ]) {
        const { message } = await refusal(configuration(url), worker);
        expect(message).toContain('where the cloud provides the credentials of this machine');
      }
    }
  });
});
