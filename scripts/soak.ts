/**
 * A long run under random faults: continuous syncs of all strategies, a changing source, workers and the Temporal
 * server killed, an API that misbehaves. In the end every table must equal the source, row for row. `npm run soak --
 * --minutes 20 --seed 7`
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { readDestination } from '../src/cli/query.js';
import { table } from '../src/cli/output.js';
import type { SyncHandle } from '../src/client.js';
import { DemoClient, DemoServer, type FaultInput } from '../src/dev/demo-api.js';
import { processExists } from '../src/dev/lock.js';
import { freePorts } from '../src/dev/ports.js';
import { temporalBinary } from '../src/dev/temporal-binary.js';
import { startLocalServer, type LocalServer } from '../src/dev/temporal-server.js';
import { REFERENCE_STRATEGIES, type Json, type ReferenceStrategy } from '../src/protocol.js';
import {
  configurationFor,
  connect,
  difference,
  startWorker,
  type WorkerProcess,
} from '../test/helpers/harness.js';
import { envWithoutTemporal } from '../test/helpers/temporal.js';

const options = new Command('soak')
  .option('--minutes <n>', 'duration of the faults', '20')
  .option('--seed <n>', 'seed for times and kinds of faults', '1')
  .option('--rows <n>', 'rows of the source at the start', '5000')
  .option('--strategies <list>', 'strategies, each with a table of its own', REFERENCE_STRATEGIES.join(','))
  .parse()
  .opts<{ minutes: string; seed: string; rows: string; strategies: string }>();

const strategies = REFERENCE_STRATEGIES.filter((name) => options.strategies.split(',').includes(name));
const endsAt = Date.now() + Number(options.minutes) * 60_000;
const rows = Number(options.rows);
const TASK_QUEUE = 'soak';

/** Generates numbers from 0 to 1 from a seed (mulberry32); each kind of fault has its own sequence. */
function dice(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
const seed = Number(options.seed) * 1000;
const between = (roll: () => number, from: number, to: number) => from + roll() * (to - from);

const started = Date.now();
const say = (text: string) =>
  console.log(`${((Date.now() - started) / 1000).toFixed(1).padStart(7)}  ${text}`);
const survived = new Map<string, number>();
const count = (kind: string) => survived.set(kind, (survived.get(kind) ?? 0) + 1);
/** Faults, with the times during which they obstructed the syncs. */
const troubles: { kind: string; from: number; until: number }[] = [];

const folder = await mkdtemp(join(tmpdir(), 'highwater-soak-'));
const home = await mkdtemp(join(tmpdir(), 'highwater-soak-server-'));
const destination = join(folder, 'highwater.duckdb');
const env = envWithoutTemporal();
const cli = (await temporalBinary({ env, log: say })).path;
const [grpc = 0, ui = 0] = await freePorts([0, 0]);
const startServer = () => startLocalServer({ cli, env, stateDir: home, ports: { grpc, ui } });

const api = new DemoServer({ rows, max_page: 500, keyset_page: 500, spacing_seconds: 5 });
const apiPort = await api.listen();
const url = `http://127.0.0.1:${apiPort}`;
const demo = new DemoClient(url);

let server: LocalServer = await startServer();
const client = await connect(server.address);
const current: { worker: WorkerProcess | null } = { worker: null };
/** Set to stop further faults, so that everything recovers. */
let quiet = false;
let failed: string | null = null;

const schemaOf = (strategy: ReferenceStrategy) => `soak_${strategy}`;
const configurations: Record<ReferenceStrategy, { [key: string]: Json }> = {
  keyset: {},
  // Read changes that the strategy cannot see, updates behind its position, again.
  offset: { full_rescan: 1, page_size: 500 },
  step_size: { step_size: 500, max_id: 1_000_000_000, max_empty_steps: 3, id_lookback: 1_000_000_000 },
  timestamp: {},
  replay: { buffer_hours: 1 },
};
const handles = new Map<ReferenceStrategy, SyncHandle>();

const memory = async (pid: number): Promise<number | null> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kilobytes = /^VmRSS:\s+(\d+)/m.exec(status)?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) / 1024;
};
const rss: number[] = [];
let longestHistory = 0;
let workers = 0;

