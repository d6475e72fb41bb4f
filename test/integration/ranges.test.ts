/** Ranges that are read beside a sync: by command and from a program, under kills, while the sync goes on. */
import { writeFile } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { queryFiles } from '../../src/destinations/files/reader.js';
import { asConfiguration } from '../../src/config/index.js';
import { RangeRefusedError } from '../../src/errors.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import {
  configurationFor,
  difference,
  EQUAL,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  until,
} from '../helpers/harness.js';
import { readDestination } from '../../src/cli/query.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

// Much of it is waiting for processes.
vi.setConfig({ maxConcurrency: 3, testTimeout: 120_000 });

const address = inject('temporalAddress');
let folder: Awaited<ReturnType<typeof scratch>>;
/** One worker for most: each test has a destination of its own. */
let here: System;
const ending: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  [folder, here] = await Promise.all([scratch(), startSystem(address)]);
});
afterAll(async () => {
  await Promise.all([here.stop(), ...ending.map((end) => end())]);
  await folder.remove();
});

async function api(settings: Parameters<typeof testApi>[0]): Promise<TestApi> {
  const made = await testApi(settings);
  ending.push(made.stop);
  return made;
}
const query = async (destination: string, sql: string) => (await readDestination(destination, sql)).rows;
const run = async (...args: string[]) =>
  highwater(args, { env: { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.path }, cwd: folder.path });
const reaches = (id: string, wanted: string) =>
  until(async () => (await here.client.sync(id).progress()).status === wanted, 30, `${id} ${wanted}`);

/** Changes a table behind Highwater's back, once its worker has closed the file. */
async function plant(path: string, sql: string): Promise<void> {
  let instance: DuckDBInstance | undefined;
  await until(
    async () => (instance = await DuckDBInstance.create(path).catch(() => undefined)) !== undefined,
    20,
    'the file closed',
  );
  const connection = await instance?.connect();
  await connection?.run(sql);
  connection?.closeSync();
  instance?.closeSync();
}

/** Beyond what any strategy looks back by. */
const LATE = { count: 3, hours_ago: 1000 };

const MAIN = 'SELECT * FROM _highwater_checkpoints WHERE "range" = \'\'';
const LEFT = `SELECT (SELECT count(*) FROM _highwater_checkpoints WHERE "range" <> '')
  + (SELECT count(*) FROM _highwater_seen) + (SELECT count(*) FROM _highwater_differences)`;

