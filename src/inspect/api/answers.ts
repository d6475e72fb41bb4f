/** Reads single answers of an API that is not known yet: the list in them, and what they say of further pages. Pure. */
import { pathText } from '../../request/paths.js';
import { counted } from '../../text.js';

/** An answer to one request. */
export interface Answer {
  status: number;
  /** By lower-case names. */
  headers: ReadonlyMap<string, string>;
  /** The body as JSON; undefined if it is none. */
  document: unknown;
  /** The text of a refusal, secrets masked. */
  words: string;
  /** Method and address, secrets masked. */
  request: string;
}

/** A record, or any other JSON object. */
export type JsonObject = { [name: string]: unknown };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A list in an answer. */
export interface FoundList {
  path: readonly string[];
  records: readonly JsonObject[];
}

/** A name by its letters and digits only: `per-page`, `perPage` and `per_page` are one. */
export const folded = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');

const LIST_NAMES = [
  'data',
  'items',
  'results',
  'records',
  'value',
  'entries',
  'objects',
  'rows',
  'list',
  'hits',
  'docs',
  'content',
  'elements',
  'resources',
  'nodes',
];
const OTHER_LISTS =
  /^(included|links?|errors?|warnings?|meta|facets?|columns|fields|aggregations|schema|filters?|sort|tags|messages)$/i;
/** Lists that accompany records and are none themselves, unless the stream is named after them. */
const NO_RECORDS = /^(included?s?|links?|errors?|warnings?|meta|facets?|aggregations)$/i;
const DEPTH = 4;

/** Returns the lists of objects in an answer that may be records, the likeliest one first. */
export const listsIn = (document: unknown, stream: string): FoundList[] =>
  allListsIn(document, stream).filter(
    ({ path }) => isNamedAfter(path, stream) || !path.some((name) => NO_RECORDS.test(name)),
  );

/** Returns the lists that could be meant as well as the likeliest one, itself included; empty where it stands out. */
export function rivalsIn(document: unknown, stream: string): FoundList[] {
  const [first, ...others] = listsIn(document, stream).filter(({ records }) => records.length > 0);
  if (first === undefined) return [];
  const rank = ({ path }: FoundList) => `${listRank(path, stream)} ${path.length}`;
  const rivals = others.filter((other) => rank(other) === rank(first));
  return rivals.length === 0 || first.path.length === 0 ? [] : [first, ...rivals];
}

/** Describes what else an answer holds beside the list that is read, and inside its records. */
export function besides(document: unknown, list: FoundList, stream: string): string[] {
  const isOther = ({ path, records }: FoundList) =>
    records.length > 0 && pathText(path) !== pathText(list.path);
  return [
    ...allListsIn(document, stream)
      .filter(isOther)
      .map(({ path, records }) => `the list ${pathText(path)} (${counted(records.length, 'record')})`),
    ...keyedIn(document).map(keyedText),
    ...nestedIn(list.records),
  ];
}

/** Lists inside records, with their size in all of them. */
function nestedIn(records: readonly JsonObject[]): string[] {
  const sizes = new Map<string, number>();
  for (const [name, value] of records.flatMap((record) => Object.entries(record))) {
    if (Array.isArray(value) && value.length > 0 && value.every(isObject))
      sizes.set(name, (sizes.get(name) ?? 0) + value.length);
  }
  return [...sizes].map(
    ([name, size]) =>
      `the lists ${name} inside the records (${counted(size, 'record')} in all), which become a column`,
  );
}

/** An object whose members are records, by their keys. */
export interface Keyed {
  path: readonly string[];
  size: number;
}

/** Returns the objects of an answer whose members are alike, as records are that stand under their keys. */
export function keyedIn(document: unknown): Keyed[] {
  const found: Keyed[] = [];
  const visit = (value: unknown, path: string[]): void => {
    if (!isObject(value) || path.length >= DEPTH) return;
    const members = Object.values(value);
    const [shape = ''] = members.map(shapeOf);
    if (members.length > 2 && shape !== '' && members.every((member) => shapeOf(member) === shape))
      found.push({ path, size: members.length });
    else for (const [name, inner] of Object.entries(value)) visit(inner, [...path, name]);
  };
  visit(document, []);
  return found;
}

