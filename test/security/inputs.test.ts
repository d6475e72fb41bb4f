/**
 * Whoever may start workflows, send them signals or schedule activities on the worker's
 * queues reaches neither SQL nor files by what they write there.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { defaultPayloadConverter } from '@temporalio/common';
import fc from 'fast-check';
import { describe, expect, inject, test } from 'vitest';
import type { Activities } from '../../src/activities/index.js';
import { inputProblems } from '../../src/inputs.js';
import type { Json } from '../../src/protocol.js';
import { runs } from '../helpers/long.js';
import { EQUAL, uniqueName } from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { useLaboratory, type Bench, type Event } from '../workflow/laboratory.js';

const lab = useLaboratory();

/** Runs the Temporal CLI, as somebody does who has nothing else. */
async function temporal(...args: string[]): Promise<string> {
  const all = [...args, '--address', inject('temporalAddress')];
  return promisify(execFile)(inject('temporalCli'), all, { env: envWithoutTemporal() }).then(
    ({ stdout, stderr }) => stdout + stderr,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
  );
}

type Input = { [name: string]: Json };

/** What the activities of a sync that was made honestly were given, the last input of each. */
async function honestInputs(bench: Bench): Promise<Map<keyof Activities, Input>> {
  const run = await bench.start();
  await run.result();
  const inputs = new Map<keyof Activities, Input>();
  for (const { activityTaskScheduledEventAttributes: scheduled } of await run.events()) {
    const [payload] = scheduled?.input?.payloads ?? [];
    if (payload == null) continue;
    inputs.set(
      scheduled?.activityType?.name as keyof Activities,
      defaultPayloadConverter.fromPayload<Input>(payload),
    );
  }
  return inputs;
}

const failedTasks = (events: Event[]) =>
  events.filter((event) => event.workflowTaskFailedEventAttributes != null).length;

/** All files in the folder of the destination. */
const filesBeside = (bench: Bench) => readdirSync(dirname(bench.destination)).sort();

const ZERO = {
  ...{ pages: 0, records: 0, rows: 0, batches: 0, rejected: 0, deleted: 0, outside: 0, left: 0 },
  changes: [{ column: 'name', from: null, to: 'STRING' }],
};
const RANGE = {
  ...{ from: null, to: null, kind: 'audit', repair: false, removeExtra: false, keys: 20 },
  ...{ began: '2026-01-01T00:00:00Z', reached: null },
} satisfies Json;
const STREAM = { database: null, isContinuous: false, lastOpened: null, range: RANGE } satisfies Json;
const CONTROL = {
  ...{ isPaused: false, isStopping: false, isTriggered: false, settings: { batch_rows: 50 } },
} satisfies Json;
const FAILURES = {
  trouble: { type: 'X', message: 'x', since: '2026-01-01T00:00:00Z', failures: 1, nextTry: null },
  reopenings: 0,
} satisfies Json;
const CARRY = {
  version: 1,
  stream: STREAM,
  counts: { pass: ZERO, totals: { ...ZERO, passes: 0 }, idlePasses: 0 },
  log: { began: 1, completeAsOf: '2026-01-01T00:00:00Z', recent: [] },
  control: CONTROL,
  reopening: { requests: [{ id: 'x', kind: 'move', to: { start: true } }], refusals: [] },
  source: { wait: null, backOffs: 0 },
  failures: FAILURES,
  notices: null,
  decision: null,
} satisfies Json;

/** Every place in a value, as the way to it. */
function placesIn(value: Json, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, inner]) => placesIn(inner, [...path, key]))];
}

function valueAt(value: Json, path: readonly (string | number)[]): Json {
  return path.reduce<Json>((inner, key) => (inner as { [key: string]: Json })[key] ?? null, value);
}

function replaced(value: Json, path: readonly (string | number)[], by: Json): Json {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  const copy = structuredClone(value) as { [key: string]: Json };
  copy[key] = replaced(copy[key] ?? null, rest, by);
  return copy;
}

const SQL = "1); COPY (SELECT 'written') TO 'written.csv'; --";

/** What is put in the place of a value: of another kind than it, or beyond all bounds. */
function hostileFor(value: Json): Json[] {
  if (typeof value === 'number') return [SQL, -1, 1e300, '5', [5]];
  if (typeof value === 'boolean') return [SQL, 2, 'true'];
  if (typeof value === 'string') return [{ text: value }, [value], 'x'.repeat(200_000)];
  if (value === null) return [{ unheard: SQL }];
  // A text may be another way to write a path.
  return Array.isArray(value) ? [{ 0: SQL }, 7] : [{ ...value, unheard: SQL }, [value], SQL];
}

