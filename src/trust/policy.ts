import { isIP } from 'node:net';
import { dirname, resolve } from 'node:path';
import { ConfigurationError, NotAllowedError } from '../errors.js';
import { bare, HostList, isMetadataAddress, isMetadataName, notPublic, PUBLIC } from './hosts.js';
import { HOOK_NAME, NO_HOOK_NAME } from '../request/hook-names.js';
import { glob, isInside, realPath } from './patterns.js';

/**
 * How far a worker trusts those who start workflows: `local`, they are its owner; `none`, they may use only what its
 * owner lists.
 */
export const TRUST = ['local', 'none'] as const;
/** Whether those who start workflows have the rights of the worker (`local`), or only those that it lists (`none`). */
export type Trust = (typeof TRUST)[number];

/** Each that is absent is taken from the environment (HIGHWATER_TRUST, HIGHWATER_ALLOW_ENV, …). */
export interface TrustOptions {
  /** Default: `local` while the Temporal server's address is one of loopback, else `none`. */
  trust?: Trust;
  /** Names of environment variables, with `*`. Default: none. */
  allowEnv?: readonly string[];
  /** Folders whose files may be read. Default: the one that HIGHWATER_SECRETS names. */
  allowFiles?: readonly string[];
  /** Secrets of providers, as `vault:secret/data/highwater/*`, with `*` and `**`. Default: none. */
  allowSecrets?: readonly string[];
  /** Destinations beside the worker's own, with `*` and `**`. */
  allowDestinations?: readonly string[];
  /** Hosts that requests may go to. Default: `public`. */
  allowHosts?: readonly string[];
}

/** Decides which of the worker's own things a configuration may use. */
export class TrustPolicy {
  private readonly variables: readonly ((name: string) => boolean)[];
  private readonly folders: readonly string[];
  private readonly secrets: readonly ((place: string) => boolean)[];
  private readonly hosts: HostList;
  private readonly hooks: string | null;
  readonly destinations: readonly string[];

  /**
   * @param ownDestination the destination of configurations that name none; it may always be used.
   * @throws {Error} where an entry of a list cannot be read.
   */
  constructor(
    readonly trust: Trust,
    options: TrustOptions,
    environment: NodeJS.ProcessEnv,
    readonly ownDestination: string | null = null,
  ) {
    const list = (given: readonly string[] | undefined, name: string, otherwise: readonly string[]) =>
      given ?? entries(environment[name]) ?? otherwise;
    const secrets = environment['HIGHWATER_SECRETS'] ?? '';
    this.variables = list(options.allowEnv, 'HIGHWATER_ALLOW_ENV', []).map(glob);
    this.folders = list(options.allowFiles, 'HIGHWATER_ALLOW_FILES', secrets === '' ? [] : [secrets]);
    this.secrets = list(options.allowSecrets, 'HIGHWATER_ALLOW_SECRETS', []).map(glob);
    this.destinations = list(options.allowDestinations, 'HIGHWATER_ALLOW_DESTINATIONS', []);
    this.hosts = new HostList(list(options.allowHosts, 'HIGHWATER_ALLOW_HOSTS', [PUBLIC]));
    const hooks = environment['HIGHWATER_HOOKS'] ?? '';
    this.hooks = hooks !== '' ? hooks : trust === 'local' ? 'hooks' : null;
  }

  /** The policy of a worker. */
  static of(
    options: TrustOptions,
    to: { address: string; destination: string },
    environment: NodeJS.ProcessEnv,
  ): TrustPolicy {
    return new TrustPolicy(
      chosenTrust(options, to.address, environment),
      options,
      environment,
      to.destination,
    );
  }

  /**
   * The policy of a command that reads a file of the one who runs it; `none` where HIGHWATER_COMMAND_TRUST says that the
   * file may be another's.
   * @param ownDestination of a worker whose owner wrote what is read.
   */
  static local(
    environment: NodeJS.ProcessEnv = process.env,
    ownDestination: string | null = null,
  ): TrustPolicy {
    const isOwn = environment['HIGHWATER_COMMAND_TRUST'] !== 'none';
    return new TrustPolicy(isOwn ? 'local' : 'none', {}, environment, ownDestination);
  }

  /** The policy belongs to a worker; otherwise to a command, whose environment can differ from that of the worker. */
  get isWorkers(): boolean {
    return this.ownDestination !== null;
  }

  /** @throws {NotAllowedError} */
  requireVariable(name: string): void {
    if (this.trust === 'local' || this.variables.some((fits) => fits(name))) return;
    throw NotAllowedError.of(`the environment variable ${name}`, { list: 'allow-env', entry: name });
  }

  /**
   * @returns the path to read, with links followed.
   * @throws {NotAllowedError} in the same words whether the file is there or not.
   */
  requireFile(path: string): string {
    if (this.trust === 'local') return path;
    const real = realPath(path);
    if (this.folders.some((folder) => isInside(real, realPath(folder)))) return real;
    throw NotAllowedError.of(`the file ${path}`, { list: 'allow-files', entry: dirname(resolve(path)) });
  }

