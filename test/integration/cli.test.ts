/**
 * The command line as a user has it: processes of their own, a folder of their own, exit codes, and what stands on
 * the screen.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { wholeProgram } from '../../src/cli/program.js';
import type { DemoRecord, DemoSettingsPatch } from '../../src/dev/demo-api.js';
import { portAnswers } from '../../src/dev/ports.js';
import { stopRecordedServer } from '../../src/dev/temporal-server.js';
import type { Json, StrategyName, StreamResult } from '../../src/protocol.js';
import {
  CLI,
  configurationFor,
  connect,
  difference,
  EQUAL,
  highwater,
  PATHS,
  rowText,
  scratch,
  startWorker,
  tableRows,
  uniqueName,
  until,
} from '../helpers/harness.js';
import { installPlayground, startPlayground } from '../helpers/playground.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { LONG } from '../helpers/long.js';

vi.setConfig({ maxConcurrency: 5, testTimeout: 150_000 });

const ROWS = 130;
const address = inject('temporalAddress');
const STRATEGIES = Object.keys(PATHS) as StrategyName[];
const FILE = 'highwater.duckdb';
/** Milliseconds an answer, so that a sync is still in the middle when a test looks; switched off when it has. */
const SLOW = 500;

let client: HighwaterClient;
beforeAll(async () => {
  client = await connect(address);
});
afterAll(() => client.close());

/** A user at work: a folder, an API, and the command line in between. */
interface Desk {
  api: TestApi;
  folder: string;
  file: (name: string) => string;
  env: NodeJS.ProcessEnv;
  /** Writes a file and says its name. */
  write: (name: string, content: string | { [key: string]: Json }) => Promise<string>;
  /** Runs a command to its end. */
  run: (...args: string[]) => Promise<Ended>;
  /** Starts a command; it is killed at the end of the test at the latest. */
  begin: (...args: string[]) => Running;
  /** Names in the folder besides the configuration. */
  made: () => Promise<string[]>;
}

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

interface Running {
  child: ChildProcess;
  said: Ended;
  ended: Promise<Ended>;
}

async function atDesk<T>(
  settings: DemoSettingsPatch,
  use: (desk: Desk) => Promise<T>,
  env: NodeJS.ProcessEnv = { TEMPORAL_ADDRESS: address },
): Promise<T> {
  const api = await testApi({ rows: ROWS, ...settings });
  const folder = await scratch();
  const home = await scratch();
  const running: Running[] = [];
  const own = { HIGHWATER_HOME: home.path, HIGHWATER_TEMPORAL_CLI: inject('temporalCli'), ...env };
  const options = { env: own, cwd: folder.path };
  const files = new Set<string>();
  try {
    return await use({
      api,
      folder: folder.path,
      file: folder.file,
      env: own,
      write: async (name, content) => {
        files.add(name);
        await writeFile(folder.file(name), typeof content === 'string' ? content : JSON.stringify(content));
        return name;
      },
      run: (...args) => highwater(args, options),
      begin: (...args) => {
        const begun = begin(args, options);
        running.push(begun);
        return begun;
      },
      made: async () => (await readdir(folder.path)).filter((name) => !files.has(name)),
    });
  } finally {
    for (const { child, ended } of running) {
      child.kill('SIGKILL');
      await ended;
    }
    await api.stop();
    await stopRecordedServer({ stateDir: home.path });
    await folder.remove();
    await home.remove();
  }
}

