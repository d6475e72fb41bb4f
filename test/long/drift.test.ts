/** Syncs whose configuration, table or destination changes under them, as a user sees it. */
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { highwater, scratch, uniqueName, until } from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { startSystem, type System } from '../helpers/system.js';
import type { Json } from '../../src/protocol.js';

vi.setConfig({ testTimeout: 120_000 });

const install = await installPostgres();

/** Three records; each pass asks for what has changed. */
const RECORDS = ['1', '2', '3'].map((id, i) => ({
  ...{ id, name: `name ${id}`, email: `${id}@example.org`, uuid: `u${id}` },
  ...{ updatedAt: `2026-01-0${i + 1}T00:00:00Z`, modified: `2025-01-0${i + 1}T00:00:00Z` },
}));

let source: Server;
let url: string;
let asked: string[] = [];
let system: System;
let folder: Awaited<ReturnType<typeof scratch>>;
let env: NodeJS.ProcessEnv;
let postgres: PostgresServer | null = null;

beforeAll(async () => {
  source = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://source');
    asked.push(request.url ?? '');
    const since = searchParams.get('since') ?? '';
    const field = searchParams.get('by') === 'modified' ? 'modified' : 'updatedAt';
    const data = RECORDS.filter((record) => record[field] >= since);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ data }));
  });
  await new Promise<void>((resolve) => source.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(source.address() as AddressInfo).port}`;
  [system, folder] = await Promise.all([startSystem(inject('temporalAddress')), scratch()]);
  env = { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path };
  if (install.available) postgres = await startPostgres(install.bin);
});
afterAll(async () => {
  await system.stop();
  await postgres?.stop();
  source.close();
  await folder.remove();
});

const COLUMNS: { [name: string]: Json } = {
  ...{ id: 'STRING', name: 'STRING', uuid: 'STRING', updatedAt: 'UTC_DATETIME', modified: 'UTC_DATETIME' },
};
const configuration = ({ interval, destination, ...stream }: { [key: string]: Json } = {}): {
  [key: string]: Json;
} => ({
  source: { base_url: url },
  ...(interval !== undefined && { interval }),
  ...(destination !== undefined && { destination }),
  streams: [
    {
      ...{
        name: 'users',
        path: '/users',
        strategy: 'timestamp',
        primary_key: 'id',
        cursor_field: 'updatedAt',
      },
      ...{ columns: COLUMNS, ...stream },
    },
  ],
});
const run = (...args: string[]) => highwater(args, { env, cwd: folder.path });
const reaches = (id: string, wanted: string[], seconds = 60) =>
  until(
    async () => wanted.includes((await system.client.sync(id).progress()).status),
    seconds,
    `${id} ${wanted.join(' or ')}`,
  );
/** What a sync has to say, but of the members that are not stored. */
const said = <T extends { code: string }>(warnings: T[]): T[] =>
  warnings.filter(({ code }) => code !== 'undeclared_members');
const codes = (warnings: { code: string }[]) => said(warnings).map(({ code }) => code);

describe('the configuration', () => {
  test('says what a changed one brings, does not use a mark of another field, and refuses another key', async () => {
    const table = uniqueName('users').replaceAll('-', '_');
    const first = await system.sync(configuration({ table }));
    expect([first.rows, said(first.warnings)]).toEqual([3, []]);
    const columns = { ...COLUMNS, email: 'STRING' };
    const wider = await system.sync(configuration({ table, columns }));
    expect(said(wider.warnings)).toMatchObject([
      { code: 'configuration_changed', message: expect.stringContaining('column email is new') as string },
    ]);
    expect(said((await system.sync(configuration({ table, columns }))).warnings)).toEqual([]);

    asked = [];
    const other = await system.sync(configuration({ table, columns, cursor_field: 'modified' }));
    expect(codes(other.warnings)).toEqual(['cursor_field_changed']);
    expect(said(other.warnings)[0]?.message).toMatch(
      /^the cursor field was updatedAt .* and is now modified/,
    );
    expect([other.records, asked.length]).toEqual([3, 1]);
    expect(asked[0]).not.toContain('2026-01-03');

    const keyed = configuration({ table, columns, cursor_field: 'modified', primary_key: 'uuid' });
    const refused = await system.failing(keyed);
    expect(refused.message).toMatch(/the primary key was id and is now uuid\. .*"highwater resync"/);
    expect(await system.query(`SELECT count(*)::INTEGER FROM "${table}"`)).toEqual([[3]]);
    const again = await system.sync(keyed, { full: true });
    expect(said(again.warnings)).toEqual([]);
    expect(
      await system.query(`SELECT count(*)::INTEGER, count(DISTINCT uuid)::INTEGER FROM "${table}"`),
    ).toEqual([[3, 3]]);
  });

  test('that is given to a running sync says the same in the answer', async () => {
    const workflowId = uniqueName('configured');
    const table = workflowId.replaceAll('-', '_');
    await system.start(configuration({ table, interval: '1h' }), { workflowId });
    await reaches(workflowId, ['sleeping']);
    const give = async (name: string, more: { [key: string]: Json }) => {
      await writeFile(folder.file(name), JSON.stringify(configuration({ table, interval: '1h', ...more })));
      return run('configure', workflowId, name);
    };
    const refused = await give('key.json', { primary_key: 'uuid' });
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(/the primary key was id and is now uuid/);
    const columns = { ...COLUMNS, email: 'STRING' };
    const wider = await give('wide.json', { columns });
    expect(wider).toMatchObject({ status: 0, stdout: `${workflowId}: now uses the new configuration\n` });
    expect(wider.stderr).toMatch(/^note: the configuration has changed: column email is new/);
    const { warnings } = await system.client.sync(workflowId).progress();
    expect(codes(warnings)).toContain('configuration_changed');
    await system.client.sync(workflowId).cancel();
  });
});

test('a table that was dropped by hand is read anew, by a running sync too', async () => {
  const workflowId = uniqueName('dropped');
  const table = workflowId.replaceAll('-', '_');
  const destination = folder.file('dropped.duckdb');
  const sync = await system.start(configuration({ table, interval: '1h', destination }), { workflowId });
  await reaches(workflowId, ['sleeping']);
  // The worker closes the file when it is idle.
  const { DuckDBInstance } = await import('@duckdb/node-api');
  await until(
    async () => {
      try {
        const instance = await DuckDBInstance.create(destination);
        const connection = await instance.connect();
        try {
          await connection.run(`DROP TABLE "${table}"`);
          return true;
        } finally {
          connection.closeSync();
          instance.closeSync();
        }
      } catch {
        return false;
      }
    },
    20,
    'the file to be free',
  );
  await sync.trigger();
  await until(async () => (await sync.progress()).totals.passes === 2, 30, 'the second pass');
  const { warnings } = await sync.progress();
  expect(codes(warnings)).toEqual(['table_gone']);
  const { rows } = await import('../../src/cli/query.js').then(({ readDestination }) =>
    readDestination(destination, `SELECT count(*)::INTEGER FROM "${table}"`),
  );
  expect(rows).toEqual([[3]]);
  await sync.cancel();
});

test('a DuckDB file that is gone is trouble everywhere, and the sync goes on when it is back, or anew with resume', async () => {
  const workflowId = uniqueName('gone');
  const destination = folder.file('gone.duckdb');
  const sync = await system.start(configuration({ table: 'gone', interval: '1s', destination }), {
    workflowId,
  });
  await until(async () => (await sync.progress()).totals.passes >= 2, 30, 'two passes');
  await sync.pause();
  await reaches(workflowId, ['paused']);
  await new Promise((resolve) => setTimeout(resolve, 3500));
  await copyFile(destination, folder.file('backup.duckdb'));
  await rm(destination);
  await sync.resume();
  await reaches(workflowId, ['failing']);
  const queue = system.worker.taskQueue;
  const [status, list, doctor] = await Promise.all([
    run('status', workflowId),
    run('list', '--query', `WorkflowId = "${workflowId}"`),
    run('doctor', '--task-queue', queue, '-d', destination),
  ]);
  expect(status.stdout).toMatch(/failing.* · the destination .*gone\.duckdb is gone/);
  expect(list.stdout).toMatch(/ failing /);
  expect(doctor.status).toBe(1);
  expect(doctor.stdout).toMatch(new RegExp(`^✗ syncs: ${workflowId}: failing since`, 'm'));
  expect(doctor.stdout).toMatch(
    /^✗ destination: .*gone\.duckdb belongs to a running worker .*, but the file is gone/m,
  );
  await copyFile(folder.file('backup.duckdb'), destination);
  const { passes } = (await sync.progress()).totals;
  await until(async () => (await sync.progress()).totals.passes > passes, 30, 'a pass by itself');
  expect((await sync.progress()).trouble).toBeNull();

  await rm(destination);
  await reaches(workflowId, ['failing']);
  await run('resume', workflowId);
  await until(
    async () => {
      const { trouble, warnings } = await sync.progress();
      return trouble === null && codes(warnings).length >= 0;
    },
    30,
    'the sync to go on anew',
  );
  await sync.stop();
  const { readDestination } = await import('../../src/cli/query.js');
  expect((await readDestination(destination, 'SELECT count(*)::INTEGER FROM gone')).rows).toEqual([[3]]);
});

test.skipIf(!install.available)(
  'a PostgreSQL server that stops and a schema that is dropped are trouble within a minute, and it recovers',
  async () => {
    const server = postgres as PostgresServer;
    const workflowId = uniqueName('server');
    const sync = await system.start(
      configuration({ table: 'users', schema: 'drifting', interval: '1s', destination: server.url }),
      { workflowId },
    );
    await until(async () => (await sync.progress()).totals.passes >= 2, 30, 'two passes');
    await server.kill();
    await reaches(workflowId, ['failing']);
    expect((await sync.progress()).trouble?.type).toBe('DestinationBusyError');
    await server.start();
    const before = (await sync.progress()).totals.passes;
    await until(async () => (await sync.progress()).totals.passes > before, 60, 'a pass by itself');
    await server.query('DROP SCHEMA drifting CASCADE');
    await reaches(workflowId, ['failing']);
    expect((await sync.progress()).trouble).toMatchObject({
      type: 'DestinationGoneError',
      message: expect.stringContaining('schema drifting') as string,
    });
    expect(await server.query("SELECT 1 FROM pg_namespace WHERE nspname = 'drifting'")).toEqual([]);
    await run('resume', workflowId);
    await until(async () => (await sync.progress()).trouble === null, 60, 'the sync to go on anew');
    await until(
      async () =>
        (await server.query('SELECT count(*)::INTEGER AS n FROM drifting.users').catch(() => []))[0]?.[
          'n'
        ] === 3,
      30,
      'the rows',
    );
    await sync.cancel();
  },
);
