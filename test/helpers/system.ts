import type { StartOptions, SyncHandle } from '../../src/client.js';
import { type HighwaterClient, SyncFailedError } from '../../src/client.js';
import { readDestination } from '../../src/cli/query.js';
import { DemoClient, DemoServer, type DemoSettingsPatch } from '../../src/dev/demo-api.js';
import type { Json, StreamResult } from '../../src/protocol.js';
import { connect, scratch, startWorker, uniqueName, type WorkerProcess } from './harness.js';

/** A demo API in this process: starts in milliseconds, so that every test has one of its own. */
export interface TestApi {
  url: string;
  client: DemoClient;
  stop: () => Promise<void>;
}

export async function testApi(settings: DemoSettingsPatch = {}): Promise<TestApi> {
  const server = new DemoServer(settings);
  const url = `http://127.0.0.1:${await server.listen()}`;
  return { url, client: new DemoClient(url), stop: () => server.close() };
}

/** Everything between an API and a table: a worker in a process of its own, a client, and a destination. */
export interface System {
  client: HighwaterClient;
  worker: WorkerProcess;
  destination: string;
  /** Starts a sync on the worker. */
  start: (configuration: { [key: string]: Json }, options?: StartOptions) => Promise<SyncHandle>;
  /** Makes a sync and waits for its end. @throws {SyncFailedError} */
  sync: (configuration: { [key: string]: Json }, options?: StartOptions) => Promise<StreamResult>;
  /** Makes a sync that must fail. */
  failing: (configuration: { [key: string]: Json }, options?: StartOptions) => Promise<SyncFailedError>;
  /** Rows of a query on the destination. */
  query: (sql: string) => Promise<Json[][]>;
  stop: () => Promise<void>;
}

export async function startSystem(address: string, env: NodeJS.ProcessEnv = {}): Promise<System> {
  const folder = await scratch();
  const destination = folder.file('highwater.duckdb');
  const taskQueue = uniqueName('system');
  const worker = await startWorker({ address, taskQueue, destination, env });
  const client = await connect(address);
  const start: System['start'] = (configuration, options = {}) =>
    client.start(configuration, { taskQueue, workflowId: uniqueName('sync'), ...options });
  const sync: System['sync'] = async (configuration, options) => {
    const { streams } = await (await start(configuration, options)).result();
    const [stream] = streams;
    if (stream === undefined || streams.length > 1) throw new Error('the result has not one stream');
    return stream;
  };
  return {
    client,
    worker,
    destination,
    start,
    sync,
    failing: async (configuration, options) => {
      let done: StreamResult;
      try {
        done = await sync(configuration, options);
      } catch (thrown) {
        if (thrown instanceof SyncFailedError) return thrown;
        throw thrown;
      }
      throw new Error(`the sync should have failed, and has ended: ${JSON.stringify(done)}`);
    },
    query: async (sql) => (await readDestination(destination, sql)).rows,
    stop: async () => {
      await client.close();
      await worker.end();
      await folder.remove();
    },
  };
}
