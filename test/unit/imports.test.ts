/** Descriptions of an API become streams; secrets in them become references, and the rest is listed. */
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { plansFrom } from '../../src/config/index.js';
import { type Imported, importedFromText } from '../../src/inspect/imports/index.js';
import { shellWords } from '../../src/inspect/imports/shell-words.js';

const SECRET = 'sekret-5f1c-9a';

/** Whether what is written holds no secret, and is a configuration. */
function checkWritten({ baseUrl, auth, headers, streams }: Imported): void {
  const configuration = {
    source: { base_url: baseUrl, ...(auth !== null && { auth }), headers },
    streams: streams.map(({ name, keys }) => ({ name, ...keys })),
  };
  expect(JSON.stringify(configuration)).not.toContain(SECRET);
  expect(() => plansFrom(configuration, undefined, true)).not.toThrow();
}

describe('a curl command', () => {
  test.each([
    [
      'a bearer token',
      `curl 'https://h/v1/orders?page=2' -H 'Authorization: Bearer ${SECRET}'`,
      { type: 'bearer', token: '${env:API_TOKEN}' },
    ],
    [
      'a user',
      `curl -u ann:${SECRET} https://h/v1/orders`,
      { type: 'basic', username: '${env:API_USER}', password: '${env:API_PASSWORD}' },
    ],
    ['a user in the address', `curl https://ann:${SECRET}@h/v1/orders`, { type: 'basic' }],
    [
      'a header',
      `curl https://h/v1/orders --header "X-Api-Key: ${SECRET}"`,
      { type: 'api_key', name: 'X-Api-Key', value: '${env:API_KEY}', in: 'header' },
    ],
    [
      'a parameter',
      `curl 'https://h/v1/orders?api_key=${SECRET}'`,
      { type: 'api_key', name: 'api_key', in: 'query' },
    ],
    [
      'Basic in base64',
      `curl https://h/v1/orders -H 'authorization: Basic ${Buffer.from(`a:${SECRET}`).toString('base64')}'`,
      { type: 'basic' },
    ],
  ])('with %s refers to the secret', (_, command, auth) => {
    const imported = importedFromText(command);
    expect(imported.auth).toMatchObject(auth);
    expect(Object.values(imported.secrets)).toContain(SECRET);
    expect(imported.streams).toMatchObject([{ name: 'orders', keys: { path: '/v1/orders' } }]);
    checkWritten(imported);
  });

  test('with a body is a POST, and options without a meaning here are listed', () => {
    const imported = importedFromText(
      `$ curl -X POST https://h/search \\\n  -H 'Content-Type: application/json' -k --proxy-ntlm \\\n  -d '{"status":"open"}' | jq .`,
    );
    expect(imported.streams[0]?.keys).toMatchObject({ method: 'POST', body: { status: 'open' } });
    expect(imported.leftOut).toEqual([
      expect.stringContaining('-k: Highwater'),
      expect.stringContaining('--proxy-ntlm'),
    ]);
    checkWritten(imported);
  });

  test.each([
    ['-sk', ['-k: Highwater always checks certificates']],
    ['-sSLkf', ['-k: Highwater always checks certificates']],
    ['-sS -L --insecure', ['--insecure: Highwater always checks certificates']],
    ['-sSL', []],
  ])('with %s says which options have no meaning here', (given, leftOut) => {
    expect(importedFromText(`curl ${given} https://h/v1/orders`).leftOut).toEqual(leftOut);
  });

  test('is read by the rules of a shell', () => {
    expect(shellWords(`curl -H 'a: "b"' "c \\"d\\"" $'e\\'f\\u0041' g\\ h \\\n i`)).toEqual([
      'curl',
      '-H',
      'a: "b"',
      'c "d"',
      "e'fA",
      'g h',
      'i',
    ]);
  });
});

