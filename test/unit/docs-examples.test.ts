/** What the documentation shows can be used as it stands. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { plansFrom } from '../../src/config/index.js';
import { Facts, holds } from '../../src/destinations/columns/widening.js';
import type { ColumnType } from '../../src/protocol.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const files = ['README.md', ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)];
const blocks = files.flatMap((file) =>
  [...readFileSync(root + file, 'utf8').matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(
    ([, text = ''], i) => [`${file}, block ${i + 1}`, text] as const,
  ),
);

describe('a configuration in the documentation', () => {
  it('is there', () => {
    expect(blocks.length).toBeGreaterThan(3);
  });

  it.each(blocks)('%s is a whole one that is accepted', (_, text) => {
    const { plans } = plansFrom(parse(text));
    expect(plans.length).toBeGreaterThan(0);
  });
});

describe('how docs/schema.md says that types are widened', () => {
  const [, table = ''] =
    /<!-- widening -->([\s\S]*?)<!-- \/widening -->/.exec(readFileSync(`${root}docs/schema.md`, 'utf8')) ??
    [];
  const rows = [...table.matchAll(/^\| (\(new\)|`[^`]+`) +\| `([^`]+)` +\| `([^`]+)` +\|/gm)].map(
    ([, from = '', value = '', to = '']) => [from.replaceAll('`', ''), value, to] as const,
  );

  it('is a table', () => {
    expect(rows.length).toBeGreaterThan(15);
  });

  it.each(rows)('%s that meets %s is %s', (from, value, to) => {
    const facts = new Facts();
    facts.addValue(value);
    const current = from === '(new)' ? null : (from as ColumnType);
    if (current !== null) expect(holds(current, value)).toBe(false);
    expect(facts.nextType(current)).toBe(to);
  });
});
