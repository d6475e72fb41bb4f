/**
 * The same declared type takes the same values in every destination, and makes the same of them: the table in docs/schema.md,
 * read as a sync reads it and written into each.
 */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FileFormat } from '../../src/config/files-address.js';
import { exactColumns } from '../../src/sources/exact-columns.js';
import { DuckDbFile } from '../../src/destinations/duckdb/file.js';
import { DuckDbDestination } from '../../src/destinations/duckdb/duckdb.js';
import { queryStore } from '../../src/destinations/files/reader.js';
import { FilesDestination } from '../../src/destinations/files/files.js';
import { SETTINGS } from '../../src/destinations/host.js';
import { LocalStore } from '../../src/destinations/files/object-store.js';
import { PostgresDestination } from '../../src/destinations/postgres/postgres.js';
import { identifier } from '../../src/destinations/sql/sql.js';
import { DestinationError, RecordError } from '../../src/errors.js';
import type { ColumnType, Reject, TableSpec } from '../../src/protocol.js';
import { RecordScanner } from '../../src/sources/record-scanner.js';
import { scratch } from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { Stream, type TestedDestination } from './tested.js';

const install = await installPostgres();
const DOCUMENT = readFileSync(new URL('../../docs/schema.md', import.meta.url), 'utf8');

interface Line {
  type: ColumnType;
  /** JSON texts, and what a column of the type makes of them. */
  taken: [json: string, value: string][];
  refused: string[];
}

