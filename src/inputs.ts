/**
 * Schemas of the inputs of workflows and activities. Any client of the Temporal server can send these, so each is
 * checked before use: unknown keys are refused, and numbers and lengths of texts have bounds. The types are those of
 * `protocol.ts`; the end of this file proves that they are the same.
 */
import { isColumnType } from './column-type.js';
import { problemsOf } from './decode.js';
import {
  COLUMN_TYPES,
  ERROR_ACTIONS,
  MASK_KINDS,
  NOTICE_EVENTS,
  RANGE_KINDS,
  CUSTOM_NAME,
  STRATEGIES,
  type ColumnType,
  type ChildSpec,
  type Cursor,
  type EndRule,
  type FetchPagesInput,
  type ItemShape,
  type Json,
  type LastOpened,
  type MoveTarget,
  type Note,
  type Notice,
  type OpenStreamInput,
  type PassSummary,
  type RangeInput,
  type RangePlan,
  type RangeRequest,
  type SchemaChange,
  type SendNoticeInput,
  type StagedBatch,
  type StreamKey,
  type StreamPlan,
  type TooManyDeletes,
  type Trouble,
  type WriteBatchInput,
} from './protocol.js';
import { SETTINGS } from './settings.js';
import * as z from './zod.js';

/** Bounds: those of the configuration, or far beyond what Highwater itself produces. */
const NAME_LIMIT = 200;
const COLUMN_LIMIT = 1600;
const KEY_LIMIT = 20;
const TEXT_LIMIT = 64 * 1024;
const ADDRESS_LIMIT = 20_000;
/** Keys and cursor values of records. */
const VALUE_LIMIT = 64 * 1024;
const NOTES_LIMIT = 1000;
const FILES_LIMIT = 100_000;
const STREAMS_LIMIT = 500;
const CHILDREN_LIMIT = 100;

