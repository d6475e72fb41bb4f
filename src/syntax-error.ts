import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Returns the line of a JavaScript file that cannot be parsed, counted from 1; null if the file itself is fine. `import()`
 * throws a SyntaxError without a place, which only `node --check` prints. The file is not run.
 */
export function lineOfSyntaxError(path: string): number | null {
  const { stderr } = spawnSync(process.execPath, ['--check', path], {
    encoding: 'utf8',
    timeout: 10_000,
    // Nothing of this process is for the other one to see.
    env: {},
  });
  const [, place = '', line] = /^(.+):(\d+)$/m.exec(stderr ?? '') ?? [];
  const found = place.startsWith('file:') ? fileURLToPath(place) : place;
  return found === path ? Number(line) : null;
}
