import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/errors.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { resolveRequest, sourceIdentity } from '../../src/sources/references.js';

function refusal(work: () => unknown): ConfigurationError {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) return thrown;
    throw thrown;
  }
  throw new Error('was not refused');
}

describe('a reference', () => {
  it('takes its value from the environment, as it must be written in an address', () => {
    const { url } = resolveRequest(
      'https://${env:USER_}:${env:PASS}@api.example.com/${env:TENANT}?key=${env:KEY}',
      undefined,
      {
        USER_: 'a b',
        PASS: 'p@ss:w/rd?#%',
        TENANT: 'über/alles',
        KEY: 'a&b=c+d',
      },
    );
    expect(decodeURIComponent(url.username)).toBe('a b');
    expect(decodeURIComponent(url.password)).toBe('p@ss:w/rd?#%');
    expect(url.host).toBe('api.example.com');
    expect(url.pathname.split('/').map(decodeURIComponent)).toEqual(['', 'über/alles']);
    expect([...url.searchParams]).toEqual([['key', 'a&b=c+d']]);
  });

  it.each([
    ['in the environment of this command', undefined],
    ['where the worker runs: set it there and restart the worker', TrustPolicy.local({}, 'own.duckdb')],
  ])('to what is not set, or empty, %s, is refused, and every one is named', (where, trust) => {
    const { problems } = refusal(() =>
      resolveRequest('https://${env:A}:${env:B}@h/${env:C}', undefined, { A: 'x', B: '' }, trust),
    );
    expect(problems).toEqual(
      ['B', 'C'].map((name) => ({
        path: 'base_url',
        message: `refers to the environment variable ${name}, which is not set ${where}`,
      })),
    );
  });

  it('whose value makes no address is a problem of the configuration, and its value stays unsaid', () => {
    const { message } = refusal(() =>
      resolveRequest('https://${env:HOST}/', undefined, { HOST: 'secret host:port' }),
    );
    expect(message).toContain('base_url: is not a URL');
    expect(message).not.toContain('secret');
  });

  it.each(['file:///x?t=', 'ftp://h/', 'data:text/plain,'])('leads nowhere but to HTTP: %s', (address) => {
    const { message } = refusal(() =>
      resolveRequest(`${address}\${env:TOKEN}`, undefined, { TOKEN: 'hush' }),
    );
    expect(message).toContain('only http:// and https:// are allowed');
    expect(message).not.toContain('hush');
  });

  it('is taken as it is, not for another reference', () => {
    const { url } = resolveRequest('https://h/?a=${env:A}', undefined, { A: '${env:B}', B: 'no' });
    expect(url.searchParams.get('a')).toBe('${env:B}');
  });

  it('cannot reach beyond the environment', () => {
    expect(() => resolveRequest('https://h/?a=${env:__proto__}&b=${env:constructor}', undefined, {})).toThrow(
      ConfigurationError,
    );
  });
});

describe('a mask', () => {
  it.each([
    ['a reference in the query', 'https://h/?page=1&x=${env:S}'],
    ['a reference in the path', 'https://h/${env:S}/users'],
    ['a password', 'https://user:${env:S}@h/'],
    ['a user', 'https://${env:S}@h/'],
  ])('hides %s, however it is written', (_, address) => {
    const letters = [...'abcXYZ0189!\'()*~-._ +%&=/?#:@"\\<>[]{}|^`$,;ü€😀'];
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...letters), minLength: 6 }), (secret) => {
        const { url, mask } = resolveRequest(address, undefined, { S: secret });
        const texts = [
          secret,
          encodeURIComponent(secret),
          new URLSearchParams({ q: secret }).toString().slice(2),
          url.href,
          decodeURIComponent(url.href),
          JSON.stringify({ said: secret }),
        ];
        for (const text of texts) {
          const shown = mask(`before ${text} after`);
          expect(shown).toContain('***');
          expect(shown).not.toContain(secret);
        }
      }),
    );
  });

  it.each([
    'api_key',
    'apikey',
    'access_token',
    'TOKEN',
    'client_secret',
    'password',
    'sig',
    'X-Amz-Signature',
    'auth',
    'X-Amz-Credential',
  ])('hides the query parameter %s, reference or not', (name) => {
    const { url, mask } = resolveRequest(`https://h/?page=12&${name}=hush`);
    expect(mask(url.href)).toBe(`https://h/?page=12&${name}=***`);
  });

  it('leaves a text alone that holds no secret', () => {
    const text = 'https://h/?page=12&significant=true';
    expect(resolveRequest(text).mask(text)).toBe(text);
  });

  it('hides a secret whole that holds another', () => {
    const { mask } = resolveRequest('https://h/?a=${env:A}&b=${env:B}', undefined, { A: 'abc', B: 'xabcx' });
    expect(mask('1 xabcx 2 abc 3')).toBe('1 *** 2 *** 3');
  });
});

describe('what tells one source from another', () => {
  it.each([
    ['http://127.0.0.1:5001/pagination/keyset', 'http://127.0.0.1:5001/pagination/keyset'],
    ['https://user:${env:P}@api.example.com/users', 'https://api.example.com/users'],
    ['https://${env:U}:${env:P}@api.example.com/users', 'https://api.example.com/users'],
    ['https://api.example.com/users/?key=${env:K}', 'https://api.example.com/users'],
    ['https://api.example.com/users#part', 'https://api.example.com/users'],
    ['https://api.example.com/', 'https://api.example.com'],
    ['https://api.example.com/u@v', 'https://api.example.com/u@v'],
    ['HTTPS://u@api.example.com/?a=/@b', 'HTTPS://api.example.com'],
  ])('of %s is %s', (baseUrl, identity) => {
    expect(sourceIdentity(baseUrl)).toBe(identity);
  });
});
