/** Decimal numbers as text, of any size and any number of digits: a double knows only 15 of them. */

const SHAPE = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/;
const PLAIN = /^[1-9]\d*$/;
/** More digits than any number that is meant; an exponent must not fill the memory. */
const EXPONENT_LIMIT = 100;

/** A number is `digits` over ten to the power of `places`. */
interface Decimal {
  digits: bigint;
  places: number;
}

function parse(text: string): Decimal | null {
  const match = SHAPE.exec(text);
  if (match === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const power = Number(exponent);
  if (Math.abs(power) > EXPONENT_LIMIT) return null;
  const places = fraction.length - power;
  const digits = BigInt(sign + whole + fraction);
  return places >= 0 ? { digits, places } : { digits: digits * 10n ** BigInt(-places), places: 0 };
}

function readable(text: string): Decimal {
  const decimal = parse(text);
  if (decimal === null) throw new RangeError(`not a number: ${JSON.stringify(text.slice(0, 100))}`);
  return decimal;
}

export const isDecimal = (text: string): boolean => PLAIN.test(text) || parse(text) !== null;

/** Negative when `a` is the lower number. */
export function compareDecimals(a: string, b: string): number {
  if (a === b) return 0;
  if (PLAIN.test(a) && PLAIN.test(b)) return a.length - b.length || (a < b ? -1 : 1);
  const [left, right] = [readable(a), readable(b)];
  const places = Math.max(left.places, right.places);
  const [x, y] = [left, right].map((one) => one.digits * 10n ** BigInt(places - one.places)) as [
    bigint,
    bigint,
  ];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** A number less a whole one, with as many decimal places. */
export function minusWhole(text: string, whole: bigint): string {
  const { digits, places } = readable(text);
  const left = digits - whole * 10n ** BigInt(places);
  const magnitude = String(left < 0n ? -left : left).padStart(places + 1, '0');
  const point = magnitude.length - places;
  const fraction = magnitude.slice(point);
  return (left < 0n ? '-' : '') + magnitude.slice(0, point) + (fraction === '' ? '' : `.${fraction}`);
}

/** A number times ten to the power of `power`, rounded down. */
export function scaledDown(text: string, power: number): bigint {
  const { digits, places } = readable(text);
  if (places <= power) return digits * 10n ** BigInt(power - places);
  const divisor = 10n ** BigInt(places - power);
  const quotient = digits / divisor;
  return digits < 0n && digits % divisor !== 0n ? quotient - 1n : quotient;
}
