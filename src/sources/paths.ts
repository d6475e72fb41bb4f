import { parseTree, type Node } from 'jsonc-parser';
import { exec, query } from 'jsonpath-rfc9535';
import type { AnswerPath, Json } from '../protocol.js';

/** What stands at a path in a JSON text; of a member that comes twice the last one counts, as with JSON.parse. */
function nodeAt(root: Node, path: readonly (string | number)[]): Node | undefined {
  let node: Node | undefined = root;
  for (const step of path) {
    const items: Node[] = node?.children ?? [];
    node =
      node?.type === 'object'
        ? items.findLast(({ children }) => children?.[0]?.value === step)?.children?.[1]
        : node?.type === 'array' && typeof step === 'number'
          ? items[step]
          : undefined;
  }
  return node;
}

/** What stands at a path of members; undefined where it leads nowhere. */
export function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, member) =>
      typeof inner === 'object' && inner !== null && Object.hasOwn(inner, member)
        ? (inner as Record<string, unknown>)[member]
        : undefined,
    value,
  );
}

/** As {@link valueAt}; of a JSONPath the first node. */
export function valueAtPath(value: unknown, path: AnswerPath): unknown {
  return typeof path === 'string' ? query(value as Json, path)[0] : valueAt(value, path);
}

/**
 * The texts of what a JSONPath selects in a body, as they stand there: no number loses a digit. A list that is
 * selected stands for its items.
 */
export function selectTexts(body: string, path: AnswerPath): { texts: string[]; value: unknown } {
  const value = JSON.parse(body) as Json;
  const root = parseTree(body);
  const nodes: (Node | undefined)[] = [];
  if (root !== undefined && typeof path !== 'string') nodes.push(nodeAt(root, path));
  if (root !== undefined && typeof path === 'string') {
    exec(value, path, (_, at) => void nodes.push(nodeAt(root, at)));
  }
  const items = nodes
    .filter((node) => node !== undefined)
    .flatMap((node) => (node.type === 'array' ? (node.children ?? []) : [node]));
  return { texts: items.map(({ offset, length }) => body.slice(offset, offset + length)), value };
}

/** The texts of members at the paths given, by name; a member that is not there is left out. */
export function memberTexts(
  record: string,
  paths: ReadonlyMap<string, readonly string[]>,
): Map<string, string> {
  const root = parseTree(record);
  const texts = new Map<string, string>();
  if (root === undefined) return texts;
  for (const [name, path] of paths) {
    const node = nodeAt(root, path);
    if (node !== undefined) texts.set(name, record.slice(node.offset, node.offset + node.length));
  }
  return texts;
}

/** The members of a record, names and all, but for those with these names. */
export function otherMembers(record: string, names: ReadonlySet<string>): string[] {
  return (parseTree(record)?.children ?? []).flatMap(({ offset, length, children }) =>
    names.has(String(children?.[0]?.value)) ? [] : record.slice(offset, offset + length),
  );
}

/** What is wrong with a filter expression such as `@.status == 'open'`; null where nothing is. */
export const filterProblem = (where: string): string | null => jsonPathProblem(`$[?${where}]`);

/** What is wrong with a JSONPath; null where nothing is. */
export function jsonPathProblem(path: string): string | null {
  try {
    query([], path);
    return null;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}
