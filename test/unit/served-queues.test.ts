/** Queues of dead workers, as the next worker of the machine finds them. */
import { spawnSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, type TestContext } from 'vitest';
import { ServedQueues } from '../../src/destinations/served-queues.js';
import { scratch } from '../helpers/harness.js';

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
  await new ServedQueues(folder, ORIGIN).add({ queue: 'q1', destination: '/data/a.duckdb' });
  await kill(folder);
  const taken = await Promise.all([1, 2, 3].map(() => new ServedQueues(folder, ORIGIN).takeOver()));
  expect(taken.flat()).toEqual([{ queue: 'q1', destination: '/data/a.duckdb' }]);
  expect(await readdir(folder)).toEqual([]);
});

test('the queue of a live worker is left to it, and forgotten when it stops', async (context) => {
  const folder = await folderOf(context);
  const queues = new ServedQueues(folder, ORIGIN);
  const forget = await queues.add({ queue: 'q1', destination: null });
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
  await queues.add({ queue: 'q1', destination: null });
  await kill(folder.path, change);
  expect(await queues.takeOver()).toEqual([]);
  expect(await readdir(folder.path)).toHaveLength(1);
});

test('a queue that no worker took over for a day is forgotten', async (context) => {
  const folder = await folderOf(context);
  const queues = new ServedQueues(folder, ORIGIN);
  await queues.add({ queue: 'q1', destination: null });
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
    await blocked.add({ queue: 'q1', destination: null })
  )();
  expect(await blocked.takeOver()).toEqual([]);
  const queues = new ServedQueues(folder, ORIGIN);
  await queues.add({ queue: 'q1', destination: null });
  await writeFile(join(folder, 'damaged.json'), '{"queue":');
  await writeFile(join(folder, 'notes.txt'), 'hello');
  expect(await queues.takeOver()).toEqual([]);
});
