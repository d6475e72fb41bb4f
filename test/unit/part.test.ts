import { describe, expect, it } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import { partOf } from '../../src/config/part.js';
import type { Json } from '../../src/protocol.js';

const stream = (name: string, more: { [key: string]: Json } = {}) => ({
  ...{ name, path: `/${name}`, strategy: 'page_number', primary_key: 'id', columns: { id: 'LONG' } },
  ...more,
});

const configuration = (streams: Json[]): Json => ({
  source: { base_url: 'https://api.example.com' },
  interval: '1h',
  defaults: { page_size: 10 },
  streams,
});

const names = (part: Json) => (part as { streams: { name: string }[] }).streams.map(({ name }) => name);

describe('the part of a configuration that one stream works by', () => {
  const whole = configuration([
    stream('a'),
    stream('grandchild', { parent: { stream: 'child' }, path: '/g/${parent:id}' }),
    stream('child', { parent: { stream: 'a' }, path: '/c/${parent:id}' }),
    stream('b'),
    stream('twin', { table: 'B' }),
  ]);

  it.each([
    ['a', ['a']],
    ['child', ['a', 'child']],
    ['grandchild', ['a', 'grandchild', 'child']],
    // They name the same table, which is refused where it is read.
    ['b', ['b', 'twin']],
  ])('%s has the streams %j, in their order, and all that is not a stream', (name, kept) => {
    const part = partOf(whole, name);
    expect(names(part)).toEqual(kept);
    expect(part).toEqual({ ...(whole as object), streams: expect.any(Array) as Json[] });
  });

  it('makes the same plan as the whole', () => {
    const sound = configuration([
      stream('a'),
      stream('other'),
      stream('child', {
        ...{ parent: { stream: 'a', include: { a_id: 'id' } }, path: '/c/${parent:id}' },
        columns: { id: 'LONG', a_id: 'LONG' },
      }),
    ]);
    for (const name of names(sound)) {
      const [of, from] = [sound, partOf(sound, name)].map((one) =>
        plansFrom(one).plans.find((plan) => plan.stream === name),
      );
      expect(from).toEqual(of);
    }
  });

  it.each<[string, Json]>([
    ['no object', 'text'],
    ['the flat form', { strategy: 'keyset', base_url: 'http://x' }],
    ['streams that are no list', { streams: { a: 1 } }],
    ['a stream that is no object', { streams: ['a', { name: 'b' }] }],
    ['no such stream', { streams: [{ name: 'b' }] }],
  ])('is all of it where it has %s', (_, odd) => {
    expect(partOf(odd, 'a')).toBe(odd);
  });

  it('ends where streams are each other’s parents', () => {
    const round = configuration([
      stream('a', { parent: { stream: 'b' } }),
      stream('b', { parent: { stream: 'a' } }),
      stream('c'),
    ]);
    expect(names(partOf(round, 'a'))).toEqual(['a', 'b']);
  });
});

describe('a configuration that Temporal cannot carry is refused before anything runs', () => {
  const columns = (count: number, width: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`column_${'x'.repeat(width)}_${i}`, 'STRING']),
    );
  const wide = (name: string, count: number, more: { [key: string]: Json } = {}, width = 10) =>
    stream(name, { columns: { id: 'LONG', ...columns(count, width) }, ...more });
  const many = (count: number, wideness: number, width = 10) =>
    configuration(Array.from({ length: count }, (_, i) => wide(`s${i}`, wideness, {}, width)));
  const asked = { method: 'POST', body: { query: 'x'.repeat(1_700_000) } };

  it('and one of 120 streams with 200 columns is not', () => {
    expect(plansFrom(many(120, 200)).plans).toHaveLength(120);
  });

  it.each<[string, Json, RegExp]>([
    ['of more than 500 streams', many(501, 1), /streams: .*500/],
    [
      'of more than 2 MiB',
      many(500, 70, 50),
      /the configuration is too large: [23]\.\d\d MiB as JSON; .*1\.94 MiB/,
    ],
    [
      'whose one stream is too large',
      configuration([stream('s0', asked)]),
      /stream s0 is too large: its plan comes to/,
    ],
    [
      'whose streams hang from each other in a long chain',
      configuration(
        Array.from({ length: 150 }, (_, i) =>
          wide(`s${i}`, 400, i === 0 ? {} : { parent: { stream: `s${i - 1}` }, path: '/${parent:id}' }),
        ),
      ),
      /streams: are too large together/,
    ],
  ])('%s', (_, large, message) => {
    expect(() => plansFrom(large)).toThrow(message);
  });
});
