/**
 * The words that every part of Highwater shares: plain data only, no code that runs, so that workflows,
 * strategies, activities and clients can all import it.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The strategies of the flat form. */
export const REFERENCE_STRATEGIES = ['keyset', 'offset', 'timestamp', 'step_size', 'replay'] as const;
export type ReferenceStrategy = (typeof REFERENCE_STRATEGIES)[number];

/** All strategies: those of the full form. */
export const STRATEGIES = [...REFERENCE_STRATEGIES, 'page_number', 'cursor'] as const;
export type StrategyName = (typeof STRATEGIES)[number];

/** Why a pass ended. */
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
  /** A rule for errors says that the request lies past the end of the list. */
  | 'past_end'
  /** The answer names the page that it answers as the next one, and has nothing new. */
  | 'same_token'
  /** The source answers with the page before again, as some do past their last page. */
  | 'repeated_page';

/** Something that a reader of the run should know; `code` is stable, `message` is for people. */
export type Note = {
  code: string;
  message: string;
};

/**
 * What a strategy asks of the source: query parameters on the stream's URL, under the reference API's names, which
 * the stream's {@link RequestSpec} translates. `scroll_param` holds what the last answer said is next.
 */
export interface PageRequest {
  params: Record<string, string>;
  /** The fields of the parent record that the request is for; absent for a stream without a parent. */
  parent?: { [field: string]: Json };
}

/** Keys and cursor values of records, in the order of the answer: of all, or of those that a strategy remembers. */
export interface PageTexts {
  keys: readonly string[];
  /** The cursor field of each record; null where the record has none. */
  values: readonly (string | null)[];
}

/** What a strategy remembers of the records of a page; text that nobody asks for is not made. */
export interface Remembered {
  /** `ends`: at least the first and the last. */
  keys: 'all' | 'ends' | 'none';
  values: 'all' | 'none';
}

export interface PageRecords extends PageTexts {
  /** How many there were, remembered or not. */
  records: number;
}

/**
 * What one answer said, as far as a strategy may know it. Where all are remembered, `keys[i]` and `values[i]` belong
 * to record `i`, in the order of the answer. Both are exact text: strings as they are, numbers as they stood in the body (an id of
 * 9007199254740993 arrives as that). A composite key is the JSON text of the array of its parts.
 */
export interface PageSummary extends PageRecords {
  /** The API's own continuation token (`scroll_param`), null where it gives none. */
  nextToken: string | null;
  /** The API's own count of all records, null where it gives none. */
  total: number | null;
  /** Whether the API says that there is more; null where it does not say. */
  more: boolean | null;
  /** A rule for errors says to go on with the next parent. */
  skipped?: true;
  /** A rule for errors says to take the answer for an empty page. */
  ignored?: true;
  /** The API's own count of all pages, null or absent where it gives none. */
  totalPages?: number | null;
  /**
   * How the answer lacks a next token: `null` where it has the member or header without a value, `absent` where it has
   * none. Left out where there is a token.
   */
  noToken?: 'null' | 'absent';
  /** A rule for errors says that the request lies past the end of the list. */
  pastEnd?: true;
  /** Checksum over the beginning and the end of the records; absent where it was not made. */
  probe?: string;
  /** Digest of the records whatever their order, of the pages that are compared so; absent otherwise. */
  unordered?: string;
  /** How often the same request was answered in a row, this time included; absent: once. */
  asked?: number;
  /** Most records that an earlier one of these answers held; absent where there was none. */
  heldBefore?: number;
}

/**
 * A position that survives a JSON round trip. `mark` is what finished passes have proven, `position` where the
 * pass in hand stands; they are different things and only `ended` turns one into the other.
 */
export type Cursor<Mark extends Json = Json, Position extends Json = Json> = {
  /** Counts passes, from 1. */
  pass: number;
  mark: Mark;
  /** Null once the pass has ended. */
  position: Position | null;
  ended: EndRule | null;
  /** What this pass has to say; at most a few, one per code. */
  notes: Note[];
  /** Answers to the next request that were not believed, where a wait came before the request could be sent again. */
  doubted?: number;
  /** A pass that has ended has read all that changed since then, whether it was read before or not (replay). */
  since?: string;
  /** Records in the source by its own count, which the pass that has ended agrees with. */
  counted?: number;
};

