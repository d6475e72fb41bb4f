import { isColumnType } from '../../column-type.js';
import { DestinationError } from '../../errors.js';
import type { COLUMN_TYPES, ColumnType } from '../../protocol.js';
import { numeral, sql, type Sql } from '../sql/sql.js';

/** The database's names of the column types. */
export type TypeNames = Record<(typeof COLUMN_TYPES)[number], Sql>;

/**
 * Returns the column type as SQL.
 * @param decimal the database's name of decimals.
 * @throws {DestinationError} if it is not a column type: unchecked text must never become part of a statement.
 */
export function typeIn(names: TypeNames, decimal: Sql, type: ColumnType): Sql {
  if (!isColumnType(type)) throw new DestinationError(`${JSON.stringify(type)} is not a column type`);
  const [, precision, scale] = /^DECIMAL\((\d+),(\d+)\)$/.exec(type) ?? [];
  return precision === undefined || scale === undefined
    ? names[type as keyof TypeNames]
    : sql`${decimal}(${numeral(Number(precision))},${numeral(Number(scale))})`;
}
