import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { allRecords, ENDPOINTS, Refusal, type Context, type Page } from './endpoints.js';
import { FaultScript, withoutId, type Fired } from './faults.js';
import { asciiJson } from './python.js';
import { TokenBucket } from './rate-limit.js';
import { Records } from './records.js';
import {
  changeSettings,
  DATA_SETTINGS,
  DEFAULT_SETTINGS,
  parseMutation,
  SettingsError,
  type DemoSettings,
} from './settings.js';

/** Statistics of the demo API. */
export interface DemoStats {
  /** Number of requests, without those to `/_demo`. */
  requests: number;
  /** Requests by path, including unknown ones. */
  by_path: Record<string, number>;
  /** Answers by status; requests without an answer are not counted. */
  by_status: Record<string, number>;
  /** Number of records in the answers. */
  records: number;
  connections: { opened: number; open: number };
  /** Scripted faults that were applied, by kind. */
  faults: Record<string, number>;
  /** Number of mutations made by `mutate_every`. */
  mutations: number;
  /** Path and query of the last 1,000 requests, oldest first. */
  urls: string[];
}

const MAX_URLS = 1000;
const MAX_INPUT = 1024 * 1024;
const MAX_UNSENT = 1024 * 1024;
const JSON_TYPE = 'application/json';
const HTML_TYPE = 'text/html; charset=utf-8';

/** The error page of Werkzeug, the reference's server. */
const statusPage = (title: string, text: string): string =>
  `<!doctype html>\n<html lang=en>\n<title>${title}</title>\n<h1>${title.slice(4)}</h1>\n<p>${text}</p>\n`;

const STATUS_PAGES: Record<number, string> = {
  404: statusPage(
    '404 Not Found',
    'The requested URL was not found on the server. If you entered the URL manually please check your spelling ' +
      'and try again.',
  ),
  405: statusPage('405 Method Not Allowed', 'The method is not allowed for the requested URL.'),
  500: statusPage(
    '500 Internal Server Error',
    'The server encountered an internal error and was unable to complete your request. Either the server is ' +
      'overloaded or there is an error in the application.',
  ),
  503: statusPage(
    '503 Service Unavailable',
    'The server is temporarily unable to service your request due to maintenance downtime or capacity problems. ' +
      'Please try again later.',
  ),
};

/** Flask's `jsonify` in debug mode. */
const errorJson = (message: string): string => `{\n  "error": ${asciiJson(message)}\n}\n`;

const increment = (counts: Record<string, number>, key: string | number): void => {
  counts[key] = (counts[key] ?? 0) + 1;
};

const newStats = (open = 0): DemoStats => ({
  requests: 0,
  by_path: {},
  by_status: {},
  records: 0,
  connections: { opened: 0, open },
  faults: {},
  mutations: 0,
  urls: [],
});

/**
 * The demo API in this process. Tests and the command line use `startDemoApi`, which runs it in another process, so
 * that it does not share a thread with the code that they measure.
 */
export class DemoServer {
  readonly http: Server;
  readonly #initial: DemoSettings;
  #settings: DemoSettings;
  #records: Records;
  #bucket: TokenBucket;
  #faults: FaultScript;
  #stats = newStats();
  /** The last page served by each path. */
  #served = new Map<string, Page>();
  #sinceMutation = 0;
  #mutationsLeft = Infinity;

