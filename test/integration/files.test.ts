/** Syncs into files, in a folder and on an S3 server, from the command line and under kills. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { asConfiguration } from '../../src/config/index.js';
import { query } from '../../src/cli/query.js';
import type { HighwaterClient } from '../../src/client.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  difference,
  EQUAL,
  highwater,
  historyText,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { installS3, startS3, type S3Server } from '../helpers/s3.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const install = await installS3();
const run = promisify(execFile);
const ROWS = 10_000;

let api: TestApi;
let client: HighwaterClient;
let folder: Awaited<ReturnType<typeof scratch>>;
const workers: WorkerProcess[] = [];
beforeAll(async () => {
  api = await testApi({ rows: ROWS, max_page: 500, keyset_page: 500, latency_ms: 10 });
  client = await connect(inject('temporalAddress'));
  folder = await scratch();
});
afterAll(async () => {
  for (const worker of workers) await worker.end('SIGKILL');
  await client.close();
  await api.stop();
  await folder.remove();
});

/** A task queue of its own, and workers on it. */
function bench(destination: string, env: NodeJS.ProcessEnv = {}) {
  const taskQueue = uniqueName('files');
  const home = { HIGHWATER_HOME: folder.file('home') };
  const start = async (more: NodeJS.ProcessEnv = {}) => {
    const worker = await startWorker({
      address: inject('temporalAddress'),
      taskQueue,
      env: { ...home, ...env, ...more },
    });
    workers.push(worker);
    return worker;
  };
  const sync = (strategy: ReferenceStrategy, more: { [key: string]: Json } = {}) =>
    client.start(
      configurationFor(strategy, api.url, { destination, page_size: 500, batch_rows: 2000, ...more }),
      { taskQueue, workflowId: uniqueName('files') },
    );
  return { taskQueue, start, sync };
}

/** Every version was committed once, each batch following the one before. */
async function expectChain(destination: string) {
  const { rows } = await query(
    destination,
    'SELECT id, base, "rows"::INT FROM _highwater_batches WHERE deleted = 0 AND "left" = 0 ORDER BY version',
  );
  expect(new Set(rows.map(([id]) => id)).size).toBe(rows.length);
  expect(rows.slice(1).map(([, base]) => base)).toEqual(rows.slice(0, -1).map(([id]) => id));
  return rows.reduce((sum, [, , count]) => sum + Number(count), 0);
}