/** Any JSON; the code that reads it checks further. */
const json = z.custom<Json>((given) => given !== undefined);
const text = z.string().check(z.maxLength(TEXT_LIMIT));
/** The name of a stream, table or column; empty if there is none. */
const name = z.string().check(z.maxLength(NAME_LIMIT));
const realName = name.check(z.minLength(1));
/** The name of a table or column of a user. */
const ownName = realName.check(
  z.refine((text) => !text.toLowerCase().startsWith('_highwater'), 'must not begin with "_highwater"'),
);
const address = z.string().check(z.maxLength(ADDRESS_LIMIT));
/** A point in time as clocks format it. */
const instant = z.string().check(z.maxLength(64));
/** The id of a checkpoint, run or workflow. */
const id = z.string().check(z.maxLength(1000));
const count = z.int().check(z.minimum(0));
const amount = z.number().check(z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
const value = z.string().check(z.maxLength(VALUE_LIMIT));
/** An integer of any size. */
const digits = z.string().check(z.regex(/^\d{1,40}$/));
const yes = z.literal(true);
const texts = z.record(z.string().check(z.maxLength(NAME_LIMIT)), text);
const list = <T extends z.Schema>(of: T, limit: number) => z.array(of).check(z.maxLength(limit));
const few = <T extends { [key: string]: unknown }>(limit: number) =>
  z.refine<T>((entries) => Object.keys(entries).length <= limit, `must have at most ${limit} members`);

const note = z.strictObject({ code: name, message: text, count: z.exactOptional(count) });
const notes = list(note, NOTES_LIMIT);

const cursorFormat = z.union([
  z.oneOf(['timestamp', 'epoch_s', 'epoch_ms', 'rfc_2822', 'integer', 'string']),
  z.strictObject({ pattern: name, zone: name }),
]);

const incremental = z.strictObject({
  start: z.nullable(value),
  lookbackSeconds: amount,
  format: z.exactOptional(cursorFormat),
  filter: z.exactOptional(cursorFormat),
  settleSeconds: z.exactOptional(amount),
  sendsUntil: z.exactOptional(z.boolean()),
  windowSeconds: z.exactOptional(amount),
});

const pageSize = z.int().check(z.minimum(1));
const strategyOptions = z.discriminatedUnion('strategy', [
  z.strictObject({
    strategy: z.literal('keyset'),
    ties: z.oneOf(['auto', 'scroll']),
    incremental: z.exactOptional(incremental),
    pageSize: z.exactOptional(z.nullable(pageSize)),
    filtersTokens: z.exactOptional(z.boolean()),
  }),
  z.strictObject({
    strategy: z.literal('offset'),
    pageSize,
    overlap: z.exactOptional(z.literal(false)),
    fullRescan: z.nullable(z.union([z.strictObject({ passes: count }), z.strictObject({ seconds: amount })])),
    shortPageEnds: z.exactOptional(z.boolean()),
    incremental: z.exactOptional(z.nullable(incremental)),
  }),
  z.strictObject({ strategy: z.literal('timestamp'), incremental: z.exactOptional(incremental) }),
  z.strictObject({
    strategy: z.literal('step_size'),
    initialId: digits,
    stepSize: digits,
    maxId: digits,
    maxEmptySteps: z.nullable(count),
    idLookback: digits,
  }),
  z.strictObject({
    strategy: z.literal('replay'),
    bufferHours: amount,
    incremental: z.exactOptional(incremental),
  }),
  z.strictObject({
    strategy: z.literal('page_number'),
    firstPage: count,
    pageSize: z.nullable(pageSize),
    shortPageEnds: z.boolean(),
    incremental: z.nullable(incremental),
  }),
  z.strictObject({
    strategy: z.literal('cursor'),
    pageSize: z.nullable(pageSize),
    tokenIsLastKey: z.boolean(),
    follows: z.exactOptional(z.oneOf(['last_record', 'nothing'])),
    shortPageEnds: z.exactOptional(z.boolean()),
    incremental: z.nullable(incremental),
  }),
  z.strictObject({
    strategy: z.literal('custom'),
    // A copy: the exported one is frozen in the workflow's sandbox, and zod sets its lastIndex.
    name: z.string().check(z.regex(new RegExp(CUSTOM_NAME.source))),
    options: z.record(z.string(), json),
    readsAll: z.boolean(),
  }),
]);

const headerNames = z.strictObject({ header: name });
/** Names of the members on the way to a value in an answer, or a JSONPath. */
const answerPath = z.union([list(text, 500), text]);
const answerPlace = z.union([answerPath, headerNames]);
const place = z.oneOf(['header', 'query', 'cookie']);
const bodyAs = z.oneOf(['json', 'form']);

const auth = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }),
  z.strictObject({ type: z.literal('basic'), username: text, password: text }),
  z.strictObject({ type: z.literal('bearer'), token: text }),
  z.strictObject({ type: z.literal('api_key'), name, value: text, in: place }),
  z.strictObject({
    type: z.literal('session'),
    login: z.strictObject({
      url: address,
      method: z.oneOf(['GET', 'POST']),
      headers: texts,
      body: z.nullable(json),
      bodyAs,
    }),
    token: answerPath,
    expiresIn: z.nullable(answerPath),
    name,
    prefix: text,
    in: place,
  }),
  z.strictObject({
    type: z.literal('oauth2'),
    tokenUrl: address,
    clientId: text,
    clientSecret: text,
    clientAuth: z.oneOf(['body', 'basic']),
    refreshToken: z.nullable(text),
    scopes: list(text, 1000),
    params: texts,
  }),
  z.strictObject({
    type: z.literal('signature'),
    hook: z.string().check(z.regex(/^[A-Za-z0-9_-]{1,100}$/)),
    settings: texts,
  }),
]);

