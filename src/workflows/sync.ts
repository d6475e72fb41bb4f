import { ApplicationFailure, makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow';
import type { Json, RangeRequest, SyncResult } from '../protocol.js';
import type { Carry } from './carry.js';
import { streamNames } from './configurations.js';
import { checkArguments } from './inputs.js';
import type { MoveInput } from './moves.js';
import { StreamLoop } from './stream-loop.js';
import type { Settings } from './settings.js';
import { allStreams } from './streams.js';

/** What a start may ask for besides the configuration, and what one run hands to the next. */
export interface SyncOptions {
  /** Forget the checkpoint and start over; done once, however often the workflow continues as new. */
  full?: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver?: boolean;
  /** Which stream of a configuration with several; set by the workflow itself when it starts one for each. */
  stream?: string;
  /** What `set` has changed before this stream began; set by the workflow itself. */
  settings?: Settings;
  /** Move the cursor; done once, however often the workflow continues as new. */
  move?: MoveInput;
  /** Do nothing else. */
  moveOnly?: boolean;
  /** Read this range beside the sync of the same stream, and end. */
  range?: RangeRequest;
  /** False: a pass that would remove more rows than `max_deletes` allows fails, and does not wait for a decision. */
  waitForApproval?: boolean;
  /** Set by the workflow itself when it continues as new. */
  carry?: Carry;
}

/**
 * Copies streams into their tables and keeps them up to date. Each of several streams is a workflow of its own, a
 * child named after its stream.
 *
 * @param configuration the content of the configuration file, as it is; checked by an activity.
 * @returns what the pass did; with `interval` it goes on for ever.
 */
export async function sync(configuration: Json = null, options: SyncOptions = {}): Promise<SyncResult> {
  checkArguments(configuration, options);
  const names = options.stream === undefined ? streamNames(configuration) : [];
  if (names.length > 1 && options.range !== undefined) {
    const message = `a range is read of one stream: name it in "stream"; there are ${names.join(', ')}`;
    throw ApplicationFailure.nonRetryable(message, 'RangeRefusedError');
  }
  if (names.length > 1) return allStreams(configuration, options, names);
  const loop = new StreamLoop(configuration, options);
  const outcome = await loop.run();
  if ('carry' in outcome) {
    // By itself the new run has the memo that the first one was started with.
    const { memo = {} } = workflowInfo();
    const asNew = makeContinueAsNewFunc<typeof sync>({ memo });
    return asNew(loop.configuration, { ...options, carry: outcome.carry });
  }
  return { status: outcome.status, streams: outcome.result === null ? [] : [outcome.result] };
}
