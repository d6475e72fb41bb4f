import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type CustomAddress, customAddress, isSecretKey, USER_PASSWORD } from '../config/custom-address.js';
import { addressText, filesAddress, type FilesAddress } from '../config/files-address.js';
import { destinationKind } from '../config/destination-kind.js';
import { ConfigurationError } from '../errors.js';
import { ReadSecrets } from '../secrets/read-secrets.js';
import { readSecrets } from '../secrets/store.js';
import { References, unescaped } from '../sources/references.js';
import { Secrets, type Mask } from '../secrets/masking.js';
import { addressProblem, checkedAddress, type DestinationDefinition } from './custom.js';
import { stateDir } from '../state-dir.js';
import { realPath } from '../trust/patterns.js';
import { TrustPolicy } from '../trust/policy.js';

/** Returns the prefix of the destination's paths on this machine. @throws {ConfigurationError} */
export async function besideOf(destination: string, environment: NodeJS.ProcessEnv): Promise<string> {
  switch (destinationKind(destination)) {
    case 'duckdb':
      return destination;
    case 'server':
      return (await findServer(destination, environment)).beside;
    case 'files':
      return (await findFiles(destination, environment)).beside;
    case 'custom':
      return (await findCustom(destination, environment)).beside;
  }
}

/** Finds a server for a command: reads secrets of providers, then calls {@link serverOf}. */
export const findServer = async (
  destination: string,
  environment: NodeJS.ProcessEnv,
): Promise<ServerLocation> =>
  serverOf(destination, environment, undefined, await readSecrets(destination, environment));

/** Finds files for a command: reads secrets of providers, then calls {@link filesOf}. */
export const findFiles = async (
  destination: string,
  environment: NodeJS.ProcessEnv,
): Promise<FilesLocation> =>
  filesOf(destination, environment, undefined, await readSecrets(destination, environment));

export interface ServerLocation {
  /** For messages and history: without the password, and with references instead of their values. */
  name: string;
  /**
   * The address without the password, to compare it with others; never shown, as references may have provided parts of
   * it.
   */
  resolved: string;
  /** The address to connect to, with the password; never stored. */
  url: string;
  /** Hides the password and the values of references in the server's messages. */
  mask: Mask;
  /** Prefix of the server's paths on this machine. */
  beside: string;
  /** Secrets of providers used in the address. */
  read: ReadSecrets;
}

/**
 * Resolves the references in a server's address.
 * @param read secrets of providers that it refers to.
 * @throws {ConfigurationError | NotAllowedError}
 */
export function serverOf(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust = TrustPolicy.local(environment),
  read = ReadSecrets.none,
): ServerLocation {
  const isWhole = /^\$\{[^}]*\}$/.test(destination);
  const references = new References(environment, trust, read);
  const url = references.resolve(destination, 'destination', isWhole ? undefined : encodeURIComponent);
  references.check();
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    const message = 'is not a PostgreSQL address, such as "postgresql://user:${env:PASSWORD}@host/database"';
    throw new ConfigurationError([{ path: 'destination', message }]);
  }
  const resolved = serverName(new URL(url));
  const { password, searchParams } = new URL(url);
  const hash = createHash('sha256').update(resolved).digest('hex').slice(0, 16);
  const secrets = new Secrets([
    ...references.secrets,
    unescaped(password),
    ...[...searchParams].flatMap(([word, value]) => (isSecretKey(word) ? [value] : [])),
  ]);
  return {
    // An address that is a single reference is shown without the password only: it has no other name.
    name: isWhole ? resolved : shownName(references, resolved),
    resolved,
    url,
    mask: (text) => secrets.mask(text),
    beside: join(stateDir(environment), 'destinations', `postgres-${hash}`),
    read,
  };
}

/** Returns the address of a server without the password. */
export function serverName({ username, hostname, port, pathname, searchParams }: URL): string {
  // Different certificates make a different connection.
  const words = [...searchParams].filter(([word]) => !isSecretKey(word)).map((pair) => pair.join('='));
  return (
    `postgresql://${username === '' ? '' : `${username}@`}${hostname}:${port || '5432'}${pathname}` +
    (words.length === 0 ? '' : `?${words.join('&')}`)
  );
}

/** A folder or bucket of files. */
export interface FilesLocation {
  /** As {@link ServerLocation.name}, without default options; the path of a folder is absolute, with links followed. */
  name: string;
  address: FilesAddress;
  /** Hides the values of references in messages of the store or the file system. */
  mask: Mask;
  /** Prefix of its paths on this machine. */
  beside: string;
}

/**
 * Resolves the references in the address of files.
 * @param read secrets of providers that it refers to.
 * @throws {ConfigurationError | NotAllowedError}
 */
