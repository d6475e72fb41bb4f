/**
 * Walks the members of staged records as bytes. The records were validated when they were read, so the walker only
 * finds the bounds of each value. Records of one API usually name their members in the same order, so a member is
 * recognised by its place.
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

const CUT_SHORT = 'a staged record is truncated';

/** Longer names are not recognised by their bytes. */
const REMEMBERED_LENGTH = 1024;

/** A member of the records, identified by the names on the way to it. */
export class Field<T> {
  /** State that the walker's owner keeps for the member. */
  known: T | null = null;
  readonly children = new Map<string, Field<T>>();
  /** The child seen at each place of the last record. */
  readonly layout: Field<T>[] = [];

  constructor(
    readonly path: readonly string[],
    /** The name as written in a record, with its quotes. */
    readonly bytes: Buffer,
  ) {}
}

export interface FieldVisitor<T> {
  /** Called with each value other than null; `end` is exclusive. */
  value: (field: Field<T>, bytes: Buffer, start: number, end: number) => void;
  /** Called at the end of the record that the preceding values belong to. */
  record: (bytes: Buffer, start: number, end: number) => void;
}

export class FieldWalker<T> {
  readonly root = new Field<T>([], Buffer.alloc(0));
  private b: Buffer = Buffer.alloc(0);
  private p = 0;

  /** @param levels how many levels of objects to walk into; 0: none. */
  constructor(private readonly levels: number) {}

  /** Walks newline-delimited records. */
  walk(bytes: Buffer, visitor: FieldVisitor<T>): void {
    this.b = bytes;
    this.p = 0;
    for (;;) {
      while (this.p < bytes.length && (bytes[this.p] as number) <= SPACE) this.p++;
      if (this.p >= bytes.length) return;
      const start = this.p;
      this.walkMembers(this.root, 0, visitor);
      visitor.record(bytes, start, this.p);
    }
  }

  /** Walks an object, from its `{` to after its `}`. */
  private walkMembers(parent: Field<T>, depth: number, visitor: FieldVisitor<T>): void {
    const { b } = this;
    this.p++;
    this.skipSpace();
    if (b[this.p] === CLOSE_OBJECT) {
      this.p++;
      return;
    }
    for (let place = 0; ; place++) {
      const field = this.matchName(parent, place);
      this.skipSpace();
      // Skip the colon.
      this.p++;
      this.skipSpace();
      const start = this.p;
      const first = b[start];
      if (first === OPEN_OBJECT && depth < this.levels) this.walkMembers(field, depth + 1, visitor);
      else {
        this.skipValue(first);
        if (first !== SMALL_N) visitor.value(field, b, start, this.p);
      }
      this.skipSpace();
      if (b[this.p++] !== COMMA) return;
      this.skipSpace();
    }
  }

  private matchName(parent: Field<T>, place: number): Field<T> {
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
    this.skipString();
    const bytes = Buffer.from(b.subarray(start, this.p));
    const name = JSON.parse(bytes.toString('utf8')) as string;
    let field = parent.children.get(name);
    if (field === undefined) {
      field = new Field<T>([...parent.path, name], bytes);
      parent.children.set(name, field);
    }
    // A name can be spelled with escapes; only the first spelling is remembered.
    if (bytes.length <= REMEMBERED_LENGTH && field.bytes.equals(bytes)) parent.layout[place] = field;
    return field;
  }

  private skipSpace(): void {
    const { b } = this;
    while ((b[this.p] as number) <= SPACE && b[this.p] !== NEWLINE && this.p < b.length) this.p++;
  }

  private skipValue(first: number | undefined): void {
    const { b } = this;
    if (first === QUOTE) this.skipString();
    else if (first === OPEN_OBJECT || first === OPEN_ARRAY) this.skipContainer();
    else {
      let c = b[this.p] as number;
      while (c > SPACE && c !== COMMA && c !== CLOSE_OBJECT && c !== CLOSE_ARRAY) c = b[++this.p] as number;
    }
  }

  private skipString(): void {
    const { b } = this;
    let p = this.p + 1;
    for (let c = b[p]; c !== QUOTE; c = b[p]) {
      if (c === undefined) throw new Error(CUT_SHORT);
      p += c === BACKSLASH ? 2 : 1;
    }
    this.p = p + 1;
  }

  private skipContainer(): void {
    const { b } = this;
    let depth = 0;
    for (;;) {
      const c = b[this.p];
      if (c === undefined) throw new Error(CUT_SHORT);
      if (c === QUOTE) {
        this.skipString();
        continue;
      }
      this.p++;
      if (c === OPEN_OBJECT || c === OPEN_ARRAY) depth++;
      else if ((c === CLOSE_OBJECT || c === CLOSE_ARRAY) && --depth === 0) return;
    }
  }
}