/** The names of an object that holds plain values, and not only an address. */
const shapeOf = (value: unknown): string =>
  isObject(value) && Object.values(value).filter((one) => typeof one !== 'object').length > 1
    ? JSON.stringify(Object.keys(value).sort())
    : '';

export const keyedText = ({ path, size }: Keyed): string =>
  `${path.length === 0 ? 'the answer itself' : pathText(path)}, an object with ${counted(size, 'record')} by their keys`;

function allListsIn(document: unknown, stream: string): FoundList[] {
  const found: (FoundList & { score: number })[] = [];
  const visit = (value: unknown, path: string[]): void => {
    if (Array.isArray(value)) {
      if (value.every(isObject)) found.push({ path, records: value, score: listScore(path, value, stream) });
    } else if (isObject(value) && path.length < DEPTH) {
      for (const [name, inner] of Object.entries(value)) visit(inner, [...path, name]);
    }
  };
  visit(document, []);
  return found.sort((a, b) => b.score - a.score);
}

const isNamedAfter = (path: readonly string[], stream: string): boolean =>
  path.length > 0 && folded(path.at(-1) ?? '') === folded(stream);

/** How much the name of a list says that it is the one. */
function listRank(path: readonly string[], stream: string): number {
  const name = path.at(-1) ?? '';
  if (isNamedAfter(path, stream)) return 2;
  return Number(LIST_NAMES.includes(folded(name))) - 2 * Number(OTHER_LISTS.test(name));
}

const listScore = (path: readonly string[], records: readonly unknown[], stream: string): number =>
  (path.length === 0 ? 10_000 : 0) +
  1000 * listRank(path, stream) +
  Math.min(records.length, 500) -
  10 * path.length;

/** Returns a list whose elements are lists (rows without names), as Datasette's; null if there is none. */
export function rowsIn(document: unknown): { name: string; length: number } | null {
  if (!isObject(document)) return null;
  for (const [name, value] of Object.entries(document)) {
    if (Array.isArray(value) && value.length > 0 && value.every(Array.isArray))
      return { name, length: value.length };
  }
  return null;
}

/** A value beside the list, by its path. */
export interface Leaf {
  path: readonly string[];
  value: string | number | boolean | null;
}

/** Returns the values of an answer that are in none of its lists. */
export function leavesOf(document: unknown): Leaf[] {
  const leaves: Leaf[] = [];
  const visit = (value: unknown, path: string[]): void => {
    if (isObject(value) && path.length < DEPTH + 1) {
      for (const [name, inner] of Object.entries(value)) visit(inner, [...path, name]);
    } else if (typeof value !== 'object' || value === null) {
      leaves.push({ path, value: value as Leaf['value'] });
    }
  };
  if (isObject(document)) visit(document, []);
  return leaves;
}

/** A place in an answer that names the next page. */
export type NextHint =
  | { in: 'link'; is: 'url'; value: string }
  | { in: 'body'; is: 'url' | 'token' | 'page'; path: string; value: string }
  | { in: 'header'; is: 'url' | 'token' | 'page'; name: string; value: string };

/** A place as a person would call it. */
export const placeText = (hint: NextHint): string =>
  hint.in === 'link' ? 'the header Link' : hint.in === 'header' ? `the header ${hint.name}` : hint.path;

const TOKEN_NAMES =
  /^(cursor|after|endcursor|continuation|continuationtoken|marker|scrollid|scrollparam|bookmark|offset|pagetoken|paginationtoken|resumptiontoken|cursormark)$/;
const BACKWARDS = /prev|before|first|last|start|self|current/;

