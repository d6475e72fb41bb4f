import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ColumnType, PageRecords } from '../../src/protocol.js';
import { isTaken } from '../../src/sources/declared-values.js';
import { RecordScanner, ScanError, type ScannerOptions } from '../../src/sources/record-scanner.js';
import { RecordWalker } from '../../src/sources/record-walker.js';
import { COMPILED, compiled } from '../../scripts/assembly.js';
import { runs } from '../helpers/long.js';

const MEBIBYTE = 1024 * 1024;

interface Scanned {
  lines: string[];
  keys: string[];
  values: (string | null)[];
  undeclared: string[];
  envelope: Record<string, unknown>;
  longest: number;
}

/** Pushes a body in pieces that end at `cuts`, and takes what comes out. */
function scan(body: string | Buffer, cuts: number[] = [], options: Partial<ScannerOptions> = {}): Scanned {
  const bytes = Buffer.from(body);
  let text = '';
  const keys: string[] = [];
  const values: (string | null)[] = [];
  const scanner = new RecordScanner({
    records: ['data'],
    primaryKey: ['id'],
    cursorField: 'updatedAt',
    columns: ['id', 'updatedAt', 'name'],
    recordLimit: 64 * MEBIBYTE,
    sink: (lines, records) => {
      text += `${lines.toString('utf8')}\n`;
      keys.push(...records.keys);
      values.push(...records.values);
    },
    ...options,
  });
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  places.forEach((from, i) => {
    // A copy, as from a socket: the scanner changes what it is given.
    if (places[i + 1] !== undefined) scanner.push(Buffer.from(bytes.subarray(from, places[i + 1])));
  });
  const envelope = scanner.end().value as Record<string, unknown>;
  // Spaces before a record may stay.
  const lines = text === '' ? [] : text.trim().split(/ *\n */);
  expect(scanner.count).toBe(lines.length);
  if (options.remembers === undefined) {
    expect(keys).toHaveLength(lines.length);
    expect(values).toHaveLength(lines.length);
  }
  const { undeclared, longest } = scanner;
  return { lines, keys, values, undeclared: [...undeclared], envelope, longest };
}

/** Why a body is refused. */
function refusal(
  body: string | Buffer,
  options: Partial<ScannerOptions> = {},
  cuts: number[] = [],
): ScanError {
  try {
    scan(body, cuts, options);
  } catch (thrown) {
    if (thrown instanceof ScanError) return thrown;
    throw thrown;
  }
  throw new Error('was not refused');
}

/** Random JSON texts: what a value is, and every way to write it down that the grammar has. */
const json = (() => {
  const space = fc.constantFrom('', '', '', ' ', '\n', '\r\n', '\t', '\n    ');
  const digits = fc.stringMatching(/^[0-9]{1,25}$/);
  const number = fc
    .tuple(
      fc.constantFrom('', '-'),
      fc.stringMatching(/^(0|[1-9][0-9]{0,25})$/),
      fc.option(digits, { nil: null }),
      fc.option(fc.stringMatching(/^[eE][+-]?[0-9]{1,3}$/), { nil: null }),
    )
    .map(
      ([sign, whole, fraction, exponent]) =>
        `${sign}${whole}${fraction === null ? '' : `.${fraction}`}${exponent ?? ''}`,
    );
  const escape = (text: string) =>
    JSON.stringify(text).replace(/[^\x20-\x7e]/gu, (c) =>
      [...Array(c.length).keys()].map((i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
    );
  // Half a surrogate pair cannot be written as UTF-8.
  const words = fc.string({ unit: 'binary', maxLength: 12 });
  const string = fc.oneof(
    words.map((text) => JSON.stringify(text)),
    words.map(escape),
    fc.constantFrom('"\\/\\b\\f\\n\\r\\t\\"\\\\"', '"\\ud83d\\uDE00"', '"]}"', '"{[,:"', '""'),
  );
  const list = (open: string, close: string, items: string[], spaces: string[]) =>
    open +
    items.map((item, i) => (spaces[i % 7] ?? '') + item + (spaces[(i + 1) % 7] ?? '')).join(',') +
    (spaces[6] ?? '') +
    close;
  const spaces = fc.array(space, { minLength: 7, maxLength: 7 });
  const member = (value: fc.Arbitrary<string>) =>
    fc.tuple(string, space, space, value).map(([name, a, b, v]) => `${name}${a}:${b}${v}`);
  const { value } = fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom('null', 'true', 'false'),
      number,
      string,
      fc.tuple(fc.array(tie('value'), { maxLength: 4 }), spaces).map(([v, s]) => list('[', ']', v, s)),
      fc
        .tuple(fc.array(member(tie('value')), { maxLength: 4 }), spaces)
        .map(([v, s]) => list('{', '}', v, s)),
    ),
  }));
  const id = fc.oneof(string, number);
  const record = fc
    .tuple(fc.array(member(value), { maxLength: 4 }), fc.tuple(id, space, space), fc.nat(4), spaces)
    .map(([members, [idText, a, b], place, s]) => {
      const others = members.filter((m) => !m.startsWith('"id"') && !m.startsWith('"\\u0069'));
      return list('{', '}', others.toSpliced(place, 0, `"id"${a}:${b}${idText}`), s);
    });
  const document = fc
    .tuple(
      fc.array(member(value), { maxLength: 2 }),
      fc.array(record, { maxLength: 8 }),
      fc.array(member(value), { maxLength: 2 }),
      spaces,
      fc.boolean(),
    )
    .map(([before, records, after, s, mark]) => {
      const data = `"data"${s[0]}:${s[1]}${list('[', ']', records, s)}`;
      return (
        (mark ? '\uFEFF' : '') + (s[2] ?? '') + list('{', '}', [...before, data, ...after], s) + (s[3] ?? '')
      );
    });
  /** Halves of surrogate pairs, names that come twice in an object, and values of declared types or nearly so. */
  const odd = fc.oneof(
    fc.constantFrom('"\\ud83d"', '"a\\uDE00b"', '"\\ud83d\\ud83d\\ude00"', '"\\ud83d\\u0041"', '"\\\\ud83d"'),
    fc.constantFrom(
      '{"a":1,"a":2}',
      '[{"b":{"a":1,"c":2,"a":"\\ud83d"}}]',
      '{"\\ud83d":1,"\\ude00":2}',
      '{"a":1,"\\u0061":2}',
    ),
    fc.constantFrom(
      '"true"',
      '"yes"',
      '"12"',
      '"1.50"',
      '"-0.5"',
      '"007"',
      '"1e3"',
      '" 1"',
      '-12',
      '999.995',
      '"aGk="',
      '"aG=="',
    ),
    fc.constantFrom(
      '"2026-01-31"',
      '"2026-02-29"',
      '"2026-01-01T10:00:00Z"',
      '"2026-01-01 10:00:00.5"',
      '"2026-01-01T10:00:00+02:00"',
    ),
    fc.constantFrom(
      '"2026-13-01"',
      '"2026-01-01T25:00:00Z"',
      '"2026-01-01T10:00:00."',
      '"2026-01-01T10:00:00+16:00"',
      '"infinity"',
    ),
  );
  /** What APIs answer: records of one kind, written in one way, most of them with all members in one order. */
  const rows = fc
    .tuple(
      fc.uniqueArray(
        fc.constantFrom('name', 'updatedAt', 'price', 'rank', 'other', 'very_long_name_of_a_member'),
        {
          minLength: 1,
        },
      ),
      fc.constantFrom(':', ': ', ' :', ':  '),
      fc.constantFrom(',', ', ', ',\t', ' , ', ',\n'),
      fc.array(
        fc.record({
          id: fc.oneof(
            { weight: 9, arbitrary: id },
            { weight: 1, arbitrary: fc.constantFrom('null', '[]', 'true') },
          ),
          values: fc.array(
            fc.oneof({ weight: 3, arbitrary: string }, { weight: 2, arbitrary: number }, value, odd),
            {
              minLength: 6,
              maxLength: 6,
            },
          ),
          left: fc.option(fc.nat(6), { nil: 9, freq: 4 }),
          turned: fc.option(fc.nat(6), { nil: 0, freq: 8 }),
          again: fc.option(fc.nat(6), { nil: 9, freq: 8 }),
          gap: fc.constantFrom(',', ',', ', ', '\n  ,\r\n'),
        }),
        { minLength: 2, maxLength: 25 },
      ),
    )
    .map(([names, colon, comma, records]) => {
      const texts = records.map(({ id: own, values, left, turned, again, gap }, i) => {
        const members = ['id', ...names].map(
          (name, k) => `"${name}"${colon}${k === 0 ? own : (values[k - 1] ?? '0')}`,
        );
        const kept = members.filter((_, k) => k !== left);
        const all = [
          ...kept.slice(turned),
          ...kept.slice(0, turned),
          ...members.slice(again, again + 1),
        ].join(comma);
        return `${i === 0 ? '' : gap}{${all}}`;
      });
      return `{"data":[${texts.join('')}],"total":${records.length}}`;
    });
  return { document, rows };
})();

