/** Strategies that read a range of a source, beside the cursor that keeps the sync's place. */
import type {
  Cursor,
  Json,
  Range,
  RangePlan,
  RangeRequest,
  StrategyOptions,
  StreamPlan,
} from '../protocol.js';
import { endPass, quote } from './cursors.js';
import { cursorValues } from './filters.js';
import type { KeysetPosition } from './keyset.js';
import type { OffsetMark } from './offset.js';
import type { Strategy } from './strategy.js';
import { apart, earlier, type Values } from './values.js';

/** In what a range is told: values of the cursor field, ids, places in a list. Null: the source can only be read whole. */
export type RangeTerms = 'values' | 'ids' | 'offsets' | null;

export function rangeTerms(options: StrategyOptions): RangeTerms {
  switch (options.strategy) {
    case 'keyset':
    case 'timestamp':
    case 'replay':
      return 'values';
    case 'step_size':
      return 'ids';
    case 'offset':
      return options.incremental == null ? 'offsets' : 'values';
    case 'page_number':
    case 'cursor':
      return options.incremental === null ? null : 'values';
    case 'custom':
      return null;
  }
}

/** The values of a strategy's cursor field. */
export const valuesFor = (options: StrategyOptions): Values =>
  cursorValues('incremental' in options ? options.incremental : undefined);

const INTEGER = /^-?\d+$/;
const PLACE = /^\d{1,15}$/;
const DAY = /^\d{4}-\d\d-\d\d$/;

const formatOf = (options: StrategyOptions) =>
  ('incremental' in options ? options.incremental?.format : undefined) ?? 'timestamp';

/** A bound as the source writes such values: a day is its first instant. */
export const boundText = (options: StrategyOptions, text: string): string =>
  rangeTerms(options) === 'values' && formatOf(options) === 'timestamp' && DAY.test(text)
    ? `${text}T00:00:00Z`
    : text;

const order = (options: StrategyOptions, a: string, b: string): number => {
  if (rangeTerms(options) === 'values') return valuesFor(options).compare(a, b);
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? -1 : left > right ? 1 : 0;
};

/** Returns the problem of a range; null if it has none. */
export function rangeProblem(options: StrategyOptions, { from, to }: Range): string | null {
  const terms = rangeTerms(options);
  if (from === null && to === null) return null;
  if (terms === null) {
    return options.strategy === 'custom'
      ? `the strategy ${options.name} of an extension reads no ranges: omit --from and --to`
      : `the strategy ${options.strategy} always reads this whole source (there is no names.updated_since): omit --from and --to`;
  }
  const { what, isValue } =
    terms === 'values'
      ? valuesFor(options)
      : terms === 'ids'
        ? { what: 'an id (a whole number)', isValue: (text: string) => INTEGER.test(text) }
        : {
            what: 'an offset (a whole number of at least 0)',
            isValue: (text: string) => PLACE.test(text),
          };
  const example =
    terms === 'values' && formatOf(options) === 'timestamp' ? ', such as 2026-01-01T00:00:00Z' : '';
  for (const [name, text] of [
    ['from', from],
    ['to', to],
  ] as const) {
    if (text !== null && !isValue(text)) return `${name}: ${quote(text)} is not ${what}${example}`;
  }
  if (from !== null && to !== null && order(options, from, to) > 0) {
    return `the range ends before it begins: from ${quote(from)}, to ${quote(to)}`;
  }
  return null;
}

/** Returns why a valid range cannot be read from this stream; null if it can. */
export function unfitRange(
  { options, table }: Pick<StreamPlan, 'options' | 'table'>,
  { kind, from, to, repair = false, removeExtra = false }: Omit<RangeRequest, 'from' | 'to'> & Range,
): string | null {
  if (options.strategy === 'custom' && (kind === 'backfill' || !options.readsAll)) {
    return kind === 'backfill'
      ? `the strategy ${options.name} of an extension reads no ranges (to read everything again, use "highwater start --full")`
      : `the strategy ${options.name} of an extension does not read its whole source, so that an audit cannot tell which rows it lacks`;
  }
  if (kind === 'backfill' && from === null && to === null) {
    return rangeTerms(options) === null
      ? `every pass of the strategy ${options.strategy} reads this whole source: there is no range to backfill`
      : 'a backfill needs --from, --to or both (to read everything again, use "highwater start --full")';
  }
  if (!removeExtra) return null;
  if (!repair) return '--remove-extra needs --repair';
  return table.mode === 'append'
    ? '--remove-extra does not work in mode append, which keeps every row'
    : null;
}

/** How far a sync has come, in the terms of its ranges; null where it has no such mark. */
export function reachedBy(options: StrategyOptions, cursor: Cursor | null): string | null {
  const mark = (cursor?.mark ?? null) as { [name: string]: Json } | null;
  if (mark === null) return null;
  switch (options.strategy) {
    case 'keyset':
      return textOrNull(mark['last_updated_at']);
    case 'timestamp':
    case 'replay':
      return textOrNull(mark['last_timestamp']);
    case 'step_size':
      return textOrNull(mark['current_id']);
    case 'offset': {
      if (options.incremental != null) return textOrNull(mark['newest']);
      const read = Number(mark['offset'] ?? 0);
      return read > 0 ? String(read - 1) : null;
    }
    case 'page_number':
    case 'cursor':
      return options.incremental === null ? null : textOrNull(mark['newest']);
    case 'custom':
      return null;
  }
}

const textOrNull = (value: Json | undefined) => (typeof value === 'string' ? value : null);

/** Returns the lower of two upper ends. */
export function lowerEnd(options: StrategyOptions, a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return order(options, a, b) <= 0 ? a : b;
}

