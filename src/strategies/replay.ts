import type { Incremental } from '../protocol.js';
import { TOTAL_DISAGREES } from './evidence.js';
import { cursorValues } from './filters.js';
import { EVERYTHING } from './since.js';
import type { Strategy } from './strategy.js';
import { createAnswer, type TimestampCursor } from './timestamp.js';

/**
 * Everything since some hours before the mark, in one answer, for sources whose rows arrive late (a read replica that
 * lags). The lookback is applied to the question and never to the stored mark, or each pass would fall further back.
 */
export function createReplay(options: {
  bufferHours: number;
  incremental?: Incremental;
}): Strategy<TimestampCursor> {
  const { bufferHours, incremental = EVERYTHING } = options;
  const answer = createAnswer('replay', { ...incremental, lookbackSeconds: bufferHours * 3600 });
  const { asked } = cursorValues(incremental);
  return {
    ...answer,
    advance(cursor, page) {
      const from = cursor.position?.since ?? null;
      // A filter by days may leave out the rest of the day asked for.
      const since = from === null || asked === undefined ? from : asked.beyond(from);
      const ended = answer.advance(cursor, page);
      // Rows since then that the source no longer has are gone, unless it counts more than it gave.
      const isAll = !ended.notes.some(({ code }) => code === TOTAL_DISAGREES);
      return { ...ended, ...(since !== null && isAll && { since }) };
    },
  };
}
