/**
 * Whatever is given as a configuration, it becomes a plan or a ConfigurationError: never another error, never a stack
 * trace, never a minute of work.
 */
import { writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfiguration, planFromFlat } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';
import type { Json, StreamPlan } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { startCpuTimer } from '../helpers/cpu.js';
import { runs } from '../helpers/long.js';

let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

/** @returns the plan, or the message of the refusal. */
async function outcome(work: () => StreamPlan | Promise<StreamPlan>): Promise<StreamPlan | string> {
  try {
    return await work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ConfigurationError);
    const { message } = thrown as ConfigurationError;
    expect(message).not.toMatch(/\n\s+at |node_modules|\.[jt]s:\d+|undefined|\[object/);
    expect(message.length).toBeLessThan(20_000);
    return message;
  }
}

const planOf = (value: unknown) => outcome(() => planFromFlat(value));

async function load(name: string, content: string | Uint8Array): Promise<StreamPlan | string> {
  const file = folder.file(name);
  await writeFile(file, content);
  return outcome(async () => planFromFlat(await loadConfiguration(file), file));
}

const KEYS = [
  ...[
    'strategy',
    'base_url',
    'page_size',
    'initial_id',
    'step_size',
    'max_id',
    'buffer_hours',
    'destination',
  ],
  ...['schema', 'table', 'primary_key', 'columns', 'ties', 'max_empty_steps', 'id_lookback', 'full_rescan'],
  ...['interval', 'batch_rows', 'batch_bytes', 'batch_seconds', 'retry_for', 'timeout', 'in_flight'],
  ...['history_limit', '__proto__', 'constructor', 'toString', ''],
];
/** What stands near the edge of being right. */
const NEAR: Json[] = [
  ...[
    'keyset',
    'offset',
    'step_size',
    'replay',
    'STRING',
    'DECIMAL(38,9)',
    'DECIMAL(39,40)',
    '1h',
    '0s',
    '1e9d',
  ],
  ...[
    'http://h/',
    'https://u:p@h/?key=1',
    'http://${env:A}:${env:B}@h/${env:C}',
    'http://[',
    'file:///',
    '//h',
  ],
  ...[
    '0',
    '-1',
    '9'.repeat(400),
    '1.5',
    ' 7 ',
    '1e3',
    'NaN',
    '\u0000',
    'a\nb',
    'x'.repeat(300),
    '💧',
    '\ud800',
  ],
  ...[0, -1, 1.5, 1e308, 2 ** 53, null, true, [], {}, ['id'], { id: 'LONG' }, { id: { id: {} } }],
];
const value = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...NEAR) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json> },
);
const key = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...KEYS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
);
const configuration = fc
  .array(fc.tuple(key, value), { maxLength: 12 })
  .map((entries) => Object.fromEntries(entries) as Json);

test('any keys with any values make a plan or a refusal, and a plan survives history', async () => {
  let plans = 0;
  await fc.assert(
    fc.asyncProperty(configuration, async (given) => {
      const made = await planOf(given);
      if (typeof made === 'string') return;
      plans++;
      expect(JSON.parse(JSON.stringify(made))).toEqual(made);
      expect(made.table.primaryKey.every((name) => Object.hasOwn(made.table.columns, name))).toBe(true);
      expect(made.baseUrl).toMatch(/^https?:\/\//i);
    }),
    { numRuns: runs(1500) },
  );
  // Or else the property would say nothing of plans.
  expect(plans).toBeGreaterThan(runs(10));
});

test('anything at all in place of a configuration is refused or taken', async () => {
  await fc.assert(
    fc.asyncProperty(fc.anything({ withBigInt: false }), async (given) => void (await planOf(given))),
    { numRuns: runs(250) },
  );
});

test.each(['fuzz.json', 'fuzz.yaml'])('any bytes in %s are refused or taken', async (name) => {
  const words = [
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '"',
    '&a',
    '*a',
    '- ',
    '? ',
    '!!',
    '|',
    '>',
    '#',
    '//',
    '/*',
    '\\u',
  ];
  const text = fc
    .array(fc.oneof(fc.constantFrom(...words, ...KEYS, '\n', ' ', '1', 'true'), fc.string()), {
      maxLength: 40,
    })
    .map((parts) => Buffer.from(parts.join('')));
  const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array));
  await fc.assert(
    fc.asyncProperty(fc.oneof(text, bytes), async (content) => void (await load(name, content))),
    { numRuns: runs(250) },
  );
});

test.each(['near.json', 'near.yaml'])(
  'a right %s with one byte changed is refused or taken',
  async (name) => {
    const right =
      '{"strategy": "offset", "page_size": 5, "columns": {"id": "LONG", "b": "STRING"}, "primary_key": ["id"]}';
    expect(await load(name, right)).toMatchObject({ options: { pageSize: 5 } });
    await fc.assert(
      fc.asyncProperty(fc.nat(right.length - 1), fc.nat(255), async (at, byte) => {
        const content = Buffer.from(right);
        content[at] = byte;
        await load(name, content);
      }),
      { numRuns: runs(250) },
    );
  },
);

