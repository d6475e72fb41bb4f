/** Data types shared by workflows, strategies, activities and clients. Plain data only, no code that runs. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The strategies of the flat form. */
export const REFERENCE_STRATEGIES = ['keyset', 'offset', 'timestamp', 'step_size', 'replay'] as const;
export type ReferenceStrategy = (typeof REFERENCE_STRATEGIES)[number];

/** All strategies: those of the full form too. */
export const STRATEGIES = [...REFERENCE_STRATEGIES, 'page_number', 'cursor'] as const;
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
};

/**
 * A strategy's request to the source: query parameters under the reference API's names, which the stream's {@link
 * RequestSpec} translates. `scroll_param` holds the token or address of the next page from the last answer.
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

export interface PageRecords extends PageTexts {
  /** Number of records, remembered or not. */
  records: number;
}

/**
 * The content of an answer that strategies see. If all records are remembered, `keys[i]` and `values[i]` belong to
 * record `i` in the order of the answer. Both are exact text: strings as they are, numbers as written in the body
 * (9007199254740993 keeps its digits). A composite key is the JSON text of the array of its parts.
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
    };

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

/** A part of a source with inclusive ends; null: no end. */
export type Range = { from: string | null; to: string | null };

/** Kinds of ranges read beside the sync. */
export const RANGE_KINDS = ['backfill', 'audit'] as const;
export type RangeKind = (typeof RANGE_KINDS)[number];

/** A range as requested by a user. */
export interface RangeRequest {
  kind: RangeKind;
  /** Bounds in the strategy's terms: values of the cursor field, ids, or offsets. */
  from?: string;
  to?: string;
  /** audit: write missing and stale rows, and treat extra rows as `deletes` says. */
  repair?: boolean;
  /** audit with `repair`: remove extra rows even if `deletes` is not configured. */
  removeExtra?: boolean;
  /** Number of keys that the result lists for each kind of difference. */
  keys?: number;
}

/** A range read beside the sync, in the form that its workflow keeps. */
export interface RangePlan extends Range {
  kind: RangeKind;
  repair: boolean;
  removeExtra: boolean;
  keys: number;
  /** Start time, by the destination's clock. */
  began: string;
  /** The sync's mark at that time: the sync has yet to read what lies beyond. Null: the strategy has no such mark. */
  reached: string | null;
}

/**
 * Kinds of differences between a row and the source. `changed`: the sync wrote the row during the comparison, which is
 * therefore void.
 */
export const DIFFERENCES = ['missing', 'stale', 'extra', 'changed'] as const;
export type DifferenceKind = (typeof DIFFERENCES)[number];

/** Rows with one kind of difference. */
export interface Differences {
  count: number;
  /** Number of repaired rows. */
  repaired: number;
  /** The first keys in order; a composite key is the JSON text of the array of its parts. */
  keys: string[];
}

/** Result of a range. */
export interface RangeResult extends Range {
  kind: RangeKind;
  /** Records in the range. */
  records: number;
  /** Records read outside of the range, or beyond the sync's mark. */
  outside: number;
  /** Rows inserted or changed. */
  rows: number;
  /** Rows left unchanged because they are, or may be, newer. */
  left: number;
  /** Results of an audit; null for a backfill. */
  differences: {
    missing: Differences;
    stale: Differences;
    extra: Differences | null;
    /** Keys that occur more than once in the table; absent if there are none. */
    twice?: Differences;
    changed: number;
  } | null;
  /** Reason why extra rows were not looked for; null if they were. */
  extraUnknown: string | null;
  /** Whether no difference is left. */
  equal: boolean | null;
}

/** Reads the whole list every `passes` passes, or once `seconds` have passed since the last time. */
export type FullRescan = { passes: number } | { seconds: number };

/** Column types, by the reference form's names. */
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
export type ColumnType = (typeof COLUMN_TYPES)[number] | `DECIMAL(${number},${number})`;