const withoutMark = (text: string) => text.replace(/^\uFEFF/, '');

describe('a body cut anywhere', () => {
  it('gives the records, keys and envelope that JSON.parse gives', () => {
    fc.assert(
      fc.property(json.document, fc.array(fc.nat(), { maxLength: 12 }), (body, cuts) => {
        const { data, ...rest } = JSON.parse(withoutMark(body)) as { data: Record<string, unknown>[] };
        const { lines, keys, envelope } = scan(body, cuts);
        expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(data);
        data.forEach(({ id }, i) => {
          expect(typeof id === 'string' ? keys[i] : Number(keys[i])).toBe(id);
          // The text itself, not only its value.
          if (typeof id !== 'string') expect(body).toContain(keys[i]);
        });
        expect(envelope).toEqual({ ...rest, data: [] });
      }),
      { numRuns: runs(1500) },
    );
  });

  it('makes no text that nobody remembers', () => {
    fc.assert(
      fc.property(json.document, fc.array(fc.nat(), { maxLength: 12 }), (body, cuts) => {
        const { lines, keys } = scan(body, cuts);
        const ends = scan(body, cuts, { remembers: { keys: 'ends', values: 'none' } });
        expect(ends).toMatchObject({ lines, values: [] });
        expect([ends.keys[0], ends.keys.at(-1)]).toEqual([keys[0], keys.at(-1)]);
        const none = scan(body, cuts, { remembers: { keys: 'none', values: 'all' } });
        expect(none).toMatchObject({ lines, keys: [] });
        expect(none.values).toHaveLength(lines.length);
      }),
      { numRuns: runs(500) },
    );
  });

  it('gives the same whatever the cuts, one byte at a time too', () => {
    fc.assert(
      fc.property(json.document, (body) => {
        const length = Buffer.byteLength(body);
        expect(scan(body, [...Array(length).keys()])).toEqual(scan(body));
      }),
      { numRuns: runs(100) },
    );
  });

  it('is whole although its last piece is shorter than the record that it ends', () => {
    const body = `{"data": [{"id": "1", "name": "${'x'.repeat(500)}"}]}`;
    for (const last of [1, 2, 3, 10]) {
      expect(scan(body, [body.length - last]).keys).toEqual(['1']);
      expect(scan(body, [400, body.length - last]).keys).toEqual(['1']);
    }
    const head = `{"note": "${'x'.repeat(500)}", "data": []}`;
    for (const last of [1, 2, 3, 10]) expect(scan(head, [head.length - last]).keys).toEqual([]);
  });
});

/** All that comes of a body, its refusal too. */
function outcome(body: Buffer, cuts: number[], options: Partial<ScannerOptions>): unknown {
  const rejects: unknown[] = [];
  const aside = { reject: (one: unknown) => void rejects.push(one) };
  const given = { ...options, ...(options.reject !== undefined && aside) };
  const parts: unknown[] = [];
  const scanner = new RecordScanner({
    ...{ records: ['data'], primaryKey: ['id'], cursorField: 'updatedAt', recordLimit: 64 * MEBIBYTE },
    columns: ['id', 'updatedAt', 'name', 'price', 'rank'],
    sink: (lines, records, rejected) => void parts.push([lines.toString('latin1'), records, rejected]),
    ...given,
  });
  const places = [...new Set([0, ...cuts.map((cut) => cut % (body.length + 1)), body.length])];
  places.sort((a, b) => a - b);
  let end: unknown;
  try {
    places.forEach((from, i) => {
      if (places[i + 1] !== undefined) scanner.push(Buffer.from(body.subarray(from, places[i + 1])));
    });
    end = scanner.end();
  } catch (thrown) {
    if (!(thrown instanceof ScanError)) throw thrown;
    end = [thrown.kind, thrown.message];
  }
  const { count, longest, undeclared, remarks } = scanner;
  return { parts, rejects, end, count, longest, undeclared: [...undeclared], remarks };
}