export function filesOf(
  destination: string,
  environment: NodeJS.ProcessEnv,
  trust = TrustPolicy.local(environment),
  read = ReadSecrets.none,
): FilesLocation {
  const references = new References(environment, trust, read);
  const text = references.resolve(destination, 'destination');
  references.check();
  const address = filesAddress(text);
  if (typeof address === 'string')
    throw new ConfigurationError([{ path: 'destination', message: references.unresolved(address) }]);
  const secrets = new Secrets(references.secrets);
  const mask: Mask = (shown) => secrets.mask(shown);
  const { at } = address;
  if (at.kind === 'local') {
    const path = realPath(at.path);
    const located: FilesAddress = { ...address, at: { kind: 'local', path } };
    return { name: shownName(references, addressText(located)), address: located, mask, beside: path };
  }
  const name = shownName(references, addressText(address));
  const place = `${at.endpoint ?? ''} ${at.bucket} ${at.prefix}`;
  const hash = createHash('sha256').update(place).digest('hex').slice(0, 16);
  return { name, address, mask, beside: join(stateDir(environment), 'destinations', `s3-${hash}`) };
}

/** A destination of an extension. */
export interface CustomLocation {
  /** As {@link ServerLocation.name}. */
  name: string;
  /** As {@link ServerLocation.resolved}. */
  resolved: string;
  /** Prefix of its paths on this machine. */
  beside: string;
  /** The address in its parts, with references resolved; never stored. */
  parts: CustomAddress;
  /** The address as the definition's schema returns it; null without a definition. */
  options: unknown;
  /** Hides the values of references. */
  mask: Mask;
}

/** Finds a destination of an extension for a command that does not open it; see {@link customOf}. */
export const findCustom = async (
  destination: string,
  environment: NodeJS.ProcessEnv,
  definition: DestinationDefinition | null = null,
): Promise<CustomLocation> =>
  customOf(destination, definition, environment, undefined, await readSecrets(destination, environment));

/**
 * Resolves the references in the address of a destination of an extension.
 * @param definition null: the address is not checked, nor brought into the form that the definition has for it.
 * @param read secrets of providers that it refers to.
 * @throws {ConfigurationError | NotAllowedError}
 */
export function customOf(
  destination: string,
  definition: DestinationDefinition | null,
  environment: NodeJS.ProcessEnv,
  trust = TrustPolicy.local(environment),
  read = ReadSecrets.none,
): CustomLocation {
  const references = new References(environment, trust, read);
  const written = customAddress(destination);
  const parts: CustomAddress = {
    scheme: written.scheme,
    address: references.resolve(written.address, 'destination'),
    params: written.params.map(([key, value]) => [key, references.resolve(value, 'destination')]),
  };
  references.check();
  const options = definition === null ? null : optionsIn(definition, parts, references);
  const located = definition?.locate?.(options) ?? addressOf(parts);
  const resolved = `${parts.scheme}:${located}`;
  const [, , password = ''] = USER_PASSWORD.exec(parts.address) ?? [];
  const secrets = new Secrets([
    ...references.secrets,
    ...[password, unescaped(password)].filter((one) => one !== ''),
    ...parts.params.flatMap(([key, value]) => (isSecretKey(key) ? [value] : [])),
  ]);
  const hash = createHash('sha256').update(resolved).digest('hex').slice(0, 16);
  return {
    name: shownName(references, resolved),
    resolved,
    beside: join(stateDir(environment), 'destinations', `${parts.scheme}-${hash}`),
    parts,
    options,
    mask: (text) => secrets.mask(text),
  };
}

/** Returns an address without password and credentials. */
function addressOf({ address, params }: CustomAddress): string {
  const words = params.filter(([key]) => !isSecretKey(key)).map((pair) => pair.join('='));
  return address.replace(USER_PASSWORD, '$1@') + (words.length === 0 ? '' : `?${words.join('&')}`);
}

/** @throws {ConfigurationError} */
function optionsIn(definition: DestinationDefinition, parts: CustomAddress, references: References): unknown {
  const checked = checkedAddress(definition, parts);
  if (checked.issues === undefined) return checked.value;
  const message = references.unresolved(addressProblem(checked) ?? '');
  throw new ConfigurationError([{ path: 'destination', message }]);
}

/** Returns a resolved address with references instead of their values; the scheme stays. */
const shownName = (references: References, resolved: string): string =>
  resolved.replace(
    /^([a-z0-9+.-]+:(?:\/\/)?)(.*)$/s,
    (_, scheme: string, rest: string) => scheme + references.unresolved(rest),
  );
