import type { JsonTape } from '../../request/json-tape.js';

/** A record on its way to a row of the table. */
export interface Draft {
  /** The record as JSON text, in which no number has lost a digit; after the last step, the row. */
  text: string;
  /** False where a filter left it out: paging still counts it, by its key and its cursor value. */
  isKept: boolean;
  /** Why it cannot be stored, in words that follow "does not fit:"; absent: it can. Says nothing that is to stay secret. */
  refusal?: string;
  /** Members of the row that are not taken from the record: JSON texts `"name":value`. */
  made?: string[];
  /** The record without the columns that are made for items of its lists; absent: `text` has none. */
  unmade?: string;
  /** The values of `text`, where a step has read them and the last one can use them. */
  tape?: JsonTape;
}

/**
 * Does one thing to the records of an answer. The steps of a stream run one after the other, over all records that
 * have arrived so far; a step returns what the next one gets: the same drafts, changed in place, or others.
 */
export interface ShapingStep {
  apply(drafts: Draft[]): Draft[] | Promise<Draft[]>;
}
