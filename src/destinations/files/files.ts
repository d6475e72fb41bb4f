import { randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { NO_CHILDREN_IN_FILES } from '../../config/files-address.js';
import { DestinationError, TableGoneError } from '../../errors.js';
import { faultPoint } from '../../faults.js';
import type { StreamKey } from '../../protocol.js';
import { conflict, isRead, notReady, openWhenFree, otherRanges, sameKey } from '../checkpoints.js';
import { refuseOtherDatabase } from '../sql/drift.js';
import type {
  Destination,
  History,
  HistoryRequest,
  OpenRequest,
  OpenResult,
  ParentRow,
  ParentsRequest,
  Ranges,
  WriteOutcome,
  WriteRequest,
} from '../destination.js';
import { DuckDbLoader } from '../duckdb/load.js';
import type { DuckDbFile } from '../duckdb/file.js';
import { tableQueries, unfit } from './columns.js';
import {
  allIn,
  folderName,
  Manifests,
  ownFolder,
  storedIn,
  tableFolder,
  type Commit,
  type Manifest,
  type ManifestCheckpoint,
  type TableFile,
} from './manifest.js';
import type { ObjectStore } from './object-store.js';
import { keepMarks, parentRows } from '../sql/parents.js';
import { rangeRefusal } from '../sql/ranges.js';
import { sql } from '../sql/sql.js';
import { claim, lostFiles, refuseOthers, withSchema } from './claim.js';
import { checkpointOf, historyIn, streamOf } from './log.js';
import {
  FileMaker,
  MARK_FILES,
  MARKS,
  pathsOf,
  temporaryTable,
  type FilesOptions,
  type MadeFile,
} from './make-files.js';

/** The identity of a destination. */
export const IDENTITY = '_highwater/destination.json';
/** Local files of an attempt are removed after a day. */
const DEAD_MILLISECONDS = 24 * 60 * 60 * 1000;

/** Announces the files that an attempt is about to put, so that they can be removed if no commit names them. */
interface Pending {
  base: string;
  at: string;
  paths: string[];
}

/**
 * Writes rows as files that are only ever added: each batch brings new versions of its rows, and a manifest names the
 * files that belong to the table. Readers that follow it see whole batches, each once. An in-memory DuckDB types the rows
 * and writes the files, one batch at a time.
 */
export class FilesDestination implements Destination {
  private readonly maker: FileMaker;

  constructor(
    private readonly store: ObjectStore,
    private readonly duckdb: DuckDbFile,
    private readonly options: FilesOptions,
  ) {
    this.maker = new FileMaker(store, duckdb, options);
  }

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table } = request;
    const wrong = unfit(table, this.options.partitionBy);
    if (wrong !== null) throw notReady(table, wrong);
    // The configuration does not name a destination that is the worker's default.
    if ((request.children ?? []).length > 0) throw notReady(table, NO_CHILDREN_IN_FILES);
    const manifests = this.manifests(key);
    const stored = await this.store.get(IDENTITY);
    refuseOtherDatabase(this.store.name, stored === null ? null : identityIn(stored), request.expects);
    const database = stored === null ? await this.identity() : identityIn(stored);
    const lost = await lostFiles(manifests, request, this.store.name);
    const opened = await openWhenFree(
      request,
      async () => {
        const manifest = await manifests.latest();
        refuseOthers(table, manifest);
        return storedIn(manifest, key);
      },
      (asked) => claim(manifests, request, { asked, database, lost }),
    );
    await this.removeOrphans(manifests);
    return opened;
  }

  history(request: HistoryRequest): Promise<History> {
    return historyIn(this.store, request);
  }

  async parents(request: ParentsRequest): Promise<ParentRow[] | null> {
    const { key, parent } = request;
    const above = this.manifests(parent.table);
    const manifest = await above.latest();
    if (manifest === null || !isRead(storedIn(manifest, { ...key, ...parent.table }))) return null;
    const commits = await above.commits(manifest);
    const paths = await pathsOf(
      this.store,
      above.folder,
      commits.flatMap(({ files }) => files),
    );
    const { latest } = tableQueries(manifest, commits, (path) => paths.get(path) ?? '');
    const own = this.manifests(key);
    const marks = checkpointOf(await own.latest(), key)?.marks ?? [];
    const markPaths = await pathsOf(this.store, own.folder, marks);
    return this.duckdb.read(async (connection) => {
      await connection.run(temporaryTable('parents'));
      const loader = new DuckDbLoader(this.duckdb, connection);
      if (marks.length > 0) await keepMarks(connection, key, [...markPaths.values()], loader);
      return parentRows(connection, request, sql`(${latest})`);
    });
  }

  /** Does nothing: a batch's files depend on the version that it becomes. */
  prepare(): void {}

  async close(): Promise<void> {
    await this.duckdb.close();
    await this.store.close();
  }

  async write(request: WriteRequest): Promise<WriteOutcome> {
    const { key, base, next } = request;
    const manifests = this.manifests(key);
    for (;;) {
      const manifest = await manifests.latest();
      const stored = checkpointOf(manifest, key);
      if (manifest === null) throw new TableGoneError(key);
      if (stored?.id !== base) {
        if (stored?.id === next) {
          const { rows, rejected } = stored;
          return { rows, already: true, ...(rejected > 0 && { rejected }) };
        }
        // Others may have been committed after it; as a rule it is among the last.
        const isIt = (one: Commit) => one.batch === next && one.base === base && sameKey(one, key);
        const committed = manifest.commits.find(isIt) ?? (await manifests.commits(manifest)).find(isIt);
        if (committed === undefined) throw conflict(key, base, stored);
        const rejected = committed.rejects.reduce((sum, { rows }) => sum + rows, 0);
        return { rows: committed.rows, already: true, ...(rejected > 0 && { rejected }) };
      }
      const outcome = await this.attempt(manifests, manifest, stored, request);
      if (outcome !== null) return outcome;
      // Another writer has made the next version, which decides now.
    }
  }

  /** Tries to commit a batch; returns null if another writer made the next version first. */
  private async attempt(
    manifests: Manifests,
    manifest: Manifest,
    stored: ManifestCheckpoint,
    request: WriteRequest,
  ): Promise<WriteOutcome | null> {
    const { key, table, next } = request;
    const { folder } = manifests;
    const id = `${folderName(next).slice(0, 80)}-${randomUUID().slice(0, 8)}`;
    const local = join(this.options.scratch, id);
    const now = new Date().toISOString();
    const pending = `${ownFolder(folder)}pending/${id}.json`;
    let put: MadeFile[] = [];
    let isCommitted = false;
    let isSent = false;
    try {
      const made = await this.maker.make(request, {
        id,
        local,
        now,
        folder,
        version: manifest.version + 1,
        stored,
        manifest,
      });
      const files = [...made.files, ...made.rejects, ...made.marks];
      if (files.length > 0) {
        // Announced first, so that the files a crash leaves are found without listing all.
        const paths = files.map(({ path }) => path);
        const promise: Pending = { base: request.base, at: now, paths };
        await this.store.putIfAbsent(pending, JSON.stringify(promise));
        put = files;
        for (const file of files) await this.store.put(`${folder}${file.path}`, file.local);
      }
      faultPoint('transaction.half');
      const { schemas, schema } = withSchema(manifest, table);
      const { rows, rejected } = made;
      const marks =
        made.marks.length === 0
          ? stored.marks
          : [...(stored.marks.length < MARK_FILES ? stored.marks : []), ...made.marks.map(named)];
      const commit: Commit = {
        version: manifest.version + 1,
        ...streamOf(key),
        batch: next,
        base: request.base,
        workflow_id: request.workflowId,
        pages: request.pages,
        records: request.records,
        rows,
        ...(made.left > 0 && { left: made.left }),
        cursor: request.cursor,
        committed_at: now,
        schema,
        files: made.files.map(named),
        rejects: made.rejects.map(named),
      };
      const { fingerprint: is } = request;
      const checkpoint: ManifestCheckpoint = {
        ...stored,
        id: next,
        cursor: request.cursor,
        updated_at: now,
        rows,
        rejected,
        marks,
        ...(is !== undefined && request.cursor.ended !== null && { fingerprint: { is } }),
      };
      faultPoint('commit.before');
      isSent = true;
      isCommitted = await manifests.append(manifest, {
        ...manifest,
        primary_key: table.primaryKey,
        schemas,
        checkpoints: manifest.checkpoints.map((one) => (one === stored ? checkpoint : one)),
        commits: [...manifest.commits, commit],
      });
      if (!isCommitted) return null;
      const { left } = made;
      return { rows, already: false, ...(rejected > 0 && { rejected }), ...(left > 0 && { left }) };
    } catch (thrown) {
      // The commit may have succeeded, so the files may be needed.
      if (isSent) put = [];
      throw thrown;
    } finally {
      await rm(local, { recursive: true, force: true });
      if (put.length > 0) {
        const merged = put.some(({ path }) => path.startsWith(MARKS)) && stored.marks.length >= MARK_FILES;
        const gone = isCommitted ? (merged ? stored.marks : []) : put;
        const lost = gone.map(({ path }) => `${folder}${path}`);
        await this.store.delete([...lost, pending]).catch(() => undefined);
      }
    }
  }

  readonly ranges: Ranges = {
    refusal: (kind, table, writes) =>
      kind === 'audit'
        ? 'files cannot be audited, because they have no place for the findings; "highwater backfill" rewrites what differs in a range'
        : rangeRefusal(kind, table, writes),
    now: () => Promise.resolve(new Date().toISOString()),
    stands: async (key) => checkpointOf(await this.manifests(key).latest(), key) ?? null,
    kept: async (key) => otherRanges(key, allIn(await this.manifests(key).latest(), key)),
    conclude: () => Promise.reject(new DestinationError('files cannot be audited')),
    forget: async (key) => {
      const manifests = this.manifests(key);
      for (;;) {
        const manifest = await manifests.latest();
        const own = checkpointOf(manifest, key);
        if (manifest === null || own === undefined) return;
        const checkpoints = manifest.checkpoints.filter((one) => one !== own);
        if (await manifests.append(manifest, { ...manifest, checkpoints })) return;
      }
    },
  };

  /** Reads the identity of the destination, or creates it. */
  private async identity(): Promise<string> {
    for (;;) {
      const found = await this.store.get(IDENTITY);
      if (found !== null) return identityIn(found);
      const identity = { highwater: 1, database: randomUUID(), made_at: new Date().toISOString() };
      await this.store.putIfAbsent(IDENTITY, JSON.stringify(identity));
    }
  }

  /** Removes files of attempts that can no longer commit. Ignores failures: the next opening tries again. */
  private async removeOrphans(manifests: Manifests): Promise<void> {
    const { folder } = manifests;
    const pendings = await this.store.list(`${ownFolder(folder)}pending/`);
    const found = await Promise.all(
      pendings.map(async (path) => ({ path, body: await this.store.get(path) })),
    );
    // Read after the list, so that it names every listed file that has been committed.
    const manifest = found.length === 0 ? null : await manifests.latest();
    if (manifest !== null) {
      const commits = await manifests.commits(manifest);
      const kept = new Set([
        ...commits.flatMap(({ files, rejects }) => [...files, ...rejects].map(({ path }) => path)),
        ...manifest.checkpoints.flatMap(({ marks }) => marks.map(({ path }) => path)),
      ]);
      for (const { path, body } of found) {
        if (body === null) continue;
        const { base, paths } = JSON.parse(body.toString('utf8')) as Pending;
        const isNamed = paths.some((one) => kept.has(one));
        // An attempt may commit for as long as its base is the stored checkpoint.
        const mayCommit = manifest.checkpoints.some(({ id }) => id === base);
        if (!isNamed && mayCommit) continue;
        const lost = isNamed ? [] : paths.map((one) => `${folder}${one}`);
        await this.store.delete([...lost, path]).catch(() => undefined);
      }
    }
    const { scratch } = this.options;
    for (const name of await readdir(scratch).catch(() => [])) {
      const info = await stat(join(scratch, name)).catch(() => null);
      if (info === null || Date.now() - info.mtimeMs < DEAD_MILLISECONDS) continue;
      await rm(join(scratch, name), { recursive: true, force: true }).catch(() => undefined);
    }
  }

  private manifests(key: Pick<StreamKey, 'schema' | 'table'>): Manifests {
    return new Manifests(this.store, tableFolder(key));
  }
}

const named = ({ local: _, ...file }: MadeFile): TableFile => file;

const identityIn = (body: Buffer): string =>
  (JSON.parse(body.toString('utf8')) as { database: string }).database;
