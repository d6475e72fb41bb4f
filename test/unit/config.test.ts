import { writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REFERENCE_REQUEST } from '../../src/config/reference-source.js';
import {
  asOnePass,
  loadConfiguration,
  parseDuration,
  planFromFlat,
  plansFrom,
  withMaxDeletes,
} from '../../src/config/index.js';
import { durationText } from '../../src/durations.js';
import { ConfigurationError, type Problem } from '../../src/errors.js';
import {
  COLUMN_TYPES,
  REFERENCE_STRATEGIES,
  type ReferenceStrategy,
  type StreamPlan,
} from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';

/** The problems that a configuration is refused for, by path. */
function refused(raw: unknown): Record<string, string> {
  return byPath(problemsOf(() => planFromFlat(raw)));
}

function problemsOf(work: () => unknown): Problem[] {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) return thrown.problems;
    throw thrown;
  }
  throw new Error('was not refused');
}

const byPath = (problems: Problem[]) => Object.fromEntries(problems.map((p) => [p.path, p.message]));

const REFERENCE = {
  keyset: '/pagination/keyset',
  offset: '/pagination/offset',
  timestamp: '/incremental/timestamp',
  step_size: '/incremental/step',
  replay: '/incremental/timestamp',
} as const;
const ORIGINAL_REPLAY = '/incremental/replay';

describe('an empty configuration', () => {
  it('is the reference connector as it comes', () => {
    expect(planFromFlat({})).toEqual({
      stream: 'user',
      baseUrl: 'http://127.0.0.1:5001/pagination/keyset',
      request: REFERENCE_REQUEST,
      options: { strategy: 'keyset', ties: 'auto' },
      table: {
        schema: 'main',
        table: 'user',
        primaryKey: ['id'],
        columns: {
          id: 'STRING',
          name: 'STRING',
          email: 'STRING',
          address: 'STRING',
          company: 'STRING',
          job: 'STRING',
          updatedAt: 'UTC_DATETIME',
          createdAt: 'UTC_DATETIME',
        },
        stamps: true,
      },
      cursorField: 'updatedAt',
      destination: null,
      intervalSeconds: null,
      batch: { rows: 100_000, bytes: 24 * 1024 * 1024, seconds: 10 },
      retrySeconds: 60,
      requestTimeoutSeconds: 60,
      inFlight: 4,
      historyLimit: null,
      notes: [],
    } satisfies StreamPlan);
  });

  it.each([
    ['keyset', { strategy: 'keyset', ties: 'auto' }],
    ['offset', { strategy: 'offset', pageSize: 100, fullRescan: null }],
    ['timestamp', { strategy: 'timestamp' }],
    [
      'step_size',
      {
        strategy: 'step_size',
        initialId: '1',
        stepSize: '1000',
        maxId: '100000',
        maxEmptySteps: null,
        idLookback: '1000',
      },
    ],
    ['replay', { strategy: 'replay', bufferHours: 2 }],
  ] as const)('has the reference defaults for %s', (strategy, options) => {
    const plan = planFromFlat({ strategy });
    expect(plan.options).toEqual(options);
    expect(plan.baseUrl).toBe(`http://127.0.0.1:5001${REFERENCE[strategy]}`);
    expect(plan.notes).toEqual([]);
  });
});

