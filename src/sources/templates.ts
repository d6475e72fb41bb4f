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

/** What requests refer to: `${cursor:NAME}` by the strategies' own names, `${parent:FIELD}`. */
export interface Values {
  cursor: { [name: string]: string | RawJson };
  parent: { [field: string]: Json };
}

/** Null where a value that the text refers to is not there: what it is for is then left out. */
export type Template = (values: Values) => string | null;
/** As {@link Template}, for a body: null takes the place of a text that refers to what is not there. */
export type BodyTemplate = (values: Values) => Sendable;

/** `${cursor:page}`, `${cursor:updated_since:number}`, `${parent:id}`. */
export const VALUE_REFERENCE = /\$\{(cursor|parent):([^}:]+)(:number)?\}/g;

/** What strategies count, and bodies hold as numbers. */
export const COUNTED = ['page', 'offset', 'limit', 'start_id', 'end_id'];

type Piece = string | { of: 'cursor' | 'parent'; name: string; asNumber: boolean };

/**
 * Makes a template of a text.
 * @param resolve gives what stands in place of the text between references; what it gives is taken as it is.
 */
export function template(
  text: string,
  resolve: (literal: string) => string,
  escape: (value: string) => string = (value) => value,
): Template {
  const pieces = take(text, resolve);
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

/** Makes a template of a body; a text that is nothing but a reference becomes the value itself, of its own type. */
export function bodyTemplate(body: Json, resolve: (literal: string) => string): BodyTemplate {
  if (typeof body === 'string') {
    const [only, ...others] = take(body, resolve);
    if (only !== undefined && typeof only !== 'string' && others.length === 0) {
      return (values) => valueOf(only, values);
    }
    return template(body, resolve);
  }
  if (Array.isArray(body)) {
    const items = body.map((item) => bodyTemplate(item, resolve));
    return (values) => items.map((item) => item(values));
  }
  if (typeof body === 'object' && body !== null) {
    const members = Object.entries(body).map(
      ([name, value]) => [name, bodyTemplate(value, resolve)] as const,
    );
    return (values) => Object.fromEntries(members.map(([name, value]) => [name, value(values)]));
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

function take(text: string, resolve: (literal: string) => string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(VALUE_REFERENCE)) {
    if (match.index > at) pieces.push(resolve(text.slice(at, match.index)));
    const [whole, of, name = '', number] = match;
    pieces.push({ of: of as 'cursor' | 'parent', name, asNumber: number !== undefined });
    at = match.index + whole.length;
  }
  if (at < text.length || pieces.length === 0) pieces.push(resolve(text.slice(at)));
  return pieces;
}

function valueOf({ of, name, asNumber }: Exclude<Piece, string>, values: Values): Json | RawJson {
  const from: { [name: string]: Json | RawJson } = values[of];
  const value = Object.hasOwn(from, name) ? (from[name] ?? null) : null;
  const isNumber = asNumber || (of === 'cursor' && COUNTED.includes(name));
  if (!isNumber || typeof value !== 'string' || value.trim() === '') return value;
  const number = Number(value);
  if (!Number.isFinite(number)) return value;
  return String(number) !== value && JSON_NUMBER.test(value) ? new RawJson(value) : number;
}

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

const textOf = (value: Json | RawJson): string | null =>
  value === null ? null : typeof value === 'string' ? value : jsonText(value);
