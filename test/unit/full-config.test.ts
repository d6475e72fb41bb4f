import { describe, expect, it } from 'vitest';
import { jsonSchema, plansFrom } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';

const stream = { name: 'issues', strategy: 'cursor', next: 'link', columns: { id: 'LONG' } };
const base = { source: { base_url: 'https://api.example.com/v1/' }, streams: [stream] };

const AB = { id: 'LONG', b: 'LONG' };
const changes = { cursor_field: 'id', names: { updated_since: 'since' } };
const bounded = { cursor_field: 'id', names: { updated_since: 'since', updated_until: 'until' } };

function refusal(raw: unknown): Record<string, string> {
  try {
    plansFrom(raw);
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) {
      return Object.fromEntries(thrown.problems.map(({ path, message }) => [path, message]));
    }
    throw thrown;
  }
  throw new Error('was not refused');
}

describe('a configuration in full form', () => {
  it.each<[string, object, string, string]>([
    ['a path', { streams: [{ ...stream, path: '/x?api_key=abc' }] }, 'streams[0].path', 'api_key'],
    [
      'an address',
      { streams: [{ ...stream, path: 'https://u:abc@b.example/x' }] },
      'streams[0].path',
      'password',
    ],
    [
      'a login',
      { source: { ...base.source, auth: { type: 'session', login: { url: '/login?password=abc' } } } },
      'source.auth.login.url',
      'password',
    ],
    [
      'defaults that every stream replaces',
      { defaults: { params: { api_key: 'abc' } }, streams: [{ ...stream, params: {} }] },
      'defaults.params.api_key',
      'credential',
    ],
  ])('holds no credential in the open: %s', (_, more, path, said) => {
    const problems = refusal({ ...base, ...more });
    expect(Object.keys(problems)).toEqual([path]);
    expect(problems[path]).toContain(said);
    expect(problems[path]).not.toContain('abc');
    const sound = JSON.stringify({ ...base, ...more }).replaceAll('abc', '${env:SECRET}');
    expect(() => plansFrom(JSON.parse(sound))).not.toThrow();
  });

  it('becomes a plan for each stream, with what it leaves out from the defaults', () => {
    const { plans, shape } = plansFrom({
      sync: { name: 'github', max_streams: 2 },
      source: {
        base_url: 'https://api.example.com/v1/',
        headers: { Accept: 'application/vnd.github+json' },
        params: { api: 2 },
        auth: { type: 'bearer', token: '${env:TOKEN}' },
      },
      destination: 'x.duckdb',
      interval: '5m',
      defaults: { columns: { id: 'LONG' }, records: '$', page_size: 100, names: { limit: 'per_page' } },
      streams: [
        { name: 'issues', path: '/issues', strategy: 'cursor', next: 'link', params: { state: 'all' } },
        { name: 'pulls', path: 'pulls', strategy: 'page_number', records: 'data.items', table: 'pull' },
      ],
    });
    expect(shape).toEqual({ name: 'github', maxStreams: 2 });
    expect(plans).toMatchObject([
      {
        stream: 'issues',
        baseUrl: 'https://api.example.com/v1/issues',
        destination: 'x.duckdb',
        intervalSeconds: 300,
        table: { schema: 'main', table: 'issues', primaryKey: ['id'], columns: { id: 'LONG' } },
        options: { strategy: 'cursor', pageSize: 100, tokenIsLastKey: false, incremental: null },
        request: {
          names: { limit: 'per_page' },
          params: { api: '2', state: 'all' },
          headers: { Accept: 'application/vnd.github+json' },
          auth: { type: 'bearer', token: '${env:TOKEN}' },
          records: [],
          next: { in: 'link' },
        },
      },
      {
        baseUrl: 'https://api.example.com/v1/pulls',
        table: { table: 'pull' },
        options: { strategy: 'page_number', firstPage: 1, shortPageEnds: false },
        request: { records: ['data', 'items'] },
      },
    ]);
  });

  it('is told of every problem at once: where, what is allowed, and the nearest word', () => {
    expect(
      refusal({
        source: {
          base_url: 'https://api.example.com',
          header: {},
          auth: { type: 'bearer', token: 'hunter22' },
        },
        destinations: 'x',
        defaults: { page_size: 0 },
        streams: [
          { ...stream, strateg: 'cursor' },
          { name: 'a', strategy: 'curser', columns: { id: 'LONG' } },
          { name: 'b', strategy: 'cursor', columns: 5 },
        ],
      }),
    ).toMatchObject({
      'source.header': 'is not a known key (did you mean "headers"?)',
      'source.auth.token': expect.stringContaining('must be a reference such as "${env:TOKEN}"') as string,
      destinations: 'is not a known key (did you mean "destination"?)',
      'defaults.page_size': '0 is too small: the minimum is 1',
      'streams[0].strateg': 'is not a known key (did you mean "strategy"?)',
      'streams[1].strategy': expect.stringContaining('did you mean "cursor"') as string,
      'streams[2].columns': expect.stringContaining('must be an object') as string,
    });
  });

  it.each([
    [
      'a password in clear',
      { auth: { type: 'basic', username: 'u', password: 'p' } },
      'source.auth.password',
    ],
    ['a key in clear', { headers: { 'X-Api-Key': 'k' } }, 'source.headers.X-Api-Key'],
    ['an Authorization header in clear', { headers: { Authorization: 'x' } }, 'source.headers.Authorization'],
    ['a token among the parameters', { params: { access_token: 'x' } }, 'source.params.access_token'],
    ['a query in the address', { base_url: 'https://h/x?y=1' }, 'source.base_url'],
    ['a header that leads to another host', { headers: { Host: 'h' } }, 'source.headers.Host'],
    [
      'a header that ends the request',
      { headers: { 'content-length': '5' } },
      'source.headers.content-length',
    ],
    ['a header that would be two', { headers: { a: 'x\r\nb: y' } }, 'source.headers.a'],
  ])('with %s is refused', (_, source, path) => {
    const problems = refusal({ ...base, source: { ...base.source, ...source } });
    expect(Object.keys(problems)).toEqual([path]);
    expect(JSON.stringify(problems)).not.toContain('hunter22');
  });

  it.each([
    ['cursor without a next', { next: undefined }, 'next'],
    ['last_key of a composite key', { next: 'last_key', primary_key: ['id', 'b'], columns: AB }, 'next'],
    ['last_record without a filter', { next: 'last_record', cursor_field: 'id' }, 'names.updated_since'],
    [
      'last_record without a cursor field',
      { next: 'last_record', names: { updated_since: 's' } },
      'cursor_field',
    ],
    ['none for another strategy', { strategy: 'page_number', next: 'none' }, 'next'],
    ['a count of pages that nobody counts', { total_pages: 'pages' }, 'total_pages'],
    ['an explicit end of no value', { ends: { path: 'last' } }, 'ends.is'],
    ['keyset without a cursor field', { strategy: 'keyset' }, 'cursor_field'],
    ['changes only, without a cursor field', { names: { updated_since: 'since' } }, 'cursor_field'],
    ['a lookback without a filter', { lookback: '1h' }, 'lookback'],
    [
      'a start that is no time',
      { start: 'monday', names: { updated_since: 's' }, cursor_field: 'id' },
      'start',
    ],
    ['a start that is no number', { ...changes, cursor_format: 'epoch_s', start: 'x' }, 'start'],
    ['a start of another format', { ...changes, cursor_format: 'dd/MM/yyyy', start: '2024-01-02' }, 'start'],
    ['a format that nobody knows', { ...changes, cursor_format: 'epoch_sec' }, 'cursor_format'],
    ['a pattern without the year', { ...changes, cursor_format: 'dd.MM. HH:mm' }, 'cursor_format'],
    ['twelve hours of twenty-four', { ...changes, cursor_format: 'yyyy-MM-dd hh:mm' }, 'cursor_format'],
    ['a zone of no pattern', { ...changes, cursor_zone: 'UTC' }, 'cursor_zone'],
    ['a zone of nowhere', { ...changes, cursor_format: 'yyyy-MM-dd', cursor_zone: 'local' }, 'cursor_zone'],
    ['a format without a filter', { cursor_format: 'epoch_s' }, 'cursor_format'],
    ['a lookback of texts', { ...changes, cursor_format: 'string', lookback: 1 }, 'lookback'],
    ['a lookback of integers in hours', { ...changes, cursor_format: 'integer', lookback: '1h' }, 'lookback'],
    ['a lookback of times in units', { ...changes, lookback: 5 }, 'lookback'],
    ['a lookback of replay', { strategy: 'replay', cursor_field: 'id', lookback: '1h' }, 'lookback'],
    [
      'hours before an integer',
      { strategy: 'replay', cursor_field: 'id', cursor_format: 'integer' },
      'cursor_format',
    ],
    ['a bound on integers', { ...changes, cursor_format: 'integer', settle: '1m' }, 'settle'],
    ['a bound without a filter', { settle: '1m' }, 'settle'],
    ['a window that begins nowhere', { ...bounded, window: '1d' }, 'window'],
    ['a window without an end', { ...changes, start: '2024-01-01', window: '1d' }, 'window'],
    ['a window shorter than a day of days', { ...bounded, start: '2024-01-01', window: '1h' }, 'window'],
    [
      'windows of a keyset',
      { ...bounded, strategy: 'keyset', start: '2024-01-01', window: '1d', next: undefined },
      'window',
    ],
    ['a rescan of changes', { ...changes, strategy: 'offset', full_rescan: 2 }, 'full_rescan'],
    ['a short page of no size', { strategy: 'page_number', short_page_ends: true }, 'page_size'],
    ['a key that is no column', { primary_key: 'uid' }, 'primary_key[0]'],
    ['a path that is none', { records: 'a[*].b' }, 'records'],
  ])('with %s is refused', (_, changed, path) => {
    const { next, ...rest } = { ...stream, ...changed };
    const whole = next === undefined ? rest : { ...rest, next };
    expect(Object.keys(refusal({ ...base, streams: [whole] }))).toEqual([`streams[0].${path}`]);
  });

  it.each([
    ['next.url', { next: { url: '@odata.nextLink' } }, "$['@odata.nextLink']"],
    ['next.token', { next: { token: 'meta.@odata.next' } }, "$.meta['@odata.next']"],
    ['next.url', { next: { url: '$.Orders@odata.nextLink' } }, "$['Orders@odata.nextLink']"],
    ['next.token', { next: { token: '$skip.to' } }, "$['$skip'].to"],
    ['records', { records: '@graph' }, "$['@graph']"],
    ['total', { total: '@odata.count' }, "$['@odata.count']"],
    ['more', { more: '@more' }, "$['@more']"],
    ['ends.path', { ends: { path: '@end', is: true } }, "$['@end']"],
    ['errors[0].path', { errors: [{ path: '@error', action: 'end' }] }, "$['@error']"],
    ['columns.x.from', { columns: { id: 'LONG', x: { type: 'LONG', from: 'o.@id' } } }, "$.o['@id']"],
  ])('a name that must be quoted is refused in one line: %s', (path, changed, spelt) => {
    const problems = refusal({ ...base, streams: [{ ...stream, ...changed }] });
    expect(problems).toEqual({
      [`streams[0].${path}`]: `must quote names that hold "@", "." or "$": ${spelt}`,
    });
    // So spelt it is taken.
    const parts = path.split('.');
    const spell = (value: unknown, depth: number): unknown =>
      typeof value !== 'object' || value === null
        ? spelt
        : Array.isArray(value)
          ? value.map((one) => spell(one, depth))
          : {
              ...value,
              [parts[depth] ?? '']: spell((value as Record<string, unknown>)[parts[depth] ?? ''], depth + 1),
            };
    const whole = { ...stream, ...changed };
    const name = (parts[0] ?? '').replace('[0]', '');
    const fixed = { ...whole, [name]: spell((whole as Record<string, unknown>)[name], 1) };
    expect(plansFrom({ ...base, streams: [fixed] }).plans).toHaveLength(1);
  });

  it.each([
    ["$['a.b']", ['a.b']],
    ["$.a['b.c'].d", ['a', 'b.c', 'd']],
    ['$["it\'s"]', ["it's"]],
    ["$['it\\'s \"so\"']", ['it\'s "so"']],
    ["a['b.c']", ['a', 'b.c']],
    ['$.a.b', ['a', 'b']],
    ['$', []],
    ['$.a[0].b', '$.a[0].b'],
    ["$['a'][*]", "$['a'][*]"],
  ])('the path %s is %j', (path, read) => {
    const [plan] = plansFrom({
      ...base,
      streams: [{ ...stream, records: path, next: { token: path } }],
    }).plans;
    expect(plan?.request).toMatchObject({ records: read, next: { path: read } });
  });

  it.each([
    ['changes[0].rev', ['changes', 0, 'rev']],
    ['$.changes[12]', ['changes', 12]],
    ["$['@id'][0]['b.c']", ['@id', 0, 'b.c']],
    ['a.b', ['a', 'b']],
  ])('a column may come from %s', (from, read) => {
    const columns = { id: 'LONG', x: { type: 'STRING', from } };
    const [plan] = plansFrom({ ...base, streams: [{ ...stream, columns }] }).plans;
    expect(plan?.request.shape?.from).toEqual({ x: read });
  });

  it.each(['a[-1]', 'a[*].b', '[0].a', 'a..b', '.a', 'a[0', ''])('no column comes from %j', (from) => {
    const columns = { id: 'LONG', x: { type: 'STRING', from } };
    expect(Object.keys(refusal({ ...base, streams: [{ ...stream, columns }] }))).toEqual([
      'streams[0].columns.x.from',
    ]);
  });

  it('knows totals in headers, and tokens whose members are parameters', () => {
    const header = { header: 'X-Total-Count' };
    const next = { token: 'continue', as: 'params' };
    const paged = { strategy: 'page_number', total: header, total_pages: header, more: header };
    const { next: _next, ...unpaged } = stream;
    const { plans } = plansFrom({
      ...base,
      streams: [
        { ...stream, next },
        { ...unpaged, ...paged, name: 'b' },
      ],
    });
    expect(plans[0]?.request.next).toEqual({
      in: 'body',
      path: ['continue'],
      isAddress: false,
      as: 'params',
    });
    expect(plans[1]?.request).toMatchObject({ total: header, totalPages: header, more: header });
    const wrong = refusal({
      ...base,
      streams: [{ ...stream, next, params: { c: '${cursor:scroll_param}' } }],
    });
    expect(wrong['streams[0].next']).toContain('"as: params" sends the token as parameters');
    expect(Object.keys(refusal({ ...base, streams: [{ ...stream, total: { header: 'a b' } }] }))).toEqual([
      'streams[0].total.header',
    ]);
  });

  it('says how the cursor field is written, and what bounds a pass', () => {
    const optionsOf = (more: object) => {
      const [plan] = plansFrom({ ...base, streams: [{ ...stream, ...bounded, ...more }] }).plans;
      return plan?.options;
    };
    expect(
      optionsOf({
        cursor_format: 'epoch_ms',
        start: 1704067200000,
        lookback: '1h',
        settle: '5m',
        window: '30d',
      }),
    ).toMatchObject({
      incremental: {
        start: '1704067200000',
        lookbackSeconds: 3600,
        format: 'epoch_ms',
        settleSeconds: 300,
        sendsUntil: true,
        windowSeconds: 2_592_000,
      },
    });
    expect(
      optionsOf({ cursor_format: 'dd/MM/yyyy', cursor_zone: 'Europe/Berlin', next: 'last_record' }),
    ).toMatchObject({
      follows: 'last_record',
      incremental: { format: { pattern: 'dd/MM/yyyy', zone: 'Europe/Berlin' } },
    });
    expect(
      optionsOf({ ...changes, cursor_format: 'integer', lookback: 100, next: 'last_key' }),
    ).toMatchObject({ tokenIsLastKey: true, incremental: { format: 'integer', lookbackSeconds: 100 } });
    expect(optionsOf({ strategy: 'offset', next: undefined, short_page_ends: true })).toMatchObject({
      shortPageEnds: true,
      incremental: { start: null, sendsUntil: true },
    });
    expect(optionsOf({ ...changes, strategy: 'keyset', start: '2024-01-01' })).toMatchObject({
      strategy: 'keyset',
      incremental: { start: '2024-01-01', format: 'timestamp' },
    });
  });

  const REPLAY = {
    strategy: 'replay',
    next: undefined,
    cursor_field: 'at',
    columns: { id: 'LONG', at: 'UTC_DATETIME', gone: 'BOOLEAN', more: 'JSON' },
  };
  it.each<[object, string, string]>([
    [{ mode: 'replace', ...changes }, 'mode', 'needs passes that read everything'],
    [{ mode: 'replace', columns: { id: 'LONG', RowId: 'LONG' } }, 'columns', '"rowid"'],
    [{ mode: 'append', deletes: 'soft' }, 'deletes', 'append, which keeps every row'],
    [{ mode: 'replace', deletes: 'hard' }, 'deletes', 'has no effect in mode replace'],
    [{ mode: 'history', deletes: 'hard' }, 'deletes', 'must be soft in mode history'],
    [{ deletes: 'soft', ...changes }, 'deletes', 'needs passes that read everything'],
    [{ deleted_field: 'id' }, 'deletes', 'must be soft or hard'],
    [{ deletes: 'soft', deleted_field: 'idd' }, 'deleted_field', 'did you mean "id"?'],
    [{ ...REPLAY, deletes: 'soft', deleted_field: 'more' }, 'deleted_field', 'cannot be of type JSON'],
    [
      { ...REPLAY, deletes: 'soft', columns: { id: 'LONG', at: 'STRING' } },
      'deletes',
      'needs a cursor_field that is a',
    ],
    [
      { ...REPLAY, deletes: 'soft', cursor_format: 'epoch_ms' },
      'deletes',
      'needs a cursor_field that is a timestamp',
    ],
    [{ ...REPLAY, deletes: 'soft', settle: '5m' }, 'deletes', 'does not work with settle'],
    [
      { columns: { id: 'LONG', _HIGHWATER_batch: 'STRING' } },
      'columns._HIGHWATER_batch',
      "are Highwater's own",
    ],
  ])('is refused where modes and deletes do not go together: %j', (more, path, said) => {
    const problems = refusal({ ...base, streams: [{ ...stream, ...more }] });
    expect(Object.keys(problems)).toEqual([`streams[0].${path}`]);
    expect(problems[`streams[0].${path}`]).toContain(said);
  });

  it('says how rows are written, and which are gone', () => {
    const tableOf = (more: object) =>
      plansFrom({ ...base, streams: [{ ...stream, ...more }] }).plans[0]?.table;
    expect(tableOf({})).toMatchObject({ stamps: true });
    expect(tableOf({ stamps: false })).toEqual({
      schema: 'main',
      table: 'issues',
      primaryKey: ['id'],
      columns: { id: 'LONG' },
    });
    expect(tableOf({ mode: 'history', deletes: 'soft' })).toMatchObject({ mode: 'history', deletes: 'soft' });
    expect(tableOf({ ...REPLAY, deletes: 'soft' })).toMatchObject({
      deletes: 'soft',
      unseen: { column: 'at' },
    });
    expect(tableOf({ ...REPLAY, deletes: 'soft', deleted_field: 'gone' })).toMatchObject({
      deletedField: 'gone',
      unseen: 'stay',
    });
    expect(tableOf({ deletes: 'hard', deleted_field: 'id' })).not.toHaveProperty('unseen');
  });

  it('with one name or table twice is refused', () => {
    expect(refusal({ ...base, streams: [stream, { ...stream, name: 'Issues' }] })).toEqual({
      'streams[1].name': '"Issues" is already used by streams[0]',
    });
    expect(refusal({ ...base, streams: [stream, { ...stream, name: 'b', table: 'issues' }] })).toEqual({
      'streams[1].table': '"main.issues" is already used by streams[0]',
    });
  });

  it('has a JSON Schema, which allows $schema', () => {
    const schema = jsonSchema() as { properties: Record<string, { items?: { properties: object } }> };
    expect(Object.keys(schema.properties)).toEqual(
      expect.arrayContaining(['$schema', 'source', 'streams', 'defaults', 'destination']),
    );
    expect(Object.keys(schema.properties['streams']?.items?.properties ?? {})).toEqual(
      expect.arrayContaining(['name', 'strategy', 'next', 'records']),
    );
    expect(plansFrom({ $schema: 'x', ...base }).plans).toHaveLength(1);
  });
});

