import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Whether this runs from source, by tests and scripts, and not from the build. */
export const isSource = import.meta.url.endsWith('.ts');

/** The folder of this package; the build may put this code at any depth below it. */
export const packageFolder = ((): string => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

/** Returns the path of a file of this package, from its path below the package's folder. */
export const ownFile = (path: string): string => join(packageFolder, path);

/** Returns the path of a code file, from its path below `src` and `dist`: the source if this runs from source. */
export const ownCode = (path: string): string => ownFile(join(isSource ? 'src' : 'dist', path));
