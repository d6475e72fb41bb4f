/** Common parts of the cursors of all strategies. */
import type { Cursor, EndRule, Json, Note } from '../protocol.js';
import type { Values } from './values.js';

/**
 * The first cursor of a pass: an unended checkpoint as it is, else the next pass from its mark.
 * @param first the mark of a source that was never read.
 * @param start where a pass begins.
 * @param isReadable whether the checkpoint's values are what is expected now; where not, nothing was ever read.
 */
export function beginPass<M extends Json, P extends Json>(
  checkpoint: Cursor<M, P> | null,
  first: M,
  start: (mark: M, pass: number) => P,
  isReadable: (checkpoint: Cursor<M, P>) => boolean = () => true,
): Cursor<M, P> {
  const pass = (checkpoint?.pass ?? 0) + 1;
  if (checkpoint !== null && !isReadable(checkpoint)) {
    return { pass, mark: first, position: start(first, pass), ended: null, notes: [FORMAT_CHANGED] };
  }
  if (checkpoint !== null && checkpoint.ended === null) {
    // A stream that is opened anew may have its pass begun again once more.
    const notes = checkpoint.notes.filter(({ code }) => code !== PASS_RESTARTED);
    return notes.length === checkpoint.notes.length ? checkpoint : { ...checkpoint, notes };
  }
  const mark = checkpoint === null ? first : checkpoint.mark;
  return { pass, mark, position: start(mark, pass), ended: null, notes: [] };
}

const FORMAT_CHANGED: Note = {
  code: 'format_changed',
  message: 'The checkpoint was made with another "cursor_format" or "next", so everything is read again.',
};

/**
 * The cursor of a pass that is over: only here does a position become a mark.
 * @param counted records that the pass should have met; null where that is not known.
 */
export function endPass<M extends Json, P extends Json>(
  cursor: Cursor<M, P>,
  rule: EndRule,
  mark: M,
  notes: Note[],
  counted: number | null = null,
): Cursor<M, P> {
  return {
    ...cursor,
    mark,
    position: null,
    ended: rule,
    notes,
    ...(counted !== null && Number.isSafeInteger(counted) && { counted }),
  };
}

/** The code of the note on a pass that was begun again. */
export const PASS_RESTARTED = 'pass_restarted';

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

/** The first key and the last one: what a page is recognised by. */
export const endsOf = (keys: readonly string[]): readonly string[] =>
  keys.length > 2 ? [keys[0] ?? '', keys.at(-1) ?? ''] : keys;

/** The two greatest distinct values seen: where a filter leaves out the value asked, the lower one is asked. */
export type Peak = { greatest: string | null; below: string | null };

/** `peak` once these values are seen too; it never comes down. Values that are asked for alike are not distinct. */
export function raisePeak(peak: Peak, seen: readonly string[], values: Values): Peak {
  const { compare, asked } = values;
  let { greatest, below } = peak;
  for (const value of seen) {
    const order = greatest === null ? 1 : compare(value, greatest);
    const isDistinct = asked === undefined || greatest === null || asked.apart(value, greatest) !== 0;
    if (order > 0) {
      if (isDistinct) below = greatest;
      greatest = value;
    } else if (order < 0 && isDistinct && (below === null || compare(value, below) > 0)) below = value;
  }
  return { greatest, below };
}

/** The values of a page that can be read, and a note about those that cannot. */
export function readValues(
  texts: readonly (string | null)[],
  notes: Note[],
  values: Values,
): { readable: string[]; notes: Note[] } {
  const readable: string[] = [];
  for (const text of texts) {
    if (text === null) notes = withNote(notes, NO_CURSOR_VALUE);
    else if (!values.isValue(text)) notes = withNote(notes, badCursorValue(text, values));
    else readable.push(text);
  }
  return { readable, notes };
}

const NO_CURSOR_VALUE: Note = {
  code: 'no_cursor_value',
  message:
    'Some records have no value in the cursor field: they are written, but updates to them may be missed.',
};

const badCursorValue = (text: string, { what }: Values): Note => ({
  code: 'bad_cursor_value',
  message: `The cursor field has a value that is not ${what}, such as ${quote(text)}: it does not move the high-water mark.`,
});

export const ANSWER_CUT: Note = {
  code: 'answer_cut',
  message:
    'The source says that more records follow, but this strategy reads a single response: use keyset or offset to read pages.',
};

/** A value from the source, short enough for a message. */
export const quote = (text: string): string => JSON.stringify(text.slice(0, 100));
