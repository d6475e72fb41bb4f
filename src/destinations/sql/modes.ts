/** Write modes, as all SQL databases share them: the columns they add, the checks they make, and what the end of a pass may remove. */
import { createHash } from 'node:crypto';
import { DestinationError, TooManyDeletesError } from '../../errors.js';
import {
  BATCH,
  DEFAULT_MAX_DELETES,
  DELETED_AT,
  SEQUENCE,
  SYNCED_AT,
  VALID_FROM,
  VALID_TO,
  type ColumnType,
  type Cursor,
  type MaxDeletes,
  type Note,
  type StreamKey,
  type TableSpec,
  type WriteMode,
} from '../../protocol.js';
import { isWholePass, missesRows } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import { identifier, joined, literal, sql, type Sql } from './sql.js';
import type { Written } from './write-batch.js';

export const modeOf = (table: TableSpec): WriteMode => table.mode ?? 'upsert';

/** Columns that reveal the mode in which a table was written. */
export const MODE_COLUMNS = [SEQUENCE, VALID_FROM, VALID_TO] as const;

/** Highwater's columns in a stream's table; the destination fills {@link SEQUENCE}. */
export function ownColumns(table: TableSpec): [name: string, type: ColumnType][] {
  return [
    ...(table.mode === 'append' ? [[SEQUENCE, 'LONG'] as [string, ColumnType]] : []),
    ...(table.mode === 'history'
      ? ([VALID_FROM, VALID_TO].map((name) => [name, 'UTC_DATETIME']) as [string, ColumnType][])
      : []),
    ...(marksDeleted(table) ? [[DELETED_AT, 'UTC_DATETIME'] as [string, ColumnType]] : []),
    ...(table.stamps === true
      ? ([
          [SYNCED_AT, 'UTC_DATETIME'],
          [BATCH, 'STRING'],
        ] as [string, ColumnType][])
      : []),
  ];
}

/** Whether deleted rows stay and are marked. */
export const marksDeleted = (table: TableSpec): boolean =>
  table.deletes === 'soft' && table.mode !== 'history';

/** The columns that tell when a row was written and by which batch, with the SQL of their values. */
export const stamps = (table: TableSpec, batch: string): [name: Sql, value: Sql][] =>
  table.stamps === true
    ? [
        [identifier(SYNCED_AT), sql`now()`],
        [identifier(BATCH), literal(batch)],
      ]
    : [];

/** `, name = value` for each stamp. */
export const stamping = (table: TableSpec, batch: string): Sql =>
  joined(
    stamps(table, batch).map(([name, value]) => sql`, ${name} = ${value}`),
    sql``,
  );

/**
 * Refuses a mode other than the one in which the table's rows were written: they would mean something else.
 * @param columns columns of a table that has rows.
 * @throws {DestinationError}
 */
export function refuseOtherMode(table: TableSpec, columns: ReadonlySet<string>): void {
  const is: WriteMode = columns.has(SEQUENCE) ? 'append' : columns.has(VALID_FROM) ? 'history' : 'upsert';
  const wanted = table.mode === 'replace' ? 'upsert' : modeOf(table);
  if (is === wanted) return;
  throw new DestinationError(
    `table ${table.schema}.${table.table} was written in mode ${is}, but mode ${modeOf(table)} is configured. ` +
      `Sync into another table, or restore "mode".`,
  );
}

/** Whether values of a type can tell which of two records is newer. */
export const isOrdered = (type: ColumnType | undefined): boolean =>
  type !== undefined && !['JSON', 'BINARY', 'BOOLEAN'].includes(type);

/** Whether a table has one row per primary key. */
export const hasOneRowAKey = ({ mode }: TableSpec): boolean => mode !== 'append' && mode !== 'history';

/** Whether only the last record of each key in a batch is written. */
export const keepsLast = ({ table, range }: Pick<WriteRequest, 'table' | 'range'>): boolean =>
  table.mode !== 'append' || range !== undefined;

/** Whether a single statement reads the batch. */
export const isReadOnce = ({ table, range }: Pick<WriteRequest, 'table' | 'range'>): boolean =>
  modeOf(table) === 'upsert' &&
  table.deletes === undefined &&
  table.deletedField === undefined &&
  range === undefined;

/** The outcome if there is nothing to write, or no pass to end. */
export const NOTHING_WRITTEN: Written = { rows: 0, deleted: 0 };

/** Adds the notes of a commit to its cursor. */
export const withNotes = (cursor: Cursor, notes: readonly Note[]): Cursor =>
  notes.length === 0 ? cursor : { ...cursor, notes: [...cursor.notes, ...notes] };

/** The table that holds the rows of a sync's pass until it ends, in mode `replace`. */
export function asideOf(key: StreamKey, { schema, primaryKey, columns }: TableSpec): TableSpec {
  const stream = JSON.stringify([key.schema, key.table, key.strategy, key.source]);
  const hash = createHash('sha256').update(stream).digest('hex').slice(0, 16);
  return { schema, primaryKey, columns, table: `_highwater_aside_${hash}` };
}

/** Whether a batch is the first of its pass. */
export const beginsPass = (before: Cursor | null, now: Cursor): boolean =>
  before === null || before.ended !== null || before.pass !== now.pass;

