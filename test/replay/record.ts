/**
 * Records the histories that `replay.test.ts` replays: `npx tsx test/replay/record.ts`, after a build.
 *
 * They are recorded once, from the code of a release, and never again: they stand for the syncs that were started
 * with it and are running still. A new release adds a folder of its own version; until then what is new to it is
 * added, and what is there stays as it is. What each file holds is what `temporal workflow show --output json` prints,
 * of real runs against the demo API.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import { target } from '../../src/connection.js';
import { DemoClient, DemoServer, type DemoSettingsPatch } from '../../src/dev/demo-api.js';
import { createLogger, installRuntime } from '../../src/logger.js';
import { REFERENCE_STRATEGIES, type Json, type Progress } from '../../src/protocol.js';
import type { SyncOptions } from '../../src/workflows/sync.js';
import { HighwaterWorker } from '../../src/worker.js';
import { configurationFor, connect, scratch, until } from '../helpers/harness.js';
import { envWithoutTemporal, testServer } from '../helpers/temporal.js';

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TASK_QUEUE = 'record';
const TRACED_QUEUE = 'record-traced';

const { version } = JSON.parse(await readFile(root('package.json'), 'utf8')) as { version: string };
const folder = join(import.meta.dirname, 'histories', version);
/** Never recorded again: where their replay fails, the workflow code must be changed (patched(), a new type). */
const kept = existsSync(folder) ? await readdir(folder) : [];

installRuntime(createLogger('error'));
const server = await testServer();
const bench = await scratch();
const client = await connect(server.address);
const workerOf = (taskQueue: string, bundle: string) =>
  HighwaterWorker.create({
    target: target(server.address),
    taskQueue,
    workflowBundle: root(`dist/${bundle}`),
  });
const worker = await workerOf(TASK_QUEUE, 'workflow-bundle.cjs');
/** One that sends traces: its workflows make spans, and tell their activities. */
const traced = await workerOf(TRACED_QUEUE, 'workflow-bundle-traced.cjs');
const recorded = new Map<string, string>();

/** A sync, with all that a recording does to it. */
class Subject {
  constructor(
    readonly handle: WorkflowHandle,
    readonly source: DemoClient,
    readonly destination: string,
  ) {}

  async reaches(holds: (progress: Progress) => boolean, what: string): Promise<void> {
    await until(async () => holds(await this.handle.query<Progress>('progress')), 30, what);
  }

  status(wanted: Progress['status']): Promise<void> {
    return this.reaches(({ status }) => status === wanted, wanted);
  }

  /** Keeps the history of the current run, or of another. */
  async record(name: string, runId?: string): Promise<void> {
    const which = [
      '--workflow-id',
      this.handle.workflowId,
      ...(runId === undefined ? [] : ['--run-id', runId]),
    ];
    const { stdout } = await promisify(execFile)(
      server.cli,
      ['workflow', 'show', ...which, '--output', 'json', '--address', server.address],
      { env: envWithoutTemporal(), maxBuffer: 64 * 1024 * 1024 },
    );
    recorded.set(name, stdout);
    console.log(`${name}: ${Math.round(stdout.length / 1024)} KiB`);
  }
}

async function subject(
  name: string,
  settings: DemoSettingsPatch,
  configuration: (url: string) => { [key: string]: Json },
  act: (subject: Subject) => Promise<unknown>,
  options?: SyncOptions,
): Promise<void> {
  if (kept.some((file) => file.startsWith(name))) return;
  const demo = new DemoServer({ rows: 80, ...settings });
  const url = `http://127.0.0.1:${await demo.listen()}`;
  const destination = bench.file(`${name}.duckdb`);
  const form = configuration(url);
  const input = { ...form, destination, ...(!('streams' in form) && { batch_rows: 50 }) };
  const handle = await client.temporal.workflow.start('sync', {
    args: options === undefined ? [input] : [input, options],
    workflowId: name,
    taskQueue: name.startsWith('traced') ? TRACED_QUEUE : TASK_QUEUE,
  });
  await act(new Subject(handle, new DemoClient(url), destination));
  await handle.terminate().catch(() => undefined);
  await demo.close();
}

/** The payloads of a recorded history, as JSON texts. */
const payloadsOf = (history: string): string[] =>
  [...history.matchAll(/"data": "([^"]+)"/g)].map(([, data = '']) => Buffer.from(data, 'base64').toString());

