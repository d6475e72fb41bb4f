/** Checks the inputs of workflows: arguments, signals and updates. */
import { ApplicationFailure } from '@temporalio/common';
import { log } from '@temporalio/workflow';
import { inputProblems, same, type Inputs } from '../inputs.js';
import type { Json } from '../protocol.js';
import type { Decide } from './deletes.js';
import { readTarget } from '../move-target.js';
import type { Change } from './settings.js';
import type { SyncOptions } from './sync.js';

same<Inputs['options'], SyncOptions>(true);
same<Inputs['decide'], Decide>(true);
same<Inputs['change'], Change>(true);

/** Options that callers may set. */
const OPTIONS = [
  'full',
  'takeOver',
  'move',
  'moveOnly',
  'waitForApproval',
  'range',
] as const satisfies (keyof SyncOptions)[];

/**
 * Checks the arguments of a sync; unknown ones are refused.
 * @throws {ApplicationFailure} with all problems; the workflow ends with it.
 */
export function checkArguments(configuration: unknown, options: unknown): void {
  throwIfAny('the first argument, the configuration,', inputProblems('configuration', configuration));
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  const what = `the second argument, the options (${OPTIONS.join(', ')}),`;
  throwIfAny(
    what,
    isObject ? inputProblems('options', options) : ['must be an object such as {"full": true}'],
  );
  const { move } = options as SyncOptions;
  if (move === undefined) return;
  try {
    readTarget(move);
  } catch (thrown) {
    throwIfAny(what, [`move: ${thrown instanceof Error ? thrown.message : String(thrown)}`]);
  }
}

function throwIfAny(what: string, problems: readonly string[] | null): void {
  if (problems === null) return;
  const message = `${what} is invalid:\n  ${problems.join('\n  ')}`;
  throw ApplicationFailure.nonRetryable(message, 'ConfigurationError');
}

/** Whether a signal has valid content. One that has not is logged and changes nothing, as its sender waits for no answer. */
export function isValidSignal<Name extends 'change' | 'decide' | 'asks' | 'configure'>(
  name: Name,
  content: unknown,
): content is Inputs[Name] {
  const problems = inputProblems(name, content);
  if (problems === null) return true;
  log.warn('signal refused', { says: name, problems: problems.join('; ') });
  return false;
}

/** Returns what is wrong with the arguments of the update `configure`, or null. */
export function configureProblem(configuration: Json, hash?: string): string | null {
  const content = { configuration, ...(hash !== undefined && { hash }) };
  return inputProblems('configure', content)?.join('; ') ?? null;
}