/** The table that a stream is written to. */
export interface TableSpec {
  schema: string;
  table: string;
  primaryKey: string[];
  columns: Record<string, ColumnType>;
  /** Records that do not fit are quarantined; absent: they stop the sync. */
  quarantine?: true;
  /** How batches are written; absent: upsert. */
  mode?: Exclude<WriteMode, 'upsert'>;
  /** Rows store the time and the batch of their last write, in {@link SYNCED_AT} and {@link BATCH}. */
  stamps?: true;
  /** Treatment of rows that are gone from the source; absent: they stay. */
  deletes?: DeleteMode;
  /** The column that marks a record itself as deleted. */
  deletedField?: string;
  /** Which rows count as gone when a pass has not read them; absent: all. */
  unseen?: Unseen;
  /** Number of rows that the end of a pass may remove without approval; absent: {@link DEFAULT_MAX_DELETES}. */
  maxDeletes?: MaxDeletes;
  /** Infers undeclared columns from records; absent: members without a column are not stored. */
  inference?: Inference;
}

/** Settings of schema inference. */
export interface Inference {
  /** Treatment of records that do not fit the existing table. */
  policy: 'evolve' | 'freeze' | 'quarantine';
  /** Levels of nested objects whose members get their own columns; 0: an object is one value. */
  flatten: number;
  names: 'as_is' | 'snake_case';
}

/** A change to a table. */
export type SchemaChange = {
  column: string;
  /** Null for a new column. */
  from: ColumnType | null;
  to: ColumnType;
};

/**
 * `upsert`: one row per key; `append`: every version; `replace`: the last whole pass; `history`: versions with their
 * time of validity.
 */
export const WRITE_MODES = ['upsert', 'append', 'replace', 'history'] as const;
export type WriteMode = (typeof WRITE_MODES)[number];

/** Marks rows in the column {@link DELETED_AT}, or removes them; in a history both end the current version. */
export type DeleteMode = 'soft' | 'hard';

/** Maximum rows that the end of a pass may remove, mark or end: a count, or a percentage of the table. */
export type MaxDeletes = { rows: number } | { percent: number } | 'any';

/** A pass asks for approval if it would remove more than this percentage of the rows, and more than this number. */
export const DEFAULT_MAX_DELETES = { percent: 10, rows: 20 } as const;

/** Rows that the end of a pass would remove, if they exceed `max_deletes`. */
export type TooManyDeletes = {
  /** `SCHEMA.TABLE` */
  table: string;
  /** Effect on the rows; `ended`: their current versions in a history. */
  how: 'removed' | 'marked' | 'ended';
  deletes: number;
  /** Number of rows that are not deleted. */
  rows: number;
  /** Number of rows that may be removed without approval. */
  allowed: number;
  /** Number of the pass that asks. */
  pass: number;
};

/** Decision about the deletes of a pass: a maximum number of rows, or none. */
export type DeletesDecision = { approved: number } | 'withheld';

/** Rows that may count as gone: none, or those whose time in a column is within the part that the pass requested. */
export type Unseen = 'stay' | { column: string };

/** Highwater's own columns in the tables of streams. */
export const DELETED_AT = '_highwater_deleted_at';
export const SYNCED_AT = '_highwater_synced_at';
export const BATCH = '_highwater_batch';
/** Numbers the rows of an append table in the order of their arrival. */
export const SEQUENCE = '_highwater_sequence';
export const VALID_FROM = '_highwater_valid_from';
/** Hash of text keys: DuckDB reads it ten times as fast as the keys. */
export const KEY_HASH = '_highwater_key';
/** Null while the version is current. */
export const VALID_TO = '_highwater_valid_to';

/** Notes of passes that may not have read everything: rows that such a pass has not read are not gone. */
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

/** A record that could not be stored. */
export type Reject = {
  reason: string;
  /** The record as the source sent it. */
  record: string;
};

/** Size limits of a batch; the first one reached closes it. */
export interface BatchBudget {
  rows: number;
  bytes: number;
  seconds: number;
}

