import { Pool } from 'pg';
import type { DestinationConnections } from '../../trust/connections.js';

const CONNECT_MILLISECONDS = 10_000;

/**
 * Returns a pool of connections to a server; each is made when it is first used.
 * @param url a connection string, password included.
 * @param max largest number of connections.
 */
export function postgresPool(url: string, max: number, connections: DestinationConnections): Pool {
  const pool = new Pool({
    connectionString: url,
    application_name: 'highwater',
    max,
    connectionTimeoutMillis: CONNECT_MILLISECONDS,
    keepAlive: true,
    stream: () => connections.socket(),
  });
  // An idle connection that is cut needs no handling.
  pool.on('error', () => undefined);
  return pool;
}
