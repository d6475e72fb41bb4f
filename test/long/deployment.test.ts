/** A new version of the worker takes over running syncs, and the old one takes them back: nothing is lost, nothing doubled. */
import { execFile } from 'node:child_process';
import { cp, readFile, symlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
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
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const address = inject('temporalAddress');
const repository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const taskQueue = uniqueName('deployed');
const deployment = uniqueName('highwater');
const id = uniqueName('deployed-users');

let api: TestApi;
let client: HighwaterClient;
let folder: Awaited<ReturnType<typeof scratch>>;
const workers: WorkerProcess[] = [];

beforeAll(async () => {
  [api, client, folder] = await Promise.all([
    testApi({ rows: 600, latency_ms: 150 }),
    connect(address),
    scratch(),
  ]);
  // The next version says something else in its timers, which a replay does not mind.
  await cp(repository('dist'), folder.file('dist'), { recursive: true });
  await Promise.all([
    symlink(repository('node_modules'), folder.file('node_modules')),
    cp(repository('package.json'), folder.file('package.json')),
  ]);
  const bundle = await readFile(folder.file('dist/workflow-bundle.cjs'), 'utf8');
  const changed = bundle.replace("'next pass'", "'the pass after'");
  expect(changed).not.toBe(bundle);
  await writeFile(folder.file('dist/workflow-bundle.cjs'), changed);
});
afterAll(async () => {
  await client
    .sync(id)
    .cancel()
    .catch(() => undefined);
  await Promise.all(workers.map((worker) => worker.end()));
  await Promise.all([client.close(), api.stop()]);
  await folder.remove();
});

async function worker(buildId: string | null, cli?: string): Promise<WorkerProcess> {
  const version = { HIGHWATER_DEPLOYMENT: deployment, HIGHWATER_BUILD_ID: buildId ?? '' };
  const started = await startWorker({
    ...{ address, taskQueue, destination: folder.file('users.duckdb'), cwd: folder.path },
    ...(cli !== undefined && { cli }),
    env: { HIGHWATER_GRACE: '8', ...(buildId !== null && version) },
  });
  workers.push(started);
  return started;
}

async function makeCurrent(buildId: string): Promise<void> {
  const set = ['worker', 'deployment', 'set-current-version', '--deployment-name', deployment];
  const args = [...set, '--build-id', buildId, '--yes', '--address', address];
  const isSet = () =>
    promisify(execFile)(inject('temporalCli'), args, { env: envWithoutTemporal() }).then(
      () => true,
      () => false,
    );
  // A version is known once its worker has polled.
  await until(isSet, 60, `version ${buildId} being current`);
}

/** The versions that have worked on the sync, in order; null for a worker of no deployment. */
async function versions(): Promise<(string | null)[]> {
  const { events = [] } = await client.temporal.workflow.getHandle(id).fetchHistory();
  const all = (events ?? []).flatMap(({ workflowTaskCompletedEventAttributes: done }) =>
    done ? [done.deploymentVersion?.buildId || null] : [],
  );
  return all.filter((version, i) => i === 0 || version !== all[i - 1]);
}
async function workedBy(wanted: (string | null)[]): Promise<void> {
  let found: (string | null)[] = [];
  const isSo = async () => JSON.stringify((found = await versions())) === JSON.stringify(wanted);
  await until(isSo, 60, `versions ${wanted.join()}`).catch(() => expect(found).toEqual(wanted));
}

const progress = () => client.sync(id).progress();
const asleep = (passes: number) =>
  until(
    async () => {
      const { status, totals } = await progress();
      return status === 'sleeping' && totals.passes >= passes;
    },
    60,
    `${passes} passes`,
  );

/** Ends a worker in the middle of a batch, as a container is ended. */
async function stopped(process: WorkerProcess): Promise<void> {
  await process.end('SIGTERM');
  expect({ code: process.child.exitCode, signal: process.child.signalCode }).toEqual({
    code: 0,
    signal: null,
  });
  expect(process.said()).toContain('Stopping: running work ends first.');
}

test('a worker of no deployment, version 1, version 2, and back to 1', async () => {
  const [plain, first] = [await worker(null), await worker('1')];
  const configuration = configurationFor('keyset', api.url, {
    interval: '1h',
    batch_rows: 50,
    page_size: 25,
  });
  await client.start(configuration, { workflowId: id, taskQueue });
  await until(async () => (await progress()).batches >= 1, 30, 'a batch');
  const equal = async () => {
    expect(await difference(api.client, folder.file('users.duckdb'))).toEqual(EQUAL);
    return (await progress()).totals.passes;
  };

  await makeCurrent('1');
  await stopped(plain);
  await asleep(1);
  let passes = await equal();

  const second = await worker('2', folder.file('dist/cli.js'));
  await makeCurrent('2');
  await api.client.mutate({ insert: 150 });
  await client.sync(id).trigger();
  // What it writes is written by version 1 until that is gone: it owns the file.
  await workedBy([null, '1', '2']);
  await stopped(first);
  await asleep(passes + 1);
  passes = await equal();
  const logs = await highwater(['logs', id, '--limit', '5'], { env: { TEMPORAL_ADDRESS: address } });
  expect(logs.stdout).toContain('sleeping: the pass after');

  await worker('1');
  await makeCurrent('1');
  await stopped(second);
  await api.client.mutate({ insert: 50, update: 5 });
  await client.sync(id).trigger();
  await asleep(passes + 1);
  await equal();
  expect(await versions()).toEqual([null, '1', '2', '1']);
  const env = { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.path };
  const doctor = await highwater(['doctor', '--task-queue', taskQueue, '-d', 'users.duckdb'], {
    env,
    cwd: folder.path,
  });
  expect(doctor.stdout).toContain(`✓ worker versions: 1 of ${deployment} is current`);
}, 240_000);

test('a version that is not the current one takes nothing, and doctor says so; half a version is refused', async () => {
  const queue = uniqueName('idle');
  const idle = await startWorker({
    ...{ address, taskQueue: queue },
    env: { HIGHWATER_DEPLOYMENT: queue, HIGHWATER_BUILD_ID: '7', HIGHWATER_HEALTH_PORT: '0' },
  });
  workers.push(idle);
  const env = { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.path };
  const run = (...args: string[]) => highwater(args, { env, cwd: folder.path });
  await until(
    async () => (await run('doctor', '--task-queue', queue)).stdout.includes('7 of '),
    30,
    'doctor to see it',
  );
  const doctor = await run('doctor', '--task-queue', queue, '-d', 'idle.duckdb', '--json');
  expect(doctor.status).toBe(1);
  expect(doctor.stdout).toContain(
    `no version is current, so no worker runs the syncs (versions: 7 of ${queue}). Set one: temporal worker deployment set-current-version --deployment-name ${queue} --build-id 7`,
  );
  const half = await run('worker', '--deployment', 'x');
  expect(half).toMatchObject({ status: 1, stdout: '' });
  expect(half.stderr).toMatch(/^highwater: --deployment and --build-id must be given together/m);
}, 120_000);
