import { loadPackages } from '../optional-package.js';
import type { Network } from '../trust/network.js';

/** A secret manager. Its address and credentials are the worker's: no configuration has a say in them. */
export interface SecretProvider {
  /**
   * Reads a secret. Safe to repeat.
   * @param name without the field.
   * @throws {SecretProblem} where it cannot be had as things are.
   * @throws {SecretUnavailableError} where the provider does not answer, or not now.
   */
  read(name: string, signal: AbortSignal): Promise<Secret>;
  /** Closes connections that are kept. */
  close(): void;
}

export interface Secret {
  /** A text, or its fields by their names. */
  value: string | SecretFields;
  /** Seconds for which it is good; null where the provider does not say. */
  leaseSeconds: number | null;
}

export interface SecretFields {
  [field: string]: unknown;
}

/** The services of the worker that a provider uses. */
export interface ProviderOptions {
  environment: NodeJS.ProcessEnv;
  network: Network;
}

/** A reason why a secret cannot be had that waiting does not mend: "is not there", "may not be read". */
export class SecretProblem extends Error {
  override readonly name = 'SecretProblem';
}

/** Returns a variable of the worker's environment; undefined where it is absent or empty. */
export const variable = (environment: NodeJS.ProcessEnv, name: string): string | undefined =>
  environment[name]?.trim() || undefined;

/** Loads the library of a vendor, which is installed only where it is needed. @throws {SecretProblem} */
export const loadLibrary = <T>(name: string, load: () => Promise<T>): Promise<T> =>
  loadPackages([name], load, (text) => new SecretProblem(text));
