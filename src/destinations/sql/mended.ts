/** Quarantined records of which the source could not make rows: they leave the quarantine when a later batch has their key. */
import { PARENT, REFUSED, type TableSpec } from '../../protocol.js';
import { RecordScanner, ScanError } from '../../sources/record-scanner.js';
import { columnIn } from '../checkpoints.js';
import type { WriteRequest } from '../destination.js';
import { counts, type Batch, type SqlSession } from './dialect.js';
import { ownTable, tableIs } from './own-tables.js';
import { joined, literal, numeral, sql, type Sql } from './sql.js';

const BEGIN = `{"${REFUSED}":`;

/** Rows of child tables begin with their record; they leave the quarantine when that comes again. */
const CHILD_BEGIN = `{"${PARENT}":`;

/** Whether a quarantined record lacks what the source was to make of it, so that no retry can store it. */
export const isRefused = (record: string): boolean =>
  (record.startsWith(BEGIN) || (record.startsWith(CHILD_BEGIN) && record.includes(`"${REFUSED}":true`))) &&
  Object.hasOwn(JSON.parse(record) as object, REFUSED);

type OfBatch = Pick<WriteRequest, 'key' | 'next' | 'table'>;

/** FROM and WHERE: such records of a table that were quarantined before this batch. */
function refused(session: SqlSession, { key, next }: Pick<OfBatch, 'key' | 'next'>): Sql {
  const isMarked = sql`substr(record, 1, ${numeral(BEGIN.length)}) = ${literal(BEGIN)}`;
  return sql`FROM ${ownTable(session, key, 'rejects')} WHERE ${tableIs(session, key)} AND batch <> ${literal(next)} AND ${isMarked}`;
}

/** Returns whether the table has such records. A table that quarantines none is not asked. */
export async function hasRefused(session: SqlSession, request: OfBatch): Promise<boolean> {
  const { quarantine, inference } = request.table;
  if (quarantine !== true && inference?.policy !== 'quarantine') return false;
  const [count = 0] = await counts(session, sql`SELECT count(*) ${refused(session, request)}`);
  return count > 0;
}

/** Records that are looked at together, and the characters that one of them may have. */
const ROUND = 1000;
const LONGEST = 64 * 1024;

/** Removes such records from quarantine whose key a batch has: their rows could be made this time. */
export async function dropMended(session: SqlSession, request: OfBatch, batch: Batch): Promise<void> {
  const { dialect } = session;
  const { key, table } = request;
  const place = sql`CAST(${dialect.place({}) ?? sql`NULL`} AS VARCHAR)`;
  const columns = table.primaryKey.map((name) => sql`s.${columnIn(batch.columns, name)}`);
  const written = sql`SELECT ${dialect.keyText(columns)} FROM ${batch.name} AS s`;
  let passed = 0;
  for (;;) {
    const found = await session.rows(
      sql`SELECT ${place}, record ${refused(session, request)} AND length(record) <= ${numeral(LONGEST)}
         ORDER BY rejected_at, ${place} LIMIT ${numeral(ROUND)} OFFSET ${numeral(passed)}`,
    );
    const keyed = found.flatMap(([at, record]) => {
      const text = keyOf(table, record ?? '');
      return text === null ? [] : [sql`(${literal(at ?? '')}, ${literal(text)})`];
    });
    const dropped =
      keyed.length === 0
        ? 0
        : await session.run(
            sql`DELETE FROM ${ownTable(session, key, 'rejects')} WHERE ${place} IN (
               SELECT v.place FROM (VALUES ${joined(keyed)}) AS v (place, key) WHERE ${dialect.asKeyText(sql`v.key`)} IN (${written}))`,
          );
    if (found.length < ROUND) return;
    passed += found.length - dropped;
  }
}

/** Texts that not every database can hold. */
const ODD = /[\0\p{Cs}]/u;

/** The primary key of a record as a JSON list of texts; null if it has none: the hook was to make it. */
function keyOf({ primaryKey }: TableSpec, record: string): string | null {
  let found: string | null = null;
  const scanner = new RecordScanner({
    records: [],
    primaryKey,
    cursorField: '',
    columns: [],
    remembers: { keys: 'all', values: 'none' },
    recordLimit: Infinity,
    sink: (_, { keys: [key] }) => {
      if (key !== undefined) found = primaryKey.length === 1 ? JSON.stringify([key]) : key;
    },
  });
  try {
    scanner.push(Buffer.from(`[${record}]`));
    scanner.end();
  } catch (thrown) {
    if (!(thrown instanceof ScanError)) throw thrown;
    return null;
  }
  return found === null || hasOddText(found) ? null : found;
}

const hasOddText = (key: string): boolean => (JSON.parse(key) as string[]).some((part) => ODD.test(part));
