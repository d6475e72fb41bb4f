/**
 * Runs the Dockerfile without Docker in a plain folder: each COPY and RUN of both stages, in order. Prints the folder
 * of the image. Its folder /app holds the same files as in a container.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stages } from '../test/helpers/dockerfile.js';

const repository = fileURLToPath(new URL('..', import.meta.url));
const roots = new Map<string, string>();
let root = '';
for (const [i, stage] of stages().entries()) {
  root = mkdtempSync(join(tmpdir(), 'highwater-image-'));
  let folder = root;
  for (const { name, rest } of stage) {
    if (name === 'FROM') roots.set(/ AS (\S+)$/i.exec(rest)?.[1] ?? String(i), root);
    if (name === 'WORKDIR') mkdirSync((folder = join(root, rest)), { recursive: true });
    if (name === 'COPY') copy(rest, folder);
    if (name !== 'RUN') continue;
    console.log(`RUN ${rest}`);
    // The user "node" exists only in the base image, and the root folder is its own.
    const command = rest.replace(/ && chown \S+ \S+$/, '').replaceAll(' /data', ` ${root}/data`);
    execFileSync('sh', ['-c', command], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  }
}
console.log(root);

function copy(rest: string, folder: string): void {
  const words = rest.split(/\s+/);
  const from =
    words[0]?.startsWith('--from=') === true ? roots.get(words.shift()?.slice(7) ?? '') : repository;
  const to = words.pop() ?? '';
  for (const word of words) {
    const source = join(from ?? '', word);
    const isFolder = statSync(source).isDirectory();
    const name = word.split('/').at(-1) ?? '';
    cpSync(source, isFolder ? resolve(folder, to) : resolve(folder, to, to.endsWith('/') ? name : ''), {
      recursive: true,
      verbatimSymlinks: true,
    });
  }
}
