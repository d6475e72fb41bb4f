/** Checks what workflows are given: their arguments, and what signals and updates say. */
import { ApplicationFailure } from '@temporalio/common';
import { log } from '@temporalio/workflow';
import { inputProblems, same, type Inputs } from '../inputs.js';
import type { Json } from '../protocol.js';
import type { Decide } from './deletes.js';
import { readTarget } from './moves.js';
import type { Change } from './settings.js';
import type { SyncOptions } from './sync.js';

same<Inputs['options'], SyncOptions>(true);
same<Inputs['decide'], Decide>(true);
same<Inputs['change'], Change>(true);

/** Those that callers may ask for. */
const OPTIONS = [
  'full',
  'takeOver',
  'move',
  'moveOnly',
  'waitForApproval',
  'range',
] as const satisfies (keyof SyncOptions)[];

/**
 * Checks the arguments of a sync. What is not understood is refused, and not passed over.
 * @throws {ApplicationFailure} that says all that is wrong; the workflow ends with it.
 */
export function checkArguments(configuration: unknown, options: unknown): void {
  refuse('the first argument, the configuration,', inputProblems('configuration', configuration));
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  const what = `the second argument, the options (${OPTIONS.join(', ')}),`;
  refuse(what, isObject ? inputProblems('options', options) : ['must be an object such as {"full": true}']);
  const { move } = options as SyncOptions;
  if (move === undefined) return;
  try {
    readTarget(move);
  } catch (thrown) {
    refuse(what, [`move: ${thrown instanceof Error ? thrown.message : String(thrown)}`]);
  }
}

function refuse(what: string, problems: readonly string[] | null): void {
  if (problems === null) return;
  const message = `${what} cannot be used:\n  ${problems.join('\n  ')}`;
  throw ApplicationFailure.nonRetryable(message, 'ConfigurationError');
}

/**
 * Whether a signal says what it may say. One that says something else is logged and changes nothing: its sender waits
 * for no answer, and the sync has done nothing wrong.
 */
export function isValidSignal<Name extends 'change' | 'decide' | 'asks' | 'configure'>(
  name: Name,
  said: unknown,
): said is Inputs[Name] {
  const problems = inputProblems(name, said);
  if (problems === null) return true;
  log.warn('signal refused', { says: name, problems: problems.join('; ') });
  return false;
}

/** What is wrong with the arguments of the update `configure`; null where they can be used. */
export function configureProblem(configuration: Json, hash?: string): string | null {
  const said = { configuration, ...(hash !== undefined && { hash }) };
  return inputProblems('configure', said)?.join('; ') ?? null;
}
