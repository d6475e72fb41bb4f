/** Child tables whose keys would be, or hold, members that are not stored as they are. */
import type { Problem } from '../errors.js';
import { type Location, pathText } from '../request/paths.js';
import { type Child, fromOf, keyOf } from './children.js';
import type { Stream } from './full-schema.js';
import { type Guarded, guardInside, guardOf, heldBy } from './guarded-members.js';
import { type Column, guardedOf, isMade } from './made-columns.js';

/** Problems of child tables that are valid without "exclude", hashes and masks. */
export function* childGuardProblems(stream: Stream): Iterable<Problem> {
  const guarded = guardedOf(stream);
  if (guarded.length === 0) return;
  // In a row, a column that is made stands where its member was.
  const madeAt = ([name]: Location): Column | null => {
    const one = Object.hasOwn(stream.columns, String(name)) ? stream.columns[String(name)] : undefined;
    return one !== undefined && isMade(one) ? one : null;
  };
  yield* problemsIn(stream.children, [], { guarded, madeAt }, 'children');
}

interface Rules {
  guarded: readonly Guarded[];
  /** The made column of the stream at the top of a path; null if there is none. */
  madeAt: (location: Location) => Column | null;
}

function* problemsIn(
  children: Record<string, Child> | undefined,
  above: Location,
  rules: Rules,
  path: string,
): Iterable<Problem> {
  for (const [name, child] of Object.entries(children ?? {})) {
    const at = `${path}.${name}`;
    const list = [...above, ...fromOf(name, child)];
    const why = rules.madeAt(list) === null ? guardOf(list, rules.guarded) : null;
    if (why !== null)
      yield {
        path: `${at}.from`,
        message: `reads ${JSON.stringify(pathText(list))}, ${why}; remove one of them`,
      };
    else {
      yield* keyProblems(child, above, list, rules, at);
      yield* problemsIn(child.children, list, rules, `${at}.children`);
    }
  }
}

function* keyProblems(
  child: Child,
  above: Location,
  list: Location,
  { guarded, madeAt }: Rules,
  at: string,
): Iterable<Problem> {
  const { include, columns, index, key_as: keyAs } = child;
  for (const name of keyOf(child)) {
    if (name === index || name === keyAs) continue;
    const isIncluded = Object.hasOwn(include, name);
    const location = isIncluded
      ? [...above, ...(include[name] ?? [])]
      : [...list, ...((Object.hasOwn(columns, name) ? columns[name]?.from : null) ?? [name])];
    const path = isIncluded ? `${at}.include.${name}` : `${at}.primary_key`;
    const made = madeAt(location);
    if (made !== null) {
      if (made.mask !== undefined)
        yield {
          path,
          message: `reads the masked column ${JSON.stringify(pathText(location))}, which cannot be part of the key, because different values may have the same mask`,
        };
      continue;
    }
    const why = guardOf(location, guarded);
    if (why !== null)
      yield {
        path,
        message: `reads ${JSON.stringify(pathText(location))}, ${why}, so that it cannot be part of the key; name another member`,
      };
    const held = guardInside(location, guarded);
    if (held !== null) yield { path, message: heldBy(pathText(location), held) };
  }
}
