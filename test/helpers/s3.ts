import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePorts } from '../../src/dev/ports.js';
import { installGo, type GoInstall } from './go.js';

/** A server that speaks S3 over a folder (Versity's gateway). */
export const installS3 = (): Promise<GoInstall> =>
  installGo('no S3 server', 'github.com/versity/versitygw', 'cmd/versitygw', 'v1.8.0');

export interface S3Server {
  url: string;
  /** What the AWS SDK finds its credentials by. */
  env: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string; AWS_REGION: string };
  /** Where the objects of a bucket lie as files. */
  folder: (bucket: string) => string;
  makeBucket: (bucket: string) => Promise<void>;
  /** Ends it as a power cut does. */
  kill: () => Promise<void>;
  /** Starts it again over its files. */
  start: () => Promise<void>;
  stop: () => Promise<void>;
}

/** A server with data of its own, on a free port of the loopback. */
export async function startS3(program: string, { honoursConditions = true } = {}): Promise<S3Server> {
  const home = await mkdtemp(join(tmpdir(), 'highwater-s3-'));
  const [port = 0] = await freePorts([0]);
  const env = { AWS_ACCESS_KEY_ID: 'a-key', AWS_SECRET_ACCESS_KEY: 's3/secret+5f', AWS_REGION: 'us-east-1' };
  const data = join(home, 'data');
  const meta = join(home, 'meta');
  await mkdir(data);
  await mkdir(meta);
  // It honours them only where it may keep what it knows of an object.
  const keeps = honoursConditions ? ['--sidecar', meta] : ['--nometa'];
  let child: ReturnType<typeof spawn> | null = null;
  const url = `http://127.0.0.1:${port}`;
  const start = async () => {
    let said = '';
    const started = spawn(program, ['--quiet', '--port', `127.0.0.1:${port}`, 'posix', ...keeps, data], {
      env: {
        ...process.env,
        ROOT_ACCESS_KEY: env.AWS_ACCESS_KEY_ID,
        ROOT_SECRET_KEY: env.AWS_SECRET_ACCESS_KEY,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    started.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text));
    for (const deadline = Date.now() + 20_000; ;) {
      if (started.exitCode !== null) throw new Error(`the S3 server did not start: ${said}`);
      const answers = await fetch(url).then(
        () => true,
        () => false,
      );
      if (answers) return;
      if (Date.now() > deadline) throw new Error(`the S3 server does not answer: ${said}`);
      await delay(50);
    }
  };
  const kill = async () => {
    const running = child;
    child = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    running.kill('SIGKILL');
    await once(running, 'exit');
  };
  await start();
  return {
    ...{ url, env, start, kill },
    folder: (bucket) => join(data, bucket),
    // A bucket is a folder there.
    makeBucket: async (bucket) => void (await mkdir(join(data, bucket))),
    stop: async () => {
      await kill();
      await rm(home, { recursive: true, force: true });
    },
  };
}
