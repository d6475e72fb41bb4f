/** What commands print on a terminal of 80 columns is no wider. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { CLI, configurationFor, scratch } from '../helpers/harness.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { onTerminal, terminalMissing } from '../helpers/terminal.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

let api: TestApi;
let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  [api, folder] = await Promise.all([testApi({ rows: 130 }), scratch()]);
});
afterAll(async () => {
  await api.stop();
  await folder.remove();
});

/** Lines of a command on a terminal of its own. */
async function shownBy(...args: string[]): Promise<string[]> {
  const child = spawn(...onTerminal([process.execPath, CLI, ...args]), {
    cwd: folder.path,
    env: envWithoutTemporal({ TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path }),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (said += part));
  const [status] = (await once(child, 'close')) as [number];
  expect(status, said).toBe(0);
  // Progress is drawn and cleared where a run takes longer.
  // oxlint-disable-next-line no-control-regex
  return said.replace(/\u001b\[[\d;]*[A-Za-z]/g, '').split('\r\n');
}

test.skipIf(terminalMissing() !== null).each([
  ['check', [/^ {2}✓ primary key id: present and unique in every record/, /^ {4}/]],
  ['preview', [/^record 1$/, /^ {2}updatedAt {2}2026-/]],
  ['run', [/^stream +strategy +records/, /^cursor \(user\): last_updated_at 2026-\S+Z$/]],
] as const)('%s', async (command, lines) => {
  await writeFile(folder.file('c.json'), JSON.stringify(configurationFor('keyset', api.url)));
  const shown = await shownBy(command, 'c.json');
  for (const line of lines) expect(shown.join('\n')).toMatch(new RegExp(line.source, 'm'));
  // An address is not broken, so that it can be followed.
  const wide = shown.filter((line) => [...line].length > 80 && !/https?:/.test(line));
  expect(wide).toEqual([]);
});