/** The table of values of declared types. */
const [, TABLE = ''] = new RegExp('<!-- values -->(.*?)<!-- /values -->', 's').exec(DOCUMENT) ?? [];
const LINES: Line[] = TABLE.split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => {
    const [, type = '', taken = '', refused = ''] = line.split(/(?<!\\)\|/);
    return {
      type: type.replaceAll(/[` ]/g, '') as ColumnType,
      taken: [...taken.matchAll(/`([^`]+)` = `([^`]*)`/g)].map(([, json = '', value = '']) => [json, value]),
      refused: [...refused.matchAll(/`([^`]+)`/g)].map(([, json = '']) => json),
    };
  });

it('the table in docs/schema.md has all types, and values of both kinds', () => {
  expect(LINES.map(({ type }) => type)).toEqual([
    ...['BOOLEAN', 'SHORT', 'INT', 'LONG', 'FLOAT', 'DOUBLE', 'DECIMAL(5,2)'],
    ...['NAIVE_DATE', 'NAIVE_DATETIME', 'UTC_DATETIME', 'BINARY'],
  ]);
  for (const { taken, refused } of LINES) expect(Math.min(taken.length, refused.length)).toBeGreaterThan(2);
});

/** Records as a sync of a table stages them. */
function staged(
  table: TableSpec,
  records: string[],
): { lines: string[]; rejects: Reject[]; notes: string[] } {
  const [lines, rejects]: [string[], Reject[]] = [[], []];
  const scanner = new RecordScanner({
    ...{ records: [], primaryKey: table.primaryKey, cursorField: '', columns: Object.keys(table.columns) },
    ...(table.inference === undefined && { exact: exactColumns(table.columns) }),
    ...(table.quarantine === true && { reject: (reject: Reject) => void rejects.push(reject) }),
    recordLimit: 1e6,
    sink: (bytes) => void lines.push(...bytes.toString('utf8').split('\n')),
  });
  scanner.push(Buffer.from(`[${records.join(',')}]`));
  scanner.end();
  const whole = lines.filter((line) => line.trim() !== '');
  return { lines: whole, rejects, notes: scanner.remarks.map(({ code }) => code) };
}

interface Place {
  tested: TestedDestination;
  /** SQL of a column as text; the same for the same value everywhere. */
  text: (column: string, type: ColumnType) => string;
  policy?: 'evolve';
}

const duckDbText = (column: string, type: ColumnType) => {
  if (type === 'UTC_DATETIME') return `strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`;
  if (type === 'NAIVE_DATETIME') return `strftime(${column}, '%Y-%m-%dT%H:%M:%S.%f')`;
  return type === 'BINARY' ? `base64(${column})` : `CAST(${column} AS VARCHAR)`;
};
const postgresText = (column: string, type: ColumnType) => {
  if (type === 'UTC_DATETIME')
    return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  if (type === 'NAIVE_DATETIME') return `to_char(${column}, 'YYYY-MM-DD"T"HH24:MI:SS.US')`;
  return type === 'BINARY' ? `encode(${column}, 'base64')` : `${column}::text`;
};

let server: PostgresServer | null = null;
let folder: Awaited<ReturnType<typeof scratch>>;
const places = new Map<string, Place>();
/** Batches are staged in folders of the tests. */
const settings = { ...SETTINGS, folders: [tmpdir()] };
const NAMES = ['DuckDB', 'DuckDB, evolving', 'PostgreSQL', 'Parquet', 'NDJSON'];

beforeAll(async () => {
  folder = await scratch();
  const tested = (more: Pick<TestedDestination, 'destination' | 'query'>): TestedDestination => ({
    ...{ ...more, prepares: false, ownSchema: '', rows: () => Promise.reject(new Error('not here')) },
    ...{ reopen: () => Promise.reject(new Error('not here')), close: () => more.destination.close() },
  });
  const duckDb = (file: DuckDbFile) =>
    tested({
      destination: new DuckDbDestination(file),
      query: (sql) =>
        file.read(
          async (_, connection) => (await connection.runAndReadAll(sql)).getRowsJson() as unknown[][],
        ),
    });
  const files = (format: FileFormat) => {
    const store = new LocalStore(folder.file(format));
    const file = new DuckDbFile(store.name, { ...settings, spill: folder.file(`${format}-spill`) });
    const options = { format, partitionBy: null, scratch: folder.file(`${format}-scratch`) };
    return tested({
      destination: new FilesDestination(store, file, options),
      query: async (sql) => (await queryStore(store, sql)).rows,
    });
  };
  const text = duckDbText;
  places.set('DuckDB', { tested: duckDb(new DuckDbFile(folder.file('a.duckdb'), settings)), text });
  const evolving = duckDb(new DuckDbFile(folder.file('b.duckdb'), settings));
  places.set('DuckDB, evolving', { tested: evolving, text, policy: 'evolve' });
  places.set('Parquet', { tested: files('parquet'), text });
  places.set('NDJSON', { tested: files('ndjson'), text });
  if (!install.available) return;
  server = await startPostgres(install.bin);
  const pool = new Pool({ connectionString: server.url });
  const postgres = tested({
    destination: new PostgresDestination(pool, 'here'),
    query: async (sql) => (await pool.query<unknown[]>({ text: sql, rowMode: 'array' })).rows,
  });
  places.set('PostgreSQL', { tested: postgres, text: postgresText });
});
afterAll(async () => {
  for (const { tested } of places.values()) await tested.close();
  await server?.stop();
  await folder.remove();
});

let tables = 0;
describe.each(NAMES)('%s', (name) => {
  const place = (): Place => {
    const there = places.get(name);
    if (there === undefined) throw new Error(`no ${name} here`);
    return there;
  };
  const tableOf = (columns: TableSpec['columns'], more: Partial<TableSpec> = {}): TableSpec => ({
    ...{ schema: 'main', table: `v${tables++}`, primaryKey: ['id'], columns: { id: 'LONG', ...columns } },
    ...(place().policy === 'evolve' && {
      inference: { policy: 'evolve', flatten: 0, names: 'as_is' } as const,
    }),
    ...more,
  });
  /** Reads records and writes them, as a sync does; what does not fit is thrown. */
  async function written(table: TableSpec, records: string[]) {
    const { lines, rejects, notes } = staged(table, records);
    const stream = new Stream(place().tested, folder.file, table);
    const { checkpoint } = await stream.open();
    const outcome = lines.length === 0 ? null : await stream.write(checkpoint.id, `c${table.table}`, lines);
    return { outcome, rejects, notes };
  }
  const rowsOf = ({ table, columns }: TableSpec, more = '') =>
    place().tested.query(
      `SELECT ${Object.entries(columns)
        .map(([column, type]) => place().text(identifier(column), type))
        .join(', ')} FROM main.${table} ${more} ORDER BY 1`,
    );
  const isHere = name !== 'PostgreSQL' || install.available;

  it.runIf(isHere)('makes of every value that a declared type takes what the table says', async () => {
    const values = LINES.flatMap(({ type, taken }) => taken.map(([json, value]) => ({ type, json, value })));
    const columns = Object.fromEntries(values.map(({ type }, i) => [`c${i}`, type]));
    const table = tableOf(columns);
    const members = values.map(({ json }, i) => `"c${i}":${json}`);
    const { outcome, notes } = await written(table, [`{"id":1,${members.join(',')}}`]);
    expect({ notes, changes: outcome?.changes ?? [] }).toEqual({ notes: [], changes: [] });
    const [row = []] = await rowsOf(table);
    const texts = row.slice(1).map((value, i) => {
      const isFloat = values[i]?.type === 'FLOAT' || values[i]?.type === 'DOUBLE';
      return isFloat ? String(Number(value)) : value;
    });
    expect(values.map(({ type, json }, i) => `${type} ${json} = ${String(texts[i])}`)).toEqual(
      values.map(({ type, json, value }) => `${type} ${json} = ${value}`),
    );
  });

  const refused = LINES.flatMap((line) => line.refused.map((json) => [line.type, json] as const));
  it.runIf(isHere)(
    'takes none of the values that the table says it does not',
    async () => {
      const taken: string[] = [];
      for (const [type, json] of refused) {
        const table = tableOf({ v: type });
        const record = `{"id":7,"v":${json}}`;
        if (place().policy === 'evolve') {
          const { outcome } = await written(table, [record]);
          if (outcome?.changes?.[0]?.from !== type) taken.push(`${type} ${json}`);
          continue;
        }
        const failure = await written(table, [record]).then(
          () => null,
          (thrown: Error) => thrown.message,
        );
        const isNamed = failure?.includes('primary key "7"') === true && failure.includes('column "v"');
        if (!isNamed || !failure.includes(` as ${type}`)) taken.push(`${type} ${json}: ${failure}`);
        const aside = await written({ ...table, quarantine: true }, [record, '{"id":8,"v":null}']);
        const reason = aside.rejects[0]?.reason ?? '';
        if (!/^column "v" cannot hold .* as /.test(reason)) taken.push(`${type} ${json}, aside: ${reason}`);
      }
      expect(taken).toEqual([]);
    },
    120_000,
  );

  const ODD = [
    '{"id":1,"v":"old","v":"new","j":{"a":1,"a":[2]},"n":1}',
    '{"id":2,"v":"half \\ud83d","j":{"\\ude00":"\\ud83d\\ud83d\\ude00"},"n":2}',
    '{"id":3,"v":"x","n":3,"id":4,"n":9007199254740993}',
  ];
  const STORED = [
    ['1', 'new', '{"a":[2]}', '1'],
    ['2', 'half \uFFFD', '{"\uFFFD":"\uFFFD😀"}', '2'],
    ['4', 'x', null, '9007199254740993'],
  ];
  const columns = { v: 'STRING', j: 'JSON', n: 'LONG' } as const;
  /** JSON as each database writes it, without spaces and escapes. */
  const plainJson = (rows: unknown[][]) =>
    rows.map((row) =>
      row.map((value, i) => (i === 2 && value !== null ? JSON.stringify(JSON.parse(String(value))) : value)),
    );
  const modes = ['upsert', 'append', 'history', 'replace'] as const;

  it.runIf(isHere).each(modes)(
    'stores the last of two members, and U+FFFD for half a pair: %s',
    async (mode) => {
      const isFiles = name === 'Parquet' || name === 'NDJSON';
      if (isFiles && mode !== 'upsert') return;
      const table = tableOf(columns, mode === 'upsert' ? {} : { mode });
      const { notes } = await written(table, ODD);
      expect(notes).toEqual(['duplicate_member', 'lone_surrogate']);
      // Of a table that is replaced the rows stand aside until the pass ends.
      if (mode !== 'replace') expect(plainJson(await rowsOf(table))).toEqual(STORED);
    },
  );

  it.runIf(isHere)('puts half a pair aside with its column, where that is asked for', async () => {
    const table = tableOf(columns, { quarantine: true });
    const { notes, rejects } = await written(table, ODD);
    expect(notes).toEqual(['duplicate_member']);
    expect(rejects).toEqual([{ reason: 'column "v" holds half of a surrogate pair', record: ODD[1] }]);
    expect(plainJson(await rowsOf(table))).toEqual([STORED[0], STORED[2]]);
  });

  it.runIf(isHere)('stores NUL, or says which record and column it cannot store', async () => {
    const table = tableOf(columns);
    const records = [
      '{"id":1,"v":"a\\u0000b"}',
      '{"id":2,"v":"x","elsewhere":"\\u0000"}',
      '{"id":3,"j":{"\\u0000":1}}',
    ];
    const [first = '', second = '', third = ''] = records;
    if (name !== 'PostgreSQL') {
      await written(table, records);
      const rows = await place().tested.query(`SELECT id, v FROM main.${table.table} ORDER BY 1`);
      expect(rows.map(([, v]) => v)).toEqual(['a\0b', 'x', null]);
      return;
    }
    const one = written(table, [first]);
    await expect(one).rejects.toBeInstanceOf(RecordError);
    await expect(one).rejects.toThrow(
      /primary key "1" does not fit: column "v" contains a character .* such as NUL/,
    );
    await expect(written(table, [third])).rejects.toThrow(
      /primary key "3" does not fit: column "j" contains/,
    );
    await written(tableOf(columns), [second]);
    const aside = tableOf(columns, { quarantine: true });
    const { outcome } = await written(aside, records);
    expect(outcome).toMatchObject({ rows: 1, rejected: 2 });
    expect(await rowsOf(aside)).toEqual([['2', 'x', null, null]]);
    const reasons = await place().tested.query(
      `SELECT reason FROM main._highwater_rejects WHERE "table" = '${aside.table}' ORDER BY record`,
    );
    expect(reasons.flat()).toEqual([
      expect.stringMatching(/^column "v" contains a character/) as string,
      expect.stringMatching(/^column "j" contains a character/) as string,
    ]);
  });
});

const SYSTEM = ['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'];

describe.skipIf(!install.available)("PostgreSQL's system columns", () => {
  const tested = () => {
    const there = places.get('PostgreSQL');
    if (there === undefined) throw new Error('no PostgreSQL here');
    return there.tested;
  };
  const evolve = { policy: 'evolve', flatten: 0, names: 'as_is' } as const;

  it('share no name with a column that follows from the records, today and later', async () => {
    const table: TableSpec = {
      schema: 'main',
      table: 'system1',
      primaryKey: ['xmin'],
      columns: {},
      inference: evolve,
    };
    const stream = new Stream(tested(), folder.file, table);
    const { checkpoint } = await stream.open();
    const record = (key: number, more: object) => ({
      ...Object.fromEntries(SYSTEM.map((name) => [name, key])),
      ...more,
    });
    const first = await stream.write(checkpoint.id, 's1', [
      record(1, { oid: 5 }),
      record(2, { xmax_2: 'mine' }),
    ]);
    expect(first.rows).toBe(2);
    const again = await stream.write('s1', 's2', [record(2, { xmax_2: 'changed' }), record(3, { XMIN: 1 })]);
    expect(again).toMatchObject({ rows: 2, changes: [{ column: 'XMIN' }] });
    const rows = await tested().query(
      'SELECT tableoid_2, xmin_2, cmin_2, xmax_2, cmax_2, ctid_2, oid, xmax_2_2, "XMIN" FROM main.system1 ORDER BY xmin_2',
    );
    expect(rows).toEqual([
      ['1', '1', '1', '1', '1', '1', '5', null, null],
      ['2', '2', '2', '2', '2', '2', null, 'changed', null],
      ['3', '3', '3', '3', '3', '3', null, null, '1'],
    ]);
  });

  it.each(SYSTEM)('are no columns to declare: %s', async (name) => {
    const table: TableSpec = {
      schema: 'main',
      table: `declared_${name}`,
      primaryKey: ['id'],
      columns: { id: 'LONG', [name]: 'LONG' },
    };
    const opened = new Stream(tested(), folder.file, table).open();
    await expect(opened).rejects.toBeInstanceOf(DestinationError);
    await expect(opened).rejects.toThrow(
      `has a system column of that name. Choose another name: "columns": {"${name}_2"`,
    );
  });
});
