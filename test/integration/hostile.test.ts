/**
 * Sources that break every rule, through the whole system: a worker, the workflow, a DuckDB file. Either the fault
 * passes and the table equals the source, or the sync ends with one clear error, nothing half written, and the next
 * healthy sync makes them equal.
 */
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import type { DemoSettingsPatch, FaultInput } from '../../src/dev/demo-api.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import { Staging } from '../../src/staging/staging.js';
import { configurationFor, difference, EQUAL, PATHS, uniqueName, until } from '../helpers/harness.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const ROWS = 130;
const REFERENCE_STRATEGIES = Object.keys(PATHS) as ReferenceStrategy[];
/** Enough for step_size to have three ranges. */
const STEPS = { step_size: 50, max_id: 150 };

// Most of the time here is waiting for time to pass.
vi.setConfig({ maxConcurrency: 12 });

let system: System;
beforeAll(async () => {
  system = await startSystem(inject('temporalAddress'), { HOSTILE_KEY: 'open sesame' });
});
afterAll(() => system.stop());

/** An API, a schema of its own, and what a sync of it leaves behind. */
interface Case {
  api: TestApi;
  schema: string;
  configuration: { [key: string]: Json };
}

async function withCase<T>(
  strategy: ReferenceStrategy,
  settings: DemoSettingsPatch,
  use: (made: Case) => Promise<T>,
  more: { [key: string]: Json } = {},
): Promise<T> {
  const api = await testApi({ rows: ROWS, ...settings });
  const schema = uniqueName('s').replaceAll('-', '_');
  try {
    const own = strategy === 'step_size' ? STEPS : {};
    return await use({
      api,
      schema,
      configuration: configurationFor(strategy, api.url, { schema, ...own, ...more }),
    });
  } finally {
    await api.stop();
  }
}

const differs = ({ api, schema, configuration }: Case) =>
  difference(api.client, system.destination, {
    schema,
    view: configuration['strategy'] === 'step_size' ? 'step' : 'list',
  });

/**
 * Says how many rows the table has, having made sure that they are those of committed batches, whole ones, and that
 * the checkpoint is the one that the last of them made.
 */
async function rowsOfWholeBatches(made: Case): Promise<number> {
  const { schema } = made;
  const { stale, extra } = await differs(made);
  expect({ stale, extra }).toEqual({ stale: [], extra: [] });
  const where = `WHERE "schema" = '${schema}'`;
  const [table] = await system.query(`SELECT count(*)::INT, count(DISTINCT id)::INT FROM "${schema}"."user"`);
  const [rows] = await system.query(`SELECT coalesce(sum("rows"), 0)::INT FROM _highwater_batches ${where}`);
  expect(table).toEqual([rows?.[0], rows?.[0]]);
  const last = await system.query(
    `SELECT id FROM _highwater_batches b ${where} AND NOT EXISTS (SELECT 1 FROM _highwater_batches n WHERE n.base = b.id)`,
  );
  const [stored] = await system.query(`SELECT id, cursor FROM _highwater_checkpoints ${where}`);
  if (last.length > 0) expect(last).toEqual([[stored?.[0]]]);
  else expect(stored?.[1]).toBeNull();
  return Number(rows?.[0]);
}

/** The files that wait for this stream to write them. */
const staged = ({ schema, configuration }: Case) =>
  new Staging(system.destination, {
    schema,
    table: 'user',
    strategy: configuration['strategy'] as ReferenceStrategy,
    source: String(configuration['base_url']),
    range: '',
  }).list();

/** Once the source is well again, one more sync makes table and source equal. */
async function expectRecovery(made: Case): Promise<void> {
  await made.api.client.set({ fail: [] });
  await system.sync(made.configuration);
  expect(await differs(made)).toEqual(EQUAL);
}

