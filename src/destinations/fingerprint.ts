/**
 * The meaning of a checkpoint: the parts of a configuration that decide which records its mark covers and what their
 * rows hold. The fingerprint is stored beside the checkpoint, so that a stream opened with another configuration can
 * name the differences.
 */
import { DestinationError } from '../errors.js';
import type { CursorFormat, HookRef, Note, TableSpec } from '../protocol.js';
import { valuesOf } from '../strategies/index.js';

/** Stored as JSON, so fields added later are optional. */
export interface Fingerprint {
  primaryKey: string[];
  /** The field whose values the mark and the position are; null if they are places in a list. */
  cursor: { field: string; format: CursorFormat } | null;
  /** The stream that provides the parents, each of which has its own mark; null if there is none. */
  parent: string | null;
  /** The declared columns and the place of each value in a record. */
  columns: { [column: string]: string };
  /** The place of the list that fills each child table, and its primary key; absent if there are none. */
  children?: { [table: string]: { from: string; primaryKey: string[] } };
  /** Columns that are made, and how, in words; absent: none. */
  made?: { [column: string]: string };
  /** Members that are left out; absent: none. */
  exclude?: string[];
  /** Whether undeclared members of records are stored as well. */
  infers: boolean;
  where: string | null;
  /** The hook that makes the rows, and the version of its code; absent: there is none. */
  transform?: HookRef;
  /** Start of the first pass; null: everything. */
  start: string | null;
  /** Each part of the request that decides which records are returned, as text without the values of secrets. */
  request: { [part: string]: string };
  /** Whether every pass reads everything, so that the next pass makes up for a change. */
  readsAll: boolean;
}

/** The fingerprint stored beside a checkpoint. */
export interface Recorded {
  is: Fingerprint;
  /** The fingerprint of earlier rows, until a pass by `is` has ended. */
  was?: Fingerprint;
  /** Whether the table was gone and is being read again. */
  gone?: true;
}

/** Differences between two configurations, in words. */
export interface Changes {
  /** Difference of the primary keys; null if they are the same. */
  key: string | null;
  /** Difference that invalidates the mark; null if there is none. */
  mark: string | null;
  /** Differences that leave earlier rows incomplete or outdated. */
  rows: string[];
  /** The hook of which another version made earlier rows; null if there is none. */
  hook: string | null;
}

const SHOWN = 100;
const ROWS_SHOWN = 12;
const shown = (text: string | undefined) =>
  text === undefined ? 'not set' : JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);

const formatText = (format: CursorFormat) => (typeof format === 'string' ? format : format.pattern);
const cursorText = (cursor: Fingerprint['cursor']) =>
  cursor === null ? 'none' : `${cursor.field} (${formatText(cursor.format)})`;

/** Whether two primary keys name the same rows. */
export const isSameKey = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.every((name) => b.includes(name));

/** Compares the configuration that rows were read by with the current one. */
export function changesBetween(was: Fingerprint, is: Fingerprint): Changes {
  const key = isSameKey(was.primaryKey, is.primaryKey)
    ? null
    : `the primary key was ${was.primaryKey.join(', ')} and is now ${is.primaryKey.join(', ')}`;
  const marks: string[] = [];
  if (
    was.cursor?.field !== is.cursor?.field ||
    JSON.stringify(was.cursor?.format) !== JSON.stringify(is.cursor?.format)
  )
    marks.push(`the cursor field was ${cursorText(was.cursor)} and is now ${cursorText(is.cursor)}`);
  if (was.parent !== is.parent)
    marks.push(`the parent was ${was.parent ?? 'none'} and is now ${is.parent ?? 'none'}`);
  const rows: string[] = [];
  for (const part of new Set([...Object.keys(was.request), ...Object.keys(is.request)])) {
    const [before, now] = [was.request[part], is.request[part]];
    if (before !== now) rows.push(`${part} was ${shown(before)} and is now ${shown(now)}`);
  }
  if (was.where !== is.where)
    rows.push(`"where" was ${shown(was.where ?? undefined)} and is now ${shown(is.where ?? undefined)}`);
  if (was.transform?.hook !== is.transform?.hook)
    rows.push(`"transform" was ${shown(was.transform?.hook)} and is now ${shown(is.transform?.hook)}`);
  if (startsEarlier(was, is))
    rows.push(`"start" was ${shown(was.start ?? undefined)} and is now ${shown(is.start ?? undefined)}`);
  rows.push(...changesOfColumns(was, is), ...changesOfExclusion(was, is), ...changesOfChildren(was, is));
  return { key, mark: marks.length === 0 ? null : marks.join('; '), rows, hook: changedHook(was, is) };
}

function* changesOfColumns(was: Fingerprint, is: Fingerprint): Iterable<string> {
  for (const [column, from] of Object.entries(is.columns)) {
    const before = was.columns[column];
    const made = was.made?.[column];
    if (made !== undefined) yield `column ${column} was ${made} and is now read from ${from}`;
    else if (before === undefined) {
      if (!was.infers) yield `column ${column} is new`;
    } else if (before !== from) yield `column ${column} was read from ${before} and is now read from ${from}`;
  }
  for (const [column, made] of Object.entries(is.made ?? {})) {
    const before = was.made?.[column];
    const read = was.columns[column];
    if (before === made) continue;
    if (before !== undefined) yield `column ${column} was ${before} and is now ${made}`;
    else if (read !== undefined) yield `column ${column} was read from ${read} and is now ${made}`;
    else yield `column ${column} is ${was.infers || isOfChild(was, column) ? 'now' : 'new:'} ${made}`;
  }
}