describe('numbers', () => {
  it('may be text, as the platform of the reference connector stores them', () => {
    const asText = {
      page_size: ' 50 ',
      initial_id: '7',
      step_size: '25',
      max_id: '5000',
      buffer_hours: '1.5',
      max_empty_steps: '3',
      id_lookback: '10',
      batch_rows: '10',
      batch_bytes: '2048',
      batch_seconds: '0.5',
      history_limit: '100',
    };
    expect(planFromFlat({ ...asText, strategy: 'offset' }).options).toMatchObject({ pageSize: 50 });
    expect(planFromFlat({ ...asText, strategy: 'replay' }).options).toMatchObject({ bufferHours: 1.5 });
    expect(planFromFlat({ ...asText, strategy: 'step_size' })).toMatchObject({
      options: { initialId: '7', stepSize: '25', maxId: '5000', maxEmptySteps: 3, idLookback: '10' },
      batch: { rows: 10, bytes: 2048, seconds: 0.5 },
      historyLimit: 100,
    });
  });

  it('that are ids stay exact beyond 2^53, and are refused where JSON has rounded them already', () => {
    const ids = { strategy: 'step_size', initial_id: '9007199254740993', max_id: '90071992547409931234' };
    expect(planFromFlat(ids).options).toMatchObject({
      initialId: '9007199254740993',
      maxId: '90071992547409931234',
    });
    expect(refused({ max_id: 2 ** 53 })).toEqual({
      max_id: 'must be a whole number of at least 0; write numbers beyond 2^53 as text',
    });
  });

  it('say what they should have been', () => {
    expect(refused({ page_size: 'abc' })).toEqual({ page_size: 'must be a number, not "abc"' });
    expect(refused({ page_size: '' })).toEqual({ page_size: 'must be a number, not ""' });
    expect(refused({ page_size: '1e3' })).toEqual({ page_size: 'must be a number, not "1e3"' });
    expect(refused({ page_size: null })).toEqual({ page_size: 'must be a number, not null' });
    expect(refused({ page_size: true })).toEqual({ page_size: 'must be a number, not true' });
    expect(refused({ page_size: 1.5 })).toEqual({ page_size: 'must be a whole number, not 1.5' });
    expect(refused({ page_size: '0' })).toEqual({ page_size: '0 is too small: the minimum is 1' });
    expect(refused({ page_size: 1_000_001 })).toEqual({
      page_size: '1000001 is too large: the maximum is 1000000',
    });
    expect(refused({ buffer_hours: -1 })).toEqual({ buffer_hours: '-1 is too small: the minimum is 0' });
    expect(refused({ step_size: 0 })).toEqual({ step_size: 'must be at least 1' });
  });
});

describe('idle_interval', () => {
  it('is what interval may grow to, for one pass left out with it', () => {
    expect(planFromFlat({ interval: '15m', idle_interval: '6h' })).toMatchObject({
      ...{ intervalSeconds: 900, idleIntervalSeconds: 21_600 },
    });
    expect(refused({ idle_interval: '1h' })).toEqual({
      idle_interval: 'needs "interval", from which it grows',
    });
    expect(refused({ interval: '15m', idle_interval: '1m' })).toEqual({
      idle_interval: 'must not be shorter than "interval", from which it grows',
    });
    const source = { base_url: 'http://127.0.0.1:1' };
    const stream = { name: 'one', strategy: 'cursor', primary_key: 'id', columns: { id: 'STRING' } };
    const streams = [{ ...stream, next: 'link' }];
    expect(plansFrom({ source, streams, interval: '1m', idle_interval: '1h' }).plans).toMatchObject([
      { intervalSeconds: 60, idleIntervalSeconds: 3600 },
    ]);
    expect(() => plansFrom({ source, streams, idle_interval: '1h' })).toThrow(
      /idle_interval: needs "interval"/,
    );
    expect(asOnePass({ strategy: 'keyset', interval: '15m', idle_interval: '6h' })).toEqual({
      strategy: 'keyset',
    });
  });
});

