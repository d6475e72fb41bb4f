/** What a configuration asks of an answer takes a time and a memory that keep to the size of the answer, or is refused. */
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { exec } from 'jsonpath-rfc9535';
import { describe, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';
import type { ErrorRule } from '../../src/protocol.js';
import { readableBody } from '../../src/sources/body.js';
import { CostlyPathError, JsonPath } from '../../src/request/json-path.js';
import { JsonTape, TooManyValuesError, VALUE_LIMIT } from '../../src/request/json-tape.js';
import { filterProblem, jsonPathProblem, passes } from '../../src/request/paths.js';
import { patternOf, patternProblem } from '../../src/request/patterns.js';
import { fittingRule } from '../../src/sources/rules.js';
import { patternValues } from '../../src/strategies/patterns.js';

/** Patterns that backtrack for ages, and texts that make them. */
const SLOW: [string, string][] = [
  ['(a+)+$', `${'a'.repeat(50_000)}!`],
  ['(a|aa)+$', `${'a'.repeat(50_000)}!`],
  ['^(([a-z])+.)+[A-Z]([a-z])+$', 'a'.repeat(50_000)],
  ['(x+x+)+y', 'x'.repeat(50_000)],
  ['(.*)*=(.*)*;(.*)*!', 'ab='.repeat(10_000)],
];
const milliseconds = (work: () => unknown) => {
  const from = performance.now();
  work();
  return performance.now() - from;
};
const MAY_TAKE = 5_000;

describe('a regular expression of a configuration', () => {
  test.each(SLOW)('takes linear time in a rule for errors: %s', (body, text) => {
    const rule: ErrorRule = { statuses: ['400'], body, path: null, action: 'fail', waitSeconds: 0 };
    expect(milliseconds(() => fittingRule([rule], 400, { text }))).toBeLessThan(MAY_TAKE);
  });

  test.each(SLOW)('takes linear time in a filter and in a path: %s', (pattern, text) => {
    const record = JSON.stringify({ id: text, of: pattern });
    for (const call of ['match', 'search']) {
      const literal = pattern.replaceAll('\\', '\\\\');
      expect(milliseconds(() => passes(record, `${call}(@.id, '${literal}')`))).toBeLessThan(MAY_TAKE);
      // A pattern that the answer itself holds.
      expect(milliseconds(() => passes(record, `${call}(@.id, @.of)`))).toBeLessThan(MAY_TAKE);
    }
  });

  test('means what it meant', () => {
    const meant: [string, string, boolean][] = [
      ['rate.?limit', 'Rate-Limit reached', true],
      ['^\\{"code":\\s*42\\b', '{"code": 42}', true],
      ['no such (user|account)', 'NO SUCH USER', true],
      ['(?<what>\\w+) denied', 'access denied', true],
      ['\\u00e9t\\u00e9', 'été', true],
      ['[^\\d]x\\/y', '1x/y', false],
    ];
    for (const [source, text, is] of meant) {
      expect(new RegExp(source, 'i').test(text), source).toBe(is);
      expect(patternOf(source, true).isIn(text), source).toBe(is);
    }
  });

  test.each(['(?=a)b', '(?!a)b', '(?<=a)b', '(a)\\1', 'a(b', '[z-a]', 'x{100000}', '*'])(
    'is refused before anything runs where it has no linear time, or is none: %s',
    (body) => {
      expect(patternProblem(body)).not.toBeNull();
      const stream = {
        name: 's',
        strategy: 'offset',
        columns: { id: 'STRING' },
        errors: [{ body, action: 'fail' }],
      };
      const check = () => plansFrom({ source: { base_url: 'http://h' }, streams: [stream] });
      expect(check).toThrow(ConfigurationError);
      expect(check).toThrow(
        /streams\[0\]\.errors\[0\]\.body: is not a valid regular expression \(RE2 syntax/,
      );
    },
  );

  test.each([
    ["match(@.a, '(?=x)y')", /pattern "\(\?=x\)y" is invalid/],
    ["search(@.a, '(a)\\\\1')", /is invalid/],
    ["serch(@.a, 'x') == true", /no function serch; allowed: length/],
    ['length(@.a, @.b) == 1', /takes one argument/],
    ['@.id == $[0].id', /refers to "\$"; a filter sees one record at a time/],
  ])('is refused in a filter: %s', (where, words) => {
    expect(filterProblem(where)).toMatch(words);
    const stream = { name: 's', strategy: 'offset', columns: { id: 'STRING' }, where };
    expect(() => plansFrom({ source: { base_url: 'http://h' }, streams: [stream] })).toThrow(
      /streams\[0\]\.where/,
    );
  });
});

describe('a pattern of times', () => {
  test('that could be read in ever more ways is refused', () => {
    const pattern = 'yyyy-MM-dd HH:mm:ss.SSS z.z.z.z.z';
    expect(() => patternValues({ pattern, zone: 'UTC' })).toThrow(/contains the time zone more than once/);
  });

  test.each(['yyyy-MM-dd HH:mm:ss.SSS z', "d MMMM yyyy 'at' h:mm:ss.SSS a z", 'yyyyMMddHHmmssSSSZZZ'])(
    'takes linear time: %s',
    (pattern) => {
      const { isValue } = patternValues({ pattern, zone: 'UTC' });
      for (const text of [
        '1'.repeat(5_000),
        `2023-11-25 17:45:56.789 ${'a.'.repeat(5_000)}!`,
        '25 November'.repeat(500),
      ])
        expect(milliseconds(() => isValue(text))).toBeLessThan(1_000);
    },
  );
});

const names = ['a', 'b', 'c d', "e'f", 'ü'];
const anyJson = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, false, 0, 1, 2.5, -1, 'a', 'b', 'ab', ''),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...names), tie('value'), { maxKeys: 4 }),
  ),
})).value;
const name = fc.constantFrom(...names).map((text) => `['${text.replace(/'/g, "\\'")}']`);
// The library counts bounds that lie before the beginning from the end once more.
const slice = fc
  .tuple(
    fc.option(fc.integer({ min: 0, max: 5 })),
    fc.option(fc.integer({ min: 0, max: 5 })),
    fc.constantFrom(1, 2, -1, -2),
  )
  .map(([from, to, step]) => `[${from ?? ''}:${to ?? ''}:${step}]`);
