import { randomUUID } from 'node:crypto';
import { type RecordError, TableGoneError, messageOf } from '../../errors.js';
import { faultPoint } from '../../faults.js';
import {
  DELETED_AT,
  VALID_TO,
  type ColumnType,
  type Cursor,
  type Holder,
  type Json,
  type SchemaChange,
  type StreamKey,
  type TableSpec,
} from '../../protocol.js';
import {
  alone,
  aloneIn,
  batchColumns,
  cannotHold,
  claimOf,
  conflict,
  doesNotFit,
  isRead,
  keyValues,
  movedClaim,
  notReady,
  openWhenFree,
  refuseNewer,
  refuseOtherTypes,
  otherRanges,
  sameKey,
  somethingMisfits,
  tableName,
  TABLES_VERSION,
  thatMatter,
  type StoredCheckpoint,
  type StreamLog,
} from '../checkpoints.js';
import type {
  Destination,
  History,
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
import { columnType, duckDbType, fromJson, jsonType } from './columns.js';
import { exactColumns } from '../../sources/exact-columns.js';
import { columnsOf, keyIs, rangeSql, tableIs, tableSql } from './ranges.js';
import { changesOf, duckDbStore, SCHEMA_CHANGES } from './evolution.js';
import type { DuckDBConnection } from '@duckdb/node-api';
import type { DuckDbFile } from './file.js';
import { counts, rowsOf, type QueryRows, type DuckDbSession } from './session.js';
import {
  definitions,
  endOfPass,
  forgetMode,
  hashOfBatch,
  keepsLast,
  lastOfEach,
  prepareOwnColumns,
  readyPass,
  rowsBefore,
  writeRows,
  type Written,
} from './modes.js';
import {
  fingerprintsTable,
  isTableGone,
  keepEnded,
  keepOpened,
  noteOfEmptyTable,
  recordedOf,
  refuseOtherDatabase,
  settleKey,
  startOverWhereGone,
} from '../sql/drift.js';
import { asideOf, marksDeleted, NOTHING_WRITTEN, refuseOtherMode, withNotes } from '../sql/modes.js';
import { declaredOnly, follow, hasEvolved, hasKeys, parentTable } from '../columns/inference.js';
import {
  besideTable,
  comparedTable,
  conclude,
  differencesTable,
  forget,
  judge,
  keysOnly,
  meet,
  rangeRefusal,
  withBeyond,
} from '../sql/ranges.js';
import { NOT_KNOWN_TO_BE_OLDER, replay, type ReplayOutcome, type ReplayRequest } from '../sql/replay.js';
import { stagingFolder } from '../../staging/staging.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

/** Highwater's own tables, in the schema `main`. */
const OWN_TABLES: readonly Sql[] = [
  sql`CREATE TABLE IF NOT EXISTS _highwater_meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_checkpoints (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    id VARCHAR NOT NULL, cursor VARCHAR, holder VARCHAR NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL
  )`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_batches (
    id VARCHAR NOT NULL, base VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL, source VARCHAR NOT NULL, cursor VARCHAR NOT NULL, workflow_id VARCHAR NOT NULL,
    pages BIGINT NOT NULL, records BIGINT NOT NULL, "rows" BIGINT NOT NULL, committed_at TIMESTAMP WITH TIME ZONE NOT NULL
  )`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_parents (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    parent VARCHAR NOT NULL, mark VARCHAR NOT NULL
  )`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_seen (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    pass BIGINT NOT NULL, key VARCHAR
  )`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_moves (
    id VARCHAR NOT NULL, base VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL, source VARCHAR NOT NULL, cursor VARCHAR, workflow_id VARCHAR NOT NULL,
    moved VARCHAR NOT NULL, moved_at TIMESTAMP WITH TIME ZONE NOT NULL
  )`,
  sql`CREATE TABLE IF NOT EXISTS _highwater_rejects (
    batch VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL,
    source VARCHAR NOT NULL, reason VARCHAR NOT NULL, record VARCHAR NOT NULL, rejected_at TIMESTAMP WITH TIME ZONE NOT NULL
  )`,
  differencesTable(),
  SCHEMA_CHANGES,
  fingerprintsTable(),
];

/**
 * Rows into a DuckDB file. The table has no key index: an upsert then costs by the batch, and the fence (one
 * writer, one checkpoint) is what keeps keys unique.
 */
export class DuckDbDestination implements Destination {
  /** Batches that are loaded while the one before is written, by the checkpoint that they will make. */
  private readonly prepared = new Map<string, PreparedBatch>();
  /** Tables that this program has made ready: a workflow may have opened its stream with an older one. */
  private readonly ready = new Set<string>();

  constructor(private readonly file: DuckDbFile) {}

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table } = request;
    if (request.expects === undefined) this.file.allowNew();
    const gone = await this.makeReady(table, async (connection, prepareIt) => {
      refuseOtherDatabase(this.file.path, await databaseId(connection), request.expects);
      await prepareOwnTables(connection);
      const settle = await settleKey(tableSql(connection, table), request);
      const startedOver = await prepareIt();
      // DuckDB alters no table in a transaction that has changed its rows.
      await settle();
      return startedOver;
    });
    const isGone = gone.some((one) => sameKey(one, key));
    return openWhenFree(
      request,
      () => this.file.read((connection) => storedCheckpoints(connection, key)),
      (asked) => this.claim(request, asked, isGone),
    );
  }

  /**
   * @param around what surrounds the preparation, in the same transaction.
   * @returns the streams that start over, as the table was gone.
   */
  private async makeReady(
    table: TableSpec,
    around: (
      connection: DuckDbSession,
      prepareIt: () => Promise<StreamKey[]>,
    ) => Promise<StreamKey[]> = async (connection, prepareIt) => {
      await prepareOwnTables(connection);
      return prepareIt();
    },
  ): Promise<StreamKey[]> {
    const gone = await this.file
      .transaction((connection) => around(connection, () => prepareAnew(connection, table)))
      .catch((thrown: unknown) => {
        throw refused(table, thrown);
      });
    this.ready.add(JSON.stringify(table));
    return gone;
  }

  /** Null where the table has got a holder meanwhile that was not `asked` for. */
  private claim(
    request: OpenRequest,
    asked: ReadonlySet<string>,
    isGone: boolean,
  ): Promise<OpenResult | null> {
    const { key, holder, table } = request;
    return this.file.transaction(async (connection) => {
      const stored = await storedCheckpoints(connection, key);
      const claim = claimOf(stored, request, asked);
      if (claim === null) return null;
      const own = stored.find((one) => sameKey(one.key, key));
      const log = logOf(connection, key);
      const database = tableSql(connection, table);
      const recorded = await recordedOf(database, key);
      const moved = await movedClaim(claim, own, request, log, { recorded, isGone });
      const { checkpoint, neighbours, takenOver, isNew, said, record } = moved;
      const isEmptied = checkpoint.cursor === null ? [] : await noteOfEmptyTable(database, key, table);
      const notes = [...moved.notes, ...isEmptied];
      const identity = String(await databaseId(connection));
      const result: OpenResult = {
        checkpoint,
        database: identity,
        neighbours,
        ...(notes.length > 0 && { notes }),
      };
      await keepOpened(database, key, record);
      for (const other of takenOver) {
        await connection.run(
          sql`UPDATE _highwater_checkpoints SET id = $1, holder = $2, updated_at = now() WHERE ${keyIs(other)}`,
          [randomUUID(), JSON.stringify(holder)],
        );
      }
      if (!isNew) return result;
      const cursor = checkpoint.cursor === null ? null : JSON.stringify(checkpoint.cursor);
      if (said !== null) {
        // What the pass in hand has met is not what a pass from there has met: it does not end as a whole one.
        await connection.run(sql`DELETE FROM _highwater_seen WHERE ${keyIs(key)}`);
        await connection.run(sql`DROP TABLE IF EXISTS ${tableName(asideOf(key, request.table))}`);
        if (checkpoint.cursor === null)
          await connection.run(sql`DELETE FROM _highwater_parents WHERE ${keyIs(key)}`);
        await connection.run(
          sql`INSERT INTO _highwater_moves VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())`,
          [checkpoint.id, own?.id ?? '', ...keyValues(key), cursor, holder.workflowId, said],
        );
      }
      const values = [checkpoint.id, cursor, JSON.stringify(holder)];
      if (own !== undefined) {
        await connection.run(
          sql`UPDATE _highwater_checkpoints SET id = $1, cursor = $2, holder = $3, updated_at = now() WHERE ${keyIs(key)}`,
          values,
        );
      } else {
        await connection.run(
          sql`INSERT INTO _highwater_checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7, now())`,
          [...keyValues(key), ...values],
        );
      }
      return result;
    });
  }

  history({ key, limit }: HistoryRequest): Promise<History> {
    return this.file.read(async (connection) => {
      const nothing: History = { stored: null, total: 0, entries: [] };
      if (!(await hasTable(connection, '_highwater_checkpoints'))) return nothing;
      const [row] = await rowsOf(
        connection,
        sql`SELECT id, cursor, holder, ${momentText(sql`updated_at`)} FROM _highwater_checkpoints WHERE ${keyIs(key)}`,
      );
      if (row === undefined) return nothing;
      const [id, cursor, holder, since] = row.map((value) => (value === null ? null : String(value)));
      const checkpoint = { id: id ?? '', cursor: cursor == null ? null : (JSON.parse(cursor) as Cursor) };
      const [total = 0] = await counts(
        connection,
        sql`SELECT count(*) FROM (${await logQuery(connection, key)})`,
      );
      return {
        stored: { checkpoint, holder: JSON.parse(holder ?? '') as Holder, since: since ?? '' },
        total,
        entries: await logOf(connection, key).entries({ limit }),
      };
    });
  }

  parents(request: ParentsRequest): Promise<ParentRow[] | null> {
    const { key, parent } = request;
    return this.file.read(async (connection) => {
      const stored = await storedCheckpoints(connection, {
        ...key,
        schema: parent.table.schema,
        table: parent.table.table,
      });
      if (!isRead(stored)) return null;
      const above = parentTable(parent, await columnsOf(connection, parent.table));
      if (above === null) return [];
      const { table, columnOf } = above;
      return parentRows(connection, { ...request, parent: { ...parent, table } }, tableName(table), columnOf);
    });
  }

  prepare(request: WriteRequest): void {
    const { next, records, bytes } = request;
    if (this.prepared.has(next) || this.prepared.size >= PREPARED_LIMIT) return;
    if (records === 0 || bytes > PREPARED_BYTES) return;
    // What the table's columns will be, the write before it has its say in.
    if (request.table.inference !== undefined || request.range !== undefined) return;
    const batch = new PreparedBatch(
      this.file,
      (connection) => load(this.file, connection, request),
      () => this.prepared.get(next) === batch && this.prepared.delete(next),
    );
    this.prepared.set(next, batch);
  }

  async close(): Promise<void> {
    for (const batch of this.prepared.values()) batch.release();
    await this.file.close();
  }

  async write(request: WriteRequest): Promise<WriteOutcome> {
    const { table, next } = request;
    if (!this.ready.has(JSON.stringify(table))) await this.makeReady(table);
    const prepared = this.prepared.get(next);
    this.prepared.delete(next);
    // Where that failed, what follows fails in the same way and says why.
    const loaded = (await prepared?.take()) ?? null;
    try {
      return await this.commit(request, loaded, false);
    } catch (thrown) {
      if (await this.lacksTable(table, thrown)) throw new TableGoneError(table);
      if (!isDataError(thrown)) throw thrown;
      if (table.quarantine === true) return await this.commit(request, null, true);
      throw await this.file.read(async (connection) =>
        misfit(connection, table, await request.files(), request.longest, messageOf(thrown)),
      );
    } finally {
      prepared?.release();
    }
  }

  private async lacksTable(table: TableSpec, thrown: unknown): Promise<boolean> {
    if (!/^Catalog Error/.test(messageOf(thrown))) return false;
    return this.file.read((connection) => isTableGone(tableSql(connection, table), table));
  }

  /**
   * @param loaded a connection that has the batch already.
   * @param sorts puts aside what does not fit; a batch where everything does is written without a look at each record.
   */
  private commit(
    request: WriteRequest,
    loaded: DuckDBConnection | null,
    sorts: boolean,
  ): Promise<WriteOutcome> {
    const { key, base, next } = request;
    const look = checkpointsQuery(key);
    return this.file.transaction(
      async (connection, found) => {
        const stored = checkpointsIn(found, key).find((one) => sameKey(one.key, key));
        if (stored?.id !== base) {
          // Others may have been committed after it.
          const rows = await committedRows(connection, request);
          if (rows === null) throw conflict(key, base, stored);
          const rejected = await rejectedOf(connection, request);
          const changes = request.table.inference === undefined ? [] : await changesOf(connection, next);
          return {
            ...{ rows, already: true },
            ...(rejected > 0 && { rejected }),
            ...(changes.length > 0 && { changes }),
          };
        }
        const had = await rowsBefore(connection, request);
        const {
          rows,
          deleted,
          left = 0,
          table,
          exists,
          changes,
        } = request.table.inference === undefined
          ? await this.rows(connection, request, stored.cursor, loaded !== null, sorts)
          : await this.followed(connection, request, stored.cursor, sorts);
        if (request.marks !== undefined) await keepMarks(connection, key, await request.marks());
        if (request.rejects !== undefined) await keepRejects(connection, request, await request.rejects());
        const rejected = await rejectedOf(connection, request);
        const ended =
          exists && request.range === undefined
            ? await endOfPass(connection, { ...request, table }, rejected > 0, had)
            : NOTHING_WRITTEN;
        const { notes = [] } = ended;
        if (request.fingerprint !== undefined && request.cursor.ended !== null)
          await keepEnded(rangeSql(connection, null), key, request.fingerprint);
        const cursor = literal(JSON.stringify(withNotes(request.cursor, notes)));
        const values = [literal(next), literal(base), ...keyValues(key).map(literal), cursor];
        const set = await connection.runAll([
          sql`INSERT INTO _highwater_batches VALUES (${joined(values)}, ${literal(request.workflowId)},
           ${numeral(request.pages)}, ${numeral(request.records)}, ${numeral(rows + ended.rows)}, now())`,
          sql`UPDATE _highwater_checkpoints SET id = ${literal(next)}, cursor = ${cursor}, updated_at = now()
           WHERE ${keyIs(key)} AND id = ${literal(base)}`,
        ]);
        if (set.rowsChanged !== 1) throw conflict(key, base, stored);
        faultPoint('commit.before');
        return {
          ...{ rows: rows + ended.rows, already: false },
          ...(rejected > 0 && { rejected }),
          ...(deleted + ended.deleted > 0 && { deleted: deleted + ended.deleted }),
          ...(left > 0 && { left }),
          ...(changes.length > 0 && { changes }),
          ...(notes.length > 0 && { notes }),
        };
      },
      loaded,
      look,
    );
  }

  /**
   * Tries records again that were put aside.
   * @throws {DestinationError}
   */
  replay(request: ReplayRequest): Promise<ReplayOutcome> {
    const { table } = request;
    const next = `replay-${randomUUID()}`;
    const key: StreamKey = { schema: table.schema, table: table.table, strategy: 'keyset', source: 'replay' };
    return replay(request, stagingFolder(this.file.path), exactColumns, (work) =>
      this.file.transaction(async (connection) => {
        await prepare(connection, table).catch((thrown: unknown) => {
          throw refused(table, thrown);
        });
        return work({
          take: (before, limit) => takeRejects(connection, key, before, limit),
          follow: (spec, files, longest) => {
            const create = (made: TableSpec) => prepareTable(connection, declaredOnly(made));
            const store = duckDbStore(connection, key, spec, next, create);
            return follow(spec, store, files, longest).then(async (batch) => {
              if (batch.changes.length > 0) await prepareOwnColumns(connection, batch.table, batch.changes);
              return batch;
            });
          },
          write: async (table, path, { records, longest }, cursor) => {
            const spec = alone(table);
            await sort(this.file, connection, spec, [path], longest);
            if (cursor !== undefined) await connection.run(markOlder(spec, cursor));
            const found = await rowsOf(
              connection,
              sql`SELECT place - 1, reason FROM _sorted WHERE reason IS NOT NULL`,
            );
            await connection.runAll(batchOfWhatFits(spec));
            const own = {
              ...aloneIn(key, spec, next),
              records,
              longest,
              files: () => Promise.resolve([path]),
            };
            const { rows } = await writeRows(connection, own);
            const aside = found.map(([place, reason]): [number, string] => [Number(place), String(reason)]);
            return { rows, aside: new Map(aside) };
          },
          keep: (file) => keepRejects(connection, aloneIn(key, table, next), [file]),
        });
      }),
    );
  }

  private async rows(
    connection: DuckDbSession,
    request: WriteRequest,
    before: Cursor | null,
    isLoaded: boolean,
    sorts: boolean,
  ): Promise<WrittenInto> {
    const { records, table, range } = request;
    if (range !== undefined) return this.besideSync(connection, { ...request, range }, sorts);
    await readyPass(connection, request, before);
    let written: Written = { rows: 0, deleted: 0 };
    if (records > 0) {
      if (sorts) await sortOut(this.file, connection, request);
      else if (!isLoaded) await load(this.file, connection, request);
      written = await writeRows(connection, request);
    }
    return { ...written, table, exists: true, changes: [] };
  }

  /** As {@link rows}, for a range: written is what the sync has not written meanwhile. */
  private async besideSync(
    connection: DuckDbSession,
    request: WriteRequest & { range: RangeWrite },
    sorts: boolean,
  ): Promise<WrittenInto> {
    const { range, records } = request;
    const database = rangeSql(connection, request.table);
    const table = besideTable(request.table);
    const into = { table, exists: true, changes: [] };
    const paths = (await range.beyond?.()) ?? [];
    if (paths.length > 0) {
      // Following its source has made the key's columns what they are.
      const met = { ...request, table: keysOnly(table), files: () => Promise.resolve(paths) };
      await load(this.file, connection, met);
      await meet(database, met, sql`_batch`);
    }
    if (records === 0) return { ...into, rows: 0, deleted: 0 };
    // Of a key that comes twice the last record counts, however the table is written.
    const oneEach = { ...request, table: { ...table, mode: 'replace' as const } };
    await (sorts ? sortOut : load)(this.file, connection, oneEach);
    if (range.kind === 'audit') await meet(database, { ...request, table }, sql`_batch`);
    const left = await judge(database, { ...request, table }, sql`_batch`);
    if (range.writes) return { ...into, ...(await writeRows(connection, { ...request, table })), left };
    await connection.run(sql`DROP TABLE _batch`);
    return { ...into, rows: 0, deleted: 0 };
  }

  readonly ranges: Ranges = {
    refusal: rangeRefusal,
    now: () => Promise.resolve(new Date().toISOString()),
    stands: (key) =>
      this.file.read(async (connection) => {
        if (!(await hasOwnTables(connection))) return null;
        return (await storedCheckpoints(connection, key)).find((one) => sameKey(one.key, key)) ?? null;
      }),
    kept: (key) =>
      this.file.read(async (connection) => {
        if (!(await hasOwnTables(connection))) return [];
        return otherRanges(key, await allCheckpoints(connection, key));
      }),
    conclude: (request) =>
      this.file.transaction(async (connection) => {
        const known = await columnsOf(connection, request.table);
        const table = besideTable(known?.spec() ?? request.table);
        return conclude(rangeSql(connection, request.table), { ...request, table });
      }),
    forget: (key) =>
      this.file.transaction(async (connection) => {
        await connection.runAll(OWN_TABLES);
        await forget(rangeSql(connection, null), key);
      }),
  };

  /** As {@link rows}, after the table was made to hold the batch. */
  private async followed(
    connection: DuckDbSession,
    asked: WriteRequest,
    before: Cursor | null,
    sorts: boolean,
  ): Promise<WrittenInto> {
    const { key, next } = asked;
    const table = comparedTable(asked);
    const files = asked.records === 0 ? [] : await asked.files();
    const following = (spec: TableSpec, paths: string[]) => {
      const create = async (made: TableSpec) => {
        if (await isTableGone(tableSql(connection, spec), spec)) throw new TableGoneError(spec);
        await prepareTable(connection, declaredOnly(made));
      };
      return follow(spec, duckDbStore(connection, key, spec, next, create), paths, asked.longest);
    };
    const batch = await following(table, files);
    const { request, ...beyond } = await withBeyond(asked, following);
    const own = {
      ...request,
      table: batch.table,
      records: batch.records,
      longest: batch.longest,
      files: () => Promise.resolve(batch.files),
    };
    try {
      const rejects = [...batch.rejects, ...beyond.rejects];
      if (rejects.length > 0) await keepRejects(connection, request, rejects);
      const { exists, changes } = batch;
      if (!exists) return { rows: 0, deleted: 0, table, exists, changes };
      if (changes.length > 0) await prepareOwnColumns(connection, batch.table, changes);
      return { ...(await this.rows(connection, own, before, false, sorts)), changes };
    } catch (thrown) {
      if (!isDataError(thrown) || table.quarantine === true) throw thrown;
      throw await this.file.read((reading) =>
        misfit(reading, batch.table, batch.files, batch.longest, messageOf(thrown)),
      );
    } finally {
      await batch.discard();
      await beyond.discard();
    }
  }
}

