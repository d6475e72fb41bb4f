import {
  DuckDBTypeId,
  JsonDuckDBValueConverter,
  StatementType,
  type DuckDBConnection,
  type DuckDBDataChunk,
} from '@duckdb/node-api';
import { DestinationError, messageOf } from '../../errors.js';
import type { Json } from '../../protocol.js';

/**
 * Part of an answer: first the column names, then rows as they arrive, with values as in JSON. `numbers` are the places of
 * the columns whose values are numbers as text, so that no digit is lost on the way.
 */
export type AnswerPart = { columns: string[]; numbers?: number[] } | { rows: Json[][] };

/** A streamed answer: produced at the speed of its reader, and cancelled when the reader stops. */
export type Answer = AsyncGenerator<AnswerPart, void, undefined>;

/** A whole answer, for queries known to return little. */
export interface QueryAnswer {
  columns: string[];
  rows: Json[][];
}

/** Time limit of a query in seconds, including reading its answer. */
export const QUERY_SECONDS = 300;

/** Approximate size of a part in bytes, which bounds memory. */
export const PART_BYTES = 256 * 1024;

/** Returns a signal that aborts when the time limit has passed. */
export const timeLimit = (seconds: number): AbortSignal => AbortSignal.timeout(seconds * 1000);

/** Reads an answer to its end. */
export async function readWhole(answer: Answer): Promise<QueryAnswer> {
  const read: QueryAnswer = { columns: [], rows: [] };
  for await (const part of answer) {
    if ('columns' in part) read.columns = part.columns;
    else for (const row of part.rows) read.rows.push(row);
  }
  return read;
}

export class QueryTimeoutError extends DestinationError {
  constructor() {
    super('the query exceeded its time limit and was stopped; set a longer one with --timeout');
  }
}

/** Returns the error for a query that ended early: the time limit, or DuckDB's refusal. */
export function queryError(thrown: unknown, limit: AbortSignal): DestinationError {
  const { name = '' } = (limit.reason ?? {}) as { name?: string };
  if (limit.aborted && name === 'TimeoutError') return new QueryTimeoutError();
  return thrown instanceof DestinationError ? thrown : new DestinationError(messageOf(thrown));
}

/** Whole numbers that may have more digits than a number of JSON can hold. */
const LONG = [DuckDBTypeId.BIGINT, DuckDBTypeId.UBIGINT, DuckDBTypeId.HUGEINT, DuckDBTypeId.UHUGEINT];

const READING = [StatementType.SELECT, StatementType.EXPLAIN];

/**
 * Runs one reading statement on a connection that is not otherwise in use. The transaction is read-only, so DuckDB
 * itself refuses to write.
 * @throws {DestinationError} if the statement does not only read, if DuckDB refuses it, or if `limit` aborts it.
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
    const result = await (await prepareStatement(connection, sql)).stream();
    const numbers = result.columnTypes().flatMap(({ typeId }, i) => (LONG.includes(typeId) ? [i] : []));
    yield { columns: result.columnNames(), numbers };
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

async function prepareStatement(connection: DuckDBConnection, sql: string) {
  if (sql.replace(/--.*|\/\*[\s\S]*?\*\//g, '').trim() === '')
    throw new DestinationError('the statement is empty');
  const statements = await connection.extractStatements(sql);
  if (statements.count !== 1) throw new DestinationError('give one statement at a time');
  const prepared = await statements.prepare(0);
  // EXPLAIN ANALYZE runs the statement that it explains, and COPY writes files, not tables.
  const runs = prepared.statementType === StatementType.EXPLAIN && /\banalyze\b/i.test(sql);
  if (!READING.includes(prepared.statementType) || runs) {
    throw new DestinationError('only read-only statements are allowed; syncs write the destination');
  }
  return prepared;
}

/** Yields the rows of a chunk, in smaller parts if they are long. */
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

/** Returns the approximate length of a value as JSON. */
export const lengthOf = (value: Json): number =>
  typeof value === 'string'
    ? value.length + 3
    : value !== null && typeof value === 'object'
      ? Object.values(value).reduce<number>((sum, one) => sum + lengthOf(one), 8)
      : 8;