const comparable = fc.oneof(
  fc.constantFrom(
    '@.a',
    '@.b',
    '@',
    '$.a',
    "'a'",
    '1',
    'null',
    'true',
    'count(@.*)',
    'length(@.a)',
    'value(@..a)',
  ),
);
const condition = fc.oneof(
  fc.constantFrom('@.a', '!@.b', '@..a', '$..b', '@[?@.a]', "match(@.a, 'a.?')", "search(@, 'b')"),
  fc
    .tuple(comparable, fc.constantFrom('==', '!=', '<', '<=', '>', '>='), comparable)
    .map(([left, op, right]) => `${left} ${op} ${right}`),
);
const filter = fc.oneof(
  condition.map((one) => `[?${one}]`),
  fc.tuple(condition, fc.constantFrom('&&', '||'), condition).map(([a, op, b]) => `[?${a} ${op} ${b}]`),
);
const segment = fc.oneof(
  name,
  fc.constantFrom('.a', '.b', '.*', '[*]', '[0]', '[-1]', "['a','b',0]", '[1,0]'),
  slice,
  filter,
);
const anyPath = fc
  .array(fc.tuple(fc.boolean(), segment), { minLength: 1, maxLength: 4 })
  .map((all) => `$${all.map(([isDeep, one]) => (isDeep ? `..${one.replace(/^\./, '')}` : one)).join('')}`);

