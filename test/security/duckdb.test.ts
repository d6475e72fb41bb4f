/**
 * What SQL reaches in DuckDB, should some get there that is not ours: the database and the folders that batches are
 * staged in, and no other file, database, extension or address.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import { DuckDbFile } from '../../src/destinations/duckdb/file.js';
import { queryStore } from '../../src/destinations/files/reader.js';
import { LocalStore } from '../../src/destinations/files/object-store.js';
import { scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
let file: DuckDbFile;
const run = (sql: string): Promise<string> =>
  file
    .read(async (_, connection) => JSON.stringify((await connection.runAndReadAll(sql)).getRowsJson()))
    .catch((thrown: unknown) => `refused: ${thrown instanceof Error ? thrown.message : String(thrown)}`);

beforeAll(async () => {
  folder = await scratch();
  await mkdir(folder.file('x.duckdb.staging'));
  await writeFile(folder.file('x.duckdb.staging/batch.ndjson'), '{"n":1}\n');
  await mkdir(folder.file('x.duckdb.staging-not'));
  await writeFile(folder.file('x.duckdb.staging-not/secret.txt'), 'secret');
  await writeFile(folder.file('secret.txt'), 'secret');
  await mkdir(folder.file('lake/main'), { recursive: true });
  await writeFile(folder.file('lake/inside.csv'), 'n\n1\n');
  file = new DuckDbFile(folder.file('x.duckdb'), {
    ...{ memoryLimit: '128MiB', longRecordsMemory: '192MiB', threads: 1, idleMilliseconds: 60_000 },
  });
  await run('CREATE TABLE t AS SELECT 1 AS n');
});
afterAll(async () => {
  await file.close();
  await folder.remove();
});

/** Reading, writing, attaching, loading, and undoing what forbids it; `$` is the folder of the test. */
const ATTACKS = [
  `SELECT * FROM read_text('$/secret.txt')`,
  `SELECT * FROM read_csv('$/secret.txt', header = false)`,
  `SELECT * FROM read_blob('$/x.duckdb.staging/../secret.txt')`,
  `SELECT * FROM read_text('$/x.duckdb.staging-not/secret.txt')`,
  `SELECT * FROM '$/secret.txt'`,
  `SELECT * FROM glob('$/*')`,
  `SELECT * FROM glob('/etc/*')`,
  `SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')`,
  `SELECT * FROM sniff_csv('$/secret.txt')`,
  `COPY (SELECT 1) TO '$/written.csv'`,
  `EXPORT DATABASE '$/written'`,
  `ATTACH '$/written.duckdb'`,
  `CREATE TABLE u AS SELECT * FROM read_duckdb('$/written.duckdb')`,
  `INSTALL httpfs`,
  `LOAD httpfs`,
  `LOAD '$/written.duckdb_extension'`,
  `CREATE PERSISTENT SECRET s (TYPE http, bearer_token 'x')`,
  `SET enable_external_access = true`,
  `RESET enable_external_access`,
  `SET GLOBAL allowed_directories = ['/']`,
  `SET GLOBAL allowed_paths = ['$/secret.txt']`,
  `SET GLOBAL temp_directory = '$/written'`,
  `SET log_query_path = '$/written.log'`,
  `SET autoinstall_known_extensions = true; SELECT * FROM read_xlsx('$/secret.xlsx')`,
];

describe('SQL in the connection that writes a DuckDB file', () => {
  test.each(ATTACKS)('is refused: %s', async (attack) => {
    const before = (await readdir(folder.path)).sort();
    expect(await run(attack.replaceAll('$', folder.path))).toMatch(/^refused: /);
    expect((await readdir(folder.path)).sort()).toEqual(before);
    expect(await readFile(folder.file('secret.txt'), 'utf8')).toBe('secret');
  });

  test('reads what is staged, writes the database and its log, and has its limit of memory raised', async () => {
    expect(await run(`SELECT * FROM read_json('${folder.file('x.duckdb.staging/batch.ndjson')}')`)).toBe(
      '[["1"]]',
    );
    await run('INSERT INTO t VALUES (2)');
    await run('CHECKPOINT');
    await run('INSERT INTO t VALUES (3)');
    await file.read((connection) => file.makeRoomFor(connection, 100 * 1024 * 1024));
    expect(await run(`SELECT current_setting('memory_limit')`)).toBe('[["192.0 MiB"]]');
    expect(await run('SELECT count(*) FROM t')).toBe('[["3"]]');
  });
});

describe('SQL of "highwater query"', () => {
  test.each(ATTACKS.filter((attack) => attack.startsWith('SELECT')))(
    'reads no other file than the destination: %s',
    async (attack) => {
      const other = folder.file('y.duckdb');
      if (!existsSync(other)) {
        const made = new DuckDbFile(other, { memoryLimit: '128MiB', threads: 1, idleMilliseconds: 1 });
        await made.read((_, connection) => connection.run('CREATE TABLE t AS SELECT 1 AS n'));
        await made.close();
      }
      const sql = attack.replaceAll('$', folder.path);
      await expect(readDestination(other, sql)).rejects.toThrow();
      await expect(queryStore(new LocalStore(folder.file('lake')), sql)).rejects.toThrow();
      expect((await readDestination(other, 'SELECT n FROM t')).rows).toEqual([[1]]);
    },
  );

  test('reads files below the folder of a file destination, and no others', async () => {
    const store = new LocalStore(folder.file('lake'));
    const read = (path: string) => queryStore(store, `SELECT * FROM read_csv('${folder.file(path)}')`);
    expect((await read('lake/inside.csv')).rows).toEqual([['1']]);
    await expect(read('secret.txt')).rejects.toThrow(/disabled by configuration/);
  });
});
