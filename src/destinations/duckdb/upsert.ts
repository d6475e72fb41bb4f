/** Writes rows into a DuckDB table. It has no index, so the stored rows of the batch's keys are found first. */
import { faultPoint } from '../../faults.js';
import { KEY_HASH, SEQUENCE, VALID_FROM, VALID_TO, type TableSpec } from '../../protocol.js';
import { columnIn, tableName } from '../checkpoints.js';
import { counts, type Batch, type Relation, type SqlSession } from '../sql/dialect.js';
import { marksDeleted, stamping, stamps } from '../sql/modes.js';
import { identifier, joined, numeral, sql, type Sql } from '../sql/sql.js';
import { differs, sameKey } from '../sql/conditions.js';
import { isHere } from './catalogue.js';
import { fillingHashes, hashesKey, keyHash } from './key-hash.js';

/**
 * Inserts new rows and updates changed ones. Faster than MERGE: finding the keys reads little of the table, values are
 * compared only for the rows found, and unchanged rows cost no write.
 * @returns the number of rows inserted or changed.
 */
export async function upsert(
  session: SqlSession,
  table: TableSpec,
  from: Relation,
  next: string,
): Promise<number> {
  const known = await findKnown(session, table, from);
  if (known.mayDiffer && (await mayMove(session, table))) {
    // Deleted and inserted at the end: an update in place rewrites the columns of every touched part of the table.
    await session.run(
      sql`DELETE FROM ${tableName(table)} AS t WHERE t.rowid IN (SELECT stored FROM ${known.name} WHERE differs)`,
    );
    faultPoint('transaction.half');
    return insertRows(session, table, from, next, [], sql`${known.isNew} OR rowid IN (${known.changed})`);
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
  return rows + (await insertRows(session, table, from, next, [], known.isNew));
}

/**
 * Whether a changed row may be deleted and inserted instead of updated: only if all its columns are written, and the
 * table has no index (in DuckDB a key deleted in the same transaction still counts as present).
 */
async function mayMove(session: SqlSession, table: TableSpec): Promise<boolean> {
  if (hasRowid(table.columns)) return false;
  // The time when the row was found to be gone must stay.
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

/** Ends the current version of each changed key, and begins a new one for it and for each new key. */
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
  return insertRows(session, table, from, next, [[identifier(VALID_FROM), sql`now()`]], which);
}

/** Whether a column's name hides DuckDB's `rowid`. */
export const hasRowid = (columns: TableSpec['columns']): boolean =>
  Object.keys(columns).some((name) => name.toLowerCase() === 'rowid');

/** Stored rows with the keys of a relation. */
interface Known {
  /** Temporary table: row ids `stored` and `read` of each pair, and whether their values differ. */
  name: Sql;
  mayDiffer: boolean;
  /** Condition on the relation, with WHERE: the row's key is new; empty if all keys are new. */
  isNew: Sql;
  /** Query for the row ids of the relation's changed rows. */
  changed: Sql;
  /** Condition: `t` is the stored row of pair `k`. */
  atSamePlace: Sql;
}

/** Finds the stored rows of the relation's keys, and whether they differ. @param which limits the table's rows. */
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
  // By row id only: with the key in the join too, the plan would read the whole batch for a single stored row.
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

async function insertRows(
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

/** Values of Highwater's own columns in each new row. */
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
