import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rm, rmdir, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning, processStart } from '../processes.js';

/** The owner of a destination file, as written beside it in `FILE.owner`. */
export interface OwnerRecord {
  /** Unique to one claim. */
  claim: string;
  host: string;
  pid: number;
  /** Start time of the process as the kernel tells it, since process ids are reused. */
  processStart: string | null;
  /** The task queue of the destination. */
  queue: string;
  /** The worker's main task queue. */
  taskQueue: string;
  address: string;
  /** Identifies the Temporal server whatever its address; absent if the server does not tell. */
  clusterId?: string;
  namespace: string;
  /** Socket for `highwater query` and other requests. */
  socket: string;
}

const REFRESH_MILLISECONDS = 3000;
/** An owner on another host counts as alive for this long after its last refresh. */
const STALE_MILLISECONDS = 15_000;
/** A takeover lasts milliseconds; the lock of an older one was left by a crash. */
const SUCCESSION_MILLISECONDS = 5000;

/** A claim on a destination file, refreshed until it is released. */
export class Ownership {
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly path: string,
    readonly record: OwnerRecord,
  ) {
    this.timer = setInterval(() => {
      const now = new Date();
      void utimes(path, now, now).catch(() => undefined);
    }, REFRESH_MILLISECONDS);
    this.timer.unref();
  }

  /**
   * Claims the file, or returns its owner. DuckDB's own lock prevents a second writer; this record tells where to send
   * the work.
   */
  static async claim(
    destination: string,
    details: Omit<OwnerRecord, 'claim' | 'host' | 'pid' | 'processStart'>,
  ): Promise<Ownership | OwnerRecord> {
    const path = ownerFile(destination);
    const record: OwnerRecord = {
      claim: randomUUID(),
      host: hostname(),
      pid: process.pid,
      processStart: processStart(process.pid),
      ...details,
    };
    for (;;) {
      try {
        const handle = await open(path, 'wx', 0o600);
        await handle.writeFile(JSON.stringify(record));
        await handle.close();
        return new Ownership(path, record);
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
      }
      const other = await liveOwner(destination);
      if (other !== null) return other;
      await removeDead(destination, path);
    }
  }

  /** Whether the claim still holds. */
  async stands(): Promise<boolean> {
    return (await readOwner(this.path))?.claim === this.record.claim;
  }

  async release(): Promise<void> {
    clearInterval(this.timer);
    if (await this.stands()) await rm(this.path, { force: true });
  }
}

/** Returns the live owner of a destination file; null if there is none. */
export async function liveOwner(destination: string): Promise<OwnerRecord | null> {
  const path = ownerFile(destination);
  const [record, info] = await Promise.all([readOwner(path), stat(path).catch(() => null)]);
  if (info === null) return null;
  const fresh = Date.now() - info.mtimeMs < STALE_MILLISECONDS;
  // Just created and not yet written: its writer is alive.
  if (record === null) return fresh && Date.now() - info.mtimeMs < 1000 ? liveOwner(destination) : null;
  if (record.host !== hostname()) return fresh ? record : null;
  return isRunning(record) ? record : null;
}

/**
 * Removes the record of a dead owner, one process at a time: a slower one could remove the record of the first
 * successor.
 */
async function removeDead(destination: string, path: string): Promise<void> {
  const lock = `${path}.succession`;
  try {
    await mkdir(lock);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    const info = await stat(lock).catch(() => null);
    if (info !== null && Date.now() - info.mtimeMs > SUCCESSION_MILLISECONDS) {
      await rmdir(lock).catch(() => undefined);
    }
    await delay(20);
    return;
  }
  try {
    if ((await liveOwner(destination)) === null) await rm(path, { force: true });
  } finally {
    await rmdir(lock).catch(() => undefined);
  }
}

const ownerFile = (destination: string) => `${destination}.owner`;

async function readOwner(path: string): Promise<OwnerRecord | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as OwnerRecord;
  } catch {
    return null;
  }
}
