import { execFile, spawn } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from '../../src/dev/ports.js';

/** The version of the reference API that everything here is compared with. */
export const PLAYGROUND_VERSION = '1.1.9';

const run = promisify(execFile);
const home = fileURLToPath(new URL('../../node_modules/.cache/highwater/playground/', import.meta.url));
const pythonIn = (venv: string): string => `${venv}/bin/python`;

/** Whether the reference API can run here. */
export type PlaygroundInstall = { available: true; python: string } | { available: false; reason: string };

/**
 * Installs the reference API into a cached virtual environment, once. Needs `python3` with `venv`, and the first time
 * a package index.
 */
export async function installPlayground(): Promise<PlaygroundInstall> {
  const venv = `${home}${PLAYGROUND_VERSION}`;
  const python = pythonIn(venv);
  const check = ['-c', 'import fivetran_api_playground'];
  try {
    await access(python);
    await run(python, check, { timeout: 30_000 });
    return { available: true, python };
  } catch {
    // Not there yet, or its Python has gone.
  }
  // Test files run side by side: each builds its own, and the first to finish gives it its name.
  const fresh = `${venv}.${process.pid}`;
  try {
    await mkdir(home, { recursive: true });
    await run('python3', ['-m', 'venv', fresh], { timeout: 60_000 });
    const options = [
      '--quiet',
      '--disable-pip-version-check',
      '--no-input',
      '--retries',
      '1',
      '--timeout',
      '15',
    ];
    const requirement = `fivetran-api-playground==${PLAYGROUND_VERSION}`;
    await run(pythonIn(fresh), ['-m', 'pip', 'install', ...options, requirement], { timeout: 180_000 });
    await run(pythonIn(fresh), check, { timeout: 30_000 });
    await rename(fresh, venv).catch(async () => {
      // Another was first, or what is there does not run.
      const usable = await run(python, check).then(
        () => true,
        () => false,
      );
      if (usable) return;
      await rm(venv, { recursive: true, force: true });
      await rename(fresh, venv);
    });
    return { available: true, python };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const last = (stderr?.trim() || message).split('\n').at(-1) ?? '';
    return { available: false, reason: `cannot install the reference API: ${last.slice(0, 200)}` };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/** How the reference API is started. */
export interface PlaygroundOptions {
  rateLimit?: boolean;
  /** Tokens in its bucket; only with `rateLimit`. */
  capacity?: number;
}

/** A running reference API, with data of its own. */
export interface Playground {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>;
}

/** Who may read `/auth/…`; by itself the reference makes up others at each start. */
export const PLAYGROUND_CREDENTIALS = {
  user: 'someone@example.com',
  password: 'pass/word+1',
  bearer: 'bearer-7d1c5a90',
  key: 'key-4b0e2f6d',
  sessionUser: 'session@example.com',
  sessionPassword: 'session-pass-8d2e',
};

// Three things about the reference's own start are in a test's way: it asks PyPI for a newer version, it runs as two
// processes so as to reload its sources, and it outlives us. None of them changes an answer.
const LAUNCHER = `
import os, sys, threading
import fivetran_api_playground as playground

def leave_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)

threading.Thread(target=leave_with_parent, daemon=True).start()
playground.check_newer_version = lambda: None
serve = playground.app.run
playground.app.run = lambda **options: serve(**{**options, 'use_reloader': False})
(playground.HTTP_BASIC_USERNAME, playground.HTTP_BASIC_PASSWORD, playground.HTTP_BEARER_TOKEN, playground.API_KEY,
 playground.SESSION_AUTH_USERNAME, playground.SESSION_AUTH_PASSWORD) = (
    ${JSON.stringify(Object.values(PLAYGROUND_CREDENTIALS))}
)
sys.argv = ['playground', *sys.argv[1:]]
playground.main()
`;

/**
 * Starts the reference API on a free port, in a process group of its own. Every start makes new random data. It ends
 * by itself when this process does.
 */
export async function startPlayground(python: string, options: PlaygroundOptions = {}): Promise<Playground> {
  const [port = 0] = await freePorts([0]);
  const limit = options.rateLimit ? ['--rate-limit', '--capacity', String(options.capacity ?? 20)] : [];
  const child = spawn(python, ['-u', '-c', LAUNCHER, 'start', '--port', String(port), ...limit], {
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true,
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let said = '';
  let gone = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  child.stdin.on('error', () => {});
  child.once('close', () => (gone = true));
  const stop = async (): Promise<void> => {
    try {
      if (!gone && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Gone in this moment.
    }
    await exited;
  };

  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + 30_000;
  // Its log says that it listens; a request would take a token from the bucket.
  while (!said.includes('Running on ')) {
    if (gone) throw new Error(`the reference API did not start: ${said.trim()}`);
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`the reference API did not start within 30 s: ${said.trim()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { url, port, pid: child.pid as number, stop };
}
