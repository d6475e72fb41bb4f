import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const home = fileURLToPath(new URL('../../node_modules/.cache/highwater/python/', import.meta.url));

/** A Python with some packages, or the reason why there is none. */
export type PythonInstall = { available: true; python: string } | { available: false; reason: string };

/**
 * Installs packages into a cached virtual environment, once. Needs `python3` with `venv`, and the first time a package index.
 * @param name of the environment; another set of packages needs another name.
 */
export async function installPython(
  name: string,
  packages: string[],
  modules: string[],
): Promise<PythonInstall> {
  const python = `${home}${name}/bin/python`;
  const check = ['-c', `import ${modules.join(', ')}`];
  const isUsable = () =>
    run(python, check, { timeout: 60_000 }).then(
      () => true,
      () => false,
    );
  if (
    await access(python).then(
      () => true,
      () => false,
    )
  )
    if (await isUsable()) return { available: true, python };
  const fresh = `${home}${name}.${process.pid}`;
  try {
    await mkdir(home, { recursive: true });
    await run('python3', ['-m', 'venv', fresh], { timeout: 60_000 });
    const options = ['--quiet', '--disable-pip-version-check', '--no-input', '--retries', '1'];
    await run(`${fresh}/bin/python`, ['-m', 'pip', 'install', ...options, ...packages], { timeout: 300_000 });
    await run(`${fresh}/bin/python`, check, { timeout: 60_000 });
    await rm(`${home}${name}`, { recursive: true, force: true });
    await rename(fresh, `${home}${name}`);
    return { available: true, python };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const last = (stderr?.trim() || message).split('\n').at(-1) ?? '';
    return { available: false, reason: `cannot install ${packages.join(', ')}: ${last.slice(0, 200)}` };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
