/** Secrets of Vault, AWS, Google, Azure and 1Password: read with the worker's own credentials, kept for a lease, masked as all others. */
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { sendNotice } from '../../src/activities/send-notice.js';
import type { Dependencies } from '../../src/activities/context.js';
import { plansFrom } from '../../src/config/index.js';
import { requireDestination } from '../../src/destinations/allowed.js';
import { findFiles, findServer } from '../../src/destinations/location.js';
import { ConfigurationError, NotAllowedError, SecretUnavailableError } from '../../src/errors.js';
import { loadLibrary } from '../../src/secrets/provider.js';
import { SecretStore } from '../../src/secrets/store.js';
import { NO_EXTENSIONS } from '../../src/extensions.js';
import { hookLimits, Hooks } from '../../src/hooks/hooks.js';
import { Budgets } from '../../src/sources/budget.js';
import { Network } from '../../src/trust/network.js';
import { referringParts, resolveRequest, sourceIdentity } from '../../src/sources/references.js';
import { sourceOf } from '../../src/sources/stream-source.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { highwater, scratch } from '../helpers/harness.js';
import { makeCertificates } from '../helpers/postgres.js';
import {
  AWS,
  awsLike,
  AZURE,
  azureLike,
  CONNECT_TOKEN,
  connectLike,
  gcpLike,
  serviceAccount,
  VAULT_TOKEN,
  vaultLike,
  type Provider,
} from '../helpers/providers.js';
import { ROOT_TOKEN, startVault, vaultBinary, type Vault } from '../helpers/vault.js';

const binary = await vaultBinary();
const folder = await scratch();
const untrusted = await makeCertificates(folder.path);
afterAll(() => folder.remove());

/** The value of a reference in a header, as a source's request has it. */
async function valueOf(
  reference: string,
  environment: NodeJS.ProcessEnv,
  { trust = TrustPolicy.local(environment), store = storeOf(environment) } = {},
): Promise<string> {
  const spec = { params: {}, headers: { x: reference }, auth: { type: 'none' as const } };
  const read = await store.read(referringParts('http://h/', spec), trust);
  const { headers } = resolveRequest('http://h/', spec, environment, trust, read);
  return headers['x']?.({ cursor: {}, parent: {} }) ?? '';
}

/** A store that ends with its test. */
function storeOf(environment: NodeJS.ProcessEnv, leaseSeconds?: number): SecretStore {
  const store = new SecretStore(environment, leaseSeconds);
  onTestFinished(() => store.close());
  return store;
}

/** Why a reference gives nothing. */
const problemOf = (reference: string, environment: NodeJS.ProcessEnv): Promise<string> =>
  valueOf(reference, environment).then(
    (value) => `gave ${value}`,
    (thrown: unknown) => {
      expect(thrown).toBeInstanceOf(ConfigurationError);
      return (thrown as ConfigurationError).problems
        .map(({ path, message }) => `${path} ${message}`)
        .join('\n');
    },
  );

