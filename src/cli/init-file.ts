/** Writes what `init` has made: a commented configuration, and the names of its variables in `.env.example`. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { HighwaterError } from '../errors.js';
import { ownFile } from '../own-files.js';

/** Something is there that must not be written over. */
export class InitRefusedError extends HighwaterError {
  override readonly name = 'InitRefusedError';
}

/** The packaged schema, by which editors complete and check the file. */
const SCHEMA = ownFile('highwater.schema.json');

/** @throws {InitRefusedError} where the file exists and may not be written over. */
export function refuseExisting(file: string, force: boolean): void {
  if (!force && existsSync(file)) {
    throw new InitRefusedError(`${file} already exists; --file NAME writes another one, --force overwrites`);
  }
}

/**
 * Writes a configuration, and its variables into `.env.example` beside it, which keeps what it has.
 * @returns the files that were written.
 */
export async function writeConfiguration(
  file: string,
  yaml: string,
  variables: readonly string[],
): Promise<string[]> {
  await mkdir(dirname(resolve(file)), { recursive: true });
  await writeFile(file, commented(yaml, file));
  const example = join(dirname(file), '.env.example');
  if (variables.length === 0) return [file];
  const before = existsSync(example) ? await readFile(example, 'utf8') : '';
  const missing = variables.filter((name) => !new RegExp(`^\\s*(export\\s+)?${name}=`, 'm').test(before));
  if (missing.length === 0) return [file];
  const head = `# The variables of ${basename(file)}.`;
  const how =
    ' Copy this file to .env, fill it in, keep it out of version control, and load it:\n#   set -a; . ./.env; set +a';
  const lines = missing.map((name) => `${name}=\n`).join('');
  const gap = before === '' ? '' : before.endsWith('\n') ? '\n' : '\n\n';
  await writeFile(example, `${before}${gap}${head}${before === '' ? how : ''}\n${lines}`);
  return [file, example];
}

/** Comments at the keys that a reader will want to change. */
function commented(yaml: string, file: string): string {
  const path = relative(dirname(resolve(file)), SCHEMA)
    .split(sep)
    .join('/');
  const lines = yaml.split('\n').flatMap((line): string[] => {
    const [key = ''] = /^[a-z_]+(?=:)/.exec(line) ?? [];
    const comment = COMMENTS[key];
    return comment === undefined ? [line] : [`# ${comment}`, line];
  });
  return [
    `# yaml-language-server: $schema=${path.startsWith('.') ? path : `./${path}`}`,
    `# Written by "highwater init". "highwater check" tests it against the API. All keys: docs/configuration.md in the package.`,
    ...lines,
  ].join('\n');
}

const COMMENTS: Record<string, string> = {
  source:
    'The API. Write credentials as references, ${env:NAME}: the worker reads them from its environment.',
  destination:
    'The DuckDB file; a relative path starts at the folder of the worker. Add "interval: 15m" to keep the sync running.',
  streams:
    'One table per stream. Without "columns", the columns follow from the records; "highwater discover FILE --write" writes them.',
};
