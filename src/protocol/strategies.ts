/** Strategies: their settings, the pages that they ask for, and the cursors that they keep. */
import type { Json } from './json.js';

/** The strategies of the flat form. */
export const REFERENCE_STRATEGIES = ['keyset', 'offset', 'timestamp', 'step_size', 'replay'] as const;

export type ReferenceStrategy = (typeof REFERENCE_STRATEGIES)[number];

/** All strategies: those of the full form too. */
export const STRATEGIES = [...REFERENCE_STRATEGIES, 'page_number', 'cursor'] as const;

/** How a stream is read. */
export type StrategyName = (typeof STRATEGIES)[number];

/** The rule that ended a pass. */
export type EndRule =
  | 'empty_page'
  | 'short_page'
  | 'no_next_token'
  | 'total_reached'
  | 'whole_answer'
  | 'last_page'
  | 'max_id'
  | 'max_empty_steps'
  | 'all_parents'
  | 'range_end'
  /** An error rule says that the request is past the end of the list. */
  | 'past_end'
  /** The answer names the page itself as the next one, and has nothing new. */
  | 'same_token'
  /** The source repeats the previous page, as some do past their last page. */
  | 'repeated_page';

/** A note for users; `code` is stable, `message` is text for people. */
export type Note = {
  code: string;
  message: string;
  /** Number of records that it is about, if it counts them over the pass. */
  count?: number;
};

/**
 * A strategy's request to the source: query parameters under the reference API's names, which `RequestSpec`
 * translates. `scroll_param` holds the token or address of the next page from the last answer.
 */
export interface PageRequest {
  params: Record<string, string>;
  /** Fields of the parent record; absent for a stream without a parent. */
  parent?: { [field: string]: Json };
}

/**
 * Keys and cursor values of records in the order of the answer: of all records, or of those that the strategy
 * remembers.
 */
export interface PageTexts {
  keys: readonly string[];
  /** The cursor field of each record; null if the record has none. */
  values: readonly (string | null)[];
}

/** The texts of a page's records that a strategy needs; others are not made. */
export interface Remembered {
  /** `ends`: at least those of the first and the last record. */
  keys: 'all' | 'ends' | 'none';
  values: 'all' | 'none';
}

/** The records of a page: their texts, and how many there are. */
export interface PageRecords extends PageTexts {
  /** Number of records, remembered or not. */
  records: number;
}

/**
 * The content of an answer that strategies see. If all records are remembered, `keys[i]` and `values[i]` belong to
 * record `i` in the order of the answer. Both are exact text: strings as they are, numbers as written in the body
 * (9007199254740993 keeps its digits). A composite key is the JSON text of the array of its parts. The key of a rejected
 * record is empty if all are remembered; if only the first and the last are, it is empty if it could not be read.
 */
export interface PageSummary extends PageRecords {
  /** The API's continuation token (`scroll_param`); null if there is none. */
  nextToken: string | null;
  /** The API's count of all records; null if it gives none. */
  total: number | null;
  /** Whether the API says that more records follow; null if it does not say. */
  more: boolean | null;
  /** An error rule says to continue with the next parent. */
  skipped?: true;
  /** An error rule says to treat the answer as an empty page. */
  ignored?: true;
  /** The API's count of all pages; null or absent if it gives none. */
  totalPages?: number | null;
  /**
   * How the token is missing: `null` if the member or header is there without a value, `absent` if it is not. Absent if
   * there is a token.
   */
  noToken?: 'null' | 'absent';
  /** An error rule says that the request is past the end of the list. */
  pastEnd?: true;
  /** Checksum over the first and last records; absent if it was not made. */
  probe?: string;
  /** Digest of the records regardless of order, for pages that are compared this way; else absent. */
  unordered?: string;
  /** Number of consecutive answers to the same request, including this one; absent: one. */
  asked?: number;
  /** Most records in any earlier one of these answers; absent if there was none. */
  heldBefore?: number;
}

/**
 * A position that survives a JSON round trip. `mark` covers finished passes, `position` is the place in the current
 * pass; only `ended` turns one into the other.
 */
