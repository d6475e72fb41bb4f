/** A source that loses half of its rows, and what the command line says and does about it. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { readDestination } from '../../src/cli/query.js';
import { highwater, scratch, uniqueName, until } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

vi.setConfig({ testTimeout: 120_000 });

let folder: Awaited<ReturnType<typeof scratch>>;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  folder = await scratch();
  env = { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path };
});
afterAll(() => folder.remove());

const command = (...args: string[]) => highwater(args, { env, cwd: folder.path });

/** A source of 100 rows, ten a page, that can lose some. */
async function losing() {
  let [first, last] = [0, 100];
  const api = await imitate((url) => {
    const page = Number(url.searchParams.get('page'));
    const ids = Array.from({ length: last - first }, (_, i) => first + i);
    return { body: { data: ids.slice((page - 1) * 10, page * 10).map((id) => ({ id, name: `n${id}` })) } };
  });
  onTestFinished(() => api.stop());
  return { url: api.url, holds: (from: number, to = 100) => ([first, last] = [from, to]) };
}

const configuration = (url: string, table: string, more: { [key: string]: Json } = {}) => ({
  source: { base_url: url },
  streams: [
    {
      ...{ name: table, strategy: 'page_number', primary_key: 'id', deletes: 'hard' },
      ...{ columns: { id: 'LONG', name: 'STRING' } },
    },
  ],
  ...more,
});

describe('highwater run', () => {
  test('of a source that has lost half of its rows fails, removes nothing, and names the flag that lets them go', async () => {
    const source = await losing();
    const table = uniqueName('lost').replace(/\W/g, '_');
    const destination = folder.file(`${table}.duckdb`);
    const file = folder.file(`${table}.json`);
    await writeFile(file, JSON.stringify(configuration(source.url, table)));
    const run = (...more: string[]) => command('run', file, '-d', destination, ...more);
    const count = async () =>
      Number((await readDestination(destination, `SELECT count(*) FROM ${table}`)).rows[0]?.[0]);
    expect(await run()).toMatchObject({ status: 0 });
    source.holds(50);
    const refused = await run();
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(
      new RegExp(`^highwater: this pass would remove 50 of the 100 rows of table main.${table}: `, 'm'),
    );
    expect(refused.stderr).toContain('run it again with "--max-deletes any" (or "--max-deletes 50", or ');
    expect(await count()).toBe(100);
    const asJson = await run('--json', '--max-deletes', '49');
    expect(asJson.status).toBe(1);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      status: 'failed',
      error: {
        type: 'TooManyDeletesError',
        deletes: { table: `main.${table}`, how: 'removed', deletes: 50, rows: 100, allowed: 49 },
      },
      streams: [],
    });
    expect(await count()).toBe(100);
    const done = await run('--max-deletes', 'any');
    expect(done).toMatchObject({ status: 0 });
    expect(done.stdout).toMatch(/^stream +strategy +records +rows written +deleted +pages /);
    expect(done.stdout).toMatch(/page_number +\d+ +0 +50 +\d+ /);
    expect(await count()).toBe(50);
    source.holds(75);
    const share = await run('--max-deletes', '50%', '--json');
    expect(JSON.parse(share.stdout)).toMatchObject({ status: 'completed', streams: [{ deleted: 25 }] });
    const wrong = await run('--max-deletes', 'most');
    expect(wrong).toMatchObject({ status: 1, stdout: '' });
    expect(wrong.stderr).toContain('It must be a whole number of rows, a share such as "10%", or "any".');
  });
});

