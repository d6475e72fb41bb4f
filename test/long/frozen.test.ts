/** A worker that is frozen in the middle of a write to PostgreSQL does not hold up its stream for longer than a minute. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client, Pool, type PoolClient } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { POSTGRES_LIMITS, PostgresDestination } from '../../src/destinations/postgres/postgres.js';
import { sendLines } from '../../src/destinations/postgres/lines.js';
import { rowColumns, RowWriter } from '../../src/destinations/postgres/rows.js';
import { segmentsOf, SegmentMemory } from '../../src/destinations/postgres/segments.js';
import { RowSender } from '../../src/destinations/postgres/send-rows.js';
import { PostgresSession } from '../../src/destinations/postgres/session.js';
import { sql } from '../../src/destinations/sql/sql.js';
import {
  configurationFor,
  connect,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { testApi } from '../helpers/system.js';

const run = promisify(execFile);
const install = await installPostgres();
/** Seconds after which the servers of the test let go of a frozen worker: its own ones where there is time. */
const IDLE = LONG ? POSTGRES_LIMITS.idleSeconds : 2;

const isFrozen = async ({ pid }: WorkerProcess): Promise<boolean> =>
  (await run('ps', ['-o', 'stat=', '-p', String(pid)])).stdout.startsWith('T');

/** Sends records of a file as typed rows into the temporary table `sent`. */
async function sendRows(session: PostgresSession, file: string): Promise<void> {
  const columns = rowColumns(
    { schema: 's', table: 't', primaryKey: ['text'], columns: { text: 'STRING' } },
    () => false,
  );
  const [[type] = []] = await session.rows(
    sql`SELECT reltype FROM pg_class WHERE oid = 'pg_temp.sent'::regclass`,
  );
  const statement = sql`INSERT INTO pg_temp.sent SELECT * FROM unnest($1::pg_temp.sent[])`;
  const sender = new RowSender(session, new RowWriter(columns, false), statement, Number(type));
  await sender.prepare();
  for await (const segment of segmentsOf([file], ['text'], new SegmentMemory()))
    await sender.send(segment, null, 1);
}

