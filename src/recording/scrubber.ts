/** Removes secrets from what a recording keeps of requests and answers. */
import { isCredential } from '../secrets/credential-names.js';
import { MASK, Secrets } from '../secrets/masking.js';
import { holdsReference } from '../secrets/reference-syntax.js';
import type { StreamPlan } from '../protocol.js';
import { credentialsOfHeader } from '../sources/auth.js';
import { References, referringParts } from '../sources/references.js';
import { resolvedRequestOf } from '../sources/stream-source.js';
import type { Surroundings } from '../surroundings.js';
import { contentOf, isJson, type Content, type Exchange } from './exchange.js';
import { indented } from './indented.js';
import { withoutSignatures } from './signatures.js';

/** A shorter value, such as a region, would be found in any answer. */
const SEARCHED_LENGTH = 8;
/** Headers whose values are credentials. */
const CREDENTIAL_HEADER = /auth|key|token|secret|passw|sign|hmac|credential|cookie|session/;

/** Headers that tell how to go on, and when. */
const KEPT_HEADER =
  /^(content-type|link|location|content-range|retry-after(-ms)?|x-ms-retry-after-ms)$|^(x-)?rate-?limit/;

/** What was removed, for people. */
export interface Removed {
  /** Places of requests and answers that held a secret. */
  places: number;
  /** Names of headers that were left out. */
  requestHeaders: Set<string>;
  responseHeaders: Set<string>;
  /** References whose values are too short to be searched for in answers. */
  short: Set<string>;
}

export const nothingRemoved = (): Removed => ({
  places: 0,
  requestHeaders: new Set(),
  responseHeaders: new Set(),
  short: new Set(),
});

/** Knows the secrets of one stream. Recording and test use the same one, so that they write a request alike. */
export class Scrubber {
  private constructor(
    /** All secrets, for requests. */
    private readonly all: Secrets,
    /** Those that are searched for in answers. */
    private readonly long: Secrets,
    /** The same as they are spelt in bytes that are no UTF-8, each byte a character. */
    private readonly inBytes: Secrets,
    /** Parameters that hold nothing but a credential. */
    private readonly credentials: readonly string[],
    private readonly hosts: { real: string; masked: string } | null,
    private readonly logins: readonly string[],
    private readonly headers: readonly string[],
    private readonly sent: SentCredential,
    /** Parameters whose values tell requests apart. */
    private readonly paging: ReadonlySet<string>,
    readonly removed: Removed,
  ) {}

