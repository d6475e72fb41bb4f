/**
 * Small imitations of vendors' list endpoints. Each does what the vendor's paging page says (cited in the example that
 * it serves) and refuses what the vendor would, so that an example which no longer fits fails its test.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export const TOKEN = 'imitation-secret-5f1c';

type Answer = { status?: number; headers?: Record<string, string>; body: unknown };
export type Imitation = (url: URL, request: IncomingMessage, body: string) => Answer;

const refused = (status: number, message: string): Answer => ({ status, body: { message } });
const time = (i: number) => new Date(Date.UTC(2026, 0, 1) + i * 60_000).toISOString().replace('.000', '');
const unknown = (url: URL, known: string[]) =>
  [...url.searchParams.keys()].find((name) => !known.includes(name));
const count = 260;
const range = Array.from({ length: count }, (_, i) => i);

const github: Imitation = (url, request) => {
  if (request.headers.authorization !== `Bearer ${TOKEN}`) return refused(401, 'Bad credentials');
  // "All API requests must include a valid User-Agent header."
  if (!request.headers['user-agent']) return refused(403, 'Request forbidden by administrative rules');
  if (url.pathname !== '/repos/temporalio/sdk-typescript/issues') return refused(404, 'Not Found');
  const size = Math.min(Number(url.searchParams.get('per_page') ?? 30), 100);
  const page = Number(url.searchParams.get('page') ?? 1);
  const since = url.searchParams.get('since');
  if (url.searchParams.get('direction') !== 'asc' || url.searchParams.get('sort') !== 'updated') {
    return refused(422, 'the example sorts by updated, ascending');
  }
  const kept = range.filter((i) => since === null || time(i) >= since);
  const next = new URL(url);
  next.searchParams.set('page', String(page + 1));
  const last = page * size >= kept.length;
  return {
    headers: last ? {} : { link: `<${next.href}>; rel="next", <${url.href}>; rel="last"` },
    body: kept.slice((page - 1) * size, page * size).map((i) => ({
      id: 5_000_000_000 + i,
      number: i,
      title: `Issue ${i}`,
      state: i % 3 === 0 ? 'closed' : 'open',
      user: { login: `user${i % 7}` },
      labels: i % 2 === 0 ? [] : [{ name: 'bug' }],
      created_at: time(0),
      updated_at: time(i),
      closed_at: i % 3 === 0 ? time(i) : null,
    })),
  };
};

const githubGraphQl: Imitation = (url, request, body) => {
  if (request.headers.authorization !== `Bearer ${TOKEN}`) return refused(401, 'Bad credentials');
  if (!request.headers['user-agent']) return refused(403, 'Request forbidden by administrative rules');
  if (request.method !== 'POST' || url.pathname !== '/graphql') return refused(404, 'Not Found');
  if (url.search !== '') return refused(400, 'the example asks by its body only');
  const { query, variables } = JSON.parse(body) as { query: string; variables: Record<string, unknown> };
  const errors = (message: string): Answer => ({ body: { data: null, errors: [{ message }] } });
  const { first, after, since } = variables;
  // "You must provide a first or last argument … The value must be between 1 and 100."
  if (typeof first !== 'number' || first < 1 || first > 100) return errors('first must be between 1 and 100');
  for (const word of [
    '$first: Int!',
    '$after: String',
    '$since: DateTime',
    'pageInfo',
    'endCursor',
    'hasNextPage',
  ]) {
    if (!query.includes(word)) return errors(`the query has no ${word}`);
  }
  if (!query.includes('field: UPDATED_AT, direction: ASC'))
    return errors('the example sorts by UPDATED_AT, ASC');
  if (variables['owner'] !== 'temporalio' || variables['name'] !== 'sdk-typescript')
    return errors('Could not resolve to a Repository');
  const kept = range.filter((i) => typeof since !== 'string' || time(i) >= since);
  const from = typeof after === 'string' ? Number(Buffer.from(after, 'base64').toString().split(':')[1]) : 0;
  const nodes = kept.slice(from, from + first).map((i) => ({
    databaseId: 5_000_000_000 + i,
    number: i,
    title: `Issue ${i}`,
    state: i % 3 === 0 ? 'CLOSED' : 'OPEN',
    updatedAt: time(i),
    author: i % 11 === 0 ? null : { login: `user${i % 7}` },
    labels: { nodes: i % 2 === 0 ? [] : [{ name: 'bug' }] },
  }));
  const to = from + nodes.length;
  const pageInfo = {
    hasNextPage: to < kept.length,
    endCursor: nodes.length === 0 ? null : Buffer.from(`cursor:${to}`).toString('base64'),
  };
  return { body: { data: { repository: { issues: { nodes, pageInfo } } } } };
};

const stripe: Imitation = (url, request) => {
  if (request.headers.authorization !== `Bearer ${TOKEN}`) return refused(401, 'Invalid API Key provided');
  if (url.pathname !== '/v1/charges') return refused(404, 'Unrecognized request URL');
  const stray = unknown(url, ['limit', 'starting_after', 'ending_before', 'created', 'customer']);
  if (stray !== undefined) return refused(400, `Received unknown parameter: ${stray}`);
  const limit = Number(url.searchParams.get('limit') ?? 10);
  if (!(limit >= 1 && limit <= 100)) return refused(400, 'This value must be less than or equal to 100.');
  const after = url.searchParams.get('starting_after');
  const newestFirst = [...range].reverse();
  const from = after === null ? 0 : newestFirst.indexOf(Number(after.slice(3))) + 1;
  if (after !== null && from === 0) return refused(404, `No such charge: '${after}'`);
  return {
    body: {
      object: 'list',
      url: '/v1/charges',
      has_more: from + limit < count,
      data: newestFirst.slice(from, from + limit).map((i) => ({
        id: `ch_${i}`,
        amount: i * 100,
        currency: 'eur',
        status: 'succeeded',
        customer: i % 5 === 0 ? null : `cus_${i % 5}`,
        paid: true,
        refunded: false,
        created: 1_767_225_600 + i,
        metadata: { order: String(i) },
      })),
    },
  };
};

const hubspot: Imitation = (url, request) => {
  if (request.headers.authorization !== `Bearer ${TOKEN}`)
    return refused(401, 'Authentication credentials not found');
  if (url.pathname !== '/crm/v3/objects/contacts') return refused(404, 'not found');
  const limit = Number(url.searchParams.get('limit') ?? 10);
  if (limit > 100) return refused(400, 'limit must be at most 100');
  const from = Number(url.searchParams.get('after') ?? 0);
  const more = from + limit < count;
  return {
    body: {
      results: range.slice(from, from + limit).map((i) => ({
        id: String(i),
        properties: { email: `c${i}@example.com` },
        createdAt: time(0),
        updatedAt: time(i),
        archived: false,
      })),
      ...(more && {
        paging: { next: { after: String(from + limit), link: `${url.origin}/?after=${from + limit}` } },
      }),
    },
  };
};

export interface ShopifyOrder {
  id: number;
  name: string;
  email: string;
  total_price: string;
  currency: string;
  financial_status: string;
  line_items: { id: number; sku: string | null; title: string; quantity: number; price: string }[];
  refunds: {
    id: number;
    note: string | null;
    created_at: string;
    refund_line_items: {
      id: number;
      line_item_id: number;
      quantity: number;
      subtotal: number;
      restock_type: string;
    }[];
  }[];
  created_at: string;
  updated_at: string;
}

/** Orders of a shop: an order in three has a second line, and an order in ten a refund. */
export const shopifyOrders = (): ShopifyOrder[] =>
  range.map((i) => {
    const line = (n: number) => ({
      id: 20_000 + 10 * i + n,
      sku: n === 1 ? null : `s${i}`,
      title: `Product ${n}`,
      quantity: 1 + (i % 3),
      price: `${i}.10`,
    });
    const lines = i % 3 === 0 ? [line(0), line(1)] : [line(0)];
    const returned = (n: number) => ({
      ...{ id: 40_000 + 10 * i + n, line_item_id: 20_000 + 10 * i + n, quantity: 1, subtotal: i + 0.1 },
      restock_type: 'return',
    });
    const note = i % 20 === 0 ? null : 'too small';
    const refund = {
      ...{ id: 30_000 + i, note, created_at: time(i) },
      refund_line_items: lines.map((_, n) => returned(n)),
    };
    return {
      id: 4_000_000_000_000 + i,
      name: `#${i}`,
      email: `o${i}@example.com`,
      total_price: `${i}.10`,
      currency: 'EUR',
      financial_status: 'paid',
      line_items: lines,
      refunds: i % 10 === 0 ? [refund] : [],
      created_at: time(0),
      updated_at: time(i),
    };
  });

