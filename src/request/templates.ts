import type { Json } from '../protocol.js';

/** A JSON value that is sent as it was written: as a JavaScript number it would lose digits. */
export class RawJson {
  constructor(readonly text: string) {}
}

/** A JSON value as it is sent, parts of which may be {@link RawJson}. */
export type Sendable = Json | RawJson | Sendable[] | { [name: string]: Sendable };

/** The JSON text of a value. */
export function jsonText(value: Sendable): string {
  if (value instanceof RawJson) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}:${jsonText(inner)}`);
  return `{${members.join(',')}}`;
}

/** Values that requests refer to: `${cursor:NAME}` by the strategies' own names, `${parent:FIELD}`. */
export interface Values {
  cursor: { [name: string]: string | RawJson };
  parent: { [field: string]: Json };
}

/** Null where a value that the text refers to is not there: what it is for is then left out. */
export type Template = (values: Values) => string | null;
/**
 * As {@link Template}, for a body: null takes the place of a text that refers to what is not there, unless the reference
 * is optional; see {@link bodyTemplate}.
 */
export type BodyTemplate = (values: Values) => Sendable;

/**
 * `${cursor:page}`, `${cursor:updated_since:number}`, `${parent:id}`; optional with `?` at the end, which a text may
 * follow that is sent instead: `${cursor:scroll_param?}`, `${cursor:scroll_param?*}`.
 */
export const VALUE_REFERENCE = /\$\{(cursor|parent):([^}:]+?)(:number)?(\?[^}]*)?\}/g;

/** Values that strategies count, and that bodies hold as numbers. */
export const COUNTED = ['page', 'offset', 'limit', 'start_id', 'end_id'];

interface Reference {
  of: 'cursor' | 'parent';
  name: string;
  asNumber: boolean;
  isOptional: boolean;
  /** Sent where the value is not there; null: nothing is. */
  fallback: string | null;
}
type Piece = string | Reference;

/**
 * Makes a template of a text.
 * @param resolve gives what stands in place of the text between references; what it gives is taken as it is.
 */
export function template(
  text: string,
  resolve: (literal: string) => string,
  escape: (value: string) => string = (value) => value,
): Template {
  const pieces = takePieces(text, resolve);
  const [only] = pieces;
  if (pieces.length === 1 && typeof only === 'string') return () => only;
  return (values) => {
    let filled = '';
    for (const piece of pieces) {
      const value = typeof piece === 'string' ? piece : textOf(valueOf(piece, values));
      if (value === null) return null;
      filled += typeof piece === 'string' ? value : escape(value);
    }
    return filled;
  };
}

/**
 * Makes a template of a body; a text that is nothing but a reference becomes the value itself, of its own type.
 *
 * A member whose text holds an optional reference to what is not there is left out, and with it the objects and lists
 * that hold nothing else. A list is left out as soon as one of its own texts would be: the others would move up.
 */
export function bodyTemplate(body: Json, resolve: (literal: string) => string): BodyTemplate {
  const inner = memberTemplate(body, resolve);
  const nothing = Array.isArray(body) ? [] : typeof body === 'object' ? {} : null;
  return (values) => inner(values) ?? nothing;
}

/** A template of a part of a body; undefined where the part is left out. */
function memberTemplate(
  body: Json,
  resolve: (literal: string) => string,
): (values: Values) => Sendable | undefined {
  if (typeof body === 'string') {
    const pieces = takePieces(body, resolve);
    const optional = pieces.filter((piece) => typeof piece !== 'string' && piece.isOptional) as Reference[];
    const isLeftOut = (values: Values) => optional.some((one) => valueOf(one, values) === null);
    const [only, ...others] = pieces;
    if (only !== undefined && typeof only !== 'string' && others.length === 0) {
      return (values) => (isLeftOut(values) ? undefined : valueOf(only, values));
    }
    const whole = template(body, resolve);
    return (values) => (isLeftOut(values) ? undefined : whole(values));
  }
  if (Array.isArray(body)) {
    const items = body.map((item) => memberTemplate(item, resolve));
    return (values) => {
      const all = items.map((item) => item(values));
      if (all.some((item, i) => item === undefined && typeof body[i] === 'string')) return undefined;
      const kept = all.filter((item) => item !== undefined);
      return kept.length === 0 && all.length > 0 ? undefined : kept;
    };
  }
  if (typeof body === 'object' && body !== null) {
    const members = Object.entries(body).map(
      ([name, value]) => [name, memberTemplate(value, resolve)] as const,
    );
    return (values) => {
      const kept = members.flatMap(([name, value]): [string, Sendable][] => {
        const filled = value(values);
        return filled === undefined ? [] : [[name, filled]];
      });
      return kept.length === 0 && members.length > 0 ? undefined : Object.fromEntries(kept);
    };
  }
  return () => body;
}

/** Counts how often a body refers to a cursor value by a text that is nothing but the reference. */
export function wholeReferences(body: unknown, name: string): number {
  if (typeof body === 'string') {
    const [match] = [...body.matchAll(VALUE_REFERENCE)];
    return match?.[0] === body && match[1] === 'cursor' && match[2] === name ? 1 : 0;
  }
  if (typeof body !== 'object' || body === null) return 0;
  return Object.values(body).reduce<number>((sum, inner) => sum + wholeReferences(inner, name), 0);
}

/** Counts references to a cursor value in texts anywhere in `value`. */
export function references(value: unknown, name: string): number {
  if (typeof value === 'string') {
    return [...value.matchAll(VALUE_REFERENCE)].filter((match) => match[1] === 'cursor' && match[2] === name)
      .length;
  }
  if (typeof value !== 'object' || value === null) return 0;
  return Object.values(value).reduce<number>((sum, inner) => sum + references(inner, name), 0);
}

/** Names that texts anywhere in `value` refer to. */
export function referred(value: unknown, of: 'cursor' | 'parent'): Set<string> {
  if (typeof value === 'string') {
    return new Set(
      [...value.matchAll(VALUE_REFERENCE)].flatMap(([, kind, name]) => (kind === of ? (name ?? '') : [])),
    );
  }
  if (typeof value !== 'object' || value === null) return new Set();
  return new Set(Object.values(value).flatMap((inner) => [...referred(inner, of)]));
}

function takePieces(text: string, resolve: (literal: string) => string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(VALUE_REFERENCE)) {
    if (match.index > at) pieces.push(resolve(text.slice(at, match.index)));
    const [whole, of, name = '', number, optional] = match;
    pieces.push({
      of: of as 'cursor' | 'parent',
      name,
      asNumber: number !== undefined,
      isOptional: optional !== undefined,
      fallback: optional === undefined || optional === '?' ? null : resolve(optional.slice(1)),
    });
    at = match.index + whole.length;
  }
  if (at < text.length || pieces.length === 0) pieces.push(resolve(text.slice(at)));
  return pieces;
}

function valueOf({ of, name, asNumber, fallback }: Reference, values: Values): Json | RawJson {
  const from: { [name: string]: Json | RawJson } = values[of];
  const value = (Object.hasOwn(from, name) ? from[name] : null) ?? fallback;
  const isNumber = asNumber || (of === 'cursor' && COUNTED.includes(name));
  if (!isNumber || typeof value !== 'string' || value.trim() === '') return value;
  const number = Number(value);
  if (!Number.isFinite(number)) return value;
  return String(number) !== value && JSON_NUMBER.test(value) ? new RawJson(value) : number;
}

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

const textOf = (value: Json | RawJson): string | null =>
  value === null ? null : typeof value === 'string' ? value : jsonText(value);
