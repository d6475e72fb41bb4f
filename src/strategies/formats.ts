/** The formats that a cursor field's values may have. */
import type { CursorFormat } from '../protocol.js';
import { compareDecimals, isDecimal, minusWhole, scaledDown } from './decimals.js';
import { compare, FIRST, isTimestamp, millisecondsOf, minusSeconds, unitOf, writeLike } from './instants.js';
import { patternValues } from './patterns.js';
import { RFC_2822 } from './rfc2822.js';
import type { Values } from './values.js';

export const TIMESTAMPS: Values = {
  what: 'a timestamp',
  first: FIRST,
  isValue: isTimestamp,
  compare,
  minus: minusSeconds,
  clock: {
    read: millisecondsOf,
    write: (instant, like) => writeLike(instant, like ?? FIRST),
    lower: (instant, like) => writeLike(instant, like ?? FIRST),
    unit: (like) => unitOf(like ?? FIRST),
  },
};

/** Seconds or milliseconds since 1970, with or without a fraction. */
function epoch(what: string, perSecond: 1 | 1000): Values {
  const write = (instant: number): string => String(Math.floor((instant * perSecond) / 1000));
  return {
    what,
    first: null,
    isValue: isDecimal,
    compare: compareDecimals,
    minus: (value, seconds) => minusWhole(value, BigInt(Math.ceil(seconds * perSecond))),
    clock: {
      read: (value) => Number(scaledDown(value, perSecond === 1 ? 3 : 0)),
      write,
      lower: write,
      unit: () => 1000 / perSecond,
    },
  };
}

const INTEGERS: Values = {
  what: 'an integer',
  first: null,
  isValue: (text) => /^-?\d+$/.test(text),
  compare: compareDecimals,
  minus: (value, amount) => minusWhole(value, BigInt(Math.ceil(amount))),
  clock: null,
};

const STRINGS: Values = {
  what: 'a text',
  first: null,
  isValue: (text) => text !== '',
  compare: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
  minus: (value) => {
    throw new RangeError(`nothing can be subtracted from a text: ${JSON.stringify(value.slice(0, 100))}`);
  },
  clock: null,
};

/** The values of a format; timestamps unless told. @throws {RangeError} for a pattern that cannot be used. */
export function valuesOf(format: CursorFormat = 'timestamp'): Values {
  switch (format) {
    case 'timestamp':
      return TIMESTAMPS;
    case 'epoch_s':
      return epoch('a number of seconds since 1970', 1);
    case 'epoch_ms':
      return epoch('a number of milliseconds since 1970', 1000);
    case 'rfc_2822':
      return RFC_2822;
    case 'integer':
      return INTEGERS;
    case 'string':
      return STRINGS;
    default:
      return patternValues(format);
  }
}
