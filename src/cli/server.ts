import { target, type Target } from '../connection.js';
import { ensureServer, findServer, type LocalServer, type TemporalServer } from '../dev/temporal-server.js';
import { note } from './output.js';

/** A Temporal server to use: the one that is configured, one that is found, or one that is started now. */
export async function localServer(): Promise<{ server: LocalServer; to: Target }> {
  const server = await ensureServer({ log: note });
  return { server, to: target(server.address) };
}

/** A Temporal server that is there already; nothing is started. */
export async function runningServer(): Promise<{ server: TemporalServer; to: Target }> {
  const server = await findServer();
  if (server === null) {
    throw new Error(
      'no Temporal server was found. Set TEMPORAL_ADDRESS, or start a local one with: npx highwater dev',
    );
  }
  return { server, to: target(server.address) };
}