  static async of(
    plan: StreamPlan,
    surroundings: Surroundings,
    removed = nothingRemoved(),
  ): Promise<Scrubber> {
    const { baseUrl, request } = plan;
    const { environment, trust, secrets } = surroundings;
    const parts = referringParts(baseUrl, request);
    const references = new References(environment, trust, await secrets.read(parts, trust));
    references.all(parts, '');
    const values = [...references.secrets];
    for (const [name, value] of Object.entries(request.params))
      if (isCredential(name) && value !== '' && !holdsReference(value)) values.push(value);
    const resolved = await resolvedRequestOf(plan, surroundings);
    for (const password of [resolved.url.password]) if (password !== '') values.push(password);
    for (const value of values)
      if (value.length < SEARCHED_LENGTH) removed.short.add(references.unresolved(value));
    const all = new Secrets(values);
    const isHostSecret = holdsReference(/^[a-z]+:\/\/(?:\$\{[^}]*\}|[^/?#])*/i.exec(baseUrl)?.[0] ?? '');
    const { host } = resolved.url;
    const long = values.filter(({ length }) => length >= SEARCHED_LENGTH);
    return new Scrubber(
      all,
      new Secrets(long),
      new Secrets(long.flatMap(spelledInBytes)),
      credentialParameters(plan),
      isHostSecret ? { real: host, masked: all.mask(host) } : null,
      loginAddresses(resolved.auth),
      namedHeaders(plan),
      sentCredential(plan),
      pagingParameters(plan),
      removed,
    );
  }

  /** Whether a request obtains credentials: such requests are not kept, nor where they are redirected to. */
  isLogin(url: URL): boolean {
    return this.logins.includes(url.origin + url.pathname);
  }

  /** Learns the credentials that a request carries, which an answer may repeat. */
  learnFrom(headers: Iterable<[string, string]>): void {
    for (const [name, value] of headers) {
      this.removed.requestHeaders.add(name);
      for (const secret of this.sent(name, value)) this.learn(secret);
      if (!CREDENTIAL_HEADER.test(name)) continue;
      const encoded = /^basic\s+(\S+)$/i.exec(value)?.[1] ?? '';
      const password = Buffer.from(encoded, 'base64')
        .toString()
        .replace(/^[^:]*:/, '');
      const words = value.split(/[\s,;]+/).map((word) => word.replace(/^[^=]*=(?=.)"?|"$/g, ''));
      for (const secret of [value, ...words, password]) this.learn(secret);
    }
  }

  private learn(secret: string): void {
    if (secret.length < SEARCHED_LENGTH) return;
    this.all.addPassing(secret);
    this.long.addPassing(secret);
    for (const spelled of spelledInBytes(secret)) this.inBytes.addPassing(spelled);
  }

  request(method: string, url: URL, body: string | null): Exchange['request'] {
    const shown = new URL(url);
    [shown.username, shown.password, shown.hash] = ['', '', ''];
    for (const name of this.credentials) {
      const value = shown.searchParams.get(name);
      if (value === null) continue;
      this.removed.places++;
      shown.searchParams.delete(name);
      this.learn(value);
    }
    const content = body === null ? null : contentOf(Buffer.from(body));
    return {
      method,
      url: this.masked(this.unsigned(shown.href), this.all),
      content: this.cleared(content, this.all),
    };
  }

  answer(content: Content | null): Content | null {
    return this.cleared(content, this.long);
  }

  /** Returns the headers that paging and rate limits need. */
  responseHeaders(headers: Iterable<[string, string]>): { [name: string]: string } {
    const kept: { [name: string]: string } = {};
    for (const [name, value] of headers) {
      const isKept = KEPT_HEADER.test(name) || this.headers.includes(name);
      if (isKept) kept[name] = this.masked(this.unsigned(this.withoutHost(value)), this.long);
      else this.removed.responseHeaders.add(name);
    }
    return kept;
  }

  private cleared(content: Content | null, secrets: Secrets): Content | null {
    if (content === null) return null;
    const clean = (text: string) => this.unsigned(this.withoutHost(text));
    if ('base64' in content) {
      const bytes = clean(Buffer.from(content.base64, 'base64').toString('latin1'));
      return { base64: Buffer.from(this.masked(bytes, this.inBytes), 'latin1').toString('base64') };
    }
    if ('text' in content) return { text: this.masked(clean(content.text), secrets) };
    const json = clean(content.json);
    if (!secrets.holds(json)) return { json };
    const clear = (token: string) => {
      const masked = this.masked(token, secrets);
      // A number that is a secret.
      return isJson(masked) ? masked : JSON.stringify(MASK);
    };
    return { json: indented(json, clear) };
  }

  private withoutHost(text: string): string {
    if (this.hosts === null) return text;
    const { real, masked } = this.hosts;
    return text.replaceAll(`//${real}`, `//${masked}`).replaceAll(`\\/\\/${real}`, `\\/\\/${masked}`);
  }

  private unsigned(text: string): string {
    const shown = withoutSignatures(text, (name) => this.paging.has(name));
    this.count(text, shown);
    return shown;
  }

  private masked(text: string, secrets: Secrets): string {
    const masked = secrets.mask(text);
    this.count(text, masked);
    return masked;
  }

  private count(text: string, masked: string): void {
    if (masked !== text) this.removed.places += masked.split(MASK).length - text.split(MASK).length;
  }
}

/** Spellings of a secret in Latin-1 and in UTF-8, each byte a character. */
const spelledInBytes = (secret: string): string[] => [secret, Buffer.from(secret).toString('latin1')];

/** Returns the credentials in a header of a request that are known by what sends them, whatever the header's name. */
type SentCredential = (header: string, value: string) => string[];

function sentCredential({ request: { auth, headers } }: StreamPlan): SentCredential {
  if ((auth.type === 'api_key' || auth.type === 'session') && auth.in === 'header') {
    const { name } = auth;
    const prefix = auth.type === 'session' ? auth.prefix : '';
    const without = (value: string) => (value.startsWith(prefix) ? value.slice(prefix.length) : value);
    return (header, value) => (header === name.toLowerCase() ? [value, without(value)] : []);
  }
  if (auth.type !== 'signature') return () => [];
  const configured = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  return (header, value) => (configured.has(header) ? [] : credentialsOfHeader(header, value));
}

/** Parameters that page, or that name a parent: their values are no credentials, whatever their names. */
function pagingParameters({ request: { names, params } }: StreamPlan): Set<string> {
  const templated = Object.entries(params).filter(([, value]) => /\$\{(cursor|parent):/.test(value));
  return new Set([...Object.values(names), ...templated.map(([name]) => name)]);
}

function credentialParameters({ request: { auth } }: StreamPlan): string[] {
  return (auth.type === 'api_key' || auth.type === 'session') && auth.in === 'query' ? [auth.name] : [];
}

function loginAddresses(auth: Awaited<ReturnType<typeof resolvedRequestOf>>['auth']): string[] {
  const address = auth?.type === 'session' ? auth.login.url : auth?.type === 'oauth2' ? auth.tokenUrl : null;
  if (address === null || !URL.canParse(address)) return [];
  const { origin, pathname } = new URL(address);
  return [origin + pathname];
}

/** Headers of answers that a configuration reads, in lower case. */
function namedHeaders({ request }: StreamPlan): string[] {
  const { next, total, more, totalPages = null, rateLimit } = request;
  const places = [total, more, totalPages].map((place) =>
    typeof place === 'object' && place !== null && 'header' in place ? place.header : null,
  );
  const limits = [rateLimit?.remainingHeader ?? null, rateLimit?.resetHeader ?? null];
  return [next.in === 'header' ? next.name : null, ...places, ...limits].flatMap(
    (name) => name?.toLowerCase() ?? [],
  );
}
