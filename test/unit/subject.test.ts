/** Which configuration and destination a command means that names none. */
import { mkdir, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { destinationFor, onlyConfiguration } from '../../src/cli/subject.js';
import { configurationFor, scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
const before = process.cwd();
let notes = '';

beforeEach(async () => {
  folder = await scratch();
  process.chdir(folder.path);
  notes = '';
  vi.stubEnv('HIGHWATER_DESTINATION', undefined);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    notes += String(text);
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.chdir(before);
  await folder.remove();
});

const configuration = (name: string, more: { [key: string]: string } = {}) =>
  writeFile(name, JSON.stringify(configurationFor('keyset', 'http://127.0.0.1:1', more)));

test('the destination of the only configuration comes before highwater.duckdb, and is named', async () => {
  await Promise.all([
    configuration('users.json', { destination: 'mine.duckdb' }),
    writeFile('highwater.duckdb', ''),
  ]);
  // It has not run yet: there is nothing to look at.
  expect(await destinationFor(undefined, undefined)).toBe(resolve('highwater.duckdb'));
  expect(notes).toBe('');
  await writeFile('mine.duckdb', '');
  expect(await destinationFor(undefined, undefined)).toBe(resolve('mine.duckdb'));
  expect(notes).toBe(`Destination: ${resolve('mine.duckdb')}, of users.json\n`);
});

test('the environment and what is named come before it', async () => {
  await Promise.all([
    configuration('users.json', { destination: 'mine.duckdb' }),
    writeFile('mine.duckdb', ''),
  ]);
  expect(await destinationFor('other.duckdb', undefined)).toBe(resolve('other.duckdb'));
  vi.stubEnv('HIGHWATER_DESTINATION', 'third.duckdb');
  expect(await destinationFor(undefined, undefined)).toBe(resolve('third.duckdb'));
});

test('configurations that disagree decide nothing', async () => {
  await Promise.all([
    configuration('a.json', { destination: 'a.duckdb' }),
    configuration('b.json', { destination: 'b.duckdb' }),
    ...['a.duckdb', 'b.duckdb'].map((name) => writeFile(name, '')),
  ]);
  await expect(destinationFor(undefined, undefined)).rejects.toThrow('there are several destinations here');
});

test('a configuration with problems is left out, and that is said; other files are not mentioned', async () => {
  await configuration('users.json');
  await mkdir('sub');
  await writeFile('orders.yaml', 'base_url: http://127.0.0.1:1\nstrategy: keysett\n');
  await writeFile('package.json', '{"name": "x"}');
  expect(await onlyConfiguration()).toBe('users.json');
  expect(notes).toMatch(
    /^Configuration: users.json, the only one in this folder, not counting what has problems: orders.yaml \(.+\)\n$/,
  );
  expect(notes).not.toContain('package.json');
});
