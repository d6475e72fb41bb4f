import { Client } from 'pg';
import type { QueryAnswer } from '../destinations/query-socket.js';
import { serverOf } from '../destinations/location.js';
import { DestinationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';

/**
 * Runs one statement on a server that a configuration or the command line names, and changes nothing there.
 * @throws {DestinationError}
 */
export async function queryServer(destination: string, sql: string): Promise<QueryAnswer & { name: string }> {
  const { name, url, mask } = serverOf(destination, process.env);
  const client = new Client({
    connectionString: url,
    application_name: 'highwater query',
    connectionTimeoutMillis: 10_000,
    // As text: no digit is lost.
    types: { getTypeParser: () => (value: unknown) => value },
  });
  try {
    await client.connect();
    await client.query('BEGIN READ ONLY');
    const { fields, rows } = await client.query<Json[]>({ text: sql, rowMode: 'array' });
    return { name, columns: fields.map((field) => field.name), rows };
  } catch (thrown) {
    throw new DestinationError(`${name}: ${mask(messageOf(thrown))}`);
  } finally {
    await client.end().catch(() => undefined);
  }
}
