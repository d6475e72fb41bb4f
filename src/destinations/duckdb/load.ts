/** Loads the files of a batch into DuckDB. */
import { type RecordError, messageOf } from '../../errors.js';
import { PARENT, type ColumnType, type TableSpec } from '../../protocol.js';
import { batchColumns, cannotHold, columnIn, doesNotFit, somethingMisfits } from '../checkpoints.js';
import type { Batch, LoadRequest, Loader, SortedLines } from '../sql/dialect.js';
import { keepMisfits } from '../sql/rejects.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';
import { duckDbType, fromJson, jsonType } from './columns.js';
import type { DuckDbFile } from './file.js';
import { hashesKey, keyHash } from './key-hash.js';
import type { DuckDbSession } from './session.js';

/** The column of a loaded batch with the hash of each key. */
const HASH = sql`hash`;

/** The temporary table of a loaded batch; a connection has at most one. */
const batchOf = (table: TableSpec): Batch => ({
  name: sql`_batch`,
  columns: batchColumns(table),
  ...(hashesKey(table) && { hash: HASH }),
});

export interface DuckDbLoaderOptions {
  /** A batch that this connection has already loaded; null: none. */
  prepared?: Batch | null;
  /** Whether to quarantine records that do not fit. A batch whose records all fit is written without checking each. */
  sorts?: boolean;
}

export class DuckDbLoader implements Loader {
  /** Taken by the first load. */
  private prepared: Batch | null;
  private readonly sorts: boolean;

  constructor(
    private readonly file: DuckDbFile,
    private readonly session: DuckDbSession,
    { prepared = null, sorts = false }: DuckDbLoaderOptions = {},
  ) {
    this.prepared = prepared;
    this.sorts = sorts;
  }

  readonly load = async <T>(request: LoadRequest, write: (batch: Batch) => Promise<T>): Promise<T> => {
    const { table } = request;
    try {
      const { prepared } = this;
      this.prepared = null;
      return await write(prepared ?? (await this.loadBatch(request)));
    } catch (thrown) {
      if (!isDataError(thrown) || table.quarantine === true) throw thrown;
      throw await this.file.read(async (session) =>
        findMisfit(session, table, await request.files(), request.longest, messageOf(thrown)),
      );
    }
  };

  async loadBatch(request: LoadRequest): Promise<Batch> {
    const { table, longest } = request;
    if (!this.sorts) {
      await this.file.makeRoomFor(this.session, longest);
      const columns = Object.entries(table.columns);
      const from = readFiles(await request.files(), longest, columns, jsonType);
      return this.makeBatch(table, sql`SELECT ${selectedForBatch(table, identifier)} FROM ${from}`, request);
    }
    const lines = await this.sortLines(table, await request.files(), longest);
    if (request.dropsMisfits !== true) await keepMisfits(this.session, request, lines);
    return this.loadFitting(table, lines, request);
  }

  private async makeBatch(
    table: TableSpec,
    query: Sql,
    { keeps, roots }: Pick<LoadRequest, 'keeps' | 'roots'>,
    then: readonly Sql[] = [],
  ): Promise<Batch> {
    const batch = batchOf(table);
    await this.session.runAll([
      sql`CREATE OR REPLACE TEMP TABLE ${batch.name} AS ${query}`,
      ...then,
      ...(roots === undefined ? [] : keysOfRoots(batch, roots)),
      ...(keeps === 'last' ? lastOfEach(table, batch) : []),
    ]);
    return batch;
  }

  readonly readMembers = (files: readonly string[], members: readonly string[], longest?: number) =>
    Promise.resolve(readMembers(files, members, longest));

  readonly sortLines = async (
    table: TableSpec,
    files: readonly string[],
    longest: number,
  ): Promise<SortedLines> => {
    await this.file.makeRoomFor(this.session, longest);
    const columns = Object.entries(table.columns);
    // A value fits if DuckDB can convert it without changing it.
    const reasons = columns.map(([name, type]) => {
      const text = sql`(line ->> ${literal(`$.${JSON.stringify(name)}`)})`;
      const value = valueOf(text, type);
      const lost = [sql`r.${identifier(name)} IS NULL`, ...(value === null ? [] : [sql`${value} IS NULL`])];
      const reason = sql`${literal(`column ${JSON.stringify(name)} cannot hold `)} || to_json(${text}[:200]) || ${literal(` as ${type}`)}`;
      return sql`WHEN ${text} IS NOT NULL AND (${joined(lost, sql` OR `)}) THEN ${reason}`;
    });
    const spec = Object.fromEntries(columns.map(([name, type]) => [name, jsonType(type)]));
    const name = sql`_sorted`;
    await this.session.run(
      sql`CREATE OR REPLACE TEMP TABLE ${name} AS SELECT row_number() OVER () AS place, line, r, CASE ${joined(reasons, sql` `)} END AS reason
         FROM (SELECT line, from_json(line, ${literal(JSON.stringify(spec))}) AS r
           FROM read_csv([${joined(files.map(literal))}], columns = {line: 'VARCHAR'}, auto_detect = false, header = false, delim = '\x02',
             quote = '', escape = '', max_line_size = ${numeral(Math.max(2 * 1024 * 1024, longest * 2))}))`,
    );
    const selected = selectedForBatch(table, (column) => sql`r.${identifier(column)}`);
    return { name, fitting: sql`SELECT place, ${selected} FROM ${name} WHERE reason IS NULL` };
  };

