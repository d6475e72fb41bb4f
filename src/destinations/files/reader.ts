import { duckDbDialect } from '../duckdb/dialect.js';
import { DuckDbSession } from '../duckdb/session.js';
import { DuckDBInstance } from '@duckdb/node-api';
import { confine, NO_EXTENSIONS } from '../duckdb/confine.js';
import { findFiles } from '../location.js';
import { DestinationError } from '../../errors.js';
import type { StreamOfTable } from '../checkpoints.js';
import type { Json } from '../../protocol.js';
import { IDENTITY } from './files.js';
import { pathsOf } from './make-files.js';
import { tableQueries } from './columns.js';
import { Manifests, withRange, type Commit, type Manifest } from './manifest.js';
import { LocalStore, type ObjectStore } from './object-store.js';
import { runQuery, readWhole, type Answer, type QueryAnswer } from '../duckdb/query.js';
import { S3Store } from './s3-store.js';
import { columnTypes } from '../sql/own-tables.js';
import { identifier, literal, sql, type Sql } from '../sql/sql.js';
import { DestinationConnections } from '../../trust/connections.js';
import { TrustPolicy } from '../../trust/policy.js';

/** Opens the store that an address names, for reading. @throws {ConfigurationError | DestinationError} */
export async function openToRead(destination: string, environment: NodeJS.ProcessEnv) {
  const { name, address, beside, mask } = await findFiles(destination, environment);
  const { at } = address;
  const connections = new DestinationConnections(TrustPolicy.local(environment));
  const store: ObjectStore =
    at.kind === 'local'
      ? new LocalStore(at.path, mask)
      : await S3Store.open(at, `${beside}.cache`, connections, { mayWrite: false, mask });
  return { name, address, store };
}

/**
 * Runs one reading statement on a file destination, as of its current manifests.
 * @throws {ConfigurationError | DestinationError}
 */
export async function* askFiles(
  destination: string,
  statement: string,
  environment: NodeJS.ProcessEnv,
  limit?: AbortSignal,
): Answer {
  const { name, store } = await openToRead(destination, environment);
  try {
    if ((await store.get(IDENTITY)) === null)
      throw new DestinationError(`there is no destination at ${name}`);
    yield* askStore(store, statement, limit);
  } finally {
    await store.close();
  }
}

/** Runs {@link askFiles} and collects the whole answer. */
export const queryFiles = (
  destination: string,
  statement: string,
  environment: NodeJS.ProcessEnv,
): Promise<QueryAnswer> => readWhole(askFiles(destination, statement, environment));

