import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { FileFormat } from '../../config/files-address.js';
import { DestinationError, messageOf, TableGoneError } from '../../errors.js';
import { faultPoint } from '../../faults.js';
import type { ColumnType, StreamKey, TableSpec } from '../../protocol.js';
import {
  columnIn,
  claimOf,
  conflict,
  isRead,
  movedClaim,
  notReady,
  openWhenFree,
  otherRanges,
  refuseOtherTypes,
  sameKey,
  somethingMisfits,
  startsAnew,
  isRange,
  keyValues,
  type StreamLog,
  type StreamOfTable,
} from '../checkpoints.js';
import { refuseOtherDatabase } from '../sql/drift.js';
import { keyChanged, keyText, otherKey, STARTED_OVER_GONE } from '../fingerprint.js';
import type {
  Destination,
  History,
  HistoryEntry,
  HistoryRequest,
  OpenRequest,
  OpenResult,
  ParentRow,
  ParentsRequest,
  Ranges,
  RangeWrite,
  WriteOutcome,
  WriteRequest,
} from '../destination.js';
import { duckDbDialect } from '../duckdb/dialect.js';
import { DuckDbLoader, findMisfit, isDataError } from '../duckdb/load.js';
import type { DuckDbFile } from '../duckdb/file.js';
import type { DuckDbSession } from '../duckdb/session.js';
import {
  BATCH,
  columnsOf,
  copyOptions,
  SEQUENCE,
  SEQUENCE_STEP,
  SYNCED_AT,
  tableQueries,
  unfit,
  written,
} from './columns.js';
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
  type ManifestMove,
  type TableFile,
} from './manifest.js';
import { piecesOf, type ObjectStore } from './object-store.js';
import { counts, type Batch, type OwnTable } from '../sql/dialect.js';
import { ownColumnsOf } from '../sql/own-tables.js';
import { keepMarks, parentRows } from '../sql/parents.js';
import { compareBatch, rangeRefusal } from '../sql/ranges.js';
import { keepRejects } from '../sql/rejects.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

/** The identity of a destination. */
export const IDENTITY = '_highwater/destination.json';
const MARKS = '_highwater/marks/';
/** More files of marks than these become one. */
const MARK_FILES = 50;
/** Local files of an attempt are removed after a day. */
const DEAD_MILLISECONDS = 24 * 60 * 60 * 1000;
const NO_DATE = '__HIVE_DEFAULT_PARTITION__';

export interface FilesOptions {
  format: FileFormat;
  /** The column whose dates are the partitions; null = the date of the commit. */
  partitionBy: string | null;
  /** A folder of this machine where files are made. */
  scratch: string;
}

/** Announces the files that an attempt is about to put, so that they can be removed if no commit names them. */
interface Pending {
  base: string;
  at: string;
  paths: string[];
}

/** A file that has been made locally and not yet put into the store. */
interface MadeFile extends TableFile {
  local: string;
}

interface Made {
  rows: number;
  rejected: number;
  /** Rows that a range has left as they are. */
  left: number;
  files: MadeFile[];
  rejects: MadeFile[];
  marks: MadeFile[];
}

/**
 * Writes rows as files that are only ever added: each batch brings new versions of its rows, and a manifest names the
 * files that belong to the table. Readers that follow it see whole batches, each once. An in-memory DuckDB types the rows
 * and writes the files, one batch at a time.
 */
