import type { AnswerPath, Json } from '../protocol.js';
import type { Mask } from '../secrets/masking.js';
import { CostlyPathError, JsonPath } from './json-path.js';
import { JsonTape } from './json-tape.js';

/** The way to a value: names of members, and places in lists. */
export type Location = readonly (string | number)[];

/** Returns the value at a path of members; undefined if there is none. */
export function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, member) => (isContainer(inner) && Object.hasOwn(inner, member) ? inner[member] : undefined),
    value,
  );
}

/** As {@link valueAt}; of a JSONPath the first node. @throws {CostlyPathError | TooManyValuesError} */
export function valueAtPath(value: unknown, path: AnswerPath): unknown {
  if (typeof path !== 'string') return valueAt(value, path);
  if (!isContainer(value)) return path === '$' ? value : undefined;
  const tape = tapeOf(value);
  const [at] = compiled(path).select(tape);
  return at === undefined ? undefined : tape.valueOf(at);
}

/** Several paths lead into one answer. */
const tapes = new WeakMap<object, JsonTape>();

function tapeOf(value: object): JsonTape {
  let tape = tapes.get(value);
  if (tape === undefined) tapes.set(value, (tape = new JsonTape(JSON.stringify(value))));
  return tape;
}

/** Paths that have been read; a configuration has few. */
const paths = new Map<string, JsonPath>();
const PATHS_KEPT = 1000;

/** @throws {SyntaxError} */
function compiled(path: string): JsonPath {
  let read = paths.get(path);
  if (read === undefined) {
    read = new JsonPath(path);
    if (paths.size >= PATHS_KEPT) paths.clear();
    paths.set(path, read);
  }
  return read;
}

/** A parsed JSON text that can still tell how each of its values was written. */
export class JsonDocument {
  /** @param tape of the text, where it is known already. */
  constructor(
    readonly value: unknown,
    private readonly text: string,
    private tape?: JsonTape,
  ) {}

  /** The text of a value, in which no number has lost a digit; null where the path leads nowhere. */
  textAt(path: AnswerPath): string | null {
    this.tape ??= new JsonTape(this.text);
    const at = typeof path === 'string' ? compiled(path).select(this.tape)[0] : placeAt(this.tape, path);
    return at === undefined ? null : this.tape.textOf(at);
  }
}

/** Returns the values that a path selects in a body, as JSON texts in which no number has lost a digit. */
export interface Selected {
  /** The records. A list that is selected stands for its items, and null in place of a list for none. */
  texts: string[];
  document: JsonDocument;
  /** False where the path leads to nothing, not even to a list without items. */
  isFound: boolean;
}

/**
 * Selects records in a body.
 * @param limit characters that the records may have together.
 * @throws {SyntaxError} where it is no JSON.
 * @throws {CostlyPathError | TooManyValuesError}
 */
export function selectTexts(body: string, path: AnswerPath, limit = Infinity): Selected {
  const value = JSON.parse(body) as Json;
  const tape = new JsonTape(body);
  const only = typeof path === 'string' ? undefined : placeAt(tape, path);
  const found = typeof path === 'string' ? compiled(path).select(tape) : only === undefined ? [] : [only];
  const isNull = (at: number) => body.startsWith('null', tape.startOf(at));
  const isAmongLists = found.length === 1 ? isSingular(path) : found.some((at) => tape.isList(at));
  const items = found.flatMap((at) => {
    if (tape.isList(at)) return tape.items(at);
    return isNull(at) && isAmongLists ? [] : [at];
  });
  let length = 0;
  for (const at of items) length += tape.lengthOf(at) + 1;
  if (length > limit) {
    const [all, most] = [length, limit].map((number) => number.toLocaleString('en-US'));
    throw new CostlyPathError(
      `the records that it selects have ${all} characters in total; the limit is ${most}`,
    );
  }
  return {
    texts: items.map((at) => tape.textOf(at)),
    document: new JsonDocument(value, body, tape),
    isFound: found.length > 0,
  };
}

/** The texts of members at the paths given, by name; a member that is not there is left out. */
export function memberTexts(record: string, paths: ReadonlyMap<string, Location>): Map<string, string> {
  const texts = new Map<string, string>();
  const tape = new JsonTape(record);
  for (const [name, path] of paths) {
    const at = placeAt(tape, path);
    if (at !== undefined) texts.set(name, tape.textOf(at));
  }
  return texts;
}

/** The value at a location; of members of one name the last, as JSON.parse takes it. */
export function placeAt(tape: JsonTape, location: Location): number | undefined {
  let at = tape.size === 0 ? -1 : 0;
  for (const part of location) {
    if (at === -1) return undefined;
    at = typeof part === 'number' ? tape.item(at, part) : tape.member(at, part);
  }
  return at === -1 ? undefined : at;
}

