/** Values that JSON allows and databases do not, and values that no column of their type takes: by whole syncs, in every shape of answer. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { highwater, uniqueName } from '../helpers/harness.js';
import { startSystem, type System } from '../helpers/system.js';

const ANSWERS: Record<string, { type?: string; body: string }> = {
  '/doubled': { body: '{"data":[{"id":1,"v":"a"},{"id":2,"v":"old","v":"new"},{"id":3,"v":"c","id":4}]}' },
  '/nested': { body: '{"data":[{"id":1,"v":{"b":{"n":1.50,"n":9007199254740993}}}]}' },
  '/halved': { body: '{"data":[{"id":1,"v":"a"},{"id":2,"v":"b \\ud83d"},{"id":3,"v":"\\ud83d\\ude00"}]}' },
  '/shaped': {
    body: '{"data":[{"key":1,"o":{"v":"old","v":"new"},"kind":"a"},{"key":2,"o":{"v":"c"},"kind":"b","kind":"a"},{"key":3,"o":{"v":"d"},"kind":"a","kind":"b"}]}',
  },
  '/filtered': {
    body: '{"data":[{"id":1,"ok":true,"n":5},{"id":2,"ok":false,"n":"none"},{"id":3,"ok":true,"n":7}]}',
  },
  '/csv': { type: 'text/csv', body: 'id,v,v\n1,old,new\n' },
  '/lines': { type: 'application/x-ndjson', body: '{"id":1,"v":"old","v":"new"}\n{"id":2,"v":"b"}\n' },
  '/envelope': { body: '{"page":{"items":[{"id":8}]},"page":{"items":[{"id":1,"v":"old","v":"new"}]}}' },
  '/offset': {
    body: '{"data":[{"id":1,"at":"2026-01-31T10:00:00"},{"id":2,"at":"2026-01-31T10:00:00+02:00"}]}',
  },
  '/digits': {
    body: '{"data":[{"id":12345678901234567890,"big":9007199254740993,"o":{"n":[9007199254740995, 1.50]}}]}',
  },
};

describe('a sync', () => {
  let system: System;
  let server: Server;
  let url: string;
  beforeAll(async () => {
    server = createServer((request, response) => {
      const { type = 'application/json', body } = ANSWERS[request.url ?? ''] ?? { body: '' };
      response.setHeader('content-type', type);
      response.end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    server.close();
  });

  const configurationOf = (path: string, more: { [key: string]: Json }) => {
    const table = uniqueName('odd').replaceAll('-', '_');
    const stream = {
      name: table,
      path,
      strategy: 'cursor',
      next: 'none',
      primary_key: 'id',
      // Lines have no list that they stand in.
      ...(more['format'] === undefined && { records: 'data' }),
      ...more,
    };
    return {
      table,
      configuration: { source: { base_url: url }, destination: system.destination, streams: [stream] },
    };
  };
  async function synced(path: string, more: { [key: string]: Json } = {}, select = 'id, v') {
    const { table, configuration } = configurationOf(path, { columns: { id: 'LONG', v: 'STRING' }, ...more });
    const { warnings, rejected } = await system.sync(configuration);
    const rows = await system.query(`SELECT ${select} FROM ${table} ORDER BY 1`);
    const notes = warnings.filter(({ code }) => /duplicate|surrogate/.test(code));
    return { rows: rows.map((row) => row.map(String)), notes, rejected };
  }

  test.each([
    ['columns that are declared', {}],
    ['a table that follows its source', { columns: { id: 'LONG' }, misfits: 'evolve' }],
    ['a table where misfits are put aside', { misfits: 'quarantine' }],
  ])('stores the last of two members, and says so: %s', async (_, more) => {
    const { rows, notes } = await synced('/doubled', more);
    expect(rows).toEqual([
      ['1', 'a'],
      ['2', 'new'],
      ['4', 'c'],
    ]);
    expect(notes).toEqual([
      {
        code: 'duplicate_member',
        message:
          'records have a member twice; the last one counts: "v", "id", first in the record with primary key "2"',
      },
    ]);
  });

  test('stores the last of two members of an object in a JSON column', async () => {
    const { rows, notes } = await synced('/nested', { columns: { id: 'LONG', v: 'JSON' } });
    expect(rows).toEqual([['1', '{"b":{"n":9007199254740993}}']]);
    expect(notes[0]?.message).toContain('"v.b.n"');
  });

  test.each([
    ['/csv', { format: 'csv' }, '"v"', [['1', 'new']]],
    [
      '/lines',
      { format: 'ndjson' },
      '"v", first in the record with primary key "1"',
      [
        ['1', 'new'],
        ['2', 'b'],
      ],
    ],
    [
      '/envelope',
      { records: '$.page.items[*]' },
      '"v", first in the record with primary key "1"',
      [['1', 'new']],
    ],
    [
      '/shaped',
      {
        columns: { id: { type: 'LONG', from: 'key' }, v: { type: 'STRING', from: 'o.v' } },
        where: "@.kind == 'a'",
      },
      '"o.v", "kind", first in the record with primary key "1"',
      [
        ['1', 'new'],
        ['2', 'c'],
      ],
    ],
  ])('knows members that come twice in every kind of answer: %s', async (path, more, said, stored) => {
    const { rows, notes } = await synced(path, more);
    expect(rows).toEqual(stored);
    expect(notes.map(({ code }) => code)).toEqual(['duplicate_member']);
    expect(notes[0]?.message).toContain(said);
  });

  test('stores U+FFFD for half a surrogate pair, and says so', async () => {
    const { rows, notes } = await synced('/halved');
    expect(rows).toEqual([
      ['1', 'a'],
      ['2', 'b \uFFFD'],
      ['3', '😀'],
    ]);
    expect(notes).toMatchObject([{ code: 'lone_surrogate' }]);
    expect(notes[0]?.message).toContain('"v", first in the record with primary key "2"');
  });

  test('puts a record with half a surrogate pair aside, where that is asked for', async () => {
    const { rows, rejected } = await synced('/halved', { misfits: 'quarantine' });
    expect(rows.map(([id]) => id)).toEqual(['1', '3']);
    expect(rejected).toBe(1);
  });

  test('stops at a time with an offset in a column that has none, and names it', async () => {
    const { configuration } = configurationOf('/offset', { columns: { id: 'LONG', at: 'NAIVE_DATETIME' } });
    const { type, message } = await system.failing(configuration);
    expect(type).toBe('RecordError');
    expect(message).toContain(
      'the record with primary key "2" does not fit: column "at" cannot hold "2026-01-31T10:00:00+02:00" as NAIVE_DATETIME',
    );
  });

  test('does not mind what a record holds that its filter leaves out', async () => {
    const columns = { id: 'LONG', n: 'LONG' };
    const { rows } = await synced('/filtered', { columns, where: '@.ok == true' }, 'id, n');
    expect(rows).toEqual([
      ['1', '5'],
      ['3', '7'],
    ]);
  });

  test.each([
    ['declared', { columns: { id: 'STRING', big: 'LONG', o: 'JSON' } }],
    ['not declared', { columns: { id: 'STRING' }, misfits: 'evolve' }],
  ])('is previewed with all digits, columns being %s', async (_, more) => {
    const { configuration } = configurationOf('/digits', more);
    const file = `${system.destination}.${uniqueName('preview')}.json`;
    await writeFile(file, JSON.stringify(configuration));
    const shown = await highwater(['preview', file], {});
    expect(shown.stdout, shown.stderr).toMatch(
      /12345678901234567890 +9007199254740993 +\{"n":\[9007199254740995,1\.50\]\}/,
    );
    const { stdout } = await highwater(['preview', file, '--json'], {});
    expect(stdout).toContain(
      '"records":[{"id":12345678901234567890,"big":9007199254740993,"o":{"n":[9007199254740995,1.50]}}]',
    );
  });
});