/** A credential; its texts are references to secrets, which only activities resolve. */
export type Auth =
  | { type: 'none' }
  | { type: 'basic'; username: string; password: string }
  | { type: 'bearer'; token: string }
  | { type: 'api_key'; name: string; value: string; in: 'header' | 'query' | 'cookie' }
  | SessionAuth
  | OAuth2Auth
  | {
      type: 'signature';
      /** Name of the module `NAME.mjs` in the worker's folder of hooks; its `sign` returns headers for each request. */
      hook: string;
      /** Settings passed to the hook besides the request. */
      settings: { [name: string]: string };
    };

/** A token from a login request, renewed when it expires or is refused. */
export interface SessionAuth {
  type: 'session';
  login: {
    /** An absolute URL, or a path below the source's base_url. */
    url: string;
    method: 'GET' | 'POST';
    headers: { [name: string]: string };
    body: Json | null;
    bodyAs: BodyEncoding;
  };
  /** Place of the token, and of its lifetime in seconds, in the login's answer. */
  token: AnswerPath;
  expiresIn: AnswerPath | null;
  name: string;
  /** Text before the token. */
  prefix: string;
  in: 'header' | 'query' | 'cookie';
}

/** Client credentials, or a refresh token if there is one; a rotated refresh token is stored encrypted. */
export interface OAuth2Auth {
  type: 'oauth2';
  tokenUrl: string;
  clientId: string;
  clientSecret: string;
  /** How the client authenticates. */
  clientAuth: 'body' | 'basic';
  refreshToken: string | null;
  scopes: string[];
  params: { [name: string]: string };
}

export type BodyEncoding = 'json' | 'form';

/** Place in an answer: names of the members on the way, or a JSONPath (RFC 9535) whose first node counts. */
export type AnswerPath = string[] | string;

/** Place of a value in an answer: in the body, or in a header. */
export type AnswerPlace = AnswerPath | { header: string };

/** Actions of error rules. */
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

/** A rule for answers that are not pages of records. All conditions must match; the first matching rule applies. */
export interface ErrorRule {
  /** Statuses such as "404" or "5xx"; null: any status but 2xx or, with `path`, any. */
  statuses: string[] | null;
  /** Regular expression that the body must match. */
  body: string | null;
  /** Place in the JSON body that must have a value other than empty, null or false. */
  path: AnswerPath | null;
  action: ErrorAction;
  /** wait: seconds to wait if the answer does not say. */
  waitSeconds: number;
}

/** Request limits for all streams of a source together; each worker applies them separately. */
export interface RateLimit {
  requestsPerSecond: number | null;
  concurrency: number | null;
  /** Headers with the number of remaining requests, and with the time at which they are renewed. */
  remainingHeader: string | null;
  resetHeader: string | null;
}

/** Format of an answer's body. */
export type BodyFormat = 'json' | 'ndjson' | 'csv';

/** Conversion of a record into a row. */
export interface RecordShape {
  /** Path of a column's value in the record, of names and list indices; other columns take the member of their name. */
  from: { [column: string]: (string | number)[] };
  /** Columns filled from the parent, with the parent's field. */
  parent: { [column: string]: string };
  /** JSONPath filter expression such as `@.status == 'open'`; records that do not match are skipped. */
  where: string | null;
  /** Members without a column keep their names; absent: they are dropped. */
  rest?: true;
}

/** The stream that provides the parents; one request is made for each. */
export interface ParentSpec {
  stream: string;
  table: TableSpec;
  /** Columns of the parent used in requests and rows. */
  fields: string[];
}

