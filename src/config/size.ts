/** Limits of Temporal on a configuration's size, checked before anything runs: otherwise they would end the sync midway. */
import type { Problem } from '../errors.js';
import type { Json, StreamPlan } from '../protocol.js';
import { partOf } from './part.js';

const MIB = 1024 * 1024;
/** A payload may have 2 MiB; the rest is for what goes with it. */
const CONFIGURATION_BYTES = 2 * MIB - 64 * 1024;
/** Each activity is given the plan of its stream, and a cursor or a batch with it. */
const PLAN_BYTES = 1.5 * MIB;
/** A history may have 50 MB, and holds the part of each stream. */
const PARTS_BYTES = 32 * MIB;

/** Returns why a configuration is too large for a sync; empty where it is not. */
export function sizeProblems(raw: Json, plans: readonly StreamPlan[]): Problem[] {
  const bytes = bytesOf(raw);
  if (bytes > CONFIGURATION_BYTES) {
    return [
      {
        path: '',
        message: `the configuration is too large: ${text(bytes)} as JSON; the limit is ${text(CONFIGURATION_BYTES)}. Divide its streams among several syncs.`,
      },
    ];
  }
  if (plans.length > 1) {
    const parts = plans.reduce((sum, { stream }) => sum + bytesOf(partOf(raw, stream)), 0);
    if (parts > PARTS_BYTES) {
      return [
        {
          path: 'streams',
          message: `are too large together: with the parts of their parents they come to ${text(parts)}; the history of a sync has room for ${text(PARTS_BYTES)}. Divide them among several syncs.`,
        },
      ];
    }
  }
  return plans.flatMap((plan, i): Problem[] => {
    const size = bytesOf(plan);
    if (size <= PLAN_BYTES) return [];
    return [
      {
        path: plans.length > 1 ? `streams[${i}]` : '',
        message: `the stream ${plan.stream} is too large: its plan comes to ${text(size)}; the limit is ${text(PLAN_BYTES)}. Declare fewer columns, or make its body smaller.`,
      },
    ];
  });
}

const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value) ?? '');
const text = (bytes: number) => `${(bytes / MIB).toFixed(2)} MiB`;