export type Cursor<Mark extends Json = Json, Position extends Json = Json> = {
  /** Number of the pass, from 1. */
  pass: number;
  mark: Mark;
  /** Null once the pass has ended. */
  position: Position | null;
  ended: EndRule | null;
  /** Notes of this pass, at most one per code. */
  notes: Note[];
  /** Number of answers to the next request that were doubted before a wait. */
  doubted?: number;
  /** The finished pass has read everything that changed since this time, including records read before (replay). */
  since?: string;
  /** The source's own count of records, confirmed by the finished pass. */
  counted?: number;
  /** Members that the configuration names and no record of the pass has so far; absent: no record was looked at. */
  absent?: string[];
};

export type StrategyOptions =
  | {
      strategy: 'keyset';
      ties: 'auto' | 'scroll';
      incremental?: Incremental;
      /** Null or absent: no page size is sent. */
      pageSize?: number | null;
      /** Whether the filter is sent beside a page token too. */
      filtersTokens?: boolean;
    }
  | {
      strategy: 'offset';
      pageSize: number;
      fullRescan: FullRescan | null;
      /** False: the source accepts only multiples of the page size as offsets. */
      overlap?: false;
      shortPageEnds?: boolean;
      /** Each pass reads a list of changes from its beginning. */
      incremental?: Incremental | null;
    }
  | { strategy: 'timestamp'; incremental?: Incremental }
  | {
      strategy: 'step_size';
      /** Decimal integers as text, since ids may exceed 2^53. */
      initialId: string;
      stepSize: string;
      maxId: string;
      maxEmptySteps: number | null;
      idLookback: string;
    }
  | { strategy: 'replay'; bufferHours: number; incremental?: Incremental }
  | {
      strategy: 'page_number';
      firstPage: number;
      /** Null: no page size is sent. */
      pageSize: number | null;
      /** A page with fewer records than requested is the last one. */
      shortPageEnds: boolean;
      incremental: Incremental | null;
    }
  | {
      strategy: 'cursor';
      pageSize: number | null;
      /** The token of the next page is the last record's primary key. */
      tokenIsLastKey: boolean;
      /**
       * Instead of a next page named in the answer: request it by the last record's cursor value and key, or read a
       * single answer.
       */
      follows?: 'last_record' | 'nothing';
      shortPageEnds?: boolean;
      incremental: Incremental | null;
    }
  | {
      /** The strategy of an extension. */
      strategy: 'custom';
      name: string;
      /** As the configuration has them; the extension's schema checks them. */
      options: { [name: string]: Json };
      /** Each pass reads the whole list. */
      readsAll: boolean;
    };

/** Matches the names of strategies of extensions. */
export const CUSTOM_NAME = /^[a-z][a-z0-9_]{0,49}$/;

/** The name of a stream's strategy, as its configuration has it. */
export const strategyName = (options: StrategyOptions): string =>
  options.strategy === 'custom' ? options.name : options.strategy;

/** A strategy in the name of a checkpoint: one of an extension never meets the checkpoint of another. */
export type StrategyKey = StrategyName | `custom:${string}`;

/** Returns the part of a checkpoint's name that says how its stream is read. */
export const strategyKey = (options: StrategyOptions): StrategyKey =>
  options.strategy === 'custom' ? `custom:${options.name}` : options.strategy;

/** Each pass requests the changes since the newest record seen. */
export interface Incremental {
  /** Start of the first pass; null: everything. */
  start: string | null;
  /** How far before the newest record a pass begins, in seconds; for integers, in their own unit. */
  lookbackSeconds: number;
  /** Format of the cursor field; default: timestamp. */
  format?: CursorFormat;
  /** Format of the filter's values; default: that of the cursor field. */
  filter?: CursorFormat;
  /**
   * Records newer than this many seconds before the start of a pass do not advance the mark and are read again; absent:
   * all records do.
   */
  settleSeconds?: number;
  /** Whether requests contain that upper bound. */
  sendsUntil?: boolean;
  /** Size of the time windows in which a pass reads up to that bound. */
  windowSeconds?: number;
}

/** Format of the values of a cursor field. */
export type CursorFormat =
  | 'timestamp'
  | 'epoch_s'
  | 'epoch_ms'
  | 'rfc_2822'
  | 'integer'
  | 'string'
  /** A pattern of luxon's tokens, and the zone of texts without one. */
  | { pattern: string; zone: string };

/** Reads the whole list every `passes` passes, or once `seconds` have passed since the last time. */
export type FullRescan = { passes: number } | { seconds: number };