describe.skipIf(!('path' in binary))(
  `a Vault server${'reason' in binary ? ` (skipped: ${binary.reason})` : ''}`,
  () => {
    let vault: Vault;
    let env: NodeJS.ProcessEnv;

    beforeAll(async () => {
      vault = await startVault('path' in binary ? binary.path : '');
      const { ask } = vault;
      await ask('POST', 'secret/data/highwater/api', {
        data: { token: 'tok/one+1', 'with space': 'b', port: 8080 },
      });
      await ask('POST', 'secret/data/highwater/ä b', { data: { x: 'umlaut' } });
      await ask('POST', 'secret/data/other', { data: { token: 'not ours' } });
      await ask('POST', 'secret/data/gone', { data: { token: 'x' } });
      await ask('DELETE', 'secret/data/gone');
      await ask('POST', 'sys/mounts/kv', { type: 'kv', options: { version: '1' } });
      await ask('POST', 'kv/old', { token: 'tok-of-v1' });
      const policy = 'path "secret/data/highwater/*" { capabilities = ["read"] }';
      await ask('PUT', 'sys/policies/acl/highwater', { policy });
      await ask('POST', 'sys/auth/approle', { type: 'approle' });
      await ask('POST', 'auth/approle/role/highwater', { token_policies: ['highwater'] });
      env = { VAULT_ADDR: vault.url, VAULT_TOKEN: ROOT_TOKEN };
    });
    afterAll(() => vault.stop());

    const signIn = async (): Promise<NodeJS.ProcessEnv> => {
      const role = (await vault.ask('GET', 'auth/approle/role/highwater/role-id')) as {
        data: { role_id: string };
      };
      const made = await vault.ask('POST', 'auth/approle/role/highwater/secret-id', {});
      return {
        VAULT_ADDR: vault.url,
        VAULT_ROLE_ID: role.data.role_id,
        VAULT_SECRET_ID: (made as { data: { secret_id: string } }).data.secret_id,
      };
    };

    test.each([
      ['${vault:secret/data/highwater/api#token}', 'tok/one+1'],
      ['${vault:secret/data/highwater/api#with space}', 'b'],
      [
        'Bearer ${vault:secret/data/highwater/api#token} ${vault:secret/data/highwater/api#port}',
        'Bearer tok/one+1 8080',
      ],
      ['${vault:secret/data/highwater/ä b#x}', 'umlaut'],
      ['${vault:kv/old#token}', 'tok-of-v1'],
    ])('gives fields of both versions of its key/value engine: %s', async (reference, value) => {
      expect(await valueOf(reference, env)).toBe(value);
    });

    test.each([
      [
        '${vault:secret/data/none#token}',
        /^headers\.x refers to the secret vault:secret\/data\/none, which is not in Vault$/,
      ],
      ['${vault:secret/highwater/api#token}', /is not in Vault under that path: .* "data" follows the mount/],
      ['${vault:secret/data/gone#token}', /is not in Vault any more: its latest version was deleted/],
      ['${vault:nothing/here#token}', /is not in Vault: .*no handler for route/],
      ['${vault:secret/data/highwater/api#tokn}', /has no field "tokn"/],
    ])('says why there is none: %s', async (reference, words) => {
      expect(await problemOf(reference, env)).toMatch(words);
    });

    test('lets in a worker by its AppRole, which reads what its policy says', async () => {
      const role = await signIn();
      const store = storeOf(role, 0);
      const token = '${vault:secret/data/highwater/api#token}';
      expect(await valueOf(token, role, { store })).toBe('tok/one+1');
      expect(await problemOf('${vault:secret/data/other#token}', role)).toMatch(
        /may not be read with this worker's Vault token/,
      );
      const accessors = (await vault.ask('LIST', 'auth/token/accessors')) as { data: { keys: string[] } };
      // The token that the store holds is among those that are revoked.
      for (const accessor of accessors.data.keys) {
        const about = await vault.ask('POST', 'auth/token/lookup-accessor', { accessor });
        if ((about as { data: { path: string } }).data.path === 'auth/approle/login')
          await vault.ask('POST', 'auth/token/revoke-accessor', { accessor });
      }
      expect(await valueOf(token, role, { store })).toBe('tok/one+1');
      expect(await problemOf(token, { ...role, VAULT_SECRET_ID: 'other' })).toMatch(
        /Vault rejects this worker's VAULT_ROLE_ID and VAULT_SECRET_ID \(400\)/,
      );
    });

    test('lets in a worker by the token in a file, which an agent may replace', async () => {
      const file = folder.file('vault-token');
      const environment = { VAULT_ADDR: vault.url, VAULT_TOKEN_FILE: file, HOME: folder.path };
      const token = '${vault:secret/data/highwater/api#token}';
      expect(await problemOf(token, environment)).toMatch(/has no Vault token: set VAULT_TOKEN,/);
      writeFileSync(file, 'stale\n');
      expect(await problemOf(token, environment)).toMatch(/Vault token: the token has expired/);
      writeFileSync(file, `${ROOT_TOKEN}\n`);
      expect(await valueOf(token, environment)).toBe('tok/one+1');
    });

    test('gives a command what a configuration refers to, and no message shows it', async () => {
      const secret = 'preview/secret+7Q==';
      await vault.ask('POST', 'secret/data/highwater/preview', { data: { token: secret } });
      const answers = [200, 403];
      const api = await startApi((request, respond) => {
        const isKnown = request.headers.authorization === `Bearer ${secret}`;
        respond(isKnown ? (answers.shift() ?? 500) : 401, { data: [{ id: '1' }], said: secret });
      });
      const file = folder.file('vault.json');
      writeFileSync(file, JSON.stringify(configuration(api, '${vault:secret/data/highwater/preview#token}')));
      const [shown, refused] = [
        await highwater(['preview', file, '--limit', '1'], { env }),
        await highwater(['preview', file, '--limit', '1'], { env }),
      ];
      expect(shown).toMatchObject({ status: 0, stdout: expect.stringContaining('1') as string });
      expect(refused).toMatchObject({ status: 1, stderr: expect.stringMatching(/403.*\*\*\*/s) as string });
      expect(refused.stdout + refused.stderr).not.toContain(secret);
    });
  },
);

