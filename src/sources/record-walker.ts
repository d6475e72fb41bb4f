import type { ColumnType } from '../protocol.js';
import { WALKER } from './record-walker.wasm.js';

/**
 * The quick half of the scanner: `assembly/record-walker.ts`, compiled to WebAssembly. It walks records that are as others
 * before them and need nothing done, five times as fast as JavaScript does; it stops before any other.
 */

/** A member of a record that was met: its bytes from the name up to the value, and what it is to the scanner. */
interface KnownField {
  lead: Buffer;
  kind: number;
  /** The number of the member, which may be written in several ways. */
  member: number;
}

// The layout of its memory, as in `assembly/record-walker.ts`.
const FIELDS = 1024;
const STAMPS = 0x1400;
const LEADS = 0x4000;
const SPANS = 0x10000;
const QUOTES = 0x50000;
const BODY = 0x68000;
const BODY_BYTES = 1024 * 1024;
/** Reads go a little beyond the end: there is nothing that is anything. */
const SLACK = 64;
const FIELD_LIMIT = 256;
const KEY_PARTS_LIMIT = 16;
const CURSOR = 0x100;
const EXACT_SHIFT = 12;
const EXACT = { text: 1, whole: 2, double: 3 };
const CHECK_SHIFT = 16;
const LIMIT_SHIFT = 20;
/**
 * The check of each type's values, and its limit: characters of a FLOAT or a DOUBLE that is neither too large
 * nor too small for certain, digits before the point of any other number. Values that a check does not take are the scanner's.
 */
const CHECKS: { [type: string]: readonly [check: number, limit: number] } = {
  BOOLEAN: [1, 0],
  SHORT: [2, 4],
  INT: [2, 9],
  LONG: [2, 18],
  FLOAT: [4, 38],
  DOUBLE: [4, 38],
  NAIVE_DATE: [5, 0],
  NAIVE_DATETIME: [6, 0],
  UTC_DATETIME: [7, 0],
  BINARY: [8, 0],
};
const DECIMAL_CHECK = 3;
/** So often in a row it may find nothing; a body that is written in another way is not for it. */
const PATIENCE = 16;

interface Walk {
  memory: { buffer: ArrayBuffer };
  walk: (from: number, end: number, fields: number, keys: number, most: number) => number;
  quoteCount: () => number;
}

/** The parts of WebAssembly that this file uses, which the types of Node 20 do not have. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: unknown };
};

interface Shared {
  walk: Walk;
  bytes: Uint8Array;
  words: Int32Array;
}

/** One for all scanners: each walks in one piece. Null where there is no WebAssembly of this kind. */
const shared = ((): Shared | null => {
  try {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(WALKER, 'base64')), {});
    const walk = instance.exports as Walk;
    return { walk, bytes: new Uint8Array(walk.memory.buffer), words: new Int32Array(walk.memory.buffer) };
  } catch {
    return null;
  }
})();
/** How many walkers there were, and which of them has its fields and bytes in memory. */
let made = 0;
let holder = 0;

/** The place of a value in the bytes at hand. */
export interface Place {
  /** Or ABSENT, or NULL. */
  start: number;
  end: number;
  /** A string that holds an escape. */
  escaped: boolean;
}

export const ABSENT = -1;
export const NULL = -2;

/** A walker for the records of one body. */
export class RecordWalker {
  /** Places of the quotes that belong round numbers, ascending, of the records that were walked last. */
  readonly quotes: number[] = [];

  private readonly id = ++made;
  private readonly words: Int32Array;
  /** Words of a record: its place, and those of its wanted values. */
  private readonly stride: number;
  private readonly fields: KnownField[] = [];
  private readonly leads = new Set<string>();
  private readonly members = new Map<object, number>();
  private leadBytes = 0;
  private isCurrent = false;
  private misses = 0;
  private b: Buffer | null = null;
  /** The part of it that is in memory. */
  private from = 0;
  private to = 0;

  private constructor(
    private readonly keys: number,
    private readonly shared: Shared,
  ) {
    this.words = shared.words;
    this.stride = 2 + (keys + 1) * 3;
  }

  /**
   * @param keys how many parts the primary key has.
   * @returns null where there is none for it.
   */
  static of(keys: number): RecordWalker | null {
    return shared === null || keys > KEY_PARTS_LIMIT ? null : new RecordWalker(keys, shared);
  }

  /** Whether it is still of use. */
  get isOfUse(): boolean {
    return this.misses < PATIENCE && this.fields.length > 0;
  }

