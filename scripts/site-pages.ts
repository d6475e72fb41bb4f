/** The pages of the site: the list in `docs/README.md`, and each page's text with links that hold there. */
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

/** Returns the anchor of a heading, as GitHub makes it. */
export const anchorOf = (title: string): string =>
  title
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[`\\*]/g, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');

/**
 * Returns a page's text with other targets of its links and images.
 * @param link returns the new target of a path from the repository's root; null: the text stays, without a link.
 */
export function relinked(
  text: string,
  file: string,
  link: (found: string, anchor: string | undefined) => string | null,
): string {
  let isCode = false;
  const target = (whole: string, mark: string, label: string, given: string): string => {
    if (/^[a-z]+:|^#/.test(given)) return whole;
    const [path = '', anchor] = given.split('#');
    const made = link(normalize(join(dirname(file), path)), anchor);
    return made === null ? label : `${mark}[${label}](${made})`;
  };
  return text
    .split('\n')
    .map((line) => {
      if (/^\s*```/.test(line)) isCode = !isCode;
      return isCode ? line : line.replace(/(!?)\[([^\]]*)\]\(([^)\s]+)\)/g, target);
    })
    .join('\n');
}
