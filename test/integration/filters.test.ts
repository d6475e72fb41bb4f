/** Filters, next links and absent values as real servers have them, from a real server into a real table. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { highwater, scratch } from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

const refused = (message: string) => ({ status: 400, body: { message } });

/** A mailbox: RFC 2822 in the records, whole days in the filter, and no record of the day that `after` names. */
const START = Date.UTC(2025, 5, 1, 22);
const messages = Array.from({ length: 200 }, (_, i) => ({ id: i, received: START + i * 3_600_000 }));
const rfc = (time: number) => new Date(time + 2 * 3_600_000).toUTCString().replace('GMT', '+0200');
/** The day in Berlin, which is two hours east of UTC all summer. */
const day = (time: number) => new Date(time + 2 * 3_600_000).toISOString().slice(0, 10);

/** Contacts that have `updated` only once they were changed, filtered by seconds since 1970. */
const contacts: { id: number; created: string; updated: string | null }[] = Array.from(
  { length: 30 },
  (_, i) => ({
    id: i,
    created: new Date(START + i * 60_000).toISOString(),
    updated: null,
  }),
);
const changed = ({ created, updated }: (typeof contacts)[number]) => Date.parse(updated ?? created) / 1000;

let api: { url: string; stop: () => void };
let other: { url: string; server: Server };
let asked: { url: URL; authorization: string | undefined; body: string }[];
let seen: number;

