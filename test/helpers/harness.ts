import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { query } from '../../src/cli/query.js';
import { HighwaterClient } from '../../src/client.js';
import { target } from '../../src/connection.js';
import type { DemoClient, DemoRecord } from '../../src/dev/demo-api.js';
import type { Json } from '../../src/protocol.js';
import { envWithoutTemporal } from './temporal.js';

/** The command line as users have it: the build in `dist`. */
export const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** A folder for one test; removed by `remove`. */
export async function scratch(): Promise<{
  path: string;
  file: (name: string) => string;
  remove: () => Promise<void>;
}> {
  const path = await mkdtemp(join(tmpdir(), 'highwater-scratch-'));
  return { path, file: (name) => join(path, name), remove: () => rm(path, { recursive: true, force: true }) };
}

/** A worker in a process of its own, as `highwater worker` runs it. */
export interface WorkerProcess {
  pid: number;
  taskQueue: string;
  /** What it wrote to standard error so far. */
  said: () => string;
  /** Sends a signal and waits for the end. */
  end: (signal?: NodeJS.Signals) => Promise<void>;
  child: ChildProcess;
}

export interface WorkerProcessOptions {
  address: string;
  taskQueue: string;
  destination?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Another build than the one in `dist`. */
  cli?: string;
  /** Besides those for queue and destination. */
  flags?: string[];
}

/** Starts a worker and waits until it is ready. */
export async function startWorker(options: WorkerProcessOptions): Promise<WorkerProcess> {
  const flags = ['--task-queue', options.taskQueue, ...(options.flags ?? [])];
  if (options.destination !== undefined) flags.push('--destination', options.destination);
  const child = spawn(process.execPath, [options.cli ?? CLI, 'worker', ...flags], {
    env: envWithoutTemporal({ ...options.env, TEMPORAL_ADDRESS: options.address }),
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const exited = once(child, 'exit');
  while (!said.includes('Worker ready')) {
    if (child.exitCode !== null) throw new Error(`the worker did not start: ${said}`);
    await delay(20);
  }
  return {
    pid: child.pid as number,
    taskQueue: options.taskQueue,
    said: () => said,
    child,
    end: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await exited;
    },
  };
}

/** A client of a test server. */
export const connect = (address: string): Promise<HighwaterClient> =>
  HighwaterClient.connect(target(address));

let unique = 0;
/** A name that no other test uses. */
export const uniqueName = (what: string): string =>
  `${what}-${process.pid}-${Date.now().toString(36)}-${unique++}`;

/** Runs the command line to its end. */
export async function highwater(
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: envWithoutTemporal(options.env),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  const out = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, ...out };
}

/** The rows of a table as the source would write them, by id. */
export async function tableRows(
  destination: string,
  schema = 'main',
  table = 'user',
): Promise<Map<string, string>> {
  const time = (name: string) => `strftime("${name}" AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ')`;
  const { rows } = await query(
    destination,
    `SELECT id, name, email, address, company, job, ${time('createdAt')}, ${time('updatedAt')} FROM "${schema}"."${table}"`,
  );
  const found = new Map<string, string>();
  for (const row of rows) {
    const id = String(row[0]);
    if (found.has(id)) throw new Error(`the table has the key ${id} twice`);
    found.set(id, JSON.stringify(row));
  }
  return found;
}

/** A record of the source as {@link tableRows} shows its row. */
export const rowText = (r: DemoRecord): string =>
  JSON.stringify([r.id, r.name, r.email, r.address, r.company, r.job, r.createdAt, r.updatedAt]);

/** What differs between the source and the table; all empty where they are equal, row for row. */
export interface Difference {
  missing: string[];
  stale: string[];
  extra: string[];
}

export const EQUAL: Difference = { missing: [], stale: [], extra: [] };

/** Compares a table with the demo API's records, every column of every row. */
export async function difference(
  source: DemoClient,
  destination: string,
  options: { view?: 'list' | 'step'; schema?: string; table?: string } = {},
): Promise<Difference> {
  const found = await tableRows(destination, options.schema, options.table);
  const result: Difference = { missing: [], stale: [], extra: [] };
  for (const r of await source.records(options.view ?? 'list')) {
    const stored = found.get(r.id);
    found.delete(r.id);
    const wanted = rowText(r);
    if (stored === undefined) result.missing.push(r.id);
    else if (stored !== wanted) result.stale.push(r.id);
  }
  result.extra.push(...found.keys());
  return result;
}

/** The reference paths of the five strategies. */
export const PATHS = {
  keyset: '/pagination/keyset',
  offset: '/pagination/offset',
  timestamp: '/incremental/timestamp',
  step_size: '/incremental/step',
  replay: '/incremental/timestamp',
} as const;

/** A flat configuration for one strategy of an API. */
export const configurationFor = (
  strategy: keyof typeof PATHS,
  url: string,
  more: { [key: string]: Json } = {},
): { [key: string]: Json } => ({ strategy, base_url: url + PATHS[strategy], page_size: 50, ...more });

/** All that a history says; in its JSON a payload is base64. */
export const historyText = (history: unknown): string =>
  JSON.stringify(history).replace(/"data":"([^"]+)"/g, (_, data: string) =>
    Buffer.from(data, 'base64').toString(),
  );

/** Waits until something holds. */
export async function until(
  holds: () => Promise<boolean> | boolean,
  seconds: number,
  what: string,
): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s in vain for: ${what}`);
    await delay(50);
  }
}
