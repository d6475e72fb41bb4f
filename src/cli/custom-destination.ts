import { definitionFor } from '../destinations/custom.js';
import { findCustom, type CustomLocation } from '../destinations/location.js';
import { extensionsOf, loadExtensions } from '../extensions.js';
import { customScheme } from '../config/index.js';
import { DestinationError } from '../errors.js';

/**
 * Finds a destination of an extension that HIGHWATER_EXTENSIONS names.
 * @throws {ExtensionMissingError | ConfigurationError}
 */
export async function findExtended(destination: string): Promise<CustomLocation> {
  const { destinations } = await loadExtensions(extensionsOf(process.env));
  const definition = definitionFor(customScheme(destination) ?? '', destinations);
  return findCustom(destination, process.env, definition);
}

/**
 * Refuses to read the tables of a destination of an extension.
 * @throws {DestinationError | ExtensionMissingError | ConfigurationError}
 */
export async function refuseToRead(destination: string): Promise<never> {
  const { parts } = await findExtended(destination);
  throw new DestinationError(
    `an extension writes the destinations ${parts.scheme}:…, and Highwater cannot read their tables: use the tools of their store. ` +
      '"highwater state get" and "highwater status" work as with other destinations',
  );
}