/** A source of single requests. */
async function startApi(
  answer: (request: IncomingMessage, respond: (status: number, body: unknown) => void, body: string) => void,
): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () =>
      answer(
        request,
        (status, body) =>
          response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
        Buffer.concat(chunks).toString(),
      ),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const configuration = (api: string, token: string) => ({
  source: { base_url: api, auth: { type: 'bearer', token } },
  streams: [
    {
      ...{ name: 's', strategy: 'offset', path: '/list', primary_key: ['id'], columns: { id: 'STRING' } },
      records: 'data',
    },
  ],
});

/** Reads the first page of a configuration as a worker would. */
async function readPage(raw: object, environment: NodeJS.ProcessEnv, store: SecretStore) {
  const [plan] = plansFrom(raw).plans;
  if (plan === undefined) throw new Error('there is no stream');
  const trust = TrustPolicy.local(environment);
  const network = new Network(trust);
  const hooks = new Hooks(trust, hookLimits(environment));
  onTestFinished(() => network.close());
  const source = await sourceOf(
    plan,
    { environment, trust, network, secrets: store, budgets: new Budgets(), hooks, extensions: NO_EXTENSIONS },
    null,
  );
  const read = () => source.read({ params: { offset: '0' } }, async () => {}, new AbortController().signal);
  return { source, read };
}

