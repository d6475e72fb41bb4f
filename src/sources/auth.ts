import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Headers } from 'node-fetch';
import { isCredential } from '../secrets/credential-names.js';
import { durationText } from '../durations.js';
import {
  ConfigurationError,
  HighwaterError,
  messageOf,
  NotAllowedError,
  SourceRefusedError,
  SourceUnavailableError,
} from '../errors.js';
import type { OAuth2Auth, SessionAuth } from '../protocol.js';
import type { TrustPolicy } from '../trust/policy.js';
import { CredentialStore } from './credential-store.js';
import type { Network } from '../trust/network.js';
import { valueAtPath } from '../request/paths.js';
import { unescaped, type ResolvedRequest } from './references.js';
import type { Secrets } from '../secrets/masking.js';
import { RateLimitedError } from './source.js';
import { encodeBody, readSome, send, theirWords, Watch, type HttpRequest } from './transport.js';
import { allowance, retryAfter, secondsUntil, sourceNow } from './waits.js';

/** Credentials that are got or made while requests are. */
export interface Authenticator {
  /**
   * Adds them to a request.
   * @throws {RateLimitedError} where the source of the credentials asks to wait.
   */
  authorize(request: HttpRequest): Promise<void>;
  /** Forgets those of a request that was refused; false where none better can be had. */
  renew(request: HttpRequest): boolean;
  /** Takes note that a request was answered with a page. */
  accepted(request: HttpRequest): void;
  /** Returns what an operator should know of the credentials of a request that was forbidden (403); null: nothing. */
  hint(request: HttpRequest): string | null;
  /** Lets the next request for credentials go at once, whatever earlier answers said. */
  endWait(): void;
}

export interface AuthOptions {
  /** How long an answer may take, in seconds. */
  timeoutSeconds: number;
  /** The file or folder that refresh tokens are kept beside; null keeps none. */
  destination: string | null;
  /** Finds hooks. */
  trust: TrustPolicy;
  network: Network;
}

/** The authenticator of a request; null where its credentials stay the same. */
export function authenticatorOf(resolved: ResolvedRequest, options: AuthOptions): Authenticator | null {
  const { auth, secrets } = resolved;
  switch (auth?.type) {
    case undefined:
      return null;
    case 'session': {
      const { in: place, name, prefix } = auth;
      return new TokenAuthenticator(
        Tokens.of(auth, () => logIn(auth, resolved, options)),
        secrets,
        (request, token) => {
          if (place === 'query') request.url.searchParams.set(name, prefix + token);
          else if (place === 'cookie') request.headers['cookie'] = `${name}=${encodeURIComponent(token)}`;
          else request.headers[name.toLowerCase()] = prefix + token;
        },
      );
    }
    case 'oauth2':
      return new TokenAuthenticator(
        Tokens.of([auth, options.destination], () => requestToken(auth, resolved, options)),
        secrets,
        (request, token) => (request.headers['authorization'] = `Bearer ${token}`),
      );
    case 'signature':
      return new Signer(auth.hook, auth.settings, options.trust, secrets);
  }
}

interface Token {
  text: string;
  /** Other credentials that came with it. */
  others: readonly string[];
  /** When it was obtained. Times here are by a clock that only runs forward, and is never set. */
  since: number;
  /** When it is to be renewed, a little before it expires; Infinity where that is not known. */
  renewAt: number;
}

/** One token for all streams and calls of this process that sign in with the same words. */
class Tokens {
  private static readonly all = new Map<string, Tokens>();
  private token: Token | null = null;
  private pending: Promise<Token> | null = null;
  /** The wait that the server has asked for before the next request for a token. */
  private blocked: { until: number; reason: string } | null = null;
  /** The token that a page was read with last. */
  private lastGood: string | null = null;

  private constructor(private readonly obtain: () => Promise<Token>) {}

  static of(what: unknown, obtain: () => Promise<Token>): Tokens {
    const key = createHash('sha256').update(JSON.stringify(what)).digest('hex');
    const tokens = Tokens.all.get(key) ?? new Tokens(obtain);
    Tokens.all.set(key, tokens);
    return tokens;
  }

  async current(): Promise<Token> {
    if (this.token === null || this.token.renewAt <= performance.now()) {
      this.pending ??= this.obtainInTime().finally(() => (this.pending = null));
      this.token = await this.pending;
    }
    return this.token;
  }

  /** Another stream may have got a new one already. */
  forget(refused: string): void {
    if (this.token?.text === refused) this.token = null;
  }

  accepted(token: string): void {
    this.lastGood = token;
  }

  /** Seconds since a token was obtained that a page was read with before; null for any other. */
  ageOf(token: string): number | null {
    if (this.token?.text !== token) return null;
    const isPast = this.token.renewAt <= performance.now();
    return this.lastGood === token || isPast ? (performance.now() - this.token.since) / 1000 : null;
  }

