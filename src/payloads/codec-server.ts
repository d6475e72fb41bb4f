import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { messageOf } from '../errors.js';
import { isSame } from '../same-secret.js';

export interface CodecServerOptions {
  codecs: readonly PayloadCodec[];
  /** Required from every caller: in the path, `/TOKEN/decode`, or as `Authorization: Bearer TOKEN`. */
  token: string;
  /** Origins of Web UIs that may call from a browser. */
  origins: readonly string[];
  port: number;
}

/** Larger than any page of a history. */
const BODY_LIMIT = 64 * 1024 * 1024;
const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

/**
 * Decodes and encodes payloads for the Web UI and the Temporal CLI (Temporal's codec server protocol), on the loopback
 * address only. It returns plain text, so it refuses callers without the token, under another host name (DNS
 * rebinding), or from a page of another origin.
 */
export async function startCodecServer(
  options: CodecServerOptions,
): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    answerRequest(request, response, options).catch((thrown: unknown) => {
      sendJson(response, 400, { message: messageOf(thrown) });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : options.port };
}

async function answerRequest(
  request: IncomingMessage,
  response: ServerResponse,
  { codecs, token, origins }: CodecServerOptions,
): Promise<void> {
  const { host = '', origin, authorization = '' } = request.headers;
  if (!LOOPBACK.includes(host.replace(/:\d+$/, '')))
    return sendJson(response, 403, { message: `this codec server does not answer to the host ${host}` });
  if (origin !== undefined) {
    if (!origins.includes(origin))
      return sendJson(response, 403, {
        message: `requests from ${origin} are not allowed; if that is your Web UI, start the codec server with "--origin ${origin}"`,
      });
    response.setHeader('Access-Control-Allow-Origin', origin);
    response.setHeader('Vary', 'Origin');
    response.setHeader('Access-Control-Allow-Methods', 'POST, OPTIONS');
    response.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type, X-Namespace');
    response.setHeader('Access-Control-Allow-Private-Network', 'true');
  }
  // Browsers send this preflight request without the token.
  if (request.method === 'OPTIONS') return void response.writeHead(204).end();
  const words = new URL(request.url ?? '/', 'http://localhost').pathname.split('/').filter(Boolean);
  const action = words.at(-1);
  const knows =
    words.slice(0, -1).some((word) => isSame(word, token) || isSame(word, encodeURIComponent(token))) ||
    isSame(authorization, `Bearer ${token}`);
  if (!knows) return sendJson(response, 401, { message: 'the token is missing or wrong' });
  if (action !== 'decode' && action !== 'encode')
    return sendJson(response, 404, { message: 'unknown path: use /decode or /encode' });
  if (request.method !== 'POST') return sendJson(response, 405, { message: 'use POST' });
  const payloads = payloadsIn(await bodyOf(request));
  let coded = payloads;
  for (const codec of action === 'encode' ? codecs : [...codecs].reverse())
    coded = await codec[action](coded);
  sendJson(response, 200, { payloads: coded.map(toJson) });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
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

/** A payload in protobuf's JSON: bytes are base64. */
interface JsonPayload {
  metadata?: { [name: string]: string };
  data?: string;
}

function payloadsIn(body: string): Payload[] {
  // Protobuf's JSON omits an empty list, such as that of a signal without arguments.
  const { payloads = [] } = JSON.parse(body) as { payloads?: unknown };
  if (!Array.isArray(payloads)) throw new Error('the body has no "payloads" array');
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
