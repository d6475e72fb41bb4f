/** Records that do not fit: put aside with their reason where that is asked for, by a sync from end to end. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { highwater, uniqueName } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

const COUNT = 100;
const PAGE = 10;
/** Every tenth has no key, every seventh a word for an amount, and one an amount beyond any double. */
const RECORDS: { [key: string]: Json }[] = Array.from({ length: COUNT }, (_, i) => ({
  ...(i % 10 !== 3 && { id: i }),
  amount: i % 7 === 0 ? 'a lot' : i,
  kind: i % 2 === 0 ? 'even' : 'odd',
}));
const misfits = (record: { [key: string]: Json }) =>
  record['id'] === undefined || record['amount'] === 'a lot';

describe('a record that does not fit', () => {
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  beforeAll(async () => {
    api = await imitate((url) => {
      const page = Number(url.searchParams.get('page'));
      return { body: { data: RECORDS.slice((page - 1) * PAGE, page * PAGE), total: COUNT } };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });

  const configuration = (more: {
    [key: string]: Json;
  }): { table: string; configuration: { [key: string]: Json } } => {
    const table = uniqueName('t').replace(/\W/g, '_');
    const stream = {
      name: table,
      strategy: 'page_number',
      total: 'total',
      primary_key: 'id',
      columns: { id: 'LONG', amount: 'LONG' },
      batch_rows: 25,
      ...more,
    };
    return {
      table,
      configuration: { source: { base_url: api.url }, destination: system.destination, streams: [stream] },
    };
  };

  test('stops the sync by itself', async () => {
    const { configuration: frozen } = configuration({});
    expect((await system.failing(frozen)).message).toMatch(/record 3 has no primary key|cannot hold "a lot"/);
  });

  test('is put aside where that is asked for; the rest is stored, and the pages are counted whole', async () => {
    const { table, configuration: kept } = configuration({ misfits: 'quarantine' });
    const result = await system.sync(kept);
    const wanted = RECORDS.filter((record) => !misfits(record)).map(({ id }) => id);
    expect(await system.query(`SELECT id::INTEGER FROM ${table} ORDER BY id`)).toEqual(
      wanted.map((id) => [id]),
    );
    expect(result).toMatchObject({ endRule: 'total_reached', pages: 11, rows: wanted.length });
    expect(result.rejected).toBe(COUNT - wanted.length);
    expect(result.warnings.map(({ code }) => code)).toContain('rejected');
    const rejects = await system.query(`SELECT record FROM _highwater_rejects WHERE "table" = '${table}'`);
    const ids = rejects.map(([record]) => JSON.parse(String(record)) as { [key: string]: Json });
    expect(ids).toHaveLength(COUNT - wanted.length);
    expect(ids.every(misfits)).toBe(true);

    const { stdout, status } = await highwater(
      ['rejects', '--destination', system.destination, '--table', table, '--limit', '100'],
      {},
    );
    expect(status).toBe(0);
    expect(stdout).toContain('has no primary key: "id" is absent or null');
    expect(stdout).toContain('column "amount" cannot hold "a lot" as LONG');
    const json = await highwater(
      ['rejects', '--destination', system.destination, '--table', table, '--json'],
      {},
    );
    expect(JSON.parse(json.stdout)).toHaveLength(20);
    const none = await highwater(['rejects', '--destination', system.destination, '--table', 'other'], {});
    expect(none.stdout).toBe(`No records are quarantined in ${system.destination}.\n`);
  });

  test('is written later, once it fits, beside the worker that owns the file', async () => {
    const { table, configuration: kept } = configuration({ misfits: 'quarantine' });
    await system.sync(kept);
    const file = `${system.destination}.yaml`;
    const retry = async (more: { [key: string]: Json }, ...flags: string[]) => {
      const [stream] = kept['streams'] as { [key: string]: Json }[];
      await writeFile(file, JSON.stringify({ ...kept, streams: [{ ...stream, ...more }] }));
      return highwater(['rejects', '--retry', file, ...flags], {});
    };
    const aside = RECORDS.filter(misfits).length;
    const withoutKey = RECORDS.filter(({ id }) => id === undefined).length;
    const still = await retry({ misfits: 'quarantine' });
    expect(still.stdout).toBe(
      `${table}: 0 of ${aside} records fit now; 0 rows inserted or updated. ${aside} stay quarantined; ` +
        '"highwater rejects" lists the current reasons.\n',
    );
    const evolved = await retry({ misfits: 'evolve' }, '--json', '--stream', table);
    expect(JSON.parse(evolved.stdout)).toEqual([
      { stream: table, records: aside, retried: aside - withoutKey, rows: aside - withoutKey },
    ]);
    const [[count]] = (await system.query(
      `SELECT count(*)::INTEGER FROM "${table}" WHERE amount = 'a lot'`,
    )) as [[Json]];
    expect(count).toBe(aside - withoutKey);
    const [[left]] = (await system.query(
      `SELECT count(*)::INTEGER FROM _highwater_rejects WHERE "table" = '${table}'`,
    )) as [[Json]];
    expect(left).toBe(withoutKey);
    const other = await highwater(['rejects', '--overwrite'], {});
    expect(other).toMatchObject({ status: 1 });
    expect(other.stderr).toContain('--overwrite: needs --retry');
  });

  test('and that a filter leaves out is no misfit', async () => {
    const { table, configuration: filtered } = configuration({
      misfits: 'quarantine',
      where: "@.kind == 'even'",
    });
    const even = RECORDS.filter(({ kind }) => kind === 'even');
    const result = await system.sync(filtered);
    expect(result).toMatchObject({ pages: 11, rejected: even.filter(misfits).length });
    const rows = await system.query(`SELECT count(*)::INTEGER FROM ${table}`);
    expect(rows).toEqual([[even.filter((record) => !misfits(record)).length]]);
  });
});