describe.skipIf(!install.available || process.platform === 'win32')('a frozen writer of PostgreSQL', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    if (install.available) server = await startPostgres(install.bin);
  });
  afterAll(() => server.stop());

  it('is given up in less than a minute, and a batch has longer than that', () => {
    expect(POSTGRES_LIMITS.idleSeconds).toBeLessThan(60);
    expect(POSTGRES_LIMITS.statementSeconds).toBeGreaterThanOrEqual(600);
  });

  it.each(['transaction.half', 'commit.before'])(
    'at %s lets go of its stream, and does no harm when it wakes up',
    async (place) => {
      const api = await testApi({ rows: 300 });
      const folder = await scratch();
      const schema = uniqueName('frozen').replaceAll('-', '_');
      const taskQueue = uniqueName('frozen');
      const address = inject('temporalAddress');
      const built = (path: string) => new URL(`../../dist/${path}`, import.meta.url).href;
      const script = folder.file('freeze.mjs');
      await writeFile(
        script,
        `import { POSTGRES_LIMITS } from ${JSON.stringify(built('destinations/postgres/postgres.js'))};
         POSTGRES_LIMITS.idleSeconds = ${IDLE};
         const kill = process.kill.bind(process);
         process.kill = (pid, signal) => kill(pid, signal === 'SIGKILL' ? 'SIGSTOP' : signal);`,
      );
      const workers: WorkerProcess[] = [];
      const client = await connect(address);
      try {
        const frozen = await startWorker({
          ...{ address, taskQueue },
          env: { HIGHWATER_FAULT: `${place}:2`, NODE_OPTIONS: `--import=${script}` },
          // Its modules are those of the script only without the bundle.
          cli: fileURLToPath(built('cli/main.js')),
        });
        workers.push(frozen);
        const handle = await client.start(
          {
            ...configurationFor('keyset', api.url, { batch_rows: 50, retry_for: '5m' }),
            ...{ schema, destination: server.url },
          },
          { taskQueue, workflowId: uniqueName('frozen') },
        );
        await until(() => isFrozen(frozen), 30, 'the worker is frozen in its transaction');
        const since = Date.now();
        // Who comes next gets the stream.
        await server.query(
          `SET lock_timeout = '60s'; SELECT * FROM "${schema}"._highwater_checkpoints FOR UPDATE`,
        );
        expect((Date.now() - since) / 1000).toBeLessThan(IDLE + 10);
        expect(await isFrozen(frozen)).toBe(true);
        // Where there is time for what Temporal still sends to the frozen one.
        if (LONG) workers.push(await startWorker({ address, taskQueue }));
        else process.kill(frozen.pid, 'SIGCONT');
        const { streams } = await handle.result();
        expect(streams[0]).toMatchObject({ endRule: 'no_next_token' });
        process.kill(frozen.pid, 'SIGCONT');
        await frozen.end();
        expect(await server.query(`SELECT count(*)::int AS n FROM "${schema}"."user"`)).toEqual([{ n: 300 }]);
      } finally {
        await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
        await Promise.all([client.close(), api.stop(), folder.remove()]);
      }
    },
    LONG ? 240_000 : 60_000,
  );

  const WAYS: [string, (session: PostgresSession, file: string) => Promise<void>][] = [
    ['lines', (session, file) => sendLines(session, sql`pg_temp.lines`, sql`json`, [file])],
    ['rows', sendRows],
  ];

  it.each(WAYS)('in the middle of sending a batch as %s: the server lets go of it, too', async (_, send) => {
    const folder = await scratch();
    const client = new Client({ connectionString: server.url });
    client.on('error', () => undefined);
    try {
      await writeFile(folder.file('lines'), `${JSON.stringify({ text: 'x'.repeat(500_000) })}\n`.repeat(4));
      await server.query(
        'DROP TABLE IF EXISTS held; CREATE TABLE held (id int); INSERT INTO held VALUES (1)',
      );
      await client.connect();
      await client.query(
        `BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1s'; SET LOCAL statement_timeout = '1s';
         CREATE TEMP TABLE lines (place bigint GENERATED ALWAYS AS IDENTITY, line json);
         CREATE TEMP TABLE sent (text text); SELECT * FROM held FOR UPDATE`,
      );
      // Half of the first megabyte goes out, and nothing after it.
      const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
      const write: (chunk: Buffer) => boolean = stream.write.bind(stream);
      let isHeld = false;
      stream.write = (chunk: Buffer) => {
        if (isHeld) return true;
        isHeld = chunk.length > 100_000;
        return write(isHeld ? chunk.subarray(0, chunk.length / 2) : chunk);
      };
      const session = new PostgresSession(client as unknown as PoolClient);
      const sent = send(session, folder.file('lines'));
      await expect(sent).rejects.toThrow(/idle-in-transaction timeout|terminated/);
      expect(isHeld).toBe(true);
      await server.query(`SET lock_timeout = '1s'; UPDATE held SET id = 2`);
    } finally {
      await client.end().catch(() => undefined);
      await folder.remove();
    }
  });

  it('is what a connection that is idle for too long in its transaction is: something that passes', async () => {
    const pool = new Pool({ connectionString: server.url });
    const destination = new PostgresDestination(pool, 'here', { ...POSTGRES_LIMITS, idleSeconds: 1 });
    const now = destination as unknown as {
      transaction: (work: () => Promise<void>) => Promise<void>;
    };
    const slept = now.transaction(() => new Promise((resolve) => setTimeout(resolve, 1500)));
    await expect(slept).rejects.toMatchObject({ name: 'DestinationBusyError' });
    await destination.close();
  });
});
