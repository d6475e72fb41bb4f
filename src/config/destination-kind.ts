import { ConfigurationError } from '../errors.js';
import { holdsReference } from '../secrets/reference-syntax.js';
import { isFiles } from './files-address.js';

/**
 * Says why a destination's address has an unknown scheme; null if it has none or a known one. The message does not
 * repeat the address, which may contain a password. A drive letter (`C:`) is not a scheme, nor is anything after a
 * slash or backslash.
 */
export function schemeProblem(destination: string): string | null {
  const [, scheme] = /^\s*([a-z][a-z0-9+.-]+):/i.exec(destination) ?? [];
  if (scheme === undefined || isFiles(destination) || /^postgres(ql)?$/i.test(scheme)) return null;
  return (
    `begins with "${scheme.slice(0, 30)}:", which is not a kind of destination; write the path of a DuckDB file, "postgresql://…", ` +
    '"files:FOLDER" or "s3://BUCKET/PREFIX". If the name of a file contains a colon, write "./NAME"'
  );
}

/**
 * Returns the kind of a destination: `files` for a folder or bucket; `server` for an address of a server or a reference
 * to one; else `duckdb`.
 * @throws {ConfigurationError} if its address is of another kind.
 */
export function destinationKind(destination: string): 'files' | 'server' | 'duckdb' {
  const problem = schemeProblem(destination);
  if (problem !== null) throw new ConfigurationError([{ path: 'destination', message: problem }]);
  if (isFiles(destination)) return 'files';
  return /^postgres(ql)?:/i.test(destination) || holdsReference(destination) ? 'server' : 'duckdb';
}

export const isServer = (destination: string): boolean => destinationKind(destination) === 'server';

/** Returns the configured schema, or the destination's default. */
export const schemaOf = (flat: { schema?: string | undefined; destination?: string | undefined }): string =>
  flat.schema ?? (isServer(flat.destination ?? '') ? 'public' : 'main');
