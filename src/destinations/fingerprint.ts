/**
 * What gives a checkpoint its meaning: the parts of a configuration that decide which records a mark stands for, and
 * what their rows hold. They are kept beside the checkpoint, so that a difference can be named when the stream is opened
 * with another configuration.
 */
import { DestinationError } from '../errors.js';
import type { CursorFormat, Note, TableSpec } from '../protocol.js';
import { valuesOf } from '../strategies/index.js';

/** Plain JSON, since it is stored. Fields that come later are optional. */
export interface Fingerprint {
  primaryKey: string[];
  /** The field whose values the mark and the position are; null where they are places in a list. */
  cursor: { field: string; format: CursorFormat } | null;
  /** The stream whose rows are the parents, each with a mark of its own; null where there is none. */
  parent: string | null;
  /** The declared columns, and where in a record each value is found. */
  columns: { [column: string]: string };
  /** Members of records that are not declared are stored as well. */
  infers: boolean;
  where: string | null;
  /** What the first pass asks for; null: everything. */
  start: string | null;
  /** Each part of the request that decides what is answered, as text; the values of secrets are left out. */
  request: { [part: string]: string };
  /** Every pass reads all that there is: what a change leaves out is made up for by the next pass. */
  readsAll: boolean;
}

/** What stands beside a checkpoint. */
export interface Recorded {
  is: Fingerprint;
  /** What earlier rows were read by, until a pass by `is` has ended. */
  was?: Fingerprint;
  /** The table was gone, and is being read anew. */
  gone?: true;
}

/** What differs between two configurations, in words. */
export interface Changes {
  /** The primary key; null where it is the same. */
  key: string | null;
  /** What makes the mark mean something else; null where it means the same. */
  mark: string | null;
  /** What rows that were read before lack, or have otherwise. */
  rows: string[];
}

const SHOWN = 100;
const ROWS_SHOWN = 12;
const shown = (text: string | undefined) =>
  text === undefined ? 'not set' : JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);

const formatText = (format: CursorFormat) => (typeof format === 'string' ? format : format.pattern);
const cursorText = (cursor: Fingerprint['cursor']) =>
  cursor === null ? 'none' : `${cursor.field} (${formatText(cursor.format)})`;

/** Whether two primary keys name the same rows. */
const isSameKey = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.every((name) => b.includes(name));

/** Compares what rows were read by before with what they are to be read by. */
export function changesBetween(was: Fingerprint, is: Fingerprint): Changes {
  const key = isSameKey(was.primaryKey, is.primaryKey)
    ? null
    : `the primary key is ${is.primaryKey.join(', ')}, and was ${was.primaryKey.join(', ')}`;
  const marks: string[] = [];
  if (
    was.cursor?.field !== is.cursor?.field ||
    JSON.stringify(was.cursor?.format) !== JSON.stringify(is.cursor?.format)
  )
    marks.push(`the cursor field is ${cursorText(is.cursor)}, and was ${cursorText(was.cursor)}`);
  if (was.parent !== is.parent)
    marks.push(`the parent is ${is.parent ?? 'none'}, and was ${was.parent ?? 'none'}`);
  const rows: string[] = [];
  for (const part of new Set([...Object.keys(was.request), ...Object.keys(is.request)])) {
    const [before, now] = [was.request[part], is.request[part]];
    if (before !== now) rows.push(`${part} is ${shown(now)}, and was ${shown(before)}`);
  }
  if (was.where !== is.where)
    rows.push(`"where" is ${shown(is.where ?? undefined)}, and was ${shown(was.where ?? undefined)}`);
  if (startsEarlier(was, is))
    rows.push(`"start" is ${shown(is.start ?? undefined)}, and was ${shown(was.start ?? undefined)}`);
  for (const [column, from] of Object.entries(is.columns)) {
    const before = was.columns[column];
    if (before === undefined) {
      if (!was.infers) rows.push(`column ${column} is new`);
    } else if (before !== from) rows.push(`column ${column} is read from ${from}, and was from ${before}`);
  }
  return { key, mark: marks.length === 0 ? null : marks.join('; '), rows };
}

/** Whether a first pass would ask for more than it did. A later start takes nothing away. */
function startsEarlier(was: Fingerprint, is: Fingerprint): boolean {
  if (was.start === null || was.start === is.start) return false;
  if (is.start === null) return true;
  const { isValue, compare } = valuesOf(is.cursor?.format ?? 'integer');
  return !isValue(was.start) || !isValue(is.start) || compare(is.start, was.start) < 0;
}

