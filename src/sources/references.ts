import { readFileSync, statSync } from 'node:fs';
import { REFERENCE_REQUEST } from '../config/flat.js';
import { SECRET_NAME } from '../secrets/credential-names.js';
import { holdsReference, REFERENCE } from '../secrets/reference-syntax.js';
import { ConfigurationError, messageOf, NotAllowedError, type Problem } from '../errors.js';
import type { Auth, OAuth2Auth, RequestSpec, SessionAuth } from '../protocol.js';
import {
  isProviderKind,
  placeOf,
  PROVIDER_REFERENCE,
  secretName,
  type ProviderKind,
} from '../secrets/names.js';
import { ReadSecrets } from '../secrets/read-secrets.js';
import { Secrets } from '../secrets/masking.js';
import { TrustPolicy } from '../trust/policy.js';
import {
  bodyTemplate,
  COUNTED,
  references as referencesTo,
  referred,
  template,
  wholeReferences,
  type BodyTemplate,
  type Template,
  type Values,
} from '../request/templates.js';

/** A request whose references are resolved, and how to show it to people. */
export interface ResolvedRequest {
  /** The address; what only a parent record gives is not filled in. */
  url: URL;
  /** The address for a page, and for a parent. */
  at: (values: Values) => URL;
  /** Credentials that stay the same included. */
  headers: Record<string, Template>;
  /** Query parameters of every request, such credentials included. */
  params: Record<string, Template>;
  body: BodyTemplate | null;
  /** Cursor values that some text refers to: they are not sent as parameters of their own. */
  placed: ReadonlySet<string>;
  /** The token is only ever sent as a value of its own in the body. */
  isTokenWhole: boolean;
  /** Credentials that are got or made while requests are; its references are resolved. */
  auth: SessionAuth | OAuth2Auth | Extract<Auth, { type: 'signature' }> | null;
  /** Names of query parameters that hold a credential: they are left out of what is kept. */
  secretParams: string[];
  /** Hides every secret in a text: in an address, an error's message, an answer's body. */
  mask: (text: string) => string;
  /** The secrets that {@link mask} hides; those that are got or made while requests are belong to them. */
  secrets: Secrets;
}

/**
 * Resolves references to secrets. Called in activities only: what comes out must not enter history.
 * @param read secrets of providers that {@link referringParts} refer to.
 * @throws {ConfigurationError} naming everything that is not there.
 * @throws {NotAllowedError} where something is not listed.
 */
export function resolveRequest(
  baseUrl: string,
  spec: Pick<RequestSpec, 'params' | 'headers' | 'auth' | 'body'> = REFERENCE_REQUEST,
  environment: NodeJS.ProcessEnv = process.env,
  trust = TrustPolicy.local(environment),
  read = ReadSecrets.none,
): ResolvedRequest {
  const references = new References(environment, trust, read);
  const address = addressTemplate(baseUrl, (text) =>
    references.resolve(text, 'base_url', (value) => {
      // As a part of the host's name.
      references.secrets.push(value.toLowerCase());
      return encodeURIComponent(value);
    }),
  );
  const each = (map: Record<string, string>, path: string) =>
    Object.fromEntries(
      Object.entries(map).map(([name, text]) => [
        name,
        template(text, (literal) => references.resolve(literal, `${path}.${name}`)),
      ]),
    );
  const headers = each(spec.headers, 'headers');
  const params = each(spec.params, 'params');
  const secretParams = Object.keys(spec.params).filter((name) => holdsReference(spec.params[name] ?? ''));
  const body =
    spec.body === undefined || spec.body === null
      ? null
      : bodyTemplate(spec.body, (literal) => references.resolve(literal, 'body'));
  const { auth } = spec;
  let dynamic: ResolvedRequest['auth'] = null;
  switch (auth.type) {
    case 'none':
      break;
    case 'basic': {
      const user = references.resolve(auth.username, 'auth.username');
      const secret = base64(`${user}:${references.resolve(auth.password, 'auth.password')}`);
      references.secrets.push(secret);
      headers['authorization'] = () => `Basic ${secret}`;
      break;
    }
    case 'bearer': {
      const token = references.resolve(auth.token, 'auth.token');
      headers['authorization'] = () => `Bearer ${token}`;
      break;
    }
    case 'api_key': {
      const value = references.resolve(auth.value, 'auth.value');
      if (auth.in === 'query') {
        params[auth.name] = () => value;
        secretParams.push(auth.name);
      } else if (auth.in === 'cookie') headers['cookie'] = () => `${auth.name}=${encodeURIComponent(value)}`;
      else headers[auth.name] = () => value;
      break;
    }
    default:
      dynamic = references.all(auth, 'auth');
      if (auth.type === 'session' && auth.in === 'query') secretParams.push(auth.name);
  }
  references.check();
  const nothing: Values = { cursor: {}, parent: {} };
  for (const [name, header] of Object.entries(headers)) refuseHeader(name, header(nothing) ?? '');
  const at = (values: Values) => {
    const text = address(values);
    if (text === null || !URL.canParse(text)) {
      const message =
        text === null
          ? 'refers to a field of the parent that its record does not have'
          : 'is not a URL once its references are resolved';
      throw new ConfigurationError([{ path: 'base_url', message }]);
    }
    return new URL(text);
  };
  const fields = referred(baseUrl, 'parent');
  const cursorValues = referred(baseUrl, 'cursor');
  const named = (names: Iterable<string>) =>
    Object.fromEntries([...names].map((name) => [name, `{${name}}`]));
  const url = at({ cursor: named(cursorValues), parent: named(fields) });
  const { secrets } = references;
  const [user, password] = [unescaped(url.username), unescaped(url.password)];
  if (password !== '') secrets.push(password);
  // As the header has it: a source may say back what it was sent.
  if (user !== '' || password !== '') secrets.push(base64(`${user}:${password}`));
  for (const [name, value] of url.searchParams)
    if (SECRET_NAME.test(name) && value !== '') secrets.push(value);
  const hidden = new Secrets(secrets);
  const texts = [baseUrl, spec.params, spec.headers, spec.body];
  const wholes = wholeReferences(spec.body, 'scroll_param');
  return {
    url,
    at: fields.size + cursorValues.size === 0 ? () => new URL(url) : at,
    headers,
    params,
    body,
    placed: referred(texts, 'cursor'),
    isTokenWhole: wholes > 0 && referencesTo(texts, 'scroll_param') === wholes,
    auth: dynamic,
    secretParams,
    mask: (text) => hidden.mask(text),
    secrets: hidden,
  };
}