/** How to call an API, and where its answers contain the values needed for paging. */
export interface RequestSpec {
  /** Default: GET. */
  method?: 'GET' | 'POST';
  /** Body of a POST; its texts may refer to `${cursor:NAME}` and `${parent:FIELD}`. */
  body?: Json;
  bodyAs?: BodyEncoding;
  /** Default: json. */
  format?: BodyFormat;
  /** The answer is a single record instead of a list. */
  single?: boolean;
  shape?: RecordShape | null;
  errors?: ErrorRule[];
  rateLimit?: RateLimit;
  /** The API's parameter names, by the reference API's. */
  names: { [reference: string]: string };
  /** The API's number of the first record; absent: 0. */
  firstOffset?: number;
  /** Parameters of every request. */
  params: { [name: string]: string };
  headers: { [name: string]: string };
  auth: Auth;
  /** Place of the list of records; empty if the answer is the list itself. */
  records: AnswerPath;
  /** The next page: a token or an address in the body or in a header, or the `Link` header's `next`. */
  next:
    | {
        in: 'body';
        path: AnswerPath;
        isAddress: boolean;
        /** Sends the members of the token as parameters; absent: sends the token itself. */
        as?: 'params';
        /** No token is configured: the reference API's is used if present. */
        isAssumed?: true;
      }
    | { in: 'header'; name: string; isAddress: boolean }
    | { in: 'link'; isAddress: true };
  /** Hosts that addresses of next pages may be on besides the configured one: `host` or `host:port`. */
  nextHosts?: string[];
  total: AnswerPlace | null;
  more: AnswerPlace | null;
  totalPages?: AnswerPlace | null;
  /** An answer with this value is the last one. */
  ends?: { path: AnswerPath; is: Json } | null;
}

/** A validated configuration, on which the workflow and its activities work. Holds no secrets. */
export interface StreamPlan {
  /** The stream's display name: the table's name. */
  stream: string;
  /** May contain references to secrets, which only activities resolve. */
  baseUrl: string;
  request: RequestSpec;
  options: StrategyOptions;
  table: TableSpec;
  /** Empty if the stream has none, or several. */
  cursorField: string;
  /** Several cursor fields, of which the greatest value in a record counts; absent if there is at most one. */
  cursorFields?: string[];
  /** Absent or null: the stream has no parent. */
  parent?: ParentSpec | null;
  /** Path or address of the destination; null: the worker's default. */
  destination: string | null;
  /** Seconds between passes; null: a single pass. */
  intervalSeconds: number | null;
  /** Maximum to which the interval grows while passes find nothing new; absent: it does not grow. */
  idleIntervalSeconds?: number;
  batch: BatchBudget;
  /** Seconds for which an unresponsive source is retried. */
  retrySeconds: number;
  requestTimeoutSeconds: number;
  /** Maximum concurrent requests, if the strategy can predict the next ones. */
  inFlight: number;
  /** Number of history events after which to continue as new; null: when Temporal suggests it. */
  historyLimit: number | null;
  /** The range to read beside the sync; absent: the plan is the sync's own. */
  range?: RangePlan;
  /** Notes for the author of the configuration (a path that was replaced, …). */
  notes: Note[];
}

/** The workflow that may write a stream: the last one to open it. */
export interface Holder {
  workflowId: string;
  /** First run of the chain; the same after continue-as-new, retry and reset. */
  firstRunId: string;
  runId: string;
  namespace: string;
  /** Address of its Temporal server, as its worker sees it. */
  cluster: string;
  /** Identifies the Temporal server whatever its address; absent if the server does not tell. */
  clusterId?: string;
}

/** A cursor stored in the destination. */
export interface Checkpoint {
  /** Unique id; every commit makes a new one. */
  id: string;
  cursor: Cursor | null;
}

/**
 * Target of a move: the beginning; the position after a batch (by its id or a prefix of it) or at a time; a state of
 * the reference connector; or the current position with a new checkpoint.
 */
export type MoveTarget =
  | { start: true }
  | { batch: string }
  | { time: string }
  | { state: { [name: string]: Json } }
  | { here: true };

/** Moves a stream once: the move's id becomes the checkpoint's. */
export interface Move {
  id: string;
  to: MoveTarget;
}

/** Key of a checkpoint: one is stored per table, strategy and source. */
export interface StreamKey {
  schema: string;
  table: string;
  strategy: StrategyName;
  /** Origin and path of the source, without credentials and query. */
  source: string;
  /** The range that is read beside the sync, as `backfill 2026-01-01..`; empty for the sync itself. */
  range: string;
}

/** A staged file of newline-delimited JSON records. */
export interface StagedFile {
  name: string;
  bytes: number;
  /** CRC-32 of the file's bytes. */
  crc32: number;
}