  /**
   * @param place kind and name of a secret, without its field: `vault:secret/data/highwater/api`.
   * @throws {NotAllowedError}
   */
  requireSecret(place: string): void {
    if (this.trust === 'local' || this.secrets.some((fits) => fits(place))) return;
    throw NotAllowedError.of(`the secret ${place}`, { list: 'allow-secrets', entry: place });
  }

  /**
   * Finds a hook by its name.
   * @param at the key of the configuration that names it.
   * @returns the path of its module.
   * @throws {NotAllowedError | ConfigurationError}
   */
  requireHook(name: string, { at = 'auth.hook', extension = '.mjs' } = {}): string {
    if (!HOOK_NAME.test(name)) throw new ConfigurationError([{ path: at, message: NO_HOOK_NAME }]);
    if (this.hooks === null) throw NotAllowedError.of(`the hook ${name}`, { variable: 'HIGHWATER_HOOKS' });
    const path = resolve(this.hooks, `${name}${extension}`);
    if (this.trust === 'local') return path;
    const real = realPath(path);
    if (isInside(real, realPath(this.hooks))) return real;
    throw NotAllowedError.of(`the hook ${name}, a link to another folder`, {
      variable: 'HIGHWATER_HOOKS',
    });
  }

  /**
   * Refuses to have anything written where hooks are.
   * @param paths what the destination writes, or what the names of that begin with.
   * @throws {NotAllowedError}
   */
  requireOutsideHooks(destination: string, paths: readonly string[]): void {
    if (this.trust === 'local' || this.hooks === null) return;
    const hooks = realPath(this.hooks);
    for (const path of paths.map((one) => realPath(one))) {
      if (!isInside(path, hooks) && !isInside(hooks, path)) continue;
      throw NotAllowedError.of(
        `the destination ${destination}, which shares a folder with the worker's hooks`,
        {
          variable: 'HIGHWATER_HOOKS',
        },
      );
    }
  }

  /**
   * Refuses a host by its name, or by the address that it is written as. A name that passes is still to be resolved.
   * @throws {NotAllowedError}
   */
  requireHost(host: string, port: number): void {
    if (isIP(bare(host)) !== 0) this.requireAddress(host, port, bare(host));
    else this.requireNoMetadata(host, port);
  }

  /**
   * Refuses an address.
   * @param host the name that it was found by.
   * @throws {NotAllowedError}
   */
  requireAddress(host: string, port: number, address: string): void {
    this.requireNoMetadata(host, port, address);
    if (this.trust === 'local' || this.hosts.has(host, port, address)) return;
    const kind = notPublic(address);
    const verb = bare(host) === address ? 'is' : 'has';
    const at = kind === null ? '' : `, which ${verb} a ${kind} address`;
    throw this.unlisted(`the host ${host}:${port}${at}`, host, port);
  }

  /**
   * Refuses what no trust is enough for: only a list that names it exactly allows it.
   * @param address that the host has; absent: it is not resolved yet.
   * @throws {NotAllowedError}
   */
  requireNoMetadata(host: string, port: number, address = bare(host)): void {
    const isAddress = isIP(address) !== 0 && isMetadataAddress(address);
    if (!isAddress && !isMetadataName(host)) return;
    if (isAddress && this.hosts.names(address, port)) return;
    if (isMetadataName(host) && this.hosts.names(host, port)) return;
    throw this.unlisted(
      `the host ${host}:${port}, where the cloud provides the credentials of this machine`,
      host,
      port,
    );
  }

  private unlisted(what: string, host: string, port: number): NotAllowedError {
    return NotAllowedError.of(what, { list: 'allow-hosts', entry: `${host}:${port}`, now: this.hosts.text });
  }
}

/** How far the worker of a Temporal server trusts, where it is not said otherwise. */
export function chosenTrust(options: TrustOptions, address: string, environment: NodeJS.ProcessEnv): Trust {
  const given = options.trust ?? (environment['HIGHWATER_TRUST'] || undefined);
  if (given === undefined) return isLoopback(address) ? 'local' : 'none';
  const known = TRUST.find((one) => one === given);
  if (known === undefined)
    throw new Error(`HIGHWATER_TRUST is ${JSON.stringify(given)}; allowed: ${TRUST.join(', ')}`);
  return known;
}

/** Whether an address, with or without a port, is one of loopback. */
export function isLoopback(address: string): boolean {
  const host = isIP(address) === 0 ? bare(address.replace(/:\d+$/, '')) : address;
  return host.toLowerCase() === 'localhost' || (isIP(host) !== 0 && notPublic(host) === 'loopback');
}

/** A list as an option or a variable has it: entries between commas; undefined where it is absent or empty. */
export function entries(text: string | undefined): string[] | undefined {
  const found = (text ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean);
  return found.length === 0 ? undefined : found;
}
