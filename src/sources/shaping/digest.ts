/** What takes the place of a value that must not be stored in plain text: its hash, or a mask. */
import { createHmac, hash, type KeyObject } from 'node:crypto';
import type { MaskKind } from '../../protocol.js';
import { canonicalNumber } from '../../request/decimals.js';
import type { JsonTape } from '../../request/json-tape.js';

/** Makes the replacement of a value, as JSON text; null stays null. */
export type Replacement = (tape: JsonTape, at: number) => string;

/** @param key for HMAC; null: none. */
export function hashing(key: KeyObject | null): Replacement {
  const digest =
    key === null
      ? (text: string) => hash('sha256', text)
      : (text: string) => createHmac('sha256', key).update(text).digest('hex');
  return (tape, at) => (isNull(tape, at) ? 'null' : `"${digest(plainText(tape, at))}"`);
}

export const masking =
  (kind: MaskKind): Replacement =>
  (tape, at) => {
    if (isNull(tape, at)) return 'null';
    const isContainer = tape.isList(at) || tape.isObject(at);
    return JSON.stringify(masked(kind, isContainer ? '' : plainText(tape, at)));
  };

/** What is hidden has no length. */
const HIDDEN = '***';
/** A text shows its last four characters only if it has at least this many. */
const LAST4_LENGTH = 8;

function masked(kind: MaskKind, text: string): string {
  const letters = Array.from(text);
  switch (kind) {
    case 'full':
      return HIDDEN;
    case 'first1':
      return letters.length < 2 ? HIDDEN : `${letters[0] ?? ''}${HIDDEN}`;
    case 'last4':
      return letters.length < LAST4_LENGTH ? HIDDEN : `${HIDDEN}${letters.slice(-4).join('')}`;
    case 'email': {
      const at = text.lastIndexOf('@');
      if (at === -1) return HIDDEN;
      return `${masked('first1', text.slice(0, at))}${text.slice(at)}`;
    }
  }
}

const isNull = (tape: JsonTape, at: number) => tape.text.startsWith('null', tape.startOf(at));

/**
 * The text of a value that hashes are made of: the same for the same value, however JSON spells it. A text without its
 * escapes, a number with no needless digits, and lists and objects as JSON without spaces, with their members by name.
 */
export function plainText(tape: JsonTape, at: number): string {
  const raw = tape.textOf(at);
  if (raw.startsWith('"')) return textOf(raw);
  return tape.isList(at) || tape.isObject(at) ? canonicalJson(tape, at) : scalar(raw);
}

function canonicalJson(tape: JsonTape, at: number): string {
  if (tape.isList(at))
    return `[${tape
      .items(at)
      .map((item) => canonicalJson(tape, item))
      .join(',')}]`;
  if (tape.isObject(at)) {
    const members = [...tape.named(at)].sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, value]) => `${JSON.stringify(name)}:${canonicalJson(tape, value)}`).join(',')}}`;
  }
  const raw = tape.textOf(at);
  return raw.startsWith('"') ? JSON.stringify(textOf(raw)) : scalar(raw);
}

const textOf = (raw: string) => (raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1));
const scalar = (raw: string) => (/^[-\d]/.test(raw) ? canonicalNumber(raw) : raw);
