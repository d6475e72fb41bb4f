/** The site of the documentation. `scripts/site.ts` writes the pages and the sidebar, and builds it. */
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';
import { anchorOf } from '../../scripts/site-pages.ts';

const sidebar = JSON.parse(readFileSync(new URL('../sidebar.json', import.meta.url), 'utf8'));

export default defineConfig({
  title: 'Highwater',
  description: 'Durable incremental sync of any paginated HTTP API into a database, on Temporal.',
  lang: 'en',
  srcDir: 'pages',
  outDir: 'dist',
  lastUpdated: false,
  // Anchors as on GitHub, so that the same links hold in both places.
  markdown: { anchor: { slugify: anchorOf }, toc: { slugify: anchorOf } },
  themeConfig: {
    nav: [
      { text: 'Documentation', link: '/documentation' },
      { text: 'Configuration', link: '/configuration' },
      { text: 'Commands', link: '/cli' },
    ],
    sidebar,
    outline: { level: [2, 3] },
    search: { provider: 'local' },
  },
});
