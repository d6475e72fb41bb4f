import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));
const ignore = () => undefined;
const logger = {
  ...{ log: ignore, trace: ignore, debug: ignore, info: ignore },
  ...{ warn: console.warn, error: console.error },
};

/**
 * Bundles the workflows as they are in `src`, once for each state of `src`.
 * @param isTraced the bundle of workers that send traces.
 * @returns the path of the bundle.
 */
export async function workflowBundle({ isTraced = false } = {}): Promise<string> {
  const folder = join(tmpdir(), `highwater-test-bundles-${process.getuid?.() ?? 0}`);
  const path = join(folder, `${digestOfSources()}${isTraced ? '-traced' : ''}.cjs`);
  if (existsSync(path)) return path;
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(SOURCES, 'workflows/index.ts'),
    preloadModules: [join(SOURCES, 'inputs.ts')],
    workflowInterceptorModules: isTraced ? [join(SOURCES, 'workflows/traced.ts')] : [],
    logger,
  });
  await mkdir(folder, { recursive: true });
  // Other test files may write the same bundle at the same time.
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, code);
  await rename(unfinished, path);
  return path;
}

function digestOfSources(): string {
  const digest = createHash('sha256');
  const names = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  for (const name of names.sort()) digest.update(name).update(readFileSync(join(SOURCES, name)));
  return digest.digest('hex').slice(0, 16);
}