const madeColumn = z.union([
  z.strictObject({ value: json }),
  z.strictObject({
    from: list(z.union([text, count]), 500),
    expression: z.exactOptional(text),
    types: z.exactOptional(z.record(name, z.oneOf(['int', 'double', 'string', 'bool']))),
    hash: z.exactOptional(z.strictObject({ key: z.nullable(text) })),
    mask: z.exactOptional(z.oneOf(MASK_KINDS)),
  }),
]);

const itemShape: z.Schema<ItemShape> = z.strictObject({
  table: name,
  from: list(z.union([text, count]), 500),
  isNamed: z.exactOptional(yes),
  made: z.record(name, madeColumn),
  items: z.exactOptional(z.lazy(() => itemShapes)),
});
const itemShapes = list(itemShape, CHILDREN_LIMIT);

const request = z.strictObject({
  method: z.exactOptional(z.oneOf(['GET', 'POST'])),
  body: z.exactOptional(json),
  bodyAs: z.exactOptional(bodyAs),
  format: z.exactOptional(z.oneOf(['json', 'ndjson', 'csv'])),
  single: z.exactOptional(z.boolean()),
  firstOffset: z.exactOptional(count),
  shape: z.exactOptional(
    z.nullable(
      z.strictObject({
        from: z.record(name, list(z.union([text, count]), 500)),
        parent: z.record(name, name),
        where: z.nullable(text),
        rest: z.exactOptional(yes),
        keeps: z.exactOptional(list(text, 1000)),
        transform: z.exactOptional(z.strictObject({ hook: name, digest: z.exactOptional(name) })),
        made: z.exactOptional(z.record(name, madeColumn)),
        exclude: z.exactOptional(list(list(z.nullable(text), 100), 1000)),
        raw: z.exactOptional(name),
        items: z.exactOptional(itemShapes),
      }),
    ),
  ),
  errors: z.exactOptional(
    list(
      z.strictObject({
        statuses: z.nullable(list(z.string().check(z.regex(/^[1-5][0-9x][0-9x]$/)), 50)),
        body: z.nullable(text),
        path: z.nullable(answerPath),
        action: z.oneOf(ERROR_ACTIONS),
        waitSeconds: amount,
      }),
      200,
    ),
  ),
  rateLimit: z.exactOptional(
    z.strictObject({
      requestsPerSecond: z.nullable(amount),
      concurrency: z.nullable(count),
      remainingHeader: z.nullable(name),
      resetHeader: z.nullable(name),
    }),
  ),
  names: texts,
  params: texts,
  headers: texts,
  auth,
  records: answerPath,
  recordNames: z.exactOptional(answerPath),
  next: z.discriminatedUnion('in', [
    z.strictObject({
      in: z.literal('body'),
      path: answerPath,
      isAddress: z.boolean(),
      as: z.exactOptional(z.literal('params')),
      isAssumed: z.exactOptional(yes),
    }),
    z.strictObject({ in: z.literal('header'), name, isAddress: z.boolean() }),
    z.strictObject({ in: z.literal('link'), isAddress: yes }),
  ]),
  nextHosts: z.exactOptional(list(text, 100)),
  total: z.nullable(answerPlace),
  more: z.nullable(answerPlace),
  totalPages: z.exactOptional(z.nullable(answerPlace)),
  ends: z.exactOptional(z.nullable(z.strictObject({ path: answerPath, is: json }))),
});

const columnType = z.custom<ColumnType>(isColumnType, {
  error: `must be one of ${COLUMN_TYPES.join(', ')}, DECIMAL(p,s)`,
});

