/** The write of a batch: rows, log and checkpoint in one transaction, by compare-and-set on the checkpoint. */
import { faultPoint } from '../../faults.js';
import type { Cursor, Note, SchemaChange } from '../../protocol.js';
import { conflict, type StoredCheckpoint } from '../checkpoints.js';
import type { RangeWrite, WriteOutcome, WriteRequest } from '../destination.js';
import { childRequest, rememberWritten } from './children.js';
import type { Loader, SqlSession } from './dialect.js';
import { keepEnded } from './drift.js';
import { changesOf } from './evolution.js';
import { dropMended, hasRefused } from './mended.js';
import { isReadOnce, keepsLast, NOTHING_WRITTEN, withNotes } from './modes.js';
import { insertInto, keyIs, keyLiterals, ownTable } from './own-tables.js';
import { keepMarks } from './parents.js';
import { endPass, preparePass, rowsBefore } from './pass.js';
import { besideTable, keysOnly, rememberKeys } from './ranges.js';
import { keepRejects, rejectedOf } from './rejects.js';
import { joined, literal, numeral, sql } from './sql.js';
import { writeBatch, type Written } from './write-batch.js';
import { changesOfChild, endChildren, writeChildren } from './write-children.js';
import { writeTable, type WrittenInto } from './write-table.js';

/**
 * Commits a batch from the stored checkpoint, or says how it was committed before.
 * @param stored the checkpoint of the stream, which no other transaction changes until this one ends.
 * @throws {CheckpointConflictError} where the batch is based on another checkpoint.
 */
export async function commitBatch(
  session: SqlSession,
  request: WriteRequest,
  stored: StoredCheckpoint | undefined,
  loader: Loader,
): Promise<WriteOutcome> {
  const { key, base } = request;
  if (stored?.id !== base) {
    // Other batches may have been committed after it.
    const committed = await committedBefore(session, request);
    if (committed === null) throw conflict(key, base, stored);
    return committed;
  }
  const had = await rowsBefore(session, request);
  const written = await writeTable(
    session,
    request,
    (own) => writeRecords(session, own, stored.cursor, loader),
    loader,
  );
  const { table, exists, left = 0 } = written;
  const children = await writeChildren(session, request, written, stored.cursor, loader);
  if (request.marks !== undefined) await keepMarks(session, key, await request.marks(), loader);
  if (request.rejects !== undefined) await keepRejects(session, request, await request.rejects(), loader);
  const rejected = await rejectedOf(session, request);
  const ended =
    exists && request.range === undefined
      ? await endPass(session, { ...request, table }, rejected > 0, had)
      : { ...NOTHING_WRITTEN, isWhole: false };
  const ofChildren = await endChildren(session, { ...request, table }, children, ended);
  const { notes = [] } = ended;
  const changes = [...written.changes, ...ofChildren.changes];
  const { fingerprint } = request;
  if (fingerprint !== undefined && request.cursor.ended !== null) await keepEnded(session, key, fingerprint);
  const rows = written.rows + ended.rows + ofChildren.rows;
  const deleted = written.deleted + ended.deleted + ofChildren.deleted;
  const noted = { ...request, cursor: withNotes(request.cursor, notes) };
  await recordCommit(session, noted, stored, { rows, deleted, left });
  faultPoint('commit.before');
  return outcomeOf({ rows, deleted, left, rejected: rejected + ofChildren.rejected, changes, notes }, false);
}

/** The counts of a batch that are logged with it. */
interface BatchCounts {
  rows: number;
  deleted: number;
  /** Rows of a range that were not written. */
  left: number;
}

/** Returns an outcome, without the members that say nothing. */
function outcomeOf(
  outcome: BatchCounts & { rejected: number; changes: SchemaChange[]; notes: readonly Note[] },
  already: boolean,
): WriteOutcome {
  const { rows, deleted, left, rejected, changes, notes } = outcome;
  return {
    rows,
    already,
    ...(rejected > 0 && { rejected }),
    ...(deleted > 0 && { deleted }),
    ...(left > 0 && { left }),
    ...(changes.length > 0 && { changes }),
    ...(notes.length > 0 && { notes: [...notes] }),
  };
}

