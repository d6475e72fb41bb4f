/** Streams as descriptions of an API show them, before any request. Pure. */
import { pathText } from '../../request/paths.js';
import type { Json } from '../../protocol.js';
import { HighwaterError } from '../../errors.js';
import {
  type Answer,
  flagsIn,
  folded,
  type JsonObject,
  listsIn,
  nextHints,
  totalsIn,
} from '../api/answers.js';
import { tokenNames, useOf } from '../api/names.js';
import { nextKey, placeKey, setFlag, setNames, type StreamKeys } from '../api/stream-keys.js';
import type { Secrets } from '../credentials.js';

/** A description cannot be read. */
export class ImportError extends HighwaterError {
  override readonly name = 'ImportError';
}

/** One stream of a description. */
export interface ImportedStream {
  name: string;
  /** Keys of the stream, without its name. */
  keys: StreamKeys;
  /** The description does not say how it pages: a live look finds out. */
  needsLook: boolean;
}

/** An API as a description shows it. */
export interface Imported {
  /** Kind of the description, for people. */
  kind: string;
  baseUrl: string;
  /** The description does not name the address: `baseUrl` is a placeholder. */
  needsBaseUrl: boolean;
  auth: { [key: string]: Json } | null;
  headers: { [name: string]: string };
  streams: ImportedStream[];
  /** Secrets that stood in the description, by the variables that replace them. */
  secrets: Secrets;
  assumed: string[];
  /** Parts that could not be taken over. */
  leftOut: string[];
}

/** A parameter of a request, with its value or default. */
export interface KnownParameter {
  name: string;
  value: string | null;
  /** The greatest value that is allowed. */
  maximum?: number | undefined;
}

export interface StaticKeys {
  keys: StreamKeys;
  isPaged: boolean;
}

const CHANGED = /updat|modif|chang/i;

/**
 * Reads how an API pages from one answer and the parameters of its requests.
 * @returns null where the answer holds no list.
 */
export function keysFrom(
  answer: Answer,
  parameters: readonly KnownParameter[],
  stream: string,
): StaticKeys | null {
  const [list] = listsIn(answer.document, stream);
  if (list === undefined) return null;
  const of = (use: ReturnType<typeof useOf>) => parameters.find(({ name }) => useOf(name) === use);
  const [page, offset, size, token, since] = [of('page'), of('offset'), of('size'), of('token'), of('since')];
  const [hint] = nextHints(answer).filter(({ is }) => is !== 'page');
  const [total] = totalsIn(answer);
  const [more] = flagsIn(answer);
  const keys: StreamKeys = { records: pathText(list.path) };
  const names: { [use: string]: string } = {};
  if (
    hint !== undefined &&
    (hint.is === 'url' || token !== undefined || (page === undefined && offset === undefined))
  ) {
    keys['strategy'] = 'cursor';
    keys['next'] = nextKey(hint);
    if (hint.is === 'token') names['scroll_param'] = token?.name ?? tokenNames(hint)[0] ?? 'cursor';
  } else if (page !== undefined) {
    keys['strategy'] = 'page_number';
    names['page'] = page.name;
    if (page.value === '0') keys['first_page'] = 0;
  } else if (offset !== undefined) {
    keys['strategy'] = 'offset';
    names['offset'] = offset.name;
  } else if (token !== undefined && more !== undefined) {
    keys['strategy'] = 'cursor';
    keys['next'] = 'last_key';
    names['scroll_param'] = token.name;
  } else {
    keys['strategy'] = 'cursor';
    keys['next'] = 'none';
  }
  const isPaged = keys['next'] !== 'none';
  if (isPaged && size !== undefined) {
    names['limit'] = size.name;
    keys['page_size'] = Math.min(size.maximum ?? 100, 100);
  }
  if (total !== undefined) keys['total'] = placeKey(total.place);
  if (keys['next'] === 'last_key' && more !== undefined) setFlag(keys, more);
  const [key, field] = fieldsOf(list.records, stream);
  if (key !== null) keys['primary_key'] = key;
  if (field !== null) keys['cursor_field'] = field;
  if (field !== null && since !== undefined) names[isPaged ? 'updated_since' : 'since'] = since.name;
  if (field !== null && since !== undefined && !isPaged) {
    keys['strategy'] = 'timestamp';
    delete keys['next'];
  }
  setNames(keys, names);
  return { keys, isPaged };
}

/** The names of the key and of the time of the last change in records; null where no name tells. */
function fieldsOf([record = {}]: readonly JsonObject[], stream: string): [string | null, string | null] {
  const names = Object.keys(record);
  const wanted = [
    'id',
    'uuid',
    'guid',
    'gid',
    `${folded(stream)}id`,
    `${folded(stream).replace(/s$/, '')}id`,
    'key',
  ];
  const key = wanted.flatMap((one) => names.find((name) => folded(name) === one) ?? [])[0];
  const isTime = (name: string) => /^\d{4}-\d\d-\d\d[T ]/.test(String(record[name]));
  return [key ?? null, names.find((name) => CHANGED.test(name) && isTime(name)) ?? null];
}

/** Names that differ: a second one of the same name gets a number. */
export function distinctNames(streams: ImportedStream[]): ImportedStream[] {
  const taken = new Set<string>();
  return streams.map((stream) => {
    let { name } = stream;
    for (let i = 2; taken.has(name.toLowerCase()); i++) name = `${stream.name}_${i}`;
    taken.add(name.toLowerCase());
    return { ...stream, name };
  });
}
