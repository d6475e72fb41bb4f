/** Temporal servers that share a destination: one that goes by two names, two that know nothing of each other, and one that forgets. */
import { copyFile, rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { HighwaterClient, SyncHandle } from '../../src/client.js';
import { startLocalServer, type LocalServer } from '../../src/dev/temporal-server.js';
import type { Json } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  difference,
  EQUAL,
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

vi.setConfig({ testTimeout: 90_000 });

let servers: TestServer[];
let api: TestApi;
let folder: Awaited<ReturnType<typeof scratch>>;
const workers: WorkerProcess[] = [];
const clients: HighwaterClient[] = [];
beforeAll(async () => {
  [servers, api, folder] = await Promise.all([
    Promise.all([testServer(), testServer()]),
    testApi({ rows: 100 }),
    scratch(),
  ]);
});
afterAll(async () => {
  for (const client of clients) await client.close();
  await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
  await Promise.all([...servers.map((server) => server.stop()), api.stop(), folder.remove()]);
});

/** A worker that knows its server by this address, and a client that starts syncs on it: one for each. */
async function site(address: string, env: NodeJS.ProcessEnv = {}): Promise<Site> {
  const name = JSON.stringify([address, env]);
  const made = sites.get(name) ?? makeSite(address, env);
  sites.set(name, made);
  return made;
}
const sites = new Map<string, Promise<Site>>();

interface Site {
  start: (workflowId: string, more: { [key: string]: Json }) => Promise<SyncHandle>;
}

async function makeSite(address: string, env: NodeJS.ProcessEnv): Promise<Site> {
  const taskQueue = uniqueName('site');
  const [worker, client] = await Promise.all([startWorker({ address, taskQueue, env }), connect(address)]);
  workers.push(worker);
  clients.push(client);
  return {
    start: (workflowId, more) =>
      client.start(configurationFor('keyset', api.url, more), { taskQueue, workflowId }),
  };
}
const sleeping = (sync: SyncHandle) =>
  until(async () => (await sync.progress()).status === 'sleeping', 30, 'a pass to end');
const requests = async () => (await api.client.stats()).requests;
const portOf = (index: number) => servers[index]?.address.split(':')[1] ?? '';

describe('one server under two names', () => {
  it('is one: a worker sends the work on to the one that has the file', async () => {
    const destination = folder.file('shared.duckdb');
    const [first, second] = [await site(`127.0.0.1:${portOf(0)}`), await site(`localhost:${portOf(0)}`)];
    await sleeping(await first.start(uniqueName('one'), { destination, table: 'one', interval: '1h' }));
    const { streams } = await (await second.start(uniqueName('two'), { destination, table: 'two' })).result();
    expect(streams[0]).toMatchObject({ rows: 100 });
  });
});

const install = await installPostgres();
describe.skipIf(!install.available)('syncs into one table of PostgreSQL', () => {
  let database: PostgresServer;
  beforeAll(async () => {
    if (install.available) database = await startPostgres(install.bin);
  });
  afterAll(() => database.stop());

  it.each([
    ['of one server under two names', 0, 'another'],
    ['of two servers', 1, 'another'],
    ['of two servers, with one workflow id', 1, 'the same'],
  ])('%s: the second is refused by name before it asks its source for anything', async (_, index, id) => {
    const to = { destination: database.url, table: uniqueName('held').replaceAll('-', '_') };
    const first = await site(`127.0.0.1:${portOf(0)}`);
    const workflowId = uniqueName('first');
    const holder = await first.start(workflowId, { ...to, interval: '1h' });
    await sleeping(holder);
    const second = await site(`localhost:${portOf(index)}`);
    const before = await requests();
    const refused = await second.start(id === 'the same' ? workflowId : uniqueName('second'), to);
    await expect(refused.result()).rejects.toMatchObject({
      type: 'StreamHeldError',
      message: expect.stringContaining(
        `the running workflow "${workflowId}"${index === 0 ? ' writes' : ` of another Temporal server, 127.0.0.1:${portOf(0)}, writes`}`,
      ) as string,
    });
    expect(await requests()).toBe(before);
    await holder.stop();
    await holder.result();
    // Once it has ended, the other goes on from where it stood.
    const next = await second.start(uniqueName('next'), to);
    expect((await next.result()).streams[0]?.rows).toBe(0);
  });

  it('of two servers that cannot be asked: the second takes the stream, the first ends, and does not take it back', async () => {
    const to = { destination: database.url, table: uniqueName('taken').replaceAll('-', '_') };
    const workflowId = uniqueName('users');
    // What a server is reached with is sent to no other one.
    const env = { TEMPORAL_GRPC_META_TENANT: 'ours' };
    const first = await (
      await site(servers[0]?.address ?? '', env)
    ).start(workflowId, { ...to, interval: '2s' });
    await sleeping(first);
    const second = await site(servers[1]?.address ?? '', env);
    const taking = await second.start(workflowId, { ...to, interval: '1s' });
    await expect(first.result()).rejects.toMatchObject({
      type: expect.stringMatching(/^(StreamHeldError|CheckpointConflictError)$/) as string,
      message: expect.stringContaining(`"${workflowId}"`) as string,
    });
    const { totals } = await taking.progress();
    await until(
      async () => (await taking.progress()).totals.passes > totals.passes + 1,
      20,
      'the second goes on',
    );
    await taking.stop();
    await taking.result();
  });
});

describe('a Temporal server whose database is lost or restored under a living worker', () => {
  it('goes on by the history that is there, from the checkpoint in the destination, and nothing sleeps for ever', async () => {
    const env = envWithoutTemporal();
    const { path: stateDir, file, remove } = await scratch();
    const cli = servers[0]?.cli ?? '';
    let server: LocalServer = await startLocalServer({ env, cli, stateDir, ports: { grpc: 0, ui: 0 } });
    const grpc = Number(server.address.split(':')[1]);
    const restart = async (change: (path: string) => Promise<void>) => {
      await server.stop();
      for (const suffix of ['', '-wal', '-shm'])
        await change(file(`temporal.db${suffix}`)).catch(() => undefined);
      server = await startLocalServer({ env, cli, stateDir, ports: { grpc, ui: 0 } });
    };
    const destination = file('highwater.duckdb');
    const taskQueue = uniqueName('restored');
    const worker = await startWorker({ address: server.address, taskQueue, destination });
    const source = await testApi({ rows: 100 });
    const start = async (workflowId: string, table: string) => {
      const client = await connect(server.address);
      const configuration = configurationFor('keyset', source.url, { interval: '1s', table });
      const sync = await client.start(configuration, { taskQueue, workflowId });
      await sleeping(sync);
      return client.close();
    };
    const passes = async (id: string) => {
      const client = await connect(server.address);
      const counted = await client
        .sync(id)
        .progress()
        .then(
          ({ totals }) => totals.passes,
          () => -1,
        );
      await client.close();
      return counted;
    };
    try {
      await start('users', 'users');
      await restart((path) => copyFile(path, `${path}.old`));
      const kept = await passes('users');
      await until(async () => (await passes('users')) > kept, 30, 'passes that the backup does not have');
      await start('later', 'later');

      await restart(async (path) => {
        await rm(path, { force: true });
        await copyFile(`${path}.old`, path);
      });
      await source.client.mutate({ update: 7, insert: 3 });
      await until(
        async () => {
          const found = await difference(source.client, destination, { table: 'users' });
          return JSON.stringify(found) === JSON.stringify(EQUAL);
        },
        40,
        'what has changed since the restore',
      );
      // What began after the backup was made is gone, and is said to be.
      const status = await highwater(['status', 'later'], { env: { TEMPORAL_ADDRESS: server.address } });
      expect(status).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('there is no sync') as string,
      });
      // The history is one that replays.
      const replayed = await highwater(['replay', '--running'], {
        env: { TEMPORAL_ADDRESS: server.address },
      });
      expect([replayed.status, replayed.stdout, worker.said()]).toEqual([
        0,
        expect.stringContaining('Safe to deploy'),
        expect.any(String),
      ]);

      await restart((path) => rm(path, { force: true }));
      const gone = await highwater(['list'], { env: { TEMPORAL_ADDRESS: server.address } });
      expect(gone.stdout).toContain('There are no syncs');
      await source.client.mutate({ update: 5 });
      const before = (await source.client.stats()).requests;
      await start('users', 'users');
      expect(await difference(source.client, destination, { table: 'users' })).toEqual(EQUAL);
      // From the checkpoint, not from the beginning.
      expect((await source.client.stats()).requests - before).toBeLessThan(4);
      expect(worker.child.exitCode).toBeNull();
    } finally {
      await worker.end('SIGKILL');
      await Promise.all([server.stop(), source.stop()]);
      await remove();
    }
  });
});
