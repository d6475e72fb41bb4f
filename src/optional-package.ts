import { messageOf } from './errors.js';
import { readPackageJson } from './package-json.js';

/**
 * Loads packages that only some users need, and which they install themselves.
 * @param names all packages that `load` needs, as they are in `peerDependencies`.
 * @param problem makes the error from its text, which begins with "needs the package".
 */
export async function loadPackages<T>(
  names: readonly string[],
  load: () => Promise<T>,
  problem: (text: string) => Error,
): Promise<T> {
  try {
    return await load();
  } catch (thrown) {
    const what = `needs the ${names.length === 1 ? 'package' : 'packages'} ${names.join(', ')}`;
    const said = messageOf(thrown);
    const isMissing = names.some((name) => said.includes(`'${name}'`));
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND' || !isMissing)
      throw problem(`${what}, which failed to load: ${said}`);
    const { peerDependencies: ranges } = readPackageJson();
    const install = names.map((name) => `'${name}@${ranges[name] ?? 'latest'}'`).join(' ');
    throw problem(
      `${what}. Install ${names.length === 1 ? 'it' : 'them'} beside Highwater: npm install ${install}`,
    );
  }
}
