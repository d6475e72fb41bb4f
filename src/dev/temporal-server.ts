import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, type ConnectionOptions } from '@temporalio/client';
import { type ClientConnectConfig, loadClientConnectConfig } from '@temporalio/envconfig';
import { processExists, withLock } from './lock.js';
import { freePorts, portAnswers } from './ports.js';
import { temporalBinary } from './temporal-binary.js';
import { stateDir } from '../state-dir.js';

/** A Temporal server that has answered. */
export interface TemporalServer {
  /** `host:port` of the gRPC frontend. */
  readonly address: string;
  readonly namespace: string;
  /** Base address of the Web UI, without a trailing slash; `null` if unknown. */
  readonly uiUrl: string | null;
  /** How the server was found. */
  readonly from: 'configuration' | 'recorded' | 'usual port' | 'started';
  /** Process id of a server that Highwater started. */
  readonly pid: number | null;
  /** For `Connection.connect` and `NativeConnection.connect`. May contain credentials: never print it. */
  readonly connectionOptions: ConnectConfig;
}

/** A server from {@link startLocalServer} or {@link ensureServer}. */
export interface LocalServer extends TemporalServer {
  /** Whether this call started it. */
  readonly started: boolean;
  /** Stops the server if this call started it. */
  stop(): Promise<void>;
}

export interface ServerOptions {
  /** Folder of the server's database, its record and its log. Default: {@link stateDir} of `env`. */
  readonly stateDir?: string;
  /** Preferred ports; 0 is any free port. The gRPC port is also where a running server is looked for. */
  readonly ports?: { readonly grpc: number; readonly ui: number };
  /** The Temporal CLI to start. Default: found or downloaded by {@link temporalBinary}. */
  readonly cli?: string;
  /** Lets the server outlive this process. Default: it is stopped when this process exits. */
  readonly detached?: boolean;
  /** Time limit for a configured server to answer. Default: 5000. */
  readonly answerWithinMs?: number;
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Reports progress to the user, one line at a time. Default: silent. */
  readonly log?: (line: string) => void;
}

/** Content of `server.json` in the state folder: the server that uses the folder. */
export interface ServerRecord {
  readonly pid: number;
  readonly address: string;
  readonly uiUrl: string;
  readonly startedAt: string;
  /** Part of the process's command line, which proves that its id has not been reused. */
  readonly stateFile: string;
}

/** Default ports of Temporal's own tools. */
export const USUAL_PORTS = { grpc: 7233, ui: 8233 } as const;

const HEALTHY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 5000;
const NOT_FOUND = 5; // of gRPC's status codes

/**
 * With the server's defaults a sequential activity takes 35 to 100 ms, with these settings 9 to 12 (measured, 2 cores).
 */
const DYNAMIC_CONFIGURATION = [
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
  // By default timers are up to a second late: a retry after 0.2 s would come after 1 s.
  'history.timerProcessorMaxTimeShift="10ms"',
  // By default a workflow task that is lost repeatedly is retried only every few minutes.
  'history.workflowTaskRetryMaxInterval="5s"',
  'system.enableActivityEagerExecution=true',
  'history.workflowIdReuseMinimalInterval="0s"',
];
const PRAGMAS = ['journal_mode=wal', 'synchronous=normal'];
const SETTINGS = [
  ...DYNAMIC_CONFIGURATION.flatMap((value) => ['--dynamic-config-value', value]),
  ...PRAGMAS.flatMap((value) => ['--sqlite-pragma', value]),
];

/**
 * Finds a server, or starts one: see {@link findServer} and {@link startLocalServer}.
 *
 * @throws if an address is configured and no server answers there: a local one never replaces it
 */
export async function ensureServer(options: ServerOptions = {}): Promise<LocalServer> {
  const found = await findServer(options);
  return found ? notOurs(found) : startLocalServer(options);
}

/**
 * Looks for a running server: at the configured address (`TEMPORAL_ADDRESS`, or a profile of Temporal's configuration
 * file), then the one recorded in the state folder, then on the usual port.
 *
 * @throws if an address is configured and no server answers there
 */