function begin(args: string[], options: { env: NodeJS.ProcessEnv; cwd: string }): Running {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: envWithoutTemporal(options.env),
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: Ended = { status: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  const ended = once(child, 'close').then(([status]) =>
    Object.assign(said, { status: status as number | null }),
  );
  return { child, said, ended };
}

/** What `--json` promises: the last line of standard output. */
interface Answer {
  status: string;
  error?: { type: string; message: string };
  streams: (StreamResult & { workflowId: string; runId: string })[];
}
const answerOf = ({ stdout }: Ended) => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Answer;
const streamOf = (ended: Ended) => {
  const [stream] = answerOf(ended).streams;
  if (stream === undefined) throw new Error(`no stream in ${ended.stdout}${ended.stderr}`);
  return stream;
};

/** Standard error without the lines that say how far a sync is: on a slow machine they come sooner. */
const quiet = (ended: Ended): Ended => ({
  ...ended,
  stderr: ended.stderr.replace(
    /^(Sync: .*|\w+: (\d+%|([\d,]+ records?|done|opening|running|waiting|retrying|failing|no answer|no worker)\b).*)\n/gm,
    '',
  ),
});

const requests = async ({ api }: Desk) => (await api.client.stats()).requests;

/** The configuration of the reference connector, as its documentation has it: a comment, numbers as text. */
const reference = (url: string) => `{
  "strategy": "keyset", // Change the strategy to try different sync methods
  "base_url": "${url}/pagination/keyset",
  "page_size": "100",
  "initial_id": "1",
  "step_size": "1000",
  "max_id": "100000",
  "buffer_hours": "2"
}
`;

/** Two runs into one file; the first one's worker owns it, and is gone while the second is in the middle. */
async function shortAndLong(desk: Desk): Promise<{ short: Ended; long: Ended }> {
  const other = await testApi({ rows: 5000, latency_ms: SLOW });
  const file = desk.file(FILE);
  try {
    await desk.write('short.json', { ...configurationFor('keyset', desk.api.url), table: 'short' });
    await desk.write('long.json', { ...configurationFor('keyset', other.url), table: 'long' });
    const short = desk.begin('run', 'short.json');
    await until(async () => (await requests(desk)) > 0, 60, 'the first request of the short one');
    const long = desk.begin('run', 'long.json');
    await until(
      async () => (await other.client.stats()).requests > 0,
      60,
      'the first request of the long one',
    );
    const { pid } = JSON.parse(await readFile(`${file}.owner`, 'utf8')) as { pid: number };
    expect(pid).toBe(short.child.pid);
    await desk.api.client.set({ latency_ms: 0 });
    const first = quiet(await short.ended);
    expect(long.child.exitCode).toBeNull();
    expect((await other.client.stats()).requests).toBeLessThan(100);
    await other.client.set({ latency_ms: 0 });
    const second = quiet(await long.ended);
    for (const ended of [first, second]) expect(ended).toMatchObject({ status: 0 });
    expect(await difference(desk.api.client, file, { table: 'short' })).toEqual(EQUAL);
    expect(await difference(other.client, file, { table: 'long' })).toEqual(EQUAL);
    expect(await desk.made()).toEqual([FILE]);
    return { short: first, long: second };
  } finally {
    await other.stop();
  }
}

describe.concurrent('highwater run', () => {
  test('takes the configuration of the reference connector as it is, and leaves one file: the table equals the source', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('configuration.json', reference(desk.api.url));
      const { status, stdout, stderr } = quiet(await desk.run('run', 'configuration.json'));
      expect(stderr).toBe('');
      expect(status).toBe(0);
      const [header, , row] = stdout.split('\n');
      expect(header).toBe('stream  strategy  records  rows written  pages  batches  ended by       cursor');
      expect(row?.split(/\s{2,}/)).toEqual([
        'user',
        'keyset',
        '133',
        '130',
        '3',
        '1',
        'no_next_token',
        'last_updated_at 2026-01-01T01:04:30Z',
      ]);
      expect(await desk.made()).toEqual([FILE]);
      expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
    });
  });

  test('again goes on from the checkpoint and reads little; with --full it reads everything', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('configuration.json', reference(desk.api.url));
      const first = streamOf(await desk.run('run', 'configuration.json', '--json'));
      await desk.api.client.mutate({ insert: 3, update: 2 });
      const before = await requests(desk);
      const ended = quiet(await desk.run('run', 'configuration.json', '--json'));
      const again = streamOf(ended);
      expect(ended.stderr).toBe('');
      expect(again.rows).toBe(5);
      expect(again.records).toBeLessThan(10);
      expect((await requests(desk)) - before).toBe(1);
      expect(again.workflowId).toBe(first.workflowId);
      expect(again.runId).not.toBe(first.runId);

      const full = streamOf(await desk.run('run', 'configuration.json', '--json', '--full'));
      expect(full.records).toBeGreaterThanOrEqual(ROWS + 3);
      expect(full.rows).toBe(0);
      expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
    });
  });

  test('with --json ends standard output with one object of the documented members', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('configuration.json', { ...configurationFor('offset', desk.api.url), schema: 'api' });
      const { status, stdout } = await desk.run('run', 'configuration.json', '--json', '-d', 'users.duckdb');
      expect(status).toBe(0);
      expect(stdout.trimEnd().split('\n')).toHaveLength(1);
      const answer = JSON.parse(stdout) as Answer;
      const [stream] = answer.streams;
      expect(answer).toEqual({
        status: 'completed',
        streams: [
          {
            stream: 'user',
            strategy: 'offset',
            records: 133 - 1,
            rows: ROWS,
            pages: 3,
            batches: 1,
            rejected: 0,
            deleted: 0,
            endRule: 'total_reached',
            cursor: { offset: ROWS },
            warnings: [{ code: 'updates_unseen', message: expect.any(String) as string }],
            workflowId: expect.stringMatching(/^user-offset-[0-9a-f]{8}$/) as string,
            runId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
          },
        ],
      });
      expect(await client.sync(stream?.workflowId ?? '').status()).toBe('COMPLETED');
      expect(await desk.made()).toEqual(['users.duckdb']);
      expect(await difference(desk.api.client, desk.file('users.duckdb'), { schema: 'api' })).toEqual(EQUAL);
    });
  });

  test('of a sync that fails exits 1 with one clear message; --json says so too', async () => {
    await atDesk({}, async (desk) => {
      const configuration = {
        ...configurationFor('keyset', desk.api.url),
        base_url: `${desk.api.url}/nothing`,
      };
      await desk.write('configuration.json', configuration);
      const message =
        'the source answered 404 Not Found: Not Found The requested URL was not found on the server. If you entered ' +
        'the URL manually please check your spelling and try again.\n' +
        `  request: GET ${desk.api.url}/nothing?updated_since=0001-01-01T00:00:00Z`;
      const plain = quiet(await desk.run('run', 'configuration.json'));
      const next = 'next: fix the cause, then run it again; it continues from its checkpoint\n';
      expect(plain).toEqual({ status: 1, stdout: '', stderr: `highwater: ${message}\n${next}` });
      const json = quiet(await desk.run('run', 'configuration.json', '--json'));
      expect(json).toMatchObject({ status: 1, stderr: `highwater: ${message}\n` });
      expect(answerOf(json)).toEqual({
        status: 'failed',
        error: { type: 'SourceRefusedError', message },
        streams: [],
      });
    });
  });

  test('refuses a bad configuration with every problem at once, before anything is fetched, written or started', async () => {
    await atDesk(
      {},
      async (desk) => {
        await desk.write('bad.json', {
          strategy: 'keysett',
          base_url: desk.api.url.replace('http://', ''),
          page_sise: 100,
          step_size: 'many',
          max_id: -1,
          primary_key: ['uid'],
          columns: { id: 'STRNG' },
          interval: 'often',
        });
        const { status, stdout, stderr } = await desk.run('run', 'bad.json', '--json');
        expect(status).toBe(1);
        const problems = stderr.split('\n').filter((line) => line.startsWith('  '));
        const paths = problems.map((line) => /^ {2}bad\.json:1:\d+ {2}([\w.]+): /.exec(line)?.[1]);
        expect(paths.sort()).toEqual(
          ['base_url', 'columns.id', 'interval', 'max_id', 'page_sise', 'step_size', 'strategy'].sort(),
        );
        expect(stderr).toContain('(did you mean "keyset"?)');
        expect(stderr).toContain('(did you mean "page_size"?)');
        expect(stderr).toContain('(did you mean "STRING"?)');
        expect(stderr).toMatch(/^highwater: bad\.json has \d problems:\n/);
        expect(answerOf({ status, stdout, stderr })).toMatchObject({
          status: 'failed',
          error: { type: 'ConfigurationError' },
          streams: [],
        });
        expect(await requests(desk)).toBe(0);
        expect(await desk.made()).toEqual([]);
      },
      // Nobody is there: it must not even be asked.
      { TEMPORAL_ADDRESS: '127.0.0.1:9' },
    );
  });

  test('says which server does not answer, in one line', async () => {
    await atDesk(
      {},
      async (desk) => {
        await desk.write('configuration.json', reference(desk.api.url));
        const { status, stderr } = await desk.run('run', 'configuration.json');
        expect(status).toBe(1);
        expect(stderr).toMatch(
          /^highwater: Cannot connect to the Temporal server at 127\.0\.0\.1:9 \(TEMPORAL_ADDRESS\): .*\n$/,
        );
        expect(await desk.made()).toEqual([]);
      },
      { TEMPORAL_ADDRESS: '127.0.0.1:9' },
    );
  });

  test('into a place where no file can be made says so at once', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('configuration.json', reference(desk.api.url));
      const path = desk.file('configuration.json/users.duckdb');
      const started = Date.now();
      const { status, stderr } = quiet(await desk.run('run', 'configuration.json', '-d', path));
      expect(status).toBe(1);
      expect(stderr).toMatch(
        new RegExp(`^highwater: .*${path} cannot be used: (ENOTDIR|EEXIST).*\\nnext: .*\\n$`),
      );
      expect(Date.now() - started).toBeLessThan(30_000);
      expect(await requests(desk)).toBe(0);
    });
  });

  test.skipIf(!LONG)(
    'shows how far it is while it takes longer than two seconds, and that it tries again',
    async () => {
      await atDesk(
        { rows: 500, latency_ms: 400, fail: [{ kind: 'status', status: 500, times: 4, after: 6 }] },
        async (desk) => {
          await desk.write('configuration.json', reference(desk.api.url));
          const { status, stderr } = await desk.run('run', 'configuration.json');
          expect(status).toBe(0);
          expect(stderr).toMatch(/^user: [\d,]+ records?, [\d,]+\/s$/m);
          expect(stderr).toMatch(
            /^user: retrying: attempt \d(, next in \d+s| is due| is running) · the source answered 500 Internal Server Error/m,
          );
        },
      );
    },
  );

  test.skipIf(!LONG)('interrupted once stops, exits 130, and the next one ends what it began', async () => {
    await atDesk({ rows: 3000, latency_ms: SLOW }, async (desk) => {
      await desk.write('configuration.json', reference(desk.api.url));
      const id = uniqueName('interrupted');
      const { child, ended } = desk.begin('run', 'configuration.json', '--id', id);
      const batches = async () =>
        (
          await client
            .sync(id)
            .progress()
            .catch(() => null)
        )?.batches ?? 0;
      await until(async () => (await batches()) > 0, 60, 'a batch to be written');
      child.kill('SIGINT');
      const { status, stderr } = await ended;
      expect(stderr).toContain('Stopping after the current batch; a second Ctrl-C stops at once.');
      expect(stderr.trimEnd().split('\n').at(-1)).toBe('highwater: the sync was cancelled');
      expect(status).toBe(130);
      await desk.api.client.set({ latency_ms: 0 });
      const stream = streamOf(await desk.run('run', 'configuration.json', '--json'));
      expect(stream.records).toBeLessThan(3000);
      expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
    });
  });

  test('killed outright is gone on with by the next one, and the table equals the source', async () => {
    await atDesk({ rows: 5000, latency_ms: 100 }, async (desk) => {
      await desk.write('configuration.json', {
        ...configurationFor('keyset', desk.api.url),
        batch_rows: 500,
      });
      const { child, ended } = desk.begin('run', 'configuration.json');
      await until(async () => (await requests(desk)) > 25, 60, 'some pages to be read');
      child.kill('SIGKILL');
      await ended;
      expect(await requests(desk)).toBeLessThan(100);
      await desk.api.client.set({ latency_ms: 0 });
      const next = await desk.run('run', 'configuration.json', '--json');
      expect(next.status).toBe(0);
      const { workflowId } = streamOf(next);
      expect(next.stderr).toContain(`Joined the sync "${workflowId}", which was still running.\n`);
      expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
      expect(await desk.made()).toEqual([FILE]);
    });
  });

  test.skipIf(!LONG)(
    'twice at once on one file and one configuration: one sync, and both wait for it',
    async () => {
      await atDesk({ rows: 1000, latency_ms: SLOW }, async (desk) => {
        await desk.write('configuration.json', reference(desk.api.url));
        const begun = [1, 2].map(() => desk.begin('run', 'configuration.json', '--json'));
        await until(
          () => begun.some(({ said }) => said.stderr.includes('Joined the sync')),
          60,
          'the second one to join',
        );
        await desk.api.client.set({ latency_ms: 0 });
        const both = await Promise.all(begun.map(({ ended }) => ended));
        expect(both.map(({ status }) => status)).toEqual([0, 0]);
        const [one, other] = both.map(streamOf);
        expect(one).toEqual(other);
        expect(one?.rows).toBe(1000);
        expect(both.filter(({ stderr }) => stderr.includes('Joined the sync'))).toHaveLength(1);
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
        expect(await desk.made()).toEqual([FILE]);
      });
    },
  );

  test.skipIf(!LONG)(
    'twice at once on one file and two tables: the longer one is not left without a worker',
    async () => {
      await atDesk({ rows: 5000, latency_ms: SLOW }, async (desk) => {
        const { short, long } = await shortAndLong(desk);
        expect(quiet(short).stderr).toBe('');
        expect(quiet(long).stderr).toBe('');
      });
    },
  );

  test.skipIf(!LONG)('of a second strategy into one table warns that it is shared', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('keyset.json', configurationFor('keyset', desk.api.url));
      await desk.write('steps.json', { ...configurationFor('step_size', desk.api.url), max_id: 150 });
      await desk.run('run', 'keyset.json');
      const { status, stdout } = await desk.run('run', 'steps.json');
      expect(status).toBe(0);
      expect(stdout).toMatch(
        /^note \(user\): table main\.user also has rows written by the strategy keyset\. .*one record becomes two rows/m,
      );
      // As it says: the step endpoint has other ids.
      expect((await tableRows(desk.file(FILE))).size).toBe(2 * ROWS);
    });
  });

  test.skipIf(!LONG)(
    'waits while another program holds the file, says who, and goes on when it is released',
    async () => {
      await atDesk({}, async (desk) => {
        await desk.write('configuration.json', reference(desk.api.url));
        const holder = spawn(
          process.execPath,
          [
            '--input-type=module',
            '-e',
            `import { DuckDBInstance } from '@duckdb/node-api';
           const held = await DuckDBInstance.create(process.argv[1]);
           await (await held.connect()).run('CREATE TABLE mine (a INTEGER)');
           console.log('held');
           process.stdin.on('end', () => { held.closeSync(); }).resume();`,
            desk.file(FILE),
          ],
          { cwd: new URL('../..', import.meta.url).pathname, stdio: ['pipe', 'pipe', 'inherit'] },
        );
        await once(holder.stdout, 'data');
        const { said, ended } = desk.begin('run', 'configuration.json');
        await until(() => said.stderr.includes('retrying'), 60, 'a word on the file');
        expect(said.stderr).toMatch(
          new RegExp(
            `^\\S+: retrying: attempt \\d+.* · the destination ${desk.file(FILE)} is open in another program: ` +
              `.*\\(PID ${holder.pid}\\).*close the other program\\.$`,
            'm',
          ),
        );
        expect(await requests(desk)).toBe(0);
        const asked = await desk.run('query', 'SELECT 1');
        expect(asked).toMatchObject({ status: 1, stdout: '' });
        expect(asked.stderr).toContain(
          `highwater: the destination ${desk.file(FILE)} is open in another program: `,
        );
        holder.stdin.end();
        await once(holder, 'close');
        const { status } = await ended;
        expect(status).toBe(0);
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
        const mine = await desk.run('query', 'SELECT count(*) AS mine FROM mine', '--json');
        expect(JSON.parse(mine.stdout)).toEqual([{ mine: 0 }]);
      });
    },
  );
});

