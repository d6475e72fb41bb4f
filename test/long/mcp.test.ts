/** `highwater mcp`, driven by the official client over standard input and output. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CLI, configurationFor, scratch, uniqueName } from '../helpers/harness.js';
import { startSystem, testApi, type System, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

describe('highwater mcp', () => {
  let folder: Awaited<ReturnType<typeof scratch>>;
  let api: TestApi;
  let system: System;
  let client: Client;
  let id: string;

  beforeAll(async () => {
    folder = await scratch();
    api = await testApi({ rows: 100 });
    system = await startSystem(inject('temporalAddress'));
    id = uniqueName('mcp');
    await system.sync(configurationFor('keyset', api.url), { workflowId: id });
    await mkdir(folder.file('work'));
    await writeFile(folder.file('secret.json'), JSON.stringify(configurationFor('keyset', api.url)));
    await writeFile(folder.file('work/users.json'), JSON.stringify(configurationFor('keyset', api.url)));
    await symlink(folder.file('secret.json'), folder.file('work/link.json'));
    const thief = (text: string) => ({
      source: { base_url: api.url, headers: { 'x-taken': text } },
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
    await writeFile(folder.file('work/variable.json'), JSON.stringify(thief('${env:STOLEN}')));
    await writeFile(
      folder.file('work/file.json'),
      JSON.stringify(thief(`\${file:${folder.file('secret.json')}}`)),
    );
    client = new Client({ name: 'test', version: '1' });
    await client.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [CLI, 'mcp', '--allow-hosts', '127.0.0.1', '--allow-env', 'ALLOWED'],
        cwd: folder.file('work'),
        env: envWithoutTemporal({
          TEMPORAL_ADDRESS: inject('temporalAddress'),
          STOLEN: 'a secret',
        }) as Record<string, string>,
        stderr: 'ignore',
      }),
    );
  });
  afterAll(async () => {
    await client?.close();
    await system?.stop();
    await api?.stop();
    await folder?.remove();
  });

  const call = async (name: string, args: { [name: string]: unknown }) => {
    const { content, structuredContent, isError } = await client.callTool({ name, arguments: args });
    const [first] = content as { text: string }[];
    return {
      text: first?.text ?? '',
      value: structuredContent as { [name: string]: unknown },
      isError: isError === true,
    };
  };

  test('lists its tools: all but audit read only', async () => {
    const { tools } = await client.listTools();
    expect(tools.map(({ name, annotations }) => [name, annotations?.readOnlyHint])).toEqual([
      ...['check', 'preview', 'discover', 'status', 'logs'].map((name) => [name, true]),
      ['audit', false],
    ]);
    expect(tools.every(({ inputSchema }) => inputSchema.additionalProperties === false)).toBe(true);
  });

  test('checks, previews and discovers a configuration of the folder', async () => {
    expect(await call('check', { file: 'users.json' })).toMatchObject({
      isError: false,
      value: { status: 'fine' },
    });
    const preview = await call('preview', { file: 'users.json', limit: 2 });
    expect((preview.value['records'] as unknown[]).length).toBe(2);
    expect(JSON.parse(preview.text)).toEqual(preview.value);
    expect(await call('discover', { file: 'users.json', sample: 10 })).toMatchObject({
      value: { status: 'found' },
    });
  });

  test('shows the status and events of a sync, and audits its table', async () => {
    expect(await call('status', { id })).toMatchObject({
      isError: false,
      value: { id, status: 'COMPLETED' },
    });
    const { value } = await call('logs', { id, limit: 3 });
    expect((value['items'] as unknown[]).length).toBe(3);
    expect(await call('audit', { id })).toMatchObject({
      isError: false,
      value: { equal: true, exitCode: 0 },
    });
    expect(await call('status', { id: 'nothing' })).toMatchObject({ isError: true });
  });

  test('reads no file outside the folder, and gives configurations nothing that is not allowed', async () => {
    for (const file of ['../secret.json', folder.file('secret.json'), 'link.json', '/etc/passwd'])
      expect(await call('check', { file }), file).toMatchObject({
        isError: true,
        text: expect.stringContaining('files in') as string,
      });
    for (const file of ['variable.json', 'file.json']) {
      const { text } = await call('preview', { file });
      expect(text).toMatch(/not allowed|may not|is not set|allow-/);
      expect(text).not.toContain('a secret');
    }
    expect(await call('audit', { id: 'users.json' })).toMatchObject({ isError: true });
    // Whether a file is there makes no difference.
    for (const path of ['/etc/passwd', '/etc/nothing', '../secret.json', '../nothing', 'a/../../b', '~/x'])
      expect(await call('status', { id: path })).toMatchObject({
        isError: true,
        text: 'give the id of a sync, not a path',
      });
    expect(await call('status', { id: '--help' })).toMatchObject({ isError: true });
    expect(await call('check', { file: 'users.json', more: 1 })).toMatchObject({ isError: true });
  });
});
