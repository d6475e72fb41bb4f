import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { crc32, gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import { DuckDbDestination } from '../../src/destinations/duckdb/duckdb.js';
import { DuckDbFile, type DuckDbSettings } from '../../src/destinations/duckdb/file.js';
import { liveOwner, Ownership, type OwnerRecord } from '../../src/destinations/duckdb/owner.js';
import { runQuery, readWhole } from '../../src/destinations/duckdb/query.js';
import type { HistoryRequest } from '../../src/destinations/destination.js';
import { askOwner, historyAtOwner, serveQueries } from '../../src/destinations/duckdb/query-socket.js';
import { identifier } from '../../src/destinations/sql/sql.js';
import { DestinationBusyError, DestinationError, RecordError, StreamHeldError } from '../../src/errors.js';
import type { ColumnType, TableSpec } from '../../src/protocol.js';
import { numeral, sql } from '../../src/destinations/sql/sql.js';
import { scratch } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';
import { childrenContract } from './children.js';
import { driftContract } from './drift.js';
import { evolutionContract } from './evolution.js';
import { guardContract } from './guard.js';
import { modesContract } from './modes.js';
import { upgradesFromVersion1, upgradesFromVersion2 } from './upgrades.js';
import { rangesContract } from './ranges.js';
import { retryContract } from './retry.js';
import { destinationContract } from './suite.js';
import { type Row, Stream, type TestedDestination, thrownBy } from './tested.js';

const SETTINGS: DuckDbSettings = {
  ...{ memoryLimit: '384MiB', threads: 1, idleMilliseconds: 2000 },
  // Tests stage their batches in folders of their own.
  folders: [tmpdir()],
};

/** A value of a column as the contract's suite writes it. */
function plain(name: string, type: ColumnType): string {
  const column = identifier(name);
  switch (type) {
    case 'UTC_DATETIME':
      return `strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`;
    case 'NAIVE_DATETIME':
      return `strftime(${column}, '%Y-%m-%dT%H:%M:%S.%f')`;
    case 'BINARY':
      return `base64(${column})`;
    default:
      return `${column}::VARCHAR`;
  }
}

const rowsOf = async (file: DuckDbFile, table: TableSpec): Promise<Row[]> =>
  file.read(async (_, connection) => {
    const names = Object.keys(table.columns);
    const selected = Object.entries(table.columns).map(([name, type]) => plain(name, type));
    const from = `${identifier(table.schema)}.${identifier(table.table)}`;
    const reader = await connection.runAndReadAll(`SELECT ${selected.join(', ')} FROM ${from}`);
    return reader
      .getRowsJson()
      .map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] as string | null])));
  });

async function startDuckDb(prepares: boolean): Promise<TestedDestination> {
  const folder = await scratch();
  const at = (file: DuckDbFile): TestedDestination => {
    const destination = new DuckDbDestination(file);
    return {
      destination,
      prepares,
      rows: (table) => rowsOf(file, table),
      query: (sql) =>
        file.read(
          async (_, connection) => (await connection.runAndReadAll(sql)).getRowsJson() as unknown[][],
        ),
      ownSchema: '',
      reopen: async () => {
        await destination.close();
        return at(new DuckDbFile(folder.file('x.duckdb'), SETTINGS));
      },
      close: async () => {
        await destination.close();
        await folder.remove();
      },
    };
  };
  return at(new DuckDbFile(folder.file('x.duckdb'), SETTINGS));
}

destinationContract('DuckDB', () => startDuckDb(true));
if (LONG) destinationContract('DuckDB that does not know of a write beforehand', () => startDuckDb(false));
modesContract('DuckDB', () => startDuckDb(true));
guardContract('DuckDB', () => startDuckDb(true));
describe('a DuckDB file', () => {
  const startFrom = async (version: number) => {
    const made = await scratch();
    const old = await readFile(new URL(`versions/duckdb-${version}.gz`, import.meta.url));
    await writeFile(made.file('x.duckdb'), gunzipSync(old));
    const at = new DuckDbFile(made.file('x.duckdb'), SETTINGS);
    const destination = new DuckDbDestination(at);
    const tested: TestedDestination = {
      destination,
      prepares: false,
      rows: (of) => rowsOf(at, of),
      query: (sql) =>
        at.read(async (_, connection) => (await connection.runAndReadAll(sql)).getRowsJson() as unknown[][]),
      ownSchema: '',
      reopen: () => Promise.reject(new Error('not here')),
      close: () => destination.close(),
    };
    const end = async () => {
      await destination.close();
      await made.remove();
    };
    return { tested, file: made.file, end };
  };
  upgradesFromVersion1('main', () => startFrom(1));
  upgradesFromVersion2('main', () => startFrom(2), { isSql: true });
});
evolutionContract('DuckDB', () => startDuckDb(true), { caseApart: false });
retryContract('DuckDB', () => startDuckDb(false));
rangesContract('DuckDB', () => startDuckDb(true));
childrenContract('DuckDB', () => startDuckDb(true));
driftContract('DuckDB', () => startDuckDb(false), {
  isSql: true,
  dropTable: async (tested, { schema, table }) => {
    await tested.query(`DROP TABLE ${schema}.${table}`);
  },
});

