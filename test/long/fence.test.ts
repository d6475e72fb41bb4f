/**
 * The fence, with real processes: a worker that sleeps through its timeouts in the middle of a write and wakes up late,
 * disks that run full, and what is left behind by batches and kills. In each the table equals the source in the end.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test, vi, type TestContext } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import type { HighwaterClient, SyncHandle, StartOptions } from '../../src/client.js';
import type { DemoSettingsPatch } from '../../src/dev/demo-api.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import {
  CLI,
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
import { makeRoom, mount, mountProblem } from '../helpers/disks.js';
import { testApi } from '../helpers/system.js';

// Most of the time here is waiting for time to pass.
vi.setConfig({ maxConcurrency: 6 });
const run = promisify(execFile);

let client: HighwaterClient;
beforeAll(async () => {
  client = await connect(inject('temporalAddress'));
});
afterAll(() => client.close());

/** A source, a destination, and as many workers as a test wants, all on one task queue. */
async function bench({ onTestFinished }: TestContext, settings: DemoSettingsPatch) {
  const api = await testApi(settings);
  const folder = await scratch();
  const taskQueue = uniqueName('fence');
  const workers: WorkerProcess[] = [];
  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
    await api.stop();
    await folder.remove();
  });
  const made = {
    api,
    folder,
    destination: folder.file('highwater.duckdb'),
    work: async (env: NodeJS.ProcessEnv = {}, cli = CLI) => {
      const { destination } = made;
      const address = inject('temporalAddress');
      const worker = await startWorker({ address, taskQueue, destination, env, cli });
      workers.push(worker);
      return worker;
    },
    start: (strategy: ReferenceStrategy, more: { [key: string]: Json } = {}, options: StartOptions = {}) =>
      client.start(configurationFor(strategy, api.url, more), {
        taskQueue,
        workflowId: uniqueName('fenced'),
        ...options,
      }),
    requests: async () => (await api.client.stats()).requests,
    /** The table equals the source, and its batches are one chain: none twice, none beside another. */
    expectWhole: async () => {
      expect(await difference(api.client, made.destination)).toEqual(EQUAL);
      const { rows } = await readDestination(
        made.destination,
        'SELECT id, base FROM _highwater_batches ORDER BY committed_at',
      );
      const ids = rows.map(([id]) => id);
      expect(new Set(ids).size).toBe(ids.length);
      return rows;
    },
  };
  return made;
}

/** Makes a fault point stop its process where otherwise it would kill it. */
const STOP = `const kill=process.kill.bind(process);process.kill=(pid,signal)=>kill(pid,signal==='SIGKILL'?'SIGSTOP':signal)`;
const preload = (code: string) => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}`,
});

async function stopped({ pid }: WorkerProcess): Promise<boolean> {
  const { stdout } = await run('ps', ['-o', 'stat=', '-p', String(pid)]);
  return stdout.startsWith('T');
}

/** The greatest attempt of any activity that is under way. */
async function attempt({ workflowId }: SyncHandle): Promise<number> {
  const { raw } = await client.temporal.workflow.getHandle(workflowId).describe();
  return Math.max(0, ...(raw.pendingActivities ?? []).map((pending) => pending.attempt ?? 0));
}

const sleepers = { rows: 300 };

describe.skipIf(process.platform === 'win32').concurrent('a worker that is stopped in a write', () => {
  for (const place of ['transaction.half', 'commit.before']) {
    test(`at ${place} and wakes up after its timeout: nothing is lost, doubled or stuck`, async (context) => {
      const made = await bench(context, sleepers);
      const first = await made.work({ HIGHWATER_FAULT: `${place}:3`, ...preload(STOP) });
      const handle = await made.start('keyset', { batch_rows: 50 });
      await until(() => stopped(first), 20, 'the first worker to stop');
      const asked = await made.requests();
      await made.work();
      await until(async () => (await attempt(handle)) >= 2, 20, 'the write to be given up and tried again');
      // The file is still the sleeper's: nobody else may go on, nor open it.
      expect(await made.requests()).toBe(asked);
      process.kill(first.pid, 'SIGCONT');

      const woken = Date.now();
      const { streams } = await handle.result();
      expect(streams[0]).toMatchObject({ endRule: 'no_next_token' });
      expect((Date.now() - woken) / 1000).toBeLessThan(25);
      const batches = await made.expectWhole();
      expect(batches.length).toBeGreaterThan(5);
      expect(batches.slice(1).map(([, base]) => base)).toEqual(batches.slice(0, -1).map(([id]) => id));
    });
  }

  test('and wakes up when another sync has taken the stream, in other batches: its write is refused, by the name of the holder', async (context) => {
    const made = await bench(context, sleepers);
    const late = made.folder.file('late');
    const first = uniqueName('first');
    // The third write of the first sync, and whatever it tries after it, comes only when the file `late` is there.
    const module = new URL('../../dist/destinations/duckdb/duckdb.js', import.meta.url).href;
    const script = made.folder.file('late.mjs');
    await writeFile(
      script,
      `import { existsSync } from 'node:fs';
       import { DuckDbDestination } from ${JSON.stringify(module)};
       const { write } = DuckDbDestination.prototype;
       let writes = 0;
       DuckDbDestination.prototype.write = async function (request) {
         if (request.workflowId === ${JSON.stringify(first)} && ++writes >= 3) {
           if (writes === 3) process.kill(process.pid, 'SIGSTOP');
           while (!existsSync(${JSON.stringify(late)})) await new Promise((wake) => setTimeout(wake, 50));
         }
         return write.call(this, request);
       };`,
    );
    // Its modules are those of the script only without the bundle.
    const unbundled = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
    const sleeper = await made.work({ NODE_OPTIONS: `--import=${script}` }, unbundled);
    const one = await made.start('keyset', { batch_rows: 50 }, { workflowId: first });
    await until(() => stopped(sleeper), 20, 'the first worker to stop');
    await made.work();
    const two = await made.start('keyset', { batch_rows: 20 }, { takeOver: true });
    await until(async () => (await attempt(one)) >= 2, 20, 'the write to be given up and tried again');
    process.kill(sleeper.pid, 'SIGCONT');
    expect((await two.result()).streams[0]).toMatchObject({ endRule: 'no_next_token' });
    const batches = await made.expectWhole();
    expect(sleeper.said()).not.toContain('stale writer');

    await writeFile(late, '');
    const refused = new RegExp(
      `the destination refused a stale batch: .* The workflow \\\\*"${two.workflowId}`,
    );
    await until(() => refused.test(sleeper.said()), 10, 'the late write to be refused');
    const failure = await one.result().then(
      () => null,
      (thrown: Error) => thrown,
    );
    expect(failure).toMatchObject({ type: expect.stringMatching(/CheckpointConflict|StreamHeld/) as string });
    expect(failure?.message).toContain(two.workflowId);
    expect(await made.expectWhole()).toEqual(batches);
  });
});

