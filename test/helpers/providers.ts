/** Local servers that answer as secret managers are documented to, and check how they are asked. */
import { createHash, createHmac, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** A server of secrets. */
export interface Provider {
  url: string;
  port: number;
  /** Secrets by their names, as the provider has them. */
  secrets: Map<string, unknown>;
  /** Names of secrets that were asked for, in order. */
  asked: string[];
  /** Why requests were refused, in order. */
  refused: string[];
  /** Answers every request with this status; null: as it should. */
  failsWith: number | null;
  stop: () => Promise<void>;
}

interface Asked {
  request: IncomingMessage;
  url: URL;
  body: string;
  provider: Provider;
}

interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

/** @param certificates a folder with `server.pem` and `server.key`: the server then speaks TLS. */
async function serve(
  answer: (asked: Asked) => Answer,
  certificates: string | null = null,
): Promise<Provider> {
  const handle = (request: IncomingMessage, response: ServerResponse, body: string) => {
    const url = new URL(request.url ?? '', 'http://host');
    const {
      status,
      body: said,
      headers,
    } = provider.failsWith === null
      ? answer({ request, url, body, provider })
      : { status: provider.failsWith, body: { message: 'not now' }, headers: {} };
    response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(typeof said === 'string' ? said : JSON.stringify(said));
  };
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => handle(request, response, Buffer.concat(chunks).toString('utf8')));
  };
  const read = (name: string) => readFileSync(join(certificates ?? '', name));
  const server =
    certificates === null
      ? createServer(listener)
      : createSecureServer({ cert: read('server.pem'), key: read('server.key') }, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const provider: Provider = {
    url: `${certificates === null ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    ...{ secrets: new Map(), asked: [], refused: [], failsWith: null },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return provider;
}

function refuse(provider: Provider, why: string, status: number, body: unknown): Answer {
  provider.refused.push(why);
  return { status, body };
}

export const VAULT_TOKEN = 'vault-token/Zq9+=~';

/** Vault as documented: a secret is what stands in `data`, with the lease beside it. */
export const vaultLike = (): Promise<Provider> =>
  serve(({ request, url, provider }) => {
    const name = decodeURIComponent(url.pathname.replace(/^\/v1\//, ''));
    if (request.headers['x-vault-token'] !== VAULT_TOKEN || request.headers['x-vault-namespace'] !== 'team')
      return refuse(provider, 'token or namespace', 403, { errors: ['permission denied'] });
    provider.asked.push(name);
    const secret = provider.secrets.get(name) as { data: object; lease?: number } | undefined;
    if (secret === undefined) return { status: 404, body: { errors: [] } };
    const lease = {
      lease_id: secret.lease === undefined ? '' : 'a/lease',
      lease_duration: secret.lease ?? 0,
    };
    return { status: 200, body: { ...lease, data: secret.data } };
  });

export const AWS = {
  id: 'AKIDEXAMPLE',
  secret: 'aws/secret+Key9',
  region: 'eu-west-1',
  session: 'aws+session/==',
};

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();

/** What is wrong with the signature of a request (Signature Version 4); null where nothing is. */
function signatureProblem(request: IncomingMessage, body: string): string | null {
  const [, id, date, region, service, signed = '', given] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    ) ?? [];
  if (id !== AWS.id || region !== AWS.region || service !== 'secretsmanager') return 'the scope';
  const names = signed.split(';');
  for (const needed of ['host', 'x-amz-date', 'x-amz-target', 'x-amz-security-token'])
    if (!names.includes(needed)) return `${needed} is not signed`;
  const time = String(request.headers['x-amz-date']);
  if (request.headers['x-amz-security-token'] !== AWS.session) return 'the session';
  const canonical = [
    ...[request.method, '/', ''],
    ...names.map((name) => `${name}:${String(request.headers[name]).trim().replace(/ +/g, ' ')}`),
    ...['', signed, sha256(body)],
  ].join('\n');
  const scope = `${date}/${region}/${service}/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n');
  const key = [date ?? '', region, service, 'aws4_request'].reduce(
    (made: string | Buffer, part) => hmac(made, part),
    `AWS4${AWS.secret}`,
  );
  return hmac(key, toSign).toString('hex') === given ? null : 'the signature';
}

/** AWS Secrets Manager as documented: `GetSecretValue` of its JSON protocol, signed. */
export const awsLike = (): Promise<Provider> =>
  serve(({ request, body, provider }) => {
    const problem = signatureProblem(request, body);
    if (problem !== null)
      return refuse(provider, problem, 400, { __type: 'InvalidSignatureException', message: problem });
    if (request.headers['x-amz-target'] !== 'secretsmanager.GetSecretValue')
      return refuse(provider, 'the target', 400, {
        __type: 'InvalidRequestException',
        message: 'no such target',
      });
    const { SecretId: name } = JSON.parse(body) as { SecretId: string };
    provider.asked.push(name);
    if (name === 'denied') {
      const message = `User: arn:aws:iam::1:user/hw is not authorized to perform: secretsmanager:GetSecretValue`;
      return { status: 400, body: { __type: 'AccessDeniedException', message } };
    }
    const secret = provider.secrets.get(name);
    if (secret === undefined)
      return { status: 400, body: { __type: 'ResourceNotFoundException', message: 'cannot find it' } };
    return { status: 200, body: { Name: name, VersionStages: ['AWSCURRENT'], ...(secret as object) } };
  });

/** A service account of Google's, with a key of its own. */
export function serviceAccount(tokenUrl: string) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const email = 'hw@project-of-key.iam.gserviceaccount.com';
  const account = {
    ...{
      type: 'service_account',
      project_id: 'project-of-key',
      private_key_id: 'key-1',
      private_key: privateKey,
    },
    ...{ client_email: email, client_id: '1', token_uri: tokenUrl },
  };
  return { account, publicKey, email };
}

