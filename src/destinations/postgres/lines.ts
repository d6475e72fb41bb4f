/** Sends the lines of files to a temporary table. */
import { createReadStream } from 'node:fs';
import type { Connection, Submittable } from 'pg';
import type { PostgresSession } from './session.js';
import { one, sql, type Sql } from '../sql/sql.js';

/** Bytes sent at a time. */
const CHUNK = 1024 * 1024;
const LINE_END = '\n'.charCodeAt(0);

/**
 * Appends the lines of files, in order, to the column `line` of a temporary table.
 *
 * Uses INSERT, which is as fast as COPY: a COPY that waits for its client ignores `statement_timeout` and
 * `idle_in_transaction_session_timeout`, so a frozen worker would hold its locks for good. For the same reason the
 * statement is parsed separately: until a Bind is complete, the transaction counts as idle.
 */
export async function sendLines(
  client: PostgresSession,
  table: Sql,
  type: Sql,
  files: readonly string[],
): Promise<void> {
  const insert = one(
    sql`INSERT INTO ${table} (line) SELECT line::${type} FROM unnest(string_to_array($1::text, E'\\n')) AS line`,
  );
  await exchangeMessages(client, (connection) =>
    connection.parse({ name: '', text: insert, types: [] }, true),
  );
  for (const file of files) {
    for await (const lines of linesOf(file)) {
      await exchangeMessages(client, (connection) => {
        connection.bind({ values: [lines] }, true);
        connection.execute({}, true);
      });
    }
  }
}

/** Yields the lines of a file, as many as fit a chunk, or a single longer one; without the last newline. */
async function* linesOf(file: string): AsyncGenerator<Buffer, void, undefined> {
  let begun: Buffer[] = [];
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK }) as AsyncIterable<Buffer>) {
    const end = chunk.lastIndexOf(LINE_END);
    if (end === -1) {
      begun.push(chunk);
      continue;
    }
    yield Buffer.concat([...begun, chunk.subarray(0, end)]);
    begun = end + 1 === chunk.length ? [] : [chunk.subarray(end + 1)];
  }
  if (begun.length > 0) yield Buffer.concat(begun);
}

/** Sends messages of the extended protocol in one piece, and waits for the server's reply. */
export function exchangeMessages(
  client: PostgresSession,
  send: (connection: Connection) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const messages: Submittable & Record<string, unknown> = {
      submit: (connection: Connection) => {
        connection.stream.cork();
        send(connection);
        connection.sync();
        connection.stream.uncork();
      },
      handleCommandComplete: () => undefined,
      handleError: reject,
      handleReadyForQuery: () => resolve(),
    };
    client.stream(messages);
  });
}
