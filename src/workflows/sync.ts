import { continueAsNew } from '@temporalio/workflow';
import type { Json, SyncResult } from '../protocol.js';
import { StreamLoop, type Carry } from './stream-loop.js';

/** What a start may ask for besides the configuration, and what one run hands to the next. */
export interface SyncOptions {
  /** Forget the checkpoint and start over; done once, however often the workflow continues as new. */
  full?: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver?: boolean;
  /** Set by the workflow itself when it continues as new. */
  carry?: Carry;
}

/**
 * Copies a stream into its table and keeps it up to date.
 *
 * @param configuration the content of the configuration file, as it is; checked by an activity.
 * @returns what the pass did; with `interval` it goes on for ever.
 */
export async function sync(configuration: Json, options: SyncOptions = {}): Promise<SyncResult> {
  const outcome = await new StreamLoop(configuration, options).run();
  if ('carry' in outcome)
    return continueAsNew<typeof sync>(configuration, { ...options, carry: outcome.carry });
  return { status: 'completed', streams: [outcome.result] };
}
