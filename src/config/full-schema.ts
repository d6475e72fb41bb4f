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

/** How a cursor field may be written, besides patterns. */
export const FORMATS = ['timestamp', 'rfc_2822', 'epoch_s', 'epoch_ms', 'integer', 'string'] as const;
/** How the times in requests may be written, besides patterns. */
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

/** Gives fields a theme, by which the documentation groups them. */
function themed<T extends Record<string, z.ZodType>>(theme: string, fields: T): T {
  for (const field of Object.values(fields)) themes.add(field, { theme });
  return fields;
}

export const streamSchema = z.strictObject({
  ...shared,
  ...themed('The stream and its table', {
    name: identifier.describe('What the stream is called; also its table, unless `table` says otherwise.'),
    strategy: z.enum(STRATEGIES).describe('How the source is read.'),
    table: shared.table.unwrap().optional().describe('The table. Left out: the name of the stream.'),
    columns: columnsOf(column)
      .default({})
      .describe(
        'Column names and types, or `{type, from}` where the record has the value elsewhere; `highwater discover` finds them. Left out: those that records have.',
      ),
    cursor_field: z
      .union([identifier.transform((name) => [name]), z.array(identifier).min(1).max(10)])
      .optional()
      .describe(
        'The field that says when a record changed last; of a list, the greatest value that a record has.',
      ),
    deletes: z
      .enum(['keep', 'soft', 'hard'])
      .default('keep')
      .describe(
        'What becomes of rows that are gone from the source: `soft` sets `_highwater_deleted_at`, `hard` removes them. Those that a whole pass has not met: page_number and cursor without `names.updated_since`, offset with `full_rescan: 1`; replay: of the time that it reads again. And those of which `deleted_field` says so.',
      ),
    deleted_field: identifier
      .optional()
      .describe(
        'The column by which a record says that it is deleted: true, a number other than 0, a time, or a text other than "false" and "no".',
      ),
    parent: z
      .strictObject({
        stream: identifier.describe('The stream whose rows are the parents.'),
        include: z
          .record(identifier, identifier)
          .default({})
          .meta({ title: 'column: parent column' })
          .describe("Columns that take the value of a parent's: `{company_id: id}`."),
      })
      .optional()
      .describe('A request is made for each row of another stream; `${parent:COLUMN}` refers to it.'),
  }),
  ...themed('The request', {
    path: path.default('').describe('Appended to the base_url.'),
    method: z.enum(['GET', 'POST']).default('GET').describe('How the source is asked.'),
    body: body
      .optional()
      .describe('What a POST sends; texts may refer to `${cursor:NAME}` and `${parent:COLUMN}`.'),
    body_as: bodyAs.describe('How the body of a POST is written.'),
    params: parameters.default({}).describe('Sent with every request.'),
    headers: headers.default({}).describe('Sent with every request, beside those of the source.'),
    auth: auth.optional().describe('In place of that of the source.'),
    page_size: pageSize.unwrap().optional().describe('Records a page. Left out: none is sent (offset: 100).'),
    names: z
      .strictObject({
        page: parameterName.describe('The number of a page.'),
        offset: parameterName.describe('How many records to skip.'),
        limit: parameterName.describe('How many records a page holds.'),
        updated_since: parameterName.describe(
          'The time since when changes are asked for: keyset; where it is given, page_number, cursor and offset.',
        ),
        updated_until: parameterName.describe('The time until when changes are asked for.'),
        since: parameterName.describe('The time since when changes are asked for: timestamp, replay.'),
        scroll_param: parameterName.describe('The token of the next page.'),
        start_id: parameterName.describe('The first id of a range.'),
        end_id: parameterName.describe('The last id of a range.'),
        format: z
          .union([z.enum(FILTER_FORMATS), plainText.min(1).max(100)])
          .describe(
            'How the times in requests are written, where records have another format: as `cursor_format`. Left out: as the records have them.',
          ),
        zone: plainText.describe('The time zone of such a pattern. Left out: UTC.'),
      })
      .partial()
      .default({})
      .describe("The API's own names of the parameters; those left out keep these names."),
    errors: errorRules
      .default([])
      .describe('Rules for answers that are no page, before those of the source.'),
  }),
  ...themed('The answer', {
    format: z
      .enum(['json', 'ndjson', 'csv'])
      .default('json')
      .describe('What the answers are; gzip is recognised.'),
    records: answerPath
      .prefault('data')
      .describe('Where the records are: `data.items`; `$` is the answer itself; or any JSONPath.'),
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
      .describe("Which records are kept: a JSONPath filter such as `@.status == 'open'`."),
    next: next
      .optional()
      .describe(
        'cursor, keyset: what the next page is asked for by: "link", {"token": path}, {"url": path}, {"header": name}; ' +
          '{"token": path, "as": "params"} sends the members of a token that is an object; ' +
          'cursor also "last_key" (the last record\'s key), "last_record" (its cursor value and its key), "none" (one answer is all).',
      ),
    next_hosts: nextHosts
      .default([])
      .describe(
        'Other hosts that the address of a next page may be on, such as `api2.example.com`. They are sent the same credentials.',
      ),
    total: answerPlace
      .optional()
      .describe('Where the answer counts all records: a path, or `{header: X-Total-Count}`.'),
    total_pages: answerPlace
      .optional()
      .describe('page_number: where the answer counts all pages: a path, or `{header: X-WP-TotalPages}`.'),
    more: answerPlace
      .optional()
      .describe(
        'Where the answer says whether there is more, by true or false, 1 or 0, yes or no: a path, or `{header: X-Has-More}`.',
      ),
    ends: z
      .strictObject({
        path: answerPath.describe('Where.'),
        is: z.union([plainText, z.number(), z.boolean(), z.null()]).describe('What.'),
      })
      .optional()
      .describe('There is no more where the answer has this value at this path.'),
  }),
  first_page: numeric(z.number().int().min(0).max(1)).default(1).describe('page_number: the first page.'),
  first_offset: numeric(z.number().int().min(0).max(1))
    .default(0)
    .describe('offset: the number of the first record; 1 for `startIndex` of SCIM and the like.'),
  overlap: z
    .boolean()
    .default(true)
    .describe(
      'offset: each request begins with the last record of the page before, which shows whether the list has moved. `false` for an API that takes only multiples of the limit; rows that move past the offset are then not read, and nothing is deleted.',
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
        "How the cursor field is written: `timestamp` (ISO 8601), `rfc_2822`, `epoch_s`, `epoch_ms`, `integer`, `string`, or a pattern of luxon's tokens such as `dd/MM/yyyy HH:mm:ss`.",
      ),
    cursor_zone: plainText
      .optional()
      .describe('The time zone of a pattern that names none, such as `Europe/Berlin`. Left out: UTC.'),
    start: cursorValue.optional().describe('What the first pass asks for. Left out: everything.'),
    lookback: lookback
      .optional()
      .describe(
        'How far before the newest record a pass begins: a duration, or a number where the cursor field is an integer.',
      ),
    settle: duration
      .optional()
      .describe(
        'Records newer than this when a pass begins are left to the next one (`names.updated_until`), or read again by it.',
      ),
    window: duration
      .optional()
      .describe(
        'From `start` on, a pass asks for so much time after the other; needs `names.updated_until`.',
      ),
  }),
});

