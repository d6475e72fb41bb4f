/** What strategies that read pages in the source's own order know of time: the newest record, asked for again next time. */
import type { Incremental, Note, PageSummary, PageTexts } from '../protocol.js';
import { climb, readTimestamps } from './cursors.js';
import { compare, minusSeconds } from './instants.js';

export type SinceMark = {
  /** The greatest timestamp seen; a pass begins there, less the lookback. */
  newest: string | null;
};

/** The parameter of a pass from `mark`: absent where everything is read. */
export function since(mark: SinceMark, incremental: Incremental | null): Record<string, string> {
  if (incremental === null) return {};
  const { start, lookbackSeconds } = incremental;
  if (mark.newest === null) return start === null ? {} : { updated_since: start };
  return { updated_since: lookbackSeconds > 0 ? minusSeconds(mark.newest, lookbackSeconds) : mark.newest };
}

/** The mark once a page was seen too. */
export function watch(
  { newest: before }: SinceMark,
  page: PageSummary,
  incremental: Incremental | null,
  notes: Note[],
): { mark: SinceMark; notes: Note[] } {
  if (incremental === null) return { mark: { newest: before }, notes };
  const { timestamps, notes: said } = readTimestamps(page.values, notes);
  const { greatest } = timestamps.reduce(climb, { greatest: before, below: null });
  return { mark: { newest: greatest }, notes: said };
}

/** Of a part of an answer what {@link watch} needs: its newest timestamp, and one of each that is none. */
export function newest(part: PageTexts): PageTexts {
  const values: (string | null)[] = [];
  let latest: string | null = null;
  for (const value of part.values) {
    const { timestamps } = readTimestamps([value], []);
    const [timestamp] = timestamps;
    if (timestamp === undefined) {
      if (values.length < 2 && !values.includes(value)) values.push(value);
    } else if (latest === null || compare(timestamp, latest) > 0) latest = timestamp;
  }
  return { keys: [], values: latest === null ? values : [...values, latest] };
}