export type StrategyOptions =
  | {
      strategy: 'keyset';
      ties: 'auto' | 'scroll';
      incremental?: Incremental;
      /** Null or absent: none is sent. */
      pageSize?: number | null;
      /** The filter is sent beside a page token too. */
      filtersTokens?: boolean;
    }
  | {
      strategy: 'offset';
      pageSize: number;
      fullRescan: FullRescan | null;
      /** False: the source takes no other offsets than multiples of the page size. */
      overlap?: false;
      shortPageEnds?: boolean;
      /** Each pass reads a list of what has changed, from its beginning. */
      incremental?: Incremental | null;
    }
  | { strategy: 'timestamp'; incremental?: Incremental }
  | {
      strategy: 'step_size';
      /** Decimal integers as text: ids may lie beyond 2^53. */
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
      /** Null: none is sent. */
      pageSize: number | null;
      /** A page of fewer records than asked is the last one. */
      shortPageEnds: boolean;
      incremental: Incremental | null;
    }
  | {
      strategy: 'cursor';
      pageSize: number | null;
      /** The next page is asked for by the last record's primary key. */
      tokenIsLastKey: boolean;
      /** In place of what the answer says is next: the last record's cursor value and key; or one answer is all. */
      follows?: 'last_record' | 'nothing';
      shortPageEnds?: boolean;
      incremental: Incremental | null;
    };

/** A pass asks for what has changed since the newest record that was seen. */
export interface Incremental {
  /** What the first pass asks for; null = everything. */
  start: string | null;
  /** How far before the newest record a pass begins; of integers, not in seconds but as many. */
  lookbackSeconds: number;
  /** How the cursor field is written; timestamps unless told. */
  format?: CursorFormat;
  /** How what is asked for is written; as the cursor field is unless told. */
  filter?: CursorFormat;
  /** Records newer than this, counted back from when a pass begins, move no mark: they are read again. Absent: all do. */
  settleSeconds?: number;
  /** That bound is asked for too. */
  sendsUntil?: boolean;
  /** A pass asks for so much time after the other, up to that bound. */
  windowSeconds?: number;
}

/** How the values of a cursor field are written. */
export type CursorFormat =
  | 'timestamp'
  | 'epoch_s'
  | 'epoch_ms'
  | 'rfc_2822'
  | 'integer'
  | 'string'
  /** A pattern of luxon's tokens, and the zone of texts that name none. */
  | { pattern: string; zone: string };

/** A part of a source; both ends belong to it, and null is no end. */
export type Range = { from: string | null; to: string | null };

/** What is done with a range that is read beside the sync. */
export const RANGE_KINDS = ['backfill', 'audit'] as const;
export type RangeKind = (typeof RANGE_KINDS)[number];

/** A range as somebody asks for it. */
export interface RangeRequest {
  kind: RangeKind;
  /** In the terms of the strategy: values of the cursor field, ids, or offsets. */
  from?: string;
  to?: string;
  /** audit: write what is missing or stale, and treat extra rows as `deletes` says. */
  repair?: boolean;
  /** audit with `repair`: remove extra rows also where nothing says what becomes of them. */
  removeExtra?: boolean;
  /** How many keys of each kind of difference the result names. */
  keys?: number;
}

/** A range that is read beside the sync, as its workflow holds it. */
export interface RangePlan extends Range {
  kind: RangeKind;
  repair: boolean;
  removeExtra: boolean;
  keys: number;
  /** When it began, by the destination's clock. */
  began: string;
  /** How far the sync had come then: what lies beyond is still ahead of it. Null: it does not go by such a mark. */
  reached: string | null;
}

