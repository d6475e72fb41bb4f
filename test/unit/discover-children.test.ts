/** What `discover` finds of lists in records, and what it proposes for them. */
import { describe, expect, it } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { childText, findChildren } from '../../src/inspect/discover-children.js';
import { parse } from 'yaml';

const found = (records: object[], key = ['id'], stream = 'orders') =>
  findChildren(
    records.map((record) => JSON.stringify(record)),
    key,
    stream,
  );

describe('a list of objects in a sample', () => {
  it('is proposed with a key that is unique in each list', () => {
    const [lines, ...others] = found([
      {
        id: 1,
        lines: [
          { qty: 1, sku: 'a', line_id: 7 },
          { qty: 1, sku: 'b', line_id: 7 },
        ],
        tags: ['x'],
        at: {},
      },
      { id: 2, lines: [{ qty: 2, sku: 'a', line_id: 9 }], tags: [], refunds: [] },
    ]);
    expect(others).toEqual([]);
    expect(lines).toEqual({
      ...{
        name: 'lines',
        include: { order_id: 'id' },
        primaryKey: ['order_id', 'sku'],
        index: null,
        items: 3,
      },
    });
  });

  it('is proposed with positions where nothing tells its items apart', () => {
    const [child] = found([{ sku: 'x', prices: [{ amount: 1 }, { amount: 1 }] }], ['sku'], 'categories');
    expect(child).toMatchObject({ include: { sku: 'sku' }, primaryKey: null, index: 'position' });
    expect(found([{ id: 1, items: [{ id: 1 }] }], ['id'], 'categories')[0]?.include).toEqual({
      category_id: 'id',
    });
  });

  it('is not proposed where some record has another value, or records have no key', () => {
    expect(
      found([
        { id: 1, lines: [{ id: 1 }] },
        { id: 2, lines: 'none' },
      ]),
    ).toEqual([]);
    expect(found([{ id: 1, lines: [{ id: 1 }, 5] }])).toEqual([]);
    expect(found([{ lines: [{ id: 1 }] }], [])).toEqual([]);
  });

  it('is proposed in a form that a configuration takes', () => {
    for (const record of [
      { id: 1, lines: [{ id: 1 }] },
      { id: 1, lines: [{ amount: 1 }] },
    ]) {
      const [child] = found([record]);
      if (child === undefined) throw new Error('nothing found');
      const stream = { name: 'orders', strategy: 'page_number', ...(parse(childText(child)) as object) };
      const { plans } = plansFrom({ source: { base_url: 'https://api.example.com' }, streams: [stream] });
      expect(plans[0]?.children?.[0]?.table.primaryKey).toEqual([
        'order_id',
        'id' in (record.lines[0] ?? {}) ? 'id' : 'position',
      ]);
    }
  });
});
