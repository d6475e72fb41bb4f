import type { Cursor, Json } from '../protocol.js';
import type { Evidence } from './evidence.js';

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

/** Records of a pass so far, and of all; null where the strategy keeps none, or the source gives no count. */
export interface Extent {
  read: number | null;
  total: number | null;
}

/**
 * Returns how far a pass is by the source's own count of its records. A count of pages becomes one of records by the
 * pages so far. Null after the pass, and within one parent of several.
 */
export function extentOf({ position }: Cursor): Extent {
  const evidence = (position as { evidence?: Partial<Evidence> } | null)?.evidence;
  const { read = 0, pages = 0, total, totalPages, miscounted } = evidence ?? {};
  if (evidence === undefined) return { read: null, total: null };
  if (miscounted === true) return { read, total: null };
  if (total !== undefined) return { read, total };
  const isCounted = totalPages !== undefined && pages > 0;
  return { read, total: isCounted ? Math.round((read / pages) * totalPages) : null };
}
