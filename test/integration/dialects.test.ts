/**
 * How APIs say what is next, how many there are and that nothing is there, each by a sync from end to end: after it the
 * table has the source's records, or the sync has failed and has said what to configure.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { startSystem, type System } from '../helpers/system.js';

/** Beyond 2^53. */
const BASE = 1234567890123456789n;
const IDS = Array.from({ length: 47 }, (_, i) => BASE + BigInt(i) * 37n);
const ALL = IDS.map((id) => [String(id), `n${id}`]);
const SIZE = 10;

interface Asked {
  path: string;
  query: URLSearchParams;
  /** The text of the body. */
  body: string;
}
interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: string;
}

const record = (id: bigint) => `{"id":${id},"name":"n${id}"}`;
const list = (ids: bigint[], of = record) => `[${ids.map(of).join(',')}]`;
const page = (from: number) => IDS.slice(from, from + SIZE);
const after = (id: bigint) => page(IDS.filter((one) => one <= id).length);
const last = (ids: bigint[]) => ids.at(-1) ?? 0n;
const isFull = (ids: bigint[]) => last(ids) < last(IDS) && ids.length > 0;

/** By the first part of the path, how that API answers. */
const APIS: Record<string, (asked: Asked, requests: number) => Answer> = {
  // The next page holds ids greater than a number in the answer.
  since: ({ query }) => {
    const ids = after(BigInt(query.get('since_id') ?? '0'));
    return { body: `{"data":${list(ids)},"meta":{"next_since_id":${isFull(ids) ? last(ids) : 'null'}}}` };
  },
  // SCIM: the first record has number 1.
  scim: ({ query }) => {
    const first = Number(query.get('startIndex') ?? '0');
    if (first < 1) return { status: 400, body: '{"error":"startIndex begins at 1"}' };
    const size = Number(query.get('count'));
    return {
      body: `{"totalResults":${IDS.length},"Resources":${list(IDS.slice(first - 1, first - 1 + size))}}`,
    };
  },
  // An offset within a page is taken for the page's beginning.
  floors: ({ query }) => {
    const offset = Number(query.get('offset') ?? '0');
    return { body: list(page(offset - (offset % SIZE))) };
  },
  // Elasticsearch: the next page is asked for by the last hit's sort values.
  search: ({ body }) => {
    const { search_after: found } = JSON.parse(body) as { search_after: unknown };
    const sort = /"search_after":\["t",(\d+)\]/.exec(body)?.[1];
    if (found !== null && sort === undefined) return { status: 400, body: '{"error":"parsing_exception"}' };
    const hit = (id: bigint) => `{"_source":${record(id)},"sort":["t", ${id}]}`;
    const hits = list(after(BigInt(sort ?? '0')), hit);
    return { body: `{"hits":{"total":{"value":10,"relation":"gte"},"hits":${hits}}}` };
  },
  // DynamoDB: an object, which is left out of the last answer.
  dynamo: ({ body }) => {
    const key = /"ExclusiveStartKey":\{"id":\{"N":(\d+)\}\}/.exec(body)?.[1];
    if (key === undefined && !body.includes('"ExclusiveStartKey":null')) return { status: 400 };
    const ids = after(BigInt(key ?? '0'));
    const next = isFull(ids) ? `,"LastEvaluatedKey":{ "id": { "N": ${last(ids)} } }` : '';
    return { body: `{"Items":${list(ids)}${next}}` };
  },
  // MediaWiki: the members of an object are parameters of the next request.
  wiki: ({ query }) => {
    if (query.get('key') !== 'k3y') return { status: 403 };
    if (query.has('from') && query.get('continue') !== '-||') return { status: 400 };
    const ids = after(BigInt(query.get('from') ?? '0'));
    const next = isFull(ids) ? `"continue":{"from":${last(ids)},"continue":"-||","key":"stolen"},` : '';
    return { body: `{${next}"query":{"all":${list(ids)}}}` };
  },
  // OData: names with dots and an "@".
  odata: ({ query, path }) => {
    const from = Number(query.get('$skip') ?? 0);
    const next = from + SIZE < IDS.length ? `,"@odata.nextLink":"${path}?$skip=${from + SIZE}"` : '';
    return { body: `{"@odata.count":47,"odata.items":${list(page(from))}${next}}` };
  },
  // PostgREST: the count is in a header.
  range: ({ query }) => {
    const from = Number(query.get('offset'));
    return { headers: { 'content-range': `${from}-${from + SIZE - 1}/47` }, body: list(page(from)) };
  },
  // WordPress: counts in headers, and 400 past the last page.
  pages: ({ query }) => {
    const number = Number(query.get('page'));
    if (number > 5) return { status: 400, body: '{"code":"rest_post_invalid_page_number"}' };
    return { headers: { 'X-WP-TotalPages': '5' }, body: list(page((number - 1) * SIZE)) };
  },
  path: ({ path }) => ({ body: `{"data":${list(page((Number(path.split('/')[2]) - 1) * SIZE))}}` }),
  // The token stands in the path, and the last answer has nothing but null.
  scroll: ({ path }) => {
    const token = path.split('/')[2];
    const ids = page(Number(token === undefined ? 0 : decodeURIComponent(token).replace('a/b?', '')));
    if (ids.length === 0) return { body: '{"users":null,"next_token":null}' };
    return { body: `{"users":${list(ids)},"next_token":"a/b?${IDS.indexOf(last(ids)) + 1}"}` };
  },
  nothing: ({ query }) => {
    const from = (Number(query.get('page')) - 1) * SIZE;
    return from < IDS.length ? { body: list(page(from)) } : { status: 204 };
  },
  // In trouble once: an error beside an empty list.
  trouble: ({ query }, requests) => {
    const from = (Number(query.get('page')) - 1) * SIZE;
    const error = requests === 3 ? ',"error":"shard 2 is not there"' : '';
    return { body: `{"data":${error === '' ? list(page(from)) : '[]'}${error}}` };
  },
  words: ({ query }) => {
    const from = Number(query.get('at') ?? 0);
    const more = from + SIZE < IDS.length;
    return { body: `{"data":${list(page(from))},"more":"${more}","at":"${from + SIZE}"}` };
  },
};