/** The parts of a request that may refer to secrets. */
export const referringParts = (
  baseUrl: string,
  { params, headers, auth, body }: Pick<RequestSpec, 'params' | 'headers' | 'auth' | 'body'>,
): unknown[] => [baseUrl, params, headers, auth, body];

/** Refuses what no HTTP header may hold. @throws {ConfigurationError} */
export function refuseHeader(name: string, value: string): void {
  if (!/[^\t\x20-\x7e\x80-\xff]/.test(value)) return;
  const message = 'holds a character that no HTTP header may hold, once its references are resolved';
  throw new ConfigurationError([{ path: `headers.${name}`, message }]);
}

/** A reference of any kind, or a letter that ends no part of an address. */
const IN_PART = String.raw`(?:\$\{[^}]*\}|[^/?&#])`;
const ADDRESS_PARTS = new RegExp(`[/?&]${IN_PART}*|#.*|${IN_PART}+`, 'gs');

/**
 * Makes a template of an address. A part of the path or a parameter whose cursor value is not there yet (the token of
 * a first page) is left out; null where a parent lacks a field.
 */
function addressTemplate(text: string, resolve: (literal: string) => string): Template {
  const pieces = text.match(ADDRESS_PARTS) ?? [];
  const query = pieces.findIndex((piece) => piece.startsWith('?'));
  const parts = pieces.map((piece, i) => ({
    fill: template(piece, resolve, encodeSegment),
    names: [...referred(piece, 'cursor')],
    isParameter: query !== -1 && i > query && piece.startsWith('&'),
  }));
  return (values) => {
    let address = '';
    for (const { fill, names, isParameter } of parts) {
      const absent = names.filter((name) => !Object.hasOwn(values.cursor, name));
      const unsent = absent.find((name) => COUNTED.includes(name));
      if (unsent !== undefined) throw new ConfigurationError([neverSent(unsent)]);
      if (absent.length > 0) continue;
      const filled = fill(values);
      if (filled === null) return null;
      // Those before it may have been left out.
      address += isParameter && !address.includes('?') ? `?${filled.slice(1)}` : filled;
    }
    return address;
  };
}

/** What the strategy counts it sends with every request, or with none. */
const neverSent = (name: string): Problem => ({
  path: 'path',
  message:
    `refers to \${cursor:${name}}, which ` +
    (name === 'limit' ? 'is sent only where page_size is given' : 'the strategy does not send'),
});

/** A value as a part of an address: none may lead to another path, and no writing of dots keeps these from it. */
function encodeSegment(value: string): string {
  if (value !== '.' && value !== '..') return encodeURIComponent(value);
  const message = `refers to a value that is ${JSON.stringify(value)}: that would be another address`;
  throw new ConfigurationError([{ path: 'base_url', message }]);
}

/** Resolves references, and remembers what came out and what did not. */
export class References {
  readonly secrets: string[] = [];
  /** References by what they gave. */
  private readonly given = new Map<string, string>();
  private readonly problems: Problem[] = [];
  private readonly refusals: string[] = [];

