/** `init` writes what `config` and `check` take as it is, asks on a terminal, and never writes over anything. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { jsonSchema, loadPlans } from '../../src/config/index.js';
import { AUTH_KINDS } from '../../src/inspect/credentials.js';
import { STRATEGIES } from '../../src/protocol.js';
import { DemoServer } from '../../src/dev/demo-api.js';
import { CLI, highwater, PATHS, scratch } from '../helpers/harness.js';
import { installPlayground, type Playground, startPlayground } from '../helpers/playground.js';
import { onTerminal, terminalMissing } from '../helpers/terminal.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

vi.setConfig({ testTimeout: 60_000 });

const install = await installPlayground();
let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

const init = (cwd: string, ...args: string[]) => highwater(['init', ...args], { cwd });
const text = (path: string) => readFile(path, 'utf8');

/** A folder of one test. */
async function inFolder(use: (path: string, file: (name: string) => string) => Promise<void>): Promise<void> {
  const own = await scratch();
  try {
    await use(own.path, own.file);
  } finally {
    await own.remove();
  }
}

describe('the file that init writes', () => {
  describe.skipIf(!install.available)('for the reference API', () => {
    let playground: Playground;
    beforeAll(async () => {
      if (!install.available) throw new Error(install.reason);
      playground = await startPlayground(install.python);
    });
    afterAll(() => playground.stop());

    test.each(Object.entries(PATHS))('passes config and check as it is: %s', async (strategy, path) => {
      await inFolder(async (cwd, file) => {
        const flags = ['--base-url', playground.url, '--path', path, '--strategy', strategy, '--yes'];
        const { status, stdout, stderr } = await init(cwd, ...flags);
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        expect(stdout).toContain('Wrote highwater.yaml.\n');
        expect(await readdir(cwd)).toEqual(['highwater.yaml']);
        expect(stdout).toContain(`  npx highwater run highwater.yaml\n`);
        expect(await highwater(['config', 'highwater.yaml'], { cwd })).toMatchObject({
          status: 0,
          stderr: '',
        });
        const check = await highwater(['check', 'highwater.yaml'], { cwd });
        expect(check.status, check.stdout).toBe(0);
        expect(check.stdout).not.toContain('✗');
        const { plans } = await loadPlans(file('highwater.yaml'));
        // Columns follow from the records, unless they are asked for.
        expect(plans.plans[0]?.table).toMatchObject({ columns: {}, primaryKey: ['id'] });
        const written = await init(cwd, ...flags, '--force', '--columns');
        expect(written.stderr).toMatch(
          /^note: the columns are inferred from \d+ records: check their types\n$/,
        );
        expect(
          Object.keys((await loadPlans(file('highwater.yaml'))).plans.plans[0]?.table.columns ?? {}).sort(),
        ).toEqual(['address', 'company', 'createdAt', 'email', 'id', 'job', 'name', 'updatedAt'].sort());
      });
    });
  });

  test.each([
    ...STRATEGIES.map((strategy) => [strategy, 'none']),
    ...AUTH_KINDS.slice(1).map((auth) => ['cursor', auth]),
  ])('is valid where no request is sent: %s, %s', async (strategy = '', auth = '') => {
    await inFolder(async (cwd, file) => {
      const flags = [
        'http://127.0.0.1:9/v1/orders.json',
        '--strategy',
        strategy,
        '--auth',
        auth,
        '--no-discover',
      ];
      const { status, stderr } = await init(cwd, ...flags);
      expect(status, stderr).toBe(0);
      expect(stderr).toContain('are guesses: "highwater discover highwater.yaml --write" finds them');
      const { plans } = await loadPlans(file('highwater.yaml'));
      expect(plans.plans).toMatchObject([
        { stream: 'orders', baseUrl: 'http://127.0.0.1:9/v1/orders.json', request: { auth: { type: auth } } },
      ]);
    });
  });

  test('points editors at the packaged schema, and refers to the variables in .env.example', async () => {
    await inFolder(async (cwd, file) => {
      const flags = [
        '--base-url',
        'http://127.0.0.1:9',
        '--auth',
        'basic',
        '--file',
        'sub/api.yaml',
        '--yes',
        '--no-discover',
        '--json',
      ];
      const { status, stdout } = await init(cwd, ...flags);
      expect(status).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        status: 'written',
        files: ['sub/api.yaml', 'sub/.env.example'],
        variables: ['API_USER', 'API_PASSWORD'],
        notes: [expect.stringContaining('are guesses')],
      });
      const written = await text(file('sub/api.yaml'));
      const [, path = ''] = /^# yaml-language-server: \$schema=(.*)\n/.exec(written) ?? [];
      expect(JSON.parse(await text(resolve(dirname(file('sub/api.yaml')), path)))).toEqual(
        JSON.parse(JSON.stringify(jsonSchema())),
      );
      const referred = [...written.matchAll(/\$\{env:(API_\w+)\}/g)].map(([, name]) => name);
      const named = [...(await text(file('sub/.env.example'))).matchAll(/^(\w+)=$/gm)].map(
        ([, name]) => name,
      );
      expect(named).toEqual(referred);
    });
  });

  test('is made with the credentials that are set, which it does not hold', async () => {
    const server = createServer((request, response) => {
      const allowed = request.headers['x-api-key'] === 'init-secret-77';
      response
        .writeHead(allowed ? 200 : 401)
        .end(JSON.stringify({ data: [{ key: 1, changed_at: '2026-01-01T00:00:00Z' }] }));
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    try {
      await inFolder(async (cwd, file) => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        const flags = [
          '--base-url',
          url,
          '--path',
          '/things',
          '--strategy',
          'timestamp',
          '--auth',
          'api_key',
          '--yes',
        ];
        const { status } = await highwater(['init', ...flags], { cwd, env: { API_KEY: 'init-secret-77' } });
        expect(status).toBe(0);
        const written = await text(file('highwater.yaml'));
        expect(written).not.toContain('init-secret');
        expect(parse(written)).toMatchObject({
          streams: [{ primary_key: 'key', cursor_field: 'changed_at', strategy: 'timestamp' }],
        });
        const wrong = await highwater(['init', ...flags, '--force'], { cwd, env: { API_KEY: 'other' } });
        expect(wrong.status).toBe(1);
        expect(wrong.stderr).toContain('the source answered 401');
        expect(wrong.stderr).toContain('The credentials were refused: check the values of API_KEY');
        const unset = await highwater(['init', ...flags, '--force'], { cwd });
        expect(unset.stderr).toContain(
          'Set API_KEY in this terminal (export API_KEY=…), then run the same command',
        );
        const asked = await highwater(['init', `${url}/things`, '--force'], { cwd });
        expect(asked.stderr).toContain('It asks for credentials: add --auth bearer, or --auth api_key');
        // None of the failures has touched the file.
        expect(await text(file('highwater.yaml'))).toBe(written);
      });
    } finally {
      server.close().closeAllConnections();
    }
  });
});

