/** Secrets are hidden however they are written, at any length, in linear time; nothing that fails on the way shows them. */
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { serverOf, filesOf } from '../../src/destinations/location.js';
import { planFrom } from '../../src/config/index.js';
import { HttpSource } from '../../src/sources/http.js';
import { resolveRequest } from '../../src/sources/references.js';
import { MASK, Secrets } from '../../src/secrets/masking.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { runs } from '../helpers/long.js';
import { scratch } from '../helpers/harness.js';

const LONGEST = 64 * 1024;

/** Escapes of single characters. */
const ESCAPES: Record<string, (text: string) => string> = {
  plain: (text) => text,
  address: encodeURIComponent,
  'address in lower case': (text) => encodeURIComponent(text).replace(/%../g, (hex) => hex.toLowerCase()),
  'address as a whole': encodeURI,
  form: (text) => new URLSearchParams([['', text]]).toString().slice(1),
  JSON: (text) => JSON.stringify(text).slice(1, -1),
  'JSON in ASCII': (text) =>
    JSON.stringify(text)
      .slice(1, -1)
      .replace(/[^\x20-\x7e]|[<>&']/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`),
  'JSON with slashes': (text) => JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/'),
  HTML: (text) =>
    text.replace(
      /[&<>"']/g,
      (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] ?? '&#39;',
    ),
  'HTML in numbers': (text) => [...text].map((c) => `&#x${(c.codePointAt(0) ?? 0).toString(16)};`).join(''),
  JavaScript: (text) =>
    [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join(''),
};
/** Encodings of a secret as a whole, with something before and after it. */
const ENCODINGS: Record<string, (text: string, before: string) => string> = {
  base64: (text, before) => Buffer.from(before + text + before).toString('base64'),
  base64url: (text, before) => Buffer.from(before + text + before).toString('base64url'),
  hex: (text, before) => Buffer.from(before + text).toString('hex'),
  'hex in upper case': (text, before) =>
    Buffer.from(before + text)
      .toString('hex')
      .toUpperCase(),
};

const letters = [...'abcXYZ0189!\'()*~-._ +%&=/?#:@"\\<>[]{}|^`$,;\n\tü€😀'];
/** A text of so many characters, with none cut in half. */
const ofLength = (unit: string, length: number) =>
  Buffer.from(unit.repeat(Math.ceil(length / unit.length)).slice(0, length))
    .toString()
    .replaceAll('\ufffd', 'x');
const someLetters = (maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength });
const anySecret = fc.oneof(
  someLetters(40),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
  // Of any length; the shorter what is repeated, the more places look like the secret's beginning.
  fc
    .tuple(fc.oneof(someLetters(4), someLetters(4000)), fc.integer({ min: 41, max: LONGEST }))
    .map(([unit, length]) => ofLength(unit, length)),
);
const escapeNames = fc.array(fc.constantFrom(...Object.keys(ESCAPES)), { minLength: 1, maxLength: 3 });
const escaped = (names: readonly string[], text: string) =>
  names.reduce((all, name) => {
    const next = (ESCAPES[name] ?? String)(all);
    // Escapes of escapes may grow without end.
    return next.length > 16 * LONGEST ? all : next;
  }, text);

describe('the mask', () => {
  test('hides a secret of any length, however its characters are escaped, wherever it stands', () => {
    fc.assert(
      fc.property(anySecret, escapeNames, fc.string({ maxLength: 20 }), (secret, names, around) => {
        const written = escaped(names, secret);
        const shown = new Secrets([secret]).mask(`${around}${written}${around}`);
        expect(shown).toContain(MASK);
        if (written.length > 12) expect(shown).not.toContain(written);
        // All of it: what is left is what stood around it.
        expect(shown.length).toBeLessThanOrEqual(2 * around.length + 16);
      }),
      { numRuns: runs(150) },
    );
  }, 120_000);

  test('hides a secret in base64 and hexadecimal, also as a part of what is encoded, escaped in turn', () => {
    fc.assert(
      fc.property(
        anySecret.filter((secret) => Buffer.byteLength(secret) >= 8),
        fc.constantFrom(...Object.keys(ENCODINGS)),
        escapeNames,
        fc.constantFrom('', 'u', 'us', 'usr'),
        (secret, encoding, names, before) => {
          const written = (ENCODINGS[encoding] as (text: string, before: string) => string)(secret, before);
          const text = escaped(names, written);
          const shown = new Secrets([secret]).mask(text);
          expect(shown).toContain(MASK);
          // At most the letters of what is beside it, escaped.
          expect(shown.length).toBeLessThan(Math.max(200, (16 * text.length) / written.length));
        },
      ),
      { numRuns: runs(150) },
    );
  }, 120_000);

  test.each([1, 2, 3, 4, 5, 6, 7, 100, 3_400, 3_600, LONGEST])(
    'hides a secret of %i characters',
    (length) => {
      const secret = Array.from({ length }, (_, i) => letters[(i * 7 + (i % 11)) % 40]).join('');
      const secrets = new Secrets([secret]);
      for (const write of Object.values(ESCAPES)) {
        const shown = secrets.mask(`«${write(secret)}»`);
        expect(shown.replaceAll(MASK, '').length).toBeLessThanOrEqual(2);
      }
    },
  );

  test('takes time linear in the text, whatever text and secret look like', () => {
    const cases: [string, string][] = [
      ['a'.repeat(LONGEST), `${'a'.repeat(LONGEST - 1)}b`.repeat(8)],
      ['ab'.repeat(LONGEST / 2), 'ba'.repeat(4 * LONGEST)],
      ['a'.repeat(LONGEST), `${'%61'.repeat(LONGEST - 1)}b`],
      ['%25'.repeat(20_000), '%25'.repeat(80_000)],
      ['\\'.repeat(1_000), '\\'.repeat(50_000)],
      ['x&y', `&${'amp;'.repeat(100_000)}`],
    ];
    for (const [secret, text] of cases) {
      const from = performance.now();
      new Secrets([secret]).mask(text);
      expect(performance.now() - from, `${secret.slice(0, 6)}…`).toBeLessThan(15_000);
    }
  }, 120_000);

  test('hides the beginning of a secret where a text is cut in the middle of it', () => {
    const secret = `k3y/${'Zq9+'.repeat(20)}`;
    const secrets = new Secrets([secret]);
    for (const write of Object.values(ESCAPES)) {
      const written = write(secret);
      for (let length = Math.ceil(written.length / 2); length < written.length; length++)
        expect(secrets.mask(`body: ${written.slice(0, length)}`)).toBe(`body: ${MASK}`);
    }
  });

  test('hides the beginning of a secret where bytes are cut anywhere in it, characters in half', () => {
    const long = fc.string({ unit: fc.constantFrom(...letters), minLength: 30, maxLength: 200 });
    fc.assert(
      fc.property(
        long,
        fc.constantFrom(...Object.keys(ESCAPES)),
        fc.double({ min: 0.5, max: 1, noNaN: true }),
        (secret, name, part) => {
          const written = Buffer.from(escaped([name], secret));
          const length = Math.floor(written.length * part);
          const secrets = new Secrets([secret]);
          expect(secrets.mask(`body: ${written.subarray(0, length).toString('utf8')}`)).toBe(`body: ${MASK}`);
          const text = written.toString('utf8');
          expect(secrets.mask(`body: ${text.slice(0, Math.floor(text.length * part))}`)).toBe(
            `body: ${MASK}`,
          );
        },
      ),
      { numRuns: runs(300) },
    );
  });

  test('hides a secret in the name of a host, which is written in lower case', () => {
    const shown = new Secrets(['AbCdEfGhIjKlMnOp']).mask('on another host, abcdefghijklmnop.example.com');
    expect(shown).toBe(`on another host, ${MASK}.example.com`);
  });

  test('hides the beginning of a secret that a source quotes', () => {
    const secret = 'sk_live_4eC39HqLyjWDarjtT1zdp7dc';
    const secrets = new Secrets([secret]);
    for (const write of Object.values(ESCAPES))
      expect(secrets.mask(`no such key: "${write(secret.slice(0, 24))}…"`)).toBe(`no such key: "${MASK}…"`);
    expect(secrets.mask('keys begin with sk_live_ here')).toBe('keys begin with sk_live_ here');
  });

  test('shows nothing at all where a text cannot be searched', () => {
    const secrets = new Secrets(['hush-hush']);
    const broken = {
      length: 20,
      charAt: () => {
        throw new Error('hush-hush');
      },
    } as unknown as string;
    expect(secrets.mask(broken)).toBe(MASK);
    expect(secrets.holds(broken)).toBe(true);
  });

  test('finds a secret that repeats itself, of escapes too, in a text of the same kind', () => {
    const secrets = new Secrets(['\\'.repeat(4_000), '%25'.repeat(500), 'é&amp;'.repeat(300)]);
    expect(secrets.mask(`before ${'\\'.repeat(9_000)} after`)).toBe('before *** after');
    expect(secrets.mask(`before ${'%2525'.repeat(500)}|${'é&amp;'.repeat(400)} after`)).toBe(
      'before ***|*** after',
    );
  });

  test('leaves a text alone that holds no secret, escapes and all', () => {
    const text = '50% of &amp; \\u0041 %41+%zz \\x4 &#65 https://h/?page=12&significant=true';
    const secrets = new Secrets(['hush-hush', 'a secret of several words']);
    expect(secrets.mask(text)).toBe(text);
    expect(secrets.holds(text)).toBe(false);
  });

  test('forgets the oldest of those that pass, and no others', () => {
    const secrets = new Secrets(['lasting-secret']);
    for (let i = 0; i < 1_000; i++) secrets.addPassing(`signature-${String(i).padStart(4, '0')}`);
    expect(secrets.mask('signature-0999 signature-0744 lasting-secret')).toBe('*** *** ***');
    expect(secrets.mask('signature-0001')).toBe('signature-0001');
  });
});

/** Servers and hooks of a test, which end with it. */
async function served<T>(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  work: (port: number) => Promise<T>,
): Promise<T> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Every word of what a source of this configuration fails with. */
async function failureOf(stream: object, source: object, environment: NodeJS.ProcessEnv, hooks = 'hooks') {
  const plan = planFrom(
    {
      source,
      streams: [{ name: 's', strategy: 'offset', primary_key: ['id'], columns: { id: 'STRING' }, ...stream }],
    },
    null,
  );
  const resolved = resolveRequest(plan.baseUrl, plan.request, environment);
  const http = new HttpSource({
    ...{
      resolved,
      spec: plan.request,
      columns: ['id'],
      primaryKey: ['id'],
      cursorField: '',
      timeoutSeconds: 20,
      trust: TrustPolicy.local({ HIGHWATER_HOOKS: hooks }),
    },
  });
  const thrown = await http
    .read({ params: { offset: '0' } }, async () => {}, new AbortController().signal)
    .then(
      (page) => new Error(`was read: ${JSON.stringify(page)}`),
      (error: Error) => error,
    );
  return `${thrown.message} ${JSON.stringify(thrown)}`;
}

/** A text in every spelling. */
const spelled = (secret: string) => [
  ...Object.values(ESCAPES).map((write) => write(secret)),
  ...Object.values(ENCODINGS).map((write) => write(secret, '')),
];

function expectHidden(text: string, ...secrets: string[]): void {
  for (const secret of secrets) for (const written of spelled(secret)) expect(text).not.toContain(written);
}

describe('credentials that are made while a sync runs', () => {
  const say = (response: ServerResponse, secrets: string[], status = 403) =>
    response
      .writeHead(status, { 'content-type': 'text/plain' })
      .end(secrets.flatMap(spelled).join(' ').slice(0, 60_000));

  test('are hidden when a hook makes them, each word of a header by itself', async () => {
    const folder = await scratch();
    const mints = {
      signature: 'sig/Zq9+=~é1',
      token: 'minted.token/abc+def==',
      nonce: '0f9d2c7b-aa11-42d5-b0d1',
    };
    writeFileSync(
      folder.file('sign.mjs'),
      `export const sign = () => ({
        authorization: 'AWS4-HMAC-SHA256 Credential=${mints.token}, Signature=abcdef0123456789abcdef',
        'x-signature': encodeURIComponent('${mints.signature}'), 'x-nonce': '${mints.nonce}', date: 'Mon, 30 Nov 2026 00:00:00 GMT' });`,
    );
    const all = [mints.signature, mints.token, mints.nonce, 'abcdef0123456789abcdef'];
    const said = await served(
      (request, response) => say(response, [...all, String(request.headers.authorization), 'Mon, 30 Nov']),
      (port) =>
        failureOf(
          {},
          { base_url: `http://127.0.0.1:${port}/x`, auth: { type: 'signature', hook: 'sign', settings: {} } },
          {},
          folder.path,
        ),
    );
    await folder.remove();
    expect(said).toContain('403');
    expectHidden(said, ...all);
  });

  test('are hidden when a login answers them, the ones beside the token too', async () => {
    const [token, refresh] = ['sess-tok/Zq9+=~é1', 'refresh+one/Yy=='];
    const said = await served(
      (request, response) => {
        if (request.url === '/login')
          response.end(JSON.stringify({ data: { token, refresh_token: refresh, token_type: 'custom' } }));
        else say(response, [token, refresh]);
      },
      (port) =>
        failureOf(
          {},
          {
            base_url: `http://127.0.0.1:${port}/x`,
            auth: {
              type: 'session',
              login: { url: '/../login', body: { password: '${env:PASSWORD_OF_IT}' } },
              token: 'data.token',
            },
          },
          { PASSWORD_OF_IT: 'hunter22-hunter22' },
        ),
    );
    expect(said).toMatch(/40[13]/);
    expectHidden(said, token, refresh);
  });

  test('are hidden when an OAuth server answers them, with a failure too', async () => {
    const [access, refresh] = ['access/tok+Zq9==é1', 'refresh/two+Yy=='];
    for (const status of [200, 400]) {
      const said = await served(
        (request, response) => {
          if (request.url === '/token')
            response.writeHead(status).end(
              JSON.stringify({
                access_token: access,
                refresh_token: refresh,
                error: `no ${access} ${refresh}`,
              }),
            );
          else say(response, [access, refresh, String(request.headers.authorization)]);
        },
        (port) =>
          failureOf(
            {},
            {
              base_url: `http://127.0.0.1:${port}/x`,
              auth: {
                type: 'oauth2',
                token_url: `http://127.0.0.1:${port}/token`,
                client_id: 'me',
                client_secret: '${env:CLIENT_S}',
                client_auth: 'basic',
              },
            },
            { CLIENT_S: `client/secret+${status}` },
          ),
      );
      expect(said).toMatch(/40[03]/);
      expectHidden(said, access, refresh, `client/secret+${status}`);
    }
  });

  test.each([3_600, 30_000])('are hidden in the words of a source, at %i characters', async (length) => {
    const secret = Array.from({ length }, (_, i) => letters[(i * 7 + (i % 13)) % 30]).join('');
    for (const write of Object.values(ESCAPES)) {
      const said = await served(
        (_, response) => response.writeHead(400).end(`no: ${write(secret)}`),
        (port) =>
          failureOf(
            { method: 'POST', body: { password: '${env:LONG}' } },
            { base_url: `http://127.0.0.1:${port}/x` },
            { LONG: secret },
          ),
      );
      expect(said).toContain('400');
      expect(said.length).toBeLessThan(1_000);
      expect(said).not.toContain(write(secret).slice(0, 40));
    }
  });
});

describe('secrets in the address of a destination', () => {
  const env = { HW_USER: 'us€r+né', HW_PASSWORD: 'pa55/w:rd%@', HW_BUCKET: 'secret-bucket', HW_DB: 'hushdb' };

  test('are no part of its name', () => {
    const server = serverOf(
      'postgresql://${env:HW_USER}:${env:HW_PASSWORD}@127.0.0.1:1/${env:HW_DB}?sslpassword=${env:HW_PASSWORD}&application_name=x',
      env,
    );
    expect(server.name).toBe('postgresql://${env:HW_USER}@127.0.0.1:1/${env:HW_DB}?application_name=x');
    expect(new URL(server.url).pathname).toBe('/hushdb');
    expect(filesOf('s3://${env:HW_BUCKET}/lake', env).name).toBe('s3://${env:HW_BUCKET}/lake');
    for (const secret of Object.values(env)) expectHidden(server.name + server.beside, secret);
  });

  test('are hidden in the words of the server', () => {
    const { mask } = serverOf('postgresql://${env:HW_USER}:${env:HW_PASSWORD}@127.0.0.1:1/x', env);
    expect(mask(`password authentication failed for user "${env.HW_USER}"`)).toBe(
      'password authentication failed for user "***"',
    );
    expectHidden(mask(spelled(env.HW_PASSWORD).join(' ')), env.HW_PASSWORD);
  });

  test('are hidden where the whole address is one, its password and not the host', () => {
    const whole = `postgresql://u:${encodeURIComponent(env.HW_PASSWORD)}@db.internal/x`;
    const { name, mask } = serverOf('${env:HW_URL}', { HW_URL: whole });
    expect(name).toBe('postgresql://u@db.internal:5432/x');
    expectHidden(mask(`cannot use ${whole}: ${env.HW_PASSWORD}`), env.HW_PASSWORD, whole);
  });
});
