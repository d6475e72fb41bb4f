import type { ColumnType, TableSpec } from '../../protocol.js';
import type { ExactColumns } from '../../sources/record-scanner.js';

/** Finds the columns whose numbers a database would round on their way through JSON. */
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
