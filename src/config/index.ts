import { createHash } from 'node:crypto';
import { ConfigurationError, type Problem } from '../errors.js';
import type { Json, StreamPlan } from '../protocol.js';
import { planFromFlat } from './flat.js';
import { shapeProblem } from './problems.js';
import { isFull, plansFromFull, type SyncShape, unknownStream } from './full.js';
import { openConfiguration } from './load.js';
import { referenceProblems } from './references.js';
import { sizeProblems } from './size.js';
import { destinationProblems, unfitProblems } from './custom-destination.js';
import { extensionsOf, type LoadedExtensions, loadExtensions, NO_EXTENSIONS } from '../extensions.js';

export { parseDuration } from '../durations.js';
export { customScheme, destinationKind, isServer, schemaOf } from './destination-kind.js';
export { planFromFlat } from './flat.js';
export { asOnePass, withMaxDeletes } from './overrides.js';
export { MAX_DELETES_ALLOWED, readMaxDeletes } from './values.js';
export { isFull } from './full.js';
export { jsonSchema } from './full-schema.js';
export { asConfiguration, loadConfiguration, openConfiguration } from './load.js';
export { isProgram } from './program.js';
export {
  type Configuration,
  defineSync,
  type ExtensionStrategies,
  type FlatConfiguration,
  type FullConfiguration,
  type StreamConfiguration,
} from './types.js';

/** The plans of a configuration in either form. */
export interface Plans {
  plans: StreamPlan[];
  shape: SyncShape;
}

/**
 * Checks a configuration, flat or full, and turns it into a plan for each stream.
 * @param draft for `discover`: columns, primary key and cursor field need not be given.
 * @param extensions strategies and destinations that it may name.
 * @throws {ConfigurationError} with every problem at once.
 */
export function plansFrom(
  raw: unknown,
  file?: string,
  draft = false,
  extensions: LoadedExtensions = NO_EXTENSIONS,
): Plans {
  const wrong =
    shapeProblem(raw) === null ? [...referenceProblems(raw), ...destinationProblems(raw, extensions)] : [];
  const made = withProblems(wrong, file, () =>
    isFull(raw)
      ? plansFromFull(raw, file, draft, extensions.strategies)
      : { plans: [planFromFlat(raw, file, draft)], shape: { name: null, maxStreams: 1 } },
  );
  const problems = [
    ...sizeProblems(raw as Json, made.plans),
    ...(draft ? [] : unfitProblems(raw, made.plans, extensions)),
  ];
  if (problems.length > 0) throw new ConfigurationError(problems, file);
  return made;
}

/** Makes plans, and adds what is wrong with references and destination to what else is wrong. @throws {ConfigurationError} */
function withProblems(wrong: Problem[], file: string | undefined, make: () => Plans): Plans {
  const paths = new Set(wrong.map(({ path }) => path));
  try {
    const made = make();
    if (wrong.length === 0) return made;
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError) || wrong.length === 0) throw thrown;
    wrong.push(...thrown.problems.filter(({ path }) => !paths.has(path)));
  }
  throw new ConfigurationError(wrong, file);
}

/**
 * Reads a configuration file and checks it, with the extensions that HIGHWATER_EXTENSIONS names.
 * @throws {ConfigurationError} with every problem at once, each with its line and column.
 */
export async function loadPlans(
  file: string,
  draft = false,
): Promise<{ configuration: Json; plans: Plans; extensions: LoadedExtensions }> {
  const extensions = await loadExtensions(extensionsOf(process.env));
  const read = await openConfiguration(file);
  const plans = read.checked((raw, name) => plansFrom(raw, name, draft, extensions));
  return { configuration: read.content, plans, extensions };
}

/**
 * The plan of one stream, or of the only one.
 * @throws {ConfigurationError}
 */
export function planFrom(
  raw: unknown,
  stream: string | null,
  extensions: LoadedExtensions = NO_EXTENSIONS,
): StreamPlan {
  return planNamed(plansFrom(raw, undefined, false, extensions), stream);
}

/**
 * Returns the plan of a stream, or the first.
 * @throws {ConfigurationError}
 */
export function planNamed({ plans }: Plans, stream: string | null): StreamPlan {
  const plan = stream === null ? plans[0] : plans.find((one) => one.stream === stream);
  if (plan === undefined) {
    throw new ConfigurationError([{ path: 'streams', message: unknownStream(stream ?? '', plans) }]);
  }
  return plan;
}

/** Short, and the same for the same value. */
export const hashOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);
