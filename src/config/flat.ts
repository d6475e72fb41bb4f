import { z } from 'zod';
import { durationText } from '../durations.js';
import { ConfigurationError, type Problem } from '../errors.js';
import {
  REFERENCE_STRATEGIES,
  type ColumnType,
  type Inference,
  type Note,
  type ReferenceStrategy,
  type StrategyOptions,
  type StreamPlan,
  type TableSpec,
  WRITE_MODES,
} from '../protocol.js';
import { schemaOf } from './destination-kind.js';
import { describe, shapeProblem } from './problems.js';
import {
  ORIGINAL_REPLAY_PATH,
  REFERENCE_COLUMNS,
  REFERENCE_ORIGIN,
  REFERENCE_PATHS,
  REFERENCE_REQUEST,
} from './reference-source.js';
import {
  baseUrl,
  bigInteger,
  columnType,
  columnsOf,
  destinationAddress,
  duration,
  fullRescan,
  identifier,
  maxDeletes,
  notify,
  numeric,
  ownTable,
  positiveBigInteger,
  withoutControl,
} from './values.js';
import { suggestion } from '../text.js';

/**
 * The flat form: the keys of the reference connector's `configuration.json`, and some of Highwater's own. Numbers may
 * be text, since that platform stores them so.
 */

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
