/** Options and ending that `init URL` and `init --from` share. */
import { HighwaterError } from '../errors.js';
import type { AuthKind } from '../inspect/credentials.js';
import { type Checked, printFindings, problemsIn } from './check.js';
import { counted, print, shellWord, visible, wrapped } from './output.js';

export interface InitOptions {
  baseUrl?: string;
  path?: string;
  name?: string;
  strategy?: string;
  auth?: AuthKind;
  authName?: string;
  authIn?: 'header' | 'query' | 'cookie';
  authUrl?: string;
  from?: string;
  file?: string;
  yes?: boolean;
  force?: boolean;
  columns?: boolean;
  discover: boolean;
  json?: boolean;
}

/** The file is written, but it is not complete, or its check found problems. */
class InitIncompleteError extends HighwaterError {
  override readonly name = 'InitIncompleteError';
}

/** A configuration that `init` has written. */
export interface InitOutcome {
  file: string;
  /** All files that were written. */
  files: string[];
  variables: string[];
  /** Variables whose values were given, and are written nowhere. */
  secrets: string[];
  /** Prints what was found, in text. */
  printFound: () => void;
  /** The same as JSON, before and after the files. */
  json: { before?: object; after: object } | null;
  /** The reason why the file is not complete; null: it is. */
  missing: string | null;
  /** Null: not checked. */
  findings: Checked | null;
}

/** Prints the result and the next commands. @throws {InitIncompleteError} */
export function finishInit(outcome: InitOutcome): void {
  const { file, files, variables, findings, json } = outcome;
  if (json !== null) {
    const { before, after } = json;
    print(JSON.stringify({ status: 'written', ...before, files, variables, ...after, check: findings }));
  } else printOutcome(outcome);
  refuseIncomplete(outcome);
  if (json !== null) return;
  const steps = findings === null ? [`npx highwater check ${shellWord(file)}`] : [];
  print(
    `\nNext:\n${[...steps, `npx highwater run ${shellWord(file)}`].map((line) => `  ${line}`).join('\n')}`,
  );
}

function printOutcome({ files, variables, secrets, findings, printFound }: InitOutcome): void {
  printFound();
  print(`Wrote ${files.map(visible).join(' and ')}.`);
  const taken = secrets.filter((name) => variables.includes(name));
  if (taken.length > 0) {
    const text = `The file refers to ${taken.join(' and ')} instead of the values that it was given: they are written nowhere.`;
    print(wrapped(text, 0));
  }
  const unset = variables.filter((name) => process.env[name] === undefined);
  if (unset.length > 0) {
    const text = `Set ${unset.join(' and ')} in the environment of commands and workers, as .env.example says.`;
    print(wrapped(text, 0));
  }
  if (findings === null) return;
  print('\nChecked with "highwater check":');
  printFindings(findings);
}

/** @throws {InitIncompleteError} */
function refuseIncomplete({ file, missing, findings }: InitOutcome): void {
  if (missing !== null) throw new InitIncompleteError(`${file} is written, but is not complete: ${missing}`);
  const problems = findings === null ? 0 : problemsIn(findings);
  if (problems === 0) return;
  throw new InitIncompleteError(
    `${file} is written, but its check found ${counted(problems, 'problem')}: fix the file, then run "highwater check ${shellWord(file)}"`,
  );
}
