/** `init` on real servers: right paging, right key, no false alarm, and `run` brings every row. */
import { execFile, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { parse } from 'yaml';
import { readDestination } from '../../src/cli/query.js';
import { freePorts } from '../../src/dev/ports.js';
import { installGo } from '../helpers/go.js';
import { highwater, scratch } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';
import { installNpm } from '../helpers/npm.js';
import { installPlayground, startPlayground } from '../helpers/playground.js';
import { installPython } from '../helpers/python.js';
import { testApi } from '../helpers/system.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

const ROWS = 257;

interface Running {
  /** Address of the list. */
  url: string;
  rows: number;
  stop: () => Promise<void>;
}

/** Starts a server and waits until it answers. */
async function started(command: string, args: string[], url: string): Promise<() => Promise<void>> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: folder.path });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  for (let tries = 0; tries < 300; tries++) {
    if (child.exitCode !== null) throw new Error(`the server did not start: ${said.slice(-1000)}`);
    if (
      await fetch(url).then(
        () => true,
        () => false,
      )
    )
      return stop;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await stop();
  throw new Error(`the server does not answer: ${said.slice(-1000)}`);
}

const port = async () => (await freePorts([0]))[0] ?? 0;
const records = Array.from({ length: ROWS }, (_, i) => ({
  id: i + 1,
  name: `n${i}`,
  updated_at: new Date(Date.UTC(2026, 0, 1) + i * 60_000).toISOString(),
}));

const playground = await installPlayground();
const jsonServer = await installNpm('json-server@0.17.4', 'json-server/lib/cli/bin.js');
const later = { available: false, reason: 'npm run test:long has it' } as const;
const datasette = LONG
  ? await installPython('datasette-0.65', ['datasette==0.65.*', 'setuptools<80'], ['datasette'])
  : later;
const kinto = LONG ? await installPython('kinto-1', ['kinto>=20', 'setuptools<80'], ['kinto']) : later;
const pocketBase = LONG
  ? await installGo('no PocketBase', 'github.com/pocketbase/pocketbase', 'examples/base', 'v0.36.8')
  : later;

async function startJsonServer(): Promise<Running> {
  if (!jsonServer.available) throw new Error(jsonServer.reason);
  const at = await port();
  await writeFile(folder.file('db.json'), JSON.stringify({ orders: records }));
  const bin = `${jsonServer.folder}/node_modules/json-server/lib/cli/bin.js`;
  const url = `http://127.0.0.1:${at}/orders`;
  const args = [bin, '--quiet', '--host', '127.0.0.1', '--port', String(at), 'db.json'];
  return { url, rows: ROWS, stop: await started(process.execPath, args, url) };
}

const FILL = `
import json, sqlite3, sys
c = sqlite3.connect('orders.db')
c.execute('create table orders (id integer primary key, name text, updated_at text)')
c.executemany('insert into orders values (:id, :name, :updated_at)', json.loads(sys.stdin.read()))
c.commit()
`;

async function startDatasette(): Promise<Running> {
  if (!datasette.available) throw new Error(datasette.reason);
  await new Promise<void>((resolve, reject) => {
    const child = spawn(datasette.python, ['-c', FILL], {
      cwd: folder.path,
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error('the database was not filled')),
    );
    child.stdin.end(JSON.stringify(records));
  });
  const at = await port();
  const url = `http://127.0.0.1:${at}/orders/orders.json`;
  const args = ['-m', 'datasette', 'serve', 'orders.db', '--port', String(at)];
  return { url, rows: ROWS, stop: await started(datasette.python, args, url) };
}

