/** The laws of `strategies/strategy.ts` for cursor fields of every format, with bounds, windows and any way of paging. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cursor, Incremental, StrategyOptions } from '../../src/protocol.js';
import { createStrategy, valuesOf } from '../../src/strategies/index.js';
import {
  ascendingSource,
  type ChangesModel,
  changesSource,
  NIGHT,
  ORDINALS,
  type Paging,
  TIMES,
  type Written,
} from '../helpers/changes-model.js';
import { missing, readPass, type Row, type Table } from '../helpers/model-source.js';
import { runs } from '../helpers/long.js';

/** Four hours, half seconds among them, and many ties. */
const ats = fc.array(
  fc.nat(53).map((step) => step * 270.5),
  { maxLength: 40 },
);
/** Seconds between multiples of 541, often where rows are: there bounds and windows may lose one. */
const onEdges = (min: number, max: number) =>
  fc.oneof(
    fc.integer({ min, max }).map((step) => step * 541),
    fc.integer({ min: min * 541, max: max * 541 }),
  );
const rowsOf = (times: number[]): Row[] =>
  times.map((at, i) => ({ id: `r${String(i).padStart(3, '0')}`, at, version: 1 }));
const at = (seconds: number) => new Date(NIGHT + seconds * 1000).toISOString();

const shape = fc.record({
  pageSize: fc.integer({ min: 1, max: 9 }),
  lower: fc.constantFrom('inclusive' as const, 'exclusive' as const),
  upper: fc.constantFrom('inclusive' as const, 'exclusive' as const),
  ordered: fc.boolean(),
  says: fc.constantFrom('nothing' as const, 'total' as const, 'pages' as const, 'more' as const),
  shortPageEnds: fc.boolean(),
});
type Shape = Omit<ChangesModel, 'rows' | 'written' | 'paging'> & { shortPageEnds: boolean };

const mostOften = (requests: string[]) =>
  Math.max(0, ...requests.map((request) => requests.filter((other) => other === request).length));

const PAGINGS: Paging[] = ['page_number', 'offset', 'tokens', 'last_record', 'one answer'];

function optionsFor(
  paging: Paging,
  { pageSize, shortPageEnds }: Shape,
  incremental: Incremental,
): StrategyOptions {
  switch (paging) {
    case 'page_number':
      return { strategy: 'page_number', firstPage: 1, pageSize, shortPageEnds, incremental };
    case 'offset':
      return { strategy: 'offset', pageSize, fullRescan: null, shortPageEnds, incremental };
    default:
      return {
        strategy: 'cursor',
        pageSize: null,
        tokenIsLastKey: false,
        ...(paging === 'last_record' && { follows: 'last_record' }),
        ...(paging === 'one answer' && { follows: 'nothing' }),
        incremental,
      };
  }
}

function modelOf(paging: Paging, written: Written, shaped: Shape, rows: Row[]): ChangesModel {
  return { ...shaped, rows, written, paging, ordered: shaped.ordered || paging === 'last_record' };
}

const cases = PAGINGS.flatMap((paging) =>
  Object.entries(TIMES).map(([name, written]) => [paging, name, written] as const),
);

