import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ConfigurationError } from '../errors.js';
import type { TrustPolicy } from '../trust/policy.js';

/** The module of a hook, as it is now. */
export interface HookFile {
  name: string;
  /** Absolute path. */
  path: string;
  /** Of the module, and of the files that it imports by relative paths, directly or not. */
  digest: string;
}

const EXTENSIONS = ['.mjs', '.mts', '.ts'] as const;

/** Where a configuration names the hook of a transform. */
const KEY = 'transform';

/**
 * Finds the module of a hook in the worker's folder.
 * @throws {ConfigurationError} if it is not there, or cannot be run by this version of Node.
 * @throws {NotAllowedError}
 */
export function findHook(name: string, trust: TrustPolicy): HookFile {
  const paths = EXTENSIONS.map((extension) => trust.requireHook(name, { at: KEY, extension }));
  const found = paths.filter((path) => existsSync(path));
  const [path, other] = found;
  if (path === undefined) throw refused(`the worker has no file ${paths[0] ?? name}`);
  if (other !== undefined) throw refused(`the worker has both ${path} and ${other}: remove one of them`);
  if (!path.endsWith('.mjs') && !stripsTypes()) {
    throw refused(
      `this worker's Node (${process.version}) cannot run ${path}: Node 22.18 and later run TypeScript. Compile the hook to ${name}.mjs, ` +
        'or run the worker with a later version of Node',
    );
  }
  return { name, path, digest: digestOf(path) };
}

/** An error of the configuration, which names the hook. */
export const refused = (message: string): ConfigurationError =>
  new ConfigurationError([{ path: KEY, message }]);

const stripsTypes = () =>
  typeof (process.features as { typescript?: string | false }).typescript === 'string';

/** Relative specifiers of imports, static and dynamic. A comment that looks like one does no harm. */
const IMPORTS = /(?:\bfrom|\bimport)\s*\(?\s*(["'])(\.{1,2}\/[^"'\n]+)\1/g;

/** Digests of modules by path; a few hex digits that tell versions apart. */
function digestOf(path: string): string {
  const root = dirname(path);
  const hash = createHash('sha256');
  const seen = new Set<string>();
  const add = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    if (!existsSync(file)) return;
    const text = readFileSync(file, 'utf8');
    hash.update(`${relative(root, file)}\0${text.length}\0${text}`);
    for (const [, , specifier = ''] of text.matchAll(IMPORTS)) {
      add(fileURLToPath(new URL(specifier, pathToFileURL(file))));
    }
  };
  add(realpathSync(resolve(path)));
  return hash.digest('hex').slice(0, DIGEST_LENGTH);
}

const DIGEST_LENGTH = 16;
