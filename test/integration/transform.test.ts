/** Streams whose records go through a hook, by a worker process from end to end. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import type { Json } from '../../src/protocol.js';
import {
  connect,
  highwater,
  historyText,
  scratch,
  startWorker,
  uniqueName,
  until,
} from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

type Config = { [key: string]: Json };

const COUNT = 60;
const PAGE = 10;
/** Orders with one to three lines. */
const ORDERS = Array.from({ length: COUNT }, (_, id) => ({
  id,
  total: `${id}.50`,
  lines: Array.from({ length: 1 + (id % 3) }, (_, line) => ({ sku: `s${line}`, count: line + 1 })),
}));

const TIDY = `import { defineTransform } from 'highwater/hooks';
export default defineTransform(({ id, total, lines }) => (id % 10 === 9 ? null : { id, cents: Math.round(total * 100), lines: lines.length }));`;

let hooks: Awaited<ReturnType<typeof scratch>>;
let system: System;
let orders: { [key: string]: Json }[] = ORDERS;
let asked: URL[] = [];
let api: Awaited<ReturnType<typeof imitate>>;

beforeAll(async () => {
  hooks = await scratch();
  await writeFile(hooks.file('tidy.mjs'), TIDY);
  api = await imitate((url) => {
    asked.push(url);
    const page = Number(url.searchParams.get('page'));
    return { body: { data: orders.slice((page - 1) * PAGE, page * PAGE), total: orders.length } };
  });
  system = await startSystem(inject('temporalAddress'), {
    ...{ HIGHWATER_HOOKS: hooks.path, HIGHWATER_HOOK_TIMEOUT: '2s', SECRET_OF_WORKER: 'not for hooks' },
  });
});
afterAll(async () => {
  await system.stop();
  api.stop();
  await hooks.remove();
});

const configurationOf = (more: Config = {}, destination = system.destination) => {
  const table = uniqueName('t').replace(/\W/g, '_');
  const stream = {
    ...{ name: table, strategy: 'page_number', total: 'total', primary_key: 'id', transform: 'tidy' },
    ...{ columns: { id: 'LONG', cents: 'LONG', lines: 'LONG' }, batch_rows: 15 },
    ...more,
  };
  return {
    table,
    configuration: { source: { base_url: api.url }, destination, streams: [stream] } as Config,
  };
};

const expected = ORDERS.filter(({ id }) => id % 10 !== 9).map(({ id, lines }) => [
  String(id),
  String(id * 100 + 50),
  String(lines.length),
]);
const rowsOf = (table: string) =>
  system.query(`SELECT id::VARCHAR, cents::VARCHAR, lines::VARCHAR FROM "${table}" ORDER BY id`);

test('rows are what the hook made; all pages are read, and records without a row are counted', async () => {
  asked = [];
  const { table, configuration } = configurationOf();
  const result = await system.sync(configuration);
  expect(await rowsOf(table)).toEqual(expected);
  expect(result.endRule).toBe('total_reached');
  const pages = new Set(asked.map((url) => url.searchParams.get('page')));
  for (let page = 1; page <= COUNT / PAGE; page++) expect(pages).toContain(String(page));
  expect(result.warnings.map(({ message }) => message)).toContain(
    'the hook tidy made no row of 6 records of this pass',
  );
});

test('a record may become several rows, under keys that the hook makes', async () => {
  await writeFile(
    hooks.file('lines.mjs'),
    'export default ({ id, lines }) => lines.map(({ sku, count }) => ({ order: id, sku, count }));',
  );
  const { table, configuration } = configurationOf({
    ...{ transform: 'lines', primary_key: ['order', 'sku'] },
    columns: { order: 'LONG', sku: 'STRING', count: 'LONG' },
  });
  await system.sync(configuration);
  expect(await system.query(`SELECT count(*)::INT, sum(count)::INT FROM "${table}"`)).toEqual([
    [
      ORDERS.flatMap(({ lines }) => lines).length,
      ORDERS.flatMap(({ lines }) => lines).reduce((sum, { count }) => sum + count, 0),
    ],
  ]);
});

test('columns can be inferred from what the hook made', async () => {
  const { table, configuration } = configurationOf({ misfits: 'evolve' });
  delete (configuration['streams'] as Config[])[0]?.['columns'];
  await system.sync(configuration);
  expect(await rowsOf(table)).toEqual(expected);
});

test('a record that the hook does not want any more is deleted by a whole pass', async () => {
  await writeFile(hooks.file('wanted.mjs'), 'export default (order) => (order.hidden ? null : order);');
  const { table, configuration } = configurationOf({
    ...{ transform: 'wanted', columns: { id: 'LONG' }, deletes: 'hard', max_deletes: 'any' },
  });
  await system.sync(configuration);
  orders = ORDERS.map((order) => ({ ...order, hidden: order.id < 3 }));
  try {
    await system.sync(configuration);
  } finally {
    orders = ORDERS;
  }
  expect(await system.query(`SELECT min(id)::INT, count(*)::INT FROM "${table}"`)).toEqual([[3, COUNT - 3]]);
});