describe('a secret of Vault', () => {
  let vault: Provider;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    vault = await vaultLike();
    env = { VAULT_ADDR: `${vault.url}/`, VAULT_TOKEN, VAULT_NAMESPACE: 'team' };
  });
  beforeEach(() => {
    vault.failsWith = null;
    vault.asked.length = 0;
    vault.secrets.clear();
    vault.secrets.set('kv/api', { data: { token: 'first-token/1', user: 'me' } });
  });
  afterAll(() => vault.stop());
  const TOKEN = '${vault:kv/api#token}';

  test('is read once for all that refer to it, and again when its lease ends', async () => {
    const store = storeOf(env, 0.2);
    const both = await Promise.all([
      valueOf(`${TOKEN} \${vault:kv/api#user}`, env, { store }),
      valueOf(TOKEN, env, { store }),
    ]);
    expect(both).toEqual(['first-token/1 me', 'first-token/1']);
    expect(vault.asked).toEqual(['kv/api']);
    vault.secrets.set('kv/api', { data: { token: 'second-token/2' } });
    expect(await valueOf(TOKEN, env, { store })).toBe('first-token/1');
    await vi.waitFor(async () => expect(await valueOf(TOKEN, env, { store })).toBe('second-token/2'));
  });

  test('is kept for the lease that Vault gives it', async () => {
    vault.secrets.set('database/creds/ro', { data: { username: 'u1' }, lease: 1 });
    vault.secrets.set('database/creds/rw', { data: { username: 'u1' }, lease: 3600 });
    const store = storeOf(env, 0);
    const user = (role: string) => valueOf(`\${vault:database/creds/${role}#username}`, env, { store });
    expect([await user('ro'), await user('rw')]).toEqual(['u1', 'u1']);
    for (const role of ['ro', 'rw'])
      vault.secrets.set(`database/creds/${role}`, { data: { username: 'u2' }, lease: 60 });
    expect([await user('ro'), await user('rw')]).toEqual(['u1', 'u1']);
    await vi.waitFor(async () => expect(await user('ro')).toBe('u2'), { timeout: 5000 });
    expect(await user('rw')).toBe('u1');
  });

  test.each([500, 503, 429, 307])('is waited for while Vault answers %i', async (status) => {
    vault.failsWith = status;
    const thrown = await valueOf(TOKEN, env).catch((one: unknown) => one);
    expect(thrown).toBeInstanceOf(SecretUnavailableError);
    expect(thrown).toMatchObject({
      message: expect.stringMatching(
        `^the secret vault:kv/api cannot be read now: Vault answered ${status}`,
      ) as string,
    });
  });

  test('is waited for while Vault cannot be reached', async () => {
    const away = { ...env, VAULT_ADDR: 'http://127.0.0.1:1' };
    await expect(valueOf(TOKEN, away)).rejects.toThrow(
      /cannot be read now: Vault is unreachable: ECONNREFUSED/,
    );
  });

  test.each([
    [{ VAULT_ADDR: '' }, /^headers\.x refers to the secret vault:kv\/api, which .*VAULT_ADDR is not set/],
    [{ VAULT_ADDR: 'vault.internal' }, /VAULT_ADDR does not begin with/],
    [{ VAULT_NAMESPACE: 'other' }, /may not be read with this worker's Vault token/],
  ])('is missed where the worker is not set up for it: %j', async (more, words) => {
    expect(await problemOf(TOKEN, { ...env, ...more })).toMatch(words);
  });

  test('is named with all others that cannot be had', async () => {
    const said = await problemOf('${vault:kv/none#a} ${vault:kv/api#none} ${env:NOT_SET}', env);
    expect(said.split('\n')).toEqual([
      'headers.x refers to the secret vault:kv/none, which is not in Vault',
      'headers.x refers to the secret vault:kv/api, which has no field "none"',
      'headers.x refers to the environment variable NOT_SET, which is not set in the environment of this command',
    ]);
  });

  test('is no reference to another secret when it looks like one', async () => {
    vault.secrets.set('kv/api', { data: { token: '${vault:kv/other#token}' } });
    expect(await valueOf(TOKEN, env)).toBe('${vault:kv/other#token}');
    expect(vault.asked).toEqual(['kv/api']);
  });

  test('has no part in what tells one source from another, but its path does', () => {
    expect(sourceIdentity('https://u:${vault:a/b#p}@h/x?y=1')).toBe('https://h/x');
    expect(sourceIdentity('https://${vault:a/b#host}/x/?y=${vault:c/d#e}')).toBe(
      'https://${vault:a/b#host}/x',
    );
  });

  describe('that its source refuses (401)', () => {
    /** Lets in those who have the newest token, and says theirs to all others. */
    const guarded = (accepted: () => string, counts: string[] = []) =>
      startApi((request, respond) => {
        const sent = String(request.headers.authorization);
        counts.push(sent);
        if (sent === `Bearer ${accepted()}`) respond(200, { data: [] });
        else respond(401, { message: `expired: ${sent}, first-token/1` });
      });

    test('is read anew, once for all requests, and the request is made again', async () => {
      const counts: string[] = [];
      const api = await guarded(() => 'second-token/2', counts);
      const { read } = await readPage(configuration(api, TOKEN), env, storeOf(env));
      vault.secrets.set('kv/api', { data: { token: 'second-token/2' } });
      await Promise.all([read(), read(), read()]);
      expect(vault.asked).toEqual(['kv/api', 'kv/api']);
      await read();
      expect(counts.filter((one) => one.includes('second'))).toHaveLength(4);
      expect(counts.length).toBeLessThanOrEqual(7);
    });

    test('is not sent again where Vault has no other, and the refusal is told', async () => {
      const counts: string[] = [];
      const api = await guarded(() => 'never', counts);
      const { read } = await readPage(configuration(api, TOKEN), env, storeOf(env));
      await expect(read()).rejects.toThrow(/401 Unauthorized: .*expired: Bearer \*\*\*/);
      expect(counts).toHaveLength(1);
      expect(vault.asked).toHaveLength(2);
    });

    test('stays masked when another has taken its place', async () => {
      const api = await guarded(() => 'never');
      const { read } = await readPage(configuration(api, TOKEN), env, storeOf(env));
      vault.secrets.set('kv/api', { data: { token: 'second-token/2' } });
      const thrown = await read().catch((one: Error) => one);
      expect(String(thrown)).toMatch(/expired: Bearer \*\*\*, \*\*\*/);
      expect(JSON.stringify(thrown) + String(thrown)).not.toMatch(/first-token|second-token/);
    });

    test('is read anew when a login by it is refused', async () => {
      let password = 'first-token/1';
      const api = await startApi((request, respond, body) => {
        if (request.url === '/login')
          respond((JSON.parse(body) as { p: string }).p === password ? 200 : 403, {
            token: `session-of-${password}`,
          });
        else
          respond(request.headers.authorization === `Bearer session-of-${password}` ? 200 : 401, {
            data: [],
          });
      });
      const raw = configuration(api, '');
      const auth = { type: 'session', login: { url: '/login', body: { p: TOKEN } }, token: 'token' };
      const { read } = await readPage({ ...raw, source: { base_url: api, auth } }, env, storeOf(env));
      await read();
      password = 'second-token/2';
      vault.secrets.set('kv/api', { data: { token: password } });
      // The session is refused, then the login, and then the new password lets in.
      await read();
      expect(vault.asked).toHaveLength(2);
    });

    test('is read anew for the webhook that it is the address of', async () => {
      const gone = await startApi((_, respond) => respond(404, {}));
      let notices = 0;
      const hook = await startApi((_, respond) => {
        notices++;
        respond(200, {});
      });
      vault.secrets.set('kv/hook', { data: { url: gone } });
      const store = storeOf(env);
      const trust = TrustPolicy.local(env);
      await store.read('${vault:kv/hook#url}', trust);
      vault.secrets.set('kv/hook', { data: { url: hook } });
      const network = new Network(trust);
      onTestFinished(() => network.close());
      const send = sendNotice({ environment: env, trust, network, secrets: store } as Dependencies);
      const notice = {
        ...{ event: 'lag', status: 'running', message: 'late', since: 'now', stream: 's' },
        nextTry: null,
      };
      const input = { url: '${vault:kv/hook#url}', notice: { ...notice, lagSeconds: 1 } };
      await new MockActivityEnvironment().run(send, input as unknown as Parameters<typeof send>[0]);
      expect(notices).toBe(1);
    });
  });

  test('may stand in the address of a destination, and is no part of its name', async () => {
    vault.secrets.set('kv/pg', { data: { password: 'pa55/w:rd%@', url: 'postgresql://u:pa55word@h/db' } });
    const server = await findServer('postgresql://u:${vault:kv/pg#password}@127.0.0.1:1/x', env);
    expect(new URL(server.url).password).toBe(encodeURIComponent('pa55/w:rd%@'));
    expect(server.name).toBe('postgresql://u@127.0.0.1:1/x');
    expect(server.mask('no: pa55/w:rd%@')).toBe('no: ***');
    expect((await findServer('${vault:kv/pg#url}', env)).name).toBe('postgresql://u@h:5432/db');
    vault.secrets.set('kv/s3', { data: { bucket: 'hush-bucket' } });
    const files = await findFiles('s3://${vault:kv/s3#bucket}/lake', env);
    expect(files).toMatchObject({
      name: 's3://${vault:kv/s3#bucket}/lake',
      address: { at: { bucket: 'hush-bucket' } },
    });
  });

  describe('under --trust none', () => {
    const none = (allowSecrets: string[] | undefined, environment: NodeJS.ProcessEnv = env) =>
      new TrustPolicy('none', allowSecrets === undefined ? {} : { allowSecrets }, environment);

    test.each([
      ['by its path', ['vault:kv/api']],
      ['by a pattern', ['vault:kv/*']],
      ['by one over several parts', ['aws-sm:x', 'vault:**']],
    ])('is read where it is listed %s', async (_, allowed) => {
      expect(await valueOf(TOKEN, env, { trust: none(allowed) })).toBe('first-token/1');
      expect(
        await valueOf(TOKEN, env, {
          trust: none(undefined, { HIGHWATER_ALLOW_SECRETS: allowed.join(', ') }),
        }),
      ).toBe('first-token/1');
    });

    test.each([[undefined], [['vault:kv/api2']], [['aws-sm:kv/api']], [['vault:*']], [['vault:KV/api']]])(
      'is refused where it is not, and Vault is not asked: %j',
      async (allowed) => {
        const refusal = valueOf(TOKEN, env, { trust: none(allowed) });
        await expect(refusal).rejects.toThrow(NotAllowedError);
        await expect(refusal).rejects.toThrow(
          'headers.x: configurations on this worker may not use the secret vault:kv/api. ' +
            "The worker's owner can allow it with --allow-secrets vault:kv/api, or with HIGHWATER_ALLOW_SECRETS (docs/security.md).",
        );
        expect(vault.asked).toEqual([]);
      },
    );

    test.each(['kv/x/../api', './kv/api', 'kv/..', '../v1/kv/api'])(
      'cannot be reached by a path that leads elsewhere: %s',
      (path) => {
        const raw = configuration('http://h', `\${vault:${path}#token}`);
        expect(() => plansFrom(raw)).toThrow(
          /incomplete reference \$\{vault:…\}; write \$\{vault:PATH#FIELD\}/,
        );
      },
    );

    test('is asked for by its name alone, whatever is written there', async () => {
      await problemOf('${vault:kv/%2e%2e/api?x=1&list=true#token}', env);
      expect(vault.asked).toEqual(['kv/%2e%2e/api?x=1&list=true']);
    });

    test('is refused in the address of a destination too', async () => {
      const trust = none(['vault:kv/other']);
      const read = await storeOf(env).read('postgresql://u:${vault:kv/api#token}@h/d', trust);
      expect(() => requireDestination('postgresql://u:${vault:kv/api#token}@h/d', env, trust, read)).toThrow(
        'destination: configurations on this worker may not use the secret vault:kv/api',
      );
      expect(vault.asked).toEqual([]);
    });
  });
});