/** Returns what an answer says of its next page, the most exact first: addresses, then tokens, then page numbers. */
export function nextHints({ document, headers }: Answer): NextHint[] {
  const hints: NextHint[] = [];
  const link = linkNext(headers.get('link') ?? '');
  if (link !== null) hints.push({ in: 'link', is: 'url', value: link });
  for (const { path, value } of leavesOf(document)) {
    const is = typeof value === 'string' || typeof value === 'number' ? nextKind(path, String(value)) : null;
    if (is !== null) hints.push({ in: 'body', is, path: pathText(path), value: String(value) });
  }
  hints.push(...linkLists(document));
  for (const [name, value] of headers) {
    if (name === 'link' || value.trim() === '') continue;
    const is = /next|continuation/.test(name) ? nextKind([name, 'next'], value) : null;
    if (is !== null) hints.push({ in: 'header', is, name, value });
  }
  const order = ['url', 'token', 'page'];
  return hints.sort((a, b) => order.indexOf(a.is) - order.indexOf(b.is));
}

function nextKind(path: readonly string[], value: string): 'url' | 'token' | 'page' | null {
  const names = path.map(folded);
  const last = names.at(-1) ?? '';
  const isNext = names.some((name) => /next/.test(name));
  if (value === '' || (!isNext && !TOKEN_NAMES.test(last))) return null;
  if (!isNext && names.some((name) => BACKWARDS.test(name))) return null;
  if (/^(https?:\/\/|\/|\?)/.test(value)) return isNext ? 'url' : null;
  if (/\s/.test(value)) return null;
  const isSmall = /^\d{1,7}$/.test(value);
  // The offset of this page, not of the next one.
  if (last === 'offset' && !isNext && isSmall) return null;
  if (
    isSmall &&
    /^(next|nextpage|nextpagenumber|xnextpage|pagenext)$/.test(names.find((n) => /next/.test(n)) ?? '')
  )
    return 'page';
  return 'token';
}

/** Reads `Link: <…>; rel="next"`; null where there is no such link. */
export function linkNext(header: string): string | null {
  for (const [, address = '', rest = ''] of header.matchAll(/<([^>]*)>([^<]*)/g)) {
    if (/;\s*rel\s*=\s*"?(?:[^"]*\s)?next(?:\s[^"]*)?"?\s*(?:[;,]|$)/i.test(rest)) return address;
  }
  return null;
}

/** Lists of links, as FHIR and OGC services have them: `link: [{relation: next, url: …}]`. */
function linkLists(document: unknown): NextHint[] {
  if (!isObject(document)) return [];
  return Object.entries(document).flatMap(([name, value]): NextHint[] => {
    if (!/^links?$/i.test(name) || !Array.isArray(value)) return [];
    for (const rel of ['rel', 'relation']) {
      for (const url of ['href', 'url']) {
        const found = value
          .filter(isObject)
          .find((one) => one[rel] === 'next' && typeof one[url] === 'string');
        if (found === undefined) continue;
        const path = `$.${name}[?@.${rel} == 'next'].${url}`;
        return [{ in: 'body', is: 'url', path, value: String(found[url]) }];
      }
    }
    return [];
  });
}

/** A place of a count: a path in the body, or a header. */
export interface CountPlace {
  place: { path: string } | { header: string };
  value: number;
}

const TOTALS =
  /^(total|totals|count|totalcount|totalitems|totalresults|totalrecords|totalsize|totalrows|totalentries|totalelements|totalhits|itemcount|recordstotal|recordcount|numfound|filtercount|resultcount|filteredtablerowscount|odatacount|items|nbhits|totalvalue|size)$/;
const TOTAL_HEADERS =
  /^(x-total|x-total-count|total-count|x-total-results|x-total-records|total-records|total-objects|x-wp-total|x-count|x-pagination-total-count|pagination-count|x-total-items)$/;
const PAGES = /^(totalpages|pages|lastpage|pagecount|numpages|totalpagecount|pagestotal)$/;
const PAGES_HEADERS =
  /^(x-total-pages|x-wp-totalpages|total-pages|x-page-count|x-pagination-page-count|x-pagecount)$/;