/** A declared type for each column, so that every type has its turn. */
const TYPES: Record<string, ColumnType>[] = [
  { id: 'STRING', name: 'UTC_DATETIME', price: 'DECIMAL(5,2)', rank: 'LONG', updatedAt: 'NAIVE_DATETIME' },
  { id: 'STRING', name: 'NAIVE_DATE', price: 'DOUBLE', rank: 'BOOLEAN', updatedAt: 'JSON' },
  { id: 'STRING', name: 'BINARY', price: 'FLOAT', rank: 'SHORT', updatedAt: 'INT' },
];

/** Whether a scanner takes a value of a type, alone behind one that is written in the same way. */
function isTakenBehind(type: ColumnType, like: string, raw: string, walks: boolean): boolean {
  const [like2, raw2] = [like, raw].map((value) => `{"id":1,"v":${value}}`);
  try {
    const exact = { text: [], whole: [], double: [], types: { id: 'LONG' as const, v: type } };
    scan(`{"data":[${like2},${raw2}]}`, [], { walks, columns: ['id', 'v'], cursorField: '', exact });
    return true;
  } catch (thrown) {
    if (thrown instanceof ScanError && thrown.kind === 'record') return false;
    throw thrown;
  }
}

describe('values of declared types', () => {
  const PLAIN: [ColumnType, string][] = [
    ['BOOLEAN', 'true'],
    ['SHORT', '1'],
    ['INT', '1'],
    ['LONG', '1'],
    ['FLOAT', '1'],
    ['DOUBLE', '1'],
    ['DECIMAL(5,2)', '1'],
    ['DECIMAL(38,38)', '0'],
    ['NAIVE_DATE', 'null'],
    ['NAIVE_DATETIME', 'null'],
    ['UTC_DATETIME', 'null'],
    ['BINARY', 'null'],
  ];
  const digits = fc.stringMatching(/^[-+]?\d{1,20}(\.\d{0,4})?(e\d)?$/);
  const near = fc
    .tuple(
      fc.constantFrom(
        '2026-01-31T10:20:30.5Z',
        '0999-12-28 23:59:59+05:30',
        '2026-01-31 10:20:30 UTC',
        '2026-01-31T10:20:30.000+0530',
        '2026-01-31T10:20:30-05',
        'false',
        '2024-02-29',
        '2026-11-30T24:00:00',
        'aGk=',
        'true',
      ),
      fc.nat(22),
      fc.constantFrom(...'0123456789.-+:TZ "= e'),
      fc.nat(2),
    )
    .map(([text, at, c, cut]) => text.slice(0, at) + c + text.slice(at + cut));
  const number = fc.stringMatching(/^-?(0|[1-9]\d{0,20})(\.\d{1,4})?([eE]-?\d{1,3})?$/);
  const raw = fc.oneof(
    number,
    fc.oneof(near, digits, number).map((text) => JSON.stringify(text)),
    fc.constantFrom('true', 'false', '[]', '{"a":1}', '""', 'null'),
  );

  it('are taken as isTaken says, in WebAssembly and without it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...PLAIN), raw, ([type, like], value) => {
        const expected = value === 'null' || isTaken(type, value);
        expect(isTakenBehind(type, like, value, true)).toBe(expected);
        expect(isTakenBehind(type, like, value, false)).toBe(expected);
      }),
      { numRuns: runs(5000) },
    );
  });

  it('are refused with key, column and value, and put aside with the reason alone', () => {
    const types = { id: 'LONG', v: 'BOOLEAN' } as const;
    const options = { columns: ['id', 'v'], exact: { text: [], whole: [], double: [], types } };
    const body = '{"data":[{"v":true,"id":1},{"v":"yes","id":2},{"v":null,"id":3}]}';
    expect(refusal(body, options)).toMatchObject({ kind: 'record' });
    expect(refusal(body, options).message).toBe(
      'the record with primary key "2" does not fit: column "v" cannot hold "yes" as BOOLEAN. Declare another type ' +
        'in "columns"; for an existing table, set "misfits" to "evolve" or "quarantine".',
    );
    const { rejects, count } = outcome(Buffer.from(body), [], { ...options, reject: () => undefined }) as {
      rejects: unknown[];
      count: number;
    };
    const reason = 'column "v" cannot hold "yes" as BOOLEAN';
    expect({ rejects, count }).toEqual({ rejects: [{ reason, record: '{"v":"yes","id":2}' }], count: 3 });
  });

  it('are the ends of their page all the same, by their keys where they have any', () => {
    const types = { id: 'LONG', v: 'BOOLEAN' } as const;
    const options = {
      columns: ['id', 'v'],
      exact: { text: [], whole: [], double: [], types },
      remembers: { keys: 'ends', values: 'none' } as const,
      reject: () => undefined,
    };
    const keysOf = (...records: string[]) => {
      const body = Buffer.from(`{"data":[${records.join(',')}]}`);
      const { parts } = outcome(body, [], options) as { parts: [lines: string, page: PageRecords][] };
      return parts.flatMap(([, { keys }]) => keys);
    };
    const [good, misfit, keyless] = ['{"id":1,"v":true}', '{"id":2,"v":"yes"}', '{"v":true}'];
    expect(keysOf(misfit, good)).toEqual(['2', '1']);
    expect(keysOf(good, good, misfit)).toEqual(['1', '2']);
    expect(keysOf(misfit, misfit)).toEqual(['2', '2']);
    expect(keysOf(misfit)).toEqual(['2']);
    expect(keysOf(keyless, good)).toEqual(['', '1']);
    expect(keysOf(good, keyless)).toEqual(['1', '']);
  });
});

