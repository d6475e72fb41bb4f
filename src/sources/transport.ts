import { pipeline, Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Response } from 'node-fetch';
import { SourceRefusedError } from '../errors.js';
import type { Network } from '../trust/network.js';
import { jsonText, RawJson, type Sendable } from '../request/templates.js';

/** One HTTP request as it is sent. */
export interface HttpRequest {
  method: 'GET' | 'POST';
  url: URL;
  /** By lower-case names. */
  headers: Record<string, string>;
  body: string | null;
  /** Method and address for people, without secrets. */
  shown: string;
}

const REDIRECT_LIMIT = 5;
const REDIRECTS = [301, 302, 303, 307, 308];
const ERROR_BODY_LIMIT = 64 * 1024;
/** Bytes that are searched for words; error pages begin with their style. */
const WORDS_LIMIT = 16 * 1024;
/** Headers that another host may see. */
const HARMLESS = ['accept', 'accept-encoding', 'user-agent'];

/**
 * Sends a request and follows redirects; credentials stay with the host they are for.
 * @throws {SourceRefusedError} where a redirect leads nowhere.
 * @throws {NotAllowedError} where the host is not allowed, or one that a redirect leads to.
 */
export async function send(request: HttpRequest, watch: Watch, network: Network): Promise<Response> {
  const { shown } = request;
  const headers: Record<string, string> = { 'accept-encoding': 'gzip, deflate, br', ...request.headers };
  let { method, body } = request;
  let at = request.url;
  for (let redirects = 0; ; redirects++) {
    const bare = new URL(at);
    bare.username = '';
    bare.password = '';
    const response = await network.fetch(bare, {
      method,
      headers,
      ...(body !== null && { body }),
      redirect: 'manual',
      // It would take a body that is cut short for a whole one.
      compress: false,
      signal: watch.signal,
    });
    const location = response.headers.get('location');
    if (location === null || !REDIRECTS.includes(response.status)) return response;
    watch.touch();
    await readSome(response);
    const to = URL.canParse(location, bare.href) ? new URL(location, bare.href) : null;
    if (to === null || !/^https?:$/.test(to.protocol)) {
      throw new SourceRefusedError(shown, 'the source redirects to an address that is not HTTP');
    }
    if (redirects === REDIRECT_LIMIT) {
      throw new SourceRefusedError(shown, `the source redirects more than ${REDIRECT_LIMIT} times`);
    }
    if (method === 'POST' && response.status < 307) [method, body] = ['GET', null];
    if (to.origin !== at.origin) {
      if (body !== null) {
        throw new SourceRefusedError(shown, `the source redirects a POST to another host, ${to.origin}`);
      }
      // node-fetch would keep them for another port or a subdomain.
      for (const name of Object.keys(headers)) if (!HARMLESS.includes(name)) delete headers[name];
    }
    at = to;
  }
}

/** Aborts when the caller does, or when nothing has come for too long. */
export class Watch {
  timedOut = false;
  /** Bytes received. */
  bytes = 0;
  private readonly controller = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private readonly onAbort = () => this.controller.abort();

  constructor(
    private readonly outer: AbortSignal,
    private readonly milliseconds: number,
  ) {
    if (outer.aborted) this.controller.abort();
    outer.addEventListener('abort', this.onAbort, { once: true });
    this.touch();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** @param bytes that have come just now. */
  touch(bytes = 0): void {
    this.bytes += bytes;
    if (this.timer !== undefined) this.timer.refresh();
    else {
      this.timer = setTimeout(() => {
        this.timedOut = true;
        this.controller.abort();
      }, this.milliseconds);
    }
  }

  pause(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  end(): void {
    this.pause();
    this.outer.removeEventListener('abort', this.onAbort);
  }
}

/** The body of an answer, unpacked; a reader that stops early destroys it, or its connection stays taken. */
export function bodyOf({ status, body, headers }: Response): Readable {
  const packed = (body ?? Readable.from([])) as Readable;
  // Nothing is packed, whatever the headers say.
  if (status === 204 || headers.get('content-length') === '0') return packed;
  const unpack = UNPACK.get(headers.get('content-encoding')?.trim().toLowerCase() ?? '');
  // A failure reaches the reader of the end of the pipeline.
  return unpack === undefined ? packed : pipeline(packed, unpack(), () => undefined);
}

const UNPACK = new Map<string, () => Transform>([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
]);

/** The beginning of a body that is not a page. */
export async function readSome(response: Response): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of bodyOf(response)) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > ERROR_BODY_LIMIT) break;
    }
  } catch {
    // The bytes so far are enough for a message.
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Returns the text of an error's body on one line. */
export function theirWords(body: string): string {
  let words: string;
  try {
    const value = JSON.parse(body) as { [name: string]: unknown } | null;
    const said =
      value?.['error_description'] ?? value?.['error'] ?? value?.['message'] ?? value?.['detail'] ?? value;
    words = typeof said === 'string' ? said : JSON.stringify(said);
  } catch {
    // No more than this: unclosed tags would be searched again for each.
    words = body
      .slice(0, WORDS_LIMIT)
      .replace(/<(style|script|title)[\s\S]*?<\/\1>/gi, ' ')
      .replace(/<[^>]*>/g, ' ');
  }
  return words.replace(/\s+/g, ' ').trim().slice(0, 300);
}

/** Text as the body of a request, and the type that goes with it. */
export function encodeBody(body: Sendable, as: 'json' | 'form'): { body: string; type: string } {
  if (as === 'json') return { body: jsonText(body), type: 'application/json' };
  const form = new URLSearchParams();
  const fields = typeof body !== 'object' || body === null || body instanceof RawJson ? {} : body;
  for (const [name, value] of Object.entries<Sendable>(fields)) {
    if (value !== null) form.set(name, typeof value === 'string' ? value : jsonText(value));
  }
  return { body: form.toString(), type: 'application/x-www-form-urlencoded' };
}