describe('a secret of AWS Secrets Manager', () => {
  let aws: Provider;
  beforeAll(async () => {
    aws = await awsLike();
    aws.secrets.set('highwater/api', { SecretString: '{"token":"aws/tok+1","n":5}' });
    aws.secrets.set('plain', { SecretString: 'aws-plain\n' });
    aws.secrets.set('binary', { SecretBinary: Buffer.from('aws-binary').toString('base64') });
    const arn = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:highwater/api-AbCdEf';
    aws.secrets.set(arn, { SecretString: 'by-arn' });
  });
  beforeEach(() => {
    aws.failsWith = null;
    vi.stubEnv('AWS_ENDPOINT_URL_SECRETS_MANAGER', aws.url);
    vi.stubEnv('AWS_REGION', AWS.region);
    vi.stubEnv('AWS_ACCESS_KEY_ID', AWS.id);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', AWS.secret);
    vi.stubEnv('AWS_SESSION_TOKEN', AWS.session);
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    onTestFinished(() => void vi.unstubAllEnvs());
  });
  afterAll(() => aws.stop());

  test.each([
    ['${aws-sm:plain}', 'aws-plain'],
    ['${aws-sm:highwater/api#token}', 'aws/tok+1'],
    ['${aws-sm:highwater/api#n}', '5'],
    ['${aws-sm:highwater/api}', '{"token":"aws/tok+1","n":5}'],
    ['${aws-sm:binary}', 'aws-binary'],
    ['${aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:highwater/api-AbCdEf}', 'by-arn'],
  ])('is asked for with a signature, and gives %s', async (reference, value) => {
    expect(await valueOf(reference, process.env)).toBe(value);
    expect(aws.refused).toEqual([]);
  });

  test.each([
    ['${aws-sm:none}', /^headers\.x refers to the secret aws-sm:none, which is not in AWS Secrets Manager$/],
    ['${aws-sm:denied}', /may not be read .* AccessDeniedException: User: .* is not authorized/],
    ['${aws-sm:highwater/api#no}', /has no field "no"/],
    ['${aws-sm:plain#token}', /is not JSON, so it has no fields/],
  ])('says why there is none: %s', async (reference, words) => {
    expect(await problemOf(reference, process.env)).toMatch(words);
  });

  test('is not given to another key', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'another+key');
    expect(await problemOf('${aws-sm:plain}', process.env)).toMatch(
      /may not be read .* InvalidSignatureException/,
    );
    expect(aws.refused.splice(0)).toEqual(['the signature']);
  });

  test('is missed where the worker has no credentials, and waited for while AWS is away', async () => {
    aws.failsWith = 503;
    await expect(valueOf('${aws-sm:plain}', process.env)).rejects.toThrow(SecretUnavailableError);
    vi.stubEnv('AWS_ENDPOINT_URL_SECRETS_MANAGER', 'http://127.0.0.1:1');
    await expect(valueOf('${aws-sm:plain}', process.env)).rejects.toThrow(
      /AWS Secrets Manager is unreachable: ECONNREFUSED/,
    );
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
      vi.stubEnv(name, undefined);
    vi.stubEnv('HOME', folder.path);
    expect(await problemOf('${aws-sm:plain}', process.env)).toMatch(/has no AWS credentials or region/);
  });
});

