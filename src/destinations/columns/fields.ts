/**
 * Walks the members of staged records as bytes: they were checked when they were read, so that this only finds where
 * each value begins and ends. Records of one API name their members in one order, by which a member is known again.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const NEWLINE = 0x0a;
const SPACE = 0x20;
const SMALL_N = 0x6e;

const CUT_SHORT = 'a staged record is cut short';

/** Names that are longer are not known again by their bytes. */
const REMEMBERED_LENGTH = 1024;

/** A member that records have, by the names on the way to it. */
export class Field<T> {
  /** What the walker's owner knows of it. */
  known: T | null = null;
  readonly children = new Map<string, Field<T>>();
  /** The child met at each place in the last record. */
  readonly layout: Field<T>[] = [];

  constructor(
    readonly path: readonly string[],
    /** The name as it stood in a record, with its quotes. */
    readonly bytes: Buffer,
  ) {}
}

export interface FieldVisitor<T> {
  /** A value other than null, from its first byte to behind its last. */
  value: (field: Field<T>, bytes: Buffer, start: number, end: number) => void;
  /** The record that these values were of has ended. */
  record: (bytes: Buffer, start: number, end: number) => void;
}

export class FieldWalker<T> {
  readonly root = new Field<T>([], Buffer.alloc(0));
  private b: Buffer = Buffer.alloc(0);
  private p = 0;

  /** @param levels objects so deep are walked into; 0: none. */
  constructor(private readonly levels: number) {}

  /** Walks newline-delimited records. */
  walk(bytes: Buffer, visitor: FieldVisitor<T>): void {
    this.b = bytes;
    this.p = 0;
    for (;;) {
      while (this.p < bytes.length && (bytes[this.p] as number) <= SPACE) this.p++;
      if (this.p >= bytes.length) return;
      const start = this.p;
      this.members(this.root, 0, visitor);
      visitor.record(bytes, start, this.p);
    }
  }

  /** From an object's `{` to behind its `}`. */
  private members(parent: Field<T>, depth: number, visitor: FieldVisitor<T>): void {
    const { b } = this;
    this.p++;
    this.space();
    if (b[this.p] === CLOSE_OBJECT) {
      this.p++;
      return;
    }
    for (let place = 0; ; place++) {
      const field = this.name(parent, place);
      this.space();
      // The colon.
      this.p++;
      this.space();
      const start = this.p;
      const first = b[start];
      if (first === OPEN_OBJECT && depth < this.levels) this.members(field, depth + 1, visitor);
      else {
        this.skip(first);
        if (first !== SMALL_N) visitor.value(field, b, start, this.p);
      }
      this.space();
      if (b[this.p++] !== COMMA) return;
      this.space();
    }
  }

  private name(parent: Field<T>, place: number): Field<T> {
    const { b } = this;
    const guess = parent.layout[place];
    if (guess !== undefined) {
      const { bytes } = guess;
      let i = 0;
      while (i < bytes.length && bytes[i] === b[this.p + i]) i++;
      if (i === bytes.length) {
        this.p += i;
        return guess;
      }
    }
    const start = this.p;
    this.string();
    const bytes = Buffer.from(b.subarray(start, this.p));
    const name = JSON.parse(bytes.toString('utf8')) as string;
    let field = parent.children.get(name);
    if (field === undefined) {
      field = new Field<T>([...parent.path, name], bytes);
      parent.children.set(name, field);
    }
    // A name may be written in more than one way.
    if (bytes.length <= REMEMBERED_LENGTH && field.bytes.equals(bytes)) parent.layout[place] = field;
    return field;
  }

  private space(): void {
    const { b } = this;
    while ((b[this.p] as number) <= SPACE && b[this.p] !== NEWLINE && this.p < b.length) this.p++;
  }

  private skip(first: number | undefined): void {
    const { b } = this;
    if (first === QUOTE) this.string();
    else if (first === OPEN_OBJECT || first === OPEN_ARRAY) this.container();
    else {
      let c = b[this.p] as number;
      while (c > SPACE && c !== COMMA && c !== CLOSE_OBJECT && c !== CLOSE_ARRAY) c = b[++this.p] as number;
    }
  }

  private string(): void {
    const { b } = this;
    let p = this.p + 1;
    for (let c = b[p]; c !== QUOTE; c = b[p]) {
      if (c === undefined) throw new Error(CUT_SHORT);
      p += c === BACKSLASH ? 2 : 1;
    }
    this.p = p + 1;
  }

  private container(): void {
    const { b } = this;
    let depth = 0;
    for (;;) {
      const c = b[this.p];
      if (c === undefined) throw new Error(CUT_SHORT);
      if (c === QUOTE) {
        this.string();
        continue;
      }
      this.p++;
      if (c === OPEN_OBJECT || c === OPEN_ARRAY) depth++;
      else if ((c === CLOSE_OBJECT || c === CLOSE_ARRAY) && --depth === 0) return;
    }
  }
}
