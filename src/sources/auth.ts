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

/** Credentials that are obtained or computed between requests. */
export interface Authenticator {
  /**
   * Adds the credentials to a request.
   * @throws {RateLimitedError} if their source asks to wait.
   */
  authorize(request: HttpRequest): Promise<void>;
  /** Forgets the credentials of a refused request; returns false if no better ones can be obtained. */
  renew(request: HttpRequest): boolean;
  /** Records that a request was answered with a page. */
  accepted(request: HttpRequest): void;
  /** Returns a hint about the credentials of a forbidden request (403) for the operator; null: none. */
  hint(request: HttpRequest): string | null;
  /** Lets the next request for credentials be sent at once. */
  endWait(): void;
}

export interface AuthOptions {
  /** Maximum time for an answer in seconds. */
  timeoutSeconds: number;
  /** The destination beside which refresh tokens are stored; null: they are not. */
  destination: string | null;
  /** Permissions, which locate hooks. */
  trust: TrustPolicy;
  network: Network;
}

/** Returns the authenticator of a request; null if its credentials are fixed. */
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
  /** Other credentials from the same answer. */
  others: readonly string[];
  /** Time when it was obtained; times here are monotonic. */
  since: number;
  /** Time of renewal, shortly before expiry; Infinity if unknown. */
  renewAt: number;
}

/** A token shared by all streams and calls of this process with the same login. */
class Tokens {
  private static readonly all = new Map<string, Tokens>();
  private token: Token | null = null;
  private pending: Promise<Token> | null = null;
  /** The wait that the server asked for before the next token request. */
  private blocked: { until: number; reason: string } | null = null;
  /** The last token with which a page was read. */
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

  /** Another stream may have renewed it already. */
  forget(refused: string): void {
    if (this.token?.text === refused) this.token = null;
  }

  accepted(token: string): void {
    this.lastGood = token;
  }

  /** Returns the age in seconds of a token with which a page was read; null for any other. */
  ageOf(token: string): number | null {
    if (this.token?.text !== token) return null;
    const isPast = this.token.renewAt <= performance.now();
    return this.lastGood === token || isPast ? (performance.now() - this.token.since) / 1000 : null;
  }

  endWait(): void {
    this.blocked = null;
  }

  /** All streams with this login observe the wait that one of them was asked for. */
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
      `The token of this request is ${durationText(Math.ceil(age))} old and worked before: it may have expired. If this source ` +
      'answers expired tokens with 403, add { status: 403, action: renew_credentials } to its "errors".'
    );
  }

  endWait(): void {
    this.tokens.endWait();
  }
}

/** A hook's function, which returns headers to add. */
type Sign = (
  request: { method: string; url: string; headers: Record<string, string>; body: string | null },
  settings: { [name: string]: string },
) => Record<string, string> | Promise<Record<string, string>>;

/** Lets a user's module sign each request. */
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
      // The error may quote the settings.
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
    if (!existsSync(path)) throw refused(`the worker has no file ${path}`);
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

/** Headers that hold no credential, even if a hook sets them. */
const PLAIN_HEADERS = /^(accept.*|content-(type|length|encoding)|date|host|user-agent)$/;
const CREDENTIAL_HEADER = /auth|key|token|secret|passw|sign|hmac|credential|cookie|session/;
/** Shorter values, and values of digits only, may be versions or times. */
const CREDENTIAL_LENGTH = 16;

/** Returns the secrets in a header made by a hook: its value and, if it has several words, each long one. */
export function credentialsOfHeader(header: string, value: string): string[] {
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

/** Returns the texts in a login's answer whose names mark them as credentials. */
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
  const { answer, now, credentials } = await postTokenRequest(
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
  // Another process may have used the refresh token since; its access token is as good.
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
  const { answer, now, credentials } = await postTokenRequest(
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
  // Stored before use: the server may have invalidated the previous one.
  store?.save({
    refreshToken: typeof next === 'string' ? next : (refresh ?? ''),
    accessToken: token.text,
    expiresAt: Number.isFinite(token.renewAt) ? Date.now() + token.renewAt - performance.now() : 0,
  });
  return token;
}

/** Access tokens of this process: if one of them is refused, the stored one is no better. */
const issued = new Set<string>();

/**
 * Makes a token.
 * @param expires the answer's expiry: seconds, or a time.
 * @param now the source's clock, in milliseconds since 1970.
 */
function tokenOf(
  url: string,
  token: unknown,
  expires: unknown,
  now: number,
  resolved: ResolvedRequest,
): Omit<Token, 'others'> {
  if ((typeof token !== 'string' && typeof token !== 'number') || token === '') {
    throw new SourceRefusedError(resolved.mask(url), 'the login returned no token', null, '', 'POST');
  }
  const text = String(token);
  resolved.secrets.add(text);
  const said = typeof expires === 'number' || typeof expires === 'string' ? String(expires) : '';
  const lifetime = secondsUntil(said, now, { longest: Infinity }) ?? jwtLifetime(text, now);
  const since = performance.now();
  // Renewed early, so that it does not expire in flight; HTTP dates are whole seconds.
  const early = lifetime === null ? 0 : Math.min(30, Math.max(lifetime / 10, Math.min(1, lifetime / 2)));
  return { text, since, renewAt: lifetime === null ? Infinity : since + (lifetime - early) * 1000 };
}

/**
 * Returns the remaining lifetime of a JSON Web Token in seconds, without verifying its signature.
 * @returns null if the text is no such token, or has no expiry or a past one: it is then used until the source refuses
 * it.
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
  // Issued after "now": that clock is slow. Expired before it: that clock is fast.
  const left = exp - Math.max(now / 1000, iat > 0 ? iat : 0);
  const seconds = left > 0 ? left : exp - iat;
  return seconds > 0 ? seconds : null;
}

/** Larger numbers are milliseconds. */
const EPOCH_MILLISECONDS = 1e11;

/**
 * Requests a token. It serves all callers that wait for it, so no single one may abort it.
 * @returns the answer as JSON, its time by the source's clock, and the credentials in it.
 * @throws {RateLimitedError}
 */
async function postTokenRequest(
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
      ? `no response for ${options.timeoutSeconds} s`
      : mask(messageOf(thrown)).replace(/^request to \S+ failed, reason: ?/, '');
    throw new SourceUnavailableError(address, `the login failed: ${why}`, request.method);
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
    throw new RateLimitedError(seconds, `the login was answered with ${said}`);
  }
  if (status >= 500 || status === 408) {
    throw new SourceUnavailableError(
      address,
      `the login failed: the source answered ${status}`,
      request.method,
    );
  }
  if (status < 200 || status > 299) {
    throw new SourceRefusedError(address, `the login was rejected: ${said}`, status, words, request.method);
  }
  if (typeof answer === 'object' && answer !== null) return { answer, now: sourceNow(answered), credentials };
  throw new SourceRefusedError(
    address,
    'the response to the login is not a JSON object',
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