describe('within a few seconds', () => {
  const fill = (unit: string, before = '', after = '', bytes = 1024 * 1024) =>
    before + unit.repeat(Math.floor((bytes - before.length - after.length) / unit.length)) + after;
  const fillYaml = (unit: string) => fill(unit, '', '', 128 * 1024);
  const bombs: [what: string, name: string, content: string, words: RegExp][] = [
    ['nesting', 'a.json', fill('['), /nested too deeply|not valid JSON/],
    ['nesting of objects', 'b.json', fill('{"a":'), /nested too deeply|not valid JSON/],
    ['nesting that is closed', 'c.json', '['.repeat(500_000) + ']'.repeat(500_000), /nested/],
    [
      'nesting a little too deep',
      'd.json',
      `${'{"a":'.repeat(25)}1${'}'.repeat(25)}`,
      /nested deeper than 20/,
    ],
    ['nesting', 'a.yaml', fillYaml('['), /nested too deeply|not valid YAML/],
    ['nesting of lists', 'b.yaml', fillYaml('- '), /nested too deeply|not valid YAML|nested deeper/],
    ['nesting of complex keys', 'c.yaml', fillYaml('? '), /nested too deeply|not valid YAML|nested deeper/],
    [
      'an alias of itself',
      'd.yaml',
      '&a\nstrategy: keyset\ncolumns: *a\n',
      /nested deeper than 20|too many values/,
    ],
    [
      'aliases of aliases',
      'e.yaml',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefghi'].map((c, i) => `${c}: &${c} [${`*${'abcdefgh'[i]},`.repeat(9)}]\n`).join('')}`,
      /alias|too many values|is not a known key/,
    ],
    ['a number', 'e.json', fill('9', '{"page_size":', '}'), /page_size: /],
    ['a number as text', 'f.json', fill('9', '{"max_id":"', '"}'), /max_id: /],
    ['slashes', 'g.json', fill('/', '{"base_url":"http://h/', 'x"}'), /base_url: is longer than 8192/],
    ['spaces in a duration', 'h.json', fill(' ', '{"interval":"1', 'x"}'), /interval: .* is not a duration/],
    ['digits in a duration', 'i.json', fill('1', '{"interval":"', '"}'), /interval: /],
    [
      'a type',
      'j.json',
      fill(' ', '{"columns":{"id":"DECIMAL(', ')"}}'),
      /columns\.id: .* is not a column type/,
    ],
    ['a name', 'k.json', fill('k', '{"', '":1}'), /is not a known key/],
    [
      'unknown keys',
      'l.json',
      `{${Array.from({ length: 50_000 }, (_, i) => `"strateg${i}":1`).join(',')}}`,
      /and \d+ more/,
    ],
    [
      'columns',
      'm.json',
      `{"columns":{"id":"LONG",${Array.from({ length: 50_000 }, (_, i) => `"c${i}":"INT"`).join(',')}}}`,
      /columns: must name at most 1600 columns/,
    ],
    ['brackets in a reference', 'n.json', fill('${env:', '{"base_url":"http://h/', '"}'), /base_url: /],
    ['a percent sign', 'o.json', fill('%', '{"base_url":"', '"}'), /base_url: /],
  ];
  test.each(bombs)(
    'as much %s as a file may hold is refused: %s',
    { timeout: 60_000 },
    async (_, name, content, words) => {
      const used = startCpuTimer();
      expect(await load(name, content)).toMatch(words);
      expect(used()).toBeLessThan(5000);
    },
  );
});

describe('a member called __proto__', () => {
  test.each([
    ['JSON', 'p.json', '{"__proto__": {"strategy": "offset"}}'],
    ['JSON, escaped', 'q.json', String.raw`{"\u005f_proto__": {"strategy": "offset"}}`],
    ['JSON, inside', 'r.json', '{"columns": {"id": "LONG", "__proto__": "STRING"}}'],
    ['YAML', 's.yaml', '__proto__: {strategy: offset}\n'],
    ['YAML, inside', 't.yaml', 'columns: {id: LONG, __proto__: STRING}\n'],
  ])('is refused, not swallowed: %s', async (_, name, content) => {
    expect(await load(name, content)).toMatch(/__proto__.* is not allowed as a name/);
  });

  test('is refused in what a Temporal client sends, too', async () => {
    const sent = JSON.parse('{"columns": {"id": "LONG", "__proto__": "STRING"}}') as Json;
    expect(await planOf(sent)).toMatch(/columns\.__proto__: is not allowed as a name here/);
  });
});
