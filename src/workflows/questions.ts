import { ApplicationFailure } from '@temporalio/common';
import type { TooManyDeletes } from '../protocol.js';

/** The type of the failure by which a write asks. */
const TOO_MANY_DELETES = 'TooManyDeletesError';

/** What a failure asks about; null where it is another failure. */
export function questionOf(failure: Error | null): TooManyDeletes | null {
  if (!(failure instanceof ApplicationFailure) || failure.type !== TOO_MANY_DELETES) return null;
  return (failure.details?.[0] as TooManyDeletes | undefined) ?? null;
}