describe('a secret of Google Secret Manager', () => {
  let google: Provider;
  const { account, publicKey, email } = serviceAccount('http://127.0.0.1:1/token');
  beforeAll(async () => {
    google = await gcpLike(publicKey, email);
    writeFileSync(folder.file('account.json'), JSON.stringify(account));
    google.secrets.set('projects/p-1/secrets/api/versions/latest', '{"token":"gcp/tok+1"}');
    google.secrets.set('projects/p-1/secrets/api/versions/3', 'gcp-third');
    google.secrets.set('projects/project-of-key/secrets/api/versions/latest', 'gcp-of-key');
    google.secrets.set('projects/from-env/secrets/api/versions/2', 'gcp-from-env');
  });
  const env = () => ({ CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER: `${google.url}/` });
  beforeEach(() => {
    google.failsWith = null;
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', folder.file('account.json'));
    vi.stubEnv('GOOGLE_CLOUD_PROJECT', undefined);
    onTestFinished(() => void vi.unstubAllEnvs());
  });
  afterAll(() => google.stop());

  test.each([
    ['${gcp-sm:projects/p-1/secrets/api}', '{"token":"gcp/tok+1"}'],
    ['${gcp-sm:projects/p-1/secrets/api#token}', 'gcp/tok+1'],
    ['${gcp-sm:projects/p-1/secrets/api@3}', 'gcp-third'],
    ['${gcp-sm:api}', 'gcp-of-key'],
  ])('is asked for with a token that the account has signed, and gives %s', async (reference, value) => {
    expect(await valueOf(reference, env())).toBe(value);
    expect(google.refused).toEqual([]);
  });

  test('is one of the project that the environment names', async () => {
    expect(await valueOf('${gcp-sm:api@2}', { ...env(), GOOGLE_CLOUD_PROJECT: 'from-env' })).toBe(
      'gcp-from-env',
    );
  });

  test.each([
    [
      '${gcp-sm:projects/p-1/secrets/none}',
      /^headers\.x refers to the secret gcp-sm:projects\/p-1\/secrets\/none, which is not in Google/,
    ],
    [
      '${gcp-sm:projects/denied/secrets/x}',
      /may not be read .*\(403\): Permission 'secretmanager\.versions\.access' denied/,
    ],
  ])('says why there is none: %s', async (reference, words) => {
    expect(await problemOf(reference, env())).toMatch(words);
  });

  test('is not given to another key', async () => {
    const other = { ...account, private_key: serviceAccount('').account.private_key };
    writeFileSync(folder.file('other.json'), JSON.stringify(other));
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', folder.file('other.json'));
    expect(await problemOf('${gcp-sm:projects/p-1/secrets/api}', env())).toMatch(
      /may not be read .*\(401\): the signature/,
    );
    expect(google.refused.splice(0)).toEqual(['the signature']);
  });

  test('is missed where the worker has no credentials, and waited for while Google is away', async () => {
    google.failsWith = 500;
    await expect(valueOf('${gcp-sm:api}', env())).rejects.toThrow(/Google Secret Manager answered 500/);
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', folder.file('none.json'));
    expect(await problemOf('${gcp-sm:api}', env())).toMatch(/has no Google credentials/);
  });
});

