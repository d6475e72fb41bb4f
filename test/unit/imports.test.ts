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
      { type: 'bearer', token: '${env:HOST_H_API_TOKEN}' },
    ],
    [
      'a user',
      `curl -u ann:${SECRET} https://h/v1/orders`,
      { type: 'basic', username: '${env:HOST_H_API_USER}', password: '${env:HOST_H_API_PASSWORD}' },
    ],
    ['a user in the address', `curl https://ann:${SECRET}@h/v1/orders`, { type: 'basic' }],
    [
      'a header',
      `curl https://h/v1/orders --header "X-Api-Key: ${SECRET}"`,
      { type: 'api_key', name: 'X-Api-Key', value: '${env:HOST_H_API_KEY}', in: 'header' },
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

test.each([4, 40])('a schema of %i members that contains itself is read at once', (size) => {
  const members = Array.from({ length: size }, (_, i): [string, object] => [
    `m${i}`,
    { $ref: `#/components/schemas/S${i}` },
  ]);
  const node = (i: number) => ({
    type: 'object',
    properties: {
      id: { type: 'integer' },
      [`n${i}`]: { type: 'string' },
      ...Object.fromEntries<object>(members),
    },
  });
  const started = performance.now();
  const imported = importedFromText(
    JSON.stringify({
      openapi: '3.0.0',
      servers: [{ url: 'https://api.h' }],
      components: { schemas: Object.fromEntries(members.map((_, i) => [`S${i}`, node(i)])) },
      paths: Object.fromEntries(
        members.map((_, i) => [
          `/things${i}`,
          {
            get: {
              responses: listOf({
                data: { type: 'array', items: { $ref: `#/components/schemas/S${i}` } },
                total: { type: 'integer' },
              }),
            },
          },
        ]),
      ),
    }),
  );
  expect(performance.now() - started).toBeLessThan(5000);
  expect(imported.streams).toHaveLength(size);
  expect(imported.streams[0]?.keys).toMatchObject({ records: 'data', primary_key: 'id', total: 'total' });
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
      auth: { type: 'api_key', name: 'X-Key', value: '${env:HOST_H_API_KEY}' },
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
      auth: { type: 'bearer', token: '${env:HOST_H_API_TOKEN}' },
    });
    expect(streams.map(({ name, keys }) => [name, keys['auth']])).toEqual([
      ['open', { type: 'none' }],
      ['orders', undefined],
    ]);
    expect(leftOut).toEqual([
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

describe('credentials of several kinds', () => {
  test('in one request keep their places, and have variables of their own', () => {
    const imported = importedFromText(
      `curl 'https://h/orders?api_key=a-${SECRET}' -H 'X-Api-Key: b-${SECRET}' -H 'Authorization: Bearer c-${SECRET}'`,
    );
    expect(imported).toMatchObject({
      auth: { type: 'bearer', token: '${env:HOST_H_API_TOKEN}' },
      headers: { 'X-Api-Key': '${env:HOST_H_API_KEY}' },
      streams: [{ keys: { params: { api_key: '${env:HOST_H_API_KEY_2}' } } }],
      secrets: {
        HOST_H_API_TOKEN: `c-${SECRET}`,
        HOST_H_API_KEY: `b-${SECRET}`,
        HOST_H_API_KEY_2: `a-${SECRET}`,
      },
    });
    checkWritten(imported);
  });

  test('in several requests stay with their requests', () => {
    const imported = importedFromText(
      `curl https://h/orders -H 'Authorization: Bearer a-${SECRET}' -H 'X-V: 1'
curl https://h/users -u bob:b-${SECRET} -H 'X-V: 1' -H 'X-Only-Token: c-${SECRET}'
curl https://h/things -H 'X-V: 1'`,
    );
    expect(imported).toMatchObject({ auth: null, headers: { 'X-V': '1' } });
    expect(imported.streams.map(({ keys }) => [keys['auth'], keys['headers']])).toEqual([
      [{ type: 'bearer', token: '${env:HOST_H_API_TOKEN}' }, undefined],
      [
        { type: 'basic', username: '${env:HOST_H_API_USER}', password: '${env:HOST_H_API_PASSWORD}' },
        { 'X-Only-Token': '${env:HOST_H_ONLY_TOKEN}' },
      ],
      [{ type: 'none' }, undefined],
    ]);
    checkWritten(imported);
  });

  test('the user in the address of a HAR file is taken over', () => {
    const entries = [
      {
        request: { method: 'GET', url: `https://ann:${SECRET}@h/orders`, headers: [] },
        response: { status: 200, headers: [], content: { text: '[{"id":1}]' } },
      },
    ];
    const imported = importedFromText(JSON.stringify({ log: { entries } }));
    expect(imported.auth).toMatchObject({ type: 'basic', password: '${env:HOST_H_API_PASSWORD}' });
    expect(imported.secrets).toMatchObject({ HOST_H_API_PASSWORD: SECRET });
  });

  test('a user beside an Authorization header is left out with a line, as curl does', () => {
    const { auth, leftOut } = importedFromText(
      `curl -u a:b https://h/orders -H 'Authorization: Bearer ${SECRET}'`,
    );
    expect(auth).toMatchObject({ type: 'bearer' });
    expect(leftOut).toEqual([
      '/orders: the user and password, since its Authorization header is sent instead',
    ]);
  });
});

describe('credentials in the open do not refuse an import, but become references', () => {
  test.each(['application/json', 'application/x-www-form-urlencoded'])('in a body of %s', (type) => {
    const inner = { username: 'bob', password: SECRET, apiKey: `k-${SECRET}`, pin: 1234, page: 1 };
    const isForm = type.includes('form');
    const text = isForm
      ? `username=bob&password=${SECRET}&apiKey=k-${SECRET}&pin=1234&page=1`
      : JSON.stringify({ a: [inner] });
    const har = {
      method: 'POST',
      url: 'https://h/orders/search',
      headers: [{ name: 'Content-Type', value: type }],
      postData: { text },
    };
    const response = { status: 200, headers: [], content: { text: '[{"id":1}]' } };
    for (const given of [
      `curl https://h/orders/search -H 'Content-Type: ${type}' --data-raw '${text}'`,
      JSON.stringify({ log: { entries: [{ request: har, response }] } }),
    ]) {
      const imported = importedFromText(given);
      const expected = {
        username: 'bob',
        password: '${env:HOST_H_PASSWORD}',
        apiKey: '${env:HOST_H_API_KEY}',
        pin: '${env:HOST_H_PIN}',
        page: isForm ? '1' : 1,
      };
      expect(imported.streams[0]?.keys['body']).toEqual(isForm ? expected : { a: [expected] });
      expect(imported.secrets).toMatchObject({ HOST_H_PASSWORD: SECRET, HOST_H_API_KEY: `k-${SECRET}` });
      checkWritten(imported);
    }
  });

  test('in a manifest', () => {
    const requester = {
      url_base: `https://u:p-${SECRET}@api.h`,
      path: '/v1/orders',
      request_headers: { 'X-Api-Key': `a-${SECRET}`, Authorization: `Bearer b-${SECRET}` },
      request_parameters: { api_key: `c-${SECRET}`, q: 'x' },
      authenticator: { type: 'BearerAuthenticator', api_token: `d-${SECRET}` },
    };
    const imported = importedFromText(
      stringify({
        type: 'DeclarativeSource',
        definitions: {},
        streams: [{ name: 'orders', primary_key: 'id', retriever: { requester } }],
      }),
    );
    expect(imported).toMatchObject({
      baseUrl: 'https://api.h',
      auth: { type: 'bearer', token: '${env:HOST_H_API_TOKEN}' },
      headers: { 'X-Api-Key': '${env:HOST_H_API_KEY}', Authorization: '${env:HOST_H_API_TOKEN_2}' },
      streams: [{ keys: { params: { api_key: '${env:HOST_H_API_KEY_2}', q: 'x' } } }],
      secrets: { HOST_H_API_TOKEN: `d-${SECRET}`, HOST_H_API_TOKEN_2: `Bearer b-${SECRET}` },
    });
    expect(imported.leftOut).toEqual(['the user in the address: the authentication is used instead']);
    checkWritten(imported);
  });
});

describe('a value in a request is a secret', () => {
  const headers = [
    ...['X-Token', 'X-Vault-Token', 'Circle-Token', 'X-Figma-Token', 'Fastly-Key', 'X-Postmark-Server-Token'],
    ...['X-TrackerToken', 'DD-APPLICATION-KEY', 'X-GitLab-Token', 'X-Auth', 'X-Session', 'X-PAT', 'X-Sid'],
    ...[
      'x-xsrf',
      'X-JWT-Assertion',
      'PRIVATE-TOKEN',
      'Ocp-Apim-Subscription-Key',
      'X-Tenant-Pass',
      'X-Cookie',
      'api',
    ],
  ];
  const params = [
    ...['sk', 'pat', 'code', 'creds', 'AWSAccessKeyId', 'hash', 'hmac', 'session', 'hapikey', 'access'],
    ...['X-Amz-Signature', 'sessionId', 'account_sid', 'key', 'auth_code'],
  ];
  const values = [
    `Bearer ${SECRET}`,
    `basic ${SECRET}`,
    ...['sk-proj-Ab3dEf6hIj9k', 'glpat-Ab3dEf6hIj9kLm', 'github_pat_11ABCDEFG0abcdef', 'figd_Ab3dEf6hIj9k'],
    ...['AKIAIOSFODNN7EXAMPLE', 'xoxb-123456789-abcdef', 'ghp_Ab3dEf6hIj9kLm', 'SG.Ab3dEf6h.Ij9kLmNoPq'],
    ...['Zx8Kq2Lw9Vb4Nm7Tr1Yp6Hs3', '5f4dcc3b5aa765d61d8327deb882cf99', 'a1b2c3d4e5f6g7h8i9j0k1l2m3'],
    'samsara_api_Ab3dEf6h',
  ];
  const har = (url: string, given: object[]) =>
    JSON.stringify({
      log: {
        entries: [
          {
            request: { method: 'GET', url, headers: given },
            response: { status: 200, headers: [], content: { text: '[{"id":1}]' } },
          },
        ],
      },
    });

  test.each([
    ...headers.map((name) => ({ name, value: SECRET, isHeader: true })),
    ...params.map((name) => ({ name, value: SECRET, isHeader: false })),
    ...values.flatMap((value) => [
      { name: 'X-Thing', value, isHeader: true },
      { name: 'thing', value, isHeader: false },
    ]),
  ])('$name: $value', ({ name, value, isHeader }) => {
    const url = `https://h/v1/orders${isHeader ? '' : `?${name}=${encodeURIComponent(value)}`}`;
    const given = isHeader ? [{ name, value }] : [];
    for (const text of [
      `curl '${url}' ${given.map(() => `-H '${name}: ${value}'`).join('')}`,
      har(url, given),
    ]) {
      const imported = importedFromText(text);
      const { secrets, ...written } = imported;
      expect(Object.values(secrets).join()).toContain(value.replace(/^\w+ /, ''));
      expect(JSON.stringify(written)).not.toContain(value);
      checkWritten(imported);
    }
  });

  test.each([
    ['/bot123456:AAF-kx81_secret/getUpdates', 'AAF-kx81_secret', 'getUpdates'],
    ['/v1/Zx8Kq2Lw9Vb4Nm7Tr1Yp6Hs3/orders', 'Zx8Kq2Lw9Vb4Nm7Tr1Yp6Hs3', 'orders'],
    ['/v1/orders/glpat-Ab3dEf6hIj9kLm', 'glpat-Ab3dEf6hIj9kLm', 'orders'],
  ])('in the path %s', (path, secret, name) => {
    const imported = importedFromText(`curl https://h${path}`);
    const { secrets, ...written } = imported;
    expect(secrets).toEqual({ HOST_H_API_PATH_SECRET: secret });
    expect(JSON.stringify(written)).not.toContain(secret);
    expect(imported.streams[0]?.name).toBe(name);
    checkWritten(imported);
  });

  test.each([
    ['sort_key', 'created_at'],
    ['country_code', 'DE'],
    ['projectKey', 'SHOP'],
    ['id', '3f2a8b1c-94de-4c1f-8a70-1b2c3d4e5f60'],
    ['account', '507f1f77bcf86cd799439011'],
    ['base', 'appQ2w3E4r5T6y7U'],
    ['until', '2026-01-01T00:00:00.000Z'],
    ['expand', 'customer,lineItems,shippingAddress2'],
    ['fields', 'id,updated_at,shipping_address_line_1'],
    ['order', 'updatedAtDescendingThenById2'],
    ['api_version', '2026-01'],
    ['after', 'Zx8Kq2Lw9Vb4Nm7Tr1Yp6Hs3'],
    ['page_token', 'Zx8Kq2Lw9Vb4Nm7Tr1Yp6Hs3'],
    ['login', 'ann'],
    ['status', 'basic'],
  ])('unless it is as ordinary as %s=%s', (name, value) => {
    const imported = importedFromText(`curl 'https://h/v1/orders?${name}=${encodeURIComponent(value)}'`);
    expect(imported.secrets).toEqual({});
    const isLiteral = imported.streams[0]?.keys['params'] !== undefined;
    expect(imported.assumed).toEqual(
      isLiteral ? [`not taken for secrets, so written as they are: the values of ${name}`] : [],
    );
  });
});

describe('a description by others', () => {
  const openApi = (parameter: object, more: object = {}) =>
    JSON.stringify({
      openapi: '3.0.0',
      servers: [{ url: 'https://api.shop.com/v2' }],
      paths: {
        '/users': {
          get: {
            parameters: [{ in: 'query', required: true, ...parameter }],
            responses: listOf({ users: { type: 'array', items: userSchema } }),
          },
        },
      },
      ...more,
    });

  test.each([
    ['a file', '${file:/tmp/secret.txt}'],
    ['a variable', 'x${env:AWS_SECRET_ACCESS_KEY}'],
    ['a variable that the import could make', '${env:SHOP_COM_API_TOKEN}'],
    ['a secret of a provider', '${vault:secret/data/api#token}'],
  ])('cannot refer to %s of this machine', (_, value) => {
    const given = [
      openApi({ name: 'a', schema: { default: value } }),
      openApi({ name: value, schema: { default: 'a' } }),
      `curl 'https://h/users?a=${encodeURIComponent(value)}' -H 'X-A: ${value}'`,
      `curl https://h/users --data-raw '{"a": {"b": ["${value}"]}}'`,
    ];
    for (const text of given) {
      const imported = importedFromText(text);
      const { leftOut, ...others } = imported;
      expect(JSON.stringify(others)).not.toContain('${');
      expect(leftOut.join()).toContain('a description must not refer to files or variables');
      checkWritten(imported);
    }
  });

  test.each([
    openApi({ name: 'a' }, { servers: [{ url: 'https://${env:HOME}.shop.com' }] }),
    openApi(
      { name: 'a' },
      { components: { securitySchemes: { key: { type: 'apiKey', in: 'query', name: '${env:HOME}' } } } },
    ),
    openApi({ name: 'a' }).replace('"/users"', '"/a${env:HOME}/users"'),
  ])('is refused with a reference in its address, authentication or only path: %#', (text) => {
    expect(() => importedFromText(text)).toThrow(/must not refer to files or variables|it needs|no GET/);
  });

  test('gets variables of its own', () => {
    const manifest = stringify({
      type: 'DeclarativeSource',
      definitions: {},
      streams: [
        {
          name: 'orders',
          retriever: {
            requester: {
              url_base: 'https://api.shop.com',
              path: 'orders',
              request_parameters: {
                a: "{{ config['aws_secret_access_key'] }}",
                b: '{{ config.token }}',
                c: "{{ config['access_token'] }}",
              },
            },
          },
        },
      ],
    });
    expect(importedFromText(manifest).streams[0]?.keys['params']).toEqual({
      a: '${env:SHOP_COM_AWS_SECRET_ACCESS_KEY}',
      b: '${env:SHOP_COM_API_TOKEN}',
      c: '${env:SHOP_COM_API_TOKEN_2}',
    });
  });
});

test.each(['', 'hello', '{"a": 1}', 'curl', 'openapi: 3.0.0\npaths: {}'])(
  'refuses %j and says what it reads',
  (text) => {
    expect(() => importedFromText(text)).toThrow(/it is none of these|no curl command|describes no GET/);
  },
);
