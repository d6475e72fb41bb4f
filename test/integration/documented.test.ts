/** The examples of README.md and docs/*.md do, and print, what the pages show. */
import { describe, expect, inject, test } from 'vitest';
import { LONG } from '../helpers/long.js';
import { documents, type Page, parsePage, runPage } from '../helpers/documents.js';

/** Pages whose commands other tests run, too: `npm run test:long` runs their examples. */
const LONG_PAGES = [
  ...['backfill-and-audit', 'child-tables', 'files', 'made-columns', 'moving', 'program'],
  ...['rate-limits-and-errors', 'testing', 'transforms'],
].map((name) => `docs/${name}.md`);

const pages = documents()
  .filter(({ file }) => LONG || !LONG_PAGES.includes(file))
  .map(({ file, text }) => parsePage(file, text))
  .filter(({ steps }) => steps.length > 0)
  // The longest first, so that none of them is left alone at the end.
  .sort((a, b) => b.steps.length - a.steps.length);

const server = {
  address: inject('temporalAddress'),
  uiUrl: inject('temporalUiUrl'),
  cli: inject('temporalCli'),
};

/** Most of a page's time is waiting: three at a time keep two cores busy. */
const turns = { free: 3, waiting: [] as (() => void)[] };
async function inTurn(page: Page): Promise<void> {
  if (turns.free > 0) turns.free--;
  else await new Promise<void>((resolve) => turns.waiting.push(resolve));
  try {
    await runPage(page, server);
  } finally {
    const next = turns.waiting.shift();
    if (next === undefined) turns.free++;
    else next();
  }
}

describe('the examples of', () => {
  test.concurrent.each(pages)('$file', inTurn, 300_000);

  test.concurrent('a page with a wrong output fail, with its line and the command', async () => {
    const text = '```console\n$ cat a.txt\none\n\n$ cat a.txt | sed s/one/two/\none\n```\n';
    await expect(runPage(parsePage('page.md', text), server)).rejects.toThrow(
      'page.md:5: $ cat a.txt | sed s/one/two/\nline 1 of the shown output, "one", is printed as "two"',
    );
  });
});