describe.concurrent('a table and its source', () => {
  test('audit says how they differ, --repair makes them equal, and the sync keeps its place', async () => {
    const source = await api({ rows: 130 });
    const destination = folder.file('audited.duckdb');
    const id = uniqueName('users');
    await here.start(configurationFor('keyset', source.url, { interval: '1h', destination }), {
      workflowId: id,
    });
    await reaches(id, 'sleeping');
    const before = await query(destination, MAIN);
    const ids = (await source.client.records()).map((record) => record.id);
    const [first = '', second = '', third = ''] = [...ids].sort();
    await plant(
      destination,
      `DELETE FROM "user" WHERE id = '${first}';
       UPDATE "user" SET name = 'damaged' WHERE id IN ('${second}', '${third}');
       INSERT INTO "user" (id, name, "updatedAt") SELECT 'nobody', 'x', min("updatedAt") FROM "user"`,
    );
    // Ahead of the sync: neither missing nor stale, nor are the rows extra that have moved there.
    await source.client.mutate({ insert: 3, update: 2 });
    const ahead = new Set((await source.client.records()).slice(-5).map((record) => record.id));
    const stale = [second, third].filter((one) => !ahead.has(one));
    const missing = [first].filter((one) => !ahead.has(one));

    const found = await run('audit', id, '--json');
    expect(found.status).toBe(1);
    expect(JSON.parse(found.stdout)).toMatchObject({
      ...{ workflowId: expect.stringMatching(`^${id}/audit-`) as string, stream: 'user', kind: 'audit' },
      ...{ from: null, to: null, outside: 5, rows: 0, left: 0, equal: false },
      differences: {
        missing: { count: missing.length, repaired: 0, keys: missing },
        stale: { count: stale.length, repaired: 0, keys: stale },
        extra: { count: 1, repaired: 0, keys: ['nobody'] },
        changed: 0,
      },
      extraUnknown: null,
    });
    expect(await query(destination, MAIN)).toEqual(before);
    expect((await query(destination, LEFT))[0]).toEqual(['0']);

    const mended = await run('audit', id, '--repair');
    expect(mended.status).toBe(1);
    expect(mended.stdout).toMatch(
      /^user · everything · \d+ records compared, 5 outside the range or beyond the sync's cursor · \d differences, 1 left\n/,
    );
    expect(mended.stdout).toMatch(/^extra +1 +0 +nobody$/m);
    expect(mended.stdout).toMatch(/note: extra rows stay, because "deletes" is not set/);
    const removed = await run('audit', id, '--repair', '--remove-extra');
    expect(removed).toMatchObject({ status: 0 });
    expect(removed.stdout).toMatch(/1 difference, all repaired/);
    const equal = await run('audit', id);
    expect(equal).toMatchObject({ status: 0 });
    expect(equal.stdout).toMatch(/ · equal\n/);
    expect(await query(destination, MAIN)).toEqual(before);

    // The sync goes on where it was, and has nothing to say of all that.
    await here.client.sync(id).trigger();
    await until(async () => (await here.client.sync(id).progress()).totals.passes === 2, 20, 'a pass');
    expect((await here.client.sync(id).progress()).warnings).toEqual([]);
    expect(await difference(source.client, destination)).toEqual(EQUAL);
    await here.client.sync(id).cancel();
  });

  const misses: [ReferenceStrategy, { [key: string]: Json }, object][] = [
    ['timestamp', {}, { late: LATE }],
    ['keyset', {}, { late: LATE }],
    ['step_size', { step_size: 50, max_id: 400, id_lookback: 0 }, { update: 5 }],
  ];
  test.skipIf(!LONG).each(misses)(
    '%s: what it does not see is found and repaired',
    async (strategy, more, change) => {
      const source = await api({ rows: 120, numeric_ids: false });
      const destination = folder.file(`${strategy}.duckdb`);
      const configuration = configurationFor(strategy, source.url, { destination, ...more });
      await here.sync(configuration);
      await source.client.mutate(change);
      await here.sync(configuration);
      const view = strategy === 'step_size' ? 'step' : 'list';
      const before = await difference(source.client, destination, { view });
      const { taskQueue } = here.worker;
      const looked = await (await here.client.audit(configuration, { taskQueue })).range();
      const { missing, stale, extra } = looked.differences ?? {};
      const sorted = (keys: string[] | undefined) => [...(keys ?? [])].sort();
      expect({
        missing: sorted(missing?.keys),
        stale: sorted(stale?.keys),
        extra: sorted(extra?.keys),
      }).toEqual({
        missing: sorted(before.missing),
        stale: sorted(before.stale),
        extra: sorted(before.extra),
      });
      expect(before.missing.length + before.stale.length).toBeGreaterThan(0);
      const mended = await (await here.client.audit(configuration, { taskQueue, repair: true })).range();
      expect(mended).toMatchObject({ equal: true, rows: before.missing.length + before.stale.length });
      expect(await difference(source.client, destination, { view })).toEqual(EQUAL);
    },
  );
});

