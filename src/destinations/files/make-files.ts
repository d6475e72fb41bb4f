import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { FileFormat } from '../../config/files-address.js';
import { messageOf } from '../../errors.js';
import type { ColumnType } from '../../protocol.js';
import { columnIn, keyValues, sameKey, somethingMisfits } from '../checkpoints.js';
import type { RangeWrite, WriteRequest } from '../destination.js';
import { duckDbDialect } from '../duckdb/dialect.js';
import { DuckDbLoader, findMisfit, isDataError } from '../duckdb/load.js';
import type { DuckDbFile } from '../duckdb/file.js';
import type { DuckDbSession } from '../duckdb/session.js';
import { BATCH, copyOptions, SEQUENCE, SEQUENCE_STEP, SYNCED_AT, tableQueries, written } from './columns.js';
import { folderName, Manifests, type Manifest, type ManifestCheckpoint, type TableFile } from './manifest.js';
import { piecesOf, type ObjectStore } from './object-store.js';
import { counts, type Batch, type OwnTable } from '../sql/dialect.js';
import { ownColumnsOf } from '../sql/own-tables.js';
import { keepMarks } from '../sql/parents.js';
import { compareBatch } from '../sql/ranges.js';
import { keepRejects } from '../sql/rejects.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

export const MARKS = '_highwater/marks/';
/** More files of marks than these become one. */
export const MARK_FILES = 50;
const NO_DATE = '__HIVE_DEFAULT_PARTITION__';

export interface FilesOptions {
  format: FileFormat;
  /** The column whose dates are the partitions; null = the date of the commit. */
  partitionBy: string | null;
  /** A folder of this machine where files are made. */
  scratch: string;
}

/** A file that has been made locally and not yet put into the store. */
export interface MadeFile extends TableFile {
  local: string;
}

export interface Made {
  rows: number;
  rejected: number;
  /** Rows that a range has left as they are. */
  left: number;
  files: MadeFile[];
  rejects: MadeFile[];
  marks: MadeFile[];
}

export interface Attempt {
  id: string;
  /** The local folder in which its files are made. */
  local: string;
  now: string;
  folder: string;
  version: number;
  stored: ManifestCheckpoint;
  manifest: Manifest;
}

/** Makes the files of batches: an in-memory DuckDB types the rows and writes them. */
export class FileMaker {
  constructor(
    private readonly store: ObjectStore,
    private readonly duckdb: DuckDbFile,
    private readonly options: Pick<FilesOptions, 'format' | 'partitionBy'>,
  ) {}

  /** Makes the files of a batch in a local folder. */
  async make(request: WriteRequest, attempt: Attempt): Promise<Made> {
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
export const temporaryTable = (table: OwnTable): Sql =>
  sql`CREATE OR REPLACE TEMP TABLE ${duckDbDialect.ownTable('', table)} (${ownColumnsOf(duckDbDialect, table)})`;
