import {
  JsonDuckDBValueConverter,
  type DuckDBConnection,
  type DuckDBMaterializedResult,
} from '@duckdb/node-api';
import type { SqlRow, SqlSession } from '../sql/dialect.js';
import { one, type Sql } from '../sql/sql.js';
import { duckDbDialect } from './dialect.js';

/** A connection to DuckDB; it takes {@link Sql}, and no other text. */
export class DuckDbSession implements SqlSession {
  readonly dialect = duckDbDialect;

  constructor(private readonly connection: DuckDBConnection) {}

  run(statement: Sql): Promise<number> {
    return this.connection.run(one(statement)).then(({ rowsChanged }) => rowsChanged);
  }

  /** One call for several statements: an answer waits its turn behind the pages that are read meanwhile. */
  runAll(statements: readonly Sql[]): Promise<number> {
    return this.connection.run(statements.map(one).join(';\n')).then(({ rowsChanged }) => rowsChanged);
  }

  rows(statement: Sql, before: readonly Sql[] = []): Promise<SqlRow[]> {
    return this.connection.run([...before, statement].map(one).join(';\n')).then(textsOf);
  }
}

/** The rows of an answer: its chunks are all there, and asking for them one by one would wait behind each page scanned. */
const textsOf = (result: DuckDBMaterializedResult): SqlRow[] =>
  Array.from({ length: result.chunkCount }, (_, i) =>
    result.getChunk(i).convertRows(JsonDuckDBValueConverter),
  )
    .flat()
    .map((row) => row.map((value) => (value === null ? null : String(value))));
