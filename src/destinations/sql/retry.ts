/** Retries quarantined records: those that fit now are written, the others stay with their current reason. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { childTable, VALID_TO, type Reject, type StreamKey, type TableSpec } from '../../protocol.js';
import { RecordScanner, ScanError, type ExactColumns } from '../../sources/record-scanner.js';
import { batchColumns, columnIn, tableName } from '../checkpoints.js';
import { declaredOnly, adaptTable } from '../columns/inference.js';
import type { WriteRequest } from '../destination.js';
import type { Loader, SortedLines, SqlSession } from './dialect.js';
import { prepareTable, schemaStore } from './evolution.js';
import { isOrdered, keepsLast } from './modes.js';
import { isRefused } from './mended.js';
import { keepRejects, takeRejects } from './rejects.js';
import { identifier, literal, sql } from './sql.js';
import { sameKey } from './conditions.js';
import { writeBatch } from './write-batch.js';

/** Asks for quarantined records of a table to be retried. */
export interface RetryRequest {
  table: TableSpec;
  /** The table is a child table, without {@link PARENT}; its quarantined rows are newer than those it has. */
  isChild?: true;
  /** The field that tells which of two records is newer; empty if there is none. */
  cursorField: string;
  /** Whether records replace existing rows, even newer ones. */
  overwrite: boolean;
}

/** What became of quarantined records that were retried. */
export interface RetryOutcome {
  /** Records that were in quarantine. */
  records: number;
  /** Records that have left quarantine. */
  retried: number;
  /** Rows inserted or changed. */
  rows: number;
}

/** Services of the destination that a retry uses. */
export interface RetryHost {
  /** The folder for files of lines, which the database can read. */
  folder: string;
  /** Columns whose numbers must keep every digit on their way into this database. */
  exact: (columns: TableSpec['columns']) => ExactColumns;
  /** Runs a round in a transaction in which the table is ready. */
  transaction: <T>(work: (session: SqlSession, loader: Loader) => Promise<T>) => Promise<T>;
}

const NOT_KNOWN_TO_BE_OLDER =
  'the table has a row with this key that may be newer; "--overwrite" replaces it anyway';

/** Records of one transaction. */
const ROUND_RECORDS = 5000;

/**
 * Returns the request with the table as it is stored. Quarantined rows of a child table are never older than its rows: they
 * are forgotten when their record comes again.
 */
export const wholeRetry = (request: RetryRequest): RetryRequest =>
  request.isChild === true ? { ...request, table: childTable(request), overwrite: true } : request;

