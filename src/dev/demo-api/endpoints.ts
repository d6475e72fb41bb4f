import type { Body } from './body.js';
import { asciiJson, decodeBase64, parseTimestamp, pythonInt, pythonSlice } from './python.js';
import type { IdForm, List, ListQuery, Records } from './records.js';
import { formatTimestamp } from './render.js';
import type { DemoSettings } from './settings.js';

/** The page `{"data": [<body>], <name>: <value>, …}`; the values are JSON text. */
export interface Page {
  body: Body;
  fields: [name: string, value: string][];
}

/** The data that an endpoint answers from. */
export interface Context {
  records: Records;
  settings: DemoSettings;
  /** The URL without its query, as the client sent it. */
  baseUrl: string;
}

/** A 400, in the reference API's words. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/** Returns the page for a request. @throws {Refusal} */
export type Endpoint = (query: URLSearchParams, context: Context) => Page;

const DEFAULT_PAGE_SIZE = 10;
const INVALID_DATE = "Invalid date format for 'updated_since'. Use 'YYYY-MM-DDTHH:MM:SSZ'";
const MISSING_Z = "Invalid date format for 'updated_since'. Must end with 'Z' for UTC";

function allowOnly(query: URLSearchParams, ...names: string[]): void {
  const unexpected = [...new Set(query.keys())].filter((name) => !names.includes(name));
  if (unexpected.length > 0) throw new Refusal(`Unexpected query parameters: ${unexpected.join(', ')}`);
}

/** Reads an integer parameter; anything else counts as absent. */
function integer(query: URLSearchParams, name: string, otherwise: bigint): bigint {
  return pythonInt(query.get(name) ?? '') ?? otherwise;
}

function pageSize(query: URLSearchParams, name: string, { settings }: Context): bigint {
  const size = integer(query, name, BigInt(Math.min(DEFAULT_PAGE_SIZE, settings.max_page)));
  if (size < 1n || size > BigInt(settings.max_page)) {
    throw new Refusal(`Invalid value for '${name}'. It should be between 1 and ${settings.max_page}.`);
  }
  return size;
}

interface Order {
  orderBy: 'updatedAt' | 'createdAt';
  orderType: 'asc' | 'desc';
}

function order(query: URLSearchParams): Order {
  const orderBy = query.get('order_by') ?? 'updatedAt';
  const orderType = query.get('order_type') ?? 'asc';
  if (orderBy !== 'createdAt' && orderBy !== 'updatedAt') {
    throw new Refusal("Invalid value for 'order_by'. Use 'createdAt' or 'updatedAt'");
  }
  if (orderType !== 'asc' && orderType !== 'desc') {
    throw new Refusal("Invalid value for 'order_type'. Use 'asc' or 'desc'");
  }
  return { orderBy, orderType };
}

/**
 * Reads a time in seconds since 1970; null if absent. The reference's message calls it `updated_since` whatever its
 * name.
 */
function sinceParameter(query: URLSearchParams, name: string): number | null {
  const text = query.get(name);
  if (!text) return null;
  if (!text.endsWith('Z')) throw new Refusal(MISSING_Z);
  const seconds = parseTimestamp(text.slice(0, -1));
  if (seconds === null) throw new Refusal(INVALID_DATE);
  return seconds;
}

function selectRecords({ records, settings }: Context, query: Partial<ListQuery>): List {
  return records.list({
    orderBy: 'updatedAt',
    descending: false,
    since: null,
    exclusive: settings.exclusive,
    unordered: settings.unordered,
    ...query,
  });
}

function body({ records, settings }: Context, list: List, from = 0, to = list.to - list.from): Body {
  const form: IdForm = settings.numeric_ids ? 'numeric' : 'uuid';
  return records.body(list.slots, list.from + from, list.from + to, form);
}

const encode = (token: string): string => Buffer.from(token).toString('base64');

const keyset: Endpoint = (query, context) => {
  allowOnly(query, 'scroll_param', 'updated_since');
  const scroll = query.get('scroll_param');
  if (scroll && query.get('updated_since')) {
    throw new Refusal(
      "You can only use 'updated_since' in first request, subsequent requests should use only 'scroll_param'",
    );
  }
  const { keyset_page: size, unordered } = context.settings;
  if (unordered) return keysetByPosition(query, context);

  let list = selectRecords(context, { since: sinceParameter(query, 'updated_since') });
  if (scroll) {
    const text = decodeBase64(scroll);
    const after = text !== null && /z$/i.test(text) ? parseTimestamp(text.slice(0, -1)) : null;
    if (after === null) throw new Refusal('Invalid scroll_param value');
    list = selectRecords(context, { since: after, exclusive: true });
  }
  const more = list.to - list.from > size;
  const last = list.slots[list.from + size - 1];
  const token =
    more && last !== undefined ? asciiJson(encode(formatTimestamp(context.records.updatedAt(last)))) : 'null';
  return {
    body: body(context, list, 0, more ? size : undefined),
    fields: [['scroll_param', token]],
  };
};

