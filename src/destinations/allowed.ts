import { resolve } from 'node:path';
import { customAddress } from '../config/custom-address.js';
import { filesAddress, type FilesAddress } from '../config/files-address.js';
import { destinationKind } from '../config/destination-kind.js';
import { holdsReference } from '../secrets/reference-syntax.js';
import { ConfigurationError, NotAllowedError } from '../errors.js';
import { glob, realPath, realPattern } from '../trust/patterns.js';
import { TrustPolicy } from '../trust/policy.js';
import { ReadSecrets } from '../secrets/read-secrets.js';
import { type CustomDestinations, NO_DESTINATIONS } from './custom.js';
import { customOf, filesOf, serverName, serverOf } from './location.js';

/**
 * Refuses a destination that the worker's owner has not allowed, before opening or creating anything.
 * @param read secrets of providers that this destination, the worker's own and the allowed ones refer to.
 * @param custom the destinations of extensions.
 * @throws {NotAllowedError | ConfigurationError}
 */
export function requireDestination(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust: TrustPolicy,
  read = ReadSecrets.none,
  custom: CustomDestinations = NO_DESTINATIONS,
): void {
  if (isOwn(destination, trust)) return;
  requireNoMetadata(destination, environment, trust, read);
  if (trust.trust === 'local') return;
  const place = placeOf(destination, environment, trust, read, custom);
  if (place === ownPlace(environment, trust, read, custom)) return;
  // An extension's address may begin with a path right after the scheme.
  const isPlain = !place
    .replace(/^[a-z][a-z0-9+.-]+:/i, '')
    .split(/[/?]/)
    .some((part) => part === '..' || part === '.');
  if (isPlain && trust.destinations.some((pattern) => glob(patternOf(pattern, environment, read))(place)))
    return;
  // Messages never show the values of references.
  const shown = holdsReference(destination) ? destination : place;
  throw NotAllowedError.of(`the destination ${shown}`, { list: 'allow-destinations', entry: shown });
}

/**
 * Returns the worker's own destination; null if there is none, or if its configuration is invalid (its users are told).
 */
function ownPlace(
  environment: NodeJS.ProcessEnv,
  { ownDestination }: TrustPolicy,
  read: ReadSecrets,
  custom: CustomDestinations,
): string | null {
  try {
    return ownDestination === null
      ? null
      : placeOf(ownDestination, environment, TrustPolicy.local(environment), read, custom);
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) return null;
    throw thrown;
  }
}

function requireNoMetadata(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust: TrustPolicy,
  read: ReadSecrets,
): void {
  const kind = destinationKind(destination);
  if (kind === 'duckdb') return;
  let url: string | null;
  if (kind === 'custom') url = hostIn(customOf(destination, null, environment, trust, read).parts.address);
  else if (kind === 'server') ({ url } = serverOf(destination, environment, trust, read));
  else {
    const { at } = filesOf(destination, environment, trust, read).address;
    url = at.kind === 's3' ? at.endpoint : null;
  }
  if (url === null || !URL.canParse(url)) return;
  const { hostname, port, protocol } = new URL(url);
  trust.requireNoMetadata(hostname, Number(port) || (protocol === 'http:' ? 80 : 443));
}

/** Returns the address of a server that an extension's address names; null if it names none. What the extension connects to is its own. */
const hostIn = (address: string): string | null => (address.startsWith('//') ? `http:${address}` : null);

/** Whether it is the worker's own destination, spelled the same way: its references belong to the owner. */
export const isOwn = (destination: string, trust: TrustPolicy): boolean =>
  destination === trust.ownDestination;

/** Returns the form of a destination that patterns are matched with: without secrets and options. */
function placeOf(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust: TrustPolicy,
  read: ReadSecrets,
  custom: CustomDestinations,
): string {
  switch (destinationKind(destination)) {
    case 'server':
      return serverOf(destination, environment, trust, read).resolved;
    case 'files':
      return filesPlace(filesOf(destination, environment, trust, read).address);
    case 'custom': {
      const definition = custom.get(customAddress(destination).scheme) ?? null;
      return customOf(destination, definition, environment, trust, read).resolved;
    }
    case 'duckdb':
      return realPath(destination);
  }
}

function patternOf(pattern: string, environment: NodeJS.ProcessEnv, read: ReadSecrets): string {
  switch (destinationKind(pattern)) {
    case 'server':
      if (holdsReference(pattern)) return serverOf(pattern, environment, undefined, read).resolved;
      return URL.canParse(pattern) ? serverName(new URL(pattern)) : pattern;
    case 'files': {
      const address = filesAddress(pattern);
      if (typeof address === 'string') return pattern;
      const { at } = address;
      return filesPlace(
        at.kind === 'local' ? { ...address, at: { ...at, path: realPattern(at.path) } } : address,
      );
    }
    case 'custom':
      return pattern;
    case 'duckdb':
      return realPattern(resolve(pattern));
  }
}

function filesPlace({ at }: FilesAddress): string {
  if (at.kind === 'local') return `files:${at.path}`;
  const endpoint = at.endpoint === null ? '' : `?endpoint=${at.endpoint}`;
  return `s3://${at.bucket}${at.prefix && `/${at.prefix}`}${endpoint}`;
}
