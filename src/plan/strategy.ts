import { ExtensionMissingError } from '../errors.js';
import type { StreamPlan } from '../protocol.js';
import { type CustomStrategies, StrategyMissingError, strategyOf } from '../strategies/index.js';

/**
 * Returns the strategy of a plan; see {@link strategyOf}.
 * @throws {ExtensionMissingError} if the strategy is one of an extension that is not here.
 */
export function planStrategy(plan: StreamPlan, custom: CustomStrategies): ReturnType<typeof strategyOf> {
  try {
    return strategyOf(plan, custom);
  } catch (thrown) {
    if (!(thrown instanceof StrategyMissingError)) throw thrown;
    throw new ExtensionMissingError(thrown.message);
  }
}