let system: System;
let server: Server;
let url: string;
let count = 0;
const requests = new Map<string, number>();

beforeAll(async () => {
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  system = await startSystem(inject('temporalAddress'), { WIKI_KEY: 'k3y' });
});
afterAll(async () => {
  await system.stop();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
beforeEach(() => requests.clear());

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '', url);
  let text = '';
  for await (const chunk of request) text += String(chunk);
  const name = pathname.split('/')[1] ?? '';
  const number = (requests.get(name) ?? 0) + 1;
  requests.set(name, number);
  const {
    status = 200,
    headers = {},
    body = '',
  } = APIS[name]?.({ path: pathname, query: searchParams, body: text }, number) ?? { status: 404 };
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
}

type Config = { [key: string]: Json };

function of(name: string, stream: Config): { configuration: Config; table: string } {
  const table = `t${++count}`;
  const columns = { id: 'LONG', name: 'STRING' };
  const own = { name: table, path: `/${name}`, primary_key: 'id', columns, ...stream };
  return {
    configuration: { source: { base_url: url }, destination: system.destination, streams: [own] },
    table,
  };
}

const rowsOf = (table: string) => system.query(`SELECT id::VARCHAR, name FROM "${table}" ORDER BY id`);

const BY_TOKEN = { strategy: 'cursor' };
const PAST_THE_END = { status: 400, body: 'invalid_page_number', action: 'end' };
const PAGED = { strategy: 'page_number', records: '$' };
const POST = { ...BY_TOKEN, method: 'POST' };
const from = (type: string, path: string) => ({ type, from: path });