test('a HAR file gives each list once, with the paging that its requests show', () => {
  const entry = (url: string, body: unknown, headers: object[] = []) => ({
    request: { method: 'GET', url, headers: [...headers, { name: 'Cookie', value: `sid=${SECRET}` }] },
    response: {
      status: 200,
      headers: [],
      content: { mimeType: 'application/json', text: JSON.stringify(body) },
    },
  });
  const page = { items: [{ id: 1, updated_at: '2026-01-01T00:00:00Z' }], total: 40 };
  const har = {
    log: {
      entries: [
        entry('https://app.h/', '<html>'),
        entry('https://app.h/api/orders?page=1&per_page=20', page),
        entry('https://app.h/api/orders?page=2&per_page=20', page),
        entry('https://other.h/api/users', [{ id: 1 }]),
      ],
    },
  };
  const imported = importedFromText(JSON.stringify(har));
  expect(imported.streams).toMatchObject([
    {
      name: 'orders',
      keys: {
        records: 'items',
        strategy: 'page_number',
        names: { page: 'page', limit: 'per_page' },
        total: 'total',
        primary_key: 'id',
      },
    },
  ]);
  expect(imported.leftOut.join('\n')).toContain('requests to https://other.h');
  checkWritten(imported);
});

test('a HAR file with more lists than streams says which are left out', () => {
  const entries = Array.from({ length: 32 }, (_, i) => ({
    request: { method: 'GET', url: `https://app.h/list_${i}`, headers: [] },
    response: { status: 200, headers: [], content: { text: '[{"id": 1}]' } },
  }));
  const { streams, leftOut } = importedFromText(JSON.stringify({ log: { entries } }));
  expect(streams).toHaveLength(30);
  expect(leftOut).toEqual(['2 more lists: /list_30, /list_31']);
});

const userSchema = {
  type: 'object',
  properties: { id: { type: 'integer' }, updated_at: { type: 'string', format: 'date-time' } },
};
const listOf = (properties: object) => ({
  200: {
    description: '',
    content: { 'application/json': { schema: { type: 'object', properties } } },
    schema: { type: 'object', properties },
  },
});
const operations = {
  '/users': {
    get: {
      parameters: [
        { name: 'cursor', in: 'query', schema: { type: 'string' } },
        { name: 'limit', in: 'query', schema: { type: 'integer', maximum: 50 } },
        { name: 'region', in: 'query', required: true, schema: { type: 'string', default: 'eu' } },
      ],
      responses: listOf({ users: { type: 'array', items: userSchema }, next_cursor: { type: 'string' } }),
    },
  },
  '/users/{id}/posts': { get: { responses: listOf({ data: { type: 'array', items: userSchema } }) } },
  '/me': {
    get: { responses: { 200: { description: '', content: { 'application/json': { schema: userSchema } } } } },
  },
};

test.each([
  [
    'OpenAPI 3',
    {
      openapi: '3.0.0',
      servers: [{ url: 'https://api.h/v2' }],
      components: { securitySchemes: { key: { type: 'apiKey', in: 'query', name: 'k' } } },
      paths: operations,
    },
    { type: 'api_key', name: 'k', in: 'query' },
  ],
  [
    'Swagger 2',
    {
      swagger: '2.0',
      host: 'api.h',
      basePath: '/v2',
      schemes: ['https'],
      securityDefinitions: { basic: { type: 'basic' } },
      paths: operations,
    },
    { type: 'basic' },
  ],
])('%s gives its lists, and names what it leaves out', (_, description, auth) => {
  for (const text of [JSON.stringify(description), stringify(description)]) {
    const imported = importedFromText(text);
    expect(imported).toMatchObject({ baseUrl: 'https://api.h/v2', auth });
    expect(imported.streams).toMatchObject([
      {
        name: 'users',
        keys: {
          path: '/users',
          records: 'users',
          strategy: 'cursor',
          next: { token: 'next_cursor' },
          names: { scroll_param: 'cursor', limit: 'limit' },
          page_size: 50,
          params: { region: 'eu' },
          primary_key: 'id',
        },
      },
    ]);
    expect(imported.leftOut).toEqual([
      expect.stringContaining('/users/{id}/posts: it needs id'),
      '1 GET without a list of records: /me',
    ]);
    checkWritten(imported);
  }
});

