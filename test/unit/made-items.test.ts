/** Columns that are made for the items of lists, from a real server's answer to the rows of child tables. */
import { createHash, createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plansFromFull } from '../../src/config/full.js';
import { ConfigurationError } from '../../src/errors.js';
import { inputProblems } from '../../src/inputs.js';
import { allChildren, type Json, type StreamPlan } from '../../src/protocol.js';
import { changesBetween } from '../../src/destinations/fingerprint.js';
import { fingerprintOf } from '../../src/plan/fingerprint.js';
import { RecordSplitter } from '../../src/sources/record-splitter.js';
import { sourceOf } from '../../src/sources/stream-source.js';
import { ownSurroundings } from '../../src/surroundings.js';
import { imitate } from '../helpers/imitations.js';

let api: Awaited<ReturnType<typeof imitate>>;
let records: object[] = [];
beforeAll(async () => {
  api = await imitate(() => ({ body: { data: records } }));
});
afterAll(() => api.stop());

type Keys = Record<string, Json>;

const LINES: Keys = { include: { order_id: 'id' }, primary_key: ['order_id', 'sku'] };

function planOf(lines: Keys, stream: Keys = {}): StreamPlan {
  const { plans } = plansFromFull({
    source: { base_url: api.url },
    destination: 'x.duckdb',
    streams: [
      {
        ...{ name: 'orders', path: '/s', strategy: 'cursor', next: 'none', primary_key: 'id' },
        ...{ columns: { id: 'LONG' }, children: { lines: { ...LINES, ...lines } }, ...stream },
      },
    ],
  });
  return plans[0] as StreamPlan;
}

function problemsOf(lines: Keys, stream: Keys = {}): string[] {
  try {
    planOf(lines, stream);
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return thrown.problems.map(({ path, message }) => `${path}: ${message}`);
  }
  return [];
}

/** Reads orders as a worker does. @returns the text that goes to staging, and the rows of each child table. */
async function read(plan: StreamPlan, orders: object[]) {
  records = orders;
  const surroundings = ownSurroundings({ PEPPER: 'a-pepper-of-some-length' });
  const { stream, table, children = [] } = plan;
  const splitter = new RecordSplitter({ stream, table, children });
  const staged: string[] = [];
  const rows: Record<string, Record<string, Json>[]> = {};
  const rejects: { record: string; reason: string }[] = [];
  try {
    const source = await sourceOf(plan, surroundings, null);
    const answer = await source.read(
      { params: {} },
      ({ lines, rejects: own }) => {
        const split = splitter.split(lines, own, 0);
        staged.push(split.lines.toString('utf8'), ...own.map(({ record }) => record));
        for (const [i, { table }] of allChildren(children).entries()) {
          const text = (split.children[i]?.lines ?? []).join('\n');
          staged.push(text);
          rejects.push(...(split.children[i]?.rejects ?? []));
          (rows[table.table] ??= []).push(
            ...text
              .split('\n')
              .filter((line) => line.trim() !== '')
              .map((line) => JSON.parse(line) as Record<string, Json>),
          );
        }
        return Promise.resolve();
      },
      new AbortController().signal,
    );
    return { staged: staged.join('\n'), rows, rejects, absent: answer.named?.absent ?? [] };
  } finally {
    surroundings.network.close();
  }
}

const hmac = (text: string) => createHmac('sha256', 'a-pepper-of-some-length').update(text).digest('hex');
const plain = (row: Record<string, Json>) =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith('_highwater')));

const MADE: Keys = {
  columns: {
    sku: 'STRING',
    qty: 'LONG',
    price: 'LONG',
    card: { mask: 'last4' },
    buyer: { from: 'person.email', hash: 'sha256', key: '${env:PEPPER}' },
    total: { expression: 'price * qty', type: 'LONG' },
    source: { value: 'eu' },
  },
};
const ORDER = {
  id: 1,
  lines: [
    { sku: 'tea', qty: 2, price: 3, card: '4111111111111111', person: { email: 'ada@example.org' } },
    { sku: 'cup', qty: 1, price: 9, card: null },
  ],
};

