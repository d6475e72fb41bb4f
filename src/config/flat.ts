import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { durationText, parseDuration } from '../durations.js';
import { ConfigurationError, type Problem } from '../errors.js';
import {
  COLUMN_TYPES,
  NOTICE_EVENTS,
  REFERENCE_STRATEGIES,
  type ColumnType,
  type FullRescan,
  type MaxDeletes,
  type Inference,
  type Json,
  type Note,
  type ReferenceStrategy,
  type RequestSpec,
  type StrategyOptions,
  type StreamPlan,
  type TableSpec,
  WRITE_MODES,
} from '../protocol.js';
import { isCredential } from '../secrets/credential-names.js';
import { holdsReference, REFERENCE, WHOLE_REFERENCE } from '../secrets/reference-syntax.js';
import { filesAddress, isFiles } from './files-address.js';

/**
 * The flat form: the keys of the reference connector's `configuration.json`, and some of Highwater's own. Numbers may
 * be text, since that platform stores them so.
 */

export const REFERENCE_ORIGIN = 'http://127.0.0.1:5001';

/** The reference API has no path for replay, which reads the timestamp endpoint with a lookback. */
export const REFERENCE_PATHS: Record<ReferenceStrategy, string> = {
  keyset: '/pagination/keyset',
  offset: '/pagination/offset',
  timestamp: '/incremental/timestamp',
  step_size: '/incremental/step',
  replay: '/incremental/timestamp',
};
/** The path in the original script, for which the reference API returns 404. */
const ORIGINAL_REPLAY_PATH = '/incremental/replay';

export const REFERENCE_COLUMNS: Record<string, ColumnType> = {
  id: 'STRING',
  name: 'STRING',
  email: 'STRING',
  address: 'STRING',
  company: 'STRING',
  job: 'STRING',
  updatedAt: 'UTC_DATETIME',
  createdAt: 'UTC_DATETIME',
};

/** Requests and answers of the reference API. */
export const REFERENCE_REQUEST: RequestSpec = {
  names: {},
  params: {},
  headers: {},
  auth: { type: 'none' },
  records: ['data'],
  next: { in: 'body', path: ['scroll_param'], isAddress: false },
  total: ['total'],
  more: null,
};

const NAME_LIMIT = 200;
const URL_LIMIT = 8192;
/** More columns than a table can have: a longer list is a mistake. */
const COLUMN_LIMIT = 1600;
/** Valid configurations are nested less deeply. */
const DEPTH_LIMIT = 20;

/** Its parameter is what a configuration may hold; any other value is refused by the schema. */
const asNumber = (value: number | string): unknown =>
  typeof value === 'string' && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;

export const numeric = (schema: z.ZodNumber) => z.preprocess(asNumber, schema);

/** An integer of any size as decimal text, since ids may exceed 2^53. */
const bigInteger = z
  .union([z.number(), z.string()])
  .refine(
    (value) =>
      typeof value === 'string' ? /^\s*\d{1,30}\s*$/.test(value) : Number.isSafeInteger(value) && value >= 0,
    'must be a whole number of at least 0; write numbers beyond 2^53 as text',
  )
  .transform((value) => BigInt(typeof value === 'string' ? value.trim() : value).toString())
  .meta({ title: 'whole number of any size' });

const positiveBigInteger = bigInteger
  .refine((text) => text !== '0', 'must be at least 1')
  .meta({ title: 'whole number of any size' });

export const duration = z
  .string()
  .transform((text, context) => {
    const seconds = parseDuration(text);
    if (seconds === null || seconds <= 0 || seconds > 366 * 86400) {
      context.addIssue({
        code: 'custom',
        message: `${show(text)} is not a duration; write one such as "30s", "15m", "2h" or "1d"`,
      });
      return z.NEVER;
    }
    return seconds;
  })
  .meta({ title: 'duration' });

/**
 * Parses `max_deletes`: `any`, an integer, or a percentage such as `10%`.
 * @returns null for anything else.
 */
export function readMaxDeletes(value: number | string): MaxDeletes | null {
  const text = String(value).trim();
  if (text === 'any') return 'any';
  const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(text)?.[1];
  if (percent !== undefined) return Number(percent) <= 100 ? { percent: Number(percent) } : null;
  const rows = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(rows) ? { rows } : null;
}

export const MAX_DELETES_ALLOWED = 'a whole number of rows, a share such as "10%", or "any"';

const maxDeletes = z
  .union([z.number(), z.string()])
  .transform((value, context): MaxDeletes => {
    const read = readMaxDeletes(value);
    if (read !== null) return read;
    context.addIssue({ code: 'custom', message: `must be ${MAX_DELETES_ALLOWED}` });
    return z.NEVER;
  })
  .meta({ title: 'whole number, share, or `any`' });

