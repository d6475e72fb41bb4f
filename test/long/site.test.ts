/** The site of the documentation, built and looked at in a browser. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contents } from '../../scripts/site-pages.js';
import { ROOT } from '../helpers/documents.js';
import { LONG } from '../helpers/long.js';

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const DIST = join(ROOT, 'site/dist');
const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.txt': 'text/plain; charset=utf-8',
  '.json': 'application/json',
};
const SCREENS = { wide: { width: 1440, height: 900 }, narrow: { width: 375, height: 740 } };

function missing(): string | null {
  if (!LONG) return 'it takes a minute: npm run test:long';
  return existsSync(CHROMIUM) ? null : `there is no ${CHROMIUM}`;
}

const reason = missing();

describe.skipIf(reason !== null)(`the site${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  let server: Server;
  let browser: Browser;
  let url: string;
  let names: string[];

  beforeAll(async () => {
    const built = spawnSync('npm', ['run', 'docs:site'], { cwd: ROOT, encoding: 'utf8' });
    if (built.status !== 0) throw new Error(`${built.stdout}\n${built.stderr}`);
    names = readdirSync(DIST).filter((name) => name.endsWith('.html') && name !== '404.html');
    server = createServer((request, response) => {
      const path = decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname);
      readFile(join(DIST, path === '/' ? 'index.html' : path)).then(
        (body) => {
          response.setHeader('content-type', TYPES[extname(path) || '.html'] ?? 'application/octet-stream');
          response.end(body);
        },
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  }, 300_000);

  afterAll(async () => {
    await browser?.close();
    await new Promise((resolve) => (server === undefined ? resolve(null) : server.close(resolve)));
  });

  /** Opens a page that must not fail to load anything. */
  async function open(path: string, screen: keyof typeof SCREENS = 'wide'): Promise<Page> {
    const page = await browser.newPage({ viewport: SCREENS[screen] });
    page.on('response', (response) => expect(response.status(), response.url()).toBeLessThan(400));
    page.on('pageerror', (error) => expect(error.message).toBe(''));
    await page.goto(`${url}/${path}`, { waitUntil: 'networkidle' });
    return page;
  }

  test('finds a page by words in it', async () => {
    const page = await open('');
    await page.locator('.VPNavBarSearch button').first().click();
    await page.locator('#localsearch-input').fill('lookback');
    await page.locator('.VPLocalSearchBox .result').first().waitFor();
    const found = await page.locator('.VPLocalSearchBox .result').allInnerTexts();
    expect(found.join('\n')).toContain('Strategies');
    await page.locator('.VPLocalSearchBox .result').first().click();
    await page.waitForURL((at) => at.pathname !== '/');
    await page.close();
  });

  test('has the list of docs/README.md in its sidebar', async () => {
    const page = await open('configuration.html');
    const groups = contents(await readFile(join(ROOT, 'docs/README.md'), 'utf8'));
    expect(await page.locator('.VPSidebar h2').allInnerTexts()).toEqual(groups.map(({ title }) => title));
    expect(await page.locator('.VPSidebar .is-active.is-link').allInnerTexts()).toEqual(['Configuration']);
    await page.close();
  });

  test('has no broken link, and no broken anchor', async () => {
    const page = await open('');
    const broken: string[] = [];
    const anchors = new Map<string, Set<string>>();
    const links: [from: string, to: URL][] = [];
    for (const name of names) {
      await page.goto(`${url}/${name}`, { waitUntil: 'domcontentloaded' });
      const found = await page.evaluate(
        `({ ids: [...document.querySelectorAll('[id]')].map((e) => e.id), hrefs: [...document.querySelectorAll('a[href]')].map((e) => e.href) })`,
      );
      const { ids, hrefs } = found as { ids: string[]; hrefs: string[] };
      anchors.set(`/${name}`, new Set(ids));
      links.push(
        ...hrefs.filter((href) => href.startsWith(url)).map((href): [string, URL] => [name, new URL(href)]),
      );
    }
    for (const [from, to] of links) {
      const path = to.pathname === '/' ? '/index.html' : to.pathname;
      const ids = anchors.get(path);
      const isThere = ids === undefined ? existsSync(join(DIST, path)) : true;
      const anchor = decodeURIComponent(to.hash.slice(1));
      if (!isThere || (anchor !== '' && ids?.has(anchor) === false))
        broken.push(`${from}: ${path}${to.hash}`);
    }
    expect([...new Set(broken)]).toEqual([]);
    await page.close();
  });

  test.each(Object.keys(SCREENS) as (keyof typeof SCREENS)[])(
    'fits a %s screen: no page scrolls sideways',
    async (screen) => {
      const page = await open('', screen);
      const wide: string[] = [];
      for (const name of names) {
        await page.goto(`${url}/${name}`, { waitUntil: 'domcontentloaded' });
        const over = await page.evaluate(
          'document.documentElement.scrollWidth - document.documentElement.clientWidth',
        );
        if ((over as number) > 0) wide.push(`${name}: ${over as number} px`);
      }
      expect(wide).toEqual([]);
      await page.close();
    },
  );

  test('has a list and the whole text for language models', async () => {
    const list = await (await fetch(`${url}/llms.txt`)).text();
    expect(list).toContain('# Highwater\n\n> ');
    const targets = [...list.matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
    expect(targets.filter((target) => !existsSync(join(DIST, target)))).toEqual([]);
    expect(targets.length).toBeGreaterThan(10);
    expect(await (await fetch(`${url}/llms-full.txt`)).text()).toContain('# Configuration');
  });
});
