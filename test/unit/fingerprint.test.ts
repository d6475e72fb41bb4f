import { describe, expect, it } from 'vitest';
import { fingerprintOf } from '../../src/plan/fingerprint.js';
import { plansFrom } from '../../src/config/index.js';
import { changesBetween, notesOfChanges } from '../../src/destinations/fingerprint.js';
import type { Json } from '../../src/protocol.js';

const STREAM = {
  ...{ name: 'issues', strategy: 'cursor', path: '/issues', next: 'link', cursor_field: 'updated_at' },
  names: { updated_since: 'since' },
  columns: { id: 'LONG', updated_at: 'UTC_DATETIME', login: { type: 'STRING', from: 'user.login' } },
};

function fingerprint(stream: { [key: string]: Json } = {}, source: { [key: string]: Json } = {}) {
  const configuration = {
    source: { base_url: 'https://api.example.com/v1/', ...source },
    streams: [{ ...STREAM, ...stream }],
  };
  const [plan] = plansFrom(configuration).plans;
  if (plan === undefined) throw new Error('there is no plan');
  return fingerprintOf(plan);
}

describe('the fingerprint of a configuration', () => {
  it('has what decides which records a mark stands for, and what their rows hold', () => {
    expect(
      fingerprint({ params: { state: 'all' }, where: '@.draft == false', start: '2020-01-01T00:00:00Z' }),
    ).toEqual({
      primaryKey: ['id'],
      cursor: { field: 'updated_at', format: 'timestamp' },
      parent: null,
      columns: { id: 'id', updated_at: 'updated_at', login: 'user.login' },
      infers: false,
      where: '@.draft == false',
      start: '2020-01-01T00:00:00Z',
      request: { method: 'GET', 'params.state': 'all', 'names.updated_since': 'since', records: 'data' },
      readsAll: false,
    });
  });

  it('has the hook that makes rows, and the version of its code', () => {
    expect(fingerprint()).not.toHaveProperty('transform');
    const is = fingerprint({ transform: 'tidy' });
    expect(is.transform).toEqual({ hook: 'tidy' });
    const notesFrom = (was: typeof is, to: typeof is) =>
      notesOfChanges(changesBetween(was, to), to).map(({ code, message }) => `${code}: ${message}`);
    const version = (digest: string, hook = 'tidy') => ({ ...is, transform: { hook, digest } });
    expect(notesFrom(version('a'), version('a'))).toEqual([]);
    expect(notesFrom(version('a'), version('b'))).toEqual([
      'hook_changed: the code of the hook tidy has changed. The sync continues from its high-water mark: rows written ' +
        'before were made by another version. "highwater resync" makes all rows again, "highwater backfill" those of a range.',
    ]);
    expect(notesFrom(version('a'), { ...version('b'), readsAll: true })).toEqual([]);
    // A command that compares configurations does not know the code of the worker.
    expect(notesFrom(version('a'), is)).toEqual([]);
    expect(notesFrom(fingerprint(), version('a'))[0]).toMatch(/"transform" was not set and is now "tidy"/);
    expect(notesFrom(version('a'), version('a', 'trim'))[0]).toMatch(
      /"transform" was "tidy" and is now "trim"/,
    );
  });

  it('has references as text, and no header that only says how an answer travels', () => {
    const { request } = fingerprint(
      {
        ...{ method: 'POST', params: { account: '${env:ACCOUNT}' } },
        body: { query: 'open', nested: { api_key: '${env:KEY}', client_secret: '${file:/run/secret}' } },
      },
      { headers: { 'X-Tenant': 'one', 'User-Agent': 'me' } },
    );
    expect(request).toMatchObject({ 'params.account': '${env:ACCOUNT}', 'headers.x-tenant': 'one' });
    expect(request['body']).toBe(
      '{"query":"open","nested":{"api_key":"${env:KEY}","client_secret":"${file:/run/secret}"}}',
    );
    expect(Object.keys(request)).not.toContain('headers.user-agent');
  });

  it('leaves out what stands under the name of a secret as it is', () => {
    const [plan] = plansFrom({ source: { base_url: 'https://api.example.com/' }, streams: [STREAM] }).plans;
    if (plan === undefined) throw new Error('there is no plan');
    const body = { nested: { client_secret: 'sesame' } };
    const request = { ...plan.request, params: { api_key: 'sesame' }, body };
    expect(JSON.stringify(fingerprintOf({ ...plan, request }))).not.toContain('sesame');
  });

  it('is the same whatever only pages or paces, and in whatever order it is written', () => {
    const plain = fingerprint();
    expect(fingerprint({ page_size: 7, lookback: '1h' })).toEqual(plain);
    const { columns } = STREAM;
    const turned = Object.fromEntries(Object.entries(columns).reverse());
    const changes = changesBetween(plain, fingerprint({ columns: turned }));
    expect(changes).toEqual({ key: null, mark: null, rows: [], hook: null });
  });

  it('has no cursor field where none decides where a pass begins, and all is read again by each', () => {
    const { names: _names, cursor_field: _field, ...stream } = STREAM;
    const configuration = { source: { base_url: 'https://api.example.com/' }, streams: [stream] };
    const [plan] = plansFrom(configuration).plans;
    if (plan === undefined) throw new Error('there is no plan');
    const is = fingerprintOf(plan);
    expect(is).toMatchObject({ cursor: null, readsAll: true });
    expect(notesOfChanges({ key: null, mark: null, rows: ['column x is new'], hook: null }, is)).toEqual([]);
  });
});

describe('made columns', () => {
  const columns = STREAM.columns;
  const made = { email: { hash: 'sha256', key: '${env:PEPPER}' }, source: { value: 'eu' } };
  const changes = (was: { [key: string]: Json }, is: { [key: string]: Json }) =>
    changesBetween(fingerprint(was), fingerprint(is)).rows;

  it('stand in the fingerprint by how they are made, a key by its reference', () => {
    expect(
      fingerprint({ columns: { ...columns, ...made }, exclude: ['b.*', 'a'], raw: '_raw' }),
    ).toMatchObject({
      made: {
        email: 'the SHA-256 of email with the key ${env:PEPPER}',
        source: 'the value "eu"',
        _raw: 'the whole record',
      },
      exclude: ['a', 'b.*'],
    });
    expect(fingerprint()).not.toHaveProperty('made');
    expect(fingerprint()).not.toHaveProperty('exclude');
  });

  it('are noticed when they change', () => {
    const plain = { columns: { ...columns, email: 'STRING' } };
    const hashed = { columns: { ...columns, ...made } };
    expect(changes(plain, hashed)).toEqual([
      'column email was read from email and is now the SHA-256 of email with the key ${env:PEPPER}',
      'column source is new: the value "eu"',
    ]);
    const masked = {
      columns: { ...columns, email: { mask: 'email' }, source: { expression: 'a', type: 'STRING' } },
    };
    expect(changes(hashed, masked)).toEqual([
      'column email was the SHA-256 of email with the key ${env:PEPPER} and is now the mask email of email',
      'column source was the value "eu" and is now the expression "a"',
    ]);
    expect(changes(masked, { columns: { ...columns, email: 'STRING' } })).toEqual([
      'column email was the mask email of email and is now read from email',
    ]);
    expect(changes({ exclude: ['a', 'b'] }, { exclude: ['b', 'c'] })).toEqual([
      '"exclude" now leaves out c, which older rows still hold',
      '"exclude" does not leave out a any more',
    ]);
    expect(changes(hashed, hashed)).toEqual([]);
  });
});
