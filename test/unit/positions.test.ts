/** Every problem of a configuration file is shown where it stands. */
import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadPlans, openConfiguration } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';
import { scratch } from '../helpers/harness.js';
import { startCpuTimer } from '../helpers/cpu.js';

let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

async function refusal(name: string, text: string): Promise<ConfigurationError> {
  writeFileSync(folder.file(name), text);
  const thrown: unknown = await loadPlans(folder.file(name)).then(
    () => null,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(ConfigurationError);
  return thrown as ConfigurationError;
}

/** `path` → what stands in the file from the place that is named for it, up to the end of the line. */
async function pointed(name: string, text: string): Promise<Record<string, string>> {
  const { problems } = await refusal(name, text);
  const lines = readFileSync(folder.file(name), 'utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/);
  return Object.fromEntries(
    problems.map(({ path, position }) => [
      path,
      (lines[(position?.line ?? 0) - 1] ?? '').slice((position?.column ?? 0) - 1),
    ]),
  );
}

describe('in JSON', () => {
  it('a problem is shown with file, line, column, path, value, what is allowed and the nearest word', async () => {
    const file = folder.file('shown.json');
    const { message } = await refusal(
      'shown.json',
      '{\n  // which?\n  "strategy": "keysett",\n  "page_sise": 5\n}',
    );
    expect(message).toBe(
      `${file} has 2 problems:\n` +
        `  ${file}:3:3  strategy: "keysett" is not one of keyset, offset, timestamp, step_size, replay (did you mean "keyset"?)\n` +
        `  ${file}:4:3  page_sise: is not a known key (did you mean "page_size"?)`,
    );
  });

  it('a problem stands at its key, in a list at its item', async () => {
    const text = `{
  "primary_key": ["id",
    "uid"],
  "columns": { "id": "STRNG",
    "a.b": "NUMBER", "x[0]": "WORDS" },
  "base_url": "ftp://h"
}`;
    expect(await pointed('keys.json', text)).toMatchObject({
      'columns.id': '"id": "STRNG",',
      'columns.a.b': '"a.b": "NUMBER", "x[0]": "WORDS" },',
      'columns.x[0]': '"x[0]": "WORDS" },',
      base_url: '"base_url": "ftp://h"',
    });
    const twice = '\uFEFF{"columns": {"id": "LONG"},\r\n "primary_key": ["id",\r\n  "uid", "id"]}';
    expect(await pointed('items.json', twice)).toMatchObject({
      'primary_key[1]': '"uid", "id"]}',
      primary_key: '"primary_key": ["id",',
    });
  });

  it('what is missing stands at the object that lacks it, and what a stream has from the defaults stands there', async () => {
    const text = `{
  "source": {
    "headers": {} },
  "defaults": {
    "page_size": 0,
    "columns": { "id": "LONG" } },
  "streams": [
    { "name": "a", "strategy": "offset" },
    { "name": "b", "strategy": "keyset" },
    { "strategy": "offset", "colums": {} }
  ]
}`;
    expect(await pointed('missing.json', text)).toEqual({
      'source.base_url': '"source": {',
      'defaults.page_size': '"page_size": 0,',
      'streams[2].name': '{ "strategy": "offset", "colums": {} }',
      'streams[2].colums': '"colums": {} }',
    });
  });

  it('the top level stands at its start', async () => {
    expect(await pointed('top.json', '// a comment\n [1]')).toEqual({ '': '[1]' });
    expect(await pointed('lacks.json', '\n{ "streams": [{ "name": "a" }] }')).toMatchObject({
      source: '{ "streams": [{ "name": "a" }] }',
      'streams[0].strategy': '{ "name": "a" }] }',
    });
  });

  it('of fifty thousand problems those that are shown are found in a moment', async () => {
    const text = `{${Array.from({ length: 50_000 }, (_, i) => `"strateg${i}":1`).join(',\n')}}`;
    const used = startCpuTimer();
    const { message } = await refusal('many.json', text);
    expect(message).toContain('many.json:50:1  strateg49: is not a known key');
    expect(used()).toBeLessThan(5000);
  });
});

describe('in YAML', () => {
  it('a problem stands at its key, in a list at its item, in block and in flow style', async () => {
    const text = `source:
  base_url: https://h
  header: {}
streams:
  - name: a
    strategy: curser
    columns: { id: LONG, at: WHEN }
  - strategy: offset
    primary_key:
      - id
      - uid
    columns: {id: LONG}
    name: b
  # none
  -
    columns: {id: LONG}
`;
    expect(await pointed('block.yaml', text)).toEqual({
      'source.header': 'header: {}',
      'streams[0].strategy': 'strategy: curser',
      'streams[0].columns.at': 'at: WHEN }',
      'streams[1].primary_key[1]': 'uid',
      'streams[2].name': 'columns: {id: LONG}',
      'streams[2].strategy': 'columns: {id: LONG}',
    });
  });

  it('what an alias stands for, or a merge brings in, stands where it is used', async () => {
    const text = `source: { base_url: "https://h" }
defaults: &shared
  columns: &columns { id: LONG, at: WHEN }
streams:
  - name: a
    strategy: offset
    columns: *columns
  - <<: *shared
    name: b
    strategy: offset
  - <<: [ { strategy: curser }, *shared ]
    columns: { id: LONG }
    name: c
`;
    expect(await pointed('alias.yaml', text)).toEqual({
      'streams[0].columns.at': '*columns',
      'streams[1].columns.at': '*shared',
      'streams[2].strategy': 'strategy: curser }, *shared ]',
    });
  });

  it('that refers to itself is refused like any other', async () => {
    for (const text of [
      '&a\nstrategy: keyset\ncolumns: *a\n',
      'columns: &a\n  <<: *a\n  id: X\n',
      '&a { "": *a }\n',
    ])
      expect((await refusal('self.yaml', text)).message).toContain('self.yaml');
  });
});

it('whatever is wrong, and wherever, it has a place in the file', async () => {
  const words = ['id', 'columns', 'a.b', 'x[0]', 'streams', 'source', '', '<<', 'name', 'strategy', 'é'];
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom<unknown>('LONG', 1, null, true),
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...words), tie('any'), { maxKeys: 4 }),
    ),
  })).any;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('any.json', 'any.yaml'), value, async (name, content) => {
      // JSON is YAML too.
      const text = JSON.stringify(content, null, 2);
      writeFileSync(folder.file(name), text);
      const file = await openConfiguration(folder.file(name)).catch((thrown: unknown) => thrown as Error);
      if (file instanceof Error) {
        expect(file).toBeInstanceOf(ConfigurationError);
        return;
      }
      const { problems } = await refusal(name, text).catch(() => ({ problems: [] }));
      for (const { position } of problems) {
        expect(position?.line).toBeLessThanOrEqual(text.split('\n').length);
        expect(position?.column).toBeGreaterThan(0);
      }
    }),
    { numRuns: 300 },
  );
});
