import { minusSeconds } from './instants.js';
import type { Strategy } from './strategy.js';
import { createSince, fromMark, type TimestampCursor } from './timestamp.js';

/**
 * Everything since some hours before the mark, in one answer, for sources whose rows arrive late (a read replica that
 * lags). The lookback is applied to the question and never to the stored mark, or each pass would fall further back.
 */
export function createReplay({ bufferHours }: { bufferHours: number }): Strategy<TimestampCursor> {
  return createSince('replay', (mark) =>
    bufferHours > 0 && mark.last_timestamp !== null
      ? minusSeconds(mark.last_timestamp, bufferHours * 3600)
      : fromMark(mark),
  );
}
