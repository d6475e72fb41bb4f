import type { RequestSpec } from '../protocol.js';
import type { Values } from '../request/templates.js';
import { refuseHeader, type ResolvedRequest, unescaped } from './references.js';
import { encodeBody, type HttpRequest } from './transport.js';

/**
 * Builds a request for an address, without credentials made per request.
 * @param url may hold a user and password, which become a header.
 * @throws {ConfigurationError} if a header contains what HTTP does not allow.
 */
export function httpRequest(
  url: URL,
  values: Values,
  resolved: ResolvedRequest,
  {
    accept,
    method = 'GET',
    bodyAs = 'json',
  }: Partial<Pick<RequestSpec, 'method' | 'bodyAs'>> & { accept: string },
): HttpRequest {
  const headers: Record<string, string> = { accept, 'user-agent': 'highwater' };
  for (const [name, header] of Object.entries(resolved.headers)) {
    const value = header(values);
    if (value === null) continue;
    refuseHeader(name, value);
    headers[name.toLowerCase()] = value;
  }
  if (url.username !== '' || url.password !== '') {
    const credentials = `${unescaped(url.username)}:${unescaped(url.password)}`;
    headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
  }
  let body: string | null = null;
  if (resolved.body !== null) {
    const encoded = encodeBody(resolved.body(values), bodyAs);
    body = encoded.body;
    headers['content-type'] ??= encoded.type;
  }
  return { method, url, headers, body, shown: shownAddress(url, resolved.mask) };
}

/** Returns an address for people: without credentials, secrets masked. */
export function shownAddress(url: URL, mask: (text: string) => string): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return mask(unescaped(shown.href));
}
