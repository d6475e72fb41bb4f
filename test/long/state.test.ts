/** "state", "resync" and "configure" as a user has them, on syncs that run, that have ended, and where there is none. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { partOf } from '../../src/config/part.js';
import { asConfiguration } from '../../src/config/index.js';
import type { Json } from '../../src/protocol.js';
import { configurationFor, highwater, scratch, uniqueName, until } from '../helpers/harness.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

vi.setConfig({ maxConcurrency: 3, testTimeout: 120_000 });

let api: TestApi;
let system: System;
let folder: Awaited<ReturnType<typeof scratch>>;

beforeAll(async () => {
  [api, system, folder] = await Promise.all([
    testApi({ rows: 130 }),
    startSystem(inject('temporalAddress')),
    scratch(),
  ]);
});
afterAll(async () => {
  await Promise.all([api.stop(), system.stop()]);
  await folder.remove();
});

const run = (...args: string[]) =>
  highwater(args, {
    env: { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path },
    cwd: folder.path,
  });
const json = async <T>(...args: string[]): Promise<T> => {
  const { status, stdout, stderr } = await run(...args, '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as T;
};
const file = async (name: string, content: Json) => {
  await writeFile(folder.file(name), JSON.stringify(content));
  return name;
};
const passes = (id: string, n: number) =>
  until(
    async () => {
      const { totals, status } = await system.client.sync(id).progress();
      return totals.passes >= n && status === 'sleeping';
    },
    30,
    `${n} passes of ${id}`,
  );

interface Shown {
  state: { [name: string]: Json };
  checkpoint: { id: string };
  holder: { workflowId: string };
  total: number;
  history: { id: string; at: string; rows: number; moved: string | null; state: { [name: string]: Json } }[];
}

test.skipIf(!LONG).concurrent('a sync that runs, and then has ended', async () => {
  const id = uniqueName('users');
  const table = id.replaceAll('-', '_');
  const configuration = configurationFor('keyset', api.url, { interval: '1h', table, batch_rows: 50 });
  await system.start(configuration, { workflowId: id });
  await passes(id, 1);
  const before = await json<Shown>('state', 'get', id);
  expect(before).toMatchObject({
    state: { scroll_param: null },
    holder: { workflowId: id },
    total: before.history.length,
  });
  const [first] = before.history.slice(-1);
  const rewound = await json<{ done: boolean; state: { [name: string]: Json } }>(
    ...['state', 'rewind', id, '--to', first?.id.slice(0, 13) ?? ''],
  );
  expect(rewound).toMatchObject({ done: true, state: { last_updated_at: first?.state['last_updated_at'] } });
  await passes(id, 2);
  const set = await run('state', 'set', id, 'last_updated_at=2026-01-01T00:10:00Z');
  expect(set).toEqual({
    status: 0,
    stdout: `${id}: continues from last_updated_at 2026-01-01T00:10:00Z\n`,
    stderr: '',
  });
  await passes(id, 3);
  const shown = await run('state', 'get', id, '--limit', '3');
  expect(shown.status).toBe(0);
  expect(shown.stderr).toMatch(/^\(\d+ older entries not shown: --limit all\)\n$/);
  expect(shown.stdout).toMatch(
    new RegExp(
      `^stream {6}${table} · keyset · main\\.${table}\ncursor {6}last_updated_at \\S+ · after pass \\d \\(no_next_token\\)\n`,
    ),
  );
  expect(shown.stdout).toContain(`holder      ${id} (running)\n`);
  const all = await json<Shown>('state', 'get', id, '--limit', 'all');
  expect(all.history.flatMap(({ moved }) => moved ?? [])).toEqual([
    'set to last_updated_at 2026-01-01T00:10:00Z',
    `moved to batch ${first?.id.slice(0, 13)}`,
  ]);

  const refused = await Promise.all([
    run('state', 'rewind', id, '--to', 'nowhere'),
    run('state', 'set', id, 'offset=3'),
    run('state', 'get', 'nobody'),
    run('configure', id, await file('other.json', { ...configuration, strategy: 'offset' })),
  ]);
  expect(refused.map(({ status }) => status)).toEqual([1, 1, 1, 1]);
  expect(refused[0]?.stderr).toMatch(
    /^highwater: the sync was not moved: this stream has no batch "nowhere"/,
  );
  expect(refused[1]?.stderr).toMatch(/offset: belongs to the state of offset/);
  expect(refused[2]?.stderr).toMatch(/there is no sync with the id "nobody"/);
  expect(refused[3]?.stderr).toMatch(/the strategy is keyset and would be offset\n/);
  const changed = { ...configuration, interval: '2h' };
  expect((await run('configure', id, await file('changed.json', changed))).stdout).toBe(
    `${id}: now uses the new configuration\n`,
  );
  expect(await system.client.running(id, changed)).toBe('same');
  const { totals } = await system.client.sync(id).progress();
  expect(await json('resync', id)).toEqual({ id, started: false, streams: [id] });
  await passes(id, totals.passes + 1);
  const held = await run('state', 'rewind', 'changed.json', '-d', system.destination, '--to', 'start');
  expect(held.stderr).toContain(`the running workflow "${id}" writes table main.user`);

  // Ended: its worker has the file.
  await system.client.sync(id).stop();
  await system.client.sync(id).result();
  const back = await json<{ done: boolean; state: { [name: string]: Json } }>(
    ...['state', 'rewind', id, '--to', first?.at ?? ''],
  );
  expect(back).toMatchObject({ done: true, state: { last_updated_at: first?.state['last_updated_at'] } });
  expect((await run('status', id)).stdout).toMatch(/^· moved: /);
  const start = await run('state', 'rewind', 'changed.json', '-d', system.destination, '--to', 'start');
  expect(start).toMatchObject({ status: 0, stderr: '' });
  expect(start.stdout).toBe(
    'changed.json: the next sync continues from last_updated_at 0001-01-01T00:00:00Z\n',
  );
  expect(await json('resync', id)).toEqual({ id, started: true, streams: [id] });
  await passes(id, 1);
  expect((await system.client.sync(id).progress()).records).toBeGreaterThanOrEqual(130);
  // What was changed while it ran is what it was started again with.
  expect(await system.client.sync(id).configuration()).toMatchObject({ interval: '2h' });
});

test.concurrent('a stream that no sync has read, in a file that no worker owns', async () => {
  const destination = folder.file('alone.duckdb');
  const name = await file('alone.json', { ...configurationFor('offset', api.url), destination });
  expect((await run('state', 'get', name)).stderr).toMatch(/there is no destination at .*alone\.duckdb/);
  const set = await run('state', 'set', name, '{"offset": 100}');
  expect(set.stdout).toBe('alone.json: the next sync continues from offset 100\n');
  expect(await json<Shown>('state', 'get', name)).toMatchObject({
    ...{ state: { offset: 100 }, holder: { workflowId: 'highwater state' }, total: 1 },
    history: [{ moved: 'set to offset 100', state: { offset: 100 } }],
  });
});

test
  .skipIf(!LONG)
  .concurrent('each of several streams by itself, and a configuration for all of them', async () => {
    const id = uniqueName('shop');
    const streams = (more: { [key: string]: Json } = {}) => ({
      ...{ interval: '1h', destination: system.destination, source: { base_url: api.url } },
      defaults: {
        primary_key: 'id',
        cursor_field: 'updatedAt',
        columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
      },
      streams: [
        { name: 'first', path: '/pagination/keyset', strategy: 'keyset' },
        { name: 'second', path: '/incremental/timestamp', strategy: 'timestamp' },
      ],
      ...more,
    });
    await system.start(streams(), { workflowId: id });
    const begun = async (name: string) =>
      (await system.client
        .sync(`${id}/${name}`)
        .status()
        .catch(() => '')) === 'RUNNING';
    await until(async () => (await begun('first')) && begun('second'), 20, 'both streams');
    await Promise.all([passes(`${id}/first`, 1), passes(`${id}/second`, 1)]);
    const refused = await run('state', 'rewind', id, '--to', 'start');
    expect(refused.stderr).toBe(
      `highwater: each stream of "${id}" has its own cursor; name one of ${id}/first, ${id}/second\n`,
    );
    const one = await json<{ done: boolean }>('state', 'rewind', `${id}/second`, '--to', 'start');
    expect(one.done).toBe(true);
    await passes(`${id}/second`, 2);
    expect((await system.client.sync(`${id}/first`).progress()).totals.passes).toBe(1);
    expect(await json('resync', id)).toEqual({
      id,
      started: false,
      streams: [`${id}/first`, `${id}/second`],
    });
    const more = await file(
      'more.json',
      streams({ streams: [...streams().streams, { name: 'third', path: '/x', strategy: 'timestamp' }] }),
    );
    expect((await run('configure', id, more)).stderr).toMatch(/stream third would be added/);
    const next = streams({ interval: '3h' });
    expect((await run('configure', id, await file('next.json', next))).stdout).toBe(
      `${id}: now uses the new configuration\n`,
    );
    await until(
      async () =>
        JSON.stringify(await system.client.sync(`${id}/first`).configuration()) ===
        JSON.stringify(partOf(next, 'first')),
      20,
      'the new configuration at a stream',
    );
    // A stream is known by the configuration of the whole, and takes that too.
    expect(await system.client.running(`${id}/first`, asConfiguration(next))).toBe('same');
    const alone = await file('alone.json', streams({ interval: '4h' }));
    expect((await run('configure', `${id}/first`, alone)).stdout).toBe(
      `${id}/first: now uses the new configuration\n`,
    );
    await system.client.sync(id).stop();
  });