const table = z.strictObject({
  schema: realName,
  table: ownName,
  primaryKey: list(ownName, KEY_LIMIT).check(z.minLength(1)),
  columns: z.record(ownName, columnType).check(few(COLUMN_LIMIT)),
  quarantine: z.exactOptional(yes),
  mode: z.exactOptional(z.oneOf(['append', 'replace', 'history'])),
  stamps: z.exactOptional(yes),
  deletes: z.exactOptional(z.oneOf(['soft', 'hard'])),
  deletedField: z.exactOptional(realName),
  unseen: z.exactOptional(z.union([z.literal('stay'), z.strictObject({ column: realName })])),
  maxDeletes: z.exactOptional(
    z.union([
      z.strictObject({ rows: count }),
      z.strictObject({ percent: z.number().check(z.minimum(0), z.maximum(100)) }),
      z.literal('any'),
    ]),
  ),
  inference: z.exactOptional(
    z.strictObject({
      policy: z.oneOf(['evolve', 'freeze', 'quarantine']),
      flatten: z.int().check(z.minimum(0), z.maximum(20)),
      names: z.oneOf(['as_is', 'snake_case']),
    }),
  ),
});

const valuePath = list(z.union([text, count]), 500);
const valuePaths = z.record(name, valuePath).check(few(COLUMN_LIMIT));

const child: z.Schema<ChildSpec> = z.strictObject({
  name: realName,
  table,
  from: valuePath,
  include: valuePaths,
  paths: valuePaths,
  index: z.exactOptional(ownName),
  keyAs: z.exactOptional(ownName),
  makes: z.exactOptional(yes),
  rest: z.exactOptional(yes),
  children: z.exactOptional(z.lazy(() => children)),
});
const children = list(child, CHILDREN_LIMIT);

const rangeKind = z.oneOf(RANGE_KINDS);
/** Number of keys that a result lists for each difference. */
const shownKeys = z.int().check(z.minimum(0), z.maximum(1000));

const rangeRequest = z.strictObject({
  kind: rangeKind,
  from: z.exactOptional(value),
  to: z.exactOptional(value),
  repair: z.exactOptional(z.boolean()),
  removeExtra: z.exactOptional(z.boolean()),
  // Larger numbers count as the largest one.
  keys: z.exactOptional(z.number().check(z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER))),
});

const rangePlan = z.strictObject({
  from: z.nullable(value),
  to: z.nullable(value),
  kind: rangeKind,
  repair: z.boolean(),
  removeExtra: z.boolean(),
  keys: shownKeys,
  began: instant,
  reached: z.nullable(value),
});

const seconds = amount;
const budget = z.strictObject({
  rows: z.int().check(z.minimum(1)),
  bytes: z.int().check(z.minimum(1)),
  seconds,
});

const plan = z.strictObject({
  stream: realName,
  baseUrl: address,
  request,
  options: strategyOptions,
  table,
  cursorField: name,
  cursorFields: z.exactOptional(list(realName, 100)),
  parent: z.exactOptional(
    z.nullable(z.strictObject({ stream: realName, table, fields: list(realName, COLUMN_LIMIT) })),
  ),
  children: z.exactOptional(children),
  destination: z.nullable(z.string().check(z.maxLength(4096))),
  intervalSeconds: z.nullable(seconds),
  idleIntervalSeconds: z.exactOptional(seconds),
  batch: budget,
  retrySeconds: seconds,
  requestTimeoutSeconds: seconds,
  inFlight: z.int().check(z.minimum(1), z.maximum(32)),
  historyLimit: z.nullable(count),
  range: z.exactOptional(rangePlan),
  notes,
});

const END_RULES = [
  ...(['empty_page', 'short_page', 'no_next_token', 'total_reached', 'whole_answer', 'last_page'] as const),
  ...(['max_id', 'max_empty_steps', 'all_parents', 'range_end', 'past_end'] as const),
  ...(['same_token', 'repeated_page'] as const),
];
const endRule = z.nullable(z.oneOf(END_RULES));

/** Mark and position belong to the strategy. Their parts only ever become parameters or quoted text. */
const cursor = z.strictObject({
  pass: count,
  mark: json,
  position: z.nullable(json),
  ended: endRule,
  notes,
  doubted: z.exactOptional(count),
  since: z.exactOptional(instant),
  counted: z.exactOptional(count),
  absent: z.exactOptional(list(text, 10_000)),
});