let folder: Awaited<ReturnType<typeof scratch>>;
let path: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  folder = await scratch();
  path = folder.file('x.duckdb');
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await folder.remove();
});

const duckDbPackage = fileURLToPath(import.meta.resolve('@duckdb/node-api'));

/** Another program that uses DuckDB: runs `script`, where `DuckDBInstance` and `path` stand. */
function otherProgram(script: string): ChildProcess {
  const prelude = `const { DuckDBInstance } = require(${JSON.stringify(duckDbPackage)}); const path = ${JSON.stringify(path)};`;
  const child = spawn(process.execPath, ['-e', `${prelude}(async () => { ${script} })()`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

async function said(child: ChildProcess): Promise<string> {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  }
  await once(child, 'close');
  return text;
}

/** What another program reads from the file. */
const readElsewhere = (sql: string): Promise<string> =>
  said(
    otherProgram(`
      try {
        const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY' });
        const reader = await (await instance.connect()).runAndReadAll(${JSON.stringify(sql)});
        console.log(JSON.stringify(reader.getRowsJson()));
      } catch (error) { console.log('refused: ' + error.message); }
      process.exit(0);`),
  );

describe('a DuckDB table', () => {
  const table = (name: string, columns: TableSpec['columns'] = {}): TableSpec => ({
    schema: 'main',
    table: name,
    primaryKey: ['id'],
    columns: { id: 'STRING', ...columns },
  });
  let file: DuckDbFile;
  let tested: TestedDestination;
  beforeEach(() => {
    file = new DuckDbFile(path, SETTINGS);
    tested = {
      destination: new DuckDbDestination(file),
      prepares: false,
      rows: (of) => rowsOf(file, of),
      query: () => Promise.reject(new Error('not here')),
      ownSchema: '',
      reopen: () => Promise.reject(new Error('not here')),
      close: () => file.close(),
    };
  });
  afterEach(() => file.close());
  const streamOf = (of: TableSpec) => new Stream(tested, folder.file, of);

  it('is closed at once though a write was announced that never came', async () => {
    const { checkpoint } = await streamOf(table('t')).open();
    tested.prepares = true;
    const stream = streamOf(table('t'));
    const refused = stream.write('another base', 'c1', [{ id: '1' }]);
    await expect(refused).rejects.toThrow('checkpoint');
    tested.destination.prepare({
      key: stream.key,
      table: stream.table,
      base: checkpoint.id,
      next: 'c2',
      cursor: { pass: 1, mark: {}, position: null, ended: null, notes: [] },
      ...{ records: 1, pages: 1, bytes: 10, longest: 10, workflowId: 'w1' },
      files: async () => [folder.file('missing.ndjson')],
    });
    const started = Date.now();
    await tested.destination.close();
    expect(Date.now() - started).toBeLessThan(5000);
    await new DuckDbFile(path, SETTINGS).close();
  });

  it('is one whatever the case of its name: a second workflow is refused, and columns are not made twice', async () => {
    const { checkpoint } = await streamOf(table('User', { Name: 'STRING' })).open('first');
    const again = streamOf({ ...table('uSER', { nAME: 'STRING' }), schema: 'MAIN' });
    expect(await thrownBy(again.open('second', { isRunning: async () => true }))).toBeInstanceOf(
      StreamHeldError,
    );
    const taken = await again.open('second');
    expect(taken.checkpoint.id).not.toBe(checkpoint.id);
    await again.write(taken.checkpoint.id, 'c1', [{ id: '1', nAME: 'x' }]);
    expect(await again.rows()).toEqual([{ id: '1', nAME: 'x' }]);
  });

  it('whose place is taken by a view is refused, not tried again', async () => {
    await file.read((_, connection) => connection.run('CREATE VIEW seen AS SELECT 1 AS id'));
    const thrown = await thrownBy(streamOf(table('seen')).open());
    expect(thrown).toBeInstanceOf(DestinationError);
    expect(thrown.message).toContain('seen');
  });

  it('in a schema that DuckDB keeps for itself is refused, not tried again', async () => {
    const thrown = await thrownBy(streamOf({ ...table('x'), schema: 'pg_catalog' }).open());
    expect(thrown).toBeInstanceOf(DestinationError);
  });

  it('made by hand without Highwater is filled as it is', async () => {
    await file.read((_, connection) =>
      connection.run(
        `CREATE TABLE made (extra INTEGER DEFAULT 7, id VARCHAR PRIMARY KEY); INSERT INTO made VALUES (1, 'old')`,
      ),
    );
    const made = streamOf(table('made', { name: 'STRING' }));
    const { checkpoint } = await made.open();
    expect(
      (
        await made.write(checkpoint.id, 'c1', [
          { id: 'old', name: 'n' },
          { id: 'new', name: 'n' },
        ])
      ).rows,
    ).toBe(2);
    const wide = table('made', { name: 'STRING', extra: 'INT' });
    expect((await rowsOf(file, wide)).sort((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1))).toEqual([
      { id: 'new', name: 'n', extra: '7' },
      { id: 'old', name: 'n', extra: '1' },
    ]);
  });

  it('that has a key twice, because somebody else wrote it, has it once when it changes, and gets every new row', async () => {
    await file.read((_, connection) =>
      connection.run(
        "CREATE TABLE twice (id VARCHAR, name VARCHAR); INSERT INTO twice VALUES ('a', 'x'), ('a', 'y'), ('a', 'z')",
      ),
    );
    const twice = streamOf(table('twice', { name: 'STRING' }));
    const { checkpoint } = await twice.open();
    await twice.write(
      checkpoint.id,
      'c1',
      ['a', 'b', 'c'].map((id) => ({ id, name: 'new' })),
    );
    const rows = await twice.rows();
    expect(rows.map((row) => row['id'])).toEqual(['a', 'b', 'c']);
    expect(new Set(rows.map((row) => row['name']))).toEqual(new Set(['new']));
  });

  it('with columns or an index of somebody else keeps them', async () => {
    for (const [name, more] of [
      ['extra', 'id VARCHAR, name VARCHAR, note VARCHAR'],
      ['unique', 'id VARCHAR, name VARCHAR, note VARCHAR, UNIQUE (id)'],
      ['indexed', 'id VARCHAR, name VARCHAR'],
    ]) {
      await file.read((_, connection) => connection.run(`CREATE TABLE "${name}" (${more})`));
      const of = streamOf(table(name ?? '', { name: 'STRING' }));
      const { checkpoint } = await of.open();
      await of.write(checkpoint.id, 'c1', [
        { id: 'a', name: 'x' },
        { id: 'b', name: 'x' },
      ]);
      await file.read((_, connection) =>
        connection.run(
          name === 'indexed'
            ? `CREATE UNIQUE INDEX i ON "${name}" (id)`
            : `UPDATE "${name}" SET note = 'mine ' || id`,
        ),
      );
      expect((await of.write('c1', 'c2', [{ id: 'a', name: 'y' }])).rows).toBe(1);
      const note = name === 'indexed' ? 'NULL' : 'note';
      const found = await file.read((_, connection) =>
        connection.runAndReadAll(`SELECT id, name, ${note} FROM "${name}" ORDER BY id`),
      );
      expect(found.getRowsJson()).toEqual([
        ['a', 'y', name === 'indexed' ? null : 'mine a'],
        ['b', 'x', name === 'indexed' ? null : 'mine b'],
      ]);
    }
  });

  it('hashed by another DuckDB, or written to by hand, still has each key once', async () => {
    const of = streamOf(table('hashed', { name: 'STRING' }));
    const { checkpoint } = await of.open();
    await of.write(checkpoint.id, 'c1', [{ id: 'a', name: 'x' }]);
    await file.read((_, connection) =>
      connection.run(
        `CREATE VIEW seen AS SELECT * FROM hashed; INSERT INTO hashed (id, name) VALUES ('b', 'x'); UPDATE hashed SET _highwater_key = 7 WHERE id = 'a';
         UPDATE _highwater_meta SET value = 'of another version' WHERE name = 'key_hash'`,
      ),
    );
    const again = await of.open('w2');
    const written = await of.write(
      again.checkpoint.id,
      'c2',
      ['a', 'b', 'c'].map((id) => ({ id, name: 'y' })),
      { workflowId: 'w2' },
    );
    expect(written.rows).toBe(3);
    expect((await of.rows()).map((row) => [row['id'], row['name']])).toEqual([
      ['a', 'y'],
      ['b', 'y'],
      ['c', 'y'],
    ]);
  });

  it('written to by hand between two batches still has each key once', async () => {
    const of = streamOf(table('byhand', { name: 'STRING' }));
    const { checkpoint } = await of.open();
    await of.write(checkpoint.id, 'c1', [{ id: 'a', name: 'x' }]);
    await file.read((_, connection) => connection.run("INSERT INTO byhand (id, name) VALUES ('b', 'x')"));
    expect((await of.write('c1', 'c2', [{ id: 'b', name: 'y' }])).rows).toBe(1);
    expect((await of.rows()).map((row) => [row['id'], row['name']])).toEqual([
      ['a', 'x'],
      ['b', 'y'],
    ]);
  });

  it('takes two keys of one hash for two', async () => {
    const of = streamOf(table('collide', { name: 'STRING' }));
    const { checkpoint } = await of.open();
    await of.write(checkpoint.id, 'c1', [{ id: 'a', name: 'x' }]);
    await file.read((_, connection) => connection.run("UPDATE collide SET _highwater_key = hash('b')"));
    expect((await of.write('c1', 'c2', [{ id: 'b', name: 'y' }])).rows).toBe(1);
    expect((await of.rows()).map((row) => [row['id'], row['name']])).toEqual([
      ['a', 'x'],
      ['b', 'y'],
    ]);
  });

  it('leaves no temporary table behind, after a failure either', async () => {
    const odd = streamOf(table('odd', { n: 'LONG' }));
    const { checkpoint } = await odd.open();
    await odd.write(checkpoint.id, 'c1', [{ id: '1', n: 1 }]);
    await thrownBy(odd.write('c1', 'c2', [{ id: '1', n: 'x' }]));
    const names = await file.read(async (_, connection) => {
      const reader = await connection.runAndReadAll('SELECT table_name FROM duckdb_tables() ORDER BY 1');
      return reader.getRowsJson().flat();
    });
    expect(names).toEqual([
      '_highwater_batches',
      '_highwater_checkpoints',
      '_highwater_differences',
      '_highwater_fingerprints',
      '_highwater_meta',
      '_highwater_moves',
      '_highwater_parents',
      '_highwater_rejects',
      '_highwater_schema_changes',
      '_highwater_seen',
      'odd',
    ]);
  });

  it('logs every commit: what it was made from, by whom, and how much', async () => {
    const logged = streamOf(table('logged'));
    const { checkpoint } = await logged.open();
    await logged.write(checkpoint.id, 'c1', [{ id: '1' }, { id: '1' }], { pages: 3, workflowId: 'w9' });
    const rows = await file.read(async (_, connection) => {
      const sql = 'SELECT id, base, workflow_id, pages, records, "rows" FROM _highwater_batches';
      return (await connection.runAndReadAll(sql)).getRowsJson();
    });
    expect(rows).toEqual([['c1', checkpoint.id, 'w9', '3', '2', '1']]);
  });

  it('takes a zero character, and refuses half a surrogate pair with the batch whole', async () => {
    const odd = streamOf(table('odd', { name: 'STRING' }));
    const { checkpoint } = await odd.open();
    await odd.write(checkpoint.id, 'c1', ['{"id": "1", "name": "a\\u0000b"}']);
    expect(await odd.rows()).toEqual([{ id: '1', name: 'a\u0000b' }]);
    const thrown = await thrownBy(odd.write('c1', 'c2', ['{"id": "2"}', '{"id": "3", "name": "\\ud800"}']));
    expect(thrown).toBeInstanceOf(RecordError);
    expect(await odd.rows()).toHaveLength(1);
  });

  it('cannot keep what its types have no room for: it rounds decimals, and cuts times to microseconds', async () => {
    const types: TableSpec['columns'] = {
      d: 'DECIMAL(10,2)',
      t: 'UTC_DATETIME',
      n: 'NAIVE_DATETIME',
      f: 'FLOAT',
    };
    const narrow = streamOf(table('narrow', types));
    const { checkpoint } = await narrow.open();
    await narrow.write(checkpoint.id, 'c1', [
      {
        id: '1',
        d: '1.005',
        t: '2024-01-01T00:00:00.123456789Z',
        // A time without a zone is the time on the wall, whatever zone is written behind it.
        n: '2024-01-01T02:00:00+02:00',
        f: 0.1234567891,
      },
    ]);
    expect(await narrow.rows()).toEqual([
      {
        id: '1',
        d: '1.01',
        t: '2024-01-01T00:00:00.123456Z',
        n: '2024-01-01T02:00:00.000000',
        f: '0.12345679',
      },
    ]);
  });

  it('finds the misfit among many, whatever its key is made of', async () => {
    const many = streamOf({ ...table('many', { k: 'LONG', n: 'LONG' }), primaryKey: ['id', 'k'] });
    const { checkpoint } = await many.open();
    const records = Array.from({ length: 5000 }, (_, i) => ({ id: `i"${i}`, k: i, n: i === 4321 ? 'x' : i }));
    const thrown = await thrownBy(many.write(checkpoint.id, 'c1', records));
    expect(thrown.message).toContain('"i\\"4321, 4321"');
    expect(thrown.message).toContain('cannot hold "x" as LONG');
  });
});

describe('a DuckDB file beside a log', () => {
  const table: TableSpec = { schema: 'main', table: 't', primaryKey: ['id'], columns: { id: 'STRING' } };
  /** Opens a file for as long as `work` takes. */
  const withStream = async <T>(at: string, work: (stream: Stream) => Promise<T>): Promise<T> => {
    const file = new DuckDbFile(at, SETTINGS);
    const tested: TestedDestination = {
      destination: new DuckDbDestination(file),
      prepares: false,
      rows: (of) => rowsOf(file, of),
      query: () => Promise.reject(new Error('not here')),
      ownSchema: '',
      reopen: () => Promise.reject(new Error('not here')),
      close: () => file.close(),
    };
    try {
      return await work(new Stream(tested, folder.file, table));
    } finally {
      await file.close();
    }
  };
  const idsIn = (at: string) => withStream(at, async (of) => (await of.rows()).map(({ id }) => id));
  const contentOf = async (at: string) =>
    (await Promise.all([readFile(at), readFile(`${at}.wal`)])).map((bytes) => crc32(bytes));
  const copy = (name: string) => folder.file(name);

  /** A file at rest, then one with a checkpoint more and a live log on top. */
  async function backupAndLog(): Promise<{ old: string; newer: string }> {
    const [old, newer] = [copy('old.duckdb'), copy('newer.duckdb')];
    await withStream(path, async (of) => {
      await of.write((await of.open()).checkpoint.id, 'c1', [{ id: '1' }]);
    });
    await copyFile(path, old);
    await withStream(path, (of) => of.write('c1', 'c2', [{ id: '2' }]));
    await withStream(path, async (of) => {
      await of.write('c2', 'c3', [{ id: '3' }]);
      await copyFile(path, newer);
      await copyFile(`${path}.wal`, `${newer}.wal`);
    });
    return { old, newer };
  }

  it('that is newer, as a restored copy has it, is refused before anything is read, and goes on without it', async () => {
    const { old, newer } = await backupAndLog();
    await copyFile(`${newer}.wal`, `${old}.wal`);
    const before = await contentOf(old);
    const refused = withStream(old, (of) => of.open());
    await expect(refused).rejects.toThrow(DestinationError);
    await expect(refused).rejects.toThrow(
      /old\.duckdb does not belong to the log beside it, .*old\.duckdb\.wal: .* move the log away/,
    );
    await expect(readDestination(old, 'SELECT 1')).rejects.toThrow('does not belong to the log beside it');
    expect(await contentOf(old)).toEqual(before);
    await rm(`${old}.wal`);
    expect(await idsIn(old)).toEqual(['1']);
  });

  it('that is its own is gone on with, after a crash as well', async () => {
    const { newer } = await backupAndLog();
    expect(existsSync(`${newer}.wal`)).toBe(true);
    expect(await idsIn(newer)).toEqual(['1', '2', '3']);
  });

  it('of another file is refused, also where DuckDB stumbles over it', async () => {
    const { newer } = await backupAndLog();
    const other = copy('other.duckdb');
    await withStream(other, async (of) => {
      await of.write((await of.open()).checkpoint.id, 'o1', [{ id: 'o' }]);
    });
    await copyFile(`${newer}.wal`, `${other}.wal`);
    await expect(idsIn(other)).rejects.toThrow('does not belong to the log beside it');
    // Written by another program, without a mark: DuckDB's own words, without its stack.
    const script = `
      const instance = await DuckDBInstance.create(path + '.foreign');
      const connection = await instance.connect();
      await connection.run('CREATE TABLE foreign_table (n INTEGER); CHECKPOINT; INSERT INTO foreign_table VALUES (1)');
      require('node:fs').copyFileSync(path + '.foreign.wal', ${JSON.stringify(`${other}.wal`)});
      process.exit(0);`;
    await said(otherProgram(script));
    const thrown = await thrownBy(idsIn(other));
    expect(thrown.message).toMatch(/does not belong to the log beside it.* DuckDB says: .*WAL/);
    expect(thrown.message).not.toContain('Stack Trace');
  });

  it('that a crash between a checkpoint and its removal has left is gone on with', async () => {
    await withStream(path, async (of) => {
      await of.write((await of.open()).checkpoint.id, 'c1', [{ id: '1' }]);
    });
    const file = new DuckDbFile(path, SETTINGS);
    await file.transaction((connection) => connection.run(sql`INSERT INTO t (id) VALUES ('2')`));
    await file.read(async (_, connection) => {
      await connection.run("SET debug_checkpoint_abort = 'before_truncate'");
      await expect(connection.run('CHECKPOINT')).rejects.toThrow('abort');
      await copyFile(path, copy('crashed.duckdb'));
      await copyFile(`${path}.wal`, copy('crashed.duckdb.wal'));
    });
    await file.close().catch(() => undefined);
    expect(await idsIn(copy('crashed.duckdb'))).toEqual(['1', '2']);
  });
});

describe('a DuckDB file', () => {
  const files: DuckDbFile[] = [];
  const fileWith = (settings: Partial<DuckDbSettings> = {}): DuckDbFile => {
    const file = new DuckDbFile(path, { ...SETTINGS, ...settings });
    files.push(file);
    return file;
  };
  afterEach(async () => {
    for (const file of files.splice(0)) await file.close();
  });

  it('is closed after two idle seconds, so that another program can read what was written', async () => {
    const file = fileWith();
    await file.transaction(async (connection) => {
      await connection.run(sql`CREATE TABLE t AS SELECT 42 AS n`);
      expect(await readElsewhere('SELECT n FROM t')).toContain('refused');
    });
    const started = Date.now();
    let read = 'refused';
    while (read.includes('refused') && Date.now() - started < 20_000) {
      await delay(started + 2100 - Date.now());
      read = await readElsewhere('SELECT n FROM t');
    }
    expect(JSON.parse(read)).toEqual([[42]]);
    // All of it is in the one file.
    expect(existsSync(`${path}.wal`)).toBe(false);
    // And it opens again by itself.
    await file.transaction((connection) => connection.run(sql`INSERT INTO t VALUES (43)`));
    await file.close();
    expect(JSON.parse(await readElsewhere('SELECT count(*)::INT FROM t'))).toEqual([[2]]);
  });

  it('stays open while it is used, however long that takes', async () => {
    const file = fileWith({ idleMilliseconds: 50 });
    await file.read(async (_, connection) => {
      await connection.run('CREATE TEMP TABLE mine AS SELECT 1');
      await delay(300);
      await connection.run('SELECT * FROM mine');
    });
    for (let i = 0; i < 20; i++) {
      await delay(i % 5 === 0 ? 60 : 10);
      await file.read((_, connection) => connection.run('SELECT 1'));
    }
  });

  it('that is closed and used at the same moment is neither broken nor left open', async () => {
    const file = fileWith({ idleMilliseconds: 1 });
    await file.transaction((connection) => connection.run(sql`CREATE TABLE t (n INTEGER)`));
    for (let round = 0; round < 20; round++) {
      await Promise.all([
        file.close(),
        file.transaction((connection) => connection.run(sql`INSERT INTO t VALUES (${numeral(round)})`)),
        file.read((_, connection) => connection.run('SELECT * FROM t')),
        delay(round % 4),
      ]);
    }
    await file.close();
    expect(JSON.parse(await readElsewhere('SELECT count(*)::INT, max(n) FROM t'))).toEqual([[20, 19]]);
  });

  it('open in another program is busy, and the message names file and holder', async () => {
    const other = otherProgram(`
      const instance = await DuckDBInstance.create(path);
      await (await instance.connect()).run('CREATE TABLE t AS SELECT 1');
      console.log('open');
      setTimeout(() => instance.closeSync(), 60_000);`);
    await once(other.stdout as NodeJS.ReadableStream, 'data');
    const thrown = await thrownBy(fileWith().read((_, connection) => connection.run('SELECT 1')));
    expect(thrown).toBeInstanceOf(DestinationBusyError);
    expect(thrown.message).toContain(path);
    expect(thrown.message).toContain(`PID ${other.pid}`);
    expect(thrown.message).toContain('DuckDB allows only one writing program per file');
  });

  it('is opened at the next try once the other program is gone', async () => {
    const other = otherProgram(`
      globalThis.instance = await DuckDBInstance.create(path);
      console.log('open');
      setInterval(() => {}, 1000);`);
    await once(other.stdout as NodeJS.ReadableStream, 'data');
    const file = fileWith();
    expect(await thrownBy(file.read(async () => 1))).toBeInstanceOf(DestinationBusyError);
    other.kill('SIGKILL');
    await once(other, 'exit');
    expect(await file.read(async () => 'read')).toBe('read');
  });

  it('that is no database is not taken for one in use, whatever its name', async () => {
    path = folder.file('clock-blocked.duckdb');
    await writeFile(path, 'this is some other file, which nobody wants to lose'.repeat(1000));
    const thrown = await thrownBy(fileWith().read(async () => 1));
    expect(thrown).toBeInstanceOf(DestinationError);
    expect(thrown.message).toContain(`the destination ${path} cannot be opened`);
    expect(await readFile(path, 'utf8')).toContain('this is some other file');
  });

  it('whose folder is not there, or that is a folder, cannot be opened', async () => {
    path = folder.file('nowhere/x.duckdb');
    expect(await thrownBy(fileWith().read(async () => 1))).toBeInstanceOf(DestinationError);
    path = folder.file('folder.duckdb');
    await mkdir(path);
    expect(await thrownBy(fileWith().read(async () => 1))).toBeInstanceOf(DestinationError);
  });

  it('takes its transactions one after the other, and goes on after one has failed', async () => {
    const file = fileWith();
    await file.transaction((connection) => connection.run(sql`CREATE TABLE t (n INTEGER)`));
    let inside = 0;
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) =>
        file.transaction(async (connection) => {
          expect(++inside).toBe(1);
          await connection.run(sql`INSERT INTO t VALUES (${numeral(i)})`);
          await delay(1);
          inside--;
          if (i % 3 === 0) throw new Error(`no ${i}`);
          return i;
        }),
      ),
    );
    expect(outcomes.filter((outcome) => outcome.status === 'rejected')).toHaveLength(4);
    const rows = await file.read(async (_, c) =>
      (await c.runAndReadAll('SELECT n FROM t ORDER BY n')).getRowsJson(),
    );
    expect(rows.flat()).toEqual([1, 2, 4, 5, 7, 8]);
  });

  it('keeps what was committed when its program is killed', async () => {
    const other = otherProgram(`
      const instance = await DuckDBInstance.create(path);
      const connection = await instance.connect();
      await connection.run('CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)');
      await connection.run('BEGIN; INSERT INTO t VALUES (2)');
      console.log('written');
      setInterval(() => {}, 1000);`);
    await once(other.stdout as NodeJS.ReadableStream, 'data');
    other.kill('SIGKILL');
    await once(other, 'exit');
    const rows = await fileWith().read(async (_, c) =>
      (await c.runAndReadAll('SELECT n FROM t')).getRowsJson(),
    );
    expect(rows).toEqual([[1]]);
  });
});

