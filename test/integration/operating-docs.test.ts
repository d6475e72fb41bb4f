/** Every command that docs/operating.md shows does what it is there for, on a server and with a worker of its own. */
import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import {
  CLI,
  configurationFor,
  connect,
  scratch,
  startWorker,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal, testServer, type TestServer } from '../helpers/temporal.js';

const text = await readFile(new URL('../../docs/operating.md', import.meta.url), 'utf8');
/** Fences of commands alone, with the heading that they stand under. */
const blocks = [...text.matchAll(/^```\n((?:highwater|temporal) [\s\S]*?)^```$/gm)].map(
  ({ 1: block = '', index }) => ({
    heading: /.*^## ([^\n]*)/ms.exec(text.slice(0, index))?.[1] ?? '',
    lines: block.trimEnd().split('\n'),
  }),
);

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
  await writeFile(
    folder.file('users.json'),
    JSON.stringify(configurationFor('keyset', api.url, { interval: '1h', destination })),
  );
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
  expect(blocks.map(({ heading }) => heading)).toEqual([
    ...['What is it doing?', 'It fails', 'It is stuck', 'It is slow'],
    ...['I must stop it for an hour', 'I must stop it for an hour', 'I want a pass now', 'At set times'],
    ...['I must rewind', 'I must rewind', 'I must rewind'],
    ...['I changed the configuration, or the schema', 'I changed the configuration, or the schema'],
    ...['Is the table right?', 'I must read a range again'],
    ...['I must deploy a new version', 'With the Temporal CLI', 'With the Temporal CLI'],
    ...['With the Temporal CLI', 'Reading the destination'],
  ]);
});

test.each(blocks)('$heading: $lines.0', async ({ lines }) => {
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
