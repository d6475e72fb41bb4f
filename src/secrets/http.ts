import type { Network } from '../trust/network.js';
import { messageOf, SecretUnavailableError } from '../errors.js';
import { SecretProblem } from './provider.js';

export interface JsonRequest {
  method?: 'GET' | 'POST';
  url: URL;
  headers: Record<string, string>;
  body?: unknown;
}

export interface JsonAnswer {
  status: number;
  /** Null where the answer is no JSON. */
  body: unknown;
}

/** A secret and what stands beside it is small. */
const ANSWER_BYTES = 4 * 1024 * 1024;
const LATER = [408, 425, 429];

/**
 * Asks a secret manager for JSON. Redirects are not followed: they would take credentials elsewhere.
 * @param who the provider, for messages.
 * @throws {SecretUnavailableError} where it does not answer, or not now.
 */
export async function askForJson(
  network: Network,
  who: string,
  { method = 'GET', url, headers, body }: JsonRequest,
  signal: AbortSignal,
): Promise<JsonAnswer> {
  let status: number;
  let text: string;
  try {
    const answer = await network.fetch(url, {
      ...{ method, redirect: 'manual', size: ANSWER_BYTES, signal },
      headers: {
        ...{ accept: 'application/json', 'user-agent': 'highwater' },
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    ({ status } = answer);
    text = await answer.text();
  } catch (thrown) {
    throw unreachable(who, thrown, signal);
  }
  if (status >= 500 || LATER.includes(status)) throw new SecretUnavailableError(`${who} answered ${status}`);
  if (status >= 300 && status < 400)
    throw new SecretUnavailableError(
      `${who} answered ${status}, a redirect, which Highwater does not follow`,
    );
  return { status, body: jsonOf(text) };
}

const NETWORK_CODE = /^(ECONN[A-Z]+|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EPIPE)$/;

/** Whether an error says that a server could not be reached, or did not answer in time. */
export function isUnreachable(thrown: unknown, signal: AbortSignal): boolean {
  const { code, name } = thrown as { code?: unknown; name?: unknown };
  return signal.aborted || name === 'TimeoutError' || NETWORK_CODE.test(String(code));
}

/** The error for a provider that could not be asked. */
export function unreachable(who: string, thrown: unknown, signal: AbortSignal): SecretUnavailableError {
  const { code } = thrown as NodeJS.ErrnoException;
  const why = signal.aborted ? 'it did not answer in time' : (code ?? messageOf(thrown));
  return new SecretUnavailableError(`${who} is unreachable: ${why}`);
}

/** The problem of a secret that a provider refuses. @param said the provider's own words. */
export function refusalBy(who: string, status: number, said: string): SecretProblem {
  const verb = status === 401 || status === 403 ? 'may' : 'can';
  return new SecretProblem(`${verb} not be read from ${who} by this worker (${status}): ${said}`);
}

/** Reads the address of a provider. @throws {SecretProblem} */
export function addressIn(variable: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new SecretProblem(`cannot be read, because ${variable} does not begin with https:// or http://`);
  return url;
}

/** An address below another. @param segments as they are meant: they are escaped here. */
export function below(base: URL, segments: readonly string[]): URL {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${segments.map(encodeURIComponent).join('/')}`;
  return url;
}

/** Returns a member of a JSON value; undefined where it is no object, or has no such member. */
export const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;

/** Returns a member that is a text; '' otherwise. */
export function textMember(value: unknown, name: string): string {
  const found = member(value, name);
  return typeof found === 'string' ? found : '';
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
