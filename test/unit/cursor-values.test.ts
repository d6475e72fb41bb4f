import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cursorColumn, scopeOf } from '../../src/activities/ranges.js';
import { plansFrom } from '../../src/config/index.js';
import type { Discovery } from '../../src/inspect/discover.js';
import { draft } from '../../src/inspect/draft.js';
import type { Cursor, RangePlan } from '../../src/protocol.js';
import { greatestOf, withCursorValues } from '../../src/sources/cursor-values.js';
import { valuesOf } from '../../src/strategies/index.js';

const fields = (...names: string[]) => ({ names, pick: greatestOf(valuesOf()) });

/** The cursor values of records, of which those at `rejected` are not among the lines. */
function valuesIn(records: string[], names: string[], rejected: number[] = []) {
  const lines = Buffer.from(records.filter((_, i) => !rejected.includes(i)).join('\n'));
  const part = { records: records.length, keys: [], values: records.map(() => null) };
  return withCursorValues(lines, part, rejected, fields(...names)).values;
}

describe('the cursor value of a record with several cursor fields', () => {
  it.each([
    ['{"u":"2025-01-02T00:00:00Z","c":"2025-01-01T00:00:00Z"}', '2025-01-02T00:00:00Z'],
    ['{"c":"2025-01-01T00:00:00Z","u":null}', '2025-01-01T00:00:00Z'],
    ['{"c":"2025-01-01T00:00:00Z"}', '2025-01-01T00:00:00Z'],
    // As times, not as texts.
    ['{"u":"2025-01-01T00:30:00+02:00","c":"2025-01-01T00:00:00Z"}', '2025-01-01T00:00:00Z'],
    // What cannot be read is passed over, and told where nothing else is there.
    ['{"u":"never","c":"2025-01-01T00:00:00Z"}', '2025-01-01T00:00:00Z'],
    ['{"u":"never","c":null}', 'never'],
    ['{"u":null,"c":null}', null],
    ['{"other":{"u":"2025-01-02T00:00:00Z"}}', null],
    ['{ "u" : "2025\\u002d01-02T00:00:00Z" }', '2025-01-02T00:00:00Z'],
  ])('of %s is %j', (record, value) => {
    expect(valuesIn([record], ['u', 'c'])).toEqual([value]);
  });

  it('stands at the place of its record, beside those that were rejected', () => {
    const at = (day: number) => `{"u":"2025-01-0${day}"}`;
    expect(valuesIn([at(1), '{"id":null}', at(3), at(4)], ['u', 'c'], [1])).toEqual([
      '2025-01-01',
      null,
      '2025-01-03',
      '2025-01-04',
    ]);
  });

  it('is found in any records', () => {
    const time = fc.option(
      fc
        .date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true })
        .map((date) => date.toISOString()),
    );
    const record = fc.record({ u: time, c: time, text: fc.string(), more: fc.json() }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.array(record, { maxLength: 20 }), (records) => {
        const wanted = records.map(({ u = null, c = null }) => {
          const there = [u, c].filter((text) => text !== null);
          return there.length === 0 ? null : there.sort((a, b) => Date.parse(b) - Date.parse(a))[0];
        });
        expect(
          valuesIn(
            records.map((one) => JSON.stringify(one)),
            ['u', 'c'],
          ),
        ).toEqual(wanted);
      }),
    );
  });

  it('keeps all digits of a number', () => {
    const lines = Buffer.from('{"a":9007199254740993,"b":9007199254740992}\n');
    const pick = greatestOf(valuesOf('integer'));
    const part = { records: 1, keys: [], values: [null] };
    expect(withCursorValues(lines, part, [], { names: ['a', 'b'], pick }).values).toEqual([
      '9007199254740993',
    ]);
  });
});

describe('a stream with several cursor fields', () => {
  const stream = {
    ...{ name: 'a', strategy: 'keyset', cursor_field: ['u', 'c'], primary_key: 'id' },
    columns: { id: 'LONG', u: 'UTC_DATETIME', c: 'UTC_DATETIME' },
  };
  const configuration = { source: { base_url: 'https://api.example.com' }, streams: [stream] };
  const [plan] = plansFrom(configuration).plans;
  if (plan === undefined) throw new Error('there is no plan');

  it('has no single column by which an audit tells which rows are extra, or a backfill which are newer', () => {
    const range: RangePlan = {
      ...{ kind: 'audit', repair: false, removeExtra: false, keys: 20 },
      ...{ from: '2025-01-01', to: null, began: '2025-02-01T00:00:00Z', reached: null },
    };
    const cursor: Cursor = { pass: 1, mark: null, position: null, ended: 'empty_page', notes: [] };
    expect(cursorColumn(plan)).toBeNull();
    expect(scopeOf({ ...plan, range }, cursor)).toContain('"cursor_field" lists several fields: u, c');
    expect(scopeOf({ ...plan, range: { ...range, from: null } }, cursor)).toBeNull();
  });

  it('keeps its cursor fields when discover fills in the rest, also where they are defaults', () => {
    const { cursor_field, ...rest } = stream;
    const given = { ...configuration, defaults: { cursor_field }, streams: [rest] };
    const { plans } = plansFrom(given);
    const column = { name: 'changed', type: 'UTC_DATETIME', why: '', unique: false } as const;
    const discovery = {
      ...{ columns: [column], records: 3, requests: ['GET'], primaryKeys: [], children: [] },
      cursorFields: [{ name: 'changed', why: 'it looks like one', says: 'changed' }],
    } as unknown as Discovery;
    const { text } = draft(given, plans, new Map([['a', discovery]]));
    expect(text).not.toContain('cursor_field: changed');
  });
});
