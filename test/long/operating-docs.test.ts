/** Every plain fence of commands in the pages on operating works, on a server and with a worker of its own. */
import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { CLI, connect, scratch, startWorker, until, type WorkerProcess } from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal, testServer, type TestServer } from '../helpers/temporal.js';

/** Fences of commands alone, with the heading that they stand under; by page. */
const pages = await Promise.all(
  ['operating', 'backfill-and-audit', 'schedules'].map(async (page) => {
    const text = await readFile(new URL(`../../docs/${page}.md`, import.meta.url), 'utf8');
    return [...text.matchAll(/^```\n((?:highwater|temporal) [\s\S]*?)^```$/gm)].map(
      ({ 1: block = '', index }) => ({
        page,
        heading: /.*^## ([^\n]*)/ms.exec(text.slice(0, index))?.[1] ?? '',
        lines: block.trimEnd().split('\n'),
      }),
    );
  }),
);
const blocks = pages.flat();

let server: TestServer;
let api: TestApi;
let worker: WorkerProcess;
let client: HighwaterClient;
let folder: Awaited<ReturnType<typeof scratch>>;

beforeAll(async () => {
  [server, api, folder] = await Promise.all([testServer(), testApi({ rows: 20 }), scratch()]);
  const destination = folder.file('highwater.duckdb');
  worker = await startWorker({
    address: server.address,
    taskQueue: 'highwater',
    destination,
    cwd: folder.path,
  });
  client = await connect(server.address);
  const configuration = JSON.stringify({
    source: { base_url: api.url },
    ...{ destination, interval: '1h' },
    streams: [
      {
        ...{ name: 'users', path: '/pagination/page_number', strategy: 'page_number', primary_key: 'id' },
        params: { order_by: 'updatedAt', order_type: 'asc' },
        names: { limit: 'per_page', updated_since: 'updated_since' },
        ...{ page_size: 50, total: 'total_items', cursor_field: 'updatedAt' },
      },
    ],
  });
  // JSON is YAML too; the Temporal CLI takes JSON only.
  for (const name of ['users.yaml', 'users.json']) await writeFile(folder.file(name), configuration);
  await writeFile(
    folder.file('january.json'),
    JSON.stringify({ range: { kind: 'backfill', from: '2026-01-01', to: '2026-02-01' } }),
  );
  const program = (command: string) => `#!/bin/sh\nexec ${command} "$@"\n`;
  for (const [name, command] of [
    ['highwater', `"${process.execPath}" "${CLI}"`],
    ['temporal', `"${server.cli}"`],
  ] as const) {
    await writeFile(folder.file(name), program(command));
    await chmod(folder.file(name), 0o755);
  }
});
afterAll(async () => {
  await client?.close();
  await worker?.end();
  await Promise.all([api?.stop(), server?.stop()]);
  await folder?.remove();
});

/** The sync of the examples, sleeping between two passes; started again where it was stopped. */
async function users(): Promise<void> {
  const configuration = JSON.parse(await readFile(folder.file('users.json'), 'utf8')) as never;
  const sync = client.sync('users');
  const isAsleep = async () => {
    const status = await sync.status().catch(() => 'NONE');
    // By now a block may have stopped it, or left it to the next block to start it.
    if (status !== 'RUNNING') await client.start(configuration, { workflowId: 'users' });
    return (await sync.progress()).status === 'sleeping';
  };
  await until(isAsleep, 20, 'the sync asleep');
}

test('there are commands under every heading that says what to do', () => {
  expect(pages.map((blocks) => blocks.map(({ heading }) => heading))).toEqual([
    [
      ...['What is it doing?', 'Pause, trigger, stop', 'It fails', 'It is stuck', 'It is slow'],
      ...['I changed the configuration, or the schema', 'I changed the configuration, or the schema'],
      ...['I must deploy a new version', 'With the Temporal CLI', 'With the Temporal CLI'],
      ...['With the Temporal CLI', 'Read the destination'],
    ],
    ['Audit', 'Backfill', 'Move the mark back', 'Move the mark back', 'Move the mark back'],
    ['Trigger, pause, stop', 'Change the pace', 'Schedule'],
  ]);
});

test.each(blocks)('$page, $heading: $lines.0', async ({ lines }) => {
  await users();
  for (const line of lines) {
    const env = envWithoutTemporal({
      ...{ PATH: `${folder.path}:${process.env['PATH'] ?? ''}`, HIGHWATER_HOME: folder.path },
      ...{ TEMPORAL_ADDRESS: server.address },
    });
    const ended = await new Promise<{ status: number; said: string }>((resolve) => {
      execFile('sh', ['-c', line], { env, cwd: folder.path }, (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : Number(error.code ?? 1), said: stdout + stderr }),
      );
    });
    expect(ended.status, `${line}\n${ended.said}`).toBe(0);
    expect(ended.said, line).not.toMatch(/no worker answers|✗|^! /m);
  }
});
