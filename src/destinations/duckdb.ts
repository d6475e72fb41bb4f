import { randomUUID } from 'node:crypto';
import type { DuckDBConnection } from '@duckdb/node-api';
import { type RecordError, messageOf } from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  DELETED_AT,
  type ColumnType,
  type Cursor,
  type Holder,
  type Json,
  type StreamKey,
  type TableSpec,
} from '../protocol.js';
import {
  batchColumns,
  cannotHold,
  claimOf,
  conflict,
  doesNotFit,
  isRead,
  isWholePass,
  keyValues,
  notReady,
  openWhenFree,
  refuseOtherTypes,
  sameKey,
  somethingMisfits,
  tableName,
  type StoredCheckpoint,
} from './checkpoints.js';
import type {
  Destination,
  OpenRequest,
  OpenResult,
  ParentRow,
  ParentsRequest,
  WriteOutcome,
  WriteRequest,
} from './destination.js';
import { duckDbType, fromJson, jsonType } from './duckdb-columns.js';
import type { DuckDbFile } from './duckdb-file.js';
import { identifier, literal } from './sql.js';

const VERSION = '1';

/** Highwater's own tables, in the schema `main`. */
const OWN_TABLES = `
  CREATE TABLE IF NOT EXISTS _highwater_meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL);
  CREATE TABLE IF NOT EXISTS _highwater_checkpoints (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    id VARCHAR NOT NULL, cursor VARCHAR, holder VARCHAR NOT NULL, updated_at TIMESTAMP WITH TIME ZONE NOT NULL
  );
  CREATE TABLE IF NOT EXISTS _highwater_batches (
    id VARCHAR NOT NULL, base VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL, source VARCHAR NOT NULL, cursor VARCHAR NOT NULL, workflow_id VARCHAR NOT NULL,
    pages BIGINT NOT NULL, records BIGINT NOT NULL, "rows" BIGINT NOT NULL, committed_at TIMESTAMP WITH TIME ZONE NOT NULL
  );
  CREATE TABLE IF NOT EXISTS _highwater_parents (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    parent VARCHAR NOT NULL, mark VARCHAR NOT NULL
  );
  CREATE TABLE IF NOT EXISTS _highwater_seen (
    "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL, source VARCHAR NOT NULL,
    pass BIGINT NOT NULL, key VARCHAR
  );
  CREATE TABLE IF NOT EXISTS _highwater_rejects (
    batch VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL,
    source VARCHAR NOT NULL, reason VARCHAR NOT NULL, record VARCHAR NOT NULL, rejected_at TIMESTAMP WITH TIME ZONE NOT NULL
  );
`;

/** DuckDB does not tell the names of tables apart by their case. */
const tableIs = (key: StreamKey) =>
  `lower("schema") = lower(${literal(key.schema)}) AND lower("table") = lower(${literal(key.table)})`;
const keyIs = (key: StreamKey) =>
  `${tableIs(key)} AND strategy = ${literal(key.strategy)} AND source = ${literal(key.source)}`;

/**
 * Rows into a DuckDB file. The table has no key index: an upsert then costs by the batch, and the fence (one
 * writer, one checkpoint) is what keeps keys unique.
 */
export class DuckDbDestination implements Destination {
  /** Batches that are loaded while the one before is written, by the checkpoint that they will make. */
  private readonly prepared = new Map<string, PreparedBatch>();

