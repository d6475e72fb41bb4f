import { readFileSync } from 'node:fs';
import { ownFile } from './own-files.js';

/** The parts of this package's own package.json that are used while it runs. */
export interface PackageJson {
  version: string;
  peerDependencies: { [name: string]: string };
}

export const readPackageJson = (): PackageJson =>
  JSON.parse(readFileSync(ownFile('package.json'), 'utf8')) as PackageJson;
