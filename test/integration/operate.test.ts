/** The commands for a sync that runs, as a user has them: processes of their own, exit codes, and their screens. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { CLI, configurationFor, highwater, scratch, uniqueName, until } from '../helpers/harness.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { onTerminal, terminalMissing } from '../helpers/terminal.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import type { Json } from '../../src/protocol.js';
import { LONG } from '../helpers/long.js';

// Much of it is waiting for processes.
vi.setConfig({ maxConcurrency: 3, testTimeout: 120_000 });

let api: TestApi;
let failingApi: TestApi;
let system: System;
let folder: Awaited<ReturnType<typeof scratch>>;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  const down = { kind: 'status', status: 500, times: 100_000, after: 2 } as const;
  [api, failingApi, system, folder] = await Promise.all([
    testApi({ rows: 130 }),
    testApi({ rows: 130, fail: [down] }),
    startSystem(inject('temporalAddress')),
    scratch(),
  ]);
  env = { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path };
});
afterAll(async () => {
  await Promise.all([api.stop(), failingApi.stop(), system.stop()]);
  await folder.remove();
});

const run = (...args: string[]) => highwater(args, { env, cwd: folder.path });
/** What `--json` prints. */
const json = async (...args: string[]): Promise<unknown> => {
  const { status, stdout, stderr } = await run(...args, '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
};

/** A sync that sleeps for an hour after its first pass. */
async function sleeping(more: { [key: string]: Json } = {}, what = 'users'): Promise<string> {
  const workflowId = uniqueName(what);
  const table = workflowId.replaceAll('-', '_');
  await system.start(configurationFor('keyset', api.url, { interval: '1h', table, ...more }), { workflowId });
  await reaches(workflowId, 'sleeping');
  return workflowId;
}

const reaches = (id: string, wanted: string) =>
  until(async () => (await system.client.sync(id).progress()).status === wanted, 20, `${id} ${wanted}`);

async function failing(): Promise<string> {
  const workflowId = uniqueName('orders');
  const table = workflowId.replaceAll('-', '_');
  const configuration = configurationFor('offset', failingApi.url, {
    interval: '1h',
    retry_for: '0.1s',
    table,
  });
  await system.start(configuration, { workflowId });
  await reaches(workflowId, 'failing');
  return workflowId;
}

describe.concurrent('what can be asked of a sync', () => {
  test('pause, resume, trigger and stop say what has come of it', async () => {
    const id = await sleeping();
    expect(await json('pause', id)).toEqual({ id, asked: 'pause', done: true, status: 'paused' });
    const later = await run('trigger', id);
    expect(later).toMatchObject({ status: 0, stderr: '' });
    expect(later.stdout).toMatch(
      /: a pass was requested and has not ended yet; now paused: up to date as of /,
    );
    expect(await json('resume', id)).toMatchObject({ id, asked: 'resume', done: true });
    await until(
      async () => (await system.client.sync(id).progress()).totals.passes === 2,
      10,
      'the pass asked for',
    );
    await reaches(id, 'sleeping');
    const triggered = await run('trigger', id);
    expect(triggered.stdout).toMatch(
      new RegExp(`^${id}: a pass has ended: 1 record read, 0 rows written; now up to date: `),
    );
    expect(await run('stop', id)).toEqual({ status: 0, stdout: `${id}: stopped\n`, stderr: '' });
    expect((await run('status', id)).stdout).toMatch(/^· stopped: \d+s ago\n {2}next: .+\nstream +strategy/);
  });

  test.skipIf(!LONG)('cancel ends it, and --no-wait does not wait', async () => {
    const id = await sleeping();
    expect(await json('cancel', id, '--no-wait')).toEqual({ id, asked: 'cancel', done: false, status: null });
    await until(async () => (await system.client.sync(id).status()) === 'CANCELLED', 5, 'the end');
    const again = await run('cancel', id);
    expect(again).toMatchObject({ status: 1, stdout: '' });
    expect(again.stderr).toMatch(
      /^highwater: the sync ".+" is not running: it has been cancelled at \S+Z\. Start it again with "highwater start"; it continues from its checkpoint\.\n$/,
    );
  });

  test('of one that is not there is refused, whatever it is', async () => {
    const asked = [
      ['pause'],
      ['resume'],
      ['trigger'],
      ['stop'],
      ['cancel'],
      ['status'],
      ['logs'],
      ['replay'],
    ];
    const answers = await Promise.all(asked.map(([name = '']) => run(name, 'nobody')));
    for (const [i, answer] of answers.entries()) {
      const stderr = 'highwater: there is no sync with the id "nobody"; "highwater list" shows all syncs\n';
      expect(answer, asked[i]?.[0]).toEqual({ status: 1, stdout: '', stderr });
    }
  });

  test.skipIf(!LONG)(
    'without a worker is kept until there is one, and said so',
    async () => {
      const workflowId = uniqueName('unattended');
      const nobody = { workflowId, taskQueue: uniqueName('nobody') };
      await system.client.start(configurationFor('keyset', api.url, { table: 'unattended' }), nobody);
      const [paused, set] = await Promise.all([
        run('pause', workflowId),
        run('set', workflowId, 'batch_rows=5'),
      ]);
      expect(paused).toEqual({
        status: 0,
        stdout: `${workflowId}: will pause after the current batch\n`,
        stderr: `no worker answers; the request takes effect once a worker runs ("npx highwater worker --task-queue ${nobody.taskQueue}")\n`,
      });
      expect(set).toMatchObject({ status: 1, stdout: '' });
      expect(set.stderr).toMatch(/^highwater: no worker answers for "unattended-/);
      await system.client.temporal.workflow.getHandle(workflowId).terminate();
    },
    60_000,
  );

  test('set changes what can be changed, and refuses the rest with every reason', async () => {
    const id = await sleeping();
    expect((await run('set', id, 'interval=90m', 'rate=2.5')).stdout).toBe(
      `${id}: interval=1.5h, requests_per_second=2.5\n`,
    );
    expect(await json('set', id, 'rate=default')).toEqual({ id, settings: { interval: 5400 } });
    expect((await run('status', id)).stdout).toMatch(/^settings +interval=1\.5h$/m);
    const [refused, malformed] = await Promise.all([
      run('set', id, 'batch_rows=0', 'colour=red'),
      run('set', id, 'batch_rows'),
    ]);
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(
      /^highwater: no setting was changed:\n {2}batch_rows: 0 is too small: the minimum is 1\n {2}colour: cannot be changed while a sync runs; these can: /,
    );
    expect(malformed).toEqual({
      status: 1,
      stdout: '',
      stderr: 'highwater: "batch_rows" is not a setting; write one such as interval=15m\n',
    });
    await system.client.sync(id).stop();
  });
});

describe.concurrent('what is to be seen', () => {
  test('status and list show what fails, since when, and what comes next', async () => {
    const [id, other] = [await failing(), await sleeping()];
    const [status, list, asJson, running] = await Promise.all([
      run('status', id),
      run('list', '--running', '--query', `WorkflowId IN ("${id}", "${other}")`),
      json('status', id),
      json('list', '--running', '--query', `WorkflowId IN ("${id}", "${other}")`),
    ]);
    expect(status).toMatchObject({ status: 0, stderr: '' });
    expect(status.stdout).toMatch(
      /^! failing: since \S+Z \(\d+s\), \d+ failures? · the source answered 500.*\n {2}next: it retries in \d+s; "highwater trigger orders\S+" retries now\nstream +orders\S+ · offset\n/,
    );
    expect(status.stdout).toMatch(/^problem +SourceUnavailableError$/m);
    expect(status.stdout).toMatch(/^ +request: GET http/m);
    expect(asJson).toMatchObject({
      id,
      status: 'RUNNING',
      progress: { trouble: { type: 'SourceUnavailableError' } },
    });
    expect(list.stdout).toMatch(
      /^! 2 syncs: 1 (failing, 1 up to date|up to date, 1 failing); see below the table\nsync +status +strategy +last pass +rows +lag +next\n/,
    );
    expect(list.stdout).toMatch(
      new RegExp(`^${other} +sleeping +keyset +\\d+s ago +130 +\\d+s +in \\d+m$`, 'm'),
    );
    expect(list.stdout).toMatch(new RegExp(`^! ${id}: failing: since .+ · the source answered 500`, 'm'));
    expect(running).toMatchObject([
      { id, status: 'failing', lagSeconds: null },
      { id: other, status: 'sleeping', rows: 130 },
    ]);
    const bad = await run('list', '--query', 'Nonsense = 1');
    expect(bad).toMatchObject({ status: 1, stdout: '' });
    expect(bad.stderr).toMatch(/^highwater: Temporal refused the query: .*Nonsense/);
    await Promise.all([system.client.sync(id).cancel(), system.client.sync(other).cancel()]);
  });

  test.skipIf(!LONG)('status --watch goes on until the sync ends', async () => {
    const id = await sleeping();
    const child = spawn(process.execPath, [CLI, 'status', id, '--watch'], {
      ...{ env: envWithoutTemporal(env), stdio: ['ignore', 'pipe', 'inherit'] },
    });
    let stdout = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => (stdout += part));
    const closed = once(child, 'close');
    await until(() => /^✓ up to date: as of /.test(stdout), 30, 'the first screen');
    await system.client.sync(id).stop();
    expect(await closed).toEqual([0, null]);
    expect(stdout).toMatch(/^· stopped: \d+s ago\n {2}next: .+\nstream +strategy/m);
  });

  test.skipIf(!LONG)('several streams are shown one a line', async () => {
    const workflowId = uniqueName('shop');
    await system.start(
      {
        ...{ interval: '1h', source: { base_url: api.url } },
        defaults: {
          primary_key: 'id',
          cursor_field: 'updatedAt',
          columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
        },
        streams: [
          { name: 'shop_one', path: '/pagination/keyset', strategy: 'keyset' },
          { name: 'shop_two', path: '/pagination/offset', strategy: 'offset' },
        ],
      },
      { workflowId },
    );
    await until(
      () =>
        Promise.all(['one', 'two'].map((name) => reaches(`${workflowId}/shop_${name}`, 'sleeping'))).then(
          () => true,
          () => false,
        ),
      30,
      'both',
    );
    const [{ stdout }, asJson] = await Promise.all([run('status', workflowId), json('status', workflowId)]);
    expect(stdout).toMatch(
      /^✓ up to date: all 2 streams · as of .+\nstream +status +records +rows written +lag +cursor\n/,
    );
    expect(stdout).toMatch(/^shop_two +up to date +\d+ +130 +\d+s +offset 130$/m);
    expect(asJson).toMatchObject({
      streams: [{ stream: 'shop_one', progress: { rows: 130 } }, { stream: 'shop_two' }],
    });
    expect((await run('stop', workflowId)).stdout).toBe(`${workflowId}: stopped\n`);
  });

  test('logs tell what happened, in order, across histories, and follow until the end', async () => {
    const id = await sleeping({ history_limit: 20 });
    const following = run('logs', id, '--follow');
    // A trigger before a pass begins asks for no other pass.
    for (const passes of [2, 3]) {
      await system.client.sync(id).trigger();
      await until(
        async () => (await system.client.sync(id).progress()).totals.passes === passes,
        60,
        `${passes} passes`,
      );
    }
    await system.client.sync(id).stop();
    const { status, stdout } = await following;
    expect(status).toBe(0);
    const said = stdout.split('\n').map((line) => line.replace(/^\S+Z +/, ''));
    expect(said.slice(0, 3)).toEqual([
      'started',
      'open the stream',
      expect.stringMatching(
        /^batch 1 · \d+ records · \d pages · to 2026-\S+Z( · no_next_token)?: \d+ rows? written$/,
      ),
    ]);
    expect(said).toContainEqual(expect.stringMatching(/^trigger requested by /));
    expect(said).toContain('continued in a new history');
    expect(said.at(-2)).toBe('stopped');
    const last = await run('logs', id, '--limit', '1', '--json');
    expect(JSON.parse(last.stdout)).toMatchObject({ level: 'info', text: 'stopped' });
    const bad = await failing();
    expect((await run('logs', bad)).stdout).toMatch(
      /^\S+Z ✗ read up to [\d,]+ records: the source answered 500/m,
    );
    await system.client.sync(bad).cancel();
  });

  test('status and logs tell of attempts that failed and are in no history yet', async () => {
    const workflowId = uniqueName('retried');
    const table = workflowId.replaceAll('-', '_');
    const configuration = configurationFor('offset', failingApi.url, {
      interval: '1h',
      retry_for: '5m',
      table,
    });
    const begun = Date.now();
    await system.start(configuration, { workflowId });
    const retry = async () => (await system.client.sync(workflowId).work()).retry;
    await until(async () => ((await retry())?.attempt ?? 0) >= 3, 30, 'a third attempt');
    const [status, logs] = await Promise.all([run('status', workflowId), run('logs', workflowId)]);
    const [, since = ''] =
      /^! retrying: since (\S+Z) \(\d+s\) · attempt \d+(?:, next in \d+s| is due| is running) · the source answered 500/.exec(
        status.stdout,
      ) ?? [];
    expect(Math.abs(Date.parse(since) - begun), status.stdout).toBeLessThan(5000);
    expect(logs.stdout.trimEnd().split('\n').join(' ')).toMatch(
      / ! fetchPages: retrying, attempt \d+(, next in \d+s| is due| is running), after: the source answered 500/,
    );
    await system.client.sync(workflowId).cancel();
  });

  test.skipIf(!LONG)('status is not green while the source does not answer', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const workflowId = uniqueName('silent');
    const configuration = configurationFor('keyset', `http://127.0.0.1:${port}`, {
      interval: '1h',
      table: 'silent',
    });
    await system.start(configuration, { workflowId });
    await until(
      async () => (await run('status', workflowId)).stdout.includes('no page from the source'),
      60,
      'the silence',
    );
    expect((await run('status', workflowId)).stdout).toMatch(
      /^… running: no page from the source for \d+s · pass 1: .+\n {2}next: nothing yet: /,
    );
    await system.client.sync(workflowId).cancel();
    silent.closeAllConnections();
    silent.close();
  });

  test.skipIf(!LONG || terminalMissing() !== null)(
    'fits the terminal, wide and narrow, without colour',
    async () => {
      const [id, other] = [await failing(), await sleeping()];
      await writeFile(folder.file('wide.json'), JSON.stringify(configurationFor('keyset', api.url)));
      const screens = [
        ['status', id],
        ['list'],
        ['logs', id],
        ['doctor', 'wide.json', '--task-queue', system.worker.taskQueue],
      ];
      for (const columns of [120, 80, 48]) {
        const shown = await Promise.all(screens.map((args) => onScreen(args, columns)));
        for (const [i, lines] of shown.entries()) {
          const what = `${screens[i]?.[0]} at ${columns}`;
          // oxlint-disable-next-line no-control-regex
          expect(lines.join('\n'), what).not.toMatch(/\u001b/);
          // Words that are longer than a line are not broken, so that they can be copied: ids, paths, addresses.
          const wide = lines.filter((line) => [...line].length > columns && !/\S{30,}/.test(line));
          expect(wide, what).toEqual([]);
          expect(lines.length, what).toBeGreaterThan(3);
        }
      }
      await Promise.all([system.client.sync(id).cancel(), system.client.sync(other).cancel()]);
    },
  );

  async function onScreen(args: string[], columns: number): Promise<string[]> {
    const child = spawn(...onTerminal([process.execPath, CLI, ...args], columns), {
      ...{ cwd: folder.path, stdio: ['pipe', 'pipe', 'inherit'] },
      env: { ...envWithoutTemporal(env), NO_COLOR: '1' },
    });
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => (said += part));
    const [status] = (await once(child, 'close')) as [number];
    expect(status, said).toBe(0);
    return said.split('\r\n');
  }
});

