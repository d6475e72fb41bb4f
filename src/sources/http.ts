import type { Readable } from 'node:stream';
import { AbortError, type Response } from 'node-fetch';
import { REFERENCE_REQUEST } from '../config/reference-source.js';
import {
  HighwaterError,
  MalformedAnswerError,
  messageOf,
  NotAllowedError,
  RecordError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../errors.js';
import type {
  ErrorAction,
  ErrorRule,
  Json,
  Note,
  PageRequest,
  Reject,
  Remembered,
  RequestSpec,
} from '../protocol.js';
import { authenticatorOf, type Authenticator } from './auth.js';
import { readableBody, type ReadableBody } from './body.js';
import { Budgets, type Budget } from './budget.js';
import type { Bytes } from './bytes.js';
import type { CursorFields } from './cursor-values.js';
import { Envelope } from './envelope.js';
import { isTooMuch } from '../request/json-path.js';
import { Network } from '../trust/network.js';
import { nextAddress } from '../request/next-link.js';
import { PageBuffer } from './page-buffer.js';
import { valueAtPath, type JsonDocument } from '../request/paths.js';
import { RecordScanner, ScanError, WITHHELD, type ExactColumns } from './record-scanner.js';
import { SharedKeys, SharedRowKeys } from './shared-keys.js';
import { holdsSecrets } from './shaping/protection-of.js';
import { SECRET_NAME } from '../secrets/credential-names.js';
import { httpRequest, shownAddress } from './http-request.js';
import type { ResolvedRequest } from './references.js';
import { TooSlowError } from '../hooks/hooks.js';
import { Origins } from './origins.js';
import { PartMaker, SinkQueue, type Within } from './record-parts.js';
import type { RunHook, TransformOptions } from './shaping/transform.js';
import { type Failure, failureIn, fittingRule, GRAPHQL_ERRORS } from './rules.js';
import {
  ABORTED,
  RateLimitedError,
  type PageAnswer,
  type RecordSink,
  type RequestObserver,
  type RequestStarted,
  type Source,
} from './source.js';
import { readToken, sentToken, tokenParameters, type NextToken, type TokenUse } from './tokens.js';
import { bodyOf, readSome, send, theirWords, Watch, type HttpRequest } from './transport.js';
import { allowance, retryAfter } from './waits.js';
import { TrustPolicy } from '../trust/policy.js';

export interface HttpSourceOptions {
  resolved: ResolvedRequest;
  /** Reads the secrets again and resolves the request with them; null if they are unchanged. */
  reread?: () => Promise<ResolvedRequest | null>;
  /** The API's requests and answers. Default: the reference API's. */
  spec?: RequestSpec;
  primaryKey: readonly string[];
  cursorField: string;
  /** Instead of `cursorField`: several fields, of which the greatest value counts. */
  cursorFields?: CursorFields;
  columns: readonly string[];
  /** Columns whose numbers must stay exact; see the scanner. */
  exact?: ExactColumns;
  /** Text columns, in which an empty CSV field is an empty text. */
  texts?: readonly string[];
  /** The keys and cursor values to return to the strategy. Default: all of them. */
  remembers?: Remembered;
  /** Maximum time until an answer begins, and between its parts. */
  timeoutSeconds: number;
  /** Notes records of one answer that share a primary key. */
  notesSharedKeys?: boolean;
  /** Notes rows that a transform makes of one record and that share a primary key. */
  notesSharedRowKeys?: boolean;
  /** Passes records that cannot be stored to the sink instead of throwing. */
  quarantine?: boolean;
  /** Selects records by key and cursor value; absent: all. */
  within?: Within;
  /** The destination beside which refresh tokens are stored; null or absent: they are not. */
  destination?: string | null;
  /** Permissions on the worker's machine. Default: all. */
  trust?: TrustPolicy;
  /** Runs the transform of the request's shape, which names its hook. */
  transform?: SourceTransform;
  /** Sends the requests. Default: a network of this source's own. */
  network?: Network;
  /** Budgets shared with other sources. Default: this source's own. */
  budgets?: Budgets;
  /** Observes each request for a page. */
  observe?: (request: RequestStarted) => RequestObserver;
}

/** Makes rows of records with a hook. */
export interface SourceTransform extends Pick<TransformOptions, 'hook' | 'onOutcome'> {
  run: (records: readonly string[], parent: { [field: string]: Json } | null) => ReturnType<RunHook>;
  /** The next request sends the key of the last record. */
  sendsKeys: boolean;
}

/** Maximum bytes of a record: the destination's JSON reader takes eight times as much of its 192 MiB. */
const RECORD_LIMIT = 20 * 1024 * 1024;
/** Maximum bytes passed to the scanner at once: an ordinary page as a whole. */
const CHUNK = 4 * 1024 * 1024;
/** Maximum length of a token, which goes into an address and into history. */
const TOKEN_LIMIT = 16 * 1024;
const ACCEPT = {
  json: 'application/json',
  ndjson: 'application/x-ndjson, application/json',
  csv: 'text/csv',
};
/** The result if a rule treats an answer as an empty page. */
const EMPTY: PageAnswer = { nextToken: null, total: null, more: null, undeclared: [] };

/** The action for an answer, from a rule or by default. */
interface Verdict {
  action: ErrorAction | 'default';
  rule: ErrorRule | undefined;
}

/** An answer of status 2xx that matches an error rule. */
class RuledError extends Error {
  constructor(
    readonly rule: ErrorRule,
    readonly words: string,
    readonly isBlank: boolean,
  ) {
    super(words);
  }
}

/** A request with its secrets, and the objects made from them. */
interface Resolved {
  resolved: ResolvedRequest;
  auth: Authenticator | null;
  token: TokenUse;
}

/** Reads records from an API over HTTP. Temporal does the retries. */
export class HttpSource implements Source {
  private readonly spec: RequestSpec;
  private readonly budget: Budget;
  private readonly rules: readonly ErrorRule[];
  private readonly network: Network;
  private current: Resolved;
  private rereading: Promise<boolean> | null = null;

  constructor(private readonly options: HttpSourceOptions) {
    const { resolved, trust = TrustPolicy.local() } = options;
    this.network = options.network ?? new Network(trust);
    this.spec = options.spec ?? REFERENCE_REQUEST;
    this.current = this.resolvedBy(resolved);
    const budgets = options.budgets ?? new Budgets();
    this.budget = budgets.budgetFor([resolved.url.origin, this.spec.auth], this.spec.rateLimit ?? null);
    const isGraphQl = typeof (this.spec.body as { query?: Json } | undefined)?.query === 'string';
    this.rules = [...(this.spec.errors ?? []), ...(isGraphQl ? [GRAPHQL_ERRORS] : [])];
  }

  private resolvedBy(resolved: ResolvedRequest): Resolved {
    const { destination = null, trust = TrustPolicy.local(), timeoutSeconds } = this.options;
    return {
      resolved,
      auth: authenticatorOf(resolved, { timeoutSeconds, destination, trust, network: this.network }),
      token: {
        next: this.spec.next,
        parameter: this.spec.names['scroll_param'] ?? 'scroll_param',
        isWhole: resolved.isTokenWhole,
        isCredential: (name) => this.isCredential(name),
        mask: resolved.mask,
      },
    };
  }

  /** Whether the refused credentials can be replaced. */
  private get mayRenew(): boolean {
    return this.auth !== null || this.options.reread !== undefined;
  }

  private get resolved(): ResolvedRequest {
    return this.current.resolved;
  }

  private get auth(): Authenticator | null {
    return this.current.auth;
  }

  private get token(): TokenUse {
    return this.current.token;
  }

  get concurrency(): number | null {
    return this.spec.rateLimit?.concurrency ?? null;
  }

  async read(request: PageRequest, sink: RecordSink, signal: AbortSignal): Promise<PageAnswer> {
    const end = await this.budget.takeTurn(signal);
    try {
      let isRenewed = false;
      let isReread = false;
      for (;;) {
        const { current } = this;
        const { auth } = current;
        const call = this.buildRequest(request);
        try {
          await auth?.authorize(call);
        } catch (thrown) {
          isReread = await this.rereadOnce(current, isReread || !isSignInRefused(thrown));
          if (isReread) continue;
          throw thrown;
        }
        const answer = await this.sendRequest(call, request, sink, signal);
        if (!('action' in answer)) {
          auth?.accepted(call);
          return answer;
        }
        const { action, refusal } = answer;
        if (action !== 'renew_credentials') throw refusal;
        if (!isRenewed && auth?.renew(call) === true) {
          isRenewed = true;
          continue;
        }
        isReread = await this.rereadOnce(current, isReread);
        if (!isReread) throw refusal;
      }
    } finally {
      end();
    }
  }

  /**
   * Reads secrets of providers again after a refusal; concurrent callers share one reading.
   * @param isDone whether this was already done for the request, or cannot help it.
   * @returns whether the secrets have changed.
   */
  private async rereadOnce(refused: Resolved, isDone: boolean): Promise<boolean> {
    const { reread } = this.options;
    if (isDone || reread === undefined) return false;
    if (this.current !== refused) return true;
    this.rereading ??= reread()
      .then((resolved) => {
        if (resolved !== null) this.current = this.resolvedBy(resolved);
        return resolved !== null;
      })
      .finally(() => (this.rereading = null));
    return this.rereading;
  }

  /** Lets the next request be sent at once: an operator has ended the wait. */
  endWait(): void {
    this.budget.endWait();
    this.auth?.endWait();
  }

  /** Hides secrets in texts. */
  get mask(): (text: string) => string {
    return (text) => this.resolved.mask(text);
  }

  /** Returns method, address and body of a page's request, for people. */
  shownRequest(request: PageRequest): string {
    const { method, shown, body } = this.buildRequest(request);
    return `${method} ${shown}${body === null ? '' : ` ${this.resolved.mask(body)}`}`;
  }

  /** Sends a request; returns the page or the reason why there is none. */
  private async sendRequest(
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
      const response = await send(call, watch, this.network);
      watch.touch();
      told?.answered(response.status);
      this.budget.noteAllowance(response.headers);
      if (response.ok) {
        return await this.readPage(response, call, request, sink, watch).catch((thrown: unknown) => {
          if (!(thrown instanceof RuledError)) throw thrown;
          return this.applyRuledError(response, call, thrown);
        });
      }
      error = String(response.status);
      return this.handleRefusal(response, call, await readSome(response));
    } catch (thrown) {
      const explained = this.explainError(thrown, call, watch, signal);
      error = signal.aborted ? ABORTED : explained instanceof Error ? explained.name : 'Error';
      throw explained;
    } finally {
      watch.end();
      told?.ended(watch.bytes, error);
    }
  }

  /** Builds the request for a page, without credentials made per request. */
  private buildRequest(request: PageRequest): HttpRequest {
    const { resolved } = this;
    const { scroll_param: token, ...rest } = this.translateOffset(request.params);
    const cursor = token === undefined ? rest : { ...rest, scroll_param: sentToken(token, this.token) };
    const values = { cursor, parent: request.parent ?? {} };
    const url = this.address(request, values);
    const { format = 'json' } = this.spec;
    return httpRequest(url, values, resolved, { ...this.spec, accept: ACCEPT[format] });
  }

  /** Translates the offset into the API's own counting. */
  private translateOffset(params: PageRequest['params']): PageRequest['params'] {
    const { firstOffset = 0 } = this.spec;
    const { offset } = params;
    return offset === undefined ? params : { ...params, offset: String(Number(offset) + firstOffset) };
  }

  /** Returns the address of a page; a next page may have an address of its own. */
  private address(request: PageRequest, values: Parameters<ResolvedRequest['at']>[0]): URL {
    const params = this.translateOffset(request.params);
    const { resolved } = this;
    const base = resolved.at(values);
    const { names, next } = this.spec;
    const token = params['scroll_param'];
    const own = token !== undefined && next.isAddress;
    const url = own ? this.nextAddress(token, base) : new URL(base);
    if (own) [url.username, url.password] = [base.username, base.password];
    for (const [name, fixed] of Object.entries(resolved.params)) {
      const value = own && !resolved.secretParams.includes(name) ? null : fixed(values);
      if (value !== null) url.searchParams.set(name, value);
    }
    const members = token === undefined ? null : tokenParameters(token, this.token);
    // The address of a next page already contains all parameters.
    for (const [name, value] of Object.entries(own ? {} : params)) {
      const isSent = !resolved.placed.has(name) && (name !== 'scroll_param' || members === null);
      if (isSent) url.searchParams.set(names[name] ?? name, value);
    }
    for (const { name, value } of members ?? []) url.searchParams.set(name, value);
    return url;
  }

  /** Whether a parameter holds a credential, by its value or its name. */
  private isCredential(parameter: string): boolean {
    const { secretParams, url, secrets } = this.resolved;
    const wanted = parameter.toLowerCase();
    const isSecret = (name: string, value: string) => SECRET_NAME.test(name) || secrets.holds(value);
    return (
      secretParams.some((name) => name.toLowerCase() === wanted) ||
      [...url.searchParams].some(([name, value]) => name.toLowerCase() === wanted && isSecret(name, value))
    );
  }

  /** Resolves the address of a next page, as an answer gave it or as it was stored. */
  private nextAddress(link: string, base: URL): URL {
    const url = nextAddress(link, { current: base, base, hosts: this.spec.nextHosts ?? [] });
    if (url !== null) return url;
    const { mask } = this.resolved;
    const named = URL.canParse(link, base.href) ? new URL(link, base) : null;
    throw new SourceRefusedError(
      shownAddress(base, mask),
      named === null || !/^https?:$/.test(named.protocol)
        ? `the address of the next page is not an HTTP address: ${mask(link).slice(0, 100)}`
        : `the next page is on another host, ${mask(named.host)}, to which Highwater sends no credentials; ` +
            'if that host belongs to the API, list it in "next_hosts"',
    );
  }

  /** Returns an address in the form stored in history: without credentials, and short if it is on the same host. */
  private storedAddress(text: string, request: PageRequest): string {
    const { params, parent = {} } = request;
    const { at, secretParams, mask, secrets } = this.resolved;
    const values = { cursor: this.translateOffset(params), parent };
    const base = at(values);
    if (!URL.canParse(text, base.href)) return text;
    const current = this.address(request, values);
    const found = nextAddress(text, { current, base, hosts: this.spec.nextHosts ?? [] });
    const url = found ?? new URL(text, current);
    url.username = '';
    url.password = '';
    for (const [name, value] of [...url.searchParams]) {
      // Some sources put into the address what they received in a header.
      const isCredential = SECRET_NAME.test(name) && mask(value) === '***';
      if (isCredential || secretParams.includes(name)) url.searchParams.delete(name);
    }
    // A path must not begin with two slashes, which would introduce a host.
    const path = url.pathname.replace(/^\/\//, '/.//') + url.search;
    // The path is known when the address is used again, and may contain the value of a reference.
    const isBelow = url.pathname === base.pathname && url.search !== '';
    const kept = url.origin !== base.origin ? url.href : isBelow ? url.search : path;
    if (!secrets.holds(kept)) return kept;
    throw new ScanError(
      `the address of the next page contains the value of a reference, which must not be stored: ${mask(kept)}`,
      'shape',
    );
  }

  /** Returns the next page that an answer names: a token, or an address as stored. */
  private nextToken(envelope: Envelope, request: PageRequest, isEnd: boolean): NextToken {
    const next = readToken(envelope, this.token, isEnd);
    if (next.nextToken === null) return next;
    const nextToken = this.spec.next.isAddress ? this.storedAddress(next.nextToken, request) : next.nextToken;
    if (nextToken.length <= TOKEN_LIMIT) return { nextToken };
    throw new ScanError(
      `the page token is ${nextToken.length} characters long; the limit is ${TOKEN_LIMIT}`,
      'shape',
    );
  }

  /** Passes the records of an answer to the sink, and reads the rest of it. */
  private async readPage(
    response: Response,
    call: HttpRequest,
    request: PageRequest,
    sink: RecordSink,
    watch: Watch,
  ): Promise<PageAnswer> {
    const { options, spec } = this;
    const { mask } = this.resolved;
    const answered = bodyOf(response);
    const transform = this.transformFor(request, watch);
    const body = readableBody(
      watchedBytes(answered, watch),
      spec,
      [...options.columns, ...(spec.shape?.keeps ?? [])],
      options.texts ?? [],
      request.parent ?? {},
      mask,
      options,
      this.resolved.hashKeys,
      transform,
    );
    const queue = new SinkQueue(sink, watch);
    const shared =
      options.notesSharedKeys === true && transform === undefined ? new SharedKeys(options.primaryKey) : null;
    const sharedRows =
      options.notesSharedRowKeys === true && transform !== undefined
        ? new SharedRowKeys(options.primaryKey, transform.hook)
        : null;
    const parts = this.partsFor(body, request, transform?.origins, sharedRows);
    const scanner = this.scannerFor(body, parts, queue, shared, (shared ?? sharedRows) !== null);
    let document: JsonDocument;
    try {
      document = await scanBody(body, scanner, queue);
      await queue.settleAfter(() => {
        const last = parts.makeLastPart(scanner.longest);
        if (last !== null) queue.addPart(last);
      });
    } catch (thrown) {
      throw this.scanFailure(thrown, response, call);
    } finally {
      // A body that is not read to its end would block its connection.
      answered.destroy();
    }
    const { value } = document;
    const isBlank = (transform?.origins.count ?? scanner.count) === 0;
    this.applyRules(response, { value }, isBlank);
    if (isBlank) this.refuseFailure(response, call, value);
    const envelope = new Envelope(document, response.headers, mask);
    const { ends } = spec;
    const isEnd = ends != null && envelope.value('ends.path', ends.path) === ends.is;
    const named = body.named?.();
    const more = isEnd ? false : envelope.flag('more', spec.more);
    return {
      ...this.nextToken(envelope, request, more === false),
      total: envelope.count('total', spec.total),
      ...(spec.totalPages != null && { totalPages: envelope.count('total_pages', spec.totalPages) }),
      more,
      undeclared: [...scanner.undeclared].map(mask),
      ...remarksOf([...body.remarks(), ...((shared ?? sharedRows)?.notes(mask) ?? [])], scanner.remarks),
      ...(named !== undefined && { named }),
      ...(transform !== undefined &&
        transform.origins.dropped > 0 && {
          dropped: { records: transform.origins.dropped, hook: transform.hook },
        }),
    };
  }

  /** Returns what runs the hook on the records of an answer; undefined for a request without a transform. */
  private transformFor(request: PageRequest, watch: Watch): TransformOptions | undefined {
    const { transform, primaryKey, cursorField, cursorFields } = this.options;
    const { shape } = this.spec;
    if (transform === undefined || shape == null) return undefined;
    const { hook, run, sendsKeys, onOutcome } = transform;
    const withholds = holdsSecrets(shape);
    const origins = new Origins({
      primaryKey,
      cursorField,
      ...(cursorFields !== undefined && { cursorFields }),
      sendsKeys,
      withholds,
    });
    return {
      hook,
      origins,
      mask: this.resolved.mask,
      withholds,
      ...(onOutcome !== undefined && { onOutcome }),
      run: async (records) => {
        // The source is not at fault while the hook works.
        watch.pause();
        try {
          return await run(records, request.parent ?? null);
        } catch (thrown) {
          throw thrown instanceof TooSlowError ? new ScanError(thrown.message, 'record') : thrown;
        } finally {
          watch.touch();
        }
      },
    };
  }

  private partsFor(
    body: ReadableBody,
    request: PageRequest,
    origins: Origins | undefined,
    sharedRows: SharedRowKeys | null,
  ): PartMaker {
    const { options } = this;
    return new PartMaker({
      cursorFields: options.remembers?.values === 'none' ? undefined : options.cursorFields,
      within: options.within,
      filtered: body.kept,
      firstPlace: Number(request.params['offset'] ?? 0),
      ...(origins !== undefined && { origins }),
      ...(sharedRows !== null && { sharedRows }),
    });
  }

  /** Returns a scanner that puts the records of a body into the queue. */
  private scannerFor(
    body: ReadableBody,
    parts: PartMaker,
    queue: SinkQueue,
    shared: SharedKeys | null,
    needsKeys: boolean,
  ): RecordScanner {
    const { options } = this;
    const remembers: Remembered =
      !needsKeys || options.remembers === undefined
        ? (options.remembers ?? { keys: 'all', values: 'all' })
        : { ...options.remembers, keys: 'all' };
    const scanner: RecordScanner = new RecordScanner({
      records: body.records,
      primaryKey: options.primaryKey,
      cursorField: options.cursorField,
      columns: options.columns,
      ...(options.exact !== undefined && { exact: options.exact }),
      remembers,
      recordLimit: RECORD_LIMIT,
      mask: this.resolved.mask,
      ...(body.refusals !== undefined && { refusals: body.refusals }),
      ...(options.quarantine === true && { reject: (reject: Reject) => parts.addReject(reject) }),
      sink: (lines, scanned, rejected) => {
        shared?.add(scanned.keys, body.kept);
        queue.addPart(parts.makePart(lines, scanned, rejected, scanner.longest));
      },
    });
    return scanner;
  }

  /**
   * Returns the reason why a body could not be scanned, or the error that it contains instead of records.
   * @throws {RuledError}
   */
  private scanFailure(thrown: unknown, response: Response, call: HttpRequest): unknown {
    if (!(thrown instanceof ScanError) || thrown.body === undefined) return thrown;
    this.applyRules(response, thrown.body, true);
    const failure = 'value' in thrown.body ? this.failureIn(thrown.body.value, call) : null;
    return failure === null ? thrown : new ScanError(`${thrown.message}; it says: ${failure.said}`, 'shape');
  }

  /**
   * Applies the error rules to an answer of status 2xx.
   * @param body without its records.
   * @throws {RuledError}
   */
  private applyRules(
    response: Response,
    body: { value: unknown } | { text: string },
    isBlank: boolean,
  ): void {
    const rule = fittingRule(this.rules, response.status, body);
    // `ignore` is about the error in an answer, not about its records.
    if (rule === undefined || (rule.action === 'ignore' && !isBlank)) return;
    const { mask } = this.resolved;
    const value = 'value' in body ? body.value : undefined;
    const said = rule.path === null ? value : valueAtPath(value, rule.path);
    if (this.withholds) throw new RuledError(rule, WITHHELD, isBlank);
    const words = 'text' in body ? body.text : said === undefined ? '' : JSON.stringify(said);
    throw new RuledError(rule, mask(theirWords(mask(words))), isBlank);
  }

  /**
   * Refuses to treat an answer with an error and no records as an empty page.
   * @throws {SourceUnavailableError} since the error may be temporary.
   */
  private refuseFailure({ status, statusText }: Response, call: HttpRequest, envelope: unknown): void {
    const failure = this.failureIn(envelope, call);
    if (failure === null) return;
    const { mask } = this.resolved;
    throw new SourceUnavailableError(
      call.shown,
      `the source answered ${status} ${mask(statusText).slice(0, 100)} without records, but with an error in ` +
        `${mask(failure.where)}: ${failure.said}. If that means an empty page, add to the stream: ` +
        `errors: [{ ${mask(failure.rule)}, action: ignore }]`,
      call.method,
    );
  }

  /**
   * Whether answers of status 2xx are not quoted: what a member holds that is excluded, hashed or masked may stand
   * anywhere in an answer that has another form than the configuration says.
   */
  private get withholds(): boolean {
    return this.spec.shape != null && holdsSecrets(this.spec.shape);
  }

  /** Returns the failure in an answer without records, and its masked message. */
  private failureIn(envelope: unknown, { url, body }: HttpRequest): (Failure & { said: string }) | null {
    const isAsked = (name: string, value: unknown) =>
      url.searchParams.getAll(name).includes(String(value)) ||
      body?.includes(JSON.stringify({ [name]: value }).slice(1, -1)) === true;
    const failure = failureIn(envelope, this.spec.records, isAsked);
    if (failure === null) return null;
    if (this.withholds) return { ...failure, where: failure.at, said: WITHHELD };
    const { mask } = this.resolved;
    return { ...failure, said: mask(theirWords(mask(JSON.stringify(failure.words)))) };
  }

  private applyRuledError(response: Response, call: HttpRequest, { rule, words, isBlank }: RuledError) {
    // The records of this answer have been used, so it cannot simply be requested again.
    const action = rule.action === 'renew_credentials' && !isBlank ? 'retry' : rule.action;
    return this.outcome({ action, rule }, response, call, words);
  }

  private handleRefusal(response: Response, call: HttpRequest, body: string) {
    const { mask } = this.resolved;
    // Masked before it is shortened, so that no half of a secret stays, and again after unescaping.
    const words = mask(theirWords(mask(body)));
    const rule = fittingRule(this.rules, response.status, { text: body });
    const action =
      rule?.action ?? (response.status === 401 && this.mayRenew ? 'renew_credentials' : 'default');
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
    if (action === 'end') return { ...EMPTY, pastEnd: true };
    if (action === 'skip_parent') return { ...EMPTY, skipped: true };
    // The status line is the source's text too.
    const status = `${response.status} ${this.resolved.mask(response.statusText).slice(0, 100)}`;
    const hint = action === 'default' ? this.hintFor(response.status, call) : null;
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

  /** Returns what the operator can do about refused or missing credentials; null: nothing that is known here. */
  private hintFor(status: number, call: HttpRequest): string | null {
    if (status === 403) return this.auth?.hint(call) ?? null;
    const { secretParams } = this.resolved;
    const isSigned =
      this.auth !== null ||
      secretParams.length > 0 ||
      Object.keys(call.headers).some((name) => !PLAIN_HEADERS.includes(name));
    return status === 401 && !isSigned ? NO_CREDENTIALS : null;
  }

  private explainError(
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
    if (thrown instanceof NotAllowedError)
      return new NotAllowedError(`${this.resolved.mask(thrown.message)}\n  request: ${method} ${shown}`);
    if (thrown instanceof HighwaterError) return thrown;
    if (isTooMuch(thrown))
      return new MalformedAnswerError(
        shown,
        `a configured path was not found in the response: ${thrown.message}`,
        method,
      );
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
      const text = this.resolved.mask(
        messageOf(thrown)
          .replace(/^request to \S+ failed, reason: ?/, '')
          .replace(/^(aborted|Premature close)$/, 'the connection closed in the middle of the response'),
      );
      const code = (thrown as NodeJS.ErrnoException).code;
      return new SourceUnavailableError(
        shown,
        `reading from the source failed: ${text === '' ? String(code) : text}`,
        method,
      );
    }
    return thrown;
  }
}

/** Statuses with which token servers reject a password or client secret. */
/** Headers that are no credentials; any other one may be. */
const PLAIN_HEADERS = ['accept', 'accept-encoding', 'content-type', 'user-agent'];
const NO_CREDENTIALS =
  'The request had no credentials: add "auth" to the configuration (see docs/authentication.md), or the header that the source asks for.';
const SIGN_IN_REFUSED = [400, 401, 403];
const isSignInRefused = (thrown: unknown): boolean =>
  thrown instanceof SourceRefusedError && thrown.status !== null && SIGN_IN_REFUSED.includes(thrown.status);

/** Merges the notes of both record readers; one per code. */
function remarksOf(first: readonly Note[], then: readonly Note[]): Pick<PageAnswer, 'remarks'> {
  const remarks = [...first, ...then.filter(({ code }) => !first.some((one) => one.code === code))];
  return remarks.length === 0 ? {} : { remarks };
}

/** Yields the bytes of a body, and restarts the timeout with each part. */
async function* watchedBytes(body: Readable, watch: Watch): Bytes {
  try {
    for await (const chunk of body) {
      watch.touch((chunk as Buffer).length);
      yield chunk as Buffer;
    }
  } catch (thrown) {
    // Errors of zlib and Brotli.
    if (!/^(Z_|ERR__)/.test(String((thrown as NodeJS.ErrnoException).code))) throw thrown;
    throw new ScanError('the compressed body is damaged or truncated', 'shape');
  }
}

/** Scans a body, and returns the answer without its records. */
async function scanBody(body: ReadableBody, scanner: RecordScanner, queue: SinkQueue): Promise<JsonDocument> {
  const gathered = new PageBuffer();
  const scanGathered = () => queue.settleAfter(() => scanner.push(gathered.take()));
  try {
    for await (const chunk of body.bytes) {
      gathered.add(chunk);
      if (gathered.length >= CHUNK) await scanGathered();
    }
    await scanGathered();
    const document = await queue.settleAfter(() => scanner.end());
    return body.isOwnEnvelope ? body.envelope() : document;
  } finally {
    gathered.release();
  }
}

/** Returns the maximum page size named in the text of a 400, or null. */
export function namedMaximum(words: string): number | null {
  if (!/limit|page|size|count/i.test(words)) return null;
  const plain = words.replace(/(?<=\d),(?=\d{3}\b)/g, '');
  // "must be greater than" names a minimum; "is greater than" and "must not be greater than" name a maximum.
  const named =
    /between\s+\d+\s+and\s+(\d+)/i.exec(plain) ??
    /(?:max(?:imum)?|at most|exceed|(?<!(?:must|should|to) be )(?:more|greater) than(?! or equal)|less than or equal to|<=|up to)\D{0,40}?(\d+)/i.exec(
      plain,
    );
  const maximum = named === null ? NaN : Number(named[1]);
  return Number.isSafeInteger(maximum) && maximum >= 1 ? maximum : null;
}

/** Returns the maximum page size if an error is a 400 about it; else null. */
export function refusedPageSize(thrown: unknown): number | null {
  return thrown instanceof SourceRefusedError && thrown.status === 400 ? namedMaximum(thrown.body) : null;
}
