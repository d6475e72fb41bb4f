import { ApplicationFailure, makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow';
import type { Json, SyncResult } from '../protocol.js';
import { readTarget, type MoveInput } from './moves.js';
import { StreamLoop, type Carry } from './stream-loop.js';
import type { Settings } from './settings.js';
import { allStreams, streamNames } from './streams.js';

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
export async function sync(configuration: Json, options: SyncOptions = {}): Promise<SyncResult> {
  checkOptions(options);
  const names = options.stream === undefined ? streamNames(configuration) : [];
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

const isNumbers = (value: unknown) =>
  typeof value === 'object' && value !== null && Object.values(value).every(Number.isFinite);

function moveProblem(value: unknown): string[] {
  try {
    readTarget(value);
    return [];
  } catch (thrown) {
    return [`move: ${thrown instanceof Error ? thrown.message : String(thrown)}`];
  }
}

/** Anybody's client may have started this: what is not understood is refused, not passed over. */
function checkOptions(options: unknown): void {
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  const problems = isObject
    ? Object.entries(options).flatMap(([name, value]) => {
        if (name === 'carry') return [];
        if (name === 'settings') return isNumbers(value) ? [] : `${name}: must be an object of numbers`;
        if (name === 'stream')
          return typeof value === 'string' ? [] : `${name}: must be the name of a stream`;
        if (name === 'move') return moveProblem(value);
        if (name !== 'full' && name !== 'takeOver' && name !== 'moveOnly')
          return `${name}: is not one of full, takeOver, move, moveOnly`;
        return typeof value === 'boolean' ? [] : `${name}: must be true or false`;
      })
    : ['must be an object such as {"full": true}'];
  if (problems.length === 0) return;
  const message = `the second argument, the options, cannot be used:\n  ${problems.join('\n  ')}`;
  throw ApplicationFailure.nonRetryable(message, 'ConfigurationError');
}
