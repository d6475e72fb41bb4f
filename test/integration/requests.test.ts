/** What the full form can ask and read besides lists of JSON by GET, each by a sync from end to end. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { asConfiguration } from '../../src/config/index.js';
import { readDestination } from '../../src/cli/query.js';
import type { Json } from '../../src/protocol.js';
import { highwater, historyText, scratch, startWorker, uniqueName, until } from '../helpers/harness.js';
import { startSystem, type System } from '../helpers/system.js';
import { SECRETS, startVariousApi, USERS, type VariousApi } from '../helpers/various-api.js';
import { LONG } from '../helpers/long.js';

type Config = { [key: string]: Json };

const COLUMNS = { id: 'LONG', name: 'STRING', big: 'LONG', updatedAt: 'UTC_DATETIME' };
const PAGES = { strategy: 'page_number', total: 'total' };
const ALL = USERS.map(({ id, name, big }) => [String(id), name, big]);

let system: System;
let hooks: Awaited<ReturnType<typeof scratch>>;
let count = 0;

beforeAll(async () => {
  hooks = await scratch();
  await writeFile(
    hooks.file('hmac.mjs'),
    `import { createHmac } from 'node:crypto';
     export const sign = ({ method, url }, { key }) => {
       const { pathname, search } = new URL(url);
       return { 'X-Signature': createHmac('sha256', key).update(method + ' ' + pathname + search).digest('hex') };
     };`,
  );
  system = await startSystem(inject('temporalAddress'), { ...SECRETS, HIGHWATER_HOOKS: hooks.path });
});
afterAll(async () => {
  await system.stop();
  await hooks.remove();
});

/** A configuration of one stream into a table of its own. */
function of(api: VariousApi, stream: Config, source: Config = {}): Config & { table: string } {
  const table = `t${++count}`;
  return {
    source: { base_url: api.url, ...source },
    destination: system.destination,
    streams: [{ name: table, table, primary_key: 'id', columns: COLUMNS, records: 'data', ...stream }],
    table,
  };
}

/** Runs it; the table's name is ours and no part of the configuration. */
async function synced({ table, ...configuration }: Config & { table: string }) {
  const result = await system.sync(configuration);
  const rows = await system.query(`SELECT id::VARCHAR, name, big::VARCHAR FROM "${table}" ORDER BY id`);
  return { result, rows, again: () => system.sync(configuration) };
}

async function withApi(
  options: Parameters<typeof startVariousApi>[0],
  work: (api: VariousApi) => Promise<void>,
): Promise<void> {
  const api = await startVariousApi(options);
  try {
    await work(api);
  } finally {
    api.stop();
  }
}

describe('a request', () => {
  test('may be a POST whose body holds size, token and time', () =>
    withApi({}, async (api) => {
      const { result, rows, again } = await synced(
        of(api, {
          path: '/search',
          method: 'POST',
          body: {
            size: '${cursor:limit}',
            after: '${cursor:scroll_param}',
            filter: { since: '${cursor:updated_since}' },
          },
          records: 'hits.items',
          strategy: 'cursor',
          next: { token: 'after' },
          page_size: 20,
          cursor_field: 'updatedAt',
          names: { updated_since: 'since' },
        }),
      );
      expect(rows).toEqual(ALL);
      expect(result.endRule).toBe('no_next_token');
      // Nothing of it stands in the address.
      expect(new Set(api.requests)).toEqual(new Set(['/search']));
      expect(await again()).toMatchObject({ records: 1, rows: 0 });
    }));

  test('may be a form', () =>
    withApi({}, async (api) => {
      const body = { page: '${cursor:page}' };
      const stream = { path: '/form', method: 'POST', body, body_as: 'form', records: '$' };
      expect((await synced(of(api, { ...stream, strategy: 'page_number' }))).rows).toEqual(ALL);
    }));

  test('may be GraphQL, with records inside of edges', () =>
    withApi({}, async (api) => {
      const graphQl = (query: string) =>
        of(api, {
          path: '/graphql',
          method: 'POST',
          body: { query, variables: { first: 30, after: '${cursor:scroll_param}' } },
          records: '$.data.users.edges[*].node',
          strategy: 'cursor',
          next: { token: 'data.users.pageInfo.endCursor' },
          more: 'data.users.pageInfo.hasNextPage',
        });
      const { rows, result } = await synced(graphQl('query { users(first: $first) { … } }'));
      expect(rows).toEqual(ALL);
      expect(result.pages).toBe(4);
      const { table: _table, ...wrong } = graphQl('query { user { … } }');
      expect((await system.failing(wrong)).message).toContain('Cannot query field');
      // What came beside an error is not whole.
      const { table: _other, ...partial } = graphQl('query broken { users(first: $first) { … } }');
      expect((await system.failing(partial)).message).toContain('owner timed out');
    }));
});