describe('a member that comes twice', () => {
  /** Records, their keys and the notes on them, with WebAssembly and without, in one piece and byte by byte. */
  function plain(records: string[], options: Partial<ScannerOptions> = {}) {
    const body = Buffer.from(`{"data":[${records.join(',')}]}`);
    const all = [true, false].flatMap((walks) =>
      [[], [...Array(body.length).keys()]].map((cuts) => {
        const scanned = outcome(body, cuts, { columns: ['id', 'v'], walks, ...options }) as Outcome;
        if (Array.isArray(scanned.end)) throw new Error(String(scanned.end[1]));
        const lines = scanned.parts.flatMap(([text]) => text.split('\n')).filter((line) => line !== '');
        const keys = scanned.parts.flatMap(([, part]) => part.keys);
        return {
          lines: lines.map((line) => JSON.parse(line) as unknown),
          keys,
          notes: scanned.remarks,
          rejects: scanned.rejects,
        };
      }),
    );
    for (const one of all) expect(one).toEqual(all[0]);
    return all[0] as (typeof all)[0];
  }
  interface Outcome {
    parts: [string, { keys: string[] }][];
    end: unknown;
    remarks: { code: string; message: string }[];
    rejects: { reason: string; record: string }[];
  }

  it.each([
    ['a value', '{"id":2,"v":"old","v":"new"}', '"v"'],
    ['a value, with another between', '{"v":1,"id":2,"v":{"a":[1.50]}}', '"v"'],
    ['a value that is null in the end', '{"id":2,"v":1,"v":null}', '"v"'],
    ['a name that is written in two ways', '{"id":2,"v":1,"\\u0076":2}', '"v"'],
    ['a name before different spaces', '{"id":2,"v":1,"v" :2,"v": 3}', '"v"'],
    ['the primary key', '{"id":[],"v":1,"id":2}', '"id"'],
    ['a nested value', '{"id":2,"v":{"a":1,"b":{"c":1,"c":2},"a":3}}', '"v.a"'],
    ['an item of a list', '{"id":2,"v":[{"a":1},{"a":1,"b":2,"a":3}]}', '"v.a"'],
    ['a nested name that is written in two ways', '{"id":2,"v":{"é":1,"\\u00e9":3}}', '"v.é"'],
    ['a member without a column', '{"id":2,"w":1,"w":2}', '"w"'],
  ])('counts as it stands last: %s', (_, record, member) => {
    const records = ['{"id":1,"v":0}', '{"id":1,"v":0}', record, '{"id":3,"v":0}', record, '{"v":1,"id":4}'];
    const { lines, keys, notes } = plain(records);
    expect(lines).toEqual(records.map((one) => JSON.parse(one) as unknown));
    expect(keys).toEqual(['1', '1', '2', '3', '2', '4']);
    expect(notes).toHaveLength(1);
    expect(notes[0]?.code).toBe('duplicate_member');
    expect(notes[0]?.message).toContain(member);
    expect(notes[0]?.message).toContain('first in the record with primary key "2"');
  });

  it('is found in every record of a body, and keeps all digits', () => {
    const records = Array.from({ length: 500 }, (_, i) => `{"id":${i},"v":1,"v":9007199254740993.${i}}`);
    const body = `{"data":[${records.join(',')}]}`;
    const { lines, keys } = scan(body, [], {
      columns: ['id', 'v'],
      exact: { text: ['v'], whole: ['id'], double: [] },
    });
    expect(keys).toEqual(records.map((_, i) => String(i)));
    expect(lines.map((line) => line.replaceAll(' ', ''))).toEqual(
      records.map((_, i) => `{"id":${i},"v":"9007199254740993.${i}"}`),
    );
  });

  it('makes no note where it is not stored', () => {
    const exact = { text: [], whole: [], double: [], types: { id: 'LONG' as const, v: 'LONG' as const } };
    expect(plain(['{"id":1,"v":2,"w":1,"w":2}'], { exact }).notes).toEqual([]);
  });

  it('is found among many names, in objects of any size', () => {
    const many = (n: number, last: string) =>
      `{${Array.from({ length: n }, (_, i) => `"n${i}":${i}`).join(',')},${last}}`;
    for (const n of [3, 254, 255, 256, 257, 2045, 2100, 12_000]) {
      const records = [many(n, '"z":1'), many(n, '"n1":-1'), many(n, '"z":1')].map(
        (v, id) => `{"id":${id},"v":${v}}`,
      );
      const { lines, notes } = outcomeOf(records);
      expect(lines).toEqual(records.map((one) => JSON.parse(one) as unknown));
      expect(notes).toHaveLength(1);
    }
    function outcomeOf(records: string[]) {
      const all = [true, false].map((walks) => {
        const { parts, remarks } = outcome(Buffer.from(`{"data":[${records.join(',')}]}`), [], {
          walks,
        }) as Outcome;
        return {
          lines: parts.flatMap(([text]) => text.split('\n')).map((line) => JSON.parse(line) as unknown),
          notes: remarks,
        };
      });
      expect(all[0]).toEqual(all[1]);
      return all[0] as (typeof all)[0];
    }
  });

  it('has nothing to do with half a surrogate pair, which becomes U+FFFD with a note of its own', () => {
    const records = [
      '{"id":1,"v":"whole \\ud83d\\ude00"}',
      '{"id":2,"v":"half \\ud83d"}',
      '{"id":3,"v":{"a\\uDE00":["\\ud83d\\ud83d\\ude00","\\\\ud83d"]}}',
      '{"id":3,"v":{"a\\uDE00":["\\ud83d\\ud83d\\ude00","\\\\ud83d"]}}',
      '{"id":4,"w\\ud83d":"x"}',
      '{"id":4,"w\\ud83d":"x"}',
    ];
    const { lines, notes } = plain(records);
    expect(lines).toEqual([
      { id: 1, v: 'whole 😀' },
      { id: 2, v: 'half \uFFFD' },
      { id: 3, v: { 'a\uFFFD': ['\uFFFD😀', '\\ud83d'] } },
      { id: 3, v: { 'a\uFFFD': ['\uFFFD😀', '\\ud83d'] } },
      { id: 4, 'w\uFFFD': 'x' },
      { id: 4, 'w\uFFFD': 'x' },
    ]);
    expect(notes.map(({ code }) => code)).toEqual(['lone_surrogate']);
    expect(notes[0]?.message).toContain(
      '"v", "v.a\uFFFD", "w\uFFFD", first in the record with primary key "2"',
    );
  });

  it.each([
    ['{"id":"a\\ud83d","v":1}', 'its primary key holds half of a surrogate pair, in "id"'],
    [
      '{"id":5,"v":{"a\\ud83d":1,"a\\ude00":2}}',
      'names are the same but for half of a surrogate pair: "v.a\uFFFD"',
    ],
    ['{"id":5,"w\\ud83d":1,"w\uFFFD":2}', 'names are the same but for half of a surrogate pair: "w\uFFFD"'],
  ])('%s is refused: one of two would be lost', (record, reason) => {
    const body = `{"data":[{"id":1},{"id":2},${record}]}`;
    expect(refusal(body).kind).toBe('record');
    expect(refusal(body).message).toMatch(/^the record with primary key "(5|a\\ud83d)" does not fit: /);
    expect(refusal(body).message).toContain(reason);
    expect(plain(['{"id":1}', record], { reject: () => undefined }).rejects).toEqual([{ reason, record }]);
  });

  it('half a pair is put aside with its column where records are, and as it was', () => {
    const record = '{"id":2,"v":"half \\ud83d"}';
    const exact = { text: [], whole: [], double: [], types: { id: 'LONG' as const, v: 'STRING' as const } };
    const { lines, notes, rejects } = plain(['{"id":1}', record, '{"id":3,"w":"\\ud83d"}'], {
      exact,
      reject: () => undefined,
    });
    expect(lines).toEqual([{ id: 1 }, { id: 3, w: '\uFFFD' }]);
    expect({ notes, rejects }).toEqual({
      notes: [],
      rejects: [{ reason: 'column "v" holds half of a surrogate pair', record }],
    });
  });
});

