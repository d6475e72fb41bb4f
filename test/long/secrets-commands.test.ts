/**
 * Random secrets, short and of tens of thousands of characters, in a header, a body, a login, a hook's header, a destination and a webhook; a source that
 * says them all back in every spelling. None may be found in what any command prints, nor in history, search attributes, traces, metrics, notices or logs.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { freePorts } from '../../src/dev/ports.js';
import {
  connect,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { receiver, type Receiver } from '../helpers/receivers.js';

const LETTERS = [...'abcdefghkmnpqrstuvwxyzABCDEFGHKLMNPQRSTUVWXYZ23456789+/=&%?#"\\<>\'~!*()-._:;,é€😀'];
/** A secret of about so many characters; each is another in every run. */
const random = (length: number, letters = LETTERS) =>
  `k${Array.from({ length }, () => letters[randomInt(letters.length)] ?? '').join('')}z`;

const SHORT = random(randomInt(10, 40));
// More would not fit into the headers that Node.js takes.
const HEADER = random(randomInt(3_400, 5_000), LETTERS.slice(0, 60));
const LONG = random(randomInt(20_000, 60_000));
const TOKEN = random(randomInt(20, 200), LETTERS.slice(0, 60));
const REFRESH = random(randomInt(20, 3_000));
const SIGNATURE = randomBytes(randomInt(16, 200)).toString('base64');
const ALL = { SHORT, HEADER, LONG, TOKEN, REFRESH, SIGNATURE };