export async function findServer(options: ServerOptions = {}): Promise<TemporalServer | null> {
  const env = options.env ?? process.env;
  const { connectionOptions, namespace } = configuration(env);
  const configured = connectionOptions.address;
  if (configured) {
    try {
      await checkHealth(connectionOptions, namespace, options.answerWithinMs ?? 5000);
    } catch (error) {
      const origin = env.TEMPORAL_ADDRESS ? 'TEMPORAL_ADDRESS' : 'from your Temporal configuration file';
      throw new Error(
        `Cannot connect to the Temporal server at ${configured} (${origin}): ${messageOf(error)}. ` +
          'Start it, or unset the address to let Highwater start a local one.',
        { cause: error },
      );
    }
    const uiUrl = await guessUiUrl(configured, options);
    return { address: configured, namespace, uiUrl, from: 'configuration', pid: null, connectionOptions };
  }
  const recorded = await recordedServer(options);
  if (recorded) return recorded;
  const { grpc } = options.ports ?? USUAL_PORTS;
  const address = `127.0.0.1:${grpc}`;
  if (grpc === 0) return null;
  try {
    await probeServer(address, namespace, 5000);
  } catch {
    return null; // nothing there, or no Temporal server
  }
  const uiUrl = await guessUiUrl(address, options);
  return { address, namespace, uiUrl, from: 'usual port', pid: null, connectionOptions: { address } };
}

/**
 * Starts a server with a database file, so that histories survive a restart, and waits until it is healthy. If two
 * processes start one on the same folder, one does and both use it.
 *
 * If this process is killed, the server stays; it is found again through its record, and {@link stopRecordedServer}
 * stops it.
 */
export async function startLocalServer(options: ServerOptions = {}): Promise<LocalServer> {
  const log = options.log ?? (() => {});
  const { dir, lockFile } = files(options);
  const start = async (stillHeld: () => boolean) => {
    const running = await recordedServer(options);
    return running ? notOurs(running) : launchServer(options, stillHeld);
  };
  return withLock(lockFile, start, (holder) => {
    log(`Waiting for process ${holder}, which is starting a server on ${dir}`);
  });
}

async function launchServer(options: ServerOptions, stillHeld: () => boolean): Promise<LocalServer> {
  const env = options.env ?? process.env;
  const log = options.log ?? (() => {});
  const cli = options.cli ?? (await temporalBinary({ env, log })).path;
  const { namespace } = configuration(env);
  const { logFile, stateFile, recordFile } = files(options);
  const usual = options.ports ?? USUAL_PORTS;
  for (let attempt = 1; ; attempt++) {
    const [port, uiPort] = await freePorts(attempt === 1 ? [usual.grpc, usual.ui] : [0, 0]);
    const address = `127.0.0.1:${port}`;
    const uiUrl = `http://127.0.0.1:${uiPort}`;
    const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', `${port}`, '--ui-port', `${uiPort}`];
    args.push('--db-filename', stateFile, '--namespace', namespace, '--log-level', 'error', ...SETTINGS);
    // Two servers must never open the same database file, so nothing may come between this check and the record below.
    if (!stillHeld()) throw new Error(`Another process is starting a server on ${stateFile}; try again`);
    // An older version may have created them with the default permissions.
    for (const file of [...databaseFiles(stateFile), logFile]) if (existsSync(file)) chmodSync(file, 0o600);
    const child = spawnServer(cli, args, env, logFile);
    if (child.pid === undefined) {
      const [error] = (await once(child, 'error')) as [Error];
      throw new Error(`${cli} cannot be started: ${error.message}`, { cause: error });
    }
    const record = { pid: child.pid, address, uiUrl, startedAt: new Date().toISOString(), stateFile };
    writeRecord(recordFile, record);
    try {
      await untilHealthy(child, address, namespace);
    } catch (error) {
      await stopProcess(record, recordFile);
      const output = tail(logFile);
      // Another program took a port after it was found free.
      if (attempt < 3 && /address already in use|Only one usage of each socket/.test(output)) continue;
      const reason = `The local Temporal server did not start: ${messageOf(error)}`;
      throw new Error(`${reason}\nThe end of its log, ${logFile}:\n${output}`, { cause: error });
    }
    const stopAtExit = () => signal(record, 'SIGTERM');
    if (!options.detached) {
      process.once('exit', stopAtExit);
      child.once('exit', () => process.off('exit', stopAtExit));
    }
    log(`Temporal server at ${address}, Web UI at ${uiUrl}, state in ${stateFile}`);
    return {
      address,
      namespace,
      uiUrl,
      from: 'started',
      pid: record.pid,
      connectionOptions: { address },
      started: true,
      stop: () => stopProcess(record, recordFile),
    };
  }
}

