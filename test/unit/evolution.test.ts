import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Facts,
  holds,
  isAbove,
  isPlainInstant,
  kindOf,
  snakeCase,
  takes,
  type Kind,
} from '../../src/destinations/columns/widening.js';
import { FieldWalker } from '../../src/destinations/columns/fields.js';
import type { ColumnType } from '../../src/protocol.js';
import { runs } from '../helpers/long.js';

describe('a value is', () => {
  it.each<[string, Kind]>([
    ['true', 'boolean'],
    ['-12', 'whole'],
    ['1.0', 'fraction'],
    ['1e5', 'fraction'],
    ['[]', 'nested'],
    ['{"a":1}', 'nested'],
    ['"2024-02-29"', 'date'],
    ['"2023-02-29"', 'text'],
    ['"2026-13-01"', 'text'],
    ['"0000-00-00"', 'text'],
    ['"2026-01-01T10:00:00"', 'naive'],
    ['"2026-01-01 10:00:00.5"', 'naive'],
    ['"2026-01-01T10:00:00Z"', 'utc'],
    ['"2026-01-01T10:00:00.123456+00:00"', 'utc'],
    ['"2026-01-01T10:00:00.1234567Z"', 'text'],
    ['"2026-01-01T10:00:00+02:00"', 'text'],
    ['"2026-01-01T24:00:00Z"', 'text'],
    ['"2026-01-01T10:00:60Z"', 'text'],
    ['"2026-01-01T10:00"', 'text'],
    ['"20260101"', 'text'],
    ['"12"', 'text'],
    ['""', 'text'],
  ])('%s: %s', (raw, kind) => {
    expect(kindOf(raw)).toBe(kind);
  });
});

it('an instant that is known by its bytes is one by its text', () => {
  const plain = (raw: string) => isPlainInstant(Buffer.from(`x${raw}x`), 1, raw.length + 1);
  for (const raw of ['"2026-01-28T10:00:00Z"', '"2026-01-28T23:59:59.123456Z"', '"0001-12-01T00:00:00.5Z"']) {
    expect(plain(raw)).toBe(true);
  }
  const near = fc
    .date({
      noInvalidDate: true,
      min: new Date('0000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T00:00:00Z'),
    })
    .chain((date) =>
      fc.tuple(fc.constant(date.toISOString()), fc.nat(23), fc.constantFrom(...'0123456789.-:TZ "x')),
    )
    .map(([text, at, c]) => JSON.stringify(text.slice(0, at) + c + text.slice(at + 1)));
  fc.assert(
    fc.property(near, (raw) => {
      if (plain(raw)) expect(kindOf(raw)).toBe('utc');
    }),
    { numRuns: runs(20_000) },
  );
});

/** The JSON text of a value as APIs send them. */
const values = fc.oneof(
  fc.boolean().map(String),
  fc.integer().map(String),
  fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc
    .tuple(fc.bigInt({ min: 0n, max: 10n ** 30n }), fc.stringMatching(/^\d{1,30}$/))
    .map(([whole, fraction]) => `${whole}.${fraction}`),
  fc
    .date({
      min: new Date('0001-01-02T00:00:00Z'),
      max: new Date('9999-12-31T00:00:00Z'),
      noInvalidDate: true,
    })
    .chain((date) =>
      fc.constantFrom(
        JSON.stringify(date),
        JSON.stringify(date.toISOString().slice(0, 10)),
        JSON.stringify(date.toISOString().slice(0, -1)),
        JSON.stringify(date.toISOString().replace('Z', '+02:00')),
      ),
    ),
  fc.string().map((text) => JSON.stringify(text)),
  fc.json({ maxDepth: 2 }).filter((text) => text !== 'null'),
);

/** What a column is after batches of values, where what stands in it always survives. */
function after(batches: readonly string[][], survives = true): ColumnType | null {
  let type: ColumnType | null = null;
  for (const batch of batches) {
    const current: ColumnType | null = type;
    if (batch.length === 0 || (current !== null && batch.every((raw) => holds(current, raw)))) continue;
    const facts = new Facts();
    for (const raw of batch) facts.addValue(raw);
    type = facts.nextType(current, false, survives ? [] : ['DOUBLE']);
    if (current !== null) expect(isAbove(type, current)).toBe(true);
  }
  return type;
}

