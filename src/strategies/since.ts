/** Passes over changes: they begin at the newest record seen, and may end at a bound that is fixed when they begin. */
import type { Incremental, Json, Note, PageSummary, PageTexts } from '../protocol.js';
import { raisePeak, readValues } from './cursors.js';
import { cursorValues } from './filters.js';
import { earlier, type Clock, type Values } from './values.js';

export type SinceMark = {
  /** The greatest value seen; a pass begins there, less the lookback. */
  newest: string | null;
};

/** The upper bound of a pass, and its current window; in milliseconds since 1970. */
export type Span = {
  /** Null where the pass is not cut into windows. */
  from: number | null;
  to: number;
  /** The end of the last window. */
  until: number;
};

export type SincePosition = SinceMark & { span?: Span };

/** The members of a mark or a position that are used here; an offset that began without changes has none. */
type Seen = { newest?: string | null; span?: Span };

/** A strategy's cursor field, as configured. */
export interface Since {
  readonly values: Values;
  /** The start that a pass from this mark asks for; null asks for everything. */
  from(newest: string | null | undefined): string | null;
  /** The bound of a pass that asks for that, and its first window; neither where none is configured. */
  reach(asked: string | null, now: string): { span?: Span };
  /** The window that follows; null after the last. */
  next(asked: string | null, span: Span | undefined): Span | null;
  /** The parameters of the bounds. */
  params(asked: string | null, span: Span | undefined): Record<string, string>;
  /** Returns the values of a page that may move the mark: none that lies beyond the pass's bound. */
  settled: (readable: readonly string[], asked: string | null, span: Span | undefined) => readonly string[];
  /** The mark and the notes once a page was seen too. */
  watch(mark: Seen, position: Seen, page: PageSummary, notes: Note[]): { mark: SinceMark; notes: Note[] };
  /** Reduces a part of an answer to the values that `watch` needs: the newest, and one of each kind that is none. */
  condense(mark: Seen, position: Seen, part: PageTexts): PageTexts;
  /** Whether the values of a cursor are of the configured format. */
  isReadable(texts: readonly (string | null | undefined)[], span: Span | undefined): boolean;
}

/** Timestamps from the first on. */
export const EVERYTHING: Incremental = { start: null, lookbackSeconds: 0 };

/** Two windows have so much in common at least, so that what lies on their edge is in one, whatever the API leaves out. */
const OVERLAP = 1000;

export function createSince(incremental: Incremental | null): Since {
  const { start = null, lookbackSeconds = 0, sendsUntil = false } = incremental ?? {};
  const { settleSeconds, windowSeconds } = incremental ?? {};
  const values = cursorValues(incremental);
  const { asked: filter } = values;
  const isBounded = settleSeconds !== undefined || sendsUntil;

  function clock(): Clock {
    if (values.clock === null) throw new Error(`${values.what} cannot be limited by a time`);
    return values.clock;
  }

  const window = (from: number, begin: number, until: number): Span => ({
    from,
    to: windowSeconds === undefined ? until : Math.min(begin + windowSeconds * 1000, until),
    until,
  });

  function from(newest: string | null = null): string | null {
    if (incremental === null) return null;
    if (newest === null) return start;
    return lookbackSeconds > 0 ? earlier(values, newest, lookbackSeconds) : newest;
  }

  function settled(
    readable: readonly string[],
    asked: string | null,
    span: Span | undefined,
  ): readonly string[] {
    if (span === undefined || !isBounded) return readable;
    const bound = clock().write(span.until, asked);
    return readable.filter((value) => values.compare(value, bound) <= 0);
  }

  return {
    values,
    from,
    settled,

    reach(asked, now) {
      if (!isBounded) return {};
      const first = asked === null ? null : clock().read(asked);
      // A clock of ours that runs behind must not ask for less than nothing.
      const until = Math.max(Date.parse(now) - (settleSeconds ?? 0) * 1000, first ?? -Infinity);
      const isCut = windowSeconds !== undefined && first !== null;
      return { span: isCut ? window(first, first, until) : { from: null, to: until, until } };
    },

    next(asked, span) {
      if (incremental === null || span === undefined || span.from === null || span.to >= span.until)
        return null;
      const overlap = Math.max(clock().unit(asked), filter?.unit ?? 0, OVERLAP);
      let next = window(span.to - overlap, span.to, span.until);
      // Rounded up, the bound of the window before may have been this one's too: then all of it was read.
      while (filter !== undefined && filter.upper(next.to) === filter.upper(span.to)) {
        if (next.to >= span.until) return null;
        next = window(next.to - overlap, next.to, span.until);
      }
      return next;
    },

    params(asked, span) {
      const lower =
        span === undefined || span.from === null
          ? asked !== null && filter !== undefined
            ? filter.text(asked)
            : asked
          : (filter?.lower(span.from) ?? clock().lower(span.from, asked));
      return {
        ...(lower !== null && { updated_since: lower }),
        ...(span !== undefined &&
          sendsUntil && { updated_until: filter?.upper(span.to) ?? clock().write(span.to, asked) }),
      };
    },

    watch(mark, { newest = null, span }, page, notes) {
      if (incremental === null) return { mark: { newest }, notes };
      const { readable, notes: said } = readValues(page.values, notes, values);
      const { greatest } = raisePeak(
        { greatest: newest, below: null },
        settled(readable, from(mark.newest), span),
        values,
      );
      return { mark: { newest: greatest }, notes: said };
    },

    condense(mark, { span }, part) {
      const isNone = (text: string | null) => text === null;
      const isOdd = (text: string | null) => text !== null && !values.isValue(text);
      const readable = part.values.filter((text) => text !== null && values.isValue(text)) as string[];
      const { greatest } = raisePeak(
        { greatest: null, below: null },
        settled(readable, from(mark.newest), span),
        values,
      );
      const odd = [part.values.find(isNone), part.values.find(isOdd)].filter((text) => text !== undefined);
      return { keys: [], values: greatest === null ? odd : [...odd, greatest] };
    },

    isReadable: (texts, span) =>
      incremental === null ||
      ((span === undefined || values.clock !== null) &&
        texts.every((text) => text === null || text === undefined || values.isValue(text))),
  };
}

/** The current window, for people. */
export function shown(position: Seen | null): { [name: string]: Json } {
  const { from = null, to } = position?.span ?? {};
  const text = (instant: number) => new Date(instant).toISOString();
  return {
    ...(from !== null && { window_from: text(from) }),
    ...(to !== undefined && { until: text(to) }),
  };
}
