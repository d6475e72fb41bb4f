import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Json } from '../../src/protocol.js';

/** Something that is called over HTTP, and keeps what it was sent. */
export interface Receiver {
  url: string;
  /** What came, in order; JSON is read. */
  received: { path: string; contentType: string; body: Json; bytes: Buffer }[];
  /** What it answers from now on. */
  answer: (status: number) => void;
  stop: () => Promise<void>;
}

/** Takes whatever is posted. */
export async function receiver(): Promise<Receiver> {
  const received: Receiver['received'] = [];
  let status = 200;
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const bytes = Buffer.concat(chunks);
      const contentType = request.headers['content-type'] ?? '';
      const body = contentType.includes('json') ? (JSON.parse(bytes.toString('utf8')) as Json) : null;
      received.push({ path: request.url ?? '', contentType, body, bytes });
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    answer: (next) => (status = next),
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
