/**
 * Walks records of a JSON list as fast as a core can: AssemblyScript, compiled to WebAssembly with 16 bytes a step.
 *
 * It takes only what is certain: a record of members that were met before, written in the same way, that nothing has to be
 * done to. Before anything else it stops, and the scanner in TypeScript (record-scanner.ts) goes on with that record, which
 * knows the whole grammar and every error. What it accepts is what the scanner accepts, which a test compares.
 */

/** The layout of memory; the other side of it is record-walker.ts. */
const FIELDS: i32 = 1024; // per way of writing a field: address and length of its lead, its kind, address of the field's stamp
const FIELD_BYTES: i32 = 16;
const SPANS: i32 = 0x10000; // per record: start, end, and of each wanted value start, end, escaped
const QUOTES: i32 = 0x50000;
const QUOTES_END: i32 = 0x60000;
const NAMES: i32 = 0x60000; // a hash table of the names met in objects inside a record: the object's number, place of the name
const NAMES_END: i32 = 0x68000;
const NAME_SLOTS: i32 = 4096;
/** Names in the objects of one record; the scanner compares those of larger records. */
const NAME_LIMIT: i32 = 2048;

const QUOTE: i32 = 0x22;
const BACKSLASH: i32 = 0x5c;
const COMMA: i32 = 0x2c;
const COLON: i32 = 0x3a;
const OPEN_OBJECT: i32 = 0x7b;
const CLOSE_OBJECT: i32 = 0x7d;
const OPEN_ARRAY: i32 = 0x5b;
const CLOSE_ARRAY: i32 = 0x5d;
const SPACE: i32 = 0x20;
const TAB: i32 = 0x09;

/**
 * The parts of a field: which wanted value it is, plus one; that it is the cursor's too; how its numbers are kept; what its values are
 * checked for, and how many characters or whole digits the check takes.
 */
const WANTED: i32 = 0xff;
const CURSOR: i32 = 0x100;
const EXACT_SHIFT: i32 = 12;
const EXACT: i32 = 3;
const CHECK_SHIFT: i32 = 16;
const CHECK: i32 = 15;
const LIMIT_SHIFT: i32 = 20;
const TEXT: i32 = 1;
const WHOLE: i32 = 2;
const DOUBLE: i32 = 3;
const BOOLEAN: i32 = 1;
const WHOLE_NUMBER: i32 = 2;
const DECIMAL: i32 = 3;
const FLOAT: i32 = 4;
const DATE: i32 = 5;
const NAIVE: i32 = 6;
const INSTANT: i32 = 7;
const BINARY: i32 = 8;

const DEPTH_LIMIT: i32 = 64;
/** Characters; longer keys and cursor values are looked at by the scanner. */
const WANTED_LIMIT: i32 = 1024;
/** A number of fewer characters and no exponent is no larger than a double can be. */
const PLAIN_NUMBER: i32 = 300;

/** The place of the walk, or -1 at bytes that are not for it. */
let p: i32 = 0;
/** Whether the value just read was a string with an escape, or a number with a fraction or an exponent. */
let escaped: i32 = 0;
let fraction: i32 = 0;
let exponent: i32 = 0;
let quotes: i32 = 0;
/** Numbers the records that were walked into: a field that bears the number of this one stands in it already. */
let serial: i32 = 0;
/** Numbers objects inside records; those of the current record come after `before`. */
let objects: i32 = 0;
let before: i32 = 0;
let names: i32 = 0;

export function quoteCount(): i32 {
  return (quotes - QUOTES) >> 2;
}

function at(place: i32): i32 {
  return <i32>load<u8>(place);
}

/**
 * Walks records behind `from`, each with a comma before it.
 * @param fields how many fields are known.
 * @param keys how many parts the primary key has; wanted values are those, and the cursor's.
 * @param most records at most.
 * @returns how many were walked.
 */
export function walk(from: i32, end: i32, fields: i32, keys: i32, most: i32): i32 {
  const slots = keys + 1;
  let span = SPANS;
  let count = 0;
  let place = from;
  quotes = QUOTES;
  while (count < most) {
    p = blank(place);
    if (at(p) != COMMA) break;
    p = blank(p + 1);
    if (at(p) != OPEN_OBJECT) break;
    const start = p;
    const quoted = quotes;
    for (let i = 0; i < slots; i++) store<i32>(span + 8 + i * 12, -1);
    if (!record(span + 8, fields, keys) || p > end) {
      quotes = quoted;
      break;
    }
    store<i32>(span, start);
    store<i32>(span + 4, p);
    span += 8 + slots * 12;
    place = p;
    count++;
  }
  return count;
}

