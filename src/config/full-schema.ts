import { z } from 'zod';
import { STRATEGIES } from '../protocol.js';
import { filterProblem } from '../request/paths.js';
import { baseUrl, columnsOf, duration, flatFields, flatSchema, identifier, numeric, themes } from './flat.js';
import {
  answerPath,
  answerPlace,
  auth,
  body,
  bodyAs,
  column,
  errorRules,
  headers,
  next,
  nextHosts,
  PARAMETER_NAME,
  parameters,
  path,
  plainText,
  rateLimit,
  withoutOpenSecrets,
} from './request-schema.js';

/** Formats of cursor fields, besides patterns. */
export const FORMATS = ['timestamp', 'rfc_2822', 'epoch_s', 'epoch_ms', 'integer', 'string'] as const;
/** Formats of times in requests, besides patterns. */
export const FILTER_FORMATS = ['timestamp', 'rfc_2822', 'epoch_s', 'epoch_ms'] as const;

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
  idle_interval,
  notify,
  strategy: _strategy,
  columns: _columns,
  page_size: pageSize,
  ...shared
} = flatFields;

/** Assigns fields to a theme of the documentation. */
function themed<T extends Record<string, z.ZodType>>(theme: string, fields: T): T {
  for (const field of Object.values(fields)) themes.add(field, { theme });
  return fields;
}

export const streamSchema = z.strictObject({
  ...shared,
  ...themed('The stream and its table', {
    name: identifier.describe('Name of the stream; also of its table, unless `table` says otherwise.'),
    strategy: z.enum(STRATEGIES).describe('The strategy for reading the source.'),
    table: shared.table.unwrap().optional().describe('The table. Default: the name of the stream.'),
    columns: columnsOf(column)
      .default({})
      .describe(
        'Column names and types, or `{type, from}` if the record has the value elsewhere; `highwater discover` finds them. Default: those of the records.',
      ),
    cursor_field: z
      .union([identifier.transform((name) => [name]), z.array(identifier).min(1).max(10)])
      .optional()
      .describe(
        'The field with the time of the last change; for a list of fields, the greatest value in the record.',
      ),
    deletes: z
      .enum(['keep', 'soft', 'hard'])
      .default('keep')
      .describe(
        'Treatment of rows that are gone from the source: `soft` sets `_highwater_deleted_at`, `hard` removes them. Rows are gone if a whole pass has not read them: page_number and cursor without `names.updated_since`, offset with `full_rescan: 1`; replay: within the time that it reads again. They are also gone if `deleted_field` says so.',
      ),
    deleted_field: identifier
      .optional()
      .describe(
        'The column that marks a record as deleted: true, a number other than 0, a time, or a text other than "false" and "no".',
      ),
    parent: z
      .strictObject({
        stream: identifier.describe('The stream that provides the parents.'),
        include: z
          .record(identifier, identifier)
          .default({})
          .meta({ title: 'column: parent column' })
          .describe("Columns that take the value of a parent's: `{company_id: id}`."),
      })
      .optional()
      .describe('Makes a request for each row of another stream; `${parent:COLUMN}` refers to it.'),
  }),
  ...themed('The request', {
    path: path.default('').describe('Appended to the base_url.'),
    method: z.enum(['GET', 'POST']).default('GET').describe('The HTTP method.'),
    body: body
      .optional()
      .describe('Body of a POST; texts may refer to `${cursor:NAME}` and `${parent:COLUMN}`.'),
    body_as: bodyAs.describe('Encoding of the body of a POST.'),
    params: parameters.default({}).describe('Sent with every request.'),
    headers: headers.default({}).describe('Sent with every request, in addition to those of the source.'),
    auth: auth.optional().describe('Replaces that of the source.'),
    page_size: pageSize.unwrap().optional().describe('Records per page. Default: not sent (offset: 100).'),
    names: z
      .strictObject({
        page: parameterName.describe('The number of a page.'),
        offset: parameterName.describe('The number of records to skip.'),
        limit: parameterName.describe('The number of records per page.'),
        updated_since: parameterName.describe(
          'The time from which to request changes: keyset; if given, page_number, cursor and offset.',
        ),
        updated_until: parameterName.describe('The time up to which to request changes.'),
        since: parameterName.describe('The time from which to request changes: timestamp, replay.'),
        scroll_param: parameterName.describe('The token of the next page.'),
        start_id: parameterName.describe('The first id of a range.'),
        end_id: parameterName.describe('The last id of a range.'),
        format: z
          .union([z.enum(FILTER_FORMATS), plainText.min(1).max(100)])
          .describe(
            'Format of times in requests, if it differs from that of the records: as `cursor_format`. Default: that of the records.',
          ),
        zone: plainText.describe('The time zone of such a pattern. Default: UTC.'),
      })
      .partial()
      .default({})
      .describe("The API's own names of the parameters; those left out keep these names."),
    errors: errorRules
      .default([])
      .describe('Rules for answers that are not pages, applied before those of the source.'),
  }),
  ...themed('The answer', {
    format: z
      .enum(['json', 'ndjson', 'csv'])
      .default('json')
      .describe('Format of the answers; gzip is recognised.'),
    records: answerPath
      .prefault('data')
      .describe('Place of the records: `data.items`; `$` for the answer itself; or any JSONPath.'),
    single: z.boolean().default(false).describe('The answer is a single record, not a list.'),
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
      .describe("Selects the records to keep: a JSONPath filter such as `@.status == 'open'`."),
    next: next
      .optional()
      .describe(
        'cursor, keyset: how the next page is requested: "link", {"token": path}, {"url": path}, {"header": name}; ' +
          '{"token": path, "as": "params"} sends the members of a token that is an object; ' +
          'cursor also "last_key" (the last record\'s key), "last_record" (its cursor value and its key), "none" (a single answer).',
      ),
    next_hosts: nextHosts
      .default([])
      .describe(
        'Other hosts that the address of a next page may be on, such as `api2.example.com`. They receive the same credentials.',
      ),
    total: answerPlace
      .optional()
      .describe('Place of the total number of records: a path, or `{header: X-Total-Count}`.'),
    total_pages: answerPlace
      .optional()
      .describe('page_number: place of the total number of pages: a path, or `{header: X-WP-TotalPages}`.'),
    more: answerPlace
      .optional()
      .describe(
        'Place of the flag that more records follow, as true or false, 1 or 0, yes or no: a path, or `{header: X-Has-More}`.',
      ),
    ends: z
      .strictObject({
        path: answerPath.describe('Where.'),
        is: z.union([plainText, z.number(), z.boolean(), z.null()]).describe('What.'),
      })
      .optional()
      .describe('The answer with this value at this path is the last one.'),
  }),
  first_page: numeric(z.number().int().min(0).max(1)).default(1).describe('page_number: the first page.'),
  first_offset: numeric(z.number().int().min(0).max(1))
    .default(0)
    .describe('offset: the number of the first record; 1 for `startIndex` of SCIM and similar APIs.'),
  overlap: z
    .boolean()
    .default(true)
    .describe(
      'offset: each request begins with the last record of the previous page, which shows whether the list has moved. `false` for an API that accepts only multiples of the limit; rows that move past the offset are then missed, and nothing is deleted.',
    ),
  short_page_ends: z
    .boolean()
    .default(false)
    .describe('page_number, offset, cursor: a page that is not full is the last one.'),
  ...themed('Changes only', {
    cursor_format: z
      .union([z.enum(FORMATS), plainText.min(1).max(100)])
      .default('timestamp')
      .describe(
        "Format of the cursor field: `timestamp` (ISO 8601), `rfc_2822`, `epoch_s`, `epoch_ms`, `integer`, `string`, or a pattern of luxon's tokens such as `dd/MM/yyyy HH:mm:ss`.",
      ),
    cursor_zone: plainText
      .optional()
      .describe('The time zone of a pattern without one, such as `Europe/Berlin`. Default: UTC.'),
    start: cursorValue.optional().describe('Start of the first pass. Default: everything.'),
    lookback: lookback
      .optional()
      .describe(
        'How far before the newest record a pass begins: a duration, or a number if the cursor field is an integer.',
      ),
    settle: duration
      .optional()
      .describe(
        'Records newer than this at the start of a pass are left to the next one (`names.updated_until`), or read again by it.',
      ),
    window: duration
      .optional()
      .describe(
        'Size of the time windows that a pass reads one after the other from `start`; needs `names.updated_until`.',
      ),
  }),
});