const checkpoint = z.strictObject({ id, cursor: z.nullable(cursor) });

const stagedFile = z.strictObject({
  // Names must not lead out of the folder.
  name: z.string().check(z.regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,250}$/)),
  bytes: count,
  crc32: z.int().check(z.minimum(0), z.maximum(0xffff_ffff)),
});
const stagedFiles = list(stagedFile, FILES_LIMIT);

const batch = z.strictObject({
  base: id,
  next: id,
  cursor,
  files: stagedFiles,
  marks: z.exactOptional(stagedFiles),
  rejects: z.exactOptional(stagedFiles),
  beyond: z.exactOptional(stagedFiles),
  children: z.exactOptional(
    z.strictObject({
      roots: stagedFiles,
      tables: list(
        z.strictObject({
          files: stagedFiles,
          rejects: z.exactOptional(stagedFiles),
          records: count,
          longest: count,
        }),
        CHILDREN_LIMIT,
      ),
    }),
  ),
  outside: z.exactOptional(count),
  began: z.exactOptional(instant),
  pages: count,
  records: count,
  bytes: count,
  longest: count,
});

const destination = z.string().check(z.minLength(1), z.maxLength(ADDRESS_LIMIT));

const moveTarget = z.union([
  z.strictObject({ start: yes }),
  z.strictObject({ batch: name }),
  z.strictObject({ time: instant }),
  z.strictObject({ state: z.record(z.string(), json) }),
  z.strictObject({ here: yes }),
]);

const lastOpened = z.strictObject({ plan, destination });

/**
 * The parts of a configuration that workflows read. The activity that opens the stream checks the whole, and reports
 * everything that is wrong with it.
 */
const configuration = json.check(
  z.refine(
    (given) =>
      typeof given !== 'object' ||
      given === null ||
      Array.isArray(given) ||
      !Array.isArray(given['streams']) ||
      given['streams'].length <= STREAMS_LIMIT,
    `must have at most ${STREAMS_LIMIT} streams`,
  ),
);

const openStream = z.strictObject({
  configuration: json,
  stream: z.nullable(name),
  full: z.boolean(),
  takeOver: z.boolean(),
  firstRunId: id,
  expectDatabase: z.nullable(id),
  range: z.exactOptional(z.union([rangePlan, rangeRequest])),
  move: z.exactOptional(z.strictObject({ id, to: moveTarget })),
  change: z.exactOptional(z.strictObject({ id, from: z.nullable(lastOpened) })),
});

const fetchPages = z.strictObject({
  plan,
  destination,
  base: checkpoint,
  budget,
  begin: z.boolean(),
  resumed: z.exactOptional(yes),
});

const deletesDecision = z.union([z.strictObject({ approved: count }), z.literal('withheld')]);

const writeBatch = z.strictObject({
  plan,
  destination,
  batch,
  behind: z.exactOptional(z.boolean()),
  deletes: z.exactOptional(deletesDecision),
});

const range = z.strictObject({ plan, destination, cursor, met: count });

const tooManyDeletes = z.strictObject({
  table: text,
  how: z.oneOf(['removed', 'marked', 'ended']),
  deletes: count,
  rows: count,
  allowed: count,
  pass: count,
});

const trouble = z.strictObject({
  type: name,
  message: text,
  since: instant,
  failures: count,
  nextTry: z.nullable(instant),
  deletes: z.exactOptional(tooManyDeletes),
});

const syncStatus = z.oneOf([
  ...(['opening', 'running', 'waiting', 'paused', 'sleeping', 'failing', 'blocked'] as const),
  ...(['drained', 'stopped', 'moved', 'failed', 'cancelled'] as const),
]);

const notice = z.strictObject({
  id,
  event: z.oneOf(NOTICE_EVENTS),
  stream: name,
  status: syncStatus,
  type: name,
  message: text,
  since: instant,
  nextTry: z.nullable(instant),
  deletes: z.exactOptional(tooManyDeletes),
  completeAsOf: z.nullable(instant),
  lagSeconds: z.nullable(z.number()),
  at: instant,
});

