/**
 * `defineSync` gives a configuration its types: lint compiles this file, and fails where a mistake below compiles. At run time
 * each mistake is refused, too.
 */
import { describe, expect, it } from 'vitest';
import { checkConfiguration, defineSync, type StreamConfiguration } from '../../src/index.js';

const source = { base_url: 'https://api.example.com' };
const primary_key = 'id';

describe('defineSync', () => {
  it('returns the configuration as it is', () => {
    const configuration = { source, streams: [{ name: 'orders', primary_key }] };
    expect(defineSync(configuration)).toBe(configuration);
  });

  it('takes either form, and streams that a program makes', () => {
    const flat = defineSync({
      strategy: 'offset',
      base_url: 'http://127.0.0.1:5001/pagination/offset',
      page_size: 100,
      table: 'people',
    });
    expect(checkConfiguration(flat).streams).toEqual(['people']);

    const stream = (name: string): StreamConfiguration => ({ name, path: `/${name}`, primary_key });
    const full = defineSync({
      sync: { name: 'shop', max_streams: 2 },
      source: {
        ...source,
        auth: { type: 'api_key', name: 'x-key', value: '${env:SHOP_KEY}' },
        headers: { accept: 'application/json' },
        rate_limit: { requests_per_second: 5 },
      },
      defaults: { strategy: 'page_number', page_size: 100, names: { page: 'p', limit: 'per_page' } },
      streams: [
        ...['orders', 'customers'].map(stream),
        {
          ...stream('lines'),
          path: '/orders/${parent:id}/lines',
          parent: { stream: 'orders', include: { order_id: 'id' } },
          primary_key: ['order_id', 'sku'],
          columns: {
            order_id: 'LONG',
            sku: 'varchar(20)',
            amount: { type: 'DECIMAL(12,2)', from: 'price.net' },
          },
          errors: [{ status: 404, action: 'skip_parent' }],
        },
      ],
      interval: '15m',
      notify: { url: '${env:HOOK}', on: ['failing'] },
    });
    expect(checkConfiguration(full).streams).toEqual(['orders', 'customers', 'lines']);
  });

  it('does not compile with a misspelt key of the whole', () => {
    // @ts-expect-error base_ulr
    refused(defineSync({ strategy: 'keyset', base_ulr: 'http://127.0.0.1/' }), 'base_ulr');
    // @ts-expect-error intervall
    refused(defineSync({ source, streams: [{ name: 'a', primary_key }], intervall: '1m' }), 'intervall');
    // @ts-expect-error names is a key of a stream
    refused(defineSync({ source, streams: [{ name: 'a', primary_key }], names: {} }), 'names');
  });

  it('does not compile with a misspelt key at any depth', () => {
    const streams = [{ name: 'a', primary_key }];
    // @ts-expect-error base_ulr
    refused(defineSync({ source: { ...source, base_ulr: 'x' }, streams }), 'source.base_ulr');
    const auth = { type: 'bearer', token: '${env:TOKEN}' } as const;
    // @ts-expect-error tokn
    refused(defineSync({ source: { ...source, auth: { ...auth, tokn: 'x' } }, streams }), 'source.auth.tokn');
    // @ts-expect-error pth
    refused(defineSync({ source, streams: [{ name: 'a', primary_key, pth: '/a' }] }), 'streams[0].pth');
    // @ts-expect-error pgae
    refused(defineSync({ source, streams: [{ name: 'a', primary_key, names: { pgae: 'p' } }] }), 'pgae');
    // @ts-expect-error strem
    refused(defineSync({ source, streams, defaults: { parent: { strem: 'a' } } }), 'strem');
    const a = { name: 'a', primary_key } as const;
    const id = { type: 'LONG' } as const;
    // @ts-expect-error form
    refused(defineSync({ source, streams: [{ ...a, columns: { id: { ...id, form: 'x' } } }] }), 'form');
  });

  it('does not compile with a value of another kind', () => {
    const streams = [{ name: 'a', primary_key }];
    // @ts-expect-error no such mode
    refused(defineSync({ source, streams: [{ name: 'a', primary_key, mode: 'merge' }] }), 'streams[0].mode');
    // @ts-expect-error no such kind of authentication
    refused(defineSync({ source: { ...source, auth: { type: 'token' } }, streams }), 'source.auth');
    // @ts-expect-error a number of milliseconds
    refused(defineSync({ source, streams, interval: 60_000 }), 'interval');
    // @ts-expect-error no such action
    refused(defineSync({ source, streams, defaults: { errors: [{ action: 'giveup' }] } }), 'errors');
    // @ts-expect-error a source without an address
    refused(defineSync({ source: {}, streams }), 'source.base_url');
  });
});

const refused = (configuration: ReturnType<typeof defineSync>, at: string) =>
  expect(() => checkConfiguration(configuration)).toThrow(at);
