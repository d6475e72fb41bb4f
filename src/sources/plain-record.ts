/**
 * Makes a record plain that JSON allows and databases do not: of a member that comes twice in one object the last one counts,
 * as with JSON.parse, and half of a surrogate pair becomes U+FFFD. Slow, for the few records that need it.
 */
import { parseTree, type Node } from 'jsonc-parser';

/** The names on the way to a member; items of lists have none of their own. */
export type MemberPath = readonly string[];

export interface PlainRecord {
  /** No longer than the record was; numbers stand as they stood. */
  text: string;
  /** Members that came twice. */
  doubled: MemberPath[];
  /** Members with half of a surrogate pair in their names or values. */
  halved: MemberPath[];
  /** Members whose names would be the same without their halves of surrogate pairs: which one counts cannot be said. */
  clashes: MemberPath[];
}

/** Replaces half of a surrogate pair: an escape of the same length. */
const REPLACEMENT = '\\ufffd';
const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|.)/g;

/**
 * @param record JSON text of an object, valid, each character a byte of it.
 * @param keepsHalves leaves halves of surrogate pairs as they are.
 */
export function plainRecord(record: string, keepsHalves = false): PlainRecord {
  const found: PlainRecord = { text: record, doubled: [], halved: [], clashes: [] };
  const root = parseTree(record);
  if (root === undefined) return found;
  const textOf = ({ offset, length }: Node) => record.slice(offset, offset + length);
  const plainText = (text: string, path: MemberPath): string => {
    const whole = keepsHalves ? text : withoutHalves(text);
    if (whole !== text) found.halved.push(path);
    return whole;
  };
  const plain = (node: Node, path: MemberPath): string => {
    if (node.type === 'string') return plainText(textOf(node), path);
    if (node.type === 'array') return `[${(node.children ?? []).map((item) => plain(item, path)).join(',')}]`;
    if (node.type !== 'object') return textOf(node);
    const members = new Map<string, { raw: string; name: string; value: Node }>();
    for (const { children = [] } of node.children ?? []) {
      const [name, value] = children;
      if (name === undefined || value === undefined) continue;
      const raw = textOf(name);
      const decoded = decodedText(raw);
      const at = [...path, wellFormed(decoded)];
      const id = keepsHalves ? decoded : wellFormed(decoded);
      const before = members.get(id);
      if (before !== undefined) (before.name === decoded ? found.doubled : found.clashes).push(at);
      members.set(id, { raw: plainText(raw, at), name: decoded, value });
    }
    return `{${[...members]
      .map(([id, { raw, value }]) => `${raw}:${plain(value, [...path, wellFormed(id)])}`)
      .join(',')}}`;
  };
  found.text = plain(root, []);
  return found;
}

/** A string's text, of JSON whose characters are bytes. */
function decodedText(raw: string): string {
  const text = Buffer.from(raw, 'latin1').toString('utf8');
  return raw.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1);
}

function withoutHalves(raw: string): string {
  if (!raw.includes('\\')) return raw;
  return raw.replace(ESCAPE, (escape, hex: string | undefined, at: number) => {
    if (hex === undefined) return escape;
    const unit = parseInt(hex, 16);
    if (unit < 0xd800 || unit > 0xdfff) return escape;
    if (unit < 0xdc00) return /^\\u[dD][c-fC-F]/.test(raw.slice(at + 6, at + 12)) ? escape : REPLACEMENT;
    return isSecond(raw, at) ? escape : REPLACEMENT;
  });
}

/** Whether the escape at a place follows the first half of its pair. */
function isSecond(raw: string, at: number): boolean {
  if (!/^\\u[dD][89abAB]/.test(raw.slice(Math.max(at - 6, 0), at))) return false;
  // The backslash of what looks like an escape may itself be escaped.
  let from = at - 6;
  while (raw[from - 1] === '\\') from--;
  return (at - 6 - from) % 2 === 0;
}

/** A text with U+FFFD in place of each half of a surrogate pair. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, '\uFFFD');
