/** `check` of a stream with a hook or a filter that leaves no row: what it says is of the records that the source sent. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { examine, type Finding, Probe } from '../../src/inspect/probe.js';
import type { Json } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
let server: Server;
let url: string;

beforeAll(async () => {
  folder = await scratch();
  server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://h');
    const page = pathname === '/same' ? 1 : Number(searchParams.get('page') ?? 1);
    const data = Array.from({ length: 10 }, (_, i) => ({ id: (page - 1) * 10 + i, name: 'x' }));
    response.end(JSON.stringify({ data: page > 3 ? [] : data, total: 30 }));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.close().closeAllConnections();
  await folder.remove();
});

async function findings(code: string | null, keys: { [key: string]: Json } = {}): Promise<Finding[]> {
  if (code !== null) await writeFile(folder.file('tidy.mjs'), code);
  const stream = {
    ...{ name: 's', strategy: 'page_number', page_size: 10, total: 'total', primary_key: 'id' },
    ...(code !== null && { transform: 'tidy' }),
    columns: { id: 'LONG', name: 'STRING' },
    ...keys,
  };
  const { plans } = plansFrom({ source: { base_url: url }, streams: [stream] });
  const [plan] = plans;
  if (plan === undefined) throw new Error('no plan');
  const environment = { HIGHWATER_HOOKS: folder.path, HIGHWATER_HOOK_TIMEOUT: '1s' };
  const probe = await Probe.of(plan, plans, { environment, destination: '/tmp/none.duckdb' });
  return examine(probe).finally(() => probe.close());
}

const textsOf = (found: readonly Finding[], kind: Finding['kind']) =>
  found.filter((one) => one.kind === kind).map(({ message }) => message);
const differs = expect.stringContaining('the second page differs from the first') as string;

test('a hook that makes no row is not the API’s paging', async () => {
  const found = await findings('export default () => null;');
  expect(textsOf(found, 'problem')).toEqual([]);
  expect(textsOf(found, 'advice')).toEqual([
    'the hook tidy made no row of the 10 records of the page, so primary key and columns could not be checked',
  ]);
  expect(textsOf(found, 'fine')).toContainEqual(differs);
  expect(textsOf(found, 'fine').join()).not.toContain('primary key');
});

test('a hook that fails for all records is the only problem', async () => {
  const found = await findings('export default (record) => record.x.y;');
  expect(textsOf(found, 'problem')).toEqual([
    expect.stringMatching(/^hook tidy: failed for 10 of 10 records; the first time for id 0: TypeError: /),
  ]);
  expect(textsOf(found, 'fine')).toContainEqual(differs);
});

test('a page that the API sends twice is found, whatever the hook makes of it', async () => {
  const found = await findings('export default () => null;', { path: '/same' });
  expect(textsOf(found, 'problem')).toEqual([
    expect.stringContaining('the second page has the same 10 records'),
  ]);
});

test('a filter that leaves no record is not the API’s paging', async () => {
  const found = await findings(null, { where: '@.id > 100' });
  expect(textsOf(found, 'problem')).toEqual([]);
  expect(textsOf(found, 'advice')).toEqual([
    '"where" leaves out the 10 records of the page, so primary key and columns could not be checked',
  ]);
  expect(textsOf(found, 'fine')).toContainEqual(differs);
});

test('a filter that leaves none of the second page is not the API’s paging', async () => {
  const found = await findings(null, { where: '@.id < 10' });
  expect(textsOf(found, 'problem')).toEqual([]);
  expect(textsOf(found, 'fine')).toContainEqual(differs);
});

test('an endless loop names its record', async () => {
  const found = await findings('export default (record) => { while (record.id === 3); return record; };');
  expect(textsOf(found, 'problem')).toEqual([
    expect.stringMatching(/^hook tidy: failed for 1 of 10 records; the first time for id 3: /),
  ]);
});

test('a record without a key is named by its place', async () => {
  const code =
    'export default ({ id, name }) => { if (id === 4) throw new Error("no"); return { key: id, name }; };';
  const found = await findings(code, { primary_key: 'key', columns: { key: 'LONG', name: 'STRING' } });
  expect(textsOf(found, 'problem')).toEqual([
    expect.stringMatching(/^hook tidy: failed for 1 of 10 records; the first time for record 5: no/),
  ]);
});
