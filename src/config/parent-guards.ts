/** Fields of a parent stream that are not stored as they are, or cannot be part of a key. */
import type { Problem } from '../errors.js';
import type { Stream } from './full-schema.js';
import { guardInside, guardOf, heldBy } from './guarded-members.js';
import { guardedMembers, isMade } from './made-columns.js';

/**
 * Problems of the fields that a stream takes from its parent stream.
 * @param fields columns of the parent.
 */
export function* parentGuardProblems(
  stream: Stream,
  parent: Stream,
  fields: readonly string[],
): Iterable<Problem> {
  const guarded = guardedMembers([], parent);
  for (const field of fields) {
    const one = Object.hasOwn(parent.columns, field) ? parent.columns[field] : undefined;
    if (one !== undefined && isMade(one)) {
      const masked = Object.entries(stream.parent?.include ?? {}).find(
        ([column, from]) => from === field && stream.primary_key.includes(column),
      );
      if (one.mask !== undefined && masked !== undefined)
        yield {
          path: `parent.include.${masked[0]}`,
          message: `reads the masked column ${JSON.stringify(field)} of ${parent.name}, which cannot be part of the primary key, because different values may have the same mask`,
        };
      continue;
    }
    const location = one?.from ?? [field];
    const why = guardOf(location, guarded);
    // A declared column is refused in the parent itself.
    if (why !== null && one === undefined)
      yield {
        path: 'parent',
        message: `needs the member ${JSON.stringify(field)} of ${parent.name}, ${why}`,
      };
    const held = guardInside(location, guarded);
    if (held !== null) yield { path: 'parent', message: heldBy(field, held) };
  }
}
