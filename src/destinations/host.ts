import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, realpath, rm, rmdir } from 'node:fs/promises';
import type { LookupFunction } from 'node:net';
import { availableParallelism, hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  DestinationElsewhereError,
  DestinationError,
  isStorageFull,
  messageOf,
  StorageFullError,
} from '../errors.js';
import { destinationKind } from '../config/destination-kind.js';
import { REFERENCE } from '../secrets/reference-syntax.js';
import { DestinationConnections } from '../trust/connections.js';
import { realPath } from '../trust/patterns.js';
import { TrustPolicy } from '../trust/policy.js';
import { isOwn, requireDestination } from './allowed.js';
import { customAddress } from '../config/custom-address.js';
import {
  type CustomDestination,
  type CustomDestinations,
  type DestinationDefinition,
  definitionFor,
  NO_DESTINATIONS,
  type Unfit,
  unfitFor,
  wholeDestination,
} from './custom.js';
import type { Destination } from './destination.js';
import type { StreamPlan } from '../protocol.js';
import type { SecretStore } from '../secrets/store.js';
import type { ReadSecrets } from '../secrets/read-secrets.js';
import { DuckDbDestination } from './duckdb/duckdb.js';
import { DuckDbFile, type DuckDbSettings } from './duckdb/file.js';
import { FilesDestination } from './files/files.js';
import {
  customOf,
  filesOf,
  serverOf,
  type CustomLocation,
  type FilesLocation,
  type ServerLocation,
} from './location.js';
import { LocalStore, TEMPORARY } from './files/object-store.js';
import { Ownership, type OwnerRecord } from './duckdb/owner.js';
import { postgresPool } from './postgres/pool.js';
import { PostgresDestination } from './postgres/postgres.js';
import { stagingFolder } from '../staging/staging.js';
import { runQuery } from './duckdb/query.js';
import { serveQueries, socketPath } from './duckdb/query-socket.js';
import { S3Store } from './files/s3-store.js';
import type { ServedQueue, ServedQueues } from './served-queues.js';
import type { Mask } from '../secrets/masking.js';

/** Options of a destination host. The first four are recorded beside a file, for other workers and commands. */
export interface HostOptions {
  taskQueue: string;
  address: string;
  clusterId?: string | undefined;
  namespace: string;
  /** Starts polling a task queue with this worker's activities; returns a function that stops it. */
  poll: (queue: string) => Promise<() => Promise<void>>;
  /** Resolves references in addresses. */
  environment: NodeJS.ProcessEnv;
  /** Decides which destinations may be used. */
  trust: TrustPolicy;
  /** Reads secrets of providers in addresses. */
  secrets: SecretStore;
  /** Resolves the names of servers; absent: the machine's own resolver. */
  resolveName?: LookupFunction;
  /** The destinations of extensions; absent: none. */
  destinations?: CustomDestinations;
  /** Where polled queues are written down for the next worker; absent: nowhere. */
  served?: ServedQueues;
}

export interface HostedDestination {
  /** Absolute path of a DuckDB file, or the address of a server or of files without secrets. */
  path: string;
  /** Prefix of the destination's paths on this machine. */
  beside: string;
  queue: string;
  destination: Destination;
  /** Returns the parts of a stream that the destination does not support; absent: it supports all. */
  unfit?: (plan: StreamPlan) => Unfit[];
}

interface Owned extends HostedDestination {
  /** Whether the claim still holds. */
  stands: () => Promise<boolean>;
  /** Switches to connections with new credentials. */
  renew?: (server: ServerLocation) => void;
  release: () => Promise<void>;
}

/**
 * Memory of DuckDB; more hardly made loading faster. The whole worker stays below 600 MB. Parsing takes eight times the
 * length of a record, so batches with long records get more.
 */
const MEMORY_LIMIT = process.env['HIGHWATER_DUCKDB_MEMORY'] ?? '128MiB';
const LONG_RECORDS_MEMORY = process.env['HIGHWATER_DUCKDB_MEMORY'] ?? '192MiB';
/** Leaves one core to the reader: on two cores a second thread cost a quarter more CPU time for the same load. */
const THREADS = Math.min(Math.max(availableParallelism() - 1, 1), 4);
const IDLE_MILLISECONDS = 2000;
export const SETTINGS: DuckDbSettings = {
  memoryLimit: MEMORY_LIMIT,
  longRecordsMemory: LONG_RECORDS_MEMORY,
  ...(process.env['HIGHWATER_DUCKDB_MEMORY'] === undefined && { spareMemory: ['256MiB', '512MiB'] }),
  threads: THREADS,
  idleMilliseconds: IDLE_MILLISECONDS,
};
/** Writing JSON doubles the buffer until a record fits, so long records take more memory. */
export const JSON_MEMORY = {
  memoryLimit: process.env['HIGHWATER_DUCKDB_MEMORY'] ?? '256MiB',
  longRecordsMemory: process.env['HIGHWATER_DUCKDB_MEMORY'] ?? '448MiB',
};