const fullRescan = z
  .union([numeric(z.number().int().min(1)), z.string()])
  .transform((value, context): FullRescan => {
    if (typeof value === 'number') return { passes: value };
    const seconds = parseDuration(value);
    if (seconds === null || seconds <= 0) {
      context.addIssue({
        code: 'custom',
        message: 'must be a number of passes (1 = every pass) or a duration such as "24h"',
      });
      return z.NEVER;
    }
    return { seconds };
  })
  .meta({ title: 'number of passes, or duration' });

export const withoutControl = [
  // oxlint-disable-next-line no-control-regex
  (text: string) => !/[\u0000-\u001f\u007f]/.test(text),
  'must not hold control characters',
] as const;

/** A name in the destination. It is quoted, so all characters are safe, but control characters can only be mistakes. */
export const identifier = z
  .string()
  .min(1)
  .max(NAME_LIMIT)
  .refine(...withoutControl)
  .refine((name) => name.trim() === name, 'must not begin or end with a space');

const ownTable = identifier.refine(
  (name) => !name.toLowerCase().startsWith('_highwater'),
  'must not begin with "_highwater": those tables are Highwater\'s own',
);

/** A user's column. */
const ownColumn = identifier.refine(
  (name) => !name.toLowerCase().startsWith('_highwater'),
  'must not begin with "_highwater": those columns are Highwater\'s own',
);

const DECIMAL = /^(?:DECIMAL|NUMERIC)\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)$/;

/** Types by their SQL names. FLOAT is missing: it is Highwater's own name of a 4-byte float. */
const SQL_TYPES: Record<string, ColumnType> = {
  TEXT: 'STRING',
  VARCHAR: 'STRING',
  'CHARACTER VARYING': 'STRING',
  CHAR: 'STRING',
  CHARACTER: 'STRING',
  UUID: 'STRING',
  BOOL: 'BOOLEAN',
  SMALLINT: 'SHORT',
  INT2: 'SHORT',
  INTEGER: 'INT',
  INT4: 'INT',
  BIGINT: 'LONG',
  INT8: 'LONG',
  REAL: 'FLOAT',
  FLOAT4: 'FLOAT',
  'DOUBLE PRECISION': 'DOUBLE',
  FLOAT8: 'DOUBLE',
  DATE: 'NAIVE_DATE',
  TIMESTAMP: 'NAIVE_DATETIME',
  'TIMESTAMP WITHOUT TIME ZONE': 'NAIVE_DATETIME',
  DATETIME: 'NAIVE_DATETIME',
  TIMESTAMPTZ: 'UTC_DATETIME',
  'TIMESTAMP WITH TIME ZONE': 'UTC_DATETIME',
  JSONB: 'JSON',
  BYTEA: 'BINARY',
  BLOB: 'BINARY',
  VARBINARY: 'BINARY',
};

/** A length such as that of `varchar(20)`, which is ignored: text of any length is stored. */
const LENGTH = /^(VARCHAR|CHARACTER VARYING|CHAR|CHARACTER)\s*\(\s*\d+\s*\)$/;

export const columnType = z.string().transform((text, context): ColumnType => {
  const word = text.trim().toUpperCase().replace(/\s+/g, ' ');
  if ((COLUMN_TYPES as readonly string[]).includes(word)) return word as ColumnType;
  const known = SQL_TYPES[LENGTH.exec(word)?.[1] ?? word];
  if (known !== undefined) return known;
  const decimal = DECIMAL.exec(word);
  if (decimal !== null) {
    const [precision, scale] = [Number(decimal[1]), Number(decimal[2] ?? 0)];
    if (precision >= 1 && precision <= 38 && scale <= precision) return `DECIMAL(${precision},${scale})`;
  }
  context.addIssue({
    code: 'custom',
    message:
      `${show(text)} is not a column type${suggestion(word, [...COLUMN_TYPES, ...Object.keys(SQL_TYPES)])}; ` +
      `allowed: ${COLUMN_TYPES.join(', ')}, DECIMAL(p,s) and their common SQL names`,
  });
  return z.NEVER;
});

/** Replaces references while a URL is checked. */
const PLACEHOLDER = 'highwater-reference';

