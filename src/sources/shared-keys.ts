/** Notices records of one answer that share a primary key, of which only the last is stored. */
import type { Note } from '../protocol.js';
import type { Mask } from '../secrets/masking.js';
import { counted } from '../text.js';

export class SharedKeys {
  private readonly seen = new Set<string>();
  private count = 0;
  private first: string | null = null;
  private place = 0;

  constructor(private readonly primaryKey: readonly string[]) {}

  /**
   * @param keys of the next records; empty for a record that is rejected.
   * @param kept whether each record of the answer is kept, by its place; null if all are.
   */
  add(keys: readonly string[], kept: readonly boolean[] | null): void {
    for (const key of keys) {
      if (kept?.[this.place++] === false || key === '') continue;
      if (!this.seen.has(key)) this.seen.add(key);
      else {
        this.count++;
        this.first ??= key;
      }
    }
  }

  notes(mask: Mask): Note[] {
    const { first, count } = this;
    if (first === null) return [];
    const message =
      `${counted(count, 'record')} of a response ${count === 1 ? 'has' : 'have'} the primary key (${this.primaryKey.join(', ')}) of another ` +
      `record of it, such as ${JSON.stringify(mask(first).slice(0, 200))}; the last one of each is stored. If they are different records, ` +
      'the primary key does not tell them apart: for items of lists inside of records, configure a child table ("children").';
    return [{ code: 'shared_keys', message }];
  }
}