describe('notify', () => {
  const url = '${env:HOOK}';

  it('is a webhook, in both forms', () => {
    const notify = { url, on: ['failing', 'recovered', 'lag'], lag: '1h' };
    expect(planFromFlat({ interval: '15m', notify }).intervalSeconds).toBe(900);
    const source = { base_url: 'http://127.0.0.1:1' };
    const stream = { name: 'one', strategy: 'cursor', primary_key: 'id', columns: { id: 'STRING' } };
    const streams = [{ ...stream, next: 'link' }];
    expect(plansFrom({ source, streams, interval: '15m', notify }).plans).toHaveLength(1);
    expect(() => plansFrom({ source, streams, interval: '2h', notify })).toThrow(
      /notify\.lag: must be longer than "interval", 2h: between two passes a table is always that far behind/,
    );
  });

  it('says what it cannot be told of', () => {
    expect(refused({ notify: { url, on: ['lag'] } })).toEqual({
      'notify.lag': 'is required, because "on" lists lag',
    });
    expect(refused({ interval: '1m', idle_interval: '2h', notify: { url, lag: '1h' } })).toEqual({
      'notify.lag':
        'must be longer than "idle_interval", 2h: between two passes a table is always that far behind',
    });
    expect(refused({ notify: { url, on: ['sometimes'] } })['notify.on[0]']).toContain(
      'failing, recovered, lag',
    );
    expect(refused({ notify: {} })).toHaveProperty(['notify.url']);
  });

  it('has no secret in the open', () => {
    const SECRET = 'T0/B0/x9f31';
    const secret =
      'is a secret itself, which the workflow\'s history would keep; write "${env:NAME}" instead';
    expect(refused({ notify: { url: `https://hooks.slack.com/services/${SECRET}` } })).toEqual({
      'notify.url': secret,
    });
    expect(refused({ notify: { url: `https://example.com/?token=${SECRET}` } })['notify.url']).toContain(
      'token',
    );
    expect(refused({ notify: { url: 'ftp://example.com' } })['notify.url']).toContain(
      'only http:// and https://',
    );
    expect(planFromFlat({ notify: { url: 'http://127.0.0.1:8080/hook' } }).stream).toBe('user');
  });
});

describe('durations', () => {
  it('are shown in the largest unit that says them well', () => {
    const seconds = [0, 0.5, 59, 90, 900, 5400, 7200, 86_400, 100_000];
    expect(seconds.map(durationText)).toEqual([
      '0s',
      '0.5s',
      '59s',
      '1.5m',
      '15m',
      '1.5h',
      '2h',
      '1d',
      '100000s',
    ]);
    for (const one of seconds.slice(1)) expect(parseDuration(durationText(one))).toBe(one);
  });

  it('are a number and a unit', () => {
    expect(['30s', '15m', '2h', '1d', ' 1.5 h '].map(parseDuration)).toEqual([30, 900, 7200, 86_400, 5400]);
    expect(['', '15', 'm', '-1m', '1 week', '1h30m', '1e3s', 'Infinitys'].map(parseDuration)).toEqual(
      Array(8).fill(null),
    );
    expect(planFromFlat({ interval: '15m', retry_for: '2h', timeout: '5s' })).toMatchObject({
      intervalSeconds: 900,
      retrySeconds: 7200,
      requestTimeoutSeconds: 5,
    });
  });

  it('are refused with an example of one', () => {
    const example = 'is not a duration; write one such as "30s", "15m", "2h" or "1d"';
    expect(refused({ interval: '15', retry_for: '0s', timeout: '400d' })).toEqual({
      interval: `"15" ${example}`,
      retry_for: `"0s" ${example}`,
      timeout: `"400d" ${example}`,
    });
  });

  it('or a number of passes say when offset reads everything again', () => {
    const rescan = (full_rescan: unknown) => planFromFlat({ strategy: 'offset', full_rescan }).options;
    expect(rescan('24h')).toMatchObject({ fullRescan: { seconds: 86_400 } });
    expect(rescan(3)).toMatchObject({ fullRescan: { passes: 3 } });
    expect(rescan('3')).toMatchObject({ fullRescan: { passes: 3 } });
    expect(refused({ full_rescan: 'daily' })).toEqual({
      full_rescan: 'must be a number of passes (1 = every pass) or a duration such as "24h"',
    });
  });
});

