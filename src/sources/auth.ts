import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigurationError, messageOf, SourceRefusedError, SourceUnavailableError } from '../errors.js';
import type { OAuth2Auth, SessionAuth } from '../protocol.js';
import { CredentialStore } from './credential-store.js';
import { valueAtPath } from './paths.js';
import type { ResolvedRequest } from './references.js';
import { encodeBody, readSome, send, theirWords, Watch, type HttpRequest } from './transport.js';

/** Credentials that are got or made while requests are. */
export interface Authenticator {
  /** Adds them to a request. */
  authorize(request: HttpRequest): Promise<void>;
  /** Forgets those of a request that was refused; false where none better can be had. */
  renew(request: HttpRequest): boolean;
}

export interface AuthOptions {
  /** How long an answer may take, in seconds. */
  timeoutSeconds: number;
  /** The file or folder that refresh tokens are kept beside; null keeps none. */
  destination: string | null;
  /** Where hooks are. */
  hooks: string;
}

/** The authenticator of a request; null where its credentials stay the same. */
export function authenticatorOf(resolved: ResolvedRequest, options: AuthOptions): Authenticator | null {
  const { auth, hide } = resolved;
  switch (auth?.type) {
    case undefined:
      return null;
    case 'session': {
      const { in: place, name, prefix } = auth;
      return new TokenAuthenticator(
        Tokens.of(auth, () => logIn(auth, resolved, options)),
        hide,
        (request, token) => {
          if (place === 'query') request.url.searchParams.set(name, prefix + token);
          else if (place === 'cookie') request.headers['cookie'] = `${name}=${encodeURIComponent(token)}`;
          else request.headers[name.toLowerCase()] = prefix + token;
        },
      );
    }
    case 'oauth2':
      return new TokenAuthenticator(
        Tokens.of([auth, options.destination], () => grant(auth, resolved, options)),
        hide,
        (request, token) => (request.headers['authorization'] = `Bearer ${token}`),
      );
    case 'signature':
      return new Signer(auth.hook, auth.settings, options.hooks, resolved.mask);
  }
}

interface Token {
  text: string;
  /** Milliseconds since 1970; Infinity where the source does not say. */
  expiresAt: number;
}

/** One token for all streams and calls of this process that sign in with the same words. */
class Tokens {
  private static readonly all = new Map<string, Tokens>();
  private token: Token | null = null;
  private pending: Promise<Token> | null = null;

  private constructor(private readonly obtain: () => Promise<Token>) {}

  static of(what: unknown, obtain: () => Promise<Token>): Tokens {
    const key = createHash('sha256').update(JSON.stringify(what)).digest('hex');
    const tokens = Tokens.all.get(key) ?? new Tokens(obtain);
    Tokens.all.set(key, tokens);
    return tokens;
  }

  async current(): Promise<string> {
    if (this.token === null || this.token.expiresAt <= Date.now()) {
      this.pending ??= this.obtain().finally(() => (this.pending = null));
      this.token = await this.pending;
    }
    return this.token.text;
  }

  /** Another stream may have got a new one already. */
  forget(refused: string): void {
    if (this.token?.text === refused) this.token = null;
  }
}

class TokenAuthenticator implements Authenticator {
  private readonly used = new WeakMap<HttpRequest, string>();

  constructor(
    private readonly tokens: Tokens,
    private readonly hide: (secret: string) => void,
    private readonly put: (request: HttpRequest, token: string) => void,
  ) {}

  async authorize(request: HttpRequest): Promise<void> {
    const token = await this.tokens.current();
    this.hide(token);
    this.used.set(request, token);
    this.put(request, token);
  }

  renew(request: HttpRequest): boolean {
    this.tokens.forget(this.used.get(request) ?? '');
    return true;
  }
}

/** What a hook is given, and gives: headers to add. */
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
    private readonly folder: string,
    private readonly mask: (text: string) => string,
  ) {}

  async authorize(request: HttpRequest): Promise<void> {
    this.loaded ??= this.load();
    const sign = await this.loaded;
    const { method, url, headers, body } = request;
    try {
      const added = await sign({ method, url: url.href, headers: { ...headers }, body }, this.settings);
      for (const [name, value] of Object.entries(added)) headers[name.toLowerCase()] = String(value);
    } catch (thrown) {
      // It may name what it was given.
      const said = `the hook ${this.hook} failed: ${this.mask(messageOf(thrown))}`;
      throw new SourceUnavailableError(request.shown, said, method);
    }
  }

  renew(): boolean {
    return false;
  }

  private async load(): Promise<Sign> {
    // The name is checked to be one: a configuration must not lead to any file of the worker's machine.
    const path = resolve(this.folder, `${this.hook}.mjs`);
    const refused = (message: string) => new ConfigurationError([{ path: 'auth.hook', message }]);
    if (!existsSync(path)) throw refused(`there is no ${path} where the worker runs`);
    let module: { sign?: unknown };
    try {
      module = (await import(pathToFileURL(path).href)) as { sign?: unknown };
    } catch (thrown) {
      throw refused(`${path} cannot be loaded: ${messageOf(thrown)}`);
    }
    if (typeof module.sign !== 'function') throw refused(`${path} exports no function "sign"`);
    return module.sign as Sign;
  }
}