  endWait(): void {
    this.blocked = null;
  }

  /** Streams that sign in with the same words keep to the wait that one of them was told. */
  private async obtainInTime(): Promise<Token> {
    const left = this.blocked === null ? 0 : this.blocked.until - performance.now();
    if (this.blocked !== null && left > 0) throw new RateLimitedError(left / 1000, this.blocked.reason);
    this.blocked = null;
    try {
      return await this.obtain();
    } catch (thrown) {
      if (thrown instanceof RateLimitedError && thrown.seconds !== null)
        this.blocked = { until: performance.now() + thrown.seconds * 1000, reason: thrown.reason };
      throw thrown;
    }
  }
}

class TokenAuthenticator implements Authenticator {
  private readonly used = new WeakMap<HttpRequest, string>();

  constructor(
    private readonly tokens: Tokens,
    private readonly secrets: Secrets,
    private readonly put: (request: HttpRequest, token: string) => void,
  ) {}

  async authorize(request: HttpRequest): Promise<void> {
    const { text, others } = await this.tokens.current();
    for (const secret of [text, ...others]) this.secrets.add(secret);
    this.used.set(request, text);
    this.put(request, text);
  }

  renew(request: HttpRequest): boolean {
    this.tokens.forget(this.used.get(request) ?? '');
    return true;
  }

  accepted(request: HttpRequest): void {
    this.tokens.accepted(this.used.get(request) ?? '');
  }

  hint(request: HttpRequest): string | null {
    const age = this.tokens.ageOf(this.used.get(request) ?? '');
    if (age === null) return null;
    return (
      `The token of this request is ${durationText(Math.ceil(age))} old and was good before: it may have expired. If this source ` +
      'answers an expired token with 403, add { status: 403, action: renew_credentials } to its "errors".'
    );
  }

  endWait(): void {
    this.tokens.endWait();
  }
}

/** The signature of a hook: it returns headers to add. */
type Sign = (
  request: { method: string; url: string; headers: Record<string, string>; body: string | null },
  settings: { [name: string]: string },
) => Record<string, string> | Promise<Record<string, string>>;

/** Lets a module of the user's sign each request. */
class Signer implements Authenticator {
  private loaded: Promise<Sign> | undefined;

  constructor(
    private readonly hook: string,
    private readonly settings: { [name: string]: string },
    private readonly trust: TrustPolicy,
    private readonly secrets: Secrets,
  ) {}

  async authorize(request: HttpRequest): Promise<void> {
    this.loaded ??= this.load();
    const sign = await this.loaded;
    const { method, url, headers, body } = request;
    try {
      const added = await sign({ method, url: url.href, headers: { ...headers }, body }, this.settings);
      for (const [name, value] of Object.entries(added)) {
        headers[name.toLowerCase()] = String(value);
        for (const secret of credentialsOfHeader(name, String(value))) this.secrets.addPassing(secret);
      }
    } catch (thrown) {
      // It may name what it was given.
      const said = `the hook ${this.hook} failed: ${this.secrets.mask(messageOf(thrown))}`;
      throw new SourceUnavailableError(request.shown, said, method);
    }
  }

  renew(): boolean {
    return false;
  }

  accepted(): void {}

  hint(): null {
    return null;
  }

  endWait(): void {}

  private async load(): Promise<Sign> {
    const path = this.trust.requireHook(this.hook);
    const refused = (message: string) => new ConfigurationError([{ path: 'auth.hook', message }]);
    if (!existsSync(path)) throw refused(`there is no ${path} where the worker runs`);
    let module: { sign?: unknown };
    try {
      module = (await import(pathToFileURL(path).href)) as { sign?: unknown };
    } catch (thrown) {
      throw refused(`${path} cannot be loaded: ${this.secrets.mask(messageOf(thrown))}`);
    }
    if (typeof module.sign !== 'function') throw refused(`${path} exports no function "sign"`);
    return module.sign as Sign;
  }
}

/** Headers that hold no credential, whatever a hook writes there. */
const PLAIN_HEADERS = /^(accept.*|content-(type|length|encoding)|date|host|user-agent)$/;
const CREDENTIAL_HEADER = /auth|key|token|secret|passw|sign|hmac|credential|cookie|session/;
/** A value of fewer letters, or of digits alone, may well be a version or a time. */
const CREDENTIAL_LENGTH = 16;