const sendNotice = z.strictObject({ url: address, notice });

/** Inputs of each activity. */
const activityInputs = {
  openStream,
  fetchPages,
  writeBatch,
  sendNotice,
  concludeRange: range,
  forgetRange: z.strictObject({ plan, destination }),
} as const;

const passSummary = z.strictObject({
  ended: instant,
  endRule,
  seconds: z.nullable(amount),
  pages: count,
  records: count,
  rows: count,
  deleted: count,
});

const schemaChange = z.strictObject({
  column: text,
  from: z.nullable(columnType),
  to: columnType,
});

const LISTED = 10_000;
const NOTICES_KEPT = 1000;

/** Values by the names of settings, each within its bounds; durations in seconds. */
const settings = z.strictObject(
  Object.fromEntries(
    Object.entries(SETTINGS).map(([key, { kind, least, most }]) => {
      const number = kind === 'whole number' ? z.int() : z.number();
      return [key, z.exactOptional(number.check(z.minimum(least), z.maximum(most)))];
    }),
  ),
) as unknown as z.Schema<{ [name: string]: number }>;

/** Changes to settings; null resets one. */
const change = z.strictObject(
  Object.fromEntries(
    Object.entries(SETTINGS).map(([key, { kind, least, most }]) => {
      const number = kind === 'whole number' ? z.int() : z.number();
      return [key, z.exactOptional(z.nullable(number.check(z.minimum(least), z.maximum(most))))];
    }),
  ),
) as unknown as z.Schema<{ [name: string]: number | null }>;

const counts = {
  pages: count,
  records: count,
  rows: count,
  batches: count,
  rejected: count,
  deleted: count,
  changes: list(schemaChange, LISTED),
  outside: count,
  left: count,
  waited: z.exactOptional(count),
};

const hash = z.string().check(z.maxLength(200));

const reopenRequest = z.union([
  z.strictObject({ id, kind: z.literal('move'), to: moveTarget }),
  z.strictObject({ id, kind: z.literal('configure'), configuration, hash: z.exactOptional(hash) }),
]);

const passLog = z.strictObject({
  began: z.nullable(count),
  completeAsOf: z.nullable(instant),
  recent: list(passSummary, 100),
});

const notices = z.strictObject({
  incident: z.nullable(
    z.strictObject({
      status: z.oneOf(['failing', 'blocked', 'failed']),
      type: name,
      message: text,
      since: instant,
      last: count,
    }),
  ),
  late: z.nullable(instant),
  waiting: list(notice, NOTICES_KEPT),
  started: instant,
  made: count,
});

const decision = z.strictObject({ question: tooManyDeletes, decision: deletesDecision });

const carry = z.strictObject({
  version: z.literal(1),
  stream: z.strictObject({
    database: z.nullable(id),
    isContinuous: z.boolean(),
    lastOpened: z.nullable(lastOpened),
    range: z.nullable(rangePlan),
  }),
  counts: z.strictObject({
    pass: z.strictObject(counts),
    totals: z.strictObject({ ...counts, passes: count }),
    idlePasses: count,
  }),
  log: passLog,
  control: z.strictObject({
    isPaused: z.boolean(),
    isStopping: z.boolean(),
    isTriggered: z.boolean(),
    settings,
  }),
  reopening: z.strictObject({ requests: list(reopenRequest, LISTED), refusals: list(note, LISTED) }),
  source: z.strictObject({
    wait: z.nullable(z.strictObject({ until: instant, reason: text })),
    backOffs: count,
  }),
  failures: z.strictObject({ trouble: z.nullable(trouble), reopenings: count }),
  notices: z.nullable(notices),
  decision: z.nullable(decision),
});

/** The workflow itself reads and checks it. */
const move = z.custom<{ to: string } | { state: { [name: string]: Json } }>((given) => given !== undefined);