  constructor(
    private readonly environment: NodeJS.ProcessEnv,
    private readonly trust = TrustPolicy.local(environment),
    private readonly read = ReadSecrets.none,
  ) {}

  resolve(text: string, path: string, escape: (value: string) => string = (value) => value): string {
    return text.replace(REFERENCE, (reference, kind: string, name: string) => {
      const value = this.allowed(path, () => {
        if (isProviderKind(kind)) return this.provided(kind, name, path);
        return kind === 'file' ? this.file(name, path) : this.variable(name, path);
      });
      if (value !== '') {
        this.secrets.push(value);
        for (const written of [value, escape(value), encodeURIComponent(value)])
          if (!this.given.has(written)) this.given.set(written, reference);
      }
      return escape(value);
    });
  }

  /** A text that was made with these references, with references again in place of all that they gave. */
  unresolved(text: string): string {
    const values = [...this.given.keys()].sort((x, y) => y.length - x.length);
    for (let at = 0, shown = ''; ;) {
      if (at >= text.length) return shown;
      const value = values.find((one) => text.startsWith(one, at));
      shown += value === undefined ? text.charAt(at) : (this.given.get(value) ?? '');
      at += value?.length ?? 1;
    }
  }

  /** Every text in a value. */
  all<T>(value: T, path: string): T {
    if (typeof value === 'string') return this.resolve(value, path) as T;
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map((item: unknown, i) => this.all(item, `${path}[${i}]`)) as T;
    const members = Object.entries(value).map(([name, inner]: [string, unknown]) => [
      name,
      this.all(inner, `${path}.${name}`),
    ]);
    return Object.fromEntries(members) as T;
  }

  /** @throws {NotAllowedError | ConfigurationError} */
  check(): void {
    if (this.refusals.length > 0) throw new NotAllowedError(this.refusals.join('\n'));
    if (this.problems.length > 0) throw new ConfigurationError(this.problems);
  }

  /** Keeps what is refused for {@link check}, so that it names everything at once. */
  private allowed(path: string, read: () => string): string {
    try {
      return read();
    } catch (thrown) {
      if (!(thrown instanceof NotAllowedError)) throw thrown;
      this.refusals.push(`${path}: ${thrown.message}`);
      return '';
    }
  }

  private variable(name: string, path: string): string {
    this.trust.requireVariable(name);
    const value = Object.hasOwn(this.environment, name) ? (this.environment[name] ?? '') : '';
    if (value === '') {
      const message = `refers to the environment variable ${name}, which is not set where the worker runs`;
      this.problems.push({ path, message });
    }
    return value;
  }

  /** A secret of a provider, which has been read before. */
  private provided(kind: ProviderKind, text: string, path: string): string {
    const place = placeOf(secretName(kind, text));
    this.trust.requireSecret(place);
    const found = this.read.get(`${kind}:${text}`);
    if ('problem' in found) {
      this.problems.push({ path, message: `refers to the secret ${place}, which ${found.problem}` });
      return '';
    }
    // The source may still say the one before.
    if (found.former !== null) this.secrets.push(found.former);
    return found.value;
  }

  /** A file's content without the line end that editors leave. */
  private file(name: string, path: string): string {
    const found = this.trust.requireFile(name);
    try {
      const about = statSync(found);
      // A pipe or a device may never end.
      if (!about.isFile()) throw new Error('it is no ordinary file');
      if (about.size > FILE_LIMIT) throw new Error(`it is larger than ${FILE_LIMIT} bytes`);
      const value = readFileSync(found, 'utf8').trim();
      if (value === '') throw new Error('it is empty');
      return value;
    } catch (thrown) {
      const message = `refers to the file ${name}, which cannot be read where the worker runs: ${messageOf(thrown)}`;
      this.problems.push({ path, message });
      return '';
    }
  }
}

/** A secret is small; more than this is some other file. */
const FILE_LIMIT = 64 * 1024;

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A piece of an address as it is meant; as it stands where it is no such piece. */
export function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Origin and path: what tells one source from another, without credentials, references or query. */
export function sourceIdentity(baseUrl: string): string {
  // What such a reference names looks like parts of an address. Others stay as they are: checkpoints are found by this text.
  const names: string[] = [];
  return baseUrl
    .replace(PROVIDER_REFERENCE, (reference) => `\ue000${names.push(reference) - 1}\ue001`)
    .replace(/[?#].*$/s, '')
    .replace(/^([a-z]+:\/\/)[^/]*@/i, '$1')
    .replace(/\/+$/, '')
    .replace(/\ue000(\d+)\ue001/g, (_, at: string) => names[Number(at)] ?? '');
}
