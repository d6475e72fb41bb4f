// Prepares a fresh clone: installs dependencies and builds, each only if missing or out of date.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 15)) {
  console.error(`Highwater needs Node 20.15 or later; this is ${process.version}.`);
  process.exit(1);
}

const changed = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);
const newest = (path) =>
  statSync(path).isDirectory()
    ? Math.max(changed(path), ...readdirSync(path).map((name) => newest(`${path}/${name}`)))
    : changed(path);

function run(what, command, args) {
  const started = Date.now();
  console.error(`${what} …`);
  const { status, error } = spawnSync(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (error !== undefined || status !== 0) {
    console.error(`${what} failed${error === undefined ? '' : `: ${error.message}`}`);
    process.exit(status ?? 1);
  }
  console.error(`${what}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

const installed = 'node_modules/.package-lock.json';
if (changed(installed) < changed('package-lock.json') - 1000) {
  // Not `npm ci`, which refuses a lock file without another platform's optional packages, and not every registry has
  // them all. With --no-save the lock file is followed and not changed.
  run('Installing dependencies', 'npm', [
    'install',
    '--no-save',
    '--no-fund',
    '--no-audit',
    '--loglevel=error',
  ]);
}
const sources = Math.max(...['src', 'scripts/build.ts', 'tsconfig.json', 'package.json'].map(newest));
if (changed('dist/workflow-bundle.cjs') < Math.max(sources, changed(installed))) {
  run('Building', process.execPath, ['node_modules/tsx/dist/cli.mjs', 'scripts/build.ts']);
}
