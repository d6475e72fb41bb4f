/** Child tables in a configuration: the plan that they become, and the mistakes that are refused. */
import { describe, expect, it } from 'vitest';
import { planFromFlat, plansFrom } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';
import { inputProblems } from '../../src/inputs.js';
import { allChildren, childTable } from '../../src/protocol.js';

const COLUMNS = { id: 'LONG', name: 'STRING' };

const configurationOf = (children: object, stream: object = {}, destination?: string) => ({
  source: { base_url: 'https://api.example.com/' },
  ...(destination !== undefined && { destination }),
  streams: [{ name: 'orders', strategy: 'page_number', columns: COLUMNS, children, ...stream }],
});

const planOf = (...given: Parameters<typeof configurationOf>) => {
  const [plan] = plansFrom(configurationOf(...given)).plans;
  if (plan === undefined) throw new Error('no plan');
  return plan;
};

function refusal(raw: unknown): Record<string, string> {
  try {
    plansFrom(raw);
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return Object.fromEntries(thrown.problems.map(({ path, message }) => [path, message]));
  }
  throw new Error('was not refused');
}

describe('child tables in a configuration', () => {
  it('become part of the plan, with all that the stream says of its table', () => {
    const plan = planOf(
      {
        lines: {
          from: 'cart.lines',
          include: { order_id: 'id' },
          primary_key: ['order_id', 'sku'],
          columns: { sku: 'STRING', qty: { type: 'INT', from: 'amount.value' } },
          children: {
            discounts: {
              include: { order_id: 'order_id', sku: 'sku' },
              index: 'n',
              columns: { value: 'STRING' },
            },
          },
        },
        tags: { include: { order_id: 'id' }, key_as: 'tag', table: 'tags_of_orders' },
      },
      { deletes: 'soft', misfits: 'quarantine', schema: 'shop', stamps: true },
    );
    expect(plan.children).toMatchObject([
      {
        name: 'lines',
        table: {
          schema: 'shop',
          table: 'orders_lines',
          primaryKey: ['order_id', 'sku'],
          columns: { order_id: 'LONG', sku: 'STRING', qty: 'INT' },
          ...{ quarantine: true, deletes: 'soft', unseen: 'stay', stamps: true, maxDeletes: 'any' },
        },
        from: ['cart', 'lines'],
        include: { order_id: ['id'] },
        paths: { qty: ['amount', 'value'] },
        children: [
          {
            table: {
              table: 'orders_lines_discounts',
              primaryKey: ['order_id', 'sku', 'n'],
              columns: { order_id: 'LONG', sku: 'STRING', n: 'LONG', value: 'STRING' },
            },
            from: ['discounts'],
            index: 'n',
          },
        ],
      },
      {
        table: {
          table: 'tags_of_orders',
          primaryKey: ['order_id', 'tag'],
          inference: { policy: 'quarantine' },
        },
        from: ['tags'],
        keyAs: 'tag',
      },
    ]);
    expect(allChildren(plan.children).map((child) => childTable(child).columns)).toMatchObject([
      { _highwater_parent: 'STRING', qty: 'INT' },
      { _highwater_parent: 'STRING', n: 'LONG' },
      { _highwater_parent: 'STRING', tag: 'STRING' },
    ]);
    const budget = { rows: 1, bytes: 1, seconds: 1 };
    const base = { id: '', cursor: null };
    expect(inputProblems('fetchPages', { plan, destination: 'x', base, budget, begin: true })).toBeNull();
  });

  it('are in no plan of a stream that has none', () => {
    const { plans } = plansFrom({
      ...configurationOf({}),
      streams: [{ name: 'a', strategy: 'page_number' }],
    });
    expect(plans[0]).not.toHaveProperty('children');
    expect(planOf({})).not.toHaveProperty('children');
  });

  it('keep the members that they are filled from where records become rows first', () => {
    const { request } = planOf(
      { lines: { include: { order_id: 'id', shop: 'shop.id' }, index: 'n' } },
      { columns: { id: { type: 'LONG', from: 'order.id' } } },
    );
    expect(request.shape).toEqual({
      ...{ from: { id: ['order', 'id'] }, parent: {}, where: null },
      keeps: ['lines', 'shop'],
    });
  });

  const lines = { include: { order_id: 'id' }, primary_key: ['order_id', 'sku'] };
  const declared = { ...lines, columns: { sku: 'STRING' } };
  it.each<[string, object, string, string, object?]>([
    ['no key', { lines: { from: 'lines' } }, 'children.lines.primary_key', 'is required'],
    ['an index alone', { lines: { index: 'n' } }, 'children.lines.include', 'is required with "index"'],
    [
      'an index beside a key',
      { lines: { ...lines, index: 'n' } },
      'children.lines.index',
      'omit one of the two',
    ],
    [
      'a key that is no column',
      { lines: { ...declared, primary_key: 'skuu' } },
      'children.lines.primary_key[0]',
      '(did you mean "sku"?)',
    ],
    [
      'a field that is no column',
      { lines: { ...declared, include: { order_id: 'idd' } } },
      'children.lines.include.order_id',
      '(did you mean "id"?)',
    ],
    ['a column that is filled twice', { lines: { ...lines, index: 'order_id' } }, 'children.lines', 'twice'],
    ['an unknown key', { lines: { ...lines, form: 'x' } }, 'children.lines.form', '(did you mean "from"?)'],
    ['the whole record', { lines: { ...lines, from: '$' } }, 'children.lines.from', 'must name a member'],
    [
      'one table for two',
      { lines, items: { ...lines, table: 'Orders_Lines' } },
      'children.items.table',
      'already used by streams[0].children.lines',
    ],
    [
      'the table of the stream',
      { lines: { ...lines, table: 'orders' } },
      'children.lines.table',
      'already used by streams[0]',
    ],
    [
      'a position of text',
      { lines: { include: { order_id: 'id' }, index: 'n', columns: { n: 'STRING' } } },
      'children.lines.columns.n',
      'LONG',
    ],
    [
      'a column that is elsewhere',
      { lines },
      'children.lines.from',
      'rename the column',
      { columns: { id: 'LONG', lines: { type: 'JSON', from: 'x' } } },
    ],
    [
      'a column of Highwater',
      { lines: { ...lines, columns: { _highwater_parent: 'STRING' } } },
      'children.lines.columns._highwater_parent',
      'Highwater',
    ],
    [
      'a key that may become text',
      { lines },
      'columns.at',
      'declare this part of the primary key as STRING',
      { columns: { at: 'UTC_DATETIME' }, primary_key: 'at', misfits: 'evolve' },
    ],
    ['CSV', { lines }, 'children', 'CSV', { format: 'csv' }],
    [
      'inner tables without a key',
      { lines: { ...lines, children: { discounts: {} } } },
      'children.lines.children.discounts.primary_key',
      'is required',
    ],
  ])('are refused with %s', (_, children, path, said, stream = {}) => {
    const problems = refusal(configurationOf(children, stream));
    expect(Object.keys(problems)).toContain(`streams[0].${path}`);
    expect(problems[`streams[0].${path}`]).toContain(said);
  });

  it('are refused where another stream has the table, and for files', () => {
    const { streams, ...rest } = configurationOf({ lines });
    const other = { name: 'orders_lines', strategy: 'page_number' };
    expect(refusal({ ...rest, streams: [...streams, other] })).toHaveProperty(
      ['streams[0].children.lines.table'],
      expect.stringContaining('already used by streams[1]'),
    );
    expect(refusal(configurationOf({ lines }, {}, 'files:./lake'))).toHaveProperty(
      ['streams[0].children'],
      expect.stringContaining('use a database'),
    );
  });

  it('are a key of streams, and not of the flat form', () => {
    expect(() => planFromFlat({ children: { lines } })).toThrow(/children: is not a known key/);
  });
});
