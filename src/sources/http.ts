import { Agent as HttpAgent, type Agent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import fetch, { AbortError, type Headers, type Response } from 'node-fetch';
import { getProxyForUrl } from 'proxy-from-env';
import { REFERENCE_REQUEST } from '../config/flat.js';
import {
  HighwaterError,
  MalformedAnswerError,
  messageOf,
  RecordError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../errors.js';
import type { PageRequest, Remembered, RequestSpec } from '../protocol.js';
import { RecordScanner, ScanError, valueAt, type ExactColumns } from './record-scanner.js';
import type { ResolvedRequest } from './references.js';
import { RateLimitedError, type PageAnswer, type RecordSink, type Source } from './source.js';

export interface HttpSourceOptions {
  resolved: ResolvedRequest;
  /** How the API names things; the reference API's names unless told. */
  spec?: Pick<RequestSpec, 'names' | 'records' | 'next' | 'total' | 'more'>;
  primaryKey: readonly string[];
  cursorField: string;
  columns: readonly string[];
  /** Columns whose numbers need care; see the scanner. */
  exact?: ExactColumns;
  /** What is wanted of each record's key and cursor value; everything unless told. */
  remembers?: Remembered;
  /** How long an answer may take to begin, and a pause inside it may last. */
  timeoutSeconds: number;
}

/** The destination's JSON reader takes eight times as much, of the 192 MiB that it has. */
const RECORD_LIMIT = 20 * 1024 * 1024;
/** Bytes handed to the scanner at once: whole for an ordinary page, bounded for a body of any size. */
const CHUNK = 4 * 1024 * 1024;
const ERROR_BODY_LIMIT = 64 * 1024;
/** A continuation token goes into an address and into history. */
const TOKEN_LIMIT = 16 * 1024;
const REDIRECT_LIMIT = 5;
const REDIRECTS = [301, 302, 303, 307, 308];
/** A wait longer than this is a mistake of the source. */
const WAIT_LIMIT_SECONDS = 24 * 3600;
/** Connections are kept and shared by all streams of a worker. */
const KEEP_ALIVE = { keepAlive: true, keepAliveMsecs: 10_000, maxSockets: 64 } as const;
const agents = new Map<string, Agent>();

/** Records from a JSON API over HTTP. Retries are left to Temporal. */
export class HttpSource implements Source {
  private readonly spec: NonNullable<HttpSourceOptions['spec']>;

  constructor(private readonly options: HttpSourceOptions) {
    this.spec = options.spec ?? REFERENCE_REQUEST;
  }

  async read(request: PageRequest, sink: RecordSink, signal: AbortSignal): Promise<PageAnswer> {
    const url = this.address(request);
    const shown = this.show(url);
    const watch = new Watch(signal, this.options.timeoutSeconds * 1000);
    try {
      const response = await this.get(url, shown, watch);
      watch.touch();
      if (!response.ok) throw await this.refusal(response, shown);
      return await this.page(response, sink, watch);
    } catch (thrown) {
      throw this.explain(thrown, shown, watch, signal);
    } finally {
      watch.end();
    }
  }

  /** The address of a page as people may see it. */
  shownAddress(request: PageRequest): string {
    return this.show(this.address(request));
  }

  /** The address of a page; what the last answer said is next may be one by itself. */
  private address({ params }: PageRequest): URL {
    const { url: base, params: fixed } = this.options.resolved;
    const { names, next } = this.spec;
    const token = params['scroll_param'];
    const own = token !== undefined && next.isAddress;
    const url = own ? new URL(token, base) : new URL(base);
    if (own && url.origin !== base.origin) {
      throw new SourceRefusedError(
        this.show(base),
        `the source says that its next page is on another host, ${url.origin}: credentials are not sent there`,
      );
    }
    if (own) [url.username, url.password] = [base.username, base.password];
    for (const [name, value] of Object.entries(fixed)) {
      if (!own || this.options.resolved.secretParams.includes(name)) url.searchParams.set(name, value);
    }
    // An address holds everything that the first request asked.
    for (const [name, value] of Object.entries(own ? {} : params))
      url.searchParams.set(names[name] ?? name, value);
    return url;
  }

  /** What is kept of an address: without credentials, and short where it is on the same host. */
  private kept(text: string): string {
    const base = this.options.resolved.url;
    if (!URL.canParse(text, base.href)) return text;
    const url = new URL(text, base);
    url.username = '';
    url.password = '';
    for (const name of this.options.resolved.secretParams) url.searchParams.delete(name);
    return this.options.resolved.mask(url.origin === base.origin ? url.pathname + url.search : url.href);
  }

  /** What the answer says is next: a token, or an address as it is kept. */
  private nextToken(envelope: unknown, headers: Headers): string | null {
    const { next } = this.spec;
    if (next.in === 'link') {
      const address = linkNext(headers.get('link'));
      return address === null ? null : this.kept(address);
    }
    const token = textOrNull(next.in === 'header' ? headers.get(next.name) : valueAt(envelope, next.path));
    return token !== null && next.isAddress ? this.kept(token) : token;
  }

  /** The URL for people: credentials out, secrets masked. */
  private show(url: URL): string {
    const shown = new URL(url);
    shown.username = '';
    shown.password = '';
    return this.options.resolved.mask(decodeSafely(shown.href));
  }

  private async get(url: URL, shown: string, watch: Watch): Promise<Response> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      'user-agent': 'highwater',
      ...lowerCase(this.options.resolved.headers),
    };
    if (url.username !== '' || url.password !== '') {
      const credentials = `${decodeSafely(url.username)}:${decodeSafely(url.password)}`;
      headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
    }
    let at = url;
    for (let redirects = 0; ; redirects++) {
      const bare = new URL(at);
      bare.username = '';
      bare.password = '';
      const response = await fetch(bare, {
        headers,
        agent: agentFor,
        redirect: 'manual',
        signal: watch.signal,
      });
      const location = response.headers.get('location');
      if (location === null || !REDIRECTS.includes(response.status)) return response;
      watch.touch();
      await readSome(response);
      const to = URL.canParse(location, bare.href) ? new URL(location, bare.href) : null;
      if (to === null || !/^https?:$/.test(to.protocol)) {
        throw new SourceRefusedError(shown, 'the source redirects to what is no HTTP address');
      }
      if (redirects === REDIRECT_LIMIT) {
        throw new SourceRefusedError(shown, `the source redirects more than ${REDIRECT_LIMIT} times`);
      }
      // node-fetch would keep it for another port or a subdomain.
      if (to.origin !== at.origin) {
        for (const name of Object.keys(headers)) if (!HARMLESS.includes(name)) delete headers[name];
      }
      at = to;
    }
  }

  private async page(response: Response, sink: RecordSink, watch: Watch): Promise<PageAnswer> {
    let pendingSinks: Promise<void>[] = [];
    const scanner = new RecordScanner({
      records: this.spec.records,
      primaryKey: this.options.primaryKey,
      cursorField: this.options.cursorField,
      columns: this.options.columns,
      ...(this.options.exact !== undefined && { exact: this.options.exact }),
      ...(this.options.remembers !== undefined && { remembers: this.options.remembers }),
      recordLimit: RECORD_LIMIT,
      mask: this.options.resolved.mask,
      sink: (lines, records) => void pendingSinks.push(sink(lines, records, scanner.longest)),
    });
    /** Lets the scanner work, and waits until the sink has taken what came out of it, whatever else happens. */
    const sunk = async <T>(work: () => T): Promise<T> => {
      try {
        return work();
      } finally {
        const sinking = pendingSinks;
        pendingSinks = [];
        // A slow sink holds the socket back: nothing is read meanwhile.
        watch.pause();
        await Promise.all(sinking);
        watch.touch();
      }
    };
    const hand = (chunks: Buffer[]) =>
      sunk(() => {
        scanner.push(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
      });
    let chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response.body ?? []) {
      watch.touch();
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size >= CHUNK) {
        await hand(chunks);
        chunks = [];
        size = 0;
      }
    }
    await hand(chunks);
    const envelope = await sunk(() => scanner.end());
    const nextToken = this.nextToken(envelope, response.headers);
    if (nextToken !== null && nextToken.length > TOKEN_LIMIT) {
      throw new ScanError(
        `the continuation token is ${nextToken.length} characters long; at most ${TOKEN_LIMIT} can be kept`,
        'shape',
      );
    }
    const total = this.spec.total === null ? null : valueAt(envelope, this.spec.total);
    const more = this.spec.more === null ? null : valueAt(envelope, this.spec.more);
    return {
      nextToken,
      total: typeof total === 'number' ? total : null,
      more: typeof more === 'boolean' ? more : null,
      undeclared: [...scanner.undeclared].map(this.options.resolved.mask),
    };
  }

  private async refusal(response: Response, shown: string): Promise<Error> {
    const { mask } = this.options.resolved;
    // Before it is cut short, lest half a secret stay, and again once it is unescaped.
    const words = mask(theirWords(mask(await readSome(response))));
    // The words of the status line are the source's own too.
    const status = `${response.status} ${mask(response.statusText).slice(0, 100)}`;
    const said = `the source answered ${status}${words === '' ? '' : `: ${words}`}`;
    const until = retryAfter(response.headers.get('retry-after'), Date.now());
    if (response.status === 429 || (response.status === 503 && until !== null)) {
      return new RateLimitedError(until ?? new Date(Date.now() + 1000).toISOString(), status);
    }
    if (response.status >= 500 || response.status === 408) return new SourceUnavailableError(shown, said);
    return new SourceRefusedError(shown, said, response.status, words);
  }

  private explain(thrown: unknown, shown: string, watch: Watch, outer: AbortSignal): unknown {
    if (thrown instanceof ScanError) {
      return thrown.kind === 'record'
        ? new RecordError(`${thrown.message}\n  request: GET ${shown}`)
        : new MalformedAnswerError(shown, thrown.message);
    }
    if (outer.aborted) return outer.reason;
    if (thrown instanceof HighwaterError || thrown instanceof RateLimitedError) return thrown;
    if (watch.timedOut) {
      return new SourceUnavailableError(
        shown,
        `the source sent nothing for ${this.options.timeoutSeconds} s`,
      );
    }
    if (
      thrown instanceof Error &&
      (thrown.name === 'FetchError' || thrown instanceof AbortError || 'code' in thrown)
    ) {
      const text = this.options.resolved.mask(
        messageOf(thrown)
          .replace(/^request to \S+ failed, reason: ?/, '')
          .replace(/^(aborted|Premature close)$/, 'the connection ended in the middle of the answer'),
      );
      const code = (thrown as NodeJS.ErrnoException).code;
      return new SourceUnavailableError(
        shown,
        `the source cannot be read: ${text === '' ? String(code) : text}`,
      );
    }
    return thrown;
  }
}