/** Whether a record passes a filter such as `@.status == 'open'`. @throws {CostlyPathError | TooManyValuesError} */
export function passes(record: string, where: string): boolean {
  return compiled(`$[?${where}]`).select(new JsonTape(`[${record}]`)).length > 0;
}

const isContainer = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

/** The parts of a valid JSONPath behind its `$`: `.name`, `..name`, `.*`, `[…]`. */
function segments(path: string): string[] {
  const found: string[] = [];
  let depth = 0;
  for (const [piece] of path.slice(1).matchAll(PIECES)) {
    const isNew =
      depth === 0 && (piece.startsWith('.') || (piece === '[' && !/\.$/.test(found.at(-1) ?? '')));
    if (isNew) found.push(piece);
    else if (found.length > 0 && (depth > 0 || piece.trim() !== '')) found[found.length - 1] += piece;
    if (piece === '[') depth++;
    if (piece === ']') depth--;
  }
  return found;
}

/** Quoted texts, and characters that begin or end a part. */
const PIECES = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\.+|[[\]]|\s+|[^."'[\]\s]+/g;

/** A part without the names that are quoted in it. */
const bare = (segment: string) => segment.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '');

/** Whether a part may well select nothing: a wildcard, a filter or a slice. */
const isOpen = (segment: string) => /[*?:]/.test(bare(segment));

/** The names of the members that a path leads through first. */
export function namesOf(path: AnswerPath): string[] {
  if (typeof path !== 'string') return path;
  const names: string[] = [];
  for (const segment of segments(path)) {
    const [name, ...others] = isOpen(segment) ? [] : (parsePath(`$${segment}`) ?? []);
    if (typeof name !== 'string' || others.length > 0) break;
    names.push(name);
  }
  return names;
}

/** Whether a JSONPath may lead to what is inside of a list that stands at a path of members. */
export function leadsInto(path: string, list: readonly string[]): boolean {
  const way = segments(path);
  for (const [i, name] of list.entries()) {
    const segment = way[i];
    if (segment === undefined) return false;
    const parts = isOpen(segment) ? null : parsePath(`$${segment}`);
    // Such a part does not tell what it selects.
    if (parts === null) return true;
    if (parts[0] !== name) return false;
  }
  return way.length > list.length;
}

/** Whether a path selects one value at most. */
const isSingular = (path: AnswerPath) =>
  typeof path !== 'string' ||
  segments(path).every((segment) => !isOpen(segment) && !/^\.\.|,/.test(bare(segment)));

/**
 * Says which part of a path selects nothing; null where there is just nothing to select: a wildcard, filter or slice
 * of a list that is empty or null, or of which nothing fits.
 * @param mask hides secrets in the names of members.
 */
export function missingPart(value: unknown, path: AnswerPath, mask: Mask): string | null {
  if (typeof path !== 'string') return absentMember(value, path, mask);
  let before: unknown[] = [value];
  let prefix = '$';
  for (const segment of segments(path)) {
    const nodes = isContainer(value) ? valuesAt(value, prefix + segment) : [];
    if (nodes.length === 0) {
      const isFine = isOpen(segment) && before.every((node) => node === null || isContainer(node));
      return isFine ? null : `${prefix + segment} selects nothing: ${prefix} ${described(before[0], mask)}`;
    }
    before = nodes;
    prefix += segment;
  }
  return null;
}

function valuesAt(value: object, path: string): unknown[] {
  const tape = tapeOf(value);
  return compiled(path)
    .select(tape)
    .map((at) => tape.valueOf(at));
}

/** Says where the path to the records leads nowhere; null where it leads somewhere. */
export function absentMember(value: unknown, path: readonly string[], mask: Mask): string | null {
  let inner = value;
  for (const [depth, member] of path.entries()) {
    const where = depth === 0 ? 'the body' : JSON.stringify(path.slice(0, depth).join('.'));
    if (!isContainer(inner) || Array.isArray(inner)) {
      return `${where} is not an object with a list ${JSON.stringify(path.join('.'))}`;
    }
    if (!Object.hasOwn(inner, member)) {
      const meant = misspelt(value, path);
      const hint = meant === null ? '' : `; quote a name that contains dots: ${mask(meant)}`;
      return `${where} has no member ${JSON.stringify(member)}; it ${described(inner, mask)}${hint}`;
    }
    inner = inner[member];
  }
  return null;
}

