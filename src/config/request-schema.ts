import { HOOK_NAME, NO_HOOK_NAME } from '../request/hook-names.js';
import { z } from 'zod';
import { ERROR_ACTIONS, type AnswerPath, type Auth, type ErrorRule } from '../protocol.js';
import { isCredential } from '../secrets/credential-names.js';
import { holdsReference } from '../secrets/reference-syntax.js';
import { isConnectionHeader } from '../request/header-names.js';
import { normalHost } from '../request/next-link.js';
import { jsonPathProblem, parsePath, quotedPath } from '../request/paths.js';
import { patternProblem } from '../request/patterns.js';
import { baseUrl, duration, numeric, withoutControl } from './values.js';

/** The parts of the full form that say how an API is asked and how it answers. */

export const secret = z
  .string()
  .max(4096)
  .refine(
    holdsReference,
    'must be a reference such as "${env:TOKEN}", "${file:token.txt}" or "${vault:secret/data/api#token}"; the workflow\'s history would keep anything else',
  )
  .meta({ title: 'reference' });

export const plainText = z
  .string()
  .max(8192)
  .refine(...withoutControl);

const SECRET_IN_THE_OPEN =
  'looks like a credential, which the workflow\'s history would keep; write "${env:NAME}" instead';

/** Members, however deep, whose name says that they hold a credential and whose text is no reference. */
function openSecrets(value: unknown, path: PropertyKey[] = []): PropertyKey[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, name];
    if (typeof inner === 'object') return openSecrets(inner, at);
    const isSecret = isCredential(name) || /^(authorization|cookie)$/i.test(name);
    return isSecret && typeof inner === 'string' && !holdsReference(inner) ? [at] : [];
  });
}

/** Refuses credentials in the open. */
export function withoutOpenSecrets(value: unknown, context: z.RefinementCtx): void {
  for (const path of openSecrets(value))
    context.addIssue({ code: 'custom', path, message: SECRET_IN_THE_OPEN });
}

/** Names and values of headers or parameters; what a name says is a credential must be a reference. */
const pairs = (name: z.ZodString) =>
  z
    .record(name, z.union([plainText, z.number(), z.boolean()]).transform(String))
    .superRefine(withoutOpenSecrets)
    .meta({ title: 'names and values' });

const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/;
const headerName = z
  .string()
  .regex(HEADER_NAME, 'is not a valid header name')
  .refine((name) => !isConnectionHeader(name), 'is set by the connection, and cannot be configured');
