/** What the ways of writing have in common, whatever the database. */
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

/** Columns by which the mode is known that a table was written in. */
export const MODE_COLUMNS = [SEQUENCE, VALID_FROM, VALID_TO] as const;

/** The columns of ours that a table has beside its own; {@link SEQUENCE} is the destination's to fill. */
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

/** Whether rows that are gone stay, and say so. */
export const marksDeleted = (table: TableSpec): boolean =>
  table.deletes === 'soft' && table.mode !== 'history';

/** The columns by which rows say when and by whom they were written, and the SQL of their values. */
export const stamps = (table: TableSpec, batch: string): [name: Sql, value: Sql][] =>
  table.stamps === true
    ? [
        [identifier(SYNCED_AT), sql`now()`],
        [identifier(BATCH), literal(batch)],
      ]
    : [];

/** `, name = value` for each of the stamps. */
export const stamping = (table: TableSpec, batch: string): Sql =>
  joined(
    stamps(table, batch).map(([name, value]) => sql`, ${name} = ${value}`),
    sql``,
  );

/**
 * A table that was written in one mode cannot be read in another: its rows mean something else.
 * @param columns those of a table that has rows.
 * @throws {DestinationError}
 */
export function refuseOtherMode(table: TableSpec, columns: ReadonlySet<string>): void {
  const is: WriteMode = columns.has(SEQUENCE) ? 'append' : columns.has(VALID_FROM) ? 'history' : 'upsert';
  const wanted = table.mode === 'replace' ? 'upsert' : modeOf(table);
  if (is === wanted) return;
  throw new DestinationError(
    `table ${table.schema}.${table.table} has rows that were written in mode ${is}, and mode ${modeOf(table)} is configured. ` +
      `Sync into another table, or set "mode" back.`,
  );
}

/** Whether a table has one row for each primary key. */
export const hasOneRowAKey = ({ mode }: TableSpec): boolean => mode !== 'append' && mode !== 'history';

/** Whether a key that comes twice in a batch becomes one record: the last. */
export const keepsLast = ({ table, range }: Pick<WriteRequest, 'table' | 'range'>): boolean =>
  table.mode !== 'append' || range !== undefined;

/** Whether one statement writes the batch, and none other reads it. */
export const isReadOnce = ({ table, range }: Pick<WriteRequest, 'table' | 'range'>): boolean =>
  modeOf(table) === 'upsert' &&
  table.deletes === undefined &&
  table.deletedField === undefined &&
  range === undefined;

/** The outcome where there is nothing to write, or no pass to end. */
export const NOTHING_WRITTEN: Written = { rows: 0, deleted: 0 };

/** The cursor with the notes of its commit. */
export const withNotes = (cursor: Cursor, notes: readonly Note[]): Cursor =>
  notes.length === 0 ? cursor : { ...cursor, notes: [...cursor.notes, ...notes] };

/** The table in which the rows of a sync's pass wait for its end, in mode `replace`. */
export function asideOf(key: StreamKey, { schema, primaryKey, columns }: TableSpec): TableSpec {
  const stream = JSON.stringify([key.schema, key.table, key.strategy, key.source]);
  const hash = createHash('sha256').update(stream).digest('hex').slice(0, 16);
  return { schema, primaryKey, columns, table: `_highwater_aside_${hash}` };
}

/** Whether a batch is the first of its pass. */
export const beginsPass = (before: Cursor | null, now: Cursor): boolean =>
  before === null || before.ended !== null || before.pass !== now.pass;

/** Whether the end of a pass removes what the pass has not met, as far as the pass itself tells. */
export const mayRemove = ({ cursor, deletes }: Pick<WriteRequest, 'cursor' | 'deletes'>): boolean =>
  isWholePass(cursor) && deletes !== 'withheld';

/**
 * Tells that a pass met fewer different records than the source counts: the source has given some pages twice, and
 * others not at all.
 * @param met different keys.
 */
export function missingNote({ cursor }: Pick<WriteRequest, 'cursor'>, met: number): Note | null {
  const { counted } = cursor;
  if (counted === undefined || met >= counted || !isWholePass(cursor)) return null;
  return {
    code: 'records_missing',
    message:
      `The source counts ${String(counted)} records, and this pass met ${String(met)} different ones: a page came twice, or one in place of another. ` +
      'Rows that this pass has not met are not taken for deleted.',
  };
}

/** Whether a write may remove so many rows that it must ask: they are counted before it. */
export const isGuarded = (request: Pick<WriteRequest, 'table' | 'cursor' | 'deletes' | 'range'>): boolean => {
  const { table, range } = request;
  const removes = missesRows(table) || table.mode === 'replace';
  return range === undefined && removes && table.maxDeletes !== 'any' && mayRemove(request);
};

/** The column that is null in rows that count as there; null where all do. */
export const endingOf = (table: TableSpec): Sql | null =>
  table.mode === 'history' ? identifier(VALID_TO) : marksDeleted(table) ? identifier(DELETED_AT) : null;

/** How many rows the end of a pass may remove without asking, of a table of so many. */
export function allowedDeletes(limit: MaxDeletes | undefined, rows: number): number {
  // The product of a share such as 0.29 and a count may lie just below a whole number.
  const share = (percent: number) => Math.floor((rows * percent) / 100 + 1e-6);
  if (limit === undefined) return Math.max(DEFAULT_MAX_DELETES.rows, share(DEFAULT_MAX_DELETES.percent));
  if (limit === 'any') return Infinity;
  return 'rows' in limit ? limit.rows : share(limit.percent);
}

/**
 * @param deleted rows that the end of the pass has removed because the pass has not met them.
 * @param rows those that the table had before the write.
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
      ...{ deletes: deleted, rows, allowed, pass: cursor.pass },
    },
    approved > unasked ? 'so many were approved' : limitText(maxDeletes),
  );
}

function limitText(limit: MaxDeletes | undefined): string {
  const { percent, rows } = DEFAULT_MAX_DELETES;
  if (limit === undefined) return `the default of max_deletes: ${percent}% of the rows, but at least ${rows}`;
  if (limit === 'any') return 'max_deletes: any';
  return 'rows' in limit ? `max_deletes: ${limit.rows}` : `max_deletes: ${limit.percent}%`;
}

/** Whether a record says that it is deleted. @param value SQL of its `deletedField`. */
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
    // It may have become so since it was declared.
    case 'JSON':
      return sql`coalesce(CAST(${value} AS VARCHAR) NOT IN ('null', 'false', '0', '""'), false)`;
    case 'BINARY':
      return sql`(${value} IS NOT NULL)`;
    default:
      return sql`coalesce(${value} <> 0, false)`;
  }
}

/**
 * Which rows a pass would have met had they been there, as an SQL condition; null: all.
 * @param type of the destination, for a time of the source.
 */
export function withinReach(
  { unseen, columns }: TableSpec,
  { since }: Cursor,
  column: (name: string) => Sql,
  time: (text: Sql) => Sql,
): Sql | null {
  if (typeof unseen !== 'object') return null;
  // A column that holds other texts too by now is none of instants.
  if (since === undefined || columns[unseen.column] !== 'UTC_DATETIME') return sql`false`;
  // An API may leave out what has the very time that is asked for, or be coarser than its own values.
  return sql`${column(unseen.column)} > ${time(literal(since))} + INTERVAL '1 second'`;
}
