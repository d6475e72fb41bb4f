/** Which members of a record are to stay out of other columns, and of the record as a whole. */
import type { KeyObject } from 'node:crypto';
import { allItems, ITEM, type ItemShape, type MadeColumn, type RecordShape } from '../../protocol.js';
import { comparable, isSameName } from '../../request/member-names.js';
import type { Location } from '../../request/paths.js';
import { replacementOf } from './makers.js';
import { type MemberPattern, Protection, type Treatment } from './protection.js';

/** Whether nothing of a column's member may be stored as it is. */
export const isSecret = (one: MadeColumn) =>
  'from' in one && (one.hash !== undefined || one.mask !== undefined);

/** A path without places in lists: what holds for one item holds for all. */
export const patternOf = (path: Location): MemberPattern =>
  path.filter((part): part is string => typeof part === 'string');

/** The members that are to stay out of other columns. */
export function protectionOf(shape: RecordShape, keys: ReadonlyMap<string, KeyObject>): Protection {
  const protection = new Protection();
  for (const pattern of shape.exclude ?? []) if (reachesRow(shape, pattern)) protection.add(pattern, 'drop');
  for (const [column, one] of Object.entries(shape.made ?? {})) {
    if (!isSecret(one) || !('from' in one)) continue;
    const pattern = patternOf(one.from);
    if (!reachesRow(shape, pattern)) continue;
    protection.add(pattern, treatmentOf(one, keys.get(column) ?? null));
  }
  for (const list of shape.items ?? []) protectItems(protection, [], list, keys);
  return protection;
}

function treatmentOf(one: MadeColumn, key: KeyObject | null): Treatment {
  const replacement = replacementOf(one, key);
  // The hash of an expression is not that of the member.
  return 'expression' in one || replacement === null ? 'drop' : replacement;
}

/** Adds members of the items of a list. @param above the names on the way to the record or item that the list is in. */
function protectItems(
  protection: Protection,
  above: MemberPattern,
  shape: ItemShape,
  keys: ReadonlyMap<string, KeyObject>,
): void {
  const way = wayOf(above, shape);
  for (const [column, one] of Object.entries(shape.made)) {
    if (!isSecret(one) || !('from' in one)) continue;
    const treatment = treatmentOf(one, keys.get(itemColumn(shape, column)) ?? null);
    const member = patternOf(one.from);
    protection.add([...way, ...member], treatment);
    if (member.length === 1 && member[0] === ITEM) protection.addValues(way, treatment);
  }
  for (const inner of shape.items ?? []) protectItems(protection, way, inner, keys);
}

/** The column of a child table among the keys of hashes. */
export const itemColumn = ({ table }: ItemShape, column: string): string => `${table}.${column}`;

/** The names on the way to the items of a list. */
export const wayOf = (above: MemberPattern, { from, isNamed }: ItemShape): MemberPattern => [
  ...above,
  ...patternOf(from),
  ...(isNamed === true ? [null] : []),
];

/** Whether a member may come into the row by another column than its own: within another member, or the whole record. */
const reachesRow = ({ raw, from }: RecordShape, [first, ...inner]: MemberPattern): boolean =>
  raw !== undefined ||
  inner.length > 0 ||
  first == null ||
  Object.values(from).some(([member]) => typeof member === 'string' && isSameName(member, first));

/** Members at the top of a record that only made columns read, and columns of the same names do not. */
export const takenMembers = ({ made = {}, raw }: RecordShape): string[] => [
  ...Object.keys(made),
  ...(raw === undefined ? [] : [raw]),
];

/** Members at the top of a record of which nothing is stored as it is, by {@link comparable} names. */
export const secretMembers = ({ made = {}, exclude = [] }: RecordShape): ReadonlySet<string> =>
  new Set(
    [
      ...exclude,
      ...Object.values(made).flatMap((one) => (isSecret(one) && 'from' in one ? [patternOf(one.from)] : [])),
    ]
      .filter(({ length }) => length === 1)
      .flatMap(([name]) => (name == null ? [] : [comparable(name)])),
  );

/** Whether something of a record must not be stored as it came. */
export const holdsSecrets = ({ made = {}, exclude = [], items }: RecordShape): boolean =>
  exclude.length > 0 || [{ made }, ...allItems(items)].some((one) => Object.values(one.made).some(isSecret));
