import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const home = fileURLToPath(new URL('../../node_modules/.cache/highwater/npm/', import.meta.url));

/** A folder with an npm package, or the reason why there is none. */
export type NpmInstall = { available: true; folder: string } | { available: false; reason: string };

/**
 * Installs an npm package into a cached folder, once. Needs a registry the first time.
 * @param spec such as `json-server@0.17.4`.
 * @param file below node_modules that must be there.
 */
export async function installNpm(spec: string, file: string): Promise<NpmInstall> {
  const folder = home + spec.replace(/[^\w.-]/g, '-');
  const isUsable = () =>
    access(`${folder}/node_modules/${file}`).then(
      () => true,
      () => false,
    );
  if (await isUsable()) return { available: true, folder };
  const fresh = `${folder}.${process.pid}`;
  try {
    await mkdir(fresh, { recursive: true });
    await writeFile(`${fresh}/package.json`, '{"private": true}');
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
    await run('npm', ['install', ...quiet, spec], { cwd: fresh, timeout: 120_000 });
    // Another test file may have been first.
    await rename(fresh, folder).catch(() => undefined);
    if (!(await isUsable())) return { available: false, reason: `${spec} has no ${file}` };
    return { available: true, folder };
  } catch (error) {
    return {
      available: false,
      reason: `cannot install ${spec}: ${String((error as Error).message).slice(0, 200)}`,
    };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
