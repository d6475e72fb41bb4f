import type { Range, StrategyOptions, StreamPlan } from '../protocol.js';
import { createCursor } from './cursor.js';
import { createCustom, type CustomStrategies, NO_STRATEGIES } from './custom.js';
import { createKeyset } from './keyset.js';
import { createOffset } from './offset.js';
import { createPageNumber } from './page-number.js';
import { createPerParent, type PerParentStrategy } from './per-parent.js';
import { comparedRange, createRanged } from './ranged.js';
import { createReplay } from './replay.js';
import { createStepSize } from './step-size.js';
import type { Care, Strategy } from './strategy.js';
import { createTimestamp } from './timestamp.js';

export {
  type CustomStrategies,
  type CustomStrategy,
  definitionProblem,
  defineStrategy,
  NO_STRATEGIES,
  optionsProblems,
  type OptionsIssue,
  type OptionsResult,
  type OptionsSchema,
  type StrategyDefinition,
  StrategyMissingError,
} from './custom.js';
export { followToken, type TokenTrail } from './tokens.js';
export { PASS_RESTARTED, readValues, withLatestNote, withNote } from './cursors.js';
export { type Extent, extentOf, heldToken, pagesBehind } from './positions.js';
export { restartPass } from './restart.js';
export { valuesOf } from './formats.js';
export { FIRST as FIRST_TIMESTAMP, isTimestamp, minusSeconds } from './instants.js';
export type { KeysetCursor } from './keyset.js';
export type { OffsetCursor } from './offset.js';
export { createPerParent, type Parent, type PerParentCursor, type PerParentStrategy } from './per-parent.js';
export type { StepSizeCursor } from './step-size.js';
export {
  boundText,
  comparedRange,
  lowerEnd,
  rangeProblem,
  rangeTerms,
  reachedBy,
  unfitRange,
  valuesFor,
  withinRange,
  type Located,
} from './ranged.js';
export { isComparedUnordered } from './contents.js';
export { ASKED_ENOUGH } from './evidence.js';
export {
  ContradictionError,
  DoubtError,
  type Strategy,
  TokenCycleError,
  UnfollowableError,
} from './strategy.js';
export type { TimestampCursor } from './timestamp.js';
export { apart, earlier, type Values } from './values.js';

/**
 * The strategy of that name. A cursor belongs to the strategy that made it: keep them apart by name.
 * @param care what is done about an end that rests on one answer.
 * @param custom the strategies of extensions.
 * @throws {StrategyMissingError} for a strategy of an extension that is not among them.
 */
export function createStrategy(
  options: StrategyOptions,
  care: Care = 'usual',
  custom: CustomStrategies = NO_STRATEGIES,
): Strategy {
  switch (options.strategy) {
    case 'keyset':
      return createKeyset(options, care);
    case 'offset':
      return createOffset(options, care);
    case 'timestamp':
      return createTimestamp(options);
    case 'step_size':
      return createStepSize(options);
    case 'page_number':
      return createPageNumber(options, care);
    case 'cursor':
      return createCursor(options, care);
    case 'replay':
      return createReplay(options);
    case 'custom':
      return createCustom(options, custom);
  }
}

/** The strategy of that name over a range; see {@link createRanged}. */
export const createRangedStrategy = (
  options: StrategyOptions,
  range: Range,
  stops: boolean,
  custom: CustomStrategies = NO_STRATEGIES,
): Strategy => createRanged(options, range, stops, (inner) => createStrategy(inner, 'usual', custom));

/** How much an end is worth confirming: most where rows are deleted that a pass has not met. */
function careFor({ options, parent, table }: Pick<StreamPlan, 'options' | 'parent' | 'table'>): Care {
  if ((table.deletes !== undefined && table.unseen !== 'stay') || table.mode === 'replace') return 'thorough';
  const isIncremental = 'incremental' in options && options.incremental != null;
  return parent != null && !isIncremental ? 'none' : 'usual';
}

/**
 * The strategy of a plan, and that strategy again where it is run for each parent in turn.
 * @param custom the strategies of extensions.
 * @throws {StrategyMissingError}
 */
export function strategyOf(
  { options, parent = null, range, table }: StreamPlan,
  custom: CustomStrategies,
): {
  strategy: Strategy;
  perParent: PerParentStrategy | null;
} {
  const inner =
    range === undefined
      ? createStrategy(options, careFor({ options, parent, table }), custom)
      : createRangedStrategy(options, comparedRange(options, range), range.kind !== 'audit', custom);
  const perParent = parent === null ? null : createPerParent(inner);
  return { strategy: perParent ?? inner, perParent };
}
