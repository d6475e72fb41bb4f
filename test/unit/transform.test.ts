/** Streams whose records go through a hook, read from a real server. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { plansFromFull } from '../../src/config/full.js';
import { HookChangedError, RecordError } from '../../src/errors.js';
import type { Json, StreamPlan } from '../../src/protocol.js';
import type { PageAnswer, RecordPart } from '../../src/sources/source.js';
import { sourceOf } from '../../src/sources/stream-source.js';
import { ownSurroundings, type Surroundings } from '../../src/surroundings.js';
import { scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
let surroundings: Surroundings;
let server: Server;
let url: string;
let body: string;

beforeEach(async () => {
  folder = await scratch();
  surroundings = ownSurroundings({
    HIGHWATER_HOOKS: folder.path,
    HIGHWATER_HOOK_TIMEOUT: '1s',
    TOKEN: 's3cr3t-token',
  });
  server = createServer((_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  surroundings.network.close();
  surroundings.hooks.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await folder.remove();
});

type Stream = { [key: string]: Json };

function planOf(stream: Stream = {}): StreamPlan {
  const defaults = {
    name: 'items',
    strategy: 'page_number',
    columns: { id: 'BIGINT', name: 'STRING' },
    primary_key: 'id',
  };
  const source = { base_url: url, auth: { type: 'bearer', token: '${env:TOKEN}' } };
  const { plans } = plansFromFull({ source, streams: [{ ...defaults, transform: 'tidy', ...stream }] });
  return plans[0] as StreamPlan;
}

interface PageRead {
  lines: string[];
  keys: string[];
  values: (string | null)[];
  records: number;
  sent: string[];
  rejects: { reason: string; record: string }[];
  outside: string[];
  answer: PageAnswer;
}

/** Reads a page with a hook's code; the source sends these records. */
async function read(
  code: string,
  records: readonly object[] | string,
  stream: Stream = {},
  change: (plan: StreamPlan) => StreamPlan = (plan) => plan,
): Promise<PageRead> {
  await writeFile(folder.file('tidy.mjs'), code);
  body = typeof records === 'string' ? records : JSON.stringify({ data: records });
  const source = await sourceOf(change(planOf(stream)), surroundings, null);
  const page: Omit<PageRead, 'answer'> = {
    ...{ lines: [], keys: [], values: [], records: 0, sent: [], rejects: [], outside: [] },
  };
  const lines = (bytes: Buffer | undefined) =>
    (bytes?.toString('utf8') ?? '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => line.trim());
  const sink = async (part: RecordPart) => {
    page.lines.push(...lines(part.lines));
    page.keys.push(...part.records.keys);
    page.values.push(...part.records.values);
    page.records += part.records.records;
    page.sent.push(...lines(part.sent));
    page.rejects.push(...part.rejects);
    page.outside.push(...lines(part.outside?.lines));
    expect(part.kept).toBe(lines(part.lines).length);
  };
  const answer = await source.read({ params: {}, parent: { team: 7 } }, sink, new AbortController().signal);
  return { ...page, answer };
}

const people = (count: number) => Array.from({ length: count }, (_, id) => ({ id, name: `name ${id}` }));

describe('paging sees the records as they were sent', () => {
  test('where the hook leaves some out, or makes several of one', async () => {
    const code = `export default ({ id, name }) =>
      id === 0 || id === 5 ? null : id === 2 ? [{ id: 20, name }, { id: 21, name }] : { id, name: name.toUpperCase() };`;
    const page = await read(code, people(6));
    expect(page.lines).toEqual([
      '{"id":1,"name":"NAME 1"}',
      '{"id":20,"name":"name 2"}',
      '{"id":21,"name":"name 2"}',
      '{"id":3,"name":"NAME 3"}',
      '{"id":4,"name":"NAME 4"}',
    ]);
    expect(page.records).toBe(6);
    expect(page.keys).toEqual(['0', '1', '2', '3', '4', '5']);
    expect(page.sent).toEqual(people(6).map((record) => JSON.stringify(record)));
    expect(page.answer.dropped).toEqual({ records: 2, hook: 'tidy' });
  });

  test('where rows of one record share a key: a note says how many, and names one', async () => {
    const code =
      'export default ({ id }) => [{ id, name: "a" }, { id, name: "b" }, { id: id + 100, name: "c" }];';
    const { answer } = await read(code, people(3));
    const [note, ...others] = answer.remarks ?? [];
    expect(note?.message).toMatch(/^the hook tidy made 3 rows of .*\(id\).* "0";/);
    expect([note?.code, others]).toEqual(['shared_keys', []]);
    // Two records that become one row are updates of it.
    const merged = await read('export default () => ({ id: 7, name: "x" });', people(3));
    expect(merged.answer.remarks).toBeUndefined();
    const appended = await read(code, people(3), {}, (plan) => ({
      ...plan,
      table: { ...plan.table, mode: 'append' },
    }));
    expect(appended.answer.remarks).toBeUndefined();
  });

  test('where it leaves out all of them: the page is not empty', async () => {
    const page = await read('export default () => null', people(3));
    expect(page).toMatchObject({ lines: [], records: 3, keys: ['0', '1', '2'] });
    expect(page.answer.dropped).toEqual({ records: 3, hook: 'tidy' });
  });

  test('also those that the filter leaves out, which the hook does not get', async () => {
    const code = `export default (record) => { if (record.id % 2) throw new Error('odd'); return record; }`;
    const page = await read(code, people(4), { where: '@.id == 0 || @.id == 2' });
    expect(page.lines).toEqual(['{"id":0,"name":"name 0"}', '{"id":2,"name":"name 2"}']);
    expect(page.keys).toEqual(['0', '1', '2', '3']);
    expect(page.answer.dropped).toBeUndefined();
  });

  test('an answer without records is empty', async () => {
    const page = await read('export default () => null', []);
    expect(page).toMatchObject({ lines: [], records: 0 });
    expect(page.answer.dropped).toBeUndefined();
  });

  test('by cursor values before the transform', async () => {
    const code = `export default ({ id }) => ({ id, updated: '1970-01-01T00:00:00Z' })`;
    const records = [
      { id: 1, updated: '2026-01-01T00:00:00Z' },
      { id: 2, updated: null },
    ];
    const stream = {
      ...{ strategy: 'keyset', cursor_field: 'updated' },
      columns: { id: 'BIGINT', updated: 'UTC_DATETIME' },
    };
    const page = await read(code, records, stream);
    expect(page.values).toEqual(['2026-01-01T00:00:00Z', null]);
    expect(page.lines[1]).toBe('{"id":2,"updated":"1970-01-01T00:00:00Z"}');
  });

  test('records whose key the hook makes are told apart by a digest', async () => {
    const code = `export default ({ order, lines }) => lines.map((sku) => ({ order, sku }))`;
    const records = [
      { order: 1, lines: ['a', 'b'] },
      { order: 2, lines: [] },
    ];
    const stream = { columns: { order: 'BIGINT', sku: 'STRING' }, primary_key: ['order', 'sku'] };
    const page = await read(code, records, stream);
    expect(page.lines).toEqual(['{"order":1,"sku":"a"}', '{"order":1,"sku":"b"}']);
    expect(page.records).toBe(2);
    expect(new Set(page.keys).size).toBe(2);
    expect((await read(code, records, stream)).keys).toEqual(page.keys);
  });

  test('a key that the next request sends must be there', async () => {
    const stream = { strategy: 'cursor', next: 'last_key' };
    const reading = read(`export default ({ nr }) => ({ id: nr })`, [{ nr: 1 }], stream);
    await expect(reading).rejects.toThrow(RecordError);
    await expect(reading).rejects.toThrow(/record 0 has no id: the next request sends the primary key/);
  });

  test('in an answer of many chunks', async () => {
    const code = `export default ({ id, name }) => Array.from({ length: id % 4 }, (_, n) => ({ id: id * 10 + n, name }))`;
    const records = people(30_000).map((person) => ({ ...person, filler: 'x'.repeat(person.id % 500) }));
    const page = await read(code, records);
    expect(page.records).toBe(30_000);
    expect(page.keys).toEqual(records.map(({ id }) => String(id)));
    expect(page.lines.map((line) => (JSON.parse(line) as { id: number }).id)).toEqual(
      records.flatMap(({ id }) => Array.from({ length: id % 4 }, (_, n) => id * 10 + n)),
    );
  });
});

describe('rows', () => {
  test('columns and the fields of the parent are picked after the hook', async () => {
    const code = `export default ({ id }, { stream, parent }) => ({ id, who: { name: stream + parent.team } })`;
    const stream = { columns: { id: 'BIGINT', name: { type: 'STRING', from: 'who.name' } } };
    expect((await read(code, [{ id: 1 }], stream)).lines).toEqual(['{"id":1,"name":"items7"}']);
  });

  test('no number that is passed on loses a digit', async () => {
    const code = `export default (record) => ({ ...record, name: String(record.id) })`;
    const stream = { columns: { id: 'BIGINT', name: 'STRING', rate: 'JSON' } };
    const text = '{"data":[{"id":9007199254740993,"rate":[1.50,0.1234567890123456789]}]}';
    expect((await read(code, text, stream)).lines).toEqual([
      '{"id":9007199254740993,"name":"9007199254740993","rate":[1.50,0.1234567890123456789]}',
    ]);
  });
});

describe('a record for which the hook fails', () => {
  const code = `export default (record) => {
    if (record.id === 1) throw new Error('no luck with s3cr3t-token');
    return record;
  };`;

  test('stops the sync with its key, the message and the line', async () => {
    const reading = read(code, people(3));
    await expect(reading).rejects.toThrow(RecordError);
    await expect(reading).rejects.toThrow(
      /the record with primary key "1" does not fit: the hook tidy failed: no luck with \*\*\* \(tidy\.mjs:2:\d+\)/,
    );
  });

  test('is quarantined where misfits are', async () => {
    const page = await read(code, people(3), { misfits: 'quarantine' });
    expect(page.lines).toEqual(['{"id":0,"name":"name 0"}', '{"id":2,"name":"name 2"}']);
    expect(page.records).toBe(3);
    expect(page.keys).toEqual(['0', '1', '2']);
    expect(page.rejects).toEqual([
      {
        reason: expect.stringMatching(
          /^the hook tidy failed: no luck with \*\*\* \(tidy\.mjs:2:\d+\)$/,
        ) as string,
        record: expect.stringContaining('"name":"name 1"') as string,
      },
    ]);
  });

  test('is so where the result does not fit its columns, or lacks the key', async () => {
    const odd = `export default ({ id }) => (id === 1 ? { id: 'one' } : id === 2 ? {} : { id })`;
    const page = await read(odd, people(4), { misfits: 'quarantine' });
    expect(page.lines).toEqual(['{"id":0}', '{"id":3}']);
    expect(page.rejects).toHaveLength(2);
    expect(page.records).toBe(4);
  });

  test('a hook that is too slow stops the sync, and says what to do', async () => {
    const slow = `export default (r) => { const end = Date.now() + 150; while (Date.now() < end); return r; }`;
    const reading = read(slow, people(20), { misfits: 'quarantine' });
    await expect(reading).rejects.toThrow(RecordError);
    await expect(reading).rejects.toThrow(
      /took longer than 1 s for 20 records: make it faster, or raise HIGHWATER_HOOK_TIMEOUT/,
    );
  });
});

describe('where columns are hashed', () => {
  const stream = {
    ...{ columns: { id: { hash: 'sha256', type: 'STRING' }, name: 'STRING' }, misfits: 'quarantine' },
    exclude: ['phone'],
  };
  const records = [1, 2, 3].map((n) => ({ id: `plain-${n}`, name: 'x', phone: `phone-${n}` }));

  test('the key that paging sees is that of the row, and nothing holds the plain text', async () => {
    const page = await read('export default (record) => record', records, stream);
    expect(page.lines).toHaveLength(3);
    expect(page.lines.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual(page.keys);
    expect(JSON.stringify(page)).not.toMatch(/plain-|phone-/);
  });

  test('also where the hook fails and quotes it, or makes the key', async () => {
    const quotes = `export default ({ id, phone }) => { if (id === 'plain-2') throw new Error(id + phone); return { id, phone }; }`;
    const page = await read(quotes, records, stream);
    expect(page.rejects[0]?.reason).toMatch(
      /^the hook tidy failed: its message is not shown, because columns are hashed, masked or excluded \(tidy\.mjs:1:\d+\)$/,
    );
    expect(JSON.stringify(page)).not.toMatch(/plain-|phone-/);
    const makes = `export default ({ nr, name }) => ({ id: nr, name })`;
    const others = records.map(({ id, ...rest }) => ({ nr: id, ...rest }));
    const made = await read(makes, others, stream);
    expect(made.lines).toHaveLength(3);
    expect(JSON.stringify(made)).not.toMatch(/plain-|phone-/);
  });
});

test('a range is of the records as they were sent', async () => {
  const code = `export default ({ id, updated }) => [{ id, updated }, { id: id + 100, updated }]`;
  const records = [1, 2, 3].map((id) => ({ id, updated: `2026-01-0${id}T00:00:00Z` }));
  const stream = {
    ...{ strategy: 'keyset', cursor_field: 'updated' },
    columns: { id: 'BIGINT', updated: 'UTC_DATETIME' },
  };
  const range = {
    ...({ kind: 'backfill', from: '2026-01-02T00:00:00Z', to: '2026-01-02T00:00:00Z' } as const),
    ...{ repair: false, removeExtra: false, keys: 0, began: '2026-02-01T00:00:00Z', reached: null },
  };
  const page = await read(code, records, stream, (plan) => ({ ...plan, range }));
  const ids = (lines: string[]) => lines.map((line) => (JSON.parse(line) as { id: number }).id);
  expect([ids(page.lines), ids(page.outside), page.records]).toEqual([[2, 102], [1, 101, 3, 103], 3]);
});

test('code that changed since the stream was opened is noticed', async () => {
  const opened = (plan: StreamPlan): StreamPlan => ({
    ...plan,
    request: {
      ...plan.request,
      shape: { from: {}, parent: {}, where: null, transform: { hook: 'tidy', digest: 'another' } },
    },
  });
  await expect(read('export default (r) => r', people(1), {}, opened)).rejects.toThrow(HookChangedError);
});

test('a hook outside of the folder is refused when the configuration is read', () => {
  for (const transform of ['../x', '/etc/passwd', 'x.mjs', ''])
    expect(() => planOf({ transform })).toThrow(/streams\[0\]\.transform: is not a valid name of a hook/);
});