/** Databases of one file have Highwater's own tables once something was opened there. */
async function hasOwnTables(connection: DuckDbSession): Promise<boolean> {
  const [tables = 0] = await counts(
    connection,
    sql`SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main' AND table_name = '_highwater_checkpoints'`,
  );
  return tables > 0;
}

/** What a batch has come to, and the table that it went into. */
interface WrittenInto extends Written {
  /** Rows that were left as they are. */
  left?: number;
  table: TableSpec;
  exists: boolean;
  changes: SchemaChange[];
}

/** At most so many are held, and none that is larger: DuckDB's memory must do for them and the write in hand. */
const PREPARED_LIMIT = 2;
const PREPARED_BYTES = 32 * 1024 * 1024;
/** Who has not come for it by then (a sync that was paused or cancelled, or waits for a long write) does without. */
const PREPARED_MILLISECONDS = 10_000;

/** A batch in temporary tables of a connection of its own. */
class PreparedBatch {
  release: () => void = () => undefined;
  private readonly loaded: Promise<DuckDBConnection | null>;
  private readonly timer: NodeJS.Timeout;

  constructor(file: DuckDbFile, work: (connection: DuckDbSession) => Promise<void>, onEnd: () => void) {
    const released = new Promise<void>((resolve) => (this.release = resolve));
    this.timer = setTimeout(this.release, PREPARED_MILLISECONDS);
    this.loaded = new Promise((resolve) => {
      void file
        .read(async (session, connection) => {
          await work(session);
          resolve(connection);
          await released;
        })
        .catch(() => resolve(null))
        .finally(() => {
          clearTimeout(this.timer);
          onEnd();
        });
    });
  }

