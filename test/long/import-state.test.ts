/**
 * The state of the reference connector, imported: the next sync continues from there, as the requests that reach the
 * reference API show.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import type { DemoRecord } from '../../src/dev/demo-api.js';
import type { Json, StreamResult } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  highwater,
  PATHS,
  scratch,
  startWorker,
  tableRows,
  uniqueName,
} from '../helpers/harness.js';
import { Original, originalMissing } from '../helpers/original.js';
import { installPlayground, type Playground, startPlayground } from '../helpers/playground.js';

vi.setConfig({ testTimeout: 120_000 });

const install = await installPlayground();
const missing = originalMissing();
const address = inject('temporalAddress');

describe.skipIf(!install.available)(
  `import-state${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    let playground: Playground;
    let folder: Awaited<ReturnType<typeof scratch>>;
    let proxy: { url: string; asked: string[]; stop: () => void };
    beforeAll(async () => {
      if (!install.available) throw new Error(install.reason);
      playground = await startPlayground(install.python);
      proxy = await counting(playground.url);
      folder = await scratch();
    });
    afterAll(async () => {
      proxy.stop();
      await playground.stop();
      await folder.remove();
    });

    const command = (...args: string[]) =>
      highwater(args, { cwd: folder.path, env: { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.path } });
    const write = async (name: string, content: Json) => {
      await writeFile(folder.file(name), JSON.stringify(content));
      return name;
    };
    const served = async (path: string) =>
      ((await (await fetch(`${playground.url}${path}`)).json()) as { data: DemoRecord[] }).data;

    /** A sync with all that it asked and did. */
    async function sync(configuration: string, destination: string) {
      proxy.asked.length = 0;
      const { status, stdout, stderr } = await command('run', configuration, '-d', destination, '--json');
      expect(status, stderr).toBe(0);
      const [stream] = (JSON.parse(stdout) as { streams: StreamResult[] }).streams;
      return { records: stream?.records, asked: [...proxy.asked], stream };
    }

    test.skipIf(missing !== null).each([
      // The newest record is asked for again, for those that join its timestamp later.
      ['keyset', {}, 1, /updated_since=20/],
      ['offset', { page_size: 50 }, 0, /offset=\d{3}&limit=50$/],
      ['timestamp', {}, 1, /since=20/],
      ['replay', { buffer_hours: 0 }, 1, /since=20/],
      ['step_size', { step_size: 50, max_id: 400, id_lookback: 0 }, 0, /start_id=[2-9]\d\d&end_id=/],
    ] as const)(
      'of what the original script has left goes on where it stood: %s',
      async (strategy, more, records, first) => {
        const configuration = configurationFor(strategy, proxy.url, more);
        const original = new Original();
        expect(await original.sync(configuration)).toBeNull();
        const read = original.rows.size;
        expect(read).toBeGreaterThanOrEqual(200);
        const [file, destination] = [`${strategy}.json`, `${strategy}.duckdb`];
        await write(file, configuration);
        await write('state.json', original.state);
        const imported = await command('import-state', 'state.json', file, '-d', destination);
        expect(imported, imported.stderr).toMatchObject({ status: 0, stderr: '' });
        const [key = '', value = ''] = Object.entries(original.state)[0] ?? [];
        expect(imported.stdout).toContain(
          `user: the next ${strategy} sync continues from ${key} ${String(value)}\nDestination: ${folder.file(destination)}\n`,
        );
        const next = await sync(file, destination);
        expect(next.asked[0]).toMatch(first);
        expect(next.records).toBeLessThanOrEqual(records);
        const rest = strategy === 'step_size' ? (400 - (Number(value) - 1)) / 50 : 1;
        expect(next.asked).toHaveLength(rest);
      },
    );

    test('made by hand, in the middle of the source, leaves what comes after it to be read', async () => {
      const all = await served(`${PATHS.timestamp}?since=0001-01-01T00:00:00Z`);
      const records = [...all].sort((a, b) => (a.updatedAt < b.updatedAt ? -1 : 1));
      const mark = records[119]?.updatedAt ?? '';
      await write('half.json', configurationFor('keyset', proxy.url));
      await write('half-state.json', { last_updated_at: mark });
      const imported = await command(
        'import-state',
        'half-state.json',
        'half.json',
        '-d',
        'half.duckdb',
        '--json',
      );
      expect(JSON.parse(imported.stdout)).toEqual({
        status: 'imported',
        stream: 'user',
        strategy: 'keyset',
        checkpoint: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        replaced: false,
        destination: folder.file('half.duckdb'),
        state: { last_updated_at: mark, scroll_param: null },
      });
      await sync('half.json', 'half.duckdb');
      const second = new Date(Date.parse(mark) - 1000).toISOString().replace('.000', '');
      const after = records.filter(({ updatedAt }) => updatedAt >= second).map(({ id }) => id);
      expect([...(await tableRows(folder.file('half.duckdb'))).keys()].sort()).toEqual(after.sort());
    });

    test('is refused where the stream has a checkpoint, unless --overwrite', async () => {
      await write('full.json', configurationFor('offset', proxy.url));
      const state = await write('at-zero.json', { offset: 190 });
      const { stream } = await sync('full.json', 'full.duckdb');
      const refused = await command('import-state', state, 'full.json', '-d', 'full.duckdb');
      expect(refused).toMatchObject({ status: 1, stdout: '' });
      expect(refused.stderr).toBe(
        `highwater: table main.user already has a checkpoint for offset, offset ${String(stream?.cursor['offset'])}; ` +
          '--overwrite replaces it\n',
      );
      // Nothing has changed: the next sync continues from its own checkpoint.
      expect((await sync('full.json', 'full.duckdb')).records).toBe(1);
      const forced = await command('import-state', state, 'full.json', '-d', 'full.duckdb', '--overwrite');
      expect(forced.stdout).toContain('(its checkpoint was overwritten)');
      const again = await sync('full.json', 'full.duckdb');
      expect(again.asked[0]).toContain('offset=190&');
      expect(again.records).toBe(Number(stream?.cursor['offset']) - 190);
    });

    test('is refused while a worker owns the file, and while a workflow that holds the table runs', async () => {
      await write('held.json', { ...configurationFor('offset', proxy.url), interval: '1h' });
      const state = await write('held-state.json', { offset: 5 });
      const taskQueue = uniqueName('import');
      const worker = await startWorker({ address, taskQueue, destination: folder.file('held.duckdb') });
      const id = uniqueName('held');
      try {
        const flags = ['--task-queue', taskQueue, '--id', id];
        expect((await command('start', 'held.json', ...flags)).stderr).toBe('');
        await vi.waitFor(async () => expect((await command('status', id)).stdout).toContain('✓ up to date'), {
          timeout: 60_000,
          interval: 200,
        });
        const owned = await command('import-state', state, 'held.json', '-d', 'held.duckdb', '--overwrite');
        expect(owned).toMatchObject({ status: 1, stdout: '' });
        expect(owned.stderr).toMatch(
          new RegExp(
            `^highwater: the destination .*held\\.duckdb belongs to a running worker \\(process ${worker.pid} on .*\\)\\. Stop the worker first`,
          ),
        );
      } finally {
        await worker.end();
      }
      const client = await connect(address);
      try {
        const running = await command('import-state', state, 'held.json', '-d', 'held.duckdb', '--overwrite');
        expect(running).toMatchObject({ status: 1, stdout: '' });
        expect(running.stderr).toBe(
          `highwater: the running workflow "${id}" writes table main.user: wait until it ends or cancel it, then import\n`,
        );
      } finally {
        await client.sync(id).cancel();
        await client.close();
      }
    });

    test('that does not fit is refused with file, line and column, before a file is made', async () => {
      await write('fits.json', configurationFor('keyset', proxy.url));
      await writeFile(folder.file('other.json'), '{\n  "offset": 5,\n  "last_updated": -1\n}\n');
      const refused = await command('import-state', 'other.json', 'fits.json', '-d', 'none.duckdb');
      expect(refused).toEqual({
        status: 1,
        stdout: '',
        stderr:
          'highwater: other.json has 3 problems:\n' +
          "  other.json:2:3  offset: belongs to the state of offset, but this stream's strategy is keyset\n" +
          '  other.json:3:3  last_updated: is not a key of the state of keyset, which has last_updated_at and scroll_param ' +
          '(did you mean "last_updated_at"?)\n' +
          '  other.json:1:1  last_updated_at: is missing from the state of keyset\n',
      });
      await expect(tableRows(folder.file('none.duckdb'))).rejects.toThrow();
    });

    test('into a stream of each row of another is refused', async () => {
      await write('parents.json', {
        source: { base_url: proxy.url },
        defaults: { strategy: 'offset', columns: { id: 'STRING' } },
        streams: [
          { name: 'groups' },
          { name: 'members', path: '/${parent:id}', parent: { stream: 'groups' } },
        ],
      });
      await write('members-state.json', { offset: 7 });
      const flags = ['--stream', 'members', '-d', 'parents.duckdb'];
      const refused = await command('import-state', 'members-state.json', 'parents.json', ...flags);
      expect(refused).toEqual({
        status: 1,
        stdout: '',
        stderr:
          'highwater: members is read once for each row of groups and has a cursor for each; the state holds one cursor only\n',
      });
    });

    test('into one of several streams needs to be told which', async () => {
      const stream = { strategy: 'offset', columns: { id: 'STRING' } };
      await write('several.json', {
        source: { base_url: proxy.url },
        defaults: stream,
        streams: [{ name: 'a' }, { name: 'b', path: PATHS.offset }],
      });
      await write('b.json', { offset: 7 });
      const which = await command('import-state', 'b.json', 'several.json', '-d', 'several.duckdb');
      expect(which.stderr).toContain('there are several; choose one with --stream: a, b');
      const b = await command(
        'import-state',
        'b.json',
        'several.json',
        '-d',
        'several.duckdb',
        '--stream',
        'b',
      );
      expect(b.stdout).toContain('b: the next offset sync continues from offset 7\n');
    });
  },
);

/** Hands requests on, and remembers them. */
async function counting(to: string): Promise<{ url: string; asked: string[]; stop: () => void }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    void fetch(to + (request.url ?? '')).then(async (answer) => {
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
