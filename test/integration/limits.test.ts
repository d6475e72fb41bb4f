/**
 * Bodies and values that nobody sends on purpose, and names and paths that nobody gives on purpose. Each has an
 * outcome: stored exactly, or the sync stops with one message that says where.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import type { SyncFailedError } from '../../src/client.js';
import type { Json } from '../../src/protocol.js';
import { HttpSource } from '../../src/sources/http.js';
import { resolveRequest } from '../../src/sources/references.js';
import { scratch, uniqueName } from '../helpers/harness.js';
import { startSystem, type System } from '../helpers/system.js';

vi.setConfig({ maxConcurrency: 6 });

let system: System;
let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
  system = await startSystem(inject('temporalAddress'));
});
afterAll(async () => {
  await system.stop();
  await folder.remove();
});

/** A source that answers every request with the same bytes. */
async function serve(
  answer: Buffer | string | ((response: ServerResponse) => unknown),
): Promise<{ url: string; close: () => void }> {
  const server = createServer((_, response) => {
    if (typeof answer === 'function') return void answer(response);
    response.setHeader('content-type', 'application/json');
    response.end(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/incremental/timestamp`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

interface Outcome {
  rows: Json[][];
  failure: SyncFailedError | null;
  warnings: string[];
}

/** One whole sync of one body: what the table holds afterwards, as text, and how it failed. */
async function syncOf(body: Buffer | string, columns: { [name: string]: string }): Promise<Outcome> {
  const { url, close } = await serve(body);
  const schema = uniqueName('limits').replaceAll('-', '_');
  const configuration = {
    strategy: 'timestamp',
    base_url: url,
    schema,
    table: 't',
    columns,
    retry_for: '1s',
  };
  try {
    let failure: SyncFailedError | null = null;
    let warnings: string[] = [];
    await system.sync(configuration).then(
      (done) => void (warnings = done.warnings.map(({ message }) => message)),
      (thrown: SyncFailedError) => void (failure = thrown),
    );
    const selected = Object.keys(columns).map((name) => `"${name.replaceAll('"', '""')}"::VARCHAR`);
    const rows = await system.query(`SELECT ${selected.join(', ')} FROM "${schema}".t ORDER BY 1`);
    return { rows, failure, warnings };
  } finally {
    close();
  }
}

/** One record with one value, in a column of this type. */
const valueOf = (type: string, json: string | Buffer) =>
  syncOf(
    Buffer.concat([Buffer.from('{"data":[{"id":"the key","v":'), Buffer.from(json), Buffer.from('}]}')]),
    { id: 'STRING', v: type },
  );

/** One message, for people. */
function expectClear(failure: SyncFailedError | null): string {
  const message = failure?.message ?? '(the sync did not fail)';
  expect(message).not.toMatch(/\n\s+at |node_modules|\.[jt]s:\d+/);
  expect(message.length).toBeLessThan(1000);
  return message;
}

describe.concurrent('a value', () => {
  const exact: [type: string, json: string, stored: string][] = [
    ['STRING', '9007199254740993', '9007199254740993'],
    ['STRING', '123456789012345678901234567890', '123456789012345678901234567890'],
    ['STRING', '0.1000000000000000055511151231257827', '0.1000000000000000055511151231257827'],
    ['STRING', '1.50', '1.50'],
    ['STRING', '1e400', '1e400'],
    ['LONG', '9007199254740993', '9007199254740993'],
    ['LONG', '-9223372036854775808', '-9223372036854775808'],
    ['LONG', '3.0', '3'],
    ['DECIMAL(38,0)', '12345678901234567890123456789012345678', '12345678901234567890123456789012345678'],
    ['DECIMAL(38,9)', '12345678901234567890.123456789', '12345678901234567890.123456789'],
    ['DECIMAL(38,2)', '9007199254740993.25', '9007199254740993.25'],
    ['JSON', '{"n":9007199254740993}', '{"n":9007199254740993}'],
    ['UTC_DATETIME', '"10000-01-01T00:00:00Z"', '10000-01-01 00:00:00+00'],
    ['UTC_DATETIME', '"2026-01-01T24:00:00Z"', '2026-01-02 00:00:00+00'],
    ['UTC_DATETIME', '"2026-01-01T00:00:00.123456789Z"', '2026-01-01 00:00:00.123456+00'],
    ['UTC_DATETIME', '"2026-01-01T05:30:00+05:30"', '2026-01-01 00:00:00+00'],
    ['STRING', '"2026-02-30"', '2026-02-30'],
  ];
  test.each(exact)('of %s %s is stored as it is', async (type, json, stored) => {
    const { rows, failure } = await valueOf(type, json);
    expect(failure).toBeNull();
    expect(rows).toEqual([['the key', stored]]);
  });

  test('with zero characters is stored with them', async () => {
    const { url, close } = await serve(String.raw`{"data":[{"id":"\u0000","v":"a\u0000b"}]}`);
    const schema = uniqueName('zero').replaceAll('-', '_');
    const columns = { id: 'STRING', v: 'STRING' };
    await system.sync({ strategy: 'timestamp', base_url: url, schema, table: 't', columns });
    close();
    expect(await system.query(`SELECT ord(id), length(v), ord(v[2]), v[3] FROM "${schema}".t`)).toEqual([
      [0, '3', 0, 'b'],
    ]);
  });

  const refused: [type: string, json: string, shown: string][] = [
    ['LONG', '1.5', '1.5'],
    ['LONG', '9007199254740993.0', '9007199254740993.0'],
    ['LONG', '9223372036854775808', '9223372036854775808'],
    ['INT', '0.5', '0.5'],
    ['DOUBLE', '1e400', '1e400'],
    ['DECIMAL(9,2)', '12345678.1', '12345678.1'],
    ['UTC_DATETIME', '"2016-12-31T23:59:60Z"', '2016-12-31T23:59:60Z'],
    ['UTC_DATETIME', '"0000-00-00"', '0000-00-00'],
    ['UTC_DATETIME', '"2026-02-30"', '2026-02-30'],
    ['UTC_DATETIME', '"2026-02-30T12:00:00Z"', '2026-02-30T12:00:00Z'],
    ['UTC_DATETIME', '"300000-01-01T00:00:00Z"', '300000-01-01T00:00:00Z'],
  ];
  test.each(refused)('of %s %s stops the sync, by key, column and value', async (type, json, shown) => {
    const { rows, failure } = await valueOf(type, json);
    expect(failure?.type).toBe('RecordError');
    const message = expectClear(failure);
    expect(message).toContain('primary key "the key"');
    expect(message).toContain('column "v"');
    expect(message).toContain(`"${shown}"`);
    expect(rows).toEqual([]);
  });

  test('that is not UTF-8 stops the sync, by its key', async () => {
    const { rows, failure } = await valueOf('STRING', Buffer.from([0x22, 0xff, 0x22]));
    expect(failure?.type).toBe('MalformedAnswerError');
    expect(expectClear(failure)).toContain('not valid UTF-8: the record with primary key "the key" is not');
    expect(rows).toEqual([]);
  });

  test('nested 100,000 deep stops the sync', async () => {
    const { rows, failure } = await valueOf('JSON', '['.repeat(100_000) + ']'.repeat(100_000));
    expect(failure?.type).toBe('RecordError');
    expect(expectClear(failure)).toContain('record 0 is nested deeper than 200');
    expect(rows).toEqual([]);
  });
});

describe.concurrent('a record', () => {
  test('with members called __proto__ and constructor loses and gains nothing by them', async () => {
    const { rows, failure, warnings } = await syncOf(
      '{"data":[{"__proto__":{"v":"no"},"constructor":"made","id":"1"}],"__proto__":{"scroll_param":"x"}}',
      { id: 'STRING', constructor: 'STRING', v: 'STRING' },
    );
    expect(failure).toBeNull();
    expect(rows).toEqual([['1', 'made', null]]);
    expect(warnings.join()).toContain('__proto__');
  });

  test('with a member name of 10 MB is stored without it, and the warning is short', async () => {
    const name = 'n'.repeat(10_000_000);
    const { rows, failure, warnings } = await syncOf(`{"data":[{"id":"1","${name}":1},{"id":"2"}]}`, {
      id: 'STRING',
    });
    expect(failure).toBeNull();
    expect(rows).toEqual([['1'], ['2']]);
    expect(warnings.join()).toContain('nnnn…');
    expect(warnings.join().length).toBeLessThan(1000);
  });

  test('with a primary key of 10 MB stops the sync: it would not fit into a cursor', async () => {
    const { rows, failure } = await syncOf(`{"data":[{"id":"${'k'.repeat(10_000_000)}"}]}`, { id: 'STRING' });
    expect(failure?.type).toBe('RecordError');
    expect(expectClear(failure)).toContain('record 0 has a primary key of 10000000 characters');
    expect(rows).toEqual([]);
  });

  test('behind a continuation token of megabytes is not taken: the token would not fit either', async () => {
    const { rows, failure } = await syncOf(
      `{"data":[{"id":"1"}],"scroll_param":"${'t'.repeat(3_000_000)}"}`,
      { id: 'STRING' },
    );
    expect(failure?.type).toBe('MalformedAnswerError');
    expect(expectClear(failure)).toContain('the page token is 3000000 characters long');
    expect(rows).toEqual([]);
  });

  test('of 21 MB stops the sync: the destination could not read it in the memory that it has', async () => {
    const { rows, failure } = await syncOf(`{"data":[{"id":"1","v":"${'x'.repeat(21_000_000)}"}]}`, {
      id: 'STRING',
      v: 'STRING',
    });
    expect(failure?.type).toBe('RecordError');
    expect(expectClear(failure)).toContain('record 0 is longer than 20971520 bytes');
    expect(rows).toEqual([]);
  });

  test('of 20 MB is stored whole', async () => {
    const { rows, failure } = await syncOf(`{"data":[{"id":"1","v":"${'ab'.repeat(10_000_000)}"}]}`, {
      id: 'STRING',
      v: 'STRING',
    });
    expect(failure).toBeNull();
    expect(rows.map(([id, v]) => [id, String(v).length])).toEqual([['1', 20_000_000]]);
  });
});

describe('a body that unpacks to gigabytes', () => {
  const MEGABYTES = 2048;
  const UNIT = 16;
  /** Members of one gzip stream: head, the same 16 MB over and over, and no end to it. */
  const bomb = (head: string, filler: string): Buffer => {
    const member = gzipSync(Buffer.alloc(UNIT * 1024 * 1024, filler));
    const members = Array.from({ length: MEGABYTES / UNIT }, () => member);
    return Buffer.concat([gzipSync(head), ...members]);
  };

  test.each([
    ['white space before anything', '', ' ', /no list of records within the first 4194304 bytes|is empty/],
    ['zero bytes', '', '\0', /not valid JSON/],
    ['white space between records', '{"data":[{"id":"1"}', ' ', /record 1 is longer than 20971520 bytes/],
    ['white space behind the records', '{"data":[]', ' ', /more than 4194304 bytes besides its records/],
    ['a string without an end', '{"data":[{"id":"1","v":"', 'a', /record 0 is longer than 20971520 bytes/],
    ['a number without an end', '{"data":[{"id":"1","v":', '7', /record 0 is longer than 20971520 bytes/],
    ['a token without an end', '{"scroll_param":"', 'a', /no list of records within the first 4194304 bytes/],
    ['a member name without an end', '{"data":[{"', 'a', /record 0 is longer than 20971520 bytes/],
  ])('is refused after a few of them, in bounded memory: %s', async (_, head, filler, words) => {
    const body = bomb(head, filler);
    expect(body.length).toBeLessThan(4_000_000);
    const { url, close } = await serve((response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' });
      response.end(body);
    });
    const before = process.memoryUsage().rss;
    let most = 0;
    const watching = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
    const source = new HttpSource({
      resolved: resolveRequest(url, undefined, {}),
      primaryKey: ['id'],
      cursorField: 'updatedAt',
      columns: ['id', 'v'],
      timeoutSeconds: 20,
    });
    try {
      const read = source.read({ params: {} }, () => Promise.resolve(), new AbortController().signal);
      await expect(read).rejects.toThrow(words);
    } finally {
      clearInterval(watching);
      close();
    }
    // Some hundred megabytes at the limit of one record, not the two gigabytes of the body.
    expect((most - before) / 1024 / 1024).toBeLessThan(300);
  });

  test('as an error message is read no further than the message needs', async () => {
    const body = bomb('', 'x');
    const { url, close } = await serve((response) => {
      response.writeHead(400, { 'content-encoding': 'gzip' });
      response.end(body);
    });
    const source = new HttpSource({
      resolved: resolveRequest(url, undefined, {}),
      primaryKey: ['id'],
      cursorField: 'updatedAt',
      columns: ['id'],
      timeoutSeconds: 20,
    });
    const started = Date.now();
    const read = source.read({ params: {} }, () => Promise.resolve(), new AbortController().signal);
    await expect(read).rejects.toThrow(/^the source answered 400 Bad Request: x{300}\n/);
    expect(Date.now() - started).toBeLessThan(3000);
    close();
  });
});

describe.concurrent('names', () => {
  test.each([
    ['quotes and semicolons', `a"b'c; DROP TABLE "t"; --`],
    ['a reserved word', 'select'],
    ['a path', '../../up'],
    ['letters beyond Latin', '名前 ✨ имя'],
    ['200 characters', 'x'.repeat(200)],
  ])('that hold %s are stored as they are', async (_, name) => {
    const { url, close } = await serve(JSON.stringify({ data: [{ id: '1', [name]: 'here' }] }));
    const destination = folder.file(`${uniqueName('names')}.duckdb`);
    await system.sync({
      strategy: 'timestamp',
      base_url: url,
      destination,
      schema: name,
      table: name,
      columns: { id: 'STRING', [name]: 'STRING' },
    });
    close();
    const { rows } = await readDestination(
      destination,
      `SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()
         AND table_name NOT LIKE '%highwater%' AND column_name NOT LIKE '%highwater%' ORDER BY column_index`,
    );
    expect(rows).toEqual([
      [name, name, 'id'],
      [name, name, name],
    ]);
    const quoted = `"${name.replaceAll('"', '""')}"`;
    const stored = await readDestination(destination, `SELECT ${quoted} FROM ${quoted}.${quoted}`);
    expect(stored.rows).toEqual([['here']]);
  });

  test.each([
    ['a line end', 'a\nb'],
    ['10,000 characters', 'x'.repeat(10_000)],
    ['a zero character', 'a\0b'],
  ])('that hold %s are refused before anything is started', async (_, name) => {
    for (const more of [{ table: name }, { schema: name }, { columns: { id: 'STRING', [name]: 'STRING' } }]) {
      const started = system.start({ strategy: 'timestamp', base_url: 'http://127.0.0.1:9/', ...more });
      await expect(started).rejects.toMatchObject({ name: 'ConfigurationError' });
    }
  });
});

describe.concurrent('a destination', () => {
  const to = async (destination: string) => {
    const { url, close } = await serve('{"data":[{"id":"1"}]}');
    const columns = { id: 'STRING' };
    const configuration = { strategy: 'timestamp', base_url: url, destination, columns, table: 't' };
    const started = Date.now();
    try {
      return await system.failing(configuration);
    } finally {
      close();
      expect(Date.now() - started, 'said at once').toBeLessThan(8000);
    }
  };

  test('with ../ in its path, in a folder that is not there yet, is a path like any other', async () => {
    const { url, close } = await serve('{"data":[{"id":"1"}]}');
    const destination = join(folder.path, 'a', '..', 'b b', 'new.duckdb').replace('b b', 'a/../b b');
    await system.sync({
      strategy: 'timestamp',
      base_url: url,
      destination,
      columns: { id: 'STRING' },
      table: 't',
    });
    close();
    const { rows } = await readDestination(folder.file('b b/new.duckdb'), 'SELECT id FROM t');
    expect(rows).toEqual([['1']]);
  });

  test('that is a folder is refused, and stays as it is', async () => {
    const path = folder.file('a folder.duckdb');
    await mkdir(path);
    await writeFile(join(path, 'kept'), 'kept');
    const failure = await to(path);
    expect(failure.type).toBe('DestinationError');
    expect(expectClear(failure)).toContain(path);
    expect(await readFile(join(path, 'kept'), 'utf8')).toBe('kept');
  });

  test.each([
    ['a text', 'id,name\n1,me\n'.repeat(1000)],
    ['an SQLite database', `SQLite format 3\0${'\0'.repeat(4096)}`],
    ['one byte', 'x'],
  ])('that is no DuckDB file is refused, and not a byte of it changes: %s', async (what, content) => {
    const path = folder.file(`${what}.duckdb`);
    await writeFile(path, content);
    const failure = await to(path);
    expect(failure.type).toBe('DestinationError');
    expect(expectClear(failure)).toContain(path);
    expect(await readFile(path, 'utf8')).toBe(content);
  });

  test('inside of a file, or with a name too long, is refused at once', async () => {
    const file = folder.file('file');
    await writeFile(file, 'kept');
    for (const path of [join(file, 'x.duckdb'), join(file, 'a', 'x.duckdb'), folder.file('x'.repeat(300))]) {
      const failure = await to(path);
      expect(failure.type).toBe('DestinationError');
      expect(expectClear(failure)).toContain('cannot be used');
    }
    expect(await readFile(file, 'utf8')).toBe('kept');
  });

  test('with a zero character is refused by the configuration', async () => {
    const start = system.start({ strategy: 'timestamp', destination: 'a\0b' });
    await expect(start).rejects.toThrow('destination: must not hold control characters');
    await delay(0);
  });
});
