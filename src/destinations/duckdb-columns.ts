import type { ColumnType, TableSpec } from '../protocol.js';
import type { ExactColumns } from '../sources/record-scanner.js';

const TYPES: Record<string, string> = {
  STRING: 'VARCHAR',
  BOOLEAN: 'BOOLEAN',
  SHORT: 'SMALLINT',
  INT: 'INTEGER',
  LONG: 'BIGINT',
  FLOAT: 'FLOAT',
  DOUBLE: 'DOUBLE',
  NAIVE_DATE: 'DATE',
  NAIVE_DATETIME: 'TIMESTAMP',
  UTC_DATETIME: 'TIMESTAMP WITH TIME ZONE',
  JSON: 'JSON',
  BINARY: 'BLOB',
};

/** The type of the column in the table. */
export const duckDbType = (type: ColumnType): string => TYPES[type] ?? type;

/** The type of ours that a column of the table has; null where it has another. */
export const columnType = (stored: string): ColumnType | null =>
  /^DECIMAL\(/.test(stored)
    ? (stored as ColumnType)
    : ((Object.keys(TYPES).find((type) => TYPES[type] === stored) ?? null) as ColumnType | null);

/** The type a value is read as from JSON, before {@link fromJson}. */
export const jsonType = (type: ColumnType): string => (type === 'BINARY' ? 'VARCHAR' : duckDbType(type));

/** The expression that turns what was read into the column's value; binary is base64 in JSON. */
export const fromJson = (column: string, type: ColumnType): string =>
  type === 'BINARY' ? `from_base64(${column})` : column;

/** Columns whose numbers DuckDB would round on its way through JSON. */
export function exactColumns(columns: TableSpec['columns']): ExactColumns {
  const of = (is: (type: ColumnType) => boolean) =>
    Object.entries(columns).flatMap(([name, type]) => (is(type) ? name : []));
  return {
    text: of((type) => type === 'STRING' || type.startsWith('DECIMAL')),
    whole: of((type) => type === 'SHORT' || type === 'INT' || type === 'LONG'),
    double: of((type) => type === 'DOUBLE' || type === 'FLOAT'),
    types: columns,
  };
}