const escapes: ((text: string) => string)[] = [
  (text) => text,
  encodeURIComponent,
  (text) => encodeURIComponent(encodeURIComponent(text)),
  (text) => new URLSearchParams([['', text]]).toString().slice(1),
  (text) => JSON.stringify(text).slice(1, -1),
  (text) => JSON.stringify(JSON.stringify(text)).slice(3, -3),
  (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`),
  (text) => Buffer.from(text).toString('base64'),
  (text) => Buffer.from(text).toString('base64url'),
  (text) => Buffer.from(text).toString('hex'),
  (text) => Buffer.from(`u:${text}`).toString('base64'),
];
const spellings = (secret: string) => [...new Set(escapes.map((escape) => escape(secret)))];

/** So much of a secret may not be found either: its beginning, its middle and its end. */
const PIECE = 24;
const FORBIDDEN = Object.entries(ALL).flatMap(([name, secret]) =>
  spellings(secret).flatMap((text) => {
    const middle = Math.floor(text.length / 2);
    return [text.slice(0, PIECE), text.slice(middle, middle + PIECE), text.slice(-PIECE)]
      .filter((piece) => piece.length >= 10)
      .map((piece) => [name, piece] as const);
  }),
);

function expectNoLeak(said: { [where: string]: string }): void {
  const found = Object.entries(said).flatMap(([where, text]) => {
    const inner = [...text.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)].map(([word]) =>
      Buffer.from(word, 'base64').toString('utf8'),
    );
    return [text, ...inner].flatMap((layer) =>
      FORBIDDEN.filter(([, piece]) => layer.includes(piece)).map(
        ([name, piece]) =>
          `${where}: ${name} in ${layer.slice(Math.max(0, layer.indexOf(piece) - 80), layer.indexOf(piece) + 40)}`,
      ),
    );
  });
  expect(found).toEqual([]);
}

let server: Server;
let url: string;
let folder: Awaited<ReturnType<typeof scratch>>;
let worker: WorkerProcess;
let client: HighwaterClient;
let collector: Receiver;
let hook: Receiver;
let metricsUrl: string;
let env: NodeJS.ProcessEnv;
const taskQueue = uniqueName('secrets-commands');
const [well, failing, signed] = [uniqueName('well'), uniqueName('failing'), uniqueName('signed')];

/** What a source says back: all that it was sent, and gave, in one spelling or another. */
function words(isSigned: boolean): string {
  const { TOKEN: token, REFRESH: refresh, SIGNATURE: signature, ...both } = ALL;
  const known = Object.values(isSigned ? { ...both, signature } : { ...both, token, refresh });
  const spelt = known.map((secret) => spellings(secret)[randomInt(escapes.length - 1)] ?? secret);
  return [...spelt, ...known].join(' ');
}

beforeAll(async () => {
  folder = await scratch();
  server = createServer((request, response) => {
    const path = request.url ?? '';
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (path.startsWith('/login')) {
        response.end(JSON.stringify({ token: TOKEN, refresh_token: REFRESH }));
      } else if (path.startsWith('/ok')) {
        const data = [1, 2, 3].map((id) => ({ id, updatedAt: '2026-01-01T00:00:00Z' }));
        response.end(JSON.stringify({ data, scroll_param: null }));
      } else {
        const sent = {
          url: path,
          headers: request.headers,
          body: Buffer.concat(chunks).toString('utf8').slice(0, 200),
        };
        const status = path.startsWith('/text') ? 500 : 422;
        response.statusCode = status;
        response.end(
          status === 500 ? words(true) : JSON.stringify({ error: `${words(false)} ${JSON.stringify(sent)}` }),
        );
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [port] = await freePorts([0]);
  metricsUrl = `http://127.0.0.1:${port}/metrics`;
  [collector, hook] = await Promise.all([receiver(), receiver()]);
  await writeFile(folder.file('long.secret'), LONG);
  await writeFile(
    folder.file('sign.mjs'),
    `export const sign = () => ({ 'x-signature': ${JSON.stringify(SIGNATURE)} });`,
  );
  const address = inject('temporalAddress');
  env = {
    ...{
      SECRET_SHORT: SHORT,
      SECRET_HEADER: HEADER,
      SECRET_HOOK: `${hook.url}/${encodeURIComponent(SHORT)}`,
    },
    ...{ HIGHWATER_LOG: 'debug', HIGHWATER_HOOKS: folder.path, TEMPORAL_ADDRESS: address },
    ...{
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    },
  };
  const destination = folder.file('all.duckdb');
  worker = await startWorker({
    address,
    taskQueue,
    destination,
    env,
    flags: ['--metrics-port', String(port)],
    cwd: folder.path,
  });
  client = await connect(address);
  const write = (name: string, path: string, auth: object) =>
    writeFile(
      folder.file(`${name}.json`),
      JSON.stringify({
        source: { base_url: `${url}`, headers: { 'x-key': '${env:SECRET_HEADER}' }, auth, retry_for: '1s' },
        destination,
        interval: '1h',
        notify: { url: '${env:SECRET_HOOK}' },
        streams: [
          {
            ...{
              name,
              path: `${path}?k=\${env:SECRET_SHORT}`,
              strategy: 'offset',
              page_size: 10,
              method: 'POST',
            },
            ...{ body: { password: `\${file:${folder.file('long.secret')}}` }, primary_key: ['id'] },
            columns: { id: 'LONG', updatedAt: 'UTC_DATETIME' },
          },
        ],
      }),
    );
  const session = {
    type: 'session',
    login: { url: '/login', body: { password: '${env:SECRET_SHORT}' } },
    token: 'token',
  };
  await Promise.all([
    write('well', '/ok', session),
    write('failing', '/no', session),
    write('signed', '/text', { type: 'signature', hook: 'sign', settings: { key: '${env:SECRET_SHORT}' } }),
  ]);
  const started = await Promise.all(
    Object.entries({ well, failing, signed }).map(([name, id]) =>
      highwater(['start', folder.file(`${name}.json`), '--id', id, '--task-queue', taskQueue], {
        env,
        cwd: folder.path,
      }),
    ),
  );
  expect(started.map(({ status, stderr }) => [status, stderr.replace(/\{.*\}\n/g, '')])).toEqual(
    started.map(() => [0, '']),
  );
  for (const [id, wanted] of [
    [well, 'sleeping'],
    [failing, 'blocked'],
    [signed, 'failing'],
  ] as const)
    await until(
      async () => (await client.sync(id).progress()).status === wanted,
      40,
      `${id} to be ${wanted}`,
    );
  await until(() => hook.received.length >= 2, 30, 'the notices');
});
afterAll(async () => {
  for (const id of [well, failing, signed])
    await client?.temporal.workflow
      .getHandle(id)
      .terminate()
      .catch(() => undefined);
  await client?.close();
  await worker?.end();
  server?.closeAllConnections();
  server?.close();
  await Promise.all([collector, hook].map((one) => one?.stop()));
  await folder?.remove();
});

test('the search would find each, in every spelling', () => {
  for (const secret of Object.values(ALL))
    for (const text of spellings(secret))
      expect(() => expectNoLeak({ here: `before ${text} after` })).toThrow();
});

