import { Body, SEGMENT_BYTES } from './body.js';
import { formatTimestamp, ID_END, ID_START, MAX_RECORD_BYTES, mix, Pen, Random } from './render.js';
import { SettingsError, type Gaps, type Mutation } from './settings.js';

/** 2026-01-01T00:00:00Z, the `updatedAt` of the first record. */
export const BASE_SECONDS = Date.UTC(2026, 0, 1) / 1000;

/**
 * The integer before the first id under `numeric_ids`: 2^53, the last one that JavaScript numbers represent exactly.
 */
const NUMERIC_ID_BASE = 2n ** 53n;

const numericId = (sequence: number): bigint => NUMERIC_ID_BASE + BigInt(sequence);

/** The kind of id in a record: its uuid, its sequence number as text, or an integer beyond 2^53. */
export type IdForm = 'uuid' | 'sequence' | 'numeric';

/** Parameters of the generated data. */
export interface DataShape {
  rows: number;
  seed: number;
  spacing_seconds: number;
  ties: number;
  gaps: Gaps;
}

/** Parameters of a list request. */
export interface ListQuery {
  orderBy: 'updatedAt' | 'createdAt';
  descending: boolean;
  /** Seconds since 1970; only records at or after it, or after it if `exclusive`. */
  since: number | null;
  exclusive: boolean;
  unordered: boolean;
}

/** The records that a query selects: `slots[from]` up to `slots[to]`. */
export interface List {
  slots: Uint32Array;
  from: number;
  to: number;
}

/** Both ids of a record. */
export interface RecordIds {
  id: string;
  sequence: number;
}

/** Result of a mutation. */
export interface MutationReport {
  inserted: RecordIds[];
  updated: RecordIds[];
  deleted: RecordIds[];
  late: RecordIds[];
  /** The greatest `updatedAt` ever. */
  greatest: string;
  /** Current number of records. */
  total: number;
}

/** Generates the sequence numbers of records, skipping the gaps. */
class Sequence {
  #last = 0;
  readonly #ranges: readonly (readonly [number, number])[];
  readonly #modulus: { every: number; length: number } | null;

  constructor(gaps: Gaps) {
    this.#ranges = Array.isArray(gaps) ? [...gaps].sort((a, b) => a[0] - b[0]) : [];
    this.#modulus = Array.isArray(gaps) ? null : gaps;
  }

  skip(count: number): void {
    this.#last += count;
  }

  next(): number {
    let next = this.#last + 1;
    if (this.#modulus) {
      const { every, length } = this.#modulus;
      const place = (next - 1) % (every + length);
      if (place >= every) next += every + length - place;
    }
    for (const [from, to] of this.#ranges) {
      if (from > next) break;
      if (next <= to) next = to + 1;
    }
    if (next > 0xffff_ffff) throw new SettingsError('there are no sequence numbers left');
    return (this.#last = next);
  }
}

/**
 * All records, rendered in the order of their creation, and the orders in which they are requested. Buffers are
 * append-only, so a page under way survives mutations.
 */
export class Records {
  readonly #shape: DataShape;
  readonly #sequence: Sequence;
  #segments: Buffer[] = [];
  readonly #pen = new Pen();

  // By slot: the n-th record created. Sequence numbers ascend with the slots.
  #slots = 0;
  #start: Float64Array;
  #length: Uint16Array;
  #number: Uint32Array;
  #created: Uint32Array;
  #updated: Uint32Array;
  #version: Uint16Array;
  #alive: Uint8Array;

  #total = 0;
  #greatest: number;
  #mutations = 0;

  /** Slots by `updatedAt`, then by slot; those in `#moved` are out of place until the order is needed. */
  #order: Uint32Array;
  /** Slots added, changed or removed, and their places in `#order`; -1 for added ones. */
  #moved = new Map<number, number>();
  #orders = new Map<string, Uint32Array>();