const unmountable = await mountProblem();

describe.skipIf(unmountable !== null).concurrent(`a full disk${unmountable ?? ''}`, () => {
  test('under staging is named, and the sync goes on once there is room', async (context) => {
    const made = await bench(context, { rows: 12_000 });
    const staging = `${made.destination}.staging`;
    await mount(context, staging, '1m');
    await made.work();
    const handle = await made.start('timestamp', { batch_rows: 3000 });
    const trouble = async () => (await handle.work()).retry?.message ?? '';
    await until(async () => (await trouble()) !== '', 15, 'trouble');
    expect(await trouble()).toMatch(
      /^there is no space left for staged batches in .*ENOSPC.*Free some space/,
    );
    // What could not be staged whole is not left to fill the disk.
    expect((await readdir(staging, { recursive: true })).filter((name) => name.endsWith('.ndjson'))).toEqual(
      [],
    );
    await makeRoom(staging);
    expect((await handle.result()).streams[0]).toMatchObject({ rows: 12_000 });
    await made.expectWhole();
    expect(await readdir(staging)).toEqual([]);
  });

  test('under the destination is named, and the sync goes on once there is room', async (context) => {
    const made = await bench(context, { rows: 24_000 });
    const disk = made.folder.file('disk');
    await mount(context, disk, '2m');
    made.destination = `${disk}/highwater.duckdb`;
    await mkdir(made.folder.file('elsewhere'));
    await symlink(made.folder.file('elsewhere'), `${made.destination}.staging`);
    await made.work();
    const handle = await made.start('timestamp', { batch_rows: 3000 });
    // Long enough for the file to be closed as idle in between, which a full disk disturbs as well.
    await until(async () => ((await handle.work()).retry?.attempt ?? 0) >= 6, 30, 'a sixth attempt');
    const { message = '' } = (await handle.work()).retry ?? {};
    expect(message).toMatch(
      /^there is no space left for the destination .*highwater\.duckdb: .*Free some space/s,
    );
    await makeRoom(disk);
    expect((await handle.result()).streams[0]).toMatchObject({ rows: 24_000 });
    await made.expectWhole();
  });
});

test.concurrent(
  'over 200 batches and two kills nothing accumulates: staged files go when their batch is written',
  // Four hundred activities: some seconds here, a minute on a machine that has other work.
  { timeout: 180_000 },
  async (context) => {
    const made = await bench(context, { rows: 4000, keyset_page: 20 });
    let worker = await made.work();
    const handle = await made.start('keyset', { batch_rows: 20 });
    let most = 0;
    const staged = async () =>
      (await readdir(made.folder.path, { recursive: true }).catch(() => [])).filter((name) =>
        name.endsWith('.ndjson'),
      ).length;
    let done = false;
    const watching = until(async () => ((most = Math.max(most, await staged())), done), 170, 'the end');
    for (const at of [60, 130]) {
      await until(async () => (await made.requests()) >= at, 60, `${at} requests`);
      await worker.end('SIGKILL');
      worker = await made.work();
    }
    expect((await handle.result()).streams[0]).toMatchObject({ endRule: 'no_next_token' });
    done = true;
    await watching;
    expect((await made.expectWhole()).length).toBeGreaterThanOrEqual(200);
    // Read ahead, being read and being written; and what a kill left, until the stream is opened again.
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(8);
    await worker.end();
    expect(await readdir(made.folder.path)).toEqual(['highwater.duckdb']);
  },
);
