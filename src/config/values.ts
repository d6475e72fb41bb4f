/** Schemas of single values in configurations: numbers, durations, names, column types and addresses. */
import { z } from 'zod';
import { parseDuration } from '../durations.js';
import {
  COLUMN_TYPES,
  NOTICE_EVENTS,
  type ColumnType,
  type FullRescan,
  type MaxDeletes,
} from '../protocol.js';
import { isCredential } from '../secrets/credential-names.js';
import { holdsReference, REFERENCE, WHOLE_REFERENCE } from '../secrets/reference-syntax.js';
import { customAddress, holdsSecret } from './custom-address.js';
import { customScheme } from './destination-kind.js';
import { filesAddress, isFiles } from './files-address.js';
import { show } from './problems.js';
import { REFERENCE_ORIGIN } from './reference-source.js';
import { suggestion } from '../text.js';

const NAME_LIMIT = 200;
const URL_LIMIT = 8192;
/** More columns than a table can have: a longer list is a mistake. */
const COLUMN_LIMIT = 1600;

/** Its parameter is what a configuration may hold; any other value is refused by the schema. */
const asNumber = (value: number | string): unknown =>
  typeof value === 'string' && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;

export const numeric = (schema: z.ZodNumber) => z.preprocess(asNumber, schema);

/** An integer of any size as decimal text, since ids may exceed 2^53. */
export const bigInteger = z
  .union([z.number(), z.string()])
  .refine(
    (value) =>
      typeof value === 'string' ? /^\s*\d{1,30}\s*$/.test(value) : Number.isSafeInteger(value) && value >= 0,
    'must be a whole number of at least 0; write numbers beyond 2^53 as text',
  )
  .transform((value) => BigInt(typeof value === 'string' ? value.trim() : value).toString())
  .meta({ title: 'whole number of any size' });

export const positiveBigInteger = bigInteger
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

export const maxDeletes = z
  .union([z.number(), z.string()])
  .transform((value, context): MaxDeletes => {
    const read = readMaxDeletes(value);
    if (read !== null) return read;
    context.addIssue({ code: 'custom', message: `must be ${MAX_DELETES_ALLOWED}` });
    return z.NEVER;
  })
  .meta({ title: 'whole number, share, or `any`' });

export const fullRescan = z
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

export const ownTable = identifier.refine(
  (name) => !name.toLowerCase().startsWith('_highwater'),
  'must not begin with "_highwater": those tables are Highwater\'s own',
);

/** A user's column. */
export const ownColumn = identifier.refine(
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

export const notify = z.strictObject({
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
 * Checks the address of a destination: its kind must be known, and a password must be a reference, since it would be
 * stored in history.
 */
export function destinationAddress(text: string, context: z.RefinementCtx): void {
  // Whether an extension has the scheme is checked with the extensions at hand.
  if (customScheme(text) !== null) {
    if (holdsSecret(customAddress(text))) context.addIssue({ code: 'custom', message: PASSWORD_IN_ADDRESS });
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
  context.addIssue({ code: 'custom', message: PASSWORD_IN_ADDRESS });
}

const PASSWORD_IN_ADDRESS =
  'contains a password, which the workflow\'s history would keep; write "${env:NAME}" instead';

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