/** A value with one place of it made hostile; `opaque` are places that are for others to check. */
const hostile = (value: Json, opaque: RegExp) =>
  fc
    .constantFrom(...placesIn(value).filter((path) => !opaque.test(path.join('.'))))
    .chain((path) => fc.tuple(fc.constant(path), fc.constantFrom(...hostileFor(valueAt(value, path)))))
    .map(([path, by]) => replaced(value, path, by));

describe('whoever starts a workflow', () => {
  test('runs no SQL by a range that it claims to carry', async () => {
    const bench = await lab().bench({ rows: 5 });
    const workflowId = uniqueName('forged');
    const range = {
      ...RANGE,
      keys: `1; COPY (SELECT 1) TO '${join(dirname(bench.destination), 'x')}'`,
    };
    const said = await temporal(
      ...['workflow', 'execute', '--type', 'sync', '--task-queue', lab().taskQueue],
      ...['--workflow-id', workflowId, '--input', JSON.stringify(bench.configuration())],
      ...[
        '--input',
        JSON.stringify({ range: { kind: 'audit' }, carry: { ...CARRY, stream: { ...STREAM, range } } }),
      ],
    );
    expect(said).toMatch(/the second argument, the options \(.*\), is invalid/);
    expect(said).toMatch(/carry\.stream\.range\.keys: must be a (whole )?number, but is a text/);
    expect(await bench.requests()).toBe(0);
    expect(filesBeside(bench)).toEqual([]);
  });

  test('is told at once what is wrong, and the workflow ends instead of holding its worker', async () => {
    const bench = await lab().bench({ rows: 5 });
    for (const [options, problem] of [
      [{ carry: { ...CARRY, plan: {} } }, 'carry.plan: is not a known key'],
      [{ carry: { ...CARRY, version: 2 } }, 'carry.version: must be'],
      [
        { carry: { ...CARRY, failures: { ...FAILURES, reopenings: 1e300 } } },
        'carry.failures.reopenings: must be',
      ],
      [
        { carry: { ...CARRY, control: { ...CONTROL, settings: { page_size: SQL } } } },
        'carry.control.settings.page_size: must be',
      ],
      [
        { carry: { ...CARRY, control: { ...CONTROL, settings: { nothing: 1 } } } },
        'carry.control.settings.nothing: is not a known key',
      ],
      [
        { carry: { ...CARRY, stream: { ...STREAM, lastOpened: { plan: {}, destination: 'x' } } } },
        'carry.stream.lastOpened.plan.stream: must be a text',
      ],
      [{ settings: { batch_rows: -5 } }, 'settings.batch_rows: must be at least 1'],
      [{ stream: 'x'.repeat(1000) }, 'stream: must be at most 200 characters long'],
      [{ range: { kind: 'audit', keys: '1' } }, 'range.keys: must be a number, but is a text'],
    ] as const) {
      const run = await bench.startWith([bench.configuration(), options]);
      const failure = await run.failure();
      expect(failure).toMatchObject({ type: 'ConfigurationError', nonRetryable: true });
      expect(failure.message).toContain(problem);
      expect(failure.message).not.toContain('COPY');
      expect(failedTasks(await run.events())).toBe(0);
    }
    expect(await bench.requests()).toBe(0);
    expect(existsSync(bench.destination)).toBe(false);
  });

  test('starts no more children than a configuration may have streams', async () => {
    const bench = await lab().bench();
    const streams = Array.from({ length: 501 }, (_, i) => ({ name: `s${i}` }));
    const run = await bench.startWith([{ source: { base_url: bench.source.url }, streams }]);
    expect((await run.failure()).message).toContain('must have at most 500 streams');
  });

  test('cannot change what one run hands to the next at any place', async () => {
    const bench = await lab().bench({ rows: 5 });
    await fc.assert(
      fc.asyncProperty(
        hostile({ carry: CARRY }, /^$|^carry\.reopening\.requests\.\d+\.to/),
        async (options) => {
          const run = await bench.startWith([bench.configuration(), options]);
          expect(await run.failure()).toMatchObject({ type: 'ConfigurationError', nonRetryable: true });
          expect(failedTasks(await run.events())).toBe(0);
        },
      ),
      { numRuns: 25 },
    );
    expect(await bench.requests()).toBe(0);
    expect(existsSync(bench.destination)).toBe(false);
  });
});

