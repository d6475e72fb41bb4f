/** Conversions of CEL between texts and numbers: decimal, within 64 bits, and without losing a digit. */
import { exactDouble } from './decimals.js';
import { ExpressionError } from './expression-error.js';

export const [LEAST_INT, GREATEST_INT] = [-(2n ** 63n), 2n ** 63n - 1n];
/** Digits that a whole number of 64 bits may have, with some zeros before it. */
const DIGITS = 40;

/** @throws {ExpressionError} */
export function intOf(text: string): bigint {
  if (text.length > DIGITS || !/^[+-]?\d+$/.test(text))
    throw new ExpressionError('int() needs a whole number in decimal digits');
  return within(BigInt(text.replace('+', '')));
}

/** @throws {ExpressionError} */
export function intOfDouble(value: number): bigint {
  if (!Number.isFinite(value)) throw new ExpressionError('int() needs a finite number');
  return within(BigInt(Math.trunc(value)));
}

function within(value: bigint): bigint {
  if (value < LEAST_INT || value > GREATEST_INT)
    throw new ExpressionError('a whole number has more than 64 bits');
  return value;
}

/** @throws {ExpressionError} */
export function doubleOf(text: string): number {
  if (!/^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(text))
    throw new ExpressionError('double() needs a number in decimal digits');
  const spelled = text
    .replace('+', '')
    .replace(/^(-?)\./, '$10.')
    .replace(/\.(?=$|[eE])/, '');
  const value = exactDouble(spelled);
  if (value === null) throw new ExpressionError('double() would lose digits of a number');
  return value;
}

/** @throws {ExpressionError} */
export function doubleOfInt(value: bigint): number {
  const number = Number(value);
  if (BigInt(number) !== value) throw new ExpressionError('double() would lose digits of a whole number');
  return number;
}
