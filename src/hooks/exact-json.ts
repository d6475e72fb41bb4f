/**
 * JSON to JavaScript values and back, without losing digits: an integer beyond 2^53 is read as a bigint, any other number that no
 * JavaScript number equals as an {@link ExactNumber}. Numbers are written as they came where they are the same: `1.50` stays
 * `1.50`, although its value is 1.5.
 */
import { ExactNumber } from './exact-number.js';

/** The texts of the numbers below a value that JavaScript writes in another way, by member or place. */
type Texts = Map<string, string | Texts>;

/** A record as a hook sees it, and how its numbers were written. */
export interface ExactRecord {
  value: unknown;
  /** Null where JavaScript writes each number as it came. */
  texts: Spelling | null;
}

/** How the numbers of a record were written: by their place, and by the object that holds them, wherever that is moved. */
interface Spelling {
  root: Texts;
  of: Map<object, Texts>;
}

/**
 * Matches every number that JavaScript may write in another way: with 16 digits or more, an exponent, a zero at the end of its
 * fraction, as minus zero, or very small. What looks like one in a string only costs time.
 */
const SUSPECT = /[:,[]\s*(?:-0[\s,\]}]|-?0\.000000|-?(?=[\d.]{16})|-?\d+[eE]|-?\d+\.\d*(?:[eE]|0[\s,\]}]))/;

/** Reads a record that is known to be valid JSON. */
export function readExact(text: string): ExactRecord {
  if (!SUSPECT.test(text)) return { value: JSON.parse(text) as unknown, texts: null };
  return new ExactReader(text).read();
}

class ExactReader {
  private p = 0;
  private readonly of = new Map<object, Texts>();

  constructor(private readonly text: string) {}

  read(): ExactRecord {
    const root: Texts = new Map();
    const value = this.value(root, 'record');
    const found = root.get('record');
    const texts = found instanceof Map ? { root: found, of: this.of } : null;
    return { value, texts };
  }

  /** @param texts takes the text of the value, or those below it, by `name`. */
  private value(texts: Texts, name: string): unknown {
    this.space();
    switch (this.text[this.p]) {
      case '{':
        return this.container({}, texts, name);
      case '[':
        return this.container([], texts, name);
      case '"':
        return this.string();
      case 't':
        this.p += 4;
        return true;
      case 'f':
        this.p += 5;
        return false;
      case 'n':
        this.p += 4;
        return null;
      default:
        return this.number(texts, name);
    }
  }

  private container(into: object, texts: Texts, name: string): object {
    const own: Texts = new Map();
    this.p++;
    this.space();
    for (let place = 0; !'}]'.includes(this.text[this.p] ?? '}'); place++) {
      let member = String(place);
      if (!Array.isArray(into)) {
        member = this.string();
        this.space();
        this.p++;
      }
      const value = this.value(own, member);
      // "__proto__" is a name like any other.
      Object.defineProperty(into, member, {
        value,
        writable: true,
        enumerable: true,
        configurable: true,
      });
      this.space();
      if (this.text[this.p] === ',') this.p++;
      this.space();
    }
    this.p++;
    if (own.size > 0) {
      texts.set(name, own);
      this.of.set(into, own);
    }
    return into;
  }

  private string(): string {
    const start = this.p++;
    while (this.text[this.p] !== '"') this.p += this.text[this.p] === '\\' ? 2 : 1;
    this.p++;
    return JSON.parse(this.text.slice(start, this.p)) as string;
  }

  private number(texts: Texts, name: string): unknown {
    NUMBER_AT.lastIndex = this.p;
    const [text] = NUMBER_AT.exec(this.text) ?? [''];
    if (text === '') throw new SyntaxError(`a value was expected at ${this.p}`);
    this.p += text.length;
    const value = exactValue(text);
    if (typeof value === 'number' && JSON.stringify(value) !== text) texts.set(name, text);
    return value;
  }

  private space(): void {
    while (' \n\r\t'.includes(this.text[this.p] ?? '-')) this.p++;
  }
}