describe('a query from outside', () => {
  let file: DuckDbFile;
  beforeEach(async () => {
    file = new DuckDbFile(path, SETTINGS);
    await file.read((_, c) =>
      c.run("CREATE TABLE t AS SELECT 9007199254740993 AS n, DATE '2024-02-29' AS d, NULL AS x"),
    );
  });
  afterEach(() => file.close());
  const ask = (sql: string) => file.read((_, connection) => readWhole(runQuery(connection, sql)));

  it('is answered with names and values, every digit of them', async () => {
    expect(await ask('SELECT * FROM t')).toEqual({
      columns: ['n', 'd', 'x'],
      rows: [['9007199254740993', '2024-02-29', null]],
    });
    expect((await ask('FROM t LIMIT 0')).rows).toEqual([]);
    expect((await ask('SHOW TABLES')).rows).toEqual([['t']]);
    expect((await ask('EXPLAIN SELECT 1')).columns).toHaveLength(2);
  });

  it.each([
    'DELETE FROM t',
    'INSERT INTO t VALUES (1)',
    'DROP TABLE t',
    "ATTACH 'other.duckdb'",
    'SET threads = 1',
    'BEGIN',
    "COPY t TO 'out.csv'",
    'EXPLAIN ANALYZE DELETE FROM t',
    'explain (analyze) DELETE FROM t',
    'EXPLAIN /* a remark */ ANALYZE DELETE FROM t',
    'SELECT 1; DELETE FROM t',
    'WITH gone AS (SELECT 1) DELETE FROM t',
    '',
    ' -- nothing',
  ])('that could change something is refused: %s', async (sql) => {
    expect(await thrownBy(ask(sql))).toBeInstanceOf(DestinationError);
    expect((await ask('SELECT count(*)::INT FROM t')).rows).toEqual([[1]]);
  });

  it('reaches the owner through a socket that only this user can reach', async () => {
    const place = folder.file('sockets');
    await mkdir(place, { mode: 0o777 });
    await chmod(place, 0o777);
    const socket = `${place}/s.sock`;
    const nothing = () => Promise.reject(new Error('only queries here'));
    const server = await serveQueries(socket, {
      query: (sql, limit, read) => file.read((_, connection) => read(runQuery(connection, sql, limit))),
      retry: nothing,
      history: nothing,
    });
    const askedOf = (sql: string) => readWhole(askOwner(socket, sql));
    try {
      expect((await stat(place)).mode & 0o777).toBe(0o700);
      expect((await stat(socket)).mode & 0o777).toBe(0o600);
      expect((await askedOf('SELECT n FROM t')).rows).toEqual([['9007199254740993']]);
      expect((await thrownBy(askedOf('DROP TABLE t'))).message).toContain('only read-only statements');
      const many = await Promise.all(
        Array.from({ length: 10 }, (_, i) => askedOf(`SELECT repeat('${i}', 500000) FROM t`)),
      );
      many.forEach(({ rows }, i) => expect(rows).toEqual([[String(i).repeat(500_000)]]));
      const tooLong = await thrownBy(askedOf(`SELECT '${'x'.repeat(2 * 1024 * 1024)}'`));
      expect(tooLong.message).not.toContain('JSON');
      const misshapen = { key: { schema: 'main', table: 't', drop: true }, limit: 1 };
      const refused = await thrownBy(historyAtOwner(socket, misshapen as unknown as HistoryRequest));
      expect(refused.message).toContain('history.key.drop: is not a known key');
    } finally {
      server.close();
    }
  });

  it('that DuckDB refuses says what DuckDB says', async () => {
    expect((await thrownBy(ask('SELECT * FROM nothing'))).message).toContain('nothing does not exist');
  });
});

