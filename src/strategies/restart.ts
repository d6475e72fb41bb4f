/** Begins a pass again from its mark. */
import type { Cursor } from '../protocol.js';
import { PASS_RESTARTED, withNote } from './cursors.js';
import type { Strategy } from './strategy.js';

/**
 * The pass from its beginning, with a note that says why. Nothing is lost by it: the mark has not moved yet, and what was
 * written is met again. It counts as a new pass, so that what the old one has met is no proof of anything.
 * @param now ISO 8601.
 */
export function restartPass(strategy: Strategy, cursor: Cursor, why: string, now: string): Cursor {
  const begun =
    strategy.restart?.(cursor, now) ??
    strategy.begin(
      { pass: cursor.pass, mark: cursor.mark, position: null, ended: 'empty_page', notes: [] },
      now,
    );
  const note = { code: PASS_RESTARTED, message: `The pass started over: ${why}.` };
  return { ...begun, notes: withNote(begun.notes, note) };
}
