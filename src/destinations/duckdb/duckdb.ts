import type { DuckDBConnection } from '@duckdb/node-api';
import { messageOf, TableGoneError } from '../../errors.js';
import type { StreamKey, TableSpec } from '../../protocol.js';
import { stagingFolder } from '../../staging/staging.js';
import type { OpenRequest, WriteOutcome, WriteRequest } from '../destination.js';
import { commitBatch } from '../sql/commit.js';
import type { Batch } from '../sql/dialect.js';
import { findGone } from '../sql/drift.js';
import { keepsLast } from '../sql/modes.js';
import { SqlDestination } from '../sql/sql-destination.js';
import { checkpointOf, checkpointsIn, checkpointQuery } from '../sql/stored-checkpoints.js';
import { duckDbDialect } from './dialect.js';
import type { DuckDbFile } from './file.js';
import { DuckDbLoader, findMisfit, isDataError } from './load.js';
import type { DuckDbSession } from './session.js';

/**
 * Writes to a DuckDB file. Its tables have no key index, so an upsert costs by the batch; the fence (one writer, one
 * checkpoint) keeps keys unique.
 */
export class DuckDbDestination extends SqlDestination<DuckDbSession> {
  /** Batches loaded while the previous one is written, by the checkpoint that they will create. */
  private readonly prepared = new Map<string, PreparedBatch>();
  /** Tables that this process has prepared: a workflow may have opened its stream with an older version. */
  private readonly ready = new Set<string>();

  protected override readonly dialect = duckDbDialect;

  constructor(private readonly file: DuckDbFile) {
    super();
  }

  protected override get folder(): string {
    return stagingFolder(this.file.path);
  }

  protected override transaction<T>(work: (session: DuckDbSession) => Promise<T>): Promise<T> {
    return this.file.transaction(work);
  }

  protected override read<T>(work: (session: DuckDbSession) => Promise<T>): Promise<T> {
    return this.file.read(work);
  }

  protected override loaderOf(session: DuckDbSession): DuckDbLoader {
    return new DuckDbLoader(this.file, session);
  }

  protected override addressOf(): string {
    return this.file.path;
  }

  protected override async prepareStream(request: OpenRequest, asked: Set<string>): Promise<StreamKey[]> {
    if (request.expects === undefined) this.file.allowNew();
    const startedOver = await super.prepareStream(request, asked);
    this.ready.add(tablesOf(request.table, request.children));
    return startedOver;
  }

  override prepare(request: WriteRequest): void {
    const { next, records, bytes, table, range } = request;
    if (this.prepared.has(next) || this.prepared.size >= PREPARED_LIMIT) return;
    if (records === 0 || bytes > PREPARED_BYTES) return;
    // The current write may still change the table's columns.
    if (table.inference !== undefined || range !== undefined) return;
    const keeps = keepsLast(request) ? 'last' : 'all';
    const batch = new PreparedBatch(
      this.file,
      (session) => this.loaderOf(session).loadBatch({ ...request, keeps, isReadOnce: false }),
      () => this.prepared.get(next) === batch && this.prepared.delete(next),
    );
    this.prepared.set(next, batch);
  }

  override async close(): Promise<void> {
    for (const batch of this.prepared.values()) batch.release();
    await this.file.close();
  }

  override async write(request: WriteRequest): Promise<WriteOutcome> {
    const { table, next } = request;
    const children = request.children?.tables.map((child) => child.table);
    const tables = tablesOf(table, children);
    if (!this.ready.has(tables)) {
      const isReady = await this.transaction((session) => this.prepareForWrite(session, request));
      if (isReady) this.ready.add(tables);
    }
    const prepared = this.prepared.get(next);
    this.prepared.delete(next);
    // If loading failed, the write fails in the same way and reports why.
    const loaded = (await prepared?.take()) ?? null;
    try {
      return await this.commit(request, loaded, false);
    } catch (thrown) {
      const gone = await this.goneTable([table, ...(children ?? [])], thrown);
      if (gone !== null) throw new TableGoneError(gone);
      if (!isDataError(thrown)) throw thrown;
      if (table.quarantine === true) return await this.commit(request, null, true);
      throw await this.read(async (session) =>
        findMisfit(session, table, await request.files(), request.longest, messageOf(thrown)),
      );
    } finally {
      prepared?.release();
    }
  }

  /** Returns the table whose absence a failure tells of; null if it tells of none. */
  private async goneTable(
    [table, ...children]: [TableSpec, ...TableSpec[]],
    thrown: unknown,
  ): Promise<TableSpec | null> {
    if (!/^Catalog Error/.test(messageOf(thrown))) return null;
    return this.read((session) => findGone(session, table, children));
  }

  /**
   * Writes a batch.
   * @param loaded a connection that has already loaded the batch.
   * @param sorts whether to quarantine records that do not fit.
   */
  private commit(request: WriteRequest, loaded: LoadedBatch | null, sorts: boolean): Promise<WriteOutcome> {
    const { key } = request;
    return this.file.transaction(
      (session, found) => {
        const stored = checkpointOf(checkpointsIn(found, key), key);
        const options = { prepared: loaded?.batch ?? null, sorts };
        return commitBatch(session, request, stored, new DuckDbLoader(this.file, session, options));
      },
      loaded?.connection ?? null,
      checkpointQuery(duckDbDialect, key),
    );
  }
}

/** Names the tables of a stream by all that is configured for them. */
const tablesOf = (table: TableSpec, children: readonly TableSpec[] = []): string =>
  JSON.stringify([table, ...children]);

interface LoadedBatch {
  connection: DuckDBConnection;
  batch: Batch;
}

/** Maximum number of prepared batches; DuckDB's memory is shared by them and the current write. */
const PREPARED_LIMIT = 2;
const PREPARED_BYTES = 32 * 1024 * 1024;
/**
 * A prepared batch that is not used in time is dropped: its sync was paused or cancelled, or waits for a long write.
 */
const PREPARED_MILLISECONDS = 10_000;

/** A batch loaded into temporary tables of its own connection. */
class PreparedBatch {
  release: () => void = () => undefined;
  private readonly loaded: Promise<LoadedBatch | null>;
  private readonly timer: NodeJS.Timeout;

  constructor(file: DuckDbFile, load: (session: DuckDbSession) => Promise<Batch>, onEnd: () => void) {
    const released = new Promise<void>((resolve) => (this.release = resolve));
    this.timer = setTimeout(this.release, PREPARED_MILLISECONDS);
    this.loaded = new Promise((resolve) => {
      void file
        .read(async (session, connection) => {
          resolve({ connection, batch: await load(session) });
          await released;
        })
        .catch(() => resolve(null))
        .finally(() => {
          clearTimeout(this.timer);
          onEnd();
        });
    });
  }

  /** Returns the loaded batch, to be released by the caller; null if loading failed. */
  take(): Promise<LoadedBatch | null> {
    clearTimeout(this.timer);
    return this.loaded;
  }
}
