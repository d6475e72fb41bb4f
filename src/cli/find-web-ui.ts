import type { Target } from '../connection.js';
import { findServer } from '../dev/temporal-server.js';

/** Returns the Web UI's address; null if it is not known. */
export async function findUi(to: Target): Promise<string | null> {
  const env = { ...process.env, TEMPORAL_ADDRESS: to.address };
  const recorded = await findServer().catch(() => null);
  if (recorded?.address === to.address) return recorded.uiUrl;
  return (await findServer({ env }).catch(() => null))?.uiUrl ?? null;
}