describe.concurrent('a worker of its own', () => {
  test('takes what is started, shows its status, and is asked for rows while it holds the file, and after', async () => {
    await atDesk({ rows: 1000, latency_ms: SLOW }, async (desk) => {
      const taskQueue = uniqueName('cli');
      const worker = await startWorker({
        address,
        taskQueue,
        destination: desk.file(FILE),
        cwd: desk.folder,
      });
      try {
        await desk.write('configuration.json', reference(desk.api.url));
        const id = uniqueName('users');
        const started = await desk.run('start', 'configuration.json', '--task-queue', taskQueue, '--id', id);
        expect(started).toMatchObject({ status: 0, stderr: '' });
        expect(started.stdout).toContain(`Started ${id}\n`);

        const status = await desk.run('status', id);
        expect(status).toMatchObject({ status: 0, stderr: '' });
        expect(status.stdout).toMatch(
          /^✓ running: pass 1: [\d,]+ records written.*\nstream +user · keyset\n/,
        );
        expect(status.stdout).toMatch(/^cursor +last_updated_at \d{4}-/m);
        await desk.api.client.set({ latency_ms: 0 });

        // `run` sees who owns the file, and waits for its own sync there.
        const run = await desk.run('run', 'configuration.json', '--json', '--id', id);
        expect(run.stderr).toContain(
          `A running worker (process ${worker.pid}) has the destination open; the sync runs in that worker.\n`,
        );
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);

        const sql = 'SELECT count(*)::INT AS rows, max(name) AS "last name" FROM "user"';
        const held = await desk.run('query', sql);
        expect(held).toMatchObject({ status: 0, stderr: '' });
        expect(held.stdout).toMatch(/^rows +last name\n─{4,} {2}─+\n1000 {2}\S.*\n\(1 row\)\n$/);
        for (const [write, refusal] of [
          [
            'EXPLAIN ANALYZE DELETE FROM "user"',
            'only read-only statements are allowed; syncs write the destination',
          ],
          ['COPY "user" TO \'x.csv\'', 'Cannot access file "x.csv" - file system operations are disabled'],
        ] as const) {
          const refused = await desk.run('query', write);
          expect(refused).toMatchObject({ status: 1, stdout: '' });
          expect(refused.stderr).toContain(refusal);
        }
        const done = await desk.run('status', id);
        expect(done.stdout).toMatch(/^· completed: .*\nstream +strategy/);
        await worker.end();
        expect(await desk.run('query', sql)).toEqual(held);
        expect((await desk.run('query', 'DELETE FROM "user"')).status).toBe(1);
        expect(await desk.made()).toEqual([FILE]);
      } finally {
        await worker.end('SIGKILL');
      }
    });
  });

  test('owns its file: a run of another sync is sent there, and the worker stays', async () => {
    await atDesk({}, async (desk) => {
      const taskQueue = uniqueName('cli');
      const worker = await startWorker({ address, taskQueue, destination: desk.file(FILE) });
      try {
        const first = { ...configurationFor('offset', desk.api.url), table: 'first' };
        await (await client.start(first, { taskQueue, workflowId: uniqueName('first') })).result();
        await desk.write('configuration.json', reference(desk.api.url));
        const { status, stderr } = quiet(await desk.run('run', 'configuration.json'));
        expect(stderr).toBe(
          `A running worker (process ${worker.pid}) has the destination open; the sync runs in that worker.\n`,
        );
        expect(status).toBe(0);
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
        expect(worker.child.exitCode).toBeNull();
        expect(await desk.made()).toContain(`${FILE}.owner`);

        // A sync that goes on holds its table: another one is refused at its start.
        const holder = uniqueName('holder');
        const held = { ...configurationFor('keyset', desk.api.url), table: 'held', interval: '1h' };
        await desk.write('held.json', held);
        const queue = ['--task-queue', taskQueue];
        expect(await desk.run('start', 'held.json', ...queue, '--id', holder)).toMatchObject({ status: 0 });
        await until(async () => (await client.sync(holder).progress()).status === 'sleeping', 30, 'a pass');
        const refused = await desk.run('start', 'held.json', ...queue, '--id', uniqueName('second'));
        expect(refused.status).toBe(1);
        expect(refused.stderr).toContain(`the running workflow "${holder}" writes `);
        await client.sync(holder).stop();
      } finally {
        await worker.end();
      }
    });
  });

  test.skipIf(!LONG)('that is not there does not keep status from answering', async () => {
    await atDesk({}, async (desk) => {
      await desk.write('configuration.json', reference(desk.api.url));
      const id = uniqueName('nobody');
      const queue = uniqueName('nobody');
      const begun = await desk.run('start', 'configuration.json', '--task-queue', queue, '--id', id);
      expect(begun.stderr).toBe(
        `! no worker polls the task queue "${queue}": the sync begins once one runs. Start one: npx highwater worker --task-queue ${queue}\n`,
      );
      const started = Date.now();
      const { status, stdout, stderr } = await desk.run('status', id);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(
        new RegExp(
          `^✗ no worker: running, but no worker polls the task queue "${queue}"\\n {2}next: start one: .+ ${queue}\\n`,
        ),
      );
      expect(Date.now() - started).toBeLessThan(30_000);
      await client.sync(id).cancel();
      const unknown = await desk.run('status', uniqueName('unknown'));
      expect(unknown.status).toBe(1);
      expect(unknown.stderr).toMatch(
        /^highwater: there is no sync with the id "unknown-[^"]+"; "highwater list" shows/,
      );
    });
  });
});