describe('a JSONPath', () => {
  test('selects what the library selects, in the same order', () => {
    fc.assert(
      fc.property(anyJson, anyPath, (value, path) => {
        const theirs: string[] = [];
        exec(value as never, path, (found) => void theirs.push(JSON.stringify(found)));
        // The library takes the length of nothing for false.
        fc.pre(!/length|value/.test(path) || theirs.length > 0);
        const tape = new JsonTape(JSON.stringify(value));
        expect(new JsonPath(path).select(tape).map((at) => tape.textOf(at))).toEqual(theirs);
      }),
      { numRuns: 3_000 },
    );
  }, 60_000);

  test.each(['$..*..*..*', '$..[?count(@..*) > 1]', '$..*[?@..a]..*', '$..[?@..[?@..a]]'])(
    'that goes through an answer again and again is refused, with its size: %s',
    (path) => {
      // Deep, so that what is in a value is in thousands of others too.
      const deep = `${'{"a":['.repeat(3_000)}1${',2]}'.repeat(3_000)}`;
      const wide = `[${Array.from({ length: 3_000 }, (_, i) => `{"a":${i},"b":[${'1,'.repeat(20)}1]}`).join(',')}]`;
      const tries = [deep, wide].map((text) => {
        let thrown: unknown;
        const taken = milliseconds(() => {
          try {
            new JsonPath(path).select(new JsonTape(text));
          } catch (error) {
            thrown = error;
          }
        });
        expect(taken).toBeLessThan(10_000);
        return thrown;
      });
      const refusal = tries.find((one) => one !== undefined);
      expect(refusal).toBeInstanceOf(CostlyPathError);
      expect((refusal as Error).message).toMatch(/[\d,]+ values and names in [\d,]+ characters/);
    },
  );

  test.each([
    '$..a',
    '$[?@.a > 5]',
    '$[?@.a == $[0].a]',
    '$..[?@.a]',
    '$[?count($..b) > 1]',
    '$[0].b[*]',
    '$[*].b[-1]',
    '$..b[?@ > 0]',
  ])('takes time linear in the answer: %s', (path) => {
    const answer = (records: number) =>
      new JsonTape(
        `[${Array.from({ length: records }, (_, i) => `{"a":${i},"b":[1,2,{"a":"x"}]}`).join(',')}]`,
      );
    const compiled = new JsonPath(path);
    const [small, large] = [answer(5_000), answer(100_000)];
    compiled.select(small);
    const [one, many] = [small, large].map((tape) => milliseconds(() => compiled.select(tape))) as [
      number,
      number,
    ];
    expect(many).toBeLessThan(20 * one * 10 + 1_000);
  });

  test('compares what stands at a place of a list, which the library does not', () => {
    const tape = new JsonTape('[[0],[1],"x"]');
    expect(new JsonPath('$[?@[0] == 0 || @[-1] > 0]').select(tape).map((at) => tape.textOf(at))).toEqual([
      '[0]',
      '[1]',
    ]);
  });

  test('reads places as JSON.parse does, where names come twice or are escaped', () => {
    const tape = new JsonTape(' {"a":1,"\\u0061":{"x":"\\"]"}, "b" : [ 1.50 , "c:,{" ] } ');
    const texts = (path: string) => new JsonPath(path).select(tape).map((at) => tape.textOf(at));
    expect(texts('$.a')).toEqual(['{"x":"\\"]"}']);
    expect(texts('$.b[0]')).toEqual(['1.50']);
    expect(texts('$.*.x')).toEqual(['"\\"]"']);
    expect(texts('$.b[-1]')).toEqual(['"c:,{"']);
  });

  test.each([
    ['[1:3]', [1, 2]],
    ['[5:1:-2]', [5, 3]],
    ['[::-1]', [6, 5, 4, 3, 2, 1, 0]],
    ['[-2:]', [5, 6]],
    ['[:-9]', []],
    ['[:-9:-3]', [6, 3, 0]],
    ['[-9:2]', [0, 1]],
    ['[1:5:0]', []],
  ])('takes the slice %s as RFC 9535 has it', (slice, items) => {
    const tape = new JsonTape('[0,1,2,3,4,5,6]');
    expect(new JsonPath(`$${slice}`).select(tape).map((at) => tape.valueOf(at))).toEqual(items);
  });

  test('is compiled with its patterns, and refused where one cannot be used', () => {
    expect(jsonPathProblem("$.data[?match(@.a, 'x|y')]")).toBeNull();
    expect(jsonPathProblem("$.data[?match(@.a, '(?!x)')]")).toContain('is invalid');
  });

  test('matches a whole text by each of several alternatives', () => {
    expect(passes('{"a":"xz"}', "match(@.a, 'x|y')")).toBe(false);
    expect(passes('{"a":"y"}', "match(@.a, 'x|y')")).toBe(true);
    expect(passes('{"a":"a\\nb"}', "match(@.a, 'a.b')")).toBe(false);
    expect(passes('{"a":"a.b"}', "match(@.a, 'a[.]b')")).toBe(true);
  });
});

/** Reads a body by a path. */
async function read(body: string, records: string): Promise<string> {
  const source = Readable.from([Buffer.from(body)]) as AsyncIterable<Buffer>;
  const { bytes } = readableBody(source, { records, format: 'json' } as never, ['id'], [], {});
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('an answer that a JSONPath is to be followed in', () => {
  test('is refused with its size where it has too many values for the memory', async () => {
    const body = `[${'1,'.repeat(VALUE_LIMIT)}1]`;
    await expect(read(body, '$[*]')).rejects.toThrow(
      /2,000,002 values and names; at most 2,000,000 can be searched/,
    );
    expect(() => new JsonTape(body)).toThrow(TooManyValuesError);
  });

  test('is refused where what is selected is many times as long as itself', async () => {
    const body = `${'{"a":['.repeat(2_000)}"${'x'.repeat(100_000)}"${']}'.repeat(2_000)}`;
    await expect(read(body, '$..*')).rejects.toThrow(
      /have [\d,]+ characters in total; the limit is 16,777,216/,
    );
  });

  test('of the largest size takes no more memory than it promises', async () => {
    const record =
      '{"id":12345678,"name":"Some Person","email":"some@person.example","createdAt":"2026-01-01T00:00:00Z"},';
    const body = `[${record.repeat(Math.floor((16 * 1024 * 1024) / record.length) - 2)}${record.slice(0, -1)}]`;
    const before = process.memoryUsage().rss;
    const from = performance.now();
    const records = await read(body, '$[?@.id > 5]');
    expect(records.length).toBeGreaterThan(16_000_000);
    expect((process.memoryUsage().rss - before) / 1e6).toBeLessThan(450);
    expect(performance.now() - from).toBeLessThan(10_000);
  });
});
