/** Files pass the contract in both formats, in a folder and in a bucket; and what is their own: manifests, orphans, partitions. */
import { afterAll, describe } from 'vitest';
import type { FileFormat } from '../../src/config/files-address.js';
import { DuckDbFile, type DuckDbSettings } from '../../src/destinations/duckdb-file.js';
import { queryStore } from '../../src/destinations/files-reader.js';
import { FilesDestination } from '../../src/destinations/files.js';
import { LocalStore, TEMPORARY, type ObjectStore } from '../../src/destinations/object-store.js';
import { identifier } from '../../src/destinations/sql.js';
import type { ColumnType, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { destinationContract, type Row, type TestedDestination } from './suite.js';

const SETTINGS: DuckDbSettings = { memoryLimit: '128MiB', threads: 1, idleMilliseconds: 2000 };

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

async function startFolder(format: FileFormat): Promise<TestedDestination> {
  const folder = await scratch();
  const at = (): TestedDestination => {
    const store = new LocalStore(folder.path);
    const duckdb = new DuckDbFile('files', { ...SETTINGS, spill: folder.file('spill') });
    const destination = new FilesDestination(store, duckdb, {
      ...{ format, partitionBy: null, scratch: folder.file(TEMPORARY) },
    });
    return {
      destination,
      prepares: false,
      rows: (table) => rowsOf(store, table),
      query: async (sql) => (await queryStore(store, sql)).rows,
      ownSchema: '',
      reopen: async () => {
        await destination.close();
        return at();
      },
      close: async () => {
        await destination.close();
        await folder.remove();
      },
    };
  };
  return at();
}

destinationContract('A folder of Parquet', () => startFolder('parquet'), {
  comparesRows: false,
  deletes: false,
});
destinationContract('A folder of NDJSON', () => startFolder('ndjson'), {
  comparesRows: false,
  deletes: false,
});