describe.concurrent('the Temporal CLI, with nothing of ours but the worker', () => {
  const execute = promisify(execFile);
  const temporal = async (...args: string[]): Promise<Ended> => {
    const options = { env: envWithoutTemporal({ TEMPORAL_ADDRESS: address }) };
    const all = [...args, '--output', 'json'];
    return execute(inject('temporalCli'), all, options).then(
      ({ stdout, stderr }) => ({ status: 0, stdout, stderr }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
        status: code,
        stdout,
        stderr,
      }),
    );
  };

  test('starts a sync from a plain configuration, asks for its state and progress, and gets its result', async () => {
    await atDesk({}, async (desk) => {
      const taskQueue = uniqueName('temporal');
      const worker = await startWorker({ address, taskQueue, destination: desk.file(FILE) });
      try {
        await desk.write('configuration.json', reference(desk.api.url));
        const plain = await desk.run('config', 'configuration.json');
        expect(plain).toMatchObject({ status: 0, stderr: '' });
        expect(JSON.parse(plain.stdout)).toMatchObject({ strategy: 'keyset', page_size: '100' });
        await desk.write('plain.json', plain.stdout);

        const id = uniqueName('users');
        const started = await temporal(
          ...['workflow', 'start', '--type', 'sync', '--task-queue', taskQueue],
          ...['--workflow-id', id, '--input-file', desk.file('plain.json')],
        );
        expect(started.stderr).toBe('');
        expect(started.status).toBe(0);
        const result = await temporal('workflow', 'result', '--workflow-id', id);
        expect(JSON.parse(result.stdout)).toMatchObject({
          status: 'COMPLETED',
          result: { status: 'completed', streams: [{ stream: 'user', rows: ROWS }] },
        });
        const ask = async (type: string) => {
          const { stdout } = await temporal('workflow', 'query', '--type', type, '--workflow-id', id);
          return (JSON.parse(stdout) as { queryResult: Json[] }).queryResult[0];
        };
        expect(await ask('state')).toMatchObject({
          last_updated_at: '2026-01-01T01:04:30Z',
          scroll_param: null,
          checkpoint: expect.stringMatching(/^[\w-]{12}$/) as string,
        });
        expect(await ask('progress')).toMatchObject({
          status: 'drained',
          stream: 'user',
          strategy: 'keyset',
          rows: ROWS,
          batches: 1,
          staged: 0,
          endRule: 'no_next_token',
          waiting: null,
          destination: desk.file(FILE),
        });
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);

        // A bad input: the run fails at once, with the same full list as the command line gives.
        await desk.write('bad.json', { strategy: 'offest', page_size: 'many', colums: {} });
        const bad = uniqueName('bad');
        await temporal(
          ...['workflow', 'start', '--type', 'sync', '--task-queue', taskQueue],
          ...['--workflow-id', bad, '--input-file', desk.file('bad.json')],
        );
        const failed = await temporal('workflow', 'result', '--workflow-id', bad);
        expect(failed.status).not.toBe(0);
        const listed = (await desk.run('config', 'bad.json')).stderr;
        const { closeEvent } = JSON.parse(failed.stdout) as {
          closeEvent: {
            workflowExecutionFailedEventAttributes: {
              failure: { message: string; applicationFailureInfo: { type: string; nonRetryable: boolean } };
            };
          };
        };
        const { failure } = closeEvent.workflowExecutionFailedEventAttributes;
        expect(failure.applicationFailureInfo).toMatchObject({
          type: 'ConfigurationError',
          nonRetryable: true,
        });
        // Only a file has lines.
        expect(failure.message.split('\n').slice(1)).toEqual(
          listed
            .replace(/^ {2}bad\.json:1:\d+/gm, '')
            .trimEnd()
            .split('\n')
            .slice(1),
        );
        expect(failure.message.split('\n')).toHaveLength(4);
        const { events } = await client.temporal.workflow.getHandle(bad).fetchHistory();
        const attempts = (events ?? []).flatMap(
          (event) => event.activityTaskStartedEventAttributes?.attempt ?? [],
        );
        expect(attempts).toEqual([1]);
      } finally {
        await worker.end();
      }
    });
  });
});