describe('an answer', () => {
  const plain = { strategy: 'cursor', next: { header: 'x-next' } };

  test('may be lines of JSON, whose numbers stay exact', () =>
    withApi({}, async (api) => {
      const { rows } = await synced(of(api, { path: '/export.ndjson', format: 'ndjson', ...plain }));
      expect(rows).toEqual(ALL);
    }));

  test.each(['/export.csv', '/export.csv.gz'])('may be CSV: %s', (path) =>
    withApi({}, async (api) => {
      const config = of(api, { path, format: 'csv', ...plain });
      const { rows } = await synced(config);
      expect(rows).toEqual(ALL);
      // An empty field is no time.
      expect(await system.query(`SELECT id::INTEGER FROM ${config.table} WHERE "updatedAt" IS NULL`)).toEqual(
        [[7]],
      );
    }),
  );

  test('may be a single record', () =>
    withApi({}, async (api) => {
      const { rows } = await synced(of(api, { path: '/me', single: true, records: 'me', ...plain }));
      expect(rows).toEqual(ALL.slice(0, 1));
    }));

  test('gives rows of the columns, names and records that are wanted', () =>
    withApi({}, async (api) => {
      const config = of(api, {
        path: '/users',
        ...PAGES,
        where: "@.status == 'open' && @.id > 10",
        columns: {
          user_id: { type: 'LONG', from: 'id' },
          login: { type: 'STRING', from: 'owner.login' },
          big: 'LONG',
          changed: { type: 'UTC_DATETIME', from: 'updatedAt' },
        },
        primary_key: 'user_id',
        cursor_field: 'changed',
      });
      const { table, ...configuration } = config;
      const result = await system.sync(configuration);
      const kept = USERS.filter(({ status, id }) => status === 'open' && id > 10);
      // The end of the list is found by all records, not by those that are kept.
      expect(result).toMatchObject({ endRule: 'total_reached', pages: 5, records: kept.length });
      expect(
        await system.query(`SELECT user_id::VARCHAR, login, big::VARCHAR FROM ${table} ORDER BY user_id`),
      ).toEqual(kept.map(({ id, owner, big }) => [String(id), owner.login, big]));
    }));
});

/** Everything that is kept of a run: histories, what the worker said, staging, destination and what lies beside. */
async function traces(): Promise<string> {
  const texts = [system.worker.said()];
  for await (const { workflowId, runId } of system.client.temporal.workflow.list()) {
    const history = await system.client.temporal.workflow.getHandle(workflowId, runId).fetchHistory();
    texts.push(historyText(history));
  }
  const folder = system.destination.replace(/[^/]*$/, '');
  for (const file of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (file.isFile()) texts.push(await readFile(`${file.parentPath}/${file.name}`, 'latin1'));
  }
  return texts.join('\n');
}

