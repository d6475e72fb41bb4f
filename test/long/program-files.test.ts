/** A configuration that is a program: every command takes it, and only the user's own command runs it. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { difference, EQUAL, highwater, scratch } from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { LONG } from '../helpers/long.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Whether this Node runs TypeScript by itself. */
const runsTypeScript = 'typescript' in process.features && process.features.typescript !== false;

let folder: Awaited<ReturnType<typeof scratch>>;
let api: TestApi;

beforeAll(async () => {
  folder = await scratch();
  api = await testApi({ rows: 120 });
  await mkdir(folder.file('node_modules'));
  await symlink(root, folder.file('node_modules/highwater'), 'dir');
});
afterAll(async () => {
  await api.stop();
  await folder.remove();
});

const run = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  highwater(args, {
    cwd: folder.path,
    env: { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.file('home'), ...env },
  });

/** Writes a program whose streams are made by a loop. */
const program = (types: boolean) => `
import { defineSync${types ? ', type StreamConfiguration' : ''} } from 'highwater';
const streams${types ? ': StreamConfiguration[]' : ''} = ['user'].map((name) => ({
  name, path: '/pagination/keyset', strategy: 'keyset'${types ? ' as const' : ''}, cursor_field: 'updatedAt', primary_key: 'id',
  table: process.env.NO_SUCH_VARIABLE,
}));
export default defineSync({ source: { base_url: '${api.url}' }, streams });
`;

const written = async (name: string, text: string): Promise<string> => {
  await writeFile(folder.file(name), text);
  return name;
};

const WHOLE = {
  streams: [
    {
      name: 'user',
      path: '/pagination/keyset',
      strategy: 'keyset',
      cursor_field: 'updatedAt',
      primary_key: 'id',
    },
  ],
};