describe.skipIf(untrusted !== null)(`a secret of Azure Key Vault${untrusted ?? ''}`, () => {
  let azure: Provider;
  beforeAll(async () => {
    azure = await azureLike(folder.path);
    azure.secrets.set('team-vault/secrets/api-token', 'azure/tok+1');
    azure.secrets.set('team-vault/secrets/api-token/0123abc', 'azure-old');
  });
  afterAll(() => azure.stop());

  let previews = 0;
  /** Runs a command, whose process trusts the server's certificate. */
  async function preview(token: string, more: NodeJS.ProcessEnv = {}) {
    const sent: string[] = [];
    const api = await startApi((request, respond) => {
      sent.push(String(request.headers.authorization));
      respond(200, { data: [{ id: '1' }] });
    });
    const file = folder.file(`azure-${previews++}.json`);
    writeFileSync(file, JSON.stringify(configuration(api, token)));
    const { stderr } = await highwater(['preview', file, '--limit', '1'], {
      env: {
        AZURE_AUTHORITY_HOST: azure.url,
        AZURE_TENANT_ID: AZURE.tenant,
        AZURE_CLIENT_ID: AZURE.client,
        AZURE_CLIENT_SECRET: AZURE.secret,
        HIGHWATER_AZURE_KEY_VAULT_URL: `${azure.url}/{vault}`,
        NODE_EXTRA_CA_CERTS: folder.file('ca.pem'),
        ...more,
      },
    });
    return { stderr, sent };
  }

  test('is asked for with a token of the client', async () => {
    const { sent, stderr } = await preview(
      '${azure-kv:team-vault/api-token}-${azure-kv:team-vault/api-token@0123abc}',
    );
    expect({ sent, stderr }).toMatchObject({ sent: ['Bearer azure/tok+1-azure-old'] });
  });

  test('says why there is none, and is waited for while Azure is away', async () => {
    const [away, none, refused] = await Promise.all([
      preview('${azure-kv:team-vault/api-token}', { AZURE_AUTHORITY_HOST: 'https://127.0.0.1:1' }),
      preview('${azure-kv:team-vault/none}'),
      preview('${azure-kv:team-vault/api-token}', { AZURE_CLIENT_SECRET: 'not/it+9' }),
    ]);
    expect(away.stderr).toMatch(/cannot be read now: Azure's credential server is unreachable/);
    expect(none.stderr).toMatch(
      /auth\.token: refers to the secret azure-kv:team-vault\/none, which is not in Azure/,
    );
    expect(refused.stderr).toMatch(/has no Azure credentials: .*AADSTS7000215/s);
    expect(refused.stderr).not.toContain('not/it+9');
  });
});

describe('a secret of 1Password', () => {
  let connect: Provider;
  let env: NodeJS.ProcessEnv;
  const id = 'itemitemitemitemitemitem01';
  beforeAll(async () => {
    connect = await connectLike();
    env = { OP_CONNECT_HOST: connect.url, OP_CONNECT_TOKEN: CONNECT_TOKEN };
    connect.secrets.set('An API & more', {
      id,
      sections: [{ id: 'S1', label: 'extra' }],
      fields: [
        { id: 'f1', label: 'password', value: 'of-section', section: { id: 'S1' } },
        { id: 'password', label: 'password', value: 'op/tok+1' },
        { id: 'f2', label: 'client id', value: 'op-client', section: { id: 'S1' } },
        { id: 'notesPlain', label: 'notes' },
      ],
    });
  });
  beforeEach(() => {
    connect.failsWith = null;
  });
  afterAll(() => connect.stop());

  test.each([
    ['${op:Syncs/An API & more/password}', 'op/tok+1'],
    ['${op://Syncs/An API & more/password}', 'op/tok+1'],
    ['${op:Syncs/An API & more/extra/password}', 'of-section'],
    ['${op:Syncs/An API & more/client id}', 'op-client'],
    [`\${op:abcdefghijklmnopqrstuvwxy1/${id}/password}`, 'op/tok+1'],
  ])('is found by names and ids: %s', async (reference, value) => {
    expect(await valueOf(reference, env)).toBe(value);
    expect(connect.refused).toEqual([]);
  });

  test.each([
    [
      '${op:Other/An API & more/password}',
      /^headers\.x refers to the secret op:Other\/An API & more, which .*can read no such vault/,
    ],
    ['${op:Syncs/none/password}', /can read no such item/],
    ['${op:Syncs/An API & more/none}', /has no field "none"/],
    ['${op:Syncs/An API & more/notes}', /has a field "notes" that is not a text/],
  ])('says why there is none: %s', async (reference, words) => {
    expect(await problemOf(reference, env)).toMatch(words);
  });

  test('is not given to another token, which no message shows', async () => {
    const said = await problemOf('${op:Syncs/x/password}', { ...env, OP_CONNECT_TOKEN: 'other.token+1' });
    expect(said).toMatch(
      /may not be read from 1Password Connect by this worker \(401\): Invalid token signature/,
    );
    expect(said).not.toContain('other.token');
    connect.refused.length = 0;
    expect(await problemOf('${op:Syncs/x/password}', {})).toMatch(
      /OP_CONNECT_HOST and OP_CONNECT_TOKEN are not set/,
    );
  });

  test('is waited for while the Connect server is away', async () => {
    connect.failsWith = 502;
    await expect(valueOf('${op:Syncs/x/password}', env)).rejects.toThrow(/1Password Connect answered 502/);
  });

  test('has a name that leaves the filter it is looked for by as it is', () => {
    const raw = configuration('http://h', '${op:Syncs/x" or title co "/password}');
    expect(() => plansFrom(raw)).toThrow(/incomplete reference/);
  });
});

test('the package of a provider that is not installed is named, with the command that installs it', async () => {
  const missing = 'highwater-has-no-such-package';
  await expect(loadLibrary(missing, () => import(missing))).rejects.toThrow(
    `needs the package ${missing}. Install it beside Highwater: npm install '${missing}@latest'`,
  );
});

test.each([
  ['${vault:secret/data/x}', '${vault:PATH#FIELD}'],
  ['${aws-sm:}', '${aws-sm:NAME#FIELD}'],
  ['${aws-sm:a b}', '${aws-sm:NAME#FIELD}'],
  ['${gcp-sm:projects/p/x}', '${gcp-sm:projects/PROJECT/secrets/NAME}'],
  ['${azure-kv:vault}', '${azure-kv:VAULT/NAME}'],
  ['${azure-kv:evil.example.com/x}', '${azure-kv:VAULT/NAME}'],
  ['${op:vault/item}', '${op:VAULT/ITEM/FIELD}'],
])('a reference that names no secret is a problem of the configuration: %s', (reference, form) => {
  expect(() => plansFrom(configuration('http://h', reference))).toThrow(`; write ${form}`);
});
