/** One local server that pages in the ways of many APIs: by the first part of the path. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Records of each style. */
export const STYLE_RECORDS = 57;

const time = (i: number) => new Date(Date.UTC(2026, 0, 1) + i * 3_600_000).toISOString();
const ALL = Array.from({ length: STYLE_RECORDS }, (_, i) => ({
  id: 1000 + i,
  name: `n${i}`,
  updated_at: time((i * 7) % STYLE_RECORDS),
}));
type Item = (typeof ALL)[number];

export interface StyleAnswer {
  status?: number;
  headers?: { [name: string]: string };
  body: unknown;
}

const number = (url: URL, name: string, otherwise: number) => Number(url.searchParams.get(name) ?? otherwise);
const refused = (message: string): StyleAnswer => ({ status: 400, body: { error: message } });
const cut = (from: number, size: number, list: readonly Item[] = ALL) => list.slice(from, from + size);
const more = (from: number, size: number) => from + size < ALL.length;
const withParam = (url: URL, values: { [name: string]: string | number }) => {
  const next = new URL(url);
  for (const [name, value] of Object.entries(values)) next.searchParams.set(name, String(value));
  return next;
};
/** Tokens that are no numbers. */
const token = (from: number) => Buffer.from(`at:${from}`).toString('base64url');
const read = (text: string | null) =>
  text === null ? 0 : Number(Buffer.from(text, 'base64url').toString().slice(3));
const strict = (url: URL, ...known: string[]) => {
  const unknown = [...url.searchParams.keys()].filter((name) => !known.includes(name));
  return unknown.length === 0 ? null : refused(`Received unknown parameters: ${unknown.join(', ')}`);
};

const asked = new Map<string, number>();
/** A page of a list that grows by one record with every third request, newest first. */
function moving(style: string, page: number, size: number): { id: number; type: string }[] {
  const requests = asked.get(style) ?? 0;
  asked.set(style, requests + 1);
  const newest = 500 + Math.floor(requests / 3);
  const list = Array.from({ length: newest }, (_, i) => ({ id: newest - i, type: 'push' }));
  return list.slice((page - 1) * size, page * size);
}