/** Pages read but not yet written: a reference, never the rows themselves. */
export interface StagedBatch {
  /** The checkpoint this batch was fetched from. */
  base: string;
  /** The checkpoint that writing the batch creates. */
  next: string;
  cursor: Cursor;
  files: StagedFile[];
  /** Marks of the parents finished in this batch; absent if there are none. */
  marks?: StagedFile[];
  /** Records quarantined while they were read; absent if there are none. */
  rejects?: StagedFile[];
  /** For an audit: records outside of the range whose keys were seen. */
  beyond?: StagedFile[];
  /** For a range: number of records outside of it. */
  outside?: number;
  /** For a range: no record of the batch was requested before this time, by the destination's clock. */
  began?: string;
  pages: number;
  records: number;
  bytes: number;
  /** Length of the longest record, in bytes. */
  longest: number;
}

export interface OpenStreamInput {
  configuration: Json;
  /** Name of the stream in a sync of several; null: the only one. */
  stream: string | null;
  /** Discard the checkpoint, once per chain of runs. */
  full: boolean;
  /** Take the stream over from a workflow that is still running. */
  takeOver: boolean;
  /** The first run of the workflow's chain. */
  firstRunId: string;
  /** The database that this sync has written to before; any other is refused. */
  expectDatabase: string | null;
  /** A range to read beside the sync: as requested, or as started. */
  range?: RangeRequest | RangePlan;
  move?: Move;
  /** The configuration has changed: it must still describe the same stream. */
  change?: {
    id: string;
    /** Null if unknown. */
    from: LastOpened | null;
  };
}

/** How the stream was opened last. */
export interface LastOpened {
  plan: StreamPlan;
  /** As in {@link OpenedStream}. */
  destination: string;
}

/** Another worker owns the destination: open the stream there. */
export interface Redirect {
  redirect: string;
}

export interface OpenedStream {
  plan: StreamPlan;
  checkpoint: Checkpoint;
  /** Task queue that the owner of the destination polls. */
  queue: string;
  /** Identity of the destination database. */
  database: string;
  /** Absolute path of the destination. */
  destination: string;
  state: { [name: string]: Json };
  notes: Note[];
  /** Result of a requested move; absent if there was none. */
  moved?: { refused: string | null };
  /** Hash of a changed configuration. */
  configurationHash?: string;
  /** The namespace knows {@link SEARCH_ATTRIBUTES}; absent: it does not, and setting one would block the workflow. */
  searchAttributes?: true;
}

/** Search attributes of a sync, with their Temporal types. */
export const SEARCH_ATTRIBUTES = {
  HighwaterStrategy: 'KEYWORD',
  HighwaterStream: 'KEYWORD',
  HighwaterDestination: 'KEYWORD',
  HighwaterStatus: 'KEYWORD',
  HighwaterLastPassEnd: 'DATETIME',
  HighwaterRows: 'INT',
  HighwaterLagSeconds: 'INT',
} as const;
export type SearchAttributeName = keyof typeof SEARCH_ATTRIBUTES;

export interface FetchPagesInput {
  plan: StreamPlan;
  destination: string;
  /** The checkpoint to continue from: the stored one, or that of a batch still being written. */
  base: Checkpoint;
  budget: BatchBudget;
  /** Begin a new pass if the cursor's has ended. */
  begin: boolean;
  /** `resume` ended a wait: call the source at once, whatever its last answers said. */
  resumed?: true;
}

export interface FetchedPages {
  batches: StagedBatch[];
  cursor: Cursor;
  state: { [name: string]: Json };
  /**
   * Wait before the next request. `seconds` count from the activity's answer; null: the source does not say how long.
   * `until` is by the worker's clock, which may be wrong: for logs and metrics only.
   */
  wait: { until: string; seconds: number | null; reason: string; for: 'source' | 'parent' } | null;
}

export interface WriteBatchInput {
  plan: StreamPlan;
  destination: string;
  batch: StagedBatch;
  /** The previous batch is still being written: this one waits its turn. */
  behind?: boolean;
  /** For the last batch of a pass that asked. */
  deletes?: DeletesDecision;
}

