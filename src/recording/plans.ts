import { planNamed } from '../config/index.js';
import type { Json, StreamPlan } from '../protocol.js';

/**
 * Returns plans in an order in which each follows its parent.
 * @param stream only this one and its parents; absent: all.
 * @throws {ConfigurationError} where there is no such stream.
 */
export function withParents(plans: readonly StreamPlan[], stream?: string): StreamPlan[] {
  const ordered: StreamPlan[] = [];
  const add = (plan: StreamPlan) => {
    if (ordered.includes(plan)) return;
    const parent = plans.find((one) => one.stream === plan.parent?.stream);
    if (parent !== undefined) add(parent);
    ordered.push(plan);
  };
  const chosen =
    stream === undefined
      ? plans
      : [planNamed({ plans: [...plans], shape: { name: null, maxStreams: 1 } }, stream)];
  for (const plan of chosen) add(plan);
  return ordered;
}

/** Returns the configuration with another destination. */
export const ofOwnDestination = (configuration: Json, destination: string): Json =>
  typeof configuration === 'object' && configuration !== null && !Array.isArray(configuration)
    ? { ...configuration, destination }
    : configuration;
