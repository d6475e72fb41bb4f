/**
 * An API that asks for and answers what the full form knows besides lists of JSON by GET: POST and GraphQL, other
 * formats, credentials that expire, errors of its own, a request budget, parents. It is strict: what it does not know
 * is refused, and it keeps a log of who asked for what.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

export const SECRETS = {
  VARIOUS_USER: 'somebody-3e9a',
  VARIOUS_PASSWORD: 'pass"word/71c2',
  VARIOUS_CLIENT: 'client-secret-9b1d',
  VARIOUS_REFRESH: 'refresh-first-44aa',
  VARIOUS_SIGNING: 'signing-key-c0de',
};

/** Distinct, tied in pairs by time, and with a number that a double cannot hold. */
export const USERS = Array.from({ length: 95 }, (_, i) => ({
  id: i + 1,
  name: `User, "${i + 1}"`,
  big: `90071992547409${String(i).padStart(2, '0')}3`,
  status: i % 3 === 0 ? 'closed' : 'open',
  owner: { login: `owner${i % 4}` },
  updatedAt: new Date(Date.UTC(2026, 0, 1) + Math.floor(i / 2) * 60_000).toISOString().replace('.000', ''),
}));
type User = (typeof USERS)[number];
/** As JSON, the big number as a number. */
const json = (user: User) => JSON.stringify(user).replace(/"big":"(\d+)"/, '"big":$1');
const list = (users: readonly User[]) => `[${users.map(json).join(',')}]`;

export interface VariousApi {
  url: string;
  /** Path of each request, in order. */
  requests: string[];
  /** Access and session tokens given so far. */
  tokens: string[];
  /** Requests refused because the budget was used up. */
  over: number;
  /** Most requests that were open at once. */
  atOnce: number;
  /** Refresh tokens given so far, the first one included; only the last one is good. */
  refreshTokens: string[];
  stop: () => void;
}

interface Options {
  /** Requests that a session or access token is good for. */
  uses?: number;
  /** Parents; the third is refused. */
  teams?: number;
  /** Requests in each window of the budget, and its length. */
  budget?: { requests: number; milliseconds: number };
}

