/**
 * Profiles the CPU time of a sync: seconds of each process, and of each kind of thread in the worker. `npm run
 * bench:profile -- --rows 1000000`; `--node-flags=--cpu-prof` profiles the main thread. Linux only, as it reads /proc.
 */
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { table } from '../src/cli/output.js';
import { HighwaterClient } from '../src/client.js';
import { target } from '../src/connection.js';
import { startDemoApi } from '../src/dev/demo-api.js';
import { startLocalServer } from '../src/dev/temporal-server.js';
import { installPostgres, startPostgres } from '../test/helpers/postgres.js';
import { cpuOf, cpuSecondsOf, cpuSecondsOfChildren } from './cpu.js';
import { startBenchWorker, TASK_QUEUE } from './worker.js';

const options = new Command('bench:profile')
  .option('--rows <n>', 'rows of the source', '1000000')
  .option('--runs <n>', 'runs; each is shown', '3')
  .addOption(
    new Option('--destination <kind>', 'what is written').choices(['duckdb', 'postgres']).default('duckdb'),
  )
  .option('--node-flags <list>', "comma-separated flags of the worker's Node", '')
  .parse()
  .opts<{ rows: string; runs: string; nodeFlags: string; destination: 'duckdb' | 'postgres' }>();

const folder = await mkdtemp(join(tmpdir(), 'highwater-profile-'));
await mkdir(join(folder, 'state'));
const server = await startLocalServer({ stateDir: join(folder, 'state'), ports: { grpc: 0, ui: 0 } });
const client = await HighwaterClient.connect(target(server.address));
const api = await startDemoApi({ settings: { rows: Number(options.rows), max_page: 1000 } });

const postgres = options.destination === 'postgres' ? await startPostgresHere() : null;

async function startPostgresHere() {
  const install = await installPostgres();
  if (!install.available) throw new Error(install.reason);
  return startPostgres(install.bin);
}

/** Creates a new file, or a new database on the server. */
async function destinationOf(run: number): Promise<string> {
  if (postgres === null) return join(folder, `${run}.duckdb`);
  await postgres.query(`CREATE DATABASE profile${run}`);
  return postgres.url.replace(/[^/]*$/, `profile${run}`);
}

for (let run = 0; run < Number(options.runs); run++) {
  const worker = await startBenchWorker(server.address, options.nodeFlags.split(',').filter(Boolean));
  const now = () => ({
    worker: cpuOf(worker.pid),
    others: {
      'Temporal server': cpuSecondsOf(server.pid ?? 0),
      API: cpuSecondsOf(api.pid),
      ...(postgres !== null && { PostgreSQL: cpuSecondsOfChildren(postgres.pid()) }),
    },
  });
  const destination = await destinationOf(run);
  const before = now();
  const started = performance.now();
  const handle = await client.start(
    {
      strategy: 'offset',
      base_url: `${api.url}/pagination/offset`,
      page_size: 1000,
      destination,
    },
    { taskQueue: TASK_QUEUE },
  );
  await handle.result();
  const wall = (performance.now() - started) / 1000;
  const after = now();
  const used = (a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>) =>
    [...b].map(([name, seconds]): [string, number] => [name, seconds - (a.get(name) ?? 0)]);
  const lines = [
    ...used(before.worker, after.worker).map(([name, s]): [string, number] => [`worker: ${name}`, s]),
    ...used(new Map(Object.entries(before.others)), new Map(Object.entries(after.others))),
    ['wall clock', wall] as [string, number],
  ];
  console.log(
    table(
      ['part', 'seconds'],
      lines.filter(([, s]) => s >= 0.01).map(([name, s]) => [name, s.toFixed(2)]),
    ),
  );
  worker.kill('SIGTERM');
  await once(worker, 'exit');
}
await client.close();
await api.stop();
await server.stop();
await postgres?.stop();
await rm(folder, { recursive: true, force: true });
