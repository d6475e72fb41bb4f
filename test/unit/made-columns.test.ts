/** Columns that are made, from a real server's answer to the lines that go to staging. */
import { createHash, createHmac } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plansFromFull } from '../../src/config/full.js';
import { ConfigurationError } from '../../src/errors.js';
import type { Json, Reject, StreamPlan } from '../../src/protocol.js';
import { sourceOf } from '../../src/sources/stream-source.js';
import { ownSurroundings } from '../../src/surroundings.js';
import { runs } from '../helpers/long.js';

let server: Server;
let url: string;
/** The body of every answer. */
let body = '';

beforeAll(async () => {
  server = createServer((_, response) => response.setHeader('content-type', 'application/json').end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());

type StreamKeys = Record<string, Json>;

function planOf(stream: StreamKeys): StreamPlan {
  const { plans } = plansFromFull({
    source: { base_url: url },
    destination: 'x.duckdb',
    streams: [{ name: 's', path: '/s', strategy: 'cursor', next: 'none', primary_key: 'id', ...stream }],
  });
  return plans[0] as StreamPlan;
}

/** The problems of a stream that is refused, as "path: message". */
function problemsOf(stream: StreamKeys): string[] {
  try {
    planOf(stream);
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return thrown.problems.map(({ path, message }) => `${path}: ${message}`);
  }
  return [];
}

interface Read {
  lines: string[];
  rows: Record<string, Json>[];
  keys: string[];
  rejects: Reject[];
  error: string | null;
  remarks: string[];
}

const environment = { PEPPER: 'a-pepper-of-some-length' };

/** Reads records, given as JSON texts, by a stream's configuration. */
async function read(stream: StreamKeys, records: readonly string[], whole?: string): Promise<Read> {
  body = whole ?? `{"data":[${records.join(',')}]}`;
  const surroundings = ownSurroundings(environment);
  const source = await sourceOf(planOf(stream), surroundings, null);
  const found: Read = { lines: [], rows: [], keys: [], rejects: [], error: null, remarks: [] };
  try {
    const answer = await source.read(
      { params: {} },
      async ({ lines, records: part, rejects }) => {
        found.keys.push(...part.keys);
        found.rejects.push(...rejects);
        for (const line of lines.toString('utf8').split('\n'))
          if (line.trim() !== '') found.lines.push(line.trim());
      },
      new AbortController().signal,
    );
    found.remarks = (answer.remarks ?? []).map(({ message }) => message);
  } catch (thrown) {
    found.error = (thrown as Error).message;
  } finally {
    surroundings.network.close();
  }
  found.rows = found.lines.map((line) => JSON.parse(line) as Record<string, Json>);
  return found;
}

const rowOf = async (stream: StreamKeys, record: string) => (await read(stream, [record])).rows[0];
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const infers = { misfits: 'evolve' };

describe('a column that is made', () => {
  it('holds a constant of any type', async () => {
    const columns = { id: 'LONG', source: { value: 'eu' }, n: { value: 1 }, o: { value: { a: [1] } } };
    expect(await rowOf({ columns }, '{"id":1,"source":"us"}')).toEqual({
      id: 1,
      source: 'eu',
      n: 1,
      o: { a: [1] },
    });
    expect(planOf({ columns }).table.columns).toEqual({ id: 'LONG', source: 'STRING', n: 'LONG', o: 'JSON' });
  });

  it('holds the result of an expression', async () => {
    const columns = { id: 'LONG', name: { expression: "first + ' ' + last", type: 'STRING' } };
    const record = '{"id":1,"first":"Ada","last":"Lovelace"}';
    expect(await rowOf({ columns }, record)).toEqual({ id: 1, name: 'Ada Lovelace' });
  });

  it.each([
    ['this.lowerAscii().trim()', '" Ada@X.org "', '"ada@x.org"'],
    ['string(record["odd name"])', '1, "odd name": 7', '"7"'],
    ['this.city', '{"city":"London"}', '"London"'],
    ['this.size() > 2 ? "many" : "few"', '[1,2,3]', '"many"'],
    ['this.map(x, x.price * x.count).exists(s, s > 5)', '[{"price":1.5,"count":4}]', 'true'],
    ['this * 2', '9007199254740993', '18014398509481986'],
    ['this * 2.0', '2.25', '4.5'],
    ['this / 2', '7', '3'],
    ['this / 2.0', '7', '3.5'],
    ['this.matches("^a+$")', '"aaa"', 'true'],
    ['this.replace("a", "$&")', '"banana"', '"b$&n$&n$&"'],
    ['timestamp(this) + duration("1h")', '"2026-01-01T00:00:00Z"', '"2026-01-01T01:00:00.000Z"'],
    ['has(this.b) ? "yes" : "no"', '{"a":1}', '"no"'],
    ['this.split(",")[1]', '"a,b"', '"b"'],
    ['this + 1', '9223372036854775806', '9223372036854775807'],
    ['[this, "x"]', '"a"', '["a","x"]'],
    ['{"a": this}', '1', '{"a":1}'],
  ])('evaluates %s of %s', async (expression, value, result) => {
    const { lines, error } = await read({ ...infers, columns: { x: { expression } } }, [
      `{"id":1,"x":${value}}`,
    ]);
    expect(error).toBeNull();
    expect(lines[0]).toContain(`"x":${result}`);
  });

  it.each([
    ['a + b', '{"id":1,"a":1,"b":null}'],
    ['a + b', '{"id":1,"a":1}'],
    ['a.b.c', '{"id":1,"a":{"b":{}}}'],
    ['a.upperAscii()', '{"id":1,"a":null}'],
  ])('has none for %s of %s, as in SQL', async (expression, record) => {
    const { rows, error } = await read({ ...infers, columns: { x: { expression } } }, [record]);
    expect(error).toBeNull();
    expect(rows[0]).not.toHaveProperty('x');
  });

  it('takes numbers of declared columns as these say, also where they are written as text', async () => {
    const columns = { id: 'LONG', price: 'DECIMAL(9,2)', total: { expression: 'price * 2', type: 'DOUBLE' } };
    for (const price of ['12.5', '"12.50"', '"12.5"'])
      expect(await rowOf({ columns }, `{"id":1,"price":${price}}`)).toMatchObject({ total: 25 });
    expect(await rowOf({ columns }, '{"id":1,"price":12}')).toMatchObject({ total: 24 });
  });

  it('takes a flag that is written as text as its column does', async () => {
    const columns = { id: 'LONG', ok: 'BOOLEAN', no: { expression: '!ok', type: 'BOOLEAN' } };
    for (const ok of ['true', '"true"'])
      expect(await rowOf({ columns }, `{"id":1,"ok":${ok}}`)).toMatchObject({ no: false });
  });

  it.each([
    ['n + 1', '9223372036854775807'],
    ['t.map(x, x + x).map(x, x + x + x + x).map(x, x + x + x + x + x + x + x + x)', `"${'y'.repeat(20)}"`],
    ['s.split("").size()', `"${'y'.repeat(5_000_000)}"`],
    ['1.0 / 0.0', '1'],
    ['type(n)', '1'],
  ])('is refused where its result cannot be stored, or takes too much: %s', async (expression, value) => {
    const columns = { x: { expression } };
    const isLong = value.length > 100;
    const list = isLong ? '[]' : `[${Array.from({ length: 3000 }, () => value).join(',')}]`;
    const record = `{"id":"k","n":${isLong ? '1' : value},"s":${value},"t":${list}}`;
    const { error } = await read({ ...infers, columns }, [record]);
    expect(error).toContain(
      'the record with primary key "k" does not fit: the expression of column "x" fails',
    );
  });

  it('never sees a rounded number: what a double would round is a text', async () => {
    const columns = { x: { expression: 'n' } };
    for (const number of ['12345678901234567890123', '0.12345678901234567890', '1e400'])
      expect((await read({ ...infers, columns }, [`{"id":1,"n":${number}}`])).lines[0]).toContain(
        `"x":"${number}"`,
      );
    const { error } = await read({ ...infers, columns: { x: { expression: 'n * 2.0' } } }, [
      '{"id":"k7","n":9007199254740993}',
    ]);
    expect(error).toContain(
      'the record with primary key "k7" does not fit: the expression of column "x" fails',
    );
  });

  it('is hashed by the text of its value, however that is written', async () => {
    const columns = { x: { hash: 'sha256' } };
    const hashOf = async (value: string) =>
      (await rowOf({ ...infers, columns }, `{"id":1,"x":${value}}`))?.['x'];
    expect(await hashOf('"é"')).toBe(sha256('é'));
    expect(await hashOf('"\\u00e9"')).toBe(sha256('é'));
    for (const one of ['1', '1.0', '10e-1', '"1"']) expect(await hashOf(one)).toBe(sha256('1'));
    expect(await hashOf('9007199254740993')).toBe(sha256('9007199254740993'));
    expect(await hashOf('true')).toBe(sha256('true'));
    expect(await hashOf('{"b":1.0,"a":[ "x" ]}')).toBe(sha256('{"a":["x"],"b":1}'));
    expect(await hashOf('null')).toBeNull();
  });

  it('is hashed with a key that is a reference', async () => {
    const columns = { x: { hash: 'sha256', key: '${env:PEPPER}' } };
    const hmac = createHmac('sha256', environment.PEPPER).update('a@b.c').digest('hex');
    expect(await rowOf({ ...infers, columns }, '{"id":1,"x":"a@b.c"}')).toMatchObject({ x: hmac });
  });

  it('is hashed after its expression, and then the member itself is left out', async () => {
    const columns = { email: { expression: 'this.lowerAscii()', hash: 'sha256' } };
    const row = await rowOf({ ...infers, columns, raw: '_raw' }, '{"id":1,"email":"A@B.C"}');
    expect(row).toEqual({ id: 1, email: sha256('a@b.c'), _raw: { id: 1 } });
  });

  it.each([
    ['last4', '"4111111111111111"', '***1111'],
    ['last4', '4111111111111111', '***1111'],
    ['last4', '"1234567"', '***'],
    ['first1', '"Ada"', 'A***'],
    ['first1', '"A"', '***'],
    ['email', '"ada@example.org"', 'a***@example.org'],
    ['email', '"a@example.org"', '***@example.org'],
    ['email', '"nobody"', '***'],
    ['full', '"x"', '***'],
    ['last4', '["4111111111111111"]', '***'],
    ['last4', 'null', null],
  ])('is masked by %s: %s', async (mask, value, shown) => {
    const columns = { card: { mask } };
    expect(await rowOf({ ...infers, columns }, `{"id":1,"card":${value}}`)).toEqual({ id: 1, card: shown });
  });

  it('takes another member by "from", which is hashed wherever else it is stored', async () => {
    const columns = { id: 'LONG', contact: 'JSON', email: { from: 'contact.email', hash: 'sha256' } };
    const row = await rowOf({ columns, raw: 'whole' }, '{"id":1,"contact":{"email":"a","n":1.50}}');
    const contact = { email: sha256('a'), n: 1.5 };
    expect(row).toEqual({ id: 1, email: sha256('a'), contact, whole: { id: 1, contact } });
  });
});

describe('members that are left out', () => {
  it('are so in inferred columns, within others, through lists, and in the whole record', async () => {
    const exclude = ['ssn', 'contact.phone', 'lines.price', 'secret.*'];
    const record =
      '{"id":1,"ssn":"1","contact":{"phone":"2","city":"X"},"lines":[{"price":3,"n":1},{"n":2}],"secret":{"a":4}}';
    const rest = { contact: { city: 'X' }, lines: [{ n: 1 }, { n: 2 }], secret: {} };
    expect(await rowOf({ exclude }, record)).toEqual({ id: 1, ...rest });
    expect(await rowOf({ exclude, raw: '_raw' }, record)).toEqual({
      id: 1,
      ...rest,
      _raw: { id: 1, ...rest },
    });
  });

  it('can be read by an expression, by a hash, and by the filter', async () => {
    const columns = { h: { from: 'email', hash: 'sha256' }, domain: { expression: 'email.split("@")[1]' } };
    const stream = { ...infers, columns, exclude: ['email'], where: "@.email == 'a@b'" };
    const { rows, error } = await read(stream, ['{"id":1,"email":"a@b"}', '{"id":2,"email":"c@d"}']);
    expect(error).toBeNull();
    expect(rows).toEqual([{ id: 1, h: sha256('a@b'), domain: 'b' }]);
  });
});

describe('the primary key', () => {
  it('may be a hash or an expression; pages count every record by it', async () => {
    const columns = { key: { from: 'email', hash: 'sha256' }, tenant: { value: 't' } };
    const stream = { columns, primary_key: ['tenant', 'key'], where: '@.n > 1' };
    const { rows, keys } = await read(stream, ['{"email":"a","n":1}', '{"email":"b","n":2}']);
    expect(rows).toEqual([{ tenant: 't', key: sha256('b') }]);
    expect(keys).toEqual([JSON.stringify(['t', sha256('a')]), JSON.stringify(['t', sha256('b')])]);
  });
});

describe('an expression that fails', () => {
  const columns = { id: 'STRING', x: { expression: 'int(a)', type: 'LONG' } };
  const records = ['{"id":"r1","a":"5"}', '{"id":"r2","a":"secret-text"}', '{"id":"r3","a":"6"}'];

  it('stops the sync with the key of the record and the column', async () => {
    const { error } = await read({ columns }, records);
    expect(error).toContain(
      'the record with primary key "r2" does not fit: the expression of column "x" fails',
    );
    expect(error).not.toContain('secret-text');
  });

  it('puts the record into quarantine, marked so that no retry stores it without the column', async () => {
    const { rows, rejects, keys } = await read({ columns, misfits: 'quarantine' }, records);
    expect(rows).toEqual([
      { id: 'r1', x: 5 },
      { id: 'r3', x: 6 },
    ]);
    expect(keys).toHaveLength(3);
    expect(rejects).toHaveLength(1);
    expect(rejects[0]?.reason).toMatch(/^the expression of column "x" fails: int\(\) needs a whole number/);
    expect(JSON.parse(rejects[0]?.record ?? '')).toEqual({ _highwater_refused: true, id: 'r2' });
  });

  it('is found among many records that WebAssembly reads', async () => {
    const many = Array.from({ length: 500 }, (_, i) => `{"id":"r${i}","a":"${i === 321 ? 'x' : i}"}`);
    const { rows, rejects } = await read({ columns, misfits: 'quarantine' }, many);
    expect(rows).toHaveLength(499);
    expect(rejects.map(({ record }) => (JSON.parse(record) as { id: string }).id)).toEqual(['r321']);
  });

  it('is ended where it takes too long, and only its record is refused', async () => {
    const list = JSON.stringify(Array.from({ length: 400 }, (_, i) => i));
    const slow = { expression: 'l.map(a, l.map(b, l.map(c, l.map(d, a + b + c + d)))).size()', type: 'LONG' };
    const stream = { columns: { id: 'LONG', x: slow }, misfits: 'quarantine' };
    const { rows, rejects } = await read(stream, [
      '{"id":1,"l":[1]}',
      `{"id":2,"l":${list}}`,
      '{"id":3,"l":[]}',
    ]);
    expect(rows).toEqual([
      { id: 1, x: 1 },
      { id: 3, x: 0 },
    ]);
    expect(rejects.map(({ reason }) => reason)).toEqual(['an expression of it takes more than 1 s']);
  }, 20_000);

  it('is ended without loops and over a short record, too', async () => {
    const grows = Array.from({ length: 80 }, () => "size(a.replace('x', b))").join(' + ');
    const stream = { columns: { id: 'LONG', n: { expression: grows, type: 'LONG' } }, misfits: 'quarantine' };
    const [many, long] = ['x'.repeat(2000), 'y'.repeat(2000)];
    const { rows, rejects } = await read(stream, [
      '{"id":1,"a":"x","b":"yy"}',
      `{"id":2,"a":"${many}","b":"${long}"}`,
      '{"id":3,"a":"","b":""}',
    ]);
    expect(rows).toEqual([
      { id: 1, n: 160 },
      { id: 3, n: 0 },
    ]);
    expect(rejects.map(({ reason }) => reason)).toEqual(['an expression of it takes more than 1 s']);
  }, 20_000);

  it('takes linear time for a pattern that JavaScript would search for ever', async () => {
    const stream = { columns: { id: 'LONG', x: { expression: 'a.matches("^(a+)+$")', type: 'BOOLEAN' } } };
    const began = performance.now();
    expect(await rowOf(stream, `{"id":1,"a":"${'a'.repeat(50_000)}!"}`)).toEqual({ id: 1, x: false });
    expect(performance.now() - began).toBeLessThan(900);
  });
});

describe('the whole record', () => {
  it('keeps every digit on its way, of which DuckDB keeps those of a double, as the documentation says', async () => {
    const { lines } = await read({ columns: { id: 'LONG' }, raw: '_raw' }, [
      '{"id":1,"f":0.12345678901234567890,"n":12345678901234567890123}',
    ]);
    expect(lines[0]).toContain('"f":0.12345678901234567890,"n":12345678901234567890123');
    const database = await (await DuckDBInstance.create(':memory:')).connect();
    const json = '{"f":0.12345678901234567890,"n":12345678901234567890123}';
    const [[kept] = []] = (await database.runAndReadAll(`SELECT CAST(json('${json}') AS VARCHAR)`)).getRows();
    database.closeSync();
    expect(kept).toBe('{"f":0.12345678901234568,"n":12345678901234567890123}');
  });
});

describe('a configuration is refused', () => {
  it.each<[string, StreamKeys, string]>([
    [
      'for the syntax',
      { columns: { id: 'LONG', x: { expression: 'a +', type: 'LONG' } } },
      'Unexpected token: EOF at character 4',
    ],
    [
      'for a function',
      { columns: { id: 'LONG', x: { expression: 'nope(a)', type: 'LONG' } } },
      "no matching overload for 'nope(dyn)' at character 1",
    ],
    [
      'for types',
      { columns: { id: 'LONG', n: 'STRING', x: { expression: 'n * 2', type: 'LONG' } } },
      'columns.x.expression: does not fit the types of "columns": no such overload: string * int at character 1',
    ],
    [
      'for a pattern',
      { columns: { id: 'LONG', x: { expression: 'a.matches("(")', type: 'LONG' } } },
      'pattern cannot be used',
    ],
    [
      'for loops',
      {
        columns: {
          id: 'LONG',
          x: { expression: 'a.map(b,b).map(b,b).map(b,b).map(b,b).map(b,b)', type: 'JSON' },
        },
      },
      'it has 5 loops',
    ],
    [
      'without a type',
      { columns: { id: 'LONG', x: { expression: 'a' } } },
      'columns.x.type: is required, because only declared columns are stored',
    ],
    [
      'for a key in the open',
      { columns: { id: 'LONG', x: { hash: 'sha256', key: 'pepper' } } },
      'columns.x.key: must be a reference',
    ],
    [
      'for a key without hash',
      { columns: { id: 'LONG', x: { mask: 'full', key: '${env:A}' } } },
      'columns.x.key: needs "hash"',
    ],
    [
      'for hash and mask',
      { columns: { id: 'LONG', x: { mask: 'full', hash: 'sha256' } } },
      'columns.x.mask: cannot be combined',
    ],
    [
      'for a hash that is a number',
      { columns: { id: 'LONG', x: { hash: 'sha256', type: 'LONG' } } },
      'columns.x.type: must be STRING',
    ],
    [
      'for a value beside others',
      { columns: { id: 'LONG', x: { value: 1, from: 'a' } } },
      'columns.x.from: has no effect',
    ],
    [
      'for a plain copy of a hash',
      { columns: { id: 'LONG', x: { hash: 'sha256' }, y: { from: 'x', type: 'STRING' } } },
      'columns.y: reads "x", which column x hashes',
    ],
    [
      'for a part of a mask',
      { columns: { id: 'LONG', x: { mask: 'full' }, y: { from: 'x.y', type: 'STRING' } } },
      'columns.y: reads "x.y", which column x masks',
    ],
    [
      'for a column left out',
      { columns: { id: 'LONG', x: 'STRING' }, exclude: ['x'] },
      'columns.x: reads "x", which "exclude" leaves out',
    ],
    ['for a masked key', { columns: { id: { mask: 'last4' } } }, 'primary_key[0]: cannot be a masked column'],
    ['for a key of constants', { columns: { id: { value: 1 } } }, 'primary_key: has only constants'],
    [
      'for a key left out',
      { exclude: ['id'] },
      'primary_key[0]: names the member "id", which "exclude" leaves out',
    ],
    [
      'for a hashed member as key',
      { ...infers, columns: { h: { from: 'id', hash: 'sha256' } } },
      'primary_key[0]: names the member "id", which column h hashes',
    ],
    [
      'for a made key that is sent',
      { columns: { id: { hash: 'sha256' } }, next: 'last_key' },
      'next "last_key" sends the key to the API',
    ],
    [
      'for a made cursor field',
      { columns: { id: 'LONG', t: { hash: 'sha256' } }, cursor_field: 't', names: { updated_since: 's' } },
      'cursor_field: must be a member as the source sends it, but "t"',
    ],
    [
      'for a cursor field that holds a member left out',
      { ...infers, exclude: ['deep.x'], cursor_field: 'deep', names: { updated_since: 's' } },
      'cursor_field: names "deep", which holds the member "deep.x", which "exclude" leaves out',
    ],
    [
      'for a key that holds a member left out, in another case',
      { ...infers, exclude: ['ID.x'] },
      'primary_key[0]: names "id", which holds the member "ID.x", which "exclude" leaves out',
    ],
    [
      'for a column of a key that holds a masked member',
      {
        columns: { id: { type: 'STRING', from: 'a.b' }, x: { from: 'a.b.c', mask: 'last4' } },
      },
      'primary_key[0]: names "id", which holds the member "a.b.c", which column x masks',
    ],
    [
      'for a mark of deletion that holds a hashed member',
      {
        columns: { id: 'LONG', gone: 'STRING', x: { from: 'gone.by', hash: 'sha256' } },
        ...{ deletes: 'soft', deleted_field: 'gone' },
      },
      'deleted_field: names "gone", which holds the member "gone.by", which column x hashes',
    ],
    [
      'for a column of a member left out in another case',
      { columns: { id: 'LONG', x: { type: 'STRING', from: 'SSN' } }, exclude: ['ssn'] },
      'columns.x: reads "SSN", which "exclude" leaves out',
    ],
    [
      'for a list of items that is left out',
      { ...infers, exclude: ['Lines'], children: { lines: { include: { of: 'id' }, index: 'n' } } },
      'children.lines.from: reads "lines", which "exclude" leaves out',
    ],
    [
      'for the key of a child table that is left out',
      {
        ...{ ...infers, exclude: ['lines.sku'] },
        children: { lines: { include: { of: 'id' }, primary_key: ['of', 'sku'] } },
      },
      'children.lines.primary_key: reads "lines.sku", which "exclude" leaves out, so that it cannot be part of the key',
    ],
    [
      'for the key of a nested child table that holds a member left out',
      {
        ...{ ...infers, exclude: ['lines.parts.no.x'] },
        children: {
          lines: {
            ...{ include: { of: 'id' }, index: 'n' },
            children: { parts: { include: { of: 'of' }, primary_key: ['of', 'no'] } },
          },
        },
      },
      'children.lines.children.parts.primary_key: names "lines.parts.no", which holds the member "lines.parts.no.x"',
    ],
    [
      'for an included key that holds a member left out',
      {
        ...{ ...infers, exclude: ['deep.x'] },
        children: { lines: { include: { of: 'deep' }, index: 'n' } },
      },
      'children.lines.include.of: names "deep", which holds the member "deep.x"',
    ],
    [
      'for an included key that is masked',
      {
        ...{ ...infers, columns: { phone: { mask: 'last4' } } },
        children: { lines: { include: { of: 'phone' }, index: 'n' } },
      },
      'children.lines.include.of: reads the masked column "phone"',
    ],
    [
      'for a token that is a member in another case',
      { exclude: ['email'], next: { token: '$.data[-1:].Email' } },
      'next: $.data[-1:].Email may lead to the member "email" of a record',
    ],
    [
      'for a token that is a member',
      { exclude: ['email'], next: { token: '$.data[-1:].email' } },
      'next: $.data[-1:].email may lead to the member "email" of a record, which "exclude" leaves out: the history keeps the token',
    ],
    [
      'for a name of the language',
      { columns: { id: 'LONG', x: { expression: 'type == "order"', type: 'BOOLEAN' } } },
      'at character 1; "type" is a name of CEL; a member of that name is record.type',
    ],
    [
      'for the name of the whole record',
      { columns: { id: 'LONG' }, raw: 'ID' },
      'raw: is the name of a column',
    ],
    ['for a path to leave out', { exclude: ['a[0].b'] }, 'exclude[0]: is not a path of members'],
    ['for a typo', { columns: { id: 'LONG', x: { expresion: 'a', type: 'LONG' } } }, 'columns.x'],
  ])('%s', (_, stream, expected) => {
    expect(problemsOf(stream).join('\n')).toContain(expected);
  });

  it.each<[string, Json?]>([
    ["$['data'][-1]['em\\u0061il']"],
    ['$.data[-1].*'],
    ['$.data[-1]'],
    ['$.data[0:1]'],
    ['$.data'],
    ['$.data[?@.id > 0].email'],
    ['$.data[-1]["id", "email"]'],
    ['$..email'],
    ['$..*'],
    ['$.*[-1].email'],
    ['$[?@.id]..email'],
    ['data.0.email'],
    ['$.data[-1].deep'],
    ['$.data[-1].deep.x.y'],
    ['$.data[-1].deep[0].x'],
    ['$.data[-1].email', '$.data[*]'],
    ['$.data[-1].email', '$..data'],
    ['$.pages[0].data[0].email', '$.pages[*].data[*]'],
    ['$[-1].email', '$'],
  ])('for %s, which may lead to a member that is not stored', (path, records = 'data') => {
    const stream = {
      ...infers,
      records,
      columns: { email: { hash: 'sha256' } },
      exclude: ['ssn', 'deep.x'],
    };
    for (const next of [{ token: path }, { url: path }])
      expect(problemsOf({ ...stream, next }).join('\n')).toMatch(
        /^streams\[0\]\.next: .* may lead to the member "/m,
      );
    const pages = { ...stream, strategy: 'page_number', next: undefined as unknown as Json };
    for (const key of ['total', 'total_pages', 'more'])
      expect(problemsOf({ ...pages, [key]: path }).join('\n')).toMatch(
        new RegExp(`^streams\\[0\\]\\.${key}: .* may lead to the member "`, 'm'),
      );
  });

  it.each([
    'next',
    'meta.email',
    '$.meta.*',
    '$.data[-1].id',
    '$["data"][-1:]["id"]',
    'data.length',
    '$.data[-1].deep.y',
  ])('not for %s, which leads past members that are not stored', (path) => {
    const stream = {
      ...infers,
      records: 'data',
      columns: { email: { hash: 'sha256' } },
      exclude: ['deep.x'],
    };
    expect(problemsOf({ ...stream, next: { token: path } })).toEqual([]);
  });

  it('not for what goes together', () => {
    const columns = { id: 'LONG', a: { value: null, type: 'STRING' }, b: { expression: 'x', type: 'JSON' } };
    expect(problemsOf({ columns, exclude: ['$["a.b"]', 'c.*', '*.d'], raw: 'r' })).toEqual([]);
    expect(problemsOf({ ...infers, columns: { b: { expression: 'x' } } })).toEqual([]);
  });
});

describe('a member whose name differs in case', () => {
  it('is left out, hashed and masked like the member itself', async () => {
    const stream = {
      ...infers,
      exclude: ['ssn', 'deep.x'],
      columns: { email: { hash: 'sha256' }, card: { mask: 'full' } },
      raw: '_raw',
    };
    const record = { id: 1, Email: 'PLAIN', SSN: 'PLAIN', CARD: 'PLAIN', Deep: { X: 'PLAIN', y: 2 } };
    const { rows } = await read(stream, [JSON.stringify(record)]);
    const raw = {
      id: 1,
      Email: sha256('PLAIN'),
      CARD: '***',
      Deep: { y: 2 },
    };
    expect(rows).toEqual([{ id: 1, Deep: { y: 2 }, _raw: raw }]);
  });

  it('does not take the place of a declared column with a path of its own', async () => {
    const stream = {
      exclude: ['ssn'],
      columns: { id: 'LONG', ssn: { type: 'STRING', from: 'ssn_hash' } },
    };
    const { rows } = await read(stream, ['{"id":1,"ssn":"PLAIN","ssn_hash":"h"}']);
    expect(rows).toEqual([{ id: 1, ssn: 'h' }]);
  });
});

describe('plans without made columns', () => {
  it('are what they were', () => {
    expect(planOf({}).request.shape).toBeNull();
    expect(Object.keys(planOf({ where: '@.a' }).request.shape ?? {})).toEqual([
      'from',
      'parent',
      'where',
      'rest',
    ]);
  });
});

/** Words that must not be found in what is stored. */
const secretWord = fc.stringMatching(/^[a-z]{12}$/).map((word) => `PLAIN${word}`);
const scalar = (word: string) =>
  fc.constantFrom(word, word, { v: word }, [word], [[{ w: word }]], { deep: { deeper: word } });

describe('laws', () => {
  it('no plain text of a hashed, masked or excluded member is in rows, rejects or errors', async () => {
    const records = fc.array(
      secretWord.chain((word) =>
        fc.record({
          email: scalar(word),
          card: scalar(word),
          ssn: scalar(word),
          contact: fc.constantFrom<Json>(
            { email: word, phone: word, n: 1 },
            [{ email: word }, { phone: word }],
            null,
            { email: [word], phone: { x: word } },
          ),
          bag: fc.constantFrom<Json>({ a: word, b: { c: word } }, [{ a: word }], 5),
          a: fc.constantFrom<Json>(1, 'x', null),
          ok: fc.constantFrom('plain', 'other'),
          form: fc.constantFrom('plain', 'doubled', 'half', 'escaped', 'broken', 'capitals', 'twins'),
        }),
      ),
      { minLength: 1, maxLength: 5 },
    );
    const columns = {
      email: { hash: 'sha256', key: '${env:PEPPER}' },
      card: { mask: 'full' },
      reach: { from: 'contact.email', hash: 'sha256' },
      n: { expression: 'a + 1' },
    };
    const exclude = ['ssn', 'contact.phone', 'bag.*'];
    const written = (
      { form, ...record }: { form: string; email: Json; [member: string]: Json },
      i: number,
    ) => {
      const text = JSON.stringify({ id: `k${i}`, ...record });
      switch (form) {
        case 'doubled':
          return `${text.slice(0, -1)},"email":${JSON.stringify(record.email)},"ssn":"PLAINagain"}`;
        case 'half':
          return `${text.slice(0, -1)},"half":"\\ud800","ssn":"PLAIN\\ud800"}`;
        case 'escaped':
          return text.replace('"email"', '"\\u0065mail"').replace('"ssn"', '"ss\\u006e"');
        case 'capitals':
          return text.replace(/"(email|card|ssn|contact|phone|bag)"/g, (name) => name.toUpperCase());
        case 'twins':
          return `${text.slice(0, -1)},${text.slice(1).replace(/"(email|card|ssn|contact|phone|bag)"/g, (name) => name.toUpperCase())}`;
        case 'broken':
          return `${text.slice(0, -1)},"ssn" "PLAINbroken"}`;
        default:
          return text;
      }
    };
    await fc.assert(
      fc.asyncProperty(
        records,
        fc.constantFrom('evolve', 'quarantine'),
        fc.boolean(),
        async (some, misfits, hasRaw) => {
          const own =
            misfits === 'evolve'
              ? columns
              : { id: 'STRING', contact: 'JSON', bag: 'JSON', ...columns, n: { ...columns.n, type: 'LONG' } };
          const stream = { misfits, columns: own, exclude, ...(hasRaw && { raw: '_raw' }) };
          const found = await read(stream, some.map(written));
          const stored = JSON.stringify([found.lines, found.rejects, found.error, found.remarks, found.keys]);
          expect(stored).not.toContain('PLAIN');
          if (found.error === null) expect(found.lines.length + found.rejects.length).toBe(some.length);
        },
      ),
      { numRuns: runs(300) },
    );
  }, 60_000);

  it('members that nothing is done to keep their exact text', async () => {
    const number = fc.constantFrom(
      '1.0',
      '1e2',
      '-0',
      '12345678901234567890.12345',
      '0.1000',
      '9007199254740993',
    );
    const text = fc.string().map((plain) => JSON.stringify(plain));
    const inner = fc.oneof(number, text, fc.constantFrom('[1.0, 2 ]', '{"x":1.50 ,"y":[ ]}', 'true', 'null'));
    const stream = {
      ...infers,
      columns: { h: { from: 'o.secret', hash: 'sha256' }, e: { expression: '1' } },
      exclude: ['gone', 'o.gone'],
    };
    await fc.assert(
      fc.asyncProperty(inner, inner, inner, async (a, b, c) => {
        const { lines, error } = await read(stream, [
          `{"id":"1","a":${a},"gone":1,"o":{"gone":2,"b":${b},"secret":"x","c":${c}}}`,
        ]);
        expect(error).toBeNull();
        const h = sha256('x');
        expect(lines).toEqual([
          `{"h":"${h}","e":1,"id":"1","a":${a},"o":{"b":${b},"secret":"${h}","c":${c}}}`,
        ]);
      }),
      { numRuns: runs(200) },
    );
  }, 60_000);
});

describe('an answer that cannot be read', () => {
  const stream = { ...infers, columns: { x: { hash: 'sha256' } } };

  it.each([
    ['no JSON', '{"data":[{"id":1,"x":PLAINtext}]}'],
    ['no list', '{"data":"PLAINtext"}'],
    ['a record that is none', '{"data":["PLAINtext"]}'],
    ['another place of the records', '{"items":[{"id":1,"x":"PLAINtext"}]}'],
    ['HTML', '<html>PLAINtext</html>'],
    ['an error that repeats a record', '{"error":{"message":"no x for PLAINtext"}}'],
    ['an error instead of records', '{"error":"PLAINtext is no x","data":[]}'],
    ['an error with a number', '{"error_code":"PLAINtext","data":[]}'],
    ['a failure with its words', '{"success":false,"message":"PLAINtext","data":null}'],
    ['errors of GraphQL', '{"errors":[{"message":"PLAINtext"}],"data":null}'],
    ['one record', '{"id":1,"x":"PLAINtext","status":"error","message":"PLAINtext"}'],
  ])('is not quoted: %s', async (_, whole) => {
    for (const more of [
      {},
      { errors: [{ status: '2xx', body: 'PLAIN', action: 'fail' }] },
      ...['data', '$..message', 'error', 'errors'].map((path) => ({ errors: [{ path, action: 'fail' }] })),
      { errors: [{ path: 'message', action: 'retry' }] },
      { errors: [{ path: 'message', action: 'wait' }] },
      { method: 'POST', body: { query: '{ data { id x } }' } },
      { records: '$.data[*]' },
    ]) {
      const { error } = await read({ ...stream, ...more }, [], whole);
      expect(error).not.toBeNull();
      expect(error).not.toContain('PLAIN');
    }
  });
});
