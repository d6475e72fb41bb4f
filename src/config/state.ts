import { ConfigurationError, type Problem } from '../errors.js';
import {
  type Cursor,
  type Incremental,
  type Json,
  REFERENCE_STRATEGIES,
  type StrategyOptions,
} from '../protocol.js';
import {
  earlier,
  FIRST_TIMESTAMP,
  type KeysetCursor,
  type OffsetCursor,
  type StepSizeCursor,
  type TimestampCursor,
  type Values,
  valuesFor,
  valuesOf,
} from '../strategies/index.js';
import { kindOf, show } from './problems.js';
import { suggestion } from '../text.js';

/** Members of the reference connector's state, by strategy; `optional` are members that our own queries add. */
const KEYS = {
  keyset: { needed: 'last_updated_at', optional: ['scroll_param'] },
  offset: { needed: 'offset', optional: [] },
  timestamp: { needed: 'last_timestamp', optional: [] },
  step_size: { needed: 'current_id', optional: [] },
  replay: { needed: 'last_timestamp', optional: [] },
} as const;

/** Taken off a mark of which it is not known what lies below it: a second, or one where marks are integers. */
const MARGIN = 1;

/**
 * The cursor that Highwater would have where the reference connector stands, made from that connector's state. The
 * next pass begins no further back than any of ours: a second before a timestamp for records that join it later,
 * `id_lookback` before an id.
 * @param now ISO 8601: when re-scans of `full_rescan` count from.
 * @throws {ConfigurationError} with every problem of the state at once.
 */
export function cursorFromState(
  state: unknown,
  options: StrategyOptions,
  now: string,
  file?: string,
): Cursor {
  const { strategy } = options;
  if (!isReference(strategy)) {
    throw new ConfigurationError(
      [
        {
          path: '',
          message: `cannot be imported for the strategy ${strategy}; only for ${REFERENCE_STRATEGIES.join(', ')}`,
        },
      ],
      file,
    );
  }
  if (typeof state !== 'object' || state === null || Array.isArray(state)) {
    throw new ConfigurationError(
      [{ path: '', message: `must be an object of keys and values, not ${kindOf(state)}` }],
      file,
    );
  }
  const problems: Problem[] = [];
  const given = state as { [name: string]: Json };
  const { needed, optional } = KEYS[strategy];
  const known: readonly string[] = [needed, ...optional];
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) problems.push({ path: key, message: foreignKeyProblem(key, strategy, known) });
  }
  const problem = (path: string, message: string) => void problems.push({ path, message });
  const cursor = Object.hasOwn(given, needed)
    ? read(given, options, now, problem)
    : (problem(needed, `is missing from the state of ${strategy}`), null);
  if (cursor === null || problems.length > 0) throw new ConfigurationError(problems, file);
  return cursor;
}

/**
 * The cursor where a state of ours says, as the query `state` shows it: also of strategies that the reference connector
 * does not know.
 * @throws {ConfigurationError}
 */
export function cursorFromOwnState(
  state: { [name: string]: Json },
  options: StrategyOptions,
  now: string,
  name: string,
): Cursor {
  if (options.strategy === 'custom') {
    const message = `cannot be set: only the strategy ${options.name} of an extension knows its cursors. Move to a batch, a time or the start`;
    throw new ConfigurationError([{ path: '', message }], name);
  }
  const { strategy } = options;
  if (strategy !== 'page_number' && strategy !== 'cursor') return cursorFromState(state, options, now, name);
  const { incremental } = options;
  const problems: Problem[] = [];
  const problem = (path: string, message: string) => void problems.push({ path, message });
  if (incremental === null)
    problem('', `cannot be set: each pass of this ${strategy} stream reads everything`);
  for (const key of Object.keys(state)) {
    if (key !== 'newest') problem(key, `is not part of the state of ${strategy}; set "newest"`);
  }
  const newest = markIn(state, 'newest', valuesOf(incremental?.format), problem);
  if (problems.length > 0) throw new ConfigurationError(problems, name);
  return ended({ mark: { newest }, rule: 'no_next_token' });
}

type Reference = keyof typeof KEYS;
const isReference = (name: string): name is Reference => Object.hasOwn(KEYS, name);

function foreignKeyProblem(key: string, strategy: string, known: readonly string[]): string {
  const owners = Object.entries(KEYS).flatMap(([name, { needed, optional }]) =>
    [needed, ...optional].some((own) => own === key) ? name : [],
  );
  if (owners.length > 0) {
    return `belongs to the state of ${owners.join(' and ')}, but this stream's strategy is ${strategy}`;
  }
  return `is not a key of the state of ${strategy}, which has ${known.join(' and ')}${suggestion(key, known)}`;
}