/** From a history: the attempts of every activity that ended, and what each timer was for. */
async function history(workflowId: string): Promise<{ used: number[]; timers: string[] }> {
  const { events } = await system.client.temporal.workflow.getHandle(workflowId).fetchHistory();
  const used: number[] = [];
  const timers: string[] = [];
  for (const event of events ?? []) {
    if (event.activityTaskStartedEventAttributes)
      used.push(event.activityTaskStartedEventAttributes.attempt ?? 0);
    const summary = event.userMetadata?.summary?.data;
    if (event.timerStartedEventAttributes && summary)
      timers.push(JSON.parse(Buffer.from(summary).toString()) as string);
  }
  return { used, timers };
}

/** One message for people: their words, no stack, no address of ours. */
function expectClear(message: string): void {
  expect(message).not.toMatch(/\n\s+at |node_modules|\.[jt]s:\d+/);
  expect(message.length).toBeLessThan(600);
}

const forEver = 1_000_000;
/** How long a source is tried again in tests that wait for the end of it. */
const impatient = { retry_for: '1s', timeout: '1s' };

describe.concurrent('a fault that passes', () => {
  const passing: [name: string, fault: FaultInput][] = [
    ['bad JSON', { kind: 'bad_json' }],
    ['HTML with 200', { kind: 'html' }],
    ['JSON of another shape', { kind: 'wrong_shape', body: { message: 'warming up' } }],
    ['a body cut in the middle', { kind: 'truncate' }],
    ['a connection that is reset', { kind: 'reset' }],
    ['an answer that stops in the middle', { kind: 'stall' }],
    ['500 for a while', { kind: 'status', status: 500, times: 3 }],
  ];
  const more: typeof passing = [
    ['HTML that calls itself JSON', { kind: 'html', content_type: 'application/json' }],
    ['half a gzip stream', { kind: 'truncated_gzip' }],
    ['an answer that never begins', { kind: 'hang' }],
    ['503 without a word on when to come back', { kind: 'status', status: 503, times: 2 }],
    ['408', { kind: 'status', status: 408 }],
  ];
  for (const [name, fault] of LONG ? [...passing, ...more] : passing) {
    test(`is outlived: ${name}, at the start and in the middle`, async () => {
      const fail = [
        { ...fault, path: `${PATHS.keyset}?updated_since=0001` },
        { ...fault, path: `${PATHS.keyset}?updated_since=20` },
      ];
      await withCase(
        'keyset',
        { fail },
        async (made) => {
          const { records, endRule } = await system.sync(made.configuration);
          expect(await differs(made)).toEqual(EQUAL);
          expect(records).toBeGreaterThanOrEqual(ROWS);
          expect(endRule).toBe('no_next_token');
          const { faults } = await made.api.client.stats();
          expect(Object.values(faults)).toEqual([(fault.times ?? 1) * 2]);
          expect(await rowsOfWholeBatches(made)).toBe(ROWS);
          expect(await staged(made)).toEqual([]);
        },
        { timeout: '1s' },
      );
    });
  }

  test('costs no page that was read before it: the next attempt goes on where it came', async () => {
    await withCase('keyset', { fail: [{ kind: 'status', status: 500, after: 2 }] }, async (made) => {
      await system.sync(made.configuration);
      expect(await differs(made)).toEqual(EQUAL);
      const { urls } = await made.api.client.stats();
      expect(urls.filter((url) => url.includes('0001-01-01'))).toHaveLength(1);
      // One request was asked twice: the one that failed.
      expect(urls.length - new Set(urls).size).toBe(1);
    });
  });
});

