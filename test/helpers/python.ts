import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const home = fileURLToPath(new URL('../../node_modules/.cache/highwater/python/', import.meta.url));
const pythonIn = (venv: string): string => `${venv}/bin/python`;

/** A Python with some packages, or the reason why there is none. */
export type PythonInstall = { available: true; python: string } | { available: false; reason: string };

/**
 * Installs packages into a cached virtual environment, once. Needs `python3` with `venv`, and the first time a package index.
 * @param name of the environment; another set of packages needs another name.
 * @param what names the packages in the reason.
 */
export async function installPython(
  name: string,
  packages: string[],
  modules: string[],
  what = packages.join(', '),
): Promise<PythonInstall> {
  const venv = `${home}${name}`;
  const python = pythonIn(venv);
  const check = ['-c', `import ${modules.join(', ')}`];
  const isUsable = () =>
    access(python)
      .then(() => run(python, check, { timeout: 60_000 }))
      .then(
        () => true,
        () => false,
      );
  if (await isUsable()) return { available: true, python };
  // Test files run side by side: each builds its own, and the first to finish gives it its name.
  const fresh = `${venv}.${process.pid}`;
  try {
    await mkdir(home, { recursive: true });
    await run('python3', ['-m', 'venv', fresh], { timeout: 60_000 });
    const quiet = ['--quiet', '--disable-pip-version-check', '--no-input'];
    const options = [...quiet, '--retries', '1', '--timeout', '15'];
    await run(pythonIn(fresh), ['-m', 'pip', 'install', ...options, ...packages], { timeout: 300_000 });
    await run(pythonIn(fresh), check, { timeout: 60_000 });
    await rename(fresh, venv).catch(async () => {
      // Another was first, or what is there does not run.
      if (await isUsable()) return;
      await rm(venv, { recursive: true, force: true });
      await rename(fresh, venv);
    });
    return { available: true, python };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const last = (stderr?.trim() || message).split('\n').at(-1) ?? '';
    return { available: false, reason: `cannot install ${what}: ${last.slice(0, 200)}` };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