describe('an invalid configuration', () => {
  it('is refused with every problem at once, each with its path', () => {
    const problems = refused({
      strategy: 'keysett',
      base_url: 'ftp://api.example.com',
      page_size: 'many',
      initial_id: -1,
      step_size: 0,
      max_id: 'last',
      buffer_hours: 'two',
      destination: '',
      schema: ' a',
      table: '_highwater_checkpoints',
      primary_key: [],
      columns: { id: 'STRNG', when: 'DECIMAL(39,2)', ok: 'JSON' },
      ties: 'both',
      max_empty_steps: 0,
      id_lookback: 1.5,
      full_rescan: 0,
      interval: 'soon',
      batch_rows: 0,
      batch_bytes: 1,
      batch_seconds: 0,
      retry_for: 5,
      timeout: '',
      history_limit: 1,
      paeg_size: 5,
    });
    expect(Object.keys(problems).sort()).toEqual(
      [
        ...['strategy', 'base_url', 'page_size', 'initial_id', 'step_size', 'max_id', 'buffer_hours'],
        ...['destination', 'schema', 'table', 'primary_key', 'columns.id', 'columns.when', 'ties'],
        ...['max_empty_steps', 'id_lookback', 'full_rescan', 'interval', 'batch_rows', 'batch_bytes'],
        ...['batch_seconds', 'retry_for', 'timeout', 'history_limit', 'paeg_size'],
      ].sort(),
    );
  });

  it('says how many problems there are, and one to a line', () => {
    const error = new ConfigurationError(
      problemsOf(() => planFromFlat({ a: 1, ties: 'x' })),
      'conf.json',
    );
    expect(error.message).toMatch(/^conf\.json has 2 problems:\n {2}ties: .*\n {2}a: .*$/);
    expect(new ConfigurationError([{ path: '', message: 'm' }]).message).toBe(
      'the configuration has 1 problem:\n  (top level): m',
    );
  });

  it('is told of contradictions between keys together with what is wrong in other keys', () => {
    expect(
      refused({
        strategy: 'step_size',
        initial_id: 10,
        max_id: 5,
        primary_key: ['idd', 'idd'],
        page_size: 'x',
      }),
    ).toEqual({
      page_size: 'must be a number, not "x"',
      'primary_key[0]': '"idd" is not one of the columns (did you mean "id"?)',
      'primary_key[1]': '"idd" is not one of the columns (did you mean "id"?)',
      primary_key: 'names a column twice',
      max_id: '5 is less than initial_id 10',
    });
  });

  it('is not told of a contradiction that only follows from a key refused already', () => {
    expect(Object.keys(refused({ primary_key: 'key', columns: { key: 'TXT' } }))).toEqual(['columns.key']);
    expect(Object.keys(refused({ strategy: 'step_size', initial_id: 'x', max_id: 0 }))).toEqual([
      'initial_id',
    ]);
  });

  it.each([
    [{ strategy: 'timestamps' }, 'strategy', 'timestamp'],
    [{ strategy: 'Offset' }, 'strategy', 'offset'],
    [{ strategy: 'stepsize' }, 'strategy', 'step_size'],
    [{ ties: 'Auto' }, 'ties', 'auto'],
    [{ pagesize: 5 }, 'pagesize', 'page_size'],
    [{ baseUrl: 'x' }, 'baseUrl', 'base_url'],
    [{ primarykey: 'id' }, 'primarykey', 'primary_key'],
    [{ buffer_hour: 5 }, 'buffer_hour', 'buffer_hours'],
    [{ columns: { id: 'TIMESTAMP_UTC' } }, 'columns.id', 'TIMESTAMPTZ'],
    [{ columns: { id: 'SOMETHING_ELSE' } }, 'columns.id', null],
    [{ columns: { id: 'UTC_DATETIM' } }, 'columns.id', 'UTC_DATETIME'],
    [{ primary_key: 'Id' }, 'primary_key[0]', 'id'],
    [{ strategy: 'zzzzzzzzzzzz' }, 'strategy', null],
    [{ qqqqqqqqqqqq: 1 }, 'qqqqqqqqqqqq', null],
  ])('%j is told the nearest word, where one is near', (raw, path, word) => {
    const message = refused(raw)[path];
    if (word === null) expect(message).not.toContain('did you mean');
    else expect(message).toContain(`(did you mean "${word}"?)`);
  });

  it.each([
    [null, 'nothing'],
    [undefined, 'nothing'],
    [[], 'a list'],
    ['text', 'a string'],
    [5, 'a number'],
    [true, 'a boolean'],
  ])('%j is no object', (raw, kind) => {
    expect(refused(raw)).toEqual({ '': `must be an object of keys and values, not ${kind}` });
  });

  it('shows a long value cut, never whole', () => {
    expect(refused({ strategy: 'x'.repeat(10_000) })['strategy']?.length).toBeLessThan(200);
  });

  it('whatever it is, is either refused by a ConfigurationError or a plan', () => {
    const keys = ['strategy', 'base_url', 'page_size', 'columns', 'primary_key', 'interval', 'max_id'];
    const document = fc.dictionary(fc.oneof(fc.constantFrom(...keys), fc.string()), fc.jsonValue());
    fc.assert(
      fc.property(fc.oneof(document, fc.jsonValue()), (raw) => {
        try {
          planFromFlat(raw);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ConfigurationError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('names in the destination', () => {
  it('may hold anything that somebody can have meant', () => {
    const names = ['select', 'two words', 'a"b', "a'b", 'a;b', '日本語', 'naïve', 'x'.repeat(200), '../up'];
    for (const name of names) {
      expect(
        planFromFlat({ schema: name, table: name, primary_key: name, columns: { [name]: 'STRING' } }),
      ).toMatchObject({
        table: { schema: name, table: name, primaryKey: [name], columns: { [name]: 'STRING' } },
      });
    }
  });

  it.each([
    ['', 'is too small'],
    ['x'.repeat(201), 'too long: the maximum is 200 characters'],
    ['line\nbreak', 'must not hold control characters'],
    ['nul\u0000', 'must not hold control characters'],
    [' space', 'must not begin or end with a space'],
  ])('%j is refused', (name, words) => {
    expect(refused({ schema: name })['schema']).toContain(words);
    expect(refused({ table: name })['table']).toContain(words);
    expect(Object.values(refused({ columns: { [name]: 'STRING', id: 'STRING' } })).join()).toContain(
      words.replace(/is too small|too large: at most 200/, 'the name is not allowed'),
    );
  });

  it("cannot be those of Highwater's own tables, in any case", () => {
    expect(refused({ table: '_HighWater_meta' })['table']).toContain("Highwater's own");
  });

  it('that differ only in case are one column to the destination, so two are refused', () => {
    expect(refused({ columns: { id: 'STRING', ID: 'LONG', iD: 'INT' } })).toEqual({
      'columns.ID': 'differs from "id" only in case, which the destination does not distinguish',
      'columns.iD': 'differs from "ID" only in case, which the destination does not distinguish',
    });
  });

  it('have a type in any case, DECIMAL with its precision and scale', () => {
    for (const type of COLUMN_TYPES) {
      const plan = planFromFlat({ columns: { id: type.toLowerCase() } });
      expect(plan.table.columns).toEqual({ id: type });
    }
    const decimal = (type: string) => planFromFlat({ columns: { id: type } }).table.columns['id'];
    expect(decimal('decimal( 38 , 10 )')).toBe('DECIMAL(38,10)');
    expect(decimal('DECIMAL(1,0)')).toBe('DECIMAL(1,0)');
    for (const wrong of [
      'DECIMAL',
      'NUMERIC',
      'DECIMAL(0,0)',
      'DECIMAL(39,0)',
      'DECIMAL(5,6)',
      'VARCHAR(x)',
    ]) {
      expect(refused({ columns: { id: wrong } })['columns.id']).toContain(`"${wrong}" is not a column type`);
    }
  });
});

it.each([
  ['varchar', 'STRING'],
  ['VarChar(20)', 'STRING'],
  ['character  varying(20)', 'STRING'],
  ['text', 'STRING'],
  ['uuid', 'STRING'],
  ['bool', 'BOOLEAN'],
  ['smallint', 'SHORT'],
  ['integer', 'INT'],
  ['bigint', 'LONG'],
  ['int8', 'LONG'],
  ['numeric(12, 2)', 'DECIMAL(12,2)'],
  ['numeric(5)', 'DECIMAL(5,0)'],
  ['decimal(5)', 'DECIMAL(5,0)'],
  ['real', 'FLOAT'],
  ['double precision', 'DOUBLE'],
  ['date', 'NAIVE_DATE'],
  ['timestamp', 'NAIVE_DATETIME'],
  ['timestamptz', 'UTC_DATETIME'],
  ['timestamp with time zone', 'UTC_DATETIME'],
  ['jsonb', 'JSON'],
  ['bytea', 'BINARY'],
])('the SQL type %s is %s', (name, type) => {
  expect(planFromFlat({ columns: { id: name } }).table.columns).toEqual({ id: type });
});

describe('base_url', () => {
  const origin = 'https://api.example.com:8443';
  const paths = [...new Set([...Object.values(REFERENCE), ORIGINAL_REPLAY])];
  const pairs = REFERENCE_STRATEGIES.flatMap((strategy) => paths.map((path) => [strategy, path] as const));

  it.each(pairs)('for %s with the path %s is read where the strategy works', (strategy, path) => {
    const own = REFERENCE[strategy];
    const plan = planFromFlat({ strategy, base_url: origin + path });
    expect(plan.baseUrl).toBe(origin + own);
    if (path === own) expect(plan.notes).toEqual([]);
    else {
      expect(plan.notes).toEqual([
        {
          code: 'path_replaced',
          message: `the path ${path} of base_url belongs to another strategy; ${strategy} reads ${own} instead`,
        },
      ]);
    }
  });

  it('keeps credentials, query and references where its path is replaced', () => {
    const base_url =
      'http://user:${env:PASSWORD}@127.0.0.1:5001/pagination/keyset/?tenant=a/b&key=${env:KEY}#x';
    expect(planFromFlat({ strategy: 'offset', base_url }).baseUrl).toBe(
      'http://user:${env:PASSWORD}@127.0.0.1:5001/pagination/offset?tenant=a/b&key=${env:KEY}#x',
    );
  });

  it('of any other path is left alone', () => {
    for (const path of [
      '',
      '/',
      '/v2/pagination/keyset',
      '/pagination/keyset2',
      '/users?path=/pagination/keyset',
    ]) {
      for (const strategy of REFERENCE_STRATEGIES as readonly ReferenceStrategy[]) {
        const plan = planFromFlat({ strategy, base_url: origin + path });
        expect([plan.baseUrl, plan.notes]).toEqual([origin + path, []]);
      }
    }
  });

  it('must be one, over HTTP', () => {
    expect(refused({ base_url: 'api.example.com' })).toEqual({
      base_url: '"api.example.com" is not a URL; write one such as "http://127.0.0.1:5001/pagination/keyset"',
    });
    expect(refused({ base_url: 'file:///etc/passwd' })['base_url']).toContain('file:// is not allowed');
    expect(refused({ base_url: 5 })).toEqual({ base_url: 'must be a string, not 5' });
  });

  it.each([
    'https://user:secret@api.example.com/',
    'https://user:secret${env:MORE}@api.example.com/',
    'https://user:${env:SOME}secret@api.example.com/',
    // A reference elsewhere does not make up for it.
    'https://user:secret@api.example.com/?to=:${env:OTHER}@',
    'https://:secret@api.example.com/',
  ])('with a password in it is refused, because history would keep it: %s', (base_url) => {
    const message = refused({ base_url })['base_url'];
    expect(message).toContain('contains a password');
    expect(message).toContain('${env:NAME}');
    expect(message).not.toContain('secret');
  });

  it('may refer to a password', () => {
    const base_url = 'https://${env:API_USER}:${env:API_PASSWORD}@api.example.com/users';
    expect(planFromFlat({ base_url }).baseUrl).toBe(base_url);
  });
});

describe('a configuration file', () => {
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
  });
  afterAll(() => folder.remove());

  async function load(name: string, content: string | Buffer) {
    await writeFile(folder.file(name), content);
    return loadConfiguration(folder.file(name));
  }

  async function refusal(name: string, content: string | Buffer): Promise<ConfigurationError> {
    const thrown: unknown = await load(name, content).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ConfigurationError);
    return thrown as ConfigurationError;
  }

  it('of the reference documentation is read as it is, comment and all', async () => {
    const documented = `{
  "strategy": "keyset", // or "offset", "timestamp", "step_size", "replay"
  "base_url": "http://127.0.0.1:5001/pagination/keyset",
  "page_size": 100,
  "initial_id": 1,
  "step_size": 1000,
  "max_id": 100000,
  "buffer_hours": 2
}`;
    expect(planFromFlat(await load('documented.json', documented))).toEqual(planFromFlat({}));
  });

  it('may hold comments, trailing commas, a byte order mark and CRLF', async () => {
    const text = '\uFEFF{ /* what */ "strategy": "offset",\r\n // why\r\n "columns": {"id": "LONG",},\r\n }';
    expect(await load('loose.json', text)).toEqual({ strategy: 'offset', columns: { id: 'LONG' } });
  });

  it.each(['conf.yaml', 'conf.yml', 'CONF.YAML'])('may be YAML: %s', async (name) => {
    const text = 'strategy: step_size # ids\nstep_size: 50\ncolumns:\n  id: LONG\nprimary_key: [id]\n';
    expect(await load(name, text)).toEqual({
      strategy: 'step_size',
      step_size: 50,
      columns: { id: 'LONG' },
      primary_key: ['id'],
    });
  });

  it('with a syntax error is refused with file, line and column', async () => {
    const comma = await refusal('comma.json', '{\n  "strategy": "keyset"\n  "page_size": 5\n}');
    expect(comma.problems).toEqual([
      { path: '', message: 'is not valid JSON: CommaExpected', position: { line: 3, column: 3 } },
    ]);
    const file = folder.file('comma.json');
    expect(comma.message).toBe(`${file} has 1 problem:\n  ${file}:3:3  is not valid JSON: CommaExpected`);
    const unquoted = await refusal('unquoted.json', '{\r\n\r\n  strategy: 1}');
    expect(unquoted.problems[0]?.position).toEqual({ line: 3, column: 3 });
    const yaml = await refusal('bad.yaml', 'strategy: keyset\npage_size: [1, 2\nties: auto\n');
    expect(yaml.message).toMatch(/bad\.yaml:[23]:\d+ {2}is not valid YAML/);
    expect(yaml.message).toContain('is not valid YAML');
    const twice = await refusal('twice.yaml', 'strategy: keyset\nstrategy: offset\n');
    expect(twice.problems[0]?.position).toEqual({ line: 2, column: 1 });
  });

  it('that is empty, absent, a folder or enormous is refused with its name', async () => {
    expect((await refusal('empty.json', '')).message).toContain(folder.file('empty.json'));
    expect((await refusal('comment.json', '// nothing\n')).problems).toHaveLength(1);
    for (const [path, said] of [
      [folder.file('absent.json'), 'the file does not exist'],
      [folder.path, 'is a folder'],
    ] as const) {
      const thrown: unknown = await loadConfiguration(path).catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(ConfigurationError);
      expect((thrown as Error).message).toContain(path);
      expect((thrown as Error).message).toContain(said);
    }
    const large = await refusal('large.json', `{"table": "${'x'.repeat(1024 * 1024)}"}`);
    expect(large.message).toContain('is larger than 1048576 bytes');
  });

  it('whose YAML aliases cannot be resolved, or would fill memory, is refused like any other', async () => {
    expect((await refusal('alias.yaml', 'strategy: *none\n')).message).toContain(folder.file('alias.yaml'));
    const levels = Array.from({ length: 12 }, (_, i) => {
      const items = Array(12).fill(i === 0 ? 'x' : `*l${i - 1}`);
      return `l${i}: &l${i} [${items.join(', ')}]`;
    });
    const bomb = await refusal('bomb.yaml', `${levels.join('\n')}\n`);
    expect(bomb.message).toContain(folder.file('bomb.yaml'));
  });
});

describe('a table that follows its source', () => {
  const tableOf = (more: object) => planFromFlat(more).table;

  it('is one whose columns are left out where the flat form is told to, or that is told to go on from those declared', () => {
    expect(tableOf({})).not.toHaveProperty('inference');
    expect(tableOf({ misfits: 'quarantine' })).not.toHaveProperty('inference');
    const inference = { policy: 'evolve', flatten: 0, names: 'as_is' };
    expect(tableOf({ misfits: 'evolve' })).toMatchObject({ columns: {}, inference });
    expect(tableOf({ misfits: 'evolve', columns: { id: 'int' } })).toMatchObject({
      columns: { id: 'INT' },
      inference,
    });
  });

  it('may have names and nested members of its own, which nothing else has', () => {
    const more = { misfits: 'evolve', column_names: 'snake_case' };
    for (const [flatten, levels] of [
      [true, 20],
      [false, 0],
      ['3', 3],
    ] as const) {
      expect(tableOf({ ...more, flatten }).inference).toEqual({
        policy: 'evolve',
        flatten: levels,
        names: 'snake_case',
      });
    }
    const problems = refused({ flatten: true, column_names: 'snake_case' });
    expect(Object.keys(problems)).toEqual(['flatten', 'column_names']);
    expect(problems['flatten']).toContain('set "misfits" to "evolve"');
    expect(Object.keys(refused({ ...more, flatten: 0 }))).toEqual(['flatten']);
    expect(refused({ misfits: 'evole' })['misfits']).toContain('did you mean "evolve"');
  });

  it('has any primary key', () => {
    expect(tableOf({ misfits: 'evolve', primary_key: ['a', 'b'] }).primaryKey).toEqual(['a', 'b']);
  });
});

describe('max_deletes', () => {
  const limitOf = (max_deletes: unknown) => planFromFlat({ max_deletes }).table.maxDeletes;

  it.each([
    [5, { rows: 5 }],
    ['0', { rows: 0 }],
    ['10%', { percent: 10 }],
    [' 2.5 % ', { percent: 2.5 }],
    ['any', 'any'],
  ])('takes %j', (value, limit) => {
    expect(limitOf(value)).toEqual(limit);
  });

  it.each([-1, 2.5, '-1', '110%', 'all', 'ten', '', true, null, {}, 1e300])('refuses %j', (value) => {
    expect(Object.keys(refused({ max_deletes: value }))).toEqual(['max_deletes']);
  });

  it('says what may stand there', () => {
    expect(refused({ max_deletes: 'all' })).toEqual({
      max_deletes: 'must be a whole number of rows, a share such as "10%", or "any"',
    });
  });

  it('is what a run asks for, in either form, and whatever the streams say', () => {
    expect(withMaxDeletes({ strategy: 'keyset', max_deletes: 1 }, '50%')).toEqual({
      strategy: 'keyset',
      max_deletes: '50%',
    });
    const source = { base_url: 'http://127.0.0.1:1' };
    const streams = [{ name: 'a', max_deletes: 1 }, { name: 'b' }].map((stream) => ({
      ...{ ...stream, path: `/${stream.name}`, strategy: 'page_number', columns: { id: 'LONG' } },
    }));
    const { plans } = plansFrom(withMaxDeletes({ source, defaults: { deletes: 'soft' }, streams }, 'any'));
    expect(plans.map(({ table }) => table.maxDeletes)).toEqual(['any', 'any']);
  });
});
