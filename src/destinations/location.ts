import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isServer } from '../config/flat.js';
import { ConfigurationError } from '../errors.js';
import { References } from '../sources/references.js';
import { stateDir } from '../state-dir.js';

/** What belongs to a destination on this machine has names that begin with this. @throws {ConfigurationError} */
export const besideOf = (destination: string, environment: NodeJS.ProcessEnv): string =>
  isServer(destination) ? serverOf(destination, environment).beside : destination;

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
 * @throws {ConfigurationError}
 */
export function serverOf(destination: string, environment: NodeJS.ProcessEnv): ServerLocation {
  const isWhole = /^\$\{[^}]*\}$/.test(destination);
  const references = new References(environment);
  const url = references.resolve(destination, 'destination', isWhole ? undefined : encodeURIComponent);
  references.check();
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    const message = 'is no address of PostgreSQL, such as "postgresql://user:${env:PASSWORD}@host/database"';
    throw new ConfigurationError([{ path: 'destination', message }]);
  }
  const { username, hostname, port, pathname, searchParams } = new URL(url);
  // Whoever asks for other certificates asks for another connection.
  const words = [...searchParams].filter(([word]) => !/pass/i.test(word)).map((pair) => pair.join('='));
  const name =
    `postgresql://${username === '' ? '' : `${username}@`}${hostname}:${port || '5432'}${pathname}` +
    (words.length === 0 ? '' : `?${words.join('&')}`);
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return { name, url, beside: join(stateDir(environment), 'destinations', `postgres-${hash}`) };
}
