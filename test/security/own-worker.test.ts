/**
 * Commands that run a worker of their own, `run`, `audit` and `backfill`, on a Temporal server where another user has
 * started a sync on the same task queue: that one must not get the rights of the user who runs the command.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { connect, highwater, scratch, uniqueName } from '../helpers/harness.js';

const SECRET = 'the-secret-of-the-user';

let folder: Awaited<ReturnType<typeof scratch>>;
let client: HighwaterClient;
let server: Server;
let url: string;
/** Requests to the API: path and Authorization header. */
const requests: { path: string; authorization: string }[] = [];

beforeAll(async () => {
  folder = await scratch();
  client = await connect(inject('temporalAddress'));
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://h');
    requests.push({ path: pathname, authorization: request.headers.authorization ?? '' });
    response.end(JSON.stringify({ data: [{ id: '1', updatedAt: '2026-01-01T00:00:00Z' }] }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  server.close().closeAllConnections();
  await client.close();
  await folder.remove();
});

const configuration = (path: string) => ({
  source: { base_url: url, auth: { type: 'bearer' as const, token: '${env:SECRET}' } },
  streams: [
    {
      name: 'user',
      path,
      strategy: 'keyset' as const,
      cursor_field: 'updatedAt',
      primary_key: 'id',
      records: 'data',
      next: { token: 'next' },
    },
  ],
});

/** Starts a sync of another user, for which no worker is there. */
const startOther = (taskQueue: string) =>
  client.start(
    { ...configuration('/other'), destination: 'other.duckdb' },
    { taskQueue, workflowId: uniqueName('other') },
  );

const command = (env: { [name: string]: string }, ...args: string[]) =>
  highwater(args, {
    cwd: folder.path,
    env: { SECRET, TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path, ...env },
  });

test('a sync of another user gets nothing of theirs', async () => {
  await writeFile(
    folder.file('own.json'),
    JSON.stringify({ ...configuration('/own'), destination: 'own.duckdb' }),
  );
  const taskQueue = uniqueName('shared');
  const other = await startOther(taskQueue);
  const id = uniqueName('own');
  await client.start(
    { ...configuration('/own'), destination: folder.file('own.duckdb') },
    { taskQueue, workflowId: id },
  );

  const ran = await command({}, 'run', 'own.json', '--id', id);
  expect(ran.status, ran.stderr).toBe(0);
  const audited = await command({}, 'audit', 'own.json', '--task-queue', taskQueue);
  expect(audited.status, audited.stderr).toBe(0);

  expect(new Set(requests.map(({ path }) => path))).toEqual(new Set(['/own']));
  expect((await client.temporal.workflow.getHandle(other.workflowId).describe()).status.name).toBe('RUNNING');
  await other.cancel();
}, 120_000);

test.each([['run'], ['audit']])('%s uses no more than HIGHWATER_TRUST=none allows', async (name) => {
  requests.length = 0;
  const { status, stderr } = await command({ HIGHWATER_TRUST: 'none' }, name, 'own.json');
  expect(status).not.toBe(0);
  expect(stderr).toContain('may not use');
  expect(requests).toEqual([]);
});