/** Whether the end of a pass may remove rows that the pass has not met. */
export const mayRemove = ({ cursor, deletes }: Pick<WriteRequest, 'cursor' | 'deletes'>): boolean =>
  isWholePass(cursor) && deletes !== 'withheld';

/**
 * Notes that a pass met fewer different records than the source counts: some pages came twice, and others not at all.
 * @param met number of different keys.
 */
export function missingNote({ cursor }: Pick<WriteRequest, 'cursor'>, met: number): Note | null {
  const { counted } = cursor;
  if (counted === undefined || met >= counted || !isWholePass(cursor)) return null;
  return {
    code: 'records_missing',
    message:
      `The source counts ${String(counted)} records, but this pass found only ${String(met)} different ones: some page came twice or was replaced by another. ` +
      'Rows that the pass has not found do not count as deleted.',
  };
}

/** Whether a write's deletes are limited, so that the table's rows are counted before it. */
export const isGuarded = (request: Pick<WriteRequest, 'table' | 'cursor' | 'deletes' | 'range'>): boolean => {
  const { table, range } = request;
  const removes = missesRows(table) || table.mode === 'replace';
  return range === undefined && removes && table.maxDeletes !== 'any' && mayRemove(request);
};

/** The column that is null in rows that are not deleted; null if the table has none, and all its rows count. */
export const endingOf = (table: TableSpec): Sql | null =>
  table.mode === 'history' ? identifier(VALID_TO) : marksDeleted(table) ? identifier(DELETED_AT) : null;

/** Returns how many of a table's rows the end of a pass may remove without asking. */
export function allowedDeletes(limit: MaxDeletes | undefined, rows: number): number {
  // The product of a percentage and a count may lie just below a whole number.
  const share = (percent: number) => Math.floor((rows * percent) / 100 + 1e-6);
  if (limit === undefined) return Math.max(DEFAULT_MAX_DELETES.rows, share(DEFAULT_MAX_DELETES.percent));
  if (limit === 'any') return Infinity;
  return 'rows' in limit ? limit.rows : share(limit.percent);
}

/**
 * Refuses the end of a pass that removes more rows than allowed.
 * @param deleted rows removed because the pass has not met them.
 * @param rows rows of the table before the write.
 * @throws {TooManyDeletesError}
 */
export function refuseTooMany(
  { table, cursor, deletes }: Pick<WriteRequest, 'table' | 'cursor' | 'deletes'>,
  deleted: number,
  rows: number,
): void {
  const { maxDeletes } = table;
  const unasked = allowedDeletes(maxDeletes, rows);
  const approved = typeof deletes === 'object' ? deletes.approved : 0;
  const allowed = Math.max(unasked, approved);
  if (deleted <= allowed) return;
  throw new TooManyDeletesError(
    {
      table: `${table.schema}.${table.table}`,
      how: table.mode === 'history' ? 'ended' : marksDeleted(table) ? 'marked' : 'removed',
      deletes: deleted,
      rows,
      allowed,
      pass: cursor.pass,
    },
    approved > unasked ? 'the approved number' : limitText(maxDeletes),
  );
}

function limitText(limit: MaxDeletes | undefined): string {
  const { percent, rows } = DEFAULT_MAX_DELETES;
  if (limit === undefined) return `max_deletes defaults to ${percent}% of the rows, but at least ${rows}`;
  if (limit === 'any') return 'max_deletes: any';
  return 'rows' in limit ? `max_deletes: ${limit.rows}` : `max_deletes: ${limit.percent}%`;
}

/** A condition: a record says that it is deleted. @param value SQL of its `deletedField`. */
export function saysDeleted(table: TableSpec, value: Sql): Sql {
  const type = table.columns[table.deletedField ?? ''] ?? 'STRING';
  switch (type) {
    case 'BOOLEAN':
      return sql`coalesce(${value}, false)`;
    case 'STRING':
      return sql`coalesce(lower(${value}) NOT IN ('', 'false', 'f', 'no', 'n', '0'), false)`;
    case 'NAIVE_DATE':
    case 'NAIVE_DATETIME':
    case 'UTC_DATETIME':
      return sql`(${value} IS NOT NULL)`;
    // The column may have been widened to JSON.
    case 'JSON':
      return sql`coalesce(CAST(${value} AS VARCHAR) NOT IN ('null', 'false', '0', '""'), false)`;
    case 'BINARY':
      return sql`(${value} IS NOT NULL)`;
    default:
      return sql`coalesce(${value} <> 0, false)`;
  }
}

/**
 * A condition: a pass would have met the row, had the source still had it; null: true of all rows.
 * @param time makes a time of the destination of a time of the source.
 */
export function withinReach(
  { unseen, columns }: TableSpec,
  { since }: Cursor,
  column: (name: string) => Sql,
  time: (text: Sql) => Sql,
): Sql | null {
  if (typeof unseen !== 'object') return null;
  // A widened column may hold other texts than times.
  if (since === undefined || columns[unseen.column] !== 'UTC_DATETIME') return sql`false`;
  // An API may exclude the very time that is asked for, or compare times more coarsely than it shows them.
  return sql`${column(unseen.column)} > ${time(literal(since))} + INTERVAL '1 second'`;
}
