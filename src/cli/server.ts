import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { target, type Target } from '../connection.js';
import { processExists, withLock } from '../dev/lock.js';
import {
  ensureServer,
  findServer,
  stopRecordedServer,
  type ServerOptions,
  type TemporalServer,
} from '../dev/temporal-server.js';
import { note } from './output.js';
import { stateDir } from '../state-dir.js';

/** A Temporal server that commands on this machine may share. */
export interface SharedServer extends TemporalServer {
  /** Whether this command started it. */
  started: boolean;
  /**
   * Says that this command needs it no more. A local server of ours is stopped by the last command that leaves it:
   * one that was started by a run that ends first must not be stopped under the others.
   * @returns whether it was stopped.
   */
  leave: () => Promise<boolean>;
}

/** A Temporal server to use: the one that is configured, one that is found, or one that is started now. */
export async function localServer(): Promise<{ server: SharedServer; to: Target }> {
  const options = serverOptions();
  const found = await findServer(options);
  if (found !== null && found.from !== 'recorded') {
    const server = { ...found, started: false, leave: () => Promise.resolve(false) };
    return { server, to: target(found.address) };
  }
  const users = join(stateDir(), 'users');
  const lock = join(stateDir(), 'users.lock');
  const own = join(users, String(process.pid));
  const isLast = () => {
    rmSync(own, { force: true });
    const gone = readdirSync(users).filter((pid) => !processExists(Number(pid)));
    for (const pid of gone) rmSync(join(users, pid), { force: true });
    return readdirSync(users).length === 0;
  };
  await withLock(lock, async () => {
    mkdirSync(users, { recursive: true, mode: 0o700 });
    writeFileSync(own, '');
  });
  let server: TemporalServer & { started: boolean };
  try {
    server = await ensureServer({ ...options, log: note, detached: true });
  } catch (thrown) {
    rmSync(own, { force: true });
    throw thrown;
  }
  // A second Ctrl-C ends this process at once; the server has a process group of its own.
  const atExit = () => {
    if (isLast() && server.pid !== null && processExists(server.pid)) process.kill(server.pid, 'SIGTERM');
  };
  process.once('exit', atExit);
  const leave = () =>
    withLock(lock, async () => {
      process.off('exit', atExit);
      return isLast() && (await stopRecordedServer()) !== null;
    });
  return { server: { ...server, leave }, to: target(server.address) };
}

/** A Temporal server that is there already; nothing is started. */
export async function runningServer(): Promise<{ server: TemporalServer; to: Target }> {
  const server = await findServer(serverOptions());
  if (server === null) {
    throw new Error(
      'no Temporal server was found. Set TEMPORAL_ADDRESS, or start a local one with: npx highwater dev',
    );
  }
  return { server, to: target(server.address) };
}

/** HIGHWATER_TEMPORAL_PORT is looked at, and used, in place of 7233; 0 looks at none and uses any that is free. */
export function serverOptions(): ServerOptions {
  const text = process.env['HIGHWATER_TEMPORAL_PORT'] ?? '';
  if (text === '') return {};
  const grpc = Number(text);
  if (!/^\d+$/.test(text) || grpc > 64_535) {
    throw new Error(`HIGHWATER_TEMPORAL_PORT must be a port up to 64535, not ${text}`);
  }
  return { ports: { grpc, ui: grpc === 0 ? 0 : grpc + 1000 } };
}
