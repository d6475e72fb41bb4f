import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDir } from '../../src/dev/temporal-binary.js';

const run = promisify(execFile);

export type GoInstall = { available: true; program: string } | { available: false; reason: string };

/**
 * A program built from a Go module, once for the user.
 * @param what for the reason where it cannot be built: `no S3 server`.
 * @param path of its package in the module; empty: the module itself.
 */
export async function installGo(
  what: string,
  module: string,
  path: string,
  version: string,
): Promise<GoInstall> {
  const source = path === '' ? module : `${module}/${path}`;
  const name = source.split('/').at(-1) ?? '';
  const home = join(cacheDir(), module.split('/').at(-1) ?? name, version);
  const program = join(home, name);
  const isThere = () =>
    access(program).then(
      () => true,
      () => false,
    );
  if (await isThere()) return { available: true, program };
  const fresh = `${home}.${process.pid}`;
  try {
    await mkdir(fresh, { recursive: true });
    await run('go', ['install', `${source}@${version}`], {
      // Its own go.mod may ask for a newer toolchain than there is, which is no package.
      env: { ...process.env, GOBIN: fresh, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
      timeout: 420_000,
      maxBuffer: 1 << 24,
    });
    await rename(fresh, home).catch(() => access(program));
    return { available: true, program };
  } catch (thrown) {
    const { stderr = '', message } = thrown as { stderr?: string; message: string };
    const last = (stderr.trim() || message).split('\n').at(-1) ?? '';
    return { available: false, reason: `${what} can be built with Go: ${last.slice(0, 200)}` };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
