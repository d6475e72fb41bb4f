import { spawn } from 'node:child_process';
import { freePorts } from '../../src/dev/ports.js';
import { installPython, type PythonInstall } from './python.js';

/** The version of the reference API that everything here is compared with. */
export const PLAYGROUND_VERSION = '1.1.9';

/** Installs the reference API, once. */
export const installPlayground = (): Promise<PythonInstall> =>
  installPython(
    `playground-${PLAYGROUND_VERSION}`,
    [`fivetran-api-playground==${PLAYGROUND_VERSION}`],
    ['fivetran_api_playground'],
    'the reference API',
  );

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
