import type { TestProject } from 'vitest/node';
import { testServer } from './temporal.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** `host:port` of the Temporal server that all integration tests share. */
    temporalAddress: string;
    /** Base address of its Web UI. */
    temporalUiUrl: string;
    /** Path of the Temporal CLI. */
    temporalCli: string;
  }
}

/** One Temporal server for the whole test run: `inject('temporalAddress')`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The server takes a tenth of less CPU time, for memory that there is.
  process.env['GOGC'] ??= '400';
  const server = await testServer();
  project.provide('temporalAddress', server.address);
  project.provide('temporalUiUrl', server.uiUrl ?? '');
  project.provide('temporalCli', server.cli);
  return () => server.stop();
}
