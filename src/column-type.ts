import { COLUMN_TYPES, type ColumnType } from './protocol.js';

/** Whether a text is the type of a column: only such texts may become part of a statement. */
export function isColumnType(text: unknown): text is ColumnType {
  if (typeof text !== 'string') return false;
  const decimal = /^DECIMAL\((\d{1,2}),(\d{1,2})\)$/.exec(text);
  if (decimal === null) return (COLUMN_TYPES as readonly string[]).includes(text);
  const [precision, scale] = [Number(decimal[1]), Number(decimal[2])];
  return precision >= 1 && precision <= 38 && scale <= precision;
}