/** Sleeps, but not beyond the time for faults. */
const pause = (seconds: number) => delay(Math.max(0, Math.min(seconds * 1000, endsAt - Date.now())));
const over = () => Date.now() >= endsAt || failed !== null;

/** Starts a worker, retrying while the server is down. */
async function nextWorker(): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      current.worker = await startWorker({
        address: server.address,
        taskQueue: TASK_QUEUE,
        destination,
        env: {},
      });
      workers++;
      return;
    } catch (thrown) {
      if (attempt === 20) throw thrown;
      await delay(500);
    }
  }
}

async function killWorkers(): Promise<void> {
  const roll = dice(seed + 1);
  while (!over()) {
    await pause(between(roll, 5, 30));
    if (over()) return;
    const used = current.worker === null ? null : await memory(current.worker.pid);
    if (used !== null) rss.push(used);
    const from = Date.now();
    await current.worker?.end('SIGKILL');
    await nextWorker();
    count('worker killed');
    troubles.push({ kind: 'worker killed', from, until: Date.now() });
  }
}

async function killServers(): Promise<void> {
  const roll = dice(seed + 2);
  while (!over()) {
    await pause(between(roll, 60, 180));
    if (over()) return;
    const { pid } = server;
    if (pid === null) throw new Error('the server has no process');
    const from = Date.now();
    process.kill(pid, 'SIGKILL');
    while (processExists(pid)) await delay(20);
    await delay(between(roll, 0, 8) * 1000);
    server = await startServer();
    count('Temporal server killed');
    troubles.push({ kind: 'Temporal server killed', from, until: Date.now() });
    say(`Temporal server killed, back after ${((Date.now() - from) / 1000).toFixed(1)} s`);
  }
}

const FAULTS: [kind: string, fault: FaultInput, seconds: number][] = [
  ['500', { kind: 'status', status: 500, times: 4 }, 0],
  ['503', { kind: 'status', status: 503, times: 2 }, 0],
  ['429, some seconds', { kind: 'status', status: 429, retry_after: 8 }, 8],
  ['429, a minute', { kind: 'status', status: 429, retry_after: 60 }, 60],
  ['bad JSON', { kind: 'bad_json' }, 0],
  ['cut in the middle', { kind: 'truncate' }, 0],
  ['truncated gzip', { kind: 'truncated_gzip' }, 0],
  ['reset', { kind: 'reset' }, 0],
  ['hung', { kind: 'hang' }, 3],
  ['stalled', { kind: 'stall' }, 3],
  ['wrong shape', { kind: 'wrong_shape' }, 0],
  ['HTML', { kind: 'html' }, 0],
];

async function misbehave(): Promise<void> {
  const roll = dice(seed + 3);
  while (!over()) {
    await pause(between(roll, 6, 20));
    if (over()) return;
    const pick = Math.floor(roll() * (FAULTS.length + 2));
    const from = Date.now();
    const [kind, fault, seconds] = FAULTS[pick] ?? [null, null, 0];
    if (kind !== null) {
      const before = Object.values((await demo.stats()).faults).reduce((sum, n) => sum + n, 0);
      await demo.set({ fail: [fault] });
      await pause(2);
      const after = Object.values((await demo.stats()).faults).reduce((sum, n) => sum + n, 0);
      if (after > before) count(`API: ${kind}`);
      troubles.push({ kind, from, until: Date.now() + seconds * 1000 });
    } else if (pick === FAULTS.length) {
      await api.close();
      await delay(between(roll, 1, 6) * 1000);
      await api.listen(apiPort);
      count('API: away');
      troubles.push({ kind: 'API away', from, until: Date.now() });
    } else {
      await demo.set({ latency_ms: 400 });
      await pause(8);
      await demo.set({ latency_ms: 0 });
      count('API: slow');
      troubles.push({ kind: 'API slow', from, until: Date.now() });
    }
  }
}

let changes = 0;
async function changeData(): Promise<void> {
  const roll = dice(seed + 4);
  while (!over()) {
    await pause(between(roll, 0.2, 1.5));
    const insert = Math.floor(between(roll, 0, 20));
    const update = Math.floor(between(roll, 0, 30));
    // The API may be down.
    const done = await demo.mutate({ insert, update }).catch(() => null);
    if (done !== null) changes += insert + update;
  }
}

