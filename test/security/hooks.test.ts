/** What the hook of a transform gets to see, and which hooks a configuration can name. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hookLimits, Hooks } from '../../src/hooks/hooks.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
let hooks: Hooks | null = null;

const hooksOf = (environment: NodeJS.ProcessEnv, trust: 'local' | 'none' = 'none') => {
  const policy = new TrustPolicy(trust, {}, environment);
  return (hooks = new Hooks(policy, hookLimits(environment)));
};
const runOne = async (environment: NodeJS.ProcessEnv, code: string) => {
  await writeFile(folder.file('hooks/own.mjs'), code);
  const own = hooksOf(environment);
  const [outcome] = await own
    .runnerOf(own.find('own'))
    .run({ records: ['{}'], stream: 'items', parent: null });
  return JSON.stringify(outcome);
};

beforeEach(async () => {
  folder = await scratch();
  await mkdir(folder.file('hooks'));
  await mkdir(folder.file('data'));
});
afterEach(async () => {
  hooks?.close();
  await folder.remove();
});

describe('a hook', () => {
  test('sees no variable of the worker in its environment, its arguments or its thread', async () => {
    process.env['HIGHWATER_TEST_SECRET'] = 'sesame-of-the-worker';
    try {
      const environment = { ...process.env, HIGHWATER_HOOKS: folder.file('hooks') };
      const code = `import { env, argv, report } from 'node:process';
        import { workerData, getEnvironmentData } from 'node:worker_threads';
        export default () => ({ env: { ...env }, argv, workerData: { ...workerData, progress: null },
          data: getEnvironmentData('x'), known: Object.keys(globalThis) });`;
      const seen = await runOne(environment, code);
      expect(seen).toContain('workerData');
      expect(seen).not.toContain('sesame');
      expect(seen).toContain('\\"env\\":{}');
    } finally {
      delete process.env['HIGHWATER_TEST_SECRET'];
    }
  });

  test('sees the variables that the owner of the worker lists', async () => {
    const environment = {
      HIGHWATER_HOOKS: folder.file('hooks'),
      HIGHWATER_HOOK_ENV: 'REGION',
      REGION: 'eu',
      KEY: 'k',
    };
    const seen = await runOne(environment, 'export default () => ({ ...process.env })');
    expect(seen).toBe(JSON.stringify(['{"REGION":"eu"}']));
  });
});

describe('a configuration', () => {
  const evil = 'export default () => ({ stolen: true })';

  test('names no module outside of the folder, by path or link', async () => {
    await writeFile(folder.file('data/evil.mjs'), evil);
    await symlink(folder.file('data/evil.mjs'), folder.file('hooks/evil.mjs'));
    const none = hooksOf({ HIGHWATER_HOOKS: folder.file('hooks') });
    for (const name of [
      '../data/evil',
      '..',
      'data/evil',
      '/etc/passwd',
      'evil.mjs',
      '%2e%2e/data/evil',
      'a\0',
    ])
      expect(() => none.find(name)).toThrow(/transform: is not a valid name of a hook/);
    expect(() => none.find('evil')).toThrow(
      /may not use the hook evil, a link to another folder.*HIGHWATER_HOOKS/,
    );
  });

  test('names none where the worker trusts none and has no folder of hooks', () => {
    expect(() => hooksOf({}).find('own')).toThrow(/may not use the hook own.*HIGHWATER_HOOKS/);
  });
});
