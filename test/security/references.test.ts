/** What a configuration refers to is known, and so is every destination; nothing else is taken for text or for a file. */
import { readdir, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { destinationKind } from '../../src/config/destination-kind.js';
import { ConfigurationError } from '../../src/errors.js';
import { highwater, scratch } from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

function problemsOf(work: () => unknown): { path: string; message: string }[] {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) return thrown.problems;
    throw thrown;
  }
  return [];
}

const stream = { name: 's', strategy: 'offset', primary_key: ['id'], columns: { id: 'STRING' } };
const full = (more: { source?: object; stream?: object; [key: string]: unknown }) => {
  const { source, stream: own, ...rest } = more;
  return { source: { base_url: 'http://h', ...source }, streams: [{ ...stream, ...own }], ...rest };
};
const TOKEN = { type: 'bearer', token: '${env:T}' };

describe('a reference of an unknown kind', () => {
  test.each([
    ['streams[0].headers.x', full({ stream: { headers: { x: 'a ${vaullt:secret/x#y} b' } } })],
    ['streams[0].params.x', full({ stream: { params: { x: '${ENV:TOKEN}' } } })],
    ['streams[0].path', full({ stream: { path: '/a/${header:x}' } })],
    [
      'streams[0].body.a[1].b',
      full({ stream: { method: 'POST', body: { a: ['', { b: '${secret: x}' }] } } }),
    ],
    ['source.headers.x', full({ source: { headers: { x: '${foo:bar}' } } })],
    ['source.auth.token', full({ source: { auth: { ...TOKEN, token: '${environment:T}' } } })],
    ['source.base_url', full({ source: { base_url: 'http://${hosts:x}/' } })],
    ['defaults.headers.x', full({ defaults: { headers: { x: '${foo:bar}' } } })],
    ['notify.url', full({ notify: { url: 'http://h/${foo:bar}' } })],
    ['destination', full({ destination: 'postgresql://u:${vaultt:x}@h/d' })],
    ['base_url', { base_url: 'http://h/${foo:bar}' }],
  ])('is a problem of the configuration, and the known ones are named: %s', (path, configuration) => {
    const found = problemsOf(() => plansFrom(configuration)).find((problem) => problem.path === path);
    expect(found?.message).toMatch(/is not a kind of reference.*; allowed: \$\{env:NAME\}(,| and) /);
  });

  test.each([
    ['a name in a list of variables, as shells have it', '${API_TOKEN}', /write \$\{env:API_TOKEN\}/],
    [
      'one of a known kind that names nothing',
      'x ${env:} y',
      /incomplete reference \$\{env:…\}; write \$\{env:NAME\}/,
    ],
    ['one whose name is none', '${env:no-name}', /incomplete reference/],
    ['one without its end', '${file:/run/secrets', /incomplete reference/],
  ])('is told from %s', (_, text, words) => {
    const [problem] = problemsOf(() => plansFrom(full({ stream: { headers: { x: text } } })));
    expect(problem?.path).toBe('streams[0].headers.x');
    expect(problem?.message).toMatch(words);
  });

  test('is not repeated, as a secret may have been written in it', () => {
    for (const text of ['${vaullt:hunter22}', '${env:hunter22!}'])
      expect(() => plansFrom(full({ stream: { headers: { x: text } } }))).not.toThrow(/hunter22/);
  });

  test('is looked for beside all other problems, at its place', () => {
    const configuration = full({ stream: { headers: { x: '${foo:bar}' }, page_sice: 1 } });
    expect(problemsOf(() => plansFrom(configuration)).map(({ path }) => path)).toEqual([
      'streams[0].headers.x',
      'streams[0].page_sice',
    ]);
  });
});

