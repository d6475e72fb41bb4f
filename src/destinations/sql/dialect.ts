/** The seam between destinations that speak SQL and the database under them: a dialect and a session. */
import type { ColumnType, StreamKey, TableSpec } from '../../protocol.js';
import type { NameRules, StoredColumn } from '../columns/inference.js';
import type { Sql } from './sql.js';

/** Highwater's own tables, without the prefix `_highwater_`. */
export type OwnTable =
  | 'meta'
  | 'checkpoints'
  | 'batches'
  | 'parents'
  | 'seen'
  | 'moves'
  | 'rejects'
  | 'differences'
  | 'schema_changes'
  | 'fingerprints';

/** A row of an answer, each value as text. */
export type SqlRow = readonly (string | null)[];

/** A connection, as a rule in a transaction. */
export interface SqlSession {
  readonly dialect: Dialect;
  /** Runs one statement. @returns the number of rows that it inserted, changed or deleted. */
  run(statement: Sql): Promise<number>;
  /** Runs statements one after the other in one call. @returns the number of rows that the last one changed. */
  runAll(statements: readonly Sql[]): Promise<number>;
  /**
   * Runs one statement. Columns that have no plain text of their own are to be cast.
   * @param before statements that run first, in the same call.
   * @returns its rows.
   */
  rows(statement: Sql, before?: readonly Sql[]): Promise<SqlRow[]>;
}

/** Rows that can be read: a relation, and its columns by the names that they have in the table. */
export interface Relation {
  name: Sql;
  columns: ReadonlyMap<string, Sql>;
  /** The hash of each key, where the loader has made it; see {@link Dialect.upsert}. */
  hash?: Sql;
  /** What a sample of its keys has shown; see {@link Dialect.upsert}. */
  expectation?: Expectation;
}

/** A guess about the rows of a batch. It decides how they are written, never what is written. */
export interface Expectation {
  /** Whether the table has none of their keys, as far as a sample can tell, or may have many of the rows as they are. */
  rowsAre: 'new' | 'unchanged';
  /** A condition on row `s`: it belongs to the sample, so that the guess says nothing about it. */
  isSampled: Sql;
  /** Called where the guess was wrong. */
  refute: () => void;
}

/** A batch that is loaded and typed, ready to be written; it has `place`s in the order of its records. */
export type Batch = Relation;

/** Lines of files, each with the reason why its table cannot hold it. */
export interface SortedLines {
  /** A temporary table with the columns `place` (from 1), `line` and `reason` (null where the line fits). */
  name: Sql;
  /** A query for `place` and the typed columns of the lines that fit. */
  fitting: Sql;
}

/** Loads the records of a write; the bulk load is the part of a destination that decides its speed. */
export interface Loader {
  /**
   * Loads the files of a request and passes the batch to `write`. May do so twice, after undoing the first attempt,
   * where a record did not fit.
   * @throws {RecordError} where a record does not fit, unless the table says `quarantine`.
   */
  load: <T>(request: LoadRequest, write: (batch: Batch) => Promise<T>) => Promise<T>;
  /**
   * Makes a relation of small files of newline-delimited JSON, with `place` and the members named, as text.
   * @param longest bytes that a line may have; absent: 16 MiB.
   */
  readMembers: (files: readonly string[], members: readonly string[], longest?: number) => Promise<Sql>;
  /** Reads lines into a temporary table, and says which of them the table cannot hold. */
  sortLines: (table: TableSpec, files: readonly string[], longest: number) => Promise<SortedLines>;
  /** Makes a batch of the lines that fit; they are not read again. */
  loadFitting: (
    table: TableSpec,
    lines: SortedLines,
    request: Pick<LoadRequest, 'keeps' | 'roots'>,
  ) => Promise<Batch>;
}

/** The facts of a write that a loader needs. */
export interface LoadRequest {
  key: StreamKey;
  table: TableSpec;
  /** The checkpoint that the batch creates. */
  next: string;
  files: () => Promise<string[]>;
  /** Length of the longest record, in bytes. */
  longest: number;
  /** Keeps the last record of each key, or all of them. */
  keeps: 'last' | 'all';
  /** The batch is read by one statement only, so that it needs no table of its own. */
  isReadOnce: boolean;
  /** Records that do not fit are dropped instead of quarantined. */
  dropsMisfits?: true;
  /**
   * For rows of a child table: the records that they belong to, as a relation of `record` and `parent`. The number of its
   * record in a row's column {@link PARENT} is replaced by `parent`; rows of other records are dropped.
   */
  roots?: Sql;
}

/** How a database says what Highwater needs. Everything else about SQL destinations is shared. */
export interface Dialect {
  /** Names: of Highwater's own tables, and of temporary ones where they are read or changed. */
  ownTable(schema: string, table: OwnTable): Sql;
  temporary(name: Sql): Sql;
  /** A condition: the text column holds the name of the same schema or table. */
  isName(column: Sql, name: string): Sql;
  readonly names: NameRules;

