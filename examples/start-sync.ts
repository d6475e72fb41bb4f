/**
 * Starts a sync, waits for its end, and prints what it did.
 *
 *   npx highwater dev                 a Temporal server and a worker, in another terminal
 *   npx tsx examples/start-sync.ts    or as JavaScript, without the types
 */
import { AlreadyRunningError, HighwaterClient, SyncFailedError, type Configuration } from 'highwater';

// The same keys as in a configuration file. The type completes them and finds mistakes.
// Write secrets as references, "${env:NAME}": only the worker reads their values.
const configuration: Configuration = {
  strategy: 'keyset',
  base_url: process.argv[2] ?? 'http://127.0.0.1:5001/pagination/keyset',
  table: 'user',
};

// Connects as TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_API_KEY say, or a profile of Temporal's configuration file.
const client = await HighwaterClient.connect();

try {
  // Checks the configuration before anything starts. Only one sync with this id runs at a time.
  const sync = await client.start(configuration, { workflowId: 'example-users' });
  console.log(`started ${sync.workflowId}, run ${await sync.runId()}`);

  // The sync goes on without this program. Another program can ask for client.sync('example-users') later.
  const { streams } = await sync.result();
  for (const { stream, records, rows, endRule, cursor } of streams) {
    console.log(`${stream}: ${records} records read, ${rows} rows written, ended by ${endRule}`);
    console.log('the next sync continues at', cursor);
  }
} catch (error) {
  if (error instanceof AlreadyRunningError) {
    const { status, records } = await client.sync(error.workflowId).progress();
    console.log(`${error.workflowId} is ${status} already: ${records} records so far`);
  } else if (error instanceof SyncFailedError) {
    console.error(`${error.type}: ${error.message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
} finally {
  await client.close();
}