async function startKinto(): Promise<Running> {
  if (!kinto.available) throw new Error(kinto.reason);
  const at = await port();
  const settings = `[server:main]
use = egg:waitress
host = 127.0.0.1
port = ${at}
[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.bucket_create_principals = system.Everyone
kinto.bucket_read_principals = system.Everyone
kinto.bucket_write_principals = system.Everyone
`;
  await writeFile(folder.file('kinto.ini'), settings);
  const root = `http://127.0.0.1:${at}/v1`;
  const stop = await started(
    kinto.python,
    ['-c', 'from kinto.__main__ import main; main()', 'start', '--ini', 'kinto.ini', '--port', String(at)],
    root,
  );
  const send = async (method: string, path: string, body: object) => {
    const response = await fetch(root + path, {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  };
  await send('PUT', '/buckets/shop', {});
  await send('PUT', '/buckets/shop/collections/orders', {});
  const path = '/v1/buckets/shop/collections/orders/records';
  for (let from = 0; from < ROWS; from += 25) {
    const requests = records.slice(from, from + 25).map(({ name }) => ({ body: { data: { name } } }));
    await send('POST', '/batch', { defaults: { method: 'POST', path }, requests });
  }
  return { url: `${root}/buckets/shop/collections/orders/records`, rows: ROWS, stop };
}

async function startPocketBase(): Promise<Running> {
  if (!pocketBase.available) throw new Error(pocketBase.reason);
  const at = await port();
  const root = `http://127.0.0.1:${at}/api`;
  const data = ['--dir', folder.file('pocketbase')];
  const owner = { identity: 'owner@example.com', password: 'a-password-of-a-test' };
  await promisify(execFile)(pocketBase.program, [
    ...['superuser', 'upsert', owner.identity, owner.password],
    ...data,
  ]);
  const stop = await started(
    pocketBase.program,
    ['serve', '--http', `127.0.0.1:${at}`, ...data],
    `${root}/health`,
  );
  let token = '';
  const send = async (method: string, path: string, body: object) => {
    const response = await fetch(root + path, {
      method,
      headers: { 'content-type': 'application/json', authorization: token },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { token?: string };
  };
  ({ token = '' } = await send('POST', '/collections/_superusers/auth-with-password', owner));
  await send('POST', '/collections', {
    ...{ name: 'orders', type: 'base', listRule: '' },
    fields: [
      { name: 'name', type: 'text' },
      { name: 'updated', type: 'autodate', onCreate: true, onUpdate: true },
    ],
  });
  for (const { name } of records) await send('POST', '/collections/orders/records', { name });
  return { url: `${root}/collections/orders/records`, rows: ROWS, stop };
}

async function startReference(): Promise<Running> {
  if (!playground.available) throw new Error(playground.reason);
  const server = await startPlayground(playground.python);
  const { total } = (await (await fetch(`${server.url}/pagination/offset`)).json()) as { total: number };
  return { url: `${server.url}/pagination/page_number`, rows: total, stop: () => server.stop() };
}

async function startSample(): Promise<Running> {
  const { url, stop } = await testApi();
  return { url: `${url}/pagination/next_page_url`, rows: 200, stop };
}

const ready = { available: true } as const;
const SERVERS: [
  name: string,
  install: { available: boolean },
  start: () => Promise<Running>,
  keys: object,
][] = [
  [
    'json-server',
    jsonServer,
    startJsonServer,
    {
      strategy: 'page_number',
      records: '$',
      names: { page: '_page', limit: '_limit' },
      total: { header: 'x-total-count' },
    },
  ],
  [
    'Datasette',
    datasette,
    startDatasette,
    { strategy: 'cursor', records: 'rows', next: 'link', params: { _shape: 'objects' } },
  ],
  [
    'Kinto',
    kinto,
    startKinto,
    {
      strategy: 'cursor',
      records: 'data',
      next: { header: 'next-page', is: 'url' },
      cursor_field: 'last_modified',
      cursor_format: 'epoch_ms',
    },
  ],
  [
    'PocketBase',
    pocketBase,
    startPocketBase,
    {
      strategy: 'page_number',
      records: 'items',
      names: { page: 'page', limit: 'perPage' },
      total: 'totalItems',
    },
  ],
  [
    'the reference API',
    playground,
    startReference,
    {
      strategy: 'page_number',
      names: { page: 'page', limit: 'per_page', updated_since: 'updated_since' },
      page_size: 50,
    },
  ],
  [
    'the sample API',
    ready,
    startSample,
    { strategy: 'cursor', next: { url: 'next_page_url' }, total: 'total_items' },
  ],
];

describe('a first table without an editor', () => {
  test.for(SERVERS)('%s', async ([name, install, start, keys], { skip }) => {
    if (!install.available) skip('reason' in install ? String(install.reason) : 'not installed');
    const server = await start();
    const file = `${name.replace(/\W+/g, '_')}.yaml`;
    const options = {
      cwd: folder.path,
      env: { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path },
    };
    try {
      const made = await highwater(['init', server.url, '--file', file, '--name', 'orders'], options);
      expect(made.status, made.stdout + made.stderr).toBe(0);
      expect(made.stdout).not.toMatch(/^ {2}[!✗]/m);
      const [command = ''] = made.stdout.trim().split('\n').slice(-1);
      expect(command.trim()).toBe(`npx highwater run ${file}`);
      const written = parse(await readFile(folder.file(file), 'utf8')) as {
        destination: string;
        streams: object[];
      };
      expect(written.streams).toMatchObject([{ ...keys, primary_key: 'id' }]);
      const run = await highwater(command.trim().split(' ').slice(2), options);
      expect(run.status, run.stderr).toBe(0);
      const { rows } = await readDestination(
        folder.file(written.destination),
        'SELECT count(*)::INT FROM orders',
      );
      expect(rows).toEqual([[server.rows]]);
    } finally {
      await server.stop();
    }
  });
});