  /** The connection, until it is released; null where loading failed. */
  take(): Promise<DuckDBConnection | null> {
    clearTimeout(this.timer);
    return this.loaded;
  }
}

/** Makes the table ready, and Highwater's own ones. */
async function prepare(connection: DuckDbSession, table: TableSpec): Promise<void> {
  await prepareOwnTables(connection);
  await prepareAnew(connection, table);
}

/** Makes the table ready. @returns the streams that start over, as it was gone. */
async function prepareAnew(connection: DuckDbSession, table: TableSpec): Promise<StreamKey[]> {
  const gone = await startOverWhereGone(tableSql(connection, table), table);
  await prepareTable(connection, table);
  return gone;
}

async function prepareOwnTables(connection: DuckDbSession): Promise<void> {
  await connection.runAll(OWN_TABLES);
  await connection.run(
    sql`INSERT INTO _highwater_meta SELECT * FROM (VALUES ('database', $1), ('version', $2))
     WHERE NOT EXISTS (SELECT 1 FROM _highwater_meta WHERE name = 'database')`,
    [randomUUID(), String(TABLES_VERSION)],
  );
  const [[stored] = []] = await rowsOf(
    connection,
    sql`SELECT value FROM _highwater_meta WHERE name = 'version'`,
  );
  const version = String(stored);
  refuseNewer(version);
  if (Number(version) < TABLES_VERSION) {
    await connection.run(
      sql`UPDATE _highwater_meta SET value = ${literal(String(TABLES_VERSION))} WHERE name = 'version'`,
    );
  }
}

