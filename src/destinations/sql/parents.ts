/** Rows of a parent's table, with the marks that a stream keeps of them: `_highwater_parents`. */
import { DELETED_AT, VALID_TO, type ColumnType, type Json, type StreamKey } from '../../protocol.js';
import { isRead, tableName } from '../checkpoints.js';
import { parentTable } from '../columns/inference.js';
import type { ParentRow, ParentsRequest } from '../destination.js';
import type { Dialect, Loader, SqlSession } from './dialect.js';
import { columnsOf } from './evolution.js';
import { marksDeleted } from './modes.js';
import { insertInto, keyIs, keyLiterals, ownTable } from './own-tables.js';
import { storedCheckpoints } from './stored-checkpoints.js';
import { identifier, joined, literal, numeral, sql, type Sql } from './sql.js';

/** Keeps the last mark of each parent, from files of {@link ParentMark}s. */
export async function keepMarks(
  session: SqlSession,
  key: StreamKey,
  files: readonly string[],
  { readMembers }: Pick<Loader, 'readMembers'>,
): Promise<void> {
  const marks = await readMembers(files, ['parent', 'mark']);
  const parents = ownTable(session, key, 'parents');
  const parent = session.dialect.asKeyText(sql`parent`);
  await session.runAll([
    sql`DELETE FROM ${parents} WHERE ${keyIs(session, key)} AND parent IN (SELECT ${parent} FROM ${marks} AS m)`,
    sql`${insertInto(session, key, 'parents')} SELECT ${keyLiterals(key)}, parent, mark
       FROM (SELECT parent, mark, row_number() OVER (PARTITION BY parent ORDER BY place DESC) AS place
         FROM (SELECT place, ${parent} AS parent, mark FROM ${marks} AS m) AS m) AS m WHERE place = 1`,
  ]);
}

/** Reads rows of a parent's table; null while no pass over it has ended. */
export async function readParents(session: SqlSession, request: ParentsRequest): Promise<ParentRow[] | null> {
  const { key, parent } = request;
  const { schema, table: name } = parent.table;
  if (!(await session.dialect.hasOwnTable(session, schema, 'checkpoints'))) return null;
  if (!isRead(await storedCheckpoints(session, { ...key, schema, table: name }))) return null;
  const found = parentTable(parent, await columnsOf(session, parent.table));
  if (found === null) return [];
  const { table, columnOf } = found;
  return parentRows(session, { ...request, parent: { ...parent, table } }, tableName(table), columnOf);
}

/**
 * Reads rows of a parent's table with their marks, in the order of the primary key.
 * @param from the relation that stands for the table.
 * @param columnOf columns of fields that have another name there.
 */
export async function parentRows(
  session: SqlSession,
  { key, parent, after, limit }: ParentsRequest,
  from: Sql,
  columnOf: ReadonlyMap<string, string> = new Map(),
): Promise<ParentRow[]> {
  const { dialect } = session;
  const { table, fields } = parent;
  const columns = fields.map((field) => columnOf.get(field) ?? field);
  const names = table.primaryKey.map((name) => sql`p.${identifier(name)}`);
  const types = table.primaryKey.map((name) => table.columns[name] ?? 'STRING');
  const ordered = (value: Sql, i: number) => (types[i] === 'STRING' ? dialect.bytes(value) : value);
  const keys = names.map(ordered);
  const beyond = (after ?? []).map((text, i) =>
    ordered(sql`CAST(${literal(text)} AS ${dialect.type(types[i] ?? 'STRING')})`, i),
  );
  const values = columns.map((name) => parentValue(dialect, identifier(name), table.columns[name]));
  const conditions = [
    ...(after === null ? [] : [sql`(${joined(keys)}) > (${joined(beyond)})`]),
    // Children of a parent that is gone are not asked for.
    ...(marksDeleted(table) ? [sql`p.${identifier(DELETED_AT)} IS NULL`] : []),
    ...(table.mode === 'history' ? [sql`p.${identifier(VALID_TO)} IS NULL`] : []),
  ];
  const rows = await session.rows(
    sql`WITH p AS (
       SELECT ${joined([...keys, ...values].map((value, i) => sql`${value} AS c${numeral(i)}`))}, ${dialect.keyText(names)} AS key
       FROM ${from} AS p
       ${conditions.length === 0 ? sql`` : sql`WHERE ${joined(conditions, sql` AND `)}`}
       ORDER BY ${joined(keys)} LIMIT ${numeral(limit)})
     SELECT p.key, m.mark, ${joined(fields.map((_, i) => sql`p.c${numeral(keys.length + i)}`)) || sql`NULL`}
     FROM p LEFT JOIN (SELECT parent, mark FROM ${ownTable(session, key, 'parents')} WHERE ${keyIs(session, key)}) AS m ON m.parent = p.key
     ORDER BY ${joined(keys.map((_, i) => sql`p.c${numeral(i)}`))}`,
  );
  return rows.map(([name, mark, ...rest]) => ({
    key: JSON.parse(name ?? '[]') as string[],
    mark: mark == null ? null : (JSON.parse(mark) as Json),
    fields: Object.fromEntries(
      fields.map((field, i) => [field, fieldOf(rest[i] ?? null, table.columns[columns[i] ?? ''])]),
    ),
  }));
}

/** A parent's value as text that means the same in a request as it did in the source's answer. */
const parentValue = (dialect: Dialect, name: Sql, type: ColumnType | undefined): Sql =>
  type === 'UTC_DATETIME' ? dialect.microseconds(sql`p.${name}`) : sql`CAST(p.${name} AS VARCHAR)`;

function fieldOf(text: string | null, type: ColumnType | undefined): Json {
  if (text === null) return null;
  if (type === 'BOOLEAN') return text === 'true';
  const isWhole = type === 'SHORT' || type === 'INT' || type === 'LONG';
  // A number beyond 2^53 stays text.
  return isWhole && Number.isSafeInteger(Number(text)) ? Number(text) : text;
}
