import { createHash } from 'node:crypto';
import { mkdir, realpath, rm, rmdir } from 'node:fs/promises';
import type { Server } from 'node:net';
import { availableParallelism, hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import {
  DestinationElsewhereError,
  DestinationError,
  isStorageFull,
  messageOf,
  StorageFullError,
} from '../errors.js';
import type { Destination } from './destination.js';
import { DuckDbDestination } from './duckdb.js';
import { DuckDbFile } from './duckdb-file.js';
import { Ownership, type OwnerRecord } from './owner.js';
import { runQuery, serveQueries, socketPath } from './query-socket.js';

/** What a worker tells others of itself when it owns a destination. */
export interface HostOptions {
  taskQueue: string;
  address: string;
  namespace: string;
  /** Begins to poll a task queue with this worker's activities; the answer stops it. */
  poll: (queue: string) => Promise<() => Promise<void>>;
}

export interface HostedDestination {
  path: string;
  queue: string;
  destination: Destination;
}

interface Owned extends HostedDestination {
  ownership: Ownership;
  server: Server;
  stopPolling: () => Promise<void>;
}

/** DuckDB's own; more of it made loading no faster. A worker as a whole stays below 600 MB. */
const MEMORY_LIMIT = process.env['HIGHWATER_DUCKDB_MEMORY'] ?? '192MiB';
/** One core is left to the reader: on two cores a second thread made the same load cost a quarter more CPU time. */
const THREADS = Math.min(Math.max(availableParallelism() - 1, 1), 4);
const IDLE_MILLISECONDS = 2000;

/**
 * The destinations that this worker owns. A file has one owner; the owner polls a task queue of the file's own,
 * so that every batch staged here is written here.
 */
export class DestinationHost {
  private readonly owned = new Map<string, Promise<Owned | OwnerRecord>>();

  constructor(private readonly options: HostOptions) {}

  /** The file's one true path: absolute, links followed. */
  async locate(path: string): Promise<string> {
    const absolute = resolve(path);
    const known = await realpath(absolute).catch(() => null);
    if (known !== null) return known;
    return orRefused(absolute, async () => {
      await mkdir(dirname(absolute), { recursive: true });
      return join(await realpath(dirname(absolute)), basename(absolute));
    });
  }

  /** Becomes the owner of a destination, or says who is. */
  async claim(path: string): Promise<HostedDestination | OwnerRecord> {
    let claimed = this.owned.get(path);
    if (claimed !== undefined) {
      const known = await claimed;
      if ('ownership' in known) {
        if (await known.ownership.stands()) return known;
        await this.drop(known);
      }
      this.owned.delete(path);
    }
    claimed = this.own(path);
    this.owned.set(path, claimed);
    claimed.catch(() => this.owned.delete(path));
    return claimed;
  }

  /**
   * A destination that this worker owns.
   * @throws {DestinationElsewhereError}
   */
  async get(path: string): Promise<HostedDestination> {
    const owned = await this.owned.get(path);
    if (owned === undefined || !('ownership' in owned)) {
      throw new DestinationElsewhereError(`this worker does not own the destination ${path}`);
    }
    return owned;
  }

  /** Releases everything: stops polling, closes the files. */
  async close(): Promise<void> {
    const all = await Promise.allSettled(this.owned.values());
    this.owned.clear();
    await Promise.all(
      all.map(async (settled) => {
        if (settled.status === 'fulfilled' && 'ownership' in settled.value) await this.drop(settled.value);
      }),
    );
  }

  private async own(path: string): Promise<Owned | OwnerRecord> {
    const hash = createHash('sha256').update(`${hostname()}\n${path}`).digest('hex').slice(0, 12);
    const queue = `highwater-destination-${basename(path)}-${hash}`;
    const socket = socketPath(hash);
    const { taskQueue, address, namespace } = this.options;
    const details = { queue, taskQueue, address, namespace, socket };
    const ownership = await orRefused(path, () => Ownership.claim(path, details));
    if (!(ownership instanceof Ownership)) return ownership;
    const file = new DuckDbFile(path, {
      memoryLimit: MEMORY_LIMIT,
      threads: THREADS,
      idleMilliseconds: IDLE_MILLISECONDS,
    });
    const server = await serveQueries(socket, (sql) => file.read((connection) => runQuery(connection, sql)));
    const stopPolling = await this.options.poll(queue);
    return { path, queue, destination: new DuckDbDestination(file), ownership, server, stopPolling };
  }

  private async drop(owned: Owned): Promise<void> {
    await owned.stopPolling();
    owned.server.close();
    if (process.platform !== 'win32') await rm(owned.ownership.record.socket, { force: true });
    await owned.destination.close();
    // Empty unless a sync was left in the middle.
    await rmdir(`${owned.path}.staging`).catch(() => undefined);
    await owned.ownership.release();
  }
}

/** What the file system will not have whatever one does, said at once; what may pass, as it is. */
async function orRefused<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (isStorageFull(thrown)) throw new StorageFullError(`the destination ${path}`, messageOf(thrown));
    const { code = '' } = thrown as NodeJS.ErrnoException;
    if (!FOR_GOOD.includes(code)) throw thrown;
    throw new DestinationError(`the destination ${path} cannot be used: ${messageOf(thrown)}`);
  }
}

const FOR_GOOD = [
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOTDIR',
  'EEXIST',
  'EISDIR',
  'ENAMETOOLONG',
  'ELOOP',
  'EINVAL',
];
