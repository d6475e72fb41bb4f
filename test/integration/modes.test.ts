/** The ways of writing, by syncs from end to end. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { uniqueName } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

interface Item {
  id: number;
  name: string;
  at: string;
  gone?: boolean;
}

const item = (id: number, name: string, minute = id): Item => ({
  id,
  name,
  at: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(),
});

describe('a table that is written', () => {
  let items: Item[] = [];
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  beforeAll(async () => {
    api = await imitate((url) => {
      const page = Number(url.searchParams.get('page') ?? 1);
      const since = url.searchParams.get('since');
      if (since !== null)
        return { body: { data: items.filter(({ at }) => Date.parse(at) >= Date.parse(since)) } };
      return { body: { data: items.slice((page - 1) * 10, page * 10) } };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });

  const configured = (more: { [key: string]: Json }) => {
    const table = uniqueName('t').replace(/\W/g, '_');
    const stream = {
      name: table,
      strategy: 'page_number',
      primary_key: 'id',
      columns: { id: 'LONG', name: 'STRING', at: 'UTC_DATETIME', gone: 'BOOLEAN' },
      batch_rows: 15,
      ...more,
    };
    return {
      table,
      configuration: { source: { base_url: api.url }, destination: system.destination, streams: [stream] },
    };
  };
  const changes = { strategy: 'timestamp', cursor_field: 'at', lookback: '5m' };
  const query = async (sql: string) => (await system.query(sql)).map((row) => row.map(String).join(' '));

  test('by append has every version, and what the lookback reads again once', async () => {
    const { table, configuration } = configured({ ...changes, mode: 'append' });
    items = [item(1, 'a'), item(2, 'b'), item(3, 'c')];
    expect(await system.sync(configuration)).toMatchObject({ records: 3, rows: 3 });
    items = [item(1, 'a'), item(3, 'c'), item(2, 'B', 4)];
    expect(await system.sync(configuration)).toMatchObject({ records: 3, rows: 1 });
    expect(await query(`SELECT id, name FROM ${table} ORDER BY _highwater_sequence`)).toEqual([
      '1 a',
      '2 b',
      '3 c',
      '2 B',
    ]);
    expect(
      await query(`SELECT count(DISTINCT _highwater_batch), count(_highwater_synced_at) FROM ${table}`),
    ).toEqual(['2 4']);
  });

  test('with its history tells what was valid when', async () => {
    const { table, configuration } = configured({ mode: 'history', deletes: 'soft' });
    items = [item(1, 'a'), item(2, 'b')];
    await system.sync(configuration);
    items = [item(1, 'A')];
    expect(await system.sync(configuration)).toMatchObject({ rows: 1, deleted: 1 });
    expect(
      await query(
        `SELECT name, _highwater_valid_to IS NULL FROM ${table} ORDER BY id, _highwater_valid_from`,
      ),
    ).toEqual(['a false', 'A true', 'b false']);
  });

  test('by replace is never seen empty or half, whoever reads it meanwhile', async () => {
    const { table, configuration } = configured({ mode: 'replace', stamps: false });
    const many = (name: string, from: number) => Array.from({ length: 45 }, (_, i) => item(from + i, name));
    items = many('old', 0);
    expect(await system.sync(configuration)).toMatchObject({ rows: 45, batches: 3 });
    items = many('new', 20);
    const seen = new Set<string>();
    let isDone = false;
    const reader = (async () => {
      while (!isDone) {
        for (const row of await query(`SELECT count(*), min(name), max(name) FROM ${table}`)) seen.add(row);
      }
    })();
    expect(await system.sync(configuration)).toMatchObject({ rows: 45, deleted: 20 });
    isDone = true;
    await reader;
    seen.delete('45 new new');
    expect([...seen]).toEqual(['45 old old']);
    expect(await query(`SELECT count(*), min(name), max(name) FROM ${table}`)).toEqual(['45 new new']);
    expect(
      await query(`SELECT column_name FROM duckdb_columns() WHERE table_name = '${table}' ORDER BY 1`),
    ).toEqual(['at', 'gone', 'id', 'name']);
  });

  test('by replay loses what is gone from the window that is read again', async () => {
    const { table, configuration } = configured({
      strategy: 'replay',
      cursor_field: 'at',
      buffer_hours: 1,
      deletes: 'hard',
    });
    items = [item(0, 'before'), item(100, 'a'), item(110, 'b'), item(150, 'c')];
    await system.sync(configuration);
    items = [item(110, 'b'), item(150, 'c')];
    expect(await system.sync(configuration)).toMatchObject({ deleted: 1 });
    expect(await query(`SELECT id FROM ${table} ORDER BY id`)).toEqual(['0', '110', '150']);
  });

  test('loses what says that it is gone, also where only changes are read', async () => {
    const { table, configuration } = configured({ ...changes, deletes: 'hard', deleted_field: 'gone' });
    items = [item(1, 'a'), item(2, 'b')];
    await system.sync(configuration);
    items = [{ ...item(1, 'a', 5), gone: true }];
    expect(await system.sync(configuration)).toMatchObject({ deleted: 1 });
    expect(await query(`SELECT id FROM ${table}`)).toEqual(['2']);
  });
});