/** A shop whose orders the caller may change. */
export const shopify =
  (orders: readonly ShopifyOrder[]): Imitation =>
  (url, request) => {
    if (request.headers['x-shopify-access-token'] !== TOKEN)
      return refused(401, '[API] Invalid API key or access token');
    if (url.pathname !== '/admin/api/2025-01/orders.json') return refused(404, 'Not Found');
    const info = url.searchParams.get('page_info');
    const stray = info === null ? undefined : unknown(url, ['page_info', 'limit', 'fields']);
    // "A request that includes the page_info parameter can't include any other parameters except for limit and fields."
    if (stray !== undefined) return refused(400, `${stray}: cannot be used with page_info`);
    if (info === null && url.searchParams.get('status') !== 'any')
      return refused(400, 'the example reads all orders');
    const limit = Number(url.searchParams.get('limit') ?? 50);
    if (limit > 250) return refused(400, 'limit must be at most 250');
    const { from, since } = JSON.parse(
      info === null
        ? JSON.stringify({ from: 0, since: url.searchParams.get('updated_at_min') })
        : Buffer.from(info, 'base64').toString(),
    ) as { from: number; since: string | null };
    const kept = orders
      .filter(({ updated_at }) => since === null || updated_at >= since)
      .sort((a, b) => a.updated_at.localeCompare(b.updated_at));
    const next = Buffer.from(JSON.stringify({ from: from + limit, since })).toString('base64');
    const link = `<${url.origin}${url.pathname}?limit=${limit}&page_info=${encodeURIComponent(next)}>; rel="next"`;
    return {
      headers: from + limit < kept.length ? { link } : {},
      body: {
        orders: kept.slice(from, from + limit),
      },
    };
  };