async function watch(): Promise<void> {
  let reported = Date.now();
  while (!quiet && failed === null) {
    await delay(2000);
    for (const [strategy, { workflowId }] of handles) {
      const found = await client.temporal.workflow
        .getHandle(workflowId)
        .describe()
        .catch(() => null);
      if (found === null) continue;
      longestHistory = Math.max(longestHistory, found.historyLength);
      if (found.status.name !== 'RUNNING') {
        const why = await client
          .sync(workflowId)
          .result()
          .catch((thrown: unknown) => String(thrown));
        failed ??= `the sync ${strategy} is ${found.status.name}: ${JSON.stringify(why)}`;
      }
    }
    if (Date.now() - reported > 30_000) {
      reported = Date.now();
      const faults = [...survived.values()].reduce((sum, n) => sum + n, 0);
      say(`${faults} faults, ${workers} workers, ${changes} rows changed, history ${longestHistory}`);
    }
  }
}

/** Waits until every stream has made two whole passes after the last change. */
async function quiesce(): Promise<void> {
  const deadline = Date.now() + 600_000;
  const passes = new Map<ReferenceStrategy, number>();
  for (const [strategy, handle] of handles) {
    for (;;) {
      if (failed !== null) return;
      const progress = await handle.progress().catch(() => null);
      const first = passes.get(strategy);
      if (progress !== null) {
        if (first === undefined) passes.set(strategy, progress.totals.passes);
        else if (progress.totals.passes >= first + 2) break;
      }
      if (Date.now() > deadline) {
        const words = JSON.stringify(progress ?? 'no answer');
        failed ??= `the sync ${strategy} makes no progress: ${words}`;
        return;
      }
      await delay(500);
    }
  }
}

interface Commit {
  id: string;
  base: string;
  at: number;
}

async function commitsOf(strategy: ReferenceStrategy): Promise<Commit[]> {
  const answer = await readDestination(
    destination,
    `SELECT id, base, epoch_ms(committed_at AT TIME ZONE 'UTC')::DOUBLE FROM _highwater_batches
       WHERE "schema" = '${schemaOf(strategy)}' ORDER BY committed_at`,
  );
  return answer.rows.map(([id, base, at]) => ({ id: String(id), base: String(base), at: Number(at) }));
}

/** Returns the problems of a table and its commit log. */
async function problemsOf(strategy: ReferenceStrategy, commits: Commit[]): Promise<string[]> {
  const view = strategy === 'step_size' ? 'step' : 'list';
  const { missing, stale, extra } = await difference(demo, destination, { view, schema: schemaOf(strategy) });
  const problems: string[] = [];
  if (missing.length + stale.length + extra.length > 0) {
    const some = (ids: string[]) => `${ids.length} (${ids.slice(0, 3).join(', ')})`;
    problems.push(`missing ${some(missing)}, stale ${some(stale)}, too many ${some(extra)}`);
  }
  if (new Set(commits.map(({ id }) => id)).size < commits.length) problems.push('a batch was applied twice');
  if (commits.slice(1).some(({ base }, i) => base !== commits[i]?.id)) problems.push('the chain is broken');
  return problems;
}

/**
 * Returns the seconds from the end of each fault of a kind to the next commit, including the pause between passes.
 * `alone`: no other fault came between.
 */
function recoveries(commits: Commit[], kind: string): { seconds: number; alone: boolean }[] {
  return troubles.flatMap((trouble) => {
    const next = commits.find(({ at }) => at > trouble.until);
    if (trouble.kind !== kind || next === undefined) return [];
    const alone = !troubles.some(
      (other) => other !== trouble && other.from < next.at && other.until > trouble.from,
    );
    return { seconds: (next.at - trouble.until) / 1000, alone };
  });
}