function record(wanted: i32, fields: i32, keys: i32): bool {
  p++;
  serial++;
  names = 0;
  if (objects > 0x7f000000) {
    memory.fill(NAMES, 0, NAMES_END - NAMES);
    objects = 0;
  }
  before = objects;
  let next = 0;
  while (true) {
    const field = fieldAt(next, fields);
    if (field < 0) return false;
    next = field + 1;
    const entry = FIELDS + field * FIELD_BYTES;
    const kind = load<i32>(entry + 8);
    const stamp = load<i32>(entry + 12);
    // A member that comes twice.
    if (load<i32>(stamp) == serial) return false;
    store<i32>(stamp, serial);
    const start = p;
    escaped = 0;
    fraction = 0;
    exponent = 0;
    const first = at(p);
    if (first == QUOTE) {
      if (!text()) return false;
    } else if (!value(0)) return false;
    if (kind != 0) {
      if (
        fraction &&
        first != OPEN_OBJECT &&
        first != OPEN_ARRAY &&
        !digits((kind >> EXACT_SHIFT) & EXACT, start)
      )
        return false;
      const check = (kind >> CHECK_SHIFT) & CHECK;
      if (check != 0 && !fits(check, kind >>> LIMIT_SHIFT, start, first)) return false;
      if (kind & (WANTED | CURSOR)) {
        // Neither too long, nor a list or an object.
        if (p - start > WANTED_LIMIT || first == OPEN_OBJECT || first == OPEN_ARRAY) return false;
        const part = kind & WANTED;
        if (part != 0) {
          if (first == 0x6e) return false;
          keep(wanted + (part - 1) * 12, start, first);
        }
        if (kind & CURSOR) keep(wanted + keys * 12, start, first);
      }
    }
    let c = at(p);
    if (c == SPACE || c == TAB) {
      spaces();
      c = at(p);
    }
    p++;
    if (c == CLOSE_OBJECT) break;
    if (c != COMMA) return false;
    if (at(p) != QUOTE) spaces();
  }
  for (let i = 0; i < keys; i++) if (load<i32>(wanted + i * 12) < 0) return false;
  return true;
}

function keep(slot: i32, start: i32, first: i32): void {
  store<i32>(slot, first == 0x6e ? -2 : start);
  store<i32>(slot + 4, p);
  store<i32>(slot + 8, escaped);
}

/** The field whose lead stands here: the one that came next in other records, or any. Behind it a value begins. */
function fieldAt(next: i32, fields: i32): i32 {
  for (let i = 0; i < fields; i++) {
    let field = next + i;
    if (field >= fields) field -= fields;
    const entry = FIELDS + field * FIELD_BYTES;
    const length = load<i32>(entry + 4);
    if (equal(load<i32>(entry), p, length) && at(p + length) > SPACE) {
      p += length;
      return field;
    }
  }
  return -1;
}

/** Leads are followed by 16 unused bytes. */

function equal(a: i32, b: i32, length: i32): bool {
  let i = 0;
  for (; i + 16 <= length; i += 16) {
    if (v128.any_true(v128.xor(v128.load(a + i), v128.load(b + i)))) return false;
  }
  const rest = length - i;
  if (rest == 0) return true;
  const same = i8x16.bitmask(i8x16.eq(v128.load(a + i), v128.load(b + i)));
  const mask = (1 << rest) - 1;
  return (same & mask) == mask;
}

/** Whether a column is certain to take the value that ends here. */
function fits(check: i32, limit: i32, start: i32, first: i32): bool {
  if (first == 0x6e) return true;
  if (check == BOOLEAN) {
    if (first != QUOTE) return first == 0x74 || first == 0x66;
    // "true" and "false" as texts, little endian.
    const word = load<i32>(start + 1);
    const length = p - start;
    return (
      (length == 6 && word == 0x65757274) || (length == 7 && word == 0x736c6166 && at(start + 5) == 0x65)
    );
  }
  if (check >= DATE) {
    if (first != QUOTE || escaped != 0) return false;
    return check == BINARY ? base64(start + 1, p - 1) : time(check, start + 1, p - 1);
  }
  if (first == QUOTE) return escaped == 0 && plainNumber(check, limit, start + 1, p - 1);
  return (first == 0x2d || isDigit(first)) && plainNumber(check, limit, start, p);
}