/** Handles answers without an order: the token is a position and its filter. */
const keysetByPosition: Endpoint = (query, context) => {
  const size = context.settings.keyset_page;
  let filter = query.get('updated_since') ?? '';
  let from = 0;
  const scroll = query.get('scroll_param');
  if (scroll) {
    const match = /^position:(\d{1,9}):(.*)$/.exec(decodeBase64(scroll) ?? '');
    if (!match) throw new Refusal('Invalid scroll_param value');
    from = Number(match[1]);
    filter = match[2] ?? '';
  }
  const list = selectRecords(context, { since: sinceParameter(new URLSearchParams({ filter }), 'filter') });
  const to = Math.min(from + size, list.to - list.from);
  const more = to < list.to - list.from;
  return {
    body: body(context, list, Math.min(from, to), to),
    fields: [['scroll_param', more ? asciiJson(encode(`position:${to}:${filter}`)) : 'null']],
  };
};

const offset: Endpoint = (query, context) => {
  allowOnly(query, 'order_by', 'order_type', 'limit', 'offset', 'updated_since');
  const limit = pageSize(query, 'limit', context);
  const start = integer(query, 'offset', 0n);
  if (start < 0n) {
    throw new Refusal("Invalid value for 'offset'. It must be greater than or equal to 0.");
  }
  const { orderBy, orderType } = order(query);
  const list = selectRecords(context, {
    orderBy,
    descending: orderType === 'desc',
    since: sinceParameter(query, 'updated_since'),
  });
  const total = list.to - list.from;
  return {
    body: body(context, list, ...pythonSlice(start, start + limit, total)),
    fields: [
      ['offset', String(start)],
      ['limit', String(limit)],
      ['total', String(total)],
    ],
  };
};

const pageNumber: Endpoint = (query, context) => {
  allowOnly(query, 'order_by', 'order_type', 'per_page', 'page', 'updated_since');
  const { orderBy, orderType } = order(query);
  const size = pageSize(query, 'per_page', context);
  const page = integer(query, 'page', 1n);
  if (page < 1n) {
    throw new Refusal("Invalid value for 'page'. It must be greater than or equal to 1.");
  }
  const list = selectRecords(context, {
    orderBy,
    descending: orderType === 'desc',
    since: sinceParameter(query, 'updated_since'),
  });
  const total = list.to - list.from;
  return {
    body: body(context, list, ...pythonSlice((page - 1n) * size, page * size, total)),
    fields: [
      ['page', String(page)],
      ['page_size', String(size)],
      ['total_pages', String(Math.ceil(total / Number(size)))],
      ['total_items', String(total)],
    ],
  };
};

const nextPageUrl: Endpoint = (query, context) => {
  allowOnly(query, 'order_by', 'order_type', 'per_page', 'updated_since', 'page');
  const { orderBy, orderType } = order(query);
  const size = pageSize(query, 'per_page', context);
  const filter = query.get('updated_since');
  const list = selectRecords(context, {
    orderBy,
    descending: orderType === 'desc',
    since: sinceParameter(query, 'updated_since'),
  });
  const total = list.to - list.from;
  // The reference accepts negative pages, which Python counts from the end.
  const page = integer(query, 'page', 1n);
  const end = page * size;
  const next =
    `${context.baseUrl}?page=${page + 1n}&per_page=${size}&order_by=${orderBy}&order_type=${orderType}` +
    (filter ? `&updated_since=${filter}` : '');
  return {
    body: body(context, list, ...pythonSlice(end - size, end, total)),
    fields: [
      ['total_items', String(total)],
      ['page', String(page)],
      ['per_page', String(size)],
      ['next_page_url', end < BigInt(total) ? asciiJson(next) : 'null'],
    ],
  };
};

const timestamp: Endpoint = (query, context) => {
  allowOnly(query, 'since');
  return {
    body: body(context, selectRecords(context, { since: sinceParameter(query, 'since') })),
    fields: [],
  };
};

const step: Endpoint = (query, context) => {
  allowOnly(query, 'start_id', 'end_id');
  const start = pythonInt(query.get('start_id') ?? '');
  const end = pythonInt(query.get('end_id') ?? '');
  if (start === null || end === null) {
    throw new Refusal("Both 'start_id' and 'end_id' parameters are required");
  }
  if (start < 1n) {
    throw new Refusal("Invalid value for 'start_id'. It must be greater than or equal to 1.");
  }
  if (end < start) {
    throw new Refusal("Invalid value for 'end_id'. It must be greater than or equal to 'start_id'.");
  }
  const { numeric_ids: numeric, unordered } = context.settings;
  const { slots, from, to } = context.records.range(start, end, numeric, unordered);
  return { body: context.records.body(slots, from, to, numeric ? 'numeric' : 'sequence'), fields: [] };
};

/** The implemented endpoints of the reference API, by path. */
export const ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map([
  ['/pagination/keyset', keyset],
  ['/pagination/offset', offset],
  ['/pagination/page_number', pageNumber],
  ['/pagination/next_page_url', nextPageUrl],
  ['/incremental/timestamp', timestamp],
  ['/incremental/step', step],
]);

/** Returns all records, as the list or step endpoints would serve them. */
export function allRecords({ records, settings }: Context, view: 'list' | 'step'): Body {
  const { slots, from, to } = records.list({
    orderBy: 'updatedAt',
    descending: false,
    since: null,
    exclusive: false,
    unordered: false,
  });
  const form: IdForm = settings.numeric_ids ? 'numeric' : view === 'step' ? 'sequence' : 'uuid';
  return records.body(slots, from, to, form);
}
