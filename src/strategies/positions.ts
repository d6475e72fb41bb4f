import type { Cursor, Json } from '../protocol.js';

type Position = Cursor['position'] | undefined;
type Members = { [name: string]: Json };

/** Returns the members of a position; none of a position that has no members. */
const membersOf = (position: Position): Members =>
  typeof position === 'object' && position !== null && !Array.isArray(position) ? position : {};

/** Returns the page token that a position asks by, also inside of the list of a parent; null where it asks by none. */
export function heldToken(position: Position): string | null {
  const { inner, token } = membersOf(position);
  if (typeof inner === 'object' && inner !== null) return heldToken(membersOf(inner)['position']);
  return typeof token === 'string' ? token : null;
}

/** Returns how many pages of its pass a position has behind it, as far as it counts them. */
export const pagesBehind = (position: Position): number =>
  Number(membersOf(membersOf(position)['evidence'])['pages'] ?? 0);