/** Says what a value is, or which members it has: "has a, b", "is a list of 2", "is null". */
function described(value: unknown, mask: Mask): string {
  if (Array.isArray(value)) return `is a list of ${value.length}`;
  if (!isContainer(value)) return `is ${value === null ? 'null' : `a ${typeof value}`}`;
  return `has ${memberNames(value, mask) || 'none'}`;
}

/** The first names of an object's members. */
export const memberNames = (value: object, mask: Mask): string =>
  Object.keys(value)
    .slice(0, 10)
    .map((name) => JSON.stringify(mask(name).slice(0, 80)).slice(1, -1))
    .join(', ');

const QUOTED = /\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]/;
const PART = new RegExp(`(^|\\.)([^.[\\]*$?@]+)|${QUOTED.source}|\\[\\s*(\\d{1,9})\\s*\\]`, 'y');

/**
 * Reads a path such as "data.items", "$.data.items", "$['@odata.nextLink']" or "changes[0].rev".
 * @returns names of members and places in lists; null where the text is no such path.
 */
export function parsePath(text: string): (string | number)[] | null {
  if (text === '$') return [];
  if (text.startsWith('.')) return null;
  const rest = text.replace(/^\$\.(?![.[])|^\$(?=\[)/, '');
  const parts: (string | number)[] = [];
  PART.lastIndex = 0;
  while (PART.lastIndex < rest.length) {
    const match = PART.exec(rest);
    if (match === null) return null;
    const [, , name, single, double, index] = match;
    const quoted = single?.replace(/\\'/g, "'").replace(/(?<!\\)((?:\\\\)*)"/g, '$1\\"') ?? double;
    if (index !== undefined) parts.push(Number(index));
    else if (name !== undefined) parts.push(name);
    else {
      try {
        parts.push(JSON.parse(`"${quoted}"`) as string);
      } catch {
        return null;
      }
    }
  }
  return parts.length === 0 ? null : parts;
}

/** A path as a configuration may have it: names that cannot stand alone are quoted. */
export function pathText(path: AnswerPath | Location): string {
  if (typeof path === 'string') return path;
  if (path.length === 0) return '$';
  const isPlain = path.every((part) => typeof part === 'string' && PLAIN_NAME.test(part));
  return isPlain ? path.join('.') : `$${path.map(segmentText).join('')}`;
}

const PLAIN_NAME = /^[^.[\]*$?@'"\s]+$/;

function segmentText(part: string | number): string {
  if (typeof part === 'number') return `[${part}]`;
  if (PLAIN_NAME.test(part)) return `.${part}`;
  return `['${JSON.stringify(part).slice(1, -1).replace(/\\"/g, '"').replace(/'/g, "\\'")}']`;
}

/**
 * Spells a path whose names need quotes, such as "@odata.nextLink", as it is likely meant; null where that is not
 * what is wrong with it.
 */
export function quotedPath(text: string): string | null {
  const parts = text.replace(/^\$\.?(?=.)/, (root) => (root === '$.' ? '' : root)).split('.');
  if (parts.some((part) => /[[\]*?]/.test(part) || part === '')) return null;
  // "odata" in "@odata.nextLink" is no object: the dots behind an "@" belong to the name.
  const at = parts.findIndex((part) => part.includes('@'));
  const names = at === -1 ? parts : [...parts.slice(0, at), parts.slice(at).join('.')];
  return names.some((name) => /[@$]/.test(name)) ? pathText(names) : null;
}

/**
 * Finds the member that a path of several members means but does not reach, as its name has dots in it: where
 * "odata.nextLink" leads nowhere and there is a member "odata.nextLink" or "@odata.nextLink".
 * @returns the path as it should be written, or null.
 */
export function misspelt(value: unknown, path: string | readonly string[]): string | null {
  if (typeof path === 'string') return null;
  let inner = value;
  for (let from = 0; from < path.length - 1; from++) {
    if (!isContainer(inner)) return null;
    for (let to = path.length; to > from + 1; to--) {
      const name = path.slice(from, to).join('.');
      for (const there of [name, `@${name}`]) {
        if (Object.hasOwn(inner, there)) return pathText([...path.slice(0, from), there, ...path.slice(to)]);
      }
    }
    inner = inner[path[from] ?? ''];
  }
  return null;
}

/** Returns the problem of a filter expression such as `@.status == 'open'`; null if it has none. */
export function filterProblem(where: string): string | null {
  const path = `$[?${where}]`;
  const problem = jsonPathProblem(path);
  if (problem !== null || !new JsonPath(path).isAbsoluteInside) return problem;
  return 'it refers to "$"; a filter sees one record at a time, as "@"';
}

/** Returns the problem of a JSONPath; null if it has none. */
export function jsonPathProblem(path: string): string | null {
  try {
    void new JsonPath(path);
    return null;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}