describe('init --from', () => {
  test('sends no variable of this machine to the host of a description', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.url ?? ''} ${request.headers.authorization ?? ''}`);
      response.setHeader('content-type', 'application/json').end('[{"id":1}]');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const items = { type: 'object', properties: { id: { type: 'integer' } } };
    const get = {
      parameters: [{ in: 'query', name: 'a', required: true, schema: { default: 'x${env:AWS_SECRET}' } }],
      responses: { 200: { content: { 'application/json': { schema: { type: 'array', items } } } } },
    };
    const description = (more: object) =>
      JSON.stringify({ openapi: '3.0.0', servers: [{ url }], paths: { '/things': { get } }, ...more });
    const env = { AWS_SECRET: 'local-1', API_TOKEN: 'local-2', HOST_127_0_0_1_API_TOKEN: 'local-3' };
    try {
      await inFolder(async (cwd, file) => {
        const bearer = { components: { securitySchemes: { a: { type: 'http', scheme: 'bearer' } } } };
        await writeFile(file('closed.json'), description(bearer));
        const closed = await highwater(['init', '--from', 'closed.json'], { cwd, env });
        expect(closed).toMatchObject({ status: 0, stderr: '' });
        expect(closed.stdout).toContain('npx highwater check highwater.yaml');
        expect(asked).toEqual([]);
        await writeFile(file('open.json'), description({}));
        const open = await highwater(['init', '--from', 'open.json', '--force'], { cwd, env });
        expect(open.stdout).toContain('things: the value of a holds "${…}"');
        expect(asked.length).toBeGreaterThan(0);
        expect(asked.join()).not.toContain('local-');
      });
    } finally {
      server.close().closeAllConnections();
    }
  });
});

describe('init', () => {
  test('writes no configuration over without --force, and adds to .env.example what it lacks', async () => {
    await inFolder(async (cwd, file) => {
      await writeFile(file('.env.example'), 'MINE=1\nAPI_USER=\n');
      const flags = ['--auth', 'basic', '--yes', '--no-discover'];
      expect((await init(cwd, ...flags)).status).toBe(0);
      const once = await text(file('.env.example'));
      expect(once).toBe('MINE=1\nAPI_USER=\n\n# The variables of highwater.yaml.\nAPI_PASSWORD=\n');
      expect(await init(cwd, ...flags)).toEqual({
        status: 1,
        stdout: '',
        stderr:
          'highwater: highwater.yaml already exists; --file NAME writes another one, --force overwrites\n',
      });
      expect((await init(cwd, ...flags, '--file', 'second.yaml')).stdout).toContain('Wrote second.yaml.\n');
      expect((await init(cwd, ...flags, '--force')).status).toBe(0);
      expect(await text(file('.env.example'))).toBe(once);
    });
  });

  test('refuses what cannot stand in a configuration, and writes nothing', async () => {
    await inFolder(async (cwd) => {
      const url = await init(cwd, '--base-url', 'api.example.com', '--yes');
      expect(url).toMatchObject({ status: 1, stdout: '' });
      expect(url.stderr).toContain('source.base_url: "api.example.com" is not a URL');
      const password = await init(cwd, '--base-url', 'https://u:hunter22@h', '--yes');
      expect(password.stderr).toContain('source.base_url: contains a password');
      expect(password.stderr).not.toContain('hunter22');
      expect((await init(cwd, '--strategy', 'keysett', '--yes')).stderr).toContain('keyset');
      expect(await readdir(cwd)).toEqual([]);
    });
  });

  // oxlint-disable-next-line no-control-regex
  const ASKS = /: (\u001b\[\d*[A-Z])*$/;

  /** Runs `init` on a terminal of its own, and types. */
  async function typing(cwd: string, typed: string, ...args: string[]) {
    const child = spawn(...onTerminal([process.execPath, CLI, 'init', ...args]), {
      cwd,
      env: envWithoutTemporal({}),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => (said += part));
    const lines = typed.split('\n');
    // One answer a question, as a person would.
    const timer = setInterval(() => {
      if (ASKS.test(said) && lines.length > 0) {
        said += '\n';
        child.stdin.write(lines.length === 1 && lines[0] === '\u0003' ? '\u0003' : `${lines[0] ?? ''}\r`);
        lines.shift();
      }
    }, 50);
    const [status] = (await once(child, 'close')) as [number];
    clearInterval(timer);
    // oxlint-disable-next-line no-control-regex
    return { status, said: said.replace(/\u001b\[[\d;]*[A-Za-z]|\r/g, '') };
  }

  test.skipIf(terminalMissing() !== null)(
    'asks on a terminal: what it takes by default is shown, and a wrong word is asked again',
    async () => {
      await inFolder(async (cwd, file) => {
        const typed = 'nonsense\nhttp://127.0.0.1:9\n/v2/users\nbearer\npage_numbr\npage_number\n\n\n';
        const { status, said } = await typing(cwd, typed, '--no-discover');
        expect(status, said).toBe(0);
        expect(said).toContain('URL of the list to read (http://127.0.0.1:5001/pagination/keyset): ');
        expect(said.indexOf('Path of the list')).toBeLessThan(said.indexOf('Strategy: '));
        expect(said).toContain('"nonsense" is not a URL');
        expect(said).toContain('"page_numbr" is not one of them (did you mean "page_number"?)');
        expect(said).toContain('Name of the stream and its table (users): ');
        expect(said).toContain('Wrote highwater.yaml and .env.example.');
        expect(parse(await text(file('highwater.yaml')))).toMatchObject({
          source: { base_url: 'http://127.0.0.1:9', auth: { type: 'bearer', token: '${env:API_TOKEN}' } },
          streams: [{ name: 'users', path: '/v2/users', strategy: 'page_number' }],
        });
      });
    },
  );

  test.skipIf(terminalMissing() !== null)('asks for no strategy that requests have found', async () => {
    const api = new DemoServer({ rows: 60 });
    const url = `http://127.0.0.1:${await api.listen()}/pagination/page_number`;
    try {
      await inFolder(async (cwd, file) => {
        const { status, said } = await typing(cwd, '\n\n\n\n', url);
        expect(status, said).toBe(0);
        expect(said).not.toContain('Strategy: ');
        expect(said).not.toContain('Strategy (');
        const [stream] = (parse(await text(file('highwater.yaml'))) as { streams: object[] }).streams;
        expect(stream).toMatchObject({ strategy: 'page_number' });
      });
    } finally {
      await api.close();
    }
  });

  test.skipIf(terminalMissing() !== null)('interrupted at a question writes nothing', async () => {
    await inFolder(async (cwd) => {
      const { status, said } = await typing(cwd, '\n\u0003', '--no-discover');
      expect(status).not.toBe(0);
      expect(said).toContain('interrupted; nothing was written');
      expect(await readdir(cwd)).toEqual([]);
    });
  });
});

test('the modules of the package find the schema that is packed with them', () => {
  expect(resolve(dirname(CLI), 'cli', '../../highwater.schema.json')).toBe(
    fileURLToPath(new URL('../../highwater.schema.json', import.meta.url)),
  );
});