describe('a record for which the hook fails', () => {
  const code = `export default (order) => {
    if (order.id === 25) return order.customer.name;
    if (order.id === 33) for (;;);
    return { id: order.id };
  };`;

  test('stops the sync with key, message and line', async () => {
    await writeFile(hooks.file('fails.mjs'), code);
    const { configuration } = configurationOf({ transform: 'fails', columns: { id: 'LONG' } });
    const { message } = await system.failing(configuration);
    expect(message).toContain(
      'the record with primary key "25" does not fit: the hook fails failed: TypeError',
    );
    expect(message).toMatch(/reading 'name'\) \(fails\.mjs:2:\d+\)/);
  });

  test('goes to quarantine, also where the hook does not end; its row is not deleted', async () => {
    await writeFile(hooks.file('fails.mjs'), 'export default ({ id }) => ({ id });');
    const { table, configuration } = configurationOf({
      ...{ transform: 'fails', columns: { id: 'LONG' }, misfits: 'quarantine' },
      ...{ deletes: 'hard', max_deletes: 'any' },
    });
    await system.sync(configuration);
    await writeFile(hooks.file('fails.mjs'), code);
    const result = await system.sync(configuration);
    expect(result).toMatchObject({ rejected: 2, deleted: 0 });
    expect(await system.query(`SELECT count(*)::INT FROM "${table}"`)).toEqual([[COUNT]]);
    const rejects = await system.query(
      `SELECT reason FROM _highwater_rejects WHERE "table" = '${table}' ORDER BY record`,
    );
    expect(rejects).toEqual([
      [expect.stringMatching(/^the hook fails failed: TypeError: .*fails\.mjs:2:\d+\)$/)],
      ['the hook fails failed: did not end within 2 s'],
    ]);
    await writeFile(hooks.file('fails.mjs'), 'export default ({ id }) => ({ id });');
    await system.sync(configuration);
    const left = `SELECT count(*)::INT FROM _highwater_rejects WHERE "table" = '${table}'`;
    expect(await system.query(left), 'repaired: a later pass clears them').toEqual([[0]]);
  });
});

describe('a hook that this worker does not have', () => {
  test('is a clear error, which is not retried', async () => {
    const { configuration } = configurationOf({ transform: 'elsewhere' });
    const failed = await system.failing(configuration);
    expect(failed.message).toMatch(/transform: the worker has no file .*elsewhere\.mjs/);
  });

  test('is not allowed where the worker trusts none and has no folder of hooks', async () => {
    const folder = await scratch();
    const [address, taskQueue] = [inject('temporalAddress'), uniqueName('none')];
    const flags = ['--trust', 'none', '--allow-hosts', '127.0.0.1'];
    const destination = folder.file('none.duckdb');
    const worker = await startWorker({ address, taskQueue, flags, destination });
    const client = await connect(address);
    try {
      const { configuration } = configurationOf({}, destination);
      const sync = await client.start(configuration, { taskQueue, workflowId: uniqueName('none') });
      await expect(sync.result()).rejects.toThrow(/may not use the hook tidy.*HIGHWATER_HOOKS/);
    } finally {
      await client.close();
      await worker.end();
      await folder.remove();
    }
  });
});

test('a hook sees no variable of the worker, and its history none of its records', async () => {
  await writeFile(
    hooks.file('nosy.mjs'),
    `export default ({ id }) => ({ id, seen: JSON.stringify(process.env) + JSON.stringify(process.argv.slice(2)) });`,
  );
  const { table, configuration } = configurationOf({
    transform: 'nosy',
    columns: { id: 'LONG', seen: 'STRING' },
  });
  const handle = await system.start(configuration);
  await handle.result();
  expect(await system.query(`SELECT DISTINCT seen FROM "${table}"`)).toEqual([['{}[]']]);
  expect(
    historyText(await system.client.temporal.workflow.getHandle(handle.workflowId).fetchHistory()),
  ).not.toContain('s2');
});

test('changed code is noticed by a running sync, which goes on with it and says what older rows lack', async () => {
  const version = (n: number) => `export default (record) => ({ ...record, version: ${n} });`;
  await writeFile(hooks.file('versions.mjs'), version(1));
  let known = 15;
  const growing = await imitate((url) => {
    const since = url.searchParams.get('since');
    const all = ORDERS.slice(0, known).map(({ id }) => ({
      id,
      updated: new Date(1.7e12 + id * 1000).toISOString(),
    }));
    return { body: { data: all.filter(({ updated }) => since === null || updated >= since).slice(0, PAGE) } };
  });
  const { table, configuration } = configurationOf({
    ...{ transform: 'versions', columns: { id: 'LONG', version: 'LONG', updated: 'UTC_DATETIME' } },
    ...{ strategy: 'keyset', cursor_field: 'updated', names: { updated_since: 'since' } },
  });
  const [stream] = configuration['streams'] as Config[];
  delete stream?.['total'];
  Object.assign(configuration, { source: { base_url: growing.url }, interval: '0.2s' });
  try {
    const handle = await system.start(configuration);
    const isRead = async (rows: number) =>
      (await handle.progress()).totals.passes > 0 &&
      Number((await system.query(`SELECT count(*)::INT FROM "${table}"`))[0]?.[0]) === rows;
    await until(() => isRead(15), 30, 'a pass with the first version');
    await writeFile(hooks.file('versions.mjs'), version(2));
    const warned = async () => (await handle.progress()).warnings.some(({ code }) => code === 'hook_changed');
    await until(warned, 30, 'a note on the change');
    known = 30;
    await until(() => isRead(30), 30, 'rows by the second version');
    await handle.stop();
    await handle.result();
    const versions = await system.query(
      `SELECT version::INT, min(id)::INT FROM "${table}" GROUP BY 1 ORDER BY 1`,
    );
    // The mark is inclusive: the last record was read again.
    expect(versions).toEqual([
      [1, 0],
      [2, 14],
    ]);
  } finally {
    growing.stop();
  }
});