describe.concurrent('a source that asks to wait', () => {
  const waits: [name: string, fault: FaultInput & { kind: 'status' }, seconds: number][] = [
    ['429 with Retry-After in seconds', { kind: 'status', status: 429, retry_after: 2 }, 2],
    ['429 with Retry-After as a date', { kind: 'status', status: 429, retry_after_date: 3 }, 2],
    ['503 with Retry-After', { kind: 'status', status: 503, retry_after: 2 }, 2],
    ['429 without a word on when to come back', { kind: 'status', status: 429 }, 1],
  ];
  for (const [name, fault, seconds] of waits) {
    test(`is waited for, which is no failure: ${name}`, async () => {
      await withCase('offset', { fail: [{ ...fault, after: 1 }] }, async (made) => {
        const started = Date.now();
        const handle = await system.start(made.configuration);
        await handle.result();
        expect(Date.now() - started).toBeGreaterThanOrEqual(seconds * 1000);
        expect(await differs(made)).toEqual(EQUAL);
        const { used, timers } = await history(handle.workflowId);
        expect(used).toEqual(used.map(() => 1));
        // None where the time was up before the workflow heard of it.
        for (const timer of timers) expect(timer).toMatch(new RegExp(`^waiting: ${fault.status} `));
        expect(timers.length).toBeLessThanOrEqual(1);
      });
    });
  }

  test('is shown with its reason, what was read before is written meanwhile, and resume ends the wait', async () => {
    const fault = { kind: 'status', status: 429, retry_after: 3600, after: 1 } as const;
    await withCase('offset', { fail: [fault] }, async (made) => {
      const handle = await system.start(made.configuration);
      await until(async () => (await handle.progress()).status === 'waiting', 30, 'the wait');
      const { waiting, ...progress } = await handle.progress();
      expect(waiting?.reason).toMatch(/^429 /);
      expect(Date.parse(waiting?.until ?? '') - Date.now()).toBeGreaterThan(3500 * 1000);
      expect(progress).toMatchObject({ records: 50, rows: 50, staged: 0 });
      expect(await rowsOfWholeBatches(made)).toBe(50);
      await handle.resume();
      await handle.result();
      expect(await differs(made)).toEqual(EQUAL);
    });
  });

  test('again and again gets its way, and the table still equals the source', async () => {
    // Several requests are on their way when the first of them learns that the budget is used up.
    await withCase('offset', { rate_limit: true, capacity: 2, refill_rate: 1 }, async (made) => {
      await system.sync(made.configuration);
      expect(await differs(made)).toEqual(EQUAL);
      const { by_status: counts } = await made.api.client.stats();
      expect(counts[429]).toBeGreaterThanOrEqual(1);
    });
  });

  test('by what its headers say is left is not asked again before there is more', async () => {
    await withCase('keyset', { rate_limit: true, capacity: 2, refill_rate: 1 }, async (made) => {
      await system.sync(made.configuration);
      expect(await differs(made)).toEqual(EQUAL);
      const { by_status: counts } = await made.api.client.stats();
      expect(counts[429]).toBeUndefined();
    });
  });
});

