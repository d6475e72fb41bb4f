/** Names that APIs give to parameters, the commonest first. A group is tried in one request. */

import { folded, type NextHint } from './answers.js';

/** Names of one style; an API that accepts one tolerates the others. */
export interface NameGroup {
  size: readonly string[];
  page: readonly string[];
  offset: readonly string[];
}

const PLAIN: NameGroup = {
  size: [
    'limit',
    'per_page',
    'page_size',
    'pageSize',
    'size',
    'perPage',
    'count',
    'max_results',
    'maxResults',
    'rows',
    'results_per_page',
    'top',
    'first',
    'pagesize',
    'num',
  ],
  page: [
    'page',
    'page_number',
    'pageNumber',
    'p',
    'pageNo',
    'page_no',
    'pageIndex',
    'page_index',
    'currentPage',
    'pageNum',
    'pg',
    'paged',
  ],
  offset: ['offset', 'skip', 'start', 'from', 'startIndex', 'start_index', 'startAt', 'begin', 'firstResult'],
};
const UNDERSCORED: NameGroup = {
  size: ['_limit', '_per_page', '_size', '_count'],
  page: ['_page'],
  offset: ['_start', '_offset', '_skip'],
};
const DOLLAR: NameGroup = { size: ['$top', '$limit'], page: ['$page'], offset: ['$skip', '$offset'] };
const BRACKETS: NameGroup = {
  size: ['page[size]', 'page[limit]'],
  page: ['page[number]'],
  offset: ['page[offset]'],
};

/** Styles in the order in which they are tried. */
export const GROUPS: readonly NameGroup[] = [PLAIN, UNDERSCORED, DOLLAR, BRACKETS];

/** Parameters that may carry a token. */
export const TOKEN_PARAMETERS: readonly string[] = [
  'cursor',
  'page_token',
  'pageToken',
  'next_token',
  'nextToken',
  'after',
  'next_cursor',
  'continuation_token',
  'continuationToken',
  'continuation',
  'marker',
  'starting_after',
  'scroll_param',
  'scroll_id',
  'bookmark',
  'start_cursor',
  'pagination_token',
  'cursorMark',
  'next',
  '_next',
  'token',
  'page',
  'offset',
];

/** Parameters that may carry the key of the last record. */
export const LAST_KEY_PARAMETERS: readonly string[] = [
  'starting_after',
  'since_id',
  'after_id',
  'after',
  'last_id',
  'start_after',
  'startAfter',
  'from_id',
];

/** Parameters that may ask for changes since a time. */
export const SINCE_PARAMETERS: readonly (readonly string[])[] = [
  [
    'updated_since',
    'since',
    'modified_since',
    'updated_after',
    'modified_after',
    'changed_since',
    'updated_at_min',
    'updatedSince',
    'modifiedSince',
    'updatedAfter',
    'modifiedAfter',
    'last_modified_since',
  ],
  ['_since'],
];

const matches = (of: keyof NameGroup) => new Set(GROUPS.flatMap((group) => group[of]));
const [SIZES, PAGES, OFFSETS] = [matches('size'), matches('page'), matches('offset')];
const TOKENS = new Set(TOKEN_PARAMETERS);
const SINCE = new Set(SINCE_PARAMETERS.flat());

/** The use of a parameter by its name: as in an address, or in the description of an API. */
export function useOf(name: string): 'size' | 'page' | 'offset' | 'token' | 'since' | null {
  if (SIZES.has(name)) return 'size';
  if (PAGES.has(name)) return 'page';
  if (OFFSETS.has(name)) return 'offset';
  if (TOKENS.has(name)) return 'token';
  return SINCE.has(name) ? 'since' : null;
}

/** Returns names for the parameter of a token, from the name of the place where it was; the likeliest first. */
export function tokenNames(hint: NextHint): string[] {
  const path = hint.in === 'body' ? hint.path.split(/[.[\]'$]+/) : hint.in === 'header' ? [hint.name] : [];
  const last = (path.filter((part) => part !== '').at(-1) ?? '').replace(/^x-/i, '').replace(/-/g, '_');
  const bare = last.replace(/^next_?/i, '');
  const lower = bare.charAt(0).toLowerCase() + bare.slice(1);
  const own = [lower, last, bare, `_${last}`].filter((name) => /^[\w-]{2,}$/.test(name));
  const known = TOKEN_PARAMETERS.filter(
    (name) => folded(name) === folded(bare) || folded(name) === folded(last),
  );
  const all = [
    ...known,
    ...own,
    ...(/end_?cursor/i.test(last) ? ['after', 'cursor'] : []),
    ...TOKEN_PARAMETERS,
  ];
  return [...new Set(all)].filter((name) => hint.is === 'token' || useOf(name) !== 'token');
}
