/** Tables that follow their source: the columns they have, and the changes that were made to them. */
import { messageOf } from '../../errors.js';
import type { ColumnType, SchemaChange, StreamKey, TableSpec } from '../../protocol.js';
import { notReady, refuseOtherTypes, tableName } from '../checkpoints.js';
import { Columns, hasEvolved, hasKeys, type SchemaStore, type StoredTable } from '../columns/inference.js';
import type { Dialect, SqlSession } from './dialect.js';
import { hasOneRowAKey, MODE_COLUMNS, refuseOtherMode } from './modes.js';
import { insertInto, keyIs, keyLiterals, ownTable, tableIs } from './own-tables.js';
import { identifier, joined, literal, sql, type Sql } from './sql.js';

/** Reads a table's columns, and which members of records they were made for. */
async function storedTable(session: SqlSession, table: TableSpec): Promise<StoredTable> {
  const { dialect } = session;
  const columns = await dialect.storedColumns(session, table);
  if (!(await dialect.hasOwnTable(session, table.schema, 'schema_changes'))) return { columns, origins: [] };
  const origins = await session.rows(
    sql`SELECT "column", path FROM ${ownTable(session, table, 'schema_changes')}
       WHERE ${tableIs(session, table)} ORDER BY ${dialect.changes.order}`,
  );
  return {
    columns,
    origins: origins.map(([column, path]) => ({
      column: column ?? '',
      path: JSON.parse(path ?? '[]') as string[],
    })),
  };
}

/** The columns of a table that follows its source; null for any other table. */
export async function columnsOf(session: SqlSession, table: TableSpec): Promise<Columns | null> {
  if (table.inference === undefined) return null;
  return new Columns(table, await storedTable(session, table), session.dialect.names);
}

/** The column that a member of records has, and its type; null where it has none. */
export async function columnOf(
  session: SqlSession,
  table: TableSpec,
  member: string,
): Promise<{ name: string; type: ColumnType } | null> {
  const known = await columnsOf(session, table);
  const name = known === null ? member : known.find(member);
  const type = name === null ? undefined : (known?.spec() ?? table).columns[name];
  return name === null || type === undefined ? null : { name, type };
}

/** The columns of a table, declared and Highwater's own, as a new table declares them. */
const definitionsOf = (dialect: Dialect, table: TableSpec): Sql[] => [
  ...Object.entries(table.columns).map(
    ([name, type]) =>
      sql`${identifier(name)} ${dialect.type(type)}${table.primaryKey.includes(name) ? sql` NOT NULL` : sql``}`,
  ),
  ...dialect.ownColumns(table).map(([name, definition]) => sql`${identifier(name)} ${definition}`),
];

/** The statement that makes a table where it is missing. */
export function creationOf(dialect: Dialect, table: TableSpec): Sql {
  const key = hasOneRowAKey(table) ? dialect.primaryKey(table.primaryKey.map(identifier)) : sql``;
  return sql`CREATE TABLE IF NOT EXISTS ${tableName(table)} (${joined(definitionsOf(dialect, table))}${key})`;
}

/** Adds a column, or gives it a wider type. @param from null for a column that is missing. */
export function columnChange(
  dialect: Dialect,
  table: TableSpec,
  { column, from, to }: Pick<SchemaChange, 'column' | 'from' | 'to'>,
): Sql {
  const name = identifier(column);
  return from === null
    ? sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${name} ${dialect.type(to)}`
    : sql`ALTER TABLE ${tableName(table)} ALTER COLUMN ${name} SET DATA TYPE ${dialect.type(to)} USING ${dialect.widened(name, from, to)}`;
}

/**
 * Makes a table, or adds the columns that it lacks.
 * @throws {DestinationError} where it has columns of other types, or rows of another mode.
 */
export async function prepareTable(session: SqlSession, table: TableSpec): Promise<void> {
  const { dialect } = session;
  dialect.refuseNames(table);
  const change = (statement: Sql) => dialect.changeTable(session, tableName(table), statement);
  const known = await columnsOf(session, table);
  // The first records decide which columns it gets.
  if (known?.exists === false && !hasKeys(table)) return;
  if (known?.exists !== true) await session.run(creationOf(dialect, table));
  const { fold } = dialect.names;
  const stored = (await dialect.storedColumns(session, table)) ?? [];
  const existing = new Map(stored.map((column) => [fold(column.name), column]));
  const differences: string[] = [];
  for (const [name, type] of Object.entries(table.columns)) {
    const wanted = dialect.storedType(type);
    const is = existing.get(fold(name));
    if (is === undefined) await change(columnChange(dialect, table, { column: name, from: null, to: type }));
    else if (is.stored !== wanted && !hasEvolved(table, type, is.type))
      differences.push(`${name} is ${is.stored} in the table, but declared as ${type} (${wanted})`);
  }
  refuseOtherTypes(table, differences);
  const [[hasRows = 'false'] = []] = await session.rows(
    sql`SELECT EXISTS (SELECT 1 FROM ${tableName(table)})`,
  );
  if (hasRows === 'true') refuseOtherMode(table, new Set(existing.keys()));
  else {
    const own = new Set(dialect.ownColumns(table).map(([name]) => name));
    for (const name of MODE_COLUMNS.filter((one) => existing.has(one) && !own.has(one)))
      await change(sql`ALTER TABLE ${tableName(table)} DROP COLUMN ${identifier(name)}`);
  }
  const whole = known?.exists === true ? known.spec() : table;
  await addOwnColumns(session, whole);
  await dialect.prepareKey(session, whole);
}

/** Adds those of Highwater's columns that a table lacks. */
async function addOwnColumns(session: SqlSession, table: TableSpec): Promise<void> {
  const { dialect } = session;
  const stored = (await dialect.storedColumns(session, table)) ?? [];
  const names = new Set(stored.map(({ name }) => dialect.names.fold(name)));
  for (const [name, definition] of dialect.ownColumns(table)) {
    if (names.has(name)) continue;
    const statement = sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${identifier(name)} ${definition}`;
    await dialect.changeTable(session, tableName(table), statement);
  }
}