describe.concurrent('an answer that is no page', () => {
  const wrong: [name: string, fault: FaultInput, message: RegExp][] = [
    ['bad JSON', { kind: 'bad_json' }, /^the body ends in the middle of its records, after \d+ of them\n/],
    ['half a gzip stream', { kind: 'truncated_gzip' }, /^the compressed body is damaged or truncated\n/],
    ['HTML with 200', { kind: 'html' }, /^the body is HTML or XML: "<!doctype html>.*Please sign in/],
    [
      'records that are one object',
      { kind: 'wrong_shape', body: { data: { a: 1 } } },
      /^"data" is not a list of records\n/,
    ],
    [
      'records under another name',
      { kind: 'wrong_shape', body: { items: [] } },
      /^the body has no member "data"; it has items\n/,
    ],
    [
      'records that are numbers',
      { kind: 'wrong_shape', body: { data: [1, 2] } },
      /^record 0 is not an object: "1,2\]\}"\n/,
    ],
    [
      'a list at the top',
      { kind: 'wrong_shape', body: [{ id: 1 }] },
      /^the body is not an object with a list "data"\n/,
    ],
    ['a bare word', { kind: 'wrong_shape', body: 'OK' }, /^the body is not an object with a list "data"\n/],
  ];
  for (const [name, fault, message] of wrong) {
    test(`is tried a few times, then reported, with nothing half written: ${name}`, async () => {
      await withCase('keyset', { fail: [{ ...fault, after: 1, times: forEver }] }, async (made) => {
        const failure = await system.failing(made.configuration);
        expect(failure.type).toBe('MalformedAnswerError');
        expect(failure.message).toMatch(message);
        expect(failure.message).toContain(`request: GET ${made.api.url}/pagination/keyset?updated_since=20`);
        expectClear(failure.message);
        expect(Object.values((await made.api.client.stats()).faults)).toEqual([4]);
        expect(await rowsOfWholeBatches(made)).toBe(50);
        await expectRecovery(made);
      });
    });
  }

  test('but null in place of the records, also when it is asked for again, is an empty page', async () => {
    const fault: FaultInput = { kind: 'wrong_shape', body: { data: null }, after: 1, times: forEver };
    await withCase('keyset', { fail: [fault] }, async (made) => {
      const { endRule, warnings } = await system.sync(made.configuration);
      expect([endRule, warnings.map(({ code }) => code)]).toEqual(['empty_page', []]);
      expect(await rowsOfWholeBatches(made)).toBe(50);
      await expectRecovery(made);
    });
  });

  test('from the first request on leaves an empty table and no checkpoint to mislead', async () => {
    await withCase('timestamp', { fail: [{ kind: 'html', times: forEver }] }, async (made) => {
      const failure = await system.failing(made.configuration);
      expect(failure.message).toContain('HTML or XML');
      expect(await rowsOfWholeBatches(made)).toBe(0);
      await expectRecovery(made);
    });
  });
});

describe.concurrent('a source that does not get well', () => {
  const dead: [name: string, fault: FaultInput, message: RegExp][] = [
    [
      'a body cut in the middle',
      { kind: 'truncate' },
      /^reading from the source failed: the connection closed in the middle of the response\n/,
    ],
    ['connections that are reset', { kind: 'reset' }, /^reading from the source failed: .*ECONNRESET/],
    ['answers that never begin', { kind: 'hang' }, /^the source sent nothing for 1 s\n/],
    ['answers that stop in the middle', { kind: 'stall' }, /^the source sent nothing for 1 s\n/],
    [
      '500',
      { kind: 'status', status: 500 },
      /^the source answered 500 Internal Server Error: Internal Server Error The server encountered an internal error/,
    ],
  ];
  for (const [name, fault, message] of dead) {
    test(`is given up after the time it was given: ${name}`, async () => {
      await withCase(
        'keyset',
        { fail: [{ ...fault, after: 1, times: forEver }] },
        async (made) => {
          const failure = await system.failing(made.configuration);
          expect(failure.type).toBe('SourceUnavailableError');
          expect(failure.message).toMatch(message);
          expect(failure.message).toContain(
            `request: GET ${made.api.url}/pagination/keyset?updated_since=20`,
          );
          expectClear(failure.message);
          expect(await rowsOfWholeBatches(made)).toBe(50);
          await expectRecovery(made);
        },
        impatient,
      );
    });
  }

  test('because nothing listens there, is given up, with its address', async () => {
    await withCase(
      'offset',
      {},
      async (made) => {
        await made.api.stop();
        const failure = await system.failing(made.configuration);
        expect(failure.type).toBe('SourceUnavailableError');
        expect(failure.message).toMatch(/^reading from the source failed: .*ECONNREFUSED/);
        expect(failure.message).toContain(`request: GET ${made.api.url}/pagination/offset?offset=0&limit=50`);
        expectClear(failure.message);
      },
      impatient,
    );
  });
});

describe.concurrent('a request that the source refuses', () => {
  const refused: [name: string, status: number, words: RegExp][] = [
    [
      '404',
      404,
      /^the source answered 404 Not Found: Not Found The requested URL was not found on the server/,
    ],
    ['403', 403, /^the source answered 403 Forbidden: Scripted status 403\n/],
    ['401', 401, /^the source answered 401 Unauthorized: Scripted status 401\n/],
  ];
  for (const [name, status, words] of refused) {
    test(`is not asked again, and is reported with the API's own words: ${name}`, async () => {
      await withCase(
        'keyset',
        { fail: [{ kind: 'status', status, after: 1, times: forEver }] },
        async (made) => {
          const failure = await system.failing(made.configuration);
          expect(failure.type).toBe('SourceRefusedError');
          expect(failure.message).toMatch(words);
          expect(failure.message).toContain(
            `request: GET ${made.api.url}/pagination/keyset?updated_since=20`,
          );
          expectClear(failure.message);
          // Once behind the first page, which is kept, and once on its own.
          expect((await made.api.client.stats()).faults).toEqual({ status: 2 });
          expect(await rowsOfWholeBatches(made)).toBe(50);
          await expectRecovery(made);
        },
      );
    });
  }

  test('never repeats a secret that the source has answered with, in a page that is none', async () => {
    const body = { data: ['no such key: open sesame'] };
    await withCase('keyset', { fail: [{ kind: 'wrong_shape', body, times: forEver }] }, async (made) => {
      const base_url = `${made.api.url}/pagination/keyset?api_key=\${env:HOSTILE_KEY}`;
      const failure = await system.failing({ ...made.configuration, base_url });
      expect(failure.message).toContain('record 0 is not an object: "\\"no such key: ***\\"]}"');
      expect(failure.message).not.toContain('sesame');
    });
  });

  test('in words of its own (400) is reported in them, and the secret that it carried is hidden', async () => {
    await withCase('keyset', {}, async (made) => {
      const base_url = `${made.api.url}/pagination/keyset?api_key=\${env:HOSTILE_KEY}`;
      const handle = await system.start({ ...made.configuration, base_url });
      const failure = await handle.result().then(
        () => null,
        (thrown: Error) => thrown,
      );
      expect(failure?.message).toMatch(
        /^the source answered 400 Bad Request: Unexpected query parameters: api_key\n/i,
      );
      expect(failure?.message).toContain('api_key=***&updated_since=0001-01-01T00:00:00Z');
      // It did go out: the source was asked with it, once.
      expect((await made.api.client.stats()).urls).toEqual([
        '/pagination/keyset?api_key=open+sesame&updated_since=0001-01-01T00%3A00%3A00Z',
      ]);
      const { events } = await system.client.temporal.workflow.getHandle(handle.workflowId).fetchHistory();
      expect(JSON.stringify(events)).not.toContain('sesame');
    });
  });
});

describe.concurrent('records without a primary key', () => {
  for (const id of ['absent', 'null'] as const) {
    for (const strategy of REFERENCE_STRATEGIES) {
      test(`stop the sync, named by their place, with nothing half written: ${id}, ${strategy}`, async () => {
        const fail = [{ kind: 'missing_pk' as const, id, index: 7, after: 1, times: forEver }];
        const first = strategy === 'timestamp' || strategy === 'replay';
        await withCase(strategy, { fail: first ? [{ ...fail[0], after: 0 }] : fail }, async (made) => {
          const failure = await system.failing(made.configuration);
          expect(failure.type).toBe('RecordError');
          expect(failure.message).toMatch(/^record 7 has no primary key: "id" is absent or null\n/);
          expect(failure.message).toContain(`request: GET ${made.api.url}${PATHS[strategy]}?`);
          expectClear(failure.message);
          expect(await rowsOfWholeBatches(made)).toBe(first ? 0 : 50);
          await expectRecovery(made);
        });
      });
    }
  }
});

describe.concurrent('pages that come again', () => {
  for (const strategy of ['keyset', 'offset'] as const) {
    test(`cost no row, and no row comes twice: a repeated page, ${strategy}`, async () => {
      await withCase(strategy, { fail: [{ kind: 'repeat_page', after: 1 }] }, async (made) => {
        const { warnings } = await system.sync(made.configuration);
        expect(await differs(made)).toEqual(EQUAL);
        expect((await made.api.client.stats()).faults).toEqual({ repeat_page: 1 });
        const codes = warnings.map(({ code }) => code);
        expect(codes).toContain(strategy === 'keyset' ? 'unordered' : 'drift');
        expect(await rowsOfWholeBatches(made)).toBe(ROWS);
      });
    });
  }

  test('for a range of ids are not taken silently: the sync says that the range was not honoured', async () => {
    await withCase('step_size', { fail: [{ kind: 'repeat_page', after: 1 }] }, async (made) => {
      const { warnings } = await system.sync(made.configuration);
      const warning = warnings.find(({ code }) => code === 'outside_range');
      expect(warning?.message).toContain('for the range 51 to 100');
      const { missing, stale, extra } = await differs(made);
      expect({ missing: missing.length, stale, extra }).toEqual({ missing: 50, stale: [], extra: [] });
      await system.sync(made.configuration, { full: true });
      expect(await differs(made)).toEqual(EQUAL);
    });
  });

  for (const pages of [1, 2, 3]) {
    test(`for ever, tokens in a circle of ${pages}, are found out, and the token is named`, async () => {
      const rows = 500;
      await withCase(
        'keyset',
        { rows, fail: [{ kind: 'token_cycle', pages }] },
        async (made) => {
          const failure = await system.failing(made.configuration);
          expect(failure.type).toBe('SourceRefusedError');
          const token = /^the source returned the page token "([^"]+)" again: its pages form a loop\n/.exec(
            failure.message,
          )?.[1];
          const { urls } = await made.api.client.stats();
          const asked = urls.filter(
            (url) => new URL(url, made.api.url).searchParams.get('scroll_param') === token,
          );
          expect(asked.length).toBeGreaterThanOrEqual(1);
          expect(urls.length).toBeLessThan(20);
          expectClear(failure.message);
          await rowsOfWholeBatches(made);
          await made.api.client.set({ fail: [] });
          await system.sync(made.configuration, { full: true });
          expect(await differs(made)).toEqual(EQUAL);
        },
        { ties: 'scroll' },
      );
    });
  }
});

