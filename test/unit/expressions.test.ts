/** What expressions make of values: by the specification of CEL, to the last digit, and the same on every machine. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Expression, ExpressionError } from '../../src/request/expressions.js';
import { JsonTape } from '../../src/request/json-tape.js';
import { celValue, resultText } from '../../src/sources/shaping/cel-values.js';

/** The result of an expression over a record, as JSON text. */
function resultOf(source: string, record = '{}'): string | null {
  const expression = new Expression(source);
  const tape = new JsonTape(record);
  const members = new Map([...tape.named(0)].map(([name, at]) => [name, celValue(tape, at)]));
  const values = Object.fromEntries(expression.names.map((name) => [name, members.get(name) ?? null]));
  return resultText(expression.evaluate(values));
}

describe.each([
  ['UTC', 0],
  ['America/New_York', 300],
  ['Pacific/Auckland', -780],
])('a time, where the worker is in %s', (zone, offset) => {
  const before = process.env['TZ'];
  beforeAll(() => {
    process.env['TZ'] = zone;
    expect(new Date(2024, 0, 1).getTimezoneOffset()).toBe(offset);
  });
  afterAll(() => {
    if (before === undefined) delete process.env['TZ'];
    else process.env['TZ'] = before;
  });

  it.each([
    ["timestamp('2024-07-01T12:00:00Z').getDayOfYear()", '182'],
    ["timestamp('2024-12-31T23:30:00Z').getDayOfYear()", '365'],
    ["timestamp('2024-12-31T23:30:00Z').getDayOfYear('Europe/Berlin')", '0'],
    ["timestamp('2024-03-10T02:30:00Z').getHours('UTC')", '2'],
    ["timestamp('2024-03-31T01:30:00Z').getHours('Europe/Berlin')", '3'],
    ["timestamp('2024-03-31T01:30:00Z').getMinutes('+05:45')", '15'],
    ["timestamp('2024-03-31T01:30:00.250Z').getMilliseconds('Asia/Tokyo')", '250'],
    ["timestamp('2024-07-01T12:00:00+02:00')", '"2024-07-01T10:00:00.000Z"'],
    ["timestamp('2024-02-29T23:00:00-02:00')", '"2024-03-01T01:00:00.000Z"'],
  ])('%s is %s', (source, result) => expect(resultOf(source)).toBe(result));

  it.each([
    ['2024-07-01 12:00:00.000', 'RFC 3339'],
    ['2024-07-01T12:00:00.000', 'RFC 3339'],
    ['07/01/2024 12:00:00 PM', 'RFC 3339'],
    ['2024-02-30T10:00:00.000Z', 'does not exist'],
    ['2024-07-01T24:00:00Z', 'does not exist'],
    ['2024-06-30T23:59:60Z', 'does not exist'],
  ])('is none in %s', (text, why) => {
    expect(() => resultOf('timestamp(t)', JSON.stringify({ t: text }))).toThrow(why);
  });
});

describe('a time with microseconds', () => {
  const record = '{"t":"2024-07-01T12:00:00.123456Z"}';
  it('keeps them', () => {
    expect(resultOf('timestamp(t)', record)).toBe('"2024-07-01T12:00:00.123456Z"');
    expect(resultOf('string(timestamp(t))', record)).toBe('"2024-07-01T12:00:00.123456Z"');
    expect(resultOf('timestamp(t).getFullYear()', record)).toBe('2024');
    expect(resultOf("timestamp('2024-07-01T12:00:00.120000Z') + duration('1s')")).toBe(
      '"2024-07-01T12:00:01.120Z"',
    );
  });

  it.each(["+ duration('1s')", "- timestamp('2024-07-01T12:00:00Z')", '== timestamp(t)', '< timestamp(t)'])(
    'is not calculated with: %s',
    (rest) => expect(() => resultOf(`timestamp(t) ${rest}`, record)).toThrow('below a millisecond'),
  );
});