describe('records that are walked in WebAssembly', () => {
  const options = fc.record(
    {
      primaryKey: fc.constantFrom(['id'], ['id', 'name'], ['rank', 'id']),
      exact: fc.constantFrom(
        { text: ['price'], whole: ['rank'], double: ['other'] },
        { text: ['rank', 'name'], whole: [], double: ['price', 'id'] },
        ...TYPES.map((types) => ({ text: [], whole: [], double: [], types })),
      ),
      halves: fc.constantFrom('replace', 'refuse', 'keep'),
      remembers: fc.record({
        keys: fc.constantFrom('all', 'ends', 'none'),
        values: fc.constantFrom('all', 'none'),
      }),
      recordLimit: fc.constantFrom(40, 120, MEBIBYTE),
      reject: fc.constant(() => undefined),
      cursorField: fc.constantFrom('updatedAt', 'id', 'price'),
    },
    { requiredKeys: [] },
  ) as fc.Arbitrary<Partial<ScannerOptions>>;
  const cuts = fc.array(fc.nat(), { maxLength: 3 });

  it('are what they are without it', () => {
    let whole = 0;
    fc.assert(
      fc.property(json.rows, cuts, options, (body, places, given) => {
        const bytes = Buffer.from(body);
        const walked = outcome(bytes, places, given);
        expect(walked).toEqual(outcome(bytes, places, { ...given, walks: false }));
        if (!Array.isArray((walked as { end: unknown }).end)) whole++;
      }),
      { numRuns: runs(2000) },
    );
    expect(whole).toBeGreaterThan(runs(500));
  });

  it('are refused as they are without it, where a byte is another', () => {
    fc.assert(
      fc.property(json.rows, cuts, options, fc.nat(), fc.nat(255), (body, places, given, at, byte) => {
        const bytes = Buffer.from(body);
        bytes[at % bytes.length] = byte;
        expect(outcome(bytes, places, given)).toEqual(outcome(bytes, places, { ...given, walks: false }));
      }),
      { numRuns: runs(3000) },
    );
  });

  it('may be more than its memory holds, and come of several bodies at once', () => {
    const bodyOf = (name: string) => {
      const records = Array.from({ length: 9000 }, (_, i) => ({
        id: `${name}${i}`,
        name: 'x'.repeat(i % 400),
        rank: i,
      }));
      return Buffer.from(JSON.stringify({ data: records }));
    };
    const [first, second] = [bodyOf('a'), bodyOf('b')];
    expect(first.length).toBeGreaterThan(1.5 * MEBIBYTE);
    const scannerOf = (into: string[]) =>
      new RecordScanner({
        ...{ records: ['data'], primaryKey: ['id'], cursorField: '', columns: ['id', 'name', 'rank'] },
        recordLimit: MEBIBYTE,
        sink: (lines) => void into.push(lines.toString()),
      });
    const texts: [string[], string[]] = [[], []];
    const scanners = [scannerOf(texts[0]), scannerOf(texts[1])] as const;
    const step = 700_000;
    for (let from = 0; from < first.length; from += step) {
      scanners[0].push(Buffer.from(first.subarray(from, from + step)));
      scanners[1].push(Buffer.from(second.subarray(from, from + step)));
    }
    for (const scanner of scanners) scanner.end();
    for (const [i, body] of [first, second].entries()) {
      const { data } = JSON.parse(body.toString()) as { data: unknown[] };
      expect(
        texts[i]
          ?.join('\n')
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
      ).toEqual(data);
    }
  });

  it('are walked at all', () => {
    const walker = RecordWalker.of(1);
    walker?.learn(Buffer.from('"id":'), 0, false, null);
    walker?.learn(Buffer.from('"price":'), -1, true, 'text');
    const body = Buffer.from(
      ' , {"id":7,"price":1.5},{"price":2.5,"id":"a\\n"}, {"id":9,"price":{"a":[1.5,null]}},',
    );
    expect(walker?.walk(body, 0)).toBe(2);
    const [key, value] = [
      { start: 0, end: 0, escaped: false },
      { start: 0, end: 0, escaped: false },
    ];
    const textOf = ({ start, end }: { start: number; end: number }) => body.toString('latin1', start, end);
    walker?.key(1, [key]);
    walker?.value(1, 1, value);
    expect([textOf(key), key.escaped, textOf(value), value.escaped]).toEqual(['"a\\n"', true, '2.5', false]);
    expect(walker?.quotes.map((at) => body.toString('latin1', at, at + 1))).toEqual(['1', '}', '2', ',']);
    expect(walker?.isOfUse).toBe(true);
  });

  it('are walked by what its source says', async () => {
    const remedy = 'run `npm run assembly`';
    expect(readFileSync(COMPILED, 'utf8'), remedy).toBe(await compiled());
  }, 60_000);
});

