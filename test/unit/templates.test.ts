import { describe, expect, it } from 'vitest';
import type { Json } from '../../src/protocol.js';
import { bodyTemplate, referred, template, type Values } from '../../src/request/templates.js';

const plain = (text: string) => text;
const first: Values = { cursor: { limit: '50' }, parent: { id: 7 } };
const later: Values = {
  cursor: { limit: '50', scroll_param: 'abc', updated_since: '1700000000' },
  parent: { id: 7 },
};

/** A body on the first page, and on a later one. */
const bodies = (body: Json) => {
  const filled = bodyTemplate(body, plain);
  return [filled(first), filled(later)];
};

describe('a body', () => {
  it.each<[string, Json, Json, Json]>([
    [
      'leaves out a member that refers to what is not there, where the reference is optional',
      { size: '${cursor:limit}', after: '${cursor:scroll_param?}' },
      { size: 50 },
      { size: 50, after: 'abc' },
    ],
    [
      'holds null there otherwise',
      { size: '${cursor:limit}', after: '${cursor:scroll_param}' },
      { size: 50, after: null },
      { size: 50, after: 'abc' },
    ],
    [
      'holds what the reference gives instead',
      { mark: '${cursor:scroll_param?*}', since: '${cursor:updated_since:number?0}' },
      { mark: '*', since: 0 },
      { mark: 'abc', since: 1_700_000_000 },
    ],
    [
      'leaves out a member whose text holds such a reference among others',
      { query: 'id=${parent:id} after=${cursor:scroll_param?}', size: 1 },
      { size: 1 },
      { query: 'id=7 after=abc', size: 1 },
    ],
    [
      'leaves out what holds nothing else',
      { size: 1, filter: { range: { updated: { gte: '${cursor:updated_since:number?}' } } } },
      { size: 1 },
      { size: 1, filter: { range: { updated: { gte: 1_700_000_000 } } } },
    ],
    [
      'keeps what was empty from the beginning',
      { query: { match_all: {} }, sort: [], after: '${cursor:scroll_param?}' },
      { query: { match_all: {} }, sort: [] },
      { query: { match_all: {} }, sort: [], after: 'abc' },
    ],
    [
      'leaves out a list as a whole whose own texts are not all there',
      { search_after: ['${cursor:updated_since:number?}', '${cursor:scroll_param?}', 'x'] },
      {},
      { search_after: [1_700_000_000, 'abc', 'x'] },
    ],
    [
      'leaves out the items of a list that hold nothing else, and keeps the others',
      { filters: [{ status: 'open' }, { gte: '${cursor:updated_since?}' }] },
      { filters: [{ status: 'open' }] },
      { filters: [{ status: 'open' }, { gte: '1700000000' }] },
    ],
    ['of one optional member is an object all the same', { a: '${cursor:scroll_param?}' }, {}, { a: 'abc' }],
    ['of one optional item is a list all the same', ['${cursor:scroll_param?}'], [], ['abc']],
  ])('%s', (_, body, before, after) => {
    expect(bodies(body)).toEqual([before, after]);
  });

  it('takes a column of the parent for optional too', () => {
    expect(
      bodyTemplate({ a: '${parent:gone?}', b: '${parent:gone}', c: '${parent:id?}' }, plain)(first),
    ).toEqual({
      b: null,
      c: 7,
    });
  });
});

describe('a text', () => {
  it.each([
    ['${cursor:scroll_param}', null, 'abc'],
    ['${cursor:scroll_param?}', null, 'abc'],
    ['${cursor:scroll_param?*}', '*', 'abc'],
    ['after:${cursor:scroll_param?none}', 'after:none', 'after:abc'],
    ['${cursor:updated_since?2020-01-01T00:00:00Z}', '2020-01-01T00:00:00Z', '1700000000'],
  ])('%s is %j on the first page, and %j on a later one', (text, before, after) => {
    const filled = template(text, plain);
    expect([filled(first), filled(later)]).toEqual([before, after]);
  });

  it('refers to the same name with "?" and without', () => {
    expect([...referred({ a: ['${cursor:page?}', 'x ${cursor:limit:number?1}'] }, 'cursor')]).toEqual([
      'page',
      'limit',
    ]);
  });
});
