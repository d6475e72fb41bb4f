/** The destination of an extension, from the example package to its rows; and workers that lack it. */
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type DestinationDefinition, HighwaterClient, target } from '../../src/index.js';
import { highwater, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const address = inject('temporalAddress');

let people: { id: number; name: string }[] = [];
let server: Server;
let folder: Awaited<ReturnType<typeof scratch>>;

beforeAll(async () => {
  server = createServer((_, response) => response.end(JSON.stringify(people)));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  folder = await scratch();
  const modules = folder.file('node_modules');
  await mkdir(modules);
  await symlink(root, `${modules}/highwater`, 'dir');
  for (const name of ['zod', 'vitest', 'fast-check'])
    await symlink(`${root}node_modules/${name}`, `${modules}/${name}`, 'dir');
  await cp(`${root}examples/ndjson-destination`, `${modules}/highwater-ndjson`, { recursive: true });
  await writeFile(folder.file('people.yaml'), yamlOf('columns: { id: LONG, name: STRING }'));
  await writeFile(
    folder.file('history.yaml'),
    yamlOf('columns: { id: LONG, name: STRING }\n    mode: history'),
  );
  await writeFile(folder.file('inferred.yaml'), yamlOf(''));
});
afterAll(async () => {
  server.close();
  await folder.remove();
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const yamlOf = (more: string) => `
source: { base_url: '${url()}' }
destination: 'ndjson:./tables'
streams:
  - name: people
    path: /people
    strategy: page_number
    records: '$'
    names: { page: page }
    page_size: 100
    short_page_ends: true
    primary_key: id
    ${more}`;
const EXTENSION = { HIGHWATER_EXTENSIONS: 'highwater-ndjson' };
const run = (args: string[], env: NodeJS.ProcessEnv = EXTENSION) =>
  highwater(args, {
    cwd: folder.path,
    env: { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.file('home'), ...env },
  });

/** The names in the table, read from its files. */
async function names(tables = 'tables'): Promise<(string | null)[]> {
  const at = folder.file(`${tables}/main/people`);
  const versions = (await readdir(at)).flatMap((name) => /^(\d+)\.json$/.exec(name)?.[1] ?? []).map(Number);
  const { file } = JSON.parse(await readFile(`${at}/${Math.max(...versions)}.json`, 'utf8')) as {
    file: string;
  };
  const lines = (await readFile(`${at}/${file}`, 'utf8')).trim().split('\n');
  return lines.map((line) => (JSON.parse(line) as { name: string | null }).name);
}

describe('the destination of an extension', () => {
  test('gets rows, goes on from its checkpoint, and is known to the commands', async () => {
    people = [
      { id: 1, name: 'anna' },
      { id: 2, name: 'carl' },
    ];
    const first = await run(['run', 'people.yaml', '--json']);
    expect(first.status, first.stderr).toBe(0);
    expect(JSON.parse(first.stdout)).toMatchObject({ streams: [{ records: 2, rows: 2 }] });
    expect(await names()).toEqual(['anna', 'carl']);

    people = [
      { id: 1, name: 'anna' },
      { id: 2, name: 'cleo' },
      { id: 3, name: 'cy' },
    ];
    const second = await run(['run', 'people.yaml', '--json']);
    expect(second.status, second.stderr).toBe(0);
    expect(JSON.parse(second.stdout)).toMatchObject({ streams: [{ records: 3, rows: 2 }] });
    expect(await names()).toEqual(['anna', 'cleo', 'cy']);

    const state = await run(['state', 'get', 'people.yaml', '--json']);
    expect(state.status, state.stderr).toBe(0);
    expect(JSON.parse(state.stdout)).toMatchObject({ strategy: 'page_number' });
    const check = await run(['check', 'people.yaml']);
    expect(check.stdout + check.stderr).toMatch(
      /ndjson:\S*tables is an address of the extension; the worker opens it/,
    );
    const query = await run(['query', 'SELECT 1', '-d', 'ndjson:./tables']);
    expect(query.status).toBe(1);
    expect(query.stderr).toContain(
      'an extension writes the destinations ndjson:…, and Highwater cannot read their tables',
    );
  });

  test('is refused by a command without the extension, which says what to do', async () => {
    const { status, stderr } = await run(['config', 'people.yaml'], {});
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /people\.yaml:3:1 {2}destination: begins with "ndjson:", which is not a kind of destination; .*name the extension: HIGHWATER_EXTENSIONS/,
    );
  });

  test.skipIf(!LONG)('refuses what it does not support, with its place in the file', async () => {
    const history = await run(['config', 'history.yaml']);
    expect(history.stderr).toMatch(
      /history\.yaml:\d+:5 {2}streams\[0\]\.mode: history is not supported by this destination: omit it/,
    );
    const inferred = await run(['config', 'inferred.yaml']);
    expect(inferred.stderr).toMatch(
      /streams\[0\]\.columns: this destination cannot infer columns: declare them/,
    );
    const ofFlag = await run(['run', 'history.yaml', '-d', 'ndjson:./others']);
    expect(ofFlag.status).toBe(1);
    expect(ofFlag.stderr).toContain('history is not supported by this destination');
  });

  test.skipIf(!LONG)('passes the contract, by the test of the example package', async () => {
    // In the folder that has the package, as its author runs it.
    const cwd = folder.file('node_modules/highwater-ndjson');
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [`${root}node_modules/vitest/vitest.mjs`, 'run', '--reporter=json'],
      { cwd, env: { PATH: process.env['PATH'] } },
    ).catch((thrown: unknown) => thrown as { stdout: string });
    expect(stdout).toContain('"success":true');
  });
});

describe('a worker', () => {
  const configuration = (tables: string) => ({
    ...{ source: { base_url: url() }, destination: `ndjson:${folder.file(tables)}`, interval: '1h' },
    streams: [
      {
        ...{ name: 'people', path: '/people', strategy: 'page_number' as const, records: '$' },
        ...{ names: { page: 'page' }, page_size: 100, short_page_ends: true, primary_key: 'id' },
        columns: { id: 'LONG' as const, name: 'STRING' as const },
      },
    ],
  });
  let client: HighwaterClient;
  beforeAll(async () => {
    const module = (await import(`${folder.path}/node_modules/highwater-ndjson/index.mjs`)) as {
      default: DestinationDefinition;
    };
    client = await HighwaterClient.connect(target(address), undefined, [module.default]);
  });
  afterAll(() => client.close());

  test.skipIf(!LONG)(
    'without the extension blocks a sync that runs, until it is resumed on one that has it',
    async () => {
      people = [{ id: 1, name: 'anna' }];
      const taskQueue = uniqueName('custom-destination');
      const start = (...flags: string[]) =>
        startWorker({
          ...{ address, taskQueue, flags, cwd: folder.path, destination: folder.file(`${taskQueue}.duckdb`) },
          env: { HIGHWATER_HOME: folder.file('home') },
        });
      const WITH = ['--extension', 'highwater-ndjson'];
      let worker = await start(...WITH);
      const sync = await client.start(configuration('kept'), { taskQueue, workflowId: taskQueue });
      const isAt = (status: string) =>
        until(
          async () => (await sync.progress().catch(() => null))?.status === status,
          60,
          `the status ${status}`,
        );
      await isAt('sleeping');
      expect(await names('kept')).toEqual(['anna']);

      await worker.end();
      worker = await start();
      people = [{ id: 1, name: 'alma' }];
      await sync.trigger();
      await isAt('blocked');
      expect((await sync.progress()).trouble?.message).toMatch(
        /begins with "ndjson:", which is not a kind of destination; .*HIGHWATER_EXTENSIONS/s,
      );

      await worker.end();
      worker = await start(...WITH);
      await sync.resume();
      await until(async () => (await names('kept'))[0] === 'alma', 60, 'the new name');
      await sync.cancel();
      await worker.end();
    },
  );

  test('that trusts no configuration writes where its owner allows it, and nowhere else', async () => {
    people = [{ id: 1, name: 'anna' }];
    const taskQueue = uniqueName('custom-destination');
    const worker = await startWorker({
      ...{ address, taskQueue, cwd: folder.path, destination: folder.file(`${taskQueue}.duckdb`) },
      flags: [
        ...['--extension', 'highwater-ndjson', '--trust', 'none', '--allow-hosts', '127.0.0.1'],
        ...['--allow-destinations', `ndjson:${folder.file('allowed')}/*`],
      ],
      env: { HIGHWATER_HOME: folder.file('home') },
    });
    const start = (tables: string) =>
      client.start(
        { ...configuration(tables), interval: undefined },
        { taskQueue, workflowId: uniqueName('trusted') },
      );
    const refused = await (await start('elsewhere')).result().catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({
      type: 'NotAllowedError',
      message: expect.stringMatching(/may not use the destination ndjson:.*elsewhere/) as string,
    });
    await (await start('allowed/mine')).result();
    expect(await names('allowed/mine')).toEqual(['anna']);
    await worker.end();
  });
});
