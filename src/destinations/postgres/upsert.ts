/** Writes rows into a PostgreSQL table. */
import { SEQUENCE, VALID_FROM, VALID_TO, type TableSpec } from '../../protocol.js';
import { columnIn, tableName } from '../checkpoints.js';
import type { Batch, Relation, SqlSession } from '../sql/dialect.js';
import { stamping, stamps } from '../sql/modes.js';
import { identifier, joined, sql, type Sql } from '../sql/sql.js';
import { differs, sameKey } from '../sql/conditions.js';

/** Inserts new rows and updates changed ones. @returns how many there were. */
export function upsert(session: SqlSession, table: TableSpec, from: Relation, next: string): Promise<number> {
  const keys = table.primaryKey.map(identifier);
  const names = [...from.columns.keys()].map(identifier);
  const rest = names.filter((name) => !keys.includes(name));
  const own = stamps(table, next);
  const set = [...rest, ...own.map(([name]) => name)].map((name) => sql`${name} = excluded.${name}`);
  const isOther = rest.map((name) => sql`t.${name} IS DISTINCT FROM excluded.${name}`);
  const onConflict =
    rest.length === 0
      ? sql`DO NOTHING`
      : sql`DO UPDATE SET ${joined(set)} WHERE ${joined(isOther, sql` OR `)}`;
  return session.run(
    sql`INSERT INTO ${tableName(table)} AS t (${joined([...names, ...own.map(([name]) => name)])})
       SELECT ${joined([...from.columns.values(), ...own.map(([, value]) => value)])} FROM ${from.name} AS s
     ON CONFLICT (${joined(keys)}) ${onConflict}`,
  );
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