describe.concurrent('an empty API', () => {
  for (const strategy of REFERENCE_STRATEGIES) {
    test(`is no failure, and its first rows arrive with the next sync: ${strategy}`, async () => {
      await withCase(strategy, { rows: 0 }, async (made) => {
        const { records, rows, endRule, cursor, warnings } = await system.sync(made.configuration);
        const ends = { keyset: 'empty_page', offset: 'empty_page', step_size: 'max_id' } as const;
        expect({ records, rows }).toEqual({ records: 0, rows: 0 });
        expect(endRule).toBe(
          strategy === 'timestamp' || strategy === 'replay' ? 'whole_answer' : ends[strategy],
        );
        expect(Object.keys(cursor)).not.toHaveLength(0);
        expect(warnings.filter(({ code }) => code !== 'updates_unseen')).toEqual([]);
        expect(await rowsOfWholeBatches(made)).toBe(0);

        await made.api.client.mutate({ insert: 60 });
        const second = await system.sync(made.configuration);
        expect(second.rows).toBe(60);
        expect(await differs(made)).toEqual(EQUAL);
      });
    });
  }

  test('that was not empty before leaves the rows that are there', async () => {
    await withCase('keyset', {}, async (made) => {
      await system.sync(made.configuration);
      await made.api.client.set({ fail: [{ kind: 'empty', times: forEver }] });
      const { records, endRule } = await system.sync(made.configuration);
      expect({ records, endRule }).toEqual({ records: 0, endRule: 'empty_page' });
      expect(await differs(made)).toEqual(EQUAL);
    });
  });
});

