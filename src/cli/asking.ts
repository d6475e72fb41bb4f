import { HighwaterClient, type SyncHandle } from '../client.js';
import type { Target } from '../connection.js';
import type { TemporalServer } from '../dev/temporal-server.js';
import { PayloadKeyError } from '../payloads/encryption.js';
import type { Json, Progress } from '../protocol.js';
import { runningServer } from './server.js';

/** A query needs a worker; without one it would wait for long. */
const QUERY_MILLISECONDS = 5000;

/** A Temporal server, and a client of it. */
export interface Connected {
  client: HighwaterClient;
  server: TemporalServer;
  to: Target;
}

/** Does something with a server that is there already. */
export async function connected<T>(use: (connected: Connected) => Promise<T>): Promise<T> {
  const { server, to } = await runningServer();
  const client = await HighwaterClient.connect(to);
  try {
    return await use({ client, server, to });
  } finally {
    await client.close();
  }
}

/** The answer of a sync to a query. */
export interface Answer {
  progress: Progress;
  state: { [name: string]: Json };
}

/**
 * Asks each sync for its progress and state. Returns null for a sync whose worker does not answer in time.
 * @param options.onUnreadable receives the error of a sync whose answer this process has no key for; such a sync counts
 *   as one without an answer.
 * @throws {PayloadKeyError} for such a sync, if `onUnreadable` is absent.
 */
export async function askSyncs(
  client: HighwaterClient,
  handles: readonly SyncHandle[],
  options: { milliseconds?: number; onUnreadable?: (error: PayloadKeyError) => void } = {},
): Promise<(Answer | null)[]> {
  const { milliseconds = QUERY_MILLISECONDS, onUnreadable } = options;
  const deadline = Date.now() + milliseconds;
  // All to their end: one that is still being tried again when the connection closes would crash.
  return client.temporal.withDeadline(deadline, () =>
    Promise.all(
      handles.map(async (handle) => {
        const [progress, state] = await Promise.allSettled([handle.progress(), handle.state()]);
        // A worker has answered, and the answer cannot be read here.
        if (progress.status === 'rejected' && progress.reason instanceof PayloadKeyError) {
          if (onUnreadable === undefined) throw progress.reason;
          onUnreadable(progress.reason);
        }
        return progress.status === 'fulfilled' && state.status === 'fulfilled'
          ? { progress: progress.value, state: state.value }
          : null;
      }),
    ),
  );
}
