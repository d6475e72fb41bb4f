/**
 * Starts a sync through the typed client, waits for it, and says what it did.
 *
 *   npx highwater dev                 a Temporal server and a worker, in another terminal
 *   npx tsx examples/start-sync.ts    or as plain JavaScript, with the types left out
 */
import { AlreadyRunningError, HighwaterClient, SyncFailedError } from 'highwater';

// What a configuration file would say. Secrets stay out of it: "${env:NAME}" is resolved where the worker runs.
const configuration = {
  strategy: 'keyset',
  base_url: process.argv[2] ?? 'http://127.0.0.1:5001/pagination/keyset',
  table: 'user',
};

// TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and the rest, or a profile of Temporal's configuration file.
const client = await HighwaterClient.connect();

try {
  // The configuration is checked here, before anything starts. One sync of an id runs at a time.
  const sync = await client.start(configuration, { workflowId: 'example-users' });
  console.log(`started ${sync.workflowId}, run ${await sync.runId()}`);

  // Durable: this program may end here, and another may ask for client.sync('example-users') tomorrow.
  const { streams } = await sync.result();
  for (const { stream, records, rows, endRule, cursor } of streams) {
    console.log(`${stream}: ${records} records read, ${rows} rows written, ended by ${endRule}`);
    console.log('the next sync goes on from', cursor);
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
