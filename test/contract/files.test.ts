/** Files pass the contract in both formats, in a folder and in a bucket; and what is their own: manifests, orphans, partitions. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BucketAddress, FileFormat } from '../../src/config/files-address.js';
import { DuckDbFile } from '../../src/destinations/duckdb/file.js';
import { queryStore } from '../../src/destinations/files/reader.js';
import { FilesDestination } from '../../src/destinations/files/files.js';
import {
  KEPT_VERSIONS,
  Manifests,
  OPEN_COMMITS,
  type Commit,
  type Manifest,
} from '../../src/destinations/files/manifest.js';
import { JSON_MEMORY, SETTINGS } from '../../src/destinations/host.js';
import { LocalStore, TEMPORARY, type ObjectStore } from '../../src/destinations/files/object-store.js';
import { S3Store } from '../../src/destinations/files/s3-store.js';
import { identifier, literal } from '../../src/destinations/sql/sql.js';
import { DestinationBusyError, DestinationError, StreamHeldError } from '../../src/errors.js';
import type { ColumnType, TableSpec } from '../../src/protocol.js';
import { DestinationConnections } from '../../src/trust/connections.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { scratch } from '../helpers/harness.js';
import { installS3, startS3, type S3Server } from '../helpers/s3.js';
import { LONG } from '../helpers/long.js';
import { destinationContract } from './suite.js';
import { upgradesFromVersion2 } from './upgrades.js';
import { Stream, thrownBy, type Row, type TestedDestination } from './tested.js';

const CONNECTIONS = new DestinationConnections(TrustPolicy.local());

const install = await installS3();
const TABLE: TableSpec = {
  ...{ schema: 'main', table: 'things', primaryKey: ['id'] },
  columns: { id: 'STRING', name: 'STRING', at: 'UTC_DATETIME' },
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

async function rowsOf(store: ObjectStore, table: TableSpec): Promise<Row[]> {
  const names = Object.keys(table.columns);
  const selected = Object.entries(table.columns).map(([name, type]) => plain(name, type));
  const from = `${identifier(table.schema)}.${identifier(table.table)}`;
  const { rows } = await queryStore(store, `SELECT ${selected.join(', ')} FROM ${from}`);
  return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] as string | null])));
}

function testedOf(
  store: ObjectStore,
  temporary: string,
  format: FileFormat,
  partitionBy: string | null = null,
): TestedDestination {
  const memory = format === 'ndjson' ? JSON_MEMORY : {};
  const duckdb = new DuckDbFile(store.name, {
    ...SETTINGS,
    ...memory,
    spill: `${temporary}/spill`,
    folders: [tmpdir()],
  });
  const destination = new FilesDestination(store, duckdb, { format, partitionBy, scratch: temporary });
  return {
    destination,
    prepares: false,
    rows: (table) => rowsOf(store, table),
    query: async (sql) => (await queryStore(store, sql)).rows,
    ownSchema: '',
    reopen: () => Promise.reject(new Error('not here')),
    close: () => destination.close(),
  };
}

async function startFolder(format: FileFormat): Promise<TestedDestination> {
  const folder = await scratch();
  const at = (): TestedDestination => {
    const tested = testedOf(new LocalStore(folder.path), folder.file(TEMPORARY), format);
    return {
      ...tested,
      reopen: () => tested.close().then(at),
      close: () => tested.close().then(folder.remove),
    };
  };
  return at();
}

const ADDS = { comparesRows: false, deletes: false };
destinationContract('A folder of Parquet', () => startFolder('parquet'), ADDS);
destinationContract('A folder of NDJSON', () => startFolder('ndjson'), {
  ...ADDS,
  part: LONG ? 'all' : 'writes',
});

describe('A folder of files', () =>
  upgradesFromVersion2(
    'main',
    async () => {
      const [folder, other] = [await scratch(), await scratch()];
      const old = await readFile(new URL('versions/files-1.json', import.meta.url), 'utf8');
      for (const [path, text] of Object.entries(JSON.parse(old) as { [path: string]: string })) {
        await mkdir(dirname(folder.file(path)), { recursive: true });
        await writeFile(folder.file(path), text);
      }
      const tested = testedOf(new LocalStore(folder.path), folder.file(TEMPORARY), 'ndjson');
      const end = async () => {
        await tested.close();
        await folder.remove();
        await other.remove();
      };
      return { tested, file: other.file, end };
    },
    { isSql: false },
  ));

it.each(['parquet', 'ndjson'] as const)(
  'A folder of %s takes no version of a range that is older than its own, and none that it has',
  async (format) => {
    const folder = await scratch();
    const tested = await startFolder(format);
    const table: TableSpec = {
      ...{ schema: 'main', table: 'ranged', primaryKey: ['id'] },
      columns: { id: 'STRING', name: 'STRING', at: 'UTC_DATETIME' },
    };
    const { ranges } = tested.destination;
    const record = (id: string, second: number, name: string) => ({
      ...{ id, name, at: `2026-01-01T00:00:0${second}Z` },
    });
    const main = new Stream(tested, folder.file, table);
    const { checkpoint } = await main.open();
    await main.write(checkpoint.id, 'm1', [
      record('1', 1, 'a'),
      record('2', 9, 'newer'),
      record('3', 3, 'a'),
    ]);
    const key = { ...main.key, range: 'backfill ..' };
    const beside = new Stream(tested, folder.file, table, key);
    const opened = await beside.open('beside', { isRunning: async () => true });
    const began = (await ranges?.now(key)) ?? '';
    await main.write('m1', 'm2', [record('3', 4, 'b')]);
    const written = await beside.write(
      opened.checkpoint.id,
      'b1',
      [record('1', 1, 'a'), record('2', 8, 'older'), record('3', 3, 'a'), record('4', 4, 'new')],
      { range: { kind: 'backfill', writes: true, began, cursor: { field: 'at', format: 'timestamp' } } },
    );
    expect(written).toEqual({ rows: 1, left: 2, already: false });
    const names = await tested.query('SELECT id, name FROM main.ranged ORDER BY 1');
    expect(names).toEqual([
      ['1', 'a'],
      ['2', 'newer'],
      ['3', 'b'],
      ['4', 'new'],
    ]);
    expect((await ranges?.stands(main.key))?.id).toBe('m2');
    expect(ranges?.refusal('audit', table, false)).toMatch(/^files cannot be audited/);
    await ranges?.forget(key);
    await ranges?.forget(key);
    expect(await tested.query('SELECT id FROM _highwater_checkpoints')).toEqual([['m2']]);
    await tested.close();
    await folder.remove();
  },
);

describe.skipIf(!install.available)(
  `an S3 server${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    let server: S3Server;
    let buckets = 0;
    beforeAll(async () => {
      if (!install.available) return;
      server = await startS3(install.program);
      Object.assign(process.env, server.env);
    });
    afterAll(() => server.stop());

    const addressOf = (bucket: string, prefix = 'a/lake'): BucketAddress => ({
      ...{ bucket, prefix, endpoint: server.url, region: null, pathStyle: null },
    });

    async function startBucket(format: FileFormat): Promise<TestedDestination> {
      const bucket = `bucket${buckets++}`;
      await server.makeBucket(bucket);
      const folder = await scratch();
      const at = async (): Promise<TestedDestination> => {
        const store = await S3Store.open(addressOf(bucket), folder.file('cache'), CONNECTIONS);
        const tested = testedOf(store, folder.file('tmp'), format);
        return { ...tested, reopen: () => tested.destination.close().then(at) };
      };
      const tested = await at();
      return tested;
    }

    destinationContract('A bucket of Parquet', () => startBucket('parquet'), {
      ...ADDS,
      part: LONG ? 'all' : 'writes',
    });

    it('that lacks the bucket, or does not know the key, is refused in its words, without the secret', async () => {
      const folder = await scratch();
      const lacking = await thrownBy(S3Store.open(addressOf('no-such-bucket'), folder.path, CONNECTIONS));
      expect(lacking).toBeInstanceOf(DestinationError);
      expect(lacking.message).toMatch(
        /^the destination s3:\/\/no-such-bucket\/a\/lake refused the request: NoSuchBucket/,
      );
      process.env['AWS_SECRET_ACCESS_KEY'] = 'another-secret';
      try {
        const unknown = await thrownBy(S3Store.open(addressOf('bucket0'), folder.path, CONNECTIONS));
        expect(unknown).toBeInstanceOf(DestinationError);
        expect(unknown.message).toContain('SignatureDoesNotMatch');
        expect(unknown.message).not.toContain('another-secret');
      } finally {
        Object.assign(process.env, server.env);
        await folder.remove();
      }
    });

    it('that takes no notice of the condition of a commit is refused before anything is written', async () => {
      if (!install.available) return;
      const careless = await startS3(install.program, { honoursConditions: false });
      const folder = await scratch();
      try {
        await careless.makeBucket('careless');
        const address = { ...addressOf('careless'), endpoint: careless.url };
        const thrown = await thrownBy(S3Store.open(address, folder.path, CONNECTIONS));
        expect(thrown).toBeInstanceOf(DestinationError);
        expect(thrown.message).toContain('ignores "If-None-Match: *"');
        const left = await readdir(careless.folder('careless'), { recursive: true, withFileTypes: true });
        expect(left.filter((entry) => entry.isFile())).toEqual([]);
      } finally {
        await careless.stop();
        await folder.remove();
      }
    });

    it('that is away is tried again, and what was being written is written', async () => {
      await server.makeBucket('away');
      const folder = await scratch();
      const store = await S3Store.open(addressOf('away'), folder.file('cache'), CONNECTIONS);
      const tested = testedOf(store, folder.file('tmp'), 'parquet');
      const stream = new Stream(tested, folder.file, TABLE);
      const { checkpoint } = await stream.open();
      await server.kill();
      const thrown = await thrownBy(stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one' }]));
      expect(thrown).toBeInstanceOf(DestinationBusyError);
      await server.start();
      expect(await stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one' }])).toMatchObject({ rows: 1 });
      expect(await stream.rows()).toEqual([{ id: '1', name: 'one', at: null }]);
      await tested.close();
      await folder.remove();
    });
  },
);

describe('a folder of files', () => {
  let folder: Awaited<ReturnType<typeof scratch>>;
  let store: LocalStore;
  beforeEach(async () => {
    folder = await scratch();
    store = new LocalStore(folder.path);
    return () => folder.remove();
  });
  const make = (format: FileFormat = 'parquet', of: ObjectStore = store, partitionBy: string | null = null) =>
    testedOf(of, folder.file(TEMPORARY), format, partitionBy);
  const streamOf = (tested: TestedDestination, table = TABLE) => new Stream(tested, folder.file, table);
  const query = async (sql: string) => (await queryStore(store, sql)).rows;
  const TABLE_FOLDER = 'main/things/';
  const dataFiles = async () => {
    const found = await readdir(folder.path, { recursive: true });
    return found.filter((name) => /data\/.*\.(parquet|ndjson)$/.test(name)).sort();
  };

  it('has every version of a row in one view and the latest in the other, whatever the format was', async () => {
    const first = make('parquet');
    const { checkpoint } = await streamOf(first).open();
    await streamOf(first).write(checkpoint.id, 'c1', [
      { id: '1', name: 'one', at: '2026-01-01T00:00:00Z' },
      { id: '2', name: 'two' },
    ]);
    const second = make('ndjson');
    await streamOf(second).write('c1', 'c2', [
      { id: '1', name: 'changed', at: '2026-01-02T00:00:00.000001Z' },
    ]);
    expect(await query('SELECT id, name, _highwater_batch, "at"::VARCHAR FROM things ORDER BY id')).toEqual([
      ['1', 'changed', 'c2', '2026-01-02 00:00:00.000001+00'],
      ['2', 'two', 'c1', null],
    ]);
    expect(await query('SELECT id, name FROM things_appended ORDER BY _highwater_sequence')).toEqual([
      ['1', 'one'],
      ['2', 'two'],
      ['1', 'changed'],
    ]);
    const [[recent] = []] = await query(
      'SELECT bool_and(abs(epoch(now()) - epoch(_highwater_synced_at)) < 60) FROM things_appended',
    );
    expect(recent).toBe(true);
    const today = new Date().toISOString().slice(0, 10);
    const files = await query(
      'SELECT path, "rows"::INTEGER, bytes::INTEGER, sha256 FROM _highwater_files ORDER BY version',
    );
    expect(files.map(([path]) => String(path).replace(/[0-9a-f]{8}\./, '*.'))).toEqual([
      `${TABLE_FOLDER}data/date=${today}/c1-*.parquet`,
      `${TABLE_FOLDER}data/date=${today}/c2-*.ndjson`,
    ]);
    for (const [path, , bytes, sha256] of files) {
      const body = await readFile(folder.file(String(path)));
      expect([body.length, createHash('sha256').update(body).digest('hex')]).toEqual([bytes, sha256]);
    }
    expect(await dataFiles()).toEqual(files.map(([path]) => String(path)));
    await first.destination.close();
    await second.destination.close();
  });

  it('is read by the program and the query that the documentation shows', async (context) => {
    const tested = make();
    const stream = streamOf(tested, { ...TABLE, table: 'user' });
    let base = (await stream.open()).checkpoint.id;
    // More than one list of commits, the oldest one a file of its own.
    for (let i = 0; i < OPEN_COMMITS + 5; i++) {
      await stream.write(base, `b${i}`, [{ id: String(i % 7), name: `version ${i}` }]);
      base = `b${i}`;
    }
    const text = await readFile(new URL('../../docs/files.md', import.meta.url), 'utf8');
    const shown = (language: string) =>
      new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 's').exec(text)?.[1] ?? '';
    const program = shown('python').replace('lake/main/user', folder.file('main/user'));
    const run = await promisify(execFile)('python3', ['-c', `${program}\nprint(json.dumps(files))`]).catch(
      (thrown: NodeJS.ErrnoException) => {
        if (thrown.code !== 'ENOENT') throw thrown;
        return context.skip('there is no python3');
      },
    );
    const files = JSON.parse(run.stdout) as string[];
    expect(files).toHaveLength(OPEN_COMMITS + 5);
    const list = `[${files.map(literal).join(', ')}]`;
    const latest = shown('sql').replace('$files', () => list);
    const seen = await query(`SELECT id, name FROM (${latest}) ORDER BY id`);
    expect(seen).toEqual((await stream.rows()).map(({ id, name }) => [id, name]));
    expect(seen[6]).toEqual(['6', 'version 104']);
    await tested.destination.close();
  });

  it.each(['parquet', 'ndjson'] as const)(
    'takes long records whole, in the memory that a worker gives it: %s',
    async (format) => {
      const tested = make(format);
      const stream = streamOf(tested, { ...TABLE, columns: { id: 'STRING', name: 'STRING', more: 'JSON' } });
      let base = (await stream.open()).checkpoint.id;
      for (const [count, length] of [
        [1, 19_000_000],
        [9, 7_000_000],
        [20, 3_000_000],
      ] as const) {
        // In parts, as they are staged.
        const parts = Array.from({ length: count }, (_, i) => [
          { id: `${length}-${i}`, name: `${i}é`.repeat(length / 8), more: { text: 'x'.repeat(length / 2) } },
        ]);
        await stream.write(base, `b${length}`, parts);
        base = `b${length}`;
        const seen = await query(
          `SELECT count(*)::INT, min(length(more ->> '$.text'))::INT FROM things WHERE _highwater_batch = 'b${length}'`,
        );
        expect(seen).toEqual([[count, length / 2]]);
      }
      await tested.destination.close();
    },
  );

  it('is partitioned by the dates of a column where that is asked for', async () => {
    const tested = make('ndjson', store, 'at');
    const { checkpoint } = await streamOf(tested).open();
    await streamOf(tested).write(checkpoint.id, 'c1', [
      { id: '1', at: '2026-01-01T23:59:59Z' },
      { id: '2', at: '2026-01-02T00:59:59+01:00' },
      { id: '3', at: '2025-12-31T00:00:00Z' },
      { id: '4' },
    ]);
    const days = (await dataFiles()).map((name) => /date=([^/]*)/.exec(name)?.[1]);
    expect(days).toEqual(['2025-12-31', '2026-01-01', '__HIVE_DEFAULT_PARTITION__']);
    expect(await streamOf(tested).rows()).toHaveLength(4);
    await tested.destination.close();
    const other = make('parquet', store, 'name');
    expect((await thrownBy(streamOf(other).open())).message).toContain(
      'partition_by needs a date or time; the column "name" is STRING',
    );
    const none = make('parquet', store, 'nothing');
    expect((await thrownBy(streamOf(none).open())).message).toContain('"nothing", which is not a column');
  });

  it('refuses what it cannot do, before anything is there', async () => {
    const tested = make();
    const deletes = await thrownBy(streamOf(tested, { ...TABLE, deletes: 'soft' }).open());
    expect(deletes).toBeInstanceOf(DestinationError);
    expect(deletes.message).toContain('files do not support deletes');
    const children = await thrownBy(streamOf(tested).open('w1', { children: [TABLE] }));
    expect(children.message).toContain('declare the list as a column of type JSON');
    const own = { ...TABLE, columns: { ...TABLE.columns, _HIGHWATER_batch: 'STRING' as const } };
    expect((await thrownBy(streamOf(tested, own).open())).message).toContain('is reserved by Highwater');
    expect(await readdir(folder.path)).toEqual([]);
  });

  it('that a reader follows while it is written shows whole batches, each once', async () => {
    const tested = make();
    const stream = streamOf(tested);
    const { checkpoint } = await stream.open();
    let isDone = false;
    let looks = 0;
    const looking = (async () => {
      let before = 0;
      while (!isDone) {
        const [[rows, ids] = []] = await query(
          'SELECT count(*)::INT, count(DISTINCT id)::INT FROM things_appended',
        ).catch((thrown: unknown) => {
          // No commit yet, and so no table.
          if (String(thrown).includes('does not exist')) return [[0, 0]];
          throw thrown;
        });
        expect(rows).toBe(ids);
        expect(Number(rows) % 500).toBe(0);
        expect(Number(rows)).toBeGreaterThanOrEqual(before);
        before = Number(rows);
        looks++;
      }
    })();
    let base = checkpoint.id;
    for (let batch = 0; batch < 12; batch++) {
      const records = Array.from({ length: 500 }, (_, i) => ({ id: `${batch}-${i}` }));
      await stream.write(base, `b${batch}`, records);
      base = `b${batch}`;
    }
    isDone = true;
    await looking;
    expect(looks).toBeGreaterThan(3);
    expect(await query('SELECT count(*)::INT FROM things')).toEqual([[6000]]);
    await tested.destination.close();
  });

  it('of two processes that write one batch keeps it once, and no file of the other', async () => {
    const [a, b] = [make(), make()];
    const { checkpoint } = await streamOf(a).open();
    const records = Array.from({ length: 300 }, (_, i) => ({ id: String(i) }));
    const outcomes = await Promise.all(
      [a, b].map((one) => streamOf(one).write(checkpoint.id, 'c1', records)),
    );
    expect(outcomes.map(({ rows }) => rows)).toEqual([300, 300]);
    expect(outcomes.filter(({ already }) => already)).toHaveLength(1);
    expect(await dataFiles()).toHaveLength(1);
    expect(await query('SELECT count(*)::INT FROM things_appended')).toEqual([[300]]);
    await a.destination.close();
    await b.destination.close();
  });

  /** A store whose manifests fail to be put in a way. */
  function failing(how: 'before' | 'after' | 'sent again'): ObjectStore {
    const broken: ObjectStore = Object.create(store) as ObjectStore;
    broken.putIfAbsent = async (key, body) => {
      const isCommit = key.includes('/manifest/') && body.includes('"c1"');
      if (isCommit && how === 'before') throw new Error('the power went');
      const done = await store.putIfAbsent(key, body);
      if (isCommit && how === 'sent again') return store.putIfAbsent(key, body);
      if (isCommit) throw new Error('the answer was lost');
      return done;
    };
    return broken;
  }

  it('keeps the files of a commit whose answer was lost, and knows it again', async () => {
    const tested = make('parquet', failing('after'));
    const { checkpoint } = await streamOf(tested).open();
    await expect(streamOf(tested).write(checkpoint.id, 'c1', [{ id: '1' }])).rejects.toThrow(
      'answer was lost',
    );
    expect(await streamOf(tested).write(checkpoint.id, 'c1', [{ id: '1' }])).toEqual({
      rows: 1,
      already: true,
    });
    expect(await store.list(`${TABLE_FOLDER}_highwater/pending/`)).toHaveLength(1);
    const next = make();
    await streamOf(next).open('w2');
    expect(await store.list(`${TABLE_FOLDER}_highwater/pending/`)).toEqual([]);
    expect(await streamOf(next).rows()).toHaveLength(1);
    await tested.destination.close();
    await next.destination.close();
  });

  it('knows its own commit where a request was sent again, as its answer was lost on the way', async () => {
    const tested = make('parquet', failing('sent again'));
    const { checkpoint } = await streamOf(tested).open();
    const outcome = await streamOf(tested).write(checkpoint.id, 'c1', [{ id: '1' }]);
    expect(outcome).toEqual({ rows: 1, already: false });
    expect(await streamOf(tested).rows()).toHaveLength(1);
    expect(await store.list(`${TABLE_FOLDER}_highwater/pending/`)).toEqual([]);
    await tested.destination.close();
  });

  it('removes what a dead attempt has left once it can commit no more, and not before', async () => {
    const tested = make('parquet', failing('before'));
    const { checkpoint } = await streamOf(tested).open();
    await expect(streamOf(tested).write(checkpoint.id, 'c1', [{ id: '1' }])).rejects.toThrow('power went');
    expect(await dataFiles()).toHaveLength(1);
    // The same holder again: the attempt may still be on its way.
    const next = make();
    await streamOf(next).open();
    expect(await dataFiles()).toHaveLength(1);
    expect(await query('SELECT count(*)::INT FROM things')).toEqual([[0]]);
    // Another: its base is gone.
    await streamOf(next).open('w2');
    expect(await dataFiles()).toEqual([]);
    expect(await store.list(`${TABLE_FOLDER}_highwater/pending/`)).toEqual([]);
    await tested.destination.close();
    await next.destination.close();
  });

  it('keeps its manifest small over many commits, all of which are known', async () => {
    const manifests = new Manifests(store, TABLE_FOLDER);
    const base = {
      schema: 'main',
      table: 'things',
      primary_key: ['id'],
      schemas: [TABLE.columns],
      checkpoints: [],
    };
    const COMMITS = 2 * KEPT_VERSIONS + 30;
    // One that has listed what it must, and is then too late.
    let win: () => Promise<void> = () => Promise.resolve();
    const late: ObjectStore = Object.create(store) as ObjectStore;
    late.putIfAbsent = async (key, body) => {
      if (key.includes('/manifest/')) await win();
      return store.putIfAbsent(key, body);
    };
    const loser = new Manifests(late, TABLE_FOLDER);
    let before: Manifest | null = null;
    for (let i = 1; i <= COMMITS; i++) {
      const commit: Commit = {
        ...{
          version: i,
          batch: `b${i}`,
          range: '',
          base: '',
          strategy: 'offset',
          source: 's',
          workflow_id: 'w',
          pages: 1,
        },
        ...{ records: 0, rows: 0, committed_at: '', schema: 0, files: [], rejects: [] },
      };
      const { sealed = [], commits = [] }: Partial<Manifest> = before ?? {};
      const lost = { ...base, sealed, commits: [...commits, { ...commit, batch: 'lost' }] };
      const stale: Manifest | null = before;
      win = async () =>
        expect(await manifests.append(stale, { ...base, sealed, commits: [...commits, commit] })).toBe(true);
      expect(await loser.append(stale, lost)).toBe(false);
      before = await manifests.latest();
      expect(before?.version).toBe(i);
      // Whoever comes second from the same version is told so.
      if (i === 7) expect(await manifests.append(stale, { ...base, sealed, commits: [] })).toBe(false);
    }
    const latest = await manifests.latest();
    if (latest === null) throw new Error('there is none');
    expect(latest.commits.length).toBeLessThanOrEqual(OPEN_COMMITS);
    expect((await manifests.commits(latest)).map(({ batch }) => batch)).toEqual(
      Array.from({ length: COMMITS }, (_, i) => `b${i + 1}`),
    );
    const kept = await store.list(`${TABLE_FOLDER}_highwater/manifest/`);
    expect(kept.length).toBeLessThanOrEqual(KEPT_VERSIONS + 1);
    // One that was stopped for so long that the place of its version is free again has not committed.
    const tooLate = manifests.append({ ...latest, version: 3 }, { ...base, sealed: [], commits: [] });
    expect(await thrownBy(tooLate)).toBeInstanceOf(DestinationBusyError);
    expect((await manifests.latest())?.version).toBe(COMMITS);
  });

  it('says so where its manifest is damaged, or of another form', async () => {
    const tested = make();
    await streamOf(tested).open();
    const key = folder.file(`${TABLE_FOLDER}_highwater/manifest/00000000000000000002.json`);
    await writeFile(key, '{"highwater": 1');
    expect((await thrownBy(streamOf(tested).open())).message).toMatch(/0002\.json is damaged/);
    await writeFile(key, '{"highwater": 3}');
    expect((await thrownBy(streamOf(tested).open())).message).toContain('another version of Highwater');
    await tested.destination.close();
  });

  it('has one table for names that differ in case only', async () => {
    const tested = make();
    await streamOf(tested, { ...TABLE, table: 'Things' }).open('w1');
    const thrown = await thrownBy(streamOf(tested).open('w2', { isRunning: async () => true }));
    expect(thrown).toBeInstanceOf(StreamHeldError);
    await tested.destination.close();
  });

  it('merges the marks of parents where their files become many', async () => {
    const above: TableSpec = { schema: 'main', table: 'above', primaryKey: ['id'], columns: { id: 'LONG' } };
    const tested = make();
    const parents = streamOf(tested, above);
    const opened = await parents.open();
    const ended = { pass: 1, mark: null, position: null, ended: 'empty_page' as const, notes: [] };
    await parents.write(opened.checkpoint.id, 'p', [{ id: 1 }, { id: 2 }, { id: 3 }], { cursor: ended });
    const stream = streamOf(tested);
    let base = (await stream.open()).checkpoint.id;
    for (let i = 0; i < 120; i++) {
      const path = folder.file('marks.ndjson');
      await writeFile(
        path,
        JSON.stringify({ parent: JSON.stringify([String(1 + (i % 2))]), mark: String(i) }),
      );
      await stream.write(base, `m${i}`, [], { records: 0, marks: async () => [path] });
      base = `m${i}`;
    }
    const parent = { stream: 'above', table: above, fields: [] };
    const rows = await tested.destination.parents({ key: stream.key, parent, after: null, limit: 9 });
    expect(rows?.map(({ mark }) => mark)).toEqual([118, 119, null]);
    expect((await store.list(`${TABLE_FOLDER}_highwater/marks/`)).length).toBeLessThanOrEqual(51);
    await tested.destination.close();
  });
});
