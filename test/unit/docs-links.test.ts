/** Every link of the documentation leads somewhere: to a file that exists, and a heading in it. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anchorOf, contents } from '../../scripts/site-pages.js';
import { documents, ROOT } from '../helpers/documents.js';

const pages = [
  ...documents(),
  ...['ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].map((file) => ({
    file,
    text: readFileSync(join(ROOT, file), 'utf8'),
  })),
];

/** Pages that are being written. */
const PENDING = new Set<string>(['notebooks']);

const withoutCode = (text: string): string =>
  text.replace(/^( *)```[\s\S]*?^\1```$/gm, '').replace(/`[^`\n]*`/g, '');

/** The anchors of a page, as GitHub and the site make them. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ''] of text.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm)) {
    const anchor = anchorOf(title);
    let unique = anchor;
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`;
    anchors.add(unique);
  }
  return anchors;
}

describe.each(pages)('$file', ({ file, text }) => {
  it('has only links that lead somewhere', () => {
    const broken = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = '', anchor] = target.split('#');
        const found = path === '' ? join(ROOT, file) : resolve(ROOT, dirname(file), path);
        if (!existsSync(found)) return !PENDING.has(relative(join(ROOT, 'docs'), found).replace(/\.md$/, ''));
        return (
          anchor !== undefined && found.endsWith('.md') && !anchorsOf(readFileSync(found, 'utf8')).has(anchor)
        );
      });
    expect(broken).toEqual([]);
  });
});

it('docs/README.md lists every page once', () => {
  const listed = contents(readFileSync(join(ROOT, 'docs/README.md'), 'utf8')).flatMap(({ pages: some }) =>
    some.map(({ file }) => file),
  );
  expect(listed).toEqual([...new Set(listed)]);
  expect(listed.filter((file) => !existsSync(join(ROOT, file)) && !PENDING.has(file.slice(5, -3)))).toEqual(
    [],
  );
  expect(
    documents()
      .map(({ file }) => file)
      .filter((file) => !listed.includes(file))
      .sort(),
  ).toEqual(['README.md', 'docs/README.md']);
});