async function logIn(auth: SessionAuth, resolved: ResolvedRequest, options: AuthOptions): Promise<Token> {
  const { method, url, headers, body, bodyAs } = auth.login;
  const sent = body === null ? null : encodeBody(body, bodyAs);
  const answer = await exchange(
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
  const seconds = auth.expiresIn === null ? undefined : valueAtPath(answer, auth.expiresIn);
  return tokenOf(url, token, seconds, resolved);
}

async function grant(auth: OAuth2Auth, resolved: ResolvedRequest, options: AuthOptions): Promise<Token> {
  const { clientId, clientSecret, refreshToken, scopes } = auth;
  const store =
    options.destination === null || refreshToken === null
      ? null
      : new CredentialStore(options.destination, [auth.tokenUrl, clientId, clientSecret, refreshToken]);
  const kept = store?.load() ?? null;
  // Another process may have used the refresh token since: what it got is as good.
  if (
    kept?.accessToken !== undefined &&
    (kept.expiresAt ?? 0) > Date.now() &&
    !issued.has(kept.accessToken)
  ) {
    issued.add(kept.accessToken);
    return { text: kept.accessToken, expiresAt: kept.expiresAt ?? 0 };
  }
  const refresh = kept?.refreshToken ?? refreshToken;
  if (refresh !== null) resolved.hide(refresh);
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
  const basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`);
  const answer = await exchange(
    {
      method: 'POST',
      url: new URL(auth.tokenUrl),
      headers: {
        'content-type': type,
        ...(auth.clientAuth === 'basic' && { authorization: `Basic ${basic.toString('base64')}` }),
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
    expires_in: seconds,
  } = answer as Record<string, unknown>;
  if (typeof next === 'string') resolved.hide(next);
  const token = tokenOf(auth.tokenUrl, access, seconds, resolved);
  issued.add(token.text);
  // Before it is used: the server may have made the one before worthless.
  store?.save({
    refreshToken: typeof next === 'string' ? next : (refresh ?? ''),
    accessToken: token.text,
    expiresAt: Number.isFinite(token.expiresAt) ? token.expiresAt : 0,
  });
  return token;
}

/** Access tokens that this process has had: when one of them is refused, what is kept is no better. */
const issued = new Set<string>();

function tokenOf(url: string, token: unknown, seconds: unknown, resolved: ResolvedRequest): Token {
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
  resolved.hide(text);
  const good = seconds === null ? NaN : Number(seconds);
  // Renewed a little early, so that it does not expire on its way.
  const expiresAt = Number.isFinite(good) ? Date.now() + (good - Math.min(30, good / 10)) * 1000 : Infinity;
  return { text, expiresAt };
}

/** Asks for a token; its answer as JSON. It serves all who wait for it, and so is no single call's to abort. */
async function exchange(
  request: HttpRequest,
  resolved: ResolvedRequest,
  options: AuthOptions,
): Promise<unknown> {
  const { mask } = resolved;
  const address = mask(request.url.href.replace(/[?#].*$/s, ''));
  const watch = new Watch(new AbortController().signal, options.timeoutSeconds * 1000);
  let status: number;
  let text: string;
  try {
    const headers = { accept: 'application/json', 'user-agent': 'highwater', ...request.headers };
    const response = await send({ ...request, headers, shown: address }, watch);
    ({ status } = response);
    text = await readSome(response);
  } catch (thrown) {
    if (thrown instanceof SourceRefusedError) throw thrown;
    const why = watch.timedOut
      ? `nothing came for ${options.timeoutSeconds} s`
      : mask(messageOf(thrown)).replace(/^request to \S+ failed, reason: ?/, '');
    throw new SourceUnavailableError(address, `signing in failed: ${why}`, request.method);
  } finally {
    watch.end();
  }
  if (status >= 500 || status === 408 || status === 429) {
    throw new SourceUnavailableError(address, `signing in failed: the answer was ${status}`, request.method);
  }
  if (status < 200 || status > 299) {
    const words = mask(theirWords(mask(text)));
    const said = `signing in was refused: ${status}${words === '' ? '' : `: ${words}`}`;
    throw new SourceRefusedError(address, said, status, words, request.method);
  }
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer === 'object' && answer !== null) return answer;
  } catch {
    // Said below.
  }
  throw new SourceRefusedError(
    address,
    'signing in gave an answer that is no JSON object',
    null,
    '',
    request.method,
  );
}

const lowerCase = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