describe.concurrent('numbers that JavaScript cannot hold', () => {
  const BASE = 9007199254740992n;
  const stored = async ({ schema }: Case) =>
    (await system.query(`SELECT id::VARCHAR FROM "${schema}"."user" ORDER BY id`))
      .map(([id]) => String(id))
      .sort();
  const served = Array.from({ length: ROWS }, (_, i) => String(BASE + BigInt(i + 1))).sort();

  for (const type of ['STRING', 'LONG', 'DECIMAL(38,0)'] as const) {
    for (const strategy of type === 'LONG' ? REFERENCE_STRATEGIES : (['keyset', 'step_size'] as const)) {
      test(`are stored digit for digit: ids as ${type}, ${strategy}`, async () => {
        const columns = { id: type, name: 'STRING', updatedAt: 'UTC_DATETIME', createdAt: 'UTC_DATETIME' };
        const steps =
          strategy === 'step_size'
            ? { initial_id: String(BASE + 1n), max_id: String(BASE + BigInt(ROWS) + 20n), step_size: '50' }
            : {};
        await withCase(
          strategy,
          { numeric_ids: true },
          async (made) => {
            const { rows, cursor } = await system.sync(made.configuration);
            expect(rows).toBe(ROWS);
            expect(await stored(made)).toEqual(served);
            if (strategy === 'step_size') {
              expect(cursor).toEqual({ current_id: String(BASE + BigInt(ROWS) + 1n - 50n) });
            }
            const again = await system.sync(made.configuration);
            expect(again.rows).toBe(0);
            expect(await stored(made)).toEqual(served);
          },
          { columns, ...steps },
        );
      });
    }
  }
});