/** A stream as `discover` takes it: what it is there to find need not be given yet. */
export const draftSchema = streamSchema.extend({
  columns: columnsOf(column).or(z.strictObject({})).default({}),
});

export const fullSchema = z.strictObject({
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
      rate_limit: rateLimit.optional().describe('What all streams together may ask of the source.'),
      errors: errorRules.default([]).describe('Rules for answers that are no page.'),
      timeout: shared.timeout
        .unwrap()
        .optional()
        .describe('How long an answer may take to begin, and a pause inside it may last.'),
      retry_for: shared.retry_for
        .unwrap()
        .optional()
        .describe('For how long a source that does not answer is tried again.'),
    })
    .describe('The API.'),
  destination,
  interval,
  idle_interval,
  notify,
  defaults: z
    .record(z.string(), z.unknown())
    // Also where every stream has its own: the configuration as a whole is in history.
    .superRefine(({ params, headers, body }, context) =>
      withoutOpenSecrets({ params, headers, body }, context),
    )
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

/** The source of the documentation's tables of keys. */
export const documented = {
  flat: flatSchema.shape,
  full: fullSchema.shape,
  stream: streamSchema.shape,
};

export type Full = z.output<typeof fullSchema>;
export type Stream = z.output<typeof streamSchema>;

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
      // A required key of a stream may stand in `defaults`.
      streams: { type: 'array', minItems: 1, items: { ...partial, required: ['name'] } },
    },
  };
}
