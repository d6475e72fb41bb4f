import { AbortError, type Headers, type Response } from 'node-fetch';
import { REFERENCE_REQUEST } from '../config/flat.js';
import {
  HighwaterError,
  MalformedAnswerError,
  messageOf,
  RecordError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../errors.js';
import type {
  AnswerPath,
  ErrorAction,
  ErrorRule,
  Json,
  PageRequest,
  Reject,
  Remembered,
  RequestSpec,
} from '../protocol.js';
import { authenticatorOf, type Authenticator } from './auth.js';
import { readableBody } from './body.js';
import { Budget } from './budget.js';
import { PageBuffer } from './page-buffer.js';
import { valueAtPath } from './paths.js';
import { RecordScanner, ScanError, type ExactColumns } from './record-scanner.js';
import { refuseHeader, SECRET_NAME, unescaped, type ResolvedRequest } from './references.js';
import { fittingRule, GRAPHQL_ERRORS } from './rules.js';
import {
  ABORTED,
  RateLimitedError,
  type PageAnswer,
  type RecordSink,
  type RequestInHand,
  type RequestStarted,
  type Source,
} from './source.js';
import { bodyOf, encodeBody, readSome, send, theirWords, Watch, type HttpRequest } from './transport.js';
import { allowance, retryAfter } from './waits.js';

export interface HttpSourceOptions {
  resolved: ResolvedRequest;
  /** How the API is asked and answers; as the reference API does unless told. */
  spec?: RequestSpec;
  primaryKey: readonly string[];
  cursorField: string;
  columns: readonly string[];
  /** Columns whose numbers need care; see the scanner. */
  exact?: ExactColumns;
  /** Columns of text, where an empty field of CSV is an empty text. */
  texts?: readonly string[];
  /** What is wanted of each record's key and cursor value; everything unless told. */
  remembers?: Remembered;
  /** How long an answer may take to begin, and a pause inside it may last. */
  timeoutSeconds: number;
  /** Records that cannot be stored are handed over as such, and are no error. */
  quarantine?: boolean;
  /**
   * Which records are meant, of those whose key and cursor value are remembered; absent: all. `place`: after the offset
   * that was asked for.
   */
  within?: (record: { key: string; value: string | null; place: number }) => boolean;
  /** What refresh tokens are kept beside; null or absent keeps none. */
  destination?: string | null;
  /** The folder of the hooks that sign requests. */
  hooks?: string;
  /** Is told of each request for a page. */
  observe?: (request: RequestStarted) => RequestInHand;
}

/** The destination's JSON reader takes eight times as much, of the 192 MiB that it has. */
const RECORD_LIMIT = 20 * 1024 * 1024;
/** Bytes handed to the scanner at once: whole for an ordinary page, bounded for a body of any size. */
const CHUNK = 4 * 1024 * 1024;
/** A continuation token goes into an address and into history. */
const TOKEN_LIMIT = 16 * 1024;
const ACCEPT = {
  json: 'application/json',
  ndjson: 'application/x-ndjson, application/json',
  csv: 'text/csv',
};
/** An answer that a rule says to take for an empty page. */
const EMPTY: PageAnswer = { nextToken: null, total: null, more: null, undeclared: [] };

/** What a rule says of an answer. */
interface Verdict {
  action: ErrorAction | 'default';
  rule: ErrorRule | undefined;
}

/** An answer of status 2xx that a rule fits. */
class RuledError extends Error {
  constructor(
    readonly rule: ErrorRule,
    readonly words: string,
    readonly isBlank: boolean,
  ) {
    super(words);
  }
}

/** Records from an API over HTTP. Retries are left to Temporal. */
export class HttpSource implements Source {
  private readonly spec: RequestSpec;
  private readonly auth: Authenticator | null;
  private readonly budget: Budget;
  private readonly rules: readonly ErrorRule[];

  constructor(private readonly options: HttpSourceOptions) {
    const { resolved, destination = null, hooks = 'hooks', timeoutSeconds } = options;
    this.spec = options.spec ?? REFERENCE_REQUEST;
    this.auth = authenticatorOf(resolved, { timeoutSeconds, destination, hooks });
    this.budget = Budget.of([resolved.url.origin, this.spec.auth], this.spec.rateLimit ?? null);
    const isGraphQl = typeof (this.spec.body as { query?: Json } | undefined)?.query === 'string';
    this.rules = [...(this.spec.errors ?? []), ...(isGraphQl ? [GRAPHQL_ERRORS] : [])];
  }

  get concurrency(): number | null {
    return this.spec.rateLimit?.concurrency ?? null;
  }

  async read(request: PageRequest, sink: RecordSink, signal: AbortSignal): Promise<PageAnswer> {
    const end = await this.budget.turn(signal);
    try {
      for (let renewed = false; ; renewed = true) {
        const call = this.call(request);
        await this.auth?.authorize(call);
        const answer = await this.ask(call, request, sink, signal);
        if (!('action' in answer)) {
          this.auth?.accepted(call);
          return answer;
        }
        const { action, refusal } = answer;
        if (action === 'renew_credentials' && !renewed && this.auth?.renew(call) === true) continue;
        throw refusal;
      }
    } finally {
      end();
    }
  }

  /** Lets the next request go at once, whatever earlier answers said: an operator has ended the wait. */
  endWait(): void {
    this.budget.endWait();
    this.auth?.endWait();
  }

  /** Method, address and body of a page as people may see them. */
  shownRequest(request: PageRequest): string {
    const { method, shown, body } = this.call(request);
    return `${method} ${shown}${body === null ? '' : ` ${this.options.resolved.mask(body)}`}`;
  }

  /** One answer: a page, or why there is none. */
  private async ask(
    call: HttpRequest,
    request: PageRequest,
    sink: RecordSink,
    signal: AbortSignal,
  ): Promise<PageAnswer | { action: ErrorAction | 'default'; refusal: Error }> {
    const watch = new Watch(signal, this.options.timeoutSeconds * 1000);
    const { method, shown } = call;
    const told = this.options.observe?.({ method, address: shown.replace(/[?#].*$/s, '') });
    let error: string | undefined;
    try {
      const response = await send(call, watch);
      watch.touch();
      told?.answered(response.status);
      this.budget.learn(response.headers);
      if (response.ok) {
        return await this.page(response, request, sink, watch).catch((thrown: unknown) => {
          if (!(thrown instanceof RuledError)) throw thrown;
          return this.ruled(response, call, thrown);
        });
      }
      error = String(response.status);
      return this.refused(response, call, await readSome(response));
    } catch (thrown) {
      const explained = this.explain(thrown, call, watch, signal);
      error = signal.aborted ? ABORTED : explained instanceof Error ? explained.name : 'Error';
      throw explained;
    } finally {
      watch.end();
      told?.ended(watch.bytes, error);
    }
  }

  /** What is to be sent for a page, but for credentials that are made for it. */
  private call(request: PageRequest): HttpRequest {
    const { resolved } = this.options;
    const values = { cursor: request.params, parent: request.parent ?? {} };
    const url = this.address(request, values);
    const headers: Record<string, string> = {
      accept: ACCEPT[this.spec.format ?? 'json'],
      'user-agent': 'highwater',
    };
    for (const [name, header] of Object.entries(resolved.headers)) {
      const value = header(values);
      if (value === null) continue;
      refuseHeader(name, value);
      headers[name.toLowerCase()] = value;
    }
    if (url.username !== '' || url.password !== '') {
      const credentials = `${unescaped(url.username)}:${unescaped(url.password)}`;
      headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
    }
    const { method = 'GET', bodyAs = 'json' } = this.spec;
    let body: string | null = null;
    if (resolved.body !== null) {
      const encoded = encodeBody(resolved.body(values), bodyAs);
      body = encoded.body;
      headers['content-type'] ??= encoded.type;
    }
    return { method, url, headers, body, shown: this.show(url) };
  }

  /** The address of a page; what the last answer said is next may be one by itself. */
  private address({ params }: PageRequest, values: Parameters<ResolvedRequest['at']>[0]): URL {
    const { resolved } = this.options;
    const base = resolved.at(values);
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
    for (const [name, fixed] of Object.entries(resolved.params)) {
      const value = own && !resolved.secretParams.includes(name) ? null : fixed(values);
      if (value !== null) url.searchParams.set(name, value);
    }
    // An address holds everything that the first request asked.
    for (const [name, value] of Object.entries(own ? {} : params)) {
      if (!resolved.placed.has(name)) url.searchParams.set(names[name] ?? name, value);
    }
    return url;
  }

  /** What is kept of an address: without credentials, and short where it is on the same host. */
  private kept(text: string, { params, parent = {} }: PageRequest): string {
    const { at, secretParams, mask } = this.options.resolved;
    const base = at({ cursor: params, parent });
    if (!URL.canParse(text, base.href)) return text;
    const url = new URL(text, base);
    url.username = '';
    url.password = '';
    for (const [name, value] of [...url.searchParams]) {
      // Some sources say back in it what they were sent in a header.
      const isCredential = SECRET_NAME.test(name) && mask(value) === '***';
      if (isCredential || secretParams.includes(name)) url.searchParams.delete(name);
    }
    if (url.origin !== base.origin) return mask(url.href);
    // The path is known where it is used again, and may hold what a reference gave.
    const kept = url.pathname === base.pathname && url.search !== '' ? url.search : url.pathname + url.search;
    if (mask(kept) === kept) return kept;
    throw new ScanError(
      `the next page's address holds what a reference gave, which cannot be kept: ${mask(kept)}`,
      'shape',
    );
  }

  /** What the answer says is next: a token, or an address as it is kept. */
  private nextToken(envelope: unknown, headers: Headers, request: PageRequest): string | null {
    const { next } = this.spec;
    if (next.in === 'link') {
      const address = linkNext(headers.get('link'));
      return address === null ? null : this.kept(address, request);
    }
    const token = textOrNull(
      next.in === 'header' ? headers.get(next.name) : valueAtPath(envelope, next.path),
    );
    return token !== null && next.isAddress ? this.kept(token, request) : token;
  }

  /** The URL for people: credentials out, secrets masked. */
  private show(url: URL): string {
    const shown = new URL(url);
    shown.username = '';
    shown.password = '';
    return this.options.resolved.mask(unescaped(shown.href));
  }

  private async page(
    response: Response,
    request: PageRequest,
    sink: RecordSink,
    watch: Watch,
  ): Promise<PageAnswer> {
    let pendingSinks: Promise<void>[] = [];
    const { options, spec } = this;
    const answered = bodyOf(response);
    const raw = (async function* () {
      try {
        for await (const chunk of answered) {
          watch.touch((chunk as Buffer).length);
          yield chunk as Buffer;
        }
      } catch (thrown) {
        // Of zlib, and of Brotli.
        if (!/^(Z_|ERR__)/.test(String((thrown as NodeJS.ErrnoException).code))) throw thrown;
        throw new ScanError('the compressed body is damaged or cut short', 'shape');
      }
    })();
    const { texts = [], resolved } = options;
    const body = readableBody(raw, spec, options.columns, texts, request.parent ?? {}, resolved.mask);
    let judged = 0;
    let place = Number(request.params['offset'] ?? 0);
    let aside: Reject[] = [];
    const scanner = new RecordScanner({
      records: body.records,
      primaryKey: options.primaryKey,
      cursorField: options.cursorField,
      columns: options.columns,
      ...(options.exact !== undefined && { exact: options.exact }),
      ...(options.remembers !== undefined && { remembers: options.remembers }),
      recordLimit: RECORD_LIMIT,
      mask: options.resolved.mask,
      ...(options.quarantine === true && { reject: (reject: Reject) => void aside.push(reject) }),
      sink: (lines, part, rejected) => {
        const wanted = body.kept?.slice(judged, (judged += part.records)) ?? null;
        // What was left out by the filter need not fit.
        const rejects = aside.filter((_, i) => wanted?.[rejected[i] ?? 0] !== false);
        aside = [];
        const kept = wanted?.filter((_, i) => !rejected.includes(i)) ?? null;
        const { within } = options;
        const first = place;
        place += part.records;
        if (within === undefined) {
          const rest = kept === null || !kept.includes(false) ? lines : keptLines(lines, kept);
          const count = kept === null ? part.records - rejected.length : kept.filter(Boolean).length;
          pendingSinks.push(sink(rest, part, scanner.longest, count, rejects));
          return;
        }
        const meant = part.keys
          .map((key, i) => within({ key, value: part.values[i] ?? null, place: first + i }))
          .filter((_, i) => !rejected.includes(i));
        const inside = meant.map((is, i) => is && kept?.[i] !== false);
        const beyond = meant.map((is, i) => !is && kept?.[i] !== false);
        const outside = { lines: keptLines(lines, beyond), records: beyond.filter(Boolean).length };
        const count = inside.filter(Boolean).length;
        pendingSinks.push(sink(keptLines(lines, inside), part, scanner.longest, count, rejects, outside));
      },
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
    const gathered = new PageBuffer();
    const hand = () => sunk(() => scanner.push(gathered.take()));
    let envelope: unknown;
    try {
      for await (const chunk of body.bytes) {
        gathered.add(chunk);
        if (gathered.length >= CHUNK) await hand();
      }
      await hand();
      envelope = await sunk(() => scanner.end());
      if (body.isOwnEnvelope) envelope = body.envelope();
    } catch (thrown) {
      if (thrown instanceof ScanError && thrown.body !== undefined) this.judge(response, thrown.body, true);
      throw thrown;
    } finally {
      gathered.release();
      // What is not read to its end would keep its connection.
      answered.destroy();
    }
    this.judge(response, envelope, scanner.count === 0);
    const nextToken = this.nextToken(envelope, response.headers, request);
    if (nextToken !== null && nextToken.length > TOKEN_LIMIT) {
      throw new ScanError(
        `the continuation token is ${nextToken.length} characters long; at most ${TOKEN_LIMIT} can be kept`,
        'shape',
      );
    }
    const { ends } = spec;
    const at = (path: AnswerPath | null | undefined) => (path == null ? null : valueAtPath(envelope, path));
    const count = (value: unknown) => (typeof value === 'number' ? value : null);
    const more = at(spec.more);
    const isEnd = ends != null && at(ends.path) === ends.is;
    return {
      nextToken,
      total: count(at(spec.total)),
      ...(spec.totalPages != null && { totalPages: count(at(spec.totalPages)) }),
      more: isEnd ? false : typeof more === 'boolean' ? more : null,
      undeclared: [...scanner.undeclared].map(options.resolved.mask),
    };
  }

  /** Looks for a rule that fits an answer of status 2xx. @throws {RuledError} */
  private judge(response: Response, envelope: unknown, isBlank: boolean): void {
    const rule = fittingRule(
      this.rules.filter(({ path }) => path !== null),
      response.status,
      { value: envelope },
    );
    // What is to be ignored of an answer that has records is its error, not the records.
    if (rule === undefined || (rule.action === 'ignore' && !isBlank)) return;
    const { mask } = this.options.resolved;
    const said = rule.path === null ? envelope : valueAtPath(envelope, rule.path);
    throw new RuledError(rule, theirWords(mask(JSON.stringify(said))), isBlank);
  }

  private ruled(response: Response, call: HttpRequest, { rule, words, isBlank }: RuledError) {
    // Records of this answer have been taken: it cannot simply be asked for again.
    const action = rule.action === 'renew_credentials' && !isBlank ? 'retry' : rule.action;
    return this.outcome({ action, rule }, response, call, words);
  }

  private refused(response: Response, call: HttpRequest, body: string) {
    const { mask } = this.options.resolved;
    // Before it is cut short, lest half a secret stay, and again once it is unescaped.
    const words = mask(theirWords(mask(body)));
    const rule = fittingRule(this.rules, response.status, { text: body });
    const action =
      rule?.action ?? (response.status === 401 && this.auth !== null ? 'renew_credentials' : 'default');
    return this.outcome({ action, rule }, response, call, words);
  }

  private outcome(
    { action, rule }: Verdict,
    response: Response,
    call: HttpRequest,
    words: string,
  ): PageAnswer | { action: ErrorAction | 'default'; refusal: Error } {
    const { shown, method } = call;
    if (action === 'ignore') return { ...EMPTY, ignored: true };
    if (action === 'skip_parent') return { ...EMPTY, skipped: true };
    // The words of the status line are the source's own too.
    const status = `${response.status} ${this.options.resolved.mask(response.statusText).slice(0, 100)}`;
    const hint = action === 'default' && response.status === 403 ? (this.auth?.hint(call) ?? null) : null;
    const said = `the source answered ${status}${words === '' ? '' : `: ${words}`}${hint === null ? '' : `\n${hint}`}`;
    const limit = this.spec.rateLimit ?? null;
    const { isUsedUp, namesReset } = allowance(response.headers, limit);
    const seconds = retryAfter(response.headers, limit);
    const waits =
      response.status === 429 ||
      (response.status === 503 && seconds !== null) ||
      (response.status === 403 && isUsedUp && namesReset);
    const refusal =
      action === 'wait'
        ? new RateLimitedError(seconds ?? rule?.waitSeconds ?? 60, said)
        : action === 'retry'
          ? new SourceUnavailableError(shown, said, method)
          : action === 'default' && waits
            ? new RateLimitedError(seconds, status)
            : action === 'default' && (response.status >= 500 || response.status === 408)
              ? new SourceUnavailableError(shown, said, method)
              : new SourceRefusedError(shown, said, response.status, words, method);
    return { action, refusal };
  }

  private explain(
    thrown: unknown,
    { shown, method }: HttpRequest,
    watch: Watch,
    outer: AbortSignal,
  ): unknown {
    if (thrown instanceof ScanError) {
      return thrown.kind === 'record'
        ? new RecordError(`${thrown.message}\n  request: ${method} ${shown}`)
        : new MalformedAnswerError(shown, thrown.message, method);
    }
    if (outer.aborted) return outer.reason;
    if (thrown instanceof HighwaterError) return thrown;
    if (watch.timedOut) {
      return new SourceUnavailableError(
        shown,
        `the source sent nothing for ${this.options.timeoutSeconds} s`,
        method,
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
        method,
      );
    }
    return thrown;
  }
}

/** The lines of the records that are kept; without those, nothing. */
function keptLines(lines: Buffer, kept: readonly boolean[]): Buffer {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const keep of kept) {
    const end = lines.indexOf(0x0a, from);
    const line = lines.subarray(from, end === -1 ? lines.length : end);
    if (keep) pieces.push(...(pieces.length === 0 ? [line] : [LINE_END, line]));
    from += line.length + 1;
  }
  return Buffer.concat(pieces);
}

const LINE_END = Buffer.from('\n');

/** The address of `rel="next"` in a Link header (RFC 8288), or null. */
export function linkNext(header: string | null): string | null {
  for (const [, address = '', parameters = ''] of (header ?? '').matchAll(/<([^>]*)>([^<]*)/g)) {
    if (/;\s*rel\s*=\s*("(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;,]|$))/i.test(parameters)) return address;
  }
  return null;
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

const textOrNull = (value: unknown) =>
  typeof value === 'number' ? String(value) : typeof value === 'string' && value !== '' ? value : null;

/** The largest page size that a 400 names, where that is what it is about. */
export function refusedPageSize(thrown: unknown): number | null {
  return thrown instanceof SourceRefusedError && thrown.status === 400 ? namedMaximum(thrown.body) : null;
}