describe.each(cases)('%s by %s', (paging, _, written) => {
  const order = (row: Row) => written.order(written.write(row.at ?? 0));

  it('reads all from the start to the bound, once a window; and the same where pages are lost', () => {
    fc.assert(
      fc.property(
        ats,
        shape,
        onEdges(-1, 26),
        onEdges(0, 27),
        fc.option(onEdges(1, 12), { nil: undefined }),
        fc.option(fc.integer({ min: 1, max: 3600 }), { nil: undefined }),
        fc.uniqueArray(fc.nat(20), { maxLength: 4 }),
        (times, shaped, begin, length, windowSeconds, settleSeconds, lost) => {
          const start = written.write(begin);
          const now = at(begin + length + (settleSeconds ?? 0));
          const end = written.order(written.write(begin + length));
          // A clock on the wall may show the end before the start.
          fc.pre(written.order(start) <= end);
          const strategy = createStrategy(
            optionsFor(paging, shaped, {
              start,
              lookbackSeconds: 0,
              format: written.format,
              sendsUntil: true,
              ...(windowSeconds !== undefined && { windowSeconds }),
              ...(settleSeconds !== undefined && { settleSeconds }),
            }),
          );
          const rows = rowsOf(times);
          const source = changesSource(modelOf(paging, written, shaped, rows));
          const table: Table = new Map();
          const again: Table = new Map();
          const pass = readPass(strategy, source, { table, now });
          const inside = rows.filter((row) => order(row) > written.order(start) && order(row) < end);
          expect(missing(inside, table)).toEqual([]);
          const edges = rows.filter((row) => {
            if (order(row) === written.order(start) && shaped.lower === 'exclusive') return false;
            return order(row) === end ? shaped.upper === 'inclusive' : order(row) === written.order(start);
          });
          expect(missing(edges, table)).toEqual([]);
          // The hour that a clock shows twice is asked for twice.
          expect(mostOften(pass.requests)).toBeLessThanOrEqual(written.repeats > 0 ? 2 : 1);
          expect(readPass(strategy, source, { table: again, now, lost }).cursor).toEqual(pass.cursor);
          expect(again).toEqual(table);
        },
      ),
      { numRuns: runs(60) },
    );
  });

  it('finds what becomes visible within the settling time, and moves the mark no further than that, ever upwards', () => {
    fc.assert(
      fc.property(
        ats,
        shape,
        fc.array(fc.integer({ min: 0, max: 7200 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 1800 }),
        fc.option(onEdges(2, 12), { nil: undefined }),
        fc.boolean(),
        (times, shaped, pauses, settleSeconds, windowSeconds, sends) => {
          const sendsUntil = sends || windowSeconds !== undefined;
          const values = valuesOf(written.format);
          const strategy = createStrategy(
            optionsFor(paging, shaped, {
              start: written.write(-7200),
              // What a filter leaves out, and what a clock on the wall shows twice.
              lookbackSeconds: written.repeats + (shaped.lower === 'exclusive' ? 1 : 0),
              format: written.format,
              settleSeconds,
              ...(sendsUntil && { sendsUntil }),
              ...(windowSeconds !== undefined && { windowSeconds }),
            }),
          );
          const rows = rowsOf(times);
          const delays = new Map(rows.map(({ id }, i) => [id, (i * 7919) % (settleSeconds + 1)]));
          let clock = 0;
          const sees = (row: Row) => (row.at ?? 0) + (delays.get(row.id) ?? 0) <= clock;
          const source = changesSource({ ...modelOf(paging, written, shaped, rows), sees });
          const table: Table = new Map();
          let checkpoint: Cursor | null = null;
          let before: string | null = null;
          for (const pause of [...pauses, 40_000]) {
            clock += pause;
            checkpoint = readPass(strategy, source, { table, now: at(clock), checkpoint }).cursor;
            const { newest } = checkpoint.mark as { newest: string | null };
            const bound = written.order(written.write(clock - settleSeconds));
            if (newest !== null && newest !== before)
              expect(written.order(newest)).toBeLessThanOrEqual(bound);
            if (before !== null) expect(values.compare(newest ?? '', before)).toBeGreaterThanOrEqual(0);
            before = newest;
          }
          expect(missing(rows, table)).toEqual([]);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe.each(Object.entries(ORDINALS))('%s', (_, written) => {
  it.each(PAGINGS)('are asked for from the newest on, by %s', (paging) => {
    fc.assert(
      fc.property(ats, ats, shape, (first, second, shaped) => {
        const lookbackSeconds = written.format === 'integer' ? 1 : 0;
        fc.pre(written.format === 'integer' || shaped.lower === 'inclusive');
        const strategy = createStrategy(
          optionsFor(paging, shaped, { start: null, lookbackSeconds, format: written.format }),
        );
        const newest = Math.max(0, ...first);
        const rows = rowsOf([...first, ...second.map((later) => newest + later)]);
        const table: Table = new Map();
        const source = (part: Row[]) => changesSource(modelOf(paging, written, shaped, part));
        const { cursor } = readPass(strategy, source(rows.slice(0, first.length)), { table });
        const pass = readPass(strategy, source(rows), { table, checkpoint: cursor });
        expect(missing(rows, table)).toEqual([]);
        expect(new Set(pass.requests).size).toBe(pass.requests.length);
        // After an end that nothing proves, the list is read again.
        if (cursor.notes.some(({ code }) => code === 'end_unproven')) return;
        for (const page of pass.pages)
          for (const row of page.rows) expect(row.at ?? 0).toBeGreaterThanOrEqual(newest - 1);
      }),
    );
  });
});

const isTold = (notes: string[]) => notes.some((code) => /ties|unordered/.test(code));

describe.each(Object.entries({ ...TIMES, ...ORDINALS }))('keyset and timestamp by %s', (_, written) => {
  it('read everything, or say what may be out of reach, and then what is new', () => {
    fc.assert(
      fc.property(ats, ats, shape, fc.boolean(), (first, second, { pageSize, lower }, isKeyset) => {
        const incremental: Incremental = {
          start: null,
          lookbackSeconds: written.repeats,
          format: written.format,
        };
        const strategy = createStrategy(
          isKeyset
            ? { strategy: 'keyset', ties: 'auto', incremental }
            : { strategy: 'timestamp', incremental },
        );
        const newest = Math.max(0, ...first);
        const rows = rowsOf([...first, ...second.map((later) => newest + later)]);
        const model = { written, lower, pageSize: isKeyset ? pageSize : 1000 };
        const table: Table = new Map();
        const one = readPass(strategy, ascendingSource({ ...model, rows: rows.slice(0, first.length) }), {
          table,
        });
        if (!isTold(one.notes)) expect(missing(rows.slice(0, first.length), table)).toEqual([]);
        const two = readPass(strategy, ascendingSource({ ...model, rows }), {
          table,
          checkpoint: one.cursor,
        });
        if (!isTold([...one.notes, ...two.notes])) expect(missing(rows, table)).toEqual([]);
        expect(new Set(one.requests).size).toBe(one.requests.length);
      }),
      { numRuns: runs(150) },
    );
  });
});

describe.each(Object.entries(TIMES))('keyset and timestamp by %s', (_, written) => {
  it('find what becomes visible within the settling time', () => {
    fc.assert(
      fc.property(
        ats,
        shape,
        fc.array(fc.integer({ min: 0, max: 7200 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 1800 }),
        fc.boolean(),
        (times, { lower }, pauses, settleSeconds, isKeyset) => {
          const incremental: Incremental = {
            start: null,
            lookbackSeconds: written.repeats,
            format: written.format,
            settleSeconds,
          };
          const strategy = createStrategy(
            isKeyset
              ? { strategy: 'keyset', ties: 'auto', incremental }
              : { strategy: 'timestamp', incremental },
          );
          const rows = rowsOf(times);
          let clock = 0;
          const sees = ({ at: changed, id }: Row) =>
            (changed ?? 0) + ((Number(id.slice(1)) * 7919) % (settleSeconds + 1)) <= clock;
          const source = ascendingSource({ rows, written, lower, pageSize: 50, sees });
          const table: Table = new Map();
          let checkpoint: Cursor | null = null;
          const notes: string[] = [];
          for (const pause of [...pauses, 40_000]) {
            clock += pause;
            const pass = readPass(strategy, source, { table, now: at(clock), checkpoint });
            checkpoint = pass.cursor;
            notes.push(...pass.notes);
          }
          if (!isTold(notes)) expect(missing(rows, table)).toEqual([]);
        },
      ),
      { numRuns: runs(100) },
    );
  });
});
