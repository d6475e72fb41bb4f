import {
  JsonDuckDBValueConverter,
  type DuckDBConnection,
  type DuckDBMaterializedResult,
} from '@duckdb/node-api';
import type { SqlRow, SqlSession } from '../sql/dialect.js';
import { one, type Sql } from '../sql/sql.js';
import { duckDbDialect } from './dialect.js';

/** A connection to DuckDB that takes {@link Sql} only, no plain text. */
export class DuckDbSession implements SqlSession {
  readonly dialect = duckDbDialect;

  constructor(private readonly connection: DuckDBConnection) {}

  run(statement: Sql): Promise<number> {
    return this.connection.run(one(statement)).then(({ rowsChanged }) => rowsChanged);
  }

  /** Runs several statements in one call: each call waits behind pages that are being scanned. */
  runAll(statements: readonly Sql[]): Promise<number> {
    return this.connection.run(statements.map(one).join(';\n')).then(({ rowsChanged }) => rowsChanged);
  }

  rows(statement: Sql, before: readonly Sql[] = []): Promise<SqlRow[]> {
    return this.connection.run([...before, statement].map(one).join(';\n')).then(textsOf);
  }
}

/** Returns the rows of a result. All chunks are there; fetching them one by one would wait behind each scanned page. */
const textsOf = (result: DuckDBMaterializedResult): SqlRow[] =>
  Array.from({ length: result.chunkCount }, (_, i) =>
    result.getChunk(i).convertRows(JsonDuckDBValueConverter),
  )
    .flat()
    .map((row) => row.map((value) => (value === null ? null : String(value))));
