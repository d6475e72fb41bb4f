/** What a worker's owner allows, decided without a server: docs/security.md. */
import type { LookupAddress } from 'node:dns';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { requireDestination } from '../../src/destinations/allowed.js';
import { NotAllowedError } from '../../src/errors.js';
import { Network } from '../../src/trust/network.js';
import { resolveRequest } from '../../src/sources/references.js';
import { chosenTrust, TrustPolicy, type TrustOptions } from '../../src/trust/policy.js';

const none = (options: TrustOptions = {}, environment: NodeJS.ProcessEnv = {}, own: string | null = null) =>
  new TrustPolicy('none', options, environment, own);

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'highwater-trust-')));
  for (const name of ['secrets', 'data', 'hooks']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'secrets', 'token'), 'from a file\n');
  writeFileSync(join(folder, 'outside'), 'not for you');
  symlinkSync(join(folder, 'outside'), join(folder, 'secrets', 'link'));
  symlinkSync(join(folder, 'secrets'), join(folder, 'secrets-by-link'));
  symlinkSync(join(folder, 'data'), join(folder, 'data-by-link'));
  symlinkSync(join(folder, 'not-there-yet'), join(folder, 'data', 'dangling.duckdb'));
  symlinkSync(join(folder, 'outside'), join(folder, 'hooks', 'link.mjs'));
  writeFileSync(join(folder, 'hooks', 'own.mjs'), 'export const sign = () => ({});');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]) => join(folder, ...names);

describe('a worker trusts those who start workflows', () => {
  it.each(['127.0.0.1:7233', 'localhost:7233', '127.8.9.1:7233', '[::1]:7233', '::1', 'LOCALHOST:1'])(
    'while its Temporal server is on this machine: %s',
    (address) => expect(chosenTrust({}, address, {})).toBe('local'),
  );

  it.each([
    ...['temporal.example.com:7233', '10.0.0.5:7233', 'highwater.a1b2c.tmprl.cloud:7233', '0.0.0.0:7233'],
    ...['localhost.example.com:7233', '127.0.0.1.example.com:7233', '[::2]:7233', '169.254.1.1:7233'],
  ])('and not where that is somewhere else: %s', (address) =>
    expect(chosenTrust({}, address, {})).toBe('none'),
  );

  it('as its option says, else its environment, whatever the address', () => {
    expect(chosenTrust({}, '127.0.0.1:7233', { HIGHWATER_TRUST: 'none' })).toBe('none');
    expect(chosenTrust({}, 'example.com:7233', { HIGHWATER_TRUST: 'local' })).toBe('local');
    expect(chosenTrust({ trust: 'none' }, '127.0.0.1:7233', { HIGHWATER_TRUST: 'local' })).toBe('none');
    expect(chosenTrust({}, '127.0.0.1:7233', { HIGHWATER_TRUST: '' })).toBe('local');
    expect(() => chosenTrust({}, '127.0.0.1:7233', { HIGHWATER_TRUST: 'all' })).toThrow(
      'allowed: local, none',
    );
  });
});

describe('under none, environment variables', () => {
  const environment = { HW_TOKEN: 'a', HIGHWATER_PAYLOAD_KEY: 'b', AWS_SECRET_ACCESS_KEY: 'c' };
  const resolved = (name: string, trust: TrustPolicy) =>
    resolveRequest(`https://h/?x=\${env:${name}}`, undefined, environment, trust).url.searchParams.get('x');

  it('are read where they are listed', () => {
    expect(resolved('HW_TOKEN', none({ allowEnv: ['HW_*'] }))).toBe('a');
    expect(resolved('HW_TOKEN', none({}, { HIGHWATER_ALLOW_ENV: 'OTHER, HW_TOKEN' }))).toBe('a');
  });

  it('are refused elsewhere, in words that say which list and whose it is', () => {
    expect(() => resolved('AWS_SECRET_ACCESS_KEY', none({ allowEnv: ['HW_*'] }))).toThrow(
      'base_url: configurations on this worker may not use the environment variable AWS_SECRET_ACCESS_KEY. ' +
        "The worker's owner can allow it with --allow-env AWS_SECRET_ACCESS_KEY, or with HIGHWATER_ALLOW_ENV (docs/security.md).",
    );
    expect(() => resolved('HW_TOKEN', none())).toThrow(NotAllowedError);
    expect(() => resolved('AHW_TOKEN', none({ allowEnv: ['HW_*'] }))).toThrow(NotAllowedError);
  });

  it('are refused in the same words whether they are set or not', () => {
    const said = (name: string) => {
      try {
        return resolved(name, none());
      } catch (thrown) {
        return (thrown as Error).message.replaceAll(name, 'NAME');
      }
    };
    expect(said('NOT_SET_AT_ALL')).toBe(said('HIGHWATER_PAYLOAD_KEY'));
  });

  it('are named all at once', () => {
    expect(() =>
      resolveRequest('https://h/?x=${env:A}&y=${env:B}&z=${file:/etc/passwd}', undefined, {}, none()),
    ).toThrow(/may not use the environment variable A[^]*variable B[^]*file \/etc\/passwd/);
  });
});

