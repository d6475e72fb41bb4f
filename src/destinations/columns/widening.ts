/**
 * Widens column types to fit the values that a source sends. Pure functions: which values a type holds unchanged, and
 * which type comes next when a value does not fit. docs/schema.md documents the order of the types.
 */
import type { ColumnType } from '../../protocol.js';
import { isDay, isTaken } from '../../sources/declared-values.js';

export { isPlainInstant } from '../../sources/declared-values.js';

/** The kind of a JSON value, as columns distinguish it. */
export type Kind = 'boolean' | 'whole' | 'fraction' | 'date' | 'naive' | 'utc' | 'text' | 'nested';

/** Maximum digits of a DECIMAL. */
const DIGITS = 38;
/** Digits of the greatest LONG. */
const LONG_DIGITS = 19;
const RANGES: Partial<Record<ColumnType, readonly [bigint, bigint]>> = {
  SHORT: [-(2n ** 15n), 2n ** 15n - 1n],
  INT: [-(2n ** 31n), 2n ** 31n - 1n],
  LONG: [-(2n ** 63n), 2n ** 63n - 1n],
};

/** Returns the kind of a value other than null, given its JSON text. */
export function kindOf(raw: string): Kind {
  switch (raw[0]) {
    case '"':
      return textKind(raw);
    case '{':
    case '[':
      return 'nested';
    case 't':
    case 'f':
      return 'boolean';
    default:
      return /[.eE]/.test(raw) ? 'fraction' : 'whole';
  }
}

const TIME = /^"(\d{4})-(\d\d)-(\d\d)(?:[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(Z|\+00:00)?)?"$/;

/**
 * Recognises dates and times by their text. A time with an offset is text, since the instant alone would lose the
 * offset; so is a time with more digits than a column keeps.
 */
function textKind(raw: string): Kind {
  // Every date has its first dash here.
  if (raw[5] !== '-' || raw.length > 40) return 'text';
  const match = TIME.exec(raw);
  if (match === null) return 'text';
  const [, year, month, day, hour, zone] = match;
  if (!isDay(Number(year), Number(month), Number(day))) return 'text';
  if (hour === undefined) return 'date';
  return zone === undefined ? 'naive' : 'utc';
}

/** Counts the digits before and after the point; null for a number with an exponent. */
function digitsOf(raw: string): { before: number; after: number } | null {
  const match = /^-?(\d+)(?:\.(\d+))?$/.exec(raw);
  return match === null ? null : { before: match[1]?.length ?? 0, after: match[2]?.length ?? 0 };
}

/** Returns digits and exponent of a number in one form, however it is written. */
function significant(raw: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(raw) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const short = digits.replace(/0+$/, '');
  if (short === '') return '0';
  return `${sign}${short}e${Number(exponent) - fraction.length + digits.length - short.length}`;
}

/** Whether a DOUBLE keeps all digits of a number. */
function isExactDouble(raw: string): boolean {
  // A double keeps any 15 digits.
  if (raw.length <= 16 && !/[eE]/.test(raw)) return true;
  const value = Number(raw);
  return Number.isFinite(value) && significant(raw) === significant(String(value));
}

/** Returns precision and scale of a DECIMAL; null for another type. */
function decimalOf(type: ColumnType): { precision: number; scale: number } | null {
  const match = /^DECIMAL\((\d+),(\d+)\)$/.exec(type);
  return match === null ? null : { precision: Number(match[1]), scale: Number(match[2]) };
}

const isWithin = (raw: string, type: ColumnType): boolean => {
  // Enough for any LONG of up to 18 digits, without parsing.
  if (type === 'LONG' && raw.length <= LONG_DIGITS - 1) return true;
  const [least, greatest] = RANGES[type] ?? [0n, 0n];
  const value = BigInt(raw);
  return value >= least && value <= greatest;
};

/** Whether a column stores a value unchanged. */
export function holds(type: ColumnType, raw: string, kind: Kind = kindOf(raw)): boolean {
  switch (type) {
    case 'JSON':
      return true;
    case 'STRING':
      return kind !== 'nested';
    case 'BOOLEAN':
      return kind === 'boolean';
    case 'SHORT':
    case 'INT':
    case 'LONG':
      return kind === 'whole' && isWithin(raw, type);
    case 'FLOAT':
      return (
        (kind === 'whole' || kind === 'fraction') &&
        Math.fround(Number(raw)) === Number(raw) &&
        isExactDouble(raw)
      );
    case 'DOUBLE':
      return (kind === 'whole' || kind === 'fraction') && isExactDouble(raw);
    case 'NAIVE_DATE':
      return kind === 'date';
    case 'NAIVE_DATETIME':
      return kind === 'naive' || kind === 'date';
    case 'UTC_DATETIME':
      return kind === 'utc';
    case 'BINARY':
      return false;
    default: {
      const digits = kind === 'whole' || kind === 'fraction' ? digitsOf(raw) : null;
      const decimal = decimalOf(type);
      if (digits === null || decimal === null) return false;
      return digits.before <= decimal.precision - decimal.scale && digits.after <= decimal.scale;
    }
  }
}

/**
 * Whether a declared column accepts a value, by the same rules as a table of declared columns: text may spell a number,
 * a time without a zone is UTC, and digits beyond the scale are rounded.
 */
export const takes = (type: ColumnType, raw: string, kind: Kind = kindOf(raw)): boolean =>
  holds(type, raw, kind) || isTaken(type, raw);

