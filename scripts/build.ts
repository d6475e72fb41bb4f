/** Compiles `src` to `dist` and bundles the workflows, so that a worker starts without a bundler. */
import { execFileSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';
import { readPackageJson } from '../src/package-json.js';
import { bundleCli } from './bundle-cli.js';

const root = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

rmSync(root('dist'), { recursive: true, force: true });
execFileSync(process.execPath, [root('node_modules/typescript/bin/tsc'), '-p', root('tsconfig.build.json')], {
  stdio: 'inherit',
});
await bundleCli(root('.'), Object.keys(readPackageJson().peerDependencies));
chmodSync(root('dist/cli.js'), 0o755);
const quiet = () => undefined;
/**
 * The workflow bundles: without tracing, which costs nothing then, and with it. Encryption is decided inside a bundle
 * too, since it includes failure messages of workflows.
 */
const bundles = [
  { name: 'workflow-bundle-traced-encrypted.cjs', isTraced: true, isEncrypted: true },
  { name: 'workflow-bundle-traced.cjs', isTraced: true, isEncrypted: false },
  { name: 'workflow-bundle-encrypted.cjs', isTraced: false, isEncrypted: true },
  // Built last: the build is up to date if this bundle is.
  { name: 'workflow-bundle.cjs', isTraced: false, isEncrypted: false },
];
for (const { name, isTraced, isEncrypted } of bundles) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: root('dist/workflows/index.js'),
    // Loaded once for all workflows of a worker: each would otherwise keep half a megabyte of it.
    preloadModules: [root('dist/inputs.js')],
    workflowInterceptorModules: isTraced ? [root('dist/workflows/traced.js')] : [],
    // From this package, so that no path of this machine enters histories.
    webpackConfigHook: (config) => ({
      ...config,
      devtool: 'inline-nosources-source-map',
      output: {
        ...config.output,
        devtoolModuleFilenameTemplate: ({ absoluteResourcePath: path }: { absoluteResourcePath: string }) =>
          path.replaceAll(root('.'), '').replaceAll('\\', '/'),
      },
    }),
    logger: { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: console.warn, error: console.error },
    ...(isEncrypted && { failureConverterPath: root('dist/payloads/encoded-failures.cjs') }),
  });
  writeFileSync(root(`dist/${name}`), code);
}