describe('a body with one byte changed', () => {
  it('is refused where JSON.parse refuses it, and gives the same records where it does not', () => {
    const mutation = fc.record({
      kind: fc.constantFrom('drop', 'insert', 'replace', 'cut', 'swap'),
      at: fc.nat(),
      byte: fc.oneof(
        fc.constantFrom(...[...'{}[],:"\\0123456789eE+-. \n\r\tnulltruefalse/u'].map((c) => c.charCodeAt(0))),
        fc.nat(255),
      ),
    });
    let refusedByBoth = 0;
    fc.assert(
      fc.property(
        json.document,
        mutation,
        fc.array(fc.nat(), { maxLength: 4 }),
        (body, { kind, at, byte }, cuts) => {
          const bytes = [...Buffer.from(body)];
          const place = at % bytes.length;
          if (kind === 'drop') bytes.splice(place, 1);
          if (kind === 'insert') bytes.splice(place, 0, byte);
          if (kind === 'replace') bytes[place] = byte;
          if (kind === 'cut') bytes.splice(place);
          if (kind === 'swap') bytes.splice(place, 2, ...bytes.slice(place, place + 2).reverse());
          const changed = Buffer.from(bytes);
          let parsed: unknown;
          let valid = true;
          try {
            parsed = JSON.parse(withoutMark(changed.toString('utf8')));
          } catch {
            valid = false;
          }
          let scanned: Scanned | null = null;
          try {
            scanned = scan(changed, cuts, { halves: 'keep' });
          } catch (thrown) {
            // Refused is never wrong here, crashed is.
            expect(thrown).toBeInstanceOf(ScanError);
          }
          if (!valid) {
            // A body of nothing is no JSON, but a page without records.
            if (withoutMark(changed.toString('utf8')).trim() === '') expect(scanned?.lines).toEqual([]);
            else expect(scanned).toBeNull();
            refusedByBoth++;
          } else if (scanned !== null) {
            const { data } = parsed as { data: unknown };
            expect(scanned.lines.map((line) => JSON.parse(line) as unknown)).toEqual(data ?? []);
          }
        },
      ),
      { numRuns: runs(3000) },
    );
    // The property is worth nothing if nothing was ever broken.
    expect(refusedByBoth).toBeGreaterThan(runs(500));
  });

  it.each([
    '{"data": [{"id": "1"}], }',
    '{"data": [{"id": "1"},]}',
    '{"data": [{"id": "1",}]}',
    '{"data": [,{"id": "1"}]}',
    '{"data": [{"id": "1"} {"id": "2"}]}',
    "{'data': []}",
    '{data: []}',
    '{"data": [{"id": 01}]}',
    '{"data": [{"id": 1.}]}',
    '{"data": [{"id": .5}]}',
    '{"data": [{"id": +1}]}',
    '{"data": [{"id": 1e}]}',
    '{"data": [{"id": -}]}',
    '{"data": [{"id": 0x10}]}',
    '{"data": [{"id": NaN}]}',
    '{"data": [{"id": "1", "name": Infinity}]}',
    '{"data": [{"id": "1", "name": nul}]}',
    '{"data": [{"id": "1", "name": nulll}]}',
    '{"data": [{"id": "a\nb"}]}',
    '{"data": [{"id": "a\tb"}]}',
    '{"data": [{"id": "\\x41"}]}',
    '{"data": [{"id": "\\u12g4"}]}',
    '{"data": [{"id": "1", "name": [1 2]}]}',
    '{"data": [{"id": "1", "name": {"a" 1}}]}',
    '{"data": [{"id": "1", "name": {"a": 1 "b": 2}}]}',
    '{"data": [{"id": "1"}]} {}',
    '{"data": [{"id": "1"}]}x',
    '{"data": [{"id": "1"}]',
    '{"data": [{"id": "1"}',
    '{"data": [{"id": "1',
    '{"data": [',
    '{"data": [{"id": "1"}], "total": }',
    '{"total": 01, "data": []}',
    '{"data": [{"id": "1"}] /* comment */}',
    '{"data": [{"id": "1\u00a0"}]\u00a0}',
  ])('%j is refused', (body) => {
    expect(() => JSON.parse(body) as unknown).toThrow();
    expect(refusal(body).kind).toBe('shape');
  });
});

describe('numbers', () => {
  it('keep every digit, as keys and in the records', () => {
    const ids = [
      '9007199254740993',
      '-0',
      '1.10',
      '1e400',
      '123456789012345678901234567890.123456789012345678901',
    ];
    const body = `{"data": [${ids.map((id) => `{"id": ${id}, "updatedAt": ${id}}`).join(', ')}]}`;
    const { keys, values, lines } = scan(body);
    expect(keys).toEqual(ids);
    expect(values).toEqual(ids);
    expect(lines).toEqual(ids.map((id) => `{"id": ${id}, "updatedAt": ${id}}`));
  });
});

describe('a number that its reader would take for a double', () => {
  const exact = { text: ['amount', 'id'], whole: ['count'], double: ['ratio'] };
  const columns = ['id', 'amount', 'count', 'ratio', 'other'];
  const linesOf = (record: string, cuts: number[] = []) =>
    scan(`{"data": [{"id": 0}, ${record}, {"id": 2}]}`, cuts, { exact, columns }).lines[1];

  it.each([
    ['{"id": 1, "amount": 1234567890123456.78}', '{"id": 1, "amount": "1234567890123456.78"}'],
    ['{"id": 1, "amount": -1.10e-7 }', '{"id": 1, "amount": "-1.10e-7" }'],
    ['{"id": 1.5, "amount": 1.5}', '{"id": "1.5", "amount": "1.5"}'],
    ['{"amount":0.1,"id":1}', '{"amount":"0.1","id":1}'],
  ])('becomes text where each digit counts: %s', (record, line) => {
    expect(linesOf(record)).toBe(line);
  });

  it.each([
    '{"id": 1, "amount": 12345678901234567890123}',
    '{"id": 1, "amount": "1.10"}',
    '{"id": 1, "amount": [1.10]}',
    '{"id": 1, "amount": {"a": 1.10}}',
    '{"id": 1, "amount": null}',
    '{"id": 1, "count": 1e3}',
    '{"id": 1, "count": 7.0}',
    '{"id": 1, "other": 1.10}',
    '{"id": 1, "ratio": 1.7976931348623157e308}',
    '{"id": 1, "nested": {"amount": 1.10}}',
  ])('stays what it is where none is lost, or none is promised: %s', (record) => {
    expect(linesOf(record)).toBe(record);
  });

  it('becomes text where a whole number is wanted and it is none, so that it is refused and not rounded', () => {
    expect(linesOf('{"id": 1, "count": 1.5}')).toBe('{"id": 1, "count": "1.5"}');
    expect(linesOf('{"id": 1, "count": 1e300}')).toBe('{"id": 1, "count": "1e300"}');
  });

  it('is refused where it lies beyond a double, with the key of its record', () => {
    const thrown = refusal('{"data": [{"ratio": 1e400, "id": "k"}]}', { exact, columns });
    expect(thrown.kind).toBe('record');
    expect(thrown.message).toContain('primary key "k"');
    expect(thrown.message).toMatch(/column "ratio" cannot hold "1e400"/);
  });

  it('becomes text wherever the body is cut', () => {
    const number = fc.tuple(fc.integer(), fc.nat()).map(([whole, digits]) => `${whole}.${digits}`);
    const record = fc
      .tuple(number, number, fc.nat())
      .map(([amount, other, id]) => `{"other": ${other}, "amount": ${amount}, "id": ${id}.25}`);
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 6 }), fc.array(fc.nat()), (records, cuts) => {
        const body = `{"data": [${records.join(', ')}]}`;
        const { lines, keys } = scan(body, cuts, { exact, columns });
        expect(lines).toEqual(records.map((r) => r.replace(/("(?:amount|id)": )([^,}]+)/g, '$1"$2"')));
        expect(keys).toEqual(records.map((r) => /"id": ([^}]+)/.exec(r)?.[1]));
      }),
    );
  });
});