describe('under none, files', () => {
  const read = (path: string, trust: TrustPolicy) =>
    resolveRequest(`https://h/?x=\${file:${path}}`, undefined, {}, trust).url.searchParams.get('x');
  const allowed = () => none({ allowFiles: [at('secrets')] });

  it('are read from a listed folder, by whatever path leads there', () => {
    expect(read(at('secrets', 'token'), allowed())).toBe('from a file');
    expect(read(at('secrets-by-link', 'token'), allowed())).toBe('from a file');
    expect(read(at('secrets', 'token'), none({ allowFiles: [at('secrets-by-link')] }))).toBe('from a file');
    expect(read(`${at('data')}/../secrets/token`, allowed())).toBe('from a file');
  });

  it('are read from the folder that HIGHWATER_SECRETS names, unless others are listed', () => {
    const environment = { HIGHWATER_SECRETS: at('secrets') };
    expect(read(at('secrets', 'token'), none({}, environment))).toBe('from a file');
    expect(() => read(at('secrets', 'token'), none({ allowFiles: [at('data')] }, environment))).toThrow(
      NotAllowedError,
    );
  });

  it.each([
    ['another folder', () => at('outside')],
    ['a way out by ..', () => `${at('secrets')}/../outside`],
    ['a link to another folder', () => at('secrets', 'link')],
    ['a folder whose name begins alike', () => at('secrets-by-link-not')],
    ['a file of the system', () => '/etc/passwd'],
    ['a pipe of the system', () => '/proc/self/environ'],
  ])('are refused by %s', (_, path) => {
    expect(() => read(path(), allowed())).toThrow(
      /configurations on this worker may not use.*--allow-files .*HIGHWATER_ALLOW_FILES/,
    );
  });

  it('are refused in the same words whether they are there or not', () => {
    const said = (path: string) => {
      try {
        return read(path, allowed());
      } catch (thrown) {
        return (thrown as Error).message.replaceAll(path, 'PATH');
      }
    };
    expect(said(at('outside'))).toBe(said(at('nowhere')));
  });

  it('that never end are not read under local either', () => {
    expect(() => read('/dev/zero', TrustPolicy.local({}))).toThrow('it is not a regular file');
  });
});

