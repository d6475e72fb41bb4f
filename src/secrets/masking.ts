/** Finds secrets in texts, however they are written there, and hides them. */
import { REACH, readings, type Reading } from './spellings.js';

/** Hides secrets in a text. */
export type Mask = (text: string) => string;

/** Stands for a secret. */
export const MASK = '***';

/** Secrets that are known only for a while, such as the signatures of single requests: the newest are remembered. */
const PASSING_LIMIT = 256;

/**
 * Secrets, and the texts that they must not appear in. Works in time linear in the text, for secrets of any length. A
 * text is masked wherever it can be read as a secret: plain, or with any of its characters escaped as in an address, a
 * form, JSON or HTML, however often; in hexadecimal; in base64, also as a part of what is encoded. The beginning of a secret is
 * hidden too: from 20 bytes on, or from 6 where the text ends with it, as it may have been cut there.
 */
export class Secrets {
  private readonly lasting = new Set<string>();
  private readonly passing = new Set<string>();
  private matchers: { lasting: Matcher | null; passing: Matcher | null } = { lasting: null, passing: null };

  constructor(secrets: Iterable<string> = []) {
    for (const secret of secrets) this.add(secret);
  }

  add(secret: string): void {
    if (secret === '' || this.lasting.has(secret)) return;
    this.lasting.add(secret);
    this.matchers.lasting = null;
  }

  /** Adds a secret that is one of many, each of which is of use for a short time only. */
  addPassing(secret: string): void {
    if (secret === '' || this.lasting.has(secret) || this.passing.has(secret)) return;
    this.passing.add(secret);
    const [oldest] = this.passing;
    if (this.passing.size > PASSING_LIMIT && oldest !== undefined) this.passing.delete(oldest);
    this.matchers.passing = null;
  }

  /** Whether a text holds a secret. A text that cannot be searched counts as one that does. */
  holds(text: string): boolean {
    return this.found(text, false)?.length !== 0;
  }

  /** Returns a text with `***` in place of each secret; `***` alone where the text cannot be searched. */
  mask(text: string): string {
    const spans = this.found(text, true);
    if (spans === null) return MASK;
    let shown = '';
    let at = 0;
    for (const [from, to] of spans) {
      shown += text.slice(at, from) + MASK;
      at = to;
    }
    return shown + text.slice(at);
  }

  /** Places in a text that hold secrets, or may; null where it cannot be searched. */
  private found(text: string, mayBeCut: boolean): Span[] | null {
    if (text === '' || this.lasting.size + this.passing.size === 0) return [];
    try {
      const read = readings(text);
      const lasting = (this.matchers.lasting ??= new Matcher(this.lasting));
      const passing = (this.matchers.passing ??= new Matcher(this.passing));
      const spans = [lasting, passing].flatMap((matcher) => matcher.find(text, read, mayBeCut));
      return merged(merged(spans).map((span) => widened(span, read)));
    } catch {
      // Nothing may be said of this error: it might hold what it stumbled over.
      return null;
    }
  }
}

type Span = [from: number, to: number];

/** A span with the whole of the escapes that it begins or ends in: what is left of one would tell of the secret. */
function widened([from, to]: Span, read: ReadonlyMap<number, Reading[]>): Span {
  const span: Span = [from, to];
  if (read.size === 0) return span;
  for (let at = Math.max(0, from - REACH); at < to; at++) {
    // Within the span only what is near its end may lead beyond it.
    if (at === from) at = Math.max(at, to - REACH);
    for (const { end } of read.get(at) ?? []) {
      if (at < from && end > from) span[0] = Math.min(span[0], at);
      if (at < to && end > to) span[1] = Math.max(span[1], end);
    }
  }
  return span;
}

function merged(spans: Span[]): Span[] {
  const all: Span[] = [];
  for (const [from, to] of spans.sort((x, y) => x[0] - y[0])) {
    const last = all.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else all.push([from, to]);
  }
  return all;
}

