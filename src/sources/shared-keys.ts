/** Notices records, or rows that a transform made of one record, that share a primary key: only the last is stored. */
import type { Note } from '../protocol.js';
import type { Mask } from '../secrets/masking.js';
import { counted } from '../text.js';

/** Notices records of one answer that share a primary key. */
export class SharedKeys {
  private readonly seen = new Repeats();
  private place = 0;

  constructor(private readonly primaryKey: readonly string[]) {}

  /**
   * @param keys of the next records; empty for a record that is rejected.
   * @param kept whether each record of the answer is kept, by its place; null if all are.
   */
  add(keys: readonly string[], kept: readonly boolean[] | null): void {
    for (const key of keys) if (kept?.[this.place++] !== false) this.seen.add(key);
  }

  notes(mask: Mask): Note[] {
    const { first, count } = this.seen;
    if (first === null) return [];
    const message =
      `${counted(count, 'record')} of a response ${count === 1 ? 'has' : 'have'} the primary key (${this.primaryKey.join(', ')}) of another ` +
      `record of it, such as ${shownKey(first, mask)}; the last one of each is stored. If they are different records, ` +
      'the primary key does not tell them apart: for items of lists inside of records, configure a child table ("children").';
    return [{ code: CODE, message }];
  }
}

/** Notices rows of one record that share a primary key. Holds the keys of one record at a time. */
export class SharedRowKeys {
  private readonly seen = new Repeats();
  private owner: object | null = null;

  constructor(
    private readonly primaryKey: readonly string[],
    private readonly hook: string,
  ) {}

  /**
   * @param keys of the next rows; empty for a row that is rejected.
   * @param owners the record that each of them was made of.
   */
  add(keys: readonly string[], owners: readonly object[]): void {
    for (const [i, key] of keys.entries()) {
      const owner = owners[i] ?? null;
      if (owner !== this.owner) this.seen.forgetKeys();
      this.owner = owner;
      this.seen.add(key);
    }
  }

  notes(mask: Mask): Note[] {
    const { first, count } = this.seen;
    if (first === null) return [];
    const message =
      `the hook ${this.hook} made ${counted(count, 'row')} of a response with the primary key (${this.primaryKey.join(', ')}) of another ` +
      `row of the same record, such as ${shownKey(first, mask)}; the last one of each is stored, the others are lost. Have the hook ` +
      'give each row a key of its own, and name all of its columns in "primary_key".';
    return [{ code: CODE, message }];
  }
}

/** Counts texts that came before. */
class Repeats {
  count = 0;
  /** The first that came again. */
  first: string | null = null;
  private readonly seen = new Set<string>();

  add(key: string): void {
    if (key === '') return;
    if (!this.seen.has(key)) this.seen.add(key);
    else {
      this.count++;
      this.first ??= key;
    }
  }

  forgetKeys(): void {
    this.seen.clear();
  }
}

const CODE = 'shared_keys';

const shownKey = (key: string, mask: Mask) => JSON.stringify(mask(key).slice(0, 200));
