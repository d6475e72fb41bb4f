import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { addressText, filesAddress, type FilesAddress } from '../config/files-address.js';
import { destinationKind } from '../config/flat.js';
import { ConfigurationError } from '../errors.js';
import { References } from '../sources/references.js';
import { stateDir } from '../state-dir.js';
import { realPath } from '../trust/patterns.js';
import { TrustPolicy } from '../trust/policy.js';

/** What belongs to a destination on this machine has names that begin with this. @throws {ConfigurationError} */
export const besideOf = (destination: string, environment: NodeJS.ProcessEnv): string =>
  ({
    duckdb: () => destination,
    server: () => serverOf(destination, environment).beside,
    files: () => filesOf(destination, environment).beside,
  })[destinationKind(destination)]();

/** A database server. */
export interface ServerLocation {
  /** For people and for history: without the password. */
  name: string;
  /** As it is connected to; never kept. */
  url: string;
  /** What belongs to it on this machine has names that begin with this. */
  beside: string;
}

/**
 * A server's address with its references resolved.
 * @throws {ConfigurationError | NotAllowedError}
 */
export function serverOf(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust = TrustPolicy.local(environment),
): ServerLocation {
  const isWhole = /^\$\{[^}]*\}$/.test(destination);
  const references = new References(environment, trust);
  const url = references.resolve(destination, 'destination', isWhole ? undefined : encodeURIComponent);
  references.check();
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    const message = 'is no address of PostgreSQL, such as "postgresql://user:${env:PASSWORD}@host/database"';
    throw new ConfigurationError([{ path: 'destination', message }]);
  }
  const name = serverName(new URL(url));
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return { name, url, beside: join(stateDir(environment), 'destinations', `postgres-${hash}`) };
}

/** The address of a server for people and for history: without the password. */
export function serverName({ username, hostname, port, pathname, searchParams }: URL): string {
  // Whoever asks for other certificates asks for another connection.
  const words = [...searchParams].filter(([word]) => !/pass/i.test(word)).map((pair) => pair.join('='));
  return (
    `postgresql://${username === '' ? '' : `${username}@`}${hostname}:${port || '5432'}${pathname}` +
    (words.length === 0 ? '' : `?${words.join('&')}`)
  );
}

/** A folder or bucket of files. */
export interface FilesLocation {
  /** The address without what is said by itself; a folder is absolute, and links to it are followed. */
  name: string;
  address: FilesAddress;
  /** What belongs to it on this machine has names that begin with this. */
  beside: string;
}

/**
 * The address of a file destination with its references resolved.
 * @throws {ConfigurationError | NotAllowedError}
 */
export function filesOf(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust = TrustPolicy.local(environment),
): FilesLocation {
  const references = new References(environment, trust);
  const text = references.resolve(destination, 'destination');
  references.check();
  const address = filesAddress(text);
  if (typeof address === 'string') throw new ConfigurationError([{ path: 'destination', message: address }]);
  const { at } = address;
  if (at.kind === 'local') {
    const path = realPath(at.path);
    const located: FilesAddress = { ...address, at: { kind: 'local', path } };
    return { name: addressText(located), address: located, beside: path };
  }
  const name = addressText(address);
  const place = `${at.endpoint ?? ''} ${at.bucket} ${at.prefix}`;
  const hash = createHash('sha256').update(place).digest('hex').slice(0, 16);
  return { name, address, beside: join(stateDir(environment), 'destinations', `s3-${hash}`) };
}