/** What is wrong with the token that a service account has signed itself; null where nothing is. */
function jwtProblem(authorization: string, publicKey: string, email: string): string | null {
  const [, header = '', payload = '', signature = ''] =
    /^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/.exec(authorization) ?? [];
  const read = (part: string) =>
    JSON.parse(Buffer.from(part, 'base64url').toString() || '{}') as { [name: string]: unknown };
  const { alg, kid } = read(header);
  if (alg !== 'RS256' || kid !== 'key-1') return 'the header';
  const { iss, sub, scope, exp, iat } = read(payload);
  if (iss !== email || sub !== email) return 'the issuer';
  if (scope !== 'https://www.googleapis.com/auth/cloud-platform') return 'the scope';
  const now = Date.now() / 1000;
  if (!(Number(iat) <= now + 5 && Number(exp) > now && Number(exp) - Number(iat) <= 3600)) return 'the time';
  const isRight = verify(
    'RSA-SHA256',
    Buffer.from(`${header}.${payload}`),
    createPublicKey(publicKey),
    Buffer.from(signature, 'base64url'),
  );
  return isRight ? null : 'the signature';
}

/** Google Secret Manager as documented: `…/versions/VERSION:access`, the payload in base64. */
export const gcpLike = (publicKey: string, email: string): Promise<Provider> =>
  serve(({ request, url, provider }) => {
    const problem = jwtProblem(request.headers.authorization ?? '', publicKey, email);
    if (problem !== null)
      return refuse(provider, problem, 401, {
        error: { code: 401, message: problem, status: 'UNAUTHENTICATED' },
      });
    const [, name = ''] =
      /^\/v1\/(projects\/[^/]+\/secrets\/[^/]+\/versions\/[^/]+):access$/.exec(url.pathname) ?? [];
    provider.asked.push(name);
    if (name.includes('/denied/')) {
      const message = `Permission 'secretmanager.versions.access' denied on resource`;
      return { status: 403, body: { error: { code: 403, message, status: 'PERMISSION_DENIED' } } };
    }
    const secret = provider.secrets.get(name);
    if (secret === undefined)
      return { status: 404, body: { error: { code: 404, message: 'not found', status: 'NOT_FOUND' } } };
    return { status: 200, body: { name, payload: { data: Buffer.from(String(secret)).toString('base64') } } };
  });

