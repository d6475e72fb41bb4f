import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { temporalBinary } from '../../src/dev/temporal-binary.js';
import { startLocalServer } from '../../src/dev/temporal-server.js';

/** The environment without anything that points at a Temporal server: tests must never reach the developer's own. */
export function envWithoutTemporal(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_'));
  // Where there is no configuration file either.
  const nowhere = join(tmpdir(), 'highwater-no-configuration');
  return { ...Object.fromEntries(kept), XDG_CONFIG_HOME: nowhere, ...extra };
}

/** A server for tests: on free ports, its state in a temporary folder. */
export interface TestServer {
  readonly address: string;
  readonly uiUrl: string | null;
  /** Path of the Temporal CLI. */
  readonly cli: string;
  /** Stops the server and deletes its state. */
  stop(): Promise<void>;
}

/** Obtains the Temporal CLI (fetched once, then cached for the user) and starts a {@link TestServer}. */
export async function testServer(): Promise<TestServer> {
  const env = envWithoutTemporal();
  const cli = (await temporalBinary({ env, log: console.error })).path;
  const stateDir = await mkdtemp(join(tmpdir(), 'highwater-test-'));
  const server = await startLocalServer({ env, cli, stateDir, ports: { grpc: 0, ui: 0 } });
  return {
    address: server.address,
    uiUrl: server.uiUrl,
    cli,
    async stop() {
      await server.stop();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}