test('highwater config prints plain JSON, and what is worth knowing beside it', async () => {
  await atDesk({}, async (desk) => {
    await desk.write(
      'configuration.yaml',
      'strategy: offset # or keyset\nbase_url: http://127.0.0.1:5001/pagination/keyset\n',
    );
    const { status, stdout, stderr } = await desk.run('config', 'configuration.yaml');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      strategy: 'offset',
      base_url: 'http://127.0.0.1:5001/pagination/keyset',
    });
    expect(stderr).toBe(
      'note: the path /pagination/keyset of base_url belongs to another strategy; offset reads /pagination/offset instead\n',
    );
  });
});

/** No server is configured, and none that may run here on the usual port is looked at. */
const NO_SERVER = { HIGHWATER_TEMPORAL_PORT: '0' };

describe.concurrent('without any Temporal server', () => {
  test.skipIf(!LONG)(
    'two runs share the server that the first one starts, and the last one stops it',
    async () => {
      await atDesk(
        { rows: 5000, latency_ms: SLOW },
        async (desk) => {
          const { short, long } = await shortAndLong(desk);
          expect(short.stderr).toMatch(
            /^Temporal server at 127\.0\.0\.1:\d+, Web UI at http:\/\/127\.0\.0\.1:\d+, state in \S+temporal\.db\n/,
          );
          const link = 'http://127\\.0\\.0\\.1:\\d+/namespaces/default/workflows/\\w+-keyset-[0-9a-f]{8}/';
          expect(short.stdout).toMatch(new RegExp(`^Web UI: ${link}`, 'm'));
          // Its server has stopped: the link is dead until "dev" starts it again.
          expect(long.stdout).toMatch(
            new RegExp(`^Web UI: stopped with this command. "npx highwater dev" .*\\n {2}${link}`, 'm'),
          );
          const port = /Temporal server at 127\.0\.0\.1:(\d+),/.exec(short.stderr)?.[1];
          expect(await portAnswers(Number(port))).toBe(false);
        },
        NO_SERVER,
      );
    },
  );

  test('a run that fails says why first, then where to look further', async () => {
    await atDesk(
      {},
      async (desk) => {
        const base_url = `${desk.api.url}/nothing`;
        await desk.write('configuration.json', { ...configurationFor('keyset', desk.api.url), base_url });
        const { status, stderr } = await desk.run('run', 'configuration.json');
        expect(status).toBe(1);
        expect(stderr).toMatch(
          /^highwater: the source answered 404 [^]*\nWeb UI: stopped with this command/m,
        );
      },
      NO_SERVER,
    );
  });

  test.skipIf(!LONG)('dev keeps one up with a worker, and --reset forgets what it knew', async () => {
    await atDesk(
      {},
      async (desk) => {
        await desk.write('configuration.json', reference(desk.api.url));
        const up = async (...flags: string[]) => {
          const dev = desk.begin('dev', '-d', FILE, ...flags);
          await until(() => dev.said.stderr.includes('Worker ready'), 60, 'the worker');
          return dev;
        };
        const down = async ({ child, ended }: Running) => {
          child.kill('SIGINT');
          const { status, stderr } = await ended;
          expect(status).toBe(0);
          expect(stderr).toMatch(/The local Temporal server has stopped too\..*\n$/);
        };
        const first = await up();
        expect(first.said.stdout).toMatch(
          /^Temporal server: 127\.0\.0\.1:\d+\nWeb UI: http:\/\/127\.0\.0\.1:\d+\n/,
        );
        await desk.run('start', 'configuration.json', '--id', 'users');
        await until(
          async () => (await desk.run('status', 'users')).stdout.startsWith('· completed'),
          60,
          'the sync',
        );
        await down(first);
        const second = await up();
        expect((await desk.run('status', 'users')).stdout).toMatch(/^· completed: \d+s ago\n/);
        await down(second);
        const third = await up('--reset');
        expect(third.said.stderr).toContain('The local Temporal server starts empty.');
        expect((await desk.run('status', 'users')).stderr).toBe(
          'highwater: there is no sync with the id "users"; "highwater list" shows all syncs\n',
        );
        await down(third);
        expect(await difference(desk.api.client, desk.file(FILE))).toEqual(EQUAL);
      },
      NO_SERVER,
    );
  });
});

