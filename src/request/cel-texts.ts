/** Functions of CEL on texts that take linear time, count characters as CEL does, and return no more than fits into memory. */
import { isUtf8 } from 'node:buffer';
import { ExpressionError } from './expression-error.js';

/** Characters of a text, and pieces of one. */
export const TEXT_LIMIT = 4 * 1024 * 1024;
const PIECES_LIMIT = 256 * 1024;
const SURROGATE = /[\uD800-\uDFFF]/;

/** @throws {ExpressionError} where a text is or would be long: what is made of it would fill the memory before the time is up. */
export function limited(text: string): string {
  refuseLength(text.length);
  return text;
}

function refuseLength(length: number): void {
  if (length > TEXT_LIMIT)
    throw new ExpressionError(`a text has ${length} characters; the limit is ${TEXT_LIMIT}`);
}

/** CEL counts code points, JavaScript halves of some. */
const pointsOf = (text: string): string[] | null => (SURROGATE.test(text) ? [...text] : null);

export function replace(text: string, old: string, by: string): string {
  limited(text);
  if (old === '') {
    const points = pointsOf(text) ?? text.split('');
    refuseLength(text.length + (points.length + 1) * by.length);
    return by + points.map((point) => point + by).join('');
  }
  let found = 0;
  for (let at = text.indexOf(old); at >= 0; at = text.indexOf(old, at + old.length)) found++;
  refuseLength(text.length + found * (by.length - old.length));
  return text.replaceAll(old, () => by);
}

/** @param count of pieces at most: the last one is the rest; negative for any. */
export function split(text: string, by: string, count = -1n): string[] {
  if (count === 0n) return [];
  limited(text);
  const most = count < 0n || count > PIECES_LIMIT ? PIECES_LIMIT + 1 : Number(count);
  const pieces = by === '' && SURROGATE.test(text) ? [...text] : text.split(by, most + 1);
  if (count < 0n || pieces.length <= count) {
    if (pieces.length > PIECES_LIMIT)
      throw new ExpressionError(`a text is split into more than ${PIECES_LIMIT} pieces`);
    return pieces;
  }
  const kept = pieces.slice(0, most - 1);
  const length = kept.reduce((sum, piece) => sum + piece.length + by.length, 0);
  return [...kept, text.slice(length)];
}

export function join(pieces: Iterable<unknown>, by = ''): string {
  const texts: string[] = [];
  let length = 0;
  for (const piece of pieces) {
    if (typeof piece !== 'string')
      throw new ExpressionError('join() has a list of something else than texts');
    length += piece.length + by.length;
    refuseLength(length);
    texts.push(piece);
  }
  return texts.join(by);
}

export function substring(text: string, from: bigint, to?: bigint): string {
  limited(text);
  const points = pointsOf(text);
  const length = BigInt((points ?? text).length);
  const end = to ?? length;
  if (from < 0n || from > end || end > length)
    throw new ExpressionError('substring() has an index out of range');
  const range = [Number(from), Number(end)] as const;
  return points === null ? text.slice(...range) : points.slice(...range).join('');
}

export function indexOf(text: string, part: string, from = 0n): bigint {
  const start = unitsBefore(text, from);
  return pointsBefore(text, text.indexOf(part, start));
}

export function lastIndexOf(text: string, part: string, from?: bigint): bigint {
  const start = from === undefined ? Infinity : unitsBefore(text, from);
  return pointsBefore(text, text.lastIndexOf(part, start));
}

function unitsBefore(text: string, index: bigint): number {
  limited(text);
  const points = pointsOf(text);
  if (index < 0n || index > (points ?? text).length) throw new ExpressionError('an index is out of range');
  return points === null ? Number(index) : points.slice(0, Number(index)).join('').length;
}

function pointsBefore(text: string, unit: number): bigint {
  return BigInt(unit < 0 ? unit : (pointsOf(text.slice(0, unit))?.length ?? unit));
}

/** Other letters than A to Z stay, as CEL says. */
export const lowerAscii = (text: string): string =>
  limited(text).replaceAll(/[A-Z]+/g, (part) => part.toLowerCase());
export const upperAscii = (text: string): string =>
  limited(text).replaceAll(/[a-z]+/g, (part) => part.toUpperCase());

export const bytesOf = (text: string): Uint8Array => Buffer.from(limited(text), 'utf8');

/** @throws {ExpressionError} where bytes are not UTF-8: other characters would stand for them. */
export function textOfBytes(bytes: Uint8Array): string {
  refuseLength(bytes.length);
  if (!isUtf8(bytes)) throw new ExpressionError('bytes are not a text in UTF-8');
  return Buffer.from(bytes).toString('utf8');
}

export function encoded(bytes: Uint8Array, encoding: 'hex' | 'base64'): string {
  refuseLength(bytes.length);
  return Buffer.from(bytes).toString(encoding);
}