describe('credentials', () => {
  const SESSION = {
    type: 'session',
    login: {
      url: '/login',
      body: { user: '${env:VARIOUS_USER}', password: '${env:VARIOUS_PASSWORD}' },
    },
    token: 'session.id',
    name: 'X-Session',
    prefix: '',
  };
  const OAUTH = (api: VariousApi, more: Config = {}) => ({
    type: 'oauth2',
    token_url: `${api.url}/oauth/token`,
    client_id: 'highwater',
    client_secret: '${env:VARIOUS_CLIENT}',
    ...more,
  });

  test('of a session come from a login, and are renewed when it expires', () =>
    withApi({ uses: 2 }, async (api) => {
      const { rows } = await synced(of(api, { path: '/session/users', ...PAGES, auth: SESSION }));
      expect(rows).toEqual(ALL);
      expect(api.tokens.length).toBeGreaterThanOrEqual(3);
      const text = await traces();
      for (const token of api.tokens) expect(text).not.toContain(token);
    }));

  test('of a session that are wrong are refused in words that do not tell them', () =>
    withApi({}, async (api) => {
      const login = {
        ...SESSION.login,
        body: { user: '${env:VARIOUS_PASSWORD}', password: '${env:VARIOUS_USER}' },
      };
      const { table: _, ...config } = of(api, {
        path: '/session/users',
        ...PAGES,
        auth: { ...SESSION, login },
      });
      const { message, type } = await system.failing(config);
      expect(message).toMatch(/the login was rejected: 403: no such user: \*\*\*/);
      expect(message).toContain('POST http');
      expect(type).toBe('SourceRefusedError');
    }));

  test.each(['body', 'basic'])('of an OAuth client are exchanged for a token (client in %s)', (client_auth) =>
    withApi({ uses: 2 }, async (api) => {
      const { rows } = await synced(
        of(api, { path: '/oauth/users', ...PAGES, auth: OAUTH(api, { client_auth }) }),
      );
      expect(rows).toEqual(ALL);
      expect(api.tokens.length).toBeGreaterThanOrEqual(3);
    }),
  );

  test('that the server replaces at each use are kept, and no reader of the files learns them', () =>
    withApi({ uses: 2 }, async (api) => {
      const auth = OAUTH(api, { refresh_token: '${env:VARIOUS_REFRESH}' });
      const { rows, again } = await synced(of(api, { path: '/oauth/users', ...PAGES, auth }));
      expect(rows).toEqual(ALL);
      expect(api.refreshTokens.length).toBeGreaterThan(3);
      // A new worker knows only what is kept.
      await system.stop();
      const before = api.refreshTokens.length;
      const folder = system.destination;
      system = await startSystem(inject('temporalAddress'), { ...SECRETS, HIGHWATER_HOOKS: hooks.path });
      expect(folder).not.toBe(system.destination);
      // Another destination has nothing kept: the first token has been used up.
      await expect(again()).rejects.toThrow(/the refresh token has been used/);
      expect(api.refreshTokens.length).toBe(before);
    }));

  test('are made for each request by a hook', () =>
    withApi({}, async (api) => {
      const auth = { type: 'signature', hook: 'hmac', settings: { key: '${env:VARIOUS_SIGNING}' } };
      const { rows } = await synced(of(api, { path: '/signed/users', ...PAGES, auth }));
      expect(rows).toEqual(ALL);
      const { table: _, ...absent } = of(api, {
        path: '/signed/users',
        ...PAGES,
        auth: { ...auth, hook: 'nowhere' },
      });
      expect((await system.failing(absent)).message).toMatch(/the worker has no file .*nowhere\.mjs/);
    }));

  test('leave no trace in histories, logs, staging, destination and the files beside it', () =>
    withApi({ uses: 2 }, async (api) => {
      const auth = OAUTH(api, { refresh_token: '${env:VARIOUS_REFRESH}' });
      for (const stream of [
        { path: '/session/users', auth: SESSION },
        { path: '/oauth/users', auth },
        {
          path: '/signed/users',
          auth: { type: 'signature', hook: 'hmac', settings: { key: '${env:VARIOUS_SIGNING}' } },
        },
      ]) {
        expect((await synced(of(api, { ...stream, ...PAGES }))).rows).toEqual(ALL);
      }
      const text = await traces();
      expect(text).toContain('oauth/users');
      const { VARIOUS_USER: _user, ...secrets } = SECRETS;
      for (const secret of [...Object.values(secrets), ...api.tokens, ...api.refreshTokens]) {
        expect(text).not.toContain(secret);
        expect(text).not.toContain(Buffer.from(secret).toString('base64'));
      }
    }));

  test('that are kept serve the command line too', () =>
    withApi({ uses: 3 }, async (api) => {
      const folder = await scratch();
      const { table: _, ...config } = of(api, {
        path: '/oauth/users',
        ...PAGES,
        auth: OAUTH(api, { refresh_token: '${env:VARIOUS_REFRESH}' }),
      });
      const file = folder.file('oauth.json');
      await writeFile(file, JSON.stringify({ ...config, destination: folder.file('x.duckdb') }));
      for (let i = 0; i < 3; i++) {
        const { status, stdout, stderr } = await highwater(['preview', file, '--limit', '90'], {
          env: SECRETS,
        });
        expect(status, stderr).toBe(0);
        for (const secret of [...api.tokens, ...api.refreshTokens])
          expect(stdout + stderr).not.toContain(secret);
      }
      expect(api.refreshTokens.length).toBeGreaterThan(3);
      await folder.remove();
    }));
});