/** Hides possible secrets of an address in messages. */
const withoutSecrets = (text: string) =>
  show(
    text
      .slice(0, URL_LIMIT)
      .replace(/\/\/[^/]*@/, '//***@')
      .replace(/[?#].*$/s, '?…'),
  );

export const baseUrl = z.string().superRefine((text, context) => {
  if (text.length > URL_LIMIT) {
    context.addIssue({ code: 'custom', message: `is longer than ${URL_LIMIT} characters` });
    return;
  }
  let url: URL;
  try {
    url = new URL(text.replace(REFERENCE, PLACEHOLDER));
  } catch {
    context.addIssue({
      code: 'custom',
      message: `${withoutSecrets(text)} is not a URL; write one such as "${REFERENCE_ORIGIN}/pagination/keyset"`,
    });
    return;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    context.addIssue({
      code: 'custom',
      message: `${url.protocol}// is not allowed; only http:// and https:// are`,
    });
  }
  if (url.password !== '' && url.password !== PLACEHOLDER) {
    context.addIssue({
      code: 'custom',
      message: 'contains a password, which the workflow\'s history would keep; write "${env:NAME}" instead',
    });
  } else if (url.password === '' && url.username !== '' && !url.username.includes(PLACEHOLDER)) {
    context.addIssue({
      code: 'custom',
      message:
        "contains a user without a password, which is a credential by itself and which the workflow's history " +
        'would keep; write "${env:NAME}" instead',
    });
  }
  const literal = new Set(
    [...url.searchParams].flatMap(([name, value]) =>
      isCredential(name) && value !== '' && !value.includes(PLACEHOLDER) ? show(name) : [],
    ),
  );
  if (literal.size > 0) {
    context.addIssue({
      code: 'custom',
      message:
        `contains the value of ${[...literal].join(', ')}, which the workflow's history would keep; ` +
        'write "${env:NAME}" instead',
    });
  }
});

/** Hosts that authenticate callers by the path alone. */
const HOOK_HOSTS = /(^|\.)(hooks\.slack\.com|discord(app)?\.com|webhook\.office\.com|logic\.azure\.com)$/i;

/** A webhook's address; if its path is a secret, it must be a reference. */
const hookUrl = z.string().superRefine((text, context) => {
  if (WHOLE_REFERENCE.test(text.trim())) return;
  const checked = baseUrl.safeParse(text);
  for (const { message } of checked.error?.issues ?? []) context.addIssue({ code: 'custom', message });
  if (!checked.success || holdsReference(text) || !HOOK_HOSTS.test(new URL(text).hostname)) return;
  const message = 'is a secret itself, which the workflow\'s history would keep; write "${env:NAME}" instead';
  context.addIssue({ code: 'custom', message });
});

const notify = z.strictObject({
  url: hookUrl.describe('The URL to call, or `${env:NAME}`, which only the worker reads.'),
  on: z
    .array(z.enum(NOTICE_EVENTS))
    .min(1)
    .optional()
    .describe('Events to report. Default: `failing` and `recovered`, and `lag` if there is a limit.'),
  lag: duration
    .optional()
    .describe('The limit for how far the table may be behind its source. Must be longer than `interval`.'),
});

/**
 * Says why a destination's address has an unknown scheme; null if it has none or a known one. The message does not
 * repeat the address, which may contain a password. A drive letter (`C:`) is not a scheme, nor is anything after a
 * slash or backslash.
 */
export function schemeProblem(destination: string): string | null {
  const [, scheme] = /^\s*([a-z][a-z0-9+.-]+):/i.exec(destination) ?? [];
  if (scheme === undefined || isFiles(destination) || /^postgres(ql)?$/i.test(scheme)) return null;
  return (
    `begins with "${scheme.slice(0, 30)}:", which is not a kind of destination; write the path of a DuckDB file, "postgresql://…", ` +
    '"files:FOLDER" or "s3://BUCKET/PREFIX". If the name of a file contains a colon, write "./NAME"'
  );
}

/**
 * Returns the kind of a destination: `files` for a folder or bucket; `server` for an address of a server or a reference
 * to one; else `duckdb`.
 * @throws {ConfigurationError} if its address is of another kind.
 */
export function destinationKind(destination: string): 'files' | 'server' | 'duckdb' {
  const problem = schemeProblem(destination);
  if (problem !== null) throw new ConfigurationError([{ path: 'destination', message: problem }]);
  if (isFiles(destination)) return 'files';
  return /^postgres(ql)?:/i.test(destination) || holdsReference(destination) ? 'server' : 'duckdb';
}

export const isServer = (destination: string): boolean => destinationKind(destination) === 'server';

/** Returns the configured schema, or the destination's default. */
export const schemaOf = (flat: { schema?: string | undefined; destination?: string | undefined }): string =>
  flat.schema ?? (isServer(flat.destination ?? '') ? 'public' : 'main');

/**
 * Checks the address of a destination: its kind must be known, and a password must be a reference, since it would be
 * stored in history.
 */
function destinationAddress(text: string, context: z.RefinementCtx): void {
  const problem = schemeProblem(text);
  if (problem !== null) {
    context.addIssue({ code: 'custom', message: problem });
    return;
  }
  if (isFiles(text)) {
    const plain = text.replace(REFERENCE, PLACEHOLDER);
    const address = filesAddress(plain, (value) => value.includes(PLACEHOLDER));
    if (typeof address === 'string') context.addIssue({ code: 'custom', message: address });
    return;
  }
  if (!/^postgres(ql)?:/i.test(text)) return;
  const plain = text.replace(REFERENCE, PLACEHOLDER);
  if (!URL.canParse(plain)) {
    const message =
      'is not a PostgreSQL address; write, for example, "postgresql://user:${env:PASSWORD}@host/database"';
    context.addIssue({ code: 'custom', message });
    return;
  }
  const { password, searchParams } = new URL(plain);
  const words = [...searchParams].flatMap(([name, value]) =>
    /pass/i.test(name) || isCredential(name) ? [value] : [],
  );
  if ([password, ...words].every((one) => one === '' || one.includes(PLACEHOLDER))) return;
  context.addIssue({
    code: 'custom',
    message: 'contains a password, which the workflow\'s history would keep; write "${env:NAME}" instead',
  });
}

/** A map of columns by their names. */
export const columnsOf = <T extends z.ZodType>(column: T) =>
  z
    .record(ownColumn, column)
    .refine((columns) => Object.keys(columns).length > 0, 'must name at least one column')
    .refine(
      (columns) => Object.keys(columns).length <= COLUMN_LIMIT,
      `must name at most ${COLUMN_LIMIT} columns`,
    )
    .meta({ title: '{ name: TYPE }' });

/** Themes of keys, by which the documentation groups its tables. */
export const themes = z.registry<{ theme: string }>();

export const flatFields = {
  strategy: z
    .enum(REFERENCE_STRATEGIES)
    .default('keyset')
    .describe('The strategy for reading the source.')
    .register(themes, { theme: 'The source' }),
  base_url: baseUrl
    .optional()
    .describe(
      'The URL of the endpoint; may contain `${env:NAME}`. Default: the endpoint of the strategy on `http://127.0.0.1:5001`.',
    )
    .register(themes, { theme: 'The source' }),
  page_size: numeric(z.number().int().min(1).max(1_000_000))
    .default(100)
    .describe('offset: records per page, sent as `limit`.'),
  initial_id: bigInteger.default('1').describe('step_size: the first id to request.'),
  step_size: positiveBigInteger.default('1000').describe('step_size: ids per request.'),
  max_id: bigInteger.default('100000').describe('step_size: the last id to request.'),
  buffer_hours: numeric(z.number().min(0).max(876_000))
    .default(2)
    .describe('replay: how many hours before the newest record a pass begins.'),
  destination: z
    .string()
    .min(1)
    .max(4096)
    .refine(...withoutControl)
    .superRefine(destinationAddress)
    .optional()
    .describe(
      'A DuckDB file, a PostgreSQL server (`postgresql://user:${env:PASSWORD}@host/database`), or files (`files:./lake`, `s3://bucket/prefix`; Parquet, or NDJSON with `?format=ndjson`). Default: `HIGHWATER_DESTINATION`, else `highwater.duckdb`.',
    )
    .register(themes, { theme: 'The table' }),
  schema: identifier
    .optional()
    .describe(
      'The schema of the table. Default: `main`, or `public` if `destination` is a PostgreSQL server.',
    )
    .register(themes, { theme: 'The table' }),
  table: ownTable.default('user').describe('The table.').register(themes, { theme: 'The table' }),
  primary_key: z
    .union([identifier.transform((name) => [name]), z.array(identifier).min(1).max(20)])
    .default(['id'])
    .describe('The columns that identify a record.')
    .register(themes, { theme: 'The table' }),
  columns: columnsOf(columnType)
    .optional()
    .describe(
      'Column names and types. Default: the eight columns of the sample API; with `misfits: evolve`, those of the records.',
    )
    .register(themes, { theme: 'The table' }),
  mode: z
    .enum(WRITE_MODES)
    .default('upsert')
    .describe(
      'How records are written: `upsert` keeps one row per key; `append` adds a row whenever a record has changed; `history` also stores from when to when each version was valid; `replace` replaces the table when a whole pass has ended.',
    )
    .register(themes, { theme: 'The table' }),
  max_deletes: maxDeletes
    .optional()
    .describe(
      'Maximum rows that a pass may remove because it did not find their records: a number, a percentage such as `10%`, or `any`. To remove more, the pass waits for `highwater approve`; `highwater run` fails instead. Default: 10% of the table, but at least 20.',
    )
    .register(themes, { theme: 'The table' }),
  stamps: z
    .union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')])
    .default(true)
    .describe(
      'Adds two columns with the time (`_highwater_synced_at`) and the batch (`_highwater_batch`) of the last write of each row.',
    )
    .register(themes, { theme: 'The table' }),
  misfits: z
    .enum(['freeze', 'quarantine', 'evolve'])
    .optional()
    .describe(
      'What to do with a record that does not fit the columns: `freeze` stops the sync and names the record, `quarantine` stores it in `_highwater_rejects` instead (`highwater rejects`), `evolve` adds columns and widens types. Default: `freeze`, or `evolve` if no columns are declared.',
    )
    .register(themes, { theme: 'The table' }),
  flatten: z
    .union([z.boolean(), numeric(z.number().int().min(1).max(20))])
    .transform((levels) => (levels === true ? 20 : levels === false ? 0 : levels))
    .prefault(false)
    .meta({ title: '`true`, `false` or levels' })
    .describe(
      'Gives the members of nested objects their own columns, such as `address__city`; applies to undeclared columns. A number: that many levels.',
    )
    .register(themes, { theme: 'The table' }),
  column_names: z
    .enum(['as_is', 'snake_case'])
    .default('as_is')
    .describe(
      'Names of undeclared columns: as in the records, or in snake case (`created_at` for `createdAt`).',
    )
    .register(themes, { theme: 'The table' }),
  ties: z
    .enum(['auto', 'scroll'])
    .default('auto')
    .describe("keyset: `auto` reads equal timestamps safely; `scroll` only follows the API's tokens."),
  max_empty_steps: numeric(z.number().int().min(1))
    .optional()
    .describe('step_size: end a pass after this many empty ranges in a row. Default: never.'),
  id_lookback: bigInteger
    .optional()
    .describe(
      'step_size: how many ids before the greatest known id a pass begins. Default: one `step_size`.',
    ),
  full_rescan: fullRescan
    .optional()
    .describe(
      'offset: read the whole list again every N passes (1: every pass), or after `24h`. Default: never.',
    ),
  interval: duration
    .optional()
    .describe('Pause between passes, which repeat until the sync is stopped. Default: a single pass.')
    .register(themes, { theme: 'Pace' }),
  idle_interval: duration
    .optional()
    .describe(
      'While passes find nothing new, `interval` doubles up to this; the first change resets it. Default: it stays.',
    )
    .register(themes, { theme: 'Pace' }),
  batch_rows: numeric(z.number().int().min(1).max(10_000_000))
    .default(100_000)
    .describe(
      'Maximum rows per batch. Whichever limit is reached first closes a batch; the first batches are smaller.',
    )
    .register(themes, { theme: 'Pace' }),
  batch_bytes: numeric(z.number().int().min(1024))
    .default(24 * 1024 * 1024)
    .describe('Maximum bytes per batch.')
    .register(themes, { theme: 'Pace' }),
  batch_seconds: numeric(z.number().min(0.05).max(600))
    .default(10)
    .describe('Maximum seconds spent reading a batch.')
    .register(themes, { theme: 'Pace' }),
  retry_for: duration
    .prefault('1m')
    .describe('How long to retry requests to a source that does not respond.')
    .register(themes, { theme: 'Pace' }),
  timeout: duration
    .prefault('1m')
    .describe('Maximum time until a response begins, and between its parts.')
    .register(themes, { theme: 'Pace' }),
  in_flight: numeric(z.number().int().min(1).max(32))
    .default(4)
    .describe('Maximum concurrent requests of a stream, if the strategy can predict the next ones.')
    .register(themes, { theme: 'Pace' }),
  notify: notify
    .optional()
    .describe('A webhook to call when the sync fails and when it recovers.')
    .register(themes, { theme: 'Pace' }),
  history_limit: numeric(z.number().int().min(20))
    .optional()
    .describe(
      'Number of history events after which the workflow continues as new. Default: when Temporal suggests it.',
    )
    .register(themes, { theme: 'Pace' }),
};

export const flatSchema = z.strictObject(flatFields);

/** The form that `discover` accepts: its columns do not default to the reference table's. */
const flatDraftSchema = flatSchema.extend({ columns: columnsOf(columnType).default({}) });

/** Default columns of the flat form. */
const columnsOfFlat = ({ columns, misfits }: Pick<Flat, 'columns' | 'misfits'>) =>
  columns ?? (misfits === 'evolve' ? {} : REFERENCE_COLUMNS);

export const FLAT_KEYS = Object.keys(flatSchema.shape);

/**
 * Checks a flat configuration and converts it to a plan.
 * @param draft columns and primary key may be missing or inconsistent.
 * @throws {ConfigurationError} with all problems at once.
 */
export function planFromFlat(raw: unknown, file?: string, draft = false): StreamPlan {
  const schema = draft ? flatDraftSchema : flatSchema;
  const shape = shapeProblem(raw);
  if (shape !== null) throw new ConfigurationError([shape], file);
  const parsed = schema.safeParse(raw, { reportInput: true });
  const issues = parsed.error?.issues ?? [];
  const problems = issues.flatMap((issue) => describe(issue, raw, FLAT_KEYS));
  const refused = new Set(
    issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : [String(issue.path[0])])),
  );
  // Keys that are valid by themselves may contradict each other; report that at once too.
  const sound = parsed.data ?? schema.safeParse(without(raw, refused)).data;
  for (const key of draft ? ['columns', 'primary_key'] : []) refused.add(key);
  if (sound !== undefined) {
    const readsAll = sound.strategy === 'offset' && rescansAlways(sound.full_rescan);
    if (sound.mode === 'replace' && !readsAll) problems.push(readsTooLittle('mode', 'replace '));
    problems.push(...paceProblems(sound));
    problems.push(...contradictions({ ...sound, columns: columnsOfFlat(sound) }, refused));
  }
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems, file);

  const flat = { ...parsed.data, columns: columnsOfFlat(parsed.data) };
  const notes: Note[] = [];
  return {
    ...planBeside(flat, flat.table),
    stream: flat.table,
    baseUrl: endpoint(flat.strategy, flat.base_url, notes),
    request: REFERENCE_REQUEST,
    options: strategyOptions(flat),
    cursorField: 'updatedAt',
    notes,
  };
}

