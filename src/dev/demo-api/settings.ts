import { z } from 'zod';

const count = z.int().min(0);
const positive = z.int().min(1);
const words = z.string().min(1);
/** More are refused: they would not fit. */
const rows = count.max(20_000_000);

/** How much a fault or a mutation applies to; shared by every kind. */
const scope = {
  /** Only requests whose path and query start with this, for example `/pagination/keyset?scroll_param`. */
  path: words.optional(),
  /** The number of matching requests that are answered properly first. */
  after: count.default(0),
};

const times = positive.default(1);

const fault = z.discriminatedUnion('kind', [
  /**
   * An error status. `retry_after` is sent as it is (seconds or an HTTP date); `retry_after_date` is a date that many
   * seconds ahead.
   */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('status'),
    status: z.int().min(300).max(599),
    retry_after: z.union([z.number(), z.string()]).optional(),
    retry_after_date: z.number().optional(),
  }),
  /** 200 with an HTML page, as a proxy or a login screen gives. */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('html'),
    content_type: z.string().default('text/html; charset=utf-8'),
  }),
  /** 200 whose JSON stops half way although the response is complete. */
  z.strictObject({ ...scope, times, kind: z.literal('bad_json') }),
  /** The connection ends half way through the body. */
  z.strictObject({ ...scope, times, kind: z.literal('truncate') }),
  /** A complete response with half a gzip stream. */
  z.strictObject({ ...scope, times, kind: z.literal('truncated_gzip') }),
  /** The connection is reset without an answer. */
  z.strictObject({ ...scope, times, kind: z.literal('reset') }),
  /** No answer at all, ever. */
  z.strictObject({ ...scope, times, kind: z.literal('hang') }),
  /** Headers and half the body, then nothing more. */
  z.strictObject({ ...scope, times, kind: z.literal('stall') }),
  /** 200 with JSON of another shape: `body`, whatever it is. */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('wrong_shape'),
    body: z.json().default({ data: { a: 1 } }),
  }),
  /** One record of the page has no id, or a null one. */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('missing_pk'),
    id: z.enum(['absent', 'null']).default('absent'),
    index: count.default(0),
  }),
  /** The page that this path served before, again. */
  z.strictObject({ ...scope, times, kind: z.literal('repeat_page') }),
  /** Tokens and next links run in a circle of this number of pages. For ever, unless `times` says otherwise. */
  z.strictObject({
    ...scope,
    times: positive.default(Number.MAX_SAFE_INTEGER),
    kind: z.literal('token_cycle'),
    pages: positive.default(2),
  }),
  /** A page without records; `keep_token` leaves the token that the full page would have had. */
  z.strictObject({ ...scope, times, kind: z.literal('empty'), keep_token: z.boolean().default(false) }),
]);

/** One scripted fault. */
export type Fault = z.infer<typeof fault>;
/** One scripted fault as it may be written: what has a default may be left out. */
export type FaultInput = z.input<typeof fault>;

const which = z.union([count, z.array(words)]);

const changes = {
  /** New rows, later than every other. */
  insert: rows.default(0),
  /** A number of random rows, or the rows of these ids (of either view): changed, and later than every other. */
  update: which.default(0),
  /** A number of random rows, or the rows of these ids. */
  delete: which.default(0),
  /** New rows that lie this number of hours before the greatest `updatedAt`; 0 makes them tie with it. */
  late: z.strictObject({ count: rows, hours_ago: z.number().min(0).max(200_000) }).optional(),
  /** The number of step ids that are skipped before the next insert. */
  gap: count.max(1_000_000_000).default(0),
  /** Which rows are drawn; by default another draw each time, the same after each reset. */
  seed: count.optional(),
};

const mutation = z.strictObject(changes);

/** Changes to the data, made at once. */
export type Mutation = z.infer<typeof mutation>;
/** Changes to the data as they may be written. */
export type MutationInput = z.input<typeof mutation>;