describe('what is asked of a source', () => {
  test('stops before its budget is used up', () =>
    withApi({}, async (api) => {
      const { rows } = await synced(of(api, { path: '/limited/users', ...PAGES, in_flight: 1 }));
      expect(rows).toEqual(ALL);
      expect(api.over).toBe(0);
    }));

  test('is shared by all streams: so many at once, so many a second', () =>
    withApi({}, async (api) => {
      const { table: _, ...config } = of(
        api,
        {},
        { rate_limit: { concurrency: 2, requests_per_second: 20 } },
      );
      const columns = COLUMNS;
      const streams = ['a', 'b', 'c'].map((name) => ({
        ...{
          name,
          table: `shared_${name}`,
          primary_key: 'id',
          columns,
          path: '/slow/users',
          records: 'data',
        },
        ...PAGES,
      }));
      const started = Date.now();
      const handle = await system.start({ ...config, streams });
      expect((await handle.result()).streams.map(({ rows }) => rows)).toEqual([95, 95, 95]);
      expect(api.atOnce).toBeLessThanOrEqual(2);
      const asked = api.requests.length;
      expect(Date.now() - started).toBeGreaterThan(((asked - 1) / 20) * 1000);
    }));

  test('goes by the rules for its errors', () =>
    withApi({}, async (api) => {
      const errors = [
        { status: 420, action: 'wait', wait: '1s' },
        { status: '4xx', path: '$.error[?@ == "BUSY"]', action: 'retry' },
        { path: 'fault', action: 'retry' },
        { status: 404, body: 'no more', action: 'ignore' },
      ];
      const { rows, result } = await synced(
        of(api, { path: '/odd/users', strategy: 'page_number', in_flight: 1 }, { errors }),
      );
      // The last page is one that the source says is not there.
      expect(rows).toEqual(ALL.slice(0, 80));
      expect(result.endRule).toBe('empty_page');
      const { table: _, ...fails } = of(api, {
        path: '/nowhere',
        ...PAGES,
        errors: [{ status: 404, action: 'fail' }],
      });
      expect((await system.failing(fails)).message).toContain('there is no such endpoint');
    }));
});