describe.concurrent('schedule', () => {
  test.skipIf(!LONG)(
    'starts syncs of one pass, says when, and can be paused, resumed and deleted',
    async () => {
      const id = uniqueName('often');
      const configuration = configurationFor('keyset', api.url, { interval: '1h', table: 'scheduled' });
      await writeFile(folder.file('scheduled.json'), JSON.stringify(configuration));
      const made = await run(
        ...[
          'schedule',
          'create',
          'scheduled.json',
          '--id',
          id,
          '--cron',
          '0 3 * * *',
          '--time-zone',
          'Europe/Berlin',
        ],
        ...['--jitter', '30s', '--task-queue', system.worker.taskQueue],
      );
      expect(made).toMatchObject({ status: 0 });
      expect(made.stderr).toBe('note: "interval" is ignored: each sync of a schedule makes one pass\n');
      expect(made.stdout).toMatch(new RegExp(`^Created the schedule ${id}; first sync at \\S+Z\n`));
      expect(await json('schedule', 'trigger', id)).toEqual({ id, schedule: 'triggered' });
      const query = `TemporalScheduledById = "${id}" AND HighwaterRows = 130`;
      await until(
        async () => (await system.client.list({ query })).length === 1,
        20,
        'the sync of the schedule',
      );
      const [sync] = await system.client.list({ query });
      expect(sync).toMatchObject({ execution: 'COMPLETED', attributes: { status: 'drained' }, schedule: id });
      expect(Date.parse(sync?.nextRun ?? '')).toBeGreaterThan(Date.now());
      expect((await run('schedule', 'list')).stdout).toMatch(
        new RegExp(
          `^${id} +active +0 3 \\* \\* \\* \\(Europe/Berlin\\) +\\d+s ago +completed +in \\d+[hm]$`,
          'm',
        ),
      );
      expect((await run('status', id)).stdout).toMatch(
        new RegExp(
          `^Schedule ${id}: 0 3 .+ · next sync in \\d+[hm] · latest sync: ${id}-\\S+\n· completed: \\d+s ago\n`,
        ),
      );
      // The other commands about a sync take the id of its schedule too.
      const logs = await run('logs', id, '--limit', '1');
      expect(logs.stdout).toMatch(/^\S+Z {3}completed\n$/);
      expect(logs.stderr).toMatch(new RegExp(`^Schedule ${id}: 0 3 .+ · latest sync: ${id}-\\S+\n$`));
      expect((await run('trigger', id)).stdout).toBe(
        `${id}: the schedule starts a sync now; "highwater status ${id}" shows it\n`,
      );
      await until(async () => (await system.client.list({ query })).length === 1, 20, 'its second sync');
      expect((await run('schedule', 'pause', id)).stdout).toBe(`${id}: paused\n`);
      await until(
        async () => {
          const all = (await json('schedule', 'list')) as { id: string; paused: boolean }[];
          return all.some((one) => one.id === id && one.paused);
        },
        10,
        'the pause in the list',
      );
      expect((await run('schedule', 'resume', id)).stdout).toBe(`${id}: resumed\n`);
      const twice = await run('schedule', 'create', 'scheduled.json', '--id', id, '--every', '15m');
      expect(twice.stderr).toMatch(
        /the schedule ".+" already exists; delete it first, or choose another --id\n$/,
      );
      expect((await run('schedule', 'delete', id)).stdout).toBe(`${id}: deleted\n`);
      const [gone, cron, both, bad] = await Promise.all([
        run('schedule', 'delete', id),
        run('schedule', 'create', 'scheduled.json', '--id', id, '--cron', 'often'),
        run('schedule', 'create', 'scheduled.json'),
        run('schedule', 'create', 'scheduled.json', '--every', 'often'),
      ]);
      expect(gone).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/there is no schedule ".+"; /) as string,
      });
      expect(cron).toMatchObject({ status: 1, stderr: expect.stringContaining('CronString') as string });
      expect(both).toEqual({ status: 1, stdout: '', stderr: 'highwater: give either --every or --cron\n' });
      expect(bad).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('Give a duration such as') as string,
      });
    },
  );
});

