// Makes the optional packages of package.json ordinary ones, at the installed versions. For the build of the container
// image, which holds them all.
import { readFileSync, writeFileSync } from 'node:fs';

const path = new URL('../package.json', import.meta.url);
const manifest = JSON.parse(readFileSync(path, 'utf8'));
for (const name of Object.keys(manifest.peerDependencies)) {
  const installed = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  manifest.dependencies[name] = JSON.parse(readFileSync(installed, 'utf8')).version;
  delete manifest.devDependencies[name];
}
writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
