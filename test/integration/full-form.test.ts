/** The full form against the reference API itself: its ways of paging and of signing in, in one sync. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { planFromFlat } from '../../src/config/index.js';
import type { Json } from '../../src/protocol.js';
import { highwater, historyText, scratch, until } from '../helpers/harness.js';
import {
  installPlayground,
  PLAYGROUND_CREDENTIALS,
  type Playground,
  startPlayground,
} from '../helpers/playground.js';
import { startSystem, type System } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const install = await installPlayground();
const secrets = {
  HW_USER: PLAYGROUND_CREDENTIALS.user,
  HW_PASSWORD: PLAYGROUND_CREDENTIALS.password,
  HW_BEARER: PLAYGROUND_CREDENTIALS.bearer,
  HW_KEY: PLAYGROUND_CREDENTIALS.key,
  HW_SESSION_USER: PLAYGROUND_CREDENTIALS.sessionUser,
  HW_SESSION_PASSWORD: PLAYGROUND_CREDENTIALS.sessionPassword,
};

/** Every way in which the reference API pages, exports and lets one in, and its companies with their departments. */
const STREAMS: { [key: string]: Json }[] = [
  {
    name: 'by_number',
    path: '/pagination/page_number',
    strategy: 'page_number',
    page_size: 50,
    names: { limit: 'per_page', updated_since: 'updated_since' },
    total: 'total_items',
  },
  {
    name: 'by_url',
    path: '/pagination/next_page_url',
    strategy: 'cursor',
    page_size: 30,
    names: { limit: 'per_page', updated_since: 'updated_since' },
    next: { url: 'next_page_url' },
  },
  { name: 'by_offset', path: '/pagination/offset', strategy: 'offset', page_size: 50, total: 'total' },
  { name: 'by_keyset', path: '/pagination/keyset', strategy: 'keyset', next: { token: 'scroll_param' } },
  { name: 'by_time', path: '/incremental/timestamp', strategy: 'timestamp' },
  {
    name: 'by_id',
    path: '/incremental/step',
    strategy: 'step_size',
    step_size: 40,
    max_id: 400,
    max_empty_steps: 2,
  },
  {
    name: 'with_basic',
    path: '/auth/http_basic',
    auth: { type: 'basic', username: '${env:HW_USER}', password: '${env:HW_PASSWORD}' },
  },
  { name: 'with_bearer', path: '/auth/http_bearer', auth: { type: 'bearer', token: '${env:HW_BEARER}' } },
  {
    name: 'with_key',
    path: '/auth/api_key',
    auth: { type: 'api_key', name: 'Authorization', value: 'apiKey ${env:HW_KEY}' },
  },
  {
    name: 'with_session',
    path: '/auth/session_token/data',
    auth: {
      type: 'session',
      login: {
        url: '/auth/session_token/login',
        body: { username: '${env:HW_SESSION_USER}', password: '${env:HW_SESSION_PASSWORD}' },
      },
      expires_in: 'expires_in',
      prefix: 'Token ',
    },
  },
  { name: 'as_csv', path: '/export/csv', format: 'csv', next: { header: 'x-none' } },
  {
    name: 'companies',
    path: '/cursors/companies',
    primary_key: 'company_id',
    columns: {
      company_id: 'LONG',
      company_name: 'STRING',
      updatedAt: 'UTC_DATETIME',
      createdAt: 'UTC_DATETIME',
    },
    names: { updated_since: 'updated_since' },
  },
  {
    name: 'departments',
    path: '/cursors/${parent:company_id}/departments',
    parent: { stream: 'companies', include: { company: 'company_name' } },
    primary_key: ['company_id', 'department_id'],
    columns: {
      company_id: 'LONG',
      department_id: 'LONG',
      department_name: 'STRING',
      company: 'STRING',
      updatedAt: 'UTC_DATETIME',
    },
    names: { updated_since: 'updated_since' },
  },
];