describe('a stream without columns', () => {
  const { columns: _, ...bare } = stream;
  const planOf = (more: object, ...others: object[]) =>
    plansFrom({ ...base, streams: [{ ...bare, ...more }, ...others] }).plans;

  it.each(['evolve', 'freeze', 'quarantine'] as const)('follows its records, told to %s', (misfits) => {
    const [plan] = planOf({ misfits });
    expect(plan?.table).toMatchObject({
      columns: {},
      inference: { policy: misfits, flatten: 0, names: 'as_is' },
    });
    expect(plan?.table.quarantine).toBe(misfits === 'quarantine' ? true : undefined);
  });

  it('evolves unless it is told otherwise; one with columns does not', () => {
    expect(planOf({})[0]?.table.inference?.policy).toBe('evolve');
    expect(planOf({ columns: { id: 'LONG' } })[0]?.table).not.toHaveProperty('inference');
  });

  it('keeps what is not picked, and may be a parent, or have one', () => {
    const [first, second] = planOf(
      { where: "@.state == 'open'", cursor_field: 'updated' },
      {
        ...bare,
        name: 'comments',
        path: '/${parent:number}',
        parent: { stream: 'issues', include: { issue: 'id' } },
      },
    );
    expect(first?.request.shape).toMatchObject({ rest: true, from: {} });
    expect(second?.parent).toMatchObject({
      fields: ['number', 'id'],
      table: { inference: { policy: 'evolve' } },
    });
  });
});

