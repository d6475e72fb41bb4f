import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, query } from '../../src/cli/query.js';
import { freePorts } from '../../src/dev/ports.js';
import {
  CLI,
  configurationFor,
  connect,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal, testServer, type TestServer } from '../helpers/temporal.js';
import { LONG } from '../helpers/long.js';

/** More than a worker could have in memory, or answer in seconds. */
const ENDLESS = `SELECT range AS n, repeat('x', 100) AS x FROM range(1000000000000)`;
/** Gives no row in the time that a test has. */
const BUSY = 'SELECT count(*) FROM range(1000000000000) AS a(n) WHERE n % 7 = 8';

let server: TestServer;
let api: TestApi;
let folder: Awaited<ReturnType<typeof scratch>>;
let destination: string;
let worker: WorkerProcess;
let health: string;
const syncs: string[] = [];

const sync = async (table: string): Promise<void> => {
  const client = await connect(server.address);
  try {
    const workflowId = uniqueName('query');
    syncs.push(workflowId);
    const configuration = { ...configurationFor('keyset', api.url), table };
    const handle = await client.start(configuration, { taskQueue: worker.taskQueue, workflowId });
    await handle.result();
  } finally {
    await client.close();
  }
};

beforeAll(async () => {
  [server, api, folder] = await Promise.all([testServer(), testApi(), scratch()]);
  destination = folder.file('highwater.duckdb');
  const [port = 0] = await freePorts([0]);
  health = `http://127.0.0.1:${port}/healthz`;
  worker = await startWorker({
    ...{ address: server.address, taskQueue: uniqueName('query'), destination },
    flags: ['--health-port', String(port)],
  });
  await sync('first');
});
afterAll(async () => {
  await worker.end('SIGKILL');
  await Promise.all([server.stop(), api.stop(), folder.remove()]);
});

const memoryOf = async (pid: number): Promise<number> => {
  const [, kilobytes = ''] = /^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
};
/** Seconds of processor time since its start. */
const workOf = async (pid: number): Promise<number> => {
  const [user = '', system = ''] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(' ').slice(13, 15);
  return (Number(user) + Number(system)) / 100;
};

