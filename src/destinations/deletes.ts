import { INCOMPLETE, type Cursor } from '../protocol.js';

/** Whether a pass that has ended has read everything: then what it has not met is gone from the source. */
export const isWholePass = ({ ended, notes }: Cursor): boolean =>
  ended !== null && !notes.some(({ code }) => (INCOMPLETE as readonly string[]).includes(code));
