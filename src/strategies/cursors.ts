/** What the cursors of all strategies have in common. */
import type { Cursor, EndRule, Json, Note } from '../protocol.js';
import { compare, isTimestamp } from './instants.js';

/**
 * The first cursor of a pass: an unended checkpoint as it is, else the next pass from its mark.
 * @param first the mark of a source that was never read.
 * @param start where a pass begins.
 */
export function beginPass<M extends Json, P extends Json>(
  checkpoint: Cursor<M, P> | null,
  first: M,
  start: (mark: M, pass: number) => P,
): Cursor<M, P> {
  if (checkpoint !== null && checkpoint.ended === null) return checkpoint;
  const mark = checkpoint === null ? first : checkpoint.mark;
  const pass = (checkpoint?.pass ?? 0) + 1;
  return { pass, mark, position: start(mark, pass), ended: null, notes: [] };
}

/** The cursor of a pass that is over: only here does a position become a mark. */
export function endPass<M extends Json, P extends Json>(
  cursor: Cursor<M, P>,
  rule: EndRule,
  mark: M,
  notes: Note[],
): Cursor<M, P> {
  return { ...cursor, mark, position: null, ended: rule, notes };
}

/** The position of a pass that has not ended. */
export function positionOf<P extends Json>(cursor: Cursor<Json, P>): P {
  if (cursor.position === null) throw new Error(`pass ${String(cursor.pass)} has ended: begin the next one`);
  return cursor.position;
}

/** `notes` with one more, unless its code is there already. */
export function withNote(notes: Note[], note: Note): Note[] {
  return notes.some(({ code }) => code === note.code) ? notes : [...notes, note];
}

/** `notes` with one more, in place of an older one of its code. */
export function withLatestNote(notes: Note[], note: Note): Note[] {
  return [...notes.filter(({ code }) => code !== note.code), note];
}

/** The two greatest distinct timestamps seen: where a filter leaves out the value asked, the lower one is asked. */
export type Peak = { greatest: string | null; below: string | null };

/** `peak` once `value` is seen too; it never comes down. */
export function climb({ greatest, below }: Peak, value: string): Peak {
  const order = greatest === null ? 1 : compare(value, greatest);
  if (order > 0) return { greatest: value, below: greatest };
  const between = order < 0 && (below === null || compare(value, below) > 0);
  return { greatest, below: between ? value : below };
}

/** The timestamps of a page that can be read, and a note about those that cannot. */
export function readTimestamps(
  values: readonly (string | null)[],
  notes: Note[],
): { timestamps: string[]; notes: Note[] } {
  const timestamps: string[] = [];
  for (const value of values) {
    if (value === null) notes = withNote(notes, NO_CURSOR_VALUE);
    else if (!isTimestamp(value)) notes = withNote(notes, badCursorValue(value));
    else timestamps.push(value);
  }
  return { timestamps, notes };
}

const NO_CURSOR_VALUE: Note = {
  code: 'no_cursor_value',
  message:
    'Some records have no value in the cursor field: they are written, but an update to them may go unseen.',
};

const badCursorValue = (value: string): Note => ({
  code: 'bad_cursor_value',
  message: `The cursor field holds something other than a timestamp, such as ${quote(value)}: it moves no mark.`,
});

/** A value from the source, short enough for a message. */
export const quote = (text: string): string => JSON.stringify(text.slice(0, 100));
