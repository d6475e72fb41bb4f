/** `init` finds how an API pages by trying, or says that it could not: against one server with the styles of many. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { lookAsTold, lookAt, LookError } from '../../src/inspect/api/look.js';
import { CHECK_REQUESTS, RequestBudget, REQUESTS_IN_ALL } from '../../src/inspect/request-budget.js';
import { examine, Probe } from '../../src/inspect/probe.js';
import { serveStyles, STYLE_RECORDS, type StylesServer } from '../helpers/api-styles.js';

let server: StylesServer;
beforeAll(async () => {
  server = await serveStyles();
});
afterAll(() => server.stop());

const options = { environment: {}, destination: '/tmp/none.duckdb' };
const configurationOf = (style: string) => ({
  source: { base_url: server.url },
  streams: [{ name: 'things', path: `/${style}` }],
});
const look = (style: string, name = 'things') =>
  lookAt(
    { configuration: configurationOf(style), name, preferred: [] },
    () => Promise.resolve(options),
    () => {
      throw new Error('no style asks to wait');
    },
  );

/** Reads all pages as a sync would ask for them; a page may begin with the last record of the one before. */
async function readAll(style: string, keys: object): Promise<number> {
  const [stream] = configurationOf(style).streams;
  const { plans } = plansFrom({ source: { base_url: server.url }, streams: [{ ...stream, ...keys }] });
  const [plan] = plans;
  if (plan === undefined) throw new Error('no plan');
  const probe = await Probe.of(plan, plans, options);
  const seen = new Set<string>();
  let cursor = probe.first();
  for (let pages = 0; pages < 50; pages++) {
    const read = await probe.page(cursor);
    if ('end' in read) break;
    for (const text of read.page.texts) seen.add(text);
    cursor = probe.after(read.cursor, read.page.summary);
  }
  return seen.size;
}

describe('a style of paging is found, and reads every record', () => {
  test.each<[string, object]>([
    ['github', { strategy: 'cursor', next: 'link', names: { limit: 'per_page' }, records: '$' }],
    [
      'stripe',
      { strategy: 'cursor', next: 'last_key', names: { scroll_param: 'starting_after' }, more: 'has_more' },
    ],
    ['long_keys', { strategy: 'cursor', next: 'last_key', names: { scroll_param: 'starting_after' } }],
    ['shopify', { strategy: 'cursor', next: 'link', records: 'shopify', names: { limit: 'limit' } }],
    ['zendesk', { strategy: 'cursor', next: { url: 'links.next' }, records: 'tickets' }],
    ['odata', { strategy: 'cursor', next: { url: "$['@odata.nextLink']" }, records: 'value' }],
    ['jsonapi', { strategy: 'cursor', next: { url: 'links.next' }, records: 'data', total: 'meta.total' }],
    ['hubspot', { strategy: 'cursor', next: { url: 'paging.next.link' }, records: 'results' }],
    [
      'slack',
      {
        strategy: 'cursor',
        next: { token: 'response_metadata.next_cursor' },
        names: { scroll_param: 'cursor' },
      },
    ],
    [
      'salesforce',
      { strategy: 'cursor', next: { url: 'nextRecordsUrl' }, records: 'records', total: 'totalSize' },
    ],
    [
      'elasticsearch',
      {
        strategy: 'offset',
        names: { offset: 'from', limit: 'size' },
        records: 'hits.hits',
        total: 'hits.total',
      },
    ],
    [
      'spring',
      {
        strategy: 'page_number',
        first_page: 0,
        names: { page: 'page', limit: 'size' },
        total: 'totalElements',
      },
    ],
    ['ignores_size', { strategy: 'page_number', names: { page: 'page' }, total: 'total' }],
    [
      'total_header',
      {
        strategy: 'page_number',
        names: { page: 'p', limit: 'per_page' },
        total: { header: 'x-total-count' },
      },
    ],
    [
      'offsets',
      { strategy: 'offset', names: { offset: 'skip', limit: 'limit' }, page_size: 25, total: 'total' },
    ],
    ['scim', { strategy: 'offset', first_offset: 1, names: { offset: 'startIndex', limit: 'count' } }],
    [
      'kinto',
      {
        strategy: 'cursor',
        next: { header: 'next-page', is: 'url' },
        names: { limit: '_limit', updated_since: '_since' },
        cursor_field: 'last_modified',
        cursor_format: 'epoch_ms',
        lookback: '1s',
      },
    ],
    [
      'gitlab',
      { strategy: 'page_number', names: { page: 'page', limit: 'per_page' }, total: { header: 'x-total' } },
    ],
    [
      'json_server',
      { strategy: 'page_number', names: { page: '_page', limit: '_per_page' }, records: 'data' },
    ],
    ['fhir', { strategy: 'cursor', records: 'entry', next: { url: "$.link[?@.relation == 'next'].url" } }],
    ['whole', { strategy: 'cursor', next: 'none', records: 'items' }],
  ])('%s', async (style, wanted) => {
    const { keys, isPartOnly, discovery, requests } = await look(style);
    expect(keys).toMatchObject(wanted);
    expect(isPartOnly).toBe(false);
    expect(requests).toBe(server.requests(style));
    expect(requests).toBeLessThanOrEqual(REQUESTS_IN_ALL);
    const [key] = discovery.primaryKeys;
    expect(await readAll(style, { primary_key: key?.columns, ...keys })).toBe(STYLE_RECORDS);
  });
});

