/** Tables of the destination: columns, modes, deletes, and the columns that Highwater adds. */

/** Column types, by the reference form's names. */
export const COLUMN_TYPES = [
  'STRING',
  'BOOLEAN',
  'SHORT',
  'INT',
  'LONG',
  'FLOAT',
  'DOUBLE',
  'NAIVE_DATE',
  'NAIVE_DATETIME',
  'UTC_DATETIME',
  'JSON',
  'BINARY',
] as const;

/** Type of a column. */
export type ColumnType = (typeof COLUMN_TYPES)[number] | `DECIMAL(${number},${number})`;

/** The table that a stream is written to. */
export interface TableSpec {
  schema: string;
  table: string;
  primaryKey: string[];
  columns: Record<string, ColumnType>;
  /** Records that do not fit are quarantined; absent: they stop the sync. */
  quarantine?: true;
  /** How batches are written; absent: upsert. */
  mode?: Exclude<WriteMode, 'upsert'>;
  /** Rows store the time and the batch of their last write, in {@link SYNCED_AT} and {@link BATCH}. */
  stamps?: true;
  /** Treatment of rows that are gone from the source; absent: they stay. */
  deletes?: DeleteMode;
  /** The column that marks a record itself as deleted. */
  deletedField?: string;
  /** Which rows count as gone when a pass has not read them; absent: all. */
  unseen?: Unseen;
  /** Number of rows that the end of a pass may remove without approval; absent: {@link DEFAULT_MAX_DELETES}. */
  maxDeletes?: MaxDeletes;
  /** Infers undeclared columns from records; absent: members without a column are not stored. */
  inference?: Inference;
}

/** Settings of schema inference. */
export interface Inference {
  /** Treatment of records that do not fit the existing table. */
  policy: 'evolve' | 'freeze' | 'quarantine';
  /** Levels of nested objects whose members get their own columns; 0: an object is one value. */
  flatten: number;
  names: 'as_is' | 'snake_case';
}

/** A change to a table. */
export type SchemaChange = {
  column: string;
  /** Null for a new column. */
  from: ColumnType | null;
  to: ColumnType;
};

/**
 * `upsert`: one row per key; `append`: every version; `replace`: the last whole pass; `history`: versions with their
 * time of validity.
 */
export const WRITE_MODES = ['upsert', 'append', 'replace', 'history'] as const;

/** How batches are written; see {@link WRITE_MODES}. */
export type WriteMode = (typeof WRITE_MODES)[number];

/** Marks rows in the column {@link DELETED_AT}, or removes them; in a history both end the current version. */
export type DeleteMode = 'soft' | 'hard';

/** Maximum rows that the end of a pass may remove, mark or end: a count, or a percentage of the table. */
export type MaxDeletes = { rows: number } | { percent: number } | 'any';

/** A pass asks for approval if it would remove more than this percentage of the rows, and more than this number. */
export const DEFAULT_MAX_DELETES = { percent: 10, rows: 20 } as const;

/** Rows that the end of a pass would remove, if they exceed `max_deletes`. */
export type TooManyDeletes = {
  /** `SCHEMA.TABLE` */
  table: string;
  /** Effect on the rows; `ended`: their current versions in a history. */
  how: 'removed' | 'marked' | 'ended';
  deletes: number;
  /** Number of rows that are not deleted. */
  rows: number;
  /** Number of rows that may be removed without approval. */
  allowed: number;
  /** Number of the pass that asks. */
  pass: number;
};

/** Decision about the deletes of a pass: a maximum number of rows, or none. */
export type DeletesDecision = { approved: number } | 'withheld';

/** Rows that may count as gone: none, or those whose time in a column is within the part that the pass requested. */
export type Unseen = 'stay' | { column: string };

/** Highwater's own columns in the tables of streams. */
export const DELETED_AT = '_highwater_deleted_at';

export const SYNCED_AT = '_highwater_synced_at';

export const BATCH = '_highwater_batch';

/** Numbers the rows of an append table in the order of their arrival. */
export const SEQUENCE = '_highwater_sequence';

export const VALID_FROM = '_highwater_valid_from';

/** Hash of text keys: DuckDB reads it ten times as fast as the keys. */
export const KEY_HASH = '_highwater_key';

/** Null while the version is current. */
export const VALID_TO = '_highwater_valid_to';

/** Notes of passes that may not have read everything: rows that such a pass has not read are not gone. */
export const INCOMPLETE = [
  'answer_ignored',
  'parent_skipped',
  'answer_cut',
  'end_unproven',
  'empty_page_inside',
  'repeated_page_inside',
  'list_shrank',
  'list_moving',
  'no_overlap',
  'records_missing',
] as const;

/** A record that could not be stored. */
export type Reject = {
  reason: string;
  /** The record as the source sent it. */
  record: string;
};

/** A member of a quarantined record of which columns could not be made: it is not to be stored as it is. */
export const REFUSED = '_highwater_refused';