describe('a sync that goes on', () => {
  let system: System;
  beforeAll(async () => {
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(() => system.stop());
  const reaches = (id: string, wanted: string) =>
    until(async () => (await system.client.sync(id).progress()).status === wanted, 30, `${id} ${wanted}`);

  test.skipIf(!LONG)(
    'is blocked; reject keeps the rows, approve lets them go, and status, list and logs tell it',
    async () => {
      const source = await losing();
      const id = uniqueName('users');
      const table = id.replace(/\W/g, '_');
      await system.start(configuration(source.url, table, { interval: '1h' }), { workflowId: id });
      await reaches(id, 'sleeping');
      const nothing = await command('approve', id);
      expect(nothing).toEqual({
        ...{ status: 1, stdout: '' },
        stderr:
          'highwater: nothing was decided: no pass waits for a decision about deletes (the sync is sleeping)\n',
      });
      source.holds(50);
      await command('trigger', id);
      await reaches(id, 'blocked');
      const [status, list] = [await command('status', id), await command('list', '--running')];
      expect(status.stdout).toMatch(
        new RegExp(
          `^✗ needs approval: since .* · a pass would remove 50 of the 100 rows of main\\.${table}\n` +
            ` {2}next: decide: "highwater approve ${id}" removes the rows, "highwater reject ${id}" keeps them\n`,
        ),
      );
      expect(status.stdout).toMatch(/^problem +TooManyDeletesError$/m);
      expect(list.stdout).toMatch(new RegExp(`^${id} +blocked `, 'm'));
      expect(list.stdout).toMatch(
        new RegExp(`^✗ ${id}: needs approval: .* a pass would remove 50 of the 100 rows`, 'm'),
      );

      const rejected = await command('reject', id);
      expect(rejected).toMatchObject({ status: 0, stderr: '' });
      expect(rejected.stdout).toMatch(
        new RegExp(
          `^${id}: rejected: the pass keeps 50 of the 100 rows of table main.${table}\n${id}: .*\n$`,
        ),
      );
      await reaches(id, 'sleeping');
      expect((await system.query(`SELECT count(*) FROM ${table}`))[0]?.[0]).toBe('100');
      expect((await command('status', id)).stdout).toContain('note: 50 of the 100 rows of table');

      await command('trigger', id);
      await reaches(id, 'blocked');
      const approved = await command('approve', id, '--json');
      expect(approved).toMatchObject({ status: 0, stderr: '' });
      expect(JSON.parse(approved.stdout)).toMatchObject({
        ...{ id, asked: 'approve', done: true },
        streams: [{ stream: table, table: `main.${table}`, deletes: 50, rows: 100 }],
      });
      await reaches(id, 'sleeping');
      expect((await system.query(`SELECT count(*) FROM ${table}`))[0]?.[0]).toBe('50');
      const [after, listed, logs] = [
        await command('status', id),
        await command('list', '--running', '--json'),
        await command('logs', id),
      ];
      expect(after.stdout).toMatch(/^this pass +50 records, 0 rows, 6 pages, 1 batch, 50 deleted/m);
      expect(after.stdout).toMatch(/^pass ended +ended by +records +rows written +deleted +pages +took$/m);
      expect((JSON.parse(listed.stdout) as { id: string }[]).find((one) => one.id === id)).toMatchObject({
        deleted: 50,
      });
      expect(logs.stdout).toMatch(/batch \d+ · 50 records · .*: 0 rows written, 50 deleted$/m);
      expect(logs.stdout).toMatch(/ approve requested by /);
      await system.client.sync(id).stop();
    },
  );

  test.skipIf(!LONG)('that waits is not waited for by a run which joins it', async () => {
    const source = await losing();
    const id = uniqueName('joined');
    const table = id.replace(/\W/g, '_');
    const whole = { ...configuration(source.url, table), destination: system.destination };
    await system.sync(whole);
    source.holds(50);
    await system.start(whole, { workflowId: id });
    await reaches(id, 'blocked');
    const file = folder.file(`${id}.json`);
    await writeFile(file, JSON.stringify(configuration(source.url, table)));
    const joined = await command('run', file, '--destination', system.destination, '--id', id);
    expect(joined).toMatchObject({ status: 1, stdout: '' });
    expect(joined.stderr).toContain(`Joined the sync "${id}", which was still running.`);
    expect(joined.stderr).toMatch(/^highwater: this pass would remove 50 of the 100 rows /m);
    expect(joined.stderr).toContain(`"highwater approve ${id}" removes them`);
    await system.client.sync(id).reject();
    expect(await system.client.sync(id).result()).toMatchObject({ streams: [{ deleted: 0 }] });
  });
});
