/** Loads the files of a batch into PostgreSQL as rows that the worker has typed and encoded. */
import { batchColumns, columnIn } from '../checkpoints.js';
import type { Batch, LoadRequest } from '../sql/dialect.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';
import { fromText, postgresType, recordType } from './columns.js';
import type { TableHabits } from './habits.js';
import { lastRecords, RefusedValueError, rowColumns, RowWriter, type RowColumn } from './rows.js';
import { sampledFirst, withExpectation } from './sample.js';
import { segmentsOf, type Segment, type SegmentMemory } from './segments.js';
import { RowSender } from './send-rows.js';
import type { PostgresSession } from './session.js';

/** State that is kept from one batch to the next. */
export interface LoadState {
  memory: SegmentMemory;
  habits: TableHabits;
}

/**
 * Loads files into a temporary table.
 * @throws {UnencodableError} for text that PostgreSQL may not be able to store.
 */
export async function loadTyped(
  session: PostgresSession,
  request: LoadRequest,
  files: readonly string[],
  state: LoadState,
): Promise<Batch> {
  await session.run(sql`SAVEPOINT typed`);
  for (;;) {
    try {
      return await new TypedLoad(session, request, state).load(files);
    } catch (thrown) {
      if (!(thrown instanceof RefusedValueError)) throw thrown;
      // From now on PostgreSQL converts the values of this column.
      state.habits.sendAsText(thrown.column.name, thrown.column.type);
      await session.run(sql`ROLLBACK TO SAVEPOINT typed`);
    }
  }
}

class TypedLoad {
  private readonly columns: readonly RowColumn[];

  constructor(
    private readonly session: PostgresSession,
    private readonly request: LoadRequest,
    private readonly state: LoadState,
  ) {
    this.columns = rowColumns(request.table, (name, type) => state.habits.isSentAsText(name, type));
  }

  async load(files: readonly string[]): Promise<Batch> {
    const { request, session, state } = this;
    const { table, keeps, isReadOnce } = request;
    const segments = segmentsOf(files, Object.keys(table.columns), state.memory);
    try {
      const { value: first } = await segments.next();
      if (first === undefined) throw new Error('a batch has at least one segment');
      const last = keeps === 'last' && first.isLast ? this.lastRecordsOf(first) : null;
      // No statement asks for the places of such a batch.
      const isFinal = last !== null && isReadOnce;
      const { name, sender } = await this.createBatch(!isFinal);
      await sender.send(first, isFinal ? sampledFirst(last, first.spans.rows) : last, 1);
      let place = first.spans.rows + 1;
      for await (const segment of segments) {
        await sender.send(segment, null, place);
        place += segment.spans.rows;
      }
      const batch: Batch = { name, columns: batchColumns(table) };
      if (isFinal) return await withExpectation(session, table, batch, last.length, state.habits);
      return keeps === 'last' && last === null ? await this.lastOf(batch) : batch;
    } finally {
      await segments.return();
    }
  }

  /**
   * Returns the last record of each key of a batch, in the order of the keys; null if PostgreSQL has to find them.
   * @param segment the whole batch.
   */
  private lastRecordsOf(segment: Segment): Uint32Array | null {
    const { columns, request } = this;
    const found = lastRecords(segment, columns, request.table);
    if (found === null) return null;
    const { last, replaced } = found;
    if (replaced.length > 0) {
      // Records that others replace have to fit all the same.
      if (columns.some(({ isText, type }) => isText || type === 'JSON')) return null;
      new RowWriter(columns, false).check(segment, replaced);
    }
    return last;
  }

  /**
   * Creates a temporary table for rows.
   * @param isSent whether its columns have the types that rows are sent with, instead of those of the stream's table.
   */
  private async createTable(hasPlace: boolean, isSent: boolean): Promise<{ name: Sql; rowType: number }> {
    const { session } = this;
    const name = identifier(`_${isSent ? 'sent' : 'batch'}_${session.nextNumber()}`);
    const definitions = this.columns.map(
      ({ type, isText }, i) =>
        sql`c${numeral(i)} ${isText && isSent ? recordType(type) : postgresType(type)}`,
    );
    const place = hasPlace ? [sql`place bigint`] : [];
    const [[rowType] = []] = await session.rows(
      sql`SELECT reltype FROM pg_class WHERE oid = ${literal(`pg_temp.${name}`)}::regclass`,
      [sql`CREATE TEMP TABLE ${name} (${joined([...place, ...definitions])}) ON COMMIT DROP`],
    );
    return { name: sql`pg_temp.${name}`, rowType: Number(rowType) };
  }

  /** Creates the table of the batch, and what fills it. */
  private async createBatch(hasPlace: boolean): Promise<{ name: Sql; sender: RowSender }> {
    const { columns, session } = this;
    const batch = await this.createTable(hasPlace, false);
    const sent = columns.some(({ isText }) => isText) ? await this.createTable(hasPlace, true) : batch;
    const values = columns.map(({ type, isText }, i) =>
      isText ? fromText(sql`r.c${numeral(i)}`, type) : sql`r.c${numeral(i)}`,
    );
    const place = hasPlace ? [sql`r.place`] : [];
    const sender = new RowSender(
      session,
      new RowWriter(columns, hasPlace),
      sql`INSERT INTO ${batch.name} SELECT ${joined([...place, ...values])} FROM unnest($1::${sent.name}[]) AS r`,
      sent.rowType,
    );
    await sender.prepare();
    return { name: batch.name, sender };
  }

  /** Returns the last record of each key in a batch. */
  private async lastOf({ name, columns }: Batch): Promise<Batch> {
    const { session } = this;
    const { table, isReadOnce } = this.request;
    const keys = joined(table.primaryKey.map((key) => columnIn(columns, key)));
    const query = sql`SELECT DISTINCT ON (${keys}) * FROM ${name} ORDER BY ${keys}, place DESC`;
    if (isReadOnce) return { name: sql`(${query})`, columns };
    const last = identifier(`_last_${session.nextNumber()}`);
    await session.run(sql`CREATE TEMP TABLE ${last} ON COMMIT DROP AS ${query}`);
    return { name: sql`pg_temp.${last}`, columns };
  }
}
