/** The pages of the site: the list in `docs/README.md`, and each page's text with links that hold there. */
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** A page in the list. */
export interface ListedPage {
  title: string;
  /** Path from the repository's root. */
  file: string;
  description: string;
}

/** A group of pages for one task. */
export interface Group {
  title: string;
  pages: ListedPage[];
}

/** Pages of the site that the list does not have: the list itself, and the README that introduces it. */
export const HOME: ListedPage = {
  title: 'Highwater',
  file: 'README.md',
  description: 'Durable incremental sync of any paginated HTTP API into a database, on Temporal.',
};
export const LIST: ListedPage = {
  title: 'Documentation',
  file: 'docs/README.md',
  description: 'All pages, by task.',
};

/** Reads the list of pages by task: `## Group`, and below it `- [Title](page.md): what it is about.` */
export function contents(list: string): Group[] {
  return list
    .split(/^## /m)
    .slice(1)
    .map((section) => ({
      title: section.slice(0, section.indexOf('\n')),
      pages: [...section.matchAll(/^- \[([^\]]+)\]\(([^)]+)\): (.+)$/gm)].map(
        ([, title = '', path = '', description = '']) => ({
          title,
          file: normalize(join('docs', path)),
          description,
        }),
      ),
    }));
}

/** Returns the name of a page on the site: `operating` for docs/operating.md. */
export function nameOf(file: string): string {
  if (file === HOME.file) return 'index';
  if (file === LIST.file) return 'documentation';
  return file
    .replace(/^docs\//, '')
    .replace(/\.md$/, '')
    .toLowerCase();
}

/**
 * Returns a page's text with links that hold on the site: to its pages by their names, and to other files of the
 * repository, which the site has as they are, below `files/`.
 * @param files collects the other files that the page links to, by their path from the root.
 */
export function linkedText(
  text: string,
  file: string,
  pages: ReadonlySet<string>,
  root: string,
  files: Set<string>,
): string {
  const linked = (target: string): string => {
    if (/^[a-z]+:|^#/.test(target)) return target;
    const [path = '', anchor] = target.split('#');
    const found = normalize(join(dirname(file), path));
    const suffix = anchor === undefined ? '' : `#${anchor}`;
    if (pages.has(found)) return `./${nameOf(found)}.md${suffix}`;
    if (!existsSync(join(root, found))) return target;
    files.add(found);
    return `/files/${found}`;
  };
  let inFence = false;
  return text
    .split('\n')
    .map((line) => {
      if (/^\s*```/.test(line)) inFence = !inFence;
      if (inFence) return line;
      return line.replace(/(!?\[[^\]]*\])\(([^)\s]+)\)/g, (whole, label: string, target: string) =>
        label.startsWith('!') ? whole : `${label}(${linked(target)})`,
      );
    })
    .join('\n');
}
