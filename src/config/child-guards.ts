/** Child tables whose keys would be, or hold, members that are not stored as they are. */
import type { Problem } from '../errors.js';
import { type Child, fromOf, guardedItems, keyOf, wayTo } from './children.js';
import type { Stream } from './full-schema.js';
import {
  type Guarded,
  guardInside,
  guardOf,
  heldBy,
  type MemberPath,
  memberPathText,
} from './guarded-members.js';
import { type Column, guardedMembers, isMade, type Way } from './made-columns.js';

/** Problems of child tables that are valid without "exclude", hashes and masks. */
export function* childGuardProblems(stream: Stream): Iterable<Problem> {
  const guarded = [...guardedMembers([], stream), ...guardedItems(stream)];
  if (guarded.length === 0) return;
  yield* problemsIn(stream.children, { way: [], columns: stream.columns, guarded, path: 'children' });
}

/** The row that child tables belong to: of the stream, or of the child table above. */
interface Above {
  way: Way;
  columns: Record<string, Column>;
  guarded: readonly Guarded[];
  path: string;
}

/** Returns the made column at the top of a path: in a row it stands where its member was. */
function madeAt([name]: MemberPath, { columns }: Above): Column | null {
  const one = Object.hasOwn(columns, String(name)) ? columns[String(name)] : undefined;
  return one !== undefined && isMade(one) ? one : null;
}

function* problemsIn(children: Record<string, Child> | undefined, above: Above): Iterable<Problem> {
  const { guarded } = above;
  for (const [name, child] of Object.entries(children ?? {})) {
    const path = `${above.path}.${name}`;
    const list = fromOf(name, child);
    const from = [...above.way, ...list];
    const why = madeAt(list, above) === null ? guardOf(from, guarded) : null;
    if (why !== null) {
      const message = `reads ${JSON.stringify(memberPathText(from))}, ${why}; remove one of them`;
      yield { path: `${path}.from`, message };
      continue;
    }
    const way = wayTo(name, child, above.way);
    yield* includedKeyProblems(child, above, path);
    yield* ownKeyProblems(child, way, above, path);
    yield* problemsIn(child.children, { way, columns: child.columns, guarded, path: `${path}.children` });
  }
}

/** Columns of the key that the row above fills. */
function* includedKeyProblems(child: Child, above: Above, at: string): Iterable<Problem> {
  const { include } = child;
  for (const name of keyOf(child)) {
    const location = Object.hasOwn(include, name) ? include[name] : undefined;
    if (location === undefined) continue;
    const path = `${at}.include.${name}`;
    const made = madeAt(location, above);
    if (made === null) yield* guardProblems([...above.way, ...location], above.guarded, path);
    else if (made.mask !== undefined)
      yield {
        path,
        message: `reads the masked column ${JSON.stringify(memberPathText(location))}, which cannot be part of the key, because different values may have the same mask`,
      };
  }
}

/** Columns of the key that are members of the items. */
function* ownKeyProblems(child: Child, way: Way, { guarded }: Above, at: string): Iterable<Problem> {
  const { include, columns, index, key_as: keyAs } = child;
  for (const name of keyOf(child)) {
    if (name === index || name === keyAs || Object.hasOwn(include, name)) continue;
    const own = Object.hasOwn(columns, name) ? columns[name] : undefined;
    // A hash may be a key, and a mask is refused with the columns.
    if (own !== undefined && isMade(own)) continue;
    yield* guardProblems([...way, ...(own?.from ?? [name])], guarded, `${at}.primary_key`);
  }
}

function* guardProblems(location: MemberPath, guarded: readonly Guarded[], path: string): Iterable<Problem> {
  const name = memberPathText(location);
  const why = guardOf(location, guarded);
  if (why !== null)
    yield {
      path,
      message: `reads ${JSON.stringify(name)}, ${why}, so that it cannot be part of the key; name another member`,
    };
  const held = guardInside(location, guarded);
  if (held !== null) yield { path, message: heldBy(name, held) };
}
