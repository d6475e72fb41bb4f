/** Finds secrets in texts, in any encoding, and masks them. */
import { REACH, readings, type Reading } from './spellings.js';

/** Masks secrets in a text. */
export type Mask = (text: string) => string;

export const MASK = '***';

/** Maximum short-lived secrets to remember, such as signatures of single requests; the newest are kept. */
const PASSING_LIMIT = 256;

/**
 * A set of secrets to mask in texts. Takes time linear in the text, for secrets of any length. A text is masked
 * wherever it can be read as a secret: plain, or with any characters escaped as in an address, a form, JSON or HTML,
 * even repeatedly; in hexadecimal; in base64, also as part of a longer encoded text. The beginning of a secret is
 * masked too: from 20 bytes on, or from 6 at the end of the text, where it may have been cut off.
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

  /** Adds a short-lived secret; old ones are dropped. */
  addPassing(secret: string): void {
    if (secret === '' || this.lasting.has(secret) || this.passing.has(secret)) return;
    this.passing.add(secret);
    const [oldest] = this.passing;
    if (this.passing.size > PASSING_LIMIT && oldest !== undefined) this.passing.delete(oldest);
    this.matchers.passing = null;
  }

  /** Whether a text contains a secret. A text that cannot be searched counts as containing one. */
  holds(text: string): boolean {
    return this.found(text, false)?.length !== 0;
  }

  /** Returns the text with `***` in place of each secret; only `***` if it cannot be searched. */
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

  /** Returns the spans that contain secrets, or may; null if the text cannot be searched. */
  private found(text: string, mayBeCut: boolean): Span[] | null {
    if (text === '' || this.lasting.size + this.passing.size === 0) return [];
    try {
      const read = readings(text);
      const lasting = (this.matchers.lasting ??= new Matcher(this.lasting));
      const passing = (this.matchers.passing ??= new Matcher(this.passing));
      const spans = [lasting, passing].flatMap((matcher) => matcher.find(text, read, mayBeCut));
      return merged(merged(spans).map((span) => widened(span, read)));
    } catch {
      // The error must not be reported: it may contain the secret.
      return null;
    }
  }
}

type Span = [from: number, to: number];

