/** What a worker and its local server leave for others to read: on disk, in histories and in the Web UI. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { startLocalServer } from '../../src/dev/temporal-server.js';
import { configurationFor, connect, historyText, scratch, until } from '../helpers/harness.js';
import { startSystem, type System } from '../helpers/system.js';
import { envWithoutTemporal, testServer } from '../helpers/temporal.js';
import { code, plain, timerSummary } from '../../src/workflows/details.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('the local server', () => {
  it.skipIf(process.platform === 'win32')(
    'leaves its database and log to this user only, also those of older versions',
    async () => {
      const server = await testServer();
      const folder = await scratch();
      const options = { env: envWithoutTemporal(), cli: server.cli, ports: { grpc: 0, ui: 0 } };
      try {
        const stateDir = folder.file('state');
        for (let round = 0; round < 2; round++) {
          const local = await startLocalServer({ ...options, stateDir });
          expect((await stat(stateDir)).mode & 0o777).toBe(0o700);
          const names = await readdir(stateDir);
          expect(names).toEqual(
            expect.arrayContaining(['temporal.db', 'temporal.db-wal', 'temporal.log', 'server.json']),
          );
          for (const name of names.filter((one) => one !== 'server.lock'))
            expect([name, (await stat(`${stateDir}/${name}`)).mode & 0o777]).toEqual([name, 0o600]);
          await local.stop();
          execFileSync('chmod', ['-R', 'go+r', stateDir]);
          execFileSync('chmod', ['700', stateDir]);
        }
      } finally {
        await folder.remove();
        await server.stop();
      }
    },
  );
});

describe('a source that answers in Markdown', () => {
  const HOSTILE =
    '# [help](http://evil.example) ![x](http://evil.example/x.png) <img src=x> `a` | **b** _c_ & ~d~';
  let system: System;
  const source = createServer((_request, response) => response.writeHead(503).end(HOSTILE));
  let url: string;
  beforeAll(async () => {
    system = await startSystem(inject('temporalAddress'));
    await once(source.listen(0, '127.0.0.1'), 'listening');
    url = `http://127.0.0.1:${(source.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    await system.stop();
    source.closeAllConnections();
    source.close();
  });

  it('is shown as it is: no link, no image, no tag, no code', () => {
    const shown = plain(HOSTILE);
    expect(shown.replace(/\\[\\`*_[\]<>!&|~#]/g, '')).not.toMatch(/[\\`*_[\]<>!&|~#]/);
    expect(plain('1. one')).toBe('1\\. one');
    expect(code('a `b` c')).toBe("`a 'b' c`");
    expect(timerSummary('failing', `the source answered 503: ${HOSTILE}\n  request: GET http://h/p`)).toMatch(
      /^failing: the source answered 503: # \(help\)\(http/,
    );
  });

  it('fails a sync in a history without the build machine, without markers, and with the failure first', async () => {
    const sync = await system.start(
      configurationFor('keyset', url, { interval: '1h', retry_for: '1s', table: 'users' }),
    );
    await until(async () => (await sync.progress()).status === 'failing', 30, 'the failure');
    const handle = system.client.temporal.workflow.getHandle(sync.workflowId);
    const { currentDetails: details } = await handle.query<{ currentDetails: string }, []>(
      '__temporal_workflow_metadata',
    );
    expect(details).toMatch(/^\*\*failing\*\* · the source answered 503/);
    expect(details).not.toMatch(/(?<!\\)[[<]/);
    await sync.stop();
    await sync.result().catch(() => undefined);

    const once = await system.failing(configurationFor('keyset', url, { retry_for: '1s', table: 'users' }));
    const client = await connect(inject('temporalAddress'));
    try {
      for (const id of [sync.workflowId, once.workflowId]) {
        const history = await client.temporal.workflow.getHandle(id).fetchHistory();
        const text = historyText(JSON.parse(JSON.stringify(history)));
        expect(text).toContain('the source answered 503');
        expect(text).not.toContain(root);
        expect(text).not.toContain('core_patch');
        const summaries = (history.events ?? [])
          .filter((event) => event.timerStartedEventAttributes)
          .map((event) => Buffer.from(event.userMetadata?.summary?.data ?? []).toString());
        for (const summary of summaries)
          expect(summary).toMatch(/^"failing: the source answered 503(?!.*request)/);
        if (id === sync.workflowId) expect(summaries).not.toEqual([]);
      }
    } finally {
      await client.close();
    }
  });
});

it('no bundle of the workflows names a folder of the machine that built it', async () => {
  for (const name of await readdir(`${root}dist`)) {
    if (!name.endsWith('.cjs') || !name.includes('bundle')) continue;
    const text = await readFile(`${root}dist/${name}`, 'utf8');
    const [, map = ''] = /sourceMappingURL=data:application\/json[^,]*,([\w+/=]+)/.exec(text) ?? [];
    const { sources } = JSON.parse(Buffer.from(map, 'base64').toString()) as { sources: string[] };
    expect(sources).toContain('src/workflows/stream-loop.ts');
    expect(sources.filter((source) => source.startsWith('/') || source.includes(root))).toEqual([]);
  }
});