/** How a row and the source differ. `changed`: the sync wrote the row while it was compared, so that nothing is said of it. */
export const DIFFERENCES = ['missing', 'stale', 'extra', 'changed'] as const;
export type DifferenceKind = (typeof DIFFERENCES)[number];

/** Rows that differ in one way. */
export interface Differences {
  count: number;
  /** How many of them were mended. */
  repaired: number;
  /** The first of them, in the order of their keys; a composite key is the JSON text of the array of its parts. */
  keys: string[];
}

/** What came of a range. */
export interface RangeResult extends Range {
  kind: RangeKind;
  /** Records of the range. */
  records: number;
  /** Records that were read and lie outside of it, or are still ahead of the sync. */
  outside: number;
  /** Rows inserted or changed. */
  rows: number;
  /** Rows that were not written, as the table has a newer version, or may have. */
  left: number;
  /** Of an audit. */
  differences: {
    missing: Differences;
    stale: Differences;
    extra: Differences | null;
    /** Keys that stand more than once in the table; absent where there are none. */
    twice?: Differences;
    changed: number;
  } | null;
  /** Why extra rows were not looked for; null where they were. */
  extraUnknown: string | null;
  /** No difference is left. */
  equal: boolean | null;
}

/** Re-read the whole list every `passes` passes, or when `seconds` have gone by since the last time. */
export type FullRescan = { passes: number } | { seconds: number };

/** The types a column may have; the reference form's names. */
export const COLUMN_TYPES = [
  'STRING',
  'BOOLEAN',
  'SHORT',
  'INT',
  'LONG',
  'FLOAT',
  'DOUBLE',
  'NAIVE_DATE',
  'NAIVE_DATETIME',
  'UTC_DATETIME',
  'JSON',
  'BINARY',
] as const;
/** One of {@link COLUMN_TYPES}, or `DECIMAL(p,s)`. */
export type ColumnType = (typeof COLUMN_TYPES)[number] | `DECIMAL(${number},${number})`;

/** Where a stream's rows go. */
export interface TableSpec {
  schema: string;
  table: string;
  primaryKey: string[];
  columns: Record<string, ColumnType>;
  /** Records that do not fit are put aside; absent: they stop the sync. */
  quarantine?: true;
  /** How a batch becomes rows; absent: upsert. */
  mode?: Exclude<WriteMode, 'upsert'>;
  /** Rows say when and by which batch they were written last, in {@link SYNCED_AT} and {@link BATCH}. */
  stamps?: true;
  /** What becomes of rows that are gone from the source; absent: they stay. */
  deletes?: DeleteMode;
  /** The column by which a record says itself that it is gone. */
  deletedField?: string;
  /** Which rows are gone when a pass has not met them; absent: all. */
  unseen?: Unseen;
  /** How many rows the end of a pass may remove without asking; absent: {@link DEFAULT_MAX_DELETES}. */
  maxDeletes?: MaxDeletes;
  /** Columns that are not declared follow from the records; absent: what has no column is not stored. */
  inference?: Inference;
}

/** How a table follows its source. */
export interface Inference {
  /** What becomes of a record that the table, once it is there, does not hold as it is. */
  policy: 'evolve' | 'freeze' | 'quarantine';
  /** The members of objects so deep in a record have columns of their own; 0: an object is one value. */
  flatten: number;
  names: 'as_is' | 'snake_case';
}

/** What was done to a table. */
export type SchemaChange = {
  column: string;
  /** Null: the column is new. */
  from: ColumnType | null;
  to: ColumnType;
};

/** Rows by their key; every version there was; the last whole pass; versions with the time each was valid. */
export const WRITE_MODES = ['upsert', 'append', 'replace', 'history'] as const;
export type WriteMode = (typeof WRITE_MODES)[number];

/** Marked in the column {@link DELETED_AT}, or removed; in a history both end the version. */
export type DeleteMode = 'soft' | 'hard';

/** How many rows the end of a pass may remove, mark or end because the pass has not met them: a count, or a share of the table's. */
export type MaxDeletes = { rows: number } | { percent: number } | 'any';