describe('a duration', () => {
  it.each([
    ["duration('-1.5s')", '"-1.5s"'],
    ["duration('-0.5s') + duration('-0.3s')", '"-0.8s"'],
    ["duration('-0.5s') - duration('0.7s')", '"-1.2s"'],
    ["duration('1h30m').getMinutes()", '90'],
    ["timestamp('2025-01-01T00:00:00.001Z') - timestamp('2000-01-01T00:00:00Z')", '"789004800.001s"'],
    [
      "timestamp('2025-01-01T00:00:00Z') - timestamp('2025-01-01T00:00:00.5Z') + duration('-0.3s')",
      '"-0.8s"',
    ],
    ["timestamp('2025-01-01T00:00:00Z') + duration('-0.5s')", '"2024-12-31T23:59:59.500Z"'],
  ])('%s is %s', (source, result) => expect(resultOf(source)).toBe(result));

  it.each(['', '5', '1.5', 's', '1500us', '0.0000000001s', '1h 2m'])('is none in %j', (text) => {
    expect(() => resultOf('duration(d)', JSON.stringify({ d: text }))).toThrow('duration()');
  });
});

describe('a number', () => {
  it.each([
    ["int('-007')", '-7'],
    ['int(-1.9)', '-1'],
    ["int('9223372036854775807')", '9223372036854775807'],
    ["double('1.50')", '1.5'],
    ["double('.5e1')", '5'],
    ['double(9007199254740992)', '9007199254740992'],
    ['-9223372036854775808', '-9223372036854775808'],
    ['1e3', '1000'],
  ])('%s is %s', (source, result) => expect(resultOf(source)).toBe(result));

  it.each([
    "int('')",
    "int('0b11')",
    "int('0o7')",
    "int('1.5')",
    "int('9223372036854775808')",
    'int(1e19)',
    'int(-1e19)',
    "double('')",
    "double('0x10')",
    "double('NaN')",
    "double('0.12345678901234567890')",
    'double(9007199254740993)',
    '-(-9223372036854775807 - 1)',
  ])('is none that loses digits: %s', (source) => expect(() => resultOf(source)).toThrow(ExpressionError));

  it.each([
    [
      '9007199254740993.0',
      'the number 9007199254740993.0 has more digits than a double holds, at character 1',
    ],
    ['bytes(j).json()', 'json() would round'],
    ["uint('5')", 'uint()'],
  ])('is refused before anything is read: %s', (source, why) => {
    expect(() => new Expression(source)).toThrow(why);
  });
});

describe('a text', () => {
  const record = '{"s":"a😀b"}';
  it.each([
    ['s.substring(0, 2)', '"a😀"'],
    ['s.substring(2)', '"b"'],
    ["s.indexOf('b')", '2'],
    ["s.indexOf('b', 2)", '2'],
    ["s.lastIndexOf('b')", '2'],
    ["s.indexOf('c')", '-1'],
    ["s.split('')", '["a","😀","b"]'],
    ["s.replace('', '-')", '"-a-😀-b-"'],
    ["'a,b,c'.split(',', 2)", '["a","b,c"]'],
    ["'a,b,c'.split(',', 0)", '[]'],
    ["'a,b,c'.split(',', 1)", '["a,b,c"]'],
    ["'a,b,c'.split(',', -1).join(';')", '"a;b;c"'],
    ["'ÄB'.lowerAscii()", '"Äb"'],
    ["bytes('é').hex()", '"c3a9"'],
  ])('%s is %s', (source, result) => expect(resultOf(source, record)).toBe(result));

  it('is none in bytes that are not UTF-8', () => {
    expect(() => resultOf("string(b'\\xff')")).toThrow('UTF-8');
  });

  it.each(["x.replace('', x)", "x.replace('a', x)", "x.split('').map(c, x).join()", "x.split('').join(x)"])(
    'is refused before it fills the memory: %s',
    (source) => {
      const began = performance.now();
      expect(() => resultOf(source, JSON.stringify({ x: 'a'.repeat(20_000) }))).toThrow(
        'the limit is 4194304',
      );
      expect(performance.now() - began).toBeLessThan(1000);
    },
  );

  it('is called by the names that the expression has, where a function does not fit', () => {
    expect(() => new Expression("timestamp('a', 'b')")).toThrow("'timestamp(string, string)' at character 1");
  });
});