describe.concurrent('a folder', () => {
  test('is checked, written, read and gone on from by the command line', async () => {
    const file = folder.file('files.json');
    const address = 'files:./lake?format=ndjson';
    await writeFile(file, JSON.stringify(configurationFor('keyset', api.url, { destination: address })));
    const options = {
      env: { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.file('cli-home') },
      cwd: folder.path,
    };
    const before = await highwater(['check', file], options);
    expect(before.stdout).toMatch(/✓ \/.*lake does not exist yet and can be created/);
    const none = await highwater(['query', 'SELECT 1', '--destination', 'files:./lake'], options);
    expect(none.stderr).toContain('there is no destination at files:');
    const first = await highwater(['run', file], options);
    expect(first.status, first.stderr).toBe(0);
    expect(first.stdout).toContain(`Destination: files:${folder.path}/lake?format=ndjson`);
    const count = await highwater(
      ['query', 'SELECT count(*) AS n FROM "user"', '--destination', 'files:./lake', '--json'],
      options,
    );
    expect(JSON.parse(count.stdout)).toEqual([{ n: ROWS }]);
    const again = await highwater(['run', file, '--json'], options);
    expect((JSON.parse(again.stdout) as { streams: object[] }).streams[0]).toMatchObject({ pages: 1 });
    const write = await highwater(['query', 'CREATE TABLE x (i INT)', '-d', 'files:./lake'], options);
    expect(write.stderr).toContain('only read-only statements');
    expect((await highwater(['check', file], options)).stdout).toMatch(/exists and is\s+writable/);
    expect((await readdir(folder.path)).filter((name) => name.startsWith('lake'))).toEqual(['lake']);
  });

  test.skipIf(!LONG)(
    'of two workers gets two tables side by side, and what a killed one left is removed',
    async () => {
      const destination = `files:${folder.file('shared')}`;
      const { start, sync } = bench(destination);
      const doomed = await start({ HIGHWATER_FAULT: 'commit.before:2' });
      await start();
      const handles = [
        await sync('keyset', { table: 'by_key' }),
        await sync('offset', { table: 'by_offset', schema: 'other' }),
      ];
      for (const handle of handles) await handle.result();
      expect(doomed.child.signalCode).toBe('SIGKILL');
      expect(await difference(api.client, destination, { table: 'by_key' })).toEqual(EQUAL);
      expect(await difference(api.client, destination, { schema: 'other', table: 'by_offset' })).toEqual(
        EQUAL,
      );
      const onDisk = async () =>
        (await readdir(folder.file('shared'), { recursive: true }))
          .filter((name) => /\/data\/.*\.parquet$/.test(name))
          .sort();
      const named = async () =>
        (await query(destination, 'SELECT path FROM _highwater_files ORDER BY path')).rows.map(
          ([path]) => path,
        );
      expect((await onDisk()).length).toBeGreaterThan((await named()).length);
      // The next sync of each finds that its base is gone.
      for (const more of [{ table: 'by_key' }, { table: 'by_offset', schema: 'other' }])
        await (await sync(more.table === 'by_key' ? 'keyset' : 'offset', more)).result();
      expect(await onDisk()).toEqual(await named());
    },
  );

  test.skipIf(!LONG)('on a full disk says so, and the sync goes on once there is room', async (context) => {
    const disk = folder.file('disk');
    await mkdir(disk);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]);
    } catch {
      context.skip('this user may not mount a file system');
    }
    try {
      const destination = `files:${disk}?format=ndjson`;
      const { start, sync } = bench(destination);
      await start();
      const handle = await sync('keyset');
      const trouble = async () => (await handle.work()).retry?.message ?? '';
      await until(async () => (await trouble()) !== '', 20, 'trouble');
      expect(await trouble()).toMatch(/^there is no space left for the destination files:.*Free some space/s);
      await run('mount', ['-o', 'remount,size=64m', disk]);
      await handle.result();
      expect(await difference(api.client, destination)).toEqual(EQUAL);
      // What keyset reads again where it goes on is written again.
      expect(await expectChain(destination)).toBeGreaterThanOrEqual(ROWS);
    } finally {
      await run('umount', ['-l', disk]);
    }
  });

  test.skipIf(!LONG)('has parents and their marks, and what was put aside', async () => {
    const PARENTS = 30;
    const served = await imitate((url) => {
      const parent = /\/teams\/(\d+)\/members/.exec(url.pathname)?.[1];
      if (parent === undefined)
        return { body: { data: Array.from({ length: PARENTS }, (_, id) => ({ id, name: `team ${id}` })) } };
      return {
        body: { data: [1, 2].map((n) => ({ id: Number(parent) * 10 + n, at: n === 2 ? 'odd' : n })) },
      };
    });
    try {
      const destination = `files:${folder.file('parents')}`;
      const { start, taskQueue } = bench(destination);
      await start();
      const shared = { strategy: 'cursor', next: 'none', primary_key: 'id' };
      const configuration = {
        source: { base_url: served.url },
        destination,
        streams: [
          { ...shared, name: 'teams', path: '/teams', columns: { id: 'LONG', name: 'STRING' } },
          {
            ...shared,
            name: 'members',
            path: '/teams/${parent:id}/members',
            parent: { stream: 'teams', include: { team: 'name' } },
            columns: { id: 'LONG', at: 'LONG', team: 'STRING' },
            misfits: 'quarantine',
          },
        ],
      };
      const handle = await client.start(asConfiguration(configuration), {
        taskQueue,
        workflowId: uniqueName('parents'),
      });
      const { streams } = await handle.result();
      expect(streams.find(({ stream }) => stream === 'members')).toMatchObject({
        rows: PARENTS,
        rejected: PARENTS,
      });
      const { rows } = await query(
        destination,
        'SELECT count(*)::INT, count(DISTINCT team)::INT, max(id)::INT FROM members',
      );
      expect(rows).toEqual([[PARENTS, PARENTS, (PARENTS - 1) * 10 + 1]]);
      const rejects = await highwater(['rejects', '--destination', destination, '--json']);
      expect(JSON.parse(rejects.stdout)).toHaveLength(20);
    } finally {
      served.stop();
    }
  });
});

