import {
  JsonDuckDBValueConverter,
  StatementType,
  type DuckDBConnection,
  type DuckDBDataChunk,
} from '@duckdb/node-api';
import { DestinationError, messageOf } from '../../errors.js';
import type { Json } from '../../protocol.js';

/** A part of an answer: first the names of the columns, then rows as they come, every value as JSON has it. */
export type AnswerPart = { columns: string[] } | { rows: Json[][] };

/** An answer that is read as it is made: as fast as its reader goes, and no longer than that reader stays. */
export type Answer = AsyncGenerator<AnswerPart, void, undefined>;

/** An answer as a whole, for those that are known to be short. */
export interface QueryAnswer {
  columns: string[];
  rows: Json[][];
}

/** Seconds that a query may take, reading its answer included. */
export const QUERY_SECONDS = 300;

/** Bytes of rows that a part has, roughly: what is in memory of an answer. */
export const PART_BYTES = 256 * 1024;

/** Aborts once a query has had its time. */
export const timeLimit = (seconds: number): AbortSignal => AbortSignal.timeout(seconds * 1000);

/** Reads an answer to its end. */
export async function whole(answer: Answer): Promise<QueryAnswer> {
  const read: QueryAnswer = { columns: [], rows: [] };
  for await (const part of answer) {
    if ('columns' in part) read.columns = part.columns;
    else for (const row of part.rows) read.rows.push(row);
  }
  return read;
}

/** A query has had its time. */
export class QueryTimeoutError extends DestinationError {
  constructor() {
    super('the query was stopped: it took longer than it may. "--timeout" gives it more time.');
  }
}

/** Says why a query ended early: it had its time, or it was refused. */
export function queryError(thrown: unknown, limit: AbortSignal): DestinationError {
  const { name = '' } = (limit.reason ?? {}) as { name?: string };
  if (limit.aborted && name === 'TimeoutError') return new QueryTimeoutError();
  return thrown instanceof DestinationError ? thrown : new DestinationError(messageOf(thrown));
}

const READING = [StatementType.SELECT, StatementType.EXPLAIN];

/**
 * Runs one reading statement on a connection that is not used meanwhile. DuckDB itself refuses to write: the transaction
 * is read-only.
 * @throws {DestinationError} for a statement that does not only read, that DuckDB refuses, or that `limit` ends.
 */
export async function* runQuery(
  connection: DuckDBConnection,
  sql: string,
  limit: AbortSignal = timeLimit(QUERY_SECONDS),
): Answer {
  const interrupt = () => connection.interrupt();
  limit.addEventListener('abort', interrupt);
  try {
    limit.throwIfAborted();
    await connection.run('BEGIN TRANSACTION READ ONLY');
    const result = await (await prepare(connection, sql)).stream();
    yield { columns: result.columnNames() };
    for (;;) {
      limit.throwIfAborted();
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) break;
      yield* partsOf(chunk);
    }
  } catch (thrown) {
    throw queryError(thrown, limit);
  } finally {
    limit.removeEventListener('abort', interrupt);
    await connection.run('ROLLBACK').catch(() => undefined);
  }
}

async function prepare(connection: DuckDBConnection, sql: string) {
  if (sql.replace(/--.*|\/\*[\s\S]*?\*\//g, '').trim() === '') throw new DestinationError('give a statement');
  const statements = await connection.extractStatements(sql);
  if (statements.count !== 1) throw new DestinationError('give one statement at a time');
  const prepared = await statements.prepare(0);
  // EXPLAIN ANALYZE runs what it explains, and a COPY writes no table.
  const runs = prepared.statementType === StatementType.EXPLAIN && /\banalyze\b/i.test(sql);
  if (!READING.includes(prepared.statementType) || runs) {
    throw new DestinationError(
      'only statements that read are allowed here: the destination is written by syncs',
    );
  }
  return prepared;
}

/** The rows of a chunk, a few of them at a time where they are long. */
function* partsOf(chunk: DuckDBDataChunk): Generator<AnswerPart> {
  let rows: Json[][] = [];
  let bytes = 0;
  for (let i = 0; i < chunk.rowCount; i++) {
    const row = chunk.convertRowValues(i, JsonDuckDBValueConverter) as Json[];
    rows.push(row);
    bytes += lengthOf(row);
    if (bytes < PART_BYTES) continue;
    yield { rows };
    rows = [];
    bytes = 0;
  }
  if (rows.length > 0) yield { rows };
}

/** The length of a value as JSON, roughly. */
export const lengthOf = (value: Json): number =>
  typeof value === 'string'
    ? value.length + 3
    : value !== null && typeof value === 'object'
      ? Object.values(value).reduce<number>((sum, one) => sum + lengthOf(one), 8)
      : 8;
