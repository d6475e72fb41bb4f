/** Values of a cursor field: their order, and how one is computed. Texts are as the source writes them. */

export interface Values {
  /** For messages: "a timestamp". */
  readonly what: string;
  /** Older than any record; null: the first request of all goes without a filter. */
  readonly first: string | null;
  isValue: (text: string) => boolean;
  /** Negative when `a` is the lower of two values, exactly. */
  compare: (a: string, b: string) => number;
  /** Subtracts a number of seconds from a value (of integers: a number), written as it is; never more than that. */
  minus: (value: string, amount: number) => string;
  /** Null where the values are no times. */
  readonly clock: Clock | null;
  /** How values are asked for, where the filter has a format of its own; absent: as they are. */
  readonly asked?: Asked;
}

/** Values as they are sent. A filter that tells less apart is asked for more, never for less. */
export interface Asked {
  /** The lower bound that is sent for a value, rounded down. */
  text: (value: string) => string;
  /** The lower bound that is sent for an instant, rounded down. */
  lower: (instant: number) => string;
  /** The upper bound that is sent for an instant, rounded up. */
  upper: (instant: number) => string;
  /** The least difference in milliseconds that a bound can show. */
  unit: number;
  /** Order of two values as far as their bounds tell them apart; 0 where they are one to the filter. */
  apart: (a: string, b: string) => number;
  /** Whether a value is the very one that the bound sent for `asked` names. */
  meets: (value: string, asked: string) => boolean;
  /** The value that is sent in place of this one, written as it is. */
  floor: (value: string) => string;
  /** A value from which on every record is given that a filter by the bound of this one may give, even one by `>`. */
  beyond: (value: string) => string;
  /** A value in the format of the filter. @throws {UnfollowableError} where that is another instant. */
  exact: (value: string) => string;
}

/** Order of two values, as far as the filter tells them apart. */
export const apart = ({ compare, asked }: Values, a: string, b: string): number =>
  asked === undefined ? compare(a, b) : asked.apart(a, b);

/** Whether a record has the very value that is sent for the one asked. */
export const meets = ({ compare, asked }: Values, value: string, floor: string): boolean =>
  asked === undefined ? compare(value, floor) === 0 : asked.meets(value, floor);

/** A value less so much, and earlier to the filter too. */
export const earlier = ({ minus, asked }: Values, value: string, amount: number): string =>
  minus(asked === undefined ? value : asked.floor(value), amount);

/** Instants of ours (milliseconds since 1970) among the values. */
export interface Clock {
  /** Rounded down. */
  read: (value: string) => number;
  /** Rounded down; written as `like` is, where values may be written in several ways. */
  write: (instant: number, like: string | null) => string;
  /** Like `write`, but so that no reading of the text is later: in an hour that a zone has twice, one before it. */
  lower: (instant: number, like: string | null) => string;
  /** The least difference in milliseconds that `write` can show. */
  unit: (like: string | null) => number;
}
