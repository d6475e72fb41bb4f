import type { PoolClient, QueryArrayResult, QueryResult, Submittable } from 'pg';
import type { SqlRow, SqlSession } from '../sql/dialect.js';
import { one, type Sql } from '../sql/sql.js';
import { postgresDialect } from './dialect.js';

/** A PostgreSQL connection in a transaction that takes {@link Sql} only, no plain text. */
export class PostgresSession implements SqlSession {
  readonly dialect = postgresDialect;
  private made = 0;

  constructor(private readonly client: PoolClient) {}

  run(statement: Sql): Promise<number> {
    return this.client.query(one(statement)).then(({ rowCount }) => rowCount ?? 0);
  }

  runAll(statements: readonly Sql[]): Promise<number> {
    return this.client
      .query(statements.map(one).join(';\n'))
      .then((results: QueryResult | QueryResult[]) => [results].flat().at(-1)?.rowCount ?? 0);
  }

  rows(statement: Sql, before: readonly Sql[] = []): Promise<SqlRow[]> {
    const text = [...before, statement].map(one).join(';\n');
    return this.client
      .query<unknown[]>({ text, rowMode: 'array' })
      .then((results: QueryArrayResult<unknown[]> | QueryArrayResult<unknown[]>[]) =>
        ([results].flat().at(-1)?.rows ?? []).map((row) =>
          row.map((value) => (value === null ? null : String(value))),
        ),
      );
  }

  /** Returns a number for the name of a temporary table, unique in this transaction. */
  nextNumber(): number {
    return ++this.made;
  }

  stream<Stream extends Submittable>(stream: Stream): Stream {
    return this.client.query(stream);
  }
}