/** A pass asks once it would remove more than this share of the rows, and more than this many. */
export const DEFAULT_MAX_DELETES = { percent: 10, rows: 20 } as const;

/** Rows that the end of a pass would remove, where they are more than `max_deletes` allows. */
export type TooManyDeletes = {
  /** `SCHEMA.TABLE` */
  table: string;
  /** What would become of the rows; `ended`: their current versions in a history. */
  how: 'removed' | 'marked' | 'ended';
  deletes: number;
  /** Rows of the table that count as there. */
  rows: number;
  /** How many of them may go without asking. */
  allowed: number;
  /** Which pass of the stream asks. */
  pass: number;
};

/** What was decided about the deletes of a pass that asked: at most so many rows may go, or none. */
export type DeletesDecision = { approved: number } | 'withheld';

/** None; or those whose time in a column lies within what the pass has asked for. */
export type Unseen = 'stay' | { column: string };

/** Columns of ours in the tables of streams. */
export const DELETED_AT = '_highwater_deleted_at';
export const SYNCED_AT = '_highwater_synced_at';
export const BATCH = '_highwater_batch';
/** Counts the rows of a table that is appended to, in the order in which they came. */
export const SEQUENCE = '_highwater_sequence';
export const VALID_FROM = '_highwater_valid_from';
/** Whether a row may have a text key is told by this number: DuckDB reads it ten times as fast as the keys. */
export const KEY_HASH = '_highwater_key';
/** Null: it is still valid. */
export const VALID_TO = '_highwater_valid_to';

/** Notes of passes that are not known to have read everything: rows that such a pass has not met are not gone. */
export const INCOMPLETE = [
  'answer_ignored',
  'parent_skipped',
  'answer_cut',
  'end_unproven',
  'empty_page_inside',
  'repeated_page_inside',
  'list_shrank',
  'list_moving',
  'no_overlap',
  'records_missing',
] as const;

/** A record that could not become a row. */
export type Reject = {
  reason: string;
  /** As the source sent it. */
  record: string;
};

/** How large a batch may grow; the first limit reached closes it. */
export interface BatchBudget {
  rows: number;
  bytes: number;
  seconds: number;
}

/** A credential; texts are references to secrets, which only activities resolve. */
export type Auth =
  | { type: 'none' }
  | { type: 'basic'; username: string; password: string }
  | { type: 'bearer'; token: string }
  | { type: 'api_key'; name: string; value: string; in: 'header' | 'query' | 'cookie' }
  | SessionAuth
  | OAuth2Auth
  | {
      type: 'signature';
      /** The module `NAME.mjs` in the worker's folder of hooks; its `sign` gives headers for each request. */
      hook: string;
      /** What the hook is told besides the request. */
      settings: { [name: string]: string };
    };

/** A token that a login request gives, renewed when it expires or is refused. */
export interface SessionAuth {
  type: 'session';
  login: {
    /** Absolute, or a path after the source's base_url. */
    url: string;
    method: 'GET' | 'POST';
    headers: { [name: string]: string };
    body: Json | null;
    bodyAs: BodyEncoding;
  };
  /** Where the login's answer has the token, and for how many seconds it is good. */
  token: AnswerPath;
  expiresIn: AnswerPath | null;
  name: string;
  /** What stands before the token. */
  prefix: string;
  in: 'header' | 'query' | 'cookie';
}

/** Client credentials, or a refresh token where there is one; one that the server replaces is kept, encrypted. */
export interface OAuth2Auth {
  type: 'oauth2';
  tokenUrl: string;
  clientId: string;
  clientSecret: string;
  /** How the client says who it is. */
  clientAuth: 'body' | 'basic';
  refreshToken: string | null;
  scopes: string[];
  params: { [name: string]: string };
}

export type BodyEncoding = 'json' | 'form';

/**
 * Where in an answer something stands: the names of the members on the way, or a JSONPath (RFC 9535) as text, of
 * which the first node counts.
 */
export type AnswerPath = string[] | string;

/** Where in an answer a value stands: in its body, or in a header. */
export type AnswerPlace = AnswerPath | { header: string };