describe
  .skipIf(!install.available)
  .concurrent(`a bucket${install.available ? '' : ` (skipped: ${install.reason})`}`, () => {
    let server: S3Server;
    beforeAll(async () => {
      if (!install.available) return;
      server = await startS3(install.program);
      Object.assign(process.env, server.env);
      await server.makeBucket('lake');
    });
    afterAll(() => server.stop());

    // One server, which the first test kills: one after the other, beside those of a folder.
    test.sequential(
      'is exact though the worker is killed and the server goes away, and tells nobody the secret',
      async () => {
        const destination = `s3://lake/exact?endpoint=\${env:S3_AT}`;
        const env = { ...server.env, S3_AT: server.url };
        Object.assign(process.env, { S3_AT: server.url });
        const { start, sync } = bench(destination, env);
        const doomed = await start({ HIGHWATER_FAULT: 'transaction.half:2' });
        const handle = await sync('step_size', { step_size: 500, max_id: ROWS, retry_for: '2m' });
        await until(() => doomed.child.signalCode !== null, 30, 'the kill');
        const second = await start({ HIGHWATER_FAULT: 'commit.after:2' });
        await until(() => second.child.signalCode !== null, 60, 'the second kill');
        await server.kill();
        const third = await start();
        await until(() => /is unreachable/.test(third.said()), 60, 'the trouble');
        await server.start();
        await handle.result();
        expect(await difference(api.client, destination, { view: 'step' })).toEqual(EQUAL);
        expect(await expectChain(destination)).toBe(ROWS);
        const history = historyText(
          await client.temporal.workflow.getHandle(handle.workflowId).fetchHistory(),
        );
        expect(history).toContain('${env:S3_AT}');
        for (const told of [history, third.said()])
          expect(told).not.toContain(server.env.AWS_SECRET_ACCESS_KEY);
      },
    );

    test.sequential('is run, checked and queried from the command line', async () => {
      const destination = `s3://lake/cli?endpoint=${server.url}&format=ndjson`;
      const file = folder.file('s3.json');
      await writeFile(
        file,
        JSON.stringify(configurationFor('offset', api.url, { destination, page_size: 500 })),
      );
      const env = {
        ...server.env,
        TEMPORAL_ADDRESS: inject('temporalAddress'),
        HIGHWATER_HOME: folder.file('s3-home'),
      };
      expect((await highwater(['check', file], { env })).stdout).toMatch(/s3:\/\/lake\/cli.* is reachable/s);
      const ran = await highwater(['run', file], { env });
      expect(ran.status, ran.stderr).toBe(0);
      const sql = 'SELECT count(*) AS n, count(DISTINCT id) AS ids FROM "user"';
      const count = await highwater(['query', sql, '-d', destination, '--json'], { env });
      expect(JSON.parse(count.stdout)).toEqual([{ n: ROWS, ids: ROWS }]);
      const wrong = await highwater(['check', file], { env: { ...env, AWS_SECRET_ACCESS_KEY: 'wrong-one' } });
      expect(wrong.stdout).toMatch(/refused the\s+request:\s+SignatureDoesNotMatch/);
      expect(wrong.stdout + wrong.stderr).not.toContain('wrong-one');
    });
  });
