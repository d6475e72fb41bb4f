/** With a key, the Temporal server holds nothing that could be read; with it, everything works as without. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { HighwaterClient } from '../../src/client.js';
import { target } from '../../src/connection.js';
import { dataConverterFrom } from '../../src/payloads/converter.js';
import type { Json } from '../../src/protocol.js';
import {
  CLI,
  difference,
  EQUAL,
  highwater,
  historyText,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { LONG } from '../helpers/long.js';

const address = inject('temporalAddress');
const key = (id: string) => ({ HIGHWATER_PAYLOAD_KEY: `${id}:${randomBytes(32).toString('base64')}` });
const KEY = key('first');
/** Stands in the configuration, as words that must not be seen. */
const MARK = 'whispered';
const taskQueue = uniqueName('encrypted');
const id = uniqueName('encrypted-users');

let api: TestApi;
let folder: Awaited<ReturnType<typeof scratch>>;
let worker: WorkerProcess;
let client: HighwaterClient;

const configuration = (more: { [name: string]: Json } = {}): { [name: string]: Json } => ({
  source: { base_url: api.url, headers: { 'X-Mark': MARK } },
  destination: folder.file('users.duckdb'),
  interval: '1h',
  streams: [
    {
      ...{ name: 'user', path: '/pagination/keyset', strategy: 'keyset', primary_key: 'id' },
      ...{ cursor_field: 'updatedAt', ...more },
    },
  ],
});
const run = (env: NodeJS.ProcessEnv, ...args: string[]) =>
  highwater(args, {
    env: { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.path, ...env },
    cwd: folder.path,
  });

beforeAll(async () => {
  [api, folder] = await Promise.all([testApi({ rows: 60 }), scratch()]);
  worker = await startWorker({ address, taskQueue, env: KEY });
  client = await HighwaterClient.connect(target(address), await dataConverterFrom(KEY));
  await client.start(configuration(), { workflowId: id, taskQueue });
  await until(async () => (await client.sync(id).progress()).status === 'sleeping', 30, 'the first pass');
});
afterAll(async () => {
  await client.close();
  await worker.end();
  await api.stop();
  await folder.remove();
});

test('every command works with the key', async () => {
  expect(await difference(api.client, folder.file('users.duckdb'))).toEqual(EQUAL);
  const [status, list, set] = await Promise.all([
    run(KEY, 'status', id),
    run(KEY, 'list', '--query', `WorkflowId = "${id}"`),
    run(KEY, 'set', id, 'interval=90m'),
  ]);
  expect(status.stdout).toMatch(/^✓ up to date: .* · next pass in \d+m\nstream +user · keyset/);
  expect(list.stdout).toMatch(new RegExp(`^${id} +sleeping +keyset`, 'm'));
  expect(set).toMatchObject({ status: 0, stdout: `${id}: interval=1.5h\n` });
  await writeFile(folder.file('c.json'), JSON.stringify(configuration()));
  const times = ['--id', `${id}-nightly`, '--cron', '0 3 * * *', '--paused', '--task-queue', taskQueue];
  expect(await run(KEY, 'schedule', 'create', 'c.json', ...times)).toMatchObject({ status: 0 });
  const [logs, replayed, schedules, withoutKey, paused] = await Promise.all([
    run(KEY, 'logs', id),
    run(KEY, 'replay', id),
    run(KEY, 'schedule', 'list'),
    run({}, 'schedule', 'list'),
    run(KEY, 'pause', id, '--json'),
  ]);
  expect(logs.stdout).toMatch(/ batch 1 · 6\d records · .*: 60 rows written$/m);
  expect(logs.stdout).toMatch(/ set \{"interval":"90m"\} requested by /);
  expect(replayed).toMatchObject({ status: 0, stderr: '' });
  expect(schedules.stdout).toMatch(new RegExp(`^${id}-nightly +paused +0 3 \\* \\* \\* \\(UTC\\)`, 'm'));
  expect(withoutKey.stdout).toMatch(new RegExp(`^${id}-nightly +paused +by calendar`, 'm'));
  expect(JSON.parse(paused.stdout)).toMatchObject({ done: true, status: 'paused' });
  await client.sync(id).resume();
}, 60_000);

test('a failure says what it says with the key, and nothing on the server', async () => {
  const failing = uniqueName('encrypted-failing');
  const { interval: _, ...once } = configuration({ path: '/nowhere', table: 'nothing' });
  const sync = await client.start(once, { workflowId: failing, taskQueue });
  await expect(sync.result()).rejects.toThrow(/^the source answered 404/);
  const [withKey, logs] = await Promise.all([run(KEY, 'status', failing), run(KEY, 'logs', failing)]);
  expect(withKey.stdout).toMatch(/^✗ failed: .* · the source answered 404/);
  expect(logs.stdout).toMatch(/✗ failed: the source answered 404/);
  const plain = await HighwaterClient.connect(target(address), {});
  for (const one of [failing, id]) {
    const history = await plain.temporal.workflow.getHandle(one).fetchHistory();
    const text = historyText(history);
    expect(text).toContain('first');
    // What is meant to be found by is not encrypted, and says so: docs/deploying.md.
    for (const word of [MARK, api.url, 'base_url', 'nowhere', 'answered', 'batch 1', '90m', 'records'])
      expect(text, `${one}: ${word}`).not.toContain(word);
  }
  await plain.close();
});

