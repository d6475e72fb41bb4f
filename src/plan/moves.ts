import { isDeepStrictEqual } from 'node:util';
import { cursorFromOwnState } from '../config/state.js';
import type { StreamMove } from '../destinations/destination.js';
import { ChangeRefusedError, ConfigurationError, MoveRefusedError } from '../errors.js';
import { strategyName, type Json, type LastOpened, type Move, type StreamPlan } from '../protocol.js';
import { type CustomStrategies, NO_STRATEGIES, strategyOf } from '../strategies/index.js';
import { sourceIdentity } from '../sources/references.js';

/**
 * A move as destinations know it.
 * @throws {MoveRefusedError} where a stream cannot be moved so.
 */
export function streamMove(
  { id, to }: Move,
  plan: StreamPlan,
  custom: CustomStrategies = NO_STRATEGIES,
): StreamMove {
  if ('start' in to) return { id, to, said: 'started over' };
  if ('here' in to) return { id, to, said: 'configuration changed' };
  if (plan.parent != null) {
    throw new MoveRefusedError(
      `${plan.stream} is read once for each row of ${plan.parent.stream} and has no history of those cursors: ` +
        'it can only be moved to the start',
    );
  }
  if ('batch' in to) return { id, to, said: `moved to batch ${to.batch}` };
  if ('time' in to) return { id, to, said: `moved to where it stood at ${to.time}` };
  try {
    const cursor = cursorFromOwnState(to.state, plan.options, new Date().toISOString(), 'the state');
    return {
      id,
      to: { cursor },
      said: `set to ${stateText(strategyOf(plan, custom).strategy.state(cursor))}`,
    };
  } catch (thrown) {
    throw thrown instanceof ConfigurationError ? new MoveRefusedError(thrown.message) : thrown;
  }
}

const stateText = (state: { [name: string]: Json }) =>
  Object.entries(state)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');

/**
 * Whether a plan reads or writes otherwise than the one before: what a pass has met until then is then not all that it
 * would have met.
 * @throws {ChangeRefusedError} where it is another stream.
 */
export function readsOtherwise(
  { plan: from, destination }: LastOpened,
  { plan: to, destination: wantedDestination }: LastOpened,
): boolean {
  const problems = (
    [
      ['the table', `${from.table.schema}.${from.table.table}`, `${to.table.schema}.${to.table.table}`],
      ['the strategy', strategyName(from.options), strategyName(to.options)],
      ['the source', sourceIdentity(from.baseUrl), sourceIdentity(to.baseUrl)],
      ['the parent', from.parent?.stream ?? 'none', to.parent?.stream ?? 'none'],
      ['the destination', destination, wantedDestination],
    ] as const
  ).flatMap(([what, is, wanted]) => (is === wanted ? [] : [`${what} is ${is} and would be ${wanted}`]));
  if (problems.length > 0) throw new ChangeRefusedError(problems);
  const reading = ({
    options,
    request,
    table,
    cursorField,
    cursorFields,
    parent = null,
    children,
  }: StreamPlan) => {
    // How many rows may go without asking says nothing of what is read.
    const { maxDeletes: _, ...written } = table;
    return {
      options,
      request: { ...request, rateLimit: null },
      table: written,
      cursorField,
      cursorFields,
      parent,
      children,
    };
  };
  return !isDeepStrictEqual(reading(from), reading(to));
}