/** Facts about the values of a column in one batch. */
export class Facts {
  private readonly kinds = new Set<Kind>();
  private least = 0n;
  private greatest = 0n;
  /** Digits before and after the point. */
  private before = 0;
  private after = 0;
  private hasExponent = false;
  private isExact = true;

  addValue(raw: string): void {
    const kind = kindOf(raw);
    this.kinds.add(kind);
    if (kind !== 'whole' && kind !== 'fraction') return;
    if (this.isExact && !isExactDouble(raw)) this.isExact = false;
    const digits = digitsOf(raw);
    if (digits === null) {
      this.hasExponent = true;
      return;
    }
    this.before = Math.max(this.before, digits.before);
    this.after = Math.max(this.after, digits.after);
    // Longer numbers fit no integer type.
    if (kind === 'fraction' || digits.before > DIGITS) return;
    const value = BigInt(raw);
    if (value < this.least) this.least = value;
    if (value > this.greatest) this.greatest = value;
  }

  /**
   * Returns the next type of the column.
   * @param current null for a column that does not exist yet.
   * @param isKey keys are integers or text: two spellings of one time are two keys.
   * @param refused types that the stored values cannot be converted to.
   */
  nextType(current: ColumnType | null, isKey = false, refused: readonly ColumnType[] = []): ColumnType {
    const types = above(current, this.before, this.after).filter(
      (type) => !refused.includes(type) && (!isKey || IS_KEY.test(type)),
    );
    return types.find((type) => this.allFit(type)) ?? 'JSON';
  }

  private allFit(type: ColumnType): boolean {
    const only = (...kinds: Kind[]) => [...this.kinds].every((kind) => kinds.includes(kind));
    switch (type) {
      case 'SHORT':
      case 'INT':
      case 'LONG': {
        const [least, greatest] = RANGES[type] ?? [0n, 0n];
        return only('whole') && this.before <= DIGITS && this.least >= least && this.greatest <= greatest;
      }
      case 'FLOAT':
      case 'DOUBLE':
        return only('whole', 'fraction') && this.isExact;
      case 'BOOLEAN':
        return only('boolean');
      case 'NAIVE_DATE':
        return only('date');
      case 'NAIVE_DATETIME':
        return only('naive', 'date');
      case 'UTC_DATETIME':
        return only('utc');
      case 'STRING':
        return !this.kinds.has('nested');
      case 'JSON':
        return true;
      case 'BINARY':
        return false;
      default: {
        const decimal = decimalOf(type);
        if (decimal === null || !only('whole', 'fraction') || this.hasExponent) return false;
        return this.before <= decimal.precision - decimal.scale && this.after <= decimal.scale;
      }
    }
  }
}

const IS_KEY = /^(LONG|DECIMAL\(38,0\)|STRING)$/;

/** Lists the wider types, the nearest first. */
function above(current: ColumnType | null, before: number, after: number): ColumnType[] {
  const text: ColumnType[] = ['STRING', 'JSON'];
  const decimal = (wholeDigits: number, scale: number): ColumnType[] =>
    scale <= DIGITS - Math.max(wholeDigits, before) ? [`DECIMAL(${DIGITS},${scale})`] : [];
  /** Integers beyond a LONG, fractions that a DOUBLE keeps, and fractions that it does not keep. */
  const numbers = (wholeDigits: number): ColumnType[] => [
    `DECIMAL(${DIGITS},0)`,
    'DOUBLE',
    ...decimal(wholeDigits, after),
  ];
  switch (current) {
    case null:
      return ['BOOLEAN', 'LONG', ...numbers(0), 'NAIVE_DATE', 'NAIVE_DATETIME', 'UTC_DATETIME', ...text];
    case 'SHORT':
      return ['INT', 'LONG', ...numbers(5), ...text];
    case 'INT':
      return ['LONG', ...numbers(10), ...text];
    case 'LONG':
      return [...numbers(LONG_DIGITS), ...text];
    case 'FLOAT':
      return ['DOUBLE', ...text];
    case 'NAIVE_DATE':
      return ['NAIVE_DATETIME', ...text];
    case 'STRING':
    case 'JSON':
      return ['JSON'];
    case 'BOOLEAN':
    case 'DOUBLE':
    case 'NAIVE_DATETIME':
    case 'UTC_DATETIME':
    case 'BINARY':
      return text;
    default: {
      const { precision, scale } = decimalOf(current) ?? { precision: 0, scale: 0 };
      return [...decimal(precision - scale, Math.max(scale, after)), ...text];
    }
  }
}

/** Whether a column of type `current` may have been widened to `type`. */
export function isAbove(type: ColumnType, current: ColumnType): boolean {
  if (type === current) return true;
  const [wide, narrow] = [decimalOf(type), decimalOf(current)];
  if (wide !== null) {
    if (narrow === null) return current === 'SHORT' || current === 'INT' || current === 'LONG';
    return wide.scale >= narrow.scale && wide.precision - wide.scale >= narrow.precision - narrow.scale;
  }
  return above(current, 0, 0).includes(type);
}

/** Converts a name: `createdAt` and `Created At` become `created_at`, `HTTPServer` becomes `http_server`. */
export const snakeCase = (name: string): string =>
  name
    .replace(/(\p{Ll}|\d)(\p{Lu})/gu, '$1_$2')
    .replace(/(\p{Lu})(\p{Lu}\p{Ll})/gu, '$1_$2')
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .replace(/^(_*)(.*?)_*$/u, (_, lead: string, rest: string) =>
      rest === '' ? '_' : lead.slice(0, 1) + rest,
    )
    .toLowerCase();