describe('a list that changes while it is looked at', () => {
  test.each<[string, object]>([
    ['moving', { strategy: 'page_number', names: { page: 'page', limit: 'per_page' } }],
    ['moving_keys', { strategy: 'cursor', next: 'last_key', names: { scroll_param: 'starting_after' } }],
  ])('%s is paged, or else not read: pages are compared by most of their records', async (style, wanted) => {
    const { keys, isPartOnly } = await look(style);
    expect(keys).toMatchObject(wanted);
    expect(isPartOnly).toBe(false);
  });

  test.each(['moving_unpaged', 'moving_limited', 'ignores_key'])(
    '%s: without a parameter for the page it is a part of a list',
    async (style) => {
      const { keys, isPartOnly, unknown } = await look(style);
      expect(keys).toMatchObject({ strategy: 'cursor', next: 'none' });
      expect(isPartOnly).toBe(true);
      expect(unknown).toContainEqual(expect.stringContaining('the rest of the list: the first answer had'));
    },
  );
});

describe('a count of pages', () => {
  test.each(['three_pages', 'three_pages_fixed', 'three_pages_total'])(
    '%s: is not used where other answers contradict it',
    async (style) => {
      const { keys, unknown, discovery } = await look(style);
      expect(keys).not.toHaveProperty('total_pages');
      expect(unknown).toContain('a count of pages: total_pages is 3, which other answers contradict');
      const [key] = discovery.primaryKeys;
      expect(await readAll(style, { primary_key: key?.columns, ...keys })).toBe(STYLE_RECORDS);
    },
  );

  test.each(['counts_pages', 'counts_pages_fixed'])('%s: is used', async (style) => {
    expect((await look(style)).keys).toHaveProperty('total_pages', 'total_pages');
  });
});

test('a filter that reaches back some records only is not used', async () => {
  const { keys, unknown } = await look('short_memory');
  expect(keys).toMatchObject({ strategy: 'page_number', total: 'total' });
  expect(keys).not.toHaveProperty('names.updated_since');
  expect(unknown).toContainEqual(expect.stringContaining('since reaches back 24 records of 57 only'));
});

test('a next page without a host is named by its address', async () => {
  expect((await look('next_on_disk')).unknown).toContainEqual(
    expect.stringContaining('it leads to another host, file:///etc/x;'),
  );
});

