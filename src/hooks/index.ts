/**
 * Types and helpers for hooks, the modules in the folder of hooks: `import { defineTransform } from 'highwater/hooks'`. The
 * threads of hooks always find this module, wherever the folder is.
 * @module
 */
import type { ExactNumber } from './exact-number.js';

export { ExactNumber } from './exact-number.js';

/**
 * A value of a record. An integer beyond 2^53 is a bigint, and a number that no JavaScript number equals is an
 * {@link ExactNumber}: no digit is lost in silence.
 */
export type HookValue =
  null | boolean | number | bigint | ExactNumber | string | HookValue[] | { [member: string]: HookValue };

/** A record as the source sent it. */
export interface HookRecord {
  [member: string]: HookValue;
}

/** The circumstances of a record. */
export interface TransformContext {
  /** Name of the stream. */
  readonly stream: string;
  /** The fields of the record's parent that the stream uses; null for a stream without a parent. */
  readonly parent: { readonly [field: string]: HookValue } | null;
}

/**
 * The result of a transform: a record, several, or null for none. Members that are undefined are left out; dates are
 * written in ISO 8601.
 */
export type TransformResult = object | readonly object[] | null;

/**
 * Makes rows of a record. Must be pure: the same record gives the same result, whenever, in whichever order and however often it is
 * called.
 */
export type Transform<Input extends object = HookRecord> = (
  record: Input,
  context: TransformContext,
) => TransformResult | Promise<TransformResult>;

/**
 * Gives a transform its types; the default export of a hook.
 * @example
 * export default defineTransform<{ first: string; last: string }>((person) => ({
 *   ...person,
 *   name: `${person.first} ${person.last}`,
 * }));
 */
export function defineTransform<Input extends object = HookRecord>(
  transform: Transform<Input>,
): Transform<Input> {
  return transform;
}
