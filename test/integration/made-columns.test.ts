/**
 * Made columns by whole syncs, from a real server into each destination; and a search for the plain text of what is
 * hashed, masked and left out, everywhere that a sync leaves something.
 */
import { createHash, createHmac } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { query } from '../../src/cli/query.js';
import { asConfiguration } from '../../src/config/index.js';
import { SyncFailedError, type HighwaterClient } from '../../src/client.js';
import type { Json } from '../../src/protocol.js';
import {
  connect,
  highwater,
  historyText,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { LONG } from '../helpers/long.js';

const install = await installPostgres();
const PEPPER = 'pepper-of-the-tests-91c';
const COUNT = 30;
/** Every text that must not be stored holds this word. */
const PLAIN = 'PLAINTEXT';

/** A record as JSON text; some are odd on purpose. */
function record(i: number): string {
  const plain = `${PLAIN}${i}`;
  const contact = `{"email":"${plain}@x.org","phone":"${plain}","n":${i}.50}`;
  const text =
    `{"id":"r${i}","first":"F${i}","last":${i % 5 === 0 ? 'null' : `"L${i}"`},"email":"${plain}@x.org","card":"${plain}-1234",` +
    `"ssn":"${plain}","contact":${contact},"lines":[{"price":"${plain}","sku":"s${i}"}],"big":900719925474099${i % 10}`;
  // A member twice, and a name with an escape.
  if (i % 7 === 3) return `${text},"ssn":"${plain}-again"}`;
  return i % 7 === 4 ? `${text.replace('"ssn"', '"s\\u0073n"')}}` : `${text}}`;
}

const COLUMNS = {
  source: { value: 'eu' },
  full_name: { expression: "first + ' ' + last", type: 'STRING' },
  email: { hash: 'sha256', key: '${env:PEPPER}' },
  card: { mask: 'last4' },
  reach: { from: 'contact.email', hash: 'sha256' },
};
const MADE = {
  misfits: 'evolve',
  columns: COLUMNS,
  exclude: ['ssn', 'contact.phone', 'lines.price'],
  raw: '_raw',
};

let server: Server;
let url: string;
let client: HighwaterClient;
let folder: Awaited<ReturnType<typeof scratch>>;
const workers: WorkerProcess[] = [];
/** How the server answers, by path. */
const bodies = new Map<string, string>();

beforeAll(async () => {
  server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://h');
    const own = bodies.get(pathname);
    const page = Number(searchParams.get('page') ?? 1);
    const records = Array.from({ length: COUNT }, (_, i) => record(i)).slice((page - 1) * 10, page * 10);
    response.setHeader('content-type', 'application/json');
    response.end(own ?? `{"data":[${records.join(',')}],"total":${COUNT}}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = await connect(inject('temporalAddress'));
  folder = await scratch();
});
afterAll(async () => {
  for (const worker of workers) await worker.end('SIGKILL');
  await client.close();
  server.close();
  await folder.remove();
});

const environment = { PEPPER, HIGHWATER_LOG: 'debug' };

async function workerFor(taskQueue: string, more: NodeJS.ProcessEnv = {}): Promise<WorkerProcess> {
  const env = { ...environment, HIGHWATER_HOME: folder.file('home'), ...more };
  const worker = await startWorker({ address: inject('temporalAddress'), taskQueue, env });
  workers.push(worker);
  return worker;
}

const configurationOf = (destination: string, stream: { [key: string]: Json }): { [key: string]: Json } => ({
  source: { base_url: url },
  destination,
  streams: [
    {
      name: 'people',
      path: '/people',
      strategy: 'page_number',
      page_size: 10,
      names: { limit: 'per_page' },
      total: 'total',
      primary_key: 'id',
      ...stream,
    },
  ],
});

/** Everything that Temporal keeps of a workflow, and that the command line says of it. */
async function everythingSaid(workflowId: string): Promise<string> {
  const handle = client.temporal.workflow.getHandle(workflowId);
  const env = { TEMPORAL_ADDRESS: inject('temporalAddress') };
  const status = await highwater(['status', workflowId], { env });
  const said = [historyText(await handle.fetchHistory()), JSON.stringify(await handle.describe())];
  return [...said, status.stdout, status.stderr].join('\n');
}

/** The content of all files below a folder. */
async function filesIn(path: string): Promise<string> {
  const names = await readdir(path, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile());
  const texts = await Promise.all(
    files.map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1')),
  );
  return texts.join('\n');
}

const hash = (text: string) => createHash('sha256').update(text).digest('hex');
const hmac = (text: string) => createHmac('sha256', PEPPER).update(text).digest('hex');

/** The rows as they are to be, as JSON: id and made columns, and what is left of the others. */
const wanted = Array.from({ length: COUNT }, (_, i) => ({
  id: `r${i}`,
  source: 'eu',
  full_name: i % 5 === 0 ? null : `F${i} L${i}`,
  email: hmac(`${PLAIN}${i}@x.org`),
  card: '***1234',
  reach: hash(`${PLAIN}${i}@x.org`),
  big: `900719925474099${i % 10}`,
})).sort((a, b) => (a.id < b.id ? -1 : 1));

const SELECT =
  'SELECT id, source, full_name, email, card, reach, CAST(big AS VARCHAR) AS big, CAST(_raw AS VARCHAR) AS raw, CAST(contact AS VARCHAR) AS contact, CAST(lines AS VARCHAR) AS lines';

type Row = Record<string, unknown>;

function expectRows(rows: Row[]): void {
  expect(rows.map(({ raw: _, contact: __, lines: ___, ...row }) => row)).toEqual(wanted);
  for (const [place, { raw, contact, lines }] of rows.entries()) {
    const { id, email, reach, card } = wanted[place] as (typeof wanted)[number];
    const i = id.slice(1);
    const kept = { email: reach, n: Number(`${i}.5`) };
    expect(JSON.parse(String(contact))).toEqual(kept);
    expect(JSON.parse(String(lines))).toEqual([{ sku: `s${i}` }]);
    expect(JSON.parse(String(raw))).toMatchObject({
      id,
      email,
      card,
      contact: kept,
      lines: [{ sku: `s${i}` }],
    });
    expect(JSON.parse(String(raw))).not.toHaveProperty('ssn');
    // As PostgreSQL and DuckDB write JSON, the digits of numbers stay.
    expect(String(raw)).toContain(`900719925474099${Number(i) % 10}`);
  }
}

const asRows = ({ columns, rows }: { columns: string[]; rows: Json[][] }): Row[] =>
  rows.map((row) => Object.fromEntries(row.map((value, i) => [columns[i] ?? '', value])));

/** A sync whose first worker is killed with batches staged, and a search of all that it has left at that time. */
async function syncedAfterKill(
  destination: string,
  name: string,
  stream: { [key: string]: Json } = MADE,
): Promise<string> {
  const taskQueue = uniqueName('made');
  const workflowId = uniqueName('made');
  const doomed = await workerFor(taskQueue, { HIGHWATER_FAULT: 'commit.before:1' });
  const handle = await client.start(asConfiguration(configurationOf(destination, stream)), {
    taskQueue,
    workflowId,
  });
  await until(() => doomed.child.signalCode === 'SIGKILL', 60, 'the worker to be killed');
  const left = await filesIn(folder.path);
  // What was staged is there, and it is what was searched.
  expect(left).toContain(hmac(`${PLAIN}1@x.org`));
  expect(left).not.toContain(PLAIN);
  const worker = await workerFor(taskQueue);
  const result = await handle.result();
  expect(result.streams[0]).toMatchObject({ records: COUNT });
  const said = [doomed.said(), worker.said(), JSON.stringify(result), await everythingSaid(workflowId)];
  expect(said.join('\n'), name).not.toContain(PLAIN);
  expect(said.join('\n'), name).not.toContain(PEPPER);
  expect(await filesIn(folder.path), name).not.toContain(PLAIN);
  return workflowId;
}

describe('made columns', () => {
  test('come into DuckDB, and no plain text stays anywhere', async () => {
    const destination = folder.file('made.duckdb');
    await syncedAfterKill(destination, 'duckdb');
    expectRows(asRows(await query(destination, `${SELECT} FROM people ORDER BY id`)));
    const { rows: tables } = await query(
      destination,
      "SELECT table_schema || '.\"' || table_name || '\"' FROM information_schema.tables",
    );
    expect(tables.length).toBeGreaterThan(4);
    for (const [table] of tables)
      expect(JSON.stringify((await query(destination, `SELECT * FROM ${String(table)}`)).rows)).not.toContain(
        PLAIN,
      );
  }, 120_000);

  test.skipIf(!LONG)(
    'come into child tables, and no plain text stays anywhere',
    async () => {
      const destination = folder.file('children.duckdb');
      const lines = {
        ...{ include: { id: 'id' }, primary_key: ['id', 'sku'] },
        columns: {
          sku: 'STRING',
          price: { hash: 'sha256', key: '${env:PEPPER}' },
          length: { expression: 'size(price)', type: 'LONG' },
        },
      };
      const exclude = ['ssn', 'contact.phone'];
      await syncedAfterKill(destination, 'children', { ...MADE, exclude, children: { lines } });
      const { rows } = await query(destination, 'SELECT sku, price, length FROM people_lines ORDER BY sku');
      expect(rows).toEqual(
        Array.from({ length: COUNT }, (_, i) => [`s${i}`, hmac(`${PLAIN}${i}`), `${PLAIN}${i}`.length])
          .map(([sku, price, length]) => [sku, price, String(length)])
          .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
      );
    },
    120_000,
  );

  test.skipIf(!LONG)(
    'come into files, and no plain text stays anywhere',
    async () => {
      const destination = `files:${folder.file('lake')}?format=ndjson`;
      // Files take declared columns only.
      const declared = { id: 'STRING', contact: 'JSON', lines: 'JSON', big: 'LONG' };
      const columns = { ...declared, ...COLUMNS };
      await syncedAfterKill(destination, 'files', { ...MADE, misfits: 'freeze', columns });
      expectRows(asRows(await query(destination, `${SELECT} FROM people ORDER BY id`)));
    },
    120_000,
  );

  describe.skipIf(!install.available)('in PostgreSQL', () => {
    let postgres: PostgresServer;
    beforeAll(async () => {
      if (install.available) postgres = await startPostgres(install.bin);
    });
    afterAll(() => postgres.stop());

    test.skipIf(!LONG)(
      'come into tables, and no plain text stays anywhere',
      async () => {
        await postgres.query('CREATE DATABASE made');
        const destination = `postgresql://highwater@127.0.0.1:${postgres.port}/made`;
        await syncedAfterKill(destination, 'postgres');
        expectRows(await postgres.queryIn('made', `${SELECT} FROM people ORDER BY id COLLATE "C"`));
        const tables = await postgres.queryIn(
          'made',
          "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
        );
        for (const { name } of tables) {
          const rows = await postgres.queryIn('made', `SELECT t::text AS row FROM ${String(name)} AS t`);
          expect(JSON.stringify(rows)).not.toContain(PLAIN);
        }
      },
      120_000,
    );
  });
});

