/** What strategies know of a cursor field's values: their order, and how one is computed. Texts are as the source writes them. */

export interface Values {
  /** For messages: "a timestamp". */
  readonly what: string;
  /** Older than any record; null: the first request of all goes without a filter. */
  readonly first: string | null;
  isValue: (text: string) => boolean;
  /** Negative when `a` is the lower of two values, exactly. */
  compare: (a: string, b: string) => number;
  /** A value less so many seconds (of integers, less so much), written as it is; never more than that. */
  minus: (value: string, amount: number) => string;
  /** Null where the values are no times. */
  readonly clock: Clock | null;
}

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