export interface OktaUser {
  id: string;
  status: string;
  created: string;
  lastUpdated: string;
  profile: { [field: string]: string | null };
  credentials: object;
}

/** Users, one of seven of whom is suspended, and one of five has no phone. */
export const oktaUsers = (): OktaUser[] =>
  range.map((i) => ({
    id: `00u${i}`,
    status: i % 7 === 0 ? 'SUSPENDED' : 'ACTIVE',
    created: time(0),
    lastUpdated: time(i),
    profile: {
      firstName: `First${i}`,
      lastName: i % 9 === 0 ? 'O’Hara' : `Last${i}`,
      email: `User.${i}@Example${i % 4}.com`,
      login: `user.${i}@example.com`,
      mobilePhone: i % 5 === 0 ? null : `+1 555 01${String(i).padStart(4, '0')}`,
    },
    credentials: { provider: { type: 'OKTA', name: 'OKTA' }, emails: [{ value: `user.${i}@example.com` }] },
  }));

/** An organization whose users the caller may change. */
export const okta =
  (users: readonly OktaUser[]): Imitation =>
  (url, request) => {
    if (request.headers.authorization !== `SSWS ${TOKEN}`) return refused(401, 'Invalid token provided');
    if (url.pathname !== '/api/v1/users') return refused(404, 'Not found');
    const stray = unknown(url, ['limit', 'after', 'filter', 'search', 'q']);
    if (stray !== undefined) return refused(400, `the imitation does not know ${stray}`);
    const limit = Number(url.searchParams.get('limit') ?? 200);
    if (!(limit >= 1 && limit <= 200)) return refused(400, 'limit must be at most 200');
    const after = url.searchParams.get('after');
    const from = after === null ? 0 : users.findIndex(({ id }) => id === after) + 1;
    const page = users.slice(from, from + limit);
    const next = new URL(url);
    next.searchParams.set('after', page.at(-1)?.id ?? '');
    const self = `<${url.href}>; rel="self"`;
    const link = from + limit < users.length ? `${self}, <${next.href}>; rel="next"` : self;
    return { headers: { link }, body: page };
  };

const shopOrders = shopifyOrders();
/** Rows of all tables that shopify-orders-lines.yaml fills from `shopOrders`. */
const shopRows = shopOrders.reduce(
  (rows, { line_items, refunds }) =>
    rows + 1 + line_items.length + refunds.reduce((n, one) => n + 1 + one.refund_line_items.length, 0),
  0,
);

/**
 * By the example's file. `again` is how many records a second pass over the unchanged source reads, `rows` how many rows
 * the first one writes if there are child tables.
 */
export const IMITATIONS: Record<
  string,
  { imitation: Imitation; variable: string; basePath: string; again: number; rows?: number }
> = {
  'github-issues.yaml': { imitation: github, variable: 'GITHUB_TOKEN', basePath: '', again: 1 },
  'github-graphql-issues.yaml': {
    imitation: githubGraphQl,
    variable: 'GITHUB_TOKEN',
    basePath: '',
    again: 1,
  },
  'stripe-charges.yaml': { imitation: stripe, variable: 'STRIPE_KEY', basePath: '', again: count },
  'hubspot-contacts.yaml': { imitation: hubspot, variable: 'HUBSPOT_TOKEN', basePath: '', again: count },
  'shopify-orders.yaml': {
    imitation: shopify(shopOrders),
    variable: 'SHOPIFY_TOKEN',
    basePath: '/admin/api/2025-01',
    again: 1,
  },
  'shopify-orders-lines.yaml': {
    imitation: shopify(shopOrders),
    variable: 'SHOPIFY_TOKEN',
    basePath: '/admin/api/2025-01',
    again: 1,
    rows: shopRows,
  },
  'okta-users.yaml': { imitation: okta(oktaUsers()), variable: 'OKTA_TOKEN', basePath: '', again: count },
};

export const RECORDS = count;

/** Serves an imitation on a free port. */
export async function imitate(imitation: Imitation): Promise<{ url: string; stop: () => void }> {
  const server: Server = createServer((request, response) => {
    const host = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const sent = Buffer.concat(chunks).toString('utf8');
      const {
        status = 200,
        headers = {},
        body,
      } = imitation(new URL(request.url ?? '/', host), request, sent);
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