type Name = 'well' | 'failing' | 'signed';
const EACH: Name[] = ['well', 'failing', 'signed'];

/** Commands, and the syncs whose secrets they could print: of `--json` and of what shows all syncs at once one is enough. */
const COMMANDS: [command: string, names: Name[], args: (name: string, id: string) => string[]][] = [
  ['check', EACH, (name) => ['check', `${name}.json`]],
  ['preview', EACH, (name) => ['preview', `${name}.json`]],
  ['discover', ['failing'], (name) => ['discover', `${name}.json`]],
  ['config', ['signed'], (name) => ['config', `${name}.json`]],
  ['check --json', ['failing'], (name) => ['check', `${name}.json`, '--json']],
  ['preview --json', ['failing'], (name) => ['preview', `${name}.json`, '--json']],
  ['discover --json', ['signed'], (name) => ['discover', `${name}.json`, '--json']],
  ['doctor', ['failing'], (name) => ['doctor', `${name}.json`, '--task-queue', taskQueue]],
  ['state get', ['well'], (_, id) => ['state', 'get', id]],
  ['state get --json', ['failing'], (_, id) => ['state', 'get', id, '--json']],
  ['logs', EACH, (_, id) => ['logs', id]],
  ['logs --json', ['failing'], (_, id) => ['logs', id, '--json']],
  ['status', EACH, (_, id) => ['status', id]],
  ['status --json', ['signed'], (_, id) => ['status', id, '--json']],
  ['list', ['failing'], () => ['list']],
  ['list --json', ['failing'], () => ['list', '--json']],
  ['audit', ['failing'], (_, id) => ['audit', id]],
  ['audit of a file', ['signed'], (name) => ['audit', `${name}.json`, '--task-queue', taskQueue]],
  ['rejects', ['well'], (name) => ['rejects', '--destination', 'all.duckdb', '--table', name]],
  ['query', ['well'], () => ['query', 'SELECT * FROM _highwater_checkpoints', '--destination', 'all.duckdb']],
  ['query, refused', ['well'], () => ['query', 'SELECT nothing', '--destination', 'all.duckdb']],
];

test.each(COMMANDS)(
  'no secret is in what %s prints',
  async (command, names, args) => {
    const ids = { well, failing, signed };
    for (const name of names) {
      const { stdout, stderr } = await highwater(args(name, ids[name]), { env, cwd: folder.path });
      expect(stdout + stderr, `${command} of ${name}`).not.toBe('');
      // The source was asked, and said them all.
      if (/^(check|preview)/.test(command) && name === 'failing') expect(stdout + stderr).toContain('***');
      expectNoLeak({ [`${command} of ${name}`]: stdout + stderr });
    }
  },
  180_000,
);

test('no secret is in history, search attributes, memos and details', async () => {
  for (const id of [well, failing, signed]) {
    const asked = client.temporal.workflow.getHandle(id);
    const [history, description] = [await asked.fetchHistory(), await asked.describe()];
    expectNoLeak({ history: JSON.stringify(history), description: JSON.stringify(description) });
    const web = await fetch(`${inject('temporalUiUrl')}/api/v1/namespaces/default/workflows/${id}/history`);
    expectNoLeak({ 'the Web UI': await web.text() });
  }
});

test('no secret is in a notice, a trace, a metric or the log', async () => {
  expect(hook.received.map(({ body }) => (body as { event: string }).event)).toContain('failing');
  expect(hook.received.map(({ bytes }) => bytes.toString()).join()).toContain('***');
  // The hook's own address has one, and only the hook is told it.
  expectNoLeak({ notices: hook.received.map(({ bytes }) => bytes.toString()).join('\n') });
  const spans = () =>
    collector.received.filter(({ path }) => path === '/v1/traces').map(({ bytes }) => bytes.toString());
  await until(() => spans().join().includes('/no'), 20, 'the traces');
  expectNoLeak({ traces: spans().join('\n') });
  const metrics = await (await fetch(metricsUrl)).text();
  expect(metrics).toContain('highwater_');
  expectNoLeak({ metrics });
  expect(worker.said()).toContain('"level":20');
  expect(worker.said()).toContain('***');
  expectNoLeak({ log: worker.said() });
});
