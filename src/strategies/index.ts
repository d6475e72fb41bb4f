import type { StrategyOptions } from '../protocol.js';
import { createCursor } from './cursor.js';
import { createKeyset } from './keyset.js';
import { createOffset } from './offset.js';
import { createPageNumber } from './page-number.js';
import { createReplay } from './replay.js';
import { createStepSize } from './step-size.js';
import type { Strategy } from './strategy.js';
import { createTimestamp } from './timestamp.js';

export { readTimestamps } from './cursors.js';
export {
  compare as compareTimestamps,
  FIRST as FIRST_TIMESTAMP,
  isTimestamp,
  minusSeconds,
} from './instants.js';
export type { KeysetCursor } from './keyset.js';
export type { OffsetCursor } from './offset.js';
export type { StepSizeCursor } from './step-size.js';
export { type Strategy, TokenCycleError } from './strategy.js';
export type { TimestampCursor } from './timestamp.js';

/** The strategy of that name. A cursor belongs to the strategy that made it: keep them apart by name. */
export function createStrategy(options: StrategyOptions): Strategy {
  switch (options.strategy) {
    case 'keyset':
      return createKeyset(options);
    case 'offset':
      return createOffset(options);
    case 'timestamp':
      return createTimestamp();
    case 'step_size':
      return createStepSize(options);
    case 'page_number':
      return createPageNumber(options);
    case 'cursor':
      return createCursor(options);
    case 'replay':
      return createReplay(options);
  }
}