  readonly loadFitting = (
    table: TableSpec,
    { name }: SortedLines,
    request: Pick<LoadRequest, 'keeps' | 'roots'>,
  ): Promise<Batch> => {
    const selected = selectedForBatch(table, (column) => sql`r.${identifier(column)}`);
    const query = sql`SELECT ${selected} FROM ${name} WHERE reason IS NULL`;
    return this.makeBatch(table, query, request, [sql`DROP TABLE ${name}`]);
  };
}

/** Replaces the numbers of records by their keys, and drops rows of other records; see {@link LoadRequest.roots}. */
function keysOfRoots({ name, columns }: Batch, roots: Sql): Sql[] {
  const parent = columnIn(columns, PARENT);
  return [
    sql`DELETE FROM ${name} WHERE ${parent} NOT IN (SELECT record FROM ${roots} WHERE record IS NOT NULL)`,
    sql`UPDATE ${name} SET ${parent} = r.parent FROM ${roots} AS r WHERE r.record = ${name}.${parent}`,
  ];
}

/** Keeps the last record of each key in a batch. */
function lastOfEach(table: TableSpec, { name, columns }: Batch): Sql[] {
  const keys = table.primaryKey.map((column) => columnIn(columns, column));
  // Texts are compared only if their hashes are equal.
  const which = hashesKey(table)
    ? sql`WHERE ${HASH} IN (SELECT ${HASH} FROM ${name} GROUP BY ${HASH} HAVING count(*) > 1)`
    : sql``;
  const same = joined(
    keys.map((key) => sql`s.${key} = l.${key}`),
    sql` AND `,
  );
  return [
    sql`CREATE OR REPLACE TEMP TABLE _last AS SELECT ${joined(keys)}, max(rowid) AS place FROM ${name} ${which} GROUP BY ALL HAVING count(*) > 1`,
    sql`DELETE FROM ${name} AS s USING _last AS l WHERE ${same} AND s.rowid <> l.place`,
    sql`DROP TABLE _last`,
  ];
}

/** Returns the select list of a batch. @param read returns the SQL of a column as read from JSON. */
function selectedForBatch(table: TableSpec, read: (name: string) => Sql): Sql {
  const value = (name: string) => fromJson(read(name), table.columns[name] ?? 'STRING');
  return joined([
    ...[...batchColumns(table)].map(([name, column]) => sql`${value(name)} AS ${column}`),
    ...(hashesKey(table) ? [sql`${keyHash(table, value)} AS ${HASH}`] : []),
  ]);
}

/** See {@link Loader.readMembers}. */
export function readMembers(
  files: readonly string[],
  members: readonly string[],
  longest = 16 * 1024 * 1024,
): Sql {
  const columns = joined(members.map((name) => sql`${identifier(name)}: 'VARCHAR'`));
  return sql`(SELECT row_number() OVER () AS place, ${joined(members.map(identifier))}
    FROM read_json([${joined(files.map(literal))}], columns = {${columns}}, format = 'newline_delimited', maximum_object_size = ${numeral(longest)}))`;
}

/** Returns a relation over files of newline-delimited JSON. */
export function readFiles(
  files: readonly string[],
  longest: number,
  columns: [string, ColumnType][],
  type: (type: ColumnType) => string,
): Sql {
  const spec = joined(
    columns.map(([name, columnType]) => sql`${literal(name)}: ${literal(type(columnType))}`),
  );
  // DuckDB allocates buffers of twice this size, one per thread.
  const objectSize = Math.max(1024 * 1024, longest * 2);
  return sql`read_json([${joined(files.map(literal))}], columns = {${spec}}, format = 'newline_delimited', maximum_object_size = ${numeral(objectSize)})`;
}

/** Finds the record that does not fit, for the error message; slow, so only after a batch has failed. */
export async function findMisfit(
  session: DuckDbSession,
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
    const [found] = await session
      .rows(sql`SELECT ${key}, ${text} FROM ${source} WHERE ${text} IS NOT NULL AND ${value} IS NULL LIMIT 1`)
      .catch(() => []);
    if (found !== undefined) return doesNotFit(String(found[0]), cannotHold(name, String(found[1]), type));
  }
  return somethingMisfits(table, said);
}

/** Returns the SQL that converts text to a column's value, NULL if it cannot; null if any text is valid. */
function valueOf(text: Sql, type: ColumnType): Sql | null {
  if (type === 'JSON' || type === 'STRING') return null;
  if (type === 'BINARY') return sql`TRY(from_base64(${text}))`;
  return ['SHORT', 'INT', 'LONG'].includes(type)
    ? wholeNumber(text, duckDbType(type))
    : sql`TRY_CAST(${text} AS ${duckDbType(type)})`;
}

/** NULL if the number has a fraction, which a cast would round. */
const wholeNumber = (text: Sql, type: Sql) =>
  sql`CASE WHEN regexp_matches(${text}, '[0-9][eE]|[.]') AND NOT (TRY_CAST(${text} AS DOUBLE) = round(TRY_CAST(${text} AS DOUBLE)) AND abs(TRY_CAST(${text} AS DOUBLE)) <= 9007199254740991) THEN NULL ELSE TRY_CAST(${text} AS ${type}) END`;

/** Whether DuckDB refused a record rather than a statement. */
export const isDataError = (thrown: unknown): boolean =>
  thrown instanceof Error && /^(Conversion|Invalid Input|Out of Range|Constraint) Error/.test(thrown.message);