/** Problem of an option that needs passes over the whole source. */
export const readsTooLittle = (path: string, subject = ''): Problem => ({
  path,
  message:
    `${subject}needs passes that read everything: use page_number or cursor without names.updated_since, ` +
    'or offset with "full_rescan": 1',
});

/** Whether each pass reads the whole list when reading by offset. */
export const rescansAlways = (rescan: Flat['full_rescan']): boolean =>
  rescan !== undefined && 'passes' in rescan && rescan.passes === 1;

type Shared = Omit<Flat, 'strategy' | 'base_url' | 'page_size' | 'table' | 'columns'> & {
  columns: Record<string, ColumnType>;
};

/** Returns the inference settings; null if only declared columns are stored. */
export function inferenceOf({
  columns,
  misfits,
  flatten,
  column_names: names,
}: Pick<Flat, 'misfits' | 'flatten' | 'column_names'> & { columns: object }): Inference | null {
  const isDeclared = Object.keys(columns).length > 0;
  if (isDeclared && misfits !== 'evolve') return null;
  return { policy: misfits ?? 'evolve', flatten, names };
}

/** Converts the stream options that both forms share. */
export function planBeside(
  flat: Shared,
  table: string,
): Omit<StreamPlan, 'stream' | 'baseUrl' | 'request' | 'options' | 'cursorField' | 'notes'> {
  return {
    table: tableSpec(flat, table),
    destination: flat.destination ?? null,
    intervalSeconds: flat.interval ?? null,
    ...(flat.idle_interval !== undefined && { idleIntervalSeconds: flat.idle_interval }),
    batch: { rows: flat.batch_rows, bytes: flat.batch_bytes, seconds: flat.batch_seconds },
    retrySeconds: flat.retry_for,
    requestTimeoutSeconds: flat.timeout,
    inFlight: flat.in_flight,
    historyLimit: flat.history_limit ?? null,
  };
}