test.skipIf(!LONG)('a worker that is killed in the middle of a sync goes on where it was', async () => {
  const folder = await scratch();
  const [address, taskQueue] = [inject('temporalAddress'), uniqueName('killed')];
  const destination = folder.file('killed.duckdb');
  const env = { HIGHWATER_HOOKS: hooks.path };
  await writeFile(
    hooks.file('steady.mjs'),
    `export default ({ id, lines }) => {
       const end = Date.now() + 10;
       while (Date.now() < end);
       return lines.map((line, n) => ({ id: id * 10 + n, ...line }));
     };`,
  );
  asked = [];
  const { table, configuration } = configurationOf(
    {
      ...{ transform: 'steady', columns: { id: 'LONG', sku: 'STRING', count: 'LONG' }, batch_rows: 10 },
      in_flight: 1,
    },
    destination,
  );
  let worker = await startWorker({ address, taskQueue, destination, env });
  const client = await connect(address);
  try {
    const sync = await client.start(configuration, { taskQueue, workflowId: uniqueName('killed') });
    await until(() => asked.length >= 3, 30, 'the third page');
    await worker.end('SIGKILL');
    expect(asked.length).toBeLessThan(COUNT / PAGE);
    worker = await startWorker({ address, taskQueue, destination, env });
    await sync.result();
    const { rows } = await readDestination(destination, `SELECT id::INT FROM "${table}" ORDER BY id`);
    expect(rows.map(([id]) => id)).toEqual(
      ORDERS.flatMap(({ id, lines }) => lines.map((_, n) => id * 10 + n)),
    );
  } finally {
    await client.close();
    await worker.end();
    await folder.remove();
  }
});

describe('the commands', () => {
  const file = async (more: Config = {}) => {
    const { configuration } = configurationOf(more);
    const path = hooks.file('sync.json');
    await writeFile(path, JSON.stringify(configuration));
    return path;
  };
  const env = () => ({ env: { HIGHWATER_HOOKS: hooks.path } });

  test.skipIf(!LONG)('run names the next step where the hook fails', async () => {
    await writeFile(
      hooks.file('late.mjs'),
      'export default (order) => (order.id === 5 ? order.x.y : order);',
    );
    const stream = { transform: 'late', columns: { id: 'LONG' } };
    const run = async (more: Config) => {
      const path = await file({ ...stream, ...more });
      const where = ['-d', hooks.file(`${uniqueName('late')}.duckdb`)];
      const own = { ...env().env, TEMPORAL_ADDRESS: inject('temporalAddress') };
      return highwater(['run', path, ...where], { env: own });
    };
    const stopped = await run({});
    expect(stopped.status).toBe(1);
    expect(stopped.stderr).toMatch(
      /the hook late failed: .*\n(.*\n)*next: fix the cause, .* "misfits: quarantine"/,
    );
    expect((await run({ misfits: 'quarantine' })).status).toBe(0);
  });

  test('preview shows records before and after', async () => {
    const { stdout } = await highwater(['preview', await file(), '--limit', '2'], env());
    expect(stdout).toContain('before');
    expect(stdout).toMatch(/cents\s+–\s+150/);
    const json = await highwater(['preview', await file(), '--limit', '10', '--json'], env());
    const { transformed, records } = JSON.parse(json.stdout) as { transformed: Json[]; records: Json[] };
    expect(transformed).toHaveLength(10);
    expect(transformed[1]).toEqual({ before: ORDERS[1], after: [{ id: 1, cents: 150, lines: 2 }] });
    expect(transformed[9]).toEqual({ before: ORDERS[9], after: [] });
    expect(records).toHaveLength(9);
  });

  test('check runs the hook over the first pages', async () => {
    expect((await highwater(['check', await file()], env())).stdout).toMatch(
      /✓ hook tidy: made 9 rows of 10 records, and none of 1/,
    );
    await writeFile(
      hooks.file('early.mjs'),
      'export default (order) => (order.id === 5 ? order.x.y : order);',
    );
    const failing = await highwater(
      ['check', await file({ transform: 'early', columns: { id: 'LONG' } })],
      env(),
    );
    expect(failing.status).toBe(1);
    expect(failing.stdout).toMatch(
      /✗ hook early: failed for 1 of \d+ records; the first time for id 5: TypeError/,
    );
  });
});
