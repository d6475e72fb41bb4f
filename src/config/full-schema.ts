import { z } from 'zod';
import { STRATEGIES } from '../protocol.js';
import { HOOK_NAME, NO_HOOK_NAME } from '../request/hook-names.js';
import { filterProblem } from '../request/paths.js';
import { childrenSchema } from './children.js';
import { flatFields, flatSchema, themes } from './flat.js';
import { baseUrl, columnsOf, duration, identifier, numeric, ownColumn } from './values.js';
import { column, memberPattern } from './made-columns.js';
import {
  answerPath,
  answerPlace,
  auth,
  body,
  bodyAs,
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

const parameterName = z.string().regex(PARAMETER_NAME, 'is not a valid name');

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
    name: identifier.describe('Name of the stream and, by default, of its table.'),
    strategy: z
      .enum(STRATEGIES)
      .describe('The strategy for reading the source, or that of an [extension](write-a-strategy.md).'),
    options: z
      .record(z.string(), z.json())
      .superRefine(withoutOpenSecrets)
      .optional()
      .meta({ title: 'names and values' })
      .describe('The options of the strategy of an extension.'),
    table: shared.table.unwrap().optional().describe('The table. Default: the name of the stream.'),
    columns: columnsOf(column)
      .default({})
      .describe(
        'Column names and types, or `{type, from}` if the record has the value elsewhere; `highwater discover` finds them. A column can also be made: by a constant (`value`), an `expression`, a `hash` or a `mask`. Default: those of the records.',
      ),
    exclude: z
      .array(memberPattern)
      .min(1)
      .max(500)
      .meta({ title: 'list of paths' })
      .optional()
      .describe(
        'Members that are stored nowhere, such as `[ssn, contact.phone, "raw.*"]`; a path leads through lists, `*` is any name, and case does not matter.',
      ),
    raw: ownColumn
      .optional()
      .describe(
        'A column of type JSON that keeps the whole record, such as `_raw`; members that are excluded, hashed or masked are so in it, too.',
      ),
    cursor_field: z
      .union([identifier.transform((name) => [name]), z.array(identifier).min(1).max(10)])
      .optional()
      .describe(
        'The field with the time of the last change. If several fields are listed, the greatest value of a record counts.',
      ),
    deletes: z
      .enum(['keep', 'soft', 'hard'])
      .default('keep')
      .describe(
        'What to do with rows whose records are gone from the source: `keep` them, mark them by setting `_highwater_deleted_at` (`soft`), or remove them (`hard`). A record is gone if a whole pass has not found it (page_number and cursor without `names.updated_since`, offset with `full_rescan: 1`, replay within the time that it reads again), or if its `deleted_field` says so.',
      ),
    deleted_field: identifier
      .optional()
      .describe(
        'The column that marks a record as deleted: by true, a number other than 0, a time, or a text other than "false" and "no".',
      ),
    children: childrenSchema
      .optional()
      .describe(
        'Child tables: each is filled from a list inside of the records, such as the lines of an order, in the transaction of the records themselves.',
      ),
    parent: z
      .strictObject({
        stream: identifier.describe('The parent stream.'),
        include: z
          .record(identifier, identifier)
          .default({})
          .meta({ title: 'column: parent column' })
          .describe("Columns filled with values of the parent's columns, such as `{company_id: id}`."),
      })
      .optional()
      .describe(
        'Reads the stream once for each row of another stream; `${parent:COLUMN}` inserts a value of that row.',
      ),
  }),
  ...themed('The request', {
    path: path.default('').describe('The path of the endpoint, appended to `base_url`.'),
    method: z.enum(['GET', 'POST']).default('GET').describe('The HTTP method.'),
    body: body
      .optional()
      .describe('Body of a POST; texts in it may contain `${cursor:NAME}` and `${parent:COLUMN}`.'),
    body_as: bodyAs.describe('Encoding of the body of a POST.'),
    params: parameters.default({}).describe('Sent with every request.'),
    headers: headers.default({}).describe('Sent with every request, in addition to those of the source.'),
    auth: auth.optional().describe('Replaces that of the source.'),
    page_size: pageSize.unwrap().optional().describe('Records per page. Default: not sent (offset: 100).'),
    names: z
      .strictObject({
        page: parameterName.describe('The page number.'),
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
            'Format of times in requests; takes the same values as `cursor_format`. Default: the format of the records.',
          ),
        zone: plainText.describe('The time zone of `format`, if that is a pattern. Default: UTC.'),
      })
      .partial()
      .default({})
      .describe(
        "The API's own names for the parameters. A parameter that is not listed keeps its default name.",
      ),
    errors: errorRules
      .default([])
      .describe('Rules for error responses; they are applied before those of the source.'),
  }),
  ...themed('The answer', {
    format: z
      .enum(['json', 'ndjson', 'csv'])
      .default('json')
      .describe('Format of the responses; gzip is detected.'),
    records: answerPath
      .prefault('data')
      .describe(
        'Where the records are: a path such as `data.items`, `$` for the response itself, or any JSONPath.',
      ),
    record_names: answerPath
      .optional()
      .describe(
        'If records are lists of values: where their names are, such as `columns`, or `$.columns[*].name`.',
      ),
    single: z.boolean().default(false).describe('The response is a single record, not a list.'),
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
      .describe("Stores only the records that match a JSONPath filter such as `@.status == 'open'`."),
    transform: z
      .string()
      .regex(HOOK_NAME, NO_HOOK_NAME)
      .optional()
      .describe(
        "A hook that makes rows of the records: NAME.mjs in the worker's folder of hooks (HIGHWATER_HOOKS, else ./hooks). It runs after `where`.",
      ),
    next: next
      .optional()
      .describe(
        'cursor, keyset: where the next page is: "link", {"token": path}, {"url": path}, {"header": name}; ' +
          '{"token": path, "as": "params"} sends the members of an object as parameters; ' +
          'for cursor also "last_key" (the key of the last record), "last_record" (its cursor value and its key), "none" (a single page).',
      ),
    next_hosts: nextHosts
      .default([])
      .describe(
        'Other hosts that the URL of a next page may point to, such as `api2.example.com`. They receive the same credentials.',
      ),
    total: answerPlace
      .optional()
      .describe('Where the total number of records is: a path, or `{header: X-Total-Count}`.'),
    total_pages: answerPlace
      .optional()
      .describe('page_number: where the total number of pages is: a path, or `{header: X-WP-TotalPages}`.'),
    more: answerPlace
      .optional()
      .describe(
        'Where the flag is that says whether more records follow (true or false, 1 or 0, yes or no): a path, or `{header: X-Has-More}`.',
      ),
    ends: z
      .strictObject({
        path: answerPath.describe('The path.'),
        is: z.union([plainText, z.number(), z.boolean(), z.null()]).describe('The value.'),
      })
      .optional()
      .describe('The response with this value at this path is the last page.'),
  }),
  first_page: numeric(z.number().int().min(0).max(1)).default(1).describe('page_number: the first page.'),
  first_offset: numeric(z.number().int().min(0).max(1))
    .default(0)
    .describe('offset: the offset of the first record; 1 for `startIndex` of SCIM and similar APIs.'),
  overlap: z
    .boolean()
    .default(true)
    .describe(
      'offset: each request begins with the last record of the previous page, which shows whether the list has shifted. Set `false` for an API that accepts only multiples of the limit; rows that shift past the offset are then missed, and no rows are deleted.',
    ),
  short_page_ends: z
    .boolean()
    .default(false)
    .describe('page_number, offset, cursor: treat a page that is not full as the last one.'),
  ...themed('Changes only', {
    cursor_format: z
      .union([z.enum(FORMATS), plainText.min(1).max(100)])
      .default('timestamp')
      .describe(
        'Format of the cursor field: `timestamp` (ISO 8601), `rfc_2822`, `epoch_s`, `epoch_ms`, `integer`, `string`, or a pattern of Luxon tokens such as `dd/MM/yyyy HH:mm:ss`.',
      ),
    cursor_zone: plainText
      .optional()
      .describe('The time zone of a pattern that contains none, such as `Europe/Berlin`. Default: UTC.'),
    start: cursorValue.optional().describe('Where the first pass begins. Default: at the beginning.'),
    lookback: lookback
      .optional()
      .describe(
        'Lookback: how far before the newest record a pass begins; a duration, or a number if the cursor field is an integer.',
      ),
    settle: duration
      .optional()
      .describe(
        'Records changed within this time before the start of a pass are left to the next pass (with `names.updated_until`), or read again by it.',
      ),
    window: duration
      .optional()
      .describe(
        'Size of the time windows that a pass reads one after the other, from `start` on; needs `names.updated_until`.',
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
      max_streams: numeric(z.number().int().min(1).max(50))
        .default(4)
        .describe('Maximum number of streams read at the same time.'),
    })
    .prefault({})
    .describe('The sync as a whole.'),
  source: z
    .strictObject({
      base_url: baseUrl.describe("The URL to which the streams' paths are appended."),
      headers: headers.default({}).describe('Sent with every request.'),
      params: parameters.default({}).describe('Sent with every request.'),
      auth: auth.default({ type: 'none' }).describe('Authentication.'),
      rate_limit: rateLimit.optional().describe('Request limits for all streams together.'),
      errors: errorRules.default([]).describe('Rules for error responses.'),
      timeout: shared.timeout
        .unwrap()
        .optional()
        .describe('Maximum time until a response begins, and between its parts.'),
      retry_for: shared.retry_for
        .unwrap()
        .optional()
        .describe('How long to retry requests to a source that does not respond.'),
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
    $defs?: object;
  };
  const { required: _required, $defs, ...partial } = stream;
  return {
    ...schema,
    // References lead to the root.
    $defs: { ...$defs, ...schema.$defs },
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
