import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import type { Pool, PoolClient, QueryConfig } from 'pg';
import { PostgresSession } from './session.js';
import {
  DestinationBusyError,
  DestinationError,
  HighwaterError,
  messageOf,
  type RecordError,
  StorageFullError,
  DestinationGoneError,
  TableGoneError,
} from '../../errors.js';
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
import { memberTexts } from '../../request/paths.js';
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
  otherRanges,
  refuseOtherTypes,
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
import { exactColumns } from '../../sources/exact-columns.js';
import { declaredOnly, follow, hasEvolved, hasKeys, parentTable } from '../columns/inference.js';
import { columnType, fromText, parentValue, postgresType, recordType, storedType } from './columns.js';
import { changeTable, takeTime } from './ddl.js';
import { sendLines } from './lines.js';
import { changesOf, postgresStore, schemaChanges, SYSTEM_COLUMNS } from './evolution.js';
import { columnsOf, rangeSql, tableSql } from './ranges.js';
import {
  besideTable,
  comparedTable,
  conclude,
  differencesTable,
  forget,
  keysOnly,
  meet,
  rangeRefusal,
  withBeyond,
} from '../sql/ranges.js';
import { NOT_KNOWN_TO_BE_OLDER, replay, type ReplayOutcome, type ReplayRequest } from '../sql/replay.js';
import {
  asideOf,
  marksDeleted,
  MODE_COLUMNS,
  NOTHING_WRITTEN,
  ownColumns,
  refuseOtherMode,
  withNotes,
} from '../sql/modes.js';
import {
  converted,
  definitions,
  endOfPass,
  KEY,
  merge,
  ownDefinition,
  readyPass,
  rowsBefore,
  type Written,
} from './modes.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

const NAME_BYTES = 63;
/** A server that has not begun a transaction by then does not answer: it was stopped, or is out of reach. */
const ANSWER_MILLISECONDS = 10_000;

/** Highwater's own tables, in the schema of the stream's table: there the user may create some. */
const ownTables = (schema: Sql): Sql[] => [
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_meta (name text PRIMARY KEY, value text NOT NULL)`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_checkpoints (
    "schema" text NOT NULL, "table" text NOT NULL, strategy text NOT NULL, source text NOT NULL,
    id text NOT NULL, cursor text, holder text NOT NULL, updated_at timestamptz NOT NULL,
    PRIMARY KEY ("schema", "table", strategy, source)
  )`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_batches (
    id text NOT NULL, base text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL,
    strategy text NOT NULL, source text NOT NULL, cursor text NOT NULL, workflow_id text NOT NULL,
    pages bigint NOT NULL, records bigint NOT NULL, "rows" bigint NOT NULL, committed_at timestamptz NOT NULL,
    PRIMARY KEY (id, "schema", "table", strategy, source)
  )`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_parents (
    "schema" text NOT NULL, "table" text NOT NULL, strategy text NOT NULL, source text NOT NULL,
    parent text NOT NULL, mark text NOT NULL,
    PRIMARY KEY ("schema", "table", strategy, source, parent)
  )`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_seen (
    "schema" text NOT NULL, "table" text NOT NULL, strategy text NOT NULL, source text NOT NULL, pass bigint NOT NULL, key text
  )`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_moves (
    id text NOT NULL, base text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL,
    strategy text NOT NULL, source text NOT NULL, cursor text, workflow_id text NOT NULL,
    moved text NOT NULL, moved_at timestamptz NOT NULL,
    PRIMARY KEY (id, "schema", "table", strategy, source)
  )`,
  sql`CREATE TABLE IF NOT EXISTS ${schema}._highwater_rejects (
    batch text NOT NULL, "schema" text NOT NULL, "table" text NOT NULL, strategy text NOT NULL, source text NOT NULL,
    reason text NOT NULL, record text NOT NULL, rejected_at timestamptz NOT NULL
  )`,
  differencesTable(sql`${schema}.`),
  schemaChanges(schema),
  fingerprintsTable(sql`${schema}.`),
];

/** Limits of one transaction. */
export interface PostgresLimits {
  lockSeconds: number;
  /** Of a statement that handles a batch; those that go through a whole table have as long as an activity. */
  statementSeconds: number;
  /** A worker that says nothing for so long, in a transaction, is frozen: what it holds is let go of. */
  idleSeconds: number;
}

export const POSTGRES_LIMITS: PostgresLimits = { lockSeconds: 30, statementSeconds: 600, idleSeconds: 45 };

/**
 * Rows into PostgreSQL: staged in a temporary table, then one INSERT … ON CONFLICT, in the transaction of the
 * checkpoint. Nothing outlives a transaction in its session, so that a pooler may stand between.
 */
