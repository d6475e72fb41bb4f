/**
 * Where the CPU time of a sync goes: seconds of each process and kind of thread over one run, Highwater's beside the
 * limit's. `npx tsx bench/profile.ts [--rows N] [--runs N]`; Linux only, as it reads /proc.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { table } from '../src/cli/output.js';
import { HighwaterClient } from '../src/client.js';
import { target } from '../src/connection.js';
import { startDemoApi } from '../src/dev/demo-api.js';
import { startLocalServer } from '../src/dev/temporal-server.js';
import { cpuOf as cpu } from './cpu.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const options = new Command('profile')
  .option('--rows <n>', 'rows of the source', '1000000')
  .option('--runs <n>', 'runs; the last one counts', '3')
  .parse()
  .opts<{ rows: string; runs: string }>();
const rows = Number(options.rows);

const total = (parts: ReadonlyMap<string, number>) => [...parts.values()].reduce((a, b) => a + b, 0);

const folder = await mkdtemp(join(tmpdir(), 'highwater-profile-'));
await mkdir(join(folder, 'state'));
const server = await startLocalServer({ stateDir: join(folder, 'state'), ports: { grpc: 0, ui: 0 } });
const client = await HighwaterClient.connect(target(server.address));
const api = await startDemoApi({ settings: { rows, max_page: 1000 } });
const apiPid = api.pid;
const url = `${api.url}/pagination/offset`;

for (let run = 0; run < Number(options.runs); run++) {
  const file = join(folder, `${run}.duckdb`);
  const worker = spawn(
    process.execPath,
    [
      ...(process.env['FLAGS'] ?? '').split(' ').filter(Boolean),
      join(root, 'dist/cli.js'),
      'worker',
      '--task-queue',
      'bench',
    ],
    {
      env: { ...process.env, TEMPORAL_ADDRESS: server.address },
      stdio: ['ignore', process.env['GC'] === undefined ? 'ignore' : 'inherit', 'pipe'],
    },
  );
  let said = '';
  worker.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  while (!said.includes('Worker ready')) await delay(20);
  const pid = worker.pid as number;
  const before = { worker: cpu(pid), server: total(cpu(server.pid as number)), api: total(cpu(apiPid)) };
  const started = performance.now();
  const handle = await client.start(
    { strategy: 'offset', base_url: url, page_size: 1000, destination: file },
    { taskQueue: 'bench' },
  );
  await handle.result();
  const wall = (performance.now() - started) / 1000;
  const after = { worker: cpu(pid), server: total(cpu(server.pid as number)), api: total(cpu(apiPid)) };
  const lines = [...after.worker].map(
    ([name, s]) => [`worker: ${name}`, s - (before.worker.get(name) ?? 0)] as const,
  );
  const all = total(after.worker) - total(before.worker);
  console.log(
    table(
      ['part', 'CPU s'],
      [
        ...lines
          .filter(([, s]) => s >= 0.01)
          .sort((a, b) => b[1] - a[1])
          .map(([name, s]) => [name, s.toFixed(2)]),
        ['worker in all', all.toFixed(2)],
        ['Temporal server', (after.server - before.server).toFixed(2)],
        ['API', (after.api - before.api).toFixed(2)],
        ['wall', wall.toFixed(2)],
      ],
    ),
  );
  worker.kill('SIGTERM');
  await once(worker, 'exit');
  const bare = spawn(
    process.execPath,
    [
      join(root, 'node_modules/tsx/dist/cli.mjs'),
      join(root, 'bench/limit.ts'),
      url,
      String(rows),
      '1000',
      join(folder, `limit-${run}.duckdb`),
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const apiBefore = total(cpu(apiPid));
  await once(bare, 'exit');
  console.log(`API for the limit: ${(total(cpu(apiPid)) - apiBefore).toFixed(2)}`);
}
await client.close();
await api.stop();
await server.stop();
await rm(folder, { recursive: true, force: true });
