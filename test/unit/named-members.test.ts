/** Misspelt members of "exclude" and of made columns, from a real server: a note of the pass, and a finding of `check`. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { examine, Probe } from '../../src/inspect/probe.js';
import type { Json, Note } from '../../src/protocol.js';
import { Rehearsal } from '../../src/recording/rehearsal.js';
import { Expression } from '../../src/request/expressions.js';
import { ownSurroundings } from '../../src/surroundings.js';
import { scratch } from '../helpers/harness.js';

let server: Server;
let url: string;
/** The records of each page. */
let pages: readonly (readonly object[])[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const page = Number(new URL(request.url ?? '', 'http://h').searchParams.get('page') ?? 1);
    response.end(JSON.stringify({ data: pages[page - 1] ?? [] }));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close().closeAllConnections());

type Keys = { [key: string]: Json };

const configurationOf = (keys: Keys) => ({
  source: { base_url: url },
  streams: [
    { name: 's', strategy: 'page_number', page_size: 2, primary_key: 'id', misfits: 'evolve', ...keys },
  ],
});

/** Reads a pass into a DuckDB file, one page a call. */
async function notesOf(keys: Keys): Promise<Note[]> {
  const folder = await scratch();
  const surroundings = ownSurroundings({});
  const rehearsal = new Rehearsal({
    ...surroundings,
    configuration: { ...configurationOf(keys), destination: folder.file('t.duckdb') },
    database: folder.file('t.duckdb'),
    now: new Date(),
    pause: () => Promise.resolve(),
    signal: new AbortController().signal,
  });
  try {
    const { notes, isComplete } = await rehearsal.read('s', { pages: 100 });
    expect(isComplete).toBe(true);
    return notes.filter(({ code }) => code === 'member_absent');
  } finally {
    await rehearsal.close();
    surroundings.network.close();
    surroundings.hooks.close();
    await folder.remove();
  }
}

async function findingsOf(keys: Keys): Promise<string[]> {
  const { plans } = plansFrom(configurationOf(keys));
  const [plan] = plans;
  if (plan === undefined) throw new Error('no plan');
  const probe = await Probe.of(plan, plans, { environment: {}, destination: '/tmp/none.duckdb' });
  const found = await examine(probe).finally(() => probe.close());
  return found.flatMap(({ kind, message }) => (kind === 'advice' ? [message] : []));
}

const customer = (id: number, more: object = {}) => ({
  id,
  customer: { first: 'A', card: `4111${id}`, notes: 'x', ...more },
  lines: [{ sku: 'a' }],
});
const RECORDS = [[customer(1), customer(2)], [customer(3), customer(4)], [customer(5)]];

const TYPOS: Keys = {
  exclude: ['customer.nots', 'lines.price', 'row.*'],
  columns: {
    card: { from: 'customer.crad', mask: 'last4' },
    label: { expression: "customer.frist + '!'", type: 'STRING' },
  },
};
const ABSENCES = [
  'customer.nots: "exclude" leaves nothing out there',
  'lines.price: "exclude" leaves nothing out there',
  'row.*: "exclude" leaves nothing out there',
  'customer.crad: column card stays empty, and nothing is masked',
  'customer.frist: the expression of column label reads it',
];

describe('a member that no record has', () => {
  test('is named by a note of the pass', async () => {
    pages = RECORDS;
    const [note] = await notesOf(TYPOS);
    expect(note?.message).toContain(`no record of this pass has ${ABSENCES.join('; ')}. `);
  });

  test('is named by check, once', async () => {
    pages = RECORDS;
    const found = await findingsOf(TYPOS);
    expect(found).toEqual(ABSENCES.map((absence) => `no record has ${absence}`));
  });

  test('is not named if a record of any page has it, as null too', async () => {
    pages = [
      [customer(1), customer(2)],
      [customer(3), customer(4, { crad: null, nots: 1 })],
      [{ ...customer(5, { frist: 'B' }), lines: [{}, { price: 1 }], row: { a: 1 } }],
    ];
    expect(await notesOf(TYPOS)).toEqual([]);
  });

  test('is not named if the first page has it and later ones do not', async () => {
    pages = [[customer(1, { crad: '1' }), customer(2)], [customer(3)]];
    expect(await notesOf({ columns: { card: { from: 'customer.crad', mask: 'last4' } } })).toEqual([]);
  });

  test('is not named without a record', async () => {
    pages = [[]];
    expect(await notesOf(TYPOS)).toEqual([]);
    expect(await findingsOf(TYPOS)).toEqual([expect.stringContaining('no record came')]);
  });

  test('is not named if the filter leaves out every record', async () => {
    pages = RECORDS;
    expect(await notesOf({ ...TYPOS, where: '@.id > 9' })).toEqual([]);
  });
});

test('says nothing where all members are there', async () => {
  pages = RECORDS;
  const right: Keys = {
    exclude: ['customer.notes', 'lines.sku'],
    columns: {
      card: { from: 'customer.card', mask: 'last4' },
      label: { expression: "customer.first + '!'", type: 'STRING' },
    },
  };
  expect(await notesOf(right)).toEqual([]);
  expect(await findingsOf(right)).toEqual([]);
});

test.each([
  ['a.b + c', ['a,b', 'c']],
  ["has(a.b) ? a.b : ''", []],
  ["a.?b.orValue('')", []],
  ["nick == null ? name : nick + '!'", ['name']],
  ["record['odd name'] + lines.map(l, l.sku).join(',')", ['record', 'lines']],
])('an expression expects the members that it does not test: %s', (source, expected) => {
  expect(new Expression(source).expected.map(String)).toEqual(expected);
});