const keyset = (more: { [key: string]: Json }) => (url: string) => configurationFor('keyset', url, more);

async function recordAll(): Promise<void> {
  for (const strategy of REFERENCE_STRATEGIES) {
    const range = strategy === 'step_size' ? { step_size: 50, max_id: 150 } : {};
    await subject(
      strategy,
      {},
      (url) => configurationFor(strategy, url, range),
      async (sync) => {
        await sync.handle.result();
        await sync.record(strategy);
      },
    );
  }

  await subject('continue-as-new', { rows: 220 }, keyset({ history_limit: 20 }), async (sync) => {
    const first = (await sync.handle.describe()).runId;
    await sync.handle.result();
    const runs = [first];
    for (;;) {
      const run = client.temporal.workflow.getHandle(sync.handle.workflowId, runs.at(-1));
      const last = (await run.fetchHistory()).events?.at(-1);
      const next = last?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
      if (!next) break;
      runs.push(next);
    }
    if (runs.length < 3) throw new Error('there should be a run between the first and the last');
    await sync.record('continue-as-new-first-run', runs[0]);
    await sync.record('continue-as-new-middle-run', runs[1]);
    await sync.record('continue-as-new-last-run', runs.at(-1));
  });

  await subject('next-write-on-its-way', { rows: 600 }, keyset({}), async (sync) => {
    await sync.handle.result();
    await sync.record('next-write-on-its-way');
    if (
      !payloadsOf(recorded.get('next-write-on-its-way') ?? '').some((text) => text.includes('"behind":true'))
    )
      throw new Error('no write was on its way behind another');
  });

  await subject('paused', { latency_ms: 100, rows: 170 }, keyset({}), async (sync) => {
    await sync.reaches(({ batches }) => batches >= 1, 'a batch');
    await sync.handle.signal('pause');
    await sync.status('paused');
    await sync.record('paused');
    await sync.handle.signal('resume');
    await sync.handle.result();
    await sync.record('paused-and-resumed');
  });

  const refusal = { kind: 'status', status: 429, retry_after: 1, after: 1 } as const;
  await subject('rate-limit', { fail: [refusal] }, keyset({}), async (sync) => {
    await sync.status('waiting');
    await sync.record('rate-limit-waiting');
    await sync.handle.result();
    await sync.record('rate-limit-waited');
  });

  await subject('interval', {}, keyset({ interval: '15m' }), async (sync) => {
    await sync.status('sleeping');
    await sync.source.mutate({ insert: 5 });
    await sync.handle.signal('resume');
    await sync.reaches(({ totals, status }) => totals.passes === 2 && status === 'sleeping', 'two passes');
    await sync.record('interval-sleeping');
    await sync.handle.cancel();
    await sync.handle.result().catch(() => undefined);
    await sync.record('interval-cancelled');
  });

  const down = { kind: 'status', status: 500, after: 1, times: 1000 } as const;
  await subject('outage', { fail: [down] }, keyset({ interval: '15m', retry_for: '1s' }), async (sync) => {
    await sync.status('failing');
    await sync.source.set({ fail: [] });
    await sync.handle.signal('resume');
    await sync.status('sleeping');
    await sync.record('outage-of-the-source');
  });

  await subject('batch-lost', { latency_ms: 100, rows: 170 }, keyset({}), async (sync) => {
    await sync.reaches(({ batches }) => batches >= 1, 'a batch');
    const staged = () => {
      const folder = `${sync.destination}.staging`;
      if (!existsSync(folder)) return [];
      const names = readdirSync(folder, { recursive: true }) as string[];
      return names.filter((name) => name.endsWith('.ndjson')).map((name) => join(folder, name));
    };
    // The next file goes as soon as it is there: the worker, in this process, has not read it by then.
    const before = staged();
    let next: string | undefined;
    while (next === undefined) {
      await setImmediate();
      next = staged().find((path) => !before.includes(path));
    }
    rmSync(next);
    await sync.handle.result();
    await sync.record('batch-lost');
    if (recorded.get('batch-lost')?.includes('BatchLostError') !== true) throw new Error('no batch was lost');
  });

  await subject('taken-over', { latency_ms: 100, rows: 170 }, keyset({}), async (first) => {
    await first.reaches(({ batches }) => batches >= 1, 'a batch');
    await first.handle.signal('pause');
    await first.status('paused');
    const input = { ...keyset({})(first.source.url), destination: first.destination };
    const second = await client.temporal.workflow.start('sync', {
      args: [input, { takeOver: true, full: true }],
      workflowId: 'taking-over',
      taskQueue: TASK_QUEUE,
    });
    await second.result();
    await new Subject(second, first.source, first.destination).record('taking-over');
    await first.handle.signal('resume');
    await first.handle.result().catch(() => undefined);
    await first.record('taken-over');
  });

  const streams = (url: string) => ({
    sync: { max_streams: 2 },
    source: { base_url: url },
    defaults: {
      primary_key: 'id',
      cursor_field: 'updatedAt',
      columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
    },
    streams: [
      { name: 'child', path: '/pagination/offset', strategy: 'offset', parent: { stream: 'parent' } },
      { name: 'parent', path: '/pagination/keyset', strategy: 'keyset' },
      { name: 'beside', path: '/incremental/timestamp', strategy: 'timestamp' },
      { name: 'failing', path: '/nowhere', strategy: 'timestamp' },
    ],
  });
  await subject(
    'several-streams',
    { rows: 5 },
    (url) => streams(url),
    async (sync) => {
      await sync.handle.result().catch(() => undefined);
      await sync.record('several-streams');
      const child = client.temporal.workflow.getHandle(`${sync.handle.workflowId}/child`);
      await new Subject(child, sync.source, sync.destination).record('several-streams-child');
    },
  );

  await subject('stopped', { latency_ms: 100, rows: 170 }, keyset({}), async (sync) => {
    await sync.reaches(({ batches }) => batches >= 1, 'a batch');
    await sync.handle.signal('stop');
    await sync.handle.result();
    await sync.record('stopped');
  });

  await subject('set-and-triggered', {}, keyset({ interval: '15m', idle_interval: '1h' }), async (sync) => {
    await sync.status('sleeping');
    await sync.handle.executeUpdate('set', { args: [{ interval: '10m', batch_rows: 20 }] });
    await sync.source.mutate({ insert: 50 });
    await sync.handle.signal('trigger');
    await sync.reaches(({ totals, status }) => totals.passes === 2 && status === 'sleeping', 'two passes');
    await sync.record('set-and-triggered');
    await sync.handle.signal('stop');
    await sync.handle.result();
    await sync.record('set-and-triggered-and-stopped');
  });

  const forbidden = { kind: 'status', status: 403, after: 1, times: 1000 } as const;
  await subject('blocked', { fail: [forbidden] }, keyset({ interval: '15m' }), async (sync) => {
    await sync.status('blocked');
    await sync.record('blocked');
    await sync.source.set({ fail: [] });
    await sync.handle.signal('resume');
    await sync.status('sleeping');
    await sync.record('blocked-and-mended');
  });

  const brokenly = { kind: 'status', status: 500, after: 1, times: 1000 } as const;
  await subject(
    'failing',
    { fail: [brokenly] },
    keyset({ interval: '15m', retry_for: '1s' }),
    async (sync) => {
      await sync.status('failing');
      await sync.handle.signal('trigger');
      await sync.reaches(
        ({ trouble, status }) => status === 'failing' && trouble?.failures === 2,
        'a second try',
      );
      await sync.source.set({ fail: [] });
      await sync.handle.signal('trigger');
      await sync.status('sleeping');
      await sync.record('failing-and-triggered');
    },
  );

  const everything = { interval: '15m', retry_for: '1s', history_limit: 30, batch_rows: 20 };
  await subject('traced', { fail: [{ ...brokenly, times: 5 }] }, keyset(everything), async (sync) => {
    await sync.status('failing');
    await sync.handle.signal('trigger');
    await sync.handle.executeUpdate('set', { args: [{ interval: '10m' }] });
    await sync.status('sleeping');
    await sync.record('traced-sleeping');
    await sync.handle.signal('stop');
    await sync.handle.result();
    await sync.record('traced-stopped');
  });

  // Nobody listens there: what is told is tried until it ends.
  const notify = { url: 'http://127.0.0.1:9/hook', lag: '2s' };
  const paced = { interval: '1s', retry_for: '0.5s', notify };
  await subject('notified', { fail: [{ ...brokenly, after: 0 }] }, keyset(paced), async (sync) => {
    await sync.status('failing');
    await delay(2500);
    await sync.source.set({ fail: [] });
    await sync.handle.signal('trigger');
    await sync.status('sleeping');
    await sync.record('notified');
    await sync.handle.signal('stop');
    await sync.handle.result();
    await sync.record('notified-and-stopped');
  });

  await subject(
    'streams-controlled',
    { rows: 5 },
    (url) => ({ ...streams(url), interval: '15m', streams: streams(url).streams.slice(1, 3) }),
    async (sync) => {
      const child = client.temporal.workflow.getHandle(`${sync.handle.workflowId}/parent`);
      const sleeps = () =>
        child.query<Progress>('progress').then(
          ({ status }) => status === 'sleeping',
          () => false,
        );
      await until(sleeps, 30, 'the child sleeping');
      await sync.handle.executeUpdate('set', { args: [{ batch_rows: 20 }] });
      await sync.handle.signal('trigger');
      await sync.handle.signal('stop');
      await sync.handle.result();
      await sync.record('streams-controlled');
      await new Subject(child, sync.source, sync.destination).record('streams-controlled-child');
    },
  );

  await subject('moved', { latency_ms: 100, rows: 170 }, keyset({ interval: '15m' }), async (sync) => {
    const move = (to: string) => sync.handle.executeUpdate('move', { args: [{ to }] });
    await sync.reaches(({ batches }) => batches >= 1, 'a batch');
    await move('start');
    await sync.reaches(({ totals, status }) => totals.passes === 1 && status === 'sleeping', 'a pass');
    await move('start');
    await move('nowhere').catch(() => undefined);
    await sync.status('sleeping');
    await sync.record('moved');
  });

  await subject('configured', {}, keyset({ interval: '15m', history_limit: 25 }), async (sync) => {
    await sync.status('sleeping');
    const to = { ...keyset({})(sync.source.url), destination: sync.destination, interval: '20m' };
    const configure = (more: { [key: string]: Json }) =>
      sync.handle.executeUpdate('configure', { args: [{ ...to, ...more }] });
    await configure({ page_size: 20 });
    await configure({ bogus: true }).catch(() => undefined);
    await sync.status('sleeping');
    await sync.record('configured');
  });

  await subject(
    'only-moved',
    {},
    keyset({}),
    async (sync) => {
      await sync.handle.result();
      await sync.record('only-moved');
    },
    { move: { to: 'start' }, moveOnly: true },
  );

  await subject(
    'backfill',
    { rows: 220 },
    keyset({ history_limit: 20 }),
    async (sync) => {
      const first = (await sync.handle.describe()).runId;
      await sync.handle.result();
      await sync.record('backfill-first-run', first);
      await sync.record('backfill-last-run');
    },
    { range: { kind: 'backfill', from: '2000-01-01', to: '2100-01-01' } },
  );

  await subject(
    'range-cancelled',
    { rows: 220, latency_ms: 100 },
    keyset({}),
    async (sync) => {
      await sync.reaches(({ batches }) => batches >= 1, 'a batch');
      await sync.handle.cancel();
      await sync.handle.result().catch(() => undefined);
      await sync.record('range-cancelled');
    },
    { range: { kind: 'backfill', from: '2000-01-01' } },
  );

  await subject('audit', {}, keyset({}), async (sync) => {
    await sync.handle.result();
    const { source, destination } = sync;
    const handle = await client.temporal.workflow.start('sync', {
      args: [{ ...keyset({})(source.url), destination }, { range: { kind: 'audit', repair: true } }],
      workflowId: 'audit/audit',
      taskQueue: TASK_QUEUE,
    });
    await handle.result();
    await new Subject(handle, source, destination).record('audit');
  });

  await subject('refused', {}, keyset({ bogus: true }), async (sync) => {
    await sync.handle.result().catch(() => undefined);
    await sync.record('refused-configuration');
  });
}

try {
  await worker.run(async () => void (await traced.run(recordAll)));
  await keep();
} finally {
  await client.close();
  await bench.remove();
  await server.stop();
}

/** All or nothing: they are written once all are recorded. */
async function keep(): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, history] of recorded)
    await writeFile(join(folder, `${name}.json`), history, { flag: 'wx' });
}
