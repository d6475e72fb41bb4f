// Runs the unit tests and one sync with the Node versions that workers run with: `npm run test:node`, or `-- 24` for
// one. The versions come from the npm package `node` and are cached in node_modules/.cache. Not part of `npm test`, to
// save time.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8');
const [, image = ''] = /^FROM node:(\d+)/m.exec(dockerfile) ?? [];
/** The Dockerfile's version, and the supported long-term version before it. */
const versions = process.argv.slice(2).length > 0 ? process.argv.slice(2) : ['22', image];
const tests = ['test/unit', 'test/integration/streams.test.ts'];

let failed = false;
for (const version of new Set(versions)) {
  const home = join(root, 'node_modules', '.cache', 'highwater', 'node', version);
  const bin = join(home, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(bin)) {
    mkdirSync(home, { recursive: true });
    const install = [
      'install',
      '--prefix',
      home,
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      `node@${version}`,
    ];
    execFileSync('npm', install, { stdio: 'inherit', shell: process.platform === 'win32' });
  }
  const said = execFileSync(bin, ['--version'], { encoding: 'utf8' }).trim();
  console.log(`\n── Node ${said}`);
  const { status } = spawnSync(bin, ['node_modules/vitest/vitest.mjs', 'run', ...tests], {
    cwd: root,
    stdio: 'inherit',
  });
  failed ||= status !== 0;
}
process.exit(failed ? 1 : 0);
