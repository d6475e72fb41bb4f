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
/** Where payloads are encrypted, what workflows say of failures is too: that is decided inside of a bundle. */
const bundles = {
  'workflow-bundle.cjs': {},
  'workflow-bundle-encrypted.cjs': { failureConverterPath: root('dist/payloads/encoded-failures.cjs') },
};
for (const [name, options] of Object.entries(bundles)) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: root('dist/workflows/index.js'),
    logger: { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: console.warn, error: console.error },
    ...options,
  });
  writeFileSync(root(`dist/${name}`), code);
}
chmodSync(root('dist/cli.js'), 0o755);
