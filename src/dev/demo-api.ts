/**
 * Starts the bundled demo API: the rules, messages, order, tokens and limits of the reference API
 * (`fivetran-api-playground` 1.1.9), with any number of records, and with switches for common faults.
 */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { isSource, ownCode } from '../own-files.js';
import { DemoClient } from './demo-api/client.js';
import type { DemoSettingsPatch } from './demo-api/settings.js';

export { DemoClient, type DemoRecord } from './demo-api/client.js';
export type { MutationReport, RecordIds } from './demo-api/records.js';
export { DemoServer, type DemoStats } from './demo-api/server.js';
export type {
  DemoSettings,
  DemoSettingsPatch,
  Fault,
  FaultInput,
  Gaps,
  MutateEvery,
  Mutation,
  MutationInput,
} from './demo-api/settings.js';

export interface DemoApiOptions {
  /** Default: 0, any free port. */
  port?: number;
  /** Initial switches. By default all are off and there are 200 rows. */
  settings?: DemoSettingsPatch;
}

/** A demo API in a process of its own. */
export interface DemoApi {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly client: DemoClient;
  /** Ends the process and waits for its exit. */
  stop(): Promise<void>;
}

/**
 * Starts the demo API in a process of its own. It ends with this process, however that ends, and does not keep it
 * running.
 * @throws {Error} with the process's output, if it ends before it listens.
 */
export async function startDemoApi(options: DemoApiOptions = {}): Promise<DemoApi> {
  const main = ownCode(`dev/demo-api-main.${isSource ? 'ts' : 'js'}`);
  // From source the entry is TypeScript, which needs its loader.
  const loader = isSource
    ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href]
    : [];
  const flags = ['--parent', '--port', String(options.port ?? 0)];
  const settings = ['--settings', JSON.stringify(options.settings ?? {})];
  const child = spawn(process.execPath, [...loader, main, ...flags, ...settings], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  // The process may end before its input is closed.
  child.stdin.on('error', () => {});
  const port = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () =>
      reject(new Error(`the demo API did not start: ${said.trim() || 'it said nothing'}`)),
    );
    createInterface({ input: child.stdout }).once('line', (line) => {
      resolve((JSON.parse(line) as { port: number }).port);
    });
  });

  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as Socket).unref();
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    pid: child.pid as number,
    client: new DemoClient(url),
    async stop() {
      child.ref();
      child.kill('SIGTERM');
      const overdue = setTimeout(() => child.kill('SIGKILL'), 2000);
      await exited;
      clearTimeout(overdue);
    },
  };
}