const NUMBER_AT = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** The value of a number's text: a number if it is the same, else one that keeps the digits. */
function exactValue(text: string): number | bigint | ExactNumber {
  const value = Number(text);
  if (/^-?\d+$/.test(text)) return Number.isSafeInteger(value) ? value : BigInt(text);
  return Number.isFinite(value) && normalized(String(value)) === normalized(text)
    ? value
    : new ExactNumber(text);
}

/** A decimal as its digits without zeros at both ends, and the power of ten that they are multiplied by. */
function normalized(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const short = digits.replace(/0+$/, '');
  if (short === '') return '0';
  return `${sign}${short}e${String(Number(exponent) - fraction.length + digits.length - short.length)}`;
}

/** A value of a hook's result that is no JSON. */
export class NotJsonError extends Error {
  override readonly name = 'NotJsonError';
}

/**
 * Writes an object of a hook's result as JSON, numbers that are the same as in the record as they came.
 * @throws {NotJsonError} for a value that JSON does not have, naming where it is.
 */
export function writeExact(value: object, { texts }: ExactRecord): string {
  if (texts === null && isPlainJson(value, 0)) return JSON.stringify(value);
  return write(value, [], texts?.of ?? new Map<object, Texts>(), texts?.root);
}

/** Deeper results are refused, as records are; objects that contain themselves have no end. */
const DEPTH_LIMIT = 200;

/** Whether `JSON.stringify` writes a value without changing it. */
function isPlainJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value);
    case 'object': {
      if (value === null) return true;
      if (depth > DEPTH_LIMIT) return false;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) if (!isPlainJson(value[i], depth + 1)) return false;
        return true;
      }
      const prototype: unknown = Object.getPrototypeOf(value);
      if ((prototype !== Object.prototype && prototype !== null) || 'toJSON' in value) return false;
      for (const name in value) {
        const inner = (value as Record<string, unknown>)[name];
        if (inner !== undefined && !isPlainJson(inner, depth + 1)) return false;
      }
      return true;
    }
    default:
      return false;
  }
}

/** @param at the way to the value, for errors. */
function write(
  value: unknown,
  at: string[],
  of: ReadonlyMap<object, Texts>,
  texts: string | Texts | undefined,
): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'bigint':
      return String(value);
    case 'number':
      if (!Number.isFinite(value)) throw notJson(at, `is ${String(value)}, which JSON does not have`);
      return typeof texts === 'string' && Object.is(Number(texts), value) ? texts : JSON.stringify(value);
    case 'object':
      if (value === null) return 'null';
      return writeObject(value, at, of, texts);
    default:
      throw notJson(at, `is ${KINDS[typeof value] ?? typeof value}, which JSON does not have`);
  }
}

const KINDS: { [type: string]: string } = {
  function: 'a function',
  symbol: 'a symbol',
  undefined: 'undefined',
};

function writeObject(
  value: object,
  at: string[],
  of: ReadonlyMap<object, Texts>,
  texts: string | Texts | undefined,
): string {
  if (at.length > DEPTH_LIMIT) throw notJson(at.slice(0, 3), 'is nested too deeply, or is part of itself');
  if (ExactNumber.is(value)) return value.text;
  const inside = of.get(value) ?? (texts instanceof Map ? texts : undefined);
  const one = (inner: unknown, name: string) => write(inner, [...at, name], of, inside?.get(name));
  if (Array.isArray(value))
    return `[${Array.from(value, (item: unknown, i) => one(item, String(i))).join(',')}]`;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw notJson(at, 'is an invalid date');
    return JSON.stringify(value);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw notJson(at, `is an object of the class ${value.constructor.name}, which JSON does not have`);
  const members = Object.entries(value).flatMap(([name, inner]: [string, unknown]) =>
    // As with JSON.stringify, such a member is not there.
    inner === undefined ? [] : [`${JSON.stringify(name)}:${one(inner, name)}`],
  );
  return `{${members.join(',')}}`;
}

const notJson = (at: readonly string[], why: string) =>
  new NotJsonError(`${at.length === 0 ? 'the result' : `"${at.join('.')}" of the result`} ${why}`);
