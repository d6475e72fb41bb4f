/**
 * A model of APIs that filter by change, in any format, and page in any way. Their filters work on the texts of the
 * records, as a database does that stores them; nothing here is shared with the strategies.
 */
import type { CursorFormat, PageRequest } from '../../src/protocol.js';
import type { Answer, Row, Source } from './model-source.js';

/** The night in which Berlin has the hour from two to three twice, from 00:00 to 02:00 in UTC. */
export const NIGHT = Date.parse('2024-10-26T23:00:00Z');
const BERLIN = new Intl.DateTimeFormat('sv-SE', {
  timeZone: 'Europe/Berlin',
  dateStyle: 'short',
  timeStyle: 'medium',
});
const HUGE = 9_007_199_254_740_992n;

/** A way to write a time, given in seconds after {@link NIGHT}, and what the API takes the text for. */
export interface Written {
  format: CursorFormat;
  write: (at: number) => string;
  /** Ascending as the API sees it. */
  order: (text: string) => number;
  /** How far a clock on the wall may go back. */
  repeats: number;
}

const iso = (at: number) => new Date(NIGHT + at * 1000).toISOString();
const milliseconds = (text: string) => {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new Error(`400 not a time: ${text}`);
  return time;
};

export const TIMES: Record<string, Written> = {
  timestamps: {
    format: 'timestamp',
    write: (at) => iso(at),
    order: milliseconds,
    repeats: 0,
  },
  'timestamps of whole seconds in a zone': {
    format: 'timestamp',
    write: (at) => `${new Date(NIGHT + (at + 5400) * 1000).toISOString().slice(0, 19)}+01:30`,
    order: milliseconds,
    repeats: 0,
  },
  'seconds since 1970': {
    format: 'epoch_s',
    write: (at) => String(NIGHT / 1000 + at),
    order: Number,
    repeats: 0,
  },
  'milliseconds since 1970': {
    format: 'epoch_ms',
    write: (at) => String(NIGHT + at * 1000),
    order: Number,
    repeats: 0,
  },
  'a clock on a wall in Berlin': {
    format: { pattern: 'dd/MM/yyyy HH:mm:ss', zone: 'Europe/Berlin' },
    write: (at) =>
      BERLIN.format(NIGHT + at * 1000).replace(
        /^(\d{4})-(\d\d)-(\d\d)/,
        (_, y: string, m: string, d: string) => `${d}/${m}/${y}`,
      ),
    order: (text) =>
      milliseconds(
        text.replace(
          /^(\d\d)\/(\d\d)\/(\d{4}) (.*)$/,
          (_, d: string, m: string, y: string, t: string) => `${y}-${m}-${d}T${t}Z`,
        ),
      ),
    repeats: 3600,
  },
};

export const ORDINALS: Record<string, Written> = {
  'integers beyond 2^53': {
    format: 'integer',
    // Odd and even neighbours, which a double takes for one.
    write: (at) => String(HUGE + BigInt(Math.round(at * 2))),
    order: (text) => Number(BigInt(text) - HUGE),
    repeats: 0,
  },
  texts: {
    format: 'string',
    write: (at) => `v${String(Math.round(at * 2)).padStart(9, '0')}`,
    order: (text) => Number(text.slice(1)),
    repeats: 0,
  },
};

export type Paging = 'page_number' | 'offset' | 'tokens' | 'last_record' | 'one answer';

export interface ChangesModel {
  rows: Row[];
  written: Written;
  paging: Paging;
  pageSize: number;
  lower: 'inclusive' | 'exclusive';
  upper: 'inclusive' | 'exclusive';
  ordered: boolean;
  /** What the API says of the end. */
  says: 'nothing' | 'total' | 'pages' | 'more';
  /** Rows that can be seen; all unless told. */
  sees?: (row: Row) => boolean;
}

const byId = (a: Row, b: Row) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** Reads `model` anew each time: it may change. */
export function changesSource(model: ChangesModel): Source {
  return (params) => {
    const { updated_since, updated_until, page, offset, limit, scroll_param, ...others } = params;
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const { written, paging, pageSize } = model;
    const order = ({ at }: Row) => written.order(written.write(at ?? 0));
    const since = updated_since === undefined ? -Infinity : written.order(updated_since);
    const until = updated_until === undefined ? Infinity : written.order(updated_until);
    if (since > until) throw new Error('400 since lies after until');
    const afterRecord = paging === 'last_record' && scroll_param !== undefined;
    const kept = model.rows
      .filter((row) => model.sees?.(row) ?? true)
      .filter((row) => (model.upper === 'inclusive' ? order(row) <= until : order(row) < until))
      .filter((row) => {
        if (order(row) === since) return afterRecord ? row.id > scroll_param : model.lower === 'inclusive';
        return order(row) > since;
      });
    if (model.ordered) kept.sort((a, b) => order(a) - order(b) || byId(a, b));
    const from =
      paging === 'page_number'
        ? (Number(page) - 1) * pageSize
        : paging === 'offset'
          ? Number(offset)
          : paging === 'tokens'
            ? Number(scroll_param ?? 0)
            : 0;
    const size = paging === 'one answer' ? kept.length : paging === 'offset' ? Number(limit) : pageSize;
    const rows = kept.slice(from, from + size);
    const isLast = from + rows.length >= kept.length;
    return answer(rows, written, {
      nextToken: paging === 'tokens' && !isLast ? String(from + rows.length) : null,
      ...(model.says === 'total' && { total: kept.length }),
      ...(model.says === 'pages' && { totalPages: Math.ceil(kept.length / pageSize) }),
      ...(model.says === 'more' && { more: !isLast }),
    });
  };
}

/** Pages in ascending order, by `updated_since` or `since`, or by a token that means later than the last row. */
export function ascendingSource(
  model: Pick<ChangesModel, 'rows' | 'written' | 'pageSize' | 'lower' | 'sees'>,
): Source {
  return ({ updated_since, since = updated_since, scroll_param, ...others }: PageRequest['params']) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const { written, pageSize } = model;
    const order = ({ at }: Row) => written.order(written.write(at ?? 0));
    const bound = scroll_param ?? since;
    const from =
      bound === undefined ? -Infinity : bound === '0001-01-01T00:00:00Z' ? -Infinity : written.order(bound);
    const strict = scroll_param !== undefined || model.lower === 'exclusive';
    const kept = model.rows
      .filter((row) => model.sees?.(row) ?? true)
      .filter((row) => (strict ? order(row) > from : order(row) >= from))
      .sort((a, b) => order(a) - order(b) || byId(a, b));
    const rows = kept.slice(0, pageSize);
    const last = rows.at(-1);
    const nextToken = kept.length > rows.length && last !== undefined ? written.write(last.at ?? 0) : null;
    return answer(rows, written, { nextToken });
  };
}

function answer(rows: Row[], { write }: Written, more: Partial<Answer>): Answer {
  return {
    keys: rows.map(({ id }) => id),
    values: rows.map(({ at }) => (at === null ? null : write(at))),
    records: rows.length,
    nextToken: null,
    total: null,
    more: null,
    rows,
    ...more,
  };
}