/** What the reader of a run should know of the changes; nothing where none matters. */
export function notesOfChanges({ mark, rows }: Changes, { readsAll }: Fingerprint): Note[] {
  if (mark !== null) {
    const message =
      `${mark}: the mark of before means nothing now and is not used, and everything is read again. ` +
      'Rows stay, and are written again by their keys.';
    return [{ code: 'cursor_field_changed', message }];
  }
  if (rows.length === 0 || readsAll) return [];
  const more = rows.length - ROWS_SHOWN;
  const named = [...rows.slice(0, ROWS_SHOWN), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  const message =
    `the configuration has changed since rows were read: ${named}. The sync goes on from its mark, so that ` +
    'rows that were read before lack what the change brings: "highwater resync" reads everything again, "highwater ' +
    'backfill" a part of it.';
  return [{ code: 'configuration_changed', message }];
}

/** @throws {DestinationError} naming both keys. */
export function keyChanged({ schema, table, mode }: TableSpec, change: string): DestinationError {
  const isKept = mode === 'append' || mode === 'history';
  return new DestinationError(
    `${change}: rows of table ${schema}.${table} would stand twice, once under each key. Nothing was written. ` +
      (isKept
        ? `In mode ${mode} every version is kept, so that the key cannot change: sync into another table, or set the key back.`
        : 'To read everything again under the new key, "highwater resync" (or start with --full); or sync into another ' +
          'table, or set the key back.'),
  );
}

/** The first of the keys that rows of a table were written by, and that is another one; null where none is. */
export function otherKey(
  recorded: readonly Recorded[],
  table: Pick<TableSpec, 'primaryKey'>,
): string[] | null {
  const other = recorded.find(({ is }) => !isSameKey(is.primaryKey, table.primaryKey));
  return other?.is.primaryKey ?? null;
}

export const keyText = (was: readonly string[], is: readonly string[]): string =>
  `the primary key is ${is.join(', ')}, and was ${was.join(', ')}`;

/** What comes of the recorded fingerprint when a stream is opened. */
export interface Reopening {
  /** Why the cursor is not used; null where it is. */
  startsOver: string | null;
  /** To be stored; null: what stands there is right. */
  record: Recorded | null;
  notes: Note[];
}

/**
 * Compares what a checkpoint was made by with what it is opened by.
 * @param hasCursor whether anything was read.
 * @param isReset whether the stream is moved to its start, so that nothing that was read before counts.
 */
export function reopen(
  recorded: Recorded | null,
  is: Fingerprint,
  { hasCursor, isReset, isWhole }: { hasCursor: boolean; isReset: boolean; isWhole: boolean },
): Reopening {
  if (recorded === null || isReset) {
    const isKnown = recorded !== null && isEqual(recorded, { is });
    return { startsOver: null, record: isKnown ? null : { is }, notes: [] };
  }
  const since = changesBetween(recorded.is, is);
  const startsOver = hasCursor ? since.mark : null;
  // Of a stream that begins anew nothing was read by the configuration of before, unless that is why it does.
  const was = recorded.was ?? (hasCursor ? recorded.is : undefined);
  const notes = was === undefined ? [] : notesOfOpening(changesBetween(was, is), is, isWhole);
  const next: Recorded = {
    is,
    ...(was !== undefined && notes.length > 0 && { was }),
    ...(recorded.gone === true && { gone: true as const }),
  };
  return {
    startsOver: startsOver === null ? null : `started over: ${startsOver}`,
    record: isEqual(recorded, next) ? null : next,
    notes: recorded.gone === true ? [TABLE_GONE, ...notes] : notes,
  };
}

/** @param isWhole whether no pass is under way, so that the next one reads all of what such a stream reads. */
const notesOfOpening = (changes: Changes, is: Fingerprint, isWhole: boolean) =>
  notesOfChanges(changes, isWhole ? is : { ...is, readsAll: false });

const isEqual = (a: Recorded, b: Recorded) => JSON.stringify(a) === JSON.stringify(b);

export const STARTED_OVER_GONE = 'started over: the table was gone';

export const TABLE_GONE: Note = {
  code: 'table_gone',
  message:
    'The table was gone although rows had been written to it: it is made anew, and everything is read from the beginning.',
};
