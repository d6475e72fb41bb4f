/** Whether a path of an answer may select what is inside of its records. */
import type { AnswerPath } from '../protocol.js';
import { JsonPath } from './json-path.js';
import { isSameName } from './member-names.js';

/**
 * A part of a path: members of these names, items of lists, or both. `name: null` is any name. `repeats` is any number of
 * such parts, or none.
 */
interface Step {
  names: readonly (string | null)[];
  hasItems: boolean;
  repeats?: true;
  /** The names may be in any case. */
  inAnyCase?: true;
}

const ANY_DEPTH: Step = { names: [null], hasItems: true, repeats: true };
const ITEMS: Step = { names: [], hasItems: true, repeats: true };

/**
 * Returns whether a path may lead to a member of a record, into it, or to an object, list or record around it.
 * Whatever cannot be known from the path alone, such as what a filter selects, counts as selected.
 * @param pattern names on the way from a record to the member; null is any name. Lists on the way have no place in it.
 */
export function mayReadMember(
  path: AnswerPath,
  records: AnswerPath,
  pattern: readonly (string | null)[],
): boolean {
  const way = stepsOf(path);
  const list = stepsOf(records);
  const inside = pattern.flatMap((name): Step[] => [
    ITEMS,
    { names: [name], hasItems: false, inAnyCase: true },
  ]);
  const member = [...list, ...inside];
  /** Pairs of places that have been looked at, as paths of several "..". */
  const seen = new Set<string>();
  const meets = (i: number, j: number): boolean => {
    const key = `${i} ${j}`;
    if (seen.has(key)) return false;
    seen.add(key);
    const [here, there] = [way[i], member[j]];
    if (there === undefined) return true;
    // No key reads the members around the records as a whole.
    if (here === undefined) return j >= list.length || (there.repeats === true && meets(i, j + 1));
    if (here.repeats && meets(i + 1, j)) return true;
    if (there.repeats && meets(i, j + 1)) return true;
    if (!mayBeSame(here, there)) return false;
    return meets(here.repeats ? i : i + 1, there.repeats ? j : j + 1);
  };
  return meets(0, 0);
}

function mayBeSame(one: Step, other: Step): boolean {
  if (one.hasItems && other.hasItems) return true;
  const isSame = other.inAnyCase ? isSameName : (name: string, its: string) => name === its;
  return one.names.some((name) =>
    other.names.some((its) => name === null || its === null || isSame(name, its)),
  );
}

function stepsOf(path: AnswerPath): Step[] {
  // A name of digits leads into a list, too.
  if (typeof path !== 'string') return path.map((name) => ({ names: [name], hasItems: /^\d+$/.test(name) }));
  return new JsonPath(path).segments.flatMap(({ type, node }): Step[] => {
    const step = stepOf(node);
    return type === 'DescendantSegment' ? [ANY_DEPTH, step] : [step];
  });
}

function stepOf(node: JsonPath['segments'][number]['node']): Step {
  if (node.type === 'MemberNameShorthand') return { names: [node.value], hasItems: false };
  if (node.type === 'WildcardSelector') return { names: [null], hasItems: true };
  const names = node.selectors.flatMap((selector) => {
    if (selector.type === 'NameSelector') return [selector.value];
    return selector.type === 'WildcardSelector' || selector.type === 'FilterSelector' ? [null] : [];
  });
  return { names, hasItems: node.selectors.some(({ type }) => type !== 'NameSelector') };
}