/** Maximum connections to one server; each stream writes on its own. */
const CONNECTIONS = 8;

/**
 * The destinations that this worker writes to. A DuckDB file has one owner; a server, folder or bucket may have many
 * writers. Each destination has its own task queue, so that a batch staged on this machine is written on this machine.
 */
export class DestinationHost {
  private readonly owned = new Map<string, Promise<Owned | OwnerRecord>>();
  private readonly servers = new Map<string, ServerLocation>();
  private readonly files = new Map<string, FilesLocation>();
  private readonly custom = new Map<string, FoundCustom>();
  /** Addresses whose credentials a server refused, by server name. */
  private readonly refused = new Map<string, string>();
  /** Destinations as configurations name them, by their canonical names. */
  private readonly asked = new Map<string, string>();
  /** Ends polling of queues that were taken over from dead workers. */
  private readonly takenOver: (() => Promise<void>)[] = [];

  private readonly connections: DestinationConnections;

  constructor(private readonly options: HostOptions) {
    this.connections = new DestinationConnections(options.trust, options.resolveName);
  }

  /**
   * Returns the canonical name of a destination: the absolute path of a file with links followed; the address of a
   * server or of files without secrets.
   * @throws {NotAllowedError | ConfigurationError | SecretUnavailableError}
   */
  async locate(path: string): Promise<string> {
    const located = await this.canonical(path);
    this.asked.set(located, path);
    return located;
  }

  private async canonical(path: string): Promise<string> {
    const { environment, trust, destinations = NO_DESTINATIONS } = this.options;
    const lent = isOwn(path, trust) ? TrustPolicy.local(environment, trust.ownDestination) : trust;
    const read = await this.readSecrets(path, lent);
    requireDestination(path, environment, trust, read, destinations);
    const kind = destinationKind(path);
    if (kind === 'server') {
      const server = serverOf(path, environment, lent, read);
      this.servers.set(server.name, server);
      return server.name;
    }
    if (kind === 'files') {
      const files = filesOf(path, environment, lent, read);
      trust.requireOutsideHooks(files.name, pathsWritten(files.beside));
      this.files.set(files.name, files);
      return files.name;
    }
    if (kind === 'custom') {
      const definition = definitionFor(customAddress(path).scheme, destinations);
      const location = customOf(path, definition, environment, lent, read);
      const { name, parts } = location;
      if (!parts.address.startsWith('//'))
        trust.requireOutsideHooks(name, pathsWritten(realPath(parts.address)));
      this.custom.set(name, { definition, location });
      return name;
    }
    const absolute = realPath(path);
    trust.requireOutsideHooks(absolute, pathsWritten(absolute));
    const known = await realpath(absolute).catch(() => null);
    if (known !== null) return known;
    return explainRefusal(absolute, async () => {
      await mkdir(dirname(absolute), { recursive: true });
      return join(await realpath(dirname(absolute)), basename(absolute));
    });
  }

  /** Claims a destination; returns the record of its owner if another worker has it. */
  async claim(path: string): Promise<HostedDestination | OwnerRecord> {
    const server = this.servers.get(path);
    let claimed = this.owned.get(path);
    if (claimed !== undefined) {
      const known = await claimed;
      if ('release' in known) {
        if (server !== undefined) known.renew?.(server);
        if (await known.stands()) return known;
        await known.release();
      }
      this.owned.delete(path);
    }
    const files = this.files.get(path);
    const custom = this.custom.get(path);
    claimed =
      server !== undefined
        ? this.openServer(server)
        : files !== undefined
          ? this.openFiles(files)
          : custom !== undefined
            ? this.openCustom(custom)
            : this.openDatabase(path);
    this.owned.set(path, claimed);
    claimed.catch(() => this.owned.delete(path));
    return claimed;
  }

  /**
   * Returns a destination that this worker owns.
   * @throws {DestinationElsewhereError}
   */
  async get(path: string): Promise<HostedDestination> {
    const owned = await this.owned.get(path);
    if (owned === undefined || !('release' in owned)) {
      throw new DestinationElsewhereError(`this worker does not own the destination ${path}`);
    }
    return owned;
  }

