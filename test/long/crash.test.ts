/**
 * What a crash costs: nothing but seconds. Whatever is killed in the middle of a pass of 100,000 rows, the table
 * equals the source in the end, and no batch was committed twice.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, test, type TestContext } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import type { HighwaterClient } from '../../src/client.js';
import { processExists } from '../../src/dev/lock.js';
import { freePorts } from '../../src/dev/ports.js';
import { type LocalServer, startLocalServer } from '../../src/dev/temporal-server.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  difference,
  EQUAL,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { testApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const ROWS = 100_000;
/** A pass takes some seconds, so that there is a middle to be killed in. */
const LATENCY = 15;

/** A source and a folder of the test's own. */
async function bench({ onTestFinished }: TestContext) {
  const api = await testApi({ rows: ROWS, max_page: 1000, keyset_page: 1000, latency_ms: LATENCY });
  const folder = await scratch();
  onTestFinished(async () => {
    await api.stop();
    await folder.remove();
  });
  const requests = async () => (await api.client.stats()).requests;
  return {
    api,
    destination: folder.file('highwater.duckdb'),
    taskQueue: uniqueName('crash'),
    requests,
    reached: (count: number) =>
      until(async () => (await requests()) >= count, 30, `${count} requests to the source`),
    pass: (strategy: ReferenceStrategy): { [key: string]: Json } =>
      configurationFor(strategy, api.url, { page_size: 1000, step_size: 1000, batch_rows: 5000 }),
    /** What a worker that has stopped leaves in the folder: the file. */
    expectTidy: async () => expect(await readdir(folder.path)).toEqual(['highwater.duckdb']),
  };
}

/** What was committed: every batch once, each following the one before, every row written once. */
async function expectCommittedOnce(destination: string): Promise<void> {
  const { rows } = await readDestination(
    destination,
    'SELECT id, base, "rows"::INT, records::INT FROM _highwater_batches ORDER BY committed_at',
  );
  const ids = rows.map(([id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(rows.slice(1).map(([, base]) => base)).toEqual(ids.slice(0, -1));
  expect(rows.reduce((sum, [, , count]) => sum + Number(count), 0)).toBe(ROWS);
  expect(rows.length).toBeGreaterThan(ROWS / 5000 - 1);
}

const seconds = (since: number) => (Date.now() - since) / 1000;

describe.concurrent('a worker', () => {
  let client: HighwaterClient;
  beforeAll(async () => {
    client = await connect(inject('temporalAddress'));
  });
  afterAll(() => client.close());

  test('killed twice in the middle of a pass: the next one goes on within seconds, and the table equals the source', async (context) => {
    const { api, destination, taskQueue, requests, reached, pass, expectTidy } = await bench(context);
    const start = () => startWorker({ address: inject('temporalAddress'), taskQueue, destination });
    let worker = await start();
    const handle = await client.start(pass('keyset'), { taskQueue, workflowId: uniqueName('killed') });
    for (const at of [8, 60]) {
      await reached(at);
      const killed = Date.now();
      await worker.end('SIGKILL');
      const asked = await requests();
      expect(asked).toBeLessThan(100);
      worker = await start();
      const ready = seconds(killed);
      await reached(asked + 1);
      const recovered = seconds(killed);
      console.log(
        `worker killed after ${asked} requests: reading again after ${recovered.toFixed(1)} s ` +
          `(the next worker was ready after ${ready.toFixed(1)} s)`,
      );
      expect(recovered).toBeLessThan(15);
    }
    const { streams } = await handle.result();
    expect(streams[0]).toMatchObject({ endRule: 'no_next_token' });
    expect(await difference(api.client, destination)).toEqual(EQUAL);
    await expectCommittedOnce(destination);
    await worker.end();
    await expectTidy();
  });

  test('told to stop ends within its grace, gives the file back, and loses nothing', async (context) => {
    const { api, destination, taskQueue, requests, reached, pass, expectTidy } = await bench(context);
    const start = () => startWorker({ address: inject('temporalAddress'), taskQueue, destination });
    let worker = await start();
    const handle = await client.start(pass('offset'), { taskQueue, workflowId: uniqueName('stopped') });
    await reached(40);
    const told = Date.now();
    await worker.end('SIGTERM');
    console.log(`worker told to stop: ended after ${seconds(told).toFixed(1)} s`);
    expect(worker.child.exitCode).toBe(0);
    expect(seconds(told)).toBeLessThan(10);
    expect(existsSync(`${destination}.owner`)).toBe(false);
    expect(await handle.status()).toBe('RUNNING');
    const asked = await requests();
    expect(asked).toBeLessThan(100);

    worker = await start();
    await reached(asked + 1);
    console.log(`worker told to stop: the next one reads again after ${seconds(told).toFixed(1)} s`);
    await handle.result();
    expect(await difference(api.client, destination)).toEqual(EQUAL);
    await expectCommittedOnce(destination);
    await worker.end();
    await expectTidy();
  });
});

describe.concurrent('the Temporal server', () => {
  let stateDir: string;
  let server: LocalServer;
  let worker: WorkerProcess | undefined;
  let client: HighwaterClient | undefined;
  let startServer: () => Promise<LocalServer>;
  beforeAll(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'highwater-crash-'));
    const [grpc = 0, ui = 0] = await freePorts([0, 0]);
    const options = { cli: inject('temporalCli'), stateDir, ports: { grpc, ui }, env: envWithoutTemporal() };
    startServer = () => startLocalServer(options);
    server = await startServer();
  });
  afterAll(async () => {
    await worker?.end('SIGKILL');
    await client?.close();
    await server.stop();
    await rm(stateDir, { recursive: true, force: true });
  });

  test('killed in the middle of a pass and started again from its file: the sync goes on by itself', async (context) => {
    const { api, destination, taskQueue, requests, reached, pass, expectTidy } = await bench(context);
    worker = await startWorker({ address: server.address, taskQueue, destination });
    client = await connect(server.address);
    const handle = await client.start(pass('step_size'), { taskQueue, workflowId: 'steps' });
    const { address } = server;
    // Away for longer than a heartbeat may fail to come: what ends meanwhile cannot be told to anyone, and runs again.
    for (const [at, away] of [
      [25, 0],
      [60, 6],
    ] as const) {
      await reached(at);
      const { pid } = server;
      if (pid === null) throw new Error('the server has no process');
      process.kill(pid, 'SIGKILL');
      await until(() => !processExists(pid), 30, 'the server to be gone');
      await delay(away * 1000);
      const asked = await requests();
      expect(asked).toBeLessThan(100);
      const again = Date.now();
      server = await startServer();
      expect(server.address).toBe(address);
      expect(server.pid).not.toBe(pid);
      const healthy = seconds(again);
      await reached((await requests()) + 1);
      console.log(
        `Temporal server killed after ${asked} requests, away for ${away} s: healthy ${healthy.toFixed(1)} s after ` +
          `its start, the source is read again after ${seconds(again).toFixed(1)} s`,
      );
      expect(seconds(again)).toBeLessThan(40);
    }
    const { streams } = await handle.result();
    expect(streams[0]).toMatchObject({ endRule: 'max_id' });
    expect(await difference(api.client, destination, { view: 'step' })).toEqual(EQUAL);
    await expectCommittedOnce(destination);
    await worker.end();
    await expectTidy();
  });
});
