/** PostgreSQL passes the contract whole, on a real server; and what is its own: connections that are cut, a pooler, the catalogue. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/destinations/destination.js';
import { PostgresDestination } from '../../src/destinations/postgres/postgres.js';
import { identifier } from '../../src/destinations/sql/sql.js';
import { RecordError } from '../../src/errors.js';
import type { ColumnType, Cursor, TableSpec } from '../../src/protocol.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { scratch } from '../helpers/harness.js';
import { childrenContract } from './children.js';
import { driftContract } from './drift.js';
import { evolutionContract } from './evolution.js';
import { guardContract } from './guard.js';
import { modesContract } from './modes.js';
import { upgradesFromVersion1, upgradesFromVersion2 } from './upgrades.js';
import { rangesContract } from './ranges.js';
import { retryContract } from './retry.js';
import { destinationContract } from './suite.js';
import { holderOf, keyOf, type Row, type TestedDestination } from './tested.js';

const install = await installPostgres();
const CURSOR: Cursor = { pass: 1, mark: null, position: null, ended: null, notes: [] };

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

    describe('what PostgreSQL has of its own', () => {
      const table: TableSpec = {
        ...{ schema: 's', table: 't', primaryKey: ['id'] },
        columns: { id: 'STRING', at: 'UTC_DATETIME', n: 'LONG', v: 'STRING' },
      };
      const key = keyOf(table);
      const open = (destination: Destination, workflow = 'w') =>
        destination.openStream({
          ...{ key, table, holder: holderOf(workflow), full: false, takeOver: false },
          isRunning: () => Promise.resolve(false),
        });

      /** In a database of its own that a script has made ready: writes a record and tells what stands there then. */
      async function written(record: string, script = '', encoding = 'UTF8', quarantine = false) {
        const name = `own${databases++}`;
        await server.query(
          `CREATE DATABASE ${name} ENCODING '${encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`,
        );
        await server.queryIn(name, script);
        const pool = new Pool({ connectionString: server.url.replace(/\/postgres$/, `/${name}`) });
        const destination = new PostgresDestination(pool, name);
        const folder = await scratch();
        try {
          await writeFile(folder.file('x'), `${record}\n`);
          const { checkpoint } = await open(destination);
          await destination.write({
            ...{ key, base: checkpoint.id, next: 'next', cursor: CURSOR, workflowId: 'w' },
            table: { ...table, ...(quarantine && { quarantine }) },
            ...{ records: 1, pages: 1, bytes: record.length, longest: record.length },
            files: () => Promise.resolve([folder.file('x')]),
          });
          if (!quarantine) return await rowsOf(pool, table);
          return (await pool.query<Row>('SELECT reason FROM s._highwater_rejects')).rows;
        } finally {
          await folder.remove();
          await destination.close();
        }
      }

      it('times are cut to microseconds, never rounded up', async () => {
        const [row] = await written('{"id":"a","at":"2026-12-31T23:59:59.9999999Z"}');
        expect(row?.['at']).toBe('2026-12-31T23:59:59.999999Z');
      });

      it.each([
        ['{"id":"a","at":"2026-06-30T23:59:60Z"}', /column "at" cannot hold/],
        ['{"id":"a","at":"2026-01-01 BC"}', /column "at" cannot hold/],
        ['{"id":"a","n":"NaN"}', /column "n" cannot hold "NaN" as LONG/],
        ['{"id":"a","v":"\\u0000"}', /column "v" contains a character/],
        ['{"id":"a","v":"\\ud800"}', /column "v" contains a character/],
      ])('%s is refused for good, and named', async (record, said) => {
        const refused = written(record);
        await expect(refused).rejects.toBeInstanceOf(RecordError);
        await expect(refused).rejects.toThrow(said);
      });

      it.each([
        ['{"id":"a","n":"NaN"}', 'column "n" cannot hold "NaN" as LONG'],
        [
          '{"id":"a","v":"\\u0000"}',
          expect.stringMatching(/^column "v" contains a character that PostgreSQL/) as string,
        ],
      ])('%s is put aside where that is asked for', async (record, reason) => {
        expect(await written(record, '', 'UTF8', true)).toEqual([{ reason }]);
      });

      it('what it cannot hold does no harm in a member without a column', async () => {
        const [row] = await written('{"id":"a","elsewhere":"\\u0000","v":"x"}');
        expect(row).toMatchObject({ id: 'a', v: 'x' });
      });

      const SAYS_TWICE = `CREATE SCHEMA s; CREATE TABLE s.t (id text PRIMARY KEY, v text UNIQUE); INSERT INTO s.t VALUES ('b', 'x')`;
      it.each([
        ['that a constraint of others forbids', '{"id":"a","v":"x"}', SAYS_TWICE, 'UTF8'],
        ['that the encoding has not', '{"id":"a","v":"€"}', '', 'LATIN1'],
        ['too long for an index', JSON.stringify({ id: randomBytes(1900).toString('hex') }), '', 'UTF8'],
      ])('what is %s is refused for good', async (_, record, script, encoding) => {
        await expect(written(record, script, encoding)).rejects.toBeInstanceOf(RecordError);
        await expect(written(record, script, encoding, true)).rejects.toBeInstanceOf(RecordError);
      });

      it('a table with a generated column is refused before anything is read', async () => {
        const script =
          "CREATE SCHEMA s; CREATE TABLE s.t (id text PRIMARY KEY, v text GENERATED ALWAYS AS ('x') STORED)";
        await expect(written('{"id":"a"}', script)).rejects.toThrow(/v is text generated always/);
      });

      it('an index over an expression is none over the key', async () => {
        const script =
          'CREATE SCHEMA s; CREATE TABLE s.t (id text NOT NULL, v text); CREATE UNIQUE INDEX ON s.t (id, lower(v))';
        expect(await written('{"id":"a"}', script)).toHaveLength(1);
      });

      it('no search_path leads elsewhere', async () => {
        const script = `CREATE TABLE public._lines (place bigint, line json);
          DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = public, pg_temp'; END $$`;
        await written('{"id":"a"}', script);
        const rows = await server.queryIn(`own${databases - 1}`, 'SELECT * FROM public._lines');
        expect(rows).toEqual([]);
      });

      it('who claims a stream waits for the write that is under way, and goes on from there', async () => {
        const name = `own${databases++}`;
        await server.query(`CREATE DATABASE ${name}`);
        const pool = new Pool({ connectionString: server.url.replace(/\/postgres$/, `/${name}`) });
        const destination = new PostgresDestination(pool, name);
        await open(destination);
        const writer = await pool.connect();
        await writer.query('BEGIN');
        await writer.query('UPDATE s._highwater_checkpoints SET cursor = $1', [JSON.stringify(CURSOR)]);
        const claimed = open(destination, 'other');
        await delay(300);
        await writer.query('COMMIT');
        writer.release();
        expect((await claimed).checkpoint.cursor).toEqual(CURSOR);
        await destination.close();
      });
    });

    // With what the suite appends it is 63 bytes long.
    destinationContract('PostgreSQL', start, { longestName: 57 });
    modesContract('PostgreSQL', start);
    guardContract('PostgreSQL', start);
    describe('a PostgreSQL database', () => {
      const startFrom = async (version: number) => {
        const folder = await scratch();
        const tested = await start();
        const dump = await readFile(new URL(`versions/postgres-${version}.sql`, import.meta.url), 'utf8');
        await tested.query(`DO $$ BEGIN ${dump} END $$`);
        const end = async () => {
          await tested.close();
          await folder.remove();
        };
        return { tested, file: folder.file, end };
      };
      upgradesFromVersion1('public', () => startFrom(1));
      upgradesFromVersion2('public', () => startFrom(2), { isSql: true });
    });
    evolutionContract('PostgreSQL', start, { caseApart: true });
    retryContract('PostgreSQL', start);
    rangesContract('PostgreSQL', start);
    childrenContract('PostgreSQL', start);
    driftContract('PostgreSQL', start, {
      isSql: true,
      dropTable: async (tested, { schema, table }) => {
        await tested.query(`DROP TABLE ${schema}.${table}`);
      },
    });
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