/** Finds what must not be shown in a header that a hook has made: its value and, of several words, each long one. */
function credentialsOfHeader(header: string, value: string): string[] {
  const name = header.toLowerCase();
  if (PLAIN_HEADERS.test(name)) return [];
  const isLong = (text: string) => text.length >= CREDENTIAL_LENGTH && !/^[\d\s:.TZ+-]*$/.test(text);
  // "Bearer TOKEN", "Credential=ID/…, Signature=…", "session=ID; other=…".
  const words = value.split(/[\s,;]+/).flatMap((word) => [word, word.replace(/^[^=]*=(?=.)"?|"$/g, '')]);
  const encoded = /^basic\s+(\S+)$/i.exec(value)?.[1] ?? '';
  const password = Buffer.from(encoded, 'base64')
    .toString()
    .replace(/^[^:]*:/, '');
  const whole = CREDENTIAL_HEADER.test(name) || isLong(value) ? [value] : [];
  return [...whole, ...words.filter(isLong), password].flatMap((text) => [text, unescaped(text)]);
}

/** Finds the texts in the answer of a login whose names say that they are credentials. */
function credentialsIn(answer: unknown): string[] {
  if (typeof answer !== 'object' || answer === null) return [];
  return Object.entries(answer).flatMap(([name, value]: [string, unknown]) => {
    if (typeof value !== 'string') return credentialsIn(value);
    return isCredential(name) || /session|cookie|jwt|token$/i.test(name) ? [value] : [];
  });
}

async function logIn(auth: SessionAuth, resolved: ResolvedRequest, options: AuthOptions): Promise<Token> {
  const { method, url, headers, body, bodyAs } = auth.login;
  const sent = body === null ? null : encodeBody(body, bodyAs);
  const { answer, now, credentials } = await exchange(
    {
      method,
      url: new URL(url),
      headers: { ...lowerCase(headers), ...(sent !== null && { 'content-type': sent.type }) },
      body: sent?.body ?? null,
      shown: '',
    },
    resolved,
    options,
  );
  const token = valueAtPath(answer, auth.token);
  const expires = auth.expiresIn === null ? undefined : valueAtPath(answer, auth.expiresIn);
  return { ...tokenOf(url, token, expires, now, resolved), others: credentials };
}

async function requestToken(
  auth: OAuth2Auth,
  resolved: ResolvedRequest,
  options: AuthOptions,
): Promise<Token> {
  const { clientId, clientSecret, refreshToken, scopes } = auth;
  const store =
    options.destination === null || refreshToken === null
      ? null
      : new CredentialStore(options.destination, [auth.tokenUrl, clientId, clientSecret, refreshToken]);
  const kept = store?.load() ?? null;
  // Another process may have used the refresh token since: what it got is as good.
  const goodFor = (kept?.expiresAt ?? 0) - Date.now();
  if (kept?.accessToken !== undefined && goodFor > 0 && !issued.has(kept.accessToken)) {
    issued.add(kept.accessToken);
    const since = performance.now();
    return { text: kept.accessToken, others: [kept.refreshToken], since, renewAt: since + goodFor };
  }
  const refresh = kept?.refreshToken ?? refreshToken;
  if (refresh !== null) resolved.secrets.add(refresh);
  const { body, type } = encodeBody(
    {
      grant_type: refresh === null ? 'client_credentials' : 'refresh_token',
      ...(refresh !== null && { refresh_token: refresh }),
      ...(scopes.length > 0 && { scope: scopes.join(' ') }),
      ...(auth.clientAuth === 'body' && { client_id: clientId, client_secret: clientSecret }),
      ...auth.params,
    },
    'form',
  );
  const basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString(
    'base64',
  );
  resolved.secrets.add(basic);
  const { answer, now, credentials } = await exchange(
    {
      method: 'POST',
      url: new URL(auth.tokenUrl),
      headers: {
        'content-type': type,
        ...(auth.clientAuth === 'basic' && { authorization: `Basic ${basic}` }),
      },
      body,
      shown: '',
    },
    resolved,
    options,
  );
  const {
    access_token: access,
    refresh_token: next,
    expires_in: expires,
  } = answer as Record<string, unknown>;
  const others = [...credentials, ...(refresh === null ? [] : [refresh])];
  const token = { ...tokenOf(auth.tokenUrl, access, expires, now, resolved), others };
  issued.add(token.text);
  // Before it is used: the server may have made the one before worthless.
  store?.save({
    refreshToken: typeof next === 'string' ? next : (refresh ?? ''),
    accessToken: token.text,
    expiresAt: Number.isFinite(token.renewAt) ? Date.now() + token.renewAt - performance.now() : 0,
  });
  return token;
}

/** Access tokens that this process has had: when one of them is refused, what is kept is no better. */
const issued = new Set<string>();

/**
 * @param expires what the answer says of its end: seconds, or when.
 * @param now the time by the source's clock, in milliseconds since 1970.
 */