/** The styles, each by its name. */
export const STYLES: { [name: string]: (url: URL) => StyleAnswer } = {
  github: (url) => {
    const [page, size] = [number(url, 'page', 1), Math.min(number(url, 'per_page', 10), 100)];
    const link = `<${withParam(url, { page: page + 1 }).href}>; rel="next", <${url.href}>; rel="first"`;
    return {
      headers: more((page - 1) * size, size) ? { link } : {},
      body: cut((page - 1) * size, size),
    };
  },
  stripe: (url) => {
    const wrong = strict(url, 'limit', 'starting_after', 'ending_before');
    if (wrong !== null) return wrong;
    const size = number(url, 'limit', 10);
    const after = url.searchParams.get('starting_after');
    const from = after === null ? 0 : ALL.findIndex(({ id }) => String(id) === after) + 1;
    return { body: { object: 'list', data: cut(from, size), has_more: more(from, size), url: '/v1/x' } };
  },
  /** As stripe, with keys that a number would round. */
  long_keys: (url) => {
    const keyOf = (id: number) => `9007199254740${1000 + 2 * (id % 1000) + 1}`;
    const wrong = strict(url, 'limit', 'starting_after');
    if (wrong !== null) return wrong;
    const size = number(url, 'limit', 10);
    const after = url.searchParams.get('starting_after');
    const from = after === null ? 0 : ALL.findIndex(({ id }) => keyOf(id) === after) + 1;
    const body = JSON.stringify({ data: cut(from, size), has_more: more(from, size) });
    return { body: body.replace(/"id":(\d+)/g, (_, id: string) => `"id":${keyOf(Number(id))}`) };
  },
  shopify: (url) => {
    const size = number(url, 'limit', 10);
    const from = read(url.searchParams.get('page_info'));
    const next = new URL(url.pathname, url.origin);
    next.searchParams.set('limit', String(size));
    next.searchParams.set('page_info', token(from + size));
    return {
      headers: more(from, size) ? { link: `<${next.href}>; rel="next"` } : {},
      body: { shopify: cut(from, size) },
    };
  },
  zendesk: (url) => {
    const size = number(url, 'page[size]', 10);
    const from = read(url.searchParams.get('page[after]'));
    const next = withParam(url, { 'page[after]': token(from + size), 'page[size]': size });
    return {
      body: {
        tickets: cut(from, size),
        meta: { has_more: more(from, size), after_cursor: more(from, size) ? token(from + size) : null },
        links: { prev: null, next: more(from, size) ? next.href : null },
      },
    };
  },
  odata: (url) => {
    const unknown = [...url.searchParams.keys()].find((name) => !['$top', '$skip', '$filter'].includes(name));
    if (unknown?.startsWith('$') === true)
      return refused(`The query parameter '${unknown}' is not supported.`);
    const [from, top] = [number(url, '$skip', 0), number(url, '$top', ALL.length)];
    const size = Math.min(top, 20);
    const next = withParam(url, { $skip: from + size }).href;
    return {
      body: {
        '@odata.context': 'x',
        value: cut(from, size),
        ...(more(from, size) && top > 20 && { '@odata.nextLink': next }),
      },
    };
  },
  jsonapi: (url) => {
    const [page, size] = [number(url, 'page[number]', 1), number(url, 'page[size]', 10)];
    const next = withParam(url, { 'page[number]': page + 1, 'page[size]': size }).href;
    const data = cut((page - 1) * size, size).map(({ id, ...attributes }) => ({
      type: 'things',
      id: String(id),
      attributes,
    }));
    return {
      body: {
        data,
        included: ALL.map(({ id }) => ({ type: 'other', id })),
        links: { self: url.href, next: more((page - 1) * size, size) ? next : null },
        meta: { total: ALL.length },
      },
    };
  },
  hubspot: (url) => {
    const [size, from] = [number(url, 'limit', 10), number(url, 'after', 0)];
    const link = withParam(url, { after: from + size }).href;
    return {
      body: {
        results: cut(from, size),
        ...(more(from, size) && { paging: { next: { after: String(from + size), link } } }),
      },
    };
  },
  slack: (url) => {
    const size = number(url, 'limit', 10);
    const from = read(url.searchParams.get('cursor'));
    return {
      body: {
        ok: true,
        members: cut(from, size),
        response_metadata: { next_cursor: more(from, size) ? token(from + size) : '' },
      },
    };
  },
  salesforce: (url) => {
    const from = Number(/-(\d+)$/.exec(url.pathname)?.[1] ?? 0);
    return {
      body: {
        totalSize: ALL.length,
        done: !more(from, 20),
        ...(more(from, 20) && { nextRecordsUrl: `/salesforce/query/01g-${from + 20}` }),
        records: cut(from, 20),
      },
    };
  },
  elasticsearch: (url) => {
    const [from, size] = [number(url, 'from', 0), number(url, 'size', 10)];
    const unknown = [...url.searchParams.keys()].filter(
      (name) => !['from', 'size', 'q', 'sort'].includes(name),
    );
    if (unknown.length > 0) {
      const names = unknown.map((name) => `[${name}]`).join(', ');
      return refused(`request [/things/_search] contains unrecognized parameters: ${names}`);
    }
    const hits = cut(from, size).map((one) => ({ _index: 'things', _id: String(one.id), _source: one }));
    return {
      body: { took: 3, timed_out: false, hits: { total: { value: ALL.length, relation: 'eq' }, hits } },
    };
  },
  spring: (url) => {
    const [page, size] = [number(url, 'page', 0), number(url, 'size', 20)];
    return {
      body: {
        content: cut(page * size, size),
        number: page,
        size,
        totalElements: ALL.length,
        totalPages: Math.ceil(ALL.length / size),
        last: !more(page * size, size),
        first: page === 0,
      },
    };
  },
  ignores_size: (url) => ({ body: { data: cut((number(url, 'page', 1) - 1) * 10, 10), total: ALL.length } }),
  total_header: (url) => ({
    headers: { 'x-total-count': String(ALL.length) },
    body: cut((number(url, 'p', 1) - 1) * number(url, 'per_page', 10), number(url, 'per_page', 10)),
  }),
  offsets: (url) => ({
    body: { items: cut(number(url, 'skip', 0), Math.min(number(url, 'limit', 10), 25)), total: ALL.length },
  }),
  scim: (url) => {
    const [start, size] = [number(url, 'startIndex', 1), number(url, 'count', 10)];
    return { body: { totalResults: ALL.length, startIndex: start, Resources: cut(start - 1, size) } };
  },
  kinto: (url) => {
    const size = number(url, '_limit', ALL.length);
    const from = read(url.searchParams.get('_token'));
    const unknown = [...url.searchParams.keys()].find((name) => !/^_(limit|token|since|sort)$/.test(name));
    if (unknown?.startsWith('_') === true) return refused(`Unknown filter field '${unknown}'`);
    if (unknown !== undefined) return { body: { data: [] } };
    const next = withParam(url, { _token: token(from + size) }).href;
    const since = url.searchParams.get('_since');
    const records = ALL.map(({ id, updated_at }) => ({ id, last_modified: Date.parse(updated_at) }));
    const changed = records.filter(({ last_modified }) => since === null || last_modified > Number(since));
    const headers = from + size < changed.length ? { 'next-page': next } : {};
    return { headers, body: { data: changed.slice(from, from + size) } };
  },
  gitlab: (url) => {
    const [page, size] = [number(url, 'page', 1), number(url, 'per_page', 20)];
    const next = more((page - 1) * size, size) ? String(page + 1) : '';
    return {
      headers: { 'x-next-page': next, 'x-total': String(ALL.length) },
      body: cut((page - 1) * size, size),
    };
  },
  json_server: (url) => {
    if (!url.searchParams.has('_page')) return { body: ALL };
    const [page, size] = [number(url, '_page', 1), number(url, '_per_page', 10)];
    const pages = Math.ceil(ALL.length / size);
    const next = page < pages ? page + 1 : null;
    return {
      body: { first: 1, next, last: pages, pages, items: ALL.length, data: cut((page - 1) * size, size) },
    };
  },
  fhir: (url) => {
    const [from, size] = [number(url, '_offset', 0), number(url, '_count', 10)];
    const next = { relation: 'next', url: withParam(url, { _offset: from + size }).href };
    return {
      body: {
        resourceType: 'Bundle',
        link: [{ relation: 'self', url: url.href }, ...(more(from, size) ? [next] : [])],
        entry: cut(from, size),
        total: ALL.length,
      },
    };
  },
  whole: () => ({ body: { items: ALL } }),
  three_pages: (url) => ({
    body: {
      data: cut((number(url, 'page', 1) - 1) * number(url, 'per_page', 10), number(url, 'per_page', 10)),
      total_pages: 3,
    },
  }),
  // No parameter for the size, by which the count could be compared.
  three_pages_fixed: (url) => ({
    body: { data: cut((number(url, 'page', 1) - 1) * 10, 10), total_pages: 3 },
  }),
  three_pages_total: (url) => ({
    body: { data: cut((number(url, 'page', 1) - 1) * 10, 10), total_pages: 3, total: ALL.length },
  }),
  counts_pages: (url) => ({
    body: {
      data: cut((number(url, 'page', 1) - 1) * number(url, 'per_page', 10), number(url, 'per_page', 10)),
      total_pages: Math.ceil(ALL.length / number(url, 'per_page', 10)),
    },
  }),
  // Repeats its last page.
  counts_pages_fixed: (url) => ({
    body: { data: cut((Math.min(number(url, 'page', 1), 6) - 1) * 10, 10), total_pages: 6 },
  }),
  // Changes are kept for a day only.
  short_memory: (url) => {
    const since = Date.parse(url.searchParams.get('since') ?? '') || 0;
    const oldest = Date.parse(time(STYLE_RECORDS - 24));
    const list = url.searchParams.has('since')
      ? ALL.filter((one) => Date.parse(one.updated_at) >= Math.max(since, oldest))
      : ALL;
    const size = number(url, 'per_page', 10);
    return { body: { data: cut((number(url, 'page', 1) - 1) * size, size, list), total: list.length } };
  },
  next_on_disk: () => ({ headers: { link: '<file:///etc/x>; rel="next"' }, body: cut(0, 20) }),
  two_lists: () => ({ body: { open: cut(0, 12), closed: cut(12, 30), meta: { warnings: [{ id: 1 }] } } }),
  by_keys: () => ({
    body: {
      data: Object.fromEntries(ALL.map((one) => [`k${one.id}`, one])),
      meta: { warnings: [{ id: 1 }] },
    },
  }),
  nested: () => ({
    body: { data: [1, 2].map((id) => ({ id, users: cut(10 * id, 3 * id) })), extras: cut(0, 4) },
  }),
  limited: (url) => ({ body: { data: cut(0, Math.min(number(url, 'limit', 20), 100)) } }),
  // A limit that no request passes.
  capped: (url) => ({ body: { data: cut(0, Math.min(number(url, 'limit', 20), 25)) } }),
  // Newest first, and one more with every third request.
  moving: (url) => ({ body: moving('moving', number(url, 'page', 1), number(url, 'per_page', 20)) }),
  moving_unpaged: () => ({ body: moving('moving_unpaged', 1, 20) }),
  moving_limited: (url) => ({ body: moving('moving_limited', 1, number(url, 'per_page', 20)) }),
  // One record is added, once; the flag says that more follow, and no parameter gets them.
  ignores_key: (url) => {
    const list = moving('ignores_key', 1, number(url, 'limit', 2));
    return { body: { data: list, has_more: true } };
  },
  moving_keys: (url) => {
    const after = Number(url.searchParams.get('starting_after') ?? Infinity);
    const list = moving('moving_keys', 1, Infinity).filter(({ id }) => id < after);
    return { body: { data: list.slice(0, 20), has_more: list.length > 20 } };
  },
  // Pages that do not exist for anyone: every request has the same records.
  repeats: () => ({ body: { data: cut(0, 20), total: ALL.length, page: 1, per_page: 20 } }),
  repeats_link: (url) => ({
    headers: { link: `<${withParam(url, { page: 2 }).href}>; rel="next"` },
    body: cut(0, 20),
  }),
  empty: () => ({ body: { data: [], total: 0 } }),
  login: () => ({
    status: 401,
    headers: { 'www-authenticate': 'Bearer realm="x"' },
    body: { message: 'no' },
  }),
  html: () => ({ headers: { 'content-type': 'text/html' }, body: '<html>' }),
  directory: (url) => ({ body: { users_url: `${url.origin}/github`, version: '1' } }),
};

export interface StylesServer {
  url: string;
  /** Requests to a style so far. */
  requests: (style: string) => number;
  stop: () => Promise<void>;
}

export async function serveStyles(): Promise<StylesServer> {
  const counts = new Map<string, number>();
  const server = createServer((request: IncomingMessage, response) => {
    const url = new URL(request.url ?? '', `http://${request.headers.host ?? ''}`);
    const style = url.pathname.split('/')[1] ?? '';
    counts.set(style, (counts.get(style) ?? 0) + 1);
    const { status = 200, headers = {}, body } = STYLES[style]?.(url) ?? { status: 404, body: {} };
    response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: (style) => counts.get(style) ?? 0,
    stop: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
