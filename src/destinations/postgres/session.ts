import type { PoolClient, QueryArrayResult, QueryResult, QueryResultRow, Submittable } from 'pg';
import { one, type Sql } from '../sql/sql.js';

/** A connection in a transaction; it takes what {@link Sql} is, and no other text. */
export class PostgresSession {
  constructor(private readonly client: PoolClient) {}

  /** Runs one statement. @param values of `$1`, `$2`, … */
  query<Row extends QueryResultRow>(statement: Sql, values?: unknown[]): Promise<QueryResult<Row>> {
    return this.client.query<Row>(one(statement), values);
  }

  /** The same, each row an array. */
  rows(statement: Sql): Promise<QueryArrayResult<unknown[]>> {
    return this.client.query<unknown[]>({ text: one(statement), rowMode: 'array' });
  }

  /** Runs statements one after the other, in one call; for those that no value is part of. */
  async runAll(statements: readonly Sql[]): Promise<void> {
    await this.client.query(statements.map(one).join(';\n'));
  }

  stream<Stream extends Submittable>(stream: Stream): Stream {
    return this.client.query(stream);
  }
}
