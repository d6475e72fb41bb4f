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

/** A filter whose bounds are written otherwise than the records, and may tell less apart. */
export interface Filter {
  format: CursorFormat;
  /** A bound, on the scale of `sees`. */
  read: (text: string) => number;
  /** The time of a record, given in seconds after {@link NIGHT}, as the filter compares it. */
  sees: (at: number) => number;
}

const matching = (shape: RegExp, text: string) => {
  if (!shape.test(text)) throw new Error(`400 not a bound: ${text}`);
  return text;
};
const dayIn = (at: number) => BERLIN.format(NIGHT + at * 1000).slice(0, 10);
const midnightInBerlin = (day: string) => {
  const near = Date.parse(`${day}T00:00:00Z`);
  const found = [2, 1]
    .map((hours) => near - hours * 3_600_000)
    .find((instant) => {
      return BERLIN.format(instant) === `${day} 00:00:00`;
    });
  if (found === undefined) throw new Error(`no midnight on ${day}`);
  return found;
};
const DAY_TEXT = /^\d{4}-\d\d-\d\d$/;
const RFC = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000$/;

/** Each compares the times of records as they are, or cut down to what a bound can show, as databases do. */
export const FILTERS: Record<string, Filter> = {
  'seconds since 1970': {
    format: 'epoch_s',
    read: (text) => Number(matching(/^-?\d+$/, text)) * 1000,
    sees: (at) => NIGHT + at * 1000,
  },
  'seconds since 1970, of whole seconds': {
    format: 'epoch_s',
    read: (text) => Number(matching(/^-?\d+$/, text)),
    sees: (at) => Math.floor(NIGHT / 1000 + at),
  },
  'milliseconds since 1970': {
    format: 'epoch_ms',
    read: (text) => Number(matching(/^-?\d+$/, text)),
    sees: (at) => NIGHT + at * 1000,
  },
  'RFC 2822': {
    format: 'rfc_2822',
    read: (text) => milliseconds(matching(RFC, text)),
    sees: (at) => NIGHT + at * 1000,
  },
  timestamps: {
    format: 'timestamp',
    read: (text) => milliseconds(matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, text)),
    sees: (at) => NIGHT + at * 1000,
  },
  'days, from midnight on': {
    format: { pattern: 'yyyy-MM-dd', zone: 'UTC' },
    read: (text) => milliseconds(matching(DAY_TEXT, text)),
    sees: (at) => NIGHT + at * 1000,
  },
  'days, as a whole': {
    format: { pattern: 'yyyy-MM-dd', zone: 'UTC' },
    read: (text) => milliseconds(matching(DAY_TEXT, text)),
    sees: (at) => milliseconds(iso(at).slice(0, 10)),
  },
  'days in Berlin, from midnight on': {
    format: { pattern: 'yyyy-MM-dd', zone: 'Europe/Berlin' },
    read: (text) => midnightInBerlin(matching(DAY_TEXT, text)),
    sees: (at) => NIGHT + at * 1000,
  },
  'days in Berlin, as a whole': {
    format: { pattern: 'yyyy-MM-dd', zone: 'Europe/Berlin' },
    read: (text) => milliseconds(matching(DAY_TEXT, text)),
    sees: (at) => milliseconds(dayIn(at)),
  },
  'minutes of a clock on a wall in Berlin': {
    format: { pattern: 'dd.MM.yyyy HH:mm', zone: 'Europe/Berlin' },
    read: (text) =>
      milliseconds(
        matching(/^\d\d\.\d\d\.\d{4} \d\d:\d\d$/, text).replace(
          /^(\d\d)\.(\d\d)\.(\d{4}) (.*)$/,
          (_, d: string, m: string, y: string, t: string) => `${y}-${m}-${d}T${t}:00Z`,
        ),
      ),
    sees: (at) =>
      milliseconds(
        `${BERLIN.format(NIGHT + at * 1000)
          .slice(0, 16)
          .replace(' ', 'T')}:00Z`,
      ),
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
  /** How bounds are written and compared; as the records are unless told. */
  filter?: Filter;
}

/** The scale on which a model compares its rows with bounds. */
function scale({ written, filter }: Pick<ChangesModel, 'written' | 'filter'>) {
  return {
    order: ({ at }: Row) => filter?.sees(at ?? 0) ?? written.order(written.write(at ?? 0)),
    bound: (text: string) => filter?.read(text) ?? written.order(text),
  };
}

const byId = (a: Row, b: Row) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** Reads `model` anew each time: it may change. */
export function changesSource(model: ChangesModel): Source {
  return (params) => {
    const { updated_since, updated_until, page, offset, limit, scroll_param, ...others } = params;
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const { written, paging, pageSize } = model;
    const { order, bound } = scale(model);
    const since = updated_since === undefined ? -Infinity : bound(updated_since);
    const until = updated_until === undefined ? Infinity : bound(updated_until);
    if (since > until) throw new Error('400 since lies after until');
    const afterRecord = paging === 'last_record' && scroll_param !== undefined;
    const kept = model.rows
      .filter((row) => model.sees?.(row) ?? true)
      .filter((row) => (model.upper === 'inclusive' ? order(row) <= until : order(row) < until))
      .filter((row) => {
        if (order(row) === since) return afterRecord ? row.id > scroll_param : model.lower === 'inclusive';
        return order(row) > since;
      });
    const time = ({ at }: Row) => written.order(written.write(at ?? 0));
    if (model.ordered) kept.sort((a, b) => time(a) - time(b) || byId(a, b));
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
  model: Pick<ChangesModel, 'rows' | 'written' | 'pageSize' | 'lower' | 'sees' | 'filter'> & {
    /** Tokens that lead on from a place in the answer, and lose nothing. */
    exactTokens?: boolean;
  },
): Source {
  return ({ updated_since, since = updated_since, scroll_param, ...others }: PageRequest['params']) => {
    if (Object.keys(others).length > 0) throw new Error('400 unexpected parameter');
    const { written, pageSize } = model;
    const time = ({ at }: Row) => written.order(written.write(at ?? 0));
    const { order, bound } = scale(model);
    const token =
      scroll_param === undefined
        ? null
        : (JSON.parse(scroll_param) as { after: number; skip: number; since?: string });
    const asked = token === null ? since : token.since;
    const from = asked === undefined || asked === '0001-01-01T00:00:00Z' ? -Infinity : bound(asked);
    const kept = model.rows
      .filter((row) => model.sees?.(row) ?? true)
      .filter((row) =>
        token !== null && model.exactTokens !== true
          ? time(row) > token.after
          : model.lower === 'exclusive'
            ? order(row) > from
            : order(row) >= from,
      )
      .sort((a, b) => time(a) - time(b) || byId(a, b));
    const skip = token !== null && model.exactTokens === true ? token.skip : 0;
    const rows = kept.slice(skip, skip + pageSize);
    const last = rows.at(-1);
    const isLast = skip + rows.length >= kept.length || last === undefined;
    const next = { after: last === undefined ? 0 : time(last), skip: skip + rows.length, since: asked };
    return answer(rows, written, { nextToken: isLast ? null : JSON.stringify(next) });
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