describe('a stream with a parent', () => {
  const TEAMS = {
    name: 'teams',
    path: '/teams',
    primary_key: 'id',
    columns: { id: 'LONG', name: 'STRING' },
    strategy: 'cursor',
    next: { token: 'none' },
  };
  const members = (more: Config = {}) => ({
    name: 'members',
    path: '/teams/${parent:id}/members',
    primary_key: ['team_id', 'id'],
    columns: { ...COLUMNS, team_id: 'LONG', team: 'STRING' },
    parent: { stream: 'teams', include: { team_id: 'id', team: 'name' } },
    errors: [{ status: 404, body: 'archived', action: 'skip_parent' }],
    strategy: 'page_number',
    ...more,
  });
  const config = (api: VariousApi, more: Config = {}): Config => ({
    source: { base_url: api.url },
    destination: system.destination,
    // The child stands first, and waits for its parent all the same.
    streams: [
      { ...members(), ...more },
      { ...TEAMS, table: `teams_${count}` },
    ],
  });
  const expected = USERS.filter(({ id }) => [1, 2, 4, 5].includes(id % 10))
    .map(({ id, name }) => [id % 10, `Team ${id % 10}`, name])
    .sort((a, b) => Number(a[0]) - Number(b[0]));

  test('is read for each of its rows, with columns of theirs', () =>
    withApi({}, async (api) => {
      count++;
      const handle = await system.start(config(api, { table: `members_${count}` }));
      const [child] = (await handle.result()).streams;
      expect(child).toMatchObject({ endRule: 'all_parents', rows: expected.length });
      expect(child?.warnings.map(({ code }) => code)).toEqual(['parent_skipped']);
      expect(
        await system.query(
          `SELECT team_id::INTEGER, team, name FROM members_${count} ORDER BY team_id, "updatedAt", id`,
        ),
      ).toEqual(expected);
    }));

  test('keeps a mark for each of them, and asks for what is newer only', () =>
    withApi({}, async (api) => {
      count++;
      const incremental = {
        table: `members_${count}`,
        cursor_field: 'updatedAt',
        names: { updated_since: 'updated_since' },
        batch_rows: 7,
      };
      const run = async () => (await (await system.start(config(api, incremental))).result()).streams[0];
      expect(await run()).toMatchObject({ rows: expected.length });
      expect(await run()).toMatchObject({ rows: 0, records: 4 });
      const asked = api.requests.slice(-20).filter((path) => path.includes('updated_since'));
      expect(new Set(asked.map((path) => /since=([^&]*)/.exec(path)?.[1])).size).toBeGreaterThan(1);
      const marks = await system.query(
        `SELECT count(*)::INTEGER FROM _highwater_parents WHERE "table" = 'members_${count}'`,
      );
      expect(marks).toEqual([[4]]);
    }));

  test.skipIf(!LONG).concurrent.each(['commit.before', 'commit.after'])(
    'loses nothing when its worker dies at %s',
    (point) =>
      withApi({ teams: 60 }, async (api) => {
        count++;
        const folder = await scratch();
        const destination = folder.file('highwater.duckdb');
        const taskQueue = uniqueName('parents');
        const address = inject('temporalAddress');
        // Those of the parents come first, and then nine of their children's.
        const env = { HIGHWATER_FAULT: `${point}:5` };
        let worker = await startWorker({ address, taskQueue, destination, env });
        const incremental = { cursor_field: 'updatedAt', names: { updated_since: 'updated_since' } };
        // With a total, no parent's empty last page is asked for once more.
        const child = { ...members(), ...incremental, total: 'total', batch_rows: 60, in_flight: 3 };
        const streams = [TEAMS, child];
        const input = asConfiguration({ source: { base_url: api.url }, destination, streams });
        const run = () => system.client.start(input, { taskQueue, workflowId: uniqueName('parents') });
        const handle = await run();
        const isGone = () => worker.child.exitCode !== null || worker.child.signalCode !== null;
        await until(async () => isGone(), 30, 'its end');
        worker = await startWorker({ address, taskQueue, destination });
        const [, result] = (await handle.result()).streams;
        expect(result?.endRule).toBe('all_parents');
        const { rows } = await readDestination(
          destination,
          `SELECT team_id::INTEGER, count(*)::INTEGER FROM members GROUP BY ALL ORDER BY 1`,
        );
        const size = (team: number) => USERS.filter(({ id }) => id % 10 === team % 10).length;
        const wanted = Array.from({ length: 60 }, (_, i) => i + 1).filter((team) => team !== 3);
        expect(rows).toEqual(wanted.map((team) => [team, size(team)]));
        // Each of them has a mark, so that the next pass reads one record of each.
        const [, again] = (await (await run()).result()).streams;
        expect(again).toMatchObject({ rows: 0 });
        expect(again?.records).toBeLessThan(wanted.length * 2 + 1);
        await worker.end();
        await folder.remove();
      }),
  );

  test('is not read when its parent failed, and says so', () =>
    withApi({}, async (api) => {
      count++;
      const { streams, ...rest } = config(api) as Config & { streams: Config[] };
      const [child, parent] = streams;
      const handle = await system.start({ ...rest, streams: [child ?? {}, { ...parent, path: '/nowhere' }] });
      await expect(handle.result()).rejects.toThrow(
        /stream teams: .*404|members: not read, because its parent teams failed/s,
      );
    }));
});