describe.concurrent('a value that does not fit its column', () => {
  const TYPES = { id: 'STRING', name: 'STRING', updatedAt: 'UTC_DATETIME' };
  const misfits: [column: string, type: string][] = [
    ['name', 'INT'],
    ['updatedAt', 'INT'],
    ['updatedAt', 'BOOLEAN'],
    ['name', 'UTC_DATETIME'],
    ['name', 'DECIMAL(9,2)'],
  ];
  for (const [column, type] of misfits) {
    test(`stops the sync with record, column and value, and nothing is written: ${column} as ${type}`, async () => {
      await withCase(
        'offset',
        {},
        async (made) => {
          const first = (await made.api.client.records())[0];
          const failure = await system.failing(made.configuration);
          expect(failure.type).toBe('RecordError');
          const value = first?.[column as 'name' | 'updatedAt'] ?? '';
          const [said, request] = failure.message.split('\n  request: ');
          expect(request).toContain('/pagination/offset?offset=0');
          expect(said).toBe(
            `the record with primary key ${JSON.stringify(first?.id)} does not fit: column "${column}" cannot hold ` +
              `${JSON.stringify(value)} as ${type}. Declare another type in "columns"; for an existing table, ` +
              'set "misfits" to "evolve" or "quarantine".',
          );
          const [count] = await system.query(`SELECT count(*)::INT FROM "${made.schema}"."user"`);
          expect(count).toEqual([0]);
          const batches = `SELECT count(*)::INT FROM _highwater_batches WHERE "schema" = '${made.schema}'`;
          expect(await system.query(batches)).toEqual([[0]]);
        },
        { columns: { ...TYPES, [column]: type } },
      );
    });
  }

  test('because it is too large for it, is named with every digit', async () => {
    await withCase(
      'keyset',
      { numeric_ids: true },
      async (made) => {
        const failure = await system.failing(made.configuration);
        expect(failure.type).toBe('RecordError');
        expect(failure.message).toContain('column "id" cannot hold "9007199254740993" as INT');
      },
      { columns: { ...TYPES, id: 'INT' } },
    );
  });

  test('in the middle of the source leaves the whole batches that were written before it, and no more', async () => {
    await withCase(
      'step_size',
      { rows: 33_500 },
      async (made) => {
        const failure = await system.failing(made.configuration);
        expect(failure.type).toBe('RecordError');
        expect(failure.message).toContain('column "id" cannot hold "32768" as SHORT');
        const [table] = await system.query(`SELECT count(*)::INT, max(id)::INT FROM "${made.schema}"."user"`);
        const batches = await system.query(
          `SELECT sum("rows")::INT, sum("rows")::INT FROM _highwater_batches WHERE "schema" = '${made.schema}'`,
        );
        expect(batches).toEqual([table]);
        expect(Number(table?.[0])).toBeGreaterThan(0);
        expect(Number(table?.[0])).toBeLessThan(32_768);
      },
      { columns: { ...TYPES, id: 'SHORT' }, step_size: 1000, max_id: 34_000, batch_rows: 8000 },
    );
  });
});
