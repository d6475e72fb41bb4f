/** How rows get into a DuckDB table, which has no index: finding the rows of the same keys comes first. */
import { faultPoint } from '../../faults.js';
import { KEY_HASH, SEQUENCE, VALID_FROM, VALID_TO, type TableSpec } from '../../protocol.js';
import { columnIn, tableName } from '../checkpoints.js';
import { counts, type Batch, type Relation, type SqlSession } from '../sql/dialect.js';
import { marksDeleted, stamping, stamps } from '../sql/modes.js';
import { identifier, joined, numeral, sql, type Sql } from '../sql/sql.js';
import { differs, sameKey } from '../sql/write-batch.js';
import { isHere } from './catalogue.js';
import { fillingHashes, hashesKey, keyHash } from './key-hash.js';

/**
 * Inserts rows that are new and updates those that differ. Not one MERGE: finding the keys reads little of the table,
 * values are compared for the rows that were found, and rows that are stored already cost no write.
 * @returns how many rows were inserted or changed.
 */
export async function upsert(
  session: SqlSession,
  table: TableSpec,
  from: Relation,
  next: string,
): Promise<number> {
  const known = await findKnown(session, table, from);
  if (known.mayDiffer && (await mayMove(session, table))) {
    // Inserted again at the end: an update in place rewrites the columns of every part of the table that it touches.
    await session.run(
      sql`DELETE FROM ${tableName(table)} AS t WHERE t.rowid IN (SELECT stored FROM ${known.name} WHERE differs)`,
    );
    faultPoint('transaction.half');
    return insert(session, table, from, next, [], sql`${known.isNew} OR rowid IN (${known.changed})`);
  }
  let rows = 0;
  if (known.mayDiffer) {
    const set = [...from.columns]
      .filter(([name]) => !table.primaryKey.includes(name))
      .map(([name, c]) => sql`${identifier(name)} = s.${c}`);
    rows += await session.run(
      sql`UPDATE ${tableName(table)} AS t SET ${joined(set)}${stamping(table, next)}
         FROM ${known.name} AS k JOIN ${from.name} AS s ON s.rowid = k.read WHERE k.differs AND ${known.atSamePlace}`,
    );
  }
  faultPoint('transaction.half');
  return rows + (await insert(session, table, from, next, [], known.isNew));
}

/**
 * Whether a row may be deleted and inserted instead of being updated: where it has only the columns that are written,
 * and no index (DuckDB takes a key that was deleted in the same transaction for one that is there).
 */
async function mayMove(session: SqlSession, table: TableSpec): Promise<boolean> {
  if (hasRowid(table.columns)) return false;
  // The time when it was found to be gone stays.
  if (marksDeleted(table) && table.deletedField !== undefined) return false;
  const here = isHere(table.schema, table.table);
  const [columns = 0, constraints = 0, indexes = 0] = await counts(
    session,
    sql`SELECT (SELECT count(*) FROM duckdb_columns() WHERE ${here}),
       (SELECT count(*) FROM duckdb_constraints() WHERE ${here} AND constraint_type <> 'NOT NULL'),
       (SELECT count(*) FROM duckdb_indexes() WHERE ${here})`,
  );
  const own = session.dialect.ownColumns(table).length;
  return constraints + indexes === 0 && columns === Object.keys(table.columns).length + own;
}

/** Ends the version of each key that has changed, and begins one for it and for each new key. */
export async function supersede(
  session: SqlSession,
  table: TableSpec,
  from: Batch,
  next: string,
): Promise<number> {
  const known = await findKnown(session, table, from, sql`AND t.${identifier(VALID_TO)} IS NULL`);
  if (known.mayDiffer) {
    await session.run(
      sql`UPDATE ${tableName(table)} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)}
         FROM ${known.name} AS k JOIN ${from.name} AS s ON s.rowid = k.read WHERE k.differs AND ${known.atSamePlace}`,
    );
  }
  faultPoint('transaction.half');
  const which = known.isNew === '' ? sql`` : sql`${known.isNew} OR rowid IN (${known.changed})`;
  return insert(session, table, from, next, [[identifier(VALID_FROM), sql`now()`]], which);
}

/** Whether a column hides the place of a row by its name. */
export const hasRowid = (columns: TableSpec['columns']): boolean =>
  Object.keys(columns).some((name) => name.toLowerCase() === 'rowid');

/** The stored rows that have the keys of a relation's rows. */
interface Known {
  /** A temporary table: the places `stored` and `read` of each pair, and whether the two rows have other values. */
  name: Sql;
  mayDiffer: boolean;
  /** A condition on the relation, with WHERE: the table does not have the row's key; empty where it has none of them. */
  isNew: Sql;
  /** A query for the places of the relation's rows that have changed. */
  changed: Sql;
  /** A condition: `t` is the stored row of pair `k`. */
  atSamePlace: Sql;
}

