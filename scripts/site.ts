/**
 * Builds the site of the documentation into `site/dist`: `npm run docs:site`. The pages are README.md, docs/*.md and the
 * files that they link to; the sidebar is the list in docs/README.md. Also writes `llms.txt`, the list for language
 * models, and `llms-full.txt`, all pages in one file. Other arguments go to VitePress: `-- --base /highwater/`.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { contents, HOME, LIST, nameOf, relinked, type ListedPage } from './site-pages.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SITE = join(ROOT, 'site');
const OUTPUT = join(SITE, 'dist');
const PAGES = join(SITE, 'pages');

/** Folders whose files become pages, where a page links to them. */
const SHOWN = /^(?:examples|deploy)(?:\/|$)|^docs\/.*\.(?:yaml|json)$/;
const LANGUAGES: Record<string, string> = { yaml: 'yaml', json: 'json', ts: 'ts', service: 'ini' };

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** Installs VitePress beside the site, once: nothing else needs it. */
function install(): void {
  const installed = join(SITE, 'node_modules/.package-lock.json');
  const lock = join(SITE, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs - 1000) return;
  run('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error']);
}

function run(command: string, args: string[]): void {
  const { status, error } = spawnSync(command, args, {
    cwd: SITE,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (error !== undefined || status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed${error === undefined ? '' : `: ${error.message}`}`);
}

const groups = contents(read(LIST.file)).map((group) => ({
  ...group,
  pages: group.pages.filter(({ file }) => existsSync(join(ROOT, file))),
}));
const pages: ListedPage[] = [HOME, LIST, ...groups.flatMap((group) => group.pages)];
const listed = new Set(pages.map(({ file }) => file));

/** Writes the pages, and those of the files that they link to. */
function writePages(): void {
  rmSync(PAGES, { recursive: true, force: true });
  mkdirSync(join(PAGES, 'public'), { recursive: true });
  const shown = new Set<string>();
  const link = (found: string, anchor: string | undefined): string | null => {
    if (listed.has(found)) return `./${nameOf(found)}.md${anchor === undefined ? '' : `#${anchor}`}`;
    if (found.endsWith('.png')) return `./${basename(found)}`;
    if (!SHOWN.test(found) || !existsSync(join(ROOT, found))) return null;
    shown.add(found);
    return `./${fileName(found)}.md`;
  };
  for (const { file } of pages) writePage(nameOf(file), escaped(relinked(read(file), file, link)));
  // A set also yields what is added meanwhile: the files of a folder.
  for (const file of shown) {
    if (statSync(join(ROOT, file)).isDirectory()) {
      const names = readdirSync(join(ROOT, file)).filter((name) => statSync(join(ROOT, file, name)).isFile());
      for (const name of names) shown.add(join(file, name));
      const list = names.map((name) => `- [${name}](./${fileName(join(file, name))}.md)`);
      writePage(fileName(file), `# ${file}\n\n${list.join('\n')}\n`);
    } else {
      const language = LANGUAGES[file.slice(file.lastIndexOf('.') + 1)] ?? '';
      writePage(fileName(file), `# ${file}\n\n\`\`\`\`${language}\n${read(file).trimEnd()}\n\`\`\`\`\n`);
    }
  }
  for (const name of readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.png')))
    copyFileSync(join(ROOT, 'docs', name), join(PAGES, name));
}

const writePage = (name: string, text: string): void => writeFileSync(join(PAGES, `${name}.md`), text);

const fileName = (file: string): string => `file-${file.replace(/[^a-z0-9]+/gi, '-').toLowerCase()}`;

/** Text in which the site's framework finds nothing to evaluate. */
const escaped = (text: string): string => text.replaceAll('{{', '&#123;&#123;');

function writeSidebar(): void {
  const sidebar = groups.map(({ title, pages: some }) => ({
    text: title,
    collapsed: false,
    items: some.map((page) => ({ text: page.title, link: `/${nameOf(page.file)}` })),
  }));
  writeFileSync(join(SITE, 'sidebar.json'), `${JSON.stringify(sidebar, null, 2)}\n`);
}

/** Writes the list of pages and all of their text, as language models read them (llmstxt.org). */
function writeForModels(): void {
  const line = ({ title, file, description }: ListedPage) =>
    `- [${title}](${nameOf(file)}.html): ${description}`;
  const list = groups.map(({ title, pages: some }) => `## ${title}\n\n${some.map(line).join('\n')}`);
  const introduction = `# ${HOME.title}\n\n> ${HOME.description}`;
  const text = [introduction, 'All pages in one file: [llms-full.txt](llms-full.txt)', ...list].join('\n\n');
  writeFileSync(join(PAGES, 'public/llms.txt'), `${text}\n`);
  const whole = pages
    .filter(({ file }) => file !== LIST.file)
    .map(({ file }) => `<!-- ${file} -->\n\n${read(file).trim()}`);
  writeFileSync(join(PAGES, 'public/llms-full.txt'), `${whole.join('\n\n')}\n`);
}

install();
writePages();
writeSidebar();
writeForModels();
run('npx', ['vitepress', 'build', ...process.argv.slice(2)]);
console.log(`The site is in ${OUTPUT}; look at it with: npx --prefix site vitepress preview site`);
