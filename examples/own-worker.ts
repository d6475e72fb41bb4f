/**
 * Runs a worker, and keeps one sync running on it: start it twice, or with another configuration, and there is still one.
 *
 *   npx highwater demo --api           the sample API, in another terminal
 *   npx tsx examples/own-worker.ts     until Ctrl-C
 */
import { AlreadyRunningError, HighwaterClient, type Configuration } from 'highwater';
import { createLogger, HighwaterWorker, installRuntime } from 'highwater/worker';

const configuration: Configuration = {
  source: { base_url: process.argv[2] ?? 'http://127.0.0.1:5001' },
  streams: [
    {
      name: 'user',
      path: '/pagination/keyset',
      strategy: 'keyset',
      cursor_field: 'updatedAt',
      primary_key: 'id',
    },
  ],
  interval: '15m',
};

// Logs as JSON on standard error. Leaves signals to this program.
installRuntime(createLogger('warn'));

const worker = await HighwaterWorker.create({
  taskQueue: 'example',
  // The worker owns this file: all syncs that write it do so through this worker.
  destination: 'example.duckdb',
  // Configurations may read the variables API_… and send requests to this machine, and nothing else.
  trust: { trust: 'none', allowEnv: ['API_*'], allowHosts: ['127.0.0.1'] },
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => worker.shutdown());

// Runs until shutdown(), which lets running work end first.
const running = worker.run();

const client = await HighwaterClient.connect();
try {
  const sync = await client.start(configuration, { workflowId: 'example-worker', taskQueue: 'example' });
  console.log(`started ${sync.workflowId}`);
} catch (error) {
  if (!(error instanceof AlreadyRunningError)) throw error;
  // It has run since an earlier start of this program. It takes this configuration and goes on.
  await client.sync(error.workflowId).configure(configuration);
  console.log(`${error.workflowId} continues`);
} finally {
  await client.close();
}

await running;
