import { isColumnType } from '../../column-type.js';
import { COLUMN_TYPES, type ColumnType } from '../../protocol.js';
import { typeIn, type TypeNames } from '../columns/types.js';
import { sql, type Sql } from '../sql/sql.js';

const TYPES: TypeNames = {
  STRING: sql`text`,
  BOOLEAN: sql`boolean`,
  SHORT: sql`smallint`,
  INT: sql`integer`,
  LONG: sql`bigint`,
  FLOAT: sql`real`,
  DOUBLE: sql`double precision`,
  NAIVE_DATE: sql`date`,
  NAIVE_DATETIME: sql`timestamp`,
  UTC_DATETIME: sql`timestamptz`,
  JSON: sql`jsonb`,
  BINARY: sql`bytea`,
};

/** Returns the PostgreSQL type of a column. */
export const postgresType = (type: ColumnType): Sql => typeIn(TYPES, sql`numeric`, type);

/** Returns the type as the catalogue names it. */
export function storedType(type: ColumnType): string {
  if (type === 'NAIVE_DATETIME') return 'timestamp without time zone';
  if (type === 'UTC_DATETIME') return 'timestamp with time zone';
  return postgresType(type);
}

/** Returns Highwater's type for a stored type; null if it has none. */
export function columnType(stored: string): ColumnType | null {
  const decimal = stored.replace(/^numeric\(/, 'DECIMAL(');
  if (decimal !== stored && isColumnType(decimal)) return decimal;
  return COLUMN_TYPES.find((type) => storedType(type) === stored) ?? null;
}

/** Returns the type in which a member of a record is read, before {@link fromText}. */
export const recordType = (type: ColumnType): Sql => (type === 'JSON' ? sql`jsonb` : sql`text`);

/** Returns a value that the cast rejects unless the text fits, since PostgreSQL alone would accept more. */
const unless = (fits: Sql, text: Sql, cast: Sql, type: Sql) =>
  sql`CASE WHEN ${text} IS NULL OR ${fits} THEN ${cast} ELSE ('does not fit: ' || ${text})::${type} END`;

/** Returns the SQL that converts a member's text into the column's value. */
export function fromText(text: Sql, type: ColumnType): Sql {
  const wanted = postgresType(type);
  switch (type) {
    case 'STRING':
    case 'JSON':
      return text;
    case 'BINARY':
      return sql`decode(${text}, 'base64')`;
    // PostgreSQL alone accepts "yes" and "on", and for times "now" and "yesterday".
    case 'BOOLEAN':
      return unless(sql`${text} IN ('true', 'false')`, text, sql`${text}::${wanted}`, wanted);
    case 'NAIVE_DATE':
    case 'NAIVE_DATETIME':
    case 'UTC_DATETIME': {
      // PostgreSQL alone rounds to microseconds, even up to the next second, and accepts leap seconds and years BC.
      const cut = sql`regexp_replace(${text}, '(\\.[0-9]{6})[0-9]+', '\\1')`;
      const fits = sql`${text} ~ '^[+]?[0-9]{4,6}-[0-9][0-9]-' AND ${text} !~* ':60|bc'`;
      return unless(fits, text, sql`${cut}::${wanted}`, wanted);
    }
    // PostgreSQL alone would round a fraction away.
    case 'SHORT':
    case 'INT':
    case 'LONG':
      return unless(
        sql`${text} ~ '^[+-]?[0-9]+$' OR ${text}::numeric = trunc(${text}::numeric)`,
        text,
        sql`${text}::numeric::${wanted}`,
        wanted,
      );
    default:
      return sql`${text}::${wanted}`;
  }
}