describe('a record', () => {
  it('becomes one line, however the body is laid out', () => {
    const records = [
      { id: '1', name: { a: [1, { b: 'line\nbreak\u2028' }] } },
      { id: '2', updatedAt: null },
    ];
    for (const layout of [undefined, 2, '\t', '\r\n']) {
      const { lines } = scan(JSON.stringify({ total: 2, data: records }, null, layout));
      expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(records);
      expect(lines.join('')).not.toMatch(/[\r\n]/);
    }
  });

  it('has its key taken from the text as it is meant, escapes resolved', () => {
    const { keys } = scan('{"data": [{"\\u0069d": "\\u00e9\\ud83d\\ude00\\/"}, {"id": ""}]}');
    expect(keys).toEqual(['é😀/', '']);
  });

  it('with a composite key is named by all parts, which cannot run into each other', () => {
    const options = { primaryKey: ['a', 'b'], columns: ['a', 'b'] };
    const body = '{"data": [{"b": "2", "a": "1,"}, {"a": "1", "b": ",2"}, {"a": 1, "b": 9007199254740993}]}';
    expect(scan(body, [], options).keys).toEqual(['["1,","2"]', '["1",",2"]', '["1","9007199254740993"]']);
  });

  it('may have its members in another order each time', () => {
    const body =
      '{"data": [{"id": "1", "name": "x", "updatedAt": "t1"}, {"updatedAt": "t2", "id": "2"}, {"name": 5, "updatedAt": "t3", "id": "3"}]}';
    expect(scan(body)).toMatchObject({ keys: ['1', '2', '3'], values: ['t1', 't2', 't3'] });
  });

  it.each([
    ['{"name": 1}', 'has no primary key: "id" is absent or null'],
    ['{}', 'has no primary key: "id" is absent or null'],
    ['{"id": null}', 'has no primary key: "id" is absent or null'],
    ['{"id": {"a": 1}}', 'has a primary key that is neither text nor a number'],
    ['{"id": [1]}', 'has a primary key that is neither text nor a number'],
    ['{"id": "1", "id": null}', 'has no primary key: "id" is absent or null'],
    ['{"id": "1", "id": []}', 'has a primary key that is neither text nor a number'],
  ])('%s is refused and says which it is', (record, words) => {
    const { kind, message } = refusal(`{"data": [{"id": "ok"}, ${record}]}`);
    expect(message).toContain(`record 1 ${words}`);
    expect(kind).toBe('record');
  });

  it('without a cursor value has none; the last of two counts, as for JSON.parse', () => {
    const body =
      '{"data": [{"id": 1}, {"id": 2, "updatedAt": null}, {"id": 3, "updatedAt": "a", "updatedAt": "b"}]}';
    expect(scan(body).values).toEqual([null, null, 'b']);
  });

  it('that is no object is refused', () => {
    expect(refusal('{"data": [1]}').message).toContain('record 0 is not an object');
    expect(refusal('{"data": [{"id": 1}, [2]]}').message).toContain('record 1 is not an object');
    expect(refusal('{"data": [null]}').kind).toBe('shape');
  });

  it('with members that have no column is told of, a few of them by name', () => {
    expect(scan('{"data": [{"id": 1, "name": 2, "a": 3, "\\u0062": 4}]}').undeclared).toEqual(['a', 'b']);
    const many = Array.from({ length: 5000 }, (_, i) => `"m${i}": ${i}`).join(',');
    expect(scan(`{"data": [{"id": 1, ${many}}]}`).undeclared).toHaveLength(20);
  });

  it('nested 100,000 deep is refused without running out of stack, wherever it stands', () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    expect(refusal(`{"data": [{"id": 1, "name": ${deep}}]}`)).toMatchObject({
      kind: 'record',
      message: 'record 0 is nested deeper than 200',
    });
    expect(refusal(`{"data": [{"id": 1, "name": ${'{"a":'.repeat(100_000)}`).kind).toBe('record');
    expect(refusal(`{"note": ${deep}, "data": []}`).message).toContain('nested deeper than 200');
    expect(refusal('['.repeat(100_000))).toBeInstanceOf(ScanError);
    const fine = '['.repeat(150) + ']'.repeat(150);
    expect(scan(`{"note": ${fine}, "data": [{"id": 1, "name": ${fine}}]}`).keys).toEqual(['1']);
  });

  it('may be one huge string, up to the limit', () => {
    const body = (length: number) =>
      `{"data": [{"id": "1", "name": "${'é'.repeat(length / 2)}"}, {"id": "2"}]}`;
    const cuts = Array.from({ length: 90 }, (_, i) => i * 100_000);
    const { keys, longest } = scan(body(8 * MEBIBYTE), cuts);
    expect(keys).toEqual(['1', '2']);
    expect(longest).toBe(8 * MEBIBYTE + '{"id": "1", "name": ""}'.length);
    const limit = { recordLimit: 10_000 };
    expect(refusal(body(20_000), limit)).toMatchObject({
      kind: 'record',
      message: 'record 0 is longer than 10000 bytes',
    });
    expect(refusal(body(8 * MEBIBYTE), limit, cuts).message).toBe('record 0 is longer than 10000 bytes');
  });
});