/** Finds the rows of the same keys, and whether they differ. @param which narrows down the table's rows. */
async function findKnown(
  session: SqlSession,
  table: TableSpec,
  from: Relation,
  which = sql``,
): Promise<Known> {
  const target = tableName(table);
  const same = sql`${sameKey(table, from)} ${which}`;
  const isHidden = hasRowid(table.columns);
  const isHashed = hashesKey(table) && !isHidden;
  const near = isHashed ? sql`t.${identifier(KEY_HASH)} = s.hash ${which}` : same;
  const read = isHashed ? sql`(SELECT rowid, ${hashOf(table, from)} AS hash FROM ${from.name})` : from.name;
  // By place only: joined by key too, the plan reads all of the batch for a single row that is there.
  const sameRow = isHidden ? same : sql`t.rowid = k.stored WHERE coalesce(${sameKey(table, from)}, false)`;
  const name = sql`_known`;
  const [count = 0, changed = 0] = await counts(
    session,
    sql`SELECT count(*), count(*) FILTER (differs) FROM ${name}`,
    [
      ...(isHashed ? [fillingHashes(table)] : []),
      sql`CREATE OR REPLACE TEMP TABLE _near AS SELECT t.rowid AS stored, s.rowid AS read FROM ${target} AS t JOIN ${read} AS s ON ${near}`,
      sql`CREATE OR REPLACE TEMP TABLE ${name} AS SELECT k.stored, k.read, ${differs(table, from)} AS differs
         FROM _near AS k JOIN ${from.name} AS s ON s.rowid = k.read JOIN ${target} AS t ON ${sameRow}`,
    ],
  );
  return {
    name,
    mayDiffer: changed > 0,
    isNew: count === 0 ? sql`` : sql`WHERE rowid NOT IN (SELECT read FROM ${name})`,
    changed: sql`SELECT read FROM ${name} WHERE differs`,
    atSamePlace: isHidden ? same : sql`t.rowid = k.stored`,
  };
}

const hashOf = (table: TableSpec, { hash, columns }: Relation): Sql =>
  hash ?? keyHash(table, (name) => columnIn(columns, name));

async function insert(
  session: SqlSession,
  table: TableSpec,
  from: Relation,
  next: string,
  more: [Sql, Sql][],
  which: Sql,
): Promise<number> {
  const own = [...more, ...ownValues(table, from, next)];
  const names = [...[...from.columns.keys()].map(identifier), ...own.map(([column]) => column)];
  const values = [...from.columns.values(), ...own.map(([, value]) => value)];
  return session.run(
    sql`INSERT INTO ${tableName(table)} (${joined(names)}) SELECT ${joined(values)} FROM ${from.name} ${which}`,
  );
}

/** Values of Highwater's columns in each new row. */
const ownValues = (table: TableSpec, from: Relation, next: string): [name: Sql, value: Sql][] => [
  ...stamps(table, next),
  ...(hashesKey(table) ? [[identifier(KEY_HASH), hashOf(table, from)] as [Sql, Sql]] : []),
];

/** Adds each record that differs from the previous one of its key, in the batch or in the table. */
export async function append(
  session: SqlSession,
  table: TableSpec,
  from: Batch,
  next: string,
): Promise<number> {
  const target = tableName(table);
  const names = [...from.columns.keys()].map((name) => sql`t.${identifier(name)}`);
  const columns = joined([...from.columns.values()]);
  const keys = joined(table.primaryKey.map((name) => columnIn(from.columns, name)));
  const own = ownValues(table, { name: from.name, columns: from.columns }, next);
  const into = joined([
    ...[...from.columns.keys()].map(identifier),
    identifier(SEQUENCE),
    ...own.map(([name]) => name),
  ]);
  faultPoint('transaction.half');
  return session.runAll([
    sql`CREATE OR REPLACE TEMP TABLE _latest AS SELECT ${joined(names.map((name, i) => sql`${name} AS c${numeral(i)}`))} FROM ${target} AS t
       SEMI JOIN ${from.name} AS s ON ${sameKey(table, from)}
       QUALIFY row_number() OVER (PARTITION BY ${joined(table.primaryKey.map((name) => sql`t.${identifier(name)}`))} ORDER BY t.${identifier(SEQUENCE)} DESC) = 1`,
    sql`INSERT INTO ${target} (${into})
       SELECT ${columns}, coalesce((SELECT max(${identifier(SEQUENCE)}) FROM ${target}), 0) + row_number() OVER (ORDER BY place)${joined(
         own.map(([, value]) => sql`, ${value}`),
         sql``,
       )}
       FROM (SELECT *, lag(row(${columns})) OVER (PARTITION BY ${keys} ORDER BY place) AS before
         FROM (SELECT -1 AS place, ${columns} FROM _latest UNION ALL SELECT rowid, ${columns} FROM ${from.name}))
       WHERE place >= 0 AND before IS DISTINCT FROM row(${columns})
       ORDER BY place`,
  ]);
}