const install = await installPlayground();
describe.skipIf(!install.available)(
  `the reference API itself, fivetran-api-playground${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    for (const strategy of STRATEGIES) {
      test.concurrent(
        `is synced by its own configuration with only the strategy changed: ${strategy}`,
        async () => {
          if (!install.available) throw new Error(install.reason);
          const playground = await startPlayground(install.python);
          try {
            await atDesk({}, async (desk) => {
              const configuration = reference(playground.url).replace('"keyset", //', `"${strategy}", //`);
              await desk.write('configuration.json', configuration);
              const ended = quiet(await desk.run('run', 'configuration.json', '--json'));
              expect(ended).toMatchObject({ status: 0, stderr: '' });
              const { warnings, endRule, rows } = streamOf(ended);

              const path = strategy === 'step_size' ? `${PATHS.step_size}?start_id=1&end_id=100000` : '';
              const all = `${playground.url}${path === '' ? `${PATHS.timestamp}?since=0001-01-01T00:00:00Z` : path}`;
              const served = ((await (await fetch(all)).json()) as { data: DemoRecord[] }).data;
              expect(served.length).toBeGreaterThanOrEqual(200);
              const wanted = served.map((r) => [r.id, rowText(r)]);
              const found = await tableRows(desk.file(FILE));
              expect([...found].sort()).toEqual(wanted.sort());
              expect(rows).toBe(served.length);

              const codes = warnings.map(({ code }) => code).sort();
              const ends = { keyset: 'no_next_token', offset: 'total_reached', step_size: 'max_id' } as const;
              expect(endRule).toBe(strategy in ends ? ends[strategy as keyof typeof ends] : 'whole_answer');
              const moved = strategy === 'keyset' ? [] : ['path_replaced'];
              expect(codes).toEqual(
                strategy === 'offset' ? ['page_size_lowered', ...moved, 'updates_unseen'] : moved,
              );
              if (strategy === 'offset') {
                expect(warnings.find(({ code }) => code === 'page_size_lowered')?.message).toBe(
                  'The source rejected a page size of 100; Highwater requests 50 instead.',
                );
              }
            });
          } finally {
            await playground.stop();
          }
        },
      );
    }
  },
);