describe('a record that cannot be made', () => {
  const stream = {
    path: '/misfits',
    columns: { id: 'STRING', n: { expression: 'int(email)', type: 'LONG' }, email: { hash: 'sha256' } },
  };
  beforeAll(() => {
    const records = ['"7"', `"${PLAIN}"`, '"8"'].map((email, i) => `{"id":"m${i}","email":${email}}`);
    bodies.set('/misfits', `{"data":[${records.join(',')}],"total":3}`);
  });

  test('stops the sync, which names it and its column without its text', async () => {
    const taskQueue = uniqueName('made');
    const workflowId = uniqueName('made');
    const worker = await workerFor(taskQueue);
    const configuration = configurationOf(folder.file('stops.duckdb'), stream);
    const handle = await client.start(asConfiguration(configuration), { taskQueue, workflowId });
    const failed: unknown = await handle.result().catch((thrown: unknown) => thrown);
    expect(failed).toBeInstanceOf(SyncFailedError);
    const said = `${(failed as Error).message}\n${await everythingSaid(workflowId)}\n${worker.said()}`;
    expect(said).toContain(
      '"m1" does not fit: the expression of column "n" fails: int() needs a whole number',
    );
    expect(said).not.toContain(PLAIN);
  }, 60_000);

  test('goes to quarantine with its hash, and no retry stores it without the column', async () => {
    const taskQueue = uniqueName('made');
    await workerFor(taskQueue);
    const destination = folder.file('aside.duckdb');
    const configuration = configurationOf(destination, { ...stream, misfits: 'quarantine' });
    const handle = await client.start(asConfiguration(configuration), {
      taskQueue,
      workflowId: uniqueName('made'),
    });
    expect((await handle.result()).streams[0]).toMatchObject({ rejected: 1 });
    const file = folder.file('aside.json');
    await writeFile(file, JSON.stringify(configuration));
    const retried = await highwater(['rejects', '--retry', file, '--json'], { env: environment });
    expect(retried.status, retried.stderr).toBe(0);
    const rejects = await query(destination, 'SELECT reason, record FROM _highwater_rejects');
    const [[reason, aside]] = rejects.rows as [[string, string]];
    expect(reason).toContain('its columns could not be made');
    expect(JSON.parse(aside)).toEqual({ _highwater_refused: true, id: 'm1', email: hash(PLAIN) });
    expect((await query(destination, 'SELECT id, n FROM people ORDER BY id')).rows).toEqual([
      ['m0', '7'],
      ['m2', '8'],
    ]);
    const listed = await highwater(['rejects', '--destination', destination], {});
    expect(listed.stderr).toContain('1 of 1 record shown: a hook or an expression failed');
    const whole = { ...stream.columns, n: { expression: 'size(email)', type: 'LONG' } };
    const repaired = configurationOf(destination, { ...stream, columns: whole, misfits: 'quarantine' });
    const ids = { taskQueue, workflowId: uniqueName('made') };
    const again = await client.start(asConfiguration(repaired), { ...ids, full: true });
    await again.result();
    expect((await query(destination, 'SELECT count(*)::INT FROM people')).rows).toEqual([[3]]);
    expect((await query(destination, 'SELECT count(*)::INT FROM _highwater_rejects')).rows).toEqual([[0]]);
  }, 60_000);
});

