/** What every SQL database promises of child tables; part of the contract suite. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpenRequest, WriteOutcome, WriteRequest } from '../../src/destinations/destination.js';
import { DestinationError, RecordError, TableGoneError } from '../../src/errors.js';
import {
  allChildren,
  childTable,
  type ChildSpec,
  type Cursor,
  type Json,
  type TableSpec,
} from '../../src/protocol.js';
import { RecordSplitter } from '../../src/sources/record-splitter.js';
import { scratch } from '../helpers/harness.js';
import { keyOf, Stream, thrownBy, type SourceRecord, type TestedDestination } from './tested.js';
import { runs } from '../helpers/long.js';

const at = (pass: number, isEnd: boolean, more: Partial<Cursor> = {}): { cursor: Cursor } => ({
  cursor: {
    ...{ pass, mark: null, position: isEnd ? null : 'x', ended: isEnd ? 'empty_page' : null, notes: [] },
    ...more,
  },
});

/** A stream with child tables, whose records are split as its reader splits them. */
class Orders {
  readonly stream: Stream;
  private base = '';
  private files = 0;

  constructor(
    readonly tested: TestedDestination,
    readonly folder: (name: string) => string,
    readonly table: TableSpec,
    readonly children: ChildSpec[],
  ) {
    this.stream = new Stream(tested, folder, table);
  }

  async open(request: Partial<OpenRequest> = {}) {
    const opened = await this.stream.open('w1', {
      children: allChildren(this.children).map(childTable),
      ...request,
    });
    this.base = opened.checkpoint.id;
    return opened;
  }

  private async file(lines: readonly (Buffer | string)[]): Promise<string[]> {
    if (lines.length === 0) return [];
    const path = this.folder(`${this.table.table}-${this.files++}.ndjson`);
    await writeFile(path, lines.map((line) => `${line.toString().trim()}\n`).join(''));
    return [path];
  }

  /** Writes records, in parts as a reader reads them; a record that comes once more comes later. */
  async write(
    parts: SourceRecord[] | SourceRecord[][],
    request: Partial<WriteRequest> = at(1, false),
    next: string = randomUUID(),
    base = this.base,
  ): Promise<WriteOutcome> {
    const { table, children } = this;
    const splitter = new RecordSplitter({ stream: 'orders', table, children });
    const own: Buffer[] = [];
    const roots: Buffer[] = [];
    const rows = allChildren(children).map(() => ({
      lines: [] as Buffer[],
      records: 0,
      longest: 2,
      rejects: [] as object[],
    }));
    let records = 0;
    let count = 0;
    for (const part of (Array.isArray(parts[0]) ? parts : [parts]) as SourceRecord[][]) {
      if (part.length === 0) continue;
      const lines = part.map((record) => (typeof record === 'string' ? record : JSON.stringify(record)));
      const split = splitter.split(Buffer.from(lines.join('\n')), [], count);
      own.push(split.lines);
      roots.push(split.roots);
      count += split.records;
      records += part.length;
      split.children.forEach((found, i) => {
        const row = rows[i];
        if (row === undefined) return;
        row.lines.push(...found.lines.map((line) => Buffer.from(line)));
        row.records += found.records;
        row.longest = Math.max(row.longest, found.longest);
        row.rejects.push(...found.rejects);
      });
    }
    const files = await this.file(own);
    const rootFiles = await this.file(roots);
    const tables = [];
    for (const [i, child] of allChildren(children).entries()) {
      const row = rows[i];
      if (row === undefined) continue;
      const [staged, aside] = [
        await this.file(row.lines),
        await this.file(row.rejects.map((one) => JSON.stringify(one))),
      ];
      tables.push({
        ...{ table: childTable(child), records: row.records, longest: row.longest },
        files: async () => staged,
        ...(aside.length > 0 && { rejects: async () => aside }),
      });
    }
    const whole: WriteRequest = {
      ...{ key: keyOf(table), table, base, next, records, pages: 1 },
      bytes: own.reduce((sum, { length }) => sum + length, 0),
      longest: Math.max(2, ...own.map(({ length }) => length)),
      files: async () => files,
      children: { ...(records > 0 && { roots: async () => rootFiles }), tables },
      workflowId: 'w1',
      ...at(1, false),
      ...request,
    };
    if (this.tested.prepares) this.tested.destination.prepare(whole);
    const outcome = await this.tested.destination.write(whole);
    if (base === this.base) this.base = next;
    return outcome;
  }

