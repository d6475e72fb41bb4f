import {
  CITIES,
  COMPANIES,
  DOMAINS,
  FIRST_NAMES,
  JOBS,
  LAST_NAMES,
  STATES,
  STREETS,
  UNITS,
} from './words.js';

/** The data that determines a record. */
export interface Ingredients {
  seed: number;
  sequence: number;
  /** Number of updates; each changes the fields after the email. */
  version: number;
  /** Seconds since 1970. */
  created: number;
  updated: number;
}

/** Generates 32-bit integers (mulberry32): small, fast, and the same everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  next(): number {
    const state = (this.#state + 0x6d2b79f5) | 0;
    this.#state = state;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

/** Hashes two integers to one. */
export function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return h ^ (h >>> 16);
}

const days = new Map<number, Buffer>();

function date(day: number): Buffer {
  let bytes = days.get(day);
  if (bytes === undefined) {
    days.set(day, (bytes = Buffer.from(new Date(day * 86_400_000).toISOString().slice(0, 11))));
  }
  return bytes;
}

/** Formats seconds since 1970 as `YYYY-MM-DDTHH:MM:SSZ`. */
export function formatTimestamp(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

const text = (words: string): Buffer => Buffer.from(words);
const json = (words: string): Buffer => Buffer.from(JSON.stringify(words).slice(1, -1));

const firstNames = FIRST_NAMES.map(([shown]) => json(shown));
const firstPlain = FIRST_NAMES.map(([, plain]) => text(plain));
const lastNames = LAST_NAMES.map(([shown]) => json(shown));
const lastPlain = LAST_NAMES.map(([, plain]) => text(plain));
const domains = DOMAINS.map(text);
const streets = STREETS.map(json);
const units = UNITS.map(json);
const cities = CITIES.map(json);
const states = STATES.map(text);
const companies = COMPANIES.map(json);
const jobs = JOBS.map(json);

const OPEN = text('{"id": "');
const NAME = text('", "name": "');
const EMAIL = text('", "email": "');
const ADDRESS = text('", "address": "');
const NEWLINE = text('\\n');
const COMMA = text(', ');
const SPACE = text(' ');
const DOT = text('.');
const AT = text('@');
const COMPANY = text('", "company": "');
const JOB = text('", "job": "');
const CREATED = text('", "createdAt": "');
const UPDATED = text('", "updatedAt": "');
const CLOSE = text('"}, ');

/** Offset of a record's uuid in its bytes. */
export const ID_START = OPEN.length;
/** Offset after the id and its quotes; the bytes before it can be replaced. */
export const ID_END = ID_START + 36 + 1;
/** Length of the separator after a record, omitted at the end of a list. */
export const SEPARATOR = COMMA.length;
/** Maximum length of a record. */
export const MAX_RECORD_BYTES = 1024;

const HEX = text('0123456789abcdef');
const DASH = 0x2d;
const COLON = 0x3a;
const ZERO = 0x30;
const Z = 0x5a;

/**
 * Writes records as JSON, each with its separator. Writes bytes, which is several times as fast as strings: a test may
 * need a million records before it starts.
 */
export class Pen {
  /** Offset of the next byte. */
  at = 0;
  #target: Uint8Array = new Uint8Array(0);

  /** Continues in another buffer. */
  turnTo(target: Uint8Array): void {
    this.#target = target;
    this.at = 0;
  }

  record({ seed, sequence, version, created, updated }: Ingredients): void {
    const own = new Random(mix(seed, sequence));
    const [a, b, c, d, n] = [own.next(), own.next(), own.next(), own.next(), own.next()] as const;
    this.#put(OPEN);
    this.#hex(a >>> 16);
    this.#hex(a);
    this.#byte(DASH);
    this.#hex(b >>> 16);
    this.#byte(DASH);
    this.#hex(0x4000 | (b & 0x0fff));
    this.#byte(DASH);
    this.#hex(0x8000 | (c & 0x3fff));
    this.#byte(DASH);
    this.#hex(c >>> 16);
    this.#hex(d >>> 16);
    this.#hex(d);

    const first = n & 0xff;
    const last = (n >>> 8) & 0xff;
    this.#put(NAME);
    this.#pick(firstNames, first);
    this.#put(SPACE);
    this.#pick(lastNames, last);
    this.#put(EMAIL);
    this.#pick(firstPlain, first);
    this.#put(DOT);
    this.#pick(lastPlain, last);
    this.#decimal((n >>> 16) % 100);
    this.#put(AT);
    this.#pick(domains, n >>> 24);

    const changing = version === 0 ? own : new Random(mix(mix(seed, sequence), version));
    const [e, f, g] = [changing.next(), changing.next(), changing.next()] as const;
    this.#put(ADDRESS);
    this.#decimal(1 + ((e & 0xffff) % 9999));
    this.#put(SPACE);
    this.#pick(streets, e >>> 16);
    this.#pick(units, e >>> 24);
    this.#put(NEWLINE);
    this.#pick(cities, f & 0xff);
    this.#put(COMMA);
    this.#pick(states, (f >>> 8) & 0x7f);
    this.#put(SPACE);
    this.#decimal(10_000 + ((f >>> 15) % 89_999));
    this.#put(COMPANY);
    this.#pick(companies, g & 0xff);
    this.#put(JOB);
    this.#pick(jobs, g >>> 8);
    this.#put(CREATED);
    this.#timestamp(created);
    this.#put(UPDATED);
    this.#timestamp(updated);
    this.#put(CLOSE);
  }

  #byte(byte: number): void {
    this.#target[this.at++] = byte;
  }

  #put(bytes: Uint8Array): void {
    const target = this.#target;
    const { at } = this;
    for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i] as number;
    this.at = at + bytes.length;
  }

  #pick(list: readonly Uint8Array[], random: number): void {
    this.#put(list[random % list.length] as Uint8Array);
  }

  /** Writes four hexadecimal digits. */
  #hex(n: number): void {
    for (let shift = 12; shift >= 0; shift -= 4) this.#byte(HEX[(n >>> shift) & 15] as number);
  }

  #two(n: number): void {
    this.#byte(ZERO + ((n / 10) | 0));
    this.#byte(ZERO + (n % 10));
  }

  #decimal(n: number): void {
    if (n >= 10) this.#decimal((n / 10) | 0);
    this.#byte(ZERO + (n % 10));
  }

  #timestamp(seconds: number): void {
    const day = Math.floor(seconds / 86_400);
    const second = seconds - day * 86_400;
    this.#put(date(day));
    this.#two((second / 3600) | 0);
    this.#byte(COLON);
    this.#two(((second / 60) | 0) % 60);
    this.#byte(COLON);
    this.#two(second % 60);
    this.#byte(Z);
  }
}