export class PostgresDestination implements Destination {
  constructor(
    private pool: Pool,
    /** For people; without a password. */
    private readonly address: string,
    private readonly limits: PostgresLimits = POSTGRES_LIMITS,
    /** Hides secrets in the server's own words. */
    private mask: (text: string) => string = (text) => text,
    /** Called when the server refuses these credentials; returns whether others may be had. */
    private readonly forgetCredentials: () => boolean = () => false,
  ) {}

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table } = request;
    const gone = await this.transaction(async (client) => {
      const where = `schema ${table.schema} of ${this.address}`;
      refuseOtherDatabase(where, await databaseId(client, table.schema), request.expects);
      await prepareOwnTables(client, table.schema);
      // Before the key has an index.
      const settle = await settleKey(tableSql(client, table), request);
      await settle();
      return prepareAnew(client, table);
    }).catch((thrown: unknown) => {
      throw request.expects !== undefined && isDatabaseGone(thrown)
        ? new DestinationGoneError(`the database of ${this.address} is gone`)
        : refused(table, thrown);
    });
    const isGone = gone.some((one) => sameKey(one, key));
    return openWhenFree(
      request,
      () => this.transaction((client) => storedCheckpoints(client, key)),
      (asked) => this.claim(request, asked, isGone),
    );
  }

  /** Null where the table has got a holder meanwhile that was not `asked` for. */
  private claim(
    request: OpenRequest,
    asked: ReadonlySet<string>,
    isGone: boolean,
  ): Promise<OpenResult | null> {
    const { key, holder, table } = request;
    const schema = identifier(key.schema);
    return this.transaction(async (client) => {
      // Of several that claim a table at once, one after the other.
      await client.query(sql`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [
        `highwater ${key.schema}.${key.table}`,
      ]);
      // A write that is under way is waited for: what it commits must not be undone here.
      const stored = await storedCheckpoints(client, key, sql`FOR UPDATE`);
      const claim = claimOf(stored, request, asked);
      if (claim === null) return null;
      const own = stored.find((one) => sameKey(one.key, key));
      const log = logOf(client, key);
      const database = tableSql(client, table);
      const recorded = await recordedOf(database, key);
      const moved = await movedClaim(claim, own, request, log, { recorded, isGone });
      const { checkpoint, neighbours, takenOver, isNew, said, record } = moved;
      const isEmptied = checkpoint.cursor === null ? [] : await noteOfEmptyTable(database, key, table);
      const notes = [...moved.notes, ...isEmptied];
      const identity = String(await databaseId(client, key.schema));
      const result: OpenResult = {
        checkpoint,
        database: identity,
        neighbours,
        ...(notes.length > 0 && { notes }),
      };
      await keepOpened(database, key, record);
      for (const other of takenOver) {
        await client.query(
          sql`UPDATE ${schema}._highwater_checkpoints SET id = $5, holder = $6, updated_at = now() WHERE ${KEY}`,
          [...keyValues(other), randomUUID(), JSON.stringify(holder)],
        );
      }
      if (!isNew) return result;
      const cursor = checkpoint.cursor === null ? null : JSON.stringify(checkpoint.cursor);
      if (said !== null) {
        // What the pass in hand has met is not what a pass from there has met: it does not end as a whole one.
        await client.query(sql`DELETE FROM ${schema}._highwater_seen WHERE ${KEY}`, keyValues(key));
        const aside = tableName(asideOf(key, request.table));
        await changeTable(client, aside, sql`DROP TABLE IF EXISTS ${aside}`);
        if (cursor === null)
          await client.query(sql`DELETE FROM ${schema}._highwater_parents WHERE ${KEY}`, keyValues(key));
        await client.query(
          sql`INSERT INTO ${schema}._highwater_moves VALUES ($5, $6, $1, $2, $3, $4, $7, $8, $9, now())`,
          [...keyValues(key), checkpoint.id, own?.id ?? '', cursor, holder.workflowId, said],
        );
      }
      await client.query(
        sql`INSERT INTO ${schema}._highwater_checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7, now())
           ON CONFLICT ("schema", "table", strategy, source)
           DO UPDATE SET id = excluded.id, cursor = excluded.cursor, holder = excluded.holder, updated_at = now()`,
        [...keyValues(key), checkpoint.id, cursor, JSON.stringify(holder)],
      );
      return result;
    });
  }

  history({ key, limit }: HistoryRequest): Promise<History> {
    return this.transaction(async (client) => {
      const nothing: History = { stored: null, total: 0, entries: [] };
      const checkpoints = sql`${identifier(key.schema)}._highwater_checkpoints`;
      if (!(await hasTable(client, checkpoints))) return nothing;
      const found = await client.query<{ id: string; cursor: string | null; holder: string; since: string }>(
        sql`SELECT id, cursor, holder, ${momentText(sql`updated_at`)} AS since FROM ${checkpoints} WHERE ${KEY}`,
        keyValues(key),
      );
      const [row] = found.rows;
      if (row === undefined) return nothing;
      const total = await client.query<{ total: string }>(
        sql`SELECT count(*) AS total FROM (${await logQuery(client, key)}) AS l`,
        keyValues(key),
      );
      const { id, cursor, holder, since } = row;
      return {
        stored: {
          checkpoint: { id, cursor: cursor === null ? null : (JSON.parse(cursor) as Cursor) },
          ...{ holder: JSON.parse(holder) as Holder, since },
        },
        total: Number(total.rows[0]?.total),
        entries: await logOf(client, key).entries({ limit }),
      };
    });
  }

  parents({ key, parent, after, limit }: ParentsRequest): Promise<ParentRow[] | null> {
    return this.transaction(async (client) => {
      const above = { ...key, schema: parent.table.schema, table: parent.table.table };
      if (!(await hasTable(client, `${identifier(above.schema)}._highwater_checkpoints`))) return null;
      if (!isRead(await storedCheckpoints(client, above))) return null;
      const found = parentTable(parent, await columnsOf(client, parent.table));
      if (found === null) return [];
      const { table, columnOf } = found;
      const { fields } = parent;
      const keys = table.primaryKey.map((name) => ordered(sql`p.${identifier(name)}`, table.columns[name]));
      const texts = table.primaryKey.map((name) => sql`p.${identifier(name)}::text`);
      const beyond = (after ?? []).map((text, i) => {
        const type = table.columns[table.primaryKey[i] ?? ''] ?? 'STRING';
        return ordered(sql`${literal(text)}::${postgresType(type)}`, type);
      });
      const conditions = [
        ...(after === null ? [] : [sql`(${joined(keys)}) > (${joined(beyond)})`]),
        // Of a parent that is gone nothing is asked.
        ...(marksDeleted(table) ? [sql`p.${identifier(DELETED_AT)} IS NULL`] : []),
        ...(table.mode === 'history' ? [sql`p.${identifier(VALID_TO)} IS NULL`] : []),
      ];
      const values = fields.map((field) => {
        const name = columnOf.get(field) ?? field;
        return sql`${literal(field)}, ${parentValue(sql`p.${identifier(name)}`, table.columns[name])}`;
      });
      const rows = await client.query<{ key: string; mark: string | null; fields: { [n: string]: Json } }>(
        sql`SELECT p.key, m.mark, p.fields FROM (
           SELECT json_build_array(${joined(texts)})::text AS key, row_number() OVER (ORDER BY ${joined(keys)}) AS place,
             json_build_object(${joined(values)}) AS fields
           FROM ${tableName(table)} AS p
           ${conditions.length === 0 ? sql`` : sql`WHERE ${joined(conditions, sql` AND `)}`}
           ORDER BY ${joined(keys)} LIMIT ${numeral(limit)}) AS p
         LEFT JOIN ${identifier(key.schema)}._highwater_parents AS m ON ${KEY} AND m.parent = (p.key::jsonb)::text
         ORDER BY p.place`,
        keyValues(key),
      );
      return rows.rows.map((row) => ({
        key: JSON.parse(row.key) as string[],
        mark: row.mark === null ? null : (JSON.parse(row.mark) as Json),
        fields: row.fields,
      }));
    });
  }

  /** Goes on by other connections; those that are in use are let go of when they are done. */
  reconnect(pool: Pool, mask: (text: string) => string): void {
    const before = this.pool;
    this.pool = pool;
    this.mask = mask;
    void before.end();
  }

  /** Nothing can be made ready outside of the transaction that a pooler keeps together. */
  prepare(): void {}

  async close(): Promise<void> {
    await this.pool.end();
  }

  async write(request: WriteRequest): Promise<WriteOutcome> {
    try {
      return await this.commit(request);
    } catch (thrown) {
      const { code = '' } = thrown as { code?: string };
      if (UNDEFINED.includes(code)) await this.refuseIfGone(request);
      throw isDatabaseGone(thrown)
        ? new DestinationGoneError(`the database of ${this.address} is gone`)
        : thrown;
    }
  }

  /** @throws {DestinationGoneError | TableGoneError} where the schema or the table is not there any more. */
  private refuseIfGone({ key, table }: WriteRequest): Promise<void> {
    return this.transaction(async (client) => {
      if (!(await hasOwnTables(client, key)))
        throw new DestinationGoneError(
          `what the sync has written to schema ${key.schema} of ${this.address} is gone`,
        );
      if (await isTableGone(tableSql(client, table), table)) throw new TableGoneError(table);
    });
  }

  private commit(request: WriteRequest): Promise<WriteOutcome> {
    const { key, base, next } = request;
    const schema = identifier(key.schema);
    return this.transaction(async (client) => {
      // Beside a range the sync writes before it or after it, never meanwhile.
      if (request.range !== undefined) await lockTable(client, key);
      // The row's lock makes writers of one stream wait for each other.
      const held = await client.query<{ id: string; holder: string; cursor: string | null }>(
        sql`SELECT id, holder, cursor FROM ${schema}._highwater_checkpoints WHERE ${KEY} FOR UPDATE`,
        keyValues(key),
      );
      const [stored] = held.rows;
      if (stored?.id !== base) {
        // Others may have been committed after it.
        const committed = await client.query<{ rows: string }>(
          sql`SELECT "rows" FROM ${schema}._highwater_batches WHERE ${KEY} AND id = $5 AND base = $6`,
          [...keyValues(key), next, base],
        );
        const [batch] = committed.rows;
        if (batch === undefined)
          throw conflict(key, base, stored && { ...stored, holder: JSON.parse(stored.holder) as Holder });
        const rejected = await rejectedOf(client, request);
        const changes = request.table.inference === undefined ? [] : await changesOf(client, key, next);
        return {
          ...{ rows: Number(batch.rows), already: true },
          ...(rejected > 0 && { rejected }),
          ...(changes.length > 0 && { changes }),
        };
      }
      const before = stored.cursor === null ? null : (JSON.parse(stored.cursor) as Cursor);
      const had = await rowsBefore(client, request);
      const {
        rows,
        deleted,
        left = 0,
        table,
        exists,
        changes,
      } = request.table.inference === undefined
        ? await written(client, request, before)
        : await followed(client, request, before);
      if (request.marks !== undefined) await keepMarks(client, key, await request.marks());
      if (request.rejects !== undefined) await keepRejects(client, request, await request.rejects());
      const rejected = await rejectedOf(client, request);
      const ended =
        exists && request.range === undefined
          ? await endOfPass(client, { ...request, table }, rejected > 0, had)
          : NOTHING_WRITTEN;
      const { notes = [] } = ended;
      const { fingerprint } = request;
      // An older version may have opened the stream, and made no table for it.
      const isKept = fingerprint !== undefined && request.cursor.ended !== null;
      if (isKept && (await hasTable(client, `${schema}._highwater_fingerprints`)))
        await keepEnded(rangeSql(client, key, null), key, fingerprint);
      const cursor = JSON.stringify(withNotes(request.cursor, notes));
      await client.query(
        sql`INSERT INTO ${schema}._highwater_batches VALUES ($5, $6, $1, $2, $3, $4, $7, $8, $9, $10, $11, now())`,
        [
          ...keyValues(key),
          next,
          base,
          cursor,
          request.workflowId,
          request.pages,
          request.records,
          rows + ended.rows,
        ],
      );
      await client.query(
        sql`UPDATE ${schema}._highwater_checkpoints SET id = $5, cursor = $6, updated_at = now() WHERE ${KEY}`,
        [...keyValues(key), next, cursor],
      );
      faultPoint('commit.before');
      return {
        ...{ rows: rows + ended.rows, already: false },
        ...(rejected > 0 && { rejected }),
        ...(deleted + ended.deleted > 0 && { deleted: deleted + ended.deleted }),
        ...(left > 0 && { left }),
        ...(changes.length > 0 && { changes }),
        ...(notes.length > 0 && { notes }),
      };
    });
  }

  /**
   * Tries records again that were put aside.
   * @throws {DestinationError}
   */
  replay(request: ReplayRequest): Promise<ReplayOutcome> {
    const { table } = request;
    const next = `replay-${randomUUID()}`;
    const key: StreamKey = { schema: table.schema, table: table.table, strategy: 'keyset', source: 'replay' };
    return replay(request, tmpdir(), exactColumns, (work) =>
      this.transaction(async (client) => {
        await prepare(client, table).catch((thrown: unknown) => {
          throw refused(table, thrown);
        });
        return work({
          take: (before, limit) => takeRejects(client, key, before, limit),
          follow: (spec, files, longest) => {
            const create = (made: TableSpec) => prepareTable(client, declaredOnly(made));
            return follow(spec, postgresStore(client, key, spec, next, create), files, longest);
          },
          write: async (table, path, { records, longest }, cursor) => {
            const spec = alone(table);
            // They go with the folder that the lines are in.
            await sort(client, spec, await onlyColumns(spec, [path]));
            if (cursor !== undefined) await client.query(markOlder(spec, cursor));
            const found = await client.query<{ place: string; reason: string }>(
              sql`SELECT place, reason FROM pg_temp._sorted WHERE reason IS NOT NULL`,
            );
            const own = {
              ...aloneIn(key, spec, next),
              records,
              longest,
              files: () => Promise.resolve([path]),
            };
            const { rows } = await merge(client, own, WHAT_FITS);
            const aside = found.rows.map(({ place, reason }): [number, string] => [
              Number(place) - 1,
              reason,
            ]);
            return { rows, aside: new Map(aside) };
          },
          keep: (file) => keepRejects(client, { key, next }, [file]),
        });
      }),
    );
  }

  readonly ranges: Ranges = {
    refusal: rangeRefusal,
    now: () =>
      this.transaction(async (client) => {
        const found = await client.query<{ now: string }>(sql`SELECT clock_timestamp()::text AS now`);
        return found.rows[0]?.now ?? '';
      }),
    stands: (key) =>
      this.transaction(async (client) => {
        if (!(await hasOwnTables(client, key))) return null;
        return (await storedCheckpoints(client, key)).find((one) => sameKey(one.key, key)) ?? null;
      }),
    kept: (key) =>
      this.transaction(async (client) =>
        (await hasOwnTables(client, key)) ? otherRanges(key, await allCheckpoints(client, key, sql``)) : [],
      ),
    conclude: (request) =>
      this.transaction(async (client) => {
        const { key } = request;
        await lockTable(client, key);
        await takeTime(client);
        const known = await columnsOf(client, request.table);
        const table = besideTable(known?.spec() ?? request.table);
        return conclude(rangeSql(client, key, request.table), { ...request, table });
      }),
    forget: (key) =>
      this.transaction(async (client) => {
        if (!(await hasOwnTables(client, key))) return;
        await lockTable(client, key);
        await forget(rangeSql(client, key, null), key);
      }),
  };

  /** All that is asked of the server: a connection is ours for a transaction, and no longer. */
  private async transaction<T>(work: (client: PostgresSession) => Promise<T>): Promise<T> {
    let client: PoolClient;
    try {
      client = await this.pool.connect();
    } catch (thrown) {
      throw this.explain(thrown);
    }
    let broken: Error | undefined;
    const onError = (error: Error) => (broken = error);
    // Without a listener a connection that is cut would end the process.
    client.on('error', onError);
    try {
      const begin: QueryConfig & { text: Sql; query_timeout: number } = {
        query_timeout: ANSWER_MILLISECONDS,
        text: sql`BEGIN; SET LOCAL lock_timeout = ${numeral(this.limits.lockSeconds * 1000)};
         SET LOCAL statement_timeout = ${numeral(this.limits.statementSeconds * 1000)};
         SET LOCAL idle_in_transaction_session_timeout = ${numeral(this.limits.idleSeconds * 1000)}; SET LOCAL TimeZone = 'UTC';
         SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL client_min_messages = 'warning'; SET LOCAL standard_conforming_strings = on`,
      };
      await client.query(begin).catch((thrown: unknown) => {
        // What is asked after that would wait behind it.
        broken = thrown as Error;
        throw thrown;
      });
      const result = await work(new PostgresSession(client));
      await client.query('COMMIT');
      return result;
    } catch (thrown) {
      if (broken === undefined)
        await client.query('ROLLBACK').catch((failed: unknown) => (broken = failed as Error));
      throw this.explain(thrown);
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  private explain(thrown: unknown): unknown {
    if (thrown instanceof HighwaterError) return thrown;
    const { code = '' } = thrown as { code?: string };
    const said = this.mask(messageOf(thrown));
    if (code === '53100') return new StorageFullError(`the destination ${this.address}`, said);
    const mayPass =
      /^(08|53|57P0|40|25P03)/.test(code) ||
      ['55P03', '25006', '57014'].includes(code) ||
      /^E[A-Z]+$/.test(code) ||
      /connection (terminated|ended|error|timeout)|terminating connection|timeout exceeded|read timeout/i.test(
        said,
      );
    if (mayPass)
      return new DestinationBusyError(
        `the destination ${this.address} cannot be reached or is busy: ${said}`,
      );
    if (/^28/.test(code) && this.forgetCredentials())
      return new DestinationBusyError(
        `the destination ${this.address} refuses: ${said}; its secrets are read anew`,
      );
    // Wrong password, no such database, no rights, or a certificate that nobody here trusts.
    if (/^(28|3D|42501)|CERT|SIGNATURE/.test(code))
      return new DestinationError(`the destination ${this.address} refuses: ${said}`, { cause: thrown });
    if (thrown instanceof Error) {
      thrown.message = said;
      thrown.stack = this.mask(thrown.stack ?? '');
    }
    return thrown;
  }
}

/** What a batch has come to, and the table that it went into. */
interface WrittenInto extends Written {
  table: TableSpec;
  exists: boolean;
  changes: SchemaChange[];
}

async function written(
  client: PostgresSession,
  request: WriteRequest,
  before: Cursor | null,
): Promise<WrittenInto> {
  if (request.range !== undefined) return besideSync(client, { ...request, range: request.range });
  await readyPass(client, request, before);
  const rows = request.records === 0 ? { rows: 0, deleted: 0 } : await writeRows(client, request);
  return { ...rows, table: request.table, exists: true, changes: [] };
}

/** As {@link written}, for a range: written is what the sync has not written meanwhile. */
async function besideSync(
  client: PostgresSession,
  request: WriteRequest & { range: RangeWrite },
): Promise<WrittenInto> {
  const { range, key, records } = request;
  const table = besideTable(request.table);
  const into = { table, exists: true, changes: [] };
  const paths = (await range.beyond?.()) ?? [];
  if (paths.length > 0) {
    // Following its source has made the key's columns what they are.
    const met = { ...request, table: keysOnly(table) };
    await copyLines(client, sql`_beyond`, sql`json`, paths);
    await client.query(
      sql`CREATE TEMP TABLE _outside ON COMMIT DROP AS ${converted(met.table, sql`pg_temp._beyond`)}`,
    );
    await meet(rangeSql(client, key, request.table), met, sql`pg_temp._outside`);
  }
  if (records === 0) return { ...into, rows: 0, deleted: 0 };
  return { ...into, ...(await writeRows(client, { ...request, table })) };
}

/** Makes the sync's writes of a table wait until this transaction has ended, and waits for those in hand. */
const lockTable = (client: PostgresSession, { schema, table }: StreamKey) =>
  client.query(
    sql`SELECT 1 FROM ${identifier(schema)}._highwater_checkpoints WHERE "schema" = $1 AND "table" = $2 ORDER BY strategy, source FOR UPDATE`,
    [schema, table],
  );

/** Schemas have Highwater's own tables once something was opened there. */
async function hasOwnTables(client: PostgresSession, { schema }: StreamKey): Promise<boolean> {
  const names = ['_highwater_checkpoints', '_highwater_differences'];
  const found = await client.query<{ found: boolean }>(
    sql`SELECT bool_and(to_regclass(name) IS NOT NULL) AS found FROM unnest($1::text[]) AS name`,
    [names.map((name) => `${identifier(schema)}.${name}`)],
  );
  return found.rows[0]?.found === true;
}

/** As {@link written}, after the table was made to hold the batch. */
async function followed(
  client: PostgresSession,
  asked: WriteRequest,
  before: Cursor | null,
): Promise<WrittenInto> {
  const { key, next } = asked;
  const table = comparedTable(asked);
  const files = asked.records === 0 ? [] : await asked.files();
  const following = (spec: TableSpec, paths: string[]) => {
    const create = async (made: TableSpec) => {
      if (await isTableGone(tableSql(client, spec), spec)) throw new TableGoneError(spec);
      await prepareTable(client, declaredOnly(made));
    };
    return follow(spec, postgresStore(client, key, spec, next, create), paths, asked.longest);
  };
  const batch = await following(table, files);
  const { request, ...beyond } = await withBeyond(asked, following);
  const { exists, changes, records, longest } = batch;
  const own = { ...request, table: batch.table, records, longest, files: () => Promise.resolve(batch.files) };
  try {
    const rejects = [...batch.rejects, ...beyond.rejects];
    if (rejects.length > 0) await keepRejects(client, request, rejects, sql`_misfits`);
    if (!exists) return { rows: 0, deleted: 0, table: batch.table, exists, changes };
    return { ...(await written(client, own, before)), changes };
  } finally {
    await batch.discard();
    await beyond.discard();
  }
}

async function hasTable(client: PostgresSession, name: string): Promise<boolean> {
  const found = await client.query<{ found: string | null }>(sql`SELECT to_regclass($1)::text AS found`, [
    name,
  ]);
  return found.rows[0]?.found != null;
}

const momentText = (column: Sql) =>
  sql`to_char(date_trunc('milliseconds', ${column}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** Commits and moves of a stream, by the values of {@link keyValues}. */
async function logQuery(client: PostgresSession, key: StreamKey): Promise<Sql> {
  const schema = identifier(key.schema);
  // A schema that an older program has written, and nobody has opened since, has no moves.
  const moves = !(await hasTable(client, `${schema}._highwater_moves`))
    ? sql``
    : sql`UNION ALL SELECT id, base, cursor, workflow_id, 0, 0, 0, moved, moved_at FROM ${schema}._highwater_moves WHERE ${KEY}`;
  return sql`SELECT id, base, cursor, workflow_id, pages, records, "rows", NULL::text AS moved, committed_at AS made_at
    FROM ${schema}._highwater_batches WHERE ${KEY} ${moves}`;
}

const logOf = (client: PostgresSession, key: StreamKey): StreamLog => ({
  entries: async ({ batch, until, limit }) => {
    const which = [
      ...(batch === undefined ? [] : [sql`starts_with(id, ${literal(batch)})`]),
      ...(until === undefined
        ? []
        : [sql`date_trunc('milliseconds', made_at) <= CAST(${literal(until)} AS timestamptz)`]),
    ];
    const found = await client.query<LogRow>(
      sql`SELECT id, base, ${momentText(sql`made_at`)} AS at, cursor, workflow_id, pages, records, "rows", moved
         FROM (${await logQuery(client, key)}) AS l ${which.length === 0 ? sql`` : sql`WHERE ${joined(which, sql` AND `)}`}
         ORDER BY made_at DESC LIMIT ${numeral(limit)}`,
      keyValues(key),
    );
    return found.rows.map(({ id, base, at, cursor, workflow_id: workflowId, moved, ...counts }) => ({
      ...{ id, base, at, workflowId, moved },
      cursor: cursor === null ? null : (JSON.parse(cursor) as Cursor),
      ...{ pages: Number(counts.pages), records: Number(counts.records), rows: Number(counts.rows) },
    }));
  },
  hasMoved: async (id) => {
    const found = await client.query(
      sql`SELECT 1 FROM ${identifier(key.schema)}._highwater_moves WHERE ${KEY} AND id = $5`,
      [...keyValues(key), id],
    );
    return found.rows.length > 0;
  },
});

interface LogRow {
  id: string;
  base: string;
  at: string;
  cursor: string | null;
  workflow_id: string;
  pages: string;
  records: string;
  rows: string;
  moved: string | null;
}

/** Text is compared byte by byte: whatever the database's collation, `after` and the order agree. */
const ordered = (statement: Sql, type: ColumnType | undefined) =>
  type === undefined || type === 'STRING' ? sql`(${statement}) COLLATE "C"` : statement;

/** Makes the table ready, and Highwater's own ones. */
async function prepare(client: PostgresSession, table: TableSpec): Promise<void> {
  await prepareOwnTables(client, table.schema);
  await prepareAnew(client, table);
}

/** Makes the table ready. @returns the streams that start over, as it was gone. */
async function prepareAnew(client: PostgresSession, table: TableSpec): Promise<StreamKey[]> {
  const gone = await startOverWhereGone(tableSql(client, table), table);
  await prepareTable(client, table);
  return gone;
}

/** The identity of the database; null where nothing of Highwater's is in the schema. */
async function databaseId(client: PostgresSession, schema: string): Promise<string | null> {
  const meta = sql`${identifier(schema)}._highwater_meta`;
  if (!(await hasTable(client, meta))) return null;
  const found = await client.query<{ value: string }>(sql`SELECT value FROM ${meta} WHERE name = 'database'`);
  return found.rows[0]?.value ?? null;
}

async function prepareOwnTables(client: PostgresSession, name: string): Promise<void> {
  // "IF NOT EXISTS" fails for one of two that create at once.
  await client.query(sql`SELECT pg_advisory_xact_lock(hashtextextended('highwater', 0))`);
  const schema = identifier(name);
  const known = await client.query(sql`SELECT 1 FROM pg_namespace WHERE nspname = $1`, [name]);
  // Where it is there, no right to create schemas is needed.
  if (known.rows.length === 0) await client.query(sql`CREATE SCHEMA ${schema}`);
  await client.runAll(ownTables(schema));
  await client.query(
    sql`INSERT INTO ${schema}._highwater_meta VALUES ('database', $1), ('version', $2) ON CONFLICT DO NOTHING`,
    [randomUUID(), String(TABLES_VERSION)],
  );
  const versions = await client.query<{ value: string }>(
    sql`SELECT value FROM ${schema}._highwater_meta WHERE name = 'version'`,
  );
  const version = versions.rows[0]?.value;
  refuseNewer(version);
  if (Number(version) < TABLES_VERSION) {
    await client.query(sql`UPDATE ${schema}._highwater_meta SET value = $1 WHERE name = 'version'`, [
      String(TABLES_VERSION),
    ]);
  }
}

async function prepareTable(client: PostgresSession, table: TableSpec): Promise<void> {
  for (const name of [table.schema, table.table, ...Object.keys(table.columns)]) {
    if (Buffer.byteLength(name) <= NAME_BYTES) continue;
    // It would cut them short, and take two for one.
    throw new DestinationError(
      `${JSON.stringify(name)} is longer than ${NAME_BYTES} bytes: PostgreSQL cannot have it as a name`,
    );
  }
  const system = Object.keys(table.columns).find((name) => SYSTEM_COLUMNS.has(name));
  if (system !== undefined) {
    throw new DestinationError(
      `table ${table.schema}.${table.table} cannot have a column ${JSON.stringify(system)}: every table of PostgreSQL has a ` +
        `system column of that name. Declare it by another name: "columns": {"${system}_2": {"type": …, "from": "${system}"}}.`,
    );
  }
  const change = (statement: Sql) => changeTable(client, tableName(table), statement);
  const columns = Object.entries(table.columns);
  const columnsThere = await columnsOf(client, table);
  // The first records will say what its columns are.
  if (columnsThere?.exists === false && !hasKeys(table)) return;
  const whole = columnsThere?.exists === true ? columnsThere.spec() : table;
  if (columnsThere?.exists !== true) {
    const hasOneRowAKey = table.mode !== 'append' && table.mode !== 'history';
    const primaryKey = hasOneRowAKey ? [sql`PRIMARY KEY (${joined(table.primaryKey.map(identifier))})`] : [];
    await client.query(
      sql`CREATE TABLE IF NOT EXISTS ${tableName(table)} (${joined([...definitions(table), ...primaryKey])})`,
    );
  }
  const found = await client.query<{ name: string; type: string }>(
    sql`SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod)
         || CASE WHEN a.attgenerated <> '' OR a.attidentity = 'a' THEN ' generated always' ELSE '' END AS type
       FROM pg_attribute AS a
       WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped`,
    [tableName(table)],
  );
  const existing = new Map(found.rows.map(({ name, type }) => [name, type]));
  const differences: string[] = [];
  for (const [name, type] of columns) {
    const wanted = storedType(type);
    const is = existing.get(name);
    if (is === undefined) {
      await change(sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${identifier(name)} ${postgresType(type)}`);
    } else if (is !== wanted && !hasEvolved(table, type, columnType(is)))
      differences.push(`${name} is ${is} there, declared ${type} (${wanted})`);
  }
  refuseOtherTypes(table, differences);
  const some = await client.query<{ some: boolean }>(
    sql`SELECT EXISTS (SELECT 1 FROM ${tableName(table)}) AS some`,
  );
  if (some.rows[0]?.some === true) refuseOtherMode(table, new Set(existing.keys()));
  else {
    const own = new Set(ownColumns(table).map(([name]) => name));
    for (const name of MODE_COLUMNS.filter((one) => existing.has(one) && !own.has(one))) {
      await change(sql`ALTER TABLE ${tableName(table)} DROP COLUMN ${identifier(name)}`);
    }
  }
  for (const own of ownColumns(table)) {
    if (existing.has(own[0])) continue;
    await change(sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${ownDefinition(own)}`);
  }
  await prepareIndex(client, whole);
}

/** The index by which rows are found: over the key, once each, or once each that is valid, or as often as it comes. */
async function prepareIndex(client: PostgresSession, table: TableSpec): Promise<void> {
  const found = await client.query<{
    unique: boolean;
    partial: boolean;
    index: string;
    constraint: string | null;
  }>(
    sql`SELECT i.indisunique AS unique, i.indpred IS NOT NULL AS partial, (SELECT ic.relname FROM pg_class AS ic WHERE ic.oid = i.indexrelid) AS index,
         (SELECT c.conname FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')) AS constraint
       FROM pg_index AS i WHERE i.indrelid = $1::regclass AND i.indisvalid AND i.indimmediate
       AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
       AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = $2::text[]`,
    [tableName(table), [...table.primaryKey].sort()],
  );
  const change = (statement: Sql) => changeTable(client, tableName(table), statement);
  const keys = joined(table.primaryKey.map(identifier));
  const whole = found.rows.filter(({ unique, partial }) => unique && !partial);
  if (table.mode !== 'append' && table.mode !== 'history') {
    // A table that was there before us.
    if (whole.length === 0) await change(sql`CREATE UNIQUE INDEX ON ${tableName(table)} (${keys})`);
    return;
  }
  // The table has no rows yet, or it would have been refused.
  for (const { index, constraint } of whole) {
    await change(
      constraint === null
        ? sql`DROP INDEX ${identifier(table.schema)}.${identifier(index)}`
        : sql`ALTER TABLE ${tableName(table)} DROP CONSTRAINT ${identifier(constraint)}`,
    );
  }
  const isHistory = table.mode === 'history';
  if (found.rows.some(({ unique, partial }) => unique === isHistory && partial === isHistory)) return;
  await change(
    isHistory
      ? sql`CREATE UNIQUE INDEX ON ${tableName(table)} (${keys}) WHERE ${identifier(VALID_TO)} IS NULL`
      : sql`CREATE INDEX ON ${tableName(table)} (${keys})`,
  );
}

/** Checkpoints of all strategies and sources of a table. */
const storedCheckpoints = async (
  client: PostgresSession,
  key: StreamKey,
  lock = sql``,
): Promise<StoredCheckpoint[]> => thatMatter(key, await allCheckpoints(client, key, lock));

async function allCheckpoints(
  client: PostgresSession,
  key: StreamKey,
  lock: Sql,
): Promise<StoredCheckpoint[]> {
  const { schema, table } = key;
  const result = await client.query<{
    strategy: StreamKey['strategy'];
    source: string;
    id: string;
    cursor: string | null;
    holder: string;
    updated: Date;
  }>(
    sql`SELECT strategy, source, id, cursor, holder, updated_at AS updated FROM ${identifier(schema)}._highwater_checkpoints
       WHERE "schema" = $1 AND "table" = $2 ORDER BY strategy, source ${lock}`,
    [schema, table],
  );
  return result.rows.map(({ strategy, source, id, cursor, holder, updated }) => ({
    key: { ...key, strategy, source },
    updated: updated.toISOString(),
    id,
    cursor: cursor === null ? null : (JSON.parse(cursor) as Cursor),
    holder: JSON.parse(holder) as Holder,
  }));
}

/** Makes a temporary table of the lines of files, in order; it goes with the transaction. */
async function copyLines(
  client: PostgresSession,
  name: Sql,
  type: Sql,
  files: readonly string[],
): Promise<void> {
  await client.query(
    sql`CREATE TEMP TABLE ${name} (place bigint GENERATED ALWAYS AS IDENTITY, line ${type}) ON COMMIT DROP`,
  );
  await sendLines(client, sql`pg_temp.${name}`, type, files);
}

/** Writes the staged lines; where they do not fit, those that do, or says which does not. */
async function writeRows(client: PostgresSession, request: WriteRequest): Promise<Written> {
  return writeFiles(client, request, await request.files(), true);
}

/** @param isAsStaged whether lines may have members without a column. */
async function writeFiles(
  client: PostgresSession,
  request: WriteRequest,
  files: readonly string[],
  isAsStaged: boolean,
): Promise<Written> {
  const { table } = request;
  try {
    await client.query(sql`SAVEPOINT loaded`);
    await copyLines(client, sql`_lines`, sql`json`, files);
    return await merge(client, request, sql`pg_temp._lines`);
  } catch (thrown) {
    if (!isDataError(thrown)) throw thrown;
    await client.query(sql`ROLLBACK TO SAVEPOINT loaded`);
    if (isAsStaged && (thrown as { code?: string }).code === UNTRANSLATABLE) {
      // The members that are not stored may be what it cannot read.
      const stored = await onlyColumns(table, files);
      try {
        return await writeFiles(client, request, stored, false);
      } finally {
        await Promise.all(stored.map((file) => rm(file, { force: true })));
      }
    }
    if (table.quarantine !== true) throw await misfit(client, table, files, messageOf(thrown));
    try {
      return await mergeWhatFits(client, request, files);
    } catch (again) {
      // A constraint that is not ours: no record by itself breaks it.
      if (!isDataError(again)) throw again;
      await client.query(sql`ROLLBACK TO SAVEPOINT loaded`);
      throw await misfit(client, table, files, messageOf(again));
    }
  } finally {
    faultPoint('transaction.half');
  }
}

/** Of a text with NUL, which no text of PostgreSQL holds. */
const UNTRANSLATABLE = '22P05';

/** Files of the same lines; of those that hold NUL only the members that have a column. */
async function onlyColumns(table: TableSpec, files: readonly string[]): Promise<string[]> {
  const paths = new Map(Object.keys(table.columns).map((name) => [name, [name]]));
  const made: string[] = [];
  for (const file of files) {
    const path = `${file}.columns`;
    made.push(path);
    const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
    const kept = async function* () {
      for await (const line of lines) {
        const members = line.includes('\\u0000') ? memberTexts(line, paths) : null;
        const texts = members && [...members].map(([name, text]) => `${JSON.stringify(name)}:${text}`);
        yield texts === null ? `${line}\n` : `{${texts.join(',')}}\n`;
      }
    };
    await pipeline(kept, createWriteStream(path, { mode: 0o600 }));
  }
  return made;
}

/** As {@link merge}, but for the records that do not fit, which go to `_highwater_rejects`. */
async function mergeWhatFits(
  client: PostgresSession,
  request: WriteRequest,
  files: readonly string[],
): Promise<Written> {
  const { table, key, next } = request;
  await sort(client, table, files);
  await client.query(
    sql`INSERT INTO ${identifier(key.schema)}._highwater_rejects
       SELECT $5, $1, $2, $3, $4, reason, line, now() FROM pg_temp._sorted WHERE reason IS NOT NULL ORDER BY place`,
    [...keyValues(key), next],
  );
  return merge(client, request, WHAT_FITS);
}

const WHAT_FITS = sql`(SELECT place, line::json AS line FROM pg_temp._sorted WHERE reason IS NULL)`;

/** Reads lines into the temporary table `_sorted`, each with what its columns cannot hold of it. */
async function sort(client: PostgresSession, table: TableSpec, files: readonly string[]): Promise<void> {
  await copyLines(client, sql`_texts`, sql`text`, files);
  const trials = Object.entries(table.columns).map(([name, type]) => {
    const column = identifier(name);
    const cannot = literal(`column ${JSON.stringify(name)} cannot hold `);
    return `
      BEGIN
        PERFORM ${fromText(sql`r.${column}`, type)} FROM json_to_record(line::json) AS r(${column} ${recordType(type)});
      EXCEPTION WHEN data_exception OR feature_not_supported OR program_limit_exceeded THEN
        RETURN ${cannot} || left((line::json -> ${literal(name)})::text, 200) || ${literal(` as ${type}`)};
      END;`;
  });
  // It unescapes a record as a whole: no trial of one column tells which it is.
  const whole = `
      BEGIN
        PERFORM r.x FROM json_to_record(line::json) AS r(x text);
      EXCEPTION WHEN data_exception THEN
        RETURN ${literal(`it ${HOLDS_NO_TEXT}`)};
      END;`;
  // A function of this session only, and of this transaction.
  await client.query(
    sql`CREATE FUNCTION pg_temp._highwater_misfit(line text) RETURNS text LANGUAGE plpgsql AS ${literal(`BEGIN ${whole} ${trials.join('')} RETURN NULL; END`)}`,
  );
  await client.query(
    sql`CREATE TEMP TABLE _sorted ON COMMIT DROP AS SELECT place, line, pg_temp._highwater_misfit(line) AS reason FROM pg_temp._texts`,
  );
  await client.query(sql`DROP FUNCTION pg_temp._highwater_misfit(text)`);
  const odd = await client.query<{ place: string; line: string }>(
    sql`SELECT place, line FROM pg_temp._sorted WHERE reason = $1`,
    [`it ${HOLDS_NO_TEXT}`],
  );
  if (odd.rows.length === 0) return;
  await client.query(
    sql`UPDATE pg_temp._sorted AS s SET reason = n.reason FROM unnest($1::bigint[], $2::text[]) AS n (place, reason)
       WHERE s.place = n.place`,
    [
      odd.rows.map(({ place }) => place),
      odd.rows.map(({ line }) => `${whereNoText(line, table)} ${HOLDS_NO_TEXT}`),
    ],
  );
}

/** Takes the first records out of `_highwater_rejects` that were put aside before a time. */
async function takeRejects(client: PostgresSession, key: StreamKey, before: string | null, limit: number) {
  const rejects = sql`${identifier(key.schema)}._highwater_rejects`;
  await lockTable(client, key);
  const time = before === null ? sql`now()` : sql`${literal(before)}::timestamptz`;
  const taken = await client.query<{ record: string }>(
    sql`WITH taken AS (DELETE FROM ${rejects} WHERE ctid IN (
         SELECT ctid FROM ${rejects} WHERE "schema" = $1 AND "table" = $2 AND rejected_at < ${time} ORDER BY rejected_at, ctid LIMIT ${numeral(limit)})
       RETURNING record, rejected_at, ctid AS place)
     SELECT record FROM taken ORDER BY rejected_at, place`,
    [key.schema, key.table],
  );
  const now = await client.query<{ now: string }>(sql`SELECT now()::text AS now`);
  return { records: taken.rows.map(({ record }) => record), now: now.rows[0]?.now ?? '' };
}

/** Marks those of `_sorted` that are not known to be newer than the row that they would replace. */
function markOlder(table: TableSpec, cursor: string | null): Sql {
  const inBatch = batchColumns(table);
  const current = table.mode === 'history' ? [sql`t.${identifier(VALID_TO)} IS NULL`] : [];
  const sameRow = joined(
    [
      ...table.primaryKey.map((name) => sql`t.${identifier(name)} = b.${inBatch.get(name) ?? sql``}`),
      ...current,
    ],
    sql` AND `,
  );
  const isNewer =
    cursor === null
      ? sql`false`
      : sql`coalesce(b.${inBatch.get(cursor) ?? sql``} >= t.${identifier(cursor)}, false)`;
  return sql`UPDATE pg_temp._sorted AS o SET reason = ${literal(NOT_KNOWN_TO_BE_OLDER)}
    FROM (${converted(table, WHAT_FITS)}) AS b JOIN ${tableName(table)} AS t ON ${sameRow}
    WHERE o.place = b.place AND NOT ${isNewer}`;
}

/** What the reader has put aside. */
async function keepRejects(
  client: PostgresSession,
  { key, next }: Pick<WriteRequest, 'key' | 'next'>,
  files: readonly string[],
  name = sql`_rejects`,
): Promise<void> {
  await copyLines(client, name, sql`json`, files);
  await client.query(
    sql`INSERT INTO ${identifier(key.schema)}._highwater_rejects
       SELECT $5, $1, $2, $3, $4, line ->> 'reason', line ->> 'record', now() FROM pg_temp.${name} ORDER BY place`,
    [...keyValues(key), next],
  );
}

/** How many records of a batch were put aside. */
async function rejectedOf(client: PostgresSession, { key, next, table }: WriteRequest): Promise<number> {
  if (table.quarantine !== true) return 0;
  const found = await client.query<{ count: string }>(
    sql`SELECT count(*) FROM ${identifier(key.schema)}._highwater_rejects WHERE ${KEY} AND batch = $5`,
    [...keyValues(key), next],
  );
  return Number(found.rows[0]?.count ?? 0);
}

/** Marks of parents, the last one of each. */
async function keepMarks(client: PostgresSession, key: StreamKey, files: readonly string[]): Promise<void> {
  await copyLines(client, sql`_marks`, sql`json`, files);
  await client.query(
    sql`INSERT INTO ${identifier(key.schema)}._highwater_parents
       SELECT DISTINCT ON (parent) $1, $2, $3, $4, parent, mark
       FROM (SELECT place, ((line ->> 'parent')::jsonb)::text AS parent, line ->> 'mark' AS mark FROM pg_temp._marks) AS m
       ORDER BY parent, place DESC
     ON CONFLICT ("schema", "table", strategy, source, parent) DO UPDATE SET mark = excluded.mark`,
    keyValues(key),
  );
}

/** Finds the record that does not fit, for the message: by halves; only run once a batch has failed. */
async function misfit(
  client: PostgresSession,
  table: TableSpec,
  files: readonly string[],
  said: string,
): Promise<RecordError> {
  const unknown = somethingMisfits(table, said);
  const fits = async (spec: TableSpec, first: number, last: number) => {
    await client.query(sql`SAVEPOINT trial`);
    try {
      const columns = [...batchColumns(spec).values()].map((name) => sql`count(${name})`);
      const range = sql`(SELECT place, line::json AS line FROM pg_temp._texts WHERE place BETWEEN ${numeral(first)} AND ${numeral(last)})`;
      await client.query(sql`SELECT ${joined(columns)} FROM (${converted(spec, range)}) AS r`);
      return true;
    } catch (thrown) {
      if (!isDataError(thrown)) throw thrown;
      return false;
    } finally {
      await client.query(sql`ROLLBACK TO SAVEPOINT trial`);
    }
  };
  try {
    await copyLines(client, sql`_texts`, sql`text`, files);
  } catch (thrown) {
    // A database that is not UTF-8.
    if (isDataError(thrown)) return unknown;
    throw thrown;
  }
  const count = await client.query<{ count: string }>(sql`SELECT count(*) FROM pg_temp._texts`);
  let [first, last] = [1, Number(count.rows[0]?.count ?? 0)];
  if (await fits(table, first, last)) return unknown;
  while (first < last) {
    const middle = Math.floor((first + last) / 2);
    if (await fits(table, first, middle)) first = middle + 1;
    else last = middle;
  }
  const found = await client.query<{ line: string }>(sql`SELECT line FROM pg_temp._texts WHERE place = $1`, [
    first,
  ]);
  const line = found.rows[0]?.line ?? '';
  const text = (name: string) => {
    const json = memberTexts(line, new Map([[name, [name]]])).get(name) ?? 'null';
    return json.startsWith('"') ? (JSON.parse(json) as string) : json.replace(/\s+/g, '');
  };
  const key = table.primaryKey.map(text).join(', ');
  if (!(await fits({ ...table, columns: { [randomUUID()]: 'STRING' } }, first, first))) {
    // It unescapes a record as a whole: no trial of one column tells which it is.
    return doesNotFit(key, `${whereNoText(line, table)} ${HOLDS_NO_TEXT}.`);
  }
  for (const [name, type] of Object.entries(table.columns)) {
    if (await fits({ ...table, columns: { [name]: type } }, first, first)) continue;
    return doesNotFit(key, cannotHold(name, text(name), type));
  }
  return unknown;
}

const HOLDS_NO_TEXT =
  'holds a character that this database cannot hold, such as NUL or half of a surrogate pair';

/** The column of a record that holds what no text of PostgreSQL holds. */
function whereNoText(line: string, { columns }: TableSpec): string {
  const record = JSON.parse(line) as { [name: string]: Json };
  const name = Object.keys(columns).find(
    (one) => Object.hasOwn(record, one) && hasNoText(record[one] ?? null),
  );
  return name === undefined ? 'one of its members' : `column ${JSON.stringify(name)}`;
}

function hasNoText(value: Json): boolean {
  if (typeof value === 'string') return /\0|\p{Surrogate}/u.test(value);
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasNoText);
  return Object.entries(value).some(([name, inner]) => hasNoText(name) || hasNoText(inner));
}

/** What the server will not have whatever one does; anything else as it is. */
function refused(table: TableSpec, thrown: unknown): unknown {
  const { code = '' } = thrown as { code?: string };
  // Syntax or definition, a duplicate key of a table that was there before, a feature it has not.
  if (thrown instanceof HighwaterError || !/^(42|23|0A|22|54)/.test(code)) return thrown;
  return notReady(table, messageOf(thrown));
}

/** Whether a server says that it has no such database. */
const isDatabaseGone = (thrown: unknown): boolean =>
  thrown instanceof DestinationError && (thrown.cause as { code?: string } | undefined)?.code === '3D000';

/** No such table, no such schema. */
const UNDEFINED = ['42P01', '3F000'];

/** Data exceptions, NaN as a whole number, constraints that are not ours, and what is too long for an index. */
const isDataError = (thrown: unknown) => /^(22|23|54|0A)/.test((thrown as { code?: string }).code ?? '');
