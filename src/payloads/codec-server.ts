import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { messageOf } from '../errors.js';

/** The answers of a codec server, and who may ask. */
export interface CodecServerOptions {
  codecs: readonly PayloadCodec[];
  /** Every caller must know it: in the path, `/TOKEN/decode`, or as `Authorization: Bearer TOKEN`. */
  token: string;
  /** Origins of Web UIs whose pages may ask from a browser. */
  origins: readonly string[];
  port: number;
}

/** More than a server takes for a whole history page. */
const BODY_LIMIT = 64 * 1024 * 1024;
const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

/**
 * Decodes and encodes payloads for the Web UI and the Temporal CLI (Temporal's codec server protocol), on the loopback
 * address alone. It hands out plain text: a caller that does not know the token, asks by another host's name (DNS rebinding)
 * or from a page of another origin is refused.
 */
export async function startCodecServer(
  options: CodecServerOptions,
): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    answer(request, response, options).catch((thrown: unknown) => {
      send(response, 400, { message: messageOf(thrown) });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : options.port };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { codecs, token, origins }: CodecServerOptions,
): Promise<void> {
  const { host = '', origin, authorization = '' } = request.headers;
  if (!LOOPBACK.includes(host.replace(/:\d+$/, '')))
    return send(response, 403, { message: `this codec server is not to be asked as ${host}` });
  if (origin !== undefined) {
    if (!origins.includes(origin))
      return send(response, 403, {
        message: `pages of ${origin} are refused; give "--origin ${origin}" if it is your Web UI`,
      });
    response.setHeader('Access-Control-Allow-Origin', origin);
    response.setHeader('Vary', 'Origin');
    response.setHeader('Access-Control-Allow-Methods', 'POST, OPTIONS');
    response.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type, X-Namespace');
    response.setHeader('Access-Control-Allow-Private-Network', 'true');
  }
  // A browser asks without the token first whether it may.
  if (request.method === 'OPTIONS') return void response.writeHead(204).end();
  const words = new URL(request.url ?? '/', 'http://localhost').pathname.split('/').filter(Boolean);
  const action = words.at(-1);
  const knows =
    words.slice(0, -1).some((word) => same(word, token) || same(word, encodeURIComponent(token))) ||
    same(authorization, `Bearer ${token}`);
  if (!knows) return send(response, 401, { message: 'the token is missing or wrong' });
  if (action !== 'decode' && action !== 'encode')
    return send(response, 404, { message: 'only /decode and /encode are here' });
  if (request.method !== 'POST') return send(response, 405, { message: 'POST it' });
  const payloads = payloadsIn(await bodyOf(request));
  let coded = payloads;
  for (const codec of action === 'encode' ? codecs : [...codecs].reverse())
    coded = await codec[action](coded);
  send(response, 200, { payloads: coded.map(toJson) });
}

const digest = (text: string) => createHash('sha256').update(text).digest();
const same = (given: string, token: string) => timingSafeEqual(digest(given), digest(token));

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent) return void response.end();
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > BODY_LIMIT) throw new Error(`the body is longer than ${BODY_LIMIT} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** As protobuf's JSON has them: bytes in base64. */
interface JsonPayload {
  metadata?: { [name: string]: string };
  data?: string;
}

function payloadsIn(body: string): Payload[] {
  // Protobuf's JSON leaves out a list that is empty: a signal without arguments.
  const { payloads = [] } = JSON.parse(body) as { payloads?: unknown };
  if (!Array.isArray(payloads)) throw new Error('the body has no list of payloads');
  return (payloads as JsonPayload[]).map(({ metadata = {}, data = '' }) => ({
    metadata: Object.fromEntries(
      Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64')]),
    ),
    data: Buffer.from(data, 'base64'),
  }));
}

const base64 = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('base64');
const toJson = ({ metadata, data }: Payload): JsonPayload => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, base64(value)])),
  data: base64(data),
});