/**
 * Stops the server recorded in the state folder, even if another process started it.
 *
 * @returns the record of the stopped server, or `null` if none ran
 */
export async function stopRecordedServer(options: ServerOptions = {}): Promise<ServerRecord | null> {
  const { recordFile } = files(options);
  const record = readRecord(recordFile);
  if (!record || !isStillRunning(record)) return null;
  await stopProcess(record, recordFile);
  return record;
}

/** Deletes the local server's state: all workflows, schedules and histories. Refuses while the server runs. */
export async function resetServerState(options: ServerOptions = {}): Promise<void> {
  const { stateFile, recordFile, logFile, lockFile } = files(options);
  await withLock(lockFile, async () => {
    const record = readRecord(recordFile);
    if (record && isStillRunning(record)) {
      throw new Error(
        `The server at ${record.address} (process ${record.pid}) uses ${stateFile}; stop it first`,
      );
    }
    for (const file of [...databaseFiles(stateFile), recordFile, logFile]) rmSync(file, { force: true });
  });
}

/** Returns the recorded server once it answers; `null` if there is none or it has died. */
async function recordedServer(options: ServerOptions): Promise<TemporalServer | null> {
  const record = readRecord(files(options).recordFile);
  const { namespace } = configuration(options.env ?? process.env);
  if (!record) return null;
  // It may be starting or stopping, which ends soon; a second server must not open its file meanwhile.
  const started = Date.parse(record.startedAt) + HEALTHY_WITHIN_MS;
  const stopped = Date.now() + STOP_WITHIN_MS + 1000;
  while (isStillRunning(record)) {
    const { address, uiUrl, pid } = record;
    try {
      await probeServer(address, namespace, 5000);
      return { address, namespace, uiUrl, from: 'recorded', pid, connectionOptions: { address } };
    } catch (error) {
      const answered = (error as { code?: unknown }).code === NOT_FOUND; // it runs, but lacks that namespace
      if (answered || Date.now() > Math.max(started || 0, stopped)) {
        throw new Error(
          `The local Temporal server (process ${pid}) is running, but does not work at ${address}: ${messageOf(error)}`,
          { cause: error },
        );
      }
    }
    await sleep(100);
  }
  return null;
}

function notOurs(server: TemporalServer): LocalServer {
  return { ...server, started: false, stop: async () => {} };
}

function files(options: ServerOptions) {
  const dir = resolve(options.stateDir ?? stateDir(options.env));
  return {
    dir,
    stateFile: join(dir, 'temporal.db'),
    recordFile: join(dir, 'server.json'),
    lockFile: join(dir, 'server.lock'),
    logFile: join(dir, 'temporal.log'),
  };
}

type ConnectConfig = ClientConnectConfig['connectionOptions'];

function configuration(env: NodeJS.ProcessEnv): { connectionOptions: ConnectConfig; namespace: string } {
  const set = Object.entries(env).filter((entry): entry is [string, string] => !!entry[1]);
  const { connectionOptions, namespace } = loadClientConnectConfig({
    overrideEnvVars: Object.fromEntries(set),
  });
  return { connectionOptions, namespace: namespace || 'default' };
}