describe('text that is not UTF-8', () => {
  it.each([
    ['in a value', [0xff]],
    ['cut in the middle of a character', [0xe2, 0x82]],
    ['written longer than needed', [0xc0, 0xaf]],
    ['half a surrogate pair', [0xed, 0xa0, 0x80]],
  ])('is refused, never stored as something else: %s', (_, bad) => {
    const parts = (before: string, after: string) =>
      Buffer.concat([Buffer.from(before), Buffer.from(bad), Buffer.from(after)]);
    expect(refusal(parts('{"data": [{"id": "1", "name": "', '"}]}')).message).toContain(
      'the body is not valid UTF-8',
    );
    expect(refusal(parts('{"data": [{"id": "', '"}]}')).message).toContain('the body is not valid UTF-8');
    expect(refusal(parts('{"data": [{"id": "1", "', '": 1}]}')).message).toContain(
      'the body is not valid UTF-8',
    );
  });

  it('is no matter where a piece ends inside a character', () => {
    const body = '{"data": [{"id": "😀é€", "name": "日本"}]}';
    const cuts = [...Array(Buffer.byteLength(body)).keys()];
    expect(scan(body, cuts).keys).toEqual(['😀é€']);
  });
});

describe('what is no page of records', () => {
  it.each([
    ['<!doctype html><html>', 'the body is HTML or XML: "<!doctype html><html>"'],
    ['<?xml version="1.0"?>', 'the body is HTML or XML'],
    ['Bad gateway', 'the body is not valid JSON: "Bad gateway"'],
    ['[{"id": 1}]', 'the body is not an object with a list "data"'],
    ['null', 'the body is not an object with a list "data"'],
    ['"text"', 'the body is not an object with a list "data"'],
    ['{}', 'the body has no member "data"; it has none'],
    ['{"items": [], "error": "x"}', 'the body has no member "data"; it has items, error'],
    ['{"data": {"a": 1}}', '"data" is not a list of records'],
    ['{"data": nulll}', 'the body is not valid JSON'],
    ['{"data": {}}', '"data" is not a list of records'],
    ['{"data": "x"}', '"data" is not a list of records'],
  ])('%j is refused in words', (body, words) => {
    const { kind, message } = refusal(body);
    expect(message).toContain(words);
    expect(kind).toBe('shape');
  });

  it.each(['', '  \n', '\uFEFF'])('%j is a page without records', (body) => {
    expect(scan(body, [1])).toMatchObject({ lines: [], envelope: undefined });
  });

  it.each([
    ['{"data": null}', ['data']],
    ['{"next": 5, "data" :null , "total": 0}', ['data']],
    ['{"a": {"b": null}, "c": [1]}', ['a', 'b']],
    ['null', []],
    [' null\n', []],
  ])('%s has null in place of the list: no records', (body, records) => {
    const places = [...Array(body.length).keys()];
    expect(scan(body, [], { records })).toMatchObject({ lines: [], envelope: JSON.parse(body) as unknown });
    expect(scan(body, places, { records })).toMatchObject({
      lines: [],
      envelope: JSON.parse(body) as unknown,
    });
  });

  it('with null and a list of one name is refused: one of them would be lost', () => {
    expect(refusal('{"data": null, "data": [{"id": 1}]}').message).toContain('"data" twice');
  });

  it('says how many records came before the end of a body that was cut', () => {
    expect(refusal('{"data": [{"id": 1}, {"id": 2}, {"id"').message).toBe(
      'the body ends in the middle of its records, after 2 of them',
    );
    expect(refusal('{"data": [{"id": 1}], "scroll_param": "a').message).toBe(
      'the body is not valid JSON after its records',
    );
  });

  it('with the list of records twice is refused: one of them would be lost', () => {
    expect(refusal('{"data": [{"id": 1}], "data": [{"id": 2}]}').message).toContain('"data" twice');
    expect(refusal('{"data": [{"id": 1}], "data": []}').message).toContain('"data" twice');
    expect(refusal('{"data": [{"id": 1}], "\\u0064ata": null}').message).toContain('"data" twice');
  });

  it('with megabytes besides its records is refused, before and behind them', () => {
    const filler = `"${'x'.repeat(5 * MEBIBYTE)}"`;
    const cuts = Array.from({ length: 60 }, (_, i) => i * 100_000);
    expect(refusal(`{"note": ${filler}, "data": []}`, {}, cuts).message).toContain(
      'within the first 4194304 bytes',
    );
    expect(refusal(`{"data": [], "note": ${filler}}`, {}, cuts).message).toContain(
      'more than 4194304 bytes besides',
    );
  });
});

describe('memory', () => {
  it('does not grow with the body: of 50 MB no more than the record in hand is kept', () => {
    const record = Buffer.from(`{"id": "00000000", "name": "${'x'.repeat(4000)}"}`);
    let sunk = 0;
    let records = 0;
    const scanner = new RecordScanner({
      records: ['data'],
      primaryKey: ['id'],
      cursorField: 'updatedAt',
      columns: ['id', 'name'],
      recordLimit: 64 * MEBIBYTE,
      sink: (lines, n) => {
        sunk += lines.length;
        records += n.keys.length;
      },
    });
    const head = Buffer.from('{"data": [');
    scanner.push(Buffer.from(head));
    let pushed = head.length;
    let held = 0;
    let rest: Buffer = Buffer.alloc(0);
    const comma = Buffer.from(',');
    for (let made = 0; pushed < 50_000_000;) {
      const parts = [rest];
      for (let size = rest.length; size < 65_536; size += record.length + 1) {
        if (made++ > 0) parts.push(comma);
        parts.push(record);
      }
      const all = Buffer.concat(parts);
      scanner.push(Buffer.from(all.subarray(0, 65_536)));
      rest = all.subarray(65_536);
      pushed += 65_536;
      held = Math.max(held, pushed - head.length - sunk - records);
    }
    scanner.push(Buffer.concat([rest, Buffer.from(']}')]));
    expect(scanner.end().value).toEqual({ data: [] });
    expect(records).toBeGreaterThan(12_000);
    expect(held).toBeLessThan(2 * record.length);
  });
});
