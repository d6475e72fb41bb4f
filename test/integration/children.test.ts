/** Child tables, by syncs from end to end: orders with lines and discounts, from an API that changes them. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { readDestination } from '../../src/cli/query.js';
import { highwater, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

interface Line {
  sku: string;
  qty: Json;
  price?: number;
  discounts?: { code: string; percent: number }[];
}

describe('a stream with child tables', () => {
  let orders: Map<number, Line[]>;
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  beforeAll(async () => {
    api = await imitate((url) => {
      const page = Number(url.searchParams.get('page'));
      const all = [...orders].map(([id, lines]) => ({
        ...{ id, customer: { name: `c${id}` }, status: id % 10 === 9 ? 'draft' : 'paid' },
        ...(lines.length > 0 && { lines }),
      }));
      return { body: { data: all.slice((page - 1) * 10, page * 10) } };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });
  beforeEach(() => {
    orders = new Map(
      Array.from({ length: 35 }, (_, id): [number, Line[]] => [
        id,
        Array.from({ length: id % 4 }, (_line, i): Line => ({
          ...{ sku: `s${i}`, qty: i + 1, price: 0.1 * i },
          ...(i === 2 && { discounts: [{ code: `d${id}`, percent: 5 }] }),
        })),
      ]),
    );
  });

  const configuration = (stream: { [key: string]: Json }, lines: { [key: string]: Json } = {}) => {
    const table = uniqueName('orders').replace(/\W/g, '_');
    return {
      table,
      configuration: {
        source: { base_url: api.url },
        destination: system.destination,
        streams: [
          {
            ...{ name: table, strategy: 'page_number', primary_key: 'id', batch_rows: 15 },
            children: {
              lines: {
                include: { order_id: 'id' },
                primary_key: ['order_id', 'sku'],
                children: {
                  discounts: {
                    include: { order_id: 'order_id', sku: 'sku' },
                    primary_key: ['order_id', 'sku', 'code'],
                  },
                },
                ...lines,
              },
            },
            ...stream,
          },
        ],
      },
    };
  };
  const texts = async (sql: string) => (await system.query(sql)).map((row) => row.map(String).join(' '));
  const expected = () =>
    [...orders].flatMap(([id, lines]) => lines.map(({ sku, qty }) => `${id} ${sku} ${String(qty)}`)).sort();
  const linesOf = async (table: string, where = '') =>
    (await texts(`SELECT order_id, sku, qty FROM ${table}_lines ${where}`)).sort();

  test('has what the API says, in tables whose columns follow the items', async () => {
    const { table, configuration: inferred } = configuration({ deletes: 'hard', max_deletes: 'any' });
    const first = await system.sync(inferred);
    expect(first).toMatchObject({ records: 35, rows: 35 + expected().length + 8 });
    expect(await linesOf(table)).toEqual(expected());
    expect((await texts(`SELECT order_id, sku, code FROM ${table}_lines_discounts`)).sort()).toHaveLength(8);
    // Neither the lists nor what is said of them is a column of the orders.
    const columns = await texts(
      `SELECT column_name FROM information_schema.columns WHERE table_name = '${table}' ORDER BY 1`,
    );
    expect(columns.filter((name) => !name.startsWith('_highwater'))).toEqual(['customer', 'id', 'status']);

    // A line leaves, one changes, an order is deleted, another has no list any more.
    orders.set(3, [{ sku: 's0', qty: 1.5 }]);
    orders.delete(7);
    orders.set(11, []);
    const second = await system.sync(inferred);
    expect(second).toMatchObject({ rows: 1, deleted: 1 + 2 + 3 + 3 + 3 });
    expect(await linesOf(table)).toEqual(expected());
    expect(await texts(`SELECT count(*) FROM ${table}_lines_discounts`)).toEqual(['5']);
    expect(await system.sync(inferred)).toMatchObject({ rows: 0, deleted: 0 });
  });

  test('is shown and checked before anything is written', async () => {
    const { table, configuration: inferred } = configuration({}, { children: {} });
    const file = join(dirname(system.destination), `${table}.json`);
    await writeFile(file, JSON.stringify(inferred));
    const { stdout } = await highwater(['preview', file, '--limit', '4'], {});
    expect(stdout).toContain(`${table}_lines: 6 rows`);
    expect(stdout).toMatch(/order_id +sku +qty +price/);
    const json = JSON.parse(
      (await highwater(['preview', file, '--limit', '4', '--json'], {})).stdout,
    ) as Json;
    expect(json).toMatchObject({
      children: { [`${table}_lines`]: [{ order_id: 1, sku: 's0' }, {}, {}, {}, {}, {}] },
    });
    const check = await highwater(['check', file], {});
    expect(check.stdout).toMatch(new RegExp(`child table ${table}_lines: \\d+ rows of 10 records`));
    expect(check.stdout).not.toMatch(/columns inferred .*lines/);
  });

  test('is what a note asks for, where items of several lists share their keys', async () => {
    const { configuration: flat } = configuration({
      ...{ records: '$.data[*].lines[*]', primary_key: 'sku', columns: { sku: 'STRING', qty: 'LONG' } },
      ...{ children: {}, strategy: 'cursor', next: 'none', params: { page: 1 } },
    });
    const { warnings } = await system.sync(flat);
    const note = warnings.find(({ code }) => code === 'shared_keys');
    // Of 13 items on the page, three keys.
    expect(note?.message).toMatch(
      /^10 records of a response have the primary key \(sku\) of another .* "s0".*child table/,
    );
  });

  test('puts an item aside that does not fit, and keeps all others', async () => {
    const { table, configuration: declared } = configuration(
      { columns: { id: 'LONG', status: 'STRING' }, misfits: 'quarantine' },
      { columns: { sku: 'STRING', qty: 'INT' }, children: {} },
    );
    orders.set(5, [
      { sku: 'a', qty: 'many' },
      { sku: 'b', qty: 2 },
    ]);
    const result = await system.sync(declared);
    expect(result).toMatchObject({ records: 35, rejected: 1 });
    expect(result.warnings.map(({ message }) => message).join()).toContain(
      `${table}_lines: members without a declared column are not stored: price`,
    );
    expect(result.warnings.map(({ message }) => message).join()).not.toMatch(/not stored: .*lines/);
    expect(await linesOf(table)).toEqual(expected().filter((row) => row !== '5 a many'));
    const rejects = await texts(
      `SELECT record, reason FROM _highwater_rejects WHERE "table" = '${table}_lines'`,
    );
    expect(rejects).toEqual([
      expect.stringMatching(
        /^\{"_highwater_parent":"\[\\"5\\"\]","order_id":5,"sku":"a","qty":"many"\} column "qty"/,
      ),
    ]);
  });

  test('puts an item aside whose columns cannot be made, until its record comes again', async () => {
    const made = (total: string) => ({
      columns: {
        ...{ sku: 'STRING', qty: { mask: 'full' } },
        total: { expression: total, type: 'DOUBLE' },
        source: { value: 'eu' },
      },
      children: {},
    });
    const { table, configuration: first } = configuration(
      { columns: { id: 'LONG', status: 'STRING' }, misfits: 'quarantine' },
      made('double(qty) * price'),
    );
    orders.set(5, [
      { sku: 'a', qty: 'plain-5', price: 2 },
      { sku: 'b', qty: 2, price: 2 },
    ]);
    expect(await system.sync(first)).toMatchObject({ records: 35, rejected: 1 });
    const rows = (id: number) =>
      texts(`SELECT sku, qty, total, source FROM ${table}_lines WHERE order_id = ${id} ORDER BY ALL`);
    expect(await rows(5)).toEqual(['b *** 4 eu']);
    expect((await rows(7))[1]).toBe('s1 *** 0.2 eu');
    const rejects = () =>
      texts(`SELECT record, reason FROM _highwater_rejects WHERE "table" = '${table}_lines'`);
    expect((await rejects()).join()).toMatch(
      /^\{"_highwater_parent":"\[\\"5\\"\]","_highwater_refused":true,.*"qty":"\*\*\*".*the expression of column "total" fails/,
    );
    expect((await rejects()).join()).not.toContain('plain-5');

    // A retry has not seen the item as it was; the next version of its record takes it out of quarantine.
    const [stream] = first.streams;
    const file = join(dirname(system.destination), `${table}.json`);
    await writeFile(file, JSON.stringify(first));
    const retried = await highwater(['rejects', '--retry', file, '--json'], {});
    expect(retried.status, retried.stderr).toBe(0);
    expect(await rejects()).toHaveLength(1);
    const lines = { ...stream?.children.lines, ...made("size(qty == 2 ? 'x' : 'xy') * price") };
    const repaired = { ...first, streams: [{ ...stream, children: { lines } }] };
    await system.sync(repaired);
    expect(await rejects()).toEqual([]);
    expect(await rows(5)).toHaveLength(2);
  });

  test('stops at an item that does not fit, and names it', async () => {
    const { configuration: declared } = configuration(
      { columns: { id: 'LONG' } },
      { columns: { sku: 'STRING', qty: 'INT' }, children: {} },
    );
    orders.set(5, [{ sku: 'a', qty: 'many' }]);
    const error = await system.failing(declared);
    expect(error.message).toMatch(
      /_lines, filled by stream .*primary key .*5.*a.* does not fit: column "qty" cannot hold "many" as INT/,
    );
  });

  test('leaves out of them what the stream leaves out, and hides what it hides', async () => {
    const { table, configuration: hiding } = configuration(
      {
        ...{ misfits: 'evolve', exclude: ['lines.price'] },
        columns: { who: { type: 'STRING', from: 'customer.name', mask: 'full' } },
      },
      { include: { order_id: 'id', who: 'who', customer: 'customer' }, children: {} },
    );
    await system.sync(hiding);
    expect(await linesOf(table)).toEqual(expected());
    const names = await texts(
      `SELECT column_name FROM information_schema.columns WHERE table_name = '${table}_lines'`,
    );
    expect(names).not.toContain('price');
    const shown = (await texts(`SELECT DISTINCT who, customer FROM ${table}_lines`)).join();
    expect(shown).not.toMatch(/c\d/);
  });

  test('fills them also where records become rows first, and a filter leaves records out', async () => {
    const { table, configuration: shaped } = configuration(
      {
        columns: { number: { type: 'LONG', from: 'id' }, who: { type: 'STRING', from: 'customer.name' } },
        primary_key: 'number',
        where: "@.status == 'paid'",
      },
      {
        ...{
          include: { order_id: 'number', who: 'who', status: 'status' },
          primary_key: ['order_id', 'sku'],
        },
        ...{ columns: { sku: 'STRING', qty: 'LONG', status: 'STRING' }, children: {} },
      },
    );
    await system.sync(shaped);
    expect(await linesOf(table)).toEqual(expected().filter((row) => !/^\d*9 /.test(row)));
    expect(await texts(`SELECT DISTINCT who, status FROM ${table}_lines WHERE order_id = 3`)).toEqual([
      'c3 paid',
    ]);
  });

  test.skipIf(!LONG).for(['transaction.half:5', 'commit.after:2'])(
    'has every row once, and none too many, after a kill at %s',
    async (fault, { onTestFinished }) => {
      const folder = await scratch();
      const [destination, taskQueue] = [folder.file('highwater.duckdb'), uniqueName('killed')];
      const address = inject('temporalAddress');
      const { table, configuration: inferred } = configuration({
        deletes: 'hard',
        max_deletes: 'any',
        batch_rows: 10,
      });
      const run = async () => {
        const options = { taskQueue, workflowId: uniqueName('killed') };
        const own: { [key: string]: Json } = { ...inferred, destination };
        return (await system.client.start(own, options)).result();
      };
      let worker = await startWorker({ address, taskQueue, destination });
      onTestFinished(async () => {
        await worker.end();
        await folder.remove();
      });
      await run();
      // Every order changes: lines leave, others come.
      for (const [id, lines] of orders) orders.set(id, [...lines.slice(1), { sku: `new${id % 3}`, qty: id }]);
      orders.delete(20);
      await worker.end();
      worker = await startWorker({ address, taskQueue, destination, env: { HIGHWATER_FAULT: fault } });
      const result = run();
      await until(async () => worker.child.signalCode === 'SIGKILL', 30, 'the kill');
      worker = await startWorker({ address, taskQueue, destination });
      await result;
      const { rows } = await readDestination(destination, `SELECT order_id, sku, qty FROM ${table}_lines`);
      expect(rows.map((row) => row.map(String).join(' ')).sort()).toEqual(expected());
      const inner = await readDestination(destination, `SELECT count(*)::INT FROM ${table}_lines_discounts`);
      const discounts = [...orders.values()].flat().flatMap((line) => line.discounts ?? []);
      expect(inner.rows).toEqual([[discounts.length]]);
    },
  );
});