/** Stands before an API and counts what it refuses with 429. */
async function counting(url: string): Promise<{ url: string; refused: () => number; stop: () => void }> {
  let refused = 0;
  const server = createServer((incoming, response) => {
    const { headers } = incoming;
    const outgoing = request(new URL(incoming.url ?? '/', url), { headers }, (answer) => {
      if (answer.statusCode === 429) refused++;
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    outgoing.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refused: () => refused,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

describe.skipIf(!install.available)(
  `the full form reads the reference API${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    let playground: Playground;
    let system: System;
    const configuration = (streams: Json[], more: { [key: string]: Json } = {}): { [key: string]: Json } => ({
      sync: { name: 'playground', max_streams: 3 },
      source: { base_url: playground.url },
      destination: system.destination,
      defaults: {
        primary_key: 'id',
        cursor_field: 'updatedAt',
        columns: planFromFlat({}).table.columns,
        strategy: 'cursor',
        next: { token: 'nothing' },
      },
      streams,
      ...more,
    });

    beforeAll(async () => {
      if (!install.available) return;
      playground = await startPlayground(install.python);
      system = await startSystem(inject('temporalAddress'), secrets);
    });
    afterAll(async () => {
      await system.stop();
      await playground.stop();
    });

    test('each stream by a workflow of its own, and nothing is missing', async () => {
      const handle = await system.start(configuration(STREAMS));
      const { streams } = await handle.result();
      expect(
        Object.fromEntries(streams.map(({ stream, rows, endRule }) => [stream, [rows, endRule]])),
      ).toEqual({
        by_number: [200, 'total_reached'],
        by_url: [200, 'no_next_token'],
        by_offset: [200, 'total_reached'],
        by_keyset: [200, 'no_next_token'],
        by_time: [200, 'whole_answer'],
        by_id: [200, 'max_empty_steps'],
        with_basic: [20, 'no_next_token'],
        with_bearer: [20, 'no_next_token'],
        with_key: [20, 'no_next_token'],
        with_session: [20, 'no_next_token'],
        as_csv: [200, 'no_next_token'],
        companies: [2, 'no_next_token'],
        departments: [8, 'all_parents'],
      });
      const list = (await (
        await fetch(`${playground.url}/incremental/timestamp?since=0001-01-01T00:00:00Z`)
      ).json()) as {
        data: { id: string; address: string }[];
      };
      const expected = list.data.map(({ id, address }) => [id, address]).sort();
      for (const name of ['by_number', 'by_url', 'by_offset', 'by_keyset', 'by_time']) {
        const rows = await system.query(`SELECT id, address FROM "${name}"`);
        expect(rows.sort()).toEqual(expected);
      }
      const csv = await system.query('SELECT id, "updatedAt" FROM as_csv ORDER BY id');
      expect(csv).toEqual(await system.query('SELECT id, "updatedAt" FROM by_time ORDER BY id'));
      expect(
        await system.query(
          'SELECT count(DISTINCT d.company_id)::INTEGER, count(*)::INTEGER FROM departments d JOIN companies c ON d.company_id = c.company_id AND d.company = c.company_name',
        ),
      ).toEqual([[2, 8]]);
      const children = system.client.temporal.workflow.list({
        query: `WorkflowId STARTS_WITH "${handle.workflowId}/"`,
      });
      await until(
        async () => {
          let count = 0;
          for await (const _ of children) count++;
          return count === STREAMS.length;
        },
        15,
        'the children to be listed',
      );
      for (const { name, path } of STREAMS) {
        const { workflow } = system.client.temporal;
        const history = await workflow.getHandle(`${handle.workflowId}/${String(name)}`).fetchHistory();
        const payloads = historyText(history);
        // The payloads can be read: each stream has its own part of the configuration.
        expect(payloads).toContain(String(path));
        for (const secret of Object.values(secrets)) expect(payloads).not.toContain(secret);
      }
    });

    test('asks next time for what has changed since the newest record only', async () => {
      const [byNumber, byUrl] = STREAMS;
      const streams = [byNumber ?? {}, byUrl ?? {}].map((stream, i) => ({ ...stream, table: `again_${i}` }));
      const first = await (await system.start(configuration(streams))).result();
      const second = await (await system.start(configuration(streams))).result();
      for (const [i, stream] of second.streams.entries()) {
        expect(first.streams[i]?.records).toBe(200);
        // The filter includes the newest timestamp itself.
        expect(stream.records).toBeLessThan(20);
        expect(stream.rows).toBe(0);
      }
    });

    test.skipIf(!LONG)(
      'with --rate-limit is read by several streams: with a budget none is refused, without one they wait',
      async () => {
        if (!install.available) return;
        const limited = await startPlayground(install.python, { rateLimit: true, capacity: 3 });
        const watched = await counting(limited.url);
        try {
          const streams = STREAMS.slice(0, 3).map((stream, i) => ({ ...stream, table: `limited_${i}` }));
          const rows = async (source: { [key: string]: Json }) => {
            const handle = await system.start(
              configuration(streams, { source: { base_url: watched.url, ...source } }),
            );
            return (await handle.result()).streams.map((stream) => stream.rows);
          };
          expect(await rows({ rate_limit: { requests_per_second: 9, concurrency: 3 } })).toEqual([
            200, 200, 200,
          ]);
          expect(watched.refused()).toBe(0);
          const [, , byOffset = {}] = streams;
          const all = { table: 'limited_all', full_rescan: 1, in_flight: 8, page_size: 10 };
          const careless = configuration([{ ...byOffset, ...all }], { source: { base_url: watched.url } });
          expect(await system.sync(careless)).toMatchObject({ rows: 200 });
          expect(watched.refused()).toBeGreaterThan(0);
        } finally {
          watched.stop();
          await limited.stop();
        }
      },
    );

    test('a stream that fails says which and why, and the others are done', async () => {
      const streams = [
        { name: 'gone', path: '/not/there' },
        { ...STREAMS[4], table: 'beside' },
      ];
      const failure = await system.failing(configuration(streams));
      expect(failure.message).toMatch(/^stream gone: .*404/s);
      expect(failure.type).toBe('SourceRefusedError');
      expect(await system.query('SELECT count(*)::INTEGER FROM beside')).toEqual([[200]]);
    });

    test('a wrong credential is refused in words that do not tell it', async () => {
      const { HW_KEY: key } = secrets;
      const failure = await system.failing(
        configuration([
          { name: 'refused', path: '/auth/http_bearer', auth: { type: 'bearer', token: '${env:HW_KEY}' } },
        ]),
      );
      expect(failure.message).toContain('401');
      expect(failure.message).not.toContain(key);
    });

    test('the command line shows all streams', async () => {
      const folder = await scratch();
      const file = folder.file('playground.json');
      const streams = STREAMS.slice(0, 3);
      const destination = folder.file('x.duckdb');
      await writeFile(file, JSON.stringify({ ...configuration(streams), destination }));
      const { status, stdout, stderr } = await highwater(['run', file, '--json'], {
        env: { TEMPORAL_ADDRESS: inject('temporalAddress') },
      });
      expect(status, stderr).toBe(0);
      const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
        streams: { stream: string; rows: number }[];
      };
      expect(last.streams.map(({ stream, rows }) => [stream, rows])).toEqual([
        ['by_number', 200],
        ['by_url', 200],
        ['by_offset', 200],
      ]);
      await folder.remove();
    });
  },
);
