/** A worker from the build, in a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const CLI = join(fileURLToPath(new URL('..', import.meta.url)), 'dist/cli.js');
export const TASK_QUEUE = 'bench';

/**
 * Starts a worker, and waits until it takes work.
 * @param nodeFlags such as `--cpu-prof`.
 */
export async function startBenchWorker(
  address: string,
  nodeFlags: readonly string[] = [],
): Promise<ChildProcess & { pid: number }> {
  const worker = spawn(process.execPath, [...nodeFlags, CLI, 'worker', '--task-queue', TASK_QUEUE], {
    env: {
      BENCH_KEY: 'a key for hashes',
      HIGHWATER_HOOKS: fileURLToPath(new URL('hooks', import.meta.url)),
      ...process.env,
      TEMPORAL_ADDRESS: address,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  worker.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  while (!said.includes('Worker ready')) {
    if (worker.exitCode !== null || worker.pid === undefined) throw new Error(said);
    await delay(20);
  }
  return worker as unknown as ChildProcess & { pid: number };
}
