import { ApplicationFailure } from '@temporalio/common';
import type { FailureType } from './failures.js';
import type { Json, MoveTarget } from './protocol.js';

/** Input of `move`: a place in the stream's own past, or a state of the reference connector. */
export type MoveInput = { to: string } | { state: { [name: string]: Json } };

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$/;
const LIKE_A_TIME = /^\d{4}-\d{2}-\d{2}($|[T ])/;
const BATCH_LIMIT = 200;

/**
 * Reads `{"to": "start"}`, `{"to": "2026-11-22T10:00:00Z"}`, `{"to": "BATCH"}` or `{"state": {…}}`.
 * @throws {ApplicationFailure}
 */
export function readTarget(raw: unknown): MoveTarget {
  const given: { [name: string]: unknown } = isObject(raw) ? raw : {};
  const { to, state, ...others } = given;
  if (Object.keys(others).length > 0 || (to === undefined) === (state === undefined))
    throw moveRefusal('give {"to": "start"}, {"to": a time or a batch id}, or {"state": {…}}');
  if (state !== undefined) {
    if (isObject(state)) return { state };
    throw moveRefusal('"state" must be an object such as {"last_updated_at": "2026-11-22T10:00:00Z"}');
  }
  if (typeof to !== 'string' || to.trim() === '' || to.length > BATCH_LIMIT)
    throw moveRefusal('"to" must be "start", a time such as "2026-11-22T10:00:00Z", or the id of a batch');
  if (to === 'start') return { start: true };
  if (INSTANT.test(to) && !Number.isNaN(Date.parse(to))) return { time: to };
  if (LIKE_A_TIME.test(to))
    throw moveRefusal(`${JSON.stringify(to)} is not a time with a time zone, such as "2026-11-22T10:00:00Z"`);
  return { batch: to };
}

const MOVE_REFUSED = 'MoveRefused' satisfies FailureType;

export const moveRefusal = (problem: string): ApplicationFailure =>
  ApplicationFailure.nonRetryable(`the sync was not moved: ${problem}`, MOVE_REFUSED);

export const isMoveRefusal = (thrown: unknown): boolean =>
  thrown instanceof ApplicationFailure && thrown.type === MOVE_REFUSED;

const isObject = (value: unknown): value is { [name: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
