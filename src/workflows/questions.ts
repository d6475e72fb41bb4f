import { ApplicationFailure } from '@temporalio/common';
import { ruleFor } from '../failures.js';
import type { TooManyDeletes } from '../protocol.js';

/** Returns the deletes that a failure asks a decision about; null for any other failure. */
export function questionOf(failure: Error | null): TooManyDeletes | null {
  if (!(failure instanceof ApplicationFailure) || ruleFor(failure.type).sync !== 'ask') return null;
  return (failure.details?.[0] as TooManyDeletes | undefined) ?? null;
}