/** Widens a span to whole escapes: the rest of one would reveal part of the secret. */
function widened([from, to]: Span, read: ReadonlyMap<number, Reading[]>): Span {
  const span: Span = [from, to];
  if (read.size === 0) return span;
  for (let at = Math.max(0, from - REACH); at < to; at++) {
    // Only escapes that begin near the end of the span can reach beyond it.
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

/** Maximum readings to follow at one place of a text, each in another part of a secret. */
const WAYS_LIMIT = 256;
/** Bytes of a secret's beginning that are masked at the end of a text. */
const CUT_BYTES = 6;
/** Bytes of a secret's beginning that are masked anywhere: sources quote the beginning of what they received. */
const BEGINNING_BYTES = 20;
/**
 * The end of a text that was cut within an escape or a character: its first bytes are U+FFFD, or half of a surrogate
 * pair remains.
 */
const CUT_WITHIN = /^(?:[%\\&][%\\&#;a-z0-9]*)?[\ufffd\ud800-\udbff]*$/i;
const CUT_ESCAPE_LENGTH = 64;

/** Finds byte patterns with a trie whose nodes link to their longest suffix that is also a prefix (Aho–Corasick). */
class Matcher {
  /** Children of the root, by their bytes. */
  private readonly first = new Int32Array(256);
  private readonly byte: Uint8Array;
  private readonly child: Int32Array;
  private readonly sibling: Int32Array;
  private readonly depth: Int32Array;
  /** The next state when no child matches, skipping states that would fail at the same byte (Knuth). */
  private readonly fail: Int32Array;
  /** Length in bytes of the longest pattern that ends at a state. */
  private readonly ends: Int32Array;
  /** Adjacent characters that belong to that pattern. */
  private readonly edges: Uint8Array;
  /** Numbers of the states, and the count of states of which each is a suffix; these have the following numbers. */
  private readonly number: Int32Array;
  private readonly longer: Int32Array;
  private size = 1;

  constructor(secrets: Iterable<string>) {
    const patterns = [...secrets].flatMap(patternsOf);
    const most = patterns.reduce((sum, { bytes }) => sum + bytes.length, 1);
    const each = () => new Int32Array(most);
    [this.byte, this.edges] = [new Uint8Array(most), new Uint8Array(most)];
    [this.child, this.sibling, this.depth, this.fail, this.ends] = [each(), each(), each(), each(), each()];
    for (const pattern of patterns) this.insertPattern(pattern);
    [this.number, this.longer] = [new Int32Array(this.size), new Int32Array(this.size)];
    this.linkSuffixes();
  }

  /** Finds patterns in all readings of a text. @throws {Error} if there are too many. */
  find(text: string, escapes: ReadonlyMap<number, Reading[]>, mayBeCut: boolean): Span[] {
    if (this.size === 1) return [];
    const spans: Span[] = [];
    // Steps of a reading, in parallel arrays: the state reached, its bytes, the end in the text, and the previous step.
    const states = [0];
    const sizes = [0];
    const places = [0];
    const before = [-1];
    const walked = [0];
    /** Marks the bytes before the end of a step, back to bytes that are already marked. */
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
    /** Steps that end at the current place, and by place those that end further on. */
    let here = [0];
    let following: number[] = [];
    const pending = new Map<number, number[]>();
    const advance = (step: number, { bytes, end }: Reading, isFurther: boolean) => {
      let state = states[step] ?? 0;
      for (const byte of bytes) state = this.next(state, byte);
      let there = isFurther ? pending.get(end) : following;
      if (there === undefined) pending.set(end, (there = []));
      // The longer state reaches every state that its suffix reaches.
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
      // Longer readings come first, so that of several with the same result the earliest is kept.
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

  private insertPattern({ bytes, edges }: Pattern): void {
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

  private linkSuffixes(): void {
    // Longest suffixes of the states, before skipping those that would fail again.
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
    // Numbers each state before its suffixes.
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

  /** Whether a state is a suffix of another, or equal to it. */
  private isSuffix(state: number, of: number): boolean {
    const distance = (this.number[of] ?? 0) - (this.number[state] ?? 0);
    return distance >= 0 && distance <= (this.longer[state] ?? 0);
  }

  /** Returns the byte of a state's only child; -1 if it has none or several, and for the root. */
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

/** Reads one unescaped character. */
function plainReading(text: string, at: number): Reading {
  const code = text.codePointAt(at) ?? 0;
  if (code < 0x80) return { bytes: [code], end: at + 1 };
  return { bytes: [...Buffer.from(String.fromCodePoint(code))], end: at + (code > 0xffff ? 2 : 1) };
}

/** Bytes to find, and adjacent characters that belong to them: a letter before or after, and padding. */
interface Pattern {
  bytes: Buffer;
  edges: number;
}
const [BEFORE, AFTER, PADDED] = [1, 2, 4];

/** Characters that the name of a host may have. */
const HOST_LENGTH = 253;

const BASE64 = /[A-Za-z0-9+/_-]/;
/** Shorter parts of base64 may be ordinary words. */
const BASE64_PART = 8;

/** Returns the encodings of a whole secret; escapes of single characters are readings of the text. */
function patternsOf(secret: string): Pattern[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString('hex');
  // Hosts are written in lower case.
  const lower = secret.length <= HOST_LENGTH ? [Buffer.from(secret.toLowerCase())] : [];
  const patterns = [bytes, ...lower, Buffer.from(hex), Buffer.from(hex.toUpperCase())].map((one) => ({
    bytes: one,
    edges: 0,
  }));
  for (const alphabet of ['base64', 'base64url'] as const) {
    for (const shift of [0, 1, 2]) {
      const whole = Buffer.concat([Buffer.alloc(shift), bytes])
        .toString(alphabet)
        .replace(/=+$/, '');
      // The letters at both ends also depend on the neighbouring bytes.
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
