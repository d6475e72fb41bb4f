/** How a request is found in a recording. */
import { distance } from 'fastest-levenshtein';
import { MASK } from '../secrets/masking.js';
import { bytesOf, type Exchange } from './exchange.js';

type Sent = Exchange['request'];

/**
 * Returns the text by which a request is found: method, path, query and body. Neither the host, the headers nor the
 * order of parameters and members count.
 */
export function requestKey({ method, url, content }: Sent): string {
  // A masked port would not be one of an address.
  const [, path = '', search = ''] = /^[a-z]+:\/\/[^/?#]*([^?#]*)(\?[^#]*)?/i.exec(url) ?? [];
  const query = [...new URLSearchParams(search)]
    .map(([name, value]) => `${encodeURIComponent(name)}=${shown(value)}`)
    .sort()
    .join('&');
  const body = bytesOf(content).toString('utf8');
  return `${method} ${path}${query === '' ? '' : `?${query}`}${body === '' ? '' : `\n${ordered(body)}`}`;
}

/** Masks stay readable. */
const shown = (value: string) => value.split(MASK).map(encodeURIComponent).join(MASK);

function ordered(body: string): string {
  try {
    const sorted = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value;
      if (Array.isArray(value)) return value.map(sorted);
      const members = Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1));
      return Object.fromEntries(members.map(([name, inner]: [string, unknown]) => [name, sorted(inner)]));
    };
    return JSON.stringify(sorted(JSON.parse(body)));
  } catch {
    return body;
  }
}

/** Whether two keys are the same if a masked part of either may be any text. */
export function mayBeSame(one: string, other: string): boolean {
  return fits(one, other) || fits(other, one);
}

function fits(masked: string, key: string): boolean {
  const parts = masked.split(MASK);
  const [first = '', ...rest] = parts;
  if (rest.length === 0 || !key.startsWith(first)) return false;
  const last = rest.pop() ?? '';
  let at = first.length;
  for (const part of rest) {
    const found = key.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return key.length - last.length >= at && key.endsWith(last);
}

/** Longer texts are compared by their beginnings only. */
const COMPARED = 2000;

/** Returns the key that is most like another; null where there is none. */
export function nearestKey(key: string, keys: Iterable<string>): string | null {
  let nearest: string | null = null;
  let least = Infinity;
  for (const one of new Set(keys)) {
    const apart = distance(key.slice(0, COMPARED), one.slice(0, COMPARED));
    if (apart < least) [nearest, least] = [one, apart];
  }
  return nearest;
}
