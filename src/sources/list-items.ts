/** The items of a list that child tables are filled from. */
import type { JsonTape } from '../request/json-tape.js';

/** An item: where it is in the text, its name or its position as text, and its position. */
export interface ListItem {
  at: number;
  name: string;
  place: number;
}

/**
 * Lists the items of a list. Null has none; any other value that is no list is one item.
 * @param isNamed an object is no item: each of its members is one.
 */
export function* itemsOf(tape: JsonTape, list: number, isNamed: boolean): Iterable<ListItem> {
  if (tape.text.startsWith('null', tape.startOf(list))) return;
  let place = 0;
  if (isNamed && tape.isObject(list))
    for (const [name, at] of tape.named(list)) yield { at, name, place: place++ };
  else if (tape.isList(list))
    for (const at of tape.items(list)) yield { at, name: String(place), place: place++ };
  else yield { at: list, name: '0', place };
}