describe('hosts of next pages', () => {
  const hosts = (next_hosts: unknown) =>
    plansFrom({ ...base, streams: [{ ...stream, next_hosts }] }).plans[0]?.request.nextHosts;

  it('are kept as addresses have them', () => {
    expect(hosts(['API2.example.com.', 'b\u00fccher.example:8443', '[::1]:80'])).toEqual([
      'api2.example.com',
      'xn--bcher-kva.example:8443',
      '[::1]:80',
    ]);
    expect(hosts([])).toBeUndefined();
  });

  it.each([
    '*.example.com',
    'https://example.com',
    'example.com/x',
    'u@example.com',
    'example.com:99999',
    '',
  ])('are not %j', (host) => {
    const problems = refusal({ ...base, streams: [{ ...stream, next_hosts: [host] }] });
    expect(problems['streams[0].next_hosts[0]']).toContain('is not a host such as');
  });
});

it('an optional reference cannot be in a path', () => {
  const streams = [{ ...stream, path: '/items/${cursor:scroll_param?}' }];
  expect(refusal({ ...base, streams })['streams[0].path']).toContain('cannot contain an optional reference');
  const body = { method: 'POST', body: { after: '${cursor:scroll?}' } };
  expect(refusal({ ...base, streams: [{ ...stream, ...body }] })['streams[0].body']).toContain(
    '${cursor:scroll} does not exist',
  );
});

