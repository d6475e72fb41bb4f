/**
 * Bundles the command line and what it needs from packages into few files: Node 20 takes half of the start-up time of a
 * command to find and read 500 to 1,200 modules.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { OVERVIEW } from '../src/cli/overview.js';
import { overviewLines } from '../src/cli/program.js';

/** Packages that find files of their own by their place, that are native, or that few users install. */
const EXTERNAL = [
  '@temporalio/core-bridge',
  '@duckdb/node-bindings',
  '@swc/*',
  'webpack',
  'memfs',
  'unionfs',
  'source-map',
  'source-map-loader',
  'swc-loader',
  'pino',
  'jsonc-parser',
  'pg-native',
];

/** Lets the Temporal SDK find the files of its own that it loads by their place. */
const PLACES: { [file: string]: { [from: string]: string } } = {
  'worker/lib/workflow/threaded-vm.js': {
    "require.resolve('./workflow-worker-thread')":
      "require.resolve('@temporalio/worker/lib/workflow/workflow-worker-thread')",
  },
  'worker/lib/workflow/bundler.js': {
    "require.resolve('../workflow-log-interceptor')":
      "require.resolve('@temporalio/worker/lib/workflow-log-interceptor')",
  },
};

const placesOfTemporal: Plugin = {
  name: 'places of @temporalio',
  setup: (builder) => {
    builder.onLoad(
      { filter: /@temporalio[/\\]worker[/\\]lib[/\\]workflow[/\\](threaded-vm|bundler)\.js$/ },
      ({ path }) => {
        const [, changes = {}] =
          Object.entries(PLACES).find(([file]) => path.replaceAll('\\', '/').endsWith(file)) ?? [];
        let contents = readFileSync(path, 'utf8');
        for (const [from, to] of Object.entries(changes)) {
          if (!contents.includes(from)) throw new Error(`${path} has no ${from} any more`);
          contents = contents.replaceAll(from, to);
        }
        return { contents, loader: 'js' };
      },
    );
  },
};

/**
 * Bundles `dist/cli/main.js` into `dist/cli-bundle`, which `dist/cli.js` runs from then on.
 * @param root the package's folder.
 * @param optional packages that users install themselves.
 */
export async function bundleCli(root: string, optional: readonly string[]): Promise<void> {
  const folder = join(root, 'dist/cli-bundle');
  rmSync(folder, { recursive: true, force: true });
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['dist/cli/main.js'],
    outdir: folder,
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    minifyWhitespace: true,
    legalComments: 'none',
    metafile: true,
    external: [...EXTERNAL, ...optional],
    plugins: [placesOfTemporal],
    // CommonJS code in an ES module.
    banner: {
      js:
        "import{createRequire as createRequireOfBundle}from'node:module';" +
        'const require=createRequireOfBundle(import.meta.url);',
    },
    logLevel: 'warning',
  });
  writeFileSync(join(folder, OVERVIEW), JSON.stringify(await overviewLines()));
  writeFileSync(join(root, 'dist/cli.js'), "#!/usr/bin/env node\nimport './cli-bundle/main.js';\n");
  writeFileSync(join(folder, 'LICENSES.txt'), licences(root, Object.keys(metafile.inputs)));
}

/** Returns the licences of all packages that the files belong to. */
function licences(root: string, files: readonly string[]): string {
  const packages = new Set(
    files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []),
  );
  return [...packages]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(root, folder, 'package.json'), 'utf8'),
      ) as {
        [key: string]: unknown;
      };
      const file = [
        'LICENSE',
        'LICENSE.md',
        'LICENSE.txt',
        'LICENCE',
        'license',
        'LICENSE-MIT.txt',
        'license.md',
      ]
        .map((one) => join(root, folder, one))
        .find((path) => existsSync(path));
      const text = file === undefined ? '' : `\n\n${readFileSync(file, 'utf8').trim()}`;
      return `${String(name)} ${String(version)} (${String(license)})${text}`;
    })
    .join(`\n\n${'-'.repeat(80)}\n\n`);
}
