/**
 * Takes the screenshots of the page of `highwater ui` in `docs/`: `npx tsx scripts/page.ts`, after a build. Needs Chromium
 * (`CHROMIUM`, else /usr/bin/chromium), and runs real syncs. With a folder as argument, it takes every page there instead,
 * at three widths, light and dark.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { CLI } from '../test/helpers/harness.js';
import { startScene } from '../test/helpers/page-scene.js';
import { envWithoutTemporal, testServer } from '../test/helpers/temporal.js';

const docs = (name: string) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
const [folder] = process.argv.slice(2);
const server = await testServer();
const scene = await startScene(server.address);
for (const [insert, update] of [
  [40, 10],
  [0, 5],
  [12, 30],
  [90, 3],
] as const) {
  await scene.change(insert, update);
  await scene.system.client.sync('users').trigger();
  await delay(3000);
}
const env = envWithoutTemporal({ TEMPORAL_ADDRESS: server.address });
const page = spawn(process.execPath, [CLI, 'ui', '--port', '0', '--actions', '--json'], {
  env,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [line] = (await once(page.stdout.setEncoding('utf8'), 'data')) as [string];
const { url } = JSON.parse(line) as { url: string };
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});

async function shoot(path: string, file: string, width: number, colorScheme: 'light' | 'dark', height = 0) {
  const context = await browser.newContext({ viewport: { width, height: height || 800 }, colorScheme });
  const tab = await context.newPage();
  await tab.goto(url);
  await tab.waitForTimeout(1500);
  await tab.goto(new URL(path, url).href);
  await tab.waitForTimeout(500);
  await tab.screenshot({ path: file, fullPage: height === 0 });
  const over = await tab.evaluate(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  );
  console.log(file, over === 0 ? '' : `scrolls sideways by ${String(over)} px`);
  await context.close();
}

try {
  if (folder === undefined) {
    await shoot('/', docs('ui-syncs.png'), 1100, 'light', 560);
    await shoot('/sync?id=users', docs('ui-sync.png'), 1100, 'light', 760);
  } else
    for (const width of [390, 800, 1400])
      for (const scheme of ['light', 'dark'] as const)
        for (const [name, path] of [
          ['list', '/'],
          ['users', '/sync?id=users'],
          ['orders', '/sync?id=orders'],
          ['invoices', '/sync?id=invoices'],
          ['shop', '/sync?id=shop'],
        ] as const)
          if (scheme === 'light' || name === 'list' || name === 'invoices')
            await shoot(path, `${folder}/${name}-${width}-${scheme}.png`, width, scheme);
} finally {
  await browser.close();
  page.kill('SIGTERM');
  await scene.stop();
  await server.stop();
}