/** Converts the table options that both forms share. */
export function tableSpec(
  flat: Pick<
    Shared,
    | 'columns'
    | 'primary_key'
    | 'misfits'
    | 'flatten'
    | 'column_names'
    | 'mode'
    | 'max_deletes'
    | 'stamps'
    | 'schema'
    | 'destination'
  >,
  table: string,
): TableSpec {
  const inference = inferenceOf(flat);
  return {
    schema: schemaOf(flat),
    table,
    primaryKey: flat.primary_key,
    columns: flat.columns,
    ...(flat.misfits === 'quarantine' && { quarantine: true as const }),
    ...(flat.mode !== 'upsert' && { mode: flat.mode }),
    ...(flat.max_deletes !== undefined && { maxDeletes: flat.max_deletes }),
    ...(flat.stamps && { stamps: true as const }),
    ...(inference !== null && { inference }),
  };
}

/**
 * Finds problems that checks of single keys would miss or not survive: endless nesting (YAML can refer back to itself),
 * and a member `__proto__`, which would vanish from objects.
 */
export function shapeProblem(raw: unknown): Problem | null {
  let level: { path: string; value: unknown }[] = [{ path: '', value: raw }];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_LIMIT) {
      return { path: level[0]?.path.slice(0, 40) ?? '', message: `is nested deeper than ${DEPTH_LIMIT}` };
    }
    if (level.length > LEVEL_LIMIT) return { path: '', message: 'contains far too many values' };
    level = level.flatMap(({ path, value }) =>
      typeof value === 'object' && value !== null
        ? Object.entries(value as Record<string, unknown>).map(([name, inner]) => ({
            path: `${path}.${name}`.slice(0, 80),
            value: inner,
          }))
        : [],
    );
    const swallowed = level.find(({ path }) => path.endsWith('.__proto__'));
    if (swallowed !== undefined) {
      return { path: swallowed.path.slice(1), message: 'is not allowed as a name here' };
    }
  }
  return null;
}

