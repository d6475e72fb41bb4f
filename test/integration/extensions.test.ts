/** The strategy of an extension, from the example package to the table; and workers that lack it. */
import { execFile } from 'node:child_process';
import { cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { query } from '../../src/cli/query.js';
import {
  type Configuration,
  HighwaterClient,
  type StrategyDefinition,
  SyncFailedError,
  target,
} from '../../src/index.js';
import { highwater, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const address = inject('temporalAddress');
const PAGE = 2;

/** A directory that answers for one letter at a time. */
let people: { id: string; name: string }[] = [];
let server: Server;
let folder: Awaited<ReturnType<typeof scratch>>;
let requests: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request.url ?? '');
    const { searchParams } = new URL(request.url ?? '', 'http://x');
    const found = people.filter(({ name }) => name.startsWith(searchParams.get('letter') ?? '?'));
    const from = Number(searchParams.get('page_token') ?? 0);
    const next = from + PAGE < found.length ? String(from + PAGE) : null;
    response.end(JSON.stringify({ people: found.slice(from, from + PAGE), next }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  folder = await scratch();
  const modules = folder.file('node_modules');
  await mkdir(modules);
  await symlink(root, `${modules}/highwater`, 'dir');
  for (const name of ['zod', 'vitest', 'fast-check'])
    await symlink(`${root}node_modules/${name}`, `${modules}/${name}`, 'dir');
  await cp(`${root}examples/letters-strategy`, `${modules}/highwater-letters`, { recursive: true });
  await writeFile(folder.file('people.yaml'), yamlOf(''));
  await writeFile(folder.file('wrong.yaml'), yamlOf('').replace("letters: 'abc'", "letterz: 'abc'"));
});
afterAll(async () => {
  server.close();
  await folder.remove();
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const yamlOf = (more: string) => `
source: { base_url: '${url()}' }
streams:
  - name: people
    path: /people
    strategy: letters
    options: { letters: 'abc' }
    records: people
    next: { token: next }
    names: { scroll_param: page_token }
    primary_key: id
    deletes: hard
    max_deletes: any
${more}`;

const NAMES = ['anna', 'adam', 'alma', 'carl', 'cleo', 'carla', 'cora', 'cy'];
const peopleOf = (names: readonly string[]) => names.map((name, i) => ({ id: `${i}`, name }));
const EXTENSION = { HIGHWATER_EXTENSIONS: 'highwater-letters' };
const run = (args: string[], env: NodeJS.ProcessEnv = EXTENSION) =>
  highwater(args, {
    cwd: folder.path,
    env: { TEMPORAL_ADDRESS: address, HIGHWATER_HOME: folder.file('home'), ...env },
  });
const names = async (file: string) =>
  (await query(folder.file(file), 'SELECT name FROM people ORDER BY name')).rows.map(([name]) => name);

describe('the strategy of an extension', () => {
  test('reads a source, resumes, deletes what is gone, and is shown under its name', async () => {
    people = peopleOf(NAMES);
    requests = [];
    const first = await run(['run', 'people.yaml', '-d', 'people.duckdb', '--json']);
    expect(first.status, first.stderr).toBe(0);
    expect(JSON.parse(first.stdout)).toMatchObject({
      streams: [{ strategy: 'letters', records: 8, rows: 8, endRule: 'last_page', cursor: { letter: null } }],
    });
    expect(await names('people.duckdb')).toEqual([...NAMES].sort());
    expect(requests).toEqual([
      ...['/people?letter=a', '/people?letter=a&page_token=2', '/people?letter=b', '/people?letter=c'],
      ...['/people?letter=c&page_token=2', '/people?letter=c&page_token=4'],
    ]);

    people = people.filter(({ name }) => name !== 'carl');
    const second = await run(['run', 'people.yaml', '-d', 'people.duckdb', '--json']);
    expect(second.status, second.stderr).toBe(0);
    expect(await names('people.duckdb')).toEqual(NAMES.filter((name) => name !== 'carl').sort());

    const state = await run(['state', 'get', 'people.yaml', '-d', 'people.duckdb', '--json']);
    expect(JSON.parse(state.stdout)).toMatchObject({ strategy: 'letters', state: { letter: null } });
    const preview = await run(['preview', 'people.yaml', '--json']);
    expect(preview.status, preview.stderr).toBe(0);
    expect(preview.stdout).toContain('anna');
    const check = await run(['check', 'people.yaml']);
    expect(check.stdout + check.stderr).toContain('/people?letter=a');
  });

  test('that never says that a pass has ended fails the sync instead of asking for ever', async () => {
    await writeFile(
      folder.file('endless.mjs'),
      `import { z } from 'zod';
export default {
  name: 'endless',
  options: z.object({}),
  create: () => ({
    remembers: { keys: 'none', values: 'none' },
    begin: () => ({ pass: 1, mark: null, position: null, ended: null, notes: [] }),
    request: () => ({ end: 'last_page' }),
    advance: (cursor) => cursor,
    state: () => ({}),
  }),
};
`,
    );
    const endless = yamlOf('')
      .replace('strategy: letters', 'strategy: endless')
      .replace(/options: .*/, 'options: {}');
    await writeFile(folder.file('endless.yaml'), endless.replace(/ +(deletes|max_deletes): .*\n/g, ''));
    const { status, stderr } = await run(['run', 'endless.yaml'], { HIGHWATER_EXTENSIONS: './endless.mjs' });
    expect(status).toBe(1);
    expect(stderr).toContain('endless ended the pass in request(), but its cursor has no "ended"');
  });

  test('is refused by a command without the extension, which says what to do', async () => {
    const { status, stderr } = await run(['config', 'people.yaml'], {});
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /people\.yaml:6:5 {2}streams\[0\]\.strategy: "letters" is not one of keyset, .*; if it is an extension's, name the extension: HIGHWATER_EXTENSIONS/,
    );
  });

  test('has its options checked by the schema of the extension, with their place in the file', async () => {
    const { stderr } = await run(['config', 'wrong.yaml']);
    expect(stderr).toMatch(/wrong\.yaml:7:5 {2}streams\[0\]\.options: Unrecognized key: "letterz"/);
  });

  test('that is not installed is named, with the command that installs it', async () => {
    const { status, stderr } = await run(['config', 'people.yaml'], {
      HIGHWATER_EXTENSIONS: 'highwater-none',
    });
    expect(status).toBe(1);
    expect(stderr).toContain(
      'the extension highwater-none cannot be loaded: it is not installed: run "npm install highwater-none"',
    );
  });

  test.skipIf(!LONG)('passes the laws, by the test of the example package', async () => {
    // In the folder that has the package, as its author runs it.
    const cwd = folder.file('node_modules/highwater-letters');
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [`${root}node_modules/vitest/vitest.mjs`, 'run', '--reporter=json'],
      { cwd, env: { PATH: process.env['PATH'] } },
    ).catch((thrown: unknown) => thrown as { stdout: string });
    expect(stdout).toContain('"success":true');
  });
});

describe('a worker', () => {
  const configuration = (): Configuration => ({
    source: { base_url: url() },
    streams: [
      {
        ...{ name: 'people', path: '/people', options: { letters: 'abc' }, records: 'people' },
        ...{ next: { token: 'next' }, names: { scroll_param: 'page_token' }, primary_key: 'id' },
        // This test declares no member of ExtensionStrategies.
        strategy: 'letters' as 'keyset',
      },
    ],
  });
  let client: HighwaterClient;
  beforeAll(async () => {
    const module = (await import(`${folder.path}/node_modules/highwater-letters/index.mjs`)) as {
      default: StrategyDefinition;
    };
    client = await HighwaterClient.connect(target(address), undefined, [module.default]);
  });
  afterAll(() => client.close());

  const start = (taskQueue: string, ...flags: string[]) =>
    startWorker({
      ...{ address, taskQueue, flags, cwd: folder.path },
      destination: folder.file(`${taskQueue}.duckdb`),
      env: { HIGHWATER_HOME: folder.file('home') },
    });
  const WITH = ['--extension', 'highwater-letters'];

  test('without the extension fails a sync that starts, and says how its owner can add it', async () => {
    const taskQueue = uniqueName('extensions');
    const worker = await start(taskQueue);
    const sync = await client.start(configuration(), { taskQueue, workflowId: taskQueue });
    const thrown: unknown = await sync.result().catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(SyncFailedError);
    expect(thrown).toMatchObject({
      type: 'ConfigurationError',
      message: expect.stringMatching(
        /"letters" is not one of .*HIGHWATER_EXTENSIONS, or --extension of a worker/s,
      ) as string,
    });
    await worker.end();
  });

  test('without the extension blocks a sync that runs, until it is resumed on one that has it', async () => {
    people = peopleOf(NAMES);
    const taskQueue = uniqueName('extensions');
    let worker = await start(taskQueue, ...WITH);
    const sync = await client.start(
      { ...configuration(), interval: '1h' },
      { taskQueue, workflowId: taskQueue },
    );
    const isAt = (status: string) =>
      until(
        async () => (await sync.progress().catch(() => null))?.status === status,
        60,
        `the status ${status}`,
      );
    await isAt('sleeping');
    expect(await names(`${taskQueue}.duckdb`)).toEqual([...NAMES].sort());

    await worker.end();
    worker = await start(taskQueue);
    await sync.trigger();
    await isAt('blocked');
    expect((await sync.progress()).trouble?.message).toMatch(
      /"letters" is not one of .*HIGHWATER_EXTENSIONS/s,
    );

    await worker.end();
    worker = await start(taskQueue, ...WITH);
    people = peopleOf([...NAMES, 'bert']);
    await sync.resume();
    await isAt('sleeping');
    expect(await names(`${taskQueue}.duckdb`)).toContain('bert');
    await sync.stop();
    await sync.result();
    await worker.end();
  });
});