describe('whoever sends a signal to a workflow', () => {
  test.each<[string, unknown[]]>([
    ['settings', [null]],
    ['settings', [{ page_size: SQL }]],
    ['settings', [{ interval: 1e300, unheard: 1 }]],
    ['configuration', [[], { hash: SQL }]],
    ['decide', []],
    ['decide', [{ how: 'approve', deletes: SQL }]],
    ['asks', [5, SQL]],
  ])('neither holds nor changes it by %s %j', async (signal, args) => {
    const bench = await lab().bench({ rows: 60 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    await run.handle.signal(signal, ...args);
    await run.handle.signal('trigger');
    await run.reaches(({ totals }) => totals.passes > 1, 'another pass');
    expect((await run.progress()).settings).toEqual({});
    expect(failedTasks(await run.events())).toBe(0);
    await run.handle.signal('stop');
    await run.ends();
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('whoever schedules an activity', () => {
  test('reaches no DDL by the type of a column', async () => {
    const bench = await lab().bench({ rows: 60 });
    const inputs = await honestInputs(bench);
    const before = await bench.read('SELECT count(*), max("updatedAt")::VARCHAR FROM "user"');
    const files = filesBeside(bench);
    const input = inputs.get('writeBatch') ?? {};
    const path = ['plan', 'table', 'columns', 'name'];
    const said = await temporal(
      ...['activity', 'execute', '--type', 'writeBatch', '--task-queue', lab().taskQueue],
      ...['--activity-id', uniqueName('forged'), '--start-to-close-timeout', '20s'],
      ...['--input', JSON.stringify(replaced(input, path, `VARCHAR); COPY (SELECT 1) TO 'x.csv'; --`))],
    );
    expect(said).toMatch(/the input of writeBatch is invalid/);
    expect(said).toMatch(/plan\.table\.columns\.name: must be one of STRING, .*DECIMAL\(p,s\)/);
    expect(await bench.read('SELECT count(*), max("updatedAt")::VARCHAR FROM "user"')).toEqual(before);
    expect(filesBeside(bench)).toEqual(files);
  });

  test('names no table or column of Highwater', () => {
    const recorded = { schema: 'main', table: 'user', primaryKey: ['id'], columns: { id: 'STRING' } };
    const problemsOf = (table: object) =>
      inputProblems('writeBatch', { plan: { table: { ...recorded, ...table } } })?.filter((one) =>
        one.startsWith('plan.table.'),
      );
    expect(problemsOf({})).toEqual([]);
    for (const table of [
      { table: '_highwater_checkpoints' },
      { table: '_HighWater_x' },
      { columns: { _highwater_batch: 'STRING' } },
    ])
      expect(problemsOf(table)).toHaveLength(1);
  });

  test('is refused without a second attempt, whatever the activity is given', async () => {
    for (const type of [
      'openStream',
      'fetchPages',
      'writeBatch',
      'sendNotice',
      'concludeRange',
      'forgetRange',
    ]) {
      for (const input of ['null', '{"plan":{}}', '"text"']) {
        const said = await temporal(
          ...['activity', 'execute', '--type', type, '--task-queue', lab().taskQueue],
          ...['--activity-id', uniqueName('forged'), '--schedule-to-close-timeout', '20s', '--input', input],
        );
        expect(said, `${type} ${input}`).toContain(`the input of ${type} is invalid`);
      }
    }
  }, 120_000);

  test('cannot change what a sync gives its activities at any place', async () => {
    const bench = await lab().bench({ rows: 60 });
    const inputs = await honestInputs(bench);
    expect([...inputs.keys()].sort()).toEqual(['fetchPages', 'openStream', 'writeBatch']);
    // Its configuration has a check of its own, what mark and position are is the strategy's, and an API names its
    // parameters as it likes.
    const opaque = /^configuration|\.(mark|position)(\.|$)|request\.(names|params|headers)$/;
    for (const [name, input] of inputs) {
      expect(inputProblems(name, input), name).toBeNull();
      fc.assert(
        fc.property(hostile(input, opaque), (forged) => {
          expect(inputProblems(name, forged), JSON.stringify(forged).slice(0, 2000)).not.toBeNull();
        }),
        { numRuns: runs(2000) },
      );
    }
  });

  test('finds every input that released versions have recorded understood', () => {
    const folder = join(import.meta.dirname, '../replay/histories');
    let understood = 0;
    for (const version of readdirSync(folder)) {
      for (const file of readdirSync(join(folder, version))) {
        const { events } = JSON.parse(readFileSync(join(folder, version, file), 'utf8')) as {
          events: {
            [name: string]: { activityType?: { name: string }; input?: { payloads?: { data: string }[] } };
          }[];
        };
        for (const event of events) {
          const read = (data: string | undefined) =>
            data === undefined ? undefined : (JSON.parse(Buffer.from(data, 'base64').toString()) as Json);
          const scheduled = event['activityTaskScheduledEventAttributes'];
          const [first, second] =
            (scheduled ?? event['workflowExecutionStartedEventAttributes'])?.input?.payloads ?? [];
          if (scheduled !== undefined) {
            const name = scheduled.activityType?.name as keyof Activities;
            expect(inputProblems(name, read(first?.data)), `${file}: ${name}`).toBeNull();
            understood++;
          } else if (second !== undefined) {
            expect(inputProblems('options', read(second.data)), file).toBeNull();
          }
        }
      }
    }
    expect(understood).toBeGreaterThan(200);
  });
});