const LEVEL_LIMIT = 100_000;

type Flat = z.output<typeof flatSchema>;

/** Converts the options of the reference strategies that both forms share. */
export function strategyOptions(
  flat: Omit<Shared, 'destination' | 'interval' | 'idle_interval'> & Pick<Flat, 'strategy' | 'page_size'>,
): StrategyOptions {
  switch (flat.strategy) {
    case 'keyset':
      return { strategy: 'keyset', ties: flat.ties };
    case 'offset':
      return { strategy: 'offset', pageSize: flat.page_size, fullRescan: flat.full_rescan ?? null };
    case 'timestamp':
      return { strategy: 'timestamp' };
    case 'replay':
      return { strategy: 'replay', bufferHours: flat.buffer_hours };
    case 'step_size':
      return {
        strategy: 'step_size',
        initialId: flat.initial_id,
        stepSize: flat.step_size,
        maxId: flat.max_id,
        maxEmptySteps: flat.max_empty_steps ?? null,
        idLookback: flat.id_lookback ?? flat.step_size,
      };
  }
}

function without(raw: unknown, keys: ReadonlySet<string>): object {
  return Object.fromEntries(Object.entries(Object(raw) as object).filter(([key]) => !keys.has(key)));
}

/** Checks that `idle_interval` is at least `interval`, and that the lag limit exceeds the pause between passes. */
export function paceProblems(pace: Pick<Flat, 'interval' | 'idle_interval' | 'notify'>): Problem[] {
  return [...idleProblems(pace), ...noticeProblems(pace)];
}