/** A number without an exponent, of as many digits as every number of its type may have. */
function plainNumber(check: i32, limit: i32, start: i32, end: i32): bool {
  if (check == FLOAT && end - start > limit) return false;
  if (at(start) == 0x2d) start++;
  let i = start;
  while (i < end && isDigit(at(i))) i++;
  const whole = i - start;
  const isZero = at(start) == 0x30;
  if (whole == 0 || (isZero ? whole > 1 : whole > limit)) return false;
  if (i == end) return true;
  if (check == WHOLE_NUMBER || at(i) != 0x2e || ++i == end) return false;
  // Nines may be rounded up to one digit more.
  if (check == DECIMAL && (isZero ? limit == 0 : whole == limit) && at(isZero ? i : start) == 0x39)
    return false;
  while (i < end && isDigit(at(i))) i++;
  return i == end;
}

function base64(start: i32, end: i32): bool {
  if ((end - start) & 3) return false;
  if (end > start && at(end - 1) == 0x3d) end -= at(end - 2) == 0x3d ? 2 : 1;
  for (let i = start; i < end; i++) {
    const c = at(i);
    const letter = c | 0x20;
    if (!isDigit(c) && (letter < 0x61 || letter > 0x7a) && c != 0x2b && c != 0x2f) return false;
  }
  return true;
}

/** The number that two digits make; 100 where they are none. */
function two(place: i32): i32 {
  const digits = <u32>load<u16>(place) - 0x3030;
  if ((digits | (digits + 0x0606)) & 0xfffff0f0) return 100;
  return <i32>((digits & 15) * 10 + (digits >> 8));
}

/** `2026-01-31`, and behind it perhaps `T10:00:00`, a fraction, and `Z` or `+02:00`. */
function time(check: i32, start: i32, end: i32): bool {
  const length = end - start;
  if (length < 10 || at(start + 4) != 0x2d || at(start + 7) != 0x2d) return false;
  const century = two(start);
  const year = two(start + 2);
  const month = two(start + 5);
  const day = two(start + 8);
  if (century > 99 || year > 99 || century + year == 0 || month < 1 || month > 12 || day < 1) return false;
  if (
    day > 28 &&
    (day > 31 || month == 2 || (day == 31 && (month == 4 || month == 6 || month == 9 || month == 11)))
  )
    return false;
  if (length == 10) return true;
  if (check == DATE || length < 19) return false;
  const separator = at(start + 10);
  if (separator != 0x54 && separator != SPACE) return false;
  if (at(start + 13) != COLON || at(start + 16) != COLON) return false;
  if (two(start + 11) > 23 || two(start + 14) > 59 || two(start + 17) > 59) return false;
  let i = start + 19;
  if (i < end && at(i) == 0x2e) {
    const point = i++;
    while (i < end && isDigit(at(i))) i++;
    if (i == point + 1) return false;
  }
  if (i == end) return true;
  if (check != INSTANT) return false;
  const zone = at(i);
  const rest = end - i;
  if (zone == 0x5a) return rest == 1;
  // " UTC", little endian.
  if (zone == SPACE) return rest == 4 && load<i32>(i) == 0x43545520;
  if ((zone != 0x2b && zone != 0x2d) || two(i + 1) > 15) return false;
  if (rest == 6) return at(i + 3) == COLON && two(i + 4) <= 59;
  return rest == 3 || (rest == 5 && two(i + 3) <= 59);
}

/** Keeps the digits of a number with a fraction or an exponent. */
function digits(exact: i32, start: i32): bool {
  if (exact == 0) return true;
  if (exact == DOUBLE) return exponent == 0 && p - start < PLAIN_NUMBER;
  if (exact != TEXT || quotes + 8 > QUOTES_END) return false;
  store<i32>(quotes, start);
  store<i32>(quotes + 4, p);
  quotes += 8;
  return true;
}

/** Behind white space of any kind. */
function blank(place: i32): i32 {
  while (true) {
    const c = at(place);
    if (c != SPACE && c != TAB && c != 0x0a && c != 0x0d) return place;
    place++;
  }
}

/** Spaces only: a line end inside a record is the scanner's. */
function spaces(): void {
  while (at(p) == SPACE || at(p) == TAB) p++;
}

