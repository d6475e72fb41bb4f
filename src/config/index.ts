import { resolve } from 'node:path';
import { ConfigurationError } from '../errors.js';
import type { StreamPlan } from '../protocol.js';
import { planFromFlat } from './flat.js';
import { isFull, plansFromFull, type SyncShape, unknownStream } from './full.js';

export { planFromFlat, parseDuration } from './flat.js';
export { jsonSchema } from './full.js';
export { loadConfiguration } from './load.js';

/** What a configuration in either form asks for. */
export interface Plans {
  plans: StreamPlan[];
  shape: SyncShape;
}

/**
 * Checks a configuration, flat or full, and turns it into a plan for each stream.
 * @throws {ConfigurationError} with every problem at once.
 */
export function plansFrom(raw: unknown, file?: string): Plans {
  if (isFull(raw)) return plansFromFull(raw, file);
  return { plans: [planFromFlat(raw, file)], shape: { name: null, maxStreams: 1 } };
}

/**
 * The plan of one stream, or of the only one.
 * @throws {ConfigurationError}
 */
export function planFrom(raw: unknown, stream: string | null): StreamPlan {
  return planNamed(plansFrom(raw), stream);
}

/**
 * Of plans the one of a stream, or the first.
 * @throws {ConfigurationError}
 */
export function planNamed({ plans }: Plans, stream: string | null): StreamPlan {
  const plan = stream === null ? plans[0] : plans.find((one) => one.stream === stream);
  if (plan === undefined) {
    throw new ConfigurationError([{ path: 'streams', message: unknownStream(stream ?? '', plans) }]);
  }
  return plan;
}

/** Absolute path of the file that a plan's rows go to. */
export function destinationOf(plan: StreamPlan | undefined, environment: NodeJS.ProcessEnv): string {
  return resolve(plan?.destination ?? environment['HIGHWATER_DESTINATION'] ?? 'highwater.duckdb');
}
