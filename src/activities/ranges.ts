import type { ConcludeRequest, CursorColumn, Destination, Ranges } from '../destinations/destination.js';
import { InputRefusedError, RangeRefusedError } from '../errors.js';
import {
  allChildren,
  childTable,
  INCOMPLETE,
  type Checkpoint,
  type Cursor,
  type Holder,
  type Range,
  type RangePlan,
  type RangeRequest,
  type StreamKey,
  type StreamPlan,
} from '../protocol.js';
import {
  boundText,
  comparedRange,
  rangeProblem,
  rangeTerms,
  reachedBy,
  unfitRange,
} from '../strategies/index.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { streamKey } from '../plan/stream-key.js';

const KEYS_SHOWN = 20;
const KEYS_LIMIT = 1000;
/** After this long the state of a range whose workflow was terminated is removed. */
const KEPT_MILLISECONDS = 24 * 60 * 60 * 1000;

/** @throws {RangeRefusedError} */
export function rangesOf({ ranges }: Destination): Ranges {
  if (ranges === undefined)
    throw new RangeRefusedError('this destination supports neither backfills nor audits');
  return ranges;
}

/**
 * A range as it was asked for, checked: what cannot be is refused before anything is written.
 * @throws {RangeRefusedError}
 */
export async function checkedRange(
  plan: StreamPlan,
  destination: Destination,
  asked: RangeRequest | RangePlan,
): Promise<RangePlan> {
  // It began in an earlier run or on another worker.
  if ('began' in asked) return asked;
  const { options } = plan;
  const ends: Range = {
    from: asked.from === undefined ? null : boundText(options, asked.from),
    to: asked.to === undefined ? null : boundText(options, asked.to),
  };
  const { kind, repair = false, removeExtra = false, keys = KEYS_SHOWN } = asked;
  const ranges = rangesOf(destination);
  const problem =
    rangeProblem(options, ends) ??
    unfitRange(plan, { ...asked, ...ends }) ??
    ranges.refusal(kind, plan.table, kind === 'backfill' || repair);
  if (problem !== null) throw new RangeRefusedError(problem);
  const key = streamKey(plan);
  const began = await ranges.now(key);
  return {
    ...ends,
    kind,
    repair,
    removeExtra,
    began,
    keys: Math.min(Math.max(0, Math.floor(keys)), KEYS_LIMIT),
    reached: kind === 'audit' ? reach(plan, await ranges.stands(key)) : null,
  };
}

/** How far the sync has come: what an audit may expect of the table. */
function reach({ options, parent }: StreamPlan, stands: Checkpoint | null): string | null {
  // Each parent has a mark of its own.
  if (parent != null || rangeTerms(options) === null) return null;
  const cursor = stands?.cursor ?? null;
  const reached = reachedBy(options, cursor);
  if (reached !== null) return reached;
  // A source without records has no mark either.
  if (cursor !== null && (cursor.ended !== null || cursor.pass > 1)) return null;
  throw new RangeRefusedError(
    cursor === null
      ? 'there is nothing to audit: no sync has run with this configuration yet'
      : 'the first pass of the sync has not ended yet: start the audit after it',
  );
}

/** Removes the state of other ranges of the table whose workflows no longer run. */
export async function removeForsaken(
  key: StreamKey,
  destination: Destination,
  isRunning: (holder: Holder) => Promise<boolean>,
): Promise<void> {
  const ranges = rangesOf(destination);
  for (const { key: other, holder, updated } of await ranges.kept(key)) {
    if (Date.now() - Date.parse(updated) < KEPT_MILLISECONDS) continue;
    if (!(await isRunning(holder))) await ranges.forget(other);
  }
}

/** The column that says which version of a row is the newer one; null where the source has none. */
export const cursorColumn = ({ cursorField: field, options }: StreamPlan): CursorColumn | null =>
  field === '' || options.strategy === 'step_size'
    ? null
    : { field, format: ('incremental' in options ? options.incremental?.format : undefined) ?? 'timestamp' };

/** Looks at what an audit has found once more, now that all of it is read. */
export const concludeRange =
  ({ host }: Dependencies): Activities['concludeRange'] =>
  ({ plan, destination: path, cursor, met }) =>
    reporting(() =>
      beating(
        () => 'comparing',
        async () => {
          const { destination } = await host.get(path);
          const { range, table } = plan;
          if (range === undefined) throw new Error('a sync has nothing to conclude');
          return rangesOf(destination).conclude({
            key: streamKey(plan),
            table,
            ...(plan.children !== undefined && { children: allChildren(plan.children).map(childTable) }),
            range,
            scope: scopeOf(plan, cursor),
            removes: met > 0,
            newest: cursorColumn(plan),
          });
        },
      ),
    );

/** Removes all that is kept of a range. */
export const forgetRange =
  ({ host }: Dependencies): Activities['forgetRange'] =>
  ({ plan, destination: path }) =>
    reporting(() =>
      beating(
        () => 'forgetting',
        async () => {
          // Without a range the key is that of the sync itself.
          if (plan.range === undefined)
            throw new InputRefusedError('the plan', ['it has no range to forget']);
          await rangesOf((await host.get(path)).destination).forget(streamKey(plan));
        },
      ),
    );

/** Notes of passes that may have left out records which are there. */
const UNSURE = [...INCOMPLETE, 'ties_out_of_reach', 'ties_scroll', 'unordered'];

/** Which rows an audit would have met had they been there, or why that cannot be told. */
export function scopeOf(plan: StreamPlan, cursor: Cursor): ConcludeRequest['scope'] {
  const { options, range, table, cursorField } = plan;
  if (range === undefined) return 'it is not a range';
  if (cursor.ended === null) return 'the range was not read to its end';
  const unsure = cursor.notes.find(({ code }) => UNSURE.includes(code));
  if (unsure !== undefined) return `some records may not have been read: ${unsure.message}`;
  const { from, to } = comparedRange(options, range);
  switch (rangeTerms(options)) {
    case null:
      return null;
    case 'offsets':
      return (from === null || from === '0') && range.to === null
        ? null
        : 'the table does not show which rows lie between two offsets of the list; omit --from and --to to compare all rows';
    case 'ids': {
      if (options.strategy !== 'step_size') return null;
      if (to === null && cursor.ended === 'max_empty_steps')
        return 'ids after the last empty range were not requested';
      const [key = '', ...others] = table.primaryKey;
      const field = others.length === 0 ? key : cursorField;
      return { field, format: 'integer', from: from ?? options.initialId, to: to ?? options.maxId };
    }
    case 'values': {
      const incremental = 'incremental' in options ? (options.incremental ?? null) : null;
      const lower = from ?? incremental?.start ?? null;
      if (lower === null && to === null) return null;
      if (plan.cursorFields !== undefined)
        return `the table does not show which rows lie in the range, because "cursor_field" lists several fields: ${plan.cursorFields.join(', ')}`;
      return { field: cursorField, format: incremental?.format ?? 'timestamp', from: lower, to };
    }
  }
}
