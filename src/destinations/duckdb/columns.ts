import { isColumnType } from '../../column-type.js';
import { COLUMN_TYPES, type ColumnType } from '../../protocol.js';
import { typeIn, type TypeNames } from '../columns/types.js';
import { sql, type Sql } from '../sql/sql.js';

const TYPES: TypeNames = {
  STRING: sql`VARCHAR`,
  BOOLEAN: sql`BOOLEAN`,
  SHORT: sql`SMALLINT`,
  INT: sql`INTEGER`,
  LONG: sql`BIGINT`,
  FLOAT: sql`FLOAT`,
  DOUBLE: sql`DOUBLE`,
  NAIVE_DATE: sql`DATE`,
  NAIVE_DATETIME: sql`TIMESTAMP`,
  UTC_DATETIME: sql`TIMESTAMP WITH TIME ZONE`,
  JSON: sql`JSON`,
  BINARY: sql`BLOB`,
};

/** Returns the DuckDB type of a column. */
export const duckDbType = (type: ColumnType): Sql => typeIn(TYPES, sql`DECIMAL`, type);

/** Returns Highwater's type for a stored type; null if it has none. */
export const columnType = (stored: string): ColumnType | null =>
  isColumnType(stored) && stored.startsWith('DECIMAL')
    ? stored
    : (COLUMN_TYPES.find((type) => TYPES[type] === stored) ?? null);

/** Returns the type in which JSON is read, before {@link fromJson}. */
export const jsonType = (type: ColumnType): Sql => (type === 'BINARY' ? sql`VARCHAR` : duckDbType(type));

/** Returns the SQL that converts a value read from JSON into the column's value; binary is base64 in JSON. */
export const fromJson = (column: Sql, type: ColumnType): Sql =>
  type === 'BINARY' ? sql`from_base64(${column})` : column;
