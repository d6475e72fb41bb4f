import { z } from 'zod';
import { ConfigurationError, messageOf, type Problem } from '../errors.js';
import { valuesOf, type Values } from '../strategies/index.js';
import {
  ERROR_ACTIONS,
  STRATEGIES,
  type AnswerPath,
  type Auth,
  type ErrorRule,
  type CursorFormat,
  type Incremental,
  type RecordShape,
  type RequestSpec,
  type StrategyOptions,
  type StreamPlan,
} from '../protocol.js';
import { filterProblem, jsonPathProblem } from '../sources/paths.js';
import { referred } from '../sources/templates.js';
import {
  columnsOf,
  columnType,
  contradictions,
  describe,
  duration,
  flatFields,
  identifier,
  isCredential,
  baseUrl,
  numeric,
  planBeside,
  REFERENCE,
  shapeProblem,
  strategyOptions,
  suggestion,
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
  );

const plainText = z
  .string()
  .max(8192)
  .refine(...withoutControl);

const SECRET_IN_THE_OPEN =
  'looks like a credential, which would stay in the workflow\'s history; write "${env:NAME}" in its place';

/** Members, however deep, whose name says that they hold a credential and whose text is no reference. */
function openSecrets(value: unknown, path: PropertyKey[] = []): PropertyKey[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, name];
    if (typeof inner === 'object') return openSecrets(inner, at);
    const isSecret = isCredential(name) || /^(authorization|cookie)$/i.test(name);
    return isSecret && typeof inner === 'string' && !REFERENCE_IN.test(inner) ? [at] : [];
  });
}

/** Refuses credentials in the open. */
function withoutOpenSecrets(value: unknown, context: z.RefinementCtx): void {
  for (const path of openSecrets(value))
    context.addIssue({ code: 'custom', path, message: SECRET_IN_THE_OPEN });
}

/** Names and values of headers or parameters; what a name says is a credential must be a reference. */
const pairs = (what: RegExp) =>
  z
    .record(
      z.string().regex(what, 'is not a name that can be sent'),
      z.union([plainText, z.number(), z.boolean()]).transform(String),
    )
    .superRefine(withoutOpenSecrets);

const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/;
const headers = pairs(HEADER_NAME);
const headerName = z.string().regex(HEADER_NAME, 'is not the name of a header');
const PARAMETER_NAME = /^[^\s&=#]{1,200}$/;
const parameters = pairs(PARAMETER_NAME);

const body = z.json().superRefine(withoutOpenSecrets);
const bodyAs = z.enum(['json', 'form']).default('json');

const PLAIN_PATH = /^(\$|(\$\.)?[^.[\]*$?@]+(\.[^.[\]*$?@]+)*)$/;

/** "data.items" or "$.data.items" → the members on the way. */
const memberPath = z
  .string()
  .max(500)
  .regex(PLAIN_PATH, 'is not a path of members such as "user.login"')
  .transform(members);

function members(text: string): string[] {
  return text === '$' ? [] : text.replace(/^\$\./, '').split('.');
}

/** As {@link memberPath}, or any JSONPath; "$" is the answer itself. */
const answerPath = z
  .string()
  .max(500)
  .transform((text, context): AnswerPath => {
    if (PLAIN_PATH.test(text)) return members(text);
    const problem = text.startsWith('$') ? jsonPathProblem(text) : 'it has no "$"';
    if (problem === null) return text;
    context.addIssue({
      code: 'custom',
      message: `is neither a path of members such as "data.items" nor a JSONPath such as "$.edges[*].node": ${problem}`,
    });
    return z.NEVER;
  });

const place = z.enum(['header', 'query', 'cookie']).default('header');
const credentialName = z.string().regex(/^[A-Za-z0-9_.[\]-]{1,200}$/, 'is not a name that can be sent');

const authKinds = {
  none: z.strictObject({ type: z.literal('none') }),
  basic: z.strictObject({ type: z.literal('basic'), username: plainText, password: secret }),
  bearer: z.strictObject({ type: z.literal('bearer'), token: secret }),
  api_key: z.strictObject({
    type: z.literal('api_key'),
    name: credentialName,
    value: secret,
    in: place,
  }),
  session: z.strictObject({
    type: z.literal('session'),
    login: z
      .strictObject({
        url: plainText.describe('An address, or a path after the base_url.'),
        method: z.enum(['GET', 'POST']).default('POST'),
        headers: headers.default({}),
        body: body.optional().describe('What is sent, with references to user and password.'),
        body_as: bodyAs,
      })
      .describe('The request that gives the token.'),
    token: answerPath.default(['token']).describe("Where the login's answer has the token."),
    expires_in: answerPath.optional().describe('Where it says for how many seconds the token is good.'),
    name: credentialName.default('Authorization').describe('Where the token goes.'),
    prefix: plainText.default('Bearer ').describe('What stands before it.'),
    in: place,
  }),
  oauth2: z.strictObject({
    type: z.literal('oauth2'),
    token_url: baseUrl.describe('Where tokens are given.'),
    client_id: plainText,
    client_secret: secret,
    refresh_token: secret
      .optional()
      .describe(
        'Without one, client credentials are asked with. One that the server replaces is kept, encrypted.',
      ),
    client_auth: z.enum(['body', 'basic']).default('body').describe('How the client says who it is.'),
    scopes: z.array(plainText).default([]),
    params: parameters.default({}).describe('Sent beside, such as audience.'),
  }),
  signature: z.strictObject({
    type: z.literal('signature'),
    hook: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,100}$/, 'is not the name of a hook: letters, digits, "-" and "_"')
      .describe("NAME.mjs in the worker's folder of hooks (HIGHWATER_HOOKS, else ./hooks)."),
    settings: z
      .record(z.string().max(200), plainText)
      .superRefine(withoutOpenSecrets)
      .default({})
      .describe('What the hook is told.'),
  }),
};