  /** Types: in statements, as the catalogue names them, and back (null for a type that is not one of ours). */
  type(type: ColumnType): Sql;
  storedType(type: ColumnType): string;
  columnType(stored: string): ColumnType | null;

  /** Values: the JSON array of the texts of columns, which stands for a key in Highwater's own tables. */
  keyText(columns: readonly Sql[]): Sql;
  /** The JSON text of a text. */
  jsonText(text: Sql): Sql;
  /** A key as the source's reader wrote it, in the spelling of {@link keyText}. */
  asKeyText(text: Sql): Sql;
  /**
   * A condition, in the way that the database finds out fastest: no row has this value in a column without nulls.
   * @param rows the rows: FROM and WHERE.
   */
  isNoneOf(value: Sql, column: Sql, rows: Sql): Sql;
  /** Text that is compared and ordered byte by byte. */
  bytes(text: Sql): Sql;
  /** A time with zone as ISO 8601 in UTC, with three or six digits of a second. */
  milliseconds(time: Sql): Sql;
  microseconds(time: Sql): Sql;
  /** The values of a column in a wider type. */
  widened(column: Sql, from: ColumnType, to: ColumnType): Sql;
  /** A condition: a whole number would be another one as a DOUBLE. */
  isRounded(column: Sql): Sql;
  /** The column that tells where a row is stored, in the order of writing; null where the table has one of that name. */
  place(columns: TableSpec['columns']): Sql | null;

  /** The columns that a table has besides the declared ones, with their definitions. */
  ownColumns(table: TableSpec): [name: string, definition: Sql][];
  /** The constraint of a new table, with its leading comma; empty where the database gets none. */
  primaryKey(columns: readonly Sql[]): Sql;
  /** The column that numbers `_highwater_schema_changes`, with its leading comma, and how they are ordered by it. */
  readonly changes: { column: Sql; order: Sql };
  /** The end of a query that locks its rows until the transaction ends. */
  readonly forUpdate: Sql;
  /** Rows are removed before the table is altered; otherwise the table is altered first. */
  readonly deletesBeforeAltering: boolean;

  /** Looks into the catalogue. */
  hasOwnTable(session: SqlSession, schema: string, table: OwnTable): Promise<boolean>;
  /** The columns of a table; null where there is no table. */
  storedColumns(
    session: SqlSession,
    table: Pick<TableSpec, 'schema' | 'table'>,
  ): Promise<StoredColumn[] | null>;

  /** Waits for others that do the same thing by this name, until the transaction ends. */
  lockName(session: SqlSession, name: string): Promise<void>;
  /** Keeps syncs from writing a table until the transaction ends, and waits for writes in flight. */
  lockTable(session: SqlSession, key: Pick<StreamKey, 'schema' | 'table'>): Promise<void>;
  /** Gives the statements that follow in the transaction the time that a table of any size takes. */
  takeTime(session: SqlSession): Promise<void>;
  /** Tells the planner how many rows a table has by now. */
  analyze(session: SqlSession, table: Sql): Promise<void>;

  /** Makes the schema where it is missing, and keeps others from making own tables at the same time. */
  prepareSchema(session: SqlSession, schema: string): Promise<void>;
  /** @throws {DestinationError} for names that the database cannot have. */
  refuseNames(table: TableSpec): void;
  /** Runs one statement that makes, changes or drops a table that others may be reading. */
  changeTable(session: SqlSession, table: Sql, statement: Sql): Promise<void>;
  /** Prepares what rows are found by, once the table has all its columns. */
  prepareKey(session: SqlSession, table: TableSpec): Promise<void>;
  /** Brings what rows are found by up to date after a column of the primary key got another type. */
  refreshKey(session: SqlSession, table: TableSpec): Promise<void>;
  /** Drops what binds the rows of a table to the primary key that they were written by. */
  releaseKey(session: SqlSession, table: TableSpec, key: readonly string[]): Promise<void>;
  /** Whether the database refused a definition for good, as opposed to a failure that may pass. */
  isRefusal(thrown: unknown): boolean;

  /** Inserts rows that are new and updates those that differ. @returns how many that were. */
  upsert(session: SqlSession, table: TableSpec, from: Relation, next: string): Promise<number>;
  /** Ends the version of each key that has changed, and begins one for it and for each new key. */
  supersede(session: SqlSession, table: TableSpec, from: Batch, next: string): Promise<number>;
  /** Adds each record that differs from the previous one of its key, in the batch or in the table. */
  append(session: SqlSession, table: TableSpec, from: Batch, next: string): Promise<number>;
}

/** The numbers in the only row of an answer. */
export async function counts(
  session: SqlSession,
  statement: Sql,
  before: readonly Sql[] = [],
): Promise<number[]> {
  const [row = []] = await session.rows(statement, before);
  return row.map(Number);
}