  constructor(private readonly file: DuckDbFile) {}

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table } = request;
    await this.file
      .transaction((connection) => prepare(connection, table))
      .catch((thrown: unknown) => {
        throw refused(table, thrown);
      });
    return openWhenFree(
      request,
      () => this.file.read((connection) => storedCheckpoints(connection, key)),
      (asked) => this.claim(request, asked),
    );
  }

  /** Null where the table has got a holder meanwhile that was not `asked` for. */
  private claim(request: OpenRequest, asked: ReadonlySet<string>): Promise<OpenResult | null> {
    const { key, holder } = request;
    return this.file.transaction(async (connection) => {
      const stored = await storedCheckpoints(connection, key);
      const claim = claimOf(stored, request, asked);
      if (claim === null) return null;
      const { checkpoint, neighbours, takenOver, isNew } = claim;
      const database = await databaseId(connection);
      for (const other of takenOver) {
        await connection.run(
          `UPDATE _highwater_checkpoints SET id = $1, holder = $2, updated_at = now() WHERE ${keyIs(other)}`,
          [randomUUID(), JSON.stringify(holder)],
        );
      }
      if (!isNew) return { checkpoint, database, neighbours };
      if (request.full) {
        await connection.run(
          `DELETE FROM _highwater_parents WHERE ${keyIs(key)}; DELETE FROM _highwater_seen WHERE ${keyIs(key)}`,
        );
      }
      const cursor = checkpoint.cursor === null ? null : JSON.stringify(checkpoint.cursor);
      const values = [checkpoint.id, cursor, JSON.stringify(holder)];
      if (stored.some((one) => sameKey(one.key, key))) {
        await connection.run(
          `UPDATE _highwater_checkpoints SET id = $1, cursor = $2, holder = $3, updated_at = now() WHERE ${keyIs(key)}`,
          values,
        );
      } else {
        await connection.run(
          'INSERT INTO _highwater_checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7, now())',
          [...keyValues(key), ...values],
        );
      }
      return { checkpoint, database, neighbours };
    });
  }

  parents(request: ParentsRequest): Promise<ParentRow[] | null> {
    const { key, parent } = request;
    const { table } = parent;
    return this.file.read(async (connection) => {
      const stored = await storedCheckpoints(connection, {
        ...key,
        schema: table.schema,
        table: table.table,
      });
      return isRead(stored) ? parentRows(connection, request, tableName(table)) : null;
    });
  }

  prepare(request: WriteRequest): void {
    const { next, records, bytes } = request;
    if (this.prepared.has(next) || this.prepared.size >= PREPARED_LIMIT) return;
    if (records === 0 || bytes > PREPARED_BYTES) return;
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
    const prepared = this.prepared.get(next);
    this.prepared.delete(next);
    // Where that failed, what follows fails in the same way and says why.
    const loaded = (await prepared?.take()) ?? null;
    try {
      return await this.commit(request, loaded, false);
    } catch (thrown) {
      if (!isDataError(thrown)) throw thrown;
      if (table.quarantine === true) return await this.commit(request, null, true);
      throw await this.file.read(async (connection) =>
        misfit(connection, table, await request.files(), request.longest, messageOf(thrown)),
      );
    } finally {
      prepared?.release();
    }
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
    return this.file.transaction(async (connection) => {
      const stored = (await storedCheckpoints(connection, key)).find((c) => sameKey(c.key, key));
      if (stored?.id === next) {
        const rejected = await rejectedOf(connection, request);
        return {
          rows: await committedRows(connection, next),
          already: true,
          ...(rejected > 0 && { rejected }),
        };
      }
      if (stored?.id !== base) throw conflict(key, base, stored);
      if (sorts) await sortOut(this.file, connection, request);
      const rows =
        request.records === 0 ? 0 : await upsert(this.file, connection, request, sorts || loaded !== null);
      if (request.marks !== undefined) await keepMarks(connection, key, await request.marks());
      if (request.rejects !== undefined) await keepRejects(connection, request, await request.rejects());
      const rejected = await rejectedOf(connection, request);
      const deleted =
        request.table.deletes === undefined ? 0 : await deleteUnseen(connection, request, rejected > 0);
      const cursor = literal(JSON.stringify(request.cursor));
      const values = [literal(next), literal(base), ...keyValues(key).map(literal), cursor];
      const set = await connection.run(
        `INSERT INTO _highwater_batches VALUES (${values.join(', ')}, ${literal(request.workflowId)},
           ${request.pages}, ${request.records}, ${rows}, now());
         UPDATE _highwater_checkpoints SET id = ${literal(next)}, cursor = ${cursor}, updated_at = now()
           WHERE ${keyIs(key)} AND id = ${literal(base)}`,
      );
      if (set.rowsChanged !== 1) throw conflict(key, base, stored);
      faultPoint('commit.before');
      return {
        ...{ rows, already: false },
        ...(rejected > 0 && { rejected }),
        ...(deleted > 0 && { deleted }),
      };
    }, loaded);
  }
}