function text(): bool {
  p++;
  while (true) {
    let stop: i32;
    while (true) {
      const bytes = v128.load(p);
      const hits = v128.or(
        v128.or(i8x16.eq(bytes, i8x16.splat(<i8>QUOTE)), i8x16.eq(bytes, i8x16.splat(<i8>BACKSLASH))),
        i8x16.lt_u(bytes, i8x16.splat(<i8>SPACE)),
      );
      stop = i8x16.bitmask(hits);
      if (stop != 0) break;
      p += 16;
    }
    p += ctz(stop);
    const c = at(p);
    if (c == QUOTE) {
      p++;
      return true;
    }
    if (c != BACKSLASH) return false;
    escaped = 1;
    const e = at(p + 1);
    if (e == 0x75) {
      for (let i = 2; i < 6; i++) if (!isHex(at(p + i))) return false;
      const half = surrogate(p);
      if (half != 0) {
        // Half a pair.
        if (half == 2 || at(p + 6) != BACKSLASH || at(p + 7) != 0x75) return false;
        for (let i = 8; i < 12; i++) if (!isHex(at(p + i))) return false;
        if (surrogate(p + 6) != 2) return false;
        p += 6;
      }
      p += 6;
    } else if (isEscape(e)) p += 2;
    else return false;
  }
}

/** Classifies the escape \uXXXX at a place: 1 for the first half of a surrogate pair, 2 for the second, 0 for neither. */
function surrogate(place: i32): i32 {
  if ((at(place + 2) | 0x20) != 0x64) return 0;
  const c = at(place + 3) | 0x20;
  if (c == 0x38 || c == 0x39 || c == 0x61 || c == 0x62) return 1;
  return c >= 0x63 && c <= 0x66 ? 2 : 0;
}

function value(depth: i32): bool {
  const c = at(p);
  if (c == QUOTE) return text();
  if (c == OPEN_OBJECT || c == OPEN_ARRAY) return container(c == OPEN_OBJECT, depth);
  // "true", "null", "alse", little endian
  if (c == 0x74) return literal(0x65757274, 4);
  if (c == 0x6e) return literal(0x6c6c756e, 4);
  if (c == 0x66) {
    p++;
    return literal(0x65736c61, 4);
  }
  return number();
}

function literal(word: i32, length: i32): bool {
  if (load<i32>(p) != word) return false;
  p += length;
  return true;
}

function container(isObject: bool, depth: i32): bool {
  if (depth > DEPTH_LIMIT) return false;
  const close = isObject ? CLOSE_OBJECT : CLOSE_ARRAY;
  p++;
  spaces();
  if (at(p) == close) {
    p++;
    return true;
  }
  const object = isObject ? ++objects : 0;
  while (true) {
    if (isObject) {
      const name = p;
      escaped = 0;
      if (at(p) != QUOTE || !text() || escaped || !isNew(object, name + 1)) return false;
      spaces();
      if (at(p) != COLON) return false;
      p++;
      spaces();
    }
    if (!value(depth + 1)) return false;
    spaces();
    const c = at(p);
    p++;
    if (c == close) return true;
    if (c != COMMA) return false;
    spaces();
  }
}

/**
 * Takes note of a name of an object, which ends here; false where it cannot tell that the object has no other of that
 * name.
 */
function isNew(object: i32, start: i32): bool {
  if (++names > NAME_LIMIT) return false;
  // With its closing quote.
  const length = p - start;
  let mixed = load<u64>(start);
  if (length < 8) mixed &= ((<u64>1) << (length << 3)) - 1;
  else mixed ^= rotl<u64>(load<u64>(p - 8), 23);
  mixed = (mixed ^ (<u64>object)) * 0x9e3779b97f4a7c15;
  let slot = <i32>(mixed >> 52);
  while (true) {
    const entry = NAMES + (slot << 3);
    const owner = load<i32>(entry);
    if (owner <= before) {
      store<i32>(entry, object);
      store<i32>(entry + 4, start);
      return true;
    }
    if (owner == object && equal(load<i32>(entry + 4), start, length)) return false;
    slot = (slot + 1) & (NAME_SLOTS - 1);
  }
}

function number(): bool {
  if (at(p) == 0x2d) p++;
  if (at(p) == 0x30) p++;
  else if (!digitsHere()) return false;
  if (at(p) == 0x2e) {
    fraction = 1;
    p++;
    if (!digitsHere()) return false;
  }
  if ((at(p) | 0x20) == 0x65) {
    fraction = 1;
    exponent = 1;
    p++;
    const sign = at(p);
    if (sign == 0x2b || sign == 0x2d) p++;
    if (!digitsHere()) return false;
  }
  return true;
}

function digitsHere(): bool {
  const start = p;
  while (isDigit(at(p))) p++;
  return p > start;
}

function isDigit(c: i32): bool {
  return c >= 0x30 && c <= 0x39;
}
function isHex(c: i32): bool {
  return isDigit(c) || ((c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);
}
// " \ / b f n r t
function isEscape(c: i32): bool {
  return (
    c == QUOTE || c == BACKSLASH || c == 0x2f || c == 0x62 || c == 0x66 || c == 0x6e || c == 0x72 || c == 0x74
  );
}
