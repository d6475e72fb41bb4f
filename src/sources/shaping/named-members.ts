/** Finds members that the configuration names and that no record has: a misspelt one would be neither hashed nor left out. */
import { ITEM, type ItemShape, type MadeColumn, type RecordShape } from '../../protocol.js';
import { Expression, RECORD, THIS } from '../../request/expressions.js';
import type { JsonTape } from '../../request/json-tape.js';
import { isSameName } from '../../request/member-names.js';
import { type Location, pathText, placeAt } from '../../request/paths.js';
import { wayOf } from './protection-of.js';
import type { MemberPattern } from './protection.js';

/** A member that "exclude" or a made column names. */
export interface NamedMember {
  /** Names on the way to it, and places in lists; null is any name. */
  path: readonly (string | number | null)[];
  /** Leads through lists and names of any case, as paths of "exclude" do. */
  throughLists: boolean;
  /** The column that is made of it; null where it is left out. */
  column: string | null;
  /** What no record can tell: `customer.crad: column card stays empty, and nothing is masked`. */
  absence: string;
}

/** Returns the members that a shape names. */
export function namedMembers({ exclude = [], made = {}, items = [] }: RecordShape): NamedMember[] {
  const members = [
    ...exclude.map((path) => ({
      path,
      throughLists: true,
      column: null,
      absence: `${patternText(path)}: "exclude" leaves nothing out there`,
    })),
    ...Object.entries(made).flatMap(([column, one]) => ofColumn(column, one)),
    ...items.flatMap((list) => ofItems([], list)),
  ];
  const seen = new Set<string>();
  return members.filter(({ absence }) => !seen.has(absence) && seen.add(absence));
}

function ofColumn(column: string, one: MadeColumn): NamedMember[] {
  if ('value' in one) return [];
  const { from, expression, hash, mask } = one;
  const done = hash !== undefined ? 'hashed' : mask === undefined ? null : 'masked';
  if (expression === undefined) {
    const nothing = done === null ? '' : `, and nothing is ${done}`;
    return [memberAt(from, column, `column ${column} stays empty${nothing}`)];
  }
  const nothing = done === null ? '' : `, and nothing at ${pathText(from)} is ${done}`;
  return new Expression(expression).expected.flatMap(([name, ...inner]) => {
    const path = name === THIS ? [...from, ...inner] : name === RECORD ? inner : [name, ...inner];
    return path.length === 0
      ? []
      : [memberAt(path, column, `the expression of column ${column} reads it${nothing}`)];
  });
}

/** The members of items that columns of child tables are made of. */
function ofItems(above: MemberPattern, shape: ItemShape): NamedMember[] {
  const way = wayOf(above, shape);
  const own = Object.entries(shape.made)
    .flatMap(([column, one]) => ofColumn(column, one))
    .map(({ path, absence, ...rest }): NamedMember => {
      // An item that is no object is in this column.
      const isWhole = path.length === 1 && path[0] === ITEM;
      const inside = path.filter((part) => typeof part !== 'number');
      return {
        ...rest,
        path: isWhole ? way : [...way, ...inside],
        throughLists: true,
        absence: `${patternText(way)}.${absence} (table ${shape.table})`,
      };
    });
  return [...own, ...(shape.items ?? []).flatMap((inner) => ofItems(way, inner))];
}

const memberAt = (path: Location, column: string, consequence: string): NamedMember => ({
  path,
  throughLists: false,
  column,
  absence: `${pathText(path)}: ${consequence}`,
});

/** A path of "exclude" as it is written. */
const patternText = (path: readonly (string | null)[]): string =>
  path.every((name) => name !== null)
    ? pathText(path)
    : path.map((name) => (name === null ? '*' : pathText([name]))).join('.');

/** Looks for named members in records, in each only for those that no earlier one had. */
export class MemberSearch {
  /** Records so far. */
  records = 0;
  private missing: readonly NamedMember[];

  constructor(shape: RecordShape) {
    this.missing = namedMembers(shape);
  }

  /** Members that no record so far has, as {@link NamedMember.absence} tells it. */
  get absent(): string[] {
    return this.missing.map(({ absence }) => absence);
  }

  /** Looks at a record. */
  add(tape: JsonTape): void {
    this.records++;
    if (this.missing.length > 0) this.missing = this.missing.filter((member) => !isIn(tape, member));
  }
}

function isIn(tape: JsonTape, { path, throughLists }: NamedMember): boolean {
  if (tape.size === 0) return false;
  if (throughLists) return leadsOn(tape, 0, path);
  return (
    placeAt(
      tape,
      path.filter((part) => part !== null),
    ) !== undefined
  );
}

/** Whether a path of "exclude" leads from a value to a member; through lists, to one of any item. */
function leadsOn(tape: JsonTape, at: number, [part, ...rest]: NamedMember['path']): boolean {
  if (part === undefined) return true;
  if (tape.isList(at)) return tape.items(at).some((item) => leadsOn(tape, item, [part, ...rest]));
  if (!tape.isObject(at)) return false;
  const values: number[] = [];
  tape.eachMember(at, (name, _nameAt, valueAt) => {
    if (part === null || isSameName(String(part), name)) values.push(valueAt);
  });
  return values.some((value) => leadsOn(tape, value, rest));
}
