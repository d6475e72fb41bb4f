/** Queues of dead workers, as the next worker of the machine finds them. */
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, type TestContext } from 'vitest';
import { ServedQueues } from '../../src/destinations/served-queues.js';
import { scratch } from '../helpers/harness.js';

const QUEUE = 'highwater-destination-a.duckdb-0123456789ab';
const ORIGIN = { taskQueue: 'highwater', namespace: 'default', cluster: 'c1' };

async function folderOf({ onTestFinished }: TestContext): Promise<string> {
  const folder = await scratch();
  onTestFinished(() => folder.remove());
  return folder.file('served-queues');
}

/** Makes an entry that of a process which has ended. */
async function kill(folder: string, change: object = {}): Promise<void> {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const entry = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...entry, pid, ...change }));
  }
}

test("a dead worker's queue is given to one of its successors only", async (context) => {
  const folder = await folderOf(context);
  await new ServedQueues(folder, ORIGIN).add({ queue: QUEUE, destination: '/data/a.duckdb' });
  await kill(folder);
  const taken = await Promise.all([1, 2, 3].map(() => new ServedQueues(folder, ORIGIN).takeOver()));
  expect(taken.flat()).toEqual([{ queue: QUEUE, destination: '/data/a.duckdb' }]);
  expect(await readdir(folder)).toEqual([]);
});

test('the queue of a live worker is left to it, and forgotten when it stops', async (context) => {
  const folder = await folderOf(context);
  const queues = new ServedQueues(folder, ORIGIN);
  const forget = await queues.add({ queue: QUEUE, destination: null });
  expect(await queues.takeOver()).toEqual([]);
  await forget();
  expect(await readdir(folder)).toEqual([]);
});

test.each([
  ['of another task queue', { taskQueue: 'other' }],
  ['of another namespace', { namespace: 'other' }],
  ['of another Temporal server', { cluster: 'c2' }],
  ['of another machine', { host: 'elsewhere' }],
])('a queue %s is left alone', async (_, change) => {
  const folder = await scratch();
  onTestFinished(() => folder.remove());
  const queues = new ServedQueues(folder.path, ORIGIN);
  await queues.add({ queue: QUEUE, destination: null });
  await kill(folder.path, change);
  expect(await queues.takeOver()).toEqual([]);
  expect(await readdir(folder.path)).toHaveLength(1);
});

test.each([
  'highwater',
  'highwater-destination-a.duckdb',
  'highwater-destination-\n-0123456789ab',
  'other-destination-a-0123456789ab',
  'highwater-destination-a-0123456789ab ',
])('a queue that no destination has is not taken over: %j', async (queue) => {
  const folder = await scratch();
  onTestFinished(() => folder.remove());
  const queues = new ServedQueues(folder.path, ORIGIN);
  await queues.add({ queue: QUEUE, destination: null });
  await kill(folder.path, { queue });
  expect(await queues.takeOver()).toEqual([]);
});

test.each(['a.duckdb-0123456789ab', 'my data.duckdb-0123456789ab', '-01234567-9ab', 'files-01234567-9ab'])(
  'a queue of a destination is taken over: %s',
  async (name) => {
    const folder = await scratch();
    onTestFinished(() => folder.remove());
    const queues = new ServedQueues(folder.path, ORIGIN);
    await queues.add({ queue: `highwater-destination-${name}`, destination: null });
    await kill(folder.path);
    expect(await queues.takeOver()).toHaveLength(1);
  },
);

// Windows has other rights on files.
describe.skipIf(process.platform === 'win32')('files that other users may have written', () => {
  const prepare = async (context: TestContext) => {
    const folder = await folderOf(context);
    const queues = new ServedQueues(folder, ORIGIN);
    await queues.add({ queue: QUEUE, destination: null });
    await kill(folder);
    const [name = ''] = await readdir(folder);
    return { folder, queues, file: join(folder, name) };
  };

  test('are not read from a folder that others may write', async (context) => {
    const { folder, queues } = await prepare(context);
    await chmod(folder, 0o777);
    expect(await queues.takeOver()).toEqual([]);
    await chmod(folder, 0o770);
    expect(await queues.takeOver()).toEqual([]);
    expect(await readdir(folder)).toHaveLength(1);
  });

  test('are not read if others may write the file', async (context) => {
    const { queues, file } = await prepare(context);
    await chmod(file, 0o666);
    expect(await queues.takeOver()).toEqual([]);
  });

  test('are not read through links', async (context) => {
    const { folder, queues, file } = await prepare(context);
    await rename(file, `${folder}.elsewhere`);
    await symlink(`${folder}.elsewhere`, file);
    expect(await queues.takeOver()).toEqual([]);
    await rename(folder, `${folder}.real`);
    await symlink(`${folder}.real`, folder);
    expect(await queues.takeOver()).toEqual([]);
  });

  test('make no pipe hold up a worker', async (context) => {
    const { folder, queues } = await prepare(context);
    spawnSync('mkfifo', [join(folder, 'pipe.json')]);
    expect(await queues.takeOver()).toHaveLength(1);
  });

  test('cannot be added once this user has written to the folder', async (context) => {
    const folder = await folderOf(context);
    await mkdir(folder, { mode: 0o777 });
    await chmod(folder, 0o777);
    await new ServedQueues(folder, ORIGIN).add({ queue: QUEUE, destination: null });
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });
});

test('a queue that no worker took over for a day is forgotten', async (context) => {
  const folder = await folderOf(context);
  const queues = new ServedQueues(folder, ORIGIN);
  await queues.add({ queue: QUEUE, destination: null });
  await kill(folder, { since: Date.now() - 25 * 3600 * 1000, taskQueue: 'other' });
  expect(await queues.takeOver()).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});

test('a folder that is missing, unwritable or full of other files costs nothing', async (context) => {
  const folder = await folderOf(context);
  expect(await new ServedQueues(folder, ORIGIN).takeOver()).toEqual([]);
  const file = `${folder}.txt`;
  await writeFile(file, 'not a folder');
  const blocked = new ServedQueues(file, ORIGIN);
  await (
    await blocked.add({ queue: QUEUE, destination: null })
  )();
  expect(await blocked.takeOver()).toEqual([]);
  const queues = new ServedQueues(folder, ORIGIN);
  await queues.add({ queue: QUEUE, destination: null });
  await writeFile(join(folder, 'damaged.json'), '{"queue":');
  await writeFile(join(folder, 'notes.txt'), 'hello');
  expect(await queues.takeOver()).toEqual([]);
});