/** The outcome of a batch that an earlier attempt committed; null where none did. */
async function committedBefore(session: SqlSession, request: WriteRequest): Promise<WriteOutcome | null> {
  const { key, base, next, table } = request;
  const [logged] = await session.rows(
    sql`SELECT "rows", deleted, "left", cursor FROM ${ownTable(session, key, 'batches')}
       WHERE ${keyIs(session, key)} AND id = ${literal(next)} AND base = ${literal(base)}`,
  );
  if (logged === undefined) return null;
  const [rows, deleted, left] = logged.map(Number) as [number, number, number];
  const cursor = JSON.parse(logged[3] ?? '') as Cursor;
  let rejected = await rejectedOf(session, request);
  const changes = table.inference === undefined ? [] : await changesOf(session, key, next);
  for (const child of request.children?.tables ?? []) {
    const own = childRequest(request, child);
    rejected += await rejectedOf(session, own);
    if (child.table.inference !== undefined)
      changes.push(...changesOfChild(child.table, await changesOf(session, own.key, next)));
  }
  // The notes of the write stand behind those of the reader.
  const notes = cursor.notes.slice(request.cursor.notes.length);
  return outcomeOf({ rows, deleted, left, rejected, changes, notes }, true);
}

/** Logs the batch and moves the checkpoint from its base. */
async function recordCommit(
  session: SqlSession,
  request: WriteRequest,
  stored: StoredCheckpoint,
  { rows, deleted, left }: BatchCounts,
): Promise<void> {
  const { key, base, next, workflowId, pages, records } = request;
  const cursor = literal(JSON.stringify(request.cursor));
  const moved = await session.runAll([
    sql`${insertInto(session, key, 'batches')} VALUES (${joined([next, base].map(literal))}, ${keyLiterals(key)},
       ${cursor}, ${literal(workflowId)}, ${joined([pages, records, rows, deleted, left].map(numeral))}, now())`,
    sql`UPDATE ${ownTable(session, key, 'checkpoints')} SET id = ${literal(next)}, cursor = ${cursor}, updated_at = now()
       WHERE ${keyIs(session, key)} AND id = ${literal(base)}`,
  ]);
  if (moved !== 1) throw conflict(key, base, stored);
}

/** Writes the records of a batch. @param before the stored cursor. */
async function writeRecords(
  session: SqlSession,
  request: WriteRequest,
  before: Cursor | null,
  loader: Loader,
): Promise<WrittenInto> {
  const { range, records } = request;
  if (range !== undefined) return writeBeside(session, { ...request, range }, loader);
  await preparePass(session, request, before);
  const written = records === 0 ? NOTHING_WRITTEN : await loadAndWrite(session, request, loader);
  return { ...written, table: request.table, exists: true, changes: [] };
}

/** Loads the records of a write, and writes them in the table's mode. */
async function loadAndWrite(session: SqlSession, request: WriteRequest, loader: Loader): Promise<Written> {
  const mends = request.range?.writes !== false && (await hasRefused(session, request));
  return loader.load(
    { ...request, keeps: keepsLast(request) ? 'last' : 'all', isReadOnce: !mends && isReadOnce(request) },
    async (batch) => {
      // Before the write, which takes records out of the batch.
      if (mends) await dropMended(session, request, batch);
      const written = await writeBatch(session, request, batch);
      if (request.children !== undefined && request.range !== undefined)
        await rememberWritten(session, request, batch);
      return written;
    },
  );
}

/** Writes the records of a range: those that the sync has not written meanwhile. */
async function writeBeside(
  session: SqlSession,
  request: WriteRequest & { range: RangeWrite },
  loader: Loader,
): Promise<WrittenInto> {
  const { range, records } = request;
  const table = besideTable(request.table);
  const paths = (await range.beyond?.()) ?? [];
  if (paths.length > 0) {
    const met = { ...request, table: keysOnly(table), files: () => Promise.resolve(paths) };
    await loader.load({ ...met, keeps: 'all', isReadOnce: true }, (batch) =>
      rememberKeys(session, met, batch),
    );
  }
  const written =
    records === 0 ? NOTHING_WRITTEN : await loadAndWrite(session, { ...request, table }, loader);
  return { ...written, table, exists: true, changes: [] };
}
