/**
 * Takes the screenshots of Temporal's Web UI in `docs/`: `npx tsx scripts/web-ui.ts`, after a build. Needs Chromium
 * (`CHROMIUM`, else /usr/bin/chromium), and runs real syncs against the demo API.
 */
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { DemoServer } from '../src/dev/demo-api.js';
import type { Json } from '../src/protocol.js';
import { configurationFor, connect, scratch, startWorker, until } from '../test/helpers/harness.js';
import { testServer } from '../test/helpers/temporal.js';

const docs = (name: string) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
const SIZE = { width: 1200, height: 1500 };
/** The part with the run, without the page frame. */
const CLIP = { x: 280, width: 900 };

const server = await testServer();
const folder = await scratch();
const api = new DemoServer({ rows: 2_500 });
const broken = new DemoServer({ rows: 2_500, fail: [{ kind: 'status', status: 503, times: 1e6, after: 4 }] });
const destination = folder.file('highwater.duckdb');
const worker = await startWorker({ address: server.address, taskQueue: 'highwater', destination });
const client = await connect(server.address);
const browser = await chromium.launch({ executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium' });

try {
  const pages = await browser.newPage({ viewport: SIZE });
  const more: { [key: string]: Json } = { interval: '15m', retry_for: '1s' };
  const urls = await Promise.all([api.listen(), broken.listen()]);
  const [good, bad] = urls.map((port) => `http://127.0.0.1:${port}`);
  const users = await client.start(configurationFor('keyset', good ?? '', { ...more, batch_rows: 800 }), {
    workflowId: 'users',
  });
  const orders = await client.start(configurationFor('offset', bad ?? '', { ...more, table: 'orders' }), {
    workflowId: 'orders',
  });
  await until(async () => (await users.progress()).status === 'sleeping', 30, 'a pass');
  await until(async () => (await orders.progress()).status === 'failing', 30, 'the failure');
  for (const [handle, file, path, y, height] of [
    [users, 'web-ui-timeline.png', 'timeline', 795, 410],
    [orders, 'web-ui-failing.png', 'user-metadata', 540, 520],
  ] as const) {
    const run = `${server.uiUrl}/namespaces/default/workflows/${handle.workflowId}/${await handle.runId()}`;
    await pages.goto(`${run}/${path}`);
    // The page polls, so the network never becomes idle.
    await pages.waitForTimeout(4000);
    await pages.screenshot({ path: docs(file), clip: { ...CLIP, y, height } });
    console.log(file, await pages.title());
  }
} finally {
  await browser.close();
  await client.close();
  await worker.end();
  await Promise.all([api.close(), broken.close()]);
  await server.stop();
  await folder.remove();
}
