import { z } from 'zod';
import { ConfigurationError, type Problem } from '../errors.js';
import {
  STRATEGIES,
  type Incremental,
  type RequestSpec,
  type StrategyOptions,
  type StreamPlan,
} from '../protocol.js';
import {
  columnMap,
  contradictions,
  describe,
  duration,
  flatFields,
  flatSchema,
  identifier,
  isCredential,
  baseUrl,
  numeric,
  planBeside,
  REFERENCE,
  shapeProblem,
  strategyOptions,
  suggestion,
  themes,
  withoutControl,
} from './flat.js';

/**
 * The full form: several streams of one source, and all that an API may want to be asked, without code.
 * What a stream leaves out comes from `defaults`.
 */

const REFERENCE_IN = new RegExp(REFERENCE.source);

const secret = z
  .string()
  .max(4096)
  .refine(
    (text) => REFERENCE_IN.test(text),
    'must be a reference such as "${env:TOKEN}" or "${file:token.txt}": anything else would stay in the workflow\'s history',
  )
  .meta({ title: 'reference' });

const plainText = z
  .string()
  .max(8192)
  .refine(...withoutControl);

/** Names and values of headers or parameters; what a name says is a credential must be a reference. */
const pairs = (what: RegExp) =>
  z
    .record(
      z.string().regex(what, 'is not a name that can be sent'),
      z.union([plainText, z.number(), z.boolean()]),
    )
    .superRefine((map, context) => {
      for (const [name, value] of Object.entries(map)) {
        if (
          (isCredential(name) || /^(authorization|cookie)$/i.test(name)) &&
          !REFERENCE_IN.test(String(value))
        ) {
          context.addIssue({
            code: 'custom',
            path: [name],
            message:
              'looks like a credential, which would stay in the workflow\'s history; write "${env:NAME}" in its place',
          });
        }
      }
    })
    .transform((map) => Object.fromEntries(Object.entries(map).map(([name, value]) => [name, String(value)])))
    .meta({ title: 'names and values' });

const headers = pairs(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/);
const PARAMETER_NAME = /^[^\s&=#]{1,200}$/;
const parameters = pairs(PARAMETER_NAME);

const auth = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }).describe('Nothing is sent.'),
  z
    .strictObject({ type: z.literal('basic'), username: plainText, password: secret })
    .describe('A user and a password.'),
  z.strictObject({ type: z.literal('bearer'), token: secret }).describe('`Authorization: Bearer …`.'),
  z
    .strictObject({
      type: z.literal('api_key'),
      name: z.string().regex(/^[A-Za-z0-9_.[\]-]{1,200}$/, 'is not a name that can be sent'),
      value: secret,
      in: z.enum(['header', 'query', 'cookie']).default('header'),
    })
    .describe('A key in a header, a parameter or a cookie of this name.'),
]);

/** "data.items" or "$.data.items" → the members on the way; "$" is the answer itself. */
const answerPath = z
  .string()
  .max(500)
  .regex(
    /^(\$|(\$\.)?[^.[\]*$]+(\.[^.[\]*$]+)*)$/,
    'is not a path of members such as "data.items", or "$" for the answer itself',
  )
  .transform((text) => (text === '$' ? [] : text.replace(/^\$\./, '').split('.')))
  .meta({ title: 'path in the answer' });

const next = z.union([
  z.literal('link').transform(() => ({ in: 'link', isAddress: true }) as const),
  z.literal('last_key').transform(() => ({ in: 'last_key' }) as const),
  z
    .strictObject({ token: answerPath })
    .transform(({ token }) => ({ in: 'body', path: token, isAddress: false }) as const),
  z
    .strictObject({ url: answerPath })
    .transform(({ url }) => ({ in: 'body', path: url, isAddress: true }) as const),
  z
    .strictObject({ header: z.string().min(1).max(200), is: z.enum(['token', 'url']).default('token') })
    .transform(({ header, is }) => ({ in: 'header', name: header, isAddress: is === 'url' }) as const),
]);

const parameterName = z.string().regex(PARAMETER_NAME, 'is not a name that can be sent');

const {
  base_url: _url,
  destination,
  interval,
  strategy: _strategy,
  columns: _columns,
  page_size: pageSize,
  ...shared
} = flatFields;

