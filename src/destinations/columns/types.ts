import { isColumnType } from '../../column-type.js';
import { DestinationError } from '../../errors.js';
import type { COLUMN_TYPES, ColumnType } from '../../protocol.js';
import { numeral, sql, type Sql } from '../sql/sql.js';

/** What a database calls the types of columns. */
export type TypeNames = Record<(typeof COLUMN_TYPES)[number], Sql>;

/**
 * The type of a column in a statement of a database.
 * @param decimal what the database calls decimals.
 * @throws {DestinationError} for what is no type, whatever its declaration says: it becomes part of a statement.
 */
export function typeIn(names: TypeNames, decimal: Sql, type: ColumnType): Sql {
  if (!isColumnType(type)) throw new DestinationError(`${JSON.stringify(type)} is not the type of a column`);
  const [, precision, scale] = /^DECIMAL\((\d+),(\d+)\)$/.exec(type) ?? [];
  return precision === undefined || scale === undefined
    ? names[type as keyof TypeNames]
    : sql`${decimal}(${numeral(Number(precision))},${numeral(Number(scale))})`;
}
