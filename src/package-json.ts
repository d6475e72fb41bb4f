import { readFileSync } from 'node:fs';

/** The parts of this package's own package.json that are used while it runs. */
export interface PackageJson {
  version: string;
  peerDependencies: { [name: string]: string };
}

export const readPackageJson = (): PackageJson =>
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as PackageJson;