test.skipIf(!LONG)(
  'without the key, or with another, commands say what to do',
  async () => {
    const [status, list, logs, replayed, set, wrong, broken] = await Promise.all([
      ...[['status', id], ['list'], ['logs', id], ['replay', id], ['set', id, 'rate=2']].map((args) =>
        run({}, ...args),
      ),
      run({ HIGHWATER_PAYLOAD_KEY: KEY.HIGHWATER_PAYLOAD_KEY.replace('first:', 'other:') }, 'status', id),
      run({ HIGHWATER_PAYLOAD_KEY: 'first:short' }, 'status', id),
    ]);
    const said = 'is encrypted with the key "first", and this process has no key. Set HIGHWATER_PAYLOAD_KEY';
    // Other syncs than the encrypted one are listed too.
    expect(list).toMatchObject({ status: 0 });
    expect(list?.stdout).toContain(id);
    expect(list?.stderr.replace(/\s+/g, ' ')).toContain(said);
    for (const answer of [status, logs, replayed, set]) {
      expect(answer).toMatchObject({ status: 1, stdout: '' });
      expect(answer?.stderr).toContain(said);
    }
    expect(wrong?.stderr).toContain('the key "first", and this process has "other" only. Set');
    expect(broken).toMatchObject({ status: 1 });
    expect(broken?.stderr).toMatch(/^highwater: HIGHWATER_PAYLOAD_KEY has no usable key in entry 1: /);
  },
  60_000,
);

test('a worker without the key says so in the history, and one with it goes on', async () => {
  const [workflowId, queue] = [uniqueName('encrypted-strange'), uniqueName('strange')];
  const { interval: _, ...once } = configuration({ table: 'strange' });
  const stranger = await startWorker({ address, taskQueue: queue });
  const sync = await client.start(
    { ...once, destination: folder.file('strange.duckdb') },
    { workflowId, taskQueue: queue },
  );
  let logs = '';
  await until(
    async () => (logs = (await run(KEY, 'logs', workflowId)).stdout).includes('could not continue'),
    30,
    'the worker to say so',
  );
  expect(logs.replace(/\s+/g, ' ')).toContain(
    'the worker could not continue the workflow: this is encrypted with the key "first", and this process has no key. Set HIGHWATER',
  );
  expect(stranger.said()).toContain('and this process has no key');
  await stranger.end();
  const friend = await startWorker({ address, taskQueue: queue, env: KEY });
  expect(await sync.result()).toMatchObject({ status: 'completed', streams: [{ rows: 60 }] });
  await friend.end();
}, 60_000);

test('the codec server decodes for the Temporal CLI and for the Web UI, and for nobody else', async () => {
  const origin = 'http://127.0.0.1:8233';
  const env = envWithoutTemporal({ ...KEY, TEMPORAL_ADDRESS: address });
  const args = ['codec-server', '--port', '0', '--origin', origin, '--json'];
  const server: ChildProcess = spawn(process.execPath, [CLI, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(server.stdout as NonNullable<typeof server.stdout>, 'data')) as [Buffer];
  const { endpoint } = JSON.parse(said.toString()) as { endpoint: string };
  // Signals without arguments are in the history too.
  await client.sync(id).pause();
  await client.sync(id).resume();

  const show = [
    ...['workflow', 'show', '--workflow-id', id, '--output', 'json'],
    ...['--address', address, '--command-timeout', '60s'],
  ];
  const { stdout } = await promisify(execFile)(
    inject('temporalCli'),
    [...show, '--codec-endpoint', endpoint],
    {
      env: envWithoutTemporal(),
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  expect(historyText(JSON.parse(stdout))).toContain(MARK);

  const ask = (
    path: string,
    headers: { [name: string]: string },
    method = 'POST',
    body = '{"payloads":[]}',
  ) =>
    new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }>(
      (resolve, reject) => {
        const sent = request(new URL(path, endpoint), { method, headers }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (part: string) => (text += part));
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
          );
        });
        sent.on('error', reject);
        sent.end(method === 'POST' ? body : undefined);
      },
    );
  const { pathname } = new URL(endpoint);
  const token = decodeURIComponent(pathname.slice(1));
  const fromUi = await ask(`${pathname}/decode`, { Origin: origin });
  expect(fromUi).toMatchObject({ status: 200, text: '{"payloads":[]}' });
  expect(fromUi.headers['access-control-allow-origin']).toBe(origin);
  const preflight = await ask(`${pathname}/decode`, { Origin: origin }, 'OPTIONS');
  expect(preflight.status).toBe(204);
  expect(preflight.headers['access-control-allow-headers']).toContain('X-Namespace');
  expect(await ask('/decode', { Authorization: `Bearer ${token}` })).toMatchObject({ status: 200 });
  const there = Buffer.from('json/plain').toString('base64');
  const plain = JSON.stringify({ payloads: [{ metadata: { encoding: there }, data: 'MQ==' }] });
  const { text: sealed } = await ask(`${pathname}/default/encode`, {}, 'POST', plain);
  expect(sealed).not.toContain(there);
  expect(JSON.parse((await ask(`${pathname}/decode`, {}, 'POST', sealed)).text)).toEqual(JSON.parse(plain));
  // As the Temporal CLI asks of a signal without arguments.
  expect(await ask(`${pathname}/decode`, {}, 'POST', '{}')).toMatchObject({
    status: 200,
    text: '{"payloads":[]}',
  });
  const refused = await Promise.all([
    ask('/decode', {}),
    ask('/guessed/decode', { Authorization: 'Bearer guessed' }),
    ask(`${pathname}/decode`, { Origin: 'https://evil.example' }),
    ask(`${pathname}/decode`, { Host: 'evil.example:8081' }),
    ask(`${pathname}/decode`, {}, 'GET'),
    ask(`${pathname}/elsewhere`, {}),
    ask(`${pathname}/decode`, {}, 'POST', 'nonsense'),
  ]);
  expect(refused.map(({ status }) => status)).toEqual([401, 401, 403, 403, 405, 404, 400]);
  server.kill('SIGTERM');
  expect(await once(server, 'exit')).toEqual([0, null]);
}, 60_000);
