/** Makes the rows of child tables out of records. Values are cut out of the record's text, so that no number loses a digit. */
import { ITEM, PARENT, REFUSED, type ChildSpec, type ValuePath } from '../protocol.js';
import { JsonTape } from '../request/json-tape.js';
import { itemsOf, type ListItem } from './list-items.js';

/** A record or an item of a list: where it is in the record's text, and the columns that were made for it. */
interface Above {
  at: number;
  made: ReadonlyMap<string, string>;
}

/** Takes a row as JSON, and why it cannot be stored; null: it can. */
export type AddRow = (child: ChildSpec, row: string, refusal: string | null) => void;

const NOTHING_MADE: ReadonlyMap<string, string> = new Map();

/** A record of a stream with child tables. */
export class RecordTree {
  private readonly tape: JsonTape;

  /** @param text the record's JSON. */
  constructor(text: string) {
    this.tape = new JsonTape(text);
  }

  /** The text of a member of the record; null if there is none. */
  member(name: string): string | null {
    const at = this.tape.member(0, name);
    return at === -1 ? null : this.tape.textOf(at);
  }

  /**
   * Makes the rows of child tables.
   * @param number of the record in its batch; see {@link PARENT}.
   */
  rows(children: readonly ChildSpec[], number: number, add: AddRow): void {
    const parent = `"${number}"`;
    for (const child of children) this.rowsOf(child, { at: 0, made: NOTHING_MADE }, parent, add);
  }

  /** The record's text without the lists that child tables are filled from: null stands in their place. */
  without(lists: readonly ValuePath[]): string {
    return this.textWithout(
      0,
      lists.map((path) => this.place(0, path)),
    );
  }

  /** Whether the record has anything at a path, if only an empty list or null. */
  has(path: ValuePath): boolean {
    return this.place(0, path) !== -1;
  }

  private rowsOf(child: ChildSpec, above: Above, parent: string, add: AddRow): void {
    const { children = [] } = child;
    const included = Object.entries(child.include).map(([column, path]): [string, string] => [
      column,
      this.value(above, path),
    ]);
    for (const { at, name, place } of this.items(child, above.at)) {
      const made = new Map(included);
      if (child.index !== undefined) made.set(child.index, String(place));
      if (child.keyAs !== undefined) made.set(child.keyAs, JSON.stringify(name));
      const refusal = child.makes === true ? this.refusalOf(at) : null;
      add(child, this.row(child, at, made, parent, refusal !== null), refusal);
      for (const inner of children) this.rowsOf(inner, { at, made }, parent, add);
    }
  }

  private items({ from, keyAs }: ChildSpec, above: number): Iterable<ListItem> {
    const list = this.place(above, from);
    return list === -1 ? [] : itemsOf(this.tape, list, keyAs !== undefined);
  }

  /** @param made gets the columns whose value is elsewhere in the item. */
  private row(
    child: ChildSpec,
    at: number,
    made: Map<string, string>,
    parent: string,
    isRefused: boolean,
  ): string {
    const { tape } = this;
    const { paths, children = [], table } = child;
    if (!tape.isObject(at)) made.set(ITEM, tape.textOf(at));
    const taken = new Set(made.keys());
    for (const [column, path] of Object.entries(paths)) {
      const value = this.place(at, path);
      if (value !== -1) made.set(column, tape.textOf(value));
      taken.add(column);
      if (path.length === 1) taken.add(String(path[0]));
    }
    const members = [`"${PARENT}":${parent}`];
    if (isRefused) {
      members.push(`"${REFUSED}":true`);
      taken.add(REFUSED);
    }
    for (const [column, text] of made) members.push(`${JSON.stringify(column)}:${text}`);
    if (!tape.isObject(at)) return `{${members.join(',')}}`;
    const lists =
      children.length === 0 ? [] : listsOf(children, table.columns).map((path) => this.place(at, path));
    if (lists.every((list) => list === -1))
      tape.eachMember(at, (name, nameAt) => {
        if (!taken.has(name)) members.push(tape.memberText(nameAt));
      });
    else
      for (const [name, value] of tape.named(at))
        if (!taken.has(name)) members.push(`${JSON.stringify(name)}:${this.textWithout(value, lists)}`);
    return `{${members.join(',')}}`;
  }

  /** Why columns of an item could not be made; null if they were. */
  private refusalOf(at: number): string | null {
    const reason = this.tape.isObject(at) ? this.tape.member(at, REFUSED) : -1;
    return reason === -1 ? null : String(this.tape.valueOf(reason));
  }

  private value({ at, made }: Above, path: ValuePath): string {
    const [first, ...others] = path;
    const known = others.length === 0 ? made.get(String(first)) : undefined;
    if (known !== undefined) return known;
    const value = this.place(at, path);
    return value === -1 ? 'null' : this.tape.textOf(value);
  }

  /** The value at a path from another one; -1 if there is none. */
  private place(from: number, path: ValuePath): number {
    let at = from;
    for (const part of path) {
      if (at === -1) return -1;
      at = typeof part === 'number' ? this.tape.item(at, part) : this.tape.member(at, part);
    }
    return at;
  }

  /** The text of a value, with null in place of some of the values in it. */
  private textWithout(at: number, values: readonly number[]): string {
    const { tape } = this;
    const start = tape.startOf(at);
    const end = start + tape.lengthOf(at);
    const cuts = values
      .filter((value) => value !== -1)
      .map((value) => ({ from: tape.startOf(value), to: tape.startOf(value) + tape.lengthOf(value) }))
      .filter(({ from, to }) => from >= start && to <= end)
      .sort((a, b) => a.from - b.from);
    let text = '';
    let done = start;
    for (const { from, to } of cuts) {
      if (from < done) continue;
      text += `${tape.text.slice(done, from)}null`;
      done = to;
    }
    return text + tape.text.slice(done, end);
  }
}

/** Places of the lists that child tables take out of a record: all but those that are columns as well. */
export const listsOf = (children: readonly ChildSpec[], columns: object): ValuePath[] =>
  children.map(({ from }) => from).filter(([first]) => !Object.hasOwn(columns, String(first)));