  /**
   * Opens the destinations that a worker of this machine had open when it died, so that their syncs continue at once:
   * they still know the dead worker's queue.
   * @returns the destinations.
   */
  async takeOver(): Promise<string[]> {
    const { served, trust } = this.options;
    const queues = (await served?.takeOver()) ?? [];
    if (queues.length === 0) return [];
    const opened: string[] = [];
    for (const { queue, destination } of queues) {
      const asked = destination ?? trust.ownDestination;
      if (asked === null || (destinationKind(asked) === 'duckdb' && !existsSync(asked))) continue;
      try {
        const hosted = await this.claim(await this.locate(asked));
        if (!('destination' in hosted)) continue;
        if (hosted.queue !== queue) this.takenOver.push(await this.pollAs({ queue, destination }));
        opened.push(hosted.path);
      } catch {
        // Opening the stream says what is wrong.
      }
    }
    return opened;
  }

  /** Returns a destination as a configuration names it; null for the worker's own, whose address may hold secrets. */
  private askedFor(located: string): string | null {
    const asked = this.asked.get(located) ?? located;
    if (asked === this.options.trust.ownDestination) return null;
    return destinationKind(asked) === 'duckdb' ? located : asked;
  }

  /** Polls a destination's queue, and writes it down. @returns a function that ends both. */
  private async pollAs(served: ServedQueue): Promise<() => Promise<void>> {
    const stopPolling = await this.options.poll(served.queue);
    const forget = await this.options.served?.add(served);
    return async () => {
      await stopPolling();
      await forget?.();
    };
  }

  /** Stops polling and closes all destinations. */
  async close(): Promise<void> {
    for (const stopPolling of this.takenOver.splice(0)) await stopPolling();
    const all = await Promise.allSettled(this.owned.values());
    this.owned.clear();
    await Promise.all(
      all.map(async (settled) => {
        if (settled.status === 'fulfilled' && 'release' in settled.value) await settled.value.release();
      }),
    );
  }

  /** Reads the secrets that an address refers to, and those of the addresses that it is compared with. */
  private async readSecrets(path: string, lent: TrustPolicy): Promise<ReadSecrets> {
    const { environment, trust, secrets } = this.options;
    const read = await secrets.read(path, lent);
    if (trust.trust === 'local') return read;
    const listed = [trust.ownDestination, ...trust.destinations];
    return (await secrets.read(listed, TrustPolicy.local(environment))).with(read);
  }

  /**
   * Forgets the secrets that a server refused, once for each address that they make.
   * @returns whether other secrets may be available.
   */
  private forgetRefused({ name, url, read }: ServerLocation): boolean {
    if (read.isEmpty || this.refused.get(name) === url) return false;
    this.refused.set(name, url);
    this.options.secrets.forget(read);
    return true;
  }

  private async openDatabase(path: string): Promise<Owned | OwnerRecord> {
    const hash = createHash('sha256').update(`${hostname()}\n${path}`).digest('hex').slice(0, 12);
    const queue = `highwater-destination-${basename(path)}-${hash}`;
    const socket = socketPath(hash);
    const { taskQueue, address, clusterId, namespace } = this.options;
    const cluster = clusterId !== undefined && { clusterId };
    const details = { queue, taskQueue, address, ...cluster, namespace, socket };
    const ownership = await explainRefusal(path, () => Ownership.claim(path, details));
    if (!(ownership instanceof Ownership)) return ownership;
    const file = new DuckDbFile(path, SETTINGS);
    const destination = new DuckDbDestination(file);
    const answering = await serveQueries(socket, {
      query: (sql, limit, read) => file.read((_, connection) => read(runQuery(connection, sql, limit))),
      retry: (request) => destination.retry(request),
      history: (request) => destination.history(request),
    });
    const stopPolling = await this.pollAs({ queue, destination: this.askedFor(path) });
    return {
      path,
      beside: path,
      queue,
      destination,
      stands: () => ownership.stands(),
      release: async () => {
        await stopPolling();
        answering.close();
        if (process.platform !== 'win32') await rm(ownership.record.socket, { force: true });
        await destination.close();
        // Not empty if a sync stopped in the middle.
        await rmdir(stagingFolder(path)).catch(() => undefined);
        await ownership.release();
      },
    };
  }

