/** Finds the configuration or destination that a command uses when the user names none. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { destinationKind, isProgram, loadPlans } from '../config/index.js';
import { HighwaterError, messageOf } from '../errors.js';
import { firstLine } from '../text.js';
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

/** The configurations in a folder. */
interface Configurations {
  /** Names of files that hold one, without problems. */
  names: string[];
  /** Files that look like one and have problems, each with the first of them. */
  broken: string[];
}

/** Looks for configurations in the current folder. A program is run only by its name. */
async function configurationsHere(): Promise<Configurations> {
  const found: Configurations = { names: [], broken: [] };
  for (const name of (await readdir('.')).filter(isData).sort()) {
    const problem = await loadPlans(name).then(() => null, messageOf);
    if (problem === null) found.names.push(name);
    else if (await isMeantAsOne(name)) found.broken.push(`${name} (${firstLine(problem)})`);
  }
  return found;
}

/** A member that every configuration has, and files of other programs have not. */
const MEMBER = /^\s*(?:[{,]\s*)?["']?(?:base_url|streams)["']?\s*:/m;

/** Returns whether a file that cannot be used is meant as a configuration: `package.json` is not. */
const isMeantAsOne = async (name: string): Promise<boolean> =>
  MEMBER.test(await readFile(name, 'utf8').catch(() => ''));

/** Names configurations that were left out because of their problems; empty if there are none. */
const withoutBroken = ({ broken }: Configurations): string =>
  broken.length === 0 ? '' : `not counting what has problems: ${broken.join(', ')}`;

/**
 * Returns the only configuration in the current folder, for a command without an argument.
 * @throws {UnclearSubjectError}
 */
export async function onlyConfiguration(): Promise<string> {
  const found = await configurationsHere();
  const [first, ...others] = found.names;
  const less = withoutBroken(found) === '' ? '' : `, ${withoutBroken(found)}`;
  if (first !== undefined && others.length === 0) {
    note(`Configuration: ${first}, the only one in this folder${less}`);
    return first;
  }
  const why =
    first === undefined
      ? 'there is no configuration in this folder'
      : `there are several configurations in this folder: ${[first, ...others].join(', ')}`;
  throw new UnclearSubjectError(`${why}${less}; name one, or the id of a sync ("highwater list" shows them)`);
}

/**
 * Returns the destination that a command reads: the one asked for; that of a sync or configuration; else the
 * environment's; else that of the configurations here, if it is there and they agree; else highwater.duckdb, or the only
 * DuckDB file here. A note says which one it is, unless that is highwater.duckdb or the environment's and no person watches.
 * @throws {UnclearSubjectError}
 */
export async function destinationFor(asked: string | undefined, given: string | undefined): Promise<string> {
  if (asked !== undefined && given !== undefined)
    throw new UnclearSubjectError(`give either --destination or "${given}", not both`);
  const usual = destinationOf(undefined, undefined);
  const isNamed = asked !== undefined || given !== undefined;
  const { destination, why } = isNamed
    ? { destination: await destinationAsked(asked, given), why: '' }
    : await destinationHere(usual);
  if (process.stderr.isTTY || (!isNamed && destination !== usual)) note(`Destination: ${destination}${why}`);
  return destination;
}

const destinationAsked = async (asked: string | undefined, given: string | undefined): Promise<string> =>
  given === undefined ? destinationOf(asked, undefined) : destinationNamed(given);

async function destinationHere(usual: string): Promise<{ destination: string; why: string }> {
  if (process.env['HIGHWATER_DESTINATION']) return { destination: usual, why: ' ($HIGHWATER_DESTINATION)' };
  const found = await configurationsHere();
  const configured = await destinationsOf(found.names);
  const [one] = configured;
  const isThere = one !== undefined && (destinationKind(one) !== 'duckdb' || existsSync(one));
  if (isThere && configured.length === 1) return { destination: one, why: `, of ${found.names.join(', ')}` };
  if (existsSync(usual)) return { destination: usual, why: '' };
  const files = (await readdir('.')).filter((name) => name.endsWith('.duckdb'));
  const [file] = files;
  if (file !== undefined && files.length === 1)
    return { destination: destinationOf(file, undefined), why: ', the only one in this folder' };
  if (files.length === 0 && one !== undefined && configured.length === 1)
    return { destination: one, why: `, of ${found.names.join(', ')}` };
  const all = [...new Set([...files, ...configured])];
  const less = withoutBroken(found) === '' ? '' : ` (${withoutBroken(found)})`;
  throw new UnclearSubjectError(
    all.length === 0
      ? `there is no destination at ${usual}, and no other one in this folder${less}; name it with --destination, or give the id of a sync or a configuration`
      : `there are several destinations here: ${all.join(', ')}${less}. Name one with --destination, or give the id of a sync or a configuration`,
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