describe('an Airbyte manifest', () => {
  const stream = (paginator: object, more: object = {}) => ({
    type: 'DeclarativeStream',
    name: 'orders',
    primary_key: ['id'],
    retriever: {
      requester: {
        $ref: '#/definitions/requester',
        path: 'orders',
        request_parameters: { a: '1', b: '{{ stream_slice.x }}' },
      },
      record_selector: { extractor: { field_path: ['data', 'items'] } },
      paginator,
      ...more,
    },
  });
  const manifest = (streams: object[]) =>
    stringify({
      type: 'DeclarativeSource',
      definitions: {
        requester: {
          url_base: 'https://api.h/v1/',
          authenticator: {
            type: 'ApiKeyAuthenticator',
            api_token: "{{ config['api_key'] }}",
            inject_into: { inject_into: 'header', field_name: 'X-Key' },
          },
        },
      },
      streams,
    });
  const token = { type: 'RequestOption', inject_into: 'request_parameter', field_name: 'after' };
  test.each([
    [
      { type: 'PageIncrement', page_size: 50 },
      { strategy: 'page_number', first_page: 0, names: { page: 'after' }, page_size: 50 },
    ],
    [
      { type: 'OffsetIncrement', page_size: 50 },
      { strategy: 'offset', names: { offset: 'after' } },
    ],
    [
      { type: 'CursorPagination', cursor_value: "{{ response['meta']['next'] }}" },
      { strategy: 'cursor', next: { token: 'meta.next' }, names: { scroll_param: 'after' } },
    ],
    [{ type: 'CursorPagination', cursor_value: '{{ last_record.id }}' }, { next: 'last_key' }],
    [{ type: 'CursorPagination', cursor_value: "{{ headers['link']['next']['url'] }}" }, { next: 'link' }],
  ])('with %j', (pagination, keys) => {
    const imported = importedFromText(
      manifest([stream({ pagination_strategy: pagination, page_token_option: token })]),
    );
    expect(imported).toMatchObject({
      baseUrl: 'https://api.h/v1',
      auth: { type: 'api_key', name: 'X-Key', value: '${env:API_KEY}' },
      streams: [
        {
          name: 'orders',
          keys: { path: '/orders', records: 'data.items', params: { a: '1' }, primary_key: 'id', ...keys },
        },
      ],
    });
    expect(imported.leftOut).toContain(
      'orders: request_parameters: b is an expression: {{ stream_slice.x }}',
    );
    checkWritten(imported);
  });

  test('lists a stream that it cannot take over', () => {
    const child = {
      ...stream({}, { partition_router: { type: 'SubstreamPartitionRouter' } }),
      name: 'lines',
    };
    const { streams, leftOut } = importedFromText(manifest([stream({}), child]));
    expect(streams.map(({ name }) => name)).toEqual(['orders']);
    expect(leftOut).toContainEqual(expect.stringContaining('lines: the partition router'));
  });
});

describe('an Airbyte manifest whose streams differ in their requesters', () => {
  const bearer = (name: string) => ({
    type: 'BearerAuthenticator',
    api_token: `{{ config['${name}'] }}`,
  });
  const stream = (name: string, requester: object) => ({
    type: 'DeclarativeStream',
    name,
    primary_key: 'id',
    retriever: { requester: { url_base: 'https://api.h/v1', path: name, ...requester } },
  });
  const read = (...streams: object[]) =>
    importedFromText(stringify({ type: 'DeclarativeSource', definitions: {}, streams }));

  test('takes those of the first address and authentication, and lists the others', () => {
    const { baseUrl, auth, streams, leftOut } = read(
      stream('open', {}),
      stream('orders', { authenticator: bearer('token') }),
      stream('users', { url_base: 'https://other.h' }),
      stream('audit', { authenticator: bearer('admin_token') }),
    );
    expect({ baseUrl, auth }).toEqual({
      baseUrl: 'https://api.h/v1',
      auth: { type: 'bearer', token: '${env:API_TOKEN}' },
    });
    expect(streams.map(({ name }) => name)).toEqual(['open', 'orders']);
    expect(leftOut).toEqual([
      'open: it has no authentication: that of the other streams is sent',
      'users: the address https://other.h: a configuration has one; make another configuration for it',
      'audit: its own authentication: a configuration has one; make another configuration for it',
    ]);
  });

  test('keeps the headers of a stream with the stream', () => {
    const { headers, streams } = read(
      stream('orders', { request_headers: { 'X-Version': '2', 'X-Team': 'a' } }),
      stream('users', { request_headers: { 'X-Version': '2' } }),
    );
    expect(headers).toEqual({ 'X-Version': '2' });
    expect(streams.map(({ keys }) => keys['headers'])).toEqual([{ 'X-Team': 'a' }, undefined]);
  });
});

test.each(['', 'hello', '{"a": 1}', 'curl', 'openapi: 3.0.0\npaths: {}'])(
  'refuses %j and says what it reads',
  (text) => {
    expect(() => importedFromText(text)).toThrow(/it is none of these|no curl command|describes no GET/);
  },
);