async function prepareTable(connection: DuckDbSession, table: TableSpec): Promise<void> {
  const columns = Object.entries(table.columns);
  await connection.run(sql`CREATE SCHEMA IF NOT EXISTS ${identifier(table.schema)}`);
  const known = await columnsOf(connection, table);
  // The first records will say what its columns are.
  if (known?.exists === false && !hasKeys(table)) return;
  if (known?.exists !== true)
    await connection.run(sql`CREATE TABLE IF NOT EXISTS ${tableName(table)} (${joined(definitions(table))})`);
  const found = await rowsOf(
    connection,
    sql`SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database()
       AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)`,
    [table.schema, table.table],
  );
  const existing = new Map(found.map(([name, type]) => [String(name).toLowerCase(), String(type)]));
  const differences: string[] = [];
  for (const [name, type] of columns) {
    const wanted = duckDbType(type);
    const is = existing.get(name.toLowerCase());
    if (is === undefined) {
      await connection.run(sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${identifier(name)} ${wanted}`);
    } else if (is !== wanted && !hasEvolved(table, type, columnType(is)))
      differences.push(`${name} is ${is} there, declared ${type} (${wanted})`);
  }
  refuseOtherTypes(table, differences);
  const [rows = 0] = await counts(connection, sql`SELECT count(*) FROM ${tableName(table)}`);
  if (rows > 0) refuseOtherMode(table, new Set(existing.keys()));
  else await forgetMode(connection, table);
  await prepareOwnColumns(connection, known?.exists === true ? known.spec() : table, []);
}

const storedCheckpoints = async (connection: DuckDbSession, key: StreamKey): Promise<StoredCheckpoint[]> =>
  thatMatter(key, await allCheckpoints(connection, key));

const checkpointsQuery = (key: StreamKey): Sql =>
  sql`SELECT strategy, source, id, cursor, holder, updated_at FROM _highwater_checkpoints WHERE ${tableIs(key)}`;

const allCheckpoints = async (connection: DuckDbSession, key: StreamKey): Promise<StoredCheckpoint[]> =>
  checkpointsIn(await rowsOf(connection, checkpointsQuery(key)), key);

/** What the answer to {@link checkpointsQuery} says. */
function checkpointsIn(found: QueryRows, key: StreamKey): StoredCheckpoint[] {
  return found.map(([strategy, source, id, cursor, holder, updated]) => ({
    updated: String(updated),
    key: { ...key, strategy: strategy as StreamKey['strategy'], source: String(source) },
    id: String(id),
    cursor: cursor === null ? null : (JSON.parse(String(cursor)) as Cursor),
    holder: JSON.parse(String(holder)) as Holder,
  }));
}

const hasTable = async (connection: DuckDbSession, name: string) =>
  (
    await counts(
      connection,
      sql`SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main' AND table_name = ${literal(name)}`,
    )
  )[0] === 1;

const momentText = (column: Sql) =>
  sql`strftime(date_trunc('milliseconds', ${column} AT TIME ZONE 'UTC'), '%Y-%m-%dT%H:%M:%S.%gZ')`;

/** Commits and moves of a stream. */
async function logQuery(connection: DuckDbSession, key: StreamKey): Promise<Sql> {
  // A file that an older program has written, and nobody has opened since, has no moves.
  const moves = !(await hasTable(connection, '_highwater_moves'))
    ? sql``
    : sql`UNION ALL SELECT id, base, cursor, workflow_id, 0, 0, 0, moved, moved_at FROM _highwater_moves WHERE ${keyIs(key)}`;
  return sql`SELECT id, base, cursor, workflow_id, pages, records, "rows", NULL AS moved, committed_at AS made_at
    FROM _highwater_batches WHERE ${keyIs(key)} ${moves}`;
}

const logOf = (connection: DuckDbSession, key: StreamKey): StreamLog => ({
  entries: async ({ batch, until, limit }) => {
    const which = [
      ...(batch === undefined ? [] : [sql`starts_with(id, ${literal(batch)})`]),
      ...(until === undefined
        ? []
        : [sql`date_trunc('milliseconds', made_at) <= CAST(${literal(until)} AS TIMESTAMPTZ)`]),
    ];
    const found = await rowsOf(
      connection,
      sql`SELECT id, base, ${momentText(sql`made_at`)}, cursor, workflow_id, pages, records, "rows", moved
         FROM (${await logQuery(connection, key)}) ${which.length === 0 ? sql`` : sql`WHERE ${joined(which, sql` AND `)}`}
         ORDER BY made_at DESC LIMIT ${numeral(limit)}`,
    );
    return found.map(([id, base, at, cursor, workflowId, pages, records, rows, moved]) => ({
      ...{ id: String(id), base: String(base), at: String(at), workflowId: String(workflowId) },
      cursor: cursor === null ? null : (JSON.parse(String(cursor)) as Cursor),
      ...{ pages: Number(pages), records: Number(records), rows: Number(rows) },
      moved: moved === null ? null : String(moved),
    }));
  },
  hasMoved: async (id) =>
    (
      await counts(
        connection,
        sql`SELECT count(*) FROM _highwater_moves WHERE ${keyIs(key)} AND id = ${literal(id)}`,
      )
    )[0] !== 0,
});

/** The identity of the database; null where nothing of Highwater's is there. */
async function databaseId(connection: DuckDbSession): Promise<string | null> {
  if (!(await hasTable(connection, '_highwater_meta'))) return null;
  const [[id = null] = []] = await rowsOf(
    connection,
    sql`SELECT value FROM _highwater_meta WHERE name = 'database'`,
  );
  return id === null ? null : String(id);
}

/** Rows of a batch that was committed; null where it was not. */
async function committedRows(
  connection: DuckDbSession,
  { key, base, next }: WriteRequest,
): Promise<number | null> {
  const [rows = null] = await counts(
    connection,
    sql`SELECT "rows" FROM _highwater_batches WHERE ${keyIs(key)} AND id = ${literal(next)} AND base = ${literal(base)}`,
  );
  return rows;
}

/** Reads the staged files into the temporary table `_batch`, and keeps the last record of each key. */
export async function load(
  file: DuckDbFile,
  connection: DuckDbSession,
  request: WriteRequest,
): Promise<void> {
  const { table, longest } = request;
  await file.makeRoomFor(connection, longest);
  const columns = Object.entries(table.columns);
  const selected = selectedForBatch(table, identifier);
  // One call for several statements: an answer waits its turn behind the pages that are read meanwhile.
  await connection.runAll([
    sql`CREATE OR REPLACE TEMP TABLE _batch AS SELECT ${joined(selected)} FROM ${readFiles(await request.files(), longest, columns, jsonType)}`,
    ...(keepsLast(table) ? lastOfEach(table) : []),
  ]);
}

/** Takes the first records out of `_highwater_rejects` that were put aside before a time. */
async function takeRejects(connection: DuckDbSession, key: StreamKey, before: string | null, limit: number) {
  const time = before === null ? sql`now()` : sql`CAST(${literal(before)} AS TIMESTAMPTZ)`;
  const first = sql`FROM _highwater_rejects WHERE ${tableIs(key)} AND rejected_at < ${time} ORDER BY rejected_at, rowid LIMIT ${numeral(limit)}`;
  const found = await rowsOf(connection, sql`SELECT record ${first}`);
  const records = found.map(([record]) => String(record));
  await connection.run(sql`DELETE FROM _highwater_rejects WHERE rowid IN (SELECT rowid ${first})`);
  const [[now] = []] = await rowsOf(connection, sql`SELECT CAST(now() AS VARCHAR)`);
  return { records, now: String(now) };
}

/** Marks those of `_sorted` that are not known to be newer than the row that they would replace. */
function markOlder(table: TableSpec, cursor: string | null): Sql {
  const read = (name: string) => fromJson(sql`s.r.${identifier(name)}`, table.columns[name] ?? 'STRING');
  const current = table.mode === 'history' ? [sql`t.${identifier(VALID_TO)} IS NULL`] : [];
  const sameRow = joined(
    [...table.primaryKey.map((name) => sql`t.${identifier(name)} = ${read(name)}`), ...current],
    sql` AND `,
  );
  const isNewer =
    cursor === null ? sql`false` : sql`coalesce(${read(cursor)} >= t.${identifier(cursor)}, false)`;
  return sql`UPDATE _sorted SET reason = ${literal(NOT_KNOWN_TO_BE_OLDER)} WHERE place IN (
    SELECT s.place FROM _sorted AS s JOIN ${tableName(table)} AS t ON ${sameRow} WHERE s.reason IS NULL AND NOT ${isNewer})`;
}

/** How many records of a batch were put aside. */
async function rejectedOf(connection: DuckDbSession, { next, table }: WriteRequest): Promise<number> {
  if (table.quarantine !== true) return 0;
  const [count = 0] = await counts(
    connection,
    sql`SELECT count(*) FROM _highwater_rejects WHERE batch = ${literal(next)}`,
  );
  return count;
}

/** What the reader has put aside. */
export async function keepRejects(
  connection: DuckDbSession,
  { key, next }: Pick<WriteRequest, 'key' | 'next'>,
  files: string[],
): Promise<void> {
  const values = joined([next, ...keyValues(key)].map(literal));
  await connection.run(
    sql`INSERT INTO _highwater_rejects SELECT ${values}, reason, record, now()
       FROM read_json([${joined(files.map(literal))}], columns = {reason: 'VARCHAR', record: 'VARCHAR'},
         format = 'newline_delimited', maximum_object_size = ${numeral(REJECT_BYTES)})`,
  );
}

/** A record of the greatest length, and its reason. */
const REJECT_BYTES = 48 * 1024 * 1024;

/** As {@link load}, but for the records that do not fit, which go to `_highwater_rejects`. */
export async function sortOut(
  file: DuckDbFile,
  connection: DuckDbSession,
  request: WriteRequest,
): Promise<void> {
  const { table, longest, key, next } = request;
  await sort(file, connection, table, await request.files(), longest);
  const values = joined([next, ...keyValues(key)].map(literal));
  await connection.runAll([
    sql`INSERT INTO _highwater_rejects SELECT ${values}, reason, line, now() FROM _sorted WHERE reason IS NOT NULL`,
    ...batchOfWhatFits(table),
  ]);
}

/** Reads lines into the temporary table `_sorted`, each with what its columns cannot hold of it. */
async function sort(
  file: DuckDbFile,
  connection: DuckDbSession,
  table: TableSpec,
  paths: readonly string[],
  longest: number,
): Promise<void> {
  await file.makeRoomFor(connection, longest);
  const columns = Object.entries(table.columns);
  const files = joined(paths.map(literal));
  // A value fits where DuckDB makes one of it, and it is still the same.
  const reasons = columns.map(([name, type]) => {
    const text = sql`(line ->> ${literal(`$.${JSON.stringify(name)}`)})`;
    const value = valueOf(text, type);
    const lost = [sql`r.${identifier(name)} IS NULL`, ...(value === null ? [] : [sql`${value} IS NULL`])];
    const said = sql`${literal(`column ${JSON.stringify(name)} cannot hold `)} || to_json(${text}[:200]) || ${literal(` as ${type}`)}`;
    return sql`WHEN ${text} IS NOT NULL AND (${joined(lost, sql` OR `)}) THEN ${said}`;
  });
  const spec = Object.fromEntries(columns.map(([name, type]) => [name, jsonType(type)]));
  await connection.run(
    sql`CREATE OR REPLACE TEMP TABLE _sorted AS SELECT row_number() OVER () AS place, line, r, CASE ${joined(reasons, sql` `)} END AS reason
       FROM (SELECT line, from_json(line, ${literal(JSON.stringify(spec))}) AS r
         FROM read_csv([${files}], columns = {line: 'VARCHAR'}, auto_detect = false, header = false, delim = '\x02',
           quote = '', escape = '', max_line_size = ${numeral(Math.max(2 * 1024 * 1024, longest * 2))}))`,
  );
}

/** Makes the temporary table `_batch` of `_sorted`, which goes. */
function batchOfWhatFits(table: TableSpec): Sql[] {
  const selected = selectedForBatch(table, (name) => sql`r.${identifier(name)}`);
  return [
    sql`CREATE OR REPLACE TEMP TABLE _batch AS SELECT ${joined(selected)} FROM _sorted WHERE reason IS NULL`,
    sql`DROP TABLE _sorted`,
    ...(keepsLast(table) ? lastOfEach(table) : []),
  ];
}

/**
 * The columns of `_batch`, as part of a query.
 * @param read the SQL of a column as it was read.
 */
function selectedForBatch(table: TableSpec, read: (name: string) => Sql): Sql[] {
  const value = (name: string) => fromJson(read(name), table.columns[name] ?? 'STRING');
  return [
    ...[...batchColumns(table)].map(([name, column]) => sql`${value(name)} AS ${column}`),
    ...hashOfBatch(table, value),
  ];
}

/** Marks of parents, the last one of each. */
export async function keepMarks(connection: DuckDbSession, key: StreamKey, files: string[]): Promise<void> {
  const values = joined(keyValues(key).map(literal));
  await connection.runAll([
    sql`CREATE OR REPLACE TEMP TABLE _marks AS SELECT parent, last(mark) AS mark
       FROM read_json([${joined(files.map(literal))}], columns = {parent: 'VARCHAR', mark: 'VARCHAR'}, format = 'newline_delimited')
       GROUP BY parent`,
    sql`DELETE FROM _highwater_parents WHERE ${keyIs(key)} AND parent IN (SELECT parent FROM _marks)`,
    sql`INSERT INTO _highwater_parents SELECT ${values}, parent, mark FROM _marks`,
    sql`DROP TABLE _marks`,
  ]);
}

/**
 * Rows of a parent's table with their marks.
 * @param from what stands for the table; `_highwater_parents` has the marks.
 * @param columnOf columns of fields that have another name there.
 */
export async function parentRows(
  connection: DuckDbSession,
  { key, parent, after, limit }: ParentsRequest,
  from: Sql,
  columnOf: ReadonlyMap<string, string> = new Map(),
): Promise<ParentRow[]> {
  const { table, fields } = parent;
  const columns = fields.map((field) => columnOf.get(field) ?? field);
  const keys = table.primaryKey.map((name) => sql`p.${identifier(name)}`);
  const texts = keys.map((name) => sql`CAST(${name} AS VARCHAR)`);
  const found = sql`to_json([${joined(texts)}])`;
  const values = columns.map((name) => parentValue(sql`p.${identifier(name)}`, table.columns[name]));
  const beyond = (after ?? []).map(
    (text, i) =>
      sql`CAST(${literal(text)} AS ${duckDbType(table.columns[table.primaryKey[i] ?? ''] ?? 'STRING')})`,
  );
  const conditions = [
    ...(after === null ? [] : [sql`(${joined(keys)}) > (${joined(beyond)})`]),
    // Of a parent that is gone nothing is asked.
    ...(marksDeleted(table) ? [sql`p.${identifier(DELETED_AT)} IS NULL`] : []),
    ...(table.mode === 'history' ? [sql`p.${identifier(VALID_TO)} IS NULL`] : []),
  ];
  const result = await rowsOf(
    connection,
    sql`WITH p AS (
       SELECT ${joined([...keys, ...values].map((statement, i) => sql`${statement} AS c${numeral(i)}`))}, ${found}::VARCHAR AS key
       FROM ${from} AS p
       ${conditions.length === 0 ? sql`` : sql`WHERE ${joined(conditions, sql` AND `)}`}
       ORDER BY ${joined(keys)} LIMIT ${numeral(limit)})
     SELECT p.key, m.mark, ${joined(fields.map((_, i) => sql`p.c${numeral(keys.length + i)}`)) || sql`NULL`}
     FROM p LEFT JOIN (SELECT parent, mark FROM _highwater_parents WHERE ${keyIs(key)}) AS m ON m.parent = p.key
     ORDER BY ${joined(keys.map((_, i) => sql`p.c${numeral(i)}`))}`,
  );
  return result.map(([name, mark, ...rest]) => ({
    key: JSON.parse(String(name)) as string[],
    mark: mark === null ? null : (JSON.parse(String(mark)) as Json),
    fields: Object.fromEntries(
      fields.map((field, i) => [field, fieldOf(rest[i] ?? null, table.columns[columns[i] ?? ''])]),
    ),
  }));
}

/** A parent's value as text that means the same in a request as it did in the source's answer. */
const parentValue = (column: Sql, type: ColumnType | undefined) =>
  type === 'UTC_DATETIME'
    ? sql`strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`
    : sql`CAST(${column} AS VARCHAR)`;

function fieldOf(value: unknown, type: ColumnType | undefined): Json {
  if (value === null) return null;
  const text = String(value);
  if (type === 'BOOLEAN') return text === 'true';
  const isWhole = type === 'SHORT' || type === 'INT' || type === 'LONG';
  return isWhole && Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

export function readFiles(
  files: string[],
  longest: number,
  columns: [string, ColumnType][],
  type: (type: ColumnType) => string,
): Sql {
  const spec = joined(
    columns.map(([name, columnType]) => sql`${literal(name)}: ${literal(type(columnType))}`),
  );
  // DuckDB's buffers are twice this size, one a thread.
  const objectSize = Math.max(1024 * 1024, longest * 2);
  return sql`read_json([${joined(files.map(literal))}], columns = {${spec}}, format = 'newline_delimited', maximum_object_size = ${numeral(objectSize)})`;
}

/** Finds the record that does not fit, for the message; slow, and only run once a batch has failed. */
export async function misfit(
  connection: DuckDbSession,
  table: TableSpec,
  files: string[],
  longest: number,
  said: string,
): Promise<RecordError> {
  const columns = Object.entries(table.columns);
  const source = readFiles(files, longest, columns, () => 'JSON');
  const key = joined(
    table.primaryKey.map((name) => sql`(${identifier(name)} ->> '$')`),
    sql` || ', ' || `,
  );
  for (const [name, type] of columns) {
    const text = sql`(${identifier(name)} ->> '$')`;
    const value = valueOf(text, type);
    if (value === null) continue;
    const [found] = await rowsOf(
      connection,
      sql`SELECT ${key}, ${text} FROM ${source} WHERE ${text} IS NOT NULL AND ${value} IS NULL LIMIT 1`,
    ).catch(() => []);
    if (found !== undefined) {
      return doesNotFit(String(found[0]), cannotHold(name, String(found[1]), type));
    }
  }
  return somethingMisfits(table, said);
}

/** The value that a text becomes in a column, null in SQL where it cannot; null where every text can. */
function valueOf(text: Sql, type: ColumnType): Sql | null {
  if (type === 'JSON' || type === 'STRING') return null;
  if (type === 'BINARY') return sql`TRY(from_base64(${text}))`;
  return ['SHORT', 'INT', 'LONG'].includes(type)
    ? wholeNumber(text, duckDbType(type))
    : sql`TRY_CAST(${text} AS ${duckDbType(type)})`;
}

/** Null where the text is a number with a fraction too: a cast would round it. */
const wholeNumber = (text: Sql, type: Sql) =>
  sql`CASE WHEN regexp_matches(${text}, '[0-9][eE]|[.]') AND NOT (TRY_CAST(${text} AS DOUBLE) = round(TRY_CAST(${text} AS DOUBLE)) AND abs(TRY_CAST(${text} AS DOUBLE)) <= 9007199254740991) THEN NULL ELSE TRY_CAST(${text} AS ${type}) END`;

/** What DuckDB will not have whatever one does; anything else (a full disk, …) as it is. */
function refused(table: TableSpec, thrown: unknown): unknown {
  if (
    !(thrown instanceof Error) ||
    !/^(Binder|Catalog|Parser|Not implemented|Constraint) Error/.test(thrown.message)
  )
    return thrown;
  return notReady(table, thrown.message);
}

export const isDataError = (thrown: unknown) =>
  thrown instanceof Error && /^(Conversion|Invalid Input|Out of Range|Constraint) Error/.test(thrown.message);