const auth = z.discriminatedUnion('type', [
  authKinds.none,
  authKinds.basic,
  authKinds.bearer,
  authKinds.api_key,
  authKinds.session,
  authKinds.oauth2,
  authKinds.signature,
]);

/** @param base what the path of a login stands behind. */
function authOf(given: z.output<typeof auth>, base: string): Auth {
  switch (given.type) {
    case 'session': {
      const { login, expires_in: expiresIn, ...rest } = given;
      return {
        ...rest,
        login: {
          url: joined(base, login.url),
          method: login.method,
          headers: login.headers,
          body: login.body ?? null,
          bodyAs: login.body_as,
        },
        expiresIn: expiresIn ?? null,
      };
    }
    case 'oauth2':
      return {
        type: 'oauth2',
        tokenUrl: given.token_url,
        clientId: given.client_id,
        clientSecret: given.client_secret,
        clientAuth: given.client_auth,
        refreshToken: given.refresh_token ?? null,
        scopes: given.scopes,
        params: given.params,
      };
    default:
      return given;
  }
}

/** A path after an address; another address is one by itself. */
function joined(base: string, path: string): string {
  if (/^https?:\/\//i.test(path)) return path;
  return base.replace(/\/+$/, '') + (/^[/?]|^$/.test(path) ? path : `/${path}`);
}

const STATUS = /^[1-5][0-9x][0-9x]$/;
const status = z
  .union([z.number().int(), z.string()])
  .transform(String)
  .refine((text) => STATUS.test(text), 'is not a status such as 404 or "5xx"');

const errorRule = z
  .strictObject({
    status: z
      .union([status.transform((one) => [one]), z.array(status).min(1).max(50)])
      .optional()
      .describe('404, "5xx", or a list; any other than 2xx unless told.'),
    body: z
      .string()
      .max(500)
      .refine(isRegExp, 'is not a regular expression')
      .optional()
      .describe('A regular expression that the body matches, in any case.'),
    path: answerPath.optional().describe('What the body, as JSON, has; of answers of any status.'),
    action: z.enum(ERROR_ACTIONS).describe('What to do.'),
    wait: duration.optional().describe('wait: for how long, where the answer does not say.'),
  })
  .refine(
    (rule) => rule.status !== undefined || rule.body !== undefined || rule.path !== undefined,
    'must say which answers it is for: status, body or path',
  )
  .refine((rule) => rule.wait === undefined || rule.action === 'wait', {
    path: ['wait'],
    message: 'goes with the action wait',
  })
  .transform((rule): ErrorRule => ({
    statuses: rule.status ?? null,
    body: rule.body ?? null,
    path: rule.path ?? null,
    action: rule.action,
    waitSeconds: rule.wait ?? 60,
  }));
const errorRules = z.array(errorRule).max(100);

function isRegExp(text: string): boolean {
  try {
    return new RegExp(text).source !== '';
  } catch {
    return false;
  }
}

const rateLimit = z.strictObject({
  requests_per_second: numeric(z.number().positive().max(10_000)).optional(),
  concurrency: numeric(z.number().int().min(1).max(1000)).optional().describe('Requests at once.'),
  remaining_header: headerName
    .optional()
    .describe('Says how many requests are left; X-RateLimit-Remaining and its like are known.'),
  reset_header: headerName.optional().describe('Says when there are more again.'),
});

const column = z.union([
  columnType.transform((type) => ({ type, from: null })),
  z.strictObject({
    type: columnType,
    from: memberPath.describe('Where the record has the value: "user.login".'),
  }),
]);

const next = z.union([
  z.literal('link').transform(() => ({ in: 'link', isAddress: true }) as const),
  z.literal('last_key').transform(() => ({ in: 'last_key' }) as const),
  z.literal('last_record').transform(() => ({ in: 'last_record' }) as const),
  z.literal('none').transform(() => ({ in: 'none' }) as const),
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

const FORMATS = ['timestamp', 'epoch_s', 'epoch_ms', 'integer', 'string'] as const;

/** A value of the cursor field. */
const cursorValue = z
  .union([plainText.min(1), z.number().refine(Number.isFinite)])
  .transform((value) => String(value));

const lookback = z.union([
  duration.transform((seconds) => ({ seconds })),
  numeric(z.number().int().min(1)).transform((units) => ({ units })),
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
  name: identifier.describe('What the stream is called; also its table, unless `table` says otherwise.'),
  path: plainText.default('').describe('Appended to the base_url.'),
  method: z.enum(['GET', 'POST']).default('GET').describe('How the source is asked.'),
  body: body
    .optional()
    .describe('POST: what is sent; texts may refer to `${cursor:NAME}` and `${parent:FIELD}`.'),
  body_as: bodyAs.describe('POST: how the body is written.'),
  params: parameters.default({}).describe('Sent with every request.'),
  headers: headers.default({}).describe('Sent with every request, beside those of the source.'),
  auth: auth.optional().describe('In place of that of the source.'),
  records: answerPath
    .default(['data'])
    .describe('Where the list of records is: "data.items"; "$" is the answer itself; or any JSONPath.'),
  format: z.enum(['json', 'ndjson', 'csv']).default('json').describe('What the answers are; gzip is seen.'),
  single: z.boolean().default(false).describe('The answer holds one record, and no list.'),
  where: z
    .string()
    .max(2000)
    .superRefine((text, context) => {
      const problem = filterProblem(text);
      if (problem !== null) {
        const message = `is not a JSONPath filter such as "@.status == 'open'": ${problem}`;
        context.addIssue({ code: 'custom', message });
      }
    })
    .optional()
    .describe('Which records are kept: a JSONPath filter such as "@.status == \'open\'".'),
  columns: columnsOf(column).describe(
    'Column names and types, or {type, from} where the record has the value elsewhere.',
  ),
  parent: z
    .strictObject({
      stream: identifier.describe('The stream whose rows are the parents.'),
      include: z
        .record(identifier, identifier)
        .default({})
        .describe("Columns that take the value of a parent's: {company_id: id}."),
    })
    .optional()
    .describe('A request is made for each row of another stream; `${parent:COLUMN}` refers to it.'),
  errors: errorRules.default([]).describe('Rules for answers that are no page, before those of the source.'),
  cursor_field: identifier.optional().describe('The field that says when a record changed last.'),
  strategy: z.enum(STRATEGIES).describe('How the source is read.'),
  ...shared,
  table: shared.table.unwrap().optional().describe('The table.'),
  page_size: pageSize.unwrap().optional().describe('Records a page.'),
  names: z
    .strictObject({
      page: parameterName,
      offset: parameterName,
      limit: parameterName,
      updated_since: parameterName,
      updated_until: parameterName,
      since: parameterName,
      scroll_param: parameterName,
      start_id: parameterName,
      end_id: parameterName,
    })
    .partial()
    .default({})
    .describe("The API's own names of the parameters."),
  next: next
    .optional()
    .describe(
      'cursor, keyset: what the next page is asked for by: "link", {"token": path}, {"url": path}, {"header": name}; ' +
        'cursor also "last_key" (the last record\'s key), "last_record" (its cursor value and its key), "none" (one answer is all).',
    ),
  total: answerPath.optional().describe('Where the answer counts all records.'),
  total_pages: answerPath.optional().describe('page_number: where the answer counts all pages.'),
  more: answerPath.optional().describe('Where the answer says, by true or false, whether there is more.'),
  ends: z
    .strictObject({ path: answerPath, is: z.union([plainText, z.number(), z.boolean(), z.null()]) })
    .optional()
    .describe('There is no more where the answer has this value at this path.'),
  first_page: numeric(z.number().int().min(0).max(1)).default(1).describe('page_number: the first page.'),
  short_page_ends: z
    .boolean()
    .default(false)
    .describe('page_number, offset, cursor: a page that is not full is the last one.'),
  cursor_format: z
    .union([z.enum(FORMATS), plainText.min(1).max(100)])
    .default('timestamp')
    .describe(
      'How the cursor field is written: timestamp (ISO 8601), epoch_s, epoch_ms, integer, string, or a pattern of luxon\'s tokens such as "dd/MM/yyyy HH:mm:ss".',
    ),
  cursor_zone: plainText
    .optional()
    .describe('The time zone of a pattern that names none, such as "Europe/Berlin"; UTC unless told.'),
  start: cursorValue.optional().describe('What the first pass asks for; everything unless told.'),
  lookback: lookback
    .optional()
    .describe(
      'How far before the newest record a pass begins: a duration, or a number where the cursor field is an integer.',
    ),
  settle: duration
    .optional()
    .describe(
      'Records newer than this when a pass begins are left to the next one (names.updated_until), or read again by it.',
    ),
  window: duration
    .optional()
    .describe('From start on, a pass asks for so much time after the other; needs names.updated_until.'),
});

const fullSchema = z.strictObject({
  sync: z
    .strictObject({
      name: identifier.optional().describe('What the sync is called.'),
      max_streams: numeric(z.number().int().min(1).max(50)).default(4).describe('Streams read at once.'),
    })
    .prefault({}),
  source: z.strictObject({
    base_url: baseUrl.describe('What the paths of the streams are appended to.'),
    headers: headers.default({}),
    params: parameters.default({}),
    auth: auth.default({ type: 'none' }),
    rate_limit: rateLimit.optional().describe('What all streams together may ask of the source.'),
    errors: errorRules.default([]).describe('Rules for answers that are no page.'),
    timeout: shared.timeout.unwrap().optional().describe('How long one answer may take.'),
    retry_for: shared.retry_for.unwrap().optional().describe('For how long a silent source is tried again.'),
  }),
  destination,
  interval,
  defaults: z.record(z.string(), z.unknown()).default({}).describe('What streams that leave it out have.'),
  streams: z.array(z.record(z.string(), z.unknown())).min(1).max(500),
});

type Full = z.output<typeof fullSchema>;
type Stream = z.output<typeof streamSchema>;

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
 * @throws {ConfigurationError} with every problem at once.
 */
export function plansFromFull(raw: unknown, file?: string): { plans: StreamPlan[]; shape: SyncShape } {
  const misshapen = shapeProblem(raw);
  if (misshapen !== null) throw new ConfigurationError([misshapen], file);
  const { $schema: _schema, ...rest } = raw as Record<string, unknown>;
  const parsed = fullSchema.safeParse(rest, { reportInput: true });
  const problems: Problem[] = (parsed.error?.issues ?? []).flatMap((issue) =>
    describe(issue, rest, keysAt(issue.path)),
  );
  const lists = rest as { defaults?: unknown; streams?: unknown };
  const defaults = isObject(lists.defaults) ? lists.defaults : {};
  const sourceDefaults = isObject(rest['source']) ? pick(rest['source'], ['timeout', 'retry_for']) : {};
  const streams = (Array.isArray(lists.streams) ? lists.streams : []).filter(isObject);
  const sound = streams.map((stream, i) => {
    const merged = { ...sourceDefaults, ...defaults, ...stream };
    const read = streamSchema.safeParse(merged, { reportInput: true });
    const where = (key: string) =>
      Object.hasOwn(stream, key) || !Object.hasOwn(defaults, key) ? `streams[${i}]` : 'defaults';
    const keys = (path: readonly PropertyKey[]) => (path.length === 0 ? STREAM_KEYS : keysIn(path));
    const own = [
      ...(read.error?.issues ?? []).flatMap((issue) => describe(issue, merged, keys(issue.path))),
      ...(read.data === undefined ? [] : inconsistent(read.data)),
    ];
    for (const problem of own) {
      const path = `${where(/^[^.[]*/.exec(problem.path)?.[0] ?? '')}.${problem.path}`;
      // What is wrong in the defaults is said once.
      if (!problems.some((known) => known.path === path)) problems.push({ ...problem, path });
    }
    return read.data;
  });
  problems.push(...twice(sound), ...orphans(sound));
  if (parsed.data !== undefined && /[?#]/.test(parsed.data.source.base_url)) {
    problems.push({ path: 'source.base_url', message: 'must not hold a query; write it under "params"' });
  }
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems, file);
  const full = parsed.data;
  return {
    plans: streamsOf(sound).map((stream, _, all) => planOf(full, stream, all)),
    shape: { name: full.sync.name ?? null, maxStreams: full.sync.max_streams },
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const STREAM_KEYS = Object.keys(streamSchema.shape);
const NAME_KEYS = Object.keys(streamSchema.shape.names.unwrap().shape);
const AUTH_KEYS = [...new Set(Object.values(authKinds).flatMap((kind) => Object.keys(kind.shape)))];
const KEYS_IN: Record<string, string[]> = {
  names: NAME_KEYS,
  auth: AUTH_KEYS,
  errors: ['status', 'body', 'path', 'action', 'wait'],
  parent: ['stream', 'include'],
  columns: ['type', 'from'],
  ends: ['path', 'is'],
};
const keysIn = (path: readonly PropertyKey[]) => KEYS_IN[String(path[0])] ?? ['token', 'url', 'header', 'is'];

const pick = (from: Record<string, unknown>, keys: readonly string[]) =>
  Object.fromEntries(keys.flatMap((key) => (Object.hasOwn(from, key) ? [[key, from[key]]] : [])));

function keysAt(path: readonly PropertyKey[]): string[] {
  switch (path[0]) {
    case 'sync':
      return Object.keys(fullSchema.shape.sync.unwrap().shape);
    case 'source':
      return path[1] === 'auth' ? AUTH_KEYS : Object.keys(fullSchema.shape.source.shape);
    default:
      return Object.keys(fullSchema.shape);
  }
}

/** What a stream's keys allow on their own but not together. */
function inconsistent(stream: Stream): Problem[] {
  const problems = contradictions({ ...stream, columns: typesOf(stream) });
  const needs = (path: string, message: string) => problems.push({ path, message });
  const { strategy, names } = stream;
  if (['keyset', 'timestamp', 'replay'].includes(strategy) && stream.cursor_field === undefined) {
    needs('cursor_field', `is needed: ${strategy} goes by the field that says when a record changed last`);
  }
  const { next } = stream;
  const byRecord = next?.in === 'last_record';
  if (['page_number', 'cursor', 'offset'].includes(strategy) && stream.cursor_field === undefined) {
    if (byRecord) needs('cursor_field', 'is needed: next "last_record" asks by it');
    else if (names.updated_since !== undefined) {
      needs('cursor_field', 'is needed, as names.updated_since says that only changes are asked for');
    }
  }
  problems.push(...misread(stream));
  if (strategy === 'cursor' && next === undefined) {
    needs(
      'next',
      'is needed: "link", {"token": "path"}, {"url": "path"}, {"header": "name"}, "last_key", "last_record" or "none"',
    );
  }
  if (next?.in === 'last_key' || byRecord || next?.in === 'none') {
    const name = JSON.stringify(next.in);
    if (strategy !== 'cursor') needs('next', `${name} goes with the strategy cursor only`);
    else if (next.in !== 'none' && stream.primary_key.length > 1) {
      needs('next', `${name} asks by one key, and primary_key names ${stream.primary_key.length}`);
    } else if (byRecord && names.updated_since === undefined) {
      needs('names.updated_since', 'is needed: next "last_record" asks by it');
    }
  }
  if (stream.body !== undefined && stream.method === 'GET')
    needs('method', 'must be POST, as there is a body');
  if (
    stream.format !== 'json' &&
    strategy === 'cursor' &&
    !['link', 'header', 'last_key', 'last_record', 'none'].includes(stream.next?.in ?? '')
  ) {
    needs('next', `cannot be in the body, as that is ${stream.format}`);
  }
  const { cursor_field: field } = stream;
  if (field !== undefined && shapeOf(stream) !== null && !Object.hasOwn(stream.columns, field))
    needs(
      'cursor_field',
      `${JSON.stringify(field)} must be one of the columns, as records are made into rows first`,
    );
  for (const name of referred([stream.path, stream.params, stream.headers, stream.body], 'cursor')) {
    if (!CURSOR_VALUES.includes(name)) {
      needs(
        'body',
        `\${cursor:${name}} is not known${suggestion(name, CURSOR_VALUES)}; there are ${CURSOR_VALUES.join(', ')}`,
      );
    }
  }
  if (stream.parent === undefined) {
    for (const name of referred([stream.path, stream.params, stream.headers, stream.body], 'parent'))
      needs('parent', `is needed, as \${parent:${name}} refers to one`);
    if (stream.errors.some(({ action }) => action === 'skip_parent'))
      needs('errors', 'skip_parent goes with a parent');
  }
  for (const name of Object.keys(stream.parent?.include ?? {})) {
    if (!Object.hasOwn(stream.columns, name))
      needs('parent.include', `${JSON.stringify(name)} must be one of the columns`);
  }
  if (stream.short_page_ends && stream.page_size === undefined && strategy !== 'offset') {
    needs('page_size', 'is needed beside short_page_ends, or no page is short');
  }
  if (stream.total_pages !== undefined && strategy !== 'page_number') {
    needs('total_pages', 'has no effect without strategy page_number');
  }
  if (stream.full_rescan !== undefined && strategy === 'offset' && names.updated_since !== undefined) {
    needs(
      'full_rescan',
      'has no effect beside names.updated_since: each pass begins at the start of the list',
    );
  }
  return problems;
}

/** What strategies send. */
const CURSOR_VALUES = [...NAME_KEYS];

/** Streams whose parent is not there, comes round to themselves, or lacks a field. */
function orphans(streams: (Stream | undefined)[]): Problem[] {
  const problems: Problem[] = [];
  const find = (name: string | undefined) => streams.find((stream) => stream?.name === name);
  streams.forEach((stream, i) => {
    if (stream?.parent === undefined) return;
    const say = (key: string, message: string) => problems.push({ path: `streams[${i}].${key}`, message });
    const parent = find(stream.parent.stream);
    if (parent === undefined) {
      const names = streams.flatMap((one) => one?.name ?? []);
      say(
        'parent.stream',
        `there is no stream ${JSON.stringify(stream.parent.stream)}${suggestion(stream.parent.stream, names)}`,
      );
      return;
    }
    let above: Stream | undefined = stream;
    for (let steps = 0; above !== undefined && steps <= streams.length; steps++)
      above = find(above.parent?.stream);
    if (above !== undefined) {
      say('parent.stream', 'leads round to this stream itself');
      return;
    }
    for (const field of fieldsOf(stream)) {
      if (!Object.hasOwn(parent.columns, field)) {
        const names = Object.keys(parent.columns);
        say(
          'parent',
          `stream ${parent.name} has no column ${JSON.stringify(field)}${suggestion(field, names)}`,
        );
      }
    }
  });
  return problems;
}

/** Columns of the parent that a stream refers to. */
function fieldsOf(stream: Stream): string[] {
  const texts = [stream.path, stream.params, stream.headers, stream.body];
  return [...new Set([...referred(texts, 'parent'), ...Object.values(stream.parent?.include ?? {})])];
}

/** How a record becomes a row; null where it is one as it stands. */
function shapeOf({ columns, parent, where }: Stream): RecordShape | null {
  const from = Object.fromEntries(
    Object.entries(columns).flatMap(([name, { from }]) => (from === null ? [] : [[name, from]])),
  );
  const include = parent?.include ?? {};
  if (where === undefined && Object.keys(from).length === 0 && Object.keys(include).length === 0) return null;
  return { from, parent: include, where: where ?? null };
}

/** What is wrong with how the cursor field is read, or bounded. */
function misread(stream: Stream): Problem[] {
  const { strategy, names, start, lookback, settle, window } = stream;
  const problems: Problem[] = [];
  const needs = (path: string, message: string) => problems.push({ path, message });
  const isPaged = ['page_number', 'cursor', 'offset'].includes(strategy);
  if (strategy === 'step_size' || (isPaged && names.updated_since === undefined)) {
    const asked = {
      start,
      lookback,
      settle,
      window,
      cursor_zone: stream.cursor_zone,
      cursor_format: stream.cursor_format === 'timestamp' ? undefined : stream.cursor_format,
      'names.updated_until': names.updated_until,
    };
    for (const [key, value] of Object.entries(asked)) {
      const where = isPaged ? 'names.updated_since' : 'a strategy that reads a cursor field';
      if (value !== undefined) needs(key, `has no effect without ${where}`);
    }
    return problems;
  }
  const format = formatOf(stream);
  if (typeof format === 'string' && stream.cursor_zone !== undefined) {
    needs('cursor_zone', 'goes with a cursor_format that is a pattern, such as "yyyy-MM-dd HH:mm:ss"');
  }
  const values = usable(stream, needs);
  if (values === null) return problems;
  if (start !== undefined && !values.isValue(start)) {
    const example = format === 'timestamp' ? ' such as "2026-01-01T00:00:00Z"' : '';
    needs('start', `${JSON.stringify(start)} is not ${values.what}${example}`);
  }
  if (lookback !== undefined && strategy === 'replay')
    needs('lookback', 'is buffer_hours for the strategy replay');
  else if (lookback !== undefined && format === 'string') {
    needs('lookback', 'cannot be taken from a text; leave it out');
  } else if (lookback !== undefined && 'units' in lookback !== (format === 'integer')) {
    needs(
      'lookback',
      format === 'integer'
        ? 'must be a whole number, as the cursor field is'
        : 'must be a duration such as "1h"',
    );
  }
  if (values.clock === null) {
    if (strategy === 'replay')
      needs('cursor_format', `replay goes back by hours, and ${values.what} is no time`);
    for (const [key, value] of Object.entries({
      settle,
      window,
      'names.updated_until': names.updated_until,
    })) {
      if (value !== undefined) needs(key, `is a bound in time, and ${values.what} is none`);
    }
  } else if (window !== undefined) {
    if (!isPaged) needs('window', 'goes with the strategies page_number, cursor and offset');
    if (names.updated_until === undefined)
      needs('window', 'needs names.updated_until: what a window ends by');
    if (start === undefined) needs('window', 'needs "start": where the first window begins');
    else if (values.isValue(start) && window * 1000 < values.clock.unit(start)) {
      needs('window', `is shorter than what ${JSON.stringify(start)} can show`);
    }
  }
  return problems;
}

/** The values of the format, or null where it is said that there are none. */
function usable(stream: Stream, needs: (path: string, message: string) => void): Values | null {
  const { cursor_format: pattern, cursor_zone: zone } = stream;
  const read = (path: string, format: CursorFormat, hint: string): Values | null => {
    try {
      return valuesOf(format);
    } catch (thrown) {
      needs(path, `${messageOf(thrown)}${hint}`);
      return null;
    }
  };
  if (zone !== undefined && read('cursor_zone', { pattern: 'yyyy-MM-dd', zone }, '') === null) return null;
  const known = `${suggestion(pattern, FORMATS)}; there are ${FORMATS.join(', ')} and patterns such as "dd/MM/yyyy HH:mm:ss"`;
  return read('cursor_format', formatOf(stream), known);
}

function formatOf({ cursor_format: format, cursor_zone: zone }: Stream): CursorFormat {
  const known = FORMATS.find((name) => name === format);
  return known ?? { pattern: format, zone: zone ?? 'UTC' };
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

function planOf(full: Full, stream: Stream, streams: readonly Stream[]): StreamPlan {
  const { source } = full;
  const limit = source.rate_limit;
  const request: RequestSpec = {
    method: stream.method,
    ...(stream.body !== undefined && { body: stream.body, bodyAs: stream.body_as }),
    format: stream.format,
    single: stream.single,
    shape: shapeOf(stream),
    errors: [...stream.errors, ...source.errors],
    ...(limit !== undefined && {
      rateLimit: {
        requestsPerSecond: limit.requests_per_second ?? null,
        concurrency: limit.concurrency ?? null,
        remainingHeader: limit.remaining_header ?? null,
        resetHeader: limit.reset_header ?? null,
      },
    }),
    names: Object.fromEntries(
      Object.entries(stream.names).filter(([, name]) => name !== undefined),
    ) as Record<string, string>,
    params: { ...source.params, ...stream.params },
    headers: { ...source.headers, ...stream.headers },
    auth: authOf(stream.auth ?? source.auth, source.base_url),
    records: stream.records,
    next:
      stream.next === undefined ||
      stream.next.in === 'last_key' ||
      stream.next.in === 'last_record' ||
      stream.next.in === 'none'
        ? { in: 'body', path: ['scroll_param'], isAddress: false }
        : stream.next,
    total: stream.total ?? null,
    more: stream.more ?? null,
    totalPages: stream.total_pages ?? null,
    ends: stream.ends ?? null,
  };
  const parent = streams.find(({ name }) => name === stream.parent?.stream);
  return {
    ...planBeside(
      { ...stream, columns: typesOf(stream), destination: full.destination, interval: full.interval },
      stream.table ?? stream.name,
    ),
    stream: stream.name,
    baseUrl: joined(source.base_url, stream.path),
    request,
    options: optionsOf(stream),
    cursorField: stream.cursor_field ?? '',
    ...(parent !== undefined && {
      parent: {
        stream: parent.name,
        table: {
          schema: parent.schema,
          table: parent.table ?? parent.name,
          primaryKey: parent.primary_key,
          columns: typesOf(parent),
        },
        fields: fieldsOf(stream),
      },
    }),
    notes: [],
  };
}

const typesOf = ({ columns }: Stream) =>
  Object.fromEntries(Object.entries(columns).map(([name, { type }]) => [name, type]));

const streamsOf = (sound: (Stream | undefined)[]) => sound.filter((stream) => stream !== undefined);

function optionsOf(stream: Stream): StrategyOptions {
  const { strategy, lookback, settle, window, next } = stream;
  const changes: Incremental = {
    start: stream.start ?? null,
    lookbackSeconds: lookback === undefined ? 0 : 'units' in lookback ? lookback.units : lookback.seconds,
    format: formatOf(stream),
    ...(settle !== undefined && { settleSeconds: settle }),
    ...(stream.names.updated_until !== undefined && { sendsUntil: true }),
    ...(window !== undefined && { windowSeconds: window }),
  };
  const incremental = stream.names.updated_since === undefined ? null : changes;
  const pageSize = stream.page_size ?? null;
  const shortPageEnds = stream.short_page_ends;
  if (strategy === 'page_number') {
    return { strategy, firstPage: stream.first_page, pageSize, shortPageEnds, incremental };
  }
  if (strategy === 'cursor') {
    return {
      strategy,
      pageSize,
      tokenIsLastKey: next?.in === 'last_key',
      ...(next?.in === 'last_record' && { follows: 'last_record' }),
      ...(next?.in === 'none' && { follows: 'nothing' }),
      shortPageEnds,
      incremental,
    };
  }
  const columns = typesOf(stream);
  const options = strategyOptions({ ...stream, columns, strategy, page_size: pageSize ?? 100 });
  switch (options.strategy) {
    case 'offset':
      return { ...options, shortPageEnds, incremental };
    case 'keyset':
    case 'timestamp':
    case 'replay':
      return { ...options, incremental: changes };
    default:
      return options;
  }
}

/** The name nearest to one that is not there. */
export function unknownStream(name: string, plans: readonly StreamPlan[]): string {
  const names = plans.map((plan) => plan.stream);
  return `there is no stream ${JSON.stringify(name)}${suggestion(name, names)}; there are ${names.join(', ')}`;
}