describe('the type of a column', () => {
  it('holds every value of the batch that it was found by, and every type above it does', () => {
    fc.assert(
      fc.property(
        fc.array(values, { minLength: 1, maxLength: 6 }),
        fc.array(values, { maxLength: 6 }),
        (one, two) => {
          const first = after([one]) as ColumnType;
          for (const raw of one) expect(holds(first, raw)).toBe(true);
          const second = after([one, two], false) as ColumnType;
          for (const raw of two) expect(holds(second, raw)).toBe(true);
          // A text that met an object is one in JSON: what was held is held still.
          for (const raw of one) expect(holds(second, raw) || second === 'STRING').toBe(true);
        },
      ),
      { numRuns: runs(3000) },
    );
  });

  it('does not depend on how the records are cut into batches', () => {
    const plain = values.filter((raw) => !/^-?[\d.eE+-]{16,}$/.test(raw) && !/[eE]/.test(raw));
    fc.assert(
      fc.property(fc.array(plain, { minLength: 1, maxLength: 6 }), (list) => {
        expect(after(list.map((raw) => [raw]))).toBe(after([list]));
        expect(after([...list].reverse().map((raw) => [raw]))).toBe(after([list]));
      }),
      { numRuns: runs(3000) },
    );
  });

  it('of a key is a whole number or text', () => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 6 }), (list) => {
        const facts = new Facts();
        for (const raw of list) facts.addValue(raw);
        const isNested = list.some((raw) => kindOf(raw) === 'nested');
        const type = facts.nextType(null, true);
        expect(['LONG', 'DECIMAL(38,0)', 'STRING', ...(isNested ? ['JSON'] : [])]).toContain(type);
      }),
    );
  });
});

it.each<[ColumnType, string, boolean]>([
  ['LONG', '"12"', true],
  ['LONG', '"12.5"', false],
  ['LONG', '1e3', true],
  ['LONG', '9223372036854775808', false],
  ['SHORT', '40000', false],
  ['BOOLEAN', '"true"', true],
  ['BOOLEAN', '1', false],
  ['DOUBLE', '"1e400"', false],
  ['DECIMAL(5,2)', '1234.5', false],
  ['DECIMAL(5,2)', '"123.456"', true],
  ['UTC_DATETIME', '"2026-01-01"', true],
  ['UTC_DATETIME', '"2026-02-30T00:00:00Z"', false],
  ['UTC_DATETIME', '5', false],
  ['BINARY', '"aGk="', true],
  ['BINARY', '"hi!"', false],
  ['STRING', '{}', true],
])('a column that was declared %s takes %s: %s', (type, raw, fits) => {
  expect(takes(type, raw)).toBe(fits);
});

it.each([
  ['createdAt', 'created_at'],
  ['CreatedAt', 'created_at'],
  ['created_at', 'created_at'],
  ['HTTPServer', 'http_server'],
  ['userID', 'user_id'],
  ['Total (EUR)', 'total_eur'],
  ['größeÄnderung', 'größe_änderung'],
  ['_id', '_id'],
  ['a1B', 'a1_b'],
  ['--', '_'],
])('%s in snake case is %s', (name, snake) => {
  expect(snakeCase(name)).toBe(snake);
  expect(snakeCase(snake)).toBe(snake);
});

describe('the members of a record', () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));
  const space = fc.constantFrom('', ' ', '\t', '  ');

  it('are found as they stand, whatever the spaces, whatever came before', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(object, space), { maxLength: 5 }), (records) => {
        const wanted = records.map(
          ([record]) => JSON.parse(JSON.stringify(record)) as Record<string, unknown>,
        );
        const text = wanted
          .map((record, i) => {
            const gap = records[i]?.[1] ?? '';
            const members = Object.entries(record).map(
              ([name, value]) => `${gap}${JSON.stringify(name)}${gap}:${gap}${JSON.stringify(value)}${gap}`,
            );
            return `${gap}{${members.join(',')}}${gap}\n`;
          })
          .join('');
        const found: [string, unknown][][] = [];
        let members: [string, unknown][] = [];
        new FieldWalker<null>(0).walk(Buffer.from(text), {
          value: ({ path }, bytes, start, end) =>
            void members.push([path[0] ?? '', JSON.parse(bytes.toString('utf8', start, end))]),
          record: (bytes, start, end) => {
            expect(() => JSON.parse(bytes.toString('utf8', start, end)) as unknown).not.toThrow();
            found.push(members);
            members = [];
          },
        });
        expect(found).toEqual(
          wanted.map((record) => Object.entries(record).filter(([, value]) => value !== null)),
        );
      }),
      { numRuns: runs(1000) },
    );
  });

  it('are walked into so many levels deep', () => {
    const paths = (levels: number) => {
      const found: string[] = [];
      new FieldWalker<null>(levels).walk(Buffer.from('{"a":{"b":{"c":1},"d":[{"e":1}]},"f":{},"g":"{"}\n'), {
        value: ({ path }, bytes, start, end) =>
          void found.push(`${path.join('.')}=${bytes.toString('utf8', start, end)}`),
        record: () => undefined,
      });
      return found;
    };
    expect(paths(0)).toEqual(['a={"b":{"c":1},"d":[{"e":1}]}', 'f={}', 'g="{"']);
    expect(paths(1)).toEqual(['a.b={"c":1}', 'a.d=[{"e":1}]', 'g="{"']);
    expect(paths(2)).toEqual(['a.b.c=1', 'a.d=[{"e":1}]', 'g="{"']);
  });

  it('of a file that is cut short are an error, not an endless search', () => {
    const visitor = { value: () => undefined, record: () => undefined };
    for (const text of ['{"a":"b', '{"a":[1', '{"a']) {
      expect(() => new FieldWalker<null>(0).walk(Buffer.from(text), visitor)).toThrow('is truncated');
    }
  });
});
