/** The write of a batch to the child tables of a stream, after the records that the rows come from. */
import type { Cursor, SchemaChange, TableSpec } from '../../protocol.js';
import type { WriteRequest } from '../destination.js';
import {
  childRequest,
  dropRoots,
  leaveFresh,
  loadRoots,
  ofChild,
  removeLeft,
  removeOrphans,
  rootsOf,
  settleRejects,
} from './children.js';
import type { Batch, Loader, SqlSession } from './dialect.js';
import { isChildGone } from './drift.js';
import { keepsLast, NOTHING_WRITTEN } from './modes.js';
import { endPass, preparePass, type Ended } from './pass.js';
import { keepRejects, rejectedOf } from './rejects.js';
import { writeBatch, type Written } from './write-batch.js';
import { writeTable, type WrittenInto } from './write-table.js';

/** The outcome of a child table. */
interface WrittenChild extends WrittenInto {
  request: WriteRequest;
  rejected: number;
}

/** Writes the rows of child tables, after those of the stream's own table. @param parent the outcome of that one. */
export async function writeChildren(
  session: SqlSession,
  request: WriteRequest,
  parent: WrittenInto,
  before: Cursor | null,
  loader: Loader,
): Promise<WrittenChild[]> {
  const { children, range, records } = request;
  if (children === undefined || range?.writes === false) return [];
  const { roots } = children;
  // A range writes the rows of records that it has written.
  const hasRoots = roots !== undefined && parent.exists && (range === undefined || records > 0);
  const requests = children.tables.map((child) => childRequest(request, child));
  if (hasRoots) {
    await loadRoots(session, request, parent.table, roots, loader);
    for (const own of requests) await leaveFresh(session, own, range);
  }
  const written: WrittenChild[] = [];
  for (const own of requests) {
    const write = async () => {
      if (own.rejects !== undefined) await keepRejects(session, own, await own.rejects(), loader);
      const into = await writeTable(
        session,
        own,
        (adapted) => writeChildRows(session, adapted, before, loader, hasRoots),
        loader,
        isChildGone,
      );
      return { ...into, request: own, rejected: await rejectedOf(session, own) };
    };
    written.push(await ofChild(own.table, write));
  }
  if (hasRoots) await dropRoots(session);
  return written;
}

/** Writes the rows of a child table, and removes those that their records do not have any more. */
async function writeChildRows(
  session: SqlSession,
  request: WriteRequest,
  before: Cursor | null,
  loader: Loader,
  hasRoots: boolean,
): Promise<WrittenInto> {
  const { table, records } = request;
  await preparePass(session, request, before);
  const replaceRows = async (batch: Batch | null): Promise<Written> => {
    const written = batch === null ? NOTHING_WRITTEN : await writeBatch(session, request, batch);
    await settleRejects(session, request);
    const left = await removeLeft(session, request, batch);
    return { ...written, deleted: written.deleted + (table.mode === 'replace' ? 0 : left) };
  };
  const written = !hasRoots
    ? NOTHING_WRITTEN
    : records === 0
      ? await replaceRows(null)
      : await loader.load(
          {
            ...request,
            keeps: keepsLast(request) ? 'last' : 'all',
            isReadOnce: false,
            roots: rootsOf(session),
          },
          replaceRows,
        );
  return { ...written, table, exists: true, changes: [] };
}

/** Ends a pass for child tables: rows of records that are gone go too. */
export async function endChildren(
  session: SqlSession,
  parent: WriteRequest,
  children: readonly WrittenChild[],
  ended: Ended,
): Promise<Written & { rejected: number; changes: SchemaChange[] }> {
  const total = { rows: 0, deleted: 0, rejected: 0, changes: [] as SchemaChange[] };
  const { counted: _, ...cursor } = parent.cursor;
  for (const { request, table, exists, changes, rows, deleted, rejected } of children) {
    total.rows += rows;
    total.deleted += deleted;
    total.rejected += rejected;
    total.changes.push(...changesOfChild(table, changes));
    if (!exists || parent.range !== undefined) continue;
    const own = { ...request, table, cursor };
    if (table.mode === 'replace') {
      const published = await endPass(session, own, rejected > 0, 0, ended.isWhole);
      total.rows += published.rows;
      total.deleted += published.deleted;
    } else if (ended.deleted > 0) total.deleted += await removeOrphans(session, own, parent.table);
  }
  return total;
}

/** Changes to a child table, under names that tell them from those of the stream's own. */
export const changesOfChild = ({ table }: TableSpec, changes: readonly SchemaChange[]): SchemaChange[] =>
  changes.map((change) => ({ ...change, column: `${table}.${change.column}` }));
