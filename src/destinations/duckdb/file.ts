import { closeSync, existsSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import { stagingFolder } from '../../staging/staging.js';
import { confine, NO_EXTENSIONS } from './confine.js';
import type { SqlRow } from '../sql/dialect.js';
import { DuckDbSession } from './session.js';
import { markOfNewLog, otherLog, refuseOtherLog } from './wal.js';
import { literal, sql, type Sql } from '../sql/sql.js';
import {
  DestinationBusyError,
  DestinationError,
  DestinationGoneError,
  isStorageFull,
  messageOf,
  StorageFullError,
} from '../../errors.js';

export interface DuckDbSettings {
  memoryLimit: string;
  /** Memory limit for batches with records of megabytes; absent: the same. */
  longRecordsMemory?: string;
  /** Higher limits to try, in order, when memory runs out; absent: none. */
  spareMemory?: readonly string[];
  threads: number;
  /** Idle time after which the file is closed, so that other programs can read it. */
  idleMilliseconds: number;
  /** Keeps the database in memory and spills to this folder; absent: the database is the file. */
  spill?: string;
  /** Folders whose files statements may read and write; absent: the folder of staged batches. */
  folders?: readonly string[];
}

/** Length in bytes from which a record counts as long; the JSON reader needs eight times as much memory. */
const LONG_RECORD = 8 * 1024 * 1024;

/**
 * A DuckDB file, opened on demand and closed when idle. DuckDB allows one writing process per file; within it, writes
 * run one at a time.
 */
export class DuckDbFile {
  private instance: DuckDBInstance | null = null;
  private users = 0;
  /** Whether DuckDB has invalidated the open database, so that it must be opened again. */
  private broken = false;
  private idle: NodeJS.Timeout | undefined;
  private opening: Promise<DuckDBInstance> | null = null;
  private shutting: Promise<void> | null = null;
  /** The memory limit of the open file. */
  private memory = '0B';
  private turn: Promise<unknown> = Promise.resolve();
  /** Identifies the open file, to notice that another one has replaced it. */
  private identity: string | null = null;
  /** Resolves when reads may begin again; null while they may. */
  private quiet: Promise<void> | null = null;
  /** Descriptor of the open file, for its headers; null while it is closed. */
  private header: number | null = null;
  /** Whether the file existed; then a new one is created only if {@link allowNew} was called. */
  private wasThere = false;

  constructor(
    readonly path: string,
    private readonly settings: DuckDbSettings,
  ) {}

  /** Runs `work` on its own connection, or on the one of an enclosing `read`. */
  async read<T>(
    work: (session: DuckDbSession, connection: DuckDBConnection) => Promise<T>,
    lent: DuckDBConnection | null = null,
  ): Promise<T> {
    if (lent === null) await this.quiet;
    return this.use(work, lent);
  }

  private async use<T>(
    work: (session: DuckDbSession, connection: DuckDBConnection) => Promise<T>,
    lent: DuckDBConnection | null,
  ): Promise<T> {
    this.users++;
    clearTimeout(this.idle);
    try {
      if (lent !== null) return await work(new DuckDbSession(lent), lent);
      const instance = await this.openFile();
      await this.refuseIfReplaced();
      const connection = await instance.connect();
      try {
        return await work(new DuckDbSession(connection), connection);
      } finally {
        connection.closeSync();
      }
    } catch (thrown) {
      if (/^FATAL Error|database has been invalidated/.test(messageOf(thrown))) this.broken = true;
      throw isStorageFull(thrown) && !(thrown instanceof StorageFullError)
        ? new StorageFullError(`the destination ${this.path}`, messageOf(thrown))
        : thrown;
    } finally {
      this.users--;
      if (this.users === 0) {
        if (this.broken) await this.closeFile().catch(() => undefined);
        else this.closeWhenIdle();
      }
    }
  }

  /** Allows a missing file to be created again. */
  allowNew(): void {
    this.wasThere = false;
  }

  /** @throws {DestinationGoneError} if the open file was removed or replaced. */
  private async refuseIfReplaced(): Promise<void> {
    if (this.identity === null) return;
    const now = await identityOf(this.path);
    if (now === this.identity) return;
    this.broken = true;
    throw new DestinationGoneError(
      now === null
        ? `the destination ${this.path} is gone`
        : `the destination ${this.path} was replaced by another file`,
    );
  }

  /** Raises the memory limit for long records, until the file is closed. */
  async makeRoomFor(connection: DuckDbSession, longest: number): Promise<void> {
    const { longRecordsMemory: limit } = this.settings;
    if (longest < LONG_RECORD || limit === undefined) return;
    await this.raiseMemory(connection, limit);
  }

  /**
   * Raises the memory limit. It is never lowered: DuckDB refuses a limit below what it uses already, as after an opening
   * that needed more, and that ends the transaction.
   */
  private async raiseMemory(connection: DuckDbSession, limit: string): Promise<void> {
    if (bytesOf(limit) <= bytesOf(this.memory)) return;
    await connection.run(sql`SET GLOBAL memory_limit = ${literal(limit)}`);
    this.memory = limit;
  }

  /**
   * Runs `work` in a transaction; transactions of this process run one at a time. When DuckDB runs out of memory, the
   * transaction is rolled back and repeated after a checkpoint: committed rows stay in memory until then (7 MB for each
   * table of 200 columns, however few rows). Later attempts raise the memory limit before the checkpoint, which needs
   * memory too.
   * @param query a query to run in the same call that begins the transaction.
   */
  async transaction<T>(
    work: (connection: DuckDbSession, found: SqlRow[]) => Promise<T>,
    lent: DuckDBConnection | null = null,
    query: Sql | null = null,
  ): Promise<T> {
    const before = this.turn;
    let done = () => {};
    this.turn = new Promise<void>((resolve) => (done = resolve));
    await before;
    try {
      const { memoryLimit, spareMemory = [] } = this.settings;
      for (const limit of [null, memoryLimit, ...spareMemory]) {
        if (limit !== null) await this.emptyMemory(limit);
        try {
          return await this.read(async (connection) => {
            await this.markNewLog(connection);
            return inTransaction(connection, query, work);
          }, lent);
        } catch (thrown) {
          if (!isOutOfMemory(thrown)) throw thrown;
        }
      }
      throw new DestinationError(
        `DuckDB ran out of memory while writing a batch to ${this.path}. Make batches smaller ("batch_rows", "batch_bytes"), or set ` +
          'HIGHWATER_DUCKDB_MEMORY=1GiB in the environment of the worker.',
      );
    } finally {
      done();
    }
  }

  /**
   * Moves committed data from memory into the file. DuckDB refuses a checkpoint while any other transaction is open,
   * even a reading one, so new reads wait, and the checkpoint is retried until current reads have ended. After two
   * seconds the caller continues with a higher limit.
   */
  private async emptyMemory(limit: string): Promise<void> {
    let done = () => {};
    this.quiet = new Promise<void>((resolve) => (done = resolve));
    try {
      await this.use(async (connection) => {
        if (limit !== this.settings.memoryLimit) await this.raiseMemory(connection, limit);
        for (let attempt = 1; attempt <= CHECKPOINT_ATTEMPTS; attempt++) {
          try {
            await connection.run(sql`CHECKPOINT`);
            return;
          } catch (thrown) {
            if (!/other write transactions/.test(messageOf(thrown))) return;
            await delay(CHECKPOINT_PAUSE_MILLISECONDS);
          }
        }
      }, null);
    } finally {
      this.quiet = null;
      done();
    }
  }

  /**
   * Begins each new log with the state of the file that it builds on, so that it cannot be replayed into another file.
   */
  private async markNewLog(connection: DuckDbSession): Promise<void> {
    if (this.header === null) return;
    const mark = await markOfNewLog(this.path, this.header);
    if (mark === null) return;
    await connection.runAll([
      sql`CREATE TABLE IF NOT EXISTS _highwater_meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)`,
      sql`DELETE FROM _highwater_meta WHERE name = 'log'`,
      sql`INSERT INTO _highwater_meta VALUES ('log', ${literal(mark)})`,
    ]);
  }

  /** Closes the file once it is no longer in use. */
  async close(): Promise<void> {
    await this.turn;
    while (this.users > 0 || this.instance !== null) {
      clearTimeout(this.idle);
      if (this.users > 0) await delay(20);
      else await this.closeFile();
    }
  }

  private closeWhenIdle(): void {
    // A failed close is retried after the next use.
    this.idle = setTimeout(
      () => void this.closeFile().catch(() => undefined),
      this.settings.idleMilliseconds,
    );
    this.idle.unref();
  }

  /**
   * Closes the file, one call at a time: a connection of a second call would keep the database open unnoticed. The file
   * would then be opened twice in this process, which DuckDB's lock does not prevent.
   */
  private closeFile(): Promise<void> {
    this.shutting ??= this.shutNow().finally(() => (this.shutting = null));
    return this.shutting;
  }

  private async shutNow(): Promise<void> {
    const { instance } = this;
    if (instance === null || this.users > 0) return;
    // Closing would write the checkpoint too, but block this process meanwhile.
    const connection = await instance.connect();
    await connection.run('CHECKPOINT').catch(() => undefined);
    connection.closeSync();
    if (this.users > 0 || this.instance !== instance) return;
    instance.closeSync();
    // Not before: closing the descriptor gives up the lock on the file.
    if (this.header !== null) closeSync(this.header);
    this.header = null;
    this.instance = null;
    this.identity = null;
    this.broken = false;
  }

  private async openFile(): Promise<DuckDBInstance> {
    if (this.instance !== null) return this.instance;
    this.opening ??= this.createFile().finally(() => (this.opening = null));
    this.instance = await this.opening;
    return this.instance;
  }

  private async createFile(): Promise<DuckDBInstance> {
    const { spill } = this.settings;
    if (spill === undefined) {
      if (this.wasThere && !existsSync(this.path))
        throw new DestinationGoneError(`the destination ${this.path} is gone`);
      await refuseOtherLog(this.path);
    }
    try {
      const instance = await this.createInstance();
      const connection = await instance.connect();
      await connection.run("SET GLOBAL TimeZone = 'UTC'");
      connection.closeSync();
      await confine(instance, this.settings.folders ?? [stagingFolder(this.path)], false);
      if (spill === undefined) {
        this.identity = await identityOf(this.path);
        this.wasThere = true;
        this.header = openSync(this.path, 'r');
      }
      return instance;
    } catch (thrown) {
      throw openError(this.path, messageOf(thrown));
    }
  }

  /** Replaying the log of a crashed worker may need more memory than writing batches does. */
  private async createInstance(): Promise<DuckDBInstance> {
    const { spill, threads, memoryLimit, spareMemory = [] } = this.settings;
    const open = (limit: string) => {
      this.memory = limit;
      return DuckDBInstance.create(spill === undefined ? this.path : ':memory:', {
        threads: String(threads),
        memory_limit: limit,
        ...NO_EXTENSIONS,
        // Checkpoints compress what was written since the last one; fewer are cheaper.
        checkpoint_threshold: '256MB',
        temp_directory: spill ?? `${this.path}.tmp`,
      });
    };
    for (const limit of [memoryLimit, ...spareMemory.slice(0, -1)]) {
      try {
        return await open(limit);
      } catch (thrown) {
        if (!isOutOfMemory(thrown)) throw thrown;
      }
    }
    return open(spareMemory.at(-1) ?? memoryLimit);
  }
}

const UNITS = ['B', 'KIB', 'MIB', 'GIB', 'TIB'];

/** Returns the bytes of a limit such as `512MiB`; NaN for one that is written in another way. */
function bytesOf(limit: string): number {
  const [, number = '', unit = ''] = /^([\d.]+)\s*([KMGT]iB|B)$/i.exec(limit.trim()) ?? [];
  return Number(number || NaN) * 1024 ** UNITS.indexOf(unit.toUpperCase());
}

/** Identifies the file at a path; null if there is none. */
async function identityOf(path: string): Promise<string | null> {
  const info = await stat(path).catch(() => null);
  return info === null ? null : `${info.dev} ${info.ino}`;
}

const CHECKPOINT_ATTEMPTS = 40;
const CHECKPOINT_PAUSE_MILLISECONDS = 50;

/** Explains why DuckDB cannot open a file. */
export function openError(path: string, said: string): Error {
  if (isStorageFull(said)) return new StorageFullError(`the destination ${path}`, said);
  const holder = /Conflicting lock is held in (.+?)(?:\. See|$)/s.exec(said)?.[1];
  if (holder !== undefined || /could not set lock|being used by another process/i.test(said)) {
    return new DestinationBusyError(
      `the destination ${path} is open in another program${holder === undefined ? '' : `: ${holder.trim()}`}. ` +
        `DuckDB allows only one writing program per file: close the other program.`,
    );
  }
  if (isOutOfMemory(said)) {
    return new DestinationError(
      `the destination ${path} cannot be opened: DuckDB ran out of memory while it replayed the log beside it. Nothing is lost: ` +
        `set HIGHWATER_DUCKDB_MEMORY=2GiB in the environment, and open it again. DuckDB says: ${said}`,
    );
  }
  const line = said.split('\n', 1)[0] ?? '';
  if (/replaying WAL|WAL file .* (is not compatible|is corrupt)|different database/i.test(line))
    return otherLog(path, line);
  return new DestinationError(`the destination ${path} cannot be opened: ${said}`);
}

async function inTransaction<T>(
  connection: DuckDbSession,
  query: Sql | null,
  work: (connection: DuckDbSession, found: SqlRow[]) => Promise<T>,
): Promise<T> {
  let result: T;
  try {
    const begin = sql`BEGIN TRANSACTION`;
    if (query === null) await connection.run(begin);
    const found = query === null ? [] : await connection.rows(query, [begin]);
    result = await work(connection, found);
  } catch (thrown) {
    // The transaction may have ended already; the original error matters.
    await connection.run(sql`ROLLBACK`).catch(() => undefined);
    throw thrown;
  }
  await connection.run(sql`COMMIT`);
  return result;
}

const isOutOfMemory = (thrown: unknown): boolean =>
  /Out of Memory Error|failed to (pin|allocate) block|could not allocate block/i.test(messageOf(thrown));