describe('the owner of a destination', () => {
  const DETAILS = {
    queue: 'q',
    taskQueue: 'highwater',
    address: 'localhost:7233',
    namespace: 'default',
    socket: '/tmp/s.sock',
  };
  const claims: Ownership[] = [];
  const claim = async (details: Partial<typeof DETAILS> = {}): Promise<Ownership | OwnerRecord> => {
    const claimed = await Ownership.claim(path, { ...DETAILS, ...details });
    if (claimed instanceof Ownership) claims.push(claimed);
    return claimed;
  };
  const owned = async (details: Partial<typeof DETAILS> = {}): Promise<Ownership> => {
    const claimed = await claim(details);
    expect(claimed).toBeInstanceOf(Ownership);
    return claimed as Ownership;
  };
  afterEach(async () => {
    for (const ownership of claims.splice(0)) await ownership.release();
  });

  /** The record of some other owner, as it would stand beside the file. */
  const leave = async (record: object | string, ageSeconds = 0): Promise<void> => {
    await writeFile(`${path}.owner`, typeof record === 'string' ? record : JSON.stringify(record));
    const then = new Date(Date.now() - ageSeconds * 1000);
    await utimes(`${path}.owner`, then, then);
  };
  const record = async (): Promise<OwnerRecord> => {
    const mine = await owned();
    await mine.release();
    return mine.record;
  };

  it('is found while it lives, and says where to send the work', async () => {
    expect(await liveOwner(path)).toBeNull();
    const mine = await owned();
    expect(await liveOwner(path)).toEqual(mine.record);
    expect(mine.record).toMatchObject({ ...DETAILS, pid: process.pid, host: hostname() });
    expect(await claim({ queue: 'another' })).toEqual(mine.record);
    expect(await mine.stands()).toBe(true);
    expect((await stat(`${path}.owner`)).mode & 0o777).toBe(0o600);
  });

  it('is found in another process', async () => {
    const other = otherProgram(`setInterval(() => {}, 1000); console.log('up');`);
    await once(other.stdout as NodeJS.ReadableStream, 'data');
    const text = await readFile(`/proc/${other.pid}/stat`, 'utf8').catch(() => null);
    const processStart = text?.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
    const theirs = { ...(await record()), claim: 'theirs', pid: other.pid, processStart };
    await leave(theirs, 3600);
    expect(await claim()).toEqual(theirs);
    other.kill('SIGKILL');
    await once(other, 'exit');
    expect(await liveOwner(path)).toBeNull();
    expect((await owned()).record.claim).not.toBe('theirs');
  });

  it('that is dead is succeeded at once, though its process number lives again', async () => {
    const before = await record();
    await leave({ ...before, claim: 'dead', pid: 2 ** 22 + 1 });
    expect(await liveOwner(path)).toBeNull();
    await (await owned()).release();
    if (before.processStart === null) return;
    await leave({ ...before, claim: 'dead', processStart: '1' });
    expect(await liveOwner(path)).toBeNull();
    const mine = await owned();
    expect(await liveOwner(path)).toEqual(mine.record);
  });

  it('on another host is believed for as long as its record is fresh', async () => {
    const theirs = { ...(await record()), claim: 'theirs', host: 'elsewhere', pid: 1 };
    await leave(theirs, 2);
    expect(await claim()).toEqual(theirs);
    await leave(theirs, 20);
    expect(await liveOwner(path)).toBeNull();
    await owned();
  });

  it.each(['', '{"claim": "ha', 'null', '{}', '"text"', '[]'])(
    'that left %j behind when it died is succeeded',
    async (text) => {
      await leave(text, 3600);
      expect(await liveOwner(path)).toBeNull();
      await owned();
    },
  );

  it('whose record is being written in this moment is waited for', async () => {
    const theirs = { ...(await record()), claim: 'theirs' };
    await leave('');
    setTimeout(() => void leave(theirs), 20);
    expect(await claim()).toEqual(theirs);
  });

  it("releases its own record and nobody else's", async () => {
    const mine = await owned();
    await mine.release();
    expect(existsSync(`${path}.owner`)).toBe(false);
    const again = await owned();
    const theirs = { ...again.record, claim: 'theirs' };
    await leave(theirs);
    expect(await again.stands()).toBe(false);
    await again.release();
    expect(await liveOwner(path)).toEqual(theirs);
  });

  it('is one, however many want to succeed a dead one at the same moment', async () => {
    const dead = { ...(await record()), claim: 'dead', pid: 2 ** 22 + 1 };
    for (let round = 0; round < 20; round++) {
      await leave(dead);
      const outcomes = await Promise.all(Array.from({ length: 8 }, () => claim()));
      const winners = outcomes.filter((outcome) => outcome instanceof Ownership);
      expect(winners).toHaveLength(1);
      for (const winner of winners) {
        expect(await winner.stands()).toBe(true);
        await winner.release();
      }
    }
  });
});
