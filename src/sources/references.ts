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
  const hidden = [...new Set(secrets.flatMap(spellings))].sort((a, b) => b.length - a.length);
  return { url, mask: (shown) => hidden.reduce((t, secret) => t.split(secret).join('***'), shown) };
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
 * A secret as it may stand in an address, in JSON or in HTML: plain, escaped (once or twice, in either case), in
 * base64, or as in a form, where a space is a plus sign.
 */
function spellings(secret: string): string[] {
  const escaped = encodeURIComponent(secret);
  const form = new URLSearchParams([['', secret]]).toString().slice(1);
  const json = JSON.stringify(secret).slice(1, -1);
  const entities = secret.replace(/[&<>"]/g, (c) => ENTITIES[c] ?? c);
  const escapes = [escaped, escaped.replaceAll("'", '%27'), form, escaped.replace(/[!'()*]/g, percent)];
  return [
    ...escapes.flatMap((text) => [text, text.replace(/%../g, (hex) => hex.toLowerCase())]),
    ...[secret, json, asciiJson(json), asciiJson(json, /[<>&'\u007f-\uffff]/g), json.replaceAll('/', '\\/')],
    ...[secret.replaceAll(' ', '+'), entities, entities.replaceAll("'", '&#39;'), entities.replaceAll("'", '&#x27;')],
    ...[encodeURIComponent(escaped), base64(secret), Buffer.from(secret).toString('base64url')],
    base64(secret).replace(/=+$/, ''),
  ];
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const percent = (c: string) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`;
/** JSON that keeps to ASCII, as many servers write it. */
const asciiJson = (json: string, beyond = /[\u007f-\uffff]/g) =>
  json.replace(beyond, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Origin and path: what tells one source from another, without credentials, references or query. */
export function sourceIdentity(baseUrl: string): string {
  return baseUrl
    .replace(/[?#].*$/s, '')
    .replace(/^([a-z]+:\/\/)[^/]*@/i, '$1')
    .replace(/\/+$/, '');
}
