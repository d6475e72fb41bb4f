/** Values of records as expressions see them, and results of expressions as JSON. */
import { GREATEST_INT, LEAST_INT } from '../../request/cel-numbers.js';
import { durationText, timeText } from '../../request/cel-times.js';
import { canonicalNumber, exactDouble } from '../../request/decimals.js';
import { ExpressionError, type MemberType } from '../../request/expressions.js';
import type { JsonTape } from '../../request/json-tape.js';

/** Characters of a whole number that may fit into 64 bits. */
const WHOLE_LENGTH = 20;
/** Characters of a result. */
const RESULT_LIMIT = 1024 * 1024;
const DEPTH_LIMIT = 50;

/**
 * A value for an expression. A whole number is an int, another number a double; one that neither can hold without losing
 * digits stays text. Objects become maps.
 * @param type of the column that declares the member: its numbers and texts become values of that type where they can.
 */
export function celValue(tape: JsonTape, at: number, type?: MemberType): unknown {
  if (tape.isList(at)) return tape.items(at).map((item) => celValue(tape, item));
  if (tape.isObject(at))
    return new Map([...tape.named(at)].map(([name, value]) => [name, celValue(tape, value)]));
  const raw = tape.textOf(at);
  if (raw.startsWith('"')) {
    const text = JSON.parse(raw) as string;
    if (type === 'bool' && (text === 'true' || text === 'false')) return text === 'true';
    return type === 'int' || type === 'double' ? (numberIn(text, type) ?? text) : text;
  }
  if (raw === 'null') return null;
  if (raw === 'true' || raw === 'false') return type === 'string' ? raw : raw === 'true';
  return type === 'string' ? raw : (numberIn(raw, type === 'double' ? type : 'int') ?? raw);
}

/** A number as JSON spells it. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** The number in a text; null where there is none that keeps its digits. */
function numberIn(text: string, type: 'int' | 'double'): bigint | number | null {
  if (!NUMBER.test(text)) return null;
  if (type === 'double') return exactDouble(text);
  const isWhole = text.length <= WHOLE_LENGTH && /^-?\d+$/.test(text);
  if (isWhole) {
    const value = BigInt(text);
    return value >= LEAST_INT && value <= GREATEST_INT ? value : null;
  }
  return /^-?\d+$/.test(text) ? null : exactDouble(text);
}

/**
 * The result of an expression as JSON text; null where there is none.
 * @throws {ExpressionError} where it cannot be stored.
 */
export function resultText(value: unknown): string | null {
  const text = written(value, 0);
  if (text !== null && text.length > RESULT_LIMIT)
    throw new ExpressionError(`its result has more than ${RESULT_LIMIT} characters`);
  return text;
}

function written(value: unknown, depth: number): string | null {
  if (depth > DEPTH_LIMIT) throw new ExpressionError('its result is nested too deeply');
  switch (typeof value) {
    case 'string':
      // A text may be put together of pieces that nothing has copied yet: its length is known, and cheap.
      if (value.length > RESULT_LIMIT)
        throw new ExpressionError(`its result has more than ${RESULT_LIMIT} characters`);
      return JSON.stringify(value);
    case 'bigint':
      if (value < LEAST_INT || value > GREATEST_INT)
        throw new ExpressionError('its result is a whole number of more than 64 bits');
      return String(value);
    case 'boolean':
      return String(value);
    case 'number':
      if (!Number.isFinite(value)) throw new ExpressionError('its result is not a finite number');
      return JSON.stringify(value);
    case 'object':
      return value === null ? null : objectText(value, depth);
    default:
      throw new ExpressionError('its result is no value');
  }
}

function objectText(value: object, depth: number): string | null {
  const inner = (one: unknown) => written(one, depth + 1) ?? 'null';
  if (Array.isArray(value)) return `[${joined(value.map((item: unknown) => () => inner(item)))}]`;
  if (value instanceof Map || Object.getPrototypeOf(value) === Object.prototype) {
    const members: [unknown, unknown][] = value instanceof Map ? [...value] : Object.entries(value);
    return `{${joined(
      members.map(
        ([name, one]) =>
          () =>
            `${nameText(name)}:${inner(one)}`,
      ),
    )}}`;
  }
  if (value instanceof Date) return JSON.stringify(timeText(value));
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  if ('hasValue' in value && 'value' in value)
    return (value as Maybe).hasValue() ? written((value as Maybe).value(), depth + 1) : null;
  if (isDuration(value)) return JSON.stringify(durationText(value));
  if ('value' in value && typeof value.value === 'bigint') return String(value.value);
  throw new ExpressionError('its result is no value that can be stored');
}

/** An optional value of CEL. */
interface Maybe {
  hasValue: () => boolean;
  value: () => unknown;
}

const isDuration = (value: object): value is Parameters<typeof durationText>[0] =>
  'seconds' in value && 'nanos' in value;

/** Joins texts, and ends where they become too long. */
function joined(pieces: readonly (() => string)[]): string {
  const texts: string[] = [];
  let length = 0;
  for (const piece of pieces) {
    const text = piece();
    length += text.length + 1;
    if (length > RESULT_LIMIT)
      throw new ExpressionError(`its result has more than ${RESULT_LIMIT} characters`);
    texts.push(text);
  }
  return texts.join(',');
}

function nameText(name: unknown): string {
  if (typeof name === 'number') return JSON.stringify(canonicalNumber(String(name)));
  return JSON.stringify(String(name));
}