type Say = (path: string, message: string) => void;

/** Null where a problem was said. */
function read(
  given: { [name: string]: Json },
  options: StrategyOptions,
  now: string,
  problem: Say,
): Cursor | null {
  switch (options.strategy) {
    case 'keyset': {
      const mark = markIn(given, 'last_updated_at', valuesOf(options.incremental?.format), problem);
      const token = given['scroll_param'] ?? null;
      if (token !== null && (typeof token !== 'string' || token === '')) {
        problem('scroll_param', `must be a page token (a text) or null, not ${show(token)}`);
        return null;
      }
      return mark === null ? null : keyset(mark, below(mark, options), token);
    }
    case 'offset': {
      const offset = wholeNumber(given, 'offset', problem);
      if (offset === null) return null;
      if (offset > BigInt(Number.MAX_SAFE_INTEGER)) {
        problem('offset', `${offset} is larger than any list can be`);
        return null;
      }
      const mark = { offset: Number(offset), anchors: [], lowered: null, scanned_at: now };
      return ended<OffsetCursor>({ mark, rule: 'empty_page' });
    }
    case 'timestamp':
    case 'replay': {
      const mark = markIn(given, 'last_timestamp', valuesOf(options.incremental?.format), problem);
      if (mark === null) return null;
      return ended<TimestampCursor>({
        mark: { last_timestamp: mark, below: below(mark, options), inclusive: false },
        rule: 'whole_answer',
      });
    }
    case 'step_size': {
      const next = wholeNumber(given, 'current_id', problem);
      if (next === null) return null;
      // The state says what is asked next, the mark what was read.
      const mark = { current_id: String(next > 0n ? next - 1n : 0n) };
      return ended<StepSizeCursor>({ mark, rule: 'max_id' });
    }
    default:
      return null;
  }
}

/** Stands for the value below a mark. Texts have none: the mark itself is asked for again. */
const below = (mark: string, options: Extract<StrategyOptions, { incremental?: Incremental }>) =>
  options.incremental?.format === 'string' ? mark : earlier(valuesFor(options), mark, MARGIN);

function keyset(mark: string, lower: string, token: string | null): Cursor {
  if (token === null) {
    return ended<KeysetCursor>({
      mark: { last_updated_at: mark, below: lower, inclusive: false, unordered: false },
      rule: 'no_next_token',
    });
  }
  // A pass in the middle: its token is followed, and no pass has proven a mark yet.
  const cursor: KeysetCursor = {
    pass: 1,
    mark: { last_updated_at: null, below: null, inclusive: false, unordered: false },
    position: {
      greatest: mark,
      below: lower,
      token,
      floor: mark,
      trail: null,
      jumped: false,
      inclusive: false,
      unordered: false,
    },
    ended: null,
    notes: [],
  };
  return cursor;
}

function ended<C extends Cursor>({ mark, rule }: { mark: C['mark']; rule: C['ended'] }): Cursor {
  return { pass: 1, mark, position: null, ended: rule, notes: [] };
}

/** A mark as the stream's cursor field writes it. */
function markIn(given: { [name: string]: Json }, key: string, values: Values, problem: Say): string | null {
  const raw = given[key] ?? null;
  if (isRounded(raw)) {
    problem(key, ROUNDED);
    return null;
  }
  const isNumber = typeof raw === 'number' && values !== valuesOf('string') && values !== valuesOf();
  const value = isNumber ? String(raw) : raw;
  if (typeof value !== 'string' || !values.isValue(value)) {
    const example = values === valuesOf() ? ' such as "2026-01-31T12:00:00Z"' : '';
    problem(key, `must be ${values.what}${example}, not ${show(raw)}`);
    return null;
  }
  if (value === FIRST_TIMESTAMP) {
    problem(key, `${show(value)} means that nothing has been read yet, so there is nothing to continue from`);
    return null;
  }
  return value;
}

const isRounded = (value: Json) =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
const ROUNDED = 'is beyond 2^53, where numbers in JSON lose digits; write it as text, in quotes';

function wholeNumber(given: { [name: string]: Json }, key: string, problem: Say): bigint | null {
  const value = given[key] ?? null;
  const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : '';
  if (isRounded(value)) {
    problem(key, ROUNDED);
    return null;
  }
  if (!/^\d{1,30}$/.test(text)) {
    problem(key, `must be a whole number of at least 0, not ${show(value)}`);
    return null;
  }
  return BigInt(text);
}