describe('columns of a child table that are made', () => {
  it('hold constants, results, hashes and masks of their own item', async () => {
    const { rows, staged } = await read(planOf(MADE), [ORDER, { id: 2, lines: [] }, { id: 3 }]);
    expect(rows['orders_lines']?.map(plain)).toEqual([
      {
        ...{ order_id: 1, sku: 'tea', qty: 2, price: 3, card: '***1111', buyer: hmac('ada@example.org') },
        ...{ total: 6, source: 'eu', person: { email: hmac('ada@example.org') } },
      },
      { order_id: 1, sku: 'cup', qty: 1, price: 9, card: null, total: 9, source: 'eu' },
    ]);
    expect(staged).not.toMatch(/4111111|ada@/);
  });

  it('are accepted by a worker, and make a fingerprint that names the table', () => {
    const plan = planOf(MADE);
    const budget = { rows: 1, bytes: 1, seconds: 1 };
    const input = { plan, destination: 'x', base: { id: '', cursor: null }, budget, begin: true };
    expect(inputProblems('fetchPages', input)).toBeNull();
    expect(fingerprintOf(plan).made).toMatchObject({
      'orders_lines.card': 'the mask last4 of card',
      'orders_lines.buyer': 'the SHA-256 of person.email with the key ${env:PEPPER}',
    });
  });

  it('are noticed when they change, as older rows may hold the plain text', () => {
    const changes = (before: Keys, after: Keys) =>
      changesBetween(fingerprintOf(planOf(before)), fingerprintOf(planOf(after))).rows;
    const asItIs: Keys = { columns: { sku: 'STRING', card: 'STRING' } };
    const masked: Keys = { columns: { sku: 'STRING', card: { mask: 'last4' } } };
    expect(changes(asItIs, masked)).toEqual(['column orders_lines.card is now the mask last4 of card']);
    expect(changes(masked, asItIs)).toEqual([
      'column orders_lines.card was the mask last4 of card and is no longer made',
    ]);
    expect(changes(asItIs, { ...asItIs, columns: { sku: 'STRING' }, exclude: ['card'] })).toEqual([
      '"exclude" now leaves out lines.card, which older rows still hold',
    ]);
  });

  it('hide their members in the whole record and in other columns, too', async () => {
    const plan = planOf(MADE, { raw: '_raw', misfits: 'evolve', columns: { id: 'LONG' } });
    const { staged } = await read(plan, [{ ...ORDER, card: 'of the order' }]);
    expect(staged).not.toMatch(/4111111|ada@/);
    const [order] = staged.split('\n');
    // The record as it came has no columns that were made, and the card of the order is its own.
    expect(order).toMatch(/"_raw":.*"card":"\*\*\*1111"/);
    expect(order).toContain('"card":"of the order"');
    expect(order).not.toMatch(/"total"|"source"/);
  });

  it('are made of items that are no objects, and of members with ids', async () => {
    const scalars = planOf(
      {
        primary_key: ['order_id', 'n'],
        index: 'n',
        columns: { value: { hash: 'sha256' }, kind: { value: 'tag' } },
      },
      { raw: '_raw' },
    );
    const tags = await read(scalars, [
      { id: 1, lines: ['secret', 'other', null] },
      { id: 2, lines: 'secret' },
    ]);
    const hash = (text: string) => createHash('sha256').update(text).digest('hex');
    expect(tags.rows['orders_lines']?.map(({ value, kind }) => [value, kind])).toEqual([
      [hash('secret'), 'tag'],
      [hash('other'), 'tag'],
      [null, 'tag'],
      [hash('secret'), 'tag'],
    ]);
    expect(tags.staged).not.toMatch(/secret|other/);

    const named = planOf({
      ...{ primary_key: ['order_id', 'sku'], key_as: 'sku' },
      columns: { card: { mask: 'last4' }, twice: { expression: 'qty * 2', type: 'LONG' } },
    });
    const found = await read(named, [{ id: 1, lines: { '17': { card: '4111111111111111', qty: 4 } } }]);
    expect(found.rows['orders_lines']?.[0]).toMatchObject({ sku: '17', card: '***1111', twice: 8 });
    expect(found.staged).not.toContain('41111111');
  });

  it('reach lists in items, and what those include of the item above', async () => {
    const plan = planOf({
      columns: { sku: { hash: 'sha256' } },
      children: {
        parts: {
          ...{ include: { order_id: 'order_id', sku: 'sku' }, primary_key: ['order_id', 'sku', 'code'] },
          columns: {
            sku: 'STRING',
            code: { expression: 'this.upperAscii()', type: 'STRING' },
            pin: { mask: 'full' },
          },
        },
      },
    });
    const { rows, staged } = await read(plan, [
      { id: 1, lines: [{ sku: 'tea-secret', parts: [{ code: 'a', pin: '0815' }] }] },
    ]);
    const sku = createHash('sha256').update('tea-secret').digest('hex');
    expect(rows['orders_lines']?.map(plain)).toMatchObject([{ order_id: 1, sku }]);
    expect(rows['orders_lines_parts']?.map(plain)).toEqual([{ order_id: 1, sku, code: 'A', pin: '***' }]);
    expect(staged).not.toMatch(/tea-secret|0815/);
  });

  it('hide a member in any case', async () => {
    const plan = planOf({ columns: { sku: 'STRING', card: { mask: 'last4' } } });
    const { rows, staged } = await read(plan, [{ id: 1, lines: [{ sku: 'tea', Card: '4111-secret-1111' }] }]);
    expect(rows['orders_lines']?.map(plain)).toMatchObject([{ order_id: 1, sku: 'tea' }]);
    expect(staged).not.toMatch(/secret/);
  });

  it('see what is left out of the items, which is stored nowhere', async () => {
    const plan = planOf(
      {
        exclude: ['price', 'person'],
        columns: { sku: 'STRING', total: { expression: 'price * qty', type: 'LONG' } },
      },
      { raw: '_raw' },
    );
    const { rows, staged } = await read(plan, [ORDER]);
    expect(rows['orders_lines']?.map(({ total }) => total)).toEqual([6, 9]);
    expect(staged).not.toMatch(/"price"|ada@/);
  });

  it('put an item aside for which they fail, marked, and without its plain text', async () => {
    const plan = planOf(MADE, { misfits: 'quarantine' });
    const bad = { sku: 'bad', qty: 'x', price: 1, card: '4222222222222222' };
    const { rows, rejects, staged } = await read(plan, [
      { id: 1, lines: [ORDER.lines[0], bad] },
      { id: 2, lines: [bad] },
    ]);
    expect(rows['orders_lines']?.map(({ sku }) => sku)).toEqual(['tea']);
    expect(rejects.map(({ reason }) => reason)).toEqual([
      expect.stringContaining('the expression of column "total" fails'),
      expect.stringContaining('the expression of column "total" fails'),
    ]);
    expect(rejects[0]?.record).toMatch(/^\{"_highwater_parent":"0","_highwater_refused":true,/);
    expect(rejects[0]?.record).toContain('"card":"***2222"');
    expect(JSON.stringify(rejects) + staged).not.toContain('42222222');
  });

  it('stop the sync where items are not put aside', async () => {
    const lines = [{ sku: 'bad', qty: 'x', price: 1, card: '4222222222222222' }];
    const stopped = read(planOf(MADE), [{ id: 7, lines }]);
    await expect(stopped).rejects.toThrow(
      /orders_lines.*primary key .*bad.*the expression of column "total" fails/,
    );
    await expect(stopped).rejects.not.toThrow('4222222');
  });

  it('say which member no item has', async () => {
    const plan = planOf({ columns: { sku: 'STRING', card: { from: 'crad', mask: 'last4' } } });
    const { absent } = await read(plan, [ORDER]);
    expect(absent).toEqual([
      'lines.crad: column card stays empty, and nothing is masked (table orders_lines)',
    ]);
    const { absent: none } = await read(planOf(MADE), [ORDER]);
    expect(none).toEqual([]);
  });

  it.each<[string, Keys, Keys, RegExp]>([
    [
      'a mask in the key',
      { columns: { sku: { mask: 'full' } } },
      {},
      /lines\.primary_key: cannot be a masked/,
    ],
    [
      'a column that reads what another one masks',
      { columns: { sku: 'STRING', card: { mask: 'full' }, plain: { type: 'STRING', from: 'card' } } },
      {},
      /lines\.columns\.plain: reads "lines\.card", which column card masks/,
    ],
    [
      'a column of the stream that reads what an item hides',
      { columns: { sku: 'STRING', card: { mask: 'full' } } },
      { columns: { id: 'LONG', first: { type: 'STRING', from: 'lines[0].card' } } },
      /columns\.first: reads "\$\.lines\[0\]\.card", which column card masks/,
    ],
    [
      'a column of the stream that holds the list',
      { columns: { sku: 'STRING', source: { value: 'eu' } } },
      { columns: { id: 'LONG', lines: 'JSON' } },
      /columns\.lines: reads "lines", and columns of the child table orders_lines are made/,
    ],
    [
      'a column that is included',
      { columns: { sku: 'STRING', order_id: { value: 1 } } },
      {},
      /is filled by "include"/,
    ],
    [
      'no type',
      { columns: { sku: 'STRING', x: { expression: 'qty' } } },
      {},
      /columns\.x\.type: is required/,
    ],
    [
      'a list that is left out',
      {},
      { exclude: ['lines'] },
      /lines\.from: reads "lines", which "exclude" leaves out/,
    ],
    [
      'an expression that does not fit the types',
      { columns: { sku: 'STRING', qty: 'LONG', x: { expression: 'sku * qty', type: 'LONG' } } },
      {},
      /lines\.columns\.x\.expression: does not fit the types/,
    ],
    ['a misspelt mask', { columns: { sku: { mask: 'last5' } } }, {}, /lines\.columns\.sku\.mask/],
  ])('refuse %s', (_, lines, stream, message) => {
    expect(problemsOf({ columns: { sku: 'STRING' }, ...lines }, stream).join('\n')).toMatch(message);
  });
});