/** At most so many are held, and none that is larger: DuckDB's memory must do for them and the write in hand. */
const PREPARED_LIMIT = 2;
const PREPARED_BYTES = 24 * 1024 * 1024;
/** Who has not come for it by then (a sync that was paused or cancelled) does without. */
const PREPARED_MILLISECONDS = 10_000;

/** A batch in temporary tables of a connection of its own. */
class PreparedBatch {
  release: () => void = () => undefined;
  private readonly loaded: Promise<DuckDBConnection | null>;
  private readonly timer: NodeJS.Timeout;

  constructor(file: DuckDbFile, work: (connection: DuckDBConnection) => Promise<void>, onEnd: () => void) {
    const released = new Promise<void>((resolve) => (this.release = resolve));
    this.timer = setTimeout(this.release, PREPARED_MILLISECONDS);
    this.loaded = new Promise((resolve) => {
      void file
        .read(async (connection) => {
          await work(connection);
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

async function prepare(connection: DuckDBConnection, table: TableSpec): Promise<void> {
  await connection.run(OWN_TABLES);
  await connection.run(
    `INSERT INTO _highwater_meta SELECT * FROM (VALUES ('database', $1), ('version', $2))
     WHERE NOT EXISTS (SELECT 1 FROM _highwater_meta)`,
    [randomUUID(), VERSION],
  );
  const columns = Object.entries(table.columns);
  const definitions = columns.map(
    ([name, type]) =>
      `${identifier(name)} ${duckDbType(type)}${table.primaryKey.includes(name) ? ' NOT NULL' : ''}`,
  );
  await connection.run(`CREATE SCHEMA IF NOT EXISTS ${identifier(table.schema)}`);
  await connection.run(`CREATE TABLE IF NOT EXISTS ${tableName(table)} (${definitions.join(', ')})`);
  const found = await connection.runAndReadAll(
    `SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database()
       AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)`,
    [table.schema, table.table],
  );
  const existing = new Map(
    found.getRowsJson().map(([name, type]) => [String(name).toLowerCase(), String(type)]),
  );
  const differences: string[] = [];
  for (const [name, type] of columns) {
    const wanted = duckDbType(type);
    const is = existing.get(name.toLowerCase());
    if (is === undefined) {
      await connection.run(`ALTER TABLE ${tableName(table)} ADD COLUMN ${identifier(name)} ${wanted}`);
    } else if (is !== wanted) differences.push(`${name} is ${is} there, declared ${type} (${wanted})`);
  }
  if (table.deletes === 'soft' && !existing.has(DELETED_AT)) {
    await connection.run(`ALTER TABLE ${tableName(table)} ADD COLUMN ${DELETED_AT} TIMESTAMP WITH TIME ZONE`);
  }
  refuseOtherTypes(table, differences);
}

async function storedCheckpoints(connection: DuckDBConnection, key: StreamKey): Promise<StoredCheckpoint[]> {
  const result = await connection.runAndReadAll(
    `SELECT strategy, source, id, cursor, holder FROM _highwater_checkpoints WHERE ${tableIs(key)}`,
  );
  return result.getRowsJson().map(([strategy, source, id, cursor, holder]) => ({
    key: { ...key, strategy: strategy as StreamKey['strategy'], source: String(source) },
    id: String(id),
    cursor: cursor === null ? null : (JSON.parse(String(cursor)) as Cursor),
    holder: JSON.parse(String(holder)) as Holder,
  }));
}

async function databaseId(connection: DuckDBConnection): Promise<string> {
  const result = await connection.runAndReadAll("SELECT value FROM _highwater_meta WHERE name = 'database'");
  return String(result.getRowsJson()[0]?.[0]);
}

async function committedRows(connection: DuckDBConnection, id: string): Promise<number> {
  const result = await connection.runAndReadAll('SELECT "rows" FROM _highwater_batches WHERE id = $1', [id]);
  return Number(result.getRowsJson()[0]?.[0] ?? 0);
}

/** Reads the staged files into the temporary table `_batch`, and keeps the last record of each key. */
export async function load(
  file: DuckDbFile,
  connection: DuckDBConnection,
  request: WriteRequest,
): Promise<void> {
  const { table, longest } = request;
  await file.makeRoomFor(connection, longest);
  const columns = Object.entries(table.columns);
  const inBatch = batchColumns(table);
  const keys = table.primaryKey.map((name) => inBatch.get(name) ?? '');
  const selected = columns.map(
    ([name, type]) => `${fromJson(identifier(name), type)} AS ${inBatch.get(name)}`,
  );
  // One call for several statements: an answer waits its turn behind the pages that are read meanwhile.
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE _batch AS SELECT ${selected.join(', ')} FROM ${readFiles(await request.files(), longest, columns, jsonType)};
     ${lastOfEach(keys)}`,
  );
}

/** Remembers the keys of a batch for the end of its pass. Those of a former pass, which was given up, go. */
async function remember(connection: DuckDBConnection, { key, table, cursor }: WriteRequest): Promise<void> {
  const inBatch = batchColumns(table);
  const keys = table.primaryKey.map((name) => `CAST(${inBatch.get(name)} AS VARCHAR)`).join(', ');
  const values = `${keyValues(key).map(literal).join(', ')}, ${cursor.pass}`;
  await connection.run(
    `DELETE FROM _highwater_seen WHERE ${keyIs(key)} AND pass <> ${cursor.pass};
     INSERT INTO _highwater_seen SELECT ${values}, to_json([${keys}])::VARCHAR FROM _batch`,
  );
  if (table.deletes !== 'soft') return;
  // What is there again is not deleted any more.
  const sameKey = table.primaryKey
    .map((name) => `t.${identifier(name)} = s.${inBatch.get(name)}`)
    .join(' AND ');
  await connection.run(
    `UPDATE ${tableName(table)} AS t SET ${DELETED_AT} = NULL FROM _batch AS s WHERE ${sameKey} AND t.${DELETED_AT} IS NOT NULL`,
  );
}

/**
 * At the end of a pass that has read everything: what it has not met is gone from the source.
 * @param hasUnknown records of the batch have no key that is known: null stands for them.
 * @returns how many rows were marked or removed.
 */
async function deleteUnseen(
  connection: DuckDBConnection,
  { key, table, cursor }: WriteRequest,
  hasUnknown: boolean,
): Promise<number> {
  if (hasUnknown) {
    const unknown = `${keyValues(key).map(literal).join(', ')}, ${cursor.pass}, NULL`;
    await connection.run(`INSERT INTO _highwater_seen VALUES (${unknown})`);
  }
  if (cursor.ended === null) return 0;
  const seen = `FROM _highwater_seen WHERE ${keyIs(key)} AND pass = ${cursor.pass}`;
  const [met = 0, known = 0] = await counts(connection, `SELECT count(*), count(key) ${seen}`);
  let deleted = 0;
  // An empty list is more often a mistake of the source than the end of everything.
  if (isWholePass(cursor) && met > 0 && met === known) {
    const keys = table.primaryKey.map((name) => `CAST(t.${identifier(name)} AS VARCHAR)`).join(', ');
    const unseen = `to_json([${keys}])::VARCHAR NOT IN (SELECT key ${seen})`;
    const target = `${tableName(table)} AS t`;
    const gone = await connection.run(
      table.deletes === 'soft'
        ? `UPDATE ${target} SET ${DELETED_AT} = now() WHERE ${DELETED_AT} IS NULL AND ${unseen}`
        : `DELETE FROM ${target} WHERE ${unseen}`,
    );
    deleted = gone.rowsChanged;
  }
  await connection.run(`DELETE FROM _highwater_seen WHERE ${keyIs(key)}`);
  return deleted;
}

/**
 * Writes what is new or differs. Not one MERGE: finding the keys reads the key columns only, contents are compared
 * for the rows that were found, and rows that stand there already cost no write.
 * @returns how many rows were inserted or changed.
 */
async function upsert(
  file: DuckDbFile,
  connection: DuckDBConnection,
  request: WriteRequest,
  isLoaded: boolean,
): Promise<number> {
  const { table } = request;
  if (!isLoaded) await load(file, connection, request);
  const inBatch = batchColumns(table);
  const names = [...inBatch.keys()].map(identifier);
  const target = tableName(table);
  const sameKey = table.primaryKey
    .map((name) => `t.${identifier(name)} = s.${inBatch.get(name)}`)
    .join(' AND ');
  const atSamePlace = names.some((name) => name.toLowerCase() === '"rowid"') ? sameKey : 't.rowid = k.stored';
  const [known = 0] = await counts(
    connection,
    `CREATE OR REPLACE TEMP TABLE _known AS SELECT t.rowid AS stored, s.rowid AS read FROM ${target} AS t JOIN _batch AS s ON ${sameKey};
     SELECT count(*) FROM _known`,
  );
  let rows = 0;
  const rest = [...inBatch].filter(([name]) => !table.primaryKey.includes(name));
  if (known > 0 && rest.length > 0) {
    const updated = await connection.run(
      `CREATE OR REPLACE TEMP TABLE _changed AS SELECT k.stored, k.read FROM _known AS k
         JOIN _batch AS s ON s.rowid = k.read JOIN ${target} AS t ON ${atSamePlace}
         WHERE ${rest.map(([name, c]) => `t.${identifier(name)} IS DISTINCT FROM s.${c}`).join(' OR ')};
       UPDATE ${target} AS t SET ${rest.map(([name, c]) => `${identifier(name)} = s.${c}`).join(', ')}
         FROM _changed AS k JOIN _batch AS s ON s.rowid = k.read WHERE ${atSamePlace}`,
    );
    rows += updated.rowsChanged;
  }
  faultPoint('transaction.half');
  const fresh = known === 0 ? '' : 'WHERE rowid NOT IN (SELECT read FROM _known)';
  const inserted = await connection.run(
    `INSERT INTO ${target} (${names.join(', ')}) SELECT ${[...inBatch.values()].join(', ')} FROM _batch ${fresh}`,
  );
  rows += inserted.rowsChanged;
  if (table.deletes !== undefined) await remember(connection, request);
  await connection.run('DROP TABLE _batch; DROP TABLE _known; DROP TABLE IF EXISTS _changed');
  return rows;
}

/** How many records of a batch were put aside. */
async function rejectedOf(connection: DuckDBConnection, { next, table }: WriteRequest): Promise<number> {
  if (table.quarantine !== true) return 0;
  const [count = 0] = await counts(
    connection,
    `SELECT count(*) FROM _highwater_rejects WHERE batch = ${literal(next)}`,
  );
  return count;
}

/** What the reader has put aside. */
export async function keepRejects(
  connection: DuckDBConnection,
  { key, next }: WriteRequest,
  files: string[],
): Promise<void> {
  const values = [next, ...keyValues(key)].map(literal).join(', ');
  await connection.run(
    `INSERT INTO _highwater_rejects SELECT ${values}, reason, record, now()
       FROM read_json([${files.map(literal).join(', ')}], columns = {reason: 'VARCHAR', record: 'VARCHAR'},
         format = 'newline_delimited', maximum_object_size = ${REJECT_BYTES})`,
  );
}

/** A record of the greatest length, and its reason. */
const REJECT_BYTES = 48 * 1024 * 1024;

/** As {@link load}, but for the records that do not fit, which go to `_highwater_rejects`. */
export async function sortOut(
  file: DuckDbFile,
  connection: DuckDBConnection,
  request: WriteRequest,
): Promise<void> {
  const { table, longest, key, next } = request;
  await file.makeRoomFor(connection, longest);
  const columns = Object.entries(table.columns);
  const files = (await request.files()).map(literal).join(', ');
  // A value fits where DuckDB makes one of it, and it is still the same.
  const reasons = columns.map(([name, type]) => {
    const text = `(line ->> ${literal(`$.${JSON.stringify(name)}`)})`;
    const value = valueOf(text, type);
    const lost = [`r.${identifier(name)} IS NULL`, ...(value === null ? [] : [`${value} IS NULL`])];
    const said = `${literal(`column ${JSON.stringify(name)} cannot hold `)} || to_json(${text}[:200]) || ${literal(` as ${type}`)}`;
    return `WHEN ${text} IS NOT NULL AND (${lost.join(' OR ')}) THEN ${said}`;
  });
  const spec = Object.fromEntries(columns.map(([name, type]) => [name, jsonType(type)]));
  const inBatch = batchColumns(table);
  const selected = columns.map(
    ([name, type]) => `${fromJson(`r.${identifier(name)}`, type)} AS ${inBatch.get(name)}`,
  );
  const keys = table.primaryKey.map((name) => inBatch.get(name) ?? '');
  const values = [next, ...keyValues(key)].map(literal).join(', ');
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE _sorted AS SELECT line, r, CASE ${reasons.join(' ')} END AS reason
       FROM (SELECT line, from_json(line, ${literal(JSON.stringify(spec))}) AS r
         FROM read_csv([${files}], columns = {line: 'VARCHAR'}, auto_detect = false, header = false, delim = '\x02',
           quote = '', escape = '', max_line_size = ${Math.max(2 * 1024 * 1024, longest * 2)}));
     INSERT INTO _highwater_rejects SELECT ${values}, reason, line, now() FROM _sorted WHERE reason IS NOT NULL;
     CREATE OR REPLACE TEMP TABLE _batch AS SELECT ${selected.join(', ')} FROM _sorted WHERE reason IS NULL;
     DROP TABLE _sorted;
     ${lastOfEach(keys)}`,
  );
}

/** Of a key that is there twice in the batch, the last. */
const lastOfEach = (keys: readonly string[]) => `
  CREATE OR REPLACE TEMP TABLE _last AS SELECT ${keys.join(', ')}, max(rowid) AS place FROM _batch GROUP BY ALL HAVING count(*) > 1;
  DELETE FROM _batch AS s USING _last AS l WHERE ${keys.map((c) => `s.${c} = l.${c}`).join(' AND ')} AND s.rowid <> l.place;
  DROP TABLE _last`;

/** Marks of parents, the last one of each. */
export async function keepMarks(
  connection: DuckDBConnection,
  key: StreamKey,
  files: string[],
): Promise<void> {
  const values = keyValues(key).map(literal).join(', ');
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE _marks AS SELECT parent, last(mark) AS mark
       FROM read_json([${files.map(literal).join(', ')}], columns = {parent: 'VARCHAR', mark: 'VARCHAR'}, format = 'newline_delimited')
       GROUP BY parent;
     DELETE FROM _highwater_parents WHERE ${keyIs(key)} AND parent IN (SELECT parent FROM _marks);
     INSERT INTO _highwater_parents SELECT ${values}, parent, mark FROM _marks;
     DROP TABLE _marks`,
  );
}

/**
 * Rows of a parent's table with their marks.
 * @param from what stands for the table; `_highwater_parents` has the marks.
 */
export async function parentRows(
  connection: DuckDBConnection,
  { key, parent, after, limit }: ParentsRequest,
  from: string,
): Promise<ParentRow[]> {
  const { table, fields } = parent;
  const keys = table.primaryKey.map((name) => `p.${identifier(name)}`);
  const texts = keys.map((name) => `CAST(${name} AS VARCHAR)`);
  const found = `to_json([${texts.join(', ')}])`;
  const values = fields.map((name) => parentValue(`p.${identifier(name)}`, table.columns[name]));
  const beyond = (after ?? []).map(
    (text, i) =>
      `CAST(${literal(text)} AS ${duckDbType(table.columns[table.primaryKey[i] ?? ''] ?? 'STRING')})`,
  );
  const conditions = [
    ...(after === null ? [] : [`(${keys.join(', ')}) > (${beyond.join(', ')})`]),
    // Of a parent that is gone nothing is asked.
    ...(table.deletes === 'soft' ? [`p.${DELETED_AT} IS NULL`] : []),
  ];
  const result = await connection.runAndReadAll(
    `WITH p AS (
       SELECT ${[...keys, ...values].map((sql, i) => `${sql} AS c${i}`).join(', ')}, ${found}::VARCHAR AS key
       FROM ${from} AS p
       ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
       ORDER BY ${keys.join(', ')} LIMIT ${limit})
     SELECT p.key, m.mark, ${fields.map((_, i) => `p.c${keys.length + i}`).join(', ') || 'NULL'}
     FROM p LEFT JOIN (SELECT parent, mark FROM _highwater_parents WHERE ${keyIs(key)}) AS m ON m.parent = p.key
     ORDER BY ${keys.map((_, i) => `p.c${i}`).join(', ')}`,
  );
  return result.getRowsJson().map(([name, mark, ...rest]) => ({
    key: JSON.parse(String(name)) as string[],
    mark: mark === null ? null : (JSON.parse(String(mark)) as Json),
    fields: Object.fromEntries(
      fields.map((field, i) => [field, fieldOf(rest[i] ?? null, table.columns[field])]),
    ),
  }));
}

/** A parent's value as text that means the same in a request as it did in the source's answer. */
const parentValue = (column: string, type: ColumnType | undefined) =>
  type === 'UTC_DATETIME'
    ? `strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`
    : `CAST(${column} AS VARCHAR)`;

function fieldOf(value: unknown, type: ColumnType | undefined): Json {
  if (value === null) return null;
  const text = String(value);
  if (type === 'BOOLEAN') return text === 'true';
  const isWhole = type === 'SHORT' || type === 'INT' || type === 'LONG';
  return isWhole && Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

async function counts(connection: DuckDBConnection, sql: string): Promise<number[]> {
  const result = await connection.runAndReadAll(sql);
  return (result.getRowsJson()[0] ?? []).map(Number);
}

export function readFiles(
  files: string[],
  longest: number,
  columns: [string, ColumnType][],
  type: (type: ColumnType) => string,
): string {
  const spec = columns
    .map(([name, columnType]) => `${literal(name)}: ${literal(type(columnType))}`)
    .join(', ');
  // DuckDB's buffers are twice this size, one a thread.
  const objectSize = Math.max(1024 * 1024, longest * 2);
  return `read_json([${files.map(literal).join(', ')}], columns = {${spec}}, format = 'newline_delimited', maximum_object_size = ${objectSize})`;
}

/** Finds the record that does not fit, for the message; slow, and only run once a batch has failed. */
export async function misfit(
  connection: DuckDBConnection,
  table: TableSpec,
  files: string[],
  longest: number,
  said: string,
): Promise<RecordError> {
  const columns = Object.entries(table.columns);
  const source = readFiles(files, longest, columns, () => 'JSON');
  const key = table.primaryKey.map((name) => `(${identifier(name)} ->> '$')`).join(` || ', ' || `);
  for (const [name, type] of columns) {
    const text = `(${identifier(name)} ->> '$')`;
    const value = valueOf(text, type);
    if (value === null) continue;
    const found = await connection
      .runAndReadAll(
        `SELECT ${key}, ${text} FROM ${source} WHERE ${text} IS NOT NULL AND ${value} IS NULL LIMIT 1`,
      )
      .then((result) => result.getRowsJson()[0])
      .catch(() => undefined);
    if (found !== undefined) {
      return doesNotFit(String(found[0]), cannotHold(name, String(found[1]), type));
    }
  }
  return somethingMisfits(table, said);
}

/** The value that a text becomes in a column, null in SQL where it cannot; null where every text can. */
function valueOf(text: string, type: ColumnType): string | null {
  if (type === 'JSON' || type === 'STRING') return null;
  if (type === 'BINARY') return `TRY(from_base64(${text}))`;
  return ['SHORT', 'INT', 'LONG'].includes(type)
    ? wholeNumber(text, duckDbType(type))
    : `TRY_CAST(${text} AS ${duckDbType(type)})`;
}

/** Null where the text is a number with a fraction too: a cast would round it. */
const wholeNumber = (text: string, type: string) =>
  `CASE WHEN regexp_matches(${text}, '[0-9][eE]|[.]') AND NOT (TRY_CAST(${text} AS DOUBLE) = round(TRY_CAST(${text} AS DOUBLE)) ` +
  `AND abs(TRY_CAST(${text} AS DOUBLE)) <= 9007199254740991) THEN NULL ELSE TRY_CAST(${text} AS ${type}) END`;

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
