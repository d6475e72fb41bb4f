/** PostgreSQL passes the contract whole, on a real server; and what is its own: connections that are cut, a pooler, the catalogue. */
import { Pool } from 'pg';
import { afterAll, beforeAll, describe } from 'vitest';
import { PostgresDestination } from '../../src/destinations/postgres.js';
import { identifier } from '../../src/destinations/sql.js';
import type { ColumnType, TableSpec } from '../../src/protocol.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { destinationContract, type Row, type TestedDestination } from './suite.js';

const install = await installPostgres();

/** A value of a column as the contract's suite writes it. */
function plain(name: string, type: ColumnType): string {
  const column = identifier(name);
  switch (type) {
    case 'UTC_DATETIME':
      return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
    case 'NAIVE_DATETIME':
      return `to_char(${column}, 'YYYY-MM-DD"T"HH24:MI:SS.US')`;
    case 'JSON':
      return `regexp_replace(${column}::text, '([:,]) ', '\\1', 'g')`;
    case 'BINARY':
      return `encode(${column}, 'base64')`;
    default:
      return `${column}::text`;
  }
}

describe.skipIf(!install.available)(
  `PostgreSQL${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    let server: PostgresServer;
    let databases = 0;
    beforeAll(async () => {
      if (install.available) server = await startPostgres(install.bin);
    });
    afterAll(() => server.stop());

    async function start(): Promise<TestedDestination> {
      const name = `d${databases++}`;
      await server.query(`CREATE DATABASE ${name}`);
      const connectionString = server.url.replace(/\/postgres$/, `/${name}`);
      const at = (): TestedDestination => {
        const pool = new Pool({ connectionString });
        const destination = new PostgresDestination(pool, `127.0.0.1/${name}`);
        return {
          destination,
          prepares: false,
          rows: (table) => rowsOf(pool, table),
          query: async (sql) => (await pool.query<unknown[]>({ text: sql, rowMode: 'array' })).rows,
          ownSchema: 'main.',
          reopen: async () => {
            await destination.close();
            return at();
          },
          close: () => destination.close(),
        };
      };
      return at();
    }

    // With what the suite appends it is 63 bytes long.
    destinationContract('PostgreSQL', start, { longestName: 57 });
  },
);

async function rowsOf(pool: Pool, table: TableSpec): Promise<Row[]> {
  const selected = Object.entries(table.columns).map(
    ([name, type]) => `${plain(name, type)} AS ${identifier(name)}`,
  );
  const from = `${identifier(table.schema)}.${identifier(table.table)}`;
  const { rows } = await pool.query<Row>(`SELECT ${selected.join(', ')} FROM ${from}`);
  return rows;
}
