/** Members that are excluded, hashed or masked, and what must not read them. */
import { isSameName } from '../request/member-names.js';
import { pathText } from '../request/paths.js';

/** A member that is not stored as it is, and why, in words that follow its name. */
export interface Guarded {
  /** Names on the way to it, through lists; null is any name. Case does not matter. */
  pattern: readonly (string | null)[];
  why: string;
}

/** The path of a member in a record; null matches any name, and numbers are places in lists. */
export type MemberPath = readonly (string | number | null)[];

const namesOf = (path: MemberPath) => path.filter((part) => typeof part !== 'number');

const mayBeSame = (part: string | null | undefined, name: string | null): boolean =>
  part === null || name === null || (part !== undefined && isSameName(part, name));

/** Returns why a member is not stored as it is; null if it is. */
export function guardOf(path: MemberPath, guarded: readonly Guarded[]): string | null {
  const names = namesOf(path);
  const guard = guarded.find(
    ({ pattern }) =>
      pattern.length <= names.length && pattern.every((part, i) => mayBeSame(part, names[i] ?? null)),
  );
  return guard?.why ?? null;
}

/**
 * Returns a guarded member that a member holds; null if it holds none. A pattern such as `*.token` does not count: it
 * would fit every member, and whatever it fits is removed from the value before the value is used.
 */
export function guardInside(path: MemberPath, guarded: readonly Guarded[]): Guarded | null {
  const names = namesOf(path);
  const isAround = ({ pattern }: Guarded) =>
    names.length < pattern.length &&
    names.every((name, i) => (name === null || pattern[i] !== null) && mayBeSame(pattern[i], name));
  return guarded.find(isAround) ?? null;
}

/** A path as a configuration has it. */
export const memberPathText = (path: MemberPath): string =>
  path.every((part) => part !== null) ? pathText(path) : path.map((part) => part ?? '*').join('.');

/** Says that a key or a cursor would be an object with a guarded member. */
export const heldBy = (name: string, { pattern, why }: Guarded): string =>
  `names ${JSON.stringify(name)}, which holds the member ${JSON.stringify(patternText(pattern))}, ${why}: ` +
  'name a member with a single value, or make a column of one';

/** A pattern as a configuration has it. */
export const patternText = (pattern: readonly (string | null)[]): string =>
  pattern.map((name) => name ?? '*').join('.');