/** Returns the numbers of an answer that may count all records. A `count` may also be that of the page. */
export function totalsIn(answer: Answer): CountPlace[] {
  const found = countsIn(answer, TOTALS, TOTAL_HEADERS);
  const range = /^\S+\s+(?:\d+-\d+|\*)\/(\d+)$/.exec(answer.headers.get('content-range') ?? '')?.[1];
  if (range !== undefined) found.push({ place: { header: 'Content-Range' }, value: Number(range) });
  // The plainest name first: `total` says more than `count`.
  return found.sort((a, b) => Number(isVague(a)) - Number(isVague(b)));
}

/** Returns whether a count by this name may also be that of the page. */
export const isVague = ({ place }: CountPlace) =>
  'path' in place && /(^|\.)(count|size|items)$/i.test(place.path);

/** Returns the numbers of an answer that may count its pages. */
export const pageTotalsIn = (answer: Answer): CountPlace[] => countsIn(answer, PAGES, PAGES_HEADERS);

function countsIn({ document, headers }: Answer, names: RegExp, headerNames: RegExp): CountPlace[] {
  const isCount = (text: string) => /^\d{1,15}$/.test(text);
  return [
    ...leavesOf(document).flatMap(({ path, value }) => {
      const last = folded(path.at(-1) ?? '');
      // Elasticsearch: hits.total.value.
      const name = last === 'value' ? `${folded(path.at(-2) ?? '')}value` : last;
      if (!names.test(name) || value === null || typeof value === 'boolean' || !isCount(String(value)))
        return [];
      return [
        { place: { path: pathText(last === 'value' ? path.slice(0, -1) : path) }, value: Number(value) },
      ];
    }),
    ...[...headers].flatMap(([name, value]) =>
      headerNames.test(name) && isCount(value.trim())
        ? [{ place: { header: name }, value: Number(value) }]
        : [],
    ),
  ];
}

const MORE =
  /^(hasmore|hasnext|hasnextpage|more|moreitems|ismore|moreresults|truncated|istruncated|morerecords|hasmoreitems)$/;
const ENDS = /^(done|last|islast|islastpage|endofstream|endofrecords|complete)$/;

/** A flag that says whether more records follow; `isEnd`: true marks the last page. */
export interface Flag {
  path: string;
  isEnd: boolean;
  value: boolean;
}

/** Returns the flags of an answer that say whether more records follow. */
export function flagsIn({ document }: Answer): Flag[] {
  return leavesOf(document).flatMap(({ path, value }) => {
    const name = folded(path.at(-1) ?? '');
    if (typeof value !== 'boolean' || !(MORE.test(name) || ENDS.test(name))) return [];
    return [{ path: pathText(path), isEnd: ENDS.test(name), value }];
  });
}

/** Returns the member by which the records of a list can be told apart, or null: the whole record tells them. */
export function tellingMember(records: readonly JsonObject[]): string | null {
  const names = Object.keys(records[0] ?? {});
  const isTelling = (name: string) => {
    const values = records.map((record) => record[name]);
    const isPlain = values.every((value) => typeof value === 'string' || typeof value === 'number');
    return isPlain && new Set(values).size === records.length;
  };
  const ranked = ['id', 'uuid', 'guid', 'gid', 'uid', 'key', 'pk', 'number', 'slug', 'code', 'name'];
  const rank = (name: string) => {
    const at = ranked.indexOf(folded(name));
    return at === -1 ? (/id$/i.test(name) ? ranked.length : Infinity) : at;
  };
  return (
    names.filter((name) => rank(name) < Infinity && isTelling(name)).sort((a, b) => rank(a) - rank(b))[0] ??
    null
  );
}

/** Returns the identity of each record, for comparing pages. */
export const identities = (records: readonly JsonObject[], member: string | null): string[] =>
  records.map((record) => JSON.stringify(member === null ? record : (record[member] ?? record)));
