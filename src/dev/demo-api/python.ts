/**
 * Python's rules for input: the reference API is written in Python, and accepts what `int`, `strptime` and `b64decode`
 * accept, as far as a request can tell.
 */

/** `int(text)`; null where Python raises ValueError. */
export function pythonInt(text: string): bigint | null {
  const trimmed = text.trim();
  if (!/^[+-]?\d+(?:_\d+)*$/.test(trimmed)) return null;
  const digits = trimmed.replace(/[_+]/g, '');
  return BigInt(digits);
}

const TIMESTAMP =
  /^(\d{4})-(1[0-2]|0[1-9]|[1-9])-(3[01]|[12]\d|0[1-9]|[1-9]| [1-9])T(2[0-3]|[01]\d|\d):([0-5]\d|\d):(6[01]|[0-5]\d|\d)$/i;

/** `strptime(text, '%Y-%m-%dT%H:%M:%S')` in seconds since 1970; null where Python raises ValueError. */
export function parseTimestamp(text: string): number | null {
  const match = TIMESTAMP.exec(text);
  if (!match) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  if (year < 1 || second > 59) return null;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1) return null;
  return date.getTime() / 1000 + hour * 3600 + minute * 60 + second;
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `b64decode(text).decode('utf-8')`, which skips characters outside of base64; null where Python raises ValueError. */
export function decodeBase64(text: string): string | null {
  let digits = '';
  let pads = 0;
  let complete = false;
  for (const character of text) {
    if (character > '\u007f') return null;
    const place = digits.length % 4;
    if (character === '=') {
      if (place >= 2 && place + ++pads >= 4) {
        complete = true;
        break;
      }
    } else if (ALPHABET.includes(character)) {
      pads = 0;
      digits += character;
    }
  }
  if (!complete && digits.length % 4 !== 0) return null;
  try {
    return utf8.decode(Buffer.from(digits, 'base64'));
  } catch {
    return null;
  }
}

/** `json.dumps(text)`: escapes everything beyond ASCII. */
export function asciiJson(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `list[from:to]` with Python's treatment of negative and overlong bounds. */
export function pythonSlice(from: bigint, to: bigint, length: number): [from: number, to: number] {
  const bound = (index: bigint): number => {
    const absolute = index < 0n ? index + BigInt(length) : index;
    if (absolute < 0n) return 0;
    return absolute > BigInt(length) ? length : Number(absolute);
  };
  const start = bound(from);
  return [start, Math.max(start, bound(to))];
}