describe('other lists of an answer', () => {
  test.each([
    [
      'nested',
      'things',
      'data',
      [
        'the list extras (4 records)',
        'the lists users inside the records (9 records in all), which become a column',
      ],
    ],
    ['two_lists', 'open', 'open', ['the list closed (30 records)', 'the list meta.warnings (1 record)']],
  ])('%s as %s: they are named as not read', async (style, name, records, others) => {
    const { keys, found } = await look(style, name);
    expect(keys['records']).toBe(records);
    expect(found.filter(({ what }) => what === 'not read').map(({ text }) => text)).toEqual(others);
  });
});

describe('a list that a parameter limits, and none pages', () => {
  test('is read whole with a larger limit that is not reached', async () => {
    const { keys, isPartOnly, assumed } = await look('limited');
    expect(keys).toMatchObject({ strategy: 'cursor', next: 'none', page_size: 100 });
    expect(keys).not.toHaveProperty('params');
    expect(isPartOnly).toBe(false);
    expect(assumed).toContainEqual(expect.stringContaining('it gave 57 records'));
    expect(await readAll('limited', { primary_key: 'id', ...keys })).toBe(STYLE_RECORDS);
  });

  test('is a part where the larger limit gives a usual page', async () => {
    const { isPartOnly, unknown } = await look('capped');
    expect(isPartOnly).toBe(true);
    expect(unknown).toContainEqual(expect.stringContaining('limit limits their number'));
  });
});

describe('an API that cannot be read whole is not called paged', () => {
  test.each([
    ['repeats', 'the rest of the list: the answer says that there are 57 records, and has 20'],
    ['repeats_link', 'the header Link looks like the next page, but it leads to the same records again'],
  ])('%s', async (style, said) => {
    const { keys, isPartOnly, unknown } = await look(style);
    expect(keys).toMatchObject({ strategy: 'cursor', next: 'none' });
    expect(isPartOnly).toBe(true);
    expect(unknown).toContainEqual(expect.stringContaining(said));
  });

  test('an empty list leaves everything else open', async () => {
    const { unknown } = await look('empty');
    expect(unknown).toContain('everything else: the list is empty');
  });
});

describe('an answer that is no list', () => {
  test.each([
    ['login', 'the source answered 401', ['bearer']],
    ['html', 'the answer is not JSON (text/html)', []],
    ['directory', 'which may be lists:\n  users_url  http://127.0.0.1:', []],
    ['nothing', 'the source answered 404', []],
    ['by_keys', 'no list of records, but data, an object with 57 records by their keys', []],
    ['two_lists', 'several lists: closed (30 records), open (12 records). Say which', []],
  ])('%s', async (style, said, asksFor) => {
    const error = await look(style).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(LookError);
    expect((error as LookError).message).toContain(said);
    expect((error as LookError).asksFor).toEqual(asksFor);
  });
});

describe('one budget counts every request', () => {
  test('of a look at a list, and of a second one with the strategy that the user names', async () => {
    const budget = new RequestBudget();
    const place = { configuration: configurationOf('login'), name: 'things', preferred: [] };
    const probing = () => Promise.resolve(options);
    const before = server.requests('login') + server.requests('whole');
    await expect(lookAt(place, probing, () => undefined, budget)).rejects.toBeInstanceOf(LookError);
    expect(budget.sent).toBe(1);
    const told = { ...place, configuration: configurationOf('whole') };
    const { requests } = await lookAsTold(told, 'page_number', probing, () => undefined, budget);
    expect(server.requests('login') + server.requests('whole') - before).toBe(requests);
    expect(requests).toBeLessThanOrEqual(REQUESTS_IN_ALL - CHECK_REQUESTS);
  });

  test('and the check says what it could not try any more', async () => {
    const [plan] = plansFrom({
      source: { base_url: server.url },
      streams: [
        { name: 'things', path: '/whole', records: 'items', strategy: 'page_number', primary_key: 'id' },
      ],
    }).plans;
    if (plan === undefined) throw new Error('no plan');
    const probe = await Probe.of(plan, [plan], { ...options, budget: new RequestBudget(1) });
    expect(await examine(probe)).toContainEqual({
      kind: 'advice',
      message:
        'not everything was checked: the limit of 1 request is reached; "highwater check FILE" checks the rest',
    });
  });
});