const streamSchema = z.strictObject({
  name: identifier
    .describe('What the stream is called; also its table, unless `table` says otherwise.')
    .register(themes, { theme: 'The stream and its table' }),
  path: plainText
    .default('')
    .describe('Appended to the base_url.')
    .register(themes, { theme: 'The request' }),
  params: parameters
    .default({})
    .describe('Sent with every request.')
    .register(themes, { theme: 'The request' }),
  headers: headers
    .default({})
    .describe('Sent with every request, beside those of the source.')
    .register(themes, { theme: 'The request' }),
  auth: auth
    .optional()
    .describe('In place of that of the source.')
    .register(themes, { theme: 'The request' }),
  records: answerPath
    .prefault('data')
    .describe('Where the list of records is: "data.items"; "$" is the answer itself.')
    .register(themes, { theme: 'The answer' }),
  columns: columnMap
    .describe('Column names and types; `highwater discover` finds them.')
    .register(themes, { theme: 'The stream and its table' }),
  cursor_field: identifier
    .optional()
    .describe('The field that says when a record changed last.')
    .register(themes, { theme: 'The stream and its table' }),
  strategy: z
    .enum(STRATEGIES)
    .describe('How the source is read.')
    .register(themes, { theme: 'The stream and its table' }),
  ...shared,
  table: shared.table
    .unwrap()
    .optional()
    .describe('The table. Left out: the name of the stream.')
    .register(themes, { theme: 'The stream and its table' }),
  page_size: pageSize
    .unwrap()
    .optional()
    .describe('Records a page. Left out: none is sent (offset: 100).')
    .register(themes, { theme: 'The request' }),
  names: z
    .strictObject({
      page: parameterName.describe('The number of a page.'),
      offset: parameterName.describe('How many records to skip.'),
      limit: parameterName.describe('How many records a page holds.'),
      updated_since: parameterName.describe(
        'The time since when changes are asked for: keyset, page_number, cursor.',
      ),
      since: parameterName.describe('The time since when changes are asked for: timestamp, replay.'),
      scroll_param: parameterName.describe('The token of the next page.'),
      start_id: parameterName.describe('The first id of a range.'),
      end_id: parameterName.describe('The last id of a range.'),
    })
    .partial()
    .default({})
    .describe("The API's own names of the parameters; those left out keep these names.")
    .register(themes, { theme: 'The request' }),
  next: next.optional().describe('cursor, keyset: what the next page is asked for by.'),
  total: answerPath
    .optional()
    .describe('Where the answer counts all records.')
    .register(themes, { theme: 'The answer' }),
  more: answerPath
    .optional()
    .describe('Where the answer says, by true or false, whether there is more.')
    .register(themes, { theme: 'The answer' }),
  first_page: numeric(z.number().int().min(0).max(1)).default(1).describe('page_number: the first page.'),
  short_page_ends: z
    .boolean()
    .default(false)
    .describe('page_number: a page that is not full is the last one.'),
  start: plainText
    .optional()
    .describe('What the first pass asks for, as a timestamp; everything unless told.')
    .register(themes, { theme: 'Changes only' }),
  lookback: duration
    .optional()
    .describe('How far before the newest record a pass begins.')
    .register(themes, { theme: 'Changes only' }),
});

/** A stream as `discover` takes it: what it is there to find need not be given yet. */
const draftSchema = streamSchema.extend({ columns: columnMap.default({}) });
const FOUND_BY_DISCOVER = ['columns', 'primary_key'] as const;

const fullSchema = z.strictObject({
  sync: z
    .strictObject({
      name: identifier.optional().describe('What the sync is called.'),
      max_streams: numeric(z.number().int().min(1).max(50)).default(4).describe('Streams read at once.'),
    })
    .prefault({})
    .describe('The sync as a whole.'),
  source: z
    .strictObject({
      base_url: baseUrl.describe('What the paths of the streams are appended to.'),
      headers: headers.default({}).describe('Sent with every request.'),
      params: parameters.default({}).describe('Sent with every request.'),
      auth: auth.default({ type: 'none' }).describe('How the API knows you.'),
    })
    .describe('The API.'),
  destination,
  interval,
  defaults: z
    .record(z.string(), z.unknown())
    .default({})
    .meta({ title: 'keys of a stream' })
    .describe('What streams that leave it out have.'),
  streams: z
    .array(z.record(z.string(), z.unknown()))
    .min(1)
    .max(500)
    .meta({ title: 'list of streams' })
    .describe('What is read: one table each.'),
});

type Full = z.output<typeof fullSchema>;
type Stream = z.output<typeof streamSchema>;

/** What the documentation's tables of keys are made of. */
export const documented = {
  flat: flatSchema.shape,
  full: fullSchema.shape,
  stream: streamSchema.shape,
};