test('An answer that cannot be read is quoted nowhere', async () => {
  bodies.set('/broken', `{"data":[{"id":"1","email":"a"},{"id":"2","email":${PLAIN}}],"total":2}`);
  const taskQueue = uniqueName('made');
  const workflowId = uniqueName('made');
  const worker = await workerFor(taskQueue);
  const stream = { ...MADE, path: '/broken', retry_for: '1s' };
  const handle = await client.start(asConfiguration(configurationOf(folder.file('broken.duckdb'), stream)), {
    taskQueue,
    workflowId,
  });
  const failed: unknown = await handle.result().catch((thrown: unknown) => thrown);
  const said = `${(failed as Error).message}\n${await everythingSaid(workflowId)}\n${worker.said()}`;
  expect(said).toContain('a text that is not shown');
  expect(said).not.toContain(PLAIN);
}, 60_000);

test('A change of how a column is made is noticed, and says what older rows lack', async () => {
  bodies.set('/changed', '{"data":[{"id":"1","at":"2026-01-01T00:00:00Z","email":"a"}]}');
  const taskQueue = uniqueName('made');
  await workerFor(taskQueue);
  const destination = folder.file('changed.duckdb');
  const stream = (made: { [key: string]: Json }) => ({
    path: '/changed',
    strategy: 'keyset',
    cursor_field: 'at',
    columns: { id: 'STRING', at: 'UTC_DATETIME', email: 'STRING', ...made },
  });
  const sync = async (made: { [key: string]: Json }) => {
    const whole = configurationOf(destination, stream(made));
    const [{ total: _, page_size: __, names: ___, ...one }] = whole['streams'] as [{ [key: string]: Json }];
    const configuration = { ...whole, streams: [one] };
    const handle = await client.start(asConfiguration(configuration), {
      taskQueue,
      workflowId: uniqueName('made'),
    });
    return (await handle.result()).streams[0]?.warnings.map(({ message }) => message).join('\n');
  };
  await sync({});
  expect(await sync({ email: { hash: 'sha256', key: '${env:PEPPER}' } })).toContain(
    'column email was read from email and is now the SHA-256 of email with the key ${env:PEPPER}',
  );
}, 60_000);
