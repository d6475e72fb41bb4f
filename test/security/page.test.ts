/** Who may read the page of `highwater ui`, and who may act by it: requests to the real server. */
import { request } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { Details } from '../../src/ui/details.js';
import { servePage, type PageServer } from '../../src/ui/server.js';
import { Watch } from '../../src/ui/watch.js';

const TOKEN = 'a-token-of-the-test';
let page: PageServer | null = null;
const acted: string[] = [];
afterEach(async () => {
  await page?.close();
  page = null;
  acted.length = 0;
});

/** Serves a page whose Temporal server is away. */
async function serve(
  options: { actions?: boolean; host?: string; isReaderToken?: boolean } = {},
): Promise<number> {
  const watch = new Watch(() => Promise.reject(new Error('no <b>server</b> was found')));
  const means = {
    ask: () => Promise.reject(new Error('not asked')),
    events: () => Promise.resolve([]),
    addressOf: () => '',
    refusalOf: () => null,
  };
  const act = (action: string, id: string) => {
    acted.push(`${action} ${id}`);
    return Promise.resolve('done');
  };
  page = await servePage({
    ...{ watch, details: new Details(watch, means), port: 0, token: TOKEN },
    host: options.host ?? '127.0.0.1',
    isReaderToken: options.isReaderToken ?? false,
    act: options.actions === true ? act : null,
  });
  return Number(new URL(page.url).port);
}

interface Got {
  status: number;
  headers: { [name: string]: string | string[] | undefined };
  body: string;
}

const ask = (
  port: number,
  path: string,
  {
    host = '127.0.0.1',
    method = 'GET',
    headers = {},
    body = '',
  }: { host?: string; method?: string; headers?: { [name: string]: string }; body?: string } = {},
): Promise<Got> =>
  new Promise((resolve, reject) => {
    const asked = request({ host, port, path, method, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text }),
      );
    });
    asked.on('error', reject).end(body);
  });

const form = { 'content-type': 'application/x-www-form-urlencoded' };
const signIn = async (port: number): Promise<string> => {
  const { headers } = await ask(port, `/?token=${TOKEN}`);
  const [cookie = ''] = headers['set-cookie'] ?? [];
  expect(cookie).toMatch(/HttpOnly; SameSite=Strict/);
  return cookie.split(';')[0] ?? '';
};

describe('the page of highwater ui', () => {
  test('answers under names of this machine only, so that a rebound name gains nothing', async () => {
    const port = await serve();
    expect((await ask(port, '/')).status).toBe(200);
    expect((await ask(port, '/', { headers: { host: `localhost:${port}` } })).status).toBe(200);
    for (const host of ['evil.example', `127.0.0.1.evil.example:${port}`])
      expect((await ask(port, '/', { headers: { host } })).status, host).toBe(403);
  });

  test('answers under the address of loopback that it is served at', async () => {
    const port = await serve({ host: '127.0.0.2' });
    const at = (host: string) => ask(port, '/', { host: '127.0.0.2', headers: { host: `${host}:${port}` } });
    expect((await at('127.0.0.2')).status).toBe(200);
    expect((await at('127.0.0.3')).status).toBe(403);
  });

  test('has a cookie of its own, so that two pages of one host do not log each other out', async () => {
    const port = await serve({ isReaderToken: true });
    expect(await signIn(port)).toMatch(new RegExp(`^highwater-ui-${port}=`));
  });

  test('sends a strict policy with every answer, and says in plain text that the server is away', async () => {
    const port = await serve();
    for (const path of ['/', '/style.css', '/script.js', '/nothing', '/sync?id=x']) {
      const { headers } = await ask(port, path);
      expect(headers['content-security-policy'], path).toMatch(/^default-src 'none'; script-src 'self';/);
      expect(headers['content-security-policy']).toMatch(/frame-ancestors 'none'/);
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' });
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
    expect((await ask(port, '/')).body).toContain('no &lt;b&gt;server&lt;/b&gt; was found');
  });

  test('carries out no action without --actions', async () => {
    const port = await serve();
    const headers = { ...form, origin: `http://127.0.0.1:${port}` };
    const refused = await ask(port, '/action', { method: 'POST', headers, body: 'id=users&action=pause' });
    expect(refused).toMatchObject({ status: 403 });
    expect(refused.body).toContain('--actions');
  });

  test('carries out an action only for its own page, by POST, with cookie and token', async () => {
    const port = await serve({ actions: true });
    const own = `http://127.0.0.1:${port}`;
    const cookie = await signIn(port);
    const body = 'id=users&action=pause&token=guessed';
    const post = (headers: { [name: string]: string }) =>
      ask(port, '/action', { method: 'POST', headers: { ...form, ...headers }, body });
    expect(await post({ cookie })).toMatchObject({ status: 403, body: 'actions need an Origin header' });
    for (const origin of [
      'https://evil.example',
      'null',
      `http://127.0.0.1:${port + 1}`,
      `https://evil.example:${port}`,
    ])
      expect((await post({ cookie, origin })).status, origin).toBe(403);
    expect((await post({ cookie, origin: own, 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    expect((await post({ origin: own })).status).toBe(403);
    expect((await post({ cookie, origin: own })).status).toBe(403);
    expect((await ask(port, '/action?id=users&action=pause', { headers: { cookie } })).status).toBe(405);
    expect((await ask(port, '/?token=wrong')).status).toBe(403);
    expect(acted).toEqual([]);
  });

  test('needs the token of readers on this machine too if the user chose one: a proxy may be in front', async () => {
    const port = await serve({ isReaderToken: true });
    expect((await ask(port, '/')).status).toBe(401);
    expect((await ask(port, '/', { headers: { cookie: await signIn(port) } })).status).toBe(200);
  });

  test('needs the token of every reader where it is served beyond loopback', async () => {
    const port = await serve({ host: '0.0.0.0' });
    const headers = { host: 'my-server.example' };
    for (const path of ['/', '/sync?id=users', '/report?id=users', '/script.js'])
      expect((await ask(port, path, { headers })).status, path).toBe(401);
    const cookie = await signIn(port);
    expect((await ask(port, '/', { headers: { ...headers, cookie } })).status).toBe(200);
    expect(
      (await ask(port, '/', { headers: { ...headers, cookie: `highwater-ui-${port}=guessed` } })).status,
    ).toBe(401);
  });
});