  constructor(shape: DataShape) {
    this.#shape = shape;
    this.#sequence = new Sequence(shape.gaps);
    const room = Math.max(1024, Math.ceil(shape.rows * 1.05));
    this.#start = new Float64Array(room);
    this.#length = new Uint16Array(room);
    this.#number = new Uint32Array(room);
    this.#created = new Uint32Array(room);
    this.#updated = new Uint32Array(room);
    this.#version = new Uint16Array(room);
    this.#alive = new Uint8Array(room);
    this.#greatest = BASE_SECONDS - shape.spacing_seconds;
    this.#order = new Uint32Array(shape.rows);
    const createdBefore = new Random(mix(shape.seed, 0x5eed));
    for (let i = 0; i < shape.rows; i++) {
      const updated = BASE_SECONDS + Math.floor(i / shape.ties) * shape.spacing_seconds;
      this.#order[i] = this.#add(updated - (createdBefore.next() % 3600), updated);
    }
  }

  get total(): number {
    return this.#total;
  }

  /** The greatest `updatedAt` ever. */
  get greatest(): string {
    return formatTimestamp(Math.max(this.#greatest, BASE_SECONDS));
  }

  updatedAt(slot: number): number {
    return this.#updated[slot] as number;
  }

  /** Returns the records of a list endpoint, in its order. */
  list(query: ListQuery): List {
    const { since, exclusive } = query;
    const order = this.#inOrder();
    const skipped = since === null ? 0 : this.#firstFrom(order, since, exclusive);
    if (query.unordered) {
      return this.#derived(`unordered ${skipped}`, skipped, (slots) => this.#shuffle(slots));
    }
    if (query.orderBy === 'updatedAt' && !query.descending) {
      return { slots: order, from: skipped, to: order.length };
    }
    // Python's sort is stable in both directions: ties stay in list order.
    const values = query.orderBy === 'updatedAt' ? this.#updated : this.#created;
    return this.#derived(`${query.orderBy} ${query.descending} ${skipped}`, skipped, (slots) => {
      if (query.descending) slots.sort((a, b) => (values[b] as number) - (values[a] as number));
      else slots.sort((a, b) => (values[a] as number) - (values[b] as number));
    });
  }