/** The form of a stream that `discover` accepts: keys that it finds out itself may be missing. */
export const draftSchema = streamSchema.extend({
  columns: columnsOf(column).or(z.strictObject({})).default({}),
});

export const fullSchema = z.strictObject({
  sync: z
    .strictObject({
      name: identifier.optional().describe('Name of the sync.'),
      max_streams: numeric(z.number().int().min(1).max(50)).default(4).describe('Streams read at once.'),
    })
    .prefault({})
    .describe('The sync as a whole.'),
  source: z
    .strictObject({
      base_url: baseUrl.describe('The address to which paths of streams are appended.'),
      headers: headers.default({}).describe('Sent with every request.'),
      params: parameters.default({}).describe('Sent with every request.'),
      auth: auth.default({ type: 'none' }).describe('Authentication.'),
      rate_limit: rateLimit.optional().describe('Request limits for all streams together.'),
      errors: errorRules.default([]).describe('Rules for answers that are not pages.'),
      timeout: shared.timeout
        .unwrap()
        .optional()
        .describe('Maximum time until an answer begins, and between its parts.'),
      retry_for: shared.retry_for
        .unwrap()
        .optional()
        .describe('Time for which an unresponsive source is retried.'),
    })
    .describe('The API.'),
  destination,
  interval,
  idle_interval,
  notify,
  defaults: z
    .record(z.string(), z.unknown())
    // Checked even if every stream overrides it: the configuration as a whole is stored in history.
    .superRefine(({ params, headers, body }, context) =>
      withoutOpenSecrets({ params, headers, body }, context),
    )
    .default({})
    .meta({ title: 'keys of a stream' })
    .describe('Defaults for all streams.'),
  streams: z
    .array(z.record(z.string(), z.unknown()))
    .min(1)
    .max(500)
    .meta({ title: 'list of streams' })
    .describe('The streams; each is written to its own table.'),
});

/** Schemas for the documentation's tables of keys. */
export const documented = {
  flat: flatSchema.shape,
  full: fullSchema.shape,
  stream: streamSchema.shape,
};

export type Full = z.output<typeof fullSchema>;
export type Stream = z.output<typeof streamSchema>;

/** Returns the JSON Schema of the full form, for editors. */
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
      // A stream's required keys may come from `defaults`.
      streams: { type: 'array', minItems: 1, items: { ...partial, required: ['name'] } },
    },
  };
}
