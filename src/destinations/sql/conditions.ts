/** Conditions that compare the rows of a table with those of a relation. */
import type { TableSpec } from '../../protocol.js';
import { columnIn } from '../checkpoints.js';
import type { Relation } from './dialect.js';
import { identifier, joined, sql, type Sql } from './sql.js';

/**
 * A condition: a row of the table has the key of row `s` of a relation.
 * @param row the alias of the table.
 */
export const sameKey = (table: TableSpec, { columns }: Pick<Relation, 'columns'>, row = sql`t`): Sql =>
  joined(
    table.primaryKey.map((name) => sql`${row}.${identifier(name)} = s.${columnIn(columns, name)}`),
    sql` AND `,
  );

/** A condition: row `t` of the table has other values than row `s` of a relation, which has the same key. */
export const differs = (table: TableSpec, { columns }: Relation): Sql =>
  joined(
    [...columns]
      .filter(([name]) => !table.primaryKey.includes(name))
      .map(([name, column]) => sql`t.${identifier(name)} IS DISTINCT FROM s.${column}`),
    sql` OR `,
  ) || sql`false`;