/** Brings Highwater's columns up to date after changes to the others. */
export async function followChanges(
  session: SqlSession,
  table: TableSpec,
  changes: readonly SchemaChange[],
): Promise<void> {
  if (changes.length === 0) return;
  await addOwnColumns(session, table);
  // The text of a key may be another one in another type.
  if (changes.some(({ column, from }) => from !== null && table.primaryKey.includes(column)))
    await session.dialect.refreshKey(session, table);
}

/**
 * Adapts a table to the records of a batch, in the write's transaction.
 * @param batch the checkpoint that the changes are committed with.
 * @param create makes a table that is missing.
 */
export function schemaStore(
  session: SqlSession,
  key: StreamKey,
  table: TableSpec,
  batch: string,
  create: (table: TableSpec) => Promise<void>,
): SchemaStore {
  const { dialect } = session;
  const change = (statement: Sql) =>
    dialect.changeTable(session, tableName(table), statement).catch((thrown: unknown) => {
      // A view or a generated column depends on it, the user may not change it, it has too many columns.
      throw dialect.isRefusal(thrown) ? notReady(table, messageOf(thrown)) : thrown;
    });
  return {
    ...dialect.names,
    read: async () => {
      await dialect.lockName(session, `highwater columns of ${table.schema}.${table.table}`);
      return storedTable(session, table);
    },
    survives: async (column) => {
      const [[isRounded = 'false'] = []] = await session.rows(
        sql`SELECT EXISTS (SELECT 1 FROM ${tableName(table)} WHERE ${dialect.isRounded(identifier(column))})`,
      );
      return isRounded !== 'true';
    },
    apply: async (spec, isNew, changes) => {
      if (isNew) await create(spec);
      const made = isNew ? [] : changes.filter(({ from, to }) => from !== to);
      for (const one of made) await change(columnChange(dialect, table, one));
      await followChanges(session, spec, made);
      if (changes.length === 0) return;
      const rows = changes.map(
        ({ column, path, from, to, example, record }) =>
          sql`(${literal(batch)}, ${keyLiterals(key)}, ${joined([column, JSON.stringify(path)].map(literal))}, ${from === null ? sql`NULL` : literal(from)}, ${joined([to, example, record].map(wholeText))}, now())`,
      );
      await session.run(sql`${insertInto(session, key, 'schema_changes')} VALUES ${joined(rows)}`);
    },
  };
}

/** A text without halves of characters, which an example may end in where it was cut. */
const wholeText = (text: string) => literal(text.replace(/[\0\p{Surrogate}]/gu, '\uFFFD'));

/** Reads how a committed batch has changed its table. */
export async function changesOf(session: SqlSession, key: StreamKey, batch: string): Promise<SchemaChange[]> {
  const found = await session.rows(
    sql`SELECT "column", from_type, to_type FROM ${ownTable(session, key, 'schema_changes')}
       WHERE ${keyIs(session, key)} AND batch = ${literal(batch)} AND from_type IS DISTINCT FROM to_type
       ORDER BY ${session.dialect.changes.order}`,
  );
  return found.map(([column, from, to]) => ({
    column: column ?? '',
    from: (from ?? null) as ColumnType | null,
    to: to as ColumnType,
  }));
}