/** Returns the part of a range that is written or compared: nothing that is still ahead of the sync. */
export const comparedRange = (options: StrategyOptions, range: RangePlan): Range => ({
  from: range.from,
  to: lowerEnd(options, range.to, range.reached),
});

/** Facts about a record that decide whether it lies in a range. */
export interface Located {
  key: string;
  value: string | null;
  /** Its place in the list, where the request was for one. */
  place: number;
}

/** Whether a record lies in a range. One whose value cannot be read lies in none that has an end. */
export function withinRange(options: StrategyOptions, { from, to }: Range): (record: Located) => boolean {
  const between = (text: string) =>
    (from === null || order(options, text, from) >= 0) && (to === null || order(options, text, to) <= 0);
  if (from === null && to === null) return () => true;
  switch (rangeTerms(options)) {
    case 'values': {
      const { isValue } = valuesFor(options);
      return ({ value }) => value !== null && isValue(value) && between(value);
    }
    case 'ids':
      return ({ key, value }) => [key, value ?? ''].some((text) => INTEGER.test(text) && between(text));
    case 'offsets':
      return ({ place }) => between(String(place));
    case null:
      return () => true;
  }
}

/** Two bounds have so much in common at least that what lies on an edge is asked for, whatever the API leaves out. */
const SLACK_MILLISECONDS = 1000;

/**
 * A strategy that reads a range and no more of the source than it must: its pass begins at the range's beginning, and
 * ends where nothing of the range can follow. What it reads beside the range is told apart by {@link withinRange}.
 * @param create makes a strategy of options.
 * @param stops false: it reads on to the source's end, where records are found that have moved out of the range.
 */
export function createRanged(
  options: StrategyOptions,
  range: Range,
  stops: boolean,
  create: (options: StrategyOptions) => Strategy,
): Strategy {
  const { from, to } = range;
  const inner = create(ranged(options, range));
  const end = stops ? to : null;

  function first(now: string): Cursor {
    if (rangeTerms(options) === 'offsets' && from !== null && from !== '0') {
      const mark: OffsetMark = { offset: Number(from), anchors: [], lowered: null, scanned_at: null };
      return inner.begin({ pass: 0, mark, position: null, ended: 'empty_page', notes: [] }, now);
    }
    return inner.begin(null, upperBoundTime(options, end, now));
  }

  /** Whether nothing of the range can follow. */
  function isPast(cursor: Cursor, values: readonly (string | null)[]): boolean {
    if (end === null) return false;
    if (options.strategy === 'offset' && rangeTerms(options) === 'offsets') {
      return Number((cursor.position as { offset?: Json } | null)?.offset ?? 0) > Number(end);
    }
    if (options.strategy !== 'keyset') return false;
    // A source out of order may have more of it anywhere.
    if ((cursor.position as KeysetPosition | null)?.unordered !== false) return false;
    const order = valuesFor(options);
    const { isValue } = order;
    const readable = values.filter((text): text is string => text !== null && isValue(text));
    const [first, last] = [readable[0], readable.at(-1)];
    // A page of one value shows no order: the next one may lie before it.
    return (
      first !== undefined &&
      last !== undefined &&
      apart(order, first, last) < 0 &&
      apart(order, last, end) > 0
    );
  }

  return {
    ...inner,
    remembers: { keys: 'all', values: 'all' },

    begin: (checkpoint, now) =>
      checkpoint !== null && checkpoint.ended === null ? inner.begin(checkpoint, now) : first(now),

    advance(cursor, page) {
      const next = inner.advance(cursor, page);
      // A greatest id that was asked for is no limit that anybody might have set too low.
      const notes = to === null ? next.notes : next.notes.filter(({ code }) => code !== 'max_id_near');
      if (next.ended === null && isPast(next, page.values))
        return endPass(next, 'range_end', next.mark, notes);
      return { ...next, notes };
    },

    ...(inner.ahead !== undefined && {
      ahead: (cursor: Cursor, count: number) =>
        (inner.ahead?.(cursor, count) ?? []).filter(
          ({ params }) => end === null || !(Number(params['offset'] ?? 0) > Number(end)),
        ),
    }),
  };
}

/** The options by which a first pass begins where the range does. */
function ranged(options: StrategyOptions, { from, to }: Range): StrategyOptions {
  if (options.strategy === 'step_size') {
    return {
      ...options,
      ...(from !== null && { initialId: from }),
      // An end that the user names includes all that lies before it.
      ...(to !== null && { maxId: to, maxEmptySteps: null }),
    };
  }
  if (rangeTerms(options) === 'offsets') {
    return { ...options, fullRescan: null } as StrategyOptions;
  }
  if (options.strategy === 'custom' || rangeTerms(options) === null) return options;
  const incremental = 'incremental' in options ? (options.incremental ?? null) : null;
  const given = incremental ?? { start: null, lookbackSeconds: 0 };
  const start = from === null ? given.start : (valueBelow(options, from) ?? given.start);
  return { ...options, incremental: { ...given, lookbackSeconds: 0, start } };
}

/** A value just below: an API may leave out what has the very value that is asked for. Null where there is none. */
function valueBelow(options: StrategyOptions, value: string): string | null {
  return formatOf(options) === 'string' ? null : earlier(valuesFor(options), value, 1);
}

/** The time at which a pass would have to begin to ask for no more than is wanted. */
function upperBoundTime(options: StrategyOptions, end: string | null, now: string): string {
  const { clock } = valuesFor(options);
  const incremental = 'incremental' in options ? options.incremental : undefined;
  if (end === null || clock === null || incremental?.sendsUntil !== true) return now;
  const slack = Math.max(clock.unit(end), SLACK_MILLISECONDS) + (incremental.settleSeconds ?? 0) * 1000;
  return new Date(clock.read(end) + slack).toISOString();
}