export async function startVariousApi({
  uses = Infinity,
  teams = 5,
  budget = { requests: 3, milliseconds: 1500 },
}: Options = {}): Promise<VariousApi> {
  const left = new Map<string, number>();
  let window = { from: 0, used: 0 };
  let flaky = 0;
  let open = 0;
  const api: VariousApi = {
    url: '',
    requests: [],
    tokens: [],
    over: 0,
    atOnce: 0,
    refreshTokens: [SECRETS.VARIOUS_REFRESH],
    stop: () => undefined,
  };

  const give = () => {
    const token = `token-${randomUUID()}`;
    left.set(token, uses);
    api.tokens.push(token);
    return token;
  };
  const isGood = (token: string) => {
    const uses = left.get(token) ?? 0;
    left.set(token, uses - 1);
    return uses > 0;
  };
  const page = (url: URL, users: readonly User[] = USERS) => {
    const number = Number(url.searchParams.get('page') ?? 1);
    return `{"data":${list(users.slice((number - 1) * 20, number * 20))},"total":${users.length}}`;
  };

  async function answer(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const url = new URL(request.url ?? '/', api.url);
    api.requests.push(url.pathname + url.search);
    const send = (status: number, text: string | Buffer, headers: Record<string, string | number> = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(text);
    };
    const form = () => new URLSearchParams(body);
    const bearer = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const path = `${request.method} ${url.pathname}`;
    const [, team] = /^GET \/teams\/(\d+)\/members$/.exec(path) ?? [];
    if (team !== undefined) {
      if (team === '3') return send(404, '{"error":"team 3 was archived"}');
      const since = url.searchParams.get('updated_since');
      // Members are numbered within their team.
      const numbered = USERS.filter(({ id }) => id % 10 === Number(team) % 10)
        .map((user, i) => ({ ...user, id: i + 1 }))
        .filter(({ updatedAt }) => since === null || updatedAt >= since);
      const number = Number(url.searchParams.get('page') ?? 1);
      const members = list(numbered.slice((number - 1) * 4, number * 4));
      return send(200, `{"data":${members},"total":${numbered.length}}`);
    }
    switch (path) {
      case 'GET /users':
        return send(200, page(url));
      case 'POST /search': {
        const asked = JSON.parse(body) as { size?: unknown; after?: unknown; filter?: { since?: unknown } };
        if (asked.size !== 20) return send(400, '{"error":"size must be the number 20"}');
        if (asked.after !== null && typeof asked.after !== 'string') return send(400, '{"error":"after"}');
        const since = asked.filter?.since;
        const kept = USERS.filter(({ updatedAt }) => typeof since !== 'string' || updatedAt >= since);
        const from = Number(asked.after ?? 0);
        const next = from + 20 < kept.length ? JSON.stringify(String(from + 20)) : 'null';
        return send(200, `{"hits":{"items":${list(kept.slice(from, from + 20))}},"after":${next}}`);
      }
      case 'POST /form': {
        if (request.headers['content-type'] !== 'application/x-www-form-urlencoded') return send(415, '{}');
        const number = Number(form().get('page'));
        return send(200, list(USERS.slice((number - 1) * 20, number * 20)));
      }
      case 'POST /graphql': {
        const { query, variables } = JSON.parse(body) as {
          query: string;
          variables: { first: number; after: string | null };
        };
        if (!query.includes('users(')) {
          return send(200, '{"data":null,"errors":[{"message":"Cannot query field \\"user\\""}]}');
        }
        const from = variables.after === null ? 0 : Number(Buffer.from(variables.after, 'base64').toString());
        const to = from + variables.first;
        const edges = USERS.slice(from, to).map((user) => `{"node":${json(user)}}`);
        const pageInfo = {
          hasNextPage: to < USERS.length,
          endCursor: Buffer.from(String(to)).toString('base64'),
        };
        const partial = query.includes('broken') ? ',"errors":[{"message":"owner timed out"}]' : '';
        return send(
          200,
          `{"data":{"users":{"pageInfo":${JSON.stringify(pageInfo)},"edges":[${edges.join(',')}]}}${partial}}`,
        );
      }
      case 'GET /export.ndjson':
        return send(200, `${USERS.map(json).join('\r\n')}\n\n`, { 'content-type': 'application/x-ndjson' });
      case 'GET /export.csv':
      case 'GET /export.csv.gz': {
        const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const lines = USERS.map((u) => [u.id, quote(u.name), u.big, u.id === 7 ? '' : u.updatedAt].join(','));
        const csv = `\uFEFFid,name,big,updatedAt\r\n${lines.join('\r\n')}\r\n`;
        return send(200, url.pathname.endsWith('.gz') ? gzipSync(csv) : csv, { 'content-type': 'text/csv' });
      }
      case 'GET /me':
        return send(200, `{"me":${json(USERS[0] as User)}}`);
      case 'POST /login': {
        const asked = JSON.parse(body) as { user?: string; password?: string };
        const isKnown = asked.user === SECRETS.VARIOUS_USER && asked.password === SECRETS.VARIOUS_PASSWORD;
        return isKnown
          ? send(200, JSON.stringify({ session: { id: give() } }))
          : send(403, `{"error":"no such user: ${asked.user}"}`);
      }
      case 'GET /session/users':
        return isGood(String(request.headers['x-session'] ?? ''))
          ? send(200, page(url))
          : send(401, '{"error":"the session has expired"}');
      case 'POST /oauth/token': {
        const basic = Buffer.from(
          (request.headers.authorization ?? '').replace(/^Basic /, ''),
          'base64',
        ).toString();
        const client = basic === '' ? form().get('client_secret') : basic.split(':')[1];
        if (client !== SECRETS.VARIOUS_CLIENT) return send(401, '{"error":"invalid_client"}');
        if (form().get('grant_type') === 'client_credentials')
          return send(200, JSON.stringify({ access_token: give(), expires_in: 3600, token_type: 'bearer' }));
        if (form().get('refresh_token') !== api.refreshTokens.at(-1)) {
          return send(400, '{"error":"invalid_grant","error_description":"the refresh token has been used"}');
        }
        api.refreshTokens.push(`refresh-${randomUUID()}`);
        return send(
          200,
          JSON.stringify({ access_token: give(), expires_in: 3600, refresh_token: api.refreshTokens.at(-1) }),
        );
      }
      case 'GET /oauth/users':
        return isGood(bearer) ? send(200, page(url)) : send(401, '{"error":"invalid_token"}');
      case 'GET /signed/users': {
        const right = createHmac('sha256', SECRETS.VARIOUS_SIGNING)
          .update(`GET ${url.pathname}${url.search}`)
          .digest('hex');
        return request.headers['x-signature'] === right
          ? send(200, page(url))
          : send(401, '{"error":"bad signature"}');
      }
      case 'GET /limited/users': {
        const now = Date.now();
        if (now >= window.from + budget.milliseconds) window = { from: now, used: 0 };
        if (++window.used > budget.requests) {
          api.over++;
          return send(429, '{"error":"too many requests"}', { 'retry-after': 1 });
        }
        const reset = (window.from + budget.milliseconds - now) / 1000;
        return send(200, page(url), {
          'x-ratelimit-remaining': budget.requests - window.used,
          'x-ratelimit-reset': reset,
        });
      }
      case 'GET /slow/users': {
        api.atOnce = Math.max(api.atOnce, ++open);
        await new Promise((resolve) => setTimeout(resolve, 60));
        open--;
        return send(200, page(url));
      }
      // Each page at first fails in a way of its own.
      case 'GET /odd/users': {
        switch (flaky++) {
          case 1:
            return send(420, '{"error":"enhance your calm"}');
          case 3:
            return send(400, '{"error":{"code":"BUSY"}}');
          case 5:
            return send(200, '{"fault":{"code":"LOCKED"}}');
        }
        return Number(url.searchParams.get('page')) > 4
          ? send(404, '{"error":"no more"}')
          : send(200, page(url));
      }
      case 'GET /teams':
        return send(
          200,
          JSON.stringify({
            data: Array.from({ length: teams }, (_, i) => ({ id: i + 1, name: `Team ${i + 1}` })),
          }),
        );
    }
    return send(404, '{"error":"there is no such endpoint"}');
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => void answer(request, response, Buffer.concat(chunks).toString('utf8')));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  api.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  api.stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return api;
}
