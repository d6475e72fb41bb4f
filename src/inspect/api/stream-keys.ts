/** Keys of a stream as evidence of its paging gives them. Pure. */
import type { Json } from '../../protocol.js';
import { type CountPlace, type Flag, isObject, type NextHint } from './answers.js';

/** Keys of a stream. */
export type StreamKeys = { [key: string]: Json };

/** A configuration of one stream. */
export interface OneStream {
  [key: string]: Json;
  streams: StreamKeys[];
}

/** Returns an object among the keys of a stream; empty if there is none. */
export const objectAt = (keys: StreamKeys, name: string): StreamKeys => {
  const value: unknown = keys[name];
  return isObject(value) ? (value as StreamKeys) : {};
};

/** Adds names of parameters to those that a stream has; null adds none. */
export function setNames(keys: StreamKeys, names: { [use: string]: string | null | undefined }): void {
  const given = Object.entries(names).filter((entry): entry is [string, string] => entry[1] != null);
  if (given.length > 0) keys['names'] = { ...objectAt(keys, 'names'), ...Object.fromEntries(given) };
}

/** Returns the key `next` for a place that names the next page. */
export function nextKey(hint: NextHint): Json {
  if (hint.in === 'link') return 'link';
  if (hint.in === 'header') return { header: hint.name, is: hint.is === 'url' ? 'url' : 'token' };
  return hint.is === 'url' ? { url: hint.path } : { token: hint.path };
}

/** Returns the key `total` or `total_pages` for a place of a count. */
export const placeKey = (place: CountPlace['place']): Json =>
  'path' in place ? place.path : { header: place.header };

/** Sets the key by which a flag marks the last page. */
export function setFlag(keys: StreamKeys, { path, isEnd }: Flag): void {
  if (isEnd) keys['ends'] = { path, is: true };
  else keys['more'] = path;
}
