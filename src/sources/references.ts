import { readFileSync, statSync } from 'node:fs';
import { REFERENCE, REFERENCE_REQUEST } from '../config/flat.js';
import { ConfigurationError, messageOf, type Problem } from '../errors.js';
import type { RequestSpec } from '../protocol.js';

/** Query parameters whose values are hidden wherever a URL is shown, reference or not. */
const SECRET_NAME = /key|token|secret|passw|signature|^sig$|auth|credential/i;

/** A request whose references are resolved, and how to show it to people. */
export interface ResolvedRequest {
  url: URL;
  /** Credentials included. */
  headers: Record<string, string>;
  /** Query parameters of every request, credentials included. */
  params: Record<string, string>;
  /** Names of query parameters that hold a credential: they are left out of what is kept. */
  secretParams: string[];
  /** Hides every secret in a text: in an address, an error's message, an answer's body. */
  mask: (text: string) => string;
}

/**
 * Resolves `${env:NAME}` and `${file:PATH}`. Called in activities only: what comes out must not enter history.
 * @throws {ConfigurationError} naming everything that is not there.
 */
export function resolveRequest(
  baseUrl: string,
  spec: Pick<RequestSpec, 'params' | 'headers' | 'auth'> = REFERENCE_REQUEST,
  environment: NodeJS.ProcessEnv = process.env,
): ResolvedRequest {
  const references = new References(environment);
  const text = references.resolve(baseUrl, 'base_url', encodeURIComponent);
  const each = (map: Record<string, string>, path: string) =>
    Object.fromEntries(
      Object.entries(map).map(([name, value]) => [name, references.resolve(value, `${path}.${name}`)]),
    );
  const headers = each(spec.headers, 'headers');
  const params = each(spec.params, 'params');
  const secretParams = Object.keys(spec.params).filter((name) => spec.params[name] !== params[name]);
  const { auth } = spec;
  switch (auth.type) {
    case 'none':
      break;
    case 'basic': {
      const user = references.resolve(auth.username, 'auth.username');
      const secret = base64(`${user}:${references.resolve(auth.password, 'auth.password')}`);
      references.secrets.push(secret);
      headers['authorization'] = `Basic ${secret}`;
      break;
    }
    case 'bearer':
      headers['authorization'] = `Bearer ${references.resolve(auth.token, 'auth.token')}`;
      break;
    case 'api_key': {
      const value = references.resolve(auth.value, 'auth.value');
      if (auth.in === 'query') {
        params[auth.name] = value;
        secretParams.push(auth.name);
      } else if (auth.in === 'cookie') headers['cookie'] = `${auth.name}=${encodeURIComponent(value)}`;
      else headers[auth.name] = value;
    }
  }
  references.check();
  for (const [name, value] of Object.entries(headers)) {
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      const message = 'holds a character that no HTTP header may hold, once its references are resolved';
      throw new ConfigurationError([{ path: `headers.${name}`, message }]);
    }
  }
  if (!URL.canParse(text)) {
    const message = 'is not a URL once its references are resolved';
    throw new ConfigurationError([{ path: 'base_url', message }]);
  }
  const url = new URL(text);
  const { secrets } = references;
  const [user, password] = [unescaped(url.username), unescaped(url.password)];
  if (password !== '') secrets.push(password);
  // As the header has it: a source may say back what it was sent.
  if (user !== '' || password !== '') secrets.push(base64(`${user}:${password}`));
  for (const [name, value] of url.searchParams)
    if (SECRET_NAME.test(name) && value !== '') secrets.push(value);
  // Longest first, so that a secret that holds another is hidden whole.
  const hidden = [...new Set(secrets)].sort((x, y) => y.length - x.length).flatMap(patterns);
  const mask = (shown: string) => hidden.reduce((t, pattern) => t.replace(pattern, '***'), shown);
  return { url, headers, params, secretParams, mask };
}

/** Resolves references, and remembers what came out and what did not. */
class References {
  readonly secrets: string[] = [];
  private readonly problems: Problem[] = [];

  constructor(private readonly environment: NodeJS.ProcessEnv) {}

  resolve(text: string, path: string, escape: (value: string) => string = (value) => value): string {
    return text.replace(REFERENCE, (_, kind: string, name: string) => {
      const value = kind === 'file' ? this.file(name, path) : this.variable(name, path);
      if (value !== '') this.secrets.push(value);
      return escape(value);
    });
  }

  check(): void {
    if (this.problems.length > 0) throw new ConfigurationError(this.problems);
  }

  private variable(name: string, path: string): string {
    const value = Object.hasOwn(this.environment, name) ? (this.environment[name] ?? '') : '';
    if (value === '') {
      const message = `refers to the environment variable ${name}, which is not set where the worker runs`;
      this.problems.push({ path, message });
    }
    return value;
  }

  /** A file's content without the line end that editors leave. */
  private file(name: string, path: string): string {
    try {
      if (statSync(name).size > FILE_LIMIT) throw new Error(`it is larger than ${FILE_LIMIT} bytes`);
      const value = readFileSync(name, 'utf8').trim();
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

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * A secret as it may stand in an address, in JSON or in HTML: each character plain or escaped, however often and in
 * whatever way; and all of it in base64 or hexadecimal.
 */
function patterns(secret: string): RegExp[] {
  const bytes = Buffer.from(secret);
  const whole = [
    `${literally(bytes.toString('base64').replace(/=+$/, ''))}=*`,
    `${literally(bytes.toString('base64url'))}=*`,
    bytes.toString('hex'),
  ];
  const each = [...secret].map((character) => {
    const ways = [...(ESCAPES[character] ?? []).map(literally), literally(character)];
    const percent = [...Buffer.from(character)].map((byte) => `%(?:25)*${anyCase(hex(byte, 2))}`);
    const json = character.split('').map((unit) => `\\\\u${anyCase(hex(unit.charCodeAt(0), 4))}`);
    const code = character.codePointAt(0) ?? 0;
    return `(?:${[percent.join(''), json.join(''), `&#0*${code};`, `&#[xX]0*${anyCase(hex(code, 1))};`, ...ways].join('|')})`;
  });
  return [each.join(''), ...whole].map((pattern) => new RegExp(pattern, 'g'));
}

/** Other ways to write a character: in a form, in JSON, in HTML. */
const ESCAPES: Record<string, string[]> = {
  ' ': ['+'],
  '\\': ['\\\\'],
  '/': ['\\/'],
  '"': ['\\"', '&quot;'],
  '&': ['&amp;'],
  '<': ['&lt;'],
  '>': ['&gt;'],
  "'": ['&apos;'],
  '\n': ['\\n'],
  '\r': ['\\r'],
  '\t': ['\\t'],
  '\b': ['\\b'],
  '\f': ['\\f'],
};

const literally = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
const anyCase = (digits: string) => digits.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);

/** Origin and path: what tells one source from another, without credentials, references or query. */
export function sourceIdentity(baseUrl: string): string {
  return baseUrl
    .replace(/[?#].*$/s, '')
    .replace(/^([a-z]+:\/\/)[^/]*@/i, '$1')
    .replace(/\/+$/, '');
}
