import { describe, expect, it } from 'vitest';
import { jsonSchema, plansFrom } from '../../src/config/index.js';
import { ConfigurationError } from '../../src/errors.js';

const stream = { name: 'issues', strategy: 'cursor', next: 'link', columns: { id: 'LONG' } };
const base = { source: { base_url: 'https://api.example.com/v1/' }, streams: [stream] };

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
          { name: 'b', strategy: 'cursor' },
        ],
      }),
    ).toMatchObject({
      'source.header': 'is not a known key (did you mean "headers"?)',
      'source.auth.token': expect.stringContaining('must be a reference such as "${env:TOKEN}"') as string,
      destinations: 'is not a known key (did you mean "destination"?)',
      'defaults.page_size': '0 is too small: at least 1 is needed',
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
    ['a header that would be two', { headers: { a: 'x\r\nb: y' } }, 'source.headers.a'],
  ])('with %s is refused', (_, source, path) => {
    const problems = refusal({ ...base, source: { ...base.source, ...source } });
    expect(Object.keys(problems)).toEqual([path]);
    expect(JSON.stringify(problems)).not.toContain('hunter22');
  });

  it.each([
    ['cursor without a next', { next: undefined }, 'next'],
    ['last_key without a sign of the end', { next: 'last_key' }, 'more'],
    ['keyset without a cursor field', { strategy: 'keyset' }, 'cursor_field'],
    ['changes only, without a cursor field', { names: { updated_since: 'since' } }, 'cursor_field'],
    ['a lookback without a filter', { lookback: '1h' }, 'lookback'],
    [
      'a start that is no time',
      { start: 'monday', names: { updated_since: 's' }, cursor_field: 'id' },
      'start',
    ],
    ['a short page of no size', { strategy: 'page_number', short_page_ends: true }, 'page_size'],
    ['a key that is no column', { primary_key: 'uid' }, 'primary_key[0]'],
    ['a path that is none', { records: 'a[*].b' }, 'records'],
  ])('with %s is refused', (_, changed, path) => {
    const { next, ...rest } = { ...stream, ...changed };
    const whole = next === undefined ? rest : { ...rest, next };
    expect(Object.keys(refusal({ ...base, streams: [whole] }))).toEqual([`streams[0].${path}`]);
  });

  it('with one name or table twice is refused', () => {
    expect(refusal({ ...base, streams: [stream, { ...stream, name: 'Issues' }] })).toEqual({
      'streams[1].name': '"Issues" is that of streams[0] too',
    });
    expect(refusal({ ...base, streams: [stream, { ...stream, name: 'b', table: 'issues' }] })).toEqual({
      'streams[1].table': '"main.issues" is that of streams[0] too',
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