beforeAll(async () => {
  const server = createServer((request, response) => {
    asked.push({
      url: new URL(request.url ?? '', 'http://other'),
      authorization: request.headers.authorization,
      body: '',
    });
    response
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify({ items: [{ id: 3 }], next: null }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  other = { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  api = await imitate((url, request, body) => {
    asked.push({ url, authorization: request.headers.authorization, body });
    const given = Object.fromEntries(url.searchParams);
    switch (url.pathname) {
      case '/messages': {
        const { after, page, limit, ...others } = given;
        if (limit !== '50') return refused('limit must be 50');
        if (Object.keys(others).length > 0) return refused('unknown parameter');
        if (after !== undefined && !/^\d{4}-\d\d-\d\d$/.test(after)) return refused(`no day: ${after}`);
        const kept = messages
          .slice(0, seen)
          .filter(({ received }) => after === undefined || day(received) > after);
        const items = kept.slice((Number(page) - 1) * 50, Number(page) * 50);
        return { body: { items: items.map(({ id, received }) => ({ id, received: rfc(received) })) } };
      }
      case '/contacts': {
        const { since, page } = given;
        if (since !== undefined && !/^\d+$/.test(since)) return refused(`no seconds: ${since}`);
        const kept = contacts.filter((contact) => since === undefined || changed(contact) >= Number(since));
        return { body: { items: kept.slice((Number(page) - 1) * 10, Number(page) * 10) } };
      }
      case '/search': {
        // As Elasticsearch does, it takes a place to go on from, or none at all, but no null.
        const {
          size,
          search_after: after,
          ...others
        } = JSON.parse(body) as {
          size: number;
          search_after?: number[];
        };
        if (Object.keys(others).length > 0 || after === null || after?.length === 0)
          return refused('search_after must be a list of values');
        const from = after === undefined ? 0 : Number(after[0]) + 1;
        return { body: { items: messages.slice(from, from + size).map(({ id }) => ({ id })) } };
      }
      case '/proxied': {
        // It does not know that it is asked by http, nor at which port.
        const page = Number(given['page'] ?? 1);
        const next = page === 1 ? `https://127.0.0.1/proxied?page=2` : `${other.url}/proxied?page=3`;
        return { body: { items: [{ id: page }], next } };
      }
      default:
        return refused('unknown path');
    }
  });
});
afterAll(() => {
  api.stop();
  other.server.closeAllConnections();
  other.server.close();
});

describe('a sync', () => {
  let system: System;
  beforeAll(async () => void (system = await startSystem(inject('temporalAddress'), { TOKEN: 's3cr3t' })));
  afterAll(() => system.stop());
  beforeEach(() => void (asked = []));

  const configuration = (stream: { [key: string]: Json }): { [key: string]: Json } => ({
    source: { base_url: api.url, auth: { type: 'bearer', token: '${env:TOKEN}' } },
    destination: system.destination,
    streams: [{ records: 'items', primary_key: 'id', page_size: 50, ...stream }],
  });
  const sync = (stream: { [key: string]: Json }) => system.sync(configuration(stream));
  const count = async (table: string) =>
    (await system.query(`SELECT count(*)::INT, count(DISTINCT id)::INT FROM ${table}`))[0];
  const parameter = (name: string) => asked.map(({ url }) => url.searchParams.get(name));

  const MESSAGES = {
    ...{ name: 'messages', path: '/messages', strategy: 'page_number' },
    ...{ cursor_field: 'received', cursor_format: 'rfc_2822', lookback: '1s' },
    names: { updated_since: 'after', format: 'yyyy-MM-dd', zone: 'Europe/Berlin' },
    columns: { id: 'LONG', received: 'STRING' },
  };

  test('by whole days finds what joins the day of the newest record, which the filter leaves out', async () => {
    seen = 60;
    expect(await sync(MESSAGES)).toMatchObject({ rows: 60, warnings: [] });
    expect(new Set(parameter('after'))).toEqual(new Set([null]));
    for (const until of [61, 70, 200]) {
      asked = [];
      const before = day(messages[seen - 1]?.received ?? 0);
      seen = until;
      await sync(MESSAGES);
      expect(await count('messages')).toEqual([until, until]);
      // The day before that of the newest record.
      expect(parameter('after')[0]).toBe(day(Date.parse(`${before}T00:00:00Z`) - 24 * 3_600_000));
    }
  }, 60_000);

  test('by days is checked for what its filter is', async () => {
    seen = 60;
    const folder = await scratch();
    const file = folder.file('check.json');
    await writeFile(
      file,
      JSON.stringify({ ...configuration(MESSAGES), destination: folder.file('x.duckdb') }),
    );
    const { stdout } = await highwater(['check', file], { env: { TOKEN: 's3cr3t' } });
    expect(stdout).toContain('the filter excludes the requested value (>): the lookback makes up for that');
    await folder.remove();
  });

  test('of records with several cursor fields goes by the greatest, and asks by seconds since 1970', async () => {
    const stream = {
      ...{ name: 'contacts', path: '/contacts', strategy: 'page_number', page_size: 10 },
      cursor_field: ['updated', 'created'],
      names: { updated_since: 'since', format: 'epoch_s' },
      columns: { id: 'LONG', created: 'UTC_DATETIME', updated: 'UTC_DATETIME' },
    };
    expect(await sync(stream)).toMatchObject({ rows: 30, warnings: [] });
    const [first] = contacts;
    if (first !== undefined) first.updated = new Date(START + 3_600_000).toISOString();
    contacts.push({ id: 30, created: new Date(START + 1_800_000).toISOString(), updated: null });
    asked = [];
    expect(await sync(stream)).toMatchObject({ rows: 2, records: 3 });
    expect(parameter('since')[0]).toBe(String(START / 1000 + 29 * 60));
    asked = [];
    expect(await sync(stream)).toMatchObject({ rows: 0, records: 1 });
    expect(parameter('since')[0]).toBe(String(START / 1000 + 3600));
  }, 60_000);

  test('leaves out of a body what is not there yet', async () => {
    const result = await sync({
      ...{ name: 'found', path: '/search', method: 'POST', strategy: 'cursor', next: 'last_key' },
      body: { size: '${cursor:limit}', search_after: ['${cursor:scroll_param:number?}'] },
      columns: { id: 'LONG' },
    });
    expect(result).toMatchObject({ rows: 200, records: 200 });
    expect(asked.slice(0, 2).map(({ body }) => body)).toEqual([
      '{"size":50}',
      '{"size":50,"search_after":[49]}',
    ]);
  }, 60_000);

  test('follows a link with another scheme on the configured origin, and to hosts that are listed', async () => {
    const stream = {
      ...{ name: 'proxied', path: '/proxied', strategy: 'cursor', next: { url: 'next' } },
      columns: { id: 'LONG' },
    };
    const failed = await system.failing(configuration({ ...stream, name: 'unlisted' }));
    expect(failed.message).toContain('another host');
    expect(failed.message).toContain('next_hosts');
    expect(asked).toHaveLength(2);
    asked = [];
    const { host } = new URL(other.url);
    expect(await sync({ ...stream, next_hosts: [host] })).toMatchObject({ rows: 3, warnings: [] });
    expect(asked.map(({ url, authorization }) => [url.search, authorization])).toEqual([
      ['?limit=50', 'Bearer s3cr3t'],
      ['?page=2', 'Bearer s3cr3t'],
      ['?page=3', 'Bearer s3cr3t'],
      // The last page is as full as those before it, and nothing counts them: it is asked for once more.
      ['?page=3', 'Bearer s3cr3t'],
    ]);
  }, 60_000);
});
