/** Several streams of one sync, as the workflow of the whole and those of the streams show and obey. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { planFromFlat } from '../../src/config/index.js';
import type { Json, Progress } from '../../src/protocol.js';
import { uniqueName, until } from '../helpers/harness.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const ROWS = 300;
const NAMES = ['one', 'two', 'three'];

describe('a sync of several streams', () => {
  let api: TestApi;
  let system: System;
  beforeAll(async () => {
    api = await testApi({ rows: ROWS, latency_ms: 100 });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    await api.stop();
  });

  const prefix = () => `${uniqueName('t').replace(/\W/g, '_')}_`;
  const configuration = (
    tables: string,
    more: { [key: string]: Json } = {},
    defaults: { [key: string]: Json } = {},
  ): { [key: string]: Json } => ({
    source: { base_url: api.url },
    destination: system.destination,
    defaults: {
      path: '/pagination/offset',
      strategy: 'offset',
      page_size: 10,
      in_flight: 1,
      batch_rows: 20,
      primary_key: 'id',
      cursor_field: 'updatedAt',
      columns: planFromFlat({}).table.columns,
      ...defaults,
    },
    streams: NAMES.map((name) => ({ name, table: tables + name })),
    ...more,
  });
  const workflow = (id: string) => system.client.temporal.workflow.getHandle(id);
  const child = (parent: string, name: string) => workflow(`${parent}/${name}`);
  const progress = (parent: string, name: string) => child(parent, name).query<Progress>('progress');
  const counts = (tables: string) =>
    system.query(NAMES.map((name) => `SELECT count(*)::INTEGER FROM ${tables}${name}`).join(' UNION ALL '));

  test.skipIf(!LONG)('is paused and goes on as a whole', async () => {
    const tables = prefix();
    const handle = await system.start(configuration(tables));
    const id = handle.workflowId;
    const all = async (holds: (progress: Progress) => boolean, what: string) =>
      until(
        async () => {
          const seen = await Promise.all(NAMES.map((name) => progress(id, name).catch(() => null)));
          return seen.every((one) => one !== null && holds(one));
        },
        30,
        what,
      );
    await all(({ batches }) => batches >= 1, 'a batch of each');
    await workflow(id).signal('pause');
    await all(({ status }) => status === 'paused', 'all to be paused');
    expect((await workflow(id).query<Progress>('progress')).status).toBe('paused');
    const before = await counts(tables);
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(await counts(tables)).toEqual(before);
    await workflow(id).signal('resume');
    expect((await handle.result()).streams.map(({ rows }) => rows)).toEqual([ROWS, ROWS, ROWS]);
  });

  test('reads no more of them at once than it is told to', async () => {
    const handle = await system.start(
      configuration(prefix(), { sync: { max_streams: 1 } }, { page_size: 50 }),
    );
    let most = 0;
    await until(
      async () => {
        const { stream, status } = await workflow(handle.workflowId).query<Progress>('progress');
        if (!stream.includes('streams')) most = Math.max(most, stream.split(', ').length);
        return status === 'drained';
      },
      40,
      'the end',
    );
    expect(most).toBe(1);
    expect((await handle.result()).streams).toHaveLength(3);
  });

  test('is cancelled as a whole', async () => {
    const handle = await system.start(configuration(prefix()));
    await until(
      async () => ((await progress(handle.workflowId, 'two').catch(() => null))?.batches ?? 0) > 0,
      20,
      'a batch',
    );
    await workflow(handle.workflowId).cancel();
    await handle.result().catch(() => undefined);
    for (const name of NAMES) {
      await until(
        async () => (await child(handle.workflowId, name).describe()).status.name === 'CANCELLED',
        20,
        `${name} to be cancelled`,
      );
    }
    expect(await handle.status()).toBe('CANCELLED');
  });
});
