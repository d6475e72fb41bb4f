/** Records that were put aside, tried again: what fits by now is written, the rest stays with its reason of today. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ColumnType, Reject, TableSpec } from '../../protocol.js';
import { RecordScanner, ScanError, type ExactColumns } from '../../sources/record-scanner.js';
import { declaredOnly, type Followed } from '../columns/inference.js';

export interface ReplayRequest {
  table: TableSpec;
  /** The member that says which of two records is newer; empty: none does. */
  cursorField: string;
  /** Records replace rows that are there, whichever is newer. */
  overwrite: boolean;
}

export interface ReplayOutcome {
  /** Records that were put aside. */
  records: number;
  /** Those of them that are put aside no more. */
  replayed: number;
  /** Rows inserted or changed by them. */
  rows: number;
}

/** What a database does for it, in one transaction. While it lasts nobody else writes the table. */
export interface ReplayRound {
  /** Takes out the first records that were put aside before a time (null: now). */
  take: (before: string | null, limit: number) => Promise<{ records: string[]; now: string }>;
  follow: (table: TableSpec, files: string[], longest: number) => Promise<Followed>;
  /**
   * Writes what fits.
   * @param cursor the column by which a record must be at least as new as the row that it replaces; null: nothing
   * tells, so that no row is replaced. Absent: all are.
   * @returns the places of lines that were not written, with the reasons.
   */
  write: (
    table: TableSpec,
    file: string,
    lines: { records: number; longest: number },
    cursor?: string | null,
  ) => Promise<{ rows: number; aside: Map<number, string> }>;
  /** Puts records aside again, from a file of {@link Reject}s. */
  keep: (file: string) => Promise<void>;
}

export const NOT_KNOWN_TO_BE_OLDER =
  'the table has a row with this key that is not known to be older; "--overwrite" replaces it all the same';

/** Records of one transaction. */
const AT_ONCE = 5000;

/** Types whose values are in the order in which records were changed. */
export const isOrdered = (type: ColumnType | undefined): boolean =>
  type !== undefined && !['JSON', 'BINARY', 'BOOLEAN'].includes(type);

/**
 * @param within the folder in which lines wait for the database, which can read them there.
 * @param inTransaction runs a round.
 * @param exact columns whose numbers need care on their way into this database.
 */
export async function replay(
  request: ReplayRequest,
  within: string,
  exact: (columns: TableSpec['columns']) => ExactColumns,
  inTransaction: <T>(work: (round: ReplayRound) => Promise<T>) => Promise<T>,
): Promise<ReplayOutcome> {
  const outcome: ReplayOutcome = { records: 0, replayed: 0, rows: 0 };
  await mkdir(within, { recursive: true });
  const folder = await mkdtemp(join(within, 'highwater-replay-'));
  try {
    let before: string | null = null;
    for (;;) {
      const found = await inTransaction(async (round) => {
        const { records, now } = await round.take(before, AT_ONCE);
        const done = await replayed(request, records, exact, round, folder);
        return { ...done, now, records: records.length };
      });
      // What stays is put aside anew, and is not tried twice.
      before ??= found.now;
      if (found.records === 0) return outcome;
      outcome.records += found.records;
      outcome.replayed += found.records - found.kept;
      outcome.rows += found.rows;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function replayed(
  { table: asked, cursorField, overwrite }: ReplayRequest,
  records: readonly string[],
  exact: (columns: TableSpec['columns']) => ExactColumns,
  round: ReplayRound,
  folder: string,
): Promise<{ rows: number; kept: number }> {
  if (records.length === 0) return { rows: 0, kept: 0 };
  const { inference } = asked;
  // What still does not fit a frozen table stays, and is no failure.
  const table: TableSpec =
    inference?.policy === 'freeze' ? { ...asked, inference: { ...inference, policy: 'quarantine' } } : asked;
  const scanned = scan(
    asked,
    cursorField,
    records,
    inference === undefined ? exact(asked.columns) : undefined,
  );
  const kept = [...scanned.rejects];
  let rows = 0;
  if (scanned.lines.length > 0) {
    const file = join(folder, 'records.ndjson');
    await writeFile(file, scanned.lines.map(({ line }) => `${line}\n`).join(''), { mode: 0o600 });
    const longest = Math.max(2, ...scanned.lines.map(({ line }) => Buffer.byteLength(line)));
    const batch = inference === undefined ? null : await round.follow(table, [file], longest);
    const refused = batch?.refused ?? new Map<number, string>();
    for (const [place, reason] of refused) kept.push({ reason, record: scanned.lines[place]?.record ?? '' });
    const left = scanned.lines.filter((_, place) => !refused.has(place));
    const spec = batch?.table ?? declaredOnly(table);
    const column = batch === null ? cursorField : batch.columnOf(cursorField);
    const cursor = column !== null && isOrdered(spec.columns[column]) ? column : null;
    try {
      const written = await round.write(
        spec,
        batch?.files[0] ?? file,
        { records: left.length, longest: batch?.longest ?? longest },
        ...(overwrite ? [] : [cursor]),
      );
      rows = written.rows;
      for (const [place, reason] of written.aside) kept.push({ reason, record: left[place]?.record ?? '' });
    } finally {
      await batch?.discard();
    }
  }
  if (kept.length > 0) {
    const file = join(folder, 'kept.ndjson');
    await writeFile(file, kept.map((reject) => `${JSON.stringify(reject)}\n`).join(''), { mode: 0o600 });
    await round.keep(file);
  }
  return { rows, kept: kept.length };
}

/** Reads records as the source's answers are read: those that cannot be stored at all stay. */
function scan(
  { primaryKey, columns, quarantine }: TableSpec,
  cursorField: string,
  records: readonly string[],
  exact: ExactColumns | undefined,
): { lines: { line: string; record: string }[]; rejects: Reject[] } {
  const lines: { line: string; record: string }[] = [];
  const rejects: Reject[] = [];
  for (const record of records) {
    try {
      const scanner = new RecordScanner({
        ...{ records: [], primaryKey, cursorField, columns: Object.keys(columns) },
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
