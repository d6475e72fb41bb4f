/** The primary key index of a PostgreSQL table. */
import { PARENT, VALID_TO, type TableSpec } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import type { SqlSession } from '../sql/dialect.js';
import { hasOneRowAKey } from '../sql/modes.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';
import { changeTable } from './ddl.js';

interface Index {
  name: string;
  /** The constraint that owns the index; null if there is none. */
  constraint: string | null;
  isUnique: boolean;
  /** Whether it covers only some of the rows. */
  isPartial: boolean;
  /** Whether INSERT … ON CONFLICT can use it. */
  isUsable: boolean;
}

/** Lists the indexes over exactly these columns. */
async function indexesOver(
  session: SqlSession,
  table: TableSpec,
  columns: readonly string[],
): Promise<Index[]> {
  const names = joined([...columns].sort().map(literal));
  const found = await session.rows(
    sql`SELECT (SELECT ic.relname FROM pg_class AS ic WHERE ic.oid = i.indexrelid),
         (SELECT c.conname FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')),
         i.indisunique, i.indpred IS NOT NULL, i.indisvalid AND i.indimmediate AND i.indnkeyatts = i.indnatts
       FROM pg_index AS i WHERE i.indrelid = ${literal(tableName(table))}::regclass AND i.indexprs IS NULL
       AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute AS a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = ARRAY[${names}]::text[]`,
  );
  return found.map(([name, constraint, isUnique, isPartial, isUsable]) => ({
    name: name ?? '',
    constraint: constraint ?? null,
    isUnique: isUnique === 'true',
    isPartial: isPartial === 'true',
    isUsable: isUsable === 'true',
  }));
}

/** Returns the statement that drops an index, or the constraint that owns it. */
const dropOf = (table: TableSpec, { name, constraint }: Index): Sql =>
  constraint === null
    ? sql`DROP INDEX ${identifier(table.schema)}.${identifier(name)}`
    : sql`ALTER TABLE ${tableName(table)} DROP CONSTRAINT ${identifier(constraint)}`;

/**
 * Creates the index over the primary key: unique, unique among current versions, or not unique, by the table's mode.
 */
export async function prepareIndex(session: SqlSession, table: TableSpec): Promise<void> {
  const change = (statement: Sql) => changeTable(session, tableName(table), statement);
  // The rows of a record are replaced together.
  if (Object.hasOwn(table.columns, PARENT) && (await indexesOver(session, table, [PARENT])).length === 0)
    await change(sql`CREATE INDEX ON ${tableName(table)} (${identifier(PARENT)})`);
  const usable = (await indexesOver(session, table, table.primaryKey)).filter(({ isUsable }) => isUsable);
  const keys = joined(table.primaryKey.map(identifier));
  const whole = usable.filter(({ isUnique, isPartial }) => isUnique && !isPartial);
  if (hasOneRowAKey(table)) {
    // The table existed before Highwater.
    if (whole.length === 0) await change(sql`CREATE UNIQUE INDEX ON ${tableName(table)} (${keys})`);
    return;
  }
  // The table is empty, or it would have been refused.
  for (const index of whole) await change(dropOf(table, index));
  const isHistory = table.mode === 'history';
  if (usable.some(({ isUnique, isPartial }) => isUnique === isHistory && isPartial === isHistory)) return;
  await change(
    isHistory
      ? sql`CREATE UNIQUE INDEX ON ${tableName(table)} (${keys}) WHERE ${identifier(VALID_TO)} IS NULL`
      : sql`CREATE INDEX ON ${tableName(table)} (${keys})`,
  );
}

/** Drops the unique indexes over a primary key. */
export async function releaseKey(
  session: SqlSession,
  table: TableSpec,
  key: readonly string[],
): Promise<void> {
  for (const index of await indexesOver(session, table, key))
    if (index.isUnique) await session.run(dropOf(table, index));
}