/** Starts the command line with a reader of its own. */
const started = (args: string[], env: NodeJS.ProcessEnv = {}) => {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: envWithoutTemporal({ TEMPORAL_ADDRESS: server.address, ...env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const closed = once(child, 'exit').then(([status]) => ({ status: status as number | null, said }));
  return { child, closed, said: () => said };
};

describe('a query to the worker that owns the file', () => {
  it('is answered as it is read: neither the worker nor the command has the answer in memory, and probes are answered', async () => {
    const before = await memoryOf(worker.pid);
    const { child, closed } = started(['query', ENDLESS, '--json', '-d', destination]);
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
    let slowest = 0;
    while (bytes < 20 * 1024 * 1024) {
      const asked = performance.now();
      expect((await fetch(health)).status).toBe(200);
      slowest = Math.max(slowest, performance.now() - asked);
      await delay(20);
    }
    // A reader that stops does not make it grow, and others are answered meanwhile.
    child.stdout.pause();
    await delay(500);
    const [work, memory] = await Promise.all([workOf(worker.pid), memoryOf(worker.pid)]);
    await delay(500);
    expect((await workOf(worker.pid)) - work).toBeLessThan(0.25);
    expect(memory - before).toBeLessThan(150);
    expect(await memoryOf(child.pid ?? 0)).toBeLessThan(300);
    expect((await query(destination, 'SELECT count(*)::INT > 0 FROM first')).rows).toEqual([[true]]);
    await sync('second');
    // Nor does one that goes away leave it at work.
    child.stdout.destroy();
    expect(await closed).toEqual({ status: 0, said: '' });
    expect(slowest).toBeLessThan(1000);
  });

  it('ends when whoever asked is gone, also where no row was answered yet', async () => {
    const { child, closed } = started(['query', BUSY, '-d', destination]);
    const before = await workOf(worker.pid);
    await until(async () => (await workOf(worker.pid)) - before > 0.5, 20, 'the worker is at it');
    child.kill('SIGKILL');
    await closed;
    await until(
      async () => {
        const work = await workOf(worker.pid);
        await delay(300);
        return (await workOf(worker.pid)) - work < 0.15;
      },
      10,
      'the worker rests',
    );
  });

  it('ends at its time limit, in the worker, in a file and with a reader that does not read', async () => {
    const other = folder.file('closed.duckdb');
    const { DuckDBInstance } = await import('@duckdb/node-api');
    const instance = await DuckDBInstance.create(other);
    instance.closeSync();
    const lateIn = (file: string) =>
      `highwater: the query exceeded its time limit and was stopped; set a longer one with --timeout\n  (in ${file})\n`;
    const ended = (args: string[]) => highwater(['query', ...args, '--timeout', '1s']);
    const stalled = started(['query', ENDLESS, '-d', destination, '--timeout', '1s']);
    const began = Date.now();
    const asked: [sql: string, file: string][] = [
      [BUSY, destination],
      [ENDLESS, destination],
      [BUSY, other],
    ];
    const all = await Promise.all(asked.map(([sql, file]) => ended([sql, '-d', file])));
    for (const [i, { status, stderr }] of all.entries())
      expect({ status, stderr }).toEqual({ status: 1, stderr: lateIn(asked[i]?.[1] ?? '') });
    expect(Date.now() - began).toBeLessThan(20_000);
    await until(() => stalled.said() === lateIn(destination), 5, 'the one that is not read has ended too');
    stalled.child.stdout.destroy();
    expect((await stalled.closed).status).toBe(1);
  });

  it('writes nothing, whatever it is: DuckDB runs it in a read-only transaction', async () => {
    const refused = [
      'DELETE FROM first',
      "SELECT * FROM query('DELETE FROM first')",
      "COPY first TO 'out.csv'",
      "EXPLAIN ANALYZE COPY first TO 'out.csv'",
      'EXPLAIN ANALYZE DELETE FROM first',
      'CALL force_checkpoint()',
      'PRAGMA force_checkpoint',
      'CREATE TEMP TABLE t AS SELECT 1',
      'SET threads = 1',
      'SELECT 1; COMMIT',
      'COMMIT',
      "ATTACH 'other.duckdb'",
    ];
    for (const sql of refused) await expect(query(destination, sql), sql).rejects.toThrow();
    await expect(query(destination, 'EXPLAIN DELETE FROM first')).rejects.toThrow('read-only mode');
    expect((await query(destination, 'SELECT count(*)::INT > 0 FROM first')).rows).toEqual([[true]]);
  });

  it.skipIf(!LONG)('does not keep a worker from stopping', async () => {
    const other = await startWorker({
      ...{ address: server.address, taskQueue: uniqueName('stopping') },
      destination: folder.file('stopping.duckdb'),
    });
    const client = await connect(server.address);
    const configuration = { ...configurationFor('keyset', api.url), table: 'users' };
    const handle = await client.start(configuration, {
      ...{ taskQueue: other.taskQueue, workflowId: uniqueName('stopping') },
    });
    await handle.result();
    await client.close();
    const [busy, stalled] = [BUSY, ENDLESS].map((sql) => ask(folder.file('stopping.duckdb'), sql));
    await stalled?.next();
    const outcome = expect(busy?.next()).rejects.toThrow('closed the connection in the middle');
    await delay(200);
    const asked = Date.now();
    await other.end();
    expect(Date.now() - asked).toBeLessThan(8000);
    await outcome;
    await stalled?.return();
  });
});

describe('every command ends quietly', () => {
  it.skipIf(!LONG)('once its reader has gone', async () => {
    const [id = ''] = syncs;
    const answers = [
      ['list'],
      ['list', '--json'],
      ['status', id],
      ['logs', id],
      ['query', ENDLESS, '-d', destination],
      ['schema'],
      ['--help'],
      ['audit', '--help'],
      ['doctor'],
      ['rejects', '-d', destination],
    ];
    await Promise.all(
      answers.map(async (args) => {
        const { child, closed } = started(args);
        child.stdout.destroy();
        const { status, said } = await closed;
        expect([args, status, said]).toEqual([args, 0, expect.not.stringMatching(/EPIPE|\.js|node:/)]);
      }),
    );
  });
});

const postgres = await installPostgres();

describe.skipIf(!postgres.available)('a query to PostgreSQL', () => {
  let database: PostgresServer;
  beforeAll(async () => {
    if (!postgres.available) return;
    database = await startPostgres(postgres.bin);
    await database.query('CREATE TABLE t AS SELECT n FROM generate_series(1, 30000) AS g(n)');
    await database.query(`CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING n'`);
  });
  afterAll(() => database.stop());

  it('reads, as long as it likes, and in the order that was asked for', async () => {
    const { columns, rows } = await query(database.url, 'SELECT n FROM t ORDER BY n DESC; -- all');
    expect(columns).toEqual(['n']);
    expect(rows.map(([n]) => Number(n))).toEqual(Array.from({ length: 30_000 }, (_, i) => 30_000 - i));
    expect((await query(database.url, 'SHOW transaction_read_only')).rows).toEqual([['on']]);
    expect((await query(database.url, 'EXPLAIN SELECT 1')).rows).toHaveLength(1);
    expect(await query(database.url, 'SELECT 1 AS a WHERE false')).toEqual({ columns: ['a'], rows: [] });
  });

  it.each([
    'DELETE FROM t',
    'SELECT 1; COMMIT; DELETE FROM t',
    'COMMIT; DELETE FROM t',
    'SELECT gone()',
    'WITH x AS (DELETE FROM t RETURNING n) SELECT * FROM x',
    'EXPLAIN ANALYZE DELETE FROM t',
    'EXPLAIN SELECT 1; COMMIT; DELETE FROM t',
    'SHOW transaction_read_only; COMMIT; DELETE FROM t',
    'DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM t; END $$',
    'SELECT n INTO u FROM t',
    'SELECT n FROM t FOR UPDATE',
    "COPY t TO PROGRAM 'cat > /tmp/highwater-out'",
    "SELECT set_config('transaction_read_only', 'off', true) UNION ALL SELECT gone()::text",
  ])('that does more is refused by the server: %s', async (sql) => {
    await expect(query(database.url, sql)).rejects.toThrow();
    expect(await database.query('SELECT count(*)::int AS n FROM t')).toEqual([{ n: 30_000 }]);
  });

  it('streams, leaves when its reader does, and ends at its time limit', async () => {
    const { child, closed } = started([
      'query',
      "SELECT a.n, repeat('x', 1000) FROM t AS a, t AS b, t AS c",
      '-d',
      database.url,
    ]);
    await once(child.stdout, 'data');
    child.stdout.pause();
    await delay(300);
    expect(await memoryOf(child.pid ?? 0)).toBeLessThan(250);
    child.stdout.destroy();
    expect(await closed).toEqual({ status: 0, said: '' });
    const late = await highwater(['query', 'SELECT pg_sleep(60)', '-d', database.url, '--timeout', '1s']);
    expect(late.stderr).toContain('exceeded its time limit');
    const sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'highwater query'";
    await until(async () => (await database.query(sessions)).length === 0, 5, 'no session is left');
  });
});
