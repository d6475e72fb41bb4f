/** How a loaded batch becomes rows of a table, in the mode of the table. */
import { DELETED_AT, VALID_TO, type Note } from '../../protocol.js';
import { columnIn, missesRows, tableName } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import { sameKey } from './conditions.js';
import type { Batch, SqlSession } from './dialect.js';
import { asideOf, marksDeleted, modeOf, saysDeleted, stamping } from './modes.js';
import { compareBatch, noteGone, rememberKeys } from './ranges.js';
import { identifier, sql, type Sql } from './sql.js';

/** The outcome of a batch, or of the end of a pass. */
export interface Written {
  /** Rows inserted or changed. */
  rows: number;
  /** Rows removed or marked because they are gone from the source. */
  deleted: number;
  /** For the checkpoint; absent where there are none. */
  notes?: Note[];
  /** Rows of a range that were left as they are; absent where there are none. */
  left?: number;
}

/** Writes a batch; one of a range only where the sync has not written a newer version meanwhile. */
export async function writeBatch(session: SqlSession, request: WriteRequest, batch: Batch): Promise<Written> {
  const { range } = request;
  if (range === undefined) return writeRows(session, request, batch);
  if (range.kind === 'audit') await rememberKeys(session, request, batch);
  const left = await compareBatch(session, { ...request, range }, batch);
  if (!range.writes) return { rows: 0, deleted: 0, left };
  return { ...(await writeRows(session, request, batch)), left };
}

async function writeRows(session: SqlSession, request: WriteRequest, batch: Batch): Promise<Written> {
  const { dialect } = session;
  const { table, key, next } = request;
  // Records that say that they are deleted leave the batch, but the pass has met them.
  if (missesRows(table)) await rememberKeys(session, request, batch);
  let deleted = await endDeleted(session, request, batch);
  let rows = 0;
  switch (modeOf(table)) {
    case 'append':
      rows = await dialect.append(session, table, batch, next);
      break;
    case 'history':
      rows = await dialect.supersede(session, table, batch, next);
      break;
    case 'replace':
      // They become rows of the table at the end of the pass.
      await dialect.upsert(session, asideOf(key, table), batch, next);
      break;
    case 'upsert':
      rows = await dialect.upsert(session, table, batch, next);
  }
  if (marksDeleted(table)) deleted += await markDeleted(session, request, batch);
  return { rows, deleted };
}

/** Removes records that say that they are deleted from the batch, and their rows; does nothing where rows are marked. */
async function endDeleted(session: SqlSession, request: WriteRequest, batch: Batch): Promise<number> {
  const { table, key, next } = request;
  if (table.deletedField === undefined || marksDeleted(table)) return 0;
  const gone = saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const target = tableName(table.mode === 'replace' ? asideOf(key, table) : table);
  if (table.mode === undefined) {
    const rows = sql`${target} AS t JOIN ${batch.name} AS s ON ${sameKey(table, batch)} WHERE ${gone}`;
    await noteGone(session, request, rows);
  }
  const ended = await session.run(
    table.mode === 'history'
      ? sql`UPDATE ${target} AS t SET ${identifier(VALID_TO)} = now()${stamping(table, next)} FROM ${batch.name} AS s
           WHERE ${sameKey(table, batch)} AND t.${identifier(VALID_TO)} IS NULL AND ${gone}`
      : sql`DELETE FROM ${target} AS t USING ${batch.name} AS s WHERE ${sameKey(table, batch)} AND ${gone}`,
  );
  await session.run(sql`DELETE FROM ${batch.name} AS s WHERE ${gone}`);
  return table.mode === 'replace' ? 0 : ended;
}

/** Marks the rows whose records say that they are deleted, and removes the mark from those that are back. */
async function markDeleted(
  session: SqlSession,
  { table, next }: WriteRequest,
  batch: Batch,
): Promise<number> {
  const gone =
    table.deletedField === undefined
      ? sql`false`
      : saysDeleted(table, sql`s.${columnIn(batch.columns, table.deletedField)}`);
  const mark = (value: Sql, which: Sql) =>
    session.run(
      sql`UPDATE ${tableName(table)} AS t SET ${identifier(DELETED_AT)} = ${value}${stamping(table, next)} FROM ${batch.name} AS s
         WHERE ${sameKey(table, batch)} AND ${which}`,
    );
  await mark(sql`NULL`, sql`t.${identifier(DELETED_AT)} IS NOT NULL AND NOT ${gone}`);
  return table.deletedField === undefined
    ? 0
    : mark(sql`now()`, sql`t.${identifier(DELETED_AT)} IS NULL AND ${gone}`);
}
