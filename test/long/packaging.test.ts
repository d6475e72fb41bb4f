/**
 * What a stranger gets from `npm install highwater`: packed here, installed into an empty folder, and used from there.
 * Needs a build, which `npm test` makes first.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, loadavg } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { LONG } from '../helpers/long.js';
import { DEFAULT_TASK_QUEUE } from '../../src/client.js';
import { configurationFor, difference, EQUAL, scratch } from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const { resolve } = createRequire(import.meta.url);
const execute = promisify(execFile);
const ROWS = 300;

let folder: Awaited<ReturnType<typeof scratch>>;
let api: TestApi;
let packed: { path: string; size: number }[];
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = await scratch();
  api = await testApi({ rows: ROWS });
  env = envWithoutTemporal({
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    HIGHWATER_HOME: folder.file('home'),
  });
  await mkdir(folder.file('packed'));
  const npm = (args: string[], cwd: string) => execute('npm', args, { cwd, maxBuffer: 64 * 1024 * 1024 });
  // The build is there: making it again would pull it from under the other tests.
  const { stdout } = await npm(
    ['pack', '--ignore-scripts', '--json', '--pack-destination', folder.file('packed')],
    repository,
  );
  const [tarball] = JSON.parse(stdout) as { filename: string; files: { path: string; size: number }[] }[];
  if (tarball === undefined) throw new Error(`npm pack said ${stdout}`);
  packed = tarball.files;
  await mkdir(folder.file('there'));
  await writeFile(there('package.json'), '{ "name": "there", "private": true, "type": "module" }\n');
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
  await npm(['install', ...quiet, `${folder.file('packed')}/${tarball.filename}`], there('.'));
}, 180_000);
afterAll(async () => {
  await api.stop();
  await folder.remove();
});

/** What a program of a stranger says, with types. */
const PROGRAM = `
import { defineStrategy, defineSync, HighwaterClient, NoSuchScheduleError, type StreamConfiguration } from 'highwater';
import { HighwaterWorker } from 'highwater/worker';
import { z } from 'zod';

declare module 'highwater' {
  interface ExtensionStrategies {
    own: true;
  }
}
const source = { base_url: 'https://api.example.com' };
const list = (name: string): StreamConfiguration => ({ name, path: \`/\${name}\`, strategy: 'page_number', primary_key: 'id' });
export const sync = defineSync({ source, streams: [list('a'), { name: 'b', strategy: 'own', options: { x: 1 } }] });
// @ts-expect-error a misspelt key
export const wrong = defineSync({ source, streams: [{ name: 'a', pth: '/a' }] });
// @ts-expect-error a misspelt strategy
export const unknown = defineSync({ source, streams: [{ name: 'a', strategy: 'owm' }] });

const own = defineStrategy({
  name: 'own',
  options: z.object({ x: z.number() }),
  create: ({ x }) => ({
    remembers: { keys: 'none', values: 'none' },
    begin: () => ({ pass: 1, mark: null, position: x, ended: null, notes: [] }),
    request: (cursor) => (cursor.ended === null ? { params: { x: x.toFixed() } } : { end: cursor.ended }),
    advance: (cursor, page) => ({ ...cursor, position: null, ended: page.more === true ? null : 'last_page' }),
    state: () => ({}),
  }),
});
const client = await HighwaterClient.connect(undefined, undefined, [own]);
const handle = await client.start(sync, { workflowId: 'x' });
const rows: number = (await handle.result()).streams.reduce((sum, stream) => sum + stream.rows, 0);
const schedule = await client.schedules.create(sync, { every: '1h' });
const worker = await HighwaterWorker.create({ extensions: [own, 'highwater-letters'] });
console.log(rows, schedule.id, NoSuchScheduleError.name, worker.taskQueue);
`;

const there = (name: string) => folder.file(`there/${name}`);

/** Runs a program in the folder, with nothing of the repository in reach. */
const run = (program: string, ...args: string[]) =>
  execute(program, args, { cwd: there('.'), env: { ...env, NODE_PATH: '' } });
const highwater = (...args: string[]) => run(there('node_modules/.bin/highwater'), ...args);

/** What a process has used of the processor, from Linux' own count of hundredths; null elsewhere. */
function processorSeconds(pid: number | undefined): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [user = NaN, system = NaN] = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
      .map(Number);
    return (user + system) / 100;
  } catch {
    return null;
  }
}