test('every command explains itself', async () => {
  const { stdout } = await highwater(['--help']);
  // It has room on a terminal of 80 columns, with descriptions beside the commands.
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  expect(stdout).toMatch(/^ {2}check <configuration> {5}Check a configuration/m);
  const commands = [...stdout.matchAll(/^ {2}([a-z-]+)(?= [[<…]| {2,})/gm)].map(([, name]) => name ?? '');
  expect(commands.join(' ')).toBe(
    'demo init discover check preview run record test dev worker start pause resume trigger stop cancel schedule set configure state resync backfill audit ' +
      'approve reject rejects list status logs query ui report doctor import-state config schema replay mcp codec-server help',
  );
  const program = await wholeProgram();
  for (const command of program.commands) {
    const name = command.name();
    let help = '';
    command.configureOutput({ writeOut: (text) => void (help += text) }).outputHelp();
    expect(help, name).toContain(`Usage: highwater ${name}`);
    expect(help, name).toMatch(/Examples?[^\n]*:\n {2}(?:(?:\w+=\S+ )?highwater |\{)/);
    expect(help, name).toMatch(/^Exit codes: 0 /m);
    // The first two have commands of their own, each with it; the others print HTML and a protocol.
    if (!['schedule', 'state', 'report', 'mcp'].includes(name)) expect(help, name).toMatch(/^ {2}--json /m);
  }
  expect((await highwater(['run', '--help'])).stdout).toContain('Usage: highwater run');
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(await highwater(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  const unknown = await highwater(['frobnicate']);
  expect(unknown).toMatchObject({ status: 1, stdout: '' });
  expect(unknown.stderr).toContain("unknown command 'frobnicate'");
}, 180_000);