describe('under none, destinations', () => {
  const environment = { PG: 'hunter2' };
  const use = (destination: string, patterns: string[] = [], own: string | null = at('data', 'own.duckdb')) =>
    requireDestination(destination, environment, none({ allowDestinations: patterns }, environment, own));

  it("are the worker's own without being listed, by whatever path", () => {
    use(at('data', 'own.duckdb'));
    use(at('data-by-link', 'own.duckdb'));
    use('postgresql://hw:${env:PG}@db/hw', [], 'postgresql://hw:${env:PG}@db/hw');
  });

  it.each([
    ['/data/*.duckdb', '/data/a.duckdb'],
    ['/data/**', '/data/a/b/c.duckdb'],
    ['postgresql://hw@db.internal/*', 'postgresql://hw:x@db.internal:5432/one'],
    ['postgresql://*@db.internal/*?sslmode=require', 'postgresql://hw@db.internal/one?sslmode=require'],
    ['files:/lake/**', 'files:/lake/a/b?format=ndjson'],
    ['s3://bucket/team/**', 's3://bucket/team/a?format=ndjson&region=eu-central-1'],
    [
      's3://bucket/team?endpoint=https://s3.example.com',
      's3://bucket/team?endpoint=https%3A%2F%2Fs3.example.com',
    ],
  ])('are those that a pattern fits: %s, %s', (pattern, destination) => {
    expect(() => use(destination, [pattern])).not.toThrow();
  });

  it('are listed with links followed', () => {
    expect(() => use(at('data', 'x.duckdb'), [at('data-by-link', '*.duckdb')])).not.toThrow();
  });

  it.each([
    ['/data/*.duckdb', '/data/sub/a.duckdb'],
    ['/data/*.duckdb', '/data/../etc/a.duckdb'],
    ['/data/*.duckdb', '/data2/a.duckdb'],
    ['postgresql://hw@db.internal/*', 'postgresql://hw@db.internal/one?host=elsewhere.example.com'],
    ['postgresql://hw@db.internal/**', 'postgresql://hw@db.internal/one?host=elsewhere.example.com'],
    ['postgresql://hw@db.internal/*', 'postgresql://hw@elsewhere.example.com/one'],
    ['postgresql://hw@db.internal/*', 'postgresql://hw@db.internal:5433/one'],
    ['postgresql://*@db.internal/*', 'postgresql://x%40db.internal%2F@elsewhere/one'],
    ['files:/lake/**', 'files:/lake/../etc'],
    ['s3://bucket/team/**', 's3://bucket/team/../other'],
    ['s3://bucket/team/**', 's3://bucket/team/a?endpoint=https://elsewhere.example.com'],
    ['s3://bucket/team/**', 's3://bucket2/team/a'],
  ])('are refused where no pattern fits: %s, %s', (pattern, destination) => {
    expect(() => use(destination, [pattern])).toThrow(/--allow-destinations .*HIGHWATER_ALLOW_DESTINATIONS/);
  });

  it('are refused where a link leads out of the listed folder, even to what is not there yet', () => {
    expect(() => use(at('data', 'dangling.duckdb'), [at('data', '*.duckdb')])).toThrow(NotAllowedError);
  });

  it('are not shown with what references hold', () => {
    const trust = none({ allowEnv: ['PG'] }, environment);
    const refuse = () => requireDestination('postgresql://u@${env:PG}/db', environment, trust);
    expect(refuse).toThrow('${env:PG}');
    expect(refuse).not.toThrow('hunter2');
  });

  it('share no folder with hooks', () => {
    const trust = none({}, { HIGHWATER_HOOKS: at('hooks') });
    for (const path of [at('hooks'), at('hooks', 'x.duckdb'), folder])
      expect(() => trust.requireOutsideHooks(path, [path])).toThrow(
        "shares a folder with the worker's hooks",
      );
    expect(() => trust.requireOutsideHooks('x', [at('data', 'x.duckdb')])).not.toThrow();
  });
});

describe('under none, hooks', () => {
  const trust = () => none({}, { HIGHWATER_HOOKS: at('hooks') });

  it("come from the owner's folder", () => {
    expect(trust().requireHook('own')).toBe(at('hooks', 'own.mjs'));
  });

  it('are no links out of it, and nothing where no folder is named', () => {
    expect(() => trust().requireHook('link')).toThrow(/HIGHWATER_HOOKS/);
    expect(() => none().requireHook('own')).toThrow(/HIGHWATER_HOOKS/);
  });

  it.each(['../secrets/own', '/tmp/own', 'own.mjs', '..', ''])(
    'have names and no paths, under local too: %j',
    (name) => {
      expect(() => trust().requireHook(name)).toThrow('is not a valid name of a hook');
      expect(() => TrustPolicy.local({ HIGHWATER_HOOKS: at('hooks') }).requireHook(name)).toThrow(
        'is not a valid name of a hook',
      );
    },
  );
});

