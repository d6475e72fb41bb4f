/** Quarantined records: `_highwater_rejects`. */
import type { StreamKey } from '../../protocol.js';
import type { WriteRequest } from '../destination.js';
import { counts, type Loader, type SortedLines, type SqlSession } from './dialect.js';
import { insertInto, keyIs, keyLiterals, ownTable, tableIs } from './own-tables.js';
import { literal, numeral, sql } from './sql.js';

type OfBatch = Pick<WriteRequest, 'key' | 'next'>;

/** A record of the greatest length, and its reason. */
const REJECT_BYTES = 48 * 1024 * 1024;

/** Puts records aside, from files of {@link Reject}s. */
export async function keepRejects(
  session: SqlSession,
  { key, next }: OfBatch,
  files: readonly string[],
  { readMembers }: Pick<Loader, 'readMembers'>,
): Promise<void> {
  const found = await readMembers(files, ['reason', 'record'], REJECT_BYTES);
  await session.run(
    sql`${insertInto(session, key, 'rejects')} SELECT ${literal(next)}, ${keyLiterals(key)}, reason, record, now() FROM ${found} AS r`,
  );
}

/** Puts the lines aside that do not fit. */
export async function keepMisfits(
  session: SqlSession,
  { key, next }: OfBatch,
  { name }: SortedLines,
): Promise<void> {
  await session.run(
    sql`${insertInto(session, key, 'rejects')}
       SELECT ${literal(next)}, ${keyLiterals(key)}, reason, line, now() FROM ${name} WHERE reason IS NOT NULL ORDER BY place`,
  );
}

/** Counts the records of a batch that were quarantined. */
export async function rejectedOf(session: SqlSession, { key, next, table }: WriteRequest): Promise<number> {
  if (table.quarantine !== true) return 0;
  const [count = 0] = await counts(
    session,
    sql`SELECT count(*) FROM ${ownTable(session, key, 'rejects')} WHERE ${keyIs(session, key)} AND batch = ${literal(next)}`,
  );
  return count;
}

/**
 * Takes the first records of a table out that were quarantined before a time.
 * @param before null: now.
 * @returns the records, and the time of the transaction.
 */
export async function takeRejects(
  session: SqlSession,
  key: Pick<StreamKey, 'schema' | 'table'>,
  before: string | null,
  limit: number,
): Promise<{ records: string[]; now: string }> {
  const { dialect } = session;
  // Writes come before this transaction or after it: both statements see the same records.
  await dialect.lockTable(session, key);
  const rejects = ownTable(session, key, 'rejects');
  const place = dialect.place({}) ?? sql`NULL`;
  const time = before === null ? sql`now()` : sql`CAST(${literal(before)} AS TIMESTAMPTZ)`;
  const first = sql`FROM ${rejects} WHERE ${tableIs(session, key)} AND rejected_at < ${time} ORDER BY rejected_at, ${place} LIMIT ${numeral(limit)}`;
  const records = await session.rows(sql`SELECT record ${first}`);
  await session.run(sql`DELETE FROM ${rejects} WHERE ${place} IN (SELECT ${place} ${first})`);
  const [[now] = []] = await session.rows(sql`SELECT CAST(now() AS VARCHAR)`);
  return { records: records.map(([record]) => record ?? ''), now: now ?? '' };
}