/** Whether a made column, such as `orders_lines.card`, is one of a child table that was there. Its other columns are not known. */
const isOfChild = ({ children = {} }: Fingerprint, column: string): boolean =>
  Object.keys(children).some((table) => column.startsWith(`${table}.`));

function* changesOfExclusion(
  { exclude: was = [] }: Fingerprint,
  { exclude: is = [] }: Fingerprint,
): Iterable<string> {
  const added = is.filter((member) => !was.includes(member));
  const removed = was.filter((member) => !is.includes(member));
  if (added.length > 0) yield `"exclude" now leaves out ${added.join(', ')}, which older rows still hold`;
  if (removed.length > 0) yield `"exclude" does not leave out ${removed.join(', ')} any more`;
}

function* changesOfChildren(was: Fingerprint, is: Fingerprint): Iterable<string> {
  for (const [table, { from }] of Object.entries(is.children ?? {})) {
    const before = was.children?.[table]?.from;
    if (before === undefined) yield `child table ${table} is new`;
    else if (before !== from)
      yield `child table ${table} was filled from ${before} and is now filled from ${from}`;
    for (const [column, made] of Object.entries(was.made ?? {}))
      if (column.startsWith(`${table}.`) && is.made?.[column] === undefined && before !== undefined)
        yield `column ${column} was ${made} and is no longer made`;
  }
}

/** The hook whose code has changed; of a configuration that was not opened yet, the code is not known. */
function changedHook({ transform: was }: Fingerprint, { transform: is }: Fingerprint): string | null {
  if (was?.digest === undefined || is?.digest === undefined) return null;
  return was.hook === is.hook && was.digest !== is.digest ? is.hook : null;
}

/** Whether the first pass would now read more than it did. A later start removes nothing. */
function startsEarlier(was: Fingerprint, is: Fingerprint): boolean {
  if (was.start === null || was.start === is.start) return false;
  if (is.start === null) return true;
  const { isValue, compare } = valuesOf(is.cursor?.format ?? 'integer');
  return !isValue(was.start) || !isValue(is.start) || compare(is.start, was.start) < 0;
}

/** Notes about the changes, for users; empty if none matters. */
export function notesOfChanges({ mark, rows, hook }: Changes, { readsAll }: Fingerprint): Note[] {
  if (mark !== null) {
    const message =
      `${mark}. The previous high-water mark is no longer valid, so everything is read again. ` +
      'Existing rows stay and are updated by their keys.';
    return [{ code: 'cursor_field_changed', message }];
  }
  if (readsAll) return [];
  return [...(rows.length === 0 ? [] : [rowsChanged(rows)]), ...(hook === null ? [] : [hookChanged(hook)])];
}

function rowsChanged(rows: readonly string[]): Note {
  const more = rows.length - ROWS_SHOWN;
  const named = [...rows.slice(0, ROWS_SHOWN), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  const message =
    `the configuration has changed: ${named}. The sync continues from its high-water mark, so rows read before lack ` +
    'the change. "highwater resync" reads everything again, "highwater backfill" a range.';
  return { code: 'configuration_changed', message };
}

const hookChanged = (hook: string): Note => ({
  code: 'hook_changed',
  message:
    `the code of the hook ${hook} has changed. The sync continues from its high-water mark: rows written before were made by ` +
    'another version. "highwater resync" makes all rows again, "highwater backfill" those of a range.',
});

/** @throws {DestinationError} naming both keys. */
export function keyChanged({ schema, table, mode }: TableSpec, change: string): DestinationError {
  const isKept = mode === 'append' || mode === 'history';
  return new DestinationError(
    `${change}. Records would be stored twice in table ${schema}.${table}, once under each key, so nothing was written. ` +
      (isKept
        ? `In mode ${mode} every version is kept, so the key cannot change: sync into another table, or restore the key.`
        : 'To read everything again under the new key, run "highwater resync" (or start with --full). Or sync into another ' +
          'table, or restore the key.'),
  );
}

/** Returns the first other primary key that rows of the table were written by; null if there is none. */
export function otherKey(
  recorded: readonly Recorded[],
  table: Pick<TableSpec, 'primaryKey'>,
): string[] | null {
  const other = recorded.find(({ is }) => !isSameKey(is.primaryKey, table.primaryKey));
  return other?.is.primaryKey ?? null;
}

export const keyText = (was: readonly string[], is: readonly string[]): string =>
  `the primary key was ${was.join(', ')} and is now ${is.join(', ')}`;

/** Consequences of the stored fingerprint for opening a stream. */
export interface Reopening {
  /** Reason for discarding the cursor; null if it is used. */
  startsOver: string | null;
  /** The record to store; null if the stored one is up to date. */
  record: Recorded | null;
  notes: Note[];
}

/**
 * Compares the stored fingerprint with the current one.
 * @param hasCursor whether anything was read.
 * @param isReset whether the stream is moved to its start, so that earlier rows do not count.
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
  // Without a cursor no earlier row was read by the previous configuration, unless the change itself reset the stream.
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

/** @param isWhole whether no pass is under way, so that the next one reads everything that such a stream reads. */
const notesOfOpening = (changes: Changes, is: Fingerprint, isWhole: boolean) =>
  notesOfChanges(changes, isWhole ? is : { ...is, readsAll: false });

const isEqual = (a: Recorded, b: Recorded) => JSON.stringify(a) === JSON.stringify(b);

export const STARTED_OVER_GONE = 'started over: the table was gone';

export const TABLE_GONE: Note = {
  code: 'table_gone',
  message: 'The table was gone. It is created again, and everything is read from the beginning.',
};