/** What to do about an answer. */
export const ERROR_ACTIONS = [
  'retry',
  'wait',
  'ignore',
  'end',
  'skip_parent',
  'renew_credentials',
  'fail',
] as const;
export type ErrorAction = (typeof ERROR_ACTIONS)[number];

/** A rule for answers that are no page of records. All that is named must fit; the first rule that fits is taken. */
export interface ErrorRule {
  /** Statuses such as "404" or "5xx"; null where any other than 2xx fits, or, with `path`, any. */
  statuses: string[] | null;
  /** A regular expression that the body matches. */
  body: string | null;
  /** What the body, as JSON, has: not empty, null or false. */
  path: AnswerPath | null;
  action: ErrorAction;
  /** wait: for how long, where the answer does not say. */
  waitSeconds: number;
}

/** What all streams of a source together may ask of it; each worker keeps to it by itself. */
export interface RateLimit {
  requestsPerSecond: number | null;
  concurrency: number | null;
  /** Headers that say how many requests are left, and when there are more again. */
  remainingHeader: string | null;
  resetHeader: string | null;
}

/** What an answer's body is. */
export type BodyFormat = 'json' | 'ndjson' | 'csv';

/** How a record becomes a row, where it is not one as it stands. */
export interface RecordShape {
  /** A column's value by its path in the record, of names and of places in lists; columns that are not named here have the member of their name. */
  from: { [column: string]: (string | number)[] };
  /** Columns that the parent gives, by the field of the parent. */
  parent: { [column: string]: string };
  /** A JSONPath filter expression such as `@.status == 'open'`; records that it does not hold for are left out. */
  where: string | null;
  /** Members that no column takes keep their names; absent: they are left out. */
  rest?: true;
}

/** The stream whose rows are the parents of this one's: a request is made for each. */
export interface ParentSpec {
  stream: string;
  table: TableSpec;
  /** Columns of the parent that requests and rows refer to. */
  fields: string[];
}

/**
 * How an API wants to be asked, and where in its answers the words stand that the paging needs.
 */
export interface RequestSpec {
  /** GET unless told. */
  method?: 'GET' | 'POST';
  /** What a POST sends; its texts may refer to `${cursor:NAME}` and `${parent:FIELD}`. */
  body?: Json;
  bodyAs?: BodyEncoding;
  /** json unless told. */
  format?: BodyFormat;
  /** The answer holds one record and no list. */
  single?: boolean;
  shape?: RecordShape | null;
  errors?: ErrorRule[];
  rateLimit?: RateLimit;
  /** The API's names of the parameters that strategies send, by the reference API's. */
  names: { [reference: string]: string };
  /** The number by which the API calls the first record of a list; absent: 0. */
  firstOffset?: number;
  /** Sent with every request. */
  params: { [name: string]: string };
  headers: { [name: string]: string };
  auth: Auth;
  /** Where the records are; no members where the answer is the list of them. */
  records: AnswerPath;
  /** What comes next: a token or an address in the body or in a header, or the `Link` header's `next`. */
  next:
    | {
        in: 'body';
        path: AnswerPath;
        isAddress: boolean;
        /** The members of the token are sent, as parameters; absent: the token itself is. */
        as?: 'params';
        /** No token is configured: what the reference API would give is taken where it is there. */
        isAssumed?: true;
      }
    | { in: 'header'; name: string; isAddress: boolean }
    | { in: 'link'; isAddress: true };
  /** Hosts that a next page's address may be on besides the configured one: `host` or `host:port`. */
  nextHosts?: string[];
  total: AnswerPlace | null;
  more: AnswerPlace | null;
  totalPages?: AnswerPlace | null;
  /** There is no more where an answer holds this value. */
  ends?: { path: AnswerPath; is: Json } | null;
}

