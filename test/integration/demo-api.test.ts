/** `highwater demo --api`: the sample API that the first commands of the documentation use. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { CLI, highwater, scratch } from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

let child: ChildProcess | undefined;
let other: Server | undefined;
afterEach(() => {
  child?.kill('SIGKILL');
  other?.close();
  child = other = undefined;
});

/** Starts it on a free port. @returns what it printed first. */
async function start(...flags: string[]): Promise<string> {
  child = spawn(process.execPath, [CLI, 'demo', '--api', '--port', '0', ...flags], {
    env: envWithoutTemporal(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [printed] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  return printed.toString();
}

const get = async (url: string) => (await (await fetch(url)).json()) as { data: { name: string }[] };

test('serves each path that it lists, until Ctrl-C', async () => {
  const printed = await start();
  const urls = [...printed.matchAll(/^ {2}(http:\S+)/gm)].map(([, url = '']) => url);
  expect(urls).toHaveLength(6);
  for (const url of urls) {
    const { data } = await get(url.endsWith('/step') ? `${url}?start_id=1&end_id=10` : url);
    expect(data.length, url).toBeGreaterThan(0);
  }
  const exited = once(child as ChildProcess, 'exit');
  child?.kill('SIGINT');
  expect(await exited).toEqual([0, null]);
});

test('names commands that work at its own address', async () => {
  const printed = await start();
  const [, url] = /^Sample API: (\S+), 200 users/.exec(printed) ?? [];
  expect(printed).toContain('npx highwater run highwater.yaml\n');
  const [, command = ''] = /npx highwater (init .*)/.exec(printed) ?? [];
  expect(command).toContain(url);
  const folder = await scratch();
  try {
    const { stdout, stderr } = await highwater(command.split(' '), { cwd: folder.path });
    expect(stdout, stderr).toContain('Wrote highwater.yaml.');
    expect(await readFile(folder.file('highwater.yaml'), 'utf8')).toContain('primary_key: id');
  } finally {
    await folder.remove();
  }
});

test('changes its data on request', async () => {
  const { url } = JSON.parse(await start('--json')) as { url: string };
  const before = (await get(`${url}/incremental/timestamp`)).data.length;
  const body = '{"insert": 10, "update": 5}';
  // curl -d sends this type, whatever the body is.
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  await fetch(`${url}/_demo/mutate`, { method: 'POST', body, headers });
  expect((await get(`${url}/incremental/timestamp`)).data).toHaveLength(before + 10);
});

test('says which port to use where its own is taken', async () => {
  other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const { status, stderr } = await highwater(['demo', '--api', '--port', String(port)]);
  expect(status).toBe(1);
  expect(stderr).toBe(
    `highwater: the sample API cannot start: port ${port} is taken by another program. ` +
      'Choose another port: highwater demo --api --port 5001\n',
  );
});
