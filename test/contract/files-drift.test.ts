/** Folders of files where the configuration has changed, or data files are gone. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { DuckDbFile } from '../../src/destinations/duckdb/file.js';
import { queryStore } from '../../src/destinations/files/reader.js';
import { FilesDestination } from '../../src/destinations/files/files.js';
import { SETTINGS } from '../../src/destinations/host.js';
import { Manifests, tableFolder } from '../../src/destinations/files/manifest.js';
import { LocalStore, TEMPORARY } from '../../src/destinations/files/object-store.js';
import { identifier } from '../../src/destinations/sql/sql.js';
import { DestinationError } from '../../src/errors.js';
import type { TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { driftContract } from './drift.js';
import { Stream, thrownBy, type Row, type TestedDestination } from './tested.js';

/** The folders of destinations. */
const folders = new WeakMap<TestedDestination, string>();

async function startFolder(): Promise<TestedDestination> {
  const folder = await scratch();
  const store = new LocalStore(folder.path);
  const temporary = folder.file(TEMPORARY);
  const duckdb = new DuckDbFile(store.name, {
    ...SETTINGS,
    spill: `${temporary}/spill`,
    folders: [tmpdir()],
  });
  const destination = new FilesDestination(store, duckdb, {
    ...{ format: 'parquet', partitionBy: null, scratch: temporary },
  });
  const tested: TestedDestination = {
    destination,
    prepares: false,
    rows: async ({ schema, table, columns }) => {
      const names = Object.keys(columns);
      const { rows } = await queryStore(
        store,
        `SELECT ${names.map((name) => `${identifier(name)}::VARCHAR`).join(', ')} FROM ${schema}.${table}`,
      );
      return rows.map((row): Row =>
        Object.fromEntries(names.map((name, i) => [name, row[i] as string | null])),
      );
    },
    query: async (sql) => (await queryStore(store, sql)).rows,
    ownSchema: '',
    reopen: () => Promise.reject(new Error('not here')),
    close: async () => {
      await destination.close();
      await folder.remove();
    },
  };
  folders.set(tested, folder.path);
  return tested;
}

driftContract('A folder of Parquet', startFolder, {
  isSql: false,
  dropTable: (tested, { schema, table }) =>
    rm(join(folders.get(tested) ?? '', schema, table, 'data'), { recursive: true }),
});

const TABLE: TableSpec = {
  ...{ schema: 'main', table: 'things', primaryKey: ['id'] },
  columns: { id: 'STRING', name: 'STRING' },
};

it('A folder that has lost some of its data files says which, and goes on without them when all is read again', async () => {
  const tested = await startFolder();
  const root = folders.get(tested) ?? '';
  const folder = await scratch();
  const of = new Stream(tested, folder.file, TABLE);
  const { checkpoint } = await of.open();
  let base = checkpoint.id;
  for (const id of ['c1', 'c2', 'c3', 'c4']) {
    await of.write(base, id, [{ id }]);
    base = id;
  }
  // As after a hundred commits: the first ones stand in a list of their own.
  const manifests = new Manifests(new LocalStore(root), tableFolder(TABLE));
  const manifest = await manifests.latest();
  if (manifest === null) throw new Error('there is no manifest');
  const list = '_highwater/commits/1-2.json';
  const body = JSON.stringify({ highwater: 1, commits: manifest.commits.slice(0, 2) });
  await new LocalStore(root).putIfAbsent(`${manifests.folder}${list}`, body);
  await manifests.append(manifest, { ...manifest, sealed: [list], commits: manifest.commits.slice(2) });
  const data = join(root, 'main/things/data');
  const [day = ''] = await readdir(data);
  const files = await readdir(join(data, day));
  const lost = ['c1-', 'c4-'].map((id) => files.find((name) => name.startsWith(id)) ?? '');
  for (const name of lost) await rm(join(data, day, name));
  const refused = await thrownBy(of.open());
  expect(refused).toBeInstanceOf(DestinationError);
  expect(refused.message).toContain('has lost 2 of the 4 data files of main.things');
  for (const name of lost) expect(refused.message).toContain(`main/things/data/${day}/${name}`);
  expect(refused.message).toMatch(/Restore them and run "highwater resume"; or run "highwater resync"/);
  expect((await of.open('w2', { full: true })).checkpoint.cursor).toBeNull();
  expect((await of.rows()).map(({ id }) => id)).toEqual(['c2', 'c3']);
  await of.open('w2');
  await tested.close();
  await folder.remove();
});