export interface WrittenBatch {
  /** Rows inserted or changed. */
  rows: number;
  /** Records quarantined; absent: none. */
  rejected?: number;
  /** Rows marked or removed as deleted; absent: none. */
  deleted?: number;
  /** Columns added or widened; absent if there are none. */
  changes?: SchemaChange[];
  /** Notes added to those of the cursor by the commit. */
  notes?: Note[];
  /** For a range: rows left unchanged because they are, or may be, newer. */
  left?: number;
  /** Seconds spent waiting for its turn; absent if it did not wait. */
  waited?: number;
  /** Whether an earlier attempt had already committed the batch. */
  already: boolean;
}

export interface RangeInput {
  plan: StreamPlan;
  destination: string;
  /** The last cursor of the range. */
  cursor: Cursor;
  /** Records read, in the range or not. */
  met: number;
}

/** Findings of an audit. */
export interface RangeFound {
  missing: Differences;
  stale: Differences;
  /** Null if extra rows were not looked for. */
  extra: Differences | null;
  /** Keys that occur more than once in the table; absent if there are none. */
  twice?: Differences;
  changed: number;
  extraUnknown: string | null;
}

/**
 * `waiting`: the source asked to wait. `failing`: it retries by itself. `blocked`: an operator must fix something, then
 * `resume`. The last five are final.
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

/** The problem that stops a sync. */
export interface Trouble {
  /** The name of the error, for example `SourceUnavailableError`. */
  type: string;
  message: string;
  since: string;
  /** Number of consecutive failures. */
  failures: number;
  /** Null if it waits for `resume` or a decision. */
  nextTry: string | null;
  /** Deletes waiting for `approve` or `reject`. */
  deletes?: TooManyDeletes;
}

/** Events that can be reported: a sync is failing, has recovered, or its lag has exceeded the limit. */
export const NOTICE_EVENTS = ['failing', 'recovered', 'lag'] as const;
export type NoticeEvent = (typeof NOTICE_EVENTS)[number];

/** A notice about a sync, sent once per incident. */
export interface Notice {
  /** The same in repeated deliveries, when it is unknown whether an earlier one arrived. */
  id: string;
  event: NoticeEvent;
  stream: string;
  status: SyncStatus;
  /** Name of the error; for `recovered`, of the error that is over. */
  type: string;
  message: string;
  since: string;
  nextTry: string | null;
  /** Deletes that the sync asks to approve. */
  deletes?: TooManyDeletes;
  completeAsOf: string | null;
  lagSeconds: number | null;
  at: string;
}

export interface SendNoticeInput {
  /** May contain references. */
  url: string;
  notice: Notice;
}

/** A finished pass. */
export interface PassSummary {
  ended: string;
  endRule: EndRule | null;
  /** Null if another run began the pass. */
  seconds: number | null;
  pages: number;
  records: number;
  rows: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
}

/** Answer to the query `progress`. */
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
  /** Records quarantined. */
  rejected: number;
  /** Rows marked or removed as deleted. */
  deleted: number;
  /** Batches fetched and not yet written. */
  staged: number;
  endRule: EndRule | null;
  waiting: { until: string; reason: string } | null;
  trouble: Trouble | null;
  /** Records per second over the last batches; null before the second one. */
  recordsPerSecond: number | null;
  /** Start of the last finished pass: the table is up to date as of then. Null if unknown. */
  completeAsOf: string | null;
  /** The last passes, the latest first. */
  recent: PassSummary[];
  /** Changed settings, under their names in the configuration; durations in seconds. */
  settings: { [name: string]: number };
  /** For a sync of several streams: each is a workflow `ID/STREAM`. */
  streams: { stream: string; status: 'queued' | 'running' | 'blocked' | 'done' | 'failed' }[];
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
  /** For a range read beside the sync. */
  range?: RangeResult;
}

export interface SyncResult {
  /** `stopped`: by `stop`, before it was done. `moved`: nothing else was requested. */
  status: 'completed' | 'stopped' | 'moved';
  streams: StreamResult[];
}
