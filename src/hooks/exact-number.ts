/** Marks an exact number across copies of this module. */
const EXACT = Symbol.for('highwater.ExactNumber');

/** JSON's grammar of a number. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/**
 * A number that no JavaScript number equals: one with more digits, or beyond its range. It keeps the text that the source sent, and
 * is written with it. Arithmetic with it throws, as with a bigint: convert it first, with {@link toNumber} or as text.
 */
export class ExactNumber {
  readonly [EXACT] = true;

  /**
   * @param text a number as JSON writes it.
   * @throws {RangeError} if it is none.
   */
  constructor(readonly text: string) {
    if (!NUMBER.test(text)) throw new RangeError(`${JSON.stringify(text)} is not a number in JSON`);
  }

  /** Whether a value is an exact number. */
  static is(value: object): value is ExactNumber {
    return EXACT in value;
  }

  /** The nearest JavaScript number, which has fewer digits. */
  toNumber(): number {
    return Number(this.text);
  }

  toString(): string {
    return this.text;
  }

  toJSON(): string {
    return this.text;
  }

  [Symbol.toPrimitive](hint: 'string' | 'number' | 'default'): string {
    if (hint === 'string') return this.text;
    throw new TypeError(
      `${this.text} has more digits than a JavaScript number: use its toNumber() or its text`,
    );
  }
}
