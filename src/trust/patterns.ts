import { lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';

/**
 * A test for texts by a pattern: `*` stands for any characters but `/` and `?`, `**` for any
 * but `?`: what stands after that may lead an address elsewhere.
 */
export function glob(pattern: string): (text: string) => boolean {
  const source = pattern
    .split(/(\*+)/)
    .map((part) =>
      part === '*' ? '[^/?]*' : /^\*+$/.test(part) ? '[^?]*' : part.replace(/[\\^$.+?()[\]{}|/]/g, '\\$&'),
    )
    .join('');
  const expression = new RegExp(`^${source}$`, 's');
  return (text) => expression.test(text);
}

/** Links that lead to links; more of them are a circle. */
const LINKS = 40;

/** The absolute path with links followed, as far as it exists. */
export function realPath(path: string, links = LINKS): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch {
    const above = dirname(absolute);
    if (above === absolute) return absolute;
    const parent = realPath(above, links);
    const here = join(parent, basename(absolute));
    // A link to a file that is not there yet would be followed by the one that creates it.
    const target = links === 0 ? null : linkAt(here);
    return target === null ? here : realPath(resolve(parent, target), links - 1);
  }
}

function linkAt(path: string): string | null {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch {
    return null;
  }
}

/** Whether a path is a folder or lies in it; both are real paths. */
export function isInside(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** A pattern of paths, with links followed in the folders before its first `*`. */
export function realPattern(pattern: string): string {
  const absolute = resolve(pattern);
  const star = absolute.indexOf('*');
  if (star === -1) return realPath(absolute);
  const folder = absolute.slice(0, absolute.lastIndexOf(sep, star) + 1);
  return join(realPath(folder), absolute.slice(folder.length));
}
