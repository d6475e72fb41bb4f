import { readFile, realpath, rename, stat, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { applyEdits, modify } from 'jsonc-parser';
import { isDeepStrictEqual } from 'node:util';
import { parseDocument } from 'yaml';
import type { LoadedExtensions } from '../extensions.js';
import { isProgram, loadPlans, planNamed, plansFrom } from '../config/index.js';
import { ConfigurationError, HighwaterError, messageOf } from '../errors.js';
import { discover, type Discovery } from '../inspect/discover.js';
import { draft } from '../inspect/draft.js';
import type { Json } from '../protocol.js';
import { counted, note, print, probedFrom, visible } from './output.js';

interface Options {
  stream?: string;
  sample: number;
  write?: boolean;
  json?: boolean;
}

/** Some streams could not be read; which and why has been said. */
class DiscoverFailedError extends HighwaterError {
  override readonly name = 'DiscoverFailedError';
}

export function discoverCommand(): Command {
  return new Command('discover')
    .description(
      'Read a few pages of each stream and print the configuration with columns, primary key and cursor field. Writes nothing without --write.',
    )
    .argument(
      '<configuration>',
      'a file: JSON (comments allowed), YAML, or a program; columns and primary_key may be missing',
    )
    .option('--stream <name>', 'only this stream')
    .option('--sample <n>', 'number of records to read of each stream', sampleSize, 200)
    .option('--write', 'edit the file in place; its comments and its order stay')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  highwater discover github.yaml
  highwater discover github.yaml --write
  highwater discover github.yaml --stream issues --sample 1000 --json`,
    )
    .action(run);
}

function sampleSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1 && size <= 100_000) return size;
  throw new InvalidArgumentError('Give a whole number from 1 to 100000.');
}

async function run(file: string, options: Options): Promise<void> {
  if (options.write === true && isProgram(file)) {
    throw new DiscoverFailedError(
      `${file} is a program, which --write cannot edit: copy what "highwater discover ${file}" prints into it`,
    );
  }
  const { configuration, plans, extensions } = await loadPlans(file, true);
  const chosen = options.stream === undefined ? plans.plans : [planNamed(plans, options.stream)];
  const found = new Map<string, Discovery>();
  const failed: { stream: string; error: unknown }[] = [];
  for (const plan of chosen) {
    try {
      const discovery = await discover(plan, options.sample, plans.plans, await probedFrom(plan));
      found.set(plan.stream, discovery);
      if (options.json !== true) for (const request of discovery.requests) note(request);
    } catch (error) {
      failed.push({ stream: plan.stream, error });
    }
  }
  const [first] = failed;
  if (first !== undefined && found.size === 0) throw first.error;

  const isYaml = ['.yaml', '.yml'].includes(extname(file).toLowerCase());
  const before = options.write === true ? await readFile(file, 'utf8') : null;
  const inPlace = before !== null && isYaml ? { document: parseDocument(before, { merge: true }) } : {};
  const { text, configuration: filled, notes } = draft(configuration, plans.plans, found, inPlace);
  const inJson = async () => editedJson(before ?? (await readFile(file, 'utf8')), configuration, filled);
  const after = isYaml ? text : await inJson();
  const isChanged = before !== null && after !== before;
  if (isChanged) await replaceFile(file, after);
  if (options.json === true) {
    const streams = [...found].map(([stream, discovery]) => ({ stream, ...discovery }));
    const errors = failed.map(({ stream, error }) => ({ stream, message: messageOf(error) }));
    print(
      JSON.stringify({
        status: failed.length === 0 ? 'found' : 'incomplete',
        streams,
        errors,
        notes,
        configuration: filled,
        ...(options.write === true && { written: isChanged }),
      }),
    );
  } else {
    if (before === null) print(after.trimEnd());
    else if (isChanged)
      print(`Wrote what was found in ${counted(found.size, 'stream')} to ${visible(file)}.`);
    else print(`${visible(file)} already says all that was found; nothing was written.`);
    for (const line of notes) note(`note: ${line}`);
    for (const { stream, error } of failed) note(`${stream}: ${messageOf(error)}`);
    for (const line of leftOver(filled, extensions)) note(`still missing: ${line}`);
  }
  if (failed.length > 0) {
    throw new DiscoverFailedError(
      `could not read ${failed.length} of ${counted(chosen.length, 'stream')}: ${failed.map(({ stream }) => stream).join(', ')}`,
    );
  }
}

/** A JSON text, comments and all, with the values that have changed. */
function editedJson(text: string, before: Json, after: Json): string {
  const changes = changesOf(before, after, []);
  const formattingOptions = { insertSpaces: true, tabSize: 2 };
  return changes.reduce(
    (edited, { path, value }) => applyEdits(edited, modify(edited, path, value, { formattingOptions })),
    text,
  );
}

/** Members that are new or different, as deep as they lie. */
function changesOf(
  before: Json | undefined,
  after: Json,
  path: (string | number)[],
): { path: (string | number)[]; value: Json }[] {
  if (isDeepStrictEqual(before, after)) return [];
  const isContainer = (value: unknown): value is { [name: string]: Json } =>
    typeof value === 'object' && value !== null;
  if (!isContainer(before) || !isContainer(after) || Array.isArray(before) !== Array.isArray(after)) {
    return [{ path, value: after }];
  }
  const isList = Array.isArray(after);
  return Object.entries(after).flatMap(([name, value]) =>
    changesOf(before[name], value, [...path, isList ? Number(name) : name]),
  );
}

/** Writes a file beside it first: one that is interrupted leaves the old one whole. */
async function replaceFile(file: string, text: string): Promise<void> {
  const target = await realpath(file);
  const { mode } = await stat(target);
  const fresh = `${target}.${process.pid}.tmp`;
  await writeFile(fresh, text, { mode });
  await rename(fresh, target);
}

/** The problems for which a sync would still be refused. */
function leftOver(configuration: unknown, extensions: LoadedExtensions): string[] {
  try {
    plansFrom(configuration, undefined, false, extensions);
    return [];
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return thrown.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}
