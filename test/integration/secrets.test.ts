/**
 * Credentials in every place where a configuration can have them, and sources that say them back in every place where
 * a source can: none of them may be found afterwards, in any spelling, in anything that is kept or shown.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { asConfiguration, planFromFlat } from '../../src/config/index.js';
import {
  connect,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const run = promisify(execFile);

const USER = 'us€r+né@corp';
const PASSWORD = `Pa55/w0rd "<&'>=é ü%:`;
const API_KEY = 'k3y_Zq9/+=~&?#"é';
const SECRETS = { SECRET_USER: USER, SECRET_PASSWORD: PASSWORD, SECRET_KEY: API_KEY };

/** Every way in which a secret may stand in a text. */
function spellings(secret: string): string[] {
  const escaped = encodeURIComponent(secret);
  const form = new URLSearchParams([['', secret]]).toString().slice(1);
  const json = JSON.stringify(secret).slice(1, -1);
  const ascii = (text: string, beyond: RegExp) =>
    text.replace(beyond, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  const all = [
    secret,
    escaped,
    escaped.replace(/%../g, (hex) => hex.toLowerCase()),
    encodeURI(secret),
    form,
    encodeURIComponent(escaped),
    json,
    ascii(json, /[\u0080-\uffff]/g),
    ascii(json, /[\u0080-\uffff<>&']/g),
    secret.replace(/[&<>"']/g, (c) => entities[c] ?? c),
    Buffer.from(secret).toString('base64'),
    Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    Buffer.from(secret).toString('base64url'),
    Buffer.from(secret).toString('hex'),
  ];
  return [...new Set(all)];
}
const FORBIDDEN = [USER, PASSWORD, API_KEY, `${USER}:${PASSWORD}`].flatMap(spellings);

/** Finds a secret in a text, and in what is wrapped in base64 inside of it, as payloads are in histories. */
function leaks(text: string): string[] {
  const inner = [...text.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)].map(([word]) =>
    Buffer.from(word, 'base64').toString('utf8'),
  );
  return [text, ...inner].flatMap((layer) =>
    FORBIDDEN.filter((secret) => layer.includes(secret)).map((secret) => {
      const at = layer.indexOf(secret);
      return layer.slice(Math.max(0, at - 60), at + secret.length + 20);
    }),
  );
}

let client: HighwaterClient;
let worker: WorkerProcess;
let folder: Awaited<ReturnType<typeof scratch>>;
let server: Server;
let port: number;
/** Another origin, which must never be sent a credential. */
let other: Server;
let otherPort: number;
const seenElsewhere: string[] = [];
const seen: string[] = [];
const taskQueue = uniqueName('secrets');

/** What the request carried, said back in every spelling. */
const echo = (request: IncomingMessage) => {
  const plain = [request.url, request.headers.authorization ?? '', ...FORBIDDEN].join(' ');
  return JSON.stringify({ message: plain, error: { url: request.url, sent: request.headers } });
};

const page = (token: string | null) =>
  JSON.stringify({ data: [{ id: '1', updatedAt: '2026-01-01T00:00:00Z' }], scroll_param: token });

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const ANSWERS: Record<string, Answer> = {
  '/ok': (_, response) => response.end(page(null)),
  '/words': (_, response) =>
    void response.writeHead(401, { 'content-type': 'text/plain' }).end(FORBIDDEN.slice(0, 12).join(' ')),
  '/json': (request, response) => response.writeHead(401).end(echo(request)),
  '/url': (request, response) => response.writeHead(403).end(JSON.stringify({ error: `no: ${request.url}` })),
  '/header': (request, response) =>
    response.writeHead(401).end(JSON.stringify({ error: `bad ${request.headers.authorization}` })),
  '/status-line': (request, response) => {
    response.statusMessage = `no ${request.headers.authorization} ${encodeURIComponent(PASSWORD)}`;
    response.writeHead(401).end();
  },
  '/wait': (request, response) => {
    response.statusMessage = `later ${request.headers.authorization}`;
    response.writeHead(seen.filter((url) => url.startsWith('/wait')).length > 1 ? 401 : 429).end();
  },
  '/html': (request, response) =>
    void response
      .writeHead(200, { 'content-type': 'text/html' })
      .end(`<html>${request.url} ${spellings(PASSWORD).join(' ')}</html>`),
  '/members': (request, response) =>
    response.end(
      JSON.stringify({
        data: [{ id: '1', updatedAt: '2026-01-01T00:00:00Z', [`${API_KEY}`]: 1, [`at ${request.url}`]: 2 }],
      }),
    ),
  '/record': (_, response) =>
    response.end(`{"data":[{"id":"1"}, "${JSON.stringify(API_KEY).slice(1, -1)}"]}`),
  '/elsewhere': (request, response) =>
    response
      .writeHead(302, { location: `http://127.0.0.1:${otherPort}/ok` })
      .end(`moved: ${request.headers.authorization}`),
  '/nowhere': (request, response) =>
    response.writeHead(302, { location: `ftp://h/?${request.url}&${encodeURIComponent(PASSWORD)}` }).end(),
  '/broken': (_, response) => void response.destroy(),
};

beforeAll(async () => {
  folder = await scratch();
  const listen = async (answer: Answer): Promise<[Server, number]> => {
    const made = createServer(answer);
    await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
    return [made, (made.address() as AddressInfo).port];
  };
  [server, port] = await listen((request, response) => {
    seen.push(request.url ?? '');
    response.setHeader('content-type', 'application/json');
    const path = new URL(request.url ?? '', 'http://h').pathname;
    (ANSWERS[path] ?? ANSWERS['/ok'])?.(request, response);
  });
  [other, otherPort] = await listen((request, response) => {
    seenElsewhere.push(`${request.url} ${JSON.stringify(request.headers)}`);
    response.setHeader('content-type', 'application/json');
    response.end(page(null));
  });
  worker = await startWorker({
    address: inject('temporalAddress'),
    taskQueue,
    destination: folder.file('secrets.duckdb'),
    env: { ...SECRETS, HIGHWATER_LOG: 'debug' },
  });
  client = await connect(inject('temporalAddress'));
});
afterAll(async () => {
  await client.close();
  await worker.end();
  for (const made of [server, other]) {
    made.closeAllConnections();
    made.close();
  }
  await folder.remove();
});

const reference = (name: keyof typeof SECRETS) => `\${env:${name}}`;
const address = (path: string, at = port) =>
  `http://${reference('SECRET_USER')}:${reference('SECRET_PASSWORD')}@127.0.0.1:${at}${path}` +
  `?api_key=${reference('SECRET_KEY')}&tenant=acme`;

const configuration = (path: string, at?: number) => ({
  strategy: 'timestamp',
  base_url: address(path, at),
  table: path.slice(1),
  columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
  retry_for: '1s',
});

/** Everything that can be asked about a sync, by every way there is to ask. */
async function everythingSaid(workflowId: string, commands: boolean): Promise<{ [where: string]: string }> {
  const to = inject('temporalAddress');
  const env = envWithoutTemporal({ TEMPORAL_ADDRESS: to });
  const asked = client.temporal.workflow.getHandle(workflowId);
  const result = await client
    .sync(workflowId)
    .result()
    .then(
      (done) => JSON.stringify(done),
      (thrown: Error) => `${thrown.message}\n${thrown.stack}\n${JSON.stringify(thrown)}`,
    );
  const web = async (path: string) => {
    const response = await fetch(
      `${inject('temporalUiUrl')}/api/v1/namespaces/default/workflows/${workflowId}${path}`,
    );
    expect(response.status, path).toBe(200);
    return response.text();
  };
  const said: { [where: string]: string } = {
    result,
    'the history of the Web UI': await web('/history'),
    'the description of the Web UI': await web(''),
    history: JSON.stringify(await asked.fetchHistory()),
    description: JSON.stringify(await asked.describe()),
  };
  if (!commands) return said;
  const show = ['workflow', 'show', '--workflow-id', workflowId, '--output', 'json', '--address', to];
  const [shown, status, json] = await Promise.all([
    run(inject('temporalCli'), show, { env, maxBuffer: 64 * 1024 * 1024 }),
    highwater(['status', workflowId], { env }),
    highwater(['status', workflowId, '--json'], { env }),
  ]);
  return {
    ...said,
    'temporal workflow show': shown.stdout,
    'highwater status': status.stdout + status.stderr,
    'highwater status --json': json.stdout + json.stderr,
  };
}

async function syncs(
  path: string,
  { at, commands = false }: { at?: number; commands?: boolean } = {},
): Promise<{ [where: string]: string }> {
  const workflowId = uniqueName('secret');
  await client.start(asConfiguration(configuration(path, at)), { taskQueue, workflowId });
  return everythingSaid(workflowId, commands);
}

function expectNoLeak(said: { [where: string]: string }): void {
  const found = Object.entries(said).flatMap(([where, text]) =>
    leaks(text).map((leak) => `${where}: ${leak}`),
  );
  expect(found).toEqual([]);
}

describe('the search for secrets', () => {
  test.each(spellings(`${USER}:${PASSWORD}`))('would find one: %s', (spelling) => {
    expect(leaks(`before "${spelling}" after`)).not.toEqual([]);
    const wrapped = Buffer.from(JSON.stringify({ url: spelling })).toString('base64');
    if (!JSON.stringify(spelling).includes('\\\\')) expect(leaks(`{"data":"${wrapped}"}`)).not.toEqual([]);
  });
});

describe('credentials from the environment', () => {
  test('reach the source, and nothing else, in a sync that succeeds', async () => {
    const said = await syncs('/ok', { commands: true });
    expect(said['result']).toContain('"rows":1');
    // They did go out, and it is this sync that was looked at.
    const query = new URL(`http://h${seen.find((url) => url.startsWith('/ok'))}`).searchParams;
    expect(query.get('api_key')).toBe(API_KEY);
    for (const where of ['temporal workflow show', 'the history of the Web UI']) {
      const all = said[where] ?? '';
      const payloads = [...all.matchAll(/"data":\s*"([^"]+)"/g)].map(([, data = '']) =>
        Buffer.from(data, 'base64').toString('utf8'),
      );
      expect(`${all}${payloads.join('')}`, where).toContain('${env:SECRET_KEY}');
    }
    expectNoLeak(said);
  });

  test.concurrent.each([
    ['/words', /401/],
    ['/json', /401/],
    ['/url', /403 Forbidden: no: \/url\?api_key=\*\*\*&tenant=acme/],
    ['/header', /401 Unauthorized: bad Basic \*\*\*/],
    ['/status-line', /401 no Basic \*\*\*/],
    ['/wait', /401 later Basic \*\*\*/],
    ['/html', /the body is HTML/],
    ['/members', /members without a declared column.*\*\*\*/],
    ['/record', /record 1 is not an object/],
    ['/nowhere', /redirects to an address that is not HTTP/],
    ['/broken', /reading from the source failed/],
  ])('are not said again when the source says them: %s', async (path, words) => {
    const said = await syncs(path, { commands: path === '/json' });
    expect(said['result']).toMatch(words);
    expectNoLeak(said);
  });

  test('are not said by a connection that is refused', async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
    const at = (gone.address() as AddressInfo).port;
    gone.close();
    const said = await syncs('/ok', { at });
    expect(said['result']).toContain('ECONNREFUSED');
    expectNoLeak(said);
  });

  test('are not sent along when the source redirects to another host', async () => {
    const said = await syncs('/elsewhere');
    expect(said['result']).toContain('"rows":1');
    expect(seenElsewhere).toHaveLength(1);
    expect(seenElsewhere.flatMap(leaks)).toEqual([]);
    expect(seenElsewhere.join()).not.toContain('authorization');
    expectNoLeak(said);
  });

  test('are not in what a command prints, well or not', async () => {
    const env = { ...SECRETS, HIGHWATER_LOG: 'debug', TEMPORAL_ADDRESS: inject('temporalAddress') };
    for (const [path, status] of [
      ['/ok', 0],
      ['/json', 1],
    ] as const) {
      const file = folder.file('configuration.json');
      await writeFile(file, JSON.stringify({ ...configuration(path), table: 'by_command' }));
      const destination = folder.file(`command${status}.duckdb`);
      const done = await highwater(['run', file, '--json', '--destination', destination], { env });
      expect([done.status, done.stdout]).toEqual([status, expect.stringContaining('"status"')]);
      expectNoLeak({ stdout: done.stdout, stderr: done.stderr });
      const config = await highwater(['config', file], { env });
      expect(config.stdout).toContain('${env:SECRET_PASSWORD}');
      expectNoLeak({ config: config.stdout + config.stderr });
    }
  });

  test('are not in a staged file, the destination, or anything beside it', async () => {
    const workflowId = uniqueName('paused');
    // A wait that the source asks for leaves everything in the middle: nothing staged, and nothing written down.
    await client.start(asConfiguration(configuration('/ok')), { taskQueue, workflowId });
    await client.sync(workflowId).result();
    await until(
      async () => !(await readdir(folder.path)).some((name) => name.endsWith('.wal')),
      10,
      'the destination to be closed',
    );
    const names = await readdir(folder.path, { recursive: true });
    expect(names).toContain('secrets.duckdb');
    for (const name of names) {
      const bytes = await readFile(join(folder.path, name)).catch(() => Buffer.alloc(0));
      expectNoLeak({ [name]: bytes.toString('latin1'), [`${name}, as text`]: bytes.toString('utf8') });
    }
    // That this search can find what is there: the address, without its credentials.
    const bytes = await readFile(folder.file('secrets.duckdb'), 'latin1');
    expect(bytes).toContain(`http://127.0.0.1:${port}/ok`);
  });

  test('are not in the log of the worker, at debug level', () => {
    expect(worker.said()).toContain('"level":20');
    expect(worker.said()).toContain('the source answered 401');
    expectNoLeak({ log: worker.said() });
  });
});

describe('credentials in the configuration itself', () => {
  const refused = [
    'http://user:hunter22@h/x',
    'http://hunter22@h/x',
    ...[
      'api_key',
      'apikey',
      'API-Key',
      'key',
      'token',
      'access_token',
      'client_secret',
      'password',
      'sig',
      'auth',
    ],
    ...[
      'X-Amz-Signature',
      'X-Amz-Credential',
      'hapikey',
      'subscription-key',
      'app_key',
      'signature',
      'passwd',
    ],
  ].map((name) => (name.startsWith('http') ? name : `http://h/x?page=1&${name}=hunter22`));
  test.each(refused)('are refused, with a word on how to do it, and not repeated: %s', (base_url) => {
    let message = '';
    try {
      planFromFlat({ base_url });
    } catch (thrown) {
      ({ message } = thrown as Error);
    }
    expect(message).toContain('write "${env:NAME}" instead');
    expect(message).not.toContain('hunter22');
  });

  test.each([
    'sort_key=id',
    'page_token=abc',
    'author=jane',
    'keyset=1',
    'monkey=1',
    'key=',
    'design=flat',
    'q=token',
  ])('are not seen where there are none: %s', (query) => {
    expect(planFromFlat({ base_url: `http://h/x?${query}` }).baseUrl).toContain(query);
  });

  test('are not repeated by a message about another mistake in the address', () => {
    for (const base_url of [
      'http://user:hunter22@[h/x',
      'htp//user:hunter22@h?key=hunter22',
      'ftp://u:hunter22@h/',
    ]) {
      expect(() => planFromFlat({ base_url })).toThrow(/base_url/);
      expect(() => planFromFlat({ base_url })).not.toThrow(/hunter22/);
    }
  });

  test('never start a workflow', async () => {
    const workflowId = uniqueName('never');
    const start = client.start({ base_url: 'http://h/?api_key=hunter22' }, { taskQueue, workflowId });
    await expect(start).rejects.toMatchObject({ name: 'ConfigurationError' });
    await expect(client.sync(workflowId).status()).rejects.toMatchObject({ name: 'NoSuchSyncError' });
  });
});