/** Throws unless the frontend answers and knows the namespace: the port opens a second before that. */
async function checkHealth(options: ConnectConfig, namespace: string, limitMs: number): Promise<void> {
  const connection = await Connection.connect({ ...(options as ConnectionOptions), connectTimeout: limitMs });
  try {
    await connection.withDeadline(Date.now() + limitMs, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
  } finally {
    await connection.close();
  }
}

/** Runs {@link checkHealth}, without the gRPC client's long wait if nothing listens. */
async function probeServer(address: string, namespace: string, limitMs: number): Promise<void> {
  const [host, port] = splitAddress(address);
  if (!(await portAnswers(port, host))) throw new Error(`no server answers at ${address}`);
  await checkHealth({ address }, namespace, limitMs);
}

async function untilHealthy(child: ChildProcess, address: string, namespace: string): Promise<void> {
  const deadline = Date.now() + HEALTHY_WITHIN_MS;
  for (;;) {
    const failure = await probeServer(address, namespace, 2000).then(() => null, asError);
    // Checked first: if this child has ended, any server that answers is another program's.
    if (child.signalCode !== null) throw new Error(`it was ended by ${child.signalCode}`);
    if (child.exitCode !== null) throw new Error(`it ended with exit code ${child.exitCode}`);
    if (!failure) return;
    if (Date.now() > deadline) throw failure;
    await sleep(25);
  }
}

const databaseFiles = (stateFile: string) =>
  ['', '-wal', '-shm', '-journal'].map((suffix) => stateFile + suffix);

/** Starts the server. Histories contain configurations and data, so only this user may read its files. */
function spawnServer(cli: string, args: string[], env: NodeJS.ProcessEnv, logFile: string): ChildProcess {
  const output = openSync(logFile, 'w', 0o600);
  const umask = process.umask(0o077);
  try {
    // In a process group of its own, so that Ctrl-C reaches Highwater but not the server that its workers need.
    const child = spawn(cli, args, {
      env,
      detached: true,
      stdio: ['ignore', output, output],
      windowsHide: true,
    });
    child.unref();
    return child;
  } finally {
    process.umask(umask);
    closeSync(output);
  }
}

async function stopProcess(record: ServerRecord, recordFile: string): Promise<void> {
  signal(record, 'SIGTERM');
  if (!(await goneWithin(record, STOP_WITHIN_MS))) {
    signal(record, 'SIGKILL');
    await goneWithin(record, STOP_WITHIN_MS);
  }
  if (readRecord(recordFile)?.pid === record.pid) rmSync(recordFile, { force: true });
}

function signal(record: ServerRecord, name: NodeJS.Signals): void {
  try {
    if (isStillRunning(record)) process.kill(record.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it has just ended
  }
}

async function goneWithin(record: ServerRecord, limitMs: number): Promise<boolean> {
  for (const deadline = Date.now() + limitMs; Date.now() < deadline; await sleep(25)) {
    if (!isStillRunning(record)) return true;
  }
  return !isStillRunning(record);
}

/** Whether the recorded process lives and is still the recorded server. */
function isStillRunning(record: ServerRecord): boolean {
  if (!processExists(record.pid)) return false;
  return commandLine(record.pid)?.includes(record.stateFile) ?? true;
}

/** Returns the command line; empty for a process that has ended but was not yet collected, `null` if unknown. */
function commandLine(pid: number): string | null {
  try {
    if (process.platform === 'win32') return null;
    if (process.platform !== 'linux') {
      return execFileSync('ps', ['-ww', '-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' });
    }
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    if (line) return line;
    // Empty as soon as the process begins to end, but only a zombie (Z) has released its files and ports.
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? '' : null;
  } catch {
    return processExists(pid) ? null : '';
  }
}

function readRecord(file: string): ServerRecord | null {
  try {
    const { pid, address, uiUrl, startedAt, stateFile } = JSON.parse(
      readFileSync(file, 'utf8'),
    ) as ServerRecord;
    const valid =
      pid > 0 && [address, uiUrl, startedAt, stateFile].every((value) => typeof value === 'string');
    return valid ? { pid, address, uiUrl, startedAt, stateFile } : null;
  } catch {
    return null; // absent or damaged
  }
}

function writeRecord(file: string, record: ServerRecord): void {
  writeFileSync(`${file}.${record.pid}`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.${record.pid}`, file); // atomic: readers never see a partial record
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-20).join('\n');
  } catch {
    return '(no log)';
  }
}

async function guessUiUrl(address: string, options: ServerOptions): Promise<string | null> {
  const record = readRecord(files(options).recordFile);
  if (record?.address === address) return record.uiUrl;
  const env = options.env ?? process.env;
  if (env.TEMPORAL_UI_URL) return env.TEMPORAL_UI_URL.replace(/\/+$/, '');
  const [host, port] = splitAddress(address);
  if (/\.(tmprl\.cloud|api\.temporal\.io)$/.test(host)) return 'https://cloud.temporal.io';
  const guess = `http://${host}:${port + 1000}`; // where Temporal's own tools put it
  return fetch(guess, { method: 'HEAD', signal: AbortSignal.timeout(1000) }).then(
    () => guess,
    () => null,
  );
}

function splitAddress(address: string): [host: string, port: number] {
  const colon = address.lastIndexOf(':');
  return colon < 0
    ? [address, USUAL_PORTS.grpc]
    : [address.slice(0, colon), Number(address.slice(colon + 1))];
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function messageOf(error: unknown): string {
  return asError(error).message;
}