describe('a reference where none is looked up', () => {
  test.each([
    ['streams[0].table', full({ stream: { table: 't_${env:X}' } })],
    ['streams[0].schema', full({ stream: { schema: '${env:X}' } })],
    ['sync.name', full({ sync: { name: 'a ${env:X}' } })],
    ['streams[0].name', full({ stream: { name: '${env:X}' } })],
    ['streams[0].start', full({ stream: { start: '${env:X}' } })],
    ['streams[0].where', full({ stream: { where: "@.x == '${env:X}'" } })],
    ['streams[0].columns', full({ stream: { columns: { id: 'STRING', '${env:X}': 'STRING' } } })],
    ['streams[0].headers', full({ stream: { params: {}, headers: { 'x-${env:X}': 'y' } } })],
    ['table', { table: '${env:X}' }],
  ])('is refused: it would be a name, and stay in history: %s', (path, configuration) => {
    const found = problemsOf(() => plansFrom(configuration)).find((problem) => problem.path === path);
    expect(found?.message).toContain('references work only in');
  });

  test.each([
    [
      'source.auth.username',
      full({ source: { auth: { type: 'basic', username: '${parent:id}', password: '${env:P}' } } }),
    ],
    ['destination', full({ destination: 's3://b/${cursor:page}' })],
  ])('of a request is refused outside of it: %s', (path, configuration) => {
    const found = problemsOf(() => plansFrom(configuration)).find((problem) => problem.path === path);
    expect(found?.message).toMatch(/has no value here; allowed: \$\{env:NAME\}, \$\{file:PATH\}, \$\{vault:/);
  });
});

test('all known references are taken where they are looked up', () => {
  const body = { a: '${cursor:offset}', b: ['${env:X} ${file:/run/x}', '${cursor:limit?}', '$5 {a:b} $${x'] };
  const configuration = full({
    source: {
      base_url: 'http://${env:HOST}/',
      auth: { type: 'basic', username: '${env:U}', password: '${file:p}' },
    },
    stream: {
      method: 'POST',
      body,
      headers: { x: '${env:X}' },
      where: "@.x == '${a:b}'",
      errors: [{ body: '\\${x:y}', action: 'fail' }],
    },
    destination: 'postgresql://${env:U}:${env:P}@h/d',
    notify: { url: '${env:HOOK}' },
  });
  expect(problemsOf(() => plansFrom(configuration))).toEqual([]);
});

const FOREIGN = [
  'mysql://user:hunter22@h/db',
  'snowflake://user:hunter22@account/db',
  'gs://bucket/hunter22',
  'https://user:hunter22@h/x',
  'jdbc:postgresql://h/db?password=hunter22',
  'file:///data/hunter22',
  'duckdb:hunter22.duckdb',
  'MySQL://user:hunter22@h/db',
  ' mysql://user:hunter22@h/db',
  'sqlite:hunter22',
];

describe('a destination with an unknown scheme', () => {
  test.each(FOREIGN)('is refused, and its password not repeated: %s', (destination) => {
    const [problem] = problemsOf(() => plansFrom({ destination }));
    expect(problem?.path).toBe('destination');
    expect(problem?.message).toMatch(/is not a kind of destination; write/);
    expect(problem?.message).not.toContain('hunter22');
    // Unless an extension has it.
    expect(destinationKind(destination)).toBe('custom');
  });

  test.each([
    'C:\\data\\x.duckdb',
    'c:/data/x.duckdb',
    'D:x.duckdb',
    '\\\\server\\share\\x.duckdb',
    './mysql:x.duckdb',
    '/data/2026:11/x.duckdb',
    'data/a:b.duckdb',
    'x.duckdb',
    '~/x',
    'ä:ö.duckdb',
  ])('is told from the path of a file: %s', (destination) => {
    expect(problemsOf(() => plansFrom({ destination }))).toEqual([]);
    expect(destinationKind(destination)).toBe('duckdb');
  });

  test('is refused by every command, and makes no file', async () => {
    const folder = await scratch();
    try {
      await writeFile(folder.file('c.json'), JSON.stringify({ base_url: 'http://127.0.0.1:9/x' }));
      await writeFile(folder.file('own.json'), JSON.stringify({ destination: FOREIGN[0] }));
      const [foreign = ''] = FOREIGN;
      const before = await readdir(folder.path);
      const calls: [string[], NodeJS.ProcessEnv][] = [
        [['run', 'c.json', '--destination', foreign], {}],
        [['run', 'c.json'], { HIGHWATER_DESTINATION: foreign }],
        [['run', 'own.json'], {}],
        [['check', 'own.json'], {}],
        [['check', 'c.json'], { HIGHWATER_DESTINATION: foreign }],
        [['query', 'SELECT 1', '--destination', foreign], {}],
        [['query', 'SELECT 1'], { HIGHWATER_DESTINATION: foreign }],
        [['rejects', 'own.json'], {}],
        [['rejects', '--destination', foreign], {}],
        [['state', 'own.json'], {}],
        [['config', 'own.json'], {}],
      ];
      for (const [command, env] of calls) {
        const done = await highwater(command, { cwd: folder.path, env: envWithoutTemporal(env) });
        const said = done.stdout + done.stderr;
        expect(done.status, `${command.join(' ')}: ${said}`).not.toBe(0);
        expect(said, command.join(' ')).not.toContain('hunter22');
      }
      expect(await readdir(folder.path)).toEqual(before);
    } finally {
      await folder.remove();
    }
  }, 180_000);
});

test('a password in the address of a PostgreSQL server is refused under every name', () => {
  for (const destination of [
    'postgresql://u:hunter22@h/d',
    'postgresql://u@h/d?password=hunter22',
    'postgresql://u@h/d?sslpassword=hunter22',
  ]) {
    const [problem] = problemsOf(() => plansFrom({ destination }));
    expect(problem?.message).toContain('contains a password');
    expect(problem?.message).not.toContain('hunter22');
  }
});
