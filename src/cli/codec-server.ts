import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { findServer } from '../dev/temporal-server.js';
import { startCodecServer } from '../payloads/codec-server.js';
import { dataConverterFrom } from '../payloads/converter.js';
import { untilInterrupted } from './interrupted.js';
import { asPort, collect, note, print } from './output.js';
import { serverOptions } from './server.js';

interface Options {
  port: number;
  origin?: string[];
  json?: boolean;
}

export function codecServerCommand(): Command {
  return new Command('codec-server')
    .description('Decode payloads for the Web UI and the Temporal CLI on this machine, until Ctrl-C.')
    .option('--port <n>', 'the port on 127.0.0.1; 0 takes any free port', asPort, 8081)
    .option('--origin <url>', 'the origin of a Web UI (default: that of the Temporal server)', collect)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
It uses the keys of HIGHWATER_PAYLOAD_KEY or HIGHWATER_PAYLOAD_KEY_FILE, and the codecs of HIGHWATER_DATA_CONVERTER.
Its address contains a token that every caller needs. Each start makes a new token unless HIGHWATER_CODEC_TOKEN is set.

Examples:
  highwater codec-server
  highwater codec-server --port 8888 --origin https://temporal.example.com
  temporal workflow show -w users --codec-endpoint http://127.0.0.1:8081/TOKEN`,
    )
    .action(codecServer);
}

async function codecServer(options: Options): Promise<void> {
  const { payloadCodecs = [] } = await dataConverterFrom();
  const given = process.env['HIGHWATER_CODEC_TOKEN'] ?? '';
  const token = given === '' ? randomBytes(24).toString('base64url') : given;
  const origins = options.origin ?? (await originsOfServer());
  const { server, port } = await startCodecServer({
    codecs: payloadCodecs,
    token,
    port: options.port,
    origins: origins.map((url) => new URL(url).origin),
  });
  const endpoint = `http://127.0.0.1:${port}/${encodeURIComponent(token)}`;
  if (options.json === true) print(JSON.stringify({ endpoint, origins }));
  else {
    print(`Codec server: ${endpoint}`);
    print(`Web UI: enter the same address as its codec server; allowed origins: ${origins.join(', ')}`);
    print(`Temporal CLI: --codec-endpoint ${endpoint}`);
  }
  await untilInterrupted();
  note('Stopping.');
  server.close();
  server.closeAllConnections();
}

/** A local Web UI is as often opened by the one name as by the other. */
async function originsOfServer(): Promise<string[]> {
  const server = await findServer(serverOptions()).catch(() => null);
  if (server?.uiUrl == null) return ['http://127.0.0.1:8233', 'http://localhost:8233'];
  const { origin } = new URL(server.uiUrl);
  return [origin, origin.replace('//127.0.0.1', '//localhost')];
}
