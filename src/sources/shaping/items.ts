/** Makes columns for the items of lists that child tables are filled from, as for records. */
import type { KeyObject } from 'node:crypto';
import { ITEM, REFUSED, type ItemShape } from '../../protocol.js';
import { ExpressionError } from '../../request/expressions.js';
import { JsonTape } from '../../request/json-tape.js';
import { comparable } from '../../request/member-names.js';
import { placeAt } from '../../request/paths.js';
import { itemsOf } from '../list-items.js';
import { type Maker, makersOf } from './makers.js';
import { isSecret, itemColumn, patternOf } from './protection-of.js';

/** A list, as its shape says, with what makes the columns of its items. */
interface List {
  shape: ItemShape;
  makers: readonly Maker[];
  /** Members of an item that are no columns of their own, because columns that are made have their names. */
  taken: ReadonlySet<string>;
  /** Members of which nothing is stored as it is, by {@link comparable} names. */
  hidden: ReadonlySet<string>;
  inner: readonly List[];
}

/** Members made for an item: JSON texts `"name":value`. */
interface MadeItem {
  members: string[];
  inner: MadeLists;
}

/** Members made for the items of lists, by their names or positions. */
export type MadeLists = { list: List; items: Map<string, MadeItem> }[];

export class MadeItems {
  readonly hasExpressions: boolean;
  private readonly lists: readonly List[];

  constructor(items: readonly ItemShape[], keys: ReadonlyMap<string, KeyObject>) {
    this.lists = items.map((shape) => listOf(shape, keys));
    this.hasExpressions = this.lists.some(evaluates);
  }

  /**
   * Makes members for the items of a record, which has all its members yet.
   * @param refusal why nothing can be evaluated; null: expressions are.
   */
  made(record: JsonTape, refusal: string | null): MadeLists {
    return madeLists(record, this.lists, refusal);
  }

  /** Writes made members into the items of a record, which holds nothing in plain text any more. */
  written(record: string, made: MadeLists): string {
    return written(new JsonTape(record), made);
  }
}

function listOf(shape: ItemShape, keys: ReadonlyMap<string, KeyObject>): List {
  const { made, items = [] } = shape;
  const hidden = Object.values(made).flatMap((one) => {
    const pattern = isSecret(one) && 'from' in one ? patternOf(one.from) : [];
    return pattern.length === 1 ? pattern : [];
  });
  return {
    shape,
    makers: makersOf(made, keys, (column) => itemColumn(shape, column)),
    taken: new Set([...Object.keys(made), REFUSED]),
    hidden: new Set(hidden.map((name) => comparable(String(name)))),
    inner: items.map((inner) => listOf(inner, keys)),
  };
}

const evaluates = ({ makers, inner }: List): boolean =>
  makers.some(({ loops }) => loops !== null) || inner.some(evaluates);

const madeLists = (above: JsonTape, lists: readonly List[], refusal: string | null): MadeLists =>
  lists.map((list) => {
    const at = placeAt(above, list.shape.from);
    const items = new Map<string, MadeItem>();
    if (at === undefined) return { list, items };
    for (const { at: item, name } of itemsOf(above, at, list.shape.isNamed === true))
      items.set(name, madeItem(list, itemTape(above, item), refusal));
    return { list, items };
  });

/** An item as a record of its own; one that is no object is in the column `value`. */
function itemTape(tape: JsonTape, at: number): JsonTape {
  const text = tape.textOf(at);
  return new JsonTape(tape.isObject(at) ? text : `{"${ITEM}":${text}}`);
}

function madeItem(list: List, item: JsonTape, refusal: string | null): MadeItem {
  const members: string[] = [];
  let why = refusal;
  for (const { name, loops, make } of list.makers) {
    if (loops !== null && why !== null) continue;
    try {
      const text = make(item);
      if (text !== null) members.push(name + text);
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      why = thrown.message;
    }
  }
  // Without expressions of its own an item is whole, whatever the record lacks.
  const isWhole = why === null || list.makers.every(({ loops }) => loops === null);
  if (!isWhole) members.push(`"${REFUSED}":${JSON.stringify(why)}`);
  return { members, inner: madeLists(item, list.inner, refusal) };
}

function written(above: JsonTape, made: MadeLists): string {
  const cuts = made
    .flatMap(({ list, items }) => {
      const at = placeAt(above, list.shape.from);
      if (at === undefined || items.size === 0) return [];
      const from = above.startOf(at);
      return [{ from, to: from + above.lengthOf(at), text: writtenList(above, at, list, items) }];
    })
    .sort((a, b) => a.from - b.from);
  let text = '';
  let done = 0;
  for (const cut of cuts) {
    // One of two lists in the same place; the configuration has none.
    if (cut.from < done) continue;
    text += above.text.slice(done, cut.from) + cut.text;
    done = cut.to;
  }
  return text + above.text.slice(done);
}

function writtenList(tape: JsonTape, at: number, list: List, made: ReadonlyMap<string, MadeItem>): string {
  const isNamed = list.shape.isNamed === true;
  const items = [...itemsOf(tape, at, isNamed)].map(({ at: item, name }) => ({
    name,
    text: writtenItem(itemTape(tape, item), list, made.get(name)),
  }));
  if (isNamed && tape.isObject(at))
    return `{${items.map(({ name, text }) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
  return tape.isList(at)
    ? `[${items.map(({ text }) => text).join(',')}]`
    : (items[0]?.text ?? tape.textOf(at));
}

function writtenItem(item: JsonTape, { taken, hidden }: List, made: MadeItem | undefined): string {
  const whole = made === undefined ? item : new JsonTape(written(item, made.inner));
  const members: string[] = [];
  whole.eachMember(0, (name, nameAt) => {
    if (!taken.has(name) && !hidden.has(comparable(name))) members.push(whole.memberText(nameAt));
  });
  return `{${[...members, ...(made?.members ?? [])].join(',')}}`;
}