  /**
   * Takes note of a member that was met.
   * @param keyPart which part of the primary key it is, or -1.
   * @param type the declared type that its values are checked for.
   * @param member stands for the member, however it is written.
   */
  learn(
    lead: Buffer,
    keyPart: number,
    isCursor: boolean,
    exact: keyof typeof EXACT | null,
    type: ColumnType | null = null,
    member: object = lead,
  ): void {
    const text = lead.toString('latin1');
    if (this.leads.has(text) || this.fields.length >= FIELD_LIMIT) return;
    if (LEADS + this.leadBytes + lead.length + SLACK > SPANS) return;
    this.leads.add(text);
    this.leadBytes += lead.length + SLACK;
    const number = this.members.get(member) ?? this.members.size;
    this.members.set(member, number);
    const kind =
      (keyPart + 1) |
      (isCursor ? CURSOR : 0) |
      (exact === null ? 0 : EXACT[exact] << EXACT_SHIFT) |
      checkOf(type);
    this.fields.push({ lead, kind, member: number });
    this.isCurrent = false;
  }

  /**
   * Walks records that stand behind a place, each with a comma before it.
   * @returns how many; where each stands is in {@link start} and {@link end}.
   */
  walk(b: Buffer, from: number): number {
    const isHere = holder === this.id && this.b === b && from >= this.from && from < this.to;
    if (!isHere) this.load(b, from);
    if (!this.isCurrent) this.describe();
    let count = this.go(from);
    // It may have been cut by the end of what is in memory; while much of that is left, it was something else.
    if (count === 0 && this.to < b.length && this.to - from < BODY_BYTES / 4) {
      this.load(b, from);
      count = this.go(from);
    }
    this.misses = count === 0 ? this.misses + 1 : 0;
    return count;
  }

  start(record: number): number {
    return this.place(this.word(record));
  }

  end(record: number): number {
    return this.place(this.word(record) + 1);
  }

  /** How long the parts of a record's key are together, as they stand. */
  keyLength(record: number): number {
    let length = 0;
    for (let k = 0; k < this.keys; k++) {
      const word = this.word(record) + 2 + k * 3;
      length += this.place(word + 1) - this.place(word) + 1;
    }
    return length;
  }

  /** Places of the parts of a record's key. */
  key(record: number, into: readonly Place[]): void {
    for (let k = 0; k < into.length; k++) this.value(record, k, into[k] as Place);
  }

  /**
   * Reads the place of a wanted value of a record: a part of its key, or after those the value of its cursor field.
   * @param into takes it: `start` is ABSENT or NULL where there is none.
   */
  value(record: number, slot: number, into: Place): void {
    const word = this.word(record) + 2 + slot * 3;
    const start = this.words[word] as number;
    into.start = start < 0 ? start : this.place(word);
    into.end = this.place(word + 1);
    into.escaped = this.words[word + 2] === 1;
  }

  private word(record: number): number {
    return SPANS / 4 + record * this.stride;
  }

  private place(word: number): number {
    return (this.words[word] as number) - BODY + this.from;
  }

  private go(from: number): number {
    const { walk } = this.shared;
    const end = BODY + this.to - this.from;
    const most = Math.floor((QUOTES - SPANS) / (4 * this.stride));
    const count = walk.walk(BODY + from - this.from, end, this.fields.length, this.keys, most);
    this.quotes.length = 0;
    for (let i = walk.quoteCount() - 1; i >= 0; i--) this.quotes[i] = this.place(QUOTES / 4 + i);
    return count;
  }

  private load(b: Buffer, from: number): void {
    const { bytes } = this.shared;
    const to = Math.min(b.length, from + BODY_BYTES);
    bytes.set(b.subarray(from, to), BODY);
    bytes.fill(0, BODY + to - from, BODY + to - from + SLACK);
    if (holder !== this.id) this.isCurrent = false;
    holder = this.id;
    this.b = b;
    this.from = from;
    this.to = to;
  }

  private describe(): void {
    const { bytes } = this.shared;
    let at = LEADS;
    for (const [i, { lead, kind, member }] of this.fields.entries()) {
      bytes.set(lead, at);
      this.words.set([at, lead.length, kind, STAMPS + member * 4], FIELDS / 4 + i * 4);
      at += lead.length + SLACK;
    }
    this.isCurrent = true;
  }
}

/** The check of a type, as part of a field's kind. */
function checkOf(type: ColumnType | null): number {
  const [, precision, scale] = /^DECIMAL\((\d+),(\d+)\)$/.exec(type ?? '') ?? [];
  const [check, limit] =
    precision === undefined
      ? (CHECKS[type ?? ''] ?? [0, 0])
      : [DECIMAL_CHECK, Number(precision) - Number(scale)];
  return (check << CHECK_SHIFT) | (limit << LIMIT_SHIFT);
}