/** Headers that another host may see. */
const HARMLESS = ['accept', 'user-agent'];

const lowerCase = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

/** The address of `rel="next"` in a Link header (RFC 8288), or null. */
export function linkNext(header: string | null): string | null {
  for (const [, address = '', parameters = ''] of (header ?? '').matchAll(/<([^>]*)>([^<]*)/g)) {
    if (/;\s*rel\s*=\s*("(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;,]|$))/i.test(parameters)) return address;
  }
  return null;
}

/** Aborts when the caller does, or when nothing has come for too long. */
class Watch {
  timedOut = false;
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

  touch(): void {
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

/** HTTPS_PROXY, HTTP_PROXY and NO_PROXY are obeyed; a private CA comes through NODE_EXTRA_CA_CERTS. */
function agentFor(url: URL): Agent {
  const proxy = getProxyForUrl(url.href);
  const name = `${url.protocol} ${proxy}`;
  let agent = agents.get(name);
  if (agent === undefined) {
    if (url.protocol === 'https:')
      agent = proxy === '' ? new HttpsAgent(KEEP_ALIVE) : new HttpsProxyAgent(proxy, KEEP_ALIVE);
    else agent = proxy === '' ? new HttpAgent(KEEP_ALIVE) : new HttpProxyAgent(proxy, KEEP_ALIVE);
    agents.set(name, agent);
  }
  return agent;
}

/** Retry-After in seconds or as a date → ISO instant; null where it says nothing usable. */
export function retryAfter(header: string | null, now: number): string | null {
  if (header === null) return null;
  const seconds = /^\s*\d+(\.\d+)?\s*$/.test(header) ? Number(header) : (Date.parse(header) - now) / 1000;
  if (!Number.isFinite(seconds)) return null;
  return new Date(now + Math.min(Math.max(seconds, 0), WAIT_LIMIT_SECONDS) * 1000).toISOString();
}

/** The largest page size that the words of a 400 name, or null. */
export function namedMaximum(words: string): number | null {
  if (!/limit|page|size|count/i.test(words)) return null;
  const plain = words.replace(/(?<=\d),(?=\d{3}\b)/g, '');
  // "must be greater than" names a minimum, "is greater than" and "must not be greater than" a maximum.
  const named =
    /between\s+\d+\s+and\s+(\d+)/i.exec(plain) ??
    /(?:max(?:imum)?|at most|exceed|(?<!(?:must|should|to) be )(?:more|greater) than(?! or equal)|less than or equal to|<=|up to)\D{0,40}?(\d+)/i.exec(
      plain,
    );
  const maximum = named === null ? NaN : Number(named[1]);
  return Number.isSafeInteger(maximum) && maximum >= 1 ? maximum : null;
}

async function readSome(response: Response): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body ?? []) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > ERROR_BODY_LIMIT) break;
    }
  } catch {
    // What has come so far is enough for a message.
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What an error's body says, on one line. */
function theirWords(body: string): string {
  let words: string;
  try {
    const value = JSON.parse(body) as { error?: unknown; message?: unknown; detail?: unknown } | null;
    const said = value?.error ?? value?.message ?? value?.detail ?? value;
    words = typeof said === 'string' ? said : JSON.stringify(said);
  } catch {
    words = body.replace(/<(style|script|title)[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ');
  }
  return words.replace(/\s+/g, ' ').trim().slice(0, 300);
}

function decodeSafely(href: string): string {
  try {
    return decodeURIComponent(href);
  } catch {
    return href;
  }
}

const textOrNull = (value: unknown) =>
  typeof value === 'number' ? String(value) : typeof value === 'string' && value !== '' ? value : null;

/** The largest page size that a 400 names, where that is what it is about. */
export function refusedPageSize(thrown: unknown): number | null {
  return thrown instanceof SourceRefusedError && thrown.status === 400 ? namedMaximum(thrown.body) : null;
}
