/** Rows that are gone from the source, by syncs from end to end. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { uniqueName } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

describe('a row that is gone from the source', () => {
  let ids: number[] = [];
  let brokenPage = Infinity;
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  beforeAll(async () => {
    api = await imitate((url) => {
      const page = Number(url.searchParams.get('page'));
      if (page >= brokenPage) return { status: 410, body: { message: 'the page is gone' } };
      return { body: { data: ids.slice((page - 1) * 10, page * 10).map((id) => ({ id, name: `n${id}` })) } };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });

  const configuration = (deletes: string, more: { [key: string]: Json } = {}) => {
    const table = uniqueName('t').replace(/\W/g, '_');
    const stream = {
      name: table,
      strategy: 'page_number',
      primary_key: 'id',
      columns: { id: 'LONG', name: 'STRING' },
      batch_rows: 15,
      deletes,
      ...more,
    };
    return {
      table,
      configuration: { source: { base_url: api.url }, destination: system.destination, streams: [stream] },
    };
  };
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);

  test('is marked, and is there again when it comes back', async () => {
    const { table, configuration: soft } = configuration('soft');
    const live = async () =>
      (
        await system.query(`SELECT id::INTEGER FROM ${table} WHERE _highwater_deleted_at IS NULL ORDER BY id`)
      ).flat();
    ids = range(60);
    expect(await system.sync(soft)).toMatchObject({ rows: 60, deleted: 0 });
    ids = range(60).filter((id) => id % 5 !== 0);
    expect(await system.sync(soft)).toMatchObject({ rows: 0, deleted: 12 });
    expect(await live()).toEqual(ids);
    ids = range(60).filter((id) => id % 5 !== 0 || id < 20);
    expect(await system.sync(soft)).toMatchObject({ deleted: 0 });
    expect(await live()).toEqual(ids);
  });

  test('is removed, but not by an answer that was ignored, nor by an empty list', async () => {
    const errors = [{ status: 410, action: 'ignore' }];
    const { table, configuration: hard } = configuration('hard', { errors });
    const stored = async () => (await system.query(`SELECT count(*)::INTEGER FROM ${table}`))[0]?.[0];
    ids = range(60);
    await system.sync(hard);
    brokenPage = 3;
    const cut = await system.sync(hard);
    expect(cut).toMatchObject({ deleted: 0 });
    expect(cut.warnings.map(({ code }) => code)).toContain('answer_ignored');
    brokenPage = Infinity;
    ids = [];
    expect(await system.sync(hard)).toMatchObject({ deleted: 0, records: 0 });
    expect(await stored()).toBe(60);
    ids = range(50);
    expect(await system.sync(hard)).toMatchObject({ deleted: 10 });
    expect(await stored()).toBe(50);
  });

  test('cannot be told by passes that read changes only: the configuration is refused', async () => {
    const { configuration: changes } = configuration('soft', {
      cursor_field: 'name',
      names: { updated_since: 'since' },
    });
    await expect(system.start(changes)).rejects.toThrow('deletes: needs passes that read everything');
  });
});
