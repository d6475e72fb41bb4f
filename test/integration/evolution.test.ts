/** Tables whose columns nobody has declared, by syncs from end to end. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { readDestination } from '../../src/cli/query.js';
import { highwater, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const PAGE = 10;
const COUNT = 60;

describe('a stream without columns', () => {
  let api: Awaited<ReturnType<typeof imitate>>;
  let system: System;
  let records: { [name: string]: Json }[];
  beforeAll(async () => {
    api = await imitate((url) => {
      const owner = /^\/owners\/(\w+)$/.exec(url.pathname)?.[1];
      const page = Number(url.searchParams.get('page'));
      const list = owner === undefined ? records : [{ petId: `${owner}-1`, petKind: 'cat' }];
      return { body: { data: list.slice((page - 1) * PAGE, page * PAGE), total: list.length } };
    });
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    api.stop();
  });

  const configured = (more: { [key: string]: Json }, others: { [key: string]: Json }[] = []) => {
    const table = uniqueName('t').replace(/\W/g, '_');
    const stream = {
      name: table,
      strategy: 'page_number',
      total: 'total',
      primary_key: 'id',
      batch_rows: 20,
      ...more,
    };
    const streams = [stream, ...others.map((other) => ({ ...stream, ...other, name: `${table}_child` }))];
    return {
      table,
      configuration: { source: { base_url: api.url }, destination: system.destination, streams } as {
        [key: string]: Json;
      },
    };
  };

  test('gets its table from the records, which change in the middle of a pass, and the run says so', async () => {
    records = Array.from({ length: COUNT }, (_, i) => ({
      id: i,
      price: i < 30 ? i : i + 0.5,
      ...(i >= 40 && { seen: '2026-01-01T00:00:00Z' }),
      nothing: null,
    }));
    const { table, configuration } = configured({});
    const result = await system.sync(configuration);
    expect(result).toMatchObject({ records: COUNT, rows: COUNT, rejected: 0 });
    const told = result.warnings.find(({ code }) => code === 'schema_changed')?.message ?? '';
    expect(told).toContain('price from LONG to DOUBLE');
    expect(told).toContain('new column seen UTC_DATETIME');
    // The first batch made the table; its columns are no changes.
    expect(told).not.toContain('new column id');
    expect(result.warnings.map(({ code }) => code)).not.toContain('undeclared_members');
    expect(
      await system.query(
        `SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '${table}' AND column_name NOT LIKE '%highwater%' ORDER BY column_index`,
      ),
    ).toEqual([
      ['id', 'BIGINT'],
      ['price', 'DOUBLE'],
      ['seen', 'TIMESTAMP WITH TIME ZONE'],
    ]);
    expect(await system.query(`SELECT sum(price)::VARCHAR, count(seen)::INTEGER FROM "${table}"`)).toEqual([
      [`${(COUNT * (COUNT - 1)) / 2 + 15}.0`, 20],
    ]);

    // The next pass knows the table as it stands, and has nothing to say.
    const again = await system.sync(configuration);
    expect(again.warnings.map(({ code }) => code)).not.toContain('schema_changed');
    expect(again.rows).toBe(0);
  });

  test.skipIf(!LONG).each(['transaction.half', 'commit.after'])(
    'is changed once where the worker dies at %s',
    async (point) => {
      records = Array.from({ length: COUNT }, (_, i) => ({ id: i, v: i < 30 ? i : `text ${i}` }));
      const { table, configuration } = configured({});
      const folder = await scratch();
      const taskQueue = uniqueName('evolution');
      const destination = folder.file('x.duckdb');
      const address = inject('temporalAddress');
      // The second batch is the one that widens a column.
      let worker = await startWorker({
        address,
        taskQueue,
        destination,
        env: { HIGHWATER_FAULT: `${point}:2` },
      });
      const handle = await system.client.start(
        { ...configuration, destination },
        { taskQueue, workflowId: uniqueName('evolution') },
      );
      const isGone = () => worker.child.exitCode !== null || worker.child.signalCode !== null;
      await until(async () => isGone(), 30, 'its end');
      worker = await startWorker({ address, taskQueue, destination });
      await handle.result();
      const { rows } = await readDestination(
        destination,
        `SELECT id::INTEGER, v FROM "${table}" ORDER BY id`,
      );
      expect(rows).toEqual(records.map(({ id, v }) => [id, String(v)]));
      const changes = await readDestination(
        destination,
        'SELECT "column", from_type, to_type FROM _highwater_schema_changes ORDER BY changed_at, "column"',
      );
      expect(changes.rows).toEqual([
        ['id', null, 'LONG'],
        ['v', null, 'LONG'],
        ['v', 'LONG', 'STRING'],
      ]);
      await worker.end();
      await folder.remove();
    },
  );

  test('that is frozen stops with the difference', async () => {
    records = [{ id: 1, v: 1 }];
    const { configuration } = configured({ misfits: 'freeze' });
    await system.sync(configuration);
    records = [{ id: 1, v: 'x', color: 'red' }];
    expect((await system.failing(configuration)).message).toMatch(
      /which is frozen: column "v" cannot hold "x" as LONG \(record 1\)\. Set "misfits" to "evolve"/,
    );
  });

  test('keeps what a filter lets through, what is picked from deep in a record, and the rest as it is', async () => {
    records = [
      { id: 1, kind: 'a', deep: { city: 'Bonn', zip: '053' }, big: '9007199254740993' },
      { id: 2, kind: 'b', deep: { city: 'Rom' } },
    ];
    const { table, configuration } = configured({
      misfits: 'evolve',
      columns: { id: 'bigint', town: { type: 'varchar', from: 'deep.city' } },
      where: "@.kind == 'a'",
      flatten: true,
    });
    await system.sync(configuration);
    expect(
      await system.query(`SELECT id::INTEGER, town, kind, deep__city, deep__zip FROM "${table}"`),
    ).toEqual([[1, 'Bonn', 'a', 'Bonn', '053']]);
  });

  test('is a parent by the names that its records have', async () => {
    records = [{ ownerId: 'ann', homeTown: 'Bonn' }, { ownerId: 'bob' }];
    const { table, configuration } = configured({ primary_key: 'ownerId', column_names: 'snake_case' }, [
      {
        path: '/owners/${parent:ownerId}',
        primary_key: 'petId',
        column_names: 'as_is',
        parent: { stream: 'PARENT', include: { owner: 'ownerId', town: 'homeTown' } },
      },
    ]);
    const named = JSON.parse(JSON.stringify(configuration).replace('PARENT', table)) as typeof configuration;
    await (await system.start(named)).result();
    expect(await system.query(`SELECT owner_id, home_town FROM "${table}" ORDER BY 1`)).toEqual([
      ['ann', 'Bonn'],
      ['bob', null],
    ]);
    expect(
      await system.query(`SELECT "petId", "petKind", owner, town FROM "${table}_child" ORDER BY 1`),
    ).toEqual([
      ['ann-1', 'cat', 'ann', 'Bonn'],
      ['bob-1', 'cat', 'bob', null],
    ]);
  });

  test('is shown by preview', async () => {
    records = [{ id: 1, late: 'x' }];
    const { configuration } = configured({});
    const file = `${system.destination}.json`;
    await writeFile(file, JSON.stringify(configuration));
    const { stdout, status } = await highwater(['preview', file], {});
    expect(status).toBe(0);
    expect(stdout).toMatch(/id +late/);
  });
});
