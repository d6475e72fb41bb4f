/** Finds the configuration or destination that a command uses when the user names none. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { extname } from 'node:path';
import { destinationKind, isProgram, loadPlans } from '../config/index.js';
import { HighwaterError } from '../errors.js';
import { connected } from './asking.js';
import { destinationOf, note } from './output.js';
import { placeOfSync } from './places.js';

/** The user named no target, and the folder does not determine one. */
export class UnclearSubjectError extends HighwaterError {
  override readonly name = 'UnclearSubjectError';
}

/** Help text of an argument that {@link destinationFor} reads. */
export const WHOSE =
  'the sync id or configuration whose destination to read (default: the only one in this folder)';

const DATA = ['.json', '.jsonc', '.yaml', '.yml'];

/** Returns whether a name has the extension of a configuration that is read and not run. */
const isData = (name: string): boolean => DATA.includes(extname(name).toLowerCase());

/** Returns whether a name has a configuration's extension. */
const hasExtension = (name: string): boolean => isData(name) || isProgram(name);

/**
 * Returns whether a name is that of a configuration file and no id. A name with a configuration's extension counts as a
 * file even if it is missing, so that a typo is not taken for an id.
 */
export const namesFile = (given: string): boolean => existsSync(given) || hasExtension(given);

/** Names of the configurations in a folder: files that hold one, without problems. A program is run only by its name. */
export async function configurationsIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isData);
  const found = await Promise.all(
    names.sort().map((name) =>
      loadPlans(name).then(
        () => name,
        () => null,
      ),
    ),
  );
  return found.flatMap((name) => name ?? []);
}

/**
 * Returns the only configuration in the current folder, for a command without an argument.
 * @throws {UnclearSubjectError}
 */
export async function onlyConfiguration(): Promise<string> {
  const [first, ...others] = await configurationsIn('.');
  if (first !== undefined && others.length === 0) {
    note(`Configuration: ${first}, the only one in this folder`);
    return first;
  }
  const why =
    first === undefined
      ? 'there is no configuration in this folder'
      : `there are several configurations in this folder: ${[first, ...others].join(', ')}`;
  throw new UnclearSubjectError(`${why}; name one, or the id of a sync ("highwater list" shows them)`);
}

/**
 * Returns the destination that a command reads: the one asked for; that of a sync or configuration; else the
 * environment's; else highwater.duckdb, the only DuckDB file here, or that of the only configuration here.
 * @throws {UnclearSubjectError}
 */
export async function destinationFor(asked: string | undefined, given: string | undefined): Promise<string> {
  if (asked !== undefined && given !== undefined)
    throw new UnclearSubjectError(`give either --destination or "${given}", not both`);
  if (asked !== undefined) return destinationOf(asked, undefined);
  if (given !== undefined) return destinationNamed(given);
  const usual = destinationOf(undefined, undefined);
  if (process.env['HIGHWATER_DESTINATION'] || existsSync(usual)) return usual;
  const files = (await readdir('.')).filter((name) => name.endsWith('.duckdb'));
  const [file] = files;
  if (file !== undefined && files.length === 1) return destinationOf(file, undefined);
  const configured = await destinationsOf(await configurationsIn('.'));
  const [one] = configured;
  if (files.length === 0 && one !== undefined && configured.length === 1) return one;
  const all = [...new Set([...files, ...configured])];
  throw new UnclearSubjectError(
    all.length === 0
      ? `there is no destination at ${usual}, and no other one in this folder; name it with --destination, or give the id of a sync or a configuration`
      : `there are several destinations here: ${all.join(', ')}. Name one with --destination, or give the id of a sync or a configuration`,
  );
}

async function destinationsOf(files: readonly string[]): Promise<string[]> {
  const plans = await Promise.all(files.map(async (file) => (await loadPlans(file)).plans.plans[0]));
  return [...new Set(plans.map((plan) => destinationOf(undefined, plan)))];
}

/** The destination of a sync, or of a configuration file. */
async function destinationNamed(given: string): Promise<string> {
  if (existsSync(given) && !hasExtension(given) && destinationKind(given) === 'duckdb')
    return destinationOf(given, undefined);
  if (namesFile(given)) return destinationOf(undefined, (await loadPlans(given)).plans.plans[0]);
  return connected(async (to) => (await placeOfSync(to, given, { anyStream: true })).destination);
}
