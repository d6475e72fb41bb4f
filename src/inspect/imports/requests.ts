/** Makes a stream of a request that a program or a browser has sent. Pure. */
import type { Json } from '../../protocol.js';
import { useOf } from '../api/names.js';
import type { StreamKeys } from '../api/stream-keys.js';
import { type Secrets, shownAuth } from '../credentials.js';
import type { KnownParameter } from './imported.js';

/** A request as it was sent. */
export interface SentRequest {
  method: string;
  url: URL;
  headers: { [name: string]: string };
  body: string | null;
  user: { name: string; password: string } | null;
}

/** A request as a stream has it. */
export interface RequestParts {
  origin: string;
  keys: StreamKeys;
  headers: { [name: string]: string };
  auth: { [key: string]: Json } | null;
  secrets: Secrets;
  parameters: KnownParameter[];
  leftOut: string[];
}

/** Headers that a browser or the connection sets; they say nothing of the API. */
const NOISE =
  /^(:.*|host|content-length|connection|accept|accept-encoding|accept-language|user-agent|origin|referer|cache-control|pragma|dnt|te|priority|upgrade-insecure-requests|if-none-match|if-modified-since|content-type|sec-.*|x-requested-with)$/i;

/** Takes a request apart: its paging parameters become names, its credentials references. */
export function requestParts({ method, url, headers, body, user }: SentRequest): RequestParts {
  const leftOut: string[] = [];
  const all = Object.fromEntries(url.searchParams);
  const parameters = Object.entries(all).map(([name, value]) => ({ name, value }));
  const isPaging = (name: string) => useOf(name) !== null;
  const fixed = Object.fromEntries(Object.entries(all).filter(([name]) => !isPaging(name)));
  const own = Object.fromEntries(Object.entries(headers).filter(([name]) => !NOISE.test(name)));
  const shown = shownAuth(own, fixed, user);
  const keys: StreamKeys = { path: url.pathname };
  if (Object.keys(shown.params).length > 0) keys['params'] = shown.params;
  if (method === 'POST') Object.assign(keys, postKeys(headers, body, leftOut));
  else if (method !== 'GET') leftOut.push(`${method} ${url.pathname}: only GET and POST read records`);
  return {
    origin: url.origin,
    keys,
    headers: shown.headers,
    auth: shown.auth,
    secrets: shown.secrets,
    parameters,
    leftOut,
  };
}

function postKeys(headers: SentRequest['headers'], body: string | null, leftOut: string[]): StreamKeys {
  if (body === null || body === '') return { method: 'POST' };
  const type = Object.entries(headers).find(([name]) => /^content-type$/i.test(name))?.[1] ?? '';
  try {
    return { method: 'POST', body: JSON.parse(body) as Json };
  } catch {
    if (/form-urlencoded/.test(type) || /^[\w.%[\]-]+=/.test(body)) {
      return { method: 'POST', body: Object.fromEntries(new URLSearchParams(body)), body_as: 'form' };
    }
    leftOut.push(`the body of the POST, which is neither JSON nor a form`);
    return { method: 'POST' };
  }
}
