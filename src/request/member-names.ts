/**
 * Names of members as protective rules compare them. Columns whose names differ only in case are one column in DuckDB, so
 * a rule for `ssn` must also hold for `SSN`.
 */

/** Returns a name as it is compared. */
export const comparable = (name: string): string => name.toLowerCase();

/** Returns whether a protective rule for one name holds for the other. */
export const isSameName = (one: string, other: string): boolean =>
  one === other || comparable(one) === comparable(other);
