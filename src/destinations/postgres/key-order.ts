/** Orders records by the bytes of their keys. */

/** Bits of a number that hold the place of a key. */
const PLACE_BITS = 24;
/** The most keys that are ordered at a time. */
export const KEYS_LIMIT = 2 ** PLACE_BITS;
/** Bytes of a key that are compared at a time: those that the place leaves of 64 bits. */
const STEP = 5;
/** So few keys are compared one by one. */
const FEW = 8;

/** Keys of records, one behind the other; none begins with the whole of another one. */
export interface Keys {
  bytes: Uint8Array;
  /** Where each key begins, and where the last one ends. */
  starts: Uint32Array;
  count: number;
}

export interface LastKeys {
  /** Places of keys, in the order of their bytes; of equal keys that of the last one. */
  last: Uint32Array;
  /** Places of the other keys. */
  replaced: readonly number[];
}

/** Finds the last one of equal keys. @param keys at most {@link KEYS_LIMIT}. */
export function lastOfEachKey(keys: Keys): LastKeys {
  const { count } = keys;
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  const sorter = new KeySorter(keys, order);
  sorter.sort(0, count, 0);
  const replaced: number[] = [];
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const place = order[i] as number;
    const isLast = i + 1 === count || sorter.compare(place, order[i + 1] as number, 0) !== 0;
    if (isLast) order[kept++] = place;
    else replaced.push(place);
  }
  return { last: order.subarray(0, kept), replaced };
}

class KeySorter {
  /** Five bytes of each key, and its place in the low bits; as numbers that are sorted, and as halves, the lower first. */
  private readonly packed: BigUint64Array;
  private readonly halves: Uint32Array;

  constructor(
    private readonly keys: Keys,
    private readonly order: Uint32Array,
  ) {
    this.packed = new BigUint64Array(keys.count);
    this.halves = new Uint32Array(this.packed.buffer);
  }

  /** Sorts a part of the order, whose keys are the same up to an offset; equal keys by their places. */
  sort(from: number, to: number, offset: number): void {
    if (to - from <= FEW) {
      this.sortFew(from, to, offset);
      return;
    }
    const start = offset + this.commonLength(from, to, offset);
    if (start === this.lengthOf(this.order[from] as number)) {
      this.order.subarray(from, to).sort();
      return;
    }
    this.pack(from, to, start);
    for (const [first, next] of this.runs(from, to)) this.sort(first, next, start + STEP);
  }

  /** Compares keys that are the same up to an offset. */
  compare(a: number, b: number, offset: number): number {
    const { bytes, starts } = this.keys;
    const end = starts[a + 1] as number;
    let other = (starts[b] as number) + offset;
    for (let at = (starts[a] as number) + offset; at < end; at++, other++) {
      const difference = (bytes[at] as number) - (bytes[other] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  private lengthOf(place: number): number {
    const { starts } = this.keys;
    return (starts[place + 1] as number) - (starts[place] as number);
  }

  private sortFew(from: number, to: number, offset: number): void {
    const { order } = this;
    for (let i = from + 1; i < to; i++) {
      const place = order[i] as number;
      let at = i;
      for (; at > from; at--) {
        const before = order[at - 1] as number;
        const difference = this.compare(before, place, offset);
        if (difference < 0 || (difference === 0 && before < place)) break;
        order[at] = before;
      }
      order[at] = place;
    }
  }

  /** Returns how many bytes behind the offset are the same in all keys of a part. */
  private commonLength(from: number, to: number, offset: number): number {
    const { order } = this;
    const { bytes, starts } = this.keys;
    const first = (starts[order[from] as number] as number) + offset;
    let length = this.lengthOf(order[from] as number) - offset;
    for (let i = from + 1; i < to && length > 0; i++) {
      const at = (starts[order[i] as number] as number) + offset;
      let n = 0;
      while (n < length && bytes[first + n] === bytes[at + n]) n++;
      length = n;
    }
    return length;
  }

  /** Orders a part by five bytes of each key, those behind the end being 0. */
  private pack(from: number, to: number, start: number): void {
    const { order, halves } = this;
    const { bytes, starts } = this.keys;
    for (let i = from; i < to; i++) {
      const place = order[i] as number;
      const at = (starts[place] as number) + start;
      const left = (starts[place + 1] as number) - at;
      const a = left > 0 ? (bytes[at] as number) : 0;
      const b = left > 1 ? (bytes[at + 1] as number) : 0;
      const c = left > 2 ? (bytes[at + 2] as number) : 0;
      const d = left > 3 ? (bytes[at + 3] as number) : 0;
      const e = left > 4 ? (bytes[at + 4] as number) : 0;
      halves[i * 2] = (e << PLACE_BITS) | place;
      halves[i * 2 + 1] = (a << 24) | (b << 16) | (c << 8) | d;
    }
    this.packed.subarray(from, to).sort();
    for (let i = from; i < to; i++) order[i] = (halves[i * 2] as number) & (KEYS_LIMIT - 1);
  }

  /** Returns the parts of a packed part with the same five bytes, where they have more than one key. */
  private runs(from: number, to: number): [from: number, to: number][] {
    const { halves } = this;
    const found: [from: number, to: number][] = [];
    for (let first = from; first < to;) {
      const high = halves[first * 2 + 1];
      const low = (halves[first * 2] as number) >>> PLACE_BITS;
      let next = first + 1;
      while (
        next < to &&
        halves[next * 2 + 1] === high &&
        (halves[next * 2] as number) >>> PLACE_BITS === low
      )
        next++;
      if (next - first > 1) found.push([first, next]);
      first = next;
    }
    return found;
  }
}