/** Runs one reading statement on a store. Makes views of the tables whose names occur in it. */
export async function* askStore(store: ObjectStore, statement: string, limit?: AbortSignal): Answer {
  const instance = await DuckDBInstance.create(':memory:', NO_EXTENSIONS);
  const connection = await instance.connect();
  try {
    await connection.run("SET GLOBAL TimeZone = 'UTC'");
    await confine(instance, [store.folder], true);
    await makeViews(new DuckDbSession(connection), store, statement);
    yield* runQuery(connection, statement, limit);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** Runs {@link askStore} and collects the whole answer. */
export const queryStore = (store: ObjectStore, sql: string): Promise<QueryAnswer> =>
  readWhole(askStore(store, sql));

/** A table of the store, with its manifest and commits. */
interface Read {
  folder: string;
  manifest: Manifest;
  commits: Commit[];
}

async function makeViews(connection: DuckDbSession, store: ObjectStore, statement: string): Promise<void> {
  const said = statement.toLowerCase().replaceAll('""', '"');
  const own = OWN_TABLES.filter(({ name }) => said.includes(name));
  const tables: Read[] = [];
  const named: Read[] = [];
  for (const schema of await store.folders('')) {
    // Folders of Highwater itself are not schemas.
    if (schema.startsWith('_')) continue;
    for (const table of await store.folders(`${schema}/`)) {
      const isNamed = said.includes(decodeURIComponent(table));
      if (!isNamed && own.length === 0) continue;
      const manifests = new Manifests(store, `${schema}/${table}/`);
      const manifest = await manifests.latest();
      if (manifest === null) continue;
      const read = { folder: manifests.folder, manifest, commits: await manifests.commits(manifest) };
      tables.push(read);
      if (isNamed) named.push(read);
    }
  }
  const queries: { schema: string; table: string; latest: Sql; all: Sql }[] = [];
  for (const { folder, manifest, commits } of named) {
    const paths = await pathsOf(
      store,
      folder,
      commits.flatMap(({ files }) => files),
    );
    const { schema, table } = manifest;
    queries.push({ schema, table, ...tableQueries(manifest, commits, (path) => paths.get(path) ?? '') });
  }
  // All tables first: a table may be called like another one's `_appended` view.
  for (const { schema, table, latest } of queries) {
    await connection.run(sql`CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`);
    await connection.run(sql`CREATE VIEW ${identifier(schema)}.${identifier(table)} AS ${latest}`);
  }
  for (const { schema, table, all } of queries) {
    await connection.run(
      sql`CREATE VIEW IF NOT EXISTS ${identifier(schema)}.${identifier(`${table}_appended`)} AS ${all}`,
    );
  }
  for (const { name, columns, rows } of own)
    await createTable(connection, name, columns, await rows(store, tables));
}

type Row = { [column: string]: Json };
type RejectRow = Row & Omit<StreamOfTable, 'range'>;

/** The tables in which SQL destinations keep their state, as views of the manifests. */
export const OWN_TABLES: {
  name: string;
  columns: { [column: string]: string };
  rows: (store: ObjectStore, tables: readonly Read[]) => Promise<Row[]>;
}[] = [
  {
    name: '_highwater_batches',
    columns: { ...columnTypes(duckDbDialect, 'batches'), version: 'BIGINT' },
    rows: async (_, tables) =>
      tables.flatMap(({ manifest: { schema, table }, commits }) =>
        commits.map(({ batch, files: _files, rejects: _rejects, schema: _schema, cursor, ...rest }) => ({
          // Versions of rows are only added here.
          deleted: 0,
          left: 0,
          ...rest,
          cursor: cursor === undefined ? null : JSON.stringify(cursor),
          id: batch,
          schema,
          table,
        })),
      ),
  },
  {
    name: '_highwater_moves',
    columns: columnTypes(duckDbDialect, 'moves'),
    rows: async (_, tables) =>
      tables.flatMap(({ manifest: { schema, table, moves = [] } }) =>
        moves.map(({ cursor, ...rest }) => ({
          ...rest,
          schema,
          table,
          cursor: cursor === null ? null : JSON.stringify(cursor),
        })),
      ),
  },
  {
    name: '_highwater_files',
    columns: {
      schema: 'VARCHAR',
      table: 'VARCHAR',
      path: 'VARCHAR',
      rows: 'BIGINT',
      bytes: 'BIGINT',
      sha256: 'VARCHAR',
      batch: 'VARCHAR',
      version: 'BIGINT',
    },
    rows: async (_, tables) =>
      tables.flatMap(({ folder, manifest: { schema, table }, commits }) =>
        commits.flatMap(({ batch, version, files }) =>
          files.map(({ path, rows, bytes, sha256 }) => ({
            schema,
            table,
            path: `${folder}${path}`,
            rows,
            bytes,
            sha256,
            batch,
            version,
          })),
        ),
      ),
  },
  {
    name: '_highwater_checkpoints',
    columns: columnTypes(duckDbDialect, 'checkpoints'),
    rows: async (_, tables) =>
      tables.flatMap(({ manifest: { schema, table, checkpoints } }) =>
        checkpoints.map(({ strategy, source, range, id, cursor, holder, updated_at }) => ({
          schema,
          table,
          strategy,
          source,
          range,
          id,
          updated_at,
          cursor: cursor === null ? null : JSON.stringify(cursor),
          holder: JSON.stringify(holder),
        })),
      ),
  },
  {
    name: '_highwater_rejects',
    columns: columnTypes(duckDbDialect, 'rejects'),
    rows: async (store, tables) => {
      const rows: Row[] = [];
      for (const { folder, commits } of tables) {
        for (const { path } of commits.flatMap(({ rejects }) => rejects)) {
          const body = await store.get(`${folder}${path}`);
          const lines = body?.toString('utf8').split('\n') ?? [];
          const rejects = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as RejectRow);
          rows.push(...rejects.map(withRange));
        }
      }
      return rows;
    },
  },
];

async function createTable(
  connection: DuckDbSession,
  name: string,
  columns: { [column: string]: string },
  rows: readonly Row[],
): Promise<void> {
  await connection.run(
    sql`CREATE TABLE ${identifier(name)} AS SELECT r.* FROM (SELECT unnest(from_json(${literal(JSON.stringify(rows))}, ${literal(JSON.stringify([columns]))})) AS r)`,
  );
}