/** A configuration that has been checked: what the workflow and its activities work from. Holds no secret. */
export interface StreamPlan {
  /** The stream's name, as people read it: the table's name. */
  stream: string;
  /** May hold references to secrets, which only activities resolve. */
  baseUrl: string;
  request: RequestSpec;
  options: StrategyOptions;
  table: TableSpec;
  /** Empty where the stream has none, or several. */
  cursorField: string;
  /** Several, of which the greatest value that a record has counts; absent where there is one at most. */
  cursorFields?: string[];
  /** Absent or null: the stream has none. */
  parent?: ParentSpec | null;
  /** Absolute or relative path of the DuckDB file; null = the worker's default. */
  destination: string | null;
  /** Seconds between passes; null = one pass. */
  intervalSeconds: number | null;
  /** What the interval may grow to while passes bring nothing; absent: it does not grow. */
  idleIntervalSeconds?: number;
  batch: BatchBudget;
  /** For how long a source that does not answer is tried again, in seconds. */
  retrySeconds: number;
  requestTimeoutSeconds: number;
  /** Requests on their way at once, where the strategy knows what follows. */
  inFlight: number;
  /** Continue as new after this many history events; null = when Temporal suggests it. */
  historyLimit: number | null;
  /** A range to be read beside the sync; absent: it is the sync itself. */
  range?: RangePlan;
  /** What the configuration's reader should know (a path that was replaced, …). */
  notes: Note[];
}

/** Who may write a stream: the workflow that opened it last. */
export interface Holder {
  workflowId: string;
  /** The first run of the chain; the same after continue-as-new, retry and reset. */
  firstRunId: string;
  runId: string;
  namespace: string;
  /** Where its Temporal server answers, as its worker sees it. */
  cluster: string;
  /** Tells its Temporal server from others, whatever the address; absent where the server does not say. */
  clusterId?: string;
}

/** A cursor as it stands in the destination. */
export interface Checkpoint {
  /** Unique; every commit makes a new one. */
  id: string;
  cursor: Cursor | null;
}

/**
 * Where a stream is to be moved to: the beginning; where it stood when a batch was committed (its id, or how that
 * begins), or at a time; where a state of the reference connector says; or where it is, with a checkpoint anew.
 */
export type MoveTarget =
  | { start: true }
  | { batch: string }
  | { time: string }
  | { state: { [name: string]: Json } }
  | { here: true };

/** Moves a stream once: its id becomes the checkpoint's. */
export interface Move {
  id: string;
  to: MoveTarget;
}

/** Names one checkpoint row: kept per table, strategy, source and range, side by side. */
export interface StreamKey {
  schema: string;
  table: string;
  strategy: StrategyName;
  /** Origin and path of the source, without credentials or query. */
  source: string;
  /** The range that is read beside the sync, as `backfill 2026-01-01..`; empty for the sync itself. */
  range: string;
}

/** One staged file of newline-delimited JSON records. */
export interface StagedFile {
  name: string;
  bytes: number;
  /** CRC-32 of the bytes. */
  crc32: number;
}

/** Pages that have been read and wait to be written: a reference, never the rows themselves. */
export interface StagedBatch {
  /** The checkpoint this batch was fetched from. */
  base: string;
  /** The checkpoint that writing it makes. */
  next: string;
  cursor: Cursor;
  files: StagedFile[];
  /** The marks of the parents that were finished in this batch; absent where there are none. */
  marks?: StagedFile[];
  /** Records that were put aside while they were read; absent where there are none. */
  rejects?: StagedFile[];
  /** Of a range that is audited: records outside of it, whose keys were met all the same. */
  beyond?: StagedFile[];
  /** Of a range: how many records were outside of it. */
  outside?: number;
  /** Of a range: no record of the batch was asked for before then, by the destination's clock. */
  began?: string;
  pages: number;
  records: number;
  bytes: number;
  /** Length of the longest record, in bytes. */
  longest: number;
}