export const AZURE = {
  tenant: '11111111-2222-3333-4444-555555555555',
  client: 'client-of-hw',
  secret: 'azure~secret/Q9',
};

/** Azure as documented: tokens by a client's secret, and vaults below the same address, over TLS. */
export const azureLike = (certificates: string): Promise<Provider> =>
  serve(({ request, url, body, provider }) => {
    const authority = `${provider.url}/${AZURE.tenant}`;
    const token = createHash('sha256').update(AZURE.secret).digest('base64url');
    if (url.pathname.endsWith('/.well-known/openid-configuration')) {
      return {
        status: 200,
        body: {
          token_endpoint: `${authority}/oauth2/v2.0/token`,
          authorization_endpoint: `${authority}/oauth2/v2.0/authorize`,
          issuer: `${authority}/v2.0`,
          jwks_uri: `${authority}/discovery/v2.0/keys`,
        },
      };
    }
    if (url.pathname === `/${AZURE.tenant}/oauth2/v2.0/token`) {
      const form = Object.fromEntries(new URLSearchParams(body));
      const isRight =
        form['grant_type'] === 'client_credentials' &&
        form['client_id'] === AZURE.client &&
        form['client_secret'] === AZURE.secret &&
        (form['scope'] ?? '').split(' ').includes(`${provider.url}/.default`);
      return isRight
        ? { status: 200, body: { token_type: 'Bearer', expires_in: 3599, access_token: token } }
        : refuse(provider, 'the client', 401, {
            error: 'invalid_client',
            error_description: 'AADSTS7000215',
          });
    }
    if (request.headers.authorization !== `Bearer ${token}` || url.searchParams.get('api-version') !== '7.4')
      return refuse(provider, 'the token', 401, { error: { code: 'Unauthorized', message: 'no token' } });
    const [, name = ''] = /^\/([^/]+\/secrets\/.+)$/.exec(url.pathname) ?? [];
    provider.asked.push(name);
    const secret = provider.secrets.get(name);
    return secret === undefined
      ? { status: 404, body: { error: { code: 'SecretNotFound', message: 'not found' } } }
      : {
          status: 200,
          body: { value: secret, id: `${provider.url}/${name}/1`, attributes: { enabled: true } },
        };
  }, certificates);

export const CONNECT_TOKEN = 'connect.token/Zq9+';
const VAULT_ID = 'abcdefghijklmnopqrstuvwxy1';

/** A Connect server of 1Password as documented: one vault, "Syncs", whose items are the secrets. */
export const connectLike = (): Promise<Provider> =>
  serve(({ request, url, provider }) => {
    if (request.headers.authorization !== `Bearer ${CONNECT_TOKEN}`)
      return refuse(provider, 'the token', 401, {
        status: 401,
        message: `Invalid token signature: ${request.headers.authorization ?? ''}`,
      });
    const filter = url.searchParams.get('filter');
    const [, id = ''] = /^\/v1\/vaults\/[a-z0-9]{26}\/items\/([a-z0-9]{26})$/.exec(url.pathname) ?? [];
    const items = [...provider.secrets].map(([title, item]) => ({ title, ...(item as { id: string }) }));
    if (url.pathname === '/v1/vaults')
      return { status: 200, body: filter === 'name eq "Syncs"' ? [{ id: VAULT_ID, name: 'Syncs' }] : [] };
    if (url.pathname === `/v1/vaults/${VAULT_ID}/items`) {
      const found = items.filter(({ title }) => filter === `title eq "${title}"`);
      return { status: 200, body: found.map(({ id: own, title }) => ({ id: own, title })) };
    }
    const item = items.find((one) => one.id === id);
    if (item === undefined) return { status: 404, body: { status: 404, message: 'item not found' } };
    provider.asked.push(item.title);
    return { status: 200, body: item };
  });
