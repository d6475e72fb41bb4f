import { ApplicationFailure, makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow';
import type { Json, RangeRequest, SyncResult } from '../protocol.js';
import type { Carry } from './carry.js';
import { streamNames } from './configurations.js';
import { checkArguments } from './inputs.js';
import type { MoveInput } from '../move-target.js';
import { StreamLoop } from './stream-loop.js';
import type { Settings } from '../settings.js';
import { StreamsSync } from './streams.js';

/** Options of a start, and the state that one run hands to the next. */
export interface SyncOptions {
  /** Forget the checkpoint and start over; once, however often the workflow continues as new. */
  full?: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver?: boolean;
  /** One stream of several; set by the workflow that starts one for each. */
  stream?: string;
  /** Settings that were changed before this stream began; set by the workflow that starts it. */
  settings?: Settings;
  /** Move the cursor; once, however often the workflow continues as new. */
  move?: MoveInput;
  /** Move the cursor and end. */
  moveOnly?: boolean;
  /** Read this range beside the sync of the same stream, and end. */
  range?: RangeRequest;
  /** False: a pass that would remove more rows than `max_deletes` allows fails instead of waiting for a decision. */
  waitForApproval?: boolean;
  /** Set by the workflow itself when it continues as new. */
  carry?: Carry;
}

/**
 * Copies streams into their tables and keeps them up to date. Each of several streams is a workflow of its own, a
 * child named after its stream.
 *
 * @param configuration the content of the configuration file; an activity checks it.
 * @returns the result of the pass; with `interval` the sync never ends by itself.
 */
export async function sync(configuration: Json = null, options: SyncOptions = {}): Promise<SyncResult> {
  checkArguments(configuration, options);
  const names = options.stream === undefined ? streamNames(configuration) : [];
  if (names.length > 1 && options.range !== undefined) {
    const message = `the sync has several streams; name one in "stream": ${names.join(', ')}`;
    throw ApplicationFailure.nonRetryable(message, 'RangeRefusedError');
  }
  if (names.length > 1) return new StreamsSync(configuration, options, names).run();
  const loop = new StreamLoop(configuration, options);
  const outcome = await loop.run();
  if ('carry' in outcome) {
    // Without this the new run would have the memo of the first one.
    const { memo = {} } = workflowInfo();
    const asNew = makeContinueAsNewFunc<typeof sync>({ memo });
    return asNew(loop.configuration, { ...options, carry: outcome.carry });
  }
  return { status: outcome.status, streams: outcome.result === null ? [] : [outcome.result] };
}