  /** Opens a server. Its queue is unique to this worker, because staged batches are on this machine. */
  private async openServer(server: ServerLocation): Promise<Owned> {
    const { name, beside } = server;
    const connectBy = (url: string) => postgresPool(url, CONNECTIONS, this.connections);
    let current = server;
    const destination = new PostgresDestination(connectBy(server.url), name, undefined, server.mask, () =>
      this.forgetRefused(current),
    );
    const [, database = ''] = /^[^?]*\/([^/?]*)/.exec(name.replace(REFERENCE, '')) ?? [];
    const queue = `highwater-destination-${database}-${randomUUID().slice(0, 12)}`;
    const stopPolling = await this.pollAs({ queue, destination: this.askedFor(name) });
    return {
      path: name,
      beside,
      queue,
      destination,
      stands: () => Promise.resolve(true),
      renew: (newest) => {
        if (newest.url === current.url) return;
        current = newest;
        destination.reconnect(connectBy(newest.url), newest.mask);
      },
      release: async () => {
        await stopPolling();
        await destination.close();
        await rmdir(stagingFolder(beside)).catch(() => undefined);
      },
    };
  }

  /** Opens a destination of an extension. Its queue is unique to this worker, as with a server. */
  private async openCustom({ definition, location }: FoundCustom): Promise<Owned> {
    const { name, beside, options, mask } = location;
    let made: CustomDestination;
    try {
      await mkdir(dirname(beside), { recursive: true });
      made = await definition.open(options, { name, beside, mask });
    } catch (thrown) {
      if (thrown instanceof Error) thrown.message = mask(thrown.message);
      throw thrown;
    }
    const destination = wholeDestination(made, mask);
    const queue = `highwater-destination-${definition.name}-${randomUUID().slice(0, 12)}`;
    const stopPolling = await this.pollAs({ queue, destination: this.askedFor(name) });
    return {
      path: name,
      beside,
      queue,
      destination,
      unfit: (plan) => unfitFor(definition, plan),
      stands: () => Promise.resolve(true),
      release: async () => {
        await stopPolling();
        await destination.close();
        await rmdir(stagingFolder(beside)).catch(() => undefined);
      },
    };
  }

  /**
   * Opens a folder or bucket. Its queue is unique to this worker, as with a server; the manifest orders the commits of
   * all writers.
   */
  private async openFiles({ name, address, beside, mask }: FilesLocation): Promise<Owned> {
    const { at, format, partitionBy } = address;
    const store =
      at.kind === 'local'
        ? new LocalStore(at.path, mask)
        : await S3Store.open(at, `${beside}.cache`, this.connections, { mask });
    // In the folder itself, so that a finished file is renamed instead of copied.
    const scratch = at.kind === 'local' ? join(at.path, TEMPORARY) : `${beside}.tmp`;
    if (at.kind === 'local') await explainRefusal(name, () => mkdir(scratch, { recursive: true }), mask);
    const duckdb = new DuckDbFile(name, {
      ...SETTINGS,
      ...(format === 'ndjson' && JSON_MEMORY),
      spill: join(scratch, `spill-${randomUUID()}`),
      folders: [stagingFolder(beside), scratch, store.folder],
    });
    const destination = new FilesDestination(store, duckdb, { format, partitionBy, scratch });
    const queue = `highwater-destination-files-${randomUUID().slice(0, 12)}`;
    const stopPolling = await this.pollAs({ queue, destination: this.askedFor(name) });
    return {
      path: name,
      beside,
      queue,
      destination,
      stands: () => Promise.resolve(true),
      release: async () => {
        await stopPolling();
        await destination.close();
        await rmdir(stagingFolder(beside)).catch(() => undefined);
      },
    };
  }
}

/** A destination of an extension that was located. */
interface FoundCustom {
  definition: DestinationDefinition;
  location: CustomLocation;
}

/** Paths on this machine that a destination writes to. */
const pathsWritten = (beside: string): string[] =>
  ['', '.staging', '.credentials', '.tmp', '.cache', '.owner', '.wal'].map((end) => beside + end);

/** Throws a permanent error for failures of the file system that a retry cannot fix; rethrows others. */
async function explainRefusal<T>(
  path: string,
  work: () => Promise<T>,
  mask: Mask = (text) => text,
): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const said = mask(messageOf(thrown));
    if (isStorageFull(thrown)) throw new StorageFullError(`the destination ${path}`, said);
    const { code = '' } = thrown as NodeJS.ErrnoException;
    if (!FOR_GOOD.includes(code)) throw thrown;
    throw new DestinationError(`the destination ${path} cannot be used: ${said}`);
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