/** Retries the quarantined records of a table. */
export async function retryRejects(request: RetryRequest, host: RetryHost): Promise<RetryOutcome> {
  const { schema, table } = request.table;
  // The rows belong to no stream's batch.
  const key: StreamKey = { schema, table, strategy: 'keyset', source: 'retry', range: '' };
  const next = `retry-${randomUUID()}`;
  const outcome: RetryOutcome = { records: 0, retried: 0, rows: 0 };
  await mkdir(host.folder, { recursive: true });
  const folder = await mkdtemp(join(host.folder, 'highwater-retry-'));
  try {
    let before: string | null = null;
    for (;;) {
      const found = await host.transaction(async (session, loader) => {
        const { records, now } = await takeRejects(session, key, before, ROUND_RECORDS);
        if (records.length === 0) return { rows: 0, kept: 0, now, records: 0 };
        const round = { request, exact: host.exact, session, loader, key, next, folder };
        return { ...(await retryRecords(round, records)), now, records: records.length };
      });
      // Records that stay are quarantined again, at a later time, and not retried twice.
      before ??= found.now;
      if (found.records === 0) return outcome;
      outcome.records += found.records;
      outcome.retried += found.records - found.kept;
      outcome.rows += found.rows;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Round extends Pick<RetryHost, 'exact' | 'folder'> {
  request: RetryRequest;
  session: SqlSession;
  loader: Loader;
  key: StreamKey;
  next: string;
}

/** @returns the number of rows inserted or changed, and of records that stay in quarantine. */
async function retryRecords(
  round: Round,
  records: readonly string[],
): Promise<{ rows: number; kept: number }> {
  const { session, loader, key, next, folder } = round;
  const { table: asked, cursorField } = round.request;
  const { inference } = asked;
  // Records that still do not fit a frozen table stay in quarantine; that is no failure.
  const table: TableSpec =
    inference?.policy === 'freeze' ? { ...asked, inference: { ...inference, policy: 'quarantine' } } : asked;
  const exact = inference === undefined ? round.exact(asked.columns) : undefined;
  const scanned = scanRecords(asked, cursorField, records, exact);
  const kept = [...scanned.rejects];
  let rows = 0;
  if (scanned.lines.length > 0) {
    const file = join(folder, 'records.ndjson');
    await writeFile(file, scanned.lines.map(({ line }) => `${line}\n`).join(''), { mode: 0o600 });
    const longest = Math.max(2, ...scanned.lines.map(({ line }) => Buffer.byteLength(line)));
    const create = (made: TableSpec) => prepareTable(session, declaredOnly(made));
    const batch =
      inference === undefined
        ? null
        : await adaptTable(table, schemaStore(session, key, table, next, create), [file], longest);
    const refused = batch?.refused ?? new Map<number, string>();
    for (const [place, reason] of refused) kept.push({ reason, record: scanned.lines[place]?.record ?? '' });
    const left = scanned.lines.filter((_, place) => !refused.has(place));
    const spec = rowsOnly(batch?.table ?? declaredOnly(table));
    const column = batch === null ? cursorField : batch.columnOf(cursorField);
    try {
      const lines = await loader.sortLines(spec, [batch?.files[0] ?? file], batch?.longest ?? longest);
      if (!round.request.overwrite) await refuseOlder(session, spec, lines, column);
      const misfits = await session.rows(
        sql`SELECT place, reason FROM ${lines.name} WHERE reason IS NOT NULL`,
      );
      const write = outsideOfPasses(key, spec, next);
      rows = (
        await writeBatch(
          session,
          write,
          await loader.loadFitting(spec, lines, { keeps: keepsLast({ table: spec }) ? 'last' : 'all' }),
        )
      ).rows;
      for (const [place, reason] of misfits)
        kept.push({ reason: reason ?? '', record: left[Number(place) - 1]?.record ?? '' });
    } finally {
      await batch?.discard();
    }
  }
  if (kept.length > 0) {
    const file = join(folder, 'kept.ndjson');
    await writeFile(file, kept.map((reject) => `${JSON.stringify(reject)}\n`).join(''), { mode: 0o600 });
    await keepRejects(session, { key, next }, [file], loader);
  }
  return { rows, kept: kept.length };
}

/** Gives lines that are not known to be newer than the row they would replace a reason to stay in quarantine. */
async function refuseOlder(
  session: SqlSession,
  table: TableSpec,
  { name, fitting }: SortedLines,
  cursor: string | null,
): Promise<void> {
  const columns = batchColumns(table);
  const rows = sql`SELECT s.place FROM (${fitting}) AS s JOIN ${tableName(table)} AS t ON ${sameKey(table, { columns })}`;
  const current = table.mode === 'history' ? sql` AND t.${identifier(VALID_TO)} IS NULL` : sql``;
  const isNewer =
    cursor !== null && isOrdered(table.columns[cursor])
      ? sql`coalesce(s.${columnIn(columns, cursor)} >= t.${identifier(cursor)}, false)`
      : sql`false`;
  await session.run(
    sql`UPDATE ${name} SET reason = ${literal(NOT_KNOWN_TO_BE_OLDER)} WHERE place IN (${rows}${current} WHERE NOT ${isNewer})`,
  );
}

/**
 * Returns a table for writing records outside of any pass: no row is removed because they lack it, and in mode
 * `replace` they are added to the rows of the last pass.
 */
function rowsOnly({ deletes, mode, ...rest }: TableSpec): TableSpec {
  return {
    ...rest,
    ...(deletes !== undefined && rest.deletedField !== undefined && { deletes, unseen: 'stay' as const }),
    ...(mode !== undefined && mode !== 'replace' && { mode }),
  };
}

/** A write outside of any pass, which moves no checkpoint. */
const outsideOfPasses = (key: StreamKey, table: TableSpec, next: string): WriteRequest => ({
  key,
  table,
  base: '',
  next,
  cursor: { pass: 0, mark: null, position: null, ended: null, notes: [] },
  records: 0,
  pages: 0,
  bytes: 0,
  longest: 0,
  files: () => Promise.resolve([]),
  workflowId: '',
});

/** Reads records as a source's answers are read; those that cannot be stored at all are rejected. */
function scanRecords(
  { primaryKey, columns, quarantine }: TableSpec,
  cursorField: string,
  records: readonly string[],
  exact: ExactColumns | undefined,
): { lines: { line: string; record: string }[]; rejects: Reject[] } {
  const lines: { line: string; record: string }[] = [];
  const rejects: Reject[] = [];
  for (const record of records) {
    if (isRefused(record)) {
      rejects.push({ reason: NOT_MADE, record });
      continue;
    }
    try {
      const scanner = new RecordScanner({
        records: [],
        primaryKey,
        cursorField,
        columns: Object.keys(columns),
        remembers: { keys: 'none', values: 'none' },
        ...(exact !== undefined && { exact }),
        ...(quarantine === true && { halves: 'refuse' as const }),
        recordLimit: Infinity,
        sink: (bytes) => void lines.push({ line: bytes.toString('utf8').trim(), record }),
      });
      scanner.push(Buffer.from(`[${record}]`));
      scanner.end();
    } catch (thrown) {
      if (!(thrown instanceof ScanError)) throw thrown;
      rejects.push({ reason: thrown.reason ?? thrown.message, record });
    }
  }
  return { lines, rejects };
}

const NOT_MADE =
  'its columns could not be made: correct the hook or the expression, and have a pass read the record again, such as that of "highwater resync"; ' +
  'it leaves the quarantine when a batch has its key; if the hook makes the key, delete the record from _highwater_rejects once its rows are stored';
