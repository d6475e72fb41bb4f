/**
 * The begins and ends of the values in a JSON text: three numbers a value, where objects would take twenty times as
 * much.
 */

/** More values than this are not kept: with the text and what is made of it they would take several hundred megabytes. */
export const VALUE_LIMIT = 2_000_000;

/** A JSON text of more values than can be kept in the memory that is promised. */
export class TooManyValuesError extends Error {
  override readonly name = 'TooManyValuesError';
}

/** A JSON text smaller than this is gone through once only. */
const COUNTED = 64 * 1024;

/** The values of a valid JSON text in their order, names of members among them, by numbers from 0. */
export class JsonTape {
  /** How many values and names there are. */
  size = 0;
  /** How many members and items have been gone through so far to find others. */
  passed = 0;
  private readonly starts: Int32Array | number[];
  private readonly ends: Int32Array | number[];
  /** The value after one and all that is in it. */
  private readonly afters: Int32Array | number[];

  /** @throws {TooManyValuesError} */
  constructor(readonly text: string) {
    const isLarge = text.length > COUNTED;
    const count = isLarge ? countValues(text) : 0;
    const numbers = () => (isLarge ? new Int32Array(count) : []);
    [this.starts, this.ends, this.afters] = [numbers(), numbers(), numbers()];
    this.fill();
  }

  isObject(at: number): boolean {
    return this.text.charCodeAt(this.starts[at] ?? 0) === OBJECT;
  }

  isList(at: number): boolean {
    return this.text.charCodeAt(this.starts[at] ?? 0) === LIST;
  }

  /** The text of a value, in which no number has lost a digit. */
  textOf(at: number): string {
    return this.text.slice(this.starts[at], this.ends[at]);
  }

  startOf(at: number): number {
    return this.starts[at] ?? 0;
  }

  lengthOf(at: number): number {
    return (this.ends[at] ?? 0) - (this.starts[at] ?? 0);
  }

  valueOf(at: number): unknown {
    return JSON.parse(this.textOf(at));
  }

  /** How many values and names are in a value, itself included. */
  sizeOf(at: number): number {
    return (this.afters[at] ?? 0) - at;
  }

  /** Values of a list. */
  items(list: number): number[] {
    const found: number[] = [];
    const end = this.afters[list] ?? 0;
    for (let at = list + 1; at < end; at = this.afters[at] ?? end) found.push(at);
    this.passed += found.length;
    return found;
  }

  /** Values of an object by their names; of members of one name the last, as JSON.parse takes it. */
  named(object: number): Map<string, number> {
    const found = new Map<string, number>();
    const end = this.afters[object] ?? 0;
    for (let name = object + 1; name < end; name = this.afters[name + 1] ?? end)
      found.set(this.nameAt(name), name + 1);
    this.passed += found.size;
    return found;
  }

  /** Visits the members of an object in their order, with the places of their names and of their values. */
  eachMember(object: number, visit: (name: string, nameAt: number, valueAt: number) => void): void {
    const end = this.afters[object] ?? 0;
    for (let at = object + 1; at < end; at = this.afters[at + 1] ?? end) visit(this.nameAt(at), at, at + 1);
  }

  /** The text of a member, name and all. */
  memberText(nameAt: number): string {
    return this.text.slice(this.starts[nameAt], this.ends[nameAt + 1]);
  }

  /** The values in a list or an object; none in any other. */
  inside(at: number): number[] {
    return this.isList(at) ? this.items(at) : this.isObject(at) ? [...this.named(at).values()] : [];
  }

  /** The value of an object's member; -1 where there is none. */
  member(object: number, wanted: string): number {
    if (!this.isObject(object)) return -1;
    let found = -1;
    const end = this.afters[object] ?? 0;
    for (let name = object + 1; name < end; name = this.afters[name + 1] ?? end) {
      this.passed++;
      if (this.nameAt(name) === wanted) found = name + 1;
    }
    return found;
  }

  /** The value at a place of a list, from its end where that is negative; -1 where there is none. */
  item(list: number, place: number): number {
    if (!this.isList(list)) return -1;
    if (place < 0) return this.items(list).at(place) ?? -1;
    const end = this.afters[list] ?? 0;
    let at = list + 1;
    for (let left = place; left > 0 && at < end; left--, this.passed++) at = this.afters[at] ?? end;
    return at < end ? at : -1;
  }

  private nameAt(name: number): string {
    const text = this.text.slice((this.starts[name] ?? 0) + 1, (this.ends[name] ?? 0) - 1);
    return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
  }

  private fill(): void {
    const { text, starts, ends, afters } = this;
    const open: number[] = [];
    for (let i = 0; i < text.length;) {
      const code = text.charCodeAt(i);
      if (isBetween(code)) i++;
      else if (code === OBJECT_END || code === LIST_END) {
        const at = open.pop() ?? 0;
        ends[at] = ++i;
        afters[at] = this.size;
      } else {
        const at = this.size++;
        starts[at] = i;
        if (code === OBJECT || code === LIST) {
          open.push(at);
          i++;
          continue;
        }
        i = code === QUOTE ? stringEnd(text, i) : scalarEnd(text, i);
        ends[at] = i;
        afters[at] = this.size;
      }
    }
  }
}

const [OBJECT, OBJECT_END, LIST, LIST_END, QUOTE, BACKSLASH] = [0x7b, 0x7d, 0x5b, 0x5d, 0x22, 0x5c];

/** Space, comma or colon. */
const isBetween = (code: number) => code <= 0x20 || code === 0x2c || code === 0x3a;

function stringEnd(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let first = at;
    while (text.charCodeAt(first - 1) === BACKSLASH) first--;
    if ((at - first) % 2 === 0) return at + 1;
  }
  return text.length;
}

function scalarEnd(text: string, from: number): number {
  let at = from + 1;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (isBetween(code) || code === OBJECT_END || code === LIST_END) break;
  }
  return at;
}

/** @throws {TooManyValuesError} */
function countValues(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length;) {
    const code = text.charCodeAt(i);
    if (isBetween(code) || code === OBJECT_END || code === LIST_END) {
      i++;
      continue;
    }
    count++;
    i = code === QUOTE ? stringEnd(text, i) : code === OBJECT || code === LIST ? i + 1 : scalarEnd(text, i);
  }
  if (count <= VALUE_LIMIT) return count;
  const [found, most] = [count, VALUE_LIMIT].map((number) => number.toLocaleString('en-US'));
  throw new TooManyValuesError(`it has ${found} values and names; at most ${most} can be searched`);
}
