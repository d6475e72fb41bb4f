/** The write of a batch to one table: a table that follows its source is first made to hold the records. */
import { TableGoneError } from '../../errors.js';
import type { SchemaChange, TableSpec } from '../../protocol.js';
import { declaredOnly, adaptTable } from '../columns/inference.js';
import type { WriteRequest } from '../destination.js';
import type { Loader, SqlSession } from './dialect.js';
import { isTableGone } from './drift.js';
import { prepareTable, schemaStore } from './evolution.js';
import { NOTHING_WRITTEN } from './modes.js';
import { comparedTable, withBeyond } from './ranges.js';
import { keepRejects } from './rejects.js';
import type { Written } from './write-batch.js';

/** The outcome of a batch, with the table that it went into. */
export interface WrittenInto extends Written {
  table: TableSpec;
  /** Whether there is a table by now: one that follows its source is made with its first records. */
  exists: boolean;
  changes: SchemaChange[];
}

/** Writes records, after a table that follows its source was made to hold them. @param write writes them. */
export async function writeTable(
  session: SqlSession,
  asked: WriteRequest,
  write: (request: WriteRequest) => Promise<WrittenInto>,
  loader: Loader,
  isGone: (session: SqlSession, table: TableSpec) => Promise<boolean> = isTableGone,
): Promise<WrittenInto> {
  if (asked.table.inference === undefined) return write(asked);
  const { key, next } = asked;
  const files = asked.records === 0 ? [] : await asked.files();
  const followFiles = (spec: TableSpec, paths: string[]) => {
    const create = async (made: TableSpec) => {
      if (await isGone(session, spec)) throw new TableGoneError(spec);
      await prepareTable(session, declaredOnly(made));
    };
    return adaptTable(spec, schemaStore(session, key, spec, next, create), paths, asked.longest);
  };
  const batch = await followFiles(comparedTable(asked), files);
  const { request, ...beyond } = await withBeyond(asked, followFiles);
  const { table, records, longest, exists, changes } = batch;
  try {
    const rejects = [...batch.rejects, ...beyond.rejects];
    if (rejects.length > 0) await keepRejects(session, request, rejects, loader);
    if (!exists) return { ...NOTHING_WRITTEN, table, exists, changes };
    const own = { ...request, table, records, longest, files: () => Promise.resolve(batch.files) };
    return { ...(await write(own)), changes };
  } finally {
    await batch.discard();
    await beyond.discard();
  }
}
