/** The programs of docs/client.md and docs/worker.md are those in examples, and they do what the pages say. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { addNamespace } from '../helpers/documents.js';
import { CLI, difference, EQUAL, scratch } from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { LONG } from '../helpers/long.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

test.each([
  ['docs/client.md', 'examples/start-sync.ts'],
  ['docs/worker.md', 'examples/own-worker.ts'],
  ['docs/write-a-strategy.md', 'examples/letters-strategy/index.mjs'],
  ['docs/write-a-strategy.md', 'examples/letters-strategy/letters.test.mjs'],
  ['docs/write-a-strategy.md', 'examples/letters-strategy/package.json'],
  ['docs/write-a-destination.md', 'examples/ndjson-destination/index.mjs'],
  ['docs/write-a-destination.md', 'examples/ndjson-destination/ndjson.test.mjs'],
  ['docs/write-a-destination.md', 'examples/ndjson-destination/package.json'],
])('%s shows %s', async (page, example) => {
  const text = await readFile(root + page, 'utf8');
  const shown = [...text.matchAll(/^```(?:ts|js|json)\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
  expect(shown).toContain(await readFile(root + example, 'utf8'));
});

describe('a program', () => {
  const namespace = `programs-${process.pid}`;
  const children = new Set<ChildProcess>();
  let folder: Awaited<ReturnType<typeof scratch>>;
  let api: TestApi;

  beforeAll(async () => {
    folder = await scratch();
    api = await testApi();
    await addNamespace(inject('temporalAddress'), namespace);
    await writeFile(folder.file('package.json'), '{ "type": "module" }\n');
    await mkdir(folder.file('node_modules'));
    await symlink(root, folder.file('node_modules/highwater'), 'dir');
    for (const name of ['start-sync.ts', 'own-worker.ts'])
      await copyFile(`${root}examples/${name}`, folder.file(name));
  });
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await api.stop();
    await folder.remove();
  });

  /** Starts a program in the folder. */
  function start(...args: string[]) {
    const child = spawn(process.execPath, args, {
      cwd: folder.path,
      env: envWithoutTemporal({
        TEMPORAL_ADDRESS: inject('temporalAddress'),
        TEMPORAL_NAMESPACE: namespace,
        HIGHWATER_HOME: folder.file('home'),
      }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    const ended = once(child, 'close') as Promise<[number | null]>;
    return {
      printed: async (text: string) => {
        while (!output.includes(text) && child.exitCode === null)
          await new Promise((done) => setTimeout(done, 50));
        expect(output).toContain(text);
      },
      end: async (signal?: NodeJS.Signals) => {
        if (signal !== undefined) child.kill(signal);
        const [status] = await ended;
        return { status, output };
      },
    };
  }

  test('starts a sync, waits for it, and prints what docs/client.md shows', async () => {
    const worker = start(CLI, 'worker');
    await worker.printed('Worker ready');
    const { status, output } = await start(
      ...['--import', loader, 'start-sync.ts'],
      `${api.url}/pagination/keyset`,
    ).end();
    expect(status, output).toBe(0);
    const page = await readFile(`${root}docs/client.md`, 'utf8');
    const [, shown = ''] = /^```\n(started example-users[\s\S]*?)^```$/m.exec(page) ?? [];
    const steady = (text: string) => text.replace(/run [0-9a-f-]+/, 'run ID');
    expect(steady(output)).toBe(steady(shown));
    await worker.end('SIGTERM');
  });

  test('that leaves signals to the SDK has a worker that ends at one', async () => {
    const program = `import { HighwaterWorker } from 'highwater/worker';
      const worker = await HighwaterWorker.create();
      setTimeout(() => console.log('running'), 1000);
      await worker.run();
      console.log('ended');`;
    await writeFile(folder.file('plain-worker.js'), program);
    const worker = start('plain-worker.js');
    await worker.printed('running');
    const { output } = await worker.end('SIGINT');
    expect(output).toContain('ended');
  });

  test.skipIf(!LONG)('runs a worker of its own, and keeps one sync running on it', async () => {
    const run = async (said: string, until: () => Promise<void>) => {
      const program = start('--import', loader, 'own-worker.ts', api.url);
      await program.printed(said);
      await until();
      const { status, output } = await program.end('SIGINT');
      expect(status, output).toBe(0);
      expect(output).toBe(`${said}\n`);
    };
    const table = folder.file('example.duckdb');
    const isEqual = () =>
      expect.poll(() => difference(api.client, table).catch(() => null), { timeout: 30_000 }).toEqual(EQUAL);
    await run('started example-worker', isEqual);
    await api.client.mutate({ insert: 5 });
    await run('example-worker continues', isEqual);
  });
});
