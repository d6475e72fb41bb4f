/** Characters that begin an escape. */
const BEGINNINGS = '%\\&+';

/** A reading of a text from some place on: its bytes in UTF-8, and its end. */
export interface Reading {
  bytes: number[];
  end: number;
}

/** Maximum length of an escaped character, however often it is escaped. */
export const REACH = 256;

const NAMED: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const SHORT: Record<string, string> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  n: '\n',
  r: '\r',
  t: '\t',
  b: '\b',
  f: '\f',
};

/**
 * Returns the readings of all escaped characters in a text, by the place where each escape begins. Escapes may be
 * nested in any combination: `%2541`, `\\u0041` and `\u0026#65;` can all be read as "A". Escapes are those of
 * addresses, forms, JSON, JavaScript and HTML.
 */
export function readings(text: string): Map<number, Reading[]> {
  const found = new Map<number, Reading[]>();
  for (let at = text.length - 1; at >= 0; at--) {
    if (!BEGINNINGS.includes(text.charAt(at))) continue;
    const all: Reading[] = [{ bytes: [text.charCodeAt(at)], end: at + 1 }];
    const known = new Set<string>();
    const add = (bytes: number[], end: number) => {
      const key = `${end} ${bytes.join()}`;
      if (end - at > REACH || known.has(key)) return;
      known.add(key);
      all.push({ bytes, end });
    };
    // An escape may stand for a character that begins another, so the list grows during the loop.
    for (const reading of all) addEscapes({ text, found, add, at }, reading);
    if (all.length > 1) found.set(at, all.slice(1));
  }
  return found;
}

interface Place {
  text: string;
  /** Escapes that begin further on. */
  found: ReadonlyMap<number, Reading[]>;
  at: number;
  add: (bytes: number[], end: number) => void;
}

/** Adds every escape that begins with the given reading. */
function addEscapes({ text, found, add, at: start }: Place, { bytes, end }: Reading): void {
  if (bytes.length !== 1) return;
  const addCode = (code: number, last: number) => {
    if (code <= 0x10ffff) add([...Buffer.from(String.fromCodePoint(code))], last);
  };
  switch (String.fromCharCode(bytes[0] ?? 0)) {
    case '+':
      add([0x20], end);
      break;
    case '%':
      for (const [digits, last] of hexDigits(text, found, end, 2)) add([parseInt(digits, 16)], last);
      break;
    case '\\':
      for (const [sign, last] of letters(text, found, end)) {
        // A run of backslashes is only read in equal halves: otherwise it would have too many readings.
        if (sign === '\\' && last - end !== end - start) continue;
        const short = Object.hasOwn(SHORT, sign) ? SHORT[sign] : undefined;
        if (short !== undefined) addCode(short.charCodeAt(0), last);
        if (sign === 'u') for (const [code, after] of units(text, found, last)) addCode(code, after);
        if (sign !== 'x') continue;
        for (const [digits, after] of hexDigits(text, found, last, 2)) {
          // A byte, or a character.
          add([parseInt(digits, 16)], after);
          addCode(parseInt(digits, 16), after);
        }
      }
      break;
    case '&':
      for (const [word, last] of words(text, found, end)) {
        const [, hex, decimal] = /^#(?:x([0-9a-f]+)|(\d+))$/i.exec(word) ?? [];
        const named = Object.hasOwn(NAMED, word) ? NAMED[word] : undefined;
        if (named !== undefined) addCode(named.charCodeAt(0), last);
        if (hex !== undefined) addCode(parseInt(hex, 16), last);
        if (decimal !== undefined) addCode(Number(decimal), last);
      }
  }
}

type Found = ReadonlyMap<number, Reading[]>;

/** Reads four hexadecimal digits as a character, or eight in two escapes. */
function* units(text: string, found: Found, at: number): Generator<[code: number, end: number]> {
  for (const [digits, end] of hexDigits(text, found, at, 4)) {
    const unit = parseInt(digits, 16);
    if (unit < 0xd800 || unit > 0xdfff) yield [unit, end];
    else if (unit < 0xdc00)
      for (const [low, last] of lowUnits(text, found, end))
        yield [0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), last];
  }
}

/** Reads the ASCII letters that can be read at a place, with the end of each. */
function* letters(text: string, found: Found, at: number): Generator<[letter: string, end: number]> {
  const code = text.charCodeAt(at);
  if (code < 0x80) yield [text.charAt(at), at + 1];
  for (const { bytes, end } of found.get(at) ?? [])
    if (bytes.length === 1 && (bytes[0] ?? 0) < 0x80) yield [String.fromCharCode(bytes[0] ?? 0), end];
}

function* hexDigits(text: string, found: Found, at: number, count: number): Generator<[string, number]> {
  if (count === 0) yield ['', at];
  else
    for (const [digit, end] of letters(text, found, at)) {
      if (!/[0-9a-f]/i.test(digit)) continue;
      for (const [rest, last] of hexDigits(text, found, end, count - 1)) yield [digit + rest, last];
    }
}

/** Reads the second half of a surrogate pair. */
function* lowUnits(text: string, found: Found, at: number): Generator<[unit: number, end: number]> {
  for (const [slash, sign] of letters(text, found, at)) {
    if (slash !== '\\') continue;
    for (const [u, digits] of letters(text, found, sign)) {
      if (u !== 'u') continue;
      for (const [hex, end] of hexDigits(text, found, digits, 4)) {
        const unit = parseInt(hex, 16);
        if (unit >= 0xdc00 && unit <= 0xdfff) yield [unit, end];
      }
    }
  }
}

/** Reads the name or number of an HTML entity, up to its semicolon. */
function* words(text: string, found: Found, at: number, length = 0): Generator<[string, number]> {
  if (length > 12) return;
  for (const [letter, end] of letters(text, found, at)) {
    if (letter === ';') yield ['', end];
    else if (/[#a-z0-9]/i.test(letter))
      for (const [rest, last] of words(text, found, end, length + 1)) yield [letter + rest, last];
  }
}
