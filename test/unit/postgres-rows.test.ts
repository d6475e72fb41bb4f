import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lastOfEachKey } from '../../src/destinations/postgres/key-order.js';
import { RecordSpans } from '../../src/destinations/postgres/record-spans.js';
import { sampledFirst } from '../../src/destinations/postgres/sample.js';
import { formatOf, REFUSED, UnencodableError } from '../../src/destinations/postgres/wire.js';
import type { ColumnType } from '../../src/protocol.js';

/** Keys as rows have them: texts end with a byte that no text contains. */
function keysOf(texts: readonly string[]) {
  const buffers = texts.map((text) => Buffer.from(`${text}\0`));
  const starts = new Uint32Array(texts.length + 1);
  for (const [i, { length }] of buffers.entries()) starts[i + 1] = (starts[i] ?? 0) + length;
  return { bytes: Buffer.concat(buffers), starts, count: texts.length };
}

describe('the order of keys', () => {
  const expected = (texts: readonly string[]) =>
    [...new Map(texts.map((text, place) => [text, place]))]
      .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map(([, place]) => place);

  it.each([
    ['of few different bytes', fc.stringMatching(/^[ab]{0,14}$/)],
    ['with a long common beginning', fc.stringMatching(/^customer-00000[01]{0,9}$/)],
    ['of any characters', fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\0', ''))],
  ])('is that of their bytes, and has the last of equal ones: %s', (_, texts) => {
    fc.assert(
      fc.property(fc.array(texts, { maxLength: 300, size: 'max' }), (all) => {
        const { last, replaced } = lastOfEachKey(keysOf(all));
        expect([...last]).toEqual(expected(all));
        expect([...last, ...replaced].sort((a, b) => a - b)).toEqual(all.map((_text, i) => i));
      }),
    );
  });

  it('holds for more keys than a byte counts', () => {
    const texts = Array.from({ length: 70_000 }, (_, i) => `k${(i * 7919) % 65_537}`);
    expect([...lastOfEachKey(keysOf(texts)).last]).toEqual(expected(texts));
  });

  it('keeps all records when some of them move to the front', () => {
    for (const count of [10, 1999, 2000, 2001, 5000]) {
      const order = Uint32Array.from({ length: count }, (_, i) => (i * 7) % count);
      const moved = sampledFirst(order, count);
      expect([...moved].sort((a, b) => a - b)).toEqual([...order].sort((a, b) => a - b));
      if (count >= 2000) expect([...moved.subarray(0, 2)]).toEqual([0, count - 1]);
    }
  });
});

describe('a value', () => {
  /** The bytes of a JSON text in a type, in hexadecimal; null if PostgreSQL has to convert it. */
  function hex(type: ColumnType, json: string): string | null {
    const bytes = Buffer.from(`,${json},`);
    const into = Buffer.alloc(bytes.length + 20);
    const end = formatOf(type)?.write(bytes, 1, bytes.length - 1, json.includes('\\'), into, 0) ?? REFUSED;
    return end === REFUSED ? null : into.toString('hex', 0, end);
  }

  it.each([
    ['LONG', '9007199254740993', '0020000000000001'],
    ['LONG', '-1', 'ffffffffffffffff'],
    ['LONG', '"-9223372036854775808"', '8000000000000000'],
    ['INT', '-2147483648', '80000000'],
    ['SHORT', '32767', '7fff'],
    ['DOUBLE', '-0', '8000000000000000'],
    ['DOUBLE', '0.1', '3fb999999999999a'],
    ['NAIVE_DATE', '"2000-01-01"', '00000000'],
    ['NAIVE_DATE', '"1999-12-31"', 'ffffffff'],
    ['UTC_DATETIME', '"2000-01-01T00:00:00.0000019Z"', '0000000000000001'],
    ['UTC_DATETIME', '"2000-01-01T01:00:00+01:00"', '0000000000000000'],
    ['STRING', '"a\\u00e9"', '61c3a9'],
    ['STRING', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u20ac"', '225c2f080c0a0d0941e282ac'],
    ['STRING', '"\\ud83d\\ude00\\n"', 'f09f98800a'],
    ['STRING', '["\\\\u0000"]', '5b225c5c7530303030225d'],
    ['STRING', '[1, 2]', '5b312c20325d'],
    ['JSON', '{"a":1}', '017b2261223a317d'],
    ['BOOLEAN', '"true"', '01'],
  ] as const)('of %s, %s, is written in binary format', (type, json, wanted) => {
    expect(hex(type, json)).toBe(wanted);
  });

  it.each([
    ['LONG', '9223372036854775808'],
    ['LONG', '1e3'],
    ['LONG', '"007"'],
    ['LONG', '"+5"'],
    ['LONG', '""'],
    ['SHORT', '32768'],
    ['BOOLEAN', '"t"'],
    ['DOUBLE', '1e400'],
    ['DOUBLE', '1e-400'],
    ['DOUBLE', '"0x10"'],
    ['DOUBLE', '""'],
    ['NAIVE_DATE', '"2026-02-29"'],
    ['NAIVE_DATE', '"0000-00-00"'],
    ['NAIVE_DATETIME', '"2026-01-31T10:00:00Z"'],
    ['UTC_DATETIME', '"2026-01-31T24:00:00Z"'],
    ['UTC_DATETIME', '"2026-01-31T10:00:60Z"'],
    ['UTC_DATETIME', '"2026-01-31T10:00:00.Z"'],
    ['UTC_DATETIME', '"2026-01-31T10:00:00+16:00"'],
    ['UTC_DATETIME', '"infinity"'],
    ['UTC_DATETIME', '"2026-01-31\\u005410:00:00Z"'],
    ['DECIMAL(5,2)', '1.5'],
    ['FLOAT', '0.1'],
    ['BINARY', '"aGk="'],
  ] as const)('of %s, %s, is left to PostgreSQL', (type, json) => {
    expect(hex(type, json)).toBeNull();
  });

  it.each(['"\\u0000"', '"\\ud800"', '{"a":"\\u0000"}', '["\\uD83D"]'])(
    'with a character that PostgreSQL may not store is refused: %s',
    (json) => {
      expect(() => hex('STRING', json)).toThrow(UnencodableError);
    },
  );
});

describe('the places of values', () => {
  function valuesIn(lines: string, names: readonly string[]): (string | null)[][] {
    const bytes = Buffer.from(lines);
    const spans = new RecordSpans(names, new Int32Array(0), 1000);
    expect(spans.add(bytes, 0, bytes.length)).toBe(bytes.length);
    return Array.from({ length: spans.rows }, (_, row) =>
      names.map((_name, i) => {
        const at = (row * names.length + i) * 2;
        const [start = 0, end = 0] = spans.places.subarray(at, at + 2);
        return start === 0 ? null : bytes.toString('utf8', start, Math.abs(end));
      }),
    );
  }

  it('are found however a record is written', () => {
    const lines = [
      '{"a":1,"b":"x"}',
      '{"a":2,"b":"y\\"}"}',
      ' { "b" : [1, "]"] , "a" : null , "c":{"a":7} } ',
      '{"a": 3,"b":  "x"}',
      '{}',
      '{"\\u0061":4,"other":{"b":{"}":1}},"b":true}',
      '{"b":-1.5e3,"a":""}',
    ];
    expect(valuesIn(`${lines.join('\n')}\n`, ['a', 'b'])).toEqual([
      ['1', '"x"'],
      ['2', '"y\\"}"'],
      [null, '[1, "]"]'],
      ['3', '"x"'],
      [null, null],
      ['4', 'true'],
      ['""', '-1.5e3'],
    ]);
  });

  it('end where there is no room for those of another record', () => {
    const bytes = Buffer.from('{"a":1}\n{"a":2}\n{"a":3}\n');
    const spans = new RecordSpans(['a'], new Int32Array(0), 2);
    expect([spans.add(bytes, 0, bytes.length), spans.rows]).toEqual([16, 2]);
  });

  it('of a record that is cut short are an error', () => {
    expect(() => valuesIn('{"a":"x', ['a'])).toThrow('a staged record is truncated');
  });
});
