import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
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