  /** Returns the records with ids in a range, in the order of their ids. */
  range(from: bigint, to: bigint, numeric: boolean, unordered: boolean): List {
    const base = numeric ? NUMERIC_ID_BASE : 0n;
    const clamp = (id: bigint): number => {
      const sequence = id - base;
      return sequence < 0n ? 0 : sequence > 0xffff_ffffn ? 0x1_0000_0000 : Number(sequence);
    };
    const first = this.#slotFrom(clamp(from));
    const end = this.#slotFrom(clamp(to) + 1);
    const slots = new Uint32Array(end - first);
    let count = 0;
    for (let slot = first; slot < end; slot++) if (this.#alive[slot]) slots[count++] = slot;
    const found = slots.subarray(0, count);
    if (unordered) this.#shuffle(found);
    return { slots: found, from: 0, to: count };
  }

  /** Returns the records from `slots[from]` up to `slots[to]` as an answer's body. */
  body(slots: Uint32Array, from: number, to: number, form: IdForm): Body {
    const count = Math.max(0, to - from);
    const starts = new Float64Array(count);
    const lengths = new Uint16Array(count);
    const prefixes = form === 'uuid' ? null : new Array<string>(count);
    for (let i = 0; i < count; i++) {
      const slot = slots[from + i] as number;
      starts[i] = this.#start[slot] as number;
      lengths[i] = this.#length[slot] as number;
      if (prefixes === null) continue;
      // Write another id before the rest of the record.
      const number = this.#number[slot] as number;
      prefixes[i] = form === 'sequence' ? `{"id": "${number}"` : `{"id": ${numericId(number)}`;
      starts[i] = (starts[i] as number) + ID_END;
      lengths[i] = (lengths[i] as number) - ID_END;
    }
    return new Body(this.#segments, starts, lengths, prefixes);
  }

  /** Changes the data at once. @throws {SettingsError} if a named record does not exist. */
  mutate(mutation: Mutation): MutationReport {
    const { spacing_seconds: spacing, ties, seed } = this.#shape;
    const random = new Random(
      mix(mutation.seed ?? seed, mutation.seed === undefined ? ++this.#mutations : -1),
    );
    const named = this.#find(
      [mutation.delete, mutation.update].flatMap((ids) => (Array.isArray(ids) ? ids : [])),
    );
    const spared = new Set(named.values());
    const choose = (which: number | string[]): number[] =>
      Array.isArray(which) ? which.map((id) => named.get(id) as number) : this.#draw(which, random, spared);

    // Check everything before any change.
    const size = (which: number | string[]): number => (Array.isArray(which) ? which.length : which);
    if (size(mutation.delete) + size(mutation.update) > this.#total) {
      throw new SettingsError(`there are only ${this.#total} records to update or delete`);
    }
    if (new Set(named.values()).size < named.size) throw new SettingsError('a record is named twice');
    this.#inOrder();
    const doomed = choose(mutation.delete);
    const deleted = doomed.map((slot) => this.#ids(slot));
    this.#displace(doomed);
    for (const slot of doomed) {
      this.#alive[slot] = 0;
      this.#total--;
    }

    const before = this.#greatest;
    let events = 0;
    const tick = (): number => (this.#greatest = before + spacing * (1 + Math.floor(events++ / ties)));
    const updated = choose(mutation.update);
    this.#displace(updated);
    for (const slot of updated) {
      this.#version[slot] = (this.#version[slot] as number) + 1;
      this.#updated[slot] = tick();
      this.#store(slot);
    }
    this.#sequence.skip(mutation.gap);
    const inserted: number[] = [];
    for (let i = 0; i < mutation.insert; i++) {
      const at = tick();
      inserted.push(this.#arrive(this.#add(at, at)));
    }
    const late: number[] = [];
    if (mutation.late) {
      const at = this.#greatest - Math.round(mutation.late.hours_ago * 3600);
      for (let i = 0; i < mutation.late.count; i++) late.push(this.#arrive(this.#add(at, at)));
    }
    return {
      inserted: inserted.map((slot) => this.#ids(slot)),
      updated: updated.map((slot) => this.#ids(slot)),
      deleted,
      late: late.map((slot) => this.#ids(slot)),
      greatest: this.greatest,
      total: this.#total,
    };
  }

  #add(created: number, updated: number): number {
    const slot = this.#slots++;
    if (slot >= this.#start.length) this.#grow();
    this.#number[slot] = this.#sequence.next();
    this.#created[slot] = created;
    this.#updated[slot] = updated;
    this.#alive[slot] = 1;
    this.#total++;
    this.#greatest = Math.max(this.#greatest, updated);
    this.#store(slot);
    return slot;
  }

  /** Renders a record at the end of the buffers. */
  #store(slot: number): void {
    const pen = this.#pen;
    if (this.#segments.length === 0 || pen.at + MAX_RECORD_BYTES > SEGMENT_BYTES) {
      const segment = Buffer.allocUnsafeSlow(SEGMENT_BYTES);
      this.#segments.push(segment);
      pen.turnTo(segment);
    }
    const start = pen.at;
    pen.record({
      seed: this.#shape.seed,
      sequence: this.#number[slot] as number,
      version: this.#version[slot] as number,
      created: this.#created[slot] as number,
      updated: this.#updated[slot] as number,
    });
    this.#start[slot] = (this.#segments.length - 1) * SEGMENT_BYTES + start;
    this.#length[slot] = pen.at - start;
  }

  #grow(): void {
    const wider = <T extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(old: T): T => {
      const Type = old.constructor as new (length: number) => T;
      const array = new Type(old.length * 2);
      array.set(old);
      return array;
    };
    this.#start = wider(this.#start);
    this.#length = wider(this.#length);
    this.#number = wider(this.#number);
    this.#created = wider(this.#created);
    this.#updated = wider(this.#updated);
    this.#version = wider(this.#version);
    this.#alive = wider(this.#alive);
  }

  /** Remembers the places of records before they move; all at once, while the order is intact. */
  #displace(slots: readonly number[]): void {
    for (const slot of slots) this.#moved.set(slot, this.#placeOf(this.#order, slot));
  }

  /** Adds a record that has no place yet. */
  #arrive(slot: number): number {
    this.#moved.set(slot, -1);
    return slot;
  }

  /** Returns the first place whose record does not come before this one. */
  #placeOf(order: Uint32Array, slot: number): number {
    let [low, high] = [0, order.length];
    const at = this.#updated[slot] as number;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = order[middle] as number;
      const apart = (this.#updated[other] as number) - at || other - slot;
      if (apart < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Returns the order by `updatedAt`, repaired if records have moved: unmoved runs are copied as a whole. */
  #inOrder(): Uint32Array {
    if (this.#moved.size === 0) return this.#order;
    const left = [...this.#moved.values()].filter((place) => place >= 0).sort((a, b) => a - b);
    const kept = new Uint32Array(this.#order.length - left.length);
    let from = 0;
    let filled = 0;
    for (const place of [...left, this.#order.length]) {
      kept.set(this.#order.subarray(from, place), filled);
      filled += place - from;
      from = place + 1;
    }
    const coming = [...this.#moved.keys()]
      .filter((slot) => this.#alive[slot])
      .sort((a, b) => (this.#updated[a] as number) - (this.#updated[b] as number) || a - b);
    const next = new Uint32Array(this.#total);
    from = 0;
    filled = 0;
    for (const slot of coming) {
      const place = this.#placeOf(kept, slot);
      next.set(kept.subarray(from, place), filled);
      filled += place - from;
      next[filled++] = slot;
      from = place;
    }
    next.set(kept.subarray(from), filled);
    this.#order = next;
    this.#moved.clear();
    this.#orders.clear();
    return next;
  }

  /** Returns another order of the records from a place on, cached for the following pages. */
  #derived(key: string, skipped: number, sort: (slots: Uint32Array) => void): List {
    let slots = this.#orders.get(key);
    if (slots === undefined) {
      slots = this.#order.slice(skipped);
      sort(slots);
      const [oldest] = this.#orders.keys();
      if (this.#orders.size >= 8 && oldest !== undefined) this.#orders.delete(oldest);
      this.#orders.set(key, slots);
    }
    return { slots, from: 0, to: slots.length };
  }

  /** Shuffles by seed and sequence numbers only. */
  #shuffle(slots: Uint32Array): void {
    const keys = new Uint32Array(this.#slots);
    for (const slot of slots) keys[slot] = mix(this.#shape.seed, this.#number[slot] as number);
    slots.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
  }

  #firstFrom(order: Uint32Array, since: number, exclusive: boolean): number {
    let [low, high] = [0, order.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#updated[order[middle] as number] as number;
      if (exclusive ? at > since : at >= since) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #slotFrom(sequence: number): number {
    let [low, high] = [0, this.#slots];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#number[middle] as number) >= sequence) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #ids(slot: number): RecordIds {
    const start = this.#start[slot] as number;
    const segment = Math.floor(start / SEGMENT_BYTES);
    const at = start - segment * SEGMENT_BYTES + ID_START;
    return {
      id: (this.#segments[segment] as Buffer).toString('latin1', at, at + 36),
      sequence: this.#number[slot] as number,
    };
  }

  #find(ids: string[]): Map<string, number> {
    const found = new Map<string, number>();
    if (ids.length === 0) return found;
    const wanted = new Set(ids);
    if (wanted.size < ids.length) throw new SettingsError('a record is named twice');
    for (let slot = 0; slot < this.#slots; slot++) {
      if (!this.#alive[slot]) continue;
      const { id, sequence } = this.#ids(slot);
      for (const name of [id, String(sequence), String(numericId(sequence))]) {
        if (wanted.has(name)) found.set(name, slot);
      }
    }
    for (const id of ids) if (!found.has(id)) throw new SettingsError(`no record has the id ${id}`);
    return found;
  }

  /** Draws a number of different records, except the named ones. */
  #draw(count: number, random: Random, spared: ReadonlySet<number>): number[] {
    const drawn: number[] = [];
    const order = count > 0 ? this.#inOrder() : this.#order;
    // Shuffles only the first places; moved values are kept beside the array.
    const swapped = new Map<number, number>();
    for (let i = 0; drawn.length < count; i++) {
      const j = i + (random.next() % (order.length - i));
      const at = (place: number): number => swapped.get(place) ?? (order[place] as number);
      const slot = at(j);
      swapped.set(j, at(i));
      if (!spared.has(slot)) drawn.push(slot);
    }
    return drawn;
  }
}
