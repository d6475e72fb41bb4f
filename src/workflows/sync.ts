import { ApplicationFailure, makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow';
import { RANGE_KINDS, type Json, type RangeRequest, type SyncResult } from '../protocol.js';
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
export async function sync(configuration: Json, options: SyncOptions = {}): Promise<SyncResult> {
  checkOptions(options);
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

/** Which of a range's keys are texts, and which are true or false. */
const RANGE_KEYS: { [name: string]: 'string' | 'boolean' | 'number' } = {
  ...{ from: 'string', to: 'string', repair: 'boolean', removeExtra: 'boolean', keys: 'number' },
};

function rangeProblems(range: unknown): string[] {
  if (typeof range !== 'object' || range === null || Array.isArray(range))
    return ['range: must be an object such as {"kind": "backfill", "from": "2026-01-01T00:00:00Z"}'];
  const { kind, ...rest } = range as { [name: string]: unknown };
  const kinds: readonly unknown[] = RANGE_KINDS;
  return [
    ...(kinds.includes(kind) ? [] : [`range.kind: must be one of ${RANGE_KINDS.join(', ')}`]),
    ...Object.entries(rest).flatMap(([name, value]) => {
      const wanted = RANGE_KEYS[name];
      if (wanted === undefined)
        return `range.${name}: is not one of kind, ${Object.keys(RANGE_KEYS).join(', ')}`;
      return typeof value === wanted
        ? []
        : `range.${name}: must be a ${wanted === 'string' ? 'text' : wanted}`;
    }),
  ];
}

/** Anybody's client may have started this: what is not understood is refused, not passed over. */
function checkOptions(options: unknown): void {
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  const problems = isObject
    ? Object.entries(options).flatMap(([name, value]) => {
        if (name === 'carry') return [];
        if (name === 'settings') return isNumbers(value) ? [] : `${name}: must be an object of numbers`;
        if (name === 'range') return rangeProblems(value);
        if (name === 'stream')
          return typeof value === 'string' ? [] : `${name}: must be the name of a stream`;
        if (name === 'move') return moveProblem(value);
        if (!['full', 'takeOver', 'moveOnly', 'waitForApproval'].includes(name))
          return `${name}: is not one of full, takeOver, move, moveOnly, waitForApproval, range`;
        return typeof value === 'boolean' ? [] : `${name}: must be true or false`;
      })
    : ['must be an object such as {"full": true}'];
  if (problems.length === 0) return;
  const message = `the second argument, the options, cannot be used:\n  ${problems.join('\n  ')}`;
  throw ApplicationFailure.nonRetryable(message, 'ConfigurationError');
}
