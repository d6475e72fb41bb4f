/** Numbers by their digits, as JSON texts write them: no digit is lost on the way through a double. */

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
/** Zeros that are written out; numbers that would need more keep an exponent. */
const ZEROS = 400;
/** A double tells all numbers of this many digits apart. */
const SAFE_DIGITS = 15;

/** Writes a JSON number in one way, whatever way it came: 1, 1.0, 10e-1 and 1E0 are all "1". */
export function canonicalNumber(text: string): string {
  if (/^-?[1-9]\d*$/.test(text)) return text;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = NUMBER.exec(text) ?? [];
  const digits = whole + fraction;
  let [from, to] = [0, digits.length];
  while (from < to && digits[from] === '0') from++;
  while (to > from && digits[to - 1] === '0') to--;
  if (from === to) return '0';
  const significant = digits.slice(from, to);
  const power = BigInt(exponent) + BigInt(digits.length - to - fraction.length);
  const shift = Number(power);
  if (shift >= 0 && shift <= ZEROS) return sign + significant + '0'.repeat(shift);
  const point = significant.length + shift;
  if (shift < 0 && point > 0) return `${sign}${significant.slice(0, point)}.${significant.slice(point)}`;
  if (shift < 0 && point >= -ZEROS) return `${sign}0.${'0'.repeat(-point)}${significant}`;
  return `${sign}${significant}e${power}`;
}

/** Returns the double that a JSON number is; null where no double is that number by its shortest spelling. */
export function exactDouble(text: string): number | null {
  const value = Number(text);
  if (!Number.isFinite(value)) return null;
  const isShort = text.length <= SAFE_DIGITS && !/[eE]/.test(text);
  return isShort || canonicalNumber(text) === canonicalNumber(String(value)) ? value : null;
}