/** More ways than this to read one place of a text, each as another part of a secret, are not followed. */
const WAYS_LIMIT = 256;
/** The first bytes of a secret are hidden where a text ends with this many of them. */
const CUT_BYTES = 6;
/** And anywhere in a text from this many on: sources quote the beginning of what they were sent. */
const BEGINNING_BYTES = 20;
/** The end of a text that was cut within an escape, or within a character: U+FFFD stands for its first bytes, or half of a pair is left. */
const CUT_WITHIN = /^(?:[%\\&][%\\&#;a-z0-9]*)?[\ufffd\ud800-\udbff]*$/i;
const CUT_ESCAPE_LENGTH = 64;

/** Patterns of bytes in a trie with links from each prefix to its longest suffix that is a prefix too (Aho–Corasick). */
class Matcher {
  /** Children of the root, by their bytes. */
  private readonly first = new Int32Array(256);
  private readonly byte: Uint8Array;
  private readonly child: Int32Array;
  private readonly sibling: Int32Array;
  private readonly depth: Int32Array;
  /** Where to go on when no child fits. Prefixes that would fail at the same byte again are left out (Knuth). */
  private readonly fail: Int32Array;
  /** How many bytes the longest pattern has that ends here. */
  private readonly ends: Int32Array;
  /** What else of the text belongs to that pattern. */
  private readonly edges: Uint8Array;
  /** Numbers of the states, and how many states each is a suffix of: these have the numbers that follow its own. */
  private readonly number: Int32Array;
  private readonly longer: Int32Array;
  private size = 1;

  constructor(secrets: Iterable<string>) {
    const patterns = [...secrets].flatMap(patternsOf);
    const most = patterns.reduce((sum, { bytes }) => sum + bytes.length, 1);
    const each = () => new Int32Array(most);
    [this.byte, this.edges] = [new Uint8Array(most), new Uint8Array(most)];
    [this.child, this.sibling, this.depth, this.fail, this.ends] = [each(), each(), each(), each(), each()];
    for (const pattern of patterns) this.insert(pattern);
    [this.number, this.longer] = [new Int32Array(this.size), new Int32Array(this.size)];
    this.link();
  }

  /** Finds patterns in all ways of reading a text. @throws {Error} where there are too many of them. */
  find(text: string, escapes: ReadonlyMap<number, Reading[]>, mayBeCut: boolean): Span[] {
    if (this.size === 1) return [];
    const spans: Span[] = [];
    // A step of a way: the state that it leads to, its bytes, where in the text it ends, and the step before it.
    const states = [0];
    const sizes = [0];
    const places = [0];
    const before = [-1];
    const walked = [0];
    /** Marks the bytes that end with a step, back to where an earlier walk has marked them already. */
    const mark = (step: number, bytes: number, edges = 0) => {
      const to = places[step] ?? 0;
      let at = step;
      let left = bytes;
      while (left > 0 && at > 0 && left > (walked[at] ?? 0)) {
        walked[at] = left;
        left -= sizes[at] ?? 0;
        at = before[at] ?? 0;
      }
      const from = places[at] ?? 0;
      const has = (edge: number, place: number, what: RegExp) =>
        (edges & edge) !== 0 && what.test(text.charAt(place));
      let end = has(AFTER, to, BASE64) ? to + 1 : to;
      while (has(PADDED, end, /=/)) end++;
      spans.push([has(BEFORE, from - 1, BASE64) ? from - 1 : from, end]);
    };
    /** Steps that end at a place, and those that end further on, by their places. */
    let here = [0];
    let following: number[] = [];
    const pending = new Map<number, number[]>();
    const advance = (step: number, { bytes, end }: Reading, isFurther: boolean) => {
      let state = states[step] ?? 0;
      for (const byte of bytes) state = this.next(state, byte);
      let there = isFurther ? pending.get(end) : following;
      if (there === undefined) pending.set(end, (there = []));
      // Whatever a suffix leads to, the longer one does too.
      if (there.some((other) => this.isSuffix(state, states[other] ?? 0))) return;
      let kept = 0;
      for (const other of there) if (!this.isSuffix(states[other] ?? 0, state)) there[kept++] = other;
      there.length = kept;
      if (kept === WAYS_LIMIT) throw new Error('there are too many ways to read this text');
      there.push(states.length);
      before.push(step);
      states.push(state);
      sizes.push(bytes.length);
      places.push(end);
      walked.push(0);
    };
    for (let at = 0; ;) {
      const mayEnd = mayBeCut && text.length - at <= CUT_ESCAPE_LENGTH;
      const isCut = mayEnd && (at === text.length || CUT_WITHIN.test(text.slice(at)));
      for (const step of here) {
        const state = states[step] ?? 0;
        if (this.ends[state] !== 0) mark(step, this.ends[state] ?? 0, this.edges[state]);
        if ((this.depth[state] ?? 0) >= BEGINNING_BYTES) mark(step, this.depth[state] ?? 0);
        if (isCut && (this.depth[state] ?? 0) >= CUT_BYTES) {
          mark(step, this.depth[state] ?? 0);
          spans.push([at, text.length]);
        }
      }
      if (at === text.length) return spans;
      const plain = plainReading(text, at);
      // Longer readings come first: of several that lead to the same, the one that begins first is kept.
      following = pending.get(plain.end) ?? [];
      pending.delete(plain.end);
      const escaped = escapes.get(at);
      for (const step of here) {
        for (const reading of escaped ?? []) advance(step, reading, reading.end !== plain.end);
        advance(step, plain, false);
      }
      here = following;
      at = plain.end;
    }
  }

  private insert({ bytes, edges }: Pattern): void {
    let state = 0;
    for (const byte of bytes) {
      let next = this.childOf(state, byte);
      if (next === 0) {
        next = this.size++;
        this.byte[next] = byte;
        this.depth[next] = (this.depth[state] ?? 0) + 1;
        this.sibling[next] = this.child[state] ?? 0;
        this.child[state] = next;
        if (state === 0) this.first[byte] = next;
      }
      state = next;
    }
    this.ends[state] = bytes.length;
    this.edges[state] = (this.edges[state] ?? 0) | edges;
  }

  private link(): void {
    // Where a prefix's longest suffix is, before those that would fail again are left out.
    const suffix = new Int32Array(this.size);
    const order = new Int32Array(this.size);
    let filled = 1;
    for (let i = 0; i < filled; i++) {
      const state = order[i] ?? 0;
      const link = suffix[state] ?? 0;
      if (this.ends[state] === 0) {
        this.ends[state] = this.ends[link] ?? 0;
        this.edges[state] = this.edges[link] ?? 0;
      }
      const only = this.onlyByte(state);
      this.fail[state] = only !== -1 && only === this.onlyByte(link) ? (this.fail[link] ?? 0) : link;
      for (let next = this.child[state] ?? 0; next !== 0; next = this.sibling[next] ?? 0) {
        suffix[next] = state === 0 ? 0 : this.next(link, this.byte[next] ?? 0);
        order[filled++] = next;
      }
    }
    // Numbers each state before those that it is a suffix of.
    for (let i = this.size - 1; i > 0; i--) {
      const state = order[i] ?? 0;
      this.longer[suffix[state] ?? 0] =
        (this.longer[suffix[state] ?? 0] ?? 0) + 1 + (this.longer[state] ?? 0);
    }
    const free = new Int32Array(this.size).fill(1);
    for (let i = 1; i < this.size; i++) {
      const state = order[i] ?? 0;
      const link = suffix[state] ?? 0;
      const number = (this.number[link] ?? 0) + (free[link] ?? 0);
      this.number[state] = number;
      free[link] = (free[link] ?? 0) + 1 + (this.longer[state] ?? 0);
    }
  }

  /** Whether a state is a suffix of another, or the same. */
  private isSuffix(state: number, of: number): boolean {
    const distance = (this.number[of] ?? 0) - (this.number[state] ?? 0);
    return distance >= 0 && distance <= (this.longer[state] ?? 0);
  }

  /** The byte of a state's only child; -1 where there are none or several, and at the root. */
  private onlyByte(state: number): number {
    const child = this.child[state] ?? 0;
    return state === 0 || child === 0 || this.sibling[child] !== 0 ? -1 : (this.byte[child] ?? 0);
  }

  private next(from: number, byte: number): number {
    for (let state = from; ; state = this.fail[state] ?? 0) {
      const child = this.childOf(state, byte);
      if (child !== 0 || state === 0) return child;
    }
  }

  private childOf(state: number, byte: number): number {
    if (state === 0) return this.first[byte] ?? 0;
    let child = this.child[state] ?? 0;
    while (child !== 0 && this.byte[child] !== byte) child = this.sibling[child] ?? 0;
    return child;
  }
}

/** A character of a text as it stands. */
function plainReading(text: string, at: number): Reading {
  const code = text.codePointAt(at) ?? 0;
  if (code < 0x80) return { bytes: [code], end: at + 1 };
  return { bytes: [...Buffer.from(String.fromCodePoint(code))], end: at + (code > 0xffff ? 2 : 1) };
}

/** Bytes to be found, and what else of a text belongs to them: a letter before or after, and padding. */
interface Pattern {
  bytes: Buffer;
  edges: number;
}
const [BEFORE, AFTER, PADDED] = [1, 2, 4];

const BASE64 = /[A-Za-z0-9+/_-]/;
/** Less than this of base64 may be some other word. */
const BASE64_PART = 8;

/** A secret as it may be encoded as a whole; escapes of single characters are the text's readings. */
function patternsOf(secret: string): Pattern[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString('hex');
  const patterns = [bytes, Buffer.from(hex), Buffer.from(hex.toUpperCase())].map((one) => ({
    bytes: one,
    edges: 0,
  }));
  for (const alphabet of ['base64', 'base64url'] as const) {
    for (const shift of [0, 1, 2]) {
      const whole = Buffer.concat([Buffer.alloc(shift), bytes])
        .toString(alphabet)
        .replace(/=+$/, '');
      // The letters at both ends are made of other bytes too.
      const isOpen = (shift + bytes.length) % 3 !== 0;
      const part = whole.slice(shift === 0 ? 0 : shift + 1, isOpen ? -1 : undefined);
      if (shift === 0) patterns.push({ bytes: Buffer.from(whole), edges: PADDED });
      if (part.length < BASE64_PART) continue;
      patterns.push({
        bytes: Buffer.from(part),
        edges: (shift === 0 ? 0 : BEFORE) | (isOpen ? AFTER : 0) | PADDED,
      });
    }
  }
  return patterns;
}
