import type { ColumnType, TableSpec } from '../protocol.js';
import type { ExactColumns } from './record-scanner.js';

/** Returns the columns whose numbers JSON readers would round. */
export function exactColumns(columns: TableSpec['columns']): ExactColumns {
  const namesWhere = (isWanted: (type: ColumnType) => boolean) =>
    Object.keys(columns).filter((name) => isWanted(columns[name] as ColumnType));
  return {
    text: namesWhere((type) => type === 'STRING' || type.startsWith('DECIMAL')),
    whole: namesWhere((type) => type === 'SHORT' || type === 'INT' || type === 'LONG'),
    double: namesWhere((type) => type === 'DOUBLE' || type === 'FLOAT'),
    types: columns,
  };
}
