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
  /** The limit while batches with records of megabytes are written; absent: the same. */
  longRecordsMemory?: string;
  /** Limits that are tried one after the other when memory does not do; absent: none. */
  spareMemory?: readonly string[];
  threads: number;
  /** Close the file this long after the last use, so that other programs can read it. */
  idleMilliseconds: number;
  /** The database is in memory, and this folder takes what has no room there; absent: it is the file. */
  spill?: string;
  /** Folders whose files statements may read and write; absent: where batches are staged. */
  folders?: readonly string[];
}

/** Bytes; the JSON reader takes eight times as much. */
const LONG_RECORD = 8 * 1024 * 1024;

/**
 * One DuckDB file, opened on demand and closed when idle. DuckDB allows one writing process a file; within it,
 * writes take turns.
 */
export class DuckDbFile {
  private instance: DuckDBInstance | null = null;
  private users = 0;
  /** DuckDB has given the open database up; it must be opened anew. */
  private broken = false;
  private idle: NodeJS.Timeout | undefined;
  private opening: Promise<DuckDBInstance> | null = null;
  private shutting: Promise<void> | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  /** Tells the file that is open from one that has taken its place. */
  private identity: string | null = null;
  /** Resolves when reads may begin again; null while they may. */
  private quiet: Promise<void> | null = null;
  /** Descriptor of the open file, for its headers; null while it is closed. */
  private header: number | null = null;
  /** The file was there, so that no new one is made in its place unless that is asked for. */
  private wasThere = false;

  constructor(
    readonly path: string,
    private readonly settings: DuckDbSettings,
  ) {}