function tokenOf(
  url: string,
  token: unknown,
  expires: unknown,
  now: number,
  resolved: ResolvedRequest,
): Omit<Token, 'others'> {
  if ((typeof token !== 'string' && typeof token !== 'number') || token === '') {
    throw new SourceRefusedError(
      resolved.mask(url),
      'signing in gave no token in its answer',
      null,
      '',
      'POST',
    );
  }
  const text = String(token);
  resolved.secrets.add(text);
  const said = typeof expires === 'number' || typeof expires === 'string' ? String(expires) : '';
  const lifetime = secondsUntil(said, now, { longest: Infinity }) ?? jwtLifetime(text, now);
  const since = performance.now();
  // Renewed a little early, so that it does not expire on its way; dates of HTTP are whole seconds.
  const early = lifetime === null ? 0 : Math.min(30, Math.max(lifetime / 10, Math.min(1, lifetime / 2)));
  return { text, since, renewAt: lifetime === null ? Infinity : since + (lifetime - early) * 1000 };
}

/**
 * Reads for how many seconds a JSON Web Token is good; whether its signature is right is the source's business.
 * @returns null where the text is no such token, or one that says nothing of its end or has ended already: it is used
 *   until the source refuses it.
 */
export function jwtLifetime(token: string, now: number): number | null {
  const [header = '', payload = '', ...rest] = token.split('.');
  if (header === '' || payload === '' || rest.length !== 1) return null;
  let claims: { exp?: unknown; iat?: unknown } | null;
  try {
    claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as typeof claims;
  } catch {
    return null;
  }
  const [exp, iat] = [claims?.exp, claims?.iat].map((value) => {
    const seconds = Number(value ?? NaN);
    return seconds >= EPOCH_MILLISECONDS ? seconds / 1000 : seconds;
  }) as [number, number];
  // Issued after "now": the clock that "now" is by is behind. Ended before: it is ahead.
  const left = exp - Math.max(now / 1000, iat > 0 ? iat : 0);
  const seconds = left > 0 ? left : exp - iat;
  return seconds > 0 ? seconds : null;
}

/** Larger numbers are no seconds since 1970. */
const EPOCH_MILLISECONDS = 1e11;

/**
 * Asks for a token. It serves all who wait for it, and so is no single call's to abort.
 * @returns the answer as JSON, when it was given by the source's clock, and the credentials that it names.
 * @throws {RateLimitedError}
 */
async function exchange(
  request: HttpRequest,
  resolved: ResolvedRequest,
  options: AuthOptions,
): Promise<{ answer: unknown; now: number; credentials: string[] }> {
  const { mask } = resolved;
  const address = mask(request.url.href.replace(/[?#].*$/s, ''));
  const watch = new Watch(new AbortController().signal, options.timeoutSeconds * 1000);
  let status: number;
  let answered: Headers;
  let text: string;
  try {
    const headers = { accept: 'application/json', 'user-agent': 'highwater', ...request.headers };
    const response = await send({ ...request, headers, shown: address }, watch, options.network);
    ({ status, headers: answered } = response);
    text = await readSome(response);
  } catch (thrown) {
    if (thrown instanceof NotAllowedError)
      throw new NotAllowedError(`${mask(thrown.message)}\n  request: ${request.method} ${address}`);
    if (thrown instanceof HighwaterError) throw thrown;
    const why = watch.timedOut
      ? `nothing came for ${options.timeoutSeconds} s`
      : mask(messageOf(thrown)).replace(/^request to \S+ failed, reason: ?/, '');
    throw new SourceUnavailableError(address, `signing in failed: ${why}`, request.method);
  } finally {
    watch.end();
  }
  const answer = jsonOf(text);
  const credentials = credentialsIn(answer);
  for (const secret of credentials) resolved.secrets.add(secret);
  const words = mask(theirWords(mask(text)));
  const said = `${status}${words === '' ? '' : `: ${words}`}`;
  const seconds = retryAfter(answered, null);
  const { isUsedUp, namesReset } = allowance(answered, null);
  if (status === 429 || (status === 503 && seconds !== null) || (status === 403 && isUsedUp && namesReset)) {
    throw new RateLimitedError(seconds, `signing in was answered with ${said}`);
  }
  if (status >= 500 || status === 408) {
    throw new SourceUnavailableError(address, `signing in failed: the answer was ${status}`, request.method);
  }
  if (status < 200 || status > 299) {
    throw new SourceRefusedError(address, `signing in was refused: ${said}`, status, words, request.method);
  }
  if (typeof answer === 'object' && answer !== null) return { answer, now: sourceNow(answered), credentials };
  throw new SourceRefusedError(
    address,
    'signing in gave an answer that is no JSON object',
    null,
    '',
    request.method,
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const lowerCase = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
