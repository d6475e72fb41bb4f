/** Finds the place of each value in a configuration's text. Used only if something is wrong. */
import type { Node as JsonNode } from 'jsonc-parser';
import { isAlias, isMap, isScalar, isSeq, type LineCounter, type Document, type Pair } from 'yaml';
import type { Position } from '../errors.js';

/** Says where a problem's path stands; null where the text cannot be followed. */
export type Locate = (path: string) => Position | null;

/** A value in the text, in JSON or YAML. */
interface Place {
  /** The place where a person would look for it: at its name, or at the item of a list. */
  offset: number;
  /** Its members and items, by name or number. */
  inner: () => Map<string, Place>;
}

const NOTHING = (): Map<string, Place> => new Map();

/** Looked through once, however many problems there are. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

/** Positions in JSON, with or without comments. */
export function jsonPositions(text: string, root: JsonNode | undefined): Locate {
  const starts = lineStarts(text);
  return locator(root === undefined ? null : jsonPlace(root, root.offset), (offset) =>
    position(starts, offset),
  );
}

function jsonPlace(node: JsonNode, offset: number): Place {
  return {
    offset,
    inner: once(
      () =>
        new Map(
          (node.children ?? []).flatMap((child, i): [string, Place][] => {
            if (node.type === 'array') return [[String(i), jsonPlace(child, child.offset)]];
            const [name, value] = child.children ?? [];
            // The parser keeps the last of two members with the same name.
            return name === undefined || value === undefined
              ? []
              : [[String(name.value), jsonPlace(value, name.offset)]];
          }),
        ),
    ),
  };
}

/** Positions in YAML. What an alias stands for is found at the alias, not at the anchor: that is the use of it. */
export function yamlPositions(document: Document, lines: LineCounter): Locate {
  return locator(yamlPlace(document, document.contents, null, 0), (offset) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: Math.max(col, 1) };
  });
}

/** @param fixed the place of the alias that led here. */
function yamlPlace(document: Document, node: unknown, fixed: number | null, offset: number): Place {
  if (isAlias(node)) {
    const at = fixed ?? startOf(node) ?? offset;
    return yamlPlace(document, node.resolve(document), at, at);
  }
  const child = (name: string, value: unknown, start: number | null): [string, Place] => [
    name,
    yamlPlace(document, value, fixed, fixed ?? start ?? offset),
  ];
  if (isSeq(node)) {
    const { items } = node;
    return {
      offset,
      inner: once(() => new Map(items.map((item, i) => child(String(i), item, startOf(item))))),
    };
  }
  if (!isMap(node)) return { offset, inner: NOTHING };
  const { items } = node;
  const inner = once(() => {
    const own = items.filter((pair) => !isMerge(pair));
    const merged = items.filter(isMerge).flatMap(({ value }) => (isSeq(value) ? value.items : [value]));
    return new Map([
      // The first source of a name wins, and the map's own before all.
      ...merged.reverse().flatMap((source) => [...yamlPlace(document, source, fixed, offset).inner()]),
      ...own.map(({ key, value }) => child(nameOf(key), value, startOf(key))),
    ]);
  });
  return { offset, inner };
}

const isMerge = ({ key }: Pair): boolean =>
  isScalar(key) && (key.value === '<<' || (typeof key.value === 'symbol' && key.value.description === '<<'));

const nameOf = (key: unknown): string => String(isScalar(key) ? key.value : key);

const startOf = (node: unknown): number | null =>
  (node as { range?: [number] | null } | null)?.range?.[0] ?? null;

/**
 * Follows paths such as `streams[0].columns.id` as far as the text has them: what is missing is shown at the nearest
 * place that is there. A name may hold dots and brackets itself, and a long path may be cut short.
 */
function locator(root: Place | null, show: (offset: number) => Position): Locate {
  if (root === null) return () => null;
  return (path) => show(furthest(root, path.replace(/^\.|…$/g, ''), 0).offset);
}

interface Reached {
  offset: number;
  depth: number;
  rest: number;
}

function furthest(place: Place, rest: string, depth: number): Reached {
  let best: Reached = { offset: place.offset, depth, rest: rest.length };
  if (rest === '') return best;
  for (const [name, inner] of place.inner()) {
    const after = restAfter(rest, name);
    if (after === null) continue;
    const reached = furthest(inner, after, depth + 1);
    if (reached.rest < best.rest || (reached.rest === best.rest && reached.depth > best.depth))
      best = reached;
  }
  return best;
}

/** The rest of a path after a member's name; null if it starts with another name. */
function restAfter(rest: string, name: string): string | null {
  if (rest.startsWith(`[${name}]`)) return rest.slice(name.length + 2).replace(/^\./, '');
  if (!rest.startsWith(name)) return null;
  const after = rest.slice(name.length);
  if (after.startsWith('.')) return after.slice(1);
  return name !== '' && (after === '' || after.startsWith('[')) ? after : null;
}

/** The offsets at which lines begin. */
export function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
}

/** Line and column of an offset, both from 1. */
export function position(starts: readonly number[], offset: number): Position {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
}
