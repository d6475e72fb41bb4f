/** Syncs into a real PostgreSQL, which is cut off, killed and restarted meanwhile. */
import { setTimeout as delay } from 'node:timers/promises';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import type { Json, ReferenceStrategy } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  highwater,
  historyText,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { makeRoom, mount, mountProblem } from '../helpers/disks.js';
import {
  installPostgres,
  makeCertificates,
  poolerProblem,
  startPostgres,
  type PostgresServer,
} from '../helpers/postgres.js';
import { VAULT_TOKEN, vaultLike } from '../helpers/providers.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const install = await installPostgres();
const [unmountable, unpooled] = await Promise.all([mountProblem(), poolerProblem()]);
const certificates = await scratch();
const untrusted = await makeCertificates(certificates.path);
const ROWS = 10_000;
const PASSWORD = 'pg-pass/word+5d';

describe.skipIf(!install.available)(
  `a sync into PostgreSQL${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    let api: TestApi;
    let server: PostgresServer;
    let client: HighwaterClient;
    let folder: Awaited<ReturnType<typeof scratch>>;
    let destination: string;
    let databases = 0;
    const workers: WorkerProcess[] = [];

    beforeAll(async () => {
      if (!install.available) return;
      api = await testApi({ rows: ROWS, max_page: 500, keyset_page: 500, latency_ms: 15 });
      server = await startPostgres(install.bin);
      client = await connect(inject('temporalAddress'));
      folder = await scratch();
      await server.query(`CREATE ROLE writer LOGIN PASSWORD '${PASSWORD}'`);
    });
    afterAll(async () => {
      for (const worker of workers) await worker.end('SIGKILL');
      await client.close();
      await server.stop();
      await api.stop();
      await folder.remove();
      await certificates.remove();
    });

    /** A database of its own, and a worker that knows the password. */
    async function bench() {
      const name = `sync${databases++}`;
      await server.query(`CREATE DATABASE ${name} OWNER writer`);
      destination = `postgresql://writer:\${env:PGSECRET}@127.0.0.1:${server.port}/${name}`;
      const taskQueue = uniqueName('postgres');
      const start = async (env: NodeJS.ProcessEnv = {}) => {
        const worker = await startWorker({
          address: inject('temporalAddress'),
          taskQueue,
          env: { PGSECRET: PASSWORD, HIGHWATER_HOME: folder.file(`home${databases}`), ...env },
        });
        workers.push(worker);
        return worker;
      };
      const sync = (strategy: ReferenceStrategy, more: { [key: string]: Json } = {}) =>
        client.start(
          configurationFor(strategy, api.url, {
            destination,
            ...(strategy === 'step_size' ? { step_size: 500, max_id: ROWS + 1000 } : { page_size: 500 }),
            batch_rows: 2000,
            retry_for: '1m',
            ...more,
          }),
          { taskQueue, workflowId: uniqueName('postgres') },
        );
      const query = (sql: string) => server.queryIn(name, sql);
      return { name, start, sync, query };
    }

    /** Every row is there as the source has it, and no batch was committed twice. */
    async function expectEqual(
      query: (sql: string) => Promise<Record<string, unknown>[]>,
      table = 'public."user"',
    ) {
      const list = await api.client.records();
      const rows = await query(`SELECT id, name, address FROM ${table} ORDER BY id COLLATE "C"`);
      const sorted = list.map(({ id, name, address }) => ({ id, name, address }));
      sorted.sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1));
      expect(rows.length).toBe(sorted.length);
      expect(rows).toEqual(sorted);
      const batches = await query(
        'SELECT id, base, "rows"::int FROM public._highwater_batches ORDER BY committed_at',
      );
      expect(batches.slice(1).map(({ base }) => base)).toEqual(batches.slice(0, -1).map(({ id }) => id));
      expect(batches.reduce((sum, { rows: count }) => sum + Number(count), 0)).toBe(sorted.length);
    }

    test.skipIf(!LONG)(
      'finds its columns by itself, and writes what was put aside once it fits',
      async () => {
        const { start, sync, query } = await bench();
        await start();
        const done = await sync('keyset', { misfits: 'evolve', column_names: 'snake_case' });
        expect((await done.result()).streams[0]).toMatchObject({ rows: ROWS });
        await expectEqual(query);
        const types = await query(
          `SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_name = 'user' ORDER BY ordinal_position`,
        );
        expect(types).toContainEqual({ name: 'updated_at', type: 'timestamp with time zone' });
        expect(types).toContainEqual({ name: 'id', type: 'text' });
        await query(
          `INSERT INTO _highwater_rejects VALUES ('b', 'public', 'user', 'keyset', 's', '', 'why', '{"id":"late","name":5,"createdAt":"2026-01-01T00:00:00Z"}', now())`,
        );
        const file = folder.file('retry.json');
        await writeFile(
          file,
          JSON.stringify(
            configurationFor('keyset', api.url, {
              destination,
              misfits: 'evolve',
              column_names: 'snake_case',
            }),
          ),
        );
        const retried = await highwater(['rejects', '--retry', file], { env: { PGSECRET: PASSWORD } });
        expect(retried.stdout).toBe('user: 1 of 1 record fit now; 1 row inserted or updated.\n');
        expect(await query(`SELECT name, created_at IS NULL AS empty FROM "user" WHERE id = 'late'`)).toEqual(
          [{ name: '5', empty: false }],
        );
      },
    );

    test('is exact, goes on from its checkpoint, and tells nobody the password', async () => {
      const { start, sync, query } = await bench();
      const worker = await start();
      const first = await sync('keyset');
      expect((await first.result()).streams[0]).toMatchObject({ rows: ROWS });
      await expectEqual(query);
      expect((await (await sync('keyset')).result()).streams[0]).toMatchObject({ rows: 0 });
      const history = await client.temporal.workflow.getHandle(first.workflowId).fetchHistory();
      const text = historyText(history);
      expect(text).toContain('${env:PGSECRET}');
      for (const told of [text, worker.said()]) {
        expect(told).not.toContain(PASSWORD);
        expect(told).not.toContain(encodeURIComponent(PASSWORD));
      }
    });

    test('survives that its connections are cut, in the middle of a COPY or a commit', async () => {
      const { name, start, sync, query } = await bench();
      await start();
      const handle = await sync('offset');
      const batches = () => query('SELECT 1 FROM public._highwater_batches').catch(() => []);
      await until(async () => (await batches()).length > 0, 20, 'a batch');
      let cut = 0;
      let isDone = false;
      const cutting = (async () => {
        while (!isDone && cut < 5) {
          const rows = await server.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}' AND application_name = 'highwater' AND state <> 'idle'`,
          );
          cut += rows.length;
          await delay(20);
        }
      })();
      await handle.result();
      isDone = true;
      await cutting;
      expect(cut).toBeGreaterThan(0);
      await expectEqual(query);
    });

    test.skipIf(!LONG)('survives that the server is killed and comes back', async () => {
      const { start, sync, query } = await bench();
      await start();
      await api.client.reset();
      const handle = await sync('keyset');
      await until(async () => (await api.client.stats()).requests > 8, 20, 'some pages');
      await server.kill();
      await delay(1000);
      await server.start();
      await handle.result();
      await expectEqual(query);
    });

    test('goes on in another worker when its own is killed', async () => {
      const { start, sync, query } = await bench();
      const worker = await start();
      await start();
      const handle = await sync('step_size', { table: 'user' });
      await until(
        async () =>
          (await query('SELECT count(*)::int AS n FROM public._highwater_batches').catch(() => []))[0]?.[
            'n'
          ] !== 0,
        20,
        'a batch',
      );
      await worker.end('SIGKILL');
      await handle.result();
      const rows = await query('SELECT count(*)::int AS n, count(DISTINCT id)::int AS d FROM public."user"');
      expect(rows).toEqual([{ n: ROWS, d: ROWS }]);
    });

    test.skipIf(unmountable !== null)(
      `whose disk is full says so, and goes on once there is room${unmountable ?? ''}`,
      async (context) => {
        const { name, start, sync, query } = await bench();
        const disk = `${server.folder}/disk`;
        await mount(context, disk, '1500k');
        await server.own(disk);
        await server.query(`CREATE TABLESPACE small LOCATION '${disk}'`);
        await server.query(`GRANT CREATE ON TABLESPACE small TO writer`);
        await server.query(`ALTER DATABASE ${name} SET default_tablespace = small`);
        await start();
        const handle = await sync('offset', { retry_for: '5m' });
        const trouble = async () => (await handle.work()).retry?.message ?? '';
        await until(async () => (await trouble()) !== '', 30, 'trouble');
        expect(await trouble()).toMatch(
          /^there is no space left for the destination postgresql:.*could not extend file.*Free some space/s,
        );
        await makeRoom(disk);
        await handle.result();
        await expectEqual(query);
      },
    );

    test.skipIf(unpooled !== null)(
      `through a pooler that gives a connection to each transaction is exact${unpooled ?? ''}`,
      async () => {
        const { name, start, sync, query } = await bench();
        const pooler = await server.pooled();
        try {
          await start();
          const through = { destination: `postgresql://any@127.0.0.1:${pooler.port}/${name}` };
          const handles = [
            await sync('keyset', through),
            await sync('offset', { ...through, schema: 'two' }),
            await sync('step_size', { ...through, schema: 'three' }),
          ];
          for (const handle of handles)
            expect((await handle.result()).streams[0]).toMatchObject({ rows: ROWS });
          await expectEqual(query);
        } finally {
          await pooler.stop();
        }
      },
    );

    test.skipIf(untrusted !== null)(
      `over TLS trusts whom it is told to trust, and nobody else${untrusted ?? ''}`,
      async () => {
        if (!install.available) return;
        const { start, sync } = await bench();
        const safe = await startPostgres(install.bin, { certificates: certificates.path });
        try {
          await start();
          const over = (words: string) => ({ destination: `${safe.url}?sslmode=verify-full${words}` });
          const trusted = await sync('keyset', over(`&sslrootcert=${certificates.file('ca.pem')}`));
          await until(
            async () =>
              (
                await safe.query(
                  `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'highwater'`,
                )
              ).some(({ ssl }) => ssl === true),
            20,
            'a connection over TLS',
          );
          await trusted.result();
          expect(await safe.query('SELECT count(*)::int AS n FROM public."user"')).toEqual([{ n: ROWS }]);
          const stranger = await sync('keyset', over(''));
          await expect(stranger.result()).rejects.toThrow(
            /postgresql:\/\/highwater@127[^ ]* refused the connection: .*certificate/,
          );
        } finally {
          await safe.stop();
        }
      },
    );

    test.skipIf(!LONG)('of two strategies writes two tables side by side, by two workers', async () => {
      const { start, sync, query } = await bench();
      await start();
      await start();
      const handles = [
        await sync('keyset', { table: 'by_key', schema: 'one' }),
        await sync('offset', { table: 'by_offset', schema: 'two' }),
      ];
      for (const handle of handles) await handle.result();
      const [counts] = await query(
        'SELECT (SELECT count(*)::int FROM one.by_key) AS a, (SELECT count(*)::int FROM two.by_offset) AS b',
      );
      expect(counts).toEqual({ a: ROWS, b: ROWS });
    });

    test('that cannot get in says why, without the password', async () => {
      const { sync, start } = await bench();
      await start();
      const handle = await sync('keyset', {
        destination: `postgresql://nobody_there:\${env:PGSECRET}@127.0.0.1:${server.port}/none`,
      });
      const failure = await handle.result().then(
        () => null,
        (thrown: unknown) => thrown as Error,
      );
      expect(failure?.message).toMatch(
        /postgresql:\/\/nobody_there@127\.0\.0\.1:\d+\/none refused the connection: .*does not exist/,
      );
      expect(failure?.message).not.toContain(PASSWORD);
    });

    test.skipIf(!LONG)(
      'whose password is changed goes on by the new one, without a restart of the worker',
      async () => {
        const { name, start, sync, query } = await bench();
        await start();
        const file = folder.file('password');
        const more = { destination: `postgresql://writer:\${file:${file}}@127.0.0.1:${server.port}/${name}` };
        const change = async (password: string) => {
          await writeFile(file, password);
          await server.query(`ALTER ROLE writer PASSWORD '${password}'`);
        };
        try {
          await writeFile(file, 'not it');
          await expect((await sync('offset', more)).result()).rejects.toThrow(
            /refused the connection: password authentication failed/,
          );
          await change('first');
          expect((await (await sync('offset', more)).result()).streams[0]).toMatchObject({ rows: ROWS });
          await change('second');
          await server.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
          );
          expect((await (await sync('offset', more)).result()).streams[0]).toMatchObject({ rows: 0 });
          expect(await query('SELECT count(*)::int AS n FROM public."user"')).toEqual([{ n: ROWS }]);
        } finally {
          await change(PASSWORD);
        }
      },
    );

    test.skipIf(!LONG)(
      'whose password is changed in Vault goes on by the new one, although the old one is kept for its lease',
      async () => {
        const { name, start, sync } = await bench();
        const vault = await vaultLike();
        const change = async (password: string, inVault = password) => {
          vault.secrets.set('kv/pg', { data: { password: inVault } });
          await server.query(`ALTER ROLE writer PASSWORD '${password}'`);
        };
        await start({ VAULT_ADDR: vault.url, VAULT_TOKEN, VAULT_NAMESPACE: 'team' });
        const more = {
          destination: `postgresql://writer:\${vault:kv/pg#password}@127.0.0.1:${server.port}/${name}`,
        };
        try {
          await change('first/pass%1');
          expect((await (await sync('offset', more)).result()).streams[0]).toMatchObject({ rows: ROWS });
          expect(vault.asked).toEqual(['kv/pg']);
          await change('second/pass%2');
          await server.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
          );
          expect((await (await sync('offset', more)).result()).streams[0]).toMatchObject({ rows: 0 });
          expect(vault.asked).toEqual(['kv/pg', 'kv/pg']);
          await change('third/pass%3', 'not it');
          await server.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
          );
          await expect((await sync('offset', more)).result()).rejects.toThrow(
            /refused the connection: password authentication failed/,
          );
        } finally {
          await change(PASSWORD);
          await vault.stop();
        }
      },
    );

    test('is run, checked and queried from the command line', async () => {
      const { sync: _, name } = await bench();
      const file = folder.file('pg.json');
      await writeFile(
        file,
        JSON.stringify(configurationFor('offset', api.url, { destination, page_size: 500 })),
      );
      const env = {
        PGSECRET: PASSWORD,
        TEMPORAL_ADDRESS: inject('temporalAddress'),
        HIGHWATER_HOME: folder.file('cli-home'),
      };
      const check = await highwater(['check', file], { env });
      expect(check.stdout).toMatch(
        /postgresql:\/\/writer@127\.0\.0\.1:\d+\/sync\d+ is\s+reachable: PostgreSQL/,
      );
      const run = await highwater(['run', file], { env });
      expect(run.status, run.stderr).toBe(0);
      const query = await highwater(
        ['query', 'SELECT count(*) AS n FROM "user"', '--destination', destination, '--json'],
        { env },
      );
      expect(JSON.parse(query.stdout)).toEqual([{ n: ROWS }]);
      const write = await highwater(['query', 'DELETE FROM "user"', '--destination', destination], { env });
      expect(write.status).toBe(1);
      expect(write.stderr).toMatch(/read-only/);
      expect(await server.queryIn(name, 'SELECT count(*)::int AS n FROM "user"')).toEqual([{ n: ROWS }]);
      const wrong = await highwater(['check', file], { env: { ...env, PGSECRET: 'other' } });
      for (const { stdout, stderr } of [check, run, query, write, wrong])
        expect(stdout + stderr).not.toContain(PASSWORD);
    });
  },
);
