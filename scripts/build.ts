/** Compiles `src` to `dist` and bundles the workflows, so that a worker starts without a bundler. */
import { execFileSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const root = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

rmSync(root('dist'), { recursive: true, force: true });
execFileSync(process.execPath, [root('node_modules/typescript/bin/tsc'), '-p', root('tsconfig.build.json')], {
  stdio: 'inherit',
});
const quiet = () => undefined;
/**
 * One as it is, and one for workers that send traces: without them nothing of OpenTelemetry is there to cost anything.
 * Where payloads are encrypted, what workflows say of failures is too: that is decided inside of a bundle.
 */
const bundles = [
  { name: 'workflow-bundle-traced-encrypted.cjs', isTraced: true, isEncrypted: true },
  { name: 'workflow-bundle-traced.cjs', isTraced: true, isEncrypted: false },
  { name: 'workflow-bundle-encrypted.cjs', isTraced: false, isEncrypted: true },
  // The last one made: the build is up to date where this one is.
  { name: 'workflow-bundle.cjs', isTraced: false, isEncrypted: false },
];
for (const { name, isTraced, isEncrypted } of bundles) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: root('dist/workflows/index.js'),
    // Once for all workflows of a worker: each would keep half a megabyte of it otherwise.
    preloadModules: [root('dist/inputs.js')],
    workflowInterceptorModules: isTraced ? [root('dist/workflows/traced.js')] : [],
    // It comes from this package: no path of this machine belongs into the histories of others.
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
chmodSync(root('dist/cli.js'), 0o755);