describe('the format of a filter', () => {
  const dated = {
    ...{ name: 'a', strategy: 'page_number', primary_key: 'id', columns: AB, cursor_field: 'b' },
    names: { updated_since: 'since' },
  };
  const optionsOf = (names: object, more: object = {}) => {
    const streams = [{ ...dated, ...more, names: { ...dated.names, ...names } }];
    const [plan] = plansFrom({ ...base, streams }).plans;
    return {
      incremental: (plan?.options as { incremental: object } | undefined)?.incremental,
      names: plan?.request.names,
    };
  };

  it('is kept beside that of the records, and is the name of no parameter', () => {
    expect(optionsOf({ format: 'epoch_s' })).toMatchObject({
      incremental: { format: 'timestamp', filter: 'epoch_s' },
      names: { updated_since: 'since' },
    });
    expect(optionsOf({ format: 'epoch_s' }).names).toEqual({ updated_since: 'since' });
    expect(
      optionsOf({ format: 'yyyy-MM-dd', zone: 'Europe/Berlin' }, { cursor_format: 'rfc_2822' }),
    ).toMatchObject({
      incremental: { format: 'rfc_2822', filter: { pattern: 'yyyy-MM-dd', zone: 'Europe/Berlin' } },
    });
  });

  it.each([
    ['2025-07-01T00:00:00+02:00', 'epoch_s', '2025-07-01T00:00:00+02:00'],
    ['1751328000', 'epoch_s', '2025-07-01T00:00:00Z'],
    ['2025-07-01', 'epoch_s', '2025-07-01'],
    ['Tue, 01 Jul 2025 00:00:00 GMT', 'rfc_2822', '2025-07-01T00:00:00Z'],
    ['01.07.2025', 'dd.MM.yyyy', '2025-07-01T00:00:00Z'],
  ])('lets start be written as the records are or as requests are: %s by %s', (start, format, meant) => {
    expect(optionsOf({ format }, { start }).incremental).toMatchObject({ start: meant });
  });

  it.each<[string, object, string, string]>([
    ['a zone alone', { names: { updated_since: 's', zone: 'UTC' } }, 'names.zone', 'needs a names.format'],
    [
      'a zone of seconds',
      { names: { updated_since: 's', format: 'epoch_s', zone: 'UTC' } },
      'names.zone',
      'needs a names.format',
    ],
    [
      'no zone',
      { names: { updated_since: 's', format: 'yyyy-MM-dd', zone: 'Mars' } },
      'names.zone',
      'not a time zone',
    ],
    [
      'no format',
      { names: { updated_since: 's', format: 'epoch' } },
      'names.format',
      'did you mean "epoch_s"',
    ],
    [
      'an order',
      { names: { updated_since: 's', format: 'integer' } },
      'names.format',
      'is not a format for times',
    ],
    [
      'times over integers',
      { cursor_format: 'integer', names: { updated_since: 's', format: 'epoch_s' } },
      'names.format',
      'the cursor field is an integer',
    ],
    [
      'nothing to filter by',
      { cursor_field: undefined, names: { format: 'epoch_s' } },
      'names.format',
      'no effect',
    ],
    [
      'a start in neither',
      { start: '1.7.2025', names: { updated_since: 's', format: 'epoch_s' } },
      'start',
      'nor a number of seconds since 1970',
    ],
    [
      'windows shorter than a day',
      {
        ...{ start: '2025-01-01', window: '12h' },
        names: { updated_since: 's', updated_until: 'u', format: 'yyyy-MM-dd' },
      },
      'window',
      'is shorter than',
    ],
  ])('is refused: %s', (_, more, key, said) => {
    expect(refusal({ ...base, streams: [{ ...dated, ...more }] })[`streams[0].${key}`]).toContain(said);
  });
});

