import { Client, type QueryArrayConfig, type QueryArrayResult } from 'pg';
import { findServer, type ServerLocation } from '../destinations/location.js';
import {
  lengthOf,
  PART_BYTES,
  QUERY_SECONDS,
  QueryTimeoutError,
  timeLimit,
  readWhole,
  type Answer,
  type QueryAnswer,
} from '../destinations/duckdb/query.js';
import { DestinationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';

const MOST_ROWS = 5000;
const ANSWER_MILLISECONDS = 10_000;

/**
 * Runs one statement on a server that a configuration or the command line names. The server itself sees to it that it
 * is one, and that it only reads: it is a cursor's query, sent as one statement, in a read-only transaction.
 * @throws {DestinationError}
 */
export async function* askServer(destination: string, sql: string, seconds = QUERY_SECONDS): Answer {
  yield* askLocated(await findServer(destination, process.env), sql, seconds);
}

async function* askLocated({ name, url, mask }: ServerLocation, sql: string, seconds: number): Answer {
  const limit = timeLimit(seconds);
  const client = new Client({
    connectionString: url,
    application_name: 'highwater query',
    connectionTimeoutMillis: ANSWER_MILLISECONDS,
    query_timeout: seconds * 1000 + ANSWER_MILLISECONDS,
    // As text: no digit is lost.
    types: { getTypeParser: () => (value: unknown) => value },
  });
  // A connection that is cut fails what is asked of it next.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('BEGIN READ ONLY');
    for (const what of ['statement_timeout', 'idle_in_transaction_session_timeout'])
      await client.query('SELECT set_config($1, $2, true)', [what, String(Math.ceil(seconds * 1000))]);
    if (EXPLAINING.test(sql)) {
      const { fields, rows } = await runStatement(client, sql);
      yield { columns: fields.map((field) => field.name) };
      yield { rows };
      return;
    }
    await runStatement(client, `DECLARE answer NO SCROLL CURSOR FOR ${sql}`);
    let count = 100;
    for (let isFirst = true; ; isFirst = false) {
      limit.throwIfAborted();
      const { fields, rows } = await runStatement(client, `FETCH FORWARD ${count} FROM answer`);
      if (isFirst)
        yield {
          columns: fields.map((field) => field.name),
          numbers: fields.flatMap(({ dataTypeID }, i) => (NUMBERS.includes(dataTypeID) ? [i] : [])),
        };
      if (rows.length === 0) return;
      yield { rows };
      const each = rows.reduce((sum, row) => sum + lengthOf(row), 0) / rows.length;
      count = Math.max(1, Math.min(MOST_ROWS, count * 4, Math.floor(PART_BYTES / each)));
    }
  } catch (thrown) {
    const { code = '' } = thrown as { code?: string };
    if (limit.aborted || TOO_LATE.includes(code)) throw new QueryTimeoutError();
    const hint = code === SYNTAX_ERROR ? `. ${READS}` : '';
    throw new DestinationError(`${name}: ${mask(messageOf(thrown))}${hint}`);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** As {@link askServer}, read to its end. */
export async function queryServer(destination: string, sql: string): Promise<QueryAnswer & { name: string }> {
  const server = await findServer(destination, process.env);
  return { name: server.name, ...(await readWhole(askLocated(server, sql, QUERY_SECONDS))) };
}

/** The server's own limits: of a statement, and of a transaction in which nothing happens. */
const TOO_LATE = ['57014', '25P03'];

/** Types of PostgreSQL whose texts are numbers: int8, int2, int4, float4, float8. */
const NUMBERS = [20, 21, 23, 700, 701];

/** Also of a statement that no cursor can have. */
const SYNTAX_ERROR = '42601';
const READS = 'Queries are read-only: start with SELECT, VALUES, TABLE, WITH, EXPLAIN or SHOW';

/** Statements that a cursor cannot run; one that begins with these words only reads. */
const EXPLAINING = /^\s*(explain|show)\b/i;

/** Runs one statement: in the extended protocol the server refuses more. */
function runStatement(client: Client, text: string): Promise<QueryArrayResult<Json[]>> {
  const query: QueryArrayConfig & { queryMode: 'extended' } = {
    text,
    rowMode: 'array',
    queryMode: 'extended',
  };
  return client.query<Json[]>(query);
}