describe.concurrent('a backfill', () => {
  test('beside a sync that goes on, with its worker killed in the middle, loses and reverts nothing', async () => {
    const source = await api({ rows: 900, keyset_page: 50, latency_ms: 20 });
    const destination = folder.file('beside.duckdb');
    const taskQueue = uniqueName('beside');
    const work = async () => {
      const worker = await startWorker({ address, taskQueue, destination });
      ending.push(() => worker.end('SIGKILL'));
      return worker;
    };
    const doomed = await work();
    const id = uniqueName('continuous');
    await here.client.start(
      configurationFor('keyset', source.url, { interval: '1s', batch_rows: 200, retry_for: '1m' }),
      { workflowId: id, taskQueue },
    );
    await until(async () => (await here.client.sync(id).progress()).totals.passes >= 1, 60, 'a pass');
    const records = await source.client.records();
    const [from, to] = [records[200]?.updatedAt ?? '', records[799]?.updatedAt ?? ''];
    const inRange = records.filter(({ updatedAt }) => updatedAt >= from && updatedAt <= to).length;
    const handle = await here.client.backfill(id, { from, to });
    const changing = (async () => {
      for (let i = 0; i < 8; i++) {
        await source.client.mutate({ update: 20 });
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
    })();
    await until(async () => (await handle.progress()).batches > 0, 30, 'a batch of the backfill');
    await doomed.end('SIGKILL');
    await work();
    const result = await handle.range();
    await changing;
    expect(result.kind).toBe('backfill');
    expect(result.records + result.outside).toBeGreaterThanOrEqual(inRange - 8 * 20);
    expect(result.differences).toBeNull();
    expect(result.equal).toBeNull();
    // The sync was neither refused nor set back; all that it was to bring is there.
    const passes = (await here.client.sync(id).progress()).totals.passes;
    await until(
      async () => (await here.client.sync(id).progress()).totals.passes >= passes + 2,
      30,
      'passes',
    );
    expect(await here.client.sync(id).status()).toBe('RUNNING');
    expect(await difference(source.client, destination)).toEqual(EQUAL);
    const progress = await here.client.sync(id).progress();
    expect(progress.trouble).toBeNull();
    expect(progress.warnings.map(({ code }) => code)).not.toContain('table_shared');
    // And an audit beside it says so too.
    const beside = await here.client.audit(id);
    expect(await beside.range()).toMatchObject({ equal: true });
    const listed = (await here.client.list({ limit: 1000 })).find((one) => one.id === beside.workflowId);
    expect(listed).toMatchObject({ parent: null, range: { kind: 'audit', sync: id } });
    await here.client.sync(id).cancel();
  });

  test.skipIf(!LONG)('reads a range for the first time, and no more of the source than it must', async () => {
    const source = await api({ rows: 400 });
    const destination = folder.file('first.duckdb');
    const records = await source.client.records();
    const [from, to] = [records[100]?.updatedAt ?? '', records[149]?.updatedAt ?? ''];
    const file = folder.file('first.json');
    await writeFile(
      file,
      JSON.stringify(configurationFor('keyset', source.url, { destination: destination })),
    );
    const queue = ['--task-queue', here.worker.taskQueue];
    const done = await run('backfill', file, '--from', from, '--to', to, ...queue);
    expect(done.status).toBe(0);
    const rows = await query(destination, 'SELECT id FROM "user" ORDER BY 1');
    const wanted = records.filter(({ updatedAt }) => updatedAt >= from && updatedAt <= to);
    expect(rows.flat()).toEqual(wanted.map((record) => record.id).sort());
    expect(done.stdout).toMatch(
      new RegExp(
        `^user · ${from} to ${to}\\n\\nrecords +rows written +left +outside +pages\\n.*\\n +\\d+ +${wanted.length} +0 +\\d+ +\\d+\\n$`,
      ),
    );
    expect((await source.client.stats()).requests).toBeLessThan(8);
    expect(await query(destination, MAIN)).toEqual([]);
    const asJson = await run('backfill', file, '--from', from, '--to', to, '--json', ...queue);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ kind: 'backfill', from, to, rows: 0, left: 0 });
    // Nothing to be audited: no pass of a sync has been there.
    const refused = await run('audit', file, ...queue);
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toMatch(
      /^highwater: there is nothing to audit: no sync has run with this configuration yet/m,
    );
    expect((await query(destination, LEFT))[0]).toEqual(['0']);
  });

  test('into files adds what differs, and no version that is older', async () => {
    const source = await api({ rows: 60 });
    const destination = `files:${folder.file('lake')}`;
    const configuration = configurationFor('timestamp', source.url, { destination });
    const { taskQueue } = here.worker;
    await here.sync(configuration);
    await source.client.mutate({ late: { count: 4, hours_ago: 1000 } });
    const first = '2000-01-01T00:00:00Z';
    const done = await (
      await here.client.backfill(configuration, { from: first, to: null, taskQueue })
    ).range();
    expect(done).toMatchObject({ records: 64, rows: 4, left: 0, outside: 0 });
    const { rows } = await queryFiles(destination, 'SELECT count(*), count(DISTINCT id) FROM "user"', {});
    expect(rows).toEqual([['64', '64']]);
    const left = await queryFiles(destination, 'SELECT count(*) FROM _highwater_checkpoints', {});
    expect(left.rows).toEqual([['1']]);
    const audit = await (
      await here.client.audit(configuration, { taskQueue })
    )
      .range()
      .catch((thrown: unknown) => thrown);
    expect(audit).toMatchObject({
      type: 'RangeRefusedError',
      message: expect.stringMatching(/^files cannot be audited/) as string,
    });
  });
});