export const headers = pairs(headerName);
export const PARAMETER_NAME = /^[^\s&=#]{1,200}$/;
export const parameters = pairs(z.string().regex(PARAMETER_NAME, 'is not a valid name'));

export const body = z.json().superRefine(withoutOpenSecrets).meta({ title: 'any value' });
export const bodyAs = z.enum(['json', 'form']).default('json');

/** A path after an address, or another address: without credentials in the open, as {@link baseUrl}. */
export const path = plainText.superRefine((text, context) => {
  const checked = baseUrl.safeParse(joined('https://source.invalid', text));
  for (const { message } of checked.error?.issues ?? []) context.addIssue({ code: 'custom', message });
});

/** Says how to quote the names of a path that needs it; null where that is not what is wrong. */
function quotesHint(text: string): string | null {
  const quoted = quotedPath(text);
  return quoted === null ? null : `must quote names that hold "@", "." or "$": ${quoted}`;
}

/** "user.login", "changes[0].rev" or "$['@odata.id']" → names of members and places in lists. */
export const recordPath = z
  .string()
  .max(500)
  .transform((text, context): (string | number)[] => {
    const parts = parsePath(text);
    // A record is an object: the way into it begins with a name.
    if (parts !== null && typeof parts[0] !== 'number') return parts;
    const message = quotesHint(text) ?? 'is not a path such as "user.login" or "changes[0].rev"';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });

/** "data.items", "$.data['odata.items']" → names of members; or any JSONPath; "$" is the answer itself. */
export const answerPath = z
  .string()
  .max(500)
  .transform((text, context): AnswerPath => {
    const parts = parsePath(text) ?? [0];
    const names = parts.filter((part) => typeof part === 'string');
    if (names.length === parts.length) return names;
    const problem = text.startsWith('$') ? jsonPathProblem(text) : 'it has no "$"';
    if (problem === null) return text;
    const message =
      quotesHint(text) ??
      `is neither a path of members such as "data.items" nor a JSONPath such as "$.edges[*].node": ${problem}`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  })
  .meta({ title: 'path in the response' });

/** The place of a value in an answer: a path in its body, or a header. */
export const answerPlace = z.union([
  answerPath,
  z.strictObject({ header: headerName.describe('Name of the header.') }),
]);

const place = z.enum(['header', 'query', 'cookie']).default('header');
const credentialName = z.string().regex(/^[A-Za-z0-9_.[\]-]{1,200}$/, 'is not a valid name');

export const authKinds = {
  none: z.strictObject({ type: z.literal('none') }).describe('Nothing is sent.'),
  basic: z
    .strictObject({ type: z.literal('basic'), username: plainText, password: secret })
    .describe('User name and password.'),
  bearer: z.strictObject({ type: z.literal('bearer'), token: secret }).describe('`Authorization: Bearer …`.'),
  api_key: z
    .strictObject({
      type: z.literal('api_key'),
      name: credentialName,
      value: secret,
      in: place,
    })
    .describe('A key in a header, a parameter or a cookie of this name.'),
  session: z
    .strictObject({
      type: z.literal('session'),
      login: z
        .strictObject({
          url: path.describe('A URL, or a path appended to `base_url`.'),
          method: z.enum(['GET', 'POST']).default('POST').describe('The HTTP method.'),
          headers: headers.default({}).describe('Headers of the request.'),
          body: body
            .optional()
            .describe('Body of the request, with references to the user name and password.'),
          body_as: bodyAs.describe('Encoding of the body.'),
        })
        .describe('The request that returns the token.'),
      token: answerPath.default(['token']).describe('Where the token is in the response to the login.'),
      expires_in: answerPath
        .optional()
        .describe("Where the token's lifetime in seconds is in that response."),
      name: credentialName
        .default('Authorization')
        .describe('Name of the header, parameter or cookie for the token.'),
      prefix: plainText
        .optional()
        .describe('Text before the token. Default: `Bearer ` in a header, nothing elsewhere.'),
      in: place,
    })
    .describe('A token from a login request, renewed when it expires or is rejected.'),
  oauth2: z
    .strictObject({
      type: z.literal('oauth2'),
      token_url: baseUrl.describe('URL of the token endpoint.'),
      client_id: plainText,
      client_secret: secret,
      refresh_token: secret
        .optional()
        .describe('Without it, client credentials are used. A rotated refresh token is stored encrypted.'),
      client_auth: z.enum(['body', 'basic']).default('body').describe('How the client authenticates.'),
      scopes: z.array(plainText).default([]),
      params: parameters.default({}).describe('Additional parameters, such as `audience`.'),
    })
    .describe('Client credentials, or a refresh token.'),
  signature: z
    .strictObject({
      type: z.literal('signature'),
      hook: z
        .string()
        .regex(HOOK_NAME, NO_HOOK_NAME)
        .describe("NAME.mjs in the worker's folder of hooks (HIGHWATER_HOOKS, else ./hooks)."),
      settings: z
        .record(z.string().max(200), plainText)
        .superRefine(withoutOpenSecrets)
        .default({})
        .describe('Settings passed to the hook.'),
    })
    .describe('Headers that your own module computes for each request.'),
};

export const auth = z.discriminatedUnion('type', [
  authKinds.none,
  authKinds.basic,
  authKinds.bearer,
  authKinds.api_key,
  authKinds.session,
  authKinds.oauth2,
  authKinds.signature,
]);

/** @param base what the path of a login stands behind. */
export function authOf(given: z.output<typeof auth>, base: string): Auth {
  switch (given.type) {
    case 'session': {
      const { login, expires_in: expiresIn, prefix, ...rest } = given;
      return {
        ...rest,
        prefix: prefix ?? (given.in === 'header' ? 'Bearer ' : ''),
        login: {
          url: joined(base, login.url),
          method: login.method,
          headers: login.headers,
          body: login.body ?? null,
          bodyAs: login.body_as,
        },
        expiresIn: expiresIn ?? null,
      };
    }
    case 'oauth2':
      return {
        type: 'oauth2',
        tokenUrl: given.token_url,
        clientId: given.client_id,
        clientSecret: given.client_secret,
        clientAuth: given.client_auth,
        refreshToken: given.refresh_token ?? null,
        scopes: given.scopes,
        params: given.params,
      };
    default:
      return given;
  }
}

/** A path after an address; another address is one by itself. */
export function joined(base: string, path: string): string {
  if (/^https?:\/\//i.test(path)) return path;
  return base.replace(/\/+$/, '') + (/^[/?]|^$/.test(path) ? path : `/${path}`);
}

const STATUS = /^[1-5][0-9x][0-9x]$/;
const status = z
  .union([z.number().int(), z.string()])
  .transform(String)
  .refine((text) => STATUS.test(text), 'is not a status such as 404 or "5xx"');

const errorRule = z
  .strictObject({
    status: z
      .union([status.transform((one) => [one]), z.array(status).min(1).max(50)])
      .optional()
      .describe('404, "5xx", or a list. Default: any status but 2xx.'),
    body: z
      .string()
      .max(500)
      .superRefine((text, context) => {
        const problem = patternProblem(text);
        if (problem === null) return;
        const message = `is not a valid regular expression (RE2 syntax: no lookaround, no backreferences): ${problem}`;
        context.addIssue({ code: 'custom', message });
      })
      .optional()
      .describe(
        'A regular expression (RE2: no lookaround, no backreferences) that the body must match; case is ignored.',
      ),
    path: answerPath
      .optional()
      .describe('A path in the JSON body that must have a value; matches responses of any status.'),
    action: z.enum(ERROR_ACTIONS).describe('The action to take.'),
    wait: duration.optional().describe('wait: how long to wait if the response does not say.'),
  })
  .refine(
    (rule) => rule.status !== undefined || rule.body !== undefined || rule.path !== undefined,
    'must say which responses it applies to: give status, body or path',
  )
  .refine((rule) => rule.wait === undefined || rule.action === 'wait', {
    path: ['wait'],
    message: 'needs the action wait',
  })
  .transform((rule): ErrorRule => ({
    statuses: rule.status ?? null,
    body: rule.body ?? null,
    path: rule.path ?? null,
    action: rule.action,
    waitSeconds: rule.wait ?? 60,
  }));
export const errorRules = z.array(errorRule).max(100);

export const rateLimit = z.strictObject({
  requests_per_second: numeric(z.number().positive().max(10_000))
    .optional()
    .describe('Requests per second, evenly spaced.'),
  concurrency: numeric(z.number().int().min(1).max(1000)).optional().describe('Maximum concurrent requests.'),
  remaining_header: headerName
    .optional()
    .describe(
      'Header with the number of remaining requests. `X-RateLimit-Remaining` and similar headers are recognised without it.',
    ),
  reset_header: headerName.optional().describe('Header with the time from which requests are allowed again.'),
});

export const next = z.union([
  z.literal('link').transform(() => ({ in: 'link', isAddress: true }) as const),
  z.literal('last_key').transform(() => ({ in: 'last_key' }) as const),
  z.literal('last_record').transform(() => ({ in: 'last_record' }) as const),
  z.literal('none').transform(() => ({ in: 'none' }) as const),
  z
    .strictObject({ token: answerPath, as: z.literal('params').optional() })
    .transform(
      ({ token, as }) =>
        ({ in: 'body', path: token, isAddress: false, ...(as !== undefined && { as }) }) as const,
    ),
  z
    .strictObject({ url: answerPath })
    .transform(({ url }) => ({ in: 'body', path: url, isAddress: true }) as const),
  z
    .strictObject({ header: z.string().min(1).max(200), is: z.enum(['token', 'url']).default('token') })
    .transform(({ header, is }) => ({ in: 'header', name: header, isAddress: is === 'url' }) as const),
]);

/** A host, with a port where it is not the default one. */
const host = plainText.transform((text, context): string => {
  const normal = normalHost(text);
  if (normal !== null) return normal;
  const message =
    'is not a host such as "api2.example.com" or "api2.example.com:8443"; give each host in full';
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});
export const nextHosts = z.array(host).max(50);
