import { createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { REFERENCE_REQUEST } from '../config/reference-source.js';
import { SECRET_NAME } from '../secrets/credential-names.js';
import { holdsReference, REFERENCE } from '../secrets/reference-syntax.js';
import { ConfigurationError, messageOf, NotAllowedError, type Problem } from '../errors.js';
import {
  allItems,
  type Auth,
  type OAuth2Auth,
  type RecordShape,
  type RequestSpec,
  type SessionAuth,
} from '../protocol.js';
import {
  isProviderKind,
  placeOf,
  PROVIDER_REFERENCE,
  secretName,
  type ProviderKind,
} from '../secrets/names.js';
import { itemColumn } from './shaping/protection-of.js';
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

/** A request with resolved references, and how to show it to people. */
export interface ResolvedRequest {
  /** The address, without the values that a parent record provides. */
  url: URL;
  /** Returns the address of a page, and of a parent. */
  at: (values: Values) => URL;
  /** Headers, including fixed credentials. */
  headers: Record<string, Template>;
  /** Query parameters of every request, including fixed credentials. */
  params: Record<string, Template>;
  body: BodyTemplate | null;
  /** Cursor values used in texts, which are not sent as parameters of their own. */
  placed: ReadonlySet<string>;
  /** Whether the token is only sent as a whole value in the body. */
  isTokenWhole: boolean;
  /** Authentication whose credentials change between requests, with resolved references. */
  auth: SessionAuth | OAuth2Auth | Extract<Auth, { type: 'signature' }> | null;
  /** Names of query parameters with credentials, which are never stored. */
  secretParams: string[];
  /** Keys for hashes, by their columns. */
  hashKeys: ReadonlyMap<string, KeyObject>;
  /** Masks all secrets in a text: an address, an error message, an answer's body. */
  mask: (text: string) => string;
  /** The secrets that {@link mask} masks; credentials obtained later are added to them. */
  secrets: Secrets;
}

/**
 * Resolves references to secrets. Only for activities: the result must not enter history.
 * @param read secrets of providers that {@link referringParts} refer to.
 * @throws {ConfigurationError} naming everything that is missing.
 * @throws {NotAllowedError} if something is not allowed.
 */
export function resolveRequest(
  baseUrl: string,
  spec: Pick<RequestSpec, 'params' | 'headers' | 'auth' | 'body' | 'shape'> = REFERENCE_REQUEST,
  environment: NodeJS.ProcessEnv = process.env,
  trust = TrustPolicy.local(environment),
  read = ReadSecrets.none,
): ResolvedRequest {
  const references = new References(environment, trust, read);
  const address = addressTemplate(baseUrl, (text) =>
    references.resolve(text, 'base_url', (value) => {
      // The form in a host name.
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
  const hashKeys = new Map(
    Object.entries(hashKeysOf(spec.shape)).map(([column, text]) => {
      const key = references.resolve(text, `columns.${column}.key`);
      return [column, createSecretKey(Buffer.from(key))] as const;
    }),
  );
  references.check();
  const nothing: Values = { cursor: {}, parent: {} };
  for (const [name, header] of Object.entries(headers)) refuseHeader(name, header(nothing) ?? '');
  const at = (values: Values) => {
    const text = address(values);
    if (text === null || !URL.canParse(text)) {
      const message =
        text === null
          ? 'refers to a field that the parent record does not have'
          : 'is not a URL after its references are resolved';
      throw new ConfigurationError([{ path: 'base_url', message }]);
    }
    const made = new URL(text);
    requireHttp(made);
    return made;
  };
  const fields = referred(baseUrl, 'parent');
  const cursorValues = referred(baseUrl, 'cursor');
  const named = (names: Iterable<string>) =>
    Object.fromEntries([...names].map((name) => [name, `{${name}}`]));
  const url = at({ cursor: named(cursorValues), parent: named(fields) });
  const { secrets } = references;
  const [user, password] = [unescaped(url.username), unescaped(url.password)];
  if (password !== '') secrets.push(password);
  // The form in the header, which a source may quote.
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
    hashKeys,
    mask: (text) => hidden.mask(text),
    secrets: hidden,
  };
}

/** Returns the parts of a request that may refer to secrets. */
export const referringParts = (
  baseUrl: string,
  { params, headers, auth, body, shape }: Pick<RequestSpec, 'params' | 'headers' | 'auth' | 'body' | 'shape'>,
): unknown[] => [baseUrl, params, headers, auth, body, hashKeysOf(shape)];

/** The keys of hashes, as references, by their columns; those of child tables by {@link itemColumn}. */
function hashKeysOf(shape: RecordShape | null | undefined): { [column: string]: string } {
  const columns = [
    ...Object.entries(shape?.made ?? {}),
    ...allItems(shape?.items).flatMap((items) =>
      Object.entries(items.made).map(([column, made]) => [itemColumn(items, column), made] as const),
    ),
  ];
  return Object.fromEntries(
    columns.flatMap(([column, made]) =>
      'from' in made && typeof made.hash?.key === 'string' ? [[column, made.hash.key]] : [],
    ),
  );
}

/** @throws {ConfigurationError} */
function requireHttp({ protocol }: URL): void {
  if (protocol === 'http:' || protocol === 'https:') return;
  throw new ConfigurationError([
    {
      path: 'base_url',
      message: `resolves to a ${protocol}// address; only http:// and https:// are allowed`,
    },
  ]);
}

/** Refuses text that HTTP headers cannot contain. @throws {ConfigurationError} */
export function refuseHeader(name: string, value: string): void {
  if (!/[^\t\x20-\x7e\x80-\xff]/.test(value)) return;
  const message =
    'contains a character that is not allowed in HTTP headers, after its references are resolved';
  throw new ConfigurationError([{ path: `headers.${name}`, message }]);
}

/** A reference of any kind, or a character within a part of an address. */
const IN_PART = String.raw`(?:\$\{[^}]*\}|[^/?&#])`;
const ADDRESS_PARTS = new RegExp(`[/?&]${IN_PART}*|#.*|${IN_PART}+`, 'gs');

/**
 * Compiles an address to a template. Parts of the path and parameters without a cursor value yet (the token of a first
 * page) are omitted; the result is null if a parent lacks a field.
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
      // Preceding parameters may have been omitted.
      address += isParameter && !address.includes('?') ? `?${filled.slice(1)}` : filled;
    }
    return address;
  };
}

/** Problem of a reference to a value that the strategy always or never sends itself. */
const neverSent = (name: string): Problem => ({
  path: 'path',
  message:
    `refers to \${cursor:${name}}, which ` +
    (name === 'limit' ? 'is sent only if page_size is set' : 'the strategy does not send'),
});

/** Encodes a value as part of an address; it cannot lead to another path, however its dots are written. */
function encodeSegment(value: string): string {
  if (value !== '.' && value !== '..') return encodeURIComponent(value);
  const message = `refers to the value ${JSON.stringify(value)}, which would change the path`;
  throw new ConfigurationError([{ path: 'base_url', message }]);
}

/** Resolves references, and records their values and problems. */
export class References {
  readonly secrets: string[] = [];
  /** References by their values. */
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

  /** Returns a text with references instead of the values that they gave. */
  unresolved(text: string): string {
    const values = [...this.given.keys()].sort((x, y) => y.length - x.length);
    for (let at = 0, shown = ''; ;) {
      if (at >= text.length) return shown;
      const value = values.find((one) => text.startsWith(one, at));
      shown += value === undefined ? text.charAt(at) : (this.given.get(value) ?? '');
      at += value?.length ?? 1;
    }
  }

  /** Resolves every text in a value. */
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

  /** Throws the recorded problems. @throws {NotAllowedError | ConfigurationError} */
  check(): void {
    if (this.refusals.length > 0) throw new NotAllowedError(this.refusals.join('\n'));
    if (this.problems.length > 0) throw new ConfigurationError(this.problems);
  }

  /** Records refusals for {@link check}, which reports all of them at once. */
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
      const where = this.trust.isWorkers
        ? 'where the worker runs: set it there and restart the worker'
        : 'in the environment of this command';
      const message = `refers to the environment variable ${name}, which is not set ${where}`;
      this.problems.push({ path, message });
    }
    return value;
  }

  /** Returns a secret of a provider that was read beforehand. */
  private provided(kind: ProviderKind, text: string, path: string): string {
    const place = placeOf(secretName(kind, text));
    this.trust.requireSecret(place);
    const found = this.read.get(`${kind}:${text}`);
    if ('problem' in found) {
      this.problems.push({ path, message: `refers to the secret ${place}, which ${found.problem}` });
      return '';
    }
    // The source may still quote the previous secret.
    if (found.former !== null) this.secrets.push(found.former);
    return found.value;
  }

  /** Returns a file's content without a trailing newline. */
  private file(name: string, path: string): string {
    const found = this.trust.requireFile(name);
    try {
      const about = statSync(found);
      // Reading a pipe or device may never end.
      if (!about.isFile()) throw new Error('it is not a regular file');
      if (about.size > FILE_LIMIT) throw new Error(`it is larger than ${FILE_LIMIT} bytes`);
      const value = readFileSync(found, 'utf8').trim();
      if (value === '') throw new Error('it is empty');
      return value;
    } catch (thrown) {
      const where = this.trust.isWorkers ? 'where the worker runs' : 'by this command';
      const message = `refers to the file ${name}, which cannot be read ${where}: ${messageOf(thrown)}`;
      this.problems.push({ path, message });
      return '';
    }
  }
}

/** Secrets are small; a larger file is the wrong one. */
const FILE_LIMIT = 64 * 1024;

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Returns the decoded part of an address, or the part itself if it is malformed. */
export function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Returns origin and path, which identify a source, without credentials, references or query. */
export function sourceIdentity(baseUrl: string): string {
  // A file or provider reference looks like parts of an address. Other references stay: checkpoints are found by this
  // text.
  const names: string[] = [];
  return baseUrl
    .replace(PROVIDER_REFERENCE, (reference) => `\ue000${names.push(reference) - 1}\ue001`)
    .replace(/[?#].*$/s, '')
    .replace(/^([a-z]+:\/\/)[^/]*@/i, '$1')
    .replace(/\/+$/, '')
    .replace(/\ue000(\d+)\ue001/g, (_, at: string) => names[Number(at)] ?? '');
}
