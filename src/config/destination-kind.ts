import { holdsReference } from '../secrets/reference-syntax.js';
import { isFiles } from './files-address.js';

/**
 * Returns the scheme of an address that is none of a built-in kind, in lower case: an extension may have it; null for others.
 * A drive letter (`C:`) is not a scheme, nor is anything after a slash or backslash.
 */
export function customScheme(destination: string): string | null {
  const [, scheme] = /^\s*([a-z][a-z0-9+.-]+):/i.exec(destination) ?? [];
  if (scheme === undefined || isFiles(destination) || /^postgres(ql)?$/i.test(scheme)) return null;
  return scheme.toLowerCase();
}

/**
 * Returns the kind of a destination: `files` for a folder or bucket; `server` for an address of a server or a reference
 * to one; `custom` for any other scheme, which an extension may have; else `duckdb`.
 */
export function destinationKind(destination: string): 'files' | 'server' | 'custom' | 'duckdb' {
  if (customScheme(destination) !== null) return 'custom';
  if (isFiles(destination)) return 'files';
  return /^postgres(ql)?:/i.test(destination) || holdsReference(destination) ? 'server' : 'duckdb';
}

export const isServer = (destination: string): boolean => destinationKind(destination) === 'server';

/** Returns the configured schema, or the destination's default. */
export const schemaOf = (flat: { schema?: string | undefined; destination?: string | undefined }): string =>
  flat.schema ?? (isServer(flat.destination ?? '') ? 'public' : 'main');