const mutateEvery = z
  .strictObject({
    ...changes,
    update: count.default(0),
    delete: count.default(0),
    /** The data change before each request after this number of them. */
    requests: positive,
    /** At most so often; otherwise for ever. */
    times: positive.optional(),
    /** Only requests whose path and query start with this count. */
    path: words.optional(),
  })
  .refine((every) => every.insert || every.update || every.delete || every.late, 'it changes nothing');

/** Changes to the data between pages. */
export type MutateEvery = z.infer<typeof mutateEvery>;

const gaps = z.union([
  z.array(z.tuple([positive, positive]).refine(([from, to]) => from <= to, 'a gap ends before it begins')),
  z.strictObject({ every: positive, length: positive }),
]);

/** Runs of step ids that no record has: `[from, to]`, or after every such number of ids. */
export type Gaps = z.infer<typeof gaps>;

const shape = z.strictObject({
  // The data: a change of one of these makes the data anew.
  /** Records at the start. */
  rows,
  /** Another seed, other records. */
  seed: count,
  /** Seconds between one distinct `updatedAt` and the next. */
  spacing_seconds: positive.max(366 * 86_400),
  /** The number of consecutive records that share each `updatedAt`. */
  ties: positive,
  gaps,
  // The answers.
  /** The greatest `limit` and `per_page`. */
  max_page: positive,
  /** Records on a keyset page. */
  keyset_page: positive,
  /** `updated_since` and `since` mean later than, not at or later than. */
  exclusive: z.boolean(),
  /** Answers are shuffled, always in the same way; keyset tokens are positions. */
  unordered: z.boolean(),
  /** Ids are raw JSON integers beyond 2^53, the first 9007199254740993, in both views. */
  numeric_ids: z.boolean(),
  // The pace.
  /** Every answer waits so long. */
  latency_ms: z.number().min(0),
  /** The reference's token bucket. */
  rate_limit: z.boolean(),
  /** Its greatest burst. */
  capacity: positive,
  /** Its tokens a second. */
  refill_rate: z.number().positive(),
  // Faults.
  /** Scripted faults; those used up disappear from the list. */
  fail: z.array(fault),
  /** Changes to the data between pages. */
  mutate_every: mutateEvery.nullable(),
});

const patch = shape.partial();

/** All switches of the demo API. */
export type DemoSettings = z.infer<typeof shape>;
/** Some switches of the demo API. */
export type DemoSettingsPatch = z.input<typeof patch>;

/** The switches at rest: the reference API as it comes. */
export const DEFAULT_SETTINGS: DemoSettings = {
  rows: 200,
  seed: 1,
  spacing_seconds: 30,
  ties: 1,
  gaps: [],
  max_page: 50,
  keyset_page: 50,
  exclusive: false,
  unordered: false,
  numeric_ids: false,
  latency_ms: 0,
  rate_limit: false,
  capacity: 20,
  refill_rate: 10,
  fail: [],
  mutate_every: null,
};

/** The switches whose change makes the data anew. */
export const DATA_SETTINGS = ['rows', 'seed', 'spacing_seconds', 'ties', 'gaps'] as const;

/** A setting, a fault or a mutation that means nothing. The message is for people. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const words = result.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return `unknown ${what}: ${issue.keys.map((key) => [...issue.path, key].join('.')).join(', ')}`;
    }
    return `${issue.path.length ? issue.path.join('.') : what}: ${issue.message}`;
  });
  throw new SettingsError(words.join('; '));
}

/** The settings after a change. @throws {SettingsError} */
export function changeSettings(current: DemoSettings, change: unknown): DemoSettings {
  const given = parse(patch, change, 'setting');
  const next = parse(shape, { ...current, ...given }, 'setting');
  // Times are kept in 32 bits and must leave room for what mutations add.
  if ((next.rows / next.ties) * next.spacing_seconds > 2_000_000_000) {
    throw new SettingsError('rows × spacing_seconds is more than 60 years');
  }
  return next;
}

/** @throws {SettingsError} */
export function parseMutation(value: unknown): Mutation {
  return parse(mutation, value, 'mutation');
}