  /** @throws {SettingsError} */
  constructor(settings: unknown = {}) {
    this.#initial = changeSettings(DEFAULT_SETTINGS, settings);
    this.#settings = this.#initial;
    this.#records = new Records(this.#settings);
    this.#bucket = new TokenBucket(this.#settings.capacity, this.#settings.refill_rate);
    this.#faults = new FaultScript(this.#settings.fail);
    this.#restartMutations();
    this.http = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
      this.#handle(request, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else
          this.#send(
            response,
            error instanceof SettingsError ? 400 : 500,
            JSON_TYPE,
            errorJson(String(error)),
          );
      });
    });
    this.http.on('connection', (socket) => {
      this.#stats.connections.opened++;
      this.#stats.connections.open++;
      socket.on('close', () => this.#stats.connections.open--);
    });
  }

  /** Starts listening. @returns the port. */
  async listen(port = 0): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.http.once('error', reject);
      this.http.listen(port, '127.0.0.1', resolve);
    });
    const address = this.http.address();
    if (address === null || typeof address === 'string') throw new Error('not listening on a port');
    return address.port;
  }

  /** Closes all connections, including those that hang. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()));
    this.http.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = request.url ?? '/';
    const mark = url.indexOf('?');
    const path = mark < 0 ? url : url.slice(0, mark);
    const query = mark < 0 ? '' : url.slice(mark + 1);
    if (path.startsWith('/_demo/')) return this.#control(path, new URLSearchParams(query), request, response);

    this.#stats.requests++;
    increment(this.#stats.by_path, path);
    this.#stats.urls.push(url);
    if (this.#stats.urls.length > MAX_URLS) this.#stats.urls.shift();
    if (this.#settings.latency_ms > 0) {
      await new Promise((resolve) => setTimeout(resolve, this.#settings.latency_ms));
      if (response.destroyed) return;
    }
    this.#mutateBetween(url);
    const fired = this.#faults.take(url);
    if (fired) {
      increment(this.#stats.faults, fired.fault.kind);
      if (this.#refuse(fired, request, response)) return;
    }
    if (this.#settings.rate_limit && !this.#permit(response)) return;
    await this.#answer(path, query, request, response, fired);
  }

  /** Applies faults that need no page. */
  #refuse({ fault }: Fired, request: IncomingMessage, response: ServerResponse): boolean {
    switch (fault.kind) {
      case 'status': {
        const { status, retry_after: after, retry_after_date: date } = fault;
        if (after !== undefined) response.setHeader('Retry-After', String(after));
        if (date !== undefined)
          response.setHeader('Retry-After', new Date(Date.now() + date * 1000).toUTCString());
        const page = STATUS_PAGES[status];
        if (page !== undefined) this.#send(response, status, HTML_TYPE, page);
        else {
          const words = status === 429 ? 'Rate limit exceeded' : `Scripted status ${status}`;
          this.#send(response, status, JSON_TYPE, errorJson(words));
        }
        return true;
      }
      case 'html':
        this.#send(
          response,
          200,
          fault.content_type,
          '<!doctype html>\n<html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n',
        );
        return true;
      case 'wrong_shape':
        this.#send(response, 200, JSON_TYPE, JSON.stringify(fault.body));
        return true;
      case 'reset':
        request.socket.resetAndDestroy();
        return true;
      case 'hang':
        return true;
      default:
        return false;
    }
  }

  #permit(response: ServerResponse): boolean {
    const { allowed, remaining, secondsUntilFull, secondsUntilNextToken } = this.#bucket.consume();
    response.setHeader('X-RateLimit-Limit', String(this.#settings.capacity));
    response.setHeader('X-RateLimit-Remaining', String(remaining));
    response.setHeader('X-RateLimit-Reset', String(Math.ceil(secondsUntilFull)));
    if (allowed) return true;
    response.setHeader('Retry-After', String(Math.ceil(secondsUntilNextToken)));
    this.#send(response, 429, JSON_TYPE, errorJson('Rate limit exceeded'));
    return false;
  }

  async #answer(
    path: string,
    query: string,
    request: IncomingMessage,
    response: ServerResponse,
    fired: Fired | null,
  ): Promise<void> {
    const endpoint = ENDPOINTS.get(path);
    if (!endpoint) return this.#send(response, 404, HTML_TYPE, STATUS_PAGES[404] as string);
    if (request.method === 'OPTIONS' || (request.method !== 'GET' && request.method !== 'HEAD')) {
      response.setHeader('Allow', 'OPTIONS, GET, HEAD');
      const allowed = request.method === 'OPTIONS';
      return this.#send(
        response,
        allowed ? 200 : 405,
        HTML_TYPE,
        allowed ? '' : (STATUS_PAGES[405] as string),
      );
    }
    const { port } = request.socket.address() as { port?: number };
    const context: Context = {
      records: this.#records,
      settings: this.#settings,
      baseUrl: `http://${request.headers.host ?? `127.0.0.1:${port}`}${path}`,
    };
    let page: Page;
    try {
      page = endpoint(new URLSearchParams(query), context);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return this.#send(response, 400, JSON_TYPE, errorJson(error.message));
    }
    if (fired) page = fired.alter(page, this.#served.get(path));
    else this.#served.set(path, page);
    this.#stats.records += page.body.records;

    let fields = '';
    for (const [name, value] of page.fields) fields += `, "${name}": ${value}`;
    const parts = function* (): Iterable<Buffer> {
      yield Buffer.from('{"data": [');
      yield* page.body.chunks();
      yield Buffer.from(`]${fields}}`);
    };
    const bytes = '{"data": ['.length + page.body.bytes + fields.length + 2;
    if (fired && (await this.#damage(fired, parts(), bytes, response))) return;
    response.writeHead(200, { 'Content-Type': JSON_TYPE, 'Content-Length': bytes });
    increment(this.#stats.by_status, 200);
    if (request.method === 'HEAD') response.end();
    else await writeParts(response, parts());
  }

  /** Applies faults in the transmission of a page. */
  async #damage(
    { fault }: Fired,
    parts: Iterable<Buffer>,
    bytes: number,
    response: ServerResponse,
  ): Promise<boolean> {
    const half = Math.floor(bytes / 2);
    switch (fault.kind) {
      case 'missing_pk': {
        const json = Buffer.concat([...parts]).toString();
        this.#send(response, 200, JSON_TYPE, withoutId(json, fault.index, fault.id));
        return true;
      }
      case 'bad_json':
        this.#send(response, 200, JSON_TYPE, Buffer.concat([...firstBytes(parts, half)]));
        return true;
      case 'truncated_gzip': {
        const packed = gzipSync(Buffer.concat([...parts]));
        response.setHeader('Content-Encoding', 'gzip');
        this.#send(response, 200, JSON_TYPE, packed.subarray(0, Math.ceil(packed.length / 2)));
        return true;
      }
      case 'truncate':
      case 'stall':
        response.writeHead(200, { 'Content-Type': JSON_TYPE, 'Content-Length': bytes });
        increment(this.#stats.by_status, 200);
        await writeParts(response, firstBytes(parts, half), false);
        if (fault.kind === 'truncate') response.write('', () => response.socket?.destroy());
        return true;
      default:
        return false;
    }
  }

  #send(response: ServerResponse, status: number, type: string, content: string | Buffer): void {
    increment(this.#stats.by_status, status);
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(content) });
    response.end(content);
  }

  #restartMutations(): void {
    this.#sinceMutation = 0;
    this.#mutationsLeft = this.#settings.mutate_every?.times ?? Infinity;
  }

  #mutateBetween(url: string): void {
    const every = this.#settings.mutate_every;
    if (every === null || this.#mutationsLeft <= 0) return;
    if (every.path !== undefined && !url.startsWith(every.path)) return;
    if (this.#sinceMutation++ < every.requests) return;
    this.#sinceMutation = 1;
    this.#mutationsLeft--;
    const { total } = this.#records;
    const drop = Math.min(every.delete, total);
    this.#records.mutate({
      ...every,
      delete: drop,
      update: Math.min(every.update, total - drop),
      seed: every.seed === undefined ? undefined : every.seed + this.#stats.mutations,
    });
    this.#stats.mutations++;
  }

  async #control(
    path: string,
    query: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const reply = (value: unknown, status = 200): void => {
      const content = JSON.stringify(value);
      response.writeHead(status, { 'Content-Type': JSON_TYPE, 'Content-Length': Buffer.byteLength(content) });
      response.end(content);
    };
    try {
      switch (`${request.method} ${path}`) {
        case 'GET /_demo/settings':
          return reply(this.#shown());
        case 'POST /_demo/settings':
          this.#change(await readJson(request));
          return reply(this.#shown());
        case 'POST /_demo/mutate':
          return reply(this.#records.mutate(parseMutation(await readJson(request))));
        case 'POST /_demo/reset': {
          const next = changeSettings(this.#initial, await readJson(request));
          this.#settings = next;
          this.#begin();
          this.#stats = newStats(this.#stats.connections.open);
          return reply(this.#shown());
        }
        case 'GET /_demo/stats':
          return reply(this.#stats);
        case 'GET /_demo/records': {
          const view = query.get('view') ?? 'list';
          if (view !== 'list' && view !== 'step') throw new SettingsError("view is 'list' or 'step'");
          response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
          const context = { records: this.#records, settings: this.#settings, baseUrl: '' };
          return await writeParts(response, allRecords(context, view).lines());
        }
        default:
          return reply({ error: `no such control: ${request.method} ${path}` }, 404);
      }
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      reply({ error: error.message }, 400);
    }
  }

  #shown(): DemoSettings {
    return { ...this.#settings, fail: this.#faults.left };
  }

  #change(change: unknown): void {
    const before = this.#settings;
    this.#settings = changeSettings(before, change);
    const differs = (name: keyof DemoSettings): boolean =>
      JSON.stringify(before[name]) !== JSON.stringify(this.#settings[name]);
    if (DATA_SETTINGS.some(differs)) {
      this.#records = new Records(this.#settings);
      this.#served.clear();
    }
    const given = change as Partial<DemoSettings>;
    if (given.fail) this.#faults = new FaultScript(this.#settings.fail);
    if (given.mutate_every !== undefined) this.#restartMutations();
    if (['rate_limit', 'capacity', 'refill_rate'].some((name) => name in given)) this.#refill();
  }

  #begin(): void {
    this.#records = new Records(this.#settings);
    this.#served.clear();
    this.#faults = new FaultScript(this.#settings.fail);
    this.#restartMutations();
    this.#refill();
  }

  #refill(): void {
    this.#bucket = new TokenBucket(this.#settings.capacity, this.#settings.refill_rate);
  }
}

function* firstBytes(parts: Iterable<Buffer>, bytes: number): Iterable<Buffer> {
  let left = bytes;
  for (const part of parts) {
    if (left <= 0) return;
    yield part.subarray(0, left);
    left -= part.length;
  }
}

/** Writes the parts, and waits for the client whenever its buffer is full. */
async function writeParts(response: ServerResponse, parts: Iterable<Buffer>, end = true): Promise<void> {
  for (const part of parts) {
    if (response.write(part) || response.writableLength < MAX_UNSENT) continue;
    await drained(response);
    if (response.destroyed) return;
  }
  if (end) response.end();
}

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    parts.push(part);
    if ((bytes += part.length) > MAX_INPUT) throw new SettingsError('the input is too long');
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString() || '{}') as unknown;
  } catch {
    throw new SettingsError('the input is not JSON');
  }
}