describe('the package', () => {
  test('holds the build, the documents, the example, and nothing else', () => {
    const paths = packed.map(({ path }) => path);
    for (const path of [
      'LICENSE',
      'README.md',
      'dist/cli.js',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/client.js',
      'dist/worker.js',
      'dist/workflow-bundle.cjs',
      'dist/workflow-bundle-traced.cjs',
      'docs/grafana-dashboard.json',
      'docs/alerts.yaml',
      'dist/dev/demo-api-main.js',
      'examples/start-sync.ts',
      'examples/letters-strategy/index.mjs',
      'examples/ndjson-destination/index.mjs',
      'dist/testing/index.js',
      'dist/testing/index.d.ts',
    ]) {
      expect(paths).toContain(path);
    }
    const expected =
      /^(package\.json|LICENSE|README\.md|ARCHITECTURE\.md|CONTRIBUTING\.md|CHANGELOG\.md|highwater\.schema\.json|docs\/[\w./-]+\.(md|png|json|yaml)|(examples|deploy)\/[\w./-]+|dist\/[\w./-]+\.(js|cjs|d\.c?ts)|dist\/cli-bundle\/(LICENSES\.txt|overview\.json))$/;
    expect(paths.filter((path) => !expected.test(path))).toEqual([]);
    // Tests of examples show users how to write theirs.
    const own = paths.filter((path) => !path.startsWith('examples/'));
    expect(own.filter((path) => /\.(test|spec)\.|bench|\.duckdb|\.log|\.env/i.test(basename(path)))).toEqual(
      [],
    );
    // Unpacked; each of the four bundles of the workflows has zod in it, and that of the command line all its packages.
    expect(packed.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(20_000_000);
  });

  test('is what was installed: not a link to the sources', async () => {
    const installed = await realpath(there('node_modules/highwater'));
    expect(installed).toBe(await realpath(there('.')).then((path) => `${path}/node_modules/highwater`));
    expect((await readdir(installed)).sort()).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'dist', 'examples', 'package.json']) as string[],
    );
    // With two of it among Temporal's packages, replay and large payloads fail.
    const tree = await readdir(there('node_modules'), { recursive: true });
    const copies = tree.filter(
      (path) => /(^|\/)protobufjs$/.test(path) && !path.startsWith('@grpc/proto-loader/'),
    );
    expect(copies).toEqual(['protobufjs']);
  });
});

