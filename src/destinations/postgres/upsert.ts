/** Writes rows into a PostgreSQL table. */
import { SEQUENCE, VALID_FROM, VALID_TO, type TableSpec } from '../../protocol.js';
import { columnIn, tableName } from '../checkpoints.js';
import type { Batch, Relation, SqlSession } from '../sql/dialect.js';
import { stamping, stamps } from '../sql/modes.js';
import { identifier, joined, sql, type Sql } from '../sql/sql.js';
import { differs, sameKey } from '../sql/conditions.js';

/** Inserts new rows and updates changed ones. @returns how many there were. */
export async function upsert(
  session: SqlSession,
  table: TableSpec,
  from: Relation,
  next: string,
): Promise<number> {
  const { expectation } = from;
  if (expectation?.rowsAre === 'unchanged') return session.run(upsertOf(table, differing(table, from), next));
  if (expectation?.rowsAre !== 'new') return session.run(upsertOf(table, from, next));
  // The sample begins with records that the table may have.
  const { isSampled, refute } = expectation;
  const sampled = await session.run(upsertOf(table, where(from, isSampled), next));
  const rest = where(from, sql`NOT (${isSampled})`);
  await session.run(sql`SAVEPOINT new_rows`);
  try {
    const inserted = await session.run(insertOf(table, rest, next));
    return sampled + inserted;
  } catch (thrown) {
    if ((thrown as { code?: string }).code !== UNIQUE_VIOLATION) throw thrown;
    refute();
    await session.run(sql`ROLLBACK TO SAVEPOINT new_rows`);
    return sampled + (await session.run(upsertOf(table, rest, next)));
  }
}

const UNIQUE_VIOLATION = '23505';

const where = ({ name, columns }: Relation, condition: Sql): Relation => ({
  name: sql`(SELECT * FROM ${name} AS s WHERE ${condition})`,
  columns,
});

/** The rows of a relation that the table does not have as they are: a row that is written, even unchanged, is a new version. */
function differing(table: TableSpec, from: Relation): Relation {
  const key = joined(table.primaryKey.slice(0, 1).map(identifier));
  const isOther = sql`t.${key} IS NULL OR ${differs(table, from)}`;
  // One look into the index for each row: the planner may otherwise read the whole table.
  return {
    name: sql`(SELECT s.* FROM ${from.name} AS s LEFT JOIN LATERAL
       (SELECT * FROM ${tableName(table)} AS t WHERE ${sameKey(table, from)} LIMIT 1) AS t ON true WHERE ${isOther})`,
    columns: from.columns,
  };
}

/** Returns the statement that inserts rows of which the table has none. */
function insertOf(table: TableSpec, from: Relation, next: string): Sql {
  const names = [...from.columns.keys()].map(identifier);
  const own = stamps(table, next);
  return sql`INSERT INTO ${tableName(table)} AS t (${joined([...names, ...own.map(([name]) => name)])})
       SELECT ${joined([...from.columns.values(), ...own.map(([, value]) => value)])} FROM ${from.name} AS s`;
}

/** Returns the statement that inserts new rows and updates those that differ. */
function upsertOf(table: TableSpec, from: Relation, next: string): Sql {
  const keys = table.primaryKey.map(identifier);
  const rest = [...from.columns.keys()].map(identifier).filter((name) => !keys.includes(name));
  const set = [...rest, ...stamps(table, next).map(([name]) => name)].map(
    (name) => sql`${name} = excluded.${name}`,
  );
  const isOther = rest.map((name) => sql`t.${name} IS DISTINCT FROM excluded.${name}`);
  const onConflict =
    rest.length === 0
      ? sql`DO NOTHING`
      : sql`DO UPDATE SET ${joined(set)} WHERE ${joined(isOther, sql` OR `)}`;
  return sql`${insertOf(table, from, next)} ON CONFLICT (${joined(keys)}) ${onConflict}`;
}

/** Ends the current version of each changed key, and begins a new one for it and for each new key. */
export async function supersede(
  session: SqlSession,
  table: TableSpec,
  from: Batch,
  next: string,
): Promise<number> {
  const target = tableName(table);
  const isCurrent = sql`${sameKey(table, from)} AND t.${identifier(VALID_TO)} IS NULL`;
  if (from.columns.size > table.primaryKey.length) {
    await session.run(
      sql`UPDATE ${target} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)} FROM ${from.name} AS s
         WHERE ${isCurrent} AND (${differs(table, from)})`,
    );
  }
  const own: [Sql, Sql][] = [[identifier(VALID_FROM), sql`now()`], ...stamps(table, next)];
  const names = [...[...from.columns.keys()].map(identifier), ...own.map(([name]) => name)];
  return session.run(
    sql`INSERT INTO ${target} (${joined(names)})
       SELECT ${joined([...from.columns.values(), ...own.map(([, value]) => value)])} FROM ${from.name} AS s
       WHERE NOT EXISTS (SELECT 1 FROM ${target} AS t WHERE ${isCurrent})`,
  );
}

/** Adds each record that differs from the previous one of its key, in the batch or in the table. */
export function append(session: SqlSession, table: TableSpec, from: Batch, next: string): Promise<number> {
  const columns = joined([...from.columns.values()]);
  const names = [...from.columns.keys()].map((name) => sql`t.${identifier(name)}`);
  const keys = joined(table.primaryKey.map((name) => sql`t.${identifier(name)}`));
  const own = stamps(table, next);
  const into = joined([...[...from.columns.keys()].map(identifier), ...own.map(([name]) => name)]);
  const content = sql`md5(ROW(${columns})::text)`;
  return session.run(
    sql`INSERT INTO ${tableName(table)} (${into})
       SELECT ${joined([columns, ...own.map(([, value]) => value)])} FROM (
         SELECT *, lag(${content}) OVER (PARTITION BY ${joined(table.primaryKey.map((name) => columnIn(from.columns, name)))} ORDER BY place) AS before
         FROM (SELECT place, ${columns} FROM ${from.name} UNION ALL
           (SELECT DISTINCT ON (${keys}) -1, ${joined(names)} FROM ${tableName(table)} AS t
              WHERE EXISTS (SELECT 1 FROM ${from.name} AS s WHERE ${sameKey(table, from)})
              ORDER BY ${keys}, t.${identifier(SEQUENCE)} DESC)) AS all_versions) AS compared
       WHERE place >= 0 AND before IS DISTINCT FROM ${content} ORDER BY place`,
  );
}
