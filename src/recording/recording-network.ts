import { Headers, Response, type RequestInit } from 'node-fetch';
import { bodyOf } from '../sources/transport.js';
import { Network } from '../trust/network.js';
import { contentOf, type Exchange } from './exchange.js';
import type { Scrubber } from './scrubber.js';

/** The stream that is being read, and what takes its exchanges, without secrets. */
export interface Recipient {
  stream: string;
  scrubber: Scrubber;
  take: (exchange: Exchange) => Promise<void>;
}

/** Sends requests to the source, and passes each with its answer to a listener. Logins are sent and not passed on. */
export class RecordingNetwork extends Network {
  private current: Recipient | null = null;
  /** Headers of logins: a redirect is followed with those of the request that was redirected. */
  private readonly loginHeaders = new WeakSet<object>();

  /** Passes the requests of a stream on from here on. */
  begin(recipient: Recipient): void {
    this.current = recipient;
  }

  override async fetch(url: URL, init: RequestInit): Promise<Response> {
    const response = await super.fetch(url, init);
    const { current } = this;
    if (current === null || this.isLogin(current, url, init)) return response;
    const { stream, scrubber, take } = current;
    const { status, statusText } = response;
    const bytes = await gathered(response);
    scrubber.learnFrom(new Headers(init.headers));
    const body = typeof init.body === 'string' ? init.body : null;
    await take({
      stream,
      request: scrubber.request(init.method ?? 'GET', url, body),
      response: {
        status,
        headers: scrubber.responseHeaders(response.headers),
        content: scrubber.answer(contentOf(bytes)),
      },
    });
    return answerOf(bytes, { status, statusText, headers: unpackedHeaders(response.headers) });
  }

  /** Whether a request obtains credentials, be it by a redirect of one that does. */
  private isLogin({ scrubber }: Recipient, url: URL, { headers }: RequestInit): boolean {
    const isKnown = typeof headers === 'object' && this.loginHeaders.has(headers);
    if (!isKnown && !scrubber.isLogin(url)) return false;
    if (typeof headers === 'object') this.loginHeaders.add(headers);
    return true;
  }
}

/** Returns an answer whose body is unpacked. */
export const answerOf = (
  bytes: Buffer,
  init: { status: number; statusText?: string; headers: Headers | { [name: string]: string } },
): Response => new Response(bytes.length === 0 ? null : bytes, init);

async function gathered(response: Response): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of bodyOf(response)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function unpackedHeaders(headers: Headers): Headers {
  const unpacked = new Headers(headers);
  for (const name of ['content-encoding', 'content-length', 'transfer-encoding']) unpacked.delete(name);
  return unpacked;
}