const PRIVATE = [
  ...['127.0.0.1', '127.255.1.2', '::1', '0.0.0.0', '::', '10.1.2.3', '172.16.0.1', '172.31.255.255'],
  ...[
    '192.168.1.1',
    '100.64.0.1',
    '169.254.1.1',
    'fe80::1',
    'fc00::1',
    'fd12:3456::1',
    '224.0.0.1',
    'ff02::1',
  ],
  ...[
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::127.0.0.1',
    '::7f00:1',
    '::a00:1',
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '2002:7f00:1::',
  ],
  ...['255.255.255.255', '240.0.0.1', '192.0.2.1', '198.18.0.1', '2001:db8::1', '2001::1'],
];
const METADATA = [
  ...['169.254.169.254', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', 'fd00:ec2::254', '100.100.100.200'],
  ...['64:ff9b::a9fe:a9fe', '::a9fe:a9fe', '169.254.170.2', '192.0.0.192', '168.63.129.16', 'fd20:ce::254'],
];
const METADATA_NAMES = ['metadata.google.internal', 'Metadata.Google.Internal.', 'metadata', 'instance-data'];

describe('under none, requests', () => {
  const ask = (host: string, address: string, allowHosts?: string[], port = 443) =>
    none(allowHosts === undefined ? {} : { allowHosts }).requireAddress(host, port, address);

  it.each(['93.184.216.34', '2606:4700::1111', '64:ff9b::5db8:d822', '172.32.0.1', '100.128.0.1'])(
    'go to public addresses: %s',
    (address) => expect(() => ask('api.example.com', address)).not.toThrow(),
  );

  it.each(PRIVATE)('go to no other: %s', (address) => {
    expect(() => ask('api.example.com', address)).toThrow(
      /may not use the host api.example.com:443, which has a .* address.*--allow-hosts public,api.example.com:443, or with HIGHWATER_ALLOW_HOSTS/,
    );
  });

  it("do not go to the worker's own machine by its public address", () => {
    const own = Object.values(networkInterfaces()).flatMap((found = []) => found);
    for (const { address } of own) expect(() => ask('x', address)).toThrow(NotAllowedError);
  });

  it.each([
    ['127.0.0.1', 'x', '127.0.0.1', 1],
    ['127.0.0.1:8080', 'x', '127.0.0.1', 8080],
    ['10.0.0.0/8', 'x', '10.200.1.1', 1],
    ['10.0.0.0/8', 'x', '::ffff:10.200.1.1', 1],
    ['fd00::/8', 'x', 'fd12::1', 1],
    ['[::1]:8080', 'x', '::1', 8080],
    ['::1', 'x', '::1', 1],
    ['erp.internal', 'ERP.internal.', '10.0.0.1', 1],
    ['*.internal:443', 'erp.internal', '10.0.0.1', 443],
    ['*', 'anything', '10.0.0.1', 443],
  ])('go where they are listed: %s', (entry, host, address, port) => {
    expect(() => ask(host, address, [entry], port)).not.toThrow();
  });

  it.each([
    ['127.0.0.1:8080', 'x', '127.0.0.1', 8081],
    ['10.0.0.0/8', 'x', '11.0.0.1', 1],
    ['*.internal', 'internal.example.com', '10.0.0.1', 1],
    ['erp.internal', 'erp.internal.example.com', '10.0.0.1', 1],
    ['erp.internal', 'api.example.com', '93.184.216.34', 1],
    ['10.0.0.0/8', 'api.example.com', '93.184.216.34', 1],
  ])(
    'go nowhere else, not even to public addresses that are not listed: %s, %s',
    (entry, host, address, port) => {
      expect(() => ask(host, address, [entry], port)).toThrow(NotAllowedError);
    },
  );

  it.each(['10.*', '127.0.0.*', '10.0.0.0/33', '10.0.0.0/x', 'https://h', 'h:99999', 'h/8', '', 'a b'])(
    'are not allowed by what names no host: %j',
    (entry) => expect(() => none({ allowHosts: [entry] })).toThrow('is not a host'),
  );
});

describe('headers that say where a request goes, or where it ends,', () => {
  it.each(['host', 'Content-Length', 'transfer-encoding', 'Connection', 'proxy-authorization', 'Expect'])(
    'are set by the connection alone: %s',
    async (name) => {
      const network = new Network(TrustPolicy.local());
      const sent = network.fetch(new URL('http://127.0.0.1:1/'), { headers: { [name]: '1' } });
      await expect(sent).rejects.toThrow(NotAllowedError);
      network.close();
    },
  );
});

describe('where a cloud gives a machine its credentials', () => {
  const both = (allowHosts: string[]) =>
    (['local', 'none'] as const).map((trust) => new TrustPolicy(trust, { allowHosts }, {}));

  it.each(METADATA)('no request goes under either trust: %s', (address) => {
    for (const trust of both(['public', '*', '169.254.0.0/16', '0.0.0.0/0', '::/0'])) {
      const host = address.includes(':') ? `[${address}]` : address;
      expect(() => trust.requireHost(host, 80)).toThrow(
        'where the cloud provides the credentials of this machine',
      );
      expect(() => trust.requireAddress('api.example.com', 80, address)).toThrow(NotAllowedError);
    }
  });

  it.each(METADATA_NAMES)('nor by a name: %s', (name) => {
    for (const trust of both(['*', 'public']))
      expect(() => trust.requireHost(name, 80)).toThrow(NotAllowedError);
  });

  it('requests go where exactly that is listed', () => {
    for (const trust of both(['169.254.169.254'])) {
      expect(() => trust.requireHost('169.254.169.254', 80)).not.toThrow();
      expect(() => trust.requireHost('fd00:ec2::254', 80)).toThrow(NotAllowedError);
    }
    for (const trust of both(['metadata.google.internal'])) {
      expect(() => trust.requireHost('metadata.google.internal', 80)).not.toThrow();
      expect(() => trust.requireAddress('metadata.google.internal', 80, '169.254.169.254')).not.toThrow();
      expect(() => trust.requireAddress('evil.example.com', 80, '169.254.169.254')).toThrow(NotAllowedError);
    }
  });

  it('no destination is reached either', () => {
    for (const trust of both(['*'])) {
      for (const destination of [
        's3://bucket/x?endpoint=http://169.254.169.254',
        's3://bucket/x?endpoint=http://metadata.google.internal:80',
        'postgresql://u@169.254.169.254:80/db',
      ])
        expect(() => requireDestination(destination, {}, trust)).toThrow(
          'where the cloud provides the credentials',
        );
    }
  });

  it('does not touch anything else under local', () => {
    const trust = TrustPolicy.local({});
    for (const address of PRIVATE) expect(() => trust.requireAddress('h', 80, address)).not.toThrow();
    expect(() => trust.requireVariable('ANY')).not.toThrow();
    expect(trust.requireFile('/etc/hostname')).toBe('/etc/hostname');
  });
});

describe('a connection', () => {
  const closing: (() => void)[] = [];
  afterEach(() => closing.splice(0).forEach((close) => close()));

  async function serverOn(address: string) {
    const server = createServer((_, response) => response.end('{}'));
    await new Promise<void>((listening) => server.listen(0, address, listening));
    closing.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  }

  /** A server of names that answers each question with the next of these. */
  function names(...answers: string[][]): { lookup: LookupFunction; asked: () => number } {
    let asked = 0;
    const lookup: LookupFunction = (_host, _options, callback) => {
      const found = answers[Math.min(asked++, answers.length - 1)] ?? [];
      callback(
        null,
        found.map((address): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    };
    return { lookup, asked: () => asked };
  }

  it('goes to the address that was checked: a name that changes its mind is refused', async () => {
    const port = await serverOn('127.0.0.2');
    // The first answer is allowed, the second one is where the attacker wants to get.
    const { lookup, asked } = names(['127.0.0.2'], ['127.0.0.1']);
    const network = new Network(none({ allowHosts: [`127.0.0.2:${port}`] }), lookup);
    const response = await network.fetch(new URL(`http://rebound.example.com:${port}/`), {});
    expect([response.status, asked()]).toEqual([200, 1]);
    await response.text();
    network.close();
    await expect(network.fetch(new URL(`http://rebound.example.com:${port}/`), {})).rejects.toThrow(
      /may not use the host rebound.example.com:\d+, which has a loopback address/,
    );
    network.close();
  });

  it('goes to none of the addresses of a name that are not allowed', async () => {
    const port = await serverOn('127.0.0.2');
    const { lookup } = names(['10.255.255.1', '127.0.0.2', '::1']);
    const network = new Network(none({ allowHosts: [`127.0.0.2:${port}`] }), lookup);
    const response = await network.fetch(new URL(`http://several.example.com:${port}/`), {});
    expect(response.status).toBe(200);
    await response.text();
    network.close();
  });

  it.each(['http', 'https'])('is refused over %s in the same words', async (scheme) => {
    const { lookup } = names(['::ffff:127.0.0.1']);
    const network = new Network(none(), lookup);
    await expect(network.fetch(new URL(`${scheme}://inside.example.com/`), {})).rejects.toMatchObject({
      name: 'NotAllowedError',
      message: expect.stringMatching(
        /may not use the host inside.example.com:\d+, which has a loopback address/,
      ) as string,
    });
  });

  it.each([
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f.0.0.1/',
    'http://[::ffff:127.0.0.1]/',
    'http://0/',
  ])('is refused however an address is written: %s', async (url) => {
    await expect(new Network(none()).fetch(new URL(url), {})).rejects.toThrow(NotAllowedError);
  });

  it('through a proxy is refused by the addresses that the name has here', async () => {
    const { lookup } = names(['10.0.0.1']);
    vi.stubEnv('http_proxy', 'http://127.0.0.1:1');
    vi.stubEnv('no_proxy', '');
    try {
      const network = new Network(none(), lookup);
      await expect(network.fetch(new URL('http://inside.example.com/'), {})).rejects.toThrow(NotAllowedError);
      await expect(network.fetch(new URL('http://127.0.0.1/'), {})).rejects.toThrow(NotAllowedError);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