describe('a source is read to its end', () => {
  test.each<[string, string, Config]>([
    [
      'by a number beyond 2^53',
      'since',
      { ...BY_TOKEN, next: { token: 'meta.next_since_id' }, names: { scroll_param: 'since_id' } },
    ],
    [
      "by the last record's list of values",
      'search',
      {
        ...POST,
        body: { size: SIZE, search_after: '${cursor:scroll_param}' },
        records: 'hits.hits',
        next: { token: '$.hits.hits[-1].sort' },
        total: 'hits.total',
        columns: { id: from('LONG', 'sort[1]'), name: from('STRING', '_source.name') },
      },
    ],
    [
      'by an object in the body',
      'dynamo',
      {
        ...POST,
        body: { ExclusiveStartKey: '${cursor:scroll_param}' },
        records: 'Items',
        next: { token: 'LastEvaluatedKey' },
      },
    ],
    [
      'by an object whose members are parameters',
      'wiki',
      {
        ...BY_TOKEN,
        records: 'query.all',
        next: { token: 'continue', as: 'params' },
        auth: { type: 'api_key', name: 'key', value: '${env:WIKI_KEY}', in: 'query' },
      },
    ],
    [
      'by an address under a name with dots',
      'odata',
      {
        ...BY_TOKEN,
        records: "$['odata.items']",
        next: { url: "$['@odata.nextLink']" },
        total: "$['@odata.count']",
      },
    ],
    [
      'by offset, counted in a header',
      'range',
      { strategy: 'offset', page_size: SIZE, records: '$', total: { header: 'Content-Range' } },
    ],
    [
      'by offset, counted from 1',
      'scim',
      {
        ...{
          strategy: 'offset',
          page_size: SIZE,
          first_offset: 1,
          records: 'Resources',
          total: 'totalResults',
        },
        names: { offset: 'startIndex', limit: 'count' },
      },
    ],
    [
      'by offsets that are multiples of the limit',
      'floors',
      { strategy: 'offset', page_size: SIZE, records: '$', overlap: false },
    ],
    [
      'by number, pages counted in a header',
      'pages',
      { ...PAGED, total_pages: { header: 'X-WP-TotalPages' } },
    ],
    ['by number, up to an error that says so', 'pages', { ...PAGED, errors: [PAST_THE_END] }],
    ['by a number in the path', 'path', { strategy: 'page_number', path: '/path/${cursor:page}' }],
    [
      'by a token in the path, up to null in place of a list',
      'scroll',
      {
        ...BY_TOKEN,
        path: '/scroll/${cursor:scroll_param}',
        records: 'users',
        next: { token: 'next_token' },
      },
    ],
    ['by number, up to 204', 'nothing', PAGED],
    ['again where it was in trouble', 'trouble', { strategy: 'page_number' }],
    [
      'as long as it says in words that there is more',
      'words',
      { ...BY_TOKEN, next: { token: 'at' }, names: { scroll_param: 'at' }, more: 'more' },
    ],
  ])('%s', async (_, name, stream) => {
    const { configuration, table } = of(name, stream);
    await system.sync(configuration);
    expect(await rowsOf(table)).toEqual(ALL);
    // Five pages, the end, and what was asked for ahead of it.
    expect(requests.get(name)).toBeLessThan(20);
  });
});

describe('a source that cannot be read to its end fails the sync, and says what to write', () => {
  test.each<[string, string, Config, string]>([
    [
      'an object in a parameter',
      'dynamo',
      { ...POST, body: { ExclusiveStartKey: null }, records: 'Items', next: { token: 'LastEvaluatedKey' } },
      'next: {token: LastEvaluatedKey, as: params}',
    ],
    [
      'a list in a parameter',
      'search',
      {
        ...POST,
        body: { search_after: null },
        records: 'hits.hits',
        columns: { id: from('LONG', 'sort[1]') },
        next: { token: '$.hits.hits[-1].sort' },
      },
      'use "${cursor:scroll_param}" as a value in the "body"',
    ],
    [
      'a path without quotes',
      'odata',
      { ...BY_TOKEN, records: "$['odata.items']", next: { url: 'odata.nextLink' } },
      "quote a name that contains dots: $['@odata.nextLink']",
    ],
    [
      'records under a path without quotes',
      'odata',
      { ...BY_TOKEN, records: 'odata.items', next: { url: "$['@odata.nextLink']" } },
      "quote a name that contains dots: $['odata.items']",
    ],
    [
      'a JSONPath with a typo',
      'path',
      { ...PAGED, path: '/path/1', records: '$.dta[*]' },
      '$.dta selects nothing',
    ],
  ])('%s', async (_, name, stream, words) => {
    const { configuration, table } = of(name, stream);
    const { message } = await system.failing(configuration);
    expect(message).toContain(words);
    expect(message).toMatch(/request: (GET|POST) http/);
    expect(await system.query(`SELECT count(*)::INT FROM "${table}"`)).toEqual([[0]]);
  });
});