  /** Runs `work` on a connection of its own, or on one that a call of `read` in hand has lent. */
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
      const instance = await this.open();
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
        if (this.broken) await this.shut().catch(() => undefined);
        else this.closeWhenIdle();
      }
    }
  }

  /** Lets a file that is gone be made anew. */
  allowNew(): void {
    this.wasThere = false;
  }

  /** @throws {DestinationGoneError} where the open file was removed, or another one lies in its place. */
  private async refuseIfReplaced(): Promise<void> {
    if (this.identity === null) return;
    const now = await identityOf(this.path);
    if (now === this.identity) return;
    this.broken = true;
    throw new DestinationGoneError(
      now === null
        ? `the destination ${this.path} is gone`
        : `another file lies in the place of the destination ${this.path} now`,
    );
  }

  /** Raises the memory limit until the file is closed, where records are long. */
  async makeRoomFor(connection: DuckDbSession, longest: number): Promise<void> {
    const { longRecordsMemory: limit } = this.settings;
    if (longest < LONG_RECORD || limit === undefined) return;
    await connection.run(sql`SET GLOBAL memory_limit = ${literal(limit)}`);
  }

  /**
   * Runs `work` in one transaction; transactions of this process take turns. When DuckDB runs out of memory, the
   * transaction is rolled back and run again after a checkpoint: committed rows stay in memory until then (7 MB for each
   * table of 200 columns, however few its rows). Later attempts raise the memory limit before the checkpoint, which
   * needs memory too.
   * @param query a look at the database that comes first, in the call that begins the transaction.
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
        `DuckDB has too little memory for a batch of ${this.path}. Make batches smaller ("batch_rows", "batch_bytes"), or give ` +
          'it more: HIGHWATER_DUCKDB_MEMORY=1GiB in the environment of the worker.',
      );
    } finally {
      done();
    }
  }

  /**
   * Moves what was committed from memory into the file. DuckDB refuses a checkpoint while any other transaction is open,
   * a read included: new reads wait, and it is tried until those under way are over. If that takes longer than two
   * seconds, the caller has more memory to try with.
   */
  private async emptyMemory(limit: string): Promise<void> {
    let done = () => {};
    this.quiet = new Promise<void>((resolve) => (done = resolve));
    try {
      await this.use(async (connection) => {
        if (limit !== this.settings.memoryLimit)
          await connection.run(sql`SET GLOBAL memory_limit = ${literal(limit)}`);
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

  /** Begins each new log with the state of the file that it builds upon, so that it cannot be replayed into another. */
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

  /** Closes the file once nobody uses it. */
  async close(): Promise<void> {
    await this.turn;
    while (this.users > 0 || this.instance !== null) {
      clearTimeout(this.idle);
      if (this.users > 0) await delay(20);
      else await this.shut();
    }
  }

  private closeWhenIdle(): void {
    // What cannot be closed now is tried again after the next use.
    this.idle = setTimeout(() => void this.shut().catch(() => undefined), this.settings.idleMilliseconds);
    this.idle.unref();
  }

  /**
   * One at a time: a connection of a second one would keep the database open behind the first one's back, and the
   * file would then be opened twice in this process, which DuckDB's lock does not forbid.
   */
  private shut(): Promise<void> {
    this.shutting ??= this.shutNow().finally(() => (this.shutting = null));
    return this.shutting;
  }

  private async shutNow(): Promise<void> {
    const { instance } = this;
    if (instance === null || this.users > 0) return;
    // Closing would write the checkpoint too, but while holding up everything else in this process.
    const connection = await instance.connect();
    await connection.run('CHECKPOINT').catch(() => undefined);
    connection.closeSync();
    if (this.users > 0 || this.instance !== instance) return;
    instance.closeSync();
    // Not before: this gives up the lock on the file.
    if (this.header !== null) closeSync(this.header);
    this.header = null;
    this.instance = null;
    this.identity = null;
    this.broken = false;
  }

  private async open(): Promise<DuckDBInstance> {
    if (this.instance !== null) return this.instance;
    this.opening ??= this.create().finally(() => (this.opening = null));
    this.instance = await this.opening;
    return this.instance;
  }

  private async create(): Promise<DuckDBInstance> {
    const { spill } = this.settings;
    if (spill === undefined) {
      if (this.wasThere && !existsSync(this.path))
        throw new DestinationGoneError(`the destination ${this.path} is gone`);
      await refuseOtherLog(this.path);
    }
    try {
      const instance = await DuckDBInstance.create(spill === undefined ? this.path : ':memory:', {
        threads: String(this.settings.threads),
        memory_limit: this.settings.memoryLimit,
        ...NO_EXTENSIONS,
        // A checkpoint compresses what was written since the last one; rarely is cheaper.
        checkpoint_threshold: '256MB',
        temp_directory: spill ?? `${this.path}.tmp`,
      });
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
}

/** Tells a file from another one at the same path; null where there is none. */
async function identityOf(path: string): Promise<string | null> {
  const info = await stat(path).catch(() => null);
  return info === null ? null : `${info.dev} ${info.ino}`;
}

const CHECKPOINT_ATTEMPTS = 40;
const CHECKPOINT_PAUSE_MILLISECONDS = 50;

/** Why DuckDB does not open a file, in the words of a person. */
export function openError(path: string, said: string): Error {
  if (isStorageFull(said)) return new StorageFullError(`the destination ${path}`, said);
  const holder = /Conflicting lock is held in (.+?)(?:\. See|$)/s.exec(said)?.[1];
  if (holder !== undefined || /could not set lock|being used by another process/i.test(said)) {
    return new DestinationBusyError(
      `the destination ${path} is open in another program${holder === undefined ? '' : `: ${holder.trim()}`}. ` +
        `DuckDB allows one writing program a file; close it there.`,
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
    // The transaction may be gone already; what matters is why.
    await connection.run(sql`ROLLBACK`).catch(() => undefined);
    throw thrown;
  }
  await connection.run(sql`COMMIT`);
  return result;
}

const isOutOfMemory = (thrown: unknown): boolean =>
  /Out of Memory Error|failed to (pin|allocate) block|could not allocate block/i.test(messageOf(thrown));