/** The JSON Schema of the full form, for editors. */
export function jsonSchema(): object {
  const stream = z.toJSONSchema(streamSchema, { io: 'input', unrepresentable: 'any' });
  const schema = z.toJSONSchema(fullSchema, { io: 'input', unrepresentable: 'any' }) as {
    properties: Record<string, object>;
  };
  const { required: _required, ...partial } = stream;
  return {
    ...schema,
    title: 'Highwater, full form',
    properties: {
      $schema: { type: 'string' },
      ...schema.properties,
      defaults: partial,
      // What a stream must have may stand in `defaults`.
      streams: { type: 'array', minItems: 1, items: { ...partial, required: ['name'] } },
    },
  };
}

export const isFull = (raw: unknown): boolean =>
  typeof raw === 'object' && raw !== null && ('streams' in raw || 'source' in raw);

/** How the sync as a whole is to run. */
export interface SyncShape {
  name: string | null;
  maxStreams: number;
}

/**
 * Checks a configuration in full form and turns it into a plan for each stream.
 * @param draft columns, primary key and cursor field need not be given, and need not agree.
 * @throws {ConfigurationError} with every problem at once.
 */
export function plansFromFull(
  raw: unknown,
  file?: string,
  draft = false,
): { plans: StreamPlan[]; shape: SyncShape } {
  const misshapen = shapeProblem(raw);
  if (misshapen !== null) throw new ConfigurationError([misshapen], file);
  const { $schema: _schema, ...rest } = raw as Record<string, unknown>;
  const parsed = fullSchema.safeParse(rest, { reportInput: true });
  const problems: Problem[] = (parsed.error?.issues ?? []).flatMap((issue) =>
    describe(issue, rest, keysAt(issue.path)),
  );
  const lists = rest as { defaults?: unknown; streams?: unknown };
  const defaults = isObject(lists.defaults) ? lists.defaults : {};
  const streams = (Array.isArray(lists.streams) ? lists.streams : []).filter(isObject);
  const sound = streams.map((stream, i) => {
    const merged = { ...defaults, ...stream };
    const read = (draft ? draftSchema : streamSchema).safeParse(merged, { reportInput: true });
    const where = (key: string) =>
      Object.hasOwn(stream, key) || !Object.hasOwn(defaults, key) ? `streams[${i}]` : 'defaults';
    const keys = (path: readonly PropertyKey[]) => (path.length === 0 ? STREAM_KEYS : keysIn(path));
    const own = [
      ...(read.error?.issues ?? []).flatMap((issue) => describe(issue, merged, keys(issue.path))),
      ...(read.data === undefined ? [] : inconsistent(read.data, draft)),
    ];
    for (const problem of own) {
      const path = `${where(/^[^.[]*/.exec(problem.path)?.[0] ?? '')}.${problem.path}`;
      // What is wrong in the defaults is said once.
      if (!problems.some((known) => known.path === path)) problems.push({ ...problem, path });
    }
    return read.data;
  });
  problems.push(...twice(sound));
  if (parsed.data !== undefined && /[?#]/.test(parsed.data.source.base_url)) {
    problems.push({ path: 'source.base_url', message: 'must not hold a query; write it under "params"' });
  }
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems, file);
  const full = parsed.data;
  return {
    plans: sound.flatMap((stream) => (stream === undefined ? [] : planOf(full, stream))),
    shape: { name: full.sync.name ?? null, maxStreams: full.sync.max_streams },
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const STREAM_KEYS = Object.keys(streamSchema.shape);
const NAME_KEYS = Object.keys(streamSchema.shape.names.unwrap().shape);
const keysIn = (path: readonly PropertyKey[]) =>
  path[0] === 'names' ? NAME_KEYS : ['token', 'url', 'header', 'is'];

function keysAt(path: readonly PropertyKey[]): string[] {
  switch (path[0]) {
    case 'sync':
      return Object.keys(fullSchema.shape.sync.unwrap().shape);
    case 'source':
      return path[1] === 'auth'
        ? ['type', 'username', 'password', 'token', 'name', 'value', 'in']
        : Object.keys(fullSchema.shape.source.shape);
    default:
      return Object.keys(fullSchema.shape);
  }
}

/** What a stream's keys allow on their own but not together. */
function inconsistent(stream: Stream, draft: boolean): Problem[] {
  const problems = contradictions(stream, new Set(draft ? FOUND_BY_DISCOVER : []));
  const needs = (path: string, message: string) => problems.push({ path, message });
  const { strategy, names } = stream;
  const lacksField = stream.cursor_field === undefined && !draft;
  if (['keyset', 'timestamp', 'replay'].includes(strategy) && lacksField) {
    needs('cursor_field', `is needed: ${strategy} goes by the field that says when a record changed last`);
  }
  const incremental = strategy === 'page_number' || strategy === 'cursor';
  if (incremental && names.updated_since !== undefined && lacksField) {
    needs('cursor_field', 'is needed, as names.updated_since says that only changes are asked for');
  }
  for (const key of ['start', 'lookback'] as const) {
    if (stream[key] !== undefined && (!incremental || names.updated_since === undefined)) {
      needs(key, 'has no effect without strategy page_number or cursor and names.updated_since');
    }
  }
  if (stream.start !== undefined && Number.isNaN(Date.parse(stream.start))) {
    needs('start', `${JSON.stringify(stream.start)} is not a timestamp such as "2026-01-01T00:00:00Z"`);
  }
  if (strategy === 'cursor' && stream.next === undefined) {
    needs('next', 'is needed: "link", {"token": "path"}, {"url": "path"}, {"header": "name"} or "last_key"');
  }
  if (stream.next?.in === 'last_key' && strategy !== 'cursor')
    needs('next', '"last_key" goes with the strategy cursor only');
  if (stream.next?.in === 'last_key' && stream.more === undefined) {
    needs('more', 'is needed beside next "last_key", or the end could not be told');
  }
  if (stream.short_page_ends && stream.page_size === undefined) {
    needs('page_size', 'is needed beside short_page_ends, or no page is short');
  }
  return problems;
}

/** Names and tables that more than one stream has. */
function twice(streams: (Stream | undefined)[]): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, number>();
  streams.forEach((stream, i) => {
    if (stream === undefined) return;
    for (const [key, text] of [
      ['name', stream.name],
      ['table', `${stream.schema}.${stream.table ?? stream.name}`],
    ] as const) {
      const folded = `${key} ${text.toLowerCase()}`;
      const first = seen.get(folded);
      if (
        first !== undefined &&
        !(key === 'table' && seen.get(`name ${stream.name.toLowerCase()}`) === first)
      ) {
        problems.push({
          path: `streams[${i}].${key}`,
          message: `${JSON.stringify(text)} is that of streams[${first}] too`,
        });
      }
      if (first === undefined) seen.set(folded, i);
    }
  });
  return problems;
}

function planOf(full: Full, stream: Stream): StreamPlan {
  const { source } = full;
  const request: RequestSpec = {
    names: Object.fromEntries(
      Object.entries(stream.names).filter(([, name]) => name !== undefined),
    ) as Record<string, string>,
    params: { ...source.params, ...stream.params },
    headers: { ...source.headers, ...stream.headers },
    auth: stream.auth ?? source.auth,
    records: stream.records,
    next:
      stream.next === undefined || stream.next.in === 'last_key'
        ? { in: 'body', path: ['scroll_param'], isAddress: false }
        : stream.next,
    total: stream.total ?? null,
    more: stream.more ?? null,
  };
  return {
    ...planBeside(
      { ...stream, destination: full.destination, interval: full.interval },
      stream.table ?? stream.name,
    ),
    stream: stream.name,
    baseUrl:
      source.base_url.replace(/\/+$/, '') + (/^[/?]|^$/.test(stream.path) ? stream.path : `/${stream.path}`),
    request,
    options: optionsOf(stream),
    cursorField: stream.cursor_field ?? '',
    notes: [],
  };
}

function optionsOf(stream: Stream): StrategyOptions {
  const incremental: Incremental | null =
    stream.names.updated_since === undefined
      ? null
      : { start: stream.start ?? null, lookbackSeconds: stream.lookback ?? 0 };
  const pageSize = stream.page_size ?? null;
  switch (stream.strategy) {
    case 'page_number':
      return {
        strategy: 'page_number',
        firstPage: stream.first_page,
        pageSize,
        shortPageEnds: stream.short_page_ends,
        incremental,
      };
    case 'cursor':
      return { strategy: 'cursor', pageSize, tokenIsLastKey: stream.next?.in === 'last_key', incremental };
    default:
      return strategyOptions({ ...stream, strategy: stream.strategy, page_size: pageSize ?? 100 });
  }
}

/** The name nearest to one that is not there. */
export function unknownStream(name: string, plans: readonly StreamPlan[]): string {
  const names = plans.map((plan) => plan.stream);
  return `there is no stream ${JSON.stringify(name)}${suggestion(name, names)}; there are ${names.join(', ')}`;
}