describe('a program whose default export is a configuration', () => {
  test.each(['sync.mjs', ...(LONG ? ['sync.js'] : [])])(
    '%s is run by every command that takes a file',
    async (name) => {
      const file = await written(name, program(false));
      const config = await run(['config', file, '--json']);
      expect(config.stderr).toBe('');
      expect(JSON.parse(config.stdout)).toEqual({ source: { base_url: api.url }, ...WHOLE });

      const check = await run(['check', file, '--json']);
      expect(check.status, check.stderr).toBe(0);
      const preview = await run(['preview', file]);
      expect(preview.status, preview.stderr).toBe(0);
      const discovered = await run(['discover', file, '--json']);
      expect(discovered.status, discovered.stderr).toBe(0);
      const once = await run(['run', file, '-d', `${name}.duckdb`, '--json']);
      expect(once.status, once.stderr).toBe(0);
      expect(await difference(api.client, folder.file(`${name}.duckdb`))).toEqual(EQUAL);
      const state = await run(['state', 'get', file, '-d', `${name}.duckdb`]);
      expect(state.stdout + state.stderr).toContain('last_updated_at');
    },
  );

  test.runIf(runsTypeScript).each(['sync.ts', 'sync.mts'])('%s is run by Node itself', async (name) => {
    const { stdout, stderr } = await run(['config', await written(name, program(true)), '--json']);
    expect(JSON.parse(stdout), stderr).toMatchObject(WHOLE);
  });

  test.runIf(!runsTypeScript)('in TypeScript, where Node runs none: says what to do', async () => {
    const { status, stderr } = await run(['config', await written('sync.ts', program(true))]);
    expect(status).toBe(1);
    expect(stderr).toContain(
      `sync.ts has 1 problem:\n  (top level): is TypeScript, which Node ${process.versions.node} does not run. ` +
        'Use Node 22.18 or later, or install tsx in this folder (npm install --save-dev tsx), or write it as JavaScript, sync.mjs',
    );
  });

  test.skipIf(!LONG)(
    'in TypeScript is run by tsx where the project has it, with what Node itself does not run',
    async () => {
      const tsx = dirname(createRequire(import.meta.url).resolve('tsx/package.json'));
      await symlink(tsx, folder.file('node_modules/tsx'), 'dir');
      try {
        const text = `${program(true)}\nenum Place { Here = 1 }\nconsole.error(Place.Here);\n`;
        const { stdout, stderr } = await run(['config', await written('enum.ts', text), '--json']);
        expect(JSON.parse(stdout), stderr).toMatchObject(WHOLE);
        expect(stderr).toBe('1\n');
      } finally {
        await rm(folder.file('node_modules/tsx'));
      }
    },
  );

  test.each([
    [
      'a misspelt key',
      "export default { source: { base_url: 'http://127.0.0.1' }, streams: [{ nam: 'a' }] };",
      /streams\[0\]\.nam: is not a known key \(did you mean "name"\?\)/,
    ],
    ['no default export', 'export const x = 1;', /has no default export; write "export default defineSync/],
    [
      'what JSON cannot hold',
      'export default { base_url: new Date(), page_size: 10n, table: async () => {}, columns: new Map() };',
      /base_url: is a Date: .*\n {2}page_size: is a bigint: .*\n {2}table: is a function; .*\n {2}columns: is an object of the class Map/,
    ],
    ['a circle', 'const a = {}; a.a = a; export default a;', /a\.a\.a\.a.*: is nested deeper than 20/],
    [
      'an error of its own, with its place',
      "\nimport { readFileSync } from 'node:fs';\nexport default readFileSync('nothing');",
      /wrong\.mjs:3:16 {2}cannot be run: Error: ENOENT: .*'nothing'/,
    ],
    [
      'a package that is missing',
      "import 'no-such-package'; export default {};",
      /cannot be run: Error: Cannot find package 'no-such-package'/,
    ],
    ['a syntax error', 'export default {\n  a: = 2,\n};', /wrong\.mjs:2:1 {2}cannot be run: SyntaxError: /],
  ])('with %s is refused, with the name of the file', async (_, text, expected) => {
    const { status, stdout, stderr } = await run(['config', await written('wrong.mjs', text)]);
    expect(stderr).toMatch(/^highwater: wrong\.mjs has \d+ problems?:\n/);
    expect(stderr).toMatch(expected);
    expect([status, stdout]).toEqual([1, '']);
  });

  test('that is missing, or a folder, is refused as a file of data is', async () => {
    expect((await run(['config', 'nothing.ts'])).stderr).toContain('the file does not exist');
    await mkdir(folder.file('folder.mjs'));
    expect((await run(['config', 'folder.mjs'])).stderr).toContain('is a folder');
  });

  test('is not run where its folder has no highwater, and the message says so', async () => {
    const other = await scratch();
    await writeFile(other.file('sync.mjs'), program(false));
    const { stderr } = await run(['config', other.file('sync.mjs')]);
    expect(stderr).toContain(
      'imports "highwater", which is not installed where the file is: run "npm install highwater" there',
    );
    await other.remove();
  });

  test('is run only where a command names it: none is tried because it is in the folder', async () => {
    const other = await scratch();
    await writeFile(
      other.file('evil.mjs'),
      "import { writeFileSync } from 'node:fs'; writeFileSync('ran', '');",
    );
    const env = { TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: other.file('home') };
    for (const args of [['state', 'get'], ['audit'], ['query', 'SELECT 1'], ['rejects'], ['report']])
      await highwater(args, { cwd: other.path, env });
    expect(existsSync(other.file('ran'))).toBe(false);
    await other.remove();
  });

  test('is not edited by "discover --write", which says what to do instead', async () => {
    const file = await written('sync.mjs', program(false));
    const { status, stderr } = await run(['discover', file, '--write']);
    expect(status).toBe(1);
    expect(stderr).toContain('copy what "highwater discover sync.mjs" prints into it');
    expect(await readFile(folder.file(file), 'utf8')).toBe(program(false));
  });

  test('is not run for those whom the user does not trust, such as assistants', async () => {
    await written(
      'evil.mjs',
      "import { writeFileSync } from 'node:fs'; writeFileSync('ran', ''); export default {};",
    );
    const { status, stderr } = await run(['check', 'evil.mjs'], { HIGHWATER_COMMAND_TRUST: 'none' });
    expect(status).toBe(1);
    expect(stderr).toContain('this command runs no programs, because HIGHWATER_COMMAND_TRUST is "none"');
    expect(existsSync(folder.file('ran'))).toBe(false);
  });
});