describe('from an empty folder', () => {
  test('npx highwater says its version', async () => {
    const { version } = JSON.parse(await readFile(`${repository}package.json`, 'utf8')) as {
      version: string;
    };
    const { stdout } = await run('npx', '--no-install', 'highwater', '--version');
    expect(stdout).toBe(`${version}\n`);
  });

  test('a sync makes the table equal to the source', async () => {
    await writeFile(there('configuration.json'), JSON.stringify(configurationFor('keyset', api.url)));
    const { stdout } = await highwater('run', 'configuration.json', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', streams: [{ rows: ROWS }] });
    expect(await difference(api.client, there('highwater.duckdb'))).toEqual(EQUAL);
    const { stdout: asked } = await highwater('query', 'SELECT count(*)::INT AS n FROM "user"', '--json');
    expect(JSON.parse(asked)).toEqual([{ n: ROWS }]);
  });

  test('a sync that is a program runs, by the name of the package', async () => {
    const configuration = JSON.stringify(configurationFor('keyset', api.url, { table: 'programmed' }));
    const text = `import { defineSync } from 'highwater';\nexport default defineSync(${configuration});\n`;
    await writeFile(there('sync.mjs'), text);
    const { stdout } = await highwater('run', 'sync.mjs', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', streams: [{ rows: ROWS }] });
  });

  test.each([
    ['nodenext', '--module nodenext'],
    ...(LONG
      ? [
          ['node16', '--module node16 --moduleResolution node16'],
          ['a bundler', '--module esnext --moduleResolution bundler'],
        ]
      : []),
  ])('a strict program compiles, for %s', async (name = '', module = '') => {
    const file = `program-${name.replace(' ', '-')}.ts`;
    await writeFile(there(file), PROGRAM);
    const flags = ['--noEmit', '--strict', '--target', 'es2022', ...module.split(' '), '--types', 'node'];
    const types = ['--typeRoots', `${repository}node_modules/@types`];
    const tsc = resolve('typescript/bin/tsc');
    const { stdout } = await run(process.execPath, tsc, ...flags, ...types, file).catch(
      (thrown: unknown) => thrown as { stdout: string },
    );
    // Also without --skipLibCheck there are no others than those of the Temporal SDK.
    const errors = stdout.split('\n').filter((line) => line.includes('error TS'));
    expect(errors.filter((line) => !line.startsWith('node_modules/@temporalio/'))).toEqual([]);
  });

  test('packages that few need are not there, and what needs one says how to install it', async () => {
    const names = await readdir(there('node_modules'));
    expect(names).not.toContain('@opentelemetry');
    expect(names).not.toContain('@aws-sdk');
    const refused = async (env: NodeJS.ProcessEnv, ...args: string[]) => {
      const { stderr } = await execute(there('node_modules/.bin/highwater'), args, {
        cwd: there('.'),
        env,
      }).then(
        () => ({ stderr: 'it worked' }),
        (thrown: { stderr: string }) => thrown,
      );
      return stderr;
    };
    expect(await refused(env, 'query', '-d', 's3://lake/x', 'SELECT 1')).toMatch(
      /a destination in a bucket needs the package @aws-sdk\/client-s3\. Install it beside Highwater: npm install '@aws-sdk\/client-s3@\^3/,
    );
    const traced = { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' };
    expect(await refused(traced, 'worker', '-d', 'other.duckdb')).toMatch(
      /OpenTelemetry, .* needs the packages @opentelemetry\/api, .*Install them beside Highwater: npm install .*'@temporalio\/interceptors-opentelemetry@1\.24\.0'/,
    );
  });

  describe('with a worker', () => {
    /** Starts a worker and says after how many seconds it was ready. */
    async function startWorker(): Promise<{ child: ChildProcess; seconds: number; said: () => string }> {
      const started = Date.now();
      const child = spawn(there('node_modules/.bin/highwater'), ['worker', '-d', 'example.duckdb'], {
        cwd: there('.'),
        env,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let said = '';
      const exited = once(child, 'exit');
      const ready = new Promise<void>((done) => {
        child.stderr.setEncoding('utf8').on('data', (text: string) => {
          said += text;
          if (said.includes('Worker ready')) done();
        });
      });
      await Promise.race([ready, exited]);
      return { child, seconds: (Date.now() - started) / 1000, said: () => said };
    }
    async function stop(child: ChildProcess): Promise<void> {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }

    test('that uses the prebuilt bundle and is ready within three seconds, and the example on the typed client', async () => {
      let { child, seconds } = await startWorker();
      // Another chance for a machine that was busy with something else.
      for (let tries = 1; seconds >= 3 && tries < 4; tries++) {
        await stop(child);
        ({ child, seconds } = await startWorker());
      }
      try {
        const busy = processorSeconds(child.pid);
        const load = loadavg()[0] ?? 0;
        console.log(
          `the installed worker was ready after ${seconds.toFixed(1)} s (load ${load.toFixed(1)}; ` +
            `${busy?.toFixed(1) ?? '?'} s of processor time)`,
        );
        expect(child.exitCode).toBeNull();
        // On a machine that has more to do than it can, the clock says little.
        const crowded = load > 2 * availableParallelism() && busy !== null;
        expect(crowded ? Math.min(seconds, busy) : seconds).toBeLessThan(3);

        await copyFile(there('node_modules/highwater/examples/start-sync.ts'), there('start-sync.ts'));
        const tsc = resolve('typescript/bin/tsc');
        const strict = [
          '--noEmit',
          '--strict',
          '--target',
          'es2022',
          '--module',
          'nodenext',
          '--skipLibCheck',
        ];
        await run(process.execPath, tsc, ...strict, '--types', 'node', 'start-sync.ts');
        const loader = pathToFileURL(resolve('tsx')).href;
        const url = `${api.url}/pagination/keyset`;
        const { stdout } = await run(process.execPath, '--import', loader, 'start-sync.ts', url);
        expect(stdout).toMatch(/^started example-users, run [0-9a-f-]{36}$/m);
        expect(stdout).toContain(`rows written, ended by no_next_token`);
        expect(await difference(api.client, there('example.duckdb'))).toEqual(EQUAL);

        const failing = run(process.execPath, '--import', loader, 'start-sync.ts', `${api.url}/nothing`);
        await expect(failing).rejects.toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/^SourceRefusedError: the source answered 404/) as string,
        });
      } finally {
        await stop(child);
      }
    });

    test('that finds no bundle ends at once and says so: nothing is bundled in secret', async () => {
      const bundle = there('node_modules/highwater/dist/workflow-bundle.cjs');
      await rename(bundle, `${bundle}.away`);
      try {
        const { child, said } = await startWorker();
        await stop(child);
        expect(said()).not.toContain('Worker ready');
        expect(said()).toMatch(/^highwater: the workflow bundle .*workflow-bundle\.cjs is missing: /m);
        expect(child.exitCode).toBe(1);
      } finally {
        await rename(`${bundle}.away`, bundle);
      }
    });

    test(`takes what is started on the task queue "${DEFAULT_TASK_QUEUE}" unless told otherwise`, async () => {
      const { child, said } = await startWorker();
      expect(said()).toContain(`Worker ready on the task queue "${DEFAULT_TASK_QUEUE}".`);
      await stop(child);
      expect(child.exitCode).toBe(0);
    });
  });
});
