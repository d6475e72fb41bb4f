/** The programs of docs/notebooks.md open what Highwater writes, with a real Python. */
import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CLI, scratch } from '../helpers/harness.js';
import { installPostgres, startPostgres, type PostgresServer } from '../helpers/postgres.js';
import { installPython } from '../helpers/python.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const page = await readFile(`${root}docs/notebooks.md`, 'utf8');
const install = await installPython(
  'notebooks-1',
  ['duckdb', 'pandas', 'psycopg[binary]'],
  ['duckdb', 'pandas', 'psycopg'],
);
const postgres = await installPostgres();
const why = (one: { available: boolean; reason?: string }) =>
  one.available ? '' : ` (skipped: ${one.reason ?? ''})`;

test('docs/notebooks.md shows examples/notebook.py', async () => {
  const [, shown] = /^```python\n([\s\S]*?)^```$/m.exec(page) ?? [];
  expect(shown).toBe(await readFile(`${root}examples/notebook.py`, 'utf8'));
});

describe.skipIf(!install.available)(`a notebook${why(install)}`, () => {
  let system: System;
  let api: TestApi;
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
    api = await testApi();
    system = await startSystem(inject('temporalAddress'));
  });
  afterAll(async () => {
    await system.stop();
    await api.stop();
    await folder.remove();
  });

  const sync = (destination: string) =>
    system.sync({
      source: { base_url: api.url },
      destination,
      streams: [
        {
          name: 'user',
          path: '/pagination/keyset',
          strategy: 'keyset',
          cursor_field: 'updatedAt',
          primary_key: 'id',
        },
      ],
    });

  async function python(...args: string[]): Promise<string> {
    if (!install.available) throw new Error(install.reason);
    const path = `${folder.path}:${process.env['PATH'] ?? ''}`;
    const env = { ...process.env, PATH: path, TZ: 'UTC' };
    return (await execute(install.python, args, { cwd: folder.path, env })).stdout;
  }

  function expectFrames(printed: string): void {
    expect(printed).toMatch(/^users: 200 rows$/m);
    expect(printed).toMatch(/^batches: 1 rows$/m);
    expect(printed).toMatch(/ 205 +200 +0$/m);
    expect(printed).toMatch(/^lag: 1 rows\n.*\n *user .* 0 days 00:0/m);
    expect(printed).toMatch(/^schema_changes: 8 rows$/m);
    expect(printed).toMatch(/^committed_at\n20.* 200$/m);
  }

  test('opens a DuckDB file that no worker holds', async () => {
    const destination = folder.file('closed.duckdb');
    await sync(destination);
    // A worker lets go of a file that no sync needs any more.
    await expect
      .poll(() => python(`${root}examples/notebook.py`, destination).catch(String), { timeout: 60_000 })
      .toMatch(/^users: 200 rows$/m);
    expectFrames(await python(`${root}examples/notebook.py`, destination));
  });

  test('asks the worker that holds a file', async () => {
    const [, program = ''] = /^```python worker\n([\s\S]*?)^```$/m.exec(page) ?? [];
    const npx = folder.file('npx');
    await writeFile(npx, `#!/bin/sh\nshift\nexec "${process.execPath}" "${CLI}" "$@"\n`);
    await chmod(npx, 0o755);
    await sync(system.destination);
    await writeFile(
      folder.file('frame.py'),
      program.replace('"highwater.duckdb"', JSON.stringify(system.destination)),
    );
    expect(await python('frame.py')).toMatch(/users\n0 +200\n$/);
  });

  describe.skipIf(!postgres.available)(`of PostgreSQL${why(postgres)}`, () => {
    let server: PostgresServer;
    beforeAll(async () => {
      if (postgres.available) server = await startPostgres(postgres.bin);
    });
    afterAll(() => server.stop());

    test('opens it, with the same queries', async () => {
      await sync(server.url);
      expectFrames(await python(`${root}examples/notebook.py`, server.url));
    });
  });
});