function noticeProblems({
  notify,
  interval = 0,
  idle_interval: idle = 0,
}: Pick<Flat, 'interval' | 'idle_interval' | 'notify'>): Problem[] {
  if (notify === undefined) return [];
  const path = 'notify.lag';
  const { lag, on } = notify;
  if (lag === undefined)
    return on?.includes('lag') === true ? [{ path, message: 'is required, because "on" lists lag' }] : [];
  const longest = Math.max(interval, idle);
  if (lag > longest) return [];
  const key = idle > interval ? 'idle_interval' : 'interval';
  return [
    {
      path,
      message: `must be longer than "${key}", ${durationText(longest)}: between two passes a table is always that far behind`,
    },
  ];
}

function idleProblems({
  interval,
  idle_interval: idle,
}: Pick<Flat, 'interval' | 'idle_interval'>): Problem[] {
  if (idle === undefined) return [];
  const path = 'idle_interval';
  if (interval === undefined) return [{ path, message: 'needs "interval", from which it grows' }];
  return idle < interval
    ? [{ path, message: 'must not be shorter than "interval", from which it grows' }]
    : [];
}

/** Returns the configuration for a single pass. */
export function asOnePass(configuration: Json): Json {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration))
    return configuration;
  const { interval: _interval, idle_interval: _idle, ...rest } = configuration;
  return rest;
}

/** Returns the configuration with another `max_deletes`. */
export function withMaxDeletes(configuration: Json, limit: string): Json {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration))
    return configuration;
  const { streams } = configuration;
  if (!Array.isArray(streams)) return { ...configuration, max_deletes: limit };
  const limited = (stream: Json): Json =>
    typeof stream === 'object' && stream !== null && !Array.isArray(stream)
      ? { ...stream, max_deletes: limit }
      : stream;
  return { ...configuration, streams: streams.map(limited) };
}

/** Finds contradictions between keys, except those that were already `refused` by themselves. */
export function contradictions(
  flat: Pick<Flat, 'primary_key' | 'max_id' | 'initial_id' | 'misfits' | 'flatten' | 'column_names'> & {
    strategy: string;
    columns: object;
  },
  refused: ReadonlySet<string> = new Set(),
): Problem[] {
  const problems: Problem[] = [];
  const stand = (...keys: (keyof Flat)[]) => !keys.some((key) => refused.has(key));
  const columns = Object.keys(flat.columns);
  const folded = new Map<string, string>();
  for (const name of columns) {
    const twin = folded.get(name.toLowerCase());
    if (twin !== undefined) {
      problems.push({
        path: `columns.${name}`,
        message: `differs from ${JSON.stringify(twin)} only in case, which the destination does not distinguish`,
      });
    }
    folded.set(name.toLowerCase(), name);
  }
  const isInferred = inferenceOf(flat) !== null;
  for (const [key, isSet] of [
    ['flatten', flat.flatten > 0],
    ['column_names', flat.column_names !== 'as_is'],
  ] as const) {
    if (isSet && !isInferred && stand('columns', 'misfits')) {
      problems.push({
        path: key,
        message:
          'has no effect if only declared columns are stored: set "misfits" to "evolve", or omit "columns"',
      });
    }
  }
  flat.primary_key.forEach((name, i) => {
    if (!isInferred && !columns.includes(name) && stand('columns', 'primary_key')) {
      problems.push({
        path: `primary_key[${i}]`,
        message: `${JSON.stringify(name)} is not one of the columns${suggestion(name, columns)}`,
      });
    }
  });
  if (new Set(flat.primary_key).size < flat.primary_key.length) {
    problems.push({ path: 'primary_key', message: 'names a column twice' });
  }
  const isEmpty = BigInt(flat.max_id) < BigInt(flat.initial_id);
  if (flat.strategy === 'step_size' && isEmpty && stand('max_id', 'initial_id')) {
    problems.push({ path: 'max_id', message: `${flat.max_id} is less than initial_id ${flat.initial_id}` });
  }
  return problems;
}