let exitCode = 1;
try {
  await nextWorker();
  for (const strategy of strategies) {
    const own = {
      schema: schemaOf(strategy),
      interval: '2s',
      timeout: '3s',
      batch_rows: 2000,
      history_limit: 1000,
    };
    const configuration = configurationFor(strategy, url, { ...own, ...configurations[strategy] });
    handles.set(
      strategy,
      await client.start(configuration, { taskQueue: TASK_QUEUE, workflowId: `soak-${strategy}` }),
    );
  }
  say(
    `${strategies.join(', ')} for ${options.minutes} minutes, seed ${options.seed}, server ${server.address}`,
  );
  const watching = watch();
  await Promise.all([killWorkers(), killServers(), misbehave(), changeData()]);
  await demo.set({ fail: [], latency_ms: 0 });
  say('faults are over');
  await quiesce();
  quiet = true;
  await watching;
  const last = current.worker?.pid;
  const lastRss = last === undefined ? null : await memory(last);
  if (lastRss !== null) rss.push(lastRss);

  const source = (await demo.records()).length;
  const lines: (string | number)[][] = [];
  const problems: string[] = failed === null ? [] : [failed];
  const times = new Map<string, ReturnType<typeof recoveries>>();
  for (const strategy of handles.keys()) {
    const commits = await commitsOf(strategy);
    const found = await problemsOf(strategy, commits);
    problems.push(...found.map((problem) => `${strategy}: ${problem}`));
    const progress = await handles.get(strategy)?.progress();
    const { passes = 0, rows: written = 0 } = progress?.totals ?? {};
    lines.push([strategy, passes, commits.length, written, found.length === 0 ? 'equal' : 'NOT EQUAL']);
    for (const kind of ['worker killed', 'Temporal server killed']) {
      times.set(kind, [...(times.get(kind) ?? []), ...recoveries(commits, kind)]);
    }
  }
  // A pause takes effect between batches, with nothing staged.
  for (const handle of handles.values()) await handle.pause().catch(() => undefined);
  for (const handle of handles.values()) {
    const isPaused = async () => (await handle.progress().catch(() => null))?.status === 'paused';
    for (const deadline = Date.now() + 20_000; Date.now() < deadline && !(await isPaused());)
      await delay(200);
  }
  await current.worker?.end();
  const left = (await readdir(folder)).filter((name) => name !== 'highwater.duckdb');
  if (left.length > 0) problems.push(`left behind: ${left.join(', ')}`);

  console.log('');
  console.log(table(['strategy', 'passes', 'commits', 'rows written', 'table'], lines));
  console.log(
    `\nrows held: ${source} in each table; ${changes} rows inserted or changed at the source meanwhile`,
  );
  console.log('faults survived:');
  for (const [kind, times_] of [...survived].sort()) console.log(`  ${String(times_).padStart(4)} ${kind}`);
  for (const [kind, all] of times) {
    const alone = all.flatMap(({ seconds, alone }) => (alone ? seconds : [])).sort((x, y) => x - y);
    const median = alone[Math.floor(alone.length / 2)]?.toFixed(1) ?? '–';
    const longest = alone.at(-1)?.toFixed(1) ?? '–';
    const ever = Math.max(0, ...all.map(({ seconds }) => seconds)).toFixed(1);
    console.log(
      `recovery, ${kind}: median ${median} s, longest ${longest} s (${alone.length} with no other fault meanwhile); ` +
        `longest with other faults on top (waits of a minute among them) ${ever} s`,
    );
  }
  const mb = (n: number | undefined) => `${Math.round(n ?? 0)} MB`;
  console.log(`worker's RSS: first ${mb(rss[0])}, last ${mb(rss.at(-1))}, greatest ${mb(Math.max(...rss))}`);
  console.log(`longest history: ${longestHistory} events`);
  console.log(`files left beside the database: ${left.length === 0 ? 'none' : left.join(', ')}`);
  console.log(problems.length === 0 ? '\nequal' : `\nNOT EQUAL\n  ${problems.join('\n  ')}`);
  exitCode = problems.length === 0 ? 0 : 1;
} finally {
  if (exitCode !== 0) {
    console.log(`\nthe last output of the worker:\n${current.worker?.said().slice(-3000)}`);
    console.log(`kept: ${folder}, ${home}`);
  }
  await current.worker?.end('SIGKILL').catch(() => undefined);
  await client.close().catch(() => undefined);
  await server.stop().catch(() => undefined);
  await api.close().catch(() => undefined);
  if (exitCode === 0) for (const path of [folder, home]) await rm(path, { recursive: true, force: true });
}
process.exit(exitCode);