describe('several cursor fields', () => {
  const keyset = { name: 'a', strategy: 'keyset', primary_key: 'id', columns: { ...AB, c: 'LONG' } };
  const planOf = (cursor_field: unknown) =>
    plansFrom({ ...base, streams: [{ ...keyset, cursor_field }] }).plans[0];

  it('are kept as such, and one as one', () => {
    expect(planOf(['b', 'c'])).toMatchObject({ cursorField: '', cursorFields: ['b', 'c'] });
    expect(planOf(['b'])).toMatchObject({ cursorField: 'b' });
    expect(planOf(['b'])).toEqual(planOf('b'));
    expect(planOf('b')).not.toHaveProperty('cursorFields');
  });

  it.each<[string, object, string, string]>([
    ['none', { cursor_field: [] }, 'cursor_field', ''],
    ['one that is named twice', { cursor_field: ['b', 'b'] }, 'cursor_field', 'twice'],
    [
      'one that is no column where records are shaped',
      { cursor_field: ['b', 'd'], where: '@.id > 1' },
      'cursor_field',
      '"d" must be one of the columns',
    ],
    [
      'several where the last record is asked by',
      {
        ...{ strategy: 'cursor', next: 'last_record', cursor_field: ['b', 'c'] },
        names: { updated_since: 'since' },
      },
      'cursor_field',
      'must be a single field',
    ],
    [
      'several where rows are deleted by their time',
      { strategy: 'replay', deletes: 'hard', cursor_field: ['b', 'c'] },
      'deletes',
      'needs one cursor_field',
    ],
  ])('are not %s', (_, more, key, said) => {
    expect(refusal({ ...base, streams: [{ ...keyset, ...more }] })[`streams[0].${key}`]).toContain(said);
  });
});