export class FilesDestination implements Destination {
  constructor(
    private readonly store: ObjectStore,
    private readonly duckdb: DuckDbFile,
    private readonly options: FilesOptions,
  ) {}

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table } = request;
    const wrong = unfit(table, this.options.partitionBy);
    if (wrong !== null) throw notReady(table, wrong);
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
      const made = await this.make(request, {
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

  /** Makes the files of a batch in a local folder. */
  private async make(request: WriteRequest, attempt: Attempt): Promise<Made> {
    const { table } = request;
    await mkdir(attempt.local, { recursive: true });
    const run = (sorts: boolean) =>
      this.duckdb.transaction((connection) => this.makeFiles(connection, request, attempt, sorts));
    try {
      return await run(false);
    } catch (thrown) {
      if (!isDataError(thrown)) throw thrown;
      if (table.quarantine === true) return run(true);
      throw await this.duckdb.read(async (connection) =>
        findMisfit(connection, table, await request.files(), request.longest, messageOf(thrown)),
      );
    }
  }

  private async makeFiles(
    connection: DuckDbSession,
    request: WriteRequest,
    attempt: Attempt,
    sorts: boolean,
  ): Promise<Made> {
    const { key } = request;
    const made: Made = { rows: 0, rejected: 0, left: 0, files: [], rejects: [], marks: [] };
    const loader = new DuckDbLoader(this.duckdb, connection, { sorts });
    await connection.runAll([temporaryTable('rejects'), temporaryTable('parents')]);
    if (sorts || request.records > 0) {
      const batch = await loader.loadBatch({ ...request, keeps: 'last', isReadOnce: false });
      const { range } = request;
      if (range !== undefined)
        made.left = await this.leave(connection, { ...request, range }, batch, attempt);
      made.files = await this.copyBatch(connection, request, batch, attempt);
      made.rows = made.files.reduce((sum, { rows }) => sum + rows, 0);
      await connection.run(sql`DROP TABLE ${batch.name}`);
    }
    if (request.rejects !== undefined)
      await keepRejects(connection, request, await request.rejects(), loader);
    const [rejected = 0] = await counts(connection, sql`SELECT count(*) FROM _highwater_rejects`);
    made.rejected = rejected;
    if (rejected > 0) {
      const path = `_highwater/rejects/${attempt.id}.ndjson`;
      made.rejects = [
        await copy(connection, [sql`SELECT * FROM _highwater_rejects`], attempt, path, rejected),
      ];
    }
    if (request.marks !== undefined) {
      const known = attempt.stored.marks;
      // Many files of marks become one.
      const before = known.length < MARK_FILES ? [] : known;
      const paths = await pathsOf(this.store, attempt.folder, before);
      await keepMarks(connection, key, [...paths.values(), ...(await request.marks())], loader);
      const [count = 0] = await counts(connection, sql`SELECT count(*) FROM _highwater_parents`);
      const path = `${MARKS}${attempt.id}.ndjson`;
      if (count > 0)
        made.marks = [
          await copy(connection, [sql`SELECT parent, mark FROM _highwater_parents`], attempt, path, count),
        ];
    }
    return made;
  }

  /** Removes records from a batch that the files have already, or have or may have in a newer version. */
  private async leave(
    connection: DuckDbSession,
    request: WriteRequest & { range: RangeWrite },
    batch: Batch,
    { folder, manifest }: Attempt,
  ): Promise<number> {
    const { key, table } = request;
    const commits = await new Manifests(this.store, folder).commits(manifest);
    const paths = await pathsOf(
      this.store,
      folder,
      commits.flatMap(({ files }) => files),
    );
    const { latest } = tableQueries(manifest, commits, (path) => paths.get(path) ?? '');
    const ours = commits.filter((one) => sameKey(one, key));
    const values = (id: string) => joined([id, ...keyValues(key)].map(literal));
    await connection.runAll([
      sql`CREATE OR REPLACE TEMP VIEW _stands AS ${latest}`,
      sql`CREATE OR REPLACE TEMP TABLE _highwater_batches (id VARCHAR, "schema" VARCHAR, "table" VARCHAR, strategy VARCHAR, source VARCHAR, "range" VARCHAR)`,
      ...ours.map(({ batch }) => sql`INSERT INTO _highwater_batches VALUES (${values(batch)})`),
      temporaryTable('differences'),
    ]);
    const stands = { ...table, schema: 'temp', table: '_stands', stamps: true as const };
    const left = await compareBatch(connection, { ...request, table: stands }, batch, true);
    await connection.runAll([
      sql`DROP VIEW _stands`,
      sql`DROP TABLE _highwater_batches`,
      sql`DROP TABLE _highwater_differences`,
    ]);
    return left;
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

  /** Writes the rows of a batch, one file per partition. */
  private async copyBatch(
    connection: DuckDbSession,
    { table, next, longest }: WriteRequest,
    batch: Batch,
    attempt: Attempt,
  ): Promise<MadeFile[]> {
    const { format, partitionBy } = this.options;
    const { name: from, columns: inBatch } = batch;
    const keys = table.primaryKey.map((name) => sql`${columnIn(inBatch, name)} IS NULL`);
    const [keyless = 0] = await counts(
      connection,
      sql`SELECT count(*) FROM ${from} WHERE ${joined(keys, sql` OR `)}`,
    );
    if (keyless > 0) throw somethingMisfits(table, 'a part of its primary key is null');
    const first = BigInt(attempt.version) * SEQUENCE_STEP;
    const own: [string, Sql, ColumnType][] = [
      [BATCH, literal(next), 'STRING'],
      [SYNCED_AT, sql`TIMESTAMPTZ ${literal(attempt.now)}`, 'UTC_DATETIME'],
      [SEQUENCE, sql`CAST(${numeral(first)} + rowid AS BIGINT)`, 'LONG'],
    ];
    const values = [
      ...[...inBatch].map(([name, column]) => [name, column, table.columns[name] ?? 'STRING'] as const),
      ...own,
    ].map(([name, value, type]) => sql`${written(value, type, format)} AS ${identifier(name)}`);
    const date =
      partitionBy === null
        ? literal(attempt.now.slice(0, 10))
        : sql`coalesce(strftime(${columnIn(inBatch, partitionBy)}, '%Y-%m-%d'), ${literal(NO_DATE)})`;
    const partitions = await connection.rows(
      sql`SELECT ${date} AS partition, count(*) FROM ${from} GROUP BY ALL ORDER BY ALL`,
    );
    const slices = format === 'ndjson' ? await slicesOf(connection, batch, longest) : [sql`true`];
    const files: MadeFile[] = [];
    for (const [name, count] of partitions) {
      const day = String(name);
      const rows = sql`SELECT ${joined(values)} FROM ${from} WHERE ${date} = ${literal(day)}`;
      const queries = slices.map((slice) => sql`${rows} AND ${slice}`);
      const path = `data/date=${day === NO_DATE ? day : folderName(day)}/${attempt.id}.${format}`;
      files.push(await copy(connection, queries, attempt, path, Number(count)));
    }
    return files;
  }

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

interface Attempt {
  id: string;
  /** The local folder in which its files are made. */
  local: string;
  now: string;
  folder: string;
  version: number;
  stored: ManifestCheckpoint;
  manifest: Manifest;
}

const streamOf = ({ strategy, source, range }: StreamOfTable): StreamOfTable => ({ strategy, source, range });

const named = ({ local: _, ...file }: MadeFile): TableFile => file;

const checkpointOf = (manifest: Manifest | null, key: StreamKey): ManifestCheckpoint | undefined =>
  manifest?.checkpoints.find((one) => sameKey(one, key));

const identityIn = (body: Buffer): string =>
  (JSON.parse(body.toString('utf8')) as { database: string }).database;

/** Lost data files: all of a table, whose streams then start over, or some of a table that is read again anyway. */
interface Lost {
  paths: ReadonlySet<string>;
  isAll: boolean;
}

/**
 * Finds data files that the manifest names and the store has lost.
 * @throws {DestinationError} if some are lost, and their rows would not be read again.
 */
async function lostFiles(manifests: Manifests, request: OpenRequest, name: string): Promise<Lost> {
  const manifest = await manifests.latest();
  const paths = manifest === null ? [] : await manifests.missing(manifest);
  if (manifest === null || paths.length === 0) return { paths: new Set(), isAll: false };
  const named = (await manifests.commits(manifest)).reduce((sum, { files }) => sum + files.length, 0);
  const isAll = paths.length === named;
  if (!isAll && (isRange(request.key) || !startsAnew(request))) {
    const shown = paths.slice(0, LOST_SHOWN).map((path) => `${manifests.folder}${path}`);
    const more = paths.length > shown.length ? `, and ${paths.length - shown.length} more` : '';
    throw new DestinationError(
      `${name} has lost ${paths.length} of the ${named} data files of ${request.table.schema}.${request.table.table}, which the ` +
        `manifest lists: ${shown.join(', ')}${more}. Restore them and run "highwater resume"; or run "highwater resync" (start with ` +
        '--full), which continues without them and reads everything again.',
    );
  }
  return { paths: new Set(paths), isAll };
}
const LOST_SHOWN = 5;

/** Claims a stream; returns null if the table has a new holder, which is not in `asked`. */
async function claim(
  manifests: Manifests,
  request: OpenRequest,
  { asked, database, lost }: { asked: ReadonlySet<string>; database: string; lost: Lost },
): Promise<OpenResult | null> {
  const { key, table, holder } = request;
  for (;;) {
    const found = await manifests.latest();
    const now = new Date().toISOString();
    const isLost = found !== null && lost.paths.size > 0;
    const manifest = isLost ? await withoutLost(manifests, found, lost, now) : found;
    refuseOthers(table, manifest);
    refuseOtherKey(request, manifest);
    const stored = storedIn(manifest, key);
    const claimed = claimOf(stored, request, asked);
    if (claimed === null) return null;
    const own = checkpointOf(manifest, key);
    const log = logOf(manifests, manifest, key);
    const isGone = lost.isAll && checkpointOf(found, key)?.cursor != null;
    const recorded = own?.fingerprint ?? null;
    const moved = await movedClaim(claimed, own, request, log, { recorded, isGone });
    const { checkpoint, neighbours, takenOver, isNew, said, record, notes } = moved;
    const result: OpenResult = { checkpoint, database, neighbours, ...(notes.length > 0 && { notes }) };
    const { schemas } = withSchema(manifest, table);
    const isSame = schemas.length === manifest?.schemas.length && record === null && !isLost;
    if (!isNew && takenOver.length === 0 && isSame) return result;
    const others = (manifest?.checkpoints ?? [])
      .filter((one) => one !== own)
      .map((one) =>
        takenOver.some((other) => sameKey(other, one))
          ? { ...one, id: randomUUID(), holder, updated_at: now }
          : one,
      )
      .map((one) => withoutOtherKey(one, table));
    const fingerprint = record ?? own?.fingerprint;
    const kept = fingerprint !== undefined && { fingerprint };
    const mine: ManifestCheckpoint = {
      ...streamOf(key),
      ...checkpoint,
      holder,
      updated_at: now,
      rows: own?.rows ?? 0,
      rejected: own?.rejected ?? 0,
      marks: said !== null && checkpoint.cursor === null ? [] : (own?.marks ?? []),
      ...kept,
    };
    const moves: ManifestMove[] = [...(manifest?.moves ?? [])];
    if (said !== null)
      moves.push({
        ...streamOf(key),
        id: checkpoint.id,
        base: own?.id ?? '',
        cursor: checkpoint.cursor,
        workflow_id: holder.workflowId,
        moved: said,
        moved_at: now,
      });
    const isMade = await manifests.append(found, {
      schema: key.schema,
      table: key.table,
      primary_key: table.primaryKey,
      schemas,
      checkpoints: [...others, isNew || own === undefined ? mine : { ...own, ...kept }],
      ...(moves.length > 0 && { moves }),
      sealed: manifest?.sealed ?? [],
      commits: manifest?.commits ?? [],
    });
    if (isMade) return result;
  }
}

/** Returns the manifest without lost files; if all are lost, its streams start over. */
async function withoutLost(
  manifests: Manifests,
  manifest: Manifest,
  { paths, isAll }: Lost,
  now: string,
): Promise<Manifest> {
  const whole = { ...manifest, ...(await manifests.without(manifest, paths)) };
  if (!isAll) return whole;
  const moves: ManifestMove[] = [...(manifest.moves ?? [])];
  const checkpoints = manifest.checkpoints.map((one): ManifestCheckpoint => {
    if (one.cursor === null || isRange(one)) return one;
    const { id: base, holder, fingerprint } = one;
    const id = randomUUID();
    moves.push({
      ...streamOf(one),
      id,
      base,
      cursor: null,
      workflow_id: holder.workflowId,
      moved: STARTED_OVER_GONE,
      moved_at: now,
    });
    const recorded = fingerprint !== undefined && {
      fingerprint: { is: fingerprint.is, gone: true as const },
    };
    return { ...one, id, cursor: null, updated_at: now, marks: [], ...recorded };
  });
  return { ...whole, checkpoints, moves };
}

/** @throws {DestinationError} if rows were written by another primary key, and are not read again now. */
function refuseOtherKey(request: OpenRequest, manifest: Manifest | null): void {
  const { key, table } = request;
  const recorded = (manifest?.checkpoints ?? []).flatMap(({ fingerprint }) => fingerprint ?? []);
  const was = otherKey(recorded, table);
  const hasRows =
    manifest?.commits.some(({ rows }) => rows > 0) === true || (manifest?.sealed.length ?? 0) > 0;
  if (was === null || !hasRows) return;
  if (isRange(key) || !startsAnew(request)) throw keyChanged(table, keyText(was, table.primaryKey));
}

/** Returns a checkpoint without a recorded configuration of another primary key: opening its stream records it again. */
function withoutOtherKey({ fingerprint, ...rest }: ManifestCheckpoint, table: TableSpec): ManifestCheckpoint {
  const isKept = fingerprint !== undefined && otherKey([fingerprint], table) === null;
  return isKept ? { ...rest, fingerprint } : rest;
}

/** Reads the history of a stream from a store. */
export async function historyIn(store: ObjectStore, { key, limit }: HistoryRequest): Promise<History> {
  const manifests = new Manifests(store, tableFolder(key));
  const manifest = await manifests.latest();
  const own = checkpointOf(manifest, key);
  if (manifest === null || own === undefined) return { stored: null, total: 0, entries: [] };
  const entries = await entriesOf(manifests, manifest, key);
  const { id, cursor, holder, updated_at: since } = own;
  return {
    stored: { checkpoint: { id, cursor }, holder, since },
    total: entries.length,
    entries: entries.slice(0, limit),
  };
}

/** Reads the commits and moves of a stream, newest first. */
async function entriesOf(manifests: Manifests, manifest: Manifest, key: StreamKey): Promise<HistoryEntry[]> {
  const isOwn = (one: StreamOfTable) => sameKey(one, key);
  const commits = (await manifests.commits(manifest)).filter(isOwn).map((commit): HistoryEntry => {
    const { batch, base, cursor, pages, records, rows } = commit;
    const [at, workflowId] = [commit.committed_at, commit.workflow_id];
    return {
      id: batch,
      base,
      at,
      workflowId,
      pages,
      records,
      rows,
      moved: null,
      ...(cursor !== undefined && { cursor }),
    };
  });
  const moves = (manifest.moves ?? []).filter(isOwn).map((move): HistoryEntry => {
    const { id, base, cursor, moved } = move;
    const [at, workflowId] = [move.moved_at, move.workflow_id];
    return { id, base, at, cursor, workflowId, pages: 0, records: 0, rows: 0, moved };
  });
  const order = new Map([...commits, ...moves].map(({ id, base }) => [base, id]));
  // Within one millisecond, an entry follows the one it is based on.
  return [...commits, ...moves].sort((a, b) =>
    a.at === b.at ? (order.get(a.id) === b.id ? 1 : -1) : a.at < b.at ? 1 : -1,
  );
}

const logOf = (manifests: Manifests, manifest: Manifest | null, key: StreamKey): StreamLog => ({
  entries: async ({ batch, until, limit }) => {
    const all = manifest === null ? [] : await entriesOf(manifests, manifest, key);
    const bound = until === undefined ? Infinity : Date.parse(until);
    return all.filter(({ id, at }) => id.startsWith(batch ?? '') && Date.parse(at) <= bound).slice(0, limit);
  },
  hasMoved: (id) =>
    Promise.resolve((manifest?.moves ?? []).some((move) => move.id === id && move.strategy === key.strategy)),
});

/** Returns the manifest's sets of columns including the declared one, and the index of that one. */
function withSchema(
  manifest: Manifest | null,
  { columns }: TableSpec,
): { schemas: Manifest['schemas']; schema: number } {
  const schemas = manifest?.schemas ?? [];
  const text = JSON.stringify(columns);
  const known = schemas.findIndex((one) => JSON.stringify(one) === text);
  return known !== -1
    ? { schemas, schema: known }
    : { schemas: [...schemas, columns], schema: schemas.length };
}

/** @throws {DestinationError} if the table has a column with another type. */
function refuseOthers(table: TableSpec, manifest: Manifest | null): void {
  const existing = new Map(
    columnsOf({ schemas: manifest?.schemas ?? [] }).map(([name, type]) => [name.toLowerCase(), type]),
  );
  const differences = Object.entries(table.columns).flatMap(([name, type]) => {
    const is = existing.get(name.toLowerCase());
    return is === undefined || is === type ? [] : [`${name} is ${is} in the files, but declared as ${type}`];
  });
  refuseOtherTypes(table, differences);
}

/** Makes files readable on this machine. @returns their local paths, by their paths in the table's folder. */
export async function pathsOf(
  store: ObjectStore,
  folder: string,
  files: readonly TableFile[],
): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const { path } of files) paths.set(path, await store.fileOf(`${folder}${path}`));
  return paths;
}

/** Rows that DuckDB holds as JSON at once, several times over. */
const VECTOR_ROWS = 2048;
const SLICE_BYTES = 4 * 1024 * 1024;

/** Returns conditions that divide a batch with long records, so that few of them are in memory as JSON. */
async function slicesOf(
  connection: DuckDbSession,
  { name, columns }: Batch,
  longest: number,
): Promise<Sql[]> {
  if (longest * VECTOR_ROWS <= SLICE_BYTES) return [sql`true`];
  const lengths = [...columns.values()].map((column) => sql`coalesce(strlen(CAST(${column} AS VARCHAR)), 0)`);
  const found = await connection.rows(
    sql`SELECT min(place), max(place) FROM (
       SELECT rowid AS place, sum(${joined(lengths, sql` + `)}) OVER (ORDER BY rowid) // ${numeral(SLICE_BYTES)} AS slice FROM ${name})
     GROUP BY slice ORDER BY 1`,
  );
  // Uncommitted rows have places beyond 2^53.
  const place = (value: string | null | undefined) => numeral(BigInt(value ?? 0));
  return found.map(([first, last]) => sql`rowid BETWEEN ${place(first)} AND ${place(last)}`);
}

/** Writes the rows of queries into one file, one query after the other, and measures the file. */
async function copy(
  connection: DuckDbSession,
  queries: readonly Sql[],
  attempt: Attempt,
  path: string,
  rows: number,
): Promise<MadeFile> {
  const format: FileFormat = path.endsWith('.ndjson') ? 'ndjson' : 'parquet';
  const local = join(attempt.local, `${randomUUID()}.${format}`);
  for (const [i, query] of queries.entries()) {
    const part = i === 0 ? local : `${local}.part`;
    await connection.run(sql`COPY (${query}) TO ${literal(part)} (${copyOptions(format)})`);
    if (i === 0) continue;
    await pipeline(piecesOf(part), createWriteStream(local, { flags: 'a' }));
    await rm(part);
  }
  const hash = createHash('sha256');
  let bytes = 0;
  let line = 0;
  let longest = 0;
  for await (const piece of piecesOf(local) as AsyncIterable<Buffer>) {
    hash.update(piece);
    bytes += piece.length;
    if (format === 'parquet') continue;
    let from = 0;
    for (let end = piece.indexOf(10); end !== -1; end = piece.indexOf(10, from)) {
      longest = Math.max(longest, line + end - from);
      line = 0;
      from = end + 1;
    }
    line += piece.length - from;
  }
  longest = Math.max(longest, line);
  return { path, rows, bytes, sha256: hash.digest('hex'), ...(format === 'ndjson' && { longest }), local };
}

/** The statement that creates one of Highwater's own tables for the duration of a connection. */
const temporaryTable = (table: OwnTable): Sql =>
  sql`CREATE OR REPLACE TEMP TABLE ${duckDbDialect.ownTable('', table)} (${ownColumnsOf(duckDbDialect, table)})`;
