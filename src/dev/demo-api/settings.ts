import { z } from 'zod';

const count = z.int().min(0);
const positive = z.int().min(1);
const words = z.string().min(1);
/** Maximum that fits. */
const rows = count.max(20_000_000);

/** Conditions shared by all faults and mutations. */
const scope = {
  /** Only requests whose path and query start with this, for example `/pagination/keyset?scroll_param`. */
  path: words.optional(),
  /** Number of matching requests that are answered properly first. */
  after: count.default(0),
};

const times = positive.default(1);

const fault = z.discriminatedUnion('kind', [
  /**
   * An error status. `retry_after` is sent unchanged (seconds or an HTTP date); `retry_after_date` sends the date this
   * many seconds ahead.
   */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('status'),
    status: z.int().min(300).max(599),
    retry_after: z.union([z.number(), z.string()]).optional(),
    retry_after_date: z.number().optional(),
  }),
  /** 200 with an HTML page, as from a proxy or a login screen. */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('html'),
    content_type: z.string().default('text/html; charset=utf-8'),
  }),
  /** A complete response of 200 whose JSON stops half way. */
  z.strictObject({ ...scope, times, kind: z.literal('bad_json') }),
  /** The connection ends half way through the body. */
  z.strictObject({ ...scope, times, kind: z.literal('truncate') }),
  /** A complete response with half a gzip stream. */
  z.strictObject({ ...scope, times, kind: z.literal('truncated_gzip') }),
  /** The connection is reset without an answer. */
  z.strictObject({ ...scope, times, kind: z.literal('reset') }),
  /** No answer at all. */
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
  /** One record of the page lacks its id, or has null. */
  z.strictObject({
    ...scope,
    times,
    kind: z.literal('missing_pk'),
    id: z.enum(['absent', 'null']).default('absent'),
    index: count.default(0),
  }),
  /** Repeats the previous page of this path. */
  z.strictObject({ ...scope, times, kind: z.literal('repeat_page') }),
  /** Tokens and next links repeat after this number of pages, forever unless `times` is set. */
  z.strictObject({
    ...scope,
    times: positive.default(Number.MAX_SAFE_INTEGER),
    kind: z.literal('token_cycle'),
    pages: positive.default(2),
  }),
  /** A page without records; `keep_token` keeps the token of the full page. */
  z.strictObject({ ...scope, times, kind: z.literal('empty'), keep_token: z.boolean().default(false) }),
]);

export type Fault = z.infer<typeof fault>;
/** A fault as input, in which defaults may be omitted. */
export type FaultInput = z.input<typeof fault>;

const which = z.union([count, z.array(words)]);

const changes = {
  /** New rows, later than all others. */
  insert: rows.default(0),
  /** A number of random rows, or the rows with these ids (of either view): changed, and later than all others. */
  update: which.default(0),
  /** A number of random rows, or the rows with these ids. */
  delete: which.default(0),
  /** New rows this number of hours before the greatest `updatedAt`; 0 makes them tie with it. */
  late: z.strictObject({ count: rows, hours_ago: z.number().min(0).max(200_000) }).optional(),
  /** Number of step ids to skip before the next insert. */
  gap: count.max(1_000_000_000).default(0),
  /** Seed for choosing rows; by default each mutation differs, in the same way after each reset. */
  seed: count.optional(),
};

const mutation = z.strictObject(changes);

/** Changes to the data, applied at once. */
export type Mutation = z.infer<typeof mutation>;
/** Changes to the data as input. */
export type MutationInput = z.input<typeof mutation>;

const mutateEvery = z
  .strictObject({
    ...changes,
    update: count.default(0),
    delete: count.default(0),
    /** Applies the mutation before each request after this number of them. */
    requests: positive,
    /** Maximum number of times; default: unlimited. */
    times: positive.optional(),
    /** Counts only requests whose path and query start with this. */
    path: words.optional(),
  })
  .refine((every) => every.insert || every.update || every.delete || every.late, 'it changes nothing');

export type MutateEvery = z.infer<typeof mutateEvery>;

const gaps = z.union([
  z.array(z.tuple([positive, positive]).refine(([from, to]) => from <= to, 'a gap ends before it begins')),
  z.strictObject({ every: positive, length: positive }),
]);

/** Ranges of step ids without a record: `[from, to]`, or one after each given number of ids. */
export type Gaps = z.infer<typeof gaps>;

const shape = z.strictObject({
  // The data; a change to one of these generates it again.
  /** Records at the start. */
  rows,
  /** Another seed makes other records. */
  seed: count,
  /** Seconds between distinct values of `updatedAt`. */
  spacing_seconds: positive.max(366 * 86_400),
  /** Number of consecutive records that share an `updatedAt`. */
  ties: positive,
  gaps,
  // The answers.
  /** Maximum `limit` and `per_page`. */
  max_page: positive,
  /** Records on a keyset page. */
  keyset_page: positive,
  /** `updated_since` and `since` are exclusive bounds. */
  exclusive: z.boolean(),
  /** Answers are shuffled, always in the same way; keyset tokens are positions. */
  unordered: z.boolean(),
  /** Ids are raw JSON integers beyond 2^53, from 9007199254740993, in both views. */
  numeric_ids: z.boolean(),
  // The pace.
  /** Delay of every answer. */
  latency_ms: z.number().min(0),
  /** Enables the reference's token bucket. */
  rate_limit: z.boolean(),
  /** Capacity of the bucket. */
  capacity: positive,
  /** Tokens added per second. */
  refill_rate: z.number().positive(),
  // Faults.
  /** Scripted faults; used ones disappear from the list. */
  fail: z.array(fault),
  mutate_every: mutateEvery.nullable(),
});

const patch = shape.partial();

/** All switches of the demo API. */
export type DemoSettings = z.infer<typeof shape>;
/** Some switches of the demo API. */
export type DemoSettingsPatch = z.input<typeof patch>;

/** The default switches, which make the demo API equal to the reference API. */
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

/** Switches whose change generates the data again. */
export const DATA_SETTINGS = ['rows', 'seed', 'spacing_seconds', 'ties', 'gaps'] as const;

/** An invalid setting, fault or mutation. The message is for people. */
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

/** Returns the settings after a change. @throws {SettingsError} */
export function changeSettings(current: DemoSettings, change: unknown): DemoSettings {
  const given = parse(patch, change, 'setting');
  const next = parse(shape, { ...current, ...given }, 'setting');
  // Times are 32-bit integers, with room for those that mutations add.
  if ((next.rows / next.ties) * next.spacing_seconds > 2_000_000_000) {
    throw new SettingsError('rows × spacing_seconds is more than 60 years');
  }
  return next;
}

/** @throws {SettingsError} */
export function parseMutation(value: unknown): Mutation {
  return parse(mutation, value, 'mutation');
}
