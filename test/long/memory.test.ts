/** What a worker needs for wide records, as the kernel counts it. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect, inject, test } from 'vitest';
import { connect, scratch, startWorker, uniqueName } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';
import { installPostgres, startPostgres } from '../helpers/postgres.js';

/** One answer of so many records, made while it is sent; half of each is noise that nothing can compress. */
async function serve(records: number, width: number) {
  const noise = randomBytes(width / 4).toString('hex');
  const server = createServer((_request, response) => {
    let next = 0;
    response.setHeader('content-type', 'application/json');
    response.write('{"data":[');
    const more = () => {
      while (next < records) {
        const id = next++;
        const text = `${noise.slice(id)}${noise.slice(0, id)}${'x'.repeat(width / 2)}`;
        const time = new Date(Date.UTC(2026, 0, 1) + id * 1000).toISOString();
        const record = JSON.stringify({ id, text, updatedAt: time });
        if (!response.write(`${id === 0 ? '' : ','}${record}`)) return void response.once('drain', more);
      }
      response.end(']}');
    };
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, close: () => void server.close() };
}

const install = await installPostgres();
const isLinux = process.platform === 'linux';

describe.skipIf(!isLinux)(
  `wide records${isLinux ? '' : ' (skipped: only Linux tells the peak)'}`,
  { timeout: 120_000 },
  async () => {
    const folder = await scratch();
    afterAll(() => folder.remove());

    /** Syncs them into a destination. @returns the peak of the worker, in MB. */
    async function peak(records: number, width: number, destination: string, env: NodeJS.ProcessEnv = {}) {
      const source = await serve(records, width);
      const taskQueue = uniqueName('memory');
      const address = inject('temporalAddress');
      const home = { HIGHWATER_HOME: folder.file(uniqueName('home')) };
      const worker = await startWorker({ address, taskQueue, env: { ...home, ...env } });
      const client = await connect(address);
      try {
        const configuration = {
          ...{ strategy: 'timestamp' as const, base_url: source.url, destination, primary_key: 'id' },
          columns: { id: 'LONG', text: 'STRING', updatedAt: 'UTC_DATETIME' },
        };
        const handle = await client.start(configuration, { taskQueue, workflowId: uniqueName('memory') });
        expect((await handle.result()).streams[0]).toMatchObject({ rows: records });
        const status = await readFile(`/proc/${worker.pid}/status`, 'utf8');
        const most = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
        console.log(`${records} of ${width} bytes into ${destination.slice(0, 8)}…: ${Math.round(most)} MB`);
        expect(most).toBeGreaterThan(100);
        return most;
      } finally {
        await worker.end('SIGKILL');
        await client.close();
        source.close();
      }
    }

    test.skipIf(!install.available)('of a megabyte need less than 600 MB into PostgreSQL', async () => {
      if (!install.available) return;
      const server = await startPostgres(install.bin);
      try {
        expect(await peak(150, 1_000_000, server.url)).toBeLessThan(600);
      } finally {
        await server.stop();
      }
    });

    test('of a megabyte need less than 600 MB into files', async () => {
      expect(await peak(150, 1_000_000, `files:${folder.file('wide')}`)).toBeLessThan(600);
    });

    test.runIf(LONG)(
      'of 100 kB into DuckDB need what 2,048 of them have, as it reads so many at once',
      async () => {
        expect(await peak(2500, 100_000, folder.file('wide.duckdb'))).toBeLessThan(1200);
      },
    );

    test.runIf(LONG)(
      'that have no room in the memory of DuckDB say what to do, and go in with more',
      async () => {
        const destination = folder.file('wider.duckdb');
        const given = (memory: string) =>
          peak(200, 1_000_000, destination, { HIGHWATER_DUCKDB_MEMORY: memory });
        await expect(given('64MiB')).rejects.toThrow(/DuckDB ran out of memory .*HIGHWATER_DUCKDB_MEMORY/);
        await given('512MiB');
      },
    );
  },
);