describe.concurrent('what cannot be', () => {
  test('is refused before anything is started, in words', async () => {
    const source = await api({ rows: 20 });
    const id = uniqueName('users');
    const destination = folder.file('refused.duckdb');
    await here.start(configurationFor('keyset', source.url, { interval: '1h', destination }), {
      workflowId: id,
    });
    await reaches(id, 'sleeping');
    const told: [string[], number, RegExp][] = [
      [['backfill', id], 1, /^highwater: a backfill needs --from, --to or both/m],
      [['audit', id, '--keys', 'many'], 1, /Give a whole number of at most 1000/],
      [['audit', 'nobody'], 2, /^highwater: there is no sync with the id "nobody"/m],
      [['audit', 'nobody.json'], 2, /nobody\.json/],
    ];
    const answers = await Promise.all(told.map(([args]) => run(...args)));
    for (const [i, [args, status, said]] of told.entries()) {
      expect(answers[i], args.join(' ')).toMatchObject({ status, stdout: '' });
      expect(answers[i]?.stderr, args.join(' ')).toMatch(said);
    }
    const { client } = here;
    const everything = { from: null, to: null };
    await expect(client.backfill(id, { ...everything, from: 'yesterday' })).rejects.toThrow(
      /from: "yesterday" is not a timestamp, such as 2026-01-01T00:00:00Z/,
    );
    await expect(client.backfill(id, { from: '2026-02-01', to: '2026-01-01' })).rejects.toThrow(
      /the range ends before it begins: from "2026-02-01T00:00:00Z"/,
    );
    await expect(client.audit(id, { removeExtra: true })).rejects.toThrow(/--remove-extra needs --repair/);
    await expect(client.audit(id, { stream: 'orders' })).rejects.toThrow(/there is no stream "orders"/);
    const known = here.client.temporal.workflow.list({ query: `WorkflowId STARTS_WITH "${id}/"` });
    const started = [];
    for await (const one of known) started.push(one.workflowId);
    expect(started).toEqual([]);
    // Whoever starts it by another client is refused by the workflow, or by its first activity.
    const { workflow } = here.client.temporal;
    const configuration = configurationFor('keyset', source.url, { destination });
    const start = async (options: unknown) => {
      const args = [configuration, options];
      const { taskQueue } = here.worker;
      const handle = await workflow.start('sync', { args, taskQueue, workflowId: uniqueName('range') });
      return here.client
        .sync(handle.workflowId)
        .result()
        .catch((thrown: unknown) => String(thrown));
    };
    expect(await start({ range: { kind: 'all', form: 1 } })).toMatch(
      /range\.kind: must be one of backfill, audit\n.*range\.form: is not a known key/,
    );
    expect(await start({ range: { kind: 'backfill', from: 'x' } })).toMatch(/from: "x" is not a timestamp/);
    await here.client.sync(id).cancel();
  });

  test.skipIf(!LONG)(
    'a range that runs is not started twice, goes on where it was stopped, and leaves nothing when it is cancelled',
    async () => {
      const source = await api({ rows: 500, keyset_page: 10, latency_ms: 60 });
      const destination = folder.file('once.duckdb');
      const configuration = configurationFor('keyset', source.url, { batch_rows: 50, destination });
      const { taskQueue } = here.worker;
      const from = '2000-01-01';
      const first = await here.client.backfill(configuration, { from, to: null, taskQueue });
      await expect(here.client.backfill(configuration, { from, to: null, taskQueue })).rejects.toThrow(
        /is already running/,
      );
      await until(async () => (await first.progress()).rows > 0, 20, 'rows');
      await first.stop();
      await expect(first.range()).rejects.toThrow(/stopped before it finished/);
      const read = (await source.client.stats()).requests;
      expect(
        (
          await query(
            destination,
            'SELECT count(*) FROM _highwater_checkpoints WHERE "range" LIKE \'backfill %\'',
          )
        )[0],
      ).toEqual(['1']);
      await source.client.set({ latency_ms: 0 });
      const second = await here.client.backfill(configuration, { from, to: null, taskQueue });
      const { records } = await second.range();
      expect(records).toBeLessThan(600 - read * 5);
      expect(await difference(source.client, destination)).toEqual(EQUAL);
      await here.sync(configuration);
      await source.client.set({ latency_ms: 60 });
      const audit = await here.client.audit(configuration, { taskQueue });
      await until(async () => (await audit.progress()).records > 0, 20, 'records');
      await audit.cancel();
      await expect(audit.range()).rejects.toThrow(/cancelled/);
      await until(async () => (await query(destination, LEFT))[0]?.[0] === '0', 10, 'nothing left');
      await expect(here.client.audit(asConfiguration([configuration]))).rejects.toThrow();
      await expect(here.client.backfill(configuration, { from: null, to: null })).rejects.toBeInstanceOf(
        RangeRefusedError,
      );
    },
  );
});
