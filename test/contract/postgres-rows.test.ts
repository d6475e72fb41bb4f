/**
 * The rows that a worker types and encodes for PostgreSQL are those that PostgreSQL makes of the records itself: both
 * paths get the same random records, and their tables, counts, errors and rejects are compared.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { Pool, type PoolClient } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Habits } from '../../src/destinations/postgres/habits.js';
import { PostgresDestination } from '../../src/destinations/postgres/postgres.js';
import { SegmentMemory } from '../../src/destinations/postgres/segments.js';
import { identifier } from '../../src/destinations/sql/sql.js';
import { SEQUENCE, type ColumnType, type TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { Stream, type TestedDestination } from './tested.js';
import { runs } from '../helpers/long.js';

const install = await installPostgres();

/** The path that has been there longer: PostgreSQL types every value. */
class TypedByServer extends PostgresDestination {
  protected override readonly state = null;
}

/** Holds a few records at a time. */
class InSegments extends PostgresDestination {
  protected override readonly state = {
    memory: new SegmentMemory({ bytes: 2000, values: 300 }),
    habits: new Habits(),
  };
}

const PAGE = readFileSync(new URL('../../docs/schema.md', import.meta.url), 'utf8');
const [, DOCUMENT = ''] = /<!-- values -->(.*?)<!-- \/values -->/s.exec(PAGE) ?? [];
/** JSON texts of the table in docs/schema.md that a type takes, and that it does not take. */
const DOCUMENTED = new Map(
  [...DOCUMENT.matchAll(/^\| `([A-Z_]+(?:\([\d, ]+\))?)` +\|(.*?)\|(.*)\|$/gm)].map(
    ([, type = '', taken = '', refused = '']) => [
      type.replaceAll(' ', ''),
      {
        taken: [...taken.matchAll(/`([^`]+)` = `[^`]*`/g)].map(([, json = '']) => json),
        refused: [...refused.matchAll(/`([^`]+)`/g)].map(([, json = '']) => json),
      },
    ],
  ),
);

const quoted = (texts: fc.Arbitrary<string>) => texts.map((text) => JSON.stringify(text));
const bigInts = (bits: bigint) =>
  fc.bigInt({ min: -(2n ** (bits - 1n)), max: 2n ** (bits - 1n) - 1n }).map(String);
const whole = (bits: bigint) =>
  fc.oneof(
    bigInts(bits),
    quoted(bigInts(bits)),
    fc.integer({ min: -99, max: 99 }).map(String),
    fc.constantFrom(`${2n ** (bits - 1n) - 1n}`, `-${2n ** (bits - 1n)}`, '-0', '"-0"', '0', '1e2', '-30.0'),
  );
const doubles = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .filter((value) => value === 0 || Math.abs(value) > 1e-300)
  .map((value) => (Object.is(value, -0) ? '-0' : String(value)));
const digits = (most: number) => fc.stringMatching(new RegExp(`^[1-9][0-9]{0,${most - 1}}$`));
const two = (least: number, most: number) =>
  fc.integer({ min: least, max: most }).map((n) => String(n).padStart(2, '0'));
const years = fc.oneof(
  fc.constantFrom('0001', '0004', '0100', '1582', '1600', '1900', '1970', '1999', '2000', '2024', '9999'),
  fc.integer({ min: 1, max: 9999 }).map((n) => String(n).padStart(4, '0')),
);
const days = fc.oneof(
  fc.tuple(years, two(1, 12), two(1, 28)).map((parts) => parts.join('-')),
  fc.constantFrom(
    '2024-02-29',
    '2000-02-29',
    '1999-12-31',
    '0001-01-01',
    '9999-12-31',
    '12024-02-29',
    '294246-01-01',
  ),
);
const clocks = fc
  .tuple(two(0, 23), two(0, 59), two(0, 59), fc.oneof(fc.constant(''), fc.stringMatching(/^\.[0-9]{1,9}$/)))
  .map(([h, m, s, fraction]) => `${h}:${m}:${s}${fraction}`);
const zones = fc.oneof(
  fc.constantFrom('Z', '', '+00', '-00:00', '+15:59', '-15:59', '+0530', '-09', ' UTC'),
  fc.tuple(fc.constantFrom('+', '-'), two(0, 15), two(0, 59)).map(([sign, h, m]) => `${sign}${h}:${m}`),
);
const separators = fc.constantFrom('T', ' ');

/** JSON texts, in several spellings. */
const strings = fc.oneof(
  quoted(fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.replaceAll('\0', ''))),
  fc.constantFrom(
    '"\\u0041\\u00e9\\ud83d\\ude00\\/"',
    '"a\\tb\\nc\\rd\\\\e\\"f"',
    '""',
    '"\\\\N"',
    '"null"',
    '"{}"',
  ),
  quoted(fc.string({ minLength: 90, maxLength: 300 }).map((text) => text.replaceAll('\0', ''))),
  fc.constantFrom('1', '-1.50', '1e5', 'true', 'false', '{"a": [1,  2]}', '[ ]', '12345678901234567890.10'),
);
const jsons = fc.oneof(
  fc.json({ stringUnit: 'binary' }).filter((text) => !/\\u0000|\0|\\ud[89a-f]/i.test(text)),
  fc.constantFrom(
    '{"b":1,"a":2,"b":3}',
    '1.50',
    '1e5',
    '"text"',
    '"esc\\u0041ped"',
    '[ 1 , {"x": null} ]',
    '-0',
    'true',
  ),
);

const TYPES: Record<string, fc.Arbitrary<string>> = {
  BOOLEAN: fc.constantFrom('true', 'false', '"true"', '"false"'),
  SHORT: whole(16n),
  INT: whole(32n),
  LONG: whole(64n),
  FLOAT: fc
    .float({ noNaN: true, noDefaultInfinity: true })
    .filter((value) => value === 0 || Math.abs(value) > 1e-30)
    .map((value) => (Object.is(value, -0) ? '-0' : String(value))),
  DOUBLE: fc.oneof(
    doubles,
    quoted(doubles),
    digits(15),
    fc.constantFrom('0.1', '-0.0', '1e-310', '123456789012345678'),
  ),
  'DECIMAL(5,2)': fc.oneof(
    digits(3),
    fc.tuple(digits(2), digits(6)).map((parts) => parts.join('.')),
    fc.constantFrom('-0.001', '0'),
  ),
  'DECIMAL(38,10)': fc.tuple(digits(28), digits(10)).map(([a, b]) => `-${a}.${b}`),
  NAIVE_DATE: quoted(days),
  NAIVE_DATETIME: quoted(
    fc.oneof(
      days,
      fc.tuple(days, separators, clocks).map((parts) => parts.join('')),
    ),
  ),
  UTC_DATETIME: quoted(
    fc.oneof(
      days,
      fc.tuple(days, separators, clocks, zones).map((parts) => parts.join('')),
    ),
  ),
  BINARY: fc
    .uint8Array({ maxLength: 40 })
    .map((bytes) => JSON.stringify(Buffer.from(bytes).toString('base64'))),
  STRING: strings,
  JSON: jsons,
};

/** Values that a type takes: as they are sent most, and every spelling. */
const takenBy = (type: string): fc.Arbitrary<string> => {
  const documented = DOCUMENTED.get(type)?.taken ?? [];
  const values = TYPES[type] ?? strings;
  return documented.length === 0
    ? values
    : fc.oneof({ weight: 5, arbitrary: values }, { weight: 1, arbitrary: fc.constantFrom(...documented) });
};

const columnName = (type: string) => type.toLowerCase().replaceAll(/[(),]/g, '_');
const NAMES = Object.keys(TYPES);
const columnsOf = (types: readonly string[]): TableSpec['columns'] =>
  Object.fromEntries(types.map((type): [string, ColumnType] => [columnName(type), type as ColumnType]));
const COLUMNS: TableSpec['columns'] = { id: 'STRING', ...columnsOf(NAMES) };

/** A member, or null, or none. */
const members = (values: (type: string) => fc.Arbitrary<string>) =>
  fc.tuple(
    ...NAMES.map((type) =>
      fc.oneof(
        { weight: 8, arbitrary: values(type).map((json) => `"${columnName(type)}":${json}`) },
        { weight: 1, arbitrary: fc.constant(`"${columnName(type)}": null`) },
        { weight: 1, arbitrary: fc.constant(null) },
      ),
    ),
  );
const records = (values: (type: string) => fc.Arbitrary<string>, count = 60) =>
  fc.array(
    fc
      .tuple(
        members(values),
        fc.constantFrom(',', ', ', ' ,'),
        fc.constantFrom('', '"other":{"id":[1,"}"]}', '"\\u006fther":"\\u0000"', '"n":1e999'),
        fc.boolean(),
        fc.integer({ min: 0, max: 40 }),
      )
      .map(([made, comma, other, isReversed, id]) => {
        const all = [
          `"id": "k${id}"`,
          ...made.filter((member) => member !== null),
          ...(other === '' ? [] : [other]),
        ];
        return `{${(isReversed ? all.reverse() : all).join(comma)}}`;
      }),
    { minLength: 1, maxLength: count },
  );

describe.skipIf(!install.available)('rows that the worker types', () => {
  let server: PostgresServer;
  let folder: Awaited<ReturnType<typeof scratch>>;
  let pools: Pool[];
  let fast: TestedDestination;
  let slow: TestedDestination;
  /** Statements of the path under test in which PostgreSQL types records. */
  let typedByServer = 0;
  let tables = 0;

  beforeAll(async () => {
    folder = await scratch();
    if (!install.available) return;
    server = await startPostgres(install.bin);
    const makeDestination = async (name: string, made: (pool: Pool) => PostgresDestination) => {
      await server.query(`CREATE DATABASE ${name}`);
      const pool = new Pool({ connectionString: server.url.replace(/[^/]*$/, name) });
      const tested: TestedDestination = {
        ...{ destination: made(pool), prepares: false, ownSchema: 'main.' },
        rows: () => Promise.reject(new Error('not here')),
        reopen: () => Promise.reject(new Error('not here')),
        query: async (text) => (await pool.query<unknown[]>({ text, rowMode: 'array' })).rows,
        close: () => pool.end(),
      };
      return { pool, tested };
    };
    const one = await makeDestination('fast', (pool) => new PostgresDestination(pool, 'here'));
    const other = await makeDestination('slow', (pool) => new TypedByServer(pool, 'here'));
    pools = [one.pool, other.pool];
    // Connections that end with the server.
    for (const pool of pools) pool.on('error', () => undefined);
    [fast, slow] = [one.tested, other.tested];
    one.pool.on('connect', (client: PoolClient) => {
      const query = client.query.bind(client) as (...args: unknown[]) => unknown;
      client.query = ((...args: unknown[]) => {
        const text = typeof args[0] === 'string' ? args[0] : ((args[0] as { text?: string }).text ?? '');
        if (text.includes('json_to_record')) typedByServer++;
        return query(...args);
      }) as typeof client.query;
    });
  });
  afterAll(async () => {
    if (!install.available) return;
    await Promise.all(pools.map((pool) => pool.end()));
    await server.stop();
    await folder.remove();
  });

  /** A table, in both databases. */
  async function twin(more: Partial<TableSpec> = {}, tested = fast) {
    const table: TableSpec = {
      ...{ schema: 'main', table: `t${tables++}`, primaryKey: ['id'], columns: COLUMNS },
      ...more,
    };
    const streams = [tested, slow].map(
      (one, i) => new Stream(one, (name) => folder.file(`${i}-${name}`), table),
    );
    const opened = await Promise.all(streams.map((stream) => stream.open()));
    const bases = opened.map(({ checkpoint }) => checkpoint.id);
    let writes = 0;
    return {
      table,
      /** Writes the same records into both. @returns the outcome of each, or its error. */
      write: async (lines: string[]) => {
        const next = `c${table.table}_${writes++}`;
        return Promise.all(
          streams.map((stream, i) =>
            stream.write(bases[i] ?? '', next, lines).then(
              (outcome) => {
                bases[i] = next;
                return outcome;
              },
              (thrown: Error) => `${thrown.constructor.name}: ${thrown.message}`,
            ),
          ),
        );
      },
      /** The rows of both, with every bit of their values; and the records put aside. */
      contents: () =>
        Promise.all(
          [fast, slow].map(async (tested) => {
            const own =
              table.mode === 'append' ? `, row_number() OVER (ORDER BY ${identifier(SEQUENCE)})` : '';
            const columns = Object.entries(table.columns).map(([name, type]) =>
              type === 'DOUBLE' ? `float8send(${identifier(name)})::text` : `${identifier(name)}::text`,
            );
            const rows = await tested.query(`SELECT ${columns.join(', ')}${own} FROM main.${table.table}`);
            const aside = await tested.query(
              `SELECT record, reason FROM main._highwater_rejects WHERE "table" = '${table.table}'`,
            );
            return [rows, aside].map((found) => found.map((row) => JSON.stringify(row)).sort());
          }),
        ),
    };
  }

  async function expectSame(made: Awaited<ReturnType<typeof twin>>, lines: string[]) {
    const [one, other] = await made.write(lines);
    expect(one).toEqual(other);
    const [here, there] = await made.contents();
    expect(here).toEqual(there);
    return one;
  }

  it('are those that PostgreSQL makes of values that the types take', async () => {
    typedByServer = 0;
    await fc.assert(
      fc.asyncProperty(records(takenBy), async (lines) => {
        await expectSame(await twin(), lines);
      }),
      { numRuns: runs(120), endOnFailure: true },
    );
    expect(typedByServer).toBe(0);
  });

  const nasty = (type: string) => {
    const refused = [
      ...(DOCUMENTED.get(type)?.refused ?? []),
      ...[
        '"\\u0000"',
        '"\\ud800"',
        '"x\\u0000y"',
        '{"a":"\\u0000"}',
        '"1e400"',
        '1e400',
        '"+0001-01-01"',
        '"0000-00-00"',
      ],
      ...[
        '"2026-01-31T10:00:00.Z"',
        '"2026-13-01T00:00:00Z"',
        '"2026-01-31T1:00:00Z"',
        '"2026-01-31T10:00:00+1"',
        '[]',
      ],
    ];
    return fc.oneof(
      { weight: 150, arbitrary: takenBy(type) },
      { weight: 1, arbitrary: fc.constantFrom(...refused) },
    );
  };

  it('are refused as PostgreSQL refuses them: the same record, the same reason', async () => {
    await fc.assert(
      fc.asyncProperty(records(nasty, 12), async (lines) => {
        await expectSame(await twin(), lines);
      }),
      { numRuns: runs(120), endOnFailure: true },
    );
    expect(typedByServer).toBeGreaterThan(0);
  }, 240_000);

  it('are put aside as PostgreSQL puts them aside', async () => {
    await fc.assert(
      fc.asyncProperty(records(nasty, 30), async (lines) => {
        await expectSame(await twin({ quarantine: true }), lines);
      }),
      { numRuns: runs(75), endOnFailure: true },
    );
    expect(typedByServer).toBeGreaterThan(0);
  }, 240_000);

  /** Values of types that are sent in binary format. */
  const plain = (key: string, value: string, more: string) =>
    `{"k":${key},"at":"2026-01-31T10:00:00.5Z","n":${value},"v":"${more}"}`;
  const PLAIN = { at: 'UTC_DATETIME', n: 'LONG', v: 'STRING' } as const;

  it.each([
    [
      'STRING',
      ['"a"', '"b"', '"ab"', '"a\\u0062"', '""', '"é"', '17', '"17"', 'true', '"true"', '{"a":1}', '"z z"'],
    ],
    [
      'LONG',
      [
        '-1',
        '1',
        '"1"',
        '0',
        '-0',
        '"-0"',
        '9223372036854775807',
        '-9223372036854775808',
        '256',
        '1e2',
        '100',
      ],
    ],
    ['SHORT', ['-1', '1', '"1"', '0', '-0', '-32768', '32767', '256']],
    ['INT', ['-1', '1', '"1"', '0', '65536', '2147483647', '-2147483648']],
    ['BOOLEAN', ['true', 'false', '"true"']],
    ['NAIVE_DATE', ['"2026-01-31"', '"1999-12-31"', '"2026-01-31T00:00:00"', '"0001-01-01"']],
    [
      'UTC_DATETIME',
      ['"2026-01-31T10:00:00Z"', '"2026-01-31T12:00:00+02:00"', '"2026-01-31"', '"1900-01-01"'],
    ],
    ['DOUBLE', ['0', '-0', '0.5', '5e-1', '"0.5"', '-3', '1e300']],
    ['DECIMAL(5,2)', ['1', '1.0', '1.004', '"1"', '-1', '0', '-0.001']],
    ['FLOAT', ['1', '1.0', '16777216', '16777217', '-1']],
    ['BINARY', ['"aGk="', '""', '"AAECgP8="']],
  ] as const)('keep the last record of each key: %s', async (type, keys) => {
    const columns = { k: type, ...PLAIN };
    const value = fc.integer({ min: 0, max: 1 }).map(String);
    const lines = fc.array(
      fc.tuple(fc.constantFrom(...keys), value).map(([k, n]) => plain(k, n, 'x')),
      {
        minLength: 1,
        maxLength: 40,
      },
    );
    await fc.assert(
      fc.asyncProperty(lines, lines, async (first, second) => {
        const made = await twin({ columns, primaryKey: ['k'] });
        await expectSame(made, first);
        await expectSame(made, second);
      }),
      { numRuns: runs(24) },
    );
  });

  it.each([{}, { mode: 'append' }] as const)('are read in parts where they are many: %o', async (more) => {
    const [pool] = pools;
    if (pool === undefined) throw new Error('no pool');
    const inSegments = { ...fast, destination: new InSegments(pool, 'here') };
    typedByServer = 0;
    await fc.assert(
      fc.asyncProperty(records(takenBy), async (lines) => {
        const made = await twin(more, inSegments);
        await expectSame(made, lines);
        await expectSame(made, lines.slice(0, 5));
      }),
      { numRuns: runs(24) },
    );
    expect(typedByServer).toBe(0);
  });

  const MODES: [string, Partial<TableSpec>][] = [
    ['append', { mode: 'append' }],
    ['history', { mode: 'history' }],
    ['replace', { mode: 'replace' }],
    ['deletes', { deletes: 'hard' }],
    ['soft deletes', { deletes: 'soft' }],
    ['a deleted field', { deletedField: 'n' }],
  ];

  it.each(MODES)('are written in every mode: %s', async (_, more) => {
    const line = fc
      .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 1 }), fc.constantFrom('x', 'y'))
      .map(([k, n, v]) => plain(`"${k}"`, String(n), v));
    const batches = fc.array(fc.array(line, { minLength: 1, maxLength: 30 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const made = await twin({ columns: { k: 'STRING', ...PLAIN }, primaryKey: ['k'], ...more });
        for (const lines of all) await expectSame(made, lines);
      }),
      { numRuns: runs(18) },
    );
  });

  it('are of the type that a column has by now, whatever was sent before', async () => {
    const evolving = {
      columns: { id: 'LONG' },
      inference: { policy: 'evolve', flatten: 0, names: 'as_is' },
    } as const;
    const made = await twin(evolving);
    // Spelled as the worker does not read it, then of another type.
    await expectSame(made, ['{"id":1,"v":"2026-01-31T10:00"}']);
    await expectSame(made, ['{"id":2,"v":"2026-01-31T10:01"}']);
    await expectSame(made, ['{"id":3,"v":{"a":1}}', '{"id":4,"v":1.50}']);
  });

  describe('of a batch large enough for a sample', () => {
    const many = (from: number, to: number, value = 1) =>
      Array.from({ length: to - from }, (_, i) =>
        plain(
          JSON.stringify(`key-${((from + i) * 7919) % 100_003}`),
          String(value),
          'é'.repeat((from + i) % 50),
        ),
      );
    const large = () => twin({ columns: { k: 'STRING', ...PLAIN }, primaryKey: ['k'] });

    it('are inserted where all are new, and where the first one is known', async () => {
      const made = await large();
      expect(await expectSame(made, many(0, 5000))).toMatchObject({ rows: 5000 });
      expect(await expectSame(made, [...many(4999, 9000), ...many(8000, 8001)])).toMatchObject({
        rows: 4000,
      });
    });

    it('are updated where a few are known that no sample shows', async () => {
      const made = await large();
      await expectSame(made, many(0, 5000));
      for (let i = 1; i <= 3; i++) {
        const outcome = await expectSame(made, [...many(5000 * i, 5000 * i + 4000), ...many(77, 78, i + 5)]);
        expect(outcome).toMatchObject({ rows: 4001 });
      }
    });

    it('are left alone where they have not changed', async () => {
      const made = await large();
      await expectSame(made, many(0, 5000));
      const versions = () =>
        fast.query(`SELECT xmin::text, xmax::text, ctid::text FROM main.${made.table.table}`);
      const before = await versions();
      expect(await expectSame(made, many(0, 5000))).toMatchObject({ rows: 0 });
      expect(await versions()).toEqual(before);
      expect(await expectSame(made, [...many(0, 2500), ...many(2500, 5000, 2)])).toMatchObject({
        rows: 2500,
      });
    });
  });
});
