import type { ColumnType } from '../protocol.js';

const TYPES: Record<string, string> = {
  STRING: 'text',
  BOOLEAN: 'boolean',
  SHORT: 'smallint',
  INT: 'integer',
  LONG: 'bigint',
  FLOAT: 'real',
  DOUBLE: 'double precision',
  NAIVE_DATE: 'date',
  NAIVE_DATETIME: 'timestamp',
  UTC_DATETIME: 'timestamptz',
  JSON: 'jsonb',
  BINARY: 'bytea',
};

/** The type of the column in the table. */
export const postgresType = (type: ColumnType): string => TYPES[type] ?? type.replace('DECIMAL', 'numeric');

/** The same as the catalogue names it. */
export function storedType(type: ColumnType): string {
  if (type === 'NAIVE_DATETIME') return 'timestamp without time zone';
  if (type === 'UTC_DATETIME') return 'timestamp with time zone';
  return postgresType(type);
}

/** The type of ours that a column of the table has; null where it has another. */
export function columnType(stored: string): ColumnType | null {
  if (/^numeric\(\d+,\d+\)$/.test(stored)) return stored.replace('numeric', 'DECIMAL') as ColumnType;
  return (Object.keys(TYPES) as ColumnType[]).find((type) => storedType(type) === stored) ?? null;
}

/** What a member of a record is taken as, before {@link fromText}. */
export const recordType = (type: ColumnType): string => (type === 'JSON' ? 'jsonb' : 'text');

/** A value that the cast after it refuses, so that its error says so; for what PostgreSQL would take by itself. */
const unless = (fits: string, text: string, cast: string, type: string) =>
  `CASE WHEN ${text} IS NULL OR ${fits} THEN ${cast} ELSE ('does not fit: ' || ${text})::${type} END`;

/** The expression that turns a member's text into the column's value. */
export function fromText(text: string, type: ColumnType): string {
  const wanted = postgresType(type);
  switch (type) {
    case 'STRING':
    case 'JSON':
      return text;
    case 'BINARY':
      return `decode(${text}, 'base64')`;
    // By itself it takes "yes" and "on", and "now" and "yesterday".
    case 'BOOLEAN':
      return unless(`${text} IN ('true', 'false')`, text, `${text}::${wanted}`, wanted);
    case 'NAIVE_DATE':
    case 'NAIVE_DATETIME':
    case 'UTC_DATETIME': {
      // It would round to microseconds, also up to the next second, and take leap seconds and years before ours.
      const cut = String.raw`regexp_replace(${text}, '(\.[0-9]{6})[0-9]+', '\1')`;
      const fits = `${text} ~ '^[+]?[0-9]{4,6}-[0-9][0-9]-' AND ${text} !~* ':60|bc'`;
      return unless(fits, text, `${cut}::${wanted}`, wanted);
    }
    // A fraction would be rounded away.
    case 'SHORT':
    case 'INT':
    case 'LONG':
      return unless(
        `${text} ~ '^[+-]?[0-9]+$' OR ${text}::numeric = trunc(${text}::numeric)`,
        text,
        `${text}::numeric::${wanted}`,
        wanted,
      );
    default:
      return `${text}::${wanted}`;
  }
}

/** A parent's value, as JSON, that means the same in a request as it did in the source's answer. */
export function parentValue(column: string, type: ColumnType | undefined): string {
  switch (type) {
    case 'UTC_DATETIME':
      return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
    case 'BOOLEAN':
      return `${column}`;
    case 'SHORT':
    case 'INT':
    case 'LONG':
      // A number beyond 2^53 stays text.
      return `CASE WHEN ${column} BETWEEN -9007199254740991 AND 9007199254740991 THEN to_jsonb(${column}) ELSE to_jsonb(${column}::text) END`;
    default:
      return `${column}::text`;
  }
}