/**
 * Replaces a path that is another strategy's reference default by this strategy's: the reference documentation says
 * "change the strategy to try different sync methods" and leaves `base_url` unchanged.
 */
function endpoint(strategy: ReferenceStrategy, configured: string | undefined, notes: Note[]): string {
  const path = REFERENCE_PATHS[strategy];
  if (configured === undefined) return REFERENCE_ORIGIN + path;
  const [, origin = '', theirs = ''] = /^([^/]*\/\/[^/?#]*)([^?#]*)/.exec(configured) ?? [];
  const known = [...Object.values(REFERENCE_PATHS), ORIGINAL_REPLAY_PATH];
  const plain = theirs.replace(/\/+$/, '');
  if (plain === path || !known.includes(plain)) return configured;
  notes.push({
    code: 'path_replaced',
    message: `the path ${plain} of base_url belongs to another strategy; ${strategy} reads ${path} instead`,
  });
  return origin + path + configured.slice(origin.length + theirs.length);
}

export function describe(issue: z.core.$ZodIssue, raw: unknown, keys: readonly string[]): Problem[] {
  const path = cutShort(pathText(issue.path));
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: cutShort(path === '' ? key : `${path}.${key}`),
        message: `is not a known key${keys.includes(key) ? ' here' : suggestion(key, keys)}`,
      }));
    case 'invalid_value': {
      const words = issue.values.map(String);
      return [
        {
          path,
          message: `${show(issue.input)} is not one of ${words.join(', ')}${suggestion(String(issue.input), words)}`,
        },
      ];
    }
    case 'invalid_type':
      if (path === '') {
        return [{ path, message: `must be an object of keys and values, not ${kindOf(raw)}` }];
      }
      return [{ path, message: `must be ${article(issue.expected)}, not ${show(issue.input)}` }];
    case 'too_small':
      return [{ path, message: `${show(issue.input)} is too small: the minimum is ${issue.minimum}` }];
    case 'too_big':
      if (issue.origin === 'string')
        return [
          { path, message: `${show(issue.input)} is too long: the maximum is ${issue.maximum} characters` },
        ];
      return [{ path, message: `${show(issue.input)} is too large: the maximum is ${issue.maximum}` }];
    case 'invalid_union': {
      // If one of the forms fits but for its values, report only those problems.
      const fitting = issue.errors.find(
        (inner) => inner.length > 0 && inner.every(({ code }) => code === 'custom'),
      );
      if (fitting !== undefined) {
        return fitting.map((inner) => ({
          path: cutShort(pathText([...issue.path, ...inner.path])),
          message: inner.message,
        }));
      }
      return [{ path, message: `${show(issue.input)} is not allowed here: ${unionWords(issue)}` }];
    }
    case 'invalid_key':
      return [{ path, message: `the name is not allowed: ${issue.issues.map(nameProblem).join('; ')}` }];
    default:
      return [{ path, message: issue.message }];
  }
}

function unionWords(issue: z.core.$ZodIssueInvalidUnion): string {
  const words = issue.errors
    .flat()
    .map((inner) => (inner.code === 'invalid_type' ? `expected ${article(inner.expected)}` : inner.message));
  return [...new Set(words)].join(', or ');
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  );
}

const KINDS: Record<string, string> = { int: 'a whole number', array: 'a list', record: 'an object' };
const article = (type: string) => KINDS[type] ?? (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`);

const cutShort = (text: string) => (text.length > 100 ? `${text.slice(0, 99)}…` : text);

export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : article(typeof value);
}

export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/** Returns ` (did you mean "keyset"?)`; empty if no word is similar. */
export function suggestion(word: string, words: readonly string[]): string {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of words) {
    const d = distance(word.toLowerCase().slice(0, 100), candidate.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best === null ? '' : ` (did you mean ${JSON.stringify(best)}?)`;
}

const nameProblem = (issue: z.core.$ZodIssue): string =>
  issue.code === 'too_big' ? `it is too long: the maximum is ${issue.maximum} characters` : issue.message;