const options = z.strictObject({
  full: z.exactOptional(z.boolean()),
  takeOver: z.exactOptional(z.boolean()),
  stream: z.exactOptional(name),
  settings: z.exactOptional(settings),
  move: z.exactOptional(move),
  moveOnly: z.exactOptional(z.boolean()),
  range: z.exactOptional(rangeRequest),
  waitForApproval: z.exactOptional(z.boolean()),
  carry: z.exactOptional(carry),
});

/** Arguments of signals and updates. */
const messages = {
  change,
  decide: z.strictObject({ how: z.oneOf(['approve', 'reject']), deletes: count }),
  asks: z.strictObject({ stream: name, trouble: z.nullable(trouble) }),
  configure: z.strictObject({ configuration, hash: z.exactOptional(hash) }),
} as const;

/** See `strategyKey`. */
const customKey = z.custom<`custom:${string}`>(
  (given) => typeof given === 'string' && given.startsWith('custom:') && CUSTOM_NAME.test(given.slice(7)),
);

const streamKey = z.strictObject({
  schema: realName,
  table: ownName,
  strategy: z.union([z.oneOf(STRATEGIES), customKey]),
  source: address,
  range: text,
});

/** Requests of other programs on this machine to the owner of a DuckDB file. */
const ownerRequest = z.union([
  z.strictObject({ query: z.strictObject({ sql: z.string(), seconds }) }),
  z.strictObject({
    retry: z.strictObject({
      table,
      isChild: z.exactOptional(yes),
      cursorField: name,
      overwrite: z.boolean(),
    }),
  }),
  z.strictObject({
    history: z.strictObject({
      key: streamKey,
      limit: count,
    }),
  }),
]);

/** All inputs from outside: of activities, of the sync workflow and its messages, and of the owner of a file. */
const inputs = { ...activityInputs, configuration, options, ...messages, ownerRequest } as const;

export type Inputs = { [Name in keyof typeof inputs]: z.infer<(typeof inputs)[Name]> };

/**
 * Checks an input before use.
 *
 * The schemas are not exported: all workflows of a worker share this module, the SDK freezes its exports, and schemas
 * cache lazily computed parts.
 * @returns one line per problem, with its path and the expected value; null if there is none.
 */
export const inputProblems = (name: keyof Inputs, value: unknown): string[] | null =>
  problemsOf(inputs[name], value);

/** Compiles only if two types are the same; a member that only one of them has is an error. */
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export const same = <A, B>(_proof: Same<A, B>): void => undefined;
same<z.infer<typeof plan>, StreamPlan>(true);
same<z.infer<typeof cursor>, Cursor>(true);
same<(typeof END_RULES)[number], EndRule>(true);
same<z.infer<typeof batch>, StagedBatch>(true);
same<z.infer<typeof openStream>, OpenStreamInput>(true);
same<z.infer<typeof fetchPages>, FetchPagesInput>(true);
same<z.infer<typeof writeBatch>, WriteBatchInput>(true);
same<z.infer<typeof range>, RangeInput>(true);
same<z.infer<typeof sendNotice>, SendNoticeInput>(true);
same<z.infer<typeof rangeRequest>, RangeRequest>(true);
same<z.infer<typeof rangePlan>, RangePlan>(true);
same<z.infer<typeof moveTarget>, MoveTarget>(true);
same<z.infer<typeof lastOpened>, LastOpened>(true);
same<z.infer<typeof note>, Note>(true);
same<z.infer<typeof notice>, Notice>(true);
same<z.infer<typeof trouble>, Trouble>(true);
same<z.infer<typeof tooManyDeletes>, TooManyDeletes>(true);
same<z.infer<typeof passSummary>, PassSummary>(true);
same<z.infer<typeof schemaChange>, SchemaChange>(true);
same<z.infer<typeof json>, Json>(true);
same<z.infer<typeof streamKey>, StreamKey>(true);
