import { REFERENCE } from '../config/flat.js';
import { ConfigurationError } from '../errors.js';

/** Query parameters whose values are hidden wherever a URL is shown, reference or not. */
const SECRET_NAME = /key|token|secret|passw|signature|^sig$|auth|credential/i;

/** A URL whose references are resolved, and how to show it to people. */
export interface ResolvedUrl {
  url: URL;
  /** Hides every secret in a text: in an address, an error's message, an answer's body. */
  mask: (text: string) => string;
}

/**
 * Resolves `${env:NAME}`. Called in activities only: what comes out must not enter workflow history.
 * @throws {ConfigurationError} naming every variable that is not set.
 */
export function resolveUrl(text: string, environment: NodeJS.ProcessEnv = process.env): ResolvedUrl {
  const missing: string[] = [];
  const secrets: string[] = [];
  const resolved = text.replace(REFERENCE, (_, name: string) => {
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value === undefined || value === '') missing.push(name);
    else secrets.push(value);
    return encodeURIComponent(value ?? '');
  });
  if (missing.length > 0) {
    throw new ConfigurationError(
      missing.map((name) => ({
        path: 'base_url',
        message: `refers to the environment variable ${name}, which is not set where the worker runs`,
      })),
    );
  }
  if (!URL.canParse(resolved)) {
    const message = 'is not a URL once its references are resolved';
    throw new ConfigurationError([{ path: 'base_url', message }]);
  }
  const url = new URL(resolved);
  const [user, password] = [unescaped(url.username), unescaped(url.password)];
  if (password !== '') secrets.push(password);
  // As the header has it: a source may say back what it was sent.
  if (user !== '' || password !== '') secrets.push(base64(`${user}:${password}`));
  for (const [name, value] of url.searchParams)
    if (SECRET_NAME.test(name) && value !== '') secrets.push(value);
  // Longest first, so that a secret that holds another is hidden whole.
  const hidden = [...new Set(secrets)].sort((a, b) => b.length - a.length).flatMap(patterns);
  return { url, mask: (shown) => hidden.reduce((t, pattern) => t.replace(pattern, '***'), shown) };
}

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