describe.concurrent('doctor', () => {
  test('finds all well where it is, and says what is not', async () => {
    await writeFile(folder.file('doctor.json'), JSON.stringify(configurationFor('keyset', api.url)));
    await writeFile(
      folder.file('bad.json'),
      JSON.stringify({ strategy: 'keyset', base_url: 'http://127.0.0.1:1/${env:NOT_SET_ANYWHERE}' }),
    );
    const queue = ['--task-queue', system.worker.taskQueue];
    const [well, files, ill, away] = await Promise.all([
      json('doctor', 'doctor.json', ...queue, '-d', system.destination),
      json('doctor', 'doctor.json', ...queue, '-d', `files:${folder.file('lake')}`),
      run('doctor', 'bad.json', '--task-queue', 'nobody-polls-this', '-d', '/nowhere/x.duckdb'),
      highwater(['doctor'], { env: { ...env, TEMPORAL_ADDRESS: '127.0.0.1:1' }, cwd: folder.path }),
    ]);
    const found = well as { check: string; outcome: string; message: string }[];
    expect(found.filter(({ outcome }) => outcome === 'bad')).toEqual([]);
    expect(found.map(({ check }) => check)).toEqual(
      expect.arrayContaining([
        'versions',
        'configuration',
        'ports',
        'server',
        'workers',
        'clock',
        'destination',
      ]),
    );
    expect(found.find(({ check }) => check === 'workers')?.message).toMatch(/^1 on the task queue "system-/);
    expect(found.find(({ check }) => check === 'server')?.message).toMatch(/^Temporal \d+\.\d+\S* at /);
    const lake = (files as typeof found).find(({ check }) => check === 'destination');
    expect(lake).toMatchObject({ outcome: 'good', message: expect.stringContaining('lake') as string });
    expect(ill.status).toBe(1);
    expect(ill.stdout).toMatch(
      /^✗ configuration: the configuration has 1 problem:\n {2}base_url: .*NOT_SET_ANYWHERE/m,
    );
    expect(ill.stdout).toMatch(
      /^! workers: none on the task queue "nobody-polls-this", 0 running syncs; start one/m,
    );
    expect(ill.stdout).toMatch(/^✗ destination: \/nowhere\/x\.duckdb: the folder \/nowhere does not exist$/m);
    expect(away.status).toBe(1);
    expect(away.stdout).toMatch(/^✗ server: .*127\.0\.0\.1:1/m);
  });
});

describe.concurrent('replay', () => {
  test.skipIf(!LONG)('says whether a history goes on with this version', async () => {
    const id = await sleeping();
    const saved = await new Promise<string>((resolve, reject) =>
      execFile(
        inject('temporalCli'),
        ['workflow', 'show', '--workflow-id', id, '--output', 'json', '--address', inject('temporalAddress')],
        { env: envWithoutTemporal(), maxBuffer: 64 * 1024 * 1024 },
        (error, stdout) => (error ? reject(error) : resolve(stdout)),
      ),
    );
    await writeFile(folder.file('history.json'), saved);
    await writeFile(folder.file('other.json'), saved.replaceAll('"fetchPages"', '"readPages"'));
    await writeFile(folder.file('none.json'), '{}');
    const [safe, unsafe, none, nothing] = await Promise.all([
      run('replay', id, 'history.json'),
      json('replay', 'history.json', 'other.json').catch(() => run('replay', 'history.json', 'other.json')),
      run('replay', 'none.json'),
      run('replay'),
    ]);
    expect(safe).toMatchObject({ status: 0, stderr: '' });
    expect(safe.stdout).toMatch(
      /^✓ history\.json: \d+ events replayed\n✓ users\S+: \d+ events replayed\nSafe to deploy: /,
    );
    expect(unsafe).toMatchObject({ status: 1 });
    const said = (unsafe as { stdout: string }).stdout;
    expect(said).toMatch(/^✗ other\.json: it would deviate from its history: .*TMPRL1100/m);
    expect(said).toMatch(
      /^Not safe to deploy: 1 of 2 could not continue with this version\. Stop them while a worker of their own version runs /m,
    );
    expect(said.replace(/\s+/g, ' ')).toMatch(
      / With this version it would get stuck: .* Nothing would be lost/,
    );
    expect(none).toMatchObject({ status: 1, stdout: '' });
    expect(none.stderr).toMatch(
      /^highwater: none\.json is not the output of "temporal workflow show --output json"/,
    );
    expect(nothing.stderr).toBe('highwater: give a file, the id of a sync, or --running\n');
    expect((await run('replay', '--running')).stdout).toContain(id);
    await system.client.sync(id).stop();
  });
});
