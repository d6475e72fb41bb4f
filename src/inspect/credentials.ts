/** Ways to authenticate as a new configuration has them: references only, and the variables that they name. Pure. */
import type { Json } from '../protocol.js';
import { isCredential } from '../secrets/credential-names.js';

export const AUTH_KINDS = ['none', 'bearer', 'basic', 'api_key', 'session', 'oauth2', 'signature'] as const;
export type AuthKind = (typeof AUTH_KINDS)[number];

/** Details of an authentication that are no secrets. */
export interface AuthDetails {
  /** api_key: name of the header, parameter or cookie. */
  name?: string | undefined;
  in?: 'header' | 'query' | 'cookie' | undefined;
  /** session: the login; oauth2: the token endpoint. */
  url?: string | undefined;
}

/** The part of a configuration, the variables that it names, and what in it is assumed. */
export interface DraftedAuth {
  auth: { [key: string]: Json } | null;
  variables: string[];
  assumed: string[];
}

/**
 * Returns the authentication of a kind.
 * @param origin of the API, for addresses that are not given.
 */
export function draftedAuth(kind: AuthKind, details: AuthDetails, origin: string): DraftedAuth {
  switch (kind) {
    case 'none':
      return { auth: null, variables: [], assumed: [] };
    case 'bearer':
      return drafted({ type: 'bearer', token: '${env:API_TOKEN}' });
    case 'basic':
      return drafted({ type: 'basic', username: '${env:API_USER}', password: '${env:API_PASSWORD}' });
    case 'api_key': {
      const name = details.name ?? 'X-Api-Key';
      const assumed =
        details.name === undefined ? [`the header ${name} carries the key (--auth-name changes that)`] : [];
      return drafted({ type: 'api_key', name, value: '${env:API_KEY}', in: details.in ?? 'header' }, assumed);
    }
    case 'session': {
      const url = details.url ?? '/login';
      const body = { username: '${env:API_USER}', password: '${env:API_PASSWORD}' };
      const assumed = [
        'the login takes a JSON object with username and password, and returns {"token": …} (source.auth in the file)',
      ];
      if (details.url === undefined) assumed.unshift(`the login is POST ${url} (--auth-url changes that)`);
      return drafted({ type: 'session', login: { url, body }, token: 'token' }, assumed);
    }
    case 'oauth2': {
      const url = details.url ?? `${origin}/oauth/token`;
      const auth = {
        type: 'oauth2',
        token_url: url,
        client_id: '${env:API_CLIENT_ID}',
        client_secret: '${env:API_CLIENT_SECRET}',
      };
      const assumed =
        details.url === undefined ? [`the token endpoint is ${url} (--auth-url changes that)`] : [];
      return drafted(auth, [...assumed, 'client credentials are used; add refresh_token to use one']);
    }
    case 'signature':
      return drafted({ type: 'signature', hook: 'sign', settings: { key: '${env:API_KEY}' } }, [
        'hooks/sign.mjs signs the requests: write it, docs/authentication.md shows how',
      ]);
  }
}

const drafted = (auth: { [key: string]: Json }, assumed: string[] = []): DraftedAuth => ({
  auth,
  variables: variablesIn(auth),
  assumed,
});

/** Returns the environment variables that a value refers to. */
export const variablesIn = (value: Json): string[] => [
  ...new Set([...JSON.stringify(value).matchAll(/\$\{env:([A-Za-z_]\w*)/g)].map(([, name = '']) => name)),
];

/** Literal secrets of the input, by the variables that replace them. */
export type Secrets = { [variable: string]: string };

/** A variable's name for a credential, by the name under which it was found: `X-Api-Key` → API_KEY. */
export function variableOf(name: string): string {
  const word = name
    .replace(/^x-/i, '')
    .replace(/([a-z\d])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .replace(/^_|_$/g, '')
    .toUpperCase();
  if (/^(AUTHORIZATION|TOKEN|ACCESS_TOKEN)$/.test(word)) return 'API_TOKEN';
  if (/^(KEY|APIKEY)$/.test(word)) return 'API_KEY';
  return /^\d|^$/.test(word) ? `API_${word}` : word;
}

/** Headers that hold credentials, whatever their names say. */
const SECRET_HEADERS = /^(authorization|proxy-authorization|cookie)$/i;

/** Returns whether a header or parameter of this name and value holds a credential. */
export const holdsCredential = (name: string, value: string): boolean =>
  SECRET_HEADERS.test(name) ||
  isCredential(name) ||
  // A JSON Web Token, or the key of a well-known service, under any name.
  /^eyJ[\w-]{8,}\.[\w-]{8,}\.|^(sk|pk|rk)_(live|test)_\w{8,}|^gh[pousr]_\w{16,}|^xox[abprs]-/.test(value);

/** An authentication that a request shows, its secrets apart. */
export interface ShownAuth {
  auth: { [key: string]: Json } | null;
  /** Headers and parameters without it. */
  headers: { [name: string]: string };
  params: { [name: string]: string };
  secrets: Secrets;
}

/** Takes the credentials out of the headers and parameters of a request. */
export function shownAuth(
  headers: { [name: string]: string },
  params: { [name: string]: string },
  user: { name: string; password: string } | null = null,
): ShownAuth {
  const shown: ShownAuth = { auth: null, headers: {}, params: {}, secrets: {} };
  const keep = (value: string, variable: string): string => {
    shown.secrets[variable] = value;
    return `\${env:${variable}}`;
  };
  const asBasic = (name: string, password: string) => {
    shown.auth = {
      type: 'basic',
      username: keep(name, 'API_USER'),
      password: keep(password, 'API_PASSWORD'),
    };
  };
  if (user !== null) asBasic(user.name, user.password);
  const all = [
    ...Object.entries(headers).map(([name, value]) => ({ name, value, in: 'header' as const })),
    ...Object.entries(params).map(([name, value]) => ({ name, value, in: 'query' as const })),
  ];
  for (const { name, value, in: place } of all) {
    const target = place === 'header' ? shown.headers : shown.params;
    const [, scheme = '', rest = ''] = /^(bearer|basic)\s+(\S.*)$/i.exec(value) ?? [];
    const isAuthorization = place === 'header' && /^authorization$/i.test(name);
    if (!holdsCredential(name, value) || value === '') target[name] = value;
    else if (isAuthorization && /bearer/i.test(scheme)) {
      shown.auth = { type: 'bearer', token: keep(rest, 'API_TOKEN') };
    } else if (isAuthorization && /basic/i.test(scheme)) {
      const [given = '', ...password] = Buffer.from(rest, 'base64').toString('utf8').split(':');
      asBasic(given, password.join(':'));
    } else if (shown.auth === null && !/^cookie$/i.test(name)) {
      shown.auth = { type: 'api_key', name, value: keep(value, variableOf(name)), in: place };
    } else target[name] = keep(value, variableOf(name));
  }
  return shown;
}
