/**
 * Functions that stand for the library's of the same names, which lose digits, depend on the machine or take memory at will.
 * The library lets nothing replace its own functions: calls get other names in the syntax tree.
 */
import type { Environment } from '@marcbachmann/cel-js';
import { doubleOf, doubleOfInt, intOf, intOfDouble } from './cel-numbers.js';
import * as texts from './cel-texts.js';
import * as times from './cel-times.js';
import { ExpressionError } from './expression-error.js';
import { patternOf, type Pattern } from './patterns.js';

const SUFFIX = '_of_ours';
const [TIME, DURATION] = ['google.protobuf.Timestamp', 'google.protobuf.Duration'];

const same = (value: unknown) => value;

/** Functions by their signatures, with the library's names. */
const FUNCTIONS: { readonly [signature: string]: (...args: never[]) => unknown } = {
  'string.matches(string): bool': matches,
  'string.replace(string, string): string': texts.replace,
  'string.split(string): list<string>': (text: string, by: string) => texts.split(text, by),
  'string.split(string, int): list<string>': texts.split,
  'list<string>.join(): string': (list: string[]) => texts.join(list),
  'list<string>.join(string): string': texts.join,
  'string.substring(int): string': (text: string, from: bigint) => texts.substring(text, from),
  'string.substring(int, int): string': texts.substring,
  'string.indexOf(string): int': (text: string, part: string) => texts.indexOf(text, part),
  'string.indexOf(string, int): int': texts.indexOf,
  'string.lastIndexOf(string): int': (text: string, part: string) => texts.lastIndexOf(text, part),
  'string.lastIndexOf(string, int): int': texts.lastIndexOf,
  'string.lowerAscii(): string': texts.lowerAscii,
  'string.upperAscii(): string': texts.upperAscii,
  'bytes(string): bytes': texts.bytesOf,
  'bytes(bytes): bytes': same,
  'bytes.hex(): string': (bytes: Uint8Array) => texts.encoded(bytes, 'hex'),
  'bytes.base64(): string': (bytes: Uint8Array) => texts.encoded(bytes, 'base64'),
  'bytes.string(): string': texts.textOfBytes,
  'string(string): string': same,
  'string(bool): string': String,
  'string(int): string': String,
  'string(uint): string': String,
  'string(double): string': String,
  'string(bytes): string': texts.textOfBytes,
  [`string(${TIME}): string`]: times.timeText,
  [`string(${DURATION}): string`]: times.durationText,
  'int(int): int': same,
  'int(double): int': intOfDouble,
  'int(string): int': intOf,
  'double(double): double': same,
  'double(int): double': doubleOfInt,
  'double(string): double': doubleOf,
  [`timestamp(${TIME}): ${TIME}`]: same,
  [`timestamp(string): ${TIME}`]: times.timestampOf,
  [`timestamp(int): ${TIME}`]: times.timestampOfSeconds,
  [`duration(${DURATION}): ${DURATION}`]: same,
  [`duration(string): ${DURATION}`]: times.durationOf,
  ...Object.fromEntries(
    Object.entries(times.PARTS).flatMap(([name, part]) => [
      [`${TIME}.${name}(): int`, (time: Date) => BigInt(part(times.wallClock(time)))],
      [
        `${TIME}.${name}(string): int`,
        (time: Date, zone: string) => BigInt(part(times.wallClock(time, zone))),
      ],
    ]),
  ),
};

/** Functions of the library that cannot be made right, and what to do. */
const REFUSED: { readonly [name: string]: string } = {
  json: 'json() would round large numbers; a member that is an object needs none of it',
  uint: 'uint() is not there; use int()',
};

/** A duration has these, too; the library's are right. */
const OF_DURATIONS = ['getHours', 'getMinutes', 'getSeconds', 'getMilliseconds'];

const NAME = /(\w+)(?=\()/;
const ours = new Set(Object.keys(FUNCTIONS).map((signature) => NAME.exec(signature)?.[1] ?? ''));

export function registerFunctions(environment: Environment): void {
  for (const [signature, run] of Object.entries(FUNCTIONS))
    environment.registerFunction(signature.replace(NAME, `$1${SUFFIX}`), run);
}

/** The name of the function that is to be called. @throws {ExpressionError} where there is none that can be right. */
export function calledName(name: string, args: number): string {
  const why = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
  if (why !== undefined) throw new ExpressionError(why);
  const isOurs = ours.has(name) && !(OF_DURATIONS.includes(name) && args === 0);
  return isOurs ? name + SUFFIX : name;
}

/** A message with the names that the expression has. */
export const withPlainNames = (message: string): string => message.replaceAll(SUFFIX, '');

const patterns = new Map<string, Pattern>();
const PATTERNS_KEPT = 100;

/** Matches in linear time, where JavaScript's patterns would be slow at will. */
function matches(text: string, source: string): boolean {
  let pattern = patterns.get(source);
  if (pattern === undefined) {
    pattern = patternOf(source);
    if (patterns.size >= PATTERNS_KEPT) patterns.clear();
    patterns.set(source, pattern);
  }
  return pattern.isIn(texts.limited(text));
}
