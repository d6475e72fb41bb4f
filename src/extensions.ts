/** Extensions: packages whose strategies and destinations a worker, a command or a client knows beside the built-in ones. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type CustomDestinations,
  type DestinationDefinition,
  destinationProblem,
  isDestination,
  NO_DESTINATIONS,
} from './destinations/custom.js';
import { HighwaterError, messageOf } from './errors.js';
import {
  type CustomStrategies,
  definitionProblem,
  NO_STRATEGIES,
  type StrategyDefinition,
} from './strategies/index.js';

/** A package by its name, or a file by its path (`./letters.mjs`); or the definition itself. */
export type Extension = string | StrategyDefinition | DestinationDefinition;

/** What the loaded extensions add. */
export interface LoadedExtensions {
  readonly strategies: CustomStrategies;
  readonly destinations: CustomDestinations;
}

/** No extension. */
export const NO_EXTENSIONS: LoadedExtensions = { strategies: NO_STRATEGIES, destinations: NO_DESTINATIONS };

/** An extension cannot be loaded, or what it exports cannot be used. */
export class ExtensionError extends HighwaterError {
  override readonly name = 'ExtensionError';
}

/** Returns the extensions that the environment names: HIGHWATER_EXTENSIONS, separated by commas. */
export const extensionsOf = (environment: NodeJS.ProcessEnv): string[] =>
  (environment['HIGHWATER_EXTENSIONS'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

/**
 * Loads extensions. Their code runs in this process, with all its rights: only its owner names them, never a configuration.
 * @param folder where packages and files are looked for.
 * @throws {ExtensionError}
 */
export async function loadExtensions(
  extensions: readonly Extension[],
  folder: string = process.cwd(),
): Promise<LoadedExtensions> {
  if (extensions.length === 0) return NO_EXTENSIONS;
  const strategies = new Map<string, StrategyDefinition>();
  const destinations = new Map<string, DestinationDefinition>();
  for (const extension of extensions) {
    const name = typeof extension === 'string' ? extension : 'an extension';
    const exported = typeof extension === 'string' ? await exportOf(extension, folder) : extension;
    for (const definition of Array.isArray(exported) ? (exported as unknown[]) : [exported]) {
      const isOfRows = isDestination(definition);
      const problem = isOfRows ? destinationProblem(definition) : definitionProblem(definition);
      if (problem !== null)
        throw new ExtensionError(`the extension ${name} cannot be used: its export ${problem}`);
      if (isOfRows) add(destinations, definition as DestinationDefinition, 'destination', name);
      else add(strategies, definition as StrategyDefinition, 'strategy', name);
    }
  }
  return { strategies, destinations };
}

/** @throws {ExtensionError} if another extension has added the same. */
function add<T extends { name: string }>(to: Map<string, T>, one: T, kind: string, extension: string): void {
  if (to.has(one.name))
    throw new ExtensionError(
      `the extension ${extension} adds the ${kind} ${one.name}, which another one adds, too`,
    );
  to.set(one.name, one);
}

/** @throws {ExtensionError} */
async function exportOf(name: string, folder: string): Promise<unknown> {
  const path = pathOf(name, folder);
  if (path === null) {
    const advice = isPath(name)
      ? `there is no file ${resolve(folder, name)}`
      : `it is not installed: run "npm install ${name}" in ${folder}`;
    throw new ExtensionError(`the extension ${name} cannot be loaded: ${advice}`);
  }
  const loading = import(/* @vite-ignore */ pathToFileURL(path).href) as Promise<{ default?: unknown }>;
  const { default: exported } = await loading.catch((thrown: unknown) => {
    throw new ExtensionError(`the extension ${name} cannot be loaded: ${messageOf(thrown)}`);
  });
  if (exported === undefined)
    throw new ExtensionError(
      `the extension ${name} has no default export; write "export default defineStrategy({ … })" or "defineDestination({ … })"`,
    );
  return exported;
}

const isPath = (name: string): boolean => /^\.{0,2}[/\\]|^[a-zA-Z]:[/\\]/.test(name);

/** Returns the path of the module that a name means; null if there is none. */
function pathOf(name: string, folder: string): string | null {
  if (isPath(name)) {
    const path = resolve(folder, name);
    return existsSync(path) ? path : null;
  }
  for (const from of [join(folder, 'package.json'), new URL(import.meta.url)]) {
    const require = createRequire(from);
    try {
      return require.resolve(name);
    } catch (thrown) {
      // A package for `import` alone has no entry for `require`.
      if ((thrown as NodeJS.ErrnoException).code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') continue;
      const path = importEntry(name, require.resolve.paths(name) ?? []);
      if (path !== null) return path;
    }
  }
  return null;
}

/** Returns the entry of a package for `import`. */
function importEntry(name: string, folders: readonly string[]): string | null {
  const file = folders.map((folder) => join(folder, name, 'package.json')).find((path) => existsSync(path));
  if (file === undefined) return null;
  const { exports } = JSON.parse(readFileSync(file, 'utf8')) as { exports?: unknown };
  const entry = entryIn(exports);
  return entry === null ? null : join(dirname(file), entry);
}

function entryIn(exports: unknown): string | null {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return null;
  const conditions = exports as { [name: string]: unknown };
  for (const condition of ['.', 'node', 'import', 'default']) {
    if (Object.hasOwn(conditions, condition)) return entryIn(conditions[condition]);
  }
  return null;
}