  /** The rows of a child table as texts, in order. */
  async rows(columns: string, child = 0, where = ''): Promise<string[]> {
    const { schema, table } = allChildren(this.children)[child]?.table ?? this.table;
    const found = await this.tested.query(`SELECT ${columns} FROM ${schema}.${table} ${where}`);
    return found.map((row) => row.map(String).join(' ')).sort();
  }
}

export function childrenContract(name: string, start: () => Promise<TestedDestination>): void {
  describe(`${name}, with child tables,`, () => claims(start));
}

function claims(start: () => Promise<TestedDestination>): void {
  let folder: Awaited<ReturnType<typeof scratch>>;
  let tested: TestedDestination;
  let tests = 0;
  beforeAll(async () => {
    folder = await scratch();
    tested = await start();
  });
  afterAll(async () => {
    await tested.close();
    await folder.remove();
  });

  const LINES: TableSpec['columns'] = { order_id: 'LONG', sku: 'STRING', qty: 'LONG' };
  /** Orders with lines, and lines with discounts. */
  function ordersOf(
    more: Partial<TableSpec> = {},
    child: Partial<ChildSpec> & {
      columns?: TableSpec['columns'];
      primaryKey?: string[];
      inference?: TableSpec['inference'];
    } = {},
  ): Orders {
    const table = `orders${tests++}`;
    const { deletedField: _, ...ofAll } = more;
    const { primaryKey: _key, columns: _columns, ...shared } = ofAll;
    const ofChild = (name: string, columns: TableSpec['columns'], primaryKey: string[]): TableSpec => ({
      ...{ schema: 'main', table: `${table}_${name}`, primaryKey, columns },
      ...shared,
      ...(more.deletes !== undefined && { unseen: 'stay' as const }),
      maxDeletes: 'any',
    });
    const { columns = LINES, primaryKey = ['order_id', 'sku'], ...spec } = child;
    const lines: ChildSpec = {
      name: 'lines',
      table: ofChild('lines', columns, primaryKey),
      from: ['lines'],
      include: { order_id: ['id'] },
      paths: {},
      children: [
        {
          name: 'discounts',
          table: ofChild('discounts', { order_id: 'LONG', sku: 'STRING', n: 'LONG', value: 'STRING' }, [
            'order_id',
            'sku',
            'n',
          ]),
          from: ['discounts'],
          include: { order_id: ['order_id'], sku: ['sku'] },
          paths: {},
          index: 'n',
        },
      ],
      ...spec,
    };
    return new Orders(
      tested,
      folder.file,
      { schema: 'main', table, primaryKey: ['id'], columns: { id: 'LONG', name: 'STRING' }, ...more },
      [lines],
    );
  }
  const line = (sku: string, qty: Json = 1, discounts?: Json[]) => ({
    sku,
    qty,
    ...(discounts !== undefined && { discounts }),
  });
  const order = (id: Json, ...lines: Json[]) => ({ id, name: `order ${String(id)}`, lines });

  it('has the items of each list, and of the lists in them', async () => {
    const orders = ordersOf();
    await orders.open();
    const outcome = await orders.write([
      [order(1, line('a', 2, [5, '10%']), line('b')), order(2)],
      [order(3, line('a', 7, ['x']))],
    ]);
    expect(outcome).toMatchObject({ rows: 3 + 3 + 3 });
    expect(await orders.rows('order_id, sku, qty, _highwater_parent')).toEqual([
      '1 a 2 ["1"]',
      '1 b 1 ["1"]',
      '3 a 7 ["3"]',
    ]);
    expect(await orders.rows('order_id, sku, n, value', 1)).toEqual(['1 a 0 5', '1 a 1 10%', '3 a 0 x']);
    expect(await orders.stream.rows()).toHaveLength(3);
  });

  it('loses what a record does not list any more, and keeps what other records have', async () => {
    const orders = ordersOf();
    await orders.open();
    await orders.write([
      order(1, line('a', 1, ['x', 'y']), line('b'), line('c')),
      order(2, line('a', 9, ['z'])),
    ]);
    expect(
      await orders.write([order(1, line('c'), line('a', 5, ['y'])), { id: 3, name: 'no list' }]),
    ).toMatchObject({
      // The record 3, line a, and its first discount.
      rows: 1 + 1 + 1,
      deleted: 1 + 1,
    });
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 5', '1 c 1', '2 a 9']);
    expect(await orders.rows('order_id, sku, n, value', 1)).toEqual(['1 a 0 y', '2 a 0 z']);
    await orders.write([order(1), { id: 2, name: 'x', lines: null }]);
    expect(await orders.rows('order_id, sku, qty')).toEqual([]);
    expect(await orders.rows('order_id, sku, n, value', 1)).toEqual([]);
  });

  it('goes by the last of several versions of a record in one batch, wherever its items were before', async () => {
    const orders = ordersOf({}, { primaryKey: ['sku'] });
    await orders.open();
    await orders.write([
      [order(1, line('a'), line('x')), order(2, line('x', 2))],
      [order(1, line('x', 3), line('b')), order(1, line('b', 4))],
    ]);
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 b 4', '2 x 2']);
  });

  it('knows a record by its key, however the key is written', async () => {
    const orders = ordersOf();
    await orders.open();
    await orders.write(['{"id":1,"lines":[{"sku":"a"}]}', '{"id":9007199254740993,"lines":[{"sku":"a"}]}']);
    await orders.write([
      ['{"id":1.0,"lines":[{"sku":"b"}]}', '{"id":"1","lines":[{"sku":"c"}]}'],
      ['{"id":"9007199254740993","lines":[{"sku":"b"}]}', '{"id":1e0,"lines":[{"sku":"d"}]}'],
    ]);
    expect(await orders.rows('sku, _highwater_parent')).toEqual(['b ["9007199254740993"]', 'd ["1"]']);
  });

  it('knows a record by a key of a text and a time, too', async () => {
    const columns: TableSpec['columns'] = { id: 'STRING', at: 'UTC_DATETIME', amount: 'DECIMAL(10,2)' };
    const orders = ordersOf(
      { columns, primaryKey: ['id', 'at', 'amount'] },
      {
        columns: { sku: 'STRING', id: 'STRING' },
        primaryKey: ['id', 'sku'],
        include: { id: ['id'] },
        children: [],
      },
    );
    await orders.open();
    const record = (at: string, amount: string, ...skus: string[]) =>
      `{"id":1.10,"at":"${at}","amount":${amount},"lines":${JSON.stringify(skus.map((sku) => ({ sku })))}}`;
    await orders.write([record('2026-01-01T00:00:00Z', '1', 'a', 'b')]);
    await orders.write([record('2026-01-01T02:00:00+02:00', '1.00', 'b', 'c')]);
    expect(await orders.rows('id, sku')).toEqual(['1.10 b', '1.10 c']);
    expect(await orders.stream.rows()).toHaveLength(1);
  });

  it('keeps every digit of a number', async () => {
    const orders = ordersOf(
      {},
      {
        columns: { order_id: 'LONG', sku: 'STRING', qty: 'LONG', price: 'DECIMAL(38,20)' },
        children: [],
      },
    );
    await orders.open();
    await orders.write([
      '{"id":1,"lines":[{"sku":1.10,"qty":9007199254740993,"price":0.12345678901234567890}]}',
    ]);
    expect(await orders.rows('sku, qty, price')).toEqual(['1.10 9007199254740993 0.12345678901234567890']);
  });

  it('takes objects whose member names are ids, values that are elsewhere, and a position where there is no key', async () => {
    const orders = ordersOf(
      {},
      {
        ...{ from: ['data', 'items'], keyAs: 'sku', paths: { qty: ['amount', 'value'] }, children: [] },
      },
    );
    await orders.open();
    await orders.write([
      { id: 1, data: { items: { '17': { amount: { value: 3 } }, 'ä"': { amount: {} } } } },
      { id: 2, data: { items: [] } },
      { id: 3, data: { items: { x: null } } },
    ]);
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 17 3', '1 ä" null', '3 x null']);
  });

  it('are written once, however often their batch is', async () => {
    const orders = ordersOf();
    const { checkpoint } = await orders.open();
    const records = [order(1, line('a'), line('b')), order(2, line('a'))];
    const outcome = await orders.write(records, at(1, false), 'again1');
    expect(outcome).toMatchObject({ rows: 5, already: false });
    const repeated = orders.write(records, at(1, false), 'again1', checkpoint.id);
    expect(await repeated).toEqual({ rows: 5, already: true });
    // A batch of another base is refused whole.
    await expect(orders.write([order(1)], at(1, false), 'other', checkpoint.id)).rejects.toThrow(
      /stale batch/,
    );
    expect(await orders.rows('order_id, sku')).toEqual(['1 a', '1 b', '2 a']);
  });

  it('are marked and come back, where deleted rows stay', async () => {
    const orders = ordersOf({ deletes: 'soft', stamps: true, maxDeletes: 'any' });
    await orders.open();
    const marked = () => orders.rows('order_id, sku, _highwater_deleted_at IS NOT NULL');
    const plain = async () =>
      (await marked()).map((row) => row.replace(/ t$/, ' true').replace(/ f$/, ' false'));
    await orders.write([order(1, line('a'), line('b')), order(2, line('a'))], at(1, true));
    await orders.write([order(1, line('b')), order(2, line('a'))], at(2, true));
    expect(await plain()).toEqual(['1 a true', '1 b false', '2 a false']);
    await orders.write([order(1, line('a'))], at(3, true));
    expect(await plain()).toEqual(['1 a false', '1 b true', '2 a true']);
    await orders.write([order(2, line('a'))], at(4, false));
    expect(await plain()).toEqual(['1 a false', '1 b true', '2 a false']);
  });

  it('go with the records that a whole pass has not met', async () => {
    const orders = ordersOf({ deletes: 'hard', maxDeletes: 'any' });
    await orders.open();
    await orders.write([order(1, line('a', 1, ['x'])), order(2, line('a', 1, ['y']))], at(1, true));
    expect(await orders.write([order(2, line('a', 1, ['y']))], at(2, true))).toMatchObject({
      rows: 0,
      deleted: 3,
    });
    expect(await orders.rows('order_id, sku')).toEqual(['2 a']);
    expect(await orders.rows('order_id, value', 1)).toEqual(['2 y']);
    // A pass that is not whole removes nothing.
    await orders.write([order(3)], at(3, true, { notes: [{ code: 'answer_cut', message: '' }] }));
    expect(await orders.rows('order_id, sku')).toEqual(['2 a']);
  });

  it('go with a record that says that it is deleted', async () => {
    for (const deletes of ['hard', 'soft'] as const) {
      const columns: TableSpec['columns'] = { id: 'LONG', name: 'STRING', gone: 'BOOLEAN' };
      const orders = ordersOf({ columns, deletes, deletedField: 'gone', unseen: 'stay' });
      await orders.open();
      const live = () =>
        orders.rows('order_id, sku', 0, deletes === 'soft' ? 'WHERE _highwater_deleted_at IS NULL' : '');
      await orders.write([order(1, line('a'), line('b')), order(2, line('a'))]);
      await orders.write([
        { ...order(1, line('a')), gone: true },
        { ...order(2, line('b')), gone: false },
      ]);
      expect(await live()).toEqual(['2 b']);
      await orders.write([{ ...order(1, line('c')), gone: false }]);
      expect(await live()).toEqual(['1 c', '2 b']);
    }
  });

  it('have versions, where the table has its history', async () => {
    const orders = ordersOf({ mode: 'history', deletes: 'soft', maxDeletes: 'any' });
    await orders.open();
    const versions = async () =>
      (await orders.rows('order_id, sku, qty, _highwater_valid_to IS NULL')).map((row) =>
        row.replace(/ t$/, ' true').replace(/ f$/, ' false'),
      );
    await orders.write([order(1, line('a'), line('b'))], at(1, true));
    await orders.write([order(1, line('a', 2))], at(2, true));
    expect(await versions()).toEqual(['1 a 1 false', '1 a 2 true', '1 b 1 false']);
    await orders.write([order(2, line('b'))], at(3, true));
    expect(await versions()).toEqual(['1 a 1 false', '1 a 2 false', '1 b 1 false', '2 b 1 true']);
  });

  it('keep every version, where rows are appended', async () => {
    const orders = ordersOf({ mode: 'append' });
    await orders.open();
    await orders.write([order(1, line('a'), line('b')), order(1, line('a', 2))]);
    await orders.write([order(1, line('a', 2), line('c'))]);
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 1', '1 a 2', '1 b 1', '1 c 1']);
  });

  it('are replaced with the table, at the end of a whole pass', async () => {
    const orders = ordersOf({ mode: 'replace', maxDeletes: 'any' });
    await orders.open();
    await orders.write([order(1, line('a'), line('b')), order(2, line('a'))], at(1, false));
    expect(await orders.rows('order_id, sku')).toEqual([]);
    await orders.write([order(3), order(1, line('b', 2))], at(1, true));
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 b 2', '2 a 1']);
    await orders.write([order(2, line('c'))], at(2, false));
    await orders.write([], at(2, true));
    expect(await orders.rows('order_id, sku, qty')).toEqual(['2 c 1']);
    // What a pass may not have read stays.
    await orders.write([order(4, line('d'))], at(3, true, { notes: [{ code: 'answer_cut', message: '' }] }));
    expect(await orders.rows('order_id, sku, qty')).toEqual(['2 c 1', '4 d 1']);
  });

  describe('with items that do not fit', () => {
    const rejects = async (orders: Orders) =>
      (
        await tested.query(
          `SELECT record, reason FROM ${tested.ownSchema}_highwater_rejects WHERE "table" = '${orders.table.table}_lines' ORDER BY record`,
        )
      ).map((row) => row.map(String));

    it('stop before anything is written, and name table and key', async () => {
      const orders = ordersOf();
      await orders.open();
      const error = await thrownBy(orders.write([order(1, line('a'), line('b', 'many'))]));
      expect(error).toBeInstanceOf(RecordError);
      expect(error.message).toMatch(
        new RegExp(
          `table ${orders.table.table}_lines, filled by stream orders: .*primary key .*1.*b.*qty.*many`,
        ),
      );
      expect(await orders.stream.rows()).toEqual([]);
    });

    it('are written once they fit, in place of the rows of before', async () => {
      const orders = ordersOf({ quarantine: true }, { children: [] });
      await orders.open();
      await orders.write([order(1, line('a'), line('b'))]);
      await orders.write([order(1, line('a', 1.5), line('b', 'many'))]);
      const [lines] = orders.children;
      if (lines === undefined) throw new Error('no lines');
      const table = { ...lines.table, table: `${lines.table.table}` };
      const retried = await tested.destination.retry?.({
        table,
        isChild: true,
        cursorField: '',
        overwrite: false,
      });
      expect(retried).toMatchObject({ records: 2, retried: 0 });
      expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 1', '1 b 1']);
      await tested.query(
        `UPDATE ${tested.ownSchema}_highwater_rejects SET record = replace(record, '1.5', '7') WHERE "table" = '${table.table}'`,
      );
      expect(
        await tested.destination.retry?.({ table, isChild: true, cursorField: '', overwrite: false }),
      ).toMatchObject({ records: 2, retried: 1, rows: 1 });
      expect(await orders.rows('order_id, sku, qty, _highwater_parent')).toEqual([
        '1 a 7 ["1"]',
        '1 b 1 ["1"]',
      ]);
    });

    it('put them aside with the key of their record, and keep the rows of before', async () => {
      const orders = ordersOf({ quarantine: true });
      await orders.open();
      await orders.write([order(1, line('a'), line('b')), order(2, line('a'))]);
      const outcome = await orders.write([order(1, line('a', 'many'), line('c')), order(2)]);
      expect(outcome).toMatchObject({ rejected: 1 });
      // Which of the old rows the line that is aside stands for is not known for certain.
      expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 1', '1 b 1', '1 c 1']);
      expect(await rejects(orders)).toEqual([
        [
          '{"_highwater_parent":"[\\"1\\"]","order_id":1,"sku":"a","qty":"many"}',
          expect.stringContaining('column "qty" cannot hold "many" as LONG'),
        ],
      ]);
      // The next version of the record has it right.
      expect(await orders.write([order(1, line('a', 3))])).not.toHaveProperty('rejected');
      expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 3']);
      expect(await rejects(orders)).toEqual([]);
    });
  });

  describe('whose columns follow the items', () => {
    const EVOLVE = { policy: 'evolve', flatten: 0, names: 'as_is' } as const;
    const following = (more: Partial<TableSpec> = {}) =>
      ordersOf({ columns: {}, inference: EVOLVE, ...more }, { columns: {}, children: [] });

    it('are made by the first items, and get columns and wider types', async () => {
      const orders = following();
      await orders.open();
      expect(await orders.write([order(1), order(2)])).toMatchObject({ rows: 2 });
      const outcome = await orders.write([order(1, line('a'), { sku: 'b', note: 'x' })]);
      expect(outcome.changes?.map(({ column, to }) => `${column} ${to}`)).toEqual([
        `${orders.table.table}_lines.order_id LONG`,
        `${orders.table.table}_lines.sku STRING`,
        `${orders.table.table}_lines.qty LONG`,
        `${orders.table.table}_lines.note STRING`,
      ]);
      expect((await orders.write([order(1, line('a', 1.5))])).changes).toEqual([
        { column: `${orders.table.table}_lines.qty`, from: 'LONG', to: 'DOUBLE' },
      ]);
      expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 1.5']);
      // The lists are not columns of the records' own table.
      const columns = await tested.query(
        `SELECT column_name FROM information_schema.columns WHERE table_name = '${orders.table.table}' ORDER BY 1`,
      );
      expect(columns.flat().filter((column) => !String(column).startsWith('_highwater'))).toEqual([
        'id',
        'name',
      ]);
    });

    it('are not lost with a record that is quarantined itself', async () => {
      const inference = { ...EVOLVE, policy: 'quarantine' } as const;
      const orders = ordersOf(
        { columns: {}, inference, quarantine: true },
        { columns: { order_id: 'STRING', sku: 'STRING' }, inference, children: [] },
      );
      await orders.open();
      await orders.write([order(1, line('a'))]);
      expect(await orders.write([order('x', line('a'), line('b')), order(2, line('a'))])).toMatchObject({
        rejected: 1,
      });
      expect(await orders.rows('order_id, sku, _highwater_parent')).toEqual([
        '1 a ["1"]',
        '2 a ["2"]',
        'x a ["x"]',
        'x b ["x"]',
      ]);
    });

    it('know their records when the type of the key widens', async () => {
      const orders = following();
      await orders.open();
      await orders.write([order(1, line('a'), line('b')), order(2, line('a'))]);
      await orders.write([order('x', line('a')), order(1, line('b'))]);
      expect(await orders.rows('order_id, sku')).toEqual(['1 b', '2 a', 'x a']);
      await orders.write(['{"id":"1","lines":[{"sku":"c"}]}']);
      expect(await orders.rows('order_id, sku')).toEqual(['1 c', '2 a', 'x a']);
    });
  });

  it('are missed: a stream whose child table is gone starts over', async () => {
    const orders = ordersOf({}, { children: [] });
    const fingerprint = {
      ...{ primaryKey: ['id'], cursor: null, parent: null, columns: {}, infers: false, where: null },
      ...{ start: null, request: {}, readsAll: false },
      children: { [`${orders.table.table}_lines`]: { from: 'lines', primaryKey: ['order_id', 'sku'] } },
    };
    await orders.open({ fingerprint });
    await orders.write([order(1, line('a'))], at(1, true));
    expect((await orders.open({ fingerprint })).checkpoint.cursor).not.toBeNull();
    await tested.query(`DROP TABLE main.${orders.table.table}_lines`);
    await expect(orders.write([order(1, line('a'))], at(2, false))).rejects.toBeInstanceOf(TableGoneError);
    const { checkpoint, notes } = await orders.open({ fingerprint });
    expect(checkpoint.cursor).toBeNull();
    expect(notes?.map(({ code }) => code)).toContain('table_gone');
    await orders.write([order(1, line('b'))], at(1, true));
    expect(await orders.rows('order_id, sku')).toEqual(['1 b']);
  });

  it('belong to one stream', async () => {
    const orders = ordersOf({}, { children: [] });
    const fingerprint = {
      ...{ primaryKey: ['id'], cursor: null, parent: null, columns: {}, infers: false, where: null },
      ...{ start: null, request: {}, readsAll: false },
      children: { [`${orders.table.table}_lines`]: { from: 'lines', primaryKey: ['order_id', 'sku'] } },
    };
    await orders.open({ fingerprint });
    const lines = allChildren(orders.children)[0]?.table;
    if (lines === undefined) throw new Error('no lines');
    const error = await thrownBy(new Stream(tested, folder.file, lines).open('w2'));
    expect(error).toBeInstanceOf(DestinationError);
    expect(error.message).toContain(
      `table main.${lines.table} belongs to the stream that writes main.${orders.table.table}`,
    );
    // Nor may a stream's table become the child table of another.
    const others = ordersOf({}, { children: [] });
    await new Stream(tested, folder.file, { ...lines, table: `${others.table.table}_lines` }).open('w3');
    await expect(others.open()).rejects.toThrow(
      `belongs to the stream that writes main.${others.table.table}_lines`,
    );
    expect((await orders.open({ fingerprint })).checkpoint).toBeDefined();
  });

  it('keep their primary key, unless everything is read again', async () => {
    const orders = ordersOf({}, { children: [] });
    const fingerprint = (primaryKey: string[]) => ({
      ...{ primaryKey: ['id'], cursor: null, parent: null, columns: {}, infers: false, where: null },
      ...{ start: null, request: {}, readsAll: false },
      children: { [`${orders.table.table}_lines`]: { from: 'lines', primaryKey } },
    });
    await orders.open({ fingerprint: fingerprint(['order_id', 'sku']) });
    await orders.write([order(1, line('a')), order(2, line('a', 2))], at(1, true));
    const [lines] = orders.children;
    if (lines === undefined) throw new Error('no lines');
    const other = new Orders(tested, folder.file, orders.table, [
      { ...lines, table: { ...lines.table, primaryKey: ['sku'] } },
    ]);
    await expect(other.open({ fingerprint: fingerprint(['sku']) })).rejects.toBeInstanceOf(DestinationError);
    await other.open({ fingerprint: fingerprint(['sku']), full: true });
    await other.write([order(1, line('b')), order(2, line('b', 3))], at(1, true));
    expect(await other.rows('order_id, sku, qty')).toEqual(['2 b 3']);
  });

  it('are written by a backfill with the records that it writes, and only those', async () => {
    const orders = ordersOf({ stamps: true });
    await orders.open();
    await orders.write([order(1, line('a')), order(2, line('a'))]);
    const { destination } = tested;
    const key = keyOf(orders.table, { range: 'backfill 1..9' });
    const began = (await destination.ranges?.now(key)) ?? '';
    const range = { kind: 'backfill' as const, writes: true, began, cursor: null };
    // The sync writes record 2 after the range has requested it.
    await orders.write([{ ...order(2, line('new')), name: 'newer' }]);
    const { checkpoint } = await orders.stream.open('range', {
      key,
      children: orders.children.map(childTable),
    });
    await orders.write(
      [order(1, line('a', 5), line('b')), order(2, line('old')), order(3, line('c'))],
      { ...at(1, false), key, range },
      'backfill-1',
      checkpoint.id,
    );
    expect(await orders.rows('order_id, sku, qty')).toEqual(['1 a 5', '1 b 1', '2 new 1', '3 c 1']);
  });

  it('go with the rows that the repair of an audit removes', async () => {
    const orders = ordersOf({ stamps: true, deletes: 'hard', maxDeletes: 'any', unseen: 'stay' });
    await orders.open();
    await orders.write([order(1, line('a')), order(2, line('a'))], at(1, true));
    const key = keyOf(orders.table, { range: 'audit 1..9' });
    const ranges = tested.destination.ranges;
    if (ranges === undefined) throw new Error('no ranges');
    const began = await ranges.now(key);
    const plan = {
      kind: 'audit' as const,
      from: '1',
      to: '9',
      repair: true,
      removeExtra: false,
      keys: 10,
      began,
      reached: null,
    };
    const children = allChildren(orders.children).map(childTable);
    const { checkpoint } = await orders.stream.open('range', { key, children });
    const range = { kind: 'audit' as const, writes: true, began, cursor: null };
    await orders.write([order(2, line('b'))], { ...at(1, true), key, range }, 'audit-1', checkpoint.id);
    const found = await ranges.conclude({
      key,
      table: orders.table,
      children,
      range: plan,
      scope: null,
      removes: true,
    });
    expect(found.extra).toMatchObject({ count: 1, repaired: 1 });
    expect(await orders.rows('order_id, sku')).toEqual(['2 b']);
  });

  it('equal what the last answer said of each record, however batches are cut, repeated and retried', async () => {
    const skus = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 });
    const records = fc.array(
      fc.record({ id: fc.integer({ min: 1, max: 4 }), skus, qty: fc.integer({ min: 0, max: 2 }) }),
      {
        maxLength: 6,
      },
    );
    const batches = fc.array(fc.record({ records, isRepeated: fc.boolean() }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(batches, async (given) => {
        const orders = ordersOf({}, { children: [] });
        const { checkpoint } = await orders.open();
        const expected = new Map<number, string[]>();
        let base = checkpoint.id;
        for (const batch of given) {
          const parts = batch.records.map(({ id, skus: own, qty }) => [
            order(id, ...own.map((sku) => line(sku, qty))),
          ]);
          const next: string = randomUUID();
          await orders.write(parts, at(1, false), next, base);
          if (batch.isRepeated)
            expect(await orders.write(parts, at(1, false), next, base)).toMatchObject({ already: true });
          base = next;
          for (const { id, skus: own, qty } of batch.records)
            expected.set(
              id,
              own.map((sku) => `${id} ${sku} ${qty}`),
            );
        }
        expect(await orders.rows('order_id, sku, qty')).toEqual([...expected.values()].flat().sort());
      }),
      { numRuns: runs(30) },
    );
  });
}
