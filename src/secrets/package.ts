import { messageOf } from '../errors.js';
import { SecretProblem } from './provider.js';

/**
 * Loads a package that is installed only where it is needed.
 * @throws {SecretProblem} where it is not there, with the command that installs it.
 */
export async function loadPackage<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ERR_MODULE_NOT_FOUND' && messageOf(thrown).includes(`'${name}'`))
      throw new SecretProblem(
        `needs the package ${name}, which is not installed where the worker runs: npm install ${name}`,
      );
    throw new SecretProblem(`needs the package ${name}, which failed to load: ${messageOf(thrown)}`);
  }
}