export interface OpenStreamInput {
  configuration: Json;
  /** Which stream of several; null = the only one. */
  stream: string | null;
  /** Forget the checkpoint once per chain of runs. */
  full: boolean;
  /** Take the stream from a workflow that is still running. */
  takeOver: boolean;
  /** The first run of the workflow's chain. */
  firstRunId: string;
  /** The database this sync has written before; another one is refused. */
  expectDatabase: string | null;
  /** A range to be read beside the sync: as it was asked for, or as it began. */
  range?: RangeRequest | RangePlan;
  move?: Move;
  /** The configuration is a new one: it must be one of the same stream. */
  change?: {
    id: string;
    /** Null where it is not known. */
    from: LastOpened | null;
  };
}

/** How a stream was opened the last time. */
export interface LastOpened {
  plan: StreamPlan;
  /** As {@link OpenedStream} names it. */
  destination: string;
}

/** The destination is owned by another worker: open the stream there. */
export interface Redirect {
  redirect: string;
}

export interface OpenedStream {
  plan: StreamPlan;
  checkpoint: Checkpoint;
  /** The task queue that the owner of the destination polls. */
  queue: string;
  /** Identity of the destination database. */
  database: string;
  /** Absolute path of the destination. */
  destination: string;
  state: { [name: string]: Json };
  notes: Note[];
  /** Result of the move that was asked for; absent where none was. */
  moved?: { refused: string | null };
  /** Of a configuration that is a new one: tells it from others. */
  configurationHash?: string;
  /** The namespace knows {@link SEARCH_ATTRIBUTES}; absent: it does not, and one that was set would block the workflow. */
  searchAttributes?: true;
}

/** What a sync can be found by, with the types that Temporal keeps them as. */
export const SEARCH_ATTRIBUTES = {
  HighwaterStrategy: 'KEYWORD',
  HighwaterStream: 'KEYWORD',
  HighwaterDestination: 'KEYWORD',
  HighwaterStatus: 'KEYWORD',
  HighwaterLastPassEnd: 'DATETIME',
  HighwaterRows: 'INT',
  HighwaterLagSeconds: 'INT',
} as const;
/** One of {@link SEARCH_ATTRIBUTES}. */
export type SearchAttributeName = keyof typeof SEARCH_ATTRIBUTES;

export interface FetchPagesInput {
  plan: StreamPlan;
  destination: string;
  /** The checkpoint to go on from: the stored one, or that of a batch still being written. */
  base: Checkpoint;
  budget: BatchBudget;
  /** Begin a new pass where the cursor's has ended. */
  begin: boolean;
  /** `resume` ended a wait: ask the source at once, whatever its last answers said. */
  resumed?: true;
}

export interface FetchedPages {
  batches: StagedBatch[];
  cursor: Cursor;
  state: { [name: string]: Json };
  /**
   * Wait before the next request. `seconds` count from when the activity answered; null: the source does not say for how
   * long. `until` is by the worker's clock, which may be wrong: for logs and metrics only.
   */
  wait: { until: string; seconds: number | null; reason: string; for: 'source' | 'parent' } | null;
}

export interface WriteBatchInput {
  plan: StreamPlan;
  destination: string;
  batch: StagedBatch;
  /** The batch before it is still being written: this one waits its turn. */
  behind?: boolean;
  /** Of the last batch of a pass that asked. */
  deletes?: DeletesDecision;
}

export interface WrittenBatch {
  /** Rows inserted or changed. */
  rows: number;
  /** Records put aside; absent: none. */
  rejected?: number;
  /** Rows that were marked or removed as deleted; absent: none. */
  deleted?: number;
  /** Columns that were added or widened; absent where none were. */
  changes?: SchemaChange[];
  /** Added to those of the cursor when it was committed. */
  notes?: Note[];
  /** Of a range: rows that were not written, as the table has a newer version, or may have. */
  left?: number;
  /** Seconds until it was its turn; absent where nothing was before it. */
  waited?: number;
  /** True when an earlier attempt had committed it. */
  already: boolean;
}

export interface RangeInput {
  plan: StreamPlan;
  destination: string;
  /** The last cursor of the range. */
  cursor: Cursor;
  /** Records that were read, in the range or not. */
  met: number;
}

