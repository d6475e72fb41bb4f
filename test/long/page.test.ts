/** The page of `highwater ui` in a browser, and `highwater report`, about real syncs. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { CLI, highwater, until } from '../helpers/harness.js';
import { MARKUP, startScene, type Scene } from '../helpers/page-scene.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const reason = existsSync(CHROMIUM) ? null : `there is no ${CHROMIUM}`;

describe.skipIf(reason !== null)(`the page${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  let scene: Scene;
  let browser: Browser;
  let env: NodeJS.ProcessEnv;
  const servers: ChildProcess[] = [];

  beforeAll(async () => {
    env = envWithoutTemporal({ TEMPORAL_ADDRESS: inject('temporalAddress') });
    scene = await startScene(inject('temporalAddress'));
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser?.close();
    for (const server of servers) {
      server.kill('SIGTERM');
      if (server.exitCode === null) await once(server, 'exit');
    }
    await scene?.stop();
  });

  async function serve(...flags: string[]): Promise<string> {
    const server = spawn(process.execPath, [CLI, 'ui', '--port', '0', '--json', ...flags], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    servers.push(server);
    const [line] = (await once(server.stdout.setEncoding('utf8'), 'data')) as [string];
    return (JSON.parse(line) as { url: string }).url;
  }

  /** Opens a page on which nothing may fail, and no script but its own may run. */
  async function open(url: string): Promise<Page> {
    const page = await browser.newPage();
    page.on('pageerror', (error) => expect(error.message).toBe(''));
    page.on('console', (message) => expect(message.type(), message.text()).not.toBe('error'));
    await page.goto(url);
    return page;
  }

  const item = (page: Page, id: string) =>
    page.locator('.list > li', { has: page.locator(`a.name:text-is("${id}")`) });

  test('lists the syncs by urgency, with their states, and what to do', async () => {
    const page = await open(await serve());
    await item(page, 'orders').locator('.state:text-is("failing")').waitFor();
    await item(page, 'users').locator('.state:text-is("up to date")').waitFor();
    await item(page, 'customers').locator('.state:text-is("needs approval")').waitFor();
    expect(await item(page, 'users').innerText()).toMatch(/up to date[\s\S]*next pass in 1\dm/);
    expect(await item(page, 'customers').innerText()).toContain('would remove 60 of the 100 rows');
    expect(await item(page, 'orders').innerText()).toContain('503');
    const names = await page.locator('.list > li .name').allInnerTexts();
    expect(names.indexOf('customers')).toBeLessThan(names.indexOf('orders'));
    expect(names.indexOf('orders')).toBeLessThan(names.indexOf('users'));
    expect(names).not.toContain('shop/products');
    await item(page, 'shop').locator('summary').click();
    expect(await item(page, 'shop').innerText()).toContain('products');
    await page.close();
  });

  test('shows plots, passes, rejects, schema changes and events of a sync; markup of the source is text', async () => {
    const url = await serve();
    const page = await open(new URL('/sync?id=invoices', url).href);
    const rejects = page.locator('[data-part="rejects invoices"]');
    await rejects.locator('table').waitFor();
    expect(await rejects.innerText()).toContain(`${MARKUP}7`);
    expect(await rejects.innerText()).toMatch(/4 records did not fit[\s\S]*cannot hold "a lot/);
    expect(await page.locator('[data-part="passes invoices"]').innerText()).toContain('total_reached');
    expect(await page.locator('.plot').count()).toBe(2);
    expect(await page.locator('[data-part="events invoices"]').innerText()).toContain('2 quarantined');
    await page.goto(new URL('/sync?id=customers', url).href);
    await page.locator('[data-part="changes customers"] table').waitFor();
    expect(await page.locator('[data-part="changes customers"]').innerText()).toContain('added as STRING');
    expect(await page.title()).toBe('customers · Highwater');
    expect(await page.locator('button').count()).toBe(0);
    await page.close();
  });

  test('acts with --actions: the sync obeys, and the page follows by itself', async () => {
    const url = await serve('--actions');
    const page = await open(url);
    await page.locator('a.name:text-is("users")').click();
    await page.locator('button:text-is("Pause")').click();
    await page.locator('.state:text-is("paused")').waitFor();
    expect(await page.locator('[role=status]:visible').innerText()).toContain('A pause was requested');
    const users = scene.system.client.sync('users');
    await until(async () => (await users.progress()).status === 'paused', 10, 'the pause');
    await users.resume();
    await page.locator('.state:text-is("up to date")').waitFor({ timeout: 30_000 });
    await page.close();
  });

  test('is also a file: a report that needs no script and no other file', async () => {
    const { status, stdout, stderr } = await highwater(['report', 'invoices'], { env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^<!doctype html>/);
    expect(stdout).not.toMatch(/<(?:script|link|img|a)\b/);
    expect(stdout).toContain('4 records did not fit');
    expect(await highwater(['report', 'nothing'], { env })).toMatchObject({ status: 1, stdout: '' });
  });
});