/** What an audit found. */
export interface RangeFound {
  missing: Differences;
  stale: Differences;
  /** Null where they were not looked for. */
  extra: Differences | null;
  /** Keys that stand more than once in the table; absent where there are none. */
  twice?: Differences;
  changed: number;
  extraUnknown: string | null;
}

/**
 * `waiting`: as the source asked. `failing`: it tries again by itself. `blocked`: somebody must mend something, and
 * `resume`. The last five are how it ended.
 */
export type SyncStatus =
  | 'opening'
  | 'running'
  | 'waiting'
  | 'paused'
  | 'sleeping'
  | 'failing'
  | 'blocked'
  | 'drained'
  | 'stopped'
  | 'moved'
  | 'failed'
  | 'cancelled';

/** What keeps a sync from going on. */
export interface Trouble {
  /** The name of the error, for example `SourceUnavailableError`. */
  type: string;
  message: string;
  since: string;
  /** How often in a row. */
  failures: number;
  /** Null where it waits for `resume`, or for a decision. */
  nextTry: string | null;
  /** It waits for `approve` or `reject` of these deletes. */
  deletes?: TooManyDeletes;
}

/** What somebody can be told of: a sync cannot go on, it is well again, its lag has passed the limit. */
export const NOTICE_EVENTS = ['failing', 'recovered', 'lag'] as const;
export type NoticeEvent = (typeof NOTICE_EVENTS)[number];

/** What is told of a sync, once for each incident. */
export interface Notice {
  /** The same when it is sent again because nobody can say whether it arrived. */
  id: string;
  event: NoticeEvent;
  stream: string;
  status: SyncStatus;
  /** What is wrong, or, of `recovered`, what was. */
  type: string;
  message: string;
  since: string;
  nextTry: string | null;
  /** The sync waits for a decision about these deletes. */
  deletes?: TooManyDeletes;
  completeAsOf: string | null;
  lagSeconds: number | null;
  at: string;
}

export interface SendNoticeInput {
  /** The address; may hold references. */
  url: string;
  notice: Notice;
}

/** A pass that has ended. */
export interface PassSummary {
  ended: string;
  endRule: EndRule | null;
  /** Null where another run began it. */
  seconds: number | null;
  pages: number;
  records: number;
  rows: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
}

/** What `temporal workflow query --type progress` prints. */
export interface Progress {
  status: SyncStatus;
  stream: string;
  strategy: string;
  destination: string;
  pass: number;
  pages: number;
  records: number;
  rows: number;
  batches: number;
  /** Records that did not fit and were put aside. */
  rejected: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
  /** Batches fetched and not yet written. */
  staged: number;
  endRule: EndRule | null;
  waiting: { until: string; reason: string } | null;
  trouble: Trouble | null;
  /** Records a second over the last batches; null before there are two. */
  recordsPerSecond: number | null;
  /** The table holds what the source had then: when the last finished pass began. Null where that is not known. */
  completeAsOf: string | null;
  /** The last passes, the latest first. */
  recent: PassSummary[];
  /** What `set` has changed, in the words of the configuration; durations in seconds. */
  settings: { [name: string]: number };
  /** Of a sync of several streams: each is a workflow of its own, `ID/STREAM`. */
  streams: { stream: string; status: 'waits for its turn' | 'running' | 'blocked' | 'done' | 'failed' }[];
  warnings: Note[];
  totals: {
    passes: number;
    pages: number;
    records: number;
    rows: number;
    batches: number;
    rejected: number;
    deleted: number;
  };
}

/** One stream's part of the workflow's result. */
export interface StreamResult {
  stream: string;
  strategy: StrategyName;
  records: number;
  rows: number;
  pages: number;
  batches: number;
  rejected: number;
  deleted: number;
  endRule: EndRule | null;
  cursor: { [name: string]: Json };
  warnings: Note[];
  /** Of a range that was read beside the sync. */
  range?: RangeResult;
}

export interface SyncResult {
  /** `stopped`: by `stop`, before it came to an end by itself. `moved`: nothing else was asked. */
  status: 'completed' | 'stopped' | 'moved';
  streams: StreamResult[];
}
